/* SPDX-License-Identifier: MIT
 * The weights of one model in the form of another. If one is GGUF and the other is not, the plan of a conversion to
 * GGUF is the description of both directions. If both have one format, experts may be stored in other layouts: one by
 * one, as stacks, with gate and up apart or joined, and under other names. */
#ifndef ORGAN_SURGERY_CONVERT_CONVERT_ACROSS_H
#define ORGAN_SURGERY_CONVERT_CONVERT_ACROSS_H

#include "orchestrator/surgery/write/write.h"

#include <organ/convert.h>
#include <organ/stream.h>

typedef struct organ_across organ_across;

/* A model and its weights; the caller owns both. */
typedef struct organ_across_side {
    const organ_model *model;
    const organ_weights *weights;
} organ_across_side;

/* Describes the weights of `other` in the form of `model`. Sets *across to NULL if both have one format and no experts
 * or routers of other layouts; layouts are known for supported architectures. Returns ORGAN_BAD_INPUT if one model is
 * GGUF and that of safetensors has no config.json, or an architecture that cannot be converted. The caller frees
 * *across, which is NULL after an error, before the weights of both models. */
organ_status organ_across_open(organ_across_side model, organ_across_side other, const organ_engine *engine,
                               organ_across **across, organ_error *error);
void organ_across_free(organ_across *across); /* NULL is allowed */

/* Returns the weight of the other model in the form that it has in `model` under this name; its rows are read from the
 * files of the other model. Returns NULL if the other model lacks one of its tensors. Weights that are read unchanged
 * are those of the other model. */
const organ_weight *organ_across_named(const organ_across *across, const char *name);

/* Returns organ_across_named, or without `across` (NULL) the weight of this name among `own`. */
static inline const organ_weight *organ_across_or_own(const organ_across *across, const organ_weights *own,
                                                      const char *name)
{
    return across ? organ_across_named(across, name) : organ_weights_named(own, name);
}

/* How a weight of one model is stored in the other. */
typedef enum organ_across_kind {
    ORGAN_ACROSS_UNKNOWN,  /* it has no name there */
    ORGAN_ACROSS_PAIRED,   /* a weight of the other model has values of it */
    ORGAN_ACROSS_UNPAIRED, /* the other model lacks the weights that would have them */
    ORGAN_ACROSS_LEFT_OUT, /* a conversion leaves it out: vision, draft layers, values that follow from the settings */
    ORGAN_ACROSS_RENAMED,  /* one format: it has the same rows under another name */
    ORGAN_ACROSS_OWN       /* one format: under its own name, or not at all */
} organ_across_kind;

/* Returns how the weight of this name is stored in the other model: of either model or, if both have one format, of
 * `other`. */
organ_across_kind organ_across_kind_of(const organ_across *across, const char *name);

/* Writes what organ_convert gives the model, but without the data of tensors: a GGUF file, or a directory of
 * safetensors with all its other files. Files of tensors are holes behind their headers and take no room on the disk.
 * options->write is not used. `opened`: the model, if the caller has opened it; else NULL. Adds the size of the
 * tensors, of a GGUF file also of its header, to *bytes. Each rank writes its own. Returns the errors of organ_convert
 * on reading the model, ORGAN_IO if the output cannot be written.
 */
organ_status organ_convert_outline(const organ_convert_options *options, organ_model *opened,
                                   const organ_engine *engine, const organ_progress *progress, const char *path,
                                   uint64_t *bytes, organ_error *error);

/* organ_convert of a temporary model (organ_write_origin), or of one that the caller has opened; both may be NULL. */
organ_status organ_convert_from(const organ_convert_options *options, const organ_write_origin *origin,
                                organ_model *opened, const organ_engine *engine, const organ_progress *progress,
                                json_t **report, organ_error *error);

#endif
