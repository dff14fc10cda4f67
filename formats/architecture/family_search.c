/* SPDX-License-Identifier: MIT */
#include "formats/architecture/config_readers.h"
#include "formats/architecture/family_rows.h"
#include "formats/base/text.h"
#include "formats/tensor/module_names.h"

#include <string.h>

static const forward_family *const tables[] = {organ_forward_families, organ_forward_families_latent,
                                               organ_forward_families_compressed, organ_forward_families_recurrent,
                                               organ_forward_families_early};

static const forward_family *family_at(size_t k)
{
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++)
        for (const forward_family *f = tables[t]; f->architecture; f++)
            if (k-- == 0)
                return f;
    return NULL;
}

/* If the result is another architecture, the two differ in rotation sections or deepstack layers, which matter only
 * to images. */
static const char *gguf_text(const char *architecture)
{
    static const char *const same[][2] = {{"qwen2vl", "qwen2"}, {"qwen3vl", "qwen3"}};
    for (size_t k = 0; k < sizeof same / sizeof *same; k++)
        if (strcmp(same[k][0], architecture) == 0)
            return same[k][1];
    return architecture;
}

const forward_family *organ_forward_family_named(const char *architecture, bool gguf)
{
    const forward_family *f;
    architecture = gguf ? gguf_text(architecture) : architecture;
    for (size_t k = 0; (f = family_at(k)); k++) {
        const char *const name = gguf ? f->gguf : f->architecture;
        if (name && strcmp(name, architecture) == 0)
            return f;
        if (gguf && f->gguf_experts && strcmp(f->gguf_experts, architecture) == 0)
            return f;
    }
    return NULL;
}

void organ_forward_family_apply(const forward_family *f, organ_forward_config *c)
{
    c->ungated = f->ungated;
    c->shortcut = f->shortcut;
    c->fused = f->fused;
    c->positions = f->learned || f->sinusoidal ? c->context : 0;
    c->sinusoidal = f->sinusoidal;
    c->position_offset = f->position_offset;
    c->embedding_normed = f->embedding_normed;
    c->alibi_max = f->alibi;
    c->norm = f->norm;
    c->norm_biased = f->norm_biased;
    c->norm_unweighted = f->norm_unweighted;
    c->qk_norm_biased = f->qk_norm_biased;
    c->norms = f->norms;
    c->qk_norm_last = f->qk_norm_last;
    c->qk_norm_bare = f->qk_norm_bare;
    c->gate = f->gate;
    c->gate_in_q = f->gate_in_q;
    c->gate_heads = f->gate_heads;
    c->embedding_norm = f->embedding_norm;
    c->sub_norms = f->sub_norms;
    c->rope_neighbours = f->neighbours;
}

organ_turned_rows organ_rope_rows(const organ_forward_config *c, const organ_layer_kind *kind)
{
    const unsigned rotated = kind->window ? c->rope_local.dimensions : c->rope.dimensions;
    return (organ_turned_rows){kind->head_dim, rotated && rotated < kind->head_dim ? rotated : kind->head_dim};
}

int organ_architecture_short_length(const char *name)
{
    static const char ending[] = "ForCausalLM";
    const size_t length = strlen(name), less = sizeof ending - 1;
    return (int)(length > less && strcmp(name + length - less, ending) == 0 ? length - less : length);
}

organ_status organ_forward_family_refuse(const char *label, const char *architecture, bool gguf, organ_error *error)
{
    enum { MOST = 256 };
    const forward_family *f;
    const char *names[MOST + 1] = {NULL};
    size_t count = 0;
    for (size_t k = 0; (f = family_at(k)) && count < MOST; k++) {
        const char *const name = gguf ? f->gguf : f->architecture;
        if (name && !organ_is_one_of(name, names)) /* several rows share a name of GGUF */
            names[count++] = name;
    }
    return organ_refuse(error, label,
                        "architecture '%.100s' is not supported by the forward pass, which runs the %zu of "
                        "docs/models.md; verbs and methods without a text do not need it",
                        *architecture ? architecture : "(none)", count);
}

bool organ_architecture_is_checked(const organ_model *model)
{
    const char *const type = model->config.model_type;
    return model->gguf || (!*type && !*model->config.architecture) ||
           organ_forward_family_named(model->config.architecture, /*gguf=*/false) || organ_class_of_type(type) ||
           organ_module_type_is_checked(type);
}
