/* SPDX-License-Identifier: MIT
 * Checks of the physarum tile: every table against scalar bit for bit, including the scratch; scalar against the
 * formula in FP64. */
#include "tests/kernels/kernel_checker.h"
#include "tests/kit/effort.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { BF16, F16, F32, TYPES };
static const size_t type_sizes[] = {2, 2, 4};

typedef struct tile {
    int type;
    size_t rows, cols, stride;
    organ_physarum_params params;
} tile;

static void run(const organ_kernels *k, const tile *t, void *weights, void *scratch, organ_prune_counts *counts)
{
    memset(counts, 0x5a, sizeof *counts);
    if (t->type == BF16)
        k->physarum_bf16(weights, t->rows, t->cols, t->stride, &t->params, scratch, counts);
    else if (t->type == F16)
        k->physarum_f16(weights, t->rows, t->cols, t->stride, &t->params, scratch, counts);
    else
        k->physarum_f32(weights, t->rows, t->cols, t->stride, &t->params, scratch, counts);
}

static void store(int type, const float *values, void *to, size_t n)
{
    if (type == BF16)
        organ_kernels_scalar->f32_to_bf16(values, to, n);
    else if (type == F16)
        organ_kernels_scalar->f32_to_f16(values, to, n);
    else
        memcpy(to, values, n * sizeof *values);
}

static size_t extent(const tile *t) { return (t->rows - 1) * t->stride + t->cols; }

static const char *describe(const tile *t, const char *what)
{
    return kernel_fault("physarum type %d, %zu x %zu, stride %zu, %d iterations, beta %g, coupling %g, gain %g: %s",
                        t->type, t->rows, t->cols, t->stride, t->params.iterations, (double)t->params.beta,
                        (double)t->params.coupling, (double)t->params.gain, what);
}

/* Returns 1 if `after` is `before` with some elements of the tile set to +0, the counts are right and the bytes between
 * rows are unchanged. */
static int is_pruning(const tile *t, const unsigned char *before, const unsigned char *after,
                      const organ_prune_counts *counts)
{
    organ_prune_counts seen = {0};
    for (size_t at = 0; at < extent(t); at++) {
        uint32_t was = 0, is = 0;
        memcpy(&was, before + at * type_sizes[t->type], type_sizes[t->type]);
        memcpy(&is, after + at * type_sizes[t->type], type_sizes[t->type]);
        if (at % t->stride >= t->cols) {
            if (was != is)
                return 0;
        } else if ((was & (t->type == F32 ? 0x7fffffff : 0x7fff)) == 0) {
            seen.zero_before++;
            if (is != 0 && is != was)
                return 0;
        } else {
            seen.kept += is == was;
            seen.killed += is == 0;
        }
    }
    return memcmp(&seen, counts, sizeof seen) == 0 && seen.zero_before + seen.killed + seen.kept == t->rows * t->cols;
}

/* The results of a run: counts, and digests of weights and scratch. */
typedef struct outcome {
    organ_prune_counts counts;
    uint64_t weights, scratch;
} outcome;

static outcome outcome_of(const organ_prune_counts *counts, const guarded *weights, const guarded *scratch)
{
    return (outcome){*counts, XXH3_64bits(weights->data, weights->bytes), XXH3_64bits(scratch->data, scratch->bytes)};
}

/* Makes the buffers of a run, which end at a guard; the scratch always contains the same random bytes. */
static guarded create_scratch(const tile *t)
{
    return guarded_create(organ_physarum_scratch(t->rows, t->cols), GUARD_BEHIND, 2);
}

static outcome scalar_outcome(const tile *t, const float *values)
{
    guarded weights = guarded_create(extent(t) * type_sizes[t->type], GUARD_BEHIND, 1), scratch = create_scratch(t);
    organ_prune_counts counts;
    store(t->type, values, weights.data, extent(t));
    run(organ_kernels_scalar, t, weights.data, scratch.data, &counts);
    const outcome made = outcome_of(&counts, &weights, &scratch);
    guarded_destroy(&weights), guarded_destroy(&scratch);
    return made;
}

/* Compares the table with the scalar one on these weights. */
static const char *check_like(const organ_kernels *k, const tile *t, const float *values, const outcome *expected)
{
    const size_t bytes = extent(t) * type_sizes[t->type];
    guarded mine = guarded_create(bytes, t->rows % 2 ? GUARD_BEHIND : GUARD_BEFORE, 1), scratch = create_scratch(t);
    guarded before = guarded_create(bytes, GUARD_BEHIND, 3); /* not on the heap: a kernel may fault */
    organ_prune_counts counts;
    const char *fault = NULL;
    store(t->type, values, before.data, extent(t));
    memcpy(mine.data, before.data, bytes);
    run(k, t, mine.data, scratch.data, &counts);
    const outcome made = outcome_of(&counts, &mine, &scratch);
    if (made.weights != expected->weights || memcmp(&counts, &expected->counts, sizeof counts) != 0)
        fault = describe(t, "not the bits of scalar");
    else if (made.scratch != expected->scratch)
        fault = describe(t, "food, tubes, sums or pulls are not the bits of scalar");
    else if (!guarded_intact(&mine, 1) || !guarded_intact(&scratch, 2))
        fault = describe(t, "wrote around the buffers");
    else if (counts.nonfinite == 0 && !is_pruning(t, before.data, mine.data, &counts))
        fault = describe(t, "not a pruning of what was there, or counted wrong");
    else if (counts.nonfinite > 0 && memcmp(before.data, mine.data, bytes) != 0)
        fault = describe(t, "touched a tile that is not finite");
    guarded_destroy(&before), guarded_destroy(&mine), guarded_destroy(&scratch);
    return fault;
}

static const char *check_same(const organ_kernels *k, const tile *t, const float *values)
{
    const outcome expected = scalar_outcome(t, values);
    return check_like(k, t, values, &expected);
}

const char *check_physarum_same(const organ_kernels *k)
{
    static const size_t shapes[][2] = {{1, 1},    {1, 5},     {1, 16},    {1, 17},   {1, 300}, {5, 1},
                                       {300, 1},  {16, 16},   {17, 31},   {33, 64},  {15, 65}, {31, 159},
                                       {64, 129}, {100, 240}, {256, 256}, {250, 201}};
    static const organ_physarum_params params[] = {{30, 2, 1, 6},      {0, 2, 1, 6},    {1, 2, 0, 6},
                                                   {5, 2, 0.7f, 2.5f}, {4, 1.7f, 1, 6}, {3, 3.5f, 2, 40}};
    static float values[256 * 260];
    const size_t step = sampled_unless_all(1, 5, 5); /* the first and the last parameters */
    const char *fault = NULL;
    samples random = {5};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int type = 0; type < TYPES; type++)
            for (size_t p = 0; p < sizeof params / sizeof *params && !fault; p += step) {
                const tile t = {type, shapes[s][0], shapes[s][1], shapes[s][1] + 3 * (p % 2), params[p]};
                if (shapes[s][0] * shapes[s][1] > 20000 && p > 0 && type != BF16) /* the reference is slow */
                    continue;
                samples_fill(&random, (enum sample_shape)(samples_bits(&random) % SAMPLE_SHAPES), values, extent(&t));
                for (size_t j = 0; j < extent(&t); j += 29)
                    values[j] = j % 2 ? 0.0f : -0.0f;
                fault = check_same(k, &t, values);
            }
    return fault;
}

/* Compares with the formula in FP64: only weights whose conductivity is within rounding of the threshold may differ, 2
 * in 10,000. */
static const char *check_flow(const organ_kernels *k, const tile *t, enum sample_shape shape)
{
    static float values[256 * 256], after[256 * 256];
    static unsigned char keep[256 * 256];
    const size_t n = t->rows * t->cols;
    samples random = {11 + shape};
    organ_prune_counts counts;
    size_t different = 0;
    void *scratch = aligned_alloc(64, organ_physarum_scratch(t->rows, t->cols));
    if (!scratch)
        abort();
    samples_fill(&random, shape, values, n);
    memcpy(after, values, n * sizeof *values);
    run(k, t, after, scratch, &counts);
    reference_physarum(values, t->rows, t->cols, t->stride, &t->params, keep);
    for (size_t j = 0; j < n; j++)
        different += (after[j] != 0) != keep[j];
    free(scratch);
    return different * 10000 > 2 * n ? describe(t, "does not follow the formula") : NULL;
}

const char *check_physarum_flow(const organ_kernels *k)
{
    static const tile tiles[] = {{F32, 256, 256, 256, {30, 2, 1, 6}},
                                 {F32, 256, 64, 64, {30, 2, 1, 6}},
                                 {F32, 200, 77, 77, {30, 2, 0, 6}},
                                 {F32, 100, 256, 256, {10, 2, 0.5f, 9}},
                                 {F32, 64, 100, 100, {10, 1.5f, 1, 6}}};
    /* The other tables have the bits of scalar. */
    const int step = (int)(k == organ_kernels_scalar ? sampled(1, SAMPLE_SHAPES)
                                                     : sampled_unless_all(1, SAMPLE_SHAPES, SAMPLE_SHAPES));
    const char *fault = NULL;
    for (size_t s = 0; s < sizeof tiles / sizeof *tiles; s++)
        for (int shape = 0; shape < SAMPLE_SHAPES && !fault; shape += step)
            fault = check_flow(k, &tiles[s], (enum sample_shape)shape);
    return fault;
}

/* Checks a tile in which one weight differs from all `others`. */
static const char *check_odd_one(const organ_kernels *k, tile t, float others, float odd)
{
    static float values[64 * 64];
    for (size_t j = 0; j < extent(&t); j++)
        values[j] = others;
    values[extent(&t) / 2] = odd;
    return check_same(k, &t, values);
}

const char *check_physarum_edges(const organ_kernels *k)
{
    static const float odd[] = {0, -0.0f, 1, 0x1p-149f, 0x1p-126f, 1e-30f, 3.4e38f, -3.4e38f, INFINITY, -INFINITY, NAN};
    static const float others[] = {0, -0.0f, 1, 0x1p-149f, 0x1p-130f, 3.4e38f, NAN};
    static const organ_physarum_params params[] = {{30, 2, 1, 6},    {300, 2, 1, 6},     {3, 2, 100, 6},
                                                   {3, 2, 1, 1e38f}, {3, 40, 50, 1e30f}, {3, 0.01f, 1, 1e-30f}};
    static const size_t shapes[][2] = {{1, 1}, {3, 20}, {40, 33}};
    const size_t step = sampled_unless_all(1, 3, 3);
    const char *fault = NULL;
    for (size_t p = 0; p < sizeof params / sizeof *params; p++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
            for (size_t a = 0; a < sizeof others / sizeof *others; a++)
                for (size_t b = (p + s + a) % step; b < sizeof odd / sizeof *odd && !fault; b += step) {
                    const int type = (int)(p + s + a + b) % TYPES;
                    fault = check_odd_one(k, (tile){type, shapes[s][0], shapes[s][1], shapes[s][1], params[p]},
                                          others[a], odd[b]);
                }
    return fault;
}

const char *check_physarum_large(const organ_kernels *k)
{
    enum { PERIOD = 77777 }; /* samples with a period, in which no two rows are equal */
    static outcome expected; /* equal for every table */
    static int known;
    const size_t side = sampled_unless_all(4096, 1024, 1024);
    const tile t = {BF16, side, side, side, {2, 2, 1, 6}};
    float *values = malloc(sizeof *values * side * side);
    samples random = {9};
    if (!values)
        abort();
    samples_fill(&random, UNIFORM, values, PERIOD);
    for (size_t at = PERIOD; at < side * side; at++)
        values[at] = values[at - PERIOD];
    values[12345] = 3e30f; /* this weight carries the whole flow */
    if (!known++)
        expected = scalar_outcome(&t, values);
    const char *fault = check_like(k, &t, values, &expected);
    free(values);
    return fault;
}
