/* SPDX-License-Identifier: MIT
 * Encodes a text to ids: finds added tokens, normalises the text between them, finds added tokens in the normalised
 * text, applies the pre-tokenizer to the text between them, and encodes each word. */
#include "formats/tokenizer/tokenizer_parts.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

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
        complete = organ_bytes_add(letters, letter, organ_utf8_put(organ_letter_of((unsigned char)text[k]), letter));
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
    organ_bytes normalised = {0};
    if (organ_is_normal(e->tokenizer, text, bytes))
        return encode_around_added(e, &e->tokenizer->normalized, text, bytes, first, encode_words, error);
    if (!organ_bytes_add(&normalised, text, bytes))
        return organ_fail_memory(error, "the tokens of a text");
    organ_normalise(e->tokenizer, &e->search, &e->growth, &normalised, error);
    if (!error->status && normalised.used)
        encode_around_added(e, &e->tokenizer->normalized, normalised.data, normalised.used, first, encode_words, error);
    free(normalised.data);
    return error->status;
}

organ_status organ_tokenizer_encode(const organ_tokenizer *tokenizer, const char *text, size_t bytes, bool special,
                                    uint32_t **ids, size_t *count, organ_error *error)
{
    return organ_tokenizer_encode_some(tokenizer, text, bytes, special, SIZE_MAX, ids, count, error);
}

organ_status organ_tokenizer_encode_some(const organ_tokenizer *tokenizer, const char *text, size_t bytes, bool special,
                                         size_t max, uint32_t **ids, size_t *count, organ_error *error)
{
    encoding e = {
        .tokenizer = tokenizer, .special = special, .ids.max = max, .growth = organ_growth_of(tokenizer, bytes)};
    e.bpe = (organ_bpe){.tokenizer = tokenizer, .ids = &e.ids};
    organ_bytes repaired = {0};
    const bool valid = organ_utf8_is_valid_text(text, bytes);
    *ids = NULL;
    *count = 0;
    if (!organ_search_make(&e.search, bytes) || (!valid && !organ_utf8_append_valid(text, bytes, &repaired)))
        organ_fail_memory(error, "the tokens of a text");
    if (!error->status)
        encode_around_added(&e, &tokenizer->raw, valid ? text : repaired.data, valid ? bytes : repaired.used, true,
                            encode_normalised, error);
    /* *ids is not NULL for an empty text either */
    if (!error->status && !e.ids.items && !(e.ids.items = malloc(sizeof *e.ids.items)))
        organ_fail_memory(error, "the tokens of a text");
    organ_search_release(&e.search);
    organ_bpe_release(&e.bpe);
    for (size_t k = 0; k < ORGAN_STEP_LIMIT; k++)
        free(e.texts[k].data);
    free(repaired.data);
    if (error->status) {
        free(e.ids.items);
        return error->status;
    }
    *ids = e.ids.items;
    *count = e.ids.count;
    return ORGAN_OK;
}
