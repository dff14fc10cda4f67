/* SPDX-License-Identifier: MIT
 * Reads tiktoken.model of Kimi and hy.tiktoken of Hunyuan. Each line contains a token: its bytes as base64 and its
 * rank, which is its id. The ids after the highest rank are special tokens. The names of the special tokens and the
 * pattern that splits a text are not in these files but in the Python code of the tokenizer's class, which
 * tokenizer_config.json names; the table `classes` has a row for each class. */
#include "formats/tokenizer/tokenizer_parts.h"

#include "formats/base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONFIG_LIMIT = 64 << 20 };     /* upper bound of the bytes of tokenizer_config.json */
enum { TIKTOKEN_ID_LIMIT = 1 << 24 }; /* upper bound of tokens */
enum { FIRST_SPECIAL = 5 };           /* number of special tokens that a class lists by name */

static const char config_name[] = "tokenizer_config.json";

/* In tokenization_kimi.py, a special token has the name that added_tokens_decoder of tokenizer_config.json gives its
 * id, or "<|reserved_token_ID|>". In tokenization_hy.py, the special tokens are five names, then "<|extra_N|>" with
 * N from 0. */
typedef struct tiktoken_class {
    const char *name;                 /* tokenizer_class in tokenizer_config.json */
    const char *pretokenizer;         /* its split rules: a name in pretokenizers.c */
    uint32_t special;                 /* number of special tokens */
    const char *first[FIRST_SPECIAL]; /* names of the first special tokens; NULL for a numbered name */
    const char *prefix;               /* beginning of the numbered names, which end with a number and "|>" */
    bool numbered_by_id;              /* the number in a name is the token's id, else it counts from 0 after `first` */
    bool decoder;                     /* names in added_tokens_decoder take precedence */
    bool adds_bos;                    /* BOS is put before a text if the config has no add_bos_token */
} tiktoken_class;

static const tiktoken_class classes[] = {
    {"TikTokenTokenizer", "kimi-k2", 256, {NULL}, "<|reserved_token_", true, true, false},
    {"HYTokenizer",
     "hunyuan",
     209,
     {"<|endoftext|>", "<|startoftext|>", "<|bos|>", "<|eos|>", "<|pad|>"},
     "<|extra_",
     false,
     false,
     true},
};

/* ---- the lines ---- */

/* Returns false unless the text is a decimal number below TIKTOKEN_ID_LIMIT. */
static bool read_rank(const char *digits, size_t count, uint32_t *rank)
{
    *rank = 0;
    for (size_t k = 0; k < count; k++) {
        if (digits[k] < '0' || digits[k] > '9' || *rank >= TIKTOKEN_ID_LIMIT)
            return false;
        *rank = *rank * 10 + (uint32_t)(digits[k] - '0');
    }
    return count && *rank < TIKTOKEN_ID_LIMIT;
}

static organ_status read_token_line(organ_tokenizer *t, const organ_json_source *text, const char *line, size_t bytes,
                                    size_t number, organ_bytes *word, organ_error *error)
{
    const char *const blank = memchr(line, ' ', bytes);
    uint32_t rank;
    if (!blank || !read_rank(blank + 1, bytes - (size_t)(blank + 1 - line), &rank))
        return organ_refuse(error, text->label, "line %zu is not a token in base64, a space and its rank below %d",
                            number, TIKTOKEN_ID_LIMIT);
    /* Memory is allocated for all ids up to this one. A line has at least four bytes and ranks have no gaps, so the
     * size of the file bounds the ranks. */
    if (rank >= text->length / 4)
        return organ_refuse(error, text->label,
                            "line %zu: rank %u exceeds the number of tokens that a file of %zu bytes can list", number,
                            rank, text->length);
    return organ_tokenizer_ranked(t, text->label, rank, line, (size_t)(blank - line), word, error);
}

static organ_status read_token_lines(organ_tokenizer *t, const organ_json_source *text, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_bytes_release) organ_bytes word = {0};
    size_t number = 1;
    for (size_t at = 0; at < text->length && !error->status; number++) {
        const char *const line = text->bytes + at, *const end = memchr(line, '\n', text->length - at);
        const size_t bytes = end ? (size_t)(end - line) : text->length - at;
        if (bytes) /* an empty line is no token */
            read_token_line(t, text, line, bytes, number, &word, error);
        at += bytes + 1;
    }
    if (!error->status && t->text_count != t->token_count)
        organ_refuse(error, text->label, "there are %zu tokens, but the highest rank is %zu", t->text_count,
                     t->token_count - 1);
    if (!error->status && t->text_count == 0)
        organ_refuse(error, text->label, "it is empty");
    return error->status;
}

/* ---- special tokens of a config ---- */

/* The keys must be ids of special tokens, `count` to count + class->special - 1. `label` is the config's path, for
 * messages. */
static organ_status check_decoder(const tiktoken_class *class, const char *label, const json_t *decoder, uint32_t count,
                                  organ_error *error)
{
    const char *name;
    json_t *value;
    uint32_t id;
    if (decoder && !json_is_object(decoder))
        return organ_refuse(error, label, "'added_tokens_decoder' is not an object");
    json_object_foreach((json_t *)decoder, name, value)
    {
        const json_t *const content = json_object_get(value, "content");
        if (*name == '0' || !read_rank(name, strlen(name), &id) || id < count || id >= count + class->special)
            return organ_refuse(error, label,
                                "added_tokens_decoder: '%.40s' is not one of the %u ids after the tokens 0 to %u", name,
                                class->special, count - 1);
        if (!json_is_string(content) || json_string_length(content) == 0 ||
            json_string_length(content) > ORGAN_TOKEN_SIZE)
            return organ_refuse(error, label, "added_tokens_decoder: '%s': 'content' is not a string", name);
    }
    return ORGAN_OK;
}

static organ_status add_special(organ_tokenizer *t, const tiktoken_class *class, const char *label,
                                const json_t *config, uint32_t count, organ_error *error)
{
    const json_t *const decoder = class->decoder ? json_object_get(config, "added_tokens_decoder") : NULL;
    if (check_decoder(class, label, decoder, count, error) != ORGAN_OK)
        return error->status;
    for (uint32_t k = 0; k < class->special; k++) {
        char key[16], numbered[40];
        const bool named = k < FIRST_SPECIAL && class->first[k];
        const uint32_t number = class->numbered_by_id ? count + k : k - FIRST_SPECIAL;
        snprintf(key, sizeof key, "%u", count + k);
        snprintf(numbered, sizeof numbered, "%s%u|>", class->prefix, number);
        const json_t *const content = json_object_get(json_object_get(decoder, key), "content");
        const char *const default_text = named ? class->first[k] : numbered;
        const organ_added added = {.text = content ? json_string_value(content) : default_text,
                                   .bytes = content ? json_string_length(content) : strlen(default_text),
                                   .id = count + k,
                                   .special = true};
        if (!organ_tokenizer_add_added_token(t, &added))
            return organ_fail_memory(error, label);
    }
    return ORGAN_OK;
}

/* ---- the whole tokenizer of tiktoken ---- */

/* Only the config names the class of the tokenizer file `label`. `config_label` is its path in messages. */
static organ_status load_config(const organ_model *model, const char *config_label, const char *label, json_t **config,
                                organ_error *error)
{
    organ_json_source text = {.label = config_label};
    ORGAN_OWNED char *bytes = NULL;
    *config = NULL;
    organ_model_load(model, config_name, CONFIG_LIMIT, &bytes, &text.length, error);
    text.bytes = bytes;
    if (!error->status && !bytes)
        organ_refuse(error, label, "%s is missing next to it; that file names the class of the tokenizer", config_name);
    if (!error->status) {
        organ_tokenizer_tidy(&text, bytes);
        organ_json_parse_object(&text, config, error);
    }
    return error->status;
}

static const tiktoken_class *tiktoken_class_of(const json_t *config, const char *config_label, const char *label,
                                               organ_error *error)
{
    const char *const name = organ_json_plain(json_object_get(config, "tokenizer_class"));
    for (size_t k = 0; name && k < sizeof classes / sizeof *classes; k++)
        if (strcmp(name, classes[k].name) == 0)
            return &classes[k];
    organ_refuse(error, config_label,
                 "tokenizer_class '%.80s' is not supported with %s, only TikTokenTokenizer and HYTokenizer",
                 name ? name : "", organ_path_name(label));
    return NULL;
}

static organ_status read_vocabulary_of(organ_tokenizer *t, const tiktoken_class *class, const char *config_label,
                                       const json_t *config, const organ_json_source *text, organ_error *error)
{
    if (read_token_lines(t, text, error) != ORGAN_OK)
        return error->status;
    const uint32_t count = (uint32_t)t->token_count;
    organ_tokenizer_set_pretokenizer(t, text->label,
                                     organ_pretokenizer_named(class->pretokenizer, strlen(class->pretokenizer)), error);
    if (error->status || add_special(t, class, config_label, config, count, error) != ORGAN_OK)
        return error->status;
    return organ_tokenizer_ranked_end(t, text->label, 0, count, error);
}

/* If the config does not state add_bos_token, facts.adds_bos is the default of the config's tokenizer class, but
 * false if there is no BOS token. */
organ_status organ_tokenizer_from_tiktoken(const organ_model *model, organ_tokenizer *t, const organ_json_source *text,
                                           organ_error *error)
{
    const char *const config_label = organ_tokenizer_label(model, t, config_name);
    ORGAN_OWNED_JSON json_t *config = NULL;
    const tiktoken_class *class = NULL;
    if (load_config(model, config_label, text->label, &config, error) == ORGAN_OK)
        class = tiktoken_class_of(config, config_label, text->label, error);
    if (class && read_vocabulary_of(t, class, config_label, config, text, error) == ORGAN_OK)
        organ_tokenizer_settings(t, config_label, config, /*from_json=*/false, NULL, error);
    if (!error->status && !json_is_boolean(json_object_get(config, "add_bos_token")))
        t->facts.adds_bos = class->adds_bos && t->facts.bos >= 0;
    return error->status ? error->status : organ_tokenizer_finish(t, error);
}

/* ---- tekken.json of Mistral ---- */

/* The special tokens have the first ids; the tokens of "vocab" have the ids after them, in the order of their ranks.
 * The file contains the pattern that splits a text. The list "vocab" has 150,000 elements, so it is read element by
 * element. mistral_common always encodes names of special tokens in a text as characters; here the caller of the
 * encoder decides. */

enum { TEKKEN_ID_LIMIT = 1 << 24, SPECIAL_LIMIT = 1 << 16 }; /* upper bounds of tokens and of special tokens */
enum { LAST_WITHOUT_SPECIAL = 7 };                           /* last version that does not list special tokens */

enum { TEKKEN_CONFIG, TEKKEN_SPECIAL, TEKKEN_VOCAB, TEKKEN_COUNT };
static const char *const tekken_names[TEKKEN_COUNT] = {"config", "special_tokens", "vocab"};

/* Files up to version 7 do not list their special tokens. */
static const char *const usual_special[] = {"<unk>",
                                            "<s>",
                                            "</s>",
                                            "[INST]",
                                            "[/INST]",
                                            "[AVAILABLE_TOOLS]",
                                            "[/AVAILABLE_TOOLS]",
                                            "[TOOL_RESULTS]",
                                            "[/TOOL_RESULTS]",
                                            "[TOOL_CALLS]",
                                            "[IMG]",
                                            "<pad>",
                                            "[IMG_BREAK]",
                                            "[IMG_END]",
                                            "[PREFIX]",
                                            "[MIDDLE]",
                                            "[SUFFIX]",
                                            "[SYSTEM_PROMPT]",
                                            "[/SYSTEM_PROMPT]",
                                            "[TOOL_CONTENT]"};
enum { USUAL_SPECIAL = sizeof usual_special / sizeof *usual_special };

typedef struct tekken_reading {
    organ_tokenizer *t;                  /* output */
    const organ_json_source *text;       /* the file */
    organ_json_span spans[TEKKEN_COUNT]; /* values of the members tekken_names; empty for a missing member */
    uint32_t special;                    /* number of special ids: 0 to special - 1 */
    uint32_t tokens;                     /* number of ids after them, for entries of "vocab" */
    organ_error *error;                  /* the first error is kept */
} tekken_reading;

static organ_status find_members(tekken_reading *r)
{
    organ_json_walk walk;
    organ_json_walk_begin(&walk, r->text, (organ_json_span){0, r->text->length}, NULL, r->error);
    while (organ_json_walk_next(&walk, r->error))
        for (size_t k = 0; k < TEKKEN_COUNT; k++)
            if (organ_json_is(walk.name, tekken_names[k])) {
                if (r->spans[k].end)
                    organ_refuse(r->error, r->text->label, "'%s' occurs twice", tekken_names[k]);
                r->spans[k] = walk.value;
            }
    for (size_t k = 0; k < TEKKEN_COUNT && !r->error->status; k++)
        if (!r->spans[k].end && k != TEKKEN_SPECIAL)
            organ_refuse(r->error, r->text->label, "'%s' is missing", tekken_names[k]);
    return r->error->status;
}

/* ---- config ---- */

static int64_t number_of(const tekken_reading *r, const json_t *config, const char *name, int64_t max)
{
    const json_t *const value = json_object_get(config, name);
    const int64_t number = json_is_integer(value) ? json_integer_value(value) : -1;
    if (number < 1 || number > max)
        organ_refuse(r->error, r->text->label, "config: '%s' is not a number from 1 to %lld", name, (long long)max);
    return number;
}

static organ_status read_tekken_sizes(tekken_reading *r, const json_t *config)
{
    const int64_t all = number_of(r, config, "default_vocab_size", TEKKEN_ID_LIMIT - 1);
    const int64_t special = number_of(r, config, "default_num_special_tokens", SPECIAL_LIMIT);
    if (r->error->status)
        return r->error->status;
    if (special >= all)
        return organ_refuse(r->error, r->text->label, "config: %lld special tokens in a vocabulary of %lld",
                            (long long)special, (long long)all);
    r->special = (uint32_t)special;
    r->tokens = (uint32_t)(all - special);
    /* Memory is allocated for each id. Each listed token needs more than ten bytes of the file, so the file's size
     * bounds the ids. */
    if (r->tokens > r->text->length / 10)
        return organ_refuse(r->error, r->text->label, "config: a file of %zu bytes cannot list %u tokens",
                            r->text->length, r->tokens);
    return ORGAN_OK;
}

static organ_status read_config(tekken_reading *r, long *version)
{
    ORGAN_OWNED_JSON json_t *config = NULL;
    if (organ_json_parse(r->text, r->spans[TEKKEN_CONFIG], "config", &config, r->error) != ORGAN_OK)
        return r->error->status;
    const char *const pattern = organ_json_plain(json_object_get(config, "pattern"));
    const char *const name = organ_json_plain(json_object_get(config, "version"));
    char *end = NULL;
    *version = name && *name == 'v' ? strtol(name + 1, &end, 10) : 0;
    if (!pattern || !*pattern)
        organ_refuse(r->error, r->text->label, "config: 'pattern' is missing or not a string");
    else if (!end || *end || *version < 1)
        organ_refuse(r->error, r->text->label, "config: version '%.40s' is unknown", name ? name : "");
    else if (read_tekken_sizes(r, config) == ORGAN_OK)
        organ_tokenizer_set_pretokenizer(
            r->t, r->text->label, &(organ_pretokenizer){.patterns = {pattern}, .rules = ORGAN_CUT_DROPS}, r->error);
    return r->error->status;
}

/* ---- special tokens of tekken.json ---- */

static organ_status add_special_token(const tekken_reading *r, uint32_t id, const char *text, size_t bytes)
{
    const organ_added added = {.text = text, .bytes = bytes, .id = id, .special = true};
    return organ_tokenizer_add_added_token(r->t, &added) ? ORGAN_OK : organ_fail_memory(r->error, r->text->label);
}

static organ_status add_listed(const tekken_reading *r, const json_t *one, size_t index)
{
    const json_t *const rank = json_object_get(one, "rank");
    const json_t *const text = json_object_get(one, "token_str");
    if (index >= r->special || !json_is_integer(rank) || json_integer_value(rank) != (json_int_t)index)
        return organ_refuse(r->error, r->text->label, "special_tokens: entry %zu: 'rank' must be %zu and below %u",
                            index, index, r->special);
    if (!json_is_string(text) || json_string_length(text) == 0 || json_string_length(text) > ORGAN_TOKEN_SIZE)
        return organ_refuse(r->error, r->text->label,
                            "special_tokens: number %zu: 'token_str' is not a string of 1 to %u bytes", index,
                            ORGAN_TOKEN_SIZE);
    return add_special_token(r, (uint32_t)index, json_string_value(text), json_string_length(text));
}

/* Files up to version LAST_WITHOUT_SPECIAL have no list of special tokens. The remaining ids below r->special get
 * the names <SPECIAL_n>. */
static organ_status read_special(const tekken_reading *r, long version)
{
    ORGAN_OWNED_JSON json_t *list = NULL;
    size_t count = 0;
    const organ_json_span span = r->spans[TEKKEN_SPECIAL];
    if (span.end && organ_json_parse(r->text, span, "special_tokens", &list, r->error) != ORGAN_OK)
        return r->error->status;
    if (json_is_array(list)) {
        for (count = json_array_size(list); r->t->raw.count < count && !r->error->status;)
            add_listed(r, json_array_get(list, r->t->raw.count), r->t->raw.count);
    } else if ((list && !json_is_null(list)) || version > LAST_WITHOUT_SPECIAL) {
        organ_refuse(r->error, r->text->label, "'special_tokens' is %s", list ? "not a list" : "missing");
    } else {
        for (count = USUAL_SPECIAL < r->special ? USUAL_SPECIAL : r->special;
             r->t->raw.count < count && !r->error->status;)
            add_special_token(r, (uint32_t)r->t->raw.count, usual_special[r->t->raw.count],
                              strlen(usual_special[r->t->raw.count]));
    }
    for (uint32_t id = (uint32_t)count; id < r->special && !r->error->status; id++) {
        char name[40];
        add_special_token(r, id, name, (size_t)snprintf(name, sizeof name, "<SPECIAL_%u>", id));
    }
    return r->error->status;
}

/* ---- vocabulary ---- */

/* Only counts braces outside of strings: the parser checks the object afterwards. Returns `end` if the object is not
 * closed. */
static size_t object_end(const organ_json_source *text, size_t at, size_t end)
{
    bool quoted = false;
    for (size_t depth = 0; at < end; at++) {
        const char c = text->bytes[at];
        if (quoted && c == '\\')
            at++;
        else if (c == '"')
            quoted = !quoted;
        else if (!quoted && c == '{')
            depth++;
        else if (!quoted && c == '}' && --depth == 0)
            return at + 1;
    }
    return end;
}

static organ_status read_token(const tekken_reading *r, organ_json_span span, uint32_t index, organ_bytes *word)
{
    ORGAN_OWNED_JSON json_t *one = NULL;
    if (organ_json_parse(r->text, span, "vocab", &one, r->error) != ORGAN_OK)
        return r->error->status;
    const json_t *const rank = json_object_get(one, "rank");
    const json_t *const base64 = json_object_get(one, "token_bytes");
    if (!json_is_integer(rank) || json_integer_value(rank) != (json_int_t)index)
        organ_refuse(r->error, r->text->label, "vocab: entry %u: 'rank' is not %u", index, index);
    else if (!json_is_string(base64))
        organ_refuse(r->error, r->text->label, "vocab: number %u: 'token_bytes' is not a string", index);
    else
        organ_tokenizer_ranked(r->t, r->text->label, r->special + index, json_string_value(base64),
                               json_string_length(base64), word, r->error);
    return r->error->status;
}

static size_t skip_json_space(const organ_json_source *text, size_t at, size_t end)
{
    while (at < end && memchr(" \t\r\n", text->bytes[at], 4))
        at++;
    return at;
}

/* Further entries are ignored, as in mistral_common: files list more tokens than a model has. */
static organ_status read_vocab(const tekken_reading *r)
{
    const organ_json_source *const text = r->text;
    const size_t end = r->spans[TEKKEN_VOCAB].end;
    ORGAN_RELEASED_BY(organ_bytes_release) organ_bytes word = {0};
    uint32_t index = 0;
    size_t at = skip_json_space(text, r->spans[TEKKEN_VOCAB].begin, end);
    /* the character before the next entry: the '[' of the list counts as a comma, 0 means that there is no list */
    char separator = at < end && text->bytes[at] == '[' ? ',' : 0;
    while (index < r->tokens && separator == ',' && !r->error->status) {
        const size_t begin = skip_json_space(text, at + 1, end);
        if (begin >= end || text->bytes[begin] != '{')
            break;
        at = object_end(text, begin, end);
        read_token(r, (organ_json_span){begin, at}, index++, &word);
        at = skip_json_space(text, at, end);
        separator = at < end ? text->bytes[at] : 0;
    }
    if (!r->error->status && index < r->tokens)
        return organ_refuse(r->error, text->label, "'vocab' is not a list of %u tokens: it ends after %u", r->tokens,
                            index);
    return r->error->status;
}

/* ---- the whole tokenizer of tekken.json ---- */

/* mistral_common puts "<s>" before each text. */
organ_status organ_tokenizer_from_tekken(const organ_model *model, organ_tokenizer *t, const organ_json_source *text,
                                         organ_error *error)
{
    (void)model;
    tekken_reading r = {.t = t, .text = text, .error = error};
    long version = 0;
    if (find_members(&r) != ORGAN_OK || read_config(&r, &version) != ORGAN_OK ||
        read_special(&r, version) != ORGAN_OK || read_vocab(&r) != ORGAN_OK ||
        organ_tokenizer_ranked_end(t, text->label, r.special, r.tokens, error) != ORGAN_OK)
        return error->status;
    t->facts.bos = organ_tokenizer_added(t, "<s>", 3);
    t->facts.eos = organ_tokenizer_added(t, "</s>", 4);
    t->facts.adds_bos = t->facts.bos >= 0;
    return organ_tokenizer_finish(t, error);
}
