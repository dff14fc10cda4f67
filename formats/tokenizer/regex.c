/* SPDX-License-Identifier: MIT
 * Patterns of tokenizers are written for Oniguruma. Here they are rewritten for PCRE2 so that they match the same, or
 * refused. What differs: white space is that of Unicode (PCRE2 would count U+180E), \v is one character, {m,n}+ is not
 * possessive. */
#include "formats/tokenizer/parts.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SPACES                                                                                                         \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define NOT_SPACES                                                                                                     \
    "\\x{0}-\\x{8}\\x{e}-\\x{1f}\\x{21}-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}\\x{200b}-\\x{2027}" \
    "\\x{202a}-\\x{202e}"                                                                                              \
    "\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{10ffff}"

enum { PATTERN_LIMIT = 1 << 16 };

typedef struct regex_scan {
    const char *what, *pattern;
    size_t bytes, at;
    bool in_class, class_begins;
    organ_bytes made;
} regex_scan;

static organ_status refuse_pattern(const regex_scan *s, const char *construct, organ_error *error)
{
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: the pattern has %s at byte %zu, which is not supported: '%.300s'",
                      s->what, construct, s->at, s->pattern);
}

static organ_status put_pattern(regex_scan *s, const char *text, size_t bytes, organ_error *error)
{
    return organ_bytes_add(&s->made, text, bytes) ? ORGAN_OK : organ_fail_memory(error, s->what);
}

static organ_status put_pattern_text(regex_scan *s, const char *text, organ_error *error)
{
    return put_pattern(s, text, strlen(text), error);
}

/* \uXXXX */
static organ_status put_unicode(regex_scan *s, organ_error *error)
{
    for (size_t k = 2; k < 6; k++)
        if (s->at + k >= s->bytes || !isxdigit((unsigned char)s->pattern[s->at + k]))
            return refuse_pattern(s, "\\u without four digits", error);
    put_pattern_text(s, "\\x{", error);
    if (!error->status)
        put_pattern(s, s->pattern + s->at + 2, 4, error);
    s->at += 6;
    return error->status ? error->status : put_pattern_text(s, "}", error);
}

/* \p{L}, \x{20} */
static organ_status put_braced(regex_scan *s, organ_error *error)
{
    const char *begin = s->pattern + s->at, *end = memchr(begin, '}', s->bytes - s->at);
    if (!end)
        return refuse_pattern(s, "a brace that is not closed", error);
    s->at += (size_t)(end - begin) + 1;
    return put_pattern(s, begin, (size_t)(end - begin) + 1, error);
}

static organ_status put_escape(regex_scan *s, organ_error *error)
{
    const char c = s->at + 1 < s->bytes ? s->pattern[s->at + 1] : 0;
    const char shown[] = {'\\', c, 0};
    if (c == 'u')
        return put_unicode(s, error);
    if (!c || (isalnum((unsigned char)c) && !strchr("sSdDpPrntfvx", c)) || (unsigned char)c >= 0x80)
        return refuse_pattern(s, c ? shown : "a backslash at its end", error);
    if (s->at + 2 < s->bytes && s->pattern[s->at + 2] == '{' && strchr("pPx", c))
        return put_braced(s, error);
    s->at += 2;
    if (c == 's' || c == 'S') {
        organ_status status = s->in_class ? ORGAN_OK : put_pattern_text(s, c == 's' ? "[" : "[^", error);
        if (status == ORGAN_OK)
            status = put_pattern_text(s, s->in_class && c == 'S' ? NOT_SPACES : SPACES, error);
        return status != ORGAN_OK || s->in_class ? status : put_pattern_text(s, "]", error);
    }
    return c == 'v' ? put_pattern_text(s, "\\x{b}", error) : put_pattern(s, shown, 2, error);
}

static bool at_text(const regex_scan *s, const char *text)
{
    const size_t length = strlen(text);
    return s->bytes - s->at >= length && memcmp(s->pattern + s->at, text, length) == 0;
}

static organ_status put_character(regex_scan *s, organ_error *error)
{
    const char c = s->pattern[s->at];
    if (s->in_class) {
        if (c == '[' || at_text(s, "&&"))
            return refuse_pattern(s, c == '[' ? "a class in a class" : "an intersection of classes", error);
        if (c == ']' && s->class_begins)
            return refuse_pattern(s, "']' as the first of a class", error);
        s->in_class = c != ']';
        s->class_begins = s->class_begins && c == '^';
    } else if (c == '[') {
        s->in_class = s->class_begins = true;
    } else if (at_text(s, "}+") || c == '$') {
        return refuse_pattern(s, c == '$' ? "'$'" : "'}+'", error);
    } else if (at_text(s, "(?") && !at_text(s, "(?:") && !at_text(s, "(?=") && !at_text(s, "(?!") &&
               !at_text(s, "(?<=") && !at_text(s, "(?<!") && !at_text(s, "(?>") && !at_text(s, "(?i:") &&
               !at_text(s, "(?i)")) {
        return refuse_pattern(s, "a group of an unknown kind", error);
    } else if (at_text(s, "(*")) {
        return refuse_pattern(s, "a verb", error);
    }
    s->at++;
    return put_pattern(s, &c, 1, error);
}

static organ_status rewrite_pattern(regex_scan *s, organ_error *error)
{
    while (s->at < s->bytes && !error->status)
        if (s->pattern[s->at] == '\\') {
            put_escape(s, error);
            s->class_begins = false;
        } else {
            put_character(s, error);
        }
    return error->status;
}

organ_status organ_regex_compile(const char *what, const char *pattern, size_t bytes, pcre2_code **regex,
                                 organ_error *error)
{
    regex_scan s = {.what = what, .pattern = pattern, .bytes = bytes};
    if (bytes > PATTERN_LIMIT)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: the pattern has %zu bytes; at most %d are read", what, bytes,
                          PATTERN_LIMIT);
    rewrite_pattern(&s, error);
    if (!error->status) {
        int code = 0;
        PCRE2_SIZE place = 0;
        *regex = pcre2_compile((PCRE2_SPTR)(s.made.data ? s.made.data : ""), s.made.used,
                               PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_USE_OFFSET_LIMIT, &code, &place, NULL);
        if (!*regex && code == PCRE2_ERROR_HEAP_FAILED) {
            organ_fail_errno(error, ENOMEM, "%s: the pattern '%.300s'", what, pattern);
        } else if (!*regex) {
            char reason[120] = "";
            pcre2_get_error_message(code, (PCRE2_UCHAR *)reason, sizeof reason);
            organ_fail(error, ORGAN_BAD_INPUT, "%s: the pattern '%.300s' is wrong: %s", what, pattern, reason);
        } else {
            /* Where the system allows no code to be made while a program runs, the pattern is interpreted: the same,
             * but slower. */
            pcre2_jit_compile(*regex, PCRE2_JIT_COMPLETE);
        }
    }
    free(s.made.data);
    return error->status;
}
