/* SPDX-License-Identifier: MIT
 * A reader of XML that accepts only the elements of organ's charts. */
#include "tests/kit/svg_reader.h"
#include "tests/kit/require.h"

#include <stdbool.h>
#include <string.h>

const char *const hostile_names[HOSTILE_NAMES] = {"<script>alert(1)</script>",
                                                  "\"/><g onload=\"x\">",
                                                  "a & b ]]> &lt; <!-- -->",
                                                  "line\nbreak\ttab\x01\x1b[31mred",
                                                  "\xff\xfe broken \xc3",
                                                  "\xe2\x80\xae reversed",
                                                  "\xef\xbf\xbe and \xef\xbf\xbf",
                                                  "",
                                                  "a name that is very much longer than any legend, title or panel "
                                                  "could ever show in one line, until somebody cuts it"};

static const char *name_end(const char *at)
{
    while ((*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') || (*at >= '0' && *at <= '9') || *at == '-' ||
           *at == ':')
        at++;
    return at;
}

static bool is_entity(const char *at)
{
    return strncmp(at, "&amp;", 5) == 0 || strncmp(at, "&lt;", 4) == 0 || strncmp(at, "&gt;", 4) == 0 ||
           strncmp(at, "&quot;", 6) == 0;
}

/* Returns the end of a text or an attribute's value at `end`; tabs only where they separate cells. (One assertion per
 * character would be slow.) */
static const char *text_end(const char *at, char end, bool tabs)
{
    for (; *at && *at != end; at++) {
        const bool none = *at == '\xEF' && at[1] == '\xBF' && (at[2] == '\xBE' || at[2] == '\xBF'); /* U+FFFE, U+FFFF */
        if (((unsigned char)*at < 0x20 && *at != '\n' && !(tabs && *at == '\t')) || *at == '<' || none ||
            (*at == '&' && !is_entity(at)))
            ck_abort_msg("what may not stand in XML: %.40s", at);
    }
    REQUIRE_MSG(*at == end, "no end");
    return at;
}

static const char *attributes_end(const char *at)
{
    while (*at == ' ') {
        const char *end = name_end(++at);
        REQUIRE_MSG(end > at && strncmp(end, "=\"", 2) == 0, "no attribute: %.40s", at);
        REQUIRE_MSG(strncmp(at, "on", 2) != 0 && strncmp(at, "href", 4) != 0, "an attribute that acts: %.40s", at);
        at = text_end(end + 2, '"', false) + 1;
    }
    return at;
}

static const char *element_end(const char *at, int depth)
{
    REQUIRE_MSG(*at == '<' && depth < 8, "no element: %.40s", at);
    const char *const name = at + 1, *end = name_end(name);
    REQUIRE(end > name && strncmp(name, "script", 6) != 0);
    at = attributes_end(end);
    if (strncmp(at, "/>", 2) == 0)
        return at + 2;
    REQUIRE_MSG(*at == '>', "%.40s", at);
    at = text_end(at + 1, '<', strncmp(name, "metadata", 8) == 0);
    while (at[1] != '/')
        at = text_end(element_end(at, depth + 1), '<', false);
    REQUIRE_MSG(strncmp(at + 2, name, (size_t)(end - name)) == 0 && at[2 + (end - name)] == '>', "%.*s ends as %.20s",
                (int)(end - name), name, at);
    return at + 3 + (end - name);
}

void svg_must_be_well_formed(const char *svg)
{
    ck_assert_str_eq(element_end(svg, 0), "\n");
    ck_assert(strstr(svg, "role=\"img\"") && strstr(svg, "<title>") && strstr(svg, "<desc>") &&
              strstr(svg, "prefers-color-scheme:dark"));
    ck_assert_msg(!strstr(svg, "nan") && !strstr(svg, "inf\"") && !strstr(svg, "NAN"), "a number that is none");
}

size_t count_in(const char *text, const char *what)
{
    size_t count = 0;
    for (const char *at = strstr(text, what); at; at = strstr(at + 1, what))
        count++;
    return count;
}
