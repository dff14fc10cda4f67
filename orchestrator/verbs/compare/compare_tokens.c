/* SPDX-License-Identifier: MIT
 * Compares the vocabularies of all models, token by token. */
#include "orchestrator/verbs/compare/compare_job.h"

#include "formats/base/text.h"
#include "formats/tokenizer/tokenizer_files.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/report/text/report_text.h"

#include <stdio.h>
#include <string.h>

static json_t *token_json(const organ_tokenizer *tokenizer, uint32_t id)
{
    size_t length;
    const char *const token = organ_tokenizer_text_of(tokenizer, id, &length);
    ORGAN_OWNED char *const text = organ_format("%.*s", (int)(length < 60 ? length : 60), token);
    return text ? organ_document_string(text) : NULL;
}

static json_t *pair_json(const organ_tokenizer *const *tokenizers, size_t i, size_t j, uint32_t *different)
{
    const organ_tokenizer_facts *const one = organ_tokenizer_describe(tokenizers[i]);
    const organ_tokenizer_facts *const other = organ_tokenizer_describe(tokenizers[j]);
    char pair[8];
    uint32_t first = 0;
    *different = organ_tokenizer_different(tokenizers[i], tokenizers[j], /*gaps=*/false, &first);
    snprintf(pair, sizeof pair, "%s %s", organ_compare_label(i), organ_compare_label(j));
    json_t *const row = ORGAN_OBJECT(SET_TEXT("pair", pair), SET_COUNT("tokens", one->vocabulary),
                                     SET_COUNT("other_tokens", other->vocabulary), SET_COUNT("different", *different),
                                     SET_FLAG("same_rules", strcmp(one->digest, other->digest) == 0));
    if (*different)
        ORGAN_ADD(row, SET_COUNT("first", first), SET("token", token_json(tokenizers[i], first)),
                  SET("other_token", token_json(tokenizers[j], first)));
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
