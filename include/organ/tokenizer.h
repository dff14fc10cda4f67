/* SPDX-License-Identifier: MIT
 * Converts text to token ids and back: byte-level BPE and SentencePiece-style BPE. Opened from a model with tokenizer
 * files or with the metadata of a GGUF file.
 *
 * Ids equal those of the Python package tokenizers (Hugging Face); for a GGUF file with scores, those of SentencePiece.
 * Letters, numbers and normal forms follow the Unicode versions of the system's PCRE2 and utf8proc: a character that is
 * newer than the tables of these libraries, or of the package, may be split differently. A GGUF file contains only the
 * name of its split rules (tokenizer.ggml.pre): this module splits like the tokenizer
 * of the model that the name stands for, with NFC if that tokenizer is known to use it. In a GGUF file of architecture
 * "phi3" with a SentencePiece tokenizer, blanks after a special token belong to it; GGUF has no key for this. */
#ifndef ORGAN_API_TOKENIZER_H
#define ORGAN_API_TOKENIZER_H

#include <organ/base.h>
#include <organ/models.h>

ORGAN_API_BEGIN

typedef struct organ_tokenizer organ_tokenizer;

/* Reads tokenizer.ggml.* of a GGUF model, or the first file of tokenizer.json, tekken.json, tiktoken.model and
 * hy.tiktoken in the model's directory. Also reads tokenizer_config.json, except with tekken.json. The caller may close
 * the model afterwards. Returns ORGAN_BAD_INPUT for malformed files and for unsupported kinds (WordPiece, Unigram,
 * ...), naming the kind; ORGAN_IO if a file cannot be read. *tokenizer is NULL on error. */
organ_status organ_tokenizer_open(const organ_model *model, organ_tokenizer **tokenizer, organ_error *error);
void organ_tokenizer_close(organ_tokenizer *tokenizer); /* NULL is allowed */

/* Properties of an open tokenizer. */
typedef struct organ_tokenizer_facts {
    const char *kind;    /* "byte-level BPE", "SentencePiece BPE" or "BPE" */
    uint32_t vocabulary; /* number of ids, including ids without a token; all ids are smaller */
    int64_t bos, eos;    /* ids of the tokens that begin and end a text; -1 for none */
    bool adds_bos;       /* the model expects BOS before each text; encoding does not add it */
    char digest[17]; /* XXH3 of vocabulary, merges and settings in hexadecimal: tokenizers with equal digests produce
                      * equal ids */
} organ_tokenizer_facts;
const organ_tokenizer_facts *organ_tokenizer_describe(const organ_tokenizer *tokenizer);

/* Sets the limit of bytes that one step of normalising or splitting may write for a text; the default is 512 MiB.
 * For any setting the limit is at least 64 KiB plus 16 times the text, and at most 64 KiB plus 128 times the text;
 * real tokenizers need less. */
void organ_tokenizer_allow(organ_tokenizer *tokenizer, uint64_t memory);

/* Encodes `bytes` bytes of text, which may contain NUL and invalid UTF-8 (replaced by U+FFFD, like Python's
 * errors="replace"). If `special` is true, names of special tokens in the text ("<|endoftext|>") become their ids,
 * otherwise they are encoded as characters; other added tokens always become their ids. Does not add BOS. The caller
 * frees *ids. Thread-safe. Returns ORGAN_BAD_INPUT, naming the step, if a step exceeds the limit of
 * organ_tokenizer_allow; ORGAN_IO if memory is exhausted. */
organ_status organ_tokenizer_encode(const organ_tokenizer *tokenizer, const char *text, size_t bytes, bool special,
                                    uint32_t **ids, size_t *count, organ_error *error);

/* Encodes like organ_tokenizer_encode, but stores only the first `max` ids in *ids; *count is the number of all ids.
 * A caller with limited memory can thus find out how much it needs. */
organ_status organ_tokenizer_encode_some(const organ_tokenizer *tokenizer, const char *text, size_t bytes, bool special,
                                         size_t max, uint32_t **ids, size_t *count, organ_error *error);

/* Returns the bytes that token `id` decodes to, and sets *bytes to their number. A SentencePiece token that begins a
 * word decodes to a blank and the word; an added token decodes to its name. Returns "" for an id without a token. The
 * tokenizer owns the bytes. */
const char *organ_tokenizer_piece(const organ_tokenizer *tokenizer, uint32_t id, size_t *bytes);

ORGAN_API_END

#endif
