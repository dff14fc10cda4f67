/* SPDX-License-Identifier: MIT
 * Compares the tokenizer of a smaller vocabulary with the whole one. */
#include "formats/base/results.h"
#include "formats/base/text.h"
#include "formats/tokenizer/kept_tokens.h"
#include "formats/tokenizer/tokenizer_parts.h"

#include <stdio.h>
#include <string.h>

static bool same_text(const char *a, const char *b) { return a == b || (a && b && strcmp(a, b) == 0); }

static bool same_bytes(const char *a, size_t a_bytes, const char *b, size_t b_bytes)
{
    return a_bytes == b_bytes && (a_bytes == 0 || memcmp(a, b, a_bytes) == 0);
}

static bool same_steps(const organ_step *a, size_t a_count, const organ_step *b, size_t b_count)
{
    bool same = a_count == b_count;
    for (size_t k = 0; k < a_count && same; k++)
        same = a[k].kind == b[k].kind && a[k].form == b[k].form && a[k].behaviour == b[k].behaviour &&
               a[k].invert == b[k].invert && a[k].cuts == b[k].cuts && a[k].prefix == b[k].prefix &&
               same_text(a[k].pattern, b[k].pattern) &&
               same_bytes(a[k].text, a[k].text_bytes, b[k].text, b[k].text_bytes) &&
               same_bytes(a[k].content, a[k].content_bytes, b[k].content, b[k].content_bytes);
    return same;
}

static bool same_rules(const organ_tokenizer *a, const organ_tokenizer *b)
{
    return a->byte_level == b->byte_level && a->byte_fallback == b->byte_fallback && a->by_scores == b->by_scores &&
           a->fuse_unknown == b->fuse_unknown && a->ignore_merges == b->ignore_merges &&
           same_steps(a->normalizer, a->normalizer_count, b->normalizer, b->normalizer_count) &&
           same_steps(a->pretokenizer, a->pretokenizer_count, b->pretokenizer, b->pretokenizer_count);
}

bool organ_kept_same_tokens(const organ_tokenizer *whole, const organ_tokenizer *made, const uint32_t *ids,
                            size_t count, char *fault, size_t room)
{
    if (made->facts.vocabulary != count) {
        snprintf(fault, room, "the tokenizer has %u tokens, not %zu", made->facts.vocabulary, count);
        return false;
    }
    for (size_t k = 0; k < count; k++) {
        const organ_token *const was = ids[k] < whole->facts.vocabulary ? &whole->tokens[ids[k]] : NULL,
                                 *const is = &made->tokens[k];
        if (was && was->text && is->text && same_bytes(was->text, was->bytes, is->text, is->bytes))
            continue;
        snprintf(fault, room, "token %zu is not token %u of the donor", k, ids[k]);
        return false;
    }
    return true;
}

/* Characters that only merges have are no tokens: their ids follow those of the vocabulary. */
static uint32_t whole_id(const organ_tokenizer *whole, const organ_tokenizer *made, const uint32_t *ids, uint32_t id)
{
    return id < made->facts.vocabulary ? ids[id]
                                       : organ_tokenizer_id(whole, made->tokens[id].text, made->tokens[id].bytes);
}

/* The merges are some of the donor's, in its order. */
static bool same_merges(const organ_tokenizer *whole, const organ_tokenizer *made, const uint32_t *ids,
                        const organ_merge *merges, size_t count, char *fault, size_t room)
{
    uint32_t last = 0;
    for (size_t k = 0; k < count; k++) {
        uint32_t left, right;
        organ_merge_is_of_tokens(&merges[k], &left, &right);
        const organ_merge *const was =
            organ_tokenizer_pair(whole, whole_id(whole, made, ids, left), whole_id(whole, made, ids, right));
        if (!was || was->merged != whole_id(whole, made, ids, merges[k].merged) || was->rank < last) {
            snprintf(fault, room, "merge %zu is none of the donor's, or not in its order", k);
            return false;
        }
        last = was->rank;
    }
    return true;
}

organ_status organ_kept_compare(const organ_tokenizer *whole, const organ_tokenizer *made, const uint32_t *ids,
                                size_t count, size_t *merges, char *fault, size_t room, organ_error *error)
{
    ORGAN_OWNED organ_merge *const list = organ_tokenizer_merges(made, merges);
    *fault = 0;
    if (!list)
        return organ_fail_memory(error, "the merges of a tokenizer");
    if (!same_rules(whole, made))
        snprintf(fault, room, "the tokenizer normalises or splits texts in another way");
    else if (organ_kept_same_tokens(whole, made, ids, count, fault, room))
        same_merges(whole, made, ids, list, *merges, fault, room);
    return ORGAN_OK;
}
