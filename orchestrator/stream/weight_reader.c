/* SPDX-License-Identifier: MIT */

#include "formats/base/results.h"
#include "orchestrator/stream/row_function.h"
#include "orchestrator/stream/turn.h"
#include "orchestrator/stream/weight_parts.h"
#include "orchestrator/stream/weight_pass.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const weight_family made_family; /* defined below, because it reads other weights */

static const weight_family *weight_family_of(const organ_weight *weight)
{
    if (weight->made)
        return &made_family;
    if (weight->rotation)
        return &organ_weight_family_rotated;
    switch (weight->scheme) {
    case ORGAN_SCHEME_PLAIN:
        return &organ_weight_family_plain;
    case ORGAN_SCHEME_GPTQ:
    case ORGAN_SCHEME_AWQ_GEMM:
    case ORGAN_SCHEME_QUARK4:
        return &organ_weight_family_words;
    case ORGAN_SCHEME_BNB4:
        return &organ_weight_family_levels;
    default:
        return weight->transposed ? &organ_weight_family_experts : &organ_weight_family_rows;
    }
}

organ_status organ_weight_reader_prepare(const organ_model *model, const organ_weight *weight,
                                         const organ_kernels *kernels, organ_weight_reader *reader, organ_error *error)
{
    static const weight_readers readers = {organ_weight_reader_prepare, organ_weight_reader_open,
                                           organ_weight_reader_scratch, organ_weight_read};
    *reader = (organ_weight_reader){
        .model = model, .weight = weight, .kernels = kernels, .family = weight_family_of(weight), .readers = &readers};
    reader->shape = organ_weight_matrices(weight);
    const size_t cols = reader->shape.cols ? (size_t)reader->shape.cols : 1;
    reader->batch = cols < WEIGHT_BATCH_VALUES ? WEIGHT_BATCH_VALUES / cols : 1;
    reader->step = 1;
    reader->stored = organ_weight_bytes(weight);
    return reader->family->prepare(reader, error);
}

organ_status organ_weight_reader_open(const organ_model *model, const organ_weight *weight,
                                      const organ_kernels *kernels, char note[256], organ_weight_reader **reader,
                                      organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    organ_weight_reader *r = malloc(sizeof *r);
    *reader = NULL;
    if (note)
        note[0] = '\0';
    if (!r)
        return organ_fail_errno(error, ENOMEM, "tensor '%s'", weight->name);
    char unread[256];
    organ_status status = organ_weight_reader_prepare(model, weight, kernels, r, error);
    if (status == ORGAN_OK && r->family->load)
        status = r->family->load(r, note ? note : unread, error);
    if (status) {
        organ_weight_reader_close(r);
        return status;
    }
    *reader = r;
    return ORGAN_OK;
}

void organ_weight_reader_close(organ_weight_reader *reader)
{
    if (!reader)
        return;
    const size_t parts = reader->weight->made ? reader->weight->made->count : 1;
    for (size_t k = 0; reader->parts && k < parts; k++)
        organ_weight_reader_close(reader->parts[k]);
    organ_turn_close(reader->turn);
    ORGAN_FREE_ARRAYS(reader->parts, reader->table, reader->g_idx, reader->global, reader->columns, reader);
}

organ_status organ_weight_storage_read(const organ_model *model, const organ_weight *weight,
                                       const organ_kernels *kernels, organ_weight_storage *storage, char note[256],
                                       organ_error *error)
{
    organ_weight_reader *r;
    if (organ_weight_reader_open(model, weight, kernels, note, &r, error) == ORGAN_OK)
        *storage = (organ_weight_storage){.plus_one = r->plus_one, .indexed = r->g_idx != NULL};
    organ_weight_reader_close(r);
    return error->status;
}

uint64_t organ_weight_reader_rows(const organ_weight_reader *reader)
{
    return reader->shape.count * reader->shape.rows;
}
uint64_t organ_weight_reader_cols(const organ_weight_reader *reader) { return reader->shape.cols; }

static size_t smaller_size(uint64_t a, size_t b) { return a < b ? (size_t)a : b; }

static bool can_write(const organ_weight_reader *reader, organ_dtype as)
{
    return as == ORGAN_F32 || (reader->family->writes && reader->family->writes(reader, as));
}

/* read_batch puts FP32 values into the scratch memory to round them; 0 bytes if the family decodes directly to BF16
 * and F16. */
static size_t floats_bytes(const organ_weight_reader *reader, size_t rows)
{
    if (can_write(reader, ORGAN_BF16) && can_write(reader, ORGAN_F16))
        return 0;
    return weight_round(rows * (size_t)reader->shape.cols * sizeof(float));
}

size_t organ_weight_reader_scratch(const organ_weight_reader *reader, size_t rows)
{
    const size_t batch = smaller_size(rows, reader->batch);
    return floats_bytes(reader, batch) + weight_round(reader->family->scratch(reader, batch));
}

size_t organ_weight_reader_step(const organ_weight_reader *reader, size_t rows)
{
    const size_t steps = rows / reader->step + (rows % reader->step != 0);
    return (steps ? steps : 1) * reader->step;
}

uint64_t organ_weight_reader_bytes(const organ_weight_reader *reader, size_t rows)
{
    const uint64_t all = organ_weight_reader_rows(reader);
    return all ? (uint64_t)((double)reader->stored * ((double)rows / (double)all)) : 0;
}

/* Leaves *step unchanged on error. */
organ_status organ_weight_reader_step_of(const organ_model *model, const organ_weight *weight,
                                         const organ_kernels *kernels, size_t rows, size_t *step, organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    organ_weight_reader reader;
    if (organ_weight_reader_prepare(model, weight, kernels, &reader, error) == ORGAN_OK)
        *step = organ_weight_reader_step(&reader, rows);
    return error->status;
}

organ_status organ_weight_reader_size(const organ_model *model, const organ_weight *weight,
                                      const organ_kernels *kernels, size_t rows, size_t *scratch, organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    organ_weight_reader reader;
    *scratch = 0;
    if (organ_weight_reader_prepare(model, weight, kernels, &reader, error) == ORGAN_OK)
        *scratch = organ_weight_reader_scratch(&reader, rows);
    return error->status;
}

static organ_status read_batch(const organ_weight_reader *r, const weight_rows *rows, organ_dtype as, void *values,
                               void *scratch, organ_error *error)
{
    const size_t n = rows->count * (size_t)r->shape.cols;
    unsigned char *rest = (unsigned char *)scratch + floats_bytes(r, rows->count);
    if (can_write(r, as))
        return r->family->read(r, rows, as, values, rest, error);
    if (r->family->read(r, rows, ORGAN_F32, scratch, rest, error))
        return error->status;
    if (as == ORGAN_BF16)
        r->kernels->f32_to_bf16(scratch, values, n);
    else
        r->kernels->f32_to_f16(scratch, values, n);
    return ORGAN_OK;
}

/* Rows are counted over all matrices. A batch does not extend over two matrices. */
static organ_status read_batches(const organ_weight_reader *reader, uint64_t first, size_t rows, organ_dtype as,
                                 void *values, const weight_use *use, void *scratch, organ_error *error)
{
    const organ_matrices *shape = &reader->shape;
    const size_t row_bytes = (size_t)shape->cols * (as == ORGAN_F32 ? sizeof(float) : sizeof(uint16_t));
    unsigned char *to = values;
    while (rows > 0 && row_bytes > 0) {
        weight_rows part = {first / shape->rows, first % shape->rows, smaller_size(rows, reader->batch), use};
        part.count = smaller_size(shape->rows - part.first, part.count);
        if (read_batch(reader, &part, as, to, scratch, error))
            return error->status;
        to += use ? 0 : part.count * row_bytes;
        first += part.count;
        rows -= part.count;
    }
    return ORGAN_OK;
}

organ_status organ_weight_read(const organ_weight_reader *reader, uint64_t first, size_t rows, organ_dtype as,
                               void *values, void *scratch, organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    return read_batches(reader, first, rows, as, values, NULL, scratch, error);
}

size_t organ_weight_reader_batch(const organ_weight_reader *reader, size_t rows)
{
    return reader->family->parts ? reader->batch : organ_weight_reader_step(reader, rows);
}

size_t organ_weight_reader_part(const organ_weight_reader *reader, size_t rows)
{
    return reader->family->parts ? rows : organ_weight_reader_step(reader, rows);
}

organ_status organ_weight_read_parts(const organ_weight_reader *reader, uint64_t first, size_t rows, organ_dtype as,
                                     void *values, const weight_use *use, void *scratch, organ_error *error)
{
    if (reader->family->parts)
        return read_batches(reader, first, rows, as, values, use, scratch, error);
    for (size_t done = 0, n; done < rows && !error->status; done += n) {
        n = smaller_size(rows - done, use->most);
        if (organ_weight_read(reader, first + done, n, as, values, scratch, error) == ORGAN_OK)
            use->use(use->context, first + done, n, error);
    }
    return error->status;
}

/* ---- weights that are made of weights of the other format ---- */

/* Rows of one part are read into a buffer, changed there by the function of the place, and copied to their positions.
 */

typedef struct made_range {
    const organ_weight_reader *from; /* of part->from */
    const organ_made_part *part;
    bool inverse;                  /* as in organ_made */
    organ_matrices source;         /* the weight of safetensors: part->from or, if inverse, the made weight */
    uint64_t first, end;           /* rows of the made weight, as places count them */
    size_t cols, from_cols, group; /* columns of the made weight and of part->from; rows of the buffer */
    float *values, *buffer;
    void *scratch;
} made_range;

static bool made_is_vector(const organ_weight *weight) { return weight->rank == 1; }

/* A vector, which places count as a column, is read as a whole. */
static size_t made_group(const organ_weight_reader *from)
{
    const size_t cols = from->shape.cols ? (size_t)from->shape.cols : 1;
    return cols < WEIGHT_BATCH_VALUES && !made_is_vector(from->weight) ? WEIGHT_BATCH_VALUES / cols : 1;
}

static size_t made_buffer(const organ_weight_reader *from)
{
    return weight_round(made_group(from) * (size_t)from->shape.cols * sizeof(float));
}

static const organ_model *made_model(const organ_weight_reader *r, const organ_made_part *part)
{
    return part->model ? part->model : r->model;
}

/* A transposed part is read as a whole for any number of rows, so that all requested rows are one batch. */
static organ_status prepare_made(organ_weight_reader *r, organ_error *error)
{
    const organ_made *const made = r->weight->made;
    for (size_t k = 0; k < made->count && !error->status; k++) {
        organ_weight_reader from;
        organ_weight_reader_prepare(made_model(r, &made->parts[k]), made->parts[k].from, r->kernels, &from, error);
        if (made->parts[k].place.transposed)
            r->batch = SIZE_MAX;
    }
    return error->status;
}

static organ_status load_made(organ_weight_reader *r, char note[256], organ_error *error)
{
    const organ_made *const made = r->weight->made;
    char unread[256];
    (void)note;
    if (!(r->parts = calloc(made->count + 1, sizeof *r->parts)))
        return organ_fail_memory(error, r->weight->name);
    for (size_t k = 0; k < made->count && !error->status; k++)
        organ_weight_reader_open(made_model(r, &made->parts[k]), made->parts[k].from, r->kernels, unread, &r->parts[k],
                                 error);
    return error->status;
}

static size_t made_scratch(const organ_weight_reader *r, size_t rows)
{
    const organ_made *const made = r->weight->made;
    size_t most = 0;
    (void)rows;
    for (size_t k = 0; k < made->count; k++) {
        organ_weight_reader from;
        organ_error ignored = {0}; /* prepare_made has reported it */
        if (organ_weight_reader_prepare(made_model(r, &made->parts[k]), made->parts[k].from, r->kernels, &from,
                                        &ignored))
            continue;
        const size_t bytes = made_buffer(&from) + organ_weight_reader_scratch(&from, made_group(&from));
        most = bytes > most ? bytes : most;
    }
    return most;
}

/* Reads at most a group. Returns the address of the rows in the buffer; NULL after an error. */
static const float *made_fetch(const made_range *g, uint64_t row, size_t count, organ_error *error)
{
    const bool vector = made_is_vector(g->part->from);
    float *const values = g->buffer + (vector ? row : 0);
    if (organ_weight_read(g->from, vector ? 0 : row, vector ? 1 : count, ORGAN_F32, g->buffer, g->scratch, error))
        return NULL;
    organ_row_apply(&g->part->place, g->inverse, values, count * g->from_cols);
    return values;
}

/* Copies a row whose columns are a slice, or tiles in another order (tile t of the one weight, counted by outer and
 * inner index, is counted the other way around in the other), or the same. */
static void made_copy_row(const made_range *g, const float *from, float *to)
{
    const organ_row_place *const p = &g->part->place;
    const uint64_t outer = g->inverse ? p->inner : p->outer, inner = g->inverse ? p->outer : p->inner;
    for (uint64_t k = 0; k < p->cols && p->column_slice; k++)
        to[g->inverse ? p->col + k * p->col_step : k] = from[g->inverse ? k : p->col + k * p->col_step];
    for (uint64_t t = 0; t < outer * inner && p->tile; t++)
        memcpy(to + (t % inner * outer + t / inner) * p->tile, from + t * p->tile, p->tile * sizeof *to);
    if (!p->column_slice && !p->tile)
        memcpy(to, from, g->cols * sizeof *to);
}

/* Finds row `row` of the made weight in that of the part: its row *from or, if the place is transposed, its *column
 * from row *from on, and how many rows *left go on there. Returns false if the part does not have it. */
static bool made_find(const made_range *g, uint64_t row, uint64_t *from, uint64_t *column, uint64_t *left)
{
    const organ_row_place *const place = &g->part->place;
    return g->inverse ? organ_row_place_to_hf(place, &g->source, row, from, column, left)
                      : organ_row_place_to_gguf(place, &g->source, row, from, column, left);
}

/* Reads rows that are consecutive in both weights, at most a group; `from` is the first of them in the part's
 * weight. Returns their number. */
static uint64_t made_read_rows(const made_range *g, uint64_t row, uint64_t from, organ_error *error)
{
    const uint64_t most = made_is_vector(g->part->from) ? g->end - row : g->group;
    uint64_t count = 1, next, column, left;
    while (count < most && row + count < g->end && made_find(g, row + count, &next, &column, &left) &&
           next == from + count)
        count++;
    const float *const values = made_fetch(g, from, (size_t)count, error);
    for (uint64_t k = 0; k < count && values; k++)
        made_copy_row(g, values + k * g->from_cols, g->values + (row - g->first + k) * g->cols);
    return count;
}

/* Rows of a transposed block are columns of the part's weight, from `column` on, whose rows begin at `from`. */
static void made_read_columns(const made_range *g, uint64_t row, uint64_t count, uint64_t from, uint64_t column,
                              organ_error *error)
{
    const organ_row_place *const p = &g->part->place;
    const uint64_t lines = g->inverse ? p->cols : p->rows, step = g->inverse ? 1 : p->col_step;
    const uint64_t start = g->inverse ? p->col : 0, apart = g->inverse ? p->col_step : 1;
    const uint64_t most = made_is_vector(g->part->from) ? lines : g->group;
    float *const to = g->values + (row - g->first) * g->cols + start;
    for (uint64_t line = 0, n; line < lines && !error->status; line += n) {
        n = lines - line < most ? lines - line : most;
        const float *const values = made_fetch(g, from + line, (size_t)n, error);
        for (uint64_t l = 0; l < n && values; l++)
            for (uint64_t k = 0; k < count; k++)
                to[k * g->cols + (line + l) * apart] = values[l * g->from_cols + column + k * step];
    }
}

static organ_status made_read_part(const made_range *g, organ_error *error)
{
    for (uint64_t row = g->first, from, column, left, count; row < g->end && !error->status; row += count) {
        count = 1;
        if (!made_find(g, row, &from, &column, &left))
            continue;
        if (g->part->place.transposed) {
            count = left < g->end - row ? left : g->end - row;
            made_read_columns(g, row, count, from, column, error);
        } else
            count = made_read_rows(g, row, from, error);
    }
    return error->status;
}

static organ_status read_made(const organ_weight_reader *r, const weight_rows *rows, organ_dtype as, void *values,
                              unsigned char *scratch, organ_error *error)
{
    const organ_made *const made = r->weight->made;
    const bool vector = made_is_vector(r->weight);
    const uint64_t first = vector ? 0 : rows->matrix * r->shape.rows + rows->first;
    const size_t cols = (size_t)r->shape.cols;
    (void)as; /* F32, because the family has no function `writes` */
    memset(values, 0, rows->count * cols * sizeof(float));
    if (made->values)
        memcpy(values, made->values + first * cols, rows->count * cols * sizeof(float));
    for (size_t k = 0; k < made->count && !error->status; k++) {
        const organ_weight_reader *const from = r->parts[k];
        const made_range range = {.from = from,
                                  .part = &made->parts[k],
                                  .inverse = made->inverse,
                                  .source = organ_row_place_matrices(made->inverse ? r->weight : from->weight),
                                  .first = first,
                                  .end = first + (vector ? cols : rows->count),
                                  .cols = vector ? 1 : cols,
                                  .from_cols = made_is_vector(from->weight) ? 1 : (size_t)from->shape.cols,
                                  .group = made_group(from),
                                  .values = values,
                                  .buffer = (float *)(void *)scratch,
                                  .scratch = scratch + made_buffer(from)};
        made_read_part(&range, error);
    }
    return error->status;
}

static const weight_family made_family = {prepare_made, load_made, made_scratch, read_made, NULL, false};
