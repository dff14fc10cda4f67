/* SPDX-License-Identifier: MIT
 * Describes a weight in words: scheme, bits, blocks, zero points, types of scales. */
#include <organ/weights.h>

#include <organ/base.h>

#include <inttypes.h>
#include <stdio.h>

static const struct scheme {
    const char *name;  /* result of organ_scheme_name */
    const char *codes; /* name of the codes in the text; NULL: the name of their FP8 type */
    bool integers;     /* integer codes: the text states whether they are asymmetric (with zero points) or symmetric */
    bool prints_bits;  /* "INT" and the bits of a code follow `codes` */
} schemes[ORGAN_SCHEME_COUNT] = {
    [ORGAN_SCHEME_PLAIN] = {"plain", NULL, false, false},
    [ORGAN_SCHEME_FP8] = {"fp8", NULL, false, false},
    [ORGAN_SCHEME_INT8] = {"int8", "INT8", true, false},
    [ORGAN_SCHEME_PACKED] = {"pack-quantized", "", true, true},
    [ORGAN_SCHEME_MXFP8] = {"mxfp8", "MXFP8 E4M3", false, false},
    [ORGAN_SCHEME_MXFP4] = {"mxfp4", "MXFP4", false, false},
    [ORGAN_SCHEME_NVFP4] = {"nvfp4", "NVFP4", false, false},
    [ORGAN_SCHEME_GPTQ] = {"gptq", "GPTQ ", true, true},
    [ORGAN_SCHEME_AWQ_GEMM] = {"awq-gemm", "AWQ gemm ", true, true},
    [ORGAN_SCHEME_AWQ_GEMV] = {"awq-gemv", "AWQ gemv ", true, true},
    [ORGAN_SCHEME_MLX] = {"mlx-affine", "MLX ", false, true},
};

const char *organ_scheme_name(organ_scheme scheme) { return schemes[scheme].name; }

static const char *fp8_name(organ_dtype dtype)
{
    switch (dtype) {
    case ORGAN_F8_E4M3:
        return "FP8 E4M3";
    case ORGAN_F8_E5M2:
        return "FP8 E5M2";
    case ORGAN_F8_E4M3FNUZ:
        return "FP8 E4M3FNUZ";
    default:
        return "FP8 E5M2FNUZ";
    }
}

static void put_codes(const organ_weight *weight, FILE *out)
{
    const struct scheme *const scheme = &schemes[weight->scheme];
    fputs(scheme->codes ? scheme->codes : fp8_name(weight->codes->dtype), out);
    if (scheme->prints_bits)
        fprintf(out, "INT%u", weight->bits);
}

/* The group of a transposed weight may be block_rows values of a column. */
static void put_block(const organ_weight *weight, FILE *out)
{
    const organ_matrices m = organ_weight_matrices(weight);
    const bool per_matrix = weight->block_rows == m.rows && weight->block_cols == m.cols;
    if (per_matrix)
        fputs(weight->scale->elements == 1 ? ", per tensor" : ", per matrix", out);
    else if (weight->block_rows == 1 && weight->block_cols == m.cols)
        fputs(", per channel", out);
    else if (weight->block_rows == 1 || weight->block_cols == 1)
        fprintf(out, ", group %" PRIu64, weight->block_rows == 1 ? weight->block_cols : weight->block_rows);
    else
        fprintf(out, ", block %" PRIu64 " x %" PRIu64, weight->block_rows, weight->block_cols);
}

/* Tools store the scales of MXFP4, MXFP8 and NVFP4 as different types of a byte, but their meaning is always E8M0
 * (MX) or E4M3 (NVFP4). */
static const char *scale_name(const organ_weight *weight)
{
    const bool exponents = weight->scheme == ORGAN_SCHEME_MXFP4 || weight->scheme == ORGAN_SCHEME_MXFP8;
    if (weight->scheme == ORGAN_SCHEME_NVFP4)
        return organ_dtype_name(ORGAN_F8_E4M3);
    return exponents ? "E8M0" : organ_dtype_name(weight->scale->dtype);
}

static void put_weight(const organ_weight *weight, FILE *out)
{
    if (weight->scheme == ORGAN_SCHEME_PLAIN) {
        fputs(organ_dtype_name(weight->codes->dtype), out);
        if (weight->global)
            fprintf(out, ", %s tensor scale", organ_dtype_name(weight->global->dtype));
        return;
    }
    put_codes(weight, out);
    put_block(weight, out);
    if (weight->scheme == ORGAN_SCHEME_GPTQ)
        fputs(", zero points", out); /* symmetric weights may have them too, all equal */
    else if (schemes[weight->scheme].integers)
        fputs(weight->zero ? ", asymmetric" : ", symmetric", out);
    if (weight->g_idx)
        fputs(", group index", out);
    fprintf(out, ", %s scales%s", scale_name(weight), weight->bias ? " and biases" : "");
}

char *organ_weight_text(const organ_weight *weight, char *out, size_t size)
{
    if (size == 0)
        return out;
    FILE *const text = fmemopen(out, size, "w");
    *out = '\0';
    if (text) {
        put_weight(weight, text);
        fclose(text);
        out[size - 1] = '\0';
    } else {
        organ_memory_count_refusal();
    }
    return out;
}
