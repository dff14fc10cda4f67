/* SPDX-License-Identifier: MIT
 * Kernels: pure functions over arrays. They do not allocate, start threads or fail, access only the memory described
 * here, and give the same bits on every ISA.
 *
 * Floating-point sums use 16 virtual lanes: element k is added to lane k mod 16, in index order; then lanes are
 * folded by halves (lane l += lane l + 8, then + 4, + 2, + 1). Arrays of weights need only the alignment of their
 * element. Any n is allowed, also 0; nothing past the end is read or written. Arrays may overlap only where stated. */
#ifndef ORGAN_API_KERNELS_H
#define ORGAN_API_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* Parameters of Physarum v1 on one tile; step 0.5 and threshold 0.25 are fixed by the definition "physarum-v1/1". */
typedef struct organ_physarum_params {
    int iterations; /* n_iter, >= 0 */
    float beta;     /* exponent of the Hill response, > 0; 2 is computed by a multiplication instead of powf */
    float coupling; /* lambda, >= 0; 0 ranks by magnitude alone, 1 conserves flow per row and column */
    float gain;     /* g, > 0; 6 by definition, or found by a search for a given sparsity */
} organ_physarum_params;

/* Counts of the elements of one tile, or sums over tiles. zero_before + killed + kept = elements. */
typedef struct organ_prune_counts {
    uint64_t zero_before; /* was +0 or -0 */
    uint64_t killed;      /* was not zero, became +0 */
    uint64_t kept;        /* was not zero, bits unchanged */
    uint64_t nonfinite;   /* NaN or infinity: if not 0, the tile is unchanged and the three counts above are 0 */
} organ_prune_counts;

/* Differences between a pruned copy and its donor. zero_before + killed + kept + changed = elements. */
typedef struct organ_audit_counts {
    uint64_t zero_before; /* zero in donor and copy */
    uint64_t killed;      /* not zero in the donor, +0 or -0 in the copy */
    uint64_t kept;        /* not zero, same bits */
    uint64_t changed;     /* all other elements: the copy is not a pruning of the donor */
} organ_audit_counts;

/* Moments of finite values, in FP64. `m2`, `m3` and `m4` are the sums of powers of deviations from `mean`, so that
 * parts can be merged; std = sqrt(m2 / n), excess kurtosis = n m4 / m2^2 - 3. For n = 0, min is +infinity, max
 * -infinity. */
typedef struct organ_moments {
    uint64_t n;    /* number of finite values, zeros included */
    uint64_t zero; /* number of +0 and -0 among them */
    uint64_t nan, inf;
    double mean, m2, m3, m4;
    float min, max;
} organ_moments;

/* Mean and sum of squared deviations of n values. */
typedef struct organ_spread {
    uint64_t n;
    double mean, m2;
} organ_spread;

/* The histogram of the Z-measure "z/1": bins of standardised values on [-8, 8), the outer ones with values beyond. */
#define ORGAN_Z_BINS         256
#define ORGAN_Z_BINS_PER_STD 16

/* The first of 16 counters of count_magnitudes for zeros. */
#define ORGAN_ZERO_CODES 0xfff0

/* Storage types of GGUF are identified by their numbers in files, 0 to ORGAN_GGML_TYPES - 1. */
#define ORGAN_GGML_TYPES 43
/* Functions that decode `blocks_count` blocks to values, and that encode values to as many blocks. In types without
 * blocks, a block is one element. Blocks need no alignment; `values` need the alignment of a float. */
typedef void organ_dequantize_blocks(const void *blocks, float *values, size_t blocks_count);
typedef void organ_quantize_blocks(const float *values, void *blocks, size_t blocks_count);
/* Encodes with a search for the scales that minimise the sum of weight x (value - decoded value)^2. `weights` are
 * `cols` numbers from 2^-24 to 2^24, one for each column, the same for every row; NULL means all 1. The first block
 * begins a row, and cols is a multiple of a block's elements. No scale becomes infinite. Values beyond 2^30 in
 * magnitude are replaced by +-2^30, a NaN by -2^30. docs/definitions/gguf.md defines tried scales and sums. */
typedef void organ_fit_blocks(const float *values, const float *weights, size_t cols, void *blocks,
                              size_t blocks_count);

/* Storage formats of codes. */
typedef enum organ_code {
    ORGAN_CODE_E4M3, /* one byte: bias 7, NaN 0x7f and 0xff, no infinities, largest 448 (OCP OFP8 E4M3, "FN") */
    /* one byte: bias 15, infinities 0x7c and 0xfc, NaN above them, largest 57344 (OCP OFP8 E5M2) */
    ORGAN_CODE_E5M2,
    ORGAN_CODE_E4M3FNUZ, /* one byte: bias 8, NaN only 0x80, no infinities, no -0 */
    ORGAN_CODE_E5M2FNUZ, /* one byte: bias 16, otherwise like E4M3FNUZ */
    ORGAN_CODE_I8,       /* two's complement */
    ORGAN_CODE_U8,       /* 0 to 255 */
    ORGAN_CODE_E2M1, /* 4 bits, the even element in the low nibble: sign; 0, 0.5, 1, 1.5, 2, 3, 4, 6; code 8 is -0 */
    ORGAN_CODE_U4,   /* 4 bits, the even element in the low nibble: 0 to 15 */
    ORGAN_CODES
} organ_code;
/* Types of decoded values and of operands. */
typedef enum organ_real { ORGAN_REAL_F32, ORGAN_REAL_BF16, ORGAN_REAL_F16, ORGAN_REALS } organ_real;
/* values[k] = (code k - zeros[k / group]) * scales[k / group] in FP32, each operation rounded, then rounded to
 * nearest even to the output type. zeros may be NULL: nothing is subtracted. group >= 1; multiples of 32 and values
 * >= n are fastest. Scales and zeros may be subnormal, infinite or NaN, with results as in IEEE 754; every NaN result
 * is the positive quiet one without payload (0x7fc00000, 0x7fc0, 0x7e00). Codes need no alignment; `values` need
 * the alignment of their element. If n is odd, the high nibble of the last byte is ignored. */
typedef void organ_decode_codes(const void *codes, const float *scales, const float *zeros, size_t group, void *values,
                                size_t n);
/* organ_decode_codes for 4-bit codes whose values are the 16 `levels`; group is a multiple of 32. */
typedef void organ_decode_levels(const void *codes, const float *levels, const float *scales, size_t group,
                                 void *values, size_t n);
/* Code k is the nearest to values[k] / scales[k / group], rounded to FP32 first; ties go to the even code. E4M3, E5M2
 * and E2M1 saturate at their largest finite codes, also for infinities; a NaN becomes 0x7f, in E2M1 7. I8 and U8
 * saturate at -128 and 127, U4 at -8 and 7 (U8 and U4 are stored with 128 and 8 added, offset binary); a NaN becomes
 * the code of 0. If n is odd, the high nibble of the last byte becomes 0. */
typedef void organ_encode_codes(const float *values, const float *scales, size_t group, void *codes, size_t n);
/* Also sets sums as organ_kernels.error_squares does, with the FP32 values that organ_decode_codes returns for these
 * codes, scales and, for U8 and U4, zeros of 128 and 8; instead of a sum that is not finite, it may set any other. */
typedef void organ_encode_summed(const float *values, const float *scales, size_t group, void *codes, size_t n,
                                 double *sums);

/* A search for the scale of a group of values: 16 scales are tried, and the one with the least sum of (value - code x
 * scale)^2 is chosen, code being the nearest. Try k maps the value of largest magnitude to peaks[k]. */
typedef struct organ_scale_search {
    int e4m3;        /* 1: codes are E4M3 numbers; 0: whole numbers from `low` to `high`, which FP32 holds exactly */
    float low, high; /* least and greatest whole code, at most 2^16 in magnitude */
    int bf16;        /* 1: scales are rounded to BF16; 0: they are FP32 */
    /* 1: tries 1 to 15 divide the value of largest magnitude with its sign (of two opposite ones the positive one), so
     * that scales may be negative; 0: its magnitude. Try 0 always divides the magnitude. */
    int signs;
    float of_zeros;  /* scale of a group for which the scale of try 0 is 0, and with `stepped` of a group of zeros */
    float peaks[16]; /* peaks[0] > 0; without `signs` all are; with e4m3 at most 448 */
    int e2m1;        /* 1: codes are E2M1 numbers; 0: as `e4m3` states. At most one of both is 1 */
    /* 1: scales are the numbers from `least` (at least 2^-126) to `greatest` with `fraction` bits after the leading 1:
     * 3 for E4M3, 0 for E8M0. Try 0 is |value of largest magnitude| / peaks[0], rounded up if the lowest 23 - fraction
     * bits of its FP32 number are at least `up`, else down. Tries 1, 2, 3 ... are the number below try 0, the one above
     * it, the second below and so on, as far as there are such numbers; with fraction 0, tries from 3 on equal try 0.
     * bf16, signs and other peaks have no effect. */
    int stepped, fraction;
    int subnormal; /* with fraction 3: the numbers 2^-9 to 7 x 2^-9 also count; `least` has no effect */
    uint32_t up;
    float least, greatest;
} organ_scale_search;

/* How a product is combined with the contents of c. */
typedef enum organ_product_into { ORGAN_PRODUCT_SET, ORGAN_PRODUCT_ADD, ORGAN_PRODUCT_SUBTRACT } organ_product_into;
/* An operand: rows of k values of one type, row i at values + i * stride. If transposed, value l of row i is at
 * values + l * stride + i. */
typedef struct organ_product_operand {
    const void *values;
    organ_real type;
    bool transposed;
    size_t stride;
} organ_product_operand;
/* Arithmetic of a product: EXACT is FP32 fma in the order defined at `product` below; SPLIT and BF16 are dot
 * products of BF16 numbers (organ_dots). */
typedef enum organ_compute {
    ORGAN_COMPUTE_EXACT,
    ORGAN_COMPUTE_SPLIT,
    ORGAN_COMPUTE_BF16,
    ORGAN_COMPUTES
} organ_compute;
/* A product: sets c to a b^T, adds a b^T to c or subtracts it from c, depending on `into`. a has m rows of k values, b
 * has n rows of k values, and c m rows of n, c_stride elements apart. c must not overlap the operands; m, n, k may be
 * 0. */
typedef struct organ_product {
    size_t m, n, k;
    organ_product_operand a, b;
    void *c; /* FP32, or FP64 if `wide` */
    size_t c_stride;
    bool wide;
    organ_product_into into;
    organ_compute compute;
} organ_product;
#define ORGAN_PRODUCT_SCRATCH 311296 /* bytes of the scratch memory of a product */

/* The tokens of one head of a linear recurrence, and its state. Strides are in floats, from one token to the next,
 * or from one row of the state to the next. The arrays may overlap, except `outs` and `state`. */
typedef struct organ_recurrence {
    size_t tokens, key_dim, value_dim;
    const float *queries, *keys; /* `key_dim` numbers for each token */
    const float *values;         /* `value_dim` numbers for each token */
    const float *decays;         /* one number for each token, or with decay_by_key `key_dim` numbers */
    const float *strengths;      /* one number for each token */
    float *outs;                 /* `value_dim` numbers for each token */
    float *state;                /* [key_dim][value_dim] */
    size_t query_stride, key_stride, value_stride, decay_stride, strength_stride, out_stride, state_stride;
    bool decay_by_key; /* each row of the state has its own decay */
    bool delta;        /* the gated delta rule: subtracts what the state returns for the key before writing */
} organ_recurrence;

/* The tokens of some channels of a selective scan, the recurrence of Mamba, and its state. The comments of the members
 * name Mamba's x, dt, A, B, C and D. Strides are in floats, from one token to the next, or from one row to the next.
 * Arrays do not overlap; rows of two arrays may alternate in memory. */
typedef struct organ_selective_scan {
    size_t tokens, channels, states;
    float *values;               /* x: `channels` numbers for each token, which the outputs replace */
    const float *steps;          /* dt: `channels` numbers for each token */
    const float *writes, *reads; /* B and C: `states` numbers for each token */
    const float *rates, *skip;   /* A: [states][channels]; D: [channels] */
    float *state;                /* [states][channels] */
    size_t value_stride, step_stride, write_stride, read_stride, rate_stride, state_stride;
} organ_selective_scan;

/* Types in which scales are stored. E4M3: normal numbers, 2^-6 to 448. E8M0: powers of 2, 2^-127 to 2^127. */
typedef enum organ_scale_store {
    ORGAN_STORE_BF16,
    ORGAN_STORE_F16,
    ORGAN_STORE_E4M3,
    ORGAN_STORE_E8M0,
    ORGAN_STORE_F32
} organ_scale_store;

/* Levels: the numbers that codes stand for, before they are multiplied by a scale. */
typedef struct organ_levels {
    unsigned count;    /* 2 to 16 */
    float values[16];  /* ascending; the last one is repeated up to 16 */
    float middles[15]; /* middle of values k and k + 1; from count - 1 on infinity */
    uint8_t codes[16]; /* the code that stands for each value */
} organ_levels;

/* A search for scale s and minimum m of each group of a row: value = s x code + m, codes from 0 to 2^bits - 1. */
typedef struct organ_affine_fit {
    unsigned bits;            /* 2 to 8 */
    size_t group;             /* values of a group, a multiple of 16 */
    organ_scale_store stored; /* type of s and m: BF16, F16 or F32 */
} organ_affine_fit;

/* Levels of adjacent columns that exist together: points. */
typedef struct organ_runs {
    unsigned length;       /* columns of a point: 4 or 8 */
    unsigned count;        /* points, at most 4096 */
    int even;              /* 1: of 8 columns, an even number has a negative level */
    const float *points;   /* [count][length]: numbers, sorted by column 0, then 1, and so on */
    const uint8_t *shared; /* [count]: columns from the first one on that are equal to those of the point before */
    int fixed;   /* length 8, 1: a level is a number of the point; 0: numbers are above 0, levels +- numbers */
    float shift; /* fixed: a level is shift + number, of a negative scale shift - number */
} organ_runs;

/* A block of columns of 16 rows, for GPTQ. Column j has 16 numbers, a lane for each row, from 16 j on in each of its
 * arrays, which are 64-byte aligned. */
typedef struct organ_coding {
    int descent;                /* 1: improves the present values; 0: the sweep of GPTQ */
    int e4m3;                   /* 1: levels are E4M3 numbers */
    const organ_levels *levels; /* NULL: levels are E4M3 or whole numbers */
    const organ_runs *runs;     /* NULL: each column has its own level */
    float low, high;            /* least and greatest whole level */
    organ_scale_store stored;   /* type of scales and minima */
    size_t n;                   /* columns */
    const float *square;        /* n x n matrix, rows square_stride apart */
    size_t square_stride;
    const uint32_t *groups; /* [n]: group of each column */
    float *scales, *minima; /* group g has those of the 16 rows from g * stride on; minima NULL: none */
    size_t stride;
    const float *keep; /* 0 for a value that must be 0; NULL: none */
    float *field, *values, *changes;
} organ_coding;

/* From where values that are rounded to codes have their scale. `top` is the largest magnitude of a group. */
typedef enum organ_rounding_scale {
    ORGAN_ROUNDING_STORED, /* the members scale and zero */
    ORGAN_ROUNDING_REAL,   /* top / peak; with low = -high - 1 and `asymmetric` (max - min) / (high - low) */
    ORGAN_ROUNDING_E8M0,   /* 2^(E - below), E the exponent of top, one more from 1.75 x 2^E on; from 2^-127 on */
    ORGAN_ROUNDING_UE8M0,  /* the least power of two that is at least top / peak */
    ORGAN_ROUNDING_E4M3    /* E / factor, E the E4M3 number nearest to factor x (top / peak), 0.125 if that is 0 */
} organ_rounding_scale;

/* How values are rounded to codes and back: y = (c - zero) scale, c = x / scale + zero within low .. high, rounded to
 * the nearest code, ties to even. Each operation is rounded to FP32. A scale of 0 becomes 2^-23. */
typedef struct organ_rounding {
    organ_rounding_scale from;
    size_t group;      /* values that share a scale; 0: all */
    float low, high;   /* least and greatest code */
    float peak;        /* the code, or number between codes, that `top` becomes */
    float scale, zero; /* ORGAN_ROUNDING_STORED */
    float factor;      /* ORGAN_ROUNDING_E4M3 */
    float limit;       /* above 0: greatest `top` that counts; 0: none */
    int below;         /* ORGAN_ROUNDING_E8M0: the exponent of the largest code */
    int asymmetric; /* ORGAN_ROUNDING_REAL: 1: the zero point is low - min / scale, rounded, within low .. high, where
                     * min and max are the extremes of the values and 0; else the zero point is 0 */
} organ_rounding;

/* How differences from a base are added to it. Array k of `values` begins at k * stride; its values are multiplied
 * by scales[k], then by weights[k], before they are added to the sum, in order. With `vote` only values v count for
 * which v s > 0, where s is 1 if the sum of all is at least 0, else -1, and the divisor is the sum of their weights, 1
 * for 0. The result is base + (sum / divisor) lambda, without `normalize` base + sum lambda. */
typedef struct organ_differences {
    const float *values;
    size_t stride, count;
    const float *scales, *weights;
    bool vote, normalize;
    float divisor; /* without `vote` */
    float lambda;
} organ_differences;

/* A table of kernels: the implementation for one instruction set. */
typedef struct organ_kernels {
    const char *isa; /* "scalar", "avx2", "avx512", "avx512-mixed", "neon" */

    /* Exact. A NaN keeps its sign and payload and becomes quiet. */
    void (*bf16_to_f32)(const uint16_t *src, float *dst, size_t n);
    void (*f16_to_f32)(const uint16_t *src, float *dst, size_t n);
    /* Round to nearest even, also to subnormals. A NaN keeps its sign and upper payload bits and becomes quiet. */
    void (*f32_to_bf16)(const float *src, uint16_t *dst, size_t n);
    void (*f32_to_f16)(const float *src, uint16_t *dst, size_t n);

    /* Indexed by type number; NULL if the type has no decoder. Values equal those of ggml's reference bit for bit:
     * the same FP32 operations in the same order, each rounded. Scales that are not finite give the results of IEEE
     * 754; bits of NaN may differ between ISAs. 64-bit types are rounded to nearest even. */
    organ_dequantize_blocks *dequantize[ORGAN_GGML_TYPES];
    /* Encoders that round like ggml's reference; NULL for types without one. If a value or the reciprocal of a scale is
     * not finite, the reference is undefined; here codes are clamped to their range and a NaN gets code 0. */
    organ_quantize_blocks *quantize[ORGAN_GGML_TYPES];
    /* Encoders with a search for scales; NULL for types without one. */
    organ_fit_blocks *fit[ORGAN_GGML_TYPES];
    organ_decode_codes *decode[ORGAN_CODES][ORGAN_REALS];
    organ_decode_levels *decode_levels[ORGAN_REALS];
    organ_encode_codes *encode[ORGAN_CODES]; /* E4M3, E5M2, I8, U8, E2M1 and U4; NULL for other codes */
    /* Returns the largest |v|. Ignores NaN; an infinity gives infinity. 0 if there is no number. */
    float (*amax)(const float *values, size_t n);

    /* Prunes one tile in place: rows x cols elements, rows `stride` elements apart, 1 <= cols <= stride, rows >= 1.
     * Elements (i, j) whose conductivity ends below the threshold become +0, also those that were -0; all other
     * elements keep their bits. A tile with mean |w| = 0 in FP32 is not changed. All sums are over this tile only.
     * `scratch`: organ_physarum_scratch(rows, cols) bytes, 64-byte aligned; its contents do not matter. Overwrites
     * *counts, as audit_16 and audit_32 do. */
    void (*physarum_bf16)(uint16_t *weights, size_t rows, size_t cols, size_t stride,
                          const organ_physarum_params *params, void *scratch, organ_prune_counts *counts);
    void (*physarum_f16)(uint16_t *weights, size_t rows, size_t cols, size_t stride,
                         const organ_physarum_params *params, void *scratch, organ_prune_counts *counts);
    void (*physarum_f32)(float *weights, size_t rows, size_t cols, size_t stride, const organ_physarum_params *params,
                         void *scratch, organ_prune_counts *counts);

    /* Sets *moments to the moments of n consecutive values; -0 is treated as +0 in min and max. Makes two passes over
     * each chunk of 4096 values and merges chunks in order (organ_moments_merge). */
    void (*moments_bf16)(const uint16_t *values, size_t n, organ_moments *moments);
    void (*moments_f16)(const uint16_t *values, size_t n, organ_moments *moments);
    void (*moments_f32)(const float *values, size_t n, organ_moments *moments);

    /* Adds the number of occurrences of each 16-bit word to counts[word]. */
    void (*count_codes)(const uint16_t *codes, size_t n, uint64_t counts[65536]);
    /* means[k] = (values[2k] + values[2k + 1]) * 0.5 in FP32, for k < n. */
    void (*pair_means_bf16)(const uint16_t *values, float *means, size_t n);
    void (*pair_means_f16)(const uint16_t *values, float *means, size_t n);
    void (*pair_means_f32)(const float *values, float *means, size_t n);
    /* Sets *result to mean and squared deviations of n values. Makes two passes over each chunk of 4096 values and
     * merges chunks in order (organ_spread_merge). If a value is not finite, the mean or m2 is not finite. */
    void (*spread)(const float *values, size_t n, organ_spread *result);
    /* Counts finite values by the bin of (value - mean) * (16 / std) in FP64, rounded down; std > 0. Value k is
     * counted in the histogram at counts + k % 4 * ORGAN_Z_BINS; the caller adds the four histograms. */
    void (*z_bins)(const float *values, size_t n, double mean, double std, uint64_t counts[4 * ORGAN_Z_BINS]);

    /* Purifies one row in place. The row is decomposed by an orthonormal Haar transform in FP32 into 5 levels, or as
     * many as n allows; a last value without a pair is copied to the next level. The limit of a level is threshold x
     * (median |detail| of the level / 0.6745). A detail is kept if it exceeds the limit of its level, and its parent,
     * if it has one, exceeds the limit of the next coarser level. Other details are noise and are multiplied by 1 -
     * strength. Approximations are not changed. The median of an even number of values is the mean of the two in the
     * middle. Values must be finite; if sums of neighbours overflow, so does the result. threshold >= 0, strength in
     * [0, 1]; `scratch` has n floats, whose contents do not matter. */
    void (*haar_purify)(float *row, size_t n, float threshold, float strength, float *scratch);

    /* Transcendental functions are SLEEF's with an error of at most 1 ulp, from its "finz" family, which has the same
     * bits on all CPUs with FMA. All other operations are single FP32 or FP64 operations in the order written. Bits
     * of NaN results may differ between ISAs. */
    /* gate[k] = f(gate[k]) * up[k], with f(x) = x / (1 + e^-x) for silu; x / (1 + e^-2u), u = 0.79788456 (x +
     * ((0.044715 x) x) x), for GELU with tanh; and (0.5 x) (1 + erf(0.70710678 x)) for GELU. */
    void (*gate_silu)(float *gate, const float *up, size_t n);
    void (*gate_gelu_tanh)(float *gate, const float *up, size_t n);
    void (*gate_gelu)(float *gate, const float *up, size_t n);
    /* values[k] = cap * tanh(values[k] / cap) */
    void (*softcap)(float *values, size_t n, float cap);
    /* values[k] = base ^ exponents[k]; the arrays may be the same. */
    void (*powers_of)(float base, const float *exponents, float *values, size_t n);
    /* values[k] = ln(1 + e^values[k]); above 20 the value itself, which is the same in FP32. */
    void (*softplus)(float *values, size_t n);
    /* values[k] = e^(values[k] - top) in FP32; returns their sum in FP32. */
    float (*exp_below)(float *values, size_t n, float top);
    /* Returns the sum of e^(values[k] - top) in FP64; values are not changed. */
    double (*exp_sum)(const float *values, size_t n, double top);
    /* Returns the Kullback-Leibler divergence of two softmaxes: the sum of e^p (p - q) in FP64, p = first[k] -
     * first_sum, q = other[k] - other_sum. `first` and `other` are logits, first_sum and other_sum the logarithms of
     * the sums of their exponentials. */
    double (*divergence)(const float *first, double first_sum, const float *other, double other_sum, size_t n);
    /* Returns the sum of (p + 1e-8) ln((p + 1e-8) / (q + 1e-8)) in FP64, where p and q are the softmaxes of the logits
     * `first` and `other`. first_sum and other_sum: the largest of the logits, and the sum of e^(logit - largest). */
    double (*raised_divergence)(const float *first, const double first_sum[2], const float *other,
                                const double other_sum[2], size_t n);
    /* Returns - sum of p log2 p, in bits, in FP64; p >= 0. */
    double (*entropy)(const double *p, size_t n);

    /* For each element of c, k is divided into chunks of 256 from 0 on. The total of a chunk starts at +0 and is
     * updated by fma(a, b, total) in FP32 for each l in order. The totals are combined with c in order: SET stores
     * the first and adds the others, ADD adds all, SUBTRACT subtracts all; in FP64 if `wide`. 16-bit floats are
     * widened exactly. A NaN in c becomes the positive quiet one without payload. This order does not depend on m
     * and n, so the product of fewer rows of a or b has the same bits. If k is 0, SET stores +0, and ADD and SUBTRACT
     * leave c unchanged. `scratch`: ORGAN_PRODUCT_SCRATCH bytes, 64-byte aligned; contents do not matter. */
    void (*product)(const organ_product *product, void *scratch);

    /* Returns the sum of fma(a[k], b[k], sum) over the lanes. Bits of NaN may differ between ISAs, here and below. */
    double (*dot_f64)(const double *a, const double *b, size_t n);
    /* y[k] = fma(factor, x[k], y[k]) */
    void (*add_scaled_f64)(double *y, double factor, const double *x, size_t n);
    /* Cholesky decomposition A = L L^T in FP32. Replaces A (n x n, row by row) on and above the diagonal by L^T;
     * elements below are not changed. From element (i, j), L^T(k, i) L^T(k, j) is subtracted for each k < i in order,
     * fused; the result is divided by the square root of (i, i). Stops if that pivot is not above 0. */
    void (*cholesky_f32)(float *a, size_t n);
    /* Replaces x by A^-1 x, given the factor from cholesky_f32. Forward: z(i) = x(i) / L(i, i), in order of i, and
     * each z(i) is subtracted from the later x, fused. Backward, from the last i: x(i) = (z(i) - sum over the lanes
     * of fma(L^T(i, j), x(j), sum), j > i) / L(i, i). */
    void (*solve_f32)(const float *factor, size_t n, float *x);

    /* Processes the tokens in order, each column j of the state on its own. With the token's query q, key k, value v,
     * decay g (g(i) with decay_by_key, else the same for all rows) and strength b:
     *     S(i, j) = g(i) S(i, j)
     *     w = b (v(j) - r) with delta, else b v(j);   r = the sum of k(i) S(i, j)
     *     S(i, j) = fma(k(i), w, S(i, j))
     *     out(j) = the sum of q(i) S(i, j)
     * Sums begin with +0 and add products by fma, in order of i. organ_recurrence_stride is the fastest stride. */
    void (*recurrence)(const organ_recurrence *recurrence);
    /* Processes the tokens in order, each channel j on its own. With the token's value v, step s, write w and read r:
     *     S(i, j) = fma(w(i), s(j) v(j), e^(rate(i, j) s(j)) S(i, j)),    in order of i
     *     v(j) = fma(skip(j), v(j), the sum of r(i) S(i, j))
     * The sum begins with +0 and adds the products by fma. */
    void (*selective_scan)(const organ_selective_scan *scan);

    /* Returns the number of elements that are +0 or -0. */
    uint64_t (*zeros_16)(const uint16_t *values, size_t n); /* BF16 and F16 */
    uint64_t (*zeros_32)(const float *values, size_t n);

    /* Compare a copy with its donor element by element, and overwrite *counts. */
    void (*audit_16)(const uint16_t *donor, const uint16_t *copy, size_t n,
                     organ_audit_counts *counts); /* BF16 and F16 */
    void (*audit_32)(const float *donor, const float *copy, size_t n, organ_audit_counts *counts);

    /* Divides a band of `rows` x `cols` values, rows `stride` values apart, into groups of `group` columns, the last of
     * which may be narrower. Sets scales[g] to the scale of group g that *search chooses; of equal errors the first try
     * wins, if they are equal in 20 bits of the fraction or overflow FP32. Groups whose largest magnitude is at most
     * 2^-100 get the scale of try 0. Errors are summed in FP32, a sum for each lane of 16 columns, rows in order, lanes
     * folded as l += l + 8, 4, 2, 1. Returns the sum of the errors of try 0, over the groups in order in FP64. A value
     * that is not finite makes the results of its group undefined, but not the others. rows, group >= 1. */
    double (*search_scales)(const organ_scale_search *search, const float *values, size_t stride, size_t rows,
                            size_t cols, size_t group, float *scales);
    /* Sets scales[k] and errors[k], k < 16, to the scale of try k for a group whose value of largest magnitude is
     * `farthest`, above 2^-100 in magnitude, and the error of n of its values with that scale, as in search_scales. */
    void (*scale_errors)(const organ_scale_search *search, const float *values, size_t n, float farthest, float *scales,
                         float *errors);
    /* Sets sums[0] to the sum of values[k]^2 and sums[1] to that of (values[k] - back[k])^2, for k < n. Differences in
     * FP32, squares and their sums in FP64. If a value is not finite, sums[0] is not. */
    void (*error_squares)(const float *values, const float *back, size_t n, double *sums);

    /* Sets scales[g] to the scale of group g of a row as search_scales does, but for the least sum of weights[j] times
     * the square of the error of column j, (error x weight) x error fused. cols is a multiple of `group`, or less. */
    void (*search_weighted)(const organ_scale_search *search, const float *values, const float *weights, size_t cols,
                            size_t group, float *scales);
    /* Sets scales[g] and minima[g] for each whole group g of a row of `cols` values: 16 starts are refitted twice by
     * least squares for their codes, rounded to `stored`, and the one with the least sum of weights[j] x error^2 is
     * compared with its neighbours of that type. mlx's own choice is one of the tries, so that none is worse. `weights`
     * may be NULL: all 1. Returns the sum of the unweighted errors of mlx, whose codes belong to numbers that are not
     * rounded. docs/definitions/quantisation.md defines the starts. */
    double (*fit_affine)(const organ_affine_fit *fit, const float *values, const float *weights, size_t cols,
                         float *scales, float *minima);
    /* Codes the columns of a block in order, each lane on its own. Column j has the number x = field(j) minus, in order
     * and fused, change(i) square(i, j) of each column i before it. Without descent, value(j) is the value nearest to
     * x, and change(j) = (x - value(j)) / square(j, j). With descent, value(j) becomes the value nearest to value(j) +
     * x / square(j, j), and change(j) is the difference of the two values. The value nearest to y has the level nearest
     * to (y - minimum) / scale: of `levels`, ties to the lower one, or a whole one in low .. high or an E4M3 number,
     * ties to even; if the scale is 0, the level nearest to 0. Values of columns that `keep` marks with 0 are 0.
     * `field` is not changed. */
    void (*code_columns)(const organ_coding *coding);
    /* Refits scale and minimum of each group of a block for the levels of its values, in order of columns. n is a
     * multiple of 8; columns of a group are adjacent. `field` is the gradient. The numbers grow to those with the least
     * loss, each rounded to its stored type, the minimum after the scale; not if the loss would not fall, or if a scale
     * would become 0, infinite, or change its sign. Updates scales, minima, values and field; overwrites `changes`.
     * `scratch`: 48 n floats, 64-byte aligned. */
    void (*refit_scales)(const organ_coding *coding, float *scratch);
    /* Set y[k] to x[k] rounded to a code and back (organ_rounding), for k < n: whole numbers, E4M3 numbers, E2M1
     * numbers. If a value of a group is not finite, the values of this group are copied. y may be x. */
    void (*round_integers)(const organ_rounding *rounding, const float *x, float *y, size_t n);
    void (*round_e4m3)(const organ_rounding *rounding, const float *x, float *y, size_t n);
    void (*round_e2m1)(const organ_rounding *rounding, const float *x, float *y, size_t n);
    /* to[c * to_stride + r] = from[r * from_stride + c] for r < rows, c < cols. */
    void (*transpose)(const float *from, size_t from_stride, float *to, size_t to_stride, size_t rows, size_t cols);

    /* A magnitude is the bits of an FP32 without its sign. Adds n values to 65536 counters: a value other than 0 to
     * the counter of the leading 16 of the 31 bits of its magnitude, a zero to one of the 16 from ORGAN_ZERO_CODES on,
     * which one is not defined. No value is a NaN with these bits. */
    void (*count_magnitudes)(const float *values, size_t n, uint64_t *counters);
    /* Writes the positions of values with magnitudes from `least` to `most`, in order, and returns their number.
     * `positions` has room for n < 2^32. */
    size_t (*find_magnitudes)(const float *values, size_t n, uint32_t least, uint32_t most, uint32_t *positions);
    /* Sets values whose magnitudes are not from `least` to `most` to +0, and returns the number of the others whose
     * magnitudes are one of the two; zeros do not count. Writes their positions as find_magnitudes does. */
    size_t (*keep_magnitudes)(float *values, size_t n, uint32_t least, uint32_t most, uint32_t *positions);
    /* Writes numbers first .. first + n - 1 of a stream of Philox4x32-10 with the seed as its key. Number k is made of
     * word k % 4 of the block with the counter k / 4 and, in its upper half, `stream`: the word's upper 24 bits times
     * 2^-23, less 1. */
    void (*philox_uniform)(uint64_t seed, uint64_t stream, uint64_t first, float *values, size_t n);
    /* Adds |first[k]| to sums[k % 8] and |second[k]| to sums[8 + k % 8], in FP64, in order of k. */
    void (*absolute_sums)(const float *first, const float *second, size_t n, double *sums);
    /* Returns whether none of n values is NaN or infinite. */
    bool (*all_finite)(const float *values, size_t n);
    /* out[k] = values[k] - base[k], for k < n. `out` may be one of the other arrays. */
    void (*subtract)(const float *values, const float *base, size_t n, float *out);
    /* Sets out[k], k < n, to base[k] plus a weighted sum of differences (organ_differences). */
    void (*merge_differences)(const organ_differences *differences, const float *base, size_t n, float *out);
    organ_encode_summed *encode_summed[ORGAN_CODES]; /* NULL where `encode` is */
    /* Returns the sum in FP64 of e^(min(first[k] + shift, other[k]) - top), each of which is computed in FP32. */
    double (*smaller_exp_sum)(const float *first, float shift, const float *other, float top, size_t n);
    /* Adds the squares of n columns of `rows` rows, which begin `stride` values apart, to sums[4][n], without an error
     * but for bits of a square below 2^-112. sums[p] are multiples of 2^(17 - 43 p), with room for the squares of
     * ORGAN_SQUARE_ROWS rows. Returns false, with sums of no use, if a value is NaN or beyond 2^30 in magnitude. */
    bool (*square_sums)(const float *values, size_t stride, size_t rows, size_t n, double *sums);
} organ_kernels;

/* Returns the bytes of scratch that the physarum kernels need for a tile of rows x cols: a multiple of 64, or 0 if the
 * number of bytes overflows size_t. */
size_t organ_physarum_scratch(size_t rows, size_t cols);

/* Returns the stride in floats for the rows of a state, which have value_dim floats: value_dim rounded up to an odd
 * number of cache lines. Rows are then aligned to lines and spread over all sets of a cache. */
size_t organ_recurrence_stride(size_t value_dim);

/* These functions merge `other` into `into` (Pebay 2008, formulas 2.1 and 3.1); either may be empty. Rounding depends
 * on the order, so callers merge in tile order. */
void organ_moments_merge(organ_moments *into, const organ_moments *other);
void organ_spread_merge(organ_spread *into, const organ_spread *other);

/* Decodes a scale stored as one byte. E8M0: 2^(code - 127); 0 is the subnormal 2^-127, 0xff NaN. E4M3: as
 * ORGAN_CODE_E4M3. Every NaN is 0x7fc00000. */
float organ_e8m0_to_f32(uint8_t code);
float organ_e4m3_to_f32(uint8_t code);
/* Extracts codes [first, first + n) from a row of little-endian 32-bit words, `bits` (1 to 8) each, lowest bits
 * first. Dense: code i begins at bit i x bits of the row and may cross words. Otherwise a word contains 32 / bits
 * codes, rounded down, and its top bits are unused. Reads no other bytes; words need no alignment. */
void organ_unpack_bits(const void *words, unsigned bits, int dense, size_t first, uint8_t *codes, size_t n);

/* Rows 2 c and 2 c + 1 of dst get the low and the high nibbles of column c of src, packed as ORGAN_CODE_U4, bytes XORed
 * with `flip`. */
void organ_transpose_nibbles(const uint8_t *src, size_t src_stride, uint8_t *dst, size_t dst_stride, size_t rows,
                             size_t cols, uint8_t flip);
/* dst[c * dst_stride + r] = src[r * src_stride + c] for r < rows, c < cols; strides in elements. */
void organ_transpose_u32(const uint32_t *src, size_t src_stride, uint32_t *dst, size_t dst_stride, size_t rows,
                         size_t cols);
#define ORGAN_SQUARE_ROWS 1024 /* see organ_kernels.square_sums */

/* Products by instructions that add dot products of BF16 pairs to FP32. SPLIT represents each value of `a` (FP32) and
 * of `b` (neither transposed) as a sum of BF16 terms, each the nearest to the remainder of the terms before it: three
 * terms for FP32, two for F16, one for BF16. It omits products of terms that together rank below the third. BF16 uses
 * only the first term; `a` may be BF16, and `b` FP32 transposed. c is FP32 or FP64. Sums run over chunks of 256 of k
 * and are combined with c as in organ_kernels, so computing parts of a product separately does not change a bit. Within
 * a chunk the order is that of the instructions, which treat subnormal operands as 0 and flush subnormal sums: bits
 * differ between values of `isa`. If an operand is not finite the result is not finite either, but it may be a NaN
 * where the exact product is infinite; a NaN is the positive quiet one. */
typedef struct organ_dots {
    const char *isa;                                              /* "amx", "avx512-bf16" */
    void (*product)(const organ_product *product, void *scratch); /* `scratch` as for organ_kernels.product */
} organ_dots;

/* The features of a CPU on which dispatch depends. */
typedef struct organ_cpu {
    int avx2, avx512, neon; /* 1: the CPU and the operating system support all instructions of that table */
    /* AMX-TILE and AMX-BF16; on Linux a process must request permission before it uses them */
    int amx;
    int avx512_bf16;
    /* VDPBF16PS is issued as often as an FMA of the same width, so it computes twice as many products: true for AMD */
    int dots_are_fast;
} organ_cpu;
organ_cpu organ_cpu_detect(void);

/* Returns the best table for `cpu`, or the one named `requested` ("scalar", "avx2", "avx512", "avx512-mixed", "neon";
 * NULL or "" selects the best). Returns NULL if the name is unknown, not in this build or not supported by the CPU;
 * *why is then the reason, a static string. */
const organ_kernels *organ_kernels_choose(organ_cpu cpu, const char *requested, const char **why);

/* Returns the implementation of products in mode `compute` that is used together with the table `kernels`: AMX if `cpu`
 * and this build have it, else AVX512-BF16 if it is faster than FP32 products. Returns NULL for EXACT; also if
 * `kernels` is not an AVX-512 table, if `cpu` has no such instructions, and if they would be slower than exact
 * products. *why is then the reason, a static string; "" for EXACT and on success. */
const organ_dots *organ_dots_choose(organ_cpu cpu, const organ_kernels *kernels, organ_compute compute,
                                    const char **why);

/* Returns the table that differs from `kernels` only in the implementation of the physarum tile, with equal results, or
 * NULL if there is none. Callers measure which one is faster on the CPU. */
const organ_kernels *organ_kernels_other_tile(const organ_kernels *kernels);

/* Returns 1 if this CPU prunes with these parameters to the same bits as every other. beta other than 2 and coupling
 * other than 0 or 1 use SLEEF's powf, whose last bits differ on an x86-64 without FMA. Always 1 on aarch64. */
int organ_physarum_runs(organ_cpu cpu, const organ_physarum_params *params);

/* One table for each ISA; NULL if not in this build. */
extern const organ_kernels *const organ_kernels_scalar, *const organ_kernels_avx2, *const organ_kernels_avx512,
                                                                                       *const organ_kernels_neon;
/* The avx512 table with a physarum tile that computes some quotients without the divider, which some CPUs have slow. */
extern const organ_kernels *const organ_kernels_avx512_mixed;
/* The scalar table for an x86-64 without FMA, where SLEEF's "finz" functions would fault. It uses the "cinz" family,
 * also at most 1 ulp but with other last bits. NULL on other builds. */
extern const organ_kernels *const organ_kernels_scalar_nofma;

/* The implementations of organ_dots; NULL if not in this build. */
extern const organ_dots *const organ_dots_amx, *const organ_dots_avx512_bf16;

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
