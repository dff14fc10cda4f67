/* SPDX-License-Identifier: MIT
 * The steps of a run: before a model is quantised, a temporary one may be made of it, a GGUF file to which a
 * safetensors model is converted, or a smoothed copy (surgery/folds). */
#ifndef ORGAN_VERBS_QUANTIZE_QUANTIZE_SOURCE_H
#define ORGAN_VERBS_QUANTIZE_QUANTIZE_SOURCE_H

#include "orchestrator/output/hidden_folder.h"
#include "orchestrator/output/plan.h"
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/surgery/folds/smooth.h"
#include "orchestrator/verbs/quantize/codes/quantize_parts.h"

/* One call of quantize. */
typedef struct organ_quantize_call {
    const organ_quantize_options *options;
    const organ_quantize_source *source;   /* the conversion to GGUF that came first; NULL: there was none */
    organ_model *opened;                   /* the model of the options; NULL: it is not open yet */
    const organ_write_origin *origin;      /* as in organ_write */
    const organ_quantize_pruning *pruning; /* NULL: none */
    organ_plan_verb *one;                  /* makes one of several sizes (organ_quantize_sizes): organ_quantize_run */
} organ_quantize_call;

/* The steps of a run. */
struct organ_quantize_source {
    organ_quantize_call call; /* of the user */
    const organ_engine *engine;
    const organ_progress *progress;
    const char *model;         /* path of the model that the user gave */
    organ_model *opened;       /* the model, until the step that reads it ends; NULL: that opens it */
    const organ_steps *first;  /* converts or smooths the model; NULL: there is no such step */
    organ_run_inputs inputs;   /* the files of the model, for the record of the first step */
    json_t *made;              /* report of the first step */
    bool measures;             /* scheme mixed: interrupted measurements can be resumed without an unfinished output */
    organ_hidden_model hidden; /* what the first step makes */
    char *like;                /* organ_output.like of the output */
    char *name;                /* name of the temporary model */
    char *partial;             /* partial directory of the output; set with hidden.partial */
    bool waits;                /* the output of a killed run is complete and waits for its name */
    uint64_t bytes;            /* bytes of the converted file; set with the outline */
};

/* Implements organ_plan_verb: quantises one model; `call` is an organ_quantize_call, whose options are checked by
 * organ_quantize_from. With `pruning` each matrix is pruned first; the options must name method gptq, and a target that
 * the scheme cannot represent is not pruned. Returns ORGAN_USAGE if then the scheme is one of GGUF models. */
organ_status organ_quantize_run(const void *call, const organ_engine *engine, const organ_progress *progress,
                                json_t **report, organ_error *error);

#define ORGAN_QUANTIZE_SIZES 64 /* most sizes of one call */

/* The outputs of a run: of each size, and the adapter of --repair-rank. */
typedef struct organ_quantize_outputs {
    char *of[ORGAN_QUANTIZE_SIZES + 2]; /* the last one stays free for `record` */
    size_t count;
    char *record; /* path of OUT.sizes.json, the record of several sizes; NULL: there is none */
} organ_quantize_outputs;

/* Lists the outputs of the options, whose output must not be NULL. Returns the errors of --target-size, ORGAN_IO if
 * memory runs out. The caller releases the list, also after an error. */
organ_status organ_quantize_outputs_list(const organ_quantize_options *options, organ_quantize_outputs *outputs,
                                         organ_error *error);
/* Returns ORGAN_USAGE if one of several sizes exists, or an output is begun, without --resume and --force; `waits`: a
 * single output that waits for its name is continued. */
organ_status organ_quantize_outputs_check(const organ_quantize_options *options, const organ_quantize_outputs *outputs,
                                          bool waits, organ_error *error);
void organ_quantize_outputs_release(organ_quantize_outputs *outputs);

/* Runs the steps of a call with checked options: a conversion first, if they ask for GGUF blocks of a model that is not
 * GGUF, or a smoothing; then one output or several sizes. Reserves the outputs before, and removes the temporary model
 * of a run that was killed after its last output got its name. Returns the errors of organ_steps_run and of the steps,
 * ORGAN_USAGE if the output is no file or exists. */
organ_status organ_quantize_steps(const organ_quantize_call *call, const organ_engine *engine,
                                  const organ_progress *progress, json_t **report, organ_error *error);
/* Removes the converted file of a run of `scheme` from `model` that was killed after `output` got its name. The caller
 * has reserved the output. */
void organ_quantize_source_tidy(const char *model, const char *output, const char *scheme);
/* Returns the options of the smoothing of a run, which has the output of the run. */
organ_smooth_options organ_quantize_smoothing(const organ_quantize_options *options);
/* Returns ORGAN_USAGE for options that --smooth and scheme none do not permit. */
organ_status organ_quantize_smooth_check(const organ_quantize_options *options, organ_error *error);
/* organ_quantize of a temporary model. */
organ_status organ_quantize_from(const organ_quantize_options *options, const organ_write_origin *origin,
                                 const organ_engine *engine, const organ_progress *progress, json_t **report,
                                 organ_error *error);

#endif
