/* SPDX-License-Identifier: MIT
 * New rows of the tensors that a remake replaces: one pass over them reads, works, puts the bytes in place and finishes the units. */
#ifndef ORGAN_ROW_PASS_H
#define ORGAN_ROW_PASS_H

#include "orchestrator/stream/pass.h"
#include "orchestrator/surgery/output/unit_run.h"

/* The elements of the longest row of some tensors. */
size_t organ_row_longest(const organ_tensor *const *tensors, size_t count);

/* The floats that stand before the scratch, where the longest row has `cols` elements: a multiple of a cache line. */
size_t organ_row_floats(size_t cols);

/* The caller says all of it. Results of tiles are zeroed before the first row of each. */
typedef struct organ_row_pass {
    const organ_model *model;
    const organ_tensor *const *tensors; /* unit k of the run is the k-th of them */
    size_t count;
    size_t scratch_bytes; /* for a row, besides the floats of the longest one */
    size_t result_bytes;  /* of a tile */
    uint64_t least;       /* bytes that the verb takes elsewhere: as organ_pass.least */
    const organ_engine *engine;
    const organ_progress *progress;
    void *context;
    /* One row in its storage type: `units` of it hold `cols` elements. `values` has room for them as floats, 64-byte aligned, the scratch
     * comes behind. On any worker. */
    void (*row)(void *context, size_t tensor, void *data, size_t units, size_t cols, float *values, void *result);
    /* Adds the results of some tiles, in their order. NULL: there are none. ORGAN_BAD_INPUT ends the pass. */
    organ_status (*fold)(void *context, size_t tensor, const void *results, size_t tiles, organ_error *error);
    /* The tensor is whole, `xxh3` are the digits of its bytes: what a resumed run must know of it. NULL without memory. `remark` is for the
     * progress and may stay empty. */
    json_t *(*finish)(void *context, size_t tensor, const char xxh3[17], char remark[64]);
} organ_row_pass;

/* Of the units that are not done. Errors as of organ_pass_run and organ_unit_run_put, and what `fold` returned. */
organ_status organ_row_pass_run(const organ_row_pass *pass, organ_unit_run *run, organ_error *error);

#endif
