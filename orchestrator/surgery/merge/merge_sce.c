/* SPDX-License-Identifier: MIT
 * SCE (arXiv 2408.07990): select the elements whose differences from the base vary most between the models, calculate a
 * weight of each model from the squares of these elements, erase elements whose sign is not that of their sum. */
#include "orchestrator/machine/quantity.h"
#include "orchestrator/solve/algebra.h"
#include "orchestrator/surgery/merge/merge_parts.h"

#include <math.h>

static const organ_merge_parameter sce_parameters[] = {
    {.name = "select_topk", .fallback = 1, .most = 1, .about = "share of the elements that vary which are merged"},
};

typedef struct sce_state {
    organ_merge_cut cut; /* of the variances */
    bool counted;        /* the first pass is over, cut.left is known */
    double squares[ORGAN_MERGE_INPUTS];
    float weight[ORGAN_MERGE_INPUTS];
} sce_state;

static double sce_share(const organ_merge_task *task) { return organ_merge_value(task, /*parameter=*/0, /*input=*/0); }

/* Returns whether there is a selection of elements, so that variances are needed. */
static bool sce_selects(const organ_merge_task *task) { return sce_share(task) < 1; }

static size_t sce_state_bytes(const organ_merge_task *task)
{
    (void)task;
    return sizeof(sce_state);
}

/* The differences of all models, then the variances. */
static size_t sce_scratch(const organ_merge_task *task, size_t rows)
{
    return (task->inputs + 1) * rows * task->shape.cols * sizeof(float);
}

static size_t sce_sums(const organ_merge_task *task) { return task->inputs; }

static size_t sce_counters(const organ_merge_task *task)
{
    return sce_selects(task) ? organ_merge_cut_counters(organ_merge_elements(task)) : 0;
}

static organ_status sce_check(const organ_merge_task *task, organ_error *error)
{
    if (sce_selects(task) && organ_merge_elements(task) > ORGAN_MERGE_KEYS)
        return organ_fail(error, ORGAN_BAD_INPUT, "select_topk: the tensor has more than 2^33 elements");
    return ORGAN_OK;
}

static void sce_begin(const organ_merge_task *task, void *state)
{
    sce_state *const s = state;
    s->cut.done = !sce_selects(task);
    s->counted = s->cut.done;
}

/* Loops over elements are inside those over models, so that the compiler vectorises them; the sums of an element run in
 * the order of the models. */
enum { SCE_TOGETHER = 1024 };

/* Sets variances[0 .. n), n <= SCE_TOGETHER, of `inputs` arrays of differences that are `stride` elements apart. */
static void set_variances(const float *deltas, size_t stride, size_t inputs, float *variances, size_t n)
{
    double means[SCE_TOGETHER] = {0}, squares[SCE_TOGETHER] = {0};
    for (size_t k = 0; k < inputs; k++)
        for (size_t i = 0; i < n; i++)
            means[i] += (double)deltas[k * stride + i];
    for (size_t i = 0; i < n; i++)
        means[i] /= (double)inputs;
    for (size_t k = 0; k < inputs; k++)
        for (size_t i = 0; i < n; i++) {
            const double off = (double)deltas[k * stride + i] - means[i];
            squares[i] += off * off;
        }
    for (size_t i = 0; i < n; i++)
        variances[i] = (float)(squares[i] / (double)inputs);
}

/* Writes the differences and the variances to the scratch memory and returns the latter. */
static float *differences(const organ_merge_task *task, const organ_merge_strip *strip)
{
    const size_t n = organ_merge_strip_values(strip);
    float *const deltas = strip->scratch, *const variances = deltas + task->inputs * n;
    for (size_t k = 0; k < task->inputs; k++)
        organ_merge_delta(task->kernels, strip, k, deltas + k * n);
    for (size_t i = 0; i < n && sce_selects(task); i += SCE_TOGETHER)
        set_variances(deltas + i, n, task->inputs, variances + i, organ_min(SCE_TOGETHER, n - i));
    return variances;
}

/* Sets the differences of elements that are not selected to 0. */
static void sce_select(const organ_merge_task *task, const sce_state *s, const organ_merge_strip *strip,
                       const float *variances)
{
    const size_t n = organ_merge_strip_values(strip);
    float *const deltas = strip->scratch;
    for (size_t i = 0; i < n && sce_selects(task); i++)
        if (!organ_merge_above(&s->cut, variances[i], strip->first * strip->cols + i))
            for (size_t k = 0; k < task->inputs; k++)
                deltas[k * n + i] = 0;
}

static void sce_scan(const organ_merge_task *task, const void *state, unsigned pass, const organ_merge_strip *strip,
                     double *sums, uint64_t *counters)
{
    (void)pass;
    const sce_state *const s = state;
    const size_t n = organ_merge_strip_values(strip);
    const float *const variances = differences(task, strip), *const deltas = strip->scratch;
    if (!s->cut.done) {
        organ_merge_cut_count(&s->cut, task->kernels, organ_merge_elements(task), variances, strip->first * strip->cols,
                              n, counters);
        return;
    }
    sce_select(task, s, strip, variances);
    for (size_t k = 0; k < task->inputs; k++)
        sums[k] = organ_sum_of_squares(deltas + k * n, n);
}

static void sce_fold(const organ_merge_task *task, void *state, unsigned pass, const double *sums)
{
    (void)pass;
    sce_state *const s = state;
    for (size_t k = 0; k < task->inputs; k++)
        s->squares[k] += sums[k];
}

static void sce_join(const organ_merge_task *task, const void *state, unsigned pass, uint64_t *into,
                     const uint64_t *from)
{
    (void)pass;
    organ_merge_cut_join(&((const sce_state *)state)->cut, organ_merge_elements(task), into, from);
}

/* Weights of the models: their mean squares, divided by the sum of these; equal ones if the sum is below 1e-6. */
static void sce_weights(const organ_merge_task *task, sce_state *s)
{
    const double n = (double)organ_merge_elements(task);
    double total = 0;
    for (size_t k = 0; k < task->inputs; k++)
        total += s->squares[k] / n;
    for (size_t k = 0; k < task->inputs; k++)
        s->weight[k] = (float)(total < 1e-6 ? 1 / (double)task->inputs : s->squares[k] / n / total);
}

static organ_status sce_next(const organ_merge_task *task, void *state, unsigned pass, uint64_t *counters, bool *again,
                             organ_error *error)
{
    (void)pass, (void)error;
    sce_state *const s = state;
    const uint64_t elements = organ_merge_elements(task);
    *again = !s->cut.done;
    if (s->cut.done) {
        sce_weights(task, s);
        return ORGAN_OK;
    }
    if (!s->counted) {
        const double varying = (double)organ_merge_cut_varying(elements, counters);
        organ_merge_cut_begin(&s->cut, (uint64_t)(varying * sce_share(task)), elements);
        s->counted = true;
    }
    organ_merge_cut_narrow(&s->cut, elements, counters);
    return ORGAN_OK;
}

/* Sets out[0 .. n), n <= SCE_TOGETHER: `base` plus the weighted mean of the differences with the sign of their sum. */
static void add_agreeing(const float *deltas, size_t stride, size_t inputs, const float *weight, const float *base,
                         float *out, size_t n)
{
    float all[SCE_TOGETHER] = {0}, sums[SCE_TOGETHER] = {0}, weights[SCE_TOGETHER] = {0};
    for (size_t k = 0; k < inputs; k++)
        for (size_t i = 0; i < n; i++)
            all[i] += deltas[k * stride + i];
    for (size_t k = 0; k < inputs; k++) {
        const float by = weight[k];
        for (size_t i = 0; i < n; i++) {
            const float d = deltas[k * stride + i], sign = copysignf(1, all[i] + 0.0F),
                        agrees = isgreater(d * sign, 0) ? 1 : 0; /* `>` may trap, so it would be a branch */
            sums[i] += d * by * agrees;
            weights[i] += by * agrees;
        }
    }
    for (size_t i = 0; i < n; i++)
        out[i] = base[i] + sums[i] / (weights[i] > 1e-6F ? weights[i] : 1e-6F);
}

static void sce_apply(const organ_merge_task *task, const void *state, const organ_merge_strip *strip, float *out)
{
    const sce_state *const s = state;
    const size_t n = organ_merge_strip_values(strip);
    const float *const variances = differences(task, strip), *const deltas = strip->scratch;
    sce_select(task, s, strip, variances);
    for (size_t i = 0; i < n; i += SCE_TOGETHER)
        add_agreeing(deltas + i, n, task->inputs, s->weight, strip->base + i, out + i, organ_min(SCE_TOGETHER, n - i));
}

const organ_merge_method organ_merge_sce = {
    .name = "sce",
    .about = "elements that vary most between the models, weighted by their squares",
    .base = ORGAN_MERGE_BASE_REQUIRED,
    .least = 1,
    .parameters = sce_parameters,
    .parameter_count = 1,
    .check = sce_check,
    .state = sce_state_bytes,
    .scratch = sce_scratch,
    .sums = sce_sums,
    .counters = sce_counters,
    .begin = sce_begin,
    .scan = sce_scan,
    .fold = sce_fold,
    .join = sce_join,
    .next = sce_next,
    .apply = sce_apply,
};
