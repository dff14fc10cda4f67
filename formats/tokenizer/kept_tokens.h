/* SPDX-License-Identifier: MIT
 * The tokens and merges that stay when a vocabulary is cut to what texts need, and the tokenizer that has only these.
 *
 * Byte-pair encoding applies the merge of lowest rank, the leftmost first. If some merges go and all stay that encoding
 * a text applies, then it encodes the text to the same ids: at each step the pair that was the best is still there, and
 * no pair is new. Nothing crosses the borders of a final token, so these merges are those that encode the text of each
 * of its tokens alone. */
#ifndef ORGAN_TOKENIZER_KEPT_TOKENS_H
#define ORGAN_TOKENIZER_KEPT_TOKENS_H

#include <organ/tokenizer.h>

/* Why a token stays. */
enum {
    ORGAN_KEPT_USED = 1,   /* a text has it */
    ORGAN_KEPT_PART = 2,   /* a merge that stays joins it with another token */
    ORGAN_KEPT_BYTE = 4,   /* it stands for a byte, or for a character that no tokens of bytes write: without it more
                            * parts of texts would be unknown or lost */
    ORGAN_KEPT_ADDED = 8,  /* an added token whose name does not call it unused or reserved; or the unknown token */
    ORGAN_KEPT_POLICY = 16 /* a function below was asked to keep it and others like it */
};

typedef struct organ_kept_tokens {
    const organ_tokenizer *tokenizer;
    unsigned char *why; /* by id: sum of ORGAN_KEPT_*; 0: the token goes */
    bool *merges;       /* by slot of the tokenizer's table of merges: it stays */
    uint32_t count;     /* tokens that stay */
    uint32_t unmade;    /* of these, tokens of two characters or more that no merges make: a text has them only where a
                         * whole word is looked up (ignore_merges) */
    size_t merge_count; /* merges that stay */
    uint32_t *open;     /* tokens whose merges have not been looked for */
    size_t open_count, open_room;
} organ_kept_tokens;

/* Keeps the tokens for which ORGAN_KEPT_BYTE and ORGAN_KEPT_ADDED give the reason. The tokenizer must outlive `kept`.
 * Returns ORGAN_IO if memory is exhausted, as do the functions below; the caller releases `kept` in any case. */
organ_status organ_kept_begin(organ_kept_tokens *kept, const organ_tokenizer *tokenizer, organ_error *error);
void organ_kept_release(organ_kept_tokens *kept);
/* Makes *copy keep what `kept` keeps. The caller releases *copy in any case. */
organ_status organ_kept_copy(organ_kept_tokens *copy, const organ_kept_tokens *kept, organ_error *error);

/* Keeps the tokens `ids`, which texts have, with all merges that make them. */
organ_status organ_kept_use(organ_kept_tokens *kept, const uint32_t *ids, size_t count, organ_error *error);
/* Keeps the tokens of the texts that a chat template writes around the messages, as if texts had them: the text outside
 * of its tags and the literals in them, each alone, before a new line, and with the name of each usual role before or
 * after it; further the words of descriptions of tools, of tool calls and of dates. Other texts that a template joins
 * from these may get other tokens. */
organ_status organ_kept_template(organ_kept_tokens *kept, const char *template, organ_error *error);
/* Keeps all tokens that decode to a single character, with the merges that make them. */
organ_status organ_kept_characters(organ_kept_tokens *kept, organ_error *error);
/* Keeps the `count` merges of lowest rank, the tokens that they join and make, and the merges that make these. */
organ_status organ_kept_merges(organ_kept_tokens *kept, size_t count, organ_error *error);

/* Keeps all tokens and merges. Ids without a token, and those that the file marks as unused, go. */
organ_status organ_kept_all(organ_kept_tokens *kept, organ_error *error);

/* Returns a tokenizer that encodes with the kept tokens and merges alone, to ids of the whole vocabulary, and that
 * shares the tables of kept->tokenizer. `kept` and its tokenizer must outlive it and not change. The caller closes it.
 * NULL if memory is exhausted. */
organ_tokenizer *organ_kept_tokenizer(const organ_kept_tokens *kept, organ_error *error);

/* Returns the ids of the kept tokens, ascending, kept->count of them: the new id of a token is its index. The caller
 * frees them; NULL if memory is exhausted. */
uint32_t *organ_kept_ids(const organ_kept_tokens *kept, organ_error *error);

#endif
