/* SPDX-License-Identifier: MIT
 * Private to the room: state of the verb `experts` during a run. */
#ifndef ORGAN_EXPERTS_JOB_H
#define ORGAN_EXPERTS_JOB_H

#include "orchestrator/surgery/cut/cut.h"
#include <organ/cut.h>
#include "orchestrator/surgery/experts/experts_heal.h"
#include "orchestrator/surgery/experts/measure_scores.h"

/* A run of the verb `experts`. */
typedef struct organ_experts_job {
    const organ_experts_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_model *model;
    organ_expert_score score; /* the score by which experts are chosen */
    bool global;              /* --per-layer global: the scores decide how many experts each layer keeps */
    organ_expert_scores scores;
    bool known;       /* `scores` has every layer */
    json_t *identity; /* model, text and windows that the scores belong to (scores.h); without --calibration only the
                       * model */
    organ_plan plan;  /* dry run: the estimated work, except reading and writing */
    json_t *needs;    /* dry run: memory that the measurement would need; NULL: no measurement is needed */
    char *unfinished; /* path of the temporary file of scores that --resume continues, next to the output; NULL: the
                       * scores are in the file of --scores */
    uint32_t keep;    /* experts to keep in each layer; with a global budget their average */
    bool uneven;      /* some layers keep another number of experts than `keep` */
    organ_cut_layer *layers; /* for each layer of the donor, what the output keeps of it */
    size_t layer_count;      /* layers of the donor, including those for multi-token prediction */
    organ_expert_heal *heal; /* NULL: kept experts are copied unchanged */
    uint32_t *counts;        /* for each layer in `scores`, how many experts it keeps */
    uint32_t *kept; /* for each layer in `scores`, the numbers of its kept experts: `scores.experts` entries each, of
                     * which the first counts[layer] are used */
} organ_experts_job;

/* ---- known_scores.c ---- */

/* Fills job->scores: reads the file of scores and, if there is a calibration text, measures the layers that the file
 * lacks. Sets job->known. A dry run does not measure: job->known stays false if the file lacks layers, and job->needs
 * and job->plan describe the measurement. Returns ORGAN_USAGE if the file lacks layers and there is no text, and the
 * errors of organ_expert_scores_read, organ_expert_measure_open and organ_expert_measure_run. */
organ_status organ_experts_load_scores(organ_experts_job *job, organ_error *error);
/* Opens the measurement and closes it again. Returns the error if memory or text do not suffice for it. */
organ_status organ_experts_try(organ_experts_job *job, organ_error *error);
/* Handles the temporary file of scores after a run that ended with `status`. After ORGAN_INTERRUPTED, ORGAN_IO and
 * ORGAN_USAGE leaves the file for --resume, and prints a note with its path if the file exists. Prints no note after an
 * ORGAN_USAGE that occurred before all scores were known. Removes the file after success and after other errors. Does
 * nothing in a dry run, with --scores, or on ranks other than the first. */
void organ_experts_remove_scores(const organ_experts_job *job, organ_status status);

/* ---- experts_document.c ---- */

/* Callbacks of organ_write_run; `context` is the job. organ_experts_parameters returns the options that determine the
 * output, organ_experts_document the document of schema organ.experts/1. */
json_t *organ_experts_parameters(void *context);
json_t *organ_experts_document(void *context, const organ_writing *made);

#endif
