/* SPDX-License-Identifier: MIT
 * Scheme mixed of GGUF: measures what each type costs in each tensor, in nats per token.
 *
 * A tensor of a layer is encoded in two types, the anchors, and the whole model runs with it: that gives its divergence
 * for two errors of its outputs. Some rows are then encoded in every type, by GPTQ and with the nearest codes, and the
 * divergence of a type follows from its error and the anchors. Embeddings and output head, whose divergence is cheap to
 * measure, are measured in every type.
 *
 * Ranks: each measures some types of embeddings and head; the tensors of layers are divided by surgery/allocate. */
#include "orchestrator/verbs/quantize/gguf/quantize_gguf.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/solve/algebra.h"
#include "orchestrator/stream/memory.h"
#include "orchestrator/stream/product.h"
#include "orchestrator/stream/weight_pass.h"

#include <stdlib.h>
#include <string.h>

#define SHARE     32            /* every 32nd row of a matrix is encoded in all types */
#define MIN_ROWS  ((size_t)96)  /* but at least so many */
#define MATRICES  ((uint64_t)4) /* of a stack, at most so many are encoded in all types */
#define MIN_COST  1e-12         /* nats per token; smaller costs become this, so that their logarithm exists */
#define MIN_POWER 0.5           /* bounds of the power that relates divergence to error */
#define MAX_POWER 2.0

/* ---- from errors to costs ---- */

/* The divergence is proportional to a power of the error between the two anchors and above; below them to the error
 * itself, since it is a quadratic function of small changes of the outputs. */
static double cost_of_error(const double *level, double error)
{
    const double rough = fmax(level[ORGAN_TYPES_FAR], MIN_COST), fine = fmax(level[ORGAN_TYPES_NEAR], MIN_COST),
                 far = level[ORGAN_TYPES_FAR_ERROR], near = level[ORGAN_TYPES_NEAR_ERROR];
    double power = 1;
    if (error <= 0 || far <= 0)
        return 0;
    if (near > 0 && far > near)
        power = fmin(fmax(log(rough / fine) / log(far / near), MIN_POWER), MAX_POWER);
    if (near > 0 && error < near)
        return fine * (error / near);
    return rough * pow(error / far, power);
}

double organ_quantize_type_cost(const organ_quantize_types *types, size_t curve, size_t type)
{
    const double *const level = types->curves.tensors[curve].cost;
    if (type >= types->type_count)
        return 0;
    if (types->curves.tensors[curve].layer < 0)
        return level[ORGAN_TYPES_FIRST + type];
    const organ_types_way nearest = types->job->options->gguf.imatrix ? ORGAN_TYPES_WEIGHTED : ORGAN_TYPES_NEAREST;
    return cost_of_error(level,
                         level[organ_quantize_type_level(types, types->by_text ? ORGAN_TYPES_GPTQ : nearest, type)]);
}

/* ---- a matrix of a layer ---- */

/* The least bits per weight of an anchor, and those between the anchors. With types of fewer bits most models fail, so
 * their cost says little of that of other types. */
#define ANCHOR_LEAST 2.5
#define ANCHOR_STEP  1.75

static bool has_codebook(const organ_quantize_types *w, size_t type)
{
    const organ_ggml_kind *const kind = organ_grid_blocks(&w->types[type]->grid);
    return kind && kind->points.length > 0;
}

/* Returns the type that fits rows of `cols` values with the fewest bits from `least` on; if there is none, that with
 * the most bits. Of equal ones the first. Types with a codebook, whose search takes ten times as long, are left out. */
static size_t type_from(const organ_quantize_types *w, size_t cols, double least)
{
    size_t found = SIZE_MAX;
    for (size_t k = 0; k < w->type_count; k++) {
        const double bits = organ_quantize_type_bits(w, k),
                     best = found == SIZE_MAX ? 0 : organ_quantize_type_bits(w, found);
        if (organ_quantize_type_fits(w, k, cols) && !has_codebook(w, k) &&
            (found == SIZE_MAX || (bits > best && best < least) || (bits < best && bits >= least)))
            found = k;
    }
    return found;
}

/* Returns the index of an anchor. They are the type without a codebook that fits the rows with the fewest bits from
 * ANCHOR_LEAST on, and one with ANCHOR_STEP bits more. */
static size_t anchor(const organ_quantize_types *w, size_t cols, size_t level)
{
    const size_t far = type_from(w, cols, ANCHOR_LEAST);
    return level == ORGAN_TYPES_FAR ? far : type_from(w, cols, organ_quantize_type_bits(w, far) + ANCHOR_STEP);
}

typedef struct costs_rows {
    const organ_engine *engine;
    const organ_encoding *encoding;
    const float *values, *weights; /* weights: of the columns, NULL: all are equal */
    float *back;
    size_t rows, cols;
    unsigned char *blocks; /* of a row, for each worker */
} costs_rows;

static void encode_row(void *context, size_t row, size_t worker)
{
    const costs_rows *const r = context;
    unsigned char *const blocks = r->blocks + worker * organ_encoding_row_bytes(r->encoding, r->cols);
    organ_encoding_fit(r->encoding, r->engine->kernels, r->values + row * r->cols, r->weights, 1, r->cols, blocks);
    organ_encoding_decode(r->encoding, r->engine->kernels, blocks, NULL, r->cols, r->back + row * r->cols);
}

/* Sets `back` to the values of the nearest codes; it may be `values`. */
static organ_status round_rows(costs_rows *r, organ_error *error)
{
    r->blocks = malloc(organ_workers_count(r->engine->workers) * organ_encoding_row_bytes(r->encoding, r->cols));
    if (!r->blocks)
        return organ_fail_memory(error, r->encoding->name);
    organ_share(r->engine, NULL, r->rows, encode_row, r);
    free(r->blocks);
    return ORGAN_OK;
}

/* The weight of a column is the mean square of its input over the mean of all columns, as organ_gptq weighs them. */
static void weigh(const organ_calibration_matrix *m, float *weights)
{
    const organ_input_moments *const moments = organ_calibration_moments(m->calibration);
    double sum = 0;
    for (size_t j = 0; j < m->cols; j++)
        sum += (double)moments->act_norm[j] * (double)moments->act_norm[j];
    for (size_t j = 0; j < m->cols; j++) {
        const double square = (double)moments->act_norm[j] * (double)moments->act_norm[j];
        weights[j] = (float)fmin(fmax(square / (sum / (double)m->cols), ORGAN_MIN_WEIGHT), ORGAN_MAX_WEIGHT);
    }
}

/* Rows of a matrix, their values after encoding, and products with H. */
typedef struct costs_sample {
    organ_quantize_types *types;
    const organ_calibration_matrix *matrix;
    size_t rows, cols;
    float *values, *back, *products, *weights;
    void *scratch;
} costs_sample;

static size_t sampled_rows(uint64_t rows)
{
    const size_t share = (size_t)(rows / SHARE + 15) / 16 * 16;
    return organ_min((size_t)rows, organ_max(share, MIN_ROWS));
}

/* One row of each of `rows` equal parts, at a place that changes from part to part, so that the rows of a head are met
 * evenly. */
static void sample_rows(const costs_sample *s, const float *weights)
{
    const size_t all = (size_t)s->matrix->rows;
    for (size_t k = 0; k < s->rows; k++) {
        const size_t first = k * all / s->rows, end = (k + 1) * all / s->rows, row = first + k * 7 % (end - first);
        memcpy(s->values + k * s->cols, weights + row * s->cols, s->cols * sizeof *weights);
    }
}

static void sample_close(costs_sample *s)
{
    ORGAN_FREE_ARRAYS(s->values, s->back, s->products, s->weights, s->scratch);
}

static organ_status sample_open(costs_sample *s, const float *weights, organ_error *error)
{
    const organ_engine *const engine = s->types->job->engine;
    s->rows = sampled_rows(s->matrix->rows);
    s->cols = (size_t)s->matrix->cols;
    s->values = organ_floats(s->rows, s->cols);
    s->back = organ_floats(s->rows, s->cols);
    s->products = organ_floats(s->rows, s->cols);
    s->weights = organ_floats(1, s->cols);
    s->scratch = aligned_alloc(64, organ_to_line(organ_products_scratch(engine)));
    if (!s->values || !s->back || !s->products || !s->weights || !s->scratch)
        return organ_fail_memory(error, s->matrix->name);
    sample_rows(s, weights);
    weigh(s->matrix, s->weights);
    return organ_gptq_inputs_reopen(engine, s->matrix->calibration, s->matrix->name, &s->types->inputs, error);
}

/* Returns tr(E H E^T) for the errors E = values - back, which replace `back`; without `back`, E is `values`. */
static double outputs_of(const costs_sample *s, bool errors)
{
    const organ_gptq_inputs *const in = &s->types->inputs;
    const float *const e = errors ? s->back : s->values;
    double sum = 0;
    for (size_t k = 0; k < s->rows * s->cols && errors; k++)
        s->back[k] = s->values[k] - s->back[k];
    for (size_t start = 0; start < s->cols; start += in->block) {
        const size_t width = organ_min(in->block, s->cols - start);
        const organ_product product = {
            .m = s->rows,
            .n = width,
            .k = width,
            .a = {.values = e + start, .type = ORGAN_REAL_F32, .stride = s->cols},
            .b = {.values = in->h + start * in->block, .type = ORGAN_REAL_F32, .stride = width},
            .c = s->products + start,
            .c_stride = s->cols};
        organ_products_run(in->engine, NULL, &product, 1, s->scratch);
    }
    for (size_t k = 0; k < s->rows * s->cols; k++)
        sum += (double)e[k] * (double)s->products[k];
    return sum > 0 ? sum : 0;
}

/* The error of the nearest codes. */
static organ_status error_of_nearest(const costs_sample *s, size_t type, bool weighted, double *loss,
                                     organ_error *error)
{
    costs_rows rows = {.engine = s->types->job->engine,
                       .encoding = s->types->types[type],
                       .values = s->values,
                       .weights = weighted ? s->weights : NULL,
                       .back = s->back,
                       .rows = s->rows,
                       .cols = s->cols};
    if (round_rows(&rows, error) == ORGAN_OK)
        *loss = outputs_of(s, /*errors=*/true);
    return error->status;
}

static organ_status error_of_gptq(const costs_sample *s, size_t type, double *loss, organ_error *error)
{
    const organ_grid *const grid = &s->types->types[type]->grid;
    organ_gptq g = {.name = s->matrix->name,
                    .grid = *grid,
                    .no_refit = s->types->job->options->gptq.no_refit,
                    .rows = s->rows,
                    .cols = s->cols,
                    .weights = s->values,
                    .values = s->back,
                    .scales = organ_floats(s->rows, organ_grid_numbers(grid, s->cols))};
    if (!g.scales)
        organ_fail_memory(error, s->matrix->name);
    else if (organ_gptq_run(&s->types->inputs, &g, error) == ORGAN_OK)
        *loss = g.loss;
    free(g.scales);
    return error->status;
}

/* GPTQ of a type with a codebook needs another factor of H than that of one without: types with the factor that is
 * there come first. */
static organ_status add_errors_of_gptq(const costs_sample *s, double *level, organ_error *error)
{
    const organ_quantize_types *const w = s->types;
    const bool begun = w->inputs.run > 1;
    double loss = 0;
    for (size_t at = 0; at < 2 * w->type_count && !error->status; at++) {
        const size_t k = at % w->type_count;
        if (organ_quantize_type_fits(w, k, s->cols) && has_codebook(w, k) == (at < w->type_count ? begun : !begun) &&
            error_of_gptq(s, k, &loss, error) == ORGAN_OK)
            level[organ_quantize_type_level(w, ORGAN_TYPES_GPTQ, k)] += loss;
    }
    return error->status;
}

/* Adds the errors of all types in each way, of the anchors with the nearest codes, and the energy of the sampled rows.
 * A later run without the text rounds to the nearest codes, so their errors are kept too. */
static organ_status add_errors(organ_quantize_types *w, const organ_calibration_matrix *m, size_t curve,
                               const float *weights, organ_error *error)
{
    ORGAN_RELEASED_BY(sample_close) costs_sample s = {.types = w, .matrix = m};
    double *const level = w->curves.tensors[curve].cost;
    double loss = 0;
    if (sample_open(&s, weights, error) == ORGAN_OK)
        w->energies[curve] += outputs_of(&s, /*errors=*/false);
    for (size_t k = 0; k < 2 && !error->status; k++)
        if (error_of_nearest(&s, anchor(w, s.cols, k), /*weighted=*/true, &loss, error) == ORGAN_OK)
            level[ORGAN_TYPES_FAR_ERROR + k] += loss;
    for (organ_types_way way = ORGAN_TYPES_NEAREST; way < ORGAN_TYPES_WAYS; way++)
        for (size_t k = 0; k < w->type_count && !error->status; k++)
            if (organ_quantize_type_fits(w, k, s.cols) &&
                error_of_nearest(&s, k, way == ORGAN_TYPES_WEIGHTED, &loss, error) == ORGAN_OK)
                level[organ_quantize_type_level(w, way, k)] += loss;
    if (!error->status && w->by_text)
        add_errors_of_gptq(&s, level, error);
    return error->status;
}

/* The name of a matrix of a stack is that of its tensor and "[E]". */
static size_t curve_named(const organ_quantize_types *w, const char *name)
{
    const size_t length = strcspn(name, "[");
    size_t k = 0;
    while (k + 1 < w->inner.count &&
           (strncmp(w->inner.tensors[k]->name, name, length) != 0 || strlen(w->inner.tensors[k]->name) != length))
        k++;
    return w->inner_curve_of[k];
}

/* All matrices of a curve are passed for the first level before one of them is passed for the second. */
static void finish_errors(organ_quantize_types *w, size_t curve)
{
    double *const level = w->curves.tensors[curve].cost;
    for (size_t k = ORGAN_TYPES_FAR_ERROR; k < w->curves.level_count; k++)
        level[k] = w->energies[curve] > 0 ? level[k] / w->energies[curve] : 0;
    w->energies[curve] = -1;
}

/* Matrices 0, n / 4, n / 2 and 3 n / 4 of a stack of n are sampled. */
static bool is_sampled(const organ_calibration_matrix *m, uint64_t matrices)
{
    return matrices <= MATRICES || m->matrix * MATRICES % matrices < MATRICES;
}

organ_status organ_quantize_make_anchor(void *context, const organ_calibration_matrix *m, size_t level, float *weights,
                                        organ_error *error)
{
    organ_quantize_types *const w = context;
    const size_t curve = curve_named(w, m->name), cols = (size_t)m->cols;
    ORGAN_OWNED float *const columns = organ_floats(1, cols);
    costs_rows rows = {.engine = w->job->engine,
                       .encoding = w->types[anchor(w, cols, level)],
                       .values = weights,
                       .weights = columns,
                       .back = weights,
                       .rows = (size_t)m->rows,
                       .cols = cols};
    if (!columns)
        return organ_fail_memory(error, m->name);
    weigh(m, columns);
    if (!organ_all_finite(weights, rows.rows * cols))
        organ_quantize_refuse_values(m->name, error);
    else if (level == ORGAN_TYPES_FAR && is_sampled(m, w->matrices_of[curve]))
        add_errors(w, m, curve, weights, error);
    else if (level == ORGAN_TYPES_NEAR && w->energies[curve] >= 0)
        finish_errors(w, curve);
    if (!error->status)
        round_rows(&rows, error);
    return error->status;
}

uint64_t organ_quantize_anchor_memory(void *context, const organ_tensor *tensor)
{
    const organ_quantize_types *const w = context;
    const organ_matrices m = organ_tensor_matrices(tensor);
    const uint64_t rows = sampled_rows(m.rows);
    uint64_t most = 0;
    for (size_t k = 0; k < w->type_count; k++)
        if (organ_quantize_type_fits(w, k, (size_t)m.cols)) {
            const organ_grid *const grid = &w->types[k]->grid;
            const uint64_t gptq = organ_gptq_memory(w->job->engine, grid, rows, m.cols) +
                                  sizeof(float) * rows * organ_grid_numbers(grid, (size_t)m.cols);
            most = organ_max(most, gptq);
        }
    return most + sizeof(float) * m.cols * (3 * rows + 2 + organ_workers_count(w->job->engine->workers)) +
           organ_products_scratch(w->job->engine);
}

/* ---- embeddings and output head ---- */

/* An embedding or head in one type. */
typedef struct costs_end {
    const organ_quantize_types *types;
    const organ_encoding *encoding;
    size_t cols, row_bytes;
    unsigned char *blocks; /* of all rows of a head; of one row of an embedding */
} costs_end;

static void change_row(void *context, float *row, size_t width)
{
    const costs_end *const e = context;
    const organ_kernels *const kernels = e->types->job->engine->kernels;
    organ_encoding_fit(e->encoding, kernels, row, NULL, 1, width, e->blocks);
    organ_encoding_decode(e->encoding, kernels, e->blocks, NULL, width, row);
}

static void decode_head(const void *source, size_t first, size_t count, float *values)
{
    const costs_end *const e = source;
    organ_encoding_decode(e->encoding, e->types->job->engine->kernels, e->blocks + first * e->row_bytes, NULL,
                          count * e->cols, values);
}

static organ_status encode_strip(void *context, const organ_weight_strip *strip, void *scratch, void *result,
                                 organ_error *error)
{
    const costs_end *const e = context;
    (void)scratch;
    (void)result;
    if (!organ_all_finite(strip->values, strip->rows * strip->cols))
        return organ_quantize_refuse_values("the output head", error);
    for (size_t r = 0; r < strip->rows; r++)
        organ_encoding_fit(e->encoding, e->types->job->engine->kernels, (const float *)strip->values + r * strip->cols,
                           NULL, 1, strip->cols, e->blocks + (strip->first + r) * e->row_bytes);
    return ORGAN_OK;
}

static organ_status measure_head(const organ_quantize_types *w, organ_variants *variants, const organ_tensor *tensor,
                                 size_t type, double *cost, organ_error *error)
{
    const organ_matrices m = organ_tensor_matrices(tensor);
    costs_end e = {.types = w,
                   .encoding = w->types[type],
                   .cols = (size_t)m.cols,
                   .row_bytes = organ_encoding_row_bytes(w->types[type], (size_t)m.cols)};
    const organ_weight_item item = {.weight = organ_weights_named(w->job->weights, tensor->name)};
    const organ_weight_pass pass = {
        .model = w->job->model, .items = &item, .item_count = 1, .as = ORGAN_F32, .context = &e, .work = encode_strip};
    const organ_head_rows head = {&e, decode_head};
    double divergence = 0;
    if (!(e.blocks = malloc((size_t)m.rows * e.row_bytes)))
        return organ_fail_memory(error, tensor->name);
    if (organ_weight_pass_run(&pass, w->job->engine, error) == ORGAN_OK &&
        organ_variants_judge_head(variants, &head, &divergence, error) == ORGAN_OK)
        *cost += divergence;
    free(e.blocks);
    return error->status;
}

static organ_status measure_embedding(const organ_quantize_types *w, organ_variants *variants,
                                      const organ_tensor *tensor, size_t type, double *cost, organ_error *error)
{
    organ_forward *const forward = organ_calibration_run_facts_of(organ_curves_walk(w->walk))->forward;
    costs_end e = {.types = w, .encoding = w->types[type]};
    double divergence = 0;
    if (!(e.blocks = malloc(organ_encoding_row_bytes(w->types[type], (size_t)organ_tensor_matrices(tensor).cols))))
        return organ_fail_memory(error, tensor->name);
    organ_forward_change_embeddings(forward, change_row, &e);
    organ_variants_add_embedded(variants, &divergence, error);
    organ_forward_change_embeddings(forward, NULL, NULL);
    if (!error->status && organ_variants_finish(variants, error) == ORGAN_OK)
        *cost += divergence;
    free(e.blocks);
    return error->status;
}

/* `own` gets the costs of the types that this rank measures: 0 for all others. */
static organ_status measure_end(const organ_quantize_types *w, organ_variants *variants, size_t target, double *own,
                                organ_error *error)
{
    const organ_tensor *const tensor = w->targets.tensors[target];
    organ_ranks *const ranks = w->job->engine->ranks;
    const size_t cols = (size_t)organ_tensor_matrices(tensor).cols;
    for (size_t k = 0; k < w->type_count && !error->status; k++) {
        if (!organ_quantize_type_fits(w, k, cols) || k % organ_ranks_count(ranks) != organ_ranks_rank(ranks))
            continue;
        if (organ_quantize_gguf_is_embedding(tensor))
            measure_embedding(w, variants, tensor, k, &own[k], error);
        if (!error->status && organ_quantize_gguf_is_head(w->job->model, tensor))
            measure_head(w, variants, tensor, k, &own[k], error);
        organ_progress_advance(w->job->progress, 0, w->types[k]->name, NULL);
    }
    return error->status;
}

/* Called also after an error, because the other ranks wait for the costs. */
static organ_status share_end(organ_quantize_types *w, size_t curve, const double *own, organ_error *error)
{
    double *const level = w->curves.tensors[curve].cost;
    organ_gathered all = {0};
    organ_ranks_gather(w->job->engine->ranks, "measuring embeddings and head", own, w->type_count * sizeof *own, &all,
                       error);
    for (size_t r = 0; r < all.count && !error->status; r++)
        for (size_t k = r; k < w->type_count; k += all.count)
            memcpy(&level[ORGAN_TYPES_FIRST + k], all.of[r] + k * sizeof *own, sizeof *own);
    organ_gathered_release(&all);
    if (error->status)
        return error->status;
    w->curves.tensors[curve].known = true;
    return organ_curves_keep(&w->curves, &w->curves.tensors[curve], &w->store, error);
}

static bool is_unmeasured_end(const organ_quantize_types *w, size_t target)
{
    const organ_allocation_tensor *const t = &w->curves.tensors[w->curve_of[target]];
    return t->layer < 0 && !t->known;
}

/* The encoded head is in memory together with the states of the walk. */
static organ_status check_memory_of_ends(const organ_quantize_types *w, organ_error *error)
{
    const organ_calibration_run *const calib = organ_curves_walk(w->walk);
    const uint64_t spare = organ_calibration_run_spare_memory(calib);
    for (size_t k = 0; k < w->targets.count && !error->status; k++) {
        const organ_tensor *const t = w->targets.tensors[k];
        const organ_matrices m = organ_tensor_matrices(t);
        const uint64_t blocks = m.rows * m.cols * 9 / 8; /* at least its bytes in the largest type, Q8_0 */
        if (is_unmeasured_end(w, k) && organ_quantize_gguf_is_head(w->job->model, t) && blocks > spare)
            organ_memory_claim(w->job->engine, organ_calibration_run_min_memory(calib) + blocks - spare, error,
                               "measuring the output head of %s", w->job->model->path);
    }
    return error->status;
}

organ_status organ_quantize_measure_ends(organ_quantize_types *w, organ_error *error)
{
    organ_forward *const forward = organ_calibration_run_facts_of(organ_curves_walk(w->walk))->forward;
    organ_variants *variants = NULL;
    size_t left = 0;
    for (size_t k = 0; k < w->targets.count; k++)
        left += is_unmeasured_end(w, k);
    if (!left || check_memory_of_ends(w, error))
        return error->status;
    organ_progress_begin(w->job->progress, "measuring embeddings and head", 0, left * w->type_count);
    organ_variants_open(forward, w->job->engine, &organ_curves_rest(w->walk)->windows, 1, &variants, error);
    for (size_t k = 0; k < w->targets.count; k++) {
        double own[ORGAN_ALLOCATION_LEVELS] = {0};
        if (!is_unmeasured_end(w, k))
            continue;
        if (!error->status)
            measure_end(w, variants, k, own, error);
        if (share_end(w, w->curve_of[k], own, error) != ORGAN_OK)
            break;
    }
    organ_variants_close(variants);
    organ_progress_end(w->job->progress);
    return error->status;
}
