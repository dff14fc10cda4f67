/* SPDX-License-Identifier: MIT
 * Quantises to the nearest codes, strip by strip on all workers. The rows of a strip are processed in bands that share
 * their scales: 128 rows if a scale covers a block of the matrix, else one row. Short rows of GGUF blocks are encoded
 * several at a time. A part is a target that is quantised. */
#include "orchestrator/verbs/quantize/codes/quantize_parts.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/stream/product.h"
#include "orchestrator/stream/weight_pass.h"

#include <stdlib.h>
#include <string.h>

#define NEAREST 160.0 /* plan of a dry run: operations per weight, but for GGUF blocks */

#define PENDING ((size_t)1 << 16) /* least bytes of scales that are buffered before they are written together */
#define BAND    ((size_t)4096)    /* greatest number of values of GGUF rows that are encoded together */
#define WINDOW  ((size_t)1 << 16) /* about how many values are read before they are encoded: they stay in a cache */

typedef struct strip_result {
    organ_encoding_loss loss[ORGAN_LOSSES]; /* codes: losses; indices: ORGAN_LOSS .. */
    double unsearched;                      /* codes: error squares with the scales of try 0 */
} strip_result;

typedef struct encode_buffers {
    const organ_quantize_job *job;
    const organ_quantize_part *part;
    const organ_kernels *kernels;
    size_t cols, groups, group;         /* columns of a row; groups of a row (0: GGUF); columns of a group */
    size_t step;                        /* rows that are encoded together: 1, or several short rows of GGUF blocks */
    size_t row_bytes;                   /* bytes of the codes of one row */
    unsigned char *codes;               /* codes of `step` rows */
    float *wide;                        /* these rows as FP32, if the strip has a narrower type: [step][cols] */
    float *back;                        /* decoded values of these rows, [step][cols] */
    float *block;                       /* a block of a band as FP32, if a scale covers a block: [size][size] */
    float *scales;                      /* `groups` scales of the current band, then their minima if it has some */
    double unsearched;                  /* error squares of the strip with the scales of try 0 of the search */
    float *weights, *roots;             /* imatrix weight of each column, and its root; NULL: no imatrix */
    unsigned char *pending;             /* scales in the type of the file that are not written yet */
    unsigned char *pending_minima;      /* and their minima; NULL: there are none */
    size_t pending_bytes, pending_room; /* bytes in `pending`; bytes that fit into it */
    uint64_t pending_at;                /* offset of the first pending scale in the tensor of scales, in bytes */
    void *put;                          /* ORGAN_PUT_SCRATCH bytes for organ_write_put */
} encode_buffers;

/* The bytes are rounded up to whole cache lines. If `scratch` is NULL, the function only adds to *used and returns
 * NULL. */
static void *carve_scratch(unsigned char *scratch, size_t *used, size_t bytes)
{
    void *const at = scratch ? scratch + *used : NULL;
    *used += organ_to_line(bytes);
    return at;
}

/* Returns the bytes used. If `scratch` is NULL, the function only counts bytes: all buffers stay NULL. */
static size_t lay_out(const organ_quantize_job *job, const organ_quantize_part *part, unsigned char *scratch,
                      encode_buffers *b)
{
    const organ_encoding *const encoding = part->encoding;
    const bool gguf = organ_encoding_is_gguf(encoding);
    const size_t cols = (size_t)part->cols, groups = (size_t)part->groups;
    size_t used = 0;
    *b = (encode_buffers){.job = job,
                          .part = part,
                          .kernels = job->engine->kernels,
                          .cols = cols,
                          .groups = groups,
                          .group = organ_grid_group(&encoding->grid, cols),
                          .step = gguf && cols < BAND ? BAND / cols : 1,
                          .row_bytes = organ_encoding_row_bytes(encoding, cols)};
    b->codes = carve_scratch(scratch, &used, b->step * (gguf ? b->row_bytes : cols));
    b->wide = carve_scratch(scratch, &used, b->step * cols * sizeof(float));
    b->back = carve_scratch(scratch, &used, b->step * cols * sizeof(float));
    if (encoding->grid.scale_of == ORGAN_SCALE_BLOCK)
        b->block = carve_scratch(scratch, &used, encoding->grid.size * encoding->grid.size * sizeof(float));
    if (groups) {
        b->scales = carve_scratch(scratch, &used, organ_grid_numbers(&encoding->grid, cols) * sizeof(float));
        b->pending_room = organ_to_line(groups * sizeof(float)) + PENDING; /* room for a band of any length */
        b->pending = carve_scratch(scratch, &used, b->pending_room);
        if (organ_grid_is_free(&encoding->grid))
            b->pending_minima = carve_scratch(scratch, &used, b->pending_room);
    }
    if (part->entry) {
        b->weights = carve_scratch(scratch, &used, cols * sizeof(float));
        b->roots = carve_scratch(scratch, &used, cols * sizeof(float));
    }
    b->put = carve_scratch(scratch, &used, ORGAN_PUT_SCRATCH);
    return used;
}

static organ_status buffers_for_strip(const organ_quantize_job *job, const organ_weight_strip *strip, void *scratch,
                                      encode_buffers *b, organ_error *error)
{
    const organ_quantize_part *const part = strip->part;
    const organ_grid *const grid = &part->encoding->grid;
    lay_out(job, part, scratch, b);
    /* a strip begins at a band; strip->first counts rows over all matrices of the target */
    b->pending_at = (grid->scale_of == ORGAN_SCALE_BLOCK ? strip->first / grid->size : strip->first) * part->groups *
                    organ_encoding_scale_bytes(part->encoding);
    return part->entry ? organ_quantize_weigh(job, part, strip->first / part->rows, b->weights, b->roots, error)
                       : ORGAN_OK;
}

/* ---- scales ---- */

static organ_status put_pending(encode_buffers *b, organ_error *error)
{
    if (b->pending_bytes)
        organ_write_put(b->job->run, b->part->scale, b->pending, b->pending_bytes, b->pending_at, NULL, error);
    if (b->pending_bytes && b->pending_minima && !error->status)
        organ_write_put(b->job->run, b->part->minimum, b->pending_minima, b->pending_bytes, b->pending_at, NULL, error);
    b->pending_at += b->pending_bytes;
    b->pending_bytes = 0;
    return error->status;
}

/* Returns `rows` rows of the strip as FP32, times the divisor: in b->wide or, if they are FP32 already, in place. */
static float *take_rows(const encode_buffers *b, const organ_weight_strip *strip, size_t first, size_t rows)
{
    const size_t n = rows * b->cols;
    float *values = (float *)strip->values + first * b->cols;
    if (strip->type != ORGAN_F32) {
        values = b->wide;
        organ_widen(b->kernels, strip->type, (const uint16_t *)strip->values + first * b->cols, values, n);
    }
    organ_quantize_multiply(values, n, b->part->divisor);
    return values;
}

/* Returns the sum of the error squares with the scales of try 0 of a band of rows from row `first` of the strip on. */
static double search_blocks(const encode_buffers *b, const organ_weight_strip *strip, size_t first, size_t rows)
{
    const organ_grid *const grid = &b->part->encoding->grid;
    const organ_scale_search *const search = organ_grid_search(grid);
    const size_t size = grid->size;
    double unsearched = 0;
    if (strip->type == ORGAN_F32)
        return b->kernels->search_scales(search, (const float *)strip->values + first * b->cols, b->cols, rows, b->cols,
                                         size, b->scales);
    for (size_t from = 0; from < b->cols; from += size) {
        const uint16_t *const stored = (const uint16_t *)strip->values + first * b->cols + from;
        const size_t n = organ_min(size, b->cols - from);
        for (size_t r = 0; r < rows; r++)
            organ_widen(b->kernels, strip->type, stored + r * b->cols, b->block + r * size, n);
        unsearched += b->kernels->search_scales(search, b->block, size, rows, n, size, b->scales + from / size);
    }
    return unsearched;
}

/* Scales of the band that begins at row `first` of the strip, `values` as FP32 (a band of one row). If one scale covers
 * the tensor, put_small has written it, so it is not appended to b->pending. */
static organ_status make_scales(encode_buffers *b, const organ_weight_strip *strip, size_t first, const float *values,
                                organ_error *error)
{
    const organ_encoding *const encoding = b->part->encoding;
    const size_t bytes = b->groups * organ_encoding_scale_bytes(encoding);
    if (encoding->grid.scale_of == ORGAN_SCALE_TENSOR) {
        b->scales[0] = b->part->whole_scale;
        return ORGAN_OK;
    }
    if (b->pending_bytes + bytes > b->pending_room && put_pending(b, error))
        return error->status;
    if (b->pending_minima) {
        const organ_affine_fit fit = {encoding->grid.bits, b->group, organ_grid_store(&encoding->grid)};
        float *const minima = b->scales + b->groups;
        b->unsearched += b->kernels->fit_affine(&fit, values, NULL, b->cols, b->scales, minima);
        organ_encoding_store_scales(encoding, b->kernels, minima, b->groups, b->pending_minima + b->pending_bytes);
    } else if (organ_quantize_keeps_scale(&encoding->grid)) {
        b->scales[0] = organ_grid_scale(&encoding->grid, b->kernels, b->kernels->amax(values, b->cols));
    } else if (encoding->grid.scale_of == ORGAN_SCALE_BLOCK) {
        b->unsearched += search_blocks(b, strip, first, organ_min(strip->rows - first, encoding->grid.size));
    } else {
        b->unsearched += b->kernels->search_scales(organ_grid_search(&encoding->grid), values, b->cols, 1, b->cols,
                                                   b->group, b->scales);
    }
    organ_encoding_store_scales(encoding, b->kernels, b->scales, b->groups, b->pending + b->pending_bytes);
    b->pending_bytes += bytes;
    return ORGAN_OK;
}

/* ---- codes ---- */

/* ggml's reference takes the scales from the greatest magnitudes. Overwrites b->codes and b->back. Types without
 * such an encoder are skipped. */
static void measure_reference(encode_buffers *b, const float *values, size_t rows)
{
    const organ_dtype_info *const type = organ_dtype_describe(b->part->encoding->codes);
    double squares[2];
    if (!b->kernels->quantize[type->ggml])
        return;
    b->kernels->quantize[type->ggml](values, b->codes, rows * b->cols / type->elements);
    organ_encoding_decode(b->part->encoding, b->kernels, b->codes, NULL, rows * b->cols, b->back);
    b->kernels->error_squares(values, b->back, rows * b->cols, squares);
    b->unsearched += squares[1];
}

/* `sums` has organ_encoding_losses entries, which become NaN or infinite if a value is not finite. */
static void make_rows(encode_buffers *b, float *values, size_t rows, organ_encoding_loss *sums)
{
    const organ_encoding *const encoding = b->part->encoding;
    if (b->groups) {
        organ_encoding_encode_row(encoding, b->kernels, values, b->scales, b->cols, b->codes, b->back,
                                  &sums[ORGAN_LOSS]);
        return;
    }
    if (!b->job->along.run)
        measure_reference(b, values, rows);
    organ_encoding_fit(encoding, b->kernels, values, b->weights, rows, b->cols, b->codes);
    organ_encoding_decode(encoding, b->kernels, b->codes, b->scales, rows * b->cols, b->back);
    organ_encoding_add_row_losses(b->kernels, values, b->back, b->roots, rows, b->cols, sums);
}

/* The sums are of values that were multiplied by `factor`; they become those of the values themselves. */
static void divide_sums(strip_result *sums, float factor)
{
    const double by = 1 / ((double)factor * (double)factor);
    sums->unsearched *= by;
    for (size_t k = 0; k < ORGAN_LOSSES; k++) {
        sums->loss[k].squares *= by;
        sums->loss[k].error_squares *= by;
    }
}

/* The codes are collected in strip->room, in place of values that have been encoded already; `codes` are those of these
 * rows of the strip. Those of FP32 values pass through a buffer, because the first rows overlap their values. */
static organ_status make_codes_of_rows(encode_buffers *b, const organ_weight_strip *rows_of, unsigned char *codes,
                                       organ_encoding_loss *loss, organ_error *error)
{
    const organ_grid *const grid = &b->part->encoding->grid;
    const size_t band = grid->scale_of == ORGAN_SCALE_BLOCK ? grid->size : 1;
    unsigned char *const buffer = b->codes;
    for (size_t r = 0; r < rows_of->rows; r += b->step) {
        const size_t rows = organ_min(b->step, rows_of->rows - r);
        float *const values = take_rows(b, rows_of, r, rows);
        if (b->groups && r % band == 0 && make_scales(b, rows_of, r, values, error))
            break;
        b->codes = rows_of->type == ORGAN_F32 ? buffer : codes + r * b->row_bytes;
        make_rows(b, values, rows, loss);
        if (rows_of->type == ORGAN_F32)
            memcpy(codes + r * b->row_bytes, b->codes, rows * b->row_bytes);
    }
    b->codes = buffer;
    return error->status;
}

/* Rows that are read together: about WINDOW values, whole bands and whole steps. */
static size_t rows_at_once(const encode_buffers *b)
{
    const organ_grid *const grid = &b->part->encoding->grid;
    const size_t band = grid->scale_of == ORGAN_SCALE_BLOCK ? grid->size : b->step;
    return organ_max(WINDOW / b->cols / band, 1) * band;
}

static organ_status read_and_encode(encode_buffers *b, const organ_weight_strip *strip, organ_encoding_loss *loss,
                                    organ_error *error)
{
    unsigned char *const codes = strip->room;
    const size_t most = rows_at_once(b);
    organ_weight_strip part;
    if (strip->values)
        return make_codes_of_rows(b, strip, codes, loss, error);
    for (size_t r = 0; r < strip->rows && !error->status; r += most)
        if (organ_weight_strip_read(strip, r, organ_min(most, strip->rows - r), &part, error) == ORGAN_OK)
            make_codes_of_rows(b, &part, codes + r * b->row_bytes, loss, error);
    return error->status;
}

static organ_status make_codes(void *context, const organ_weight_strip *strip, void *scratch, void *result,
                               organ_error *error)
{
    const organ_quantize_job *const job = context;
    encode_buffers b;
    strip_result *const sums = result;
    if (buffers_for_strip(job, strip, scratch, &b, error) != ORGAN_OK ||
        read_and_encode(&b, strip, sums->loss, error) != ORGAN_OK)
        return error->status;
    /* INFINITY: there is no search */
    sums->unsearched = organ_quantize_keeps_scale(&b.part->encoding->grid) ? INFINITY : b.unsearched;
    divide_sums(sums, b.part->divisor);
    if (!isfinite(sums->loss[ORGAN_LOSS].squares))
        return organ_quantize_refuse_values(b.part->weight->name, error);
    if (!isfinite(sums->loss[ORGAN_LOSS].error_squares) && organ_encoding_is_plain(b.part->encoding))
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "tensor '%s' has values beyond the range of F16: `type_of` '%s=keep' leaves it unchanged",
                          b.part->weight->name, b.part->weight->name);
    if (put_pending(&b, error))
        return error->status;
    return organ_write_put(job->run, b.part->codes, strip->room, strip->rows * b.row_bytes, strip->first * b.row_bytes,
                           b.put, error);
}

/* ---- passes ---- */

static organ_status retire_codes(void *context, const organ_weight_strip *strip, const void *result, organ_error *error)
{
    organ_quantize_job *const job = context;
    organ_quantize_part *const part = strip->part;
    const strip_result *const sums = result;
    organ_encoding_add_losses(part->encoding, part->loss, sums->loss);
    part->unsearched += sums->unsearched;
    if (strip->last && !isfinite(part->unsearched))
        part->unsearched = -1;
    if (strip->last && organ_write_finish(job->run, part->codes, organ_quantize_results(part), error))
        return error->status;
    organ_progress_advance(job->progress, organ_quantize_counted_bytes(part, strip->rows),
                           strip->last ? part->weight->name : NULL, NULL);
    return ORGAN_OK;
}

/* Static scales have the type of the weight's scales. */
static organ_status put_input_scale(organ_quantize_job *job, const organ_quantize_part *part, organ_error *error)
{
    unsigned char stored[4];
    organ_encoding_store_scales(part->encoding, job->engine->kernels, &part->input_scale, 1, stored);
    return organ_write_put(job->run, part->input, stored, organ_encoding_scale_bytes(part->encoding), 0, NULL, error);
}

organ_status organ_quantize_put_shape(organ_quantize_job *job, const organ_quantize_part *part, organ_error *error)
{
    const int64_t shape[2] = {(int64_t)part->rows, (int64_t)part->cols};
    /* compressed-tensors divides by the scale, llama.cpp multiplies by it and has one for each expert */
    const bool gguf = organ_encoding_is_gguf(part->encoding);
    const float global = gguf ? 1 / part->divisor : part->divisor;
    const uint64_t count = gguf ? part->scale_shape[0] : 1;
    if (organ_quantize_static(job->options) && put_input_scale(job, part, error) != ORGAN_OK)
        return error->status;
    if (organ_encoding_has_divisor(part->encoding)) {
        for (uint64_t k = 0; k < count && !error->status; k++)
            organ_write_put(job->run, part->global, &global, sizeof global, k * sizeof global, NULL, error);
        const float input = organ_quantize_input_scale(part->greatest_input);
        if (job->options->activations.like_weights && !error->status)
            organ_write_put(job->run, part->input, &input, sizeof input, 0, NULL, error);
        return error->status;
    }
    return organ_encoding_is_packed(part->encoding)
               ? organ_write_put(job->run, part->shape, shape, sizeof shape, 0, NULL, error)
               : ORGAN_OK;
}

/* Writes the tensors of the part of item k that do not depend on codes: those of organ_quantize_put_shape, and the
 * scale if one scale covers the tensor. */
static organ_status put_small(void *context, size_t k, size_t worker, organ_error *error)
{
    const organ_weight_pass *const pass = context;
    organ_quantize_job *const job = pass->context;
    organ_quantize_part *const part = pass->items[k].part;
    unsigned char stored[4];
    (void)worker;
    if (organ_quantize_put_shape(job, part, error) != ORGAN_OK || part->encoding->grid.scale_of != ORGAN_SCALE_TENSOR)
        return error->status;
    organ_encoding_store_scales(part->encoding, job->engine->kernels, &part->whole_scale, 1, stored);
    return organ_write_put(job->run, part->scale, stored, organ_encoding_scale_bytes(part->encoding), 0, NULL, error);
}

/* The scratch is the largest that a part needs; strips have multiples of 128 rows, so that bands are never divided. */
static organ_weight_pass codes_pass(organ_quantize_job *job, const organ_weight_item *items, size_t count)
{
    size_t scratch = 0;
    encode_buffers b;
    for (size_t k = 0; k < count; k++) {
        scratch = organ_max(scratch, lay_out(job, items[k].part, /*scratch=*/NULL, &b));
        organ_rows_passed();
    }
    return (organ_weight_pass){.model = job->model,
                               .items = items,
                               .item_count = count,
                               .as = ORGAN_F32,
                               .narrow = true,
                               .row_multiple = 128,
                               .scratch_bytes = scratch,
                               .result_bytes = sizeof(strip_result),
                               .context = job,
                               .work = make_codes,
                               .retire = retire_codes};
}

static organ_status run_pass(organ_quantize_job *job, const organ_weight_item *items, size_t count, organ_error *error)
{
    organ_weight_pass codes = codes_pass(job, items, count);
    return organ_share_try(job->engine, count, put_small, &codes, error) == ORGAN_OK
               ? organ_weight_pass_run(&codes, job->engine, error)
               : error->status;
}

static organ_status claim_memory(organ_quantize_job *job, const organ_weight_item *items, size_t count,
                                 organ_error *error)
{
    const organ_weight_pass codes = codes_pass(job, items, count);
    return organ_weight_pass_claim(&codes, job->engine, error);
}

static organ_status estimate_work(organ_quantize_job *job, const organ_weight_item *items, size_t count,
                                  organ_error *error)
{
    const organ_weight_pass pass = codes_pass(job, items, count);
    const bool gguf = organ_encoding_is_gguf(job->encoding);
    organ_plan_memory(&job->plan, organ_weight_pass_enough(&pass, job->engine, error), 0);
    for (size_t k = 0; k < count; k++) {
        const organ_quantize_part *const part = items[k].part;
        job->plan.products +=
            (gguf ? organ_encoding_fit_products(part->encoding) : NEAREST) * (double)part->weight->elements;
    }
    return error->status;
}

typedef organ_status use_items(organ_quantize_job *job, const organ_weight_item *items, size_t count,
                               organ_error *error);

static organ_status with_items(organ_quantize_job *job, use_items *use, organ_error *error)
{
    ORGAN_OWNED_ROWS organ_weight_item *const items = organ_rows_take(job->list.part_count + 1, sizeof *items);
    size_t count = 0;
    if (!items)
        organ_fail_memory(error, job->options->model);
    for (size_t k = 0; k < job->list.part_count && !error->status; k++) {
        organ_quantize_part *const part = organ_quantize_next_part(job, k);
        if (part->calibrated || job->list.pieces[part->codes].done)
            continue;
        items[count++] = (organ_weight_item){.weight = part->weight, .part = part};
    }
    if (count && !error->status)
        use(job, items, count, error);
    return error->status;
}

organ_status organ_quantize_pass(organ_quantize_job *job, organ_error *error)
{
    return with_items(job, run_pass, error);
}

organ_status organ_quantize_claim_pass(organ_quantize_job *job, organ_error *error)
{
    return with_items(job, claim_memory, error);
}

organ_status organ_quantize_estimate_pass(organ_quantize_job *job, organ_error *error)
{
    return with_items(job, estimate_work, error);
}
