/* SPDX-License-Identifier: MIT
 * New rows of the tensors that a remake replaces: one pass over them reads, works, puts the bytes in place and finishes
 * the units. */
#ifndef ORGAN_ROW_PASS_H
#define ORGAN_ROW_PASS_H

#include "orchestrator/stream/pass.h"
#include "orchestrator/surgery/output/cuts.h"
#include "orchestrator/surgery/output/unit_output.h"

/* A row of a tensor that is replaced, on any worker. */
typedef struct organ_row {
    const organ_kernels *kernels;
    size_t index; /* the tensor is the index-th of those that are replaced */
    const organ_tensor *tensor;
    void *data; /* the row as it is stored, so many units of its type */
    size_t units;
    float *values; /* the row widened, `cols` of them, 64-byte aligned; behind them the scratch that was asked for,
                      aligned too */
    size_t cols;
    void *scratch;
    double *sums; /* to be added to: zero before the first row of a tile */
} organ_row;

/* Narrows the values into the row, and widens them again: what is stored now. */
void organ_row_store(const organ_row *row);

/* What came of the rows of a tensor. */
#define ORGAN_ROW_SUMS 4
typedef struct organ_row_result {
    double sums[ORGAN_ROW_SUMS]; /* of its tiles, in their order; of its stretches, in theirs */
    char xxh3[17];               /* of its bytes in the output */
} organ_row_result;

/* New rows of the tensors that are replaced, and what becomes of them in journal and progress. The context is that of
 * the remake. */
typedef struct organ_row_work {
    size_t scratch_bytes; /* for a row */
    uint64_t least;       /* bytes that the verb takes elsewhere: as organ_pass.least */
    void (*row)(void *context, const organ_row *row);
    /* Looks at the sums of a stretch so far; ORGAN_BAD_INPUT ends the run. May be NULL. */
    organ_status (*judge)(void *context, size_t index, const double *sums, organ_error *error);
    void (*remark)(const double *sums, char remark[64]); /* on what is done, for the progress. May be NULL */
    organ_row_result *results; /* of each tensor, once all are written; before, of each stretch */
} organ_row_work;

/* The elements of the longest row of the chosen tensors, a flag for each of the model. */
size_t organ_row_longest(const organ_model *model, const bool *chosen);

typedef struct organ_row_pass {
    const organ_model *model;
    const bool *replaced; /* a flag per tensor, */
    organ_cuts *cuts;     /* and how these are cut: unit k of the run is stretch k */
    const organ_engine *engine;
    const organ_progress *progress;
    organ_row_work *rows;
    void *context;
} organ_row_pass;

/* Over the units that are not done. Errors as of organ_pass_run and organ_unit_run_put, and what `judge` returned. */
organ_status organ_row_pass_run(const organ_row_pass *pass, organ_unit_run *run, organ_error *error);

/* Takes over the sums and the digest of a stretch that an earlier run has finished; false where the line does not have
 * them. */
bool organ_row_pass_recall(const organ_row_work *rows, organ_cuts *cuts, size_t cut, const json_t *line);

/* All is written: the results become those of the tensors. */
void organ_row_pass_fold(organ_row_work *rows, const organ_cuts *cuts);

#define ORGAN_ROWS_CUT 8 /* tensors are cut between so many rows: sums of as many are added in their order */

#endif
