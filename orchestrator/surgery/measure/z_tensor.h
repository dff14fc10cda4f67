/* SPDX-License-Identifier: MIT
 * Measures one tensor by z/1, on one thread in bounded memory. */
#ifndef ORGAN_Z_TENSOR_H
#define ORGAN_Z_TENSOR_H

#include <organ/weights.h>
#include <organ/stream.h>
#include "orchestrator/surgery/measure/seed_measure.h"
#include "orchestrator/surgery/measure/z_levels.h"
#include <organ/measure.h>

/* Buffers of a thread. */
typedef struct organ_z_scratch {
    void *window; /* memory for organ_z_source */
    size_t window_bytes;
    float *values;   /* FP32 values of a strip (z_tensor.c), followed by their pairwise means at all scales */
    uint64_t *codes; /* number of occurrences of each 16-bit code */
    organ_z_levels levels;
    organ_seed_sample *sample; /* for the older measure seed/1; NULL: not requested. The caller sets it. */
} organ_z_scratch;

/* Returns the bytes of a thread's buffers without the window (organ_z_source_size). */
size_t organ_z_scratch_fixed_bytes(void);

/* Divides `memory` (`bytes` bytes, 64-byte aligned) into the buffers; the window gets the remainder after
 * organ_z_scratch_fixed_bytes(). */
organ_z_scratch organ_z_scratch_divide(void *memory, size_t bytes);

/* Sets z->reason again, from the weight and the moments in *z, for a result that another process has computed:
 * z->reason is then a pointer of that process. Does nothing if the tensor was not measured or `weight` is NULL. */
void organ_z_reason(const organ_weight *weight, organ_z *z);

/* Measures a weight into *z. Returns ORGAN_OK also if the weight has no theta (z->reason is then set). Returns errors
 * of reading the model, and ORGAN_INTERRUPTED if a stop was requested. */
organ_status organ_z_tensor(const organ_model *model, const organ_weight *weight, const organ_kernels *kernels,
                            const organ_stop *stop, organ_z_scratch *scratch, organ_z *z, organ_error *error);

#endif
