/* SPDX-License-Identifier: MIT
 * Structures and functions that the parts of a purification share: purify.c runs it, purify_pass.c filters rows,
 * purify_document.c writes the report. */
#ifndef ORGAN_PURIFY_JOB_H
#define ORGAN_PURIFY_JOB_H

#include "orchestrator/surgery/measure/z_measure.h"
#include "orchestrator/surgery/inputs/inputs.h"
#include "orchestrator/surgery/purify/fft.h"
#include "orchestrator/surgery/purify/purify.h"
#include "orchestrator/surgery/write/write.h"

/* One tensor to purify. */
typedef struct organ_purify_part {
    const organ_tensor *tensor;
    const organ_fft *fft; /* for rows of this length; NULL with haar */
    organ_z z_before, z_after;
} organ_purify_part;

/* Indices of the sums over rows: energies (the sum of the squares of the stored values), and the number of rows with
 * a value that is not finite. */
enum { ORGAN_ENERGY_BEFORE, ORGAN_ENERGY_AFTER, ORGAN_INFINITE_BEFORE, ORGAN_INFINITE_AFTER };

typedef struct organ_purify_job {
    const organ_purify_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    bool haar;
    double threshold; /* the option, or its default */
    organ_model *donor;
    bool *chosen; /* a flag per tensor of the donor: it is purified */
    size_t count;
    organ_purify_part *parts; /* one per chosen tensor, in file order */
    size_t left_out_count;
    const organ_tensor **left_out; /* tensors in types that cannot be written: selected but unchanged */
    size_t fft_count;
    organ_fft **ffts;
    organ_row_work rows;
} organ_purify_job;

/* Creates the transforms that the parts need, and job->rows, which filters the rows; ORGAN_BAD_INPUT from job->rows
 * if values are not finite. */
organ_status organ_purify_prepare(organ_purify_job *job, organ_error *error);

json_t *organ_purify_parameters(void *job);
json_t *organ_purify_document(void *job, const organ_writing *made);

#endif
