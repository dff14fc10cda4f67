/* SPDX-License-Identifier: MIT
 * What the parts of a pruning share, also one by the methods of surgery/calibrated: prune.c runs it, flow.c works on
 * tiles and searches gains, document.c tells of it. */
#ifndef ORGAN_PRUNE_JOB_H
#define ORGAN_PRUNE_JOB_H

#include "orchestrator/surgery/output/cuts.h"
#include "orchestrator/surgery/facts/tally.h"
#include "orchestrator/surgery/output/targets.h"
#include "orchestrator/surgery/prune/magnitudes.h"
#include "orchestrator/surgery/prune/prune.h"
#include "orchestrator/surgery/prune/tile_map.h"
#include "orchestrator/surgery/write/write.h"

#define ORGAN_PHYSARUM_GAIN 6.0 /* g of definition physarum-v1/1 */

/* One target tensor on its way, or a stretch of one. */
typedef struct organ_prune_part {
    const organ_tensor *tensor;
    size_t target; /* which of the targets */
    double gain;   /* a float's value; 0: to be searched for */
    uint64_t tiles;
    organ_prune_counts counts;
    char xxh3[17]; /* of its bytes in the output */
    bool searched; /* the next round of the search goes through it */
    bool done;     /* its bytes are in the output */
} organ_prune_part;

/* How far a shard is: wall time between its first and its last band in this run. */
typedef struct organ_shard_clock {
    double first, last;
    uint64_t bytes;
    size_t left; /* stretches in it that are not done */
} organ_shard_clock;

typedef struct organ_prune_job organ_prune_job;

/* What a method does and tells. */
typedef struct organ_prune_kind {
    /* As in organ_write, with the job as context: calls organ_prune_begin, then prunes all stretches that are not done
     * with organ_prune_part_write and organ_prune_part_done. */
    organ_status (*fill)(void *job, organ_writing *writing, organ_error *error);
    uint64_t (*cuts)(
        const organ_prune_job *job);  /* where targets may be cut, as organ_cuts_make takes it; NULL: they are not */
    json_t *(*parameters)(void *job); /* as in organ_write, */
    json_t *(*identity)(void *job);   /* and this, which may be NULL */
    /* What other methods than physarum v1 have to say instead, of the document and of a line, and what they must know
     * of a part that is done from its line; NULL: nothing. -1 without memory. */
    int (*amend)(const organ_prune_job *job, json_t *document);
    int (*amend_line)(const organ_prune_job *job, const organ_prune_part *part, json_t *line);
    void (*recall)(organ_prune_job *job, const organ_prune_part *part, const json_t *line);
} organ_prune_kind;

struct organ_prune_job {
    const organ_prune_kind *kind;
    char definition[32]; /* "physarum-v1/1" */
    const organ_prune_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_model *donor;
    organ_targets targets;
    organ_prune_part *parts; /* one per target, in file order: what is known of all of it, once all is written */
    organ_cuts cuts;         /* of the targets, */
    organ_prune_part *units; /* and one per stretch: what is worked on, unit k of the run; their results are in the
                                parts in the end */
    bool along;              /* a text */
    bool divides;            /* one budget is divided over the targets, */
    const double *shares;    /* and this is it once it was: percent of zeros, one for each */
    organ_file_list others;  /* files that go along */
    time_t started_at;
    organ_shard_clock *clocks; /* one per file of the donor */
    uint64_t pruned_bytes;     /* in this run */
    json_t *tile_map;          /* once the output is whole; NULL: none */
    organ_magnitudes *sizes;   /* counted as parts are written, */
    json_t *magnitudes;        /* and told of once the output is whole */
    json_t *checks;            /* the same: "integrity" of the document */
    char fingerprint[17];      /* of the donor */
    bool *seen_before;         /* of each target: an earlier run has written some of it */
    organ_writing *run;        /* while parts are pruned */
    organ_plan plan;           /* of a dry run: the work beside reading and writing */
};

/* Opens the donor and chooses the targets; job->options is set. To be closed whatever it returns. */
organ_status organ_prune_job_open(organ_prune_job *job, organ_error *error);
void organ_prune_job_close(organ_prune_job *job);

/* Of physarum v1: whether its options hold and this CPU can do it. ORGAN_USAGE. */
organ_status organ_prune_check_options(const organ_prune_options *options, organ_error *error);
/* Of physarum v1: adds its memory and work to job->plan. */
organ_status organ_prune_foresee(organ_prune_job *job, organ_error *error);
/* First call of a kind's `fill`: learns which stretches an earlier run or another rank makes. */
void organ_prune_begin(organ_prune_job *job, organ_writing *writing);

/* For `fill` of physarum v1: finds gains if a sparsity is asked for, and prunes. */
organ_status organ_prune_parts(organ_prune_job *job, organ_error *error);

/* Prunes the open job's donor into its output, or tells what would be pruned. Errors as of organ_write_run. */
organ_status organ_prune_run(organ_prune_job *job, json_t **report, organ_error *error);

/* Writes bytes [at, at + bytes) of one of the units, one behind the other. */
organ_status organ_prune_part_write(organ_prune_job *job, organ_prune_part *unit, const void *data, size_t bytes,
                                    uint64_t at, organ_error *error);
/* All of it was written and its counts are final: writes the journal and says so, and after the last unit of a shard
 * how many weights are killed so far. */
organ_status organ_prune_part_done(organ_prune_job *job, organ_prune_part *unit, organ_error *error);

/* The flow over units: items[k] of the pass is parts[k]. */
typedef struct organ_prune_flow {
    const organ_kernels *kernels;
    organ_physarum_params params; /* all but the gain */
    organ_prune_part **parts;
} organ_prune_flow;

/* A pass of tiles over those units of the job that are wanted; the caller sets context and retire. `flow` and
 * `pass->items` are to be freed by organ_prune_pass_free. The result of a tile is organ_prune_counts. */
organ_status organ_prune_pass_make(const organ_prune_job *job, bool (*wanted)(const organ_prune_part *part),
                                   organ_prune_flow *flow, organ_pass *pass, organ_error *error);
void organ_prune_pass_free(organ_prune_flow *flow, organ_pass *pass);

/* For organ_pass.work, called by one whose context begins with an organ_prune_flow. */
void organ_prune_tile(void *flow, const organ_tile *tile, void *scratch, void *result);

/* Adds the results of a band to its part. ORGAN_BAD_INPUT if there are weights that are not finite. */
organ_status organ_prune_fold(const organ_prune_job *job, organ_prune_part *part, const organ_band *band,
                              organ_error *error);

/* Where the search for one tensor's gain stands. */
typedef struct organ_gain_search {
    double gain;             /* to try next */
    double low, low_rate;    /* kills too much; 0: none yet */
    double high, high_rate;  /* kills too little; 0: none yet */
    double best, best_error; /* nearest so far */
    unsigned rounds;
} organ_gain_search;

/* Takes the percentage that `search->gain` killed. true: search->best is the answer; false: search->gain is the next to
 * try. Uses nothing but IEEE operations, so that every machine tries the same gains. */
bool organ_gain_step(organ_gain_search *search, double killed_percent, double wanted_percent);

/* Finds the gain of every target that has none yet (--sparsity) by passes over the donor that write nothing. Ranks find
 * together those of targets that are cut. */
organ_status organ_prune_search_gains(organ_prune_job *job, organ_error *error);

/* Opens the finished copy by `path` and holds it against the donor: job->checks; an error if one of the checks does not
 * hold. Then counts anew, in both, where in one tensor the killed weights lie, and in what an earlier run wrote how
 * large they were: job->tile_map, job->magnitudes. */
organ_status organ_prune_check_copy(organ_prune_job *job, const char *path, organ_error *error);

/* The counts of all parts, for the caller to free; NULL without memory. */
organ_tally *organ_prune_tally(const organ_prune_job *job);

/* The content of prune.json, and what it says once it has an evaluation: both for organ_write. */
json_t *organ_prune_document(void *job, const organ_writing *made);
int organ_prune_settle(void *job, json_t *document);

/* A line of prune.jsonl and of the journal. NULL without memory. */
json_t *organ_prune_line(const organ_prune_job *job, const organ_prune_part *part);

/* The parameters of the run: part of prune.json, and what a resumed run must agree with. */
json_t *organ_prune_parameters(void *job);

#endif
