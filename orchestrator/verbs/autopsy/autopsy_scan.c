/* SPDX-License-Identifier: MIT
 * Examines weights in three passes, one for each type in which values are read: BF16, F16 and FP32. BF16 and F16
 * weights that are not compared with another model are read unconverted, all others as FP32. The results do not depend
 * on the type, because conversion to FP32 is exact and the strips have the same borders. */
#include "orchestrator/verbs/autopsy/autopsy_parts.h"

#include "formats/base/rows.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/ranks/ranks.h"

#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* Values that are examined together, so that they stay in the caches of a core. A multiple of 4096, the unit in which
 * moments are computed. */
#define PART ((size_t)32768)

typedef struct scanned_weight {
    organ_level_union levels; /* distinct values of all strips so far */
    uint64_t *dead_columns;   /* a bit for each column of each matrix, cleared at its first value other than zero */
    uint64_t words;           /* 64-bit words of these bits for one matrix */
    organ_jumps jumps;        /* sum over the retired strips */
    organ_jump_edges edges;   /* of the previous strip */
    uint64_t read;            /* bytes that were reported to the progress so far */
} scanned_weight;

typedef struct weight_scan {
    organ_weight_stats **chosen; /* the weights of the pass; index: organ_weight_strip.item */
    scanned_weight **scanned;    /* their states; NULL before the first strip of a weight and after its last */
    const organ_kernels *kernels;
    const organ_scan_progress *progress;
    organ_dtype as; /* the type in which values are read */
} weight_scan;

typedef struct scratch {
    organ_level_scratch levels;
    organ_jump_scratch jumps;
} scratch;

/* The members are as in organ_weight_stats. */
typedef struct autopsy_scan_finding {
    organ_moments moments;
    organ_faulty_rows nonfinite_rows, dead;
    organ_distance distance;
    organ_jumps jumps;
    organ_jump_edges edges;
} autopsy_scan_finding;
_Static_assert(sizeof(autopsy_scan_finding) <= 65536, "the result of a strip");

uint64_t organ_weight_stats_bytes(const organ_weight_stats *v)
{
    if (v->unread)
        return 0;
    return v->weight->codes->bytes + (v->other ? v->other->codes->bytes : 0);
}

double organ_weight_stats_std(const organ_weight_stats *v)
{
    return v->moments.n ? sqrt(v->moments.m2 / (double)v->moments.n) : 0;
}

/* The kurtosis is n m4 / m2^2 - 3, where m2 and m4 are the sums of the second and fourth powers of the deviations
 * from the mean. */
double organ_weight_stats_kurtosis(const organ_weight_stats *v)
{
    const organ_moments *const m = &v->moments;
    return m->m2 > 0 ? (double)m->n * m->m4 / (m->m2 * m->m2) - 3 : 0;
}

/* ---- one strip ---- */

static size_t element_bytes(organ_dtype as) { return as == ORGAN_F32 ? sizeof(float) : sizeof(uint16_t); }

static const void *element_at(const void *values, organ_dtype as, size_t index)
{
    return (const char *)values + index * element_bytes(as);
}

/* Returns the bits of the value without its sign, which are in the order of the absolute values. */
static uint32_t magnitude_bits_at(const void *values, organ_dtype as, size_t index)
{
    uint32_t wide = 0;
    uint16_t narrow;
    if (as == ORGAN_F32) {
        memcpy(&wide, element_at(values, as, index), sizeof wide);
        return wide & 0x7fffffff;
    }
    memcpy(&narrow, element_at(values, as, index), sizeof narrow);
    return narrow & 0x7fff;
}

static uint32_t infinity_of(organ_dtype as)
{
    if (as == ORGAN_F32)
        return 0x7f800000;
    return as == ORGAN_BF16 ? 0x7f80 : 0x7c00;
}

static void scan_moments_of(const organ_kernels *kernels, organ_dtype as, const void *values, size_t n,
                            organ_moments *moments)
{
    if (as == ORGAN_F32)
        kernels->moments_f32(values, n, moments);
    else if (as == ORGAN_BF16)
        kernels->moments_bf16(values, n, moments);
    else
        kernels->moments_f16(values, n, moments);
}

/* The caller passes rows in ascending order. */
static void note_row(organ_faulty_rows *rows, uint64_t row)
{
    if (rows->count < ORGAN_WEIGHT_STATS_ROWS)
        rows->row[rows->count] = row;
    if (rows->count++ == 0)
        rows->first = row;
    rows->last = row;
}

/* f->moments must be complete: if they count no NaN and no infinity, the rows are not searched for such values. */
static void find_rows(const organ_weight_strip *strip, organ_dtype as, autopsy_scan_finding *f)
{
    const uint32_t infinite = infinity_of(as);
    const bool search = f->moments.nan + f->moments.inf > 0;
    for (size_t r = 0; r < strip->rows; r++) {
        size_t zeros = 0, finite = 0;
        while (zeros < strip->cols && magnitude_bits_at(strip->values, as, r * strip->cols + zeros) == 0)
            zeros++;
        if (zeros == strip->cols)
            note_row(&f->dead, strip->first + r);
        while (search && finite < strip->cols &&
               magnitude_bits_at(strip->values, as, r * strip->cols + finite) < infinite)
            finite++;
        if (search && finite < strip->cols)
            note_row(&f->nonfinite_rows, strip->first + r);
    }
}

static bool column_is_dead(const organ_weight_strip *strip, organ_dtype as, size_t column)
{
    for (size_t r = 0; r < strip->rows; r++)
        if (magnitude_bits_at(strip->values, as, r * strip->cols + column) != 0)
            return false;
    return true;
}

/* Only columns whose bit is still set are examined; for most of them the first row suffices. Threads only clear
 * bits, so no lock is needed. */
static void find_columns(const organ_weight_strip *strip, organ_dtype as, const autopsy_scan_finding *f, uint64_t *dead)
{
    if (f->moments.zero == strip->rows * strip->cols)
        return;
    for (size_t column = 0; column < strip->cols; column += 64) {
        uint64_t remaining = __atomic_load_n(&dead[column / 64], __ATOMIC_RELAXED), alive = 0;
        for (; remaining; remaining &= remaining - 1) {
            const unsigned bit = (unsigned)__builtin_ctzll(remaining);
            if (!column_is_dead(strip, as, column + bit))
                alive |= (uint64_t)1 << bit;
        }
        if (alive)
            __atomic_and_fetch(&dead[column / 64], ~alive, __ATOMIC_RELAXED);
    }
}

static void add_distances(organ_distance *sum, const organ_distance *more)
{
    sum->pairs += more->pairs;
    sum->skipped += more->skipped;
    sum->difference += more->difference;
    sum->own += more->own;
    sum->other += more->other;
    sum->product += more->product;
    sum->max = more->max > sum->max ? more->max : sum->max;
}

/* The lanes are independent, so that the compiler can vectorise the sums. */
typedef struct distance_lanes {
    double difference[16], own[16], other[16], product[16], max[16];
} distance_lanes;

static void add_lane(distance_lanes *d, size_t lane, float a, float b)
{
    const double x = (double)a, y = (double)b, off = x - y, size = fabs(off);
    d->difference[lane] += off * off;
    d->own[lane] += x * x;
    d->other[lane] += y * y;
    d->product[lane] += x * y;
    d->max[lane] = size > d->max[lane] ? size : d->max[lane];
}

/* The lanes are combined pairwise, in a fixed order, into lane 0. */
static void scan_fold_lanes(distance_lanes *d)
{
    for (size_t half = 8; half > 0; half /= 2)
        for (size_t l = 0; l < half; l++) {
            d->difference[l] += d->difference[l + half];
            d->own[l] += d->own[l + half];
            d->other[l] += d->other[l + half];
            d->product[l] += d->product[l + half];
            d->max[l] = d->max[l + half] > d->max[l] ? d->max[l + half] : d->max[l];
        }
}

/* If the sum of squared differences is not finite, all sums are computed again without the pairs of which a value is
 * not finite; these count as skipped. */
static void add_distance(organ_distance *sum, const float *a, const float *b, size_t n)
{
    distance_lanes d = {.own = {0}};
    uint64_t skipped = 0;
    for (size_t k = 0; k + 16 <= n; k += 16)
        for (size_t l = 0; l < 16; l++)
            add_lane(&d, l, a[k + l], b[k + l]);
    for (size_t k = n / 16 * 16; k < n; k++)
        add_lane(&d, k % 16, a[k], b[k]);
    scan_fold_lanes(&d);
    if (!isfinite(d.difference[0])) {
        d = (distance_lanes){.own = {0}};
        for (size_t k = 0; k < n; k++)
            if (isfinite(a[k]) && isfinite(b[k]))
                add_lane(&d, k % 16, a[k], b[k]);
            else
                skipped++;
        scan_fold_lanes(&d);
    }
    const organ_distance part = {n - skipped, skipped, d.difference[0], d.own[0], d.other[0], d.product[0], d.max[0]};
    add_distances(sum, &part);
}

/* Jumps between rows of q, k and v, or between columns of o, do not show wrong scales: these differ from head to
 * head in healthy models too. Nor do jumps between rows of embeddings and output heads, which differ from token to
 * token. */
static bool has_blocks(const organ_weight *weight, bool rows)
{
    switch (weight->anatomy.role) {
    case ORGAN_ROLE_GATE:
    case ORGAN_ROLE_UP:
    case ORGAN_ROLE_GATE_UP:
    case ORGAN_ROLE_DOWN:
        return weight->rank >= 2;
    case ORGAN_ROLE_O:
        return rows && weight->rank >= 2;
    case ORGAN_ROLE_Q:
    case ORGAN_ROLE_K:
    case ORGAN_ROLE_V:
    case ORGAN_ROLE_QKV:
    case ORGAN_ROLE_EMBED:
    case ORGAN_ROLE_OUTPUT:
        return !rows && weight->rank >= 2;
    default:
        return false;
    }
}

static bool looks_for_jumps(const organ_weight *weight)
{
    return has_blocks(weight, /*rows=*/true) || has_blocks(weight, /*rows=*/false);
}

/* Moments, levels and the distance from the other model are taken in parts of PART values, which stay in the cache. */
static organ_status examine_strip(void *context, const organ_weight_strip *strip, void *work, void *result,
                                  organ_error *error)
{
    const weight_scan *const s = context;
    scanned_weight *const p = s->scanned[strip->item];
    const organ_weight *const weight = s->chosen[strip->item]->weight;
    const organ_matrices shape = organ_weight_matrices(weight);
    scratch *const mine = work;
    autopsy_scan_finding *const f = result;
    const size_t n = strip->rows * strip->cols;
    (void)error;
    f->moments = (organ_moments){.min = INFINITY, .max = -INFINITY};
    organ_levels_begin(&mine->levels, &p->levels);
    for (size_t from = 0; from < n; from += PART) {
        organ_moments part;
        const size_t count = organ_min(n - from, PART);
        scan_moments_of(s->kernels, s->as, element_at(strip->values, s->as, from), count, &part);
        organ_moments_merge(&f->moments, &part);
        organ_levels_add(&mine->levels, &p->levels, s->as, element_at(strip->values, s->as, from), count);
        if (strip->other)
            add_distance(&f->distance, element_at(strip->values, s->as, from), element_at(strip->other, s->as, from),
                         count);
    }
    organ_levels_unite(&mine->levels, &p->levels, s->as, s->kernels);
    find_rows(strip, s->as, f);
    if (p->dead_columns)
        find_columns(strip, s->as, f, p->dead_columns + strip->first / shape.rows * p->words);
    if (looks_for_jumps(weight))
        organ_jumps_strip(&f->jumps, s->kernels, s->as, strip->values, strip->first % shape.rows, strip->rows,
                          strip->cols, &mine->jumps, &f->edges);
    return ORGAN_OK;
}

/* ---- one weight ---- */

static void free_weight_scan(scanned_weight *p)
{
    if (!p)
        return;
    organ_level_union_end(&p->levels);
    free(p->dead_columns);
    free(p);
}

/* dead_columns stays NULL if the matrices have one row: their columns are not examined. `note` is a message of the
 * reader or NULL; the weight gets a copy. */
static organ_status admit_weight(void *context, size_t item, const char *note, organ_error *error)
{
    weight_scan *const s = context;
    organ_weight_stats *const v = s->chosen[item];
    const organ_matrices shape = organ_weight_matrices(v->weight);
    scanned_weight *const p = calloc(1, sizeof *p);
    v->moments = (organ_moments){.min = INFINITY, .max = -INFINITY};
    if (!p)
        return organ_fail_errno(error, ENOMEM, "tensor '%s'", v->weight->name);
    organ_level_union_begin(&p->levels);
    s->scanned[item] = p; /* from here on run_type frees it, also after an error */
    if (note && *note && !(v->note = strdup(note)))
        return organ_fail_errno(error, ENOMEM, "tensor '%s'", v->weight->name);
    if (shape.rows < 2)
        return ORGAN_OK;
    p->words = (shape.cols + 63) / 64;
    if (!(p->dead_columns = calloc(shape.count * p->words, sizeof *p->dead_columns)))
        return organ_fail_errno(error, ENOMEM, "tensor '%s'", v->weight->name);
    for (uint64_t m = 0; m < shape.count; m++)
        for (uint64_t c = 0; c < shape.cols; c++)
            p->dead_columns[m * p->words + c / 64] |= (uint64_t)1 << c % 64;
    return ORGAN_OK;
}

/* All rows are counted, but only the first ORGAN_WEIGHT_STATS_ROWS are listed. */
static void scan_add_rows(organ_faulty_rows *sum, const organ_faulty_rows *more)
{
    for (uint64_t k = 0; k < more->count && k < ORGAN_WEIGHT_STATS_ROWS && sum->count + k < ORGAN_WEIGHT_STATS_ROWS;
         k++)
        sum->row[sum->count + k] = more->row[k];
    if (more->count == 0)
        return;
    sum->first = sum->count ? sum->first : more->first;
    sum->last = more->last;
    sum->count += more->count;
}

static void finish_weight_scan(organ_weight_stats *v, scanned_weight *p)
{
    const organ_matrices shape = organ_weight_matrices(v->weight);
    for (uint64_t w = 0; p->dead_columns && w < shape.count * p->words; w++)
        v->dead_columns += (uint64_t)__builtin_popcountll(p->dead_columns[w]);
    v->levels = p->levels.set.count;
    v->kind = organ_level_kind_of(&p->levels.set);
    /* Lines are before every 16th row or column. */
    if (has_blocks(v->weight, /*rows=*/true))
        v->row_period =
            organ_jumps_period(p->jumps.rows, p->jumps.whole_rows, shape.count * (shape.rows / 16), &v->row_factor);
    if (has_blocks(v->weight, /*rows=*/false))
        v->column_period =
            organ_jumps_period(p->jumps.columns, p->jumps.whole_columns, shape.cols / 16, &v->column_factor);
}

/* Strips arrive in order, so the sums are the same for any number of threads. The last strip reports all remaining
 * bytes of the weight to the progress. */
static organ_status scan_retire_strip(void *context, const organ_weight_strip *strip, const void *result,
                                      organ_error *error)
{
    weight_scan *const s = context;
    organ_weight_stats *const v = s->chosen[strip->item];
    scanned_weight *const p = s->scanned[strip->item];
    const autopsy_scan_finding *const f = result;
    const uint64_t rows = organ_weight_matrices(v->weight).rows, row = strip->first % rows;
    (void)error;
    organ_moments_merge(&v->moments, &f->moments);
    scan_add_rows(&v->nonfinite_rows, &f->nonfinite_rows);
    scan_add_rows(&v->dead, &f->dead);
    add_distances(&v->distance, &f->distance);
    if (looks_for_jumps(v->weight)) {
        organ_jumps_add(&p->jumps, &f->jumps);
        if (row > 0)
            organ_jumps_join(&p->jumps, row, &p->edges, &f->edges);
        p->edges = f->edges;
    }
    const uint64_t all = organ_weight_stats_bytes(v);
    const uint64_t now =
        strip->last ? all
                    : (uint64_t)((double)all * ((double)(strip->rows * strip->cols) / (double)v->weight->elements));
    uint64_t step = p->read + now < all ? now : 0;
    if (strip->last)
        step = all - p->read;
    p->read += step;
    if (strip->last) {
        finish_weight_scan(v, p);
        free_weight_scan(p);
        s->scanned[strip->item] = NULL;
    }
    s->progress->advance(s->progress->context, step, strip->last ? v : NULL);
    return ORGAN_OK;
}

/* ---- a model ---- */

/* Values are read as BF16 or F16 if they are stored so and there is no counterpart to compare with, else as FP32. */
static organ_dtype type_of(const organ_weight_stats *v)
{
    const organ_dtype stored = v->weight->codes->dtype;
    const bool plain = v->weight->scheme == ORGAN_SCHEME_PLAIN && !v->other;
    return plain && (stored == ORGAN_BF16 || stored == ORGAN_F16) ? stored : ORGAN_F32;
}

/* Frees the states that remain after an error. */
static organ_status run_type(weight_scan *s, organ_weight_item *items, size_t count, const organ_model *model,
                             const organ_model *other, const organ_engine *engine, organ_error *error)
{
    const organ_weight_pass pass = {.model = model,
                                    .other_model = other,
                                    .items = items,
                                    .item_count = count,
                                    .as = s->as,
                                    .scratch_bytes = sizeof(scratch),
                                    .result_bytes = sizeof(autopsy_scan_finding),
                                    .context = s,
                                    .begin = admit_weight,
                                    .work = examine_strip,
                                    .retire = scan_retire_strip};
    organ_weight_pass_run(&pass, engine, error);
    for (size_t k = 0; k < count; k++)
        free_weight_scan(s->scanned[k]);
    return error->status;
}

/* Each type in which values are read has a pass of its own. */
static organ_status scan_own_weights(const organ_model *model, const organ_model *other, organ_weight_stats *stats,
                                     const organ_assignment *assignment, const organ_engine *engine,
                                     const organ_scan_progress *progress, organ_error *error)
{
    static const organ_dtype types[] = {ORGAN_BF16, ORGAN_F16, ORGAN_F32};
    weight_scan s = {.kernels = engine->kernels, .progress = progress};
    ORGAN_OWNED_ROWS organ_weight_item *items = organ_rows_take(assignment->count + 1, sizeof *items);
    s.chosen = calloc(assignment->count + 1, sizeof *s.chosen);
    s.scanned = organ_rows_take(assignment->count + 1, sizeof *s.scanned);
    if (!items || !s.chosen || !s.scanned)
        organ_fail_memory(error, model->path);
    for (size_t t = 0; t < sizeof types / sizeof *types && error->status == ORGAN_OK; t++) {
        size_t chosen = 0;
        s.as = types[t];
        for (size_t k = 0; k < assignment->count; k++)
            if (!stats[k].unread && organ_assignment_is_local(assignment, k) && type_of(&stats[k]) == s.as) {
                s.chosen[chosen] = &stats[k];
                s.scanned[chosen] = NULL;
                items[chosen++] = (organ_weight_item){.weight = stats[k].weight, .other = stats[k].other};
            }
        if (chosen > 0)
            run_type(&s, items, chosen, model, other, engine, error);
    }
    free(s.chosen);
    organ_rows_free(s.scanned);
    return error->status;
}

static uint64_t scan_bytes_of(const void *stats, size_t k)
{
    return organ_weight_stats_bytes((const organ_weight_stats *)stats + k);
}

static organ_status exchange_notes(organ_weight_stats *stats, const organ_assignment *assignment, organ_error *error)
{
    return organ_assignment_exchange(assignment, "gathering notes", &stats->note, sizeof *stats, NULL, NULL, error);
}

/* Notes are texts, which are exchanged separately. */
organ_status organ_weight_stats_compute(const organ_model *model, const organ_model *other, organ_weight_stats *stats,
                                        size_t count, const organ_engine *engine, const organ_scan_progress *progress,
                                        organ_error *error)
{
    organ_assignment assignment;
    if (organ_assignment_create(engine->ranks, count, scan_bytes_of, stats, &assignment, error) == ORGAN_OK)
        scan_own_weights(model, other, stats, &assignment, engine, progress, error);
    if (organ_assignment_complete(&assignment, "examining the weights", &stats->moments,
                                  sizeof *stats - offsetof(organ_weight_stats, moments), sizeof *stats,
                                  error) == ORGAN_OK &&
        engine->ranks)
        exchange_notes(stats, &assignment, error);
    organ_assignment_release(&assignment);
    return error->status;
}
