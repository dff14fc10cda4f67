/* SPDX-License-Identifier: MIT
 * Reads each source once, in strips of consecutive rows, and writes the rows to the pieces of its places (sources,
 * pieces and places: convert_parts.h). If all pieces of a source have one type of 16 bits, the source is read in this
 * type, so that rows that only change their place are neither widened nor rounded. */
#include "orchestrator/surgery/convert/convert_parts.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/stream/product.h"
#include "orchestrator/stream/row_function.h"
#include "orchestrator/stream/weight_pass.h"

#include <stdlib.h>
#include <string.h>

/* Operations of a matrix product that take as long as a value, to plan a dry run. */
#define CONVERTED 80.0
/* The same for a byte of key-values: tokens and merges are read, compared and written. */
#define KEPT 3.5e4

/* The buffers are parts of the scratch memory of organ_weight_pass. */
typedef struct pass_buffers {
    size_t values;          /* number of values that `ordered` and `stored` each have room for */
    unsigned char *ordered; /* rows of the piece in their new order, in the type in which the source is read */
    unsigned char *stored;  /* rows in the type of the piece */
    unsigned char *put;     /* ORGAN_PUT_SCRATCH bytes for organ_write_put */
} pass_buffers;

/* A vector counts as a column. */
typedef struct pass_strip {
    const organ_convert_job *job;
    const convert_source *source;
    const organ_row_place *place;
    const organ_weight_strip *strip;
    uint64_t matrix, row; /* matrix of the strip's first row, and the index of that row in the matrix */
    size_t rows, cols;    /* rows and columns of the strip */
    size_t bytes;         /* bytes of a value as read */
    pass_buffers buffers;
} pass_strip;

static size_t pass_value_bytes(organ_dtype as) { return as == ORGAN_F32 ? 4 : 2; }

/* ---- values ---- */

/* Values beyond the range of `dtype` are limited, in `values` too, or refused. */
static organ_status pass_store(const pass_strip *s, organ_dtype dtype, float *values, size_t rows, size_t cols,
                               void *data, organ_error *error)
{
    const organ_kernels *const kernels = s->job->engine->kernels;
    const char *const name = s->source->weight->name;
    const organ_encoding *const encoding = s->job->facts[s->place->piece].encoding;
    const size_t units = rows * cols / organ_dtype_describe(dtype)->elements;
    if (!encoding)
        return organ_overflow_narrow(organ_write_overflow(s->job->run), kernels, dtype, name, values, data, units,
                                     error);
    organ_encoding_fit(encoding, kernels, values, NULL, rows, cols, data); /* limits its scales to finite ones */
    return ORGAN_OK;
}

/* `values` has the type in which the source is read, which is FP32 if there is a function; it is overwritten. */
static organ_status pass_put(const pass_strip *s, void *values, size_t rows, size_t cols, uint64_t at,
                             organ_error *error)
{
    const size_t piece = s->place->piece;
    const organ_dtype dtype = s->job->pieces[piece].dtype;
    const organ_dtype_info *const type = organ_dtype_describe(dtype);
    const size_t row = cols / type->elements * type->bytes;
    void *data = values;
    if (s->place->function != ORGAN_ROW_SAME)
        organ_row_apply(s->place, /*inverse=*/false, values, rows * cols);
    if (dtype != s->source->as) {
        data = s->buffers.stored;
        if (pass_store(s, dtype, values, rows, cols, data, error) != ORGAN_OK)
            return error->status;
    }
    return organ_write_put(s->job->run, piece, data, rows * row, at * row, s->buffers.put, error);
}

/* ---- order ---- */

/* Rows and columns of a tile that stays in the first-level cache while it is transposed. */
#define PASS_TILE ((size_t)32)

/* Defines a function that transposes rows x cols values of `type`, tile by tile: copies value c x `apart` of row r of
 * `from` to value r x `step` of row c of `to`. A row of `from` begins `from_row` values after the one before, a row of
 * `to` `to_row` values. */
#define DEFINE_TRANSPOSE(name, type)                                                                                   \
    static void name(const type *from, size_t from_row, size_t apart, type *to, size_t to_row, size_t step,            \
                     size_t rows, size_t cols)                                                                         \
    {                                                                                                                  \
        for (size_t c0 = 0; c0 < cols; c0 += PASS_TILE)                                                                \
            for (size_t r0 = 0; r0 < rows; r0 += PASS_TILE)                                                            \
                for (size_t c = c0; c < organ_min(c0 + PASS_TILE, cols); c++)                                          \
                    for (size_t r = r0; r < organ_min(r0 + PASS_TILE, rows); r++)                                      \
                        to[c * to_row + r * step] = from[r * from_row + c * apart];                                    \
    }
DEFINE_TRANSPOSE(pass_transpose_16, uint16_t)
DEFINE_TRANSPOSE(pass_transpose_32, uint32_t)

/* The square is handled in 64-bit words. Row c of the result is written to `to` + c x to_row. */
static void pass_transpose_4x4(const uint16_t *const rows[4], uint16_t *to, size_t to_row)
{
    static const uint64_t even = UINT64_C(0x0000ffff0000ffff), low = UINT64_C(0xffffffff);
    uint64_t r[4];
    for (size_t k = 0; k < 4; k++)
        memcpy(&r[k], rows[k], sizeof r[k]);
    /* transpose the squares of 2 x 2 values in rows 0 and 1, and in rows 2 and 3, then exchange 32-bit halves */
    const uint64_t top[2] = {(r[0] & even) | (r[1] & even) << 16, (r[0] >> 16 & even) | (r[1] & ~even)};
    const uint64_t end[2] = {(r[2] & even) | (r[3] & even) << 16, (r[2] >> 16 & even) | (r[3] & ~even)};
    for (size_t k = 0; k < 2; k++) {
        const uint64_t first = (top[k] & low) | end[k] << 32, second = top[k] >> 32 | (end[k] & ~low);
        memcpy(to + k * to_row, &first, sizeof first);
        memcpy(to + (k + 2) * to_row, &second, sizeof second);
    }
}

/* With `other`, the counterpart of `from`, the rows of the result have the values of both in turn. A row of from and
 * other has `from_row` values, a row of the result `to_row`. */
static void pass_transpose_by_4x4(const uint16_t *from, const uint16_t *other, size_t from_row, uint16_t *to,
                                  size_t to_row, size_t rows, size_t cols)
{
    /* rows [0, whole) and columns [0, wide) consist of squares, the rest is copied value by value */
    const size_t sources = other ? 2 : 1, all = sources * rows, whole = all / 4 * 4, wide = cols / 4 * 4;
    for (size_t c0 = 0; c0 < wide; c0 += PASS_TILE)
        for (size_t r0 = 0; r0 < whole; r0 += PASS_TILE)
            for (size_t r = r0; r < organ_min(r0 + PASS_TILE, whole); r += 4) {
                const uint16_t *four[4];
                for (size_t k = 0; k < 4; k++)
                    four[k] = ((r + k) % sources ? other : from) + (r + k) / sources * from_row + c0;
                for (size_t c = c0; c < organ_min(c0 + PASS_TILE, wide); c += 4) {
                    pass_transpose_4x4(four, to + c * to_row + r, to_row);
                    for (size_t k = 0; k < 4; k++)
                        four[k] += 4;
                }
            }
    for (size_t r = 0; r < all; r++)
        for (size_t c = r < whole ? wide : 0; c < cols; c++)
            to[c * to_row + r] = ((r % sources ? other : from) + r / sources * from_row)[c];
}

/* The place is transposed or has column_slice. Values of the counterpart (`other`) alternate with those of the
 * source, or follow them (organ_row_join). */
static void pass_transpose_block(const pass_strip *s, const unsigned char *from, bool other, unsigned char *to)
{
    const organ_row_place *const p = s->place;
    /* a column slice is handled as the transpose of a matrix of one column: its rows are the selected columns */
    const uint64_t rows = p->column_slice ? p->cols : p->rows, step = p->join == ORGAN_JOIN_PAIRS ? 2 : 1;
    /* values of a row of the piece; where the first of `from` goes in it, and where it is in the block */
    const uint64_t all = organ_convert_cols(p, 0), second = p->join == ORGAN_JOIN_PAIRS ? 1 : rows;
    const uint64_t start = other ? second : 0, at = p->column_slice ? p->col : p->first * s->cols + p->col;
    const void *const begin = from + at * s->bytes;
    void *const made = to + start * s->bytes;
    const size_t row = p->column_slice ? p->col_step : s->cols, cols = p->column_slice ? 1 : p->cols;
    if (s->bytes == sizeof(uint16_t))
        pass_transpose_16(begin, row, p->col_step, made, all, step, rows, cols);
    else
        pass_transpose_32(begin, row, p->col_step, made, all, step, rows, cols);
}

/* The block begins `at` bytes after the strip's first value. */
static void pass_arrange_block(const pass_strip *s, size_t at, unsigned char *to)
{
    const organ_row_place *const p = s->place;
    const unsigned char *const from = (const unsigned char *)s->strip->values + at;
    const size_t row = s->cols * s->bytes;
    if (p->transposed && s->bytes == sizeof(uint16_t) && p->col_step == 1 && p->join != ORGAN_JOIN_ENDS) {
        const size_t begin = (size_t)(p->first * s->cols + p->col) * s->bytes;
        const void *const other =
            p->join == ORGAN_JOIN_PAIRS ? (const unsigned char *)s->strip->other + at + begin : NULL;
        pass_transpose_by_4x4((const void *)(from + begin), other, s->cols, (void *)to,
                              (size_t)organ_convert_cols(p, 0), (size_t)p->rows, (size_t)p->cols);
    } else if (p->column_slice || p->transposed) {
        pass_transpose_block(s, from, /*other=*/false, to);
        if (p->join != ORGAN_JOIN_NONE)
            pass_transpose_block(s, (const unsigned char *)s->strip->other + at, /*other=*/true, to);
    } else if (p->tile) /* tile (o, i) of outer x inner tiles becomes tile (i, o) */
        for (uint64_t t = 0; t < p->outer * p->inner; t++)
            memcpy(to + (t % p->inner * p->outer + t / p->inner) * p->tile * s->bytes, from + t * p->tile * s->bytes,
                   p->tile * s->bytes);
    else if (p->pairs || p->halves)
        for (uint64_t k = 0; k < p->rows; k++)
            memcpy(to + k * row, from + (p->first + organ_convert_row_from(p, k)) * row, row);
    else
        memcpy(to, from + p->first * row, p->rows * row);
}

/* Blocks whose rows are consecutive in the piece are written with one call, as many as the buffer has room for. */
static organ_status pass_blocks(const pass_strip *s, organ_error *error)
{
    const organ_row_place *const p = s->place;
    const size_t cols = (size_t)organ_convert_cols(p, s->cols), made = (size_t)organ_convert_made(p),
                 block = (size_t)p->block;
    const size_t together = p->per_block == made ? organ_max(s->buffers.values / (made * cols), 1) : 1;
    uint64_t first = s->row / block;
    const size_t blocks = (size_t)organ_convert_blocks(p, &first, s->rows / block);
    const size_t skipped = (size_t)(first - s->row / block);
    const uint64_t to = p->at + (s->matrix - p->matrix) * p->per_matrix + (first - p->from) * p->per_block;
    for (size_t b = 0, count; b < blocks; b += count) {
        count = organ_min(together, blocks - b);
        for (size_t k = 0; k < count; k++)
            pass_arrange_block(s, (skipped + b + k) * block * s->cols * s->bytes,
                               s->buffers.ordered + k * made * cols * s->bytes);
        if (pass_put(s, s->buffers.ordered, count * made, cols, to + b * p->per_block, error))
            return error->status;
    }
    return ORGAN_OK;
}

static organ_status pass_straight(const pass_strip *s, organ_error *error)
{
    const size_t cols = s->cols, together = organ_max(s->buffers.values / cols, 1);
    const uint64_t to = s->place->at + (s->matrix - s->place->matrix) * s->place->per_matrix + s->row;
    const bool as_read = s->job->pieces[s->place->piece].dtype == s->source->as;
    for (size_t r = 0, count; r < s->rows; r += count) {
        count = as_read ? s->rows : organ_min(together, s->rows - r);
        if (pass_put(s, (unsigned char *)s->strip->values + r * cols * s->bytes, count, cols, to + r, error))
            return error->status;
    }
    return ORGAN_OK;
}

/* ---- strips ---- */

static bool pass_place_has_matrix(const organ_convert_job *job, const organ_row_place *place, uint64_t matrix)
{
    return !job->facts[place->piece].skip && matrix >= place->matrix && matrix < place->matrix + place->matrices;
}

/* Returns ORGAN_STRIP_VALUES, or the values of the largest block and its counterpart, if these are more. */
static size_t pass_values(const organ_convert_job *job, organ_dtype as, uint64_t block)
{
    uint64_t most = ORGAN_STRIP_VALUES;
    for (size_t k = 0; k < job->source_count; k++)
        if (job->sources[k].as == as && job->sources[k].block == block)
            most = organ_max(most, (job->sources[k].other ? 2 : 1) * block *
                                       organ_row_place_matrices(job->sources[k].weight).cols);
    return (size_t)most;
}

static organ_status pass_work(void *context, const organ_weight_strip *strip, void *scratch, void *result,
                              organ_error *error)
{
    const organ_convert_job *const job = context;
    const convert_source *const source = strip->part;
    const organ_matrices m = organ_row_place_matrices(source->weight);
    const uint64_t first = strip->first * strip->cols / m.cols; /* organ_weight_pass reads a vector as one row */
    pass_strip s = {.job = job,
                    .source = source,
                    .strip = strip,
                    .matrix = first / m.rows,
                    .row = first % m.rows,
                    .rows = strip->rows * strip->cols / (size_t)m.cols,
                    .cols = (size_t)m.cols,
                    .bytes = pass_value_bytes(source->as)};
    (void)result;
    /* pass_group reserves these three buffers in `scratch` */
    s.buffers.values = pass_values(job, source->as, source->block);
    s.buffers.ordered = scratch;
    s.buffers.stored = s.buffers.ordered + s.buffers.values * s.bytes;
    s.buffers.put = s.buffers.stored + s.buffers.values * sizeof(float); /* no stored type has more bytes per value */
    for (size_t k = source->first; k < source->first + source->count && !error->status; k++) {
        s.place = &job->places[k];
        if (!pass_place_has_matrix(job, s.place, s.matrix))
            continue;
        if (source->block == 1 && organ_convert_is_straight(s.place, m.rows))
            pass_straight(&s, error);
        else
            pass_blocks(&s, error);
    }
    return error->status;
}

static organ_status pass_retire(void *context, const organ_weight_strip *strip, const void *result, organ_error *error)
{
    organ_convert_job *const job = context;
    const convert_source *const source = strip->part;
    const organ_matrices m = organ_row_place_matrices(source->weight);
    /* as in pass_work, a vector is read as one row and counts as a column */
    const uint64_t first = strip->first * strip->cols / m.cols, rows = strip->rows * strip->cols / m.cols;
    (void)result;
    for (size_t k = source->first; k < source->first + source->count; k++) {
        const organ_row_place *const place = &job->places[k];
        uint64_t block = first % m.rows / place->block;
        if (!pass_place_has_matrix(job, place, first / m.rows))
            continue;
        const uint64_t made =
            source->block == 1 && organ_convert_is_straight(place, m.rows)
                ? rows
                : organ_convert_blocks(place, &block, rows / place->block) * organ_convert_made(place);
        if (organ_convert_wrote(job, place->piece, made, error))
            return error->status;
    }
    organ_progress_advance(job->progress, strip->rows * strip->cols * pass_value_bytes(source->as), NULL, NULL);
    return ORGAN_OK;
}

/* ---- the pass ---- */

typedef organ_status use_pass(organ_convert_job *job, const organ_weight_pass *pass, organ_error *error);

static organ_status pass_run(organ_convert_job *job, const organ_weight_pass *pass, organ_error *error)
{
    return organ_weight_pass_run(pass, job->engine, error);
}

static organ_status pass_estimate(organ_convert_job *job, const organ_weight_pass *pass, organ_error *error)
{
    const double each = job->encoding ? organ_encoding_fit_products(job->encoding) : CONVERTED;
    organ_plan_memory(&job->plan, organ_weight_pass_enough(pass, job->engine, error), 0);
    for (size_t k = 0; k < pass->item_count; k++)
        job->plan.products += each * (double)pass->items[k].weight->elements;
    return error->status;
}

static organ_status pass_group(organ_convert_job *job, organ_weight_item *items, organ_dtype as, uint64_t block,
                               bool tower, use_pass *use, organ_error *error)
{
    const organ_model *const model = tower ? job->towers.file : job->model;
    size_t count = 0;
    for (size_t k = 0; k < job->source_count; k++) {
        convert_source *const source = &job->sources[k];
        if (source->as != as || source->block != block || source->tower != tower || !organ_convert_is_left(job, source))
            continue;
        items[count++] = (organ_weight_item){source->weight, source->other, source};
    }
    const size_t values = pass_values(job, as, block);
    const organ_weight_pass pass = {.model = model,
                                    .other_model = model,
                                    .items = items,
                                    .item_count = count,
                                    .as = as,
                                    .row_multiple = (size_t)block,
                                    .overflow = job->run ? organ_write_overflow(job->run) : NULL,
                                    .scratch_bytes =
                                        values * (pass_value_bytes(as) + sizeof(float)) + ORGAN_PUT_SCRATCH,
                                    .context = job,
                                    .work = pass_work,
                                    .retire = pass_retire};
    return count ? use(job, &pass, error) : ORGAN_OK;
}

static uint64_t pass_next_block(const organ_convert_job *job, uint64_t block)
{
    uint64_t next = 0;
    for (size_t k = 0; k < job->source_count; k++)
        if (job->sources[k].block > block && (next == 0 || job->sources[k].block < next))
            next = job->sources[k].block;
    return next;
}

static organ_status pass_computed(void *context, size_t k, size_t worker, organ_error *error)
{
    const organ_convert_job *const job = context;
    (void)worker;
    return job->facts[k].values && !job->facts[k].skip
               ? organ_write_put(job->run, k, job->facts[k].values, job->pieces[k].bytes, 0, NULL, error)
               : ORGAN_OK;
}

/* The last rows of a piece may have no source (convert_piece.zeros): GGUF needs a row for each token, but the table
 * of the model may have fewer rows. */
static organ_status pass_zeros(void *context, size_t k, size_t worker, organ_error *error)
{
    const organ_convert_job *const job = context;
    const convert_piece *const facts = &job->facts[k];
    (void)worker;
    if (facts->zeros == 0 || facts->skip)
        return ORGAN_OK;
    const uint64_t row = job->pieces[k].bytes / facts->rows;
    ORGAN_OWNED unsigned char *const bytes = calloc(1, (size_t)row + ORGAN_PUT_SCRATCH);
    if (!bytes)
        return organ_fail_memory(error, job->pieces[k].name);
    for (uint64_t r = facts->rows - facts->zeros; r < facts->rows && !error->status; r++)
        organ_write_put(job->run, k, bytes, (size_t)row, r * row, bytes + row, error);
    return error->status;
}

static organ_status pass_without_source(organ_convert_job *job, organ_error *error)
{
    if (organ_share_try(job->engine, job->piece_count, pass_computed, job, error) == ORGAN_OK)
        organ_share_try(job->engine, job->piece_count, pass_zeros, job, error);
    for (size_t k = 0; k < job->piece_count && !error->status; k++) {
        const convert_piece *const facts = &job->facts[k];
        if (facts->values && !facts->skip)
            organ_convert_wrote(job, k, facts->rows, error);
        if (facts->zeros && !facts->skip && !error->status)
            organ_convert_wrote(job, k, facts->zeros, error);
    }
    return error->status;
}

/* Sources of values are grouped by type and block, because an organ_weight_pass has one type and one multiple of
 * rows. */
static organ_status pass_groups(organ_convert_job *job, use_pass *use, organ_error *error)
{
    static const organ_dtype types[] = {ORGAN_F32, ORGAN_BF16, ORGAN_F16};
    ORGAN_OWNED organ_weight_item *const items = calloc(job->source_count + 1, sizeof *items);
    if (!items)
        organ_fail_memory(error, job->options->model);
    for (uint64_t block = 1; block && !error->status; block = pass_next_block(job, block))
        for (size_t k = 0; k < sizeof types / sizeof *types && !error->status; k++)
            if (pass_group(job, items, types[k], block, /*tower=*/false, use, error) == ORGAN_OK)
                pass_group(job, items, types[k], block, /*tower=*/true, use, error);
    return error->status;
}

static void pass_mark_done(organ_convert_job *job)
{
    for (size_t k = 0; k < job->piece_count; k++) {
        job->facts[k].skip = job->pieces[k].same || (job->run && organ_write_done(job->run, k));
        job->facts[k].left = job->facts[k].rows;
    }
}

organ_status organ_convert_pass(organ_convert_job *job, organ_error *error)
{
    pass_mark_done(job);
    if (pass_without_source(job, error) || organ_convert_codes_pass(job, error))
        return error->status;
    return pass_groups(job, pass_run, error);
}

organ_status organ_convert_estimate(organ_convert_job *job, organ_error *error)
{
    const organ_gguf keys = job->gguf ? organ_gguf_writer_view(job->gguf) : (organ_gguf){0};
    for (size_t k = 0; k < keys.kv_count; k++)
        job->plan.products += KEPT * (double)keys.kvs[k].size;
    pass_mark_done(job);
    return pass_groups(job, pass_estimate, error);
}
