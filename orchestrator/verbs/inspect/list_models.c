/* SPDX-License-Identifier: MIT */
#include "orchestrator/verbs/inspect/inspect_parts.h"

#include "formats/names/names.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/report/text/report_text.h"

#include <fnmatch.h>
#include <organ/forward.h>
#include <organ/models.h>
#include <stdlib.h>
#include <string.h>

/* A larger adapter_config.json, in bytes, is not read. */
enum { ADAPTER_LIMIT = 1 << 20 };

typedef struct models_row {
    const char *format;
    uint64_t bytes;    /* of all tensors */
    organ_dtype dtype; /* the type with the most bytes */
    bool opens;        /* the headers can be read */
    bool scores;       /* the forward pass supports the model, as perplexity, evaluate and generate need */
    bool calibrates;   /* the forward pass can also record inputs of a float matrix, as calibrated pruning needs */
    bool cuts;         /* organ layers can remove a layer */
    char reason[sizeof((organ_error *)NULL)->message]; /* why it does not open or is not scored; "": no reason */
} models_row;

typedef struct models_job {
    const organ_models_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_name_list list; /* all models in the caches */
    json_t *rows;         /* rows of the listed models */
    size_t opened;        /* number of models that open */
} models_job;

static bool is_plain_dtype(organ_dtype dtype)
{
    return dtype == ORGAN_F32 || dtype == ORGAN_F16 || dtype == ORGAN_BF16;
}

/* `cuts` is true if the model has at least two numbered layers, so that `organ layers` can drop one. It is false for
 * an organ directory (model->manifest). */
static void count_tensors(const organ_model *model, models_row *row)
{
    uint64_t by_type[ORGAN_DTYPE_COUNT] = {0};
    int32_t last = 0;
    for (size_t k = 0; k < model->tensor_count; k++) {
        const organ_tensor *const tensor = &model->tensors[k];
        row->bytes += tensor->bytes;
        by_type[tensor->dtype] += tensor->bytes;
        last = tensor->anatomy.layer > last ? tensor->anatomy.layer : last;
    }
    for (organ_dtype dtype = 0; dtype < ORGAN_DTYPE_COUNT; dtype++)
        row->dtype = by_type[dtype] > by_type[row->dtype] ? dtype : row->dtype;
    row->cuts = last > 0 && !model->manifest;
}

/* Verbs with calibration also need a matrix of a float type whose inputs the forward pass can record. */
static void try_forward(const models_job *job, const organ_model *model, models_row *row)
{
    organ_error fault = {0};
    organ_forward *forward = NULL;
    row->scores = organ_forward_open(model, job->engine, &forward, &fault) == ORGAN_OK;
    for (size_t k = 0; row->scores && !row->calibrates && k < model->tensor_count; k++)
        row->calibrates =
            is_plain_dtype(model->tensors[k].dtype) && organ_forward_is_tapped(forward, &model->tensors[k]);
    if (!row->scores)
        memcpy(row->reason, fault.message, sizeof row->reason);
    organ_forward_close(forward);
}

static bool is_adapter(const organ_model *model)
{
    organ_error ignored = {0};
    ORGAN_OWNED char *bytes = NULL;
    size_t length;
    organ_model_load(model, "adapter_config.json", ADAPTER_LIMIT, &bytes, &length, &ignored);
    return bytes != NULL;
}

/* A LoRA adapter (with adapter_config.json) is neither scored nor cut. */
static void read_headers(const models_job *job, const organ_model *model, models_row *row)
{
    row->opens = true;
    row->format = model->format;
    count_tensors(model, row);
    if (!model->gguf && is_adapter(model)) {
        row->format = "LoRA adapter";
        row->cuts = false;
        return;
    }
    try_forward(job, model, row);
}

static json_t *models_row_json(const organ_named_model *named, const organ_model *model, const models_row *row)
{
    const char *const architecture = model && *model->config.architecture ? model->config.architecture : NULL;
    return ORGAN_OBJECT(
        SET_TEXT("store", organ_store_titles[named->store]), SET_BYTES("name", named->name),
        SET_BYTES_OF("path", named->path), SET_BYTES_OF("format", row->format),
        SET_BYTES_OF("architecture", architecture), SET_BYTES_OF("dtype", model ? organ_dtype_name(row->dtype) : NULL),
        SET_COUNT_OF("tensors", model, model->tensor_count), SET_COUNT_OF("bytes", model, row->bytes),
        SET_FLAG("opens", row->opens), SET_FLAG("scores", row->scores), SET_FLAG("calibrates", row->calibrates),
        SET_FLAG("cuts", row->cuts), SET_BYTES_OF("reason", *row->reason ? row->reason : NULL));
}

static organ_status add_model(models_job *job, const organ_named_model *named, organ_error *error)
{
    models_row row = {0};
    organ_error fault = {0};
    organ_model *model = NULL;
    if (named->path && organ_model_open(named->path, &model, &fault) == ORGAN_OK)
        read_headers(job, model, &row);
    else
        organ_fail(&fault, ORGAN_BAD_INPUT, "%s", named->fault ? named->fault : "");
    if (!row.opens)
        memcpy(row.reason, fault.message, sizeof row.reason);
    job->opened += row.opens;
    if (json_array_append_new(job->rows, models_row_json(named, model, &row)) != 0)
        organ_fail_memory(error, named->name);
    organ_model_close(model);
    return error->status;
}

/* The number of models includes those that --match leaves out. */
static json_t *store_row(const void *context, size_t k)
{
    const models_job *const job = context;
    size_t count = 0;
    for (size_t m = 0; m < job->list.count; m++)
        count += job->list.models[m].store == (organ_store)k;
    return ORGAN_OBJECT(SET_TEXT("store", organ_store_titles[k]), SET_BYTES_OF("folder", job->list.roots[k]),
                        SET_COUNT("models", count));
}

static organ_status read_models(models_job *job, json_t **report, organ_error *error)
{
    const double started = organ_seconds_now();
    job->rows = json_array();
    if (!job->rows)
        return organ_fail_memory(error, "the list of models");
    if (organ_names_list(&job->list, error) != ORGAN_OK)
        return error->status;
    organ_progress_begin(job->progress, "reading headers", 0, job->list.count);
    for (size_t k = 0; k < job->list.count && !error->status; k++) {
        const organ_named_model *const named = &job->list.models[k];
        if (organ_stop_is_requested(job->engine->stop))
            organ_fail(error, ORGAN_INTERRUPTED, "interrupted");
        else if (!job->options->match || fnmatch(job->options->match, named->name, 0) == 0)
            add_model(job, named, error);
        organ_progress_advance(job->progress, 0, named->name, NULL);
    }
    organ_progress_end(job->progress);
    if (error->status)
        return error->status;
    *report = ORGAN_OBJECT(
        SET_HEAD("organ.models/1", "models/1"), SET("stores", organ_json_rows(ORGAN_STORES, store_row, job)),
        SET_HELD("models", job->rows), SET_FLAG("cut", job->list.truncated),
        SET("totals", ORGAN_OBJECT(SET_COUNT("models", json_array_size(job->rows)), SET_COUNT("opens", job->opened))),
        SET("run", ORGAN_OBJECT(SET_REAL("seconds", organ_rounded_seconds(organ_seconds_now() - started)))));
    return *report ? ORGAN_OK : organ_fail_memory(error, "the list of models");
}

organ_status organ_models(const organ_models_options *options, const organ_engine *engine,
                          const organ_progress *progress, json_t **report, organ_error *error)
{
    models_job job = {.options = options, .engine = engine, .progress = progress};
    const organ_report_work work = organ_report_begin(report);
    read_models(&job, report, error);
    organ_names_list_release(&job.list);
    json_decref(job.rows);
    return organ_report_end(&work, "the list of models", error);
}
