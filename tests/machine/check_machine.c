/* SPDX-License-Identifier: MIT
 * Tests of orchestrator/machine: places on synthetic machines, binding on this one, the worker pool. */
#include <organ/machine.h>
#include "orchestrator/machine/workers.h"
#include "tests/machine/check_topology.h"

#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- thread creation that can fail: the program is linked with --wrap for both functions ---- */

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument);
int __real_pthread_join(pthread_t thread, void **result);
int __wrap_pthread_join(pthread_t thread, void **result);

static size_t threads_allowed = SIZE_MAX, threads_created, threads_joined;

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument)
{
    if (threads_created >= threads_allowed)
        return EAGAIN;
    threads_created++;
    return __real_pthread_create(thread, attributes, run, argument);
}

int __wrap_pthread_join(pthread_t thread, void **result)
{
    threads_joined++;
    return __real_pthread_join(thread, result);
}

/* ---- places of workers ---- */

enum { MAX = 256 };

static organ_topology *made_up(const char *description, const char *allowed)
{
    organ_error error = {0};
    organ_topology *topology = NULL;
    const organ_status status = organ_topology_synthetic(description, allowed, &topology, &error);
    ck_assert_msg(status == ORGAN_OK, "%s", error.message);
    return topology;
}

/* Returns true if all `places` are on different cores of `pus_per_core` consecutive PUs. */
static bool all_differ(const organ_place *places, size_t count, unsigned pus_per_core)
{
    for (size_t a = 0; a < count; a++)
        for (size_t b = 0; b < a; b++)
            if (places[a].pu / pus_per_core == places[b].pu / pus_per_core)
                return false;
    return true;
}

START_TEST(two_nodes_of_24_cores_share_any_number_of_workers)
{
    organ_topology *topology = made_up("numa:2 core:24 pu:2", NULL);
    ck_assert(!organ_topology_is_this_machine(topology));
    ck_assert_uint_eq(organ_topology_cores(topology), 48);
    ck_assert_uint_eq(organ_topology_nodes(topology), 2);
    for (size_t threads = 1; threads <= MAX; threads++) {
        organ_place places[MAX];
        size_t on_node[2] = {0};
        organ_topology_place(topology, threads, places);
        for (size_t k = 0; k < threads; k++) {
            ck_assert_uint_eq(places[k].node, places[k].pu / 48);
            on_node[places[k].node]++;
        }
        ck_assert_uint_eq(on_node[0], (threads + 1) / 2);
        ck_assert(all_differ(places, threads < 48 ? threads : 48, 2));
        ck_assert(all_differ(places, threads < 96 ? threads : 96, 1));
        for (size_t k = 96; k < threads; k++)
            ck_assert_uint_eq(places[k].pu, places[k - 96].pu);
    }
    organ_topology_destroy(topology);
}
END_TEST

/* A row per machine: the expected properties, and the PUs in the order of workers. */
static const struct {
    const char *description, *allowed;
    size_t cores, nodes, threads;
    organ_place places[8];
} machines[] = {
    {"numa:2 core:2 pu:2", NULL, 4, 2, 8, {{0, 0}, {1, 4}, {0, 2}, {1, 6}, {0, 1}, {1, 5}, {0, 3}, {1, 7}}},
    {"numa:2 core:24 pu:2",
     "0-5,48-49",
     4,
     2,
     8,
     {{0, 0}, {1, 48}, {0, 2}, {0, 4}, {0, 1}, {1, 49}, {0, 3}, {0, 5}}},               /* hidden cores */
    {"numa:2 core:24 pu:2", "50,52,54", 3, 1, 4, {{0, 50}, {0, 52}, {0, 54}, {0, 50}}}, /* hidden node and siblings */
    {"numa:2 core:24 pu:2", "95", 1, 1, 2, {{0, 95}, {0, 95}}},                         /* a sibling alone is a core */
    {"numa:2 core:2 pu:2", "0-3,5,900", 3, 2, 4, {{0, 0}, {1, 5}, {0, 2}, {0, 1}}}, /* a list may name PUs that do not
                                                                                       exist */
    {"core:2 pu:2", NULL, 2, 1, 5, {{0, 0}, {0, 2}, {0, 1}, {0, 3}, {0, 0}}},       /* no memory nodes described */
    {"pu:3", NULL, 3, 1, 4, {{0, 0}, {0, 1}, {0, 2}, {0, 0}}},                      /* no cores described */
    {"pu:1", NULL, 1, 1, 3, {{0, 0}, {0, 0}, {0, 0}}},
    {"package:2 numa:2 core:1 pu:1", NULL, 4, 4, 5, {{0, 0}, {1, 1}, {2, 2}, {3, 3}, {0, 0}}},
    {"package:2 [numa] l3:2 core:2 pu:1", NULL, 8, 2, 4, {{0, 0}, {1, 4}, {0, 1}, {1, 5}}},
    {"package:2 [numa] [numa] core:2 pu:1", NULL, 4, 2, 4, {{0, 0}, {1, 2}, {0, 1}, {1, 3}}}, /* the first memory counts
                                                                                               */
    {"numa:2 core:2 pu:2(indexes=0,4,1,5,2,6,3,7)",
     NULL,
     4,
     2,
     8,
     {{0, 0}, {1, 2}, {0, 1}, {1, 3}, {0, 4}, {1, 6}, {0, 5}, {1, 7}}},
};

START_TEST(places_are_dealt)
{
    organ_topology *topology = made_up(machines[_i].description, machines[_i].allowed);
    organ_place places[8];
    ck_assert_uint_eq(organ_topology_cores(topology), machines[_i].cores);
    ck_assert_uint_eq(organ_topology_nodes(topology), machines[_i].nodes);
    organ_topology_place(topology, machines[_i].threads, places);
    for (size_t k = 0; k < machines[_i].threads; k++)
        ck_assert_msg(places[k].node == machines[_i].places[k].node && places[k].pu == machines[_i].places[k].pu,
                      "%s: worker %zu is on %u:%u", machines[_i].description, k, places[k].node, places[k].pu);
    organ_topology_destroy(topology);
}
END_TEST

START_TEST(bad_descriptions_are_refused)
{
    static const struct {
        const char *description, *allowed, *named;
    } rows[] = {
        {"", NULL, "''"},
        {"nonsense", NULL, "'nonsense'"},
        {"numa:2 core:0 pu:1", NULL, "core:0"},
        {"pu:4", "4-7", "'4-7'"},
        {"pu:4", "", "''"},
        {"pu:4", "x", "'x'"},
        {"pu:4", "0,x", "'0,x'"},
        {"pu:4", "0-", NULL}, /* hwloc reads "0-" as 0 and all after it */
    };
    for (size_t k = 0; k < COUNT(rows); k++) {
        organ_error error = {0};
        organ_topology *topology = NULL;
        const organ_status status = organ_topology_synthetic(rows[k].description, rows[k].allowed, &topology, &error);
        if (rows[k].named) {
            ck_assert_msg(status == ORGAN_USAGE, "'%s' '%s' gives %d %s", rows[k].description, rows[k].allowed, status,
                          error.message);
            ck_assert_msg(strstr(error.message, rows[k].named), "%s", error.message);
            ck_assert_ptr_null(topology);
        } else {
            ck_assert_int_eq(status, ORGAN_OK);
        }
        organ_topology_destroy(topology);
    }
}
END_TEST

/* ---- this machine ---- */

static organ_topology *this_machine(void)
{
    organ_error error = {0};
    organ_topology *topology = NULL;
    const organ_status status = organ_topology_discover(&topology, &error);
    ck_assert_msg(status == ORGAN_OK, "%s", error.message);
    return topology;
}

START_TEST(discovery_keeps_to_the_affinity)
{
    cpu_set_t all, one, now;
    ck_assert_int_eq(sched_getaffinity(0, sizeof all, &all), 0);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &all))
            continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        ck_assert_int_eq(sched_setaffinity(0, sizeof one, &one), 0);
        organ_topology *topology = this_machine();
        organ_place places[2];
        organ_topology_place(topology, 2, places);
        ck_assert(organ_topology_is_this_machine(topology));
        ck_assert_uint_eq(organ_topology_cores(topology), 1);
        ck_assert_uint_eq(organ_topology_nodes(topology), 1);
        ck_assert_int_eq((int)places[0].pu, cpu);
        ck_assert_int_eq((int)places[1].pu, cpu);
        ck_assert_int_eq(sched_getaffinity(0, sizeof now, &now), 0);
        ck_assert(CPU_EQUAL(&now, &one));
        organ_topology_destroy(topology);
    }
    ck_assert_int_eq(sched_setaffinity(0, sizeof all, &all), 0);
}
END_TEST

START_TEST(binding_takes_the_thread_there)
{
    cpu_set_t all, now;
    ck_assert_int_eq(sched_getaffinity(0, sizeof all, &all), 0);
    organ_topology *topology = this_machine();
    const size_t pus = (size_t)CPU_COUNT(&all);
    organ_place places[CPU_SETSIZE];
    organ_topology_place(topology, pus, places);
    for (size_t k = 0; k < pus; k++) {
        ck_assert(CPU_ISSET(places[k].pu, &all));
        ck_assert(organ_topology_bind(topology, places[k]));
        ck_assert_int_eq(sched_getaffinity(0, sizeof now, &now), 0);
        ck_assert_int_eq(CPU_COUNT(&now), 1);
        ck_assert(CPU_ISSET(places[k].pu, &now));
    }
    ck_assert_int_eq(sched_setaffinity(0, sizeof all, &all), 0);
    organ_topology_destroy(topology);
}
END_TEST

START_TEST(binding_that_cannot_be_is_false)
{
    cpu_set_t before, after;
    ck_assert_int_eq(sched_getaffinity(0, sizeof before, &before), 0);
    organ_topology *here = this_machine(), *elsewhere = made_up("numa:2 core:2 pu:1", NULL);
    organ_place place;
    organ_topology_place(elsewhere, 1, &place);
    ck_assert(!organ_topology_bind(elsewhere, place));
    ck_assert(!organ_topology_bind(here, (organ_place){.pu = 1u << 20}));
    ck_assert_int_eq(sched_getaffinity(0, sizeof after, &after), 0);
    ck_assert(CPU_EQUAL(&before, &after));
    organ_topology_destroy(here);
    organ_topology_destroy(elsewhere);
}
END_TEST

static void check_allocation(const organ_topology *topology, unsigned node, size_t bytes)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    unsigned char *memory = organ_topology_allocate(topology, node, bytes);
    ck_assert_ptr_nonnull(memory);
    ck_assert_uint_eq((uintptr_t)memory % page, 0);
    size_t zeros = 0;
    while (zeros < bytes && memory[zeros] == 0)
        zeros++;
    ck_assert_uint_eq(zeros, bytes);
    memset(memory, 0xA5, bytes);
    organ_topology_free(topology, memory, bytes);
    size_t left = 0;
    for (size_t k = 0; k < bytes; k += page)
        left += msync(memory + k, page, MS_ASYNC) == 0 || errno != ENOMEM;
    ck_assert_uint_eq(left, 0);
}

START_TEST(memory_is_zeroed_and_given_back_whole)
{
    organ_topology *machines_of_two_kinds[] = {this_machine(), made_up("numa:2 core:2 pu:1", NULL)};
    for (size_t k = 0; k < 2; k++) {
        const organ_topology *topology = machines_of_two_kinds[k];
        for (unsigned node = 0; node < organ_topology_nodes(topology); node++) {
            check_allocation(topology, node, 1);
            check_allocation(topology, node, 3 * 4096 + 1);
            check_allocation(topology, node, (size_t)4 << 20);
        }
        errno = 0;
        ck_assert_ptr_null(organ_topology_allocate(topology, 0, SIZE_MAX / 2));
        ck_assert_int_ne(errno, 0);
        organ_topology_free(topology, NULL, 4096);
        organ_topology_destroy(machines_of_two_kinds[k]);
    }
    organ_topology_destroy(NULL);
}
END_TEST

/* ---- the pool ---- */

static organ_workers *pool_of(const organ_topology *topology, size_t threads)
{
    organ_error error = {0};
    organ_workers *workers = NULL;
    const organ_status status = organ_workers_create(topology, threads, &workers, &error);
    ck_assert_msg(status == ORGAN_OK, "%s", error.message);
    return workers;
}

static void count_call(void *context, size_t worker)
{
    size_t *calls = context; /* one element per worker; the pool itself must order the rounds */
    calls[worker]++;
}

START_TEST(every_worker_does_every_round_once)
{
    organ_topology *topology = made_up("numa:2 core:4 pu:2", NULL);
    const size_t sizes[] = {1, 2, 7, 33};
    for (size_t k = 0; k < COUNT(sizes); k++) {
        organ_workers *workers = pool_of(topology, sizes[k]);
        size_t calls[33] = {0};
        ck_assert_uint_eq(organ_workers_count(workers), sizes[k]);
        for (size_t round = 1; round <= 200; round++) {
            organ_workers_run(workers, count_call, calls);
            for (size_t worker = 0; worker < sizes[k]; worker++)
                ck_assert_uint_eq(calls[worker], round);
        }
        organ_workers_destroy(workers);
    }
    organ_topology_destroy(topology);
}
END_TEST

/* Rounds of some workers, of more than there are, and of all. */
START_TEST(a_round_of_some_workers_is_done_by_the_first)
{
    organ_topology *topology = made_up("numa:2 core:4 pu:2", NULL);
    organ_workers *workers = pool_of(topology, 7);
    size_t calls[7] = {0}, wanted[7] = {0};
    for (size_t round = 0; round < 900; round++) {
        const size_t count = 1 + round * 5 % 9;
        if (round % 4)
            organ_workers_run_some(workers, count, NULL, count_call, calls);
        else
            organ_workers_run(workers, count_call, calls);
        for (size_t worker = 0; worker < 7; worker++) {
            wanted[worker] += round % 4 == 0 || worker < count;
            ck_assert_uint_eq(calls[worker], wanted[worker]);
        }
    }
    organ_workers_destroy(workers);
    organ_topology_destroy(topology);
}
END_TEST

static bool nothing_left(const void *context) { return (void)context, false; }

START_TEST(only_one_worker_is_woken_if_nothing_is_left)
{
    organ_topology *topology = made_up("numa:2 core:4 pu:2", NULL);
    organ_workers *workers = pool_of(topology, 7);
    size_t calls[7] = {0};
    for (size_t round = 1; round <= 100; round++) {
        organ_workers_run_some(workers, 7, nothing_left, count_call, calls);
        ck_assert_uint_eq(calls[0], round);
        for (size_t worker = 1; worker < 7; worker++)
            ck_assert_uint_eq(calls[worker], 0);
    }
    organ_workers_destroy(workers);
    organ_topology_destroy(topology);
}
END_TEST

START_TEST(the_pool_has_one_worker_per_core_by_default)
{
    organ_topology *topology = made_up("numa:2 core:4 pu:2", "0-3,8-15");
    organ_workers *workers = pool_of(topology, 0);
    organ_place places[6];
    organ_topology_place(topology, 6, places);
    ck_assert_uint_eq(organ_workers_count(workers), 6);
    ck_assert_uint_eq(organ_workers_pinned(workers), 0);
    for (size_t k = 0; k < 6; k++) {
        ck_assert_uint_eq(organ_workers_place(workers, k).pu, places[k].pu);
        ck_assert_uint_eq(organ_workers_place(workers, k).node, places[k].node);
    }
    organ_workers_destroy(workers);
    organ_workers_destroy(NULL);
    organ_topology_destroy(topology);
}
END_TEST

typedef struct meeting {
    atomic_size_t arrived;
    size_t expected;
    atomic_bool release;
} meeting;

/* Returns only when all workers are here: they run at the same time, and only after the caller has allowed it. */
static void meet(void *context, size_t worker)
{
    (void)worker;
    meeting *here = context;
    atomic_fetch_add(&here->arrived, 1);
    while (atomic_load(&here->arrived) < here->expected || !atomic_load(&here->release))
        sched_yield();
}

START_TEST(start_returns_while_the_workers_work)
{
    organ_topology *topology = made_up("core:4 pu:1", NULL);
    organ_workers *workers = pool_of(topology, 3);
    organ_workers_wait(workers); /* no round is running */
    meeting here = {.expected = 3};
    organ_workers_start(workers, meet, &here);
    while (atomic_load(&here.arrived) < 3)
        sched_yield();
    atomic_store(&here.release, true);
    organ_workers_wait(workers);
    organ_workers_wait(workers);
    organ_workers_destroy(workers);
    organ_topology_destroy(topology);
}
END_TEST

START_TEST(destroy_waits_for_what_was_begun)
{
    organ_topology *topology = made_up("core:4 pu:1", NULL);
    for (size_t round = 0; round < 50; round++) {
        organ_workers *workers = pool_of(topology, 4);
        size_t calls[4] = {0};
        organ_workers_start(workers, count_call, calls);
        organ_workers_destroy(workers);
        for (size_t k = 0; k < 4; k++)
            ck_assert_uint_eq(calls[k], 1);
    }
    organ_topology_destroy(topology);
}
END_TEST

typedef struct witness {
    cpu_set_t cpus;
    sigset_t held;
    size_t stack;
} witness;

static void look_around(void *context, size_t worker)
{
    witness *seen = (witness *)context + worker;
    pthread_attr_t attributes;
    sched_getaffinity(0, sizeof seen->cpus, &seen->cpus);
    pthread_sigmask(SIG_SETMASK, NULL, &seen->held);
    if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
        pthread_attr_getstacksize(&attributes, &seen->stack);
        pthread_attr_destroy(&attributes);
    }
}

START_TEST(workers_live_where_they_were_put)
{
    cpu_set_t all;
    sigset_t before, after;
    ck_assert_int_eq(sched_getaffinity(0, sizeof all, &all), 0);
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    const size_t threads = (size_t)CPU_COUNT(&all) + 1; /* one PU is shared */
    witness *seen = calloc(threads, sizeof *seen);
    ck_assert_ptr_nonnull(seen);
    organ_topology *topology = this_machine();
    organ_workers *workers = pool_of(topology, threads);
    ck_assert_uint_eq(organ_workers_pinned(workers), threads);
    organ_workers_run(workers, look_around, seen);
    for (size_t k = 0; k < threads; k++) {
        ck_assert_int_eq(CPU_COUNT(&seen[k].cpus), 1);
        ck_assert(CPU_ISSET(organ_workers_place(workers, k).pu, &seen[k].cpus));
        ck_assert(sigismember(&seen[k].held, SIGINT) == 1 && sigismember(&seen[k].held, SIGTERM) == 1);
        ck_assert(sigismember(&seen[k].held, SIGSEGV) == 0 && sigismember(&seen[k].held, SIGBUS) == 0);
        ck_assert_uint_ge(seen[k].stack, (size_t)8 << 20);
    }
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    ck_assert(sigismember(&after, SIGINT) == sigismember(&before, SIGINT) &&
              sigismember(&after, SIGTERM) == sigismember(&before, SIGTERM));
    organ_workers_destroy(workers);
    organ_topology_destroy(topology);
    free(seen);
}
END_TEST

START_TEST(a_thread_that_cannot_be_made_undoes_the_pool)
{
    organ_topology *topology = made_up("core:4 pu:1", NULL);
    for (size_t allowed = 0; allowed < 4; allowed++) {
        organ_error error = {0};
        organ_workers *workers = NULL;
        sigset_t after;
        threads_allowed = allowed;
        threads_created = threads_joined = 0;
        ck_assert_int_eq(organ_workers_create(topology, 4, &workers, &error), ORGAN_IO);
        ck_assert_ptr_null(workers);
        ck_assert_uint_eq(threads_created, allowed);
        ck_assert_uint_eq(threads_joined, allowed);
        ck_assert_ptr_nonnull(strstr(error.message, "4 worker threads"));
        pthread_sigmask(SIG_SETMASK, NULL, &after);
        ck_assert_int_eq(sigismember(&after, SIGINT), 0);
    }
    threads_allowed = SIZE_MAX;
    organ_error error = {0};
    organ_workers *workers = NULL;
    ck_assert_int_eq(organ_workers_create(topology, SIZE_MAX / 2, &workers, &error), ORGAN_IO);
    ck_assert_ptr_null(workers);
    organ_topology_destroy(topology);
}
END_TEST

START_TEST(shares_of_the_cores_are_whole)
{
    organ_error error = {0};
    organ_topology *all, *mine;
    cpu_set_t before, now, sum;
    ck_assert_int_eq(sched_getaffinity(0, sizeof before, &before), 0);
    ck_assert_int_eq(organ_topology_discover(&all, &error), ORGAN_OK);
    const size_t cores = organ_topology_cores(all);
    /* Fewer shares than cores, as many, and one more. */
    for (size_t of = 1; of <= cores + 1; of += of < 3 ? 1 : cores) {
        size_t taken = 0;
        CPU_ZERO(&sum);
        for (size_t k = 0; k < of; k++) {
            ck_assert_int_eq(sched_setaffinity(0, sizeof before, &before), 0);
            ck_assert_int_eq(organ_topology_take_share(k, of, &error), ORGAN_OK);
            ck_assert_int_eq(sched_getaffinity(0, sizeof now, &now), 0);
            ck_assert_int_eq(organ_topology_discover(&mine, &error), ORGAN_OK);
            taken += organ_topology_cores(mine);
            organ_topology_destroy(mine);
            CPU_OR(&sum, &sum, &now);
        }
        ck_assert_uint_eq(taken, of > cores ? of : cores);
        ck_assert(CPU_EQUAL(&sum, &before));
    }
    ck_assert_int_eq(sched_setaffinity(0, sizeof before, &before), 0);
    ck_assert_int_eq(organ_topology_take_share(2, 2, &error), ORGAN_USAGE);
    organ_topology_destroy(all);
}
END_TEST

static Suite *machine_suite(void)
{
    const TTest *const topologies[] = {two_nodes_of_24_cores_share_any_number_of_workers,
                                       bad_descriptions_are_refused,
                                       discovery_keeps_to_the_affinity,
                                       shares_of_the_cores_are_whole,
                                       binding_takes_the_thread_there,
                                       binding_that_cannot_be_is_false,
                                       memory_is_zeroed_and_given_back_whole};
    const TTest *const pool[] = {every_worker_does_every_round_once,
                                 a_round_of_some_workers_is_done_by_the_first,
                                 only_one_worker_is_woken_if_nothing_is_left,
                                 the_pool_has_one_worker_per_core_by_default,
                                 start_returns_while_the_workers_work,
                                 destroy_waits_for_what_was_begun,
                                 workers_live_where_they_were_put,
                                 a_thread_that_cannot_be_made_undoes_the_pool};
    Suite *suite = suite_create("machine");
    TCase *cases[] = {tcase_create("topology"), tcase_create("workers"), topology_tests(), team_tests()};
    for (size_t k = 0; k < COUNT(topologies); k++)
        tcase_add_test(cases[0], topologies[k]);
    tcase_add_loop_test(cases[0], places_are_dealt, 0, (int)COUNT(machines));
    for (size_t k = 0; k < COUNT(pool); k++)
        tcase_add_test(cases[1], pool[k]);
    for (size_t k = 0; k < COUNT(cases); k++)
        suite_add_tcase(suite, cases[k]);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(machine_suite());
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
