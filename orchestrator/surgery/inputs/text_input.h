/* SPDX-License-Identifier: MIT
 * A text and the ids of its tokens, within --memory: both are in memory at the same time, before any other large
 * allocation. */
#ifndef ORGAN_TEXT_INPUT_H
#define ORGAN_TEXT_INPUT_H

#include "formats/tokenizer/tokenizer.h"

#define ORGAN_TEXT_LIMIT ((size_t)1 << 30) /* bytes of the longest text that is read */

/* Returns ORGAN_BAD_INPUT, with advice in the message, for a regular file above that size. Returns ORGAN_OK for a file
 * that cannot be examined: the call that opens it reports the error. */
organ_status organ_text_check_size(const char *path, organ_error *error);

typedef struct organ_text_input {
    const char *path;
    uint64_t memory; /* that text and ids may take */
    char *bytes;
    size_t size;
    uint32_t *ids;
    size_t tokens;
} organ_text_input;

/* Reads the file `path`, which must outlive the text. Returns the errors of organ_input_load, or ORGAN_USAGE like
 * organ_memory_refuse, with an amount that is enough for any text of this size (each token has at least one byte). The
 * caller releases the text also after an error. */
organ_status organ_text_load(organ_text_input *text, const char *path, uint64_t memory, organ_error *error);

/* Computes the ids of the text, like organ_tokenizer_encode. ORGAN_USAGE like organ_memory_refuse, with the amount for
 * the exact number of tokens. */
organ_status organ_text_encode(organ_text_input *text, organ_tokenizer *tokenizer, bool special, organ_error *error);

/* Returns the bytes that a loaded text with its ids takes. */
uint64_t organ_text_memory(const organ_text_input *text);

void organ_text_release(organ_text_input *text);

#endif
