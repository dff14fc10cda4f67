/* SPDX-License-Identifier: MIT
 * Divides the units of an output among the ranks, and sends the journal lines of finished units to all ranks. */
#include <organ/base.h>
#include "formats/base/name_table.h"
#include "orchestrator/surgery/write/writing.h"

#include <stdlib.h>
#include <string.h>

/* The bytes are those of source and output. Units that other ranks make get `done` and `elsewhere`. */
organ_status organ_units_assign(organ_writing *w, organ_error *error)
{
    const size_t capacity = w->unit_count + 1;
    uint64_t *const bytes = calloc(capacity, sizeof *bytes);
    uint32_t *const owner = calloc(capacity, sizeof *owner);
    if (!bytes || !owner)
        organ_fail_memory(error, w->journal.path);
    for (size_t u = 0; u < w->unit_count && !error->status; u++)
        bytes[u] = w->units[u].done || w->units[u].calib ? 0 : w->units[u].bytes + organ_units_bytes(w, u);
    if (!error->status)
        organ_ranks_assign(w->output.ranks, bytes, w->unit_count, owner, error);
    for (size_t u = 0; u < w->unit_count && !error->status; u++)
        if (!w->units[u].done && !w->units[u].calib && owner[u] != organ_ranks_rank(w->output.ranks))
            w->units[u].done = w->log.elsewhere[u] = true;
    free(owner);
    free(bytes);
    return error->status;
}

/* `lines` is the journal of another rank. `names` maps the names of units that this rank has not made to their
 * indices. Returns ORGAN_IO if a line is malformed, if its unit is not in `names`, or if memory runs out. */
static organ_status recall_lines(organ_writing *w, const organ_name_table *names, const char *lines, organ_error *error)
{
    bool no_memory = false;
    json_error_t fault;
    for (const char *end; (end = strchr(lines, '\n')) && !error->status; lines = end + 1) {
        json_t *const line = organ_json_load(lines, (size_t)(end - lines), 0, &fault, &no_memory);
        const char *const name = json_string_value(json_object_get(line, "unit"));
        const size_t *const unit = name ? organ_name_table_find(names, name) : NULL;
        if (unit && !w->units[*unit].done)
            organ_units_recall(w, *unit, line);
        if (!unit || !w->units[*unit].done)
            organ_fail(error, ORGAN_IO, "%s: %s", w->journal.path,
                       no_memory ? "no memory for the list of another rank's units"
                                 : "another rank's list of units is malformed");
        json_decref(line);
    }
    return error->status;
}

/* organ_units_assign has set `done` of every unit that it assigned to another rank. `done` of these units is cleared
 * here, then set for each unit in the journal lines of the other ranks. `all` has the journal lines of every rank.
 * So `done` of units with `calib` that another rank has made is set, too. */
static organ_status recall_shares(organ_writing *w, const organ_gathered *all, organ_error *error)
{
    organ_name_table names = {0};
    for (size_t u = 0; u < w->unit_count; u++) {
        if (!w->log.elsewhere[u] && (!w->units[u].calib || w->units[u].done))
            continue;
        w->units[u].done = w->log.elsewhere[u] = false;
        if (!error->status && !organ_name_table_put(&names, w->pieces[w->units[u].first].name, u))
            organ_fail_memory(error, w->journal.path);
    }
    for (size_t r = 0; r < all->count && !error->status; r++)
        if (r != organ_ranks_rank(w->output.ranks))
            recall_lines(w, &names, all->of[r] ? all->of[r] : "", error);
    organ_name_table_release(&names);
    return error->status;
}

organ_status organ_units_join(organ_writing *w, organ_error *error)
{
    organ_gathered all = {0};
    organ_error untaken = {0};
    if (!w->output.ranks)
        return error->status;
    if (fflush(w->log.own_lines))
        organ_fail_memory(error, w->journal.path);
    organ_ranks_gather(w->output.ranks, "writing units", w->log.text, w->log.length, &all, error);
    /* Also after an error, because the error message states how many units are done. */
    recall_shares(w, &all, &untaken);
    organ_gathered_release(&all);
    if (untaken.status && !error->status)
        *error = untaken;
    return error->status;
}
