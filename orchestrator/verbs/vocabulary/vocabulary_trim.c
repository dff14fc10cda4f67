/* SPDX-License-Identifier: MIT
 * Writes the model with fewer tokens: copies the kept rows and all other tensors. */
#include "orchestrator/verbs/vocabulary/vocabulary_job.h"

#include "formats/base/results.h"
#include "orchestrator/output/output.h"
#include "orchestrator/output/plan.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/report/view/views.h"
#include "orchestrator/stream/memory.h"

#include <stdlib.h>

/* ---- pieces ---- */

static organ_row_choice choice_of(const vocabulary_job *job, size_t t)
{
    return organ_choice_of(job->model, &job->model->tensors[t], &job->layouts[t], job->ids,
                           organ_vocabulary_chosen(job)->kept.count, job->engine->stop);
}

static organ_status check_rows(const vocabulary_job *job, organ_error *error)
{
    const vocabulary_policy *const p = organ_vocabulary_chosen(job);
    if (p->rows != p->kept.count)
        return organ_fail(error, ORGAN_USAGE, "`multiple_of` %u: the model has no %llu tokens, only %u",
                          job->options->multiple_of, (unsigned long long)p->rows, p->kept.count);
    for (size_t k = 0; k < p->kept.count; k++)
        if (job->ids[k] >= job->tables.rows)
            return organ_fail(error, ORGAN_BAD_INPUT, "%s: token %u has no row in the embedding, which has %llu",
                              job->model->path, job->ids[k], (unsigned long long)job->tables.rows);
    return ORGAN_OK;
}

static organ_status plan_rows(vocabulary_job *job, size_t t, organ_piece *piece, organ_error *error)
{
    const organ_row_choice choice = choice_of(job, t);
    const uint64_t multiple = organ_row_layout_multiple(&choice.layout), bytes = organ_choice_buffer(&choice);
    if (choice.count % multiple)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "tensor '%s': its words have codes of several rows, and %zu rows do not fill them: "
                          "`multiple_of` %llu does",
                          choice.tensor->name, choice.count, (unsigned long long)multiple);
    organ_row_layout_shape(&choice.layout, choice.tensor, choice.count, job->shapes[t]);
    job->buffer = bytes > job->buffer ? bytes : job->buffer;
    piece->same = NULL;
    piece->shape = job->shapes[t];
    return ORGAN_OK;
}

static organ_status plan_pieces(vocabulary_job *job, organ_error *error)
{
    const organ_model *const model = job->model;
    job->pieces = calloc(model->tensor_count + 1, sizeof *job->pieces);
    job->layouts = calloc(model->tensor_count + 1, sizeof *job->layouts);
    job->shapes = calloc(model->tensor_count + 1, sizeof *job->shapes);
    if (!job->pieces || !job->layouts || !job->shapes)
        return organ_fail_memory(error, model->path);
    if (organ_token_tables_tensors(model, &job->tables, job->layouts, error))
        return error->status;
    for (size_t t = 0; t < model->tensor_count; t++) {
        const organ_tensor *const tensor = &model->tensors[t];
        organ_piece piece = organ_piece_same(tensor);
        piece.item = t;
        if (job->layouts[t].form && plan_rows(job, t, &piece, error))
            return error->status;
        job->pieces[job->piece_count++] = piece;
    }
    return ORGAN_OK;
}

static organ_status make_keys(vocabulary_job *job, organ_error *error)
{
    const organ_token_settings settings = organ_vocabulary_settings(job);
    if (organ_gguf_find(job->model->gguf, "tokenizer.huggingface.json"))
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: key 'tokenizer.huggingface.json' has a second tokenizer: remove it with organ gguf edit",
                          job->model->path);
    if (organ_layout_metadata(job->model->gguf, &job->gguf, error) ||
        organ_kept_gguf(&organ_vocabulary_chosen(job)->kept, job->model, job->gguf, error))
        return error->status;
    return organ_token_settings_edit_keys(&settings, job->model, job->gguf, error);
}

/* A run continues only if it keeps the same tokens. */
static json_t *depends(void *context)
{
    const vocabulary_job *const job = context;
    const size_t count = organ_vocabulary_chosen(job)->kept.count;
    return ORGAN_OBJECT(SET("kept", organ_vocabulary_list_digest(job->tokenizer, job->ids, count)));
}

/* ---- rows ---- */

typedef struct row_copy {
    organ_writing *writing;
    size_t piece;
    unsigned char *scratch;
} row_copy;

static organ_status put_rows(void *context, const unsigned char *bytes, uint64_t at, size_t count, organ_error *error)
{
    const row_copy *const c = context;
    return organ_write_put(c->writing, c->piece, bytes, count, at, c->scratch, error);
}

static organ_status fill(void *context, organ_writing *writing, organ_error *error)
{
    vocabulary_job *const job = context;
    unsigned char *const buffer = aligned_alloc(4096, (size_t)(job->buffer + ORGAN_PUT_SCRATCH + 4095) / 4096 * 4096);
    if (!buffer)
        return organ_fail_memory(error, job->model->path);
    for (size_t t = 0; t < job->model->tensor_count && !error->status; t++) {
        const organ_row_choice choice = choice_of(job, t);
        row_copy c = {writing, t, buffer};
        if (!choice.layout.form || organ_write_done(writing, t) ||
            organ_choice_pass(&choice, buffer + ORGAN_PUT_SCRATCH, put_rows, &c, error))
            continue;
        organ_write_finish(writing, t, json_object(), error);
        organ_progress_advance(job->progress, choice.tensor->bytes, choice.tensor->name, NULL);
    }
    free(buffer);
    return error->status;
}

/* ---- the output ---- */

static organ_status edit_config(void *context, organ_json_edit *config, organ_error *error)
{
    const organ_token_settings settings = organ_vocabulary_settings(context);
    return organ_token_settings_edit(&settings, config, error);
}

static organ_status begun(void *context, const char *to, const char *path, organ_error *error)
{
    vocabulary_job *const job = context;
    if (!organ_ranks_first(job->engine->ranks))
        return ORGAN_OK;
    return organ_vocabulary_write_files(job, to, error) ? error->status
                                                        : organ_vocabulary_check_output(job, path, error);
}

static json_t *parameters(void *context) { return organ_vocabulary_parameters(context); }

static organ_status inputs(void *context, organ_run_inputs *list, organ_error *error)
{
    const vocabulary_job *const job = context;
    const organ_vocabulary_options *const o = job->options;
    for (size_t k = 0; k < o->text_count && !error->status; k++)
        organ_run_inputs_add(list, "text", o->texts[k], error);
    if (!error->status && o->tokens)
        organ_run_inputs_add(list, "tokens", o->tokens, error);
    if (!error->status && o->evaluate)
        organ_run_inputs_add(list, "evaluate", o->evaluate, error);
    return error->status;
}

static json_t *document(void *context, const organ_writing *writing)
{
    const vocabulary_job *const job = context;
    const size_t count = organ_vocabulary_chosen(job)->kept.count;
    return organ_json_joined(
        organ_vocabulary_members(job),
        ORGAN_OBJECT(SET("output", ORGAN_OBJECT(SET_COUNT("rows", count),
                                                SET_COUNT("bytes", organ_layout_total(organ_write_files(writing))))),
                     SET_HELD("settings", job->settings),
                     SET("kept_digest", organ_vocabulary_list_digest(job->tokenizer, job->ids, count)),
                     SET("kept", organ_ids_json(job->ids, count))));
}

static organ_status check_output(const vocabulary_job *job, organ_error *error)
{
    const char *const output = job->options->write.output;
    bool has_tokenizer = false;
    if (organ_model_is_here(job->model, "trimmed", error))
        return error->status;
    if (job->model->gguf)
        return ORGAN_OK;
    if (output && organ_output_is_file(output))
        return organ_fail(error, ORGAN_USAGE, "%s: the smaller model needs its own config.json: name a directory",
                          output);
    ORGAN_OWNED char *bytes = NULL;
    size_t length;
    organ_model_load(job->model, "tokenizer.json", (size_t)256 << 20, &bytes, &length, error);
    has_tokenizer = bytes != NULL;
    return has_tokenizer || error->status
               ? error->status
               : organ_fail(error, ORGAN_BAD_INPUT, "%s: has no tokenizer.json, from which tokens can be taken",
                            job->model->path);
}

static organ_status prepare(vocabulary_job *job, organ_error *error)
{
    const vocabulary_policy *const p = organ_vocabulary_chosen(job);
    if (!(job->settings = json_array()))
        return organ_fail_memory(error, job->model->path);
    if (!(job->ids = organ_kept_ids(&p->kept, error)) || !(job->new_ids = organ_kept_new_ids(&p->kept, error)) ||
        check_rows(job, error) || check_output(job, error) || plan_pieces(job, error) ||
        organ_memory_claim(job->engine, job->buffer + ORGAN_PUT_SCRATCH, error, "the buffer of rows"))
        return error->status;
    return job->model->gguf ? make_keys(job, error) : organ_vocabulary_write_files(job, NULL, error);
}

organ_status organ_vocabulary_trim(vocabulary_job *job, json_t **report, organ_error *error)
{
    if (prepare(job, error))
        return error->status;
    const organ_plan plan = {0};
    const organ_write made = {.model = job->model,
                              .requested = &job->options->write,
                              ORGAN_WRITE_BY(job),
                              ORGAN_WRITE_PIECES(job),
                              .pieces.gguf = job->gguf,
                              .names = {"vocabulary/1", &organ_vocabulary_view, "trimming", "model", NULL},
                              .left_out = organ_vocabulary_left_out,
                              .check = {.parameters = parameters, .inputs = inputs},
                              .make = {.edit = edit_config, .depends = depends, .begun = begun, .fill = fill},
                              .report = {.document = document, .plan = &plan, .made_as = ORGAN_TYPES_STAY}};
    return organ_write_run(&made, report, error);
}

void organ_vocabulary_trim_release(vocabulary_job *job)
{
    organ_gguf_writer_destroy(job->gguf);
    json_decref(job->settings);
    ORGAN_FREE_ARRAYS(job->pieces, job->layouts, job->shapes, job->ids, job->new_ids);
}
