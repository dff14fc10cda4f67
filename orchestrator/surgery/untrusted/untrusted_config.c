/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/untrusted/untrusted_config.h"

#include <organ/base.h>
#include "orchestrator/surgery/untrusted/json_keys.h"
#include "orchestrator/surgery/untrusted/template.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Bytes of the largest file that must be strict JSON, and of the largest value of a member that is checked. Larger
 * files are vocabularies and indexes, which have their own checks. */
#define STRICT_BYTES ((size_t)1 << 20)

typedef void key_check(organ_findings *findings, const organ_json_key *key, const json_t *value);

static void value_excerpt(const organ_json_key *key, char out[100])
{
    const size_t length = organ_json_value_end(key->text, key->value, STRICT_BYTES + 1) - key->value;
    snprintf(out, 100, "%.*s%s", (int)(length > 80 ? 80 : length), key->text->bytes + key->value,
             length > 80 ? "..." : "");
}

/* Loaders that trust the model import the code that the value names. null and an empty object are no finding. */
static void check_auto_map(organ_findings *findings, const organ_json_key *key, const json_t *value)
{
    char text[100];
    value_excerpt(key, text);
    if (!json_is_null(value) && !(json_is_object(value) && json_object_size(value) == 0))
        organ_findings_add(findings, ORGAN_FINDING_REMOTE_CODE, key->path, "it names Python code to load: %s", text);
}

static void check_remote_code(organ_findings *findings, const organ_json_key *key, const json_t *value)
{
    if (!json_is_false(value) && !json_is_null(value))
        organ_findings_add(findings, ORGAN_FINDING_REMOTE_CODE, key->path, "it makes the loader run code of the model");
}

/* peft imports the module that the member names, which runs its code; modules of transformers are no finding. */
static void check_parent_module(organ_findings *findings, const organ_json_key *key, const json_t *value)
{
    const char *const module = json_string_value(value);
    if (module && strncmp(module, "transformers.", 13) != 0 && strcmp(module, "transformers") != 0)
        organ_findings_add(findings, ORGAN_FINDING_REMOTE_CODE, key->path, "peft would import the module '%.100s'",
                           module);
}

static void check_template_string(organ_findings *findings, const char *where, const json_t *value)
{
    if (json_is_string(value))
        organ_template_check(findings, where, json_string_value(value), json_string_length(value));
}

/* The value is a string, a list of strings or of {"name", "template"}, or an object that maps names to templates. */
static void check_chat_template(organ_findings *findings, const organ_json_key *key, const json_t *value)
{
    char where[500];
    size_t k;
    const char *name;
    json_t *one;
    check_template_string(findings, key->path, value);
    json_array_foreach(value, k, one)
    {
        const char *const called = json_string_value(json_object_get(one, "name"));
        snprintf(where, sizeof where, "%s '%.80s'", key->path, called ? called : "");
        check_template_string(findings, where, json_is_string(one) ? one : json_object_get(one, "template"));
    }
    json_object_foreach((json_t *)(uintptr_t)value, name, one)
    {
        snprintf(where, sizeof where, "%s '%.80s'", key->path, name);
        check_template_string(findings, where, one);
    }
}

/* Members that loaders act on, at any depth of a JSON file, with the function that checks their value. */
static const struct {
    const char *name;
    key_check *check;
} loader_members[] = {{"auto_map", check_auto_map},
                      {"custom_pipelines", check_auto_map},
                      {"_target_", check_auto_map},
                      {"custom_code", check_auto_map},
                      {"trust_remote_code", check_remote_code},
                      {"parent_library", check_parent_module},
                      {"chat_template", check_chat_template},
                      {"chat_templates", check_chat_template},
                      {"default_chat_template", check_chat_template},
                      {"tool_use_template", check_chat_template}};

/* Largest number of members of a file that are checked because their names are in loader_members. Real files have a
 * handful; a nested member is parsed again for each of these members around it, which takes quadratic time. */
enum { KEYS_MAX = 1000 };

typedef struct config_reading {
    organ_findings *findings;
    size_t count; /* number of members in loader_members that were found so far */
} config_reading;

static void config_check_key(organ_findings *findings, const organ_json_key *key, key_check *check)
{
    json_error_t fault;
    bool no_memory;
    const size_t length = organ_json_value_end(key->text, key->value, STRICT_BYTES + 1) - key->value;
    json_t *const value = length > STRICT_BYTES ? NULL
                                                : organ_json_load(key->text->bytes + key->value, length,
                                                                  JSON_DECODE_ANY | JSON_ALLOW_NUL, &fault, &no_memory);
    if (value)
        check(findings, key, value);
    else
        organ_findings_add(findings, ORGAN_FINDING_CONFIG, key->path, "it cannot be read, or is longer than %zu bytes",
                           STRICT_BYTES);
    json_decref(value);
}

static void check_key_of(void *context, const organ_json_key *key)
{
    config_reading *const r = context;
    for (size_t k = 0; k < sizeof loader_members / sizeof *loader_members; k++)
        if (strcmp(loader_members[k].name, key->name) == 0 && r->count++ < KEYS_MAX)
            config_check_key(r->findings, key, loader_members[k].check);
}

void organ_config_check(organ_findings *findings, const organ_json_source *text)
{
    organ_error error = {0};
    json_t *tree = NULL;
    if (text->length <= STRICT_BYTES &&
        organ_json_parse(text, (organ_json_span){0, text->length}, NULL, &tree, &error) != ORGAN_OK)
        organ_findings_add_error(findings, ORGAN_FINDING_CONFIG, &error);
    json_decref(tree);
    config_reading r = {.findings = findings};
    organ_json_keys(text, check_key_of, &r);
    if (r.count > KEYS_MAX)
        organ_findings_add(findings, ORGAN_FINDING_UNREAD, "",
                           "%zu keys that loaders act on; the first %d were examined", r.count, KEYS_MAX);
}

/* The text is searched for three strings; YAML is not parsed. */
void organ_yaml_check(organ_findings *findings, const char *text, size_t length)
{
    static const struct {
        const char *mark, *what;
    } marks[] = {{"!!python", "the tag '!!python' creates Python objects"},
                 {"_target_:", "the key '_target_' names Python code to call"},
                 {"trust_remote_code: true", "it makes the loader run code of the model"}};
    for (size_t k = 0; k < sizeof marks / sizeof *marks; k++)
        if (memmem(text, length, marks[k].mark, strlen(marks[k].mark)))
            organ_findings_add(findings, ORGAN_FINDING_REMOTE_CODE, "", "%s", marks[k].what);
}
