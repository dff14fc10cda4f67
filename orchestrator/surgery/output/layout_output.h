/* SPDX-License-Identifier: MIT
 * A layout written as an output: files as others open them, or an organ directory, with what lies beside the model that
 * it is of. */
#ifndef ORGAN_LAYOUT_OUTPUT_H
#define ORGAN_LAYOUT_OUTPUT_H

#include "orchestrator/surgery/output/layout.h"
#include "orchestrator/surgery/output/unit_output.h"

/* What the caller says. Everything must outlive the writing. */
typedef struct organ_layout_output {
    organ_unit_output made;            /* output, dry_run, definition, stage, progress and stop; the rest is set here */
    organ_layout layout;               /* of the caller's making */
    const organ_model *model, *source; /* whose layout it was; of other pieces in it, or NULL */
    const char *model_is;              /* what the model is called in the journal: "model", "target" */
    bool apart;                        /* makes an organ directory */
    void *context;
    json_t *(*parameters)(void *context); /* for the journal; NULL: there are none */
    json_t *(*document)(void *context);   /* all is on the disk, or it is a dry run: the report; NULL without memory */
    organ_file_list beside;               /* what comes along; set by organ_layout_output_make */
    char *root;                           /* of it */
    size_t stripped;                      /* settings left out of config.json (leftovers.h) */
} organ_layout_output;

/* Does it all, as organ_unit_output_make. ORGAN_BAD_INPUT also where a model was changed meanwhile. */
organ_status organ_layout_output_make(organ_layout_output *written, json_t **report, organ_error *error);

/* Releases what it made, and the layout. */
void organ_layout_output_release(organ_layout_output *written);

#endif
