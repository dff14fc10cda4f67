/* SPDX-License-Identifier: MIT
 * Interface between surgery/prune and pruning methods of other rooms (surgery/calibrated). A method embeds an
 * organ_prune_job as its first member, describes itself by an organ_prune_kind, and calls the functions below, which
 * open the job, write its targets and run it. */
#ifndef ORGAN_PRUNE_METHOD_H
#define ORGAN_PRUNE_METHOD_H

#include "orchestrator/surgery/output/output.h"
#include "orchestrator/surgery/inputs/inputs.h"
#include <organ/prune.h>
#include "orchestrator/surgery/prune/tile_map.h" /* memory that the check of an output needs */
#include "orchestrator/surgery/write/write.h"

/* A target tensor, or a unit: a range of the rows of a target, which may be the whole target. */
typedef struct organ_prune_part {
    const organ_tensor *tensor; /* the target, or the unit as a tensor */
    size_t target;              /* index into organ_prune_job.targets */
    double gain;                /* gain of physarum v1, an FP32 value; 0: not searched yet */
    uint64_t tiles;             /* number of its tiles, which the flow of physarum v1 prunes individually */
    organ_prune_counts counts;  /* numbers of its weights by class */
    char xxh3[17];              /* XXH3 of its bytes in the output, 16 hexadecimal digits; "" for a unit that is not a
                                 * whole target */
    bool searched;              /* the next round of the search for gains reads this unit */
    bool told;                  /* the progress has reported the unit, or another run or rank made it */
    bool done;                  /* this rank need not make the unit (organ_write_done); of a target: all its units */
} organ_prune_part;

typedef struct organ_prune_job organ_prune_job;
typedef struct organ_prune_state organ_prune_state; /* private to surgery/prune: prune_job.h */

/* A pruning method. Its callbacks get the organ_prune_job, as the first member of the method's own job. */
typedef struct organ_prune_kind {
    /* Implements organ_write.fill: calls organ_prune_begin, then prunes the units that are not done, and writes each
     * with organ_prune_part_write and organ_prune_part_done. */
    organ_status (*fill)(void *job, organ_writing *writing, organ_error *error);
    /* Removes targets that the method cannot prune from job->targets. Called only without --targets. NULL: the method
     * prunes all. */
    organ_status (*narrow)(organ_prune_job *job, organ_error *error);
    /* Returns where targets may be cut into units: the argument `rows` of organ_cuts_make. NULL: targets are not cut.
     */
    uint64_t (*cuts)(const organ_prune_job *job);
    json_t *(*parameters)(void *job); /* as in organ_write */
    json_t *(*identity)(void *job);   /* as in organ_write; may be NULL */
    /* finish_document adds members to the report, finish_line to the line of a unit in the journal or of a target in
     * prune.jsonl. Both return -1 if memory runs out. NULL: nothing is added. */
    int (*finish_document)(const organ_prune_job *job, json_t *document);
    int (*finish_line)(const organ_prune_job *job, const organ_prune_part *part, json_t *line);
    /* Restores from the journal line of a finished unit the members that finish_line added. NULL: nothing to
     * restore. */
    void (*recall)(organ_prune_job *job, const organ_prune_part *part, const json_t *line);
} organ_prune_kind;

/* A pruning of a model by a method. */
struct organ_prune_job {
    /* set by the method before organ_prune_job_open */
    const organ_prune_kind *kind;
    char definition[32]; /* name and version of the method for reports: "physarum-v1/1" */
    const organ_prune_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    bool calib;           /* the calibration walk assigns the units to ranks: value of organ_unit.calib for all units */
    bool divides;         /* one sparsity for the whole model is divided among the targets (--allocate) */
    const double *shares; /* with `divides`: percent of zeros of each target; NULL before they are computed */
    organ_plan plan;      /* predicted work of a dry run, in addition to reading the donor and writing the output */
    /* set by organ_prune_job_open */
    organ_model *donor;
    organ_targets targets;
    char fingerprint[17];     /* fingerprint of the donor */
    organ_cuts cuts;          /* the units as row ranges of the targets */
    organ_prune_part *units;  /* units[k] is row range k of `cuts` and unit k of organ_write_run; freed, and NULL, once
                               * all are written */
    organ_prune_part *parts;  /* one for each target; its counts, once all units are written, are sums over its units */
    organ_prune_state *state; /* owned by surgery/prune */
    /* set by organ_prune_begin */
    organ_writing *run; /* the output that organ_write_run writes */
};

/* Opens the donor, chooses the targets and cuts them into units. The caller closes the job also after an error. Returns
 * ORGAN_USAGE if no tensor is a target, ORGAN_BAD_INPUT if the donor is malformed or cannot be pruned, ORGAN_IO if
 * reading or memory fails. */
organ_status organ_prune_job_open(organ_prune_job *job, organ_error *error);
void organ_prune_job_close(organ_prune_job *job);

/* Prunes the donor of an open job into its output, or in a dry run reports what would be pruned. *report and errors as
 * in organ_write_run. */
organ_status organ_prune_run(organ_prune_job *job, json_t **report, organ_error *error);

/* Sets `done` of the units that an interrupted run has completed or another rank makes. `fill` must call it first. */
void organ_prune_begin(organ_prune_job *job, organ_writing *writing);

/* Counts the magnitudes (magnitudes.h) of bytes [at, at + bytes) of a unit. Every byte of a unit that
 * organ_prune_part_write writes must be counted once, in any order; any number of threads may call it at the same time.
 * Returns the errors of organ_magnitudes_add. */
organ_status organ_prune_part_count(organ_prune_job *job, const organ_prune_part *unit, const void *data, size_t bytes,
                                    uint64_t at, organ_error *error);
/* Writes bytes [at, at + bytes) of a unit into the output. Calls for one unit must be in order without gaps. Returns
 * ORGAN_IO if writing fails. */
organ_status organ_prune_part_write(organ_prune_job *job, organ_prune_part *unit, const void *data, size_t bytes,
                                    uint64_t at, organ_error *error);
/* Appends the unit's line to the journal and reports progress; call it after all bytes of the unit are written and its
 * counts are final. After the last unit of a shard it also reports how many weights were killed so far. Returns
 * ORGAN_IO if the journal cannot be written or memory runs out. */
organ_status organ_prune_part_done(organ_prune_job *job, organ_prune_part *unit, organ_error *error);

/* ---- physarum v1, which surgery/calibrated also runs with one budget for all targets ---- */

/* Checks that the options are in range, and that this CPU computes the flow with these options to the same bits as all
 * other CPUs. Returns ORGAN_USAGE if not. */
organ_status organ_prune_check_options(const organ_prune_options *options, organ_error *error);
/* Adds the memory and work of physarum v1 to job->plan. Returns errors of memory. */
organ_status organ_prune_estimate(organ_prune_job *job, organ_error *error);
/* Finds the gains if a sparsity was requested, then prunes all units that this rank must make. `fill` of physarum v1
 * calls it after organ_prune_begin. */
organ_status organ_prune_parts(organ_prune_job *job, organ_error *error);
/* Implements organ_prune_kind.parameters: returns the parameters of physarum v1 that a resumed run must repeat. */
json_t *organ_prune_parameters(void *job);

#endif
