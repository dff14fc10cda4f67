/* SPDX-License-Identifier: MIT
 * The Z-measure of one tensor, by one thread in bounded memory. */
#ifndef ORGAN_Z_TENSOR_H
#define ORGAN_Z_TENSOR_H

#include "formats/weights/weights.h"
#include "orchestrator/stream/pass.h"
#include "orchestrator/surgery/measure/seed_measure.h"
#include "orchestrator/surgery/measure/z_levels.h"
#include "orchestrator/surgery/measure/z_result.h"

/* What a thread works in. */
typedef struct organ_z_room {
    void *window; /* for the values */
    size_t window_bytes;
    float *values;   /* of a strip, then its pairwise means, and theirs */
    uint64_t *codes; /* histogram of 16-bit words */
    organ_z_levels levels;
    organ_seed_sample *sample; /* for the older measure; NULL: it is not asked for */
} organ_z_room;

/* Bytes that a room needs beside its window, which organ_z_source_size tells of. */
size_t organ_z_room_fixed(void);

/* Makes a room of `bytes` bytes of memory, 64-byte aligned: at least the sum of both. */
organ_z_room organ_z_room_make(void *memory, size_t bytes);

/* Sets z->reason of what another process has measured: what it points to there is not here. `weight` NULL: the tensor
 * is none. */
void organ_z_reason(const organ_weight *weight, organ_z *z);

/* ORGAN_OK also where z->reason says why there is no theta. */
organ_status organ_z_tensor(const organ_model *model, const organ_weight *weight, const organ_kernels *kernels,
                            const organ_stop *stop, organ_z_room *room, organ_z *z, organ_error *error);

#endif
