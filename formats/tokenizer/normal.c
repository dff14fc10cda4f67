/* SPDX-License-Identifier: MIT
 * Normalises text: makes it valid UTF-8, converts it to normal forms, applies the small rewritings of tokenizers,
 * and limits how long a text may become. */
#include "formats/tokenizer/tokenizer_parts.h"

#include "formats/base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* As Unicode recommends, these bytes are the longest prefix of a valid sequence, at least one byte. */
static size_t broken_length(const unsigned char *s, size_t remaining)
{
    /* Table 3-7 of the Unicode Standard: range of the first byte, range of the second byte, length of the sequence in
     * bytes. Further bytes are from 0x80 to 0xBF. */
    static const struct {
        unsigned char first, last, low, high, length;
    } rows[] = {{0xC2, 0xDF, 0x80, 0xBF, 2}, {0xE0, 0xE0, 0xA0, 0xBF, 3}, {0xE1, 0xEC, 0x80, 0xBF, 3},
                {0xED, 0xED, 0x80, 0x9F, 3}, {0xEE, 0xEF, 0x80, 0xBF, 3}, {0xF0, 0xF0, 0x90, 0xBF, 4},
                {0xF1, 0xF3, 0x80, 0xBF, 4}, {0xF4, 0xF4, 0x80, 0x8F, 4}};
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        if (s[0] < rows[k].first || s[0] > rows[k].last)
            continue;
        if (remaining < 2 || s[1] < rows[k].low || s[1] > rows[k].high)
            return 1;
        size_t length = 2;
        while (length < rows[k].length && length < remaining && s[length] >= 0x80 && s[length] <= 0xBF)
            length++;
        return length;
    }
    return 1;
}

bool organ_utf8_is_valid_text(const char *text, size_t bytes)
{
    const unsigned char *const s = (const unsigned char *)text;
    uint32_t code;
    for (size_t at = 0; at < bytes;) {
        const size_t length = s[at] < 0x80 ? 1 : organ_utf8_within(s + at, bytes - at, &code);
        if (!length)
            return false;
        at += length;
    }
    return true;
}

bool organ_utf8_append_valid(const char *text, size_t bytes, organ_bytes *to)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t good = 0;
    uint32_t code;
    for (size_t at = 0; at < bytes;) {
        const size_t length = s[at] < 0x80 ? 1 : organ_utf8_within(s + at, bytes - at, &code);
        if (length) {
            at += length;
            continue;
        }
        if (!organ_bytes_add(to, text + good, at - good) || !organ_bytes_add(to, "\xEF\xBF\xBD", 3))
            return false;
        at += broken_length(s + at, bytes - at);
        good = at;
    }
    return organ_bytes_add(to, text + good, bytes - good);
}

/* ---- normal forms ---- */

enum { CHARACTER_CODES = 32 }; /* room for the decomposition of one character, which has at most 18 code points */

typedef struct code_list {
    utf8proc_int32_t *codes;
    size_t count, capacity;
} code_list;

static unsigned class_of(utf8proc_int32_t code) { return (unsigned)utf8proc_get_property(code)->combining_class; }

/* Uses counting sort, because a hostile text may consist of marks only. */
static bool order_marks(utf8proc_int32_t *codes, size_t count)
{
    if (count < 2)
        return true;
    size_t places[257] = {0}; /* by class, 0 to 255: index of the next mark of this class in the sorted run */
    for (size_t k = 0; k < count; k++)
        places[class_of(codes[k]) + 1]++;
    for (size_t k = 1; k < 257; k++)
        places[k] += places[k - 1];
    utf8proc_int32_t few[32], *ordered = count <= 32 ? few : malloc(count * sizeof *ordered);
    if (!ordered)
        return false;
    for (size_t k = 0; k < count; k++)
        ordered[places[class_of(codes[k])]++] = codes[k];
    memcpy(codes, ordered, count * sizeof *ordered);
    if (ordered != few)
        free(ordered);
    return true;
}

/* Combining marks get their canonical order as soon as a starter follows. Returns false if memory runs out. */
static bool decompose_text(const organ_bytes *bytes, bool compatible, code_list *list)
{
    const int options = (compatible ? UTF8PROC_COMPAT : 0) | UTF8PROC_STABLE | UTF8PROC_DECOMPOSE;
    size_t length, marks_begin = 0; /* marks_begin: index after the last code point that is not a combining mark */
    for (size_t at = 0; at < bytes->used; at += length) {
        const uint32_t code = organ_utf8_at(bytes->data + at, &length);
        if (!organ_grow(&list->codes, list->count + CHARACTER_CODES, &list->capacity, sizeof *list->codes))
            return false;
        const utf8proc_ssize_t decomposed =
            utf8proc_decompose_char((utf8proc_int32_t)code, list->codes + list->count, CHARACTER_CODES, options, NULL);
        for (utf8proc_ssize_t k = 0; k < decomposed; k++, list->count++)
            if (class_of(list->codes[list->count]) == 0) {
                if (!order_marks(list->codes + marks_begin, list->count - marks_begin))
                    return false;
                marks_begin = list->count + 1;
            }
    }
    return order_marks(list->codes + marks_begin, list->count - marks_begin);
}

/* NFC (form 0) changes no character below U+0300; only the UTF-8 of characters from U+0300 on has a byte of 0xCC or
 * more. No form changes an ASCII character. */
static bool is_unchanged_by_form(const char *text, size_t bytes, unsigned form)
{
    const unsigned char limit = form == 0 ? 0xCC : 0x80;
    for (size_t k = 0; k < bytes; k++)
        if ((unsigned char)text[k] >= limit)
            return false;
    return true;
}

/* The forms are 0 NFC, 1 NFD, 2 NFKC, 3 NFKD. Returns false if memory is exhausted or the result exceeds bytes->max. */
static bool to_form(organ_bytes *bytes, unsigned form)
{
    if (is_unchanged_by_form(bytes->data, bytes->used, form))
        return true;
    code_list list = {0};
    bool complete = decompose_text(bytes, form >= 2, &list);
    if (complete && form % 2 == 0)
        list.count = (size_t)utf8proc_normalize_utf32(list.codes, (utf8proc_ssize_t)list.count,
                                                      UTF8PROC_COMPOSE | UTF8PROC_STABLE);
    bytes->used = 0;
    for (size_t k = 0; k < list.count && complete; k++) {
        char text[4];
        complete = organ_bytes_add(bytes, text, organ_utf8_put((uint32_t)list.codes[k], text));
    }
    free(list.codes);
    return complete;
}

/* ---- small rewritings ---- */

/* Each code point is lowered without context, as in the package tokenizers. */
static bool lowercase_text(const organ_bytes *from, organ_bytes *to)
{
    size_t length;
    for (size_t at = 0; at < from->used; at += length) {
        const uint32_t code = organ_utf8_at(from->data + at, &length);
        char text[4];
        /* the only character whose lower case has two code points */
        const bool complete =
            code == 0x130
                ? organ_bytes_add(to, "i\xCC\x87", 3)
                : organ_bytes_add(to, text, organ_utf8_put((uint32_t)utf8proc_tolower((utf8proc_int32_t)code), text));
        if (!complete)
            return false;
    }
    return true;
}

/* Sets *complete, which must be true at first, to false if memory is exhausted or the result exceeds to->max; in
 * this case returns ORGAN_OK, and the caller reports the fault. */
static organ_status replace_matches(const organ_step *step, organ_search *search, const organ_bytes *from,
                                    organ_bytes *to, bool *complete, organ_error *error)
{
    size_t at = 0, done = 0, begin, end = 0;
    while (*complete) {
        if (organ_step_find(step, search, from->data, from->used, &at, &begin, &end, error) != ORGAN_OK)
            return error->status;
        if (begin == SIZE_MAX)
            break;
        *complete = organ_bytes_add(to, from->data + done, begin - done) &&
                    organ_bytes_add(to, step->content, step->content_bytes);
        done = end;
    }
    *complete = *complete && organ_bytes_add(to, from->data + done, from->used - done);
    return ORGAN_OK;
}

/* ---- how long a text may become ---- */

/* Limits of the output of a step for a text of n bytes (organ_growth_of): at most GROWTH_BASE + GROWTH * n bytes, and
 * GROWTH_BASE + GROWTH_ALWAYS * n bytes even if t->memory is less. The steps in use make a text at most 66 = 11 * 3 * 2
 * times as long: U+FDFA is 11 times as long in NFKC, a blank as mark 3 times, a byte as letter twice. */
#define GROWTH_BASE   ((size_t)64 << 10)
#define GROWTH        128u
#define GROWTH_ALWAYS 16u

static size_t multiply_saturating(size_t text, size_t factor)
{
    return text > SIZE_MAX / 2 / factor ? SIZE_MAX / 2 : text * factor;
}

organ_growth organ_growth_of(const organ_tokenizer *t, size_t text)
{
    const size_t wide = GROWTH_BASE + multiply_saturating(text, GROWTH),
                 always = GROWTH_BASE + multiply_saturating(text, GROWTH_ALWAYS);
    const size_t memory = t->memory < SIZE_MAX / 2 ? (size_t)t->memory : SIZE_MAX / 2,
                 max = memory > always ? memory : always;
    return (organ_growth){.text = text, .limit = wide < max ? wide : max};
}

void organ_growth_begin(const organ_growth *growth, size_t so_far, organ_bytes *made)
{
    made->bounded = true;
    made->exceeded = false;
    made->max = growth->limit - so_far;
}

static const char *name_of_step(const organ_step *step)
{
    static const char *const forms[] = {"NFC", "NFD", "NFKC", "NFKD"};
    static const char *const kinds[] = {
        [ORGAN_STEP_NORMAL_FORM] = "",       [ORGAN_STEP_LOWERCASE] = "Lowercase", [ORGAN_STEP_PREPEND] = "Prepend",
        [ORGAN_STEP_REPLACE] = "Replace",    [ORGAN_STEP_SPLIT] = "Split",         [ORGAN_STEP_BYTES] = "ByteLevel",
        [ORGAN_STEP_METASPACE] = "Metaspace"};
    return step->kind == ORGAN_STEP_NORMAL_FORM ? forms[step->form] : kinds[step->kind];
}

/* A malicious tokenizer can make a step exceed the limit. */
organ_status organ_growth_end(const organ_tokenizer *t, organ_growth *growth, const organ_step *step, organ_bytes *made,
                              bool good, organ_error *error)
{
    const bool cuts = step >= t->pretokenizer && step < t->pretokenizer + t->pretokenizer_count;
    const size_t number = (size_t)(step - (cuts ? t->pretokenizer : t->normalizer));
    (cuts ? growth->pretokenizer : growth->normalizer)[number] += good ? made->used : 0;
    made->bounded = false;
    if (good)
        return ORGAN_OK;
    if (!made->exceeded)
        return organ_fail_errno(error, ENOMEM, "the tokens of a text of %zu bytes", growth->text);
    return organ_fail(
        error, ORGAN_BAD_INPUT, "the tokenizer's %s: step %zu of %zu, %s, makes more than %zu bytes of a text of %zu",
        cuts ? "pre_tokenizer" : "normalizer", number + 1, cuts ? t->pretokenizer_count : t->normalizer_count,
        name_of_step(step), growth->limit, growth->text);
}

static organ_status rewrite_text(const organ_tokenizer *t, const organ_step *step, organ_search *search,
                                 organ_growth *growth, organ_bytes *bytes, organ_error *error)
{
    organ_bytes rewritten = {0};
    bool complete = true;
    organ_growth_begin(growth, growth->normalizer[step - t->normalizer], &rewritten);
    if (step->kind == ORGAN_STEP_LOWERCASE)
        complete = lowercase_text(bytes, &rewritten);
    else if (step->kind == ORGAN_STEP_PREPEND)
        complete = organ_bytes_add(&rewritten, step->text, step->text_bytes) &&
                   organ_bytes_add(&rewritten, bytes->data, bytes->used);
    else
        replace_matches(step, search, bytes, &rewritten, &complete, error);
    if (!error->status)
        organ_growth_end(t, growth, step, &rewritten, complete, error);
    free(bytes->data);
    *bytes = rewritten;
    return error->status;
}

/* The normalizer is known to change nothing only if all steps are normal forms. */
bool organ_is_normal(const organ_tokenizer *t, const char *text, size_t bytes)
{
    for (size_t k = 0; k < t->normalizer_count; k++)
        if (t->normalizer[k].kind != ORGAN_STEP_NORMAL_FORM ||
            !is_unchanged_by_form(text, bytes, t->normalizer[k].form))
            return false;
    return true;
}

organ_status organ_normalise(const organ_tokenizer *t, organ_search *search, organ_growth *growth, organ_bytes *bytes,
                             organ_error *error)
{
    for (size_t k = 0; k < t->normalizer_count && bytes->used && !error->status; k++) {
        const organ_step *step = &t->normalizer[k];
        if (step->kind == ORGAN_STEP_NORMAL_FORM) {
            organ_growth_begin(growth, growth->normalizer[k], bytes);
            const bool good = to_form(bytes, step->form);
            organ_growth_end(t, growth, step, bytes, good, error);
        } else {
            rewrite_text(t, step, search, growth, bytes, error);
        }
    }
    return error->status;
}
