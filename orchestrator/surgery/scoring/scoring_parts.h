/* SPDX-License-Identifier: MIT
 * Sums the squares of the inputs of a model's matrices over a text, for an importance matrix of llama.cpp. */
#ifndef ORGAN_SURGERY_SCORING_SCORING_PARTS_H
#define ORGAN_SURGERY_SCORING_SCORING_PARTS_H

#include "formats/imatrix/imatrix.h"
#include "orchestrator/ranks/ranks.h"

#include <organ/forward.h>

/* The sums of squares of all inputs, and the numbers of tokens in them. */
typedef struct organ_input_sums organ_input_sums;

/* Creates empty sums. `forward` must outlive them. Returns ORGAN_USAGE if llama.cpp's names of the architecture's
 * matrices are unknown, ORGAN_IO if memory runs out. */
organ_status organ_input_sums_open(const organ_forward *forward, organ_input_sums **sums, organ_error *error);
void organ_input_sums_close(organ_input_sums *sums); /* NULL is allowed */

/* Returns a tap for organ_layer_run of layer `layer`: it adds the squared inputs of the layer's matrices to the sums.
 * The tap is valid until the next call of this function or until the sums are closed. */
organ_tap organ_input_sums_tap(organ_input_sums *sums, unsigned layer);

/* Writes the sums as the importance matrix `path`. `text` describes the text from which the inputs come: its name, and
 * the number and length of its chunks. Returns errors of organ_imatrix_write. */
organ_status organ_input_sums_write(const organ_input_sums *sums, const char *path, const organ_imatrix_text *text,
                                    organ_error *error);

/* Divides the windows of a scoring among ranks: each rank scores consecutive windows, its share. */

/* The share of a rank, and its place in the plan of the whole scoring. */
typedef struct organ_scoring_share {
    /* Plan of the share's windows. `tokens` and `targets` point into the whole plan; `begin` and `rows` belong to the
     * share and count from its first token. */
    organ_perplexity_plan plan;
    size_t first; /* index in the whole plan of the share's first scored token */
} organ_scoring_share;

/* Computes the share of rank `rank` of `ranks` ranks. `plan` must outlive the share. Returns ORGAN_IO if memory runs
 * out. The caller frees the share also after an error. */
organ_status organ_scoring_share_cut(const organ_perplexity_plan *plan, size_t rank, size_t ranks,
                                     organ_scoring_share *share, organ_error *error);
void organ_scoring_share_release(organ_scoring_share *share);

/* Returns the number of batches of at most `batch_tokens` tokens, summed over the shares of all ranks. */
size_t organ_scoring_share_batches(const organ_perplexity_plan *plan, size_t batch_tokens, size_t ranks);

/* Exchanges the scores of a model between all ranks, so that every rank has those of the whole plan. All ranks call it,
 * also after an error. Does nothing if `ranks` is NULL. Returns errors of organ_ranks_agree. */
organ_status organ_scoring_share_scores(organ_ranks *ranks, const organ_perplexity_plan *plan,
                                        const organ_token_scores *scores, organ_error *error);

#endif
