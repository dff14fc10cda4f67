/* SPDX-License-Identifier: MIT
 * Finding and cutting, as the splits of the tokenizers package do it. */
#include "formats/tokenizer/parts.h"

#include <errno.h>
#include <string.h>

/* More steps than any pattern in use takes for a word; a pattern that needs more would not come to an end. */
enum { MATCH_LIMIT = 20000000, STACK_LIMIT = 16 << 20 };

bool organ_search_make(organ_search *search)
{
    search->data = pcre2_match_data_create(1, NULL);
    search->context = pcre2_match_context_create(NULL);
    search->stack = pcre2_jit_stack_create(32 << 10, STACK_LIMIT, NULL); /* NULL where nothing is compiled: then none is needed */
    if (!search->data || !search->context)
        return false;
    pcre2_set_match_limit(search->context, MATCH_LIMIT);
    if (search->stack)
        pcre2_jit_stack_assign(search->context, NULL, search->stack);
    return true;
}

void organ_search_release(organ_search *search)
{
    pcre2_match_data_free(search->data);
    pcre2_match_context_free(search->context);
    pcre2_jit_stack_free(search->stack);
}

static organ_status find_regex(const organ_step *step, const organ_search *search, const char *text, size_t bytes, size_t *from,
                               size_t *begin, size_t *end, organ_error *error)
{
    *begin = SIZE_MAX;
    if (*from > bytes)
        return ORGAN_OK;
    const int found = pcre2_match(step->regex, (PCRE2_SPTR)text, bytes, *from, PCRE2_NO_UTF_CHECK, search->data, search->context);
    if (found == PCRE2_ERROR_NOMATCH)
        return ORGAN_OK;
    if (found < 0) {
        char reason[120] = "";
        pcre2_get_error_message(found, (PCRE2_UCHAR *)reason, sizeof reason);
        return organ_fail(error, found == PCRE2_ERROR_NOMEMORY ? ORGAN_IO : ORGAN_BAD_INPUT,
                          "the pattern '%.300s' cannot be looked for in this text: %s", step->pattern, reason);
    }
    const PCRE2_SIZE *const places = pcre2_get_ovector_pointer(search->data);
    *begin = places[0];
    *end = places[1];
    *from = *end;
    if (*begin == *end) {
        size_t length = 1;
        if (*end < bytes)
            organ_utf8_at(text + *end, &length);
        *from += length;
    }
    return ORGAN_OK;
}

organ_status organ_step_find(const organ_step *step, const organ_search *search, const char *text, size_t bytes, size_t *from,
                             size_t *begin, size_t *end, organ_error *error)
{
    if (step->regex)
        return find_regex(step, search, text, bytes, from, begin, end, error);
    const char *found = step->text_bytes && *from < bytes ? memmem(text + *from, bytes - *from, step->text, step->text_bytes) : NULL;
    *begin = found ? (size_t)(found - text) : SIZE_MAX;
    *end = *from = found ? *begin + step->text_bytes : bytes;
    return ORGAN_OK;
}

bool organ_spans_add(organ_spans *spans, size_t begin, size_t end)
{
    if (begin == end)
        return true;
    if (!organ_grow(&spans->items, spans->count, &spans->room, sizeof *spans->items))
        return false;
    spans->items[spans->count++] = (organ_span){begin, end};
    return true;
}

typedef struct cut {
    const organ_step *step;
    organ_spans *spans;
    bool any, matched; /* a piece was there before, and was it a match */
} cut;

/* The next stretch of the text, matched or not, under the behaviour of the step. */
static bool add_stretch(cut *c, size_t begin, size_t end, bool match)
{
    organ_spans *spans = c->spans;
    const bool before = c->matched, any = c->any;
    bool join = false;
    match = match != c->step->invert;
    if (begin == end)
        return true;
    c->matched = match;
    c->any = true;
    switch (c->step->behaviour) {
    case ORGAN_ISOLATED:
        break;
    case ORGAN_REMOVED:
        return match || organ_spans_add(spans, begin, end);
    case ORGAN_MERGED_WITH_PREVIOUS:
        join = any && match && !before;
        break;
    case ORGAN_MERGED_WITH_NEXT:
        join = any && !match && before;
        break;
    case ORGAN_CONTIGUOUS:
        join = any && match == before;
        break;
    }
    if (!join)
        return organ_spans_add(spans, begin, end);
    spans->items[spans->count - 1].end = end;
    return true;
}

organ_status organ_step_cut(const organ_step *step, const organ_search *search, const char *text, size_t bytes, organ_spans *spans,
                            organ_error *error)
{
    cut c = {.step = step, .spans = spans};
    size_t from = 0, done = 0, begin, end = 0;
    spans->count = 0;
    bool good = true;
    while (good) {
        if (organ_step_find(step, search, text, bytes, &from, &begin, &end, error) != ORGAN_OK)
            return error->status;
        if (begin == SIZE_MAX)
            break;
        good = add_stretch(&c, done, begin, false) && add_stretch(&c, begin, end, true);
        done = end;
    }
    good = good && add_stretch(&c, done, bytes, false);
    return good ? ORGAN_OK : organ_fail_errno(error, ENOMEM, "the pieces of a text");
}
