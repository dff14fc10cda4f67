/* SPDX-License-Identifier: MIT
 * How the magnitudes of the target weights are distributed, and which of them were killed. */
#ifndef ORGAN_MAGNITUDES_H
#define ORGAN_MAGNITUDES_H

#include "kernels/kernels.h"
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/surgery/facts/tally.h"

/* Weights that a figure needs. */
#define ORGAN_MAGNITUDES_ENOUGH ((uint64_t)1 << 24)

/* Counts |w| of the donor's targets by half octaves, and of each the weights that are zero in the copy and were not in
 * the donor. Whole rows are counted, all of them where the targets have at most `enough` weights, else every n-th of
 * each tensor, from the first, with the least n that leaves about as many. */
typedef struct organ_magnitudes organ_magnitudes;

/* Donor and tensors must outlive it. To be closed whatever it returns. */
organ_status organ_magnitudes_open(const organ_model *donor, const organ_tensor *const *tensors, size_t count,
                                   uint64_t enough, const organ_kernels *kernels, organ_magnitudes **magnitudes,
                                   organ_error *error);
void organ_magnitudes_close(organ_magnitudes *magnitudes);

/* Counts bytes [at, at + bytes) of tensor t, whole weights, by what they are in the copy: they need not be read there
 * once more. Of a tensor all bytes are shown once, or none. Errors as of organ_model_read for the donor. */
organ_status organ_magnitudes_see(organ_magnitudes *magnitudes, size_t t, const void *data, uint64_t at, size_t bytes,
                                  organ_error *error);

/* Counts from the files what none of the ranks was shown, each its share. *report is {"definition", "weights", "of",
 * "every_row", "from_log2", "per_octave", "zero", "count": [...], "killed": [...]}; count k is of |w| from 2^(from_log2
 * + k / per_octave) on, the first and the last take what lies beyond. For the caller to release; NULL where there is no
 * weight. ORGAN_IO, ORGAN_BAD_INPUT as of organ_model_read. */
organ_status organ_magnitudes_tell(organ_magnitudes *magnitudes, const organ_model *copy, organ_ranks *ranks,
                                   json_t **report, organ_error *error);

#endif
