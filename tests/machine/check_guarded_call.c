/* SPDX-License-Identifier: MIT
 * Tests of orchestrator/machine/guarded_call.h. */
#include "orchestrator/machine/guarded_call.h"

#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

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
    ck_assert(organ_guarded_call(raise_it, &(int){0}, &broken) && !broken);
    ck_assert(!organ_guarded_call(raise_it, &number, &broken) && broken);
    ck_assert_int_eq(calls, 2);
    ck_assert(!organ_guarded_call(raise_it, &(int){0}, &broken)); /* not again */
    ck_assert_int_eq(calls, 2);
    sigaction(number, NULL, &after);
    ck_assert(after.sa_handler == before.sa_handler);
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    ck_assert(!sigismember(&blocked, number));
    bool other = false; /* of another library */
    ck_assert(organ_guarded_call(raise_it, &(int){0}, &other) && !other);
}
END_TEST

START_TEST(abort_ends_the_call)
{
    bool broken = false;
    ck_assert(!organ_guarded_call(abort_it, NULL, &broken) && broken);
}
END_TEST

/* ---- a fault of another thread during the call ---- */

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
        signal(number, SIG_DFL); /* a sanitizer has a handler of its own */
        organ_guarded_call(wait_for_other_thread, &number, &broken);
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
    tcase_add_loop_test(all, other_threads_end_the_process, 0, 3);
    suite_add_tcase(suite, all);
    SRunner *const runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
