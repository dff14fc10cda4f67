/* SPDX-License-Identifier: MIT
 * Private to the room. prune_options.c has the table of methods and checks options; prune.c runs a job; prune_units.c
 * writes and records units; the weights of a unit are pruned by tiles.c (physarum-v1, in a pass over the files),
 * bands.c (matrix by matrix, without a text) or prune_matrix.c (on a text); prune_document.c checks the written copy
 * and makes the report. H are the second moments of a matrix's inputs. */
#ifndef ORGAN_VERBS_PRUNE_PRUNE_PARTS_H
#define ORGAN_VERBS_PRUNE_PRUNE_PARTS_H

#include "formats/imatrix/imatrix.h"
#include "orchestrator/output/inputs.h"
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/surgery/allocate/allocate.h"
#include "orchestrator/surgery/audit/audit.h"
#include "orchestrator/surgery/write/write.h"
#include "orchestrator/verbs/prune/prune_matrix.h"

#include <organ/kernels.h>
#include <organ/models.h>
#include <organ/prune.h>

#define ORGAN_PHYSARUM_GAIN 6.0 /* gain of definition physarum-v1/1: used without --sparsity, first try with it */

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

/* The figures of a target in the report that only methods other than physarum-v1 have. */
typedef struct organ_prune_figures {
    uint64_t compensated; /* kept weights with changed values */
    uint64_t tokens;      /* calibration tokens, or the count of the imatrix; for a stack, the sum over its experts */
    double natural;       /* percent of zeros that the flow chose; 0 if a sparsity was requested */
    unsigned stages;      /* stages of the flow */
    unsigned products;    /* products of weights with H, over all matrices of the target */
    uint64_t experts;     /* with an imatrix: result of organ_experts_of_role for the target; else 0 */
    const char *entry;    /* name of the target's entry, which belongs to the imatrix; NULL without an imatrix */
    bool block_diagonal;  /* second moments were block-diagonal (--moments blocks) */
    /* Array with the indices of experts that got too few tokens for statistics of their own; NULL: none. */
    json_t *fallback;
} organ_prune_figures;

/* A row of the table of methods: what the method can do and which options it supports. */
typedef struct organ_prune_row {
    const char *name;
    organ_prune_method method; /* of a matrix in memory; with `tiles` the one that measures the curves of --allocate */
    int version;               /* version of the method's definition */
    bool tiles;                /* prunes tiles in a pass over the files (tiles.c), and supports its parameters */
    bool text;                 /* needs the inputs of each matrix: a calibration text or an imatrix */
    bool flows;                /* runs the physarum flow, and so can choose the sparsity itself */
    bool compensates;          /* changes kept weights to make up for removed ones */
    bool two_streams;          /* compensation aims at outputs for the donor's inputs, so the donor's hidden states are
                                * computed too */
    bool products;             /* the method solves by products with H; the document states their number */
    bool noise;                /* scores inputs by contribution and stability; noise measures stability */
    bool effort;               /* repeats its refits --effort times */
    bool by_imatrix;           /* supports --imatrix */
    bool rows;                 /* ranks can share the rows of a matrix while it is compensated */
    organ_plan_solve solve;    /* work on one matrix, for the plan of a dry run */
} organ_prune_row;

/* Progress of a shard (file of the donor) in this run. */
typedef struct organ_shard_clock {
    double first, last; /* organ_seconds_now() when its first band began and when its last band so far was written */
    uint64_t bytes;     /* bytes pruned in it */
    size_t units_left;  /* units in the shard that are not done */
} organ_shard_clock;

typedef struct organ_prune_allocation organ_prune_allocation;

typedef struct organ_prune_job {
    const organ_prune_options *options;
    const organ_prune_calibrated_options *calibrated;
    const organ_engine *engine;
    const organ_progress *progress;
    /* Set by the checks of options: */
    const organ_prune_row *method;
    char definition[32];    /* name and version of the method for reports: "physarum-v1/1" */
    organ_pattern pattern;  /* of = 0: none */
    bool needs_text;        /* matrices are pruned on a calibration text, whose walk assigns the units to ranks */
    bool compensates;       /* kept weights are refitted */
    bool blocks;            /* second moments are diagonal blocks (--moments blocks) */
    bool two_streams;       /* the donor's hidden states are computed as well */
    bool divides;           /* one sparsity for the whole model is divided among the targets (--allocate) */
    organ_budget requested; /* the budget to divide; an amount of 0: none */
    double budget; /* the budget as a share of zeros, 0 .. 1; 0 without a budget, and until a budget in bits or bytes is
                      converted */
    /* Set when the job is opened: */
    time_t started_at;
    organ_model *donor;
    organ_targets targets;
    char fingerprint[17];      /* fingerprint of the donor */
    organ_file_list others;    /* files of the donor other than its shards, which are copied */
    organ_stretches stretches; /* the units as row ranges of the targets */
    organ_prune_part *units;   /* units[k] is row range k of `stretches` and unit k of organ_write_run; freed, and NULL,
                                * once all are written */
    organ_prune_part *parts;   /* one for each target; its counts, once all units are written, are sums over its
                                * units */
    organ_prune_figures *figures; /* one for each target; NULL for physarum-v1 */
    organ_shard_clock *clocks;    /* one for each file of the donor */
    bool *found_before;           /* for each target: an interrupted run or another rank has written a unit of it */
    organ_magnitudes *sizes;      /* histogram of magnitudes, counted while units are written */
    organ_calibration_run_options walk; /* settings of `calib` */
    organ_calibration_work work;        /* callbacks of `calib` */
    organ_calibration_run *calib;       /* the walk over the text; NULL: no text */
    organ_imatrix *imatrix;             /* NULL: none is used */
    char digest[17];                    /* digest of the imatrix, hexadecimal */
    organ_prune_allocation *allocation; /* NULL: every target gets the same sparsity */
    organ_plan plan; /* predicted work of a dry run, in addition to reading the donor and writing the output */
    /* Set during the run: */
    organ_writing *run;        /* the output that organ_write_run writes */
    const double *shares;      /* with `divides`: percent of zeros of each target; NULL before they are computed */
    organ_prune_shared shared; /* factors that matrices with the same inputs share */
    uint64_t pruned_bytes;     /* bytes that this rank has pruned in this run */
    /* Members "tile_map", "magnitudes" and "integrity" of the report, set when the output is checked; NULL before. */
    json_t *tile_map, *magnitudes, *checks;
    organ_buffers buffers; /* figures and clocks */
} organ_prune_job;

/* ---- prune_options.c ---- */

/* Checks everything that does not depend on the model, and sets the members of the job that the options decide. Returns
 * ORGAN_USAGE if options do not fit the method or each other, or are out of range. */
organ_status organ_prune_check_options(organ_prune_job *job, organ_error *error);

/* Returns the options of organ_prune_matrix for a matrix of target `part`: with the sparsity of the target if a budget
 * was divided (job->shares), else with that requested for the whole model. `name` is for messages. */
organ_prune_matrix_options organ_prune_options_of(const organ_prune_job *job, size_t part, const char *name);

/* ---- prune_units.c ---- */

/* Cuts the targets into units, and allocates what a job needs to write and count them. Returns ORGAN_IO if memory runs
 * out. organ_prune_units_close also frees after an error. */
organ_status organ_prune_units_open(organ_prune_job *job, organ_error *error);
void organ_prune_units_close(organ_prune_job *job);

/* Sets `done` of the units that an interrupted run has completed or another rank makes. */
void organ_prune_units_begin(organ_prune_job *job, organ_writing *writing);

/* Counts the magnitudes of bytes [at, at + bytes) of a unit. Every byte of a unit that organ_prune_part_write does not
 * write must be counted once, in any order; any number of threads may call it at the same time. Returns the errors of
 * organ_magnitudes_add. */
organ_status organ_prune_part_count(organ_prune_job *job, const organ_prune_part *unit, const void *data, size_t bytes,
                                    uint64_t at, organ_error *error);
/* Writes bytes [at, at + bytes) of a unit into the output and counts their magnitudes, on all workers. Calls for one
 * unit must be in order without gaps. Returns ORGAN_IO if writing fails, and the errors of organ_prune_part_count. */
organ_status organ_prune_part_write(organ_prune_job *job, organ_prune_part *unit, const void *data, size_t bytes,
                                    uint64_t at, organ_error *error);
/* Appends the line of a completely written unit to the journal and marks the unit as done. Its counts are final.
 * Returns ORGAN_IO if the journal cannot be written or memory runs out. */
organ_status organ_prune_part_record(organ_prune_job *job, organ_prune_part *unit, organ_error *error);
/* Reports a recorded unit to the progress. After the last unit of a shard it also prints the number of weights
 * killed so far. */
void organ_prune_part_report(organ_prune_job *job, organ_prune_part *unit);
/* Both of the above. */
organ_status organ_prune_part_done(organ_prune_job *job, organ_prune_part *unit, organ_error *error);

/* Implement organ_write.recall and organ_write.check. */
bool organ_prune_recall(void *job, size_t item, const json_t *line);
organ_status organ_prune_check(void *job, const char *to, const char *path, organ_error *error);

/* Sets *counts to the numbers of zero, removed, kept and changed values among the n weights `stored`, compared with the
 * weights `donor` by their bits. Both arrays are of type `dtype`, F32, F16 or BF16. */
void organ_prune_compare(const organ_prune_job *job, organ_dtype dtype, const void *donor, const void *stored, size_t n,
                         organ_audit_counts *counts);
/* Adds the counts of organ_prune_compare to those of unit number `unit`. Changed weights count as kept, and as
 * compensated weights of the target. */
void organ_prune_count(organ_prune_job *job, size_t unit, const organ_audit_counts *counts);
/* Adds the report of one matrix to the figures of target `part`; `calibration` is NULL for magnitude. */
void organ_prune_note(organ_prune_job *job, size_t part, const organ_calibration *calibration,
                      const organ_prune_matrix_report *report);

/* ---- allocation.c: one budget of zeros for all targets (--allocate) ---- */

/* Opens, as job->allocation, the walk that measures the curve of each target (the divergence of the model from the
 * donor if only this target is pruned, at some sparsities), and with --rounds also the exchanges. Both check memory and
 * text. Then reads the curves from the file of --allocation if it exists. Donor, targets, fingerprint and budget of the
 * job are set. Returns errors of organ_curves_open, organ_exchanges_open and organ_allocation_read. */
organ_status organ_prune_allocation_open(organ_prune_job *job, organ_error *error);
void organ_prune_allocation_close(organ_prune_allocation *allocation); /* NULL is allowed */
/* Adds the memory and the work of the division to the plan of a dry run. `solve` is the work of pruning a matrix once.
 */
void organ_prune_allocation_estimate(const organ_prune_allocation *allocation, const organ_plan_solve *solve,
                                     organ_plan *plan);

/* Measures missing curves, writes them to the journal of the run and to the file of --allocation, and divides the
 * budget: sets job->shares, the percentage of zeros of each target. job->run must be set. Returns errors of the
 * measurement and of writing. */
organ_status organ_prune_allocation_decide(organ_prune_allocation *allocation, organ_error *error);

/* Returns the member "allocation" of the report; NULL if memory cannot be allocated. */
json_t *organ_prune_allocation_json(const organ_prune_allocation *allocation);
/* Returns the parameters of the division that a resumed run must repeat; NULL if memory cannot be allocated. */
json_t *organ_prune_allocation_parameters(const organ_prune_job *job);
/* Returns what the curves depend on: digests of model and text, method and options. */
json_t *organ_prune_allocation_identity(const organ_prune_allocation *allocation);

/* ---- tiles.c: physarum v1 ---- */

/* Finds the gains if a sparsity was requested, then prunes and writes the units that this rank must still make. */
organ_status organ_prune_tiles(organ_prune_job *job, organ_error *error);
/* Adds the memory and the work of organ_prune_tiles to job->plan. Returns errors of memory. */
organ_status organ_prune_tiles_estimate(organ_prune_job *job, organ_error *error);

/* State of the search for the gain of the flow that kills a requested percentage of a tensor's weights.
 * A higher gain kills fewer weights. A new search has the first gain to try in `gain`, and is otherwise zero. */
typedef struct organ_gain_search {
    double gain; /* gain to try next */
    /* The bracket: the highest tried gain that kills too many weights, and the lowest that does not, each with the
     * percentage that it killed. Gain 0: none yet. */
    double low, low_rate;
    double high, high_rate;
    double best, best_error; /* the tried gain whose percentage is nearest to the requested one, and the distance in
                              * percentage points */
    unsigned rounds;         /* number of tried gains */
} organ_gain_search;

/* Enters the percentage of weights that search->gain killed. Returns true if the search is over and search->best is the
 * result, false if search->gain is the gain to try next. */
bool organ_gain_step(organ_gain_search *search, double killed_percent, double requested_percent);

/* ---- on a calibration text ---- */

/* Opens the walk over the text as job->calib. Returns the errors of organ_calibration_run_open. */
organ_status organ_prune_text_open(organ_prune_job *job, organ_error *error);
/* Prunes a matrix of the walk: removed weights become 0, and `keep` becomes the mask (rows x cols, 1: kept). Returns
 * errors of organ_prune_matrix. */
organ_status organ_prune_walked(organ_prune_job *job, const organ_calibration_matrix *matrix,
                                organ_prune_matrix_options prune_options, float *weights, uint8_t *keep,
                                organ_prune_matrix_report *report, organ_error *error);

/* ---- bands.c: by the weights alone, or by an imatrix ---- */

/* Opens the imatrix, if one was given, and sets job->digest. Returns ORGAN_BAD_INPUT if it lacks an entry for a target
 * or has one of another size, and ORGAN_USAGE, with the least sufficient amount, if the memory is too small for a
 * target. */
organ_status organ_prune_bands_open(organ_prune_job *job, organ_error *error);
/* Returns the least memory that organ_prune_bands_open accepts. */
uint64_t organ_prune_bands_memory(const organ_prune_job *job);
/* Prunes and writes the units that this rank must still make. */
organ_status organ_prune_bands_run(organ_prune_job *job, organ_error *error);

/* ---- prune_document.c ---- */

/* Opens the finished output at `path` and compares it with the donor; the results are in job->checks. Returns ORGAN_IO
 * if a check fails. Then computes job->tile_map and job->magnitudes from both models. */
organ_status organ_prune_check_copy(organ_prune_job *job, const char *path, organ_error *error);

/* ---- prune_document.c ---- */

/* Implement members of organ_write. The identity has the settings that a resumed run must repeat and that are no
 * parameters. */
json_t *organ_prune_parameters(void *job);
json_t *organ_prune_identity(void *job);
json_t *organ_prune_document(void *job, const organ_writing *made);
int organ_prune_finish_report(void *job, json_t *document);

/* Returns the line of a target in prune.jsonl, or of a unit in the journal. NULL if out of memory. */
json_t *organ_prune_line(const organ_prune_job *job, const organ_prune_part *part);
/* Restores the figures of a target from its line in the journal of an interrupted run. */
void organ_prune_recall_figures(organ_prune_job *job, size_t part, const json_t *line);

#endif
