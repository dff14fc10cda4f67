/* SPDX-License-Identifier: MIT
 * Finds the family of a config.json, checks its settings, and translates names of tensors. */
#include "formats/towers/towers.h"

#include "formats/base/json.h"
#include "formats/base/plain_numbers.h"
#include "formats/base/text.h"
#include "formats/base/word_lists.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the family ---- */

static bool tower_is_text(const json_t *value, const char *text)
{
    const char *const own = organ_json_plain(value);
    return !text || (own && strcmp(own, text) == 0);
}

const tower_family *organ_tower_family(const json_t *config)
{
    const char *const type = organ_json_plain(json_object_get(config, "model_type"));
    const json_t *const vision = json_object_get(config, "vision_config");
    const json_t *const names = json_object_get(vision, "architectures");
    for (const tower_family *f = organ_tower_families; type && f->types; f++)
        if (organ_lists_word(f->types, ' ', type, strlen(type)) &&
            tower_is_text(json_object_get(vision, "model_type"), f->vision) &&
            tower_is_text(json_array_get(names, 0), f->original))
            return f;
    return NULL;
}

/* ---- settings ---- */

static const json_t *tower_object(const json_t *config, tower_source where)
{
    switch (where) {
    case TOWER_VISION:
        return json_object_get(config, "vision_config");
    case TOWER_AUDIO:
        return json_object_get(config, "audio_config");
    case TOWER_TEXT:
        return json_object_get(config, "text_config");
    default:
        return config;
    }
}

/* Finds "member" or "object.member". */
static const json_t *tower_member(const json_t *object, const char *name)
{
    const char *const dot = strchr(name, '.');
    char outer[64];
    if (!dot)
        return json_object_get(object, name);
    snprintf(outer, sizeof outer, "%.*s", (int)(dot - name), name);
    return json_object_get(json_object_get(object, outer), dot + 1);
}

static bool tower_allows(const char *allowed, const json_t *value)
{
    char word[32];
    while (organ_next_word(&allowed, word, sizeof word)) {
        if (json_is_number(value) && json_number_value(value) == organ_strtod(word, NULL))
            return true;
        if (json_is_string(value) && tower_is_text(value, word))
            return true;
    }
    return false;
}

static organ_status tower_refuse(const tower_model *t, const tower_need *need, const json_t *value, organ_error *error)
{
    static const char *const names[] = {[TOWER_VISION] = "vision_config.",
                                        [TOWER_AUDIO] = "audio_config.",
                                        [TOWER_TEXT] = "text_config.",
                                        [TOWER_TOP] = ""};
    ORGAN_OWNED char *const text = organ_json_dump(value, JSON_ENCODE_ANY | JSON_COMPACT);
    return organ_fail(error, ORGAN_BAD_INPUT,
                      "%s: config.json: %s%s is %.80s, but llama.cpp computes towers of the kind %s only with %s; "
                      "`mmproj` none converts the text model alone",
                      t->label, names[need->where], need->member, text ? text : "another value", t->family->projector,
                      need->allowed);
}

static organ_status tower_check_needs(const tower_model *t, organ_error *error)
{
    for (const tower_need *need = t->family->needs; need->member; need++) {
        const json_t *const value = tower_member(tower_object(t->config, need->where), need->member);
        if (value && !json_is_null(value) && !tower_allows(need->allowed, value))
            return tower_refuse(t, need, value, error);
    }
    return ORGAN_OK;
}

static organ_status tower_read_deep(tower_model *t, organ_error *error)
{
    const json_t *const list = json_object_get(json_object_get(t->config, "vision_config"), "deepstack_visual_indexes");
    const json_t *value;
    size_t k;
    if (json_array_size(list) > TOWER_DEEP_MOST)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: config.json: vision_config.deepstack_visual_indexes has %zu numbers, more than %d",
                          t->label, json_array_size(list), TOWER_DEEP_MOST);
    json_array_foreach(list, k, value)
    {
        const json_int_t block = json_integer_value(value);
        bool twice = false;
        for (unsigned n = 0; n < t->deep_count; n++)
            twice = twice || t->deep[n] == (uint64_t)block;
        if (!json_is_integer(value) || block < 0 || (uint64_t)block >= t->blocks || twice)
            return organ_fail(error, ORGAN_BAD_INPUT,
                              "%s: config.json: vision_config.deepstack_visual_indexes names no block of the tower, "
                              "or one twice",
                              t->label);
        t->deep[t->deep_count++] = (uint64_t)block;
    }
    return ORGAN_OK;
}

organ_status organ_tower_read(tower_model *t, organ_error *error)
{
    t->has_vision = json_is_object(json_object_get(t->config, "vision_config"));
    t->has_audio = t->family->audio_keys && json_is_object(json_object_get(t->config, "audio_config"));
    t->deep_count = 0;
    if (!t->has_vision)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: config.json has no vision_config", t->label);
    if (tower_check_needs(t, error) || organ_tower_numbers(t, error))
        return error->status;
    return tower_read_deep(t, error);
}

/* ---- names ---- */

/* Writes the name with the beginning of published files. */
static void tower_publish(const tower_family *family, const char *name, char published[TOWER_NAME])
{
    for (const tower_root *r = family->roots; r->found; r++)
        if (strncmp(name, r->found, strlen(r->found)) == 0) {
            snprintf(published, TOWER_NAME, "%s%s", r->published, name + strlen(r->found));
            return;
        }
    snprintf(published, TOWER_NAME, "%s", name);
}

static const char *tower_number(const char *name, int64_t *number)
{
    char *end;
    if (*name < '0' || *name > '9' || (name[0] == '0' && name[1] >= '0' && name[1] <= '9'))
        return NULL;
    *number = strtol(name, &end, 10);
    return end - name > 6 ? NULL : end;
}

static bool tower_matches(const char *name, const char *pattern, tower_part *part)
{
    static const char thirds[] = "qkv";
    part->number = -1;
    part->bias = false;
    part->part = 0;
    for (; *pattern; pattern++) {
        const char *const third = *name ? strchr(thirds, *name) : NULL;
        if (*pattern == '#') {
            if (!(name = tower_number(name, &part->number)))
                return false;
        } else if (*pattern == '$') {
            part->bias = strcmp(name, ".bias") == 0;
            return part->bias || strcmp(name, ".weight") == 0;
        } else if (*pattern == '@' && third) {
            part->part = (unsigned)(third - thirds);
            name++;
        } else if (*pattern != *name++)
            return false;
    }
    return *name == '\0';
}

/* The tensor of the second frame has the name of the first with ".1". */
static bool tower_matches_rule(const tower_rule *rule, bool gguf, const char *name, tower_part *part)
{
    const char *const pattern = gguf ? rule->gguf : rule->hf;
    char first[TOWER_NAME];
    if (!*pattern)
        return false;
    if (tower_matches(name, pattern, part))
        return true;
    size_t length = strlen(name);
    if (!gguf || rule->change != TOWER_FRAMES || length >= sizeof first || !organ_cut_end(name, &length, ".1"))
        return false;
    snprintf(first, sizeof first, "%.*s", (int)length, name);
    const bool found = tower_matches(first, pattern, part);
    part->part = 1;
    return found;
}

/* In GGUF the number of a deepstack merger is that of its block. */
static bool tower_place_deep(const tower_model *t, bool gguf, tower_part *part)
{
    for (unsigned k = 0; k < t->deep_count; k++)
        if (part->number == (int64_t)(gguf ? t->deep[k] : k)) {
            part->number = k;
            return true;
        }
    return false;
}

bool organ_tower_find(const tower_model *t, bool gguf, const char *name, tower_part *part)
{
    char published[TOWER_NAME];
    if (strlen(name) >= TOWER_NAME / 2)
        return false;
    if (gguf)
        snprintf(published, sizeof published, "%s", name);
    else
        tower_publish(t->family, name, published);
    for (const tower_rule *rule = t->family->rules; rule->hf; rule++)
        if (tower_matches_rule(rule, gguf, published, part)) {
            part->rule = rule;
            return !rule->deep || tower_place_deep(t, gguf, part);
        }
    return false;
}

void organ_tower_name(const tower_model *t, bool gguf, const tower_part *part, char name[TOWER_NAME])
{
    const tower_rule *const rule = part->rule;
    size_t used = 0;
    for (const char *p = gguf ? rule->gguf : rule->hf; *p && used + 24 < TOWER_NAME; p++) {
        if (*p == '#')
            used += (size_t)snprintf(name + used, TOWER_NAME - used, "%" PRId64,
                                     gguf && rule->deep ? (int64_t)t->deep[part->number] : part->number);
        else if (*p == '$')
            used += (size_t)snprintf(name + used, TOWER_NAME - used, "%s", part->bias ? ".bias" : ".weight");
        else
            name[used++] = *p == '@' ? "qkv"[part->part] : *p;
    }
    name[used] = '\0';
    if (gguf && rule->change == TOWER_FRAMES && part->part)
        snprintf(name + used, TOWER_NAME - used, ".1");
}

unsigned organ_tower_parts(const tower_rule *rule)
{
    if (rule->change == TOWER_THIRDS)
        return 3;
    return rule->change == TOWER_FRAMES ? 2 : 1;
}

bool organ_tower_is_left_out(const tower_family *family, const char *name)
{
    return family->left_out && strstr(name, family->left_out) && strstr(name, "vision");
}
