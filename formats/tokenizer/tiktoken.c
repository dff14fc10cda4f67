/* SPDX-License-Identifier: MIT
 * tiktoken.model of Kimi: a line per token, its bytes as base64 and its rank, which is its id. The 256 ids after them
 * are special tokens: tokenizer_config.json names some, the others are "<|reserved_token_ID|>". The file has no
 * pattern; that of the tokenizer class TikTokenTokenizer is in cuttings.c. */
#include "formats/tokenizer/parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONFIG_LIMIT = 64 << 20, ID_LIMIT = 1 << 24, RESERVED = 256 };

static const char class_name[] = "TikTokenTokenizer", config_name[] = "tokenizer_config.json", pattern_of[] = "kimi-k2";

/* ---- the lines ---- */

static bool rank_of(const char *digits, size_t count, uint32_t *rank)
{
    *rank = 0;
    for (size_t k = 0; k < count; k++) {
        if (digits[k] < '0' || digits[k] > '9' || *rank >= ID_LIMIT)
            return false;
        *rank = *rank * 10 + (uint32_t)(digits[k] - '0');
    }
    return count && *rank < ID_LIMIT;
}

static organ_status read_token_line(organ_tokenizer *t, const organ_json_text *text, const char *line, size_t bytes,
                                    size_t number, organ_bytes *word, organ_error *error)
{
    const char *const blank = memchr(line, ' ', bytes);
    uint32_t rank;
    if (!blank || !rank_of(blank + 1, bytes - (size_t)(blank + 1 - line), &rank))
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: line %zu is not a token as base64, a blank and its rank below %d", text->label, number,
                          ID_LIMIT);
    /* A token takes four bytes at least: without gaps no rank is larger than this. */
    if (rank >= text->length / 4)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: line %zu: rank %u is beyond the tokens of a file of %zu bytes",
                          text->label, number, rank, text->length);
    return organ_tokenizer_ranked(t, text->label, rank, line, (size_t)(blank - line), word, error);
}

static organ_status read_token_lines(organ_tokenizer *t, const organ_json_text *text, organ_error *error)
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
    if (!error->status && t->named != t->token_count)
        organ_fail(error, ORGAN_BAD_INPUT, "%s: there are %zu tokens, but the highest rank is %zu", text->label,
                   t->named, t->token_count - 1);
    if (!error->status && t->named == 0)
        organ_fail(error, ORGAN_BAD_INPUT, "%s: it is empty", text->label);
    return error->status;
}

/* ---- special tokens ---- */

static organ_status check_decoder(const json_t *decoder, uint32_t count, organ_error *error)
{
    const char *name;
    json_t *value;
    uint32_t id;
    if (decoder && !json_is_object(decoder))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: 'added_tokens_decoder' is not an object", config_name);
    json_object_foreach((json_t *)decoder, name, value)
    {
        const json_t *const content = json_object_get(value, "content");
        if (*name == '0' || !rank_of(name, strlen(name), &id) || id < count || id >= count + RESERVED)
            return organ_fail(error, ORGAN_BAD_INPUT,
                              "%s: added_tokens_decoder: '%.40s' is not one of the %d ids after the tokens 0 to %u",
                              config_name, name, RESERVED, count - 1);
        if (!json_is_string(content) || json_string_length(content) == 0 ||
            json_string_length(content) > ORGAN_TOKEN_SIZE)
            return organ_fail(error, ORGAN_BAD_INPUT, "%s: added_tokens_decoder: '%s': 'content' is no text",
                              config_name, name);
    }
    return ORGAN_OK;
}

static organ_status add_special(organ_tokenizer *t, const json_t *decoder, uint32_t count, organ_error *error)
{
    if (check_decoder(decoder, count, error) != ORGAN_OK)
        return error->status;
    for (uint32_t id = count; id < count + RESERVED; id++) {
        char key[16], reserved[40];
        snprintf(key, sizeof key, "%u", id);
        snprintf(reserved, sizeof reserved, "<|reserved_token_%u|>", id);
        const json_t *const content = json_object_get(json_object_get(decoder, key), "content");
        const organ_added added = {.text = content ? json_string_value(content) : reserved,
                                   .bytes = content ? json_string_length(content) : strlen(reserved),
                                   .id = id,
                                   .special = true};
        if (!organ_tokenizer_add(t, &added))
            return organ_fail_memory(error, config_name);
    }
    return ORGAN_OK;
}

/* ---- all of it ---- */

static organ_status load_config(const organ_model *model, json_t **config, organ_error *error)
{
    organ_json_text text = {.label = config_name};
    char *bytes = NULL;
    *config = NULL;
    organ_model_load(model, config_name, CONFIG_LIMIT, &bytes, &text.length, error);
    text.bytes = bytes;
    if (!error->status && !bytes)
        organ_fail(error, ORGAN_BAD_INPUT, "%s: %s is missing beside tiktoken.model: it names the tokenizer's class",
                   model->path, config_name);
    if (!error->status)
        organ_json_parse_object(&text, config, error);
    free(bytes);
    if (error->status)
        return error->status;
    const char *const class = organ_json_plain(json_object_get(*config, "tokenizer_class"));
    if (!class || strcmp(class, class_name) != 0)
        organ_fail(error, ORGAN_BAD_INPUT,
                   "%s: tokenizer_class '%.80s' is not supported with tiktoken.model, only '%s'", config_name,
                   class ? class : "", class_name);
    return error->status;
}

organ_status organ_tokenizer_from_tiktoken(const organ_model *model, organ_tokenizer *t, const organ_json_text *text,
                                           organ_error *error)
{
    json_t *config = NULL;
    if (load_config(model, &config, error) == ORGAN_OK && read_token_lines(t, text, error) == ORGAN_OK) {
        const uint32_t count = (uint32_t)t->token_count;
        organ_tokenizer_cut_by(t, text->label, organ_cutting_named(pattern_of, sizeof pattern_of - 1), error);
        if (!error->status && add_special(t, json_object_get(config, "added_tokens_decoder"), count, error) == ORGAN_OK)
            organ_tokenizer_ranked_end(t, text->label, 0, count, error);
    }
    json_decref(config);
    if (!error->status)
        organ_tokenizer_settings(model, t, NULL, error);
    return error->status ? error->status : organ_tokenizer_finish(t, error);
}
