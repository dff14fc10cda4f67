/* SPDX-License-Identifier: MIT
 * Writes and reads the bytes of units, records finished units in the journal, and copies unchanged pieces. */
#include "orchestrator/surgery/write/writing.h"

#include "formats/base/plain_numbers.h"
#include "formats/base/rows.h"
#include "formats/base/text.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/report/text/report_text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <xxhash.h>

/* ---- functions for callbacks ---- */

bool organ_write_done(const organ_writing *w, size_t unit) { return w->plan->pieces[unit].done; }

const json_t *organ_write_lines(const organ_writing *w) { return w->journal.lines; }

organ_status organ_write_note(organ_writing *w, json_t *line, bool keep_if_interrupted, organ_error *error)
{
    if (w->write->requested->dry_run) {
        json_decref(line);
        return ORGAN_OK;
    }
    w->journal.keep_if_interrupted |= keep_if_interrupted;
    return organ_run_journal_add(&w->journal, line, error);
}

organ_status organ_write_note_once(organ_writing *w, json_t *line, organ_error *error)
{
    if (organ_ranks_first(w->output.ranks))
        return organ_write_note(w, line, /*keep_if_interrupted=*/true, error);
    json_decref(line);
    return ORGAN_OK;
}

bool organ_write_is_whole(const organ_writing *w) { return w->output.publish.whole; }

const char *organ_write_choices(const organ_writing *w) { return w->choices; }

const organ_output *organ_write_output(const organ_writing *w) { return &w->output; }

void *organ_write_inner(const organ_writing *w) { return w->write->inner ? w->write->inner : w->write->context; }

const organ_layout *organ_write_files(const organ_writing *w) { return w->plan; }

const organ_file_list *organ_write_extra_files(const organ_writing *w) { return &w->extra; }

/* ---- bytes written by callbacks ---- */

/* Returns false if memory runs out. */
static bool add_extent(organ_unit_extents *all, organ_unit_extent one)
{
    const bool room = organ_grow(&all->list, all->count, &all->capacity, sizeof *all->list);
    if (room)
        all->list[all->count++] = one;
    return room;
}

organ_status organ_write_bytes(organ_writing *w, size_t piece, const void *data, size_t bytes, uint64_t at,
                               organ_error *error)
{
    return organ_layout_put(w->plan, piece, data, bytes, at, /*scratch=*/NULL, error);
}

organ_status organ_write_digest(organ_writing *w, size_t piece, const void *data, size_t bytes, uint64_t at,
                                organ_error *error)
{
    const organ_unit_extent one = {.at = at, .bytes = bytes, .xxh3 = XXH3_64bits(data, bytes)};
    ORGAN_LOCKED(&w->log.lock);
    const bool added = add_extent(&w->log.of_piece[piece], one);
    return added ? ORGAN_OK : organ_fail_memory(error, w->journal.path);
}

organ_status organ_write_put(organ_writing *w, size_t piece, const void *data, size_t bytes, uint64_t at, void *scratch,
                             organ_error *error)
{
    if (organ_layout_put(w->plan, piece, data, bytes, at, scratch, error))
        return error->status;
    return organ_write_digest(w, piece, data, bytes, at, error);
}

organ_status organ_write_put_behind(organ_writing *w, organ_behind *behind, size_t worker, size_t piece,
                                    const void *data, size_t bytes, uint64_t at, organ_error *error)
{
    uint64_t offset;
    const char *const path = organ_layout_place(w->plan, piece, &offset);
    if (organ_behind_write(behind, worker, path, data, bytes, offset + at, error))
        return error->status;
    return organ_write_digest(w, piece, data, bytes, at, error);
}

const organ_pass_moves *organ_write_moves(organ_writing *w, bool *behind)
{
    *behind = organ_model_copy_waits(w->plan->copy);
    return organ_model_copy_moves(w->plan->copy);
}

static int by_offset(const void *a, const void *b)
{
    const uint64_t x = ((const organ_unit_extent *)a)->at, y = ((const organ_unit_extent *)b)->at;
    return ORGAN_ORDER(x, y);
}

/* The extents are [[at, bytes, "xxh3"], ...] sorted by offset. The list becomes empty. NULL without memory. */
static json_t *extents_json(organ_unit_extents *all)
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

/* The line is {"unit", "pieces", "results"}. With several ranks log.own_lines gets it too, whose text
 * organ_units_join sends to the other ranks. */
organ_status organ_write_finish(organ_writing *w, size_t unit, json_t *results, organ_error *error)
{
    organ_piece *const u = &w->plan->pieces[unit];
    for (size_t k = 0; k <= u->more && !error->status; k++)
        organ_layout_settle(w->plan, unit + k, error);
    if (error->status) {
        json_decref(results);
        return error->status;
    }
    ORGAN_OWNED_JSON json_t *const pieces = json_array();
    bool complete = pieces && results;
    pthread_mutex_lock(&w->log.lock);
    for (size_t k = 0; k <= u->more && complete; k++)
        complete = json_array_append_new(pieces, extents_json(&w->log.of_piece[unit + k])) == 0;
    pthread_mutex_unlock(&w->log.lock);
    json_t *const line = complete ? ORGAN_OBJECT(SET_TEXT("unit", u->name), SET("pieces", json_incref(pieces)),
                                                 SET("results", json_incref(results)))
                                  : NULL;
    json_decref(results);
    if (line && w->log.own_lines &&
        (json_dumpf(line, w->log.own_lines, JSON_COMPACT) || fputc('\n', w->log.own_lines) == EOF))
        organ_fail_memory(error, w->journal.path);
    if (organ_run_journal_add(&w->journal, line, error))
        return error->status;
    u->done = true;
    w->done++;
    return ORGAN_OK;
}

/* ---- copied pieces ---- */

/* With organ_layout.only_copies the extent is the whole piece, whose digest the layout reports. */
static organ_status keep_copied(void *context, const organ_transfer *transfer, const organ_transfer_extent *extent,
                                organ_error *error)
{
    organ_writing *const w = context;
    const organ_unit_extent one = {.at = extent->at, .bytes = extent->bytes, .xxh3 = extent->xxh3};
    w->plan->pieces[transfer->number].xxh3 = extent->xxh3;
    ORGAN_LOCKED(&w->log.lock);
    const bool added = add_extent(&w->log.of_piece[transfer->number], one);
    return added ? ORGAN_OK : organ_fail_memory(error, w->journal.path);
}

static organ_status finish_copied(void *context, const organ_transfer *transfer, organ_error *error)
{
    organ_writing *const w = context;
    organ_piece *const piece = &w->plan->pieces[transfer->number];
    if (piece->bytes == 0)
        piece->xxh3 = XXH3_64bits(NULL, 0);
    return organ_write_finish(w, transfer->number, json_object(), error);
}

organ_status organ_units_copy(organ_writing *w, organ_error *error)
{
    if (w->plan->in_place)
        return organ_model_copy_finish(w->plan->copy, w->write->engine, error);
    ORGAN_OWNED_ROWS organ_transfer *const transfers = organ_rows_take(w->plan->piece_count + 1, sizeof *transfers);
    size_t count = 0;
    if (!transfers)
        return organ_fail_memory(error, w->write->model->path);
    for (size_t k = 0; k < w->plan->piece_count; k++) {
        if (!w->plan->pieces[k].same || w->plan->pieces[k].done)
            continue;
        organ_transfer *const transfer = &transfers[count++];
        *transfer = organ_layout_transfer(w->plan, k);
        transfer->overflow = &w->overflow;
        transfer->written = keep_copied;
        transfer->done = finish_copied;
        transfer->context = w;
    }
    return count ? organ_transfer_run(transfers, count, w->write->engine, w->write->progress, error) : ORGAN_OK;
}

/* ---- reading back ---- */

organ_status organ_write_read(const organ_writing *w, size_t piece, void *data, size_t bytes, uint64_t at,
                              organ_error *error)
{
    return organ_layout_read(w->plan, piece, data, bytes, at, error);
}

uint64_t organ_units_bytes(const organ_writing *w, size_t unit)
{
    uint64_t bytes = 0;
    for (size_t k = 0; k <= w->plan->pieces[unit].more; k++)
        bytes += w->plan->pieces[unit + k].bytes;
    return bytes;
}

/* ---- the journal ---- */

/* Adds the members by which the verb identifies the run. */
static json_t *with_identity(const organ_write *m, json_t *line)
{
    json_t *const own = organ_json_joined(
        line, ORGAN_OBJECT(SET_IF(m->check.parameters, "parameters", m->check.parameters(m->context))));
    return m->check.identity ? organ_json_joined(own, m->check.identity(m->context)) : own;
}

json_t *organ_writing_head(const organ_writing *w)
{
    const organ_write *const m = w->write;
    json_t *const head =
        ORGAN_OBJECT(SET_TEXT("schema", "organ.journal/1"), SET_TEXT("definition", m->names.definition),
                     SET_TEXT("organ", ORGAN_VERSION), SET_IF(m->requested->saturate, "saturate", json_true()));
    return organ_json_joined(with_identity(m, head),
                             ORGAN_OBJECT(SET(ORGAN_RUN_INPUTS, organ_run_inputs_json(&w->inputs))));
}

json_t *organ_writing_plan_line(const organ_writing *w)
{
    const organ_write *const m = w->write;
    json_t *const line = ORGAN_OBJECT(
        SET("plan", organ_json_sprintf("%016llx", (unsigned long long)organ_layout_digest_of_plan(w->plan))));
    json_t *const decided = m->decide ? with_identity(m, line) : line;
    return m->make.depends ? organ_json_joined(decided, m->make.depends(organ_write_inner(w))) : decided;
}

/* ---- the report ---- */

/* A document that lacks a schema gets the members that all reports share. NULL if memory runs out. */
static json_t *document_of(const organ_writing *w)
{
    const organ_write *const m = w->write;
    json_t *const object = m->report.document(m->context, w);
    organ_leftovers_report(object, w->stripped);
    if (!object || !m->check.parameters || json_object_get(object, "schema"))
        return object;
    const uint64_t bytes = w->plan->in_place ? w->source_bytes : organ_layout_bytes(w->plan);
    json_t *const made = organ_json_joined(
        ORGAN_OBJECT(SET_HEAD(m->names.view->schema, m->names.definition), SET_FLAG("dry_run", m->requested->dry_run),
                     SET(m->names.model, organ_run_model_json(m->model, m->report.runs_blocks)),
                     SET("parameters", m->check.parameters(m->context))),
        object);
    ORGAN_ADD(made, SET_IF(!json_object_get(made, "run"), "run",
                           organ_output_run_on(&w->output, bytes, m->model->path, m->engine)));
    return made;
}

/* `bytes`: those of the model's tensors, which an output with replaced tensors has too. */
static uint64_t planned_bytes(const organ_writing *w, uint64_t bytes)
{
    const organ_write *const m = w->write;
    if (m->layout)
        return organ_layout_bytes(m->layout);
    return w->plan->in_place ? bytes : organ_layout_total(w->plan);
}

/* The predictions are the object "plan" and the predicted time in "run". Returns -1 if memory runs out. */
static int document_add_plan(const organ_writing *w, json_t *report)
{
    const organ_write *const m = w->write;
    if (!m->requested->dry_run)
        return 0;
    organ_plan all = m->report.plan ? *m->report.plan : (organ_plan){0};
    const uint64_t bytes = organ_model_tensor_bytes(m->model);
    all.output_bytes = planned_bytes(w, bytes);
    organ_plan_memory(&all, organ_writing_only_copies(w) ? ORGAN_PLAN_COPY : ORGAN_PLAN_MIN, /*good=*/0);
    organ_plan_memory(&all, w->evaluation.memory, /*good=*/0);
    organ_plan_memory(&all, w->rows_memory, /*good=*/0);
    all.bytes += (double)bytes + (double)all.output_bytes; /* the model is read once, the output written once */
    return ORGAN_ADD(json_object_get(report, "run"), SET("plan", organ_plan_time_json(&all, m->engine))) &&
                   ORGAN_ADD_BEFORE_RUN(report, SET("plan", organ_plan_json(&all)))
               ? 0
               : -1;
}

organ_status organ_writing_report(organ_writing *w, const char *path, json_t **report, organ_error *error)
{
    const organ_write *const m = w->write;
    const organ_report_files files = organ_writing_files(w);
    if (path)
        organ_evaluation_run(&w->evaluation, path);
    if (!(*report = organ_evaluated_json(&w->evaluation, document_of(w))) ||
        (m->report.finish && m->report.finish(m->context, *report)) || document_add_plan(w, *report))
        return organ_fail_memory(error, m->requested->output);
    if (m->report.origin && m->report.origin->document &&
        !ORGAN_ADD_BEFORE_RUN(*report,
                              SET(m->report.origin->member, json_incref((json_t *)m->report.origin->document))))
        return organ_fail_memory(error, m->requested->output);
    if (path && files.json && !m->outline && organ_ranks_first(w->output.ranks) &&
        organ_writing_card(w, *report, error) != ORGAN_OK)
        return error->status;
    if (!organ_warnings_add(*report, m->progress))
        return organ_fail_memory(error, m->requested->output);
    if (path && files.json && !m->outline && organ_ranks_first(w->output.ranks) &&
        organ_output_reports_write(&w->output, &files, *report, error) == ORGAN_OK && !w->output.single)
        organ_output_sync(&w->output, error);
    return error->status;
}
