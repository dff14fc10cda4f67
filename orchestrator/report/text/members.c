/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/text/report_text.h"

#include "formats/base/plain_numbers.h"
#include "orchestrator/machine/quantity.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Continues after a member that could not be added: the references of all members are taken over in any case. */
bool organ_members_add(json_t *object, const organ_member *members)
{
    bool complete = object != NULL;
    for (; members->key; members++)
        if (*members->key)
            complete = json_object_set_new(object, members->key, members->value) == 0 && complete;
    return complete;
}

json_t *organ_members_object(json_t *object, const organ_member *members)
{
    if (organ_members_add(object, members))
        return object;
    json_decref(object);
    return NULL;
}

bool organ_members_add_before_run(json_t *document, const organ_member *members)
{
    json_t *const run = json_incref(json_object_get(document, "run"));
    json_object_del(document, "run");
    const bool complete = organ_members_add(document, members);
    return (!run || json_object_set_new(document, "run", run) == 0) && complete;
}

json_t *organ_json_joined(json_t *first, json_t *second)
{
    const bool complete = first && second && json_object_update(first, second) == 0;
    json_decref(second);
    if (complete)
        return first;
    json_decref(first);
    return NULL;
}

json_t *organ_json_real_of(bool there, double x) { return there && isfinite(x) ? json_real(x) : json_null(); }

json_t *organ_json_index(int64_t n) { return n < 0 ? json_null() : json_integer((json_int_t)n); }

json_t *organ_json_held(const json_t *value) { return value ? json_incref((json_t *)value) : json_null(); }

json_t *organ_json_rows(size_t count, organ_json_row *row, const void *context)
{
    json_t *const rows = json_array();
    for (size_t k = 0; k < count; k++) {
        json_t *const made = row(context, k);
        if (made)
            json_array_append_new(rows, made);
    }
    return rows;
}

json_t *organ_json_command(const char *const *words)
{
    organ_error ignored = {0};
    organ_text text;
    ORGAN_OWNED char *command = NULL;
    if (organ_text_open(&text, &ignored) == ORGAN_OK) {
        for (size_t k = 0; words[k]; k++) {
            ORGAN_OWNED char *const word = strdup(words[k]);
            if (!word)
                organ_memory_count_refusal();
            else
                organ_text_hide_secrets(word);
            fputs(k ? " " : "", text.out);
            organ_shell_word(text.out, word ? word : "");
        }
        organ_text_finish(&text, &command, &ignored);
    }
    return organ_document_string(command);
}

json_t *organ_json_texts(size_t count, const char *const *texts)
{
    json_t *const list = json_array();
    for (size_t k = 0; k < count; k++)
        json_array_append_new(list, organ_document_string(texts[k]));
    return list;
}

json_t *organ_json_reals(size_t count, const float *values)
{
    json_t *const list = json_array();
    for (size_t k = 0; k < count; k++)
        json_array_append_new(list, json_real((double)values[k]));
    return list;
}

/* ---- single values ---- */

json_t *organ_exact_json(double value)
{
    char text[40];
    organ_snprintf(text, sizeof text, "%a", value);
    return json_string(text);
}

bool organ_exact_value(const json_t *text, double *value)
{
    const char *const digits = json_string_value(text);
    char *end = NULL;
    *value = digits ? organ_strtod(digits, &end) : 0;
    return digits && end != digits && *end == '\0';
}

/* JSON has no infinity and no NaN, so they become strings. */
static json_t *real_json(double value)
{
    if (isfinite(value))
        return json_real(value);
    if (isnan(value))
        return json_string("nan");
    return json_string(value > 0 ? "inf" : "-inf");
}

/* The strings "nan", "inf" and "-inf" are numbers, too (real_json). */
static double real_value(const json_t *json)
{
    return json_is_string(json) ? organ_strtod(json_string_value(json), NULL) : json_number_value(json);
}

json_t *organ_field_json(const organ_struct_field *field, const void *at)
{
    switch (field->type) {
    case ORGAN_FIELD_FLAG:
        return json_boolean(*(const bool *)at);
    case ORGAN_FIELD_TEXT:
        return organ_document_string(at);
    case ORGAN_FIELD_INT:
        return json_integer(*(const int *)at);
    case ORGAN_FIELD_U32:
        return json_integer(*(const uint32_t *)at);
    case ORGAN_FIELD_U64:
        return json_integer((json_int_t) * (const uint64_t *)at);
    case ORGAN_FIELD_SINGLE:
        return real_json((double)*(const float *)at);
    case ORGAN_FIELD_REAL:
        return real_json(*(const double *)at);
    case ORGAN_FIELD_EXACT:
        return organ_exact_json(*(const double *)at);
    }
    return NULL;
}

/* A negative number becomes 0 if the field's type is unsigned. Stores 0 and returns false if `json` is not an
 * integer. */
static bool field_read_integer(organ_field_type type, const json_t *json, void *at)
{
    const json_int_t value = json_integer_value(json);
    if (type == ORGAN_FIELD_INT)
        *(int *)at = (int)value;
    else if (type == ORGAN_FIELD_U32)
        *(uint32_t *)at = (uint32_t)(value < 0 ? 0 : value);
    else
        *(uint64_t *)at = (uint64_t)(value < 0 ? 0 : value);
    return json_is_integer(json);
}

bool organ_field_read(const organ_struct_field *field, const json_t *json, void *at)
{
    switch (field->type) {
    case ORGAN_FIELD_FLAG:
        *(bool *)at = json_is_true(json);
        return json_is_boolean(json);
    case ORGAN_FIELD_TEXT:
        snprintf(at, field->size, "%s", json_is_string(json) ? json_string_value(json) : "");
        return json_is_string(json);
    case ORGAN_FIELD_EXACT:
        return organ_exact_value(json, at);
    case ORGAN_FIELD_SINGLE:
        *(float *)at = (float)real_value(json);
        return json_is_number(json) || json_is_string(json);
    case ORGAN_FIELD_REAL:
        *(double *)at = real_value(json);
        return json_is_number(json) || json_is_string(json);
    default:
        return field_read_integer(field->type, json, at);
    }
}

/* ---- rows ---- */

json_t *organ_struct_add(json_t *object, const organ_struct_field *fields, size_t count, const void *row)
{
    for (size_t k = 0; k < count && object; k++)
        object = organ_members_object(
            object,
            (const organ_member[]){{fields[k].name, organ_field_json(&fields[k], (const char *)row + fields[k].at)},
                                   {NULL, NULL}});
    return object;
}

bool organ_struct_read(const json_t *object, const organ_struct_field *fields, size_t count, void *row)
{
    bool all = true;
    for (size_t k = 0; k < count; k++)
        all &= organ_field_read(&fields[k], json_object_get(object, fields[k].name), (char *)row + fields[k].at);
    return all;
}

const char *organ_group_shown(const char *name)
{
    static const char *const words[][2] = {{"skeleton", "attention"}, {"organ", "feed-forward"}};
    for (size_t k = 0; k < sizeof words / sizeof *words; k++)
        if (strcmp(words[k][0], name) == 0)
            return words[k][1];
    return name;
}

/* Returns the text of a member as tables show it: groups of roles have names for readers. */
static const char *shown_text(const char *path, const char *value)
{
    return strcmp(path, "group") == 0 ? organ_group_shown(value) : value;
}

/* The field's function has precedence, then its words, then the member at its path. A missing member gives
 * ORGAN_FIELD_MISSING unless the field has the flag ORGAN_FIELD_MAYBE. */
static void field_cell(organ_table *table, const organ_field *field, const json_t *row)
{
    char text[ORGAN_NUMBER_ROOM];
    const json_t *const value = field->path ? organ_json_at(row, field->path) : NULL;
    if (field->put)
        field->put(table, row);
    else if (field->words)
        organ_table_take(table, organ_words_text(&(organ_scope){row, row}, field->words, ORGAN_WORDS_PAGE));
    else if (!value && !(field->flags & ORGAN_FIELD_MAYBE))
        organ_table_cell(table, ORGAN_FIELD_MISSING);
    else if (!field->form)
        organ_table_cell(table, "%s", json_is_string(value) ? shown_text(field->path, json_string_value(value)) : "");
    else
        organ_table_cell(table, "%s",
                         json_is_number(value) ? organ_number_form(json_number_value(value), field->form, text) : "-");
}

void organ_field_row(organ_table *table, const organ_field *fields, size_t count, const char *name, const json_t *row)
{
    if (name)
        organ_table_cell(table, "%s", name);
    for (size_t k = name ? 1 : 0; k < count; k++)
        field_cell(table, &fields[k], row);
}

void organ_field_rows(organ_table *table, const organ_field *fields, size_t count, const char *key, const json_t *rows)
{
    for (size_t k = 0; k < json_array_size(rows); k++) {
        const json_t *const row = organ_json_row_at(rows, k);
        organ_field_row(table, fields, count, shown_text(key, organ_json_text(row, key)), row);
    }
}

/* Texts are aligned to the left; numbers, words and cells of a function to the right unless a flag says otherwise. */
static organ_column column_of(const organ_field *field)
{
    const bool left = (!field->form && !field->words && !field->put) || (field->flags & ORGAN_FIELD_LEFT);
    return (organ_column){field->title, left ? ORGAN_LEFT : ORGAN_RIGHT, field->flags & ORGAN_FIELD_SHORTENS,
                          field->flags & ORGAN_FIELD_CODE};
}

organ_table *organ_field_table(const organ_field *fields, size_t count, const json_t *rows, size_t max)
{
    organ_column columns[ORGAN_FIELDS_MAX] = {{0}};
    const bool numbered = count && fields[0].form && strcmp(fields[0].form, ORGAN_FIELD_NUMBER) == 0;
    for (size_t k = 0; k < count && k < ORGAN_FIELDS_MAX; k++)
        columns[k] = column_of(&fields[k]);
    organ_table *const table = count <= ORGAN_FIELDS_MAX ? organ_table_create(columns, count) : NULL;
    for (size_t k = 0; k < json_array_size(rows) && k < max; k++) {
        char number[24];
        snprintf(number, sizeof number, "%zu", k + 1);
        organ_field_row(table, fields, count, numbered ? number : NULL, organ_json_row_at(rows, k));
    }
    return table;
}
