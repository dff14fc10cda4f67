/* SPDX-License-Identifier: MIT
 * Reads from config.json which layers have a sliding window, chunks, sinks, or no rotation of q and k.
 * `s` is the config.json that is read; s->family, called the family, is the row of its architecture in families.h. `c`
 * is the configuration that the functions fill. "Reports an error" means: sets s->error unless an earlier error is
 * there. The root, s->root, is the JSON object of the text model. */
#include "formats/architecture/config_check.h"
#include "formats/architecture/hf.h"

#include "formats/base/json_text.h"

#include <string.h>

/* In families with chunks, "chunked_attention" takes the place of "sliding_attention" and gives a layer chunks. */
static void read_layer_types(const config_hf_source *s, organ_forward_config *c)
{
    const json_t *const types = organ_config_list(s, "layer_types", "a string", c->layers);
    for (unsigned l = 0; types && l < c->layers; l++) {
        const char *word = organ_json_plain(json_array_get(types, l));
        const bool windowed = word && strcmp(word, "sliding_attention") == 0 && !s->family->chunk;
        if (word && s->family->chunk && strcmp(word, "chunked_attention") == 0) {
            c->kinds[l].chunk = organ_config_needed(s, s->family->chunk);
            continue;
        }
        if (windowed && c->window == 0)
            organ_fail(s->error, ORGAN_BAD_INPUT, "%s: the sliding window of some layers is 0 tokens", s->label);
        if (!windowed && (!word || strcmp(word, "full_attention")))
            organ_fail(s->error, ORGAN_BAD_INPUT, "%s: layer_types: '%s' is not supported", s->label,
                       word ? word : "?");
        c->kinds[l].window = windowed ? c->window : 0;
    }
}

/* The leading dense layers follow a pattern of their own: every n-th of them has no window, where n is the member
 * that forward_family.dense_pattern names. Every `pattern`-th of the layers from the first mixture on, counted from
 * there, has no window either. If n or `pattern` is 0, all these layers have one. */
static void set_windows_after_dense(const config_hf_source *s, unsigned pattern, organ_forward_config *c)
{
    const unsigned own = organ_config_size(s, s->family->dense_pattern, 1);
    unsigned dense = 0;
    while (dense < c->layers && !c->kinds[dense].mixture)
        dense++;
    for (unsigned l = 0; l < c->layers; l++) {
        const unsigned every = l < dense ? own : pattern, number = l < dense ? l : l - dense;
        c->kinds[l].window = every == 0 || (number + 1) % every != 0 ? c->window : 0;
    }
}

/* Files without layer_types follow rules by the layers' numbers (forward_windows). First all layers get the window
 * except every `pattern`-th (0: no exception): the last of each `pattern` layers, with first_full the first. Then
 * the layers below `border` lose it or, with `odd`, layers 1, 3, ... and those from `border` on. */
static void set_windows_by_number(const config_hf_source *s, organ_forward_config *c)
{
    const forward_windows windows = s->family->windows;
    const bool from_a_layer = windows == WINDOWS_FLAG || windows == WINDOWS_FROM, odd = windows == WINDOWS_FLAG_ODD;
    const unsigned border = from_a_layer || odd ? organ_config_needed(s, "max_window_layers") : 0;
    const unsigned pattern =
        windows >= WINDOWS_TYPES ? organ_config_size(s, "sliding_window_pattern", s->family->window_pattern) : 0;
    if (windows == WINDOWS_PATTERN && pattern == 0)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: sliding_window_pattern is 0, not from 1", s->label);
    if (windows == WINDOWS_PATTERN && pattern != 1 && c->window == 0)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: the sliding window of some layers is 0 tokens", s->label);
    if (s->family->dense_pattern)
        set_windows_after_dense(s, pattern, c);
    else
        organ_forward_config_pattern(c, pattern);
    for (unsigned l = 0; s->family->first_full && pattern && l < c->layers; l++)
        c->kinds[l].window = l % pattern ? c->window : 0;
    for (unsigned l = 0; l < c->layers; l++)
        if (odd ? l % 2 == 1 || l >= border : l < border)
            c->kinds[l].window = 0;
}

/* Without layer_types, the layers that rotate q and k attend within chunks. */
static void read_chunks(const config_hf_source *s, organ_forward_config *c)
{
    const json_t *const types = organ_config_member(s->root, "layer_types");
    const unsigned chunk = organ_config_needed(s, s->family->chunk);
    if (chunk == 0)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: %s is 0", s->label, s->family->chunk);
    if (types)
        read_layer_types(s, c);
    for (unsigned l = 0; !types && l < c->layers; l++)
        c->kinds[l].chunk = c->kinds[l].rotated ? chunk : 0;
}

void organ_config_windows(const config_hf_source *s, organ_forward_config *c)
{
    const forward_windows windows = s->family->windows;
    const json_t *const types = windows >= WINDOWS_FLAG ? organ_config_member(s->root, "layer_types") : NULL;
    const bool has_switch = windows == WINDOWS_FLAG || windows == WINDOWS_FLAG_ALL || windows == WINDOWS_FLAG_ODD;
    if (windows == WINDOWS_NONE)
        return;
    if (windows == WINDOWS_PATTERN)
        c->window = organ_config_needed(s, "sliding_window");
    else if (!has_switch || organ_config_flag(s, "use_sliding_window", false))
        c->window = organ_config_size(s, "sliding_window", 0);
    if (types)
        read_layer_types(s, c);
    else if (c->window || windows == WINDOWS_PATTERN)
        set_windows_by_number(s, c);
}

static void read_no_rope_list(const config_hf_source *s, organ_forward_config *c)
{
    const json_t *list = organ_config_member(s->root, "no_rope_layers");
    if (s->family->chunk && json_is_array(list) &&
        json_array_size(list) == 0) /* published files of Llama 4 have an empty list */
        list = NULL;
    const unsigned interval = organ_config_size(s, "no_rope_layer_interval", 4);
    if (list)
        organ_config_list(s, "no_rope_layers", "0 or 1", c->layers);
    if (!list && interval == 0)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: no_rope_layer_interval is 0", s->label);
    for (unsigned l = 0; l < c->layers && !s->error->status; l++) {
        const json_t *const rotates = list ? json_array_get(list, l) : NULL;
        if (list && !json_is_integer(rotates))
            organ_config_refuse(s, "no_rope_layers", list, "a list with 0 or 1 for each of num_hidden_layers");
        c->kinds[l].rotated = list ? json_integer_value(rotates) != 0 : (l + 1) % interval != 0;
    }
}

/* A null means that the model does not rotate q and k. */
static bool has_null_theta(const config_hf_source *s)
{
    const json_t *const rope = organ_config_member(s->root, "rope_parameters");
    return json_is_null(json_object_get(rope ? rope : s->root, "rope_theta"));
}

/* A base of 0 means that the layer does not rotate q and k. Other bases must be equal in all layers with a window,
 * and in all layers without a window. */
static void read_thetas(const config_hf_source *s, organ_forward_config *c)
{
    static const char key[] = "layer_rope_theta";
    const json_t *const list =
        organ_config_member(s->root, key) ? organ_config_list(s, key, "a number", c->layers) : NULL;
    double of_kind[2] = {0, 0}; /* base of the layers without and with a window; 0: not known yet */
    for (unsigned l = 0; list && l < c->layers; l++) {
        const json_t *const value = json_array_get(list, l);
        const double theta = json_number_value(value);
        double *const theta_of_kind = &of_kind[c->kinds[l].window != 0];
        if (!json_is_number(value) || (theta != 0 && *theta_of_kind != 0 && theta != *theta_of_kind))
            organ_config_refuse(s, key, list, "a list in which layers of the same kind have the same number, or 0");
        c->kinds[l].rotated = theta != 0;
        *theta_of_kind = theta != 0 ? theta : *theta_of_kind;
    }
    c->rope.theta = of_kind[0] != 0 ? of_kind[0] : c->rope.theta;
    c->rope_local.theta = of_kind[1] != 0 ? of_kind[1] : c->rope_local.theta;
}

/* forward_family.unrotated is the rule for the rotation; leading dense layers also rotate if the member that
 * dense_pattern names is 1. */
void organ_config_positions(const config_hf_source *s, organ_forward_config *c)
{
    organ_forward_config_sinks(c, s->family->sinks);
    if (s->family->unrotated == UNROTATED_LIST)
        read_no_rope_list(s, c);
    if (s->family->unrotated == UNROTATED_FULL || s->family->unrotated == UNROTATED_EVERY_FULL)
        organ_forward_config_unrotate(s->family->unrotated == UNROTATED_EVERY_FULL, c);
    for (unsigned l = 0; s->family->dense_pattern && l < c->layers; l++)
        if (!c->kinds[l].mixture && organ_config_size(s, s->family->dense_pattern, 1) == 1)
            c->kinds[l].rotated = true;
    const bool unless = s->family->unrotated == UNROTATED_UNLESS &&
                        strcmp(organ_config_word(s, s->root, "position_embedding_type", "nope"), "rope");
    const bool none = s->family->unrotated == UNROTATED_NULL && has_null_theta(s);
    for (unsigned l = 0; (unless || none || s->family->unrotated == UNROTATED_ALL) && l < c->layers; l++)
        c->kinds[l].rotated = false;
    if (s->family->unrotated == UNROTATED_THETAS)
        read_thetas(s, c);
    if (s->family->chunk && !s->error->status)
        read_chunks(s, c);
}
