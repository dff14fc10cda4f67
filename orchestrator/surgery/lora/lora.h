/* SPDX-License-Identifier: MIT
 * LoRA adapters: all operations of organ lora. extract makes an adapter from the difference of two models, sanitize
 * removes parts of an adapter that servers reject, resize reduces its rank: these write an adapter directory. merge
 * adds an adapter to its base and writes a model. Other folders read the factors of adapters (factors.h) and write
 * adapter directories (adapter_write.h). */
#ifndef ORGAN_SURGERY_LORA_H
#define ORGAN_SURGERY_LORA_H

#include "orchestrator/surgery/lora/lora_extract.h"
#include "orchestrator/surgery/lora/merge.h"
#include "orchestrator/surgery/lora/resize.h"
#include "orchestrator/surgery/lora/sanitize.h"

#endif
