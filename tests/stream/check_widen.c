/* SPDX-License-Identifier: MIT
 * Tests of the types that can be widened and narrowed, of the sizes of their units, and of the error of narrowed
 * values. */
#include "orchestrator/stream/read_ahead.h"
#include "orchestrator/stream/product.h"
#include "tests/stream/check_stream.h"
#include "tests/kit/samples.h"
#include "tests/kit/suite_table.h"
#include "tests/kit/require.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { UNITS = 3, CANARY = 0x5a };

static const organ_kernels *best(void)
{
    const char *why;
    return organ_kernels_choose(organ_cpu_detect(), NULL, &why);
}

START_TEST(every_type_of_gguf_widens)
{
    static const organ_dtype narrow[] = {ORGAN_F32,  ORGAN_F16,  ORGAN_BF16, ORGAN_Q8_0,
                                         ORGAN_Q4_0, ORGAN_Q4_1, ORGAN_Q5_0, ORGAN_Q5_1};
    size_t narrows = 0;
    for (int dtype = 0; dtype < ORGAN_DTYPE_COUNT; dtype++) {
        const organ_dtype_info *info = organ_dtype_describe((organ_dtype)dtype);
        ck_assert_msg(organ_can_widen((organ_dtype)dtype) == (info->ggml >= 0), "%s", info->name);
        narrows += organ_can_narrow((organ_dtype)dtype);
    }
    for (size_t k = 0; k < sizeof narrow / sizeof *narrow; k++)
        ck_assert_msg(organ_can_narrow(narrow[k]), "%s", organ_dtype_describe(narrow[k])->name);
    ck_assert_uint_eq(narrows, sizeof narrow / sizeof *narrow);
}
END_TEST

/* Writes exactly the values of the units, whatever they contain; the sanitizer checks that no more is read. */
START_TEST(units_are_as_the_table_says)
{
    for (int dtype = 0; dtype < ORGAN_DTYPE_COUNT; dtype++) {
        const organ_dtype_info *info = organ_dtype_describe((organ_dtype)dtype);
        if (!organ_can_widen((organ_dtype)dtype))
            continue;
        const size_t n = UNITS * (size_t)info->elements;
        unsigned char *units = malloc(UNITS * (size_t)info->bytes);
        float *values = malloc((n + 1) * sizeof *values), unwritten;
        memset(units, 0, UNITS * (size_t)info->bytes);
        memset(values, CANARY, (n + 1) * sizeof *values);
        memset(&unwritten, CANARY, sizeof unwritten);
        organ_widen(best(), (organ_dtype)dtype, units, values, UNITS);
        for (size_t k = 0; k < n; k++)
            REQUIRE_MSG(memcmp(&values[k], &unwritten, sizeof unwritten) != 0, "%s: value %zu is missing", info->name,
                        k);
        ck_assert_msg(memcmp(&values[n], &unwritten, sizeof unwritten) == 0, "%s: a value too many", info->name);
        free(values);
        free(units);
    }
}
END_TEST

/* Error relative to the largest of 32 values: half a step of the codes, plus the rounding of the F16 scale. */
START_TEST(narrowed_values_come_back)
{
    static const struct {
        organ_dtype dtype;
        double tolerance;
    } rows[] = {{ORGAN_F32, 0},      {ORGAN_F16, 0x1p-11}, {ORGAN_BF16, 0x1p-8}, {ORGAN_Q8_0, 0.0045},
                {ORGAN_Q4_0, 0.126}, {ORGAN_Q4_1, 0.068},  {ORGAN_Q5_0, 0.063},  {ORGAN_Q5_1, 0.034}};
    float values[320], back[320];
    unsigned char units[320 * sizeof(float)];
    samples random = {77};
    samples_fill(&random, LAPLACE, values, 320);
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        const organ_dtype_info *info = organ_dtype_describe(rows[r].dtype);
        organ_narrow(best(), rows[r].dtype, values, units, 320 / info->elements);
        organ_widen(best(), rows[r].dtype, units, back, 320 / info->elements);
        for (size_t block = 0; block < 320; block += 32) {
            double max = 0, off = 0;
            for (size_t k = block; k < block + 32; k++) {
                max = fmax(max, fabs((double)values[k]));
                off = fmax(off, fabs((double)values[k] - (double)back[k]));
            }
            ck_assert_msg(off <= rows[r].tolerance * max, "%s: off by %g of %g", info->name, off, max);
        }
    }
}
END_TEST

/* 65519 rounds to 65504, 65520 to infinity. Infinite values and NaN of the model do not count. */
START_TEST(values_beyond_the_range_are_counted)
{
    static const float values[32] = {65504, 65519, -65519, INFINITY, -INFINITY, NAN, 1};
    static const struct {
        organ_dtype dtype;
        float value;
        uint64_t count; /* of one such value among 31 others: a block of infinite scale loses all */
    } rows[] = {{ORGAN_F32, 3e38f, 0},   {ORGAN_F16, 65519, 0},    {ORGAN_F16, -65520, 1},   {ORGAN_F16, 1e38f, 1},
                {ORGAN_BF16, 3e38f, 0},  {ORGAN_BF16, 3.4e38f, 1}, {ORGAN_Q8_0, 8.3e6f, 0},  {ORGAN_Q8_0, 1e7f, 32},
                {ORGAN_Q4_0, 5.2e5f, 0}, {ORGAN_Q4_0, -6e5f, 32},  {ORGAN_Q5_0, 1.04e6f, 0}, {ORGAN_Q5_0, 2e6f, 32}};
    unsigned char units[128];
    organ_narrow(best(), ORGAN_F16, values, units, 32);
    ck_assert_uint_eq(organ_overflow_count(best(), ORGAN_F16, values, units, 32), 0);
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        float one[32] = {1, 2, 3, rows[r].value};
        const size_t count = 32 / organ_dtype_describe(rows[r].dtype)->elements;
        organ_narrow(best(), rows[r].dtype, one, units, count);
        ck_assert_msg(organ_overflow_count(best(), rows[r].dtype, one, units, count) == rows[r].count, "row %zu", r);
    }
}
END_TEST

/* Without `saturate` the first tensor is refused; with it all values are finite, and the first name is kept. */
START_TEST(values_beyond_the_range_are_refused_or_limited)
{
    static const organ_dtype types[] = {ORGAN_F16,  ORGAN_BF16, ORGAN_Q8_0, ORGAN_Q4_0,
                                        ORGAN_Q4_1, ORGAN_Q5_0, ORGAN_Q5_1};
    organ_overflow refuses = ORGAN_OVERFLOW(false), limits = ORGAN_OVERFLOW(true);
    float back[32];
    unsigned char units[128];
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        const organ_dtype_info *const type = organ_dtype_describe(types[t]);
        float one[32] = {1, -2, 3.4e38f, -3.4e38f}, other[32] = {0};
        organ_error error = {0};
        ck_assert_int_eq(
            organ_overflow_narrow(&refuses, best(), types[t], "b", one, units, 32 / type->elements, &error),
            ORGAN_BAD_INPUT);
        ck_assert_msg(strstr(error.message, "tensor 'b': at least") && strstr(error.message, type->name), "%s",
                      error.message);
        error.status = ORGAN_OK;
        ck_assert_int_eq(
            organ_overflow_narrow(&limits, best(), types[t], t ? "b" : "c", one, units, 32 / type->elements, &error),
            ORGAN_OK);
        ck_assert_int_eq(
            organ_overflow_narrow(&limits, best(), types[t], "a", other, units, 32 / type->elements, &error), ORGAN_OK);
        organ_narrow(best(), types[t], one, units, 32 / type->elements);
        organ_widen(best(), types[t], units, back, 32 / type->elements);
        ck_assert_msg(organ_all_finite(back, 32), "%s", type->name);
        ck_assert_msg(fabsf(back[2] - organ_overflow_limit(types[t])) <= 0.13f * back[2], "%s: %g", type->name,
                      (double)back[2]);
    }
    ck_assert_uint_eq(refuses.values, 0);
    ck_assert_str_eq(limits.first, "b");
    ck_assert_uint_gt(limits.values, 7);
}
END_TEST

Suite *widen_suite(void)
{
    const suite_case cases[] = {
        {"types", {every_type_of_gguf_widens, units_are_as_the_table_says}},
        {"values", {narrowed_values_come_back}},
        {"range", {values_beyond_the_range_are_counted, values_beyond_the_range_are_refused_or_limited}},
    };
    return suite_of("widen", cases, sizeof cases / sizeof *cases, NULL, NULL);
}
