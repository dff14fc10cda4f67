/* SPDX-License-Identifier: MIT
 * Buffers of a computation, each described once. A layout is a function that sets the pointers of its context to
 * arrays, taken one after another. The same function counts their bytes, for --memory, and takes the memory; one call
 * releases all of it. */
#ifndef ORGAN_MACHINE_BUFFERS_H
#define ORGAN_MACHINE_BUFFERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct organ_buffer;

/* Arrays that are released together. All members are zero at first. */
typedef struct organ_buffers {
    bool counting;  /* the functions below only add to `bytes`, and return NULL */
    bool lacking;   /* an array could not be allocated; from then on the functions return NULL */
    uint64_t bytes; /* of all arrays, with those that could not be allocated; at most ORGAN_BUFFERS_MOST */
    struct organ_buffer *first;
} organ_buffers;

#define ORGAN_BUFFERS_MOST (UINT64_C(1) << 62) /* stands for this number of bytes and for more */

/* Takes an array of count x each bytes, aligned to a cache line and not initialised. An array of no bytes is not NULL.
 * Every array is an allocation of its own, of exactly these bytes, so that tools see accesses outside of it, and the
 * thread that first writes to a page decides on its memory node. */
void *organ_take(organ_buffers *buffers, size_t count, size_t each);
/* Takes an array like organ_take, and asks for large pages if it has 4 MiB or more: they cause fewer page faults and
 * TLB misses. The system may ignore the request. */
void *organ_take_large(organ_buffers *buffers, size_t count, size_t each);
/* Takes an array like organ_take, aligned to 4096 bytes, for direct I/O. */
void *organ_take_pages(organ_buffers *buffers, size_t count, size_t each);
/* Takes an array of zeros like organ_take_large, aligned to 16 bytes. */
void *organ_take_zeros(organ_buffers *buffers, size_t count, size_t each);
static inline float *organ_take_floats(organ_buffers *buffers, size_t a, size_t b)
{
    return organ_take_large(buffers, a, b * sizeof(float));
}

/* If the layout is counted, adds bytes that the owner of the buffers uses beside them, such as those of a function that
 * it calls. Takes nothing. */
void organ_take_beside(organ_buffers *buffers, uint64_t bytes);

typedef void organ_layout_function(void *context, organ_buffers *buffers);

/* Returns the bytes that the layout takes, with those beside. Sets the pointers of the context to NULL. */
uint64_t organ_buffers_count(organ_layout_function *layout, void *context);
/* Takes the arrays of the layout. Returns false if one could not be allocated. The caller releases the buffers in any
 * case. */
bool organ_buffers_take(organ_buffers *buffers, organ_layout_function *layout, void *context);
/* Frees all arrays and sets the members to zero. `buffers` itself may be in one of the arrays. */
void organ_buffers_release(organ_buffers *buffers);

/* Attribute of a variable, which must have an initialiser: the end of its block releases the buffers. */
#define ORGAN_OWNED_BUFFERS __attribute__((cleanup(organ_buffers_release))) organ_buffers

/* ---- single arrays, which the caller frees ---- */

/* Allocates a x b values, aligned to a cache line. Returns NULL if memory cannot be allocated. */
float *organ_floats(size_t a, size_t b);
/* Allocates `count` zeros. Returns NULL if memory cannot be allocated. */
double *organ_zero_doubles(size_t count);

#endif
