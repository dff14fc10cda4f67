/* SPDX-License-Identifier: MIT
 * Tests the order in which windows of a text are scored. */
#include "orchestrator/surgery/scoring/scoring.h"

#include "formats/base/owned.h"
#include "tests/kit/suite_table.h"

#include <math.h>
#include <stdlib.h>

static size_t *order_of(size_t windows)
{
    organ_error error = {0};
    size_t *order = NULL;
    ck_assert_int_eq(organ_scoring_order(windows, &order, &error), ORGAN_OK);
    return order;
}

/* Expected values: an implementation in Python by docs/definitions/perplexity.md. */
START_TEST(order_is_that_of_the_definition)
{
    static const size_t expected[] = {0, 8, 5, 12, 18, 2, 11, 6, 14, 17, 1, 9, 4, 13, 19, 3, 10, 7, 15, 16};
    ORGAN_OWNED size_t *const order = order_of(20);
    ck_assert_mem_eq(order, expected, sizeof expected);
}
END_TEST

/* Of the first windows, each beginning of the text has its share, to within 4 windows. */
START_TEST(beginnings_are_spread_over_the_text)
{
    for (size_t windows = 1; windows <= 700; windows += windows < 20 ? 1 : 97) {
        ORGAN_OWNED size_t *const order = order_of(windows);
        ORGAN_OWNED size_t *const before = calloc(windows + 1, sizeof *before);
        ck_assert_uint_eq(order[0], 0);
        for (size_t n = 1; n <= windows; n++) {
            ck_assert_uint_lt(order[n - 1], windows);
            for (size_t x = order[n - 1] + 1; x <= windows; x++)
                before[x]++;
            for (size_t x = 0; x <= windows; x++)
                ck_assert_double_lt(fabs((double)before[x] - (double)(n * x) / (double)windows), 4.0);
        }
        for (size_t x = 0; x <= windows; x++)
            ck_assert_uint_eq(before[x], x); /* each window once */
    }
}
END_TEST

Suite *window_order_suite(void);
Suite *window_order_suite(void)
{
    const suite_case cases[] = {{"order", {order_is_that_of_the_definition, beginnings_are_spread_over_the_text}}};
    return suite_of("window_order", cases, 1, NULL, NULL);
}
