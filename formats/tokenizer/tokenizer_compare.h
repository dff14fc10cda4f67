/* SPDX-License-Identifier: MIT
 * Compares the ids that two tokenizers give to the same texts, to check a tokenizer that was converted to another
 * format. */
#ifndef ORGAN_TOKENIZER_COMPARE_H
#define ORGAN_TOKENIZER_COMPARE_H

#include <organ/tokenizer.h>

/* The first text found to which two tokenizers give different ids. */
typedef struct organ_tokenizer_difference {
    bool found;
    char text[600]; /* "the text 'T' becomes IDS WITH PIECES, but IDS WITH PIECES in ..."; empty if none was found */
} organ_tokenizer_difference;

/* Encodes the probe with both tokenizers and sets *difference to the first text whose ids differ. `made_in` is what the
 * text calls the second tokenizer: "a GGUF file". Added tokens are read as tokens. The probe has
 *   - characters of each kind in each block of Unicode, in words and alone; sentences in many scripts; runs of digits,
 *     blanks and line breaks; contractions, emoji, combining marks, control characters, invalid UTF-8; texts that begin
 *     or end with blanks;
 *   - each added token of `source`, alone and between words, blanks, line breaks and other added tokens;
 *   - the text of each token of `source`, alone and next to that of another token, so that each merge is used.
 * Tokenizers with the same digest are not encoded, because their ids are equal. Returns an error only if a text cannot
 * be encoded or memory is exhausted. */
organ_status organ_tokenizer_compare(const organ_tokenizer *source, const organ_tokenizer *made, const char *made_in,
                                     organ_tokenizer_difference *difference, organ_error *error);

#endif
