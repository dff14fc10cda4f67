/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/text/markup.h"

#include "orchestrator/report/text/text.h"

#include <string.h>

/* Unicode's noncharacters are U+FDD0 to U+FDEF and the last two of each plane: XML forbids two of them, and all are
 * errors in HTML. */
static bool is_no_character(const unsigned char *s, size_t length)
{
    if (length == 3)
        return s[0] == 0xEF && ((s[1] == 0xB7 && s[2] >= 0x90 && s[2] <= 0xAF) || (s[1] == 0xBF && s[2] >= 0xBE));
    return length == 4 && (s[1] & 0x0F) == 0x0F && s[2] == 0xBF && s[3] >= 0xBE;
}

static void put_quoted(FILE *out, const char *s, size_t length)
{
    static const char special[] = "&<>\"";
    static const char *const entities[] = {"&amp;", "&lt;", "&gt;", "&quot;"};
    const char *const found = length == 1 ? strchr(special, *s) : NULL;
    if (found)
        fputs(entities[found - special], out);
    else if (is_no_character((const unsigned char *)s, length))
        fputs("\xEF\xBF\xBD", out);
    else
        fwrite(s, 1, length, out);
}

void organ_markup_text(FILE *out, const char *s) { organ_text_visible_by(out, s, put_quoted); }
