/* SPDX-License-Identifier: MIT
 * The fields of adapter_config.json (peft 0.21) and the keys "adapter.*" of GGUF (llama.cpp), and what organ does with
 * each of them. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "formats/adapter/adapter_config.h"

#include "formats/base/format_rest.h"
#include "formats/base/text.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#define MATCH_LIMIT 10000u /* steps of PCRE2 for a match; names have about 50 characters */
#define NAMES_LIMIT 4096u  /* modules that are compared with target_modules; bounds the time of hostile patterns */

/* A field whose value, if it is set, says that the adapter is not of the form W + scale B A. */
typedef struct refused_field {
    const char *name, *why;
} refused_field;

/* The change of a weight, or a check, depends on these fields. */
static const char *const peft_read[] = {"peft_type",
                                        "base_model_name_or_path",
                                        "r",
                                        "lora_alpha",
                                        "rank_pattern",
                                        "alpha_pattern",
                                        "use_rslora",
                                        "use_dora",
                                        "fan_in_fan_out",
                                        "bias",
                                        "lora_bias",
                                        "init_lora_weights",
                                        "target_modules",
                                        "exclude_modules",
                                        "layers_to_transform",
                                        "layers_pattern",
                                        "target_parameters",
                                        "modules_to_save",
                                        "trainable_token_indices",
                                        NULL},
                         *const gguf_read[] = {"adapter.type", "adapter.lora.alpha", NULL};
/* These fields have no effect on a trained adapter; outputs of the same format keep them. merge_weights is of peft 0.2,
 * qalora_group_size only counts with use_qalora. */
static const char *const peft_carried[] = {"auto_mapping",
                                           "corda_config",
                                           "ensure_weight_tying",
                                           "eva_config",
                                           "inference_mode",
                                           "loftq_config",
                                           "lora_dropout",
                                           "lora_ga_config",
                                           "megatron_config",
                                           "megatron_core",
                                           "merge_weights",
                                           "peft_version",
                                           "qalora_group_size",
                                           "revision",
                                           "runtime_config",
                                           "task_type",
                                           NULL},
                         *const gguf_carried[] = {"adapter.lora.task_name", "adapter.lora.prompt_prefix", NULL};

static const refused_field peft_refused[] = {
    {"alora_invocation_tokens", "the adapter only acts on tokens after its invocation tokens"},
    {"invocation_string", "the adapter only acts on tokens after its invocation text"},
    {"arrow_config", "a router mixes several adapters for each token"},
    {"enable_lora", "the factors are those of a part of a fused matrix"},
    {"kasa_config", "the base loses singular values, and a diagonal stands between B and A"},
    {"layer_replication", "layers of the base are repeated"},
    {"monteclora_config", "A is sampled by tensors that organ does not read"},
    {"use_bdlora", "the factors are blocks of a block-diagonal matrix"},
    {"use_mora", "one square matrix takes the place of B A"},
    {"use_qalora", "A reads averages of groups of inputs"},
    {"velora_config", "it adds a tensor that organ does not read"},
};
static const refused_field gguf_refused[] = {
    {"adapter.alora.invocation_tokens", "the adapter only acts on tokens after its invocation tokens"},
};

#define FIND(list, name) find_refused(list, sizeof(list) / sizeof *(list), name)

static const refused_field *find_refused(const refused_field *list, size_t count, const char *name)
{
    for (size_t k = 0; k < count; k++)
        if (strcmp(list[k].name, name) == 0)
            return &list[k];
    return NULL;
}

/* Appends a sentence. Returns ORGAN_IO if memory is exhausted. */
__attribute__((format(printf, 3, 4))) static organ_status add_remark(organ_adapter_remarks *remarks, organ_error *error,
                                                                     const char *format, ...)
{
    char text[700];
    if (remarks->count == ORGAN_ADAPTER_REMARKS)
        return ORGAN_OK;
    ORGAN_FORMAT_REST(text, format);
    const char *const kept = organ_arena_copy(remarks->arena, text, strlen(text));
    if (!kept)
        return organ_fail_memory(error, remarks->label);
    remarks->texts[remarks->count++] = kept;
    return ORGAN_OK;
}

static organ_status refuse_field(const char *label, const refused_field *field, organ_error *error)
{
    return organ_refuse(error, label, "%s is set: %s, and only adapters of the form W + scale B A are supported",
                        field->name, field->why);
}

static bool is_set(const json_t *value)
{
    return value && !json_is_null(value) && !json_is_false(value) &&
           !(json_is_array(value) && json_array_size(value) == 0) &&
           !(json_is_object(value) && json_object_size(value) == 0) &&
           !(json_is_string(value) && json_string_length(value) == 0) &&
           !(json_is_number(value) && json_number_value(value) == 0);
}

/* enable_lora of peft 0.2 is a list with true for each part of a fused matrix that has factors. */
organ_status organ_adapter_fields_check(const organ_json_object *from, organ_adapter_remarks *remarks,
                                        organ_error *error)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)from->tree, name, value)
    {
        const refused_field *const field = FIND(peft_refused, name);
        if (!is_set(value) || organ_is_one_of(name, peft_read) || organ_is_one_of(name, peft_carried))
            continue;
        if (field)
            return refuse_field(from->text->label, field, error);
        if (add_remark(remarks, error,
                       "%s: the field '%.100s' is unknown and has no effect: check that the adapter is "
                       "complete without it",
                       from->text->label, name))
            return error->status;
    }
    return ORGAN_OK;
}

/* ---- GGUF ---- */

static bool is_number(const organ_gguf_kv *kv)
{
    double value;
    return kv->type != ORGAN_GGUF_ARRAY && organ_gguf_real_at(kv, 0, &value);
}

static bool is_empty(const organ_gguf_kv *kv)
{
    return kv->type == ORGAN_GGUF_ARRAY ? kv->count == 0
                                        : kv->type == ORGAN_GGUF_STRING && kv->size <= sizeof(uint64_t);
}

organ_status organ_adapter_keys_check(const organ_gguf *gguf, organ_adapter_remarks *remarks, organ_error *error)
{
    for (size_t k = 0; k < gguf->kv_count && !error->status; k++) {
        const organ_gguf_kv *const kv = &gguf->kvs[k];
        const refused_field *const key = FIND(gguf_refused, kv->key);
        const bool known = key || organ_is_one_of(kv->key, gguf_read) || organ_is_one_of(kv->key, gguf_carried);
        if (key && !is_empty(kv))
            refuse_field(remarks->label, key, error);
        else if (strcmp(kv->key, "adapter.lora.alpha") == 0 && !is_number(kv))
            organ_refuse(error, remarks->label, "adapter.lora.alpha is not a number");
        else if (!known && strncmp(kv->key, "adapter.", 8) == 0)
            add_remark(remarks, error,
                       "%s: the key '%.100s' is unknown and has no effect: check that the adapter is "
                       "complete without it",
                       remarks->label, kv->key);
    }
    return error->status;
}

bool organ_adapter_key_is_carried(const char *name)
{
    return (strncmp(name, "general.", 8) == 0 || strncmp(name, "adapter.", 8) == 0) &&
           !organ_is_one_of(name, gguf_read) && !FIND(gguf_refused, name);
}

/* ---- the modules that the config selects ---- */

/* A value of target_modules or exclude_modules: a list of names or of their last words, or a regular expression. */
typedef struct module_filter {
    const json_t *value;
    pcre2_code *code; /* of a text; NULL if it is none or is no expression */
    pcre2_match_data *match;
    pcre2_match_context *context;
} module_filter;

static void release_filter(module_filter *filter)
{
    pcre2_code_free(filter->code);
    pcre2_match_data_free(filter->match);
    pcre2_match_context_free(filter->context);
}

/* Returns false for "all-linear", an empty list, a pattern that is no regular expression, and if memory runs out. */
static bool open_filter(const json_t *value, module_filter *filter)
{
    int fault;
    PCRE2_SIZE at;
    *filter = (module_filter){.value = value};
    if (!json_is_string(value) || strcmp(json_string_value(value), "all-linear") == 0)
        return json_array_size(value) > 0;
    char *const text = organ_format("^(?:%s)$", json_string_value(value));
    if (text)
        filter->code = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED,
                                     PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &fault, &at, NULL);
    free(text);
    filter->match = filter->code ? pcre2_match_data_create(1, NULL) : NULL;
    filter->context = filter->match ? pcre2_match_context_create(NULL) : NULL;
    if (!filter->context)
        return false;
    pcre2_set_match_limit(filter->context, MATCH_LIMIT);
    pcre2_set_depth_limit(filter->context, MATCH_LIMIT);
    return true;
}

/* Returns `unknown` if the expression takes too long. */
static bool filter_selects(const module_filter *filter, const char *module, bool unknown)
{
    for (size_t k = 0; k < json_array_size(filter->value); k++)
        if (organ_ends_in_words(module, json_string_value(json_array_get(filter->value, k))))
            return true;
    if (!filter->code)
        return false;
    const int result =
        pcre2_match(filter->code, (PCRE2_SPTR)module, PCRE2_ZERO_TERMINATED, 0, 0, filter->match, filter->context);
    return result >= 0 || (result != PCRE2_ERROR_NOMATCH && unknown);
}

/* The number of the layer is the first word of digits, from the third word of the name on; with layers_pattern, the
 * word after a word of it. Returns -1 if the name has none. */
static long layer_in_name(const char *module, const json_t *pattern)
{
    unsigned words = 0;
    for (const char *word = module, *dot; (dot = strchr(word, '.')); word = dot + 1, words++) {
        const char *const next = dot + 1;
        const size_t digits = strspn(next, "0123456789");
        if (digits == 0 || digits > 9 || next[digits] != '.')
            continue;
        bool found = !pattern && words > 0;
        for (size_t k = 0; pattern && k < (json_is_array(pattern) ? json_array_size(pattern) : 1) && !found; k++) {
            const char *const one = json_string_value(json_is_array(pattern) ? json_array_get(pattern, k) : pattern);
            found = one && strlen(one) == (size_t)(dot - word) && memcmp(one, word, strlen(one)) == 0;
        }
        if (found)
            return strtol(next, NULL, 10);
    }
    return -1;
}

static bool has_layer(const json_t *layers, long layer)
{
    bool found = json_is_integer(layers) && json_integer_value(layers) == layer;
    for (size_t k = 0; k < json_array_size(layers) && !found; k++)
        found = json_integer_value(json_array_get(layers, k)) == layer;
    return found;
}

static organ_status remark_modules(organ_adapter_remarks *remarks, const char *field, const char *first, size_t count,
                                   organ_error *error)
{
    if (count == 0)
        return ORGAN_OK;
    return add_remark(remarks, error,
                      "adapter_config.json: %s leaves out %zu module%s that %s factors, the first is '%.200s': "
                      "peft ignores these factors, organ applies them",
                      field, count, count == 1 ? "" : "s", count == 1 ? "has" : "have", first);
}

typedef struct module_selection {
    module_filter excluded, target;
    bool excludes, targets;         /* the filters are set */
    const json_t *layers, *pattern; /* layers_to_transform and layers_pattern; NULL: not set */
} module_selection;

enum { EXCLUDED, TARGET, LAYERS, SELECTED };

/* Returns the kind of the field that leaves the module out. */
static int kind_of(const module_selection *s, const char *module)
{
    if (s->excludes && filter_selects(&s->excluded, module, /*unknown=*/false))
        return EXCLUDED;
    if (s->targets && !filter_selects(&s->target, module, /*unknown=*/true))
        return TARGET;
    return s->layers && !has_layer(s->layers, layer_in_name(module, s->pattern)) ? LAYERS : SELECTED;
}

/* Adapters with target_parameters name modules in more than one way, so they are not compared. */
organ_status organ_adapter_selection_check(const json_t *config, const organ_adapter_pair *pairs, size_t count,
                                           organ_adapter_remarks *remarks, organ_error *error)
{
    static const char *const fields[SELECTED] = {"exclude_modules", "target_modules", "layers_to_transform"};
    const json_t *const layers = json_object_get(config, fields[LAYERS]);
    const json_t *const pattern = json_object_get(config, "layers_pattern");
    const char *first[SELECTED + 1] = {NULL};
    size_t found[SELECTED + 1] = {0};
    module_selection s = {.layers = is_set(layers) || json_is_integer(layers) ? layers : NULL,
                          .pattern = is_set(pattern) ? pattern : NULL};
    if (is_set(json_object_get(config, "target_parameters")))
        return ORGAN_OK;
    s.excludes = open_filter(json_object_get(config, fields[EXCLUDED]), &s.excluded);
    s.targets = open_filter(json_object_get(config, fields[TARGET]), &s.target);
    for (size_t k = 0; k < count && k < NAMES_LIMIT; k++) {
        const int kind = kind_of(&s, pairs[k].module);
        first[kind] = found[kind]++ ? first[kind] : pairs[k].module;
    }
    release_filter(&s.excluded);
    release_filter(&s.target);
    for (unsigned k = 0; k < SELECTED && !error->status; k++)
        remark_modules(remarks, fields[k], first[k], found[k], error);
    return error->status;
}
