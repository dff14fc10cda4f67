/* SPDX-License-Identifier: MIT
 * Measures curves in a walk over the donor: organ_calibration_run_layers runs the calibration text through one layer
 * after another and calls the callbacks of this file. Each target is made smaller at each level, and the changed layer
 * becomes a variant whose divergence is measured. Ranks: each measures some curves of a layer, and they
 * exchange them after the layer. */
#include "orchestrator/surgery/allocate/allocate.h"

#include "formats/base/plain_numbers.h"
#include "formats/base/text.h"
#include <organ/machine.h>
#include "orchestrator/output/cache.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/stream/compute.h"
#include "orchestrator/stream/memory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Several variants run together only if they fit in 1 / PLENTY of the memory that is free while a layer is loaded. */
#define PLENTY       4
#define MAX_TOGETHER ((size_t)256) /* greatest number of variants that run together */
#define DONOR        ((size_t)0)   /* level under which `pooled` keeps the donor's matrices */

struct organ_curves {
    const organ_model *model;
    organ_curves_options options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_allocation *allocation;
    const organ_curves_work *work;
    organ_curves_store *store;
    size_t samples;                   /* of the options; the walk has half of them */
    organ_targets targets;            /* the targets whose curves are measured */
    size_t *tensor_of;                /* index in the allocation of each measured target's tensor */
    organ_calibration_work walk_work; /* callbacks of the walk */
    organ_calibration_run *calib;     /* the walk */
    organ_calibration_test_windows test_windows;
    organ_variants *variants;          /* NULL before the first layer and after the last */
    size_t variants_at_once;           /* variants that run together; 0: not known yet */
    organ_pooled_tensors *pooled;      /* the donor's matrices of a tensor with several matrices */
    organ_calibration_matrix *pending; /* matrices of the layer whose tensor is not complete yet */
    size_t pending_count;
    size_t *measured;         /* tensors of the current layer whose curves this rank measures */
    size_t measured_count;    /* length of `measured` */
    size_t estimates_printed; /* number of printed time estimates, 0 or 1 */
    double started;           /* time at which organ_curves_run began, in seconds (organ_seconds_now) */
};

/* ---- the tensors ---- */

/* Routed experts of the same layer and role share a curve. */
static bool share_curve(const organ_tensor *a, const organ_tensor *b)
{
    return a->anatomy.experts == ORGAN_EXPERTS_ROUTED && b->anatomy.experts == ORGAN_EXPERTS_ROUTED &&
           a->anatomy.layer == b->anatomy.layer && a->anatomy.role == b->anatomy.role;
}

static size_t find_shared_curve(const organ_targets *targets, const size_t *curve_of, size_t k)
{
    for (size_t before = k; before-- > 0;)
        if (share_curve(targets->tensors[before], targets->tensors[k]))
            return curve_of[before];
    return SIZE_MAX;
}

/* A star replaces the number of the expert: the last ".NUMBER." in the name. The caller frees the copy. NULL if
 * memory runs out. */
static char *curves_name_of(const organ_tensor *t)
{
    char number[24];
    snprintf(number, sizeof number, ".%d.", (int)t->anatomy.expert);
    const char *at = NULL;
    for (const char *next = strstr(t->name, number); next && t->anatomy.expert >= 0; next = strstr(next + 1, number))
        at = next;
    return at ? organ_format("%.*s.*.%s", (int)(at - t->name), t->name, at + strlen(number)) : strdup(t->name);
}

bool organ_curves_list(const organ_targets *targets, organ_allocation *allocation, size_t *of)
{
    allocation->tensors = calloc(targets->count + 1, sizeof *allocation->tensors);
    for (size_t k = 0; allocation->tensors && k < targets->count; k++) {
        const organ_tensor *const t = targets->tensors[k];
        of[k] = find_shared_curve(targets, of, k);
        if (of[k] == SIZE_MAX) {
            organ_allocation_tensor *const made = &allocation->tensors[of[k] = allocation->count++];
            *made = (organ_allocation_tensor){
                .name = curves_name_of(t), .role = organ_anatomy_role_name(&t->anatomy), .layer = t->anatomy.layer};
            if (!made->name)
                return false;
        }
        allocation->tensors[of[k]].elements += t->elements;
    }
    return allocation->tensors != NULL;
}

/* At most `max` of the layers with a target are chosen, evenly spread from the first to the last. The caller frees
 * the flags, one for each layer; NULL if memory cannot be allocated. */
static bool *choose_layers(const organ_targets *all, size_t max)
{
    int32_t last = 0;
    for (size_t k = 0; k < all->count; k++)
        last = all->tensors[k]->anatomy.layer > last ? all->tensors[k]->anatomy.layer : last;
    bool *const chosen = calloc((size_t)last + 1, sizeof *chosen);
    size_t count = 0, at = 0, next = 0;
    for (size_t k = 0; chosen && k < all->count; k++)
        if (all->tensors[k]->anatomy.layer >= 0)
            chosen[all->tensors[k]->anatomy.layer] = true;
    for (int32_t l = 0; chosen && l <= last; l++)
        count += chosen[l];
    for (int32_t l = 0; chosen && count > max && l <= last; l++)
        if (chosen[l]) { /* `at` is the index of layer l among the `count` layers with a target. Layers with index next
                          * * (count - 1) / (max - 1) stay chosen, for next = 0 .. max - 1. */
            chosen[l] = next * (count - 1) / (max - 1) == at++;
            next += chosen[l];
        }
    return chosen;
}

static size_t matrices_of(const organ_targets *targets)
{
    size_t count = 0;
    for (size_t k = 0; k < targets->count; k++)
        count += (size_t)organ_tensor_matrices(targets->tensors[k]).count;
    return count;
}

static bool is_in_layers(const organ_tensor *tensor, const bool *layers)
{
    return tensor->anatomy.layer < 0 || layers[tensor->anatomy.layer];
}

/* Measured are the targets in chosen layers (choose_layers) and those of a role that occurs in no chosen layer.
 * of[k] is the tensor of target k of `all`. */
static organ_status choose_targets(organ_curves *c, const organ_targets *all, const size_t *of, organ_error *error)
{
    bool roles[ORGAN_ANATOMY_ROWS] = {false};
    ORGAN_OWNED bool *const chosen = choose_layers(all, organ_allocate_layers(c->options.allocate));
    c->targets = *all;
    c->targets.count = 0;
    c->targets.tensors = calloc(all->count + 1, sizeof *c->targets.tensors);
    c->tensor_of = calloc(all->count + 1, sizeof *c->tensor_of);
    c->measured = calloc(all->count + 1, sizeof *c->measured);
    c->pooled = organ_pooled_create(c->allocation->count, DONOR, all, of, c->engine->kernels);
    c->pending = calloc(matrices_of(all) + 1, sizeof *c->pending);
    if (!c->targets.tensors || !c->tensor_of || !c->measured || !c->pooled || !c->pending || !chosen)
        organ_fail_errno(error, ENOMEM, "curves of %zu tensors", all->count);
    for (size_t k = 0; k < all->count && !error->status; k++)
        roles[organ_anatomy_row(&all->tensors[k]->anatomy)] |= is_in_layers(all->tensors[k], chosen);
    for (size_t k = 0; k < all->count && !error->status; k++) {
        if (!is_in_layers(all->tensors[k], chosen) && roles[organ_anatomy_row(&all->tensors[k]->anatomy)])
            continue;
        c->tensor_of[c->targets.count] = of[k];
        c->targets.tensors[c->targets.count++] = all->tensors[k];
    }
    return error->status;
}

/* ---- memory ---- */

/* The least bytes are those with one variant at a time, in addition to layers and second moments. */
static uint64_t min_extra(const organ_curves *c, const organ_forward *forward)
{
    const organ_calibration_run_options *const walk = &c->options.walk;
    uint64_t max = 0;
    for (size_t k = 0; k < c->targets.count; k++) {
        const organ_matrices m = organ_tensor_matrices(c->targets.tensors[k]);
        /* the donor's weights of a matrix and their copy, which c->work->make changes */
        const uint64_t own = 2 * m.rows * m.cols * sizeof(float) +
                             c->work->memory(c->work->context, c->targets.tensors[k]) +
                             organ_pooled_memory(c->pooled, c->targets.tensors[k]->anatomy.layer, /*all=*/false);
        max = own > max ? own : max;
    }
    /* Test windows are whole: up to one context more than the requested tokens. */
    return organ_calibration_run_memory(walk, forward) + max +
           organ_variants_memory(forward, organ_allocate_tokens(c->options.allocate) + walk->calibration.context,
                                 /*together=*/1);
}

/* Only variants beyond the first need memory that is plentiful (1 / PLENTY of the free memory), so that a run with
 * just the --memory that an error message asks for succeeds. The number does not depend on the number of threads. */
static size_t variants_at_once_for(const organ_curves *c, const organ_calibration_run *calib)
{
    const organ_forward *const forward = organ_calibration_run_facts_of(calib)->forward;
    const size_t tokens = organ_allocate_tokens(c->options.allocate) + c->options.walk.calibration.context;
    const uint64_t one =
        organ_variants_memory(forward, tokens, /*together=*/2) - organ_variants_memory(forward, tokens, /*together=*/1);
    const uint64_t least = min_extra(c, forward) + organ_calibration_run_moments(calib);
    organ_memory_prefer(c->engine, PLENTY * (least + MAX_TOGETHER * one + organ_forward_layer_bytes(forward)));
    const uint64_t plenty = organ_forward_spare_memory(forward, c->options.walk.calibration.context) / PLENTY;
    const uint64_t more = plenty > least ? (plenty - least) / one : 0;
    return more < MAX_TOGETHER ? 1 + (size_t)more : MAX_TOGETHER;
}

static uint64_t work_memory(void *context, const organ_calibration_run *calib, const organ_tensor *tensor)
{
    organ_curves *const c = context;
    const organ_matrices m = organ_tensor_matrices(tensor);
    const organ_forward *const forward = organ_calibration_run_facts_of(calib)->forward;
    const uint64_t copy = m.rows * m.cols * sizeof(float);
    c->variants_at_once = c->variants_at_once ? c->variants_at_once : variants_at_once_for(c, calib);
    return copy + c->work->memory(c->work->context, tensor) +
           organ_pooled_memory(c->pooled, tensor->anatomy.layer, /*all=*/false) +
           organ_variants_memory(forward,
                                 organ_allocate_tokens(c->options.allocate) + c->options.walk.calibration.context,
                                 c->variants_at_once);
}

/* ---- the walk ---- */

static bool curves_is_known(void *context, size_t target)
{
    const organ_curves *const c = context;
    return c->allocation->tensors[c->tensor_of[target]].known;
}

/* One rank must measure all targets that share a curve. */
static size_t tensor_of(void *context, size_t target) { return ((const organ_curves *)context)->tensor_of[target]; }

/* Measuring a curve leaves the donor's layer unchanged, so there is nothing to restore. */
static organ_status leave_unchanged(void *context, const organ_calibration_matrix *matrix, float *weights,
                                    organ_error *error)
{
    (void)context;
    (void)matrix;
    (void)weights;
    return error->status;
}

static organ_status curves_enter_layer(void *context, const organ_calibration_layer *layer, organ_error *error)
{
    organ_curves *const c = context;
    const organ_calibration_run_facts *const facts = organ_calibration_run_facts_of(c->calib);
    if (!c->variants && organ_variants_open(facts->forward, c->engine, &c->test_windows.windows, c->variants_at_once,
                                            &c->variants, error))
        return error->status;
    c->measured_count = c->pending_count = 0;
    return organ_variants_advance(c->variants, layer->number, error);
}

/* A target is assumed to need time in proportion to the layers that its variants run through, from its own layer to
 * the last. */
static void print_time(organ_curves *c, int32_t number)
{
    char text[24];
    const organ_forward *const forward = organ_calibration_run_facts_of(c->calib)->forward;
    const double layers = organ_forward_describe(forward)->layers, seconds = organ_seconds_now() - c->started;
    double through = 0, left = 0; /* these layers, summed over the measured and over the other targets */
    for (size_t k = 0; k < c->targets.count; k++) {
        const int32_t own = organ_forward_layer_of(forward, c->targets.tensors[k]);
        *(own <= number ? &through : &left) += layers - own;
    }
    if (left > 0 && through > 0 && !c->estimates_printed++)
        organ_progress_note_once(c->progress,
                                 "allocation: the first layer's curves took %.1f s; the others will take about %s",
                                 seconds, organ_duration_text(seconds * left / through, text));
}

typedef struct measured_curve {
    uint64_t tensor; /* index in the allocation */
    double cost[ORGAN_ALLOCATION_LEVELS];
} measured_curve;

/* All ranks call this for every curve. On the rank that measured the curve, `own` is set and the progress advances. */
static void store_curve(organ_curves *c, const measured_curve *m, bool own, organ_error *error)
{
    organ_allocation_tensor *const t = &c->allocation->tensors[m->tensor];
    char remark[64];
    memcpy(t->cost, m->cost, sizeof t->cost);
    if (c->work->derive)
        c->work->derive(c->work->context, m->tensor);
    t->known = true;
    organ_snprintf(remark, sizeof remark, "KL %.3g to %.3g", t->cost[0], t->cost[c->allocation->level_count - 1]);
    if (own)
        organ_progress_advance(c->progress, /*bytes=*/0, t->name, remark);
    organ_curves_keep(c->allocation, t, c->store, error);
}

/* Called also after an error, because the other ranks wait for the bytes. */
static organ_status share_curves(organ_curves *c, organ_error *error)
{
    organ_ranks *const ranks = c->engine->ranks;
    ORGAN_OWNED measured_curve *const own = calloc(c->measured_count + 1, sizeof *own);
    ORGAN_RELEASED_BY(organ_gathered_release) organ_gathered all = {0};
    if (!own && !error->status)
        organ_fail_errno(error, ENOMEM, "curves of %zu tensors", c->measured_count);
    for (size_t k = 0; own && k < c->measured_count; k++) {
        own[k].tensor = c->measured[k];
        memcpy(own[k].cost, c->allocation->tensors[c->measured[k]].cost, sizeof own[k].cost);
    }
    organ_ranks_gather(ranks, "measuring the curves of a layer", own, own ? c->measured_count * sizeof *own : 0, &all,
                       error);
    for (size_t r = 0; r < all.count; r++)
        for (size_t k = 0; k < all.bytes[r] / sizeof *own && !error->status; k++) {
            measured_curve m;
            memcpy(&m, all.of[r] + k * sizeof m, sizeof m);
            store_curve(c, &m, r == organ_ranks_rank(ranks), error);
        }
    return error->status;
}

static organ_status curves_finish(void *context, const organ_calibration_layer *layer, organ_error *error)
{
    organ_curves *const c = context;
    if (c->work->forget)
        c->work->forget(c->work->context);
    organ_variants_pass(c->variants, layer->loaded, error);
    if (share_curves(c, error) == ORGAN_OK)
        print_time(c, layer->number);
    return error->status;
}

static bool is_measured(const organ_curves *c, size_t level)
{
    return !c->allocation->measured || c->allocation->measured[level];
}

static size_t measured_levels(const organ_curves *c)
{
    size_t count = 0;
    for (size_t l = 0; l < c->allocation->level_count; l++)
        count += is_measured(c, l);
    return count;
}

/* Tensor `t` has only the matrix `m`. The layer is a variant at each measured level; at the end it gets the donor's
 * `weights` back. The variants set t->cost. */
static organ_status measure_whole_tensor(organ_curves *c, const organ_calibration_matrix *m, const float *weights,
                                         organ_allocation_tensor *t, organ_error *error)
{
    const size_t bytes = (size_t)(m->rows * m->cols) * sizeof *weights;
    ORGAN_OWNED float *const made = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!made)
        return organ_fail_memory(error, m->name);
    for (size_t l = 0; l < c->allocation->level_count && !error->status; l++) {
        if (!is_measured(c, l))
            continue;
        memcpy(made, weights, bytes);
        if (c->work->make(c->work->context, m, l, made, error) != ORGAN_OK)
            break;
        organ_layer_write(m->layer->loaded, m->name, made);
        organ_variants_add(c->variants, m->layer->loaded, &t->cost[l], error);
    }
    organ_layer_write(m->layer->loaded, m->name, weights);
    return error->status;
}

/* Matrix `m` has the donor's weights in the loaded layer. With `level`, it is made smaller at level *level and
 * written back; if `level` is NULL, the layer stays unchanged and c->pooled gets a copy. `tensor`: index of the
 * matrix's tensor in the allocation. */
static organ_status write_or_copy_matrix(organ_curves *c, const organ_calibration_matrix *m, size_t tensor,
                                         const size_t *level, organ_error *error)
{
    const size_t bytes = (size_t)(m->rows * m->cols) * sizeof(float);
    ORGAN_OWNED float *const made = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!made)
        return organ_fail_memory(error, m->name);
    organ_layer_read(m->layer->loaded, m->name, made);
    if (!level)
        organ_pooled_keep(c->pooled, tensor, m->name, c->targets.tensors[m->target], DONOR, made, error);
    else if (c->work->make(c->work->context, m, *level, made, error) == ORGAN_OK)
        organ_layer_write(m->layer->loaded, m->name, made);
    return error->status;
}

static organ_status write_pending_to_layer(organ_curves *c, size_t tensor, const size_t *level, organ_error *error)
{
    for (size_t k = 0; k < c->pending_count && !error->status; k++)
        if (c->tensor_of[c->pending[k].target] == tensor)
            write_or_copy_matrix(c, &c->pending[k], tensor, level, error);
    return error->status;
}

/* If all matrices of the tensor are pending, they are written to the layer together, at one level after another, and
 * the layer is a variant at each level. Thus only the donor's matrices of one tensor are stored in addition to the
 * layer. The calibrations of pending matrices are valid until the walk leaves the layer. */
static organ_status measure_pooled_tensor(organ_curves *c, const organ_calibration_matrix *m, size_t tensor,
                                          organ_error *error)
{
    organ_allocation_tensor *const t = &c->allocation->tensors[tensor];
    uint64_t gathered = 0;
    c->pending[c->pending_count++] = *m;
    for (size_t k = 0; k < c->pending_count; k++)
        gathered += c->tensor_of[c->pending[k].target] == tensor;
    if (gathered < organ_pooled_matrices(c->pooled, tensor) ||
        write_pending_to_layer(c, tensor, /*level=*/NULL, error) != ORGAN_OK)
        return error->status;
    for (size_t l = 0; l < c->allocation->level_count && !error->status; l++)
        if (is_measured(c, l) && write_pending_to_layer(c, tensor, &l, error) == ORGAN_OK &&
            organ_variants_add(c->variants, m->layer->loaded, &t->cost[l], error) == ORGAN_OK)
            organ_pooled_write(c->pooled, tensor, DONOR, m->layer->loaded, error);
    organ_pooled_give_back(c->pooled, tensor);
    return error->status;
}

static organ_status curves_measure_matrix(void *context, const organ_calibration_matrix *m, float *weights,
                                          organ_error *error)
{
    organ_curves *const c = context;
    const size_t tensor = c->tensor_of[m->target];
    if (c->measured_count == 0 || c->measured[c->measured_count - 1] != tensor) {
        bool there = false; /* `measured` already has the tensor */
        for (size_t k = 0; k < c->measured_count; k++)
            there |= c->measured[k] == tensor;
        if (!there)
            c->measured[c->measured_count++] = tensor;
    }
    return organ_pooled_has_several(c->pooled, tensor)
               ? measure_pooled_tensor(c, m, tensor, error)
               : measure_whole_tensor(c, m, weights, &c->allocation->tensors[tensor], error);
}

/* ---- the whole measurement ---- */

/* The walk does not calibrate on the test windows, on which divergences are measured. */
organ_status organ_curves_open(const organ_curves_options *options, const organ_model *model,
                               const organ_targets *targets, organ_allocation *allocation, const size_t *of,
                               const organ_curves_work *work, organ_curves_store *store, const organ_engine *engine,
                               const organ_progress *progress, organ_curves **curves, organ_error *error)
{
    organ_curves *const c = *curves = calloc(1, sizeof *c);
    if (!c)
        return organ_fail_memory(error, model->path);
    *c = (organ_curves){.options = *options,
                        .model = model,
                        .engine = engine,
                        .progress = progress,
                        .allocation = allocation,
                        .work = work,
                        .store = store,
                        .samples = options->walk.calibration.samples};
    c->options.walk.calibration.samples =
        (options->walk.calibration.samples + 1) / 2; /* a curve needs less precise inputs than the output */
    c->options.walk.counted = "half of `samples`";
    c->options.walk.streams = ORGAN_INPUTS_DONOR;
    c->options.walk.reruns = true;
    c->walk_work = (organ_calibration_work){.context = c,
                                            .memory = work_memory,
                                            .done = curves_is_known,
                                            .restore = leave_unchanged,
                                            .change = curves_measure_matrix,
                                            .grouped = true,
                                            .together = tensor_of,
                                            .enter = curves_enter_layer,
                                            .leave = curves_finish};
    if (choose_targets(c, targets, of, error) ||
        organ_calibration_run_open(&c->options.walk, model, &c->targets, &c->walk_work, engine, progress, &c->calib,
                                   error))
        return error->status;
    organ_calibration_cut_test_windows(c->calib, organ_allocate_tokens(c->options.allocate), "`allocate.tokens`",
                                       &c->test_windows, error);
    store->windows = c->test_windows.windows.count;
    store->tokens = error->status ? 0 : c->test_windows.windows.begin[store->windows];
    return error->status;
}

json_t *organ_curves_identity(const organ_curves *c, json_t *own, json_t *more)
{
    const organ_calibration_run_options *const walk = &c->options.walk;
    json_t *const text = ORGAN_OBJECT(SET_TEXT("text", organ_calibration_run_facts_of(c->calib)->digest),
                                      SET_COUNT("samples", c->samples), SET_COUNT("context", walk->calibration.context),
                                      SET_REDUCED_COMPUTE(c->engine, walk->calibration.compute));
    json_t *const rest = ORGAN_OBJECT(SET_COUNT("allocate_tokens", organ_allocate_tokens(c->options.allocate)),
                                      SET_COUNT("allocate_layers", organ_allocate_layers(c->options.allocate)),
                                      SET_IF(walk->all_experts, "all_experts", json_true()),
                                      SET_IF(walk->blocks, "moments", json_string("blocks")));
    json_t *const before = organ_json_joined(own, text);
    return organ_json_joined(more ? organ_json_joined(before, more) : before, rest);
}

void organ_curves_close(organ_curves *c)
{
    if (!c)
        return;
    organ_variants_close(c->variants);
    organ_pooled_destroy(c->pooled);
    organ_calibration_test_windows_release(&c->test_windows);
    organ_calibration_run_close(c->calib);
    ORGAN_FREE_ARRAYS(c->targets.tensors, c->tensor_of, c->measured, c->pending, c);
}

const organ_calibration_run *organ_curves_walk(const organ_curves *c) { return c->calib; }
const organ_calibration_test_windows *organ_curves_rest(const organ_curves *c) { return &c->test_windows; }

size_t organ_curves_unknown(const organ_curves *c)
{
    size_t count = 0;
    for (size_t t = 0; t < c->allocation->count; t++)
        for (size_t k = 0; k < c->targets.count && !c->allocation->tensors[t].known; k++)
            if (c->tensor_of[k] == t) {
                count++;
                break;
            }
    return count;
}

/* The experts of a projection are several targets, but one tensor. */
static bool begins_tensor(const organ_curves *c, size_t k)
{
    const int32_t layer = c->targets.tensors[k]->anatomy.layer;
    for (size_t j = k; j > 0 && c->targets.tensors[j - 1]->anatomy.layer == layer; j--)
        if (c->tensor_of[j - 1] == c->tensor_of[k])
            return false;
    return true;
}

void organ_curves_estimate(organ_curves *c, const organ_plan_solve *solve, organ_plan *plan)
{
    const double levels = (double)measured_levels(c);
    const organ_forward *const forward = organ_calibration_run_facts_of(c->calib)->forward;
    const size_t together = c->variants_at_once;
    if (organ_curves_unknown(c) == 0)
        return;
    c->variants_at_once = 1; /* for work_memory: the plan states the least memory, with one variant at a time */
    organ_calibration_run_estimate(
        c->calib, &(organ_plan_solve){levels * solve->squares, levels * solve->weights, levels * solve->matrices},
        plan);
    double products = 0;
    for (size_t k = 0; k < c->targets.count; k++) {
        const int32_t layer = c->targets.tensors[k]->anatomy.layer;
        if (k == 0 || layer != c->targets.tensors[k - 1]->anatomy.layer)
            products = organ_variants_products(
                forward, c->model, organ_forward_layer_of(forward, c->targets.tensors[k]),
                c->test_windows.windows.begin[c->test_windows.windows.count], c->test_windows.length);
        if (begins_tensor(c, k) && !c->allocation->tensors[c->tensor_of[k]].known)
            plan->products += levels * products;
    }
    c->variants_at_once = together;
}

organ_status organ_curves_run(organ_curves *c, organ_error *error)
{
    const size_t unknown = organ_curves_unknown(c);
    size_t missing = 0;
    if (organ_cache_check_place(c->store->file, "`allocate.file`", c->store->ranks, error))
        return error->status;
    if (unknown) {
        c->started = organ_seconds_now();
        organ_progress_note_once(c->progress, "allocation: %zu tensors at %zu levels, each measured on %zu tokens",
                                 unknown, measured_levels(c),
                                 c->test_windows.windows.begin[c->test_windows.windows.count]);
        organ_progress_begin(c->progress, "measuring curves", 0, unknown);
        organ_calibration_run_layers(c->calib, error);
        organ_progress_end(c->progress);
    }
    organ_variants_close(c->variants);
    c->variants = NULL;
    if (!error->status && !organ_allocation_fill(c->allocation, &missing))
        return organ_fail(error, ORGAN_USAGE,
                          "tensor '%s': no tensor of its kind is in a measured layer: increase `allocate.layers`",
                          c->allocation->tensors[missing].name);
    return error->status ? error->status : organ_curves_keep(c->allocation, NULL, c->store, error);
}
