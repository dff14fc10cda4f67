/* SPDX-License-Identifier: MIT
 * Reads what a config says of rotations at run time: transform_config of compressed-tensors, rotation_config and
 * spinquant_config of AutoRound. */
#include "formats/weights/quant_config.h"

#include "formats/base/results.h"
#include "formats/base/text.h"

#include <stdlib.h>
#include <string.h>

/* ---- transform_config ---- */

const char *const organ_quant_locations[ORGAN_TRANSFORM_LOCATIONS] = {"input",         "output",  "weight_input",
                                                                      "weight_output", "k_cache", "q_attn"};

static bool read_flag(const organ_quant_scope *at, const char *key)
{
    const json_t *const value = organ_quant_member(at, key);
    if (value && !json_is_boolean(value))
        organ_quant_fail_value(at, key, value, "true or false");
    return json_is_true(value);
}

static uint64_t read_size(const organ_quant_scope *at, const char *key)
{
    const json_t *const value = organ_quant_member(at, key);
    const json_int_t number = json_integer_value(value);
    if (value && (number < 1 || number > 1 << 24))
        organ_quant_fail_value(at, key, value, "a whole number from 1");
    return value ? (uint64_t)number : 0;
}

/* A string alone stands for a list of one. */
static void read_modules(const organ_quant_scope *at, const char *key, organ_quant_rules *rules)
{
    const json_t *const value = organ_quant_member(at, key);
    if (!json_is_string(value)) {
        organ_quant_read_names(at, key, value, rules, /*exact=*/true, /*value=*/NULL);
        return;
    }
    json_t *const list = json_pack("[O]", value); /* the value itself keeps the string */
    if (!list)
        organ_fail_memory(at->error, at->config->file);
    organ_quant_read_names(at, key, list, rules, /*exact=*/true, /*value=*/NULL);
    json_decref(list);
}

static void read_apply(const organ_quant_scope *at, organ_quant_apply *apply)
{
    const char *location = "";
    int k = 0;
    organ_quant_read_word(at, "location", &location);
    while (k < ORGAN_TRANSFORM_LOCATIONS && strcmp(location, organ_quant_locations[k]) != 0)
        k++;
    if (k == ORGAN_TRANSFORM_LOCATIONS)
        organ_refuse(at->error, at->config->file,
                     "%.300s.location is '%.60s', but must be input, output, weight_input, "
                     "weight_output, k_cache or q_attn",
                     at->path, location);
    apply->location = (organ_quant_location)k;
    apply->path = at->path;
    apply->inverse = read_flag(at, "inverse");
    read_modules(at, "targets", &apply->targets);
    read_modules(at, "ignore", &apply->ignored);
}

static void read_applies(const organ_quant_scope *at, organ_quant_transform *transform)
{
    const json_t *const list = organ_quant_member(at, "apply");
    if (list && !json_is_array(list)) {
        organ_quant_fail_value(at, "apply", list, "a list of objects");
        return;
    }
    transform->applies = calloc(json_array_size(list) + 1, sizeof *transform->applies);
    if (!transform->applies)
        organ_fail_memory(at->error, at->config->file);
    for (size_t k = 0; k < json_array_size(list) && !at->error->status; k++) {
        const json_t *const one = json_array_get(list, k);
        const organ_quant_scope inner = {at->config, at->error, at->path, one};
        transform->count++;
        if (json_is_object(one))
            read_apply(&inner, &transform->applies[k]);
        else
            organ_quant_fail_value(at, "apply", list, "a list of objects");
    }
}

static void read_transform(const organ_quant_scope *at, const char *name, organ_quant_transform *transform)
{
    static const char *const types[] = {"hadamard", "random-hadamard", "random-matrix", NULL};
    *transform = (organ_quant_transform){.name = name, .type = "", .path = at->path};
    organ_quant_read_word(at, "type", &transform->type);
    if (!organ_is_one_of(transform->type, types))
        organ_refuse(at->error, at->config->file,
                     "%.300s.type is '%.60s', a rotation at run time that organ does not know: hadamard, "
                     "random-hadamard and random-matrix are known",
                     at->path, transform->type);
    transform->randomize = read_flag(at, "randomize");
    transform->trained = read_flag(at, "requires_grad");
    transform->head_dim = read_size(at, "head_dim");
    read_applies(at, transform);
}

static void read_transforms(const organ_quant_scope *at)
{
    const organ_quant_scope config = organ_quant_enter(at, "transform_config"),
                            groups = organ_quant_enter(&config, "config_groups");
    organ_quant_config *const to = at->config;
    const char *name;
    json_t *value;
    to->transforms = calloc(json_object_size(groups.object) + 1, sizeof *to->transforms);
    if (!to->transforms)
        organ_fail_memory(at->error, to->file);
    json_object_foreach((json_t *)groups.object, name, value)
    {
        const organ_quant_scope group = organ_quant_enter(&groups, name);
        if (at->error->status)
            return;
        if (group.object)
            read_transform(&group, name, &to->transforms[to->transform_count++]);
    }
}

/* ---- AutoRound ---- */

/* auto-round 0.16 rotates inputs only if the weights have MXFP or NVFP codes: then the matrix has the size of a group.
 * In other types of data it saves rotated weights without the rotation that undoes them. */
static void read_rotation(const organ_quant_scope *at)
{
    static const char *const types[] = {"hadamard", "random_hadamard", NULL};
    organ_quant_auto_rotation *const to = &at->config->rotation;
    const organ_quant_scope rotation = organ_quant_enter(at, "rotation_config");
    const char *algorithm = "hadamard", *type = "hadamard", *data = "";
    if (!rotation.object || json_object_size(rotation.object) == 0)
        return;
    organ_quant_read_word(&rotation, "algorithm", &algorithm);
    organ_quant_read_word(&rotation, "hadamard_type", &type);
    organ_quant_read_word(at, "data_type", &data);
    if (strcmp(algorithm, "hadamard") != 0 || !organ_is_one_of(type, types))
        organ_refuse(at->error, at->config->file,
                     "%s has algorithm '%.60s' and hadamard_type '%.60s', a rotation at run time that organ does not "
                     "know: hadamard and random_hadamard are known",
                     rotation.path, algorithm, type);
    const bool micro = strncmp(data, "mx_fp", 5) == 0 || strncmp(data, "nv_fp", 5) == 0;
    if (!micro)
        organ_refuse(at->error, at->config->file,
                     "%s: data_type is '%.60s', but AutoRound rotates inputs only with mx_fp and nv_fp codes",
                     rotation.path, data);
    to->block = read_size(&rotation, "block_size");
    if (to->block == 0)
        to->block = strncmp(data, "nv_fp", 5) == 0 ? 16 : 32;
    to->type = type;
}

static void read_spinquant(const organ_quant_scope *at)
{
    organ_quant_auto_rotation *const to = &at->config->rotation;
    const organ_quant_scope spin = organ_quant_enter(at, "spinquant_config");
    const char *algorithm = "spinquant";
    organ_quant_read_word(&spin, "algorithm", &algorithm);
    if (strcmp(algorithm, "spinquant") != 0)
        organ_refuse(at->error, at->config->file, "%s.algorithm is '%.60s', but only spinquant is known", spin.path,
                     algorithm);
    if (!spin.object || json_object_size(spin.object) == 0)
        return;
    to->spin = true;
    to->first = !json_is_false(organ_quant_member(&spin, "r1")) &&
                !json_is_false(organ_quant_member(&spin, "online_r1_rotation"));
    to->third = json_is_true(organ_quant_member(&spin, "r3"));
    to->fourth = json_is_true(organ_quant_member(&spin, "r4"));
}

/* ---- Quark ---- */

/* Quark folds R1 and R2 into the weights that it saves. Its layers rotate inputs by R4, and by R1 if that is online;
 * "quarot" is a name of older versions for all of them. */
static void check_quark(const organ_quant_scope *at)
{
    const json_t *const list = organ_quant_member(at, "algo_config");
    for (size_t k = 0; k < json_array_size(list); k++) {
        const json_t *const one = json_array_get(list, k);
        const char *const name = organ_json_plain(json_object_get(one, "name"));
        const bool old = name && strcmp(name, "quarot") == 0, rotates = old || (name && strcmp(name, "rotation") == 0);
        const bool fourth = old || json_is_true(json_object_get(one, "r4"));
        if (rotates && (fourth || json_is_true(json_object_get(one, "online_r1_rotation"))))
            organ_refuse(at->error, at->config->file,
                         "%.200s.algo_config has '%.60s' with %s, a rotation at run time of Quark, which organ does "
                         "not read",
                         at->path, name, fourth ? "r4" : "online_r1_rotation");
    }
}

/* transformers refuses a section without quant_method, and no loader would say who rotates. */
void organ_quant_check_method(const organ_quant_scope *section)
{
    static const char *const keys[] = {"transform_config", "rotation_config", "spinquant_config"};
    for (size_t k = 0; k < sizeof keys / sizeof *keys && !organ_quant_member(section, "quant_method"); k++)
        if (json_object_size(organ_quant_member(section, keys[k])) > 0)
            organ_refuse(section->error, section->config->file,
                         "%.200s has %s, a rotation at run time, but no quant_method: transformers refuses such a "
                         "section, and other programs leave the rotation out",
                         *section->path ? section->path : "the file", keys[k]);
}

void organ_quant_read_rotations(const organ_quant_scope *at)
{
    if (!*at->config->method)
        organ_quant_check_method(at);
    read_transforms(at);
    read_rotation(at);
    read_spinquant(at);
    check_quark(at);
}

void organ_quant_release_rotations(organ_quant_config *config)
{
    for (size_t k = 0; k < config->transform_count; k++) {
        for (size_t a = 0; a < config->transforms[k].count; a++) {
            organ_quant_rules_release(&config->transforms[k].applies[a].targets);
            organ_quant_rules_release(&config->transforms[k].applies[a].ignored);
        }
        free(config->transforms[k].applies);
    }
    free(config->transforms);
}
