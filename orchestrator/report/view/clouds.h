/* SPDX-License-Identifier: MIT
 * Charts of a report of `organ evaluate` (organ.evaluate/1): a value of each model over the share of its weights that
 * were killed (set to zero), one line a method. */
#ifndef ORGAN_CLOUDS_H
#define ORGAN_CLOUDS_H

#include <jansson.h>

/* Draws a point for each model but the first, which is the donor: the model's perplexity over the percent of killed
 * target weights. The line of each method starts at the donor. Returns an SVG, which the caller frees; NULL if out of
 * memory. */
char *organ_perplexity_cloud(const json_t *report);

/* The same with the KL divergence from the donor instead of the perplexity; the lines do not start at the donor. */
char *organ_divergence_cloud(const json_t *report);

#endif
