/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/text/text_streamer.h"

#include "formats/base/utf8.h"

#include <errno.h>
#include <string.h>

organ_status organ_speech_open(organ_speech *speech, organ_error *error)
{
    *speech = (organ_speech){0};
    return organ_text_open(&speech->text, error);
}

/* Returns whether the bytes are the beginning of a character that more bytes could complete. */
static bool may_become(const unsigned char *s, size_t count)
{
    size_t whole = 0;
    if (*s >= 0xC2 && *s <= 0xF4)
        whole = 2 + (size_t)(*s >= 0xE0) + (*s >= 0xF0);
    for (size_t k = 1; k < count; k++)
        if ((s[k] & 0xC0U) != 0x80)
            return false;
    return count < whole;
}

static void say(organ_speech *speech, size_t bytes)
{
    char one[8];
    memcpy(one, speech->held, bytes);
    one[bytes] = '\0';
    if (*one == '\n' || *one == '\t')
        fputc(*one, speech->text.out);
    else if (*one == '\0')
        fputs("\\x00", speech->text.out);
    else
        organ_text_visible(speech->text.out, one);
    speech->count -= bytes;
    memmove(speech->held, speech->held + bytes, speech->count);
}

static void say_ready(organ_speech *speech, bool more_comes)
{
    while (speech->count) {
        speech->held[speech->count] = '\0';
        const unsigned char *const s = (const unsigned char *)speech->held;
        const size_t length = *s ? organ_utf8_length(s) : 1;
        if (!length && more_comes && may_become(s, speech->count))
            return;
        say(speech, length ? length : 1);
    }
}

void organ_speech_add(organ_speech *speech, const char *bytes, size_t count)
{
    for (size_t k = 0; k < count; k++) {
        speech->held[speech->count++] = bytes[k];
        say_ready(speech, true);
    }
}

void organ_speech_end(organ_speech *speech) { say_ready(speech, false); }

organ_status organ_speech_next(organ_speech *speech, const char **text, size_t *bytes, organ_error *error)
{
    if (fflush(speech->text.out) != 0)
        return organ_fail_errno(error, errno, "text");
    *text = speech->text.data + speech->printed;
    *bytes = speech->text.size - speech->printed;
    speech->printed = speech->text.size;
    return ORGAN_OK;
}

organ_status organ_speech_close(organ_speech *speech, char **text, organ_error *error)
{
    return organ_text_finish(&speech->text, text, error);
}
