/* SPDX-License-Identifier: MIT
 * Mixers: the parts of a layer in which the tokens of a window meet. Each kind of organ_mixer has a row in the table of
 * mixer.c, its parts in parts_mixers.c and a file of its own, whose header comment cites its definition.
 *
 * A mixer computes its linear layers with organ_forward_add_linear, which also passes their inputs to the tap. Windows
 * of a group begin with a clean state. If the group continues a text (group->before), the state begins with
 * group->before->state, clean if before->tokens is 0, and the mixer stores there the state after the group. A task of
 * the workers is one window and one head or block of channels, so that bits do not depend on the number of threads. A
 * layer has at most one recurrent mixer. */
#ifndef ORGAN_FORWARD_MIXERS_H
#define ORGAN_FORWARD_MIXERS_H

#include "orchestrator/forward/job.h"

typedef struct forward_mixer {
    /* Computes out, tokens x hidden_size, for normed, tokens x hidden_size. `room`: `width` floats for each token. */
    organ_status (*run)(forward_group *group, const float *normed, float *out, float *room, organ_error *error);
    size_t (*width)(const organ_forward_config *config, const organ_layer_kind *kind);
    /* Floats of the state that a cache keeps of a layer, with the last inputs of its convolutions; NULL: none. */
    size_t (*state)(const organ_forward_config *config);
    /* Bytes of a worker's scratch in addition to the packing of products. */
    size_t (*scratch)(const organ_forward_config *config);
} forward_mixer;

/* Returns true if one of the layer's mixers is attention, so that a cache keeps keys and values of the layer. */
bool organ_forward_attends(const organ_layer_kind *kind);
/* Return the floats of a token in `room` of the widest mixer of a layer, the floats of the states of all its mixers,
 * and the largest scratch of a worker in the model, in bytes. */
size_t organ_forward_mixer_width(const organ_forward_config *config, const organ_layer_kind *kind);
size_t organ_forward_mixer_state(const organ_forward_config *config, const organ_layer_kind *kind);
size_t organ_forward_mixer_scratch(const organ_forward_config *config);
/* Returns the floats of memory for a group of that many tokens. */
size_t organ_forward_mixer_room(const organ_forward *forward, size_t tokens);
/* hidden += mixers(norm(hidden)); nothing if the layer has no mixer. */
organ_status organ_forward_mix(forward_group *group, organ_error *error);

#endif
