/* SPDX-License-Identifier: MIT
 * What a server of adapters (vLLM) would refuse or silently do otherwise than meant, of an adapter that peft reads. */
#ifndef ORGAN_LORA_CHECK_H
#define ORGAN_LORA_CHECK_H

#include "formats/adapter/adapter.h"
#include "formats/weights/weights.h"

/* The largest rank that vLLM can be told to serve. */
#define ORGAN_SERVED_RANK 512u

/* The smallest of vLLM's limits (1, 8, 16, 32, 64, 128, 256, 320, 512) that holds `rank`; 0 if none does. */
unsigned organ_served_rank(uint64_t rank);

/* Why this tensor of an adapter cannot be served: a word that is in its name, or that it is no factor. NULL if it can.
 */
const char *organ_lora_unservable(const char *name, bool factor);

/* Appends to `findings` {"rule", "where", "text"} for everything that a server would refuse, ranks above `most`
 * included. With `base`, the weights of the model, also modules that it has not, or not of that shape. Values are not
 * looked at. */
organ_status organ_lora_findings(const organ_adapter *adapter, const organ_weights *base, uint64_t most,
                                 json_t *findings, organ_error *error);

/* Whether an entry of target_modules means the module: it is its name or the end of it. */
bool organ_lora_is_target(const char *target, const char *module);

#endif
