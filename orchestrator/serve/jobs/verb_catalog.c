/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/jobs/jobs_parts.h"

#include "formats/base/plain_numbers.h"
#include "formats/base/text.h"
#include "orchestrator/command/exits.h"
#include "orchestrator/report/text/report_text.h"

#include <stdlib.h>
#include <string.h>

/* ---- verbs and options of jobs ---- */

bool organ_verb_is_job(const organ_verb *verb) { return organ_verb_option(verb, "json") != NULL && !verb->no_job; }

const organ_verb *organ_job_verb(const organ_verb *const *verbs, size_t count, const char *name)
{
    for (size_t k = 0; k < count; k++)
        if (organ_verb_is_job(verbs[k]) && organ_verb_is_named(verbs[k], name))
            return verbs[k];
    return NULL;
}

/* Clients must not set --help, options that the server sets itself or replaces by a route (--html), and those for
 * requests to other servers (--header). */
static bool is_hidden_option(const organ_option *option)
{
    static const char *const names[] = {"help", "json", "csv", "quiet", "progress", "html", "header", NULL};
    return organ_is_one_of(option->name, names);
}

const organ_option *organ_job_option(const organ_verb *verb, size_t k)
{
    const organ_option *option;
    for (size_t at = 0; (option = organ_verb_option_at(verb, at)) && (is_hidden_option(option) || k-- > 0);)
        at++;
    return option;
}

const char *organ_operand_key(const organ_operand *operand, char key[64])
{
    snprintf(key, 64, "%.*s", (int)strcspn(operand->name, "."), operand->name);
    return key;
}

organ_option organ_job_operand(const organ_operand *operand, char key[64])
{
    organ_option option = organ_operand_as_option(operand);
    option.name = organ_operand_key(operand, key);
    return option;
}

/* ---- schemas ---- */

/* Patterns of the paths that the jail accepts: segments that are not empty, do not begin with a dot, and contain no
 * backslashes and no control characters. */
#define SEGMENT "[^./\\\\\\u0000-\\u001f\\u007f][^/\\\\\\u0000-\\u001f\\u007f]*"
#define PATH    SEGMENT "(/" SEGMENT ")*"

static json_t *path_schema(organ_names names)
{
    static const char *const about[] = {[ORGAN_NAMES_MODEL] = "path of a model below the root, or its name in a cache",
                                        [ORGAN_NAMES_INPUT] = "path of a file or directory below the root",
                                        [ORGAN_NAMES_OUTPUT] =
                                            "path of the output below the root; its parent directory must exist"};
    return json_pack("{s:s, s:i, s:i, s:s, s:s}", "type", "string", "minLength", 1, "maxLength", 500, "pattern",
                     names == ORGAN_NAMES_OUTPUT ? "^" PATH "$" : "^(\\.|" PATH ")$", "description", about[names]);
}

/* A text that is no path has 1 to 4000 characters without NUL, as plain_text in job_arguments.c. */
static json_t *plain_schema(void)
{
    return json_pack("{s:s, s:i, s:i, s:s}", "type", "string", "minLength", 1, "maxLength", 4000, "pattern",
                     "^[^\\u0000]+$");
}

static json_t *text_schema(organ_names names)
{
    return names == ORGAN_NAMES_NOTHING ? plain_schema() : path_schema(names);
}

static json_t *words_schema(organ_names names, unsigned least)
{
    return json_pack("{s:s, s:i, s:i, s:o}", "type", "array", "minItems", (int)(least ? least : 1), "maxItems",
                     ORGAN_MAX_WORDS, "items", text_schema(names));
}

static json_t *choices_array(const organ_option *option)
{
    json_t *const array = json_array();
    char choice[ORGAN_LONGEST_CHOICE];
    for (size_t k = 0; array && organ_option_choice(option, k, choice); k++)
        json_array_append_new(array, json_string(choice));
    return array;
}

/* A number as the option has it: only a REAL may have decimals. */
static json_t *option_number(const organ_option *option, double value)
{
    return option->value == ORGAN_VALUE_REAL ? json_real(value) : json_integer((json_int_t)value);
}

static json_t *range_schema(const organ_option *option)
{
    const organ_range *const range = &option->range;
    return ORGAN_OBJECT(SET_TEXT("type", option->value == ORGAN_VALUE_REAL ? "number" : "integer"),
                        SET(option->after_from ? "exclusiveMinimum" : "minimum", option_number(option, range->from)),
                        SET(option->before_to ? "exclusiveMaximum" : "maximum", option_number(option, range->to)));
}

static json_t *number_schema(const organ_option *option)
{
    return option->automatic ? json_pack("{s:[o, {s:s}]}", "anyOf", range_schema(option), "const", ORGAN_AUTOMATIC)
                             : range_schema(option);
}

/* An amount is a number, or a text like "512M", for some options also "auto". A JSON Schema cannot limit the amount in
 * a text, so the pattern allows only 10M to 9999M and 1G to 999G, which are in the range of every option. */
static json_t *bytes_schema(const organ_option *option)
{
    return json_pack("{s:[o, {s:s, s:s}]}", "anyOf", range_schema(option), "type", "string", "pattern",
                     option->automatic ? "^[1-9]([0-9]{0,2}[gG]|[0-9]{1,3}[mM])([iI]?[bB])?$|^" ORGAN_AUTOMATIC "$"
                                       : "^[1-9]([0-9]{0,2}[gG]|[0-9]{1,3}[mM])([iI]?[bB])?$");
}

static json_t *fallback_value(const organ_option *option)
{
    if (option->value == ORGAN_VALUE_COUNT)
        return json_integer(strtoll(option->fallback, NULL, 10));
    return option->value == ORGAN_VALUE_REAL ? json_real(organ_strtod(option->fallback, NULL))
                                             : json_string(option->fallback);
}

static json_t *option_schema(const organ_verb *verb, const organ_option *option)
{
    char about[2048];
    json_t *schema = NULL;
    if (option->value == ORGAN_VALUE_FLAG)
        schema = json_pack("{s:s}", "type", "boolean");
    else if (option->value == ORGAN_VALUE_TEXT && option->choices && !option->open)
        schema = json_pack("{s:s, s:o}", "type", "string", "enum", choices_array(option));
    else if (option->value == ORGAN_VALUE_TEXT)
        schema = text_schema(option->names);
    else if (option->value == ORGAN_VALUE_WORDS)
        schema = words_schema(option->names, option->takes);
    else
        schema = option->value == ORGAN_VALUE_BYTES ? bytes_schema(option) : number_schema(option);
    snprintf(about, sizeof about, "%s", option->help);
    organ_option_describe_needs(verb, option, about, sizeof about);
    return organ_json_joined(schema, ORGAN_OBJECT(SET_IF(option->fallback, "default", fallback_value(option)),
                                                  SET_TEXT("description", about)));
}

static json_t *arguments_schema(const organ_verb *verb)
{
    json_t *const properties = json_object(), *const required = json_array(), *const together = json_object();
    char key[64], before[64] = "";
    for (size_t k = 0; k < verb->operand_count; k++) {
        const organ_option operand = organ_job_operand(&verb->operands[k], key);
        json_object_set_new(properties, key, option_schema(verb, &operand));
        if (operand.required)
            json_array_append_new(required, json_string(key));
        else if (k > 0) /* an operand cannot be given without the one before it */
            json_object_set_new(together, key, json_pack("[s]", before));
        strcpy(before, key);
    }
    const organ_option *option;
    for (size_t k = 0; (option = organ_job_option(verb, k)); k++) {
        json_object_set_new(properties, option->name, option_schema(verb, option));
        if (option->required)
            json_array_append_new(required, json_string(option->name));
    }
    return json_pack("{s:s, s:o, s:o, s:o, s:b}", "type", "object", "properties", properties, "required", required,
                     "dependentRequired", together, "additionalProperties", 0);
}

json_t *organ_verb_request_schema(const organ_verb *verb)
{
    return json_pack("{s:s, s:s, s:{s:{s:s}, s:o}, s:[s, s], s:b}", "type", "object", "description", verb->summary,
                     "properties", "verb", "const", verb->name, "arguments", arguments_schema(verb), "required", "verb",
                     "arguments", "additionalProperties", 0);
}

/* ---- descriptions ---- */

static json_t *describe_in_brief(const organ_verb *verb)
{
    return json_pack("{s:s, s:s, s:b, s:b}", "name", verb->name, "summary", verb->summary, "resumable",
                     organ_verb_option(verb, "resume") != NULL, "dry_run", organ_verb_option(verb, "dry-run") != NULL);
}

json_t *organ_verb_list(const organ_verb_table *table)
{
    json_t *list = json_array();
    const char *section = "";
    for (size_t k = 0; list && k < table->count; k++) {
        const char *const title = organ_verb_section_at(table, table->verbs[k]);
        section = title ? title : section;
        if (!organ_verb_is_job(table->verbs[k]))
            continue;
        json_t *const verb =
            organ_json_joined(describe_in_brief(table->verbs[k]), ORGAN_OBJECT(SET_TEXT("section", section)));
        if (json_array_append_new(list, verb) != 0)
            organ_clear_json(&list); /* out of memory */
    }
    return list;
}

static const char *names_word(organ_names names)
{
    static const char *const words[] = {[ORGAN_NAMES_NOTHING] = "nothing",
                                        [ORGAN_NAMES_MODEL] = "model",
                                        [ORGAN_NAMES_INPUT] = "input",
                                        [ORGAN_NAMES_OUTPUT] = "output"};
    return words[names];
}

static json_t *describe_operands(const organ_verb *verb)
{
    json_t *const list = json_array();
    char key[64];
    for (size_t k = 0; list && k < verb->operand_count; k++) {
        const organ_operand *const operand = &verb->operands[k];
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:b, s:b}", "name", organ_operand_key(operand, key),
                                              "help", operand->help, "names", names_word(operand->names), "required",
                                              !operand->optional, "repeats", organ_operand_repeats(operand)));
    }
    return list;
}

static json_t *describe_option(const organ_verb *verb, const organ_option *option)
{
    static const char *const kinds[] = {
        [ORGAN_VALUE_FLAG] = "flag",   [ORGAN_VALUE_TEXT] = "text", [ORGAN_VALUE_WORDS] = "words",
        [ORGAN_VALUE_COUNT] = "count", [ORGAN_VALUE_REAL] = "real", [ORGAN_VALUE_BYTES] = "bytes"};
    char allowed[160], needs[ORGAN_REQUIREMENT_ROOM] = "";
    organ_option_describe_needs(verb, option, needs, sizeof needs);
    organ_option_allows(option, allowed, sizeof allowed);
    const organ_range *const range = option->value >= ORGAN_VALUE_COUNT ? &option->range : NULL;
    return ORGAN_OBJECT(
        SET_TEXT("name", option->name), SET_TEXT("kind", kinds[option->value]), SET_TEXT("help", option->help),
        SET_TEXT("names", names_word(option->names)), SET_FLAG("required", option->required),
        SET_TEXT("allowed", allowed), SET_IF(*needs, "needs", json_string(needs)),
        SET_IF(option->letter, "letter", json_stringn(&option->letter, 1)),
        SET_IF(option->argument, "argument", json_string(option->argument)),
        SET_IF(option->fallback, "default", fallback_value(option)),
        SET_IF(option->choices && !option->open, "choices", choices_array(option)),
        SET_IF(option->takes, "takes", json_integer(option->takes)),
        SET_IF(option->automatic, "automatic", json_string(ORGAN_AUTOMATIC)),
        SET_IF(range, "range",
               ORGAN_OBJECT(SET("from", option_number(option, range->from)),
                            SET("to", option_number(option, range->to)), SET_FLAG("after_from", option->after_from),
                            SET_FLAG("before_to", option->before_to))));
}

static json_t *describe_groups(const organ_verb *verb)
{
    json_t *const list = json_array();
    for (size_t g = 0; list && g < verb->group_count; g++) {
        ORGAN_OWNED_JSON json_t *const options = json_array();
        for (size_t k = 0; k < verb->groups[g].count; k++)
            if (!is_hidden_option(&verb->groups[g].options[k]))
                json_array_append_new(options, describe_option(verb, &verb->groups[g].options[k]));
        if (json_array_size(options) > 0)
            json_array_append_new(list, json_pack("{s:s, s:O}", "title", verb->groups[g].title, "options", options));
    }
    return list;
}

static json_t *describe_exits(const organ_verb *verb)
{
    char text[ORGAN_EXITS * (ORGAN_EXIT_ROOM + 8)] = "", meaning[ORGAN_EXIT_ROOM];
    for (size_t k = 0, used = 0; k < ORGAN_EXITS; k++)
        if (organ_exit_of_verb(verb, k, meaning))
            used += (size_t)snprintf(text + used, sizeof text - used, "%s%d %s", used ? "; " : "", organ_exits[k].code,
                                     meaning);
    return json_string(text);
}

json_t *organ_verb_describe(const organ_verb *verb)
{
    json_t *const examples = json_array();
    for (size_t k = 0; k < verb->example_count; k++)
        json_array_append_new(
            examples, json_pack("{s:s, s:s}", "command", verb->examples[k].command, "does", verb->examples[k].does));
    return organ_json_joined(describe_in_brief(verb),
                             ORGAN_OBJECT(SET_TEXT("about", verb->about), SET("exits", describe_exits(verb)),
                                          SET("operands", describe_operands(verb)),
                                          SET("groups", describe_groups(verb)), SET("examples", examples),
                                          SET("schema", arguments_schema(verb))));
}
