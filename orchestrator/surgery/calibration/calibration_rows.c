/* SPDX-License-Identifier: MIT
 * Converts rows of a loaded layer to the order and type of rows in the file and back, a strip of rows at a time. */
#include "orchestrator/surgery/calibration/calibration_parts.h"

#include "formats/architecture/families.h"
#include "formats/base/owned.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/solve/algebra.h"
#include "orchestrator/stream/product.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STRIP_BYTES ((uint64_t)4 << 20) /* bytes of a strip in the file */
#define PIECE_BYTES ((uint64_t)1 << 16) /* bytes of a piece of a strip in the file */

/* Returns the order in which the file stores the rows of this tensor if it is another one than that of the forward pass
 * (Q and K in GGUF files of the llama kind); head 0 if the order is the same. */
static organ_turned_rows reordered_rows(const organ_calibration_run *calib, const organ_tensor *tensor)
{
    const organ_forward_config *const config = organ_forward_describe(calib->facts.forward);
    const bool rotated = tensor->anatomy.role == ORGAN_ROLE_Q || tensor->anatomy.role == ORGAN_ROLE_K;
    const int32_t layer = tensor->anatomy.layer;
    return config->rope_interleaved && rotated && layer >= 0 && (unsigned)layer < config->layers
               ? organ_rope_rows(config, &config->kinds[layer])
               : (organ_turned_rows){0};
}

organ_status organ_calibration_reorder_rows(const organ_calibration_run *calib, const organ_tensor *tensor,
                                            float *weights, uint64_t count, bool to_file, organ_error *error)
{
    const organ_matrices m = organ_tensor_matrices(tensor);
    const organ_turned_rows turned = reordered_rows(calib, tensor);
    const uint64_t head = turned.head;
    const size_t row_bytes = (size_t)m.cols * sizeof *weights;
    if (!head)
        return ORGAN_OK;
    ORGAN_OWNED float *const rows = malloc((size_t)head * row_bytes);
    if (!rows)
        return organ_fail_memory(error, tensor->name);
    for (uint64_t first = 0; first + head <= count; first += head) {
        memcpy(rows, weights + first * m.cols, (size_t)head * row_bytes);
        for (uint64_t r = 0; r < head; r++) {
            const uint64_t own = organ_turned_row(turned, r);
            memcpy(weights + (first + (to_file ? r : own)) * m.cols, rows + (to_file ? own : r) * m.cols, row_bytes);
        }
    }
    return ORGAN_OK;
}

organ_matrices organ_calibration_matrices(const organ_calibration_run *calib, const organ_tensor *tensor)
{
    const organ_matrices m = organ_tensor_matrices(tensor);
    return organ_forward_is_transposed(calib->facts.forward, tensor) ? (organ_matrices){m.count, m.cols, m.rows} : m;
}

/* The number is at least one and at most a matrix; if rows are reordered, whole heads. */
static uint64_t rows_within(const organ_calibration_run *calib, const organ_tensor *tensor, uint64_t bytes)
{
    const organ_matrices m = organ_tensor_matrices(tensor);
    const uint64_t head = reordered_rows(calib, tensor).head, step = head ? head : 1;
    const uint64_t row = m.cols * organ_dtype_describe(tensor->dtype)->bytes;
    const uint64_t steps = row ? bytes / (row * step) : 1, rows = step * (steps ? steps : 1);
    return rows < m.rows ? rows : m.rows;
}

static uint64_t strip_rows(const organ_calibration_run *calib, const organ_tensor *tensor)
{
    return rows_within(calib, tensor, STRIP_BYTES);
}

uint64_t organ_calibration_piece_rows(const organ_calibration_run *calib, const organ_tensor *tensor)
{
    return rows_within(calib, tensor, PIECE_BYTES);
}

static void set_strip_rows(organ_calibration_strip *s, uint64_t rows)
{
    const organ_matrices m = organ_tensor_matrices(s->tensor);
    const size_t size = organ_dtype_describe(s->tensor->dtype)->bytes;
    s->rows = rows;
    s->count = (size_t)(rows * m.cols);
    s->bytes = s->count * size;
    s->at = (s->matrix * m.rows + s->first) * m.cols * size;
}

organ_calibration_strip organ_calibration_piece(const organ_calibration_strip *strip, uint64_t skipped, uint64_t rows)
{
    organ_calibration_strip piece = *strip;
    piece.first += skipped;
    set_strip_rows(&piece, rows < strip->rows - skipped ? rows : strip->rows - skipped);
    piece.weights += skipped * organ_tensor_matrices(strip->tensor).cols;
    piece.donor = (char *)strip->donor + (piece.at - strip->at);
    piece.stored = (char *)strip->stored + (piece.at - strip->at);
    return piece;
}

uint64_t organ_calibration_strip_memory(const organ_calibration_run *calib, const organ_tensor *tensor)
{
    const organ_matrices m = organ_tensor_matrices(tensor);
    const uint64_t copy =
        organ_forward_is_transposed(calib->facts.forward, tensor) ? m.rows * m.cols * sizeof(float) : 0;
    return 2 * strip_rows(calib, tensor) * m.cols * organ_dtype_describe(tensor->dtype)->bytes + copy;
}

void *organ_calibration_aligned_alloc(size_t bytes) { return aligned_alloc(4096, (bytes + 4095) / 4096 * 4096); }

typedef organ_status each_strip(void *context, const organ_calibration_strip *strip, organ_error *error);

/* The weights of the matrix have the order of the file. Strips have buffers for their bytes in the donor and in the
 * output. */
static organ_status stored_strips(const organ_calibration_run *calib, const organ_tensor *tensor, uint64_t matrix,
                                  float *weights, void *context, each_strip *each, organ_error *error)
{
    const organ_matrices m = organ_tensor_matrices(tensor);
    const uint64_t together = strip_rows(calib, tensor), size = organ_dtype_describe(tensor->dtype)->bytes;
    const size_t bytes = (size_t)(together * m.cols * size);
    organ_calibration_strip s = {
        .tensor = tensor, .matrix = matrix, .donor = malloc(bytes), .stored = organ_calibration_aligned_alloc(bytes)};
    if (!s.donor || !s.stored)
        organ_fail_memory(error, tensor->name);
    for (; s.first < m.rows && !error->status; s.first += together) {
        set_strip_rows(&s, together < m.rows - s.first ? together : m.rows - s.first);
        s.weights = weights + s.first * m.cols;
        each(context, &s, error);
    }
    ORGAN_FREE_ARRAYS(s.donor, s.stored);
    return error->status;
}

organ_status organ_calibration_strips(
    const organ_calibration_run *calib, const organ_tensor *tensor, uint64_t matrix, float *weights, void *context,
    organ_status (*each)(void *context, const organ_calibration_strip *strip, organ_error *error), organ_error *error)
{
    const organ_matrices m = organ_tensor_matrices(tensor);
    const size_t rows = (size_t)m.rows, cols = (size_t)m.cols;
    if (!organ_forward_is_transposed(calib->facts.forward, tensor))
        return stored_strips(calib, tensor, matrix, weights, context, each, error);
    ORGAN_OWNED float *const stored = malloc(rows * cols * sizeof *stored);
    if (!stored)
        return organ_fail_memory(error, tensor->name);
    organ_transpose_u32((const uint32_t *)(void *)weights, rows, (uint32_t *)(void *)stored, cols, cols, rows);
    stored_strips(calib, tensor, matrix, stored, context, each, error);
    organ_transpose_u32((const uint32_t *)(void *)stored, cols, (uint32_t *)(void *)weights, rows, rows, cols);
    return error->status;
}

organ_status organ_calibration_widen(const organ_calibration_run *calib, const organ_calibration_strip *s,
                                     organ_error *error)
{
    organ_widen(calib->engine->kernels, s->tensor->dtype, s->stored, s->weights, s->count);
    return organ_calibration_reorder_rows(calib, s->tensor, s->weights, s->rows, /*to_file=*/false, error);
}

organ_status organ_calibration_round(const organ_calibration_run *calib, const organ_calibration_strip *s,
                                     organ_error *error)
{
    const organ_tensor *const tensor = s->tensor;
    if (organ_calibration_reorder_rows(calib, tensor, s->weights, s->rows, /*to_file=*/true, error) != ORGAN_OK)
        return error->status;
    organ_narrow(calib->engine->kernels, tensor->dtype, s->weights, s->stored, s->count);
    organ_widen(calib->engine->kernels, tensor->dtype, s->stored, s->weights, s->count);
    for (size_t k = 0; k < s->count; k++)
        if (!isfinite(s->weights[k]))
            return organ_fail(error, ORGAN_BAD_INPUT,
                              "tensor '%s': weight %llu exceeds the range of %s after compensation", tensor->name,
                              (unsigned long long)(s->first * organ_tensor_matrices(tensor).cols + k),
                              organ_dtype_describe(tensor->dtype)->name);
    return organ_calibration_reorder_rows(calib, tensor, s->weights, s->rows, /*to_file=*/false, error);
}

int32_t organ_calibration_last_layer(const organ_calibration_run *calib)
{
    int32_t last = -1;
    for (size_t k = 0; k < calib->targets->count; k++) {
        const int32_t layer = organ_forward_layer_of(calib->facts.forward, calib->targets->tensors[k]);
        last = layer > last ? layer : last;
    }
    const unsigned layers = organ_forward_describe(calib->facts.forward)->layers,
                   blocks = calib->options->drafts ? organ_forward_drafts(calib->facts.forward) : 0;
    return calib->work->every ? (int32_t)(layers + blocks) - 1 : last;
}

/* ---- statistics of inputs by which physarum scores weights ---- */

/* Returns x with P(normal < x) = p, for p in (0, 1/2). Newton's method on log P, which is concave in x, starts from
 * the bound P(normal < x) <= exp(-x^2 / 2) / 2. */
static double normal_quantile_below(double p)
{
    double x = -sqrt(-2 * log(2 * p));
    for (int step = 0; step < 60; step++) {
        const double below = 0.5 * erfc(-x * M_SQRT1_2), density = exp(-0.5 * x * x) / sqrt(2 * M_PI);
        const double move = below / density * log(below / p);
        x -= move;
        if (fabs(move) < 1e-13)
            break;
    }
    return x;
}

/* The quantiles have the probabilities (k + 1/2) / ORGAN_NORMAL_LEVELS: the quantile at a random index, of 16 bits, is
 * normal noise. */
void organ_normal_levels_fill(float *levels)
{
    for (size_t k = 0; k < ORGAN_NORMAL_LEVELS / 2; k++) {
        levels[k] = (float)normal_quantile_below(((double)k + 0.5) / ORGAN_NORMAL_LEVELS);
        levels[ORGAN_NORMAL_LEVELS - 1 - k] = -levels[k];
    }
}

float *organ_normal_levels(void)
{
    float *const levels = malloc(ORGAN_NORMAL_LEVELS * sizeof *levels);
    if (levels)
        organ_normal_levels_fill(levels);
    return levels;
}

void organ_saliency_noise(uint64_t seed, uint32_t layer, uint64_t token, size_t first, uint16_t *noise, size_t n)
{
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t words[4] = {0};
    for (size_t k = 0; k < n; k++) {
        if (k % 8 == 0) {
            const uint32_t counter[4] = {(uint32_t)((first + k) / 8), layer, (uint32_t)token, (uint32_t)(token >> 32)};
            organ_philox4x32(counter, key, words);
        }
        noise[k] = (uint16_t)(words[k % 8 / 2] >> 16 * (k % 2));
    }
}

/* The sums are those of x^2, x e, e^2, s x and s e, for inputs x and noise e, where s is the sign of x + scale e.
 * The scale is computed from the root mean square of all inputs so far, so tokens must be added in order. */
void organ_saliency_add(const organ_saliency_sums *sums, const organ_input_noise *noise, uint64_t token, size_t tokens,
                        const float *inputs, size_t stride, size_t first, size_t n)
{
    double scale[ORGAN_SALIENCY_BLOCK];
    uint16_t drawn[ORGAN_SALIENCY_BLOCK];
    for (size_t t = 0; t < tokens; t++)
        for (size_t k = 0; k < n; k++) {
            const double x = (double)inputs[t * stride + first + k];
            sums->xx[first + k] += x * x;
        }
    for (size_t k = 0; k < n; k++)
        scale[k] = ORGAN_INPUT_NOISE * sqrt(sums->xx[first + k] / (double)(token + tokens));
    for (size_t t = 0; t < tokens; t++) {
        organ_saliency_noise(noise->seed, noise->layer, token + t, first, drawn, n);
        for (size_t k = 0; k < n; k++) {
            const double x = (double)inputs[t * stride + first + k], e = (double)noise->levels[drawn[k]];
            const double sign = x + scale[k] * e < 0 ? -1.0 : 1.0;
            sums->xn[first + k] += x * e;
            sums->nn[first + k] += e * e;
            sums->sx[first + k] += sign * x;
            sums->sn[first + k] += sign * e;
        }
    }
}

void organ_saliency_finish(const organ_saliency_sums *sums, size_t feature, uint64_t tokens, float *act_norm,
                           float *stability)
{
    const double act = sqrt(sums->xx[feature] / (double)tokens), scale = ORGAN_INPUT_NOISE * act;
    const double mean = (sums->sx[feature] + scale * sums->sn[feature]) / (double)tokens;
    const double square =
        (sums->xx[feature] + 2 * scale * sums->xn[feature] + scale * scale * sums->nn[feature]) / (double)tokens;
    *act_norm = (float)act;
    /* With V the variance, 1 + V / mean^2 = (mean of squares) / mean^2. */
    *stability = square > 0 ? (float)fmin(1, mean * mean / square) : 1.0f;
}

/* The contribution is 1 / sqrt(H_ii (H^-1)_ii): 1 for an input that other inputs do not predict, and smaller the
 * better they predict it. */
bool organ_saliency_contribution(const organ_kernels *kernels, const double *h, size_t stride, size_t width,
                                 uint64_t tokens, double damping, float *contribution)
{
    /* the damped H, the scratch of the inversion, then the diagonal of H^-1 */
    ORGAN_OWNED double *const scratch = malloc((2 * width * width + width) * sizeof *scratch);
    if (!scratch)
        return false;
    double *const diagonal = scratch + 2 * width * width;
    for (size_t i = 0; i < width; i++)
        for (size_t j = i; j < width; j++)
            scratch[j * width + i] = h[i * stride + j] / (double)tokens + (i == j ? damping : 0);
    const bool done = organ_inverse_diagonal(kernels, scratch, width, scratch + width * width, diagonal);
    for (size_t i = 0; done && i < width; i++) {
        const double own = h[i * stride + i] / (double)tokens + damping;
        contribution[i] = (float)fmin(1, 1 / sqrt(own * diagonal[i]));
    }
    return done;
}

/* ---- calibration windows in the text, and test windows from the gaps between them ---- */

/* Windows are spread evenly from the first token of the text to the last. They do not overlap, because fit_samples
 * (calibration_run.c) limits their number. */
size_t organ_calibration_window_at(const organ_calibration_run *calib, size_t window)
{
    const size_t samples = calib->options->calibration.samples;
    return samples > 1 ? (size_t)((uint64_t)window * (calib->facts.tokens - calib->options->calibration.context) /
                                  (samples - 1))
                       : 0;
}

/* Returns the position after window w, where a gap of *length tokens begins. */
static size_t gap_start(const organ_calibration_run *calib, size_t w, size_t *length)
{
    const size_t begin = organ_calibration_window_at(calib, w) + calib->options->calibration.context;
    const size_t end =
        w + 1 < calib->options->calibration.samples ? organ_calibration_window_at(calib, w + 1) : calib->facts.tokens;
    *length = end - begin;
    return begin;
}

/* The last of several windows ends with the text, so no gap follows it; a single window begins with the text and has
 * one gap after it. */
static size_t gap_count(const organ_calibration_run *calib)
{
    return calib->options->calibration.samples > 1 ? calib->options->calibration.samples - 1 : 1;
}

/* Returns how many test windows of `length` tokens fit into the gaps. `begins`, unless NULL, gets the positions of
 * their first tokens in the text. */
static size_t find_places(const organ_calibration_run *calib, size_t length, size_t *begins)
{
    size_t count = 0;
    for (size_t w = 0; w < gap_count(calib); w++) {
        size_t capacity = 0;
        const size_t begin = gap_start(calib, w, &capacity);
        for (size_t k = 0; k < capacity / length; k++, count++)
            if (begins)
                begins[count] = begin + k * length;
    }
    return count;
}

/* Returns the length of the shortest gap, but at most that of a calibration window. */
static size_t test_window_length(const organ_calibration_run *calib)
{
    size_t length = calib->options->calibration.context;
    for (size_t w = 0; w < gap_count(calib); w++) {
        size_t capacity = 0;
        (void)gap_start(calib, w, &capacity);
        length = capacity < length ? capacity : length;
    }
    return length;
}

/* Only the tokens of the calibration windows were kept. The engine's memory is still available for the text, because
 * the hidden states have not been written yet. Returns ORGAN_BAD_INPUT if the text has changed. */
static organ_status encode_text_again(const organ_calibration_run *calib, organ_text_input *text, organ_error *error)
{
    const char *const path = calib->options->calibration.text;
    if (organ_text_load(text, path, calib->engine, error) == ORGAN_OK &&
        organ_text_encode(text, calib->facts.tokenizer, /*special=*/true, error) == ORGAN_OK &&
        (text->size != calib->facts.bytes || text->tokens != calib->facts.tokens))
        organ_fail(error, ORGAN_BAD_INPUT, "%s: was changed while being read", path);
    return error->status;
}

/* The windows are at evenly spread places of the `all` places in `begins` (find_places). If the tokenizer adds a BOS
 * token, it replaces the first token of each window. */
static organ_status fill_windows(const organ_calibration_run *calib, const size_t *begins, size_t all, size_t count,
                                 organ_calibration_test_windows *rest, organ_error *error)
{
    const organ_tokenizer_facts *const facts = organ_tokenizer_describe(calib->facts.tokenizer);
    ORGAN_RELEASED_BY(organ_text_release) organ_text_input text = {0};
    rest->tokens = malloc(count * rest->length * sizeof *rest->tokens);
    rest->begin = calloc(count + 1, sizeof *rest->begin);
    if (!rest->tokens || !rest->begin)
        return organ_fail_memory(error, calib->options->calibration.text);
    if (encode_text_again(calib, &text, error) == ORGAN_OK)
        for (size_t w = 0; w < count; w++) {
            uint32_t *const own = rest->tokens + w * rest->length;
            memcpy(own, text.ids + begins[(size_t)((uint64_t)w * all / count)], rest->length * sizeof *own);
            if (facts->adds_bos && facts->bos >= 0)
                own[0] = (uint32_t)facts->bos;
            rest->begin[w + 1] = (w + 1) * rest->length;
        }
    rest->windows = (organ_windows){rest->tokens, count, rest->begin};
    return error->status;
}

bool organ_calibration_has_test_tokens(const organ_calibration_run *calib, size_t tokens)
{
    const size_t length = test_window_length(calib);
    return length >= ORGAN_CALIBRATION_MIN_REST &&
           find_places(calib, length, /*begins=*/NULL) >= (tokens + length - 1) / length;
}

organ_status organ_calibration_cut_test_windows(const organ_calibration_run *calib, size_t requested,
                                                const char *option, organ_calibration_test_windows *rest,
                                                organ_error *error)
{
    *rest = (organ_calibration_test_windows){.length = test_window_length(calib)};
    const bool enough = rest->length >= ORGAN_CALIBRATION_MIN_REST;
    const size_t all = enough ? find_places(calib, rest->length, /*begins=*/NULL) : 0,
                 count = enough ? (requested + rest->length - 1) / rest->length : 1; /* 1: above `all`, so refused */
    if (count > all)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: the calibration windows (`samples`, `context`) leave only %zu tokens in pieces of at "
                          "least %zu, fewer than the %zu needed (%s)",
                          calib->options->calibration.text, all * rest->length,
                          enough ? rest->length : ORGAN_CALIBRATION_MIN_REST, requested, option);
    ORGAN_OWNED size_t *const begins = malloc(all * sizeof *begins);
    if (!begins)
        return organ_fail_memory(error, calib->options->calibration.text);
    (void)find_places(calib, rest->length, begins);
    return fill_windows(calib, begins, all, count, rest, error);
}

void organ_calibration_test_windows_release(organ_calibration_test_windows *rest)
{
    ORGAN_FREE_ARRAYS(rest->tokens, rest->begin);
    *rest = (organ_calibration_test_windows){0};
}

/* ---- targets whose inputs the forward pass does not pass to a tap (organ_tap) ---- */

/* A target has no inputs if it is not a linear layer of the forward pass, or if it is in a block that the forward
 * pass does not run (multi-token prediction). In the second case the message names a command that removes the block. */
static organ_status refuse_target(const organ_calibration_run *calib, const organ_tensor *tensor, organ_error *error)
{
    const organ_calibration_run_options *const o = calib->options;
    const organ_forward_config *const config = organ_forward_describe(calib->facts.forward);
    const unsigned layers =
        config->layers / (config->shortcut ? 2 : 1); /* of the file: with shortcut each runs as two */
    const int32_t layer = tensor->anatomy.layer;
    char way[80] = "";
    if (layer >= 0 && (unsigned)layer < layers)
        return organ_fail(error, ORGAN_USAGE,
                          "tensor '%s' is not a linear layer of the forward pass: '%s' cannot %s it", tensor->name,
                          o->method, o->verb);
    if (layer >= 0)
        snprintf(way, sizeof way, "; 'organ layers --drop %d,' drops its block", (int)layer);
    return organ_fail(error, ORGAN_USAGE,
                      "tensor '%s' is in none of the %u layers of the forward pass: '%s' cannot %s it%s", tensor->name,
                      layers, o->method, o->verb, way);
}

organ_status organ_calibration_open_blocks(organ_forward *forward, organ_error *error)
{
    organ_error fault = {0};
    if (organ_forward_open_draft(forward, &fault) != ORGAN_OK && fault.status != ORGAN_BAD_INPUT)
        *error = fault;
    return error->status;
}

/* A malformed block leaves its targets without inputs. */
organ_status organ_calibration_open_drafts(organ_forward *forward, const organ_targets *targets, organ_error *error)
{
    for (size_t k = 0; targets && k < targets->count; k++)
        if (!organ_forward_is_tapped(forward, targets->tensors[k]))
            return organ_calibration_open_blocks(forward, error);
    return error->status;
}

organ_status organ_calibration_check_targets(const organ_calibration_run *calib, organ_error *error)
{
    for (size_t k = 0; calib->targets && k < calib->targets->count; k++)
        if (!organ_forward_is_tapped(calib->facts.forward, calib->targets->tensors[k]))
            return refuse_target(calib, calib->targets->tensors[k], error);
    return ORGAN_OK;
}

organ_status organ_calibration_find_untapped(const organ_model *model, const organ_engine *engine,
                                             const organ_targets *targets, bool **untapped, organ_error *error)
{
    organ_forward *forward = NULL;
    *untapped = calloc(model->tensor_count + 1, sizeof **untapped);
    if (!*untapped)
        return organ_fail_memory(error, model->path);
    if (organ_forward_open(model, engine, &forward, error) == ORGAN_OK &&
        organ_calibration_open_drafts(forward, targets, error) == ORGAN_OK)
        for (size_t k = 0; k < targets->count; k++)
            (*untapped)[targets->tensors[k] - model->tensors] = !organ_forward_is_tapped(forward, targets->tensors[k]);
    organ_forward_close(forward);
    return error->status;
}

/* ---- expanding the sums H and C ---- */

/* Expands the sums H and C of a calibration, of which H has only its upper triangle, to a damped matrix in FP32. */

#define ROWS ((size_t)64) /* rows of one task, in one diagonal block: a divisor of ORGAN_CALIBRATION_BLOCK */
#define TILE ((size_t)32) /* rows and columns that are read together, so that columns of H are read by cache lines */

typedef struct expansion {
    const organ_input_moments *moments; /* C, H and tokens */
    double c, h, damping;               /* factors of C and H; the number added to the diagonal */
    float *values;                      /* in blocks like H */
} expansion;

/* A tile of the diagonal block of `width` columns that begins at column `start`, from its row `row` and column `col`
 * on. H is symmetric and stored only above the diagonal: entry (i, j) below the diagonal is read as (j, i). */
static void expand_tile(const expansion *x, size_t start, size_t width, size_t row, size_t col)
{
    const organ_input_moments *const m = x->moments;
    const size_t rows = organ_min(TILE, width - row), cols = organ_min(TILE, width - col);
    const double *const h = m->h + start * m->block, *const c = m->c ? m->c + start * m->block : NULL;
    const double tokens = (double)m->tokens;
    float *const values = x->values + start * m->block;
    double own[TILE][TILE];
    for (size_t j = 0; j < cols; j++)
        for (size_t i = 0; i < rows; i++)
            own[i][j] = row + i <= col + j ? h[(row + i) * width + col + j] : h[(col + j) * width + row + i];
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < cols; j++) {
            const size_t at = (row + i) * width + col + j;
            const double mixed = x->c * (c ? c[at] : own[i][j]) + x->h * own[i][j];
            values[at] = (float)(mixed / tokens + (row + i == col + j ? x->damping : 0));
        }
}

/* Row k of the matrix has only the diagonal block that contains it. */
static void expand_rows(void *context, size_t index, size_t worker)
{
    const expansion *const x = context;
    const organ_input_moments *const m = x->moments;
    const size_t first = index * ROWS, start = first / m->block * m->block,
                 width = organ_min(m->block, m->features - start), end = organ_min(first - start + ROWS, width);
    (void)worker;
    for (size_t row = first - start; row < end; row += TILE)
        for (size_t col = 0; col < width; col += TILE)
            expand_tile(x, start, width, row, col);
}

float *organ_expand_moments(const organ_engine *engine, const organ_input_moments *m, double c, double h,
                            double damping, organ_buffers *b)
{
    expansion x = {m, c, h, damping, organ_take_floats(b, organ_block_entries(m->features, m->block), 1)};
    if (x.values)
        organ_share(engine, /*stop=*/NULL, organ_pieces_of(m->features, ROWS), expand_rows, &x);
    return x.values;
}
