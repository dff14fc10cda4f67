/* SPDX-License-Identifier: MIT */
#include "formats/utf8.h"

size_t organ_utf8_length(const unsigned char *s)
{
    static const unsigned lowest[] = {0, 0, 0x80, 0x800, 0x10000};
    const size_t length = s[0] < 0x80                   ? 1
                          : s[0] >= 0xC2 && s[0] < 0xE0 ? 2
                          : (s[0] & 0xF0) == 0xE0       ? 3
                          : s[0] >= 0xF0 && s[0] < 0xF5 ? 4
                                                        : 0;
    if (length < 2)
        return length;
    unsigned code = s[0] & (0x7Fu >> length);
    for (size_t k = 1; k < length; k++) {
        if ((s[k] & 0xC0) != 0x80)
            return 0;
        code = code << 6 | (s[k] & 0x3Fu);
    }
    return code >= lowest[length] && code <= 0x10FFFF && (code < 0xD800 || code > 0xDFFF) ? length : 0;
}

bool organ_utf8_valid(const char *s)
{
    const unsigned char *at = (const unsigned char *)s;
    size_t length = 1;
    while (*at && (length = organ_utf8_length(at)) > 0)
        at += length;
    return length > 0;
}
