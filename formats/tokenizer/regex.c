/* SPDX-License-Identifier: MIT
 * Compiles patterns of tokenizers, which are written for Oniguruma, with PCRE2. This file rewrites a pattern so that
 * PCRE2 matches the same texts, or rejects it. In Oniguruma, unlike in PCRE2, white space is that of Unicode (PCRE2
 * would count U+180E), \v is one character, {m,n}+ is not possessive, \p{Han} is the property Script (PCRE2 would take
 * Script_Extensions), and a class may contain classes and intersections. */
#include "formats/tokenizer/tokenizer_parts.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The members of a class that are white space, and all other characters. */
#define SPACES                                                                                                         \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define NOT_SPACES                                                                                                     \
    "\\x{0}-\\x{8}\\x{e}-\\x{1f}\\x{21}-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}\\x{200b}-\\x{2027}" \
    "\\x{202a}-\\x{202e}"                                                                                              \
    "\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{10ffff}"

/* \w of Oniguruma: alphabetic characters, marks, decimal digits, connectors, and the other numbers of Latin-1. */
#define WORD_CHARACTERS                                                                                                \
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}\\x{24b6}-\\x{24e9}\\x{1f130}-"              \
    "\\x{1f149}\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}"

enum { PATTERN_LIMIT = 1 << 16, SCRIPT_NAME_LIMIT = 40 }; /* upper bounds in bytes: pattern, name of a script */

typedef struct regex_scan {
    const char *what;    /* name of the pattern in messages */
    const char *pattern; /* in Oniguruma's syntax */
    size_t bytes;        /* length of the pattern */
    size_t at;           /* position: offset in the pattern of what to rewrite next */
    bool in_class;       /* the position is inside a class [...] */
    bool class_begins;   /* no member of the class was read yet */
    unsigned inner;      /* number of open classes inside the class */
    bool intersects;     /* put_intersection rewrote the class [A&&[^B]], and the "]" after B was not read yet */
    organ_bytes made;    /* the pattern for PCRE2 so far */
} regex_scan;

static organ_status refuse_pattern(const regex_scan *s, const char *construct, organ_error *error)
{
    return organ_refuse(error, s->what, "the pattern has %s at byte %zu, which is not supported: '%.300s'", construct,
                        s->at, s->pattern);
}

static organ_status put_pattern(regex_scan *s, const char *text, size_t bytes, organ_error *error)
{
    return organ_bytes_add(&s->made, text, bytes) ? ORGAN_OK : organ_fail_memory(error, s->what);
}

static organ_status put_pattern_text(regex_scan *s, const char *text, organ_error *error)
{
    return put_pattern(s, text, strlen(text), error);
}

static organ_status put_unicode(regex_scan *s, organ_error *error)
{
    for (size_t k = 2; k < 6; k++) /* the four digits after "\u" */
        if (s->at + k >= s->bytes || !isxdigit((unsigned char)s->pattern[s->at + k]))
            return refuse_pattern(s, "\\u without four digits", error);
    put_pattern_text(s, "\\x{", error);
    if (!error->status)
        put_pattern(s, s->pattern + s->at + 2, 4, error);
    s->at += 6;
    return error->status ? error->status : put_pattern_text(s, "}", error);
}

/* PCRE2 compiles \p{sc:NAME} if NAME is a script. Old versions of PCRE2, whose \p{NAME} is the property Script,
 * reject the prefix "sc:", so the result is false and the name is used without prefix. */
static bool is_script(const char *name, size_t bytes)
{
    char probe[SCRIPT_NAME_LIMIT + 10];
    int code;
    PCRE2_SIZE place;
    if (bytes < 3 || bytes > SCRIPT_NAME_LIMIT)
        return false;
    for (size_t k = 0; k < bytes; k++)
        if (!isalpha((unsigned char)name[k]) && name[k] != '_')
            return false;
    const int length = snprintf(probe, sizeof probe, "\\p{sc:%.*s}", (int)bytes, name);
    pcre2_code *const regex =
        pcre2_compile((PCRE2_SPTR)probe, (PCRE2_SIZE)length, PCRE2_UTF | PCRE2_UCP, &code, &place, NULL);
    pcre2_code_free(regex);
    return regex != NULL;
}

/* A script such as \p{Han} becomes \p{sc:Han}; \p{L}, \P{L} and \x{20} stay. */
static organ_status put_braced(regex_scan *s, organ_error *error)
{
    const char *begin = s->pattern + s->at, *end = memchr(begin, '}', s->bytes - s->at);
    if (!end)
        return refuse_pattern(s, "a brace that is not closed", error);
    const char *const name = begin + strlen("\\p{");
    s->at += (size_t)(end + 1 - begin);
    if (begin[1] == 'x' || !is_script(name, (size_t)(end - name)))
        return put_pattern(s, begin, (size_t)(end + 1 - begin), error);
    put_pattern(s, begin, (size_t)(name - begin), error);
    put_pattern_text(s, "sc:", error);
    return put_pattern(s, name, (size_t)(end + 1 - name), error);
}

static const struct rewriting {
    char escape;         /* the letter after the backslash */
    const char *outside; /* replacement outside of a class */
    const char *inside;  /* replacement inside of a class; NULL: the escape is rejected there */
} rewritings[] = {
    {'s', "[" SPACES "]", SPACES},
    {'S', "[^" SPACES "]", NOT_SPACES},
    {'w', "[" WORD_CHARACTERS "]", WORD_CHARACTERS},
    {'W', "[^" WORD_CHARACTERS "]", NULL},
    {'b', "(?:(?<=[" WORD_CHARACTERS "])(?![" WORD_CHARACTERS "])|(?<![" WORD_CHARACTERS "])(?=[" WORD_CHARACTERS "]))",
     NULL},
    {'B', "(?:(?<=[" WORD_CHARACTERS "])(?=[" WORD_CHARACTERS "])|(?<![" WORD_CHARACTERS "])(?![" WORD_CHARACTERS "]))",
     NULL},
    {'A', "\\A", NULL},
    {'z', "\\z", NULL},
    {'v', "\\x{b}", "\\x{b}"},
};

/* PCRE2 must match the same as Oniguruma: a letter or digit after the backslash that is not in the list here is
 * rejected, and so is a character outside of ASCII. */
static organ_status put_escape(regex_scan *s, organ_error *error)
{
    const char c = s->at + 1 < s->bytes ? s->pattern[s->at + 1] : 0;
    const char shown[] = {'\\', c, 0};
    if (c == 'u')
        return put_unicode(s, error);
    if (!c || (isalnum((unsigned char)c) && !strchr("sSwWbBAzdDpPrntfvx", c)) || (unsigned char)c >= 0x80)
        return refuse_pattern(s, c ? shown : "a backslash at its end", error);
    if (s->at + 2 < s->bytes && s->pattern[s->at + 2] == '{' && strchr("pPx", c))
        return put_braced(s, error);
    for (size_t k = 0; k < sizeof rewritings / sizeof *rewritings; k++)
        if (rewritings[k].escape == c) {
            const char *const text = s->in_class ? rewritings[k].inside : rewritings[k].outside;
            if (!text)
                return refuse_pattern(s, shown, error);
            s->at += 2;
            return put_pattern_text(s, text, error);
        }
    s->at += 2;
    return put_pattern(s, shown, 2, error);
}

static bool at_text(const regex_scan *s, const char *text)
{
    const size_t length = strlen(text);
    return s->bytes - s->at >= length && memcmp(s->pattern + s->at, text, length) == 0;
}

/* ---- classes ---- */

/* Bit k of a set stands for categories[k]. */
static const char categories[][3] = {"Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl",
                                     "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm", "Sc",
                                     "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co", "Cn"};
enum { CATEGORIES = sizeof categories / sizeof *categories };

/* Returns 0 if the class has anything else than general categories, such as \p{Lu} or \p{M}, before "&&", or no
 * "&&". *end is the offset of "&&". */
static uint32_t categories_until_and(const regex_scan *s, size_t *end)
{
    uint32_t all = 0;
    size_t at = s->at + 1; /* after the "[" */
    while (at + 5 <= s->bytes && memcmp(s->pattern + at, "\\p{", 3) == 0) {
        /* the name has one letter, which stands for all categories that begin with it, or two */
        const size_t length = s->pattern[at + 4] == '}' ? 1 : 2;
        uint32_t found = 0;
        for (unsigned k = 0; k < CATEGORIES; k++)
            found |= (uint32_t)(memcmp(categories[k], s->pattern + at + 3, length) == 0) << k;
        at += 3 + length + 1;
        if (!found || at > s->bytes || s->pattern[at - 1] != '}')
            return 0;
        all |= found;
    }
    *end = at;
    return at + 2 <= s->bytes && memcmp(s->pattern + at, "&&", 2) == 0 ? all : 0;
}

/* An intersection A&&[^B], such as "[\p{Lu}\p{M}&&[^", becomes "[^" and all categories that are not in A; the
 * members of B follow. PCRE2 has no intersections of classes, but A and not B = not (not A or B). Returns false,
 * without any change, if the class has another form. */
static bool put_intersection(regex_scan *s, organ_error *error)
{
    size_t end = 0;
    const uint32_t kept = categories_until_and(s, &end);
    if (!kept || end + 4 > s->bytes || memcmp(s->pattern + end, "&&[^", 4) != 0)
        return false;
    put_pattern_text(s, "[^", error);
    for (unsigned k = 0; k < CATEGORIES && !error->status; k++)
        if (!(kept >> k & 1)) {
            put_pattern_text(s, "\\p{", error);
            put_pattern(s, categories[k], 2, error);
            put_pattern_text(s, "}", error);
        }
    s->at = end + 4;
    s->inner = 1;
    s->in_class = s->class_begins = s->intersects = true;
    return true;
}

/* The members of a class inside a class become members of the outer class. Inner classes for which that would change
 * the meaning are rejected, and so is an intersection [A&&[^B]] with further members after B. */
static organ_status put_inner_bracket(regex_scan *s, organ_error *error)
{
    const bool opens = s->pattern[s->at] == '[';
    const char before = s->made.data[s->made.used - 1], after = s->at + 1 < s->bytes ? s->pattern[s->at + 1] : 0;
    /* Next to an inner class '-' is a literal; as a member of one class it would make a range. */
    if (opens && (after == '^' || after == ':' || after == ']' || after == '[' || before == '-'))
        return refuse_pattern(s, "a nested class that is not a plain union", error);
    if (!opens && after == '-')
        return refuse_pattern(s, "a nested class that is not a plain union", error);
    if (!opens && s->intersects && s->inner == 1 && after != ']')
        return refuse_pattern(s, "an intersection of classes", error);
    s->intersects = s->intersects && (opens || s->inner > 1);
    s->inner = opens ? s->inner + 1 : s->inner - 1;
    s->at++;
    s->class_begins = false;
    return ORGAN_OK;
}

static bool is_supported_group(const regex_scan *s)
{
    static const char *const groups[] = {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:", "(?i)"};
    for (size_t k = 0; k < sizeof groups / sizeof *groups; k++)
        if (at_text(s, groups[k]))
            return true;
    return false;
}

/* No escape sequence begins at the byte. Constructs that PCRE2 would interpret differently are rejected. */
static organ_status put_character(regex_scan *s, organ_error *error)
{
    const char c = s->pattern[s->at];
    if (s->in_class) {
        if (at_text(s, "&&"))
            return refuse_pattern(s, "an intersection of classes", error);
        if (c == ']' && s->class_begins)
            return refuse_pattern(s, "']' as the first of a class", error);
        if (c == '[' || (c == ']' && s->inner))
            return put_inner_bracket(s, error);
        s->in_class = c != ']';
        s->class_begins = s->class_begins && c == '^';
    } else if (c == '[') {
        if (put_intersection(s, error))
            return error->status;
        s->in_class = s->class_begins = true;
    } else if (at_text(s, "}+")) {
        return refuse_pattern(s, "'}+'", error);
    } else if (at_text(s, "(?") && !is_supported_group(s)) {
        return refuse_pattern(s, "a group of an unknown kind", error);
    } else if (at_text(s, "(*")) {
        return refuse_pattern(s, "a backtracking verb", error);
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

/* Only a line feed ends a line, as in Oniguruma, whatever the default of this build of PCRE2 is. On error returns
 * NULL and sets *code and *place to PCRE2's error code and offset. */
static pcre2_code *compile_rewritten(const organ_bytes *made, int *code, PCRE2_SIZE *place)
{
    pcre2_compile_context *const context = pcre2_compile_context_create(NULL);
    pcre2_code *regex = NULL;
    *code = PCRE2_ERROR_HEAP_FAILED;
    /* MULTILINE: ^ and $ always match at the ends of lines in Oniguruma. match_with_limit needs USE_OFFSET_LIMIT. */
    if (context && pcre2_set_newline(context, PCRE2_NEWLINE_LF) == 0)
        regex = pcre2_compile((PCRE2_SPTR)(made->data ? made->data : ""), made->used,
                              PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_USE_OFFSET_LIMIT, code, place, context);
    pcre2_compile_context_free(context);
    return regex;
}

organ_status organ_regex_compile(const char *what, const char *pattern, size_t bytes, pcre2_code **regex,
                                 organ_error *error)
{
    regex_scan s = {.what = what, .pattern = pattern, .bytes = bytes};
    if (bytes > PATTERN_LIMIT)
        return organ_refuse(error, what, "the pattern has %zu bytes; the limit is %d", bytes, PATTERN_LIMIT);
    rewrite_pattern(&s, error);
    if (!error->status) {
        int code = 0;
        PCRE2_SIZE place = 0;
        *regex = compile_rewritten(&s.made, &code, &place);
        if (!*regex && code == PCRE2_ERROR_HEAP_FAILED) {
            organ_fail_errno(error, ENOMEM, "%s: the pattern '%.300s'", what, pattern);
        } else if (!*regex) {
            char reason[120] = "";
            pcre2_get_error_message(code, (PCRE2_UCHAR *)reason, sizeof reason);
            organ_refuse(error, what, "the pattern '%.300s' is wrong: %s", pattern, reason);
        } else {
            /* If the system does not allow code generation, the pattern is interpreted: same result, but slower. */
            pcre2_jit_compile(*regex, PCRE2_JIT_COMPLETE);
        }
    }
    free(s.made.data);
    return error->status;
}
