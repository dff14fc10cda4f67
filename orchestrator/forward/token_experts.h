/* SPDX-License-Identifier: MIT
 * Tables that state the experts of each token of the vocabulary, for layers with organ_layer_kind.by_token. */
#ifndef ORGAN_FORWARD_TOKEN_EXPERTS_H
#define ORGAN_FORWARD_TOKEN_EXPERTS_H

#include "orchestrator/forward/forward_parts.h"

/* Reads the tables of all layers that have one. Returns ORGAN_BAD_INPUT, naming the tensor, if it is missing, has
 * another shape or no integers, or if one of them is not the number of an expert. */
organ_status organ_forward_token_experts_open(organ_forward *forward, organ_error *error);
void organ_forward_token_experts_close(organ_forward *forward);

/* Returns the experts of a token in the layer that the group runs, config.experts_used numbers; NULL: the router
 * chooses them. `token` counts the tokens of the group. */
const uint32_t *organ_forward_token_experts(const forward_group *group, size_t token);

#endif
