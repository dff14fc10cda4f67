/* SPDX-License-Identifier: MIT
 * What organ gguf split, join and edit share: a run that copies the tensors of a GGUF model into new files.
 * gguf_files.c runs it and divides or joins files, gguf_edit.c changes key-values. */
#ifndef ORGAN_VERBS_GGUF_GGUF_JOB_H
#define ORGAN_VERBS_GGUF_GGUF_JOB_H

#include "formats/gguf/typed_values.h"
#include "orchestrator/surgery/audit/audit.h"
#include "orchestrator/surgery/write/write.h"

#include <organ/organs.h>

typedef struct organ_gguf_job organ_gguf_job;

/* A run. The verb sets the members up to `plan`. */
struct organ_gguf_job {
    const char *operation; /* "split", "join", "edit" */
    const char *path;      /* of the model */
    organ_write_options write;
    const organ_model_access *access;
    organ_ranks *ranks;
    const organ_engine *engine;
    const void *options; /* of the verb */
    /* Completes `parts` and `part_count` for the open model; the first part's writer has the model's key-values without
     * split.* already. */
    organ_status (*plan)(organ_gguf_job *job, organ_error *error);
    json_t *(*parameters)(void *job);                                                /* for document and journal */
    organ_status (*inputs)(void *job, organ_run_inputs *inputs, organ_error *error); /* NULL: none */
    const organ_progress *progress;
    organ_model *model;
    organ_layout layout;
    organ_gguf_part *parts; /* owned, with their writers */
    size_t part_count;
    char *output; /* path of the first file, owned; NULL in a dry run without a name */
    organ_arena arena;
};

/* Runs the job and releases what it has opened. */
organ_status organ_gguf_job_run(organ_gguf_job *job, const organ_progress *progress, const organ_stop *stop,
                                json_t **report, organ_error *error);

/* Names the only part, which gets all tensors, as the output. Returns ORGAN_USAGE if that does not end in .gguf. */
organ_status organ_gguf_name_single(organ_gguf_job *job, organ_error *error);

#endif
