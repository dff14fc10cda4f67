/* SPDX-License-Identifier: MIT
 * Room surgery/lora: adapters. extract makes one of the difference of two models, sanitize takes out of one what a
 * clean one has, resize gives one another rank; out comes an adapter directory as peft reads it. merge adds one to its
 * base: out comes a model. Factors of adapters as numbers (factors.h) and the writer of adapter directories
 * (adapter_write.h) are for other rooms too. */
#ifndef ORGAN_SURGERY_LORA_H
#define ORGAN_SURGERY_LORA_H

#include "orchestrator/surgery/lora/extract.h"
#include "orchestrator/surgery/lora/merge.h"
#include "orchestrator/surgery/lora/resize.h"
#include "orchestrator/surgery/lora/sanitize.h"

#endif
