/* SPDX-License-Identifier: MIT
 * Private to this folder: the tables of a tokenizer that gets new tokens, and the tokenizer.json that has them. */
#ifndef ORGAN_TOKENIZER_UNION_TABLES_H
#define ORGAN_TOKENIZER_UNION_TABLES_H

#include "formats/tokenizer/tokenizer_parts.h"

/* A token of the union that the first model lacks. */
typedef struct organ_union_token {
    bool added, from_file; /* it is an added token; it has the flags of `like` */
    organ_added like;
} organ_union_token;

typedef struct organ_union {
    const organ_union_model *models;
    size_t count;
    organ_tokenizer *u;        /* all tokens and merges of the union, without steps */
    uint32_t first;            /* id of the first new token */
    organ_union_token *tokens; /* new tokens by id - first */
    size_t token_count, token_room;
    json_t *merges; /* of the union, in order: pairs of texts */
    uint32_t ranks; /* number of these */
    json_t *warnings;
} organ_union;

/* Returns how many bytes of a token a message shows. */
static inline int organ_union_shown(size_t bytes) { return (int)(bytes < 60 ? bytes : 60); }

organ_status organ_union_lack_memory(const organ_union *s, organ_error *error);
/* Adds a token to the union; `like`: the entry of the file from which it comes, or NULL. Returns false if memory runs
 * out. */
bool organ_union_put(organ_union *s, const char *text, size_t bytes, const organ_added *like, bool added);
/* Puts the tokens of the first model. */
organ_status organ_union_put_first(organ_union *s, organ_error *error);
/* Adds a merge after all others. */
organ_status organ_union_put_pair(organ_union *s, uint32_t left, uint32_t right, uint32_t made, organ_error *error);
/* Puts the merges of the first model, or those of another one that make new tokens. */
organ_status organ_union_put_merges(organ_union *s, size_t model, organ_error *error);
/* Sets *json to the tokenizer.json of the first model with the tokens and merges of the union, and *made to the
 * tokenizer read from it. */
organ_status organ_union_write(organ_union *s, char **json, organ_tokenizer **made, organ_error *error);

#endif
