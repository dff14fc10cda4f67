/* SPDX-License-Identifier: MIT
 * Matches names of modules with the rules of a quantisation config. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "formats/weights/quant_config.h"

#include "formats/base/owned.h"

#include <errno.h>
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#define PATTERN_LIMIT 4096u /* upper bound of the bytes of a regular expression */
/* A match is tried with `steps` steps of PCRE2, and again with the next row if that is not enough. Each try adds
 * `charge` to the `charged` of the list of rules, which is bounded by CHARGE_MAX, so that hostile patterns cost
 * seconds at most. Nearly all names need far less than the first 100 steps, so that try is charged less than its
 * limit. */
static const struct allowance {
    uint32_t steps;
    uint64_t charge;
} allowances[] = {{100, 20}, {1000, 1000}, {10000, 10000}, {100000, 100000}};
#define CHARGE_MAX ((uint64_t)300 * 1000 * 1000)

struct organ_rule {
    organ_rule_kind kind;
    const char *text;
    const void *value; /* the caller's value, which is the result for modules that the rule selects */
    pcre2_code *code;  /* compiled text of a regular expression, else NULL */
};

static bool is_regex(organ_rule_kind kind) { return kind == ORGAN_RULE_REGEX || kind == ORGAN_RULE_SEARCH; }

struct organ_rule_buffers {
    pcre2_match_data *match;
    pcre2_match_context *context;
};

static organ_status compile_rule(organ_quant_rules *rules, struct organ_rule *rule, const char *file, const char *field,
                                 organ_error *error)
{
    int fault;
    PCRE2_SIZE at;
    PCRE2_UCHAR why[128] = "";
    const size_t length = strlen(rule->text);
    if (length > PATTERN_LIMIT)
        return organ_refuse(error, file, "%s: a pattern has %zu bytes, more than %u", field, length, PATTERN_LIMIT);
    const uint32_t anchored = rule->kind == ORGAN_RULE_REGEX ? PCRE2_ANCHORED : 0; /* at the beginning only */
    rule->code = pcre2_compile((PCRE2_SPTR)rule->text, length,
                               PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C | anchored, &fault, &at, NULL);
    if (!rule->code && fault == PCRE2_ERROR_HEAP_FAILED)
        return organ_fail_errno(error, ENOMEM, "%s: %s: the pattern '%.200s'", file, field, rule->text);
    if (!rule->code) {
        pcre2_get_error_message(fault, why, sizeof why);
        return organ_refuse(error, file, "%s: '%.200s' is not a valid pattern: %s", field, rule->text,
                            (const char *)why);
    }
    if (rules->buffers)
        return ORGAN_OK;
    struct organ_rule_buffers *const m = rules->buffers = calloc(1, sizeof *m);
    if (!m || !(m->match = pcre2_match_data_create(1, NULL)) || !(m->context = pcre2_match_context_create(NULL)))
        return organ_fail_memory(error, file);
    return ORGAN_OK;
}

/* If there is a rule for this name already, that one stays in use. */
static organ_status add_exact(organ_quant_rules *rules, const char *text, const void *value, const char *file,
                              organ_error *error)
{
    if (!organ_grow(&rules->values, rules->value_count, &rules->value_capacity, sizeof *rules->values) ||
        !organ_name_table_put(&rules->exact, text, rules->value_count))
        return organ_fail_memory(error, file);
    rules->values[rules->value_count++] = value;
    return ORGAN_OK;
}

organ_status organ_quant_rules_add(organ_quant_rules *rules, organ_rule_kind kind, const char *text, const void *value,
                                   const char *file, const char *field, organ_error *error)
{
    if (kind == ORGAN_RULE_EXACT)
        return add_exact(rules, text, value, file, error);
    if (!organ_grow(&rules->rules, rules->count, &rules->capacity, sizeof *rules->rules))
        return organ_fail_memory(error, file);
    struct organ_rule *const rule = &rules->rules[rules->count++];
    *rule = (struct organ_rule){kind, text, value, NULL};
    return is_regex(kind) ? compile_rule(rules, rule, file, field, error) : ORGAN_OK;
}

static int match_rule(const organ_quant_rules *rules, const struct organ_rule *rule, const char *module, uint32_t steps)
{
    pcre2_set_match_limit(rules->buffers->context, steps);
    pcre2_set_depth_limit(rules->buffers->context, steps);
    return pcre2_match(rule->code, (PCRE2_SPTR)module, strlen(module), 0, 0, rules->buffers->match,
                       rules->buffers->context);
}

/* Without limits, a hostile pattern could run for hours: the match is repeated with the next number of steps in
 * `allowances`, and the charge of each try is added to rules->charged. */
static organ_status match_regex_bounded(organ_quant_rules *rules, const struct organ_rule *rule, const char *module,
                                        const char *file, bool *matched, organ_error *error)
{
    int result = PCRE2_ERROR_MATCHLIMIT;
    for (size_t k = 0; k < sizeof allowances / sizeof *allowances && rules->charged < CHARGE_MAX; k++) {
        rules->charged += allowances[k].charge;
        result = match_rule(rules, rule, module, allowances[k].steps);
        if (result != PCRE2_ERROR_MATCHLIMIT && result != PCRE2_ERROR_DEPTHLIMIT)
            break;
    }
    *matched = result >= 0;
    if (result >= 0 || result == PCRE2_ERROR_NOMATCH)
        return ORGAN_OK;
    if (result == PCRE2_ERROR_NOMEMORY)
        return organ_fail_errno(error, ENOMEM, "%s: pattern '%.200s'", file, rule->text);
    return organ_refuse(error, file, "pattern '%.200s' takes too long to match '%.200s'", rule->text, module);
}

/* Backtracks to the last star only, which is enough for globs and keeps the time within pattern length x name
 * length. */
static bool glob_matches(const char *glob, const char *name)
{
    const char *star = NULL, *from = NULL;
    while (*name) {
        if (*glob == '*') {
            star = glob++;
            from = name;
        } else if (*glob == '?' || *glob == *name) {
            glob++;
            name++;
        } else if (star) {
            glob = star + 1;
            name = ++from;
        } else {
            return false;
        }
    }
    while (*glob == '*')
        glob++;
    return *glob == '\0';
}

static bool is_class_of(const char *class, bool embedding)
{
    return embedding ? strstr(class, "Embedding") != NULL
                     : strstr(class, "Linear") != NULL || strstr(class, "Experts") != NULL;
}

static organ_status try_rule(organ_quant_rules *rules, const struct organ_rule *rule, const char *name, bool embedding,
                             const char *file, bool *matched, organ_error *error)
{
    *matched = false;
    if (is_regex(rule->kind))
        return match_regex_bounded(rules, rule, name, file, matched, error);
    if (rule->kind == ORGAN_RULE_GLOB)
        *matched = glob_matches(rule->text, name);
    else if (rule->kind == ORGAN_RULE_PART)
        *matched = strstr(name, rule->text) != NULL;
    else if (rule->kind == ORGAN_RULE_CLASS)
        *matched = is_class_of(rule->text, embedding);
    return ORGAN_OK;
}

static organ_status try_names(organ_quant_rules *rules, const struct organ_rule *rule, const organ_quant_module *module,
                              const char *file, bool *matched, organ_error *error)
{
    if (try_rule(rules, rule, module->name, module->embedding, file, matched, error) == ORGAN_OK && !*matched &&
        module->alias)
        try_rule(rules, rule, module->alias, module->embedding, file, matched, error);
    return error->status;
}

/* Each rule that is tried adds 5 to rules->charged, so that a config with too many patterns for the number of
 * tensors is rejected. */
organ_status organ_quant_rules_find(organ_quant_rules *rules, const organ_quant_module *module, const char *file,
                                    bool *found, const void **value, organ_error *error)
{
    const size_t *exact = organ_name_table_find(&rules->exact, module->name);
    if (!exact && module->alias)
        exact = organ_name_table_find(&rules->exact, module->alias);
    const struct organ_rule *best = NULL;
    for (size_t k = 0; !exact && k < rules->count; k++) {
        const struct organ_rule *const rule = &rules->rules[k];
        bool matched;
        if (best && (rule->kind == ORGAN_RULE_CLASS || best->kind != ORGAN_RULE_CLASS))
            continue;
        rules->charged += 5;
        if (rules->charged > CHARGE_MAX)
            return organ_refuse(error, file, "has %zu patterns, which are too many for so many tensors", rules->count);
        if (try_names(rules, rule, module, file, &matched, error) != ORGAN_OK)
            return error->status;
        if (matched)
            best = rule;
    }
    *found = exact || best;
    *value = best ? best->value : NULL;
    if (exact)
        *value = rules->values[*exact];
    return ORGAN_OK;
}

void organ_quant_rules_release(organ_quant_rules *rules)
{
    for (size_t k = 0; k < rules->count; k++)
        pcre2_code_free(rules->rules[k].code);
    if (rules->buffers) {
        pcre2_match_data_free(rules->buffers->match);
        pcre2_match_context_free(rules->buffers->context);
    }
    ORGAN_FREE_ARRAYS(rules->buffers, rules->rules, rules->values);
    organ_name_table_release(&rules->exact);
    *rules = (organ_quant_rules){0};
}
