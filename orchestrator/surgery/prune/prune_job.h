/* SPDX-License-Identifier: MIT
 * Private to surgery/prune: prune.c runs a job, flow.c prunes tiles and searches gains, integrity.c checks the written
 * copy, prune_document.c makes the report. */
#ifndef ORGAN_PRUNE_JOB_H
#define ORGAN_PRUNE_JOB_H

#include "orchestrator/surgery/facts/facts.h"
#include "orchestrator/surgery/prune/magnitudes.h"
#include "orchestrator/surgery/prune/method.h"

#define ORGAN_PHYSARUM_GAIN 6.0 /* gain of definition physarum-v1/1: used without --sparsity, first try with it */

/* Progress of a shard (file of the donor) in this run. */
typedef struct organ_shard_clock {
    double first, last; /* organ_seconds_now() when its first band began and when its last band so far was written */
    uint64_t bytes;     /* bytes pruned in it */
    size_t units_left;  /* units in the shard that are not done */
} organ_shard_clock;

/* The part of a job that only surgery/prune uses. */
struct organ_prune_state {
    time_t started_at;
    organ_file_list others;    /* files of the donor other than its shards, which are copied */
    organ_shard_clock *clocks; /* one for each file of the donor */
    bool *found_before;        /* for each target: an interrupted run or another rank has written a unit of it */
    uint64_t pruned_bytes;     /* bytes that this rank has pruned in this run */
    organ_magnitudes *sizes;   /* histogram of magnitudes, counted while units are written */
    /* Members "tile_map", "magnitudes" and "integrity" of the report, set when the output is checked; NULL before. */
    json_t *tile_map;
    json_t *magnitudes;
    json_t *checks;
};

/* Context of a pass of the flow over units. */
typedef struct organ_prune_flow {
    const organ_kernels *kernels;
    organ_physarum_params params; /* parameters of all tiles, except the gain, which each unit has */
    organ_prune_part **parts;     /* the unit of each item of the pass */
} organ_prune_flow;

/* Fills in *flow and *pass for a pass of the flow, in tiles of block_size x block_size, over the units for which
 * `is_selected` returns true. The caller sets pass->context (a struct that begins with *flow) and pass->retire, and
 * calls organ_prune_pass_release also after an error. The result of a tile is an organ_prune_counts. Returns ORGAN_IO
 * if memory cannot be allocated. */
organ_status organ_prune_pass_make(const organ_prune_job *job, bool (*is_selected)(const organ_prune_part *part),
                                   organ_prune_flow *flow, organ_pass *pass, organ_error *error);
void organ_prune_pass_release(organ_prune_flow *flow, organ_pass *pass);

/* Implements organ_pass.work for contexts that begin with an organ_prune_flow: prunes a tile in place. */
void organ_prune_tile(void *flow, const organ_tile *tile, void *scratch, void *result);

/* Adds the counts of a band's tiles, and the number of these tiles, to the band's unit `part`. Returns ORGAN_BAD_INPUT
 * if a tile has weights that are NaN or infinite. */
organ_status organ_prune_fold(const organ_prune_job *job, organ_prune_part *part, const organ_band *band,
                              organ_error *error);

/* Finds the gain of every target that has none yet, by passes over the donor that write nothing, and copies it to the
 * units of the target. Ranks search together for the gains of targets that are cut into several units. */
organ_status organ_prune_search_gains(organ_prune_job *job, organ_error *error);

/* Opens the finished output at `path` and compares it with the donor; the results are in state->checks. Returns
 * ORGAN_IO if a check fails. Then computes state->tile_map and state->magnitudes from both models. */
organ_status organ_prune_check_copy(organ_prune_job *job, const char *path, organ_error *error);

/* Returns an array with the counts of each target (job->parts). The caller frees it with organ_rows_free; NULL if out
 * of memory. */
organ_tally *organ_prune_tally(const organ_prune_job *job);

/* Implement organ_write.document and organ_write.finish_report. organ_prune_document returns the members of prune.json,
 * or NULL if memory runs out. organ_prune_finish_report completes them after an evaluation; it returns -1 if memory
 * runs out.
 */
json_t *organ_prune_document(void *job, const organ_writing *made);
int organ_prune_finish_report(void *job, json_t *document);

/* Returns the line of a target in prune.jsonl, or of a unit in the journal. NULL if out of memory. */
json_t *organ_prune_line(const organ_prune_job *job, const organ_prune_part *part);

#endif
