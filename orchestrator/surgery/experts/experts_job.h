/* SPDX-License-Identifier: MIT
 * Private to the room: state of the verb `experts` during a run. */
#ifndef ORGAN_EXPERTS_JOB_H
#define ORGAN_EXPERTS_JOB_H

#include "orchestrator/surgery/cut/cut.h"
#include "orchestrator/surgery/experts/experts.h"
#include "orchestrator/surgery/experts/experts_heal.h"
#include "orchestrator/surgery/experts/measure_scores.h"

/* A removal of experts: the scores, the kept experts, and the output. */
typedef struct organ_experts_job {
    const organ_experts_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_model *model;
    organ_expert_score score;
    bool global; /* --per-layer global */
    organ_expert_scores scores;
    bool known;       /* `scores` has every layer */
    json_t *identity; /* model, text and windows that the scores belong to */
    organ_plan plan;  /* dry run: the estimated work, except reading and writing */
    json_t *needs;    /* dry run: memory that the measurement would need; NULL: no measurement is needed */
    char *unfinished; /* path of the temporary file of scores next to the output; NULL: --scores names the file */
    uint32_t keep;    /* experts to keep in each layer; with a global budget their average */
    bool uneven;      /* some layers keep another number of experts than `keep` */
    organ_cut_layer *layers;
    size_t layer_count;      /* layers of the donor */
    organ_expert_heal *heal; /* NULL: kept experts are copied unchanged */
    uint32_t *counts, *kept; /* for each scored layer: the number of kept experts, and their numbers (rows of
                              * `scores.experts` entries) */
} organ_experts_job;

/* ---- known_scores.c ---- */

/* Reads the stored scores or measures them. A dry run does not measure: `known` stays false if the file lacks
 * scores. */
organ_status organ_experts_load_scores(organ_experts_job *job, organ_error *error);
/* Opens and closes the measurement, to check that memory and text suffice for it. */
organ_status organ_experts_try(organ_experts_job *job, organ_error *error);
/* Handles the temporary file of scores after a run that ended with `status`: removes it after success and after errors
 * that --resume cannot overcome; else leaves it and notes its path. */
void organ_experts_remove_scores(const organ_experts_job *job, organ_status status);

/* ---- experts_document.c ---- */

/* Callbacks of organ_write_run: the options that determine the output, and the document. */
json_t *organ_experts_parameters(void *context);
json_t *organ_experts_document(void *context, const organ_writing *made);

#endif
