/* SPDX-License-Identifier: MIT
 * The steps that the readers of config.json and of GGUF key-values share. `label` names the file
 * in messages. Functions with an error return ORGAN_BAD_INPUT for invalid values, ORGAN_IO if memory cannot be
 * allocated. */
#ifndef ORGAN_ARCHITECTURE_CONFIG_READERS_H
#define ORGAN_ARCHITECTURE_CONFIG_READERS_H

#include "formats/architecture/families.h"

#include <jansson.h>
#include <organ/weights.h>

/* Allocates config->kinds, one for each layer: attention with the heads of the configuration, rotated, dense, without a
 * window. Both readers call it as soon as they have read the number of layers and the sizes of heads. */
organ_status organ_forward_config_kinds(const char *label, organ_forward_config *config, organ_error *error);

/* Makes the layers from number `first` on mixtures; the layers before them stay dense. If `first` is the number of
 * layers, the model has no experts. */
organ_status organ_forward_config_mixture(const char *label, unsigned first, organ_forward_config *config,
                                          organ_error *error);

/* Checks the sizes of the indexer of sparse attention. */
organ_status organ_forward_config_indexer(const char *label, const organ_latent_config *latent, organ_error *error);
/* Refuses sizes of block-sparse attention that cannot be; keeps an earlier error. */
organ_status organ_forward_config_blocks(const char *label, const organ_forward_config *config, organ_error *error);

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

/* ---- single members of config.json, as transformers 4 and 5 write it ---- */

/* Functions that return a value report a fault in `s->error`, with the file's name, the member and its value; only the
 * first fault is kept, and callers do not use values after a fault. A member that is null counts as missing. `fallback`
 * is the value of a missing member. */

/* The config.json that a configuration is read from. */
typedef struct config_hf_source {
    const char *label;  /* path of the file */
    const json_t *file; /* the whole file */
    const json_t *root; /* the object that configures the text model: the file, or a part of it */
    const forward_family *family;
    organ_error *error;
} config_hf_source;

/* Returns the member `key` of an object, or NULL if it is missing or null; "a.b" is member b of member a. `object` may
 * be NULL. */
const json_t *organ_config_member(const json_t *object, const char *key);

/* Returns the name under which the file has the member `key` of the root: the architecture's alias
 * (forward_family.aliases) if the file has a member of that name, else `key`. */
const char *organ_config_name(const config_hf_source *s, const char *key);

/* Sets ORGAN_BAD_INPUT with the message "FILE: KEY is VALUE, not EXPECTED". */
void organ_config_refuse(const config_hf_source *s, const char *key, const json_t *value, const char *expected);

/* Reports an error if a member of the object has another value than its row in `fixed`, a list that ends with a NULL
 * key. Missing members pass. `object` and `fixed` may be NULL. */
void organ_config_require(const config_hf_source *s, const json_t *object, const forward_fixed *fixed);

/* Returns a member that is a number. Reports an error if it is not a number or not finite in FP32. */
double organ_config_real(const config_hf_source *s, const json_t *object, const char *key, double fallback);
/* Reports an error if the member is there and is not an object. */
void organ_config_require_object(const config_hf_source *s, const json_t *object, const char *key);
/* Returns a member of the root that is a whole number of at least 0. Numbers beyond 32 bits become UINT32_MAX, which
 * organ_forward_config_check rejects. */
unsigned organ_config_size(const config_hf_source *s, const char *key, unsigned fallback);
/* Like organ_config_size, but reports an error if the member is missing. */
unsigned organ_config_needed(const config_hf_source *s, const char *key);
/* Returns a member of the root that is true or false. */
bool organ_config_flag(const config_hf_source *s, const char *key, bool fallback);
/* Returns the member that `flag` names; flag.otherwise if the member is missing or flag.key is NULL. */
bool organ_config_flag_of(const config_hf_source *s, forward_flag flag);
/* Returns whether transformers ties the output head to the embeddings: by the flag tie_word_embeddings at the top of
 * the file, of text_config, or by the default of its class for the model_type. For a multimodal type that organ does
 * not know, the first flag of both decides, and without a flag such a model is tied. For other models
 * forward_family.tied is the default. s->family may be NULL: organ does not know the architecture, and without the flag
 * such a model is not tied. */
bool organ_config_is_tied(const config_hf_source *s);
/* Returns the member that `number` names; number.otherwise if the member is missing, 0 if number.key is NULL. */
double organ_config_number(const config_hf_source *s, forward_number number);
/* Returns the member of the root if it is a list of `layers` items; else NULL, and reports an error, in which `item`
 * describes an item ("a number"). */
const json_t *organ_config_list(const config_hf_source *s, const char *key, const char *item, unsigned layers);
/* Returns the layer whose number, counted from `first` (0 or 1), is an item of the list `key`; NULL after an error. */
organ_layer_kind *organ_config_layer(const config_hf_source *s, const char *key, const json_t *item, unsigned first,
                                     organ_forward_config *config);
/* Returns whether item `layer` of `list`, the value of the member `key`, is the word `yes`. Reports an error if it is
 * neither `yes` nor `no`. */
bool organ_config_layer_is(const config_hf_source *s, const char *key, const json_t *list, unsigned layer,
                           const char *yes, const char *no);
/* Returns a member of the object that is a string; `fallback`, which may be NULL, if it is missing. */
const char *organ_config_word(const config_hf_source *s, const json_t *object, const char *key, const char *fallback);

/* ---- parts of a configuration in config.json ---- */

/* Each function reads some members of the configuration and reports the first fault in s->error. s->root is the object
 * of the text model, s->family, called the family, the row of its architecture in families.h. "After X": function X
 * must have run. */

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
/* Reads the heads and limits of the layers of Step 3.7; after organ_config_windows. */
void organ_config_step_layers(const config_hf_source *s, organ_forward_config *config);
/* Reads which layers rotate q and k, have attention sinks, and attend within chunks; after organ_config_windows and
 * organ_config_ropes. */
void organ_config_positions(const config_hf_source *s, organ_forward_config *config);
/* Reads the sizes of latent attention into the configuration and all kinds of layers; needs config->kinds. */
void organ_config_latent(const config_hf_source *s, organ_forward_config *config);
/* Reads the sizes of compressed attention and the structure of its layers, in families with `compressed`; after
 * organ_config_latent. */
void organ_config_compressed(const config_hf_source *s, organ_forward_config *config);
/* Reads the rotations of such a family: that of layers that attend to compressed tokens, and as rope_local that of the
 * others. */
void organ_config_compressed_ropes(const config_hf_source *s, organ_forward_config *config);
/* Reads which layers of such a family have organ_layer_kind.by_token. */
void organ_config_by_token(const config_hf_source *s, organ_forward_config *config);
/* Reads the rotation that the object describes; a NULL means a default rotation. `theta` is the base if the object has
 * no rope_theta. */
organ_rope_config organ_config_rope(const config_hf_source *s, const json_t *object, double theta, unsigned head_dim,
                                    const organ_forward_config *config);
/* Reads the mixture of experts and which layers have one; after organ_config_mixers. */
void organ_config_experts(const config_hf_source *s, organ_forward_config *config);

/* ---- the text part of a multimodal model ---- */

/* Returns the object of config.json that configures the text model: member text_config of `root`, or `root` if it has
 * none. On entry *architecture is the first item of `architectures` in `root`.
 *
 * For a multimodal model *architecture becomes the architecture of the text part, by model_type or else by
 * `architectures` of text_config; without both it keeps its value. Members that published files of the text part's
 * model type lack are added with the defaults of transformers. For Gemma3ForConditionalGeneration, the function removes
 * final_logit_softcapping, because that class does not apply it.
 *
 * For a few model types that transformers saves with another class, *architecture becomes the published one. */
json_t *organ_config_text(json_t *root, const char **architecture);

/* Adds to the text part of a published config.json of Step 3.7 the members that transformers saves in place of its own:
 * layer_types, mlp_layer_types, rope_parameters by layer type, query_pre_attn_scalar. */
void organ_config_step(json_t *text);

/* Adds to the text part of a published config.json of MiniMax M3 the members that transformers saves, and those that it
 * takes as defaults; replaces the name of the activation, which transformers ignores. */
void organ_config_m3(json_t *text);
/* Reads the layers with block-sparse attention, and their sizes, of a family with `blocks`. */
void organ_config_blocks(const config_hf_source *s, organ_forward_config *config);

/* ---- the class that transformers chooses by model_type of config.json ---- */

/* Returns the class that AutoModelForCausalLM of transformers 5 loads for this model_type, or, for a model with parts
 * for images, the class that AutoModelForImageTextToText loads; NULL for a type that is unknown. */
const char *organ_class_of_type(const char *model_type);

/* Returns whether `architecture` is the class of a model without its output head ("LlamaModel"). transformers loads
 * such a file as a causal model too, because it ignores `architectures`. */
bool organ_class_is_base(const char *architecture);

#endif
