/* SPDX-License-Identifier: MIT
 * Methods on task vectors, the differences d_k of the models from the base. Each of them, in this order:
 *   1. leaves out elements of each d_k (the choice),
 *   2. multiplies d_k by a factor that restores the sum of absolute values that it had (rescale), then by its weight,
 *   3. leaves out elements whose sign is not that of the sum over the models (the vote: TIES, arXiv 2306.01708),
 *   4. adds the models up, divides by the sum of the weights that took part (normalize), multiplies by lambda.
 * All arithmetic on elements is in FP32, sums over a tensor in FP64. */
#include "orchestrator/machine/quantity.h"
#include "orchestrator/solve/algebra.h"
#include "orchestrator/surgery/merge/merge_parts.h"

#include <math.h>
#include <string.h>
#include <xxhash.h>

/* How elements are chosen. */
typedef enum task_choice {
    TASK_ALL,
    TASK_LARGEST, /* the share `density` of largest absolute values */
    TASK_MIDDLE,  /* breadcrumbs: without the share `gamma` of largest ones (arXiv 2312.06795) */
    TASK_RANDOM,  /* each with the probability `density` (DARE, arXiv 2311.03099) */
    TASK_RANKED   /* with a probability that grows with the rank in its row (DELLA, arXiv 2406.11617) */
} task_choice;

typedef struct task_kind {
    task_choice choice;
    bool vote;
} task_kind;

/* Parameters, in this order in the list of each method; those of the choice are last. */
enum { TASK_WEIGHT, TASK_NORMALIZE, TASK_LAMBDA, TASK_DENSITY, TASK_RESCALE, TASK_EXTRA };

#define TASK_PARAMETERS(NORMALIZE)                                                                                     \
    [TASK_WEIGHT] = ORGAN_MERGE_FACTOR("weight", "factor of a model's difference from the base"),                      \
    [TASK_NORMALIZE] = ORGAN_MERGE_SWITCH("normalize", NORMALIZE, "divide by the sum of the weights that take part"),  \
    [TASK_LAMBDA] = ORGAN_MERGE_NUMBER("lambda", 1, -INFINITY, INFINITY, "factor of the merged difference")

#define TASK_SPARSE(RESCALE)                                                                                           \
    [TASK_DENSITY] = ORGAN_MERGE_SHARE("density", 1, "share of the elements of a difference that are kept"),           \
    [TASK_RESCALE] = ORGAN_MERGE_SWITCH("rescale", RESCALE, "restore the sum of absolute values of the difference")

static const organ_merge_parameter arithmetic_parameters[] = {TASK_PARAMETERS(0)};
static const organ_merge_parameter ties_parameters[] = {TASK_PARAMETERS(1), TASK_SPARSE(0)};
static const organ_merge_parameter dare_parameters[] = {TASK_PARAMETERS(0), TASK_SPARSE(1)};

#define TASK_GAMMA [TASK_EXTRA] = ORGAN_MERGE_SHARE("gamma", .01, "share of the largest elements that are left out")
#define TASK_EPSILON                                                                                                   \
    [TASK_EXTRA] =                                                                                                     \
        ORGAN_MERGE_SHARE("epsilon", .15, "probabilities lie between density - epsilon and density + epsilon")

static const organ_merge_parameter breadcrumbs_parameters[] = {TASK_PARAMETERS(0), TASK_SPARSE(0), TASK_GAMMA};
static const organ_merge_parameter della_parameters[] = {TASK_PARAMETERS(1), TASK_SPARSE(1), TASK_EPSILON};
static const organ_merge_parameter della_linear_parameters[] = {TASK_PARAMETERS(0), TASK_SPARSE(1), TASK_EPSILON};

/* ---- the state of a tensor: one for each model ---- */

typedef struct task_model {
    organ_merge_cut low, high; /* elements above `low` and not above `high` are kept */
    double before, after;      /* sums of absolute values: of all elements, of those kept */
    uint64_t stream;           /* of random numbers */
} task_model;

static task_choice choice_of(const organ_merge_task *task) { return ((const task_kind *)task->method->kind)->choice; }

static double density_of(const organ_merge_task *task, size_t k)
{
    return choice_of(task) == TASK_ALL ? 1 : organ_merge_value(task, TASK_DENSITY, k);
}

/* Returns whether elements of model k are left out. A density of 0 leaves out all, without a choice. */
static bool is_sparse(const organ_merge_task *task, size_t k) { return density_of(task, k) < 1; }

static bool has_cuts(const organ_merge_task *task)
{
    return choice_of(task) == TASK_LARGEST || choice_of(task) == TASK_MIDDLE;
}

static bool rescales(const organ_merge_task *task)
{
    return choice_of(task) != TASK_ALL && organ_merge_value(task, TASK_RESCALE, 0) != 0;
}

static bool has_sparse(const organ_merge_task *task)
{
    bool any = false;
    for (size_t k = 0; k < task->inputs; k++)
        any = any || (is_sparse(task, k) && density_of(task, k) > 0);
    return any;
}

static organ_status task_check(const organ_merge_task *task, organ_error *error)
{
    for (size_t k = 0; k < task->inputs && choice_of(task) == TASK_RANKED; k++) {
        const double density = density_of(task, k), epsilon = organ_merge_value(task, TASK_EXTRA, k);
        if (density > 0 && density < 1 && (density + epsilon >= 1 || density - epsilon <= 0))
            return organ_fail(error, ORGAN_BAD_INPUT, "epsilon: density %g - %g and + %g must both lie between 0 and 1",
                              density, epsilon, epsilon);
    }
    if (has_cuts(task) && has_sparse(task) && organ_merge_elements(task) > ORGAN_MERGE_KEYS)
        return organ_fail(error, ORGAN_BAD_INPUT, "density: the tensor has more than 2^33 elements");
    return ORGAN_OK;
}

static size_t task_state(const organ_merge_task *task) { return task->inputs * sizeof(task_model); }

static uint64_t task_stream(const char *tensor, const char *donor)
{
    return XXH3_64bits_withSeed(donor, strlen(donor), XXH3_64bits(tensor, strlen(tensor)));
}

/* Begins the cuts of model k. Of n elements in ascending order of keys, those from `bottom` on are kept, `target` of
 * them. */
static void begin_cuts(const organ_merge_task *task, size_t k, task_model *model)
{
    const uint64_t n = organ_merge_elements(task);
    uint64_t target = (uint64_t)(density_of(task, k) * (double)n), top = 0;
    if (choice_of(task) == TASK_MIDDLE)
        top = (uint64_t)(organ_merge_value(task, TASK_EXTRA, k) * (double)n);
    else if (!target && density_of(task, k) > 0)
        target = 1;
    const uint64_t bottom = n > target + top ? n - target - top : 0;
    organ_merge_cut_begin(&model->low, n - bottom, n);
    organ_merge_cut_begin(&model->high, n - bottom - target, n);
}

static void task_begin(const organ_merge_task *task, void *state)
{
    task_model *const models = state;
    for (size_t k = 0; k < task->inputs; k++) {
        models[k].stream = task_stream(task->name, task->donor[k]);
        if (has_cuts(task) && is_sparse(task, k))
            begin_cuts(task, k, &models[k]);
        else
            models[k].low.done = models[k].high.done = true;
    }
}

/* ---- the choice ---- */

/* Elements that are chosen and merged while they are in the L1 cache; a multiple of the 8 sums of absolute values. */
#define TASK_BLOCK ((size_t)512)

/* Elements that are chosen at once: the ranked choice needs whole rows. */
static size_t task_chosen(const organ_merge_task *task, size_t n)
{
    return choice_of(task) == TASK_RANKED ? n : organ_min(n, TASK_BLOCK);
}

/* Scratch memory of a worker: the differences of all models and a copy of one; for DELLA that of the choice. */
static size_t task_scratch(const organ_merge_task *task, size_t rows)
{
    const size_t n = task_chosen(task, rows * task->shape.cols);
    return organ_to_line((task->inputs + 1) * n * sizeof(float)) +
           (choice_of(task) == TASK_RANKED ? organ_merge_ranked_bytes(task->shape.cols) : 0);
}

/* Returns the value if all bits of the mask are set, 0 if none is. Without a branch loops can be vectorised. */
static inline float masked(float value, uint32_t mask)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    bits &= mask;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Keeps elements that are above `low` and not above `high`. Few have the value of a cut: only these are hashed. */
static void choose_between(const organ_merge_task *task, const task_model *model, uint64_t first, size_t n,
                           float *delta)
{
    uint32_t positions[TASK_BLOCK];
    const size_t found = task->kernels->keep_magnitudes(delta, n, organ_merge_cut_magnitude(&model->low),
                                                        organ_merge_cut_magnitude(&model->high), positions);
    for (size_t i = 0; i < found; i++) {
        const uint32_t at = positions[i];
        const uint64_t key = organ_merge_key(delta[at], first + at);
        delta[at] = masked(delta[at], -(uint32_t)((key >= model->low.from) & (key < model->high.from)));
    }
}

static void choose_random(const organ_merge_task *task, const task_model *model, double density, uint64_t first,
                          size_t n, float *delta)
{
    const float bound = (float)(2 * density - 1);
    float uniform[TASK_BLOCK];
    task->kernels->philox_uniform(task->seed, model->stream, first, uniform, n);
    for (size_t i = 0; i < n; i++)
        delta[i] = masked(delta[i], -(uint32_t)(uniform[i] < bound));
}

/* Writes the n differences of model k from element `from` of the strip on, without those that are left out. n is
 * task_chosen. */
static void choose(const organ_merge_task *task, const organ_merge_strip *strip, size_t k, const task_model *model,
                   size_t from, size_t n, float *delta)
{
    const uint64_t first = strip->first * strip->cols + from;
    const double density = density_of(task, k);
    if (density >= 1)
        return;
    if (density <= 0) {
        memset(delta, 0, n * sizeof *delta);
    } else if (has_cuts(task)) {
        choose_between(task, model, first, n, delta);
    } else if (choice_of(task) == TASK_RANDOM) {
        choose_random(task, model, density, first, n, delta);
    } else {
        const organ_merge_odds odds = {density, organ_merge_value(task, TASK_EXTRA, k), model->stream};
        organ_merge_choose_ranked(task, strip, &odds, delta,
                                  (char *)strip->scratch + organ_to_line((task->inputs + 1) * n * sizeof(float)));
    }
}

/* ---- the passes: candidates for the cuts until all are done, then the sums of absolute values ---- */

/* For each model: counters of the cut `low`, in the first pass of both cuts, then those of `high`. */
static size_t task_counters(const organ_merge_task *task)
{
    return has_cuts(task) && has_sparse(task) ? 2 * task->inputs * organ_merge_cut_counters(organ_merge_elements(task))
                                              : 0;
}

/* For each model: sums of absolute values of all elements, and of those kept. */
static size_t task_sums(const organ_merge_task *task)
{
    return rescales(task) && has_sparse(task) ? 2 * task->inputs : 0;
}

static bool cuts_are_done(const organ_merge_task *task, const task_model *models)
{
    bool done = true;
    for (size_t k = 0; k < task->inputs; k++)
        done = done && models[k].low.done && models[k].high.done;
    return done;
}

/* The order of eight sums is part of the result. */
static double sum_of_eight(const double *parts)
{
    return ((parts[0] + parts[4]) + (parts[2] + parts[6])) + ((parts[1] + parts[5]) + (parts[3] + parts[7]));
}

/* Returns the place of the counters of a cut of model k: 0 low, 1 high. */
static size_t place_of(const organ_merge_task *task, unsigned pass, size_t k, size_t cut)
{
    return (2 * k + (pass ? cut : 0)) * organ_merge_cut_counters(organ_merge_elements(task));
}

static void count_model(const organ_merge_task *task, const task_model *model, unsigned pass,
                        const organ_merge_strip *strip, size_t k, uint64_t *counters)
{
    const uint64_t elements = organ_merge_elements(task), first = strip->first * strip->cols;
    const size_t n = organ_merge_strip_values(strip);
    const organ_merge_cut *const cuts[] = {&model->low, &model->high};
    float *const delta = strip->scratch;
    if (strip->input[k] == strip->base)
        memset(delta, 0, organ_min(n, TASK_BLOCK) * sizeof *delta);
    for (size_t from = 0; from < n; from += TASK_BLOCK) {
        const size_t some = organ_min(n - from, TASK_BLOCK);
        if (strip->input[k] != strip->base)
            organ_merge_delta_part(task->kernels, strip, k, from, some, delta);
        for (size_t c = pass == 0 && !model->low.done && !model->high.done; c < 2; c++)
            organ_merge_cut_count(cuts[c], task->kernels, elements, delta, first + from, some,
                                  counters + place_of(task, pass, k, c));
    }
}

static void add_absolutes(const organ_merge_task *task, const task_model *model, const organ_merge_strip *strip,
                          size_t k, double *sums)
{
    const size_t n = organ_merge_strip_values(strip), each = task_chosen(task, n);
    float *const delta = strip->scratch, *const before = delta + each;
    double parts[16] = {0};
    for (size_t from = 0; from < n; from += each) {
        const size_t some = organ_min(n - from, each);
        organ_merge_delta_part(task->kernels, strip, k, from, some, delta);
        memcpy(before, delta, some * sizeof *before);
        choose(task, strip, k, model, from, some, delta);
        task->kernels->absolute_sums(before, delta, some, parts);
    }
    sums[2 * k] = sum_of_eight(parts);
    sums[2 * k + 1] = sum_of_eight(parts + 8);
}

static void task_scan(const organ_merge_task *task, const void *state, unsigned pass, const organ_merge_strip *strip,
                      double *sums, uint64_t *counters)
{
    const task_model *const models = state;
    const bool counting = !cuts_are_done(task, models);
    for (size_t k = 0; k < task->inputs; k++) {
        if (!is_sparse(task, k))
            continue;
        if (!counting && strip->input[k] != strip->base)
            add_absolutes(task, &models[k], strip, k, sums);
        else if (counting && (!models[k].low.done || !models[k].high.done))
            count_model(task, &models[k], pass, strip, k, counters);
    }
}

static void task_fold(const organ_merge_task *task, void *state, unsigned pass, const double *sums)
{
    (void)pass;
    task_model *const models = state;
    for (size_t k = 0; k < task->inputs && cuts_are_done(task, models) && task_sums(task); k++) {
        models[k].before += sums[2 * k];
        models[k].after += sums[2 * k + 1];
    }
}

static void task_join(const organ_merge_task *task, const void *state, unsigned pass, uint64_t *into,
                      const uint64_t *from)
{
    const task_model *const models = state;
    const uint64_t elements = organ_merge_elements(task);
    for (size_t k = 0; k < task->inputs && task_counters(task); k++)
        for (size_t c = pass == 0 && !models[k].low.done && !models[k].high.done; c < 2; c++)
            organ_merge_cut_join(c ? &models[k].high : &models[k].low, elements, into + place_of(task, pass, k, c),
                                 from + place_of(task, pass, k, c));
}

static organ_status task_next(const organ_merge_task *task, void *state, unsigned pass, uint64_t *counters, bool *again,
                              organ_error *error)
{
    (void)error;
    task_model *const models = state;
    const uint64_t elements = organ_merge_elements(task);
    *again = false;
    if (cuts_are_done(task, models))
        return ORGAN_OK;
    for (size_t k = 0; k < task->inputs; k++) {
        organ_merge_cut_narrow(&models[k].low, elements, counters + place_of(task, pass, k, 0));
        organ_merge_cut_narrow(&models[k].high, elements, counters + place_of(task, pass, k, 1));
    }
    *again = !cuts_are_done(task, models) || task_sums(task);
    return ORGAN_OK;
}

/* ---- the result ---- */

/* Returns the factor of the differences of model k, before its weight. */
static float scale_of(const organ_merge_task *task, size_t k, const task_model *model)
{
    const bool rescaled = rescales(task) && is_sparse(task, k) && model->before >= 1e-7 && model->after >= 1e-7;
    return rescaled ? (float)(model->before / model->after) : 1;
}

/* Returns the divisor without a vote: the sum of the weights, 1 for nearly 0. */
static float divisor_of(const organ_merge_task *task)
{
    float total = 0;
    for (size_t k = 0; k < task->inputs; k++)
        total += (float)organ_merge_value(task, TASK_WEIGHT, k);
    return fabsf(total) < 1e-8F ? 1 : total;
}

/* Writes the numbers of the models that differ from the base to `chosen`, and the factors of their differences to
 * `scales` and `weights`. Returns how many models differ. */
static size_t changing_models(const organ_merge_task *task, const task_model *models, const organ_merge_strip *strip,
                              size_t *chosen, float *scales, float *weights)
{
    size_t count = 0;
    for (size_t k = 0; k < task->inputs; k++) {
        if (strip->input[k] == strip->base)
            continue;
        scales[count] = scale_of(task, k, &models[k]);
        weights[count] = (float)organ_merge_value(task, TASK_WEIGHT, k);
        chosen[count++] = k;
    }
    return count;
}

static void task_apply(const organ_merge_task *task, const void *state, const organ_merge_strip *strip, float *out)
{
    const task_model *const models = state;
    const size_t n = organ_merge_strip_values(strip), each = task_chosen(task, n);
    float *const deltas = strip->scratch, scales[ORGAN_MERGE_INPUTS], weights[ORGAN_MERGE_INPUTS];
    size_t chosen[ORGAN_MERGE_INPUTS];
    const organ_differences differences = {.values = deltas,
                                           .stride = each,
                                           .count = changing_models(task, models, strip, chosen, scales, weights),
                                           .scales = scales,
                                           .weights = weights,
                                           .vote = ((const task_kind *)task->method->kind)->vote,
                                           .normalize = organ_merge_value(task, TASK_NORMALIZE, 0) != 0,
                                           .divisor = divisor_of(task),
                                           .lambda = (float)organ_merge_value(task, TASK_LAMBDA, 0)};
    for (size_t from = 0; from < n; from += each) {
        const size_t some = organ_min(n - from, each);
        for (size_t c = 0; c < differences.count; c++) {
            organ_merge_delta_part(task->kernels, strip, chosen[c], from, some, deltas + c * each);
            choose(task, strip, chosen[c], &models[chosen[c]], from, some, deltas + c * each);
        }
        task->kernels->merge_differences(&differences, strip->base + from, some, out + from);
    }
}

#define TASK_METHOD(NAME, PARAMETERS)                                                                                  \
    .name = (NAME), .base = ORGAN_MERGE_BASE_REQUIRED, .least = 1, .parameters = (PARAMETERS),                         \
    .parameter_count = sizeof(PARAMETERS) / sizeof *(PARAMETERS), .check = task_check, .state = task_state,            \
    .scratch = task_scratch, .sums = task_sums, .counters = task_counters, .begin = task_begin, .scan = task_scan,     \
    .fold = task_fold, .join = task_join, .next = task_next, .apply = task_apply, .skips_equal = true

const organ_merge_method organ_merge_task_arithmetic = {
    TASK_METHOD("task_arithmetic", arithmetic_parameters),
    .about = "the base and the weighted differences of the models from it",
    .kind = &(const task_kind){TASK_ALL, false},
};

const organ_merge_method organ_merge_ties = {
    TASK_METHOD("ties", ties_parameters),
    .about = "the largest elements of the differences, where their signs agree",
    .kind = &(const task_kind){TASK_LARGEST, true},
};

const organ_merge_method organ_merge_dare_linear = {
    TASK_METHOD("dare_linear", dare_parameters),
    .about = "random elements of the differences, scaled up",
    .kind = &(const task_kind){TASK_RANDOM, false},
};

const organ_merge_method organ_merge_dare_ties = {
    TASK_METHOD("dare_ties", dare_parameters),
    .about = "random elements of the differences, scaled up, where their signs agree",
    .kind = &(const task_kind){TASK_RANDOM, true},
};

const organ_merge_method organ_merge_della = {
    TASK_METHOD("della", della_parameters),
    .about = "random elements, large ones more likely, where their signs agree",
    .kind = &(const task_kind){TASK_RANKED, true},
};

const organ_merge_method organ_merge_della_linear = {
    TASK_METHOD("della_linear", della_linear_parameters),
    .about = "random elements of the differences, large ones more likely",
    .kind = &(const task_kind){TASK_RANKED, false},
};

const organ_merge_method organ_merge_breadcrumbs = {
    TASK_METHOD("breadcrumbs", breadcrumbs_parameters),
    .about = "the differences without their largest and smallest elements",
    .kind = &(const task_kind){TASK_MIDDLE, false},
};

const organ_merge_method organ_merge_breadcrumbs_ties = {
    TASK_METHOD("breadcrumbs_ties", breadcrumbs_parameters),
    .about = "the differences without their largest and smallest elements, where signs agree",
    .kind = &(const task_kind){TASK_MIDDLE, true},
};
