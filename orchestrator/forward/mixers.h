/* SPDX-License-Identifier: MIT
 * Mixers: the parts of a layer that combine the tokens of a window, such as attention. Each kind of organ_mixer has a
 * row in the table of mixer.c, its tensors in config/parts_mixers.c and a file of its own, whose first comment cites
 * its definition.
 *
 * A mixer computes its linear layers with organ_forward_add_linear, which also passes their inputs to the tap. Windows
 * of a group begin with a clean state. If the group continues a text (group->before), the state begins with
 * group->before->state, clean if before->tokens is 0, and the mixer stores there the state after the group. A task of
 * the workers is one window and one head or block of channels, so that bits do not depend on the number of threads. A
 * layer has at most one recurrent mixer. */
#ifndef ORGAN_FORWARD_MIXERS_H
#define ORGAN_FORWARD_MIXERS_H

#include "orchestrator/forward/forward_job.h"

/* The functions of a kind of mixer. The functions of kind NAME are organ_forward_NAME (run) and
 * organ_forward_NAME_width, _state and _scratch, declared below and for attention in forward_job.h. */
typedef struct forward_mixer {
    /* Computes `out`, the mixer's output (tokens x hidden_size), from `normed`, the normed hidden states of the group
     * (tokens x hidden_size). `scratch` has `width` floats for each token. */
    organ_status (*run)(forward_group *group, const float *normed, float *out, float *scratch, organ_error *error);
    /* Returns the floats of scratch that `run` needs for each token. */
    size_t (*width)(const organ_forward_config *config, const organ_layer_kind *kind);
    /* Returns the floats of the state that a cache keeps of a layer, with the last inputs of its convolutions. NULL:
     * the mixer has no state. */
    size_t (*state)(const organ_forward_config *config);
    /* Returns the bytes of scratch that a worker needs in addition to ORGAN_PRODUCT_SCRATCH. */
    size_t (*scratch)(const organ_forward_config *config);
} forward_mixer;

/* Returns a worker's scratch for mixers, after the bytes that its products use. */
float *organ_forward_mixer_scratch_of(const forward_group *group, size_t worker);
/* Returns the recurrent state of head `head`, `floats` floats: the state in the cache if the group continues a text,
 * else zeros in the scratch of worker `worker`. */
float *organ_forward_head_state(const forward_group *group, size_t head, size_t floats, size_t worker);

/* ---- causal convolutions (conv.c) ---- */

/* Rows of channels, one for each token of the group, `stride` floats apart. organ_forward_convolve replaces them by
 *     y(t) = biases + sum of kernel(j) x(t - width + 1 + j) over j,   then silu(y) if `silu`,
 * with x = 0 before a window. `kernels` has `width` numbers for each channel, `biases` one or is NULL. */
typedef struct forward_conv {
    const float *kernels, *biases;
    float *rows;
    size_t channels, stride, width;
    /* If the group continues a text, the width - 1 inputs before it, a row of channels for each, which are replaced by
     * the last ones of the group; else NULL. */
    float *tail;
    bool silu;
} forward_conv;
/* Returns the floats of forward_conv.tail. */
size_t organ_forward_conv_tail(size_t width, size_t channels);
/* Returns the bytes of scratch that organ_forward_convolve needs for each worker. */
size_t organ_forward_conv_scratch(size_t width);
/* Replaces conv->rows of all tokens of the group, and conv->tail. */
organ_status organ_forward_convolve(const forward_group *group, const forward_conv *conv, organ_error *error);

/* ---- the gated delta rule (delta.c) ---- */

/* The functions of ORGAN_MIXER_DELTA, as in forward_mixer. */
organ_status organ_forward_delta(forward_group *group, const float *normed, float *out, float *scratch,
                                 organ_error *error);
size_t organ_forward_delta_width(const organ_forward_config *config, const organ_layer_kind *kind);
size_t organ_forward_delta_state(const organ_forward_config *config);
size_t organ_forward_delta_scratch(const organ_forward_config *config);

/* ---- short convolutions (short_conv.c) ---- */

/* The functions of ORGAN_MIXER_SHORT_CONV, as in forward_mixer. */
organ_status organ_forward_short_conv(forward_group *group, const float *normed, float *out, float *scratch,
                                      organ_error *error);
size_t organ_forward_short_conv_width(const organ_forward_config *config, const organ_layer_kind *kind);
size_t organ_forward_short_conv_state(const organ_forward_config *config);
size_t organ_forward_short_conv_scratch(const organ_forward_config *config);

/* ---- Mamba (mamba.c) ---- */

/* The functions of ORGAN_MIXER_MAMBA, as in forward_mixer. */
organ_status organ_forward_mamba(forward_group *group, const float *normed, float *out, float *scratch,
                                 organ_error *error);
size_t organ_forward_mamba_width(const organ_forward_config *config, const organ_layer_kind *kind);
size_t organ_forward_mamba_state(const organ_forward_config *config);
size_t organ_forward_mamba_scratch(const organ_forward_config *config);

/* ---- Mamba-2 (mamba2.c) ---- */

/* The functions of ORGAN_MIXER_MAMBA2, as in forward_mixer. */
organ_status organ_forward_mamba2(forward_group *group, const float *normed, float *out, float *scratch,
                                  organ_error *error);
size_t organ_forward_mamba2_width(const organ_forward_config *config, const organ_layer_kind *kind);
size_t organ_forward_mamba2_state(const organ_forward_config *config);
size_t organ_forward_mamba2_scratch(const organ_forward_config *config);

/* ---- lightning attention (lightning.c) ---- */

/* The functions of ORGAN_MIXER_LIGHTNING, as in forward_mixer. */
organ_status organ_forward_lightning(forward_group *group, const float *normed, float *out, float *scratch,
                                     organ_error *error);
size_t organ_forward_lightning_width(const organ_forward_config *config, const organ_layer_kind *kind);
size_t organ_forward_lightning_state(const organ_forward_config *config);
size_t organ_forward_lightning_scratch(const organ_forward_config *config);

/* ---- all mixers of a layer (mixer.c) ---- */

/* Returns true if one of the layer's mixers is attention, so that a cache keeps keys and values of the layer. */
bool organ_forward_attends(const organ_layer_kind *kind);
/* Returns the floats of scratch that the mixers of a layer need for each token: those of the wider mixer, and with two
 * mixers hidden_size more for the output of the second. */
size_t organ_forward_mixer_width(const organ_forward_config *config, const organ_layer_kind *kind);
/* Returns the sum of the state sizes, in floats, of all mixers of a layer. */
size_t organ_forward_mixer_state(const organ_forward_config *config, const organ_layer_kind *kind);
/* Returns the largest scratch, in bytes of a worker, of all mixers of the model. */
size_t organ_forward_mixer_scratch(const organ_forward_config *config);
/* Returns the floats that the mixers of any layer need for a group of that many tokens. */
size_t organ_forward_mixer_room(const organ_forward *forward, size_t tokens);
/* Adds the mixers: hidden += mixers(norm(hidden)). Does nothing if the layer has no mixer. */
organ_status organ_forward_mix(forward_group *group, organ_error *error);

#endif
