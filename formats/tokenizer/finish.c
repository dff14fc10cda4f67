/* SPDX-License-Identifier: MIT
 * Completes a tokenizer after a reader set its vocabulary, merges and steps: pieces, digest, and the lists of added
 * tokens. The "piece" of a token is the bytes that it decodes to. */
#include "formats/tokenizer/tokenizer_parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* ---- pieces ---- */

/* GPT-2 writes each byte as a letter. */
static bool has_only_byte_letters(const organ_token *token)
{
    size_t length;
    for (size_t at = 0; at < token->bytes; at += length)
        if (organ_unicode_to_byte(organ_utf8_at(token->text + at, &length)) < 0)
            return false;
    return true;
}

/* Each letter stands for one byte (GPT-2's alphabet of bytes). */
static bool letters_to_bytes(const organ_token *token, organ_bytes *piece)
{
    size_t length;
    for (size_t at = 0; at < token->bytes; at += length) {
        const char byte = (char)organ_unicode_to_byte(organ_utf8_at(token->text + at, &length));
        if (!organ_bytes_add(piece, &byte, 1))
            return false;
    }
    return true;
}

static bool marks_to_blanks(const organ_token *token, organ_bytes *piece)
{
    for (size_t at = 0; at < token->bytes;) {
        const bool mark = token->bytes - at >= 3 && memcmp(token->text + at, ORGAN_BLANK, 3) == 0;
        if (!organ_bytes_add(piece, mark ? " " : token->text + at, 1))
            return false;
        at += mark ? 3 : 1;
    }
    return true;
}

/* In byte-level vocabularies the piece consists of the bytes that the letters of the text represent, or is the text if
 * some character represents no byte. In other vocabularies the piece of a byte token <0xNN> is that byte; the piece of
 * any other token is its text with blanks instead of SentencePiece's marks. `piece` is scratch memory. */
static bool make_piece(organ_tokenizer *t, organ_token *token, organ_bytes *piece)
{
    const int value = t->byte_fallback ? organ_tokenizer_byte(t, (uint32_t)(token - t->tokens)) : -1;
    piece->used = 0;
    token->piece = token->text;
    token->piece_bytes = token->bytes;
    if (t->byte_level) {
        if (!has_only_byte_letters(token))
            return true;
        if (!letters_to_bytes(token, piece))
            return false;
    } else if (value >= 0) {
        const char byte = (char)value;
        if (!organ_bytes_add(piece, &byte, 1))
            return false;
    } else if (!marks_to_blanks(token, piece)) {
        return false;
    }
    token->piece = organ_arena_copy(&t->arena, piece->data ? piece->data : "", piece->used);
    token->piece_bytes = (uint32_t)piece->used;
    return token->piece != NULL;
}

static bool make_pieces(organ_tokenizer *t)
{
    ORGAN_RELEASED_BY(organ_bytes_release) organ_bytes piece = {0};
    bool complete = true;
    for (size_t k = 0; k < t->token_count && complete; k++)
        if (t->tokens[k].text)
            complete = make_piece(t, &t->tokens[k], &piece);
    for (size_t k = 0; k < t->raw.count; k++) {
        organ_token *token = &t->tokens[t->raw.items[k].id];
        token->piece = t->raw.items[k].text;
        token->piece_bytes = (uint32_t)t->raw.items[k].bytes;
    }
    return complete;
}

/* ---- digest ---- */

static uint64_t hash_text(const char *text, size_t bytes, uint64_t seed)
{
    return XXH3_64bits_withSeed(text ? text : "", bytes, seed);
}

static uint64_t hash_numbers(const uint64_t *numbers, size_t count)
{
    return XXH3_64bits(numbers, count * sizeof *numbers);
}

/* The seeds 1, 2 and 3 distinguish equal texts of different members. */
static uint64_t hash_steps(const organ_step *steps, size_t count, uint64_t seed)
{
    for (size_t k = 0; k < count; k++) {
        const organ_step *s = &steps[k];
        const uint64_t numbers[] = {seed,
                                    s->kind,
                                    s->form,
                                    s->behaviour,
                                    s->invert,
                                    s->cuts,
                                    s->prefix,
                                    hash_text(s->text, s->text_bytes, 1),
                                    hash_text(s->content, s->content_bytes, 2),
                                    hash_text(s->pattern, s->pattern ? strlen(s->pattern) : 0, 3)};
        seed = hash_numbers(numbers, sizeof numbers / sizeof *numbers);
    }
    return seed;
}

/* For vocabulary, merges and added tokens, the hashes of the entries are added up, so that neither the random order
 * of the hash table nor the order of the file matters. */
static void make_digest(organ_tokenizer *t)
{
    uint64_t words = 0, merges = 0, added = 0;
    for (uint32_t k = 0; k < t->facts.vocabulary; k++)
        if (t->tokens[k].text && !t->tokens[k].unused)
            words += hash_text(t->tokens[k].text, t->tokens[k].bytes, k);
    for (size_t k = 0; k < t->merge_slots; k++) {
        uint32_t left, right;
        if (organ_merge_is_of_tokens(&t->merges[k], &left, &right))
            merges += hash_numbers((const uint64_t[]){left, right, t->merges[k].rank, t->merges[k].merged}, 4);
    }
    for (size_t k = 0; k < t->raw.count; k++) {
        const organ_added *a = &t->raw.items[k];
        added += hash_numbers((const uint64_t[]){a->id, a->special, a->normalized, a->lstrip, a->rstrip, a->single_word,
                                                 hash_text(a->text, a->bytes, 4)},
                              7);
    }
    const uint64_t all[] = {words,
                            merges,
                            added,
                            hash_steps(t->normalizer, t->normalizer_count, 5),
                            t->byte_fallback,
                            t->by_scores,
                            t->fuse_unknown,
                            hash_steps(t->pretokenizer, t->pretokenizer_count, 6),
                            t->ignore_merges,
                            t->byte_level + 2u * t->splits_special,
                            t->unknown};
    snprintf(t->facts.digest, sizeof t->facts.digest, "%016llx",
             (unsigned long long)hash_numbers(all, sizeof all / sizeof *all));
}

/* ---- added tokens ---- */

static int finish_by_text(const void *left, const void *right)
{
    const organ_added *a = left, *b = right;
    const int order = memcmp(a->text, b->text, a->bytes < b->bytes ? a->bytes : b->bytes);
    return order ? order : (a->bytes > b->bytes) - (a->bytes < b->bytes);
}

/* Normalises the token's text, because the token is searched for in normalised text. */
static organ_status put_normalized(organ_tokenizer *t, organ_search *search, organ_growth *growth,
                                   const organ_added *added, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_bytes_release) organ_bytes text = {0};
    const char *kept = NULL;
    if (organ_bytes_add(&text, added->text, added->bytes))
        organ_normalise(t, search, growth, &text, error);
    if (!error->status && !text.used)
        organ_fail(error, ORGAN_BAD_INPUT,
                   "added token %u, '%.*s', is empty after normalisation: no text can contain it", added->id,
                   (int)(added->bytes < 100 ? added->bytes : 100), added->text);
    if (!error->status)
        kept = organ_arena_copy(&t->arena, text.data, text.used);
    if (kept) {
        t->normalized.items[t->normalized.count] = *added;
        t->normalized.items[t->normalized.count].text = kept;
        t->normalized.items[t->normalized.count++].bytes = text.used;
    } else if (!error->status) {
        organ_fail_errno(error, ENOMEM, "the added tokens");
    }
    return error->status;
}

static organ_status separate_added_tokens(organ_tokenizer *t, organ_error *error)
{
    organ_search search = {0};
    t->normalized.items = calloc(t->raw.count + 1, sizeof *t->normalized.items);
    size_t kept = 0, bytes = 0; /* added tokens that stay in t->raw; bytes of all texts, for the limits */
    for (size_t k = 0; k < t->raw.count; k++)
        bytes += t->raw.items[k].bytes;
    if (!t->normalized.items || !organ_search_make(&search, bytes))
        organ_fail_errno(error, ENOMEM, "the added tokens");
    organ_growth growth = organ_growth_of(t, bytes);
    for (size_t k = 0; k < t->raw.count && !error->status; k++)
        if (t->raw.items[k].normalized)
            put_normalized(t, &search, &growth, &t->raw.items[k], error);
        else
            t->raw.items[kept++] = t->raw.items[k];
    organ_search_release(&search);
    if (error->status)
        return error->status;
    t->raw.count = kept;
    if (kept)
        qsort(t->raw.items, kept, sizeof *t->raw.items, finish_by_text);
    if (t->normalized.count)
        qsort(t->normalized.items, t->normalized.count, sizeof *t->normalized.items, finish_by_text);
    return ORGAN_OK;
}

organ_status organ_tokenizer_finish(organ_tokenizer *t, organ_error *error)
{
    if (!make_pieces(t))
        return organ_fail_errno(error, ENOMEM, "the vocabulary");
    make_digest(t);
    return separate_added_tokens(t, error);
}
