/* SPDX-License-Identifier: MIT
 * What a choice of channels costs: the loss that is left when all columns that stay are solved from nothing, in FP64.
 */
#ifndef MIN_LOSS_H
#define MIN_LOSS_H

#include <stdbool.h>
#include <stddef.h>

/* Channels of an expert of the models in fixtures/forward, how many stay, and their hidden size. */
enum { WIDTH = 24, KEPT = 16, HIDDEN = 32 };

/* Second moments of what a down projection gets. */
typedef struct sums {
    double h[WIDTH][WIDTH];
    size_t tokens;
} sums;

/* One token, times its weight. */
void sums_add(sums *s, float weight, const float *inner);
/* The mean over the tokens, damped as the program does it. */
void sums_end(sums *s);

/* The least trace((W - V) H (W - V)^T) with V in the kept columns alone, w having HIDDEN rows; `v`, where it is not
 * NULL, becomes that V.
 */
double least_loss(const sums *s, const float *w, const bool *kept, double (*v)[WIDTH]);
/* What is lost when one column goes after the other, each time the one without which least is. */
double greedy_loss(const sums *s, const float *w);

#endif
