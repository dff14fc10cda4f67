/* SPDX-License-Identifier: MIT
 * Computes moments and bins of 16-bit floats from the counts of their codes. Sums are added in the numerical order of
 * codes, so that they do not depend on the order of reading. */
#include "orchestrator/surgery/measure/z_codes.h"

#include <math.h>

/* Codes with the same upper 8 bits, which are processed together. In most tensors no code of most pages occurs; such
 * pages are skipped. */
#define PAGE  256
#define PAGES (65536 / PAGE)

/* Type of organ_kernels.bf16_to_f32 and .f16_to_f32. */
typedef void widener(const uint16_t *, float *, size_t);

/* Sets `values` to the values of the PAGE codes of page `page`. counts[c]: number of occurrences of code c, for all
 * 65,536 codes. Returns false, without setting `values`, if no code of the page occurs. */
static bool open_page(const uint64_t *counts, widener *widen, unsigned page, float values[PAGE])
{
    uint16_t words[PAGE];
    uint64_t any = 0;
    for (unsigned k = 0; k < PAGE; k++) {
        any |= counts[page * PAGE + k];
        words[k] = (uint16_t)(page * PAGE + k);
    }
    if (any)
        widen(words, values, PAGE);
    return any > 0;
}

/* Adds a page to *m and *levels: numbers of values, their sum (in m->mean), minimum and maximum, and distinct values.
 * counts[k]: number of occurrences of values[k]. */
static void count_values(const uint64_t *counts, const float values[PAGE], organ_moments *m, uint32_t *levels)
{
    for (unsigned k = 0; k < PAGE; k++) {
        const float v = values[k] + 0.0f; /* -0 is +0 */
        const uint64_t n = counts[k];
        if (n == 0)
            continue;
        if (!isfinite(v)) {
            *(isnan(v) ? &m->nan : &m->inf) += n;
            continue;
        }
        m->n += n;
        m->zero += v == 0 ? n : 0;
        m->mean += (double)n * (double)v;
        m->min = v < m->min ? v : m->min;
        m->max = v > m->max ? v : m->max;
        *levels += 1;
    }
}

/* Adds the powers 2, 3 and 4 of the deviations of the values of a page from m->mean to m->m2, m3 and m4. counts[k]:
 * number of occurrences of values[k]. */
static void add_powers(const uint64_t *counts, const float values[PAGE], organ_moments *m)
{
    for (unsigned k = 0; k < PAGE; k++) {
        if (counts[k] == 0 || !isfinite(values[k]))
            continue;
        const double d = (double)values[k] - m->mean, square = d * d, n = (double)counts[k];
        m->m2 += n * square;
        m->m3 += n * (square * d);
        m->m4 += n * (square * square);
    }
}

/* Sets z->moments and z->levels in two passes over the codes: the mean, then the powers of the deviations from it. */
void organ_z_codes_moments(const uint64_t codes[65536], widener *widen, organ_z *z)
{
    organ_moments m = {.min = INFINITY, .max = -INFINITY};
    float values[PAGE];
    z->levels = 0;
    for (unsigned page = 0; page < PAGES; page++)
        if (open_page(codes, widen, page, values))
            count_values(codes + page * PAGE, values, &m, &z->levels);
    z->levels -= codes[0] > 0 && codes[0x8000] > 0; /* +0 and -0, codes 0 and 0x8000 in both types, are one level */
    m.mean = m.n > 0 ? m.mean / (double)m.n : 0;
    for (unsigned page = 0; page < PAGES; page++)
        if (open_page(codes, widen, page, values))
            add_powers(codes + page * PAGE, values, &m);
    z->moments = m;
}

/* Adds the counts of codes to the histogram `counts`. Bins are around the mean, ORGAN_Z_BINS_PER_STD to a standard
 * deviation; values beyond the first and the last bin are counted in these two bins. */
void organ_z_codes_bins(const uint64_t codes[65536], widener *widen, double mean, double std,
                        uint64_t counts[ORGAN_Z_BINS])
{
    const double per_bin = ORGAN_Z_BINS_PER_STD / std;
    float values[PAGE];
    for (unsigned page = 0; page < PAGES; page++) {
        if (!open_page(codes, widen, page, values))
            continue;
        for (unsigned k = 0; k < PAGE; k++) {
            const uint64_t n = codes[page * PAGE + k];
            const double place = n > 0 ? ((double)values[k] - mean) * per_bin : 0;
            const double within = fmin(fmax(place, -ORGAN_Z_BINS / 2), ORGAN_Z_BINS / 2 - 1);
            counts[(int)floor(within) + ORGAN_Z_BINS / 2] += n;
        }
    }
}
