/* SPDX-License-Identifier: MIT
 * What the parts of organ_width share: width.c runs it, plan.c says how much stays, parts.c lists the projections,
 * choose.c goes along the text, norms.c chooses where the text says nothing, choices.c keeps what is chosen, document.c
 * tells. */
#ifndef ORGAN_WIDTH_JOB_H
#define ORGAN_WIDTH_JOB_H

#include "orchestrator/surgery/along_text/along_text.h"
#include "orchestrator/surgery/cut/cut.h"
#include "orchestrator/surgery/output/output.h"
#include "orchestrator/surgery/width/narrow_matrix.h"
#include "orchestrator/surgery/width/width.h"

/* What can go. */
typedef enum organ_width_kind {
    ORGAN_WIDTH_CHANNELS, /* of feed-forwards without experts */
    ORGAN_WIDTH_EXPERTS,  /* channels of routed experts, each its own */
    ORGAN_WIDTH_SHARED,   /* of the expert that every token goes through, where it is as wide as so many routed ones */
    ORGAN_WIDTH_HEADS,    /* heads of K and V with their query heads */
    ORGAN_WIDTH_KINDS
} organ_width_kind;

/* What is counted of every layer or expert, and how much of it stays. */
typedef struct organ_width_share {
    size_t whole, keep; /* 0, 0: all stays */
    size_t columns;     /* of the projection behind it that one has */
    size_t multiple;    /* that what stays is one of */
} organ_width_share;

/* A projection whose columns go. */
typedef struct organ_width_part {
    const organ_tensor *tensor;
    uint64_t matrix; /* its number in a stack; else 0 */
    const organ_width_share *share;
    organ_width_kind kind;
    uint32_t *kept;             /* share->keep numbers; before they are chosen the first ones */
    uint64_t at;                /* where its values begin in the file of choices */
    bool done;                  /* chosen, and in that file */
    organ_narrow_report report; /* 0 tokens: of an expert that none was routed to, chosen by norms */
} organ_width_part;

/* What is chosen, on the disk: values as they are solved, and a journal. */
typedef struct organ_width_choices {
    organ_output output;
    organ_run_journal journal;
    char *place, *path; /* beside the output; of the values */
    uint64_t bytes;     /* of all values */
    bool begun;
} organ_width_choices;

typedef struct organ_width_job {
    organ_plan plan; /* of a dry run: the work beside reading and writing */
    const organ_width_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_model *model;
    organ_width_share shares[ORGAN_WIDTH_KINDS];
    size_t query_heads; /* of all heads of K and V */
    organ_targets targets;
    size_t *first;           /* of each target its first part, and behind the last one part_count */
    organ_width_part *parts; /* for each matrix of each target */
    size_t part_count;
    organ_cut_layer *layers;
    organ_cut_keep *experts; /* of each expert of each layer that has some */
    size_t layer_count;
    organ_along_options walk;
    organ_along_work work;
    organ_along_text *along; /* NULL once all is chosen */
    json_t *calibration;     /* of the document */
    char digest[17];         /* of the text */
    organ_width_choices choices;
} organ_width_job;

/* Counts what there is and what stays, and lists the projections. */
organ_status organ_width_plan(organ_width_job *job, organ_error *error);
/* The second half of it. */
organ_status organ_width_list(organ_width_job *job, organ_error *error);
organ_width_kind organ_width_kind_of(const organ_tensor *tensor); /* ORGAN_WIDTH_KINDS: no columns of it can go */

/* Chooses the channels of an expert that no token was routed to: those stay for which the product of the norms of the
 * row of gate, the row of up and the column of down is greatest, of equals the later. Their columns keep their values,
 * those of the others become +0. */
organ_status organ_width_by_norms(organ_width_job *job, organ_width_part *part, float *weights, organ_error *error);

/* Opens the text; ORGAN_USAGE where the memory does not do. */
organ_status organ_width_text(organ_width_job *job, organ_error *error);
/* Goes along it: parts that are not done are chosen and kept. */
organ_status organ_width_choose(organ_width_job *job, organ_error *error);

/* Finds what an earlier run has chosen, or begins. Ended by the other one whatever it returned; `done`: they are of no
 * use any more. */
organ_status organ_width_choices_begin(organ_width_job *job, organ_error *error);
organ_status organ_width_choices_end(organ_width_job *job, bool done, organ_error *error);
/* Values of a part as the output has them, rows x what stays of the columns: `rows` of them from `first` on. */
organ_status organ_width_choices_put(const organ_width_job *job, const organ_width_part *part, const float *values,
                                     uint64_t first, uint64_t rows, organ_error *error);
organ_status organ_width_choices_get(const organ_width_job *job, const organ_width_part *part, float *values,
                                     uint64_t first, uint64_t rows, organ_error *error);
/* All its values are put. */
organ_status organ_width_choices_add(organ_width_job *job, organ_width_part *part, organ_error *error);

/* Columns of a part that stay; its rows. */
static inline uint64_t organ_width_columns(const organ_width_part *part)
{
    return part->share->keep * part->share->columns;
}
static inline uint64_t organ_width_rows(const organ_width_part *part)
{
    return organ_tensor_matrices(part->tensor).rows;
}

/* Adds the memory and the work of the walk to job->plan. */
void organ_width_foresee(organ_width_job *job);

json_t *organ_width_parameters(void *job);
json_t *organ_width_identity(void *job);
json_t *organ_width_document(void *job, const organ_writing *made);

#endif
