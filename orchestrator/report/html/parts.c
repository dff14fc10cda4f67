/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/html/parts.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/report_parts.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void put_line(organ_html *html, char *line)
{
    static const char warning[] = "WARNING";
    line += strspn(line, " ");
    if (strncmp(line, warning, sizeof warning - 1) == 0)
        organ_html_caution(html, "%s", line + sizeof warning - 1 + strspn(line + sizeof warning - 1, " "));
    else if (*line)
        organ_html_paragraph(html, "%s", line);
}

/* As for a chart that could not be made. */
void organ_html_fail(organ_html *html) { organ_html_chart(html, NULL, NULL); }

/* What `write` says, as one string without the newline at its end, for the caller to free. NULL and ORGAN_IO without memory. */
static char *words_written(void (*write)(FILE *out, const json_t *report, const organ_page *page), const json_t *report, organ_error *error)
{
    static const organ_page unlimited = {0, true};
    organ_text buffer;
    char *text = NULL;
    if (organ_text_open(&buffer, error) != ORGAN_OK)
        return NULL;
    write(buffer.out, report, &unlimited);
    if (organ_text_finish(&buffer, &text, error) == ORGAN_OK && *text && text[strlen(text) - 1] == '\n')
        text[strlen(text) - 1] = '\0';
    return text;
}

void organ_html_words(organ_html *html, void (*write)(FILE *out, const json_t *report, const organ_page *page), const json_t *report)
{
    organ_error error = {0};
    char *const text = words_written(write, report, &error), *rest;
    if (!text)
        organ_html_fail(html);
    for (char *line = text ? strtok_r(text, "\n", &rest) : NULL; line; line = strtok_r(NULL, "\n", &rest))
        put_line(html, line);
    free(text);
}

void organ_html_left_out(organ_html *html, size_t all, size_t most, const char *what)
{
    char shown[32], count[32];
    if (all > most)
        organ_html_paragraph(html, "The table shows the first %s of %s %s; the report as JSON has all.", organ_count_text(most, shown),
                             organ_count_text(all, count), what);
}

char *organ_scatter_of(organ_scatter look, organ_point *points, size_t count)
{
    char *svg = NULL;
    look.points = points;
    look.count = count;
    if (points)
        organ_scatter_svg(&look, &svg, &(organ_error){0});
    free(points);
    return svg;
}

double organ_json_number(const json_t *row, const char *key)
{
    const json_t *const value = organ_json_at(row, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

double organ_json_percent(const json_t *row, const char *key) { return 100 * organ_json_number(row, key); }

void organ_html_thresholds(organ_html *html, const json_t *thresholds)
{
    static const organ_column columns[] = {{"verdict on", ORGAN_LEFT, false, false}, {"begins where", ORGAN_LEFT, false, false}};
    const char *term;
    json_t *sentence;
    organ_table *const table = organ_table_create(columns, 2);
    json_object_foreach((json_t *)(uintptr_t)thresholds, term, sentence)
    {
        organ_table_cell(table, "%s", term);
        organ_table_cell(table, "%s", organ_json_text(sentence, ""));
    }
    organ_html_section(html, "Where the verdicts begin");
    organ_html_table(html, table, NULL);
}
