/* SPDX-License-Identifier: MIT
 * Assembles a model from an organ directory. */
#ifndef ORGAN_ASSEMBLE_H
#define ORGAN_ASSEMBLE_H

#include "orchestrator/surgery/interface/write_options.h"

ORGAN_API_BEGIN

typedef struct organ_assemble_options {
    const char *directory; /* an organ directory, or another model, whose split files can be merged */
    organ_write_options write;
    const organ_model_access *access; /* access to models behind a URL; NULL: defaults */
    struct organ_ranks *ranks; /* the processes that share the work (room ranks); NULL: this process does it alone */
} organ_assemble_options;

/* Assembles the model and creates the report of schema organ.assemble/1, which the caller releases (NULL on error). An
 * output that ends in .gguf or .safetensors is one file: the file of the donor, byte for byte, or, if the donor had
 * several files, all tensors with a new header. Any other output is a directory with the files of the donor, byte for
 * byte, and with the other files of its folder. If the bytes of a tensor were changed since they were extracted, the
 * changed bytes are used and the report lists the tensor. Errors are those of organ_extract; ORGAN_USAGE also if the
 * format of the output is not that of the donor. */
organ_status organ_assemble(const organ_assemble_options *options, const organ_progress *progress,
                            const organ_stop *stop, json_t **report, organ_error *error);

ORGAN_API_END

#endif
