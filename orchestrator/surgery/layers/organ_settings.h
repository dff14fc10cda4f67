/* SPDX-License-Identifier: MIT
 * Settings of a model, read, changed and refused by name in both formats: members of config.json, or key-values of a
 * GGUF file. A setting has the name of a member of config.json ("num_experts"); formats/architecture/pairing_keys.c has
 * the key of GGUF files that has this meaning ("expert_count"). A name without a row there is a key itself. */
#ifndef ORGAN_SURGERY_LAYERS_ORGAN_SETTINGS_H
#define ORGAN_SURGERY_LAYERS_ORGAN_SETTINGS_H

#include "formats/architecture/pairing.h"
#include "formats/base/json.h"
#include "formats/gguf/file.h"

#include <organ/models.h>

typedef struct organ_settings organ_settings;
struct organ_settings {
    const char *label; /* of the file in messages */
    /* config.json of the output, and the object in it that has the settings, as it was before the edit */
    organ_json_edit *edit;
    const char *inside;   /* name of the object; NULL: the document itself */
    const json_t *object; /* NULL for a GGUF file, which lacks members without a key */
    json_t *now;          /* a copy that gets the changes too, if there is one */
    /* the key-values of the donor and of the output, and the beginning of most keys ("llama") */
    const organ_gguf *gguf; /* NULL for config.json */
    organ_gguf_writer *writer;
    const char *architecture;
    /* Called after each change with the setting's own name in the file; takes over both values. `before` NULL: the
     * setting is new. NULL: nothing is called. */
    void (*changed)(void *context, const organ_settings *settings, const char *name, json_t *before, json_t *after);
    void *context;
    organ_error *error; /* gets the first error of all functions */
};

/* Returns the settings of a GGUF model; `writer` has the key-values of the output, NULL if none are changed. */
organ_settings organ_settings_of(const organ_model *model, organ_gguf_writer *writer, organ_error *error);

/* The objects of config.json that may describe the text model: the document itself, its member "text_config", ... */
#define ORGAN_LAYERS_OBJECTS 4
/* Returns object k of config.json, or NULL; *inside becomes the member's name, NULL for the document itself. */
const json_t *organ_layers_object(const json_t *root, size_t k, const char **inside);
/* Moves to the next of these objects that config.json has: begin with *k 0. Returns false after the last, and after an
 * error. */
bool organ_settings_enter(organ_settings *settings, const json_t *root, size_t *k);

#define ORGAN_SETTING_ROOM 176 /* bytes of a key with its NUL */
/* Returns the setting's own name in the file, in `room`: "num_experts", or "llama.expert_count". */
const char *organ_settings_name(const organ_settings *settings, const char *setting, char room[ORGAN_SETTING_ROOM]);
/* Returns the key-value of a setting; NULL: there is none, or the settings are of config.json. */
const organ_gguf_kv *organ_settings_kv(const organ_settings *settings, const char *setting);

/* Returns whether the file has the setting. */
bool organ_settings_has(const organ_settings *settings, const char *setting);
/* Returns whether the setting is a list or an array, which has a value for each layer. */
bool organ_settings_is_list(const organ_settings *settings, const char *setting);
/* Returns a whole number above 0; 0 for other values and if the setting is absent. */
uint64_t organ_settings_get(const organ_settings *settings, const char *setting);
/* Writes name k of those with the setting's meaning, in config.json of any architecture: "num_local_experts",
 * "num_experts", ... A GGUF file has one. Returns false after the last. */
bool organ_settings_alias(const organ_settings *settings, const char *setting, size_t k, char name[ORGAN_MEMBER_ROOM]);

/* Sets the setting unless it has this value already; a key-value can only become a number. Takes over `value`, which
 * may be NULL if memory ran out. */
void organ_settings_set(const organ_settings *settings, const char *setting, json_t *value);
void organ_settings_set_number(const organ_settings *settings, const char *setting, uint64_t value);
/* If the setting has the old value, changes it and returns true. A list is refused, as it has a number for each layer.
 */
bool organ_settings_change(const organ_settings *settings, const char *setting, uint64_t before, uint64_t after);
/* Does so for every alias; returns how many it has changed. */
size_t organ_settings_change_all(const organ_settings *settings, const char *setting, uint64_t before, uint64_t after);

/* Sets the error ORGAN_BAD_INPUT "LABEL: NAME is VALUE: WHY", or "LABEL: key 'NAME' is VALUE: WHY". */
void organ_settings_refuse(const organ_settings *settings, const char *setting, const char *why);
/* The same for a key-value by its whole name. */
void organ_settings_refuse_key(const organ_settings *settings, const organ_gguf_kv *kv, const char *name,
                               const char *why);

#endif
