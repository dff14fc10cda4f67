/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/output/unit_run.h"

#include "formats/base/name_table.h"
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/output/unit_run_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* ---- what is put ---- */

static bool add_extent(organ_unit_extents *all, organ_unit_extent one)
{
    if (all->count == all->room) {
        const size_t room = all->room ? 2 * all->room : 4;
        organ_unit_extent *const more = realloc(all->list, room * sizeof *more);
        if (!more)
            return false;
        all->list = more;
        all->room = room;
    }
    all->list[all->count++] = one;
    return true;
}

organ_status organ_unit_run_put(organ_unit_run *run, size_t piece, const void *data, size_t bytes, uint64_t at,
                                void *scratch, organ_error *error)
{
    const organ_unit_extent one = {.at = at, .bytes = bytes, .xxh3 = XXH3_64bits(data, bytes)};
    const organ_shard_piece *const p = &run->pieces[piece];
    if (run->copy ? organ_model_copy_write(run->copy, p->file, data, bytes, p->offset + at, error)
                  : organ_resharding_put(run->plan, piece, data, bytes, at, scratch, error))
        return error->status;
    pthread_mutex_lock(&run->log->lock);
    const bool added = add_extent(&run->log->of_piece[piece], one);
    pthread_mutex_unlock(&run->log->lock);
    return added ? ORGAN_OK : organ_fail_memory(error, run->journal->path);
}

static int by_offset(const void *a, const void *b)
{
    const uint64_t x = ((const organ_unit_extent *)a)->at, y = ((const organ_unit_extent *)b)->at;
    return (x > y) - (x < y);
}

/* [[at, bytes, "xxh3"], ...] in order of their offsets; NULL without memory. Forgets them. */
static json_t *take_extents(organ_unit_extents *all)
{
    json_t *const rows = json_array();
    bool complete = rows != NULL;
    if (all->count)
        qsort(all->list, all->count, sizeof *all->list, by_offset);
    for (size_t k = 0; k < all->count && complete; k++) {
        const organ_unit_extent *const e = &all->list[k];
        char digits[17];
        snprintf(digits, sizeof digits, "%016" PRIx64, e->xxh3);
        complete =
            json_array_append_new(rows, json_pack("[I, I, s]", (json_int_t)e->at, (json_int_t)e->bytes, digits)) == 0;
    }
    free(all->list);
    *all = (organ_unit_extents){0};
    if (complete)
        return rows;
    json_decref(rows);
    return NULL;
}

organ_status organ_unit_run_finish(organ_unit_run *run, size_t unit, json_t *results, organ_error *error)
{
    organ_run_unit *const u = &run->units[unit];
    json_t *const pieces = json_array();
    bool complete = pieces && results;
    pthread_mutex_lock(&run->log->lock);
    for (size_t k = 0; k < u->count && complete; k++)
        complete = json_array_append_new(pieces, take_extents(&run->log->of_piece[u->first + k])) == 0;
    pthread_mutex_unlock(&run->log->lock);
    json_t *const line = complete
                             ? ORGAN_OBJECT(SET_TEXT("unit", run->pieces[u->first].name),
                                            SET("pieces", json_incref(pieces)), SET("results", json_incref(results)))
                             : NULL;
    json_decref(pieces);
    json_decref(results);
    if (line && run->log->told &&
        (json_dumpf(line, run->log->told, JSON_COMPACT) || fputc('\n', run->log->told) == EOF))
        organ_fail_memory(error, run->journal->path);
    if (organ_run_journal_add(run->journal, line, error))
        return error->status;
    u->done = true;
    run->done++;
    return ORGAN_OK;
}

/* ---- what is copied ---- */

static bool unit_run_is_wanted(void *context, size_t piece)
{
    const organ_unit_run *const run = context;
    return !run->units[run->log->unit_of[piece]].done;
}

static organ_status finish_copied(void *context, size_t piece, uint64_t xxh3, organ_error *error)
{
    organ_unit_run *const run = context;
    const organ_unit_extent whole = {.bytes = run->pieces[piece].bytes, .xxh3 = xxh3};
    if (whole.bytes && !add_extent(&run->log->of_piece[piece], whole))
        return organ_fail_memory(error, run->journal->path);
    run->pieces[piece].xxh3 = xxh3;
    return organ_unit_run_finish(run, run->log->unit_of[piece], json_object(), error);
}

organ_status organ_unit_run_copy(organ_unit_run *run, organ_error *error)
{
    const organ_resharding_watch watch = {.context = run, .wanted = unit_run_is_wanted, .copied = finish_copied};
    if (run->copy)
        return organ_model_copy_finish(run->copy, error);
    return organ_resharding_copy(run->plan, &watch, run->progress, run->stop, error);
}

/* ---- what an earlier run did ---- */

organ_status organ_unit_run_read(const organ_unit_run *run, size_t piece, void *data, size_t bytes, uint64_t at,
                                 organ_error *error)
{
    const organ_shard_piece *const p = &run->pieces[piece];
    return run->copy ? organ_model_copy_read(run->copy, p->file, data, bytes, p->offset + at, error)
                     : organ_resharding_read(run->plan, piece, data, bytes, at, error);
}

typedef struct unit_run_place {
    const organ_unit_run *run;
    size_t piece;
} unit_run_place;

static organ_status read_piece(const void *context, void *data, size_t bytes, uint64_t offset, organ_error *error)
{
    const unit_run_place *const p = context;
    return organ_unit_run_read(p->run, p->piece, data, bytes, offset, error);
}

/* Whether the extents cover the piece without a gap and its bytes have their digests. */
static organ_status check_piece(const organ_unit_run *run, size_t piece, const json_t *rows, bool *holds,
                                organ_error *error)
{
    const unit_run_place here = {run, piece};
    uint64_t at = 0;
    size_t k;
    json_t *row;
    *holds = json_is_array(rows);
    json_array_foreach(rows, k, row)
    {
        json_int_t from, bytes;
        const char *written;
        char found[17];
        if (organ_stop_asked(run->stop))
            return organ_fail(error, ORGAN_INTERRUPTED, "interrupted");
        *holds = json_unpack((json_t *)row, "[I, I, s]", &from, &bytes, &written) == 0 && from >= 0 &&
                 (uint64_t)from == at && bytes > 0 && (uint64_t)bytes <= run->pieces[piece].bytes - at;
        if (!*holds || organ_run_digest(read_piece, &here, at, (uint64_t)bytes, run->progress, found, error))
            return error->status;
        *holds = strcmp(written, found) == 0;
        if (!*holds)
            return ORGAN_OK;
        at += (uint64_t)bytes;
    }
    *holds = *holds && at == run->pieces[piece].bytes;
    return ORGAN_OK;
}

/* Whether the bytes of a unit are those that its line tells of. */
static organ_status check_unit(const organ_unit_run *run, size_t unit, const json_t *line, bool *holds,
                               organ_error *error)
{
    const organ_run_unit *const u = &run->units[unit];
    const json_t *const pieces = json_object_get(line, "pieces");
    *holds = json_array_size(pieces) == u->count;
    for (size_t k = 0; k < u->count && *holds; k++)
        if (check_piece(run, u->first + k, json_array_get(pieces, k), holds, error))
            return error->status;
    return ORGAN_OK;
}

void organ_unit_recall(organ_unit_run *run, size_t unit, const json_t *line)
{
    organ_run_unit *const u = &run->units[unit];
    const json_t *const results = json_object_get(line, "results");
    organ_shard_piece *const first = &run->pieces[u->first];
    /* A piece that was copied is one row, or none if it is empty. */
    const char *const digits =
        json_string_value(json_array_get(json_array_get(json_array_get(json_object_get(line, "pieces"), 0), 0), 2));
    if (first->same)
        first->xxh3 = digits ? strtoull(digits, NULL, 16) : XXH3_64bits(NULL, 0);
    u->done = json_is_object(results) && (first->same || run->recall(run->context, u->item, results));
    run->done += u->done;
}

/* The last line of each unit. */
static organ_status find_lines(const organ_unit_run *run, const json_t **line_of, organ_error *error)
{
    organ_name_table names = {0};
    size_t k;
    json_t *line;
    for (size_t u = 0; u < run->unit_count && !error->status; u++)
        if (!organ_name_table_put(&names, run->pieces[run->units[u].first].name, u))
            organ_fail_memory(error, run->journal->path);
    json_array_foreach(run->journal->lines, k, line)
    {
        const char *const name = json_string_value(json_object_get(line, "unit"));
        const size_t *const unit = name && !error->status ? organ_name_table_find(&names, name) : NULL;
        if (unit)
            line_of[*unit] = line;
    }
    organ_name_table_release(&names);
    return error->status;
}

uint64_t organ_unit_bytes(const organ_unit_run *run, size_t unit)
{
    uint64_t bytes = 0;
    for (size_t k = 0; k < run->units[unit].count; k++)
        bytes += run->pieces[run->units[unit].first + k].bytes;
    return bytes;
}

/* What is there, as the ranks find it: a flag for each unit. */
typedef struct inventory {
    const json_t **line_of;
    uint64_t *bytes;
    uint32_t *owner; /* the rank that looks at it */
    bool *holds;
} inventory;

static organ_status make_inventory(const organ_unit_run *run, inventory *there, organ_error *error)
{
    const size_t room = run->unit_count + 1;
    *there = (inventory){calloc(room, sizeof *there->line_of), calloc(room, sizeof *there->bytes),
                         calloc(room, sizeof *there->owner), calloc(room, sizeof *there->holds)};
    if (!there->line_of || !there->bytes || !there->owner || !there->holds)
        return organ_fail_memory(error, run->journal->path);
    if (find_lines(run, there->line_of, error))
        return error->status;
    for (size_t u = 0; u < run->unit_count; u++)
        there->bytes[u] = there->line_of[u] ? organ_unit_bytes(run, u) : 0;
    return organ_ranks_deal(run->ranks, there->bytes, run->unit_count, there->owner, error);
}

static void free_inventory(inventory *there)
{
    free(there->line_of);
    free(there->bytes);
    free(there->owner);
    free(there->holds);
}

/* Each rank looks at its share. */
static void look_through(const organ_unit_run *run, inventory *there, organ_error *error)
{
    uint64_t bytes = 0;
    size_t lines = 0;
    for (size_t u = 0; u < run->unit_count; u++) {
        bytes += there->bytes[u];
        lines += there->line_of[u] != NULL;
    }
    organ_progress_begin(run->progress, "checking what is there", bytes, lines);
    for (size_t u = 0; u < run->unit_count && !error->status; u++)
        if (there->line_of[u] && there->owner[u] == organ_ranks_rank(run->ranks) &&
            check_unit(run, u, there->line_of[u], &there->holds[u], error) == ORGAN_OK && !there->holds[u])
            organ_progress_note(
                run->progress,
                "%s: its bytes in the unfinished output are not those that were written down: it is made again",
                run->pieces[run->units[u].first].name);
    organ_progress_end(run->progress);
}

static organ_status take_all_over(organ_unit_run *run, organ_error *error)
{
    inventory there = {0};
    organ_gathered found = {0};
    if (make_inventory(run, &there, error) == ORGAN_OK)
        look_through(run, &there, error);
    organ_ranks_gather(run->ranks, "what is there was checked", there.holds, there.holds ? run->unit_count : 0, &found,
                       error);
    for (size_t u = 0; u < run->unit_count && !error->status; u++)
        if (there.line_of[u] && found.of[there.owner[u]][u])
            organ_unit_recall(run, u, there.line_of[u]);
    organ_gathered_free(&found);
    free_inventory(&there);
    if (!error->status)
        organ_progress_note(run->progress, "continuing: %zu of %zu tensors are done and intact", run->done,
                            run->unit_count);
    return error->status;
}

/* ---- begin and end ---- */

organ_status organ_unit_run_begin(organ_unit_run *run, organ_error *error)
{
    organ_unit_log *const log = calloc(1, sizeof *log);
    if (!log)
        return organ_fail_memory(error, run->journal->path);
    run->log = log;
    pthread_mutex_init(&log->lock, NULL);
    log->of_piece = calloc(run->piece_count + 1, sizeof *log->of_piece);
    log->unit_of = calloc(run->piece_count + 1, sizeof *log->unit_of);
    log->elsewhere = calloc(run->unit_count + 1, sizeof *log->elsewhere);
    log->told = run->ranks ? open_memstream(&log->text, &log->length) : NULL;
    if (!log->of_piece || !log->unit_of || !log->elsewhere || (run->ranks && !log->told))
        return organ_fail_memory(error, run->journal->path);
    for (size_t u = 0; u < run->unit_count; u++)
        for (size_t k = 0; k < run->units[u].count; k++)
            log->unit_of[run->units[u].first + k] = u;
    return json_array_size(run->journal->lines) > 0 ? take_all_over(run, error) : ORGAN_OK;
}

void organ_unit_run_end(organ_unit_run *run)
{
    organ_unit_log *const log = run->log;
    if (!log)
        return;
    for (size_t k = 0; log->of_piece && k < run->piece_count; k++)
        free(log->of_piece[k].list);
    free(log->of_piece);
    free(log->unit_of);
    free(log->elsewhere);
    if (log->told)
        fclose(log->told);
    free(log->text);
    pthread_mutex_destroy(&log->lock);
    free(log);
    run->log = NULL;
}
