/* SPDX-License-Identifier: MIT
 * What the parts of a purification share: purify.c runs it, pass.c filters rows, copy.c writes, document.c tells. */
#ifndef ORGAN_PURIFY_JOB_H
#define ORGAN_PURIFY_JOB_H

#include "orchestrator/stream/model_copy.h"
#include "orchestrator/surgery/measure/z_measure.h"
#include "orchestrator/surgery/output/output.h"
#include "orchestrator/surgery/output/selection.h"
#include "orchestrator/surgery/purify/fft.h"
#include "orchestrator/surgery/purify/purify.h"
#include "orchestrator/surgery/trial/evaluation.h"

/* One tensor that is purified. */
typedef struct organ_purify_part {
    const organ_tensor *tensor;
    const organ_fft *fft; /* for its rows; NULL with haar */
    double before, after; /* energy: the sum of the squares of its values as they are stored */
    char xxh3[17];        /* of its bytes in the output */
    organ_z z_before, z_after;
} organ_purify_part;

typedef struct organ_purify_job {
    const organ_purify_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    bool haar;
    double threshold; /* in use */
    organ_model *donor;
    bool *chosen; /* a flag per tensor of the donor: it is purified */
    size_t count;
    organ_purify_part *parts; /* one per chosen tensor, in file order */
    size_t left_count;
    const organ_tensor **left; /* that would be purified if their type could be written */
    size_t fft_count;
    organ_fft **ffts;
    organ_file_list beside; /* other files that go along */
    organ_evaluation evaluation;
    organ_output output;
} organ_purify_job;

/* The growing copy: in a directory or single file like the donor's. */
typedef struct organ_purify_copy organ_purify_copy;
organ_status organ_purify_copy_begin(organ_purify_job *job, organ_purify_copy **copy, organ_error *error);
/* In order of tensors and offsets; `offset` within the donor's file. */
organ_status organ_purify_copy_write(organ_purify_copy *copy, const organ_tensor *tensor, const void *data, size_t bytes, uint64_t offset,
                                     organ_error *error);
organ_status organ_purify_copy_finish(organ_purify_copy *copy, organ_error *error);
void organ_purify_copy_end(organ_purify_copy *copy); /* NULL is allowed */

/* Makes the transforms that the parts need. */
organ_status organ_purify_prepare(organ_purify_job *job, organ_error *error);

/* Filters all parts into the copy, and sets their energies and digests. ORGAN_BAD_INPUT where values are not finite. */
organ_status organ_purify_run(organ_purify_job *job, organ_purify_copy *copy, organ_error *error);

/* The content of purify.json. NULL without memory. */
json_t *organ_purify_document(const organ_purify_job *job);

#endif
