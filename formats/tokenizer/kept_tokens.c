/* SPDX-License-Identifier: MIT
 * Finds the tokens and merges that texts need. A token that stays is put into a list; for each token of the list the
 * last merge that encodes its text is kept, and the two tokens that it joins are put into the list. */
#include "formats/tokenizer/kept_tokens.h"

#include "formats/base/results.h"
#include "formats/base/text.h"
#include "formats/tokenizer/tokenizer_parts.h"

#include <stdlib.h>
#include <string.h>

static organ_status lack_memory(organ_error *error) { return organ_fail_memory(error, "the tokens that stay"); }

static bool stays(const organ_kept_tokens *kept, uint32_t id)
{
    return id < kept->tokenizer->facts.vocabulary ? kept->why[id] != 0 : id != ORGAN_NO_ID;
}

/* Ids after the vocabulary are characters that only merges have: they have no row, and always stay. */
static bool keep(organ_kept_tokens *k, uint32_t id, unsigned why)
{
    const organ_tokenizer *const t = k->tokenizer;
    if (id >= t->facts.vocabulary || !t->tokens[id].text)
        return true;
    const bool fresh = k->why[id] == 0, merged = why & (ORGAN_KEPT_USED | ORGAN_KEPT_PART | ORGAN_KEPT_POLICY),
               was_merged = k->why[id] & (ORGAN_KEPT_USED | ORGAN_KEPT_PART | ORGAN_KEPT_POLICY);
    k->count += fresh;
    k->why[id] |= (unsigned char)why;
    if (!merged || was_merged)
        return true;
    if (!organ_grow(&k->open, k->open_count, &k->open_room, sizeof *k->open))
        return false;
    k->open[k->open_count++] = id;
    return true;
}

static bool is_reserved(const organ_token *token)
{
    const char *const text = token->text;
    for (size_t at = 0; at + 6 <= token->bytes; at++)
        if (strncasecmp(text + at, "unused", 6) == 0 ||
            (at + 8 <= token->bytes && strncasecmp(text + at, "reserved", 8) == 0))
            return true;
    return token->unused;
}

static bool keep_added(organ_kept_tokens *k, const organ_added_list *list)
{
    bool complete = true;
    for (size_t i = 0; i < list->count && complete; i++)
        if (list->items[i].id < k->tokenizer->token_count && !is_reserved(&k->tokenizer->tokens[list->items[i].id]))
            complete = keep(k, list->items[i].id, ORGAN_KEPT_ADDED);
    return complete;
}

static bool is_one_character(const organ_token *token)
{
    size_t length;
    if (!token->text || token->bytes == 0)
        return false;
    organ_utf8_at(token->text, &length);
    return token->bytes <= length;
}

/* Tokens of bytes do not write the mark of a blank: they decode to the mark. */
static bool is_written_in_bytes(const organ_tokenizer *t, const organ_token *token)
{
    if (t->byte_level)
        return true;
    bool written = (t->byte_fallback || t->by_scores) && token->bytes == token->piece_bytes &&
                   memcmp(token->text, token->piece, token->bytes) == 0;
    for (uint32_t k = 0; k < token->bytes && written; k++)
        written = t->byte_ids[(unsigned char)token->text[k]] != ORGAN_NO_ID;
    return written;
}

static bool keep_bytes(organ_kept_tokens *k)
{
    const organ_tokenizer *const t = k->tokenizer;
    bool complete = true;
    for (unsigned byte = 0; byte < 256 && complete; byte++) {
        const uint32_t id = t->byte_level ? t->letters[organ_byte_to_unicode((unsigned char)byte)] : t->byte_ids[byte];
        complete = id == ORGAN_NO_ID || keep(k, id, ORGAN_KEPT_BYTE);
    }
    for (uint32_t id = 0; id < t->facts.vocabulary && complete; id++)
        if (is_one_character(&t->tokens[id]) && !is_written_in_bytes(t, &t->tokens[id]))
            complete = keep(k, id, ORGAN_KEPT_BYTE);
    return complete;
}

static organ_status begin(organ_kept_tokens *kept, const organ_tokenizer *t, organ_error *error)
{
    *kept = (organ_kept_tokens){.tokenizer = t,
                                .why = calloc(t->token_count + 1, 1),
                                .merges = calloc(t->merge_slots + 1, sizeof *kept->merges)};
    return kept->why && kept->merges ? ORGAN_OK : lack_memory(error);
}

organ_status organ_kept_begin(organ_kept_tokens *kept, const organ_tokenizer *t, organ_error *error)
{
    if (begin(kept, t, error))
        return error->status;
    const bool complete = keep_added(kept, &t->raw) && keep_added(kept, &t->normalized) && keep_bytes(kept) &&
                          (t->unknown == ORGAN_NO_ID || keep(kept, t->unknown, ORGAN_KEPT_ADDED));
    return complete ? ORGAN_OK : lack_memory(error);
}

void organ_kept_release(organ_kept_tokens *kept) { ORGAN_FREE_ARRAYS(kept->why, kept->merges, kept->open); }

organ_status organ_kept_copy(organ_kept_tokens *copy, const organ_kept_tokens *kept, organ_error *error)
{
    const organ_tokenizer *const t = kept->tokenizer;
    *copy = *kept;
    copy->open = NULL;
    copy->open_count = copy->open_room = 0;
    copy->why = malloc(t->token_count + 1);
    copy->merges = malloc((t->merge_slots + 1) * sizeof *copy->merges);
    if (!copy->why || !copy->merges)
        return lack_memory(error);
    memcpy(copy->why, kept->why, t->token_count + 1);
    memcpy(copy->merges, kept->merges, (t->merge_slots + 1) * sizeof *copy->merges);
    return ORGAN_OK;
}

/* ---- merges of the tokens that stay ---- */

static bool keep_merge(organ_kept_tokens *k, const organ_merge *merge)
{
    uint32_t left, right;
    bool *const stays = &k->merges[merge - k->tokenizer->merges];
    organ_merge_is_of_tokens(merge, &left, &right);
    k->merge_count += !*stays;
    *stays = true;
    return keep(k, left, ORGAN_KEPT_PART) && keep(k, right, ORGAN_KEPT_PART);
}

/* Keeps each merge that makes the token, because its text alone does not show which of them a text applies: the texts
 * of byte tokens ("<0x0A>") are names. */
static bool keep_all_merges_of(organ_kept_tokens *k, uint32_t id, bool *made)
{
    const organ_tokenizer *const t = k->tokenizer;
    bool complete = true;
    uint32_t left, right;
    for (size_t slot = 0; slot < t->merge_slots && complete; slot++)
        if (t->merges[slot].pair && t->merges[slot].merged == id &&
            organ_merge_is_of_tokens(&t->merges[slot], &left, &right)) {
            *made = true;
            complete = keep_merge(k, &t->merges[slot]);
        }
    return complete;
}

static bool close_token(organ_kept_tokens *k, organ_bpe *bpe, uint32_t id)
{
    const organ_token *const token = &k->tokenizer->tokens[id];
    uint32_t made;
    const organ_merge *last;
    bool merges = false;
    if (is_one_character(token) || organ_tokenizer_byte(k->tokenizer, id) >= 0)
        return true;
    if (!organ_bpe_last_merge(bpe, token->text, token->bytes, &made, &last))
        return false;
    if (made == id && last)
        return keep_merge(k, last);
    if (!keep_all_merges_of(k, id, &merges))
        return false;
    k->unmade += !merges;
    return true;
}

static organ_status close_all(organ_kept_tokens *k, organ_error *error)
{
    organ_bpe bpe = {.tokenizer = k->tokenizer};
    bool complete = true;
    while (k->open_count && complete)
        complete = close_token(k, &bpe, k->open[--k->open_count]);
    ORGAN_FREE_ARRAYS(bpe.symbols, bpe.heap);
    return complete ? ORGAN_OK : lack_memory(error);
}

organ_status organ_kept_use(organ_kept_tokens *kept, const uint32_t *ids, size_t count, organ_error *error)
{
    for (size_t k = 0; k < count; k++)
        if (!keep(kept, ids[k], ORGAN_KEPT_USED))
            return lack_memory(error);
    return close_all(kept, error);
}

organ_status organ_kept_characters(organ_kept_tokens *kept, organ_error *error)
{
    const organ_tokenizer *const t = kept->tokenizer;
    for (uint32_t id = 0; id < t->facts.vocabulary; id++) {
        const organ_token *const token = &t->tokens[id];
        if (token->piece && token->piece_bytes && organ_utf8_is_valid_text(token->piece, token->piece_bytes)) {
            size_t length;
            organ_utf8_at(token->piece, &length);
            if (length == token->piece_bytes && !keep(kept, id, ORGAN_KEPT_POLICY))
                return lack_memory(error);
        }
    }
    return close_all(kept, error);
}

organ_status organ_kept_merges(organ_kept_tokens *kept, size_t count, organ_error *error)
{
    const organ_tokenizer *const t = kept->tokenizer;
    size_t all;
    ORGAN_OWNED organ_merge *const merges = organ_tokenizer_merges(t, &all);
    bool complete = merges != NULL;
    for (size_t k = 0; k < all && k < count && complete; k++) {
        uint32_t left, right;
        organ_merge_is_of_tokens(&merges[k], &left, &right);
        complete =
            keep_merge(kept, organ_tokenizer_pair(t, left, right)) && keep(kept, merges[k].merged, ORGAN_KEPT_POLICY);
    }
    return complete ? close_all(kept, error) : lack_memory(error);
}

organ_status organ_kept_all(organ_kept_tokens *kept, organ_error *error)
{
    const organ_tokenizer *const t = kept->tokenizer;
    bool complete = true;
    uint32_t left, right;
    for (uint32_t id = 0; id < t->facts.vocabulary && complete; id++)
        complete = t->tokens[id].unused || keep(kept, id, ORGAN_KEPT_POLICY);
    for (size_t slot = 0; slot < t->merge_slots && complete; slot++)
        if (t->merges[slot].pair && organ_merge_is_of_tokens(&t->merges[slot], &left, &right))
            complete = keep_merge(kept, &t->merges[slot]);
    kept->open_count = 0;
    return complete ? ORGAN_OK : lack_memory(error);
}

/* Keeps the last merge of a token if the two tokens that it joins stay. */
static bool keep_last_merge(organ_kept_tokens *k, organ_bpe *bpe, uint32_t id)
{
    const organ_token *const token = &k->tokenizer->tokens[id];
    uint32_t made, left, right;
    const organ_merge *last;
    if (!token->text || is_one_character(token) || organ_tokenizer_byte(k->tokenizer, id) >= 0)
        return true;
    if (!organ_bpe_last_merge(bpe, token->text, token->bytes, &made, &last))
        return false;
    if (made == id && last && organ_merge_is_of_tokens(last, &left, &right) && stays(k, left) && stays(k, right)) {
        k->merge_count += !k->merges[last - k->tokenizer->merges];
        k->merges[last - k->tokenizer->merges] = true;
    }
    return true;
}

organ_status organ_kept_add(organ_kept_tokens *kept, const uint32_t *ids, size_t count, unsigned why,
                            organ_error *error)
{
    organ_bpe bpe = {.tokenizer = kept->tokenizer};
    bool complete = true;
    for (size_t k = 0; k < count; k++)
        if (ids[k] < kept->tokenizer->facts.vocabulary && kept->tokenizer->tokens[ids[k]].text) {
            kept->count += kept->why[ids[k]] == 0;
            kept->why[ids[k]] |= (unsigned char)why;
        }
    for (size_t k = 0; k < count && complete; k++)
        complete = !stays(kept, ids[k]) || keep_last_merge(kept, &bpe, ids[k]);
    ORGAN_FREE_ARRAYS(bpe.symbols, bpe.heap);
    return complete ? ORGAN_OK : lack_memory(error);
}

organ_status organ_kept_begin_list(organ_kept_tokens *kept, const organ_tokenizer *tokenizer, const uint32_t *ids,
                                   size_t count, organ_error *error)
{
    return begin(kept, tokenizer, error) ? error->status : organ_kept_add(kept, ids, count, ORGAN_KEPT_POLICY, error);
}

organ_status organ_kept_fill(organ_kept_tokens *kept, uint32_t count, organ_error *error)
{
    const organ_tokenizer *const t = kept->tokenizer;
    ORGAN_OWNED uint32_t *const ids = malloc(((size_t)t->facts.vocabulary + 1) * sizeof *ids);
    size_t used = 0;
    if (!ids)
        return lack_memory(error);
    for (uint32_t id = 0; id < t->facts.vocabulary && kept->count + used < count; id++)
        if (!kept->why[id] && t->tokens[id].text && !t->tokens[id].unused)
            ids[used++] = id;
    return organ_kept_add(kept, ids, used, ORGAN_KEPT_POLICY, error);
}

/* ---- results ---- */

uint32_t *organ_kept_ids(const organ_kept_tokens *kept, organ_error *error)
{
    uint32_t *const ids = malloc((kept->count + (size_t)1) * sizeof *ids);
    size_t used = 0;
    for (uint32_t id = 0; ids && id < kept->tokenizer->facts.vocabulary; id++)
        if (kept->why[id])
            ids[used++] = id;
    if (!ids)
        lack_memory(error);
    return ids;
}

uint32_t *organ_kept_new_ids(const organ_kept_tokens *kept, organ_error *error)
{
    uint32_t *const ids = malloc(((size_t)kept->tokenizer->facts.vocabulary + 1) * sizeof *ids);
    uint32_t next = 0;
    for (uint32_t id = 0; ids && id < kept->tokenizer->facts.vocabulary; id++)
        ids[id] = kept->why[id] ? next++ : ORGAN_NO_ID;
    if (!ids)
        lack_memory(error);
    return ids;
}

static bool copy_added(const organ_kept_tokens *kept, const organ_added_list *from, organ_added_list *to)
{
    *to = (organ_added_list){malloc((from->count + 1) * sizeof *to->items), 0};
    for (size_t k = 0; to->items && k < from->count; k++)
        if (stays(kept, from->items[k].id))
            to->items[to->count++] = from->items[k];
    return to->items != NULL;
}

organ_tokenizer *organ_kept_tokenizer(const organ_kept_tokens *kept, organ_error *error)
{
    organ_tokenizer *const t = malloc(sizeof *t);
    if (!t) {
        lack_memory(error);
        return NULL;
    }
    *t = *kept->tokenizer;
    t->kept = kept;
    for (size_t k = 0; k < sizeof t->letters / sizeof *t->letters; k++)
        t->letters[k] = stays(kept, t->letters[k]) ? t->letters[k] : ORGAN_NO_ID;
    for (size_t k = 0; k < 256; k++)
        t->byte_ids[k] = stays(kept, t->byte_ids[k]) ? t->byte_ids[k] : ORGAN_NO_ID;
    const bool raw = copy_added(kept, &kept->tokenizer->raw, &t->raw);
    if (raw & copy_added(kept, &kept->tokenizer->normalized, &t->normalized))
        return t;
    organ_tokenizer_close(t);
    lack_memory(error);
    return NULL;
}
