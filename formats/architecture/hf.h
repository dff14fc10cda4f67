/* SPDX-License-Identifier: MIT
 * Internals of the reader of config.json. Each function reads some members of the configuration and reports the first
 * fault in s->error. "After X": function X must have run. */
#ifndef ORGAN_FORWARD_CONFIG_HF_H
#define ORGAN_FORWARD_CONFIG_HF_H

#include "formats/architecture/config_json.h"

/* Reads the sizes of heads in layers without a window, if they differ from those of the other layers (Gemma 4); after
 * organ_config_heads and before organ_config_ropes. */
void organ_config_global_heads(const config_hf_source *s, organ_forward_config *config);
/* Reads the members that only Gemma 3n and Gemma 4 have, and sets config->state for all architectures; after all but
 * organ_config_early. */
void organ_config_gemma(const config_hf_source *s, organ_forward_config *config);

/* Returns the number of layers: num_hidden_layers, or else the length of the list of layer types. */
unsigned organ_config_layers(const config_hf_source *s);
/* Reads the mixer of each layer and the sizes of recurrent layers, and for LFM2 the widths of feed-forwards; after
 * organ_config_latent. Needs the epsilon of norms and the scale of attention scores. */
void organ_config_mixers(const config_hf_source *s, organ_forward_config *config);
/* Reads the members that only some early architectures have (forward_early); after all other functions. */
void organ_config_early(const config_hf_source *s, organ_forward_config *config);

/* Reads the rotations of q and k, and the scale of queries; after organ_config_global_heads. */
void organ_config_ropes(const config_hf_source *s, organ_forward_config *config);
/* Reads which layers have a sliding window; after organ_config_experts. */
void organ_config_windows(const config_hf_source *s, organ_forward_config *config);
/* Reads the heads of architectures in which they differ between layers; after organ_config_windows. */
void organ_config_heads(const config_hf_source *s, organ_forward_config *config);
/* Reads which layers rotate q and k, have attention sinks, and attend within chunks; after organ_config_windows and
 * organ_config_ropes. */
void organ_config_positions(const config_hf_source *s, organ_forward_config *config);
/* Reads the sizes of latent attention into the configuration and all kinds of layers; needs config->kinds. */
void organ_config_latent(const config_hf_source *s, organ_forward_config *config);
/* Reads the mixture of experts and which layers have one; after organ_config_mixers. */
void organ_config_experts(const config_hf_source *s, organ_forward_config *config);

#endif
