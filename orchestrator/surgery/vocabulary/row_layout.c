/* SPDX-License-Identifier: MIT
 * Copies rows of weights out of the layouts in which tensors hold them. */
#include "orchestrator/surgery/vocabulary/row_layout.h"

#include "formats/base/results.h"
#include "orchestrator/stream/weight_pass.h"

#include <string.h>

#define WINDOW ((size_t)1 << 20) /* bytes of whole rows that are passed together */
enum { WORD = 32, AWQ_FIELDS = 8, ALIGNED = 64 };

/* ---- the layout ---- */

static bool is_of_columns(const organ_weight *w, const organ_tensor *tensor)
{
    return tensor == w->columns || tensor == w->g_idx;
}

/* Words of a row in which each of `rows` fields has a place. */
static uint64_t words_of(const organ_row_layout *l, uint64_t rows)
{
    const uint64_t fields = WORD / l->bits;
    return l->dense ? (rows * l->bits + WORD - 1) / WORD : (rows + fields - 1) / fields;
}

static bool fits(const organ_row_layout *l, const organ_tensor *tensor)
{
    const unsigned rank = tensor->rank;
    if (tensor->elements == 0 && l->form != ORGAN_ROWS_NONE)
        return false;
    switch (l->form) {
    case ORGAN_ROWS_WHOLE:
        return rank > 0 && rank <= ORGAN_ROW_RANK && tensor->shape[0] == l->rows && tensor->bytes % l->rows == 0;
    case ORGAN_ROWS_COLUMNS:
        return rank == 2 && tensor->shape[1] == l->rows && tensor->bytes % tensor->elements == 0;
    case ORGAN_ROWS_FIELDS:
        return rank == 2 && tensor->dtype == ORGAN_I32 && tensor->shape[1] == words_of(l, l->rows);
    case ORGAN_ROWS_STACKED:
        return rank == 2 && tensor->dtype == ORGAN_I32 && tensor->shape[0] == words_of(l, l->rows);
    case ORGAN_ROWS_SHAPE:
        return rank == 1 && tensor->shape[0] == 2 && tensor->dtype == ORGAN_I64;
    case ORGAN_ROWS_NONE:
        break;
    }
    return true;
}

static organ_row_form form_of(const organ_weight *w, const organ_tensor *tensor)
{
    const bool awq = w->scheme == ORGAN_SCHEME_AWQ_GEMM, gptq = w->scheme == ORGAN_SCHEME_GPTQ && !w->planar;
    if (tensor == w->shape_tensor)
        return ORGAN_ROWS_SHAPE;
    if ((awq && (tensor == w->codes || tensor == w->zero)) || (gptq && tensor == w->zero))
        return ORGAN_ROWS_FIELDS;
    if (w->scheme == ORGAN_SCHEME_PACKED && tensor == w->zero && tensor->dtype == ORGAN_I32)
        return ORGAN_ROWS_STACKED;
    if (is_of_columns(w, tensor) || (tensor != w->codes && tensor->elements == 1))
        return ORGAN_ROWS_NONE;
    return (gptq && (tensor == w->codes || tensor == w->scale)) || (awq && tensor == w->scale) ? ORGAN_ROWS_COLUMNS
                                                                                               : ORGAN_ROWS_WHOLE;
}

organ_status organ_row_layout_find(const organ_weight *w, const organ_tensor *tensor, organ_row_layout *layout,
                                   organ_error *error)
{
    char text[128];
    const bool turns = w->scheme == ORGAN_SCHEME_GPTQ || w->scheme == ORGAN_SCHEME_AWQ_GEMM;
    *layout = (organ_row_layout){.form = form_of(w, tensor),
                                 .rows = w->shape[0],
                                 .bits = w->bits ? w->bits : 8,
                                 .dense = w->scheme == ORGAN_SCHEME_GPTQ || w->dense_words,
                                 .awq = w->scheme == ORGAN_SCHEME_AWQ_GEMM};
    if ((!w->transposed || turns || layout->form == ORGAN_ROWS_NONE) && !w->planar && fits(layout, tensor))
        return ORGAN_OK;
    return organ_fail(error, ORGAN_BAD_INPUT,
                      "tensor '%s': rows of '%s' (%s) share its values, so that they cannot be taken apart: dequantize "
                      "the model first",
                      tensor->name, w->name, organ_weight_text(w, text, sizeof text));
}

/* The least number of fields that fill whole words. */
uint64_t organ_row_layout_multiple(const organ_row_layout *l)
{
    uint64_t bits = l->bits, count = WORD;
    if (l->form != ORGAN_ROWS_FIELDS)
        return 1;
    if (!l->dense)
        return WORD / l->bits;
    for (; bits % 2 == 0 && count > 1; bits /= 2)
        count /= 2;
    return count;
}

void organ_row_layout_shape(const organ_row_layout *l, const organ_tensor *tensor, uint64_t rows, uint64_t *shape)
{
    memcpy(shape, tensor->shape, tensor->rank * sizeof *shape);
    if (l->form == ORGAN_ROWS_WHOLE)
        shape[0] = rows;
    else if (l->form == ORGAN_ROWS_COLUMNS)
        shape[1] = rows;
    else if (l->form == ORGAN_ROWS_FIELDS)
        shape[1] = words_of(l, rows);
    else if (l->form == ORGAN_ROWS_STACKED)
        shape[0] = words_of(l, rows);
}

/* ---- fields ---- */

/* Bit of the first word at which the field of a row begins. */
static uint64_t bit_of(const organ_row_layout *l, uint64_t row)
{
    const uint64_t fields = WORD / l->bits;
    if (l->awq)
        return row / AWQ_FIELDS * WORD + organ_awq_nibble[row % AWQ_FIELDS] * l->bits;
    return l->dense ? row * l->bits : row / fields * WORD + row % fields * l->bits;
}

/* `stride`: words from one word of fields to the next. */
static uint32_t get_field(const organ_row_layout *l, const uint32_t *words, size_t stride, uint64_t row)
{
    const uint64_t bit = bit_of(l, row), word = bit / WORD, shift = bit % WORD;
    uint64_t pair = words[word * stride];
    if (shift + l->bits > WORD)
        pair |= (uint64_t)words[(word + 1) * stride] << WORD;
    return (uint32_t)(pair >> shift & ((UINT64_C(1) << l->bits) - 1));
}

/* The field was zero. */
static void put_field(const organ_row_layout *l, uint32_t *words, size_t stride, uint64_t row, uint32_t value)
{
    const uint64_t bit = bit_of(l, row), word = bit / WORD, shift = bit % WORD;
    const uint64_t pair = (uint64_t)value << shift;
    words[word * stride] |= (uint32_t)pair;
    if (shift + l->bits > WORD)
        words[(word + 1) * stride] |= (uint32_t)(pair >> WORD);
}

/* ---- the bytes ---- */

organ_row_choice organ_choice_of(const organ_model *model, const organ_tensor *tensor, const organ_row_layout *layout,
                                 const uint32_t *ids, size_t count, const organ_stop *stop)
{
    size_t rows = 0;
    while (rows < count && ids[rows] < layout->rows)
        rows++;
    return (organ_row_choice){model, tensor, *layout, ids, rows, stop};
}

static size_t aligned(uint64_t bytes) { return (size_t)((bytes + ALIGNED - 1) / ALIGNED * ALIGNED); }

typedef struct row_pass {
    const organ_row_choice *c;
    unsigned char *from, *to; /* what is read, and what is passed */
    organ_row_sink *take;
    void *context;
    uint64_t at;   /* bytes that were passed */
    size_t filled; /* bytes of `from` that were not */
} row_pass;

/* Bytes of the tensor that are read together for `rows` rows, and the bytes that are made of them. */
static uint64_t unit_of(const organ_row_choice *c, uint64_t rows)
{
    const organ_tensor *const t = c->tensor;
    const organ_row_layout *const l = &c->layout;
    switch (l->form) {
    case ORGAN_ROWS_COLUMNS:
        return rows * (t->bytes / t->elements);
    case ORGAN_ROWS_FIELDS:
        return words_of(l, rows) * sizeof(uint32_t);
    case ORGAN_ROWS_STACKED:
        return words_of(l, rows) * t->shape[1] * sizeof(uint32_t);
    case ORGAN_ROWS_SHAPE:
        return t->bytes;
    case ORGAN_ROWS_WHOLE:
    case ORGAN_ROWS_NONE:
        break;
    }
    return WINDOW;
}

uint64_t organ_choice_buffer(const organ_row_choice *c)
{
    const bool whole = c->layout.form == ORGAN_ROWS_WHOLE || c->layout.form == ORGAN_ROWS_NONE;
    return aligned(unit_of(c, c->layout.rows)) + (whole ? 0 : (uint64_t)aligned(unit_of(c, c->count)));
}

static organ_status pass(row_pass *p, const unsigned char *bytes, size_t count, organ_error *error)
{
    if (organ_stop_is_requested(p->c->stop))
        return organ_fail(error, ORGAN_INTERRUPTED, "interrupted");
    if (count && p->take(p->context, bytes, p->at, count, error))
        return error->status;
    p->at += count;
    return ORGAN_OK;
}

/* Passes what the window has. */
static organ_status pass_filled(row_pass *p, organ_error *error)
{
    const size_t filled = p->filled;
    p->filled = 0;
    return pass(p, p->from, filled, error);
}

/* Reads bytes [at, at + rest) of the tensor into the window, and passes it whenever it is full. */
static organ_status pass_range(row_pass *p, uint64_t at, uint64_t rest, organ_error *error)
{
    const organ_tensor *const t = p->c->tensor;
    while (rest) {
        const size_t n = rest < WINDOW - p->filled ? (size_t)rest : WINDOW - p->filled;
        if (organ_model_read(p->c->model, t->file, p->from + p->filled, n, t->offset + at, error))
            return error->status;
        p->filled += n;
        at += n;
        rest -= n;
        if (p->filled == WINDOW && pass_filled(p, error))
            return error->status;
    }
    return ORGAN_OK;
}

/* Returns how many rows from the k-th on follow each other in the tensor. */
static size_t run_of(const organ_row_choice *c, size_t k)
{
    size_t run = 1;
    while (k + run < c->count && c->ids[k + run] == c->ids[k] + run)
        run++;
    return run;
}

static organ_status pass_whole(row_pass *p, organ_error *error)
{
    const organ_row_choice *const c = p->c;
    const uint64_t width = c->tensor->bytes / c->tensor->shape[0];
    for (size_t k = 0, run; k < c->count; k += run) {
        run = run_of(c, k);
        if (pass_range(p, c->ids[k] * width, run * width, error))
            return error->status;
    }
    return pass_filled(p, error);
}

static void choose_columns(const row_pass *p)
{
    const size_t unit = (size_t)(p->c->tensor->bytes / p->c->tensor->elements);
    for (size_t k = 0; k < p->c->count; k++)
        memcpy(p->to + k * unit, p->from + p->c->ids[k] * unit, unit);
}

/* Fields of one column of words. */
static void choose_fields(const row_pass *p, size_t column, size_t stride)
{
    const organ_row_choice *const c = p->c;
    const uint32_t *const from = (const uint32_t *)(const void *)p->from + column;
    uint32_t *const to = (uint32_t *)(void *)p->to + column;
    for (size_t k = 0; k < c->count; k++)
        put_field(&c->layout, to, stride, k, get_field(&c->layout, from, stride, c->ids[k]));
}

static void choose(const row_pass *p)
{
    const size_t stride = (size_t)p->c->tensor->shape[p->c->tensor->rank - 1];
    switch (p->c->layout.form) {
    case ORGAN_ROWS_COLUMNS:
        choose_columns(p);
        break;
    case ORGAN_ROWS_FIELDS:
        choose_fields(p, 0, 1);
        break;
    case ORGAN_ROWS_STACKED:
        for (size_t column = 0; column < stride; column++)
            choose_fields(p, column, stride);
        break;
    case ORGAN_ROWS_SHAPE:
        memcpy(p->to, (const int64_t[2]){(int64_t)p->c->count, 0}, sizeof(int64_t));
        memcpy(p->to + sizeof(int64_t), p->from + sizeof(int64_t), sizeof(int64_t));
        break;
    case ORGAN_ROWS_WHOLE:
    case ORGAN_ROWS_NONE:
        break;
    }
}

/* Reads rows of the tensor, or all of it, one after the other. */
static organ_status pass_units(row_pass *p, organ_error *error)
{
    const organ_row_choice *const c = p->c;
    const organ_tensor *const t = c->tensor;
    const size_t from = (size_t)unit_of(c, c->layout.rows), to = (size_t)unit_of(c, c->count);
    for (uint64_t at = 0; at < t->bytes; at += from) {
        memset(p->to, 0, to);
        if (organ_model_read(c->model, t->file, p->from, from, t->offset + at, error))
            return error->status;
        choose(p);
        if (pass(p, p->to, to, error))
            return error->status;
    }
    return ORGAN_OK;
}

organ_status organ_choice_pass(const organ_row_choice *c, unsigned char *buffer, organ_row_sink *take, void *context,
                               organ_error *error)
{
    row_pass p = {
        .c = c, .from = buffer, .to = buffer + aligned(unit_of(c, c->layout.rows)), .take = take, .context = context};
    if (c->layout.form == ORGAN_ROWS_NONE)
        return pass_range(&p, 0, c->tensor->bytes, error) ? error->status : pass_filled(&p, error);
    return c->layout.form == ORGAN_ROWS_WHOLE ? pass_whole(&p, error) : pass_units(&p, error);
}
