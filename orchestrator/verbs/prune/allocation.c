/* SPDX-License-Identifier: MIT
 * Measures or reads the curve of each target (the model's divergence at some sparsities of the target),
 * and divides one budget among the targets so that the sum of the divergences is least. */
#include "orchestrator/verbs/prune/prune_parts.h"

#include "formats/base/text.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/stream/compute.h"

#include <organ/base.h>
#include <string.h>
#include <unistd.h>

/* Factor of the effort of physarum v3 when a curve is measured. Half of the iterations raise the error at both levels
 * by 3 to 6 %, so the division does not change. */
#define CURVE_EFFORT 0.5

struct organ_prune_allocation {
    const organ_prune_calibrated_options *options;
    organ_prune_job *job;
    organ_allocation curves;  /* the tensors with their curves, and the division */
    size_t *curve_of;         /* for each target the index of its tensor in curves.tensors */
    double *shares;           /* percent of zeros of each target */
    organ_curves_store store; /* of the curves */
    organ_curves_work work;   /* callbacks of `walk` */
    organ_curves *walk;       /* measures the curves; NULL after organ_prune_allocation_decide has all curves */
    organ_exchanges_work exchange_work; /* callbacks of `exchanges` */
    organ_exchanges *exchanges;         /* NULL: no exchanges are requested, or they are done */
    organ_exchanges_report exchanged;   /* result of the exchanges */
    bool known;                         /* all curves are measured or read */
    bool divided;                       /* `shares` are set */
    organ_prune_shared shared;          /* factors that matrices with the same inputs share */
};

/* ---- how a curve is measured ---- */

/* `sparsity` is in percent. `effort` is a factor of the effort of physarum-v3; other methods ignore it. */
static organ_prune_matrix_options options_at(const organ_prune_allocation *a, const char *name, double sparsity,
                                             double effort)
{
    organ_prune_matrix_options options = organ_prune_options_of(a->job, /*part=*/0, name);
    options.sparsity = sparsity;
    options.effort *= options.method == ORGAN_PRUNE_PHYSARUM_V3 ? effort : 1;
    return options;
}

/* All inputs get norm 1, so that a method scores weights by magnitude alone. The caller destroys *flat. */
static organ_status flat_inputs(const organ_calibration_matrix *m, organ_calibration **flat, organ_error *error)
{
    const organ_calibration_options options = {.features = (size_t)m->cols, .name = m->name};
    ORGAN_OWNED_BUFFERS buffers = {0};
    float *const ones = organ_take_floats(&buffers, (size_t)m->cols, 1);
    if (!ones)
        return organ_fail_memory(error, m->name);
    for (uint64_t k = 0; k < m->cols; k++)
        ones[k] = 1;
    return organ_calibration_from_norms(&options, ones, 1, flat, error);
}

static organ_status prune_by(organ_prune_allocation *a, const organ_calibration_matrix *m,
                             organ_prune_matrix_options options, const organ_calibration *calibration, float *weights,
                             organ_error *error)
{
    organ_prune_matrix_report report;
    ORGAN_OWNED_BUFFERS buffers = {0};
    uint8_t *const keep = organ_take(&buffers, (size_t)m->rows, (size_t)m->cols);
    if (!keep)
        return organ_fail_memory(error, m->name);
    organ_prune_share(&a->shared, &options, calibration, /*again=*/true, m->spare);
    if (organ_prune_matrix(a->job->engine, &options, calibration, weights, (size_t)m->rows, (size_t)m->cols, keep,
                           &report, error) == ORGAN_OK)
        for (uint64_t k = 0; k < m->rows * m->cols; k++)
            weights[k] = keep[k] ? weights[k] : 0.0f;
    return error->status;
}

/* `sparsity` is a share of zeros (0 .. 1). physarum-v1 prunes on inputs of equal size. */
static organ_status prune_at(organ_prune_allocation *a, const organ_calibration_matrix *m, double sparsity,
                             double effort, float *weights, organ_error *error)
{
    organ_calibration *flat = NULL;
    if (!a->job->method->tiles || flat_inputs(m, &flat, error) == ORGAN_OK)
        prune_by(a, m, options_at(a, m->name, 100 * sparsity, effort), flat ? flat : m->calibration, weights, error);
    organ_calibration_destroy(flat);
    return error->status;
}

/* Exchanges compare models as the run would write them, so they prune at the full effort. */
static organ_status allocation_exchange(void *context, const organ_calibration_matrix *m, double sparsity,
                                        float *weights, organ_error *error)
{
    return prune_at(context, m, sparsity, 1, weights, error);
}

static organ_status allocation_make(void *context, const organ_calibration_matrix *m, size_t level, float *weights,
                                    organ_error *error)
{
    const organ_prune_allocation *const a = context;
    return prune_at(context, m, a->curves.levels[level], CURVE_EFFORT, weights, error);
}

static void release_shared(void *context) { organ_prune_share_end(&((organ_prune_allocation *)context)->shared); }

/* The sparsity of 50 percent is arbitrary: it does not change the memory. */
static uint64_t allocation_memory(void *context, const organ_tensor *tensor)
{
    const organ_prune_allocation *const a = context;
    const organ_prune_matrix_options options = options_at(a, tensor->name, /*sparsity=*/50, /*effort=*/1);
    const organ_matrices m = organ_tensor_matrices(tensor);
    return organ_prune_matrix_memory(a->job->engine, &options, m.rows, m.cols);
}

/* ---- opening ---- */

static json_t *allocation_identity_of(const organ_prune_allocation *a)
{
    const organ_prune_job *const job = a->job;
    return organ_curves_identity(
        a->walk,
        ORGAN_OBJECT(SET_TEXT("definition", ORGAN_ALLOCATION_DEFINITION), SET_TEXT("model", job->fingerprint),
                     SET_TEXT("method", job->definition), SET_FLAG("compensate", job->compensates),
                     SET_REAL("effort", a->options->effort), SET_COUNT("seed", a->options->seed)),
        /*more=*/NULL);
}

static organ_calibration_run_options walk_of(const organ_prune_allocation *a)
{
    const organ_prune_calibrated_options *const c = a->options;
    return (organ_calibration_run_options){.calibration = c->calibration,
                                           .method = "`allocate.allocate`",
                                           .verb = "prune",
                                           .doing = "measuring divergences with",
                                           .moments_only = a->job->method->method != ORGAN_PRUNE_PHYSARUM_V2,
                                           .reserve = organ_allocate_reserve(&c->allocate),
                                           .all_experts = c->all_experts,
                                           .blocks = a->job->blocks,
                                           .seed = c->seed};
}

static organ_status open_exchanges(void *context, organ_error *error)
{
    organ_prune_allocation *const a = context;
    const organ_allocate_options *const o = &a->options->allocate;
    const organ_exchanges_options options = {
        .walk = walk_of(a), .tokens = organ_allocate_tokens(o), .rounds = o->rounds, .seed = a->options->seed};
    a->exchange_work = (organ_exchanges_work){
        .context = a, .make = allocation_exchange, .memory = allocation_memory, .forget = release_shared};
    return organ_exchanges_open(&options, a->job->donor, &a->job->targets, &a->curves, a->curve_of, &a->exchange_work,
                                a->job->engine, a->job->progress, &a->exchanges, error);
}

/* Curves in a file are used only if they have the same identity. */
static organ_status allocation_open_walk(organ_prune_allocation *a, organ_error *error)
{
    const organ_curves_options options = {.walk = walk_of(a), .allocate = &a->options->allocate};
    a->work = (organ_curves_work){
        .context = a, .make = allocation_make, .memory = allocation_memory, .forget = release_shared};
    if (organ_curves_open(&options, a->job->donor, &a->job->targets, &a->curves, a->curve_of, &a->work, &a->store,
                          a->job->engine, a->job->progress, &a->walk, error))
        return error->status;
    a->store.identity = allocation_identity_of(a);
    return a->store.identity ? ORGAN_OK : organ_fail_memory(error, a->job->donor->path);
}

organ_status organ_prune_allocation_open(organ_prune_job *job, organ_error *error)
{
    const organ_prune_calibrated_options *const options = job->calibrated;
    organ_prune_allocation *const a = job->allocation = organ_take_zeros(&job->buffers, 1, sizeof *a);
    if (!a)
        return organ_fail_memory(error, job->donor->path);
    *a = (organ_prune_allocation){.options = options,
                                  .job = job,
                                  .curves = {.levels = organ_sparsity_levels, .level_count = ORGAN_SPARSITY_LEVELS},
                                  .store = {.file = options->allocate.file, .ranks = job->engine->ranks},
                                  .curve_of = organ_take_zeros(&job->buffers, job->targets.count, sizeof *a->curve_of),
                                  .shares = organ_take_zeros(&job->buffers, job->targets.count, sizeof *a->shares)};
    if (!a->curve_of || !a->shares || !organ_curves_list(&job->targets, &a->curves, a->curve_of))
        return organ_fail_memory(error, job->donor->path);
    allocation_open_walk(a, error);
    if (options->allocate.rounds)
        organ_memory_check_also(open_exchanges, a, error);
    return error->status;
}

void organ_prune_allocation_estimate(const organ_prune_allocation *a, const organ_plan_solve *solve, organ_plan *plan)
{
    organ_curves_estimate(a->walk, solve, plan);
    if (a->exchanges)
        organ_exchanges_estimate(a->exchanges, solve, plan);
}

void organ_prune_allocation_close(organ_prune_allocation *a)
{
    if (!a)
        return;
    organ_curves_close(a->walk);
    organ_exchanges_close(a->exchanges);
    organ_prune_share_end(&a->shared);
    organ_allocation_release(&a->curves);
    json_decref(a->store.identity);
}

/* ---- the run ---- */

/* The sum of the curves is minimised. Exchanges, if requested, then improve the division by the divergence of the
 * whole model. curves.cost becomes the sum of the curves for the final division. */
static organ_status allocation_divide(organ_prune_allocation *a, organ_error *error)
{
    if (!organ_allocation_divide(&a->curves, a->job->budget, organ_allocate_way(&a->options->allocate)))
        return organ_fail_memory(error, a->job->donor->path);
    if (a->exchanges && !organ_exchanges_recall(&a->curves, a->job->run, &a->exchanged) &&
        organ_exchanges_run(a->exchanges, a->job->run, &a->exchanged, error) != ORGAN_OK)
        return error->status;
    organ_exchanges_close(a->exchanges);
    a->exchanges = NULL;
    a->curves.cost = 0;
    for (size_t k = 0; k < a->curves.count; k++)
        a->curves.cost += organ_allocation_cost(&a->curves, &a->curves.tensors[k], a->curves.tensors[k].sparsity);
    for (size_t k = 0; k < a->job->targets.count; k++)
        a->shares[k] = 100 * a->curves.tensors[a->curve_of[k]].sparsity;
    a->job->shares = a->shares;
    a->divided = true;
    return ORGAN_OK;
}

/* A dry run only reads the curves that are known. */
organ_status organ_prune_allocation_decide(organ_prune_allocation *a, organ_error *error)
{
    a->store.writing = a->job->run;
    if (organ_curves_recall(&a->curves, &a->store, &a->known, error) != ORGAN_OK || a->job->options->write.dry_run)
        return error->status;
    if (!a->known && organ_curves_run(a->walk, error) != ORGAN_OK)
        return error->status;
    organ_curves_close(a->walk);
    a->walk = NULL;
    a->known = true;
    if (allocation_divide(a, error) != ORGAN_OK)
        return error->status;
    organ_progress_note_once(a->job->progress,
                             "allocation: predicted cost %.4g nats per token, against %.4g with equal shares",
                             a->curves.cost, a->curves.uniform_cost);
    return ORGAN_OK;
}

/* ---- report ---- */

json_t *organ_prune_allocation_parameters(const organ_prune_job *job)
{
    const organ_allocate_options *const o = &job->calibrated->allocate;
    return ORGAN_OBJECT(SET_TEXT("allocate", o->allocate), SET_REAL("budget", 100 * job->budget),
                        SET_REAL("way", organ_allocate_way(o)), SET_COUNT("rounds", o->rounds),
                        SET_COUNT("tokens", organ_allocate_tokens(o)), SET_COUNT("layers", organ_allocate_layers(o)),
                        SET_REDUCED_COMPUTE(job->engine, job->calibrated->calibration.compute));
}

json_t *organ_prune_allocation_identity(const organ_prune_allocation *a) { return json_incref(a->store.identity); }

static json_t *allocation_tensor_json(const void *context, size_t k)
{
    const organ_prune_allocation *const a = context;
    const organ_allocation_tensor *const t = &a->curves.tensors[k];
    return ORGAN_OBJECT(SET_BYTES("name", t->name), SET_TEXT("role", t->role), SET_INDEX("layer", t->layer),
                        SET_COUNT("elements", t->elements), SET_REAL("sparsity", 100 * t->sparsity),
                        SET_REAL("cost", organ_allocation_cost(&a->curves, t, t->sparsity)),
                        SET_REAL("uniform_cost", organ_allocation_cost(&a->curves, t, a->job->budget)),
                        SET_FLAG("between", t->between));
}

/* Before the division (in a dry run), "tensors" is empty and the costs are null. "measured" is the number of
 * measured curves; before the measurement, it is the number of curves that must still be measured. "asked" repeats a
 * budget in bits or bytes. */
json_t *organ_prune_allocation_json(const organ_prune_allocation *a)
{
    size_t measured = a->known ? 0 : organ_curves_unknown(a->walk);
    const char *const requested = a->options->allocate.budget;
    const bool counted = requested && !strchr(requested, '%');
    for (size_t k = 0; k < a->curves.count && a->known; k++)
        measured += !a->curves.tensors[k].between;
    return ORGAN_OBJECT(
        SET_TEXT("definition", ORGAN_ALLOCATION_DEFINITION), SET_REAL("budget", 100 * a->job->budget),
        SET_IF(counted, "asked", json_string(requested)), SET_REAL("way", organ_allocate_way(&a->options->allocate)),
        SET_FLAG("known", a->known),
        SET("text", ORGAN_OBJECT(SET_BYTES("name", organ_path_name(a->options->calibration.text)),
                                 SET_HELD("xxh3", json_object_get(a->store.identity, "text")))),
        SET_COUNT("tokens", a->store.tokens), SET_COUNT("windows", a->store.windows),
        SET_COUNT("tensors_in_all", a->curves.count), SET_COUNT("measured", measured),
        SET_REAL_OF("cost", a->divided, a->curves.cost),
        SET_REAL_OF("uniform_cost", a->divided, a->curves.uniform_cost),
        SET("exchanges", a->options->allocate.rounds && a->divided ? organ_exchanges_json(&a->exchanged) : json_null()),
        SET("tensors", organ_json_rows(a->divided ? a->curves.count : 0, allocation_tensor_json, a)));
}
