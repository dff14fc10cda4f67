/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/lora/factors.h"

#include "formats/base/memory_watch.h"
#include "orchestrator/report/text/members.h"
#include "orchestrator/stream/rows.h"
#include "orchestrator/stream/widen.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK ((size_t)1 << 16) /* elements per read */

/* Calls use(context, values, count, first) for all values of a tensor, in order. */
typedef organ_status use_values(void *context, const float *values, size_t count, uint64_t first, organ_error *error);

static organ_status each_chunk(const organ_adapter *adapter, const organ_tensor *t, const organ_kernels *kernels,
                               use_values *use, void *context, organ_error *error)
{
    const size_t width = organ_dtype_describe(t->dtype)->bytes;
    unsigned char *const raw = malloc(CHUNK * (width + sizeof(float)));
    if (!raw)
        return organ_fail_memory(error, t->name);
    float *const values = (float *)(void *)(raw + CHUNK * width);
    for (uint64_t at = 0; at < t->elements && !error->status; at += CHUNK) {
        const size_t n = t->elements - at < CHUNK ? (size_t)(t->elements - at) : CHUNK;
        if (organ_model_read(adapter->model, t->file, raw, n * width, t->offset + at * width, error) != ORGAN_OK)
            break;
        organ_widen(kernels, t->dtype, raw, values, n);
        use(context, values, n, at, error);
    }
    free(raw);
    return error->status;
}

typedef struct store {
    const organ_adapter *adapter;
    const organ_tensor *tensor;
    double scale;
    float *to;
} store;

static organ_status store_values(void *context, const float *values, size_t count, uint64_t first, organ_error *error)
{
    const store *const s = context;
    for (size_t k = 0; k < count; k++) {
        const float value = s->scale == 1 ? values[k] : (float)((double)values[k] * s->scale);
        if (!isfinite(value))
            return organ_fail(error, ORGAN_BAD_INPUT,
                              "%s: tensor '%s': value %" PRIu64 " is %g%s, but factors must be finite",
                              s->adapter->model->files[s->tensor->file].name, s->tensor->name, first + k,
                              (double)values[k], isfinite(values[k]) ? ", beyond FP32 with its scale" : "");
        s->to[first + k] = value;
    }
    return ORGAN_OK;
}

static organ_status read_factor(const organ_adapter *adapter, const organ_tensor *t, const organ_kernels *kernels,
                                double scale, float **to, organ_error *error)
{
    *to = t->elements <= SIZE_MAX / sizeof(float) ? malloc((size_t)t->elements * sizeof(float)) : NULL;
    if (!*to)
        return organ_fail_memory(error, t->name);
    store s = {adapter, t, scale, *to};
    return each_chunk(adapter, t, kernels, store_values, &s, error);
}

organ_status organ_lora_factors_read(const organ_adapter *adapter, const organ_adapter_pair *pair,
                                     const organ_kernels *kernels, double scale, organ_lora_factors *factors,
                                     organ_error *error)
{
    *factors =
        (organ_lora_factors){(size_t)pair->rank, (size_t)pair->in_features, (size_t)pair->out_features, NULL, NULL};
    if (read_factor(adapter, pair->a, kernels, 1, &factors->a, error) == ORGAN_OK)
        read_factor(adapter, pair->b, kernels, scale, &factors->b, error);
    return error->status;
}

organ_status organ_adapter_values(const organ_adapter *adapter, const organ_tensor *tensor,
                                  const organ_kernels *kernels, float **values, organ_error *error)
{
    if (read_factor(adapter, tensor, kernels, 1, values, error) != ORGAN_OK) {
        free(*values);
        *values = NULL;
    }
    return error->status;
}

void organ_lora_factors_free(organ_lora_factors *factors)
{
    free(factors->a);
    free(factors->b);
    *factors = (organ_lora_factors){0};
}

/* Replaces a matrix of rows x cols with its transpose. */
static organ_status transpose_matrix(float **values, size_t rows, size_t cols, organ_error *error)
{
    float *const turned = malloc((rows * cols + 1) * sizeof *turned), *const plain = *values;
    if (!turned)
        return organ_fail_memory(error, "a factor of an adapter");
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c++)
            turned[c * rows + r] = plain[r * cols + c];
    free(plain);
    *values = turned;
    return ORGAN_OK;
}

static double l2_norm(const float *values, size_t n)
{
    double sum = 0;
    for (size_t k = 0; k < n; k++)
        sum += (double)values[k] * (double)values[k];
    return sqrt(sum);
}

organ_status organ_lora_factors_placed(const organ_adapter *adapter, const organ_adapter_pair *pair, bool transposed,
                                       const organ_kernels *kernels, float **b, float **a, organ_error *error)
{
    organ_lora_factors f = {0};
    organ_lora_factors_read(adapter, pair, kernels, pair->scale, &f, error);
    if (!error->status && transposed && transpose_matrix(&f.a, f.rank, f.in, error) == ORGAN_OK)
        transpose_matrix(&f.b, f.out, f.rank, error);
    *b = transposed ? f.a : f.b;
    *a = transposed ? f.b : f.a;
    /* The product of the norms bounds every element of the product. */
    if (!error->status && l2_norm(f.b, f.out * f.rank) * l2_norm(f.a, f.rank * f.in) > (double)FLT_MAX / 4)
        organ_fail(error, ORGAN_BAD_INPUT, "%s: module '%s': the product of its factors exceeds FP32", adapter->path,
                   pair->module);
    return error->status;
}

/* ---- norms ---- */

/* gram (r x r, upper triangle) += the inner products of r vectors of n values. */
static void add_gram(const organ_kernels *kernels, double *gram, size_t r, const double *values, size_t n)
{
    for (size_t i = 0; i < r; i++)
        for (size_t j = i; j < r; j++)
            gram[i * r + j] += kernels->dot_f64(values + i * n, values + j * n, n);
}

double organ_lora_energy(const organ_lora_factors *f, const organ_kernels *kernels)
{
    enum { STRIP = 256 };
    const size_t r = f->rank;
    double *const grams = calloc(2 * r, r * sizeof(double)), *const strip = malloc(STRIP * r * sizeof(double));
    double sum = 0;
    if (!grams || !strip) {
        free(grams);
        free(strip);
        return -1;
    }
    for (size_t at = 0; at < f->in; at += STRIP) {
        const size_t n = f->in - at < STRIP ? f->in - at : STRIP;
        for (size_t k = 0; k < r; k++)
            for (size_t j = 0; j < n; j++)
                strip[k * n + j] = (double)f->a[k * f->in + at + j];
        add_gram(kernels, grams, r, strip, n);
    }
    for (size_t at = 0; at < f->out; at += STRIP) {
        const size_t n = f->out - at < STRIP ? f->out - at : STRIP;
        for (size_t j = 0; j < n; j++)
            for (size_t k = 0; k < r; k++)
                strip[k * n + j] = (double)f->b[(at + j) * r + k];
        add_gram(kernels, grams + r * r, r, strip, n);
    }
    for (size_t i = 0; i < r; i++)
        for (size_t j = i; j < r; j++)
            sum += (i == j ? 1.0 : 2.0) * grams[i * r + j] * grams[r * r + i * r + j];
    free(grams);
    free(strip);
    return sum > 0 ? sum : 0;
}

static organ_status add_squares(void *context, const float *values, size_t count, uint64_t first, organ_error *error)
{
    double *const sum = context;
    (void)first;
    for (size_t k = 0; k < count; k++)
        *sum += (double)values[k] * (double)values[k];
    return error->status;
}

organ_status organ_adapter_norm(const organ_adapter *adapter, const organ_tensor *tensor, const organ_kernels *kernels,
                                double *norm, organ_error *error)
{
    double sum = 0;
    *norm = -1;
    if (organ_can_widen(tensor->dtype) && each_chunk(adapter, tensor, kernels, add_squares, &sum, error) == ORGAN_OK)
        *norm = sqrt(sum);
    return error->status;
}

/* Adds the squared difference to the base's rows, for rows of the adapter's tensor that are read to `raw` and widened
 * to `mine`. */
static organ_status factors_compare_rows(const organ_adapter *adapter, const organ_tensor *t,
                                         const organ_kernels *kernels, organ_row_buffer *base, void *raw, float *mine,
                                         double *norm, organ_error *error)
{
    const size_t width = organ_dtype_describe(t->dtype)->bytes;
    double sum = 0;
    for (uint64_t rows, at = 0; (rows = organ_row_buffer_next(base, at, base->rows, error)); at += rows) {
        const size_t n = rows * base->cols;
        if (organ_model_read(adapter->model, t->file, raw, n * width, t->offset + at * base->cols * width, error))
            return error->status;
        organ_widen(kernels, t->dtype, raw, mine, n);
        for (size_t k = 0; k < n; k++)
            sum += ((double)mine[k] - (double)base->values[k]) * ((double)mine[k] - (double)base->values[k]);
    }
    *norm = sqrt(sum);
    return error->status;
}

static void *allocate_to_line(size_t bytes) { return aligned_alloc(64, (bytes + 64) / 64 * 64); }

organ_status organ_adapter_change(const organ_adapter *adapter, const organ_tensor *tensor, const organ_model *base,
                                  const organ_weight *weight, const organ_kernels *kernels, double *norm,
                                  organ_error *error)
{
    organ_row_buffer rows = {0};
    *norm = tensor->elements ? -1 : 0;
    if (tensor->elements == 0 || !organ_can_widen(tensor->dtype))
        return ORGAN_OK;
    const size_t cols = (size_t)organ_weight_matrices(weight).cols;
    if (organ_row_buffer_open(&rows, base, weight, kernels, cols < CHUNK ? CHUNK / cols : 1, true, error) == ORGAN_OK) {
        const size_t n = rows.room * rows.cols;
        float *const mine = allocate_to_line(n * sizeof *mine);
        void *const raw = allocate_to_line(n * organ_dtype_describe(tensor->dtype)->bytes);
        if (!mine || !raw)
            organ_fail_memory(error, tensor->name);
        else
            factors_compare_rows(adapter, tensor, kernels, &rows, raw, mine, norm, error);
        free(mine);
        free(raw);
    }
    organ_row_buffer_close(&rows);
    return error->status;
}

/* ---- weights of the base ---- */

char *organ_adapter_plain_name(const char *name)
{
    static const char prefix[] = "base_model.model.";
    static const char *const infixes[] = {".modules_to_save.default.", ".modules_to_save.", ".base_layer.",
                                          ".default."};
    char *const plain = strdup(strncmp(name, prefix, sizeof prefix - 1) == 0 ? name + sizeof prefix - 1 : name);
    for (size_t k = 0; plain && k < sizeof infixes / sizeof *infixes; k++) {
        char *const at = strstr(plain, infixes[k]);
        if (at)
            memmove(at + 1, at + strlen(infixes[k]), strlen(at + strlen(infixes[k])) + 1);
    }
    return plain;
}

const organ_weight *organ_lora_weight(const organ_weights *weights, const char *name)
{
    /* Equivalent prefixes of names. */
    static const struct {
        const char *mine, *its;
    } prefixes[] = {{"", ""},
                    {"model.", ""},
                    {"", "model."},
                    {"model.language_model.", "language_model.model."},
                    {"language_model.model.", "model.language_model."},
                    {"model.language_model.", "model."}};
    const organ_weight *found = NULL;
    for (size_t k = 0; k < sizeof prefixes / sizeof *prefixes && !found; k++) {
        const size_t length = strlen(prefixes[k].mine);
        char *other = NULL;
        if (strncmp(name, prefixes[k].mine, length) != 0)
            continue;
        if (asprintf(&other, "%s%s", prefixes[k].its, name + length) < 0) {
            organ_memory_refused();
            return NULL;
        }
        found = organ_weights_named(weights, other);
        free(other);
    }
    return found;
}

bool organ_weight_has_numbers(const organ_weight *weight)
{
    return weight->scheme != ORGAN_SCHEME_PLAIN || organ_can_widen(weight->codes->dtype);
}

const char *organ_adapter_changed_base(const organ_adapter *adapter)
{
    static const char *const words[] = {"pissa", "olora", "corda", "loftq", "lora_ga"};
    const char *const word = json_string_value(json_object_get(adapter->config, "init_lora_weights"));
    for (size_t k = 0; word && k < sizeof words / sizeof *words; k++)
        if (strncmp(word, words[k], strlen(words[k])) == 0)
            return word;
    return NULL;
}

json_t *organ_adapter_json(const organ_adapter *adapter)
{
    const char *const slash = strrchr(adapter->path, '/');
    return ORGAN_OBJECT(SET_BYTES("name", slash && slash[1] ? slash + 1 : adapter->path), SET_COUNT("r", adapter->r),
                        SET_REAL("lora_alpha", adapter->alpha), SET_FLAG("use_rslora", adapter->rslora),
                        SET_FLAG("use_dora", adapter->dora), SET_BYTES("base", adapter->base),
                        SET_COUNT("pairs", adapter->pair_count), SET_COUNT("other_tensors", adapter->rest_count));
}
