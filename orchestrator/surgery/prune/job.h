/* SPDX-License-Identifier: MIT
 * What the parts of a pruning share: prune.c runs it, flow.c works on tiles and searches gains, document.c tells of it. */
#ifndef ORGAN_PRUNE_JOB_H
#define ORGAN_PRUNE_JOB_H

#include "orchestrator/stream/model_copy.h"
#include "orchestrator/surgery/output/tally.h"
#include "orchestrator/surgery/output/targets.h"
#include "orchestrator/surgery/prune/prune.h"
#include "orchestrator/surgery/trial/evaluation.h"

#define ORGAN_PHYSARUM_GAIN 6.0 /* g of definition physarum-v1/1 */

/* One target tensor on its way. */
typedef struct organ_prune_part {
    const organ_tensor *tensor;
    double gain;   /* a float's value; 0: to be searched for */
    bool searched; /* the search is on */
    bool done;     /* its bytes are in the output */
    uint64_t tiles;
    organ_prune_counts counts;
    char xxh3[17]; /* of its bytes in the output */
} organ_prune_part;

/* How far a shard is: wall time between its first and its last band in this run. */
typedef struct organ_shard_clock {
    double first, last;
    uint64_t bytes;
    size_t left; /* targets in it that are not done */
} organ_shard_clock;

typedef struct organ_prune_job organ_prune_job;
struct organ_prune_job {
    const organ_prune_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_model *donor;
    organ_targets targets;
    organ_prune_part *parts; /* one per target, in file order */
    organ_file_list others;  /* files that go along */
    bool resumed;
    double seconds; /* that the run took */
    time_t started_at;
    organ_shard_clock *clocks; /* one per file of the donor */
    uint64_t pruned_bytes;     /* in this run */
    json_t *tile_map;          /* once the output is whole; NULL: none */
    json_t *magnitudes;        /* the same: see organ_magnitudes */
    organ_evaluation evaluation;
    char fingerprint[17]; /* of the donor */
    /* What another method than physarum v1 has to say instead, of the document and of a line; NULL: nothing. -1 without memory. */
    int (*amend)(const organ_prune_job *job, json_t *document);
    int (*amend_line)(const organ_prune_job *job, const organ_prune_part *part, json_t *line);
};

/* Opens the donor and chooses the targets; job->options is set. To be closed whatever it returns. */
organ_status organ_prune_job_open(organ_prune_job *job, organ_error *error);
void organ_prune_job_close(organ_prune_job *job);

/* The part's bytes are in the output and its counts are final: says so, and after the last part of a shard how many weights are killed so
 * far. */
void organ_prune_part_done(organ_prune_job *job, organ_prune_part *part);

/* Tells one who has written a fraction that a sparsity is in percent. */
void organ_prune_note_percent(const organ_prune_options *options, const organ_progress *progress);

/* Says what is to be evaluated and sees that it can be. Called before the output is begun. */
organ_status organ_prune_prepare_evaluation(organ_prune_job *job, organ_error *error);

/* Checks the finished copy, evaluates it if that is asked for, and writes prune.jsonl, prune.json, REPORT.md and REPORT.html; *report is
 * the content of prune.json. */
organ_status organ_prune_write_reports(organ_prune_job *job, const organ_publish *publish, double started, json_t **report,
                                       organ_error *error);

/* The flow over parts: items[k] of the pass is parts[k]. */
typedef struct organ_prune_flow {
    const organ_kernels *kernels;
    organ_physarum_params params; /* all but the gain */
    organ_prune_part **parts;
} organ_prune_flow;

/* A pass of tiles over those parts of the job that are not done; the caller sets context and retire. `flow` and `pass->items` are to be
 * freed by organ_prune_pass_free. The result of a tile is organ_prune_counts. */
organ_status organ_prune_pass_make(const organ_prune_job *job, bool (*wanted)(const organ_prune_part *part), organ_prune_flow *flow,
                                   organ_pass *pass, organ_error *error);
void organ_prune_pass_free(organ_prune_flow *flow, organ_pass *pass);

/* For organ_pass.work, called by one whose context begins with an organ_prune_flow. */
void organ_prune_tile(void *flow, const organ_tile *tile, void *scratch, void *result);

/* Adds the results of a band to its part. ORGAN_BAD_INPUT if there are weights that are not finite. */
organ_status organ_prune_fold(const organ_prune_job *job, organ_prune_part *part, const organ_band *band, organ_error *error);

/* Where the search for one tensor's gain stands. */
typedef struct organ_gain_search {
    double gain;             /* to try next */
    double low, low_rate;    /* kills too much; 0: none yet */
    double high, high_rate;  /* kills too little; 0: none yet */
    double best, best_error; /* nearest so far */
    unsigned rounds;
} organ_gain_search;

/* Takes the percentage that `search->gain` killed. true: search->best is the answer; false: search->gain is the next to try. Uses nothing
 * but IEEE operations, so that every machine tries the same gains. */
bool organ_gain_step(organ_gain_search *search, double killed_percent, double wanted_percent);

/* Finds the gain of every part that has none yet (--sparsity) by passes over the donor that write nothing. */
organ_status organ_prune_search_gains(organ_prune_job *job, organ_error *error);

/* Takes over what the journal of an earlier run holds: gains, and tensors whose bytes in the copy still have the digest that was written
 * down. `lines` as organ_journal_open gives them, of a run that agrees with this one. */
organ_status organ_prune_resume(organ_prune_job *job, const organ_model_copy *copy, const json_t *lines, organ_error *error);

/* The first line of a journal: what a resumed run must agree with. NULL without memory. */
json_t *organ_prune_journal_head(const organ_prune_job *job);

/* Opens the finished copy at `directory` anew and holds it against the donor. *checks is the "integrity" of the document, set unless memory
 * runs out; an error if one of the checks does not hold. */
organ_status organ_prune_check_copy(const organ_prune_job *job, const char *directory, json_t **checks, organ_error *error);

/* Counts anew, in donor and copy, where in one tensor the killed weights lie, and how large they were: job->tile_map, job->magnitudes.
 * Errors as of organ_tile_map. */
organ_status organ_prune_look_again(organ_prune_job *job, const char *directory, organ_error *error);

/* The counts of all parts, for the caller to free; NULL without memory. */
organ_tally *organ_prune_tally(const organ_prune_job *job);

/* The content of prune.json; `integrity` (may be NULL) is taken over. NULL without memory. */
json_t *organ_prune_document(const organ_prune_job *job, json_t *integrity);

/* A line of prune.jsonl and of the journal. NULL without memory. */
json_t *organ_prune_line(const organ_prune_job *job, const organ_prune_part *part);

/* The parameters of the run: part of prune.json, and what a resumed run must agree with. */
json_t *organ_prune_parameters(const organ_prune_options *options);

#endif
