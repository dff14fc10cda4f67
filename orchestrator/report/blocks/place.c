/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/blocks/place.h"
#include "orchestrator/report/blocks/walk.h"

#include "orchestrator/report/text/members.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

void organ_block_lacks_memory(organ_walk *walk)
{
    if (walk->html)
        organ_html_fail(walk->html);
    else if (!walk->error->status)
        organ_fail(walk->error, ORGAN_IO, "no memory for a report");
}

/* One more row of its kind, or the first of it: then it is among `kept`, which `known` leads to. */
static bool take_alike(json_t *kept, json_t *known, const char *kind, json_t *row)
{
    json_t *const first = json_object_get(known, kind);
    if (first)
        return json_integer_set(json_object_get(first, "count"), json_integer_value(json_object_get(first, "count")) + 1) == 0;
    json_t *const made = json_copy(row);
    ORGAN_ADD(made, SET_COUNT("count", 1));
    return json_array_append_new(kept, made) == 0 && json_object_set(known, kind, made) == 0;
}

json_t *organ_rows_alike(const json_t *report, const json_t *rows, const char *where, const char *same)
{
    json_t *const kept = json_array(), *const known = json_object();
    bool whole = true;
    for (size_t k = 0; k < json_array_size(rows) && whole; k++) {
        const organ_scope scope = {report, json_array_get(rows, k)};
        if (!organ_scope_holds(&scope, where))
            continue;
        char *const kind = organ_words_text(&scope, same, ORGAN_WORDS_PAGE);
        whole = kind && take_alike(kept, known, kind, json_array_get(rows, k));
        free(kind);
    }
    json_decref(known);
    if (whole)
        return kept;
    json_decref(kept);
    return NULL;
}

/* Rows that the condition holds for, and in which the member is another text than in the one before. */
static json_t *rows_met(const json_t *report, const json_t *rows, const char *where, const char *new)
{
    json_t *const kept = json_array();
    const char *before = "";
    for (size_t k = 0; k < json_array_size(rows); k++) {
        json_t *const row = json_array_get(rows, k);
        if (!organ_scope_holds(&(organ_scope){report, row}, where) || (new &&strcmp(organ_json_text(row, new), before) == 0))
            continue;
        before = new ? organ_json_text(row, new) : before;
        if (json_array_append(kept, row) != 0) {
            json_decref(kept);
            return NULL;
        }
    }
    return kept;
}

/* Objects at paths with a blank between them, as rows. */
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

json_t *organ_block_rows(organ_walk *walk, const organ_block *block)
{
    if (block->rows && strchr(block->rows, ' '))
        return rows_at(&walk->scope, block->rows);
    json_t *const rows = (json_t *)(uintptr_t)(block->rows ? organ_scope_at(&walk->scope, block->rows) : walk->scope.row), *kept;
    if ((!block->where && !block->new && !block->same) || !json_is_array(rows))
        return json_incref(rows);
    if (block->same)
        kept = organ_rows_alike(walk->scope.report, rows, block->where, block->same);
    else
        kept = rows_met(walk->scope.report, rows, block->where, block->new);
    if (!kept)
        organ_block_lacks_memory(walk);
    return kept;
}

double organ_block_number(const json_t *row, const char *path, double factor)
{
    return path ? (factor != 0 ? factor : 1) * organ_json_number(row, path) : NAN;
}

void organ_block_chart(organ_walk *walk, char *svg, const char *caption)
{
    char *const text = organ_words_text(&walk->scope, caption, ORGAN_WORDS_PAGE);
    organ_html_chart(walk->html, svg, text ? text : "");
    free(text);
}

char *organ_block_text(organ_walk *walk, const char *words)
{
    char *const text = words ? organ_words_text(&walk->scope, words, ORGAN_WORDS_PAGE) : NULL;
    if (words && !text)
        organ_html_fail(walk->html);
    if (text && *text)
        return text;
    free(text);
    return NULL;
}

/* The end of a scale: a multiple of the step that no value is beyond. */
double organ_block_scale(double step, double least, double high, const double *values, size_t count)
{
    double most = fmax(1, least);
    for (size_t k = 0; k < count; k++)
        most = isfinite(values[k]) ? fmax(most, values[k]) : most;
    return step > 0 ? fmin(high > 0 ? high : 100, step * ceil(most / step)) : high;
}
