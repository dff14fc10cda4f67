/* SPDX-License-Identifier: MIT */
#include "formats/base/utf8.h"

/* Control characters, and the invisible marks that reorder what stands around them or break its line. */
static const struct {
    uint32_t first, last;
} hidden[] = {{0x00, 0x1F}, {0x7F, 0x9F}, {0x061C, 0x061C}, {0x200E, 0x200F}, {0x2028, 0x202E}, {0x2066, 0x2069}, {0xFEFF, 0xFEFF}};

bool organ_utf8_hidden(uint32_t code)
{
    for (size_t k = 0; k < sizeof hidden / sizeof *hidden; k++)
        if (code >= hidden[k].first && code <= hidden[k].last)
            return true;
    return false;
}

size_t organ_utf8_decode(const unsigned char *s, uint32_t *out)
{
    static const unsigned lowest[] = {0, 0, 0x80, 0x800, 0x10000};
    const size_t length = s[0] < 0x80                   ? 1
                          : s[0] >= 0xC2 && s[0] < 0xE0 ? 2
                          : (s[0] & 0xF0) == 0xE0       ? 3
                          : s[0] >= 0xF0 && s[0] < 0xF5 ? 4
                                                        : 0;
    *out = s[0];
    if (length < 2)
        return length;
    uint32_t code = s[0] & (0x7Fu >> length);
    for (size_t k = 1; k < length; k++) {
        if ((s[k] & 0xC0) != 0x80)
            return 0;
        code = code << 6 | (s[k] & 0x3Fu);
    }
    *out = code;
    return code >= lowest[length] && code <= 0x10FFFF && (code < 0xD800 || code > 0xDFFF) ? length : 0;
}

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
