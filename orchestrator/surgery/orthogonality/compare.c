/* SPDX-License-Identifier: MIT
 * The inputs of a comparison, the modules that they have in common, and the distribution of the measurement among
 * ranks. */
#include "orchestrator/surgery/orthogonality/noise_job.h"

#include "formats/base/path.h"
#include "orchestrator/machine/stopwatch.h"
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/surgery/lora/adapter_write.h"
#include "orchestrator/surgery/lora/factors.h"
#include "orchestrator/surgery/orthogonality/chance.h"
#include "orchestrator/surgery/orthogonality/module_match.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* ---- the inputs ---- */

/* Opens the adapter. Rejects DoRA. Prints a note if its initialisation has changed the base, as PiSSA does: scale B A
 * alone is then not the change by training. */
static organ_status compare_open_adapter(organ_compared_job *job, organ_error *error)
{
    if (organ_adapter_open(job->adapter_path, &job->adapter, error) ||
        (job->output && organ_output_check_not_adapter(job->output, job->adapter, error)))
        return error->status;
    const char *const changed = organ_adapter_changed_base(job->adapter);
    if (job->adapter->dora)
        return organ_fail(
            error, ORGAN_BAD_INPUT,
            "%s: use_dora is true: such an adapter also rescales each weight, which is not a change of low rank",
            job->adapter->path);
    if (changed)
        organ_progress_note(job->progress,
                            "%s: %s changed the base before training: B A alone is not the change by training",
                            job->adapter->path, changed);
    return ORGAN_OK;
}

/* Opens model k with its weights, and prints the notes of the reader. */
static organ_status compare_open_model(organ_compared_job *job, size_t k, const organ_model_access *access,
                                       organ_error *error)
{
    if (organ_model_open_with(job->path[k], access, &job->model[k], error) ||
        organ_weights_find(job->model[k], &job->weights[k], error) ||
        (job->output && organ_output_check_not_input(job->output, job->model[k], error)))
        return error->status;
    for (size_t n = 0; n < job->weights[k]->note_count; n++)
        organ_progress_note(job->progress, "%s", job->weights[k]->notes[n]);
    return ORGAN_OK;
}

/* Opens the adapter, if there is one, then the models in the order of job->path. */
organ_status organ_compared_open(organ_compared_job *job, const organ_model_access *access, organ_error *error)
{
    if (job->draws < 2)
        return organ_fail(error, ORGAN_USAGE, "%u draws are too few: the standard deviation needs at least 2",
                          job->draws);
    if (job->output)
        organ_output_check(job->output, NULL, job->force, error);
    if (!error->status && job->adapter_path)
        compare_open_adapter(job, error);
    for (size_t k = 0; k < job->sources && !error->status; k++)
        compare_open_model(job, k, access, error);
    return error->status;
}

void organ_compared_close(organ_compared_job *job)
{
    for (size_t k = 0; k < job->count; k++)
        free(job->modules[k].own_name);
    free(job->modules);
    for (size_t k = 0; k < job->sources; k++) {
        organ_weights_free(job->weights[k]);
        organ_model_close(job->model[k]);
    }
    organ_adapter_close(job->adapter);
}

/* ---- the modules ---- */

/* Finds the weight of the module in every model in which m->weight is not set yet. Stops at the first model that lacks
 * it; with one clean and two noisy models it also examines the second noisy one, so that the message has both. */
static void compare_find_weights(const organ_compared_job *job, organ_compared_module *m,
                                 const organ_module_place *place, organ_module_mismatches *mismatches,
                                 organ_error *error)
{
    bool next = true;
    for (size_t k = 0; k < job->sources && next; k++) {
        if (!m->weight[k])
            m->weight[k] = organ_module_weight(place, job->weights[k], job->model[k], mismatches, error);
        next = m->weight[k] || (!job->pairs && k > 0);
    }
}

/* Appends the module of pair `index` of the adapter, if its name matches, with its weights in all models. */
static void compare_match_pair(organ_compared_job *job, size_t index, organ_globs *globs,
                               organ_module_mismatches *mismatches, organ_error *error)
{
    const organ_adapter_pair *const pair = &job->adapter->pairs[index];
    const bool transposed = pair->embedding || job->adapter->fan_in_fan_out;
    if (!organ_globs_match(globs, pair->module))
        return;
    organ_compared_module *const m = &job->modules[job->count++];
    *m = (organ_compared_module){
        .name = pair->module, .pair = pair, .anatomy = &pair->anatomy, .index = index, .transposed = transposed};
    m->rows = (size_t)(transposed ? pair->in_features : pair->out_features);
    m->cols = (size_t)(transposed ? pair->out_features : pair->in_features);
    const organ_module_place place = {.module = m->name, .anatomy = m->anatomy, .rows = m->rows, .cols = m->cols};
    compare_find_weights(job, m, &place, mismatches, error);
}

/* Returns the name of a weight without ".weight", for the caller to free. NULL without memory. */
static char *compare_module_of(const char *name)
{
    static const char end[] = ".weight";
    const size_t length = strlen(name), tail = sizeof end - 1;
    return strndup(name, length > tail && organ_ends_with(name, end) ? length - tail : length);
}

/* Appends weight `index` of the first model as a module if it is a projection, or matches --modules, with its weights
 * in the other models. */
static void compare_match_weight(organ_compared_job *job, size_t index, organ_globs *globs,
                                 organ_module_mismatches *mismatches, organ_error *error)
{
    const organ_weight *const clean = &job->weights[0]->weights[index];
    char *const module = compare_module_of(clean->name);
    if (!module)
        organ_fail_memory(error, job->path[0]);
    if (!module || clean->rank < 2 || !organ_weight_has_numbers(clean) || clean->elements == 0 ||
        !(job->requested ? organ_globs_match(globs, module) : organ_role_describe(clean->anatomy.role)->projection)) {
        free(module);
        return;
    }
    const organ_matrices shape = organ_weight_matrices(clean);
    organ_compared_module *const m = &job->modules[job->count++];
    *m = (organ_compared_module){
        .name = module, .own_name = module, .anatomy = &clean->anatomy, .index = index, .weight = {clean}};
    m->rows = (size_t)(shape.count * shape.rows);
    m->cols = (size_t)shape.cols;
    const organ_module_place place = {.module = module,
                                      .tensor = clean->name,
                                      .anatomy = m->anatomy,
                                      .rows = m->rows,
                                      .cols = m->cols,
                                      .rank = clean->rank,
                                      .gguf = job->model[0]->gguf != NULL};
    compare_find_weights(job, m, &place, mismatches, error);
}

/* Orders modules by layer, modules outside all layers first; within a layer by their index. */
static int compare_by_layer(const void *a, const void *b)
{
    const organ_compared_module *const x = a, *const y = b;
    if (x->anatomy->layer != y->anatomy->layer)
        return x->anatomy->layer < y->anatomy->layer ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* Sets job->modules: the modules of the adapter, or the weights of the first model that are selected. */
organ_status organ_compared_match(organ_compared_job *job, organ_error *error)
{
    const char *const path = job->adapter ? job->adapter->path : job->path[0];
    const size_t max = job->adapter ? job->adapter->pair_count : job->weights[0]->count;
    organ_module_mismatches mismatches = {.said_by = job->adapter ? "the adapter" : path};
    organ_globs globs;
    if (organ_globs_read(job->requested, &globs, error))
        return error->status;
    if (!(job->modules = calloc(max + 1, sizeof *job->modules)))
        organ_fail_memory(error, path);
    for (size_t k = 0; k < max && !error->status; k++)
        (job->adapter ? compare_match_pair : compare_match_weight)(job, k, &globs, &mismatches, error);
    if (!error->status)
        organ_modules_all_used(&globs, path, error);
    organ_globs_free(&globs);
    if (!error->status && job->count == 0)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: %s", path,
                          job->adapter ? "the adapter changes no module"
                                       : "no projection to compare: --modules names other matrices");
    if (organ_module_mismatches_report(&mismatches, job->adapter ? path : "a model of --pair", error))
        return error->status;
    qsort(job->modules, job->count, sizeof *job->modules, compare_by_layer);
    return ORGAN_OK;
}

/* ---- measuring ---- */

/* Returns the bytes of the weights of module k in all models. */
static uint64_t compare_bytes_of(const void *context, size_t k)
{
    const organ_compared_job *const job = context;
    uint64_t bytes = 0;
    for (size_t n = 0; n < job->sources; n++)
        bytes += organ_weight_bytes(job->modules[k].weight[n]);
    return bytes;
}

/* Measures the modules, each on one rank, and exchanges the measured members, which begin at drawn_mean. */
organ_status organ_compared_measure(organ_compared_job *job,
                                    organ_status (*measure)(void *job, size_t module, organ_error *error),
                                    organ_error *error)
{
    const double started = organ_seconds_now();
    const size_t measured = offsetof(organ_compared_module, drawn_mean);
    organ_assignment assignment;
    for (size_t k = 0; k < job->count; k++)
        job->bytes += compare_bytes_of(job, k);
    organ_progress_begin(job->progress, "comparing", job->bytes, job->count);
    if (organ_assignment_create(job->engine->ranks, job->count, compare_bytes_of, job, &assignment, error) == ORGAN_OK)
        organ_assignment_run(&assignment, measure, job, error);
    organ_assignment_complete(&assignment, "measuring the modules", &job->modules->drawn_mean,
                              sizeof *job->modules - measured, sizeof *job->modules, error);
    organ_progress_end(job->progress);
    organ_assignment_release(&assignment);
    job->seconds = organ_seconds_now() - started;
    for (size_t n = 0; n < job->sources && !error->status; n++)
        organ_model_unchanged(job->model[n], error);
    return error->status || !job->adapter ? error->status : organ_model_unchanged(job->adapter->model, error);
}

/* Returns the weights of the module in all models as sources of rows, which are not open yet. */
organ_row_sources organ_compared_sources(const organ_compared_job *job, const organ_compared_module *m)
{
    organ_row_sources sources = {
        .kernels = job->engine->kernels, .count = job->sources, .rows = m->rows, .cols = m->cols};
    for (size_t k = 0; k < job->sources; k++) {
        sources.model[k] = job->model[k];
        sources.weight[k] = m->weight[k];
    }
    return sources;
}

/* Finds the module that needs the most memory, if it needs more than the limit. */
organ_status organ_compared_widest(const organ_compared_job *job, organ_compared_need *need,
                                   const organ_compared_module **widest, uint64_t *max, organ_error *error)
{
    *widest = NULL;
    *max = job->engine->memory;
    for (size_t k = 0; k < job->count && !error->status; k++) {
        uint64_t bytes = 0;
        if (need(job, &job->modules[k], &bytes, error) == ORGAN_OK && bytes > *max) {
            *widest = &job->modules[k];
            *max = bytes;
        }
    }
    return error->status;
}

void organ_compared_draw(const organ_compared_job *job, organ_compared_module *m)
{
    organ_chance_baseline(job->seed, m->index, job->draws, (uint64_t)m->rows * m->cols, &m->drawn_mean, &m->drawn_std);
}

/* Adds 16 lanes pairwise, in an order that does not depend on the instruction set. Overwrites the lanes. */
double organ_compared_fold_lanes(double *lanes)
{
    for (size_t half = 8; half > 0; half /= 2)
        for (size_t j = 0; j < half; j++)
            lanes[j] += lanes[j + half];
    return lanes[0];
}

organ_status organ_compared_not_finite(const organ_compared_job *job, const organ_compared_module *m, size_t source,
                                       uint64_t row, float value, organ_error *error)
{
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: tensor '%s': a value of row %llu is %s", job->model[source]->path,
                      m->weight[source]->name, (unsigned long long)row, isnan(value) ? "NaN" : "infinite");
}
