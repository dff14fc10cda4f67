/* SPDX-License-Identifier: MIT
 * The temporary model that is made before it is quantised: a GGUF file to which a safetensors model is converted, or a
 * smoothed copy of it (surgery/folds). */
#ifndef ORGAN_VERBS_QUANTIZE_QUANTIZE_SOURCE_H
#define ORGAN_VERBS_QUANTIZE_QUANTIZE_SOURCE_H

#include "orchestrator/output/hidden_folder.h"
#include "orchestrator/output/plan.h"
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/surgery/folds/smooth.h"
#include "orchestrator/verbs/quantize/codes/quantize_parts.h"

struct organ_quantize_source {
    const char *model;                /* path of the safetensors model */
    const char *output;               /* path of the output */
    const organ_write_origin *origin; /* of the model, as in organ_write; set by the caller */
    organ_run_inputs inputs;          /* the files of the model, for the record of the conversion */
    const organ_quantize_options *options;
    bool smooths;              /* the temporary model is a smoothed copy */
    json_t *smoothed;          /* its report */
    bool measures;             /* scheme mixed: interrupted measurements can be resumed without an unfinished output */
    organ_hidden_model hidden; /* the converted file; `folder` NULL: no conversion is needed */
    char *like;                /* organ_output.like of the output */
    char *name;                /* name of the converted file */
    char *partial;             /* partial directory of the output; set with hidden.partial */
    bool waits;                /* the output of a killed run is complete and waits for its name */
    uint64_t bytes;            /* bytes of the converted file; set with the outline */
};

/* One call of quantize. */
typedef struct organ_quantize_call {
    const organ_quantize_options *options;
    const organ_quantize_source *source;   /* the conversion to GGUF that came first; NULL: there was none */
    const organ_write_origin *origin;      /* as in organ_write */
    const organ_quantize_pruning *pruning; /* NULL: none */
    organ_plan_verb *one;                  /* makes one of several sizes (organ_quantize_sizes): organ_quantize_run */
} organ_quantize_call;

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

/* Finds out whether the options ask for GGUF blocks of a model that is not GGUF, or for a smoothed model; if not,
 * source->hidden.folder is NULL.
 * Checks that the output can be written. Returns the errors of organ_model_open, ORGAN_USAGE if the output is no file
 * or exists. The caller calls organ_quantize_source_close, also after an error. */
organ_status organ_quantize_source_find(const organ_quantize_options *options, organ_quantize_source *source,
                                        organ_error *error);
/* Reserves the outputs of a run that converts, measures or writes several of them, before that work, and removes the
 * converted file of a run that was killed after its last output got its name. Sets source->waits; with --force it
 * removes such outputs instead, because the run converts and measures again. Returns the errors of
 * organ_run_names_reserve. */
organ_status organ_quantize_source_reserve(const organ_quantize_options *options, organ_quantize_source *source,
                                           organ_ranks *ranks, organ_error *error);
/* Removes the converted file of a run of `scheme` from `model` that was killed after `output` got its name. The caller
 * has reserved the output. */
void organ_quantize_source_tidy(const char *model, const char *output, const char *scheme);
/* Returns the options of the smoothing of a run with `smooth`; the caller sets `write`. */
organ_smooth_options organ_quantize_smoothing(const organ_quantize_options *options);
/* Makes the outline and sets source->bytes. Returns the errors of organ_convert_outline, ORGAN_IO if the directory
 * for temporary files cannot be written. */
organ_status organ_quantize_source_outline(organ_quantize_source *source, const organ_engine *engine,
                                           const organ_progress *progress, organ_error *error);
/* Converts the model to source->hidden.path, unless a rank has an error already. With `resume`, keeps a finished file
 * and continues an unfinished one, if their record (organ_run_record_begin) has the same inputs; else returns
 * ORGAN_USAGE. Returns the errors of organ_convert. */
organ_status organ_quantize_source_make(organ_quantize_source *source, bool resume, const organ_engine *engine,
                                        const organ_progress *progress, organ_error *error);
/* Removes the files and releases the source. After an error with which the run can be resumed, the converted file
 * stays. All ranks call it. */
void organ_quantize_source_close(organ_quantize_source *source, organ_error *error);

/* Returns ORGAN_USAGE for options that --smooth and scheme none do not permit. */
organ_status organ_quantize_smooth_check(const organ_quantize_options *options, organ_error *error);
/* Writes the smoothed model (scheme none). */
organ_status organ_quantize_smooth_only(const organ_quantize_options *options, const organ_engine *engine,
                                        const organ_progress *progress, json_t **report, organ_error *error);

/* organ_quantize of a temporary model. */
organ_status organ_quantize_from(const organ_quantize_options *options, const organ_write_origin *origin,
                                 const organ_engine *engine, const organ_progress *progress, json_t **report,
                                 organ_error *error);

#endif
