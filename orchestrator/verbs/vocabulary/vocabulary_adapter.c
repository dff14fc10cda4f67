/* SPDX-License-Identifier: MIT
 * Writes a LoRA adapter for a base with fewer tokens: the factors and whole tensors with a row for each token get the
 * rows of the tokens that the base has kept. */
#include "orchestrator/verbs/vocabulary/vocabulary_job.h"

#include "formats/base/json.h"
#include "formats/base/results.h"
#include "formats/base/rows.h"
#include "formats/base/text.h"
#include "formats/gguf/file.h"
#include "formats/tokenizer/tokenizer_files.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/report/schema/schema.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/report/view/views.h"
#include "orchestrator/stream/memory.h"
#include "orchestrator/surgery/adapter/adapter.h"
#include "orchestrator/surgery/adapter/adapter_rows.h"
#include "orchestrator/verbs/vocabulary/vocabulary_adapter.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct adapter_job {
    vocabulary_job *of; /* options and, with `target`, its tokenizer and groups */
    organ_adapter *adapter;
    json_t *list;    /* the report of --tokens */
    uint64_t rows;   /* of the embedding before */
    uint32_t *ids;   /* kept */
    size_t count;    /* of `ids` */
    uint64_t buffer; /* bytes of the buffer of rows */
    organ_adapter_rows tensors;
    organ_adapter_making making;
    organ_piece *units; /* for each of tensors.list, as the next one */
    uint64_t (*shapes)[ORGAN_ROW_RANK];
} adapter_job;

/* ---- the list ---- */

/* A list does not name its model: the number of rows must be right, and with a tokenizer the texts of its tokens. */
static organ_status read_list(adapter_job *job, organ_error *error)
{
    vocabulary_job *const of = job->of;
    const char *const path = of->options->tokens;
    const json_t *const rows = json_object_get(json_object_get(job->list, "vocabulary"), "rows");
    job->rows = json_is_integer(rows) && json_integer_value(rows) > 0 ? (uint64_t)json_integer_value(rows) : 0;
    if (!job->rows || job->rows > UINT32_MAX)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: has no number of rows, which a smaller vocabulary's report has",
                          path);
    if (of->tokenizer)
        return organ_vocabulary_take_list(of, job->list, error);
    return organ_kept_list_read(json_object_get(job->list, "kept"), job->rows, path, &of->listed, &of->listed_count,
                                error);
}

/* ---- options ---- */

static organ_status check_options(const organ_vocabulary_options *o, organ_error *error)
{
    organ_vocabulary_options others = *o;
    others.tokens = NULL;
    const char *excluded = organ_vocabulary_choice(&others);
    if (o->rerank_template)
        excluded = "rerank_template";
    if (o->text_count || o->evaluate)
        excluded = o->text_count ? "texts" : "evaluate";
    if (!o->tokens)
        return organ_fail(error, ORGAN_USAGE,
                          "%s is an adapter: `tokens` names the report of its base's smaller vocabulary", o->model);
    if (excluded)
        return organ_fail(error, ORGAN_USAGE, "%s is an adapter, which has no tokens of its own: it excludes `%s`",
                          o->model, excluded);
    return o->write.output || o->write.dry_run
               ? ORGAN_OK
               : organ_fail(error, ORGAN_USAGE, "%s is an adapter: `output` is missing", o->model);
}

static organ_status check_adapter(const adapter_job *job, organ_error *error)
{
    const organ_vocabulary_options *const o = job->of->options;
    if (o->write.output && organ_output_is_file(o->write.output))
        return organ_fail(error, ORGAN_USAGE, "%s: an adapter is a directory", o->write.output);
    return o->write.output ? organ_output_check_not_adapter(o->write.output, job->adapter, error) : ORGAN_OK;
}

static organ_status open_all(adapter_job *job, organ_error *error)
{
    vocabulary_job *const of = job->of;
    const organ_vocabulary_options *const o = of->options;
    if (check_options(o, error) || organ_adapter_open(o->model, &job->adapter, error) || check_adapter(job, error) ||
        organ_kept_report_load(o->tokens, &job->list, error))
        return error->status;
    organ_adapter_warn(of->progress, job->adapter, /*lost=*/false);
    if (o->target && (organ_model_open_with(o->target, o->access, &of->target, error) ||
                      organ_tokenizer_open(of->target, &of->tokenizer, error) ||
                      organ_token_groups_find(&of->groups, of->tokenizer, error)))
        return error->status;
    if (read_list(job, error))
        return error->status;
    job->ids = of->listed;
    job->count = of->listed_count;
    return job->count ? organ_adapter_rows_find(job->adapter, job->rows, o->tokens, &job->tensors, error)
                      : organ_fail(error, ORGAN_BAD_INPUT,
                                   "%s: has no list 'kept', which a smaller vocabulary's report has", o->tokens);
}

/* ---- the output ---- */

static organ_row_choice choice_of(const adapter_job *job, size_t k)
{
    return organ_choice_of(job->adapter->model, job->tensors.list[k].tensor, &job->tensors.list[k].layout, job->ids,
                           job->count, job->of->engine->stop);
}

static uint64_t bytes_of(const organ_row_choice *choice)
{
    return choice->tensor->bytes / choice->layout.rows * choice->count;
}

static organ_status plan_units(adapter_job *job, organ_error *error)
{
    organ_adapter_making *const m = &job->making;
    job->units = organ_rows_take(job->tensors.count + 1, sizeof *job->units);
    job->shapes = calloc(job->tensors.count + 1, sizeof *job->shapes);
    if (!job->units || !job->shapes)
        return organ_fail_memory(error, job->adapter->path);
    for (size_t k = 0; k < job->tensors.count; k++) {
        const organ_adapter_tensor *const t = &job->tensors.list[k];
        organ_piece *const unit = &job->units[k];
        m->name_bytes += strlen(t->tensor->name);
        *unit = organ_piece_same(t->tensor);
        unit->model = job->adapter->model;
        if (t->layout.form == ORGAN_ROWS_NONE)
            continue;
        const organ_row_choice choice = choice_of(job, k);
        const uint64_t bytes = organ_choice_buffer(&choice);
        organ_row_layout_shape(&t->layout, t->tensor, choice.count, job->shapes[k]);
        *unit = (organ_piece){.name = t->tensor->name, .cost = t->tensor->bytes, .bytes = bytes_of(&choice)};
        job->buffer = bytes > job->buffer ? bytes : job->buffer;
    }
    return organ_memory_claim(job->of->engine, job->buffer, error, "the buffer of rows") ? error->status : ORGAN_OK;
}

static organ_status put(void *context, const unsigned char *bytes, uint64_t at, size_t count, organ_error *error)
{
    (void)at;
    return organ_adapter_put(context, bytes, count, error);
}

static organ_status put_rows(const adapter_job *job, organ_adapter_writer *writer, size_t k, unsigned char *buffer,
                             organ_error *error)
{
    const organ_adapter_tensor *const t = &job->tensors.list[k];
    const organ_row_choice choice = choice_of(job, k);
    if (organ_adapter_begin(writer, k, error) ||
        organ_adapter_declare(writer, t->tensor->name, t->tensor->dtype, t->tensor->rank, job->shapes[k], error) ||
        organ_choice_pass(&choice, buffer, put, writer, error) || organ_adapter_end(writer, json_object(), error))
        return error->status;
    organ_progress_advance(job->of->progress, t->tensor->bytes, t->tensor->name, NULL);
    return ORGAN_OK;
}

static organ_status fill(void *context, organ_adapter_writer *writer, organ_error *error)
{
    const adapter_job *const job = context;
    ORGAN_OWNED unsigned char *const buffer = aligned_alloc(4096, (size_t)(job->buffer + 4095) / 4096 * 4096 + 4096);
    if (!buffer)
        return organ_fail_memory(error, job->adapter->path);
    for (size_t k = 0; k < job->tensors.count && !error->status; k++)
        if (!job->units[k].same && !organ_adapter_done(writer, k))
            put_rows(job, writer, k, buffer, error);
    return error->status;
}

static bool recall(void *context, size_t unit, const json_t *results)
{
    (void)context, (void)unit, (void)results;
    return true;
}

/* As it is in the file: adapter->config is the one of peft. GGUF has none. */
static json_t *config(void *context, organ_error *error)
{
    const adapter_job *const job = context;
    json_t *stored = NULL;
    if (job->adapter->gguf)
        stored = json_object();
    else
        organ_model_load_json(job->adapter->model, ORGAN_ADAPTER_CONFIG, ORGAN_ADAPTER_CONFIG, &stored, error);
    if (!stored && !error->status)
        organ_fail_memory(error, job->adapter->path);
    return stored;
}

static json_t *parameters(void *context)
{
    const organ_vocabulary_options *const o = ((const adapter_job *)context)->of->options;
    return ORGAN_OBJECT(SET_BYTES("tokens", organ_path_name(o->tokens)),
                        SET_BYTES_OF("target", o->target ? organ_path_name(o->target) : NULL));
}

static organ_status inputs(void *context, organ_run_inputs *list, organ_error *error)
{
    const vocabulary_job *const of = ((const adapter_job *)context)->of;
    return of->target && organ_run_inputs_add_model(list, "target", of->target, error)
               ? error->status
               : organ_run_inputs_add(list, "tokens", of->options->tokens, error);
}

static json_t *tensor_row(const void *context, size_t k)
{
    const adapter_job *const job = context;
    const organ_adapter_tensor *const t = &job->tensors.list[k];
    const organ_row_choice choice = choice_of(job, k);
    return t->layout.form == ORGAN_ROWS_NONE
               ? NULL
               : ORGAN_OBJECT(SET_BYTES("name", t->tensor->name), SET_TEXT("use", organ_token_use_name(t->use)),
                              SET_DTYPE("dtype", t->tensor->dtype), SET_COUNT("rows_before", t->layout.rows),
                              SET_COUNT("rows", choice.count), SET_COUNT("bytes_before", t->tensor->bytes),
                              SET_COUNT("bytes", bytes_of(&choice)));
}

static json_t *document(void *context, const organ_writing *writing)
{
    const adapter_job *const job = context;
    (void)writing;
    return ORGAN_OBJECT(
        SET("adapter", organ_adapter_json(job->adapter)), SET_COUNT("rows_before", job->rows),
        SET_COUNT("rows", job->count), SET("tensors", organ_json_rows(job->tensors.count, tensor_row, job)),
        SET_COUNT("copied", job->tensors.count - job->tensors.tables),
        SET("kept", organ_ids_json(job->ids, job->count)), SET_SENTENCES("organ.adapter_rows/1", "definitions", NULL));
}

static organ_status write_adapter(adapter_job *job, json_t **report, organ_error *error)
{
    vocabulary_job *const of = job->of;
    const organ_adapter *const a = job->adapter;
    const organ_model whole = organ_adapter_whole(a);
    organ_adapter_making *const m = &job->making;
    if (plan_units(job, error))
        return error->status;
    m->write = (organ_write){.model = &whole,
                             .requested = &of->options->write,
                             ORGAN_WRITE_BY(of),
                             .names = {"adapter_rows/1", &organ_adapter_rows_view, "trimming", "adapter", NULL},
                             .check = {.parameters = parameters, .inputs = inputs},
                             .report = {.document = document}};
    m->write.context = job;
    m->units = job->units;
    m->unit_count = m->tensors = job->tensors.count;
    m->architecture = a->gguf ? a->architecture : NULL;
    m->mlx = !a->gguf && strcmp(a->model->files[0].name, ORGAN_ADAPTER_MLX) == 0;
    m->alpha = a->gguf ? a->alpha : 0;
    m->files_of = a;
    m->left_out = organ_vocabulary_left_out;
    m->fill = fill;
    m->recall = recall;
    m->config = config;
    return organ_adapter_make(m, report, error);
}

/* ---- the run ---- */

static bool is_gguf_adapter(const char *path)
{
    organ_error ignored = {0};
    organ_model *model = NULL;
    const bool is = organ_ends_with(path, ".gguf") && organ_model_open(path, &model, &ignored) == ORGAN_OK &&
                    organ_gguf_text_equals(model->gguf, "general.type", "adapter");
    organ_model_close(model);
    return is;
}

bool organ_vocabulary_is_adapter(const char *path)
{
    static const char *const names[] = {ORGAN_ADAPTER_CONFIG, ORGAN_ADAPTER_GGUF};
    bool is = strcmp(organ_path_name(path), ORGAN_ADAPTER_WEIGHTS) == 0 || is_gguf_adapter(path);
    for (size_t k = 0; k < sizeof names / sizeof *names && !is; k++) {
        ORGAN_OWNED char *const file = organ_format("%s/%s", path, names[k]);
        struct stat status;
        is = file && stat(file, &status) == 0 && S_ISREG(status.st_mode);
    }
    return is;
}

organ_status organ_vocabulary_adapter(vocabulary_job *of, json_t **report, organ_error *error)
{
    adapter_job job = {.of = of};
    if (open_all(&job, error) == ORGAN_OK)
        write_adapter(&job, report, error);
    organ_rows_free(job.units);
    free(job.shapes);
    organ_adapter_rows_release(&job.tensors);
    json_decref(job.list);
    organ_adapter_close(job.adapter);
    return error->status;
}
