/* SPDX-License-Identifier: MIT
 * How the magnitudes of the target weights are distributed, and which of them were killed. */
#ifndef ORGAN_MAGNITUDES_H
#define ORGAN_MAGNITUDES_H

#include "kernels/kernels.h"
#include "orchestrator/surgery/output/tally.h"

/* Weights that a figure needs; they are read in well under a second. */
#define ORGAN_MAGNITUDES_ENOUGH ((uint64_t)1 << 24)

/* Counts |w| of the donor's targets by half octaves, and of each the weights that are zero in `copy` and were not in the donor. Whole rows
 * are counted, all of them where the targets have at most `enough` weights, else every n-th of each tensor, from the first, with the least
 * n that leaves about as many. *report is {"definition", "weights", "of", "every_row", "from_log2", "per_octave", "zero", "count": [...],
 * "killed": [...]}; count k is of |w| from 2^(from_log2 + k / per_octave) on, the first and the last take what lies beyond. For the caller
 * to release; NULL where there is no weight. ORGAN_IO, ORGAN_BAD_INPUT as of organ_model_read. */
organ_status organ_magnitudes(const organ_model *donor, const organ_model *copy, const organ_tally *rows, size_t count, uint64_t enough,
                              const organ_kernels *kernels, json_t **report, organ_error *error);

#endif
