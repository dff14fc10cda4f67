/* SPDX-License-Identifier: MIT
 * Checks an adapter that peft can read for properties that a server of adapters (vLLM) rejects or silently
 * handles in another way. */
#ifndef ORGAN_ADAPTER_CHECK_H
#define ORGAN_ADAPTER_CHECK_H

#include "formats/adapter/adapter.h"
#include "formats/weights/weights.h"

/* The largest rank that vLLM can be configured to serve. */
#define ORGAN_SERVED_RANK 512u

/* Returns the smallest limit of vLLM (1, 8, 16, 32, 64, 128, 256, 320, 512) that is at least `rank`; 0 if there is
 * none. */
unsigned organ_served_rank(uint64_t rank);

/* Returns why this tensor of an adapter cannot be served: an unsupported word in its name, or that it is no factor.
 * NULL if it can be served. llama.cpp applies the factors of any weight of a GGUF adapter. */
const char *organ_lora_unservable(const organ_adapter *adapter, const char *name, bool factor);

/* Returns why servers cannot load a pair, like organ_lora_unservable; vLLM serves no stacks of experts. */
const char *organ_lora_pair_unservable(const organ_adapter *adapter, const organ_adapter_pair *pair);

/* Appends {"rule", "where", "text"} to `findings` for everything that a server would reject, including ranks above
 * `max`. With `base`, the weights of the model, also modules that the model lacks or has in another shape. Values are
 * not checked. */
organ_status organ_lora_findings(const organ_adapter *adapter, const organ_weights *base, uint64_t max,
                                 json_t *findings, organ_error *error);

/* Returns whether an entry of target_modules selects the module: it equals the name or its last words. */
bool organ_lora_is_target(const char *target, const char *module);

#endif
