/* SPDX-License-Identifier: MIT
 * Room surgery/prune: kills weights of a model and proves it. In goes a donor, out comes a copy with zeros and a report
 * of them; audit.h compares any two models in the same terms; method.h is for the methods of
 * surgery/calibrated.
 *
 * Here: physarum v1, static magnitude flow, tile by tile, from a donor directory into a new one, or from a single file
 * into another. */
#ifndef ORGAN_PRUNE_H
#define ORGAN_PRUNE_H

#include "orchestrator/surgery/trial/evaluate_options.h"
#include "orchestrator/surgery/output/write_options.h"

ORGAN_API_BEGIN

#define ORGAN_PRUNE_BLOCK_SIZES        16, 4096
#define ORGAN_PRUNE_ITERATIONS         1, 100000
#define ORGAN_PRUNE_BETAS              0, 64 /* 0 itself is not allowed */
#define ORGAN_PRUNE_COUPLINGS          0, 8
#define ORGAN_PRUNE_PERCENTS           0, 100 /* neither 0 nor 100 is allowed */
#define ORGAN_PRUNE_BLOCK_SIZE_DEFAULT 256
#define ORGAN_PRUNE_ITERATIONS_DEFAULT 30

typedef struct organ_prune_options {
    const char *donor;
    unsigned block_size; /* within ORGAN_PRUNE_BLOCK_SIZES */
    unsigned iterations; /* within ORGAN_PRUNE_ITERATIONS */
    double beta;         /* > 0, <= 64; default 2 */
    double coupling;     /* 0 .. 8; default 1 */
    double sparsity;     /* in percent of a tensor's elements, 0 < S < 100; negative: whatever the flow decides */
    const char *targets; /* comma-separated globs on tensor names; NULL: the projections of the anatomy table */
    organ_write_options write;
} organ_prune_options;

/* Prunes. The output is a directory, or one file with its reports next to it if its name ends in .gguf or .safetensors:
 * then the donor must be one such file. *report is the content of prune.json (schema organ.prune/1); the caller
 * releases it; NULL on error. With dry_run nothing is written and the report tells what would be done. Errors:
 * ORGAN_USAGE (options, output exists), ORGAN_BAD_INPUT (donor malformed or changed; nothing is left), ORGAN_IO,
 * ORGAN_INTERRUPTED (the unfinished output is kept and can be resumed). With `evaluate` also those of organ_perplexity:
 * before anything is written where they can be known; an output that is whole stays, *report is set and says why it was
 * not scored. */
organ_status organ_prune(const organ_prune_options *options, const organ_engine *engine, const organ_progress *progress,
                         json_t **report, organ_error *error);

ORGAN_API_END

#endif
