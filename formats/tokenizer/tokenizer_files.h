/* SPDX-License-Identifier: MIT
 * Writes a tokenizer.json as the key-values tokenizer.* of a GGUF file. */
#ifndef ORGAN_TOKENIZER_TOKENIZER_FILES_H
#define ORGAN_TOKENIZER_TOKENIZER_FILES_H

#include "formats/gguf/file.h"

#include <jansson.h>
#include <organ/tokenizer.h>

/* ---- ids that two tokenizers give to the same texts, to check a conversion to another format ---- */

/* The first text found to which two tokenizers give different ids. */
typedef struct organ_tokenizer_difference {
    bool found;
    char text[600]; /* "the text 'T' becomes IDS WITH PIECES, but IDS WITH PIECES in ..."; empty if none was found */
} organ_tokenizer_difference;

/* Encodes the probe with both tokenizers and sets *difference to the first text whose ids differ. `made_in` is what the
 * text calls the second tokenizer: "a GGUF file". Added tokens are read as tokens. The probe has
 *   - characters of each kind in each block of Unicode, in words and alone; sentences in many scripts; runs of digits,
 *     blanks and line breaks; contractions, emoji, combining marks, control characters, invalid UTF-8; texts that begin
 *     or end with blanks;
 *   - each added token of `source`, alone and between words, blanks, line breaks and other added tokens;
 *   - the text of each token of `source`, alone and next to that of another token, so that each merge is used.
 * Tokenizers with the same digest are not encoded, because their ids are equal. Returns an error only if a text cannot
 * be encoded or memory is exhausted. */
organ_status organ_tokenizer_compare(const organ_tokenizer *source, const organ_tokenizer *made, const char *made_in,
                                     organ_tokenizer_difference *difference, organ_error *error);

/* ---- vocabularies by id ---- */

/* Returns the text of a token, *length bytes without NUL; "" for an id without a token. A GGUF file has "[PAD151700]"
 * for each id up to the rows of the embedding that has none: this is no token here. */
const char *organ_tokenizer_text_of(const organ_tokenizer *tokenizer, uint32_t id, size_t *length);

/* Returns the id of the token that stands for characters without a token, or ORGAN_NO_ROW. */
uint32_t organ_tokenizer_unknown(const organ_tokenizer *tokenizer);

/* Returns the number of ids with different tokens, and sets *first to the first of them. With `gaps` ids that have no
 * token in one of both do not count. */
uint32_t organ_tokenizer_different(const organ_tokenizer *a, const organ_tokenizer *b, bool gaps, uint32_t *first);

/* Names of files with a whole tokenizer, besides tokenizer.json. */
#define ORGAN_TOKENIZER_OTHERS "tekken.json", "tiktoken.model", "hy.tiktoken", "tokenizer.model"

/* Names of files next to the weights that describe a model, its tokenizer and its chat template, besides these. */
#define ORGAN_COMPANIONS                                                                                               \
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",     \
        "added_tokens.json", "vocab.json", "merges.txt", "chat_template.jinja", "chat_template.json"

/* Properties of the model on which the key-values depend. */
typedef struct organ_tokenizer_gguf_options {
    uint64_t vocabulary; /* rows of the embedding: ids without a token get unused names */
    /* Value of tokenizer.ggml.pre, with which other ids are accepted; NULL: a name in pretokenizers.c with the rules of
     * the file. */
    const char *pre;
    const char *architecture; /* general.architecture */
    uint64_t *beyond;     /* result, or NULL: added tokens whose ids are not below `vocabulary`, which are left out */
    unsigned *unstored;   /* result, or NULL: ids that end a text, but for which GGUF has no key */
    const json_t *config; /* config.json, for ids of special tokens that tokenizer_config.json does not name */
} organ_tokenizer_gguf_options;

/* Adds tokens, merges or scores, ids of special tokens and the chat template of the model's tokenizer files to the
 * writer. A model without tokenizer files gets tokenizer.ggml.model "none". Then reads the tokenizer from the writer
 * and compares it with that of the files. If `pre` is set, *difference
 * receives the first text that gets other ids, or why the value of `pre` cannot be compared; without `pre` the first
 * text that gets other ids only because llama.cpp puts blanks before other texts than the class of the tokenizer in
 * transformers does. Returns ORGAN_BAD_INPUT if
 *   - tokenizer.json is malformed, or its kind is neither byte-level BPE nor SentencePiece BPE;
 *   - no value of tokenizer.ggml.pre stands for its rules and `pre` is NULL;
 *   - some text gets other ids and `pre` is NULL: the message has the text and the ids;
 *   - a word of its vocabulary, which is no added token, has an id that is not below `vocabulary`;
 *   - the model has no tokenizer.json, but another tokenizer file.
 * Returns ORGAN_IO if a file cannot be read. */
organ_status organ_tokenizer_to_gguf(const organ_model *model, const organ_tokenizer_gguf_options *options,
                                     organ_gguf_writer *writer, organ_tokenizer_difference *difference,
                                     organ_error *error);

/* Sets *tokenizer to the text of tokenizer.json and *config to that of tokenizer_config.json; the caller frees both.
 * With these files, the package tokenizers produces the same ids as organ_tokenizer_encode: the text is read again and
 * compared. `model_config` is the text of config.json beside them; *by_class receives the first text that gets other
 * ids in transformers, whose class for its model_type replaces parts of tokenizer.json. Returns ORGAN_BAD_INPUT for a
 * tokenizer that cannot be read, or that has no such form, naming the first text with other ids; ORGAN_IO if memory is
 * exhausted. */
organ_status organ_tokenizer_to_json(const organ_model *model, const char *model_config, char **tokenizer,
                                     char **config, organ_tokenizer_difference *by_class, organ_error *error);

/* Sets *bytes to the content of tokenizer.model, *length bytes, which the caller frees: the tokens of a GGUF file of
 * the kind "llama" with their scores and types, which tokenizer.json does not have. *bytes is NULL for other kinds and
 * for files without scores or types. Returns ORGAN_IO if memory is exhausted. */
organ_status organ_tokenizer_to_pieces(const organ_model *model, char **bytes, size_t *length, organ_error *error);

/* Sets *text to the model's usual chat template, which the caller frees; NULL if it has none. Returns ORGAN_BAD_INPUT
 * for malformed files, ORGAN_IO if one cannot be read. */
organ_status organ_chat_template_read(const organ_model *model, char **text, organ_error *error);

/* ---- tokens after which a text ends ---- */

enum { ORGAN_STOP_LIMIT = 64 }; /* largest number of ids */

/* Ids of tokens, each once. */
typedef struct organ_stop_ids {
    int64_t ids[ORGAN_STOP_LIMIT];
    unsigned count;
} organ_stop_ids;

/* Sets *stops to the ids after which transformers or llama.cpp ends a text of the model. They are eos_token_id, a
 * number or a list, of generation_config.json or, if that states none, of config.json or its text_config; for GGUF the
 * ids of EOS, EOT and EOM. Without any, it is EOS of the tokenizer, if that has one. Returns ORGAN_BAD_INPUT for an id
 * that is no whole number from 0, and for too many ids. */
organ_status organ_stop_ids_read(const organ_model *model, const organ_tokenizer *tokenizer, organ_stop_ids *stops,
                                 organ_error *error);

/* ---- union of the vocabularies of several models ---- */

#define ORGAN_NO_ROW UINT32_MAX /* a model has no row for a token */

/* Returns the text that a token has in its vocabulary ("\xC4\xA0the", "<|im_end|>") and sets *bytes; NULL for an id
 * without a token. The tokenizer owns the text. */
const char *organ_vocabulary_text(const organ_tokenizer *tokenizer, uint32_t id, size_t *bytes);

/* Returns the id of the token with this text in the vocabulary, or ORGAN_NO_ROW. */
uint32_t organ_vocabulary_id(const organ_tokenizer *tokenizer, const char *text, size_t bytes);

/* Returns the id of the token that stands for exactly this part of a text (" the", "yes"), wherever in a text it is, or
 * ORGAN_NO_ROW. Sets an error if memory is exhausted. */
uint32_t organ_vocabulary_id_of_part(const organ_tokenizer *tokenizer, const char *text, size_t bytes,
                                     organ_error *error);

/* A model of a union. */
typedef struct organ_union_model {
    const char *name; /* in warnings */
    const organ_model *model;
    const organ_tokenizer *tokenizer;
    uint64_t rows; /* of its embedding: tokens with larger ids are left out */
} organ_union_model;

/* Adds tokens to the tokenizer of models[0], which keeps its ids: first those of the other models that it lacks, model
 * by model in the order of their ids, then the texts `extra`, as added tokens. New tokens have the ids from the first
 * one on that follows all tokens of models[0].
 *
 * The merges of models[0] come first. After them come, in the order of the models, the merges of other models that make
 * new tokens and whose parts are in the union, and for each new token that the merges so far make of two tokens at last
 * the merge of these two. So each text is split as models[0] splits it, and then neighbours are joined to new tokens. A
 * model whose vocabulary is written in another way (bytes as letters in one, blanks as U+2581 in the other) has no such
 * merges: its tokens become added tokens.
 *
 * Sets *json to the text of tokenizer.json, which the caller frees, and *made to the tokenizer read from it, which the
 * caller closes. Without new tokens *json is NULL, *made too, and the tokenizer of models[0] is the union. Appends to
 * `warnings`: tokens that no text becomes; models that have only added tokens; reserved tokens that a model has
 * renamed; an example of a text that is split in another way than by models[0]. Returns ORGAN_BAD_INPUT if models[0]
 * has no tokenizer.json; ORGAN_IO if a file cannot be read or memory is exhausted. */
organ_status organ_tokenizer_unite(const organ_union_model *models, size_t count, const char *const *extra,
                                   size_t extra_count, char **json, organ_tokenizer **made, json_t *warnings,
                                   organ_error *error);

/* ---- new tokens ---- */

enum {
    ORGAN_NEW_TOKENS = 1 << 20, /* largest number of new tokens, with parts */
    ORGAN_NEW_BYTES = 16 << 20, /* of all these, as the vocabulary writes them */
    ORGAN_NEW_TOKEN_BYTES = 512 /* of the longest new token */
};

/* A token that a tokenizer gets. */
typedef struct organ_new_token {
    const char *text; /* as texts have it; of a part, as the vocabulary has it. Ends with NUL */
    size_t bytes;
    const char *file; /* for messages: where the text comes from; NULL for a part */
    size_t line;
    bool special;     /* an added token, which cuts a text before it is split; else merges make the token */
    bool part;        /* no listed token: the merges of one need it */
    uint32_t *pieces; /* result: ids that the merges before leave of the text; owned by the extension */
    size_t piece_count;
} organ_new_token;

/* New tokens of a tokenizer. The caller adds them with organ_extension_add and releases the extension. */
typedef struct organ_extension {
    organ_new_token *tokens; /* token k gets the id first + k; parts follow those that the caller has added */
    size_t count, room;
    uint32_t first;
    size_t bytes;     /* result: of all new tokens, as the vocabulary writes them */
    size_t merges;    /* result: number of new merges */
    uint32_t *reused; /* result: ids of old tokens that new merges make, ascending; owned by the extension */
    size_t reused_count, reused_room;
    /* NULL, or claims `bytes` bytes of memory for the work; its error ends the work. */
    organ_status (*claim)(void *context, uint64_t bytes, organ_error *error);
    void *context;
    uint64_t claimed;      /* bytes of the last claim */
    char *json;            /* result: the text of tokenizer.json */
    organ_tokenizer *made; /* result: the tokenizer read from it */
} organ_extension;

/* Appends a token with a copy of the text. `file` must outlive the extension. Returns false if memory is exhausted. */
bool organ_extension_add(organ_extension *extension, const char *text, size_t bytes, const char *file, size_t line,
                         bool special);
void organ_extension_release(organ_extension *extension);
/* Returns about how many bytes of memory the tokens need until the extension is released. */
uint64_t organ_extension_memory(const organ_extension *extension);

/* Adds the tokens to the tokenizer of a model, which keeps its ids and merges. An ordinary token gets merges after all
 * others, so that it is made of what the merges so far leave of its text: its first two tokens are joined until one
 * token is left. Shorter tokens come first. What such a merge makes on the way is a token too, a part, if the
 * vocabulary lacks it; so is a character that the vocabulary writes by bytes. Other texts change only where they have a
 * new token, a part, or an old token that a new merge makes of others (`reused`).
 *
 * Returns ORGAN_BAD_INPUT, naming file and line, for a token that the tokenizer has, a text that occurs twice, a text
 * with a byte or character that the vocabulary cannot write, and for a text that the tokenizer never leaves whole, so
 * that no text would become the token; for a model without tokenizer.json. Returns ORGAN_IO if a file cannot be read or
 * memory is exhausted. */
organ_status organ_tokenizer_extend(const organ_union_model *model, organ_extension *extension, organ_error *error);

/* Returns the entry that added_tokens_decoder of tokenizer_config.json has for a special new token; NULL if memory is
 * exhausted. */
json_t *organ_new_token_json(const char *text);

/* Compares tokenizer.json of a copy with that of an extension, apart from their layout: sets `different` to what is
 * another one, with its verb ("'decoder' is"), or to "". Returns the errors of organ_tokenizer_open. */
organ_status organ_extension_compare(const organ_extension *extension, const organ_model *copy, char different[200],
                                     organ_error *error);

#endif
