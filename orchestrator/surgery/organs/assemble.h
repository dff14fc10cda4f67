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
    struct organ_ranks *ranks;  /* the processes that share the work (room ranks); NULL: this process does it alone */
    const organ_engine *engine; /* its workers copy the tensors; NULL: threads that are started for the run */
} organ_assemble_options;

/* Assembles the model and creates the report of schema organ.assemble/1, which the caller releases (NULL on error). An
 * output that ends in .gguf or .safetensors is one file. If the donor had one file, the output has the same bytes; if
 * it had several, the output has all their tensors and a new header. Any other output is a directory with the files of
 * the donor, byte for byte, and with the other files of the donor's folder. If the bytes of a tensor were changed since
 * they were extracted, the changed bytes are used and the report lists the tensor. Returns ORGAN_USAGE if the output
 * exists, would overwrite an input or has another format than the donor, or if an unfinished run is found that is not
 * continued or has other options; ORGAN_BAD_INPUT if the directory is malformed or changed during the run; ORGAN_IO if
 * reading, writing or memory fails; ORGAN_INTERRUPTED if a stop was requested. write.resume continues a run that ended
 * with one of the last two statuses. */
organ_status organ_assemble(const organ_assemble_options *options, const organ_progress *progress,
                            const organ_stop *stop, json_t **report, organ_error *error);

ORGAN_API_END

#endif
