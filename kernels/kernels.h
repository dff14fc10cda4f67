/* SPDX-License-Identifier: MIT
 * Kernels: pure functions over arrays. They allocate nothing, start no threads, cannot fail, touch only what is named
 * here, and give the same bits on every ISA. Floating-point sums follow 16 virtual lanes: element k goes to lane k mod
 * 16 in index order; lanes are folded by halves (lane l += lane l + 8, then + 4, + 2, + 1). Arrays of weights need only
 * the alignment of their element; any n is allowed, 0 included, and nothing past the end is read or written. Arrays do
 * not overlap unless a kernel allows it. */
#ifndef ORGAN_KERNELS_H
#define ORGAN_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* Physarum v1 on one tile; gain g, step 0.5, threshold 0.25 of the model's definition "physarum-v1/1". */
typedef struct organ_physarum_params {
    int iterations; /* n_iter, >= 0 */
    float beta;     /* exponent of the Hill response, > 0; 2 takes the multiply path */
    float coupling; /* lambda, >= 0: 0 is pure magnitude, 1 conserves flow per row and column */
    float gain;     /* g, > 0; 6 by definition, searched for when a sparsity is asked for */
} organ_physarum_params;

/* What happened to the elements of one tile or of many (counts add up). zero_before + killed + kept = elements. */
typedef struct organ_prune_counts {
    uint64_t zero_before; /* was +0 or -0 */
    uint64_t killed;      /* was not zero, is +0 */
    uint64_t kept;        /* was not zero, bits unchanged */
    uint64_t
        nonfinite; /* NaN or infinity: if there is one, the tile is left untouched and the three counts above are 0 */
} organ_prune_counts;

/* How a pruned copy differs from its donor. zero_before + killed + kept + changed = elements. */
typedef struct organ_audit_counts {
    uint64_t zero_before; /* zero in the donor and zero in the copy */
    uint64_t killed;      /* not zero in the donor, +0 or -0 in the copy */
    uint64_t kept;        /* same bits, not zero */
    uint64_t changed;     /* anything else: the copy is not a pruning of the donor */
} organ_audit_counts;

/* Moments of finite values. Sums are FP64. `mean`, `m2`, `m3`, `m4` are the mean and the sums of powers of the
 * deviations from it, so that parts can be merged; std = sqrt(m2 / n), excess kurtosis = n m4 / m2^2 - 3. min and max
 * are +-infinity where n = 0. */
typedef struct organ_moments {
    uint64_t n;    /* finite values, zeros included */
    uint64_t zero; /* of them +0 or -0 */
    uint64_t nan, inf;
    double mean, m2, m3, m4;
    float min, max;
} organ_moments;

/* Mean and sum of squared deviations of n values. */
typedef struct organ_spread {
    uint64_t n;
    double mean, m2;
} organ_spread;

/* The histogram of the Z-measure "z/1": standardised values on [-8, 8), what is beyond in the end bins. */
#define ORGAN_Z_BINS         256
#define ORGAN_Z_BINS_PER_STD 16

/* Storage types of GGUF are known by their numbers in its files, 0 to ORGAN_GGML_TYPES - 1. */
#define ORGAN_GGML_TYPES 43
/* Blocks to values and back; a block is one element where the type has no blocks. Blocks need no alignment, values that
 * of a float. */
typedef void organ_dequantize(const void *blocks, float *values, size_t blocks_count);
typedef void organ_quantize(const float *values, void *blocks, size_t blocks_count);
/* The same with a search for the scales that lose least: sums of weight x (value - what its code means)^2 are compared.
 * `weights`: `cols` numbers from 2^-24 to 2^24, those of a row, the same for every row; NULL: all are 1. The blocks
 * begin with a row, and cols is a multiple of a block's elements. No scale becomes infinite; values beyond 2^30 in
 * magnitude count as 2^30, a NaN as -2^30. What is tried, and in which order sums are taken, is in
 * docs/definitions/gguf.md. */
typedef void organ_fit(const float *values, const float *weights, size_t cols, void *blocks, size_t blocks_count);

/* How codes are stored, and what a code is worth. */
typedef enum organ_code {
    ORGAN_CODE_E4M3,     /* a byte each: bias 7, NaN 0x7f and 0xff, no infinities, greatest 448 (OCP OFP8 E4M3, "FN") */
    ORGAN_CODE_E5M2,     /* bias 15, infinities 0x7c and 0xfc, NaN above them, greatest 57344 (OCP OFP8 E5M2) */
    ORGAN_CODE_E4M3FNUZ, /* bias 8, NaN 0x80 alone, no infinities, no -0 */
    ORGAN_CODE_E5M2FNUZ, /* bias 16, the same */
    ORGAN_CODE_I8,       /* two's complement */
    ORGAN_CODE_U8,       /* 0 to 255 */
    ORGAN_CODE_E2M1, /* two a byte, the low nibble is the even element: sign; 0, 0.5, 1, 1.5, 2, 3, 4, 6; code 8 is -0
                      */
    ORGAN_CODE_U4,   /* two a byte likewise: 0 to 15 */
    ORGAN_CODES
} organ_code;
typedef enum organ_real { ORGAN_REAL_F32, ORGAN_REAL_BF16, ORGAN_REAL_F16, ORGAN_REALS } organ_real;
/* values[k] = (code k - zeros[k / group]) * scales[k / group] in FP32, each operation rounded, then rounded to nearest
 * even to the type. zeros NULL: nothing is subtracted. group >= 1, any; where it is a multiple of 32 or not below n, it
 * is fastest. Scales and zeros may be subnormal or not finite: IEEE 754 says what comes out, and every NaN is the
 * positive quiet one without payload (0x7fc00000, 0x7fc0, 0x7e00). Codes need no alignment; values that of their
 * element. Of an odd n the high nibble of the last byte counts for nothing. */
typedef void organ_decode(const void *codes, const float *scales, const float *zeros, size_t group, void *values,
                          size_t n);
/* Code k is the one nearest to values[k] / scales[k / group], which is rounded to FP32 first; a tie goes to the even
 * code. E4M3 and E5M2 stop at their greatest finite codes, also for infinities, and a NaN is 0x7f. I8 stops at -128 and
 * 127, U4 at -8 and 7, to which 8 is added (offset binary); a NaN counts as 0 there. Of an odd n the high nibble of the
 * last byte becomes 0. */
typedef void organ_encode(const float *values, const float *scales, size_t group, void *codes, size_t n);

/* How a product meets what stands in c. */
typedef enum organ_product_into { ORGAN_PRODUCT_SET, ORGAN_PRODUCT_ADD, ORGAN_PRODUCT_SUBTRACT } organ_product_into;
/* Rows of k values of one type, each `stride` elements after the one before; transposed: value l of row i lies at
 * values[l * stride + i].
 */
typedef struct organ_factor {
    const void *values;
    organ_real type;
    bool transposed;
    size_t stride;
} organ_factor;
/* With what a product is computed: fma in the order that `product` below says, or dots of BF16 numbers (organ_dots). */
typedef enum organ_compute {
    ORGAN_COMPUTE_EXACT,
    ORGAN_COMPUTE_SPLIT,
    ORGAN_COMPUTE_BF16,
    ORGAN_COMPUTES
} organ_compute;
/* c (m x n, rows c_stride elements apart) = | += | -= a (m rows of k) times b (n rows of k) transposed. c overlaps
 * neither operand; m, n and k may be 0. */
typedef struct organ_product {
    size_t m, n, k;
    organ_factor a, b;
    void *c; /* FP32, or FP64 where `wide` */
    size_t c_stride;
    bool wide;
    organ_product_into into;
    organ_compute compute;
} organ_product;
#define ORGAN_PRODUCT_SCRATCH 311296 /* bytes */

typedef struct organ_kernels {
    const char *isa; /* "scalar", "avx2", "avx512", "avx512-mixed", "neon" */

    /* Widening is exact. A NaN keeps its sign and payload and is made quiet. */
    void (*bf16_to_f32)(const uint16_t *src, float *dst, size_t n);
    void (*f16_to_f32)(const uint16_t *src, float *dst, size_t n);
    /* Round to nearest even; a NaN keeps its sign and upper payload bits and is made quiet; overflow gives infinity,
     * subnormals are kept. */
    void (*f32_to_bf16)(const float *src, uint16_t *dst, size_t n);
    void (*f32_to_f16)(const float *src, uint16_t *dst, size_t n);

    /* By type number; NULL where there is none. The values are those of ggml's reference bit for bit: the same FP32
     * operations in the same order, each rounded. A scale that is not finite gives what IEEE 754 says; of a NaN only
     * that it is one is the same on every ISA. 64-bit types are rounded to nearest even. */
    organ_dequantize *dequantize[ORGAN_GGML_TYPES];
    /* F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0 and Q5_1, with the rounding of ggml's reference. Where that leaves a block
     * undefined, for a value or the reciprocal of a scale is not finite, codes stop at the ends of their range and a
     * NaN takes code 0. */
    organ_quantize *quantize[ORGAN_GGML_TYPES];
    /* Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K and Q6_K. */
    organ_fit *fit[ORGAN_GGML_TYPES];

    organ_decode *decode[ORGAN_CODES][ORGAN_REALS];
    organ_encode *encode[ORGAN_CODES]; /* E4M3, E5M2, I8 and U4; else NULL */
    /* The greatest |v|; NaN are passed over, an infinity counts. 0 where there is nothing to look at. */
    float (*amax)(const float *values, size_t n);

    /* Prunes one tile in place: rows x cols elements, rows `stride` elements apart, 1 <= cols <= stride, rows >= 1.
     * Element (i, j) whose conductivity ends below the threshold becomes +0 (a zero may be among them), all others keep
     * their bits; a tile whose mean |w| is 0 in FP32 is left as it is. The sums that decide run over the tile alone.
     * `scratch`: organ_physarum_scratch(rows, cols) bytes, 64-byte aligned, contents irrelevant before and after.
     * *counts is set, not added to, here and in the audits. */
    void (*physarum_bf16)(uint16_t *weights, size_t rows, size_t cols, size_t stride,
                          const organ_physarum_params *params, void *scratch, organ_prune_counts *counts);
    void (*physarum_f16)(uint16_t *weights, size_t rows, size_t cols, size_t stride,
                         const organ_physarum_params *params, void *scratch, organ_prune_counts *counts);
    void (*physarum_f32)(float *weights, size_t rows, size_t cols, size_t stride, const organ_physarum_params *params,
                         void *scratch, organ_prune_counts *counts);

    /* Moments of n consecutive values, *moments is set; a -0 counts as +0 in min and max. Computed in two passes over
     * each chunk of 4096 values, chunks merged in order (organ_moments_merge). */
    void (*moments_bf16)(const uint16_t *values, size_t n, organ_moments *moments);
    void (*moments_f16)(const uint16_t *values, size_t n, organ_moments *moments);
    void (*moments_f32)(const float *values, size_t n, organ_moments *moments);

    /* How often each 16-bit word is among n: counts[word] is added to. */
    void (*count_codes)(const uint16_t *codes, size_t n, uint64_t counts[65536]);
    /* means[k] = (values[2k] + values[2k + 1]) * 0.5 in FP32, for k < n. */
    void (*pair_means_bf16)(const uint16_t *values, float *means, size_t n);
    void (*pair_means_f16)(const uint16_t *values, float *means, size_t n);
    void (*pair_means_f32)(const float *values, float *means, size_t n);
    /* *result is set; in two passes over each chunk of 4096 values, merged in order (organ_spread_merge). Where a value
     * is not finite the mean is not, or m2 is not. */
    void (*spread)(const float *values, size_t n, organ_spread *result);
    /* Counts finite values by the bin of (value - mean) * (16 / std) in FP64, rounded down; std > 0. Value k adds to
     * the bins from counts[k % 4 * ORGAN_Z_BINS] on: what a bin has is the sum over the four. */
    void (*z_bins)(const float *values, size_t n, double mean, double std, uint64_t counts[4 * ORGAN_Z_BINS]);

    /* Purifies one row in place: orthonormal Haar decomposition in FP32, 5 levels or as many as n has, a last value
     * without a pair carried over to the next level. A detail is noise unless it and its parent at the next coarser
     * level are above threshold x (median |detail| of the level / 0.6745); without a parent it is judged alone. Noise
     * is multiplied by 1 - strength, approximations are not touched. The median of an even number is the mean of the
     * two in the middle. Values are finite; where sums of neighbours overflow so does the result. threshold >= 0,
     * strength in [0, 1]; `scratch` has n floats, contents irrelevant. */
    void (*haar_purify)(float *row, size_t n, float threshold, float strength, float *scratch);

    /* Transcendental functions are SLEEF's of at most 1 ulp, rounded as its "finz" family does wherever there is FMA;
     * the rest is single FP32 or FP64 operations in the order written. Where a result is a NaN, only that it is one is
     * the same on every ISA. */
    /* gate[k] = f(gate[k]) * up[k]: x / (1 + e^-x); x / (1 + e^-2u), u = 0.79788456 (x + ((0.044715 x) x) x), which is
     * GELU with tanh; and (0.5 x) (1 + erf(0.70710678 x)). */
    void (*gate_silu)(float *gate, const float *up, size_t n);
    void (*gate_gelu_tanh)(float *gate, const float *up, size_t n);
    void (*gate_gelu)(float *gate, const float *up, size_t n);
    /* values[k] = cap * tanh(values[k] / cap) */
    void (*softcap)(float *values, size_t n, float cap);
    /* values[k] = base ^ exponents[k]; may be the same array. */
    void (*powers_of)(float base, const float *exponents, float *values, size_t n);
    /* values[k] = e^(values[k] - top) in FP32; their sum, in FP32 too. */
    float (*exp_below)(float *values, size_t n, float top);
    /* Sum of e^(values[k] - top) in FP64; values stay. */
    double (*exp_sum)(const float *values, size_t n, double top);
    /* Sum of e^p (p - q) in FP64, p = first[k] - first_sum, q = other[k] - other_sum: the divergence of two softmaxes,
     * given the logarithms of their sums. */
    double (*divergence)(const float *first, double first_sum, const float *other, double other_sum, size_t n);
    /* - sum of p log2 p in bits, FP64; p >= 0. */
    double (*entropy)(const double *p, size_t n);

    /* For each element of c, k is cut into chunks of 256 from 0 on. The total of a chunk begins at +0 and takes fma(a,
     * b, total) in FP32 for each l in order; c takes the totals in order: it is set to the first (SET) and each later
     * one is added to it, or all are added (ADD), or subtracted from it (SUBTRACT); in FP64 where `wide`. 16-bit floats
     * are widened exactly. A NaN in c is the positive quiet one without payload afterwards. So a cut of a product into
     * products of fewer rows of a or b changes nothing. Where k is 0, SET gives +0 and c stays as it was otherwise.
     * `scratch`: ORGAN_PRODUCT_SCRATCH bytes, 64-byte aligned, contents irrelevant before and after. */
    void (*product)(const organ_product *product, void *scratch);

    /* The sum of fma(a[k], b[k], sum) over the lanes; of a NaN only that it is one is the same on every ISA, here and
     * below. */
    double (*dot_f64)(const double *a, const double *b, size_t n);
    /* y[k] = fma(factor, x[k], y[k]) */
    void (*add_scaled_f64)(double *y, double factor, const double *x, size_t n);
    /* L^T of A = L L^T in the place of A (n x n row by row), on and above the diagonal; what is below it stays. Element
     * (i, j) loses L^T(k, i) L^T(k, j) for each k < i in order, fused, and is divided by the square root of (i, i).
     * Ends where that is not above 0. */
    void (*cholesky_f32)(float *a, size_t n);
    /* x becomes A^-1 x, given what cholesky_f32 made of A: each z(i) = x(i) / L(i, i) is taken from the x below it,
     * fused, in order of i; then from the last on x(i) = (z(i) - sum over the lanes of fma(L^T(i, j), x(j), sum), j >
     * i) / L(i, i). */
    void (*solve_f32)(const float *factor, size_t n, float *x);

    /* Number of elements that are +0 or -0. */
    uint64_t (*zeros_16)(const uint16_t *values, size_t n); /* BF16 and F16 */
    uint64_t (*zeros_32)(const float *values, size_t n);

    /* Compares a copy with its donor element by element. */
    void (*audit_16)(const uint16_t *donor, const uint16_t *copy, size_t n,
                     organ_audit_counts *counts); /* BF16 and F16 */
    void (*audit_32)(const float *donor, const float *copy, size_t n, organ_audit_counts *counts);
} organ_kernels;

/* Bytes of scratch for one tile, a multiple of 64; 0 where that does not fit size_t. */
size_t organ_physarum_scratch(size_t rows, size_t cols);

/* into := the moments of both together (Pebay 2008); either may be empty. Deterministic, not commutative in the last
 * bit: merge in tile order. */
void organ_moments_merge(organ_moments *into, const organ_moments *other);

/* The same for spreads. */
void organ_spread_merge(organ_spread *into, const organ_spread *other);

/* A scale stored as a byte. E8M0: 2^(code - 127), 0 is the subnormal 2^-127, 0xff NaN. E4M3: as ORGAN_CODE_E4M3. Each
 * NaN is 0x7fc00000. */
float organ_e8m0_to_f32(uint8_t code);
float organ_e4m3_to_f32(uint8_t code);

/* Codes [first, first + n) of a row of little-endian 32-bit words, `bits` (1 to 8) each, lowest bits first. Dense: code
 * i at bit i x bits of the row, whatever words that falls in; else a word holds 32 / bits codes, rounded down, and its
 * top bits are unused. Reads no byte that has no bit of these codes; words need no alignment. */
void organ_unpack_bits(const void *words, unsigned bits, int dense, size_t first, uint8_t *codes, size_t n);

/* dst[c * dst_stride + r] = src[r * src_stride + c] for r < rows, c < cols; strides in elements. */
void organ_transpose_u8(const uint8_t *src, size_t src_stride, uint8_t *dst, size_t dst_stride, size_t rows,
                        size_t cols);
/* The same for words of 32 bits: of matrices with several codes a word, packed along the axis that is to become the
 * row. */
void organ_transpose_u32(const uint32_t *src, size_t src_stride, uint32_t *dst, size_t dst_stride, size_t rows,
                         size_t cols);

/* Products by instructions that add dots of BF16 pairs to FP32. Of `a`, which is FP32, and of `b`, neither of which is
 * transposed, SPLIT takes terms: BF16 numbers, each the nearest to what those before it leave, of FP32 three, of F16
 * two, of BF16 the number itself, so that they add up to it; it leaves out a product of terms that together stand below
 * the third. BF16 takes one term. c is FP32. Sums run over chunks of 256 of k and c takes their totals as in
 * organ_kernels, so no cut of a product changes a bit. Within a chunk the instructions have an order of their own, take
 * subnormal operands as 0 and flush subnormal sums: bits differ from one `isa` to another. Where an operand is not
 * finite the result is not, but may be a NaN where the exact one is infinite; a NaN is the positive quiet one. */
typedef struct organ_dots {
    const char *isa;                                              /* "amx", "avx512-bf16" */
    void (*product)(const organ_product *product, void *scratch); /* scratch as for the exact one */
} organ_dots;

/* What dispatch needs to know of a CPU. */
typedef struct organ_cpu {
    int avx2, avx512, neon; /* 1: the CPU and the operating system support all instructions of that table */
    int amx;                /* AMX-TILE and AMX-BF16; a process must ask Linux for them before it uses them */
    int avx512_bf16;
    int dots_are_fast; /* VDPBF16PS is done as often as a fused multiply-add of as many bits, with twice the products:
                          AMD */
} organ_cpu;
organ_cpu organ_cpu_detect(void);

/* The table to use: the best of `cpu`, or the one that `wanted` names ("scalar", "avx2", "avx512", "avx512-mixed",
 * "neon"; NULL or "" for the best). NULL if that name is unknown, not in this build or not supported by the CPU; *why
 * then says which, in a static string. */
const organ_kernels *organ_kernels_choose(organ_cpu cpu, const char *wanted, const char **why);

/* What computes products in that way fastest beside the table `kernels`; NULL for EXACT, and where nothing does it
 * faster than that: *why then says the reason, in a static string. */
const organ_dots *organ_dots_choose(organ_cpu cpu, const organ_kernels *kernels, organ_compute compute,
                                    const char **why);

/* The table that differs from this one in the tile of physarum alone, and not in its results; NULL where there is none.
 * Which is quicker depends on the CPU, and only a clock tells. */
const organ_kernels *organ_kernels_twin(const organ_kernels *kernels);

/* 1 if this CPU prunes with these parameters as every other does. beta other than 2 and coupling other than 0 or 1 take
 * SLEEF's powf, whose last bits differ on an x86-64 without FMA. Always 1 on aarch64. */
int organ_physarum_runs(organ_cpu cpu, const organ_physarum_params *params);

/* One table per ISA; NULL where this build has none. */
extern const organ_kernels *const organ_kernels_scalar, *const organ_kernels_avx2, *const organ_kernels_avx512,
                                                                                       *const organ_kernels_neon;
/* The avx512 table with another tile of physarum, which makes some of its quotients without the divider: quicker where
 * that is slow. */
extern const organ_kernels *const organ_kernels_avx512_mixed;
/* What "scalar" is on an x86-64 without FMA, where the scalar table's transcendental functions would fault: these are
 * of SLEEF's "cinz" family, at most 1 ulp too but with other last bits. NULL elsewhere. */
extern const organ_kernels *const organ_kernels_scalar_nofma;

/* NULL where this build has none. */
extern const organ_dots *const organ_dots_amx, *const organ_dots_avx512_bf16;

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
