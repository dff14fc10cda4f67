/* SPDX-License-Identifier: MIT
 * Room surgery/vocabulary: what of a model depends on the ids of its tokens. Input: the weights of a model. Output: the
 * tensors with a row for each token, and what fewer rows save. */
#ifndef ORGAN_SURGERY_VOCABULARY_TOKEN_TABLES_H
#define ORGAN_SURGERY_VOCABULARY_TOKEN_TABLES_H

#include "orchestrator/surgery/vocabulary/row_layout.h"

#include <jansson.h>

/* The use of a tensor that has a row, or one value, for each token. */
typedef enum organ_token_use {
    ORGAN_TOKENS_EMBEDDING, /* embedding matrix, also the copies in blocks for multi-token prediction */
    ORGAN_TOKENS_PER_LAYER, /* embeddings of all layers (Gemma 3n, Gemma 4) */
    ORGAN_TOKENS_HEAD,      /* output head, also the heads of those blocks */
    ORGAN_TOKENS_BIAS       /* bias of the head */
} organ_token_use;
const char *organ_token_use_name(organ_token_use use); /* "embedding", "per-layer embedding", "head", "head bias" */

typedef struct organ_token_table {
    const organ_weight *weight;
    organ_token_use use;
    uint64_t rows, bytes; /* rows of the weight, and bytes of all its tensors */
} organ_token_table;

typedef struct organ_token_tables {
    organ_token_table *list;
    size_t count;
    uint64_t rows; /* of the embedding matrix; 0: the model has none */
} organ_token_tables;

/* Returns whether the weight of a model whose embedding matrix has `rows` rows has a row for each token, and sets *use.
 * Per-layer embeddings may have another number of rows. */
bool organ_token_use_of(const organ_weight *weight, uint64_t rows, organ_token_use *use);

/* Finds the tensors with a row for each token, in the order of `weights`, which must outlive *tables. Returns
 * ORGAN_BAD_INPUT if there is no embedding matrix; ORGAN_IO if memory is exhausted. The caller releases *tables in any
 * case. */
organ_status organ_token_tables_find(const organ_model *model, const organ_weights *weights, organ_token_tables *tables,
                                     organ_error *error);
void organ_token_tables_release(organ_token_tables *tables);

/* Returns the bytes of a table that has `rows` rows instead. Exact for codes and scales that belong to single rows. */
uint64_t organ_token_table_bytes(const organ_token_table *table, uint64_t rows);

/* Sets layouts[t] for each tensor t of the model with something for each row of a table; the others were and stay zero
 * (ORGAN_ROWS_NONE). Returns the errors of organ_row_layout_find. */
organ_status organ_token_tables_tensors(const organ_model *model, const organ_token_tables *tables,
                                        organ_row_layout *layouts, organ_error *error);

/* ---- lists of kept ids ---- */

/* Loads a report of organ_vocabulary, which the caller releases. Returns ORGAN_BAD_INPUT for a file that is not JSON,
 * and the errors of organ_input_load. */
organ_status organ_kept_report_load(const char *path, json_t **report, organ_error *error);

/* Reads the ascending ids below `below` of the list `kept` of a report of organ_vocabulary. Returns ORGAN_BAD_INPUT,
 * naming `label` and the element, for others. The caller frees *ids, also after an error. */
organ_status organ_kept_list_read(const json_t *list, uint64_t below, const char *label, uint32_t **ids, size_t *count,
                                  organ_error *error);

#endif
