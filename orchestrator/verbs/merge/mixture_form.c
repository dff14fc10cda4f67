/* SPDX-License-Identifier: MIT
 * The architectures of composed mixtures, in the order in which they are tried. The tensors have the names of published
 * models, an own matrix for each expert, which transformers, vLLM and the converter of llama.cpp read.
 *
 * Mixtures with an ungated shared expert, which mergekit writes as DeepSeek's first model, are GraniteMoeShared: that
 * gives the same function, while no released transformers has DeepSeek's class, and llama.cpp does not normalise its
 * factors. */
#include "orchestrator/verbs/merge/merge_mixture.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static const mixture_form forms[] = {{.name = "Mixtral",
                                      .words = {"mixtral"},
                                      .architecture = "MixtralForCausalLM",
                                      .type = "mixtral",
                                      .bases = {"LlamaForCausalLM", "MistralForCausalLM"},
                                      .windowed = true,
                                      .router = "block_sparse_moe.gate.weight",
                                      .gate = "block_sparse_moe.experts.#.w1.weight",
                                      .up = "block_sparse_moe.experts.#.w3.weight",
                                      .down = "block_sparse_moe.experts.#.w2.weight",
                                      .experts_key = "num_local_experts"},
                                     {.name = "DeepSeek MoE",
                                      .words = {"deepseekmoe", "granitemoeshared"},
                                      .architecture = "GraniteMoeSharedForCausalLM",
                                      .type = "granitemoeshared",
                                      .bases = {"LlamaForCausalLM", "MistralForCausalLM"},
                                      .shared_most = 1,
                                      .stacked = true,
                                      .biases = MIXTURE_BIAS_QKV | MIXTURE_BIAS_O,
                                      .router = "block_sparse_moe.router.layer.weight",
                                      .gate = "block_sparse_moe.input_linear.weight",
                                      .down = "block_sparse_moe.output_linear.weight",
                                      .shared_gate = "shared_mlp.input_linear.weight",
                                      .shared_down = "shared_mlp.output_linear.weight",
                                      .experts_key = "num_local_experts"},
                                     {.name = "Qwen MoE",
                                      .words = {"qwenmoe", "qwen2moe"},
                                      .architecture = "Qwen2MoeForCausalLM",
                                      .type = "qwen2_moe",
                                      .bases = {"Qwen2ForCausalLM", "LlamaForCausalLM", "MistralForCausalLM"},
                                      .shared_least = 1,
                                      .shared_most = 1,
                                      .shared_gated = true,
                                      .always_biased = true,
                                      .biases = MIXTURE_BIAS_QKV,
                                      .router = "mlp.gate.weight",
                                      .gate = "mlp.experts.#.gate_proj.weight",
                                      .up = "mlp.experts.#.up_proj.weight",
                                      .down = "mlp.experts.#.down_proj.weight",
                                      .shared_router = "mlp.shared_expert_gate.weight",
                                      .shared_gate = "mlp.shared_expert.gate_proj.weight",
                                      .shared_up = "mlp.shared_expert.up_proj.weight",
                                      .shared_down = "mlp.shared_expert.down_proj.weight",
                                      .experts_key = "num_experts"},
                                     {.name = "Qwen3 MoE",
                                      .words = {"qwen3moe"},
                                      .architecture = "Qwen3MoeForCausalLM",
                                      .type = "qwen3_moe",
                                      .bases = {"Qwen3ForCausalLM"},
                                      .biases = MIXTURE_BIAS_QKV | MIXTURE_BIAS_O,
                                      .router = "mlp.gate.weight",
                                      .gate = "mlp.experts.#.gate_proj.weight",
                                      .up = "mlp.experts.#.up_proj.weight",
                                      .down = "mlp.experts.#.down_proj.weight",
                                      .experts_key = "num_experts"}};
enum { FORMS = sizeof forms / sizeof *forms, REASON = 240 };

/* ---- names ---- */

bool organ_mixture_name(const char *like, const char *name, size_t expert, char out[MERGE_NAME])
{
    const char *const part = strstr(like, "mlp."), *const number = strchr(name, '#');
    if (!part)
        return false;
    const int n = number ? snprintf(out, MERGE_NAME, "%.*s%.*s%zu%s", (int)(part - like), like, (int)(number - name),
                                    name, expert, number + 1)
                         : snprintf(out, MERGE_NAME, "%.*s%s", (int)(part - like), like, name);
    return n > 0 && n < MERGE_NAME;
}

/* Returns whether the form has a name that begins with `given`, apart from case, blanks and signs. */
static bool fits_name(const mixture_form *form, const char *given)
{
    char word[64] = "";
    size_t length = 0;
    for (; *given && length + 1 < sizeof word; given++)
        if (isalnum((unsigned char)*given))
            word[length++] = (char)tolower((unsigned char)*given);
    bool fits = false;
    for (size_t k = 0; k < sizeof form->words / sizeof *form->words && form->words[k]; k++)
        fits |= length && strncmp(form->words[k], word, length) == 0;
    return fits;
}

/* ---- whether a form takes the models ---- */

static bool takes_base(const mixture_form *form, const char *architecture)
{
    for (size_t k = 0; form->bases[k]; k++)
        if (strcmp(form->bases[k], architecture) == 0)
            return true;
    return false;
}

/* Writes why the form does not take the shared experts of the recipe. Returns false if it takes them. */
static bool refuses_shared(const mixture_form *form, const merge_mixture *m, char why[REASON])
{
    const mixture_expert *const first = m->shared ? &m->experts[m->count] : NULL;
    if (m->shared < form->shared_least || m->shared > form->shared_most)
        return snprintf(why, REASON, "has %s%zu shared expert%s, but shared_experts lists %zu",
                        form->shared_least == form->shared_most ? "" : "at most ", form->shared_most,
                        form->shared_most == 1 ? "" : "s", m->shared) > 0;
    if (form->shared_gated && organ_mixture_needs_prompts(m->gate) && !first->positive_count)
        return snprintf(why, REASON, "has a gate for its shared expert, whose positive_prompts are missing") > 0;
    if (!form->shared_gated && first && (first->positive_count || first->negative_count))
        return snprintf(why, REASON, "has no gate for its shared expert, which has prompts") > 0;
    return false;
}

/* Writes why the form does not take the base. Returns false if it takes it. */
static bool refuses_base(const mixture_form *form, const organ_forward_config *c, char why[REASON])
{
    if (!takes_base(form, c->architecture)) {
        int n = snprintf(why, REASON, "is made of");
        for (size_t k = 0; form->bases[k] && n < REASON; k++)
            n += snprintf(why + n, (size_t)(REASON - n), "%s %s", k ? "," : "", form->bases[k]);
        return true;
    }
    if (c->mlp_bias || (c->qkv_bias && !(form->biases & MIXTURE_BIAS_QKV)) ||
        (c->output_bias && !(form->biases & MIXTURE_BIAS_O)))
        return snprintf(why, REASON, "has no bias in its %s, which the base has",
                        c->mlp_bias ? "experts" : "attention") > 0;
    if (form->stacked && (uint64_t)c->head_dim * c->heads != c->hidden)
        return snprintf(why, REASON, "needs head_dim %llu, but the base has %u",
                        (unsigned long long)(c->hidden / c->heads), c->head_dim) > 0;
    return false;
}

static bool refuses(const mixture_form *form, const merge_mixture *m, char why[REASON])
{
    return refuses_base(form, &m->config, why) || refuses_shared(form, m, why);
}

/* Sliding windows that the form cannot have are left out, as by mergekit. */
static void warn_of_window(const model_merge *job, const mixture_form *form)
{
    const organ_forward_config *const c = &job->recipe.mixture->config;
    if (c->window && !form->windowed)
        organ_say(job->recipe.warnings,
                  "the sliding window of %u tokens of %s is left out: longer texts are attended to as a whole",
                  c->window, job->donors[job->host].name);
}

static organ_status refuse_all(const model_merge *job, organ_error *error)
{
    const merge_mixture *const m = job->recipe.mixture;
    char all[FORMS * (REASON + 24)] = "", why[REASON];
    size_t named = 0;
    for (size_t k = 0; k < FORMS; k++) {
        if (m->architecture && !fits_name(&forms[k], m->architecture))
            continue;
        refuses(&forms[k], m, why);
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s %s", named ? "; " : "", forms[k].name, why);
        named++;
    }
    if (!named)
        return organ_merge_fault(&job->recipe, m->architecture_line, error,
                                 "architecture is '%.60s', which is no beginning of Mixtral, DeepSeek MoE, Qwen MoE or "
                                 "Qwen3 MoE",
                                 m->architecture);
    return organ_merge_fault(&job->recipe, m->architecture_line, error,
                             "no mixture can be made of base_model %.200s, a %s: %.560s", job->donors[job->host].name,
                             m->config.architecture, all);
}

organ_status organ_mixture_choose_form(model_merge *job, organ_error *error)
{
    merge_mixture *const m = job->recipe.mixture;
    char why[REASON];
    if (organ_forward_config_read(job->donors[job->host].model, &m->config, error))
        return error->status;
    m->configured = true;
    for (size_t k = 0; k < FORMS && !m->form; k++)
        if ((!m->architecture || fits_name(&forms[k], m->architecture)) && !refuses(&forms[k], m, why))
            m->form = &forms[k];
    if (!m->form)
        return refuse_all(job, error);
    m->gated = m->count + (m->form->shared_gated ? m->shared : 0);
    warn_of_window(job, m->form);
    return ORGAN_OK;
}
