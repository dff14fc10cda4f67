/* SPDX-License-Identifier: MIT
 * Makes quantization_config of config.json, which states for loaders how the quantised weights of a safetensors model
 * are stored. */
#include "orchestrator/verbs/quantize/compressed/quantize_compressed.h"

#include "formats/architecture/mtp_types.h"
#include "formats/base/quant_sections.h"
#include "formats/base/text.h"
#include "formats/model/recognise.h"
#include "formats/tensor/tensor_list.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/surgery/readers/readers.h"

#include <stdio.h>
#include <string.h>

static const organ_tensor *plain_tensor(const void *job, size_t k)
{
    return ((const organ_quantize_job *)job)->list.pieces[k].same;
}

static const organ_weight *quantised_weight(const void *job, size_t k)
{
    return organ_quantize_next_part(job, k)->weight;
}

static bool has_plain_block(const organ_quantize_job *job)
{
    const int32_t trunk = organ_mtp_trunk_layers(job->model);
    bool found = false;
    for (size_t k = 0; k < job->list.piece_count && !found; k++) {
        const organ_tensor *const same = plain_tensor(job, k);
        found = same && same->rank > 1 && organ_mtp_block_of(same->name, &same->anatomy, trunk) >= 0 &&
                organ_mtp_is_projection(same);
    }
    return found;
}

/* `patterns`: config.json can name modules by patterns. */
static void note_block(const organ_quantize_job *job, bool patterns)
{
    const organ_mtp_type *const type = organ_mtp_type_of(job->model->config.model_type);
    if (!type || !(type->like_first || (type->served && !patterns)) || !has_plain_block(job))
        return;
    if (type->like_first)
        organ_progress_note_once(job->progress,
                                 "SGLang names the block for multi-token prediction of %s like layer 0, so that no "
                                 "entry of config.json can leave only the block unquantised: serve it in vLLM, or use "
                                 "--mtp-scheme same",
                                 type->name);
    else if (strstr(type->served, "^self_attn"))
        organ_progress_note_once(job->progress,
                                 "SGLang names the modules of the block for multi-token prediction of %s without a "
                                 "prefix, so that no entry of config.json leaves only the block unquantised: serve it "
                                 "in vLLM, or use another scheme than %s",
                                 type->name, job->encoding->name);
}

/* Whether SGLang gives the modules of all blocks the same names, such as "model.decoder.*". */
static bool shares_names(const organ_mtp_type *type, bool outside)
{
    const char *at = type && type->like_first ? "" : organ_mtp_served(type, outside);
    for (; *at; at += strcspn(at, " "), at += *at == ' ')
        if (*at == '^' && strcspn(at, "#") >= strcspn(at, " "))
            return true;
    return false;
}

/* Returns a quantised weight with the tensor's name in another block than that of number `block`, or NULL. */
static const organ_weight *quantised_elsewhere(const organ_quantize_job *job, const organ_tensor *same, int64_t block)
{
    const int32_t trunk = organ_mtp_trunk_layers(job->model);
    const char *const tail = organ_mtp_tail_of(same->name, &same->anatomy);
    for (size_t k = 0; k < job->list.part_count && tail; k++) {
        const organ_weight *const weight = quantised_weight(job, k);
        const int64_t other = organ_mtp_block_of(weight->name, &weight->anatomy, trunk);
        const char *const found =
            other >= 0 && other != block ? organ_mtp_tail_of(weight->name, &weight->anatomy) : NULL;
        if (found && strcmp(found, tail) == 0)
            return weight;
    }
    return NULL;
}

static void note_shared_names(const organ_quantize_job *job)
{
    const organ_mtp_type *const type = organ_mtp_type_of(job->model->config.model_type);
    const int32_t trunk = organ_mtp_trunk_layers(job->model);
    const organ_weight *other = NULL;
    for (size_t k = 0; k < job->list.piece_count && !other; k++) {
        const organ_tensor *const same = plain_tensor(job, k);
        const int64_t block = same && same->rank > 1 ? organ_mtp_block_of(same->name, &same->anatomy, trunk) : -1;
        if (block < 0 || !organ_mtp_is_projection(same) || !shares_names(type, same->anatomy.layer < 0))
            continue;
        other = quantised_elsewhere(job, same, block);
        if (other)
            organ_progress_note_once(job->progress,
                                     "SGLang gives the modules of all blocks for multi-token prediction the same "
                                     "names, so that no entry of config.json leaves only %s unquantised while %s is "
                                     "quantised: select a matrix in all blocks or in none, or serve the model in vLLM",
                                     same->name, other->name);
    }
}

static json_t *ignored_json(const organ_quantize_job *job, bool patterns)
{
    const organ_module_list list = {job->model,           job,          job->list.piece_count,
                                    job->list.part_count, plain_tensor, quantised_weight};
    note_block(job, patterns);
    note_shared_names(job);
    return organ_modules_ignored(&list, patterns);
}

/* The form is that of DeepSeek-V3 and Qwen3-FP8. */
static json_t *blocks_json(const organ_quantize_job *job)
{
    const organ_quant_list *const row = organ_quant_list_of("fp8");
    return ORGAN_OBJECT(
        SET_TEXT("activation_scheme", "dynamic"), SET_TEXT("fmt", "e4m3"),
        SET(row->key, ignored_json(job, row->patterns)), SET_TEXT("quant_method", "fp8"),
        SET("weight_block_size", json_pack("[i, i]", (int)job->encoding->grid.size, (int)job->encoding->grid.size)));
}

/* Pattern that matches all routed experts, which have one encoding. transformers takes the encoding of experts from the
 * first group with a pattern that contains "experts". */
static const char experts_pattern[] = "re:.*\\.experts\\.[0-9]+\\..*";

static json_t *modules_json(const organ_quantize_job *job, const organ_encoding *encoding)
{
    const bool pattern = organ_quantize_plain_experts(job) == 0;
    json_t *const rows = json_array();
    bool named = false; /* the list has experts_pattern */
    for (size_t k = 0; k < job->list.part_count; k++) {
        const organ_tensor *const tensor = organ_quantize_next_part(job, k)->weight->codes;
        const bool expert = pattern && organ_modules_is_routed(&tensor->anatomy);
        if (job->list.parts[k].encoding != encoding || organ_quantize_has_own_scheme(job, tensor) || (expert && named))
            continue;
        if (expert)
            json_array_append_new(rows, json_string(experts_pattern));
        else
            organ_modules_append(job->model, tensor, rows);
        if (!expert)
            organ_modules_append_served(job->model, tensor, rows);
        named = named || expert;
    }
    return rows;
}

static bool is_embedding(const organ_quantize_job *job, size_t part)
{
    return organ_quantize_is_embedding(job->list.parts[part].weight->codes);
}

/* Embeddings, and matrices with the block's own scheme, have groups of their own. */
static bool has_own_group(const organ_quantize_job *job, size_t part)
{
    return organ_quantize_has_own_scheme(job, job->list.parts[part].weight->codes) || is_embedding(job, part);
}

static bool is_first(const organ_quantize_job *job, size_t part)
{
    const organ_quantize_part *const parts = job->list.parts;
    for (size_t k = 0; k < part; k++)
        if (parts[k].encoding == parts[part].encoding && !has_own_group(job, k))
            return false;
    return !has_own_group(job, part);
}

/* Returns the name of the format in compressed-tensors. */
static const char *format_of(const organ_encoding *s)
{
    if (organ_encoding_is_fp4(s))
        return organ_encoding_has_divisor(s) ? "nvfp4-pack-quantized" : "mxfp4-pack-quantized";
    if (organ_encoding_is_packed(s))
        return "pack-quantized";
    if (s->grid.scale_of == ORGAN_SCALE_E8M0)
        return "mxfp8-quantized";
    return s->grid.bits ? "int-quantized" : "float-quantized";
}

/* Whether a matrix has the block's own scheme (`own`), or that of all others: a group for none would match no tensor.
 */
static bool has_matrix(const organ_quantize_job *job, bool own)
{
    bool found = false;
    for (size_t k = 0; k < job->list.part_count && !found; k++)
        found = organ_quantize_has_own_scheme(job, job->list.parts[k].weight->codes) == own;
    return found;
}

/* Whether groups differ in format, so that each names its own. */
static bool has_formats(const organ_quantize_job *job)
{
    return has_matrix(job, /*own=*/true) && has_matrix(job, /*own=*/false) &&
           strcmp(format_of(job->block.encoding), format_of(job->encoding)) != 0;
}

/* Returns QuantizationArgs of weights with scales of a byte, as in the presets NVFP4, MXFP4 and MXFP8 of
 * compressed-tensors. */
static json_t *small_json(const organ_grid *grid)
{
    const bool divided = grid->scale_of == ORGAN_SCALE_E4M3;
    const char *const type = divided ? "torch.float8_e4m3fn" : "torch.uint8";
    json_t *const made = organ_compressed_arguments(grid->bits ? 4 : 8, "float", divided ? "tensor_group" : "group",
                                                    json_integer((json_int_t)grid->size), /*dynamic=*/false);
    return organ_json_joined(made, ORGAN_OBJECT(SET_TEXT("scale_dtype", type), SET_TEXT("zp_dtype", type)));
}

static json_t *weights_json(const organ_encoding *s)
{
    const organ_grid *const grid = &s->grid;
    const char *strategy = "group";
    if (grid->scale_of == ORGAN_SCALE_TENSOR)
        strategy = "tensor";
    else if (grid->scale_of == ORGAN_SCALE_CHANNEL)
        strategy = "channel";
    if (organ_encoding_is_fp4(s) || grid->scale_of == ORGAN_SCALE_E8M0)
        return small_json(grid);
    return organ_compressed_arguments(grid->bits ? (int)grid->bits : 8, grid->bits ? "int" : "float", strategy,
                                      grid->size ? json_integer((json_int_t)grid->size) : json_null(),
                                      /*dynamic=*/false);
}

/* Adds a group to `groups`. compressed-tensors would take codes in groups with rounded inputs for those of
 * int-quantized. Returns whether there was memory. */
static bool add_group(const organ_quantize_job *job, json_t *groups, json_t *targets, const organ_encoding *s,
                      const organ_quantize_inputs *inputs)
{
    char name[32];
    const bool named = has_formats(job) || (inputs && organ_encoding_is_packed(s));
    snprintf(name, sizeof name, "group_%zu", json_object_size(groups));
    json_t *const group =
        organ_json_joined(organ_compressed_group(targets, weights_json(s), organ_quantize_inputs_json(job, inputs)),
                          ORGAN_OBJECT(SET_IF(named, "format", json_string(format_of(s)))));
    return json_object_set_new(groups, name, group) == 0;
}

/* vLLM compares the class of embeddings, because some of its models do not tell their names; transformers compares
 * names. Embeddings have no inputs to round. */
static bool add_embedding_group(const organ_quantize_job *job, json_t *groups)
{
    for (size_t k = 0; k < job->list.part_count; k++)
        if (is_embedding(job, k))
            return add_group(job, groups, json_pack("[s, s]", "re:.*embed_tokens$", "VocabParallelEmbedding"),
                             job->list.parts[k].encoding, /*inputs=*/NULL);
    return true;
}

/* The block's own group comes first: of patterns that match a module, servers take the first. */
static bool add_block_group(const organ_quantize_job *job, json_t *groups)
{
    const organ_module_list list = {job->model,           job,          job->list.piece_count,
                                    job->list.part_count, plain_tensor, quantised_weight};
    return !has_matrix(job, /*own=*/true) ||
           add_group(job, groups, organ_modules_of_blocks(&list), job->block.encoding, job->block.inputs);
}

/* All linear layers. vLLM's output head is none of class Linear, and has another prefix in models with towers. */
static json_t *linear_layers(const organ_quantize_job *job)
{
    const organ_module_list list = {job->model,           job,          job->list.piece_count,
                                    job->list.part_count, plain_tensor, quantised_weight};
    json_t *const targets = json_pack("[s]", "Linear");
    bool towers = false;
    for (size_t t = 0; t < job->model->tensor_count; t++)
        towers = towers || organ_role_is_tower(job->model->tensors[t].anatomy.role);
    if (organ_modules_quantise_head(&list))
        json_array_append_new(targets, json_string("lm_head"));
    if (organ_modules_quantise_head(&list) && towers)
        json_array_append_new(targets, json_string("re:.*\\.lm_head"));
    return targets;
}

static json_t *groups_json(const organ_quantize_job *job)
{
    json_t *const groups = json_object();
    bool sound = groups && add_block_group(job, groups);
    bool others = false; /* there are matrices without a group of their own */
    for (size_t k = 0; k < job->list.part_count && !others; k++)
        others = !has_own_group(job, k);
    if (!organ_quantize_has_several_encodings(job) && others)
        sound = sound && add_group(job, groups, linear_layers(job), job->encoding, job->inputs);
    for (size_t k = 0; k < job->list.part_count && sound && organ_quantize_has_several_encodings(job); k++) {
        const organ_encoding *const s = job->list.parts[k].encoding;
        sound = !is_first(job, k) || add_group(job, groups, modules_json(job, s), s, job->inputs);
    }
    sound = sound && add_embedding_group(job, groups);
    if (sound)
        return groups;
    json_decref(groups);
    return NULL;
}

bool organ_quantize_has_one_group(const organ_quantize_job *job)
{
    const organ_encoding *of_others = NULL, *of_embedding = NULL;
    size_t groups = 0;
    for (size_t k = 0; k < job->list.part_count && organ_quantize_has_several_encodings(job); k++) {
        groups += is_first(job, k);
        *(is_embedding(job, k) ? &of_embedding : &of_others) = job->list.parts[k].encoding;
    }
    return groups < 2 && (!of_embedding || !of_others || of_embedding == of_others);
}

/* ---- what transformers opens ---- */

/* Types of which transformers 5.24 with compressed-tensors 0.20 opens some outputs only if it dequantises all weights
 * as it loads, or not at all. */
static const struct unopened_type {
    const char *types[4]; /* model_type, terminated by NULL */
    const char *part;     /* the matrices that it cannot open have this word in their names; NULL: all quantised ones */
    const char *joins;    /* why it opens FP8 schemes only: it joins tensors and takes them for packed weights */
} unopened_types[] = {
#define JOINED(tensors) "it seeks " tensors ", which it joins, as packed weights; it opens FP8 schemes"
    /* initialises PART.weight, which packed layers do not have */
    {{"mamba", "mamba2", "falcon_mamba"}, ".out_proj.", NULL},
    {{"gpt_bigcode"}, ".c_proj.", NULL},
    {{"nanochat"}, ".o_proj.", NULL},
    {{"modernbert-decoder", "rwkv"}, NULL, NULL},
    {{"falcon"}, NULL, NULL}, /* multiplies by the weight of a class of its own */
    {{"bailing_hybrid", "kimi_linear", "olmo_hybrid"}, NULL, JOINED("the convolutions of q, k and v")},
    {{"minimax_m3_vl"}, "language_model.model.layers.", JOINED("gate and up")}, /* under published names */
    {{"step3p7"}, "model.layers.", JOINED("the stacks of gate and up")},        /* under published names */
#undef JOINED
};

/* Returns the row of the model if it has quantised matrices that transformers cannot open, or NULL. */
static const struct unopened_type *unopened(const organ_quantize_job *job)
{
    const struct unopened_type *row = NULL;
    for (size_t k = 0; k < sizeof unopened_types / sizeof *unopened_types && !row; k++)
        row = organ_is_one_of(job->model->config.model_type, unopened_types[k].types) ? &unopened_types[k] : NULL;
    bool found = false;
    for (size_t k = 0; row && k < job->list.part_count && !found; k++) {
        const organ_encoding *const encoding = job->list.parts[k].encoding;
        found = (organ_encoding_is_packed(encoding) || (row->joins && encoding->grid.bits)) &&
                (!row->part || strstr(job->list.parts[k].weight->name, row->part));
    }
    return found ? row : NULL;
}

/* transformers initialises `weight` of embeddings, which packed ones do not have. */
static bool packs_embedding(const organ_quantize_job *job)
{
    bool found = false;
    for (size_t k = 0; k < job->list.part_count && !found; k++)
        found = is_embedding(job, k);
    return found;
}

static bool opens_dense(const organ_quantize_job *job)
{
    const struct unopened_type *const row = unopened(job);
    return ((row && !row->joins) || (!row && packs_embedding(job))) && organ_quantize_has_one_group(job);
}

const char *organ_quantize_type_obstacle(const organ_quantize_job *job)
{
    const struct unopened_type *const row = unopened(job);
    if (opens_dense(job) || (!row && !packs_embedding(job)))
        return NULL;
    if (row && row->joins)
        return row->joins;
    return row ? "beside other encodings it opens FP8 schemes only"
               : "it opens quantised embeddings only if all tensors have groups of one size";
}

void organ_quantize_note_type(const organ_quantize_job *job)
{
    const organ_hf_config *const config = &job->model->config;
    const char *const obstacle = organ_quantize_type_obstacle(job);
    if (opens_dense(job))
        organ_progress_note(job->progress,
                            "config.json has \"dequantize\": transformers (5.24) opens %s as %s only if it dequantises "
                            "all weights as it loads",
                            config->architecture, job->encoding->name);
    else if (obstacle)
        organ_progress_warn(job->progress, "transformers (5.24) does not open %s as %s: %s", config->architecture,
                            job->encoding->name, obstacle);
}

/* ---- the section ---- */

/* With a repair adapter, transformers dequantises the model when it loads it: peft needs the plain
 * weights, which compressed-tensors otherwise makes at the first forward pass. Some model types need them, too. Servers
 * ignore that member. transformers 5.24 would dequantise all tensors by the first of several groups. */
static json_t *compressed_json(const organ_quantize_job *job)
{
    const organ_encoding *const s = job->encoding;
    json_t *const groups = groups_json(job);
    const char *const format =
        has_formats(job) ? "mixed-precision" : format_of(has_matrix(job, /*own=*/false) ? s : job->block.encoding);
    const bool dequantize = opens_dense(job) || (job->repair.adapter && organ_quantize_has_one_group(job));
    return organ_json_joined(organ_compressed_config(groups, format, ignored_json(job, /*patterns=*/true)),
                             ORGAN_OBJECT(SET("kv_cache_scheme", organ_quantize_cache_config(job)),
                                          SET_IF(dequantize, "dequantize", json_true())));
}

organ_status organ_quantize_config(void *context, organ_json_edit *config, organ_error *error)
{
    const organ_quantize_job *const job = context;
    ORGAN_OWNED_JSON json_t *const made =
        job->encoding->grid.scale_of == ORGAN_SCALE_BLOCK ? blocks_json(job) : compressed_json(job);
    if (!made)
        return organ_fail_memory(error, job->options->model);
    organ_json_edit_set(config, NULL, "quantization_config", made, error);
    if (!error->status && job->repair.adapter) { /* readers ignore members that they do not know */
        ORGAN_OWNED_JSON json_t *const adapter = json_string(organ_path_name(job->repair.output));
        ORGAN_OWNED_JSON json_t *const pair = json_string(job->repair.pair);
        if (organ_json_edit_set(config, NULL, ORGAN_REPAIR_ADAPTER, adapter, error) == ORGAN_OK)
            organ_json_edit_set(config, NULL, ORGAN_REPAIR_PAIR, pair, error);
    }
    return error->status ? error->status : organ_readers_add_names(config, error);
}
