/* SPDX-License-Identifier: MIT
 * Internals of the reader of config.json: its parts. */
#ifndef ORGAN_FORWARD_CONFIG_HF_H
#define ORGAN_FORWARD_CONFIG_HF_H

#include "orchestrator/forward/config/config_json.h"

/* Sizes of heads in layers without a window; after organ_config_heads and before organ_config_ropes. */
void organ_config_global_heads(const config_hf_source *s, organ_forward_config *config);
/* Pieces of Gemma 3n and Gemma 4; after all others. */
void organ_config_gemma(const config_hf_source *s, organ_forward_config *config);

/* Returns the number of layers, which is that of a list if config.json has no num_hidden_layers. */
unsigned organ_config_layers(const config_hf_source *s);
/* Mixers of the layers and sizes of recurrent ones. */
void organ_config_mixers(const config_hf_source *s, organ_forward_config *config);
/* Pieces of architectures from GPT-2 to Falcon; after all others. */
void organ_config_early(const config_hf_source *s, organ_forward_config *config);

/* organ_config_experts, _windows and _positions need the kinds of layers, and _positions
 * the windows. */
void organ_config_ropes(const config_hf_source *s, organ_forward_config *config);
void organ_config_windows(const config_hf_source *s, organ_forward_config *config);
void organ_config_heads(const config_hf_source *s, organ_forward_config *config); /* after the windows */
void organ_config_positions(const config_hf_source *s, organ_forward_config *config);
/* Reads the sizes of latent attention into the configuration and all kinds of layers. */
void organ_config_latent(const config_hf_source *s, organ_forward_config *config);
void organ_config_experts(const config_hf_source *s, organ_forward_config *config);

#endif
