/* SPDX-License-Identifier: MIT
 * Makes the key-values of a GGUF output. `row` is a row of the tables in formats/architecture/pairing.h: its rule says
 * whether the value of its key is a member of config.json (job->text) or is computed from organ_forward_config. `key`
 * is the whole key with the architecture, "llama.context_length". */
#include "orchestrator/surgery/convert/convert_parts.h"

#include "formats/base/json.h"
#include "formats/tokenizer/tokenizer_files.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY_SIZE      160                            /* bytes of a key with its NUL */
#define LAYER_EPSILON "attention.layer_norm_epsilon" /* key with the epsilon of LayerNorm */

/* ---- members ---- */

static const json_t *present_member(const json_t *object, const char *name)
{
    const json_t *const value = json_object_get(object, name);
    return json_is_null(value) ? NULL : value;
}

/* `layers` is "full_attention" or "sliding_attention". If there is one rotation for all layers, its members are in
 * rope_parameters or rope_scaling itself: returns that object for "full_attention", NULL for "sliding_attention". */
static const json_t *keys_rope(const json_t *text, const char *layers)
{
    const json_t *all = present_member(text, "rope_parameters");
    all = all ? all : present_member(text, "rope_scaling");
    const json_t *const own = present_member(all, layers);
    return own || strcmp(layers, "full_attention") ? own : all;
}

/* `name` is as in pairing_key.members: "NAME" is a member of config.json, "swa.NAME" one of the rotation of layers
 * with a sliding window, "rope.NAME" one of the rotation of other layers, or of config.json itself. */
static const json_t *keys_member_named(const json_t *text, const char *name)
{
    if (strncmp(name, "swa.", strlen("swa.")) == 0)
        return present_member(keys_rope(text, "sliding_attention"), name + strlen("swa."));
    if (strncmp(name, "rope.", strlen("rope.")))
        return present_member(text, name);
    const char *const rotary = name + strlen("rope.");
    const json_t *const rope = keys_rope(text, "full_attention");
    const json_t *value = present_member(rope, rotary);
    if (!value && strcmp(rotary, "rope_type") == 0) /* older files call the member "type" */
        value = present_member(rope, "type");
    return value ? value : present_member(text, rotary);
}

/* Returns the first of `members`, separated by spaces, that config.json has; NULL: none. */
static const json_t *keys_member(const json_t *text, const char *members)
{
    const json_t *value = NULL;
    char name[ORGAN_MEMBER_ROOM];
    while (!value && organ_next_word(&members, name, sizeof name))
        value = keys_member_named(text, name);
    return value;
}

/* `when` is NULL, which is true, or "MEMBER=WORD". */
static bool keys_apply(const json_t *text, const char *when)
{
    char name[96];
    if (!when)
        return true;
    const char *const is = strchr(when, '=');
    snprintf(name, sizeof name, "%.*s", (int)(is - when), when);
    const char *const word = organ_json_plain(keys_member_named(text, name));
    return word && strcmp(word, is + 1) == 0;
}

/* ---- values ---- */

/* An FP32 value is in `numbers` as the integer with the same bits. Flags, which have a byte each, take their place. */
static organ_status keys_set_array(organ_convert_job *job, const char *key, organ_gguf_type element, int32_t *numbers,
                                   unsigned length, organ_error *error)
{
    unsigned char *const flags = (unsigned char *)numbers;
    for (unsigned k = 0; k < length && element == ORGAN_GGUF_BOOL; k++)
        flags[k] = numbers[k] != 0;
    return organ_gguf_writer_set_array(job->gguf, key, element, length, numbers,
                                       length * organ_gguf_type_bytes(element), error);
}

/* M-RoPE has four sections in GGUF and three in config.json, so the last is 0. Without the member, row->words has
 * the four numbers. */
static organ_status keys_set_sections(organ_convert_job *job, const pairing_key *row, const char *key,
                                      organ_error *error)
{
    const json_t *const list = keys_member(job->text, row->members);
    int32_t sections[4] = {0};
    const char *at = row->words;
    for (size_t k = 0; k < 4; k++) {
        char *end;
        const long word = strtol(at, &end, 10);
        sections[k] = list ? (int32_t)json_integer_value(json_array_get(list, k)) : (int32_t)word;
        at = end;
    }
    return keys_set_array(job, key, row->type, sections, 4, error);
}

/* If the row has `words`, the array is left out where readers do not need it: the flags of recurrent layers if
 * exactly every n-th layer has attention, with n in `words`; other arrays if all elements are equal. */
static organ_status keys_set_layers(organ_convert_job *job, const pairing_key *row, const char *key, organ_error *error)
{
    /* llama.cpp reads the indexers of the layers only */
    const bool whole = strcmp(row->key, "attention.indexer.types") != 0;
    const unsigned layers = job->config.layers + (whole ? job->blocks : 0);
    ORGAN_OWNED int32_t *const numbers = malloc((layers + 1) * sizeof *numbers);
    if (!numbers)
        return organ_fail_memory(error, key);
    for (unsigned l = 0; l < layers; l++) {
        const double value = organ_pairing_value(row, &job->config, &job->config.kinds[l]);
        const float single = (float)value;
        if (row->type == ORGAN_GGUF_F32)
            memcpy(&numbers[l], &single, sizeof single);
        else
            numbers[l] = (int32_t)value;
    }
    bool written = !row->words;
    for (unsigned l = 0; l < layers && !written; l++)
        written = row->type == ORGAN_GGUF_BOOL ? numbers[l] != ((l + 1) % (unsigned)atoi(row->words) != 0)
                                               : numbers[l] != numbers[0];
    if (written)
        keys_set_array(job, key, row->type, numbers, layers, error);
    return error->status;
}

/* `words` is a list of items "TEXT=VALUE", separated by spaces. Returns a pointer to VALUE; NULL if no item has this
 * text. */
static const char *keys_word(const char *words, const char *text, size_t *length)
{
    const size_t own = strlen(text);
    for (const char *at = words; *at;) {
        const size_t all = strcspn(at, " ");
        if (strncmp(at, text, own) == 0 && at[own] == '=') {
            *length = all - own - 1;
            return at + own + 1;
        }
        at += all + (at[all] == ' ');
    }
    return NULL;
}

static organ_status keys_set_word(organ_convert_job *job, const pairing_key *row, const char *key, const json_t *value,
                                  organ_error *error)
{
    const char *const text = organ_json_plain(value);
    size_t length = 0;
    const char *const word = text ? keys_word(row->words, text, &length) : NULL;
    if (!word)
        return ORGAN_OK; /* "default", and rotations that GGUF stores as tensors */
    if (row->type == ORGAN_GGUF_STRING)
        return organ_gguf_writer_set_string(job->gguf, key, word, length, error);
    return organ_gguf_writer_set_integer(job->gguf, key, row->type, atoi(word), error);
}

static bool keys_is_uniform(const json_t *list)
{
    const json_t *value;
    size_t k;
    json_array_foreach(list, k, value) if (!json_equal(value, json_array_get(list, 0))) return false;
    return json_array_size(list) > 0;
}

/* Only the base of the rotation needs a default, because published files of Gemma 3 leave it out: its key is set if
 * the base is not 10000, the default of llama.cpp. */
static organ_status keys_set_default(organ_convert_job *job, const pairing_key *row, const char *key,
                                     organ_error *error)
{
    const organ_forward_config *const c = &job->config;
    const bool needed = organ_pairing_has_attention(c) && organ_pairing_rotates(c) && c->rope.theta != 10000;
    return needed && strcmp(row->key, "rope.freq_base") == 0
               ? organ_gguf_writer_set_number(job->gguf, key, row->type, c->rope.theta, error)
               : ORGAN_OK;
}

/* Sets the key from the first of row->members that config.json has, or to a default. */
static organ_status keys_set_member(organ_convert_job *job, const pairing_key *row, const char *key, organ_error *error)
{
    const json_t *value = keys_apply(job->text, row->when) ? keys_member(job->text, row->members) : NULL;
    if (!value)
        return keys_set_default(job, row, key, error);
    if (strcmp(row->members, "sliding_window") == 0 && job->config.window == 0)
        return ORGAN_OK; /* no layer uses the window that config.json states (use_sliding_window is false) */
    if (keys_is_uniform(value))
        value = json_array_get(value, 0);
    if (json_is_array(value)) /* layers differ: another row of the table sets the key to an array */
        return ORGAN_OK;
    if (row->words)
        return keys_set_word(job, row, key, value, error);
    if (json_is_boolean(value))
        return organ_gguf_writer_set_number(job->gguf, key, row->type, json_is_true(value), error);
    if (json_is_number(value))
        return organ_gguf_writer_set_number(job->gguf, key, row->type, json_number_value(value), error);
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: config.json: %s is not a number", job->model->path, row->members);
}

/* A conversion by name applies only rows with the rule PAIRING_MEMBER whose value is a number, a flag or, for a row
 * with `words`, a text. */
static organ_status keys_set_named(organ_convert_job *job, const pairing_key *row, const char *key, organ_error *error)
{
    const json_t *const value = keys_member(job->text, row->members);
    const bool known = json_is_number(value) || json_is_boolean(value) || (row->words && json_is_string(value));
    return row->rule == PAIRING_MEMBER && known ? keys_set_member(job, row, key, error) : ORGAN_OK;
}

static organ_status keys_set_by_rule(organ_convert_job *job, const pairing_key *row, const char *key,
                                     organ_error *error)
{
    const json_t *member;
    double value;
    switch (row->rule) {
    case PAIRING_MEMBER:
        return keys_set_member(job, row, key, error);
    case PAIRING_SETTING:
    case PAIRING_COMPUTED:
        value = organ_pairing_value(row, &job->config, NULL);
        return isnan(value) ? ORGAN_OK : organ_gguf_writer_set_number(job->gguf, key, row->type, value, error);
    case PAIRING_BY_LAYER:
        return keys_set_layers(job, row, key, error);
    case PAIRING_CONSTANT:
        if (row->type == ORGAN_GGUF_STRING)
            return organ_gguf_writer_set_string(job->gguf, key, row->words, strlen(row->words), error);
        return organ_gguf_writer_set_number(job->gguf, key, row->type, atoi(row->words), error);
    case PAIRING_TENTH:
        member = keys_apply(job->text, row->when) ? keys_member(job->text, row->members) : NULL;
        return member ? organ_gguf_writer_set_number(job->gguf, key, row->type, 0.1 * json_number_value(member), error)
                      : ORGAN_OK;
    case PAIRING_SECTIONS:
        return keys_set_sections(job, row, key, error);
    case PAIRING_TOWER_COUNT:
        member = json_object_get(json_object_get(job->file, "vision_config"), row->members);
        return organ_gguf_writer_set_number(job->gguf, key, row->type, (double)json_array_size(member), error);
    }
    return ORGAN_OK;
}

/* Without a block only a 0 of config.json is written: loaders read the tensors that another number states. */
static organ_status keys_set_blocks(organ_convert_job *job, const pairing_key *row, const char *key, organ_error *error)
{
    const json_t *const value = keys_member(job->text, row->members);
    return job->blocks || json_integer_value(value) || !value
               ? ORGAN_OK
               : organ_gguf_writer_set_number(job->gguf, key, row->type, 0, error);
}

static organ_status keys_set(organ_convert_job *job, const pairing_key *row, organ_error *error)
{
    const organ_forward_config *const c = &job->config;
    /* bare: the key is without the architecture */
    const bool member = row->rule == PAIRING_MEMBER, bare = strncmp(row->key, "xielu.", strlen("xielu.")) == 0;
    char key[KEY_SIZE];
    snprintf(key, sizeof key, "%s%s%.*s", bare ? "" : job->pairing->gguf, bare ? "" : ".", (int)strcspn(row->key, ":"),
             row->key);
    if (job->by_name)
        return keys_set_named(job, row, key, error);
    /* In a model without attention the member head_dim is the width of recurrent heads, not that of this key. */
    if (member && strcmp(row->members, "head_dim") == 0 && !organ_pairing_has_attention(c))
        return ORGAN_OK;
    if (member && c->norm != ORGAN_NORM_LAYER && !job->family->either_norm && strcmp(row->key, LAYER_EPSILON) == 0)
        return ORGAN_OK; /* some architectures with RMSNorm give its epsilon this member's name */
    if (c->experts == 0 && strncmp(row->key, "expert_", strlen("expert_")) == 0 && !strchr(row->key, ':'))
        return ORGAN_OK; /* config.json of a dense model may have settings of a mixture */
    if (job->blocks && strncmp(row->key, "block_count", strlen("block_count")) == 0)
        return organ_gguf_writer_set_number(job->gguf, key, row->type, c->layers + job->blocks, error);
    if (strcmp(row->key, ORGAN_MTP_KEY) == 0)
        return keys_set_blocks(job, row, key, error);
    if (row->when && strcmp(row->when, "swa") == 0 && !job->family->global_heads &&
        !keys_rope(job->text, "sliding_attention"))
        return ORGAN_OK;
    return keys_set_by_rule(job, row, key, error);
}

/* ---- all ---- */

/* If codes are copied, the first of them decide. */
static int64_t keys_file_type(const organ_convert_job *job)
{
    for (size_t k = 0; k < job->piece_count && job->coded; k++)
        if (job->facts[k].content == CONVERT_BLOCKS)
            return organ_encoding_file_type(job->pieces[k].dtype);
    return job->encoding ? job->encoding->file_type : organ_encoding_file_type(job->type);
}

static organ_status keys_general(organ_convert_job *job, organ_error *error)
{
    const char *const arch = job->pairing->gguf;
    organ_gguf_writer_set_string(job->gguf, "general.architecture", arch, strlen(arch), error);
    if (!error->status)
        organ_gguf_writer_set_string(job->gguf, "general.type", "model", strlen("model"), error);
    if (!error->status)
        organ_convert_put_card(job, error);
    if (!error->status)
        organ_gguf_writer_set_integer(job->gguf, "general.file_type", ORGAN_GGUF_U32, keys_file_type(job), error);
    if (!error->status)
        organ_gguf_writer_set_integer(job->gguf, "general.quantization_version", ORGAN_GGUF_U32, 2, error);
    return error->status;
}

/* Notes name what these keys do not store. */
static organ_status keys_tokenizer(const organ_convert_job *job, organ_error *error)
{
    organ_tokenizer_difference difference;
    uint64_t beyond = 0;
    unsigned unstored = 0;
    const organ_tokenizer_gguf_options tokenizer = {.vocabulary = job->config.vocabulary,
                                                    .pre = job->options->pre,
                                                    .architecture = job->pairing->gguf,
                                                    .beyond = &beyond,
                                                    .unstored = &unstored,
                                                    .config = job->text};
    if (organ_tokenizer_to_gguf(job->model, &tokenizer, job->gguf, &difference, error) != ORGAN_OK)
        return error->status;
    if (difference.found && job->options->pre)
        organ_progress_warn(job->progress, "--pre %s: %s", job->options->pre, difference.text);
    else if (difference.found)
        organ_progress_warn(job->progress,
                            "llama.cpp puts a blank before texts between special tokens, the class of the tokenizer in "
                            "transformers does not: %s",
                            difference.text);
    if (beyond)
        organ_progress_warn(
            job->progress,
            "%llu added token%s of the tokenizer %s no row in the embedding of %llu rows and %s left out",
            (unsigned long long)beyond, beyond == 1 ? "" : "s", beyond == 1 ? "has" : "have",
            (unsigned long long)job->config.vocabulary, beyond == 1 ? "is" : "are");
    if (unstored)
        organ_progress_warn(job->progress,
                            "%u token%s that end%s a text by eos_token_id %s left out: GGUF has keys for three, EOS, "
                            "EOT and EOM",
                            unstored, unstored == 1 ? "" : "s", unstored == 1 ? "s" : "", unstored == 1 ? "is" : "are");
    return ORGAN_OK;
}

organ_status organ_convert_keys(organ_convert_job *job, organ_error *error)
{
    if (organ_gguf_writer_create(&job->gguf, error) || keys_general(job, error))
        return error->status;
    const pairing_key *row;
    for (size_t k = 0; !error->status && (row = organ_pairing_key_at(job->pairing, k)); k++)
        keys_set(job, row, error);
    if (job->blocks && !error->status) {
        char key[ORGAN_MTP_KEY_ROOM];
        organ_gguf_writer_set_integer(job->gguf, organ_mtp_key(job->pairing->gguf, key), ORGAN_GGUF_U32, job->blocks,
                                      error);
    }
    if (error->status || (job->by_name && organ_convert_keep_config(job, error)))
        return error->status;
    return keys_tokenizer(job, error) ? error->status : organ_convert_beside(job, error);
}
