/* SPDX-License-Identifier: MIT
 * The filter by fft: the spectrum of a row of any length, in FP64, and its inverse. */
#include "orchestrator/verbs/purify/purify_parts.h"

#include "orchestrator/machine/quantity.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* ---- the transform: definition purify-fft/2 in docs/definitions/noise.md ---- */

/* The parts of a complex number are (re, im). Only + - * on them, division, and fma in unit_turn are used; so all
 * machines agree. */
typedef double pair __attribute__((vector_size(16)));

enum { MAX_STEPS = 32, MAX_PRIME = 64 };

struct organ_fft {
    size_t n, m;               /* values of a row; length of the complex transform: n / 2, or n if that is odd */
    size_t steps, padded;      /* padded: with a prime factor above MAX_PRIME the length of `padding`, else 0 */
    unsigned radix[MAX_STEPS]; /* their product is m, if padded is 0 */
    pair *turns;               /* exp(-pi i k / m), k < 2 m */
    struct organ_fft *padding; /* transform of `padded` complex numbers */
    pair *filter;              /* its spectrum of exp(pi i k^2 / m), divided by its length */
};

static pair times_i(pair a) { return __builtin_shufflevector(a, -a, 3, 0); }
static pair conjugate(pair a) { return (pair){a[0], -a[1]}; }
static pair product(pair a, pair b) { return a * b[0] + times_i(a) * b[1]; }

/* exp(-2 pi i k / n) for k < n is nearly always rounded to nearest: the angle is reduced to an eighth of a turn in
 * integers and has a second part `low`; sine and cosine are Taylor's series. */
static pair unit_turn(size_t k, size_t n)
{
    const size_t eighth = 8 * k / n, rest = 8 * k % n;
    const double part = (double)(eighth % 2 ? n - rest : rest), whole = (double)n, share = part / whole;
    const double x = share * M_PI_4, square = x * x; /* 0x1.1a6...p-55: pi / 4 - M_PI_4 */
    const double low =
        fma(share, M_PI_4, -x) + share * 0x1.1a62633145c07p-55 + fma(-share, whole, part) / whole * M_PI_4;
    double sine = 1, cosine = 1;
    for (int j = 21; j > 3; j -= 2)
        sine = 1 - sine * square / (j * (j - 1));
    for (int j = 20; j > 2; j -= 2)
        cosine = 1 - cosine * square / (j * (j - 1));
    sine = x - (x * (sine * square / 6) - low);
    cosine = 1 - (cosine * square / 2 + x * low);
    const bool swap = (eighth + 1) / 2 % 2;
    const double re = swap ? sine : cosine, im = swap ? cosine : sine;
    return (pair){eighth >= 2 && eighth < 6 ? -re : re, eighth < 4 ? -im : im};
}

/* The factors of m > 0 are 4, 2 and odd primes up to MAX_PRIME. Returns the rest, 1 if there is none; with a rest
 * f->steps is 0. */
static size_t find_factors(size_t m, organ_fft *f)
{
    size_t count = 0, radix = 2;
    for (; m % 4 == 0; m /= 4)
        f->radix[count++] = 4;
    while (m > 1 && radix <= MAX_PRIME)
        if (m % radix == 0) {
            f->radix[count++] = (unsigned)radix;
            m /= radix;
        } else
            radix += radix == 2 ? 1 : 2;
    f->steps = m == 1 ? count : 0;
    return m;
}

/* Returns the length of organ_fft.padding: the smallest power of two that holds the convolution of length m (Bluestein
 * 1970); 0 if none is needed. */
static size_t padded_length(size_t m)
{
    size_t length = 1;
    if (find_factors(m, &(organ_fft){0}) == 1)
        return 0;
    while (length < 2 * m - 1)
        length *= 2;
    return length;
}

/* The steps of radix 4 and 2 are those of Stockham's method, whose results are in their order. x has s sequences of
 * length 4 m or 2 m, interleaved; y gets 4 s or 2 s of length m. w[k unit] = exp(-2 pi i k / length). */
static void step_by_4(const pair *restrict x, pair *restrict y, size_t m, size_t s, const pair *w, size_t unit)
{
    for (size_t k = 0; k < m; k++, x += s, y += 4 * s) {
        const pair w1 = w[k * unit], w2 = w[2 * k * unit], w3 = w[3 * k * unit];
        for (size_t q = 0; q < s; q++) {
            const pair a = x[q], b = x[q + s * m], c = x[q + 2 * s * m], d = x[q + 3 * s * m];
            const pair turned = times_i(b - d);
            y[q] = a + c + (b + d);
            y[q + s] = product(a - c - turned, w1);
            y[q + 2 * s] = product(a + c - (b + d), w2);
            y[q + 3 * s] = product(a - c + turned, w3);
        }
    }
}

static void step_by_2(const pair *restrict x, pair *restrict y, size_t m, size_t s, const pair *w, size_t unit)
{
    for (size_t k = 0; k < m; k++, x += s, y += 2 * s)
        for (size_t q = 0; q < s; q++) {
            const pair a = x[q], b = x[q + s * m];
            y[q] = a + b;
            y[q + s] = product(a - b, w[k * unit]);
        }
}

/* p is an odd prime. `roots` are exp(-2 pi i k / p); those of j and p - j are conjugate, so their terms are added in
 * pairs. */
static void step_by_prime(const pair *restrict x, pair *restrict y, size_t m, size_t s, const pair *w, size_t unit,
                          size_t p)
{
    pair roots[MAX_PRIME], sums[MAX_PRIME / 2], turned[MAX_PRIME / 2];
    for (size_t k = 0; k < p; k++)
        roots[k] = w[k * m * unit];
    for (size_t k = 0; k < m; k++)
        for (size_t q = 0; q < s; q++) {
            const pair *const from = x + q + s * k, first = *from;
            pair *const to = y + q + s * p * k, total = first;
            for (size_t j = 1; j <= p / 2; j++) {
                const pair a = from[s * m * j], b = from[s * m * (p - j)];
                sums[j - 1] = a + b;
                turned[j - 1] = times_i(a - b);
                total += a + b;
            }
            *to = total;
            for (size_t r = 1; r <= p / 2; r++) {
                pair even = first, odd = {0, 0};
                for (size_t j = 1, at = r; j <= p / 2; j++, at = at + r < p ? at + r : at + r - p) {
                    even += sums[j - 1] * roots[at][0];
                    odd += turned[j - 1] * roots[at][1];
                }
                to[s * r] = product(even + odd, w[k * r * unit]);
                to[s * (p - r)] = product(even - odd, w[k * (p - r) * unit]);
            }
        }
}

/* Transforms the f->m numbers at x in place, or into y, in steps from one to the other. Returns the one that has the
 * result. With f->padded, y + m + 1 has room for twice as many more. */
static pair *transform(const organ_fft *f, pair *x, pair *y);

/* The convolution is with exp(pi i k^2 / m), which a power of two computes; `room` has twice its length. */
static void transform_padded(const organ_fft *f, pair *x, pair *room)
{
    const size_t m = f->m;
    memset(room, 0, f->padded * sizeof *room);
    for (size_t k = 0; k < m; k++)
        room[k] = product(x[k], f->turns[k * k % (2 * m)]);
    pair *const spectrum = transform(f->padding, room, room + f->padded);
    pair *const other = spectrum == room ? room + f->padded : room;
    for (size_t k = 0; k < f->padded; k++) /* conjugate, so that a transform inverts it */
        other[k] = conjugate(product(spectrum[k], f->filter[k]));
    const pair *const folded = transform(f->padding, other, spectrum);
    for (size_t k = 0; k < m; k++)
        x[k] = product(conjugate(folded[k]), f->turns[k * k % (2 * m)]);
}

static pair *transform(const organ_fft *f, pair *x, pair *y)
{
    size_t length = f->m, s = 1;
    if (f->padded)
        transform_padded(f, x, y + f->m + 1);
    for (size_t k = 0; k < f->steps; k++) {
        const size_t p = f->radix[k], m = length / p, unit = 2 * s;
        if (p == 4)
            step_by_4(x, y, m, s, f->turns, unit);
        else if (p == 2)
            step_by_2(x, y, m, s, f->turns, unit);
        else
            step_by_prime(x, y, m, s, f->turns, unit, p);
        pair *const made = y;
        y = x;
        x = made;
        length = m;
        s *= p;
    }
    return x;
}

/* f->m is set. Makes the transform of `padding` too, whose length has no large prime factors. Returns false if memory
 * runs out. */
static bool make_tables(organ_fft *f)
{
    const size_t m = f->m, padded = f->padded = padded_length(m);
    find_factors(m, f);
    f->turns = aligned_alloc(64, organ_to_line(2 * m * sizeof(pair)));
    for (size_t k = 0; f->turns && k < 2 * m; k++)
        f->turns[k] = unit_turn(k, 2 * m);
    if (!f->turns || !padded)
        return f->turns != NULL;
    f->filter = aligned_alloc(64, organ_to_line(2 * padded * sizeof(pair)));
    f->padding = calloc(1, sizeof *f->padding);
    if (!f->filter || !f->padding)
        return false;
    f->padding->m = padded;
    if (!make_tables(f->padding))
        return false;
    memset(f->filter, 0, padded * sizeof(pair));
    for (size_t k = 0; k < m; k++)
        f->filter[k] = f->filter[(padded - k) % padded] = conjugate(f->turns[k * k % (2 * m)]) / (double)padded;
    if (transform(f->padding, f->filter, f->filter + padded) != f->filter)
        memcpy(f->filter, f->filter + padded, padded * sizeof(pair));
    return true;
}

static size_t transform_length(size_t n) { return n % 2 ? n : n / 2; }

/* The spectrum of a row of even length is that of m pairs of neighbours, from which those of the even and of the odd
 * values are separated and joined, bin k with bin m - k. */
double (*organ_fft_spectrum(const organ_fft *f, const float *row, void *scratch))[2]
{
    const size_t n = f->n, m = f->m;
    pair *const x = scratch;
    for (size_t k = 0; k < m; k++)
        x[k] = n % 2 ? (pair){(double)row[k], 0} : (pair){(double)row[2 * k], (double)row[2 * k + 1]};
    pair *const z = transform(f, x, x + m + 1);
    z[m] = z[0];
    for (size_t k = 0; n % 2 == 0 && k <= m / 2; k++) {
        const pair mirror = conjugate(z[m - k]), sum = z[k] + mirror;
        const pair turned = times_i(product(z[k] - mirror, f->turns[k]));
        z[k] = (sum - turned) / 2;
        z[m - k] = conjugate(sum + turned) / 2;
    }
    return (double(*)[2])(void *)z;
}

/* Inverts organ_fft_spectrum: makes the conjugate spectrum of the complex numbers, which the transform inverts. */
static void invert(const organ_fft *f, pair *z, pair *other, float *row)
{
    const size_t n = f->n, m = f->m;
    for (size_t k = 0; k <= m / 2; k++) {
        const pair bin = z[k], mirror = conjugate(z[m - k]);
        const pair turned = times_i(product(bin - mirror, conjugate(f->turns[k])));
        z[k] = conjugate(n % 2 ? bin : bin + mirror + turned);
        z[m - k] = n % 2 ? bin : bin + mirror - turned;
    }
    const pair *const values = transform(f, z, other);
    for (size_t k = 0; k < n; k++) {
        const pair value = values[n % 2 ? k : k / 2];
        row[k] = (float)((n % 2 || k % 2 == 0 ? value[0] : -value[1]) / (double)n);
    }
}

/* ---- the filter ---- */

uint64_t organ_fft_scratch(uint64_t n)
{
    const size_t m = transform_length(n);
    return n > INT_MAX ? 0 : organ_to_line((2 * (m + 1) + 2 * padded_length(m)) * sizeof(pair));
}

organ_status organ_fft_create(uint64_t n, organ_fft **result, organ_error *error)
{
    *result = NULL;
    if (n > INT_MAX)
        return organ_fail(error, ORGAN_USAGE,
                          "rows of %llu values are too long for a spectrum: exclude them with `types`",
                          (unsigned long long)n);
    organ_fft *const fft = calloc(1, sizeof *fft);
    if (fft)
        *fft = (organ_fft){.n = n, .m = transform_length(n)};
    if (!fft || !make_tables(fft)) {
        organ_fft_destroy(fft);
        return organ_fail_errno(error, ENOMEM, "a spectrum of %llu values", (unsigned long long)n);
    }
    *result = fft;
    return ORGAN_OK;
}

void organ_fft_destroy(organ_fft *fft)
{
    if (!fft)
        return;
    organ_fft_destroy(fft->padding);
    ORGAN_FREE_ARRAYS(fft->filter, fft->turns, fft);
}

static uint64_t fft_bits_of(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* Values whose integer (fft_bits_of) has a 0 in the bit that the mask `bit` selects come first. Returns the index of
 * the first value with a 1; `to` if there is none. */
static size_t partition_by_bit(double *values, size_t from, size_t to, uint64_t bit)
{
    while (from < to)
        if (!(fft_bits_of(values[from]) & bit))
            from++;
        else {
            const double other = values[--to];
            values[to] = values[from];
            values[from] = other;
        }
    return from;
}

/* The values, none below 0, change their order; k counts from 0. They are partitioned bit by bit from the highest bit
 * below the sign, so that the time does not depend on their order. */
static double kth_smallest(double *values, size_t n, size_t k)
{
    size_t from = 0, to = n;
    for (uint64_t bit = (uint64_t)1 << 62; bit > 0 && to - from > 1; bit >>= 1) {
        const size_t middle = partition_by_bit(values, from, to, bit);
        if (k < middle)
            to = middle;
        else
            from = middle;
    }
    return values[from];
}

static double median_power(double *values, size_t n)
{
    const double low = kth_smallest(values, n, (n - 1) / 2);
    return n % 2 ? low : (low + kth_smallest(values, n, n / 2)) / 2;
}

static double bin_power(const pair bin) { return bin[0] * bin[0] + bin[1] * bin[1]; }

/* The powers of white noise are exponentially distributed, so their mean is median / ln 2. */
void organ_fft_purify(const organ_fft *fft, float *row, double threshold, double strength, void *scratch)
{
    const size_t bins = fft->n / 2 + 1;
    pair *const spectrum = (pair *)(void *)organ_fft_spectrum(fft, row, scratch);
    pair *const other = (pair *)scratch + (spectrum == scratch ? fft->m + 1 : 0);
    double *const powers = (double *)other;
    for (size_t k = 0; k < bins; k++)
        powers[k] = bin_power(spectrum[k]);
    const double limit = threshold * (median_power(powers, bins) / M_LN2), factor = 1 - strength;
    for (size_t k = 0; k < bins; k++)
        if (bin_power(spectrum[k]) < limit)
            spectrum[k] *= factor;
    invert(fft, spectrum, other, row);
}
