/* SPDX-License-Identifier: MIT
 * Compares the vocabularies of all models, token by token. */
#include "orchestrator/verbs/compare/compare_job.h"

#include "formats/base/text.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/report/text/report_text.h"

#include <organ/tokenizer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct token_piece {
    const char *bytes; /* "" for an id without a token */
    size_t length;
} token_piece;

/* GGUF files have a token "[PAD151700]" for each id up to the rows of the embedding that has none. */
static token_piece piece_of(const organ_tokenizer *tokenizer, uint32_t id)
{
    char pad[24];
    token_piece piece = {"", 0};
    if (id >= organ_tokenizer_describe(tokenizer)->vocabulary)
        return piece;
    piece.bytes = organ_tokenizer_piece(tokenizer, id, &piece.length);
    const int length = snprintf(pad, sizeof pad, "[PAD%u]", (unsigned)id);
    if (piece.length == (size_t)length && memcmp(piece.bytes, pad, piece.length) == 0)
        return (token_piece){"", 0};
    return piece;
}

static json_t *piece_json(token_piece piece)
{
    char *const text = organ_format("%.*s", (int)(piece.length < 60 ? piece.length : 60), piece.bytes);
    json_t *const json = text ? organ_document_string(text) : NULL;
    free(text);
    return json;
}

/* Returns the number of ids with different tokens; *first becomes the first of them. */
static uint32_t count_different(const organ_tokenizer *a, const organ_tokenizer *b, uint32_t *first)
{
    const uint32_t one = organ_tokenizer_describe(a)->vocabulary, other = organ_tokenizer_describe(b)->vocabulary;
    uint32_t different = 0;
    for (uint32_t id = 0; id < one || id < other; id++) {
        const token_piece x = piece_of(a, id), y = piece_of(b, id);
        if (x.length == y.length && memcmp(x.bytes, y.bytes, x.length) == 0)
            continue;
        *first = different++ ? *first : id;
    }
    return different;
}

static json_t *pair_json(const organ_tokenizer *const *tokenizers, size_t i, size_t j, uint32_t *different)
{
    const organ_tokenizer_facts *const one = organ_tokenizer_describe(tokenizers[i]), *const other =
                                                                                          organ_tokenizer_describe(
                                                                                              tokenizers[j]);
    char pair[8];
    uint32_t first = 0;
    *different = count_different(tokenizers[i], tokenizers[j], &first);
    snprintf(pair, sizeof pair, "%s %s", organ_compare_label(i), organ_compare_label(j));
    json_t *const row = ORGAN_OBJECT(SET_TEXT("pair", pair), SET_COUNT("tokens", one->vocabulary),
                                     SET_COUNT("other_tokens", other->vocabulary), SET_COUNT("different", *different),
                                     SET_FLAG("same_rules", strcmp(one->digest, other->digest) == 0));
    if (*different)
        ORGAN_ADD(row, SET_COUNT("first", first), SET("token", piece_json(piece_of(tokenizers[i], first))),
                  SET("other_token", piece_json(piece_of(tokenizers[j], first))));
    return row;
}

static void compare_all(compare_job *job, const organ_tokenizer *const *tokenizers)
{
    uint32_t most = 0;
    for (size_t j = 1; j < job->count; j++)
        for (size_t i = 0; i < j; i++) {
            uint32_t different = 0;
            if (!tokenizers[i] || !tokenizers[j])
                continue;
            job->broken |= json_array_append_new(job->vocabularies, pair_json(tokenizers, i, j, &different)) != 0;
            most = different > most ? different : most;
        }
    char text[COMPARE_MODELS][24];
    const char *values[COMPARE_MODELS] = {0};
    for (size_t k = 0; k < job->count; k++)
        if (tokenizers[k]) {
            snprintf(text[k], sizeof text[k], "%u tokens", organ_tokenizer_describe(tokenizers[k])->vocabulary);
            values[k] = text[k];
        }
    if (most)
        organ_compare_clash(job, "vocabulary", values);
}

organ_status organ_compare_vocabularies(compare_job *job, organ_error *error)
{
    organ_tokenizer *tokenizers[COMPARE_MODELS] = {0};
    for (size_t k = 0; k < job->count && !error->status; k++) {
        organ_error refused = {0};
        organ_tokenizer_open(job->models[k].model, &tokenizers[k], &refused);
        if (refused.status == ORGAN_BAD_INPUT)
            organ_say(job->notes, "The vocabulary of %s is not compared: %s", organ_compare_label(k), refused.message);
        else if (refused.status)
            *error = refused;
    }
    if (!error->status)
        compare_all(job, (const organ_tokenizer *const *)tokenizers);
    for (size_t k = 0; k < job->count; k++)
        organ_tokenizer_close(tokenizers[k]);
    return error->status;
}
