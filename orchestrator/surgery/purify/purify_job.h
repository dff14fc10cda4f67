/* SPDX-License-Identifier: MIT
 * Structures and functions that the sources of organ purify share: purify.c runs it, purify_pass.c filters rows,
 * purify_document.c makes the report. */
#ifndef ORGAN_PURIFY_JOB_H
#define ORGAN_PURIFY_JOB_H

#include <organ/measure.h>
#include "orchestrator/surgery/inputs/inputs.h"
#include "orchestrator/surgery/purify/fft.h"
#include <organ/purify.h>
#include "orchestrator/surgery/write/write.h"

/* A tensor that is purified: one of organ_purify_job.parts. */
typedef struct organ_purify_part {
    const organ_tensor *tensor;
    const organ_fft *fft;      /* tables for rows of its length, one of organ_purify_job.ffts; NULL with haar */
    organ_z z_before, z_after; /* theta in the donor and in the copy; set after the copy is written */
} organ_purify_part;

/* Indices of organ_row.sums. Energies: the sum of the squares of the stored values, in the donor and in the copy.
 * Infinite: the number of rows in which a value is NaN or infinite, in the donor and after the filter. */
enum { ORGAN_ENERGY_BEFORE, ORGAN_ENERGY_AFTER, ORGAN_INFINITE_BEFORE, ORGAN_INFINITE_AFTER };

typedef struct organ_purify_job {
    const organ_purify_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    bool haar;        /* the method is haar; false: fft */
    double threshold; /* the option's value, or its default */
    organ_model *donor;
    bool *chosen;             /* a flag for each tensor of the donor: it is purified */
    size_t count;             /* number of parts */
    organ_purify_part *parts; /* one for each chosen tensor, in the order of donor->tensors */
    size_t left_out_count;
    const organ_tensor **left_out; /* selected tensors of types that cannot be written, which stay unchanged */
    size_t fft_count;
    organ_fft **ffts;    /* one for each distinct row length of the parts; empty with haar */
    organ_row_work rows; /* the filter, which organ_write_run calls for each row */
} organ_purify_job;

/* Makes the tables of spectra that the parts need, and sets job->rows: the filter, and a check that fails with
 * ORGAN_BAD_INPUT if values are not finite. Returns errors of organ_fft_create and organ_measure_min. */
organ_status organ_purify_prepare(organ_purify_job *job, organ_error *error);

/* Implement organ_write.parameters and organ_write.document: return the options on which the output depends, and the
 * report of the finished output. */
json_t *organ_purify_parameters(void *job);
json_t *organ_purify_document(void *job, const organ_writing *made);

#endif
