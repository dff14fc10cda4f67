/* SPDX-License-Identifier: MIT
 * Checks names of files, headers of weights, models, and members of configuration files. */
#include "orchestrator/verbs/untrusted/untrusted_parts.h"

#include "formats/base/text.h"
#include "formats/gguf/file.h"
#include "formats/safetensors/safetensors.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utf8proc.h>

/* ---- names ---- */

/* The standard names of files that loaders and readers look for. */
static const char *const standard_names[] = {"config.json",
                                             "generation_config.json",
                                             "model.safetensors",
                                             "model.safetensors.index.json",
                                             "adapter_config.json",
                                             "adapter_model.safetensors",
                                             "tokenizer.json",
                                             "tokenizer_config.json",
                                             "tokenizer.model",
                                             "tekken.json",
                                             "tiktoken.model",
                                             "hy.tiktoken",
                                             "special_tokens_map.json",
                                             "added_tokens.json",
                                             "vocab.json",
                                             "merges.txt",
                                             "vocab.txt",
                                             "chat_template.jinja",
                                             "chat_template.json",
                                             "preprocessor_config.json",
                                             "processor_config.json",
                                             "quantize_config.json",
                                             "README.md",
                                             "LICENSE"};

/* Letters of other scripts that look like Latin ones, after folding of case and compatibility forms: Cyrillic, Greek,
 * Armenian, Cherokee, and special Latin letters; and punctuation that looks like that of file names. */
static const struct {
    uint16_t code;
    char like;
} homoglyphs[] = {
    {0x0430, 'a'}, {0x0432, 'b'}, {0x0433, 'r'}, {0x0435, 'e'}, {0x043A, 'k'}, {0x043C, 'm'}, {0x043D, 'h'},
    {0x043E, 'o'}, {0x043F, 'n'}, {0x0440, 'p'}, {0x0441, 'c'}, {0x0442, 't'}, {0x0443, 'y'}, {0x0445, 'x'},
    {0x0455, 's'}, {0x0456, 'i'}, {0x0458, 'j'}, {0x0475, 'v'}, {0x04AF, 'y'}, {0x04BB, 'h'}, {0x04BD, 'e'},
    {0x04CF, 'l'}, {0x0501, 'd'}, {0x050D, 'g'}, {0x051B, 'q'}, {0x051D, 'w'}, {0x03B1, 'a'}, {0x03B3, 'y'},
    {0x03B5, 'e'}, {0x03B7, 'n'}, {0x03B9, 'i'}, {0x03BA, 'k'}, {0x03BD, 'v'}, {0x03BF, 'o'}, {0x03C1, 'p'},
    {0x03C3, 'o'}, {0x03C4, 't'}, {0x03C5, 'u'}, {0x03C7, 'x'}, {0x03C9, 'w'}, {0x03F3, 'j'}, {0x0561, 'w'},
    {0x0563, 'q'}, {0x0566, 'q'}, {0x0570, 'h'}, {0x0578, 'n'}, {0x057D, 'u'}, {0x0581, 'g'}, {0x0584, 'f'},
    {0x0585, 'o'}, {0x0131, 'i'}, {0x0237, 'j'}, {0x0251, 'a'}, {0x0261, 'g'}, {0x0262, 'g'}, {0x026A, 'i'},
    {0x0280, 'r'}, {0x028F, 'y'}, {0x0299, 'b'}, {0x029C, 'h'}, {0x029F, 'l'}, {0x1D00, 'a'}, {0x1D04, 'c'},
    {0x1D05, 'd'}, {0x1D07, 'e'}, {0x1D0B, 'k'}, {0x1D0D, 'm'}, {0x1D0F, 'o'}, {0x1D18, 'p'}, {0x1D1B, 't'},
    {0x1D1C, 'u'}, {0x1D20, 'v'}, {0x1D21, 'w'}, {0x1D22, 'z'}, {0x01C0, 'l'}, {0x2010, '-'}, {0x2012, '-'},
    {0x2013, '-'}, {0x2014, '-'}, {0x2212, '-'}, {0x2043, '-'}, {0x02D7, '-'}, {0x2024, '.'}, {0x0660, '.'},
    {0x06D4, '.'}, {0x3002, '.'}, {0x2044, '/'}, {0x2215, '/'}, {0x29F8, '/'}, {0x02CD, '_'}, {0x13A0, 'd'},
    {0x13A1, 'r'}, {0x13A2, 't'}, {0x13A5, 'i'}, {0x13AA, 'a'}, {0x13AC, 'e'}, {0x13B3, 'w'}, {0x13B7, 'm'},
    {0x13BB, 'h'}, {0x13BD, 'y'}, {0x13C0, 'g'}, {0x13C2, 'h'}, {0x13C3, 'z'}, {0x13CF, 'b'}, {0x13D2, 'r'},
    {0x13D4, 'w'}, {0x13D5, 's'}, {0x13D9, 'v'}, {0x13DA, 's'}, {0x13DE, 'l'}, {0x13DF, 'c'}, {0x13E2, 'p'},
    {0x13E6, 'k'}, {0x13E7, 'd'}, {0x13F3, 'g'}, {0x13F4, 'b'}};

/* Invisible characters in addition to those that messages omit (organ_utf8_hidden): joiners, fillers, variation
 * selectors, tags. */
static const struct {
    uint32_t first, last;
} invisible[] = {{0x00AD, 0x00AD}, {0x034F, 0x034F},   {0x115F, 0x1160},   {0x17B4, 0x17B5},
                 {0x180B, 0x180F}, {0x200B, 0x200F},   {0x2028, 0x202F},   {0x205F, 0x206F},
                 {0x3164, 0x3164}, {0xFE00, 0xFE0F},   {0xFEFF, 0xFEFF},   {0xFFA0, 0xFFA0},
                 {0xFFF0, 0xFFFB}, {0x1BCA0, 0x1BCA3}, {0x1D173, 0x1D17A}, {0xE0000, 0xE0FFF}};

static bool is_invisible(uint32_t code)
{
    for (size_t k = 0; k < sizeof invisible / sizeof *invisible; k++)
        if (code >= invisible[k].first && code <= invisible[k].last)
            return true;
    return organ_utf8_hidden(code);
}

/* Returns whether the text contains a character that is invisible or changes the direction of writing, or a byte that
 * is no valid UTF-8. Sets *code to the first such character or byte. */
static bool names_hide(const char *text, unsigned *code)
{
    uint32_t one;
    for (size_t length; *text; text += length) {
        length = organ_utf8_decode((const unsigned char *)text, &one);
        if (length == 0 || is_invisible(one)) {
            *code = length ? one : (unsigned char)*text;
            return true;
        }
    }
    return false;
}

static char latin_lookalike(int32_t code)
{
    for (size_t k = 0; k < sizeof homoglyphs / sizeof *homoglyphs; k++)
        if (homoglyphs[k].code == code)
            return homoglyphs[k].like;
    return 0;
}

/* Returns the name as a person reads it: case and compatibility forms are folded, lookalikes replaced, and with `bare`
 * accents removed. Returns NULL if another character remains, or if memory runs out; the caller frees the text.
 * *foreign becomes the first lookalike, 0 if there is none. */
static char *ascii_appearance(const char *name, bool bare, int32_t *foreign)
{
    utf8proc_uint8_t *folded = NULL;
    const utf8proc_option_t options = UTF8PROC_NULLTERM | UTF8PROC_COMPAT | UTF8PROC_CASEFOLD |
                                      (bare ? UTF8PROC_DECOMPOSE | UTF8PROC_STRIPMARK : UTF8PROC_COMPOSE);
    const utf8proc_ssize_t length = utf8proc_map((const utf8proc_uint8_t *)name, 0, &folded, options);
    *foreign = 0;
    if (length < 0) {
        if (length == UTF8PROC_ERROR_NOMEM)
            organ_memory_count_refusal();
        return NULL;
    }
    size_t made = 0;
    for (utf8proc_ssize_t at = 0, step; at < length; at += step) {
        utf8proc_int32_t code;
        step = utf8proc_iterate(folded + at, length - at, &code);
        const char instead = code < 0x80 ? (char)code : latin_lookalike(code);
        if (step <= 0 || !instead) {
            free(folded);
            return NULL;
        }
        if (code >= 0x80 && !*foreign)
            *foreign = code;
        folded[made++] = (utf8proc_uint8_t)instead;
    }
    folded[made] = 0;
    return (char *)folded;
}

/* Characters and pairs become a letter that they resemble, such as "rn" "m", so that names that look alike become
 * equal. The text never becomes longer. */
static void fold_ascii(char *text)
{
    static const struct {
        const char *text;
        char as;
    } pairs[] = {{"rn", 'm'}, {"vv", 'w'}, {"cl", 'd'}, {"0", 'o'}, {"1", 'l'}, {"i", 'l'}, {"|", 'l'}, {"5", 's'}};
    char *to = text;
    for (const char *from = text; *from; to++) {
        size_t length = 1;
        char as = *from;
        for (size_t k = 0; k < sizeof pairs / sizeof *pairs; k++)
            if (as == *from && strncmp(from, pairs[k].text, strlen(pairs[k].text)) == 0) {
                as = pairs[k].as;
                length = strlen(pairs[k].text);
            }
        *to = as;
        from += length;
    }
    *to = 0;
}

/* Names that differ only in case count as equal and do not resemble each other. *of becomes the standard name, if there
 * is one, *foreign the first lookalike, 0 if all characters are ASCII. */
static bool resembles_standard_name(const char *name, const char **of, int32_t *foreign)
{
    int32_t none;
    bool found = false;
    ORGAN_OWNED char *const appearance = ascii_appearance(name, /*bare=*/true, foreign);
    if (appearance)
        fold_ascii(appearance);
    for (size_t k = 0; appearance && !found && k < sizeof standard_names / sizeof *standard_names; k++) {
        ORGAN_OWNED char *const other = ascii_appearance(standard_names[k], /*bare=*/true, &none);
        if (other)
            fold_ascii(other);
        found = other && strcmp(appearance, other) == 0 && strcasecmp(name, standard_names[k]) != 0;
        if (found)
            *of = standard_names[k];
    }
    return found;
}

static bool is_ascii(const char *text)
{
    while (*text && (unsigned char)*text < 0x80)
        text++;
    return *text == 0;
}

/* A name in a single script is not misleading. */
static void check_scripts(organ_findings *findings, const char *name)
{
    int32_t foreign;
    bool latin = false;
    ORGAN_OWNED char *const appearance = is_ascii(name) ? NULL : ascii_appearance(name, /*bare=*/false, &foreign);
    for (const char *c = name; *c; c++)
        latin |= isalpha((unsigned char)*c) != 0;
    if (appearance && foreign && latin)
        organ_findings_add(findings, ORGAN_FINDING_NAME, "",
                           "it reads '%s', but has the letter U+%04X, which only looks like '%c'", appearance,
                           (unsigned)foreign, latin_lookalike(foreign));
}

/* The characters of the name have at most one finding, a space or a dot at its ends another. */
void organ_names_check(organ_findings *findings, const char *name)
{
    const char *of = NULL;
    int32_t foreign = 0;
    unsigned code;
    if (!organ_utf8_valid(name))
        organ_findings_add(findings, ORGAN_FINDING_NAME, "", "the name is not valid UTF-8");
    else if (names_hide(name, &code))
        organ_findings_add(findings, ORGAN_FINDING_NAME, "",
                           "the name has U+%04X, which is invisible or changes the writing direction", code);
    else if (resembles_standard_name(name, &of, &foreign) && foreign)
        organ_findings_add(findings, ORGAN_FINDING_NAME, "", "the name looks like '%s', but has U+%04X", of,
                           (unsigned)foreign);
    else if (of)
        organ_findings_add(findings, ORGAN_FINDING_NAME, "", "the name looks like '%s' but differs", of);
    else
        check_scripts(findings, name);
    if (*name == ' ' || (*name && name[strlen(name) - 1] == ' ') || (*name && name[strlen(name) - 1] == '.'))
        organ_findings_add(findings, ORGAN_FINDING_NAME, "", "the name begins or ends with a space or ends with a dot");
}

/* ---- headers and models ---- */

/* Largest general.alignment, in bytes, that is no finding; real files have 32. */
enum { ALIGNMENT_MAX = 1 << 24 };

/* Bytes of the length before a string of GGUF. */
enum { LENGTH_BYTES = 8 };

static void add_tensor_fault(void *context, const char *message)
{
    organ_error fault = {.status = ORGAN_BAD_INPUT};
    memcpy(fault.message, message, strlen(message) + 1);
    organ_findings_add_error(context, ORGAN_FINDING_TENSOR, &fault);
}

static void check_tensor_names(organ_findings *findings, const organ_tensor_list *list)
{
    unsigned code;
    for (size_t k = 0; k < list->count; k++)
        if (names_hide(list->tensors[k].name, &code))
            organ_findings_add(findings, ORGAN_FINDING_NAME, "",
                               "the name of tensor '%.200s' has U+%04X, which is invisible", list->tensors[k].name,
                               code);
}

void organ_weights_check_safetensors(organ_findings *findings, int fd, uint64_t size)
{
    organ_model_file file = {.name = findings->file, .path = findings->file, .fd = fd, .size = size};
    const organ_faults faults = {add_tensor_fault, findings};
    organ_tensor_list list = {0};
    organ_error error = {0};
    organ_safetensors_survey(&file, 0, &list, &faults, &error);
    organ_findings_add_error(findings, ORGAN_FINDING_HEADER, &error);
    check_tensor_names(findings, &list);
    organ_tensor_list_release(&list);
}

static void check_templates(organ_findings *findings, const organ_gguf *gguf)
{
    static const char key[] = "tokenizer.chat_template";
    for (size_t k = 0; k < gguf->kv_count; k++)
        if (strncmp(gguf->kvs[k].key, key, sizeof key - 1) == 0 && gguf->kvs[k].type == ORGAN_GGUF_STRING)
            organ_template_check(findings, gguf->kvs[k].key, (const char *)gguf->kvs[k].bytes + LENGTH_BYTES,
                                 gguf->kvs[k].size - LENGTH_BYTES);
}

void organ_weights_check_gguf(organ_findings *findings, int fd, uint64_t size, bool data)
{
    organ_model_file file = {.name = findings->file, .path = findings->file, .fd = fd, .size = size};
    const organ_faults faults = {add_tensor_fault, findings};
    ORGAN_RELEASED_BY(organ_gguf_header_release) organ_gguf_header header = {0};
    organ_tensor_list list = {0};
    organ_error error = {0};
    if (data)
        organ_gguf_survey(&file, 0, &header, &list, &faults, &error);
    else
        organ_gguf_read_header(&file, 0, &header, &list, &error);
    organ_findings_add_error(findings, ORGAN_FINDING_HEADER, &error);
    check_tensor_names(findings, &list);
    if (header.view.alignment > ALIGNMENT_MAX)
        organ_findings_add(findings, ORGAN_FINDING_HEADER, "general.alignment",
                           "%llu: readers that pad sizes to multiples of it overflow",
                           (unsigned long long)header.view.alignment);
    check_templates(findings, &header.view);
    organ_growth_check_gguf(findings, &header.view);
    organ_tensor_list_release(&list);
}

/* Adds the message unless a finding has it already. */
static void add_once(organ_findings *findings, const char *message)
{
    organ_error fault = {.status = ORGAN_BAD_INPUT};
    if (organ_findings_have(findings, message))
        return;
    memcpy(fault.message, message, strnlen(message, sizeof fault.message - 1));
    organ_findings_add_error(findings, ORGAN_FINDING_MODEL, &fault);
}

void organ_weights_check_index(organ_findings *findings, const char *path, const char *folder)
{
    organ_error error = {0};
    organ_shards shards = {0};
    if (organ_shards_read(path, findings->file, &shards, &error) != ORGAN_OK)
        organ_findings_add_error(findings, ORGAN_FINDING_MODEL, &error);
    for (size_t k = 0; k < shards.file_count && !error.status; k++) {
        ORGAN_OWNED char *const shard = organ_format("%s/%s", folder, shards.files[k]);
        if (shard && access(shard, F_OK) != 0)
            organ_findings_add(findings, ORGAN_FINDING_MODEL, "", "names '%s', which does not exist", shards.files[k]);
    }
    organ_shards_release(&shards);
}

void organ_weights_check_model(organ_findings *findings, const char *path)
{
    organ_error error = {0};
    organ_model *model = NULL;
    organ_model_open(path, &model, &error);
    if (error.status == ORGAN_BAD_INPUT)
        add_once(findings, error.message);
    else
        organ_findings_add_error(findings, ORGAN_FINDING_MODEL, &error);
    for (size_t k = 0; model && k < model->problem_count; k++)
        add_once(findings, model->problems[k]);
    for (size_t k = 0; model && k < model->warning_count; k++)
        add_once(findings, model->warnings[k]);
    organ_model_close(model);
}

/* ---- members of configuration files ---- */

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
    ORGAN_OWNED_JSON json_t *const value = length > STRICT_BYTES
                                               ? NULL
                                               : organ_json_load(key->text->bytes + key->value, length,
                                                                 JSON_DECODE_ANY | JSON_ALLOW_NUL, &fault, &no_memory);
    if (value)
        check(findings, key, value);
    else
        organ_findings_add(findings, ORGAN_FINDING_CONFIG, key->path, "it cannot be read, or is longer than %zu bytes",
                           STRICT_BYTES);
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
    ORGAN_OWNED_JSON json_t *tree = NULL;
    if (text->length <= STRICT_BYTES &&
        organ_json_parse(text, (organ_json_span){0, text->length}, NULL, &tree, &error) != ORGAN_OK)
        organ_findings_add_error(findings, ORGAN_FINDING_CONFIG, &error);
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
