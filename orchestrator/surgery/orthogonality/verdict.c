/* SPDX-License-Identifier: MIT
 * Makes the verdicts of a comparison: sentences and levels for the figures, by the limits in noise_job.h. */
#include "formats/base/plain_numbers.h"
#include "orchestrator/surgery/orthogonality/chance.h"
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/orthogonality/noise_job.h"
#include "orchestrator/surgery/facts/facts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

bool organ_is_compared(const organ_noise_comparison *c) { return c->square > 0 && c->change > 0; }

/* Returns the cosine of the compared matrices, limited to -1 .. 1, because rounding errors can make the quotient for
 * parallel matrices exceed 1. */
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

/* Returns a share as a percentage: "3.9 %", or "less than 0.01 %" if it is below 0.0001. `out`: room for the text. */
static const char *percent_text(double share, char out[32])
{
    if (share < 0.0001)
        return "less than 0.01 %";
    organ_snprintf(out, 32, share < 0.1 ? "%.2g %%" : "%.3g %%", 100 * share);
    return out;
}

/* The cosine of a fold, and whether chance explains it. */
typedef struct verdict_reading {
    /* cosine of all modules joined to one matrix, its standard deviation by chance, and the quotient of both */
    double cosine, chance, z;
    size_t allowed; /* number of modules that may have |z| above ORGAN_Z_LIMIT by chance (organ_chance_beyond) */
    bool by_chance; /* chance explains the cosines of the modules and of the joined matrix */
    bool tiny;      /* the cosines that chance does not explain are at most ORGAN_SMALL_COSINE */
} verdict_reading;

/* Returns the cosine of the fold and its comparison with chance. */
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

/* Returns the sentence that interprets a cosine of N and K that chance does not explain. */
static const char *direction_of(const verdict_reading *r)
{
    if (fabs(r->z) <= ORGAN_Z_LIMIT)
        return "Single modules are correlated with N, all of them together are not.";
    if (r->cosine >= 0)
        return "The adapter is correlated with N: it restores part of what quantisation removed, like an adapter "
               "trained on the noisy model (Method B).";
    return "The adapter is anti-correlated with N: it adds to the quantisation error.";
}

/* Returns the sentence with the figures on which the verdict on the cosine is based. */
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

/* Returns the level of the cosine of N and K, a value of "direction" in the report, and appends the sentences that
 * explain it. */
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

/* Returns the level of the leakage, the word "leakage" of the verdict, and appends the sentence that explains it. U are
 * the k left singular vectors of K, its output directions. The leakage is the norm of the part of N in their span,
 * relative to |N|. Random noise has the share k / m of its energy there, with m the number of output dimensions. Only
 * modules with noise and 0 < k < m count, because with k = m the leakage is always 1. If there is no such module, the
 * level is "undefined". */
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

/* Returns the level of |N| / |K|, a value of "magnitude" in the report, and appends the sentences that explain it. The
 * target is the clean model with the adapter, W_clean + K. The difference from the target is N + K for the noisy model
 * alone and N for the noisy model with the adapter: the squared distance falls from |N|^2 + |K|^2 + 2 <N, K> to
 * |N|^2. */
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

/* The member "beyond_allowed" is the number of modules whose |z| may exceed the limit by chance. */
json_t *organ_noise_verdict(const organ_noise_fold *all)
{
    json_t *sentences = json_array();
    const char *const cosine = cosine_words(all, sentences), *const leakage = leakage_words(all, sentences),
                      *const ratio = ratio_words(all, sentences);
    return ORGAN_OBJECT(SET_TEXT("direction", cosine), SET_TEXT("leakage", leakage), SET_TEXT("magnitude", ratio),
                        SET_COUNT("beyond_allowed", organ_chance_beyond((size_t)all->defined)),
                        SET("sentences", sentences));
}

/* Returns a level and sentences for the agreement of two noises. `all` is the fold of N_1 with N_2. */
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

/* Writes to `out` how the first weight is stored, followed by " and others" if another weight is stored differently.
 * `first` is the address of the first of `count` pointers to weights, which are `stride` bytes apart. */
void organ_stored_as(const organ_weight *const *first, size_t stride, size_t count, char out[160])
{
    char text[128], other[128];
    bool mixed = false;
    organ_weight_text(*first, text, sizeof text);
    for (size_t k = 1; k < count; k++) {
        const organ_weight *const next = *(const organ_weight *const *)(const void *)((const char *)first + k * stride);
        mixed = mixed || strcmp(organ_weight_text(next, other, sizeof other), text) != 0;
    }
    snprintf(out, 160, "%s%s", text, mixed ? " and others" : "");
}
