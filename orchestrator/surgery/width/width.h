/* SPDX-License-Identifier: MIT
 * Room surgery/width: in goes a model and a text, out comes a narrower one and a report. Channels of the feed-forwards,
 * or heads of K and V with their query heads, are taken out where the layer loses least by it, and the projections
 * behind them are solved anew; in a mixture channels of each routed expert. */
#ifndef ORGAN_WIDTH_H
#define ORGAN_WIDTH_H

#include "orchestrator/surgery/trial/evaluate_options.h"
#include "orchestrator/surgery/output/write_options.h"
#include "orchestrator/surgery/along_text/calibration_text.h"

ORGAN_API_BEGIN

typedef struct organ_width_options {
    const char *model;
    const char *ffn;   /* what stays of the channels of each feed-forward and of each expert: "75%", or how many; NULL:
                        * all. A shared expert that is as wide as so many routed ones follows these, one with a width of
                        * its own keeps it */
    const char *heads; /* the same of the heads of K and V */
    unsigned multiple_of; /* the channels that stay are a multiple of it; 0: 256 of a GGUF model that has so many or
                             more, else 32 */
    organ_calibration_text calibration;
    const char *score; /* "loss", or "wanda" to compare with */
    bool no_resolve;   /* what stays keeps its values */
    organ_write_options write;
} organ_width_options;

/* Makes a narrower model: a directory, or one file if `output` ends in .safetensors or .gguf. The text decides layer by
 * layer, on the model as narrowed so far, which channels stay, the same number in every layer; then all is written.
 * *report is schema organ.width/1 and lies with WIDTH_REPORT.md and .html in the output's organ/ folder, beside a
 * single file under its name; the caller releases it; NULL on error. What is chosen so far lies in
 * .NAME.organ-choice.organ-partial beside the output until that is whole: a run that ends with ORGAN_INTERRUPTED or
 * ORGAN_IO is continued by `resume` to the same bytes. ORGAN_USAGE for options that do not go together, shares that
 * leave nothing or all, a text that is too short, memory that is too little, a model whose layers have other widths
 * than one another; ORGAN_BAD_INPUT for weights that are packed or not finite, and an architecture that is not known;
 * else the errors of organ_cut_make. */
organ_status organ_width(const organ_width_options *options, const organ_engine *engine, const organ_progress *progress,
                         json_t **report, organ_error *error);

ORGAN_API_END

#endif
