/* SPDX-License-Identifier: MIT
 * Scheme mixed: the types of GGUF tensors and the widths of safetensors tensors that fit a size. quantize_parts.h
 * includes this header. */
#ifndef ORGAN_VERBS_QUANTIZE_QUANTIZE_TYPES_H
#define ORGAN_VERBS_QUANTIZE_QUANTIZE_TYPES_H

/* ---- types by size ---- */

/* Returns whether the options ask for scheme mixed of a GGUF model. */
bool organ_quantize_types_wanted(const organ_quantize_options *options);
/* Implements organ_quantize for such options: calls `one`, which makes one output, for each size. `source` is only an
 * argument of `one`. */
typedef organ_status organ_quantize_one(const organ_quantize_options *options, const organ_quantize_source *source,
                                        const organ_engine *engine, const organ_progress *progress, json_t **report,
                                        organ_error *error);
organ_status organ_quantize_sizes(const organ_quantize_options *options, const organ_quantize_source *source,
                                  organ_quantize_one *one, const organ_engine *engine, const organ_progress *progress,
                                  json_t **report, organ_error *error);
/* Returns ORGAN_USAGE if a word of --target-size is no size, or two are equal. */
organ_status organ_quantize_sizes_check(const organ_quantize_options *options, organ_error *error);
/* Returns `path`, without slashes at its end, with `end` in place of ".gguf" or at its end. The caller frees it. NULL
 * if memory runs out. */
char *organ_quantize_name_beside(const char *path, const char *end);
/* Returns ORGAN_USAGE if the options do not fit scheme mixed of a GGUF model. */
organ_status organ_quantize_types_check(const organ_quantize_options *options, organ_error *error);
/* Creates job->types: lists the tensors that get a type, and opens the text on which costs are measured. Returns
 * ORGAN_USAGE if the smallest types are too large, and the errors of organ_curves_open. */
organ_status organ_quantize_types_open(organ_quantize_job *job, organ_error *error);
/* Chooses the type of each tensor: takes the costs from the journal or --allocation FILE, or measures them, then solves
 * the integer programme. Sets job->encodings. A dry run assumes costs that are not known. Returns the errors of
 * organ_curves_run and organ_curves_recall. */
organ_status organ_quantize_types_decide(organ_quantize_job *job, organ_error *error);
void organ_quantize_types_close(organ_quantize_types *types); /* NULL is allowed */

/* ---- mixed widths ---- */

/* Returns ORGAN_USAGE if --allocate, --budget, --one-width and --method do not fit the scheme. `mixed`: the scheme is
 * "mixed". */
organ_status organ_quantize_widths_check(const organ_quantize_options *options, bool mixed, organ_error *error);
/* Creates job->widths: lists the targets, and opens the text on which costs are measured. Returns ORGAN_USAGE if the
 * budget is too small, and the errors of organ_curves_open. */
organ_status organ_quantize_widths_open(organ_quantize_job *job, organ_error *error);
/* Finds the width of each target: takes the costs of widths from the journal or --allocation FILE, or measures them in
 * nats per token; then divides the budget of bits. Sets job->encodings. A dry run assumes costs that are not known, and
 * makes no exchanges. Returns the errors of organ_curves_run, organ_curves_recall and organ_exchanges_run. */
organ_status organ_quantize_widths_decide(organ_quantize_job *job, organ_error *error);
void organ_quantize_widths_close(organ_quantize_widths *widths); /* NULL is allowed */

#endif
