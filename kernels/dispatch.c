/* SPDX-License-Identifier: MIT
 * The kernel tables, and the selection of one: a pure function of the CPU's features and an optional name. Compiled
 * without the flags of any ISA, because it runs on every CPU. */
#include "kernels/encoders.h"
#include <string.h>
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "organ supports only little-endian machines: it uses weights in the byte order of their files"
#endif

DECLARE_KERNELS(scalar)
DECLARE_ENCODERS(scalar)
static const organ_kernels scalar = KERNEL_TABLE("scalar", scalar, scalar, );
const organ_kernels *const organ_kernels_scalar = &scalar;
#if defined(__x86_64__)
DECLARE_KERNELS(avx2)
DECLARE_ENCODERS(avx2)
DECLARE_KERNELS(avx512)
DECLARE_ENCODERS(avx512)
DECLARE_PHYSARUM(avx512, _mixed)
DECLARE_MATH(nofma)
static const organ_kernels avx2 = KERNEL_TABLE("avx2", avx2, avx2, ), avx512 = KERNEL_TABLE("avx512", avx512, avx512, ),
                           mixed = KERNEL_TABLE("avx512-mixed", avx512, avx512, _mixed),
                           nofma = KERNEL_TABLE("scalar", scalar, nofma, );
const organ_kernels *const organ_kernels_avx2 = &avx2, *const organ_kernels_avx512 = &avx512,
                           *const organ_kernels_avx512_mixed = &mixed, *const organ_kernels_scalar_nofma = &nofma;
#else
const organ_kernels *const organ_kernels_avx2 = NULL, *const organ_kernels_avx512 = NULL,
                           *const organ_kernels_avx512_mixed = NULL, *const organ_kernels_scalar_nofma = NULL;
#endif
#if defined(__aarch64__)
DECLARE_KERNELS(neon)
DECLARE_ENCODERS(neon)
static const organ_kernels neon = KERNEL_TABLE("neon", neon, neon, );
const organ_kernels *const organ_kernels_neon = &neon;
#else
const organ_kernels *const organ_kernels_neon = NULL;
#endif

#if defined(__x86_64__)
#include <cpuid.h>

/* CPUID is read directly, because __builtin_cpu_supports of clang 14 lacks F16C. */
static int has_f16c(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && c & bit_F16C;
}

/* Reads CPUID directly, because __builtin_cpu_supports of older compilers lacks these features. dots_are_fast is
 * true for every CPU of AMD (the vendor is in leaf 0), because only there AVX512-BF16 is faster than FMA.
 * AVX512-BF16 is bit 5 of EAX in leaf 7.1, AMX-BF16 and AMX-TILE are bits 22 and 24 of EDX in leaf 7.0. Bits 17 and
 * 18 of the register XCR0 are set if the system saves the tile registers; XCR0 may be read only if CPUID reports
 * OSXSAVE. */
static void detect_dots(organ_cpu *cpu)
{
    unsigned a, b, c, d, low, high;
    if (__get_cpuid(0, &a, &b, &c, &d))
        cpu->dots_are_fast = b == signature_AMD_ebx && c == signature_AMD_ecx && d == signature_AMD_edx;
    cpu->avx512_bf16 = cpu->avx512 && __get_cpuid_count(7, 1, &a, &b, &c, &d) && a >> 5 & 1;
    if (!cpu->avx512 || !__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE) ||
        !__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    cpu->amx = d >> 22 & d >> 24 & low >> 17 & low >> 18 & 1;
}
#endif

organ_cpu organ_cpu_detect(void)
{
    organ_cpu cpu = {0};
#if defined(__x86_64__)
    /* the built-in reads CPUID for the instructions and XGETBV for the registers that the system saves */
    __builtin_cpu_init();
    cpu.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("popcnt") &&
               has_f16c();
    cpu.avx512 = cpu.avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                 __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    detect_dots(&cpu);
#elif defined(__aarch64__)
    cpu.neon = 1; /* part of the architecture */
#endif
    return cpu;
}

const organ_kernels *organ_kernels_choose(organ_cpu cpu, const char *requested, const char **why)
{
    const struct {
        const char *isa;
        const organ_kernels *table;
        int supported;
    } rows[] = {
        /* best first */
        {"avx512", organ_kernels_avx512, cpu.avx512},
        {"avx2", organ_kernels_avx2, cpu.avx2},
        {"neon", organ_kernels_neon, cpu.neon},
        {"scalar", organ_kernels_scalar_nofma && !cpu.avx2 ? organ_kernels_scalar_nofma : organ_kernels_scalar, 1},
        {"avx512-mixed", organ_kernels_avx512_mixed, cpu.avx512}, /* only if requested by name */
    };
    const int any = !requested || !*requested;
    *why = "unknown name; the names are scalar, avx2, avx512, avx512-mixed, neon";
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        const int usable = rows[k].table && rows[k].supported;
        if (!any && strcmp(requested, rows[k].isa) != 0)
            continue;
        if (usable)
            return rows[k].table;
        if (any)
            continue;
        *why = rows[k].table ? "this CPU does not support it" : "this build has no kernels for it";
        return NULL;
    }
    return NULL;
}

const organ_dots *organ_dots_choose(organ_cpu cpu, const organ_kernels *kernels, organ_compute compute,
                                    const char **why)
{
    *why = "";
    if (compute == ORGAN_COMPUTE_EXACT)
        return NULL;
    if (kernels != organ_kernels_avx512 && kernels != organ_kernels_avx512_mixed)
        *why = "BF16 products need AVX-512";
    else if (cpu.amx && organ_dots_amx)
        return organ_dots_amx;
    else if (!cpu.avx512_bf16)
        *why = "this CPU has neither AMX nor AVX512-BF16";
    else if (compute == ORGAN_COMPUTE_SPLIT)
        *why = "this CPU has no AMX, and three terms by AVX512-BF16 are slower than exact FP32 products";
    else if (!cpu.dots_are_fast)
        *why = "this CPU has no AMX, and its AVX512-BF16 is no faster than exact FP32 products";
    else
        return organ_dots_avx512_bf16;
    return NULL;
}

/* Only the avx512 table has such a twin. */
const organ_kernels *organ_kernels_other_tile(const organ_kernels *kernels)
{
    return kernels == organ_kernels_avx512 ? organ_kernels_avx512_mixed : NULL;
}

/* Exponents other than 2 and couplings other than 0 and 1 need pow by SLEEF with FMA, which x86 has from AVX2 on. */
int organ_physarum_runs(organ_cpu cpu, const organ_physarum_params *params)
{
#if defined(__x86_64__)
    const int multiplies = params->beta == 2.0f && (params->coupling == 0.0f || params->coupling == 1.0f);
    return multiplies || cpu.avx2;
#else
    (void)cpu, (void)params;
    return 1;
#endif
}

size_t organ_recurrence_stride(size_t value_dim) { return ((value_dim + 15) / 16 | 1) * 16; }
