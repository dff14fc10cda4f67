/* SPDX-License-Identifier: MIT
 * Charts of an organ.evaluate/1: what each model lost over the share of its killed weights, one line a method. */
#ifndef ORGAN_CLOUDS_H
#define ORGAN_CLOUDS_H

#include <jansson.h>

/* Draw the models of an evaluation as points: perplexity or divergence by sparsity. The SVG is for the caller to free;
 * NULL if out of memory. */
char *organ_perplexity_cloud(const json_t *report);
char *organ_divergence_cloud(const json_t *report);

#endif
