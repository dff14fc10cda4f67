/* SPDX-License-Identifier: MIT
 * Finds tokenizers that need much more memory or time than any real one. */
#ifndef ORGAN_UNTRUSTED_GROWTH_H
#define ORGAN_UNTRUSTED_GROWTH_H

#include "formats/base/json_text.h"
#include <organ/models.h>
#include "orchestrator/surgery/untrusted/findings.h"

/* Returns whether a JSON file of that name belongs to a tokenizer, so that organ_growth_check has a check for it. */
bool organ_growth_is_tokenizer(const char *name);

/* Adds findings for the JSON file `name` of a tokenizer: more words, merges and added tokens than any real tokenizer
 * has, ids far above the number of words, long words, slow regular expressions (pattern.h), and replacements that
 * lengthen a text greatly. */
void organ_growth_check(organ_findings *findings, const char *name, const organ_json_source *text);

/* Adds findings for the key-values tokenizer.ggml.* of a GGUF file: too many or too long words, too many merges, lists
 * whose type or length differs from what readers assume, and byte tokens that name no byte ("<0x-1>"). */
void organ_growth_check_gguf(organ_findings *findings, const organ_gguf *gguf);

#endif
