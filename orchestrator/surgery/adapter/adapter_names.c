/* SPDX-License-Identifier: MIT
 * Names and configuration of adapters that organ writes; how a base stores the matrices that an adapter changes. */
#include "orchestrator/surgery/adapter/adapter.h"

#include "formats/adapter/adapter_config.h"
#include "formats/architecture/families.h"
#include "formats/base/text.h"
#include "formats/tokenizer/tokenizer_files.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/solve/algebra.h"

#include <stdlib.h>
#include <string.h>

char *organ_adapter_pattern(const char *name)
{
    char *const out = malloc(2 * strlen(name) + 1), *to = out;
    if (!out)
        organ_memory_count_refusal();
    for (; to && *name; *to++ = *name++)
        if (strchr(".^$*+?{}[]()|\\", *name))
            *to++ = '\\';
    if (to)
        *to = '\0';
    return out;
}

json_t *organ_adapter_config_make(const char *base, int64_t r, json_t *targets)
{
    return ORGAN_OBJECT(
        SET_NULL("auto_mapping"), SET("base_model_name_or_path", base ? json_string(base) : json_null()),
        SET_TEXT("bias", "none"), SET_FLAG("fan_in_fan_out", false), SET_FLAG("inference_mode", true),
        SET_FLAG("init_lora_weights", true), SET_NULL("layers_pattern"), SET_NULL("layers_to_transform"),
        SET_COUNT("lora_alpha", r), SET_REAL("lora_dropout", 0.0), SET_NULL("modules_to_save"),
        SET_TEXT("peft_type", "LORA"), SET_COUNT("r", r), SET("rank_pattern", json_object()), SET_NULL("revision"),
        SET("target_modules", targets), SET("alpha_pattern", json_object()), SET_TEXT("task_type", "CAUSAL_LM"),
        SET_FLAG("use_dora", false), SET_FLAG("use_rslora", false));
}

json_t *organ_adapter_targets(const char *const *modules, size_t count)
{
    ORGAN_OWNED const char **words = malloc((count + 1) * sizeof *words);
    json_t *list = words ? json_array() : NULL;
    if (!words)
        organ_memory_count_refusal();
    if (list) {
        for (size_t k = 0; k < count; k++) {
            const char *const dot = strrchr(modules[k], '.');
            words[k] = dot ? dot + 1 : modules[k];
        }
        qsort(words, count, sizeof *words, organ_order_texts);
    }
    for (size_t k = 0; list && k < count; k++)
        if ((k == 0 || strcmp(words[k], words[k - 1]) != 0) && json_array_append_new(list, json_string(words[k])))
            organ_clear_json(&list);
    return list;
}

organ_model organ_adapter_whole(const organ_adapter *adapter)
{
    organ_model whole = *adapter->model;
    if (strcmp(adapter->path, whole.path) == 0)
        return whole; /* the user named the file */
    whole.path = whole.directory = adapter->path;
    whole.whole_directory = true;
    return whole;
}

organ_status organ_adapter_warn_of_template(const organ_progress *progress, const organ_adapter *adapter,
                                            const organ_model *base, organ_error *error)
{
    ORGAN_OWNED char *own = NULL, *of_base = NULL;
    if (adapter->gguf || organ_chat_template_read(adapter->model, &own, error) || !own ||
        organ_chat_template_read(base, &of_base, error))
        return error->status;
    if (!of_base || strcmp(own, of_base) != 0)
        organ_progress_warn(
            progress,
            "%s: the output keeps the chat template of %s, not that of the adapter: to use it, copy the "
            "adapter's chat_template.jinja (or tokenizer_config.json) into the output",
            adapter->path, base->path);
    return ORGAN_OK;
}

organ_status organ_output_check_not_adapter(const char *path, const organ_adapter *adapter, organ_error *error)
{
    const organ_model whole = organ_adapter_whole(adapter);
    return organ_output_check_not_input(path, &whole, error);
}

/* The parameter of a stack that the translation made. peft wraps the module of the experts once for each of its
 * parameters, in the order of its class; the wrapper of gate_up_proj is then in that of down_proj. */
static char *parameter_key(const organ_adapter_pair *pair, char factor)
{
    size_t length = strlen(pair->module);
    const bool inner = organ_cut_end(pair->module, &length, ".gate_up_proj");
    const char *const dot = strrchr(pair->module, '.');
    if (!inner && dot)
        length = (size_t)(dot - pair->module);
    return organ_format("base_model.model.%.*s%s.lora_%c.weight", (int)length, pair->module, inner ? ".base_layer" : "",
                        factor);
}

char *organ_adapter_key(const organ_adapter_pair *pair, bool gguf, char factor)
{
    organ_adapter_name stored = {.module = pair->module, .length = strlen(pair->module)};
    if (gguf)
        return organ_format("%s.weight.lora_%c", pair->module, factor == 'A' ? 'a' : 'b');
    if (pair->layout == ORGAN_FACTORS_PARAMETER && pair->origin)
        return parameter_key(pair, factor);
    /* Factors of a parameter (ORGAN_FACTORS_PARAMETER) keep the module name of the stored A, the name of peft's
     * ParamWrapper, because `module` has the name of the parameter instead. */
    if (pair->layout == ORGAN_FACTORS_PARAMETER && !pair->origin)
        organ_adapter_name_read(pair->a->name, /*gguf=*/false, &stored);
    return organ_format("base_model.model.%.*s.lora_%s%c%s", (int)stored.length, stored.module,
                        pair->embedding ? "embedding_" : "", factor, pair->embedding ? "" : ".weight");
}

/* ---- weights of a base that are stored as in_features x out_features ---- */

/* The layers of these model types of transformers are Conv1D; those without a row in families.h are here, too. */
static bool is_conv1d_type(const char *type)
{
    static const char *const types[] = {"gpt2", "openai-gpt", "imagegpt", "decision_transformer", NULL};
    return organ_is_one_of(type, types);
}

typedef struct orientation_votes {
    size_t straight, turned;
} orientation_votes;

/* The bias has out_features values, which shows how a matrix that is not square is stored. */
static orientation_votes count_biases(const organ_weights *weights)
{
    orientation_votes v = {0, 0};
    for (size_t k = 0; k < weights->count; k++) {
        const organ_weight *const w = &weights->weights[k];
        size_t length = strlen(w->name);
        if (w->rank != 2 || w->anatomy.layer < 0 || w->shape[0] == w->shape[1] ||
            !organ_cut_end(w->name, &length, ".weight"))
            continue;
        ORGAN_OWNED char *const name = organ_format("%.*s.bias", (int)length, w->name);
        const organ_weight *const bias = name ? organ_weights_named(weights, name) : NULL;
        v.straight += bias && bias->elements == w->shape[0];
        v.turned += bias && bias->elements == w->shape[1];
    }
    return v;
}

/* Factors that are not square fit either the weight of the base or its transpose. */
static orientation_votes count_pairs(const organ_adapter *adapter, const organ_weights *weights)
{
    orientation_votes v = {0, 0};
    for (size_t k = 0; k < adapter->pair_count; k++) {
        const organ_adapter_pair *const p = &adapter->pairs[k];
        const organ_weight *const w = p->embedding || p->experts > 1 || p->in_features == p->out_features
                                          ? NULL
                                          : organ_lora_weight(weights, p->weight);
        if (!w || w->rank != 2 || w->anatomy.layer < 0)
            continue;
        v.straight += w->shape[0] == p->out_features && w->shape[1] == p->in_features;
        v.turned += w->shape[0] == p->in_features && w->shape[1] == p->out_features;
    }
    return v;
}

/* The architecture decides, else biases, else the adapter's other factors; peft looks at the class of the module. */
organ_lora_orientation organ_lora_orientation_of(const organ_model *base, const organ_weights *weights,
                                                 const organ_adapter *adapter)
{
    const forward_family *const family = organ_forward_family_named(base->config.architecture, /*gguf=*/false);
    if (base->gguf)
        return ORGAN_LORA_STRAIGHT;
    if (is_conv1d_type(base->config.model_type) || (family && family->transposed))
        return ORGAN_LORA_TURNED;
    if (family && !(adapter && adapter->fan_in_fan_out))
        return ORGAN_LORA_STRAIGHT;
    orientation_votes v = count_biases(weights);
    if (adapter && (v.straight > 0) == (v.turned > 0))
        v = count_pairs(adapter, weights);
    if ((v.straight > 0) != (v.turned > 0))
        return v.turned ? ORGAN_LORA_TURNED : ORGAN_LORA_STRAIGHT;
    return adapter && adapter->fan_in_fan_out ? ORGAN_LORA_AMBIGUOUS : ORGAN_LORA_STRAIGHT;
}

bool organ_lora_is_turned(organ_lora_orientation orientation, const organ_weight *weight)
{
    return orientation == ORGAN_LORA_TURNED && weight->rank == 2 && weight->anatomy.layer >= 0;
}

bool organ_lora_stacks_are_turned(const forward_mixture *mixture)
{
    return mixture && mixture->transposed && mixture->pairs;
}

bool organ_lora_pair_is_turned(organ_lora_orientation orientation, const organ_adapter_pair *pair,
                               const organ_weight *weight)
{
    if (pair->embedding)
        return true;
    if (pair->in_features == pair->out_features)
        return organ_lora_is_turned(orientation, weight);
    return weight->rank == 2 && weight->shape[0] == pair->in_features && weight->shape[1] == pair->out_features;
}

/* ---- factors and weights ---- */

organ_lora_form organ_lora_form_of(const organ_model *base, const organ_weights *weights, const organ_adapter *adapter)
{
    const forward_family *const family = organ_forward_family_named(base->config.architecture, /*gguf=*/false);
    return (organ_lora_form){
        .orientation = organ_lora_orientation_of(base, weights, adapter),
        .turned_stacks = !base->gguf && family && organ_lora_stacks_are_turned(family->mixture),
        .fan_in_fan_out = adapter->fan_in_fan_out,
    };
}

static bool has_shape(const organ_weight *w, uint64_t experts, uint64_t rows, uint64_t cols)
{
    return w->rank == (experts > 1 ? 3u : 2u) && w->shape[w->rank - 2] == rows && w->shape[w->rank - 1] == cols &&
           (experts == 1 || w->shape[0] == experts);
}

bool organ_lora_has_turned_shape(const organ_adapter_pair *p, const organ_weight *w)
{
    return has_shape(w, p->experts, p->in_features, p->out_features);
}

static bool has_own_shape(const organ_adapter_pair *p, const organ_weight *w)
{
    return has_shape(w, p->experts, p->out_features, p->in_features);
}

bool organ_lora_fits(const organ_lora_form *form, const organ_adapter_pair *p, const organ_weight *w, bool *transposed)
{
    const bool same = has_own_shape(p, w), turned = organ_lora_has_turned_shape(p, w);
    const bool stored = p->experts > 1 ? form->turned_stacks : organ_lora_is_turned(form->orientation, w);
    *transposed = p->embedding || (same && turned ? stored : turned);
    if (p->embedding)
        return turned;
    return same || (turned && (p->experts > 1 || stored || form->fan_in_fan_out));
}

bool organ_lora_is_ambiguous(const organ_lora_form *form, const organ_adapter_pair *p, const organ_weight *w)
{
    return form->orientation == ORGAN_LORA_AMBIGUOUS && !p->embedding && p->experts == 1 && has_own_shape(p, w) &&
           organ_lora_has_turned_shape(p, w) && w->anatomy.layer >= 0;
}

void organ_lora_multiply(const organ_kernels *kernels, const organ_lora_factors *factors, bool transposed,
                         uint64_t first, size_t rows, float *d, void *scratch)
{
    const size_t matrix_rows = transposed ? factors->in : factors->out, cols = transposed ? factors->out : factors->in;
    const organ_lora_factors f = organ_lora_factors_of(factors, (size_t)(first / matrix_rows));
    const size_t row = (size_t)(first % matrix_rows);
    const organ_product product = {.m = rows,
                                   .n = cols,
                                   .k = f.rank,
                                   .a = transposed ? organ_by_columns(f.a + row, f.in)
                                                   : organ_by_rows(f.b + row * f.rank, f.rank),
                                   .b = transposed ? organ_by_rows(f.b, f.rank) : organ_by_columns(f.a, f.in),
                                   .c = d,
                                   .c_stride = cols};
    kernels->product(&product, scratch);
}
