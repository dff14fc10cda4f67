/* SPDX-License-Identifier: MIT
 * Room surgery/layers: makes a model with fewer blocks. The caller names the dropped blocks, or a search finds those
 * whose removal changes the model's predictions on a text least. Optionally refits the projections around the gaps
 * (runs of dropped blocks), so that hidden states approximate those of the whole model. */
#ifndef ORGAN_LAYERS_H
#define ORGAN_LAYERS_H

#include "orchestrator/surgery/scoring/evaluate_options.h"
#include "orchestrator/surgery/interface/write_options.h"
#include "orchestrator/surgery/calibration/calibration_text.h"

ORGAN_API_BEGIN

/* The options of `organ layers`. */
typedef struct organ_layers_options {
    const char *model;
    const char *drop; /* --drop: numbers of blocks from 0 on, "5-8" or "3,7,9-11"; or how many, "8" */
    /* Calibration text; `samples` is for healing only. calibration.text may be NULL if `drop` names blocks and `heal`
     * is unset. */
    organ_calibration_text calibration;
    unsigned search_tokens; /* tokens of the text on which sets of blocks are judged */
    unsigned rounds;        /* upper bound of rounds of the search; 0: drop the blocks of least influence */
    const char *scores;     /* file that keeps influences and divergences for a later search; NULL: none */
    bool heal;              /* refit the blocks around the gaps */
    organ_write_options write;
} organ_layers_options;

/* Makes the model without the dropped blocks. The other blocks are renumbered, config.json or the GGUF key-values are
 * adapted, and all tensors except refitted ones keep their bytes, in packed types too.
 *
 * *report has the schema organ.layers/1; it is also written with LAYERS_REPORT.md and .html into the output's organ/
 * folder, or next to a single file under its name. The caller releases it; NULL on error.
 *
 * A run that ends with ORGAN_INTERRUPTED or ORGAN_IO while it writes keeps its unfinished output, which `resume`
 * continues to the same bytes. An interrupted search continues only with `scores`.
 *
 * Returns ORGAN_USAGE for a `drop` that does not fit the model, a text that is missing or too short, too little memory,
 * or an output that exists; ORGAN_BAD_INPUT for a malformed model, an unsupported architecture (with a text), or a
 * smaller model that its configuration cannot express (organ_cut_make); ORGAN_IO or ORGAN_INTERRUPTED if reading,
 * writing or memory failed or a stop was requested. With `evaluate` also the errors of organ_perplexity; a complete
 * output is then kept. */
organ_status organ_layers(const organ_layers_options *options, const organ_engine *engine,
                          const organ_progress *progress, json_t **report, organ_error *error);

ORGAN_API_END

#endif
