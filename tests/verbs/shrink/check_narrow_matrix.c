/* SPDX-License-Identifier: MIT
 * Tests of dropped columns: the choice by numpy, which solves every problem from scratch, and the values of the
 * others. */
#include "orchestrator/verbs/shrink/width_parts.h"

#include "tests/kit/require.h"
#include "tests/kit/samples.h"
#include "tests/kit/suite_table.h"
#include "tests/verbs/prune/physarum_v2_rig.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static layer given;
static organ_engine engine;

static void set_up(void)
{
    given = make_layer();
    engine = make_engine(2, (uint64_t)1 << 30);
}

static void tear_down(void)
{
    free_layer(&given);
    free_engine(&engine);
}

/* The first rows and columns of the layer, and a calibration with these inputs. */
typedef struct part {
    size_t rows, cols;
    float *donor, *weights, *inputs;
    organ_calibration *calibration;
} part;

static part take_part(const organ_engine *with, size_t rows, size_t cols)
{
    part p = {rows,
              cols,
              calloc(rows * cols, sizeof *p.donor),
              calloc(rows * cols, sizeof *p.weights),
              calloc(LAYER_TOKENS * cols, sizeof *p.inputs),
              NULL};
    organ_error error = {0};
    const organ_calibration_options options = {.features = cols,
                                               .name = "part",
                                               .moments_only = true,
                                               .blocks = organ_calibration_memory(cols, 0, false, true) > with->memory};
    ck_assert(p.donor && p.weights && p.inputs);
    for (size_t i = 0; i < rows; i++)
        memcpy(p.donor + i * cols, given.weights + i * LAYER_COLS, cols * sizeof *p.donor);
    memcpy(p.weights, p.donor, rows * cols * sizeof *p.donor);
    for (size_t t = 0; t < LAYER_TOKENS; t++)
        memcpy(p.inputs + t * cols, given.inputs + t * LAYER_COLS, cols * sizeof *p.inputs);
    ck_assert_int_eq(organ_calibration_create(&options, with, &p.calibration, &error), ORGAN_OK);
    ck_assert_int_eq(organ_calibration_add(p.calibration, p.inputs, NULL, LAYER_TOKENS, &error), ORGAN_OK);
    ck_assert_int_eq(organ_calibration_finish(p.calibration, &error), ORGAN_OK);
    return p;
}

static void leave_part(part *p)
{
    organ_calibration_destroy(p->calibration);
    free(p->donor);
    free(p->weights);
    free(p->inputs);
}

static void must_narrow(const organ_engine *with, const part *p, organ_narrow_options options, uint32_t *kept,
                        organ_narrow_report *report)
{
    organ_error error = {0};
    options.name = "part";
    organ_narrow_matrix(with, &options, p->calibration, p->weights, p->rows, p->cols, kept, report, &error);
    ck_assert_msg(error.status == ORGAN_OK, "%s", error.message);
}

static bool is_kept(const uint32_t *kept, size_t count, size_t group)
{
    for (size_t k = 0; k < count; k++)
        if (kept[k] == group)
            return true;
    return false;
}

/* Returns trace(D H D^T) in FP64 from the inputs, D = W - W'. `greatest` is the largest element of D H in the kept
 * columns relative to that of W H: 0 if W' is optimal. */
static double loss_of(const part *p, const uint32_t *kept, size_t count, size_t group, double *greatest)
{
    double loss = 0, square = 0, scale = 0;
    double *const h = calloc(p->cols * p->cols, sizeof *h);
    ck_assert_ptr_nonnull(h);
    for (size_t t = 0; t < LAYER_TOKENS; t++)
        for (size_t i = 0; i < p->cols; i++)
            for (size_t j = 0; j < p->cols; j++)
                h[i * p->cols + j] +=
                    (double)p->inputs[t * p->cols + i] * (double)p->inputs[t * p->cols + j] / LAYER_TOKENS;
    for (size_t j = 0; j < p->cols; j++)
        square += h[j * (p->cols + 1)] / (double)p->cols;
    for (size_t j = 0; j < p->cols; j++)
        h[j * (p->cols + 1)] += ORGAN_NARROW_DAMPING * square;
    *greatest = 0;
    for (size_t r = 0; r < p->rows; r++)
        for (size_t j = 0; j < p->cols; j++) {
            double missed = 0, whole = 0;
            for (size_t i = 0; i < p->cols; i++) {
                const size_t at = r * p->cols + i;
                missed += ((double)p->donor[at] - (double)p->weights[at]) * h[i * p->cols + j];
                whole += (double)p->donor[at] * h[i * p->cols + j];
            }
            loss += missed * ((double)p->donor[r * p->cols + j] - (double)p->weights[r * p->cols + j]);
            scale = fmax(scale, fabs(whole));
            *greatest = is_kept(kept, count, j / group) ? fmax(*greatest, fabs(missed)) : *greatest;
        }
    *greatest /= scale;
    free(h);
    return loss;
}

static void check_zeros(const part *p, const uint32_t *kept, size_t count, size_t group)
{
    for (size_t k = 1; k < count; k++)
        REQUIRE(kept[k - 1] < kept[k]);
    for (size_t k = 0; k < p->rows * p->cols; k++)
        REQUIRE(is_kept(kept, count, k % p->cols / group) || (p->weights[k] == 0 && !signbit(p->weights[k])));
}

#define NEAR(value, requested, part)                                                                                   \
    ck_assert_msg(fabs((value) - (requested)) <= (part)*fabs(requested), "%s is %.9g, not %.9g", #value,               \
                  (double)(value), (double)(requested))

/* ---- comparison with numpy ---- */

/* Results of fixtures/make_width_golden.py for the first rows and columns of the layer. */
typedef struct golden_part {
    size_t rows, cols, group, keep;
    uint32_t kept[40];
    double energy, loss, marked;
    size_t row[3], col[3]; /* of three values */
    double value[3];
} golden_part;

static void check_golden(const golden_part *golden, size_t k)
{
    uint32_t kept[LAYER_COLS];
    organ_narrow_report report;
    part p = take_part(&engine, golden->rows, golden->cols);
    organ_narrow_options options = {.group = golden->group, .keep = golden->keep};
    must_narrow(&engine, &p, options, kept, &report);
    for (size_t g = 0; g < golden->keep; g++)
        ck_assert_msg(kept[g] == golden->kept[g], "case %zu: group %u is kept in place of %u", k, kept[g],
                      golden->kept[g]);
    check_zeros(&p, kept, options.keep, options.group);
    NEAR(report.energy, golden->energy, 1e-5);
    NEAR(report.loss, golden->loss, 1e-5);
    NEAR(report.expected_loss, golden->loss, 1e-4);
    for (size_t v = 0; v < 3; v++)
        ck_assert_msg(fabs((double)p.weights[golden->row[v] * p.cols + golden->col[v]] - golden->value[v]) < 5e-7,
                      "case %zu: %.9g, not %.9g", k, (double)p.weights[golden->row[v] * p.cols + golden->col[v]],
                      golden->value[v]);
    memcpy(p.weights, p.donor, p.rows * p.cols * sizeof *p.donor);
    options.by_magnitude = options.no_refit = true;
    must_narrow(&engine, &p, options, kept, &report);
    NEAR(report.loss, golden->marked, 1e-5);
    for (size_t w = 0; w < p.rows * p.cols; w++)
        REQUIRE(p.weights[w] == (is_kept(kept, options.keep, w % p.cols / options.group) ? p.donor[w] : 0));
    leave_part(&p);
}

START_TEST(the_choice_and_the_values_are_those_of_numpy)
{
    enum { GOLDENS = 6 };
    static const sample_column columns[] = {
        SAMPLE_COLUMN(golden_part, rows), SAMPLE_COLUMN(golden_part, cols),   SAMPLE_COLUMN(golden_part, group),
        SAMPLE_COLUMN(golden_part, keep), SAMPLE_COLUMN(golden_part, kept),   SAMPLE_COLUMN(golden_part, energy),
        SAMPLE_COLUMN(golden_part, loss), SAMPLE_COLUMN(golden_part, marked), SAMPLE_COLUMN(golden_part, row),
        SAMPLE_COLUMN(golden_part, col),  SAMPLE_COLUMN(golden_part, value),  {0}};
    golden_part goldens[GOLDENS];
    ck_assert_uint_eq(SAMPLES_READ("tests/verbs/shrink/narrow_golden.tsv", columns, goldens), GOLDENS);
    for (size_t k = 0; k < GOLDENS; k++)
        check_golden(&goldens[k], k);
}
END_TEST

/* ---- properties for any input ---- */

/* More columns than a delayed update covers; all columns but one. */
START_TEST(what_stays_is_the_best_that_there_is)
{
    static const size_t keeps[] = {319, 192, 60, 1};
    uint32_t kept[LAYER_COLS];
    for (size_t k = 0; k < sizeof keeps / sizeof *keeps; k++) {
        organ_narrow_report report;
        double greatest;
        part p = take_part(&engine, 8, LAYER_COLS);
        must_narrow(&engine, &p, (organ_narrow_options){.group = 1, .keep = keeps[k]}, kept, &report);
        check_zeros(&p, kept, keeps[k], 1);
        const double loss = loss_of(&p, kept, keeps[k], 1, &greatest);
        ck_assert_msg(greatest < 1e-5, "%zu kept: %g is missed", keeps[k], greatest);
        ck_assert(fabs(report.loss - loss) <= 1e-4 * loss + 1e-6 * report.energy);
        ck_assert(fabs(report.expected_loss - loss) <= 1e-3 * loss + 1e-6 * report.energy);
        ck_assert_uint_eq(report.tokens, LAYER_TOKENS);
        ck_assert(!report.block_diagonal && (keeps[k] > 192 || !is_kept(kept, keeps[k], LAYER_DEAD)));
        leave_part(&p);
    }
}
END_TEST

START_TEST(solving_anew_and_choosing_by_the_loss_both_pay)
{
    double losses[2][2];
    uint32_t kept[LAYER_COLS];
    for (unsigned way = 0; way < 4; way++) {
        organ_narrow_report report;
        part p = take_part(&engine, LAYER_ROWS, LAYER_COLS);
        const organ_narrow_options options = {.group = 1, .keep = 160, .by_magnitude = way & 1, .no_refit = way & 2};
        must_narrow(&engine, &p, options, kept, &report);
        losses[way & 1][way >> 1] = report.loss;
        leave_part(&p);
    }
    ck_assert_msg(losses[0][0] < losses[1][0], "%g, %g", losses[0][0], losses[1][0]);
    ck_assert_msg(losses[1][0] < 0.5 * losses[1][1], "%g, %g", losses[1][0], losses[1][1]);
}
END_TEST

START_TEST(nothing_goes_where_all_is_kept)
{
    uint32_t kept[LAYER_COLS];
    organ_narrow_report report;
    part p = take_part(&engine, 4, 64);
    must_narrow(&engine, &p, (organ_narrow_options){.group = 16, .keep = 4}, kept, &report);
    ck_assert_mem_eq(p.weights, p.donor, 4 * 64 * sizeof *p.donor);
    ck_assert_double_eq(report.loss, 0);
    leave_part(&p);
}
END_TEST

START_TEST(a_matrix_of_zeros_loses_nothing)
{
    uint32_t kept[LAYER_COLS];
    organ_narrow_report report;
    part p = take_part(&engine, 4, 64);
    memset(p.weights, 0, 4 * 64 * sizeof *p.weights);
    must_narrow(&engine, &p, (organ_narrow_options){.group = 1, .keep = 10}, kept, &report);
    for (size_t k = 0; k < 10; k++)
        ck_assert_uint_eq(kept[k], 54 + k); /* the first of equal columns is removed */
    ck_assert(report.loss == 0 && report.energy == 0);
    leave_part(&p);
}
END_TEST

/* ---- bit identity ---- */

static void check_same(const organ_engine *with, organ_narrow_options options, const part *requested,
                       const uint32_t *wanted_kept)
{
    uint32_t kept[LAYER_COLS];
    organ_narrow_report report;
    part p = take_part(with, requested->rows, requested->cols);
    must_narrow(with, &p, options, kept, &report);
    ck_assert_mem_eq(kept, wanted_kept, options.keep * sizeof *kept);
    ck_assert_mem_eq(p.weights, requested->weights, p.rows * p.cols * sizeof *p.weights);
    leave_part(&p);
}

START_TEST(neither_threads_nor_isa_show)
{
    static const size_t groups[] = {1, 40};
    for (size_t k = 0; k < 2; k++) {
        const organ_narrow_options options = {.group = groups[k], .keep = 160 / groups[k]};
        uint32_t kept[LAYER_COLS];
        organ_narrow_report report;
        const char *why;
        part p = take_part(&engine, 40, LAYER_COLS);
        must_narrow(&engine, &p, options, kept, &report);
        organ_engine other = make_engine(3, (uint64_t)1 << 30);
        check_same(&other, options, &p, kept);
        other.kernels = organ_kernels_choose(organ_cpu_detect(), "scalar", &why);
        check_same(&other, options, &p, kept);
        free_engine(&other);
        leave_part(&p);
    }
}
END_TEST

/* Columns 256 to 319 are a block of their own; a group of 40 crosses the boundary. */
START_TEST(blocks_serve_where_memory_is_short)
{
    static const size_t groups[] = {1, 40};
    organ_engine small = make_engine(2, 1 << 20);
    for (size_t k = 0; k < 2; k++) {
        const organ_narrow_options options = {.group = groups[k], .keep = 200 / groups[k]};
        organ_narrow_options unsolved = options;
        uint32_t kept[LAYER_COLS];
        organ_narrow_report report, without;
        double greatest;
        part p = take_part(&small, 16, LAYER_COLS);
        must_narrow(&small, &p, options, kept, &report);
        ck_assert(report.block_diagonal);
        check_zeros(&p, kept, options.keep, options.group);
        const double solved_loss = loss_of(&p, kept, options.keep, options.group, &greatest);
        memcpy(p.weights, p.donor, p.rows * p.cols * sizeof *p.donor);
        unsolved.by_magnitude = unsolved.no_refit = true;
        must_narrow(&small, &p, unsolved, kept, &without);
        ck_assert(solved_loss < 0.9 * loss_of(&p, kept, options.keep, options.group, &greatest));
        NEAR(report.expected_loss, report.loss, 1e-3);
        leave_part(&p);
    }
    free_engine(&small);
}
END_TEST

/* ---- errors ---- */

static void must_refuse(const part *p, organ_status status, const char *told)
{
    uint32_t kept[LAYER_COLS];
    organ_narrow_report report;
    organ_error error = {0};
    const organ_narrow_options options = {.name = "part", .group = 1, .keep = 5};
    organ_narrow_matrix(&engine, &options, p->calibration, p->weights, p->rows, p->cols, kept, &report, &error);
    ck_assert_int_eq(error.status, status);
    ck_assert_str_eq(error.message, told);
}

START_TEST(values_that_are_not_finite)
{
    static const float values[] = {NAN, INFINITY};
    part p = take_part(&engine, 4, 64);
    for (size_t k = 0; k < 2; k++) {
        p.weights[77] = values[k];
        must_refuse(&p, ORGAN_BAD_INPUT, "tensor 'part' has values that are not finite");
    }
    leave_part(&p);
}
END_TEST

START_TEST(a_stopped_engine_stops)
{
    organ_stop stop = {0};
    part p = take_part(&engine, 4, 64);
    organ_stop_request(&stop);
    engine.stop = &stop;
    must_refuse(&p, ORGAN_INTERRUPTED, "part: interrupted");
    leave_part(&p);
}
END_TEST

static Suite *narrow_suite(void)
{
    const suite_case cases[] = {{"golden", {the_choice_and_the_values_are_those_of_numpy}},
                                {"whatever is asked",
                                 {what_stays_is_the_best_that_there_is, solving_anew_and_choosing_by_the_loss_both_pay,
                                  nothing_goes_where_all_is_kept, a_matrix_of_zeros_loses_nothing}},
                                {"same bits", {neither_threads_nor_isa_show, blocks_serve_where_memory_is_short}},
                                {"refused", {values_that_are_not_finite, a_stopped_engine_stops}}};
    return suite_of("narrow matrices", cases, sizeof cases / sizeof *cases, set_up, tear_down);
}

int main(void)
{
    Suite *const suites[] = {narrow_suite(), NULL};
    return run_suites(suites);
}
