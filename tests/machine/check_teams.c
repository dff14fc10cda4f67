/* SPDX-License-Identifier: MIT
 * Tests of organ_workers_run_teams. */
#include "orchestrator/machine/workers.h"
#include "tests/machine/check_topology.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void count_call(void *context, size_t worker)
{
    size_t *calls = context;
    calls[worker]++;
}

enum { PIECES = 9, TASKS = 40, ROUNDS = 60 };

typedef struct piece {
    size_t next;         /* first task of the round that no worker has taken, atomic */
    size_t calls[TASKS]; /* of each task; not atomic, since the team orders its rounds */
    size_t workers;      /* bits of the workers that took part, atomic */
    size_t ended;        /* rounds that have ended, as the thread of the piece saw them */
} piece;

static bool is_task_left(const void *context)
{
    return __atomic_load_n(&((const piece *)context)->next, __ATOMIC_RELAXED) < TASKS;
}

static void run_tasks(void *context, size_t worker)
{
    piece *const p = context;
    __atomic_fetch_or(&p->workers, (size_t)1 << worker, __ATOMIC_RELAXED);
    for (size_t k; (k = __atomic_fetch_add(&p->next, 1, __ATOMIC_RELAXED)) < TASKS;)
        p->calls[k]++;
}

static void run_rounds(void *context, size_t k, organ_workers *team)
{
    piece *const p = (piece *)context + k;
    size_t every[PIECES] = {0};
    ck_assert_uint_eq(organ_workers_count(team), k + 1);
    for (size_t round = 1; round <= ROUNDS; round++) {
        p->next = 0;
        organ_workers_run_some(team, round % 3 ? k + 1 : 1, is_task_left, run_tasks, p);
        for (size_t t = 0; t < TASKS; t++)
            ck_assert_uint_eq(p->calls[t], round);
        organ_workers_run(team, count_call, every);
        for (size_t w = 0; w <= k; w++)
            ck_assert_uint_eq(every[w], round);
        p->ended++;
    }
    organ_workers_wait(team); /* no round is running */
}

/* With fewer threads than pieces and with more, with teams of more members than there are threads. */
START_TEST(teams_run_their_rounds_side_by_side)
{
    const size_t threads[] = {1, 2, 3, 16};
    size_t sizes[PIECES];
    organ_topology *topology = NULL;
    organ_error error = {0};
    ck_assert_int_eq(organ_topology_synthetic("numa:2 core:4 pu:2", NULL, &topology, &error), ORGAN_OK);
    for (size_t k = 0; k < PIECES; k++)
        sizes[k] = k + 1;
    for (size_t n = 0; n < COUNT(threads); n++) {
        organ_workers *workers = NULL;
        piece pieces[PIECES] = {{0}};
        ck_assert_int_eq(organ_workers_create(topology, threads[n], &workers, &error), ORGAN_OK);
        ck_assert_int_eq(organ_workers_run_teams(workers, sizes, PIECES, run_rounds, pieces, &error), ORGAN_OK);
        for (size_t k = 0; k < PIECES; k++) {
            ck_assert_uint_eq(pieces[k].ended, ROUNDS);
            ck_assert_uint_lt(pieces[k].workers, (size_t)1 << (k + 1));
        }
        size_t calls[16] = {0};
        organ_workers_run(workers, count_call, calls); /* the pool still works */
        for (size_t worker = 0; worker < threads[n]; worker++)
            ck_assert_uint_eq(calls[worker], 1);
        organ_workers_destroy(workers);
    }
    organ_topology_destroy(topology);
}
END_TEST

TCase *team_tests(void)
{
    TCase *const teams = tcase_create("teams");
    tcase_add_test(teams, teams_run_their_rounds_side_by_side);
    return teams;
}
