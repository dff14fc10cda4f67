/* SPDX-License-Identifier: MIT
 * What the parts of organ_width share: width.c runs it, plan.c says how much stays, choose.c goes along the text, choices.c keeps what it
 * has chosen, document.c tells. */
#ifndef ORGAN_WIDTH_JOB_H
#define ORGAN_WIDTH_JOB_H

#include "orchestrator/surgery/along_text/along_text.h"
#include "orchestrator/surgery/cut/cut.h"
#include "orchestrator/surgery/output/output.h"
#include "orchestrator/surgery/width/narrow_matrix.h"
#include "orchestrator/surgery/width/width.h"

/* What is counted of every layer, and how much of it stays: channels, or heads of K and V. */
typedef struct organ_width_share {
    size_t whole, keep; /* 0, 0: all stays */
    size_t columns;     /* of the projection behind it that one has */
} organ_width_share;

/* A projection whose columns go. */
typedef struct organ_width_part {
    const organ_tensor *tensor;
    const organ_width_share *share;
    bool heads;     /* of the attention; else of the feed-forward */
    uint32_t *kept; /* share->keep numbers; before they are chosen the first ones */
    uint64_t at;    /* where its values begin in the file of choices */
    bool done;      /* chosen, and in that file */
    organ_narrow_report report;
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
    const organ_width_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_model *model;
    organ_width_share ffn, heads;
    size_t multiple, query_heads; /* in use; of all heads of K and V */
    organ_targets targets;
    organ_width_part *parts; /* of each target */
    organ_cut_layer *layers;
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

/* Opens the text; ORGAN_USAGE where the memory does not do. */
organ_status organ_width_text(organ_width_job *job, organ_error *error);
/* Goes along it: parts that are not done are chosen and kept. */
organ_status organ_width_choose(organ_width_job *job, organ_error *error);

/* Finds what an earlier run has chosen, or begins. Ended by the other one whatever it returned; `done`: they are of no use any more. */
organ_status organ_width_choices_begin(organ_width_job *job, organ_error *error);
organ_status organ_width_choices_end(organ_width_job *job, bool done, organ_error *error);
/* Values of a part as the output has them, rows x what stays of the columns: `rows` of them from `first` on. */
organ_status organ_width_choices_put(const organ_width_job *job, const organ_width_part *part, const float *values, uint64_t first,
                                     uint64_t rows, organ_error *error);
organ_status organ_width_choices_get(const organ_width_job *job, const organ_width_part *part, float *values, uint64_t first, uint64_t rows,
                                     organ_error *error);
/* All its values are put. */
organ_status organ_width_choices_add(organ_width_job *job, organ_width_part *part, organ_error *error);

/* Columns of a part that stay. */
static inline uint64_t organ_width_columns(const organ_width_part *part) { return part->share->keep * part->share->columns; }

json_t *organ_width_parameters(void *job);
json_t *organ_width_identity(void *job);
json_t *organ_width_document(void *job, const organ_cut_run *run, const organ_unit_output *made);

#endif
