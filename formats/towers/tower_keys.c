/* SPDX-License-Identifier: MIT
 * Makes the key-values of an mmproj from the rows of its family, and compares those of a file with them. */
#include "formats/towers/towers.h"

#include "formats/base/json.h"
#include "formats/base/plain_numbers.h"
#include "formats/base/text.h"
#include "formats/base/word_lists.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define KEY_ROOM    96   /* bytes of a key with its NUL */
#define BLOCKS_MOST 1024 /* blocks of a tower */

/* ---- members ---- */

/* Returns the object in which members of the source are, and the name of it for messages. */
static const json_t *key_object(const tower_model *t, tower_source source, const char **name)
{
    const json_t *const text = json_object_get(t->config, "text_config");
    *name = "config.json: ";
    switch (source) {
    case TOWER_PROCESSOR:
    case TOWER_POOL:
    case TOWER_EDGE:
        *name = "preprocessor_config.json: ";
        return t->processor;
    case TOWER_AUDIO:
        *name = "config.json: audio_config.";
        return json_object_get(t->config, "audio_config");
    case TOWER_TEXT:
        return json_is_object(text) ? text : json_object_get(t->config, "llm_config");
    case TOWER_TOP:
    case TOWER_CONSTANT:
        return t->config;
    default:
        *name = "config.json: vision_config.";
        return json_object_get(t->config, "vision_config");
    }
}

static const json_t *key_named(const json_t *object, const char *members)
{
    const json_t *value = NULL;
    char name[64];
    while (!value && organ_next_word(&members, name, sizeof name)) {
        value = json_object_get(object, name);
        value = json_is_null(value) ? NULL : value;
    }
    return value;
}

/* Some members are in config.json itself in files of older versions. */
static const json_t *key_member(const tower_model *t, const tower_key *row, const char **where)
{
    const json_t *const value = key_named(key_object(t, row->source, where), row->members);
    const bool top = row->source == TOWER_TEXT || row->source == TOWER_INVERSE;
    if (!value && row->source == TOWER_POOL)
        return key_named(t->config, "mm_tokens_per_image");
    return value || !top ? value : key_named(t->config, row->members);
}

static organ_status key_refuse(const tower_model *t, const tower_key *row, const char *why, organ_error *error)
{
    const char *where = "";
    key_object(t, row->source, &where);
    return organ_fail(error, ORGAN_BAD_INPUT,
                      "%s: %s%s %s, which an mmproj needs for clip.%s; `mmproj` none converts the text model alone",
                      t->label, where, row->members ? row->members : "", why, row->key);
}

static double key_vision(const tower_model *t, const char *member)
{
    const json_t *value = json_object_get(json_object_get(t->config, "vision_config"), member);
    value = json_is_array(value) ? json_array_get(value, 0) : value;
    return json_is_number(value) ? json_number_value(value) : 0;
}

/* ---- numbers ---- */

static bool key_is_act(const json_t *value, tower_source source)
{
    const char *const word = organ_json_plain(value);
    return word && (source == TOWER_SILU ? strcmp(word, "silu") == 0 : strstr(word, "gelu") != NULL);
}

/* Indexes n - 1, 2 n - 1 and so on: the number n. Returns 0 for others. */
static double key_windows(const tower_model *t, const json_t *list)
{
    const json_int_t first = json_integer_value(json_array_get(list, 0)) + 1;
    const size_t count = json_array_size(list);
    bool even = json_is_integer(json_array_get(list, 0)) && first > 0;
    for (size_t k = 0; k < count && even; k++)
        even = json_integer_value(json_array_get(list, k)) == (json_int_t)(k + 1) * first - 1;
    return even && count == t->blocks / (uint64_t)first ? (double)first : 0;
}

static double key_pool(const tower_model *t, double tokens)
{
    const double patch = key_vision(t, "patch_size"), side = floor(sqrt(tokens));
    const double factor = patch > 0 && side > 0 ? floor(floor(key_vision(t, "image_size") / patch) / side) : 0;
    return factor == 4 ? 0 : factor; /* 4 is llama.cpp's default */
}

/* Returns the number that the member means for the key; NAN: it is no number; 0: of TOWER_POOL, there is no key. */
static double key_number(const tower_model *t, const tower_key *row, const json_t *value)
{
    if (json_is_array(value) && row->source != TOWER_WINDOWS)
        value = json_array_get(value, 0);
    const double number = json_is_number(value) ? json_number_value(value) : (double)NAN;
    switch (row->source) {
    case TOWER_WINDOWS:
        return key_windows(t, value);
    case TOWER_INVERSE:
        return number > 0 && number <= 1 ? floor(1 / number) : (double)NAN;
    case TOWER_POOL:
        return key_pool(t, number);
    case TOWER_EDGE:
        value = json_object_get(value, "longest_edge");
        return json_is_number(value) ? json_number_value(value) : key_vision(t, "image_size");
    case TOWER_LAST: {
        const json_t *const layer = json_object_get(t->config, "vision_feature_layer");
        return number + (json_is_integer(layer) ? (double)json_integer_value(layer) + 1 : 0);
    }
    default:
        return number * (row->times != 0 ? row->times : 1);
    }
}

/* image_size, or the side of the grid of positions. */
static double key_positions(const tower_model *t)
{
    const double size = key_vision(t, "image_size"), count = key_vision(t, "num_position_embeddings");
    return size > 0 ? size : floor(sqrt(count > 0 ? count : 2304) * key_vision(t, "patch_size"));
}

/* *present is false if the file gets no such key. */
static organ_status key_value(const tower_model *t, const tower_key *row, double *number, bool *present,
                              organ_error *error)
{
    const char *where;
    const bool acts = row->source == TOWER_GELU || row->source == TOWER_SILU;
    const json_t *const value = row->source == TOWER_CONSTANT ? NULL : key_member(t, row, &where);
    *present = true;
    if (row->source == TOWER_POSITIONS)
        *number = key_positions(t);
    else if (!value && row->otherwise && row->source == TOWER_EDGE)
        *number = key_vision(t, "image_size");
    else if (!value && row->otherwise && row->source != TOWER_POOL) {
        *present = *row->otherwise != '\0';
        *number = organ_strtod(row->otherwise, NULL);
    } else if (!value && !row->otherwise)
        return key_refuse(t, row, "is missing", error);
    else if (acts) {
        *present = key_is_act(value, row->source);
        *number = 1;
    } else {
        *number = value ? key_number(t, row, value) : key_pool(t, organ_strtod(row->otherwise, NULL));
        *present = row->source != TOWER_POOL || *number != 0;
    }
    if (*present && !(isfinite(*number) && *number >= 0 && (row->type != ORGAN_GGUF_U32 || *number <= UINT32_MAX)))
        return key_refuse(t, row, "is no number of 0 or more", error);
    if (*present && row->source == TOWER_WINDOWS && *number == 0)
        return key_refuse(t, row, "is not every n-th block of the tower", error);
    return ORGAN_OK;
}

organ_status organ_tower_numbers(tower_model *t, organ_error *error)
{
    const struct {
        const tower_key *keys;
        const char *key;
        uint64_t *to;
    } wanted[] = {{t->family->keys, "vision.attention.head_count", &t->heads},
                  {t->family->keys, "vision.block_count", &t->blocks},
                  {t->family->keys, "vision.patch_size", &t->patch},
                  {t->has_audio ? t->family->audio_keys : NULL, "audio.block_count", &t->audio_blocks}};
    for (size_t k = 0; k < sizeof wanted / sizeof *wanted; k++)
        for (const tower_key *row = wanted[k].keys; row && row->key && !error->status; row++) {
            double number = 0;
            bool present = false;
            if (strcmp(row->key, wanted[k].key))
                continue;
            if (key_value(t, row, &number, &present, error) == ORGAN_OK && (number < 1 || number > 1 << 20))
                key_refuse(t, row, "is no number above 0", error);
            if (!error->status)
                *wanted[k].to = (uint64_t)number;
        }
    if (!error->status && (t->blocks > BLOCKS_MOST || t->audio_blocks > BLOCKS_MOST))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: config.json: a tower has more than %d blocks", t->label,
                          BLOCKS_MOST);
    return error->status;
}

/* ---- arrays ---- */

static organ_status key_set_colours(const tower_model *t, const tower_key *row, const char *key,
                                    organ_gguf_writer *writer, organ_error *error)
{
    const char *where;
    const json_t *const list = key_member(t, row, &where);
    float values[3];
    if (!list)
        return key_refuse(t, row, "is missing", error);
    for (size_t k = 0; k < 3; k++) {
        const json_t *const value = json_array_get(list, k);
        if (json_array_size(list) != 3 || !json_is_number(value))
            return key_refuse(t, row, "is not a list of three numbers", error);
        values[k] = (float)json_number_value(value);
    }
    return organ_gguf_writer_set_array(writer, key, ORGAN_GGUF_F32, 3, values, sizeof values, error);
}

static organ_status key_set_deep(const tower_model *t, const char *key, organ_gguf_writer *writer, organ_error *error)
{
    unsigned char flags[BLOCKS_MOST] = {0};
    for (unsigned k = 0; k < t->deep_count; k++)
        flags[t->deep[k]] = 1;
    return organ_gguf_writer_set_array(writer, key, ORGAN_GGUF_BOOL, t->blocks, flags, t->blocks, error);
}

/* ---- all keys ---- */

static organ_status key_set(const tower_model *t, const tower_key *row, organ_gguf_writer *writer, organ_error *error)
{
    char key[KEY_ROOM];
    double number = 0;
    bool present = false;
    const bool processed = row->source == TOWER_PROCESSOR || row->source == TOWER_POOL || row->source == TOWER_EDGE;
    snprintf(key, sizeof key, "clip.%s", row->key);
    if (processed && !t->processor)
        return ORGAN_OK;
    if (row->source == TOWER_PROCESSOR)
        return key_set_colours(t, row, key, writer, error);
    if (row->source == TOWER_DEEP)
        return key_set_deep(t, key, writer, error);
    if (key_value(t, row, &number, &present, error) || !present)
        return error->status;
    return organ_gguf_writer_set_number(writer, key, row->type, number, error);
}

static organ_status key_set_text(organ_gguf_writer *writer, const char *key, const char *text, organ_error *error)
{
    return organ_gguf_writer_set_string(writer, key, text, strlen(text), error);
}

/* With both towers each has a key for its projector. */
static organ_status key_set_projectors(const tower_model *t, organ_gguf_writer *writer, organ_error *error)
{
    const tower_family *const f = t->family;
    if (!f->audio_projector)
        return key_set_text(writer, "clip.projector_type", f->projector, error);
    if (key_set_text(writer, "clip.vision.projector_type", f->projector, error) || !t->has_audio)
        return error->status;
    return key_set_text(writer, "clip.audio.projector_type", f->audio_projector, error);
}

organ_status organ_tower_keys(const tower_model *t, organ_gguf_writer *writer, organ_error *error)
{
    for (const tower_key *row = t->family->keys; row->key && !error->status; row++)
        key_set(t, row, writer, error);
    for (const tower_key *row = t->family->audio_keys; t->has_audio && row->key && !error->status; row++)
        key_set(t, row, writer, error);
    return error->status ? error->status : key_set_projectors(t, writer, error);
}

/* ---- the way back ---- */

/* llama.cpp reads both of a file's forms of these keys, and ignores the others of vision.is_deepstack_layers. */
static bool key_agrees(const organ_gguf_kv *own, const organ_gguf_kv *made)
{
    for (uint64_t k = 0; k < made->count; k++) {
        double a, b;
        if (own->count != made->count || organ_gguf_real_at(own, k, &a) != organ_gguf_real_at(made, k, &b) ||
            (organ_gguf_real_at(own, k, &a) && fabs(a - b) > 1e-6 * fabs(b)))
            return false;
    }
    return own->type != ORGAN_GGUF_STRING || organ_gguf_same_value(own, made);
}

organ_status organ_tower_compare(const tower_model *t, const char *path, const organ_gguf *gguf, organ_error *error)
{
    organ_gguf_writer *writer = NULL;
    if (organ_gguf_writer_create(&writer, error) || organ_tower_keys(t, writer, error)) {
        organ_gguf_writer_destroy(writer);
        return error->status;
    }
    const organ_gguf made = organ_gguf_writer_view(writer);
    for (size_t k = 0; k < made.kv_count && !error->status; k++) {
        const char *const key = made.kvs[k].key;
        const organ_gguf_kv *const own = organ_gguf_find(gguf, key);
        const bool needed = organ_ends_with(key, "projector_type");
        if (!own && needed)
            organ_fail(error, ORGAN_BAD_INPUT, "%s: has no key '%s': it is no mmproj of a model of the type %s", path,
                       key, t->family->types);
        else if (own && !key_agrees(own, &made.kvs[k]))
            organ_fail(error, ORGAN_BAD_INPUT,
                       "%s: the key '%s' differs from what the configuration of the model gives: the mmproj is of "
                       "another model",
                       path, key);
    }
    organ_gguf_writer_destroy(writer);
    return error->status;
}
