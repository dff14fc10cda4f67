/* SPDX-License-Identifier: MIT
 * Encodes a text to ids: finds added tokens, normalises the text between them, finds added tokens in the normalised
 * text, applies the pre-tokenizer to the text between them, and encodes each word. */
#include "formats/tokenizer/tokenizer_parts.h"

#include "formats/base/results.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>
#include <xxhash.h>

/* ---- byte-pair encoding of one word ---- */

/* The word is a linked list of symbols (tokens); a heap contains the possible merges of
 * neighbouring symbols, ordered by rank and then from the left. A word of n characters takes n log n steps. */

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
    bpe->last = NULL;
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
        bpe->last = merge;
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

bool organ_bpe_last_merge(organ_bpe *bpe, const char *word, size_t bytes, uint32_t *made, const organ_merge **last)
{
    const bool complete = read_symbols(bpe, word, bytes) && merge_all(bpe);
    const bool one = complete && bpe->symbol_count && bpe->symbols[0].next == NONE;
    *made = one ? bpe->symbols[0].id : NONE;
    *last = bpe->last;
    return complete;
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

/* Returns false if memory runs out; so do the other functions that append ids or symbols. */
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

static void bpe_release(organ_bpe *bpe) { ORGAN_FREE_ARRAYS(bpe->symbols, bpe->heap, bpe->cache); }

typedef struct encoding {
    const organ_tokenizer *tokenizer;
    bool special;        /* names of special tokens in the text become these tokens */
    organ_search search; /* buffers and limits of all regular expressions */
    organ_bpe bpe;
    organ_ids ids;                       /* output */
    organ_bytes texts[ORGAN_STEP_LIMIT]; /* latest output of each step of the pre-tokenizer that rewrites the text */
    organ_growth growth;                 /* bytes that each step wrote so far */
} encoding;

/* ---- added tokens ---- */

static bool is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) ||
           c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

/* \w matches letters, marks, digits, connectors, joiners, and the circled and squared letters that are Alphabetic
 * (the last four ranges). */
static bool is_word_character(uint32_t c)
{
    const utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
    return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NL) || category == UTF8PROC_CATEGORY_PC ||
           c == 0x200C || c == 0x200D || (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
           (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
}

static uint32_t character_before(const char *text, size_t at, size_t *length)
{
    size_t begin = at - 1;
    while (begin > 0 && ((unsigned char)text[begin] & 0xC0) == 0x80)
        begin--;
    return organ_utf8_at(text + begin, length);
}

/* The list is sorted by text. Items [low, high) have the same first `depth` bytes as the text from `at` on; two
 * binary searches narrow this range by the next byte. */
static const organ_added *added_at(const organ_added_list *list, const char *text, size_t bytes, size_t at)
{
    const organ_added *best = NULL;
    size_t low = 0, high = list->count;
    for (size_t depth = 0; low < high; depth++) {
        if (list->items[low].bytes == depth) {
            best = &list->items[low];
            low++;
        }
        if (at + depth >= bytes)
            break;
        const unsigned char byte = (unsigned char)text[at + depth];
        size_t edges[2]; /* first item whose byte at `depth` is not less than `byte`, and first whose byte is greater */
        for (unsigned side = 0; side < 2; side++) {
            size_t from = low, to = high;
            while (from < to) {
                const size_t middle = from + (to - from) / 2;
                const unsigned char candidate = (unsigned char)list->items[middle].text[depth];
                if (side ? candidate <= byte : candidate < byte)
                    from = middle + 1;
                else
                    to = middle;
            }
            edges[side] = from;
        }
        low = edges[0];
        high = edges[1];
    }
    return best;
}

static bool is_separate_word(const char *text, size_t bytes, size_t begin, size_t end)
{
    size_t length;
    return (begin == 0 || !is_word_character(character_before(text, begin, &length))) &&
           (end == bytes || !is_word_character(organ_utf8_at(text + end, &length)));
}

typedef organ_status encode_span(encoding *e, const char *text, size_t bytes, bool first, organ_error *error);

/* *begin stays at or after `done`, the end of the previous match. */
static void widen_over_space(const organ_added *added, const char *text, size_t bytes, size_t done, size_t *begin,
                             size_t *end)
{
    size_t length;
    while (added->lstrip && *begin > done && is_space(character_before(text, *begin, &length)))
        *begin -= length;
    while (added->rstrip && *end < bytes && is_space(organ_utf8_at(text + *end, &length)))
        *end += length;
}

static organ_status encode_around_added(encoding *e, const organ_added_list *list, const char *text, size_t bytes,
                                        bool first, encode_span *next, organ_error *error)
{
    size_t done = 0;            /* offset after the last added token found, including white space that belongs to it */
    bool starts[256] = {false}; /* by byte: an added token begins with it */
    for (size_t k = 0; k < list->count; k++)
        starts[(unsigned char)list->items[k].text[0]] = true;
    for (size_t at = 0; at < bytes;) {
        const organ_added *added = starts[(unsigned char)text[at]] ? added_at(list, text, bytes, at) : NULL;
        if (!added) {
            at++;
            continue;
        }
        size_t begin = at, end = at + added->bytes;
        at = end;
        if ((added->special && !e->special) || (added->single_word && !is_separate_word(text, bytes, begin, end)))
            continue;
        widen_over_space(added, text, bytes, done, &begin, &end);
        if (begin > done)
            next(e, text + done, begin - done, first && done == 0, error);
        if (error->status)
            return error->status;
        if (!organ_ids_add(&e->ids, added->id))
            return organ_fail_memory(error, "the tokens of a text");
        done = end;
    }
    return done < bytes ? next(e, text + done, bytes - done, first && done == 0, error) : ORGAN_OK;
}

/* ---- the pre-tokenizer ---- */

static organ_status run_steps(encoding *e, size_t step, const char *text, size_t bytes, bool first, organ_error *error);

typedef struct split_context {
    encoding *e;
    size_t step;
    const char *text;
    bool first; /* `text` is at the beginning of the input */
} split_context;

static organ_status encode_piece(void *context, size_t begin, size_t end, organ_error *error)
{
    const split_context *const o = context;
    return run_steps(o->e, o->step, o->text + begin, end - begin, o->first && begin == 0, error);
}

static organ_status apply_split(encoding *e, size_t step, const organ_step *by, const char *text, size_t bytes,
                                bool first, organ_error *error)
{
    return organ_step_split(by, &e->search, text, bytes, encode_piece, &(split_context){e, step + 1, text, first},
                            error);
}

/* A letter is GPT-2's printable character for a byte. */
static organ_status apply_byte_level(encoding *e, size_t step, const char *text, size_t bytes, bool first,
                                     organ_error *error)
{
    organ_bytes *letters = &e->texts[step];
    bool complete = true;
    letters->used = 0;
    organ_growth_begin(&e->growth, e->growth.pretokenizer[step], letters);
    for (size_t k = 0; k < bytes && complete; k++) {
        char letter[4];
        complete =
            organ_bytes_add(letters, letter, organ_utf8_put(organ_byte_to_unicode((unsigned char)text[k]), letter));
    }
    if (organ_growth_end(e->tokenizer, &e->growth, &e->tokenizer->pretokenizer[step], letters, complete, error) !=
        ORGAN_OK)
        return error->status;
    return run_steps(e, step + 1, letters->data, letters->used, first, error);
}

/* Puts a mark before the text if step->prefix requires it and the text begins neither with a space nor with a mark.
 * If step->cuts is set, cuts the result before each mark. `first` is true if the text is at the beginning of the
 * input. */
static organ_status apply_metaspace(encoding *e, size_t step, const char *text, size_t bytes, bool first,
                                    organ_error *error)
{
    const organ_step *metaspace = &e->tokenizer->pretokenizer[step];
    organ_bytes *marked = &e->texts[step];
    const bool needs_prefix =
        metaspace->prefix == ORGAN_PREFIX_ALWAYS || (metaspace->prefix == ORGAN_PREFIX_FIRST && first);
    const bool has_prefix =
        text[0] == ' ' || (bytes >= metaspace->text_bytes && memcmp(text, metaspace->text, metaspace->text_bytes) == 0);
    marked->used = 0;
    organ_growth_begin(&e->growth, e->growth.pretokenizer[step], marked);
    bool added = !needs_prefix || has_prefix || organ_bytes_add(marked, metaspace->text, metaspace->text_bytes);
    for (size_t k = 0; k < bytes && added; k++)
        added = text[k] == ' ' ? organ_bytes_add(marked, metaspace->text, metaspace->text_bytes)
                               : organ_bytes_add(marked, text + k, 1);
    if (organ_growth_end(e->tokenizer, &e->growth, metaspace, marked, added, error) != ORGAN_OK)
        return error->status;
    return metaspace->cuts ? apply_split(e, step, metaspace, marked->data, marked->used, first, error)
                           : run_steps(e, step + 1, marked->data, marked->used, first, error);
}

/* After the last step the text is a word, which organ_bpe_word encodes. */
static organ_status run_steps(encoding *e, size_t step, const char *text, size_t bytes, bool first, organ_error *error)
{
    if (bytes == 0)
        return ORGAN_OK;
    if (step == e->tokenizer->pretokenizer_count)
        return organ_bpe_word(&e->bpe, text, bytes, error);
    const organ_step *by = &e->tokenizer->pretokenizer[step];
    if (by->kind == ORGAN_STEP_SPLIT)
        return apply_split(e, step, by, text, bytes, first, error);
    return by->kind == ORGAN_STEP_BYTES ? apply_byte_level(e, step, text, bytes, first, error)
                                        : apply_metaspace(e, step, text, bytes, first, error);
}

static organ_status encode_words(encoding *e, const char *text, size_t bytes, bool first, organ_error *error)
{
    return run_steps(e, 0, text, bytes, first, error);
}

/* This is a callback of encode_around_added, for a span between added tokens of the raw text. */
static organ_status encode_normalised(encoding *e, const char *text, size_t bytes, bool first, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_bytes_release) organ_bytes normalised = {0};
    if (organ_is_normal(e->tokenizer, text, bytes))
        return encode_around_added(e, &e->tokenizer->normalized, text, bytes, first, encode_words, error);
    if (!organ_bytes_add(&normalised, text, bytes))
        return organ_fail_memory(error, "the tokens of a text");
    organ_normalise(e->tokenizer, &e->search, &e->growth, &normalised, error);
    if (!error->status && normalised.used)
        encode_around_added(e, &e->tokenizer->normalized, normalised.data, normalised.used, first, encode_words, error);
    return error->status;
}

organ_status organ_tokenizer_encode(const organ_tokenizer *tokenizer, const char *text, size_t bytes, bool special,
                                    uint32_t **ids, size_t *count, organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    return organ_tokenizer_encode_some(tokenizer, text, bytes, special, SIZE_MAX, ids, count, error);
}

organ_status organ_tokenizer_encode_some(const organ_tokenizer *tokenizer, const char *text, size_t bytes, bool special,
                                         size_t max, uint32_t **ids, size_t *count, organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    encoding e = {.tokenizer = tokenizer,
                  .special = special && !tokenizer->splits_special,
                  .ids.max = max,
                  .growth = organ_growth_of(tokenizer, bytes)};
    e.bpe = (organ_bpe){.tokenizer = tokenizer, .ids = &e.ids};
    ORGAN_RELEASED_BY(organ_bytes_release) organ_bytes repaired = {0};
    const bool valid = organ_utf8_is_valid_text(text, bytes);
    *ids = NULL;
    *count = 0;
    if (!organ_search_make(&e.search, bytes) || (!valid && !organ_utf8_append_valid(text, bytes, &repaired)))
        organ_fail_memory(error, "the tokens of a text");
    if (!error->status)
        encode_around_added(&e, &tokenizer->raw, valid ? text : repaired.data, valid ? bytes : repaired.used,
                            /*first=*/true, encode_normalised, error);
    /* *ids is not NULL for an empty text either */
    if (!error->status && !e.ids.items && !(e.ids.items = malloc(sizeof *e.ids.items)))
        organ_fail_memory(error, "the tokens of a text");
    organ_search_release(&e.search);
    bpe_release(&e.bpe);
    for (size_t k = 0; k < ORGAN_STEP_LIMIT; k++)
        free(e.texts[k].data);
    if (error->status) {
        free(e.ids.items);
        return error->status;
    }
    *ids = e.ids.items;
    *count = e.ids.count;
    return ORGAN_OK;
}
