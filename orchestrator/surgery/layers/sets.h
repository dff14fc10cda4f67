/* SPDX-License-Identifier: MIT
 * Measures the divergence of a model without some of its blocks from the whole model, on windows of a text. Many sets
 * of dropped blocks are judged together, so that each layer is loaded once for all of them and hidden states that sets
 * have in common are computed once. Results have the same bits for any number of threads, of ranks and of sets judged
 * together. */
#ifndef ORGAN_LAYERS_SETS_H
#define ORGAN_LAYERS_SETS_H

#include <organ/forward.h>

typedef struct organ_layers_sets organ_layers_sets;

/* Runs the windows through the donor. Spare memory is used to judge up to `max` sets together and to keep hidden states
 * of the donor between its layers. All arguments must outlive *sets, which is NULL on error. Returns ORGAN_USAGE if the
 * engine's memory is too small (the message names the least that is enough), ORGAN_IO if memory runs out,
 * ORGAN_INTERRUPTED if a stop was requested, and errors of organ_forward_embed and organ_layer_load. */
organ_status organ_layers_sets_open(organ_forward *forward, const organ_engine *engine, const organ_windows *windows,
                                    size_t max, organ_layers_sets **sets, organ_error *error);
void organ_layers_sets_close(organ_layers_sets *sets); /* NULL is allowed */

/* Returns the least sufficient --memory in bytes. */
uint64_t organ_layers_sets_enough(const organ_forward *forward, const organ_windows *windows);

/* Returns the error with which organ_layers_sets_open would reject the engine's memory. Opens nothing. */
organ_status organ_layers_sets_check(const organ_forward *forward, const organ_engine *engine,
                                     const organ_windows *windows, organ_error *error);

/* Returns the influence of each layer: 1 - the mean over all tokens of the cosine between the hidden states before and
 * after it. Owned by `sets`. */
const double *organ_layers_sets_influence(const organ_layers_sets *sets);

/* Sets divergence[k] to the mean over all tokens of KL(donor || model without the blocks of set k), in nats. `dropped`
 * has the flags of `count` sets one after another, one flag for each layer. All ranks of the engine call it, and each
 * runs its share. Returns ORGAN_BAD_INPUT if logits are not finite, and errors of the forward pass. */
organ_status organ_layers_sets_judge(organ_layers_sets *sets, const bool *dropped, size_t count, double *divergence,
                                     organ_error *error);

#endif
