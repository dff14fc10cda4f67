/* SPDX-License-Identifier: MIT
 * How far a model without some of its blocks is from the whole one, on windows of a text: many sets of blocks at a
 * time, so that each layer is loaded once for all of them, and hidden states that sets have in common are computed
 * once. The same bits for any number of threads, of ranks and of sets at a time. */
#ifndef ORGAN_LAYERS_SETS_H
#define ORGAN_LAYERS_SETS_H

#include "orchestrator/forward/forward.h"

typedef struct organ_layers_sets organ_layers_sets;

/* Bytes that it takes at least, beside nothing: of one set at a time. */
uint64_t organ_layers_sets_memory(const organ_forward *forward, size_t tokens);

/* Takes the windows through the donor. What --memory leaves goes to more sets at a time, at most `most`, and to hidden
 * states of the donor that are kept between its layers. Everything must outlive it. *sets is NULL on error. ORGAN_USAGE
 * where the engine's memory is too little (the least that is enough is named), ORGAN_IO without memory, errors of
 * organ_forward_embed and of organ_layer_load, ORGAN_INTERRUPTED.
 */
organ_status organ_layers_sets_open(organ_forward *forward, const organ_engine *engine, const organ_windows *windows,
                                    size_t most, organ_layers_sets **sets, organ_error *error);
void organ_layers_sets_close(organ_layers_sets *sets); /* NULL is allowed */

/* The least --memory that is enough. */
uint64_t organ_layers_sets_enough(const organ_forward *forward, const organ_windows *windows);

/* Whether it would be opened: the refusal alone. */
organ_status organ_layers_sets_check(const organ_forward *forward, const organ_engine *engine,
                                     const organ_windows *windows, organ_error *error);

/* Of each layer: 1 - the mean over all tokens of the cosine between the hidden states before and behind it. */
const double *organ_layers_sets_influence(const organ_layers_sets *sets);

/* divergence[k] becomes the mean over all tokens of KL(donor || model without the blocks of set k), in nats; a set is a
 * flag for each layer, `count` of them lie one behind the other. By all ranks of the engine, of which each carries its
 * share. ORGAN_BAD_INPUT where logits are not finite. */
organ_status organ_layers_sets_judge(organ_layers_sets *sets, const bool *dropped, size_t count, double *divergence,
                                     organ_error *error);

#endif
