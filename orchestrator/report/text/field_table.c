/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/text/field_table.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/text/document.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A number as ORGAN_FIELD_ROUNDED shows it. */
static void rounded_cell(organ_table *table, double x, int digits)
{
    const double size = fabs(x);
    char text[400];
    if (digits == 0)
        snprintf(text, sizeof text, size == 0 ? "%.0f" : size < 0.001 || size >= 1e6 ? "%.2e" : size < 100 ? "%.3f" : "%.0f", x);
    else
        snprintf(text, sizeof text, "%.*f", digits, x);
    const bool nothing = strspn(text, "-0.") == strlen(text);
    organ_table_cell(table, "%s", text + (nothing && *text == '-'));
}

static void number_cell(organ_table *table, const organ_field *field, const json_t *value)
{
    char text[32];
    const double x = json_number_value(value);
    switch (field->kind) {
    case ORGAN_FIELD_COUNT:
        organ_table_count(table, (unsigned long long)json_integer_value(value));
        return;
    case ORGAN_FIELD_BYTES:
        organ_table_cell(table, "%s", organ_quantity_text((uint64_t)json_integer_value(value), text));
        return;
    case ORGAN_FIELD_PERCENT:
    case ORGAN_FIELD_SHARE:
        organ_table_cell(table, "%s", organ_percent_text(field->kind == ORGAN_FIELD_SHARE ? 100 * x : x, text));
        return;
    case ORGAN_FIELD_FIXED:
        organ_table_cell(table, "%.*f", field->digits, x);
        return;
    case ORGAN_FIELD_ROUNDED:
        rounded_cell(table, x, field->digits);
        return;
    default:
        organ_table_cell(table, "%.*g", field->digits, x);
    }
}

static void words_cell(organ_table *table, const char *words, const json_t *row)
{
    organ_table_take(table, organ_words_text(&(organ_scope){row, row}, words, ORGAN_WORDS_PAGE));
}

static void field_cell(organ_table *table, const organ_field *field, const json_t *row)
{
    const json_t *const value = field->path && field->kind != ORGAN_FIELD_WORDS ? organ_json_at(row, field->path) : NULL;
    if (field->kind == ORGAN_FIELD_BY)
        field->put(table, row);
    else if (field->kind == ORGAN_FIELD_WORDS)
        words_cell(table, field->path, row);
    else if (!value && !(field->flags & ORGAN_FIELD_MAYBE))
        organ_table_cell(table, ORGAN_FIELD_MISSING);
    else if (field->kind == ORGAN_FIELD_TEXT)
        organ_table_cell(table, "%s", json_is_string(value) ? json_string_value(value) : "");
    else if (!json_is_number(value))
        organ_table_cell(table, "-");
    else
        number_cell(table, field, value);
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
        const json_t *const row = json_array_get(rows, k);
        organ_field_row(table, fields, count, organ_json_text(row, key), row);
    }
}

static organ_column column_of(const organ_field *field)
{
    const bool left = field->kind == ORGAN_FIELD_TEXT || (field->flags & ORGAN_FIELD_LEFT);
    return (organ_column){field->title, left ? ORGAN_LEFT : ORGAN_RIGHT, field->flags & ORGAN_FIELD_SHORTENS,
                          field->flags & ORGAN_FIELD_CODE};
}

organ_table *organ_field_table(const organ_field *fields, size_t count, const json_t *rows, size_t most)
{
    organ_column columns[ORGAN_FIELDS_MOST] = {{0}};
    for (size_t k = 0; k < count && k < ORGAN_FIELDS_MOST; k++)
        columns[k] = column_of(&fields[k]);
    organ_table *const table = count <= ORGAN_FIELDS_MOST ? organ_table_create(columns, count) : NULL;
    for (size_t k = 0; k < count; k++)
        if (fields[k].flags & ORGAN_FIELD_PARTS)
            organ_table_part_at(table, k);
    for (size_t k = 0; k < json_array_size(rows) && k < most; k++) {
        char number[24];
        snprintf(number, sizeof number, "%zu", k + 1);
        organ_field_row(table, fields, count, fields[0].kind == ORGAN_FIELD_NUMBER ? number : NULL, json_array_get(rows, k));
    }
    return table;
}
