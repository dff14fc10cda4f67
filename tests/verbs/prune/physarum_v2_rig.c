/* SPDX-License-Identifier: MIT */
#include "tests/verbs/prune/physarum_v2_rig.h"

#include "orchestrator/solve/algebra.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LATENT = 40, NOISE_LAYER = 3, NOISE_SEED = 5 };

static float *numbers(size_t n)
{
    float *values = calloc(n, sizeof *values);
    ck_assert_ptr_nonnull(values);
    return values;
}

static float *drawn(uint64_t stream, size_t n)
{
    float *values = numbers(n);
    organ_philox_uniform(11, stream, 0, values, n);
    return values;
}

static void make_inputs(layer *l)
{
    float *latent = drawn(1, LAYER_TOKENS * LATENT), *mix = drawn(2, LATENT * LAYER_COLS),
          *own = drawn(3, LAYER_TOKENS * LAYER_COLS);
    float *scales = drawn(4, LAYER_COLS), *gaps = drawn(5, LAYER_TOKENS * LAYER_COLS), *means = drawn(6, LAYER_COLS);
    for (size_t t = 0; t < LAYER_TOKENS; t++)
        for (size_t j = 0; j < LAYER_COLS; j++) {
            const size_t at = t * LAYER_COLS + j;
            const double scale = exp2(2 * (double)scales[j]);
            double x = 0;
            for (size_t k = 0; k < LATENT; k++)
                x += (double)latent[t * LATENT + k] * (double)mix[k * LAYER_COLS + j];
            x = (x + (double)own[at] + 2 * (double)means[j]) * scale;
            l->inputs[at] = j == LAYER_DEAD ? 0.0f : (float)x;
            l->donor[at] = j == LAYER_DEAD ? 0.0f : (float)(x + 0.25 * scale * (double)gaps[at]);
        }
    float *const parts[] = {latent, mix, own, scales, gaps, means};
    for (size_t k = 0; k < sizeof parts / sizeof *parts; k++)
        free(parts[k]);
}

layer make_layer(void)
{
    layer l = {numbers(LAYER_WEIGHTS), numbers((size_t)LAYER_TOKENS * LAYER_COLS),
               numbers((size_t)LAYER_TOKENS * LAYER_COLS)};
    float *a = drawn(7, LAYER_WEIGHTS), *b = drawn(8, LAYER_WEIGHTS);
    for (size_t k = 0; k < LAYER_WEIGHTS; k++)
        l.weights[k] = (float)(0.05 * (double)a[k] * (double)b[k]);
    free(a);
    free(b);
    make_inputs(&l);
    return l;
}

void free_layer(layer *l)
{
    free(l->weights);
    free(l->inputs);
    free(l->donor);
}

organ_engine make_engine(size_t threads, uint64_t memory)
{
    organ_error error = {0};
    organ_topology *topology;
    organ_workers *workers;
    const char *why;
    ck_assert_msg(organ_topology_discover(&topology, &error) == ORGAN_OK, "%s", error.message);
    ck_assert_msg(organ_workers_create(topology, threads, &workers, &error) == ORGAN_OK, "%s", error.message);
    return (organ_engine){.topology = topology,
                          .workers = workers,
                          .memory = memory,
                          .kernels = organ_kernels_choose(organ_cpu_detect(), NULL, &why)};
}

void free_engine(organ_engine *engine)
{
    organ_workers_destroy(engine->workers);
    organ_topology_destroy((organ_topology *)engine->topology);
}

static organ_calibration *calibrate_so(const organ_engine *engine, const layer *l, bool two_streams, bool moments_only,
                                       size_t tokens_a_call, const float *weights)
{
    organ_error error = {0};
    organ_calibration *c;
    const organ_calibration_options options = {.features = LAYER_COLS,
                                               .name = "layer",
                                               .seed = NOISE_SEED,
                                               .layer = NOISE_LAYER,
                                               .blocks = organ_calibration_memory(LAYER_COLS, 0, two_streams, true) >
                                                         engine->memory,
                                               .two_streams = two_streams,
                                               .moments_only = moments_only,
                                               .weights = organ_by_rows(weights, LAYER_COLS),
                                               .rows = LAYER_ROWS};
    organ_calibration_create(&options, engine, &c, &error);
    for (size_t t = 0; t < LAYER_TOKENS && !error.status; t += tokens_a_call) {
        const size_t some = t + tokens_a_call < LAYER_TOKENS ? tokens_a_call : LAYER_TOKENS - t;
        organ_calibration_add(c, l->inputs + t * LAYER_COLS, two_streams ? l->donor + t * LAYER_COLS : NULL, some,
                              &error);
    }
    ck_assert_msg(!error.status && organ_calibration_finish(c, &error) == ORGAN_OK, "%s", error.message);
    return c;
}

organ_calibration *calibrate(const organ_engine *engine, const layer *l, bool two_streams, size_t tokens_a_call)
{
    return calibrate_so(engine, l, two_streams, false, tokens_a_call, NULL);
}

organ_calibration *calibrate_with_weights(const organ_engine *engine, const layer *l, size_t tokens_a_call)
{
    return calibrate_so(engine, l, true, false, tokens_a_call, l->weights);
}

organ_calibration *calibrate_moments(const organ_engine *engine, const layer *l, bool two_streams)
{
    return calibrate_so(engine, l, two_streams, true, LAYER_TOKENS, NULL);
}

pruned prune_layer(const organ_engine *engine, const layer *l, const organ_calibration *calibration,
                   organ_prune_matrix_options options)
{
    pruned p = {.weights = numbers(LAYER_WEIGHTS), .keep = malloc(LAYER_WEIGHTS)};
    ck_assert_ptr_nonnull(p.keep);
    memcpy(p.weights, l->weights, LAYER_WEIGHTS * sizeof *p.weights);
    options.name = "layer";
    options.effort = options.effort == 0 ? 1 : options.effort;
    organ_prune_matrix(engine, &options, calibration, p.weights, LAYER_ROWS, LAYER_COLS, p.keep, &p.report, &p.error);
    return p;
}

void free_pruned(pruned *p)
{
    free(p->weights);
    free(p->keep);
}

double objective(const layer *l, const float *weights)
{
    double fit = 0, near = 0, square = 0;
    for (size_t t = 0; t < LAYER_TOKENS; t++) {
        const float *const x = l->inputs + t * LAYER_COLS, *const d = l->donor + t * LAYER_COLS;
        for (size_t i = 0; i < LAYER_ROWS; i++) {
            const float *const v = weights + i * LAYER_COLS, *const w = l->weights + i * LAYER_COLS;
            double ours = 0, theirs = 0, donor = 0;
            for (size_t j = 0; j < LAYER_COLS; j++) {
                ours += (double)v[j] * (double)x[j];
                theirs += (double)w[j] * (double)x[j];
                donor += (double)w[j] * (double)d[j];
            }
            fit += 0.5 * (ours - theirs) * (ours - theirs) + 0.5 * (ours - donor) * (ours - donor);
        }
        for (size_t j = 0; j < LAYER_COLS; j++)
            square += (double)x[j] * (double)x[j];
    }
    for (size_t k = 0; k < LAYER_WEIGHTS; k++)
        near += ((double)weights[k] - (double)l->weights[k]) * ((double)weights[k] - (double)l->weights[k]);
    return fit / LAYER_TOKENS + 0.03 * square / LAYER_TOKENS / LAYER_COLS * near;
}

static bool golden_bit(const char *hex, size_t k)
{
    const char digit[2] = {hex[k / 4], 0};
    return strtoul(digit, NULL, 16) >> (3 - k % 4) & 1;
}

double golden_agreement(const json_t *method, const uint8_t *keep)
{
    const char *const hex = json_string_value(json_object_get(method, "keep"));
    ck_assert_uint_eq(strlen(hex) * 4, LAYER_WEIGHTS);
    size_t same = 0;
    for (size_t k = 0; k < LAYER_WEIGHTS; k++)
        same += keep[k] == golden_bit(hex, k);
    return 100.0 * (double)same / LAYER_WEIGHTS;
}
