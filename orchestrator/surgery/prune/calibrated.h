/* SPDX-License-Identifier: MIT
 * Pruning by any method: physarum v1 and magnitude by the weights alone; physarum v2 and v3, wanda, sparsegpt and ALPS
 * by the inputs that a text causes in each layer. An importance matrix of llama.cpp can replace the text for some
 * methods. */
#ifndef ORGAN_PRUNE_CALIBRATED_H
#define ORGAN_PRUNE_CALIBRATED_H

#include "orchestrator/surgery/prune/calibrated_options.h"
#include "orchestrator/surgery/prune/prune.h"

ORGAN_API_BEGIN

/* Prunes a model by a method. physarum-v1 runs organ_prune; other methods prune layer by layer on a calibration text.
 * With an imatrix, matrices are pruned individually, without tokenizer and forward pass; physarum-v2 then uses neither
 * stability nor contribution, and does not compensate. *report, errors and the state that `resume` continues are those
 * of organ_prune.
 *
 * Also returns
 *   - ORGAN_USAGE if the method does not support an option, if the text is too short, or if --memory is too small for
 *     the hidden states;
 *   - ORGAN_BAD_INPUT if the imatrix has no entry for a target, or has an entry of another size. */
organ_status organ_prune_by_method(const organ_prune_options *options, const organ_prune_calibrated_options *calibrated,
                                   const organ_engine *engine, const organ_progress *progress, json_t **report,
                                   organ_error *error);

ORGAN_API_END

#endif
