/* SPDX-License-Identifier: MIT
 * Room surgery/experts: scores the routed experts of a mixture-of-experts model on a calibration text, chooses which
 * ones to keep and writes the model without the others. measure_scores.h computes scores; scores.h stores them and
 * chooses the kept experts; experts_heal.h refits the kept ones. This header declares the verb `experts`, which uses
 * these and surgery/cut. */
#ifndef ORGAN_EXPERTS_H
#define ORGAN_EXPERTS_H

#include "orchestrator/surgery/scoring/evaluate_options.h"
#include "orchestrator/surgery/interface/write_options.h"
#include "orchestrator/surgery/calibration/calibration_text.h"

ORGAN_API_BEGIN

/* The options of `organ experts`. */
typedef struct organ_experts_options {
    const char *model;
    const char *keep;                   /* experts to keep in each layer: "50%", "8" */
    const char *score;                  /* "loss", "reap", "sum", "frequency"; NULL: loss */
    const char *per_layer;              /* "uniform": the same number in each layer; "global": one budget for all
                                         * layers; NULL: uniform */
    const char *scores;                 /* file of scores: read if it exists, else written; NULL: none */
    organ_calibration_text calibration; /* text to measure the scores that the file lacks; text NULL: the file must
                                         * have the scores of all layers */
    bool heal; /* refit the down projections of the kept experts on the calibration text, which is then required */
    organ_write_options write;
} organ_experts_options;

/* Writes the model without the lowest-scored experts. *report is a document of schema organ.experts/1, which includes
 * the scores. It is also written, with EXPERTS_REPORT.md, to the folder organ/ of the output (for a GGUF output next to
 * the file, under names that begin with the file's name). The caller releases *report, which is NULL on error.
 *
 * Returns ORGAN_USAGE if `keep` is not a valid number of experts or is smaller than the number that the router chooses
 * for a token; other errors are those of organ_expert_scores_open, organ_experts_load_scores, organ_expert_heal_open
 * and organ_cut_make. A dry run measures nothing: if no stored scores exist, its report states sizes but not which
 * experts would be kept. */
organ_status organ_experts_cut(const organ_experts_options *options, const organ_engine *engine,
                               const organ_progress *progress, json_t **report, organ_error *error);

ORGAN_API_END

#endif
