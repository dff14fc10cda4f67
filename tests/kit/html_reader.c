/* SPDX-License-Identifier: MIT
 * A reader of HTML that accepts only the elements of organ's pages. */
#include "tests/kit/html_reader.h"

#include "formats/base/text.h"
#include <organ/report.h>
#include "tests/kit/svg_reader.h"
#include "tests/kit/require.h"

#include <check.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { DEEPEST = 32 };

typedef struct reader {
    const char *open[DEEPEST]; /* names of the open elements, within the page */
    size_t lengths[DEEPEST], depth;
    size_t h1, styles, scripts, mains;
} reader;

static bool is(const char *name, size_t length, const char *what)
{
    return strlen(what) == length && strncmp(name, what, length) == 0;
}

static const char *skip_name(const char *at)
{
    while ((*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') || (*at >= '0' && *at <= '9') || *at == '-' ||
           *at == ':')
        at++;
    return at;
}

static const char *skip_text(const char *at, const char *ends)
{
    static const char *const entities[] = {"&amp;", "&lt;", "&gt;", "&quot;"};
    for (; *at && !strchr(ends, *at); at++) {
        bool known = *at != '&';
        for (size_t k = 0; k < 4 && !known; k++)
            known = strncmp(at, entities[k], strlen(entities[k])) == 0;
        if (!known || *at == '>' || ((unsigned char)*at < 0x20 && *at != '\n'))
            ck_abort_msg("what may not stand in text: %.40s", at);
    }
    REQUIRE_MSG(*at, "no end");
    return at;
}

static const char *skip_attributes(const char *at)
{
    while (*at == ' ') {
        const char *const name = ++at;
        at = skip_name(at);
        REQUIRE_MSG(at > name && strncmp(at, "=\"", 2) == 0, "no attribute: %.40s", name);
        REQUIRE_MSG(strncmp(name, "on", 2) != 0 && strncmp(name, "src", 3) != 0 && strncmp(name, "style", 5) != 0,
                    "%.40s", name);
        REQUIRE_MSG(strncmp(name, "href", 4) != 0 || strncmp(at, "=\"#", 3) == 0, "a link that leaves the page: %.40s",
                    name);
        at = skip_text(at + 2, "\"") + 1;
    }
    return at;
}

static const char *read_start(reader *r, const char *at)
{
    const char *const name = at + 1, *const end = skip_name(name);
    const size_t length = (size_t)(end - name);
    REQUIRE_MSG(length > 0, "%.40s", at);
    at = skip_attributes(end);
    if (strncmp(at, "/>", 2) == 0)
        return at + 2;
    REQUIRE_MSG(*at == '>', "%.40s", at);
    r->h1 += is(name, length, "h1");
    r->mains += is(name, length, "main");
    r->styles += is(name, length, "style");
    r->scripts += is(name, length, "script");
    if (is(name, length, "meta"))
        return at + 1;
    if (is(name, length, "style"))
        return strstr(at, "</style>") + 8;
    if (is(name, length, "script"))
        return strstr(at, "</script>") + 9;
    REQUIRE(r->depth < DEEPEST);
    r->open[r->depth] = name;
    r->lengths[r->depth++] = length;
    return at + 1;
}

static const char *read_end(reader *r, const char *at)
{
    const char *const name = at + 2, *const end = skip_name(name);
    REQUIRE_MSG(r->depth > 0 && *end == '>', "%.40s", at);
    r->depth--;
    REQUIRE_MSG(r->lengths[r->depth] == (size_t)(end - name) &&
                    strncmp(r->open[r->depth], name, (size_t)(end - name)) == 0,
                "%.*s ends as %.40s", (int)r->lengths[r->depth], r->open[r->depth], at);
    return end + 1;
}

/* Checks that each id occurs once and that each reference has a target. */
static void check_names(const char *page)
{
    static const char *const references[] = {"href=\"#", "aria-labelledby=\"", "aria-describedby=\""};
    for (const char *at = strstr(page, " id=\""); at; at = strstr(at + 1, " id=\"")) {
        char whole[160];
        snprintf(whole, sizeof whole, "%.*s\"", (int)strcspn(at + 5, "\"") + 5, at);
        ck_assert_msg(count_in(page, whole) == 1, "%s stands there twice", whole);
    }
    for (size_t k = 0; k < sizeof references / sizeof *references; k++)
        for (const char *at = strstr(page, references[k]); at; at = strstr(at + 1, references[k])) {
            char id[160];
            const char *const name = at + strlen(references[k]);
            snprintf(id, sizeof id, " id=\"%.*s\"", (int)strcspn(name, "\""), name);
            ck_assert_msg(strstr(page, id), "nothing has%s", id);
        }
}

size_t html_seal(const char *at)
{
    static const char opens[] = "<!-- organ: ", closes[] = " -->\n";
    const size_t digest = sizeof opens - 1, end = digest + 16;
    return strncmp(at, opens, digest) == 0 && strspn(at + digest, "0123456789abcdef") == 16 &&
                   strcmp(at + end, closes) == 0
               ? end + sizeof closes - 1
               : 0;
}

void html_must_be_page(const char *page)
{
    static const char start[] = "<!doctype html>\n";
    reader r = {0};
    ck_assert(strncmp(page, start, sizeof start - 1) == 0);
    const char *at = page + sizeof start - 1;
    while (*at) {
        if (*at != '<')
            at = *at == '\n' && r.depth == 0 ? at + 1 : skip_text(at, "<");
        else if (r.depth == 0 && html_seal(at))
            at += html_seal(at);
        else
            at = at[1] == '/' ? read_end(&r, at) : read_start(&r, at);
    }
    ck_assert_uint_eq(r.depth, 0);
    ck_assert_msg(r.h1 == 1 && r.mains == 1 && r.styles == 1 && r.scripts == 1,
                  "h1 %zu, main %zu, style %zu, script %zu", r.h1, r.mains, r.styles, r.scripts);
    ck_assert(organ_utf8_valid(page));
    ck_assert_ptr_null(strstr(page, "\xe2\x80\xae"));
    static const char *const needed[] = {"<html lang=\"en\">",
                                         "<meta charset=\"utf-8\">",
                                         "name=\"viewport\"",
                                         "Content-Security-Policy\" content=\"default-src 'none'",
                                         "prefers-color-scheme:dark",
                                         "@media print",
                                         "class=\"skip\" href=\"#main\"",
                                         "<main id=\"main\">"};
    for (size_t k = 0; k < sizeof needed / sizeof *needed; k++)
        ck_assert_msg(strstr(page, needed[k]), "no %s", needed[k]);
    ck_assert_ptr_null(strstr(page, "url("));
    ck_assert_ptr_null(strstr(page, "@import"));
    check_names(page);
}

char *html_page_of(const json_t *report)
{
    organ_error error = {0};
    char *page = NULL;
    ck_assert_msg(organ_html_report(report, &page, &error) == ORGAN_OK, "%s", error.message);
    html_must_be_page(page);
    return page;
}
