/* SPDX-License-Identifier: MIT
 * Splits a model into an organ directory, with one file for each tensor, from which organ_assemble restores the same
 * files. */
#ifndef ORGAN_EXTRACT_H
#define ORGAN_EXTRACT_H

#include "orchestrator/surgery/interface/write_options.h"

ORGAN_API_BEGIN

typedef struct organ_extract_options {
    const char *model;
    organ_write_options write;
    const char *resumed_by;           /* how a user continues an interrupted run, for its message; NULL: "--resume" */
    const organ_model_access *access; /* access to models behind a URL; NULL: defaults */
    struct organ_ranks *ranks;  /* the processes that share the work (room ranks); NULL: this process does it alone */
    const organ_engine *engine; /* its workers copy the tensors; NULL: threads that are started for the run */
} organ_extract_options;

/* Extracts all tensors and creates the report of schema organ.extract/1, which the caller releases (NULL on error).
 * With write.dry_run nothing is written.
 *
 * Returns ORGAN_USAGE if the output exists or would overwrite the model, or if an unfinished run is found that is not
 * continued or has other options; ORGAN_BAD_INPUT if the model is malformed or changed during the run (the output is
 * removed); ORGAN_IO if reading, writing or memory fails; ORGAN_INTERRUPTED if a stop was requested. After the last two
 * statuses the unfinished output is kept with a journal, and write.resume continues it to the same bytes. */
organ_status organ_extract(const organ_extract_options *options, const organ_progress *progress, const organ_stop *stop,
                           json_t **report, organ_error *error);

ORGAN_API_END

#endif
