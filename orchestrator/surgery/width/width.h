/* SPDX-License-Identifier: MIT
 * Room surgery/width: makes a narrower model. Removes channels of feed-forwards (in a mixture, channels of each routed
 * expert) or heads of K and V with their query heads: those whose removal costs the least loss on a calibration text.
 * Then refits the projections that read the kept channels and heads. */
#ifndef ORGAN_WIDTH_H
#define ORGAN_WIDTH_H

#include "orchestrator/surgery/scoring/evaluate_options.h"
#include "orchestrator/surgery/interface/write_options.h"
#include "orchestrator/surgery/calibration/calibration_text.h"

ORGAN_API_BEGIN

typedef struct organ_width_options {
    const char *model;
    /* --ffn: share of channels to keep in each feed-forward and each expert, "75%", or their number; NULL: all. A
     * shared expert without a gate is narrowed by the same ratio; one with a gate keeps its width. */
    const char *ffn;
    const char *heads; /* --heads: share or number of heads of K and V to keep; NULL: all */
    /* The number of kept channels is a multiple of this; 0: 256 for a GGUF model whose width is a multiple of 256, else
     * 32. */
    unsigned multiple_of;
    organ_calibration_text calibration;
    const char *score; /* how channels are chosen: "loss", or "wanda" for comparison */
    bool no_resolve;   /* do not refit the kept columns */
    organ_write_options write;
} organ_width_options;

/* Makes a narrower model: a directory, or one file if `output` ends in .safetensors or .gguf. Chooses the channels
 * layer by layer on the text, on inputs from the already narrowed layers; the number of channels is the same in every
 * layer. Then writes the output.
 *
 * *report has the schema organ.width/1; it is also written with WIDTH_REPORT.md and .html into the output's organ/
 * folder, or next to a single file under its name. The caller releases it; NULL on error.
 *
 * Choices are stored in .NAME.organ-choice.organ-partial next to the output until it is complete. After
 * ORGAN_INTERRUPTED or ORGAN_IO `resume` continues the run to the same bytes.
 *
 * Returns ORGAN_USAGE for contradictory options, shares that keep nothing or everything, a text that is too short, too
 * little memory, or a model whose layers differ in width; ORGAN_BAD_INPUT for weights that are packed or not finite, or
 * an unsupported architecture; else the errors of organ_cut_make. */
organ_status organ_width(const organ_width_options *options, const organ_engine *engine, const organ_progress *progress,
                         json_t **report, organ_error *error);

ORGAN_API_END

#endif
