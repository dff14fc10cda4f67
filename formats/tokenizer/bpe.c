/* SPDX-License-Identifier: MIT
 * Byte-pair encoding of one word. The word is a linked list of symbols (tokens); a heap contains the possible merges of
 * neighbouring symbols, ordered by rank and then from the left. A word of n characters takes n log n steps. */
#include "formats/tokenizer/tokenizer_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define NONE ORGAN_NO_ID

enum { CACHED_BYTES = 30, CACHED_IDS = 8, CACHED_WORDS = 1 << 14 };

/* All members are zero if the entry is free. */
typedef struct organ_cached_word {
    char text[CACHED_BYTES];
    unsigned char bytes, count; /* used bytes of `text`; number of `ids` */
    uint32_t ids[CACHED_IDS];   /* ids that encode the word */
} organ_cached_word;

/* Ids beyond ids->max are counted but not stored, so that a caller gets the number of all tokens with bounded
 * memory. */
bool organ_ids_add(organ_ids *ids, uint32_t id)
{
    if (ids->count < ids->max) {
        if (!organ_grow(&ids->items, ids->count, &ids->capacity, sizeof *ids->items))
            return false;
        ids->items[ids->count] = id;
    }
    ids->count++;
    return true;
}

/* ---- symbols ---- */

static bool add_symbol(organ_bpe *bpe, uint32_t id, size_t start, size_t length)
{
    if (!organ_grow(&bpe->symbols, bpe->symbol_count, &bpe->symbol_capacity, sizeof *bpe->symbols))
        return false;
    const uint32_t at = (uint32_t)bpe->symbol_count++;
    bpe->symbols[at] = (organ_symbol){id, at ? at - 1 : NONE, NONE, (uint32_t)start, (uint32_t)length};
    if (at)
        bpe->symbols[at - 1].next = at;
    return true;
}

static uint32_t character_id(const organ_tokenizer *t, uint32_t code, const char *text, size_t length)
{
    return code < 2048 ? t->letters[code] : organ_tokenizer_id(t, text, length);
}

static bool has_byte_tokens(const organ_tokenizer *t, const char *text, size_t length)
{
    for (size_t k = 0; k < length; k++)
        if (t->byte_ids[(unsigned char)text[k]] == NONE)
            return false;
    return true;
}

/* Splits a word into symbols, one for each character. A character that is no token becomes
 *   - with scores (t->by_scores): a symbol with the id ORGAN_NO_ID; emit_ids later writes its bytes;
 *   - with byte fallback, if each of its bytes has a token: a symbol for each byte;
 *   - else the unknown token, or nothing if there is none. A run of such characters becomes one unknown token if
 *     t->fuse_unknown is set. As in the package tokenizers, the symbol of a run is added only at the next character
 *     that is a token, or at the end of the word. Symbols for the bytes of characters after the run may therefore come
 *     before it.
 * Returns false if memory is exhausted. */
static bool read_symbols(organ_bpe *bpe, const char *word, size_t bytes)
{
    const organ_tokenizer *t = bpe->tokenizer;
    size_t unknown_bytes = 0, length; /* unknown_bytes: bytes of the unknown characters that have no symbol yet */
    bool complete = true;
    bpe->symbol_count = 0;
    for (size_t at = 0; at < bytes && complete; at += length) {
        const uint32_t code = organ_utf8_at(word + at, &length);
        const uint32_t id = character_id(t, code, word + at, length);
        if (id != NONE || t->by_scores) {
            if (unknown_bytes)
                complete = add_symbol(bpe, t->unknown, at - unknown_bytes, unknown_bytes);
            unknown_bytes = 0;
            complete = complete && add_symbol(bpe, id, at, length);
        } else if (t->byte_fallback && has_byte_tokens(t, word + at, length)) {
            for (size_t k = 0; k < length && complete; k++)
                complete = add_symbol(bpe, t->byte_ids[(unsigned char)word[at + k]], at + k, 1);
        } else if (t->unknown != NONE) {
            if (unknown_bytes && !t->fuse_unknown) {
                complete = add_symbol(bpe, t->unknown, at - unknown_bytes, unknown_bytes);
                unknown_bytes = 0;
            }
            unknown_bytes += length;
        }
    }
    return complete && (!unknown_bytes || add_symbol(bpe, t->unknown, bytes - unknown_bytes, unknown_bytes));
}

/* ---- the heap ---- */

/* The heap is ordered by rank, then by position. `left` may be ORGAN_NO_ID. */
static bool push_candidate(organ_bpe *bpe, uint32_t left)
{
    if (left == NONE || bpe->symbols[left].next == NONE)
        return true;
    const organ_merge *merge =
        organ_tokenizer_pair(bpe->tokenizer, bpe->symbols[left].id, bpe->symbols[bpe->symbols[left].next].id);
    if (!merge)
        return true;
    if (!organ_grow(&bpe->heap, bpe->heap_count, &bpe->heap_capacity, sizeof *bpe->heap))
        return false;
    size_t at = bpe->heap_count++;
    const organ_candidate candidate = {(uint64_t)merge->rank << 32 | left, merge->merged};
    for (; at && bpe->heap[(at - 1) / 2].order > candidate.order; at = (at - 1) / 2)
        bpe->heap[at] = bpe->heap[(at - 1) / 2];
    bpe->heap[at] = candidate;
    return true;
}

static organ_candidate pop_candidate(organ_bpe *bpe)
{
    organ_candidate *heap = bpe->heap;
    const organ_candidate top = heap[0], last = heap[--bpe->heap_count];
    size_t at = 0, child;
    while ((child = at * 2 + 1) < bpe->heap_count) {
        child += child + 1 < bpe->heap_count && heap[child + 1].order < heap[child].order;
        if (heap[child].order >= last.order)
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = last;
    return top;
}

/* The merge of lowest rank, the leftmost among equals, is applied until none applies. A merge changes its left
 * symbol, removes its right symbol from the linked list, and sets the length of the removed symbol to 0. */
static bool merge_all(organ_bpe *bpe)
{
    organ_symbol *s = bpe->symbols;
    bpe->heap_count = 0;
    for (uint32_t k = 0; k + 1 < bpe->symbol_count; k++)
        if (!push_candidate(bpe, k))
            return false;
    while (bpe->heap_count) {
        const organ_candidate top = pop_candidate(bpe);
        /* the low 32 bits of `order` are the index of the left symbol */
        const uint32_t left = (uint32_t)top.order, right = s[left].next;
        if (s[left].length == 0 || right == NONE)
            continue;
        /* Ignores a candidate if other merges changed one of its symbols after it was pushed. */
        const organ_merge *merge = organ_tokenizer_pair(bpe->tokenizer, s[left].id, s[right].id);
        if (!merge || merge->merged != top.merged)
            continue;
        s[left].id = top.merged;
        s[left].length += s[right].length;
        s[left].next = s[right].next;
        s[right].length = 0;
        if (s[left].next != NONE)
            s[s[left].next].prev = left;
        if (!push_candidate(bpe, s[left].prev) || !push_candidate(bpe, left))
            return false;
    }
    return true;
}

/* A symbol that is not in the vocabulary (ORGAN_NO_ID, or a character that only occurs in merges) becomes a token
 * for each of its bytes: the byte token, or else the unknown token. */
static bool emit_ids(organ_bpe *bpe, const char *word)
{
    const organ_tokenizer *t = bpe->tokenizer;
    for (uint32_t at = 0; at < bpe->symbol_count; at = bpe->symbols[at].next) {
        const organ_symbol *s = &bpe->symbols[at];
        if (s->id < t->facts.vocabulary) {
            if (!organ_ids_add(bpe->ids, s->id))
                return false;
            continue;
        }
        for (uint32_t k = 0; k < s->length; k++) {
            const uint32_t byte = t->byte_ids[(unsigned char)word[s->start + k]];
            if (!organ_ids_add(bpe->ids, byte != NONE ? byte : t->unknown))
                return false;
        }
    }
    return true;
}

/* ---- words ---- */

/* The entry may be free or contain another word whose hash selects it. Returns NULL if the word is too long or the
 * cache cannot be allocated. */
static organ_cached_word *find_cached_word(organ_bpe *bpe, const char *word, size_t bytes)
{
    if (bytes > CACHED_BYTES)
        return NULL;
    if (!bpe->cache) {
        bpe->cache = calloc(CACHED_WORDS, sizeof *bpe->cache);
        if (!bpe->cache)
            return NULL;
    }
    return &bpe->cache[XXH3_64bits(word, bytes) % CACHED_WORDS];
}

static bool encode_cached(organ_bpe *bpe, const char *word, size_t bytes)
{
    organ_cached_word *entry = find_cached_word(bpe, word, bytes);
    if (entry && entry->bytes == bytes && memcmp(entry->text, word, bytes) == 0) {
        for (unsigned k = 0; k < entry->count; k++)
            if (!organ_ids_add(bpe->ids, entry->ids[k]))
                return false;
        return true;
    }
    const size_t before = bpe->ids->count;
    if (!read_symbols(bpe, word, bytes) || !merge_all(bpe) || !emit_ids(bpe, word))
        return false;
    const size_t count = bpe->ids->count - before;
    /* ids beyond ids->max were not stored, so they cannot be copied */
    if (entry && count <= CACHED_IDS && bpe->ids->count <= bpe->ids->max) {
        memcpy(entry->text, word, bytes);
        entry->bytes = (unsigned char)bytes;
        entry->count = (unsigned char)count;
        if (count) /* a word of unknown characters has no ids if there is no unknown token */
            memcpy(entry->ids, bpe->ids->items + before, count * sizeof *entry->ids);
    }
    return true;
}

/* Splits the word between two characters that are not adjacent in the result of any merge: no merge can join them,
 * and shorter pieces are faster and more often in the cache. Does not split after an unknown character, which may be
 * fused with the next one, nor before it if unknown characters are dropped, because its neighbours are then merged
 * with each other. */
organ_status organ_bpe_word(organ_bpe *bpe, const char *word, size_t bytes, organ_error *error)
{
    const organ_tokenizer *t = bpe->tokenizer;
    const uint32_t whole_word = t->ignore_merges ? organ_tokenizer_id(t, word, bytes) : NONE;
    if (bytes >= INT32_MAX)
        return organ_fail(error, ORGAN_BAD_INPUT, "the text has a word of %zu bytes; the limit is %d", bytes,
                          INT32_MAX - 1);
    bool complete = whole_word == NONE || organ_ids_add(bpe->ids, whole_word);
    size_t begin = 0, length;
    uint32_t before = NONE; /* code point of the previous character, or NONE after an unknown character */
    for (size_t at = 0; whole_word == NONE && at < bytes && complete; at += length) {
        const uint32_t code = organ_utf8_at(word + at, &length);
        const bool known = character_id(t, code, word + at, length) != NONE;
        if (before != NONE && !t->whole_words && (known || t->unknown != NONE || t->by_scores) &&
            !organ_tokenizer_are_adjacent(t, before, code)) {
            complete = encode_cached(bpe, word + begin, at - begin);
            begin = at;
        }
        before = known ? code : NONE;
    }
    if (complete && whole_word == NONE && begin < bytes)
        complete = encode_cached(bpe, word + begin, bytes - begin);
    return complete ? ORGAN_OK : organ_fail_errno(error, ENOMEM, "the tokens of a text");
}

void organ_bpe_release(organ_bpe *bpe)
{
    free(bpe->symbols);
    free(bpe->heap);
    free(bpe->cache);
}
