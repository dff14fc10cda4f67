/* SPDX-License-Identifier: MIT
 * State and functions shared by the files of this room: width.c is the verb; width_plan.c computes how many channels
 * and heads each layer keeps; width_parts.c lists the projections; choose_channels.c chooses columns on the
 * calibration text; norms.c chooses them for experts without tokens; choices.c stores the choices in files;
 * width_document.c writes journal and report. */
#ifndef ORGAN_WIDTH_JOB_H
#define ORGAN_WIDTH_JOB_H

#include "orchestrator/surgery/calibration/calibration_run.h"
#include "orchestrator/surgery/cut/cut.h"
#include "orchestrator/surgery/output/output.h"
#include "orchestrator/surgery/width/narrow_matrix.h"
#include "orchestrator/surgery/width/width.h"

/* Units that can be removed. */
typedef enum organ_width_kind {
    ORGAN_WIDTH_CHANNELS, /* channels of feed-forwards without experts */
    ORGAN_WIDTH_EXPERTS,  /* channels of routed experts, chosen for each expert */
    ORGAN_WIDTH_SHARED,   /* channels of a shared expert without a gate: its width is a multiple of a routed expert's */
    ORGAN_WIDTH_HEADS,    /* heads of K and V with their query heads */
    ORGAN_WIDTH_KINDS
} organ_width_kind;

/* The number of units in every layer or expert, before and after. */
typedef struct organ_width_share {
    size_t total, keep; /* 0, 0: no channel is removed */
    size_t columns;     /* columns of the following projection that belong to one unit */
    size_t multiple;    /* `keep` is a multiple of this */
} organ_width_share;

/* A projection that loses columns. */
typedef struct organ_width_part {
    const organ_tensor *tensor;
    uint64_t matrix; /* number of the matrix in a stacked tensor; else 0 */
    const organ_width_share *share;
    uint64_t rows;
    organ_width_kind kind;
    uint32_t *kept;             /* share->keep numbers of units; the first ones until they are chosen */
    uint64_t at;                /* offset of its values in the file of choices */
    bool done;                  /* chosen, and stored in that file */
    organ_narrow_report report; /* 0 tokens: an expert without tokens, chosen by norms */
} organ_width_part;

/* A gate or up projection of routed experts; `expert` is -1 for a stack. */
typedef struct organ_width_before {
    int layer, expert;
    const organ_weight *weight;
} organ_width_before;

/* The choices on disk: a file of refitted values, and a journal. */
typedef struct organ_width_choices {
    organ_output output;
    organ_run_journal journal;
    char *place, *path; /* the directory next to the output; the file of values */
    uint64_t bytes;     /* size of that file */
    bool begun;
} organ_width_choices;

typedef struct organ_width_job {
    organ_plan plan; /* for a dry run: the work in addition to reading and writing */
    const organ_width_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_model *model;
    organ_width_share shares[ORGAN_WIDTH_KINDS];
    size_t query_heads; /* number of query heads in a layer */
    organ_targets targets;
    size_t *first;           /* index of each target's first part; the last entry is part_count */
    organ_width_part *parts; /* one for each matrix of each target */
    size_t part_count;
    organ_weights *weights;     /* of organ_width_by_norms, found at its first call */
    organ_width_before *before; /* sorted by layer and expert */
    size_t before_count;
    organ_cut_layer *layers;
    organ_cut_keep *experts; /* one for each expert of each layer with experts */
    size_t layer_count;
    organ_calibration_run_options walk;
    organ_calibration_work work;
    organ_calibration_run *calib; /* NULL after the choice is complete */
    json_t *calibration;          /* a member of the document */
    char digest[17];              /* digest of the text */
    organ_width_choices choices;
} organ_width_job;

/* Computes job->shares from the options and the model, and lists the projections. */
organ_status organ_width_plan(organ_width_job *job, organ_error *error);
/* Lists the projections: job->parts. organ_width_plan calls it. */
organ_status organ_width_list(organ_width_job *job, organ_error *error);
organ_width_kind organ_width_kind_of(const organ_tensor *tensor); /* ORGAN_WIDTH_KINDS: no columns of it can go */

/* Chooses the channels of an expert that no token was routed to. Keeps those with the greatest product of the norms of
 * the row of gate, the row of up and the column of down (of equal ones the later). Kept columns keep their values; the
 * others become +0. */
organ_status organ_width_by_norms(organ_width_job *job, organ_width_part *part, float *weights, organ_error *error);
void organ_width_norms_free(organ_width_job *job);

/* Opens the calibration text. ORGAN_USAGE if --memory is too small. */
organ_status organ_width_text(organ_width_job *job, organ_error *error);
/* Runs the text through the model layer by layer; chooses and stores the parts that are not done. */
organ_status organ_width_choose(organ_width_job *job, organ_error *error);

/* Reads the choices of an earlier run, or begins new files. organ_width_choices_end must follow whatever it returns;
 * `done` removes the files. */
organ_status organ_width_choices_begin(organ_width_job *job, organ_error *error);
organ_status organ_width_choices_end(organ_width_job *job, bool done, organ_error *error);
/* Write and read rows [first, first + rows) of a part in the shape of the output: organ_width_rows x
 * organ_width_columns. */
organ_status organ_width_choices_put(const organ_width_job *job, const organ_width_part *part, const float *values,
                                     uint64_t first, uint64_t rows, organ_error *error);
organ_status organ_width_choices_get(const organ_width_job *job, const organ_width_part *part, float *values,
                                     uint64_t first, uint64_t rows, organ_error *error);
/* Marks a part as done after all its values were written. */
organ_status organ_width_choices_add(organ_width_job *job, organ_width_part *part, organ_error *error);

/* Returns the same as organ_tensor_matrices, but as out_features x in_features even if the file stores the tensor
 * transposed. */
organ_matrices organ_width_matrices(const organ_width_job *job, const organ_tensor *tensor);

/* Returns the number of a part's columns in the output. */
static inline uint64_t organ_width_columns(const organ_width_part *part)
{
    return part->share->keep * part->share->columns;
}
/* Returns the number of a part's rows in the output. */
static inline uint64_t organ_width_rows(const organ_width_part *part) { return part->rows; }

/* Adds the memory and the work of the walk to job->plan. */
void organ_width_estimate(organ_width_job *job);

json_t *organ_width_parameters(void *job);
json_t *organ_width_identity(void *job);
json_t *organ_width_document(void *job, const organ_writing *made);

#endif
