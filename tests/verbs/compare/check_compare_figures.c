/* SPDX-License-Identifier: MIT
 * Tests of organ compare: figures against sums in the order of the elements, the assignment of rows against all
 * permutations, runs that end early. */
#include "orchestrator/solve/assign.h"
#include "orchestrator/verbs/compare/compare_job.h"
#include "tests/kit/run_rig.h"
#include "tests/kit/suite_table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MODELS = 3, ROWS = 600, COLS = 1001, NORM = 301, VALUES = ROWS * COLS + NORM };

static const char header[] =
    "{\"model.layers.0.mlp.up_proj.weight\":{\"dtype\":\"F32\",\"shape\":[600,1001],\"data_offsets\":[0,2402400]},"
    "\"model.layers.0.input_layernorm.weight\":{\"dtype\":\"F32\",\"shape\":[301],\"data_offsets\":[2402400,2403604]}}";

static float *values[MODELS];
static uint32_t seed;

static float draw(void)
{
    seed = seed * 1664525U + 1013904223U;
    return (float)(int32_t)seed / 2147483648.0F;
}

/* The third model is farther from the first than the second is; some values are 0 or equal. */
static void fill_values(void)
{
    seed = 7;
    for (size_t k = 0; k < VALUES; k++) {
        values[0][k] = k % 11 == 0 ? 0 : draw();
        values[1][k] = k % 5 == 0 ? values[0][k] : values[0][k] + 0.1F * draw();
        values[2][k] = k % 7 == 0 ? 0 : values[0][k] + 0.3F * draw();
    }
    values[1][12345] = NAN;
    values[2][400000] = INFINITY;
    values[2][VALUES - 1] = -INFINITY;
}

static void write_models(void)
{
    const uint64_t length = sizeof header - 1;
    unsigned char *const file = malloc(8 + length + VALUES * sizeof(float));
    for (size_t m = 0; m < MODELS; m++) {
        memcpy(file, &length, 8);
        memcpy(file + 8, header, length);
        memcpy(file + 8 + length, values[m], VALUES * sizeof(float));
        spill(scratch_path("%zu.safetensors", m), file, 8 + length + VALUES * sizeof(float));
    }
    free(file);
}

static void setup(void)
{
    scratch_make();
    for (size_t m = 0; m < MODELS; m++)
        values[m] = malloc(VALUES * sizeof(float));
    fill_values();
    write_models();
}

static void teardown(void)
{
    for (size_t m = 0; m < MODELS; m++)
        free(values[m]);
    scratch_remove();
}

static organ_status compare(run_way way, json_t **report, organ_error *error)
{
    const char *const models[] = {scratch_path("0.safetensors"), scratch_path("1.safetensors"),
                                  scratch_path("2.safetensors")};
    organ_compare_options options = organ_compare_defaults();
    run_engine room;
    options.models = models;
    options.model_count = MODELS;
    run_engine_open(&room, way);
    organ_compare(&options, &room.engine, NULL, report, error);
    run_engine_close(&room);
    return error->status;
}

/* ---- figures ---- */

static bool is_finite(size_t k) { return isfinite(values[0][k]) && isfinite(values[1][k]) && isfinite(values[2][k]); }

static void require_near(const json_t *row, const char *name, double expected)
{
    const double found = json_number_value(json_object_get(row, name));
    ck_assert_msg(fabs(found - expected) < 2e-9, "%s is %.12g, not %.12g", name, found, expected);
}

/* A pair in values [from, to), without values that are not finite. */
static void require_pair(const json_t *row, size_t i, size_t j, size_t from, size_t to)
{
    double squares[2] = {0}, product = 0, distance = 0;
    size_t same = 0, equal = 0, signs = 0, count = 0;
    for (size_t k = from; k < to; k++) {
        const double a = (double)values[i][k], b = (double)values[j][k];
        if (!is_finite(k))
            continue;
        count++;
        squares[0] += a * a;
        squares[1] += b * b;
        product += a * b;
        distance += (a - b) * (a - b);
        same += a == b;
        signs += a != 0 && b != 0;
        equal += a * b > 0;
    }
    ck_assert_uint_eq((size_t)json_integer_value(json_object_get(row, "values")), count);
    require_near(row, "distance", sqrt(2 * distance / (squares[0] + squares[1])));
    require_near(row, "cosine", product / sqrt(squares[0] * squares[1]));
    require_near(row, "equal", (double)same / (double)count);
    require_near(row, "same_signs", (double)equal / (double)signs);
}

/* The differences of the second and the third model from the first, in the matrix. */
static void require_difference(const json_t *row)
{
    double squares[2] = {0}, product = 0;
    size_t equal = 0, signs = 0;
    for (size_t k = 0; k < ROWS * COLS; k++) {
        const double a = (double)values[1][k] - (double)values[0][k], b = (double)values[2][k] - (double)values[0][k];
        if (!is_finite(k))
            continue;
        squares[0] += a * a;
        squares[1] += b * b;
        product += a * b;
        signs += a != 0 && b != 0;
        equal += a * b > 0;
    }
    require_near(row, "cosine", product / sqrt(squares[0] * squares[1]));
    ck_assert_double_eq_tol(json_number_value(json_object_get(row, "same_signs")), (double)equal / (double)signs, 1e-6);
}

START_TEST(figures_are_those_of_the_values)
{
    static const size_t pairs[][2] = {{0, 1}, {0, 2}, {1, 2}};
    organ_error error = {0};
    json_t *report = NULL;
    ck_assert_msg(compare((run_way){0}, &report, &error) == ORGAN_OK, "%s", error.message);
    const json_t *const rows = json_object_get(report, "pairs");
    ck_assert_uint_eq(json_array_size(rows), 3);
    for (size_t p = 0; p < 3; p++) {
        const json_t *const row = json_array_get(rows, p), *const cells = json_object_get(row, "cells");
        require_pair(row, pairs[p][0], pairs[p][1], 0, ROWS * COLS);
        ck_assert_uint_eq(json_array_size(cells), 2);
        require_pair(json_array_get(cells, 0), pairs[p][0], pairs[p][1], 0, ROWS * COLS);
        require_pair(json_array_get(cells, 1), pairs[p][0], pairs[p][1], ROWS * COLS, VALUES);
    }
    ck_assert_int_eq((int)json_integer_value(json_object_get(report, "skipped")), 3);
    ck_assert_str_eq(json_string_value(json_object_get(json_object_get(report, "lineage"), "base")), "A");
    require_difference(json_array_get(json_object_get(report, "differences"), 0));
    json_decref(report);
}
END_TEST

START_TEST(figures_do_not_depend_on_threads_and_memory)
{
    static const run_way ways[] = {{.isa = "scalar", .threads = 1}, {.threads = 5}, {.threads = 3, .memory = 12 << 20}};
    organ_error error = {0};
    json_t *whole = NULL;
    ck_assert_msg(compare((run_way){0}, &whole, &error) == ORGAN_OK, "%s", error.message);
    json_object_del(whole, "run");
    for (size_t k = 0; k < sizeof ways / sizeof *ways; k++) {
        json_t *report = NULL;
        ck_assert_msg(compare(ways[k], &report, &error) == ORGAN_OK, "%s", error.message);
        json_object_del(report, "run");
        ck_assert(json_equal(report, whole));
        json_decref(report);
    }
    json_decref(whole);
}
END_TEST

START_TEST(runs_that_end_early_have_no_report)
{
    organ_stop stop = {0};
    organ_error error = {0};
    json_t *report = NULL;
    ck_assert_int_eq(compare((run_way){.memory = 1 << 20}, &report, &error), ORGAN_USAGE);
    ck_assert_ptr_null(report);
    organ_stop_request(&stop);
    error = (organ_error){0};
    ck_assert_int_eq(compare((run_way){.stop = &stop}, &report, &error), ORGAN_INTERRUPTED);
    ck_assert_ptr_null(report);
}
END_TEST

/* ---- assignments ---- */

enum { MOST = 6 };

static double best_sum(size_t n, const double *gain, size_t row, unsigned used)
{
    double best = row == n ? 0 : -INFINITY;
    for (size_t c = 0; row < n && c < n; c++)
        if (!(used & 1U << c))
            best = fmax(best, gain[row * n + c] + best_sum(n, gain, row + 1, used | 1U << c));
    return best;
}

/* Some matrices have many equal elements. */
START_TEST(assignments_have_the_greatest_sum)
{
    seed = 3;
    for (unsigned round = 0; round < 300; round++) {
        const size_t n = 1 + round % MOST;
        double gain[MOST * MOST], sum = 0;
        size_t row_of[MOST];
        unsigned used = 0;
        void *const room = malloc(organ_assign_room(n));
        for (size_t k = 0; k < n * n; k++)
            gain[k] = round % 3 ? (double)draw() : floor(3 * (double)draw());
        organ_assign(n, gain, row_of, room);
        for (size_t k = 0; k < n; k++) {
            ck_assert_uint_lt(row_of[k], n);
            used |= 1U << row_of[k];
            sum += gain[k * n + row_of[k]];
        }
        ck_assert_uint_eq(used, (1U << n) - 1);
        ck_assert_double_eq_tol(sum, best_sum(n, gain, 0, 0), 1e-12);
        free(room);
    }
}
END_TEST

/* Tries all permutations of groups, and within each group all of its rows. */
static double best_of_groups(size_t n, size_t each, const double *gain, size_t row, unsigned used, size_t to)
{
    double best = -INFINITY;
    if (row == n)
        return 0;
    for (size_t c = 0; c < n; c++)
        if (!(used & 1U << c) && (row % each ? c / each == to : !(used >> c / each * each & ((1U << each) - 1))))
            best = fmax(best, gain[row * n + c] + best_of_groups(n, each, gain, row + 1, used | 1U << c, c / each));
    return best;
}

START_TEST(groups_are_assigned_whole)
{
    seed = 4;
    for (unsigned round = 0; round < 120; round++) {
        const size_t shapes[][2] = {{6, 2}, {6, 3}, {6, 1}, {6, 6}, {4, 2}}, n = shapes[round % 5][0],
                     groups = shapes[round % 5][1], each = n / groups;
        double gain[MOST * MOST], sum = 0;
        size_t row_of[MOST];
        unsigned used = 0;
        void *const room = malloc(organ_assign_groups_room(n, groups));
        for (size_t k = 0; k < n * n; k++)
            gain[k] = round % 3 ? (double)draw() : floor(3 * (double)draw());
        organ_assign_groups(n, groups, gain, row_of, room);
        for (size_t k = 0; k < n; k++) {
            ck_assert_uint_lt(row_of[k], n);
            ck_assert_uint_eq(row_of[k] / each, row_of[k / each * each] / each);
            used |= 1U << row_of[k];
            sum += gain[k * n + row_of[k]];
        }
        ck_assert_uint_eq(used, (1U << n) - 1);
        ck_assert_double_eq_tol(sum, best_of_groups(n, each, gain, 0, 0, 0), 1e-12);
        free(room);
    }
}
END_TEST

static Suite *compare_suite(void)
{
    const suite_case cases[] = {{"figures",
                                 {figures_are_those_of_the_values, figures_do_not_depend_on_threads_and_memory,
                                  runs_that_end_early_have_no_report}},
                                {"assignments", {assignments_have_the_greatest_sum, groups_are_assigned_whole}}};
    return suite_of("compare_figures", cases, sizeof cases / sizeof *cases, setup, teardown);
}

int main(void) { return run_suites((Suite *const[]){compare_suite(), NULL}); }
