/* SPDX-License-Identifier: MIT
 * Assembles a model from an organ directory. */
#ifndef ORGAN_ASSEMBLE_H
#define ORGAN_ASSEMBLE_H

#include "orchestrator/surgery/interface/write_options.h"

ORGAN_API_BEGIN

typedef struct organ_assemble_options {
    const char *directory; /* an organ directory, or any other model, so that split files can be merged */
    organ_write_options write;
    const organ_model_access *access; /* access to models behind a URL; NULL: defaults */
    struct organ_ranks *ranks;        /* (room ranks) that share the work; NULL: this process does it */
} organ_assemble_options;

/* Assembles the model. An output that ends in .gguf or .safetensors is one file: the donor's, byte for byte, or, if the
 * donor had several, one with a new header. Any other output is a directory with the donor's files, byte for byte, and
 * with the other files of its folder. If a tensor's bytes have changed since they were extracted, the changed bytes are
 * used and the report says so. *report has the schema organ.assemble/1; the caller releases it; NULL on error. Errors
 * of organ_extract; ORGAN_USAGE also if the output's format is not the donor's. */
organ_status organ_assemble(const organ_assemble_options *options, const organ_progress *progress,
                            const organ_stop *stop, json_t **report, organ_error *error);

ORGAN_API_END

#endif
