/* SPDX-License-Identifier: MIT
 * Compares two models of equal shapes: pairs their tensors for a pass, maps the killed weights of one tensor, counts
 * the magnitudes of target weights.
 *
 * Ranks: each rank counts some row ranges of a tensor or the weights that it writes; the counts of all ranks are
 * added. */
#include "orchestrator/surgery/audit/audit.h"

#include "formats/base/rows.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/stream/product.h"

#include <errno.h>
#include <math.h>
#include <organ/base.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* ---- pairs of tensors ---- */

static uint64_t compared_bytes_of(const void *stretches, size_t k)
{
    return 2 * ((const organ_stretches *)stretches)->list[k].tensor.bytes;
}

organ_status organ_compared_make(const organ_tensor *const *tensors, const organ_tensor *const *others, size_t count,
                                 organ_ranks *ranks, organ_compared *pairs, organ_error *error)
{
    *pairs = (organ_compared){0};
    /* A tensor may be divided after any row, because the counts of a comparison do not depend on the stretches. */
    if (organ_stretches_make(tensors, count, /*rows=*/1, &pairs->stretches, error))
        return error->status;
    const size_t stretch_count = pairs->stretches.count;
    pairs->others = organ_rows_take(stretch_count + 1, sizeof *pairs->others);
    pairs->items = organ_rows_take(stretch_count + 1, sizeof *pairs->items);
    if (!pairs->others || !pairs->items)
        return organ_fail_memory(error, "pairs of tensors");
    if (organ_assignment_create(ranks, stretch_count, compared_bytes_of, &pairs->stretches, &pairs->assignment, error))
        return error->status;
    for (size_t k = 0; k < stretch_count; k++) {
        const organ_stretch *const stretch = &pairs->stretches.list[k];
        const organ_tensor *const other = others[stretch->of];
        pairs->others[k] = stretch->tensor;
        pairs->others[k].file = other->file;
        pairs->others[k].offset = other->offset + stretch->at;
        pairs->items[k] = (organ_pass_item){.tensor = &stretch->tensor,
                                            .other = &pairs->others[k],
                                            .elsewhere = !organ_assignment_is_local(&pairs->assignment, k)};
        organ_rows_passed();
    }
    return ORGAN_OK;
}

void organ_compared_release(organ_compared *pairs)
{
    organ_stretches_release(&pairs->stretches);
    organ_rows_free(pairs->others);
    organ_rows_free(pairs->items);
    organ_assignment_release(&pairs->assignment);
    *pairs = (organ_compared){0};
}

/* ---- the map of killed weights ---- */

enum { MIN_SIDE = 16, MIN_TILES = 256, MAX_TILES = 4096 }; /* limits of choose_side */

/* The pass over the weights has tiles of its own, one row high: each is the part of a row that one tile of the map
 * covers. So bands are small whatever the size of the map's tiles. */
typedef struct mapping {
    const organ_engine *engine;
    const organ_tensor *tensor;
    uint64_t matrices, matrix_rows, matrix_cols; /* number of matrices of the tensor, and the shape of each */
    uint64_t side;                               /* side of a tile of the map, in weights */
    uint64_t rows, cols;                         /* rows and columns of tiles, over all matrices */
    uint64_t *killed;                            /* number of killed weights in each tile, rows x cols */
} mapping;

static uint64_t divide_rounding_up(uint64_t x, uint64_t by) { return (x + by - 1) / by; }

static void set_side(mapping *m, uint64_t side)
{
    m->side = side;
    m->rows = m->matrices * divide_rounding_up(m->matrix_rows, side);
    m->cols = divide_rounding_up(m->matrix_cols, side);
}

/* The side starts with `block`; it is halved while there are fewer than MIN_TILES tiles and the half is an integer
 * of at least MIN_SIDE, then doubled while there are more than MAX_TILES tiles. */
static void choose_side(mapping *m, uint64_t block)
{
    for (set_side(m, block); m->rows * m->cols < MIN_TILES && m->side % 2 == 0 && m->side / 2 >= MIN_SIDE;)
        set_side(m, m->side / 2);
    /* A tile never spans two matrices: with more than MAX_TILES matrices, doubling ends at one tile per matrix. */
    while (m->rows * m->cols > MAX_TILES && (m->side < m->matrix_rows || m->side < m->matrix_cols))
        set_side(m, m->side * 2);
}

static const organ_tally *farthest_from_mean(const organ_tally *rows, size_t count, double *mean)
{
    const organ_tally *found = NULL;
    double max = -1, sum = 0;
    for (size_t k = 0; k < count; k++)
        sum += organ_percent(rows[k].killed, rows[k].tensor->elements);
    *mean = count ? sum / (double)count : 0.0;
    for (size_t k = 0; k < count; k++) {
        const double difference = fabs(organ_percent(rows[k].killed, rows[k].tensor->elements) - *mean);
        if (rows[k].tensor->rank >= 2 && rows[k].tensor->elements && difference > max) {
            max = difference;
            found = &rows[k];
        }
    }
    return found;
}

static void count_tile(void *context, const organ_tile *tile, void *scratch, void *result)
{
    const mapping *const m = context;
    organ_audit_counts counts = {0};
    (void)scratch;
    if (m->tensor->dtype == ORGAN_F32)
        m->engine->kernels->audit_32(tile->data, tile->other, tile->cols, &counts);
    else
        m->engine->kernels->audit_16(tile->data, tile->other, tile->cols, &counts);
    *(uint64_t *)result = counts.killed;
}

/* A band has whole rows of m->cols parts each. `first` is the band's first row in the tensor, counted over all
 * matrices. */
static organ_status tile_map_retire_band(void *context, const organ_band *band, organ_error *error)
{
    mapping *const m = context;
    const uint64_t *const killed = band->results, per_matrix = m->rows / m->matrices;
    const uint64_t first = (band->offset - m->tensor->offset) / (m->tensor->bytes / (m->matrices * m->matrix_rows));
    (void)error;
    for (size_t t = 0; t < band->tiles; t++) {
        const uint64_t row = first + t / m->cols, matrix = row / m->matrix_rows, inside = row % m->matrix_rows;
        m->killed[(matrix * per_matrix + inside / m->side) * m->cols + t % m->cols] += killed[t];
    }
    return ORGAN_OK;
}

/* `percent`: percentage of killed weights of the tensor; `mean`: mean of this percentage over all targets. Returns
 * NULL if memory runs out. */
static json_t *map_json(const mapping *m, double percent, double mean)
{
    return ORGAN_OBJECT(SET_TEXT("tensor", m->tensor->name), SET_REAL("percent", percent),
                        SET_REAL("mean", organ_millionth(mean)), SET_COUNT("matrices", m->matrices),
                        SET_COUNT("matrix_rows", m->matrix_rows), SET_COUNT("matrix_cols", m->matrix_cols),
                        SET_COUNT("tile", m->side), SET_COUNT("rows", m->rows), SET_COUNT("cols", m->cols),
                        SET("killed", organ_counts_json(m->rows * m->cols, m->killed)));
}

static organ_status map_share(mapping *m, const organ_model *donor, const organ_model *copy,
                              const organ_compared *pairs, organ_error *error)
{
    const organ_pass pass = {.model = donor,
                             .other = copy,
                             .items = pairs->items,
                             .item_count = pairs->stretches.count,
                             .tile_rows = 1,
                             .tile_cols = m->side,
                             .result_bytes = sizeof(uint64_t),
                             .context = m,
                             .work = count_tile,
                             .retire = tile_map_retire_band};
    return organ_pass_run(&pass, m->engine, error);
}

/* Each rank counts the killed weights in its share of the row ranges, then the counts of all ranks are added. */
static organ_status map_tensor(mapping *m, const organ_model *donor, const organ_model *copy, organ_error *error)
{
    const organ_tensor *const other = organ_model_find(copy, m->tensor->name);
    ORGAN_RELEASED_BY(organ_compared_release) organ_compared pairs = {0};
    if (organ_compared_make(&m->tensor, &other, 1, m->engine->ranks, &pairs, error) == ORGAN_OK)
        map_share(m, donor, copy, &pairs, error);
    return organ_ranks_add(m->engine->ranks, "mapping tiles", m->killed, m->rows * m->cols, error);
}

organ_status organ_tile_map(const organ_model *donor, const organ_model *copy, const organ_tally *rows, size_t count,
                            size_t block, const organ_engine *engine, json_t **map, organ_error *error)
{
    double mean;
    const organ_tally *const row = farthest_from_mean(rows, count, &mean);
    *map = NULL;
    if (!row)
        return ORGAN_OK;
    const organ_matrices matrices = organ_tensor_matrices(row->tensor);
    mapping m = {.engine = engine,
                 .tensor = row->tensor,
                 .matrices = matrices.count,
                 .matrix_rows = matrices.rows,
                 .matrix_cols = matrices.cols};
    choose_side(&m, block);
    m.killed = calloc(m.rows * m.cols, sizeof *m.killed);
    if (!m.killed)
        organ_fail_errno(error, ENOMEM, "%s", donor->path);
    else if (map_tensor(&m, donor, copy, error) == ORGAN_OK &&
             !(*map = map_json(&m, organ_percent(row->killed, row->tensor->elements), mean)))
        organ_fail_errno(error, ENOMEM, "%s", donor->path);
    free(m.killed);
    return error->status;
}

uint64_t organ_tile_map_memory(const organ_tensor *tensor, size_t workers)
{
    /* Scratch of the workers; two bands of one row, each in both models; for each band a counter per part of the row;
     * and the constant part of a pass. */
    const uint64_t cols = organ_tensor_matrices(tensor).cols, row = cols * organ_dtype_describe(tensor->dtype)->bytes;
    return workers * 4096 + 4 * row + 2 * sizeof(uint64_t) * divide_rounding_up(cols, MIN_SIDE) + (160 << 10);
}

/* ---- the histogram of magnitudes ---- */

#define PIECE      ((size_t)1 << 12) /* weights that are read and widened at once */
#define PER_OCTAVE 2                 /* bins per octave */
#define FROM_LOG2  (-24)             /* the first bin begins at 2^-24 */
#define BINS       56                /* the last bin ends at 2^4 */
#define ROOT_OF_2  0x3504F3u         /* mantissa of the FP32 value nearest to the root of 2 */

/* The counts. organ_magnitudes_json adds those of all ranks as one array, so all members are uint64_t. */
typedef struct magnitudes_sums {
    uint64_t weights;      /* number of counted weights */
    uint64_t zero;         /* those that are zero in the donor */
    uint64_t all[BINS];    /* those that are not zero in the donor, by magnitude there */
    uint64_t killed[BINS]; /* those of `all` that are zero in the copy */
} magnitudes_sums;

typedef struct magnitudes_count {
    const organ_magnitudes *of;
    double bytes[PIECE];               /* buffer for stored weights */
    float before[PIECE], after[PIECE]; /* buffers for weights of the donor and of the copy, in FP32 */
    magnitudes_sums found;
    struct magnitudes_count *next;
} magnitudes_count;

struct organ_magnitudes {
    const organ_model *donor;
    const organ_tensor *const *tensors; /* the `count` targets */
    size_t count;
    const organ_kernels *kernels;
    uint64_t weight_count;  /* number of weights of all tensors */
    uint64_t step;          /* rows 0, step, 2 step, ... of each tensor are counted */
    uint64_t *counted;      /* for each tensor, nonzero if its bytes were passed to organ_magnitudes_add */
    pthread_mutex_t lock;   /* guards `counted` and `idle` */
    magnitudes_count *idle; /* counts that no thread uses now */
    magnitudes_sums found;  /* counts of this rank, in the end of all ranks */
};

/* The exponent selects the octave; the second half of an octave begins at the root of 2 times its start. Magnitudes
 * below the first bin (also subnormals) are in the first bin, those above the last in the last. */
static size_t bin_of(float magnitude)
{
    uint32_t bits;
    memcpy(&bits, &magnitude, sizeof bits);
    const int half = /* half octaves above the start of the first bin; 127 is the bias of FP32 exponents */
        2 * ((int)(bits >> 23) - 127 - FROM_LOG2) + ((bits & 0x7FFFFFu) >= ROOT_OF_2);
    if (half < 0)
        return 0;
    return half >= BINS ? BINS - 1 : (size_t)half;
}

/* c->before are values of the donor, c->after those of the copy. */
static void count_pairs(magnitudes_count *c, size_t n)
{
    c->found.weights += n;
    for (size_t k = 0; k < n; k++) {
        if (c->before[k] == 0) {
            c->found.zero++;
            continue;
        }
        const size_t bin = bin_of(fabsf(c->before[k]));
        c->found.all[bin]++;
        c->found.killed[bin] += c->after[k] == 0;
    }
}

static organ_status widen_stored(magnitudes_count *c, const organ_model *model, const organ_tensor *tensor,
                                 uint64_t from, size_t n, float *values, organ_error *error)
{
    const size_t each = organ_dtype_describe(tensor->dtype)->bytes;
    if (organ_model_read(model, tensor->file, c->bytes, n * each, tensor->offset + from * each, error) == ORGAN_OK)
        organ_widen(c->of->kernels, tensor->dtype, c->bytes, values, n);
    return error->status;
}

/* The weights [from, to) must be in a counted row. `data` has the stored weights of the copy from weight number
 * `first` on; if `data` is NULL, the weights are read from `copy`. Counts nothing if `copy` has no tensor of the
 * same name. */
static organ_status count_span(magnitudes_count *c, size_t t, uint64_t from, uint64_t to, const char *data,
                               uint64_t first, const organ_model *copy, organ_error *error)
{
    const organ_tensor *const tensor = c->of->tensors[t];
    const organ_tensor *const other = copy ? organ_model_find(copy, tensor->name) : NULL;
    const size_t each = organ_dtype_describe(tensor->dtype)->bytes;
    for (size_t n; from < to && (data || other); from += n) {
        n = organ_min(PIECE, (size_t)(to - from));
        if (data)
            organ_widen(c->of->kernels, tensor->dtype, data + (from - first) * each, c->after, n);
        else if (widen_stored(c, copy, other, from, n, c->after, error))
            return error->status;
        if (widen_stored(c, c->of->donor, tensor, from, n, c->before, error))
            return error->status;
        count_pairs(c, n);
    }
    return ORGAN_OK;
}

/* Each thread that counts takes counts of its own. NULL if memory cannot be allocated. */
static magnitudes_count *take_count(organ_magnitudes *m)
{
    pthread_mutex_lock(&m->lock);
    magnitudes_count *c = m->idle;
    if (c)
        m->idle = c->next;
    pthread_mutex_unlock(&m->lock);
    if (!c && (c = malloc(sizeof *c)))
        c->found = (magnitudes_sums){0};
    if (c)
        c->of = m;
    return c;
}

static void give_count(organ_magnitudes *m, magnitudes_count *c)
{
    ORGAN_LOCKED(&m->lock);
    c->next = m->idle;
    m->idle = c;
}

/* Only rows 0, step, 2 step, ... of the tensor count. `data` has the stored weights of the copy from weight number
 * `from` on; if `data` is NULL, the weights are read from `copy`. */
static organ_status count_rows(organ_magnitudes *m, size_t t, uint64_t from, uint64_t to, const char *data,
                               const organ_model *copy, organ_error *error)
{
    const uint64_t cols = organ_tensor_matrices(m->tensors[t]).cols, stride = m->step * cols;
    magnitudes_count *const c = take_count(m);
    if (!c)
        return organ_fail_errno(error, ENOMEM, "%s: magnitudes of the weights", m->donor->path);
    if (m->step == 1)
        count_span(c, t, from, to, data, /*first=*/from, copy, error);
    else
        /* `row` is the index of the first weight of a counted row; the first counted row may begin before `from`. */
        for (uint64_t row = cols ? from / stride * stride : to; row < to && !error->status; row += stride) {
            const uint64_t begin = row > from ? row : from, end = row + cols < to ? row + cols : to;
            count_span(c, t, begin, end, data, /*first=*/from, copy, error);
        }
    give_count(m, c);
    return error->status;
}

static void add_all_counts(organ_magnitudes *m)
{
    for (magnitudes_count *c = m->idle; c; c = c->next) {
        const uint64_t *const more = &c->found.weights;
        for (size_t k = 0; k < sizeof c->found / sizeof *more; k++)
            (&m->found.weights)[k] += more[k];
        c->found = (magnitudes_sums){0};
    }
}

/* step is the smallest number with which at most about `enough` weights are counted. */
organ_status organ_magnitudes_open(const organ_model *donor, const organ_tensor *const *tensors, size_t count,
                                   uint64_t enough, const organ_kernels *kernels, organ_magnitudes **magnitudes,
                                   organ_error *error)
{
    organ_magnitudes *const c = *magnitudes = calloc(1, sizeof *c);
    if (!c)
        return organ_fail_errno(error, ENOMEM, "%s: magnitudes of the weights", donor->path);
    *c = (organ_magnitudes){.donor = donor, .tensors = tensors, .count = count, .kernels = kernels};
    for (size_t t = 0; t < count; t++)
        c->weight_count += tensors[t]->elements;
    c->step = c->weight_count ? (c->weight_count - 1) / enough + 1 : 1;
    c->counted = calloc(count + 1, sizeof *c->counted);
    pthread_mutex_init(&c->lock, NULL);
    return c->counted ? ORGAN_OK : organ_fail_errno(error, ENOMEM, "%s: magnitudes of the weights", donor->path);
}

void organ_magnitudes_close(organ_magnitudes *c)
{
    if (!c)
        return;
    for (magnitudes_count *idle = c->idle, *next; idle; idle = next) {
        next = idle->next;
        free(idle);
    }
    pthread_mutex_destroy(&c->lock);
    ORGAN_FREE_ARRAYS(c->counted, c);
}

organ_status organ_magnitudes_add(organ_magnitudes *c, size_t t, const void *data, uint64_t at, size_t bytes,
                                  organ_error *error)
{
    const size_t value_bytes = organ_dtype_describe(c->tensors[t]->dtype)->bytes;
    pthread_mutex_lock(&c->lock);
    c->counted[t] = 1;
    pthread_mutex_unlock(&c->lock);
    return count_rows(c, t, at / value_bytes, (at + bytes) / value_bytes, data, /*copy=*/NULL, error);
}

static json_t *magnitudes_json(const organ_magnitudes *c)
{
    return ORGAN_OBJECT(
        SET_TEXT("definition", "target weights of the donor by magnitude; each count is of half an octave"),
        SET_COUNT("weights", c->found.weights), SET_COUNT("of", c->weight_count), SET_COUNT("every_row", c->step),
        SET_COUNT("from_log2", FROM_LOG2), SET_COUNT("per_octave", PER_OCTAVE), SET_COUNT("zero", c->found.zero),
        SET("count", organ_counts_json(BINS, c->found.all)), SET("killed", organ_counts_json(BINS, c->found.killed)));
}

typedef struct uncounted_tensors {
    organ_magnitudes *counts;
    const organ_model *copy;
} uncounted_tensors;

/* The bytes are 0 if a rank has passed the tensor to organ_magnitudes_add. */
static uint64_t bytes_uncounted(const void *context, size_t t)
{
    const organ_magnitudes *const c = ((const uncounted_tensors *)context)->counts;
    return c->counted[t] ? 0 : c->tensors[t]->bytes;
}

static organ_status count_uncounted(void *context, size_t t, organ_error *error)
{
    const uncounted_tensors *const u = context;
    return u->counts->counted[t]
               ? ORGAN_OK
               : count_rows(u->counts, t, 0, u->counts->tensors[t]->elements, /*data=*/NULL, u->copy, error);
}

static void count_share(organ_magnitudes *c, const organ_model *copy, organ_ranks *ranks, organ_error *error)
{
    uncounted_tensors uncounted = {c, copy};
    ORGAN_RELEASED_BY(organ_assignment_release) organ_assignment assignment = {0};
    if (organ_assignment_create(ranks, c->count, bytes_uncounted, &uncounted, &assignment, error) == ORGAN_OK)
        organ_assignment_run(&assignment, count_uncounted, &uncounted, error);
}

/* c->counted is first added over all ranks, so that every rank has the same list of uncounted tensors. */
organ_status organ_magnitudes_json(organ_magnitudes *c, const organ_model *copy, organ_ranks *ranks, json_t **report,
                                   organ_error *error)
{
    *report = NULL;
    if (organ_ranks_add(ranks, "listing counted tensors", c->counted, c->count, error) == ORGAN_OK)
        count_share(c, copy, ranks, error);
    add_all_counts(c);
    _Static_assert(sizeof(magnitudes_sums) == (2 + 2 * BINS) * sizeof(uint64_t), "sums are consecutive counts");
    organ_ranks_add(ranks, "counting magnitudes", &c->found.weights, sizeof c->found / sizeof(uint64_t), error);
    if (!error->status && c->weight_count && !(*report = magnitudes_json(c)))
        organ_fail_errno(error, ENOMEM, "%s: magnitudes of the weights", c->donor->path);
    return error->status;
}
