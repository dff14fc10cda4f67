/* SPDX-License-Identifier: MIT
 * State and functions shared by the files of this room: layers.c runs the verb, choose_blocks.c searches the blocks to
 * drop, layers_document.c makes the report. */
#ifndef ORGAN_LAYERS_JOB_H
#define ORGAN_LAYERS_JOB_H

#include "orchestrator/surgery/calibration/calibration_run.h"
#include "orchestrator/surgery/cut/cut.h"
#include "orchestrator/surgery/layers/drop.h"
#include "orchestrator/surgery/layers/layers_heal.h"
#include "orchestrator/surgery/layers/kinds.h"
#include "orchestrator/surgery/layers/known_sets.h"
#include <organ/cut.h>
#include "orchestrator/surgery/layers/block_search.h"
#include "orchestrator/surgery/layers/sets.h"

#define ORGAN_LAYERS_DEFINITION "layers/2"
#define ORGAN_LAYERS_SCHEMA     "organ.layers/1"

/* The search for blocks on a part of the calibration text. */
typedef struct organ_layers_choice {
    organ_calibration_run_options walk;
    organ_calibration_run *calib;
    json_t *identity;         /* model and text, as the file of --scores names them */
    organ_layers_known known; /* influences and divergences measured so far or read from the file of --scores */
    organ_layers_sets *sets;  /* measures influences and divergences; NULL until one is needed that `known` lacks */
    organ_layers_found found; /* result of the search */
    size_t judged;            /* sets judged by this run; others were in the file */
    bool done;                /* the search is complete; false in a dry run */
} organ_layers_choice;

/* State of organ layers. */
typedef struct organ_layers_job {
    organ_plan plan; /* predicted work of a dry run, in addition to reading and writing */
    const organ_layers_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_model *model;
    size_t layers;            /* number of blocks; after the text is opened, those of the forward pass */
    organ_layers_kinds kinds; /* names of the kinds of blocks, for the report */
    organ_layers_drop drop;   /* --drop, and the dropped blocks: those it names, or the result of the search */
    organ_layers_choice choice;
    bool *refitted;          /* a flag for each tensor of the model that --heal may change; NULL: no --heal */
    organ_layers_heal *heal; /* NULL: no --heal */
} organ_layers_job;

/* ---- choose_blocks.c ---- */

/* Opens the text and the forward pass of the search, checks that --memory is enough, reads the scores file, and sets
 * job->layers to the blocks of the forward pass. Returns ORGAN_USAGE if --drop leaves none of them, and the errors of
 * organ_calibration_run_open, organ_layers_sets_check and organ_layers_known_read. */
organ_status organ_layers_choice_open(organ_layers_job *job, organ_error *error);
/* Adds the memory and the work of the search to job->plan. */
void organ_layers_choice_estimate(organ_layers_job *job);
/* Searches the blocks to drop and sets their flags in job->drop.dropped. Errors are those of organ_layers_search_run
 * and organ_layers_sets_open, and ORGAN_IO if the scores file cannot be written. */
organ_status organ_layers_choice_run(organ_layers_job *job, organ_error *error);
/* Closes the text and the forward pass. The results stay until organ_layers_choice_release, which frees all of
 * job->choice. */
void organ_layers_choice_close(organ_layers_job *job);
void organ_layers_choice_release(organ_layers_job *job);

/* ---- layers_document.c ---- */

/* Callbacks of organ_write_run: return the options that determine the output, and the report of schema
 * organ.layers/1. NULL if memory runs out. */
json_t *organ_layers_parameters(void *job);
json_t *organ_layers_document(void *job, const organ_writing *made);

#endif
