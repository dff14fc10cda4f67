/* SPDX-License-Identifier: MIT
 * Internals of config.h: the steps that the readers of config.json and of GGUF key-values share. */
#ifndef ORGAN_CONFIG_CHECK_H
#define ORGAN_CONFIG_CHECK_H

#include "orchestrator/forward/config/families.h"

/* Allocates config->kinds, one for each layer: attention with the heads of the configuration, rotated, dense, without a
 * window. Both readers call it first after they have read the number of layers and the sizes of heads. */
organ_status organ_forward_config_kinds(const char *label, organ_forward_config *config, organ_error *error);

/* Makes the layers from number `first` on mixtures; layers before it stay dense. `label` names the file in messages,
 * here and below. */
organ_status organ_forward_config_mixture(const char *label, unsigned first, organ_forward_config *config,
                                          organ_error *error);

/* Checks the sizes of the indexer of sparse attention. */
organ_status organ_forward_config_indexer(const char *label, const organ_latent_config *latent, organ_error *error);

/* Makes each of the last `shared` layers use the keys and values of an earlier layer: the last layer before these that,
 * like the layer itself, has a window or has none. Adds room for these keys and values to config->state. Windows and
 * heads of all layers must be set, and config->state must be the width of the hidden state. */
organ_status organ_forward_config_share(const char *label, unsigned shared, organ_forward_config *config,
                                        organ_error *error);

/* Checks that all sizes and numbers are valid and consistent; both readers call it last. */
organ_status organ_forward_config_check(const char *label, organ_forward_config *config, organ_error *error);

/* Sets the width of the shared expert to that of `shared` routed experts. */
void organ_forward_config_shared(organ_forward_config *config, unsigned shared);

/* Gives all layers the window of the configuration, except every pattern-th one if pattern is above 0. */
void organ_forward_config_pattern(organ_forward_config *config, unsigned pattern);

/* Sets `rotated` of each layer: true with a window, false without. With `every` false and no sliding window in the
 * model, true for all layers. */
void organ_forward_config_unrotate(bool every, organ_forward_config *config);

/* Clears `rotated` of all layers if the model has learned positions or ALiBi. */
void organ_forward_config_place(organ_forward_config *config);

/* Sets which layers have sinks. Windows must be set before. */
void organ_forward_config_sinks(organ_forward_config *config, forward_sinks sinks);

#endif
