/* SPDX-License-Identifier: MIT
 * Tests of lora combine: its arithmetic on arrays, and products of the factors that it makes. */
#include "tests/kit/lora_rig.h"
#include "tests/kit/suite_table.h"

#include "orchestrator/verbs/lora/combine_values.h"

#include <math.h>
#include <organ/report.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

static void expect(const float *made, const float *expected, size_t n)
{
    for (size_t k = 0; k < n; k++)
        ck_assert_msg(made[k] == expected[k], "value %zu is %g, not %g", k, (double)made[k], (double)expected[k]);
}

/* ---- arithmetic; the expected values are those of peft 0.21.2 (utils/merge_utils.py) ---- */

START_TEST(largest_values_stay)
{
    static uint64_t counters[ORGAN_COMBINE_COUNTERS];
    static const float usual[] = {1, -3, 2, 0.5f, -2};
    static const struct {
        double density;
        float kept[5];
    } cases[] = {{0.1, {0, 0, 0, 0, 0}},   {0.2, {0, -3, 0, 0, 0}},
                 {0.4, {0, -3, 2, 0, 0}}, /* of two equal magnitudes the first */
                 {0.6, {0, -3, 2, 0, -2}}, {0.9, {1, -3, 2, 0, -2}},
                 {1, {1, -3, 2, 0.5f, -2}}};
    for (size_t k = 0; k < COUNT(cases); k++) {
        float values[5];
        memcpy(values, usual, sizeof usual);
        organ_combine_prune(values, 5, cases[k].density, counters);
        expect(values, cases[k].kept, 5);
    }
    float near[] = {1.0f, 1.0000001f, 0.99999994f, -1.0000001f, 0}; /* magnitudes that differ in low bits alone */
    organ_combine_prune(near, 5, 0.4, counters);
    expect(near, (const float[]){0, 1.0000001f, 0, -1.0000001f, 0}, 5);
}
END_TEST

START_TEST(signs_are_elected)
{
    static const float x[] = {1, -2, 0, 3, 5, 1, 2}, y[] = {-3, -1, 0, 2, -1, -1, -2}, z[] = {0, 0, 0, 0, -1, 0, 0};
    static const float *const values[] = {x, y, z};
    static const float weights[] = {1, 2, 0.5f};
    float to[7];
    organ_combine_join(values, weights, 3, 7, ORGAN_COMBINE_SUM, to);
    expect(to, (const float[]){-5, -4, 0, 7, 2.5f, -1, -2}, 7);
    organ_combine_join(values, weights, 3, 7, ORGAN_COMBINE_TOTAL, to);
    expect(to, (const float[]){-6, -2, 0, 3.5f, 5, 1, 2}, 7);
    organ_combine_join(values, weights, 3, 7, ORGAN_COMBINE_COUNT, to);
    expect(to, (const float[]){1, -2, 0, 3.5f, -1.25f, 1, 2}, 7);
    uint64_t counts[2] = {0, 0};
    organ_combine_signs(x, y, 7, counts);
    ck_assert_uint_eq(counts[0], 2);
    ck_assert_uint_eq(counts[1], 4);
}
END_TEST

START_TEST(a_mask_is_applied)
{
    float values[] = {1, 2, 3, -4};
    organ_combine_drop(values, (const uint8_t[]){1, 0, 1, 1}, 4, 0.5);
    expect(values, (const float[]){2, 0, 6, -8}, 4);
}
END_TEST

/* Over 100 seeds the share of kept values is the density, within four standard deviations. */
START_TEST(masks_have_the_density)
{
    enum { N = 4000, SEEDS = 100 };
    static uint8_t mask[N], again[N];
    static const double densities[] = {0.1, 0.3, 0.5, 0.9};
    run_engine room;
    run_engine_open(&room, (run_way){.threads = 1});
    for (size_t d = 0; d < COUNT(densities); d++) {
        size_t kept = 0;
        for (uint64_t seed = 0; seed < SEEDS; seed++) {
            organ_combine_draw(room.engine.kernels, seed, 9, densities[d], mask, N);
            for (size_t k = 0; k < N; k++)
                kept += mask[k];
        }
        const double share = (double)kept / (N * SEEDS),
                     deviation = sqrt(densities[d] * (1 - densities[d]) / (N * SEEDS));
        ck_assert_msg(fabs(share - densities[d]) < 4 * deviation, "%g of the values stay", share);
    }
    organ_combine_draw(room.engine.kernels, 99, 9, 0.9, again, N);
    ck_assert_mem_eq(mask, again, N);
    organ_combine_draw(room.engine.kernels, 99, 10, 0.9, again, N);
    ck_assert_mem_ne(mask, again, N);
    run_engine_close(&room);
}
END_TEST

/* ---- products ---- */

/* Adds `factor` times the product of a module to `sum`, unless the adapter lacks it. */
static void add_product(double *sum, const char *adapter, const char *module, double factor)
{
    size_t out, in;
    double *const product = lora_product(adapter, module, &out, &in);
    for (size_t k = 0; k < out * in; k++)
        sum[k] += factor * product[k];
    free(product);
}

static double miss_of(const char *adapter, const char *module, const double *expected)
{
    size_t out, in;
    double miss = 0, all = 0, *const made = lora_product(adapter, module, &out, &in);
    for (size_t k = 0; k < out * in; k++) {
        miss += (made[k] - expected[k]) * (made[k] - expected[k]);
        all += expected[k] * expected[k];
    }
    free(made);
    return sqrt(miss / all);
}

START_TEST(cat_is_the_sum)
{
    static const struct {
        const char *module;
        bool first, second;
    } modules[] = {{"model.layers.0.self_attn.q_proj", true, true},
                   {"model.layers.1.mlp.up_proj", true, true},
                   {"model.layers.1.mlp.down_proj", true, false},
                   {"model.embed_tokens", true, false},
                   {"model.layers.1.self_attn.o_proj", false, true}};
    lora_must((lora_way){.verb = LORA_COMBINE, .output = "out", .weights = "1,-0.5"});
    for (size_t k = 0; k < COUNT(modules); k++) {
        double *const sum = calloc((size_t)216 * 216, sizeof *sum);
        if (modules[k].first)
            add_product(sum, "adapter", modules[k].module, 1);
        if (modules[k].second)
            add_product(sum, "second", modules[k].module, -0.5);
        ck_assert_msg(miss_of("out", modules[k].module, sum) < 1e-6, "%s", modules[k].module);
        free(sum);
    }
}
END_TEST

/* Merged at once, joined adapters give what they give one after the other, to one unit in the last place. */
START_TEST(cat_merges_as_both)
{
    static const char *const weights[] = {"model.layers.0.self_attn.q_proj.weight", "model.layers.1.mlp.up_proj.weight",
                                          "model.layers.1.self_attn.o_proj.weight", "model.embed_tokens.weight"};
    const char *const dtype = _i ? "f32" : "bf16";
    const double ulp = _i ? 0x1p-23 : 0x1p-7;
    lora_must((lora_way){.verb = LORA_COMBINE, .output = "joined"});
    lora_must((lora_way){.output = "one", .dtype = dtype});
    lora_must((lora_way){.output = "two", .base = "one", .adapter = "second", .dtype = dtype});
    lora_must((lora_way){.output = "both", .adapter = "joined", .dtype = dtype});
    for (size_t w = 0; w < COUNT(weights); w++) {
        size_t n = 0, others = 0;
        float *const base = lora_values(scratch_path("donor"), weights[w], &n);
        float *const one = lora_values(scratch_path("one"), weights[w], &n);
        float *const two = lora_values(scratch_path("two"), weights[w], &n);
        float *const both = lora_values(scratch_path("both"), weights[w], &others);
        ck_assert_uint_eq(n, others);
        double most = 0;
        for (size_t k = 0; k < n; k++)
            most = fmax(most, fabs((double)two[k]));
        for (size_t k = 0; k < n; k++) {
            const double last = fmax(fabs((double)one[k]), fmax(fabs((double)two[k]), fabs((double)base[k])));
            const double own = _i ? most : last; /* in FP32 the sums of the products round as well */
            ck_assert_msg(fabs((double)two[k] - (double)both[k]) <= ulp * own, "%s: value %zu is %.9g and %.9g",
                          weights[w], k, (double)two[k], (double)both[k]);
        }
        free(base);
        free(one);
        free(two);
        free(both);
    }
}
END_TEST

START_TEST(svd_keeps_what_it_reports)
{
    lora_must((lora_way){.verb = LORA_COMBINE, .output = "sum"});
    lora_must((lora_way){.verb = LORA_COMBINE, .output = "out", .method = "svd", .rank = 2});
    size_t out, in;
    const char *const module = "model.layers.0.self_attn.q_proj";
    double *const sum = lora_product("sum", module, &out, &in);
    const json_t *const rows = json_object_get(lora_report, "modules");
    double residual = -1;
    for (size_t k = 0; k < json_array_size(rows); k++)
        if (strcmp(organ_json_text(json_array_get(rows, k), "module"), module) == 0)
            residual = json_real_value(json_object_get(json_array_get(rows, k), "residual"));
    ck_assert_double_gt(residual, 0.01);
    ck_assert_double_eq_tol(miss_of("out", module, sum), residual, 1e-5);
    free(sum);
}
END_TEST

START_TEST(a_matrix_beyond_memory)
{
    lora_refused(
        (lora_way){.verb = LORA_COMBINE, .output = "out", .method = "ties_svd", .density = 0.5, .memory = 20000},
        ORGAN_USAGE, "decomposes the whole change");
}
END_TEST

Suite *lora_combine_suite(void)
{
    Suite *const suite = suite_create("lora_combine");
    TCase *const arrays = tcase_create("arrays"), *const runs = tcase_create("runs");
    tcase_add_test(arrays, largest_values_stay);
    tcase_add_test(arrays, signs_are_elected);
    tcase_add_test(arrays, a_mask_is_applied);
    tcase_add_test(arrays, masks_have_the_density);
    tcase_set_timeout(runs, 60);
    tcase_add_checked_fixture(runs, lora_setup, lora_teardown);
    tcase_add_test(runs, cat_is_the_sum);
    tcase_add_loop_test(runs, cat_merges_as_both, 0, 2);
    tcase_add_test(runs, svd_keeps_what_it_reports);
    tcase_add_test(runs, a_matrix_beyond_memory);
    suite_add_tcase(suite, arrays);
    suite_add_tcase(suite, runs);
    return suite;
}
