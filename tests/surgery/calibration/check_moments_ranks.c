/* SPDX-License-Identifier: MIT
 * Moments that several ranks accumulate have the bits of one process. */
#include "orchestrator/surgery/calibration/calibration.h"
#include "orchestrator/solve/algebra.h"
#include "tests/kit/effort.h"
#include "tests/kit/rank_threads.h"
#include "tests/kit/suite_table.h"
#include "tests/surgery/calibration/calibration_suites.h"

#include <stdlib.h>
#include <string.h>

enum { TOKENS = 700 }; /* two chunks, the second one shorter */

typedef struct moments_case {
    size_t features, rows; /* rows: of the weights; 0: none */
    bool two_streams, moments_only, whole;
} moments_case;

static const moments_case cases[] = {
    {600, 0, false, false, true}, {600, 0, true, false, true},    {600, 0, true, true, false},
    {600, 5, true, false, true},  {600, 100, true, true, true},   {600, 100, true, false, false},
    {40, 0, true, false, true},   {1, 0, false, false, true},     {256, 30, true, false, true},
    {1025, 0, false, true, true}, {1025, 0, false, false, false}, {600, 500, true, false, true}};

static const moments_case *of;
static float *inputs, *donor, *weights;
static const organ_input_moments *requested; /* the result of one process */

static organ_calibration *moments_by(const organ_engine *engine, organ_error *error)
{
    organ_calibration_options options = {.features = of->features,
                                         .name = "q",
                                         .seed = 9,
                                         .layer = 2,
                                         .moments_only = of->moments_only,
                                         .blocks = !of->whole,
                                         .two_streams = of->two_streams};
    organ_calibration *c = NULL;
    if (of->rows) {
        options.weights = organ_by_rows(weights, of->features);
        options.rows = of->rows;
    }
    ck_assert_int_eq(organ_calibration_create(&options, engine, &c, error), ORGAN_OK);
    for (size_t t = 0; t < TOKENS; t += 100)
        ck_assert_int_eq(organ_calibration_add(c, inputs + t * of->features,
                                               of->two_streams ? donor + t * of->features : NULL, 100, error),
                         ORGAN_OK);
    ck_assert_int_eq(organ_calibration_complete(c, error), ORGAN_OK);
    ck_assert_int_eq(organ_calibration_finish(c, error), ORGAN_OK);
    return c;
}

/* Accumulates with two threads of this rank. */
static organ_calibration *moments_of(organ_ranks *ranks, organ_error *error)
{
    const char *why;
    organ_topology *topology;
    organ_workers *workers;
    ck_assert_msg(organ_topology_discover(&topology, error) == ORGAN_OK, "%s", error->message);
    ck_assert_msg(organ_workers_create(topology, 2, &workers, error) == ORGAN_OK, "%s", error->message);
    const organ_engine engine = {.topology = topology,
                                 .workers = workers,
                                 .memory = (uint64_t)1 << 30,
                                 .kernels = organ_kernels_choose(organ_cpu_detect(), NULL, &why),
                                 .ranks = ranks};
    organ_calibration *const c = moments_by(&engine, error);
    organ_workers_destroy(workers);
    organ_topology_destroy(topology);
    return c;
}

static void must_equal(const void *found, const void *other, size_t bytes, const char *what)
{
    ck_assert_msg((found == NULL) == (other == NULL), "%zu inputs: not both have %s", of->features, what);
    ck_assert_msg(!found || memcmp(found, other, bytes) == 0, "%zu inputs, %zu rows: %s differs", of->features,
                  of->rows, what);
}

static void sum_together(organ_ranks *ranks, organ_error *error)
{
    organ_calibration *const c = moments_of(ranks, error);
    const organ_input_moments *const m = organ_calibration_moments(c);
    const size_t n = m->features, rest = n % m->block, entries = n / m->block * m->block * m->block + rest * rest;
    ck_assert_uint_eq(m->block, requested->block);
    ck_assert_uint_eq(m->tokens, TOKENS);
    must_equal(m->h, requested->h, entries * sizeof *m->h, "H");
    must_equal(m->c, requested->c, entries * sizeof *m->c, "C");
    must_equal(m->drift, requested->drift, m->rows * n * sizeof *m->drift, "W (C - H)");
    must_equal(m->act_norm, requested->act_norm, n * sizeof *m->act_norm, "act_norm");
    must_equal(m->stability, requested->stability, n * sizeof *m->stability, "stability");
    must_equal(m->contribution, requested->contribution, n * sizeof *m->contribution, "contribution");
    organ_calibration_destroy(c);
}

START_TEST(ranks_sum_what_one_process_sums)
{
    static const size_t counts[] = {2, 3, 7};
    const size_t step = sampled_unless_all(1, 3, 3); /* another count for each case */
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        organ_error error = {0};
        of = &cases[k];
        inputs = malloc(TOKENS * of->features * sizeof *inputs);
        donor = malloc(TOKENS * of->features * sizeof *donor);
        weights = malloc((of->rows + 1) * of->features * sizeof *weights);
        organ_philox_normal(1, 1, 0, inputs, TOKENS * of->features);
        organ_philox_normal(1, 2, 0, donor, TOKENS * of->features);
        organ_philox_normal(1, 3, 0, weights, of->rows * of->features);
        organ_calibration *const alone = moments_of(NULL, &error);
        requested = organ_calibration_moments(alone);
        for (size_t r = k % step; r < sizeof counts / sizeof *counts; r += step) {
            play(counts[r], sum_together);
            all_end(ORGAN_OK, "");
        }
        organ_calibration_destroy(alone);
        free(weights);
        free(donor);
        free(inputs);
    }
}
END_TEST

Suite *moments_ranks_suite(void)
{
    const suite_case suite_cases[] = {{"moments", {ranks_sum_what_one_process_sums}}};
    return suite_of("moments by ranks", suite_cases, 1, NULL, NULL);
}
