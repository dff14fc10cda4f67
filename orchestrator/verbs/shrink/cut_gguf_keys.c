/* SPDX-License-Identifier: MIT
 * Checks that llama.cpp gives the kept layers of a GGUF file, by key-values and by position, the attention that they
 * have in the donor. */
#include "orchestrator/verbs/shrink/cut_parts.h"

#include "formats/config/model_config.h"
#include "formats/base/owned.h"

#include <inttypes.h>
#include <organ/architecture.h>

#define WINDOWS "attention.sliding_window_pattern"

/* Returns whether the windows of layers decide which layers rotate. */
static bool windows_rotate(const organ_forward_config *c)
{
    for (unsigned a = 0; a < c->layers; a++)
        for (unsigned b = 0; b < a; b++)
            if (!c->kinds[a].window == !c->kinds[b].window && c->kinds[a].rotated != c->kinds[b].rotated)
                return false;
    return true;
}

/* Refuses the cut if a kept layer would change: without a key with an element for each layer, a layer gets the
 * attention that the donor's layer of its number has. No key lists chunks. Returns true if the layers were judged, and
 * false, without a judgement, if the configuration cannot be read or counts more layers than the tensors have.
 */
static bool judge_positions(const organ_cut_config *c)
{
    ORGAN_RELEASED_BY(organ_forward_config_release) organ_forward_config donor = {0};
    organ_error unknown = {0};
    const organ_cut_run *const run = c->run;
    if (organ_forward_config_read(run->model, &donor, &unknown) || donor.layers > run->layer_count)
        return false;
    const bool listed = organ_settings_is_list(&c->s, WINDOWS), rotations_listed = listed && windows_rotate(&donor);
    for (unsigned l = 0; l < donor.layers && !c->s.error->status; l++) {
        const int32_t n = run->facts[l].becomes;
        if (n < 0)
            continue;
        const organ_layer_kind *const was = &donor.kinds[l], *const is = &donor.kinds[n];
        if (was->mixer == ORGAN_MIXER_LIGHTNING)
            organ_fail(c->s.error, ORGAN_BAD_INPUT,
                       "%s: the decays of layer %u depend on its number and on the number of layers: no block can be "
                       "dropped",
                       run->model->path, l);
        else if ((!listed && !was->window != !is->window) || !was->chunk != !is->chunk ||
                 (!rotations_listed && was->rotated != is->rotated))
            organ_fail(
                c->s.error, ORGAN_BAD_INPUT,
                "%s: llama.cpp gives layers of %s their attention by their position: layer %u would become layer "
                "%d, which has another kind; drop other layers, or convert to safetensors first",
                run->model->path, c->s.architecture, l, (int)n);
    }
    return true;
}

/* Without a key for it, llama.cpp gives every period-th layer of some architectures another kind, so kept layers would
 * change their kind. Other models llama.cpp recognises by their number of layers. */
static void check_architecture(const organ_cut_config *c)
{
    const forward_family *const family = organ_forward_family_named(c->s.architecture, /*gguf=*/true);
    const bool decided = judge_positions(c) || organ_settings_is_list(&c->s, WINDOWS);
    const uint64_t period = family ? organ_forward_gguf_period(family) : 0;
    if (period && !decided && !organ_cut_period_holds(c->run, c->run->layer_count, period, 1))
        organ_fail(c->s.error, ORGAN_BAD_INPUT,
                   "%s: llama.cpp gives every %" PRIu64
                   "th layer of %s another attention by its position: drop whole periods of %" PRIu64
                   ", so that the kept layers keep their kind",
                   c->run->model->path, period, c->s.architecture, period);
    if (family && family->large_layers && c->run->layer_count == family->large_layers)
        organ_fail(c->s.error, ORGAN_BAD_INPUT,
                   "%s: llama.cpp recognises the %s with a different attention scale by its %u layers: none can be "
                   "dropped",
                   c->run->model->path, c->s.architecture, family->large_layers);
}

static void check_layer_periods(const organ_cut_config *c)
{
    static const char *const names[] = {WINDOWS, "full_attention_interval", "interleave_moe_layer_step",
                                        "moe_every_n_layers"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const uint64_t period = organ_settings_get(&c->s, names[i]);
        if (!organ_cut_period_holds(c->run, c->run->layer_count, period, 1))
            organ_settings_refuse(&c->s, names[i], "without these blocks it would describe the kept layers wrongly");
    }
    if (organ_settings_get(&c->s, "num_kv_shared_layers"))
        organ_settings_refuse(&c->s, "num_kv_shared_layers",
                              "layers use the keys and values of other layers by position: blocks cannot be dropped");
}

void organ_cut_check_keys(const organ_cut_config *c)
{
    organ_layers_check_keys(c->run->model, c->s.error);
    check_architecture(c);
    check_layer_periods(c);
}
