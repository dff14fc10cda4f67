/* SPDX-License-Identifier: MIT
 * A head that scores labels in place of tokens: a classifier, or a reranker, whose rows are those of the labels' tokens
 * in the head of the model. */
#ifndef ORGAN_SURGERY_VOCABULARY_LABEL_HEAD_H
#define ORGAN_SURGERY_VOCABULARY_LABEL_HEAD_H

#include "formats/base/json.h"
#include "formats/gguf/file.h"
#include "orchestrator/surgery/vocabulary/token_tables.h"

#include <organ/models.h>
#include <organ/tokenizer.h>

enum { ORGAN_LABELS_MOST = 1024 };

typedef struct organ_label {
    const char *text;
    uint32_t id; /* of its token */
} organ_label;

/* The rows of labels that replace the head of a model. */
typedef struct organ_label_head {
    const organ_label *labels; /* in the order of the rows */
    size_t count;
    const organ_weight *rows;    /* the head, or the embedding that is also the head */
    const organ_tensor *removed; /* the head, which the output lacks; NULL: the embedding is the head */
    const char *name;            /* of the tensor with the rows of the labels */
    uint64_t shape[2];           /* of this tensor: labels, hidden size */
    char architecture[96];       /* class of the output in transformers, or general.architecture */
    json_int_t pad;              /* id of the token that fills shorter texts of a batch in transformers; -1: GGUF */
    const char *pad_from;        /* the setting that states it */
} organ_label_head;

/* Sets *id to the token of a label: the one that stands for exactly this text in the vocabulary; without one, the token
 * that the tokenizer makes of the label as a text of its own. *tokens is the number of tokens of the label; the caller
 * refuses all but 1. Returns the errors of organ_tokenizer_encode. */
organ_status organ_label_token(const organ_tokenizer *tokenizer, const char *label, uint32_t *id, size_t *tokens,
                               organ_error *error);

/* Finds what the head of `labels` needs; they, the model, its weights and tables must outlive *head. Returns
 * ORGAN_BAD_INPUT, naming it, for a model that has a classifier, for an architecture without a class with labels in
 * transformers or, in GGUF, one whose labels llama.cpp does not read, for logits that the model scales or limits after
 * the head or to which it adds a bias, for packed weights in safetensors, for a token without a row, and for a model
 * without a token that fills texts or ends them. */
organ_status organ_label_head_find(const organ_model *model, const organ_weights *weights,
                                   const organ_token_tables *tables, const organ_tokenizer *tokenizer,
                                   const organ_label *labels, size_t count, organ_label_head *head, organ_error *error);

/* Sets the class, the labels and the token that fills texts in a config.json, and removes the settings by which vLLM
 * makes rows of labels from a head; or sets the labels and the pooling in key-values. Adds {"where", "key", "before",
 * "after"} of each change to `changes` unless it is NULL. */
organ_status organ_label_head_edit(const organ_label_head *head, organ_json_edit *config, json_t *changes,
                                   organ_error *error);
organ_status organ_label_head_edit_keys(const organ_label_head *head, organ_gguf_writer *writer, json_t *changes,
                                        organ_error *error);

/* Sets the text with {query} and {document} that llama.cpp's server gives to a reranker. */
organ_status organ_label_head_template(const char *text, organ_gguf_writer *writer, json_t *changes,
                                       organ_error *error);

#endif
