/* SPDX-License-Identifier: MIT
 * Finds the kind and the script of each token of a vocabulary, and the bytes of texts that no token writes. */
#ifndef ORGAN_TOKENIZER_TOKEN_GROUPS_H
#define ORGAN_TOKENIZER_TOKEN_GROUPS_H

#include <organ/tokenizer.h>

/* The kind of a token, by the bytes that it decodes to. */
typedef enum organ_token_kind {
    ORGAN_TOKEN_NONE,     /* the id has no token, or the file marks it as unused */
    ORGAN_TOKEN_ADDED,    /* an added token: "<|im_end|>" */
    ORGAN_TOKEN_BYTE,     /* one byte that is no character: "<0xC3>" */
    ORGAN_TOKEN_FRAGMENT, /* several bytes that are not whole characters */
    ORGAN_TOKEN_WORD,     /* a blank and letters: the beginning of a word */
    ORGAN_TOKEN_LETTERS,  /* letters that follow no blank */
    ORGAN_TOKEN_NUMBER,   /* digits without letters */
    ORGAN_TOKEN_SYMBOL,   /* punctuation or symbols without letters and digits */
    ORGAN_TOKEN_SPACE,    /* white space */
    ORGAN_TOKEN_KINDS
} organ_token_kind;
const char *organ_token_kind_name(unsigned kind); /* "added", "byte", "part of characters", "word", ... */

/* Scripts are numbered from 0, "none": a token without letters, or of the first four kinds. The script of other tokens
 * is that of their first letter. */
unsigned organ_token_scripts(void);
const char *organ_token_script_name(unsigned script);

typedef struct organ_token_groups {
    uint32_t count;                 /* ids of the vocabulary */
    unsigned char *kinds, *scripts; /* by id */
    uint32_t tokens, added;         /* ids that have a token, and those of them that are added tokens */
    uint32_t holes, unused;         /* ids without a token, and those that the file marks as unused */
    size_t merges;                  /* merges of two tokens */
    bool lacks[256];                /* no token writes this byte of a text */
    unsigned lacking;               /* number of these bytes */
} organ_token_groups;

/* Returns ORGAN_IO if memory is exhausted. The caller releases `groups` in any case. */
organ_status organ_token_groups_find(organ_token_groups *groups, const organ_tokenizer *tokenizer, organ_error *error);
void organ_token_groups_release(organ_token_groups *groups);

#endif
