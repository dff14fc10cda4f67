/* SPDX-License-Identifier: MIT
 * Divides tensors into units of a run: a tensor larger than ORGAN_CUT_BYTES is cut into ranges of rows, and each
 * row range is a unit. The cut depends only on the tensor, not on the number of processes. So results that are folded
 * row range by row range are the same everywhere, and any number of processes can continue a run of any other number.
 */
#ifndef ORGAN_CUTS_H
#define ORGAN_CUTS_H

#include "formats/base/arena.h"
#include "formats/model/model.h"
#include "orchestrator/ranks/ranks.h"

#include <xxhash.h>

/* Size of a unit: small enough that a stack of experts occupies all processes of a cluster, large enough that the
 * journal, with a line for each unit, stays small in comparison. */
#define ORGAN_CUT_BYTES ((uint64_t)64 << 20)

/* Allowed places of cuts: a number of rows (after each multiple of it), or one of */
#define ORGAN_CUT_NEVER    ((uint64_t)0)
#define ORGAN_CUT_MATRICES UINT64_MAX /* between the matrices of a stack alone */

typedef struct organ_cut {
    organ_tensor tensor; /* the row range, with the name of the whole: matrices of a stack, or rows of one matrix */
    const char *unit;    /* its name in the journal; that of the tensor where it is all of it */
    size_t of;           /* the tensor */
    uint64_t at;         /* bytes of the tensor before the row range */
    uint64_t shape[3];
} organ_cut;

typedef struct organ_cuts {
    const organ_tensor *const *tensors;
    size_t tensor_count;
    organ_cut *list; /* in the order of the tensors and their rows */
    size_t count;
    size_t *first;      /* index of each tensor's first row range; the last entry is `count` */
    char (*xxh3)[17];   /* of each tensor's new bytes; "" if unknown */
    XXH3_state_t *hash; /* the digest in progress: */
    size_t hashing;     /* of this tensor */
    uint64_t hashed;    /* bytes hashed, from its beginning */
    organ_arena names;
} organ_cuts;

/* Divides the tensors into row ranges that are written and digested individually. `tensors` must outlive the cuts,
 * which the caller frees even after an error. ORGAN_IO if out of memory. */
organ_status organ_cuts_make(const organ_tensor *const *tensors, size_t count, uint64_t rows, organ_cuts *cuts,
                             organ_error *error);
void organ_cuts_free(organ_cuts *cuts); /* all zero is allowed */

bool organ_cuts_is_whole(const organ_cuts *cuts, size_t cut); /* the row range is all of its tensor */

/* Adds new bytes [at, at + bytes) of a row range to the digest of its tensor. Only consecutive calls from the tensor's
 * beginning give a digest. */
void organ_cuts_digest(organ_cuts *cuts, size_t cut, const void *data, size_t bytes, uint64_t at);

/* Computes the digests of tensors that several processes or an earlier run have written, from the bytes in `written`.
 * All ranks call it; each reads its share. Errors of reading. */
organ_status organ_cuts_complete(organ_cuts *cuts, const organ_model *written, organ_ranks *ranks, organ_error *error);

#endif
