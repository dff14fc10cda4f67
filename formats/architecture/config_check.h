/* SPDX-License-Identifier: MIT
 * Internals of config.h: the steps that the readers of config.json and of GGUF key-values share. `label` names the file
 * in messages. Functions with an error return ORGAN_BAD_INPUT for invalid values, ORGAN_IO if memory cannot be
 * allocated. */
#ifndef ORGAN_CONFIG_CHECK_H
#define ORGAN_CONFIG_CHECK_H

#include "formats/architecture/families.h"

/* Allocates config->kinds, one for each layer: attention with the heads of the configuration, rotated, dense, without a
 * window. Both readers call it as soon as they have read the number of layers and the sizes of heads. */
organ_status organ_forward_config_kinds(const char *label, organ_forward_config *config, organ_error *error);

/* Makes the layers from number `first` on mixtures; the layers before them stay dense. If `first` is the number of
 * layers, the model has no experts. */
organ_status organ_forward_config_mixture(const char *label, unsigned first, organ_forward_config *config,
                                          organ_error *error);

/* Checks the sizes of the indexer of sparse attention. */
organ_status organ_forward_config_indexer(const char *label, const organ_latent_config *latent, organ_error *error);

/* Makes each of the last `shared` layers use the keys and values of an earlier layer: for a layer with a window, of the
 * last earlier layer with a window; for a layer without, of the last earlier layer without. Adds room for these keys
 * and values to config->state. Before the call, the windows and heads of all layers must be set, and config->state to
 * the floats that a token needs without shared keys. */
organ_status organ_forward_config_share(const char *label, unsigned shared, organ_forward_config *config,
                                        organ_error *error);

/* Checks that all sizes and numbers are valid and consistent; both readers call it last. If config->state is 0, sets it
 * to the width of the hidden state. */
organ_status organ_forward_config_check(const char *label, organ_forward_config *config, organ_error *error);

/* Sets the width of the shared expert to that of `shared` routed experts. */
void organ_forward_config_shared(organ_forward_config *config, unsigned shared);

/* Sets the window of all layers to config->window. If `pattern` is above 0, then sets it to 0 in every pattern-th
 * layer: with 6 in the layers with numbers 5, 11, ... */
void organ_forward_config_pattern(organ_forward_config *config, unsigned pattern);

/* Sets `rotated` of each layer: true with a window, false without. If the model has no sliding window, all layers get
 * false with `every`, and true without it. */
void organ_forward_config_unrotate(bool every, organ_forward_config *config);

/* Sets `rotated` of all layers to false if the model has absolute positions (config->positions) or ALiBi. */
void organ_forward_config_place(organ_forward_config *config);

/* Sets `sinks` of each layer by the architecture's rule. Windows must be set before. */
void organ_forward_config_sinks(organ_forward_config *config, forward_sinks sinks);

#endif
