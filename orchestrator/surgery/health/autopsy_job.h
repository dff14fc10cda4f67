/* SPDX-License-Identifier: MIT
 * Structures and functions that the parts of an autopsy share. */
#ifndef ORGAN_AUTOPSY_JOB_H
#define ORGAN_AUTOPSY_JOB_H

#include <organ/inspect.h>
#include "orchestrator/surgery/convert/convert_across.h"
#include "orchestrator/surgery/health/autopsy_ranges.h"
#include "orchestrator/surgery/health/autopsy_scan.h"

typedef struct organ_scale_pool organ_scale_pool; /* evidence collected over all weights: autopsy_scales.h */
typedef struct organ_change organ_change;         /* autopsy_change.h */
/* Relative errors of all changed weights by role: autopsy_changes.c. */
typedef struct organ_change_census organ_change_census;

/* One run of organ_autopsy. */
typedef struct organ_autopsy_job {
    const organ_autopsy_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    double started;                         /* time of the start, in seconds of organ_seconds_now */
    organ_model *model, *other;             /* the examined model, and the one to compare with (NULL: none) */
    organ_weights *weights, *other_weights; /* all weights of these models */
    organ_across *across;                   /* the weights of `other` in the form of `model`; NULL: of one format */
    organ_ranges ranges;                    /* healthy values of each role */
    size_t count;                           /* number of weights that --match selects */
    organ_weight_stats *stats;              /* statistics of the selected weights: `count` elements */
    json_t *findings, *remarks; /* arrays of {"tensor", "role", "kind", "what", "value", "range", "cause", "command"} */
    json_t *only_in_other;      /* names of weights that the examined model lacks */
    json_t *scale_test;         /* result of organ_autopsy_judge_text; NULL without --text */
    organ_scale_pool *pool;     /* evidence from organ_autopsy_judge_grid; NULL until it has judged a weight */
    /* Class of the difference of each of the `count` weights from its counterpart, and their errors by role. Both are
     * set by organ_autopsy_read_changes, NULL without another model. */
    organ_change *changes;
    organ_change_census *census;
    bool broken; /* memory ran out while rows were added; organ_autopsy_document then returns NULL */
} organ_autopsy_job;

/* Judges the statistics *v of one weight alone and adds findings and remarks about it. Returns true if it adds a
 * finding. */
bool organ_autopsy_judge(organ_autopsy_job *job, const organ_weight_stats *v);

/* Sets job->changes and job->census: classifies the difference of each weight from its counterpart. Must be called
 * after organ_autopsy_pair and, if there is another model, before all functions that judge weights. Returns ORGAN_IO or
 * ORGAN_BAD_INPUT if a weight cannot be read. */
organ_status organ_autopsy_read_changes(organ_autopsy_job *job, organ_error *error);
void organ_autopsy_changes_release(organ_autopsy_job *job);

/* Adds a finding or remark, or nothing, about the distance of weight job->stats[index] from its counterpart. `faulty`:
 * the weight has another finding, which explains the distance. */
void organ_autopsy_judge_distance(organ_autopsy_job *job, size_t index, bool faulty);

/* Compares the scales of a weight with its counterpart. If the weight is farther from its counterpart than is usual,
 * reads the blocks of both weights and computes the least-squares factor between each pair of blocks. If these factors
 * explain the distance, adds a finding that names the fault and sets *named to true. Returns ORGAN_IO or
 * ORGAN_BAD_INPUT if a weight cannot be read. */
organ_status organ_autopsy_judge_against(organ_autopsy_job *job, const organ_weight_stats *v, bool *named,
                                         organ_error *error);

/* Reads some rows of the weight again and judges its scales without the original: the order of the scales in the grid,
 * rows of blocks that differ from the others, and whether the digits of the scales are those of a quantised BF16 model.
 * Does nothing for a weight with fewer than two scales. */
organ_status organ_autopsy_judge_grid(organ_autopsy_job *job, const organ_weight_stats *v, organ_error *error);

/* Judges the scales of each weight by comparison with the other weights of the model. The caller calls it after the
 * last call of organ_autopsy_judge_grid. */
organ_status organ_autopsy_judge_scales(organ_autopsy_job *job, organ_error *error);

void organ_autopsy_scales_release(organ_autopsy_job *job);

/* Returns whether at least one weight of the model has scales. */
bool organ_autopsy_has_scales(const organ_autopsy_job *job);

/* Scores the first tokens of job->options->text with all scales multiplied by 1, 1/4, 1/2, 2 and 4. Stores the scores
 * in job->scale_test and adds a finding if a factor other than 1 gives a clearly better score. Returns ORGAN_USAGE if
 * job->engine->memory is too small; ORGAN_BAD_INPUT if the tokenizer or architecture is unknown or the text is too
 * short; ORGAN_IO if a file cannot be read; ORGAN_INTERRUPTED. */
organ_status organ_autopsy_judge_text(organ_autopsy_job *job, organ_error *error);

/* Sets `other` in each element of job->stats to the counterpart of the weight: the weight of the other model with the
 * same name or, between GGUF and safetensors, the weights of the other model with the same values, in the form of this
 * one. `other` stays NULL for a weight that has no counterpart, which gets a finding or a remark. Also reports weights
 * that only the other model has. Returns the errors of organ_across_open. */
organ_status organ_autopsy_pair(organ_autopsy_job *job, organ_error *error);

/* `relative` is ||a - b|| / ||b||, `cosine` the cosine of a and b, and `ratio` ||a|| / ||b||, where a is a weight and b
 * its counterpart. A quotient by zero is NaN, except that `relative` is 0 if both weights are zero. */
typedef struct organ_distance_view {
    double relative, cosine, ratio;
} organ_distance_view;
organ_distance_view organ_distance_view_of(const organ_distance *distance);

/* Smallest and largest relative error that a quantised copy usually has, and the name of its type or scheme ("FP8
 * E4M3"). */
typedef struct organ_usual_error {
    double least, max;
    const char *what;
} organ_usual_error;
/* Returns the usual error of copies in the type or scheme in which the weight is stored. */
organ_usual_error organ_usual_error_of(const organ_weight *weight);
/* Returns the usual error of integer codes of `bits` bits (above 8: of 8 bits) with one scale per group. */
organ_usual_error organ_usual_error_of_bits(unsigned bits);
/* Returns the larger of the usual errors of the types or schemes in which two weights are stored. */
organ_usual_error organ_usual_error_between(const organ_weight *a, const organ_weight *b);

/* The texts of a finding or remark. */
typedef struct organ_verdict {
    const char *kind;  /* identifier: one word, or two joined by an underscore */
    const char *what;  /* a short title */
    const char *range; /* the healthy values, or "" */
    const char *cause; /* likely cause, in sentences */
    bool compare;      /* the suggested command is a comparison with the original; otherwise an inspection */
} organ_verdict;

/* Adds the verdict on a weight to job->findings (`finding`) or job->remarks. `value` is a printf format for the
 * measured value. Sets job->broken if memory runs out. */
void organ_autopsy_report(organ_autopsy_job *job, bool finding, const organ_weight *weight,
                          const organ_verdict *verdict, const char *value, ...) __attribute__((format(printf, 5, 6)));

/* Returns the report of the job without its member "run", which the caller adds. NULL if memory ran out. */
json_t *organ_autopsy_document(organ_autopsy_job *job);

#endif
