/* SPDX-License-Identifier: MIT
 * Reads a tensor twice, strip by strip: for the moments at every scale, then for the histograms. A strip has at most
 * ORGAN_Z_STRIP values, which fit in the first-level cache, and begins at a multiple of 16 within its row, so that the
 * pairwise means at all scales need no value of another strip. */
#include "orchestrator/verbs/measure/z_measure.h"

#include "orchestrator/stream/product.h"

#include <math.h>
#include <string.h>

#define STRIP  ORGAN_Z_STRIP
#define SCALES 5  /* scales 1, 2, 4, 8, 16 */
#define MIN    16 /* fewest values for a result */

/* Bytes of the buffers of organ_z_scratch: values and means (of all scales together fewer than the values), codes, and
 * levels. */
#define VALUES_BYTES (2 * STRIP * sizeof(float))
#define CODES_BYTES  (65536 * sizeof(uint64_t))
#define LEVELS_BYTES (ORGAN_Z_LEVEL_SLOTS * sizeof(uint32_t))

size_t organ_z_scratch_fixed_bytes(void) { return VALUES_BYTES + CODES_BYTES + LEVELS_BYTES; }

organ_z_scratch organ_z_scratch_divide(void *memory, size_t bytes)
{
    char *at = memory;
    organ_z_scratch scratch = {.window_bytes = bytes - organ_z_scratch_fixed_bytes()};
    scratch.values = (float *)(void *)at;
    scratch.codes = (uint64_t *)(void *)(at += VALUES_BYTES);
    scratch.levels.slots = (uint32_t *)(void *)(at += CODES_BYTES);
    scratch.window = at + LEVELS_BYTES;
    return scratch;
}

typedef struct z_tensor_scan {
    organ_z_source source;
    const organ_kernels *kernels;
    organ_z_scratch *scratch;
    uint64_t cols; /* elements of a row */
    /* The tensor is read as one row: there is one row, or averaging in groups of up to 16 values never crosses rows. */
    bool flat;
    unsigned scales; /* number of scales for which rows are long enough */
    /* Converts 16-bit floats to FP32; such tensors are counted by code. NULL: the tensor has another type. */
    void (*widen)(const uint16_t *, float *, size_t);
    /* Mean and sum of squared deviations at each scale; those of scale 1 are copied from the moments. */
    organ_spread spreads[SCALES];
    uint64_t bins[SCALES][4 * ORGAN_Z_BINS]; /* histogram at each scale, in four parts (organ_kernels.z_bins) */
} z_tensor_scan;

/* A strip is rows x cols elements from element `start` on: whole rows, a part of one row, or of a flat tensor any
 * values, as one row. */
typedef struct z_tensor_strip {
    uint64_t start;
    size_t rows, cols;
} z_tensor_strip;

static z_tensor_strip strip_at(const z_tensor_scan *s, uint64_t start)
{
    const uint64_t remaining = s->source.elements - start;
    if (s->flat)
        return (z_tensor_strip){start, 1, remaining < STRIP ? (size_t)remaining : STRIP};
    if (s->cols <= STRIP) {
        const uint64_t rows = remaining / s->cols, max = STRIP / s->cols;
        return (z_tensor_strip){start, (size_t)(rows < max ? rows : max), (size_t)s->cols};
    }
    const uint64_t row = s->cols - start % s->cols;
    return (z_tensor_strip){start, 1, row < STRIP ? (size_t)row : STRIP};
}

/* values[k] has the n[k] values of scale 2^k. For 16-bit floats values[0] is NULL, because their codes are counted
 * instead. */
typedef struct pyramid {
    const float *values[SCALES];
    size_t n[SCALES];
} pyramid;

/* `from` has the FP32 values of the scale before or, for scale = 1 of 16-bit floats, the stored values. */
static void average_pairs(const z_tensor_scan *s, unsigned scale, const void *from, float *to, size_t n)
{
    if (scale > 1 || !s->widen)
        s->kernels->pair_means_f32(from, to, n);
    else if (s->source.dtype == ORGAN_BF16)
        s->kernels->pair_means_bf16(from, to, n);
    else
        s->kernels->pair_means_f16(from, to, n);
}

/* The values of scale 2^k are the means of neighbouring values of scale 2^(k - 1) in the same row. An odd last value
 * of a row is dropped, so rows of odd length are averaged one at a time, rows of even length all at once. `units` is
 * the strip as read by organ_z_source_at, `count` blocks of its type. */
static pyramid make_pyramid(const z_tensor_scan *s, const z_tensor_strip *t, const void *units, size_t count)
{
    float *to = s->scratch->values;
    const char *from = units;
    size_t cols = t->cols, size = sizeof(uint16_t);
    pyramid p = {.n = {t->rows * t->cols}};
    if (!s->widen) {
        organ_widen(s->kernels, s->source.dtype, units, to, count);
        p.values[0] = to;
        from = (const char *)to;
        to += STRIP;
        size = sizeof(float);
    }
    for (unsigned k = 1; k < s->scales; k++) {
        const size_t half = cols / 2, rows = cols % 2 ? t->rows : 1, pairs = cols % 2 ? half : t->rows * half;
        for (size_t r = 0; r < rows; r++)
            average_pairs(s, k, from + r * cols * size, to + r * half, pairs);
        p.values[k] = to;
        p.n[k] = t->rows * half;
        from = (const char *)to;
        to += p.n[k];
        cols = half;
        size = sizeof(float);
    }
    return p;
}

/* The sample is that of the older measure seed/1. `units` has the values of the strip in their stored type. */
static void sample_strip(const z_tensor_scan *s, const pyramid *p, const void *units)
{
    organ_seed_sample *const sample = s->scratch->sample;
    if (sample && s->widen)
        organ_seed_add_words(sample, units, p->n[0], s->widen);
    for (unsigned k = s->widen ? 1 : 0; sample && k < s->scales; k++)
        organ_seed_add(sample, k, p->values[k], p->n[k]);
}

/* Moments of 16-bit types are computed from the counts of their 65,536 codes. */
static organ_status scan_moments(z_tensor_scan *s, organ_z *z, organ_error *error)
{
    z->moments = (organ_moments){.min = INFINITY, .max = -INFINITY};
    if (s->widen)
        memset(s->scratch->codes, 0, CODES_BYTES);
    else
        organ_z_levels_begin(&s->scratch->levels, s->source.elements);
    for (uint64_t at = 0; at < s->source.elements;) {
        const z_tensor_strip t = strip_at(s, at);
        size_t count;
        const void *units = organ_z_source_at(&s->source, at, t.rows * t.cols, &count, error);
        if (!units)
            return error->status;
        const pyramid p = make_pyramid(s, &t, units, count);
        if (s->widen) {
            s->kernels->count_codes(units, count, s->scratch->codes);
        } else {
            organ_moments part;
            s->kernels->moments_f32(p.values[0], p.n[0], &part);
            organ_moments_merge(&z->moments, &part);
            organ_z_levels_add(&s->scratch->levels, p.values[0], p.n[0]);
        }
        sample_strip(s, &p, units);
        for (unsigned k = 1; k < s->scales; k++) {
            organ_spread part;
            s->kernels->spread(p.values[k], p.n[k], &part);
            organ_spread_merge(&s->spreads[k], &part);
        }
        at += t.rows * t.cols;
    }
    z->levels = s->scratch->levels.count;
    if (s->widen)
        organ_z_codes_moments(s->scratch->codes, s->widen, z);
    return ORGAN_OK;
}

/* The standard deviation is that of the population. */
static double std_of(const organ_spread *spread) { return sqrt(spread->m2 / (double)spread->n); }

/* There are ORGAN_Z_BINS_PER_STD bins to a standard deviation of the scale. 16-bit types at scale 1 are binned from
 * the counts of their codes, so with one scale nothing is read. */
static organ_status scan_bins(z_tensor_scan *s, organ_error *error)
{
    for (uint64_t at = 0; at < s->source.elements && !(s->widen && s->scales == 1);) {
        const z_tensor_strip t = strip_at(s, at);
        size_t count;
        const void *units = organ_z_source_at(&s->source, at, t.rows * t.cols, &count, error);
        if (!units)
            return error->status;
        const pyramid p = make_pyramid(s, &t, units, count);
        for (unsigned k = s->widen ? 1 : 0; k < s->scales; k++)
            s->kernels->z_bins(p.values[k], p.n[k], s->spreads[k].mean, std_of(&s->spreads[k]), s->bins[k]);
        at += t.rows * t.cols;
    }
    if (s->widen)
        organ_z_codes_bins(s->scratch->codes, s->widen, s->spreads[0].mean, std_of(&s->spreads[0]), s->bins[0]);
    return ORGAN_OK;
}

/* The scales end before the first one that has fewer than MIN values, or only equal values, or values that are not
 * finite. */
static void cut_scales(z_tensor_scan *s)
{
    unsigned k = 0;
    while (k < s->scales && s->spreads[k].n >= MIN && isfinite(s->spreads[k].m2) && std_of(&s->spreads[k]) > 0)
        k++;
    s->scales = k;
}

static const char *why_no_theta(const organ_z *z)
{
    if (z->moments.nan + z->moments.inf > 0)
        return "it has values that are not finite";
    if (z->moments.n < MIN)
        return "it has fewer than 16 elements";
    if (!(z->moments.m2 > 0))
        return "all its values are equal";
    return !isfinite(z->std) || !(z->std > 0) || !isfinite(z->kurtosis) ? "its moments exceed FP64" : NULL;
}

static const uint64_t *sum_of_four(uint64_t counts[4 * ORGAN_Z_BINS])
{
    for (size_t b = ORGAN_Z_BINS; b < 4 * ORGAN_Z_BINS; b++)
        counts[b % ORGAN_Z_BINS] += counts[b];
    return counts;
}

/* The first pass gives the moments, which determine the bins; the second fills the bins, from which the shape and
 * the information at each scale follow. */
static organ_status scan(z_tensor_scan *s, organ_z *z, organ_error *error)
{
    if (scan_moments(s, z, error) != ORGAN_OK)
        return error->status;
    const organ_moments *m = &z->moments;
    s->spreads[0] = (organ_spread){m->n, m->mean, m->m2};
    z->std = m->n > 0 ? std_of(&s->spreads[0]) : 0;
    z->kurtosis = m->m2 > 0 ? (double)m->n * m->m4 / (m->m2 * m->m2) - 3 : 0;
    if ((z->reason = why_no_theta(z)))
        return ORGAN_OK;
    cut_scales(s);
    if (scan_bins(s, error) != ORGAN_OK)
        return error->status;
    z->scales = s->scales;
    for (unsigned k = 0; k < s->scales; k++) {
        const organ_z_shape shape = organ_z_shape_of(s->kernels, sum_of_four(s->bins[k]), s->spreads[k].n);
        z->information[k] = shape.h + log2(std_of(&s->spreads[k]));
        if (k == 0)
            organ_z_judge(z, shape);
    }
    organ_z_slope(z);
    if (s->scratch->sample)
        z->seed = organ_seed_finish(s->scratch->sample);
    return ORGAN_OK;
}

static const char *why_unread(const organ_weight *weight)
{
    if (weight->elements == 0)
        return "it has no elements";
    return organ_z_decoded_type(weight) == ORGAN_DTYPE_COUNT && !organ_can_widen(weight->codes->dtype)
               ? "values of its type cannot be read"
               : NULL;
}

void organ_z_reason(const organ_weight *weight, organ_z *z)
{
    if (!z->done || !weight)
        return;
    z->reason = why_unread(weight);
    z->reason = z->reason ? z->reason : why_no_theta(z);
}

/* Each further scale has the means of neighbouring pairs of the one before, while rows are long enough. */
organ_status organ_z_tensor(const organ_model *model, const organ_weight *weight, const organ_kernels *kernels,
                            const organ_stop *stop, organ_z_scratch *scratch, organ_z *z, organ_error *error)
{
    const uint64_t cols = organ_weight_matrices(weight).cols;
    z_tensor_scan s = {.kernels = kernels, .scratch = scratch, .cols = cols, .scales = 1};
    *z = (organ_z){.done = true};
    if ((z->reason = why_unread(weight)))
        return ORGAN_OK;
    /* A row shorter than 16 values is averaged at most as a whole (s.scales), so 16 % cols == 0 is enough. */
    s.flat = cols % 16 == 0 || 16 % cols == 0 || cols == weight->elements;
    while (s.scales < SCALES && cols >> s.scales > 0)
        s.scales++;
    if (scratch->sample)
        organ_seed_begin(scratch->sample, weight->elements / cols, cols, s.scales);
    if (organ_z_source_open(&s.source, model, weight, kernels, stop, scratch->window, scratch->window_bytes, error) ==
        ORGAN_OK) {
        if (s.source.dtype == ORGAN_BF16 || s.source.dtype == ORGAN_F16)
            s.widen = s.source.dtype == ORGAN_BF16 ? kernels->bf16_to_f32 : kernels->f16_to_f32;
        scan(&s, z, error);
    }
    organ_z_source_close(&s.source);
    return error->status;
}
