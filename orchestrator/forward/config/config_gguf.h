/* SPDX-License-Identifier: MIT
 * Internals of the reader of GGUF key-values: its parts. Defaults are those of llama.cpp. */
#ifndef ORGAN_CONFIG_GGUF_H
#define ORGAN_CONFIG_GGUF_H

#include "orchestrator/forward/config/gguf_keys.h"

/* Adds the names of the keys to the message of an error that names a member of config.json instead. */
void organ_key_name_fault(const config_gguf_source *s);
/* Each function reads some members of the configuration. organ_key_heads, _latent, _experts, _windows and _positions
 * need config->kinds, and organ_key_positions needs the windows. */
void organ_key_ropes(const config_gguf_source *s, organ_forward_config *config);
void organ_key_latent(const config_gguf_source *s, organ_forward_config *config);
void organ_key_latent_scale(const config_gguf_source *s, organ_forward_config *config); /* needs the rotation */
void organ_key_gemma(const config_gguf_source *s, organ_forward_config *config);        /* needs the windows */
/* Reads the scale of queries. */
void organ_key_query(const config_gguf_source *s, organ_forward_config *config);
void organ_key_heads(const config_gguf_source *s, organ_forward_config *config);
void organ_key_windows(const config_gguf_source *s, organ_forward_config *config);
void organ_key_positions(const config_gguf_source *s, organ_forward_config *config);
void organ_key_experts(const config_gguf_source *s, organ_forward_config *config);
/* Reads the mixers of layers and the sizes of recurrent ones. It needs kinds, heads and the eps of norms. */
void organ_key_mixers(const config_gguf_source *s, organ_forward_config *config);

#endif
