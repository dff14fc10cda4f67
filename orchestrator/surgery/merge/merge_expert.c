/* SPDX-License-Identifier: MIT
 * The matrices of experts of a composed mixture: those of a dense model, with noise and a factor of their own. */
#include "orchestrator/surgery/merge/merge_parts.h"

#include "orchestrator/surgery/calibration/calibration.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define NOISE_BLOCK ((size_t)512)

/* The value of a matrix of the stack; a tensor of a single expert is one matrix. */
static double value_of(const organ_merge_task *task, size_t parameter, uint64_t matrix)
{
    return task->values[parameter * task->shape.count + matrix];
}

static bool has_noise(const organ_merge_task *task)
{
    bool any = false;
    for (uint64_t m = 0; m < task->shape.count; m++)
        any |= value_of(task, ORGAN_MIXTURE_NOISE, m) > 0;
    return any;
}

/* The state is the table of normal numbers, if there is noise. */
static size_t mixture_state(const organ_merge_task *task)
{
    return has_noise(task) ? ORGAN_NORMAL_LEVELS * sizeof(float) : 0;
}

static void mixture_begin(const organ_merge_task *task, void *state)
{
    if (has_noise(task))
        organ_normal_levels_fill(state);
}

void organ_merge_add_normal(const organ_kernels *kernels, uint64_t seed, uint64_t stream, uint64_t first, float scale,
                            const float *levels, float *values, size_t n)
{
    float uniform[NOISE_BLOCK];
    for (size_t from = 0; from < n; from += NOISE_BLOCK) {
        const size_t count = n - from < NOISE_BLOCK ? n - from : NOISE_BLOCK;
        kernels->philox_uniform(seed, stream, first + from, uniform, count);
        for (size_t i = 0; i < count; i++)
            values[from + i] += scale * levels[(size_t)((uniform[i] + 1) * (ORGAN_NORMAL_LEVELS / 2))];
    }
}

uint64_t organ_merge_stream_of(const char *name) { return XXH3_64bits(name, strlen(name)); }

/* (x + noise) * scale, in FP32. */
static void mixture_apply(const organ_merge_task *task, const void *state, const organ_merge_strip *strip, float *out)
{
    const size_t n = organ_merge_strip_values(strip);
    const uint64_t matrix = strip->first / task->shape.rows;
    const float noise = (float)value_of(task, ORGAN_MIXTURE_NOISE, matrix),
                scale = (float)value_of(task, ORGAN_MIXTURE_SCALE, matrix);
    memcpy(out, strip->input[0], n * sizeof *out);
    if (noise > 0)
        organ_merge_add_normal(task->kernels, task->seed, organ_merge_stream_of(task->name), strip->first * strip->cols,
                               noise, state, out, n);
    for (size_t i = 0; i < n && scale != 1; i++)
        out[i] *= scale;
}

const organ_merge_method organ_merge_mixture = {
    .name = "mixture",
    .about = "feed-forwards of dense models as the experts of a mixture",
    .base = ORGAN_MERGE_BASE_INPUT,
    .least = 1,
    .state = mixture_state,
    .begin = mixture_begin,
    .apply = mixture_apply,
};
