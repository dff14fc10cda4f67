/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/blocks/document_rows.h"

#include "formats/base/json_spool.h"
#include "orchestrator/report/text/members.h"
#include "orchestrator/report/text/report_text.h"

#include <stdlib.h>
#include <string.h>

/* `known` maps each kind to the copy of its first row in `kept`; the copy's member "count" is the number of merged
 * rows. Returns false if out of memory. */
static bool merge_row(json_t *kept, json_t *known, const char *kind, json_t *row)
{
    json_t *const first = json_object_get(known, kind);
    if (first)
        return json_integer_set(json_object_get(first, "count"),
                                json_integer_value(json_object_get(first, "count")) + 1) == 0;
    json_t *const made = json_is_object(row) ? json_copy(row) : json_object(); /* a report may hold anything */
    ORGAN_ADD(made, SET_COUNT("count", 1));
    return json_array_append_new(kept, made) == 0 && json_object_set(known, kind, made) == 0;
}

json_t *organ_rows_merged(const json_t *report, const json_t *rows, const char *where, const char *same)
{
    json_t *const kept = json_array(), *const known = json_object();
    bool complete = true;
    for (size_t k = 0; k < json_array_size(rows) && complete; k++) {
        const organ_scope scope = {report, organ_json_row_at(rows, k)};
        if (!organ_scope_holds(&scope, where))
            continue;
        char *const kind = organ_words_text(&scope, same, ORGAN_WORDS_PAGE);
        complete = kind && merge_row(kept, known, kind, organ_json_row_at(rows, k));
        free(kind);
    }
    json_decref(known);
    if (complete)
        return kept;
    organ_json_release_rows(kept);
    return NULL;
}

json_t *organ_rows_of_new_value(const json_t *report, const json_t *rows, const char *where, const char *new)
{
    json_t *const kept = json_array();
    const char *before = ""; /* the member `new` of the last returned row */
    for (size_t k = 0; k < json_array_size(rows); k++) {
        json_t *const row = organ_json_row_at(rows, k);
        if (!organ_scope_holds(&(organ_scope){report, row}, where) ||
            (new &&strcmp(organ_json_text(row, new), before) == 0))
            continue;
        before = new ? organ_json_text(row, new) : before;
        if (json_array_append(kept, row) != 0) {
            organ_json_release_rows(kept);
            return NULL;
        }
    }
    return kept;
}
