/* SPDX-License-Identifier: MIT
 * The tokens and merges that stay when a vocabulary is cut to what texts need, and the tokenizer that has only these.
 *
 * Byte-pair encoding applies the merge of lowest rank, the leftmost first. If some merges go and all stay that encoding
 * a text applies, then it encodes the text to the same ids: at each step the pair that was the best is still there, and
 * no pair is new. Nothing crosses the borders of a final token, so these merges are those that encode the text of each
 * of its tokens alone. */
#ifndef ORGAN_TOKENIZER_KEPT_TOKENS_H
#define ORGAN_TOKENIZER_KEPT_TOKENS_H

#include "formats/gguf/file.h"

#include <organ/tokenizer.h>

/* Why a token stays. */
enum {
    ORGAN_KEPT_USED = 1,   /* a text has it */
    ORGAN_KEPT_PART = 2,   /* a merge that stays joins it with another token */
    ORGAN_KEPT_BYTE = 4,   /* it stands for a byte, or for a character that no tokens of bytes write: without it more
                            * parts of texts would be unknown or lost */
    ORGAN_KEPT_ADDED = 8,  /* an added token whose name does not call it unused or reserved; the unknown token; a token
                            * that settings name */
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
/* Keeps the tokens `ids` alone, and the merges whose two tokens and result stay that make one of them at last. */
organ_status organ_kept_begin_list(organ_kept_tokens *kept, const organ_tokenizer *tokenizer, const uint32_t *ids,
                                   size_t count, organ_error *error);
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

/* Keeps the tokens `ids`, for the reason `why`, without the merges that make them, but with those merges whose two
 * tokens stay. */
organ_status organ_kept_add(organ_kept_tokens *kept, const uint32_t *ids, size_t count, unsigned why,
                            organ_error *error);
/* Keeps tokens of the lowest ids that go, as organ_kept_add does, until `count` tokens stay or none is left. */
organ_status organ_kept_fill(organ_kept_tokens *kept, uint32_t count, organ_error *error);

/* Returns a tokenizer that encodes with the kept tokens and merges alone, to ids of the whole vocabulary, and that
 * shares the tables of kept->tokenizer. `kept` and its tokenizer must outlive it and not change. The caller closes it.
 * NULL if memory is exhausted. */
organ_tokenizer *organ_kept_tokenizer(const organ_kept_tokens *kept, organ_error *error);

/* Returns the ids of the kept tokens, ascending, kept->count of them: the new id of a token is its index. The caller
 * frees them; NULL if memory is exhausted. */
uint32_t *organ_kept_ids(const organ_kept_tokens *kept, organ_error *error);
/* Returns the new id of each token, ORGAN_NO_ROW (UINT32_MAX) for those that go. The caller frees them; NULL if memory
 * is exhausted. */
uint32_t *organ_kept_new_ids(const organ_kept_tokens *kept, organ_error *error);

/* ---- the files of a tokenizer that has only the kept tokens (kept_files.c) ---- */

/* Keeps the tokens that the files of the model's tokenizer name: ids of the post-processor and of padding in
 * tokenizer.json, special tokens in tokenizer_config.json. Returns ORGAN_BAD_INPUT for a malformed file. */
organ_status organ_kept_named(organ_kept_tokens *kept, const organ_model *model, organ_error *error);

/* Sets *text to the file `name` of the model, "tokenizer.json" or "tokenizer_config.json", with the kept tokens and
 * their new ids; the caller frees it. NULL if the model has no such file. */
organ_status organ_kept_file(const organ_kept_tokens *kept, const organ_model *model, const char *name, char **text,
                             organ_error *error);

/* Sets the lists of tokens in the key-values of `writer`, which are those of the model. */
organ_status organ_kept_gguf(const organ_kept_tokens *kept, const organ_model *model, organ_gguf_writer *writer,
                             organ_error *error);

/* Returns whether token k of `made` is token ids[k] of `whole`, for k < count, and `made` has no others. If not, sets
 * `fault`, of `room` bytes, to a sentence without a full stop about the first difference. */
bool organ_kept_same_tokens(const organ_tokenizer *whole, const organ_tokenizer *made, const uint32_t *ids,
                            size_t count, char *fault, size_t room);
/* Checks the same, and that the merges of `made` are some of those of `whole` in the same order, and that both
 * normalise and split texts in the same way. Sets *merges to the number of merges of `made`, and `fault` as above, to
 * "" if there is no difference. Returns ORGAN_IO if memory is exhausted. */
organ_status organ_kept_compare(const organ_tokenizer *whole, const organ_tokenizer *made, const uint32_t *ids,
                                size_t count, size_t *merges, char *fault, size_t room, organ_error *error);

#endif
