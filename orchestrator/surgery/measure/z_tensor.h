/* SPDX-License-Identifier: MIT
 * The Z-measure of one tensor, by one thread in bounded memory. */
#ifndef ORGAN_Z_TENSOR_H
#define ORGAN_Z_TENSOR_H

#include "formats/weights/weights.h"
#include "orchestrator/stream/pass.h"
#include "orchestrator/surgery/measure/seed_measure.h"
#include "orchestrator/surgery/measure/z_levels.h"
#include "orchestrator/surgery/measure/z_result.h"

/* Buffers of a thread. */
typedef struct organ_z_scratch {
    void *window; /* for the values */
    size_t window_bytes;
    float *values;   /* values of a strip, followed by pairwise means of all scales */
    uint64_t *codes; /* histogram of 16-bit words */
    organ_z_levels levels;
    organ_seed_sample *sample; /* for the older measure; NULL: not requested */
} organ_z_scratch;

/* Returns the bytes that the scratch memory needs in addition to its window (organ_z_source_size). */
size_t organ_z_scratch_fixed_bytes(void);

/* Divides `memory`, 64-byte aligned, of `bytes` bytes into the buffers of the measure; it must have at least
 * organ_z_scratch_fixed_bytes() bytes and the window. */
organ_z_scratch organ_z_scratch_divide(void *memory, size_t bytes);

/* Sets z->reason for a tensor that another process has measured, whose pointer is invalid here. `weight` NULL: the
 * tensor is not measured. */
void organ_z_reason(const organ_weight *weight, organ_z *z);

/* Measures a tensor. Returns ORGAN_OK also if there is no theta (z->reason is set). */
organ_status organ_z_tensor(const organ_model *model, const organ_weight *weight, const organ_kernels *kernels,
                            const organ_stop *stop, organ_z_scratch *scratch, organ_z *z, organ_error *error);

#endif
