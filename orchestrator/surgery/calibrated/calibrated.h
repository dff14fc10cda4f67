/* SPDX-License-Identifier: MIT
 * Room surgery/calibrated: in go a donor and a text, out comes a pruned copy. Pruning by what a text makes of every
 * layer's inputs: physarum v2 and v3, wanda, sparsegpt, ALPS; and magnitude, which needs no text, beside them. An
 * importance matrix of llama.cpp can stand in for the text. */
#ifndef ORGAN_PRUNE_CALIBRATED_H
#define ORGAN_PRUNE_CALIBRATED_H

#include "orchestrator/surgery/calibrated/calibrated_options.h"
#include "orchestrator/surgery/prune/prune.h"

ORGAN_API_BEGIN

/* Prunes by the method: organ_prune for physarum-v1, else layer by layer along the calibration, or by an imatrix matrix
 * by matrix, which needs no tokenizer and no forward pass; physarum-v2 is then without stability, contribution and
 * compensation. *report, errors and what an interrupted run leaves for `resume` as for organ_prune. ORGAN_USAGE for
 * options that the method has no use for, for a text that is too short, and for memory that does not hold the hidden
 * states; ORGAN_BAD_INPUT for an imatrix that has no entry for a target or one that does not fit. */
organ_status organ_prune_by_method(const organ_prune_options *options, const organ_prune_calibrated_options *calibrated,
                                   const organ_engine *engine, const organ_progress *progress, json_t **report,
                                   organ_error *error);

ORGAN_API_END

#endif
