/* SPDX-License-Identifier: MIT
 * Local variables that own what they point to: it is released where the variable's block ends, by whichever exit.
 * Also frees several arrays. */
#ifndef ORGAN_BASE_OWNED_H
#define ORGAN_BASE_OWNED_H

#include <jansson.h>
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

/* Each stands before the declaration of pointers, which must have initialisers; NULL is allowed. ORGAN_OWNED: free
 * releases them; ORGAN_OWNED_JSON: json_decref does. */
#define ORGAN_OWNED      __attribute__((cleanup(organ_owned_free)))
#define ORGAN_OWNED_JSON __attribute__((cleanup(organ_owned_decref)))

/* Frees `count` arrays; NULL is allowed among them. ORGAN_FREE_ARRAYS(a, b, ...) frees its arguments. */
static inline void organ_free_arrays(void *const *arrays, size_t count)
{
    for (size_t k = 0; k < count; k++)
        free(arrays[k]);
}
#define ORGAN_FREE_ARRAYS(...)                                                                                         \
    organ_free_arrays((void *const[]){__VA_ARGS__}, sizeof((void *const[]){__VA_ARGS__}) / sizeof(void *))

#endif
