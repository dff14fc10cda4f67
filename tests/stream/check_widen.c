/* SPDX-License-Identifier: MIT
 * Tests of the types that can be widened and narrowed, of the sizes of their units, and of the error of narrowed
 * values. */
#include "orchestrator/stream/widen.h"
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

Suite *widen_suite(void)
{
    const suite_case cases[] = {
        {"types", {every_type_of_gguf_widens, units_are_as_the_table_says}},
        {"values", {narrowed_values_come_back}},
    };
    return suite_of("widen", cases, sizeof cases / sizeof *cases, NULL, NULL);
}
