/* SPDX-License-Identifier: MIT
 * The sources of the verb quantize share these functions: of options, sizes, the block for multi-token prediction and
 * the report. */
#ifndef ORGAN_VERBS_QUANTIZE_QUANTIZE_VERB_H
#define ORGAN_VERBS_QUANTIZE_QUANTIZE_VERB_H

#include "orchestrator/verbs/quantize/codes/quantize_parts.h"
#include "orchestrator/verbs/quantize/quantize_source.h"

/* ---- options ---- */

/* Returns the encoding `name` for the kind of output: MLX with --format mlx, else GGUF if `gguf`; one of another kind
 * if there is no such encoding; NULL: the name is unknown. */
const organ_encoding *organ_quantize_encoding_requested(const organ_quantize_options *options, const char *name,
                                                        bool gguf);
#define ORGAN_SCHEME_ROOM 32 /* holds every name of ORGAN_QUANTIZE_SCHEMES */
/* Returns `name` with the scheme that `typed` names in any case, else `typed`. */
const char *organ_quantize_scheme_named(const char *typed, char name[ORGAN_SCHEME_ROOM]);
/* Checks options that do not depend on the model; sets job->encoding, job->recipe and job->blocks. Returns ORGAN_USAGE
 * if they are invalid or do not fit each other. */
organ_status organ_quantize_check_options(organ_quantize_job *job, organ_error *error);

/* ---- several sizes ---- */

/* Implements organ_plan_verb for scheme mixed of a GGUF model: `call`, an organ_quantize_call, has a function that
 * makes each size. */
organ_status organ_quantize_sizes(const void *call, const organ_engine *engine, const organ_progress *progress,
                                  json_t **report, organ_error *error);
/* Returns ORGAN_USAGE if a word of --target-size is no size, or two are equal. */
organ_status organ_quantize_sizes_check(const organ_quantize_options *options, organ_error *error);

/* ---- the block for multi-token prediction ---- */

/* Reads --mtp-scheme when job->encoding is known; opens it when the targets are selected, which it changes. Return
 * ORGAN_USAGE if it has no meaning for the scheme or the model; ORGAN_IO if memory cannot be allocated. */
organ_status organ_quantize_block_check(organ_quantize_job *job, organ_error *error);
organ_status organ_quantize_block_open(organ_quantize_job *job, organ_error *error);
/* Sets the encoding of the block's matrices of a safetensors model, which one entry of config.json states. Returns
 * ORGAN_USAGE if it does not fit one of them. Called before other encodings are chosen. */
organ_status organ_quantize_block_forms(organ_quantize_job *job, organ_error *error);
/* Notes what loaders do with the block. */
void organ_quantize_block_note(const organ_quantize_job *job);

/* ---- --for ---- */

/* Checks the listed tensors of the output, or all widths that they may get if mixed widths are not chosen yet, and the
 * model's configuration for the programs of --for. Returns ORGAN_USAGE if one of them does not open the output; notes
 * what they compute otherwise, and what nobody has run. */
organ_status organ_quantize_readers_check(const organ_quantize_job *job, organ_error *error);

/* ---- report ---- */

/* Implements organ_write.parameters: the options that have an effect in this run. */
json_t *organ_quantize_parameters(void *job);
/* Sets job->repair.pair if there is an adapter. Called when job->along.run is open. */
organ_status organ_quantize_repair_pair(organ_quantize_job *job, organ_error *error);
/* Implements organ_write.identity: further settings that must be equal in a resumed run. */
json_t *organ_quantize_identity(void *job);
/* Returns the member "definitions" of the report, a new object; NULL if memory runs out. */
json_t *organ_quantize_definitions(const organ_quantize_job *job);
/* Implements organ_write.document: the members of the report. */
json_t *organ_quantize_document(void *job, const organ_writing *made);

#endif
