/* SPDX-License-Identifier: MIT
 * Threads that take no signals, and waiting for conditions with a time limit. */
#ifndef ORGAN_THREAD_H
#define ORGAN_THREAD_H

#include <pthread.h>

/* pthread_create for a thread that takes no signals: those belong to the thread that calls. Faults (SIGSEGV, ...) stay
 * deliverable, so that a debugger or sanitizer sees them where they happen. `attributes` may be NULL. 0, or an errno.
 */
int organ_thread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *context),
                        void *context);

/* A condition for organ_condition_wait, on a clock that never goes back. */
void organ_condition_init(pthread_cond_t *condition);

/* pthread_cond_wait for a fifth of a second at most: who waits notices a wish to stop even when nothing moves. */
void organ_condition_wait(pthread_cond_t *condition, pthread_mutex_t *lock);

#endif
