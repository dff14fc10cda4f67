/* SPDX-License-Identifier: MIT
 * Rounding of the inputs of linear layers, as servers of quantised models round them (rounding.c, products.c). */
#ifndef ORGAN_FORWARD_ROUNDING_H
#define ORGAN_FORWARD_ROUNDING_H

#include <organ/forward.h>
#include <organ/kernels.h>
#include <organ/weights.h>

/* How products round the inputs of a weight. */
typedef struct forward_rounding {
    void (*round)(const organ_rounding *rule, const float *x, float *y, size_t n); /* NULL: not at all */
    organ_rounding rule;
} forward_rounding;

/* Rows of inputs, and where their rounded copy is. */
typedef struct forward_copy {
    const forward_rounding *rounding;
    const float *from;
    float *to; /* contiguous */
    size_t stride, rows, width;
} forward_copy;

typedef struct forward_copies {
    forward_copy *items;
    size_t count, room;
} forward_copies;

/* The memory for copies of a forward pass. The copies of all inputs of a list of products may be larger; then a part of
 * the list is computed at a time, or some rows. */
typedef struct forward_rounded {
    forward_rounding first; /* rounding of the first weight */
    bool several;           /* weights have different ones */
    size_t widest, width;   /* most inputs of a weight; most numbers of copies that joined products need for a row */
    float *floats;          /* `room` floats; NULL before the first use */
    size_t room;
} forward_rounded;

/* Returns whether two roundings give equal results. */
bool organ_forward_is_same_rounding(const forward_rounding *a, const forward_rounding *b);

/* Returns the bytes of the copies for groups of `tokens` tokens; 0 if the forward pass rounds nothing. */
uint64_t organ_forward_rounded_bytes(const organ_forward *forward, size_t tokens);

/* Sets *rounding to that of the weight's inputs; it rounds nothing if weight->inputs is NULL. Returns the errors of
 * organ_input_numbers_read. */
organ_status organ_forward_rounding_of(const organ_forward *forward, const organ_weight *weight,
                                       forward_rounding *rounding, organ_error *error);

#endif
