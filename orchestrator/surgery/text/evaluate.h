/* SPDX-License-Identifier: MIT
 * Measures how well models predict a text: one model, two in comparison, or a donor and its pruned copies. */
#ifndef ORGAN_EVALUATE_H
#define ORGAN_EVALUATE_H

#include "orchestrator/surgery/scoring/evaluate_options.h"

ORGAN_API_BEGIN

/* Scores one model, or two, on a text. *report has the schema organ.perplexity/1 and is also written into the directory
 * `output` as perplexity.json and PERPLEXITY_REPORT.md. The caller releases it; after an error it is NULL, and nothing
 * is left of the output.
 *
 * All models score the same tokens in the same windows, in FP32 arithmetic on the stored weights. `engine->memory`
 * bounds the weights of a layer, activations, hidden states and logits; the text, its tokens and their scores (up to 18
 * bytes for each token and model) need memory in addition.
 *
 * Returns ORGAN_USAGE for an unknown style, an output that exists or would overwrite an input, or too little memory for
 * one window; ORGAN_BAD_INPUT for tokenizers that differ, a tokenizer or an architecture that is not supported, or a
 * text that is too short; ORGAN_IO or ORGAN_INTERRUPTED if reading, writing or memory fails or a stop was requested. */
organ_status organ_perplexity(const organ_perplexity_options *options, const organ_engine *engine,
                              const organ_progress *progress, json_t **report, organ_error *error);

/* Scores a donor and its pruned copies on a text, as organ_perplexity does; *report has the schema organ.evaluate/1 and
 * is written as evaluate.json and EVALUATION_REPORT.md. Killed weights are counted by comparing the bytes of donor and
 * copy: elements that are not zero in the donor but are zero in the copy. Also returns ORGAN_USAGE if killed weights of
 * two experiments (facts/experiment.h) would be listed in one table and `experiments` does not give each its own name.
 *
 * With options->tasks, scores questions with several choices, as multiple_choice tasks of lm-evaluation-harness;
 * *report has the schema organ.tasks/1. It then also returns ORGAN_USAGE for options that count killed weights, and
 * ORGAN_BAD_INPUT for a malformed line in the file of questions. */
organ_status organ_evaluate(const organ_evaluate_options *options, const organ_engine *engine,
                            const organ_progress *progress, json_t **report, organ_error *error);

ORGAN_API_END

#endif
