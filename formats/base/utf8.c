/* SPDX-License-Identifier: MIT */
#include "formats/base/utf8.h"

#include <utf8proc.h>

/* `last` is included. */
static const struct {
    uint32_t first, last;
} hidden[] = {{0x00, 0x1F},     {0x7F, 0x9F},     {0x061C, 0x061C}, {0x200E, 0x200F},
              {0x2028, 0x202E}, {0x2066, 0x2069}, {0xFEFF, 0xFEFF}};

bool organ_utf8_hidden(uint32_t code)
{
    for (size_t k = 0; k < sizeof hidden / sizeof *hidden; k++)
        if (code >= hidden[k].first && code <= hidden[k].last)
            return true;
    return false;
}

size_t organ_utf8_within(const void *s, size_t remaining, uint32_t *code)
{
    utf8proc_int32_t found = 0;
    const utf8proc_ssize_t length = utf8proc_iterate(s, (utf8proc_ssize_t)remaining, &found);
    *code = (uint32_t)found;
    return length > 0 ? (size_t)length : 0;
}

/* A sequence has at most 4 bytes, and decoding stops at a NUL, which is never a continuation byte. */
size_t organ_utf8_decode(const unsigned char *s, uint32_t *code) { return organ_utf8_within(s, 4, code); }

size_t organ_utf8_length(const unsigned char *s)
{
    uint32_t code;
    return organ_utf8_decode(s, &code);
}

bool organ_utf8_valid(const char *s)
{
    const unsigned char *at = (const unsigned char *)s;
    size_t length = 1;
    while (*at && (length = organ_utf8_length(at)) > 0)
        at += length;
    return length > 0;
}

bool organ_utf8_valid_within(const char *text, size_t bytes)
{
    uint32_t code;
    size_t at = 0;
    for (size_t length; at < bytes && (length = organ_utf8_within(text + at, bytes - at, &code)); at += length) {
    }
    return at == bytes;
}

/* White space of two bytes is U+0085 and U+00A0; all other has three bytes, the first from E1 to E3. */
size_t organ_utf8_space(const unsigned char *s)
{
    if ((*s >= 0x09 && *s <= 0x0D) || (*s >= 0x1C && *s <= 0x20))
        return 1;
    if (*s == 0xC2 && (s[1] == 0x85 || s[1] == 0xA0))
        return 2;
    if (*s < 0xE1 || *s > 0xE3 || organ_utf8_length(s) != 3)
        return 0;
    const unsigned code = (*s & 0x0FU) << 12 | (s[1] & 0x3FU) << 6 | (s[2] & 0x3FU);
    return code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 || code == 0x202F ||
                   code == 0x205F || code == 0x3000
               ? 3
               : 0;
}
