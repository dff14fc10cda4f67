/* SPDX-License-Identifier: MIT
 * Room surgery/prune: sets weights of a model to zero and verifies the result. It reads a donor and writes a copy
 * with zeros and a report. audit.h compares any two models in the same terms.
 *
 * This header declares physarum v1, a static magnitude flow per tile; the donor and the output are directories or
 * single files. */
#ifndef ORGAN_PRUNE_H
#define ORGAN_PRUNE_H

#include "orchestrator/surgery/scoring/evaluate_options.h"
#include "orchestrator/surgery/interface/write_options.h"

ORGAN_API_BEGIN

/* Ranges and defaults of organ_prune_options. */
#define ORGAN_PRUNE_BLOCK_SIZES        16, 4096
#define ORGAN_PRUNE_ITERATIONS         1, 100000
#define ORGAN_PRUNE_BETAS              0, 64 /* 0 itself is not allowed */
#define ORGAN_PRUNE_COUPLINGS          0, 8
#define ORGAN_PRUNE_PERCENTS           0, 100 /* neither 0 nor 100 is allowed */
#define ORGAN_PRUNE_BLOCK_SIZE_DEFAULT 256
#define ORGAN_PRUNE_ITERATIONS_DEFAULT 30

/* Options of organ_prune. */
typedef struct organ_prune_options {
    const char *donor;   /* path of the model to prune */
    unsigned block_size; /* rows and columns of a tile, within ORGAN_PRUNE_BLOCK_SIZES */
    unsigned iterations; /* iterations of the flow, within ORGAN_PRUNE_ITERATIONS */
    double beta;         /* exponent of the flow's response, > 0, <= 64; default 2 */
    double coupling;     /* 0 .. 8: 0 ranks by magnitude alone, 1 conserves flow per row and column; default 1 */
    /* Requested percent of zeros in each target, 0 < S < 100; negative: the gain is fixed and the flow decides. */
    double sparsity;
    const char *targets; /* comma-separated globs on tensor names; NULL: the projections of the anatomy table */
    organ_write_options write;
} organ_prune_options;

/* Prunes the donor. The output is a directory, or a single file with its reports next to it if its name ends in .gguf
 * or .safetensors; then the donor must be one such file. *report is the content of prune.json (schema organ.prune/1),
 * which the caller releases; NULL on error. With dry_run nothing is written and the report describes the planned work.
 *
 * Returns ORGAN_USAGE if options are out of range or the output exists; ORGAN_BAD_INPUT if the donor is malformed or
 * changed during the run (no output remains); ORGAN_IO or ORGAN_INTERRUPTED if reading, writing or memory failed or a
 * stop was requested (the unfinished output remains and can be resumed). With `evaluate` also errors of
 * organ_perplexity; those that can be detected early are returned before anything is written. After a later error of
 * the evaluation the complete output remains, and *report gives the reason why the output was not scored. */
organ_status organ_prune(const organ_prune_options *options, const organ_engine *engine, const organ_progress *progress,
                         json_t **report, organ_error *error);

ORGAN_API_END

#endif
