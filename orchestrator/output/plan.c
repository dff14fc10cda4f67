/* SPDX-License-Identifier: MIT
 * Adds up the predicted work of an operation, predicts its time from the measured speed of the machine, and repeats dry
 * runs that lack memory. */
#include "orchestrator/output/plan.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/ranks/ranks.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

/* Constants of the speed test. TEST_SIDE: rows of both factors. TEST_DEPTH: their columns. TEST_BYTES: bytes of a copy.
 * TEST_SECONDS: least processor time for which each of the two measurements repeats its call. */
enum { TEST_SIDE = 256, TEST_DEPTH = 512, TEST_BYTES = 4 << 20, TEST_CALLS = 5 };
#define TEST_SECONDS 0.01

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

void organ_plan_compute(organ_plan *plan, const organ_engine *engine, organ_plan_work work)
{
    plan->products += work.all;
    if (!engine->dots)
        return;
    plan->reduced += work.multiplied;
    plan->compute = engine->compute;
    plan->dots = engine->dots;
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
    void (*multiply)(const organ_product *product, void *scratch);
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

/* Returns false if memory runs out; close_test releases `t` in any case. */
static bool open_test(test *t)
{
    *t = (test){.a = array_of_ones(TEST_SIDE * TEST_DEPTH),
                .b = array_of_ones(TEST_SIDE * TEST_DEPTH),
                .c = array_of_ones(TEST_SIDE * TEST_SIDE),
                .scratch = aligned_alloc(64, ORGAN_PRODUCT_SCRATCH)};
    t->product = (organ_product){.m = TEST_SIDE,
                                 .n = TEST_SIDE,
                                 .k = TEST_DEPTH,
                                 .a = {t->a, ORGAN_REAL_F32, false, TEST_DEPTH},
                                 .b = {t->b, ORGAN_REAL_F32, false, TEST_DEPTH},
                                 .c = t->c,
                                 .c_stride = TEST_SIDE};
    return t->a && t->b && t->c && t->scratch;
}

static void close_test(test *t) { ORGAN_FREE_ARRAYS(t->a, t->b, t->c, t->scratch); }

static void multiply_once(void *context)
{
    const test *const t = context;
    t->multiply(&t->product, t->scratch);
}

static void copy_once(void *context)
{
    unsigned char *const bytes = context;
    memcpy(bytes, bytes + TEST_BYTES, TEST_BYTES);
    __asm__ volatile("" : : "r"(bytes) : "memory"); /* the compiler must not remove the copy */
}

static double processor_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* The fastest of several calls counts: the others found their data in no cache, or shared their core. */
static double min_seconds(void (*call)(void *), void *context)
{
    const double begun = processor_seconds();
    double least = INFINITY, now = begun;
    for (unsigned calls = 0; calls < TEST_CALLS || now - begun < TEST_SECONDS; calls++) {
        const double before = now;
        call(context);
        now = processor_seconds();
        least = now - before > 0 && now - before < least ? now - before : least;
    }
    return least;
}

/* Returns operations per second of products in an arithmetic. */
static double speed_of(test *t, organ_compute compute, void (*multiply)(const organ_product *, void *))
{
    t->multiply = multiply;
    t->product.compute = compute;
    return 2.0 * TEST_SIDE * TEST_SIDE * TEST_DEPTH / min_seconds(multiply_once, t);
}

/* The processor time is operations / (REACHED x operations per second), those of each arithmetic by their own speed,
 * + BYTE_COPIES x bytes / copied bytes per second, with the measured speeds of one thread; all threads share it
 * equally. */
json_t *organ_plan_time_json(const organ_plan *plan, const organ_engine *engine)
{
    const char *const cpu = engine->topology ? organ_topology_cpu(engine->topology) : NULL;
    const size_t count = organ_workers_count(engine->workers) * organ_ranks_count(engine->ranks);
    test t;
    ORGAN_OWNED unsigned char *const bytes = calloc(2, TEST_BYTES);
    json_t *object = NULL;
    if (open_test(&t) && bytes) {
        const double products = speed_of(&t, ORGAN_COMPUTE_EXACT, engine->kernels->product),
                     reduced = plan->dots ? speed_of(&t, plan->compute, plan->dots->product) : products,
                     copied = TEST_BYTES / min_seconds(copy_once, bytes);
        const double processor = ((plan->products - plan->reduced) / products + plan->reduced / reduced) / REACHED +
                                 BYTE_COPIES * plan->bytes / copied;
        object = ORGAN_OBJECT(SET_REAL("seconds", organ_rounded_seconds(START + processor / (double)count)),
                              SET_REAL("processor_seconds", organ_rounded_seconds(processor)),
                              SET_REAL("products_per_second", round(products)),
                              SET_IF(plan->dots, "reduced_per_second", json_real(round(reduced))),
                              SET_REAL("bytes_per_second", round(copied)), SET_COUNT("threads", count),
                              SET_BYTES_OF("cpu", cpu));
    } else
        organ_memory_count_refusal();
    close_test(&t);
    return object;
}

/* ---- dry runs that lack memory ---- */

/* Amounts of --memory that are enough with an option; each is the largest of what the refusals of a verb call enough
 * with it. Those that do not name the option count as a whole. `named`: one of them names it. */
typedef struct memory_way {
    uint64_t bytes;
    bool named;
} memory_way;
typedef struct memory_ways {
    memory_way blocks, scratch; /* --moments blocks, --scratch DIR */
} memory_ways;

static void add_way(memory_way *way, uint64_t with, uint64_t without)
{
    way->named |= with > 0;
    way->bytes = organ_max(way->bytes, with ? with : without);
}

static void add_refusal(memory_ways *ways, const organ_error *error)
{
    const uint64_t enough = organ_memory_named(error);
    add_way(&ways->blocks, organ_memory_with_blocks(error), enough);
    add_way(&ways->scratch, organ_memory_with_scratch(error), enough);
}

static bool add_ways(json_t *plan, const memory_ways *ways)
{
    const uint64_t enough = organ_json_count(plan, "memory_enough");
    return !plan || ORGAN_ADD(plan,
                              SET_IF(ways->blocks.named && ways->blocks.bytes < enough, "memory_with_blocks",
                                     json_integer((json_int_t)ways->blocks.bytes)),
                              SET_IF(ways->scratch.named && ways->scratch.bytes < enough, "memory_with_scratch",
                                     json_integer((json_int_t)ways->scratch.bytes)));
}

/* REPEATS: of a dry run, each with the memory that the one before called enough. HEARD: notes that are remembered. */
enum { REPEATS = 16, HEARD = 256 };

/* The notes that the runs of a verb have reported, by digest. */
typedef struct notes {
    const organ_progress *progress;
    pthread_mutex_t lock;
    uint64_t heard[HEARD];
    size_t count;
} notes;

static void notes_begin(void *context, const char *what, uint64_t bytes, size_t tensors)
{
    organ_progress_begin(((const notes *)context)->progress, what, bytes, tensors);
}

static void notes_advance(void *context, uint64_t bytes, const char *tensor, const char *remark)
{
    organ_progress_advance(((const notes *)context)->progress, bytes, tensor, remark);
}

static void notes_end(void *context) { organ_progress_end(((const notes *)context)->progress); }

/* After HEARD different notes, a repeated one is reported again. */
static bool is_new(notes *n, const char *text)
{
    const uint64_t digest = XXH3_64bits(text, strlen(text));
    bool known = false;
    ORGAN_LOCKED(&n->lock);
    for (size_t k = 0; k < n->count; k++)
        known = known || n->heard[k] == digest;
    if (!known && n->count < HEARD)
        n->heard[n->count++] = digest;
    return !known;
}

static void note_once(void *context, const char *text)
{
    notes *const n = context;
    if (is_new(n, text))
        organ_progress_note(n->progress, "%s", text);
}

static void warn_once(void *context, const char *text)
{
    notes *const n = context;
    if (is_new(n, text))
        organ_progress_warn(n->progress, "%s", text);
}

/* `needed`: an amount that the verb has called enough, rounded up as in messages, or 0. It counts if the plan has less
 * than this, because the verb has a need that is not in its plan. */
static bool plan_add_given(json_t *plan, const organ_engine *engine, uint64_t needed)
{
    const bool automatic = engine->memory == 0 && engine->share;
    const uint64_t given = automatic ? engine->share->ceiling : engine->memory;
    static const char *const members[] = {"memory_enough", "memory_good"};
    const uint64_t exact = (uint64_t)json_integer_value(json_object_get(plan, members[0]));
    char text[24];
    uint64_t rounded = 0;
    bool done = true;
    if (organ_quantity_parse(organ_quantity_option(exact, text), &rounded) && rounded >= needed)
        needed = 0;
    for (size_t k = 0; k < 2; k++)
        if (plan && (uint64_t)json_integer_value(json_object_get(plan, members[k])) < needed)
            done = json_object_set_new(plan, members[k], json_integer((json_int_t)needed)) == 0 && done;
    const json_int_t enough = json_integer_value(json_object_get(plan, "memory_enough"));
    return !plan || (done && ORGAN_ADD(plan, SET_COUNT("memory_given", given),
                                       SET_FLAG("memory_short", given < (uint64_t)enough),
                                       SET_IF(automatic, "memory_auto", organ_memory_share_json(engine))));
}

static organ_status run_keeping(organ_plan_verb *verb, const void *options, const organ_engine *engine,
                                const organ_progress *progress, json_t **report, organ_error *error)
{
    organ_kept_warnings kept;
    const organ_progress *const keeping = organ_warnings_begin(&kept, progress);
    verb(options, engine, keeping, report, error);
    if (!organ_warnings_add(*report, keeping))
        organ_fail_memory(error, "the warnings");
    organ_warnings_end(&kept);
    return error->status;
}

/* Returns the memory with which the verb would not be refused, or 0 if it was not refused for a lack of memory. All
 * ranks return the same. */
static uint64_t run_once(organ_plan_verb *verb, const void *options, const organ_engine *engine,
                         const organ_progress *progress, memory_ways *ways, json_t **report, organ_error *error)
{
    run_keeping(verb, options, engine, progress, report, error);
    if (organ_ranks_count(engine->ranks) > 1)
        organ_ranks_sync_status(engine->ranks, "planning", error);
    const uint64_t named = organ_memory_named(error);
    if (named)
        add_refusal(ways, error);
    return named > engine->memory ? named : 0;
}

organ_status organ_plan_run(organ_plan_verb *verb, const void *options, bool dry_run, const organ_engine *engine,
                            const organ_progress *progress, json_t **report, organ_error *error)
{
    if (!dry_run || !engine)
        return run_keeping(verb, options, engine, progress, report, error);
    notes n = {.progress = progress, .lock = PTHREAD_MUTEX_INITIALIZER};
    const organ_progress once = {.context = &n,
                                 .begin = notes_begin,
                                 .advance = notes_advance,
                                 .end = notes_end,
                                 .note = note_once,
                                 .warn = warn_once,
                                 .follows = progress && progress->follows};
    organ_engine planned = *engine;
    memory_ways ways = {0};
    uint64_t needed = run_once(verb, options, &planned, &once, &ways, report, error);
    for (unsigned k = 0; needed && k < REPEATS; k++) {
        organ_clear_json(report);
        *error = (organ_error){0};
        organ_ranks_overcome(engine->ranks);
        planned.memory = needed;
        needed = run_once(verb, options, &planned, &once, &ways, report, error);
    }
    const uint64_t least = planned.memory == engine->memory ? 0 : planned.memory;
    json_t *const plan = json_object_get(*report, "plan");
    if (*report && (!plan_add_given(plan, engine, least) || !add_ways(plan, &ways)))
        organ_fail_memory(error, "the plan");
    return error->status;
}
