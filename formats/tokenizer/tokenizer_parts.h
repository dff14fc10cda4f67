/* SPDX-License-Identifier: MIT
 * Private to this folder: structures and functions shared by the readers of tokenizer files and the encoder. */
#ifndef ORGAN_TOKENIZER_TOKENIZER_PARTS_H
#define ORGAN_TOKENIZER_TOKENIZER_PARTS_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include "formats/base/arena.h"
#include "formats/base/json.h"
#include "formats/base/owned.h"
#include "formats/tokenizer/tokenizer_files.h"

#include <organ/tokenizer.h>
#include <pcre2.h>

#define ORGAN_NO_ID      UINT32_MAX     /* no token */
#define ORGAN_BLANK      "\xE2\x96\x81" /* U+2581, which represents a blank in SentencePiece */
#define ORGAN_STEP_LIMIT 16u            /* upper bound of the steps of a normalizer or a pre-tokenizer */
#define ORGAN_TOKEN_SIZE 65535u         /* length in bytes of the longest token that readers accept */

/* ---- growing byte arrays ---- */

/* A byte array whose members are all zero is empty. The owner frees `data`. */
typedef struct organ_bytes {
    char *data;
    size_t used, capacity;
    size_t max;    /* largest number of bytes, if `bounded` */
    bool bounded;  /* `max` is set */
    bool exceeded; /* organ_bytes_add failed because of `max` */
} organ_bytes;
static inline void organ_bytes_release(organ_bytes *bytes) { free(bytes->data); }
/* Appends `count` bytes of `from`. Returns false if memory is exhausted or the array would exceed `max`. */
bool organ_bytes_add(organ_bytes *bytes, const char *from, size_t count);

/* ---- steps of normalisation and splitting ---- */

/* The change that a step makes to a text. Words in backquotes are members of organ_step. */
typedef enum organ_step_kind {
    ORGAN_STEP_NORMAL_FORM, /* `form`: 0 NFC, 1 NFD, 2 NFKC, 3 NFKD */
    ORGAN_STEP_LOWERCASE,
    ORGAN_STEP_PREPEND, /* puts `text` before the text */
    ORGAN_STEP_REPLACE, /* replaces each `text` or match of `regex` by `content` */
    ORGAN_STEP_SPLIT,   /* splits the text at each `text` or match of `regex`, according to `behaviour` and `invert` */
    ORGAN_STEP_BYTES,   /* replaces each byte by its letter (organ_byte_to_unicode) */
    ORGAN_STEP_METASPACE, /* replaces each space by the mark `text`; puts a mark before the text according to `prefix`;
                           * cuts before each mark if `cuts` */
} organ_step_kind;

/* Treatment of the matches by a split step, as in the package tokenizers ("behavior"). */
typedef enum organ_behaviour {
    ORGAN_ISOLATED,             /* each match is a piece */
    ORGAN_REMOVED,              /* matches are dropped */
    ORGAN_MERGED_WITH_PREVIOUS, /* a match is appended to the text before it */
    ORGAN_MERGED_WITH_NEXT,     /* a match is put before the text after it */
    ORGAN_CONTIGUOUS            /* matches that follow each other directly are one piece */
} organ_behaviour;

/* The texts before which a Metaspace step puts its mark ("prepend_scheme"). */
typedef enum organ_prefix {
    ORGAN_PREFIX_NEVER,
    ORGAN_PREFIX_FIRST, /* only a text at the beginning of the whole input */
    ORGAN_PREFIX_ALWAYS /* every text that the step gets, such as each text between two added tokens */
} organ_prefix;

/* A step of the normalizer or the pre-tokenizer. Which members it uses depends on its kind (organ_step_kind). */
typedef struct organ_step {
    organ_step_kind kind;
    unsigned form;                    /* normal form: 0 NFC, 1 NFD, 2 NFKC, 3 NFKD */
    const char *text, *content;       /* what to insert or find, and its replacement; `text` is NULL with `regex` */
    size_t text_bytes, content_bytes; /* their lengths */
    pcre2_code *regex;                /* compiled `pattern`, or NULL; the tokenizer frees it */
    const char *pattern;              /* regular expression as the file has it, for digest and messages; or NULL */
    organ_behaviour behaviour;
    bool invert; /* the texts between the matches count as matches, and the matches as text */
    bool cuts;   /* Metaspace cuts before each mark */
    organ_prefix prefix;
} organ_step;

/* Compiles a pattern in the syntax of Oniguruma for PCRE2, with the same meaning; rejects patterns whose meaning
 * would differ. `what` names the pattern in messages. The caller frees *regex. */
organ_status organ_regex_compile(const char *what, const char *pattern, size_t bytes, pcre2_code **regex,
                                 organ_error *error);

/* Buffers and limits of PCRE2 for one text; each call of the encoder has its own. */
typedef struct organ_search {
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack; /* NULL: PCRE2 uses its own */
    uint64_t steps_left;    /* match steps of PCRE2 that all patterns together may still take in this text */
} organ_search;
/* Prepares searches in a text of `bytes` bytes. Limits the patterns to 20 million match steps plus 2^14 per byte of the
 * text, because a file may contain a pattern that takes exponential time. Returns false if memory is exhausted. */
bool organ_search_make(organ_search *search, size_t bytes);
void organ_search_release(organ_search *search);

/* Finds the step's next match at or after byte *from of the text and sets its byte range [*begin, *end); *begin is
 * SIZE_MAX if there is none. Sets *from to the offset from which to search for the next match. Returns ORGAN_BAD_INPUT
 * if a pattern exceeds the limits of `search`, ORGAN_IO if memory is exhausted. */
organ_status organ_step_find(const organ_step *step, organ_search *search, const char *text, size_t bytes, size_t *from,
                             size_t *begin, size_t *end, organ_error *error);

/* Callback that processes the piece in bytes [begin, end) of a split text. It may use the organ_search of the split. An
 * error ends the split. */
typedef organ_status organ_piece_sink(void *context, size_t begin, size_t end, organ_error *error);

/* Splits a text at the matches of a split step (or before the marks that a Metaspace step put into it), and passes the
 * pieces, which are not empty, to `sink` in their order. A long text has many pieces, so they are not collected. */
organ_status organ_step_split(const organ_step *step, organ_search *search, const char *text, size_t bytes,
                              organ_piece_sink *sink, void *context, organ_error *error);

/* ---- the tokenizer ---- */

/* An entry of the vocabulary. */
typedef struct organ_token {
    const char *text, *piece;    /* form in the vocabulary, bytes that it decodes to; NULL if no token has this id */
    uint32_t bytes, piece_bytes; /* lengths of text and piece */
    bool unused;                 /* the GGUF file marks it as unused (token_type 5) */
} organ_token;

/* A slot of the hash table of pairs. The table contains two kinds of pairs. A pair of tokens can be merged to the
 * token `merged`. A pair of characters occurs side by side in the text of some merged token; its rank and `merged`
 * are unused. */
typedef struct organ_merge {
    uint64_t pair;   /* kind and the two ids or code points (pair_key); 0 if the slot is free */
    uint32_t rank;   /* the merge with the lowest rank is applied first */
    uint32_t merged; /* id of the token that the merge makes */
} organ_merge;

/* An added token: encoding searches a text for it before it splits the text into words. */
typedef struct organ_added {
    const char *text; /* text to search for; in the list `normalized` of the tokenizer it is normalised */
    size_t bytes;     /* length of `text` */
    uint32_t id;
    bool special;        /* only found if the caller of the encoder asks for special tokens */
    bool normalized;     /* searched for in the normalised text, else in the raw text */
    bool lstrip, rstrip; /* it includes the white space before it (lstrip), after it (rstrip) */
    bool single_word;    /* not found next to a word character */
} organ_added;

/* A list of added tokens. organ_tokenizer_finish sorts it by text. */
typedef struct organ_added_list {
    organ_added *items;
    size_t count;
} organ_added_list;

/* Bytes that each step wrote for one text. A file can define several steps that lengthen a text, so each step has a
 * limit. */
typedef struct organ_growth {
    size_t text, limit; /* bytes of the text; largest number of bytes that one step may write for it in total */
    size_t normalizer[ORGAN_STEP_LIMIT], pretokenizer[ORGAN_STEP_LIMIT]; /* bytes written so far, by step */
} organ_growth;

/* An open tokenizer. Ids are those of the model; all tables belong to it. */
struct organ_tokenizer {
    organ_tokenizer_facts facts;
    uint64_t memory;                    /* limit of organ_tokenizer_allow: bytes that one step may write for a text */
    organ_arena arena;                  /* texts of tokens, steps and messages */
    uint64_t seed;                      /* of the hash tables; random */
    organ_token *tokens;                /* by id; after the vocabulary single characters that occur only in merges */
    size_t token_count, token_capacity; /* elements of `tokens`: used, allocated */
    uint32_t *slots;                    /* hash table text -> id + 1, open addressing; 0 is a free slot */
    size_t slot_count, text_count;      /* number of slots, a power of two; number of different texts in them */
    organ_merge *merges;                /* hash table of pairs, open addressing */
    size_t merge_slots, merge_count;    /* slots of `merges`, a power of two; slots in use */
    bool whole_words;       /* organ_bpe_word must not cut a word before the merges: there are merges of byte tokens,
                             * whose characters are not among the pairs of adjacent characters in `merges` */
    uint32_t letters[2048]; /* ids of the single characters below U+0800, or ORGAN_NO_ID */
    uint32_t byte_ids[256]; /* ids of <0x00> to <0xFF>, or ORGAN_NO_ID */
    bool byte_fallback;     /* unknown characters become byte tokens */
    bool by_scores;         /* the merges were derived from the scores of SentencePiece */
    bool fuse_unknown;      /* a run of unknown characters becomes one unknown token */
    bool ignore_merges;     /* a word that is a token becomes this token, whatever the merges are */
    bool byte_level;        /* the texts of tokens consist of letters that represent bytes, as in GPT-2 */
    bool splits_special;    /* names of special tokens in a text never become these tokens (split_special_tokens) */
    bool adds_nothing;      /* the class in transformers ignores the post_processor */
    bool blanks_by_class;   /* the class in transformers, not the file, decides where a text gets a blank before it */
    uint32_t unknown;       /* id of the unknown token, or ORGAN_NO_ID */
    organ_step normalizer[ORGAN_STEP_LIMIT], pretokenizer[ORGAN_STEP_LIMIT];
    size_t normalizer_count, pretokenizer_count;
    const struct organ_kept_tokens *kept; /* NULL; else only these tokens and merges are used, the arena, the tables of
                                           * tokens and merges, and the steps belong to another tokenizer */
    organ_added_list raw, normalized;     /* added tokens to find before (raw) and after normalisation; until
                                           * organ_tokenizer_finish `raw` contains all of them */
};

/* ---- functions for readers of tokenizer files ---- */

/* A reader calls these functions in this order: organ_tokenizer_add_token for each token;
 * organ_tokenizer_add_added_token for each added token; organ_tokenizer_ready; organ_tokenizer_merge for each merge;
 * organ_tokenizer_finish. They return false if memory is exhausted. */

/* Sets the text of token `id`. If several ids have the same text, encoding produces the last one that was set. */
bool organ_tokenizer_add_token(organ_tokenizer *t, uint32_t id, const char *text, size_t bytes);
/* Appends an added token to t->raw, with a copy of its text. If no token has its id yet, also makes it the token of
 * this id. Returns false if memory is exhausted. */
bool organ_tokenizer_add_added_token(organ_tokenizer *t, const organ_added *added);
/* Returns the id of the added token in t->raw with this text, or -1. */
int64_t organ_tokenizer_added(const organ_tokenizer *t, const char *text, size_t bytes);
/* Ends the vocabulary: ids added later are not part of it. */
void organ_tokenizer_ready(organ_tokenizer *t);
/* Adds the merge of the tokens `left` and `right` to the token `made`. The lowest rank is merged first. */
bool organ_tokenizer_merge(organ_tokenizer *t, uint32_t left, uint32_t right, uint32_t rank, uint32_t made);
/* Sets the pieces and the digest, and separates the added tokens to find before and after normalisation. */
organ_status organ_tokenizer_finish(organ_tokenizer *t, organ_error *error);

/* Returns the id of the token with this text, or ORGAN_NO_ID. */
uint32_t organ_tokenizer_id(const organ_tokenizer *t, const char *text, size_t bytes);
/* Returns the merge of two tokens, or NULL if there is none. Either id may be ORGAN_NO_ID. */
const organ_merge *organ_tokenizer_pair(const organ_tokenizer *t, uint32_t left, uint32_t right);
/* Returns true and sets the two ids if the slot is a merge of tokens, false if it is a pair of characters. */
bool organ_merge_is_of_tokens(const organ_merge *slot, uint32_t *left, uint32_t *right);
/* Returns the byte of a byte token such as "<0x0A>"; -1 for any other token. */
int organ_tokenizer_byte(const organ_tokenizer *t, uint32_t id);
/* Returns true if the two characters (code points) are adjacent in the text of a token that a merge makes. */
bool organ_tokenizer_are_adjacent(const organ_tokenizer *t, uint32_t left, uint32_t right);

/* Returns the merges of tokens in the order of their ranks (merges of equal rank in the order of the ids of their
 * tokens), and sets *count. The caller frees them; NULL if memory is exhausted. */
organ_merge *organ_tokenizer_merges(const organ_tokenizer *t, size_t *count);

/* Returns the code point of the character at `s`, which is valid UTF-8, and sets *length to its bytes. */
uint32_t organ_utf8_at(const char *s, size_t *length);
/* Writes the UTF-8 of a code point to `to`, which has room for 4 bytes, and returns the number of bytes written. */
size_t organ_utf8_put(uint32_t code, char *to);

/* Converts between a byte and its letter: the character (code point) that represents the byte in byte-level
 * vocabularies. organ_unicode_to_byte returns -1 for a character that represents no byte. */
uint32_t organ_byte_to_unicode(unsigned char byte);
int organ_unicode_to_byte(uint32_t letter);

/* Appends the text to `to` as valid UTF-8, with U+FFFD for invalid bytes. Returns false if memory is exhausted. */
bool organ_utf8_append_valid(const char *text, size_t bytes, organ_bytes *to);
/* Returns a new organ_growth with the limit of each step's output for a text of `text` bytes: the tokenizer's
 * memory, or 64 KiB plus 16 times the text if that is more, but at most 64 KiB plus 128 times the text. */
organ_growth organ_growth_of(const organ_tokenizer *t, size_t text);
/* The caller calls organ_growth_begin before a step writes its output to `made`, and organ_growth_end after the step.
 * `so_far` is the number of bytes that the step has already written for other pieces of the same text. `good` is false
 * if an organ_bytes_add to `made` failed: organ_growth_end then reports ORGAN_IO for exhausted memory, ORGAN_BAD_INPUT
 * for an exceeded limit. */
void organ_growth_begin(const organ_growth *growth, size_t so_far, organ_bytes *made);
organ_status organ_growth_end(const organ_tokenizer *t, organ_growth *growth, const organ_step *step, organ_bytes *made,
                              bool good, organ_error *error);
/* Sets `letters` to the text as the vocabulary writes it: with a letter for each byte, or U+2581 for each blank.
 * Returns false if memory is exhausted. */
bool organ_put_letters(const organ_tokenizer *t, const char *text, size_t bytes, organ_bytes *letters);
/* Returns true if the text is valid UTF-8. */
bool organ_utf8_is_valid_text(const char *text, size_t bytes);
/* A quick test that needs no memory. Returns true only if the normalizer leaves the text unchanged; may also return
 * false for a text that the normalizer leaves unchanged. */
bool organ_is_normal(const organ_tokenizer *t, const char *text, size_t bytes);
/* Applies the normalizer to the text in `bytes`, in place. Errors are those of organ_step_find and organ_growth_end. */
organ_status organ_normalise(const organ_tokenizer *t, organ_search *search, organ_growth *growth, organ_bytes *bytes,
                             organ_error *error);

/* ---- words into ids ---- */

/* A list of ids. It counts all ids that are added but stores only the first `max`. */
typedef struct organ_ids {
    uint32_t *items;
    size_t count;    /* ids added */
    size_t capacity; /* allocated elements of `items` */
    size_t max;      /* largest number of `items` */
} organ_ids;
bool organ_ids_add(organ_ids *ids, uint32_t id); /* false if memory is exhausted */

/* A symbol of a word while it is merged: an element of a doubly linked list. */
typedef struct organ_symbol {
    uint32_t id;         /* token; ORGAN_NO_ID for a character that is no token (SentencePiece with scores) */
    uint32_t prev, next; /* indices of the neighbouring symbols, or ORGAN_NO_ID */
    uint32_t start;      /* offset of its first byte in the word */
    uint32_t length;     /* number of its bytes; 0 if it was merged into its left neighbour */
} organ_symbol;
/* A possible merge of a symbol and its right neighbour. */
typedef struct organ_candidate {
    uint64_t order;  /* rank of the merge << 32, plus index of the left symbol */
    uint32_t merged; /* id of the token that the merge makes */
} organ_candidate;
struct organ_cached_word;

/* State of encoding words: the symbols of the current word, a heap of the merges that are possible between them, and
 * a cache of whole words. All members but `tokenizer` and `ids` are zero at first. */
typedef struct organ_bpe {
    const organ_tokenizer *tokenizer;
    organ_ids *ids;        /* output */
    organ_symbol *symbols; /* of the current word, in the order of the text */
    organ_candidate *heap; /* binary heap, the lowest `order` first */
    size_t symbol_count, symbol_capacity, heap_count, heap_capacity;
    const organ_merge *last;         /* merge of the current word that was applied last */
    struct organ_cached_word *cache; /* hash table of short words; NULL before the first word */
} organ_bpe;
/* Appends the ids of a word, which is valid UTF-8, to bpe->ids. Returns ORGAN_BAD_INPUT for a word of 2^31 - 1
 * bytes or more, ORGAN_IO if memory is exhausted. */
organ_status organ_bpe_word(organ_bpe *bpe, const char *word, size_t bytes, organ_error *error);
/* Applies all merges to a word, without the rule of ignore_merges. Sets *made to the token that the word becomes,
 * ORGAN_NO_ID if it becomes none or several, and *last to the merge that was applied last, or NULL. bpe->ids is not
 * used. Returns false if memory is exhausted. */
bool organ_bpe_last_merge(organ_bpe *bpe, const char *word, size_t bytes, uint32_t *made, const organ_merge **last);

/* ---- sources ---- */

/* Returns the path of the file `name` next to the model, for messages, or `name` if memory is exhausted. Valid until
 * the tokenizer is closed. */
const char *organ_tokenizer_label(const organ_model *model, organ_tokenizer *t, const char *name);
/* Reads a tokenizer into *t from the text of a file in the model's directory. organ_tokenizer_from_json also accepts
 * NULL for the model: it then reads no tokenizer_config.json and does not set BOS and EOS. */
typedef organ_status organ_tokenizer_source(const organ_model *model, organ_tokenizer *t, const organ_json_source *text,
                                            organ_error *error);
organ_tokenizer_source organ_tokenizer_from_json, organ_tokenizer_from_tekken, organ_tokenizer_from_tiktoken;
/* Returns an empty tokenizer for a reader, with a seed for its hash tables. The caller closes it. Returns NULL, with an
 * error that names `label`, if memory is exhausted. */
organ_tokenizer *organ_tokenizer_create(const char *label, organ_error *error);
/* Reads the tokenizer in the metadata of a GGUF model into *t, which organ_tokenizer_open has initialised. Returns
 * ORGAN_BAD_INPUT for malformed metadata and unsupported kinds, ORGAN_IO if memory is exhausted. */
organ_status organ_tokenizer_from_gguf(const organ_model *model, organ_tokenizer *t, organ_error *error);
/* Reads the normalizer and the pre_tokenizer of a tokenizer.json into the tokenizer's steps; each may be NULL or
 * JSON null. `label` names the file in messages. */
organ_status organ_tokenizer_steps(organ_tokenizer *t, const char *label, const json_t *normalizer,
                                   const json_t *pretokenizer, organ_error *error);
/* Replaces the value of model_max_length in `bytes`, the text of a tokenizer_config.json, by 0 if it may exceed 64
 * bits: transformers writes 10^30 for a tokenizer without a limit. Positions in messages stay. */
void organ_tokenizer_tidy(const organ_json_source *text, char *bytes);
/* Loads tokenizer_config.json of the model, with the members of special_tokens_map.json and the tokens of
 * added_tokens.json if it has no added_tokens_decoder. *config, which the caller releases, is NULL if there is none of
 * these files. */
organ_status organ_tokenizer_config(const organ_model *model, organ_tokenizer *t, json_t **config, organ_error *error);
/* Enters the tokens that this config lists and tokenizer.json does not, and the flags of added tokens that it states
 * otherwise, as transformers does. Called when the vocabulary and the added tokens of tokenizer.json are entered,
 * before organ_tokenizer_ready. */
organ_status organ_tokenizer_config_tokens(organ_tokenizer *t, const char *label, json_t *config, organ_error *error);
/* The files beside a tokenizer.json that change its ids in transformers, with their paths for messages. */
typedef struct organ_tokenizer_beside {
    json_t *config, *model; /* tokenizer_config.json and config.json; NULL: there is none */
    const char *config_label, *model_label;
} organ_tokenizer_beside;

/* Applies what changes ids in transformers, the class of the tokenizer and flags of tokenizer_config.json: changes the
 * normalizer and the pre_tokenizer in `document`, the members of tokenizer.json, and sets flags of the tokenizer.
 * Called when all tokens are entered, before organ_tokenizer_steps. Returns ORGAN_BAD_INPUT for a value that
 * transformers rejects, ORGAN_IO if memory is exhausted. */
organ_status organ_tokenizer_flags(organ_tokenizer *t, const organ_tokenizer_beside *beside, json_t *document,
                                   organ_error *error);
/* Does what organ_tokenizer_from_json does, but takes the contents of the other files from `beside`, not from a model's
 * directory. `beside` NULL: there are no other files, and BOS and EOS are not set. */
organ_status organ_tokenizer_from_texts(organ_tokenizer *t, const organ_json_source *text,
                                        const organ_tokenizer_beside *beside, organ_error *error);
/* Sets facts.bos, facts.eos and facts.adds_bos from the config (NULL for none), whose path is `label`, and from the
 * post_processor of tokenizer.json (NULL for none). `from_json`: the tokenizer is that of a tokenizer.json, so the
 * post-processor and not add_bos_token decides on BOS. */
organ_status organ_tokenizer_settings(organ_tokenizer *t, const char *label, const json_t *config, bool from_json,
                                      const json_t *post, organ_error *error);
/* Appends a pre-tokenizer step that makes each match of a regex a piece. The texts between the matches also become
 * pieces, or are dropped if `drops` is true. `label` names the file in messages. */
organ_status organ_tokenizer_split_at(organ_tokenizer *t, const char *label, const char *pattern, bool drops,
                                      organ_error *error);

/* ---- tokens with ranks ---- */

/* For each way to split the text of token `id` into two tokens, adds their merge to token `id` with this rank. Returns
 * false if memory is exhausted. */
bool organ_tokenizer_add_splits(organ_tokenizer *t, uint32_t id, uint32_t rank);
/* Adds token `id` from the `bytes` characters of base64 that encode it in the file. Rejects invalid base64, and a token
 * or an id that was already added. `label` names the file in messages. `word` is scratch memory that the caller keeps
 * between the calls and frees. */
organ_status organ_tokenizer_ranked(organ_tokenizer *t, const char *label, uint32_t id, const char *base64,
                                    size_t bytes, organ_bytes *word, organ_error *error);
/* Ends a vocabulary by ranks and adds its merges. The token with the id `first` + k has rank k, for k < `count`. All
 * tokens, including special ones, must have been added before. A word that is a token becomes this token without
 * merges, as in tiktoken. Rejects a vocabulary without a token for each byte. */
organ_status organ_tokenizer_ranked_end(organ_tokenizer *t, const char *label, uint32_t first, uint32_t count,
                                        organ_error *error);

/* ---- split rules that a file names without defining them ---- */

/* The largest number of patterns in a row of the table of pre-tokenizers. */
enum { ORGAN_PRETOKENIZER_PATTERNS = 6 };
/* Flags of a row of the table of pre-tokenizers. */
enum {
    ORGAN_CUT_NFC = 1,   /* the text is converted to NFC first */
    ORGAN_CUT_WHOLE = 2, /* a word that is a token becomes this token without merges (ignore_merges) */
    ORGAN_CUT_BOS = 4,   /* BOS is put before a text unless add_bos_token of the file is false */
    ORGAN_CUT_DROPS = 8, /* text that no pattern matches is dropped, as in tiktoken */
};
#define ORGAN_CUT_BYTES "" /* in the list of patterns: the position of the step that writes bytes as letters */

/* A row of the table of pre-tokenizers. */
typedef struct organ_pretokenizer {
    const char *names;                                 /* values of tokenizer.ggml.pre, separated by blanks */
    const char *patterns[ORGAN_PRETOKENIZER_PATTERNS]; /* applied in this order; NULL after the last */
    unsigned rules;                                    /* sum of the flags ORGAN_CUT_* */
} organ_pretokenizer;

/* Returns the row with this name, or NULL if the table has none. */
const organ_pretokenizer *organ_pretokenizer_named(const char *name, size_t length);
/* Returns a value for tokenizer.ggml.pre: the name, not NUL-terminated, of a row that has the rules of the tokenizer,
 * and sets *length. Prefers `architecture` (the general.architecture of the model) if a row with these rules has that
 * name, else takes the first name of the first row with these rules. A row whose only difference is ORGAN_CUT_WHOLE
 * comes last: the ids are equal if merges make every token, which the caller compares. Returns NULL if no row fits. */
const char *organ_pretokenizer_name_of(const organ_tokenizer *t, const char *architecture, size_t *length);
/* Adds the steps of a row to the tokenizer: NFC if its rules require it, its patterns, then the step that replaces
 * bytes by letters, unless ORGAN_CUT_BYTES is among the patterns. The caller applies ORGAN_CUT_WHOLE and
 * ORGAN_CUT_BOS. */
organ_status organ_tokenizer_set_pretokenizer(organ_tokenizer *t, const char *label,
                                              const organ_pretokenizer *pretokenizer, organ_error *error);

#define ORGAN_GPT2_PATTERN "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

/* ---- texts with which tokenizers are compared ---- */

/* A text of the table of probes; it may contain NUL. */
typedef struct organ_probe_text {
    const char *text;
    size_t bytes;
} organ_probe_text;

/* Appends to `text` the added token in context number `context`. Returns false if memory is exhausted, or, without
 * appending anything, if `context` is ORGAN_PROBE_CONTEXTS or more. */
enum { ORGAN_PROBE_CONTEXTS = 12 };

/* ---- tokenizer.model of SentencePiece: the only file of a model that has scores and types of tokens ---- */

/* Scores of the tokens, by id. */
typedef struct organ_piece_scores {
    float *scores; /* NULL if they are not known; the caller frees them */
    uint64_t count;
} organ_piece_scores;

/* Reads the scores in the model's tokenizer.model. Leaves out->scores NULL if there is no such file or if it is not
 * that of the tokenizer: it has another text for an id, or its scores do not order the `merges` (by rank, `merge_count`
 * of them) in the order of tokenizer.json. Returns ORGAN_IO if the file cannot be read or memory is exhausted. */
organ_status organ_piece_scores_read(const organ_model *model, const organ_tokenizer *t, const organ_merge *merges,
                                     size_t merge_count, organ_piece_scores *out, organ_error *error);

/* ---- the sources of organ_tokenizer_to_gguf ---- */

/* State of writing a tokenizer to GGUF metadata. */
typedef struct gguf_export {
    const organ_model *model;
    organ_tokenizer *t; /* read from tokenizer.json */
    const organ_tokenizer_gguf_options *options;
    organ_gguf_writer *writer;
    uint64_t count;            /* tokens of the GGUF file: rows of the embedding */
    const organ_added **added; /* by id below the tokenizer's vocabulary; NULL if the token is not an added one */
} gguf_export;

/* Writes the keys of the model's chat templates. */
organ_status organ_tokenizer_write_templates(const gguf_export *e, const json_t *config, organ_error *error);

/* Writes the ids of special tokens, the flags that state which of these tokens are added to a text, and the chat
 * template. */
organ_status organ_tokenizer_write_special(const gguf_export *e, organ_error *error);

#endif
