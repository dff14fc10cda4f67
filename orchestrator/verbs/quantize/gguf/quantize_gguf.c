/* SPDX-License-Identifier: MIT
 * organ quantize for GGUF: chooses the block type of each tensor, computes column weights from the importance matrix,
 * and makes the key-values of the output. */
#include "orchestrator/verbs/quantize/gguf/quantize_gguf.h"

#include "formats/architecture/pairing.h"
#include "formats/base/plain_numbers.h"
#include "formats/base/text.h"
#include "formats/model/recognise.h"
#include "orchestrator/output/layout.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the encoding of each tensor ---- */

/* Errors of the head reach the logits directly, so it becomes Q6_K (Q8_0 with scheme q8_0), as in llama.cpp. Returns
 * NULL if the tensor is no head. */
static const organ_encoding *head_encoding(const organ_quantize_job *job, const organ_tensor *tensor)
{
    const char *const name = job->encoding->codes == ORGAN_Q8_0 ? "q8_0" : "q6_k";
    return organ_quantize_gguf_is_head(job->model, tensor) ? organ_quantize_type_named(name) : NULL;
}

static const organ_encoding *gguf_preferred(const organ_quantize_job *job, const organ_tensor *tensor)
{
    const size_t t = (size_t)(tensor - job->model->tensors);
    if (job->fixed && job->fixed[t])
        return job->fixed[t] == &organ_quantize_keep ? NULL : job->fixed[t];
    if (job->recipe)
        return job->recipe_types[t];
    if (job->targets.chosen[t])
        return organ_quantize_scheme_of(job, tensor);
    if (job->options->targets || tensor->rank < 2 || !tensor->elements)
        return NULL;
    const organ_encoding *const head = head_encoding(job, tensor);
    if (head || organ_quantize_gguf_is_table(tensor))
        return head ? head : job->encoding;
    return organ_recipe_block_type(job->model, tensor, job->encoding);
}

/* NVFP4 needs a tensor scale, which llama.cpp must apply. */
static organ_status check_scaled(const organ_model *model, organ_error *error)
{
    if (organ_pairing_has_trait(model->config.architecture, PAIRING_TENSOR_SCALES))
        return ORGAN_OK;
    return organ_fail(error, ORGAN_USAGE,
                      "%s: nvfp4 needs a scale for each tensor, which llama.cpp does not apply in models of this "
                      "architecture, so that they would give nonsense; iq4_nl has as many bits per weight",
                      model->path);
}

/* llama-quantize stores rows that no block fits in F16. */
static const organ_encoding *fitting(const organ_quantize_job *job, const organ_tensor *tensor,
                                     const organ_encoding *preferred)
{
    if (organ_encoding_has_divisor(preferred) && !organ_pairing_has_tensor_scale(tensor->name))
        preferred = organ_quantize_type_named("iq4_nl");
    const organ_encoding *const fits = organ_encoding_fitting(preferred, organ_tensor_matrices(tensor).cols);
    return fits || !job->recipe ? fits : organ_encoding_plain("f16");
}

static bool is_kept_by_llama(const organ_model *model, const organ_tensor *tensor)
{
    return !organ_recipe_quantises(model, tensor);
}

/* Returns whether the tensor is an embedding of positions, a convolution, a router or another that loaders read only in
 * the type that it has. */
static bool keeps_type(const organ_quantize_job *job, const organ_tensor *tensor, organ_error *error)
{
    const bool fixed = job->fixed && job->fixed[tensor - job->model->tensors];
    return (job->options->targets || organ_quantize_is_tower(job)) && !fixed && is_kept_by_llama(job->model, tensor) &&
           !organ_quantize_is_named(job, tensor, is_kept_by_llama, error);
}

/* The sentence is in the job's arena. */
static const char *gguf_obstacle(organ_quantize_job *job, const organ_weight *weight, organ_error *error)
{
    const organ_tensor *const tensor = weight->codes;
    const organ_encoding *const fits =
        job->types ? job->encodings[tensor - job->model->tensors] : fitting(job, tensor, gguf_preferred(job, tensor));
    const char *const stored = organ_dtype_name(tensor->dtype);
    char why[96] = "";
    if (!organ_target_is_float(tensor) && !organ_dtype_is_blocks(tensor->dtype))
        snprintf(why, sizeof why, "it is stored as %s, which is not quantised.", stored);
    else if (!fits && job->types)
        return NULL;
    else if (keeps_type(job, tensor, error))
        snprintf(why, sizeof why,
                 "llama-quantize keeps the type of such tensors; --select with its name quantises it.");
    else if (!fits)
        snprintf(why, sizeof why, "its rows of %llu values are not whole blocks of 32.",
                 (unsigned long long)organ_tensor_matrices(tensor).cols);
    else if (fits->codes == tensor->dtype)
        snprintf(why, sizeof why, "it is stored as %s already.", stored);
    if (!*why)
        return NULL;
    const char *const kept = organ_arena_copy(&job->list.arena, why, strlen(why));
    if (!kept)
        organ_fail_memory(error, job->options->model);
    return kept;
}

static organ_status find_recipe_types(organ_quantize_job *job, organ_error *error)
{
    job->recipe_types = calloc(job->model->tensor_count + 1, sizeof *job->recipe_types);
    return job->recipe_types ? organ_recipe_types(job->recipe, job->model, job->options->gguf.imatrix, job->fixed,
                                                  job->recipe_types, error)
                             : organ_fail_memory(error, job->options->model);
}

static organ_status find_types(organ_quantize_job *job, organ_error *error)
{
    if (organ_quantize_fix_types(job, error) || organ_quantize_block_types(job, error) ||
        (job->recipe && find_recipe_types(job, error)))
        return error->status;
    for (size_t t = 0; t < job->model->tensor_count; t++) {
        const organ_tensor *const tensor = &job->model->tensors[t];
        const organ_encoding *const preferred = gguf_preferred(job, tensor);
        if (!preferred)
            continue;
        if (organ_encoding_has_divisor(preferred) && check_scaled(job->model, error) != ORGAN_OK)
            return error->status;
        job->encodings[t] = fitting(job, tensor, preferred);
    }
    return ORGAN_OK;
}

static organ_status gguf_forms(organ_quantize_job *job, organ_error *error)
{
    return find_types(job, error) || strcmp(job->options->scheme, "mixed") != 0 ? error->status
                                                                                : organ_quantize_types_open(job, error);
}

/* ---- opening ---- */

static organ_status check_model(const organ_quantize_job *job, organ_error *error)
{
    const char *const path = job->model->path;
    if (job->model->gguf)
        return ORGAN_OK;
    return organ_fail(error, ORGAN_USAGE,
                      "%s: is not GGUF, but %s is a scheme of GGUF models: convert the model first (organ convert %s "
                      "--to gguf -o X.gguf) and quantise X.gguf; for safetensors models int4-group32 has about 4.5 "
                      "bits per weight, int8-channel 8",
                      path, job->options->scheme, path);
}

static organ_status gguf_open(organ_quantize_job *job, organ_error *error)
{
    return check_model(job, error) ? error->status : organ_weights_find(job->model, &job->weights, error);
}

static organ_status gguf_select(organ_quantize_job *job, organ_error *error)
{
    return organ_quantize_by_text(job->options) && !job->options->targets
               ? organ_targets_add_blocks(job->model, &job->targets, error)
               : error->status;
}

/* ---- tensors of the output ---- */

/* llama.cpp multiplies what "X.weight" of NVFP4 gives by "X.scale", which has a value for each expert. */
static organ_status gguf_add(organ_quantize_job *job, organ_quantize_part *part, organ_error *error)
{
    const organ_weight *const weight = part->weight;
    part->codes = organ_quantize_add_piece(job, weight->name, part->encoding->codes, weight->rank, weight->shape);
    if (!organ_encoding_has_divisor(part->encoding))
        return ORGAN_OK;
    const char *const name = organ_quantize_name_next_to(job, weight->name, "scale");
    if (!name)
        return organ_fail_memory(error, job->options->model);
    part->scale_shape[0] = organ_weight_matrices(weight).count;
    part->global = organ_quantize_add_piece(job, name, ORGAN_F32, 1, part->scale_shape);
    return ORGAN_OK;
}

static organ_status gguf_list(organ_quantize_job *job, organ_error *error)
{
    const bool weighed = job->options->gguf.imatrix || organ_quantize_by_text(job->options);
    return organ_quantize_gguf_open_imatrix(job, error) || weighed ? error->status
                                                                   : organ_quantize_gguf_check_weighed(job, error);
}

/* ---- notes ---- */

static double bits_of_blocks(const organ_encoding *encoding)
{
    const organ_dtype_info *const type = organ_dtype_describe(encoding->codes);
    return 8.0 * (double)type->bytes / (double)type->elements;
}

/* `encoding` replaces that of the scheme; NULL: as planned. The output head keeps its type. */
static double bits_of_parts(const organ_quantize_job *job, const organ_encoding *encoding)
{
    double weights = 0, bits = 0;
    for (size_t k = 0; k < job->list.part_count; k++) {
        const organ_quantize_part *const part = organ_quantize_next_part(job, k);
        const organ_encoding *const used = encoding && part->preferred == job->encoding ? encoding : part->encoding;
        weights += (double)part->weight->elements;
        bits += bits_of_blocks(used) * (double)part->weight->elements;
    }
    return bits / weights;
}

static void note_bits(const organ_quantize_job *job)
{
    static const char *const of_32[] = {"q4_0", "q4_1", "q5_0", "q5_1"};
    const double planned = bits_of_parts(job, /*encoding=*/NULL);
    double weights = 0, before = 0;
    char fitting[80] = "";
    for (size_t k = 0; k < job->list.part_count; k++) {
        const organ_quantize_part *const part = organ_quantize_next_part(job, k);
        weights += (double)part->weight->elements;
        before += 8 * (double)part->weight->codes->bytes;
    }
    for (size_t k = 0; k < sizeof of_32 / sizeof *of_32; k++) {
        const double bits = bits_of_parts(job, organ_quantize_type_named(of_32[k]));
        const size_t length = strlen(fitting);
        if (bits < planned)
            organ_snprintf(fitting + length, sizeof fitting - length, "%s%s (%.2f)", length ? ", " : "", of_32[k],
                           bits);
    }
    organ_progress_note(job->progress,
                        "%s takes %.2f bits per weight in this model, not %.2f as in whole blocks of %u; the source "
                        "has %.2f%s%s",
                        job->encoding->name, planned, bits_of_blocks(job->encoding),
                        organ_dtype_describe(job->encoding->codes)->elements, before / weights,
                        *fitting ? ". Schemes with blocks of 32 fit all rows and take fewer: " : "", fitting);
}

static void note_replaced(const organ_quantize_job *job)
{
    const organ_quantize_part *first = NULL;
    for (size_t k = 0; k < job->list.part_count && !first; k++)
        first = job->list.parts[k].encoding != job->list.parts[k].preferred ? &job->list.parts[k] : NULL;
    if (!first)
        return;
    organ_progress_note(job->progress,
                        "%zu tensor%s rows that are not whole blocks of %u: %s becomes %s; the report lists all",
                        job->list.regrouped, job->list.regrouped == 1 ? " has" : "s have",
                        organ_dtype_describe(first->preferred->codes)->elements, first->weight->name,
                        organ_dtype_name(first->encoding->codes));
    if (!job->recipe && !job->fixed)
        note_bits(job);
}

/* Errors of an earlier quantisation stay in the output. */
static void warn_of_blocks(const organ_quantize_job *job)
{
    size_t count[ORGAN_DTYPE_COUNT] = {0}, all = 0;
    char types[160] = "";
    for (size_t k = 0; k < job->list.part_count; k++)
        if (organ_dtype_is_blocks(job->list.parts[k].weight->codes->dtype)) {
            count[job->list.parts[k].weight->codes->dtype]++;
            all++;
        }
    for (size_t type = 0; type < ORGAN_DTYPE_COUNT; type++) {
        const size_t length = strlen(types);
        if (count[type])
            organ_snprintf(types + length, sizeof types - length, "%s%zu %s", length ? ", " : "", count[type],
                           organ_dtype_name((organ_dtype)type));
    }
    if (all)
        organ_progress_warn(job->progress,
                            "the model is quantised already: %zu tensor%s dequantised first (%s), and the errors of "
                            "both types add up; a BF16 or F16 model gives a better one",
                            all, all == 1 ? " is" : "s are", types);
}

/* llama-quantize refuses these without an imatrix. */
static void warn_without_imatrix(const organ_quantize_job *job)
{
    static const char *const names[] = {"q2_k_s", "iq3_xxs", "iq2_s", "iq2_m"};
    const char *const name = job->recipe ? job->recipe->name : job->encoding->name;
    for (size_t k = 0; k < sizeof names / sizeof *names && !job->imatrix.file && !job->along.run; k++)
        if (strcmp(name, names[k]) == 0)
            organ_progress_warn(job->progress,
                                "%s loses much without --imatrix, as llama-quantize requires, or --method gptq", name);
}

/* ---- names that llama-quantize has too ---- */

#define NAME_ROOM 24

static const char *in_capitals(const char *name, char out[NAME_ROOM])
{
    size_t length = 0;
    for (; name[length] && length + 1 < NAME_ROOM; length++)
        out[length] = (char)toupper((unsigned char)name[length]);
    out[length] = '\0';
    return out;
}

/* Returns the recipe of the file that llama-quantize makes for the name of a type: Q4_K means Q4_K_M there, and MXFP4
 * is the type of MXFP4_MOE. NULL: organ has none. */
static const organ_recipe *recipe_of_type(const char *type)
{
    char prefixed[2 * NAME_ROOM];
    snprintf(prefixed, sizeof prefixed, "recipe:%s", type);
    const organ_recipe *const same = organ_recipe_named(prefixed);
    snprintf(prefixed, sizeof prefixed, "recipe:%s_m%s", type, strcmp(type, "mxfp4") == 0 ? "oe" : "");
    return same ? same : organ_recipe_named(prefixed);
}

/* Counts the tensors to which the recipe gives another type than job->encodings. Rows that a type does not divide get
 * F16, as llama-quantize does. Returns SIZE_MAX if memory cannot be allocated. */
static size_t count_others(const organ_quantize_job *job, const organ_recipe *recipe)
{
    size_t count = 0;
    organ_error error = {0};
    ORGAN_OWNED const organ_encoding **const types = calloc(job->model->tensor_count + 1, sizeof *types);
    if (!types || organ_recipe_types(recipe, job->model, job->options->gguf.imatrix != NULL, job->fixed, types,
                                     &error) != ORGAN_OK)
        count = SIZE_MAX;
    for (size_t t = 0; count != SIZE_MAX && t < job->model->tensor_count; t++) {
        const organ_tensor *const tensor = &job->model->tensors[t];
        const organ_encoding *there = types[t], *const here = job->encodings[t];
        if (job->fixed && job->fixed[t])
            continue;
        if (there && !(there = organ_encoding_fitting(there, organ_tensor_matrices(tensor).cols)))
            there = organ_encoding_plain("f16");
        count += (there ? there->codes : tensor->dtype) != (here ? here->codes : tensor->dtype);
    }
    return count;
}

/* One rule for names in upper and lower case: the name of a type is that type for every matrix, any other name that
 * llama-quantize has is its recipe. The note states which, and how to get the other. */
static void note_name(const organ_quantize_job *job)
{
    char capitals[NAME_ROOM], file[NAME_ROOM], others[80] = "";
    const char *const scheme = job->encoding->name;
    if (job->recipe) {
        const bool prefixed = strchr(job->options->scheme, ':');
        organ_progress_note(job->progress,
                            "%s%s%s: every tensor gets the type that llama-quantize gives it for %s; "
                            "scheme %s is one type for every matrix",
                            job->options->scheme,
                            prefixed ? "" : " is understood as recipe:", prefixed ? "" : job->recipe->name,
                            in_capitals(job->recipe->name, capitals), job->recipe->base);
        return;
    }
    const organ_recipe *const recipe = recipe_of_type(scheme);
    if (!recipe)
        return;
    const size_t count = job->options->targets ? SIZE_MAX : count_others(job, recipe);
    if (count == 0)
        organ_snprintf(others, sizeof others, ", which gives this model the same types");
    else if (count != SIZE_MAX)
        organ_snprintf(others, sizeof others, ", which gives %zu tensor%s of this model %s", count,
                       count == 1 ? "" : "s", count == 1 ? "another type" : "other types");
    const organ_encoding *const head = organ_quantize_type_named(job->encoding->codes == ORGAN_Q8_0 ? "q8_0" : "q6_k");
    organ_progress_note(job->progress, "%s is one type, %s, for every matrix%s; %s of llama-quantize is recipe:%s%s",
                        job->options->scheme, in_capitals(scheme, capitals),
                        job->options->targets || head == job->encoding ? "" : " but the output head, which gets Q6_K",
                        in_capitals(recipe->name, file), recipe->name, others);
}

static void warn_of_unweighted(const organ_quantize_job *job)
{
    if (job->imatrix.unweighted)
        organ_progress_warn(
            job->progress, "%s has no entry for %zu of the matrices, so their columns have equal weights: %s is %s",
            organ_path_name(job->imatrix.file->path), job->imatrix.unweighted, job->imatrix.first_unweighted->name,
            job->imatrix.unweighted == 1 ? "that one" : "the first");
}

static void gguf_note(const organ_quantize_job *job)
{
    size_t as_requested = 0;
    warn_of_unweighted(job);
    for (size_t k = 0; k < job->list.part_count; k++)
        as_requested += job->list.parts[k].encoding == job->encoding;
    organ_progress_warn_of_model(job->progress, job->model);
    if (job->types) {
        warn_of_blocks(job);
        return;
    }
    note_name(job);
    warn_of_blocks(job);
    warn_without_imatrix(job);
    if (as_requested == 0 && job->list.part_count > 0 && !job->recipe)
        organ_progress_warn(
            job->progress,
            "no tensor becomes %s, which needs rows of whole blocks of %u: the file has only other types",
            organ_dtype_name(job->encoding->codes), organ_dtype_describe(job->encoding->codes)->elements);
    note_replaced(job);
}

/* ---- the kind of output ---- */

static void gguf_close(organ_quantize_job *job)
{
    organ_quantize_types_close(job->types);
    organ_gguf_writer_destroy(job->writer);
    organ_imatrix_close(job->imatrix.file);
    ORGAN_FREE_ARRAYS(job->fixed, job->recipe_types);
}

const organ_quantize_format organ_quantize_gguf = {.open = gguf_open,
                                                   .select = gguf_select,
                                                   .forms = gguf_forms,
                                                   .decide = organ_quantize_types_decide,
                                                   .preferred = gguf_preferred,
                                                   .obstacle = gguf_obstacle,
                                                   .add = gguf_add,
                                                   .list = gguf_list,
                                                   .prepare = organ_quantize_gguf_metadata,
                                                   .note = gguf_note,
                                                   .close = gguf_close};
