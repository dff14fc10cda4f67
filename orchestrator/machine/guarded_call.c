/* SPDX-License-Identifier: MIT */
#include "orchestrator/machine/guarded_call.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>

enum { SIGNALS = 3 };
static const int numbers[SIGNALS] = {SIGSEGV, SIGBUS, SIGABRT};

static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER; /* signal handlers are per process, so one call at a time */
static struct sigaction before[SIGNALS];
static _Thread_local sigjmp_buf *way_back; /* of the thread that makes the guarded call; NULL on all others */

static void on_fault(int number)
{
    if (way_back)
        siglongjmp(*way_back, 1);
    for (int k = 0; k < SIGNALS; k++)
        if (numbers[k] == number)
            sigaction(number, &before[k], NULL);
    raise(number); /* arrives when this handler has returned */
}

bool organ_guarded_call(void (*call)(void *context), void *context, bool *broken)
{
    const struct sigaction guard = {.sa_handler = on_fault, .sa_flags = SA_ONSTACK};
    sigjmp_buf here;
    pthread_mutex_lock(&one);
    if (*broken) {
        pthread_mutex_unlock(&one);
        return false;
    }
    for (int k = 0; k < SIGNALS; k++)
        sigaction(numbers[k], &guard, &before[k]);
    *broken = true;
    if (sigsetjmp(here, 1) == 0) {
        way_back = &here;
        call(context);
        *broken = false;
    }
    way_back = NULL;
    for (int k = 0; k < SIGNALS; k++)
        sigaction(numbers[k], &before[k], NULL);
    const bool returned = !*broken;
    pthread_mutex_unlock(&one);
    return returned;
}
