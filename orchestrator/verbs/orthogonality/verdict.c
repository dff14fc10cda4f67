/* SPDX-License-Identifier: MIT
 * Sums over modules, their comparison with random matrices, and verdicts. */
#include "orchestrator/verbs/orthogonality/noise_parts.h"

#include "formats/base/plain_numbers.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/solve/algebra.h"

#include <math.h>
#include <string.h>

bool organ_is_compared(const organ_noise_comparison *c) { return c->square > 0 && c->change > 0; }

/* Rounding errors can make the quotient for parallel matrices exceed 1. */
double organ_compared_cosine(const organ_noise_comparison *c)
{
    return fmax(-1, fmin(1, c->dot / (sqrt(c->square) * sqrt(c->change))));
}

/* Let N and K be the matrices of the module and n = `elements`. The standard deviation of their cosine by chance is 1 /
 * sqrt(n). So |z| of the module is |cosine| sqrt(n), and the variance of <N, K> by chance is |N|^2 |K|^2 / n. */
void organ_noise_fold_add(organ_noise_fold *f, const organ_noise_comparison *c, uint64_t elements)
{
    f->modules++;
    f->elements += elements;
    f->change += c->change;
    f->square += c->square;
    if (!organ_is_compared(c))
        return;
    const double cosine = organ_compared_cosine(c);
    f->defined++;
    f->defined_change += c->change;
    f->defined_square += c->square;
    f->dot += c->dot;
    f->signs += c->signs;
    f->variance += c->square * c->change / (double)elements;
    f->largest = fmax(f->largest, fabs(cosine));
    if (fabs(cosine) * sqrt((double)elements) <= ORGAN_Z_LIMIT)
        return;
    f->beyond++;
    f->largest_beyond = fmax(f->largest_beyond, fabs(cosine));
}

static const char *percent_text(double share, char out[32])
{
    if (share < 0.0001)
        return "less than 0.01 %";
    organ_snprintf(out, 32, share < 0.1 ? "%.2g %%" : "%.3g %%", 100 * share);
    return out;
}

typedef struct verdict_reading {
    /* cosine of all modules joined to one matrix, its standard deviation by chance, and the quotient of both */
    double cosine, chance, z;
    size_t allowed; /* number of modules that may have |z| above ORGAN_Z_LIMIT by chance (organ_chance_beyond) */
    bool by_chance; /* chance explains the cosines of the modules and of the joined matrix */
    bool tiny;      /* the cosines that chance does not explain are at most ORGAN_SMALL_COSINE */
} verdict_reading;

static verdict_reading read_cosine(const organ_noise_fold *f)
{
    verdict_reading r = {.allowed = organ_chance_beyond((size_t)f->defined)};
    const double norms = sqrt(f->defined_square) * sqrt(f->defined_change);
    r.cosine = norms > 0 ? f->dot / norms : 0;
    r.chance = norms > 0 ? sqrt(f->variance) / norms : 0;
    r.z = r.chance > 0 ? r.cosine / r.chance : 0;
    r.by_chance = f->beyond <= r.allowed && fabs(r.z) <= ORGAN_Z_LIMIT;
    r.tiny = f->largest_beyond <= ORGAN_SMALL_COSINE && fabs(r.cosine) <= ORGAN_SMALL_COSINE;
    return r;
}

static const char *direction_of(const verdict_reading *r)
{
    if (fabs(r->z) <= ORGAN_Z_LIMIT)
        return "Single modules are correlated with N, all of them together are not.";
    if (r->cosine >= 0)
        return "The adapter is correlated with N: it restores part of what quantisation removed, like an adapter "
               "trained on the noisy model (Method B).";
    return "The adapter is anti-correlated with N: it adds to the quantisation error.";
}

static json_t *z_sentence(const organ_noise_fold *f, const verdict_reading *r)
{
    char signs[64] = "";
    if (f->signs > 0)
        organ_snprintf(signs, sizeof signs, " (%.2f if only the signs of N are random)", f->dot / sqrt(f->signs));
    return organ_json_sprintf("|z| <= 3 in %llu of %llu modules (by chance up to %zu may exceed 3), z of all modules "
                              "joined to one matrix %.2f%s, "
                              "largest |cosine| %.4f.",
                              (unsigned long long)(f->defined - f->beyond), (unsigned long long)f->defined, r->allowed,
                              r->z, signs, f->largest);
}

static const char *cosine_words(const organ_noise_fold *f, json_t *sentences)
{
    const verdict_reading r = read_cosine(f);
    const char *level = NULL;
    char energy[32];
    if (f->defined == 0) {
        organ_say(sentences, "There is no cosine: the noise is zero wherever the adapter changes a weight, or the "
                             "adapter changes nothing.");
        return "undefined";
    }
    if (r.by_chance) {
        level = "orthogonal";
        organ_say(sentences,
                  "Orthogonal: the directions of noise and adapter are as unrelated as those of random matrices.");
    } else if (r.tiny) {
        level = "nearly orthogonal";
        organ_say(sentences, "%s",
                  "Nearly orthogonal: more related than chance explains, but no |cosine| exceeds 0.03, which is 0.1 % "
                  "of the energy.");
    } else {
        level = "not orthogonal";
        organ_say(
            sentences,
            "Not orthogonal: overall cosine %.4f, against about %.2g by chance; a multiple of K explains %s of the "
            "energy of N. %s",
            r.cosine, r.chance, percent_text(r.cosine * r.cosine, energy), direction_of(&r));
    }
    json_array_append_new(sentences, z_sentence(f, &r));
    return level;
}

/* U are the k left singular vectors of K, its output directions. The leakage is the norm of the part of N in their
 * span, relative to |N|. Random noise has the share k / m of its energy there, with m the number of output
 * dimensions. Only modules with noise and 0 < k < m count, because with k = m the leakage is always 1. */
static const char *leakage_words(const organ_noise_fold *f, json_t *sentences)
{
    if (f->informative == 0 || !(f->inside_expected > 0)) {
        organ_say(sentences, "Leakage is not informative here: there is no noise, or the adapter's directions span the "
                             "whole output space.");
        return "undefined";
    }
    char energy[32];
    const double share = f->inside / f->inside_base, over = sqrt(f->inside / f->inside_expected);
    const char *level = "isotropic";
    if (over > 1 + ORGAN_LEAKAGE_ROOM)
        level = "more than isotropic";
    else if (over < 1 - ORGAN_LEAKAGE_ROOM)
        level = "less than isotropic";
    organ_say(
        sentences,
        "Leakage into the adapter's output directions is %.4f, %.2f x that of noise without direction (%s 10 %%): an "
        "adapter with these output directions and any other A could remove at most %s of the noise's energy.",
        sqrt(share), over, fabs(over - 1) <= ORGAN_LEAKAGE_ROOM ? "within" : "beyond", percent_text(share, energy));
    return level;
}

/* The target is the clean model with the adapter, W_clean + K. The difference from the target is N + K for the noisy
 * model alone and N for the noisy model with the adapter: the squared distance falls from |N|^2 + |K|^2 + 2 <N, K>
 * to |N|^2. */
static const char *ratio_words(const organ_noise_fold *f, json_t *sentences)
{
    if (!(f->change > 0) || !(f->square > 0)) {
        json_array_append_new(
            sentences, json_string(f->change > 0 ? "There is no noise: both models have equal values in these modules."
                                                 : "The adapter changes nothing."));
        return "undefined";
    }
    char energy[32];
    const double ratio = sqrt(f->square / f->change), before = f->square + f->change + 2 * f->dot;
    const char *level = "noise like adapter", *words = "of the order of";
    if (ratio <= ORGAN_SMALL_RATIO) {
        level = "noise below adapter";
        words = "smaller than";
    } else if (ratio >= ORGAN_LARGE_RATIO) {
        level = "noise above adapter";
        words = "larger than";
    }
    organ_say(sentences, "The noise is %s the adapter's change: |N| / |K| = %.3g.", words, ratio);
    const verdict_reading r = read_cosine(f);
    if (!r.by_chance && !r.tiny && r.cosine > 0)
        organ_say(sentences, "An adapter trained on the noisy model (Method B) has another target than the clean model "
                             "with the adapter; its own residual measures its error, not these figures.");
    else if (before > 0)
        organ_say(sentences,
                  "Applied to the noisy model (Method A), the adapter %s %s of the squared distance to the "
                  "clean model with the adapter. That is a distance of weights, not of answers.",
                  f->square <= before ? "removes" : "adds", percent_text(fabs(1 - f->square / before), energy));
    return level;
}

json_t *organ_noise_verdict(const organ_noise_fold *all)
{
    json_t *sentences = json_array();
    const char *const cosine = cosine_words(all, sentences), *const leakage = leakage_words(all, sentences),
                      *const ratio = ratio_words(all, sentences);
    return ORGAN_OBJECT(SET_TEXT("direction", cosine), SET_TEXT("leakage", leakage), SET_TEXT("magnitude", ratio),
                        SET_COUNT("beyond_allowed", organ_chance_beyond((size_t)all->defined)),
                        SET("sentences", sentences));
}

json_t *organ_agreement_verdict(const organ_noise_fold *all)
{
    const verdict_reading r = read_cosine(all);
    json_t *sentences = json_array();
    const char *level = "unrelated";
    if (all->defined == 0) {
        level = "undefined";
        organ_say(sentences, "The noises cannot be compared: one of them is zero.");
    } else {
        char energy[32];
        if (!r.by_chance)
            level = fabs(r.cosine) < ORGAN_MUCH_AGREEMENT ? "related" : "alike";
        if (!r.by_chance && r.tiny)
            level = "hardly related";
        organ_say(sentences,
                  "The two noises are %s: overall cosine %.4f, against about %.2g by chance; a "
                  "multiple of one explains %s of the energy of the other.",
                  level, r.cosine, r.chance, percent_text(r.cosine * r.cosine, energy));
        json_array_append_new(sentences, z_sentence(all, &r));
        organ_say(sentences, "The second noise is %.3g x as large as the first.",
                  sqrt(all->defined_change / all->defined_square));
    }
    return ORGAN_OBJECT(SET_TEXT("level", level), SET("sentences", sentences));
}

void organ_stored_as(const organ_weight *const *first, size_t stride, size_t count, char out[160])
{
    char text[128], other[128];
    bool mixed = false;
    organ_weight_text(*first, text, sizeof text);
    for (size_t k = 1; k < count; k++) {
        const organ_weight *const next = *(const organ_weight *const *)(const void *)((const char *)first + k * stride);
        mixed = mixed || strcmp(organ_weight_text(next, other, sizeof other), text) != 0;
    }
    organ_snprintf(out, 160, "%s%s", text, mixed ? " and others" : "");
}

/* ---- folds ---- */

/* Makes the report's rows that sum several modules: the modules of a projection, of a layer, or of a projection in one
 * layer. A fold is the struct with these sums (organ_compared_fold). Also makes members that organ.orthogonality/1 and
 * organ.noise_pairs/1 have in common. */

/* This value of fold_selection.row selects modules regardless of their projection. */
enum { ALL_ROWS = ORGAN_ANATOMY_ROWS };

/* The selected modules are those of job->modules[from] to job->modules[to - 1] for which fold_row_of returns `row`,
 * or all of them if `row` is ALL_ROWS. */
typedef struct fold_selection {
    size_t from, to;
    unsigned row;
} fold_selection;

/* The numbers are those of organ_anatomy_row, which are 3 times the role for dense matrices, plus 1 or 2 for routed
 * and shared experts. A report of two pairs does not separate these three kinds and uses the numbers of dense
 * matrices. */
static unsigned fold_row_of(const organ_compared_job *job, const organ_compared_module *m)
{
    return job->pairs ? 3 * (unsigned)m->anatomy->role : organ_anatomy_row(m->anatomy);
}

static organ_compared_fold fold_modules(const organ_compared_folding *g, fold_selection of)
{
    organ_compared_fold f = {0};
    for (size_t k = of.from; k < of.to; k++)
        if (of.row == ALL_ROWS || fold_row_of(g->job, &g->job->modules[k]) == of.row)
            g->add(&f, &g->job->modules[k], g->which);
    return f;
}

organ_compared_fold organ_compared_fold_all(const organ_compared_folding *g)
{
    return fold_modules(g, (fold_selection){0, g->job->count, ALL_ROWS});
}

static void append_fold(const organ_compared_folding *g, fold_selection of, const int32_t *layer, json_t *rows)
{
    const organ_compared_fold f = fold_modules(g, of);
    const bool named = of.row != ALL_ROWS;
    if (f.noises.modules)
        json_array_append_new(
            rows, g->json(ORGAN_OBJECT(SET_IF(named, "projection", json_string(organ_anatomy_row_name(of.row))),
                                       SET_IF(layer, "layer", organ_json_index(*layer))),
                          &f, g->which));
}

json_t *organ_compared_projections_json(const organ_compared_folding *g)
{
    json_t *const rows = json_array();
    for (unsigned row = 0; row < ORGAN_ANATOMY_ROWS; row++)
        append_fold(g, (fold_selection){0, g->job->count, row}, /*layer=*/NULL, rows);
    return rows;
}

/* The modules of a layer are a range of job->modules, which is ordered by layer. */
json_t *organ_compared_layers_json(const organ_compared_folding *g, bool places)
{
    const organ_compared_job *const job = g->job;
    json_t *const rows = json_array();
    for (size_t from = 0, to = 0; from < job->count; from = to) {
        const int32_t layer = job->modules[from].anatomy->layer;
        while (to < job->count && job->modules[to].anatomy->layer == layer)
            to++;
        for (unsigned row = places ? 0 : ALL_ROWS; row < ALL_ROWS + (unsigned)!places; row++)
            append_fold(g, (fold_selection){from, to, row}, &layer, rows);
    }
    return rows;
}

/* "z" is <N, K> divided by its standard deviation for a random N; "z_signs" divides by the standard deviation for
 * random signs of N instead. */
void organ_compared_add_cosine(json_t *row, const organ_noise_fold *f, bool signs)
{
    const double norms = sqrt(f->defined_square) * sqrt(f->defined_change);
    const bool any = norms > 0;
    ORGAN_ADD(row, SET_REAL_OF("cosine", any, f->dot / norms),
              SET_REAL_OF("chance_std", any, sqrt(f->variance) / norms),
              SET_REAL_OF("z", any, f->dot / sqrt(f->variance)),
              SET_IF(signs, "z_signs", organ_json_real_of(any && f->signs > 0, f->dot / sqrt(f->signs))),
              SET_COUNT("beyond", f->beyond), SET_COUNT("with_cosine", f->defined));
}

/* ---- parts of both reports ---- */

/* "std_exact" is the theoretical standard deviation, 1 / sqrt(rows x cols). */
json_t *organ_compared_chance_json(const organ_compared_job *job, const organ_compared_module *m)
{
    return ORGAN_OBJECT(SET_COUNT("draws", job->draws), SET_REAL("mean", m->drawn_mean), SET_REAL("std", m->drawn_std),
                        SET_REAL("std_exact", 1 / sqrt((double)m->rows * (double)m->cols)));
}

static const organ_weight *compared_weight(const void *job, size_t k)
{
    return ((const organ_compared_job *)job)->modules[k].weight[0];
}

json_t *organ_compared_matrices_json(const organ_compared_job *job)
{
    return organ_matrices_among(job->weights[0], job->count, compared_weight, job);
}

json_t *organ_compared_run_json(const organ_compared_job *job, json_t *inputs)
{
    return organ_json_joined(inputs, ORGAN_OBJECT(SET_BYTES_OF("output", job->output),
                                                  SET_REAL("seconds", organ_rounded_seconds(job->seconds)),
                                                  SET_COUNT("bytes_read", job->bytes), SET_ENGINE(job->engine)));
}

/* ---- random matrices ---- */

/* gamma_at rejects fewer than one try in 20, so 64 rejections in a row do not occur in practice; it would then
 * return shape - 1/3. */
enum { TRIES = 64 };

/* Normal numbers use the even streams of the generator and uniform numbers the odd streams, so that both are
 * independent. */
static double normal_at(uint64_t seed, uint64_t stream, uint64_t at)
{
    float value;
    organ_philox_normal(seed, 2 * stream, at, &value, 1);
    return (double)value;
}

/* organ_philox_uniform returns multiples of 2^-23 from -1 on, which become multiples of 2^-24 from 0 on. Adding
 * 2^-25, half of such a step, excludes 0, whose logarithm gamma_at would need. */
static double uniform_at(uint64_t seed, uint64_t stream, uint64_t at)
{
    float value;
    organ_philox_uniform(seed, 2 * stream + 1, at, &value, 1);
    return ((double)value + 1) / 2 + 0x1p-25;
}

/* The method is that of Marsaglia and Tsang (2000), with scale 1 and a `shape` of at least 1. Try k, from 0 to TRIES
 * - 1, uses the normal and the uniform number `at` + k of the stream. */
static double gamma_at(uint64_t seed, uint64_t stream, uint64_t at, double shape)
{
    const double d = shape - 1.0 / 3, c = 1 / sqrt(9 * d); /* the names of the paper */
    double v = 1;
    for (uint64_t k = 0; k < TRIES; k++) {
        const double x = normal_at(seed, stream, at + k), u = uniform_at(seed, stream, at + k);
        v = 1 + c * x;
        v = v * v * v;
        if (v > 0 && log(u) < 0.5 * x * x + d - d * v + d * log(v))
            break;
        v = 1;
    }
    return d * v;
}

/* The result is 0 if `degrees` is below 1. Numbers `at` to `at` + TRIES of the stream are used. */
static double chi_square_at(uint64_t seed, uint64_t stream, uint64_t at, double degrees)
{
    if (degrees < 1)
        return 0;
    /* gamma_at needs a shape of 1 or more; Gamma(a) is distributed like Gamma(a + 1) times u^(1/a). */
    const double shape = degrees / 2, boost = shape < 1 ? pow(uniform_at(seed, stream, at + TRIES), 1 / shape) : 1;
    return 2 * boost * gamma_at(seed, stream, at, shape < 1 ? shape + 1 : shape);
}

/* The cosine depends on two properties of the random vector: its component parallel to the fixed vector, which is a
 * normal number g, and the squared length `rest` of its remainder, which has the chi-square distribution with
 * elements - 1 degrees of freedom. So two numbers are drawn instead of a vector, and the result is g / sqrt(g^2 +
 * rest). */
double organ_chance_cosine(uint64_t seed, uint64_t stream, uint64_t draw, uint64_t elements)
{
    enum { NUMBERS = 128 }; /* of each draw: the first are those of chi_square_at, the last is that of normal_at */
    const uint64_t at = draw * NUMBERS;
    const double g = normal_at(seed, stream, at + NUMBERS - 1),
                 rest = chi_square_at(seed, stream, at, (double)(elements - 1));
    const double square = g * g + rest;
    return square > 0 ? g / sqrt(square) : 0;
}

void organ_chance_baseline(uint64_t seed, uint64_t stream, unsigned draws, uint64_t elements, double *mean, double *std)
{
    double middle = 0, squares = 0; /* mean and sum of squared deviations, by Welford's recurrence */
    for (unsigned k = 0; k < draws; k++) {
        const double cosine = organ_chance_cosine(seed, stream, k, elements), off = cosine - middle;
        middle += off / (k + 1);
        squares += off * (cosine - middle);
    }
    *mean = middle;
    *std = sqrt(squares / (draws - 1));
}

/* The variance of Beta(a, b) is p (1 - p) / (a + b + 1), with p = a / (a + b) = k / m and a + b = m n / 2. */
double organ_chance_share_std(double k, double m, double n) { return sqrt(2 * (k / m) * (1 - k / m) / (m * n + 2)); }

/* The terms of the binomial distribution are added until their sum reaches 0.99. */
size_t organ_chance_beyond(size_t count)
{
    const double p = 0.0026997960632601866, n = (double)count; /* p: probability of a normal value beyond 3 */
    double term = exp(n * log1p(-p)), below = term;
    size_t allowed = 0;
    /* The sum reaches 1 at allowed = count, up to rounding: the second condition ends the loop if it stays below. */
    while (below < 0.99 && allowed < count) {
        term *= (n - (double)allowed) / ((double)allowed + 1) * p / (1 - p);
        below += term;
        allowed++;
    }
    return allowed;
}
