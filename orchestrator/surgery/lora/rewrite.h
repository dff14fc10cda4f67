/* SPDX-License-Identifier: MIT
 * Rewrites an adapter so that all modules have one rank and scale 1; sanitize and resize use it. */
#ifndef ORGAN_LORA_REWRITE_H
#define ORGAN_LORA_REWRITE_H

#include "orchestrator/ranks/ranks.h"
#include "orchestrator/stream/pass.h"
#include "orchestrator/stream/progress.h"
#include "orchestrator/surgery/lora/adapter_write.h"
#include "orchestrator/surgery/output/output.h"
#include "orchestrator/surgery/lora/factors.h"

/* A pair of factors that the new adapter keeps. */
typedef struct organ_lora_row {
    const organ_adapter_pair *pair;
    organ_dtype dtype; /* type of the written factors: that of A and B if both have the same 2-byte type, else F32 */
    /* Set by organ_lora_survey and organ_lora_write: */
    organ_lora_factors factors; /* the new factors, between computing and writing them */
    float *sigma;               /* sigma_count singular values of a pair that was cut; else NULL */
    /* Rank without zero padding. Ranks exchange the members from here on, which contain no pointers. */
    uint64_t rank;
    double norm;          /* ||scale B A|| */
    double residual;      /* || scale B A - its kept part || / ||scale B A||; 0 if the rank was not cut */
    double folding_error; /* ||B as written - B|| / ||B||: rounding error of B with the scale folded in */
    size_t sigma_count;
} organ_lora_row;

typedef struct organ_lora_rewrite {
    const organ_adapter *adapter;
    const organ_engine *engine;
    const organ_progress *progress;
    const char *stage; /* label of the progress: "sanitizing" */
    organ_lora_row *rows;
    size_t count;
    organ_assignment assignment; /* which rank processes which row; set by the survey */
    uint64_t max;                /* largest rank: pairs of a larger one are cut to their best approximation */
    /* Above 0: every pair gets the smallest rank that keeps this share of ||scale B A||^2. */
    double energy;
    uint64_t rank;     /* result: the common rank of all modules */
    organ_output made; /* output of organ_lora_write, with its times */
    uint64_t bytes;    /* bytes of the tensors in that output */
} organ_lora_rewrite;

/* Returns the row of a pair before the survey. */
organ_lora_row organ_lora_row_of(const organ_adapter_pair *pair);

/* Reads all factors once and computes norms and new ranks; each rank reads its share. Returns ORGAN_BAD_INPUT if values
 * are not finite, ORGAN_IO if reading or memory fails, ORGAN_INTERRUPTED if a stop was requested. */
organ_status organ_lora_survey(organ_lora_rewrite *rewrite, organ_error *error);

/* The output of organ_lora_write. */
typedef struct organ_lora_output {
    const char *path;
    bool force;
    const json_t *config;            /* adapter_config.json */
    const organ_tensor *const *rest; /* tensors that are copied unchanged */
    size_t rest_count;
    organ_report_files files;
    void *context;
    json_t *(*document)(const void *context); /* returns the report; NULL if out of memory */
} organ_lora_output;

/* Writes the adapter after organ_lora_survey: the factors of all rows and the tensors `rest` (wide types first), the
 * other files of the old adapter, and the report. Sets *report to the report. Returns an error if the old adapter has
 * changed since it was opened. */
organ_status organ_lora_write(organ_lora_rewrite *rewrite, const organ_lora_output *output, json_t **report,
                              organ_error *error);

/* Returns a copy of the adapter's config in which r and lora_alpha are `rank` and no other scale remains. NULL if out
 * of memory. */
json_t *organ_lora_folded_config(const organ_adapter *adapter, uint64_t rank);

/* Returns an array with {"module", "role", "layer", "rank_before", "rank", "scale", "norm", "residual", "explained",
 * "folding_error", "dtype", "sigma"} for each row. NULL without memory. */
json_t *organ_lora_rows_json(const organ_lora_rewrite *rewrite);

void organ_lora_rewrite_release(organ_lora_rewrite *rewrite); /* frees the rows too */

#endif
