/* SPDX-License-Identifier: MIT
 * Charts of a report of `organ evaluate` (organ.evaluate/1): a value of each model over the share of its weights that
 * were killed (set to zero), one line a method. */
#ifndef ORGAN_CLOUDS_H
#define ORGAN_CLOUDS_H

#include <jansson.h>

/* Draw each model that was made from the first one, the donor, as a point: its perplexity, or its KL divergence from
 * the donor, over the percent of killed target weights. Return an SVG, which the caller frees; NULL if out of
 * memory. */
char *organ_perplexity_cloud(const json_t *report);
char *organ_divergence_cloud(const json_t *report);

#endif
