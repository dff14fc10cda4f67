/* SPDX-License-Identifier: MIT
 * Creates threads that block signals, and waits for conditions with a time limit. */
#ifndef ORGAN_THREAD_H
#define ORGAN_THREAD_H

#include <pthread.h>

/* Calls pthread_create for a thread that blocks signals, so that they are delivered to the creating thread. Faults
 * (SIGSEGV, ...) are not blocked, so that a debugger or sanitizer reports them where they happen. `attributes` may be
 * NULL. Returns 0 or an errno. */
int organ_thread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *context),
                        void *context);

/* Initialises a condition for organ_condition_wait, which needs a monotonic clock. */
void organ_condition_init(pthread_cond_t *condition);

/* Waits on the condition for at most a fifth of a second, so that the caller can check for a request to stop. The
 * caller holds the lock and tests its condition again afterwards. */
void organ_condition_wait(pthread_cond_t *condition, pthread_mutex_t *lock);

#endif
