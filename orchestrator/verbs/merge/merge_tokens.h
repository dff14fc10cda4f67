/* SPDX-License-Identifier: MIT
 * The sections `tokenizer`, `tokenizer_source` and `chat_template` of a recipe, and the vocabulary of the output. */
#ifndef ORGAN_VERBS_MERGE_MERGE_TOKENS_H
#define ORGAN_VERBS_MERGE_MERGE_TOKENS_H

#include "formats/tokenizer/tokenizer_files.h"

#include <stdbool.h>

/* The vocabulary of the output. */
typedef enum merge_token_source {
    MERGE_TOKENS_UNSET, /* that of the host; all models have the same */
    MERGE_TOKENS_UNION,
    MERGE_TOKENS_BASE,
    MERGE_TOKENS_MODEL
} merge_token_source;

typedef enum merge_token_kind {
    MERGE_TOKEN_OF_MODEL,
    MERGE_TOKEN_NAMED,
    MERGE_TOKEN_ID,
    MERGE_TOKEN_ZERO
} merge_token_kind;

/* The row that models without a token get for it. */
typedef struct merge_token_rule {
    const char *token;
    size_t line;
    merge_token_kind kind;
    size_t donor;     /* whose row it is */
    const char *name; /* MERGE_TOKEN_NAMED: another token of this model */
    uint64_t id;      /* the row in `donor`: given (MERGE_TOKEN_ID), or found with the vocabulary; not for ..._ZERO */
    bool force;       /* models that have the token get the row too */
} merge_token_rule;

typedef struct merge_token_recipe {
    merge_token_source source;
    size_t donor; /* MERGE_TOKENS_MODEL */
    size_t line;
    merge_token_rule *rules;
    size_t rule_count;
    uint64_t multiple;         /* the rows are a multiple of it; 0: as many as needed */
    const char *chat_template; /* NULL: not given */
    size_t chat_line;
} merge_token_recipe;

/* The vocabulary of an output with `tokenizer`. */
typedef struct merge_vocabulary {
    size_t home;                    /* donor whose ids the output has */
    uint32_t count;                 /* ids of the output */
    uint64_t rows;                  /* of its tensors with a row for each token */
    uint64_t *height;               /* of each donor: the same */
    organ_tokenizer **tokenizers;   /* of each donor */
    organ_tokenizer *made;          /* of the output; NULL: that of `home` */
    char *json;                     /* its tokenizer.json; NULL: that of `home` */
    uint32_t **places;              /* of each donor, for each row of the output: its row, or ORGAN_NO_ROW */
    const merge_token_rule **rules; /* for each id of the output, or NULL */
    bool told;                      /* tokens without a row have been warned of */
} merge_vocabulary;

#endif
