/* SPDX-License-Identifier: MIT
 * Converts what describes a model: a GGUF file has it in general.* and in the ids of special tokens, a safetensors
 * model in README.md (the model card) and in generation_config.json. That is the name, the licence, languages, settings
 * of sampling and the tokens that end a text. The first lines of a model card are YAML between two lines "---". Names
 * of keys and members are those of gguf-py (metadata.py). */
#include "orchestrator/surgery/convert/convert_parts.h"

#include "formats/base/json.h"
#include "formats/base/plain_numbers.h"
#include "formats/base/text.h"
#include "formats/safetensors/safetensors.h"
#include "orchestrator/output/facts.h"

#include <float.h>
#include <math.h>
#include <organ/base.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CARD_LIMIT = 16 << 20 }; /* largest size, in bytes, of README.md */

/* Keys of GGUF and the members of the model card with the same meaning; a list in the card is an array of strings in
 * GGUF. `other` is a second name of the member, which is read. */
static const struct {
    const char *key, *member, *other;
    bool list;
} cards[] = {{"general.name", "model_name", "name", false},
             {"general.author", "author", "model_creator", false},
             {"general.version", "version", "model_version", false},
             {"general.organization", "organization", "model_organization", false},
             {"general.finetune", "finetune", "model_finetune", false},
             {"general.basename", "basename", "model_basename", false},
             {"general.description", "description", "model_description", false},
             {"general.size_label", "size_label", "model_size_label", false},
             {"general.license", "license", NULL, false},
             {"general.license.name", "license_name", NULL, false},
             {"general.license.link", "license_link", NULL, false},
             {"general.source.url", "url", "model_url", false},
             {"general.source.repo_url", "repo_url", "model_repo_url", false},
             {"general.tags", "tags", NULL, true},
             {"general.languages", "language", "languages", true}};
enum { CARDS = sizeof cards / sizeof *cards, CARD_NAME = 0 };

static const struct {
    const char *key, *member;
    organ_gguf_type type;
} samplings[] = {{"general.sampling.temp", "temperature", ORGAN_GGUF_F32},
                 {"general.sampling.top_k", "top_k", ORGAN_GGUF_I32},
                 {"general.sampling.top_p", "top_p", ORGAN_GGUF_F32},
                 {"general.sampling.min_p", "min_p", ORGAN_GGUF_F32},
                 {"general.sampling.penalty_repeat", "repetition_penalty", ORGAN_GGUF_F32}};
enum { SAMPLINGS = sizeof samplings / sizeof *samplings };

/* ---- from GGUF: ids of tokens, generation_config.json ---- */

json_t *organ_convert_real(double value)
{
    char text[40];
    for (int digits = 1; digits <= 9; digits++) {
        organ_snprintf(text, sizeof text, "%.*g", digits, value);
        if (organ_strtof(text, NULL) == (float)value)
            break;
    }
    return json_real(organ_strtod(text, NULL));
}

static int64_t card_id(const organ_convert_job *job, const char *key)
{
    const int64_t id = organ_gguf_integer(job->model->gguf, key, -1);
    return id >= 0 && (uint64_t)id < job->config.vocabulary ? id : -1;
}

/* An id that card_id does not find is null. eos_token_id is a list if the file also has ids of EOT or EOM, which end
 * a text too. */
int organ_convert_put_ids(const organ_convert_job *job, json_t *config)
{
    static const char *const ends[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    const int64_t bos = card_id(job, "tokenizer.ggml.bos_token_id"),
                  pad = card_id(job, "tokenizer.ggml.padding_token_id");
    ORGAN_OWNED_JSON json_t *const list = json_array();
    int failed = list == NULL;
    for (size_t k = 0; k < sizeof ends / sizeof *ends; k++) {
        const int64_t id = card_id(job, ends[k]);
        bool skipped = id < 0; /* the file lacks the id, or the list has it */
        for (size_t i = 0; i < json_array_size(list) && !skipped; i++)
            skipped = json_integer_value(json_array_get(list, i)) == id;
        failed |= skipped ? 0 : json_array_append_new(list, json_integer(id));
    }
    json_t *const first = json_array_get(list, 0), *const all = json_array_size(list) > 1 ? list : first;
    failed |= !ORGAN_ADD(config, SET_COUNT_OF("bos_token_id", bos >= 0, bos),
                         SET("eos_token_id", all ? json_incref(all) : json_null()),
                         SET_COUNT_OF("pad_token_id", pad >= 0, pad));
    return failed;
}

char *organ_convert_generation(const organ_convert_job *job, organ_error *error)
{
    ORGAN_OWNED_JSON json_t *made = NULL, *ids = json_object();
    const organ_report_work work = organ_report_begin(&made);
    const char *key;
    json_t *value;
    int failed = organ_convert_put_ids(job, ids);
    made = json_object();
    json_object_foreach(ids, key, value) failed |= json_is_null(value) ? 0 : json_object_set(made, key, value);
    for (size_t k = 0; k < SAMPLINGS; k++) {
        const organ_gguf_kv *const kv = organ_gguf_find(job->model->gguf, samplings[k].key);
        double real;
        if (!kv || !organ_gguf_real_at(kv, 0, &real) || !isfinite(real))
            continue; /* JSON has neither infinity nor NaN */
        json_t *const number =
            samplings[k].type == ORGAN_GGUF_F32 ? organ_convert_real(real) : json_integer((json_int_t)real);
        failed |= json_object_set_new(made, samplings[k].member, number) |
                  json_object_set_new(made, "do_sample", json_true());
    }
    char *const text = failed ? NULL : organ_json_dump(made, JSON_INDENT(2));
    if (organ_report_end_partial(&work, job->options->model, error) == ORGAN_OK && !text)
        organ_fail_memory(error, job->options->model);
    return text;
}

/* ---- from GGUF: README.md ---- */

/* Returns the strings of an array; NULL if the value is another. */
static json_t *card_strings(const organ_gguf_kv *kv)
{
    json_t *const list = json_array();
    size_t at = ORGAN_GGUF_ARRAY_HEAD;
    if (kv->type != ORGAN_GGUF_ARRAY || kv->element != ORGAN_GGUF_STRING) {
        json_decref(list);
        return NULL;
    }
    for (uint64_t k = 0; k < kv->count; k++) {
        uint64_t length;
        memcpy(&length, kv->bytes + at, sizeof length);
        json_array_append_new(list, json_stringn((const char *)kv->bytes + at + sizeof length, (size_t)length));
        at += sizeof length + (size_t)length;
    }
    return list;
}

/* YAML strings in double quotes are those of JSON. */
static void card_put(FILE *out, const json_t *value)
{
    if (json_dumpf(value, out, JSON_ENCODE_ANY | JSON_COMPACT) != 0)
        organ_memory_count_refusal();
}

char *organ_convert_card(const organ_convert_job *job, organ_error *error)
{
    organ_text text;
    char *made = NULL;
    bool any = false;
    if (organ_text_open(&text, error) != ORGAN_OK)
        return NULL;
    fputs("---\n", text.out);
    for (size_t k = 0; k < CARDS; k++) {
        size_t length = 0, i;
        const organ_gguf_kv *const kv = organ_gguf_find(job->model->gguf, cards[k].key);
        const char *const word = organ_gguf_string(job->model->gguf, cards[k].key, &length);
        ORGAN_OWNED_JSON json_t *const value = word ? json_stringn(word, length) : NULL;
        ORGAN_OWNED_JSON json_t *const list = kv ? card_strings(kv) : NULL;
        json_t *one;
        if (value || json_array_size(list))
            fprintf(text.out, "%s:%s", cards[k].member, value ? " " : "\n");
        if (value)
            card_put(text.out, value);
        json_array_foreach(list, i, one)
        {
            fputs(i ? "\n- " : "- ", text.out);
            card_put(text.out, one);
        }
        if (value || json_array_size(list))
            fputs("\n", text.out);
        any = any || value || json_array_size(list);
    }
    fputs("---\n\norgan converted this model from GGUF.\n", text.out);
    organ_text_end(&text, &made, error);
    if (any)
        return made;
    free(made);
    return NULL;
}

/* ---- to GGUF ---- */

/* Returns NULL for what is not a word, a number or a quoted string, and for invalid UTF-8. */
static json_t *card_scalar(const char *text, size_t length)
{
    bool no_memory = false;
    json_error_t fault;
    while (length && strchr(" \t\r", text[length - 1]))
        length--;
    if (length >= 2 && *text == '"')
        return organ_json_load(text, length, JSON_DECODE_ANY, &fault, &no_memory);
    if (length >= 2 && *text == '\'' && text[length - 1] == '\'')
        return json_stringn(text + 1, length - 2);
    for (size_t k = 1; k < length; k++)
        if (text[k] == '#' && text[k - 1] == ' ') /* a comment */
            return card_scalar(text, k - 1);
    const bool plain = length && !strchr("|>&*!{[#%@`", *text);
    return plain ? json_stringn(text, length) : NULL;
}

/* Adds the scalars of "[A, B]" to `list`. */
static void card_inline_list(json_t *list, const char *text, size_t length)
{
    for (size_t at = 1; at < length && text[at] != ']';) {
        at += strspn(text + at, " ,");
        const char quote = text[at] == '"' || text[at] == '\'' ? text[at] : '\0';
        size_t end = at + (quote != '\0');
        while (end < length && (quote ? text[end] != quote : text[end] != ',' && text[end] != ']'))
            end++;
        end += quote && end < length;
        json_t *const one = end > at ? card_scalar(text + at, end - at) : NULL;
        if (one)
            json_array_append_new(list, one);
        at = end > at ? end : at + 1;
    }
}

/* Reads the lines between the first line "---" and the next: "MEMBER: SCALAR", "MEMBER: [A, B]", and "MEMBER:" with
 * lines "- SCALAR" below it. Other forms of YAML are left out. */
static json_t *card_parse(const char *text)
{
    json_t *const card = json_object(), *list = NULL, *value; /* list: the array that a line "- SCALAR" extends */
    if (strncmp(text, "---\n", 4) && strncmp(text, "---\r\n", 5))
        return card;
    for (const char *line = strchr(text, '\n') + 1; *line && strncmp(line, "---", 3);) {
        const size_t length = strcspn(line, "\n"), blanks = strspn(line, " \t");
        const char *const colon = memchr(line, ':', length);
        if (list && blanks < length && line[blanks] == '-' && line[blanks + 1] == ' ') {
            const size_t begin = blanks + 1 + strspn(line + blanks + 1, " ");
            if ((value = card_scalar(line + begin, length - begin)))
                json_array_append_new(list, value);
        } else if (colon && blanks == 0 && *line != '#') {
            ORGAN_OWNED char *const member = strndup(line, (size_t)(colon - line));
            const size_t begin = (size_t)(colon + 1 - line) + strspn(colon + 1, " \t");
            const bool empty = begin >= length || line[begin] == '\r', inner = !empty && line[begin] == '[';
            value = empty || inner ? json_array() : card_scalar(line + begin, length - begin);
            list = empty ? value : NULL;
            if (inner)
                card_inline_list(value, line + begin, length - begin);
            if (!member || json_object_set(card, member, value)) /* fails for a name that is not valid UTF-8 */
                list = NULL;
            json_decref(value);
        }
        line += length + (line[length] == '\n');
    }
    return card;
}

static organ_status card_set_list(const organ_convert_job *job, const char *key, const json_t *value,
                                  organ_error *error)
{
    const size_t count = json_is_array(value) ? json_array_size(value) : 1;
    ORGAN_OWNED char *bytes = NULL;
    size_t size = 0;
    FILE *const out = open_memstream(&bytes, &size);
    if (!out)
        return organ_fail_memory(error, key);
    for (size_t k = 0; k < count; k++) {
        const json_t *const one = json_is_array(value) ? json_array_get(value, k) : value;
        const uint64_t length = json_string_length(one);
        fwrite(&length, sizeof length, 1, out);
        fwrite(json_is_string(one) ? json_string_value(one) : "", 1, json_string_length(one), out);
    }
    if (fclose(out))
        organ_fail_memory(error, key);
    if (!error->status && count)
        organ_gguf_writer_set_array(job->gguf, key, ORGAN_GGUF_STRING, count, bytes, size, error);
    return error->status;
}

static bool is_commit(const char *name) { return strlen(name) == 40 && strspn(name, "0123456789abcdef") == 40; }

/* A directory of the Hugging Face cache, models--ORG--NAME/snapshots/COMMIT, has the name NAME. A file has its own
 * name without the ending, or, if all models have that name, the name of its folder. The caller frees the name. */
static char *name_by_path(const organ_model *model)
{
    const char *const file = organ_path_name(model->path);
    const bool usual = !model->whole_directory && (strcmp(file, ORGAN_SINGLE_NAME) == 0 || model->index);
    const char *const place = model->whole_directory || usual ? model->directory : model->path;
    const char *const last = organ_path_name(place);
    const bool dots = strcmp(last, ".") == 0 || strcmp(last, "..") == 0 || !*last;
    ORGAN_OWNED char *const path = dots || is_commit(last) ? realpath(place, NULL) : strdup(place);
    char *name = NULL;
    if (!path)
        return strdup(last);
    char *const end = strrchr(path, '/');
    if (end && is_commit(end + 1)) {
        *end = '\0';
        char *const snapshots = strrchr(path, '/');
        if (snapshots && strcmp(snapshots, "/snapshots") == 0)
            *snapshots = '\0';
        const char *const entry = organ_path_name(path);
        const char *at = strncmp(entry, "models--", strlen("models--")) == 0 ? entry + strlen("models--") : NULL;
        for (const char *next = at; next && (next = strstr(next, "--"));) /* NAME follows the last "--" */
            at = next = next + strlen("--");
        if (at)
            name = strdup(at);
        *end = '/';
    }
    if (!name) {
        size_t length = strlen(organ_path_name(path));
        if (!model->whole_directory && !usual)
            organ_cut_end(organ_path_name(path), &length, ".safetensors");
        name = strndup(organ_path_name(path), length);
    }
    return name;
}

static const json_t *card_member(const json_t *card, size_t row)
{
    const json_t *const own = json_object_get(card, cards[row].member);
    return own || !cards[row].other ? own : json_object_get(card, cards[row].other);
}

static organ_status card_set_name(const organ_convert_job *job, const json_t *card, organ_error *error)
{
    const json_t *const own = card_member(card, CARD_NAME);
    ORGAN_OWNED char *const by_path = name_by_path(job->model);
    const char *const name = json_string_length(own) ? json_string_value(own) : by_path;
    if (name)
        organ_gguf_writer_set_string(job->gguf, cards[CARD_NAME].key, name, strlen(name), error);
    else
        organ_fail_memory(error, job->model->path);
    return error->status;
}

static bool sampling_fits(const json_t *value, organ_gguf_type type)
{
    const json_int_t whole = json_integer_value(value);
    return type == ORGAN_GGUF_F32 ? json_is_number(value) && fabs(json_number_value(value)) <= (double)FLT_MAX
                                  : json_is_integer(value) && whole >= INT32_MIN && whole <= INT32_MAX;
}

static organ_status card_set_samplings(const organ_convert_job *job, organ_error *error)
{
    static const char name[] = "generation_config.json";
    ORGAN_OWNED_JSON json_t *root = NULL;
    organ_model_load_json(job->model, name, name, &root, error);
    for (size_t k = 0; k < SAMPLINGS && !error->status; k++) {
        const json_t *const value = json_object_get(root, samplings[k].member);
        if (!sampling_fits(value, samplings[k].type))
            continue;
        organ_gguf_writer_set_number(job->gguf, samplings[k].key, samplings[k].type, json_number_value(value), error);
    }
    return error->status;
}

organ_status organ_convert_put_card(const organ_convert_job *job, organ_error *error)
{
    ORGAN_OWNED char *text = NULL;
    size_t length;
    organ_model_load(job->model, "README.md", CARD_LIMIT, &text, &length, error);
    ORGAN_OWNED_JSON json_t *const card = text ? card_parse(text) : NULL;
    if (!error->status)
        card_set_name(job, card, error);
    for (size_t k = 0; k < CARDS && !error->status; k++) {
        const json_t *const value = card_member(card, k);
        if (cards[k].list && (json_is_array(value) || json_is_string(value)))
            card_set_list(job, cards[k].key, value, error);
        else if (k != CARD_NAME && !cards[k].list && json_string_length(value))
            organ_gguf_writer_set_string(job->gguf, cards[k].key, json_string_value(value), json_string_length(value),
                                         error);
    }
    return error->status ? error->status : card_set_samplings(job, error);
}
