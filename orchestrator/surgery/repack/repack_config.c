/* SPDX-License-Identifier: MIT
 * The names of the three formats, and quantization_config of each, as transformers 5.24, GPTQModel 7.7, AutoAWQ 0.2.9
 * and vLLM read it. */
#include "orchestrator/surgery/repack/repack_parts.h"

#include "formats/base/quant_sections.h"
#include "formats/base/text.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/surgery/readers/readers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const organ_repack_names[REPACK_FORMATS + 1] = {"compressed-tensors", "gptq", "awq", NULL};

organ_status organ_repack_refuse(const repack_job *job, const char *tensor, const char *why, organ_error *error)
{
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: tensor '%s' %s: `format` %s cannot express it", job->model->path,
                      tensor, why, organ_repack_names[job->to]);
}

/* ---- the model's config.json ---- */

static organ_status refuse_member(const repack_job *job, const char *member, const char *what, organ_error *error)
{
    return organ_fail(error, ORGAN_BAD_INPUT,
                      "%s: config.json: %s states that %s quantised: `format` %s cannot express it", job->model->path,
                      member, what, organ_repack_names[job->to]);
}

static organ_status check_section(const repack_job *job, const json_t *section, organ_error *error)
{
    static const char *const members[] = {"input_activations", "output_activations"};
    const char *key;
    json_t *group;
    char name[160];
    json_object_foreach(json_object_get(section, "config_groups"), key, group) for (size_t k = 0; k < 2; k++)
    {
        snprintf(name, sizeof name, "config_groups.%.100s.%s", key, members[k]);
        if (json_is_object(json_object_get(group, members[k])))
            return refuse_member(job, name, k ? "outputs are" : "inputs are", error);
    }
    return ORGAN_OK;
}

static organ_status check_cache(const repack_job *job, organ_error *error)
{
    organ_cache_codes codes;
    char declared[64];
    if (organ_cache_declared(job->model, &codes, declared, error) || !*declared)
        return error->status;
    return refuse_member(job, declared, "the cache is", error);
}

organ_status organ_repack_check_config(const repack_job *job, organ_error *error)
{
    ORGAN_OWNED_JSON json_t *root = NULL;
    if (organ_model_load_json(job->model, "config.json", "config.json", &root, error))
        return error->status;
    if (!root)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: has no config.json", job->model->path);
    const json_t *const inner = json_object_get(root, "text_config");
    const organ_quant_section *section;
    for (size_t k = 0; (section = organ_quant_section_at(k)) && !error->status; k++)
        if (check_section(job, json_object_get(root, section->key), error) == ORGAN_OK)
            check_section(job, json_object_get(inner, section->key), error);
    return error->status ? error->status : check_cache(job, error);
}

/* ---- the output's ---- */

static const organ_tensor *plain_tensor(const void *job, size_t k) { return ((const repack_job *)job)->pieces[k].same; }

static const organ_weight *part_weight(const void *job, size_t k) { return ((const repack_job *)job)->parts[k].weight; }

static json_t *group_json(const repack_job *job, const repack_setting *setting, json_t *targets)
{
    json_t *const weights = organ_compressed_arguments(
        (int)setting->bits, "int", setting->group ? "group" : "channel",
        setting->group ? json_integer((json_int_t)setting->group) : json_null(), /*dynamic=*/false);
    json_t *const own =
        organ_json_joined(weights, ORGAN_OBJECT(SET_FLAG("symmetric", job->symmetric),
                                                SET_IF(job->indexed, "actorder", json_string("group"))));
    return organ_compressed_group(targets, own, json_null());
}

static json_t *groups_json(const repack_job *job)
{
    json_t *const groups = json_object();
    char name[32];
    for (size_t s = 0; s < job->setting_count; s++) {
        json_t *const targets = json_array();
        for (size_t k = 0; k < job->part_count && job->setting_count > 1; k++)
            if (job->parts[k].setting == s)
                organ_modules_append_weight(job->model, job->parts[k].weight, targets);
        if (job->setting_count == 1)
            json_array_append_new(targets, json_string("Linear"));
        snprintf(name, sizeof name, "group_%zu", s);
        json_object_set_new(groups, name, group_json(job, &job->settings[s], targets));
    }
    return groups;
}

/* Adds a rule for a module to "dynamic" of GPTQ: "-:^NAME$", which leaves it unquantised, or "+:^NAME$" with its own
 * numbers. A name that begins with "re:" is a pattern. */
static void add_rule(json_t *rules, char sign, const char *name, json_t *numbers)
{
    const bool pattern = strncmp(name, "re:", 3) == 0;
    char *const rule = malloc(2 * strlen(name) + 8);
    if (!rule) {
        organ_memory_count_refusal();
        json_decref(numbers);
        return;
    }
    char *to = rule + sprintf(rule, "%c:%s", sign, pattern ? "" : "^");
    for (const char *at = pattern ? name + 3 : name; *at; at++) {
        if (!pattern && *at == '.')
            *to++ = '\\';
        *to++ = *at;
    }
    strcpy(to, pattern ? "" : "$");
    json_object_set_new(rules, rule, numbers);
    free(rule);
}

static json_int_t group_size(const repack_setting *setting) { return setting->group ? (json_int_t)setting->group : -1; }

/* The setting of most parts is that of modules without a rule. */
static const repack_setting *most(const repack_job *job)
{
    const repack_setting *found = job->settings;
    for (size_t k = 1; k < job->setting_count; k++)
        if (job->settings[k].parts > found->parts)
            found = &job->settings[k];
    return found;
}

static json_t *dynamic_json(const repack_job *job, const json_t *ignored)
{
    json_t *const rules = json_object();
    const json_t *name;
    size_t k;
    json_array_foreach(ignored, k, name) if (strcmp(json_string_value(name), "lm_head") != 0)
        add_rule(rules, '-', json_string_value(name), json_object());
    for (k = 0; k < job->part_count; k++) {
        const repack_setting *const own = &job->settings[job->parts[k].setting];
        json_t *const names = own != most(job) ? json_array() : NULL;
        size_t n;
        if (names)
            organ_modules_append_weight(job->model, job->parts[k].weight, names);
        json_array_foreach(names, n, name)
            add_rule(rules, '+', json_string_value(name),
                     ORGAN_OBJECT(SET_COUNT("bits", own->bits), SET_COUNT("group_size", group_size(own))));
        json_decref(names);
    }
    return rules;
}

static json_t *gptq_json(const repack_job *job, const organ_module_list *modules)
{
    ORGAN_OWNED_JSON json_t *const ignored = organ_modules_ignored(modules, /*patterns=*/true);
    ORGAN_OWNED_JSON json_t *const rules = dynamic_json(job, ignored);
    return ORGAN_OBJECT(
        SET_COUNT("bits", most(job)->bits), SET_TEXT("checkpoint_format", job->minus_one ? "gptq" : "gptq_v2"),
        SET_FLAG("desc_act", job->indexed), SET_IF(json_object_size(rules), "dynamic", json_incref(rules)),
        SET_COUNT("group_size", group_size(most(job))), SET_FLAG("lm_head", organ_modules_quantise_head(modules)),
        SET_TEXT("pack_dtype", "int32"), SET_TEXT("quant_method", "gptq"), SET_FLAG("sym", job->symmetric));
}

static json_t *awq_json(const repack_job *job, const organ_module_list *modules)
{
    const organ_quant_list *const row = organ_quant_list_of("awq");
    return ORGAN_OBJECT(SET_COUNT("bits", 4), SET_COUNT("group_size", group_size(job->settings)),
                        SET(row->key, organ_modules_ignored(modules, row->patterns)), SET_TEXT("quant_method", "awq"),
                        SET_TEXT("version", "gemm"), SET_FLAG("zero_point", 1));
}

organ_status organ_repack_config(void *context, organ_json_edit *config, organ_error *error)
{
    const repack_job *const job = context;
    const organ_module_list modules = {job->model, job, job->piece_count, job->part_count, plain_tensor, part_weight};
    const unsigned long refusals = organ_memory_refusals(); /* of appends to the lists, too */
    ORGAN_OWNED_JSON json_t *made = NULL;
    if (organ_config_drop_quantisation(config, error))
        return error->status;
    if (job->to == REPACK_COMPRESSED)
        made = organ_compressed_config(groups_json(job), "pack-quantized",
                                       organ_modules_ignored(&modules, /*patterns=*/true));
    else
        made = job->to == REPACK_GPTQ ? gptq_json(job, &modules) : awq_json(job, &modules);
    if (!made || organ_memory_refusals() != refusals)
        return organ_fail_memory(error, job->options->model);
    if (organ_json_edit_set(config, NULL, "quantization_config", made, error) != ORGAN_OK)
        return error->status;
    return organ_readers_add_names(config, error);
}
