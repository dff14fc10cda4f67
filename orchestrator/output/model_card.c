/* SPDX-License-Identifier: MIT */
#include "orchestrator/output/model_card.h"

#include "formats/base/arena.h"
#include "formats/base/json.h"
#include "formats/base/text.h"
#include "formats/base/yaml.h"
#include "orchestrator/report/text/report_text.h"

#include <ctype.h>
#include <string.h>

/* Longer names are none of the hub. */
enum { HUB_NAME_BYTES = 96 };

bool organ_card_is_hub_name(const char *text)
{
    const char *const slash = strchr(text, '/');
    const size_t length = strlen(text);
    if (!slash || slash == text || !slash[1] || length > HUB_NAME_BYTES || strchr(slash + 1, '/') || *text == '.' ||
        slash[1] == '.' || strncmp(slash + 1, "checkpoint", strlen("checkpoint")) == 0 /* of a training run */)
        return false;
    for (size_t k = 0; k < length; k++)
        if (!isalnum((unsigned char)text[k]) && !strchr("._-/", text[k]))
            return false;
    return true;
}

/* ---- the YAML of the donor's card ---- */

typedef struct card_front {
    const char *begin;         /* the first line after "---"; NULL: the card has no YAML */
    size_t length;             /* up to the second "---" */
    const char *body;          /* the text after it */
    const organ_yaml *members; /* a map; NULL: there are none */
} card_front;

static size_t line_length(const char *line)
{
    const size_t length = strcspn(line, "\n");
    return length + (line[length] == '\n');
}

/* "---", maybe with blanks after it. */
static bool is_fence(const char *line)
{
    const size_t length = line_length(line);
    return strncmp(line, "---", 3) == 0 && 3 + strspn(line + 3, " \t\r\n") >= length;
}

/* Returns false if there is no second line "---". */
static bool find_front(const char *card, card_front *front)
{
    *front = (card_front){.body = card};
    if (!is_fence(card))
        return true;
    front->begin = card + line_length(card);
    for (const char *line = front->begin; *line; line += line_length(line))
        if (is_fence(line)) {
            front->length = (size_t)(line - front->begin);
            front->body = line + line_length(line);
            return true;
        }
    return false;
}

static bool is_remark(const char *line)
{
    line += strspn(line, " \t");
    return *line == '#' || *line == '\r' || *line == '\n';
}

static bool has_members(const card_front *front)
{
    if (!front->begin)
        return false;
    for (const char *line = front->begin; line < front->begin + front->length; line += line_length(line))
        if (!is_remark(line))
            return true;
    return false;
}

/* Every member must begin at the start of a line of its own, so that lines can be left out. */
static bool has_own_lines(const card_front *front)
{
    const organ_yaml *const map = front->members;
    const char *line = front->begin;
    size_t number = 1;
    for (size_t k = 0; k < map->count; k++) {
        if (k && map->keys[k]->line <= map->keys[k - 1]->line)
            return false;
        for (; number < map->keys[k]->line; number++)
            line += line_length(line);
        if (strchr(" \t{[?&!", *line))
            return false;
    }
    return true;
}

/* Returns false, with the reason in `why`, if the YAML cannot be edited. */
static bool read_front(const char *donor, size_t length, organ_arena *arena, card_front *front,
                       char why[ORGAN_CARD_WHY], organ_error *error)
{
    organ_error fault = {0};
    if (strlen(donor) < length || !organ_utf8_valid(donor))
        snprintf(why, ORGAN_CARD_WHY, "it is not UTF-8");
    else if (!find_front(donor, front))
        snprintf(why, ORGAN_CARD_WHY, "its first line is '---', but no later line is");
    else if (!has_members(front))
        return true;
    else if (organ_yaml_parse(ORGAN_CARD_NAME, front->begin, front->length, arena, &front->members, &fault))
        snprintf(why, ORGAN_CARD_WHY, "%.500s", fault.message);
    else if (front->members->kind != ORGAN_YAML_MAP)
        snprintf(why, ORGAN_CARD_WHY, "its YAML has no members");
    else if (!has_own_lines(front))
        snprintf(why, ORGAN_CARD_WHY, "its YAML has members that do not begin a line");
    if (fault.status == ORGAN_IO)
        *error = fault;
    return !*why;
}

/* ---- members that are kept ---- */

static bool is_replaced(const organ_card *card, const card_front *front, const char *key)
{
    const bool based = json_array_size(card->base) > 0;
    if (strcmp(key, "base_model") == 0)
        return based;
    if (strcmp(key, "base_model_relation") == 0)
        return based || (card->inherits && organ_yaml_member(front->members, "base_model"));
    if (strcmp(key, "library_name") == 0)
        return card->library && card->other_library;
    return strcmp(key, "tags") == 0 || strcmp(key, "model-index") == 0;
}

static void put_kept(FILE *out, const organ_card *card, const card_front *front)
{
    const organ_yaml *const map = front->members;
    const char *line = front->begin, *const end = line ? line + front->length : NULL;
    size_t next = 0; /* the member that begins next */
    bool left_out = false;
    for (size_t number = 1; line < end; number++, line += line_length(line)) {
        if (map && next < map->count && map->keys[next]->line == number)
            left_out = is_replaced(card, front, map->keys[next++]->text);
        if (!left_out || is_remark(line))
            fwrite(line, 1, line_length(line), out);
    }
}

/* ---- members of the output ---- */

/* YAML strings in double quotes are those of JSON. */
static void put_scalar(FILE *out, const json_t *value)
{
    if (json_dumpf(value, out, JSON_ENCODE_ANY | JSON_COMPACT) != 0)
        organ_memory_count_refusal();
}

static void put_text(FILE *out, const char *before, const char *text)
{
    ORGAN_OWNED_JSON json_t *const value = json_string(text);
    fputs(before, out);
    if (value)
        put_scalar(out, value);
    else
        organ_memory_count_refusal();
    fputc('\n', out);
}

/* Writes base_model, a name or a list, if the card names bases; else put_kept has kept that of the donor's card. Writes
 * base_model_relation if put_kept has left out the donor's. */
static void put_base(FILE *out, const organ_card *card, const card_front *front)
{
    const json_t *name;
    size_t k;
    if (json_array_size(card->base) == 1)
        put_text(out, "base_model: ", json_string_value(json_array_get(card->base, 0)));
    else if (json_array_size(card->base) > 1) {
        fputs("base_model:\n", out);
        json_array_foreach(card->base, k, name) put_text(out, "- ", json_string_value(name));
    }
    if (is_replaced(card, front, "base_model_relation"))
        fprintf(out, "base_model_relation: %s\n", card->relation);
}

/* The donor's tags, then those of the output that it has not. */
static void put_tags(FILE *out, const organ_card *card, const card_front *front)
{
    const organ_yaml *const old = organ_yaml_member(front->members, "tags");
    ORGAN_OWNED_JSON json_t *const all = json_object();
    const json_t *tag;
    const char *name;
    json_t *ignored;
    size_t k;
    for (k = 0; old && old->kind == ORGAN_YAML_LIST && k < old->count; k++)
        if (old->values[k]->kind == ORGAN_YAML_SCALAR && *old->values[k]->text)
            json_object_set_new(all, old->values[k]->text, json_null());
    if (old && old->kind == ORGAN_YAML_SCALAR && !organ_yaml_is_null(old))
        json_object_set_new(all, old->text, json_null());
    json_array_foreach(card->tags, k, tag) json_object_set_new(all, json_string_value(tag), json_null());
    fputs(json_object_size(all) ? "tags:\n" : "", out);
    json_object_foreach(all, name, ignored) put_text(out, "- ", name);
}

static void put_metric(FILE *out, const char *type, const char *name, const json_t *value)
{
    if (!json_is_number(value))
        return;
    fprintf(out, "    - type: %s\n      name: %s\n      value: ", type, name);
    put_scalar(out, value);
    fputc('\n', out);
}

/* The figures of --evaluate, as "model-index". */
static void put_evaluation(FILE *out, const organ_card *card)
{
    const json_t *const e = card->evaluation;
    if (!json_is_object(organ_json_at(e, "comparison")))
        return;
    put_text(out, "model-index:\n- name: ", card->own_name);
    fputs("  results:\n  - task:\n      type: text-generation\n    dataset:\n      type: text\n", out);
    put_text(out, "      name: ", organ_json_text(e, "experiment.text.name"));
    fputs("      args:\n", out);
    put_text(out, "        xxh3: ", organ_json_text(e, "experiment.text.xxh3"));
    fprintf(out, "        context: %llu\n        tokens: %llu\n    metrics:\n",
            organ_json_count(e, "experiment.context"), organ_json_count(e, "experiment.tokens_scored"));
    put_metric(out, "perplexity", "Perplexity", organ_json_at(e, "after.figures.perplexity"));
    put_metric(out, "kl_divergence", "KL divergence from the base model in nats per token",
               organ_json_at(e, "comparison.kl_divergence"));
    put_metric(out, "top1_agreement", "Share of tokens with the same prediction as the base model",
               organ_json_at(e, "comparison.top1_agreement"));
}

/* The text of a card whose donor has none; `made` follows. */
#define OWN_TEXT "\n# %s\n\n"

static bool is_own_text(const char *body, const char *name)
{
    ORGAN_OWNED char *const begin = organ_format(OWN_TEXT "`organ ", name);
    return begin && strncmp(body, begin, strlen(begin)) == 0 && !strchr(strchr(body, '`'), '#');
}

static void put_card(FILE *out, const char *donor, const organ_card *card, const card_front *front)
{
    fputs("---\n", out);
    put_kept(out, card, front);
    put_base(out, card, front);
    put_tags(out, card, front);
    if (card->library && (card->other_library || !organ_yaml_member(front->members, "library_name")))
        put_text(out, "library_name: ", card->library);
    if (card->task && !organ_yaml_member(front->members, "pipeline_tag"))
        fprintf(out, "pipeline_tag: %s\n", card->task);
    put_evaluation(out, card);
    fputs("---\n", out);
    if (!donor || is_own_text(front->body, card->name))
        fprintf(out, OWN_TEXT "%s\n", card->name, card->made);
    else
        fprintf(out, "%s%s", front->begin ? "" : "\n", front->body);
}

char *organ_card_text(const char *donor, size_t length, const organ_card *card, char why[ORGAN_CARD_WHY],
                      organ_error *error)
{
    ORGAN_RELEASED_BY(organ_arena_release) organ_arena arena = {NULL};
    static const organ_yaml nothing = {.kind = ORGAN_YAML_MAP};
    card_front front = {NULL, 0, NULL, NULL};
    organ_text text;
    char *made = NULL;
    *why = '\0';
    if ((donor && !read_front(donor, length, &arena, &front, why, error)) || error->status ||
        organ_text_open(&text, error))
        return NULL;
    front.members = front.members ? front.members : &nothing;
    put_card(text.out, donor, card, &front);
    organ_text_end(&text, &made, error);
    return made;
}
