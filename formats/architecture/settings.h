/* SPDX-License-Identifier: MIT
 * Settings of organ_forward_config and organ_layer_kind with their names, for comparisons of models. */
#ifndef ORGAN_ARCHITECTURE_SETTINGS_H
#define ORGAN_ARCHITECTURE_SETTINGS_H

#include "formats/architecture/pairing.h"

/* The models in which a setting is compared. */
typedef enum setting_scope {
    SETTING_EVERY,   /* all: both formats state it alike */
    SETTING_ONE,     /* those of one format */
    SETTING_WINDOWED /* those of one format that have layers with a sliding window */
} setting_scope;

typedef struct forward_setting {
    const char *name; /* the member of config.json, or what it means */
    setting_scope scope;
    pairing_number number; /* type of the member */
    size_t offset;         /* of the member in organ_forward_config, or in organ_layer_kind */
    const char *words;     /* names of the values 0, 1, ..., separated by blanks; NULL: the value is a number */
} forward_setting;

/* Settings of a model; the number of its layers; settings of layers with the same number. The last row of each table
 * has no name. */
extern const forward_setting organ_model_settings[], organ_layers_setting, organ_layer_settings[];

/* Returns the value of a setting in an organ_forward_config, or in an organ_layer_kind. */
double organ_setting_value(const forward_setting *setting, const void *object);

#endif
