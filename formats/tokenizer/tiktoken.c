/* SPDX-License-Identifier: MIT
 * Reads tiktoken.model of Kimi and hy.tiktoken of Hunyuan. Each line contains a token: its bytes as base64 and its
 * rank, which is its id. The ids after the highest rank are special tokens. The names of the special tokens and the
 * pattern that splits a text are not in these files but in the Python code of the tokenizer's class, which
 * tokenizer_config.json names; the table `classes` has a row for each class. */
#include "formats/base/path.h"
#include "formats/tokenizer/tokenizer_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONFIG_LIMIT = 64 << 20 }; /* upper bound of the bytes of tokenizer_config.json */
enum { ID_LIMIT = 1 << 24 };      /* upper bound of tokens */
enum { FIRST_SPECIAL = 5 };       /* number of special tokens that a class lists by name */

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

static bool read_rank(const char *digits, size_t count, uint32_t *rank)
{
    *rank = 0;
    for (size_t k = 0; k < count; k++) {
        if (digits[k] < '0' || digits[k] > '9' || *rank >= ID_LIMIT)
            return false;
        *rank = *rank * 10 + (uint32_t)(digits[k] - '0');
    }
    return count && *rank < ID_LIMIT;
}

static organ_status read_token_line(organ_tokenizer *t, const organ_json_source *text, const char *line, size_t bytes,
                                    size_t number, organ_bytes *word, organ_error *error)
{
    const char *const blank = memchr(line, ' ', bytes);
    uint32_t rank;
    if (!blank || !read_rank(blank + 1, bytes - (size_t)(blank + 1 - line), &rank))
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: line %zu is not a token in base64, a space and its rank below %d", text->label, number,
                          ID_LIMIT);
    /* Memory is allocated for all ids up to this one. A line has at least four bytes and ranks have no gaps, so the
     * size of the file bounds the ranks. */
    if (rank >= text->length / 4)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: line %zu: rank %u exceeds the number of tokens that a file of %zu bytes can list",
                          text->label, number, rank, text->length);
    return organ_tokenizer_ranked(t, text->label, rank, line, (size_t)(blank - line), word, error);
}

static organ_status read_token_lines(organ_tokenizer *t, const organ_json_source *text, organ_error *error)
{
    organ_bytes word = {0};
    size_t number = 1;
    for (size_t at = 0; at < text->length && !error->status; number++) {
        const char *const line = text->bytes + at, *const end = memchr(line, '\n', text->length - at);
        const size_t bytes = end ? (size_t)(end - line) : text->length - at;
        if (bytes) /* an empty line is no token */
            read_token_line(t, text, line, bytes, number, &word, error);
        at += bytes + 1;
    }
    free(word.data);
    if (!error->status && t->text_count != t->token_count)
        organ_fail(error, ORGAN_BAD_INPUT, "%s: there are %zu tokens, but the highest rank is %zu", text->label,
                   t->text_count, t->token_count - 1);
    if (!error->status && t->text_count == 0)
        organ_fail(error, ORGAN_BAD_INPUT, "%s: it is empty", text->label);
    return error->status;
}

/* ---- special tokens ---- */

/* The keys must be ids of special tokens, `count` to count + class->special - 1. `label` is the config's path, for
 * messages. */
static organ_status check_decoder(const tiktoken_class *class, const char *label, const json_t *decoder, uint32_t count,
                                  organ_error *error)
{
    const char *name;
    json_t *value;
    uint32_t id;
    if (decoder && !json_is_object(decoder))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: 'added_tokens_decoder' is not an object", label);
    json_object_foreach((json_t *)decoder, name, value)
    {
        const json_t *const content = json_object_get(value, "content");
        if (*name == '0' || !read_rank(name, strlen(name), &id) || id < count || id >= count + class->special)
            return organ_fail(error, ORGAN_BAD_INPUT,
                              "%s: added_tokens_decoder: '%.40s' is not one of the %u ids after the tokens 0 to %u",
                              label, name, class->special, count - 1);
        if (!json_is_string(content) || json_string_length(content) == 0 ||
            json_string_length(content) > ORGAN_TOKEN_SIZE)
            return organ_fail(error, ORGAN_BAD_INPUT, "%s: added_tokens_decoder: '%s': 'content' is not a string",
                              label, name);
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
        if (!organ_tokenizer_add(t, &added))
            return organ_fail_memory(error, label);
    }
    return ORGAN_OK;
}

/* ---- the whole tokenizer ---- */

/* Only the config names the class of the tokenizer file `label`. `config_label` is its path in messages. */
static organ_status load_config(const organ_model *model, const char *config_label, const char *label, json_t **config,
                                organ_error *error)
{
    organ_json_source text = {.label = config_label};
    char *bytes = NULL;
    *config = NULL;
    organ_model_load(model, config_name, CONFIG_LIMIT, &bytes, &text.length, error);
    text.bytes = bytes;
    if (!error->status && !bytes)
        organ_fail(error, ORGAN_BAD_INPUT, "%s: %s is missing next to it; that file names the class of the tokenizer",
                   label, config_name);
    if (!error->status)
        organ_json_parse_object(&text, config, error);
    free(bytes);
    return error->status;
}

static const tiktoken_class *tiktoken_class_of(const json_t *config, const char *config_label, const char *label,
                                               organ_error *error)
{
    const char *const name = organ_json_plain(json_object_get(config, "tokenizer_class"));
    for (size_t k = 0; name && k < sizeof classes / sizeof *classes; k++)
        if (strcmp(name, classes[k].name) == 0)
            return &classes[k];
    organ_fail(error, ORGAN_BAD_INPUT,
               "%s: tokenizer_class '%.80s' is not supported with %s, only TikTokenTokenizer and HYTokenizer",
               config_label, name ? name : "", organ_path_name(label));
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
    json_t *config = NULL;
    const tiktoken_class *class = NULL;
    if (load_config(model, config_label, text->label, &config, error) == ORGAN_OK)
        class = tiktoken_class_of(config, config_label, text->label, error);
    if (class && read_vocabulary_of(t, class, config_label, config, text, error) == ORGAN_OK)
        organ_tokenizer_settings(t, config_label, config, false, NULL, error);
    if (!error->status && !json_is_boolean(json_object_get(config, "add_bos_token")))
        t->facts.adds_bos = class->adds_bos && t->facts.bos >= 0;
    json_decref(config);
    return error->status ? error->status : organ_tokenizer_finish(t, error);
}
