/* SPDX-License-Identifier: MIT
 * Makes the verdict of a comparison of two pairs: sentences and levels for the figures, by the limits in noise_job.h
 * and noise_pairs_job.h. */
#include "formats/base/plain_numbers.h"
#include "orchestrator/surgery/orthogonality/noise_pairs_job.h"

#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/facts/facts.h"

#include <math.h>
#include <stdio.h>

/* Returns the verdict on the premise of Method A, that N_A and N_B are equal and cancel. Let q be |N_A - N_B| / |N_A|.
 * "undefined": a noise is zero. "holds": q is at most ORGAN_ASSUMPTION_HOLDS. "holds in part": q is below 1 and
 * `noises`, the level of agreement from organ_agreement_verdict, is "alike" or "related". Otherwise "does not hold". */
static const char *assumption_of(const organ_pair_sums *s, const char *noises)
{
    const double left = s->noise_difference / s->noise[0]; /* q^2 */
    if (!(s->noise[0] > 0) || !(s->noise[1] > 0))
        return "undefined";
    if (left <= ORGAN_ASSUMPTION_HOLDS * ORGAN_ASSUMPTION_HOLDS)
        return "holds";
    return left < 1 && (*noises == 'a' || *noises == 'r') ? "holds in part" : "does not hold"; /* alike or related */
}

/* Appends to `to` the sentence on the premise of Method A. `assumption` is the result of assumption_of; if it is
 * "undefined", the sentence says that the premise cannot be tested. */
static void add_premise_sentence(json_t *to, const organ_pair_sums *s, const char *assumption)
{
    if (*assumption == 'u') { /* undefined */
        organ_say(to, "The premise of Method A, that both noises are equal and cancel, cannot be tested: at least one "
                      "pair has no noise.");
        return;
    }
    organ_say(
        to,
        "The premise of Method A, that both noises are equal and cancel, %s: |N_A - N_B| / |N_A| = %.4g, which is 0 "
        "for equal noises and 1.41 for unrelated ones of equal norm. Of the energy of both noises %.2f %% cancels.",
        assumption, sqrt(s->noise_difference / s->noise[0]),
        100 * (1 - s->noise_difference / (s->noise[0] + s->noise[1])));
}

/* Appends to `to` the sentence that `same` modules were left out and that the figures are those of the other
 * `differing` modules. Does nothing if `same` is 0. */
static void add_same_sentence(json_t *to, uint64_t differing, uint64_t same)
{
    if (same > 0)
        organ_say(to,
                  "In %llu of %llu modules both clean models have equal values, so equal noises are trivial there: "
                  "these figures cover the other %llu.",
                  (unsigned long long)same, (unsigned long long)(differing + same), (unsigned long long)differing);
}

/* Appends to `to` the sentence on the multiple of N_A that approximates N_B best in least squares, and on the share of
 * |N_B|^2 that this multiple explains. Does nothing if a noise is zero. */
static void add_factor_sentence(json_t *to, const organ_pair_sums *s)
{
    if (!(s->noise[0] > 0) || !(s->noise[1] > 0))
        return;
    const double factor = s->between / s->noise[0], explained = fmin(1, factor * (s->between / s->noise[1]));
    const double size = sqrt(s->noise[1] / s->noise[0]);
    /* the noises have a common direction, but norms that differ by more than ORGAN_FACTOR_ROOM */
    const bool scaled = explained >= ORGAN_MUCH_AGREEMENT * ORGAN_MUCH_AGREEMENT && fabs(size - 1) > ORGAN_FACTOR_ROOM;
    organ_say(to, "The multiple of N_A nearest to N_B is %.4g N_A, which explains %.4g %% of its energy (R^2 %.4g).%s",
              factor, 100 * explained, explained,
              scaled ? " The noises have a common direction but different norms: N_A itself cancels less than this "
                       "multiple of it would."
                     : "");
}

/* Appends to `to` the sentences that compare the norms of N_A, N_B and N_A - N_B with that of the change D. `kind` is
 * the kind of D. If D is zero, appends only a sentence that says so. */
static void add_change_sentences(json_t *to, const organ_compared_fold *f, organ_pair_change kind)
{
    static const char *const names[] = {"the difference of the clean models of B and A",
                                        "the difference of the tuned model and the clean model of A",
                                        "the adapter's change"};
    const organ_pair_sums *const s = &f->sums;
    if (!(s->change > 0)) {
        organ_say(to, "The change, %s, is zero in these modules: there is no signal to compare the noises with.",
                  names[kind]);
        return;
    }
    organ_say(to, "Relative to the change D, %s: |N_A| / |D| = %.3g, |N_B| / |D| = %.3g, |N_A - N_B| / |D| = %.3g.",
              names[kind], sqrt(s->noise[0] / s->change), sqrt(s->noise[1] / s->change),
              sqrt(s->noise_difference / s->change));
    const double taken = /* |D + N_A - N_B|^2 */
        s->change + s->noise_difference + 2 * s->noise_difference_with_change;
    if (kind == ORGAN_CHANGE_BETWEEN && taken > 0)
        organ_say(to,
                  "The noisy models of B and A differ by D + N_A - N_B; the energy of N_A - N_B is %.3g %% of that of "
                  "D. An adapter extracted from the two noisy models approximates this difference.",
                  100 * s->noise_difference / s->change);
    if (s->noise[1] > 0)
        organ_say(to,
                  "Method A, D applied to the noisy model of A, differs from the clean target by N_A. It differs from "
                  "the noisy model of B by N_A - N_B, which is %.3g x |N_B|.",
                  sqrt(s->noise_difference / s->noise[1]));
}

/* Appends to `to` the sentence with the cosines of N_A, N_B and N_A - N_B with D: "N_A 0.0012 (z 0.5), ..." Leaves out
 * cosines that are not defined; appends nothing if none is defined. */
static void add_direction_sentence(json_t *to, const organ_compared_fold *f)
{
    static const char *const names[] = {"N_A", "N_B", "N_A - N_B"};
    char text[256] = "";
    size_t used = 0;
    for (size_t k = 0; k < 3; k++) {
        const organ_noise_fold *const a = &f->with_change[k];
        const double norms = sqrt(a->defined_square) * sqrt(a->defined_change);
        if (norms > 0)
            used += (size_t)organ_snprintf(text + used, sizeof text - used, "%s%s %.4f (z %.1f)", used ? ", " : "",
                                           names[k], a->dot / norms, a->dot / sqrt(a->variance));
    }
    if (used)
        organ_say(to, "Cosine with the change: %s; |z| up to 3 is typical of random matrices.", text);
}

/* Returns part / whole, or null if `whole` is 0. */
static json_t *quotient_json(double part, double whole) { return whole > 0 ? json_real(part / whole) : json_null(); }

/* Returns the verdict on the modules whose sums are `all`: levels, the figures that the sentences quote, and the
 * sentences. `same` is the number of modules that `all` leaves out; `change` is the kind of D. */
json_t *organ_pairs_verdict(const organ_compared_fold *all, uint64_t same, organ_pair_change change)
{
    json_t *sentences = json_array(), *agreement = organ_agreement_verdict(&all->noises);
    const char *const level = json_string_value(json_object_get(agreement, "level")), *const noises =
                                                                                          level ? level : "undefined";
    const char *const assumption = assumption_of(&all->sums, noises);
    add_premise_sentence(sentences, &all->sums, assumption);
    add_same_sentence(sentences, all->noises.modules, same);
    json_array_extend(sentences, json_object_get(agreement, "sentences"));
    add_factor_sentence(sentences, &all->sums);
    add_change_sentences(sentences, all, change);
    add_direction_sentence(sentences, all);
    const organ_pair_sums *const sums = &all->sums;
    json_t *const verdict =
        ORGAN_OBJECT(SET_TEXT("premise", assumption), SET_TEXT("noises", noises),
                     SET_COUNT("modules", all->noises.modules), SET_COUNT("same_modules", same),
                     SET("cosine", quotient_json(sums->between, sqrt(sums->noise[0]) * sqrt(sums->noise[1]))),
                     SET("remains_to_noise_a", quotient_json(sqrt(sums->noise_difference), sqrt(sums->noise[0]))),
                     SET("remains_to_change", quotient_json(sqrt(sums->noise_difference), sqrt(sums->change))),
                     SET("sentences", sentences));
    json_decref(agreement);
    return verdict;
}
