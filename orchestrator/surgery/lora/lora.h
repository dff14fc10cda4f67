/* SPDX-License-Identifier: MIT
 * Room surgery/lora: adapters. extract makes an adapter from the difference of two models, sanitize removes parts that
 * servers reject, resize changes the rank, merge adds an adapter to its base. The first three write an adapter
 * directory, merge writes a model. Other rooms use the factors of adapters as numbers (factors.h) and the writer of
 * adapter directories (adapter_write.h). */
#ifndef ORGAN_SURGERY_LORA_H
#define ORGAN_SURGERY_LORA_H

#include "orchestrator/surgery/lora/lora_extract.h"
#include "orchestrator/surgery/lora/merge.h"
#include "orchestrator/surgery/lora/resize.h"
#include "orchestrator/surgery/lora/sanitize.h"

#endif
