/* SPDX-License-Identifier: MIT
 * Reads texts and counts their tokens. */
#include "orchestrator/verbs/vocabulary/vocabulary_job.h"

#include "formats/base/results.h"
#include "formats/tokenizer/tokenizer_files.h"
#include "orchestrator/output/inputs.h"

#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

static organ_status measure(const vocabulary_job *job, vocabulary_text *text, const organ_text_input *input,
                            organ_error *error)
{
    ORGAN_OWNED bool *const seen = calloc((size_t)job->groups.count + 1, sizeof *seen);
    if (!seen)
        return organ_fail_memory(error, text->path);
    text->bytes = input->size;
    text->tokens = input->tokens;
    text->distinct = 0;
    text->digest = XXH3_64bits(input->ids, input->tokens * sizeof *input->ids);
    snprintf(text->bytes_digest, sizeof text->bytes_digest, "%016llx",
             (unsigned long long)XXH3_64bits(input->bytes, input->size));
    for (size_t k = 0; k < input->tokens; k++) {
        text->distinct += !seen[input->ids[k]];
        seen[input->ids[k]] = true;
    }
    return ORGAN_OK;
}

/* The caller releases *input in any case. */
static organ_status encode_text(const vocabulary_job *job, organ_tokenizer *tokenizer, vocabulary_text *text,
                                organ_text_input *input, organ_error *error)
{
    return organ_text_load(input, text->path, job->engine, error) || organ_text_check(input, error) ||
                   organ_text_encode(input, tokenizer, /*special=*/true, error)
               ? error->status
               : measure(job, text, input, error);
}

organ_status organ_vocabulary_read(const vocabulary_job *job, organ_tokenizer *tokenizer, vocabulary_text *text,
                                   uint32_t **ids, organ_error *error)
{
    organ_text_input input;
    if (encode_text(job, tokenizer, text, &input, error) == ORGAN_OK && ids) {
        *ids = input.ids;
        input.ids = NULL;
    }
    organ_text_release(&input);
    return error->status;
}

/* Returns whether an added token is among the ids. */
static bool count_ids(vocabulary_job *job, const organ_text_input *input)
{
    bool added = false;
    for (size_t k = 0; k < input->tokens; k++) {
        const uint32_t id = input->ids[k];
        job->text_tokens += job->uses[id] == 0;
        job->uses[id]++;
        added |= job->groups.kinds[id] == ORGAN_TOKEN_ADDED;
    }
    return added;
}

/* The ids of a text that names special tokens depend on whether these names are read as tokens. A smaller vocabulary
 * must have both kinds of ids, so both are counted. A draft keeps the most frequent ids, so each place of a text counts
 * once, with the names read as tokens. */
static organ_status count_text(vocabulary_job *job, vocabulary_text *text, organ_error *error)
{
    organ_text_input input;
    if (encode_text(job, job->tokenizer, text, &input, error) == ORGAN_OK && count_ids(job, &input) &&
        !job->options->draft_head) {
        free(input.ids);
        input.ids = NULL;
        if (organ_text_encode(&input, job->tokenizer, /*special=*/false, error) == ORGAN_OK)
            count_ids(job, &input);
    }
    organ_text_release(&input);
    return error->status;
}

/* All ids that occur in a text. */
static organ_status keep_used(vocabulary_job *job, organ_error *error)
{
    ORGAN_OWNED uint32_t *const ids = malloc(((size_t)job->text_tokens + 1) * sizeof *ids);
    size_t count = 0;
    if (!ids)
        return organ_fail_memory(error, job->model->path);
    for (uint32_t id = 0; id < job->groups.count; id++)
        if (job->uses[id])
            ids[count++] = id;
    return organ_kept_use(&job->base, ids, count, error);
}

static uint32_t used_tokens(const organ_kept_tokens *kept, uint32_t count)
{
    uint32_t used = 0;
    for (uint32_t id = 0; id < count; id++)
        used += (kept->why[id] & ORGAN_KEPT_USED) != 0;
    return used;
}

static organ_status keep_template(vocabulary_job *job, organ_error *error)
{
    ORGAN_OWNED char *template = NULL;
    if (organ_chat_template_read(job->model, &template, error) || !template)
        return error->status;
    const uint32_t before = used_tokens(&job->base, job->groups.count);
    job->has_template = true;
    organ_kept_template(&job->base, template, error);
    job->template_tokens = used_tokens(&job->base, job->groups.count) - before;
    return error->status;
}

/* Tokens that settings name have their ids in files of the model. */
static organ_status keep_setting(void *context, uint32_t id, organ_error *error)
{
    vocabulary_job *const job = context;
    return organ_kept_add(&job->base, &id, 1, ORGAN_KEPT_ADDED, error);
}

static organ_status keep_settings(vocabulary_job *job, organ_error *error)
{
    const organ_token_settings settings = {
        .count = job->groups.count, .rows = job->tables.rows, .keep = keep_setting, .context = job};
    return organ_token_settings_collect(&settings, job->model, error) ? error->status
                                                                      : organ_kept_named(&job->base, job->model, error);
}

organ_status organ_vocabulary_count_texts(vocabulary_job *job, organ_error *error)
{
    const organ_vocabulary_options *const o = job->options;
    job->uses = calloc((size_t)job->groups.count + 1, sizeof *job->uses);
    job->texts = calloc(o->text_count + 1, sizeof *job->texts);
    if (!job->uses || !job->texts)
        return organ_fail_memory(error, job->model->path);
    for (size_t k = 0; k < o->text_count && !error->status; k++) {
        job->texts[k].path = o->texts[k];
        count_text(job, &job->texts[k], error);
    }
    return error->status;
}

organ_status organ_vocabulary_count(vocabulary_job *job, organ_error *error)
{
    if (organ_vocabulary_count_texts(job, error) || organ_kept_begin(&job->base, job->tokenizer, error) ||
        keep_used(job, error) || keep_template(job, error))
        return error->status;
    return keep_settings(job, error);
}
