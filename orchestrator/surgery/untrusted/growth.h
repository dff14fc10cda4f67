/* SPDX-License-Identifier: MIT
 * Tokenizers that take memory or time without limit. */
#ifndef ORGAN_UNTRUSTED_GROWTH_H
#define ORGAN_UNTRUSTED_GROWTH_H

#include "formats/base/json_text.h"
#include "formats/gguf/gguf.h"
#include "orchestrator/surgery/untrusted/findings.h"

/* Whether a JSON file of that name belongs to a tokenizer. */
bool organ_growth_is_tokenizer(const char *name);

/* Adds what grows in tokenizer.json, or in another file of a tokenizer: words, merges and added tokens beyond those of
 * any tokenizer, ids far beyond them, long words, patterns (pattern.h), replacements that make much of little. */
void organ_growth_check(organ_findings *findings, const char *name, const organ_json_text *text);

/* The same for tokenizer.ggml.* of a GGUF file; also lists of another type or length than their readers take for
 * granted, and tokens for bytes that name none ("<0x-1>"). */
void organ_growth_check_gguf(organ_findings *findings, const organ_gguf *gguf);

#endif
