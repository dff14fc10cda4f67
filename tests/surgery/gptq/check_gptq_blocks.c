/* SPDX-License-Identifier: MIT
 * Tests of GPTQ for GGUF blocks: splitting and joining of blocks, the loss compared with blocks chosen by weights
 * alone, bit identity for every kernel table and any number of threads. */
#include "orchestrator/surgery/encoding/encoding.h"
#include "orchestrator/surgery/gptq/gptq.h"
#include "tests/kit/effort.h"
#include "tests/kit/require.h"
#include "tests/kit/suite_table.h"
#include "tests/verbs/prune/physarum_v2_rig.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The layer's sizes, for rows of whole blocks of 256. */
enum {
    ROWS = 60,
    COLS = 512,
    TOKENS = LAYER_TOKENS * LAYER_COLS / COLS,
    MAX_BYTES = LAYER_WEIGHTS * 34 / 32,
    MAX_NUMBERS = ROWS * 68
};

/* Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K, Q2_K, Q3_K, IQ4_NL, IQ4_XS, IQ3_XXS, IQ3_S, IQ2_S, MXFP4, NVFP4,
 * IQ2_XS, IQ2_XXS, TQ1_0, TQ2_0, Q1_0, Q2_0, IQ1_S, IQ1_M */
static const organ_grid grids[] = {
    {4, ORGAN_SCALE_GGUF, 2},  {4, ORGAN_SCALE_GGUF, 3},  {5, ORGAN_SCALE_GGUF, 6},  {5, ORGAN_SCALE_GGUF, 7},
    {8, ORGAN_SCALE_GGUF, 8},  {4, ORGAN_SCALE_GGUF, 12}, {5, ORGAN_SCALE_GGUF, 13}, {6, ORGAN_SCALE_GGUF, 14},
    {2, ORGAN_SCALE_GGUF, 10}, {3, ORGAN_SCALE_GGUF, 11}, {4, ORGAN_SCALE_GGUF, 20}, {4, ORGAN_SCALE_GGUF, 23},
    {3, ORGAN_SCALE_GGUF, 18}, {3, ORGAN_SCALE_GGUF, 21}, {2, ORGAN_SCALE_GGUF, 22}, {4, ORGAN_SCALE_GGUF, 39},
    {4, ORGAN_SCALE_GGUF, 40}, {2, ORGAN_SCALE_GGUF, 17}, {2, ORGAN_SCALE_GGUF, 16}, {2, ORGAN_SCALE_GGUF, 34},
    {2, ORGAN_SCALE_GGUF, 35}, {1, ORGAN_SCALE_GGUF, 41}, {2, ORGAN_SCALE_GGUF, 42}, {2, ORGAN_SCALE_GGUF, 19},
    {2, ORGAN_SCALE_GGUF, 29}};
enum { GRIDS = sizeof grids / sizeof *grids };

static layer given;

static void set_up(void) { given = make_layer(); }
static void tear_down(void) { free_layer(&given); }

typedef struct quantised {
    organ_gptq m;
    float values[LAYER_WEIGHTS], scales[MAX_NUMBERS];
} quantised;

static organ_calibration *see(const organ_engine *engine)
{
    organ_error error = {0};
    organ_calibration *c;
    const organ_calibration_options options = {.features = COLS, .name = "w", .moments_only = true};
    ck_assert(organ_calibration_create(&options, engine, &c, &error) == ORGAN_OK);
    organ_calibration_add(c, given.inputs, NULL, TOKENS, &error);
    ck_assert_msg(!error.status && organ_calibration_finish(c, &error) == ORGAN_OK, "%s", error.message);
    return c;
}

/* Writes to one of two buffers. */
static quantised *quantise(const organ_engine *engine, organ_grid grid, const float *weighing, bool no_refit,
                           bool second)
{
    static quantised places[2];
    quantised *const q = &places[second];
    organ_error error = {0};
    organ_gptq_inputs inputs = {0};
    organ_calibration *const calibration = see(engine);
    memset(q, 0, sizeof *q);
    ck_assert_msg(organ_gptq_inputs_reopen(engine, calibration, "w", &inputs, &error) == ORGAN_OK, "%s", error.message);
    q->m = (organ_gptq){.name = "w",
                        .grid = grid,
                        .no_refit = no_refit,
                        .rows = ROWS,
                        .cols = COLS,
                        .weights = given.weights,
                        .weighing = weighing,
                        .values = q->values,
                        .scales = q->scales};
    ck_assert(organ_grid_numbers(&grid, COLS) * ROWS <= MAX_NUMBERS);
    ck_assert_msg(organ_gptq_run(&inputs, &q->m, &error) == ORGAN_OK, "%s", error.message);
    organ_gptq_inputs_close(&inputs);
    organ_calibration_destroy(calibration);
    return q;
}

static unsigned char blocks[MAX_BYTES], again[MAX_BYTES];
static float meant[LAYER_WEIGHTS];

static size_t count_of(const organ_ggml_kind *kind) { return LAYER_WEIGHTS / kind->elements; }

/* Makes the blocks of all rows from values and numbers. */
static void join(const organ_grid *grid, const float *values, const float *numbers, unsigned char *to)
{
    const organ_ggml_kind *const kind = organ_grid_blocks(grid);
    for (size_t i = 0; i < ROWS; i++)
        organ_grid_join(grid, values + i * COLS, numbers + i * organ_grid_numbers(grid, COLS), COLS,
                        to + i * (COLS / kind->elements * kind->bytes));
}

/* The values of blocks, with the numbers read from them, give the same blocks again. */
START_TEST(parts_there_and_back)
{
    static float numbers[MAX_NUMBERS];
    for (size_t k = 40; k < 340; k++)
        given.weights[k] = 0; /* whole groups without weight */
    for (size_t k = 0; k < GRIDS; k++) {
        const organ_ggml_kind *const kind = organ_grid_blocks(&grids[k]);
        ck_assert_uint_eq(kind->bits, grids[k].bits);
        organ_kernels_scalar->fit[kind->type](given.weights, NULL, COLS, blocks, count_of(kind));
        organ_kernels_scalar->dequantize[kind->type](blocks, meant, count_of(kind));
        for (size_t i = 0; i < ROWS; i++)
            organ_grid_split(&grids[k], blocks + i * (COLS / kind->elements * kind->bytes), COLS,
                             numbers + i * organ_grid_numbers(&grids[k], COLS), 1);
        join(&grids[k], meant, numbers, again);
        ck_assert_msg(memcmp(blocks, again, count_of(kind) * kind->bytes) == 0, "type %u", kind->type);
    }
    ck_assert_ptr_null(organ_ggml_kind_of(15));
}
END_TEST

/* The table of GGUF encodings agrees with the block layouts of kernels and formats: bits, elements, and the narrower
 * encoding for rows that are not whole blocks. */
START_TEST(encodings_are_blocks)
{
    static const char *const names[] = {"q4_0",  "q4_1",  "q5_0",   "q5_1",   "q8_0",  "q4_k",  "q5_k",   "q6_k",
                                        "q2_k",  "q3_k",  "iq4_nl", "iq4_xs", "mxfp4", "nvfp4", "iq2_xs", "iq2_xxs",
                                        "tq1_0", "tq2_0", "q1_0",   "q2_0",   "iq1_s", "iq1_m"};
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        const organ_encoding *const e = organ_encoding_for(names[k], ORGAN_KIND_GGUF);
        ck_assert_ptr_nonnull(e);
        const organ_ggml_kind *const kind = organ_grid_blocks(&e->grid);
        ck_assert_ptr_nonnull(kind);
        ck_assert_uint_eq(kind->bits, e->grid.bits);
        ck_assert_uint_eq(kind->elements, organ_dtype_describe(e->codes)->elements);
        ck_assert_int_eq((int)kind->type, organ_dtype_describe(e->codes)->ggml);
        ck_assert_uint_eq(organ_encoding_row_bytes(e, 512), 512 / kind->elements * kind->bytes);
        const organ_encoding *const odd = organ_encoding_fitting(e, 480);
        ck_assert_ptr_nonnull(odd);
        ck_assert(kind->elements == 32 ? odd == e : organ_grid_blocks(&odd->grid)->elements == 32);
        ck_assert_ptr_eq(odd, organ_encoding_for(odd->name, ORGAN_KIND_GGUF));
        ck_assert_ptr_null(organ_encoding_fitting(e, 81));
    }
}
END_TEST

START_TEST(plans_know_which_codes_take_longer)
{
    static const char *const names[] = {"q4_0", "q3_k", "q2_k", "iq3_s", "iq2_s", "iq1_s", "iq1_m"};
    double last = 0;
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        const organ_plan_solve solve = organ_gptq_solve(&organ_encoding_for(names[k], ORGAN_KIND_GGUF)->grid);
        ck_assert_double_gt(solve.weights, 1.3 * last);
        last = solve.weights;
    }
    ck_assert_double_eq(organ_gptq_solve(&(organ_grid){4, ORGAN_SCALE_GROUP, 32}).weights, 7000);
}
END_TEST

/* Returns tr(E H E^T) per token, computed from the inputs, with the damping of H. */
static double loss_of(const float *values)
{
    double loss = 0, squares = 0, lost = 0;
    for (size_t k = 0; k < (size_t)TOKENS * COLS; k++)
        squares += (double)given.inputs[k] * (double)given.inputs[k];
    for (size_t i = 0; i < ROWS; i++)
        for (size_t t = 0; t < TOKENS; t++) {
            double sum = 0;
            for (size_t j = 0; j < COLS; j++)
                sum += ((double)given.weights[i * COLS + j] - (double)values[i * COLS + j]) *
                       (double)given.inputs[t * COLS + j];
            loss += sum * sum;
        }
    for (size_t k = 0; k < LAYER_WEIGHTS; k++)
        lost += pow((double)given.weights[k] - (double)values[k], 2);
    return loss / TOKENS +
           fmax(ORGAN_GPTQ_DAMPING, ORGAN_GPTQ_FEW_TOKENS * COLS / TOKENS) * squares / TOKENS / COLS * lost;
}

/* The blocks have the values whose loss is reported, and lose less than blocks chosen by weights alone. */
START_TEST(blocks_lose_less)
{
    organ_engine engine = make_engine(2, (uint64_t)1 << 30);
    for (size_t k = 0; k < GRIDS; k += sampled_unless_all(1, 3, 4)) {
        const organ_ggml_kind *const kind = organ_grid_blocks(&grids[k]);
        quantised *const q = quantise(&engine, grids[k], NULL, false, false);
        join(&grids[k], q->values, q->scales, blocks);
        organ_kernels_scalar->dequantize[kind->type](blocks, meant, count_of(kind));
        for (size_t j = 0; j < LAYER_WEIGHTS; j++)
            ck_assert_msg(meant[j] == q->values[j], "type %u: value %zu is %g, not %g", kind->type, j, (double)meant[j],
                          (double)q->values[j]);
        const double loss = loss_of(meant);
        ck_assert_msg(fabs(loss - q->m.loss) < 1e-3 * loss, "type %u: %g for %g", kind->type, q->m.loss, loss);
        organ_kernels_scalar->fit[kind->type](given.weights, NULL, COLS, blocks, count_of(kind));
        organ_kernels_scalar->dequantize[kind->type](blocks, meant, count_of(kind));
        const double nearest = loss_of(meant);
        ck_assert_msg(q->m.gptq_loss < 0.7 * nearest && q->m.loss < 0.97 * q->m.gptq_loss,
                      "type %u: %g, GPTQ %g, nearest %g", kind->type, q->m.loss, q->m.gptq_loss, nearest);
        ck_assert_uint_lt(q->m.rows_kept, ROWS / 4);
    }
    free_engine(&engine);
}
END_TEST

/* Without the refinement after GPTQ, the numbers are those of the blocks of the weights without GPTQ, weighted
 * as requested. */
START_TEST(first_numbers_are_those_of_the_search)
{
    organ_engine engine = make_engine(1, (uint64_t)1 << 30);
    static float numbers[MAX_NUMBERS], weighing[COLS];
    for (size_t j = 0; j < COLS; j++)
        weighing[j] = (float)(j % 5 + 1);
    for (size_t k = 1; k < GRIDS; k += 4) {
        const organ_ggml_kind *const kind = organ_grid_blocks(&grids[k]);
        const size_t count = organ_grid_numbers(&grids[k], COLS);
        const quantised *const q = quantise(&engine, grids[k], weighing, true, false);
        organ_kernels_scalar->fit[kind->type](given.weights, weighing, COLS, blocks, count_of(kind));
        for (size_t i = 0; i < ROWS; i++)
            organ_grid_split(&grids[k], blocks + i * (COLS / kind->elements * kind->bytes), COLS, numbers + i * count,
                             1);
        ck_assert_mem_eq(numbers, q->scales, ROWS * count * sizeof *numbers);
        ck_assert_double_eq(q->m.loss, q->m.gptq_loss);
    }
    free_engine(&engine);
}
END_TEST

START_TEST(bits_are_the_same_for_any_threads_and_kernels)
{
    static const char *const tables[] = {"scalar", NULL};
    organ_engine one = make_engine(1, (uint64_t)1 << 30), many = make_engine(3, (uint64_t)1 << 30);
    const char *why;
    for (size_t k = sampled_unless_all(0, 5, 5); k < GRIDS; k += sampled_unless_all(1, 6, 6)) {
        const quantised *const first = quantise(&one, grids[k], NULL, false, false);
        for (size_t t = 0; t < 2; t++) {
            many.kernels = organ_kernels_choose(organ_cpu_detect(), tables[t], &why);
            const quantised *const other = quantise(&many, grids[k], NULL, false, true);
            ck_assert_mem_eq(first->values, other->values, sizeof first->values);
            ck_assert_mem_eq(first->scales, other->scales, sizeof first->scales);
            ck_assert_double_eq(first->m.loss, other->m.loss);
        }
    }
    free_engine(&one);
    free_engine(&many);
}
END_TEST

/* H in blocks of 256 columns; a layer of zeros stays zero; values beyond F16 become its largest number. */
START_TEST(edges)
{
    organ_engine little = make_engine(2, 1 << 20), engine = make_engine(2, (uint64_t)1 << 30);
    const quantised *const in_blocks = quantise(&little, grids[5], NULL, false, false);
    ck_assert(in_blocks->m.loss < in_blocks->m.gptq_loss);
    for (size_t k = 0; k < LAYER_WEIGHTS; k++)
        given.weights[k] = k % COLS < 256 ? given.weights[k] * 1e10f : 0;
    for (size_t k = sampled_unless_all(0, 1, 1); k < GRIDS; k += sampled_unless_all(1, 3, 4)) {
        const quantised *const q = quantise(&engine, grids[k], NULL, false, false);
        for (size_t j = 0; j < LAYER_WEIGHTS; j++)
            REQUIRE(isfinite(q->values[j]));
        for (size_t j = 0; j < ROWS * organ_grid_numbers(&grids[k], COLS); j++)
            REQUIRE(isfinite(q->scales[j]));
    }
    memset(given.weights, 0, LAYER_WEIGHTS * sizeof *given.weights);
    for (size_t k = sampled_unless_all(0, 2, 2); k < GRIDS; k += sampled_unless_all(1, 3, 4)) {
        const quantised *const q = quantise(&engine, grids[k], NULL, false, false);
        for (size_t j = 0; j < LAYER_WEIGHTS; j++)
            REQUIRE(q->values[j] == 0);
    }
    free_engine(&little);
    free_engine(&engine);
}
END_TEST

int main(void)
{
    const suite_case cases[] = {{"parts",
                                 {parts_there_and_back, encodings_are_blocks, first_numbers_are_those_of_the_search,
                                  plans_know_which_codes_take_longer}},
                                {"losses", {blocks_lose_less, edges}},
                                {"same bits", {bits_are_the_same_for_any_threads_and_kernels}}};
    Suite *const suites[] = {suite_of("gptq_blocks", cases, sizeof cases / sizeof *cases, set_up, tear_down), NULL};
    return run_suites(suites);
}
