/* SPDX-License-Identifier: MIT
 * The definitions in the report of organ quantize: sentences that explain how scales and codes were chosen and what the
 * figures mean. */
#include "orchestrator/verbs/quantize/quantize_parts.h"

#include "formats/base/plain_numbers.h"
#include "orchestrator/report/text/report_text.h"

/* The scales of FP4, MXFP8 and MLX. `then` comes after the sentence. */
static json_t *small_scale_definition(const organ_quantize_job *job, const char *then)
{
    const organ_grid *const grid = &job->encoding->grid;
    const char *const weight = job->along.run ? "weight x " : "";
    if (organ_grid_is_free(grid))
        return organ_json_sprintf(
            "%sf 16 pairs of scale and minimum for a group of columns of a row, refitted twice by "
            "least squares and rounded to the type of the weights, and the neighbours of the best "
            "in that type, the pair with the least sum of %s(value - code x scale - minimum)^2.%s",
            job->along.run ? "At first, o" : "O", weight, then);
    if (grid->scale_of == ORGAN_SCALE_E8M0)
        return organ_json_sprintf("%sf three neighbouring powers of 2 for 32 columns of a row, the one with the least "
                                  "sum of %s(value - code x scale)^2.%s",
                                  job->along.run ? "At first, o" : "O", weight, then);
    return organ_json_sprintf(
        "%sf the 16 E4M3 numbers around the greatest magnitude / 6 of 16 columns of a row, the one with the least sum "
        "of "
        "%s(value - code x scale)^2%s.%s",
        job->along.run ? "At first, o" : "O", weight,
        organ_encoding_has_divisor(job->encoding)
            ? ", not below 2^-6, after the tensor was multiplied by its own scale: the greatest power of 2 up to 448 x "
              "6 / its greatest magnitude, of matrices that servers fuse the least"
            : "",
        then);
}

static json_t *scale_definition(const organ_quantize_job *job)
{
    static const char *const of[] = {[ORGAN_SCALE_BLOCK] = "a block of 128 x 128 values (fewer at the edges)",
                                     [ORGAN_SCALE_TENSOR] = "the tensor",
                                     [ORGAN_SCALE_CHANNEL] = "a row",
                                     [ORGAN_SCALE_GROUP] = "a group of columns of a row"};
    static const char *const then =
        " Then the value that minimises the error of the outputs with these codes, rounded in the same way.";
    const organ_grid *const grid = &job->encoding->grid;
    const bool block = grid->scale_of == ORGAN_SCALE_BLOCK, solved = job->along.run && !job->options->no_refit;
    const bool of_rows = grid->scale_of == ORGAN_SCALE_CHANNEL || grid->scale_of == ORGAN_SCALE_GROUP;
    const bool refits = solved && grid->scale_of >= ORGAN_SCALE_GROUP;
    if (grid->scale_of > ORGAN_SCALE_GROUP)
        return small_scale_definition(job, refits ? then : "");
    if (job->widths)
        return organ_json_sprintf(
            "%sf 16 scales for %s, positive and negative, rounded to BF16, the one with the least sum of "
            "weight x (value - code x scale)^2, with the mean square of the column's input on the text "
            "as weight. The first is the greatest magnitude / half of the steps between the least and "
            "the greatest code, 2^-7 where all are zero.%s",
            solved ? "At first, o" : "O", of[grid->scale_of], solved ? then : "");
    if (!job->along.run && organ_quantize_keeps_scale(grid))
        return organ_json_sprintf("The greatest magnitude of %s / %g, rounded to BF16; 2^-7 where all are zero.",
                                  of[grid->scale_of], (double)organ_grid_max(grid));
    return organ_json_sprintf(
        "%sf 16 scales for %s, %s, the one with the least sum of %s(value - code x scale)^2%s. The first "
        "is the greatest magnitude / %g, %s where all are zero; the others divide it by other "
        "numbers%s.%s",
        refits ? "At first, o" : "O", of[grid->scale_of], block ? "in FP32" : "rounded to BF16",
        job->along.run && of_rows ? "weight x " : "",
        job->along.run && of_rows ? ", with the mean square of the column's input on the text as weight" : "",
        (double)organ_grid_max(grid), block ? "1" : "2^-7",
        organ_grid_search(grid)->signs ? ", and may be negative" : "", refits ? then : "");
}

static json_t *code_definition(const organ_quantize_job *job)
{
    const unsigned bits = job->encoding->grid.bits;
    const int half = bits ? 1 << (bits - 1) : 0;
    const char *const rule = job->along.run ? " Value is the weight plus the compensation of columns that are already "
                                              "coded, in order of falling mean square of the input."
                                            : "";
    if (job->widths)
        return organ_json_sprintf(
            "The whole number from -2^(bits - 1) to 2^(bits - 1) - 1 nearest to value / scale in FP32, "
            "ties to even, stored "
            "with 2^(bits - 1) added; bits is the tensor's width under the budget.%s",
            rule);
    if (organ_encoding_is_fp4(job->encoding))
        return organ_json_sprintf("The E2M1 code nearest to value / scale in FP32, at most 6 in magnitude.%s", rule);
    if (organ_grid_is_free(&job->encoding->grid))
        return organ_json_sprintf("The whole number from 0 to 2^bits - 1 nearest to (value - minimum) / scale in FP32, "
                                  "ties to even, with the stored scale and minimum.%s",
                                  rule);
    if (!bits)
        return organ_json_sprintf(
            "The E4M3 code nearest to value / scale in FP32, ties to even, at most 448 in magnitude.%s", rule);
    if (!organ_encoding_is_packed(job->encoding))
        return organ_json_sprintf("The whole number from %d to %d nearest to value / scale in FP32, ties to even.%s",
                                  -half, half - 1, rule);
    return organ_json_sprintf(
        "The whole number from %d to %d nearest to value / scale in FP32, ties to even, stored with %d added.%s", -half,
        half - 1, half, rule);
}

static json_t *blocks_scale_definition(const organ_quantize_job *job)
{
    const bool solved = job->along.run && !job->options->no_refit;
    const char *weights = "";
    if (job->imatrix.file)
        weights = "; the weight of a column is the mean square of its input, by the imatrix";
    else if (job->along.run)
        weights = "; the weight of a column is the mean square of its input on the text, 1 for embeddings and head";
    return organ_json_sprintf(
        "%sf the scales tried for a block, those with the smallest sum of %s(value - value of its code)^2%s.%s",
        job->along.run ? "At first, o" : "O", job->imatrix.file || job->along.run ? "weight x " : "", weights,
        solved ? " Then, except for embeddings and head, the scales that minimise the error of the outputs with these "
                 "codes, limited to values that blocks can store."
               : "");
}

/* 127.5 and 448 are those of compressed-tensors. */
static const char *input_scale_definition(const organ_quantize_job *job)
{
    const bool whole = job->inputs && job->inputs->rounding.codes == ORGAN_INPUTS_INT8;
    if (!organ_quantize_static(job->options))
        return "448 x 6 / the greatest magnitude of an input on the text, for all of its tokens.";
    if (organ_quantize_by_error(job->options))
        return "Of the scales of (1 - k / 128) x the greatest magnitude of an input on the text, k = 0 .. 119, the "
               "first with the least sum of (input - code x scale)^2 over all inputs, counted in 512 bins for each "
               "power of 2. Matrices that servers fuse, and the experts of a layer, have one scale.";
    return whole ? "The greatest magnitude of an input on the text / 127.5, rounded to BF16. Matrices that servers "
                   "fuse, and the experts of a layer, have one scale."
                 : "The greatest magnitude of an input on the text / 448, rounded to BF16. Matrices that servers fuse, "
                   "and the experts of a layer, have one scale.";
}

static json_t *codes_definition(const organ_quantize_job *job)
{
    return ORGAN_OBJECT(
        SET("scale", scale_definition(job)), SET("code", code_definition(job)),
        SET_IF(organ_quantize_measures(job->options), "input_scale", json_string(input_scale_definition(job))),
        SET_IF(job->cache.run, "kv_cache",
               json_string("The greatest magnitude of a key (after its rotation) or value on the text / 448, in the "
                           "unquantised model; 1 if it is 0. The tensors have it rounded to BF16.")),
        SET_TEXT("relative_error", "The Frobenius norm of W - code x scale over that of W, where W are the original "
                                   "values, all in FP32, sums in "
                                   "FP64; of several tensors, over all their values together."),
        SET_IF(!job->along.run, "absmax_error", json_string("The same with the first scale for all values.")),
        SET_IF(job->along.run, "output_error",
               json_string("The root of tr(E H E^T) / tr(W H W^T), with E = W - code x scale and H the damped second "
                           "moments of the inputs: the relative error of the outputs on the calibration text. "
                           "gptq_output_error is that of GPTQ before the refit.")),
        SET_IF(job->block.encoding, "mtp_scheme",
               json_string("Scales and codes of the block for multi-token prediction are chosen as for its own scheme, "
                           "the member scheme of its tensors; the definitions above are those of the other tensors.")),
        SET_IF(job->pruning, "sparsity",
               json_string("Percent of weights that the pruning set to zero (masked); zeros counts the codes that mean "
                           "0, including these. relative_error is relative to the weights before pruning, the errors "
                           "of outputs to the kept weights.")));
}

#define FALLS_BACK                                                                                                     \
    "Rows that are not whole blocks of 256 become Q5_0 instead of Q4_K, Q5_1 instead of Q5_K, Q8_0 instead of Q6_K"
#define STORED_BY_SCHEME                                                                                               \
    "The scheme's type, or that of --type-of. " FALLS_BACK                                                             \
    ". Without --select the output head (or the token embedding if it is also the head) becomes Q6_K, or Q8_0 if "     \
    "that is the scheme."
#define STORED_BY_RECIPE                                                                                               \
    "The type that llama-quantize gives the tensor in a file of this name, or that of --type-of. " FALLS_BACK          \
    ", and those that are not whole blocks of 32 become F16."

static json_t *blocks_definition(const organ_quantize_job *job)
{
    return ORGAN_OBJECT(
        SET("scale", blocks_scale_definition(job)),
        SET("code",
            organ_json_sprintf("The code nearest to the value with the stored scales.%s",
                               job->along.run
                                   ? " Except for embeddings and head, value is the weight plus the compensation of "
                                     "columns that are already coded, in order of falling mean square of the input."
                                   : "")),
        SET("stored_as", json_string(job->recipe ? STORED_BY_RECIPE : STORED_BY_SCHEME)),
        SET_TEXT("relative_error", "The Frobenius norm of W - W' over that of W, where W' are the values of the "
                                   "blocks, in FP32, sums in FP64; of several "
                                   "tensors, over all their values together."),
        SET_IF(!job->along.run, "absmax_error",
               json_string("The same with the blocks of ggml's reference, whose scales map the values of largest "
                           "magnitude to the last code; null for Q4_K, Q5_K and Q6_K.")),
        SET_IF(
            job->imatrix.file, "weighted_error",
            json_string("relative_error with each column times the root of its weight; over tensors with an entry.")),
        SET_IF(job->imatrix.file, "unreached_experts",
               json_string("Matrices of experts that got no token of the imatrix's text: their columns have the mean "
                           "squares over the tokens of all experts of the layer.")),
        SET_IF(
            job->along.run, "output_error",
            json_string("The root of tr(E H E^T) / tr(W H W^T), with E = W - W', W' the values of the blocks and H the "
                        "damped second moments of the inputs: the relative error of the outputs on the calibration "
                        "text, over the calibrated tensors. gptq_output_error is that of GPTQ before the refit.")),
        SET_TEXT("bits_per_weight",
                 "8 x bytes after / elements, of the quantised tensors; bits_per_weight_of_all: of all "
                 "tensors, as llama.cpp counts."));
}

json_t *organ_quantize_definitions(const organ_quantize_job *job)
{
    return job->writer ? blocks_definition(job) : codes_definition(job);
}
