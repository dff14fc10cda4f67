/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/blocks/view_writer.h"
#include "orchestrator/report/blocks/document_rows.h"

#include <organ/report.h>
#include "orchestrator/report/text/report_text.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

void organ_block_lacks_memory(organ_view_walk *walk)
{
    if (walk->html)
        organ_html_fail(walk->html);
    else if (!walk->error->status)
        organ_fail(walk->error, ORGAN_IO, "no memory for a report");
}

static void result_cell(organ_table *table, const json_t *check)
{
    organ_table_cell(table, "%s", json_is_true(json_object_get(check, "ok")) ? "ok" : "FAILED");
}

organ_table *organ_block_checks(const json_t *checks)
{
    static const organ_field fields[] = {FIELD_TEXT("check", "check", ORGAN_FIELD_SHORTENS),
                                         FIELD_BY("result", result_cell, ORGAN_FIELD_LEFT),
                                         FIELD_TEXT("detail", "detail", ORGAN_FIELD_SHORTENS)};
    return organ_field_table(FIELD_LIST(fields), checks, SIZE_MAX);
}

static json_t *rows_at(const organ_scope *scope, const char *paths)
{
    json_t *const rows = json_array();
    while (*paths) {
        const size_t length = strcspn(paths, " ");
        char path[64];
        snprintf(path, sizeof path, "%.*s", (int)length, paths);
        json_array_append(rows, (json_t *)(uintptr_t)organ_scope_at(scope, path));
        paths += length + (paths[length] == ' ');
    }
    return rows;
}

/* Without `where`, `same` and `new`, returns a new reference to the report's own array or object. If `same` is set,
 * `new` has no effect. block->rows may have several paths. */
json_t *organ_block_rows(organ_view_walk *walk, const organ_block *block)
{
    if (block->rows && strchr(block->rows, ' '))
        return rows_at(&walk->scope, block->rows);
    json_t *const rows =
                      (json_t *)(uintptr_t)(block->rows ? organ_scope_at(&walk->scope, block->rows) : walk->scope.row),
                  *kept;
    if ((!block->where && !block->new && !block->same) || !json_is_array(rows))
        return json_incref(rows);
    if (block->same)
        kept = organ_rows_merged(walk->scope.report, rows, block->where, block->same);
    else
        kept = organ_rows_of_new_value(walk->scope.report, rows, block->where, block->new);
    if (!kept)
        organ_block_lacks_memory(walk);
    return kept;
}

double organ_block_number(const json_t *row, const char *path, double factor)
{
    if (!path)
        return NAN;
    return (factor != 0 ? factor : 1) * organ_json_number(row, path);
}

void organ_block_chart(organ_view_walk *walk, char *svg, const char *caption)
{
    char *const text = organ_words_text(&walk->scope, caption, ORGAN_WORDS_PAGE);
    organ_html_chart(walk->html, svg, text ? text : "");
    free(text);
}

char *organ_block_text(organ_view_walk *walk, const char *words)
{
    char *const text = words ? organ_words_text(&walk->scope, words, ORGAN_WORDS_PAGE) : NULL;
    if (words && !text)
        organ_html_fail(walk->html);
    if (text && *text)
        return text;
    free(text);
    return NULL;
}

double organ_block_scale(double step, double least, double high, const double *values, size_t count)
{
    double max = fmax(1, least);
    for (size_t k = 0; k < count; k++)
        max = isfinite(values[k]) ? fmax(max, values[k]) : max;
    return step > 0 ? fmin(high > 0 ? high : 100, step * ceil(max / step)) : high;
}
