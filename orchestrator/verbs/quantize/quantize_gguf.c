/* SPDX-License-Identifier: MIT
 * organ quantize for GGUF: chooses the block type of each tensor, computes column weights from the importance matrix,
 * and makes the key-values of the output. */
#include "orchestrator/verbs/quantize/quantize_types.h"

#include "formats/architecture/pairing.h"
#include "formats/base/plain_numbers.h"
#include "formats/base/text.h"
#include "formats/model/recognise.h"
#include "orchestrator/output/layout.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* general.quantization_version: ggml's version of the block layouts. */
enum { QUANTIZATION_VERSION = 2 };

/* ---- the encoding of each tensor ---- */

static bool name_starts_with(const char *name, const char *start) { return strncmp(name, start, strlen(start)) == 0; }

static bool has_head(const organ_model *model)
{
    for (size_t t = 0; t < model->tensor_count; t++)
        if (model->tensors[t].anatomy.role == ORGAN_ROLE_OUTPUT && model->tensors[t].anatomy.layer < 0)
            return true;
    return false;
}

/* Returns whether the tensor is a table of tokens. Those of positions and types are small and stay unchanged. */
static bool is_embedding(const organ_tensor *tensor)
{
    return tensor->anatomy.role == ORGAN_ROLE_EMBED &&
           (name_starts_with(tensor->name, "token_embd.") || name_starts_with(tensor->name, "per_layer_token_embd."));
}

bool organ_quantize_gguf_is_embedding(const organ_tensor *tensor)
{
    return tensor->anatomy.layer < 0 && name_starts_with(tensor->name, "token_embd.");
}

bool organ_quantize_gguf_is_head(const organ_model *model, const organ_tensor *tensor)
{
    if (tensor->anatomy.role == ORGAN_ROLE_OUTPUT)
        return true;
    return name_starts_with(tensor->name, "token_embd.") && !has_head(model);
}

/* Errors of the head reach the logits directly, so it becomes Q6_K (Q8_0 with scheme q8_0), as in llama.cpp. Returns
 * NULL if the tensor is no head. */
static const organ_encoding *head_encoding(const organ_quantize_job *job, const organ_tensor *tensor)
{
    const char *const name = job->encoding->codes == ORGAN_Q8_0 ? "q8_0" : "q6_k";
    return organ_quantize_gguf_is_head(job->model, tensor) ? organ_quantize_type_named(name) : NULL;
}

const organ_encoding *organ_quantize_gguf_encoding_of(const organ_quantize_job *job, const organ_tensor *tensor)
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
    if (head || is_embedding(tensor))
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
    return job->options->targets && !fixed && is_kept_by_llama(job->model, tensor) &&
           !organ_quantize_is_named(job, tensor, is_kept_by_llama, error);
}

const char *organ_quantize_gguf_obstacle(organ_quantize_job *job, const organ_tensor *tensor, organ_error *error)
{
    const organ_encoding *const fits = job->types ? job->encodings[tensor - job->model->tensors]
                                                  : fitting(job, tensor, organ_quantize_gguf_encoding_of(job, tensor));
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
    return job->recipe_types ? organ_recipe_types(job->recipe, job->model, job->options->imatrix, job->fixed,
                                                  job->recipe_types, error)
                             : organ_fail_memory(error, job->options->model);
}

static bool is_among(organ_dtype type, const organ_dtype *types, size_t count)
{
    for (size_t k = 0; k < count; k++)
        if (types[k] == type)
            return true;
    return false;
}

/* llama-quantize refuses these types without an imatrix. It also refuses IQ2_S, IQ3_XXS and some uses of Q2_K, of which
 * organ warns. */
static const organ_dtype weighed_only[] = {ORGAN_IQ2_XS, ORGAN_IQ2_XXS, ORGAN_IQ1_S, ORGAN_IQ1_M};

/* Embeddings and head need none. The types by size are chosen by their measured cost. */
organ_status organ_quantize_gguf_check_weighed(const organ_quantize_job *job, organ_error *error)
{
    for (size_t k = 0; k < job->list.part_count && !job->types; k++) {
        const organ_quantize_part *const part = &job->list.parts[k];
        const organ_tensor *const tensor = part->weight->codes;
        if (!is_embedding(tensor) && tensor->anatomy.role != ORGAN_ROLE_OUTPUT &&
            is_among(part->encoding->codes, weighed_only, sizeof weighed_only / sizeof *weighed_only))
            return organ_fail(error, ORGAN_USAGE,
                              "%s: %s for %s needs `imatrix`, as in llama-quantize, or `method` 'gptq': if all columns "
                              "count the same, the type loses too much",
                              job->options->model, part->encoding->name, tensor->name);
    }
    return ORGAN_OK;
}

organ_status organ_quantize_gguf_forms(organ_quantize_job *job, organ_error *error)
{
    job->encodings = calloc(job->model->tensor_count + 1, sizeof *job->encodings);
    if (!job->encodings)
        return organ_fail_memory(error, job->options->model);
    if (organ_quantize_fix_types(job, error) || organ_quantize_block_types(job, error) ||
        (job->recipe && find_recipe_types(job, error)))
        return error->status;
    for (size_t t = 0; t < job->model->tensor_count; t++) {
        const organ_tensor *const tensor = &job->model->tensors[t];
        const organ_encoding *const preferred = organ_quantize_gguf_encoding_of(job, tensor);
        if (!preferred)
            continue;
        if (organ_encoding_has_divisor(preferred) && check_scaled(job->model, error) != ORGAN_OK)
            return error->status;
        job->encodings[t] = fitting(job, tensor, preferred);
    }
    return ORGAN_OK;
}

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

/* Counts the tensors to which the recipe gives another type. Returns SIZE_MAX if memory cannot be allocated. */
static size_t count_others(const organ_quantize_job *job, const organ_recipe *recipe)
{
    size_t count = 0;
    organ_error error = {0};
    ORGAN_OWNED const organ_encoding **const types = calloc(job->model->tensor_count + 1, sizeof *types);
    if (!types ||
        organ_recipe_types(recipe, job->model, job->options->imatrix != NULL, job->fixed, types, &error) != ORGAN_OK)
        count = SIZE_MAX;
    for (size_t t = 0; count != SIZE_MAX && t < job->model->tensor_count; t++) {
        const organ_tensor *const tensor = &job->model->tensors[t];
        const organ_encoding *there = types[t], *const here = job->encodings[t];
        if (job->fixed && job->fixed[t])
            continue;
        if (there && !(there = organ_encoding_fitting(there, organ_tensor_matrices(tensor).cols)))
            there = organ_encoding_plain("f16");
        count += (there ? there->codes : ORGAN_DTYPE_COUNT) != (here ? here->codes : ORGAN_DTYPE_COUNT);
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

void organ_quantize_gguf_note(const organ_quantize_job *job)
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

/* ---- the importance matrix ---- */

static organ_status find_entry(organ_quantize_job *job, organ_quantize_part *part, organ_error *error)
{
    const organ_tensor *const tensor = part->weight->codes;
    const uint64_t matrices = organ_weight_matrices(part->weight).count;
    ORGAN_OWNED float *const norms = malloc((size_t)part->cols * sizeof *norms);
    double count;
    if (!norms)
        return organ_fail_memory(error, tensor->name);
    for (uint64_t k = 0; k < matrices && !error->status; k++)
        if (organ_importance_norms(job->imatrix.file, job->model, tensor, k, part->experts, norms, &count, &part->entry,
                                   error) == ORGAN_OK &&
            count == 0)
            organ_calibration_note_expert(&part->unreached, tensor, k);
    return error->status;
}

/* llama.cpp quantises to other types without an entry, and never uses one for those of `plain`. */
static bool type_needs_entry(const organ_encoding *encoding, bool fixed)
{
    static const organ_dtype rough[] = {ORGAN_IQ1_S, ORGAN_IQ1_M,   ORGAN_IQ2_XXS, ORGAN_IQ2_XS,
                                        ORGAN_IQ2_S, ORGAN_IQ3_XXS, ORGAN_Q2_K};
    static const organ_dtype plain[] = {ORGAN_Q8_0,  ORGAN_MXFP4, ORGAN_NVFP4, ORGAN_TQ1_0,
                                        ORGAN_TQ2_0, ORGAN_Q1_0,  ORGAN_Q2_0};
    return fixed ? is_among(encoding->codes, rough, sizeof rough / sizeof *rough)
                 : !is_among(encoding->codes, plain, sizeof plain / sizeof *plain);
}

organ_status organ_quantize_gguf_check_entry(const organ_quantize_job *job, const organ_tensor *tensor,
                                             uint64_t experts, organ_error *error)
{
    organ_error missing = {0};
    if (organ_importance_check(job->imatrix.file, tensor, experts, &missing) == ORGAN_OK)
        return ORGAN_OK;
    return organ_fail(error, missing.status,
                      "%s; `type_of` '%s=q8_0', or another type but those of iq1, iq2, iq3_xxs and q2_k, quantises it "
                      "without weights",
                      missing.message, tensor->name);
}

/* A type that --type-of fixes is the user's choice; other types need an entry for every matrix, since a file without
 * them may be that of another model. */
static organ_status find_own_entry(organ_quantize_job *job, organ_quantize_part *part, organ_expert_census *known,
                                   organ_error *error)
{
    const organ_tensor *const tensor = part->weight->codes;
    const bool fixed = job->fixed && job->fixed[tensor - job->model->tensors];
    part->experts = organ_experts_of_role(job->model, tensor, known);
    organ_error missing = {0};
    if (organ_quantize_gguf_check_entry(job, tensor, part->experts, &missing) == ORGAN_OK)
        return find_entry(job, part, error);
    if (type_needs_entry(part->encoding, fixed)) {
        *error = missing;
        return error->status;
    }
    job->imatrix.unweighted++;
    job->imatrix.first_unweighted = job->imatrix.first_unweighted ? job->imatrix.first_unweighted : tensor;
    return ORGAN_OK;
}

/* Embeddings never need an entry. An output head, and a matrix that only a recipe or --type-of selects, may lack one,
 * because llama.cpp does not collect the inputs of the head by default, nor those of draft layers; an entry that exists
 * is used. */
static bool needs_entry(const organ_quantize_job *job, const organ_tensor *tensor)
{
    const organ_role role = tensor->anatomy.role;
    if (role != ORGAN_ROLE_OUTPUT && job->targets.chosen[tensor - job->model->tensors])
        return true;
    for (size_t k = 0; k < job->imatrix.file->entry_count; k++)
        if (role != ORGAN_ROLE_EMBED && strcmp(job->imatrix.file->entries[k].name, tensor->name) == 0)
            return true;
    return false;
}

/* An entry of a layer that the model lacks shows that the file was made from another model. */
static organ_status check_layers(const organ_quantize_job *job, organ_error *error)
{
    int32_t last = -1;
    for (size_t t = 0; t < job->model->tensor_count; t++) {
        const int32_t layer = job->model->tensors[t].anatomy.layer;
        last = layer > last ? layer : last;
    }
    for (size_t k = 0; k < job->imatrix.file->entry_count; k++)
        if (job->imatrix.file->entries[k].anatomy.layer > last)
            return organ_fail(
                error, ORGAN_BAD_INPUT,
                "%s: entry '%s' is of a layer that %s does not have: the file was made from another model",
                job->imatrix.file->path, job->imatrix.file->entries[k].name, job->model->path);
    return ORGAN_OK;
}

organ_status organ_quantize_gguf_open_imatrix(organ_quantize_job *job, organ_error *error)
{
    organ_expert_census known = {0};
    if (!job->options->imatrix)
        return ORGAN_OK;
    if (!job->imatrix.file &&
        (organ_imatrix_open(job->options->imatrix, &job->imatrix.file, error) || check_layers(job, error) ||
         organ_importance_digest(job->imatrix.file, job->imatrix.digest, error)))
        return error->status;
    for (size_t k = 0; k < job->list.part_count && !error->status; k++)
        if (!organ_encoding_is_plain(job->list.parts[k].encoding) && needs_entry(job, job->list.parts[k].weight->codes))
            find_own_entry(job, &job->list.parts[k], &known, error);
    return error->status;
}

/* `roots` contains the root mean square of each column's input. weights[j] is the mean square over the mean of all
 * columns, plus ORGAN_MIN_WEIGHT (so that it is above 0), at most ORGAN_MAX_WEIGHT. roots[j] becomes its root. */
static void make_weights(float *weights, float *roots, size_t cols)
{
    double sum = 0;
    for (size_t j = 0; j < cols; j++)
        sum += (double)roots[j] * roots[j];
    for (size_t j = 0; j < cols; j++) {
        const double weight = (double)roots[j] * roots[j] / (sum / (double)cols) + ORGAN_MIN_WEIGHT;
        weights[j] = (float)(weight < ORGAN_MAX_WEIGHT ? weight : ORGAN_MAX_WEIGHT);
        roots[j] = sqrtf(weights[j]);
    }
}

organ_status organ_quantize_gguf_weigh(const organ_quantize_job *job, const organ_quantize_part *part, uint64_t matrix,
                                       float *weights, float *roots, organ_error *error)
{
    double count;
    const char *entry;
    if (organ_importance_norms(job->imatrix.file, job->model, part->weight->codes, matrix, part->experts, roots, &count,
                               &entry, error) == ORGAN_OK)
        make_weights(weights, roots, (size_t)part->cols);
    return error->status;
}

/* ---- metadata ---- */

/* The keys are those of llama-quantize. */
static organ_status note_imatrix(const organ_quantize_job *job, organ_error *error)
{
    organ_gguf_writer *const w = job->writer;
    const organ_imatrix *const m = job->imatrix.file;
    const char *const name = organ_path_name(m->path);
    organ_gguf_writer_set_string(w, "quantize.imatrix.file", name, strlen(name), error);
    if (m->dataset_count && !error->status)
        organ_gguf_writer_set_string(w, "quantize.imatrix.dataset", m->datasets[0], strlen(m->datasets[0]), error);
    if (!error->status)
        organ_gguf_writer_set_integer(w, "quantize.imatrix.entries_count", ORGAN_GGUF_U32, (int64_t)m->entry_count,
                                      error);
    if (m->chunks >= 0 && !error->status)
        organ_gguf_writer_set_integer(w, "quantize.imatrix.chunks_count", ORGAN_GGUF_U32, m->chunks, error);
    return error->status;
}

static int64_t file_type_of(const organ_quantize_job *job)
{
    if (job->types)
        return job->types->file_type;
    return job->recipe ? job->recipe->file_type : job->encoding->file_type;
}

organ_status organ_quantize_gguf_metadata(organ_quantize_job *job, organ_error *error)
{
    const organ_gguf *const gguf = job->model->gguf;
    if (organ_layout_metadata(gguf, &job->writer, error))
        return error->status;
    /* keys of an earlier quantisation describe another imatrix */
    for (size_t k = 0; k < gguf->kv_count; k++)
        if (name_starts_with(gguf->kvs[k].key, "quantize."))
            organ_gguf_writer_remove(job->writer, gguf->kvs[k].key);
    if (organ_gguf_writer_set_integer(job->writer, "general.file_type", ORGAN_GGUF_U32, file_type_of(job), error) ||
        organ_gguf_writer_set_integer(job->writer, "general.quantization_version", ORGAN_GGUF_U32, QUANTIZATION_VERSION,
                                      error))
        return error->status;
    const char *const adapter = job->repair.adapter ? organ_path_name(job->repair.output) : NULL;
    if (adapter &&
        (organ_gguf_writer_set_string(job->writer, ORGAN_REPAIR_ADAPTER_KEY, adapter, strlen(adapter), error) ||
         organ_gguf_writer_set_string(job->writer, ORGAN_REPAIR_PAIR_KEY, job->repair.pair, strlen(job->repair.pair),
                                      error)))
        return error->status;
    return job->imatrix.file ? note_imatrix(job, error) : ORGAN_OK;
}
