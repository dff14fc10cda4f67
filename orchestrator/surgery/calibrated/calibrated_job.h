/* SPDX-License-Identifier: MIT
 * Data and functions that the sources of calibrated pruning share: calibrated.c runs it, matrix.c prunes a matrix on
 * a calibration text, calibrated_imatrix.c reads an imatrix in place of a text, bands.c prunes without a text,
 * calibrated_document.c writes the report. */
#ifndef ORGAN_CALIBRATED_JOB_H
#define ORGAN_CALIBRATED_JOB_H

#include "formats/imatrix/imatrix.h"
#include "orchestrator/surgery/calibration/calibration_run.h"
#include "orchestrator/surgery/calibrated/allocation.h"
#include "orchestrator/surgery/calibrated/calibrated.h"
#include "orchestrator/surgery/calibrated/prune_matrix.h"
#include "orchestrator/surgery/prune/method.h"

/* The figures of a target in the report, other than its counts. */
typedef struct organ_calibrated_part {
    uint64_t compensated;      /* kept weights with changed values */
    uint64_t tokens;           /* calibration tokens; for a stack of experts the sum over all of them */
    double natural;            /* sparsity that the flow chose; 0 if a sparsity was requested */
    unsigned stages, products; /* stages of the flow; products of weights with H */
    uint64_t experts;  /* number of experts that matrices of this role belong to in the layer; 0 if it is no expert, or
                          with an imatrix */
    const char *entry; /* name of the imatrix entry, which belongs to the imatrix */
    bool block_diagonal; /* second moments were block-diagonal for lack of memory */
    json_t *fallback;    /* numbers of experts that were calibrated on all tokens; NULL: none */
} organ_calibrated_part;

/* A row of the table of methods: what the method can do and which options it supports. */
typedef struct organ_calibrated_method {
    const char *name;
    organ_prune_method method;
    int version;      /* version of the method's definition */
    bool flows;       /* can choose the sparsity itself */
    bool compensates; /* changes kept weights */
    bool two_streams; /* uses the donor's hidden states as the target of compensation */
    bool products;    /* the method solves by matrix products, whose number the document states */
    bool noise;       /* the method draws noise to score stability and contribution, so that --seed has a meaning */
    bool effort;      /* supports --effort */
    bool can_leave;   /* supports --no-compensate */
    bool by_imatrix;  /* supports --imatrix */
    bool rows;        /* ranks can share the rows of a matrix if kept weights are changed */
    organ_plan_solve solve; /* the work on a matrix */
} organ_calibrated_method;

/* A pruning by a calibrated method. */
typedef struct organ_calibrated_job {
    organ_prune_job base; /* must be first: callbacks get a pointer to it */
    const organ_prune_calibrated_options *options;
    const organ_calibrated_method *method;
    organ_pattern pattern;
    bool needs_text;  /* the method needs a text */
    bool compensates; /* kept weights are refitted */
    bool two_streams; /* the donor's hidden states are computed as well */
    organ_calibrated_part *parts;
    organ_calibration_run_options walk; /* settings and callbacks of `calib` */
    organ_calibration_work work;
    organ_calibration_run *calib;       /* NULL: no text */
    organ_imatrix *imatrix;             /* NULL: the run uses a text, or neither */
    organ_budget requested;             /* the budget to divide; an amount of 0: none */
    double budget;                      /* the budget as a share of zeros, 0 .. 1; 0 without a budget, or before it is
                                         * computed */
    organ_prune_allocation *allocation; /* NULL: every target gets the same sparsity */
    char digest[17];                    /* digest of the imatrix */
    organ_prune_shared shared;          /* shared by the matrices of a layer */
} organ_calibrated_job;

/* Removes targets without inputs in the forward pass, which a text cannot calibrate, and prints a note that counts
 * them. Errors of organ_calibration_find_untapped and organ_targets_remove. */
organ_status organ_calibrated_narrow(organ_prune_job *base, const char *method, organ_error *error);

/* Opens the imatrix and finds the entries of all targets. The donor must be open. */
organ_status organ_calibrated_imatrix(organ_calibrated_job *job, organ_error *error);
/* Creates a calibration from the imatrix entry of a matrix; the caller destroys it. */
organ_status organ_calibrated_norms(const organ_calibrated_job *job, size_t part, uint64_t matrix,
                                    organ_calibration **calibration, organ_error *error);

/* Checks, for a run without a text, that the memory suffices for every target. Returns ORGAN_USAGE, with the least
 * sufficient amount, if not. */
organ_status organ_calibrated_fits(const organ_calibrated_job *job, organ_error *error);
/* Returns the least memory that organ_calibrated_fits accepts. */
uint64_t organ_calibrated_min_memory(const organ_calibrated_job *job);
/* Prunes all targets without a text and writes them. */
organ_status organ_calibrated_run_without_text(organ_calibrated_job *job, organ_error *error);

/* Callbacks of organ_calibration_work: its members `memory`, `done` and `restore`. */
uint64_t organ_calibrated_matrix_memory(void *job, const organ_calibration_run *calib, const organ_tensor *tensor);
bool organ_calibrated_done(void *job, size_t target);
organ_status organ_calibrated_restore(void *job, const organ_calibration_matrix *matrix, float *weights,
                                      organ_error *error);
/* Prunes a matrix: removed weights become 0. Data shared by matrices with the same inputs is released after the last of
 * them. */
organ_status organ_calibrated_prune(organ_calibrated_job *job, const organ_calibration_matrix *matrix,
                                    organ_prune_matrix_options prune_options, float *weights, uint8_t *keep,
                                    organ_prune_matrix_report *report, organ_error *error);
/* Callback of organ_calibration_work: prunes one matrix of a target on a calibration text, counts its weights and
 * writes it. */
organ_status organ_calibrated_matrix(void *job, const organ_calibration_matrix *matrix, float *weights,
                                     organ_error *error);

/* Returns the pruning options for matrices of this target. */
organ_prune_matrix_options organ_calibrated_options_of(const organ_calibrated_job *job, size_t part);
/* Returns the pruning options for any matrix if no budget is divided. */
organ_prune_matrix_options organ_calibrated_options_of_all(const organ_calibrated_job *job, const char *name);
/* Adds the report of one matrix to the figures of target `part`; `calibration` is NULL for magnitude. */
void organ_calibrated_note(organ_calibrated_job *job, size_t part, const organ_calibration *calibration,
                           const organ_prune_matrix_report *report);
/* Counts zeros, removed, kept and changed values among n stored weights and the donor's, both of type `dtype`. */
void organ_calibrated_compare(const organ_calibrated_job *job, organ_dtype dtype, const void *donor, const void *stored,
                              size_t n, organ_audit_counts *counts);
/* Adds counts of organ_calibrated_compare to those of the unit and its target. */
void organ_calibrated_count(organ_calibrated_job *job, size_t unit, const organ_audit_counts *counts);
/* Prunes and quantises on a calibration text (--then). Other options were checked before. */
organ_status organ_prune_then(organ_calibrated_job *job, json_t **report, organ_error *error);
/* Runs physarum v1, with or without one budget for all targets. */
organ_status organ_prune_divided(const organ_prune_options *options, const organ_prune_calibrated_options *calibrated,
                                 const organ_engine *engine, const organ_progress *progress, json_t **report,
                                 organ_error *error);

/* Callbacks of organ_prune_kind: its members of these names. */
json_t *organ_calibrated_parameters(void *job);
json_t *organ_calibrated_identity(void *job);
void organ_calibrated_recall(organ_prune_job *job, const organ_prune_part *part, const json_t *line);
int organ_calibrated_finish_document(const organ_prune_job *job, json_t *document);
int organ_calibrated_finish_line(const organ_prune_job *job, const organ_prune_part *part, json_t *line);

#endif
