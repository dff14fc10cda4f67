/* SPDX-License-Identifier: MIT
 * Rounding of the inputs of linear layers, as servers of quantised models round them (rounding.c, products.c). */
#ifndef ORGAN_FORWARD_ROUNDING_H
#define ORGAN_FORWARD_ROUNDING_H

#include "orchestrator/stream/turn.h"

#include <organ/forward.h>
#include <organ/kernels.h>
#include <organ/weights.h>

/* How products round the inputs of a weight. */
typedef struct forward_rounding {
    void (*round)(const organ_rounding *rule, const float *x, float *y, size_t n); /* NULL: not at all */
    organ_rounding rule;
    const organ_rotation
        *rotation; /* NULL: none. Else the rotations of inputs of this chain come before the rounding */
} forward_rounding;

/* The matrix of a rotation of inputs. Rotations with the same numbers share one. */
typedef struct forward_turn {
    const organ_rotation *rotation;
    organ_turn *turn;
} forward_turn;

/* Rows of inputs, and where their rounded copy is. */
typedef struct forward_copy {
    const forward_rounding *rounding;
    const float *from;
    float *to; /* contiguous */
    size_t stride, rows, width;
} forward_copy;

struct forward_rounded;

typedef struct forward_copies {
    forward_copy *items;
    size_t count, room;
    const struct forward_rounded *rounded; /* while copies are made */
} forward_copies;

/* The memory for copies of a forward pass. The copies of all inputs of a list of products may be larger; then a part of
 * the list is computed at a time, or some rows. */
typedef struct forward_rounded {
    forward_rounding first; /* rounding of the first weight */
    bool several;           /* weights have different ones */
    size_t widest, width;   /* most inputs of a weight; most numbers of copies that joined products need for a row */
    float *floats;          /* `room` floats; NULL before the first use */
    size_t room;
    forward_turn *turns; /* `turn_count`, and `line`, organ_forward_line doubles of each worker */
    size_t turn_count, turn_room;
    double *line;
} forward_rounded;

/* Returns the doubles of a worker at `line`: a row of inputs and a part that is rotated. */
static inline size_t organ_forward_line(const forward_rounded *r) { return 2 * ((r->widest + 7) & ~(size_t)7); }

/* Rounds a row of n inputs x to y: rotates it, rounds it, and rotates it back, because the weights of the forward pass
 * have the rotations folded in. `line`: organ_forward_line doubles. */
void organ_forward_round_row(const forward_rounded *rounded, const forward_rounding *rounding, const float *x, float *y,
                             size_t n, double *line);

void organ_forward_rounded_release(forward_rounded *rounded); /* NULL is allowed */

/* Returns whether two roundings give equal results. */
bool organ_forward_is_same_rounding(const forward_rounding *a, const forward_rounding *b);
/* Opens the matrices that rotate the inputs of a weight. Returns ORGAN_BAD_INPUT for a matrix that is not orthogonal,
 * because rounded inputs cannot be rotated back by it. */
organ_status organ_forward_add_turns(organ_forward *f, const organ_weight *weight, organ_error *error);

/* Returns whether two chains rotate inputs in the same way; both may be NULL. */
bool organ_forward_is_same_turn(const organ_rotation *a, const organ_rotation *b);

/* Returns the bytes of the copies for groups of `tokens` tokens; 0 if the forward pass rounds nothing. */
uint64_t organ_forward_rounded_bytes(const organ_forward *forward, size_t tokens);

/* Sets *rounding to that of the weight's inputs; it rounds nothing if weight->inputs is NULL. Returns the errors of
 * organ_input_numbers_read. */
organ_status organ_forward_rounding_of(const organ_forward *forward, const organ_weight *weight,
                                       forward_rounding *rounding, organ_error *error);

#endif
