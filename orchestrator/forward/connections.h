/* SPDX-License-Identifier: MIT
 * Hyper-connections: the hidden state of a token is several streams (organ_forward_config.connections). Mixer and
 * feed-forward read a weighted sum of the streams, and their output is added to each stream with a weight of its own.
 * The streams are at the beginning of a state, one after the other. */
#ifndef ORGAN_FORWARD_CONNECTIONS_H
#define ORGAN_FORWARD_CONNECTIONS_H

#include "orchestrator/forward/forward_parts.h"

/* Reads the tensors after the last layer. Does nothing if the architecture has no hyper-connections. */
organ_status organ_forward_connections_open(organ_forward *forward, organ_error *error);
void organ_forward_connections_close(organ_forward *forward);
/* Copies the embedding, stream 0, to all other streams of `tokens` states. */
void organ_forward_connections_split(const organ_forward *forward, float *states, size_t tokens);
/* Row k of `merged` (hidden_size floats) becomes the weighted sum of the streams of token rows[k], after the last
 * layer. */
organ_status organ_forward_connections_merge(const organ_forward *forward, const float *states, const size_t *rows,
                                             size_t count, float *merged, organ_error *error);

/* A half of a layer, by the part with its matrix: PART_CONNECT_MIXER or PART_CONNECT_FEED. `hidden` has the hidden
 * states of tokens [first, first + tokens) of the group. */
/* Sets `hidden` to the input of the half, the weighted sum of the streams. */
organ_status organ_forward_connect_in(const forward_group *group, forward_part half, size_t first, size_t tokens,
                                      float *hidden, organ_error *error);
/* Adds `hidden`, the output of the half, to the streams. The streams must be those of organ_forward_connect_in. */
organ_status organ_forward_connect_out(const forward_group *group, forward_part half, size_t first, size_t tokens,
                                       float *hidden, organ_error *error);

#endif
