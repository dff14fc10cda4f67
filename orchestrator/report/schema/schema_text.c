/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/schema/schema_text.h"

#include "formats/base/json.h"
#include "formats/base/owned.h"
#include "formats/base/plain_numbers.h"
#include "orchestrator/report/text/report_text.h"

#include <stdbool.h>
#include <string.h>

/* ---- lines ---- */

/* Part of the text, which it does not own. */
typedef struct part {
    const char *at;
    size_t length;
} part;

typedef struct schema_reading {
    const char *texts[2];         /* the text, the common parts */
    const char *schema;           /* its name; NULL: none */
    unsigned depth;               /* of members in members */
    const char *next;             /* the line after the current one */
    unsigned number;              /* of the current line, from 1 */
    unsigned of_value;            /* number of the line whose value is read */
    bool ended;                   /* there is no current line */
    size_t indent;                /* of the current line, as the following */
    part name, kind, description; /* length 0: missing */
    organ_error *error;
} schema_reading;

/* Cuts what precedes two blanks off `rest`. */
static part cut_part(part *rest)
{
    part cut = {rest->at, 0};
    while (cut.length < rest->length &&
           !(rest->at[cut.length] == ' ' && cut.length + 1 < rest->length && rest->at[cut.length + 1] == ' '))
        cut.length++;
    size_t used = cut.length;
    while (used < rest->length && rest->at[used] == ' ')
        used++;
    *rest = (part){rest->at + used, rest->length - used};
    return cut;
}

/* Goes to the next line that is not empty. */
static void read_line(schema_reading *r)
{
    part line;
    do {
        line = (part){r->next, strcspn(r->next, "\n")};
        r->ended = !*r->next;
        r->next += line.length + (r->next[line.length] == '\n');
        r->number++;
    } while (!r->ended && line.length == 0);
    r->indent = strspn(line.at, " ");
    line = (part){line.at + r->indent, line.length - r->indent};
    r->name = cut_part(&line);
    r->kind = cut_part(&line);
    r->description = line;
}

static bool fail(const schema_reading *r, const char *what, part p)
{
    if (!r->error->status)
        organ_fail(r->error, ORGAN_BAD_INPUT, "a schema: line %u: %s '%.*s'", r->of_value, what, (int)p.length, p.at);
    return false;
}

/* Takes ownership of the value; NULL means that memory ran out. */
static bool put(const schema_reading *r, json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value) == 0)
        return true;
    organ_fail_memory(r->error, "a schema");
    return false;
}

static json_t *text_of(part p) { return json_stringn(p.at, p.length); }

/* If `p` begins with the word, cuts it off. */
static bool takes(part *p, const char *word)
{
    const size_t length = strlen(word);
    if (p->length < length || memcmp(p->at, word, length) != 0)
        return false;
    *p = (part){p->at + length, p->length - length};
    return true;
}

/* ---- kinds of one value ---- */

static const struct word {
    const char *name, *type, *limit; /* name of the limit; NULL: none */
    int least;
} words[] = {
    {"text", "string", NULL, 0},
    {"flag", "boolean", NULL, 0},
    {"count", "integer", "minimum", 0},
    {"integer>=1", "integer", "minimum", 1},
    {"integer", "integer", NULL, 0},
    {"number>=0", "number", "minimum", 0},
    {"number>0", "number", "exclusiveMinimum", 0},
    {"number", "number", NULL, 0},
};

static const struct word *take_word(part *kind)
{
    for (size_t k = 0; k < sizeof words / sizeof *words; k++)
        if (takes(kind, words[k].name))
            return &words[k];
    return NULL;
}

/* Sets "type" to `first`, or to the list of it and `second`. */
static bool put_type(const schema_reading *r, json_t *value, const char *first, const char *second)
{
    return put(r, value, "type", second ? json_pack("[ss]", first, second) : json_string(first));
}

/* Values as in JSON, with '|' between them. */
static bool put_values(const schema_reading *r, json_t *value, part kind)
{
    json_t *const list = json_array();
    bool right = put(r, value, "enum", list);
    while (right && kind.length) {
        json_error_t fault;
        bool no_memory;
        size_t end = 0;
        for (bool quoted = false; end < kind.length && (quoted || kind.at[end] != '|'); end++)
            quoted ^= kind.at[end] == '"';
        json_t *const one = organ_json_load(kind.at, end, JSON_DECODE_ANY, &fault, &no_memory);
        right = one ? json_array_append_new(list, one) == 0 : fail(r, "no value", kind);
        const size_t used = end + (end < kind.length);
        kind = (part){kind.at + used, kind.length - used};
    }
    return right;
}

static bool put_constant(const schema_reading *r, json_t *value, part kind)
{
    json_error_t fault;
    bool no_memory;
    json_t *const one = organ_json_load(kind.at, kind.length, JSON_DECODE_ANY, &fault, &no_memory);
    return one ? put(r, value, "const", one) : fail(r, "no value", kind);
}

static bool put_reference(const schema_reading *r, json_t *value, part name)
{
    const bool null = name.length && name.at[name.length - 1] == '?';
    const bool own = takes(&name, "#");
    json_t *const text =
        organ_json_sprintf("%s#/$defs/%.*s", own ? "" : "common.json", (int)name.length - null, name.at);
    if (!null)
        return put(r, value, "$ref", text);
    return put(r, value, "anyOf", json_pack("[{s:o},{s:s}]", "$ref", text, "type", "null"));
}

/* A word, two with '|' between them, or "text" and the texts or the pattern that are allowed. */
static bool put_simple(const schema_reading *r, json_t *value, part kind)
{
    const part whole = kind;
    const struct word *const first = take_word(&kind);
    if (!first)
        return fail(r, "unknown kind", whole);
    const struct word *const second = takes(&kind, "|") ? take_word(&kind) : NULL;
    const char *const other = takes(&kind, "?") ? "null" : NULL;
    if (!put_type(r, value, first->type, second ? second->type : other))
        return false;
    if (first->limit && !put(r, value, first->limit, json_integer(first->least)))
        return false;
    if (takes(&kind, " /") && kind.length)
        return put(r, value, "pattern", text_of((part){kind.at, kind.length - 1}));
    if (takes(&kind, " "))
        return put_values(r, value, kind);
    return kind.length == 0 || fail(r, "unknown kind", whole);
}

/* ---- values with members ---- */

enum { DEEPEST = 8 }; /* parts in each other */

/* Kinds of parts that are no schema. */
#define MEMBERS   "members"
#define SENTENCES "sentences"
#define BY_NAME   "sentences by name"

/* Whether the current line begins a part of this kind. */
static bool is_part(const schema_reading *r, const char *kind)
{
    part here = r->kind;
    return *r->name.at == '$' && takes(&here, kind) && here.length == 0;
}

static bool put_kind(schema_reading *r, json_t *value, part kind, size_t indent);

/* Returns the value of the current line, and goes to the line after its members. */
static json_t *read_value(schema_reading *r)
{
    json_t *value = json_object();
    const part kind = r->kind, description = r->description;
    const size_t indent = r->indent;
    r->of_value = r->number;
    read_line(r);
    if (!value)
        organ_fail_memory(r->error, "a schema");
    const bool right = value && (!description.length || put(r, value, "description", text_of(description))) &&
                       put_kind(r, value, kind, indent);
    if (!right)
        organ_clear_json(&value);
    return value;
}

typedef struct members {
    json_t *properties, *required;
    json_t *others; /* the kind of all other members */
} members;

static bool add_group(const schema_reading *r, members *m, part name);

/* Adds the member of the current line. One that is there already gets the kind of this line. */
static bool add_member(schema_reading *r, members *m)
{
    part name = r->name;
    const bool optional = takes(&name, "["), all = takes(&name, "(others)");
    name.length -= optional;
    json_t *const one = read_value(r);
    if (all && one) {
        json_decref(m->others);
        m->others = one;
        return true;
    }
    const bool needed = !optional && !json_object_getn(m->properties, name.at, name.length);
    return one && json_object_setn_new(m->properties, name.at, name.length, one) == 0 &&
           (!needed || json_array_append_new(m->required, text_of(name)) == 0);
}

/* Adds the members in the lines that are further from the edge than `indent`. Those without brackets are required. */
static bool add_members(schema_reading *r, members *m, long indent)
{
    bool right = true;
    while (right && !r->ended && (long)r->indent > indent && *r->name.at != '$') {
        part group = r->name;
        if (!takes(&group, "&")) {
            right = add_member(r, m);
            continue;
        }
        r->of_value = r->number;
        right = add_group(r, m, group);
        read_line(r);
    }
    return right;
}

/* Sets `found` to the line after that of the part `name` of `kind`, in this text or else in the common one. */
static bool find_part(const schema_reading *r, part name, const char *kind, schema_reading *found)
{
    for (size_t k = 0; k < 2 && r->depth < DEEPEST; k++) {
        *found = (schema_reading){
            .texts = {r->texts[0], r->texts[1]}, .depth = r->depth + 1, .schema = r->schema, .error = r->error};
        found->next = r->texts[k];
        for (bool here = false; !here && !found->ended;) {
            read_line(found);
            here = is_part(found, kind) && found->name.length == name.length + 1 &&
                   memcmp(found->name.at + 1, name.at, name.length) == 0;
        }
        if (found->ended)
            continue;
        read_line(found);
        return true;
    }
    return fail(r, r->depth < DEEPEST ? "unknown part" : "a part that contains itself:", name);
}

static bool add_group(const schema_reading *r, members *m, part name)
{
    schema_reading group;
    return find_part(r, name, MEMBERS, &group) && add_members(&group, m, /*indent=*/0);
}

/* `group` is a part whose members come first; length 0: none. */
static bool put_members(schema_reading *r, json_t *value, long indent, part group, bool open)
{
    members m = {json_object(), json_array(), json_boolean(open)};
    bool right = m.properties && m.required && (!group.length || add_group(r, &m, group)) && add_members(r, &m, indent);
    const bool any = json_object_size(m.properties) > 0, needs = json_array_size(m.required) > 0;
    right = right && (any ? put(r, value, "properties", json_incref(m.properties)) : true) &&
            (needs ? put(r, value, "required", json_incref(m.required)) : true) &&
            put(r, value, "additionalProperties", json_incref(m.others));
    if (!right && !r->error->status)
        organ_fail_memory(r->error, "a schema");
    json_decref(m.properties);
    json_decref(m.required);
    json_decref(m.others);
    return right;
}

/* Reads the lines "|  KIND" that are further from the edge than `indent`. */
static bool put_choices(schema_reading *r, json_t *value, long indent, bool null)
{
    json_t *const list = json_array();
    bool right = put(r, value, "anyOf", list);
    while (right && !r->ended && (long)r->indent > indent && *r->name.at == '|')
        right = json_array_append_new(list, read_value(r)) == 0;
    right = right && (!null || json_array_append_new(list, json_pack("{s:s}", "type", "null")) == 0);
    if (!right && !r->error->status)
        organ_fail_memory(r->error, "a schema");
    return right;
}

static bool put_list(schema_reading *r, json_t *value, part kind, size_t indent)
{
    const bool null = takes(&kind, "?");
    if (!takes(&kind, " of "))
        return fail(r, "a list of what:", kind);
    if (!put_type(r, value, "array", null ? "null" : NULL))
        return false;
    json_t *const items = json_object();
    return put(r, value, "items", items) && put_kind(r, items, kind, indent);
}

static bool put_kind(schema_reading *r, json_t *value, part kind, size_t indent)
{
    if (takes(&kind, "list"))
        return put_list(r, value, kind, indent);
    if (takes(&kind, "@"))
        return put_reference(r, value, kind);
    if (takes(&kind, "="))
        return put_constant(r, value, kind);
    if (kind.length && *kind.at == '"')
        return put_values(r, value, kind);
    if (takes(&kind, "any"))
        return true;
    if (takes(&kind, "own name"))
        return put(r, value, "const", json_string(r->schema));
    if (takes(&kind, "either"))
        return put_choices(r, value, (long)indent, takes(&kind, "?"));
    const bool object = takes(&kind, "object"), open = object && takes(&kind, "...");
    if (!object && !takes(&kind, "map"))
        return put_simple(r, value, kind);
    const char *const null = takes(&kind, "?") ? "null" : NULL;
    const bool grouped = takes(&kind, " &");
    return put_type(r, value, "object", null) &&
           put_members(r, value, (long)indent, grouped ? kind : (part){kind.at, 0}, open);
}

/* ---- documents ---- */

json_t *organ_schema_title(const char *text) { return json_stringn(text, strcspn(text, "\n")); }

/* Adds the parts to which kinds refer to `parts`, and leaves out parts that are no schema. */
static bool read_parts(schema_reading *r, json_t *parts)
{
    bool right = true;
    while (right && !r->ended) {
        part name = r->name;
        r->of_value = r->number;
        right = takes(&name, "$") || fail(r, "unexpected line", name);
        if (right && (is_part(r, MEMBERS) || is_part(r, SENTENCES) || is_part(r, BY_NAME))) {
            do
                read_line(r);
            while (!r->ended && r->indent > 0);
            continue;
        }
        json_t *const value = right ? read_value(r) : NULL;
        right = value && json_object_setn_new(parts, name.at, name.length, value) == 0;
    }
    return right;
}

json_t *organ_schema_expand(const char *name, const char *text, const char *common, organ_error *error)
{
    schema_reading r = {
        .texts = {text, common}, .schema = name, .next = text + strcspn(text, "\n"), .number = 0, .error = error};
    const part document = {"document", name ? strlen("document") : 0};
    json_t *schema = json_object(), *const parts = json_object();
    bool right = put(&r, schema, "$schema", json_string("https://json-schema.org/draft/2020-12/schema")) &&
                 put(&r, schema, "title", organ_schema_title(text)) && put_type(&r, schema, "object", NULL);
    read_line(&r);
    if (right && !r.ended && *r.name.at == '|')
        right = put_choices(&r, schema, /*indent=*/-1, /*null=*/false);
    else if (right)
        right = put_members(&r, schema, /*indent=*/-1, document, /*open=*/false);
    right = right && read_parts(&r, parts) && put(&r, schema, "$defs", json_incref(parts));
    if (!right && !error->status)
        organ_fail_memory(error, "a schema");
    json_decref(parts);
    if (!right)
        organ_clear_json(&schema);
    return schema;
}

/* ---- sentences ---- */

/* Adds the sentence of the current line to a list, or under its name to an object, if its condition is true. */
static bool add_sentence(const schema_reading *r, json_t *all, const json_t *facts)
{
    const bool list = json_is_array(all);
    const organ_scope scope = {facts, facts};
    ORGAN_OWNED_JSON json_t *const template = text_of(list ? r->name : r->kind);
    ORGAN_OWNED_JSON json_t *const condition = text_of(list ? r->kind : r->description);
    if (!template || !condition)
        return false;
    if (json_string_length(condition) > 0 && !organ_scope_holds(&scope, json_string_value(condition)))
        return true;
    ORGAN_OWNED char *const text = organ_words_text(&scope, json_string_value(template), ORGAN_WORDS_PAGE);
    json_t *const sentence = text ? json_string(text) : NULL;
    return list ? json_array_append_new(all, sentence) == 0
                : json_object_setn_new(all, r->name.at, r->name.length, sentence) == 0;
}

static bool add_sentences(schema_reading *r, json_t *all, const json_t *facts)
{
    bool right = true;
    for (; right && !r->ended && r->indent > 0; read_line(r)) {
        part name = r->name;
        schema_reading group;
        if (!takes(&name, "&"))
            right = add_sentence(r, all, facts);
        else
            right = find_part(r, name, json_is_array(all) ? SENTENCES : BY_NAME, &group) &&
                    add_sentences(&group, all, facts);
    }
    return right;
}

json_t *organ_schema_sentences(const char *text, const char *common, const char *name, const json_t *facts)
{
    organ_error error = {0};
    const schema_reading r = {.texts = {text, common}, .error = &error};
    const part wanted = {name, strlen(name)};
    schema_reading found;
    const bool list = find_part(&r, wanted, SENTENCES, &found);
    json_t *all = list ? json_array() : json_object();
    const bool right = (list || find_part(&r, wanted, BY_NAME, &found)) && all && add_sentences(&found, all, facts);
    if (!right)
        organ_clear_json(&all);
    return all;
}
