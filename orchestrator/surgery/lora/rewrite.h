/* SPDX-License-Identifier: MIT
 * An adapter written anew with one rank and the scale 1 for all modules: what sanitize and resize have in common. */
#ifndef ORGAN_LORA_REWRITE_H
#define ORGAN_LORA_REWRITE_H

#include "orchestrator/ranks/ranks.h"
#include "orchestrator/stream/pass.h"
#include "orchestrator/stream/progress.h"
#include "orchestrator/surgery/lora/adapter_write.h"
#include "orchestrator/surgery/output/output_reports.h"
#include "orchestrator/surgery/lora/factors.h"

/* One pair that is kept. */
typedef struct organ_lora_row {
    const organ_adapter_pair *pair;
    organ_dtype dtype; /* that is written: the wider one of A and B, F32 for F64 */
    /* Set by the rewriting: */
    organ_lora_factors factors; /* while it is kept in memory */
    float *sigma;               /* of a pair that was decomposed, sigma_count of them; else NULL */
    uint64_t rank;        /* that carries something; zeros fill up to the rank of all. From here on numbers alone */
    double norm;          /* ||scale B A|| */
    double residual;      /* || scale B A - what is kept of it || / ||scale B A||; 0 where nothing was cut */
    double folding_error; /* || B as written - B || / ||B||: rounding of what was folded in */
    size_t sigma_count;
} organ_lora_row;

typedef struct organ_lora_rewrite {
    const organ_adapter *adapter;
    const organ_engine *engine;
    const organ_progress *progress;
    const char *stage; /* "sanitizing" */
    organ_lora_row *rows;
    size_t count;
    organ_deal deal;   /* of the rows among the ranks; set by the survey */
    uint64_t most;     /* no rank is larger: what is gets cut to its best approximation */
    double energy;     /* above 0: the smallest rank that keeps this share of ||scale B A||^2 */
    uint64_t rank;     /* result: of all modules */
    organ_output made; /* its times, */
    uint64_t bytes;    /* and the bytes of the tensors: of what organ_lora_write made */
} organ_lora_rewrite;

organ_lora_row organ_lora_row_of(const organ_adapter_pair *pair);

/* Reads all factors once: norms, and the ranks that are left; of several processes each reads some. ORGAN_BAD_INPUT for
 * values that are not finite, ORGAN_INTERRUPTED. */
organ_status organ_lora_survey(organ_lora_rewrite *rewrite, organ_error *error);

/* What becomes of the rows. */
typedef struct organ_lora_output {
    const char *path;
    bool force;
    const json_t *config;
    const organ_tensor *const *rest; /* tensors that go along as they are */
    size_t rest_count;
    organ_report_files files;
    void *context;
    json_t *(*document)(const void *context); /* the report; NULL without memory */
} organ_lora_output;

/* After a survey: makes the adapter of all rows and `rest`, wide types first, with the files that lie beside the old
 * one and the report. The old one was not changed meanwhile. */
organ_status organ_lora_write(organ_lora_rewrite *rewrite, const organ_lora_output *output, json_t **report,
                              organ_error *error);

/* A copy of the adapter's config in which r and lora_alpha are `rank` and no other scale is left. NULL without memory.
 */
json_t *organ_lora_folded_config(const organ_adapter *adapter, uint64_t rank);

/* Of each row {"module", "role", "layer", "rank_before", "rank", "scale", "norm", "residual", "explained",
 * "folding_error", "dtype", "sigma"} */
json_t *organ_lora_rows_json(const organ_lora_rewrite *rewrite);

void organ_lora_rewrite_release(organ_lora_rewrite *rewrite); /* frees the rows too */

#endif
