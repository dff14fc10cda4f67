/* SPDX-License-Identifier: MIT
 * Compares the structure of grafted layers with what the target's settings say of the layers that they become. */
#include "orchestrator/verbs/graft/graft_parts.h"

#include "formats/architecture/mtp_types.h"
#include "formats/base/rows.h"
#include "formats/gguf/file.h"
#include "orchestrator/output/facts.h"

typedef struct graft_kinds {
    organ_forward_config source, target;
    bool attention, feed;  /* what is grafted */
    bool windows, rotated; /* both models have layers with and without one: their settings tell layers apart */
    bool listed;           /* a key-value of the target has the window of each layer, and is adapted */
} graft_kinds;

/* Returns whether the layers differ in having a window (`windows`) or in having a rotation. */
static bool has_mixed(const organ_forward_config *c, bool windows)
{
    for (unsigned l = 1; l < c->layers; l++)
        if (windows ? !c->kinds[l].window != !c->kinds[0].window : c->kinds[l].rotated != c->kinds[0].rotated)
            return true;
    return false;
}

/* Returns in what the grafted parts of two layers differ, or NULL. */
static const char *parts_differ(const graft_kinds *g, const organ_layer_kind *from, const organ_layer_kind *to)
{
    organ_layer_kind like = g->attention ? *to : *from;
    like.feed = g->feed ? to->feed : from->feed;
    like.mixture = g->feed ? to->mixture : from->mixture;
    like.gate_is_cut = g->feed ? to->gate_is_cut : from->gate_is_cut;
    like.gate_cut = g->feed ? to->gate_cut : from->gate_cut;
    if (g->listed || !g->windows)
        like.window = from->window;
    if (!g->rotated)
        like.rotated = from->rotated;
    return organ_layers_differ(from, &like, /*sizes=*/false);
}

/* The settings of the target have a period if each layer is like the one a period before it. The layer is like those of
 * its place in the period. NULL: there is no period. */
static const organ_layer_kind *kind_of_added(const graft_kinds *g, unsigned layer)
{
    const organ_forward_config *const c = &g->target;
    for (unsigned period = 1; 2 * period <= c->layers; period++) {
        bool holds = true;
        for (unsigned l = period; l < c->layers && holds; l++)
            holds = !parts_differ(g, &c->kinds[l], &c->kinds[l - period]);
        if (holds)
            return &c->kinds[layer % period];
    }
    return NULL;
}

/* Returns the kind of the target's last layer if all its layers are alike, except that the first ones may have no
 * experts; else NULL. */
static const organ_layer_kind *kind_after_dense(const graft_kinds *g)
{
    const organ_forward_config *const c = &g->target;
    const organ_layer_kind *const last = &c->kinds[c->layers - 1];
    for (unsigned l = 1; l < c->layers; l++) {
        organ_layer_kind before = c->kinds[l - 1];
        before.mixture = c->kinds[l].mixture;
        if (parts_differ(g, &c->kinds[l], &before) || (c->kinds[l - 1].mixture && !c->kinds[l].mixture))
            return NULL;
    }
    return last;
}

/* The layers that an added layer would follow must not depend on being the last ones. */
static void check_last_layers(organ_graft_job *job)
{
    static const char *const counts[] = {ORGAN_SETTING_DRAFTS, "num_kv_shared_layers"};
    const organ_settings settings = organ_settings_of(job->target, /*writer=*/NULL, /*error=*/NULL);
    for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
        char key[ORGAN_SETTING_ROOM];
        const uint64_t last = organ_settings_get(&settings, counts[k]);
        if (last)
            organ_say(job->mismatches,
                      "metadata: %s is %llu in the target: it counts its last layers, so none can be added",
                      organ_settings_name(&settings, counts[k], key), (unsigned long long)last);
    }
    if (organ_gguf_find(job->target->gguf, ORGAN_GGUF_CONFIG))
        organ_say(job->mismatches, "metadata: the target has a config.json in its key " ORGAN_GGUF_CONFIG
                                   ", which graft does not change: no layer can be added");
}

/* Returns the advice that ends the refusal of a layer of another kind; "" if there is none. */
static const char *remedy_of(const organ_graft_job *job)
{
    if (job->target->gguf || job->editable)
        return "";
    return job->single ? ", or name a directory as the output, whose config.json can say what the layer is"
                       : ", or graft whole layers (--select all), of which config.json can say what they are";
}

/* The settings of another layer of the target may be those of the source's layer. */
static void compare_pair(organ_graft_job *job, const graft_kinds *g, organ_layer_pair *pair)
{
    const bool added = pair->to >= job->target_layers;
    const organ_layer_kind *to = added || (unsigned)pair->to >= g->target.layers ? NULL : &g->target.kinds[pair->to];
    if (pair->from < 0 || (unsigned)pair->from >= g->source.layers || (!added && !to))
        return;
    if (added && !(to = kind_after_dense(g)) && !(to = kind_of_added(g, (unsigned)pair->to))) {
        organ_say(job->mismatches,
                  "added layer %d: the layers of the target differ without a period, so that it is unknown "
                  "what programs would take layer %d for",
                  (int)pair->to, (int)pair->to);
        return;
    }
    const organ_layer_kind *const from = &g->source.kinds[pair->from];
    const char *const what = parts_differ(g, from, to);
    for (unsigned l = 0; what && job->editable && pair->like < 0 && l < g->target.layers; l++)
        if (!parts_differ(g, from, &g->target.kinds[l]))
            pair->like = (int32_t)l;
    if (what && pair->like < 0)
        organ_say(job->mismatches,
                  "kind of layer: layer %d of the source differs in %s from what the settings of the target "
                  "say of layer %d; --map grafts it onto a layer of its kind%s",
                  (int)pair->from, what, (int)pair->to, remedy_of(job));
}

/* ---- layers whose settings config.json gets from the source ---- */

/* The kinds of the output's layers. A window or a rotation that all layers of both models have, or none, is a setting
 * of the whole model. `copies` has a kind for each layer of the target. */
static void kinds_of_output(const organ_graft_job *job, const graft_kinds *g, const organ_layer_kind **kinds,
                            organ_layer_kind *copies)
{
    const size_t ours = job->target_config.layers, theirs = job->source_config.layers;
    const size_t each = g->target.layers / ours, other = g->source.layers / theirs;
    const bool windows = has_mixed(&g->source, /*windows=*/true) || has_mixed(&g->target, /*windows=*/true),
               rotated = has_mixed(&g->source, /*windows=*/false) || has_mixed(&g->target, /*windows=*/false);
    for (size_t n = 0; n < ours; n++)
        kinds[n] = &g->target.kinds[n * each];
    for (size_t k = 0; k < job->pair_count; k++) {
        const organ_layer_pair *const pair = &job->pairs[k];
        if (!organ_graft_is_described(job, pair))
            continue;
        organ_layer_kind *const kind = &copies[pair->to];
        *kind = g->source.kinds[(size_t)pair->from * other];
        kind->window = windows ? kind->window : kinds[pair->to]->window;
        kind->rotated = rotated ? kind->rotated : kinds[pair->to]->rotated;
        kinds[pair->to] = kind;
    }
}

static void try_settings(organ_graft_job *job, const graft_kinds *g)
{
    const size_t count = job->target_config.layers;
    const bool known = g->target.layers >= count && g->source.layers >= job->source_config.layers && count > 0;
    ORGAN_OWNED_ROWS const organ_layer_kind **const kinds = organ_rows_take(count + 1, sizeof *kinds);
    ORGAN_OWNED_ROWS organ_layer_kind *const copies = organ_rows_take(count + 1, sizeof *copies);
    organ_error refused = {0};
    if (!kinds || !copies)
        organ_fail_memory(&refused, job->options->target);
    else if (known && job->described)
        kinds_of_output(job, g, kinds, copies);
    if (!refused.status)
        organ_graft_try_config(job, known && job->described ? kinds : NULL, &refused);
    if (refused.status)
        organ_say(job->mismatches, "kind of layer: %s; --map grafts it onto a layer of its kind", refused.message);
}

void organ_graft_compare_layers(organ_graft_job *job, bool whole)
{
    graft_kinds g = {.attention = job->groups >> ORGAN_GROUP_SKELETON & 1,
                     .feed = job->groups >> ORGAN_GROUP_ORGAN & 1};
    organ_error unknown = {0};
    if (job->layers_after > job->target_layers)
        check_last_layers(job);
    organ_graft_check_unknown(job);
    if (job->target->gguf && whole && organ_graft_header_is_free(job)) {
        const organ_settings settings = organ_settings_of(job->target, /*writer=*/NULL, /*error=*/NULL);
        g.listed = organ_settings_is_list(&settings, "attention.sliding_window_pattern");
    }
    const bool known = job->pair_count && organ_forward_config_read(job->source, &g.source, &unknown) == ORGAN_OK &&
                       organ_forward_config_read(job->target, &g.target, &unknown) == ORGAN_OK && g.target.layers;
    g.windows = known && has_mixed(&g.source, /*windows=*/true) && has_mixed(&g.target, /*windows=*/true);
    g.rotated = known && has_mixed(&g.source, /*windows=*/false) && has_mixed(&g.target, /*windows=*/false);
    for (size_t k = 0; known && k < job->pair_count; k++)
        if (!organ_graft_is_described(job, &job->pairs[k]))
            compare_pair(job, &g, &job->pairs[k]);
    if (job->editable && job->pair_count && !json_array_size(job->mismatches))
        try_settings(job, &g);
    organ_forward_config_release(&g.source);
    organ_forward_config_release(&g.target);
}
