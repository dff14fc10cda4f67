/* SPDX-License-Identifier: MIT
 * The output head of a model: the matrix that gives the logits. The rule is that of transformers 5, and every verb
 * follows it:
 *   - GGUF: output.weight if the file has it, else token_embd.weight;
 *   - safetensors: a stored head whose values differ from those of the embedding, whatever config.json says; a stored
 *     head with the values of the embedding if tie_word_embeddings is false; else the embedding.
 * Older loaders, servers and mlx-lm take the embedding if tie_word_embeddings is true, so an output whose stored head
 * differs says false. */
#ifndef ORGAN_OUTPUT_HEAD_H
#define ORGAN_OUTPUT_HEAD_H

#include "formats/base/json.h"

#include <organ/stream.h>
#include <organ/weights.h>

typedef struct organ_head {
    const organ_weight *stored;    /* the head in the model's files; NULL: none */
    const organ_weight *embedding; /* the embedding of its shape, or else the first; NULL: none */
    bool own;                      /* the logits are those of `stored`; false: those of `embedding` */
} organ_head;

/* Finds the head. Reads embedding and head if config.json ties them and the files have both. `engine`: NULL compares
 * them on the calling thread. The weights are those of `weights`. Returns ORGAN_IO if reading fails or memory runs out,
 * ORGAN_INTERRUPTED if a stop was requested. */
organ_status organ_head_find(const organ_model *model, const organ_weights *weights, const organ_engine *engine,
                             organ_head *head, organ_error *error);

/* Sets *differ to whether two tensors with equal numbers of bytes have other bytes. `engine`: NULL compares them on the
 * calling thread. Returns the errors of organ_head_find. */
organ_status organ_tensors_differ(const organ_model *a, const organ_tensor *of_a, const organ_model *b,
                                  const organ_tensor *of_b, const organ_engine *engine, bool *differ,
                                  organ_error *error);

/* Sets *same if the model stores a head and it has the values of the embedding, whatever config.json says. Returns the
 * errors of organ_head_find. */
organ_status organ_head_repeats(const organ_model *model, const organ_weights *weights, const organ_engine *engine,
                                bool *same, organ_error *error);

/* Sets tie_word_embeddings of `config`, the config.json of `model`, to false if the model's files have a head of other
 * values than the embedding. *untied: whether it did. Returns the errors of organ_weights_find and organ_head_find. */
organ_status organ_head_untie(const organ_model *model, const organ_engine *engine, organ_json_edit *config,
                              bool *untied, organ_error *error);

/* Applies organ_head_untie to config.json in the directory `to`, from which `model` was opened, if it ties the head.
 * Prints a note if the file changed. */
organ_status organ_head_settle(const char *to, const organ_model *model, const organ_engine *engine,
                               const organ_progress *progress, organ_error *error);

#endif
