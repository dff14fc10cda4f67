/* SPDX-License-Identifier: MIT
 * What the parts of a purification share: purify.c runs it, pass.c filters rows, document.c tells. */
#ifndef ORGAN_PURIFY_JOB_H
#define ORGAN_PURIFY_JOB_H

#include "orchestrator/surgery/measure/z_measure.h"
#include "orchestrator/surgery/output/selection.h"
#include "orchestrator/surgery/purify/fft.h"
#include "orchestrator/surgery/purify/purify.h"
#include "orchestrator/surgery/remake/remake.h"

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
    size_t room;      /* floats of the longest row in a scratch */
    organ_model *donor;
    bool *chosen; /* a flag per tensor of the donor: it is purified */
    size_t count;
    organ_purify_part *parts; /* one per chosen tensor, in file order */
    size_t left_count;
    const organ_tensor **left; /* that would be purified if their type could be written */
    size_t fft_count;
    organ_fft **ffts;
} organ_purify_job;

/* Makes the transforms that the parts need. */
organ_status organ_purify_prepare(organ_purify_job *job, organ_error *error);

/* For organ_remake. Filters the parts that are not done, and sets their energies and digests; ORGAN_BAD_INPUT where values are not finite.
 */
organ_status organ_purify_fill(void *job, organ_unit_run *run, organ_error *error);
bool organ_purify_recall(void *job, size_t part, const json_t *results);
json_t *organ_purify_identity(void *job);
json_t *organ_purify_document(void *job, const organ_output *output, const organ_resharding *plan);

#endif
