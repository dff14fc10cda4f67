/* SPDX-License-Identifier: MIT
 * Rewrites an adapter with one rank and scale 1 for all modules; used by sanitize and resize. */
#ifndef ORGAN_LORA_REWRITE_H
#define ORGAN_LORA_REWRITE_H

#include "orchestrator/ranks/ranks.h"
#include "orchestrator/stream/pass.h"
#include "orchestrator/stream/progress.h"
#include "orchestrator/surgery/lora/adapter_write.h"
#include "orchestrator/surgery/output/output.h"
#include "orchestrator/surgery/lora/factors.h"

/* One pair that is kept. */
typedef struct organ_lora_row {
    const organ_adapter_pair *pair;
    organ_dtype dtype; /* type to write: the wider one of A and B, F32 for F64 */
    /* Set by the survey and by writing: */
    organ_lora_factors factors; /* while they are in memory */
    float *sigma;               /* singular values of a decomposed pair, sigma_count of them; else NULL */
    uint64_t rank;              /* rank without the zero padding. Members from here on contain no pointers */
    double norm;                /* ||scale B A|| */
    double residual;            /* || scale B A - its kept part || / ||scale B A||; 0 if the rank was not cut */
    double folding_error;       /* || B as written - B || / ||B||: rounding error of the folded scale */
    size_t sigma_count;
} organ_lora_row;

typedef struct organ_lora_rewrite {
    const organ_adapter *adapter;
    const organ_engine *engine;
    const organ_progress *progress;
    const char *stage; /* "sanitizing" */
    organ_lora_row *rows;
    size_t count;
    organ_assignment assignment; /* assignment of rows to ranks; set by the survey */
    uint64_t max;                /* largest rank: larger ones are cut to their best approximation */
    double energy;               /* above 0: the smallest rank that keeps this share of ||scale B A||^2 */
    uint64_t rank;               /* result: the common rank of all modules */
    organ_output made;           /* output of organ_lora_write, with its times */
    uint64_t bytes;              /* bytes of the tensors in that output */
} organ_lora_rewrite;

organ_lora_row organ_lora_row_of(const organ_adapter_pair *pair);

/* Reads all factors once and computes norms and resulting ranks; each rank reads its share. Returns ORGAN_BAD_INPUT
 * for values that are not finite, ORGAN_INTERRUPTED. */
organ_status organ_lora_survey(organ_lora_rewrite *rewrite, organ_error *error);

/* Output of the rewritten rows. */
typedef struct organ_lora_output {
    const char *path;
    bool force;
    const json_t *config;
    const organ_tensor *const *rest; /* tensors that are copied unchanged */
    size_t rest_count;
    organ_report_files files;
    void *context;
    json_t *(*document)(const void *context); /* returns the report; NULL if out of memory */
} organ_lora_output;

/* Writes the adapter after a survey: all rows and `rest`, wide types first, the other files of the old adapter, and the
 * report. Returns an error if the old adapter has changed since it was opened. */
organ_status organ_lora_write(organ_lora_rewrite *rewrite, const organ_lora_output *output, json_t **report,
                              organ_error *error);

/* Returns a copy of the adapter's config in which r and lora_alpha are `rank` and no other scale remains. NULL if out
 * of memory. */
json_t *organ_lora_folded_config(const organ_adapter *adapter, uint64_t rank);

/* Returns for each row {"module", "role", "layer", "rank_before", "rank", "scale", "norm", "residual", "explained",
 * "folding_error", "dtype", "sigma"}. */
json_t *organ_lora_rows_json(const organ_lora_rewrite *rewrite);

void organ_lora_rewrite_release(organ_lora_rewrite *rewrite); /* frees the rows too */

#endif
