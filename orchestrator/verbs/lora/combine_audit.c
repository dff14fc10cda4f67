/* SPDX-License-Identifier: MIT
 * organ audit --recipe: combines the adapters again as the report of organ lora combine states, and compares the
 * factors and files of the adapter with that. */
#include "orchestrator/verbs/lora/combine_job.h"

#include "formats/base/files.h"
#include "formats/base/results.h"
#include "formats/base/text.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/report/view/views.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define REPORT_LIMIT ((size_t)1 << 30) /* bytes of a report */

typedef struct combine_audit {
    const organ_lora_combine_audit_options *options;
    json_t *report; /* of organ lora combine */
    organ_lora_combine_options as;
    const char *paths[ORGAN_COMBINE_MOST];
    char *weights; /* of `as` */
    organ_combine_job job;
    organ_adapter *adapter; /* the audited one */
    uint64_t modules, proved, elements, different, tensors, copied;
    double distance; /* of a module's change from the weighted sum, relative to it; the largest */
    organ_problems problems;
} combine_audit;

/* ---- the recipe ---- */

static organ_status read_document(combine_audit *a, organ_error *error)
{
    ORGAN_OWNED char *bytes = NULL;
    organ_json_source text = {.label = a->options->recipe};
    if (organ_input_load(a->options->recipe, text.label, REPORT_LIMIT, &bytes, &text.length, error))
        return error->status;
    text.bytes = bytes;
    if (organ_json_parse_object(&text, &a->report, error))
        return error->status;
    if (strcmp(organ_json_text(a->report, "schema"), organ_lora_combine_view.schema) != 0)
        return organ_refuse(error, a->options->recipe, "is no report of organ lora combine (%s)",
                            organ_lora_combine_view.schema);
    return ORGAN_OK;
}

static organ_status read_weights(combine_audit *a, const json_t *weights, organ_error *error)
{
    for (size_t k = 0; k < json_array_size(weights); k++) {
        char *const more = organ_format("%s%s%.17g", a->weights ? a->weights : "", a->weights ? "," : "",
                                        json_number_value(json_array_get(weights, k)));
        free(a->weights);
        a->weights = more;
        if (!more)
            return organ_fail_memory(error, a->options->recipe);
    }
    a->as.weights = a->weights;
    return ORGAN_OK;
}

static organ_status read_recipe(combine_audit *a, organ_error *error)
{
    if (read_document(a, error))
        return error->status;
    const json_t *const given = json_object_get(a->report, "parameters"), *const paths =
                                                                              organ_json_at(a->report, "run.adapters");
    const char *const sign = json_string_value(json_object_get(given, "majority_sign"));
    for (size_t k = 0; k < json_array_size(paths) && k < ORGAN_COMBINE_MOST; k++)
        a->paths[a->as.adapter_count++] = json_string_value(json_array_get(paths, k));
    a->as.adapters = a->paths;
    a->as.method = organ_json_text(given, "method");
    a->as.density = json_number_value(json_object_get(given, "density"));
    a->as.majority_sign = sign ? sign : "total";
    a->as.seed = (uint64_t)json_integer_value(json_object_get(given, "seed"));
    a->as.rank = (unsigned)json_integer_value(json_object_get(given, "rank"));
    a->as.dtype = json_string_value(json_object_get(given, "dtype"));
    a->as.to = json_string_value(json_object_get(given, "to"));
    for (size_t k = 0; k < a->as.adapter_count; k++)
        if (!a->paths[k])
            return organ_refuse(error, a->options->recipe, "run.adapters is no list of paths");
    return read_weights(a, json_object_get(given, "weights"), error);
}

/* ---- factors ---- */

static uint64_t compare_values(const organ_kernels *kernels, organ_dtype dtype, const float *made, const float *stored,
                               size_t n)
{
    enum { STEP = 1024 };
    float codes[STEP], rounded[STEP];
    uint64_t different = 0;
    for (size_t at = 0; at < n; at += STEP) {
        const size_t count = organ_min((size_t)STEP, n - at);
        organ_narrow(kernels, dtype, made + at, codes, count);
        organ_widen(kernels, dtype, codes, rounded, count);
        for (size_t k = 0; k < count; k++)
            different += rounded[k] != stored[at + k];
    }
    return different;
}

static organ_status audit_module(combine_audit *a, organ_lora_row *row, organ_error *error)
{
    const organ_kernels *const kernels = a->job.rewrite.engine->kernels;
    const organ_adapter_pair *const pair = organ_adapter_find(a->adapter, row->pair->module);
    ORGAN_RELEASED_BY(organ_lora_factors_release) organ_lora_factors stored = {0};
    double distance = 0;
    a->modules++;
    if (!pair || pair->rank != a->job.rewrite.rank || pair->in_features != row->pair->in_features ||
        pair->out_features != row->pair->out_features || pair->experts != row->pair->experts) {
        organ_problem_add(&a->problems, "module '%s' is missing, or has other shapes", row->pair->module);
        return ORGAN_OK;
    }
    if (organ_lora_factors_read(a->adapter, pair, kernels, 1, &stored, error) ||
        organ_lora_make_factors(&a->job.rewrite, row, error))
        return error->status;
    const organ_lora_factors *const made = &row->factors;
    const size_t in = made->experts * made->rank * made->in, out = made->experts * made->rank * made->out;
    const uint64_t different = compare_values(kernels, row->dtype, made->a, stored.a, in) +
                               compare_values(kernels, row->dtype, made->b, stored.b, out);
    a->elements += in + out;
    a->different += different;
    a->proved += different == 0;
    if (different)
        organ_problem_add(&a->problems, "module '%s': %llu values of its factors differ", row->pair->module,
                          (unsigned long long)different);
    if (a->job.method->cat && row->rank == row->pair->rank &&
        organ_combine_distance(&a->job, row, &stored, pair->scale, &distance, error) == ORGAN_OK)
        a->distance = fmax(a->distance, distance);
    organ_lora_factors_release(&row->factors);
    return error->status;
}

/* ---- other tensors and the config ---- */

static organ_status audit_rest(combine_audit *a, organ_error *error)
{
    const organ_combine_job *const job = &a->job;
    for (size_t k = 0; k < job->rest_count && !error->status; k++) {
        const organ_tensor *const t = organ_model_find(a->adapter->model, job->rest[k]->name);
        bool same = false;
        a->tensors++;
        if (t && organ_combine_same(job->adapters[job->rest_adapters[k]], job->rest[k], a->adapter, t, &same, error))
            return error->status;
        a->copied += same;
        if (!same)
            organ_problem_add(&a->problems, "tensor '%s' is missing, or not that of %s", job->rest[k]->name,
                              job->adapters[job->rest_adapters[k]]->path);
    }
    if (a->adapter->pair_count != job->joined.pair_count || a->adapter->rest_count != job->rest_count)
        organ_problem_add(&a->problems, "the adapter has %zu pairs and %zu other tensors, but %zu and %zu belong to it",
                          a->adapter->pair_count, a->adapter->rest_count, job->joined.pair_count, job->rest_count);
    return error->status;
}

static void audit_scales(combine_audit *a)
{
    const double scale = a->job.rewrite.keeps ? a->job.rewrite.scale : 1;
    for (size_t p = 0; p < a->adapter->pair_count; p++)
        if (a->adapter->pairs[p].scale != scale) {
            organ_problem_add(&a->problems, "module '%s' has the scale %g, but must have %g",
                              a->adapter->pairs[p].module, a->adapter->pairs[p].scale, scale);
            return;
        }
}

/* ---- the document ---- */

static json_t *document_of(combine_audit *a)
{
    const bool exact = a->job.method->cat && !a->job.method->svd && a->as.rank == 0;
    ORGAN_OWNED_JSON json_t *const problems = organ_problems_json(&a->problems);
    return ORGAN_OBJECT(
        SET_HEAD("organ.audit_combine/1", "combine/1"), SET("adapter", organ_adapter_json(a->adapter)),
        SET_TEXT("method", a->job.method->name), SET_COUNT("adapters", a->job.count), SET_COUNT("modules", a->modules),
        SET_COUNT("proved", a->proved), SET_COUNT("elements", a->elements), SET_COUNT("different", a->different),
        SET_COUNT("tensors", a->tensors), SET_COUNT("copied", a->copied), SET_REAL_OF("distance", exact, a->distance),
        SET_FLAG("ok", json_array_size(problems) == 0), SET("problems", json_incref(problems)),
        SET("run", ORGAN_OBJECT(SET_ENGINE(a->job.rewrite.engine))));
}

static organ_status audit_adapter(combine_audit *a, json_t **report, organ_error *error)
{
    organ_combine_job *const job = &a->job;
    if (read_recipe(a, error) || organ_adapter_open_with_conv(a->options->adapter, &a->adapter, error) ||
        organ_combine_open(job, error) || organ_combine_settle(job, error))
        return error->status;
    job->rewrite.source = &job->source;
    organ_progress_begin(job->rewrite.progress, "combining again", 0, job->rewrite.count);
    for (size_t p = 0; p < job->rewrite.count && !error->status; p++) {
        if (organ_stop_is_requested(job->rewrite.engine->stop))
            return organ_fail(error, ORGAN_INTERRUPTED, "interrupted");
        audit_module(a, &job->rewrite.rows[p], error);
    }
    organ_progress_end(job->rewrite.progress);
    if (error->status || audit_rest(a, error))
        return error->status;
    audit_scales(a);
    *report = document_of(a);
    if (*report)
        organ_problems_judge(&a->problems, error, "%s is not the combination that its report describes",
                             a->options->adapter);
    return error->status;
}

organ_status organ_lora_combine_audit(const organ_lora_combine_audit_options *options, const organ_engine *engine,
                                      const organ_progress *progress, json_t **report, organ_error *error)
{
    ORGAN_OWN_RESULTS(report, error);
    if (ORGAN_BEGIN_VERB(organ_lora_combine_audit_options, options, report, error, "recipe", options->recipe, "adapter",
                         options->adapter))
        return error->status;
    combine_audit a = {.options = options, .as = organ_lora_combine_defaults()};
    organ_report_work work = organ_report_begin(report);
    a.job = (organ_combine_job){.options = &a.as,
                                .rewrite = {.engine = engine, .progress = organ_warnings_begin(&work.kept, progress)}};
    a.job.source = (organ_lora_source){&a.job, organ_combine_survey, organ_combine_read};
    if ((a.problems.sentences = json_array()))
        audit_adapter(&a, report, error);
    else
        organ_fail_memory(error, options->adapter);
    organ_combine_close(&a.job);
    organ_adapter_close(a.adapter);
    json_decref(a.problems.sentences);
    json_decref(a.report);
    free(a.weights);
    return organ_report_end(&work, options->adapter, error);
}
