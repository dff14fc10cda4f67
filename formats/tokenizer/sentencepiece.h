/* SPDX-License-Identifier: MIT
 * tokenizer.model, the file of SentencePiece: the only file of a model that has scores and types of tokens. */
#ifndef ORGAN_SENTENCEPIECE_H
#define ORGAN_SENTENCEPIECE_H

#include "formats/tokenizer/tokenizer_parts.h"

/* Scores of the tokens, by id. */
typedef struct organ_piece_scores {
    float *scores; /* NULL if they are not known; the caller frees them */
    uint64_t count;
} organ_piece_scores;

/* Reads the scores in the model's tokenizer.model. Leaves out->scores NULL if there is no such file or if it is not
 * that of the tokenizer: it has another text for an id, or its scores do not order the `merges` (by rank, `merge_count`
 * of them) in the order of tokenizer.json. Returns ORGAN_IO if the file cannot be read or memory is exhausted. */
organ_status organ_piece_scores_read(const organ_model *model, const organ_tokenizer *t, const organ_merge *merges,
                                     size_t merge_count, organ_piece_scores *out, organ_error *error);

#endif
