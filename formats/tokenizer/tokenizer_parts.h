/* SPDX-License-Identifier: MIT
 * Private to this folder: structures and functions shared by the readers of tokenizer files and the encoder. */
#ifndef ORGAN_TOKENIZER_PARTS_H
#define ORGAN_TOKENIZER_PARTS_H

#define PCRE2_CODE_UNIT_WIDTH 8

#include "formats/base/arena.h"
#include "formats/base/json_text.h"
#include "formats/tokenizer/tokenizer.h"

#include <pcre2.h>

#define ORGAN_NO_ID      UINT32_MAX     /* no token */
#define ORGAN_BLANK      "\xE2\x96\x81" /* U+2581, which represents a blank in SentencePiece */
#define ORGAN_STEP_LIMIT 16u            /* steps of a normalizer or a pre-tokenizer */
#define ORGAN_TOKEN_SIZE 65535u         /* length in bytes of the longest token that readers accept */

/* ---- growing byte arrays ---- */

/* A byte array whose members are all zero is empty. The owner frees `data`. */
typedef struct organ_bytes {
    char *data;
    size_t used, capacity;
    size_t max;             /* largest number of bytes, if `bounded` */
    bool bounded, exceeded; /* an addition was refused because of `max` */
} organ_bytes;
bool organ_bytes_add(organ_bytes *bytes, const char *from,
                     size_t count); /* false if memory is exhausted or `max` exceeded */

/* ---- steps of normalisation and splitting ---- */

/* The change that a step makes to a text. Words in backquotes are members of organ_step. */
typedef enum organ_step_kind {
    ORGAN_STEP_NORMAL_FORM, /* `form`: 0 NFC, 1 NFD, 2 NFKC, 3 NFKD */
    ORGAN_STEP_LOWERCASE,
    ORGAN_STEP_PREPEND,   /* `text` */
    ORGAN_STEP_REPLACE,   /* `text` or `regex` by `content` */
    ORGAN_STEP_SPLIT,     /* cuts at each `text` or match of `regex`, as `behaviour` and `invert` say */
    ORGAN_STEP_BYTES,     /* writes each byte as its letter (organ_letter_of) */
    ORGAN_STEP_METASPACE, /* writes blanks as `text`, prepends one according to `prefix`, and splits there if `cuts` */
} organ_step_kind;

/* The treatment of matches by a split step, as in the package tokenizers. */
typedef enum organ_behaviour {
    ORGAN_ISOLATED,
    ORGAN_REMOVED,
    ORGAN_MERGED_WITH_PREVIOUS,
    ORGAN_MERGED_WITH_NEXT,
    ORGAN_CONTIGUOUS
} organ_behaviour;

/* The texts before which a Metaspace step puts its mark: none, the beginning of the whole text, each text between
 * added tokens. */
typedef enum organ_prefix { ORGAN_PREFIX_NEVER, ORGAN_PREFIX_FIRST, ORGAN_PREFIX_ALWAYS } organ_prefix;

/* A step of the normalizer or the pre-tokenizer. Which members it uses depends on its kind (organ_step_kind). */
typedef struct organ_step {
    organ_step_kind kind;
    unsigned form;
    const char *text, *content; /* in the arena; text is NULL if the step has a regex */
    size_t text_bytes, content_bytes;
    pcre2_code *regex;
    const char *pattern; /* as written in the file, for the digest */
    organ_behaviour behaviour;
    bool invert; /* the text between the matches counts as match */
    bool cuts;   /* Metaspace cuts before each mark */
    organ_prefix prefix;
} organ_step;

/* Compiles a pattern in the syntax of Oniguruma for PCRE2, with the same meaning; rejects patterns whose meaning
 * would differ. `what` names the pattern in messages. The caller frees *regex. */
organ_status organ_regex_compile(const char *what, const char *pattern, size_t bytes, pcre2_code **regex,
                                 organ_error *error);

/* Buffers and limits of matching; each call of the encoder has its own. */
typedef struct organ_search {
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
    uint64_t steps_left; /* match steps of PCRE2 that all patterns may still take */
} organ_search;
/* Prepares searches in a text of `bytes` bytes. Limits the patterns to 2^14 match steps per byte, because a file may
 * contain a pattern that takes exponential time. Returns false if memory is exhausted. */
bool organ_search_make(organ_search *search, size_t bytes);
void organ_search_release(organ_search *search);

/* Finds the step's next match [*begin, *end) at or after byte *from, and sets *from to the earliest start of the
 * following match. *begin is SIZE_MAX if there is none. */
organ_status organ_step_find(const organ_step *step, organ_search *search, const char *text, size_t bytes, size_t *from,
                             size_t *begin, size_t *end, organ_error *error);

/* Receives the piece [begin, end) of a split text; may search with the same organ_search. */
typedef organ_status organ_piece_sink(void *context, size_t begin, size_t end, organ_error *error);

/* Splits a text by a split step and passes the pieces, which are not empty, to `sink` in their order. A long text
 * has many pieces, so they are not collected. */
organ_status organ_step_split(const organ_step *step, organ_search *search, const char *text, size_t bytes,
                              organ_piece_sink *sink, void *context, organ_error *error);

/* ---- the tokenizer ---- */

/* An entry of the vocabulary. */
typedef struct organ_token {
    const char *text, *piece;    /* form in the vocabulary, bytes that it decodes to; NULL if no token has this id */
    uint32_t bytes, piece_bytes; /* their lengths */
    bool unused;                 /* an unused entry of a GGUF file */
} organ_token;

/* A slot of the hash table of pairs. The table contains two kinds of pairs. A pair of tokens can be merged to the
 * token `merged`. A pair of characters occurs side by side in the text of some merged token; its rank and `merged`
 * are unused. */
typedef struct organ_merge {
    uint64_t pair;         /* kind and the two ids or code points; 0 if the slot is free */
    uint32_t rank, merged; /* the lowest rank is merged first */
} organ_merge;

/* An added token: encoding searches a text for it before it splits the text into words. */
typedef struct organ_added {
    const char *text; /* text to search for, normalised if the search is in normalised text */
    size_t bytes;
    uint32_t id;
    bool special;        /* only found if the caller of the encoder asks for special tokens */
    bool normalized;     /* searched for in the normalised text */
    bool lstrip, rstrip; /* it includes the white space before, after it */
    bool single_word;    /* not found next to a word character */
} organ_added;

/* Added tokens: they are searched for in the text before its words are split into tokens. */
typedef struct organ_added_list {
    organ_added *items; /* ordered by text */
    size_t count;
} organ_added_list;

/* Bytes that each step wrote for a text. A file can define several steps that lengthen a text, so each step has a
 * limit. */
typedef struct organ_growth {
    size_t text, limit; /* bytes of the text; limit of the total output of one step */
    size_t normalizer[ORGAN_STEP_LIMIT], pretokenizer[ORGAN_STEP_LIMIT];
} organ_growth;

/* An open tokenizer. Ids are those of the model; all tables belong to it. */
struct organ_tokenizer {
    organ_tokenizer_facts facts;
    uint64_t memory; /* bytes that a step may write even if the text is short */
    organ_arena arena;
    uint64_t seed;       /* of the hash tables; random */
    organ_token *tokens; /* by id; after the vocabulary single characters that occur only in merges */
    size_t token_count, token_capacity;
    uint32_t *slots;          /* hash table text -> id + 1, open addressing */
    size_t slot_count, named; /* a power of two; number of texts */
    organ_merge *merges;      /* hash table of pairs, open addressing */
    size_t merge_slots, merge_count;
    bool whole_words;       /* words must not be split where no merge can cross, because a merge of byte tokens could */
    uint32_t letters[2048]; /* ids of the single characters below U+0800 */
    uint32_t byte_ids[256]; /* ids of <0x00> to <0xFF>, or ORGAN_NO_ID */
    bool byte_fallback;     /* unknown characters become byte tokens */
    bool by_scores;         /* merges follow from the scores of SentencePiece */
    bool fuse_unknown;      /* a run of unknown characters becomes one unknown token */
    bool ignore_merges;     /* a word that is a token becomes it without merges */
    bool byte_level;        /* tokens are letters of bytes, as in GPT-2 */
    uint32_t unknown;       /* id of the unknown token, or ORGAN_NO_ID */
    organ_step normalizer[ORGAN_STEP_LIMIT], pretokenizer[ORGAN_STEP_LIMIT];
    size_t normalizer_count, pretokenizer_count;
    organ_added_list raw, normalized; /* added tokens that are searched for before and after normalisation */
};

/* A reader of a tokenizer file calls these functions in this order: organ_tokenizer_token for each token;
 * organ_tokenizer_add for each added token; organ_tokenizer_ready; organ_tokenizer_merge for each merge;
 * organ_tokenizer_finish. They return false if memory is exhausted. */
bool organ_tokenizer_token(organ_tokenizer *t, uint32_t id, const char *text,
                           size_t bytes);                               /* of several ids with the same text, the
                                                                         * last is used */
bool organ_tokenizer_add(organ_tokenizer *t, const organ_added *added); /* it need not be in the vocabulary */
void organ_tokenizer_ready(organ_tokenizer *t); /* ends the vocabulary: tokens added later are not part of it */
bool organ_tokenizer_merge(organ_tokenizer *t, uint32_t left, uint32_t right, uint32_t rank, uint32_t made);
/* Sets the lists of added tokens to find before and after normalisation, the pieces and the digest. */
organ_status organ_tokenizer_finish(organ_tokenizer *t, organ_error *error);

uint32_t organ_tokenizer_id(const organ_tokenizer *t, const char *text,
                            size_t bytes); /* ORGAN_NO_ID if there is none */
/* Returns the merge of two tokens, or NULL. */
const organ_merge *organ_tokenizer_pair(const organ_tokenizer *t, uint32_t left, uint32_t right);
/* Returns true and sets the two ids if the slot is a merge of tokens, false if it is a pair of characters. */
bool organ_merge_is_of_tokens(const organ_merge *slot, uint32_t *left, uint32_t *right);
int organ_tokenizer_byte(const organ_tokenizer *t,
                         uint32_t id); /* the byte of a token such as "<0x0A>"; -1 for any other token */
/* Returns true if the two characters are adjacent in the result of some merge. */
bool organ_tokenizer_are_adjacent(const organ_tokenizer *t, uint32_t left, uint32_t right);

/* Returns the merges of tokens in the order of their ranks, those of one rank by the ids of their tokens, and sets
 * *count. The caller frees them; NULL if memory is exhausted. */
organ_merge *organ_tokenizer_merges(const organ_tokenizer *t, size_t *count);

/* Decodes the character at `s`, which is valid UTF-8, and sets its length. organ_utf8_put encodes a character into
 * at most 4 bytes at `to` and returns their number. */
uint32_t organ_utf8_at(const char *s, size_t *length);
size_t organ_utf8_put(uint32_t code, char *to);

/* Converts between a byte and the letter that represents it in byte-level vocabularies; organ_byte_of returns -1 for
 * other letters. */
uint32_t organ_letter_of(unsigned char byte);
int organ_byte_of(uint32_t letter);

/* Appends the text as valid UTF-8, with U+FFFD for invalid bytes. */
bool organ_utf8_append_valid(const char *text, size_t bytes, organ_bytes *to);
/* Returns a new organ_growth with the limit of each step's output for a text of `text` bytes: the tokenizer's
 * memory, or 64 KiB plus 16 times the text if that is more, but at most 64 KiB plus 128 times the text. */
organ_growth organ_growth_of(const organ_tokenizer *t, size_t text);
/* The caller calls organ_growth_begin before a step writes to `made`, and organ_growth_end after the step. `so_far`
 * is the number of bytes that the step has already written for the text. `good` is false if memory was exhausted or
 * the limit was exceeded; organ_growth_end then reports which, and returns ORGAN_OK otherwise. */
void organ_growth_begin(const organ_growth *growth, size_t so_far, organ_bytes *made);
organ_status organ_growth_end(const organ_tokenizer *t, organ_growth *growth, const organ_step *step, organ_bytes *made,
                              bool good, organ_error *error);
/* Returns true if the text is valid UTF-8. */
bool organ_utf8_is_valid_text(const char *text, size_t bytes);
/* Returns true only if normalising leaves the text unchanged; may return false for such a text too. */
bool organ_is_normal(const organ_tokenizer *t, const char *text, size_t bytes);
/* Applies the normalizer to `bytes`, in place. */
organ_status organ_normalise(const organ_tokenizer *t, organ_search *search, organ_growth *growth, organ_bytes *bytes,
                             organ_error *error);

/* ---- words into ids ---- */

/* A list of ids. */
typedef struct organ_ids {
    uint32_t *items;
    size_t count, capacity, max; /* `items` contains the first `max` of `count` ids */
} organ_ids;
bool organ_ids_add(organ_ids *ids, uint32_t id); /* false: no memory */

/* A symbol of a word while it is merged: an element of a doubly linked list. */
typedef struct organ_symbol {
    uint32_t id;
    uint32_t prev, next; /* indices of its neighbours, or ORGAN_NO_ID */
    uint32_t start;      /* its first byte in the word */
    uint32_t length;     /* its bytes; 0 if it was merged into its left neighbour */
} organ_symbol;
/* A possible merge of a symbol and its right neighbour. */
typedef struct organ_candidate {
    uint64_t order; /* rank of the merge << 32, plus index of the symbol */
    uint32_t merged;
} organ_candidate;
struct organ_word_find;

/* State of encoding words: the symbols of the current word, a heap of the merges that are possible between them, and
 * a cache of whole words. All members but `tokenizer` and `ids` are zero at first. */
typedef struct organ_bpe {
    const organ_tokenizer *tokenizer;
    organ_ids *ids;
    organ_symbol *symbols;
    organ_candidate *heap;
    size_t symbol_count, symbol_capacity, heap_count, heap_capacity;
    struct organ_word_find *cache;
} organ_bpe;
/* Appends the ids of a word to bpe->ids. */
organ_status organ_bpe_word(organ_bpe *bpe, const char *word, size_t bytes, organ_error *error);
void organ_bpe_release(organ_bpe *bpe);

/* ---- sources ---- */

/* Returns the path of the file `name` next to the model, for messages, or `name` if memory is exhausted. Valid until
 * the tokenizer is closed. */
const char *organ_tokenizer_label(const organ_model *model, organ_tokenizer *t, const char *name);
/* Reads a tokenizer into *t from the text of a file in the model's directory. */
typedef organ_status organ_tokenizer_source(const organ_model *model, organ_tokenizer *t, const organ_json_source *text,
                                            organ_error *error);
organ_tokenizer_source organ_tokenizer_from_json, organ_tokenizer_from_tekken, organ_tokenizer_from_tiktoken;
organ_status organ_tokenizer_from_gguf(const organ_model *model, organ_tokenizer *t, organ_error *error);
/* Reads the normalizer and the pre_tokenizer of a tokenizer.json into the tokenizer's steps; each may be NULL or
 * JSON null. `label` names the file in messages. */
organ_status organ_tokenizer_steps(organ_tokenizer *t, const char *label, const json_t *normalizer,
                                   const json_t *pretokenizer, organ_error *error);
/* Sets facts.bos, facts.eos and facts.adds_bos from tokenizer_config.json and the post_processor of tokenizer.json
 * (NULL for none). */
organ_status organ_tokenizer_settings(const organ_model *model, organ_tokenizer *t, const json_t *post,
                                      organ_error *error);
/* Appends a pre-tokenizer step that isolates the matches of a regex, and drops the text between them if `drops` is
 * true. */
organ_status organ_tokenizer_split_at(organ_tokenizer *t, const char *label, const char *pattern, bool drops,
                                      organ_error *error);

/* ---- tokens with ranks ---- */

/* Adds a merge that makes token `id`, with this rank, for each split of the token into two tokens. Returns false if
 * memory is exhausted. */
bool organ_tokenizer_add_splits(organ_tokenizer *t, uint32_t id, uint32_t rank);
/* Adds token `id`, whose bytes the file encodes as base64. Rejects invalid base64, and bytes or an id that another
 * token has. `word` is scratch memory that the caller keeps between the calls. */
organ_status organ_tokenizer_ranked(organ_tokenizer *t, const char *label, uint32_t id, const char *base64,
                                    size_t bytes, organ_bytes *word, organ_error *error);
/* Ends a vocabulary by ranks, after all tokens, including special ones, were added: the `count` ids from `first`
 * have the ranks 0, 1, ... A whole word that is a token becomes it, as in tiktoken. Rejects a vocabulary without a
 * token for each byte. */
organ_status organ_tokenizer_ranked_end(organ_tokenizer *t, const char *label, uint32_t first, uint32_t count,
                                        organ_error *error);

/* ---- split rules that a file names without defining them ---- */

/* The largest number of patterns in a row of the table of pre-tokenizers. */
enum { ORGAN_PRETOKENIZER_PATTERNS = 6 };
/* Flags of a row of the table of pre-tokenizers. */
enum {
    ORGAN_CUT_NFC = 1,   /* the text is converted to NFC first */
    ORGAN_CUT_WHOLE = 2, /* a word that is a token becomes it, regardless of the merges */
    ORGAN_CUT_BOS = 4,   /* BOS is put before a text unless the file forbids it */
    ORGAN_CUT_DROPS = 8, /* as in tiktoken, text that no pattern matches has no tokens */
};
#define ORGAN_CUT_BYTES "" /* in the list of patterns: the position of the step that writes bytes as letters */

/* A row of the table of pre-tokenizers. */
typedef struct organ_pretokenizer {
    const char *names;                                 /* values of tokenizer.ggml.pre, separated by blanks */
    const char *patterns[ORGAN_PRETOKENIZER_PATTERNS]; /* applied in this order; NULL after the last */
    unsigned rules;                                    /* ORGAN_CUT_NFC, ORGAN_CUT_WHOLE, ORGAN_CUT_BOS */
} organ_pretokenizer;

const organ_pretokenizer *organ_pretokenizer_named(const char *name,
                                                   size_t length); /* NULL if the name is not in the table */
/* Returns the name, not NUL-terminated, of a row of the table that has the rules of the tokenizer, and sets *length:
 * `architecture` if a row with these rules has that name, else the first name of the first such row. NULL if no row
 * has these rules. */
const char *organ_pretokenizer_name_of(const organ_tokenizer *t, const char *architecture, size_t *length);
/* Adds the steps of a row of the table of pre-tokenizers: its patterns, then the step that writes bytes as letters,
 * unless ORGAN_CUT_BYTES is among the patterns. */
organ_status organ_tokenizer_set_pretokenizer(organ_tokenizer *t, const char *label,
                                              const organ_pretokenizer *pretokenizer, organ_error *error);

#define ORGAN_GPT2_PATTERN "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

#endif
