/* SPDX-License-Identifier: MIT
 * Data and functions that the sources of calibrated pruning share: calibrated.c runs it, matrix.c prunes a matrix on a
 * calibration text, calibrated_imatrix.c reads an imatrix in place of a text, bands.c prunes without a text,
 * calibrated_document.c writes the report. H are the second moments of a matrix's inputs. */
#ifndef ORGAN_CALIBRATED_JOB_H
#define ORGAN_CALIBRATED_JOB_H

#include "formats/imatrix/imatrix.h"
#include "orchestrator/surgery/calibration/calibration_run.h"
#include "orchestrator/surgery/calibrated/allocation.h"
#include <organ/prune.h>
#include "orchestrator/surgery/calibrated/prune_matrix.h"
#include "orchestrator/surgery/prune/method.h"

/* The figures of a target in the report, other than its counts of weights. */
typedef struct organ_calibrated_part {
    uint64_t compensated; /* kept weights with changed values */
    uint64_t tokens;      /* calibration tokens, or the count of the imatrix; for a stack, the sum over its experts */
    double natural;       /* percent of zeros that the flow chose; 0 if a sparsity was requested */
    unsigned stages;      /* stages of the flow */
    unsigned products;    /* products of weights with H, over all matrices of the target */
    uint64_t experts;     /* with an imatrix: result of organ_experts_of_role for the target; else 0 */
    const char *entry;    /* name of the target's entry, which belongs to the imatrix; NULL without an imatrix */
    bool block_diagonal;  /* second moments were block-diagonal for lack of memory */
    /* Array with the indices of experts that got too few tokens for statistics of their own; NULL: none. */
    json_t *fallback;
} organ_calibrated_part;

/* A row of the table of methods (calibrated.c): what the method can do and which options it supports. */
typedef struct organ_calibrated_method {
    const char *name;
    organ_prune_method method;
    int version;      /* version of the method's definition */
    bool flows;       /* runs the physarum flow, and so can choose the sparsity itself */
    bool compensates; /* changes kept weights to make up for removed ones */
    bool two_streams; /* compensation aims at outputs for the donor's inputs, so the donor's hidden states are computed
                         too */
    bool products;    /* the method solves by products with H; the document states their number */
    bool noise;      /* scores inputs by contribution and stability; noise measures stability, so --seed is supported */
    bool effort;     /* supports --effort */
    bool can_leave;  /* supports --no-compensate */
    bool by_imatrix; /* supports --imatrix */
    bool rows;       /* ranks can share the rows of a matrix while it is compensated */
    organ_plan_solve solve; /* work on one matrix, for the plan of a dry run */
} organ_calibrated_method;

/* A pruning by a calibrated method. */
typedef struct organ_calibrated_job {
    organ_prune_job base; /* must be first: callbacks get a pointer to it */
    const organ_prune_calibrated_options *options;
    const organ_calibrated_method *method;
    organ_pattern pattern; /* of = 0: none */
    /* The method and the options together decide these three: */
    bool needs_text;                    /* matrices are pruned on a calibration text */
    bool compensates;                   /* kept weights are refitted */
    bool two_streams;                   /* the donor's hidden states are computed as well */
    organ_calibrated_part *parts;       /* one for each target */
    organ_calibration_run_options walk; /* settings of `calib` */
    organ_calibration_work work;        /* callbacks of `calib` */
    organ_calibration_run *calib;       /* the walk over the text; NULL: no text */
    organ_imatrix *imatrix;             /* NULL: the run uses a text, or neither text nor imatrix */
    organ_budget requested;             /* the budget to divide; an amount of 0: none */
    double budget; /* the budget as a share of zeros, 0 .. 1; 0 without a budget, and until a budget in bits or bytes is
                      converted (then.c) */
    organ_prune_allocation *allocation; /* NULL: every target gets the same sparsity */
    char digest[17];                    /* digest of the imatrix, hexadecimal */
    organ_prune_shared shared;          /* factors that matrices with the same inputs share */
} organ_calibrated_job;

/* Removes from base->targets the matrices without inputs in the forward pass, which a text cannot calibrate, and prints
 * a note that counts them. `method`: name for messages. Returns errors of organ_calibration_find_untapped and
 * organ_targets_remove. */
organ_status organ_calibrated_narrow(organ_prune_job *base, const char *method, organ_error *error);

/* Opens the imatrix as job->imatrix, sets job->digest, and checks that the imatrix has entries for all targets. The
 * donor must be open, and job->parts allocated. Returns ORGAN_BAD_INPUT if an entry is missing or has another size. */
organ_status organ_calibrated_imatrix(organ_calibrated_job *job, organ_error *error);
/* Creates a calibration from the imatrix entry of matrix number `matrix` of target `part`. The caller destroys it. */
organ_status organ_calibrated_norms(const organ_calibrated_job *job, size_t part, uint64_t matrix,
                                    organ_calibration **calibration, organ_error *error);

/* Checks, for a run without a text, that the memory suffices for every target. Returns ORGAN_USAGE, with the least
 * sufficient amount, if not. */
organ_status organ_calibrated_fits(const organ_calibrated_job *job, organ_error *error);
/* Returns the least memory that organ_calibrated_fits accepts. */
uint64_t organ_calibrated_min_memory(const organ_calibrated_job *job);
/* Prunes and writes all targets of a run without a text. */
organ_status organ_calibrated_run_without_text(organ_calibrated_job *job, organ_error *error);

/* Implement the members `memory`, `done` and `restore` of organ_calibration_work. */
uint64_t organ_calibrated_matrix_memory(void *job, const organ_calibration_run *calib, const organ_tensor *tensor);
bool organ_calibrated_done(void *job, size_t target);
organ_status organ_calibrated_restore(void *job, const organ_calibration_matrix *matrix, float *weights,
                                      organ_error *error);
/* Prunes a matrix on a calibration text: removed weights become 0, and `keep` becomes the mask (rows x cols, 1: kept).
 * Returns errors of organ_prune_matrix. */
organ_status organ_calibrated_prune(organ_calibrated_job *job, const organ_calibration_matrix *matrix,
                                    organ_prune_matrix_options prune_options, float *weights, uint8_t *keep,
                                    organ_prune_matrix_report *report, organ_error *error);
/* Implements organ_calibration_work.change: prunes one matrix of a target. If this rank writes the matrix
 * (matrix->own), also counts its weights and writes it. */
organ_status organ_calibrated_matrix(void *job, const organ_calibration_matrix *matrix, float *weights,
                                     organ_error *error);

/* Returns the options of organ_prune_matrix for matrices of target `part`. */
organ_prune_matrix_options organ_calibrated_options_of(const organ_calibrated_job *job, size_t part);
/* Returns the options of organ_prune_matrix with the sparsity for the whole model. `name` is for messages. */
organ_prune_matrix_options organ_calibrated_options_of_all(const organ_calibrated_job *job, const char *name);
/* Adds the report of one matrix to the figures of target `part`; `calibration` is NULL for magnitude. */
void organ_calibrated_note(organ_calibrated_job *job, size_t part, const organ_calibration *calibration,
                           const organ_prune_matrix_report *report);
/* Sets *counts to the numbers of zero, removed, kept and changed values among the n weights `stored`, compared with the
 * weights `donor`. Both arrays are of type `dtype`. */
void organ_calibrated_compare(const organ_calibrated_job *job, organ_dtype dtype, const void *donor, const void *stored,
                              size_t n, organ_audit_counts *counts);
/* Adds the counts of organ_calibrated_compare to those of unit number `unit` and its target. */
void organ_calibrated_count(organ_calibrated_job *job, size_t unit, const organ_audit_counts *counts);
/* Prunes and quantises in one run on a calibration text (--then). The caller has checked all other options. Returns
 * ORGAN_USAGE if the method does not compensate, and errors of organ_quantize_pruned. */
organ_status organ_prune_then(organ_calibrated_job *job, json_t **report, organ_error *error);
/* Runs physarum v1, with or without one budget for all targets. */
organ_status organ_prune_divided(const organ_prune_options *options, const organ_prune_calibrated_options *calibrated,
                                 const organ_engine *engine, const organ_progress *progress, json_t **report,
                                 organ_error *error);

/* Implement the members of organ_prune_kind (method.h) of the same names. _parameters returns the options that decide
 * the output, _identity all other settings that a resumed run must repeat. _recall restores the figures of a target
 * from its line in the journal. _finish_document adds members to the report, _finish_line to the line of a target;
 * these two return -1 if memory runs out. */
json_t *organ_calibrated_parameters(void *job);
json_t *organ_calibrated_identity(void *job);
void organ_calibrated_recall(organ_prune_job *job, const organ_prune_part *part, const json_t *line);
int organ_calibrated_finish_document(const organ_prune_job *job, json_t *document);
int organ_calibrated_finish_line(const organ_prune_job *job, const organ_prune_part *part, json_t *line);

#endif
