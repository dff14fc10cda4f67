/* SPDX-License-Identifier: MIT
 * What the parts of the room share: layers.c is the verb, choose.c finds the blocks that go, document.c tells of it. */
#ifndef ORGAN_LAYERS_JOB_H
#define ORGAN_LAYERS_JOB_H

#include "orchestrator/surgery/along_text/along_text.h"
#include "orchestrator/surgery/cut/cut.h"
#include "orchestrator/surgery/layers/drop.h"
#include "orchestrator/surgery/layers/heal.h"
#include "orchestrator/surgery/layers/known_sets.h"
#include "orchestrator/surgery/layers/layers.h"
#include "orchestrator/surgery/layers/search.h"
#include "orchestrator/surgery/layers/sets.h"

#define ORGAN_LAYERS_DEFINITION "layers/1"
#define ORGAN_LAYERS_SCHEMA     "organ.layers/1"

/* The search for blocks on a part of a text. */
typedef struct organ_layers_choice {
    organ_along_options walk;
    organ_along_text *along;
    json_t *identity; /* of what is known */
    organ_layers_known known;
    organ_layers_sets *sets; /* NULL as long as all that is asked for is known */
    organ_layers_found found;
    size_t judged; /* sets of this run: the others were known */
    bool done;
} organ_layers_choice;

typedef struct organ_layers_job {
    organ_plan plan; /* of a dry run: the work beside reading and writing */
    const organ_layers_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_model *model;
    size_t layers; /* of the model */
    organ_layers_drop drop;
    organ_layers_choice choice;
    bool *resolved; /* a flag for each tensor of the model; NULL: nothing is healed */
    organ_layers_heal *heal;
} organ_layers_job;

/* ---- choose.c ---- */

/* Opens text and forward pass and sees that the memory is enough; reads what is known. */
organ_status organ_layers_choice_open(organ_layers_job *job, organ_error *error);
/* Adds the memory and the work of the search to job->plan. */
void organ_layers_choice_foresee(organ_layers_job *job);
/* Finds the blocks: job->drop.dropped. */
organ_status organ_layers_choice_run(organ_layers_job *job, organ_error *error);
void organ_layers_choice_close(organ_layers_job *job); /* what is told of it stays */
void organ_layers_choice_release(organ_layers_job *job);

/* ---- document.c ---- */

json_t *organ_layers_parameters(void *job);
json_t *organ_layers_document(void *job, const organ_writing *made);

#endif
