/* SPDX-License-Identifier: MIT
 * Byte-pair encoding of one word. The word is a linked list of symbols (tokens); a heap orders the merges that are
 * possible by rank and then from the left. A word of n characters takes n log n steps. Functions return false if
 * memory is exhausted. */
#include "formats/tokenizer/tokenizer_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define NONE ORGAN_NO_ID

enum { KNOWN_TEXT = 30, KNOWN_IDS = 8, KNOWN_WORDS = 1 << 14 }; /* cache: bytes and ids of a word, number of words */

/* An entry of the cache of words: a word of `bytes` bytes and the `count` ids that it becomes. */
typedef struct organ_word_find {
    char text[KNOWN_TEXT];
    unsigned char bytes, count;
    uint32_t ids[KNOWN_IDS];
} organ_word_find;

/* Appends an id. Ids beyond ids->max are counted but not stored, so that a caller learns the number of tokens with
 * bounded memory. Returns false if memory is exhausted. */
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

/* Appends a symbol for bytes [start, start + length) of the word to its linked list. Returns false if memory is
 * exhausted. */
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

/* Returns the id of a character, ORGAN_NO_ID if it is no token. The first 2,048 code points are looked up in a
 * table. */
static uint32_t letter_id(const organ_tokenizer *t, uint32_t code, const char *text, size_t length)
{
    return code < 2048 ? t->letters[code] : organ_tokenizer_id(t, text, length);
}

/* Returns true if there is a byte token for each byte of the text. */
static bool has_bytes(const organ_tokenizer *t, const char *text, size_t length)
{
    for (size_t k = 0; k < length; k++)
        if (t->byte_ids[(unsigned char)text[k]] == NONE)
            return false;
    return true;
}

/* Splits a word into symbols, one for each character. A character that is no token becomes the tokens of its bytes if
 * all of them exist, or else the unknown token; a run of unknown characters becomes one unknown token if the
 * tokenizer fuses them. In vocabularies with scores, a character that is no token instead becomes a symbol with the
 * id ORGAN_NO_ID, because it may be part of merges; emit_ids later writes its bytes. Returns false if memory is
 * exhausted. */
static bool read_symbols(organ_bpe *bpe, const char *word, size_t bytes)
{
    const organ_tokenizer *t = bpe->tokenizer;
    size_t unknown_bytes = 0, length; /* bytes of the run of unknown characters before `at` */
    bool complete = true;
    bpe->symbol_count = 0;
    for (size_t at = 0; at < bytes && complete; at += length) {
        const uint32_t code = organ_utf8_at(word + at, &length);
        const uint32_t id = letter_id(t, code, word + at, length);
        if (id != NONE || t->by_scores) {
            if (unknown_bytes)
                complete = add_symbol(bpe, t->unknown, at - unknown_bytes, unknown_bytes);
            unknown_bytes = 0;
            complete = complete && add_symbol(bpe, id, at, length);
        } else if (t->byte_fallback && has_bytes(t, word + at, length)) {
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

/* Pushes the merge of symbol `left` and its right neighbour, if the vocabulary has one. The heap is ordered by rank,
 * then by position. Returns false if memory is exhausted. */
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

/* Removes the candidate of lowest rank from the heap. */
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

/* Merges the symbols of a word by byte-pair encoding: applies the merge of lowest rank, the leftmost among equals,
 * until none applies. The heap orders the candidates, so a word of n symbols takes O(n log n). A merged symbol keeps
 * the place of its left part; its right part gets length 0. Returns false if memory is exhausted. */
static bool merge_all(organ_bpe *bpe)
{
    organ_symbol *s = bpe->symbols;
    bpe->heap_count = 0;
    for (uint32_t k = 0; k + 1 < bpe->symbol_count; k++)
        if (!push_candidate(bpe, k))
            return false;
    while (bpe->heap_count) {
        const organ_candidate top = pop_candidate(bpe);
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

/* Appends the ids of the symbols that are left after merging. A symbol that is not in the vocabulary becomes the
 * tokens of its bytes, or the unknown token. Returns false if memory is exhausted. */
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

/* Returns the cache slot for a word, which may hold another word; NULL if the word is too long or the cache cannot
 * be allocated. */
static organ_word_find *find_cached_word(organ_bpe *bpe, const char *word, size_t bytes)
{
    if (bytes > KNOWN_TEXT)
        return NULL;
    if (!bpe->cache) {
        bpe->cache = calloc(KNOWN_WORDS, sizeof *bpe->cache);
        if (!bpe->cache)
            return NULL;
    }
    return &bpe->cache[XXH3_64bits(word, bytes) % KNOWN_WORDS];
}

/* Appends the ids of a word: from the cache, or else by merging; then enters a short word into the cache. Returns
 * false if memory is exhausted. */
static bool encode_cached(organ_bpe *bpe, const char *word, size_t bytes)
{
    organ_word_find *known = find_cached_word(bpe, word, bytes);
    if (known && known->bytes == bytes && memcmp(known->text, word, bytes) == 0) {
        for (unsigned k = 0; k < known->count; k++)
            if (!organ_ids_add(bpe->ids, known->ids[k]))
                return false;
        return true;
    }
    const size_t before = bpe->ids->count;
    if (!read_symbols(bpe, word, bytes) || !merge_all(bpe) || !emit_ids(bpe, word))
        return false;
    const size_t count = bpe->ids->count - before;
    if (known && count <= KNOWN_IDS && bpe->ids->count <= bpe->ids->max) {
        memcpy(known->text, word, bytes);
        known->bytes = (unsigned char)bytes;
        known->count = (unsigned char)count;
        if (count) /* a word of unknown characters has no ids if there is no unknown token */
            memcpy(known->ids, bpe->ids->items + before, count * sizeof *known->ids);
    }
    return true;
}

/* Appends the ids of one word. Between two characters that are not adjacent in the result of any merge, no merge can
 * cross: splits the word there, because shorter pieces are faster and more often in the cache. Does not split after
 * an unknown character, which may be fused with the next one. */
organ_status organ_bpe_word(organ_bpe *bpe, const char *word, size_t bytes, organ_error *error)
{
    const organ_tokenizer *t = bpe->tokenizer;
    const uint32_t whole_word = t->ignore_merges ? organ_tokenizer_id(t, word, bytes) : NONE;
    if (bytes >= INT32_MAX)
        return organ_fail(error, ORGAN_BAD_INPUT, "the text has a word of %zu bytes; the limit is %d", bytes,
                          INT32_MAX - 1);
    bool complete = whole_word == NONE || organ_ids_add(bpe->ids, whole_word);
    size_t begin = 0, length;
    uint32_t before = NONE;
    for (size_t at = 0; whole_word == NONE && at < bytes && complete; at += length) {
        const uint32_t code = organ_utf8_at(word + at, &length);
        if (before != NONE && !t->whole_words && !organ_tokenizer_are_adjacent(t, before, code)) {
            complete = encode_cached(bpe, word + begin, at - begin);
            begin = at;
        }
        before = letter_id(t, code, word + at, length) != NONE ? code : NONE;
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
