/* SPDX-License-Identifier: MIT
 * Histogram of the magnitudes |w| of a donor's target weights, and in each bin the number of weights that pruning
 * killed. */
#ifndef ORGAN_MAGNITUDES_H
#define ORGAN_MAGNITUDES_H

#include <organ/kernels.h>
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/surgery/facts/facts.h"

/* Recommended argument `enough` of organ_magnitudes_open: this many weights suffice for a figure. */
#define ORGAN_MAGNITUDES_ENOUGH ((uint64_t)1 << 24)

/* The histogram. Bins are half octaves of |w| in the donor; killed weights are nonzero in the donor and zero in the
 * copy, the pruned model. Whole rows are counted: all of them if the targets have at most `enough` weights, else every
 * n-th row of each tensor from the first, with the smallest n that leaves about `enough` weights. */
typedef struct organ_magnitudes organ_magnitudes;

/* Creates an empty histogram for `count` tensors of the donor. Donor and tensors must outlive it. `enough` limits the
 * counted weights. Call organ_magnitudes_close even after an error. Returns ORGAN_IO if memory runs out. */
organ_status organ_magnitudes_open(const organ_model *donor, const organ_tensor *const *tensors, size_t count,
                                   uint64_t enough, const organ_kernels *kernels, organ_magnitudes **magnitudes,
                                   organ_error *error);
void organ_magnitudes_close(organ_magnitudes *magnitudes); /* NULL is allowed */

/* Counts the weights of bytes [at, at + bytes) of tensor t. `data` are their bytes in the copy; the donor's are read
 * from its file. organ_magnitudes_json does not read tensors that were passed to this function, so pass either all
 * bytes of a tensor, each once, or none. Any number of threads may call it at the same time. Returns errors of
 * organ_model_read, and ORGAN_IO if memory runs out. */
organ_status organ_magnitudes_add(organ_magnitudes *magnitudes, size_t t, const void *data, uint64_t at, size_t bytes,
                                  organ_error *error);

/* Counts the tensors that no rank has passed to organ_magnitudes_add, by reading them from donor and copy; each rank
 * reads its share. Then adds the counts of all ranks. All ranks call it. *report is
 *
 *     {"definition", "weights", "of", "every_row", "from_log2", "per_octave", "zero", "count": [...], "killed": [...]}
 *
 * where bin k starts at |w| = 2^(from_log2 + k / per_octave), and the first and the last bin include
 * everything below and above. The caller releases *report, which is NULL if there is no weight. Returns errors of
 * organ_model_read, and ORGAN_IO if memory runs out. */
organ_status organ_magnitudes_json(organ_magnitudes *magnitudes, const organ_model *copy, organ_ranks *ranks,
                                   json_t **report, organ_error *error);

#endif
