/* SPDX-License-Identifier: MIT */
#include "orchestrator/stream/pass_parts.h"

#include "formats/base/owned.h"
#include "formats/base/results.h"
#include "orchestrator/stream/memory.h"
#include "orchestrator/machine/topology_parts.h"

#include <stdlib.h>
#include <time.h>

/* A band of 1 MiB: long enough for the throughput of a disk, short enough to stay in a core's share of the cache from
 * its reading to its writing, and to let all workers end at the same time. */
#define COMFORTABLE_BAND ((size_t)1 << 20)
#define LEAST_SPAN       ((size_t)64 << 10)  /* least bytes of a band of a pass that reads spans */
#define GIVEN_PART       ((uint64_t)4 << 20) /* bytes of a part of a span that the pass does not read */
#define FLAT_TILE        ((size_t)256 << 10) /* fits the cache of one core; rounded down to whole elements or blocks */
#define BUFFER_SLACK     ((size_t)2 * 4096)  /* so that address and file offset can be congruent modulo a page */
#define PAGE             4096

static uint64_t bytes_of(const organ_pass_item *item) { return item->elsewhere ? 0 : item->tensor->bytes; }

/* A unit is an element, or a block of elements that are stored together. */
typedef struct unit_grid {
    size_t unit;       /* bytes of a unit */
    size_t rows, cols; /* units of one matrix of the tensor */
} unit_grid;

static unit_grid grid_of(const organ_tensor *tensor)
{
    const organ_matrices m = organ_tensor_matrices(tensor);
    const organ_dtype_info *type = organ_dtype_describe(tensor->dtype);
    return (unit_grid){type->bytes, (size_t)m.rows, (size_t)m.cols / type->elements};
}

/* The tiles of a flat pass (pass->tile_rows is 0) are runs of consecutive units regardless of the tensor's shape:
 * FLAT_TILE bytes, rounded down to whole units. */
static size_t flat_tile(const organ_tensor *tensor)
{
    const size_t unit = organ_dtype_describe(tensor->dtype)->bytes;
    return FLAT_TILE / unit * unit;
}

static size_t tile_cols(const organ_pass *pass, size_t cols) { return pass->tile_cols ? pass->tile_cols : cols; }

/* A row of tiles, or one tile in a flat pass, is the smallest possible band of this tensor. */
static size_t tile_row_bytes(const organ_pass *pass, const organ_tensor *tensor)
{
    if (pass->tile_rows == 0)
        return organ_min(flat_tile(tensor), (size_t)tensor->bytes);
    const unit_grid g = grid_of(tensor);
    return organ_min(pass->tile_rows, g.rows) * g.cols * g.unit;
}

static size_t tiles_of(const organ_pass *pass, const organ_tensor *tensor, size_t band_bytes)
{
    if (pass->tile_rows == 0)
        return organ_pieces_of(band_bytes, flat_tile(tensor));
    const unit_grid g = grid_of(tensor);
    const size_t rows = organ_min(g.rows, organ_max(band_bytes / (g.cols * g.unit), pass->tile_rows));
    return organ_pieces_of(rows, pass->tile_rows) * organ_pieces_of(g.cols, tile_cols(pass, g.cols));
}

size_t organ_band_max_slots(size_t workers) { return 2 * workers + 6; }

typedef struct band_plan_planning {
    const organ_pass *pass;
    size_t workers;
    size_t least;         /* bytes of the largest row of tiles, which a band must contain; 0: the pass has no bytes */
    organ_band_plan plan; /* the result */
} band_plan_planning;

/* The memory that the scratch leaves free is divided among organ_band_max_slots bands, but a band has not more than
 * COMFORTABLE_BAND bytes nor less than p->least. Returns false if two bands or pass->least bytes do not fit; always
 * true if the pass has no bytes. organ_memory_enough calls it as its `fits`. */
static bool plan_bands(void *context, uint64_t memory)
{
    band_plan_planning *const p = context;
    const organ_pass *const pass = p->pass;
    organ_band_plan *const plan = &p->plan;
    const size_t sides = pass->other ? 2 : 1; /* buffers of a slot */
    const uint64_t scratch = (uint64_t)p->workers * (pass->scratch_bytes + PAGE),
                   room = memory > scratch ? memory - scratch : 0;
    const uint64_t share = room / (organ_band_max_slots(p->workers) * sides);
    plan->band_bytes =
        organ_max(p->least, organ_min(COMFORTABLE_BAND, (size_t)(share > BUFFER_SLACK ? share - BUFFER_SLACK : 0)));
    plan->band_tiles = 0;
    for (size_t i = 0; i < pass->item_count; i++)
        if (bytes_of(&pass->items[i]))
            plan->band_tiles = organ_max(plan->band_tiles, tiles_of(pass, pass->items[i].tensor, plan->band_bytes));
    const uint64_t slot =
        sides * ((uint64_t)plan->band_bytes + BUFFER_SLACK) + (uint64_t)plan->band_tiles * pass->result_bytes;
    plan->slots = (size_t)(room / slot);
    return (plan->slots >= 2 && memory >= pass->least) || p->least == 0;
}

/* The result lacks the members that depend on the memory. *widest is the tensor with the most bytes in a row of
 * tiles, for messages; NULL if the pass has no bytes. */
static band_plan_planning begin_planning(const organ_pass *pass, size_t workers, const organ_tensor **widest)
{
    band_plan_planning p = {.pass = pass, .workers = workers};
    *widest = NULL;
    for (size_t i = 0; i < pass->item_count; i++) {
        const organ_tensor *const tensor = pass->items[i].tensor;
        const uint64_t all = bytes_of(&pass->items[i]);
        const size_t bytes = all ? tile_row_bytes(pass, tensor) : 0;
        p.plan.total_bytes += all;
        *widest = bytes > p.least ? tensor : *widest;
        p.least = organ_max(p.least, bytes);
    }
    for (size_t k = 0; pass->moves && k < pass->moves->count; k++) {
        p.plan.moves = true;
        p.least = organ_max(p.least, pass->moves->spans[k].given ? 1 : LEAST_SPAN);
    }
    return p;
}

uint64_t organ_band_plan_enough(const organ_pass *pass, size_t workers)
{
    const organ_tensor *widest;
    band_plan_planning p = begin_planning(pass, workers, &widest);
    return organ_memory_enough(0, plan_bands, &p);
}

organ_status organ_band_plan_make(const organ_pass *pass, const organ_engine *engine, size_t workers,
                                  organ_band_plan *plan, organ_error *error)
{
    const organ_tensor *widest;
    band_plan_planning p = begin_planning(pass, workers, &widest);
    organ_memory_require(engine, plan_bands, &p, error, "two bands of tensor '%s' and the scratch of %zu threads",
                         widest ? widest->name : "(copied bytes)", workers);
    *plan = p.plan;
    plan->slots = organ_min(plan->slots, organ_band_max_slots(workers));
    return error->status;
}

/* The band is one row of bytes: as many whole tiles as fit plan->band_bytes, or the `remaining` bytes of the tensor
 * if they are fewer. */
static void shape_flat(const organ_band_plan *plan, const organ_tensor *tensor, uint64_t remaining,
                       organ_band_shape *shape)
{
    const size_t tile = flat_tile(tensor), whole = organ_max(plan->band_bytes / tile, 1) * tile;
    shape->bytes = remaining < whole ? (size_t)remaining : whole;
    shape->unit = 1;
    shape->rows = 1;
    shape->cols = shape->bytes;
    shape->tile_rows = 1;
    shape->tile_cols = tile;
}

/* The band has as many whole rows of tiles as fit plan->band_bytes, within one matrix of the tensor. It begins at
 * byte `done` of the tensor. */
static void shape_grid(const organ_pass *pass, const organ_band_plan *plan, const organ_tensor *tensor, uint64_t done,
                       organ_band_shape *shape)
{
    const unit_grid g = grid_of(tensor);
    const size_t row_bytes = g.cols * g.unit, tile_row = organ_min(pass->tile_rows, g.rows) * row_bytes;
    const size_t row = (size_t)(done / row_bytes % g.rows);
    const size_t max = organ_max(plan->band_bytes / tile_row, 1) * pass->tile_rows;
    shape->unit = g.unit;
    shape->rows = organ_min(max, g.rows - row);
    shape->cols = g.cols;
    shape->bytes = shape->rows * row_bytes;
    shape->tile_rows = pass->tile_rows;
    shape->tile_cols = tile_cols(pass, g.cols);
}

/* Returns NULL if the next item of the cursor comes first in file order. A span of 0 bytes comes before all items. */
static const organ_pass_span *next_span(const organ_pass *pass, const organ_band_cursor *cursor)
{
    if (!pass->moves || cursor->span == pass->moves->count)
        return NULL;
    const organ_pass_span *const span = &pass->moves->spans[cursor->span];
    if (cursor->item == pass->item_count || span->bytes == 0)
        return span;
    const organ_tensor *const tensor = pass->items[cursor->item].tensor;
    return span->file < tensor->file || (span->file == tensor->file && span->offset < tensor->offset) ? span : NULL;
}

/* Parts that the pass reads end at page boundaries, so that whole pages are written. */
static void shape_span(const organ_band_plan *plan, const organ_pass_span *span, organ_band_cursor *cursor,
                       organ_band_shape *shape)
{
    const uint64_t left = span->bytes - cursor->moved, offset = span->offset + cursor->moved;
    uint64_t bytes = span->given ? GIVEN_PART : plan->band_bytes / PAGE * PAGE - offset % PAGE;
    bytes = bytes < left ? bytes : left;
    *shape = (organ_band_shape){
        .is_span = true, .part = {span->file, offset, bytes, span->given}, .bytes = span->given ? 0 : (size_t)bytes};
    cursor->moved += bytes;
    if (cursor->moved == span->bytes) {
        cursor->span++;
        cursor->moved = 0;
    }
}

bool organ_band_next(const organ_pass *pass, const organ_band_plan *plan, organ_band_cursor *cursor,
                     organ_band_shape *shape)
{
    while (cursor->item < pass->item_count && cursor->done == bytes_of(&pass->items[cursor->item])) {
        cursor->item++;
        cursor->done = 0;
    }
    const organ_pass_span *const span = next_span(pass, cursor);
    if (span)
        shape_span(plan, span, cursor, shape);
    if (span || cursor->item == pass->item_count)
        return span != NULL;
    const organ_tensor *tensor = pass->items[cursor->item].tensor;
    *shape = (organ_band_shape){.item = cursor->item, .from = cursor->done};
    if (pass->tile_rows == 0)
        shape_flat(plan, tensor, tensor->bytes - cursor->done, shape);
    else
        shape_grid(pass, plan, tensor, cursor->done, shape);
    shape->tiles_across = organ_pieces_of(shape->cols, shape->tile_cols);
    shape->tiles = shape->tiles_across * organ_pieces_of(shape->rows, shape->tile_rows);
    cursor->done += shape->bytes;
    shape->last = cursor->done == tensor->bytes;
    return true;
}

organ_tile organ_band_tile(const organ_band_shape *shape, size_t t, void *data, void *other)
{
    const size_t row = t / shape->tiles_across * shape->tile_rows, col = t % shape->tiles_across * shape->tile_cols;
    const size_t at = (row * shape->cols + col) * shape->unit;
    organ_tile tile = {.item = shape->item,
                       .data = (char *)data + at,
                       .other = other ? (char *)other + at : NULL,
                       .stride = shape->cols,
                       .at = shape->from + at};
    tile.rows = organ_min(shape->tile_rows, shape->rows - row);
    tile.cols = organ_min(shape->tile_cols, shape->cols - col);
    tile.bytes = tile.rows * tile.cols * shape->unit;
    return tile;
}

/* ---- engines ---- */

/* organ_engine_choose_tile returns the twin if its time is below this share of the time of the engine's kernels */
#define CLEARLY_QUICKER 0.97

typedef struct own_engine {
    organ_engine engine; /* first member: the caller has a pointer to it */
    organ_topology *topology;
    organ_memory_share share;
} own_engine;

void organ_engine_destroy(organ_engine *engine)
{
    ORGAN_OWNED own_engine *const own = (own_engine *)engine;
    if (!own)
        return;
    organ_workers_destroy(own->engine.workers);
    organ_topology_destroy(own->topology);
}

organ_status organ_engine_create(const organ_kernels *kernels, size_t threads, uint64_t memory, organ_engine **engine,
                                 organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    const char *why = "";
    own_engine *const own = calloc(1, sizeof *own);
    *engine = NULL;
    if (!own)
        return organ_fail(error, ORGAN_IO, "no memory for an engine");
    own->engine.memory = memory;
    own->engine.kernels = kernels ? kernels : organ_kernels_choose(organ_cpu_detect(), NULL, &why);
    if ((memory == 0 && organ_memory_share_begin(&own->engine, &own->share, "", error) != ORGAN_OK) ||
        organ_topology_discover(&own->topology, error) != ORGAN_OK ||
        organ_workers_create(own->topology, threads, &own->engine.workers, error) != ORGAN_OK) {
        organ_engine_destroy(&own->engine);
        return error->status;
    }
    own->engine.topology = own->topology;
    *engine = &own->engine;
    return ORGAN_OK;
}

/* TRIAL_ROWS x TRIAL_COLS is the tile that is timed, TRIALS times with each table of kernels. */
enum { TRIAL_ROWS = 64, TRIAL_COLS = 256, TRIALS = 8 };

/* The processor time of this thread is in seconds. `tile` has TRIAL_ROWS x TRIAL_COLS pseudo-random floats,
 * `scratch` organ_physarum_scratch bytes. */
static double time_tile(const organ_kernels *kernels, float *tile, void *scratch)
{
    const organ_physarum_params params = {.iterations = 30, .beta = 2, .coupling = 1, .gain = 6};
    organ_prune_counts counts;
    struct timespec from, to;
    for (uint32_t k = 0; k < TRIAL_ROWS * TRIAL_COLS; k++)
        tile[k] = (float)(k * UINT32_C(2654435761) >> 8);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
    kernels->physarum_f32(tile, TRIAL_ROWS, TRIAL_COLS, TRIAL_COLS, &params, scratch, &counts);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
    return (double)(to.tv_sec - from.tv_sec) + 1e-9 * (double)(to.tv_nsec - from.tv_nsec);
}

/* Times both tables in turn. The twin is chosen only if its least time is below CLEARLY_QUICKER of the other's. `least`
 * begins with a second for both, far more than a trial takes, so the engine's kernels stay if there is no twin or no
 * memory. */
const organ_kernels *organ_engine_choose_tile(const organ_engine *engine)
{
    const organ_kernels *const tables[] = {engine->kernels, organ_kernels_other_tile(engine->kernels)};
    const size_t bytes = TRIAL_ROWS * TRIAL_COLS * sizeof(float);
    double least[] = {1, 1}; /* seconds */
    ORGAN_OWNED char *const scratch =
        tables[1] ? aligned_alloc(64, bytes + organ_physarum_scratch(TRIAL_ROWS, TRIAL_COLS)) : NULL;
    for (int trial = 0; scratch && trial < 2 * TRIALS; trial++) { /* alternating */
        const double took = time_tile(tables[trial % 2], (float *)(void *)scratch, scratch + bytes);
        if (took < least[trial % 2])
            least[trial % 2] = took;
    }
    return least[1] < CLEARLY_QUICKER * least[0] ? tables[1] : tables[0];
}
