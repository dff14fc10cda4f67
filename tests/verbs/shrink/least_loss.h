/* SPDX-License-Identifier: MIT
 * Loss of a choice of channels: the error that remains after all kept columns are solved directly in FP64. */
#ifndef MIN_LOSS_H
#define MIN_LOSS_H

#include <stdbool.h>
#include <stddef.h>

/* Channels of an expert of the models in fixtures/forward, the number kept, and their hidden size. */
enum { WIDTH = 24, KEPT = 16, HIDDEN = 32 };

/* Second moments of the inputs of a down projection. */
typedef struct sums {
    double h[WIDTH][WIDTH];
    size_t tokens;
} sums;

/* Adds one token times its weight. */
void sums_add(sums *s, float weight, const float *inner);
/* Makes the mean over the tokens, damped as in the program. */
void sums_end(sums *s);

/* Returns the least trace((W - V) H (W - V)^T) with V nonzero in the kept columns only; w has HIDDEN rows. `v`, if not
 * NULL, becomes that V. */
double least_loss(const sums *s, const float *w, const bool *kept, double (*v)[WIDTH]);
/* Returns the loss of removing columns one by one, each time the one with the least loss. */
double greedy_loss(const sums *s, const float *w);

#endif
