/* SPDX-License-Identifier: MIT
 * Tests of pruning a matrix by each method: the mask, bit identity for any division, errors. */
#include "tests/verbs/prune/physarum_v2_rig.h"
#include "tests/kit/effort.h"
#include "tests/kit/suite_table.h"
#include "tests/kit/require.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static layer given;
static organ_engine engine;
static organ_calibration *calibration; /* of one stream */

static void set_up(void)
{
    given = make_layer();
    engine = make_engine(2, (uint64_t)1 << 30);
    calibration = calibrate(&engine, &given, false, LAYER_TOKENS);
}

static void tear_down(void)
{
    organ_calibration_destroy(calibration);
    free_layer(&given);
    free_engine(&engine);
}

static const organ_prune_method methods[] = {ORGAN_PRUNE_PHYSARUM_V2, ORGAN_PRUNE_MAGNITUDE,   ORGAN_PRUNE_WANDA,
                                             ORGAN_PRUNE_SPARSEGPT,   ORGAN_PRUNE_PHYSARUM_V3, ORGAN_PRUNE_ALPS};
enum { METHODS = sizeof methods / sizeof *methods };

static pruned must_prune(organ_prune_matrix_options options)
{
    pruned p = prune_layer(&engine, &given, calibration, options);
    ck_assert_msg(p.error.status == ORGAN_OK, "%s", p.error.message);
    return p;
}

/* ---- masks ---- */

START_TEST(sparsity_is_what_was_asked_for)
{
    static const double percents[] = {1, 22, 50, 83.5, 97};
    for (size_t m = 0; m < METHODS; m++)
        for (size_t k = 0; k < 5; k += sampled_unless_all(1, 4, 4)) {
            pruned p =
                must_prune((organ_prune_matrix_options){.method = methods[m], .sparsity = percents[k], .effort = 0.2});
            uint64_t zeros = 0, masked = 0;
            for (size_t w = 0; w < LAYER_WEIGHTS; w++) {
                REQUIRE(p.keep[w] <= 1 && (p.keep[w] || p.weights[w] == 0));
                zeros += p.weights[w] == 0;
                masked += !p.keep[w];
            }
            ck_assert_double_eq(p.report.sparsity, 100.0 * (double)masked / LAYER_WEIGHTS);
            ck_assert_uint_eq(p.report.zero_after, zeros);
            /* In rows of 320 a step of Wanda is 0.3 %. */
            ck_assert_msg(fabs(p.report.sparsity - percents[k]) <= 0.1 + (methods[m] == ORGAN_PRUNE_WANDA ? 0.1 : 0),
                          "method %zu: %g for %g", m, p.report.sparsity, percents[k]);
            free_pruned(&p);
        }
}
END_TEST

static void check_pattern(const organ_calibration *with, organ_prune_matrix_options options, double *output_error)
{
    pruned p = prune_layer(&engine, &given, with, options);
    ck_assert_msg(p.error.status == ORGAN_OK, "%s", p.error.message);
    for (size_t k = 0; k < LAYER_WEIGHTS; k += options.pattern.of) {
        unsigned kept = 0;
        for (size_t l = k; l < k + options.pattern.of; l++) {
            kept += p.keep[l];
            REQUIRE(p.keep[l] || p.weights[l] == 0);
        }
        REQUIRE_MSG(kept == options.pattern.keep, "method %d: %u of %u are kept", (int)options.method, kept,
                    options.pattern.of);
    }
    ck_assert_double_eq(p.report.sparsity,
                        100.0 * (LAYER_WEIGHTS - LAYER_WEIGHTS / options.pattern.of * options.pattern.keep) /
                            LAYER_WEIGHTS);
    *output_error = p.report.output_error;
    free_pruned(&p);
}

/* Groups of 5 and 10 divide neither a tile, nor a block of H, nor the columns of a sweep. */
START_TEST(patterns_hold_exactly)
{
    static const organ_pattern patterns[] = {{2, 4}, {4, 8},   {6, 8}, {8, 16}, {1, 4},
                                             {1, 2}, {15, 16}, {3, 5}, {7, 10}};
    organ_engine small = make_engine(2, 1 << 20);
    organ_calibration *blocks = calibrate(&small, &given, false, LAYER_TOKENS);
    for (size_t k = 0; k < sizeof patterns / sizeof *patterns; k += sampled_unless_all(1, 8, 8)) {
        double lost[METHODS], in_blocks[METHODS], alone;
        for (size_t m = 0; m < METHODS; m++) {
            organ_prune_matrix_options options = {.method = methods[m], .pattern = patterns[k], .measure = true};
            check_pattern(calibration, options, &lost[m]);
            check_pattern(blocks, options, &in_blocks[m]);
        }
        check_pattern(calibration, (organ_prune_matrix_options){.pattern = patterns[k], .no_compensate = true}, &alone);
        /* physarum v2 and v3, magnitude, wanda, sparsegpt, alps: methods that compensate lose less, with whole and with
         * block-diagonal H. */
        ck_assert(lost[0] < lost[3] && lost[4] < lost[3] && lost[5] < lost[3] && lost[3] < lost[2] &&
                  lost[2] < lost[1]);
        ck_assert(in_blocks[4] < in_blocks[2] && in_blocks[3] < in_blocks[2] && in_blocks[0] < in_blocks[2]);
    }
    organ_calibration_destroy(blocks);
    free_engine(&small);
}
END_TEST

/* Checks that no removed weight of a row has a higher score than a kept one. */
static void check_ranks(const pruned *p, bool by_row, const float *factors)
{
    double least_kept = INFINITY, max_killed = 0;
    for (size_t i = 0; i < LAYER_ROWS; i++) {
        if (by_row) {
            least_kept = INFINITY;
            max_killed = 0;
        }
        for (size_t j = 0; j < LAYER_COLS; j++) {
            const float score = fabsf(given.weights[i * LAYER_COLS + j]) * (factors ? factors[j] : 1.0f);
            if (p->keep[i * LAYER_COLS + j])
                least_kept = fmin(least_kept, (double)score);
            else
                max_killed = fmax(max_killed, (double)score);
            REQUIRE(p->weights[i * LAYER_COLS + j] ==
                    (p->keep[i * LAYER_COLS + j] ? given.weights[i * LAYER_COLS + j] : 0));
        }
        ck_assert(!by_row || max_killed <= least_kept);
    }
    ck_assert(max_killed <= least_kept || by_row);
}

START_TEST(ranked_methods_kill_the_least)
{
    pruned p = must_prune((organ_prune_matrix_options){.method = ORGAN_PRUNE_MAGNITUDE, .sparsity = 37});
    check_ranks(&p, false, NULL);
    free_pruned(&p);
    p = must_prune((organ_prune_matrix_options){.method = ORGAN_PRUNE_WANDA, .sparsity = 37});
    check_ranks(&p, true, organ_calibration_moments(calibration)->act_norm);
    free_pruned(&p);
}
END_TEST

/* Each method uses more of the inputs than the one before and changes the outputs less. */
START_TEST(better_methods_do_less_damage)
{
    static const organ_prune_method order[] = {ORGAN_PRUNE_MAGNITUDE, ORGAN_PRUNE_WANDA, ORGAN_PRUNE_SPARSEGPT,
                                               ORGAN_PRUNE_PHYSARUM_V2, ORGAN_PRUNE_PHYSARUM_V3};
    for (int patterned = 0; patterned < 2; patterned++) {
        double last = INFINITY;
        for (size_t m = 0; m < sizeof order / sizeof *order; m++) {
            organ_prune_matrix_options options = {.method = order[m], .sparsity = 50, .measure = true};
            if (patterned) {
                options.sparsity = 0;
                options.pattern = (organ_pattern){2, 4};
            }
            pruned p = must_prune(options);
            ck_assert_msg(p.report.output_error < last && p.report.output_error > 0, "%g after %g",
                          p.report.output_error, last);
            last = p.report.output_error;
            free_pruned(&p);
        }
    }
}
END_TEST

/* ---- zero inputs and matrices ---- */

START_TEST(a_zero_matrix_stays_one)
{
    memset(given.weights, 0, LAYER_WEIGHTS * sizeof *given.weights);
    for (size_t m = 0; m < METHODS; m++) {
        pruned p = must_prune((organ_prune_matrix_options){.method = methods[m], .sparsity = 50, .measure = true});
        for (size_t k = 0; k < LAYER_WEIGHTS; k++)
            ck_assert(p.weights[k] == 0);
        ck_assert_uint_eq(p.report.zero_before, LAYER_WEIGHTS);
        ck_assert_uint_eq(p.report.zero_after, LAYER_WEIGHTS);
        ck_assert_double_eq(p.report.output_error, 0);
        free_pruned(&p);
    }
}
END_TEST

START_TEST(weights_of_dead_inputs_go_first)
{
    for (size_t m = 0; m < METHODS; m++) {
        pruned p = must_prune((organ_prune_matrix_options){.method = methods[m], .sparsity = 30});
        for (size_t i = 0; i < LAYER_ROWS; i++) {
            ck_assert(isfinite(p.weights[i * LAYER_COLS + LAYER_DEAD]));
            ck_assert(methods[m] == ORGAN_PRUNE_MAGNITUDE || p.weights[i * LAYER_COLS + LAYER_DEAD] == 0);
        }
        free_pruned(&p);
    }
}
END_TEST

START_TEST(zeros_count_towards_the_sparsity)
{
    for (size_t k = 0; k < LAYER_WEIGHTS; k++)
        if (k % 3)
            given.weights[k] = 0;
    pruned p = must_prune((organ_prune_matrix_options){.sparsity = 50, .no_compensate = true});
    for (size_t k = 0; k < LAYER_WEIGHTS; k++)
        ck_assert(p.weights[k] == given.weights[k] || k % LAYER_COLS == LAYER_DEAD);
    ck_assert_double_ge(p.report.sparsity, 66);
    ck_assert(isinf(p.report.gains[0]));
    free_pruned(&p);
    p = must_prune((organ_prune_matrix_options){.sparsity = 80, .no_compensate = true});
    ck_assert_double_le(fabs(p.report.sparsity - 80), 0.1);
    free_pruned(&p);
}
END_TEST

/* ---- bit identity ---- */

static void check_same(const pruned *a, const pruned *b)
{
    ck_assert_mem_eq(a->weights, b->weights, LAYER_WEIGHTS * sizeof *a->weights);
    ck_assert_mem_eq(a->keep, b->keep, LAYER_WEIGHTS);
    ck_assert_mem_eq(a->report.gains, b->report.gains, sizeof a->report.gains);
}

START_TEST(threads_and_calls_do_not_show)
{
    static const size_t threads[] = {1, 3, 8}, calls[] = {LAYER_TOKENS, 1, 77}, of_blocks[] = {0, 4, 5};
    for (size_t m = 0; m < METHODS + 3; m += sampled_unless_all(1, 2, 2)) { /* the last: block-diagonal H */
        const bool blocks = m >= METHODS;
        const organ_prune_matrix_options options = {.method = methods[blocks ? of_blocks[m - METHODS] : m],
                                                    .sparsity = 50};
        pruned first = {0};
        for (size_t k = 0; k < 3; k += sampled_unless_all(1, 2, 2)) {
            organ_engine other = make_engine(threads[k], blocks ? 1 << 20 : 1 << 30);
            organ_calibration *c = calibrate(&other, &given, true, calls[k]);
            pruned p = prune_layer(&other, &given, c, options);
            ck_assert_msg(p.error.status == ORGAN_OK, "%s", p.error.message);
            ck_assert(p.report.block_diagonal == blocks);
            if (k == 0)
                first = p;
            else {
                check_same(&first, &p);
                free_pruned(&p);
            }
            organ_calibration_destroy(c);
            free_engine(&other);
        }
        free_pruned(&first);
    }
}
END_TEST

START_TEST(blocks_serve_where_memory_is_short)
{
    organ_engine small = make_engine(2, 1 << 20);
    organ_calibration *c = calibrate(&small, &given, false, LAYER_TOKENS);
    ck_assert_uint_eq(organ_calibration_moments(c)->block, 256);
    for (size_t m = 0; m < METHODS; m++) {
        pruned p = prune_layer(&small, &given, c,
                               (organ_prune_matrix_options){.method = methods[m], .sparsity = 50, .measure = true});
        ck_assert_msg(p.error.status == ORGAN_OK, "%s", p.error.message);
        ck_assert(p.report.block_diagonal);
        ck_assert_double_lt(p.report.output_error, 0.2);
        free_pruned(&p);
    }
    organ_calibration_destroy(c);
    free_engine(&small);
}
END_TEST

/* ---- errors ---- */

static void must_refuse(organ_prune_matrix_options options, const organ_calibration *with, organ_status status,
                        const char *message)
{
    pruned p = prune_layer(&engine, &given, with, options);
    ck_assert_int_eq(p.error.status, status);
    ck_assert_str_eq(p.error.message, message);
    free_pruned(&p);
}

START_TEST(options_that_do_not_go_together)
{
    must_refuse((organ_prune_matrix_options){.sparsity = 100}, calibration, ORGAN_USAGE,
                "layer: a sparsity is above 0 and below 100 %, not 100");
    must_refuse((organ_prune_matrix_options){.sparsity = NAN}, calibration, ORGAN_USAGE,
                "layer: a sparsity is above 0 and below 100 %, not nan");
    must_refuse((organ_prune_matrix_options){.method = ORGAN_PRUNE_WANDA}, calibration, ORGAN_USAGE,
                "layer: a sparsity is above 0 and below 100 %, not 0");
    must_refuse((organ_prune_matrix_options){.sparsity = 50, .pattern = {2, 4}}, calibration, ORGAN_USAGE,
                "layer: pattern 2:4 sets the sparsity; it cannot be combined with 50 %");
    static const organ_pattern wrong[] = {{0, 4}, {4, 4}, {5, 4}, {1, 1}, {8, 17}};
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
        char message[100];
        snprintf(message, sizeof message, "layer: a pattern keeps N of M with 1 <= N < M <= 16, not %u:%u",
                 wrong[k].keep, wrong[k].of);
        must_refuse((organ_prune_matrix_options){.pattern = wrong[k]}, calibration, ORGAN_USAGE, message);
    }
    must_refuse((organ_prune_matrix_options){.sparsity = 50, .effort = 101}, calibration, ORGAN_USAGE,
                "layer: an effort is above 0 and at most 100, not 101");
    must_refuse((organ_prune_matrix_options){.method = ORGAN_PRUNE_PHYSARUM_V3, .sparsity = 50, .effort = -1},
                calibration, ORGAN_USAGE, "layer: an effort is above 0 and at most 100, not -1");
    must_refuse((organ_prune_matrix_options){.method = ORGAN_PRUNE_ALPS}, calibration, ORGAN_USAGE,
                "layer: a sparsity is above 0 and below 100 %, not 0");
    must_refuse((organ_prune_matrix_options){.sparsity = 50}, NULL, ORGAN_USAGE,
                "layer: this method needs a finished calibration");
}
END_TEST

START_TEST(matrices_that_cannot_be_pruned)
{
    const organ_prune_matrix_options options = {.name = "m", .sparsity = 50, .effort = 1},
                                     patterned = {.name = "m", .pattern = {2, 4}, .effort = 1};
    organ_prune_matrix_report report;
    organ_error error = {0};
    uint8_t keep[LAYER_COLS];
    ck_assert_int_eq(
        organ_prune_matrix(&engine, &options, calibration, given.weights, 1, LAYER_COLS - 1, keep, &report, &error),
        ORGAN_USAGE);
    ck_assert_str_eq(error.message, "m: rows of 319 weights, calibrated with 320 inputs");
    error = (organ_error){0};
    ck_assert_int_eq(
        organ_prune_matrix(&engine, &options, calibration, given.weights, 0, LAYER_COLS, keep, &report, &error),
        ORGAN_USAGE);
    ck_assert_str_eq(error.message, "m: a matrix of 0 x 320 cannot be pruned");
    error = (organ_error){0};
    organ_prune_matrix_options plain = patterned;
    plain.method = ORGAN_PRUNE_MAGNITUDE;
    ck_assert_int_eq(organ_prune_matrix(&engine, &plain, NULL, given.weights, 1, LAYER_COLS - 2, keep, &report, &error),
                     ORGAN_USAGE);
    ck_assert_str_eq(error.message, "m: rows of 318 weights are not whole groups of pattern 2:4");
    given.weights[3 * LAYER_COLS + 7] = -INFINITY;
    for (size_t m = 0; m < METHODS; m++)
        must_refuse((organ_prune_matrix_options){.method = methods[m], .sparsity = 50}, calibration, ORGAN_BAD_INPUT,
                    "layer: weight [3, 7] is -inf; it must be finite");
}
END_TEST

START_TEST(sums_beyond_the_range_of_numbers)
{
    for (size_t k = 0; k < LAYER_WEIGHTS; k++)
        given.weights[k] *= 1e38f;
    for (size_t m = 0; m < METHODS; m += m == 0 ? 3 : 1) {
        pruned p = prune_layer(&engine, &given, calibration,
                               (organ_prune_matrix_options){.method = methods[m], .sparsity = 50});
        if (p.error.status) {
            ck_assert_int_eq(p.error.status, ORGAN_BAD_INPUT);
            ck_assert_msg(strstr(p.error.message, "NaN or infinite") || strstr(p.error.message, "too large"), "%s",
                          p.error.message);
        } else
            for (size_t k = 0; k < LAYER_WEIGHTS; k++)
                ck_assert(isfinite(p.weights[k]));
        free_pruned(&p);
    }
}
END_TEST

START_TEST(a_stopped_engine_stops)
{
    organ_stop stop = {0};
    organ_stop_request(&stop);
    engine.stop = &stop;
    for (size_t m = 0; m < METHODS; m += m == 0 ? 3 : 1)
        must_refuse((organ_prune_matrix_options){.method = methods[m], .sparsity = 50}, calibration, ORGAN_INTERRUPTED,
                    "layer: interrupted");
}
END_TEST

Suite *physarum_v2_matrix_suite(void)
{
    const suite_case cases[] = {
        {"masks",
         {sparsity_is_what_was_asked_for, patterns_hold_exactly, ranked_methods_kill_the_least,
          better_methods_do_less_damage}},
        {"nothing", {a_zero_matrix_stays_one, weights_of_dead_inputs_go_first, zeros_count_towards_the_sparsity}},
        {"same bits", {threads_and_calls_do_not_show, blocks_serve_where_memory_is_short}},
        {"refused",
         {options_that_do_not_go_together, matrices_that_cannot_be_pruned, sums_beyond_the_range_of_numbers,
          a_stopped_engine_stops}}};
    return suite_of("physarum v2: matrices", cases, sizeof cases / sizeof *cases, set_up, tear_down);
}
