/* SPDX-License-Identifier: MIT */
#include "orchestrator/machine/guarded_call.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

enum { SIGNALS = 4, EXPIRED = SIGVTALRM }; /* EXPIRED: sent when the time limit is over */
static const int numbers[SIGNALS] = {SIGSEGV, SIGBUS, SIGABRT, EXPIRED};

static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER; /* signal handlers are per process, so one call at a time */
static struct sigaction before[SIGNALS];                /* actions of the signals outside of a guarded call */
static _Thread_local sigjmp_buf
    *way_back; /* state to return to, of the thread that makes the guarded call; NULL on all other threads */

/* Handles a signal during a guarded call. On the thread of the guarded call, jumps back to call_guarded, which then
 * ends the call. On any other thread, restores the earlier action of the signal and raises the signal again; ignores
 * an expired time limit there. */
static void return_from_fault(int number)
{
    if (way_back)
        siglongjmp(*way_back, 1);
    if (number == EXPIRED)
        return; /* the limit expired after the call had returned */
    for (int k = 0; k < SIGNALS; k++)
        if (numbers[k] == number)
            sigaction(number, &before[k], NULL);
    raise(number); /* arrives when this handler has returned */
}

/* Starts a timer that sends EXPIRED to this thread after `milliseconds` of its processor time. Returns false, and the
 * call has no limit, if the system has no such timer. */
static bool start_timer(unsigned milliseconds, timer_t *timer)
{
    const struct itimerspec limit = {
        .it_value = {.tv_sec = milliseconds / 1000, .tv_nsec = milliseconds % 1000 * 1000000L}};
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = EXPIRED};
    event._sigev_un._tid = gettid(); /* glibc has no public name for this member before 2.38 */
    if (timer_create(CLOCK_THREAD_CPUTIME_ID, &event, timer) != 0)
        return false;
    if (timer_settime(*timer, 0, &limit, NULL) == 0)
        return true;
    timer_delete(*timer);
    return false;
}

/* Runs call(context). If one of the signals in `numbers` arrives on this thread meanwhile, return_from_fault ends the
 * call, and *broken is true; otherwise *broken is false. */
static void call_guarded(void (*call)(void *context), void *context, bool *broken)
{
    sigjmp_buf here;
    *broken = true;
    if (sigsetjmp(here, 1) == 0) {
        way_back = &here;
        call(context);
        *broken = false;
    }
    way_back = NULL;
}

/* Runs call(context) for at most `milliseconds` of processor time, without a limit if no timer can be started. Sets
 * *broken to true if the call raised a signal or reached the limit. */
static void call_with_time_limit(void (*call)(void *context), void *context, unsigned milliseconds, bool *broken)
{
    timer_t timer;
    sigset_t expired, before_call;
    sigemptyset(&expired);
    sigaddset(&expired, EXPIRED);
    pthread_sigmask(SIG_UNBLOCK, &expired, &before_call); /* threads of organ block it */
    const bool limited = start_timer(milliseconds, &timer);
    call_guarded(call, context, broken);
    if (limited)
        timer_delete(timer);
    pthread_sigmask(SIG_SETMASK, &before_call, NULL);
}

/* Runs call(context), which calls a library that may crash or hang if memory is exhausted. Returns true if the call
 * returned. Otherwise sets *broken and returns false. If *broken is already true, returns false without the call,
 * because the state of the library is unknown. */
bool organ_guarded_call(void (*call)(void *context), void *context, unsigned milliseconds, bool *broken)
{
    const struct sigaction guard = {.sa_handler = return_from_fault, .sa_flags = SA_ONSTACK};
    pthread_mutex_lock(&one);
    if (*broken) {
        pthread_mutex_unlock(&one);
        return false;
    }
    for (int k = 0; k < SIGNALS; k++)
        sigaction(numbers[k], &guard, &before[k]);
    call_with_time_limit(call, context, milliseconds, broken);
    for (int k = 0; k < SIGNALS; k++)
        sigaction(numbers[k], &before[k], NULL);
    const bool returned = !*broken;
    pthread_mutex_unlock(&one);
    return returned;
}
