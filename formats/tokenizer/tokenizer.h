/* SPDX-License-Identifier: MIT
 * Text to token ids and back: byte-level BPE and SentencePiece-style BPE. In goes an open model with a tokenizer.json
 * or with the metadata of a GGUF file, then text; out come ids, and for an id its piece of text.
 *
 * Ids are those of the package tokenizers, and of SentencePiece for the scores of a GGUF file. What is a letter, a
 * number or a normal form is as in the Unicode of the system's PCRE2 and utf8proc: characters that are newer, or newer
 * than the package's tables, may be cut otherwise. A GGUF file only names how its text is cut (cuttings.c has the
 * names): this module cuts as the owner's tokenizer does, with NFC if the owner is known to have it. Of SentencePiece
 * in a "phi3" the blanks after a special token belong to it, which its file does not say at all. */
#ifndef ORGAN_TOKENIZER_H
#define ORGAN_TOKENIZER_H

#include "formats/base/api.h"
#include "formats/model/model.h"

ORGAN_API_BEGIN

typedef struct organ_tokenizer organ_tokenizer;

/* Reads tokenizer.ggml.* of a GGUF model, or the first of tokenizer.json, tekken.json, tiktoken.model and hy.tiktoken
 * that the model's directory has (all but tekken.json with tokenizer_config.json). ORGAN_BAD_INPUT for malformed files
 * and for a kind that is not known (WordPiece, Unigram, ...), naming it. ORGAN_IO. *tokenizer is NULL on error. The
 * caller may close the model afterwards. */
organ_status organ_tokenizer_open(const organ_model *model, organ_tokenizer **tokenizer, organ_error *error);
void organ_tokenizer_close(organ_tokenizer *tokenizer); /* NULL is allowed */

typedef struct organ_tokenizer_facts {
    const char *kind;    /* "byte-level BPE", "SentencePiece BPE" */
    uint32_t vocabulary; /* ids are below it */
    int64_t bos, eos;    /* -1: none */
    bool adds_bos;       /* the model's own practice puts BOS before a text */
    char digest[17]; /* XXH3 of vocabulary, merges and settings, as hexadecimal: two tokenizers of one digest give the
                        same ids */
} organ_tokenizer_facts;
const organ_tokenizer_facts *organ_tokenizer_describe(const organ_tokenizer *tokenizer);

/* Bytes that one step of normalising and cutting may make of a text, 512 MiB at first. Whatever is set, it may make 64
 * KiB and 16 times the text of it, and never more than 64 KiB and 128 times the text: real tokenizers need less. */
void organ_tokenizer_allow(organ_tokenizer *tokenizer, uint64_t memory);

/* The ids of `bytes` bytes of text, which may hold NUL and need not be valid UTF-8 (what is not is read as U+FFFD, as
 * Python's replace does). Special tokens in the text ("<|endoftext|>") become themselves where `special`, else their
 * characters; other added tokens always. BOS is not added. *ids is to be freed. Any thread. ORGAN_BAD_INPUT, naming the
 * step, where one makes more of the text than is allowed (see organ_tokenizer_allow); ORGAN_IO without memory. */
organ_status organ_tokenizer_encode(const organ_tokenizer *tokenizer, const char *text, size_t bytes, bool special,
                                    uint32_t **ids, size_t *count, organ_error *error);

/* The same, but of the ids only the first `most` are kept; *count says how many there are in all. So a caller who has
 * no room for all of them learns how much is needed. */
organ_status organ_tokenizer_encode_some(const organ_tokenizer *tokenizer, const char *text, size_t bytes, bool special,
                                         size_t most, uint32_t **ids, size_t *count, organ_error *error);

/* The bytes of one token as they stand in a text (that of a SentencePiece word begins with its blank); special tokens
 * have their names.
 * "" for an id beyond the vocabulary. They belong to the tokenizer. */
const char *organ_tokenizer_piece(const organ_tokenizer *tokenizer, uint32_t id, size_t *bytes);

ORGAN_API_END

#endif
