/* SPDX-License-Identifier: MIT
 * Reads adapter_config.json and matches rank_pattern and alpha_pattern with names of modules. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "formats/adapter/adapter_config.h"

#include "formats/base/files.h"
#include "formats/base/text.h"

#include <errno.h>
#include <math.h>
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Upper bounds. */
#define PATTERN_LIMIT 4096u             /* bytes of a pattern */
#define MATCH_LIMIT   10000u            /* steps of PCRE2 for a match; names have about 50 characters */
#define WORD_MATCHES  ((size_t)1 << 30) /* number of modules times number of patterns */

/* A key of letters, digits, '_' and dots is compared without a regular expression, because models of many experts
 * have tens of thousands of such keys. */
typedef struct config_pattern {
    const char *key;  /* key of the JSON object, a regular expression */
    size_t length;    /* bytes of the key */
    pcre2_code *code; /* compiled key; NULL if the key is compared as text */
    double value;     /* rank or alpha of the modules that match */
} config_pattern;

typedef struct organ_adapter_patterns {
    const char *label, *field; /* names of file and member, for messages */
    size_t count, expressions; /* number of patterns, and of those that are compiled */
    config_pattern *list;      /* `count` patterns */
    pcre2_match_data *match;   /* buffers of PCRE2 */
    pcre2_match_context *context;
} organ_adapter_patterns;

static organ_status read_flag(const organ_json_object *from, const char *key, bool *flag, organ_error *error)
{
    const json_t *const value = organ_json_value(from, key);
    if (value && !json_is_boolean(value))
        return organ_json_refuse(from, key, "true or false", error);
    *flag = json_is_true(value);
    return ORGAN_OK;
}

static bool is_finite_number(const json_t *value)
{
    return json_is_number(value) && isfinite(json_number_value(value));
}

static bool is_string_list(const json_t *value)
{
    const size_t count = json_array_size(value);
    for (size_t k = 0; k < count; k++)
        if (!organ_json_plain(json_array_get(value, k)))
            return false;
    return json_is_array(value);
}

/* ---- patterns ---- */

/* A key without an operator of a regular expression except '.' can be compared as text instead of by PCRE2. An
 * escaped dot is allowed. */
static bool is_literal_key(const char *key)
{
    for (const char *s = key; *s; s++)
        if (!((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9') || *s == '_' ||
              *s == '.' || (*s == '\\' && s[1] == '.')))
            return false;
    return true;
}

/* The expression is "^(.*\.)?(KEY)$": peft matches it with a module's full name. */
static organ_status compile_pattern(const organ_adapter_patterns *patterns, config_pattern *p, organ_error *error)
{
    char text[PATTERN_LIMIT + 32];
    int fault;
    PCRE2_SIZE at;
    PCRE2_UCHAR why[128] = "";
    if (p->length > PATTERN_LIMIT)
        return organ_refuse(error, patterns->label, "%s: a pattern has %zu bytes, more than %u", patterns->field,
                            p->length, PATTERN_LIMIT);
    const int length = snprintf(text, sizeof text, "^(.*\\.)?(%s)$", p->key);
    p->code = pcre2_compile((PCRE2_SPTR)text, (PCRE2_SIZE)length, PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C,
                            &fault, &at, NULL);
    if (p->code)
        return ORGAN_OK;
    if (fault == PCRE2_ERROR_HEAP_FAILED)
        return organ_fail_errno(error, ENOMEM, "%s: %s: the pattern '%.200s'", patterns->label, patterns->field,
                                p->key);
    pcre2_get_error_message(fault, why, sizeof why);
    return organ_refuse(error, patterns->label, "%s: '%.200s' is not a valid pattern: %s", patterns->field, p->key,
                        (const char *)why);
}

/* patterns->list has room for all members. `integers` is true for rank_pattern, false for alpha_pattern. `from` is
 * the whole config, for messages. */
static organ_status fill_patterns(const organ_json_object *from, json_t *object, bool integers,
                                  organ_adapter_patterns *patterns, organ_error *error)
{
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        config_pattern *const p = &patterns->list[patterns->count++];
        *p = (config_pattern){.key = key, .length = strlen(key), .value = json_number_value(value)};
        if (integers ? !json_is_integer(value) || json_integer_value(value) < 1 || json_integer_value(value) > INT32_MAX
                     : !is_finite_number(value))
            return organ_json_refuse(from, patterns->field,
                                     integers ? "an object of whole numbers above 0" : "an object of numbers", error);
        if (is_literal_key(key))
            continue;
        patterns->expressions++;
        if (compile_pattern(patterns, p, error) != ORGAN_OK)
            return error->status;
    }
    return ORGAN_OK;
}

/* The caller frees *out, also after an error. *out stays NULL if the member is missing or empty: every module then
 * has the adapter's r or lora_alpha. */
static organ_status read_patterns(const organ_json_object *from, const char *field, bool integers,
                                  organ_adapter_patterns **out, organ_error *error)
{
    json_t *const object = json_object_get(from->tree, field);
    if (!object || json_is_null(object) || (json_is_object(object) && json_object_size(object) == 0))
        return ORGAN_OK;
    if (!json_is_object(object))
        return organ_json_refuse(from, field, "an object", error);
    organ_adapter_patterns *const patterns = *out = calloc(1, sizeof *patterns);
    if (!patterns || !(patterns->list = calloc(json_object_size(object), sizeof *patterns->list)) ||
        !(patterns->match = pcre2_match_data_create(1, NULL)) ||
        !(patterns->context = pcre2_match_context_create(NULL)))
        return organ_fail_errno(error, ENOMEM, "%s: %s", from->text->label, field);
    patterns->label = "adapter_config.json";
    patterns->field = field;
    pcre2_set_match_limit(patterns->context, MATCH_LIMIT);
    pcre2_set_depth_limit(patterns->context, MATCH_LIMIT);
    return fill_patterns(from, object, integers, patterns, error);
}

static void free_patterns(organ_adapter_patterns *patterns)
{
    if (!patterns)
        return;
    for (size_t k = 0; k < patterns->count; k++)
        pcre2_code_free(patterns->list[k].code);
    pcre2_match_data_free(patterns->match);
    pcre2_match_context_free(patterns->context);
    free(patterns->list);
    free(patterns);
}

/* A dot in the key that is not escaped matches any character but a line break, as in a regular expression. */
static bool ends_with_literal(const config_pattern *p, const char *module)
{
    const char *s = module + strlen(module);
    for (const char *k = p->key + p->length; k > p->key;) {
        k--;
        const bool escaped = *k == '.' && k > p->key && k[-1] == '\\';
        if (s == module || (*k == '.' && !escaped ? s[-1] == '\n' : s[-1] != *k))
            return false;
        s--;
        k -= escaped;
    }
    return s == module || s[-1] == '.';
}

static organ_status find_pattern_value(const organ_adapter_patterns *patterns, const char *module, double *value,
                                       organ_error *error)
{
    for (size_t k = 0; patterns && k < patterns->count; k++) {
        const config_pattern *const p = &patterns->list[k];
        int result = PCRE2_ERROR_NOMATCH;
        if (p->code)
            result = pcre2_match(p->code, (PCRE2_SPTR)module, strlen(module), 0, 0, patterns->match, patterns->context);
        else if (ends_with_literal(p, module))
            result = 1;
        if (result >= 0) {
            *value = p->value;
            return ORGAN_OK;
        }
        if (result == PCRE2_ERROR_NOMEMORY)
            return organ_fail_errno(error, ENOMEM, "%s: %s: the pattern '%.200s'", patterns->label, patterns->field,
                                    p->key);
        if (result != PCRE2_ERROR_NOMATCH)
            return organ_refuse(error, patterns->label,
                                "%s: the pattern '%.200s' takes too long to be matched with '%.200s'", patterns->field,
                                p->key, module);
    }
    return ORGAN_OK;
}

/* scale = alpha / r, or alpha / sqrt(r) for rank-stabilised LoRA (Kalajdzievski 2023). */
organ_status organ_adapter_rules_of(const organ_adapter_rules *rules, const organ_adapter *adapter, const char *module,
                                    int64_t *rank, double *scale, organ_error *error)
{
    double r = (double)adapter->r, alpha = adapter->alpha;
    if (find_pattern_value(rules->ranks, module, &r, error) != ORGAN_OK ||
        find_pattern_value(rules->alphas, module, &alpha, error) != ORGAN_OK)
        return error->status;
    *rank = (int64_t)r;
    *scale = alpha / (adapter->rslora ? sqrt(r) : r);
    return ORGAN_OK;
}

static organ_status check_match_limit(const organ_adapter_patterns *patterns, size_t modules, organ_error *error)
{
    if (!patterns || modules == 0 ||
        (patterns->expressions <= ORGAN_ADAPTER_MATCHES / modules && patterns->count <= WORD_MATCHES / modules))
        return ORGAN_OK;
    return organ_refuse(error, patterns->label,
                        "%s has %zu patterns (%zu of them expressions), too many to be matched with %zu modules",
                        patterns->field, patterns->count, patterns->expressions, modules);
}

organ_status organ_adapter_rules_check_limit(const organ_adapter_rules *rules, size_t modules, organ_error *error)
{
    return check_match_limit(rules->ranks, modules, error) == ORGAN_OK
               ? check_match_limit(rules->alphas, modules, error)
               : error->status;
}

/* ---- the document ---- */

static bool is_integer_list(const json_t *value)
{
    for (size_t k = 0; k < json_array_size(value); k++)
        if (!json_is_integer(json_array_get(value, k)))
            return false;
    return json_is_array(value);
}

/* layers_pattern only counts with layers_to_transform. */
static organ_status check_selection_fields(const organ_json_object *from, organ_error *error)
{
    static const char *const names[] = {"target_modules", "exclude_modules", "layers_pattern"};
    const json_t *const layers = organ_json_value(from, "layers_to_transform");
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        const json_t *const value = organ_json_value(from, names[k]);
        if (value && !is_string_list(value) && !organ_json_plain(value))
            return organ_json_refuse(from, names[k], "a string or a list of strings", error);
    }
    if (layers && !json_is_integer(layers) && !is_integer_list(layers))
        return organ_json_refuse(from, "layers_to_transform", "a number or a list of numbers of layers", error);
    return ORGAN_OK;
}

static organ_status check_string_fields(const organ_json_object *from, organ_error *error)
{
    static const char *const biases[] = {"none", "all", "lora_only", NULL};
    const json_t *const saved = organ_json_value(from, "modules_to_save");
    const json_t *const bias = organ_json_value(from, "bias");
    const json_t *const parameters = organ_json_value(from, "target_parameters");
    if (parameters && !is_string_list(parameters))
        return organ_json_refuse(from, "target_parameters", "a list of strings", error);
    if (saved && !is_string_list(saved))
        return organ_json_refuse(from, "modules_to_save", "a list of strings", error);
    if (bias && !(organ_json_plain(bias) && organ_is_one_of(organ_json_plain(bias), biases)))
        return organ_json_refuse(from, "bias", "\"none\", \"all\" or \"lora_only\"", error);
    return ORGAN_OK;
}

static organ_status config_read_numbers(const organ_json_object *from, organ_adapter *adapter, organ_error *error)
{
    const json_t *const r = organ_json_value(from, "r"), *const alpha = organ_json_value(from, "lora_alpha");
    const json_t *const base = organ_json_value(from, "base_model_name_or_path");
    const char *const type = organ_json_plain(organ_json_value(from, "peft_type"));
    if (!type || strcmp(type, "LORA") != 0)
        return organ_json_refuse(from, "peft_type", "\"LORA\"", error);
    if (!json_is_integer(r) || json_integer_value(r) < 1 || json_integer_value(r) > INT32_MAX)
        return organ_json_refuse(from, "r", "a whole number above 0", error);
    if (!is_finite_number(alpha))
        return organ_json_refuse(from, "lora_alpha", "a number", error);
    if (base && !organ_json_plain(base))
        return organ_json_refuse(from, "base_model_name_or_path", "a string", error);
    adapter->r = json_integer_value(r);
    adapter->alpha = json_number_value(alpha);
    adapter->base = base ? organ_json_plain(base) : "";
    return ORGAN_OK;
}

static organ_status read_adapter_config(const organ_json_object *from, organ_adapter *adapter,
                                        organ_adapter_rules *rules, organ_adapter_remarks *remarks, organ_error *error)
{
    bool ignored;
    if (config_read_numbers(from, adapter, error) == ORGAN_OK &&
        read_flag(from, "use_rslora", &adapter->rslora, error) == ORGAN_OK &&
        read_flag(from, "use_dora", &adapter->dora, error) == ORGAN_OK &&
        read_flag(from, "fan_in_fan_out", &adapter->fan_in_fan_out, error) == ORGAN_OK &&
        read_flag(from, "lora_bias", &ignored, error) == ORGAN_OK && check_string_fields(from, error) == ORGAN_OK &&
        check_selection_fields(from, error) == ORGAN_OK &&
        organ_adapter_fields_check(from, remarks, error) == ORGAN_OK &&
        read_patterns(from, "rank_pattern", /*integers=*/true, &rules->ranks, error) == ORGAN_OK)
        read_patterns(from, "alpha_pattern", /*integers=*/false, &rules->alphas, error);
    return error->status;
}

organ_status organ_adapter_config_read(const char *path, organ_adapter *adapter, organ_adapter_rules *rules,
                                       organ_adapter_remarks *remarks, organ_error *error)
{
    ORGAN_OWNED char *bytes = NULL;
    organ_json_source text = {.label = remarks->label};
    if (organ_input_load(path, remarks->label, ORGAN_ADAPTER_CONFIG_LIMIT, &bytes, &text.length, error) != ORGAN_OK)
        return error->status;
    text.bytes = bytes;
    if (organ_json_parse_object(&text, &adapter->config, error) == ORGAN_OK)
        read_adapter_config(&(organ_json_object){&text, {0, text.length}, adapter->config}, adapter, rules, remarks,
                            error);
    return error->status;
}

void organ_adapter_rules_release(organ_adapter_rules *rules)
{
    free_patterns(rules->ranks);
    free_patterns(rules->alphas);
    *rules = (organ_adapter_rules){0};
}

/* ---- names of factors and modules ---- */

/* llama.cpp names the tensors of an adapter MODULE.weight.lora_a and MODULE.weight.lora_b. */
static bool name_read_gguf(const char *name, organ_adapter_name *out)
{
    *out = (organ_adapter_name){.module = name, .length = strlen(name)};
    out->is_b = organ_cut_end(name, &out->length, ".lora_b");
    return (out->is_b || organ_cut_end(name, &out->length, ".lora_a")) && organ_cut_end(name, &out->length, ".weight");
}

/* Names of peft are like base_model.model.MODULE.lora_A.default.weight; names of factors of embeddings
 * (lora_embedding_A, _B) have no ".weight" at the end. *out has no meaning if the result is false. */
bool organ_adapter_name_read(const char *name, bool gguf, organ_adapter_name *out)
{
    static const char prefix[] = "base_model.model.";
    if (gguf)
        return name_read_gguf(name, out);
    *out = (organ_adapter_name){.module = name};
    if (strncmp(name, prefix, sizeof prefix - 1) == 0)
        out->module += sizeof prefix - 1;
    size_t length = strlen(out->module);
    const bool weight = organ_cut_end(out->module, &length, ".weight");
    organ_cut_end(out->module, &length, ".default");
    static const char *const kinds[] = {".lora_A", ".lora_B", ".lora_embedding_A", ".lora_embedding_B"};
    for (unsigned k = 0; k < 4; k++)
        if (weight == (k < 2) && organ_cut_end(out->module, &length, kinds[k])) {
            *out = (organ_adapter_name){out->module, length, k % 2 == 1, k >= 2};
            return true;
        }
    return false;
}

/* ---- parameters ---- */

/* The order is that in which transformers' classes define these parameters of modules of experts, and in which peft
 * wraps them. */
static const char *const expert_parameters[] = {"gate_up_proj", "gate_up_proj_bias", "down_proj", "down_proj_bias",
                                                NULL};

/* `target`, an entry of target_parameters, is "MODULE.WORD", or the end of this text after one of its dots. A target
 * without a dot only selects parameters of modules whose names end with "experts", because an adapter does not state
 * which other modules have such a parameter. */
static bool target_selects_parameter(const char *target, const char *module, size_t length, const char *word)
{
    const size_t end = strlen("experts");
    char name[512];
    const int size = snprintf(name, sizeof name, ".%.*s.%s", (int)length, module, word);
    if (!strchr(target, '.') && !(length >= end && strncmp(module + length - end, "experts", end) == 0))
        return false;
    return size > 0 && (size_t)size < sizeof name && organ_ends_in_words(name, target);
}

/* peft wraps a module once for each of its parameters in target_parameters (`targets`); wrapper 0 is the innermost.
 * Parameters in expert_parameters are wrapped in the order of that list. If none of them is a target, the module may
 * have one target of another name, which is returned for any index. Returns NULL if there is no such wrapper.
 * Returns "" and a *count of 0 if several targets of other names match, because their order is unknown. */
static const char *find_wrapped_parameter(const json_t *targets, const char *module, size_t length, size_t index,
                                          size_t *count)
{
    const char *found = NULL, *other = NULL;
    *count = 0;
    for (size_t k = 0; expert_parameters[k]; k++)
        for (size_t t = 0; t < json_array_size(targets); t++)
            if (target_selects_parameter(json_string_value(json_array_get(targets, t)), module, length,
                                         expert_parameters[k])) {
                found = (*count)++ == index ? expert_parameters[k] : found;
                break;
            }
    for (size_t t = 0; t < json_array_size(targets) && *count == 0; t++) { /* a single parameter of another name */
        const char *const target = json_string_value(json_array_get(targets, t)), *const dot = strrchr(target, '.');
        const char *const word = dot ? dot + 1 : target;
        if (target_selects_parameter(target, module, length, word))
            other = other ? "" : word;
    }
    *count += other && *other;
    return found ? found : other;
}

/* The number of ".base_layer" at the end of `module` is the number of the wrapper, 0 for the outermost one. */
const char *organ_adapter_parameter(const json_t *config, const char *module, organ_arena *arena, bool *is_parameter,
                                    organ_error *error)
{
    const json_t *const targets = json_object_get(config, "target_parameters");
    size_t length = strlen(module), depth = 0, count;
    *is_parameter = false;
    if (json_array_size(targets) == 0)
        return module;
    while (organ_cut_end(module, &length, ".base_layer"))
        depth++;
    const char *word = find_wrapped_parameter(targets, module, length, 0, &count);
    if (!word)
        return module;
    if (depth < count)
        word = find_wrapped_parameter(targets, module, length, count - 1 - depth, &count);
    if (depth >= count || !word) {
        organ_fail(error, ORGAN_BAD_INPUT,
                   "adapter_config.json: target_parameters: which parameter the factors of '%s' change is unknown",
                   module);
        return NULL;
    }
    char *const name = organ_arena_take(arena, length + strlen(word) + 2);
    if (!name) {
        organ_fail_memory(error, module);
        return NULL;
    }
    sprintf(name, "%.*s.%s", (int)length, module, word);
    *is_parameter = true;
    return name;
}
