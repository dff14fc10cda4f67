/* SPDX-License-Identifier: MIT
 * Notes for configurations with which llama.cpp computes another function than transformers and organ, although the
 * GGUF file states the configuration. bench/compare_logits.py compares the logits; the rows follow the sources of
 * llama.cpp (src/models) as of llama-cpp-python 0.3.36. */
#include "orchestrator/surgery/convert/convert_parts.h"

#include <math.h>
#include <string.h>

static bool llama_has_window(const organ_forward_config *c)
{
    for (unsigned l = 0; l < c->layers; l++)
        if (c->kinds[l].window)
            return true;
    return false;
}

/* ---- conditions of rows ---- */

static bool llama_lacks_pattern(const organ_forward_config *c) { return c->layers != 64 && llama_has_window(c); }
static bool llama_has_one_base(const organ_forward_config *c)
{
    return llama_has_window(c) && c->rope.theta != c->rope_local.theta;
}
static bool llama_lacks_scale(const organ_forward_config *c)
{
    return c->experts && c->router_scale != 0 && c->router_scale != 1;
}
static bool llama_lacks_bias(const organ_forward_config *c) { return c->qkv_bias; }
static bool llama_rounds_ramp(const organ_forward_config *c)
{
    return c->rope.kind == ORGAN_ROPE_YARN && c->rope.exact_range;
}
/* transformers gives the norms of latent vectors the epsilon 1e-6, whatever config.json says */
static bool llama_has_one_epsilon(const organ_forward_config *c)
{
    return c->latent.rank && fabs(c->rms_eps - 1e-6) > 1e-9;
}
static bool llama_caps_logits(const organ_forward_config *c) { return c->final_softcap != 30; }

/* ---- rows ---- */

static const struct {
    const char *gguf; /* general.architecture; NULL: any */
    bool (*applies)(const organ_forward_config *config);
    const char *words; /* the end of the sentence "llama.cpp computes something else: it ..." */
} llama_rows[] = {
    {"exaone4", llama_lacks_pattern,
     "applies the sliding window, and leaves full layers without rotation, only in models of 64 layers"},
    {"phi3", llama_has_window, "does not apply the sliding window, so longer texts get other scores"},
    {"olmo2", llama_has_one_base, "rotates layers with a window by the rope_theta of the other layers"},
    {"mimo2", llama_lacks_scale, "does not apply routed_scaling_factor"},
    {"mimo2", llama_lacks_bias, "does not add the biases of q, k and v"},
    {"gpt-oss", llama_rounds_ramp, "rounds the bounds of YaRN's ramp to whole dimensions (\"truncate\": true)"},
    {"gemma3n", llama_caps_logits, "always applies a final_logit_softcapping of 30"},
    {NULL, llama_has_one_epsilon, "gives the norms of latent vectors the epsilon rms_norm_eps instead of 1e-6"},
};

void organ_convert_note_llama(const organ_convert_job *job)
{
    for (size_t k = 0; k < sizeof llama_rows / sizeof *llama_rows; k++)
        if ((!llama_rows[k].gguf || strcmp(llama_rows[k].gguf, job->pairing->gguf) == 0) &&
            llama_rows[k].applies(&job->config))
            organ_progress_warn(job->progress,
                                "with this configuration llama.cpp computes something else: it %s; organ reads the "
                                "file as config.json says",
                                llama_rows[k].words);
}
