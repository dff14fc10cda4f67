/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/adapter/adapter.h"

#include "formats/adapter/adapter_config.h"
#include "formats/config/model_config.h"
#include "formats/base/rows.h"
#include "formats/base/text.h"
#include "formats/base/turned.h"
#include "formats/base/word_lists.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/stream/product.h"
#include "orchestrator/stream/read_rows.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK ((size_t)1 << 16) /* elements that are read at once */

/* values[0] is element `first` of the tensor. */
typedef organ_status use_values(void *context, const float *values, size_t count, uint64_t first, organ_error *error);

/* Calls `use` for CHUNK elements at a time. `raw` has room for their stored bytes and, after those, their FP32 values.
 */
static organ_status each_chunk(const organ_adapter *adapter, const organ_tensor *t, const organ_kernels *kernels,
                               use_values *use, void *context, organ_error *error)
{
    const size_t width = organ_dtype_describe(t->dtype)->bytes;
    ORGAN_OWNED unsigned char *const raw = malloc(CHUNK * (width + sizeof(float)));
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

/* The caller frees *to, also after an error. */
static organ_status read_factor(const organ_adapter *adapter, const organ_tensor *t, const organ_kernels *kernels,
                                double scale, float **to, organ_error *error)
{
    *to = t->elements <= SIZE_MAX / sizeof(float) ? malloc((size_t)t->elements * sizeof(float)) : NULL;
    if (!*to)
        return organ_fail_memory(error, t->name);
    store s = {adapter, t, scale, *to};
    return each_chunk(adapter, t, kernels, store_values, &s, error);
}

/* ---- translated pairs, stacks and transposed factors ---- */

typedef struct stored_pair {
    const organ_adapter_pair *pair; /* NULL: the expert has no factors, which count as zeros */
    uint64_t expert;                /* index of the expert within the stack `pair`; 0 if `pair` is no stack */
} stored_pair;

static stored_pair stored_pair_of(const organ_adapter_pair *pair, uint64_t expert)
{
    const organ_adapter_origin *const from = pair->origin;
    if (!from)
        return (stored_pair){pair, expert};
    if (from->count > 1)
        return (stored_pair){from->pairs[expert], 0};
    return (stored_pair){from->pairs[0], from->expert < 0 ? expert : (uint64_t)from->expert};
}

/* llama.cpp reorders the rotated rows of each head of Q and K. If from->head is set, the function undoes this order
 * (from->halves true: the stored B has it) or applies it (false). */
static size_t stored_row(const organ_adapter_origin *from, size_t row)
{
    if (!from)
        return row;
    const organ_turned_rows turned = {from->head, from->rotated};
    const uint64_t own = from->halves ? organ_turned_stored(turned, row) : organ_turned_row(turned, row);
    return (size_t)(from->first + own * from->step);
}

/* `to` is [rank][in] or larger. If the translated pair has a larger rank than the stored one, the further rows of
 * `to` stay zero. */
static void place_a(const stored_pair *s, const float *values, float *to)
{
    const size_t rank = (size_t)s->pair->rank, in = (size_t)s->pair->in_features;
    const bool turned = s->pair->layout == ORGAN_FACTORS_TURNED || s->pair->layout == ORGAN_FACTORS_MLX;
    values += s->expert * rank * in;
    for (size_t k = 0; k < rank; k++)
        for (size_t i = 0; i < in; i++)
            to[k * in + i] = values[turned ? i * rank + k : k * in + i];
}

/* `to` is [out][pair->rank]. The rows are reordered by stored_row. Columns beyond the stored rank stay zero. */
static void place_b(const organ_adapter_pair *pair, const stored_pair *s, const float *values, float *to)
{
    const size_t rank = (size_t)s->pair->rank, experts = (size_t)s->pair->experts,
                 stored = (size_t)s->pair->out_features;
    /* true: each expert has every experts-th column of the stored B; false: B is [experts][stored rows][rank] */
    const bool columns = s->pair->layout == ORGAN_FACTORS_PARAMETER, turned = s->pair->layout == ORGAN_FACTORS_MLX;
    for (size_t row = 0; row < pair->out_features; row++) {
        const size_t from = stored_row(pair->origin, row);
        const float *const at =
            columns ? values + from * rank * experts + s->expert : values + (s->expert * stored + from) * rank;
        for (size_t k = 0; k < rank; k++)
            to[row * (size_t)pair->rank + k] = turned ? values[k * stored + from] : at[columns ? k * experts : k];
    }
}

/* The factors stay zero if experts first .. end - 1 have no stored pair. */
static organ_status place_stored(const organ_adapter *adapter, const organ_adapter_pair *pair, size_t first, size_t end,
                                 const organ_kernels *kernels, double scale, organ_lora_factors *f, organ_error *error)
{
    const organ_adapter_pair *const stored = stored_pair_of(pair, first).pair;
    ORGAN_OWNED float *a = NULL, *b = NULL;
    /* The experts have a stored pair each, whose scales may differ; pair->scale is then 1. */
    const bool several = pair->origin && pair->origin->count > 1;
    if (stored && read_factor(adapter, stored->a, kernels, /*scale=*/1, &a, error) == ORGAN_OK &&
        read_factor(adapter, stored->b, kernels, several ? scale * stored->scale : scale, &b, error) == ORGAN_OK)
        for (size_t e = first; e < end; e++) {
            const stored_pair s = stored_pair_of(pair, e);
            place_a(&s, a, f->a + e * f->rank * f->in);
            place_b(pair, &s, b, f->b + e * f->out * f->rank);
        }
    return error->status;
}

/* ---- pairs of the parts of a fused weight ---- */

uint64_t organ_lora_part_rank(const organ_adapter_origin *origin, size_t part)
{
    uint64_t rank = 0;
    for (size_t k = part; k < origin->count; k += 2)
        if (origin->pairs[k] && origin->pairs[k]->rank > rank)
            rank = origin->pairs[k]->rank;
    return rank;
}

/* `offset` is the first of the part's rows of A and columns of B in the joined factors `f` of one expert. */
static void place_part(const organ_adapter_pair *pair, const stored_pair *s, size_t part, size_t offset, const float *a,
                       const float *b, const organ_lora_factors *f)
{
    const size_t rows = f->out / 2;
    const organ_adapter_pair of_part = {.rank = f->rank, .out_features = rows};
    place_a(s, a, f->a + offset * f->in);
    if (!organ_lora_fused_of(pair)->interleaved) {
        place_b(&of_part, s, b, f->b + part * rows * f->rank + offset);
        return;
    }
    /* a weight of one row after the other, whose rows are as far apart as those of the part */
    const organ_adapter_pair apart = {.rank = 2 * f->rank, .out_features = rows};
    place_b(&apart, s, b, f->b + part * f->rank + offset);
}

/* A stored stack has the factors of all experts, so it is read once. */
static organ_status place_parts(const organ_adapter *adapter, const organ_adapter_pair *pair, size_t part,
                                size_t offset, const organ_kernels *kernels, double scale, organ_lora_factors *f,
                                organ_error *error)
{
    const organ_adapter_pair *read = NULL;
    float *a = NULL, *b = NULL;
    for (size_t e = 0; e < f->experts && !error->status; e++) {
        const organ_adapter_pair *const stored = pair->origin->pairs[2 * e + part];
        const organ_lora_factors one = organ_lora_factors_of(f, e);
        const stored_pair s = {stored, stored && stored->experts > 1 ? e : 0};
        if (stored && stored != read) {
            organ_clear(&a);
            organ_clear(&b);
            if (read_factor(adapter, stored->a, kernels, /*scale=*/1, &a, error) == ORGAN_OK)
                read_factor(adapter, stored->b, kernels, scale * stored->scale, &b, error);
            read = stored;
        }
        if (stored && !error->status)
            place_part(pair, &s, part, offset, a, b, &one);
    }
    free(a);
    free(b);
    return error->status;
}

organ_status organ_lora_factors_read(const organ_adapter *adapter, const organ_adapter_pair *pair,
                                     const organ_kernels *kernels, double scale, organ_lora_factors *factors,
                                     organ_error *error)
{
    const size_t experts = (size_t)pair->experts;
    *factors = (organ_lora_factors){
        (size_t)pair->rank, (size_t)pair->in_features, (size_t)pair->out_features, NULL, NULL, experts};
    if (!pair->origin && pair->layout == ORGAN_FACTORS_PLAIN) {
        if (read_factor(adapter, pair->a, kernels, /*scale=*/1, &factors->a, error) == ORGAN_OK)
            read_factor(adapter, pair->b, kernels, scale, &factors->b, error);
        return error->status;
    }
    factors->a = calloc(experts * factors->rank, factors->in * sizeof(float));
    factors->b = calloc(experts * factors->rank, factors->out * sizeof(float));
    if (!factors->a || !factors->b)
        return organ_fail_memory(error, pair->module);
    const bool fused = organ_lora_fused_of(pair) != NULL;
    for (size_t part = 0, offset = 0; part < 2 && fused && !error->status; part++) {
        place_parts(adapter, pair, part, offset, kernels, scale, factors, error);
        offset += (size_t)organ_lora_part_rank(pair->origin, part);
    }
    if (fused)
        return error->status;
    /* Number of experts that one stored pair has. */
    const size_t step = pair->origin && pair->origin->count > 1 ? 1 : experts;
    for (size_t e = 0; e < experts && !error->status; e += step)
        place_stored(adapter, pair, e, e + step, kernels, scale, factors, error);
    return error->status;
}

organ_lora_factors organ_lora_factors_of(const organ_lora_factors *f, size_t expert)
{
    return (organ_lora_factors){
        f->rank, f->in, f->out, f->a + expert * f->rank * f->in, f->b + expert * f->out * f->rank, 1};
}

organ_status organ_adapter_values(const organ_adapter *adapter, const organ_tensor *tensor,
                                  const organ_kernels *kernels, float **values, organ_error *error)
{
    if (read_factor(adapter, tensor, kernels, /*scale=*/1, values, error) != ORGAN_OK)
        organ_clear(values);
    return error->status;
}

void organ_lora_factors_release(organ_lora_factors *factors)
{
    ORGAN_FREE_ARRAYS(factors->a, factors->b);
    *factors = (organ_lora_factors){0};
}

float *organ_lora_transposed(const float *values, size_t rows, size_t cols)
{
    float *const to = malloc((rows * cols + 1) * sizeof *to);
    for (size_t r = 0; r < rows && to; r++)
        for (size_t c = 0; c < cols; c++)
            to[c * rows + r] = values[r * cols + c];
    return to;
}

/* *values is unchanged if memory runs out. */
static organ_status transpose_matrix(float **values, size_t rows, size_t cols, organ_error *error)
{
    float *const turned = organ_lora_transposed(*values, rows, cols);
    if (!turned)
        return organ_fail_memory(error, "a factor of an adapter");
    free(*values);
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

/* For a transposed weight (B A)^T = A^T B^T: *b is the transpose of A and *a the transpose of B. */
organ_status organ_lora_factors_placed(const organ_adapter *adapter, const organ_adapter_pair *pair, bool transposed,
                                       const organ_kernels *kernels, float **b, float **a, organ_error *error)
{
    organ_lora_factors f = {0};
    if (pair->experts > 1)
        organ_fail(error, ORGAN_BAD_INPUT, "%s: '%s': factors of a stack of experts are not supported here",
                   adapter->path, pair->weight);
    else
        organ_lora_factors_read(adapter, pair, kernels, pair->scale, &f, error);
    if (!error->status && transposed && transpose_matrix(&f.a, f.rank, f.in, error) == ORGAN_OK)
        transpose_matrix(&f.b, f.out, f.rank, error);
    *b = transposed ? f.a : f.b;
    *a = transposed ? f.b : f.a;
    /* No element of a product exceeds the product of the factors' norms. The factor 4 is a margin for rounding. */
    if (!error->status && l2_norm(f.b, f.out * f.rank) * l2_norm(f.a, f.rank * f.in) > (double)FLT_MAX / 4)
        organ_fail(error, ORGAN_BAD_INPUT, "%s: module '%s': the product of its factors exceeds FP32", adapter->path,
                   pair->module);
    return error->status;
}

/* ---- norms ---- */

/* Only the upper triangle of `gram` is used. Vector i is the n values from values[i * n] on. */
static void add_gram(const organ_kernels *kernels, double *gram, size_t r, const double *values, size_t n)
{
    for (size_t i = 0; i < r; i++)
        for (size_t j = i; j < r; j++)
            gram[i * r + j] += kernels->dot_f64(values + i * n, values + j * n, n);
}

/* ||B A||^2 is the sum of the elementwise product of A A^T and B^T B, both r x r. The result is -1 if memory runs
 * out. */
static double expert_energy(const organ_lora_factors *f, const organ_kernels *kernels)
{
    enum { STRIP = 256 }; /* columns of A, or rows of B, that are widened to FP64 together */
    const size_t r = f->rank;
    /* grams: A A^T, then B^T B; strip: r vectors of up to STRIP values */
    ORGAN_OWNED double *const grams = calloc(2 * r, r * sizeof(double));
    ORGAN_OWNED double *const strip = malloc(STRIP * r * sizeof(double));
    double sum = 0;
    if (!grams || !strip)
        return -1;
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
            /* elements outside the diagonal count twice, because only the upper triangles are computed */
            sum += (i == j ? 1.0 : 2.0) * grams[i * r + j] * grams[r * r + i * r + j];
    return sum > 0 ? sum : 0; /* rounding must not give a negative number, which means no memory */
}

double organ_lora_energy(const organ_lora_factors *factors, const organ_kernels *kernels)
{
    double sum = 0;
    for (size_t e = 0; e < factors->experts && sum >= 0; e++) {
        const organ_lora_factors one = organ_lora_factors_of(factors, e);
        const double energy = expert_energy(&one, kernels);
        sum = energy < 0 ? energy : sum + energy;
    }
    return sum;
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

/* `raw` and `mine` are buffers for the stored bytes and the FP32 values of base->capacity rows of `t`. */
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

/* The size is rounded up, because aligned_alloc needs a multiple, and is never 0. */
static void *allocate_aligned(size_t bytes) { return aligned_alloc(64, (bytes + 64) / 64 * 64); }

/* The buffers have whole rows, about CHUNK values each, so that neither matrix is in memory as a whole. */
organ_status organ_adapter_change(const organ_adapter *adapter, const organ_tensor *tensor, const organ_model *base,
                                  const organ_weight *weight, const organ_kernels *kernels, double *norm,
                                  organ_error *error)
{
    ORGAN_RELEASED_BY(organ_row_buffer_close) organ_row_buffer rows = {0};
    *norm = tensor->elements ? -1 : 0;
    if (tensor->elements == 0 || !organ_can_widen(tensor->dtype))
        return ORGAN_OK;
    const size_t cols = (size_t)organ_weight_matrices(weight).cols;
    if (organ_row_buffer_open(&rows, base, weight, kernels, cols < CHUNK ? CHUNK / cols : 1, /*whole_steps=*/true,
                              error) == ORGAN_OK) {
        const size_t n = rows.capacity * rows.cols;
        ORGAN_OWNED float *const mine = allocate_aligned(n * sizeof *mine);
        ORGAN_OWNED void *const raw = allocate_aligned(n * organ_dtype_describe(tensor->dtype)->bytes);
        if (!mine || !raw)
            organ_fail_memory(error, tensor->name);
        else
            factors_compare_rows(adapter, tensor, kernels, &rows, raw, mine, norm, error);
    }
    return error->status;
}

organ_status organ_adapter_repeats(const organ_adapter *adapter, const organ_tensor *tensor, const organ_model *base,
                                   const organ_weight *weight, const organ_kernels *kernels, bool *repeats,
                                   organ_error *error)
{
    double norm = -1;
    *repeats = false;
    if (strstr(tensor->name, ".base_layer.") && weight && ORGAN_SAME_SHAPE(weight, tensor) &&
        organ_weight_has_numbers(weight))
        organ_adapter_change(adapter, tensor, base, weight, kernels, &norm, error);
    *repeats = norm == 0;
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

/* Returns the weight whose name is that of `name` with `word` instead of its first `cut` characters; NULL if there is
 * none. */
static const organ_weight *weight_renamed(const organ_weights *weights, const char *name, size_t cut, const char *word)
{
    ORGAN_OWNED char *const other = organ_format("%s%s", word, name + cut);
    return other ? organ_weights_named(weights, other) : NULL;
}

static const organ_weight *weight_with_prefixes(const organ_weights *weights, const char *name)
{
    /* Prefix of `name`, and the prefix that replaces it in the names of the model. */
    static const struct {
        const char *named, *in_model;
    } prefixes[] = {{"model.language_model.", "language_model.model."},
                    {"language_model.model.", "model.language_model."},
                    {"model.language_model.", "model."}};
    const organ_weight *found = organ_weights_named(weights, name);
    for (const char *const *word = organ_base_words; *word && !found; word++)
        if (strncmp(name, *word, strlen(*word)) == 0)
            found = weight_renamed(weights, name, strlen(*word), /*word=*/"");
    for (const char *const *word = organ_base_words; *word && !found; word++)
        found = weight_renamed(weights, name, /*cut=*/0, *word);
    for (size_t k = 0; k < sizeof prefixes / sizeof *prefixes && !found; k++)
        if (strncmp(name, prefixes[k].named, strlen(prefixes[k].named)) == 0)
            found = weight_renamed(weights, name, strlen(prefixes[k].named), prefixes[k].in_model);
    return found;
}

/* transformers 5.6 dropped a level of the towers of SigLIP and CLIP; files still have it. */
const organ_weight *organ_lora_weight(const organ_weights *weights, const char *name)
{
    static const char tower[] = "vision_tower.", level[] = "vision_model.";
    const organ_weight *const found = weight_with_prefixes(weights, name);
    const char *const at = strstr(name, tower), *const rest = at ? at + strlen(tower) : NULL;
    if (found || !at)
        return found;
    const bool has = strncmp(rest, level, strlen(level)) == 0;
    ORGAN_OWNED char *const other =
        organ_format("%.*s%s%s", (int)(rest - name), name, has ? "" : level, has ? rest + strlen(level) : rest);
    return other ? weight_with_prefixes(weights, other) : NULL;
}

/* Only the beginning of the word is compared: "pissa_niter_16" is PiSSA too. */
const char *organ_adapter_changed_base(const organ_adapter *adapter)
{
    static const char *const words[] = {"pissa", "olora", "corda", "loftq", "lora_ga"};
    const char *const word = json_string_value(json_object_get(adapter->config, "init_lora_weights"));
    for (size_t k = 0; word && k < sizeof words / sizeof *words; k++)
        if (strncasecmp(word, words[k], strlen(words[k])) == 0)
            return word;
    return NULL;
}

/* The text of a GGUF file may be long and is not trusted, so it is not quoted. */
void organ_adapter_warn(const organ_progress *progress, const organ_adapter *adapter, bool lost)
{
    const organ_gguf *const gguf = adapter->model->gguf;
    const organ_adapter_remarks *const remarks = organ_adapter_remarks_of(adapter);
    for (size_t k = 0; k < remarks->count; k++)
        organ_progress_warn(progress, "%s: %s", adapter->path, remarks->texts[k]);
    organ_progress_warn_of_model(progress, adapter->model);
    for (size_t k = 0; gguf && lost && k < gguf->kv_count; k++)
        if (strncmp(gguf->kvs[k].key, "adapter.", strlen("adapter.")) == 0 &&
            organ_adapter_key_is_carried(gguf->kvs[k].key))
            organ_progress_warn(progress, "%s: the output does not keep %s, which only an adapter in GGUF can have",
                                adapter->path, gguf->kvs[k].key);
}

json_t *organ_adapter_json(const organ_adapter *adapter)
{
    const char *const slash = strrchr(adapter->path, '/');
    return ORGAN_OBJECT(SET_BYTES("name", slash && slash[1] ? slash + 1 : adapter->path), SET_COUNT("r", adapter->r),
                        SET_REAL("lora_alpha", adapter->alpha), SET_FLAG("use_rslora", adapter->rslora),
                        SET_FLAG("use_dora", adapter->dora), SET_BYTES("base", adapter->base),
                        SET_COUNT("pairs", adapter->pair_count), SET_COUNT("other_tensors", adapter->rest_count));
}

organ_status organ_lora_names_build(const organ_model *base, const organ_weights *weights, organ_lora_names *names,
                                    organ_error *error)
{
    *names = (organ_lora_names){.weights = weights, .model_type = base->gguf ? "" : base->config.model_type};
    if (base->gguf)
        return ORGAN_OK;
    ORGAN_OWNED_ROWS organ_tensor *const named = organ_rows_take(weights->count + 1, sizeof *named); /* only names */
    if (!named)
        return organ_fail_memory(error, base->path);
    for (size_t k = 0; k < weights->count; k++)
        named[k].name = weights->weights[k].name;
    organ_module_index_build(names->model_type, named, weights->count, &names->index, error);
    return error->status;
}

void organ_lora_names_release(organ_lora_names *names)
{
    organ_module_index_release(&names->index);
    *names = (organ_lora_names){0};
}

const organ_weight *organ_lora_names_find(const organ_lora_names *names, const char *name)
{
    char other[ORGAN_MODULE_NAME_SIZE];
    const organ_weight *const found = organ_lora_weight(names->weights, name);
    if (found || !*names->model_type || !organ_module_name(names->model_type, name, other, sizeof other, NULL))
        return found;
    const size_t *const at = organ_module_index_find(&names->index, other);
    return at ? &names->weights->weights[*at] : NULL;
}

static bool is_listed(const char *list, const char *word) { return organ_lists_word(list, ' ', word, strlen(word)); }

/* Source: _MODEL_TO_CONVERSION_PATTERN of transformers 5.24, and _MOE_TARGET_MODULE_MAPPING in
 * utils/transformers_weight_conversion.py of peft 0.21. */
bool organ_peft_converts(const char *model_type, const char *word)
{
    static const char mixtral[] = "mixtral minimax minimax_m2",
                      qwen[] = "afmoe beam cohere2_moe deepseek_v2 deepseek_v3 deepseek_v32 dots1 ernie4_5_moe "
                               "exaone_moe flex_olmo glm4_moe glm4_moe_lite glm4v_moe glm_moe_dsa hunyuan_v1_moe "
                               "longcat_flash mellum olmoe qwen3_moe qwen3_next qwen3_omni_moe qwen3_omni_moe_text "
                               "qwen3_omni_moe_thinker sarvam_mla solar_open";
    return (is_listed(mixtral, model_type) && is_listed("gate w1 w2 w3", word)) ||
           (is_listed(qwen, model_type) && is_listed("gate gate_proj up_proj down_proj", word));
}

/* The pattern "mlp.shared_expert." of conversion_mapping.py also matches "mlp.shared_experts". */
bool organ_peft_renames(const char *model_type) { return strcmp(model_type, "laguna") == 0; }

/* peft converts adapters of model types with conversions of their own, not those of the language model in them. */
bool organ_peft_ignores_experts(const char *model_type)
{
    return is_listed("internvl kimi_k25 qwen3_5_moe", model_type);
}

/* Source: _check_lora_target_modules_mamba in tuners/tuners_utils.py of peft 0.21, and slow_forward of the Mamba mixers
 * in transformers. o_a_proj of DeepSeek-V4 multiplies groups of channels, and peft takes it for one matrix. */
bool organ_peft_refuses(const char *model_type, const char *word)
{
    return (is_listed("falcon_h1 mamba mamba2 falcon_mamba nemotron_h", model_type) &&
            is_listed("out_proj conv1d", word)) ||
           (strcmp(model_type, "deepseek_v4") == 0 && strcmp(word, "o_a_proj") == 0) ||
           (is_listed("mamba falcon_mamba jamba", model_type) && is_listed("dt_proj", word));
}
