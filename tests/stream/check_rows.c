/* SPDX-License-Identifier: MIT
 * Tests of the walk over rows: every row once, tasks after all units of their set, sets retired in order, the first
 * failure for any number of workers. Tests that workers leave parts once. */
#include "orchestrator/stream/stream_parts.h"
#include "orchestrator/stream/read_rows.h"
#include "tests/kit/suite_table.h"
#include "tests/stream/check_stream.h"

enum { ROWS = 1003, SET_ROWS = 100, UNIT_ROWS = 7, TASKS = 5, MAX_THREADS = 3 };

typedef struct walk_record {
    unsigned char read[ROWS]; /* how often each row was read */
    size_t tasks[TASKS];      /* number of sets in which each task ran */
    size_t incomplete;        /* and of those in which a row of the set had not been read */
    uint64_t retired;         /* rows */
    size_t sets, allowed;     /* sets retired; workers that may make calls */
    size_t strangers;         /* calls by other workers */
    uint64_t faulty[2];       /* rows whose units fail; 0: none */
    organ_stop *stop;         /* set after the first set is retired */
} walk_record;

static organ_status record_unit(void *context, const organ_row_unit *unit, size_t worker, organ_error *error)
{
    walk_record *const w = context;
    if (worker >= w->allowed)
        __atomic_fetch_add(&w->strangers, 1, __ATOMIC_RELAXED);
    for (uint64_t row = unit->first; row < unit->first + unit->rows; row++) {
        w->read[row]++;
        for (size_t k = 0; k < 2; k++)
            if (w->faulty[k] && row == w->faulty[k])
                return organ_fail(error, ORGAN_BAD_INPUT, "row %llu", (unsigned long long)row);
    }
    return ORGAN_OK;
}

static void record_task(void *context, const organ_row_set *set, size_t task, size_t worker)
{
    walk_record *const w = context;
    bool complete = worker < w->allowed;
    for (uint64_t row = set->first; row < set->first + set->rows; row++)
        complete = complete && w->read[row] == 1;
    if (!complete)
        __atomic_fetch_add(&w->incomplete, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&w->tasks[task], 1, __ATOMIC_RELAXED);
}

static void record_set(void *context, const organ_row_set *set)
{
    walk_record *const w = context;
    ck_assert_uint_eq(set->first, w->retired);
    ck_assert_uint_eq(set->units, (set->rows + UNIT_ROWS - 1) / UNIT_ROWS);
    w->retired += set->rows;
    w->sets++;
    if (w->stop)
        organ_stop_request(w->stop);
}

static organ_status walk_rows(walk_record *w, size_t threads, size_t allowed, organ_error *error)
{
    organ_topology *topology;
    organ_engine engine = {.stop = w->stop};
    ck_assert_int_eq(organ_topology_discover(&topology, error), ORGAN_OK);
    ck_assert_int_eq(organ_workers_create(topology, threads, &engine.workers, error), ORGAN_OK);
    w->allowed = allowed;
    const organ_row_walk walk = {.rows = ROWS,
                                 .set_rows = SET_ROWS,
                                 .unit_rows = UNIT_ROWS,
                                 .readers = allowed,
                                 .helpers = allowed,
                                 .context = w,
                                 .unit = record_unit,
                                 .task = record_task,
                                 .tasks = TASKS,
                                 .retire = record_set};
    const organ_status status = organ_row_walk_run(&walk, &engine, error);
    organ_workers_destroy(engine.workers);
    organ_topology_destroy(topology);
    return status;
}

START_TEST(rows_are_read_once_and_sets_retire_in_order)
{
    for (size_t threads = 1; threads <= MAX_THREADS; threads++)
        for (size_t allowed = 1; allowed <= threads; allowed++) {
            walk_record w = {0};
            organ_error error = {0};
            ck_assert_int_eq(walk_rows(&w, threads, allowed, &error), ORGAN_OK);
            for (size_t row = 0; row < ROWS; row++)
                ck_assert_uint_eq(w.read[row], 1);
            for (size_t k = 0; k < TASKS; k++)
                ck_assert_uint_eq(w.tasks[k], (ROWS + SET_ROWS - 1) / SET_ROWS);
            ck_assert_uint_eq(w.retired, ROWS);
            ck_assert_uint_eq(w.incomplete + w.strangers, 0);
        }
}
END_TEST

START_TEST(rows_end_at_the_first_fault)
{
    for (size_t threads = 1; threads <= MAX_THREADS; threads++)
        for (int again = 0; again < 20; again++) {
            walk_record w = {.faulty = {260, 240}}; /* both in the third set, in different units */
            organ_error error = {0};
            ck_assert_int_eq(walk_rows(&w, threads, threads, &error), ORGAN_BAD_INPUT);
            ck_assert_str_eq(error.message, "row 240");
            ck_assert_uint_eq(w.retired, 200);
            ck_assert_uint_eq(w.read[300], 0);
        }
}
END_TEST

START_TEST(rows_stop_when_asked)
{
    organ_stop stop = {0};
    walk_record w = {.stop = &stop};
    organ_error error = {0};
    ck_assert_int_eq(walk_rows(&w, 2, 2, &error), ORGAN_INTERRUPTED);
    ck_assert_uint_eq(w.sets, 1);
    ck_assert_uint_eq(w.read[SET_ROWS], 0);
}
END_TEST

/* ---- parts ---- */

typedef struct part_record {
    size_t begun[MAX_THREADS], left[MAX_THREADS]; /* by each worker */
    size_t faulty, left_early;                    /* the part that fails; parts begun by a worker that had left */
    size_t stuck;                                 /* the worker whose leaving fails */
} part_record;

static organ_status record_part(void *context, size_t part, size_t worker, organ_error *error)
{
    part_record *const r = context;
    r->begun[worker]++;
    if (r->left[worker])
        __atomic_fetch_add(&r->left_early, 1, __ATOMIC_RELAXED);
    return part == r->faulty ? organ_fail(error, ORGAN_BAD_INPUT, "part %zu", part) : ORGAN_OK;
}

static organ_status record_leaving(void *context, size_t worker, organ_error *error)
{
    part_record *const r = context;
    r->left[worker]++;
    return worker == r->stuck ? organ_fail(error, ORGAN_IO, "worker %zu", worker) : ORGAN_OK;
}

static organ_status run_parts(part_record *r, size_t threads, organ_error *error)
{
    organ_topology *topology;
    organ_engine engine = {0};
    ck_assert_int_eq(organ_topology_discover(&topology, error), ORGAN_OK);
    ck_assert_int_eq(organ_workers_create(topology, threads, &engine.workers, error), ORGAN_OK);
    const organ_parts parts = {.count = 100, .context = r, .work = record_part, .leave = record_leaving};
    const organ_status status = organ_parts_run(&parts, &engine, error);
    organ_workers_destroy(engine.workers);
    organ_topology_destroy(topology);
    return status;
}

START_TEST(workers_leave_after_their_last_part)
{
    for (size_t threads = 1; threads <= MAX_THREADS; threads++)
        for (size_t failing = 0; failing < 4; failing++) {
            part_record r = {.faulty = failing & 1 ? 40 : SIZE_MAX, .stuck = failing & 2 ? 0 : SIZE_MAX};
            const char *const messages[] = {"", "part 40", "worker 0", "part 40"};
            organ_error error = {0};
            ck_assert_int_eq(run_parts(&r, threads, &error) == ORGAN_OK, failing == 0);
            ck_assert_str_eq(error.message, messages[failing]);
            size_t begun = 0;
            for (size_t k = 0; k < threads; k++) {
                ck_assert_uint_eq(r.left[k], 1);
                begun += r.begun[k];
            }
            ck_assert(failing & 1 || begun == 100);
            ck_assert_uint_eq(r.left_early, 0);
        }
}
END_TEST

Suite *rows_suite(void)
{
    const suite_case cases[] = {
        {"walk", {rows_are_read_once_and_sets_retire_in_order, rows_end_at_the_first_fault, rows_stop_when_asked}},
        {"parts", {workers_leave_after_their_last_part}},
    };
    return suite_of("rows", cases, sizeof cases / sizeof *cases, NULL, NULL);
}
