/* SPDX-License-Identifier: MIT
 * How servers round the inputs of quantised matrices: the table of the kinds that loaders of compressed-tensors and fp8
 * know, {scheme, servers, what they round}. */
#ifndef ORGAN_WEIGHTS_SERVED_H
#define ORGAN_WEIGHTS_SERVED_H

#include <organ/weights.h>

/* A row of the table. */
typedef struct organ_served_inputs {
    const char *schemes[2]; /* globs on names of schemes; NULL: there is no second one */
    const char *asked;      /* the options that choose the row, for messages; NULL: only servers choose it */
    bool declared;          /* it applies without options */
    bool flag;              /* --activations chooses it */
    /* Format of compressed-tensors whose inputs the servers round although config.json does not declare it; others do
     * not. Experts are not rounded. NULL: config.json declares the rounding */
    const char *unasked;
    organ_input_rounding rounding;
    bool one_group;      /* vLLM needs the scheme's size of groups in all matrices */
    const char *experts; /* a warning if routed experts are quantised; NULL: none */
    const char *instead; /* no loader multiplies routed experts: what to use; NULL: one does */
    const char *loaders; /* the servers that round inputs so, and what others do */
} organ_served_inputs;

/* Returns row k; NULL after the last one. */
const organ_served_inputs *organ_served_at(size_t k);
/* Returns the row of a format whose inputs some servers round although config.json does not declare it; NULL: none. */
const organ_served_inputs *organ_served_unasked(const char *format);
/* Returns the row to which a weight's rounding belongs if config.json does not declare it; NULL: it does. */
const organ_served_inputs *organ_served_undeclared(const organ_input_rounding *rounding);
/* The model types in which vLLM 0.32 looks quantised embeddings of tokens up; NULL ends the list. */
extern const char *const organ_served_embeddings[];

#endif
