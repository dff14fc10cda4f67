/* SPDX-License-Identifier: MIT
 * Reads `tokenizer`, `tokenizer_source` and `chat_template` as mergekit 0.1.5 does. */
#include "orchestrator/verbs/merge/merge_job.h"

#include <string.h>

static organ_status read_source(merge_recipe *r, const organ_yaml *source, organ_error *error)
{
    merge_token_recipe *const t = &r->tokens;
    if (source->kind != ORGAN_YAML_SCALAR || !*source->text)
        return organ_merge_fault(r, source->line, error, "the source of the tokens is not union, base or a model");
    t->line = source->line;
    t->source = MERGE_TOKENS_MODEL;
    if (strcmp(source->text, "union") == 0)
        t->source = MERGE_TOKENS_UNION;
    else if (strcmp(source->text, "base") == 0)
        t->source = MERGE_TOKENS_BASE;
    return t->source == MERGE_TOKENS_MODEL ? organ_merge_donor_named(r, source->text, &t->donor, error) : ORGAN_OK;
}

/* Reads a source that is a map: {kind: zero} or {kind: model_token, model: M, token: T} or with token_id. */
static organ_status read_source_map(merge_recipe *r, const organ_yaml *source, merge_token_rule *rule,
                                    organ_error *error)
{
    static const char *const of_zero[] = {"kind", NULL}, *const of_token[] = {"kind", "model", "token", "token_id",
                                                                              NULL};
    const organ_yaml *const kind = organ_yaml_member(source, "kind"), *const id = organ_yaml_member(source, "token_id");
    const bool zero = kind && kind->kind == ORGAN_YAML_SCALAR && strcmp(kind->text, "zero") == 0;
    const char *model;
    double number;
    if (!kind || kind->kind != ORGAN_YAML_SCALAR || (!zero && strcmp(kind->text, "model_token") != 0))
        return organ_merge_fault(r, source->line, error, "kind is not zero or model_token");
    rule->kind = MERGE_TOKEN_ZERO;
    if (organ_merge_check_keys(r, source, "the source of a token", zero ? of_zero : of_token, error) || zero ||
        organ_merge_text_member(r, source, "model", &model, error) ||
        organ_merge_text_member(r, source, "token", &rule->name, error))
        return error->status;
    if (!model)
        return organ_merge_fault(r, source->line, error, "model is missing");
    if (organ_yaml_is_null(id) == (rule->name == NULL))
        return organ_merge_fault(r, source->line, error, "a model_token has either token or token_id");
    rule->kind = rule->name ? MERGE_TOKEN_NAMED : MERGE_TOKEN_ID;
    if (!rule->name &&
        (!organ_yaml_number(id, &number) || number < 0 || number > 1e9 || number != (double)(uint64_t)number))
        return organ_merge_fault(r, id->line, error, "token_id is not a number from 0 on");
    rule->id = rule->name ? 0 : (uint64_t)number;
    return organ_merge_donor_named(r, model, &rule->donor, error);
}

static organ_status read_rule(merge_recipe *r, const organ_yaml *key, const organ_yaml *map, merge_token_rule *rule,
                              organ_error *error)
{
    static const char *const known[] = {"source", "force", NULL};
    *rule = (merge_token_rule){.token = key->text, .line = key->line, .donor = MERGE_NONE};
    if (!*key->text)
        return organ_merge_fault(r, key->line, error, "a token is empty");
    if (organ_merge_check_keys(r, map, "a token", known, error))
        return error->status;
    const organ_yaml *const source = organ_yaml_member(map, "source"), *const force = organ_yaml_member(map, "force");
    if (!organ_yaml_is_null(force) && !organ_yaml_flag(force, &rule->force))
        return organ_merge_fault(r, force->line, error, "force is neither true nor false");
    if (organ_yaml_is_null(source) || source->kind == ORGAN_YAML_LIST)
        return organ_merge_fault(r, map->line, error,
                                 "source is missing: a model, {kind: zero} or {kind: model_token, ...}");
    if (source->kind == ORGAN_YAML_MAP)
        return read_source_map(r, source, rule, error);
    rule->kind = MERGE_TOKEN_OF_MODEL;
    return organ_merge_donor_named(r, source->text, &rule->donor, error);
}

static organ_status read_rules(merge_recipe *r, const organ_yaml *map, organ_error *error)
{
    merge_token_recipe *const t = &r->tokens;
    if (map->kind != ORGAN_YAML_MAP)
        return organ_merge_fault(r, map->line, error, "tokens is not a map of tokens");
    if (!(t->rules = organ_arena_take(&r->arena, (map->count + 1) * sizeof *t->rules)))
        return organ_fail_memory(error, r->label);
    for (; t->rule_count < map->count && !error->status; t->rule_count++)
        read_rule(r, map->keys[t->rule_count], map->values[t->rule_count], &t->rules[t->rule_count], error);
    return error->status;
}

static organ_status read_section(merge_recipe *r, const organ_yaml *section, organ_error *error)
{
    static const char *const known[] = {"source", "tokens", "pad_to_multiple_of", NULL};
    double number;
    if (organ_merge_check_keys(r, section, "tokenizer", known, error))
        return error->status;
    const organ_yaml *const source = organ_yaml_member(section, "source"),
                            *const tokens = organ_yaml_member(section, "tokens"),
                            *const multiple = organ_yaml_member(section, "pad_to_multiple_of");
    r->tokens.source = MERGE_TOKENS_UNION;
    r->tokens.line = section->line;
    if (!organ_yaml_is_null(multiple)) {
        if (!organ_yaml_number(multiple, &number) || number < 1 || number > 1e6 || number != (double)(uint64_t)number)
            return organ_merge_fault(r, multiple->line, error, "pad_to_multiple_of is not a number from 1 to 1000000");
        r->tokens.multiple = (uint64_t)number;
    }
    if (!organ_yaml_is_null(source) && read_source(r, source, error))
        return error->status;
    return organ_yaml_is_null(tokens) ? ORGAN_OK : read_rules(r, tokens, error);
}

organ_status organ_merge_read_tokens(merge_recipe *r, organ_error *error)
{
    const organ_yaml *const section = organ_yaml_member(r->tree, "tokenizer"),
                            *const source = organ_yaml_member(r->tree, "tokenizer_source"),
                            *const chat = organ_yaml_member(r->tree, "chat_template");
    if (!organ_yaml_is_null(section) && !organ_yaml_is_null(source))
        return organ_merge_fault(r, source->line, error, "tokenizer and tokenizer_source exclude each other");
    if (organ_merge_text_member(r, r->tree, "chat_template", &r->tokens.chat_template, error))
        return error->status;
    r->tokens.chat_line = r->tokens.chat_template ? chat->line : 0;
    if (!organ_yaml_is_null(section))
        return read_section(r, section, error);
    return organ_yaml_is_null(source) ? ORGAN_OK : read_source(r, source, error);
}
