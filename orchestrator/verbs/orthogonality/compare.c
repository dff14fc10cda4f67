/* SPDX-License-Identifier: MIT
 * Opens the inputs of a comparison, finds the modules that all of them have, and distributes their measurement. */
#include "orchestrator/verbs/orthogonality/noise_parts.h"

#include "formats/architecture/pairing.h"
#include "formats/base/format_rest.h"
#include "formats/base/plain_numbers.h"
#include "formats/base/text.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/stream/memory.h"
#include "orchestrator/surgery/merge/merge_input.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the inputs ---- */

/* The initialisation of an adapter (such as PiSSA) may have changed the base model: the product scale B A is then
 * not the change by training alone. */
static organ_status compare_open_adapter(organ_compared_job *job, organ_error *error)
{
    if (organ_adapter_open(job->adapter_path, &job->adapter, error) ||
        (job->output && organ_output_check_not_adapter(job->output, job->adapter, error)))
        return error->status;
    organ_adapter_warn(job->progress, job->adapter, /*lost=*/false);
    const char *const changed = organ_adapter_changed_base(job->adapter);
    if (job->adapter->dora)
        return organ_fail(
            error, ORGAN_BAD_INPUT,
            "%s: use_dora is true: such an adapter also rescales each weight, which is not a change of low rank",
            job->adapter->path);
    if (changed)
        organ_progress_warn(job->progress,
                            "%s: %s changed the base before training: B A alone is not the change by training",
                            job->adapter->path, changed);
    return ORGAN_OK;
}

static organ_status compare_open_model(organ_compared_job *job, size_t k, const organ_model_access *access,
                                       organ_error *error)
{
    if (organ_model_open_with(job->path[k], access, &job->model[k], error) ||
        organ_weights_find(job->model[k], &job->weights[k], error) ||
        (job->output && organ_output_check_not_input(job->output, job->model[k], error)))
        return error->status;
    organ_progress_warn_of_model(job->progress, job->model[k]);
    for (size_t n = 0; n < job->weights[k]->note_count; n++)
        organ_progress_note(job->progress, "%s", job->weights[k]->notes[n]);
    return ORGAN_OK;
}

static organ_status open_inputs(organ_compared_job *job, const organ_model_access *access, organ_error *error)
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

static void close_inputs(organ_compared_job *job)
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

/* ---- matching a module ---- */

/* A module whose weight is looked for in several models: the names of the weight and the shape that it must have. */
typedef struct module_place {
    const char *module; /* its name without ".weight" */
    const char *tensor; /* full name of its weight; NULL: `module` followed by ".weight" */
    const organ_anatomy *anatomy;
    size_t rows, cols;        /* shape of its weight; rows of stacked matrices are counted together */
    unsigned rank;            /* number of dimensions of the weight; 0: 2 */
    const organ_model *model; /* from which the names are; NULL if `gguf` is false */
    bool gguf;                /* names, and the expected order of rows, are those of GGUF; false: of safetensors */
} module_place;

/* The mismatches of all modules: weights that a model lacks or has in another shape. */
typedef struct module_mismatches {
    const char
        *expected_by;    /* input with whose names and shapes the models are compared, for messages: "the adapter" */
    size_t count, shown; /* number of mismatches, and number of those that `text` describes */
    char text[700];      /* a sentence for each of the first `shown` mismatches */
} module_mismatches;

static void note_mismatch(module_mismatches *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The sentence is left out if it does not fit in c->text, or if an earlier one was left out. */
static void note_mismatch(module_mismatches *c, const char *format, ...)
{
    char sentence[400];
    ORGAN_FORMAT_REST(sentence, format);
    const size_t used = strlen(c->text);
    c->count++;
    if (c->shown == c->count - 1 && used + strlen(sentence) + 3 < sizeof c->text /* "; " and NUL */) {
        organ_snprintf(c->text + used, sizeof c->text - used, "%s%s", used ? "; " : "", sentence);
        c->shown++;
    }
}

static organ_status report_mismatches(const module_mismatches *mismatches, const char *path, organ_error *error)
{
    if (error->status || mismatches->count == 0)
        return error->status;
    if (mismatches->shown == mismatches->count)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s does not fit: %s", path, mismatches->text);
    return organ_fail(error, ORGAN_BAD_INPUT, "%s does not fit: %s; and %zu more", path, mismatches->text,
                      mismatches->count - mismatches->shown);
}

/* The name is p->tensor (if it is NULL, p->module and ".weight") or a variant of it that training programs write
 * (organ_lora_weight). If only one of place and model is GGUF, the name in the model's format is tried next. */
static const organ_weight *weight_of_place(const module_place *p, const organ_weights *weights,
                                           const organ_model *model, organ_error *error)
{
    char other[ORGAN_COUNTERPART_SIZE];
    ORGAN_OWNED char *const made = p->tensor ? NULL : organ_format("%s.weight", p->module);
    const char *const name = p->tensor ? p->tensor : made;
    if (!name) {
        organ_fail_memory(error, model->path);
        return NULL;
    }
    const organ_weight *weight = organ_lora_weight(weights, name);
    if (!weight && p->gguf != (model->gguf != NULL) &&
        organ_counterpart_across(model->gguf ? model : p->model, name, p->anatomy, !p->gguf, p->anatomy->layer, other,
                                 sizeof other))
        weight = organ_weights_named(weights, other);
    return weight;
}

/* The rows of stacked matrices are counted together; p->rank 0 means 2. */
static bool module_match_fits(const module_place *p, const organ_weight *weight)
{
    const organ_matrices m = organ_weight_matrices(weight);
    return weight->rank == (p->rank ? p->rank : 2) && m.count * m.rows == p->rows && m.cols == p->cols;
}

/* llama.cpp permutes the rows of q, k and qkv projections of some architectures, so the orders differ if exactly one
 * of `p` and the model is GGUF. */
static bool is_permuted(const module_place *p, const organ_model *model)
{
    const organ_role role = p->anatomy->role;
    return p->gguf != (model->gguf != NULL) &&
           (role == ORGAN_ROLE_Q || role == ORGAN_ROLE_K || role == ORGAN_ROLE_QKV) &&
           !organ_keeps_rope_rows((model->gguf ? model : p->model)->config.model_type);
}

/* Also looks for the name of the weight in the format of the model (GGUF or not) if that is another one. Returns NULL
 * and adds a mismatch if the model lacks the weight, or has it in another shape or with its rows in another order (q
 * and k of some architectures in GGUF). Returns NULL without a mismatch if `error` has failed. */
static const organ_weight *module_weight(const module_place *place, const organ_weights *weights,
                                         const organ_model *model, module_mismatches *mismatches, organ_error *error)
{
    char shape[ORGAN_SHAPE_TEXT];
    const organ_weight *const weight = weight_of_place(place, weights, model, error);
    if (weight && !module_match_fits(place, weight))
        note_mismatch(mismatches, "'%.120s' is %s in %.120s, but %s has [%zu, %zu]", place->module,
                      organ_shape_text(weight->rank, weight->shape, shape), model->path, mismatches->expected_by,
                      place->rows, place->cols);
    else if (weight && is_permuted(place, model))
        note_mismatch(mismatches, "'%.120s' has its rows in another order in %.120s, a %s of architecture '%.40s'",
                      place->module, model->path, model->gguf ? "GGUF file" : "model", model->config.model_type);
    else if (weight)
        return weight;
    else if (!error->status)
        note_mismatch(mismatches, "'%.120s' is not in %.120s", place->module, model->path);
    return NULL;
}

/* ---- the modules ---- */

/* In a comparison of one clean model with two noisy ones (job->pairs is NULL), the search continues even if the
 * first noisy model has no fitting weight, so that the message names the mismatches of both noisy models. */
static void compare_find_weights(const organ_compared_job *job, organ_compared_module *m, const module_place *place,
                                 module_mismatches *mismatches, organ_error *error)
{
    bool next = true; /* continue with the next model */
    for (size_t k = 0; k < job->sources && next; k++) {
        if (!m->weight[k])
            m->weight[k] = module_weight(place, job->weights[k], job->model[k], mismatches, error);
        next = m->weight[k] || (!job->pairs && k > 0);
    }
}

static void compare_match_pair(organ_compared_job *job, size_t index, const organ_selection *selection,
                               module_mismatches *mismatches, organ_error *error)
{
    const organ_adapter_pair *const pair = &job->adapter->pairs[index];
    if (!organ_selection_has_name(selection, pair->weight, &pair->anatomy, /*otherwise=*/true) ||
        !organ_selection_has_layer(selection, pair->anatomy.layer))
        return;
    const organ_weight *const clean = organ_lora_weight(job->weights[0], pair->weight);
    const bool transposed = clean ? organ_lora_pair_is_turned(job->orientation, pair, clean)
                                  : pair->embedding || job->adapter->fan_in_fan_out;
    organ_compared_module *const m = &job->modules[job->count++];
    *m = (organ_compared_module){
        .name = pair->module, .pair = pair, .anatomy = &pair->anatomy, .index = index, .transposed = transposed};
    m->rows = (size_t)(transposed ? pair->in_features : pair->out_features);
    m->cols = (size_t)(transposed ? pair->out_features : pair->in_features);
    const bool bare = strcmp(pair->weight, pair->module) == 0; /* a parameter of peft: its name has ".weight" already */
    const module_place place = {.module = m->name,
                                .tensor = bare ? pair->weight : NULL,
                                .anatomy = m->anatomy,
                                .rows = m->rows,
                                .cols = m->cols};
    compare_find_weights(job, m, &place, mismatches, error);
}

static char *compare_module_of(const char *name)
{
    static const char end[] = ".weight";
    const size_t length = strlen(name), tail = sizeof end - 1;
    return strndup(name, length > tail && organ_ends_with(name, end) ? length - tail : length);
}

static void compare_match_weight(organ_compared_job *job, size_t index, const organ_selection *selection,
                                 module_mismatches *mismatches, organ_error *error)
{
    const organ_weight *const clean = &job->weights[0]->weights[index];
    char *const module = compare_module_of(clean->name);
    if (!module)
        organ_fail_memory(error, job->path[0]);
    if (!module || clean->rank < 2 || !organ_weight_has_numbers(clean) || clean->elements == 0 ||
        !organ_selection_has_name(selection, clean->name, &clean->anatomy,
                                  organ_role_describe(clean->anatomy.role)->projection) ||
        !organ_selection_has_layer(selection, clean->anatomy.layer)) {
        free(module);
        return;
    }
    const organ_matrices shape = organ_weight_matrices(clean);
    organ_compared_module *const m = &job->modules[job->count++];
    *m = (organ_compared_module){
        .name = module, .own_name = module, .anatomy = &clean->anatomy, .index = index, .weight = {clean}};
    m->rows = (size_t)(shape.count * shape.rows);
    m->cols = (size_t)shape.cols;
    const module_place place = {.module = module,
                                .tensor = clean->name,
                                .anatomy = m->anatomy,
                                .rows = m->rows,
                                .cols = m->cols,
                                .rank = clean->rank,
                                .model = job->model[0],
                                .gguf = job->model[0]->gguf != NULL};
    compare_find_weights(job, m, &place, mismatches, error);
}

static int compare_by_layer(const void *a, const void *b)
{
    const organ_compared_module *const x = a, *const y = b;
    return ORGAN_ORDERS(ORGAN_ORDER(x->anatomy->layer, y->anatomy->layer), ORGAN_ORDER(x->index, y->index));
}

/* The modules are those that the adapter changes or, without an adapter, the projections of the first model. */
static organ_status match_modules(organ_compared_job *job, organ_error *error)
{
    const char *const path = job->adapter ? job->adapter->path : job->path[0];
    const size_t max = job->adapter ? job->adapter->pair_count : job->weights[0]->count;
    module_mismatches mismatches = {.expected_by = job->adapter ? "the adapter" : path};
    organ_selection selection;
    if (organ_selection_parse(job->requested, NULL, "modules", &selection, error))
        return error->status;
    organ_selection_set_model(&selection, job->model[0]);
    if (!(job->modules = calloc(max + 1, sizeof *job->modules)))
        organ_fail_memory(error, path);
    if (job->adapter)
        job->orientation = organ_lora_orientation_of(job->model[0], job->weights[0], job->adapter);
    for (size_t k = 0; k < max && !error->status; k++)
        (job->adapter ? compare_match_pair : compare_match_weight)(job, k, &selection, &mismatches, error);
    if (!error->status)
        organ_selection_check_used(&selection, "module", path, error);
    organ_selection_release(&selection);
    if (!error->status && job->count == 0)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: %s", path,
                          job->adapter ? "the adapter changes no module"
                                       : "no projection to compare: `modules` names other matrices");
    if (report_mismatches(&mismatches, job->adapter ? path : "a model of --pair", error))
        return error->status;
    qsort(job->modules, job->count, sizeof *job->modules, compare_by_layer);
    return ORGAN_OK;
}

/* ---- measuring ---- */

static uint64_t compare_bytes_of(const void *context, size_t k)
{
    const organ_compared_job *const job = context;
    uint64_t bytes = 0;
    for (size_t n = 0; n < job->sources; n++)
        bytes += organ_weight_bytes(job->modules[k].weight[n]);
    return bytes;
}

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

/* The stream of a module is its index, which does not depend on the order of modules or on --select. */
void organ_compared_draw(const organ_compared_job *job, organ_compared_module *m)
{
    organ_chance_baseline(job->seed, m->index, job->draws, (uint64_t)m->rows * m->cols, &m->drawn_mean, &m->drawn_std);
}

/* Lane j + 8 is added to lane j, then lane j + 4, j + 2 and j + 1, so that the order does not depend on the
 * instruction set. */
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

/* ---- the run ---- */

/* The message states a --memory that suffices for every module. */
static organ_status check_memory(const organ_compared_job *job, organ_error *error)
{
    const organ_comparison *const c = job->comparison;
    const organ_compared_module *widest = NULL;
    uint64_t max = organ_engine_memory(job->engine);
    for (size_t k = 0; k < job->count && !error->status; k++) {
        uint64_t bytes = 0;
        if (c->need(job, &job->modules[k], &bytes, error) == ORGAN_OK && bytes > max) {
            widest = &job->modules[k];
            max = bytes;
        }
    }
    if (error->status || !widest)
        return error->status;
    return organ_memory_claim(job->engine, max, error, "%s of '%s' %s", c->room[0],
                              job->pairs ? widest->name : widest->weight[0]->name, c->room[1]);
}

static organ_status measure_module(void *context, size_t k, organ_error *error)
{
    const organ_compared_job *const job = context;
    organ_compared_module *const m = &job->modules[k];
    char remark[64];
    if (job->comparison->measure(job, m, error) == ORGAN_OK)
        organ_progress_advance(job->progress, 0, m->name, job->comparison->remark(m, remark) ? remark : "no cosine");
    return error->status;
}

/* The measured members of a module, those from drawn_mean on, go to the other ranks. */
static organ_status measure_modules(organ_compared_job *job, organ_error *error)
{
    const double started = organ_seconds_now();
    const size_t measured = offsetof(organ_compared_module, drawn_mean);
    organ_assignment assignment;
    for (size_t k = 0; k < job->count; k++)
        job->bytes += compare_bytes_of(job, k);
    organ_progress_begin(job->progress, "comparing", job->bytes, job->count);
    if (organ_assignment_create(job->engine->ranks, job->count, compare_bytes_of, job, &assignment, error) == ORGAN_OK)
        organ_assignment_run(&assignment, measure_module, job, error);
    organ_assignment_complete(&assignment, "measuring the modules", &job->modules->drawn_mean,
                              sizeof *job->modules - measured, sizeof *job->modules, error);
    organ_progress_end(job->progress);
    organ_assignment_release(&assignment);
    job->seconds = organ_seconds_now() - started;
    for (size_t n = 0; n < job->sources && !error->status; n++)
        organ_model_unchanged(job->model[n], error);
    return error->status || !job->adapter ? error->status : organ_model_unchanged(job->adapter->model, error);
}

static organ_status compare_all(organ_compared_job *job, const organ_model_access *access, json_t **report,
                                organ_error *error)
{
    const organ_comparison *const c = job->comparison;
    if (open_inputs(job, access, error) || (c->check && c->check(job, error)) || match_modules(job, error) ||
        check_memory(job, error) || measure_modules(job, error) || !(*report = c->document(job)) ||
        !organ_warnings_add(*report, job->progress) || !job->output)
        return error->status;
    return organ_reports_make(&(organ_output){.path = job->output, .force = job->force, .ranks = job->engine->ranks},
                              c->more, NULL, *report, error);
}

organ_status organ_compared_run(organ_compared_job *job, const organ_model_access *access,
                                const organ_progress *progress, json_t **report, organ_error *error)
{
    organ_report_work work = organ_report_begin(report);
    job->progress = organ_warnings_begin(&work.kept, progress);
    compare_all(job, access, report, error);
    close_inputs(job);
    return organ_report_end(&work, job->pairs ? job->path[0] : job->adapter_path, error);
}
