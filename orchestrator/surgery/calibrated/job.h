/* SPDX-License-Identifier: MIT
 * What the parts of a calibrated pruning share: calibrated.c runs it, matrix.c works on a matrix along a text,
 * imatrix.c reads an imatrix in its place, bands.c works on what needs no text, document.c tells of it. */
#ifndef ORGAN_PRUNE_CALIBRATED_JOB_H
#define ORGAN_PRUNE_CALIBRATED_JOB_H

#include "formats/imatrix/imatrix.h"
#include "orchestrator/surgery/along_text/along_text.h"
#include "orchestrator/surgery/calibrated/allocation.h"
#include "orchestrator/surgery/calibrated/calibrated.h"
#include "orchestrator/surgery/calibrated/prune_matrix.h"
#include "orchestrator/surgery/prune/method.h"

/* What is told of one target beyond its counts. */
typedef struct organ_calibrated_part {
    uint64_t compensated; /* weights that are neither the donor's nor zero */
    uint64_t tokens;      /* that it was calibrated with; of a stack of experts all together */
    double natural;       /* sparsity that the flow decided; 0 where one was asked for */
    unsigned stages, products;
    uint64_t experts;  /* of its kind in its layer, where it is one of them: 0, or for an imatrix */
    const char *entry; /* of the imatrix */
    bool block_diagonal;
    json_t *fallback; /* numbers of experts that were calibrated on all tokens; NULL: none */
} organ_calibrated_part;

typedef struct organ_calibrated_method {
    const char *name;
    organ_prune_method method;
    int version;      /* of its definition */
    bool flows;       /* may decide the sparsity by itself */
    bool compensates; /* weights that are kept are changed, */
    bool two_streams; /* towards what the donor does as well, */
    bool products;    /* the method solves by matrix products, whose number the document states */
    bool noise;       /* the method draws noise to score stability and contribution, so that --seed has a meaning */
    bool effort;      /* has --effort, */
    bool can_leave;   /* --no-compensate, */
    bool by_imatrix;  /* and --imatrix */
    bool rows;        /* ranks can share the rows of a matrix, where weights that are kept are changed */
    organ_plan_solve solve; /* the work on a matrix */
} organ_calibrated_method;

typedef struct organ_calibrated_job {
    organ_prune_job base; /* first: it is what amend gets */
    const organ_prune_calibrated_options *options;
    const organ_calibrated_method *method;
    organ_pattern pattern;
    bool needs_text;  /* the method goes by a text */
    bool compensates; /* weights that are kept are changed */
    bool two_streams; /* the donor's hidden states are carried along */
    organ_calibrated_part *parts;
    organ_along_options walk;
    organ_along_work work;
    organ_along_text *along;            /* NULL: no text */
    organ_imatrix *imatrix;             /* NULL: a text, or nothing */
    organ_budget asked;                 /* to divide; an amount of 0: none, */
    double budget;                      /* and as a share of zeros, 0 .. 1, once it is known; 0 before, or none */
    organ_prune_allocation *allocation; /* NULL: each target gets the same */
    char digest[17];                    /* of it */
    organ_prune_shared shared;          /* of the matrices of a layer */
} organ_calibrated_job;

/* Opens the imatrix and finds the entries of all targets. Needs the donor. */
organ_status organ_calibrated_imatrix(organ_calibrated_job *job, organ_error *error);
/* What it says of a matrix of a target, to be destroyed by the caller. */
organ_status organ_calibrated_norms(const organ_calibrated_job *job, size_t part, uint64_t matrix,
                                    organ_calibration **calibration, organ_error *error);

/* Without a text: whether the memory holds what must be together of every target; ORGAN_USAGE with the least that does.
 */
organ_status organ_calibrated_fits(const organ_calibrated_job *job, organ_error *error);
/* That least. */
uint64_t organ_calibrated_enough(const organ_calibrated_job *job);
/* Prunes all targets without a text and writes them. */
organ_status organ_calibrated_alone(organ_calibrated_job *job, organ_error *error);

/* For organ_along_work. */
uint64_t organ_calibrated_matrix_memory(void *job, const organ_along_text *along, const organ_tensor *tensor);
bool organ_calibrated_done(void *job, size_t target);
organ_status organ_calibrated_restore(void *job, const organ_along_matrix *matrix, float *weights, organ_error *error);
/* Prunes a matrix: what is killed becomes 0. What it shares with those that see the same inputs lives until the last of
 * them. */
organ_status organ_calibrated_prune(organ_calibrated_job *job, const organ_along_matrix *matrix,
                                    organ_prune_matrix_options wish, float *weights, uint8_t *keep,
                                    organ_prune_matrix_report *report, organ_error *error);
/* Prunes one matrix of a target along a text, counts and writes it. */
organ_status organ_calibrated_matrix(void *job, const organ_along_matrix *matrix, float *weights, organ_error *error);

/* What is asked of a matrix of this target. */
organ_prune_matrix_options organ_calibrated_wish(const organ_calibrated_job *job, size_t part);
/* What is asked of any matrix where no budget is divided. */
organ_prune_matrix_options organ_calibrated_wish_alike(const organ_calibrated_job *job, const char *name);
/* Notes how one of them went; `calibration` is NULL for magnitude. */
void organ_calibrated_note(organ_calibrated_job *job, size_t part, const organ_calibration *calibration,
                           const organ_prune_matrix_report *report);
/* Counts n stored weights against the donor's. */
void organ_calibrated_compare(const organ_calibrated_job *job, organ_dtype dtype, const void *donor, const void *stored,
                              size_t n, organ_audit_counts *counts);
void organ_calibrated_count(organ_calibrated_job *job, size_t unit, const organ_audit_counts *counts);
/* Prunes and quantises (`then` of the options, which are checked otherwise) along the text. */
organ_status organ_prune_then(organ_calibrated_job *job, json_t **report, organ_error *error);
/* Physarum v1, with or without one budget for all targets. */
organ_status organ_prune_divided(const organ_prune_options *options, const organ_prune_calibrated_options *calibrated,
                                 const organ_engine *engine, const organ_progress *progress, json_t **report,
                                 organ_error *error);

/* For organ_prune_kind. */
json_t *organ_calibrated_parameters(void *job);
json_t *organ_calibrated_identity(void *job);
void organ_calibrated_recall(organ_prune_job *job, const organ_prune_part *part, const json_t *line);
int organ_calibrated_amend(const organ_prune_job *job, json_t *document);
int organ_calibrated_amend_line(const organ_prune_job *job, const organ_prune_part *part, json_t *line);

#endif
