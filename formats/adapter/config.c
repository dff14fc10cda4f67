/* SPDX-License-Identifier: MIT */
#include "formats/adapter/config.h"

#include "formats/base/input_file.h"
#include "formats/base/json_text.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <errno.h>
#include <math.h>
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#define CONFIG_LIMIT  ((size_t)16 << 20)
#define PATTERN_LIMIT 4096u  /* bytes of one */
#define MATCH_LIMIT   10000u /* steps of one match: a name has some 50 characters */
#define WORD_MATCHES  ((size_t)1 << 30)

/* One member of rank_pattern or alpha_pattern. What is made of letters, digits and dots alone, as nearly all are, needs no regular
 * expression: models of many experts have tens of thousands of them. */
typedef struct pattern {
    const char *key; /* of the config's JSON */
    size_t length;
    pcre2_code *code; /* NULL: `key` is plain */
    double value;
} pattern;

typedef struct organ_adapter_patterns {
    const char *label, *field;
    size_t count, expressions;
    pattern *list;
    pcre2_match_data *match;
    pcre2_match_context *context;
} organ_adapter_patterns;

/* A document and where messages find the text of its fields. */
typedef struct source {
    const organ_json_text *text;
    const json_t *object;
} source;

static organ_status fail_config_field(const source *from, const char *key, const char *expected, organ_error *error)
{
    const organ_json_span all = {0, from->text->length}, value = organ_json_member(from->text, all, key);
    const size_t length = value.end - value.begin;
    if (length == 0)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: %s is missing; it should be %s", from->text->label, key, expected);
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: %s is %.*s, not %s", from->text->label, key, (int)(length > 120 ? 120 : length),
                      from->text->bytes + value.begin, expected);
}

static organ_status read_flag(const source *from, const char *key, bool *flag, organ_error *error)
{
    const json_t *const value = json_object_get(from->object, key);
    if (value && !json_is_null(value) && !json_is_boolean(value))
        return fail_config_field(from, key, "true or false", error);
    *flag = json_is_true(value);
    return ORGAN_OK;
}

static bool is_finite_number(const json_t *value) { return json_is_number(value) && isfinite(json_number_value(value)); }

static bool is_words(const json_t *value)
{
    const size_t count = json_array_size(value);
    for (size_t k = 0; k < count; k++)
        if (!organ_json_plain(json_array_get(value, k)))
            return false;
    return json_is_array(value);
}

/* ---- patterns ---- */

static bool is_plain(const char *key)
{
    for (const char *s = key; *s; s++)
        if (!((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9') || *s == '_' || *s == '.' ||
              (*s == '\\' && s[1] == '.')))
            return false;
    return true;
}

static organ_status compile_pattern(const organ_adapter_patterns *patterns, pattern *p, organ_error *error)
{
    char text[PATTERN_LIMIT + 32];
    int fault;
    PCRE2_SIZE at;
    PCRE2_UCHAR why[128] = "";
    if (p->length > PATTERN_LIMIT)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: %s: a pattern has %zu bytes, more than %u", patterns->label, patterns->field,
                          p->length, PATTERN_LIMIT);
    const int length = snprintf(text, sizeof text, "^(.*\\.)?(%s)$", p->key);
    p->code = pcre2_compile((PCRE2_SPTR)text, (PCRE2_SIZE)length, PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &fault, &at, NULL);
    if (p->code)
        return ORGAN_OK;
    if (fault == PCRE2_ERROR_HEAP_FAILED)
        return organ_fail_errno(error, ENOMEM, "%s: %s: the pattern '%.200s'", patterns->label, patterns->field, p->key);
    pcre2_get_error_message(fault, why, sizeof why);
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: %s: '%.200s' is no pattern: %s", patterns->label, patterns->field, p->key,
                      (const char *)why);
}

static organ_status fill_patterns(const source *from, json_t *object, bool whole, organ_adapter_patterns *patterns, organ_error *error)
{
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        pattern *const p = &patterns->list[patterns->count++];
        *p = (pattern){.key = key, .length = strlen(key), .value = json_number_value(value)};
        if (whole ? !json_is_integer(value) || json_integer_value(value) < 1 || json_integer_value(value) > INT32_MAX
                  : !is_finite_number(value))
            return fail_config_field(from, patterns->field, whole ? "an object of whole numbers above 0" : "an object of numbers", error);
        if (is_plain(key))
            continue;
        patterns->expressions++;
        if (compile_pattern(patterns, p, error) != ORGAN_OK)
            return error->status;
    }
    return ORGAN_OK;
}

static organ_status read_patterns(const source *from, const char *field, bool whole, organ_adapter_patterns **out, organ_error *error)
{
    json_t *const object = json_object_get(from->object, field);
    if (!object || json_is_null(object) || (json_is_object(object) && json_object_size(object) == 0))
        return ORGAN_OK;
    if (!json_is_object(object))
        return fail_config_field(from, field, "an object", error);
    organ_adapter_patterns *const patterns = *out = calloc(1, sizeof *patterns);
    if (!patterns || !(patterns->list = calloc(json_object_size(object), sizeof *patterns->list)) ||
        !(patterns->match = pcre2_match_data_create(1, NULL)) || !(patterns->context = pcre2_match_context_create(NULL)))
        return organ_fail_errno(error, ENOMEM, "%s: %s", from->text->label, field);
    patterns->label = "adapter_config.json";
    patterns->field = field;
    pcre2_set_match_limit(patterns->context, MATCH_LIMIT);
    pcre2_set_depth_limit(patterns->context, MATCH_LIMIT);
    return fill_patterns(from, object, whole, patterns, error);
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

/* A plain pattern against the end of a name, from the right; a dot that is not escaped is any character, as it would be in an expression.
 */
static bool ends_plainly(const pattern *p, const char *module)
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

static organ_status find_value(const organ_adapter_patterns *patterns, const char *module, double *value, organ_error *error)
{
    for (size_t k = 0; patterns && k < patterns->count; k++) {
        const pattern *const p = &patterns->list[k];
        const int result = p->code ? pcre2_match(p->code, (PCRE2_SPTR)module, strlen(module), 0, 0, patterns->match, patterns->context)
                                   : (ends_plainly(p, module) ? 1 : PCRE2_ERROR_NOMATCH);
        if (result >= 0) {
            *value = p->value;
            return ORGAN_OK;
        }
        if (result == PCRE2_ERROR_NOMEMORY)
            return organ_fail_errno(error, ENOMEM, "%s: %s: the pattern '%.200s'", patterns->label, patterns->field, p->key);
        if (result != PCRE2_ERROR_NOMATCH)
            return organ_fail(error, ORGAN_BAD_INPUT, "%s: %s: the pattern '%.200s' takes too long to be matched with '%.200s'",
                              patterns->label, patterns->field, p->key, module);
    }
    return ORGAN_OK;
}

organ_status organ_adapter_config_of(const organ_adapter_config *config, const char *module, int64_t *rank, double *scale,
                                     organ_error *error)
{
    double r = (double)config->r, alpha = config->alpha;
    if (find_value(config->ranks, module, &r, error) != ORGAN_OK || find_value(config->alphas, module, &alpha, error) != ORGAN_OK)
        return error->status;
    *rank = (int64_t)r;
    *scale = alpha / (config->rslora ? sqrt(r) : r);
    return ORGAN_OK;
}

static organ_status check_room(const organ_adapter_patterns *patterns, size_t modules, organ_error *error)
{
    if (!patterns || modules == 0 ||
        (patterns->expressions <= ORGAN_ADAPTER_MATCHES / modules && patterns->count <= WORD_MATCHES / modules))
        return ORGAN_OK;
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: %s has %zu patterns (%zu of them expressions), too many to be matched with %zu modules",
                      patterns->label, patterns->field, patterns->count, patterns->expressions, modules);
}

organ_status organ_adapter_config_room(const organ_adapter_config *config, size_t modules, organ_error *error)
{
    if (check_room(config->ranks, modules, error) != ORGAN_OK)
        return error->status;
    return check_room(config->alphas, modules, error);
}

/* ---- the document ---- */

/* What makes of the factors something else than W + scale B A. */
static organ_status refuse_others(const source *from, organ_error *error)
{
    static const char *const fields[] = {"use_qalora",  "use_bdlora",  "target_parameters", "layer_replication", "alora_invocation_tokens",
                                         "kasa_config", "arrow_config"};
    for (size_t k = 0; k < sizeof fields / sizeof *fields; k++) {
        const json_t *const value = json_object_get(from->object, fields[k]);
        if (value && !json_is_null(value) && !json_is_false(value) && !(json_is_array(value) && json_array_size(value) == 0) &&
            !(json_is_object(value) && json_object_size(value) == 0))
            return organ_fail(error, ORGAN_BAD_INPUT, "%s: %s is set: such an adapter is more than W + scale B A, and not understood",
                              from->text->label, fields[k]);
    }
    return ORGAN_OK;
}

static organ_status read_words(const source *from, organ_error *error)
{
    static const char *const names[] = {"modules_to_save", "target_modules"};
    for (size_t k = 0; k < 2; k++) {
        const json_t *const value = json_object_get(from->object, names[k]);
        if (value && !json_is_null(value) && !is_words(value) && !(k == 1 && organ_json_plain(value)))
            return fail_config_field(from, names[k], k == 1 ? "a string or a list of strings" : "a list of strings", error);
    }
    const json_t *const bias = json_object_get(from->object, "bias");
    const char *const word = organ_json_plain(bias);
    if (bias && !json_is_null(bias) && !(word && (!strcmp(word, "none") || !strcmp(word, "all") || !strcmp(word, "lora_only"))))
        return fail_config_field(from, "bias", "\"none\", \"all\" or \"lora_only\"", error);
    return ORGAN_OK;
}

static organ_status read_numbers(const source *from, organ_adapter_config *config, organ_error *error)
{
    const json_t *const type = json_object_get(from->object, "peft_type"), *const r = json_object_get(from->object, "r");
    const json_t *const alpha = json_object_get(from->object, "lora_alpha");
    const json_t *const base = json_object_get(from->object, "base_model_name_or_path");
    const char *const word = organ_json_plain(type);
    if (!word || strcmp(word, "LORA") != 0)
        return fail_config_field(from, "peft_type", "\"LORA\"", error);
    if (!json_is_integer(r) || json_integer_value(r) < 1 || json_integer_value(r) > INT32_MAX)
        return fail_config_field(from, "r", "a whole number above 0", error);
    if (!is_finite_number(alpha))
        return fail_config_field(from, "lora_alpha", "a number", error);
    if (base && !json_is_null(base) && !organ_json_plain(base))
        return fail_config_field(from, "base_model_name_or_path", "a string", error);
    config->r = json_integer_value(r);
    config->alpha = json_number_value(alpha);
    config->base = organ_json_plain(base) ? organ_json_plain(base) : "";
    return ORGAN_OK;
}

static organ_status read_adapter_config(const source *from, organ_adapter_config *config, organ_error *error)
{
    bool ignored;
    if (!json_is_object(from->object))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: is not an object", from->text->label);
    if (read_numbers(from, config, error) == ORGAN_OK && read_flag(from, "use_rslora", &config->rslora, error) == ORGAN_OK &&
        read_flag(from, "use_dora", &config->dora, error) == ORGAN_OK &&
        read_flag(from, "fan_in_fan_out", &config->fan_in_fan_out, error) == ORGAN_OK &&
        read_flag(from, "lora_bias", &ignored, error) == ORGAN_OK && read_words(from, error) == ORGAN_OK &&
        refuse_others(from, error) == ORGAN_OK && read_patterns(from, "rank_pattern", true, &config->ranks, error) == ORGAN_OK)
        read_patterns(from, "alpha_pattern", false, &config->alphas, error);
    return error->status;
}

organ_status organ_adapter_config_read(const char *path, const char *label, organ_adapter_config *config, organ_error *error)
{
    char *bytes;
    size_t length;
    *config = (organ_adapter_config){.base = ""};
    if (organ_input_load(path, label, CONFIG_LIMIT, &bytes, &length, error) != ORGAN_OK)
        return error->status;
    const organ_json_text text = {label, bytes, length};
    if (organ_json_parse(&text, (organ_json_span){0, length}, NULL, &config->json, error) == ORGAN_OK) {
        const source from = {&text, config->json};
        read_adapter_config(&from, config, error);
    }
    free(bytes);
    return error->status;
}

void organ_adapter_config_release(organ_adapter_config *config)
{
    free_patterns(config->ranks);
    free_patterns(config->alphas);
    json_decref(config->json);
    *config = (organ_adapter_config){.base = ""};
}
