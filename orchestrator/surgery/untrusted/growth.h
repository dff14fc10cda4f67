/* SPDX-License-Identifier: MIT
 * Finds tokenizers that need unlimited memory or time. */
#ifndef ORGAN_UNTRUSTED_GROWTH_H
#define ORGAN_UNTRUSTED_GROWTH_H

#include "formats/base/json_text.h"
#include "formats/gguf/gguf.h"
#include "orchestrator/surgery/untrusted/findings.h"

/* Returns true if a JSON file of that name belongs to a tokenizer. */
bool organ_growth_is_tokenizer(const char *name);

/* Adds findings for tokenizer.json or another file of a tokenizer: more words, merges and added tokens than any real
 * tokenizer has, ids far above their number, long words, slow patterns (pattern.h), and replacements that lengthen a
 * text greatly. */
void organ_growth_check(organ_findings *findings, const char *name, const organ_json_source *text);

/* Checks the key-values tokenizer.ggml.* of a GGUF file for the same dangers. Also adds findings for lists whose type
 * or length differs from what readers assume, and for byte tokens that name no byte ("<0x-1>"). */
void organ_growth_check_gguf(organ_findings *findings, const organ_gguf *gguf);

#endif
