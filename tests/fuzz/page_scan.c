/* SPDX-License-Identifier: MIT
 * Pages of organ are strict: lower case, every attribute in double quotes, no comment, "<" only at the start of a tag.
 * So a few rules find everything that a browser would read as markup. */
#include "tests/fuzz/page_scan.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* Elements that run, load or send something. A page contains none of them except its one script. */
static const char *const forbidden[] = {"iframe", "object", "embed", "base",  "form",          "link",
                                        "img",    "image",  "video", "audio", "foreignObject", "applet"};
/* Attributes with a link, which may lead to the same page only. */
static const char *const leading[] = {"href", "src", "action", "xlink:href", "formaction", "data"};

static bool begins(const char *at, const char *word) { return strncmp(at, word, strlen(word)) == 0; }

static size_t name_length(const char *at)
{
    return strspn(at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-:_");
}

static bool is_named(const char *at, size_t length, const char *name)
{
    return length == strlen(name) && memcmp(at, name, length) == 0;
}

/* Checks name="value" at `*at` and moves `*at` to the byte after it. */
static const char *attribute_fault(const char **at)
{
    const char *const name = *at, *value;
    const size_t length = name_length(name);
    *at += length;
    if (length == 0)
        return "a tag has something that is no attribute";
    if (strncmp(name, "on", 2) == 0 || strncmp(name, FUZZ_PAYLOAD, strlen(FUZZ_PAYLOAD)) == 0)
        return "an attribute that runs something or that a text has made";
    if (**at != '=')
        return NULL; /* attributes without a value: "open", "hidden" */
    if ((*at)[1] != '"')
        return "a value that is not in quotes";
    value = *at + 2;
    const size_t bytes = strcspn(value, "\"");
    if (!value[bytes])
        return "a value without an end";
    if (memchr(value, '<', bytes))
        return "a '<' in a value";
    for (size_t k = 0; k < sizeof leading / sizeof *leading; k++)
        if (is_named(name, length, leading[k]) && *value != '#')
            return "an attribute that leads out of the page";
    *at = value + bytes + 1;
    return NULL;
}

/* Checks the raw text of a script or a style up to its end tag. */
static const char *raw_fault(const char **at, const char *end_tag)
{
    const char *const end = strstr(*at, end_tag), *const payload = strstr(*at, FUZZ_PAYLOAD);
    if (!end)
        return "a script or a style without an end";
    if (payload && payload < end)
        return "a text stands in a script or a style";
    *at = end;
    return NULL;
}

/* Checks a tag whose '<' is at `*at`. */
static const char *tag_fault(const char **at)
{
    const char *fault;
    if (begins(*at, "<!doctype html>") || begins(*at, "<!DOCTYPE html>")) {
        *at += strlen("<!doctype html>");
        return NULL;
    }
    *at += 1 + ((*at)[1] == '/');
    const char *const name = *at;
    const size_t length = name_length(name);
    const bool opens = name[-1] != '/';
    if (length == 0)
        return "a '<' that begins no tag";
    if (begins(name, FUZZ_PAYLOAD))
        return "an element that a text has made";
    for (size_t k = 0; k < sizeof forbidden / sizeof *forbidden; k++)
        if (is_named(name, length, forbidden[k]))
            return "an element that runs, loads or sends something";
    *at += length;
    for (;;) {
        *at += strspn(*at, " \t\r\n");
        if (**at == '>' || begins(*at, "/>"))
            break;
        if (!**at)
            return "a tag without an end";
        if ((fault = attribute_fault(at)))
            return fault;
    }
    *at = strchr(*at, '>') + 1;
    if (opens && is_named(name, length, "script"))
        return raw_fault(at, "</script>");
    return opens && is_named(name, length, "style") ? raw_fault(at, "</style>") : NULL;
}

const char *fuzz_page_fault(const char *html)
{
    for (const char *at = html; *at;) {
        const char *const fault = *at == '<' ? tag_fault(&at) : NULL;
        if (fault)
            return fault;
        at += *at && *at != '<';
    }
    const char *const open = "&" FUZZ_PAYLOAD ";";
    return strstr(html, open) ? "a text has made a reference" : NULL;
}
