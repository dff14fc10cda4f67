/* SPDX-License-Identifier: MIT
 * Models of the form MODEL+ADAPTER: rows of a weight W become those of W + scale B A, in FP32, while they are read. */
#ifndef ORGAN_VERBS_LORA_ADAPTED_H
#define ORGAN_VERBS_LORA_ADAPTED_H

#include "formats/base/arena.h"
#include "orchestrator/surgery/merge/merge_input.h"
#include "orchestrator/verbs/convert/convert_across.h"
#include "orchestrator/verbs/lora/adapter_write.h"

#include <organ/models.h>
#include <organ/weights.h>

/* An adapter and the weights of its base that it changes. All zero: no adapter. */
typedef struct organ_adapted {
    organ_adapter *adapter, *translated;
    const organ_model *model;
    const organ_weights *weights;
    organ_lora_names names;
    struct adapted_pair *pairs;
    size_t pair_count;
} organ_adapted;

/* Divides a name of the form MODEL+ADAPTER, unless there is a file of the whole name: sets *model, and *adapter to the
 * path of the adapter. Other names are the model, with *adapter NULL. The model
 * is the longest text before a '+' that is a path of this machine; else the longest one after whose '+' such a path
 * follows; else, if the name is no URL, the text before the first '+'. Returns the errors of organ_name_resolve for the
 * adapter. */
organ_status organ_adapted_split(const char *name, organ_arena *arena, const char **model, const char **adapter,
                                 organ_error *error);

/* Opens the adapter at `path` for the model and its weights, which the caller keeps until organ_adapted_close. Returns
 * the errors of organ_adapter_open, and ORGAN_BAD_INPUT, with advice, for a model that is GGUF, and for an adapter that
 * is not only factors of matrices of the model. Warns of the remarks on the adapter. organ_adapted_close accepts what
 * it leaves after an error, and all zero. */
organ_status organ_adapted_open(const char *path, const organ_model *model, const organ_weights *weights,
                                const organ_engine *engine, const organ_progress *progress, organ_adapted *adapted,
                                organ_error *error);
void organ_adapted_close(organ_adapted *adapted);

/* Returns how the adapter changes the weight, one of those given to organ_adapted_open; NULL: not at all. */
const organ_merge_change *organ_adapted_change(const organ_adapted *adapted, const organ_weight *weight);

/* Returns ORGAN_BAD_INPUT, with advice, if the adapter changes a weight whose rows are parts of other weights in
 * `across` (NULL is allowed). */
organ_status organ_adapted_check(const organ_adapted *adapted, const organ_across *across, organ_error *error);

/* Returns the errors of organ_model_unchanged for the files of the adapter. */
organ_status organ_adapted_unchanged(const organ_adapted *adapted, organ_error *error);

/* The end of a message on factors for the head of a model whose head is its embedding. */
#define ORGAN_LORA_UNTIE                                                                                               \
    "save the base with a head of its own first: lm_head.weight, a copy of the embedding, and tie_word_embeddings "    \
    "false"

#endif
