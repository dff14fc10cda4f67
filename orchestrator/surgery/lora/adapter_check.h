/* SPDX-License-Identifier: MIT
 * Checks an adapter, which peft can read, for properties that vLLM, a server of adapters, rejects or silently handles
 * in another way. */
#ifndef ORGAN_ADAPTER_CHECK_H
#define ORGAN_ADAPTER_CHECK_H

#include "formats/adapter/adapter.h"
#include "formats/weights/weights.h"

/* The largest rank that vLLM can be configured to serve. */
#define ORGAN_SERVED_RANK 512u

/* Returns the smallest value of vLLM's --max-lora-rank (1, 8, 16, 32, 64, 128, 256, 320, 512) that is at least `rank`;
 * 0 if there is none. */
unsigned organ_served_rank(uint64_t rank);

/* Returns why servers cannot load the tensor `name` of an adapter: its name has an unsupported word, or it is not a
 * factor (`factor` false). NULL if they can. GGUF adapters may have factors of any weight, because llama.cpp applies
 * them. */
const char *organ_lora_unservable(const organ_adapter *adapter, const char *name, bool factor);

/* Returns why servers cannot load a pair of factors, NULL if they can. In addition to organ_lora_unservable: vLLM
 * serves no stacks of experts. */
const char *organ_lora_pair_unservable(const organ_adapter *adapter, const organ_adapter_pair *pair);

/* Appends {"rule", "where", "text"} to `findings` for everything that a server would reject, including ranks above
 * `max`. With `base`, the weights of the base model (NULL: not checked), also for modules that the base lacks or has in
 * another shape. Does not read values. Returns ORGAN_IO without memory. */
organ_status organ_lora_findings(const organ_adapter *adapter, const organ_weights *base, uint64_t max,
                                 json_t *findings, organ_error *error);

/* Returns whether an entry of target_modules selects the module: it equals the name or its last words. */
bool organ_lora_is_target(const char *target, const char *module);

#endif
