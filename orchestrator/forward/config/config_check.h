/* SPDX-License-Identifier: MIT
 * Internals of config.h: the steps that the readers of config.json and of GGUF key-values share. */
#ifndef ORGAN_CONFIG_CHECK_H
#define ORGAN_CONFIG_CHECK_H

#include "orchestrator/forward/config/families.h"

/* First step of both readers after the number of layers and the sizes of heads: allocates the kinds of layers, rotated
 * and dense, with the heads of the configuration and no window. */
organ_status organ_forward_config_kinds(const char *label, organ_forward_config *config, organ_error *error);

/* Makes the layers from number `first` on mixtures; the layers before it stay dense. */
organ_status organ_forward_config_mixture(const char *label, unsigned first, organ_forward_config *config,
                                          organ_error *error);

/* Checks the sizes of the indexer of sparse attention. */
organ_status organ_forward_config_indexer(const char *label, const organ_latent_config *latent, organ_error *error);

/* Lets each of the last `shared` layers use the keys and values of the last layer before them all that has a window if
 * it has one. They need their windows and heads, and config->state must have the width of the hidden state. */
organ_status organ_forward_config_share(const char *label, unsigned shared, organ_forward_config *config,
                                        organ_error *error);

/* Last step of both readers: checks that sizes are consistent. `label` is the name of the file in messages. */
organ_status organ_forward_config_check(const char *label, organ_forward_config *config, organ_error *error);

/* Sets the width of `shared` experts, each as wide as a routed one, that process every token. */
void organ_forward_config_shared(organ_forward_config *config, unsigned shared);

/* Gives all layers the window of the configuration, except every pattern-th one if pattern is above 0. */
void organ_forward_config_pattern(organ_forward_config *config, unsigned pattern);

/* Takes the positions from the layers without a window; with `every` false only if the model has a sliding window. */
void organ_forward_config_unrotate(bool every, organ_forward_config *config);

/* Layers of models with learned positions or ALiBi do not rotate q and k. */
void organ_forward_config_place(organ_forward_config *config);

/* Gives the layers their sinks; they need their windows. */
void organ_forward_config_sinks(organ_forward_config *config, forward_sinks sinks);

#endif
