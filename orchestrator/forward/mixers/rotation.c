/* SPDX-License-Identifier: MIT
 * Rotary position embeddings. Angles are products of FP32 numbers, like in the training code of the models: FP64
 * would give other angles at large positions. */
#include "formats/architecture/families.h"
#include "orchestrator/forward/forward_parts.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PI 3.14159265358979323846
/* New rows of a table are computed in multiples of this number, so that a growing text does not extend it for each
 * token. */
#define ROWS_AT_ONCE ((size_t)64)

/* Llama 3.1 scales a frequency by its wavelength in tokens. Shorter than original_context / high_freq_factor:
 * unchanged. At least original_context / low_freq_factor: divided by the factor. Between: interpolated. The bounds
 * are equal in Llama 4 Scout, which has nothing to interpolate. */
static float llama3_frequency(const organ_rope_config *rope, float frequency)
{
    const double original = (double)rope->original_context, length = 2 * PI / (double)frequency;
    if (length < original / rope->high_freq_factor)
        return frequency;
    if (length >= original / rope->low_freq_factor)
        return (float)((double)frequency / rope->factor);
    const double smooth =
        (original / length - rope->low_freq_factor) / (rope->high_freq_factor - rope->low_freq_factor);
    return (float)((1 - smooth) * (double)frequency / rope->factor + smooth * (double)frequency);
}

/* Returns the (fractional) number of the pair whose angle makes `turns` rotations over the original context: the
 * correction dimension of YaRN (Peng et al. 2023). */
static double yarn_pair(const organ_rope_config *rope, double turns)
{
    return rope->dimensions * log((double)rope->original_context / (turns * 2 * PI)) / (2 * log(rope->theta));
}

/* Scales the frequency of pair k as YaRN does (Peng et al. 2023, arXiv:2309.00071). Pairs that make more than beta_fast
 * turns over the original context keep their frequency. The frequencies of pairs with fewer than beta_slow turns are
 * divided by the factor. Those between are interpolated linearly in k. */
static float yarn_frequency(const organ_rope_config *rope, float frequency, unsigned k)
{
    double low = yarn_pair(rope, rope->beta_fast), high = yarn_pair(rope, rope->beta_slow);
    if (!rope->exact_range) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    /* as transformers does, although the last pair is dimensions / 2 - 1: the limit changes the slope of the ramp */
    high = fmin(high, rope->dimensions - 1.0);
    if (low == high)
        high += 0.001; /* as transformers does; avoids a division by 0 */
    const double ramp = fmin(fmax((k - low) / (high - low), 0), 1);
    return (float)((double)frequency / rope->factor * ramp + (double)frequency * (1 - ramp));
}

/* frequencies[k] = theta ^ (-2 k / dimensions). Exponent, power and reciprocal are each rounded to FP32, as in
 * training. */
static void plain_frequencies(const organ_kernels *kernels, float theta, unsigned dimensions, float *frequencies,
                              size_t half)
{
    for (size_t k = 0; k < half; k++)
        frequencies[k] = (float)(2 * k) / (float)dimensions;
    kernels->powers_of(theta, frequencies, frequencies, half);
    for (size_t k = 0; k < half; k++)
        frequencies[k] = 1.0f / frequencies[k];
}

/* ---- opening ---- */

/* A GGUF file divides the frequencies by the first `half` of `count` factors; *factors is NULL if the file does not
 * have the tensor. Returns ORGAN_BAD_INPUT if a factor is not above 0 or not finite. */
static organ_status read_factors(const organ_forward *f, const char *name, size_t half, size_t count, float **factors,
                                 organ_error *error)
{
    *factors = NULL;
    if (!f->model->gguf || !organ_weights_named(f->weights, name))
        return ORGAN_OK;
    const organ_weight *weight = organ_forward_weight_named(f, name, 0, count, error);
    if (!weight || !(*factors = organ_forward_vector(f, weight, error)))
        return error->status;
    for (size_t k = 0; k < half && !error->status; k++)
        if (!((*factors)[k] > 0) || !isfinite((*factors)[k]))
            organ_fail(error, ORGAN_BAD_INPUT, "%s: tensor '%s': factor %zu is %g, not above 0", f->model->path, name,
                       k, (double)(*factors)[k]);
    return error->status;
}

/* GGUF files of Llama 3 have rope_freqs.weight, whose factors apply to texts of any length. */
static organ_status divide_frequencies(const organ_forward *f, forward_rotation *rotation, organ_error *error)
{
    float *factors;
    if (read_factors(f, "rope_freqs.weight", rotation->half, organ_forward_divisors(f->family, rotation->rope),
                     &factors, error) == ORGAN_OK &&
        factors)
        for (size_t k = 0; k < rotation->half; k++)
            rotation->frequencies[k] /= factors[k];
    organ_forward_free(factors);
    return error->status;
}

/* The factors of rope_freqs.weight of a GGUF file divide the frequencies of the main rotation. In families whose
 * local layers use the same factors, they also divide the frequencies of the second rotation, that of local layers. */
organ_status organ_forward_rotation_open(const organ_forward *forward, const organ_rope_config *rope,
                                         forward_rotation *rotation, organ_error *error)
{
    rotation->half = rope->dimensions / 2;
    rotation->scale = (float)rope->attention_factor;
    rotation->rope = rope;
    if (!(rotation->frequencies = organ_forward_floats(rotation->half, error)))
        return error->status;
    rotation->kernels = forward->engine->kernels;
    plain_frequencies(rotation->kernels, (float)rope->theta, rope->dimensions, rotation->frequencies, rotation->half);
    for (unsigned k = 0; k < rotation->half; k++) {
        const float frequency = rotation->frequencies[k];
        if (rope->kind == ORGAN_ROPE_LINEAR)
            rotation->frequencies[k] = frequency / (float)rope->factor;
        else if (rope->kind == ORGAN_ROPE_LLAMA3)
            rotation->frequencies[k] = llama3_frequency(rope, frequency);
        else if (rope->kind == ORGAN_ROPE_YARN)
            rotation->frequencies[k] = yarn_frequency(rope, frequency, k);
        else if (rope->kind == ORGAN_ROPE_PROPORTIONAL)
            rotation->frequencies[k] = k < rope->angles ? frequency / (float)rope->factor : 0;
    }
    if (rope->kind == ORGAN_ROPE_LONGROPE && !rope->short_factors &&
        (read_factors(forward, ORGAN_ROPE_SHORT, rotation->half, rotation->half, &rotation->short_factors, error) ||
         read_factors(forward, ORGAN_ROPE_LONG, rotation->half, rotation->half, &rotation->long_factors, error)))
        return error->status;
    const bool divided = rope == &forward->config.rope || forward->family->local == LOCAL_SAME;
    return divided ? divide_frequencies(forward, rotation, error) : ORGAN_OK;
}

/* ---- tables ---- */

/* Kind 1 is longrope beyond the original context. Dynamic beyond it has the kind `tokens`, because each length has
 * other frequencies. */
size_t organ_forward_rotation_kind(const forward_rotation *rotation, size_t tokens)
{
    const organ_rope_config *const rope = rotation->rope;
    if (tokens <= rope->original_context)
        return 0;
    return rope->kind == ORGAN_ROPE_DYNAMIC ? tokens : rope->kind == ORGAN_ROPE_LONGROPE;
}

/* LongRoPE divides by its long factors if the kind is 1, else by its short ones. Dynamic NTK scaling raises theta
 * for a kind above 0, which is the length of the window. */
static float frequency_of(const forward_rotation *r, size_t kind, size_t k)
{
    const organ_rope_config *const rope = r->rope;
    if (rope->kind == ORGAN_ROPE_LONGROPE) {
        const float *const factors_of_short = rope->short_factors ? rope->short_factors : r->short_factors;
        const float *const factors_of_long = rope->long_factors ? rope->long_factors : r->long_factors;
        return r->frequencies[k] / (kind ? factors_of_long : factors_of_short)[k];
    }
    if (rope->kind != ORGAN_ROPE_DYNAMIC || kind == 0)
        return r->frequencies[k];
    /* the kind is the length of the window in tokens */
    const double growth = rope->factor * (double)kind / (double)rope->original_context - (rope->factor - 1);
    const double theta = rope->theta * pow(growth, rope->dimensions / (rope->dimensions - 2.0));
    float power = (float)(2 * k) / (float)rope->dimensions;
    r->kernels->powers_of((float)theta, &power, &power, 1);
    return 1.0f / power;
}

/* cos and sin are multiplied by the attention factor: long_attention_factor for long windows of LongRoPE if the
 * config has it, else the factor of the rotation. Angles are negative if the rotation is reversed. */
static void fill_angles(forward_rotation *r, const forward_rotation_part *part)
{
    const bool lasting = part->kind && r->rope->long_attention_factor > 0;
    const float scale = lasting ? (float)r->rope->long_attention_factor : r->scale;
    for (size_t k = 0; k < r->half; k++) {
        const float frequency = frequency_of(r, part->kind, k);
        for (size_t p = 0; p < part->positions; p++) {
            const float angle = (float)p * frequency;
            r->cosines[(part->first + p) * r->half + k] = cosf(angle) * scale;
            r->sines[(part->first + p) * r->half + k] = sinf(r->rope->reversed ? -angle : angle) * scale;
        }
    }
}

/* Discards the tables if they have more kinds of windows than FORWARD_ROTATION_PARTS, so that they do not grow
 * without limit. */
void organ_forward_rotation_begin(forward_rotation *rotation)
{
    if (rotation->part_count > FORWARD_ROTATION_PARTS)
        rotation->part_count = rotation->rows = 0;
}

static organ_status grow_tables(forward_rotation *r, size_t rows, organ_error *error)
{
    float *cosines = organ_forward_floats(rows * r->half, error), *sines = organ_forward_floats(rows * r->half, error);
    forward_rotation_part *const parts = realloc(r->parts, (r->part_count + 1) * sizeof *parts);
    r->parts = parts ? parts : r->parts;
    if (!parts)
        organ_fail_errno(error, ENOMEM, "cannot allocate rotation tables of %zu rows", rows);
    if (error->status) {
        organ_forward_free(cosines);
        organ_forward_free(sines);
        return error->status;
    }
    if (r->rows) {
        memcpy(cosines, r->cosines, r->rows * r->half * sizeof *cosines);
        memcpy(sines, r->sines, r->rows * r->half * sizeof *sines);
    }
    organ_forward_free(r->cosines);
    organ_forward_free(r->sines);
    r->cosines = cosines;
    r->sines = sines;
    r->rows = rows;
    return ORGAN_OK;
}

organ_status organ_forward_rotation_reach(forward_rotation *rotation, size_t tokens, size_t *first, organ_error *error)
{
    const size_t kind = organ_forward_rotation_kind(rotation, tokens), before = rotation->rows;
    for (size_t k = 0; k < rotation->part_count; k++)
        if (rotation->parts[k].kind == kind && rotation->parts[k].positions >= tokens) {
            *first = rotation->parts[k].first;
            return ORGAN_OK;
        }
    const size_t positions = (tokens + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE * ROWS_AT_ONCE;
    if (grow_tables(rotation, before + positions, error) != ORGAN_OK)
        return error->status;
    rotation->parts[rotation->part_count++] = (forward_rotation_part){kind, before, positions};
    fill_angles(rotation, &rotation->parts[rotation->part_count - 1]);
    *first = before;
    return ORGAN_OK;
}

void organ_forward_rotate(const forward_rotation *rotation, size_t position, bool neighbours, float *head)
{
    const float *cosines = rotation->cosines + position * rotation->half,
                *sines = rotation->sines + position * rotation->half;
    const size_t step = neighbours ? 2 : 1, apart = neighbours ? 1 : rotation->half;
    for (size_t k = 0; k < rotation->half; k++) {
        float *const pair = head + step * k;
        const float a = pair[0], b = pair[apart];
        pair[0] = a * cosines[k] - b * sines[k];
        pair[apart] = b * cosines[k] + a * sines[k];
    }
}

void organ_forward_rotation_close(forward_rotation *rotation)
{
    organ_forward_free(rotation->frequencies);
    organ_forward_free(rotation->cosines);
    organ_forward_free(rotation->sines);
    organ_forward_free(rotation->short_factors);
    organ_forward_free(rotation->long_factors);
    free(rotation->parts);
}
