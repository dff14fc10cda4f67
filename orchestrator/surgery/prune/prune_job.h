/* SPDX-License-Identifier: MIT
 * Private to surgery/prune: prune.c runs a job, flow.c prunes tiles and searches gains, integrity.c checks the written
 * copy, prune_document.c makes the report. */
#ifndef ORGAN_PRUNE_JOB_H
#define ORGAN_PRUNE_JOB_H

#include "orchestrator/surgery/facts/facts.h"
#include "orchestrator/surgery/prune/magnitudes.h"
#include "orchestrator/surgery/prune/method.h"

#define ORGAN_PHYSARUM_GAIN 6.0 /* gain of definition physarum-v1/1, used without --sparsity */

/* Progress of a shard in this run: times of its first and its last band, and bytes pruned. */
typedef struct organ_shard_clock {
    double first, last;
    uint64_t bytes;
    size_t units_left; /* units in the shard that are not done */
} organ_shard_clock;

struct organ_prune_state {
    time_t started_at;
    organ_file_list others;    /* files of the donor that are copied */
    organ_shard_clock *clocks; /* one for each file of the donor */
    bool *found_before;        /* for each target: an interrupted run or another rank has written a part of it */
    uint64_t pruned_bytes;     /* bytes that this rank has pruned in this run */
    organ_magnitudes *sizes;   /* histogram of magnitudes, counted while parts are written */
    /* Members of the document, set after the output was checked; NULL before. */
    json_t *tile_map;
    json_t *magnitudes;
    json_t *checks; /* "integrity" */
};

/* Context of a pass of the flow over units: items[k] of the pass is parts[k]. */
typedef struct organ_prune_flow {
    const organ_kernels *kernels;
    organ_physarum_params params; /* parameters of all tiles; each part has its own gain */
    organ_prune_part **parts;
} organ_prune_flow;

/* Prepares a pass of the flow, in tiles of block_size x block_size, over the units for which `is_selected` returns
 * true. The caller sets context and retire, and calls organ_prune_pass_free, also after an error. The result of a tile
 * is an organ_prune_counts. */
organ_status organ_prune_pass_make(const organ_prune_job *job, bool (*is_selected)(const organ_prune_part *part),
                                   organ_prune_flow *flow, organ_pass *pass, organ_error *error);
void organ_prune_pass_free(organ_prune_flow *flow, organ_pass *pass);

/* Implements organ_pass.work for contexts that begin with an organ_prune_flow. */
void organ_prune_tile(void *flow, const organ_tile *tile, void *scratch, void *result);

/* Adds the counts of a band's tiles to `part`. Returns ORGAN_BAD_INPUT if a tile has weights that are NaN or
 * infinite. */
organ_status organ_prune_fold(const organ_prune_job *job, organ_prune_part *part, const organ_band *band,
                              organ_error *error);

/* Finds the gain of every target that has none yet, by passes over the donor that write nothing. Ranks search together
 * for the gains of targets that are cut into row ranges. */
organ_status organ_prune_search_gains(organ_prune_job *job, organ_error *error);

/* Opens the finished copy at `path` and compares it with the donor, with the results in state->checks; returns ORGAN_IO
 * if a check fails. Then computes state->tile_map and state->magnitudes from both models. */
organ_status organ_prune_check_copy(organ_prune_job *job, const char *path, organ_error *error);

/* Returns the counts of all targets. The caller frees them with organ_rows_free; NULL if out of memory. */
organ_tally *organ_prune_tally(const organ_prune_job *job);

/* Implement organ_write.document and organ_write.finish_report: make the content of prune.json, and complete it after
 * an evaluation. The first returns NULL, the second -1 without memory. */
json_t *organ_prune_document(void *job, const organ_writing *made);
int organ_prune_finish_report(void *job, json_t *document);

/* Returns the line of a target in prune.jsonl, or of a unit in the journal. NULL if out of memory. */
json_t *organ_prune_line(const organ_prune_job *job, const organ_prune_part *part);

#endif
