/* SPDX-License-Identifier: MIT
 * Computes the merged weights W + scale B A in strips of rows, and each strip in blocks of rows whose B A fits in the
 * scratch of a worker. Weights that are only dequantised pass through the same functions. */
#include "orchestrator/verbs/lora/rewrite.h"
#include "orchestrator/verbs/lora/lora_parts.h"

#include "formats/base/rows.h"
#include "orchestrator/stream/memory.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/solve/algebra.h"
#include "orchestrator/stream/product.h"
#include "orchestrator/stream/weight_pass.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Values of a block: it has as many whole rows as fit, at least one. */
#define BLOCK_VALUES ((size_t)1 << 18)
_Static_assert(BLOCK_VALUES * sizeof(float) >= ORGAN_PRODUCT_SCRATCH,
               "a block of codes gives the scratch of a product its memory");

typedef struct merge_pass_run {
    organ_merge_job *job;
    organ_writing *units;           /* the output */
    const organ_weight_item *items; /* of the pass that runs: pieces of the job */
    size_t block;                   /* values of the largest block */
    json_t *noted;                  /* has a member for each note that was printed */
    size_t rank;                    /* largest rank of a pair with --feedback; else 0 */
} merge_pass_run;

#define MERGED 100.0 /* plan of a dry run: operations per merged value, without B A */

/* Returns the number of rows of a block. */
static size_t rows_at_once(size_t cols) { return cols < BLOCK_VALUES ? BLOCK_VALUES / cols : 1; }

/* The scratch has a block of B A as FP32, room for the same block as codes (or FP32 before it is rounded), the
 * scratch of organ_write_put, and with --feedback the sums of a row and the rounded values of a block. */
static size_t scratch_bytes(const merge_pass_run *r)
{
    const size_t feedback = r->rank ? r->rank * sizeof(double) + r->block * (sizeof(float) + sizeof(uint16_t)) : 0;
    return 2 * r->block * sizeof(float) + ORGAN_PUT_SCRATCH + feedback;
}

/* `before` and `after` are W and W + D, both rounded to the output's type, so that errors of dequantisation do not
 * count; `d` is D (organ_merge_sums). */
static void add_sums(organ_merge_sums *sums, const float *before, const float *after, const float *d, size_t n)
{
    /* four partial sums each, which the compiler can vectorise */
    double delta[4] = {0}, applied[4] = {0}, dot[4] = {0}, miss[4] = {0};
    for (size_t k = 0; k < n; k++) {
        const double t = (double)after[k] - (double)before[k], target = (double)d[k];
        if (!isfinite(t))
            continue; /* NaN in the base, or an overflow, which check_range reports */
        delta[k % 4] += target * target;
        applied[k % 4] += t * t;
        dot[k % 4] += t * target;
        miss[k % 4] += (t - target) * (t - target);
    }
    sums->delta += delta[0] + delta[1] + (delta[2] + delta[3]);
    sums->applied += applied[0] + applied[1] + (applied[2] + applied[3]);
    sums->dot += dot[0] + dot[1] + (dot[2] + dot[3]);
    sums->miss += miss[0] + miss[1] + (miss[2] + miss[3]);
}

/* Rounds the values to the type; `codes` has room for them in this type. */
static void round_through(const organ_kernels *kernels, organ_dtype dtype, float *values, void *codes, size_t n)
{
    organ_narrow(kernels, dtype, values, codes, n);
    organ_widen(kernels, dtype, codes, values, n);
}

/* With DoRA row i of W + scale B A, which is values + d, is scaled to the norm norms[i]; d becomes the merged
 * weight. A row of norm 0 has no direction: *without_norm becomes first + 1 + its number, unless it is set already. */
static void scale_rows(const float *norms, size_t rows, size_t cols, const float *values, float *d, uint64_t first,
                       uint64_t *without_norm)
{
    for (size_t i = 0; i < rows; i++) {
        double squares = 0;
        for (size_t k = i * cols; k < (i + 1) * cols; k++) {
            const double v = (double)(values[k] + d[k]);
            squares += v * v;
        }
        if (!(squares > 0) && !*without_norm)
            *without_norm = first + i + 1;
        const float factor = (float)((double)norms[i] / sqrt(squares));
        for (size_t k = i * cols; k < (i + 1) * cols; k++)
            d[k] = factor * (values[k] + d[k]);
    }
}

/* *overflow becomes first + 1 + the index of the first value that `dtype` rounds to infinity, unless it is set already.
 * From half a step beyond the greatest number on, values are rounded to infinity. */
static void note_overflow(organ_dtype dtype, uint64_t first, const float *values, size_t n, uint64_t *overflow)
{
    const float beyond_bf16 = dtype == ORGAN_BF16 ? 0x1.ffp127f : INFINITY;
    const float least = dtype == ORGAN_F16 ? 65520.0f : beyond_bf16;
    for (size_t k = 0; k < n && !*overflow; k++)
        if (isfinite(values[k]) && fabsf(values[k]) >= least)
            *overflow = first + k + 1;
}

/* `codes` has the sums W + D and gets the rounded values; W is in `values` and D in `d`. `chosen` has the values as
 * --feedback rounds them; if it is NULL, values are rounded to the nearest. */
static void round_block(const merge_pass_run *r, organ_dtype dtype, size_t n, float *values, const float *d,
                        void *codes, const uint16_t *chosen, organ_merge_sums *sums)
{
    const organ_kernels *const kernels = r->job->engine->kernels;
    const size_t width = organ_dtype_describe(dtype)->bytes;
    float *const sum = codes;
    /* through local buffers, because `sum` and `codes` are the same memory */
    float after[1024], narrow[1024];
    for (size_t at = 0; at < n; at += sizeof after / sizeof *after) {
        const size_t m = organ_min(sizeof after / sizeof *after, n - at);
        memcpy(after, sum + at, m * sizeof *after);
        round_through(kernels, dtype, values + at, narrow, m);
        if (chosen) {
            memcpy(narrow, chosen + at, m * width);
            organ_widen(kernels, dtype, narrow, after, m);
        } else
            round_through(kernels, dtype, after, narrow, m);
        add_sums(sums, values + at, after, d + at, m);
        memcpy((unsigned char *)codes + at * width, narrow, m * width);
    }
}

/* The feedback is in the directions of the adapter. */
static void round_with_feedback(const merge_pass_run *r, const organ_merge_part *part, organ_dtype dtype,
                                uint64_t first, size_t rows, size_t cols, float *values, const float *d, void *codes,
                                organ_merge_sums *sums)
{
    const uint64_t matrix_rows = part->transposed ? part->factors.in : part->factors.out;
    const size_t rank = part->factors.rank;
    unsigned char *const room = (unsigned char *)codes + r->block * sizeof(float) + ORGAN_PUT_SCRATCH;
    double *const row = (double *)room;
    float *const nearest = (float *)(room + r->rank * sizeof(double));
    uint16_t *const chosen = (uint16_t *)(nearest + r->block);
    const size_t begin = (size_t)(first / matrix_rows) * cols;
    const organ_lora_directions directions = {part->directions + begin * rank, part->squares + begin, rank};
    organ_lora_round_with_feedback(r->job->engine->kernels, dtype, codes, rows, cols, &directions, row, nearest,
                                   chosen);
    round_block(r, dtype, rows * cols, values, d, codes, chosen, sums);
}

/* `values` has the same rows of the base, or of the tensor that replaces the weight; they are overwritten. `d` is a
 * buffer of as many values. `codes` must have room for FP32. If `part` is NULL or has no pair, the values are only
 * rounded. sums->overflow is set if a value exceeds the range of the type. */
static void merge_block(const merge_pass_run *r, const organ_merge_part *part, organ_dtype dtype, uint64_t first,
                        size_t rows, size_t cols, float *values, float *d, void *codes, organ_merge_sums *sums)
{
    const organ_kernels *const kernels = r->job->engine->kernels;
    const size_t n = rows * cols;
    if (!part || !part->pair) {
        note_overflow(dtype, first * cols, values, n, &sums->overflow);
        organ_narrow(kernels, dtype, values, codes, n);
        return;
    }
    const float scale = (float)part->scale;
    float *const sum = codes; /* FP32 sum in the same memory until it is rounded to codes */
    organ_lora_multiply(kernels, &part->factors, part->transposed, first, rows, d, codes);
    for (size_t k = 0; k < n; k++)
        d[k] = d[k] * scale;
    if (part->row_norms)
        scale_rows(part->row_norms + first, rows, cols, values, d, first, &sums->without_norm);
    /* With row norms, d is the merged weight here, and becomes its difference from W. */
    for (size_t k = 0; k < n; k++) {
        sum[k] = part->row_norms ? d[k] : values[k] + d[k];
        d[k] = part->row_norms ? d[k] - values[k] : d[k];
        if (!isfinite(sum[k]) && isfinite(values[k]) && !sums->overflow)
            sums->overflow = first * cols + k + 1;
    }
    note_overflow(dtype, first * cols, sum, n, &sums->overflow);
    if (part->directions && organ_dtype_describe(dtype)->bytes == 2)
        round_with_feedback(r, part, dtype, first, rows, cols, values, d, codes, sums);
    else
        round_block(r, dtype, n, values, d, codes, /*chosen=*/NULL, sums);
}

static organ_merge_part *part_of_piece(const organ_merge_job *job, size_t piece)
{
    const bool head = job->head_part != ORGAN_NO_PART && piece == job->head_piece;
    const size_t own = piece < job->weights->count ? job->part_of[piece] : ORGAN_NO_PART;
    const size_t at = head ? job->head_part : own;
    return at == ORGAN_NO_PART ? NULL : &job->parts[at];
}

/* A head that is not stored has the values of the embedding. */
static const organ_weight *weight_of_piece(const organ_merge_job *job, size_t piece)
{
    return piece < job->weights->count ? &job->weights->weights[piece] : job->tie.embedding;
}

static void replace_words(const organ_merge_part *part, uint64_t first, size_t rows, size_t cols, float *values)
{
    for (uint64_t k = 0; k < part->tokens->shape[0]; k++)
        if (part->token_ids[k] >= first && part->token_ids[k] - first < rows)
            memcpy(values + (part->token_ids[k] - first) * cols, part->token_rows + k * cols, cols * sizeof *values);
}

/* `values` has the rows of the base or of the tensor that replaces the weight. The codes overwrite `values` from its
 * beginning: they are not wider than FP32, so they never reach rows that are still to be read. */
static organ_status merge_rows(const merge_pass_run *r, size_t weight, uint64_t first, size_t rows, size_t cols,
                               float *values, void *scratch, organ_merge_sums *sums, organ_error *error)
{
    const organ_merge_job *const job = r->job;
    const organ_merge_part *const part = part_of_piece(job, weight);
    const organ_dtype dtype = job->pieces[weight].dtype;
    const size_t width = organ_dtype_describe(dtype)->bytes, step = rows_at_once(cols);
    float *const d = scratch, *const codes = d + r->block;
    if (part && part->tokens)
        replace_words(part, first, rows, cols, values);
    for (size_t at = 0; at < rows; at += step) {
        const size_t m = organ_min(step, rows - at);
        merge_block(r, part, dtype, first + at, m, cols, values + at * cols, d, codes, sums);
        memcpy((unsigned char *)values + at * cols * width, codes, m * cols * width);
    }
    return organ_write_put(r->units, weight, values, rows * cols * width, first * cols * width, codes + r->block,
                           error);
}

/* ---- journal entry of a weight ---- */

/* The sums of a weight that its journal entry has. */
#define SUM(member) ORGAN_STRUCT_FIELD(organ_merge_sums, member, EXACT)
static const organ_struct_field stored_sums[] = {SUM(delta), SUM(applied), SUM(dot), SUM(miss)};

/* If the adapter does not change the weight, `results` are ignored. */
bool organ_merge_recall(void *context, size_t weight, const json_t *results)
{
    organ_merge_job *const job = context;
    organ_merge_part *const part = part_of_piece(job, weight);
    organ_merge_sums sums = {0};
    const bool complete = ORGAN_STRUCT_READ(results, stored_sums, &sums);
    if (complete && part)
        part->sums = sums;
    return complete;
}

static organ_status finish_weight(const merge_pass_run *r, size_t weight, organ_error *error)
{
    const organ_merge_part *const part = part_of_piece(r->job, weight);
    const organ_merge_sums none = {0};
    const organ_merge_sums *const sums = part ? &part->sums : &none;
    return organ_write_finish(r->units, weight, ORGAN_STRUCT_ADD(json_object(), stored_sums, sums), error);
}

/* ---- strips of weights ---- */

/* The directions are the columns of A or, if the weight is transposed, the rows of B. */
static organ_status merge_directions(organ_merge_part *part, organ_error *error)
{
    const organ_lora_factors *const f = &part->factors;
    const size_t cols = part->transposed ? f->out : f->in, values = f->experts * f->rank * cols;
    part->own_directions = part->transposed ? NULL : malloc(values * sizeof(float));
    part->squares = malloc(f->experts * cols * sizeof *part->squares);
    if (!part->squares || (!part->transposed && !part->own_directions))
        return organ_fail_memory(error, part->pair->module);
    for (size_t e = 0; e < f->experts && !part->transposed; e++)
        for (size_t k = 0; k < f->rank; k++)
            for (size_t j = 0; j < f->in; j++)
                part->own_directions[(e * f->in + j) * f->rank + k] = f->a[(e * f->rank + k) * f->in + j];
    part->directions = part->transposed ? f->b : part->own_directions;
    for (size_t k = 0; k < f->experts * cols; k++)
        part->squares[k] = organ_lora_square(part->directions + k * f->rank, f->rank);
    return ORGAN_OK;
}

/* The caller calls unload_part, also after an error. */
static organ_status load_part(const organ_merge_job *job, organ_merge_part *part, organ_error *error)
{
    const organ_kernels *const kernels = job->engine->kernels;
    if (part->tokens)
        organ_adapter_values(job->adapter, part->tokens, kernels, &part->token_rows, error);
    if (!error->status && part->pair &&
        organ_lora_factors_read(job->adapter, part->pair, kernels, 1, &part->factors, error) == ORGAN_OK &&
        part->magnitudes)
        organ_adapter_values(job->adapter, part->magnitudes, kernels, &part->row_norms, error);
    return error->status || !part->pair || !job->options->feedback ? error->status : merge_directions(part, error);
}

static void unload_part(organ_merge_part *part)
{
    organ_lora_factors_release(&part->factors);
    ORGAN_FREE_ARRAYS(part->row_norms, part->token_rows, part->own_directions, part->squares);
    part->squares = NULL;
    part->row_norms = part->token_rows = part->own_directions = NULL;
    part->directions = NULL;
}

static size_t piece_of(const organ_merge_job *job, const organ_piece *piece) { return (size_t)(piece - job->pieces); }

static organ_status merge_begin_weight(void *context, size_t item, const char *note, organ_error *error)
{
    merge_pass_run *const r = context;
    organ_merge_job *const job = r->job;
    organ_merge_part *const part = part_of_piece(job, piece_of(job, r->items[item].part));
    (void)note;
    return part && (part->pair || part->tokens) ? load_part(job, part, error) : ORGAN_OK;
}

static organ_status merge_strip(void *context, const organ_weight_strip *strip, void *scratch, void *result,
                                organ_error *error)
{
    const merge_pass_run *const r = context;
    return merge_rows(r, piece_of(r->job, strip->part), strip->first, strip->rows, strip->cols, strip->values, scratch,
                      result, error);
}

static organ_status check_range(const organ_merge_job *job, size_t piece, const organ_merge_sums *sums,
                                organ_error *error)
{
    if (sums->without_norm)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: tensor '%s': row %" PRIu64
                          " of W + scale B A has norm 0, so DoRA cannot give it the norm "
                          "that the adapter states (peft makes it NaN): the row is zero in the base, and the adapter "
                          "does not change it",
                          job->base->path, job->pieces[piece].name, sums->without_norm - 1);
    if (!sums->overflow)
        return ORGAN_OK;
    return organ_fail(error, ORGAN_BAD_INPUT,
                      "%s: tensor '%s': value %" PRIu64 " of the output exceeds the range of %s", job->base->path,
                      job->pieces[piece].name, sums->overflow - 1,
                      organ_dtype_describe(job->pieces[piece].dtype)->name);
}

static void merge_add_sums(organ_merge_sums *sums, const organ_merge_sums *more)
{
    sums->delta += more->delta;
    sums->applied += more->applied;
    sums->dot += more->dot;
    sums->miss += more->miss;
}

/* The sums of the strips are added in the order of strips. */
static organ_status merge_retire_strip(void *context, const organ_weight_strip *strip, const void *result,
                                       organ_error *error)
{
    merge_pass_run *const r = context;
    organ_merge_job *const job = r->job;
    const size_t piece = piece_of(job, strip->part);
    organ_merge_part *const part = part_of_piece(job, piece);
    const organ_tensor *const saved = part ? part->saved : NULL;
    const organ_weight *const w = weight_of_piece(job, piece);
    const char *const name = saved ? saved->name : w->name;
    const organ_merge_sums *const more = result;
    const uint64_t elements = saved ? saved->elements : w->elements, bytes = job->pieces[piece].cost,
                   rows = strip->cols ? elements / strip->cols : 0;
    /* bytes of the weight up to the first row of the strip, and up to its last row, for the progress */
    const uint64_t before = rows ? (uint64_t)((double)bytes * ((double)strip->first / (double)rows)) : 0;
    const uint64_t after =
        strip->last ? bytes : (uint64_t)((double)bytes * ((double)(strip->first + strip->rows) / (double)rows));
    if (strip->first == 0 && *strip->note && !json_object_get(r->noted, strip->note)) {
        organ_progress_note(job->progress, "%s: %s", name, strip->note); /* once for all weights of its kind */
        json_object_set_new(r->noted, strip->note, json_true());
    }
    organ_progress_advance(job->progress, after - before, strip->last ? name : NULL, saved ? "replaced" : NULL);
    if (part) {
        merge_add_sums(&part->sums, more);
        if (strip->last)
            unload_part(part);
    }
    if (check_range(job, piece, more, error))
        return error->status;
    return strip->last ? finish_weight(r, piece, error) : ORGAN_OK;
}

/* ---- memory of the factors ---- */

static uint64_t part_bytes(const organ_merge_job *job, const organ_merge_part *part)
{
    const organ_adapter_pair *const pair = part->pair;
    uint64_t bytes = part->tokens ? part->tokens->elements * sizeof(float) : 0;
    if (!pair)
        return bytes;
    bytes += pair->experts * pair->rank * (pair->in_features + pair->out_features) * sizeof(float);
    bytes += part->magnitudes ? part->magnitudes->elements * sizeof(float) : 0;
    const uint64_t directions = pair->experts * (part->transposed ? pair->out_features : pair->in_features);
    if (job->options->feedback)
        bytes += directions * (sizeof *part->squares + (part->transposed ? 0 : pair->rank * sizeof(float)));
    return bytes;
}

/* The factors need the rest of the memory. They stay there from the begin of their weight until its last strip is
 * retired: those of two weights whole, and the share of each other open strip. */
static organ_status room_of_pass(organ_merge_job *job, const organ_weight_pass *pass, uint64_t *memory,
                                 organ_error *error)
{
    const uint64_t each = organ_weight_pass_enough(pass, job->engine, error);
    uint64_t whole = 0, share = 0;
    const char *largest = job->base->path;
    for (size_t k = 0; k < job->part_count; k++) {
        const organ_merge_part *const part = &job->parts[k];
        const organ_weight *const w = &job->weights->weights[part->weight];
        const uint64_t bytes = part_bytes(job, part), strips = w->elements / ORGAN_STRIP_VALUES + 1;
        largest = bytes > whole ? w->name : largest;
        whole = organ_max(whole, bytes);
        share = organ_max(share, ORGAN_STRIPS_OPEN * (bytes / strips));
    }
    const uint64_t held = 2 * whole, enough = held + each + share;
    organ_plan_memory(&job->plan, enough, 0);
    if (error->status || !each ||
        organ_memory_claim(job->engine, enough, error, "the factors and a strip of tensor '%s'", largest))
        return error->status;
    organ_memory_prefer(job->engine, held + organ_workers_count(job->engine->workers) * (each + share));
    *memory = (organ_engine_memory(job->engine) - held) / (each + share) * each;
    return ORGAN_OK;
}

/* ---- all weights ---- */

/* Returns whether the pass over the weights of the base, or over the tensors of the adapter that replace weights, makes
 * the piece. */
static bool is_in_pass(const merge_pass_run *r, size_t piece, bool replaced)
{
    const organ_merge_part *const part = part_of_piece(r->job, piece);
    const organ_tensor *const saved = part ? part->saved : NULL;
    return !r->job->pieces[piece].same && !(r->units && organ_write_done(r->units, piece)) &&
           (saved != NULL) == replaced && !(saved && !saved->elements);
}

/* If the adapter also has factors for a weight that it replaces, their change is added. */
static organ_status run_pass(merge_pass_run *r, bool replaced, organ_error *error)
{
    organ_merge_job *const job = r->job;
    ORGAN_OWNED_ROWS organ_weight_item *const items = organ_rows_take(job->weights->count + 2, sizeof *items);
    ORGAN_OWNED organ_weight *const saved = calloc(job->part_count + 1, sizeof *saved);
    size_t count = 0;
    if (!items || !saved)
        return organ_fail_memory(error, job->base->path);
    for (size_t k = 0; k < job->piece_count; k++) {
        if (!is_in_pass(r, k, replaced))
            continue;
        if (replaced)
            saved[count] = organ_weight_plain(part_of_piece(job, k)->saved);
        items[count].weight = replaced ? &saved[count] : weight_of_piece(job, k);
        items[count++].part = &job->pieces[k];
    }
    r->items = items;
    const organ_weight_pass pass = {.model = replaced ? job->adapter->model : job->base,
                                    .items = items,
                                    .item_count = count,
                                    .as = ORGAN_F32,
                                    .scratch_bytes = scratch_bytes(r),
                                    .result_bytes = sizeof(organ_merge_sums),
                                    .context = r,
                                    .begin = merge_begin_weight,
                                    .work = merge_strip,
                                    .retire = merge_retire_strip};
    organ_engine engine = *job->engine;
    if (count && (replaced || room_of_pass(job, &pass, &engine.memory, error) == ORGAN_OK) && r->units)
        organ_weight_pass_run(&pass, &engine, error);
    return error->status;
}

/* The blocks have room for at least one row of the widest weight. */
static merge_pass_run blocks_of(organ_merge_job *job, organ_writing *units)
{
    merge_pass_run r = {.job = job, .units = units, .block = BLOCK_VALUES};
    for (size_t k = 0; k < job->piece_count; k++) {
        const size_t cols = job->pieces[k].same ? 0 : (size_t)organ_weight_matrices(weight_of_piece(job, k)).cols;
        if (cols > r.block)
            r.block = (cols + 15) & ~(size_t)15;
    }
    for (size_t k = 0; k < job->part_count && job->options->feedback; k++)
        if (job->parts[k].pair && job->parts[k].pair->rank > r.rank)
            r.rank = (size_t)job->parts[k].pair->rank;
    return r;
}

organ_status organ_merge_estimate(organ_merge_job *job, organ_error *error)
{
    merge_pass_run r = blocks_of(job, /*units=*/NULL);
    for (size_t k = 0; k < job->piece_count; k++) {
        const organ_merge_part *const part = part_of_piece(job, k);
        const double rank = part && part->pair ? (double)part->pair->rank : 0;
        if (!job->pieces[k].same)
            job->plan.products += (MERGED + 2 * rank) * (double)weight_of_piece(job, k)->elements;
    }
    return run_pass(&r, /*replaced=*/false, error);
}

organ_status organ_merge_run(organ_merge_job *job, organ_writing *units, organ_error *error)
{
    merge_pass_run r = blocks_of(job, units);
    if (!(r.noted = json_object()))
        organ_fail_memory(error, job->base->path);
    else if (run_pass(&r, /*replaced=*/false, error) == ORGAN_OK)
        run_pass(&r, /*replaced=*/true, error);
    json_decref(r.noted);
    for (size_t k = 0; k < job->part_count; k++) /* parts that an error left loaded */
        unload_part(&job->parts[k]);
    return error->status;
}
