/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/layers/organ_settings.h"

#include "formats/base/owned.h"
#include "formats/base/plain_numbers.h"

#include <stdio.h>

organ_settings organ_settings_of(const organ_model *model, organ_gguf_writer *writer, organ_error *error)
{
    return (organ_settings){.label = model->path,
                            .gguf = model->gguf,
                            .writer = writer,
                            .architecture = model->config.model_type,
                            .error = error};
}

static const char *const objects[ORGAN_LAYERS_OBJECTS] = {NULL, "text_config", "language_config", "llm_config"};

const json_t *organ_layers_object(const json_t *root, size_t k, const char **inside)
{
    *inside = objects[k];
    return objects[k] ? json_object_get(root, objects[k]) : root;
}

bool organ_settings_enter(organ_settings *s, const json_t *root, size_t *k)
{
    while (*k < ORGAN_LAYERS_OBJECTS && !s->error->status) {
        s->object = organ_layers_object(root, (*k)++, &s->inside);
        if (json_is_object(s->object))
            return true;
    }
    return false;
}

/* ---- names ---- */

const char *organ_settings_name(const organ_settings *s, const char *setting, char room[ORGAN_SETTING_ROOM])
{
    char key[ORGAN_MEMBER_ROOM];
    if (!s->gguf)
        return setting;
    snprintf(room, ORGAN_SETTING_ROOM, "%.64s.%.95s", s->architecture,
             organ_pairing_key_of(setting, key) ? key : setting);
    return room;
}

bool organ_settings_alias(const organ_settings *s, const char *setting, size_t k, char name[ORGAN_MEMBER_ROOM])
{
    char key[ORGAN_MEMBER_ROOM];
    if (!s->gguf && organ_pairing_key_of(setting, key))
        return organ_pairing_member(key, k, name);
    snprintf(name, ORGAN_MEMBER_ROOM, "%s", setting);
    return k == 0;
}

/* ---- values ---- */

const organ_gguf_kv *organ_settings_kv(const organ_settings *s, const char *setting)
{
    char room[ORGAN_SETTING_ROOM];
    return s->gguf ? organ_gguf_find(s->gguf, organ_settings_name(s, setting, room)) : NULL;
}

static const json_t *member_of(const organ_settings *s, const char *setting)
{
    return json_object_get(s->now ? s->now : s->object, setting);
}

bool organ_settings_has(const organ_settings *s, const char *setting)
{
    return s->gguf ? organ_settings_kv(s, setting) != NULL : member_of(s, setting) != NULL;
}

bool organ_settings_is_list(const organ_settings *s, const char *setting)
{
    const organ_gguf_kv *const kv = organ_settings_kv(s, setting);
    return kv ? kv->type == ORGAN_GGUF_ARRAY : json_is_array(member_of(s, setting));
}

/* Returns -1 if the key-value is absent, negative or no whole number. */
static int64_t number_of(const organ_gguf_kv *kv)
{
    int64_t value;
    return kv && kv->type != ORGAN_GGUF_ARRAY && organ_gguf_integer_at(kv, 0, &value) && value >= 0 ? value : -1;
}

uint64_t organ_settings_get(const organ_settings *s, const char *setting)
{
    const json_t *const value = member_of(s, setting);
    const int64_t number = s->gguf ? number_of(organ_settings_kv(s, setting)) : json_integer_value(value);
    return number > 0 ? (uint64_t)number : 0;
}

/* ---- changes ---- */

/* Returns a new reference to the value before a change; NULL: the setting is absent, or its value is no number. */
static json_t *before_change(const organ_settings *s, const char *setting)
{
    if (!s->gguf)
        return json_incref((json_t *)member_of(s, setting));
    const int64_t number = number_of(organ_settings_kv(s, setting));
    return number < 0 ? NULL : json_integer(number);
}

static organ_status write_value(const organ_settings *s, const char *name, const json_t *value)
{
    if (s->gguf)
        return organ_gguf_writer_set_integer(s->writer, name, ORGAN_GGUF_U32, json_integer_value(value), s->error);
    if (organ_json_edit_set(s->edit, s->inside, name, value, s->error))
        return s->error->status;
    return s->now && json_object_set(s->now, name, (json_t *)value) ? organ_fail_memory(s->error, name) : ORGAN_OK;
}

void organ_settings_set(const organ_settings *s, const char *setting, json_t *value)
{
    char room[ORGAN_SETTING_ROOM];
    const char *const name = organ_settings_name(s, setting, room);
    ORGAN_OWNED_JSON json_t *const before = before_change(s, setting), *const after = value;
    if (!after)
        organ_fail_memory(s->error, name);
    else if (!(before && json_equal(before, after)) && write_value(s, name, after) == ORGAN_OK && s->changed)
        s->changed(s->context, s, name, json_incref(before), json_incref(after));
}

void organ_settings_set_number(const organ_settings *s, const char *setting, uint64_t value)
{
    organ_settings_set(s, setting, json_integer((json_int_t)value));
}

bool organ_settings_change(const organ_settings *s, const char *setting, uint64_t before, uint64_t after)
{
    if (organ_settings_is_list(s, setting))
        organ_settings_refuse(s, setting, "a list gives each layer its own number, which organ does not change");
    if (organ_settings_get(s, setting) != before)
        return false;
    organ_settings_set_number(s, setting, after);
    return true;
}

size_t organ_settings_change_all(const organ_settings *s, const char *setting, uint64_t before, uint64_t after)
{
    char name[ORGAN_MEMBER_ROOM];
    size_t changed = 0;
    for (size_t k = 0; organ_settings_alias(s, setting, k, name); k++)
        changed += organ_settings_change(s, name, before, after);
    return changed;
}

/* ---- refusals ---- */

void organ_settings_refuse_key(const organ_settings *s, const organ_gguf_kv *kv, const char *name, const char *why)
{
    char value[32] = "absent";
    double real;
    if (kv && kv->type != ORGAN_GGUF_ARRAY && organ_gguf_real_at(kv, 0, &real))
        organ_snprintf(value, sizeof value, "%.9g", real);
    else if (kv)
        snprintf(value, sizeof value, "a list");
    organ_fail(s->error, ORGAN_BAD_INPUT, "%s: key '%s' is %s: %s", s->label, name, value, why);
}

void organ_settings_refuse(const organ_settings *s, const char *setting, const char *why)
{
    char room[ORGAN_SETTING_ROOM];
    if (s->gguf) {
        organ_settings_refuse_key(s, organ_settings_kv(s, setting), organ_settings_name(s, setting, room), why);
        return;
    }
    const json_t *const value = json_object_get(s->object, setting);
    ORGAN_OWNED char *const text = value ? organ_json_dump(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    organ_fail(s->error, ORGAN_BAD_INPUT, "%s: %s is %.120s: %s", s->label, setting, text ? text : "absent", why);
}
