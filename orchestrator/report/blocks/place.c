/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/blocks/place.h"

#include "orchestrator/report/text/document.h"

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

json_t *organ_block_rows(organ_walk *walk, const organ_block *block)
{
    json_t *const rows = (json_t *)(uintptr_t)(block->rows ? organ_scope_at(&walk->scope, block->rows) : walk->scope.row);
    if ((!block->where && !block->new) || !json_is_array(rows))
        return json_incref(rows);
    json_t *const kept = json_array();
    const char *before = "";
    bool whole = kept != NULL;
    for (size_t k = 0; k < json_array_size(rows) && whole; k++) {
        json_t *const row = json_array_get(rows, k);
        if (!organ_scope_holds(&(organ_scope){walk->scope.report, row}, block->where) ||
            (block->new &&strcmp(organ_json_text(row, block->new), before) == 0))
            continue;
        before = block->new ? organ_json_text(row, block->new) : before;
        whole = json_array_append(kept, row) == 0;
    }
    if (!whole)
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
