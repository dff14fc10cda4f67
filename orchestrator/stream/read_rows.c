/* SPDX-License-Identifier: MIT */
#include "orchestrator/stream/read_rows.h"

#include "formats/base/format_rest.h"
#include "formats/base/rows.h"
#include "formats/base/text.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/stream/stream_parts.h"

#include <stdlib.h>
#include <string.h>

const char *organ_stage_unit(const char *what)
{
    static const char *const others[][2] = {{ORGAN_STAGE_SCORING, "windows"},
                                            {ORGAN_STAGE_CONTINUATIONS, "continuations"},
                                            {ORGAN_STAGE_PREDICTING, "windows"},
                                            {ORGAN_STAGE_CHUNKS, "chunks"},
                                            {ORGAN_STAGE_LAYERS, "layers"}};
    for (size_t k = 0; k < sizeof others / sizeof *others; k++)
        if (strcmp(what, others[k][0]) == 0)
            return others[k][1];
    return "tensors";
}

void organ_progress_begin(const organ_progress *progress, const char *what, uint64_t bytes, size_t tensors)
{
    if (progress && progress->begin)
        progress->begin(progress->context, what, bytes, tensors);
}

/* Calls organ_rows_passed, so that large arrays give memory back during a long stage. */
void organ_progress_advance(const organ_progress *progress, uint64_t bytes, const char *tensor, const char *remark)
{
    organ_rows_passed();
    if (progress && progress->advance)
        progress->advance(progress->context, bytes, tensor, remark);
}

void organ_progress_end(const organ_progress *progress)
{
    if (progress && progress->end)
        progress->end(progress->context);
}

enum { MESSAGE = 1000 }; /* bytes of a message with its NUL */

/* `tell` is a callback of `progress`, or NULL. */
static void progress_tell(const organ_progress *progress, void (*tell)(void *context, const char *text),
                          char text[MESSAGE])
{
    if (!tell)
        return;
    organ_text_hide_passwords(text);
    tell(progress->context, text);
}

void organ_progress_note(const organ_progress *progress, const char *format, ...)
{
    char text[MESSAGE];
    ORGAN_FORMAT_REST(text, format);
    progress_tell(progress, progress ? progress->note : NULL, text);
}

void organ_progress_note_once(const organ_progress *progress, const char *format, ...)
{
    char text[MESSAGE];
    ORGAN_FORMAT_REST(text, format);
    if (progress && !progress->follows)
        progress_tell(progress, progress->note, text);
}

void organ_progress_warn(const organ_progress *progress, const char *format, ...)
{
    char text[MESSAGE];
    ORGAN_FORMAT_REST(text, format);
    if (progress)
        progress_tell(progress, progress->warn ? progress->warn : progress->note, text);
}

void organ_progress_warn_of_model(const organ_progress *progress, const organ_model *model)
{
    for (size_t k = 0; k < model->warning_count; k++)
        organ_progress_warn(progress, "%s", model->warnings[k]);
}

void organ_progress_note_remarks(const organ_progress *progress, const char *path, const organ_weights *weights)
{
    for (size_t k = weights->note_count - weights->remark_count; k < weights->note_count; k++)
        organ_progress_note_once(progress, "%s%s%s", path ? path : "", path ? ": " : "", weights->notes[k]);
}

/* ---- sets of rows ---- */

typedef struct rows_run {
    const organ_row_walk *walk;
    const organ_engine *engine;
    organ_row_set set; /* the set in memory */
    size_t next;       /* first task of the set that no worker has taken; atomic */
} rows_run;

static organ_status rows_read_unit(void *context, size_t k, size_t worker, organ_error *error)
{
    const rows_run *const r = context;
    const organ_row_walk *const w = r->walk;
    const size_t from = k * w->unit_rows;
    const organ_row_unit unit = {k, r->set.first + from, organ_min(w->unit_rows, r->set.rows - from)};
    return w->unit(w->context, &unit, worker, error);
}

static void rows_run_tasks(void *context, size_t worker)
{
    rows_run *const r = context;
    const organ_row_walk *const w = r->walk;
    for (size_t k; worker < w->helpers && (k = __atomic_fetch_add(&r->next, 1, __ATOMIC_RELAXED)) < w->tasks;)
        w->task(w->context, &r->set, k, worker);
}

static organ_status rows_run_set(rows_run *r, organ_error *error)
{
    const organ_row_walk *const w = r->walk;
    r->set.rows = w->rows - r->set.first < w->set_rows ? (size_t)(w->rows - r->set.first) : w->set_rows;
    r->set.units = organ_pieces_of(r->set.rows, w->unit_rows);
    const organ_parts units = {.count = r->set.units, .workers = w->readers, .context = r, .work = rows_read_unit};
    if (organ_parts_run(&units, r->engine, error))
        return error->status;
    r->next = 0;
    if (w->tasks)
        organ_workers_run(r->engine->workers, rows_run_tasks, r);
    if (w->retire)
        w->retire(w->context, &r->set);
    return ORGAN_OK;
}

organ_status organ_row_walk_run(const organ_row_walk *walk, const organ_engine *engine, organ_error *error)
{
    rows_run r = {.walk = walk, .engine = engine};
    while (r.set.first < walk->rows && rows_run_set(&r, error) == ORGAN_OK)
        r.set.first += r.set.rows;
    return error->status;
}

/* ---- the same rows of several weights ---- */

organ_status organ_row_sources_step(const organ_row_sources *s, size_t values, size_t *rows, organ_error *error)
{
    *rows = 1;
    for (size_t k = 0; k < s->count && !error->status; k++) {
        size_t step = 1;
        organ_weight_reader_step_of(s->model[k], s->weight[k], s->kernels, organ_max(values / (size_t)s->cols, 1),
                                    &step, error);
        *rows = organ_max(*rows, step);
    }
    *rows = organ_min(*rows, (size_t)s->rows);
    return error->status;
}

/* Callers read the sources in turn, with the same scratch memory. */
organ_status organ_row_sources_scratch(const organ_row_sources *s, size_t rows, size_t *bytes, organ_error *error)
{
    *bytes = 0;
    for (size_t k = 0; k < s->count && !error->status; k++) {
        size_t scratch = 0;
        organ_weight_reader_size(s->model[k], s->weight[k], s->kernels, rows, &scratch, error);
        *bytes = organ_max(*bytes, scratch);
    }
    return error->status;
}

organ_status organ_row_sources_open(organ_row_sources *s, const organ_progress *progress, organ_error *error)
{
    char note[256];
    for (size_t k = 0; k < s->count; k++) {
        if (organ_weight_reader_open(s->model[k], s->weight[k], s->kernels, note, &s->reader[k], error))
            return error->status;
        if (*note)
            organ_progress_note(progress, "%s: %s", s->model[k]->path, note);
    }
    return ORGAN_OK;
}

void organ_row_sources_close(organ_row_sources *s)
{
    for (size_t k = 0; k < s->count; k++)
        organ_weight_reader_close(s->reader[k]);
}

uint64_t organ_row_sources_bytes(const organ_row_sources *s, size_t rows)
{
    uint64_t bytes = 0;
    for (size_t k = 0; k < s->count; k++)
        bytes += organ_weight_reader_bytes(s->reader[k], rows);
    return bytes;
}

/* ---- rows of one weight, on one thread ---- */

organ_status organ_row_buffer_open(organ_row_buffer *b, const organ_model *model, const organ_weight *weight,
                                   const organ_kernels *kernels, size_t capacity, bool whole_steps, organ_error *error)
{
    if (organ_weight_reader_open(model, weight, kernels, NULL, &b->reader, error))
        return error->status;
    b->rows = organ_weight_reader_rows(b->reader);
    b->cols = (size_t)organ_weight_reader_cols(b->reader);
    capacity = whole_steps ? organ_weight_reader_step(b->reader, capacity) : capacity;
    b->capacity = b->rows && b->rows < capacity ? (size_t)b->rows : capacity;
    b->values = aligned_alloc(64, organ_to_line(b->capacity * b->cols * sizeof(float) + 64));
    b->scratch = aligned_alloc(64, organ_to_line(organ_weight_reader_scratch(b->reader, b->capacity) + 64));
    return b->values && b->scratch ? ORGAN_OK : organ_fail_memory(error, weight->name);
}

void organ_row_buffer_close(organ_row_buffer *b)
{
    organ_weight_reader_close(b->reader);
    free(b->values);
    free(b->scratch);
    *b = (organ_row_buffer){0};
}

organ_status organ_row_buffer_read(organ_row_buffer *b, uint64_t first, size_t rows, organ_error *error)
{
    return organ_weight_read(b->reader, first, rows, ORGAN_F32, b->values, b->scratch, error);
}

size_t organ_row_buffer_next(organ_row_buffer *b, uint64_t first, uint64_t end, organ_error *error)
{
    if (error->status || first >= end)
        return 0;
    const size_t rows = end - first < b->capacity ? (size_t)(end - first) : b->capacity;
    return organ_row_buffer_read(b, first, rows, error) ? 0 : rows;
}
