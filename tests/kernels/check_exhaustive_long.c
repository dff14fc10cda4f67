/* SPDX-License-Identifier: MIT
 * Runs every possible input on every table that this CPU supports: FP32 to BF16, F16, E4M3 and E5M2 for all 2^32
 * values; every 16-bit word through the widening kernels; every code with every one-byte scale; and each byte of a
 * block of each GGUF type with all its values. Prints a digest of the results, equal for all tables, which
 * tests/kernels/exhaustive.sh compares with committed ones. The expected results are computed differently: codes from a
 * sequence of exact ties, F16 also by the compiler's _Float16, blocks by the scalar table, which kernel_block_checks.c
 * checks against golden files and a second implementation. Not part of `ninja test`.
 * exhaustive_long [EVERY]: for emulated CPUs, runs every EVERY-th part of the 2^32 values and one pattern of blocks,
 * without digests. */
#include <organ/kernels.h>
#include "tests/kernels/kernel_reference.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { BLOCK = 1 << 16, MAX_ELEMENTS = 256, MAX_BYTES = 210 };
static uint32_t every = 1;
static int passed, failed;

static void judge(const organ_kernels *k, const char *table, const char *what, uint64_t wrong)
{
    if (wrong)
        printf("%s (%s): %s: %" PRIu64 " wrong\n", table, k->isa, what, wrong);
    passed += wrong == 0;
    failed += wrong != 0;
    fflush(stdout);
}

/* Prints a digest; all tables must have the digest of the first one. */
static void tell(const char *table, const char *what, uint64_t digest)
{
    static struct {
        char what[40];
        uint64_t digest;
    } told[128];
    static size_t count;
    size_t t = 0;
    while (t < count && strcmp(told[t].what, what) != 0)
        t++;
    if (t == count && count < sizeof told / sizeof *told) {
        snprintf(told[t].what, sizeof told[t].what, "%s", what);
        told[count++].digest = digest;
        printf("digest %s %016" PRIx64 "\n", what, digest);
    } else if (t == count || told[t].digest != digest) {
        printf("%s: %s: another digest, %016" PRIx64 "\n", table, what, digest);
        failed++;
        return;
    }
    passed++;
}

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* ---- FP32 to 16 and 8 bits ---- */

typedef enum target { TO_BF16, TO_F16, TO_E4M3, TO_E5M2, TARGETS } target;
static const char *const target_names[] = {"f32_to_bf16", "f32_to_f16", "f32_to_e4m3", "f32_to_e5m2"};

/* Returns the magnitude of a code; for 16-bit types, the code of infinity is worth the smallest value that rounds to
 * it. */
static double worth(target to, unsigned code)
{
    return to == TO_BF16 || to == TO_F16 ? reference_magnitude(to == TO_F16 ? reference_f16 : reference_bf16, code)
                                         : reference_code(to == TO_E4M3 ? ORGAN_CODE_E4M3 : ORGAN_CODE_E5M2, code);
}

static unsigned greatest(target to)
{
    if (to == TO_BF16 || to == TO_F16)
        return reference_infinity(to == TO_F16 ? reference_f16 : reference_bf16);
    return to == TO_E4M3 ? 0x7e : 0x7b;
}

typedef struct ladder {
    target to;
    unsigned code;
    uint32_t next; /* smallest magnitude that rounds to the next code */
} ladder;

/* Finds the tie between a code and the next one, which is exact in FP32 and rounds to the even code. */
static void lookup(ladder *l)
{
    if (l->code == greatest(l->to)) {
        l->next = 0x7f800001;
        return;
    }
    const double tie = (worth(l->to, l->code) + worth(l->to, l->code + 1)) / 2;
    const float narrow = (float)tie;
    if ((double)narrow != tie)
        abort();
    memcpy(&l->next, &narrow, sizeof narrow);
    l->next += l->code % 2 == 0;
}

static unsigned of_nan(target to, uint32_t bits)
{
    return to == TO_BF16 || to == TO_F16 ? reference_narrow(to == TO_F16 ? reference_f16 : reference_bf16, bits) : 0x7f;
}

/* Checks F16 with the compiler's type, if it has one. */
static int other_way_agrees(uint32_t bits, unsigned code)
{
#ifdef __FLT16_MAX__
    if ((bits & 0x7fffffff) <= 0x7f800000) {
        const _Float16 narrow = (_Float16)float_of(bits);
        uint16_t found;
        memcpy(&found, &narrow, sizeof found);
        return found == code;
    }
#endif
    (void)bits, (void)code;
    return 1;
}

static void narrow_block(const organ_kernels *k, target to, const float *values, uint16_t codes[BLOCK])
{
    static uint8_t bytes[BLOCK];
    if (to == TO_BF16 || to == TO_F16) {
        (to == TO_F16 ? k->f32_to_f16 : k->f32_to_bf16)(values, codes, BLOCK);
        return;
    }
    static const float one = 1;
    k->encode[to == TO_E4M3 ? ORGAN_CODE_E4M3 : ORGAN_CODE_E5M2](values, &one, BLOCK, bytes, BLOCK);
    for (size_t j = 0; j < BLOCK; j++)
        codes[j] = bytes[j];
}

/* Computes the expected codes of ascending magnitudes from `base` on; the code increases by one at each tie. */
static void climb(ladder *l, uint32_t sign, uint32_t base, uint16_t expected[BLOCK])
{
    const unsigned negative = l->to == TO_BF16 || l->to == TO_F16 ? 0x8000 : 0x80, minus = sign ? negative : 0;
    uint32_t j = 0;
    while (j < BLOCK && base + j <= 0x7f800000) {
        while (base + j >= l->next) {
            l->code++;
            lookup(l);
        }
        const uint32_t end = l->next - base < BLOCK ? l->next - base : BLOCK;
        for (; j < end; j++)
            expected[j] = (uint16_t)(l->code | minus);
    }
    for (; j < BLOCK; j++)
        expected[j] = (uint16_t)of_nan(l->to, sign | (base + j));
}

/* Checks the 2^31 values of one sign. `compiler`: also compares with the compiler's conversion, once for all tables. */
static uint64_t sweep(const organ_kernels *k, target to, uint32_t sign, int compiler, uint64_t *digest)
{
    static uint32_t bits[BLOCK];
    static uint16_t codes[BLOCK], expected[BLOCK];
    ladder l = {to, 0, 0};
    uint64_t wrong = 0;
    lookup(&l);
    for (uint32_t block = 0; block < 1u << 15; block += every) {
        for (uint32_t j = 0; j < BLOCK; j++)
            bits[j] = sign | block * BLOCK | j;
        narrow_block(k, to, (const float *)(const void *)bits, codes);
        climb(&l, sign, block * BLOCK, expected);
        if (memcmp(codes, expected, sizeof codes) != 0)
            for (uint32_t j = 0; j < BLOCK; j++)
                wrong += codes[j] != expected[j];
        for (uint32_t j = 0; j < BLOCK && compiler && to == TO_F16; j++)
            wrong += !other_way_agrees(bits[j], codes[j]);
        *digest = XXH3_64bits_withSeed(codes, sizeof codes, *digest);
    }
    return wrong;
}

static void narrow_all(const organ_kernels *k, const char *table, int first)
{
    for (int to = 0; to < TARGETS; to++) {
        uint64_t digest = 0;
        const uint64_t wrong =
            sweep(k, (target)to, 0, first, &digest) + sweep(k, (target)to, 0x80000000, first, &digest);
        judge(k, table, target_names[to], wrong);
        if (every == 1)
            tell(table, target_names[to], digest);
    }
}

/* ---- every 16-bit word, every byte ---- */

static void widen_all(const organ_kernels *k, const char *table)
{
    static uint16_t words[BLOCK];
    static uint32_t found[BLOCK];
    for (uint32_t w = 0; w < BLOCK; w++)
        words[w] = (uint16_t)w;
    for (int f16 = 0; f16 < 2; f16++) {
        const char *const what = f16 ? "f16_to_f32" : "bf16_to_f32";
        uint64_t wrong = 0;
        (f16 ? k->f16_to_f32 : k->bf16_to_f32)(words, (float *)(void *)found, BLOCK);
        for (uint32_t w = 0; w < BLOCK; w++)
            wrong += found[w] != reference_widen(f16 ? reference_f16 : reference_bf16, (uint16_t)w);
        judge(k, table, what, wrong);
        tell(table, what, XXH3_64bits(found, sizeof found));
    }
}

/* Returns the bits of a value, with one pattern for all NaN. */
static uint32_t settled(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return isnan(value) ? 0x7fc00000 : bits;
}

/* Decodes all 256 bytes of each kind of code with each one-byte scale to FP32. The expected product is exact in
 * FP64. */
static void decode_all(const organ_kernels *k, const char *table)
{
    static const char *const names[ORGAN_CODES] = {"e4m3", "e5m2", "e4m3fnuz", "e5m2fnuz", "i8", "u8", "e2m1", "u4"};
    uint8_t bytes[256];
    for (int c = 0; c < 256; c++)
        bytes[c] = (uint8_t)c;
    for (int code = 0; code < ORGAN_CODES; code++) {
        const int nibbles = code == ORGAN_CODE_E2M1 || code == ORGAN_CODE_U4, n = nibbles ? 512 : 256;
        uint64_t digest = 0, wrong = 0;
        for (int s = 0; s < 512; s++) {
            const float scale = s < 256 ? organ_e8m0_to_f32((uint8_t)s) : organ_e4m3_to_f32((uint8_t)s);
            uint32_t bits[512];
            float found[512];
            k->decode[code][ORGAN_REAL_F32](bytes, &scale, NULL, 512, found, (size_t)n);
            for (int j = 0; j < n; j++) {
                const unsigned raw = nibbles ? (unsigned)(j % 2 ? bytes[j / 2] >> 4 : bytes[j / 2] & 15) : bytes[j];
                const float expected = (float)(reference_code((organ_code)code, raw) * (double)scale);
                bits[j] = settled(found[j]);
                wrong += bits[j] != settled(expected);
            }
            digest = XXH3_64bits_withSeed(bits, sizeof *bits * (size_t)n, digest);
        }
        judge(k, table, names[code], wrong);
        tell(table, names[code], digest);
    }
}

/* ---- blocks of GGUF ---- */

typedef struct block_type {
    const char *name;
    int number;
    size_t elements, bytes;
} block_type;
static const block_type types[] = {
    {"Q4_0", 2, 32, 18},      {"Q4_1", 3, 32, 20},      {"Q5_0", 6, 32, 22},      {"Q5_1", 7, 32, 24},
    {"Q8_0", 8, 32, 34},      {"Q2_K", 10, 256, 84},    {"Q3_K", 11, 256, 110},   {"Q4_K", 12, 256, 144},
    {"Q5_K", 13, 256, 176},   {"Q6_K", 14, 256, 210},   {"IQ2_XXS", 16, 256, 66}, {"IQ2_XS", 17, 256, 74},
    {"IQ3_XXS", 18, 256, 98}, {"IQ1_S", 19, 256, 50},   {"IQ4_NL", 20, 32, 18},   {"IQ3_S", 21, 256, 110},
    {"IQ2_S", 22, 256, 82},   {"IQ4_XS", 23, 256, 136}, {"I8", 24, 1, 1},         {"IQ1_M", 29, 256, 56},
    {"TQ1_0", 34, 256, 54},   {"TQ2_0", 35, 256, 66},   {"MXFP4", 39, 32, 17},    {"NVFP4", 40, 64, 36},
    {"Q1_0", 41, 128, 18},    {"Q2_0", 42, 64, 18},
};

enum { PATTERNS = 16 };

/* Gives each byte of a block all its values while the others follow one of several patterns, because lookups can depend
 * on more bits than one byte has. */
static void blocks_all(const organ_kernels *k, const char *table, const block_type *t)
{
    static unsigned char blocks[256 * MAX_BYTES];
    static float found[256 * MAX_ELEMENTS], expected[256 * MAX_ELEMENTS];
    static uint32_t bits[256 * MAX_ELEMENTS];
    uint64_t digest = 0, wrong = 0, state = 88172645463325252u;
    const size_t n = 256 * t->elements, patterns = every == 1 ? PATTERNS : 1;
    for (size_t step = 0; step < patterns * t->bytes; step++) {
        static unsigned char pattern[MAX_BYTES];
        const size_t at = step % t->bytes;
        for (size_t b = 0; b < t->bytes && at == 0; b++) {
            state ^= state << 13, state ^= state >> 7, state ^= state << 17;
            pattern[b] = (unsigned char)(state >> 32);
        }
        for (size_t value = 0; value < 256; value++) {
            memcpy(blocks + value * t->bytes, pattern, t->bytes);
            blocks[value * t->bytes + at] = (unsigned char)value;
        }
        k->dequantize[t->number](blocks, found, 256);
        organ_kernels_scalar->dequantize[t->number](blocks, expected, 256);
        for (size_t j = 0; j < n; j++) {
            bits[j] = settled(found[j]);
            wrong += bits[j] != settled(expected[j]);
        }
        digest = XXH3_64bits_withSeed(bits, n * sizeof *bits, digest);
    }
    judge(k, table, t->name, wrong);
    if (every == 1)
        tell(table, t->name, digest);
}

/* Checks all words of F16, BF16 and I16 of GGUF. */
static void words_all(const organ_kernels *k, const char *table)
{
    static const struct {
        const char *name;
        int number;
    } of[] = {{"F16 of GGUF", 1}, {"BF16 of GGUF", 30}, {"I16 of GGUF", 25}};
    static uint16_t words[BLOCK];
    static float found[BLOCK];
    for (uint32_t w = 0; w < BLOCK; w++)
        words[w] = (uint16_t)w;
    for (size_t t = 0; t < sizeof of / sizeof *of; t++) {
        uint64_t wrong = 0;
        k->dequantize[of[t].number](words, found, BLOCK);
        for (uint32_t w = 0; w < BLOCK; w++) {
            const float integer = (float)(int16_t)w,
                        expected = t == 2 ? integer
                                          : float_of(reference_widen(t ? reference_bf16 : reference_f16, (uint16_t)w));
            wrong += settled(found[w]) != settled(expected);
        }
        judge(k, table, of[t].name, wrong);
    }
}

int main(int argc, char **argv)
{
    const organ_cpu cpu = organ_cpu_detect();
    const struct {
        const char *name;
        const organ_kernels *table;
        int runs;
    } tables[] = {
        {"scalar", organ_kernels_scalar, !organ_kernels_scalar_nofma || cpu.avx2},
        {"scalar without FMA", organ_kernels_scalar_nofma, 1},
        {"avx2", organ_kernels_avx2, cpu.avx2},
        {"avx512", organ_kernels_avx512, cpu.avx512},
        {"avx512-mixed", organ_kernels_avx512_mixed, cpu.avx512},
        {"neon", organ_kernels_neon, cpu.neon},
    };
    every = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 1;
    if (every < 1 || every > 256)
        return 2;
    int first = 1;
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++) {
        const organ_kernels *const k = tables[t].table;
        if (!k || !tables[t].runs)
            continue;
        printf("table %s\n", tables[t].name);
        narrow_all(k, tables[t].name, first);
        widen_all(k, tables[t].name);
        decode_all(k, tables[t].name);
        words_all(k, tables[t].name);
        for (size_t b = 0; b < sizeof types / sizeof *types; b++)
            blocks_all(k, tables[t].name, &types[b]);
        first = 0;
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
