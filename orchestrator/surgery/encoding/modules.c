/* SPDX-License-Identifier: MIT
 * Lists the modules of a model that quantization_config of config.json names: for loaders, a module is quantised unless
 * the list of ignored modules has it. */
#include "orchestrator/surgery/encoding/encoding.h"

#include "formats/architecture/mtp_types.h"
#include "formats/base/quant_sections.h"
#include "formats/base/text.h"
#include "formats/tensor/module_names.h"
#include "formats/tensor/tensor_list.h"
#include "orchestrator/report/text/report_text.h"

#include <stdio.h>
#include <string.h>

bool organ_modules_is_routed(const organ_anatomy *anatomy)
{
    return anatomy->experts == ORGAN_EXPERTS_ROUTED && organ_role_describe(anatomy->role)->projection;
}

/* Returns the length of the name of the module that a tensor belongs to: that of "model.layers.0.mlp.gate" in
 * "model.layers.0.mlp.gate.weight". Stacked experts may be parameters of their module: "model.layers.0.mlp.experts" in
 * "model.layers.0.mlp.experts.down_proj". 0 if the tensor is not a matrix of a linear layer (an embedding, a bias). */
static size_t module_length(const organ_tensor *tensor)
{
    const bool weight = organ_ends_with(tensor->name, ".weight");
    const bool stack = tensor->rank == 3 && organ_modules_is_routed(&tensor->anatomy);
    const char *const dot = strrchr(tensor->name, '.');
    if ((tensor->rank != 2 && !stack) || tensor->anatomy.role == ORGAN_ROLE_EMBED || !dot || (!weight && !stack))
        return 0;
    return (size_t)(dot - tensor->name);
}

static void append_name(json_t *rows, const char *name, size_t length)
{
    const char *const last = json_string_value(json_array_get(rows, json_array_size(rows) - 1));
    if (!last || strlen(last) != length || memcmp(last, name, length) != 0)
        json_array_append_new(rows, json_stringn(name, length));
}

/* Appends the names of the parts into which transformers cuts a matrix: "self_attn.q_proj", "self_attn.k_proj" and so
 * on for the first part's name `first` and `parts`, "q_proj|k_proj|v_proj". */
static void append_parts(json_t *rows, const char *first, const char *parts)
{
    char name[ORGAN_MODULE_NAME_SIZE];
    const size_t kept = strlen(first) - strcspn(parts, "|");
    for (const char *at = parts; *at; at += strcspn(at, "|"), at += *at == '|') {
        const int length = snprintf(name, sizeof name, "%.*s%.*s", (int)kept, first, (int)strcspn(at, "|"), at);
        append_name(rows, name, (size_t)length);
    }
}

/* Writes the name in transformers of the module whose name in the file has `length` bytes. Returns false if that is 0
 * or a name is too long. *parts: organ_module_split_parts. */
static bool name_in_transformers(const organ_model *model, const char *name, size_t length,
                                 char out[ORGAN_MODULE_NAME_SIZE], const char **parts)
{
    char module[ORGAN_MODULE_NAME_SIZE];
    const char *const type = model->config.model_type;
    if (!length || snprintf(module, sizeof module, "%.*s", (int)length, name) >= (int)sizeof module)
        return false;
    *parts = organ_module_split_parts(type, module);
    return organ_module_name(type, module, out, ORGAN_MODULE_NAME_SIZE, NULL);
}

static void append_module(const organ_model *model, const char *module, size_t length, json_t *rows)
{
    char name[ORGAN_MODULE_NAME_SIZE];
    const char *parts;
    if (!name_in_transformers(model, module, length, name, &parts))
        return;
    if (parts)
        append_parts(rows, name, parts);
    else
        append_name(rows, name, strlen(name));
}

void organ_modules_append(const organ_model *model, const organ_tensor *tensor, json_t *rows)
{
    append_module(model, tensor->name, module_length(tensor), rows);
}

void organ_modules_append_weight(const organ_model *model, const organ_weight *weight, json_t *rows)
{
    size_t length = strlen(weight->name);
    organ_cut_end(weight->name, &length, ".weight");
    append_module(model, weight->name, length, rows);
}

/* The search begins at the end, where a match is most likely. */
static bool has_module(const json_t *rows, const char *name)
{
    for (size_t k = json_array_size(rows); k > 0; k--)
        if (strcmp(json_string_value(json_array_get(rows, k - 1)), name) == 0)
            return true;
    return false;
}

bool organ_modules_quantise_head(const organ_module_list *list)
{
    for (size_t k = 0; k < list->quantised; k++) {
        const organ_anatomy *const anatomy = &list->quantised_at(list->context, k)->anatomy;
        if (anatomy->role == ORGAN_ROLE_OUTPUT && anatomy->layer < 0)
            return true;
    }
    return false;
}

/* Sets `word` to a component of the tensor's name that all modules of its tower have, such as "vision_tower": the first
 * that is no trunk. Returns false if the tensor belongs to no tower, or has no such name. */
static bool tower_word(const organ_module_list *list, const organ_tensor *tensor, char word[80])
{
    static const char *const trunks[] = {"model", "language_model", NULL};
    char module[ORGAN_MODULE_NAME_SIZE];
    const char *parts, *at = module;
    if (!organ_role_is_tower(tensor->anatomy.role) ||
        !name_in_transformers(list->model, tensor->name, module_length(tensor), module, &parts))
        return false;
    const char *const end = module + strlen(module);
    do {
        snprintf(word, 80, "%.*s", (int)strcspn(at, "."), at);
        at += strcspn(at, ".") + 1;
    } while (organ_is_one_of(word, trunks) && at < end);
    return strspn(word, "abcdefghijklmnopqrstuvwxyz_") == strlen(word);
}

static bool quantises_any(const organ_module_list *list, const char *word)
{
    for (size_t k = 0; k < list->quantised; k++)
        if (strstr(list->quantised_at(list->context, k)->name, word))
            return true;
    return false;
}

/* Appends a pattern unless it is there. Returns false if a quantised tensor has `word` in its name. */
static bool append_pattern(const organ_module_list *list, const char *word, const char *pattern, json_t *rows)
{
    if (has_module(rows, pattern))
        return true;
    return !quantises_any(list, word) && json_array_append_new(rows, json_string(pattern)) == 0;
}

/* Transformers and servers name the modules of towers differently; a pattern, "re:.*vision_tower.*", matches all
 * names. Returns false if the tensor belongs to no tower, or if tensors of its tower are quantised. */
static bool append_tower(const organ_module_list *list, const organ_tensor *tensor, json_t *rows)
{
    char word[80], pattern[96];
    if (!tower_word(list, tensor, word))
        return false;
    snprintf(pattern, sizeof pattern, "re:.*%s.*", word);
    return append_pattern(list, word, pattern, rows);
}

/* ---- blocks for multi-token prediction ---- */

#define MAX_BLOCKS 64 /* entries of block_set: the last one stands for all further blocks */

/* The blocks of which something is quantised. */
typedef struct block_set {
    int32_t trunk; /* organ_mtp_trunk_layers */
    bool any, has[MAX_BLOCKS];
} block_set;

static size_t block_of(const block_set *blocks, const char *name, const organ_anatomy *anatomy)
{
    const int64_t block = organ_mtp_block_of(name, anatomy, blocks->trunk);
    return block < 0 || block < MAX_BLOCKS ? (size_t)block : MAX_BLOCKS - 1;
}

static block_set quantised_blocks(const organ_module_list *list)
{
    block_set made = {.trunk = organ_mtp_trunk_layers(list->model)};
    for (size_t k = 0; k < list->quantised; k++) {
        const organ_weight *const weight = list->quantised_at(list->context, k);
        const size_t block = block_of(&made, weight->name, &weight->anatomy);
        if (block != SIZE_MAX)
            made.any = made.has[block] = true;
    }
    return made;
}

/* Writes one of the expressions of organ_mtp_served, with the number of a layer in place of '#' and `end` behind. */
static void write_pattern(const char *expression, int32_t layer, const char *end, char pattern[192])
{
    const size_t length = strcspn(expression, " "), before = strcspn(expression, "# ");
    char number[16] = "";
    if (before < length)
        snprintf(number, sizeof number, "%d", (int)layer);
    snprintf(pattern, 192, "re:%.*s%s%.*s%s", (int)before, expression, number,
             (int)(before < length ? length - before - 1 : 0), expression + before + 1, end);
}

/* Calls `use` with each expression for the names of a block's modules. */
static void each_expression(const organ_model *model, bool outside, void (*use)(void *context, const char *expression),
                            void *context)
{
    const char *at = organ_mtp_served(organ_mtp_type_of(model->config.model_type), outside);
    for (; *at; at += strcspn(at, " "), at += *at == ' ')
        use(context, at);
}

typedef struct block_patterns {
    json_t *rows;
    int32_t layer;
    bool all, one; /* expressions without and with '#' are appended */
    const char *end;
} block_patterns;

static void append_expression(void *context, const char *expression)
{
    const block_patterns *const b = context;
    const size_t length = strcspn(expression, " ");
    char pattern[192];
    write_pattern(expression, b->layer, b->end, pattern);
    if ((strcspn(expression, "#") < length ? b->one : b->all) && !has_module(b->rows, pattern))
        json_array_append_new(b->rows, json_string(pattern));
}

/* Writes the name of a module in the block's layer, without ".weight". Returns false if the tensor is no matrix of the
 * layer. */
static bool name_in_layer(const organ_tensor *tensor, char module[ORGAN_MODULE_NAME_SIZE])
{
    const char *const tail = organ_mtp_tail_of(tensor->name, &tensor->anatomy);
    if (!tail || !module_length(tensor) || strlen(tail) >= ORGAN_MODULE_NAME_SIZE)
        return false;
    size_t length = strlen(tail);
    organ_cut_end(tail, &length, ".weight");
    snprintf(module, ORGAN_MODULE_NAME_SIZE, "%.*s", (int)length, tail);
    return true;
}

/* Writes what the names begin with that an expression matches; "" if that is no single text. */
static void write_prefix(const char *expression, int32_t layer, char prefix[80])
{
    const size_t length = strcspn(expression, " ");
    size_t n = 0;
    if (strcspn(expression, "#") < length)
        n = (size_t)snprintf(prefix, 80, "model.layers.%d.", (int)layer);
    for (size_t k = 1; k < length && n < 79 && strncmp(expression, "^model", strlen("^model")) == 0; k++)
        if (expression[k] != '\\')
            prefix[n++] = expression[k];
    prefix[n] = '\0';
}

/* Appends a name to lists that have no patterns. For SGLang, which compares the beginnings of names, "model.decoder" is
 * enough if `brief`. */
static void append_name_of(const block_patterns *b, const char *expression, bool brief)
{
    char prefix[80], name[ORGAN_MODULE_NAME_SIZE + 80];
    write_prefix(expression, b->layer, prefix);
    const size_t length = strlen(prefix);
    snprintf(name, sizeof name, "%s%s", prefix, b->end);
    if (brief && *expression == '^' && length)
        snprintf(name, sizeof name, "%.*s", (int)length - 1, prefix);
    if (*prefix && b->one && !has_module(b->rows, name))
        json_array_append_new(b->rows, json_string(name));
}

static void append_plain_name(void *context, const char *expression)
{
    append_name_of(context, expression, /*brief=*/true);
}

static void append_whole_name(void *context, const char *expression)
{
    append_name_of(context, expression, /*brief=*/false);
}

void organ_modules_append_served(const organ_model *model, const organ_tensor *tensor, json_t *rows)
{
    const block_set blocks = {.trunk = organ_mtp_trunk_layers(model)};
    const size_t block = block_of(&blocks, tensor->name, &tensor->anatomy);
    const bool outside = tensor->anatomy.layer < 0;
    char module[ORGAN_MODULE_NAME_SIZE];
    if (block == SIZE_MAX || !name_in_layer(tensor, module))
        return;
    block_patterns b = {.rows = rows, .layer = tensor->anatomy.layer, .one = true, .end = module};
    if (outside)
        b.layer = blocks.trunk + (int32_t)block;
    each_expression(model, outside, append_whole_name, &b);
}

/* Servers build blocks from fused modules and experts, which single names do not match, and name them in their own way:
 * vLLM "mtp.*" or, for blocks that continue the layers, "model.layers.N.*", which SGLang calls "model.decoder.*". A
 * block of which a part is quantised has its single names only, each as both servers write it. */
static void append_blocks(const organ_module_list *list, bool patterns, json_t *rows)
{
    const block_set quantised = quantised_blocks(list);
    for (size_t k = 0; k < list->plain; k++) {
        const organ_tensor *const same = list->plain_at(list->context, k);
        const size_t block = same ? block_of(&quantised, same->name, &same->anatomy) : SIZE_MAX;
        if (block == SIZE_MAX)
            continue;
        if (quantised.has[block] && organ_mtp_is_projection(same))
            organ_modules_append_served(list->model, same, rows);
        if (patterns && same->anatomy.role != ORGAN_ROLE_MTP)
            continue;
        const bool outside = same->anatomy.layer < 0;
        block_patterns b = {rows, outside ? quantised.trunk + (int32_t)block : same->anatomy.layer, !quantised.any,
                            !quantised.has[block], ".*"};
        char module[ORGAN_MODULE_NAME_SIZE];
        if (patterns) {
            each_expression(list->model, outside, append_expression, &b);
        } else if (name_in_layer(same, module)) {
            b.end = module;
            each_expression(list->model, outside, append_plain_name, &b);
        }
    }
}

/* Adds the first word of a module's name in the block's layer, "self_attn", to a list divided by '|'. */
static void add_word(const char *tail, char words[128])
{
    const size_t length = strcspn(tail, "."), end = strlen(words);
    for (const char *at = words; *at; at += strcspn(at, "|"), at += *at == '|')
        if (strcspn(at, "|") == length && strncmp(at, tail, length) == 0)
            return;
    if (end + length + 2 < 128)
        snprintf(words + end, 128 - end, "%s%.*s", end ? "|" : "", (int)length, tail);
}

/* The whole name of an expression such as "^self_attn\\." is that of a word. */
static void append_target(void *context, const char *expression)
{
    const block_patterns *const b = context;
    block_patterns whole = *b;
    if (*expression == '^' && strncmp(expression, "^model", strlen("^model")) != 0)
        whole.end = ".*";
    append_expression(&whole, expression);
}

/* Returns what follows the prefix of the layer, "self_attn.q_proj.weight"; NULL if that is one module such as
 * "eh_proj.weight", or the tensor is no part of a layer. */
static const char *tail_with_word(const organ_weight *weight)
{
    const char *const tail = organ_mtp_tail_of(weight->name, &weight->anatomy);
    return tail && strchr(tail, '.') != strrchr(tail, '.') ? tail : NULL;
}

/* Appends the whole names of a module that is no part of another one. */
static void append_single(const organ_module_list *list, const organ_weight *weight, json_t *rows)
{
    organ_modules_append_weight(list->model, weight, rows);
    organ_modules_append_served(list->model, weight->codes, rows);
}

json_t *organ_modules_of_blocks(const organ_module_list *list)
{
    const block_set quantised = quantised_blocks(list);
    char words[128] = "", end[160];
    json_t *const rows = json_array();
    for (int pass = 0; pass < 2; pass++)
        for (size_t k = 0; k < list->quantised; k++) {
            const organ_weight *const weight = list->quantised_at(list->context, k);
            const size_t block = block_of(&quantised, weight->name, &weight->anatomy);
            const char *const tail = block == SIZE_MAX ? NULL : tail_with_word(weight);
            const bool outside = weight->anatomy.layer < 0;
            block_patterns b = {rows, outside ? quantised.trunk + (int32_t)block : weight->anatomy.layer, true, true,
                                end};
            if (tail && pass == 0)
                add_word(tail, words);
            else if (tail)
                each_expression(list->model, outside, append_target, &b);
            else if (block != SIZE_MAX && pass == 1)
                append_single(list, weight, rows);
            snprintf(end, sizeof end, "(.*\\.)?(%s)\\..*", words);
        }
    return rows;
}

/* Unless the output head is quantised, its name in transformers is added even if the file has no such tensor: a loader
 * creates the head if it is tied to the embedding. */
json_t *organ_modules_ignored(const organ_module_list *list, bool patterns)
{
    const char *const head = organ_module_head(list->model->config.model_type);
    json_t *const rows = json_array();
    for (size_t k = 0; k < list->plain; k++) {
        const organ_tensor *const same = list->plain_at(list->context, k);
        if (!same || (patterns && append_tower(list, same, rows)))
            continue;
        organ_modules_append(list->model, same, rows);
        const char *const last = json_string_value(json_array_get(rows, json_array_size(rows) - 1));
        const size_t length = same->anatomy.role == ORGAN_ROLE_OUTPUT ? module_length(same) : 0;
        if (length && last && (strlen(last) != length || memcmp(last, same->name, length) != 0))
            append_name(rows, same->name, length); /* servers take the head's name from the file */
    }
    append_blocks(list, patterns, rows);
    if (!organ_modules_quantise_head(list) && !has_module(rows, head))
        json_array_append_new(rows, json_string(head));
    return rows;
}

/* ---- quantization_config of compressed-tensors ---- */

json_t *organ_compressed_arguments(int bits, const char *type, const char *strategy, json_t *group_size, bool dynamic)
{
    return ORGAN_OBJECT(SET_NULL("actorder"), SET_NULL("block_structure"), SET_FLAG("dynamic", dynamic),
                        SET("group_size", group_size), SET_COUNT("num_bits", bits),
                        SET("observer", dynamic ? json_null() : json_string("minmax")),
                        SET("observer_kwargs", json_object()), SET_TEXT("strategy", strategy), SET_FLAG("symmetric", 1),
                        SET_TEXT("type", type));
}

json_t *organ_compressed_group(json_t *targets, json_t *weights, json_t *inputs)
{
    return ORGAN_OBJECT(SET("input_activations", inputs), SET_NULL("output_activations"), SET("targets", targets),
                        SET("weights", weights));
}

json_t *organ_compressed_config(json_t *groups, const char *format, json_t *ignore)
{
    return ORGAN_OBJECT(SET("config_groups", groups), SET_TEXT("format", format), SET_NULL("global_compression_ratio"),
                        SET(organ_quant_list_of("compressed-tensors")->key, ignore), SET_NULL("kv_cache_scheme"),
                        SET_TEXT("quant_method", "compressed-tensors"), SET_TEXT("quantization_status", "compressed"));
}
