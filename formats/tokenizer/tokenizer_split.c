/* SPDX-License-Identifier: MIT
 * Finds the matches of a step's text or regular expression in a text, and splits the text at them as the package
 * tokenizers does. */
#include "formats/tokenizer/tokenizer_parts.h"

#include <string.h>

/* Limits of the match steps of PCRE2. A "start" is a character at which a match might begin; PCRE2 restarts its count
 * of steps at each start. MATCH_LIMIT is more than any pattern in use needs for a word; a pattern that needs more would
 * take exponential time. MATCH_LIMIT alone would allow hours for a text, so STEPS_FOR_BYTE bounds the sum over all
 * starts. */
enum {
    MATCH_LIMIT = 20000000,   /* most steps for one start */
    FIRST_LIMIT = 64,         /* steps for one start that are tried first */
    STEPS_FOR_BYTE = 1 << 14, /* most steps for a whole text, per byte of it */
    STEPS_AT_ONCE = 1 << 16,  /* steps for one call of pcre2_match, over all its starts */
    STACK_LIMIT = 16 << 20    /* largest stack of compiled patterns, in bytes */
};

bool organ_search_make(organ_search *search, size_t bytes)
{
    search->steps_left = MATCH_LIMIT + (uint64_t)STEPS_FOR_BYTE * bytes;
    search->data = pcre2_match_data_create(1, NULL);
    search->context = pcre2_match_context_create(NULL);
    /* begins with 32 KiB, the size of PCRE2's own stack */
    search->stack = pcre2_jit_stack_create(32 << 10, STACK_LIMIT,
                                           NULL); /* NULL if it cannot be allocated: PCRE2 then uses its own */
    if (!search->data || !search->context)
        return false;
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

/* Sets *last so that `limit` times the number of starts is at most STEPS_AT_ONCE; if `limit` is not below
 * STEPS_AT_ONCE, *last is `from`. Subtracts `limit` from search->steps_left for each start that was tried. */
static int match_with_limit(const organ_step *step, organ_search *search, const char *text, size_t bytes, size_t from,
                            size_t *last, uint32_t limit)
{
    const size_t max = limit < STEPS_AT_ONCE ? STEPS_AT_ONCE / limit - 1 : 0;
    *last = bytes - from > max ? from + max : bytes;
    pcre2_set_match_limit(search->context, limit);
    pcre2_set_offset_limit(search->context, *last);
    const int found =
        pcre2_match(step->regex, (PCRE2_SPTR)text, bytes, from, PCRE2_NO_UTF_CHECK, search->data, search->context);
    /* the starts that were tried: `from` up to the match, or up to *last without a match */
    const size_t begin = found >= 0 ? pcre2_get_ovector_pointer(search->data)[0] : *last;
    const uint64_t taken = limit * (uint64_t)(begin > from ? begin - from + 1 : 1);
    search->steps_left -= taken < search->steps_left ? taken : search->steps_left;
    return found;
}

/* FIRST_LIMIT steps for each start are enough for patterns in use; the limit is raised 16-fold whenever PCRE2
 * reports that it was reached. Returns PCRE2_ERROR_MATCHLIMIT if search->steps_left or MATCH_LIMIT are used up. */
static int match_with_growing_limit(const organ_step *step, organ_search *search, const char *text, size_t bytes,
                                    size_t from)
{
    uint32_t limit = FIRST_LIMIT;
    while (search->steps_left > limit) {
        size_t last;
        const int found = match_with_limit(step, search, text, bytes, from, &last, limit);
        if (found == PCRE2_ERROR_MATCHLIMIT && limit < MATCH_LIMIT) {
            limit = limit < MATCH_LIMIT / 16 ? 16 * limit : MATCH_LIMIT;
            continue;
        }
        if (found != PCRE2_ERROR_NOMATCH || last >= bytes)
            return found;
        /* no match begins up to `last`: continue at the next character */
        for (from = last + 1; from < bytes && ((unsigned char)text[from] & 0xC0) == 0x80;)
            from++;
        limit = FIRST_LIMIT;
    }
    return PCRE2_ERROR_MATCHLIMIT;
}

/* *begin is SIZE_MAX if there is no match. *from becomes the end of the match, or one character further after an
 * empty match, so that the next search does not find it again. */
static organ_status find_regex(const organ_step *step, organ_search *search, const char *text, size_t bytes,
                               size_t *from, size_t *begin, size_t *end, organ_error *error)
{
    *begin = SIZE_MAX;
    if (*from > bytes)
        return ORGAN_OK;
    const int found = match_with_growing_limit(step, search, text, bytes, *from);
    if (found == PCRE2_ERROR_NOMATCH)
        return ORGAN_OK;
    if (found < 0) {
        char reason[120] = "";
        pcre2_get_error_message(found, (PCRE2_UCHAR *)reason, sizeof reason);
        return organ_fail(error, found == PCRE2_ERROR_NOMEMORY ? ORGAN_IO : ORGAN_BAD_INPUT,
                          "the tokenizer's pattern '%.300s' cannot be matched with this text: %s; shorten long runs of "
                          "the same kind of character (line breaks, spaces)",
                          step->pattern, reason);
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

organ_status organ_step_find(const organ_step *step, organ_search *search, const char *text, size_t bytes, size_t *from,
                             size_t *begin, size_t *end, organ_error *error)
{
    if (step->regex)
        return find_regex(step, search, text, bytes, from, begin, end, error);
    const char *found =
        step->text_bytes && *from < bytes ? memmem(text + *from, bytes - *from, step->text, step->text_bytes) : NULL;
    *begin = found ? (size_t)(found - text) : SIZE_MAX;
    *end = *from = found ? *begin + step->text_bytes : bytes;
    return ORGAN_OK;
}

/* A span is a match or the text between two matches. */
typedef struct split_state {
    const organ_step *step;
    organ_piece_sink *sink; /* gets the pieces */
    void *context;          /* of `sink` */
    size_t begin, end; /* byte range of the last piece, which the next span may still join; empty if there is none */
    bool any;          /* there was a previous span */
    bool matched;      /* the previous span counted as match (after step->invert) */
} split_state;

static organ_status emit_piece(split_state *c, organ_error *error)
{
    return c->begin == c->end ? ORGAN_OK : c->sink(c->context, c->begin, c->end, error);
}

static bool joins_previous(const split_state *c, bool match)
{
    switch (c->step->behaviour) {
    case ORGAN_ISOLATED:
    case ORGAN_REMOVED:
        return false;
    case ORGAN_MERGED_WITH_PREVIOUS:
        return c->any && match && !c->matched;
    case ORGAN_MERGED_WITH_NEXT:
        return c->any && !match && c->matched;
    case ORGAN_CONTIGUOUS:
        return c->any && match == c->matched;
    }
    return false;
}

/* `match` is true if the span is a match of the step's pattern, false if it is the text between two matches;
 * step->invert exchanges the two. */
static organ_status add_span(split_state *c, size_t begin, size_t end, bool match, organ_error *error)
{
    if (begin == end)
        return ORGAN_OK;
    match = match != c->step->invert;
    const bool joined = joins_previous(c, match);
    c->matched = match;
    c->any = true;
    if (match && c->step->behaviour == ORGAN_REMOVED)
        return ORGAN_OK;
    if (!joined) {
        if (emit_piece(c, error) != ORGAN_OK)
            return error->status;
        c->begin = begin;
    }
    c->end = end;
    return ORGAN_OK;
}

organ_status organ_step_split(const organ_step *step, organ_search *search, const char *text, size_t bytes,
                              organ_piece_sink *sink, void *context, organ_error *error)
{
    split_state c = {.step = step, .sink = sink, .context = context};
    size_t from = 0, done = 0, begin, end = 0;
    for (;;) {
        if (organ_step_find(step, search, text, bytes, &from, &begin, &end, error) != ORGAN_OK)
            return error->status;
        if (begin == SIZE_MAX)
            break;
        if (add_span(&c, done, begin, false, error) != ORGAN_OK || add_span(&c, begin, end, true, error) != ORGAN_OK)
            return error->status;
        done = end;
    }
    return add_span(&c, done, bytes, false, error) == ORGAN_OK ? emit_piece(&c, error) : error->status;
}
