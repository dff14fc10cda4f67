/* SPDX-License-Identifier: MIT
 * Room surgery/experts: what routed experts of a model are worth, which of them stay, and the model without the others.
 * measure.h takes scores along a text, scores.h keeps them and chooses.
 *
 * Here: the verb, over both and surgery/cut. */
#ifndef ORGAN_EXPERTS_H
#define ORGAN_EXPERTS_H

#include "orchestrator/surgery/trial/evaluate_options.h"
#include "orchestrator/surgery/output/write_options.h"
#include "orchestrator/surgery/along_text/calibration_text.h"

ORGAN_API_BEGIN

typedef struct organ_experts_options {
    const char *model;
    const char *keep;                   /* of each layer's experts: "50%", "8" */
    const char *score;                  /* "loss", "reap", "sum", "frequency"; NULL: loss */
    const char *per_layer;              /* "uniform": as many of each layer; "global": one budget. NULL: uniform */
    const char *scores;                 /* a file of scores: read where it is there, else written; NULL: none */
    organ_calibration_text calibration; /* for what the file of scores does not have; text NULL: the file has all */
    bool heal;                          /* solve the down projections of what stays anew along the text */
    organ_write_options write;
} organ_experts_options;

/* Makes the model without the experts that are worth least. *report is schema organ.experts/1, which has the scores; it
 * lies with an EXPERTS_REPORT.md in the output's organ/ folder, beside a GGUF file under its name; the caller releases
 * it; NULL on error. Errors are those of the measurement and of organ_cut_make, besides ORGAN_USAGE for a --keep that
 * is no count of the experts or is below those that work on each token. A dry run measures nothing: without scores that
 * are there it tells sizes, and not which experts would stay. */
organ_status organ_experts_cut(const organ_experts_options *options, const organ_engine *engine,
                               const organ_progress *progress, json_t **report, organ_error *error);

ORGAN_API_END

#endif
