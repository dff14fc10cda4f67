/* SPDX-License-Identifier: MIT
 * The older measure seed/1: its sample and figures of a tensor, and its part of the report. */
#include "orchestrator/verbs/measure/z_measure.h"

#include "orchestrator/output/facts.h"
#include "orchestrator/report/schema/schema.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* BINS is the number of bins of the histogram, MIN the smallest number of values for a result. */
enum { BINS = 256, MIN = 16 };

/* ---- the sample ---- */

void organ_seed_begin(organ_seed_sample *sample, uint64_t rows, uint64_t cols, unsigned scales)
{
    memset(sample->seen, 0, sizeof sample->seen);
    memset(sample->taken, 0, sizeof sample->taken);
    sample->scales = scales < ORGAN_SEED_SCALES ? scales : ORGAN_SEED_SCALES;
    for (unsigned k = 0; k < ORGAN_SEED_SCALES; k++)
        sample->count[k] = rows * (cols >> k);
}

/* Returns the index of value i of the sample among all values of the tensor at scale 2^k. */
static uint64_t place_of(const organ_seed_sample *sample, unsigned k, uint32_t i)
{
    const uint64_t n = sample->count[k], m = n < ORGAN_SEED_VALUES ? n : ORGAN_SEED_VALUES;
    return n / m * i + n % m * i / m; /* n i / m without a product beyond 64 bits */
}

/* Sets *at to the index of the next value of the sample in the n values that come now. Returns false if there is none.
 */
static bool next_requested(const organ_seed_sample *sample, unsigned k, size_t n, size_t *at)
{
    const uint64_t max = sample->count[k] < ORGAN_SEED_VALUES ? sample->count[k] : ORGAN_SEED_VALUES;
    if (sample->taken[k] >= max)
        return false;
    *at = (size_t)(place_of(sample, k, sample->taken[k]) - sample->seen[k]);
    return *at < n;
}

void organ_seed_add(organ_seed_sample *sample, unsigned k, const float *values, size_t n)
{
    for (size_t at; next_requested(sample, k, n, &at);)
        sample->values[k][sample->taken[k]++] = values[at];
    sample->seen[k] += n;
}

void organ_seed_add_words(organ_seed_sample *sample, const uint16_t *words, size_t n,
                          void (*widen)(const uint16_t *, float *, size_t))
{
    for (size_t at; next_requested(sample, 0, n, &at);)
        widen(words + at, &sample->values[0][sample->taken[0]++], 1);
    sample->seen[0] += n;
}

/* ---- the measure ---- */

static int compare_values(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return ORGAN_ORDER(x, y);
}

typedef struct moments {
    double mean, variance, fourth;
} moments;

static moments moments_of(const float *x, size_t n)
{
    moments m = {0};
    for (size_t i = 0; i < n; i++)
        m.mean += (double)x[i];
    m.mean /= (double)n;
    for (size_t i = 0; i < n; i++) {
        const double d = (double)x[i] - m.mean, square = d * d;
        m.variance += square;
        m.fourth += square * square;
    }
    m.variance /= (double)n;
    m.fourth /= (double)n;
    return m;
}

/* The n values are sorted and not all equal. Returns their differential entropy in bits: that of a histogram of BINS
 * bins of equal width between minimum and maximum, plus log2 of the width of a bin. */
static double entropy_of(const float *x, size_t n)
{
    uint32_t counts[BINS] = {0};
    const double least = (double)x[0], width = ((double)x[n - 1] - least) / BINS;
    double h = 0;
    for (size_t i = 0; i < n; i++) {
        const double bin = floor(((double)x[i] - least) / width);
        counts[bin < BINS - 1 ? (size_t)bin : BINS - 1]++;
    }
    for (size_t b = 0; b < BINS; b++)
        if (counts[b]) {
            const double p = (double)counts[b] / (double)n;
            h -= p * log2(p);
        }
    return h + log2(width);
}

/* The n values are sorted; the lowest and the highest tenth are left out. The result is -1 if the remaining values
 * are all equal. */
static double spacing_variation(const float *x, size_t n)
{
    const size_t from = n / 10, to = n - 1 - from;
    const double mean = ((double)x[to] - (double)x[from]) / (double)(to - from);
    double square = 0;
    if (!(mean > 0))
        return -1;
    for (size_t i = from; i < to; i++) {
        const double off = ((double)x[i + 1] - (double)x[i]) - mean;
        square += off * off;
    }
    return sqrt(square / (double)(to - from)) / mean;
}

/* e follows from the entropy, k from the kurtosis, c from the spacings. `h` is the differential entropy in bits,
 * `cv` the coefficient of variation of the spacings. The negentropy is the entropy of a normal distribution of the
 * same variance, log2(2 pi e variance) / 2, minus h. */
static void compute_theta(organ_seed_z *z, const moments *m, double h, double cv)
{
    const double negentropy = fmax(0, 0.5 * log2(2 * M_PI * M_E * m->variance) - h);
    const double kurtosis = fabs(m->fourth / (m->variance * m->variance) - 3);
    z->e = 1 - exp2(-2 * negentropy);
    z->k = kurtosis / (1 + kurtosis);
    z->c = cv > 0 ? 1 - fmin(cv, 1 / cv) : 1; /* 1 - exp(-|ln cv|) */
    const double power = (z->e + z->k + z->c) / 3;
    z->theta = organ_z_theta(power);
    z->signal = sqrt(power);
}

/* The slope is that of the information (here the entropy) over the scales, up to the first that has fewer than MIN
 * values or only equal ones. The values at scale 1 are sorted already. */
static void slope_of_seed(organ_seed_z *z, organ_seed_sample *sample)
{
    organ_z levels = {0};
    for (unsigned k = 0; k < sample->scales && sample->taken[k] >= MIN; k++) {
        float *const x = sample->values[k];
        if (k > 0)
            qsort(x, sample->taken[k], sizeof *x, compare_values);
        if (!(x[sample->taken[k] - 1] > x[0]))
            break;
        levels.information[levels.scales++] = entropy_of(x, sample->taken[k]);
    }
    organ_z_slope(&levels);
    z->scales = levels.scales;
    z->dI_dlog2s = levels.dI_dlog2s;
}

organ_seed_z organ_seed_finish(organ_seed_sample *sample)
{
    float *const x = sample->values[0];
    const size_t n = sample->taken[0];
    organ_seed_z z = {0};
    if (n < MIN)
        return z;
    qsort(x, n, sizeof *x, compare_values);
    const moments m = moments_of(x, n);
    if (!(m.variance > 0) || !isfinite(m.fourth) || !(m.variance * m.variance > 0))
        return z;
    z.there = true;
    compute_theta(&z, &m, entropy_of(x, n), spacing_variation(x, n));
    slope_of_seed(&z, sample);
    return z;
}

/* ---- report: the member "seed" of an entry of organ.measure/1, in addition to z/1 ---- */

typedef struct seed_fold {
    uint64_t tensors, elements; /* number of weights and their elements */
    double theta, signal;       /* sums of theta (degrees) and signal of seed/1 */
    double weighted;            /* sum of theta of seed/1 x elements */
    double z_theta;             /* sum of theta of z/1 */
    double least, max;          /* least and greatest theta of seed/1 */
} seed_fold;

/* Returns whether the weight has figures of both measures. */
static bool has_both(const organ_z *z) { return z->done && z->seed.there && !z->reason; }

static void seed_fold_in(seed_fold *f, const organ_weight *weight, const organ_z *z)
{
    f->least = f->tensors == 0 || z->seed.theta < f->least ? z->seed.theta : f->least;
    f->max = f->tensors == 0 || z->seed.theta > f->max ? z->seed.theta : f->max;
    f->tensors++;
    f->elements += weight->elements;
    f->theta += z->seed.theta;
    f->weighted += z->seed.theta * (double)weight->elements;
    f->signal += z->seed.signal;
    f->z_theta += z->theta;
}

/* Sets a member to x rounded to six decimals; to null unless `there` is true and x is finite. */
#define SET_MILLIONTH(key, there, x) SET_REAL_OF(key, there, organ_millionth(x))

static json_t *seed_fold_json(const seed_fold *f)
{
    const bool any = f->tensors > 0;
    const double n = any ? (double)f->tensors : 1;
    return ORGAN_OBJECT(SET_COUNT("tensors", f->tensors), SET_MILLIONTH("theta_mean", any, f->theta / n),
                        SET_MILLIONTH("theta_weighted", any, f->weighted / (any ? (double)f->elements : 1)),
                        SET_MILLIONTH("theta_min", any, f->least), SET_MILLIONTH("theta_max", any, f->max),
                        SET_MILLIONTH("signal_mean", any, f->signal / n),
                        SET_MILLIONTH("z_theta_mean", any, f->z_theta / n));
}

/* A negative value matches all. A row (organ_anatomy_row) is a role outside of experts, in routed experts or in
 * shared experts. */
static seed_fold seed_fold_of(const organ_measured *m, int group, int row)
{
    seed_fold f = {0};
    for (size_t t = 0; t < m->model->tensor_count; t++) {
        const organ_weight *const weight = m->subjects->weight_of[t];
        if (weight && has_both(&m->z[t]) && (group < 0 || (int)weight->anatomy.group == group) &&
            (row < 0 || (int)organ_anatomy_row(&weight->anatomy) == row))
            seed_fold_in(&f, weight, &m->z[t]);
    }
    return f;
}

static json_t *seed_role_json(const void *m, size_t row)
{
    const seed_fold f = seed_fold_of(m, /*group=*/-1, (int)row);
    return f.tensors ? organ_json_joined(ORGAN_OBJECT(SET_TEXT("role", organ_anatomy_row_name((unsigned)row))),
                                         seed_fold_json(&f))
                     : NULL;
}

static json_t *seed_group_json(const void *m, size_t group)
{
    const seed_fold f = seed_fold_of(m, (int)group, /*row=*/-1);
    return f.tensors ? organ_json_joined(ORGAN_OBJECT(SET_TEXT("group", organ_group_name((organ_group)group))),
                                         seed_fold_json(&f))
                     : NULL;
}

static json_t *seed_tensor_json(const void *context, size_t t)
{
    const organ_measured *const m = context;
    const organ_weight *const weight = m->subjects->weight_of[t];
    const organ_z *const z = &m->z[t];
    const organ_seed_z *const s = &z->seed;
    if (!weight || !z->done)
        return NULL;
    return ORGAN_OBJECT(SET_BYTES("name", weight->name), SET_MILLIONTH("theta", s->there, s->theta),
                        SET_MILLIONTH("z_theta", !z->reason, z->theta), SET_MILLIONTH("E", s->there, s->e),
                        SET_MILLIONTH("K", s->there, s->k), SET_MILLIONTH("C", s->there, s->c),
                        SET_MILLIONTH("signal", s->there, s->signal),
                        SET_MILLIONTH("dI_dlog2s", s->scales >= 2, s->dI_dlog2s), SET_COUNT("scales", s->scales));
}

json_t *organ_measure_seed_json(const organ_measured *m)
{
    const seed_fold all = seed_fold_of(m, /*group=*/-1, /*row=*/-1);
    json_t *const rest = ORGAN_OBJECT(SET("roles", organ_anatomy_rows_json(seed_role_json, m)),
                                      SET("groups", organ_json_rows(ORGAN_GROUP_OTHER + 1, seed_group_json, m)),
                                      SET("per_tensor", organ_json_rows(m->model->tensor_count, seed_tensor_json, m)));
    return organ_json_joined(
        organ_json_joined(ORGAN_OBJECT(SET_TEXT("definition", ORGAN_SEED_DEFINITION)), seed_fold_json(&all)), rest);
}

void organ_measure_seed_define(json_t *report)
{
    ORGAN_OWNED_JSON json_t *const sentences = organ_sentences("organ.measure/1", "seed", NULL);
    json_array_extend(json_object_get(report, "definitions"), sentences);
}
