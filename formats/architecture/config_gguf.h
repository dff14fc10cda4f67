/* SPDX-License-Identifier: MIT
 * Internals of the reader of GGUF key-values: its parts. Each function reads some members of the configuration and
 * reports the first fault in s->error. Defaults of missing keys are those of llama.cpp. */
#ifndef ORGAN_CONFIG_GGUF_H
#define ORGAN_CONFIG_GGUF_H

#include "formats/architecture/gguf_keys.h"

/* If the message in s->error names no key or tensor, appends the names of the GGUF keys whose values were rejected: the
 * checks of config_check.c name members of config.json for both formats. */
void organ_key_name_fault(const config_gguf_source *s);
/* Reads the rotations of q and k; after organ_key_latent. */
void organ_key_ropes(const config_gguf_source *s, organ_forward_config *config);
/* Reads the sizes of latent attention into the configuration and all kinds of layers; after organ_key_heads. */
void organ_key_latent(const config_gguf_source *s, organ_forward_config *config);
/* In models with latent attention and YaRN, multiplies the scale of attention scores by YaRN's factor; after
 * organ_key_ropes. */
void organ_key_latent_scale(const config_gguf_source *s, organ_forward_config *config);
/* Reads the members that only Gemma 3n and Gemma 4 have; after organ_key_windows. */
void organ_key_gemma(const config_gguf_source *s, organ_forward_config *config);
/* Reads the scale of queries (organ_query_scale). */
void organ_key_query(const config_gguf_source *s, organ_forward_config *config);
/* Reads heads and dense widths of each layer; needs config->kinds. */
void organ_key_heads(const config_gguf_source *s, organ_forward_config *config);
/* Reads which layers have a sliding window; needs config->kinds. */
void organ_key_windows(const config_gguf_source *s, organ_forward_config *config);
/* Sets which layers have sinks, rotate q and k, and attend within chunks; after organ_key_windows and
 * organ_key_experts. */
void organ_key_positions(const config_gguf_source *s, organ_forward_config *config);
/* Reads the mixture of experts and which layers have one; after organ_key_heads. */
void organ_key_experts(const config_gguf_source *s, organ_forward_config *config);
/* Reads the mixers of layers and the sizes of recurrent ones; after organ_key_latent; needs the epsilon of norms. */
void organ_key_mixers(const config_gguf_source *s, organ_forward_config *config);

#endif
