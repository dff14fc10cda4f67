/* SPDX-License-Identifier: MIT
 * Loads tokenizer_config.json with the older files whose members transformers adds to it, and enters the tokens that
 * only these files have. Ids are those that TokenizersBackend of transformers 5 assigns: it ignores the ids of
 * added_tokens_decoder and numbers new tokens after the last one. */
#include "formats/base/rows.h"
#include "formats/base/text.h"
#include "formats/tokenizer/tokenizer_parts.h"

#include <stdlib.h>
#include <string.h>

enum { CONFIG_FILE_LIMIT = 64 << 20, MADE_IDS = 1 << 24 };

static const char config_name[] = "tokenizer_config.json";
static const char decoder_name[] = "added_tokens_decoder";

/* New tokens get their ids in this order. */
static const char *const named_tokens[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                           "pad_token", "cls_token", "mask_token"};
enum { NAMED = sizeof named_tokens / sizeof *named_tokens };

/* ---- the files ---- */

void organ_tokenizer_tidy(const organ_json_source *text, char *bytes)
{
    enum { SAFE_DIGITS = 18 }; /* fit 64 bits */
    const organ_json_span span = organ_json_member(text, (organ_json_span){0, text->length}, "model_max_length");
    for (size_t k = span.begin; k < span.end; k++)
        if (bytes[k] < '0' || bytes[k] > '9')
            return;
    if (span.end - span.begin > SAFE_DIGITS) {
        memset(bytes + span.begin, ' ', span.end - span.begin);
        bytes[span.begin] = '0';
    }
}

static organ_status load_object(const organ_model *model, organ_tokenizer *t, const char *name, json_t **value,
                                organ_error *error)
{
    organ_json_source text = {.label = organ_tokenizer_label(model, t, name)};
    ORGAN_OWNED char *bytes = NULL;
    *value = NULL;
    organ_model_load(model, name, CONFIG_FILE_LIMIT, &bytes, &text.length, error);
    text.bytes = bytes;
    if (!error->status && bytes) {
        organ_tokenizer_tidy(&text, bytes);
        organ_json_parse(&text, (organ_json_span){0, text.length}, NULL, value, error);
    }
    if (!error->status && *value && !json_is_object(*value))
        organ_refuse(error, text.label, "it is not an object");
    return error->status;
}

/* Without added_tokens_decoder in the config, the members of special_tokens_map.json replace those of the config,
 * and added_tokens.json becomes its member "added_tokens.json". */
organ_status organ_tokenizer_config(const organ_model *model, organ_tokenizer *t, json_t **config, organ_error *error)
{
    ORGAN_OWNED_JSON json_t *older = NULL;
    if (load_object(model, t, config_name, config, error) || json_object_get(*config, decoder_name))
        return error->status;
    if (load_object(model, t, "special_tokens_map.json", &older, error) == ORGAN_OK && older) {
        if (!*config)
            *config = json_object();
        if (!*config || json_object_update(*config, older))
            organ_fail_memory(error, model->path);
    }
    organ_clear_json(&older);
    if (!error->status && load_object(model, t, "added_tokens.json", &older, error) == ORGAN_OK && older) {
        if (!*config)
            *config = json_object();
        if (!*config || json_object_set(*config, "added_tokens.json", older))
            organ_fail_memory(error, model->path);
    }
    return error->status;
}

/* ---- tokens ---- */

typedef struct token_reading {
    organ_tokenizer *t;
    const char *label;      /* path of the config, for messages */
    organ_arena keys;       /* memory of key_of */
    organ_name_table added; /* key of the text of an added token -> index in t->raw */
    uint32_t next; /* id that the package tokenizers assigns to a new token: the number of words of the vocabulary, or
                      one more than the highest id of an added token if that is greater */
    organ_error *error;
} token_reading;

static const char *key_of(token_reading *r, const char *text, size_t bytes)
{
    if (!memchr(text, '\0', bytes))
        return text;
    char *const key = organ_arena_copy(&r->keys, text, bytes);
    for (size_t k = 0; key && k < bytes; k++)
        key[k] = key[k] ? key[k] : '\xff';
    return key;
}

/* Returns NULL also after an error. */
static organ_added *added_named(token_reading *r, const char *text, size_t bytes)
{
    const char *const key = key_of(r, text, bytes);
    const size_t *const at = key ? organ_name_table_find(&r->added, key) : NULL;
    if (!key)
        organ_fail_memory(r->error, r->label);
    return at ? &r->t->raw.items[*at] : NULL;
}

static bool note_added(token_reading *r, size_t at)
{
    const organ_added *const added = &r->t->raw.items[at];
    r->next = added->id >= r->next ? added->id + 1 : r->next;
    const char *const key = key_of(r, added->text, added->bytes);
    return key && organ_name_table_put(&r->added, key, at);
}

/* A token replaces the flags of an added token with the same text; a word of the vocabulary becomes an added token;
 * another text gets the next id. */
static organ_status enter_token(token_reading *r, organ_added added)
{
    organ_added *const known = added_named(r, added.text, added.bytes);
    if (known) {
        added.text = known->text;
        added.id = known->id;
        *known = added;
        return ORGAN_OK;
    }
    if (r->error->status)
        return r->error->status;
    const uint32_t word = organ_tokenizer_id(r->t, added.text, added.bytes);
    added.id = word == ORGAN_NO_ID ? r->next : word;
    const bool taken = word == ORGAN_NO_ID && added.id < r->t->token_count && r->t->tokens[added.id].text;
    if (added.bytes == 0 || added.bytes > ORGAN_TOKEN_SIZE || added.id >= MADE_IDS || taken)
        return organ_refuse(r->error, r->label, "token '%.100s' cannot get the id %u%s", added.text, added.id,
                            taken ? ", which another token has" : "");
    const bool entered = organ_tokenizer_add_added_token(r->t, &added) && note_added(r, r->t->raw.count - 1);
    return entered ? ORGAN_OK : organ_fail_memory(r->error, r->label);
}

static bool flag_of(const json_t *token, const char *name, bool otherwise)
{
    const json_t *const value = json_object_get(token, name);
    return json_is_boolean(value) ? json_is_true(value) : otherwise;
}

/* A token is {"content": text, flags} or a text. A text is a special token without other flags, also if there is an
 * added token of this name that is not special. */
static organ_status enter_value(token_reading *r, const json_t *token, bool special)
{
    const json_t *const content = json_is_object(token) ? json_object_get(token, "content") : token;
    const char *const text = json_string_value(content);
    if (!text)
        return ORGAN_OK;
    special = flag_of(token, "special", special);
    return enter_token(r, (organ_added){.text = text,
                                        .bytes = json_string_length(content),
                                        .special = special,
                                        .normalized = flag_of(token, "normalized", !special),
                                        .lstrip = flag_of(token, "lstrip", false),
                                        .rstrip = flag_of(token, "rstrip", false),
                                        .single_word = flag_of(token, "single_word", false)});
}

typedef struct listed_token {
    json_int_t number;
    const char *text;    /* of added_tokens.json; NULL: `token` has it */
    const json_t *token; /* of added_tokens_decoder */
} listed_token;

static int by_number(const void *a, const void *b)
{
    const json_int_t x = ((const listed_token *)a)->number, y = ((const listed_token *)b)->number;
    return ORGAN_ORDER(x, y);
}

/* added_tokens_decoder maps ids to tokens, added_tokens.json texts to ids. */
static organ_status enter_listed(token_reading *r, json_t *list, bool decoder)
{
    ORGAN_OWNED listed_token *const all = malloc((json_object_size(list) + 1) * sizeof *all);
    const char *key;
    json_t *value;
    size_t count = 0;
    if (!all)
        return organ_fail_memory(r->error, r->label);
    json_object_foreach(list, key, value) all[count++] = decoder ? (listed_token){strtoll(key, NULL, 10), NULL, value}
                                                                 : (listed_token){json_integer_value(value), key, NULL};
    qsort(all, count, sizeof *all, by_number);
    for (size_t k = 0; k < count && !r->error->status; k++)
        if (decoder)
            enter_value(r, all[k].token, /*special=*/false);
        else if (!added_named(r, all[k].text, strlen(all[k].text)))
            enter_token(r, (organ_added){.text = all[k].text, .bytes = strlen(all[k].text), .normalized = true});
    return r->error->status;
}

/* Enters the members "..._token" other than named_tokens. */
static organ_status enter_models_own(token_reading *r, json_t *config)
{
    static const char end[] = "_token";
    const char *key;
    json_t *value;
    json_object_foreach(config, key, value)
    {
        const size_t length = strlen(key);
        bool known = length < sizeof end || strcmp(key + length - strlen(end), end) != 0;
        for (size_t k = 0; k < NAMED && !known; k++)
            known = strcmp(key, named_tokens[k]) == 0;
        if (!known && enter_value(r, value, /*special=*/true))
            break;
    }
    return r->error->status;
}

/* The order is that of TokenizersBackend. */
static organ_status enter_all(token_reading *r, json_t *config)
{
    json_t *const decoder = json_object_get(config, decoder_name);
    json_t *extra = json_object_get(config, "extra_special_tokens"), *value;
    const char *key;
    size_t k;
    if (enter_listed(r, decoder ? decoder : json_object_get(config, "added_tokens.json"), decoder != NULL))
        return r->error->status;
    for (k = 0; k < NAMED && !r->error->status; k++)
        enter_value(r, json_object_get(config, named_tokens[k]), /*special=*/true);
    if (!r->error->status)
        enter_models_own(r, config);
    json_object_foreach(extra, key, value) if (!r->error->status) enter_value(r, value, /*special=*/true);
    if (json_array_size(extra) == 0)
        extra = json_object_get(config, "additional_special_tokens");
    json_array_foreach(extra, k, value) if (!r->error->status) enter_value(r, value, /*special=*/true);
    return r->error->status;
}

organ_status organ_tokenizer_config_tokens(organ_tokenizer *t, const char *label, json_t *config, organ_error *error)
{
    token_reading r = {.t = t, .label = label, .next = (uint32_t)t->text_count, .error = error};
    bool complete = true;
    for (size_t k = 0; k < t->raw.count && complete; k++)
        complete = note_added(&r, k);
    if (complete)
        enter_all(&r, config);
    else
        organ_fail_memory(error, label);
    organ_name_table_release(&r.added);
    organ_arena_release(&r.keys);
    return error->status;
}
