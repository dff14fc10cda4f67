/* SPDX-License-Identifier: MIT
 * Collects the bytes of tokens in `held` until they are whole UTF-8 characters, and writes the characters to a text. */
#include "orchestrator/surgery/text/text_streamer.h"

#include "formats/base/utf8.h"

#include <errno.h>
#include <string.h>

organ_status organ_text_streamer_open(organ_text_streamer *streamer, organ_error *error)
{
    *streamer = (organ_text_streamer){0};
    return organ_text_open(&streamer->text, error);
}

/* Tests for the beginning of a UTF-8 character that more bytes could complete. `count` is at least 1. */
static bool may_be_completed(const unsigned char *s, size_t count)
{
    size_t whole = 0; /* bytes of the character that the first byte begins; 0: it begins none */
    if (*s >= 0xC2 && *s <= 0xF4)
        whole = 2 + (size_t)(*s >= 0xE0) + (*s >= 0xF0);
    for (size_t k = 1; k < count; k++)
        if ((s[k] & 0xC0U) != 0x80)
            return false;
    return count < whole;
}

/* The bytes are one character or one invalid byte. Control characters except newline and tab, and invalid bytes, are
 * written as \xNN. */
static void print_bytes(organ_text_streamer *streamer, size_t bytes)
{
    char one[8];
    memcpy(one, streamer->held, bytes);
    one[bytes] = '\0';
    if (*one == '\n' || *one == '\t')
        fputc(*one, streamer->text.out);
    else if (*one == '\0')
        fputs("\\x00", streamer->text.out);
    else
        organ_text_visible(streamer->text.out, one);
    streamer->count -= bytes;
    memmove(streamer->held, streamer->held + bytes, streamer->count);
}

/* An incomplete character at the end stays in `held` if `more_comes`; otherwise it is written byte by byte as \xNN. */
static void print_complete_characters(organ_text_streamer *streamer, bool more_comes)
{
    while (streamer->count) {
        streamer->held[streamer->count] = '\0';
        const unsigned char *const s = (const unsigned char *)streamer->held;
        const size_t length = *s ? organ_utf8_length(s) : 1;
        if (!length && more_comes && may_be_completed(s, streamer->count))
            return;
        print_bytes(streamer, length ? length : 1);
    }
}

/* The bytes are added one by one, so that `held` never has more than one character. */
void organ_text_streamer_add(organ_text_streamer *streamer, const char *bytes, size_t count)
{
    for (size_t k = 0; k < count; k++) {
        streamer->held[streamer->count++] = bytes[k];
        print_complete_characters(streamer, true);
    }
}

void organ_text_streamer_end(organ_text_streamer *streamer) { print_complete_characters(streamer, false); }

organ_status organ_text_streamer_next(organ_text_streamer *streamer, const char **text, size_t *bytes,
                                      organ_error *error)
{
    if (fflush(streamer->text.out) != 0)
        return organ_fail_errno(error, errno, "text");
    *text = streamer->text.data + streamer->printed;
    *bytes = streamer->text.size - streamer->printed;
    streamer->printed = streamer->text.size;
    return ORGAN_OK;
}

organ_status organ_text_streamer_close(organ_text_streamer *streamer, char **text, organ_error *error)
{
    return organ_text_finish(&streamer->text, text, error);
}
