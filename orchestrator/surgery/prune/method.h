/* SPDX-License-Identifier: MIT
 * Interface between surgery/prune and methods of other rooms (surgery/calibrated): a job, which a method embeds
 * as its first member, and the functions that open it, write its targets and run it. A method is an
 * organ_prune_kind. */
#ifndef ORGAN_PRUNE_METHOD_H
#define ORGAN_PRUNE_METHOD_H

#include "orchestrator/surgery/output/output.h"
#include "orchestrator/surgery/inputs/inputs.h"
#include "orchestrator/surgery/prune/prune.h"
#include "orchestrator/surgery/prune/tile_map.h" /* memory that the check of an output needs */
#include "orchestrator/surgery/write/write.h"

/* A target tensor, or a row range of one. */
typedef struct organ_prune_part {
    const organ_tensor *tensor;
    size_t target; /* index into organ_prune_job.targets */
    double gain;   /* of physarum v1, a float's value; 0: not searched for yet */
    uint64_t tiles;
    organ_prune_counts counts;
    char xxh3[17]; /* of its bytes in the output */
    bool searched; /* the next round of the search for gains reads it */
    bool done;     /* its bytes are in the output */
} organ_prune_part;

typedef struct organ_prune_job organ_prune_job;
typedef struct organ_prune_state organ_prune_state; /* private to surgery/prune: prune_job.h */

/* A method. Callbacks get the job. */
typedef struct organ_prune_kind {
    /* The callback `fill` of organ_write: calls organ_prune_begin, then prunes the row ranges that are not done with
     * organ_prune_part_write and organ_prune_part_done. */
    organ_status (*fill)(void *job, organ_writing *writing, organ_error *error);
    /* Removes targets that the method cannot treat from job->targets. Called only if --targets does not name them.
     * NULL: the method treats all. */
    organ_status (*narrow)(organ_prune_job *job, organ_error *error);
    /* Returns the rows at which targets may be cut, in the form of the argument `rows` of organ_cuts_make. NULL:
     * targets are not cut. */
    uint64_t (*cuts)(const organ_prune_job *job);
    json_t *(*parameters)(void *job); /* as in organ_write */
    json_t *(*identity)(void *job);   /* as in organ_write; may be NULL */
    /* Change the document, and the line of a part in the journal and in prune.jsonl. Return -1 without memory. NULL:
     * both stay as for physarum v1. */
    int (*finish_document)(const organ_prune_job *job, json_t *document);
    int (*finish_line)(const organ_prune_job *job, const organ_prune_part *part, json_t *line);
    /* Reads from the line of a finished part what finish_line has added. NULL: nothing. */
    void (*recall)(organ_prune_job *job, const organ_prune_part *part, const json_t *line);
} organ_prune_kind;

struct organ_prune_job {
    /* set by the method before organ_prune_job_open */
    const organ_prune_kind *kind;
    char definition[32]; /* "physarum-v1/1" */
    const organ_prune_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    bool calib;           /* ranks are assigned units during the calibration run: organ_unit.calib */
    bool divides;         /* one budget is divided over the targets */
    const double *shares; /* with `divides`, once it is divided: percent of zeros of each target; else NULL */
    organ_plan plan;      /* of a dry run: the work in addition to reading the donor and writing the output */
    /* set by organ_prune_job_open */
    organ_model *donor;
    organ_targets targets;
    char fingerprint[17];    /* of the donor */
    organ_cuts cuts;         /* the row ranges of the targets */
    organ_prune_part *units; /* one for each row range: unit k of the run; NULL once the output is checked */
    organ_prune_part *parts; /* one for each target, in file order; the sums of its units once the output is written */
    organ_prune_state *state;
    /* set by organ_prune_begin */
    organ_writing *run;
};

/* Opens the donor and chooses the targets. The caller closes the job whatever is returned. ORGAN_USAGE (no target),
 * ORGAN_BAD_INPUT, ORGAN_IO. */
organ_status organ_prune_job_open(organ_prune_job *job, organ_error *error);
void organ_prune_job_close(organ_prune_job *job);

/* Prunes the donor of the open job into its output, or reports what would be pruned. Errors as of organ_write_run. */
organ_status organ_prune_run(organ_prune_job *job, json_t **report, organ_error *error);

/* Reads which row ranges an earlier run has completed or another rank makes. `fill` must call it first. */
void organ_prune_begin(organ_prune_job *job, organ_writing *writing);

/* Writes bytes [at, at + bytes) of one of the units. Calls for a unit are in order, without gaps. ORGAN_IO. */
organ_status organ_prune_part_write(organ_prune_job *job, organ_prune_part *unit, const void *data, size_t bytes,
                                    uint64_t at, organ_error *error);
/* Appends the unit's line to the journal and reports progress, after all its bytes are written and its counts are
 * final. After the last unit of a shard, also reports how many weights were killed so far. ORGAN_IO. */
organ_status organ_prune_part_done(organ_prune_job *job, organ_prune_part *unit, organ_error *error);

/* Physarum v1, which surgery/calibrated also runs with one budget for all targets. */

/* Checks the options and that this CPU can run the flow. ORGAN_USAGE. */
organ_status organ_prune_check_options(const organ_prune_options *options, organ_error *error);
/* Adds the memory and work of Physarum v1 to job->plan. */
organ_status organ_prune_estimate(organ_prune_job *job, organ_error *error);
/* Finds the gains if a sparsity was requested, then prunes all units; called from `fill`. */
organ_status organ_prune_parts(organ_prune_job *job, organ_error *error);
/* Returns the parameters of Physarum v1 that a resumed run must repeat; implements `parameters`. */
json_t *organ_prune_parameters(void *job);

#endif
