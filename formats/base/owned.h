/* SPDX-License-Identifier: MIT
 * Local variables that own memory or a lock: every exit from a variable's block releases the memory to which the
 * variable points, or the lock. Also frees several arrays with one call. */
#ifndef ORGAN_BASE_OWNED_H
#define ORGAN_BASE_OWNED_H

#include <jansson.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* `variable` is the address of a pointer of any type, copied because C does not let it be read as void *. */
static inline void organ_owned_free(const void *variable)
{
    void *memory;
    memcpy(&memory, variable, sizeof memory);
    free(memory);
}

static inline void organ_owned_decref(json_t *const *variable) { json_decref(*variable); }

/* Attributes of a declaration of pointers. Each pointer must have an initialiser, which may be NULL. The end of the
 * block calls free on pointers of ORGAN_OWNED, and json_decref on pointers of ORGAN_OWNED_JSON. */
#define ORGAN_OWNED      __attribute__((cleanup(organ_owned_free)))
#define ORGAN_OWNED_JSON __attribute__((cleanup(organ_owned_decref)))

/* Attribute of the declaration of one variable, which must have an initialiser: the end of the block calls `release`
 * with the variable's address. */
#define ORGAN_RELEASED_BY(release) __attribute__((cleanup(release)))

static inline pthread_mutex_t *organ_locked_begin(pthread_mutex_t *mutex)
{
    pthread_mutex_lock(mutex);
    return mutex;
}

static inline void organ_locked_end(pthread_mutex_t *const *mutex) { pthread_mutex_unlock(*mutex); }

/* A statement that locks the mutex until the end of its block. A value that the block returns is computed before the
 * mutex is unlocked. */
#define ORGAN_LOCKED(mutex)                                                                                            \
    pthread_mutex_t *const organ_locked __attribute__((cleanup(organ_locked_end), unused)) = organ_locked_begin(mutex)

/* Frees what the pointer at `variable` points to, and sets the pointer to NULL. organ_clear_json releases a value. */
static inline void organ_clear(void *variable)
{
    organ_owned_free(variable);
    memset(variable, 0, sizeof(void *));
}
static inline void organ_clear_json(json_t **variable)
{
    json_decref(*variable);
    *variable = NULL;
}

/* Frees `count` arrays; NULL is allowed among them. ORGAN_FREE_ARRAYS(a, b, ...) frees its arguments. */
static inline void organ_free_arrays(void *const *arrays, size_t count)
{
    for (size_t k = 0; k < count; k++)
        free(arrays[k]);
}
#define ORGAN_FREE_ARRAYS(...)                                                                                         \
    organ_free_arrays((void *const[]){__VA_ARGS__}, sizeof((void *const[]){__VA_ARGS__}) / sizeof(void *))

/* Releases `count` references; NULL is allowed among them. ORGAN_DECREF(a, b, ...) releases its arguments. */
static inline void organ_decref_all(json_t *const *values, size_t count)
{
    for (size_t k = 0; k < count; k++)
        json_decref(values[k]);
}
#define ORGAN_DECREF(...)                                                                                              \
    organ_decref_all((json_t *const[]){__VA_ARGS__}, sizeof((json_t *const[]){__VA_ARGS__}) / sizeof(json_t *))

#endif
