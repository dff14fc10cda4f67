/* SPDX-License-Identifier: MIT
 * Makes the report of organ quantize. SET_IF(condition, name, value) adds a member only if the condition is true.
 * job->writer is set for GGUF only, job->pruning and job->widths for safetensors only. */
#include "orchestrator/verbs/quantize/quantize_parts.h"

#include "formats/base/plain_numbers.h"
#include "formats/base/rows.h"
#include "formats/base/text.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/output/inputs.h"
#include "orchestrator/report/text/report_text.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

/* Makes the definitions in the report of organ quantize: sentences that explain how scales and codes were chosen and
 * what the figures mean. */

/* The scales of FP4, MXFP8 and MLX. `weighted`: errors are weighted. */
static json_t *quantize_definitions_small_scale(const organ_quantize_job *job, const char *then)
{
    const organ_grid *const grid = &job->encoding->grid;
    const char *const weight = job->calib ? "weight x " : "";
    if (organ_grid_is_free(grid))
        return organ_json_sprintf(
            "%sf 16 pairs of scale and minimum for a group of columns of a row, refitted twice by "
            "least squares and rounded to the type of the weights, and the neighbours of the best "
            "in that type, the pair with the least sum of %s(value - code x scale - minimum)^2.%s",
            job->calib ? "At first, o" : "O", weight, then);
    if (grid->scale_of == ORGAN_SCALE_E8M0)
        return organ_json_sprintf("%sf three neighbouring powers of 2 for 32 columns of a row, the one with the least "
                                  "sum of %s(value - code x scale)^2.%s",
                                  job->calib ? "At first, o" : "O", weight, then);
    return organ_json_sprintf(
        "%sf the 16 E4M3 numbers around the greatest magnitude / 6 of 16 columns of a row, the one with the least sum "
        "of "
        "%s(value - code x scale)^2%s.%s",
        job->calib ? "At first, o" : "O", weight,
        organ_encoding_has_divisor(job->encoding)
            ? ", not below 2^-6, after the tensor was multiplied by its own scale: the greatest power of 2 up to 448 x "
              "6 / its greatest magnitude, of matrices that servers fuse the least"
            : "",
        then);
}

static json_t *quantize_definitions_scale(const organ_quantize_job *job)
{
    static const char *const of[] = {[ORGAN_SCALE_BLOCK] = "a block of 128 x 128 values (fewer at the edges)",
                                     [ORGAN_SCALE_TENSOR] = "the tensor",
                                     [ORGAN_SCALE_CHANNEL] = "a row",
                                     [ORGAN_SCALE_GROUP] = "a group of columns of a row"};
    static const char *const then =
        " Then the value that minimises the error of the outputs with these codes, rounded in the same way.";
    const organ_grid *const grid = &job->encoding->grid;
    const bool block = grid->scale_of == ORGAN_SCALE_BLOCK, solved = job->calib && !job->options->no_refit;
    const bool of_rows = grid->scale_of == ORGAN_SCALE_CHANNEL || grid->scale_of == ORGAN_SCALE_GROUP;
    const bool refits = solved && grid->scale_of >= ORGAN_SCALE_GROUP;
    if (grid->scale_of > ORGAN_SCALE_GROUP)
        return quantize_definitions_small_scale(job, refits ? then : "");
    if (job->widths)
        return organ_json_sprintf(
            "%sf 16 scales for %s, positive and negative, rounded to BF16, the one with the least sum of "
            "weight x (value - code x scale)^2, with the mean square of the column's input on the text "
            "as weight. The first is the greatest magnitude / half of the steps between the least and "
            "the greatest code, 2^-7 where all are zero.%s",
            solved ? "At first, o" : "O", of[grid->scale_of], solved ? then : "");
    return organ_json_sprintf(
        "%sf 16 scales for %s, %s, the one with the least sum of %s(value - code x scale)^2%s. The first "
        "is the greatest magnitude / %g, %s where all are zero; the others divide it by other "
        "numbers%s.%s",
        refits ? "At first, o" : "O", of[grid->scale_of], block ? "in FP32" : "rounded to BF16",
        job->calib && of_rows ? "weight x " : "",
        job->calib && of_rows ? ", with the mean square of the column's input on the text as weight" : "",
        (double)organ_grid_max(grid), block ? "1" : "2^-7",
        organ_grid_search(grid)->signs ? ", and may be negative" : "", refits ? then : "");
}

static json_t *quantize_definitions_code(const organ_quantize_job *job)
{
    const unsigned bits = job->encoding->grid.bits;
    const int half = bits ? 1 << (bits - 1) : 0;
    const char *const rule = job->calib ? " Value is the weight plus the compensation of columns that are already "
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

static json_t *quantize_definitions_blocks_scale(const organ_quantize_job *job)
{
    const bool solved = job->calib && !job->options->no_refit;
    const char *weights = "";
    if (job->imatrix)
        weights = "; the weight of a column is the mean square of its input, by the imatrix";
    else if (job->calib)
        weights = "; the weight of a column is the mean square of its input on the text, 1 for embeddings and head";
    return organ_json_sprintf(
        "%sf the scales tried for a block, those with the smallest sum of %s(value - value of its code)^2%s.%s",
        job->calib ? "At first, o" : "O", job->imatrix || job->calib ? "weight x " : "", weights,
        solved ? " Then, except for embeddings and head, the scales that minimise the error of the outputs with these "
                 "codes, limited to values that blocks can store."
               : "");
}

static json_t *quantize_definitions_codes(const organ_quantize_job *job)
{
    return ORGAN_OBJECT(
        SET("scale", quantize_definitions_scale(job)), SET("code", quantize_definitions_code(job)),
        SET_TEXT("relative_error", "The Frobenius norm of W - code x scale over that of W, where W are the original "
                                   "values, all in FP32, sums in "
                                   "FP64; of several tensors, over all their values together."),
        SET_IF(!job->calib, "absmax_error", json_string("The same with the first scale for all values.")),
        SET_IF(job->calib, "output_error",
               json_string("The root of tr(E H E^T) / tr(W H W^T), with E = W - code x scale and H the damped second "
                           "moments of the inputs: the relative error of the outputs on the calibration text. "
                           "gptq_output_error is that of GPTQ before the refit.")),
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

static json_t *quantize_definitions_blocks(const organ_quantize_job *job)
{
    return ORGAN_OBJECT(
        SET("scale", quantize_definitions_blocks_scale(job)),
        SET("code", organ_json_sprintf(
                        "The code nearest to the value with the stored scales.%s",
                        job->calib ? " Except for embeddings and head, value is the weight plus the compensation of "
                                     "columns that are already coded, in order of falling mean square of the input."
                                   : "")),
        SET("stored_as", json_string(job->recipe ? STORED_BY_RECIPE : STORED_BY_SCHEME)),
        SET_TEXT("relative_error", "The Frobenius norm of W - W' over that of W, where W' are the values of the "
                                   "blocks, in FP32, sums in FP64; of several "
                                   "tensors, over all their values together."),
        SET_IF(!job->calib, "absmax_error",
               json_string("The same with the blocks of ggml's reference, whose scales map the values of largest "
                           "magnitude to the last code; null for Q4_K, Q5_K and Q6_K.")),
        SET_IF(
            job->imatrix, "weighted_error",
            json_string("relative_error with each column times the root of its weight; over tensors with an entry.")),
        SET_IF(job->imatrix, "unreached_experts",
               json_string("Matrices of experts that got no token of the imatrix's text: gate and up are weighted by "
                           "the inputs of the layer's other experts, columns of down have equal weights.")),
        SET_IF(
            job->calib, "output_error",
            json_string("The root of tr(E H E^T) / tr(W H W^T), with E = W - W', W' the values of the blocks and H the "
                        "damped second moments of the inputs: the relative error of the outputs on the calibration "
                        "text, over the calibrated tensors. gptq_output_error is that of GPTQ before the refit.")),
        SET_TEXT("bits_per_weight",
                 "8 x bytes after / elements, of the quantised tensors; bits_per_weight_of_all: of all "
                 "tensors, as llama.cpp counts."));
}

static json_t *quantize_definitions_json(const organ_quantize_job *job)
{
    return job->writer ? quantize_definitions_blocks(job) : quantize_definitions_codes(job);
}

/* Mixed widths in the parameters and in the report. */

/* Returns the member "allocation" of the report's parameters: the options of the division. NULL if memory runs out. */
static json_t *quantize_widths_parameters(const organ_quantize_options *o)
{
    const organ_allocate_options *const a = &o->allocate;
    return ORGAN_OBJECT(SET_TEXT("allocate", a->allocate), SET_TEXT("budget", a->budget),
                        SET_COUNT("tokens", organ_allocate_tokens(a)), SET_COUNT("layers", organ_allocate_layers(a)),
                        SET_FLAG("one_width", o->one_width), SET_COUNT("rounds", a->rounds));
}

/* If the level leaves the choice unchanged, returns the mean bits of its stored values. */
static double quantize_widths_document_bits_of(const organ_quantize_widths *w, size_t c, size_t level)
{
    return level < ORGAN_WIDTH_LEVELS ? floor(organ_width_levels[level])
                                      : w->details[c].unchanged_bits / (double)w->choices.tensors[c].elements;
}

static json_t *quantize_widths_document_tensor_json(const void *context, size_t k)
{
    const organ_quantize_widths *const w = context;
    const organ_allocation_tensor *const t = &w->curves.tensors[k];
    const size_t c = w->choice_of_curve[k], chosen = w->chosen[c];
    return ORGAN_OBJECT(
        SET_BYTES("name", t->name), SET_TEXT("role", t->role), SET_INDEX("layer", t->layer),
        SET_COUNT("elements", t->elements), SET_REAL("bits", quantize_widths_document_bits_of(w, c, chosen)),
        SET_REAL("bits_per_weight",
                 w->sizes[c * ORGAN_WIDTH_CHOICES + chosen] / (double)w->choices.tensors[c].elements),
        SET_FLAG("quantised", chosen < ORGAN_WIDTH_LEVELS), SET_REAL("cost", organ_quantize_width_cost(t, chosen)),
        SET_REAL("uniform_cost", organ_quantize_width_cost(t, w->uniform)), SET_FLAG("between", t->between));
}

static json_t *exchanges_json(const organ_quantize_widths *w)
{
    const organ_exchanges_report *const r = &w->exchanged;
    return ORGAN_OBJECT(SET_COUNT("tried", r->tried), SET_COUNT("taken", r->taken), SET_REAL("before", r->before),
                        SET_REAL("after", r->after));
}

/* Returns the member "allocation" of the report: widths and costs of all tensors. NULL if memory runs out. */
static json_t *quantize_widths_json(const organ_quantize_widths *w)
{
    const organ_quantize_options *const o = w->job->options;
    size_t measured = 0;
    for (size_t k = 0; k < w->curves.count; k++)
        measured += !w->curves.tensors[k].between;
    return ORGAN_OBJECT(
        SET_TEXT("definition", ORGAN_ALLOCATION_DEFINITION), SET_TEXT("budget", o->allocate.budget),
        SET_REAL("bits_per_weight", w->spent / (double)w->targets.elements),
        SET("text", ORGAN_OBJECT(SET_BYTES("name", organ_path_name(o->calibration.text)),
                                 SET_HELD("xxh3", json_object_get(w->identity, "text")))),
        SET_COUNT("tokens", w->tokens), SET_COUNT("windows", w->windows), SET_COUNT("tensors_in_all", w->curves.count),
        SET_COUNT("measured", measured), SET_REAL("cost", w->choices.cost),
        SET_REAL("uniform_bits", quantize_widths_document_bits_of(w, 0, w->uniform)),
        SET_REAL("uniform_cost", w->choices.uniform_cost), SET_IF(o->allocate.rounds, "exchanges", exchanges_json(w)),
        SET("tensors", organ_json_rows(w->curves.count, quantize_widths_document_tensor_json, w)));
}

/* `before` and `after` are bytes in the source model and in the output; other members are as in organ_quantize_part. */
typedef struct quantize_document_sums {
    uint64_t tensors, elements, before, after, masked, zeros, unreached;
    organ_encoding_loss loss[ORGAN_LOSSES];
    double energy, gptq_loss, output_loss, unsearched;
    bool no_reference; /* the error with scales from greatest magnitudes is not known for a target (has_reference) */
} quantize_document_sums;

/* The pieces of a target follow each other, codes first. */
static uint64_t bytes_after(const organ_quantize_job *job, const organ_quantize_part *part)
{
    uint64_t bytes = 0;
    for (size_t k = 0; k < job->units[part->unit].count; k++)
        bytes += job->pieces[part->codes + k].bytes;
    return bytes;
}

/* The error is not known for the GGUF types without an encoder that takes the greatest magnitude, and if it exceeds the
 * range of FP32. */
static bool has_reference(const organ_quantize_part *part)
{
    const organ_encoding *const e = part->encoding;
    return (!organ_encoding_is_gguf(e) || organ_kernels_scalar->quantize[e->grid.size]) && part->unsearched >= 0;
}

static void quantize_document_add_part(quantize_document_sums *s, const organ_quantize_job *job,
                                       const organ_quantize_part *part)
{
    s->tensors++;
    s->elements += part->weight->elements;
    s->before += part->weight->codes->bytes;
    s->after += bytes_after(job, part);
    s->unreached += part->unreached;
    organ_encoding_add_losses(part->encoding, s->loss, part->loss);
    s->energy += part->energy;
    s->gptq_loss += part->gptq_loss;
    s->output_loss += part->output_loss;
    s->masked += part->masked;
    s->zeros += part->zeros;
    s->unsearched += part->unsearched;
    s->no_reference |= !has_reference(part);
}

/* The error is rounded to nine digits after the point, because later digits depend on the order of a sum. */
static json_t *error_json(const organ_quantize_job *job, double error_squares, double squares)
{
    if (job->options->write.dry_run)
        return json_null();
    return json_real(organ_billionth(squares > 0 ? sqrt(error_squares / squares) : 0.0));
}

static json_t *relative_json(const organ_quantize_job *job, const organ_encoding_loss *loss)
{
    return error_json(job, loss->error_squares, loss->squares);
}

static json_t *unsearched_json(const organ_quantize_job *job, bool known, double unsearched,
                               const organ_encoding_loss *loss)
{
    return known ? error_json(job, unsearched, loss->squares) : json_null();
}

static json_t *weighted_json(const organ_quantize_job *job, const organ_encoding_loss *loss)
{
    return loss->squares > 0 ? relative_json(job, loss) : json_null();
}

/* The error is sqrt(loss / energy). It is null for GGUF if no target is calibrated or all calibrated ones are zeros. */
static json_t *output_json(const organ_quantize_job *job, double loss, double energy)
{
    return job->writer && !(energy > 0) ? json_null() : error_json(job, loss, energy);
}

/* Members of a row that only a calibrated output has, and those that only a pruned output has. `s` points to an
 * organ_quantize_part or to quantize_document_sums; `elements` is its number of weights. */
#define SET_OUTPUT_ERRORS(job, s)                                                                                      \
    SET_IF((job)->calib, "gptq_output_error", output_json(job, (s)->gptq_loss, (s)->energy)),                          \
        SET_IF((job)->calib, "output_error", output_json(job, (s)->output_loss, (s)->energy))
#define SET_PRUNED(job, s, elements)                                                                                   \
    SET_IF((job)->pruning && !(job)->options->write.dry_run, "sparsity",                                               \
           json_real(100 * (double)(s)->masked / (double)(elements))),                                                 \
        SET_IF((job)->pruning && !(job)->options->write.dry_run, "masked", json_integer((json_int_t)(s)->masked)),     \
        SET_IF((job)->pruning && !(job)->options->write.dry_run, "zeros", json_integer((json_int_t)(s)->zeros))

/* The function takes over `object` and returns it. */
static json_t *quantize_document_sums_json(json_t *object, const organ_quantize_job *job,
                                           const quantize_document_sums *s)
{
    const double bits = 8.0 * (double)s->after / (double)s->elements;
    return organ_json_joined(
        object, ORGAN_OBJECT(SET_COUNT("tensors", s->tensors), SET_COUNT("elements", s->elements),
                             SET_COUNT("bytes_before", s->before), SET_COUNT("bytes_after", s->after),
                             SET_IF(job->writer, "bits_per_weight", json_real(organ_millionth(bits))),
                             SET("relative_error", relative_json(job, &s->loss[ORGAN_LOSS])),
                             SET_IF(!job->calib, "absmax_error",
                                    unsearched_json(job, !s->no_reference, s->unsearched, &s->loss[ORGAN_LOSS])),
                             SET_IF(job->imatrix, "weighted_error", weighted_json(job, &s->loss[ORGAN_LOSS_WEIGHTED])),
                             SET_IF(job->imatrix, "unreached_experts", json_integer((json_int_t)s->unreached)),
                             SET_PRUNED(job, s, s->elements), SET_OUTPUT_ERRORS(job, s)));
}

/* `group` is a type in the output if `types` is true, else a row of organ_anatomy_row. `name`, the first member of
 * the row, is taken over. Returns NULL if the group is empty. */
static json_t *group_json(const organ_quantize_job *job, bool types, size_t group, json_t *name)
{
    quantize_document_sums s = {0};
    for (size_t k = 0; k < job->part_count; k++) {
        const organ_quantize_part *const part = organ_quantize_next_part(job, k);
        if ((types ? (size_t)part->encoding->codes : organ_anatomy_row(&part->weight->anatomy)) == group)
            quantize_document_add_part(&s, job, part);
    }
    if (s.tensors)
        return quantize_document_sums_json(name, job, &s);
    json_decref(name);
    return NULL;
}

static json_t *quantize_document_role_json(const void *job, size_t role)
{
    return group_json(job, false, role, ORGAN_OBJECT(SET_TEXT("role", organ_anatomy_row_name((unsigned)role))));
}

static json_t *quantize_document_type_json(const void *job, size_t dtype)
{
    return group_json(job, true, dtype, ORGAN_OBJECT(SET_DTYPE("type", (organ_dtype)dtype)));
}

/* The reason why a tensor is not stored in the type of the scheme. Types of a recipe need none. */
static json_t *why_json(const organ_quantize_job *job, const organ_quantize_part *part)
{
    const organ_tensor *const tensor = part->weight->codes;
    const bool falls_back = part->encoding != part->preferred, chosen = part->preferred != job->encoding;
    const char *first = chosen && !job->recipe ? "the output head gets Q6_K" : "";
    char why[160];
    if (job->fixed && job->fixed[tensor - job->model->tensors])
        first = "--type-of";
    if (!falls_back && !*first)
        return json_null();
    const int length = snprintf(why, sizeof why, "%s", first);
    if (falls_back)
        snprintf(why + length, sizeof why - (size_t)length, "%sits rows of %llu values are not whole blocks of %u",
                 *first ? ", but " : "", (unsigned long long)part->cols,
                 organ_dtype_describe(part->preferred->codes)->elements);
    return json_string(why);
}

static json_t *quantize_document_part_json(const void *context, size_t k)
{
    const organ_quantize_job *const job = context;
    const organ_quantize_part *const part = &job->parts[k];
    const organ_tensor *const tensor = part->weight->codes;
    organ_rows_passed();
    const bool gguf = job->writer, calibrated = part->calibrated && !(gguf && job->options->write.dry_run);
    return ORGAN_OBJECT(SET_TEXT("tensor", tensor->name), SET_PLACE(&tensor->anatomy),
                        SET_DTYPE("dtype", tensor->dtype),
                        SET_IF(gguf, "stored_as", json_string(organ_dtype_name(part->encoding->codes))),
                        SET_IF(gguf, "why", why_json(job, part)), SET("shape", organ_shape_json(tensor)),
                        SET_COUNT("bytes_before", tensor->bytes), SET_COUNT("bytes_after", bytes_after(job, part)),
                        SET_IF(organ_quantize_has_several_encodings(job), "scheme", json_string(part->encoding->name)),
                        SET("relative_error", relative_json(job, &part->loss[ORGAN_LOSS])),
                        SET_IF(!job->calib, "absmax_error",
                               unsearched_json(job, has_reference(part), part->unsearched, &part->loss[ORGAN_LOSS])),
                        SET_IF(job->imatrix, "weighted_error",
                               part->entry ? weighted_json(job, &part->loss[ORGAN_LOSS_WEIGHTED]) : json_null()),
                        SET_IF(job->imatrix, "imatrix_entry", part->entry ? json_string(part->entry) : json_null()),
                        SET_IF(job->imatrix, "unreached_experts", json_integer((json_int_t)part->unreached)),
                        SET_IF(calibrated, "calibration_tokens", json_integer((json_int_t)part->tokens)),
                        SET_IF(calibrated, "block_diagonal", json_boolean(part->block_diagonal)),
                        SET_IF(part->fallback, "fallback_experts", json_incref(part->fallback)),
                        SET_PRUNED(job, part, part->weight->elements), SET_OUTPUT_ERRORS(job, part));
}

static json_t *quantize_document_left_json(const void *context, size_t k)
{
    const organ_quantize_left *const left = (const organ_quantize_left *)context + k;
    return ORGAN_OBJECT(SET_TEXT("tensor", left->tensor->name), SET_DTYPE("dtype", left->tensor->dtype),
                        SET("shape", organ_shape_json(left->tensor)), SET_TEXT("why", left->why));
}

static json_t *scheme_json(const organ_quantize_job *job)
{
    return job->recipe ? organ_json_sprintf("recipe:%s", job->recipe->name) : json_string(job->encoding->name);
}

json_t *organ_quantize_parameters(void *context)
{
    const organ_quantize_job *const job = context;
    const organ_quantize_options *const o = job->options;
    return ORGAN_OBJECT(SET("scheme", scheme_json(job)), SET_IF(o->format, "format", json_string(o->format)),
                        SET_IF(job->calib, "method", json_string(o->method)),
                        SET_IF(job->calib, "resolve", json_boolean(!o->no_refit)),
                        SET_IF(job->calib, "samples", json_integer((json_int_t)o->calibration.samples)),
                        SET_IF(job->calib, "context", json_integer((json_int_t)o->calibration.context)),
                        SET_BYTES_OF("targets", o->targets), SET_IF(o->type_of, "type_of", json_string(o->type_of)),
                        SET_IF(job->pruning, "pruning", job->pruning->parameters(job->pruning->context)),
                        SET_IF(job->widths, "allocation", quantize_widths_parameters(o)),
                        SET_IF(!job->writer, "max_shard_bytes", json_integer((json_int_t)o->write.max_shard_size)));
}

static const json_t *quantize_document_fallback_row(const void *context, size_t k, const organ_tensor **tensor)
{
    const organ_quantize_job *const job = context;
    *tensor = job->parts[k].weight->codes;
    organ_rows_passed();
    return job->parts[k].fallback;
}

static json_t *quantize_document_calibration_json(const organ_quantize_job *job)
{
    size_t block_diagonal = 0;
    for (size_t k = 0; k < job->part_count; k++)
        block_diagonal += organ_quantize_next_part(job, k)->block_diagonal;
    const char *inputs = "inputs from the quantised layers";
    if (job->pruning)
        inputs = job->pruning->streams == ORGAN_INPUTS_BOTH
                     ? "inputs from the pruned and quantised layers and from the donor"
                     : "inputs from the pruned and quantised layers";
    json_t *const object = organ_calibration_run_json(job->calib, inputs);
    json_t *const fallback = organ_calibration_fallback_json(quantize_document_fallback_row, job, job->part_count);
    ORGAN_ADD(object, SET_COUNT("block_diagonal_tensors", block_diagonal), SET_IF(fallback, "fallback", fallback));
    return object;
}

json_t *organ_quantize_identity(void *context)
{
    const organ_quantize_job *const job = context;
    return ORGAN_OBJECT(SET_IF(job->writer, "imatrix", organ_importance_json(job->imatrix, job->digest)),
                        SET_IF(job->calib, "calibration", organ_calibration_run_json(job->calib, "")),
                        SET_IF(job->calib, "moments", json_string(job->blocks ? "blocks" : "whole")));
}

/* The share does not count embeddings and output head, which GGUF quantises without --select. */
static json_t *quantize_document_matrices_json(const organ_quantize_job *job)
{
    bool *const quantised = calloc(job->model->tensor_count + 1, sizeof *quantised);
    if (!quantised)
        return NULL;
    for (size_t k = 0; k < job->part_count; k++) {
        const size_t at = (size_t)(organ_quantize_next_part(job, k)->weight->codes - job->model->tensors);
        quantised[at] = job->targets.chosen[at];
    }
    json_t *const made = organ_matrices_json(job->model, quantised);
    free(quantised);
    return made;
}

/* llama.cpp counts bits in this way. */
static json_t *bits_of_all_json(const organ_quantize_job *job)
{
    double bytes = 0, elements = 0;
    for (size_t k = 0; k < job->piece_count; k++)
        bytes += (double)job->pieces[k].bytes;
    for (size_t t = 0; t < job->model->tensor_count; t++)
        elements += (double)job->model->tensors[t].elements;
    return json_real(organ_millionth(8 * bytes / elements));
}

json_t *organ_quantize_document(void *context, const organ_writing *made)
{
    const organ_quantize_job *const job = context;
    const bool divides = job->pruning && job->pruning->allocation;
    quantize_document_sums all = {0};
    for (size_t k = 0; k < job->part_count; k++)
        quantize_document_add_part(&all, job, organ_quantize_next_part(job, k));
    json_t *const totals = quantize_document_sums_json(json_object(), job, &all);
    ORGAN_ADD(totals, SET_IF(job->regrouped && !job->writer, "regrouped", json_integer((json_int_t)job->regrouped)),
              SET_COUNT("total_size", organ_resharding_total(organ_write_files(made))),
              SET_IF(job->writer, "bits_per_weight_of_all", bits_of_all_json(job)));
    return ORGAN_OBJECT(
        SET_IF(job->writer, "imatrix", organ_importance_json(job->imatrix, job->digest)), SET("totals", totals),
        SET_COUNT("clipped_blocks", job->clipped), SET("plain", organ_pieces_same_json(job->pieces, job->piece_count)),
        SET("matrices", quantize_document_matrices_json(job)),
        SET("roles", organ_anatomy_rows_json(quantize_document_role_json, job)),
        SET_IF(job->writer, "types", organ_json_rows(ORGAN_DTYPE_COUNT, quantize_document_type_json, job)),
        SET("left_alone", organ_json_rows(job->left_out_count, quantize_document_left_json, job->left_out)),
        SET("files", organ_resharding_files_json(organ_write_files(made))),
        SET("tensors", organ_json_rows(job->part_count, quantize_document_part_json, job)),
        SET("definitions", quantize_definitions_json(job)),
        SET_IF(job->calib, "calibration", quantize_document_calibration_json(job)),
        SET_IF(job->widths, "allocation", quantize_widths_json(job->widths)),
        SET_IF(divides, "sparsity_allocation", job->pruning->allocation(job->pruning->context)));
}

/* ---- results of a unit in the journal ---- */

/* Row of the table: name in the journal, type, and member of organ_quantize_part. */
#define FIELD(name, type, member) ORGAN_STRUCT_FIELD_NAMED(name, organ_quantize_part, member, type)

static const organ_struct_field results_fields[] = {
    FIELD("block_diagonal", FLAG, block_diagonal),
    FIELD("squares", EXACT, loss[ORGAN_LOSS].squares),
    FIELD("error_squares", EXACT, loss[ORGAN_LOSS].error_squares),
    FIELD("weighted", EXACT, loss[ORGAN_LOSS_WEIGHTED].squares),
    FIELD("error_weighted", EXACT, loss[ORGAN_LOSS_WEIGHTED].error_squares),
    FIELD("energy", EXACT, energy),
    FIELD("gptq_loss", EXACT, gptq_loss),
    FIELD("loss", EXACT, output_loss),
    FIELD("tokens", U64, tokens),
    FIELD("masked", U64, masked),
    FIELD("zeros", U64, zeros)};

json_t *organ_quantize_results(const organ_quantize_part *part)
{
    return ORGAN_STRUCT_ADD(ORGAN_OBJECT(SET_IF(part->fallback, "fallback_experts", json_incref(part->fallback)),
                                         SET_IF(part->unsearched != 0, "unsearched", json_real(part->unsearched))),
                            results_fields, part);
}

bool organ_quantize_recall(void *context, size_t at, const json_t *results)
{
    organ_quantize_part *const part = &((organ_quantize_job *)context)->parts[at];
    json_decref(part->fallback);
    part->fallback = json_incref(json_object_get(results, "fallback_experts"));
    part->unsearched = json_number_value(json_object_get(results, "unsearched"));
    return ORGAN_STRUCT_READ(results, results_fields, part);
}
