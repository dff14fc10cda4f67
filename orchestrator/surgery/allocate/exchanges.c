/* SPDX-License-Identifier: MIT
 * Tries exchanges on the whole model. In each round a walk (organ_calibration_run_layers) runs the calibration text
 * through one layer after another and calls the callbacks of this file. A stream is the hidden states of the test
 * windows in the model with some allocation: stream 0 with the current one, the others with one pair's exchange.
 *
 * Ranks: each runs the streams of some pairs. */
#include "orchestrator/surgery/allocate/allocate.h"

#include "orchestrator/report/text/report_text.h"
#include "orchestrator/solve/algebra.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define STEP      0.03        /* share of the elements of the smaller tensor of a pair that an exchange moves */
#define MAX_PAIRS ((size_t)8) /* greatest number of pairs in a round */

/* The matrices of a pair are made for their tensor's value after the exchange (EXCHANGED), and for its current value
 * (AS_GIVEN). */
enum { EXCHANGED, AS_GIVEN };

typedef struct exchanges_pair {
    organ_exchange exchange;
    bool separate;     /* the pair has a stream of its own; false: both tensors are in later layers, so that the
                        * pair's hidden states are still those of stream 0 */
    double divergence; /* of the stream from the donor, nats per token */
} exchanges_pair;

struct organ_exchanges {
    organ_exchanges_options options;
    const organ_model *model;
    const organ_targets *targets;
    organ_allocation *allocation;
    const size_t *tensor_of; /* index in the allocation of each target's tensor */
    const organ_exchanges_work *work;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_calibration_work walk_work; /* callbacks of the walks */
    organ_calibration_run *calib;     /* the walk of the current round; NULL between rounds */
    organ_calibration_test_windows test_windows;
    organ_variants *variants;        /* owns `states` and computes divergences; NULL between rounds */
    organ_pooled_tensors *pooled;    /* matrices of this rank's pairs, at the levels EXCHANGED and AS_GIVEN */
    float *states;                   /* stream 0, then one for each pair; owned by `variants` */
    exchanges_pair pairs[MAX_PAIRS]; /* exchanges that the current round tries */
    size_t pair_count;
    double *best;            /* sparsities with the least divergence so far */
    double least_divergence; /* divergence of `best`, nats per token */
};

static uint32_t owner_of(const organ_exchanges *x, size_t k)
{
    return (uint32_t)(k * organ_ranks_count(x->engine->ranks) / x->pair_count);
}

static bool is_own(const organ_exchanges *x, size_t k) { return owner_of(x, k) == organ_ranks_rank(x->engine->ranks); }

static const organ_forward *forward_of(const organ_exchanges *x)
{
    return organ_calibration_run_facts_of(x->calib)->forward;
}

static size_t stream_floats(const organ_exchanges *x)
{
    return x->test_windows.windows.begin[x->test_windows.windows.count] *
           (size_t)organ_forward_describe(forward_of(x))->state;
}

/* Stream 0 is that of the current allocation, stream 1 + p that of pair p. */
static float *exchanges_stream(const organ_exchanges *x, size_t k) { return x->states + k * stream_floats(x); }

static size_t pair_of(const organ_exchanges *x, size_t tensor)
{
    for (size_t k = 0; k < x->pair_count; k++)
        if (x->pairs[k].exchange.more == tensor || x->pairs[k].exchange.less == tensor)
            return k;
    return MAX_PAIRS;
}

/* ---- the walk of a round ---- */

static uint64_t work_memory(void *context, const organ_calibration_run *calib, const organ_tensor *tensor)
{
    const organ_exchanges *const x = context;
    const organ_matrices m = organ_tensor_matrices(tensor);
    /* test windows are whole: up to one context more than the requested tokens */
    const size_t tokens = x->options.tokens + x->options.walk.calibration.context;
    const uint64_t copy = m.rows * m.cols * sizeof(float);
    return copy + x->work->memory(x->work->context, tensor) +
           organ_pooled_memory(x->pooled, tensor->anatomy.layer, /*all=*/true) +
           organ_variants_memory(organ_calibration_run_facts_of(calib)->forward, tokens, 1 + MAX_PAIRS);
}

static organ_status exchanges_change(void *context, const organ_calibration_matrix *m, float *weights,
                                     organ_error *error)
{
    organ_exchanges *const x = context;
    const size_t tensor = x->tensor_of[m->target], pair = pair_of(x, tensor);
    const size_t own_pair = pair < MAX_PAIRS && is_own(x, pair) ? pair : MAX_PAIRS;
    const size_t bytes = (size_t)(m->rows * m->cols) * sizeof *weights;
    const organ_tensor *const stored = x->targets->tensors[m->target];
    if (own_pair < MAX_PAIRS) {
        const exchanges_pair *const p = &x->pairs[own_pair];
        ORGAN_OWNED float *const other = aligned_alloc(64, (bytes + 63) / 64 * 64);
        if (!other)
            return organ_fail_memory(error, m->name);
        memcpy(other, weights, bytes);
        if (x->work->make(x->work->context, m, p->exchange.more == tensor ? p->exchange.up : p->exchange.down, other,
                          error) == ORGAN_OK)
            organ_pooled_keep(x->pooled, tensor, m->name, stored, EXCHANGED, other, error);
    }
    if (error->status ||
        x->work->make(x->work->context, m, x->allocation->tensors[tensor].sparsity, weights, error) != ORGAN_OK)
        return error->status;
    organ_layer_write(m->layer->loaded, m->name, weights);
    return own_pair < MAX_PAIRS ? organ_pooled_keep(x->pooled, tensor, m->name, stored, AS_GIVEN, weights, error)
                                : ORGAN_OK;
}

static bool in_layer(const organ_exchanges *x, size_t tensor, int32_t layer)
{
    size_t k = 0;
    while (x->tensor_of[k] != tensor)
        k++;
    return organ_forward_layer_of(forward_of(x), x->targets->tensors[k]) == layer;
}

static organ_status write_pair_weights(organ_exchanges *x, const exchanges_pair *p, size_t level,
                                       const organ_calibration_layer *layer, organ_error *error)
{
    if (in_layer(x, p->exchange.more, layer->number))
        organ_pooled_write(x->pooled, p->exchange.more, level, layer->loaded, error);
    return error->status || !in_layer(x, p->exchange.less, layer->number)
               ? error->status
               : organ_pooled_write(x->pooled, p->exchange.less, level, layer->loaded, error);
}

static void exchanges_forget(void *context)
{
    const organ_exchanges *const x = context;
    if (x->work->forget)
        x->work->forget(x->work->context);
}

static void release_pair(organ_exchanges *x, const exchanges_pair *p, int32_t layer)
{
    if (in_layer(x, p->exchange.more, layer))
        organ_pooled_give_back(x->pooled, p->exchange.more);
    if (in_layer(x, p->exchange.less, layer))
        organ_pooled_give_back(x->pooled, p->exchange.less);
}

/* In the first layer with a tensor of a pair, the pair's stream begins as a copy of stream 0 before this layer;
 * therefore stream 0 runs last. A pair's stream runs through its layers with the weights EXCHANGED; then the layer
 * gets the weights AS_GIVEN back. */
static organ_status run_streams_through_layer(void *context, const organ_calibration_layer *layer, organ_error *error)
{
    organ_exchanges *const x = context;
    organ_forward *const forward = organ_calibration_run_facts_of(x->calib)->forward;
    exchanges_forget(x);
    for (size_t k = 0; k < x->pair_count && !error->status; k++) {
        exchanges_pair *const p = &x->pairs[k];
        if (!is_own(x, k))
            continue;
        const bool here = in_layer(x, p->exchange.more, layer->number) || in_layer(x, p->exchange.less, layer->number);
        if (!p->separate && here)
            memcpy(exchanges_stream(x, 1 + k), exchanges_stream(x, 0), stream_floats(x) * sizeof(float));
        p->separate |= here;
        if (!p->separate || (here && write_pair_weights(x, p, EXCHANGED, layer, error)))
            continue;
        if (organ_layer_run(forward, layer->loaded, &x->test_windows.windows, exchanges_stream(x, 1 + k), /*tap=*/NULL,
                            error) == ORGAN_OK &&
            here && write_pair_weights(x, p, AS_GIVEN, layer, error) == ORGAN_OK)
            release_pair(x, p, layer->number);
    }
    return error->status ? error->status
                         : organ_layer_run(forward, layer->loaded, &x->test_windows.windows, exchanges_stream(x, 0),
                                           /*tap=*/NULL, error);
}

/* Layers [from, to) have no target, so they have the donor's weights. */
static organ_status run_skipped_layers(organ_exchanges *x, int32_t from, int32_t to, organ_error *error)
{
    organ_forward *const forward = organ_calibration_run_facts_of(x->calib)->forward;
    for (int32_t l = from; l < to && !error->status; l++) {
        organ_layer *layer = NULL;
        if (organ_layer_load(forward, l, &layer, error) == ORGAN_OK)
            run_streams_through_layer(x, &(organ_calibration_layer){x->calib, l, layer}, error);
        organ_layer_free(layer);
    }
    return error->status;
}

static bool has_target(const organ_exchanges *x, int32_t layer)
{
    for (size_t k = 0; k < x->targets->count; k++)
        if (organ_forward_layer_of(forward_of(x), x->targets->tensors[k]) == layer)
            return true;
    return false;
}

/* The walk calls run_streams_through_layer only for layers with targets, so the streams run here through the layers
 * without targets directly before `layer`. */
static organ_status exchanges_enter(void *context, const organ_calibration_layer *layer, organ_error *error)
{
    organ_exchanges *const x = context;
    int32_t from = layer->number;
    while (from > 0 && !has_target(x, from - 1))
        from--;
    return run_skipped_layers(x, from, layer->number, error);
}

static int32_t exchanges_last_layer(const organ_exchanges *x)
{
    int32_t last = 0;
    for (size_t k = 0; k < x->targets->count; k++) {
        const int32_t layer = organ_forward_layer_of(forward_of(x), x->targets->tensors[k]);
        last = layer > last ? layer : last;
    }
    return last;
}

static organ_status exchanges_open_walk(organ_exchanges *x, organ_error *error)
{
    return organ_calibration_run_open(&x->options.walk, x->model, x->targets, &x->walk_work, x->engine, x->progress,
                                      &x->calib, error);
}

/* divergence[0] is that of stream 0, divergence[1 + k] that of pair k. The pairs of a rank are consecutive. */
static organ_status measure_own_divergences(organ_exchanges *x, double *divergence, organ_error *error)
{
    size_t first = 0, end;
    while (first < x->pair_count && !is_own(x, first))
        first++;
    for (end = first; end < x->pair_count && is_own(x, end);)
        end++;
    if (first == 0)
        return organ_variants_judge(x->variants, x->states, 1 + end, divergence, error);
    if (organ_variants_judge(x->variants, x->states, 1, divergence, error) == ORGAN_OK && end > first)
        organ_variants_judge(x->variants, exchanges_stream(x, 1 + first), end - first, divergence + 1 + first, error);
    return error->status;
}

/* Called after an error too, because the other ranks wait. */
static organ_status share_divergences(const organ_exchanges *x, double *divergence, organ_error *error)
{
    uint32_t owner[MAX_PAIRS];
    for (size_t k = 0; k < x->pair_count; k++)
        owner[k] = owner_of(x, k);
    return organ_ranks_complete(x->engine->ranks, "measuring pairs", divergence + 1, sizeof *divergence, x->pair_count,
                                owner, error);
}

/* *found is the divergence of the current allocation. */
static organ_status measure_divergences(organ_exchanges *x, double *found, organ_error *error)
{
    double divergence[1 + MAX_PAIRS] = {0};
    const int32_t layers = (int32_t)organ_forward_describe(forward_of(x))->layers;
    organ_forward *const forward = organ_calibration_run_facts_of(x->calib)->forward;
    if (organ_variants_open(forward, x->engine, &x->test_windows.windows, 1 + MAX_PAIRS, &x->variants, error))
        return error->status;
    x->states = organ_variants_room(x->variants);
    if (organ_forward_embed(forward, &x->test_windows.windows, exchanges_stream(x, 0), error) == ORGAN_OK &&
        organ_calibration_run_layers(x->calib, error) == ORGAN_OK &&
        run_skipped_layers(x, exchanges_last_layer(x) + 1, layers, error) == ORGAN_OK)
        measure_own_divergences(x, divergence, error);
    organ_variants_close(x->variants);
    x->variants = NULL;
    if (share_divergences(x, divergence, error) != ORGAN_OK)
        return error->status;
    *found = divergence[0];
    for (size_t k = 0; k < x->pair_count; k++)
        x->pairs[k].divergence = divergence[1 + k];
    return error->status;
}

static organ_status measure_round(organ_exchanges *x, double *found, organ_error *error)
{
    if (!x->calib && exchanges_open_walk(x, error) != ORGAN_OK)
        return error->status;
    measure_divergences(x, found, error);
    organ_calibration_run_close(x->calib);
    x->calib = NULL;
    return error->status;
}

/* ---- the exchanges ---- */

/* The cost of one more zero is the slope of the tensor's curve at its sparsity, per element: a central difference
 * with the step of the sparsities in organ_allocation_divide. */
static double cost_slope(const organ_allocation *a, const organ_allocation_tensor *t)
{
    const double step = 0.005, above = organ_allocation_cost(a, t, t->sparsity + step),
                 below = organ_allocation_cost(a, t, t->sparsity - step);
    return (above - below) / (2 * step * (double)t->elements);
}

/* Zeros move from the tensor with the greater cost_slope to the other one: as many as STEP times the elements of the
 * smaller tensor. Returns false if a sparsity would leave ORGAN_ALLOCATION_MIN .. ORGAN_ALLOCATION_MAX. */
static bool exchange_zeros(const organ_exchanges *x, size_t one, size_t other, organ_exchange *exchange)
{
    const organ_allocation_tensor *const tensors = x->allocation->tensors;
    const bool reversed = cost_slope(x->allocation, &tensors[one]) > cost_slope(x->allocation, &tensors[other]);
    *exchange = (organ_exchange){.more = reversed ? other : one, .less = reversed ? one : other};
    const organ_allocation_tensor *const more = &tensors[exchange->more], *const less = &tensors[exchange->less];
    const double elements = STEP * (double)(more->elements < less->elements ? more->elements : less->elements);
    exchange->up = more->sparsity + elements / (double)more->elements;
    exchange->down = less->sparsity - elements / (double)less->elements;
    return exchange->up <= ORGAN_ALLOCATION_MAX && exchange->down >= ORGAN_ALLOCATION_MIN;
}

/* Without work->propose, zeros are exchanged. Returns false if there is no exchange. */
static bool propose_exchange(const organ_exchanges *x, size_t one, size_t other, exchanges_pair *pair)
{
    *pair = (exchanges_pair){.separate = false};
    return x->work->propose ? x->work->propose(x->work->context, one, other, &pair->exchange)
                            : exchange_zeros(x, one, other, &pair->exchange);
}

/* The pairs are neighbours in a random order of the tensors, which depends on the seed and the round. Neighbours
 * without a possible exchange are left out. */
static organ_status choose_pairs(organ_exchanges *x, size_t round, organ_error *error)
{
    const size_t count = x->allocation->count;
    ORGAN_OWNED size_t *const order = malloc((count + 1) * sizeof *order);
    ORGAN_OWNED float *const drawn = malloc((count + 1) * sizeof *drawn);
    x->pair_count = 0;
    if (!order || !drawn)
        organ_fail_errno(error, ENOMEM, "pairs of %zu tensors", count);
    else {
        organ_philox_uniform(x->options.seed, round, /*first=*/0, drawn, count);
        /* inside-out shuffle (Fisher and Yates): drawn[k] is uniform in [-1, 1), so `at` is uniform in 0 .. k */
        for (size_t k = 0; k < count; k++) {
            const size_t at = (size_t)(((double)drawn[k] + 1) / 2 * (double)(k + 1));
            order[k] = order[at < k ? at : k];
            order[at < k ? at : k] = k;
        }
        for (size_t k = 0; k + 1 < count && x->pair_count < MAX_PAIRS; k += 2)
            x->pair_count += propose_exchange(x, order[k], order[k + 1], &x->pairs[x->pair_count]);
    }
    return error->status;
}

static void set_sparsities(organ_exchanges *x, const double *given)
{
    for (size_t k = 0; k < x->allocation->count; k++)
        x->allocation->tensors[k].sparsity = given[k];
}

/* `found` is the divergence of the current allocation. If it is not the least so far, the best allocation is
 * restored and the result is false. */
static bool keep_if_best(organ_exchanges *x, double found)
{
    const bool nearer = found <= x->least_divergence; /* equal if the last round applied no exchange */
    if (!nearer)
        set_sparsities(x, x->best);
    for (size_t k = 0; k < x->allocation->count && nearer; k++)
        x->best[k] = x->allocation->tensors[k].sparsity;
    x->least_divergence = nearer ? found : x->least_divergence;
    return nearer;
}

/* Exchanges of pairs whose divergence is below `found`, that of the current allocation, are applied; with `alone`,
 * at most the one with the least divergence. Returns the number of applied exchanges. */
static size_t apply_exchanges(organ_exchanges *x, double found, bool alone)
{
    size_t nearest = 0, taken = 0;
    for (size_t k = 1; k < x->pair_count; k++)
        nearest = x->pairs[k].divergence < x->pairs[nearest].divergence ? k : nearest;
    for (size_t k = 0; k < x->pair_count; k++) {
        const exchanges_pair *const p = &x->pairs[k];
        if (p->divergence >= found || (alone && k != nearest))
            continue;
        x->allocation->tensors[p->exchange.more].sparsity = p->exchange.up;
        x->allocation->tensors[p->exchange.less].sparsity = p->exchange.down;
        taken++;
    }
    return taken;
}

/* Each round measures the divergence of the current allocation and of each random pair's exchange, and applies the
 * exchanges that lower it. If the next round finds that these exchanges together raise the divergence, it restores the
 * best allocation; from then on a round applies only its best exchange. The last round only measures. */
static organ_status run_rounds(organ_exchanges *x, organ_exchanges_report *report, organ_error *error)
{
    bool alone = false;
    *report = (organ_exchanges_report){0};
    x->least_divergence = INFINITY;
    for (size_t round = 0; round <= x->options.rounds && !error->status; round++) {
        double found = 0;
        x->pair_count = 0;
        if ((round < x->options.rounds && choose_pairs(x, round, error)) || measure_round(x, &found, error))
            return error->status;
        report->before = round == 0 ? found : report->before;
        report->tried += x->pair_count;
        if (!keep_if_best(x, found))
            alone = true; /* the gains of single exchanges do not add up */
        else if (round < x->options.rounds)
            report->taken += apply_exchanges(x, found, alone);
        organ_progress_note_once(x->progress, "exchanges: round %zu of %zu, %.4g nats per token", round,
                                 x->options.rounds, found);
    }
    report->after = x->least_divergence;
    return error->status;
}

/* ---- the journal ---- */

#define REPORT(member, type) ORGAN_STRUCT_FIELD(organ_exchanges_report, member, type)
static const organ_struct_field report_fields[] = {REPORT(tried, U64), REPORT(taken, U64), REPORT(before, REAL),
                                                   REPORT(after, REAL)};

json_t *organ_exchanges_json(const organ_exchanges_report *report)
{
    return ORGAN_STRUCT_ADD(json_object(), report_fields, report);
}

/* The line has the value of each tensor (member "given") and the report. */
bool organ_exchanges_recall(organ_allocation *allocation, const organ_writing *writing, organ_exchanges_report *report)
{
    size_t index;
    json_t *line;
    bool found = false;
    json_array_foreach(organ_write_lines(writing), index, line)
    {
        const json_t *const given = json_object_get(line, "given");
        if (json_array_size(given) != allocation->count)
            continue;
        for (size_t k = 0; k < allocation->count; k++)
            allocation->tensors[k].sparsity = json_real_value(json_array_get(given, k));
        found = ORGAN_STRUCT_READ(line, report_fields, report);
    }
    return found;
}

static json_t *given_json(const void *context, size_t k)
{
    return json_real(((const organ_allocation *)context)->tensors[k].sparsity);
}

organ_status organ_exchanges_run(organ_exchanges *x, organ_writing *writing, organ_exchanges_report *report,
                                 organ_error *error)
{
    if (run_rounds(x, report, error) != ORGAN_OK)
        return error->status;
    json_t *const given = organ_json_rows(x->allocation->count, given_json, x->allocation);
    json_t *const line = organ_json_joined(organ_exchanges_json(report), ORGAN_OBJECT(SET("given", given)));
    return organ_write_note_once(writing, line, error);
}

/* ---- creation ---- */

organ_status organ_exchanges_open(const organ_exchanges_options *options, const organ_model *model,
                                  const organ_targets *targets, organ_allocation *allocation, const size_t *of,
                                  const organ_exchanges_work *work, const organ_engine *engine,
                                  const organ_progress *progress, organ_exchanges **exchanges, organ_error *error)
{
    organ_exchanges *const x = *exchanges = calloc(1, sizeof *x);
    if (!x)
        return organ_fail_memory(error, model->path);
    *x = (organ_exchanges){.options = *options,
                           .model = model,
                           .targets = targets,
                           .allocation = allocation,
                           .tensor_of = of,
                           .work = work,
                           .engine = engine,
                           .progress = progress,
                           .pooled = organ_pooled_create(allocation->count, AS_GIVEN, targets, of, engine->kernels),
                           .best = calloc(allocation->count + 1, sizeof *x->best)};
    x->options.walk.streams = ORGAN_INPUTS_DONOR;
    x->options.walk.reruns = true;
    x->walk_work = (organ_calibration_work){.context = x,
                                            .memory = work_memory,
                                            .change = exchanges_change,
                                            .grouped = true,
                                            .alike = true,
                                            .forget = exchanges_forget,
                                            .enter = exchanges_enter,
                                            .leave = run_streams_through_layer};
    if (!x->pooled || !x->best)
        return organ_fail_memory(error, model->path);
    return exchanges_open_walk(x, error) ? error->status
                                         : organ_calibration_cut_test_windows(
                                               x->calib, options->tokens, "`allocate.tokens`", &x->test_windows, error);
}

void organ_exchanges_estimate(const organ_exchanges *x, const organ_plan_solve *solve, organ_plan *plan)
{
    const double rounds = 1 + (double)x->options.rounds, pairs = MAX_PAIRS;
    const organ_forward *const forward = organ_calibration_run_facts_of(x->calib)->forward;
    const int32_t middle = (int32_t)organ_forward_describe(forward)->layers / 2;
    organ_plan once = {0};
    organ_calibration_run_estimate(x->calib, solve, &once);
    once.products += (1 + pairs) * organ_variants_products(forward, x->model, middle,
                                                           x->test_windows.windows.begin[x->test_windows.windows.count],
                                                           x->test_windows.length);
    organ_plan_memory(plan, once.memory_enough, once.memory_good);
    plan->products += rounds * once.products;
}

void organ_exchanges_close(organ_exchanges *x)
{
    if (!x)
        return;
    organ_variants_close(x->variants);
    organ_pooled_destroy(x->pooled);
    organ_calibration_test_windows_release(&x->test_windows);
    organ_calibration_run_close(x->calib);
    ORGAN_FREE_ARRAYS(x->best, x);
}
