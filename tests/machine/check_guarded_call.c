/* SPDX-License-Identifier: MIT
 * Tests of orchestrator/machine/guarded_call.h. */
#include "orchestrator/machine/guarded_call.h"
#include "orchestrator/machine/thread.h"

#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ENOUGH = 60000 }; /* milliseconds of processor time */

static int calls;

static void raise_it(void *context)
{
    calls++;
    if (*(const int *)context)
        raise(*(const int *)context);
}

static void abort_it(void *context)
{
    (void)context;
    abort();
}

static const int numbers[] = {SIGSEGV, SIGBUS, SIGABRT};

START_TEST(faults_end_the_call)
{
    struct sigaction before, after;
    sigset_t blocked;
    int number = numbers[_i];
    bool broken = false;
    calls = 0;
    sigaction(number, NULL, &before);
    ck_assert(organ_guarded_call(raise_it, &(int){0}, ENOUGH, &broken) && !broken);
    ck_assert(!organ_guarded_call(raise_it, &number, ENOUGH, &broken) && broken);
    ck_assert_int_eq(calls, 2);
    ck_assert(!organ_guarded_call(raise_it, &(int){0}, ENOUGH, &broken)); /* not called again after a crash */
    ck_assert_int_eq(calls, 2);
    sigaction(number, NULL, &after);
    ck_assert(after.sa_handler == before.sa_handler);
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    ck_assert(!sigismember(&blocked, number));
    bool other = false; /* a fault outside of the guarded library */
    ck_assert(organ_guarded_call(raise_it, &(int){0}, ENOUGH, &other) && !other);
}
END_TEST

START_TEST(abort_ends_the_call)
{
    bool broken = false;
    ck_assert(!organ_guarded_call(abort_it, NULL, ENOUGH, &broken) && broken);
}
END_TEST

/* Repeats a failing call endlessly, as hwloc does without memory. */
static void repeat_it(void *context)
{
    while (sched_getaffinity(0, 0, context) != 0)
        usleep(0);
}

static void *repeat_on_thread(void *context)
{
    bool broken = false;
    const bool returned = organ_guarded_call(repeat_it, NULL, 20, &broken);
    *(bool *)context = !returned && broken;
    return NULL;
}

/* This works also on a thread that blocks all signals, as organ's threads do. */
START_TEST(endless_calls_end)
{
    struct sigaction before, after;
    bool ended = false;
    sigaction(SIGVTALRM, NULL, &before);
    repeat_on_thread(&ended);
    ck_assert(ended);
    pthread_t thread;
    ended = false;
    ck_assert_int_eq(organ_thread_create(&thread, NULL, repeat_on_thread, &ended), 0);
    pthread_join(thread, NULL);
    ck_assert(ended);
    sigaction(SIGVTALRM, NULL, &after);
    ck_assert(after.sa_handler == before.sa_handler);
}
END_TEST

/* ---- a fault in another thread during the call ---- */

static void *fault_elsewhere(void *context)
{
    raise(*(const int *)context);
    return NULL;
}

static void wait_for_other_thread(void *context)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, fault_elsewhere, context) == 0)
        pthread_join(thread, NULL);
}

START_TEST(other_threads_end_the_process)
{
    int number = numbers[_i], status = 0;
    const pid_t child = fork();
    if (child == 0) {
        bool broken = false;
        signal(number, SIG_DFL); /* a sanitizer has its own handler */
        organ_guarded_call(wait_for_other_thread, &number, ENOUGH, &broken);
        _exit(0);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == number);
}
END_TEST

int main(void)
{
    Suite *const suite = suite_create("guarded_call");
    TCase *const all = tcase_create("all");
    tcase_add_loop_test(all, faults_end_the_call, 0, 3);
    tcase_add_test(all, abort_ends_the_call);
    tcase_add_test(all, endless_calls_end);
    tcase_add_loop_test(all, other_threads_end_the_process, 0, 3);
    suite_add_tcase(suite, all);
    SRunner *const runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
