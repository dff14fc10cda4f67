/* SPDX-License-Identifier: MIT
 * The files and key-values with tokens and ids of the output. */
#include "orchestrator/verbs/vocabulary/vocabulary_job.h"

#include "formats/base/results.h"
#include "formats/base/text.h"
#include "formats/tokenizer/tokenizer_files.h"

#include <organ/report.h>

/* organ writes new files with the names up to ORGAN_TOKEN_FILES. The others also list tokens, but loaders do not read
 * them beside a tokenizer.json. */
const char *const organ_vocabulary_left_out[] = {"tokenizer.json", "tokenizer_config.json", ORGAN_TOKEN_FILES,
                                                 ORGAN_TOKENIZERS_LEFT_OUT, NULL};

organ_token_settings organ_vocabulary_settings(const vocabulary_job *job)
{
    return (organ_token_settings){.count = job->groups.count,
                                  .rows = job->tables.rows,
                                  .new_ids = job->new_ids,
                                  .new_rows = organ_vocabulary_chosen(job)->kept.count,
                                  .changes = job->settings};
}

static organ_status print_text(const void *text, FILE *out, organ_error *error)
{
    fputs(text, out);
    return error->status;
}

organ_status organ_vocabulary_write_text(const char *to, const char *name, const char *text, organ_error *error)
{
    ORGAN_OWNED char *const path = organ_format("%s/%s", to, name);
    return path ? organ_printed_write(path, print_text, text, error) : organ_fail_memory(error, to);
}

static organ_status write_tokenizer(const vocabulary_job *job, const char *to, const char *name, organ_error *error)
{
    ORGAN_OWNED char *text = NULL;
    const vocabulary_policy *const p = organ_vocabulary_chosen(job);
    if (organ_kept_file(&p->kept, job->model, name, &text, error) || !text)
        return error->status;
    return organ_vocabulary_write_text(to, name, text, error);
}

static organ_status write_settings(const vocabulary_job *job, const char *to, const char *name, organ_error *error)
{
    ORGAN_OWNED char *bytes = NULL;
    ORGAN_RELEASED_BY(organ_json_edit_release) organ_json_edit edit = {0};
    organ_token_settings settings = organ_vocabulary_settings(job);
    size_t length = 0;
    settings.changes = to ? NULL : settings.changes; /* the plan has listed them */
    if (organ_model_load(job->model, name, ORGAN_CONFIG_LIMIT, &bytes, &length, error) || !bytes)
        return error->status;
    if (organ_json_edit_begin(&edit, name, bytes, length, error) == ORGAN_OK &&
        organ_token_settings_edit(&settings, &edit, error) == ORGAN_OK && to)
        organ_vocabulary_write_text(to, name, edit.bytes, error);
    return error->status;
}

organ_status organ_vocabulary_write_files(const vocabulary_job *job, const char *to, organ_error *error)
{
    if (job->model->gguf)
        return ORGAN_OK;
    if (to &&
        (write_tokenizer(job, to, "tokenizer.json", error) || write_tokenizer(job, to, "tokenizer_config.json", error)))
        return error->status;
    for (size_t k = 0; organ_token_files[k] && !error->status; k++)
        write_settings(job, to, organ_token_files[k], error);
    return error->status;
}

/* ---- the tokenizer of the output ---- */

static organ_status check_tokens(const vocabulary_job *job, organ_tokenizer *made, const char *path, organ_error *error)
{
    char fault[160];
    return organ_kept_same_tokens(job->tokenizer, made, job->ids, organ_vocabulary_chosen(job)->kept.count, fault,
                                  sizeof fault)
               ? ORGAN_OK
               : organ_fail(error, ORGAN_BAD_INPUT, "%s: %s", path, fault);
}

static organ_status compare_text(const vocabulary_job *job, organ_tokenizer *made, const char *path, organ_error *error)
{
    ORGAN_OWNED uint32_t *before = NULL, *after = NULL;
    vocabulary_text whole = {.path = path}, cut = {.path = path};
    if (organ_vocabulary_read(job, job->tokenizer, &whole, &before, error) ||
        organ_vocabulary_read(job, made, &cut, &after, error))
        return error->status;
    bool same = whole.tokens == cut.tokens;
    for (size_t k = 0; k < whole.tokens && same; k++)
        same = job->new_ids[before[k]] == after[k];
    return same ? ORGAN_OK
                : organ_fail(error, ORGAN_BAD_INPUT, "%s: the tokenizer of the output gives it other tokens", path);
}

organ_status organ_vocabulary_check_output(const vocabulary_job *job, const char *path, organ_error *error)
{
    organ_model *model = NULL;
    organ_tokenizer *made = NULL;
    if (organ_model_open(path, &model, error) == ORGAN_OK && organ_tokenizer_open(model, &made, error) == ORGAN_OK)
        check_tokens(job, made, path, error);
    for (size_t k = 0; k < job->options->text_count && !error->status; k++)
        compare_text(job, made, job->options->texts[k], error);
    organ_tokenizer_close(made);
    organ_model_close(model);
    return error->status;
}
