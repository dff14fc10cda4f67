/* SPDX-License-Identifier: MIT
 * --mtp-scheme: the scheme of the block for multi-token prediction (MTP), another one than that of the model's layers.
 * In safetensors models config.json states it by a group of its own, in GGUF models it is a type of each tensor. */
#include "orchestrator/verbs/quantize/compressed/quantize_compressed.h"
#include "orchestrator/verbs/quantize/gguf/quantize_gguf.h"
#include "orchestrator/verbs/quantize/quantize_verb.h"

#include "formats/architecture/mtp_types.h"
#include "formats/base/text.h"
#include "orchestrator/machine/quantity.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- the option ---- */

static organ_status refuse_with(const char *what, const char *why, organ_error *error)
{
    return organ_fail(error, ORGAN_USAGE, "`mtp_scheme` has no meaning with %s, %s", what, why);
}

/* The block has a group of its own in config.json. */
static organ_status check_compressed(organ_quantize_job *job, organ_error *error)
{
    const organ_quantize_options *const o = job->options;
    if (job->encoding->grid.scale_of == ORGAN_SCALE_BLOCK || job->block.encoding->grid.scale_of == ORGAN_SCALE_BLOCK)
        return organ_fail(error, ORGAN_USAGE,
                          "`mtp_scheme` %s has no meaning with scheme %s: in the format of fp8-block128, config.json "
                          "states one scheme for all matrices; `mtp_scheme` can be keep or same, or both schemes can "
                          "be others, such as fp8-channel",
                          job->block.encoding->name, job->encoding->name);
    if (organ_quantize_measures(o) || o->activations.like_weights)
        return refuse_with(o->activations.like_weights ? "`activations.like_weights`" : "`activations.scale` static",
                           "which measures inputs for one scheme: use keep or same", error);
    if (o->gptq.repair_rank)
        return refuse_with("`repair_rank`", "with which transformers loads one scheme: use keep or same", error);
    organ_quantize_options own = *o;
    own.scheme = job->block.encoding->name;
    own.activations.type = own.activations.scale = NULL;
    job->block.inputs = organ_quantize_inputs_wanted(&own);
    return ORGAN_OK;
}

static const organ_encoding *encoding_named(const organ_quantize_job *job, const char *word)
{
    char name[32];
    size_t length = 0;
    for (; word[length] && length + 1 < sizeof name; length++)
        name[length] = (char)tolower((unsigned char)word[length]);
    name[length] = '\0';
    if (organ_encoding_is_gguf(job->encoding))
        return organ_quantize_type_of_word(name);
    const organ_encoding *const found = organ_encoding_for(name, organ_encoding_kind(job->encoding));
    return found && !organ_encoding_is_mixed(found) ? found : NULL;
}

organ_status organ_quantize_block_check(organ_quantize_job *job, organ_error *error)
{
    const char *const word = job->options->mtp_scheme;
    organ_quantize_block *const b = &job->block;
    if (!word)
        return ORGAN_OK;
    b->keep = strcasecmp(word, "keep") == 0;
    b->same = strcasecmp(word, "same") == 0;
    if (b->keep || b->same)
        return ORGAN_OK;
    b->encoding = encoding_named(job, word);
    if (!b->encoding)
        return organ_fail(error, ORGAN_USAGE,
                          "`mtp_scheme` '%.60s' is unknown with scheme %s: it can be keep, same, or a scheme of the "
                          "same format",
                          word, job->options->scheme);
    if (b->encoding == job->encoding && !job->recipe) {
        b->encoding = NULL;
        b->same = true;
        return ORGAN_OK;
    }
    return organ_encoding_kind(job->encoding) == ORGAN_KIND_TENSORS ? check_compressed(job, error) : ORGAN_OK;
}

/* ---- the matrices ---- */

static bool is_matrix(const organ_tensor *tensor)
{
    return tensor->rank >= 2 && tensor->elements && organ_mtp_is_projection(tensor);
}

/* With keep all tensors of a GGUF block count, such as its projection and copies of the head. */
static bool is_decided_unselected(const organ_quantize_job *job, const organ_tensor *tensor, int32_t trunk)
{
    const bool gguf = organ_encoding_is_gguf(job->encoding);
    if (organ_mtp_block_of(tensor->name, &tensor->anatomy, trunk) < 0)
        return false;
    return is_matrix(tensor) || (gguf && organ_recipe_quantises(job->model, tensor) &&
                                 (job->block.keep || tensor->anatomy.role == ORGAN_ROLE_MTP));
}

/* With --select the option decides about those of the selected matrices that are the block's. */
static bool is_decided(const organ_quantize_job *job, size_t t, int32_t trunk)
{
    const organ_tensor *const tensor = &job->model->tensors[t];
    return job->options->targets
               ? job->targets.chosen[t] && organ_mtp_block_of(tensor->name, &tensor->anatomy, trunk) >= 0
               : is_decided_unselected(job, tensor, trunk);
}

static bool has_block(const organ_quantize_job *job, int32_t trunk)
{
    bool found = false;
    for (size_t t = 0; t < job->model->tensor_count && !found; t++)
        found = is_decided_unselected(job, &job->model->tensors[t], trunk);
    return found;
}

static const char *path_of_model(const organ_quantize_job *job)
{
    return job->source ? job->source->model : job->model->path;
}

/* `count`: number of matrices that the option decides about. */
static organ_status check_selected(const organ_quantize_job *job, size_t count, organ_error *error)
{
    if (!count && !job->block.keep && !job->block.same)
        return organ_fail(error, ORGAN_USAGE,
                          "%s: `targets` selects no matrix of the block for multi-token prediction, for which "
                          "`mtp_scheme` %s is",
                          path_of_model(job), job->options->mtp_scheme);
    if (job->options->targets && job->block.keep && count == job->targets.count)
        return organ_fail(error, ORGAN_USAGE,
                          "%s: `targets` selects only matrices of the block for multi-token prediction, which "
                          "`mtp_scheme` keep leaves unquantised",
                          path_of_model(job));
    return ORGAN_OK;
}

static organ_status refuse_without_block(const organ_quantize_job *job, organ_error *error)
{
    return organ_fail(error, ORGAN_USAGE, "%s: has no block for multi-token prediction%s, for which `mtp_scheme` is",
                      path_of_model(job), job->source ? " that the conversion to GGUF keeps" : "");
}

static organ_status check_mlx(const organ_quantize_job *job, organ_error *error)
{
    for (size_t t = 0; t < job->model->tensor_count && organ_quantize_is_mlx(job) && !job->block.keep; t++)
        if (job->block.chosen[t] && job->format->drops(job, &job->model->tensors[t]))
            return organ_fail(error, ORGAN_USAGE,
                              "%s: `mtp_scheme` %s has no meaning with `format` mlx: mlx-lm does not run blocks for "
                              "multi-token prediction and would reject this one, so that the output lacks it",
                              job->model->path, job->options->mtp_scheme);
    return ORGAN_OK;
}

organ_status organ_quantize_block_open(organ_quantize_job *job, organ_error *error)
{
    const int32_t trunk = organ_mtp_trunk_layers(job->model);
    size_t count = 0;
    if (!job->options->mtp_scheme)
        return ORGAN_OK;
    if (!(job->block.chosen = calloc(job->model->tensor_count + 1, sizeof *job->block.chosen)))
        return organ_fail_memory(error, job->model->path);
    for (size_t t = 0; t < job->model->tensor_count; t++)
        count += job->block.chosen[t] = is_decided(job, t, trunk);
    if (!has_block(job, trunk))
        return refuse_without_block(job, error);
    if (check_selected(job, count, error) || check_mlx(job, error) || organ_encoding_is_gguf(job->encoding))
        return error->status;
    return organ_targets_set(job->model, job->block.chosen, !job->block.keep, &job->targets, error);
}

/* ---- one scheme for all matrices ---- */

static organ_status refuse_matrix(organ_quantize_job *job, const organ_weight *weight, organ_error *error)
{
    const char *const why = organ_quantize_obstacle(job, weight, error);
    return organ_fail(error, ORGAN_USAGE,
                      "tensor '%s': `mtp_scheme` %s does not fit: %s One entry of config.json states the scheme of the "
                      "block, so that all of its matrices need it",
                      weight->name, job->options->mtp_scheme,
                      why ? why : "its columns are not a whole number of groups.");
}

/* Returns whether a target that is not the block's gets another group size than that of --scheme. */
static bool regroups_others(const organ_quantize_job *job)
{
    bool found = false;
    for (size_t k = 0; k < job->weights->count && !found; k++) {
        const organ_weight *const w = &job->weights->weights[k];
        found = organ_quantize_is_target(job, w->codes) && !job->block.chosen[w->codes - job->model->tensors] &&
                w->rank == 2 && organ_encoding_fitting(job->encoding, w->shape[1]) != job->encoding;
    }
    return found;
}

/* Servers fuse matrices, so that all get the largest group that divides the rows of each. With the word same the block
 * gets an entry of its own if config.json names the modules of each scheme: names do not match fused modules. */
organ_status organ_quantize_block_forms(organ_quantize_job *job, organ_error *error)
{
    const organ_quantize_options *const o = job->options;
    organ_quantize_block *const b = &job->block;
    const organ_encoding *const asked = b->encoding ? b->encoding : job->encoding;
    uint64_t divisor = 0;
    const bool other = organ_quantize_measures(o) || o->activations.like_weights || o->gptq.repair_rank ||
                       asked->grid.scale_of == ORGAN_SCALE_BLOCK;
    if (!b->chosen || b->keep || (b->same && other) || organ_encoding_is_gguf(job->encoding))
        return ORGAN_OK;
    for (size_t k = 0; k < job->weights->count; k++) {
        const organ_weight *const w = &job->weights->weights[k];
        if (!b->chosen[w->codes - job->model->tensors])
            continue;
        if (organ_quantize_obstacle(job, w, error))
            return b->same ? ORGAN_OK : refuse_matrix(job, w, error);
        divisor = organ_common_divisor(divisor, w->shape[w->rank - 1]);
    }
    const organ_encoding *const fits = organ_encoding_fitting(asked, divisor);
    if (!fits || (b->same && fits == job->encoding && !regroups_others(job)))
        return ORGAN_OK;
    b->regrouped = fits != asked;
    b->inputs = b->same ? job->inputs : b->inputs;
    b->encoding = fits;
    return ORGAN_OK;
}

/* ---- loaders ---- */

void organ_quantize_block_note(const organ_quantize_job *job)
{
    const organ_mtp_type *const type = organ_mtp_type_of(job->model->config.model_type);
    if (job->block.encoding && !job->block.same && type && type->like_first && !organ_quantize_is_mlx(job))
        organ_progress_warn(
            job->progress,
            "SGLang names the block for multi-token prediction of %s like layer 0, and would load it as "
            "%s: serve it in vLLM, or use --mtp-scheme same",
            type->name, job->encoding->name);
    if (job->block.regrouped)
        organ_progress_note(
            job->progress,
            "the matrices of the block for multi-token prediction have %s, whose groups divide the rows "
            "of all of them",
            job->block.encoding->name);
    if ((job->block.encoding || job->block.same) && organ_quantize_is_mlx(job))
        organ_progress_note(job->progress,
                            "mlx-lm leaves out the block for multi-token prediction when it loads the model");
}
