/* SPDX-License-Identifier: MIT
 * Writes a model with new tokens: copies all rows, and adds the means of those of each token's pieces. */
#include "orchestrator/verbs/vocabulary/vocabulary_add.h"

#include "formats/base/json.h"
#include "formats/base/results.h"
#include "formats/base/text.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/output/inputs.h"
#include "orchestrator/output/output.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/report/view/views.h"
#include "orchestrator/stream/memory.h"
#include "orchestrator/surgery/vocabulary/new_rows.h"
#include "orchestrator/surgery/vocabulary/token_settings.h"
#include "orchestrator/verbs/vocabulary/vocabulary_job.h"
#include "orchestrator/verbs/vocabulary/vocabulary_rows.h"

#include <stdlib.h>
#include <string.h>

/* ---- options and inputs ---- */

static organ_status check_options(const organ_vocabulary_options *o, organ_error *error)
{
    const struct {
        bool set;
        const char *name;
    } others[] = {{o->text_count > 0, "texts"},
                  {o->tokens != NULL, "tokens"},
                  {o->evaluate != NULL, "evaluate"},
                  {o->keep_all, "keep_all"},
                  {o->keep_characters, "keep_characters"},
                  {o->keep_merges > 0, "keep_merges"},
                  {o->multiple_of > 1, "multiple_of"},
                  {o->labels != NULL, "labels"},
                  {o->draft_head > 0, "draft_head"},
                  {o->target != NULL, "target"},
                  {o->rerank_template != NULL, "rerank_template"}};
    const char *const output = o->write.output;
    for (size_t k = 0; k < sizeof others / sizeof *others; k++)
        if (others[k].set)
            return organ_fail(error, ORGAN_USAGE, "`%s` adds tokens: it excludes `%s`", o->add ? "add" : "special",
                              others[k].name);
    if (!output && !o->write.dry_run)
        return organ_fail(error, ORGAN_USAGE, "`%s` writes a model: `output` is missing", o->add ? "add" : "special");
    if (output && organ_output_is_file(output))
        return organ_fail(error, ORGAN_USAGE,
                          "%s: the model with new tokens needs its own config.json: name a directory", output);
    return ORGAN_OK;
}

static organ_status check_rows(const vocabulary_add *job, organ_error *error)
{
    const uint64_t rows = job->tables.rows;
    if (job->extension.first > rows)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: has %u ids, but only %llu rows: new tokens come after all ids",
                          job->model->path, job->extension.first, (unsigned long long)rows);
    for (size_t k = 0; k < job->tables.count; k++)
        if (job->tables.list[k].rows != rows)
            return organ_fail(error, ORGAN_BAD_INPUT, "tensor '%s' has %llu rows, but the embedding %llu",
                              job->tables.list[k].weight->name, (unsigned long long)job->tables.list[k].rows,
                              (unsigned long long)rows);
    return ORGAN_OK;
}

static organ_status claim_tokens(void *context, uint64_t bytes, organ_error *error)
{
    const vocabulary_add *const job = context;
    return organ_memory_claim(job->engine, bytes, error, "the new tokens and their parts");
}

static organ_status open_model(vocabulary_add *job, organ_error *error)
{
    const organ_vocabulary_options *const o = job->options;
    if (check_options(o, error) || organ_model_open_with(o->model, o->access, &job->model, error) ||
        organ_model_is_here(job->model, "given new tokens", error))
        return error->status;
    if (job->model->gguf)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: is GGUF and has no tokenizer.json, to which tokens can be added: convert it to "
                          "safetensors first",
                          job->model->path);
    if (organ_tokenizer_open(job->model, &job->tokenizer, error) ||
        organ_weights_find(job->model, &job->weights, error) ||
        organ_token_tables_find(job->model, job->weights, &job->tables, error) || organ_vocabulary_add_read(job, error))
        return error->status;
    const organ_union_model model = {
        .name = job->model->path, .model = job->model, .tokenizer = job->tokenizer, .rows = job->tables.rows};
    job->extension.claim = claim_tokens;
    job->extension.context = job;
    if (organ_tokenizer_extend(&model, &job->extension, error) || check_rows(job, error))
        return error->status;
    job->rows = organ_max(job->tables.rows, (uint64_t)job->extension.first + job->extension.count);
    return ORGAN_OK;
}

static void warn_of_reused(const vocabulary_add *job)
{
    const organ_extension *const x = &job->extension;
    size_t bytes;
    const char *const text = x->reused_count ? organ_vocabulary_text(job->tokenizer, x->reused[0], &bytes) : NULL;
    if (text)
        organ_progress_warn(
            job->progress,
            "new merges make %zu token%s of %s, such as %u '%.*s': texts without new tokens change where "
            "they now have %s",
            x->reused_count, x->reused_count == 1 ? "" : "s", job->model->path, x->reused[0],
            (int)organ_min(bytes, (size_t)60), text, x->reused_count == 1 ? "it" : "one of them");
}

/* ---- pieces ---- */

static organ_status check_table(const vocabulary_add *job, const organ_tensor *tensor, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_mean_rows_release) organ_mean_rows means = {0};
    return organ_mean_rows_open(&means, job->model, tensor, job->engine->kernels, error);
}

static organ_status plan_pieces(vocabulary_add *job, organ_error *error)
{
    const organ_model *const model = job->model;
    job->pieces = calloc(model->tensor_count + 1, sizeof *job->pieces);
    job->layouts = calloc(model->tensor_count + 1, sizeof *job->layouts);
    job->shapes = calloc(model->tensor_count + 1, sizeof *job->shapes);
    job->ids = malloc(((size_t)job->extension.first + 1) * sizeof *job->ids);
    job->settings = json_array();
    if (!job->pieces || !job->layouts || !job->shapes || !job->ids || !job->settings)
        return organ_fail_memory(error, model->path);
    for (uint32_t id = 0; id < job->extension.first; id++)
        job->ids[id] = id;
    if (organ_token_tables_tensors(model, &job->tables, job->layouts, error))
        return error->status;
    for (size_t t = 0; t < model->tensor_count && !error->status; t++) {
        const organ_tensor *const tensor = &model->tensors[t];
        organ_piece piece = organ_piece_same(tensor);
        piece.item = t;
        if (job->layouts[t].form) {
            check_table(job, tensor, error);
            memcpy(job->shapes[t], tensor->shape, tensor->rank * sizeof *tensor->shape);
            job->shapes[t][0] = job->rows;
            piece.same = NULL;
            piece.shape = job->shapes[t];
        }
        job->pieces[job->piece_count++] = piece;
    }
    return error->status;
}

/* ---- rows ---- */

/* Rows without a token, from the ids of new tokens on, are replaced; those after the new tokens stay. */
static organ_status write_rows(const vocabulary_add *job, vocabulary_rows *rows, organ_error *error)
{
    const organ_extension *const x = &job->extension;
    const uint64_t width = rows->tensor->bytes / rows->tensor->shape[0], last = (uint64_t)x->first + x->count;
    ORGAN_RELEASED_BY(organ_mean_rows_release) organ_mean_rows means = {0};
    if (organ_mean_rows_open(&means, job->model, rows->tensor, job->engine->kernels, error) ||
        organ_rows_copy(rows, 0, x->first * width, error))
        return error->status;
    for (size_t k = 0; k < x->count; k++) {
        const void *const row = organ_mean_rows_next(&means, x->tokens[k].pieces, x->tokens[k].piece_count, error);
        if (!row || organ_rows_put(rows, row, (size_t)width, error))
            return error->status;
        if (organ_stop_is_requested(job->engine->stop))
            return organ_fail(error, ORGAN_INTERRUPTED, "interrupted");
    }
    if (last < job->tables.rows && organ_rows_copy(rows, last * width, (job->tables.rows - last) * width, error))
        return error->status;
    return organ_rows_flush(rows, error);
}

static organ_status fill(void *context, organ_writing *writing, organ_error *error)
{
    const vocabulary_add *const job = context;
    unsigned char *const buffer = aligned_alloc(4096, ORGAN_ROWS_BUFFER + ORGAN_PUT_SCRATCH);
    if (!buffer)
        return organ_fail_memory(error, job->model->path);
    for (size_t t = 0; t < job->model->tensor_count && !error->status; t++) {
        vocabulary_rows rows = {
            .model = job->model, .tensor = &job->model->tensors[t], .writing = writing, .piece = t, .buffer = buffer};
        if (!job->layouts[t].form || organ_write_done(writing, t) || write_rows(job, &rows, error))
            continue;
        organ_write_finish(writing, t, json_object(), error);
        organ_progress_advance(job->progress, rows.tensor->bytes, rows.tensor->name, NULL);
    }
    free(buffer);
    return error->status;
}

/* ---- the files ---- */

/* Files that list tokens, too. Outputs lack them: loaders read tokenizer.json, which organ writes anew, instead. */
static const char *const left_out[] = {"tokenizer.json", "tokenizer_config.json", ORGAN_TOKENIZERS_LEFT_OUT, NULL};

static organ_status edit_config(void *context, organ_json_edit *config, organ_error *error)
{
    const vocabulary_add *const job = context;
    const organ_token_settings settings = {.count = job->extension.first,
                                           .rows = job->tables.rows,
                                           .new_ids = job->ids,
                                           .new_rows = job->rows,
                                           .changes = job->settings};
    return organ_token_settings_edit(&settings, config, error);
}

static organ_status add_special(const vocabulary_add *job, organ_json_edit *edit, organ_error *error)
{
    const organ_extension *const x = &job->extension;
    for (size_t k = 0; k < x->count && !error->status; k++) {
        char id[24];
        if (!x->tokens[k].special)
            continue;
        snprintf(id, sizeof id, "%zu", x->first + k);
        ORGAN_OWNED_JSON json_t *const value = organ_new_token_json(x->tokens[k].text);
        if (!value)
            return organ_fail_memory(error, job->model->path);
        organ_json_edit_set(edit, "added_tokens_decoder", id, value, error);
    }
    return error->status;
}

/* transformers reads special tokens of tokenizer_config.json, if this file lists any. */
static organ_status write_special(const vocabulary_add *job, const char *to, organ_error *error)
{
    static const char name[] = "tokenizer_config.json";
    ORGAN_OWNED char *bytes = NULL;
    ORGAN_OWNED_JSON json_t *root = NULL;
    ORGAN_RELEASED_BY(organ_json_edit_release) organ_json_edit edit = {0};
    size_t length = 0;
    if (organ_model_load(job->model, name, ORGAN_CONFIG_LIMIT, &bytes, &length, error) || !bytes ||
        organ_model_load_json(job->model, name, name, &root, error))
        return error->status;
    if (organ_json_edit_begin(&edit, name, bytes, length, error) ||
        (json_object_get(root, "added_tokens_decoder") && add_special(job, &edit, error)))
        return error->status;
    return organ_vocabulary_write_text(to, name, edit.bytes, error);
}

/* The tokenizer of the output must be the one that was checked. */
static organ_status begun(void *context, const char *to, const char *path, organ_error *error)
{
    const vocabulary_add *const job = context;
    organ_model *model = NULL;
    organ_tokenizer *made = NULL;
    if (!organ_ranks_first(job->engine->ranks)) /* Ranks: files without tensors are written once */
        return ORGAN_OK;
    if (organ_vocabulary_write_text(to, "tokenizer.json", job->extension.json, error) || write_special(job, to, error))
        return error->status;
    if (organ_model_open(path, &model, error) == ORGAN_OK && organ_tokenizer_open(model, &made, error) == ORGAN_OK)
        for (size_t k = 0; k < job->extension.count && !error->status; k++) {
            size_t bytes, read;
            const uint32_t id = job->extension.first + (uint32_t)k;
            const char *const text = organ_vocabulary_text(job->extension.made, id, &bytes), *const is =
                                                                                                 organ_vocabulary_text(
                                                                                                     made, id, &read);
            if (!text || !is || bytes != read || memcmp(text, is, bytes) != 0)
                organ_fail(error, ORGAN_BAD_INPUT, "%s: token %u is not '%s'", path, id, job->extension.tokens[k].text);
        }
    organ_tokenizer_close(made);
    organ_model_close(model);
    return error->status;
}

/* ---- the run ---- */

static json_t *parameters(void *context) { return organ_vocabulary_add_parameters(context); }

static organ_status inputs(void *context, organ_run_inputs *list, organ_error *error)
{
    const organ_vocabulary_options *const o = ((const vocabulary_add *)context)->options;
    if (o->add)
        organ_run_inputs_add(list, "add", o->add, error);
    if (o->special && !error->status)
        organ_run_inputs_add(list, "special", o->special, error);
    return error->status;
}

static json_t *document(void *context, const organ_writing *writing)
{
    const uint64_t bytes = organ_layout_total(organ_write_files(writing));
    return organ_json_joined(organ_vocabulary_add_members(context),
                             ORGAN_OBJECT(SET("output", ORGAN_OBJECT(SET_COUNT("bytes", bytes)))));
}

static organ_status write_model(vocabulary_add *job, json_t **report, organ_error *error)
{
    const organ_plan plan = {0};
    const organ_write made = {.model = job->model,
                              .requested = &job->options->write,
                              ORGAN_WRITE_BY(job),
                              ORGAN_WRITE_PIECES(job),
                              .names = {"vocabulary_add/1", &organ_vocabulary_add_view, "adding tokens", "model", NULL},
                              .left_out = left_out,
                              .check = {.parameters = parameters, .inputs = inputs},
                              .make = {.edit = edit_config, .begun = begun, .fill = fill},
                              .report = {.document = document, .plan = &plan, .made_as = ORGAN_TYPES_STAY}};
    return organ_write_run(&made, report, error);
}

static void close_job(vocabulary_add *job)
{
    organ_extension_release(&job->extension);
    organ_token_tables_release(&job->tables);
    organ_weights_free(job->weights);
    organ_tokenizer_close(job->tokenizer);
    organ_model_close(job->model);
    json_decref(job->settings);
    ORGAN_FREE_ARRAYS(job->pieces, job->layouts, job->shapes, job->ids);
}

organ_status organ_vocabulary_add(const organ_vocabulary_options *options, const organ_engine *engine,
                                  const organ_progress *progress, json_t **report, organ_error *error)
{
    organ_kept_warnings kept;
    vocabulary_add job = {.options = options, .engine = engine, .progress = organ_warnings_begin(&kept, progress)};
    if (open_model(&job, error) == ORGAN_OK && plan_pieces(&job, error) == ORGAN_OK &&
        organ_memory_claim(engine, organ_extension_memory(&job.extension) + ORGAN_ROWS_BUFFER + ORGAN_PUT_SCRATCH,
                           error, "the new tokens and the buffer of rows") == ORGAN_OK) {
        warn_of_reused(&job);
        write_model(&job, report, error);
    }
    close_job(&job);
    organ_warnings_end(&kept);
    return error->status;
}
