/* SPDX-License-Identifier: MIT
 * Functions that all sources of quantize use. They tell what options ask for and which tensors are targets, list the
 * tensors of the output, and write the figures of a part to the journal. */
#include "orchestrator/verbs/quantize/codes/quantize_parts.h"

#include "formats/base/text.h"
#include "orchestrator/surgery/readers/readers.h"

#include <string.h>

/* ---- options ---- */

bool organ_quantize_by_text(const organ_quantize_options *o) { return o->method && strcmp(o->method, "gptq") == 0; }

bool organ_quantize_static(const organ_quantize_options *o)
{
    return o->activations.scale && strcmp(o->activations.scale, "static") == 0;
}

bool organ_quantize_by_error(const organ_quantize_options *o)
{
    return o->activations.observer && strcmp(o->activations.observer, "mse") == 0;
}

bool organ_quantize_measures(const organ_quantize_options *o)
{
    return organ_quantize_static(o) || (o->activations.like_weights && strcmp(o->scheme, "nvfp4") == 0);
}

bool organ_quantize_names_gguf(const organ_quantize_options *o)
{
    return organ_ends_with(o->model, ".gguf") || (o->write.output && organ_ends_with(o->write.output, ".gguf"));
}

bool organ_quantize_types_wanted(const organ_quantize_options *o)
{
    return strcmp(o->scheme, "mixed") == 0 && (o->gguf.target_size || o->gguf.types || organ_quantize_names_gguf(o));
}

char *organ_quantize_name_beside(const char *path, const char *end)
{
    size_t length = organ_path_length(path);
    organ_cut_end(path, &length, ".gguf");
    return organ_format("%.*s%s", (int)length, path, end);
}

/* ---- targets ---- */

bool organ_quantize_is_target(const organ_quantize_job *job, const organ_tensor *tensor)
{
    const organ_role role = tensor->anatomy.role;
    if (job->targets.chosen[tensor - job->model->tensors])
        return true;
    return organ_quantize_is_mlx(job) && !job->options->targets && tensor->rank == 2 && tensor->anatomy.layer < 0 &&
           (role == ORGAN_ROLE_OUTPUT ||
            (role == ORGAN_ROLE_EMBED && organ_ends_with(tensor->name, "embed_tokens.weight")));
}

/* Returns whether a pattern also matches another tensor. */
static bool is_wide(const organ_quantize_job *job, const char *pattern, organ_quantize_alike *alike)
{
    bool used = false, wide = false;
    const organ_selection one = {.words = true, .pattern_count = 1, .patterns = &pattern, .used = &used};
    for (size_t k = 0; k < job->model->tensor_count && !wide; k++) {
        const organ_tensor *const t = &job->model->tensors[k];
        wide = !alike(job->model, t) && organ_selection_has_name(&one, t->name, &t->anatomy, /*otherwise=*/false);
    }
    return wide;
}

bool organ_quantize_is_tower(const organ_quantize_job *job)
{
    return job->model->gguf && organ_gguf_text_equals(job->model->gguf, "general.architecture", "clip");
}

bool organ_quantize_is_named(const organ_quantize_job *job, const organ_tensor *tensor, organ_quantize_alike *alike,
                             organ_error *error)
{
    ORGAN_RELEASED_BY(organ_selection_release) organ_selection names = {0};
    size_t kept = 0;
    if (!job->options->targets || organ_selection_parse(job->options->targets, NULL, "targets", &names, error))
        return false;
    for (size_t k = 0; k < names.pattern_count; k++)
        if (!strpbrk(names.patterns[k], "*?[") || !is_wide(job, names.patterns[k], alike))
            names.patterns[kept++] = names.patterns[k];
    names.pattern_count = kept;
    names.groups = 0;
    names.words = true;
    return organ_selection_has_name(&names, tensor->name, &tensor->anatomy, /*otherwise=*/false);
}

/* A GGUF output has no config.json. */
bool organ_quantize_has_several_encodings(const organ_quantize_job *job)
{
    return !job->writer && (job->widths || job->list.regrouped);
}

/* ---- tensors of the output ---- */

const char *organ_quantize_name_next_to(organ_quantize_job *job, const char *weight, const char *end)
{
    ORGAN_OWNED char *const text = organ_format("%.*s%s", (int)(strlen(weight) - strlen("weight")), weight, end);
    return text ? organ_arena_copy(&job->list.arena, text, strlen(text)) : NULL;
}

size_t organ_quantize_add_piece(organ_quantize_job *job, const char *name, organ_dtype dtype, unsigned rank,
                                const uint64_t *shape)
{
    job->list.pieces[job->list.piece_count] = (organ_piece){.name = name, .dtype = dtype, .rank = rank, .shape = shape};
    return job->list.piece_count++;
}

/* ---- values ---- */

/* quantize_divisors.c counts the rest. */
uint64_t organ_quantize_counted_bytes(const organ_quantize_part *part, uint64_t rows)
{
    const uint64_t all = part->rows * organ_weight_matrices(part->weight).count;
    const uint64_t bytes = organ_quantize_source_bytes(part->weight) / (all ? all : 1) * rows;
    if (organ_encoding_has_divisor(part->encoding))
        return bytes / 2;
    return part->encoding->grid.scale_of == ORGAN_SCALE_TENSOR ? bytes / 3 : bytes;
}

/* The compiler vectorises the inner loop because its length is a constant. */
void organ_quantize_multiply(float *values, size_t n, float factor)
{
    size_t at = 0;
    if (factor == 1)
        return;
    for (; at + 16 <= n; at += 16)
        for (size_t l = 0; l < 16; l++)
            values[at + l] *= factor;
    for (; at < n; at++)
        values[at] *= factor;
}

organ_status organ_quantize_refuse_values(const char *tensor, organ_error *error)
{
    return organ_fail(
        error, ORGAN_BAD_INPUT,
        "tensor '%s' has values that are NaN or infinite, which cannot be scaled: leave it out with `targets`, or in a "
        "GGUF model with `type_of` '%s=keep'",
        tensor, tensor);
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

organ_status organ_quantize_weigh(const organ_quantize_job *job, const organ_quantize_part *part, uint64_t matrix,
                                  float *weights, float *roots, organ_error *error)
{
    double count;
    const char *entry;
    if (organ_importance_norms(job->imatrix.file, job->model, part->weight->codes, matrix, part->experts, roots, &count,
                               &entry, error) == ORGAN_OK)
        make_weights(weights, roots, (size_t)part->cols);
    return error->status;
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
    if (at == SIZE_MAX)
        return true;
    organ_quantize_part *const part = &((organ_quantize_job *)context)->list.parts[at];
    json_decref(part->fallback);
    part->fallback = json_incref(json_object_get(results, "fallback_experts"));
    part->unsearched = json_number_value(json_object_get(results, "unsearched"));
    return ORGAN_STRUCT_READ(results, results_fields, part);
}

bool organ_quantize_readers_open(const organ_quantize_job *job, const organ_encoding *encoding)
{
    const organ_form form = organ_form_of_encoding(encoding, organ_encoding_kind(encoding));
    unsigned readers;
    return organ_readers_parse(job->options->readers, &readers, &(organ_error){0}) == ORGAN_OK &&
           organ_readers_worst(readers, job->model->config.model_type, &form) != ORGAN_REFUSED;
}
