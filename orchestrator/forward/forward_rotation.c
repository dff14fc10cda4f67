/* SPDX-License-Identifier: MIT
 * Rotary positions. Angles are products of FP32 numbers, as the models were trained with. */
#include "orchestrator/forward/forward_job.h"
#include "orchestrator/stream/weight_reader.h"

#include <math.h>
#include <stdlib.h>

#define PI 3.14159265358979323846

static float llama3(const organ_rope_config *rope, float frequency)
{
    const double original = (double)rope->original_context, length = 2 * PI / (double)frequency;
    if (length < original / rope->high_freq_factor)
        return frequency;
    if (length > original / rope->low_freq_factor)
        return (float)((double)frequency / rope->factor);
    const double smooth = (original / length - rope->low_freq_factor) / (rope->high_freq_factor - rope->low_freq_factor);
    return (float)((1 - smooth) * (double)frequency / rope->factor + smooth * (double)frequency);
}

/* The dimension that turns so many times over the original context. */
static double yarn_dimension(const organ_rope_config *rope, double turns)
{
    return rope->dimensions * log((double)rope->original_context / (turns * 2 * PI)) / (2 * log(rope->theta));
}

static float yarn(const organ_rope_config *rope, float frequency, unsigned k)
{
    double low = yarn_dimension(rope, rope->beta_fast), high = yarn_dimension(rope, rope->beta_slow);
    if (!rope->exact_range) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, rope->dimensions - 1.0);
    if (low == high)
        high += 0.001;
    const double ramp = fmin(fmax((k - low) / (high - low), 0), 1);
    return (float)((double)frequency / rope->factor * ramp + (double)frequency * (1 - ramp));
}

/* GGUF files of Llama 3 carry what the frequencies are divided by. */
static organ_status divide_frequencies(const organ_forward *f, forward_rotation *rotation, organ_error *error)
{
    const char *name = "rope_freqs.weight";
    if (!f->model->gguf || !organ_weights_named(f->weights, name))
        return ORGAN_OK;
    const organ_weight *weight = organ_forward_weight_named(f, name, 0, rotation->half, error);
    organ_weight_reader *reader = NULL;
    if (!weight || organ_weight_reader_open(f->model, weight, f->engine->kernels, NULL, &reader, error))
        return error->status;
    float *factors = organ_forward_floats(rotation->half, error);
    float *scratch = organ_forward_floats(organ_weight_reader_scratch(reader, 1) / sizeof(float), error);
    if (factors && scratch && organ_weight_read(reader, 0, 1, ORGAN_F32, factors, scratch, error) == ORGAN_OK)
        for (size_t k = 0; k < rotation->half; k++)
            rotation->frequencies[k] /= factors[k];
    free(factors);
    free(scratch);
    organ_weight_reader_close(reader);
    return error->status;
}

organ_status organ_forward_rotation_open(const organ_forward *forward, const organ_rope_config *rope, forward_rotation *rotation,
                                         organ_error *error)
{
    rotation->half = rope->dimensions / 2;
    rotation->scale = (float)rope->attention_factor;
    if (!(rotation->frequencies = organ_forward_floats(rotation->half, error)))
        return error->status;
    for (unsigned k = 0; k < rotation->half; k++) {
        const float frequency = 1.0f / powf((float)rope->theta, (float)(2 * k) / (float)rope->dimensions);
        rotation->frequencies[k] = rope->kind == ORGAN_ROPE_LINEAR   ? frequency / (float)rope->factor
                                   : rope->kind == ORGAN_ROPE_LLAMA3 ? llama3(rope, frequency)
                                   : rope->kind == ORGAN_ROPE_YARN   ? yarn(rope, frequency, k)
                                                                     : frequency;
    }
    return rope == &forward->config.rope ? divide_frequencies(forward, rotation, error) : ORGAN_OK;
}

organ_status organ_forward_rotation_reach(forward_rotation *rotation, size_t positions, organ_error *error)
{
    if (positions <= rotation->positions)
        return ORGAN_OK;
    float *cosines = organ_forward_floats(positions * rotation->half, error),
          *sines = organ_forward_floats(positions * rotation->half, error);
    if (!cosines || !sines) {
        free(cosines);
        free(sines);
        return error->status;
    }
    for (size_t p = 0; p < positions; p++)
        for (size_t k = 0; k < rotation->half; k++) {
            const float angle = (float)p * rotation->frequencies[k];
            cosines[p * rotation->half + k] = cosf(angle) * rotation->scale;
            sines[p * rotation->half + k] = sinf(angle) * rotation->scale;
        }
    free(rotation->cosines);
    free(rotation->sines);
    rotation->cosines = cosines;
    rotation->sines = sines;
    rotation->positions = positions;
    return ORGAN_OK;
}

void organ_forward_rotation_close(forward_rotation *rotation)
{
    free(rotation->frequencies);
    free(rotation->cosines);
    free(rotation->sines);
}
