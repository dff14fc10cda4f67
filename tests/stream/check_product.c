/* SPDX-License-Identifier: MIT
 * Products that are divided among any number of workers have the bits of the kernel's undivided products. */
#include "orchestrator/stream/pass_parts.h"
#include <organ/stream.h>
#include "orchestrator/stream/compute.h"
#include "orchestrator/stream/product.h"
#include "tests/kit/samples.h"
#include "tests/kit/require.h"
#include <check.h>

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PRODUCTS = 5 };

typedef struct shape {
    size_t m, n, k;
    bool wide, transposed;
    organ_real type; /* type of b */
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

/* Makes the operands. 16-bit types take their bits from the same random numbers. */
static organ_product create_product(const shape *s, uint64_t seed)
{
    organ_product p = {.m = s->m, .n = s->n, .k = s->k, .c_stride = s->n + 3, .wide = s->wide};
    p.a =
        (organ_product_operand){numbers(s->m * s->k, seed), ORGAN_REAL_F32, s->transposed, s->transposed ? s->m : s->k};
    p.b = (organ_product_operand){numbers(s->n * s->k, seed + 1), s->type, s->transposed, s->transposed ? s->n : s->k};
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

/* --compute is a list; each product uses the type that it supports. */
START_TEST(compute_is_the_products_own)
{
    static const char *const names[] = {"split", "bf16"};
    organ_engine *engine = NULL;
    organ_error error = {0};
    ck_assert_int_eq(organ_engine_create(NULL, 3, 0, &engine, &error), ORGAN_OK);
    if (organ_engine_compute(engine, "compute", names[_i], &error) != ORGAN_OK) {
        printf("skipped: %s\n", error.message);
        ck_assert_int_eq(error.status, ORGAN_USAGE);
        ck_assert_ptr_null(engine->dots);
        organ_engine_destroy(engine);
        return;
    }
    void *const scratch = aligned_alloc(64, organ_products_scratch(engine));
    ck_assert_ptr_nonnull(scratch);
    const shape s = {700, 300, 290, false, false, ORGAN_REAL_BF16};
    organ_product lists[2][2] = {{create_product(&s, 3), create_product(&s, 3)},
                                 {create_product(&s, 3), create_product(&s, 3)}};
    for (int k = 0; k < 2; k++)
        lists[k][1].compute = engine->compute;
    engine->kernels->product(&lists[0][0], scratch);
    engine->dots->product(&lists[0][1], scratch);
    organ_products_run(engine, NULL, lists[1], 2, scratch);
    for (int k = 0; k < 2; k++)
        ck_assert_mem_eq(lists[0][k].c, lists[1][k].c, s.m * lists[0][k].c_stride * sizeof(float));
    ck_assert_mem_ne(lists[0][0].c, lists[0][1].c, s.m * lists[0][0].c_stride * sizeof(float));
    for (int k = 0; k < 4; k++)
        destroy_product(&lists[k / 2][k % 2]);
    free(scratch);
    organ_engine_destroy(engine);
}
END_TEST

START_TEST(unknown_compute_is_refused)
{
    organ_engine *engine = NULL;
    organ_error error = {0};
    ck_assert_int_eq(organ_engine_create(organ_kernels_scalar, 1, 0, &engine, &error), ORGAN_OK);
    ck_assert_int_eq(organ_engine_compute(engine, "compute", "exact", &error), ORGAN_OK);
    ck_assert_int_eq(organ_engine_compute(engine, "compute", NULL, &error), ORGAN_OK);
    ck_assert_int_eq(organ_engine_compute(engine, "compute", "fast", &error), ORGAN_USAGE);
    error = (organ_error){0};
    ck_assert_int_eq(organ_engine_compute(engine, "compute", "bf16", &error), ORGAN_USAGE);
    ck_assert_ptr_nonnull(strstr(error.message, "AVX-512"));
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
    organ_stop_request(&stop);
    organ_products_run(engine, &stop, &p, 1, scratch);
    for (size_t k = 0; k < p.m * p.c_stride; k++)
        REQUIRE(((const float *)p.c)[k] == 0);
    free(scratch);
    destroy_product(&p);
    organ_engine_destroy(engine);
}
END_TEST

/* ---- panels made on demand ---- */

typedef struct source {
    const organ_product *product; /* the rows of its b */
    size_t first;                 /* begin here */
    size_t failing;               /* a row */
} source;

static organ_status copy_rows(const void *context, size_t first, size_t count, void *values, void *scratch,
                              organ_error *error)
{
    const source *const s = context;
    const size_t row = s->product->k * organ_real_bytes(s->product->b.type);
    ck_assert_uint_eq((uintptr_t)values % 64, 0);
    ck_assert_uint_eq((uintptr_t)scratch % 64, 0);
    REQUIRE(count > 0 && first >= s->first && first - s->first + count <= s->product->n);
    if (s->failing >= first && s->failing < first + count)
        return organ_fail(error, ORGAN_IO, "row %zu", s->failing);
    memset(scratch, 1, 64);
    memcpy(values, (const unsigned char *)s->product->b.values + (first - s->first) * row, count * row);
    return ORGAN_OK;
}

/* Adds biases to a product: in `dealt` as a member of the panels, in `whole` as the values of c. */
static void add_biases(organ_product *whole, organ_product *dealt, organ_panels *panels, const float *biases)
{
    whole->into = dealt->into = ORGAN_PRODUCT_ADD;
    panels->biases = biases;
    for (size_t row = 0; row < whole->m; row++)
        memcpy((float *)whole->c + row * whole->c_stride, biases, whole->n * sizeof *biases);
}

/* Products 0 and 2 have their b in memory, the others get it in panels; a panel of the second has some thousand rows.
 * The first two have biases. */
START_TEST(panels_are_whole_factors)
{
    organ_product whole[PRODUCTS], dealt[PRODUCTS];
    organ_panels panels[PRODUCTS] = {{0}};
    source sources[PRODUCTS];
    organ_engine *engine = NULL;
    organ_error error = {0};
    size_t room = 0;
    ck_assert_int_eq(organ_engine_create(NULL, (size_t)_i, 0, &engine, &error), ORGAN_OK);
    for (size_t k = 0; k < PRODUCTS; k++)
        room = room > organ_panel_bytes(shapes[k].k, shapes[k].type) ? room
                                                                     : organ_panel_bytes(shapes[k].k, shapes[k].type);
    room += ORGAN_PRODUCT_SCRATCH + 64;
    void *const scratch = aligned_alloc(64, room * (size_t)_i);
    float *const biases = numbers(1500, 7);
    ck_assert_ptr_nonnull(scratch);
    for (size_t k = 0; k < PRODUCTS; k++) {
        shape s = shapes[k];
        s.transposed = s.transposed && k == 2;
        whole[k] = create_product(&s, 10 * k);
        dealt[k] = create_product(&s, 10 * k);
        if (k < 2)
            add_biases(&whole[k], &dealt[k], &panels[k], biases);
        engine->kernels->product(&whole[k], scratch);
        sources[k] = (source){&whole[k], 100 * k, SIZE_MAX};
        if (k % 2 || k == 4)
            panels[k] = (organ_panels){
                .make = copy_rows, .source = &sources[k], .first = 100 * k, .type = s.type, .biases = panels[k].biases};
    }
    ck_assert_int_eq(organ_panel_products_run(engine, NULL, dealt, panels, PRODUCTS, scratch, room, &error), ORGAN_OK);
    for (size_t k = 0; k < PRODUCTS; k++)
        ck_assert_mem_eq(whole[k].c, dealt[k].c, whole[k].m * whole[k].c_stride * (whole[k].wide ? 8 : 4));
    free(biases);
    panels[0].biases = panels[1].biases = NULL;
    sources[1].failing = 100 + 1400;
    ck_assert_int_eq(organ_panel_products_run(engine, NULL, dealt, panels, PRODUCTS, scratch, room, &error), ORGAN_IO);
    ck_assert_str_eq(error.message, "row 1500");
    for (size_t k = 0; k < PRODUCTS; k++) {
        destroy_product(&whole[k]);
        destroy_product(&dealt[k]);
    }
    free(scratch);
    organ_engine_destroy(engine);
}
END_TEST

/* Adds the second product's part to the first one's. */
static void add_joined(const void *context, size_t row, size_t rows, size_t column, size_t columns)
{
    const organ_product *const pair = context;
    for (size_t r = row; r < row + rows; r++)
        for (size_t j = column; j < column + columns; j++)
            ((float *)pair[0].c)[r * pair[0].c_stride + j] += ((const float *)pair[1].c)[r * pair[1].c_stride + j];
}

/* The second and the third of three products are joined; with an even number of workers they get b in panels. */
START_TEST(joined_parts_are_used_at_once)
{
    static const shape three[] = {{20, 100, 40, false, false, ORGAN_REAL_F32},
                                  {530, 700, 70, false, false, ORGAN_REAL_BF16},
                                  {530, 700, 70, false, false, ORGAN_REAL_BF16}};
    organ_product whole[3], dealt[3];
    organ_panels panels[3] = {{0}};
    source sources[3];
    organ_engine *engine = NULL;
    organ_error error = {0};
    ck_assert_int_eq(organ_engine_create(NULL, (size_t)_i, 0, &engine, &error), ORGAN_OK);
    const size_t room = ORGAN_PRODUCT_SCRATCH + organ_panel_bytes(70, ORGAN_REAL_BF16) + 64;
    void *const scratch = aligned_alloc(64, room * (size_t)_i);
    ck_assert_ptr_nonnull(scratch);
    for (size_t k = 0; k < 3; k++) {
        whole[k] = create_product(&three[k], 10 * k);
        dealt[k] = create_product(&three[k], 10 * k);
        engine->kernels->product(&whole[k], scratch);
        sources[k] = (source){&whole[k], 0, SIZE_MAX};
        if (k > 0 && _i % 2 == 0)
            panels[k] = (organ_panels){.make = copy_rows, .source = &sources[k], .type = ORGAN_REAL_BF16};
    }
    panels[2].joined = true;
    panels[2].after = add_joined;
    panels[2].after_context = &dealt[1];
    add_joined(&whole[1], 0, whole[1].m, 0, whole[1].n);
    ck_assert_int_eq(organ_panel_products_run(engine, NULL, dealt, panels, 3, scratch, room, &error), ORGAN_OK);
    for (size_t k = 0; k < 3; k++) {
        ck_assert_mem_eq(whole[k].c, dealt[k].c, whole[k].m * whole[k].c_stride * sizeof(float));
        destroy_product(&whole[k]);
        destroy_product(&dealt[k]);
    }
    free(scratch);
    organ_engine_destroy(engine);
}
END_TEST

/* ---- work too small to wake workers ---- */

typedef struct tasks {
    pthread_t caller;
    size_t done[9], elsewhere, beyond; /* elsewhere: done by workers; beyond: done by the caller, but not as worker 0 */
} tasks;

static void note_task(void *context, size_t index, size_t worker)
{
    tasks *const t = context;
    const bool here = pthread_equal(pthread_self(), t->caller);
    __atomic_fetch_add(&t->done[index], 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&t->elsewhere, !here, __ATOMIC_RELAXED);
    __atomic_fetch_add(&t->beyond, here && worker > 0, __ATOMIC_RELAXED);
}

START_TEST(light_work_stays_with_the_caller)
{
    static const struct {
        double work;
        size_t count;
        bool here;
    } ways[] = {{0, 0, true},       {0, 9, true},         {0x1p18 - 1, 9, true},
                {0x1p18, 9, false}, {INFINITY, 9, false}, {INFINITY, 1, true}};
    organ_engine *engine = NULL;
    organ_error error = {0};
    ck_assert_int_eq(organ_engine_create(NULL, 3, 0, &engine, &error), ORGAN_OK);
    for (size_t k = 0; k < sizeof ways / sizeof *ways; k++) {
        tasks t = {.caller = pthread_self()};
        organ_share_work(engine, NULL, ways[k].count, ways[k].work, note_task, &t);
        for (size_t i = 0; i < 9; i++)
            ck_assert_uint_eq(t.done[i], i < ways[k].count);
        ck_assert_msg(t.elsewhere == (ways[k].here ? 0 : ways[k].count) && t.beyond == 0,
                      "way %zu: %zu tasks by workers", k, t.elsewhere);
    }
    tasks t = {.caller = pthread_self()};
    organ_stop stop = {0};
    organ_stop_request(&stop);
    organ_share_work(engine, &stop, 9, 0, note_task, &t);
    ck_assert_uint_eq(t.done[0], 0);
    organ_engine_destroy(engine);
}
END_TEST

/* ---- sizes of parts ---- */

/* The parts that the workers computed. */
static struct {
    size_t count, least, most; /* parts; the fewest and the most columns of a part */
} seen;

static void note_part(const organ_product *product, void *scratch)
{
    (void)scratch;
    __atomic_fetch_add(&seen.count, 1, __ATOMIC_RELAXED);
    for (size_t most = seen.most; most < product->n;)
        __atomic_compare_exchange_n(&seen.most, &most, product->n, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    for (size_t least = seen.least; least > product->n;)
        __atomic_compare_exchange_n(&seen.least, &least, product->n, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

/* Small parts would pack the rows of a again and again; parts that are no multiple of the workers would leave some
 * without work. */
START_TEST(parts_are_few_and_equal)
{
    static const struct {
        size_t m, n, count, least, most;
    } ways[] = {{1024, 896, 16, 224, 224}, {1024, 9728, 64, 608, 608}, {256, 4864, 16, 64, 320}, {1, 40, 1, 40, 40}};
    organ_kernels spy = *organ_kernels_scalar;
    organ_engine *engine = NULL;
    organ_error error = {0};
    spy.product = note_part;
    ck_assert_int_eq(organ_engine_create(&spy, 16, 0, &engine, &error), ORGAN_OK);
    void *const scratch = aligned_alloc(64, organ_products_scratch(engine));
    ck_assert_ptr_nonnull(scratch);
    for (size_t k = 0; k < sizeof ways / sizeof *ways; k++) {
        const organ_product p = {.m = ways[k].m, .n = ways[k].n, .k = 896};
        seen.count = seen.most = 0;
        seen.least = SIZE_MAX;
        organ_products_run(engine, NULL, &p, 1, scratch);
        ck_assert_msg(seen.count == ways[k].count && seen.least == ways[k].least && seen.most == ways[k].most,
                      "%zu x %zu: %zu parts of %zu to %zu columns", p.m, p.n, seen.count, seen.least, seen.most);
    }
    free(scratch);
    organ_engine_destroy(engine);
}
END_TEST

int main(void)
{
    Suite *const suite = suite_create("product");
    TCase *const products = tcase_create("products");
    tcase_add_loop_test(products, dealt_products_are_whole_ones, 1, 6);
    tcase_add_loop_test(products, panels_are_whole_factors, 1, 6);
    tcase_add_loop_test(products, joined_parts_are_used_at_once, 1, 6);
    tcase_add_loop_test(products, compute_is_the_products_own, 0, 2);
    tcase_add_test(products, unknown_compute_is_refused);
    tcase_add_test(products, nothing_begins_after_a_stop);
    tcase_add_test(products, parts_are_few_and_equal);
    tcase_add_test(products, light_work_stays_with_the_caller);
    suite_add_tcase(suite, products);
    SRunner *const runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
