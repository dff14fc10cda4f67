/* SPDX-License-Identifier: MIT
 * Room surgery/layers: in goes a model, out comes one with fewer blocks. Which ones go is named, or found by what the
 * model without them makes of a text; the projections around the gaps can be solved anew for the hidden states that the
 * whole model has. */
#ifndef ORGAN_LAYERS_H
#define ORGAN_LAYERS_H

#include "orchestrator/surgery/trial/evaluate_options.h"
#include "orchestrator/surgery/output/write_options.h"
#include "orchestrator/surgery/along_text/calibration_text.h"

ORGAN_API_BEGIN

typedef struct organ_layers_options {
    const char *model;
    const char *drop; /* blocks, "5-8" or "3,7,9-11", from 0 on; or how many, "8" */
    organ_calibration_text
        calibration; /* samples of it for healing; text NULL is enough if `drop` names blocks and `heal` is unset */
    unsigned search_tokens; /* of it, that sets of blocks are judged on */
    unsigned rounds;        /* of exchanges, at most; 0: the blocks of least influence go */
    const char *scores;     /* file in which influences and divergences are kept; NULL: none */
    bool heal;
    organ_write_options write;
} organ_layers_options;

/* Makes the model without the blocks: the others get the numbers that follow, config.json and key-values say so, and
 * all but the healed projections keep their bytes, packed ones too. *report is schema organ.layers/1 and lies with a
 * LAYERS_REPORT.md and .html in the output's organ/ folder, beside a single file under its name; the caller releases
 * it; NULL on error. A run that ends with ORGAN_INTERRUPTED or ORGAN_IO while it writes leaves what is done, and
 * `resume` continues it to the same bytes; a search that was ended goes on where `scores` is given. ORGAN_USAGE for a
 * `drop` that does not fit the model, a text that is missing or too short, memory that is too little, an output that
 * exists; ORGAN_BAD_INPUT for a malformed model, an architecture that is not known (with a text), and where the smaller
 * model cannot be told (organ_cut_make); ORGAN_IO, ORGAN_INTERRUPTED. With `evaluate` also those of organ_perplexity;
 * an output that is whole stays then. */
organ_status organ_layers(const organ_layers_options *options, const organ_engine *engine,
                          const organ_progress *progress, json_t **report, organ_error *error);

ORGAN_API_END

#endif
