/* SPDX-License-Identifier: MIT
 * Copies codes and scales of types that both formats have: MXFP4 of gpt-oss and compressed-tensors; symmetric INT8 and
 * INT4 with a scale for 32 values, which are Q8_0 and Q4_0 of GGUF; MLX's codes of 4 bits with scale and bias for 32
 * values (Q4_1); and NVFP4, with an E4M3 scale for 16 values. Only their arrangement changes: GGUF stores the scales
 * before the codes of a block, and nibbles in another order. No value is computed or rounded, but for the tensor scale
 * of NVFP4 (organ_convert_tensor_scales).
 *
 * Places that copy the same matrices of a source (convert_parts.h) share one reading of these matrices. Each worker
 * reads a range of the rows and copies them to all these places; the calling thread waits for the workers and then
 * records the tensors in the journal. */
#include "orchestrator/surgery/convert/convert_parts.h"

#include "formats/base/text.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/stream/direct_file.h"
#include "orchestrator/stream/product.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    CODE_GROUP = ORGAN_CONVERT_GROUP,
    CODE_BUFFER = 1 << 20,    /* bytes of rows that are read, or written, with one call */
    CODE_OUTPUTS = 3,         /* codes, scales and minima of a weight are collected at the same time */
    CODE_F16 = 2,             /* bytes of the scale of a block of Q8_0, Q4_0 and Q4_1, and of the minimum of Q4_1 */
    CODE_NOT_A_NUMBER = 0xff, /* E8M0 scale that is NaN in safetensors; GGUF reads it as a number */
    NVFP4_SCALES = 4,         /* bytes of scales in a block of NVFP4 */
    NVFP4_CODES = 32,         /* bytes of codes in it */
    NVFP4_NOT_A_NUMBER = 0x7f /* E4M3 scale that is NaN; greater bytes have a sign */
};

/* ---- reading rows ---- */

/* Rows are counted over all matrices of the weight. */
typedef struct code_window {
    const organ_convert_job *job;
    const organ_weight *weight;
    size_t codes_row, scales_row; /* bytes of a row of codes and of its scales; 0 if blocks contain the scales */
    size_t biases_row;            /* bytes of the biases of a row; 0: the weight has none */
    uint64_t first, count;        /* the window has rows [first, first + count) */
    uint64_t capacity;            /* number of rows that the buffers have room for */
    bool read;                    /* the buffers have these rows; false: not yet read */
    unsigned char *codes, *scales, *biases; /* buffers with the rows as stored in the file */
} code_window;

/* The buffers have CODE_BUFFER bytes of codes, scales and biases together, or one row if that is longer.
 * code_window_close frees them, also after an error. */
static organ_status code_window_open(code_window *window, const organ_convert_job *job, const organ_weight *weight,
                                     organ_error *error)
{
    const uint64_t rows = weight->elements / weight->shape[weight->rank - 1];
    const organ_tensor *const scale = weight->scheme == ORGAN_SCHEME_PLAIN ? NULL : weight->scale,
                              *const bias = weight->scheme == ORGAN_SCHEME_PLAIN ? NULL : weight->bias;
    *window = (code_window){.job = job, .weight = weight};
    if (rows == 0)
        return ORGAN_OK;
    window->codes_row = (size_t)(weight->codes->bytes / rows);
    window->scales_row = scale ? (size_t)(scale->bytes / rows) : 0;
    window->biases_row = bias ? (size_t)(bias->bytes / rows) : 0;
    const size_t row = window->codes_row + window->scales_row + window->biases_row;
    window->capacity = organ_max(CODE_BUFFER / organ_max(row, 1), 1);
    window->codes = malloc(window->capacity * window->codes_row + 1); /* + 1: of 0 bytes malloc may return NULL */
    window->scales = malloc(window->capacity * window->scales_row + 1);
    window->biases = malloc(window->capacity * window->biases_row + 1);
    return window->codes && window->scales && window->biases ? ORGAN_OK : organ_fail_memory(error, weight->name);
}

static void code_window_close(code_window *window) { ORGAN_FREE_ARRAYS(window->codes, window->scales, window->biases); }

/* Reads the window's rows of one tensor of the weight, which has `row` bytes in a row; nothing if that is 0. */
static organ_status code_rows_read(const code_window *w, const organ_tensor *tensor, size_t row, unsigned char *to,
                                   organ_error *error)
{
    return row ? organ_model_read(w->job->model, tensor->file, to, w->count * row, tensor->offset + w->first * row,
                                  error)
               : ORGAN_OK;
}

static organ_status code_window_read(code_window *w, organ_error *error)
{
    if (!w->read && code_rows_read(w, w->weight->codes, w->codes_row, w->codes, error) == ORGAN_OK &&
        code_rows_read(w, w->weight->scale, w->scales_row, w->scales, error) == ORGAN_OK)
        code_rows_read(w, w->weight->bias, w->biases_row, w->biases, error);
    w->read = !error->status;
    return error->status;
}

/* ---- one row ---- */

/* Masks that select bytes 0, 2, 4 and 6 of a word, the low 4 bits of each byte, and bytes 0 to 3. */
#define EVEN_BYTES  UINT64_C(0x00ff00ff00ff00ff)
#define LOW_NIBBLES UINT64_C(0x0f0f0f0f0f0f0f0f)
#define LOW_WORD    UINT64_C(0xffffffff)

/* Returns bytes 0 to 3 of `four` as bytes 0, 2, 4 and 6; the other bytes are 0. */
static uint64_t code_spread(uint64_t four)
{
    four = (four | four << 16) & UINT64_C(0x0000ffff0000ffff);
    return (four | four << 8) & EVEN_BYTES;
}

/* Returns bytes 0, 2, 4 and 6 of `eight` as bytes 0 to 3: the reverse of code_spread. */
static uint64_t code_gather(uint64_t eight)
{
    eight &= EVEN_BYTES;
    eight = (eight | eight >> 8) & UINT64_C(0x0000ffff0000ffff);
    return (eight | eight >> 16) & LOW_WORD;
}

/* Returns 8 bytes of which byte k has the low nibble of code k of `first` and the high nibble of code k of `second`;
 * both have 8 codes of 4 bits. */
static uint64_t code_halves(uint64_t first, uint64_t second)
{
    /* byte k of even is byte 2k of the result, byte k of odd is byte 2k + 1 */
    const uint64_t even = (first & LOW_NIBBLES) | (second & LOW_NIBBLES) << 4;
    const uint64_t odd = (first >> 4 & LOW_NIBBLES) | (second & ~LOW_NIBBLES);
    return code_spread(even & LOW_WORD) | code_spread(odd & LOW_WORD) << 8;
}

/* The reverse of code_halves: returns the 8 codes of the low nibbles, and in the high word those of the high nibbles.
 */
static uint64_t code_apart(uint64_t pairs)
{
    const uint64_t even = code_gather(pairs), odd = code_gather(pairs >> 8);
    return ((even & LOW_NIBBLES) | (odd & LOW_NIBBLES) << 4) | ((even >> 4 & LOW_NIBBLES) | (odd & ~LOW_NIBBLES)) << 32;
}

/* Converts codes in two's complement (Q8_0) to codes with 128 added (compressed-tensors), and back. */
static void code_bytes_shift(const unsigned char *codes, unsigned char *to)
{
    for (size_t k = 0; k < CODE_GROUP; k++)
        to[k] = codes[k] ^ 0x80;
}

/* Reorders the 32 codes of 4 bits of a group, 16 bytes: byte k has codes 2k (low nibble) and 2k + 1 in safetensors, but
 * codes k and k + 16 in GGUF. */
static void code_nibbles_to_gguf(const unsigned char *from, unsigned char *to)
{
    uint64_t half[2]; /* codes 0 to 15 and 16 to 31 */
    memcpy(half, from, sizeof half);
    const uint64_t made[] = {code_halves(half[0], half[1]), code_halves(half[0] >> 32, half[1] >> 32)};
    memcpy(to, made, sizeof made);
}

/* The reverse of code_nibbles_to_gguf. */
static void code_nibbles_to_hf(const unsigned char *from, unsigned char *to)
{
    uint64_t pairs[2]; /* bytes 0 to 7 and 8 to 15 */
    memcpy(pairs, from, sizeof pairs);
    const uint64_t first = code_apart(pairs[0]), second = code_apart(pairs[1]);
    const uint64_t made[] = {(first & LOW_WORD) | second << 32, first >> 32 | (second & ~LOW_WORD)};
    memcpy(to, made, sizeof made);
}

/* Reorders the 64 codes of a block of NVFP4, 16 at a time: byte k of 8 has codes k and k + 8 in GGUF. */
static void code_nvfp4_reorder(const unsigned char *from, bool to_gguf, unsigned char *to)
{
    for (size_t at = 0; at < NVFP4_CODES; at += sizeof(uint64_t)) {
        uint64_t codes;
        memcpy(&codes, from + at, sizeof codes);
        codes = to_gguf ? code_halves(codes, codes >> 32) : code_apart(codes);
        memcpy(to + at, &codes, sizeof codes);
    }
}

/* Returns whether a block has a scale with a sign or without a value. GGUF ignores the sign of an E4M3 byte and reads
 * NaN as 0. */
static bool code_nvfp4_lacks(const unsigned char *scales)
{
    for (size_t k = 0; k < NVFP4_SCALES; k++)
        if (scales[k] >= NVFP4_NOT_A_NUMBER)
            return true;
    return false;
}

/* Writes a scale or bias, a number of `tensor`, to `to`. Returns whether F16 has exactly its value. */
static bool code_number_to_f16(const code_window *w, const organ_tensor *tensor, const unsigned char *from,
                               unsigned char *to)
{
    const organ_kernels *const kernels = w->job->engine->kernels;
    float value, back;
    organ_widen(kernels, tensor->dtype, from, &value, 1);
    organ_narrow(kernels, ORGAN_F16, &value, to, 1);
    organ_widen(kernels, ORGAN_F16, to, &back, 1);
    return isfinite(value) && back == value;
}

/* `why` completes "has a scale that". */
static organ_status code_refuse(const code_window *w, const organ_tensor *tensor, const char *why, organ_error *error)
{
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: tensor '%s' has a %s that %s: `dtype` codes cannot keep it",
                      w->job->model->path, tensor->name, tensor == w->weight->bias ? "bias" : "scale", why);
}

/* Writes the numbers of group g before its codes. Returns their end; NULL if one cannot be kept (`error`). */
static unsigned char *code_group_head(const code_window *w, const unsigned char *scales, const unsigned char *biases,
                                      size_t g, size_t groups, unsigned char *to, organ_error *error)
{
    const struct {
        const organ_tensor *tensor;
        const unsigned char *row;
        size_t bytes; /* of the row; 0: the weight has no such numbers */
    } of[] = {{w->weight->scale, scales, w->scales_row}, {w->weight->bias, biases, w->biases_row}};
    if (w->weight->scheme == ORGAN_SCHEME_MXFP4) {
        *to = scales[g];
        return scales[g] != CODE_NOT_A_NUMBER || !code_refuse(w, w->weight->scale, "is not a number", error) ? to + 1
                                                                                                             : NULL;
    }
    for (size_t k = 0; k < 2 && of[k].bytes; k++, to += CODE_F16)
        if (!code_number_to_f16(w, of[k].tensor, of[k].row + g * (of[k].bytes / groups), to))
            return code_refuse(w, of[k].tensor, "F16 does not have", error), NULL;
    return to;
}

static organ_status code_row_to_nvfp4(const code_window *w, const unsigned char *codes, const unsigned char *scales,
                                      unsigned char *to, organ_error *error)
{
    for (size_t at = 0; at < w->codes_row; at += NVFP4_CODES, scales += NVFP4_SCALES) {
        if (code_nvfp4_lacks(scales))
            return code_refuse(w, w->weight->scale, "is negative or not a number", error);
        memcpy(to, scales, NVFP4_SCALES);
        code_nvfp4_reorder(codes + at, /*to_gguf=*/true, to + NVFP4_SCALES);
        to += NVFP4_SCALES + NVFP4_CODES;
    }
    return ORGAN_OK;
}

static organ_status code_row_to_gguf(const code_window *w, const unsigned char *codes, const unsigned char *scales,
                                     const unsigned char *biases, unsigned char *to, organ_error *error)
{
    if (w->weight->scheme == ORGAN_SCHEME_NVFP4)
        return code_row_to_nvfp4(w, codes, scales, to, error);
    const bool packed = w->weight->scheme == ORGAN_SCHEME_PACKED, bytes = w->weight->bits == 8; /* else nibbles */
    const size_t group = bytes ? CODE_GROUP : CODE_GROUP / 2, groups = w->codes_row / group;
    for (size_t g = 0; g < groups; g++, codes += group, to += group) {
        if (!(to = code_group_head(w, scales, biases, g, groups, to, error)))
            return error->status;
        if (bytes && packed)
            code_bytes_shift(codes, to);
        else if (bytes)
            memcpy(to, codes, group);
        else
            code_nibbles_to_gguf(codes, to);
    }
    return ORGAN_OK;
}

/* The bytes of a block of a GGUF type, in their order. */
typedef struct code_block {
    size_t scale, minimum, codes;
} code_block;

static code_block code_block_of(organ_dtype type)
{
    if (type == ORGAN_MXFP4)
        return (code_block){1, 0, CODE_GROUP / 2};
    if (type == ORGAN_NVFP4)
        return (code_block){NVFP4_SCALES, 0, NVFP4_CODES};
    if (type == ORGAN_Q8_0)
        return (code_block){CODE_F16, 0, CODE_GROUP};
    return (code_block){CODE_F16, type == ORGAN_Q4_1 ? CODE_F16 : 0, CODE_GROUP / 2};
}

static size_t code_part_bytes(const code_block *b, convert_content part)
{
    if (part == CONVERT_CODES)
        return b->codes;
    return part == CONVERT_SCALES ? b->scale : b->minimum;
}

/* Refuses a scale of a block that safetensors do not have. */
static organ_status code_check_block(const code_window *w, const unsigned char *block, organ_error *error)
{
    const organ_dtype type = w->weight->codes->dtype;
    const char *why = NULL;
    if (type == ORGAN_MXFP4 && *block == CODE_NOT_A_NUMBER)
        why = "exponent 255, which is not a number in safetensors";
    if (type == ORGAN_NVFP4 && code_nvfp4_lacks(block))
        why = "scale of a block that is negative or not a number in safetensors";
    return why ? organ_fail(error, ORGAN_BAD_INPUT, "%s: tensor '%s' has %s %s", w->job->model->path, w->weight->name,
                            type == ORGAN_MXFP4 ? "the" : "a", why)
               : ORGAN_OK;
}

static void code_codes_to_hf(organ_dtype type, const unsigned char *codes, unsigned char *to)
{
    if (type == ORGAN_NVFP4)
        code_nvfp4_reorder(codes, /*to_gguf=*/false, to);
    else if (type == ORGAN_Q8_0)
        code_bytes_shift(codes, to);
    else
        code_nibbles_to_hf(codes, to);
}

/* Writes that part of the blocks of a row which `content` names. */
static organ_status code_row_to_hf(const code_window *w, const unsigned char *blocks, convert_content content,
                                   unsigned char *to, organ_error *error)
{
    const organ_dtype type = w->weight->codes->dtype;
    const code_block b = code_block_of(type);
    for (size_t at = 0; at < w->codes_row; at += b.scale + b.minimum + b.codes) {
        const unsigned char *const block = blocks + at, *const codes = block + b.scale + b.minimum;
        if (code_check_block(w, block, error))
            return error->status;
        if (content == CONVERT_CODES)
            code_codes_to_hf(type, codes, to);
        else if (content == CONVERT_SCALES)
            memcpy(to, block, b.scale);
        else
            memcpy(to, block + b.scale, b.minimum);
        to += code_part_bytes(&b, content);
    }
    return ORGAN_OK;
}

/* ---- one window ---- */

/* `rows` points into `pages`, at the same distance from a page boundary that the rows have in the file, so that
 * direct I/O can write them without another copy. */
typedef struct code_output {
    organ_convert_job *job;
    size_t piece, row;           /* index of the piece, and bytes of one of its rows */
    uint64_t first, count;       /* rows [first, first + count) of the piece are collected */
    uint64_t capacity;           /* number of rows at which the buffer is full */
    unsigned char *pages, *rows; /* the allocation, aligned to a page; the collected rows in it */
} code_output;

/* The places of a share are consecutive in the source and copy rows of the same matrices. */
typedef struct code_share {
    organ_convert_job *job;
    const convert_source *source;
    const organ_row_place *places; /* `count` places */
    size_t count;
    organ_matrices matrices; /* shape of the source's matrices */
    uint64_t step;           /* a window has a multiple of this many rows (code_step) */
    size_t ranges;           /* number of ranges into which the rows are divided, one for each worker that copies */
} code_share;

static size_t code_row_bytes(const organ_convert_job *job, size_t piece)
{
    return (size_t)(job->pieces[piece].bytes / organ_max(job->facts[piece].rows, 1));
}

static organ_status code_flush(code_output *out, organ_error *error)
{
    if (out->count)
        organ_write_put(out->job->run, out->piece, out->rows, out->count * out->row, out->first * out->row, NULL,
                        error);
    out->count = 0;
    return error->status;
}

/* Row `from` must be in the window. The rows collected so far are written first if row `to` does not follow them or
 * the buffer is full. */
static organ_status code_copy_row(code_output *out, code_window *w, uint64_t from, uint64_t to, organ_error *error)
{
    const convert_content content = out->job->facts[out->piece].content;
    if ((out->count == out->capacity || to != out->first + out->count) && code_flush(out, error))
        return error->status;
    if (code_window_read(w, error))
        return error->status;
    if (out->count == 0) {
        const uint64_t offset = out->job->pieces[out->piece].offset + to * out->row;
        out->first = to;
        out->rows = out->pages + offset % ORGAN_DIRECT_ALIGNMENT;
    }
    const unsigned char *const codes = w->codes + (from - w->first) * w->codes_row;
    const unsigned char *const scales = w->scales + (from - w->first) * w->scales_row;
    const unsigned char *const biases = w->biases + (from - w->first) * w->biases_row;
    unsigned char *const made = out->rows + out->count++ * out->row;
    return content == CONVERT_BLOCKS ? code_row_to_gguf(w, codes, scales, biases, made, error)
                                     : code_row_to_hf(w, codes, content, made, error);
}

static bool code_is_reordered(const organ_row_place *place) { return place->pairs || place->halves; }

/* windows[0] has rows of the source, windows[1] the same rows of its counterpart; with ORGAN_JOIN_PAIRS rows of both
 * alternate in the piece. */
static organ_status code_copy_block(const code_share *s, const organ_row_place *p, uint64_t matrix, uint64_t b,
                                    code_window windows[2], code_output *out, organ_error *error)
{
    const uint64_t sources = p->join == ORGAN_JOIN_PAIRS ? 2 : 1, end = windows->first + windows->count;
    /* first copied row of the block in the weight, and in the piece */
    const uint64_t from = matrix * s->matrices.rows + b * p->block + p->first;
    const uint64_t to = p->at + (matrix - p->matrix) * p->per_matrix + (b - p->from) * p->per_block;
    uint64_t k = 0, stop = p->rows;
    if (!code_is_reordered(p)) { /* rows in the windows are consecutive: skip the others */
        k = windows->first > from ? windows->first - from : 0;
        stop = end > from ? organ_min(stop, end - from) : 0;
    }
    for (; k < stop && !error->status; k++) {
        const uint64_t row = from + organ_convert_row_from(p, k);
        for (uint64_t n = 0; n < sources && row >= windows->first && row < end && !error->status; n++)
            code_copy_row(out, &windows[n], row, to + k * sources + n, error);
    }
    return error->status;
}

static organ_status code_copy_to_place(const code_share *s, const organ_row_place *p, code_window windows[2],
                                       code_output *out, organ_error *error)
{
    const uint64_t rows = s->matrices.rows, end = windows->first + windows->count;
    out->piece = p->piece;
    out->row = code_row_bytes(s->job, p->piece);
    out->capacity = organ_max(CODE_BUFFER / organ_max(out->row, 1), 1);
    for (uint64_t at = windows->first, next; at < end && !error->status; at = next) {
        const uint64_t matrix = at / rows;
        next = organ_min((matrix + 1) * rows, end); /* end of the matrix, or of the window in it */
        uint64_t first = at % rows / p->block;
        const uint64_t last = (next - 1) % rows / p->block;
        const uint64_t blocks = organ_convert_blocks(p, &first, last + 1 - first);
        for (uint64_t b = first; b < first + blocks && !error->status; b++)
            code_copy_block(s, p, matrix, b, windows, out, error);
    }
    return error->status;
}

/* If there are at most CODE_OUTPUTS places, each has an output buffer, which collects rows of several windows. More
 * places share the first buffer, which is then written after each place. */
static organ_status code_copy_window(const code_share *s, code_window windows[2], code_output outputs[CODE_OUTPUTS],
                                     organ_error *error)
{
    if (organ_stop_is_requested(s->job->engine->stop))
        return organ_fail(error, ORGAN_INTERRUPTED, "interrupted");
    windows[0].read = windows[1].read = false;
    for (size_t k = 0; k < s->count && !error->status; k++) {
        code_output *const out = &outputs[s->count <= CODE_OUTPUTS ? k : 0];
        if (!s->job->facts[s->places[k].piece].skip &&
            code_copy_to_place(s, &s->places[k], windows, out, error) == ORGAN_OK && s->count > CODE_OUTPUTS)
            code_flush(out, error);
    }
    return error->status;
}

/* ---- one source ---- */

/* The 2 pages more are for the start within a page and for the end of the last page. */
static organ_status code_output_open(code_output *out, const code_share *s, organ_error *error)
{
    size_t most = CODE_BUFFER;
    for (size_t k = 0; k < s->count; k++)
        most = organ_max(most, code_row_bytes(s->job, s->places[k].piece));
    *out = (code_output){.job = s->job};
    out->pages = aligned_alloc(ORGAN_DIRECT_ALIGNMENT, (most / ORGAN_DIRECT_ALIGNMENT + 2) * ORGAN_DIRECT_ALIGNMENT);
    return out->pages ? ORGAN_OK : organ_fail_memory(error, s->source->weight->name);
}

static void code_output_close(code_output *out, organ_error *error)
{
    if (!error->status)
        code_flush(out, error);
    free(out->pages);
}

/* The ranges divide the rows of the share's matrices at multiples of code_share.step. */
static organ_status code_copy_range(void *context, size_t range, size_t worker, organ_error *error)
{
    const code_share *const s = context;
    (void)worker;
    /* all: the number of steps */
    const uint64_t all = s->places->matrices * s->matrices.rows / s->step, begin = s->places->matrix * s->matrices.rows;
    const uint64_t end = begin + all * (range + 1) / s->ranges * s->step;
    code_window windows[2] = {{0}, {0}};
    code_output outputs[CODE_OUTPUTS] = {{0}};
    for (size_t k = 0; k < (s->count <= CODE_OUTPUTS ? s->count : 1) && !error->status; k++)
        code_output_open(&outputs[k], s, error);
    if (!error->status && code_window_open(&windows[0], s->job, s->source->weight, error) == ORGAN_OK &&
        s->source->other)
        code_window_open(&windows[1], s->job, s->source->other, error);
    for (uint64_t at = begin + all * range / s->ranges * s->step; at < end && !error->status; at += windows->count) {
        windows[0].first = windows[1].first = at;
        windows[0].count = windows[1].count = organ_min(windows->capacity / s->step * s->step, end - at);
        code_copy_window(s, windows, outputs, error);
    }
    code_window_close(&windows[0]);
    code_window_close(&windows[1]);
    for (size_t k = 0; k < CODE_OUTPUTS; k++)
        code_output_close(&outputs[k], error);
    return error->status;
}

/* If a place reorders rows within its blocks and a block fits in the buffers, the step is the number of rows of a
 * block: a window then has whole blocks, whose rows can be written in the order of the output. Otherwise it is 1. */
static uint64_t code_step(const code_share *s)
{
    const organ_weight *const w = s->source->weight;
    const uint64_t row = organ_weight_bytes(w) / organ_max(w->elements / w->shape[w->rank - 1], 1);
    for (size_t k = 0; k < s->count; k++)
        if (code_is_reordered(&s->places[k]))
            return s->places[k].block * row <= CODE_BUFFER ? s->places[k].block : 1;
    return 1;
}

static organ_status code_wrote(const code_share *s, const organ_row_place *p, organ_error *error)
{
    uint64_t first = 0;
    const uint64_t blocks = organ_convert_blocks(p, &first, s->matrices.rows / p->block);
    return organ_convert_wrote(s->job, p->piece, p->matrices * blocks * p->rows * (p->join == ORGAN_JOIN_PAIRS ? 2 : 1),
                               error);
}

/* As many workers run as have room for their buffers in engine->memory, but at least one. */
static organ_status code_copy_share(code_share *s, organ_error *error)
{
    /* a worker has up to two windows */
    const uint64_t each = (2 + CODE_OUTPUTS) * CODE_BUFFER + ORGAN_PUT_SCRATCH;
    const uint64_t fitting = organ_engine_memory(s->job->engine) / each;
    s->step = code_step(s);
    s->ranges = organ_max(organ_min(organ_workers_count(s->job->engine->workers), (size_t)fitting), 1);
    organ_share_try(s->job->engine, s->ranges, code_copy_range, s, error);
    for (size_t k = 0; k < s->count && !error->status; k++)
        if (!s->job->facts[s->places[k].piece].skip)
            code_wrote(s, &s->places[k], error);
    return error->status;
}

/* Consecutive places of the same matrices share one reading; places of other matrices, such as the numbered experts
 * of a stack, follow with readings of their own. */
static organ_status code_copy_source(organ_convert_job *job, const convert_source *source, organ_error *error)
{
    const organ_row_place *const places = &job->places[source->first];
    if (!organ_convert_is_left(job, source))
        return ORGAN_OK;
    for (size_t k = 0, count; k < source->count && !error->status; k += count) {
        bool left = false;
        for (count = 0; k + count < source->count && places[k + count].matrix == places[k].matrix &&
                        places[k + count].matrices == places[k].matrices;
             count++)
            left = left || !job->facts[places[k + count].piece].skip;
        code_share share = {.job = job,
                            .source = source,
                            .places = &places[k],
                            .count = count,
                            .matrices = organ_row_place_matrices(source->weight)};
        if (left)
            code_copy_share(&share, error);
    }
    if (!error->status)
        organ_progress_advance(
            job->progress, organ_weight_bytes(source->own) + (source->other ? organ_weight_bytes(source->other) : 0),
            NULL, NULL);
    return error->status;
}

organ_status organ_convert_codes_pass(organ_convert_job *job, organ_error *error)
{
    for (size_t k = 0; k < job->source_count && !error->status; k++)
        if (job->sources[k].codes)
            code_copy_source(job, &job->sources[k], error);
    return error->status;
}
