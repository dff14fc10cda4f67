/* SPDX-License-Identifier: MIT
 * A layout written as an output: files as others open them, or an organ directory, with what lies beside the model that it is of. */
#ifndef ORGAN_LAYOUT_OUTPUT_H
#define ORGAN_LAYOUT_OUTPUT_H

#include "orchestrator/surgery/output/layout.h"
#include "orchestrator/surgery/output/unit_output.h"

/* What the caller says. Everything must outlive the writing. */
typedef struct organ_layout_output {
    organ_unit_output made; /* output, dry_run, beside_bytes, definition, stage, progress and stop; the rest is set here */
    organ_layout *layout;
    const organ_model *model, *source; /* whose layout it was; of other pieces in it, or NULL */
    const char *model_is;              /* what the model is called in the journal: "model", "target" */
    bool apart;                        /* makes an organ directory */
    void *context;
    json_t *(*parameters)(void *context);                                     /* for the journal; NULL: there are none */
    organ_status (*tell)(void *context, json_t **report, organ_error *error); /* as of organ_unit_output */
} organ_layout_output;

/* Does it all, as organ_unit_output_make. ORGAN_BAD_INPUT also where a model was changed meanwhile. */
organ_status organ_layout_output_make(organ_layout_output *written, json_t **report, organ_error *error);

#endif
