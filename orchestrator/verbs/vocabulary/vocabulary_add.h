/* SPDX-License-Identifier: MIT
 * Private to this room: organ vocabulary --add, which writes a model with new tokens. */
#ifndef ORGAN_VERBS_VOCABULARY_VOCABULARY_ADD_H
#define ORGAN_VERBS_VOCABULARY_VOCABULARY_ADD_H

#include "formats/tokenizer/tokenizer_files.h"
#include "orchestrator/surgery/vocabulary/token_tables.h"
#include "orchestrator/surgery/write/write.h"

#include <organ/cut.h>
#include <organ/stream.h>

typedef struct vocabulary_add {
    const organ_vocabulary_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_model *model;
    organ_weights *weights;
    organ_tokenizer *tokenizer;
    organ_token_tables tables;
    organ_extension extension;
    uint64_t rows; /* of the output */
    organ_piece *pieces;
    size_t piece_count;
    organ_row_layout *layouts; /* for each tensor */
    uint64_t (*shapes)[4];     /* for each tensor: its shape in the output */
    uint32_t *ids;             /* 0, 1, ..: ids that stay */
    json_t *settings;          /* changed settings */
} vocabulary_add;

/* Runs organ_vocabulary with `add` or `special`. *report has the schema organ.vocabulary_add/1. */
organ_status organ_vocabulary_add(const organ_vocabulary_options *options, const organ_engine *engine,
                                  const organ_progress *progress, json_t **report, organ_error *error);

/* Reads the new tokens of both files into job->extension (vocabulary_add_list.c). */
organ_status organ_vocabulary_add_read(vocabulary_add *job, organ_error *error);

/* Returns the parameters of the report, and the members that do not depend on the output; NULL if memory runs out. */
json_t *organ_vocabulary_add_parameters(const vocabulary_add *job);
json_t *organ_vocabulary_add_members(const vocabulary_add *job);

#endif
