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
#include <string.h>

#define WINDOW ((size_t)1 << 20) /* bytes of the buffer of kept rows */

/* ---- pieces ---- */

static size_t rows_of(const vocabulary_job *job, const organ_tensor *tensor)
{
    return organ_kept_rows(job->ids, organ_vocabulary_chosen(job)->kept.count, tensor->shape[0]);
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

static organ_status plan_pieces(vocabulary_job *job, organ_error *error)
{
    const organ_model *const model = job->model;
    job->pieces = calloc(model->tensor_count + 1, sizeof *job->pieces);
    job->has_rows = calloc(model->tensor_count + 1, sizeof *job->has_rows);
    job->shapes = calloc(model->tensor_count + 1, sizeof *job->shapes);
    if (!job->pieces || !job->has_rows || !job->shapes)
        return organ_fail_memory(error, model->path);
    if (organ_token_tables_tensors(model, &job->tables, job->has_rows, error))
        return error->status;
    for (size_t t = 0; t < model->tensor_count; t++) {
        const organ_tensor *const tensor = &model->tensors[t];
        organ_piece piece = organ_piece_same(tensor);
        piece.item = t;
        if (job->has_rows[t]) {
            memcpy(job->shapes[t], tensor->shape, tensor->rank * sizeof *tensor->shape);
            job->shapes[t][0] = rows_of(job, tensor);
            piece.same = NULL;
            piece.shape = job->shapes[t];
        }
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
    vocabulary_job *job;
    const organ_tensor *tensor;
    size_t piece, filled;
    uint64_t at; /* bytes that were written */
    unsigned char *buffer;
} row_copy;

static organ_status flush_rows(row_copy *c, organ_error *error)
{
    if (c->filled && organ_write_put(c->job->writing, c->piece, c->buffer, c->filled, c->at, c->buffer + WINDOW, error))
        return error->status;
    c->at += c->filled;
    c->filled = 0;
    return ORGAN_OK;
}

/* Copies `bytes` consecutive bytes of the tensor. */
static organ_status copy_bytes(row_copy *c, uint64_t from, uint64_t bytes, organ_error *error)
{
    while (bytes) {
        const size_t n = bytes < WINDOW - c->filled ? (size_t)bytes : WINDOW - c->filled;
        if (organ_model_read(c->job->model, c->tensor->file, c->buffer + c->filled, n, c->tensor->offset + from, error))
            return error->status;
        c->filled += n;
        from += n;
        bytes -= n;
        if (c->filled == WINDOW && flush_rows(c, error))
            return error->status;
    }
    return ORGAN_OK;
}

static organ_status copy_rows(row_copy *c, organ_error *error)
{
    const size_t count = rows_of(c->job, c->tensor);
    const uint64_t width = c->tensor->bytes / c->tensor->shape[0];
    const uint32_t *const ids = c->job->ids;
    for (size_t k = 0, run; k < count; k += run) {
        run = organ_kept_run(ids, count, k);
        if (organ_stop_is_requested(c->job->engine->stop))
            return organ_fail(error, ORGAN_INTERRUPTED, "interrupted");
        if (copy_bytes(c, ids[k] * width, run * width, error))
            return error->status;
    }
    return flush_rows(c, error);
}

static organ_status fill(void *context, organ_writing *writing, organ_error *error)
{
    vocabulary_job *const job = context;
    unsigned char *const buffer = aligned_alloc(4096, WINDOW + ORGAN_PUT_SCRATCH);
    job->writing = writing;
    if (!buffer)
        return organ_fail_memory(error, job->model->path);
    for (size_t t = 0; t < job->model->tensor_count && !error->status; t++) {
        row_copy c = {.job = job, .tensor = &job->model->tensors[t], .piece = t, .buffer = buffer};
        if (!job->has_rows[t] || organ_write_done(writing, t) || copy_rows(&c, error))
            continue;
        organ_write_finish(writing, t, json_object(), error);
        organ_progress_advance(job->progress, c.tensor->bytes, c.tensor->name, NULL);
    }
    free(buffer);
    return error->status;
}

static bool recall(void *context, size_t item, const json_t *results)
{
    (void)context, (void)item;
    return results != NULL;
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
    if (organ_model_is_here(job->model, "trimmed", error) ||
        organ_memory_claim(job->engine, WINDOW + ORGAN_PUT_SCRATCH, error, "the buffer of rows"))
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
        check_rows(job, error) || check_output(job, error) || plan_pieces(job, error))
        return error->status;
    return job->model->gguf ? make_keys(job, error) : organ_vocabulary_write_files(job, NULL, error);
}

organ_status organ_vocabulary_trim(vocabulary_job *job, json_t **report, organ_error *error)
{
    if (prepare(job, error))
        return error->status;
    const organ_plan plan = {0};
    const organ_write made = {
        .model = job->model,
        .requested = &job->options->write,
        ORGAN_WRITE_BY(job),
        ORGAN_WRITE_PIECES(job),
        .pieces.gguf = job->gguf,
        .names = {"vocabulary/1", &organ_vocabulary_view, "trimming", "model", NULL},
        .left_out = organ_vocabulary_left_out,
        .check = {.parameters = parameters, .inputs = inputs},
        .make = {.edit = edit_config, .depends = depends, .begun = begun, .fill = fill, .recall = recall},
        .report = {.document = document, .plan = &plan, .made_as = ORGAN_TYPES_STAY}};
    return organ_write_run(&made, report, error);
}

void organ_vocabulary_trim_release(vocabulary_job *job)
{
    organ_gguf_writer_destroy(job->gguf);
    json_decref(job->settings);
    ORGAN_FREE_ARRAYS(job->pieces, job->has_rows, job->shapes, job->ids, job->new_ids);
}
