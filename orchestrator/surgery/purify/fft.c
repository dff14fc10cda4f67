/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/purify/fft.h"

#include "orchestrator/machine/extent.h"
#include "orchestrator/machine/guarded_call.h"
#include "orchestrator/machine/set_aside.h"

#include <errno.h>
#include <fftw3.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct organ_fft {
    size_t n; /* values of a row */
    fftw_plan forward, inverse;
};

/* Only one thread may use FFTW's fftw_planner at a time. FFTW_ESTIMATE plans depend only on the length and the CPU, so
 * results do not vary between runs. */
static pthread_mutex_t fftw_planner = PTHREAD_MUTEX_INITIALIZER;
static bool fftw_broken; /* FFTW aborted while planning and must not be called again (organ_guarded_call) */

/* Estimate of the memory that FFTW allocates for the tables of both plans, in bytes for each value of a row. */
#define PLAN_BYTES 64

/* Returns the number of bins in the real spectrum of n values. */
static size_t bins_of(size_t n) { return n / 2 + 1; }

/* Returns the bytes of the first part of the scratch: room for n + 2 numbers, which are the row's values and later the
 * powers of the bins. The second part has the bins of the spectrum. */
static size_t values_bytes(size_t n) { return organ_to_line((n + 2) * sizeof(double)); }

/* Returns the bytes of scratch for rows of n values; 0 if n is longer than FFTW supports. */
uint64_t organ_fft_scratch(uint64_t n)
{
    return n > INT_MAX ? 0 : values_bytes(n) + organ_to_line(bins_of(n) * sizeof(fftw_complex));
}

/* Returns the bins of the spectrum in the scratch for rows of n values: the second part of the scratch. */
static fftw_complex *bins_in(void *scratch, size_t n)
{
    return (fftw_complex *)(void *)((char *)scratch + values_bytes(n));
}

/* Context of make_plans: the plans to make, and scratch of organ_fft_scratch bytes to plan with. */
typedef struct fft_planning {
    organ_fft *fft;
    double *scratch;
} fft_planning;

/* Makes the plans of both transforms; a plan is NULL if FFTW fails. The caller has locked fftw_planner. */
static void make_plans(void *context)
{
    const fft_planning *const p = context;
    const size_t n = p->fft->n;
    p->fft->forward = fftw_plan_dft_r2c_1d((int)n, p->scratch, bins_in(p->scratch, n), FFTW_ESTIMATE);
    p->fft->inverse = fftw_plan_dft_c2r_1d((int)n, bins_in(p->scratch, n), p->scratch, FFTW_ESTIMATE);
}

/* Creates the plans for rows of n values. FFTW aborts the process if it gets no memory, so this function first checks
 * that memory is available (organ_set_aside), and plans inside organ_guarded_call. */
organ_status organ_fft_create(uint64_t n, organ_fft **result, organ_error *error)
{
    *result = NULL;
    if (n > INT_MAX)
        return organ_fail(error, ORGAN_USAGE,
                          "rows of %llu values are too long for a spectrum: exclude them with --type or --layers",
                          (unsigned long long)n);
    organ_fft *fft = calloc(1, sizeof *fft);
    double *scratch = aligned_alloc(64, organ_fft_scratch(n));
    void *last = NULL; /* allocation that keeps the heap from shrinking meanwhile (organ_set_aside) */
    if (fft && scratch && organ_set_aside(((size_t)1 << 20) + PLAN_BYTES * n, &last)) { /* 1 MiB for small requests */
        fft->n = n;
        pthread_mutex_lock(&fftw_planner);
        if (!organ_guarded_call(make_plans, &(fft_planning){fft, scratch}, ORGAN_GUARDED_MILLISECONDS, &fftw_broken))
            fft->forward = fft->inverse = NULL; /* incomplete plans leak, because FFTW must not be called again */
        pthread_mutex_unlock(&fftw_planner);
    }
    free(last);
    free(scratch);
    if (!fft || !fft->forward || !fft->inverse) {
        organ_fft_destroy(fft);
        return organ_fail_errno(error, ENOMEM, "a spectrum of %llu values", (unsigned long long)n);
    }
    *result = fft;
    return ORGAN_OK;
}

/* Destroys the plans of both transforms, as far as they exist. NULL is allowed. */
void organ_fft_destroy(organ_fft *fft)
{
    if (!fft)
        return;
    pthread_mutex_lock(&fftw_planner);
    fftw_destroy_plan(fft->forward); /* NULL is allowed */
    fftw_destroy_plan(fft->inverse);
    pthread_mutex_unlock(&fftw_planner);
    free(fft);
}

/* Returns the bits of a number as an integer. For non-negative numbers, larger numbers have larger integers. */
static uint64_t fft_bits_of(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* Reorders the values [from, to): first those whose integer (fft_bits_of) has a 0 in the bit that the mask `bit`
 * selects, then those with a 1. Returns the index of the first value with a 1; `to` if there is none. */
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

/* Returns the k-th smallest (k from 0) of n non-negative values; reorders the values. Partitions them bit by bit from
 * the highest bit below the sign, so that the time does not depend on their order. */
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

/* Returns the median of n non-negative values; reorders them. */
static double median_power(double *values, size_t n)
{
    const double low = kth_smallest(values, n, (n - 1) / 2);
    return n % 2 ? low : (low + kth_smallest(values, n, n / 2)) / 2;
}

/* Returns the square of the bin's absolute value. */
static double bin_power(const fftw_complex bin) { return bin[0] * bin[0] + bin[1] * bin[1]; }

/* Multiplies the weak bins of the row's spectrum by 1 - strength. The powers of white noise are exponentially
 * distributed, so their mean is median / ln 2. FFTW's two transforms together multiply by n, so the result is divided
 * by n. */
void organ_fft_purify(const organ_fft *fft, float *row, double threshold, double strength, void *scratch)
{
    const size_t n = fft->n, bins = bins_of(n);
    double *values = scratch;
    fftw_complex *spectrum = bins_in(scratch, n);
    for (size_t k = 0; k < n; k++)
        values[k] = (double)row[k];
    fftw_execute_dft_r2c(fft->forward, values, spectrum);
    for (size_t k = 0; k < bins; k++)
        values[k] = bin_power(spectrum[k]);
    const double limit = threshold * (median_power(values, bins) / M_LN2), factor = 1 - strength;
    for (size_t k = 0; k < bins; k++)
        if (bin_power(spectrum[k]) < limit) {
            spectrum[k][0] *= factor;
            spectrum[k][1] *= factor;
        }
    fftw_execute_dft_c2r(fft->inverse, spectrum, values);
    for (size_t k = 0; k < n; k++)
        row[k] = (float)(values[k] / (double)n);
}
