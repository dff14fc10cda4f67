/* SPDX-License-Identifier: MIT
 * Inside of experts.h: the verb while it works. */
#ifndef ORGAN_EXPERTS_JOB_H
#define ORGAN_EXPERTS_JOB_H

#include "orchestrator/surgery/cut/cut.h"
#include "orchestrator/surgery/experts/experts.h"
#include "orchestrator/surgery/experts/heal.h"
#include "orchestrator/surgery/experts/measure.h"

typedef struct organ_experts_job {
    const organ_experts_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_model *model;
    organ_expert_score score;
    bool global;
    organ_expert_scores scores;
    bool known;       /* the scores of all layers are */
    json_t *identity; /* what they belong to */
    organ_plan plan;  /* of a dry run: the work beside reading and writing */
    json_t *needs;    /* of a dry run, what the measurement would take; NULL: there is none */
    char *unfinished; /* beside the output, what is measured until that has it; NULL: --scores has */
    uint32_t keep;    /* experts of each layer, or on the average of them */
    bool uneven;      /* layers would keep other numbers than that */
    organ_cut_layer *layers;
    size_t layer_count;
    organ_expert_heal *heal; /* NULL: what stays is as it was */
    uint32_t *counts, *kept; /* kept experts of each layer that has scores, and which: a row of all for each */
} organ_experts_job;

/* ---- known_scores.c ---- */

/* Reads the scores or measures them; in a dry run what is not known stays so. */
organ_status organ_experts_know(organ_experts_job *job, organ_error *error);
/* Opens what measures and closes it again: whether memory and text are enough. */
organ_status organ_experts_try(organ_experts_job *job, organ_error *error);
/* After the run, which has ended so: what lies beside the output goes where that is whole, and where no run could go on
 * with it. */
void organ_experts_forget(const organ_experts_job *job, organ_status status);

/* ---- experts_document.c ---- */

json_t *organ_experts_parameters(void *context);
json_t *organ_experts_document(void *context, const organ_writing *made);

#endif
