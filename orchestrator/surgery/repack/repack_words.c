/* SPDX-License-Identifier: MIT
 * Codes, zero points, scales and indices of a weight in the words of the three formats. Sources of the layouts:
 * compressed-tensors 0.20 (pack_to_int32), WQLinear_GEMM of AutoAWQ 0.2.9, QuantLinear of AutoGPTQ 0.7.1 and
 * TorchLinear of GPTQModel 7.7. W is the number of words of a row of codes or zero points.
 *
 *                codes               zero points         scales
 *   compressed   [rows][W]           [W][groups]         [rows][groups]
 *   GPTQ         [W][rows]           [groups][W]         [groups][rows]
 *   AWQ          [cols][rows / 8]    [groups][rows / 8]  [groups][rows]
 *   Quark        as AWQ; int4: codes and zero points in two's complement, 8 less than in the others
 *
 * The codes of a weight are in memory as stored, in both formats; between them, a tile of rows has a byte for each. */
#include "orchestrator/surgery/repack/repack_parts.h"

#include "formats/base/owned.h"
#include "formats/base/results.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/stream/weight_pass.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { TILE = 64, AWQ_CODES = 8 };

/* ---- rows of codes in words ---- */

/* The last word is filled with zeros. */
static void pack_words(const unsigned char *codes, unsigned bits, size_t n, unsigned char *bytes)
{
    uint64_t held = 0;
    unsigned count = 0;
    size_t at = 0;
    for (size_t k = 0; k < n; k++) {
        held |= (uint64_t)codes[k] << count;
        for (count += bits; count >= 8; count -= 8, held >>= 8)
            bytes[at++] = (unsigned char)held;
    }
    if (count)
        bytes[at++] = (unsigned char)held;
    while (at % 4)
        bytes[at++] = 0;
}

static bool has_awq_words(const organ_weight *w)
{
    return w->scheme == ORGAN_SCHEME_AWQ_GEMM || w->scheme == ORGAN_SCHEME_QUARK4;
}

/* Adds 8 to a code in two's complement of 4 bits, so that it is one of 0 .. 15. */
static unsigned char sign_bit(const organ_weight *w) { return w->signed_codes ? 8 : 0; }

/* `words` has the codes of row 8 w + k in nibble organ_awq_nibble[k] of words [w][0 .. cols). */
static void unpack_awq(const uint32_t *words, size_t cols, size_t rows, unsigned char sign, unsigned char *codes)
{
    for (size_t r = 0; r < rows; r++) {
        const uint32_t *const from = words + r / AWQ_CODES * cols;
        const unsigned shift = 4 * organ_awq_nibble[r % AWQ_CODES];
        for (size_t c = 0; c < cols; c++)
            codes[r * cols + c] = (from[c] >> shift & 15) ^ sign;
    }
}

static void pack_awq(const unsigned char *codes, size_t cols, size_t rows, uint32_t *words)
{
    for (size_t r = 0; r < rows; r++) {
        uint32_t *const to = words + r / AWQ_CODES * cols;
        const unsigned shift = 4 * organ_awq_nibble[r % AWQ_CODES];
        for (size_t c = 0; c < cols; c++)
            to[c] = (r % AWQ_CODES ? to[c] : 0) | (uint32_t)codes[r * cols + c] << shift;
    }
}

/* ---- tiles ---- */

/* Buffers for one part: a tensor of the model and one of the output, codes as bytes, and words of a tile or of zero
 * points. */
typedef struct repack_buffers {
    unsigned char *in, *out, *loose, *turned;
} repack_buffers;

/* Unpacks the codes of rows [first, first + count) to b->loose. */
static void read_tile(const repack_part *p, const repack_buffers *b, size_t first, size_t count)
{
    const organ_weight *const w = p->weight;
    const size_t words = (size_t)organ_repack_bytes(p->cols, w->bits) / 4;
    uint32_t *const turned = (uint32_t *)(void *)b->turned;
    const uint32_t *const in = (const uint32_t *)(const void *)b->in;
    if (has_awq_words(w)) {
        organ_transpose_u32(in + first / AWQ_CODES, p->rows / AWQ_CODES, turned, p->cols, p->cols, count / AWQ_CODES);
        unpack_awq(turned, p->cols, count, sign_bit(w), b->loose);
        return;
    }
    const bool gptq = w->scheme == ORGAN_SCHEME_GPTQ;
    const size_t row = gptq ? words * 4 : (size_t)(w->codes->bytes / p->rows);
    if (gptq)
        organ_transpose_u32(in + first, p->rows, turned, words, words, count);
    for (size_t r = 0; r < count; r++)
        organ_unpack_bits(gptq ? b->turned + r * row : b->in + (first + r) * row, w->bits, gptq || w->dense_words, 0,
                          b->loose + r * p->cols, p->cols);
}

static void write_tile(const repack_job *job, const repack_part *p, const repack_buffers *b, size_t first, size_t count)
{
    const size_t row = (size_t)organ_repack_bytes(p->cols, p->weight->bits);
    uint32_t *const turned = (uint32_t *)(void *)b->turned, *const out = (uint32_t *)(void *)b->out;
    if (job->to == REPACK_AWQ) {
        pack_awq(b->loose, p->cols, count, turned);
        organ_transpose_u32(turned, p->cols, out + first / AWQ_CODES, p->rows / AWQ_CODES, count / AWQ_CODES, p->cols);
        return;
    }
    for (size_t r = 0; r < count; r++)
        pack_words(b->loose + r * p->cols, p->weight->bits, p->cols,
                   job->to == REPACK_GPTQ ? b->turned + r * row : b->out + (first + r) * row);
    if (job->to == REPACK_GPTQ)
        organ_transpose_u32(turned, row / 4, out + first, p->rows, count, row / 4);
}

/* ---- zero points ---- */

/* `words`: the tensor of zero points as stored; `turned` has room for as many words. */
static void unpack_zeros(const repack_part *p, const unsigned char *words, unsigned char *turned, unsigned char *zeros)
{
    const organ_weight *const w = p->weight;
    const size_t all = (size_t)(w->zero->bytes / 4), row = all / p->groups;
    const unsigned greatest = (1u << w->bits) - 1;
    if (w->scheme == ORGAN_SCHEME_PACKED) {
        organ_transpose_u32((const uint32_t *)(const void *)words, p->groups, (uint32_t *)(void *)turned, row, row,
                            p->groups);
        words = turned;
    }
    for (size_t g = 0; g < p->groups; g++, words += row * 4, zeros += p->rows) {
        if (has_awq_words(w))
            for (size_t r = 0; r < p->rows; r++)
                zeros[r] = (words[r / AWQ_CODES * 4 + organ_awq_nibble[r % AWQ_CODES] / 2] >>
                                organ_awq_nibble[r % AWQ_CODES] % 2 * 4 &
                            15) ^
                           sign_bit(w);
        else
            organ_unpack_bits(words, w->bits, w->scheme == ORGAN_SCHEME_GPTQ || w->dense_words, 0, zeros, p->rows);
        for (size_t r = 0; r < p->rows && p->plus_one; r++)
            zeros[r] = (unsigned char)((zeros[r] + 1u) & greatest);
    }
}

organ_status organ_repack_read_zeros(const repack_job *job, const repack_part *p, unsigned char *zeros,
                                     organ_error *error)
{
    const organ_tensor *const t = p->weight->zero;
    memset(zeros, 1 << (p->weight->bits - 1), p->rows * p->groups);
    if (!t)
        return ORGAN_OK;
    ORGAN_OWNED unsigned char *const words = malloc((size_t)t->bytes + 1);
    ORGAN_OWNED unsigned char *const turned = malloc((size_t)t->bytes + 1);
    if (!words || !turned)
        return organ_fail_memory(error, t->name);
    if (organ_model_read(job->model, t->file, words, (size_t)t->bytes, t->offset, error) == ORGAN_OK)
        unpack_zeros(p, words, turned, zeros);
    return error->status;
}

/* GPTQ: readers tell version 1 from 2 by zero points that are all stored as half of the range (2) or as one less (1),
 * whatever the configuration states. */
static organ_status check_version(const repack_job *job, const repack_part *p, const unsigned char *stored,
                                  organ_error *error)
{
    const unsigned half = 1u << (p->weight->bits - 1), other = job->minus_one ? half : half - 1;
    const size_t count = p->rows * p->groups;
    size_t k = 0;
    while (k < count && stored[k] == other)
        k++;
    if (k < count)
        return ORGAN_OK;
    return organ_repack_refuse(job, p->weight->zero ? p->weight->zero->name : p->weight->codes->name,
                               "has zero points that readers take for those of the other version of GPTQ", error);
}

/* Zero points in b->loose become the words in b->out. */
static organ_status pack_zeros(const repack_job *job, const repack_part *p, const repack_buffers *b, organ_error *error)
{
    const unsigned bits = p->weight->bits, greatest = (1u << bits) - 1;
    const size_t row = (size_t)organ_repack_bytes(p->rows, bits);
    unsigned char *const words = job->to == REPACK_COMPRESSED ? b->turned : b->out;
    for (size_t k = 0; k < p->rows * p->groups && job->minus_one; k++)
        b->loose[k] = (unsigned char)((b->loose[k] - 1u) & greatest);
    if (job->to == REPACK_GPTQ && check_version(job, p, b->loose, error))
        return error->status;
    for (size_t g = 0; g < p->groups; g++) {
        const unsigned char *const zeros = b->loose + g * p->rows;
        uint32_t *const to = (uint32_t *)(void *)(words + g * row);
        for (size_t r = 0; r < p->rows && job->to == REPACK_AWQ; r++)
            to[r / AWQ_CODES] = (r % AWQ_CODES ? to[r / AWQ_CODES] : 0) | (uint32_t)zeros[r]
                                                                              << 4 * organ_awq_nibble[r % AWQ_CODES];
        if (job->to != REPACK_AWQ)
            pack_words(zeros, bits, p->rows, (unsigned char *)to);
    }
    if (job->to == REPACK_COMPRESSED)
        organ_transpose_u32((const uint32_t *)(const void *)b->turned, row / 4, (uint32_t *)(void *)b->out, p->groups,
                            p->groups, row / 4);
    return ORGAN_OK;
}

/* ---- scales and indices ---- */

static void turn_scales(const repack_job *job, const repack_part *p, const repack_buffers *b)
{
    const bool by_row = p->weight->scheme == ORGAN_SCHEME_PACKED; /* the model has [rows][groups] */
    const size_t size = (size_t)(p->weight->scale->bytes / p->weight->scale->elements);
    if (by_row == (job->to == REPACK_COMPRESSED)) {
        memcpy(b->out, b->in, (size_t)p->weight->scale->bytes);
        return;
    }
    const size_t rows = by_row ? p->rows : p->groups, cols = by_row ? p->groups : p->rows;
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c++)
            memcpy(b->out + (c * rows + r) * size, b->in + (r * cols + c) * size, size);
}

organ_status organ_repack_read_index(const repack_job *job, const repack_part *p, int32_t *index, organ_error *error)
{
    const organ_tensor *const t = p->weight->g_idx;
    if (p->indexed)
        return organ_model_read(job->model, t->file, index, (size_t)t->bytes, t->offset, error);
    for (size_t k = 0; k < p->cols; k++)
        index[k] = (int32_t)(k / p->group);
    return ORGAN_OK;
}

/* ---- one part ---- */

static uint64_t piece_bytes(const repack_job *job, const repack_part *p, repack_tensor k)
{
    static const uint64_t other[REPACK_TENSORS] = {
        [REPACK_CODES] = 4, [REPACK_ZEROS] = 4, [REPACK_INDEX] = 4, [REPACK_SHAPE] = 8};
    const uint64_t second = p->shapes[k][1] ? p->shapes[k][1] : 1;
    if (p->pieces[k] == SIZE_MAX)
        return 0;
    return p->shapes[k][0] * second *
           (k == REPACK_SCALES ? organ_dtype_describe(job->pieces[p->pieces[k]].dtype)->bytes : other[k]);
}

static void buffer_sizes(const repack_job *job, const repack_part *p, uint64_t sizes[4])
{
    const organ_weight *const w = p->weight;
    memset(sizes, 0, 4 * sizeof *sizes);
    for (size_t k = 0; k < ORGAN_WEIGHT_TENSORS; k++)
        if (organ_weight_tensor(w, k))
            sizes[0] = organ_max(sizes[0], organ_weight_tensor(w, k)->bytes);
    for (unsigned k = 0; k < REPACK_TENSORS; k++)
        sizes[1] = organ_max(sizes[1], piece_bytes(job, p, (repack_tensor)k));
    sizes[2] = organ_max((uint64_t)TILE * p->cols, (uint64_t)p->rows * p->groups);
    /* a tile of words: at most 8 bits for each code */
    sizes[3] = organ_max((uint64_t)TILE * (p->cols + 4), piece_bytes(job, p, REPACK_ZEROS));
    for (size_t k = 0; k < 4; k++)
        sizes[k] += 64;
}

uint64_t organ_repack_memory(const repack_job *job, const repack_part *p)
{
    uint64_t sizes[4];
    buffer_sizes(job, p, sizes);
    const uint64_t zeros = p->weight->zero ? 2 * p->weight->zero->bytes : 0; /* organ_repack_read_zeros */
    return sizes[0] + sizes[1] + sizes[2] + sizes[3] + zeros + ORGAN_PUT_SCRATCH;
}

static organ_status load(const repack_job *job, const organ_tensor *t, const repack_buffers *b, organ_error *error)
{
    return organ_model_read(job->model, t->file, b->in, (size_t)t->bytes, t->offset, error);
}

static organ_status put(const repack_job *job, const repack_part *p, repack_tensor k, const repack_buffers *b,
                        void *scratch, organ_error *error)
{
    return organ_write_put(job->run, p->pieces[k], b->out, (size_t)piece_bytes(job, p, k), 0, scratch, error);
}

static organ_status write_codes(const repack_job *job, const repack_part *p, const repack_buffers *b, void *scratch,
                                organ_error *error)
{
    if (load(job, p->weight->codes, b, error))
        return error->status;
    for (size_t first = 0; first < p->rows; first += TILE) {
        const size_t count = organ_min((size_t)TILE, p->rows - first);
        read_tile(p, b, first, count);
        write_tile(job, p, b, first, count);
    }
    return put(job, p, REPACK_CODES, b, scratch, error);
}

static organ_status write_companions(const repack_job *job, const repack_part *p, const repack_buffers *b,
                                     void *scratch, organ_error *error)
{
    if (load(job, p->weight->scale, b, error))
        return error->status;
    turn_scales(job, p, b);
    if (put(job, p, REPACK_SCALES, b, scratch, error))
        return error->status;
    if (p->pieces[REPACK_ZEROS] != SIZE_MAX &&
        (organ_repack_read_zeros(job, p, b->loose, error) || pack_zeros(job, p, b, error) ||
         put(job, p, REPACK_ZEROS, b, scratch, error)))
        return error->status;
    if (p->pieces[REPACK_INDEX] != SIZE_MAX && (organ_repack_read_index(job, p, (int32_t *)(void *)b->out, error) ||
                                                put(job, p, REPACK_INDEX, b, scratch, error)))
        return error->status;
    if (p->pieces[REPACK_SHAPE] == SIZE_MAX)
        return ORGAN_OK;
    const int64_t shape[2] = {(int64_t)p->rows, (int64_t)p->cols};
    memcpy(b->out, shape, sizeof shape);
    return put(job, p, REPACK_SHAPE, b, scratch, error);
}

organ_status organ_repack_write(const repack_job *job, const repack_part *p, void *scratch, organ_error *error)
{
    uint64_t sizes[4];
    buffer_sizes(job, p, sizes);
    ORGAN_OWNED unsigned char *const in = malloc((size_t)sizes[0]);
    ORGAN_OWNED unsigned char *const out = malloc((size_t)sizes[1]);
    ORGAN_OWNED unsigned char *const loose = malloc((size_t)sizes[2]);
    ORGAN_OWNED unsigned char *const turned = malloc((size_t)sizes[3]);
    const repack_buffers b = {in, out, loose, turned};
    if (!in || !out || !loose || !turned)
        return organ_fail_memory(error, p->weight->name);
    if (write_codes(job, p, &b, scratch, error))
        return error->status;
    return write_companions(job, p, &b, scratch, error);
}
