/* SPDX-License-Identifier: MIT
 * Reads a text and computes the ids of its tokens within the limit of --memory. Text and ids are in memory at the same
 * time, before any other large allocation. */
#ifndef ORGAN_TEXT_INPUT_H
#define ORGAN_TEXT_INPUT_H

#include <organ/tokenizer.h>

#define ORGAN_TEXT_LIMIT ((size_t)1 << 30) /* bytes of the longest text that is read */

/* Returns ORGAN_BAD_INPUT, with advice in the message, for a regular file above ORGAN_TEXT_LIMIT. Returns ORGAN_OK for
 * a file that cannot be examined: the call that opens it reports the error. */
organ_status organ_text_check_size(const char *path, organ_error *error);

/* A text and the ids of its tokens, both in memory. */
typedef struct organ_text_input {
    const char *path;
    uint64_t memory; /* limit of --memory: bytes that the text and its ids may take together */
    char *bytes;     /* the text */
    size_t size;     /* bytes of the text */
    uint32_t *ids;
    size_t tokens; /* number of ids */
} organ_text_input;

/* Reads the file at `path`, a string that must outlive *text. Returns the errors of organ_text_check_size and
 * organ_input_load, or ORGAN_USAGE if the text alone exceeds `memory`; the message of organ_memory_refuse then names an
 * amount that is enough for any text of this size, because each token has at least one byte. The caller releases the
 * text also after an error. */
organ_status organ_text_load(organ_text_input *text, const char *path, uint64_t memory, organ_error *error);

/* Computes the ids of the text with organ_tokenizer_encode_some and returns its errors. `special`: names of special
 * tokens in the text become their ids. Returns ORGAN_USAGE if text and ids exceed text->memory; the message of
 * organ_memory_refuse names the amount for the exact number of tokens. */
organ_status organ_text_encode(organ_text_input *text, organ_tokenizer *tokenizer, bool special, organ_error *error);

/* Returns the bytes that a text and its ids take. */
uint64_t organ_text_memory(const organ_text_input *text);

void organ_text_release(organ_text_input *text);

#endif
