/* SPDX-License-Identifier: MIT */
#include "orchestrator/machine/thread.h"

#include <signal.h>
#include <stddef.h>
#include <time.h>

#define SECOND    1000000000 /* nanoseconds */
#define MAX_PAUSE (SECOND / 5)

/* A thread inherits the signal mask of its creator, which is changed only during pthread_create. */
int organ_thread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *context), void *context)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
    sigset_t held, before;
    sigfillset(&held);
    for (size_t k = 0; k < sizeof faults / sizeof faults[0]; k++)
        sigdelset(&held, faults[k]);
    pthread_sigmask(SIG_SETMASK, &held, &before);
    const int fault = pthread_create(thread, attributes, run, context);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return fault;
}

void organ_condition_init(pthread_cond_t *condition)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

void organ_condition_wait(pthread_cond_t *condition, pthread_mutex_t *lock)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += MAX_PAUSE;
    until.tv_sec += until.tv_nsec / SECOND;
    until.tv_nsec %= SECOND;
    pthread_cond_timedwait(condition, lock, &until);
}
