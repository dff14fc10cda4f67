/* SPDX-License-Identifier: MIT
 * A list of products dealt out to workers has the bits that the kernel gives each product whole, for any number of them. */
#include "orchestrator/stream/engine.h"
#include "orchestrator/stream/product.h"
#include "tests/kit/samples.h"
#include "tests/kit/require.h"
#include <check.h>

#include <stdlib.h>
#include <string.h>

enum { PRODUCTS = 5 };

typedef struct shape {
    size_t m, n, k;
    bool wide, transposed;
    organ_real type; /* of b */
} shape;
static const shape shapes[PRODUCTS] = {{300, 700, 270, false, false, ORGAN_REAL_F32},
                                       {1, 1500, 80, false, false, ORGAN_REAL_BF16},
                                       {0, 20, 5, false, false, ORGAN_REAL_F32},
                                       {530, 65, 300, true, true, ORGAN_REAL_F32},
                                       {7, 3, 0, false, true, ORGAN_REAL_F16}};

static float *numbers(size_t count, uint64_t seed)
{
    float *const values = malloc((count + 1) * sizeof *values);
    samples random = {seed};
    ck_assert_ptr_nonnull(values);
    samples_fill(&random, NORMAL, values, count);
    return values;
}

/* 16-bit types take their words from the same numbers: whatever these are. */
static organ_product create_product(const shape *s, uint64_t seed)
{
    organ_product p = {.m = s->m, .n = s->n, .k = s->k, .c_stride = s->n + 3, .wide = s->wide};
    p.a = (organ_factor){numbers(s->m * s->k, seed), ORGAN_REAL_F32, s->transposed, s->transposed ? s->m : s->k};
    p.b = (organ_factor){numbers(s->n * s->k, seed + 1), s->type, s->transposed, s->transposed ? s->n : s->k};
    p.c = calloc(s->m * p.c_stride + 1, s->wide ? 8 : 4);
    ck_assert_ptr_nonnull(p.c);
    return p;
}

static void destroy_product(organ_product *p)
{
    free((void *)(uintptr_t)p->a.values);
    free((void *)(uintptr_t)p->b.values);
    free(p->c);
}

START_TEST(dealt_products_are_whole_ones)
{
    organ_product whole[PRODUCTS], dealt[PRODUCTS];
    organ_engine *engine = NULL;
    organ_error error = {0};
    ck_assert_int_eq(organ_engine_create(NULL, (size_t)_i, 0, &engine, &error), ORGAN_OK);
    void *const scratch = aligned_alloc(64, organ_products_scratch(engine));
    ck_assert_ptr_nonnull(scratch);
    for (size_t k = 0; k < PRODUCTS; k++) {
        whole[k] = create_product(&shapes[k], 10 * k);
        dealt[k] = create_product(&shapes[k], 10 * k);
        engine->kernels->product(&whole[k], scratch);
    }
    organ_products_run(engine, NULL, dealt, PRODUCTS, scratch);
    for (size_t k = 0; k < PRODUCTS; k++) {
        ck_assert_mem_eq(whole[k].c, dealt[k].c, whole[k].m * whole[k].c_stride * (whole[k].wide ? 8 : 4));
        destroy_product(&whole[k]);
        destroy_product(&dealt[k]);
    }
    free(scratch);
    organ_engine_destroy(engine);
}
END_TEST

START_TEST(nothing_begins_after_a_stop)
{
    organ_product p = create_product(&shapes[0], 5);
    organ_engine *engine = NULL;
    organ_error error = {0};
    organ_stop stop = {0};
    ck_assert_int_eq(organ_engine_create(NULL, 2, 0, &engine, &error), ORGAN_OK);
    void *const scratch = aligned_alloc(64, organ_products_scratch(engine));
    organ_stop_ask(&stop);
    organ_products_run(engine, &stop, &p, 1, scratch);
    for (size_t k = 0; k < p.m * p.c_stride; k++)
        REQUIRE(((const float *)p.c)[k] == 0);
    free(scratch);
    destroy_product(&p);
    organ_engine_destroy(engine);
}
END_TEST

int main(void)
{
    Suite *const suite = suite_create("product");
    TCase *const products = tcase_create("products");
    tcase_add_loop_test(products, dealt_products_are_whole_ones, 1, 6);
    tcase_add_test(products, nothing_begins_after_a_stop);
    suite_add_tcase(suite, products);
    SRunner *const runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
