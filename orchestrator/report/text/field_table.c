/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/text/field_table.h"

#include <organ/report.h>

#include <string.h>

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
        organ_table_cell(table, "%s", json_is_string(value) ? json_string_value(value) : "");
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
        organ_field_row(table, fields, count, organ_json_text(row, key), row);
    }
}

static organ_column column_of(const organ_field *field)
{
    const bool left = (!field->form && !field->words && !field->put) || (field->flags & ORGAN_FIELD_LEFT);
    return (organ_column){field->title, left ? ORGAN_LEFT : ORGAN_RIGHT, field->flags & ORGAN_FIELD_SHORTENS,
                          field->flags & ORGAN_FIELD_CODE};
}

organ_table *organ_field_table(const organ_field *fields, size_t count, const json_t *rows, size_t max)
{
    organ_column columns[ORGAN_FIELDS_MAX] = {{0}};
    const bool is_number = count && fields[0].form && strcmp(fields[0].form, ORGAN_FIELD_NUMBER) == 0;
    for (size_t k = 0; k < count && k < ORGAN_FIELDS_MAX; k++)
        columns[k] = column_of(&fields[k]);
    organ_table *const table = count <= ORGAN_FIELDS_MAX ? organ_table_create(columns, count) : NULL;
    for (size_t k = 0; k < count; k++)
        if (fields[k].flags & ORGAN_FIELD_PARTS)
            organ_table_part_at(table, k);
    for (size_t k = 0; k < json_array_size(rows) && k < max; k++) {
        char number[24];
        snprintf(number, sizeof number, "%zu", k + 1);
        organ_field_row(table, fields, count, is_number ? number : NULL, organ_json_row_at(rows, k));
    }
    return table;
}
