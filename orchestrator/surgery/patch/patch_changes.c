/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/patch/patch_changes.h"

#include "formats/base/rows.h"
#include "formats/base/text.h"
#include "orchestrator/stream/memory.h"
#include "orchestrator/stream/read_ahead.h"
#include "orchestrator/stream/stream_parts.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK     ((size_t)512 << 10) /* bytes of a tensor that are read and compared at once */
#define POSITIONS ((size_t)4096)      /* positions, or new bytes, that are compressed at once */

/* ---- pairs ---- */

organ_patch_change *organ_patch_pair(const organ_model *base, const organ_model *tuned)
{
    organ_patch_change *const rows = organ_rows_take(tuned->tensor_count + 1, sizeof *rows);
    for (size_t t = 0; rows && t < tuned->tensor_count; t++) {
        const organ_tensor *const is = &tuned->tensors[t], *const was = organ_model_find(base, is->name);
        const bool alike = was && was->dtype == is->dtype && ORGAN_SAME_SHAPE(was, is) && was->bytes == is->bytes;
        rows[t] = (organ_patch_change){.tuned = is, .base = alike ? was : NULL, .other = alike ? NULL : was};
        organ_rows_passed();
    }
    return rows;
}

organ_status organ_patch_check(const organ_patch_pass *pass, organ_error *error)
{
    for (size_t t = 0; t < pass->tuned->tensor_count && pass->encoding == ORGAN_DELTA_OVERWRITE; t++) {
        const organ_patch_change *const row = &pass->changes[t];
        if (row->base && row->tuned->bytes > UINT32_MAX)
            return organ_fail(error, ORGAN_USAGE,
                              "`encoding` overwrite has positions of 32 bits, but tensor '%s' has %llu bytes: use xor",
                              row->tuned->name, (unsigned long long)row->tuned->bytes);
    }
    return ORGAN_OK;
}

organ_patch_sums organ_patch_add_up(const organ_patch_change *changes, size_t count)
{
    organ_patch_sums sums = {0};
    for (size_t k = 0; k < count; k++) {
        const organ_patch_change *const row = &changes[k];
        const uint64_t bytes = row->tuned->bytes;
        sums.bytes += bytes;
        sums.packed += row->packed;
        if (!row->base) {
            sums.whole++;
            sums.whole_bytes += bytes;
            continue;
        }
        sums.paired_bytes += bytes;
        sums.changed_bytes += row->changed;
        if (row->changed)
            sums.changed++;
        else
            sums.same++;
    }
    return sums;
}

/* ---- one tensor ---- */

/* The buffers and readers of one worker. */
typedef struct lane {
    organ_delta_writer *writer;
    organ_checksum *before, *after, *checksum;
    unsigned char *was, *is; /* CHUNK bytes each */
    /* of the row in work: */
    size_t row;
    const struct run *run;
} lane;

typedef struct run {
    const organ_patch_pass *pass;
    size_t *order; /* rows, the largest first */
    size_t count;  /* of them */
    lane *lanes;
    size_t lane_count;
    organ_reader_gate gate;
    pthread_mutex_t lock; /* one call of `finish` or of the progress at a time */
} run;

static organ_status keep_packed(void *context, const void *bytes, size_t count, organ_error *error)
{
    lane *const l = context;
    const organ_patch_pass *const pass = l->run->pass;
    pass->changes[l->row].packed += count;
    return pass->store ? pass->store(pass->context, l->row, bytes, count, error) : error->status;
}

static organ_status read_bytes(lane *l, const organ_model *model, const organ_tensor *tensor, void *to, size_t count,
                               uint64_t at, organ_error *error)
{
    organ_reader_gate *const gate = (organ_reader_gate *)&l->run->gate;
    organ_reader_gate_enter(gate);
    organ_model_read(model, tensor->file, to, count, tensor->offset + at, error);
    organ_reader_gate_leave(gate);
    return error->status;
}

/* Reads a chunk of the tuned tensor and of its counterpart, and adds it to the checksums if `sum`. */
static organ_status read_chunk(lane *l, uint64_t at, size_t count, bool sum, organ_error *error)
{
    const organ_patch_pass *const pass = l->run->pass;
    const organ_patch_change *const row = &pass->changes[l->row];
    if (organ_stop_is_requested(pass->engine->stop))
        return organ_fail(error, ORGAN_INTERRUPTED, "interrupted");
    if (read_bytes(l, pass->tuned, row->tuned, l->is, count, at, error) ||
        (row->base && read_bytes(l, pass->base, row->base, l->was, count, at, error)))
        return error->status;
    if (!sum)
        return ORGAN_OK;
    organ_checksum_add(l->after, l->is, count);
    if (row->base)
        organ_checksum_add(l->before, l->was, count);
    if (pass->kind != ORGAN_CHECKSUM_XXH3_128)
        organ_checksum_add(l->checksum, l->is, count);
    return ORGAN_OK;
}

/* Replaces the bytes of the base by the difference. Returns how many bytes differ. */
static uint64_t take_difference(unsigned char *was, const unsigned char *is, size_t count)
{
    uint64_t changed = 0;
    if (memcmp(was, is, count) == 0)
        return 0;
    for (size_t from = 0; from < count; from += 255) {
        const size_t n = count - from < 255 ? count - from : 255;
        unsigned char differ = 0;
        for (size_t k = from; k < from + n; k++) {
            was[k] ^= is[k];
            differ = (unsigned char)(differ + (was[k] != 0));
        }
        changed += differ;
    }
    return changed;
}

static void begin_frame(lane *l, uint64_t content)
{
    organ_delta_begin(l->writer, l->run->pass->changes[l->row].tuned->name, content, keep_packed, l);
}

/* The frame begins with the first difference: most tensors of some tunes have none. */
static organ_status pack_xor(lane *l, organ_error *error)
{
    organ_patch_change *const row = &l->run->pass->changes[l->row];
    for (uint64_t at = 0, n; at < row->tuned->bytes && !error->status; at += n) {
        n = row->tuned->bytes - at < CHUNK ? row->tuned->bytes - at : CHUNK;
        if (read_chunk(l, at, (size_t)n, /*sum=*/true, error))
            break;
        const uint64_t changed = take_difference(l->was, l->is, (size_t)n);
        if (changed && !row->changed && !l->run->pass->only_digests) {
            begin_frame(l, row->tuned->bytes);
            organ_delta_add_zeros(l->writer, at, error);
        }
        row->changed += changed;
        if (row->changed && !l->run->pass->only_digests && !error->status)
            changed ? organ_delta_add(l->writer, l->was, (size_t)n, error) : organ_delta_add_zeros(l->writer, n, error);
    }
    return error->status;
}

static organ_status pack_whole(lane *l, organ_error *error)
{
    organ_patch_change *const row = &l->run->pass->changes[l->row];
    const bool packs = !l->run->pass->only_digests;
    if (packs)
        begin_frame(l, row->tuned->bytes);
    for (uint64_t at = 0, n; at < row->tuned->bytes && !error->status; at += n) {
        n = row->tuned->bytes - at < CHUNK ? row->tuned->bytes - at : CHUNK;
        if (read_chunk(l, at, (size_t)n, /*sum=*/true, error) == ORGAN_OK && packs)
            organ_delta_add(l->writer, l->is, (size_t)n, error);
    }
    row->changed = row->tuned->bytes;
    return error->status;
}

/* Adds the positions of changed bytes, or these bytes, of the chunk at `at`. */
static organ_status add_changes(lane *l, uint64_t at, size_t count, bool positions, organ_error *error)
{
    unsigned char buffer[POSITIONS];
    size_t used = 0;
    for (size_t k = 0; k < count && !error->status; k++) {
        const uint32_t place = (uint32_t)(at + k);
        if (l->was[k] == l->is[k])
            continue;
        if (positions)
            for (int b = 0; b < 4; b++)
                buffer[used++] = (unsigned char)(place >> 8 * b);
        else
            buffer[used++] = l->is[k];
        if (used == POSITIONS) {
            organ_delta_add(l->writer, buffer, used, error);
            used = 0;
        }
    }
    return used && !error->status ? organ_delta_add(l->writer, buffer, used, error) : error->status;
}

static organ_status for_chunks(lane *l, organ_status (*each)(lane *l, uint64_t at, size_t count, organ_error *error),
                               bool sum, organ_error *error)
{
    const uint64_t bytes = l->run->pass->changes[l->row].tuned->bytes;
    for (uint64_t at = 0, n; at < bytes && !error->status; at += n) {
        n = bytes - at < CHUNK ? bytes - at : CHUNK;
        if (read_chunk(l, at, (size_t)n, sum, error) == ORGAN_OK)
            each(l, at, (size_t)n, error);
    }
    return error->status;
}

static organ_status count_chunk(lane *l, uint64_t at, size_t count, organ_error *error)
{
    (void)at;
    l->run->pass->changes[l->row].changed += take_difference(l->was, l->is, count);
    return error->status;
}

static organ_status add_positions(lane *l, uint64_t at, size_t count, organ_error *error)
{
    return add_changes(l, at, count, /*positions=*/true, error);
}

static organ_status add_values(lane *l, uint64_t at, size_t count, organ_error *error)
{
    return add_changes(l, at, count, /*positions=*/false, error);
}

/* The number of changes, all positions and all new bytes follow each other, so that the tensor is read three times. */
static organ_status pack_overwrite(lane *l, organ_error *error)
{
    const organ_patch_change *const row = &l->run->pass->changes[l->row];
    unsigned char count[4];
    if (for_chunks(l, count_chunk, /*sum=*/true, error) || !row->changed)
        return error->status;
    for (int b = 0; b < 4; b++)
        count[b] = (unsigned char)(row->changed >> 8 * b);
    begin_frame(l, 4 + 5 * row->changed);
    if (organ_delta_add(l->writer, count, sizeof count, error) == ORGAN_OK &&
        for_chunks(l, add_positions, /*sum=*/false, error) == ORGAN_OK)
        for_chunks(l, add_values, /*sum=*/false, error);
    return error->status;
}

/* ---- the pass ---- */

static organ_status pack_row(lane *l, organ_error *error)
{
    const organ_patch_pass *const pass = l->run->pass;
    organ_patch_change *const row = &pass->changes[l->row];
    row->changed = row->packed = 0;
    organ_checksum_begin(l->before, ORGAN_CHECKSUM_XXH3_128);
    organ_checksum_begin(l->after, ORGAN_CHECKSUM_XXH3_128);
    organ_checksum_begin(l->checksum, pass->kind);
    if (!row->base && row->tuned->bytes)
        pack_whole(l, error);
    else if (row->base && pass->encoding == ORGAN_DELTA_OVERWRITE)
        pack_overwrite(l, error);
    else if (row->base)
        pack_xor(l, error);
    organ_checksum_text(l->after, row->after);
    organ_checksum_text(pass->kind == ORGAN_CHECKSUM_XXH3_128 ? l->after : l->checksum, row->checksum);
    if (row->base)
        organ_checksum_text(l->before, row->before);
    row->done = !error->status;
    return error->status;
}

static organ_status pack_part(void *context, size_t part, size_t worker, organ_error *error)
{
    run *const r = context;
    const organ_patch_pass *const pass = r->pass;
    lane *const l = &r->lanes[worker];
    l->run = r;
    l->row = r->order[part];
    if (pack_row(l, error))
        return error->status;
    const organ_patch_change *const row = &pass->changes[l->row];
    ORGAN_LOCKED(&r->lock);
    if (pass->finish && pass->finish(pass->context, l->row, error))
        return error->status;
    organ_progress_advance(pass->progress, row->tuned->bytes + (row->base ? row->base->bytes : 0), row->tuned->name,
                           NULL);
    return ORGAN_OK;
}

static int by_bytes(const void *a, const void *b, void *context)
{
    const organ_patch_change *const rows = context;
    const size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return ORGAN_ORDERS(ORGAN_ORDER(rows[y].tuned->bytes, rows[x].tuned->bytes), ORGAN_ORDER(x, y));
}

static organ_status order_rows(run *r, uint64_t *bytes, organ_error *error)
{
    const organ_patch_pass *const pass = r->pass;
    if (!(r->order = organ_rows_take(pass->tuned->tensor_count + 1, sizeof *r->order)))
        return organ_fail_memory(error, pass->tuned->path);
    for (size_t t = 0; t < pass->tuned->tensor_count; t++)
        if (!pass->changes[t].done) {
            r->order[r->count++] = t;
            *bytes += pass->changes[t].tuned->bytes * (pass->changes[t].base ? 2 : 1);
        }
    qsort_r(r->order, r->count, sizeof *r->order, by_bytes, pass->changes);
    return ORGAN_OK;
}

static organ_status open_lanes(run *r, organ_error *error)
{
    const organ_patch_pass *const pass = r->pass;
    const size_t each = organ_delta_writer_bytes(pass->level) + 2 * CHUNK + sizeof(lane) + 4096;
    if (organ_memory_claim(pass->engine, each, error, "the changes of a tensor"))
        return error->status;
    r->lane_count = organ_memory_workers(pass->engine, each, /*shared=*/0);
    if (!(r->lanes = calloc(r->lane_count, sizeof *r->lanes)))
        return organ_fail_memory(error, pass->tuned->path);
    for (size_t k = 0; k < r->lane_count; k++) {
        lane *const l = &r->lanes[k];
        l->writer = organ_delta_writer_create(pass->level);
        l->before = organ_checksum_create();
        l->after = organ_checksum_create();
        l->checksum = organ_checksum_create();
        l->was = malloc(CHUNK);
        l->is = malloc(CHUNK);
        if (!l->writer || !l->before || !l->after || !l->checksum || !l->was || !l->is)
            return organ_fail_memory(error, pass->tuned->path);
    }
    return ORGAN_OK;
}

static void close_lanes(run *r)
{
    for (size_t k = 0; r->lanes && k < r->lane_count; k++) {
        organ_delta_writer_destroy(r->lanes[k].writer);
        organ_checksum_destroy(r->lanes[k].before);
        organ_checksum_destroy(r->lanes[k].after);
        organ_checksum_destroy(r->lanes[k].checksum);
        ORGAN_FREE_ARRAYS(r->lanes[k].was, r->lanes[k].is);
    }
    free(r->lanes);
}

organ_status organ_patch_run(const organ_patch_pass *pass, organ_error *error)
{
    run r = {.pass = pass, .lock = PTHREAD_MUTEX_INITIALIZER};
    uint64_t bytes = 0;
    organ_reader_gate_open(&r.gate, pass->engine);
    if (order_rows(&r, &bytes, error) == ORGAN_OK && open_lanes(&r, error) == ORGAN_OK) {
        organ_progress_begin(pass->progress, "comparing", bytes, r.count);
        organ_parts_run(&(organ_parts){.count = r.count, .workers = r.lane_count, .context = &r, .work = pack_part},
                        pass->engine, error);
        organ_progress_end(pass->progress);
    }
    close_lanes(&r);
    organ_reader_gate_close(&r.gate);
    organ_rows_free(r.order);
    return error->status;
}
