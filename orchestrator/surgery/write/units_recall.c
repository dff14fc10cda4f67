/* SPDX-License-Identifier: MIT
 * Finds the units that an interrupted run finished: compares the digests in its journal with the bytes of the
 * unfinished output. */
#include "orchestrator/surgery/write/writing.h"

#include "formats/base/rows.h"
#include "orchestrator/stream/product.h"

#include <organ/base.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

typedef struct units_place {
    const organ_writing *w;
    size_t piece;
} units_place;

static organ_status read_piece(const void *context, void *data, size_t bytes, uint64_t offset, organ_error *error)
{
    const units_place *const p = context;
    return organ_write_read(p->w, p->piece, data, bytes, offset, error);
}

/* `rows`, the extents of a piece in the journal, must cover the piece without a gap (or its beginning, in a layout),
 * and the bytes of each extent in the output must have the extent's digest. */
static organ_status check_piece(const organ_writing *w, size_t piece, const json_t *rows, bool *intact,
                                organ_error *error)
{
    const units_place here = {w, piece};
    uint64_t at = 0;
    size_t k;
    json_t *row;
    *intact = json_is_array(rows);
    json_array_foreach(rows, k, row)
    {
        json_int_t from, bytes;
        const char *written;
        char found[17];
        if (organ_stop_is_requested(w->write->engine->stop))
            return organ_fail(error, ORGAN_INTERRUPTED, "interrupted");
        *intact = json_unpack((json_t *)row, "[I, I, s]", &from, &bytes, &written) == 0 && from >= 0 &&
                  (uint64_t)from == at && bytes > 0 && (uint64_t)bytes <= w->plan->pieces[piece].bytes - at;
        if (!*intact || organ_run_digest(read_piece, &here, at, (uint64_t)bytes, /*progress=*/NULL, found, error))
            return error->status;
        *intact = strcmp(written, found) == 0;
        if (!*intact)
            return ORGAN_OK;
        at += (uint64_t)bytes;
    }
    *intact = *intact && (at == w->plan->pieces[piece].bytes || (w->write->layout && !w->plan->pieces[piece].same));
    return ORGAN_OK;
}

static organ_status check_unit(const organ_writing *w, size_t unit, const json_t *line, bool *intact,
                               organ_error *error)
{
    const json_t *const pieces = json_object_get(line, "pieces");
    const size_t count = 1 + w->plan->pieces[unit].more;
    *intact = json_array_size(pieces) == count;
    for (size_t k = 0; k < count && *intact; k++)
        if (check_piece(w, unit + k, json_array_get(pieces, k), intact, error))
            return error->status;
    return ORGAN_OK;
}

static bool recall_unit(organ_writing *w, size_t item, const json_t *results)
{
    if (w->write->replaced.rows)
        return organ_row_work_recall(w, item, results);
    return !w->write->make.recall || w->write->make.recall(organ_write_inner(w), item, results);
}

/* A unit with malformed results stays undone. */
static void units_recall(organ_writing *w, size_t unit, const json_t *line)
{
    organ_piece *const u = &w->plan->pieces[unit];
    const json_t *const results = json_object_get(line, "results");
    /* With organ_layout.only_copies the line of a piece has one extent with its digest, or none if the piece is empty.
     */
    const char *const digits =
        json_string_value(json_array_get(json_array_get(json_array_get(json_object_get(line, "pieces"), 0), 0), 2));
    if (u->same)
        u->xxh3 = digits ? strtoull(digits, NULL, 16) : XXH3_64bits(NULL, 0);
    u->done = json_is_object(results) && (u->same || recall_unit(w, u->item, results));
    w->done += u->done;
}

/* The last line about a unit counts. Entries of units without a line stay NULL. */
static organ_status find_lines(const organ_writing *w, const json_t **line_of, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_name_table_release) organ_name_table names = {0};
    size_t k;
    json_t *line;
    ORGAN_EACH_UNIT (u, w)
        if (!error->status && !organ_name_table_put(&names, w->plan->pieces[u].name, u))
            organ_fail_memory(error, w->journal.path);
    json_array_foreach(w->journal.lines, k, line)
    {
        const char *const name = json_string_value(json_object_get(line, "unit"));
        const size_t *const unit = name && !error->status ? organ_name_table_find(&names, name) : NULL;
        if (unit)
            line_of[*unit] = line;
    }
    return error->status;
}

typedef struct inventory {
    const json_t **line_of; /* the unit's journal line; NULL: none */
    uint64_t *bytes;        /* bytes of the unit in the output; 0 without a line */
    uint32_t *owner;        /* rank that compares the unit's bytes with the digests of the line */
    bool *intact;           /* the unit's bytes in the output match these digests */
    organ_writing *w;
    pthread_mutex_t lock; /* for the progress */
} inventory;

/* The units that have a journal line are divided among the ranks, which check about equally many bytes each. */
static organ_status make_inventory(organ_writing *w, inventory *list, organ_error *error)
{
    const size_t capacity = w->plan->piece_count + 1;
    *list = (inventory){.line_of = calloc(capacity, sizeof *list->line_of),
                        .bytes = calloc(capacity, sizeof *list->bytes),
                        .owner = calloc(capacity, sizeof *list->owner),
                        .intact = calloc(capacity, sizeof *list->intact),
                        .w = w,
                        .lock = PTHREAD_MUTEX_INITIALIZER};
    if (!list->line_of || !list->bytes || !list->owner || !list->intact)
        return organ_fail_memory(error, w->journal.path);
    if (find_lines(w, list->line_of, error))
        return error->status;
    ORGAN_EACH_UNIT (u, w)
        list->bytes[u] = list->line_of[u] ? organ_units_bytes(w, u) : 0;
    return organ_ranks_assign(w->output.ranks, list->bytes, w->plan->piece_count, list->owner, error);
}

static void free_inventory(inventory *list)
{
    ORGAN_FREE_ARRAYS(list->line_of, list->bytes, list->owner, list->intact);
}

static organ_status check_found_unit(void *context, size_t u, size_t worker, organ_error *error)
{
    inventory *const list = context;
    const organ_writing *const w = list->w;
    (void)worker;
    if (!list->line_of[u] || list->owner[u] != organ_ranks_rank(w->output.ranks) ||
        check_unit(w, u, list->line_of[u], &list->intact[u], error) != ORGAN_OK)
        return error->status;
    ORGAN_LOCKED(&list->lock);
    organ_progress_advance(w->write->progress, list->bytes[u], NULL, NULL);
    return ORGAN_OK;
}

static void check_found_units(inventory *list, organ_error *error)
{
    const organ_writing *const w = list->w;
    uint64_t bytes = 0;
    size_t lines = 0;
    ORGAN_EACH_UNIT (u, w) {
        bytes += list->bytes[u];
        lines += list->line_of[u] != NULL;
    }
    organ_progress_begin(w->write->progress, "checking the unfinished output", bytes, lines);
    organ_share_try(w->write->engine, w->plan->piece_count, check_found_unit, list, error);
    for (size_t u = 0; u < w->plan->piece_count && !error->status; u++)
        if (list->line_of[u] && list->owner[u] == organ_ranks_rank(w->output.ranks) && !list->intact[u])
            organ_progress_note(w->write->progress,
                                "%s: its bytes in the unfinished output differ from the journal: it is written again",
                                w->plan->pieces[u].name);
    organ_progress_end(w->write->progress);
}

static organ_status recall_units(organ_writing *w, organ_error *error)
{
    inventory listed = {0};
    ORGAN_RELEASED_BY(organ_gathered_release) organ_gathered verdicts = {0};
    if (make_inventory(w, &listed, error) == ORGAN_OK)
        check_found_units(&listed, error);
    organ_ranks_gather(w->output.ranks, "checking the unfinished output", listed.intact,
                       listed.intact ? w->plan->piece_count : 0, &verdicts, error);
    for (size_t u = 0; u < w->plan->piece_count && !error->status; u++)
        if (listed.line_of[u] && verdicts.of[listed.owner[u]][u])
            units_recall(w, u, listed.line_of[u]);
    free_inventory(&listed);
    if (!error->status)
        organ_progress_note(w->write->progress, "continuing: %zu of %zu tensors are done and intact", w->done,
                            w->unit_count);
    return error->status;
}

/* ---- begin and end ---- */

organ_status organ_units_begin(organ_writing *w, organ_error *error)
{
    organ_unit_log *const log = &w->log;
    pthread_mutex_init(&log->lock, NULL);
    log->open = true;
    log->of_piece = calloc(w->plan->piece_count + 1, sizeof *log->of_piece);
    log->elsewhere = calloc(w->plan->piece_count + 1, sizeof *log->elsewhere);
    log->own_lines = w->output.ranks ? open_memstream(&log->text, &log->length) : NULL;
    if (!log->of_piece || !log->elsewhere || (w->output.ranks && !log->own_lines))
        return organ_fail_memory(error, w->journal.path);
    return json_array_size(w->journal.lines) > 0 ? recall_units(w, error) : ORGAN_OK;
}

void organ_units_end(organ_writing *w)
{
    organ_unit_log *const log = &w->log;
    if (!log->open)
        return;
    for (size_t k = 0; log->of_piece && k < w->plan->piece_count; k++)
        free(log->of_piece[k].list);
    ORGAN_FREE_ARRAYS(log->of_piece, log->elsewhere);
    if (log->own_lines)
        fclose(log->own_lines);
    free(log->text);
    pthread_mutex_destroy(&log->lock);
    *log = (organ_unit_log){0};
}

/* ---- dividing the units of an output among the ranks, and sending their journal lines to all ranks ---- */

/* The bytes are those of source and output. Units that other ranks make get `done` and `elsewhere`. */
organ_status organ_units_assign(organ_writing *w, organ_error *error)
{
    organ_piece *const pieces = w->plan->pieces;
    const size_t capacity = w->plan->piece_count + 1;
    ORGAN_OWNED uint64_t *const bytes = calloc(capacity, sizeof *bytes);
    ORGAN_OWNED uint32_t *const owner = calloc(capacity, sizeof *owner);
    if (!bytes || !owner)
        organ_fail_memory(error, w->journal.path);
    if (error->status)
        return error->status;
    ORGAN_EACH_UNIT (u, w)
        bytes[u] = pieces[u].done || pieces[u].calib ? 0 : pieces[u].cost + organ_units_bytes(w, u);
    organ_ranks_assign(w->output.ranks, bytes, w->plan->piece_count, owner, error);
    ORGAN_EACH_UNIT (u, w)
        if (!error->status && !pieces[u].done && !pieces[u].calib && owner[u] != organ_ranks_rank(w->output.ranks))
            pieces[u].done = w->log.elsewhere[u] = true;
    return error->status;
}

/* `lines` is the journal of another rank. `names` maps the names of units that this rank has not made to their
 * indices. Returns ORGAN_IO if a line is malformed, if its unit is not in `names`, or if memory runs out. */
static organ_status recall_lines(organ_writing *w, const organ_name_table *names, const char *lines, organ_error *error)
{
    bool no_memory = false;
    json_error_t fault;
    for (const char *end; (end = strchr(lines, '\n')) && !error->status; lines = end + 1) {
        ORGAN_OWNED_JSON json_t *const line = organ_json_load(lines, (size_t)(end - lines), 0, &fault, &no_memory);
        const char *const name = json_string_value(json_object_get(line, "unit"));
        const size_t *const unit = name ? organ_name_table_find(names, name) : NULL;
        if (unit && !w->plan->pieces[*unit].done)
            units_recall(w, *unit, line);
        if (!unit || !w->plan->pieces[*unit].done)
            organ_fail(error, ORGAN_IO, "%s: %s", w->journal.path,
                       no_memory ? "no memory for the list of another rank's units"
                                 : "another rank's list of units is malformed");
    }
    return error->status;
}

/* organ_units_assign has set `done` of every unit that it assigned to another rank. `done` of these units is cleared
 * here, then set for each unit in the journal lines of the other ranks. `all` has the journal lines of every rank.
 * So `done` of units with `calib` that another rank has made is set, too. */
static organ_status recall_shares(organ_writing *w, const organ_gathered *all, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_name_table_release) organ_name_table names = {0};
    ORGAN_EACH_UNIT (u, w) {
        organ_piece *const unit = &w->plan->pieces[u];
        if (!w->log.elsewhere[u] && (!unit->calib || unit->done))
            continue;
        unit->done = w->log.elsewhere[u] = false;
        if (!error->status && !organ_name_table_put(&names, unit->name, u))
            organ_fail_memory(error, w->journal.path);
    }
    for (size_t r = 0; r < all->count && !error->status; r++)
        if (r != organ_ranks_rank(w->output.ranks))
            recall_lines(w, &names, all->of[r] ? all->of[r] : "", error);
    return error->status;
}

organ_status organ_units_join(organ_writing *w, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_gathered_release) organ_gathered all = {0};
    organ_error untaken = {0};
    if (!w->output.ranks)
        return error->status;
    if (fflush(w->log.own_lines))
        organ_fail_memory(error, w->journal.path);
    organ_ranks_gather(w->output.ranks, "writing units", w->log.text, w->log.length, &all, error);
    /* Also after an error, because the error message states how many units are done. */
    recall_shares(w, &all, &untaken);
    if (untaken.status && !error->status)
        *error = untaken;
    return error->status;
}
