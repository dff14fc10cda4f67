/* SPDX-License-Identifier: MIT
 * Internals of the reader of config.json. Each function reads some members of the configuration; comments say which
 * functions must run before. */
#ifndef ORGAN_FORWARD_CONFIG_HF_H
#define ORGAN_FORWARD_CONFIG_HF_H

#include "orchestrator/forward/config/config_json.h"

/* Reads sizes of heads in layers without a window; after organ_config_heads and before organ_config_ropes. */
void organ_config_global_heads(const config_hf_source *s, organ_forward_config *config);
/* Reads the members that only Gemma 3n and Gemma 4 have; after all but organ_config_early. */
void organ_config_gemma(const config_hf_source *s, organ_forward_config *config);

/* Returns the number of layers: num_hidden_layers, or else the length of the list of layer types. */
unsigned organ_config_layers(const config_hf_source *s);
/* Reads the mixer of each layer and the sizes of recurrent layers. */
void organ_config_mixers(const config_hf_source *s, organ_forward_config *config);
/* Reads the members that only architectures from GPT-2 to MPT have; after all other functions. */
void organ_config_early(const config_hf_source *s, organ_forward_config *config);

/* Read rotations, windows, heads and positions. organ_config_experts, _windows and _positions need config->kinds, and
 * organ_config_positions needs the windows. */
void organ_config_ropes(const config_hf_source *s, organ_forward_config *config);
void organ_config_windows(const config_hf_source *s, organ_forward_config *config);
void organ_config_heads(const config_hf_source *s, organ_forward_config *config); /* after the windows */
void organ_config_positions(const config_hf_source *s, organ_forward_config *config);
/* Reads the sizes of latent attention into the configuration and all kinds of layers. */
void organ_config_latent(const config_hf_source *s, organ_forward_config *config);
/* Reads the mixture of experts and which layers have one. */
void organ_config_experts(const config_hf_source *s, organ_forward_config *config);

#endif
