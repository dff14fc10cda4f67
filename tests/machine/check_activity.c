/* SPDX-License-Identifier: MIT
 * Tests of the clocks of threads (formats/base/activity.h) and of the account of a work
 * (orchestrator/machine/workers.h). Times are given to the clocks, never measured; what runs on real threads is
 * compared by sums that must agree exactly, by bytes and by numbers of runs. */
#include "formats/base/activity.h"
#include "formats/base/files.h"
#include <organ/machine.h>
#include "orchestrator/machine/workers.h"
#include "tests/kit/suite_table.h"

#include <check.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

enum { THREADS = 3, PIECE = 1000, NANOSECONDS = 1000000000 };

/* Returns the sum of the times of all activities. */
static uint64_t spent_in_all(const organ_activity_sums *sums)
{
    uint64_t all = 0;
    for (int k = 0; k < ORGAN_ACTIVITIES; k++)
        all += sums->spent[k];
    return all;
}

START_TEST(test_turns)
{
    organ_activity_clock clock = {0};
    clock.since = 100;
    ck_assert_int_eq(organ_activity_turn(&clock, ORGAN_COMPUTING, 130), ORGAN_WAITING);
    ck_assert_int_eq(organ_activity_turn(&clock, ORGAN_READING, 200), ORGAN_COMPUTING);
    ck_assert_int_eq(organ_activity_turn(&clock, ORGAN_COMPUTING, 205), ORGAN_READING);
    ck_assert_int_eq(organ_activity_turn(&clock, ORGAN_WRITING, 206), ORGAN_COMPUTING);
    ck_assert_int_eq(organ_activity_turn(&clock, ORGAN_WRITING, 306), ORGAN_WRITING);
    ck_assert_uint_eq(clock.sums.spent[ORGAN_WAITING], 30);
    ck_assert_uint_eq(clock.sums.spent[ORGAN_COMPUTING], 71);
    ck_assert_uint_eq(clock.sums.spent[ORGAN_READING], 5);
    ck_assert_uint_eq(clock.sums.spent[ORGAN_WRITING], 100);
    organ_activity_add(&clock.sums, &clock.sums);
    ck_assert_uint_eq(clock.sums.spent[ORGAN_COMPUTING], 142);
}
END_TEST

/* A thread without a clock can be asked for everything and counts nothing. */
START_TEST(test_no_clock)
{
    organ_work_account account;
    ck_assert_int_eq(organ_activity_begin(ORGAN_READING), ORGAN_READING);
    organ_activity_moved(PIECE);
    organ_activity_begin(ORGAN_COMPUTING);
    organ_work_account_take(&account);
    ck_assert_uint_eq(account.time, 0);
    ck_assert_uint_eq(account.serial.moved[ORGAN_READING], 0);
}
END_TEST

/* Bytes belong to the activity in which they are reported; those of computing are ignored. */
START_TEST(test_bytes)
{
    organ_activity_clock clock = {0};
    ck_assert_ptr_null(organ_activity_attach(&clock, ORGAN_COMPUTING));
    organ_activity_moved(1);
    ck_assert_int_eq(organ_activity_begin(ORGAN_READING), ORGAN_COMPUTING);
    organ_activity_moved(10);
    organ_activity_moved(10);
    ck_assert_int_eq(organ_activity_begin(ORGAN_WRITING), ORGAN_READING);
    organ_activity_moved(300);
    organ_activity_begin(ORGAN_WAITING);
    organ_activity_moved(1);
    ck_assert_ptr_eq(organ_activity_attach(NULL, ORGAN_WAITING), &clock);
    organ_activity_begin(ORGAN_READING);
    organ_activity_moved(4000);
    ck_assert_uint_eq(clock.sums.moved[ORGAN_READING], 20);
    ck_assert_uint_eq(clock.sums.moved[ORGAN_WRITING], 300);
    ck_assert_uint_eq(clock.sums.moved[ORGAN_COMPUTING] + clock.sums.moved[ORGAN_WAITING], 0);
}
END_TEST

/* ---- runs ---- */

/* A file of THREADS pieces, which the workers read and write. */
typedef struct shared_file {
    int fd;
    bool reading;
} shared_file;

/* Reads or writes one piece of the file. */
static void move_piece(void *context, size_t worker)
{
    const shared_file *const file = context;
    char piece[PIECE] = {0};
    organ_error error = {0};
    if (file->reading)
        organ_input_read(file->fd, "pieces", piece, PIECE, worker * PIECE, &error);
    else
        error.status = organ_write_all(file->fd, piece, PIECE) ? ORGAN_IO : ORGAN_OK;
    if (error.status)
        abort();
}

static organ_workers *made_workers(organ_topology **topology)
{
    organ_error error = {0};
    organ_workers *workers = NULL;
    ck_assert_int_eq(organ_topology_synthetic("pack:1 core:3 pu:1", NULL, topology, &error), ORGAN_OK);
    ck_assert_int_eq(organ_workers_create(*topology, THREADS, &workers, &error), ORGAN_OK);
    return workers;
}

/* Checks that times of an account add up: the serial part and the runs are the whole duration, no worker was busy for
 * longer than the runs lasted. */
static void check_sums(const organ_work_account *a)
{
    ck_assert_uint_eq(a->time, a->in_runs + spent_in_all(&a->serial));
    ck_assert_uint_eq(a->offered, THREADS * a->in_runs);
    ck_assert_uint_le(spent_in_all(&a->workers), a->offered);
    ck_assert_uint_eq(spent_in_all(&a->beside), a->in_runs);
    ck_assert_uint_le(a->serial_processor, a->processor + NANOSECONDS / 100); /* two clocks of the kernel */
}

START_TEST(test_runs)
{
    organ_topology *topology;
    organ_workers *const workers = made_workers(&topology);
    FILE *const pieces = tmpfile();
    shared_file file = {.fd = fileno(pieces)};
    organ_work_account all, inner;
    const organ_work outer_work = organ_work_begin();
    organ_workers_run(workers, move_piece, &file);
    organ_workers_run(workers, move_piece, &file);
    const organ_work inner_work = organ_work_begin();
    file.reading = true;
    organ_workers_run(workers, move_piece, &file);
    move_piece(&file, 0); /* on this thread, outside of a run */
    organ_work_account_take(&inner);
    organ_work_end(&inner_work);
    organ_workers_start(workers, move_piece, &file);
    move_piece(&file, 0); /* on this thread, during a run */
    organ_workers_wait(workers);
    organ_work_account_take(&all);
    organ_work_end(&outer_work);

    ck_assert_uint_eq(inner.runs, 1);
    ck_assert_uint_eq(inner.workers.moved[ORGAN_READING], THREADS * PIECE);
    ck_assert_uint_eq(inner.workers.moved[ORGAN_WRITING], 0);
    ck_assert_uint_eq(inner.serial.moved[ORGAN_READING], PIECE);
    ck_assert_uint_eq(inner.beside.moved[ORGAN_READING], 0);
    check_sums(&inner);
    ck_assert_uint_eq(all.runs, 4);
    ck_assert_uint_eq(all.workers.moved[ORGAN_READING], 2 * THREADS * PIECE);
    ck_assert_uint_eq(all.workers.moved[ORGAN_WRITING], 2 * THREADS * PIECE);
    ck_assert_uint_eq(all.serial.moved[ORGAN_READING], PIECE);
    ck_assert_uint_eq(all.beside.moved[ORGAN_READING], PIECE);
    check_sums(&all);

    /* Runs outside of any work are in no account. */
    organ_workers_run(workers, move_piece, &file);
    organ_work_account_take(&all);
    ck_assert_uint_eq(all.runs, 0);
    const organ_work next = organ_work_begin();
    organ_work_account_take(&all);
    organ_work_end(&next);
    ck_assert_uint_eq(all.runs + all.serial.moved[ORGAN_READING] + all.workers.moved[ORGAN_READING], 0);
    organ_workers_destroy(workers);
    organ_topology_destroy(topology);
    fclose(pieces);
}
END_TEST

/* A worker that says it waits is not counted as computing. */
static void wait_in_run(void *context, size_t worker)
{
    (void)context, (void)worker;
    if (organ_activity_begin(ORGAN_WAITING) != ORGAN_COMPUTING)
        abort();
    if (organ_activity_begin(ORGAN_COMPUTING) != ORGAN_WAITING)
        abort();
}

START_TEST(test_waiting)
{
    organ_topology *topology;
    organ_workers *const workers = made_workers(&topology);
    organ_work_account account;
    const organ_work work = organ_work_begin();
    organ_workers_run(workers, wait_in_run, NULL);
    organ_work_account_take(&account);
    organ_work_end(&work);
    check_sums(&account);
    ck_assert_uint_gt(account.workers.spent[ORGAN_COMPUTING] + account.workers.spent[ORGAN_WAITING], 0);
    ck_assert_uint_eq(account.workers.spent[ORGAN_READING] + account.workers.spent[ORGAN_WRITING], 0);
    organ_workers_destroy(workers);
    organ_topology_destroy(topology);
}
END_TEST

int main(void)
{
    const suite_case cases[] = {{"clocks", {test_turns, test_no_clock, test_bytes}},
                                {"accounts", {test_runs, test_waiting}}};
    Suite *const suites[] = {suite_of("activity", cases, sizeof cases / sizeof *cases, NULL, NULL), NULL};
    return run_suites(suites);
}
