/* SPDX-License-Identifier: MIT
 * What the tests of tokenizers share. */
#ifndef ORGAN_TEST_CHECK_TOKENIZER_H
#define ORGAN_TEST_CHECK_TOKENIZER_H

#include "formats/tokenizer.h"

#include <check.h>

/* The tokenizer of the model at a path. */
organ_status tokenizer_at(const char *path, organ_tokenizer **tokenizer, organ_error *error);
organ_tokenizer *tokenizer_good(const char *path); /* ends the test on an error */

/* Puts a model with this tokenizer.json into the scratch directory; its path. */
const char *tokenizer_model(const char *json, size_t bytes);

/* To be freed. */
uint32_t *tokenizer_ids(const organ_tokenizer *tokenizer, const char *text, size_t bytes, bool special, size_t *count);

Suite *tokenizer_fault_suite(void);

#endif
