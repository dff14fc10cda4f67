/* SPDX-License-Identifier: MIT
 * Tensors as a run deals them out: one that is larger than ORGAN_CUT_BYTES is cut into stretches of its rows, and each
 * of them is a unit of the run. The cut depends on the tensor alone, never on how many processes there are: what is
 * folded stretch by stretch is the same everywhere, and any number of processes can go on with what another number has
 * made. */
#ifndef ORGAN_CUTS_H
#define ORGAN_CUTS_H

#include "formats/base/arena.h"
#include "formats/model/model.h"
#include "orchestrator/ranks/ranks.h"

#include <xxhash.h>

/* The one place that says how large a unit may be: small enough that a stack of experts is work for all processes of a
 * cluster, large enough that a line of the journal for each is little beside it. */
#define ORGAN_CUT_BYTES ((uint64_t)64 << 20)

/* Where tensors may be cut, in rows of a matrix: behind every so many of them, or */
#define ORGAN_CUT_NEVER    ((uint64_t)0)
#define ORGAN_CUT_MATRICES UINT64_MAX /* between the matrices of a stack alone */

typedef struct organ_cut {
    organ_tensor tensor; /* the stretch, with the name of the whole: matrices of a stack, or rows of one matrix */
    const char *unit;    /* its name in the journal; that of the tensor where it is all of it */
    size_t of;           /* the tensor */
    uint64_t at;         /* bytes of the tensor that lie before it */
    uint64_t shape[3];
} organ_cut;

typedef struct organ_cuts {
    const organ_tensor *const *tensors;
    size_t tensor_count;
    organ_cut *list; /* in the order of the tensors and their rows */
    size_t count;
    size_t *first;      /* the first stretch of each tensor; behind them `count` */
    char (*xxh3)[17];   /* of the bytes that each tensor gets, "" while they are not known */
    XXH3_state_t *hash; /* of the bytes seen last: */
    size_t hashing;     /* of this tensor */
    uint64_t hashed;    /* so many, from its beginning */
    organ_arena names;
} organ_cuts;

/* `tensors` must outlive the cuts. To be freed whatever it returns. ORGAN_IO without memory. */
organ_status organ_cuts_make(const organ_tensor *const *tensors, size_t count, uint64_t rows, organ_cuts *cuts,
                             organ_error *error);
void organ_cuts_free(organ_cuts *cuts); /* all zero is allowed */

bool organ_cuts_is_whole(const organ_cuts *cuts, size_t cut); /* the stretch is all of its tensor */

/* Takes note of new bytes [at, at + bytes) of a stretch for the digest of its tensor; one behind the other. */
void organ_cuts_see(organ_cuts *cuts, size_t cut, const void *data, size_t bytes, uint64_t at);

/* Digests of tensors that were written in stretches, by several processes or by an earlier run, are made of what
 * `written` has. All ranks come here; each reads its share. Errors of reading. */
organ_status organ_cuts_complete(organ_cuts *cuts, const organ_model *written, organ_ranks *ranks, organ_error *error);

#endif
