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

/* An element of a row that is sorted. */
typedef struct task_ranked {
    uint64_t key;
    size_t at;
} task_ranked;

/* Sorts n elements by their keys, ascending, digit by digit; `other` has room for n. Returns the sorted array, one of
 * both. */
static task_ranked *sort_ranked(task_ranked *items, task_ranked *other, size_t n)
{
    for (unsigned shift = 0; shift < 64; shift += 8) {
        size_t counts[257] = {0};
        for (size_t i = 0; i < n; i++)
            counts[(items[i].key >> shift & 255) + 1]++;
        if (counts[(items[0].key >> shift & 255) + 1] == n)
            continue;
        for (size_t d = 0; d < 256; d++)
            counts[d + 1] += counts[d];
        for (size_t i = 0; i < n; i++)
            other[counts[items[i].key >> shift & 255]++] = items[i];
        task_ranked *const sorted = other;
        other = items;
        items = sorted;
    }
    return items;
}

/* Scratch memory of a worker: the differences of all models, random numbers, and for DELLA two arrays of a row. */
static size_t task_scratch(const organ_merge_task *task, size_t rows)
{
    const size_t n = rows * task->shape.cols, floats = organ_to_line((task->inputs + 1) * n * sizeof(float));
    return floats + (choice_of(task) == TASK_RANKED ? 2 * task->shape.cols * sizeof(task_ranked) : 0);
}

/* Sets odds[i] to twice the probability of the element less 1, which organ_philox_uniform's numbers are compared with.
 */
static void rank_odds(const organ_merge_task *task, const organ_merge_strip *strip, size_t k, const float *delta,
                      float *odds)
{
    const size_t cols = strip->cols, n = organ_merge_strip_values(strip);
    const double density = density_of(task, k), epsilon = organ_merge_value(task, TASK_EXTRA, k);
    task_ranked *const items =
        (task_ranked *)(void *)((char *)strip->scratch + organ_to_line((task->inputs + 1) * n * sizeof(float)));
    for (size_t row = 0; row < strip->rows; row++) {
        for (size_t j = 0; j < cols; j++)
            items[j] = (task_ranked){organ_merge_key(delta[row * cols + j], (strip->first + row) * (uint64_t)cols + j),
                                     row * cols + j};
        const task_ranked *const sorted = sort_ranked(items, items + cols, cols);
        for (size_t j = 0; j < cols; j++) {
            const double share = cols > 1 ? (double)j / (double)(cols - 1) : .5;
            odds[sorted[j].at] = (float)(2 * (density - epsilon + 2 * epsilon * share) - 1);
        }
    }
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

/* Keeps elements that are above `low` and not above `high`. Few have the value of a cut, so only these get a branch. */
static void choose_between(const organ_merge_cut *low, const organ_merge_cut *high, uint64_t first, size_t n,
                           float *delta)
{
    const uint32_t least = organ_merge_cut_magnitude(low), most = organ_merge_cut_magnitude(high);
    for (size_t i = 0; i < n; i++) {
        const uint32_t magnitude = organ_merge_magnitude(delta[i]);
        bool keep = (magnitude > least) & (magnitude < most);
        if ((magnitude == least) | (magnitude == most))
            keep = organ_merge_above(low, delta[i], first + i) && !organ_merge_above(high, delta[i], first + i);
        delta[i] = masked(delta[i], -(uint32_t)keep);
    }
}

/* Sets elements of `delta` that are left out to 0. `spare` has room for a strip. */
static void choose(const organ_merge_task *task, const organ_merge_strip *strip, size_t k, const task_model *model,
                   float *delta, float *spare)
{
    const size_t n = organ_merge_strip_values(strip);
    const uint64_t first = strip->first * strip->cols;
    const double density = density_of(task, k);
    if (density >= 1)
        return;
    if (density <= 0) {
        memset(delta, 0, n * sizeof *delta);
    } else if (has_cuts(task)) {
        choose_between(&model->low, &model->high, first, n, delta);
    } else {
        float uniform[256];
        for (size_t i = 0; i < n; i++)
            spare[i] = (float)(2 * density - 1);
        if (choice_of(task) == TASK_RANKED)
            rank_odds(task, strip, k, delta, spare);
        for (size_t i = 0; i < n; i++) {
            if (i % 256 == 0)
                organ_philox_uniform(task->seed, model->stream, first + i, uniform, n - i < 256 ? n - i : 256);
            if (uniform[i % 256] >= spare[i])
                delta[i] = 0;
        }
    }
}

/* ---- the passes: digits of the cuts until all are done, then the sums of absolute values ---- */

/* For each model: counters of the digits at the cut `low`, then of those at `high`. */
static size_t task_counters(const organ_merge_task *task)
{
    return has_cuts(task) && has_sparse(task) ? 2 * task->inputs * organ_merge_digits(organ_merge_elements(task)) : 0;
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

/* Eight independent sums hide the latency of the addition. Their order is part of the result. */
static double sum_of_absolutes(const float *values, size_t n)
{
    double parts[8] = {0};
    for (size_t i = 0; i < n; i++)
        parts[i % 8] += fabs((double)values[i]);
    return ((parts[0] + parts[4]) + (parts[2] + parts[6])) + ((parts[1] + parts[5]) + (parts[3] + parts[7]));
}

static void task_scan(const organ_merge_task *task, const void *state, unsigned pass, const organ_merge_strip *strip,
                      double *sums, uint64_t *counters)
{
    (void)pass;
    const task_model *const models = state;
    const unsigned bits = organ_merge_digit_bits(organ_merge_elements(task));
    const size_t n = organ_merge_strip_values(strip);
    const bool counting = !cuts_are_done(task, models);
    float *const delta = strip->scratch, *const spare = delta + n;
    for (size_t k = 0; k < task->inputs; k++) {
        if (!is_sparse(task, k) || (counting && models[k].low.done && models[k].high.done))
            continue;
        organ_merge_delta(strip, k, delta);
        if (counting) {
            organ_merge_cut_count(&models[k].low, bits, delta, strip->first * strip->cols, n,
                                  counters + ((2 * k) << bits));
            organ_merge_cut_count(&models[k].high, bits, delta, strip->first * strip->cols, n,
                                  counters + ((2 * k + 1) << bits));
            continue;
        }
        sums[2 * k] = sum_of_absolutes(delta, n);
        choose(task, strip, k, &models[k], delta, spare);
        sums[2 * k + 1] = sum_of_absolutes(delta, n);
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

static organ_status task_next(const organ_merge_task *task, void *state, unsigned pass, const uint64_t *counters,
                              bool *again, organ_error *error)
{
    (void)pass, (void)error;
    task_model *const models = state;
    const unsigned bits = organ_merge_digit_bits(organ_merge_elements(task));
    *again = false;
    if (cuts_are_done(task, models))
        return ORGAN_OK;
    for (size_t k = 0; k < task->inputs; k++) {
        organ_merge_cut_narrow(&models[k].low, bits, counters + ((2 * k) << bits));
        organ_merge_cut_narrow(&models[k].high, bits, counters + ((2 * k + 1) << bits));
    }
    *again = !cuts_are_done(task, models) || task_sums(task);
    return ORGAN_OK;
}

/* ---- the result ---- */

/* Writes the weighted difference of model k, with the elements that are left out as 0. */
static void weighted_delta(const organ_merge_task *task, const organ_merge_strip *strip, size_t k,
                           const task_model *model, float *delta, float *spare)
{
    const size_t n = organ_merge_strip_values(strip);
    const float weight = (float)organ_merge_value(task, TASK_WEIGHT, k);
    const bool rescaled = rescales(task) && is_sparse(task, k) && model->before >= 1e-7 && model->after >= 1e-7;
    const float scale = rescaled ? (float)(model->before / model->after) : 1;
    organ_merge_delta(strip, k, delta);
    choose(task, strip, k, model, delta, spare);
    for (size_t i = 0; i < n; i++)
        delta[i] = delta[i] * scale * weight;
}

/* Elements that are merged while their sums are in the L1 cache. */
#define TASK_BLOCK ((size_t)512)

/* Adds up elements whose sign is that of the sum, + for a sum of 0. Elements that are 0 have no sign. The differences
 * of model k begin at deltas + k * stride. */
static void vote(const organ_merge_task *task, const float *deltas, size_t stride, size_t n, float *sums,
                 float *divisors)
{
    float all[TASK_BLOCK] = {0};
    for (size_t k = 0; k < task->inputs; k++)
        for (size_t i = 0; i < n; i++)
            all[i] += deltas[k * stride + i];
    for (size_t i = 0; i < n; i++) {
        all[i] = all[i] >= 0 ? 1 : -1;
        sums[i] = divisors[i] = 0;
    }
    for (size_t k = 0; k < task->inputs; k++) {
        const float weight = (float)organ_merge_value(task, TASK_WEIGHT, k), *const d = deltas + k * stride;
        for (size_t i = 0; i < n; i++) {
            const uint32_t agrees = -(uint32_t)(d[i] * all[i] > 0);
            sums[i] += masked(d[i], agrees);
            divisors[i] += masked(weight, agrees);
        }
    }
    for (size_t i = 0; i < n; i++)
        divisors[i] = divisors[i] == 0 ? 1 : divisors[i];
}

/* Adds up all elements. */
static void add(const organ_merge_task *task, const float *deltas, size_t stride, size_t n, float *sums,
                float *divisors)
{
    float total = 0;
    for (size_t k = 0; k < task->inputs; k++)
        total += (float)organ_merge_value(task, TASK_WEIGHT, k);
    total = fabsf(total) < 1e-8F ? 1 : total;
    for (size_t i = 0; i < n; i++) {
        sums[i] = 0;
        divisors[i] = total;
    }
    for (size_t k = 0; k < task->inputs; k++)
        for (size_t i = 0; i < n; i++)
            sums[i] += deltas[k * stride + i];
}

static void task_apply(const organ_merge_task *task, const void *state, const organ_merge_strip *strip, float *out)
{
    const task_model *const models = state;
    const task_kind *const kind = task->method->kind;
    const size_t n = organ_merge_strip_values(strip);
    const bool normalize = organ_merge_value(task, TASK_NORMALIZE, 0) != 0;
    const float lambda = (float)organ_merge_value(task, TASK_LAMBDA, 0);
    float *const deltas = strip->scratch, *const spare = deltas + task->inputs * n;
    for (size_t k = 0; k < task->inputs; k++)
        weighted_delta(task, strip, k, &models[k], deltas + k * n, spare);
    for (size_t from = 0; from < n; from += TASK_BLOCK) {
        float sums[TASK_BLOCK], divisors[TASK_BLOCK];
        const size_t some = organ_min(n - from, TASK_BLOCK);
        (kind->vote ? vote : add)(task, deltas + from, n, some, sums, divisors);
        for (size_t i = 0; i < some && normalize; i++)
            sums[i] /= divisors[i];
        for (size_t i = 0; i < some; i++)
            out[from + i] = strip->base[from + i] + sums[i] * lambda;
    }
}

#define TASK_METHOD(NAME, PARAMETERS)                                                                                  \
    .name = (NAME), .base = ORGAN_MERGE_BASE_REQUIRED, .least = 1, .parameters = (PARAMETERS),                         \
    .parameter_count = sizeof(PARAMETERS) / sizeof *(PARAMETERS), .check = task_check, .state = task_state,            \
    .scratch = task_scratch, .sums = task_sums, .counters = task_counters, .begin = task_begin, .scan = task_scan,     \
    .fold = task_fold, .next = task_next, .apply = task_apply

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
