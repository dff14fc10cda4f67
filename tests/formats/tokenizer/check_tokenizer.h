/* SPDX-License-Identifier: MIT
 * Functions of the tokenizers' tests. */
#ifndef ORGAN_TEST_CHECK_TOKENIZER_H
#define ORGAN_TEST_CHECK_TOKENIZER_H

#include "formats/tokenizer/tokenizer_files.h"

#include <organ/tokenizer.h>

#include <check.h>

/* Opens the tokenizer of the model at a path. */
organ_status tokenizer_at(const char *path, organ_tokenizer **tokenizer, organ_error *error);
organ_tokenizer *tokenizer_good(const char *path); /* Ends the test on an error. */

/* Writes a model with this tokenizer.json into the scratch directory and returns its path. */
const char *tokenizer_model(const char *json, size_t bytes);

/* Opens the fixture of this name as a model's tokenizer.json. */
organ_tokenizer *tokenizer_kind(const char *name);

/* Opens a fixture of any form: that of tokenizer_kind, "tekken", "kimi", "hunyuan" or "gemma4-gguf". */
organ_tokenizer *tokenizer_of_any_form(const char *name);

/* Opens gemma4.json's vocabulary and merges in a GGUF file. */
organ_tokenizer *tokenizer_gemma_gguf(void);

/* The caller frees the ids. */
uint32_t *tokenizer_ids(const organ_tokenizer *tokenizer, const char *text, size_t bytes, bool special, size_t *count);

/* Reads a file; the caller frees it. */
char *tokenizer_load(const char *path, size_t *bytes);

/* Makes the text of the golden ids; the caller frees it. */
enum { TOKENIZER_TEXT = 1 << 20 };
char *tokenizer_mixed_text(void);

/* Makes the first part of that text, followed by the hard text; the caller frees it. */
char *tokenizer_hard_text(size_t *bytes);

/* Compares each line of a golden file (fixtures/make_tokenizers.py) with the ids that the tokenizer of the line's name,
 * opened by `open`, gives for the text. Returns the number of lines. */
size_t tokenizer_golden(const char *path, const char *text, size_t bytes, organ_tokenizer *(*open)(const char *name));

/* Writes the tokenizer of the model at `path` to made.gguf in the scratch directory, with this number of rows of the
 * embedding, if it has a form in GGUF. */
organ_status tokenizer_to_gguf(const char *path, const char *architecture, const char *pre, uint64_t rows,
                               organ_tokenizer_difference *difference, organ_error *error);

Suite *tokenizer_named_suite(void);
Suite *tokenizer_fault_suite(void);
Suite *tokenizer_ranks_suite(void);
Suite *tokenizer_converted_suite(void);
Suite *tokenizer_flags_suite(void);
Suite *tokenizer_kept_suite(void);
Suite *tokenizer_groups_suite(void);
Suite *tokenizer_files_suite(void);

#endif
