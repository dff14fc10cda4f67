/* SPDX-License-Identifier: MIT
 * Takes a model apart: an organ directory of its tensors, from which organ_assemble makes the same files again. */
#ifndef ORGAN_EXTRACT_H
#define ORGAN_EXTRACT_H

#include "orchestrator/surgery/interface/write_options.h"

ORGAN_API_BEGIN

typedef struct organ_extract_options {
    const char *model;
    organ_write_options write;
    const char *resumed_by;           /* what continues an interrupted run, for the message; NULL: "--resume" */
    const organ_model_access *access; /* access to models behind a URL; NULL: defaults */
    struct organ_ranks *ranks;        /* (room ranks) that share the work; NULL: this process does it */
} organ_extract_options;

/* Extracts all tensors. *report has the schema organ.extract/1; the caller releases it; NULL on error. With dry_run
 * nothing is written.
 *
 * Returns ORGAN_USAGE if the output exists or would overwrite the model, or if an unfinished run is found that is not
 * continued or differs from this one; ORGAN_BAD_INPUT for a model that is malformed or changed during the run (the
 * output is removed); ORGAN_IO or ORGAN_INTERRUPTED, after which the unfinished output is kept with a journal and
 * `resume` continues it to the same bytes. */
organ_status organ_extract(const organ_extract_options *options, const organ_progress *progress, const organ_stop *stop,
                           json_t **report, organ_error *error);

ORGAN_API_END

#endif
