/* SPDX-License-Identifier: MIT
 * RAM (arXiv 2601.13572): elements that one model changed are taken from it, elements that several changed get the mean
 * of their differences from the base. ramplus_tl enlarges the former. */
#include "orchestrator/surgery/merge/merge_parts.h"

#include <math.h>

/* `epsilon` is the last parameter of both methods. */
enum { RAM_R, RAM_ALPHA };

static const organ_merge_parameter ramplus_parameters[] = {
    [RAM_R] = ORGAN_MERGE_NUMBER("r", .1, -INFINITY, INFINITY, "strength of the enlargement"),
    [RAM_ALPHA] = ORGAN_MERGE_NUMBER("alpha", .2, 0, INFINITY,
                                     "bound of the number of shared elements over the number of single ones"),
    ORGAN_MERGE_NUMBER("epsilon", 1e-5, 0, INFINITY, "greatest difference that counts as no change"),
};

static double ram_epsilon(const organ_merge_task *task)
{
    return organ_merge_value(task, task->method->parameter_count - 1, 0);
}

typedef struct ram_state {
    float scale[ORGAN_MERGE_INPUTS]; /* of elements that only this model changed */
} ram_state;

static size_t ram_state_bytes(const organ_merge_task *task)
{
    (void)task;
    return sizeof(ram_state);
}

static void ram_begin(const organ_merge_task *task, void *state)
{
    for (size_t k = 0; k < task->inputs; k++)
        ((ram_state *)state)->scale[k] = 1;
}

/* For each model: elements that it and others changed, elements that only it changed. */
static size_t ram_counters(const organ_merge_task *task)
{
    return task->method->parameter_count > 1 ? 2 * task->inputs : 0;
}

/* Returns how many models changed element i, and sets *last to one of them. */
static size_t ram_changed(const organ_merge_task *task, const organ_merge_strip *strip, float epsilon, size_t i,
                          size_t *last)
{
    size_t changed = 0;
    for (size_t k = 0; k < task->inputs; k++)
        if (fabsf(strip->input[k][i] - strip->base[i]) > epsilon) {
            changed++;
            *last = k;
        }
    return changed;
}

static void ram_scan(const organ_merge_task *task, const void *state, unsigned pass, const organ_merge_strip *strip,
                     double *sums, uint64_t *counters)
{
    (void)state, (void)pass, (void)sums;
    const float epsilon = (float)ram_epsilon(task);
    for (size_t i = 0; i < organ_merge_strip_values(strip); i++) {
        size_t last = 0;
        const size_t changed = ram_changed(task, strip, epsilon, i, &last);
        for (size_t k = 0; k < task->inputs && changed > 1; k++)
            counters[2 * k] += fabsf(strip->input[k][i] - strip->base[i]) > epsilon;
        if (changed == 1)
            counters[2 * last + 1]++;
    }
}

static organ_status ram_next(const organ_merge_task *task, void *state, unsigned pass, uint64_t *counters, bool *again,
                             organ_error *error)
{
    (void)pass, (void)error;
    const double r = organ_merge_value(task, RAM_R, 0), alpha = organ_merge_value(task, RAM_ALPHA, 0);
    for (size_t k = 0; k < task->inputs; k++) {
        const double ratio = (double)counters[2 * k] / fmax((double)counters[2 * k + 1], ram_epsilon(task));
        ((ram_state *)state)->scale[k] = (float)(1 + r * fmin(ratio, alpha));
    }
    *again = false;
    return ORGAN_OK;
}

static void ram_apply(const organ_merge_task *task, const void *state, const organ_merge_strip *strip, float *out)
{
    const ram_state *const s = state;
    const float epsilon = (float)ram_epsilon(task);
    for (size_t i = 0; i < organ_merge_strip_values(strip); i++) {
        const float base = strip->base[i];
        size_t last = 0;
        const size_t changed = ram_changed(task, strip, epsilon, i, &last);
        float sum = 0;
        for (size_t k = 0; k < task->inputs && changed > 1; k++) {
            const float d = strip->input[k][i] - base;
            sum += fabsf(d) > epsilon ? d / (float)changed : 0;
        }
        if (changed == 1)
            sum = (strip->input[last][i] - base) * s->scale[last];
        out[i] = base + sum;
    }
}

const organ_merge_method organ_merge_ram = {
    .name = "ram",
    .about = "changes of one model as they are, changes of several as their mean",
    .base = ORGAN_MERGE_BASE_REQUIRED,
    .least = 1,
    .parameters = ramplus_parameters + 2,
    .parameter_count = 1,
    .state = ram_state_bytes,
    .begin = ram_begin,
    .apply = ram_apply,
};

const organ_merge_method organ_merge_ramplus_tl = {
    .name = "ramplus_tl",
    .about = "ram, with larger changes where one model alone made them",
    .base = ORGAN_MERGE_BASE_REQUIRED,
    .least = 1,
    .parameters = ramplus_parameters,
    .parameter_count = 3,
    .state = ram_state_bytes,
    .counters = ram_counters,
    .begin = ram_begin,
    .scan = ram_scan,
    .next = ram_next,
    .apply = ram_apply,
};
