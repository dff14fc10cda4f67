/* SPDX-License-Identifier: MIT
 * How well models predict a text: one of them, one beside another, or what pruning did to several. */
#ifndef ORGAN_EVALUATE_H
#define ORGAN_EVALUATE_H

#include "orchestrator/surgery/trial/evaluate_options.h"

ORGAN_API_BEGIN

/* *report is schema organ.perplexity/1 (organ.evaluate/1), in `output` as perplexity.json and PERPLEXITY_REPORT.md
 * (evaluate.json, EVALUATION_REPORT.md); the caller releases it; NULL on error, and then nothing is left of the output.
 * All models score the same tokens in the same windows: ORGAN_BAD_INPUT where their tokenizers differ. Perplexities are
 * of FP32 arithmetic on the weights as they are stored. `engine->memory` bounds weights of a layer, activations, hidden
 * states and logits; the text, its tokens and their scores (up to 18 bytes a token and model) come on top. ORGAN_USAGE:
 * unknown style, an output that exists or would hurt an input, too little memory for one window. ORGAN_BAD_INPUT: what
 * tokenizer or forward pass do not know, a text that is too short. ORGAN_IO, ORGAN_INTERRUPTED. */
organ_status organ_perplexity(const organ_perplexity_options *options, const organ_engine *engine,
                              const organ_progress *progress, json_t **report, organ_error *error);

/* The same for a donor and what was made of it. ORGAN_USAGE where killed weights of two experiments
 * (surgery/experiment.h) would stand in one table and `experiments` does not give each a name of its own. Killed
 * weights are counted anew from the bytes of both: those that are not zero in the donor and zero in the copy. */
organ_status organ_evaluate(const organ_evaluate_options *options, const organ_engine *engine,
                            const organ_progress *progress, json_t **report, organ_error *error);

ORGAN_API_END

#endif
