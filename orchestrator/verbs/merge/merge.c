/* SPDX-License-Identifier: MIT */
#include <organ/inspect.h>

#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/stream/weight_pass.h"

#include <stdlib.h>

/* Counts of a strip of rows, or of all weights of a role. */
typedef struct merge_sums {
    uint64_t values;
} merge_sums;

typedef struct merge_job {
    const organ_merge_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_model *model;
    organ_weights *weights;
    organ_weight_item *items;
    size_t item_count;
    uint64_t bytes;
    merge_sums rows[ORGAN_ANATOMY_ROWS], all;
    double started;
} merge_job;

/* Complex numbers and weights without elements are not read. */
static organ_status merge_choose(merge_job *job, organ_error *error)
{
    if (!(job->items = calloc(job->weights->count + 1, sizeof *job->items)))
        return organ_fail_memory(error, job->model->path);
    for (size_t k = 0; k < job->weights->count; k++) {
        const organ_weight *const weight = &job->weights->weights[k];
        if (weight->elements == 0 || (weight->scheme == ORGAN_SCHEME_PLAIN && weight->codes->dtype == ORGAN_C64))
            continue;
        job->items[job->item_count++].weight = weight;
        job->bytes += organ_weight_bytes(weight);
    }
    return job->item_count ? ORGAN_OK : organ_fail(error, ORGAN_BAD_INPUT, "%s: has no weights", job->model->path);
}

/* Called by several workers at a time, for strips in any order. `values` has rows x cols numbers of type float. */
static organ_status merge_count(void *context, const organ_weight_strip *strip, void *scratch, void *result,
                                organ_error *error)
{
    merge_sums *const sums = result;
    (void)context, (void)scratch, (void)error;
    sums->values = strip->rows * strip->cols;
    return ORGAN_OK;
}

/* Called for one strip at a time, in the order of weights and rows. */
static organ_status merge_retire(void *context, const organ_weight_strip *strip, const void *result, organ_error *error)
{
    merge_job *const job = context;
    const organ_weight *const weight = job->items[strip->item].weight;
    const merge_sums *const sums = result;
    (void)error;
    job->rows[organ_anatomy_row(&weight->anatomy)].values += sums->values;
    job->all.values += sums->values;
    if (strip->last)
        organ_progress_advance(job->progress, organ_weight_bytes(weight), weight->name, NULL);
    return ORGAN_OK;
}

static json_t *merge_row(const void *context, size_t k)
{
    const merge_sums *const sums = &((const merge_job *)context)->rows[k];
    if (sums->values == 0)
        return NULL;
    return ORGAN_OBJECT(SET_TEXT("role", organ_anatomy_row_name((unsigned)k)), SET_COUNT("values", sums->values));
}

static json_t *merge_document(const merge_job *job)
{
    return ORGAN_OBJECT(
        SET_HEAD("organ.merge/1", "merge/1"), SET("model", organ_model_json(job->model)),
        SET("roles", organ_anatomy_rows_json(merge_row, job)),
        SET("totals", ORGAN_OBJECT(SET_COUNT("values", job->all.values))),
        SET("run", ORGAN_OBJECT(SET_BYTES("model", job->options->model),
                                SET_REAL("seconds", organ_rounded_seconds(organ_seconds_now() - job->started)),
                                SET_ENGINE(job->engine))));
}

static organ_status merge_read(merge_job *job, json_t **report, organ_error *error)
{
    if (organ_model_open_with(job->options->model, job->options->access, &job->model, error) ||
        organ_weights_find(job->model, &job->weights, error) || merge_choose(job, error))
        return error->status;
    const organ_weight_pass pass = {.model = job->model,
                                    .items = job->items,
                                    .item_count = job->item_count,
                                    .as = ORGAN_F32,
                                    .result_bytes = sizeof(merge_sums),
                                    .context = job,
                                    .work = merge_count,
                                    .retire = merge_retire};
    organ_progress_begin(job->progress, "counting", job->bytes, job->item_count);
    organ_weight_pass_run(&pass, job->engine, error);
    organ_progress_end(job->progress);
    if (error->status || organ_model_unchanged(job->model, error))
        return error->status;
    *report = merge_document(job);
    return ORGAN_OK;
}

organ_status organ_merge(const organ_merge_options *options, const organ_engine *engine, const organ_progress *progress,
                         json_t **report, organ_error *error)
{
    if (ORGAN_BEGIN_VERB(organ_merge_options, options, report, error, "model", options->model))
        return error->status;
    merge_job job = {.options = options, .engine = engine, .progress = progress, .started = organ_seconds_now()};
    const organ_report_work work = organ_report_begin(report);
    merge_read(&job, report, error);
    free(job.items);
    organ_weights_free(job.weights);
    organ_model_close(job.model);
    return organ_report_end(&work, options->model, error);
}
