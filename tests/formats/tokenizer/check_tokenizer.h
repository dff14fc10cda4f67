/* SPDX-License-Identifier: MIT
 * What the tests of tokenizers share. */
#ifndef ORGAN_TEST_CHECK_TOKENIZER_H
#define ORGAN_TEST_CHECK_TOKENIZER_H

#include "formats/tokenizer/tokenizer.h"

#include <check.h>

/* The tokenizer of the model at a path. */
organ_status tokenizer_at(const char *path, organ_tokenizer **tokenizer, organ_error *error);
organ_tokenizer *tokenizer_good(const char *path); /* ends the test on an error */

/* Puts a model with this tokenizer.json into the scratch directory; its path. */
const char *tokenizer_model(const char *json, size_t bytes);

/* The fixture of this name, as tokenizer.json of a model. */
organ_tokenizer *tokenizer_kind(const char *name);

/* gemma4.json's vocabulary and merges in a GGUF file. */
organ_tokenizer *tokenizer_gemma_gguf(void);

/* To be freed. */
uint32_t *tokenizer_ids(const organ_tokenizer *tokenizer, const char *text, size_t bytes, bool special, size_t *count);

/* A file as it is, to be freed. */
char *tokenizer_load(const char *path, size_t *bytes);

/* The text of the golden ids, to be freed. */
enum { TOKENIZER_TEXT = 1 << 20 };
char *tokenizer_mixed_text(void);

/* The first part of that text, then the hard one, to be freed. */
char *tokenizer_hard_text(size_t *bytes);

/* Compares each line of a golden file (fixtures/make_tokenizers.py) with the ids that the tokenizer of its name, which
 * `open` opens, gives for the text; how many lines there are. */
size_t tokenizer_golden(const char *path, const char *text, size_t bytes, organ_tokenizer *(*open)(const char *name));

Suite *tokenizer_named_suite(void);
Suite *tokenizer_fault_suite(void);
Suite *tokenizer_ranks_suite(void);

#endif
