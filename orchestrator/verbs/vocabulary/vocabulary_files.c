/* SPDX-License-Identifier: MIT
 * The files and key-values with tokens and ids of the output. */
#include "orchestrator/verbs/vocabulary/vocabulary_job.h"

#include "formats/base/results.h"
#include "formats/base/text.h"
#include "formats/tokenizer/tokenizer_files.h"

#include <organ/report.h>
#include <stdlib.h>
#include <string.h>

/* The first two are made anew, and so are those of organ_token_files. Others list tokens too, and loaders do not need
 * them beside a tokenizer.json. */
const char *const organ_vocabulary_left_out[] = {"tokenizer.json",
                                                 "tokenizer_config.json",
                                                 "generation_config.json",
                                                 "processor_config.json",
                                                 "preprocessor_config.json",
                                                 "added_tokens.json",
                                                 "merges.txt",
                                                 "vocab.json",
                                                 "vocab.txt",
                                                 ORGAN_TOKENIZER_OTHERS,
                                                 "spiece.model",
                                                 "sentencepiece.bpe.model",
                                                 NULL};

organ_token_settings organ_vocabulary_settings(const vocabulary_job *job)
{
    return (organ_token_settings){.count = job->groups.count,
                                  .rows = job->tables.rows,
                                  .new_ids = job->new_ids,
                                  .new_rows = organ_vocabulary_chosen((vocabulary_job *)job)->kept.count,
                                  .changes = job->settings};
}

static organ_status print_text(const void *text, FILE *out, organ_error *error)
{
    fputs(text, out);
    return error->status;
}

static organ_status write_text(const char *to, const char *name, const char *text, organ_error *error)
{
    ORGAN_OWNED char *const path = organ_format("%s/%s", to, name);
    return path ? organ_printed_write(path, print_text, text, error) : organ_fail_memory(error, to);
}

static organ_status write_tokenizer(const vocabulary_job *job, const char *to, const char *name, organ_error *error)
{
    ORGAN_OWNED char *text = NULL;
    const vocabulary_policy *const p = organ_vocabulary_chosen((vocabulary_job *)job);
    if (organ_kept_file(&p->kept, job->model, name, &text, error) || !text)
        return error->status;
    return write_text(to, name, text, error);
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
        write_text(to, name, edit.bytes, error);
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

typedef struct output_check {
    const vocabulary_job *job;
    organ_tokenizer *made;
    const char *path;
    bool special;
} output_check;

static bool is_same_token(const output_check *c, uint32_t id)
{
    size_t before, after;
    const char *const was = organ_tokenizer_text_of(c->job->tokenizer, id, &before);
    const char *const is = organ_tokenizer_text_of(c->made, c->job->new_ids[id], &after);
    return was && is && before == after && memcmp(was, is, before) == 0;
}

static organ_status check_tokens(const output_check *c, organ_error *error)
{
    const vocabulary_policy *const p = organ_vocabulary_chosen((vocabulary_job *)c->job);
    const uint32_t count = organ_tokenizer_describe(c->made)->vocabulary;
    if (count != p->kept.count)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: its tokenizer has %u tokens, not %u", c->path, count,
                          p->kept.count);
    for (size_t k = 0; k < count; k++)
        if (!is_same_token(c, c->job->ids[k]))
            return organ_fail(error, ORGAN_BAD_INPUT, "%s: token %zu is not token %u of %s", c->path, k, c->job->ids[k],
                              c->job->options->model);
    return ORGAN_OK;
}

/* Receives ids of the whole vocabulary, after those of the output were found for the same text. */
typedef struct text_ids {
    uint32_t *ids;
    size_t count;
    bool taken;
} text_ids;

static organ_status copy_ids(void *context, const uint32_t *ids, size_t count, organ_error *error)
{
    text_ids *const t = context;
    if (t->taken)
        return ORGAN_OK;
    t->taken = true;
    t->count = count;
    if (!(t->ids = malloc((count + 1) * sizeof *ids)))
        return organ_fail_memory(error, "the ids of a text");
    memcpy(t->ids, ids, count * sizeof *ids);
    return ORGAN_OK;
}

static organ_status read_ids(vocabulary_job *job, organ_tokenizer *tokenizer, const char *path, text_ids *ids,
                             organ_error *error)
{
    organ_tokenizer *const whole = job->tokenizer;
    vocabulary_text text = {.path = path};
    job->tokenizer = tokenizer;
    organ_vocabulary_read(job, &text, copy_ids, ids, error);
    job->tokenizer = whole;
    return error->status;
}

static organ_status compare_text(vocabulary_job *job, const output_check *c, const char *path, organ_error *error)
{
    text_ids before = {0}, after = {0};
    if (read_ids(job, job->tokenizer, path, &before, error) == ORGAN_OK &&
        read_ids(job, c->made, path, &after, error) == ORGAN_OK) {
        bool same = before.count == after.count;
        for (size_t k = 0; k < before.count && same; k++)
            same = job->new_ids[before.ids[k]] == after.ids[k];
        if (!same)
            organ_fail(error, ORGAN_BAD_INPUT, "%s: the tokenizer of the output gives it other tokens", path);
    }
    free(before.ids);
    free(after.ids);
    return error->status;
}

organ_status organ_vocabulary_check_output(vocabulary_job *job, const char *path, organ_error *error)
{
    organ_model *model = NULL;
    output_check c = {.job = job, .path = path};
    if (organ_model_open(path, &model, error) == ORGAN_OK && organ_tokenizer_open(model, &c.made, error) == ORGAN_OK)
        check_tokens(&c, error);
    for (size_t k = 0; k < job->options->text_count && !error->status; k++)
        compare_text(job, &c, job->options->texts[k], error);
    organ_tokenizer_close(c.made);
    organ_model_close(model);
    return error->status;
}
