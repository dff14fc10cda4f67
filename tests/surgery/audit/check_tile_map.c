/* SPDX-License-Identifier: MIT
 * Tests of maps of tiles and magnitudes of removed weights: the counts of a plain loop for any shape, type and
 * memory. */
#include "orchestrator/stream/product.h"
#include "orchestrator/surgery/audit/audit.h"
#include "tests/verbs/prune/prune_rig.h"
#include "tests/kit/suite_table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MODELS = 2, DONOR = 0, COPY = 1 };

/* Makes models of one tensor each; in the copy every third weight of the upper left part is zero. */
static void make_pair(const made_tensor *tensor, organ_model *models[MODELS])
{
    organ_error error = {0};
    size_t size;
    make_shard(scratch_path("a.safetensors"), tensor, 1);
    char *const data = slurp(scratch_path("a.safetensors"), &size);
    const size_t bytes = tensor->dtype == ORGAN_F32 ? 4 : 2;
    ck_assert_int_eq(organ_model_open(scratch_path("a.safetensors"), &models[DONOR], &error), ORGAN_OK);
    const organ_tensor *const t = &models[DONOR]->tensors[0];
    const organ_matrices m = organ_tensor_matrices(t);
    for (uint64_t k = 0; k < t->elements; k += 3)
        if (k % m.cols < m.cols / 2 && k / m.cols % m.rows <= m.rows / 3)
            memset(data + t->offset + k * bytes, 0, bytes);
    spill(scratch_path("b.safetensors"), data, size);
    free(data);
    ck_assert_int_eq(organ_model_open(scratch_path("b.safetensors"), &models[COPY], &error), ORGAN_OK);
}

static bool is_zero(const char *data, const organ_tensor *t, uint64_t element)
{
    static const char zeros[2][4] = {{0, 0, 0, 0}, {0, 0, 0, (char)0x80}};
    const size_t bytes = t->dtype == ORGAN_F32 ? 4 : 2;
    const char *const at = data + t->offset + element * bytes;
    return memcmp(at, zeros[0], bytes) == 0 || memcmp(at, zeros[1] + 4 - bytes, bytes) == 0;
}

/* Makes the same map by a loop over all weights; returns the number of removed weights. */
static uint64_t count_plainly(const organ_tensor *t, uint64_t side, uint64_t *killed)
{
    size_t size;
    char *const before = slurp(scratch_path("a.safetensors"), &size), *const after =
                                                                          slurp(scratch_path("b.safetensors"), &size);
    const organ_matrices m = organ_tensor_matrices(t);
    const uint64_t down = (m.rows + side - 1) / side, across = (m.cols + side - 1) / side;
    uint64_t all = 0;
    for (uint64_t k = 0; k < t->elements; k++)
        if (!is_zero(before, t, k) && is_zero(after, t, k)) {
            const uint64_t row = k / m.cols % m.rows, matrix = k / m.cols / m.rows;
            killed[(matrix * down + row / side) * across + k % m.cols / side]++;
            all++;
        }
    free(before);
    free(after);
    return all;
}

static json_t *map_of(organ_model *const models[MODELS], uint64_t killed, size_t block, uint64_t memory)
{
    const organ_tally row = {.tensor = &models[DONOR]->tensors[0], .killed = killed};
    organ_error error = {0};
    run_engine room;
    json_t *map = NULL;
    run_engine_open(&room, (run_way){.memory = memory});
    ck_assert_msg(organ_tile_map(models[DONOR], models[COPY], &row, 1, block, &room.engine, &map, &error) == ORGAN_OK,
                  "%s", error.message);
    run_engine_close(&room);
    return map;
}

static const struct {
    made_tensor tensor;
    size_t block;
    long long side, rows, cols;
} shapes[] = {
    {{"a.weight", ORGAN_BF16, 2, {300, 200}}, 64, 16, 19, 13},     /* halved down to the smallest side */
    {{"b.weight", ORGAN_F32, 2, {512, 512}}, 32, 32, 16, 16},      /* 256 tiles: unchanged */
    {{"c.weight", ORGAN_F16, 3, {5, 100, 33}}, 17, 17, 30, 2},     /* an odd block stays; matrices below each other */
    {{"d.weight", ORGAN_BF16, 2, {1300, 1300}}, 16, 32, 41, 41},   /* doubled: 82 x 82 tiles are too many */
    {{"e.weight", ORGAN_BF16, 4, {2, 3, 40, 20}}, 256, 16, 18, 2}, /* leading axes stacked */
    {{"f.weight", ORGAN_F32, 2, {1, 5000}}, 4096, 16, 1, 313},
};

START_TEST(counts_are_those_of_a_plain_loop)
{
    organ_model *models[MODELS];
    make_pair(&shapes[_i].tensor, models);
    const organ_tensor *const t = &models[DONOR]->tensors[0];
    uint64_t *const expected = calloc((size_t)(shapes[_i].rows * shapes[_i].cols), sizeof *expected);
    ck_assert_ptr_nonnull(expected);
    const uint64_t all = count_plainly(t, (uint64_t)shapes[_i].side, expected);
    json_t *const map = map_of(models, all, shapes[_i].block, 0), *const again =
                                                                      map_of(models, all, shapes[_i].block, 8 << 20);
    ck_assert_uint_gt(all, 0);
    ck_assert(json_equal(map, again));
    ck_assert_str_eq(json_string_value(json_object_get(map, "tensor")), t->name);
    ck_assert_int_eq(number_at(map, "tile", NULL, NULL), shapes[_i].side);
    ck_assert_int_eq(number_at(map, "rows", NULL, NULL), shapes[_i].rows);
    ck_assert_int_eq(number_at(map, "cols", NULL, NULL), shapes[_i].cols);
    const json_t *const killed = json_object_get(map, "killed");
    ck_assert_uint_eq(json_array_size(killed), (size_t)(shapes[_i].rows * shapes[_i].cols));
    for (size_t k = 0; k < json_array_size(killed); k++)
        ck_assert_uint_eq((uint64_t)json_integer_value(json_array_get(killed, k)), expected[k]);
    json_decref(map);
    json_decref(again);
    free(expected);
    organ_model_close(models[DONOR]);
    organ_model_close(models[COPY]);
}
END_TEST

START_TEST(what_is_no_matrix_has_no_map)
{
    const made_tensor tensor = {"v.weight", ORGAN_F32, 1, {64}};
    organ_model *models[MODELS];
    make_pair(&tensor, models);
    ck_assert_ptr_null(map_of(models, 10, 64, 0));
    organ_model_close(models[DONOR]);
    organ_model_close(models[COPY]);
}
END_TEST

/* Both choose the tensor that is farthest from the mean, and agree on all of it except the edge of a tile. */
START_TEST(pruning_and_audit_tell_the_same)
{
    organ_error error;
    must_prune("out", (way){0});
    json_t *const said = json_incref(json_object_get(last_report, "tile_map"));
    const json_t *const tensors = json_object_get(last_report, "tensors");
    const double mean = json_number_value(json_object_get(json_object_get(last_report, "per_tensor"), "mean"));
    const double off = fabs(json_number_value(json_object_get(said, "percent")) - mean);
    long long sum = 0, found = 0;
    for (size_t k = 0; k < json_array_size(json_object_get(said, "killed")); k++)
        sum += json_integer_value(json_array_get(json_object_get(said, "killed"), k));
    for (size_t k = 0; k < json_array_size(tensors); k++) {
        const json_t *const row = json_array_get(tensors, k);
        ck_assert_double_le(fabs(json_number_value(json_object_get(row, "percent")) - mean), off + 1e-6);
        if (strcmp(json_string_value(json_object_get(row, "name")),
                   json_string_value(json_object_get(said, "tensor"))) == 0)
            found = json_integer_value(json_object_get(row, "killed"));
    }
    ck_assert_int_gt(sum, 0);
    ck_assert_int_eq(sum, found);
    ck_assert_msg(audit("out", &error) == ORGAN_OK, "%s", error.message);
    const json_t *const counted = json_object_get(last_report, "tile_map");
    ck_assert(json_equal(json_object_get(said, "tensor"), json_object_get(counted, "tensor")));
    ck_assert(json_equal(json_object_get(said, "percent"), json_object_get(counted, "percent")));
    ck_assert(json_equal(json_object_get(said, "killed"), json_object_get(counted, "killed")));
    json_decref(said);
}
END_TEST

/* Returns all values of a tensor. */
static float *values_of(const char *data, const organ_tensor *t)
{
    float *const values = malloc(t->elements * sizeof *values);
    organ_widen(organ_kernels_choose(organ_cpu_detect(), "scalar", &(const char *){0}), t->dtype, data + t->offset,
                values, t->elements);
    return values;
}

enum { FROM = -24, HALF_OCTAVES = 56 };

/* Returns the half octave of a magnitude by comparison with powers of the root of 2. */
static size_t half_octave(double magnitude)
{
    static double bounds[HALF_OCTAVES];
    for (size_t k = 0; k < HALF_OCTAVES && bounds[0] == 0; k++)
        bounds[HALF_OCTAVES - 1 - k] = (double)(float)exp2(FROM + (double)(HALF_OCTAVES - 1 - k) / 2);
    size_t bin = HALF_OCTAVES - 1;
    while (bin > 0 && magnitude < bounds[bin])
        bin--;
    return bin;
}

/* Returns the histogram of the files, or of the copy's bytes given in pieces of `piece` weights, which end within
 * rows. */
static json_t *magnitudes_of(organ_model *const models[MODELS], uint64_t enough, const char *isa, const char *shown,
                             uint64_t piece)
{
    const organ_tensor *const t = &models[DONOR]->tensors[0], *const other = &models[COPY]->tensors[0];
    const size_t each = organ_dtype_describe(t->dtype)->bytes;
    organ_error error = {0};
    organ_magnitudes *m;
    json_t *report = NULL;
    const organ_kernels *const kernels = organ_kernels_choose(organ_cpu_detect(), isa, &(const char *){0});
    organ_magnitudes_open(models[DONOR], &t, 1, enough, kernels, &m, &error);
    for (uint64_t from = 0, n; shown && from < t->elements; from += n) {
        n = t->elements - from < piece ? t->elements - from : piece;
        organ_magnitudes_add(m, 0, shown + other->offset + from * each, from * each, (size_t)n * each, &error);
    }
    organ_magnitudes_json(m, models[COPY], NULL, &report, &error);
    organ_magnitudes_close(m);
    ck_assert_msg(error.status == ORGAN_OK, "%s", error.message);
    return report;
}

START_TEST(magnitudes_are_those_of_a_plain_loop)
{
    organ_model *models[MODELS];
    make_pair(&shapes[_i].tensor, models);
    const organ_tensor *const t = &models[DONOR]->tensors[0];
    const organ_matrices m = organ_tensor_matrices(t);
    size_t size;
    char *const before = slurp(scratch_path("a.safetensors"), &size), *const after =
                                                                          slurp(scratch_path("b.safetensors"), &size);
    float *const values = values_of(before, t);
    for (uint64_t step = 1; step <= 3; step += 2) {
        const uint64_t enough = (t->elements - 1) / step + 1;
        json_t *const report = magnitudes_of(models, enough, NULL, NULL, 0);
        json_t *const same = magnitudes_of(models, enough, "scalar", NULL, 0);
        json_t *const shown = magnitudes_of(models, enough, NULL, after, m.cols + m.cols / 2 + 1);
        long long all[64] = {0}, killed[64] = {0}, zero = 0, weights = 0;
        ck_assert(json_equal(report, same));
        ck_assert(json_equal(report, shown));
        for (uint64_t k = 0; k < t->elements; k++) {
            if (k / m.cols % step)
                continue;
            weights++;
            if (is_zero(before, t, k)) {
                zero++;
                continue;
            }
            const size_t bin = half_octave(fabs((double)values[k]));
            all[bin]++;
            killed[bin] += is_zero(after, t, k);
        }
        ck_assert_int_eq(json_integer_value(json_object_get(report, "from_log2")), FROM);
        ck_assert_uint_eq(json_array_size(json_object_get(report, "count")), HALF_OCTAVES);
        ck_assert_int_eq(json_integer_value(json_object_get(report, "every_row")), (long long)step);
        ck_assert_int_eq(json_integer_value(json_object_get(report, "weights")), weights);
        ck_assert_int_eq(json_integer_value(json_object_get(report, "zero")), zero);
        for (size_t k = 0; k < json_array_size(json_object_get(report, "count")); k++) {
            ck_assert_int_eq(json_integer_value(json_array_get(json_object_get(report, "count"), k)), all[k]);
            ck_assert_int_eq(json_integer_value(json_array_get(json_object_get(report, "killed"), k)), killed[k]);
        }
        json_decref(report);
        json_decref(same);
        json_decref(shown);
    }
    free(values);
    free(before);
    free(after);
    organ_model_close(models[DONOR]);
    organ_model_close(models[COPY]);
}
END_TEST

Suite *tile_map_suite(void)
{
    Suite *const suite = suite_create("tile map");
    TCase *const counts = tcase_create("counts"), *const runs = tcase_create("runs");
    tcase_add_checked_fixture(counts, scratch_make, scratch_remove);
    tcase_add_loop_test(counts, counts_are_those_of_a_plain_loop, 0, sizeof shapes / sizeof *shapes);
    tcase_add_loop_test(counts, magnitudes_are_those_of_a_plain_loop, 0, sizeof shapes / sizeof *shapes);
    tcase_add_test(counts, what_is_no_matrix_has_no_map);
    tcase_add_checked_fixture(runs, rig_setup, rig_teardown);
    tcase_add_test(runs, pruning_and_audit_tell_the_same);
    suite_add_tcase(suite, counts);
    suite_add_tcase(suite, runs);
    return suite;
}
