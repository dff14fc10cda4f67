/* SPDX-License-Identifier: MIT
 * Tests of GPTQ and its refinement on one matrix against FP64; bit identity for every kernel table and any number of
 * threads. */
#include "orchestrator/surgery/gptq/gptq.h"
#include "tests/kit/effort.h"
#include "tests/kit/require.h"
#include "tests/kit/samples.h"
#include "tests/kit/suite_table.h"
#include "tests/verbs/prune/physarum_v2_rig.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SCALES = LAYER_ROWS * 10 };

/* Losses of fixtures/make_gptq_golden.py; of the first grid, GPTQ's codes of the first rows. */
typedef struct golden_gptq {
    unsigned bits, group;
    double energy, nearest, gptq, resolved;
    signed char codes[16 * LAYER_COLS];
} golden_gptq;

enum { GOLDENS = 5 };
static golden_gptq goldens[GOLDENS];
static layer given;

static void set_up(void)
{
    static const sample_column columns[] = {SAMPLE_COLUMN(golden_gptq, bits),   SAMPLE_COLUMN(golden_gptq, group),
                                            SAMPLE_COLUMN(golden_gptq, energy), SAMPLE_COLUMN(golden_gptq, nearest),
                                            SAMPLE_COLUMN(golden_gptq, gptq),   SAMPLE_COLUMN(golden_gptq, resolved),
                                            SAMPLE_COLUMN(golden_gptq, codes),  {0}};
    ck_assert_uint_eq(SAMPLES_READ("tests/surgery/gptq/gptq_golden.tsv", columns, goldens), GOLDENS);
    given = make_layer();
}
static void tear_down(void) { free_layer(&given); }

typedef struct quantised {
    organ_gptq m;
    float *values, scales[MAX_SCALES];
    size_t block;
} quantised;

static quantised quantise(const organ_engine *engine, organ_grid grid, const uint8_t *keep, bool no_refit)
{
    organ_error error = {0};
    organ_gptq_inputs inputs;
    quantised q = {.values = malloc(LAYER_WEIGHTS * sizeof *q.values)};
    organ_calibration *const calibration = calibrate(engine, &given, false, LAYER_TOKENS);
    ck_assert_msg(organ_gptq_inputs_open(engine, calibration, "w", &inputs, &error) == ORGAN_OK, "%s", error.message);
    q.m = (organ_gptq){.name = "w", .grid = grid, .no_refit = no_refit, .rows = LAYER_ROWS, .cols = LAYER_COLS};
    q.m.weights = given.weights;
    q.m.keep = keep;
    q.m.values = q.values;
    q.m.scales = q.scales;
    ck_assert_msg(organ_gptq_run(&inputs, &q.m, &error) == ORGAN_OK, "%s", error.message);
    q.block = inputs.block;
    organ_gptq_inputs_close(&inputs);
    organ_calibration_destroy(calibration);
    return q;
}

static organ_grid grid_of(size_t k)
{
    const bool channel = goldens[k].group == LAYER_COLS;
    return (organ_grid){goldens[k].bits, channel ? ORGAN_SCALE_CHANNEL : ORGAN_SCALE_GROUP,
                        channel ? 0 : goldens[k].group};
}

static void near_to(double found, double golden, double share)
{
    ck_assert_msg(fabs(found - golden) <= share * golden, "%.9g for %.9g", found, golden);
}

START_TEST(losses_are_those_of_the_oracle)
{
    organ_engine engine = make_engine(2, (uint64_t)1 << 30);
    for (size_t k = 0; k < GOLDENS; k += sampled(1, 2)) {
        quantised q = quantise(&engine, grid_of(k), NULL, false);
        near_to(q.m.energy, goldens[k].energy, 1e-5);
        near_to(q.m.gptq_loss, goldens[k].gptq, 0.01);
        near_to(q.m.loss, goldens[k].resolved, 0.01);
        ck_assert(q.m.loss < q.m.gptq_loss && q.m.gptq_loss < goldens[k].nearest);
        free(q.values);
    }
    free_engine(&engine);
}
END_TEST

START_TEST(codes_are_those_of_the_oracle)
{
    organ_engine engine = make_engine(1, (uint64_t)1 << 30);
    quantised q = quantise(&engine, grid_of(0), NULL, true);
    size_t other = 0;
    for (size_t k = 0; k < sizeof goldens->codes; k++) {
        const float code = q.values[k] / q.scales[k / 32];
        REQUIRE(fabsf(code - roundf(code)) < 1e-5f && code >= -8 && code <= 7);
        other += (int)roundf(code) != goldens->codes[k];
    }
    ck_assert_msg(other <= sizeof goldens->codes / 100, "%zu codes of %zu differ", other, sizeof goldens->codes);
    ck_assert_double_eq(q.m.loss, q.m.gptq_loss);
    free(q.values);
    free_engine(&engine);
}
END_TEST

static const organ_grid grids[] = {{4, ORGAN_SCALE_GROUP, 32},  {3, ORGAN_SCALE_GROUP, 64},
                                   {8, ORGAN_SCALE_CHANNEL, 0}, {0, ORGAN_SCALE_BLOCK, 128},
                                   {0, ORGAN_SCALE_TENSOR, 0},  {0, ORGAN_SCALE_CHANNEL, 0}};

/* Every value is a code times its scale, and the format's encoder finds that code. */
START_TEST(values_are_what_codes_mean)
{
    organ_engine engine = make_engine(2, (uint64_t)1 << 30);
    for (size_t k = 0; k < sizeof grids / sizeof *grids; k += sampled(1, 2)) {
        quantised q = quantise(&engine, grids[k], NULL, false);
        const size_t group = organ_grid_group(&grids[k], LAYER_COLS), groups = (LAYER_COLS + group - 1) / group;
        const organ_code code = grids[k].bits ? ORGAN_CODE_I8 : ORGAN_CODE_E4M3;
        for (size_t i = 0; i < LAYER_ROWS; i++) {
            uint8_t codes[LAYER_COLS];
            float back[LAYER_COLS];
            size_t band = grids[k].scale_of == ORGAN_SCALE_TENSOR ? 0 : i;
            if (grids[k].scale_of == ORGAN_SCALE_BLOCK)
                band = i / 128;
            engine.kernels->encode[code](q.values + i * LAYER_COLS, q.scales + band * groups, group, codes, LAYER_COLS);
            engine.kernels->decode[code][ORGAN_REAL_F32](codes, q.scales + band * groups, NULL, group, back,
                                                         LAYER_COLS);
            for (size_t j = 0; j < LAYER_COLS; j++)
                REQUIRE(back[j] == q.values[i * LAYER_COLS + j]);
        }
        ck_assert(q.m.loss <= q.m.gptq_loss);
        free(q.values);
    }
    free_engine(&engine);
}
END_TEST

START_TEST(bits_are_the_same_for_any_threads_and_kernels)
{
    static const char *const tables[] = {"scalar", NULL};
    organ_engine one = make_engine(1, (uint64_t)1 << 30), many = make_engine(3, (uint64_t)1 << 30);
    const char *why;
    for (size_t k = 0; k < sizeof grids / sizeof *grids; k += sampled(1, 3)) {
        quantised first = quantise(&one, grids[k], NULL, false);
        for (size_t t = 0; t < 2; t++) {
            many.kernels = organ_kernels_choose(organ_cpu_detect(), tables[t], &why);
            quantised other = quantise(&many, grids[k], NULL, false);
            ck_assert_mem_eq(first.values, other.values, LAYER_WEIGHTS * sizeof *first.values);
            ck_assert_mem_eq(first.scales, other.scales, sizeof first.scales);
            ck_assert_double_eq(first.m.loss, other.m.loss);
            free(other.values);
        }
        free(first.values);
    }
    free_engine(&one);
    free_engine(&many);
}
END_TEST

/* Checks that GPTQ with H in blocks of 256 columns has less than 0.8 of the error of nearest codes. */
START_TEST(blocks_of_moments_do)
{
    organ_engine engine = make_engine(2, 1 << 20);
    quantised q = quantise(&engine, grids[0], NULL, false), channel = quantise(&engine, grids[2], NULL, false);
    ck_assert_uint_eq(q.block, 256);
    ck_assert(q.m.loss < q.m.gptq_loss && q.m.gptq_loss < 0.8 * goldens[0].nearest);
    ck_assert(channel.m.loss <= channel.m.gptq_loss);
    free(q.values);
    free(channel.values);
    free_engine(&engine);
}
END_TEST

START_TEST(zeros_stay_zeros)
{
    organ_engine engine = make_engine(2, (uint64_t)1 << 30);
    memset(given.weights, 0, LAYER_WEIGHTS * sizeof *given.weights);
    for (size_t k = 0; k < sizeof grids / sizeof *grids; k++) {
        quantised q = quantise(&engine, grids[k], NULL, false);
        for (size_t j = 0; j < LAYER_WEIGHTS; j++)
            REQUIRE(q.values[j] == 0);
        ck_assert_double_eq(q.m.loss, 0);
        ck_assert(q.scales[0] == (grids[k].scale_of == ORGAN_SCALE_BLOCK ? 1.0f : 0.0078125f));
        free(q.values);
    }
    free_engine(&engine);
}
END_TEST

/* Marks every third weight, and whole groups of a row, as pruned. */
static void leave_some_out(uint8_t *keep)
{
    for (size_t k = 0; k < LAYER_WEIGHTS; k++) {
        keep[k] = k % 3 != 0 && k / 32 % 7 != 0;
        given.weights[k] = keep[k] ? given.weights[k] : 0.0f;
    }
}

START_TEST(what_was_pruned_stays_zero)
{
    organ_engine engine = make_engine(2, (uint64_t)1 << 30);
    uint8_t *const keep = malloc(LAYER_WEIGHTS);
    leave_some_out(keep);
    for (size_t k = 0; k < sizeof grids / sizeof *grids; k += sampled(1, 3)) {
        quantised free_to_move = quantise(&engine, grids[k], NULL, false), q = quantise(&engine, grids[k], keep, false);
        size_t moved = 0;
        for (size_t j = 0; j < LAYER_WEIGHTS; j++) {
            REQUIRE(keep[j] || (q.values[j] == 0 && !signbit(q.values[j])));
            moved += !keep[j] && free_to_move.values[j] != 0;
        }
        ck_assert_msg(moved > 0, "grid %zu: no zero moves where none is held", k);
        ck_assert(q.m.loss <= q.m.gptq_loss && q.m.loss >= free_to_move.m.loss);
        free(free_to_move.values);
        free(q.values);
    }
    free(keep);
    free_engine(&engine);
}
END_TEST

/* A mask without zeros changes nothing. */
START_TEST(a_mask_of_all_is_none)
{
    organ_engine engine = make_engine(1, (uint64_t)1 << 30);
    uint8_t *const keep = malloc(LAYER_WEIGHTS);
    memset(keep, 1, LAYER_WEIGHTS);
    quantised without = quantise(&engine, grids[0], NULL, false), with = quantise(&engine, grids[0], keep, false);
    ck_assert_mem_eq(without.values, with.values, LAYER_WEIGHTS * sizeof *with.values);
    ck_assert_mem_eq(without.scales, with.scales, sizeof with.scales);
    free(without.values);
    free(with.values);
    free(keep);
    free_engine(&engine);
}
END_TEST

int main(void)
{
    const suite_case cases[] = {{"oracle", {losses_are_those_of_the_oracle, codes_are_those_of_the_oracle}},
                                {"values", {values_are_what_codes_mean, zeros_stay_zeros, blocks_of_moments_do}},
                                {"masks", {what_was_pruned_stays_zero, a_mask_of_all_is_none}},
                                {"same bits", {bits_are_the_same_for_any_threads_and_kernels}}};
    Suite *const suites[] = {suite_of("gptq", cases, sizeof cases / sizeof *cases, set_up, tear_down), NULL};
    return run_suites(suites);
}
