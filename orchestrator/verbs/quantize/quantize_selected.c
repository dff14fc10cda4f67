/* SPDX-License-Identifier: MIT
 * Selected tensors that loaders read only in some schemes: whether --select names a tensor or merely includes it, and
 * embeddings in schemes of compressed-tensors, in which vLLM reads the rows of tokens but multiplies by none. */
#include "orchestrator/verbs/quantize/quantize_parts.h"

#include "formats/architecture/mtp_types.h"
#include "formats/base/text.h"
#include "orchestrator/output/head.h"

#include <string.h>

/* ---- what --select names ---- */

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

/* ---- embeddings ---- */

bool organ_quantize_is_embedding(const organ_tensor *tensor) { return tensor->anatomy.role == ORGAN_ROLE_EMBED; }

/* vLLM unpacks words of 32 / bits codes, which are words of whole codes for 2, 4 and 8 bits only. */
static bool has_words(const organ_encoding *encoding)
{
    return organ_encoding_is_packed(encoding) && !organ_encoding_is_fp4(encoding) && 32 % encoding->grid.bits == 0;
}

const char *organ_quantize_embedding_obstacle(const organ_quantize_job *job, const organ_weight *weight)
{
    const int32_t trunk = organ_mtp_trunk_layers(job->model);
    if (weight->anatomy.layer >= 0 || !organ_ends_with(weight->name, "embed_tokens.weight") ||
        organ_mtp_block_of(weight->name, &weight->anatomy, trunk) >= 0)
        return "embeddings are looked up, not multiplied: vLLM reads codes only in those of tokens (embed_tokens).";
    if (organ_encoding_is_mixed(job->encoding))
        return "scheme mixed chooses bits only for matrices that layers multiply: select those.";
    if (!has_words(job->encoding))
        return "vLLM reads embeddings only in int2, int4 or int8 with groups: select other matrices, or use such a "
               "scheme.";
    if (!organ_is_one_of(job->model->config.model_type, organ_served_embeddings))
        return "vLLM reads no quantised embeddings in models of this type: select other matrices.";
    if (!job->own_head)
        return "it is also the output head, and vLLM looks quantised embeddings up, but does not multiply by them: "
               "select other matrices.";
    return NULL;
}

organ_status organ_quantize_embedding_open(organ_quantize_job *job, organ_error *error)
{
    organ_head head = {0};
    bool chosen = false;
    for (size_t k = 0; k < job->weights->count && !chosen; k++) {
        const organ_tensor *const t = job->weights->weights[k].codes;
        chosen = organ_quantize_is_embedding(t) && organ_quantize_is_target(job, t);
    }
    if (chosen && organ_encoding_kind(job->encoding) == ORGAN_KIND_TENSORS)
        organ_head_find(job->model, job->weights, job->engine, &head, error);
    job->own_head = head.own;
    return error->status;
}
