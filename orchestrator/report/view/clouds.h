/* SPDX-License-Identifier: MIT
 * Charts of an organ.evaluate/1: what each model lost over the share of its killed weights, one line a method. */
#ifndef ORGAN_CLOUDS_H
#define ORGAN_CLOUDS_H

#include <jansson.h>

/* SVG, for the caller to free; NULL without memory. */
char *organ_perplexity_cloud(const json_t *report);
char *organ_divergence_cloud(const json_t *report);

#endif
