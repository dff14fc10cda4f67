/* SPDX-License-Identifier: MIT
 * Checks an adapter that peft can read for properties that vLLM rejects or silently handles in another way. "Servers"
 * means vLLM here. */
#ifndef ORGAN_ADAPTER_CHECK_H
#define ORGAN_ADAPTER_CHECK_H

#include <organ/weights.h>
#include "orchestrator/surgery/lora/base_names.h"

/* The largest rank that vLLM can be configured to serve. */
#define ORGAN_SERVED_RANK 512u

/* Returns the smallest value of vLLM's --max-lora-rank (1, 8, 16, 32, 64, 128, 256, 320, 512) that is at least `rank`;
 * 0 if there is none. */
unsigned organ_served_rank(uint64_t rank);

/* Returns the reason why servers cannot load the tensor `name` of an adapter: the name has a word such as "lm_head" or
 * "norm", or `factor` is false, which means that the tensor is not a factor of a pair. Returns NULL if servers can load
 * the tensor. Does not check the words for a GGUF adapter, because llama.cpp applies factors of any weight. */
const char *organ_lora_unservable(const organ_adapter *adapter, const char *name, bool factor);

/* Returns the reason why servers cannot load a pair of factors: a reason of organ_lora_unservable, or, unless the
 * adapter is GGUF, that the pair belongs to a stack of experts. Returns NULL if they can load the pair. */
const char *organ_lora_pair_unservable(const organ_adapter *adapter, const organ_adapter_pair *pair);

/* Appends a row {"rule", "where", "text"} to `findings` for each setting, tensor and rank (above `max`) that a server
 * would reject, and one row if no module remains. "rule" is "field", "target", "key", "rank" or "base"; "where" is the
 * name of the setting, tensor or module. For a GGUF adapter checks neither settings nor ranks. `model` is the base and
 * `base` has its weights; if they are not NULL, modules that the base lacks or has in another shape are also findings.
 * Does not read values of tensors. Returns ORGAN_IO if memory runs out. */
organ_status organ_lora_findings(const organ_adapter *adapter, const organ_model *model, const organ_lora_names *base,
                                 uint64_t max, json_t *findings, organ_error *error);

/* Returns whether an entry of target_modules selects the module: it equals the module's name, or one or more of the
 * last words of this name, which dots separate ("q_proj", "self_attn.q_proj"). */
bool organ_lora_is_target(const char *target, const char *module);

#endif
