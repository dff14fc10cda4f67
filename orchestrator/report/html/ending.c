/* SPDX-License-Identifier: MIT
 * The end of every page: definitions of its terms, then the members that differ from run to run. */
#include <organ/machine.h>
#include "formats/base/path.h"
#include "formats/base/plain_numbers.h"
#include "formats/base/text_buffer.h"
#include "orchestrator/report/html/page.h"
#include <organ/report.h>
#include "orchestrator/report/text/report_text.h"

#include <string.h>

enum { MAX_COLUMNS = 12, MAX_NUMBERS = 16 }; /* limits: columns of a table (put_list); numbers of a printed list */

static bool key_ends_with(const char *key, const char *kind)
{
    return strcmp(key, kind) == 0 || organ_ends_with(key, kind);
}

/* For a number, the name `key` decides whether it is written as a time, an amount of bytes, a percentage or a plain
 * number. */
static void put_value(FILE *out, const char *key, const json_t *value)
{
    char text[32], room[ORGAN_NUMBER_ROOM];
    const double number = json_number_value(value);
    if (json_is_string(value))
        fputs(json_string_value(value), out);
    else if (json_is_boolean(value))
        fputs(json_is_true(value) ? "yes" : "no", out);
    else if (json_is_number(value) && key_ends_with(key, "bytes_per_second"))
        fprintf(out, "%s/s", organ_number_form(number, "bytes", room));
    else if (json_is_number(value) && key_ends_with(key, "share"))
        fprintf(out, "%s %%", organ_number_form(100 * number, ".1f", room));
    else if (json_is_number(value) && key_ends_with(key, "seconds"))
        fputs(organ_duration_text(number, text), out);
    else if (json_is_integer(value) && (key_ends_with(key, "bytes") || strcmp(key, "memory") == 0))
        fputs(organ_quantity_text((uint64_t)json_integer_value(value), text), out);
    else if (json_is_integer(value) && json_integer_value(value) >= 0)
        fputs(organ_count_text((uint64_t)json_integer_value(value), text), out);
    else if (json_is_number(value))
        organ_fprintf(out, "%.6g", number);
    else
        fputs("-", out);
}

static void value_cell(organ_table *table, const char *key, const json_t *value)
{
    organ_text text;
    organ_error error = {0};
    char *cell = NULL;
    if (organ_text_open(&text, &error) == ORGAN_OK) {
        if (!json_is_array(value))
            put_value(text.out, key, value);
        for (size_t k = 0; k < json_array_size(value); k++) {
            fputs(k ? ", " : "", text.out);
            put_value(text.out, key, organ_json_row_at(value, k));
        }
        organ_text_finish(&text, &cell, &error);
    }
    organ_table_take(table, cell);
}

/* "bytes_per_second" becomes "bytes per second". `before` (or "") is the name of the object around the member. */
static void name_cell(organ_table *table, const char *before, const char *key)
{
    char *name = organ_format("%s%s%s", before, *before ? ", " : "", key);
    for (char *at = name; at && (at = strchr(at, '_'));)
        *at = ' ';
    organ_table_take(table, name);
}

static bool is_omitted(const json_t *value)
{
    const size_t count = json_array_size(value);
    return json_is_array(value) && (count == 0 || (count > MAX_NUMBERS && json_is_number(organ_json_row_at(value, 0))));
}

static bool is_list_of_objects(const json_t *value) { return json_is_object(organ_json_row_at(value, 0)); }

static void member_rows(organ_table *table, const char *before, const json_t *object)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value)
    {
        if (json_is_object(value) && !*before)
            member_rows(table, key, value);
        else if (!is_list_of_objects(value) && !json_is_object(value) && !is_omitted(value)) {
            name_cell(table, before, key);
            value_cell(table, key, value);
        }
    }
}

static void put_list(organ_html *html, const char *name, const json_t *list)
{
    organ_column columns[MAX_COLUMNS];
    size_t count = 0;
    const char *key;
    json_t *value;
    json_object_foreach(organ_json_row_at(list, 0), key, value)
    {
        if (count < MAX_COLUMNS)
            columns[count++] = (organ_column){key, json_is_number(value) ? ORGAN_RIGHT : ORGAN_LEFT, false, false};
    }
    organ_table *const table = organ_table_create(columns, count);
    for (size_t k = 0; count && k < json_array_size(list); k++)
        for (size_t c = 0; c < count; c++)
            value_cell(table, columns[c].title, json_object_get(organ_json_row_at(list, k), columns[c].title));
    organ_html_table(html, table, name);
}

static void put_run(organ_html *html, const json_t *run)
{
    static const organ_column columns[] = {{"item", ORGAN_LEFT, false, false}, {"value", ORGAN_LEFT, false, false}};
    const char *key;
    json_t *value;
    organ_html_section(html, "Run");
    organ_html_paragraph(html, "This section differs between runs; everything above does not.");
    organ_table *const table = organ_table_create(columns, 2);
    member_rows(table, "", run);
    organ_html_table(html, table, NULL);
    json_object_foreach((json_t *)run, key, value)
    {
        if (is_list_of_objects(value))
            put_list(html, key, value);
    }
}

void organ_html_terms(organ_html *html, const json_t *terms, const char *term, const char *meaning)
{
    const organ_column columns[] = {{term, ORGAN_LEFT, false, false}, {meaning, ORGAN_LEFT, false, false}};
    organ_table *const table = organ_table_create(columns, 2);
    const char *key;
    json_t *sentence;
    json_object_foreach((json_t *)terms, key, sentence)
    {
        organ_table_cell(table, "%s", key);
        organ_table_cell(table, "%s", organ_json_text(sentence, ""));
    }
    organ_html_table(html, table, NULL);
}

void organ_html_ending(organ_html *html, const json_t *definitions, const json_t *run)
{
    if (json_object_size(definitions)) {
        organ_html_section(html, "Definitions");
        organ_html_terms(html, definitions, "term", "meaning");
    }
    if (json_object_size(run))
        put_run(html, run);
}
