/* SPDX-License-Identifier: MIT
 * Private to surgery/prune: prune.c runs a job, flow.c prunes tiles and searches gains, integrity.c checks the written
 * copy, prune_document.c makes the report. */
#ifndef ORGAN_PRUNE_JOB_H
#define ORGAN_PRUNE_JOB_H

#include "orchestrator/surgery/facts/facts.h"
#include "orchestrator/surgery/prune/magnitudes.h"
#include "orchestrator/surgery/prune/method.h"

#define ORGAN_PHYSARUM_GAIN 6.0 /* g of definition physarum-v1/1 */

/* Progress of a shard: wall time of its first and its last band in this run. */
typedef struct organ_shard_clock {
    double first, last;
    uint64_t bytes;
    size_t units_left; /* row ranges in it that are not done */
} organ_shard_clock;

struct organ_prune_state {
    time_t started_at;
    organ_file_list others;    /* files of the donor that are copied */
    organ_shard_clock *clocks; /* one for each file of the donor */
    bool *found_before;        /* for each target: an earlier run has written a part of it */
    uint64_t pruned_bytes;     /* in this run */
    organ_magnitudes *sizes;   /* histogram of killed weights, counted as parts are written */
    /* parts of the document, set after the output was checked; NULL before */
    json_t *tile_map;
    json_t *magnitudes;
    json_t *checks; /* "integrity" */
};

/* The flow over units: items[k] of the pass belongs to parts[k]. */
typedef struct organ_prune_flow {
    const organ_kernels *kernels;
    organ_physarum_params params; /* all but the gain */
    organ_prune_part **parts;
} organ_prune_flow;

/* Prepares a pass over the tiles of the units that `is_selected` selects; the caller sets context and retire. Free
 * `flow` and `pass->items` with organ_prune_pass_free. The result of a tile is organ_prune_counts. */
organ_status organ_prune_pass_make(const organ_prune_job *job, bool (*is_selected)(const organ_prune_part *part),
                                   organ_prune_flow *flow, organ_pass *pass, organ_error *error);
void organ_prune_pass_free(organ_prune_flow *flow, organ_pass *pass);

/* Implements organ_pass.work for contexts that begin with an organ_prune_flow. */
void organ_prune_tile(void *flow, const organ_tile *tile, void *scratch, void *result);

/* Adds the results of a band to its part. Returns ORGAN_BAD_INPUT if weights are not finite. */
organ_status organ_prune_fold(const organ_prune_job *job, organ_prune_part *part, const organ_band *band,
                              organ_error *error);

/* Finds the gain of every target that has none yet (--sparsity) by passes over the donor that write nothing. Ranks
 * search together for the gains of targets that are cut. */
organ_status organ_prune_search_gains(organ_prune_job *job, organ_error *error);

/* Opens the finished copy at `path` and compares it with the donor into state->checks; returns an error if a check
 * fails. Then recounts from both models the map of killed weights of one tensor (state->tile_map) and the magnitudes
 * of weights that an earlier run killed (state->magnitudes). */
organ_status organ_prune_check_copy(organ_prune_job *job, const char *path, organ_error *error);

/* Returns the counts of all parts, for the caller to free; NULL if out of memory. */
organ_tally *organ_prune_tally(const organ_prune_job *job);

/* Implement `document` and `finish_report` of organ_write: return the content of prune.json without, and with, an
 * evaluation. */
json_t *organ_prune_document(void *job, const organ_writing *made);
int organ_prune_finish_report(void *job, json_t *document);

/* Returns a line of prune.jsonl and of the journal. NULL if out of memory. */
json_t *organ_prune_line(const organ_prune_job *job, const organ_prune_part *part);

#endif
