/* SPDX-License-Identifier: MIT
 * Charts of a report of `organ evaluate` (organ.evaluate/1): a value of each model over the share of its weights that
 * were killed (set to zero), one line a method. */
#ifndef ORGAN_CLOUDS_H
#define ORGAN_CLOUDS_H

#include <jansson.h>

/* Draws each model that was made from the first one, the donor, as a point: its perplexity over the percent of killed
 * target weights. Returns an SVG, which the caller frees; NULL if out of memory. */
char *organ_perplexity_cloud(const json_t *report);

/* The same with the KL divergence from the donor instead of the perplexity. */
char *organ_divergence_cloud(const json_t *report);

#endif
