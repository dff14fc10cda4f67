/* SPDX-License-Identifier: MIT
 * Adds up the predicted work of an operation, and predicts its time from the measured speed of the machine. */
#include "orchestrator/surgery/plan/plan.h"

#include <organ/base.h>
#include "orchestrator/machine/stopwatch.h"
#include "orchestrator/report/text/members.h"
#include "orchestrator/stream/product.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Constants of the speed test. TEST_ROWS: rows of the first factor, and rows of the second factor for each worker.
 * TEST_DEPTH: columns of both factors. TEST_BYTES: bytes of a copy. TEST_SECONDS: least time for which each of the two
 * measurements repeats its call. */
enum { TEST_ROWS = 256, TEST_DEPTH = 512, TEST_BYTES = 4 << 20 };
#define TEST_SECONDS 0.05
#define TEST_CALLS   20 /* calls of a measurement; fewer if TEST_MAX seconds have passed */
#define TEST_MAX     0.3

/* Reading, digesting and writing a byte takes as long as this many copies of it within memory. */
#define BYTE_COPIES 6.0
#define REACHED     0.75 /* share of the measured speed of products that whole runs reach */
#define START       0.03 /* seconds that every run takes in addition */

/* Amounts of several steps are not added, because the steps of a run follow each other. */
void organ_plan_memory(organ_plan *plan, uint64_t enough, uint64_t good)
{
    const uint64_t max = good > enough ? good : enough;
    plan->memory_enough = enough > plan->memory_enough ? enough : plan->memory_enough;
    plan->memory_good = max > plan->memory_good ? max : plan->memory_good;
}

/* The factor solve->squares counts a product of the weights with the second moments (rows x cols x block
 * operations), and a factorisation of the blocks of the second moments (block^3 / 3 operations for each of cols /
 * block blocks). */
void organ_plan_matrices(organ_plan *plan, const organ_plan_solve *solve, double count, double rows, double cols,
                         double block)
{
    plan->products += count * (solve->squares * (rows * cols * block + cols * block * block / 3) +
                               solve->weights * rows * cols + solve->matrices);
}

json_t *organ_plan_json(const organ_plan *plan)
{
    return ORGAN_OBJECT(SET_COUNT("output_bytes", plan->output_bytes), SET_COUNT("memory_enough", plan->memory_enough),
                        SET_COUNT("memory_good", plan->memory_good), SET_COUNT("products", (uint64_t)plan->products),
                        SET_COUNT("bytes", (uint64_t)plan->bytes));
}

/* ---- the speed of the machine ---- */

/* The time of the product C = A B^T is measured. */
typedef struct test {
    const organ_engine *engine;
    organ_product product;
    float *a, *b, *c;
    void *scratch;
} test;

static float *array_of_ones(size_t count)
{
    float *const values = malloc(count * sizeof *values);
    for (size_t k = 0; values && k < count; k++)
        values[k] = 1;
    return values;
}

/* The product is large enough to occupy all workers. */
static bool open_test(test *t, const organ_engine *engine)
{
    const size_t columns = TEST_ROWS * organ_workers_count(engine->workers);
    *t = (test){.engine = engine,
                .a = array_of_ones(TEST_ROWS * TEST_DEPTH),
                .b = array_of_ones(columns * TEST_DEPTH),
                .c = array_of_ones(TEST_ROWS * columns)};
    t->scratch = aligned_alloc(64, organ_products_scratch(engine));
    t->product = (organ_product){.m = TEST_ROWS,
                                 .n = columns,
                                 .k = TEST_DEPTH,
                                 .a = {t->a, ORGAN_REAL_F32, false, TEST_DEPTH},
                                 .b = {t->b, ORGAN_REAL_F32, false, TEST_DEPTH},
                                 .c = t->c,
                                 .c_stride = columns};
    return t->a && t->b && t->c && t->scratch;
}

static void close_test(test *t)
{
    free(t->a);
    free(t->b);
    free(t->c);
    free(t->scratch);
}

static void multiply_once(void *context)
{
    const test *const t = context;
    organ_products_run(t->engine, NULL, &t->product, 1, t->scratch);
}

static void copy_once(void *context)
{
    unsigned char *const bytes = context;
    memcpy(bytes, bytes + TEST_BYTES, TEST_BYTES);
    __asm__ volatile("" : : "r"(bytes) : "memory"); /* the compiler must not remove the copy */
}

/* The fastest of several calls counts, because other programs delayed the slower ones. */
static double min_seconds(void (*call)(void *), void *context)
{
    const double begun = organ_seconds_now();
    double least = INFINITY, now = begun;
    for (unsigned calls = 0; calls < 3 || now - begun < TEST_SECONDS || (calls < TEST_CALLS && now - begun < TEST_MAX);
         calls++) {
        const double before = now;
        call(context);
        now = organ_seconds_now();
        least = now - before > 0 && now - before < least ? now - before : least;
    }
    return least;
}

/* The seconds are START + operations / (REACHED x measured operations per second) + bytes x BYTE_COPIES / measured
 * copied bytes per second. */
json_t *organ_plan_time_json(const organ_plan *plan, const organ_engine *engine)
{
    test t;
    unsigned char *const bytes = calloc(2, TEST_BYTES);
    json_t *object = NULL;
    if (open_test(&t, engine) && bytes) {
        const double work = 2.0 * (double)t.product.m * (double)t.product.n * (double)t.product.k;
        const double products = work / min_seconds(multiply_once, &t),
                     copied = TEST_BYTES / min_seconds(copy_once, bytes);
        const double seconds = START + plan->products / (REACHED * products) + BYTE_COPIES * plan->bytes / copied;
        object = ORGAN_OBJECT(
            SET_REAL("seconds", round(seconds * 1e3) / 1e3), SET_REAL("products_per_second", round(products)),
            SET_REAL("bytes_per_second", round(copied)), SET_COUNT("threads", organ_workers_count(engine->workers)));
    } else
        organ_memory_count_refusal();
    free(bytes);
    close_test(&t);
    return object;
}
