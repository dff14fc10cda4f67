/* SPDX-License-Identifier: MIT
 * Runs organ purify: filters the rows of the chosen tensors, measures their energy, and makes the report. */
#include "orchestrator/verbs/purify/purify_parts.h"

#include "formats/base/plain_numbers.h"
#include "formats/base/results.h"
#include "formats/base/rows.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/output/plan.h"
#include "orchestrator/report/schema/schema.h"
#include "orchestrator/stream/product.h"
#include "orchestrator/report/view/views.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the report ---- */

/* The report warns if more than this percentage of the energy was removed. */
#define WARNING_PERCENT 5.0

/* before, after: energies in the donor and in the copy. theta_before and theta_after are sums over the `thetas`
 * parts that have a theta in both models. */
typedef struct document_sums {
    uint64_t tensors, elements, bytes;
    double before, after, theta_before, theta_after;
    size_t thetas;
} document_sums;

static bool has_theta(const organ_z *z) { return z->done && !z->reason; }

static void document_add_part(document_sums *s, const organ_purify_job *job, size_t k)
{
    const organ_purify_part *const part = &job->parts[k];
    const double *const energies = job->rows.results[k].sums;
    s->tensors++;
    s->elements += part->tensor->elements;
    s->bytes += part->tensor->bytes;
    s->before += energies[ORGAN_ENERGY_BEFORE];
    s->after += energies[ORGAN_ENERGY_AFTER];
    if (has_theta(&part->z_before) && has_theta(&part->z_after)) {
        s->theta_before += part->z_before.theta;
        s->theta_after += part->z_after.theta;
        s->thetas++;
    }
}

/* The percentage is rounded to 6 decimals; it is 0 if there was no energy. */
static double removed_percent(double before, double after)
{
    return before > 0 ? organ_millionth(100.0 * (before - after) / before) : 0.0;
}

/* Sets a member to the mean sum / count; null if count is 0. */
#define SET_THETA(key, sum, count) SET_REAL_OF(key, (count) > 0, organ_millionth((sum) / (double)(count)))

static json_t *document_sums_json(const organ_purify_job *job, const document_sums *s)
{
    json_t *const object = ORGAN_OBJECT(SET_COUNT("tensors", s->tensors), SET_COUNT("elements", s->elements),
                                        SET_COUNT("bytes", s->bytes));
    if (job->options->write.dry_run)
        return object;
    return organ_json_joined(object,
                             ORGAN_OBJECT(SET_REAL("energy_before", s->before), SET_REAL("energy_after", s->after),
                                          SET_REAL("energy_removed_percent", removed_percent(s->before, s->after)),
                                          SET_THETA("theta_before", s->theta_before, s->thetas),
                                          SET_THETA("theta_after", s->theta_after, s->thetas)));
}

static json_t *document_role_json(const void *context, size_t role)
{
    const organ_purify_job *const job = context;
    document_sums s = {0};
    for (size_t k = 0; k < job->count; k++) {
        organ_rows_passed();
        if (organ_anatomy_row(&job->parts[k].tensor->anatomy) == role)
            document_add_part(&s, job, k);
    }
    return s.tensors ? organ_json_joined(ORGAN_OBJECT(SET_TEXT("role", organ_anatomy_row_name((unsigned)role))),
                                         document_sums_json(job, &s))
                     : NULL;
}

/* A dry run has no energies, thetas and digest. */
static json_t *document_part_json(const void *context, size_t k)
{
    const organ_purify_job *const job = context;
    const organ_purify_part *const part = &job->parts[k];
    const organ_tensor *const tensor = part->tensor;
    const double before = job->rows.results[k].sums[ORGAN_ENERGY_BEFORE],
                 after = job->rows.results[k].sums[ORGAN_ENERGY_AFTER];
    json_t *const object = ORGAN_OBJECT(SET_TEXT("tensor", tensor->name), SET_PLACE(&tensor->anatomy),
                                        SET_DTYPE("dtype", tensor->dtype), SET("shape", organ_shape_json(tensor)));
    if (job->options->write.dry_run)
        return object;
    return organ_json_joined(object,
                             ORGAN_OBJECT(SET_REAL("energy_before", before), SET_REAL("energy_after", after),
                                          SET_REAL("energy_removed_percent", removed_percent(before, after)),
                                          SET_THETA("theta_before", part->z_before.theta, has_theta(&part->z_before)),
                                          SET_THETA("theta_after", part->z_after.theta, has_theta(&part->z_after)),
                                          SET_TEXT("xxh3", job->rows.results[k].xxh3)));
}

static json_t *document_left_out_json(const void *context, size_t k)
{
    const organ_tensor *const tensor = ((const organ_purify_job *)context)->left_out[k];
    return ORGAN_OBJECT(SET_TEXT("tensor", tensor->name), SET_DTYPE("dtype", tensor->dtype));
}

static json_t *purify_parameters(void *context)
{
    const organ_purify_job *const job = context;
    const organ_purify_options *const o = job->options;
    return ORGAN_OBJECT(SET_TEXT("method", o->method), SET_REAL("threshold", job->threshold),
                        SET_REAL("strength", o->strength),
                        SET("type", organ_selection_json(o->types, o->layers, /*of_layers=*/false)),
                        SET("layers", organ_selection_json(o->types, o->layers, /*of_layers=*/true)));
}

static json_t *command_json(const organ_purify_job *job)
{
    return organ_json_command((const char *const[]){"organ", "evaluate", job->donor->path, job->options->write.output,
                                                    "--text", "TEXT", NULL});
}

/* The warning is null if at most WARNING_PERCENT of the energy was removed, or in a dry run. */
static json_t *warning_json(const organ_purify_job *job, const document_sums *all)
{
    if (job->options->write.dry_run || removed_percent(all->before, all->after) <= WARNING_PERCENT)
        return json_null();
    return ORGAN_OBJECT(
        SET_TEXT("text", "More than 5 % of the energy of these tensors was removed. Such a filter classifies most of "
                         "what a model has learned as noise: measure the damage, for example as the perplexity of both "
                         "models on the same text, before you use this one."),
        SET_REAL("energy_removed_percent", removed_percent(all->before, all->after)),
        SET("commands", json_pack("[o]", command_json(job))));
}

/* Implements organ_write.document: returns the report of the finished output. */
static json_t *purify_document(void *context, const organ_writing *made)
{
    (void)made; /* tensors keep their files and offsets */
    const organ_purify_job *const job = context;
    document_sums all = {0};
    for (size_t k = 0; k < job->count; k++) {
        organ_rows_passed();
        document_add_part(&all, job, k);
    }
    return ORGAN_OBJECT(SET("totals", document_sums_json(job, &all)), SET("warning", warning_json(job, &all)),
                        SET("matrices", organ_matrices_json(job->donor, job->chosen)),
                        SET("roles", organ_anatomy_rows_json(document_role_json, job)),
                        SET("tensors", organ_json_rows(job->count, document_part_json, job)),
                        SET("left_alone", organ_json_rows(job->left_out_count, document_left_out_json, job)),
                        SET_SENTENCES("organ.purify/1", "definitions", ORGAN_OBJECT(SET_FLAG("haar", job->haar))));
}

/* ---- filtering the rows of the chosen tensors, and their energy before and after ---- */

/* The energy is the sum of squared deviations from the mean (m2), plus n mean^2. */
static double energy_of(const organ_kernels *kernels, const float *values, size_t n)
{
    organ_spread s;
    kernels->spread(values, n, &s);
    return s.m2 + (double)s.n * s.mean * s.mean;
}

/* A row with a value that is not finite, before or after the filter, is counted and not stored. */
static void purify_row(void *context, const organ_row *row)
{
    const organ_purify_job *const job = context;
    const organ_fft *const fft = job->parts[row->index].fft;
    const double before = energy_of(row->kernels, row->values, row->cols), strength = job->options->strength;
    row->sums[ORGAN_ENERGY_BEFORE] += before;
    if (!isfinite(before)) {
        row->sums[ORGAN_INFINITE_BEFORE]++;
        return;
    }
    if (strength == 0) { /* the row keeps its bits: no conversion, so no rounding */
        row->sums[ORGAN_ENERGY_AFTER] += before;
        return;
    }
    if (fft)
        organ_fft_purify(fft, row->values, job->threshold, strength, row->scratch);
    else
        row->kernels->haar_purify(row->values, row->cols, (float)job->threshold, (float)strength, row->scratch);
    /* Checked before storing, because GGUF blocks cannot store infinite values or NaN. */
    if (!isfinite(energy_of(row->kernels, row->values, row->cols))) {
        row->sums[ORGAN_INFINITE_AFTER]++;
        return;
    }
    organ_row_store(row);
    const double after = energy_of(row->kernels, row->values, row->cols);
    row->sums[ORGAN_ENERGY_AFTER] += after;
    row->sums[ORGAN_INFINITE_AFTER] += !isfinite(after);
}

static organ_status check_part_sums(void *context, size_t index, const double *sums, organ_error *error)
{
    const organ_purify_job *const job = context;
    const organ_tensor *const tensor = job->parts[index].tensor;
    const char *const file = job->donor->files[tensor->file].path;
    if (sums[ORGAN_INFINITE_BEFORE] > 0)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: tensor '%s' has values that are NaN or infinite: noise is undefined for them", file,
                          tensor->name);
    if (sums[ORGAN_INFINITE_AFTER] > 0)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: tensor '%s': its values are so large that purified values exceed the range of %s", file,
                          tensor->name, organ_dtype_describe(tensor->dtype)->name);
    return ORGAN_OK;
}

static void energy_remark(const double *sums, char remark[64])
{
    const double before = sums[ORGAN_ENERGY_BEFORE], after = sums[ORGAN_ENERGY_AFTER];
    organ_snprintf(remark, 64, "%.2f %% of its energy removed", before > 0 ? 100.0 * (before - after) / before : 0.0);
}

static organ_status make_transforms(organ_purify_job *job, organ_error *error)
{
    ORGAN_OWNED uint64_t *lengths = calloc(job->count + 1, sizeof *lengths);
    job->ffts = calloc(job->count + 1, sizeof *job->ffts);
    if (!lengths || !job->ffts)
        organ_fail_memory(error, job->donor->path);
    for (size_t k = 0; k < job->count && !error->status; k++) {
        const uint64_t cols = organ_tensor_matrices(job->parts[k].tensor).cols;
        size_t at = 0;
        while (at < job->fft_count && lengths[at] != cols)
            at++;
        if (at == job->fft_count && organ_fft_create(cols, &job->ffts[at], error) == ORGAN_OK)
            lengths[job->fft_count++] = cols;
        job->parts[k].fft = job->ffts[at];
        if (job->rows.scratch_bytes < organ_fft_scratch(cols))
            job->rows.scratch_bytes = (size_t)organ_fft_scratch(cols);
    }
    return error->status;
}

/* job->rows.least is the memory that measuring theta needs later. */
static organ_status prepare(organ_purify_job *job, organ_error *error)
{
    const size_t longest = job->haar ? organ_row_longest(job->donor, job->chosen) : 0;
    job->rows = (organ_row_work){
        .scratch_bytes = longest * sizeof(float), .row = purify_row, .judge = check_part_sums, .remark = energy_remark};
    if (!job->haar && make_transforms(job, error))
        return error->status;
    return organ_measure_min(job->donor, &(organ_z_options){.chosen = job->chosen}, job->engine, &job->rows.least,
                             error);
}

static organ_status check_options(organ_purify_job *job, organ_error *error)
{
    const organ_purify_options *o = job->options;
    job->haar = strcmp(o->method, "haar") == 0;
    if (!job->haar && strcmp(o->method, "fft") != 0)
        return organ_fail(error, ORGAN_USAGE, "method '%s' is neither 'fft' nor 'haar'", o->method);
    if (!organ_within(o->strength, ORGAN_PURIFY_STRENGTHS))
        return organ_fail(error, ORGAN_USAGE, "strength %g is outside %d .. %d", o->strength, ORGAN_PURIFY_STRENGTHS);
    const double default_threshold = job->haar ? 1.0 : 3.0;
    job->threshold = o->threshold < 0 ? default_threshold : o->threshold;
    if (!organ_within(job->threshold, ORGAN_PURIFY_THRESHOLDS))
        return organ_fail(error, ORGAN_USAGE, "threshold %g is outside %d .. %d", job->threshold,
                          ORGAN_PURIFY_THRESHOLDS);
    return ORGAN_OK;
}

/* ---- selection of tensors ---- */

static bool has_rows(const organ_tensor *tensor)
{
    return tensor->elements > 0 && organ_tensor_matrices(tensor).cols > 1;
}

/* Without names, roles and groups in --select only projections are selected. */
static bool is_selected(const organ_selection *selection, const organ_tensor *tensor)
{
    const bool projection = tensor->rank >= 2 && organ_role_describe(tensor->anatomy.role)->projection;
    return organ_selection_has_name(selection, tensor->name, &tensor->anatomy, projection) &&
           !organ_selection_keeps(selection, tensor) && organ_selection_has_layer(selection, tensor->anatomy.layer);
}

/* `named`: --select has names, roles or groups. job->left_out lists tensors of a type that cannot be written; if
 * `named`, such a tensor is ORGAN_USAGE. */
static organ_status select_tensor(organ_purify_job *job, bool named, const organ_tensor *tensor, organ_error *error)
{
    if (organ_can_widen(tensor->dtype) && organ_can_narrow(tensor->dtype)) {
        job->chosen[tensor - job->donor->tensors] = true;
        job->parts[job->count++].tensor = tensor;
    } else if (named)
        return organ_fail(error, ORGAN_USAGE,
                          "%s: tensor '%s' is selected by `types`, but %s cannot be written; without `types` such "
                          "tensors are copied unchanged",
                          job->donor->files[tensor->file].path, tensor->name,
                          organ_dtype_describe(tensor->dtype)->name);
    else
        job->left_out[job->left_out_count++] = tensor;
    return ORGAN_OK;
}

/* The message names the first tensor; for block types of GGUF it also advises to dequantise first. */
static organ_status fail_unwritable(const organ_purify_job *job, organ_error *error)
{
    static const char format[] =
        "%.300s: tensor '%.200s' and all others that would be purified are of types like %s, which cannot be written";
    const organ_tensor *const first = job->left_out[0];
    const char *const dtype = organ_dtype_describe(first->dtype)->name;
    if (organ_dtype_is_blocks(first->dtype))
        return organ_dequantize_first(job->donor, error, format, job->donor->path, first->name, dtype);
    return organ_fail(error, ORGAN_BAD_INPUT, format, job->donor->path, first->name, dtype);
}

static organ_status note_left_out_types(const organ_purify_job *job, organ_error *error)
{
    uint64_t left = 0, all = 0;
    bool blocks = false;
    ORGAN_OWNED char *hint = NULL;
    for (size_t k = 0; k < job->left_out_count; k++) {
        left += job->left_out[k]->elements;
        blocks |= organ_dtype_is_blocks(job->left_out[k]->dtype);
    }
    for (size_t k = 0; k < job->count; k++)
        all += job->parts[k].tensor->elements;
    if (!blocks || organ_dequantize_hint(job->donor, &hint, error))
        return error->status;
    organ_progress_note(job->progress,
                        "%.3g %% of the weights to purify are stored as types like %s, which purify cannot write, and "
                        "stay unchanged; to purify them too, dequantize the model first: %s",
                        100 * (double)left / (double)(left + all), organ_dtype_name(job->left_out[0]->dtype), hint);
    return ORGAN_OK;
}

static organ_status fail_empty(const organ_purify_job *job, const organ_selection *selection, organ_error *error)
{
    return organ_fail(error, ORGAN_USAGE, "%s: there is no %s to purify%s", job->donor->path,
                      selection->words ? "tensor" : "projection",
                      selection->words || selection->span_count ? " among those that `types` selects" : "");
}

/* Selected tensors must not belong to a packed weight (organ_require_plain). */
static organ_status choose_tensors(organ_purify_job *job, const organ_selection *selection, organ_error *error)
{
    const organ_model *const donor = job->donor;
    for (size_t t = 0; t < donor->tensor_count; t++)
        job->chosen[t] = is_selected(selection, &donor->tensors[t]);
    if (organ_selection_check_used(selection, "tensor", donor->path, error) == ORGAN_OK)
        organ_require_plain(donor, job->chosen, error);
    for (size_t t = 0; t < donor->tensor_count && !error->status; t++)
        if (job->chosen[t]) {
            job->chosen[t] = false;
            if (has_rows(&donor->tensors[t])) /* rows of one value have no noise */
                select_tensor(job, selection->words, &donor->tensors[t], error);
            organ_rows_passed();
        }
    if (!error->status && job->count == 0)
        return job->left_out_count > 0 ? fail_unwritable(job, error) : fail_empty(job, selection, error);
    return error->status;
}

static organ_status select_tensors(organ_purify_job *job, organ_error *error)
{
    const size_t count = job->donor->tensor_count + 1;
    organ_selection selection;
    job->chosen = calloc(count, sizeof *job->chosen);
    job->parts = organ_rows_take(count, sizeof *job->parts);
    job->left_out = calloc(count, sizeof *job->left_out);
    if (!job->chosen || !job->parts || !job->left_out)
        return organ_fail_memory(error, job->donor->path);
    if (organ_selection_parse(job->options->types, job->options->layers, "types", &selection, error))
        return error->status;
    organ_selection_set_model(&selection, job->donor);
    choose_tensors(job, &selection, error);
    organ_selection_release(&selection);
    return error->status ? error->status : note_left_out_types(job, error);
}

static organ_status open_donor(organ_purify_job *job, organ_error *error)
{
    if (organ_donor_open(job->options->model, "purified", job->progress, &job->donor, error) ||
        select_tensors(job, error))
        return error->status;
    return prepare(job, error);
}

/* ---- the run ---- */

static organ_status measure_theta(const organ_purify_job *job, const organ_model *model, bool after, organ_error *error)
{
    const organ_z_options options = {.chosen = job->chosen};
    ORGAN_OWNED_ROWS organ_z *z = organ_rows_take(model->tensor_count + 1, sizeof *z);
    if (!z)
        return organ_fail_memory(error, model->path);
    if (organ_measure_tensors(model, &options, job->engine, job->progress, z, error) == ORGAN_OK)
        for (size_t k = 0; k < job->count; k++) {
            const organ_z *figures = &z[job->parts[k].tensor - job->donor->tensors];
            organ_rows_passed();
            if (after)
                job->parts[k].z_after = *figures;
            else
                job->parts[k].z_before = *figures;
        }
    return error->status;
}

/* Opening the finished copy like any model proves that it can be read. */
static organ_status check_copy(void *context, const char *to, const char *path, organ_error *error)
{
    (void)to;
    const organ_purify_job *const job = context;
    organ_model *copy = NULL;
    if (measure_theta(job, job->donor, /*after=*/false, error) || organ_model_open(path, &copy, error))
        return error->status;
    if (copy->tensor_count != job->donor->tensor_count)
        organ_fail(error, ORGAN_IO, "%s: the copy has %zu tensors instead of %zu", path, copy->tensor_count,
                   job->donor->tensor_count);
    else
        measure_theta(job, copy, /*after=*/true, error);
    organ_model_close(copy);
    return error->status;
}

static organ_status write_purified(organ_purify_job *job, json_t **report, organ_error *error)
{
    const organ_purify_options *const o = job->options;
    const organ_write made = {
        .model = job->donor,
        .requested = &o->write,
        ORGAN_WRITE_BY(job),
        .replaced = {.chosen = job->chosen, .rows = &job->rows},
        .names = {job->haar ? "purify-haar/1" : "purify-fft/2", &organ_purify_view, "purifying", "model", NULL},
        .check.parameters = purify_parameters,
        .make.check = check_copy,
        .report.document = purify_document};
    return organ_write_run(&made, report, error);
}

static void close_purify(organ_purify_job *job)
{
    for (size_t k = 0; k < job->fft_count; k++)
        organ_fft_destroy(job->ffts[k]);
    ORGAN_FREE_ARRAYS(job->ffts, job->chosen);
    organ_rows_free(job->parts);
    free(job->left_out);
    organ_model_close(job->donor);
}

static organ_status purify_model(organ_purify_job *job, json_t **report, organ_error *error)
{
    return check_options(job, error) || open_donor(job, error) ? error->status : write_purified(job, report, error);
}

static organ_status verb(const void *given, const organ_engine *engine, const organ_progress *progress, json_t **report,
                         organ_error *error)
{
    const organ_purify_options *const options = given;
    organ_purify_job job = {.options = options, .engine = engine, .progress = progress};
    const organ_report_work work = organ_report_begin(report);
    purify_model(&job, report, error);
    close_purify(&job);
    return organ_report_end_partial(&work, options->model, error);
}

organ_status organ_purify(const organ_purify_options *options, const organ_engine *engine,
                          const organ_progress *progress, json_t **report, organ_error *error)
{
    ORGAN_OWN_RESULTS(report, error);
    if (ORGAN_BEGIN_VERB(organ_purify_options, options, report, error, "model", options->model, "method",
                         options->method, "write.output", options->write.dry_run ? "" : options->write.output))
        return error->status;
    return organ_plan_run(verb, options, options->write.dry_run, engine, progress, report, error);
}
