/* SPDX-License-Identifier: MIT
 * State and functions shared by the files of this room: width.c runs the verb; width_plan.c computes how many channels
 * and heads each layer keeps; norms.c chooses columns for experts without tokens; choices.c chooses them on the
 * calibration text and stores the choices in files. */
#ifndef ORGAN_VERBS_SHRINK_WIDTH_PARTS_H
#define ORGAN_VERBS_SHRINK_WIDTH_PARTS_H

#include "orchestrator/surgery/calibration/calibration.h"
#include "orchestrator/verbs/shrink/cut_parts.h"

#include <organ/cut.h>

/* Removes columns of a matrix W with the least loss: the error of its outputs on calibration inputs, measured by the
 * second moments H of the inputs, with the kept columns refitted. The result has the same bits on every machine and for
 * any number of threads. */

#define ORGAN_NARROW_DAMPING 0.01 /* damping: this times the mean of H's diagonal is added to the diagonal */

/* Which columns of a matrix W to keep, and how to choose and refit them. */
typedef struct organ_narrow_options {
    const char *name; /* name of the matrix, for messages */
    /* Number of consecutive columns that are kept or removed together: 1, or the columns of the query heads of one KV
     * head. Divides the number of columns. */
    size_t group;
    size_t keep; /* number of groups to keep, at least 1 */
    /* Remove the groups with the least sum of |w|^2 H(j, j) over their columns j (w: column j of W), instead of the
     * groups with the least loss. */
    bool by_magnitude;
    bool no_refit; /* do not refit the kept columns */
} organ_narrow_options;

/* Result of narrowing a matrix; W' is the narrowed matrix. */
typedef struct organ_narrow_report {
    double energy; /* trace(W H W^T) per token, H with its damping */
    double loss;   /* trace(D H D^T) per token, D = W - W' */
    /* Sum of the losses that were computed when groups were removed: equals `loss` up to rounding if all kept columns
     * are refitted. */
    double expected_loss;
    uint64_t tokens;     /* calibration tokens */
    bool block_diagonal; /* H consists of diagonal blocks (--moments blocks) */
} organ_narrow_report;

/* Chooses the groups of `weights` (rows x cols, row-major; cols = the calibration's features) to keep, and sets kept[0
 * .. options->keep) to their indices, ascending. Replaces `weights` by W': the kept columns are argmin trace((W - W') H
 * (W - W')^T) in FP32, the removed columns +0. Groups are removed one at a time, each time the group with the least
 * loss (of equal ones the first). The loss of a group S is trace(W_S ([H^-1]_SS)^-1 W_S^T), with W and H^-1 updated for
 * the groups removed before. Returns ORGAN_BAD_INPUT for weights that are not finite or an H that cannot be inverted,
 * ORGAN_IO if memory runs out, ORGAN_INTERRUPTED if a stop was requested. After an error the weights are undefined. */
organ_status organ_narrow_matrix(const organ_engine *engine, const organ_narrow_options *options,
                                 const organ_calibration *calibration, float *weights, size_t rows, size_t cols,
                                 uint32_t *kept, organ_narrow_report *report, organ_error *error);

/* Returns the bytes that organ_narrow_matrix needs with a whole H, in addition to the weights, the calibration and the
 * scratch of each thread. `group`: organ_narrow_options.group. */
uint64_t organ_narrow_memory(const organ_engine *engine, uint64_t rows, uint64_t cols, uint64_t group);

/* Kinds of units that can be removed. */
typedef enum organ_width_kind {
    ORGAN_WIDTH_CHANNELS, /* channels of feed-forwards without experts */
    ORGAN_WIDTH_EXPERTS,  /* channels of routed experts, chosen for each expert */
    ORGAN_WIDTH_SHARED,   /* channels of a shared expert; narrowed only if follow_experts in width_plan.c allows it */
    ORGAN_WIDTH_HEADS,    /* heads of K and V with their query heads */
    ORGAN_WIDTH_KINDS     /* number of kinds */
} organ_width_kind;

/* The numbers of units of one kind, which are the same in every layer or expert. */
typedef struct organ_width_share {
    size_t total, keep; /* numbers of units before and after; keep 0: no unit of this kind is removed */
    size_t columns;     /* columns of the down or output projection that belong to one unit */
    size_t multiple;    /* `keep` of channels is a multiple of this; 0 for heads */
} organ_width_share;

/* A part: a matrix of a down or output projection that loses columns. */
typedef struct organ_width_part {
    const organ_tensor *tensor;
    uint64_t matrix;                /* index of the matrix in a stacked tensor; else 0 */
    const organ_width_share *share; /* entry of job->shares for its kind: numbers of units before and after */
    uint64_t rows;                  /* out_features */
    organ_width_kind kind;
    uint32_t *kept; /* indices of the share->keep kept units, ascending; 0, 1, 2, ... until they are chosen */
    uint64_t at;    /* byte offset of its values in the file of values */
    bool done;      /* its units are chosen, and its values stored in that file */
    organ_narrow_report report; /* tokens 0: an expert without tokens, chosen by norms */
} organ_width_part;

/* A gate or up projection of routed experts, for norms.c. */
typedef struct organ_width_gate_up {
    int layer, expert; /* `expert` is -1 if the weight is a stack of all experts of the layer */
    const organ_weight *weight;
} organ_width_gate_up;

/* A run of the verb `width`. */
typedef struct organ_width_job {
    organ_plan plan; /* predicted work of a dry run, in addition to reading and writing */
    const organ_width_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_model *model;
    organ_width_share shares[ORGAN_WIDTH_KINDS];
    size_t query_heads;      /* number of query heads in a layer */
    organ_targets targets;   /* the tensors that lose columns */
    size_t *first;           /* index in `parts` of each target's first part; the last entry is part_count */
    organ_width_part *parts; /* one for each matrix of each target */
    size_t part_count;
    organ_weights *weights;        /* for organ_width_by_norms, found at its first call */
    organ_width_gate_up *gate_ups; /* gate and up projections of all routed experts, sorted by layer and expert */
    size_t gate_up_count;
    organ_cut_layer *layers; /* the kept units of each layer, for organ_cut_make */
    organ_cut_keep *experts; /* kept channels of each expert of each layer with experts */
    size_t layer_count;
    organ_calibration_run_options walk; /* options of `calib` */
    organ_calibration_work work;        /* callbacks of `calib` */
    organ_calibration_run *calib;       /* the calibration; NULL after the choice is complete */
    json_t *calibration;                /* the report's member "calibration" */
    char digest[17];                    /* digest of the calibration text */
    uint64_t choice_bytes;              /* bytes of the values of all parts in organ_write_choices */
    organ_writing *writing;             /* set when the run decides */
} organ_width_job;

/* Computes job->shares from options and model, and lists the parts. Returns ORGAN_USAGE if nothing or everything would
 * be removed or layers differ in width. */
organ_status organ_width_plan(organ_width_job *job, organ_error *error);
/* Returns the kind of the units that the tensor's columns belong to; ORGAN_WIDTH_KINDS if the tensor is no down or
 * output projection of a layer, so that its columns cannot be removed. */
organ_width_kind organ_width_kind_of(const organ_tensor *tensor);

/* Chooses the channels of an expert that no token was routed to: sets part->kept to the channels with the greatest
 * product of the norms of the row of gate, the row of up and the column of down (of equal ones the later). `weights` is
 * the expert's down projection: kept columns keep their values, the others become +0. Returns ORGAN_BAD_INPUT if gate
 * or up does not have a row for each channel, or errors of reading. */
organ_status organ_width_by_norms(organ_width_job *job, organ_width_part *part, float *weights, organ_error *error);
/* Frees what organ_width_by_norms keeps in the job. */
void organ_width_norms_release(organ_width_job *job);

/* Takes the choices that the journal of an interrupted run has, and makes the file of values if there is none. All
 * ranks call it. Returns ORGAN_IO if that fails. */
organ_status organ_width_choices_begin(organ_width_job *job, organ_error *error);
/* organ_width_choices_put writes, and organ_width_choices_get reads, rows [first, first + rows) of a part in the file
 * of values, organ_write_choices. `values` has no removed columns: a row has organ_width_columns values. Both return
 * ORGAN_IO on failure. */
organ_status organ_width_choices_put(const organ_width_job *job, const organ_width_part *part, const float *values,
                                     uint64_t first, uint64_t rows, organ_error *error);
organ_status organ_width_choices_get(const organ_width_job *job, const organ_width_part *part, float *values,
                                     uint64_t first, uint64_t rows, organ_error *error);
/* Appends a part to the journal, after all its values were written. Returns ORGAN_IO if that fails. */
organ_status organ_width_choices_add(organ_width_job *job, organ_width_part *part, organ_error *error);

/* Returns organ_tensor_matrices of a tensor, but as out_features x in_features even if the file stores it
 * transposed. */
organ_matrices organ_width_matrices(const organ_width_job *job, const organ_tensor *tensor);

/* Returns the number of a part's columns in the output. */
static inline uint64_t organ_width_columns(const organ_width_part *part)
{
    return part->share->keep * part->share->columns;
}
/* Returns the number of a part's rows in the output. */
static inline uint64_t organ_width_rows(const organ_width_part *part) { return part->rows; }

/* Callbacks of organ_write: parameters and journal identity of the run, and its report. */
json_t *organ_width_parameters(void *job);
/* Implements organ_write.inputs. */
organ_status organ_width_inputs(void *job, organ_run_inputs *inputs, organ_error *error);
json_t *organ_width_identity(void *job);
json_t *organ_width_document(void *job, const organ_writing *made);

#endif
