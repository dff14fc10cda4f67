/* SPDX-License-Identifier: MIT
 * Charts of an organ.evaluate/1: what each model lost over the share of its killed weights, one line a method. */
#ifndef ORGAN_CLOUDS_H
#define ORGAN_CLOUDS_H

#include <jansson.h>

/* The kind of a model in charts: its experiment where that has a name, else its method. */
const char *organ_kind_name(const json_t *model);

/* SVG, for the caller to free; NULL without memory. */
char *organ_perplexity_cloud(const json_t *report);
char *organ_divergence_cloud(const json_t *report);

#endif
