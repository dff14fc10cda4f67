/* SPDX-License-Identifier: MIT
 * Private to surgery/prune: prune.c runs a job, flow.c prunes tiles and searches gains, integrity.c checks the written
 * copy, document.c makes the report. */
#ifndef ORGAN_PRUNE_JOB_H
#define ORGAN_PRUNE_JOB_H

#include "orchestrator/surgery/facts/tally.h"
#include "orchestrator/surgery/prune/magnitudes.h"
#include "orchestrator/surgery/prune/method.h"

#define ORGAN_PHYSARUM_GAIN 6.0 /* g of definition physarum-v1/1 */

/* Progress of a shard: wall time between its first and its last band in this run. */
typedef struct organ_shard_clock {
    double first, last;
    uint64_t bytes;
    size_t left; /* stretches in it that are not done */
} organ_shard_clock;

struct organ_prune_state {
    time_t started_at;
    organ_file_list others;    /* files of the donor that are copied */
    organ_shard_clock *clocks; /* one for each file of the donor */
    bool *seen_before;         /* of each target: an earlier run has written some of it */
    uint64_t pruned_bytes;     /* in this run */
    organ_magnitudes *sizes;   /* of killed weights, counted as parts are written */
    /* of the document, once the output is checked; NULL before */
    json_t *tile_map;
    json_t *magnitudes;
    json_t *checks; /* "integrity" */
};

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

/* Finds the gain of every target that has none yet (--sparsity) by passes over the donor that write nothing. Ranks
 * search together for the gains of targets that are cut. */
organ_status organ_prune_search_gains(organ_prune_job *job, organ_error *error);

/* Opens the finished copy by `path` and compares it with the donor: state->checks; an error if one of the checks fails.
 * Then counts again, in both, where in one tensor the killed weights lie, and how large those were that an earlier run
 * killed: state->tile_map, state->magnitudes. */
organ_status organ_prune_check_copy(organ_prune_job *job, const char *path, organ_error *error);

/* The counts of all parts, for the caller to free; NULL without memory. */
organ_tally *organ_prune_tally(const organ_prune_job *job);

/* `document` and `settle` of organ_write: the content of prune.json without and with an evaluation. */
json_t *organ_prune_document(void *job, const organ_writing *made);
int organ_prune_settle(void *job, json_t *document);

/* A line of prune.jsonl and of the journal. NULL without memory. */
json_t *organ_prune_line(const organ_prune_job *job, const organ_prune_part *part);

#endif
