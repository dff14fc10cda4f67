/* SPDX-License-Identifier: MIT
 * Names the kinds of a model's layers, from its configuration or from the roles of its tensors, and counts them. */
#include "orchestrator/verbs/shrink/layers_parts.h"

#include "orchestrator/report/text/report_text.h"

#include <organ/architecture.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- by the configuration ---- */

static const char *attention_name(const organ_layer_kind *kind)
{
    if (kind->latent)
        return "latent attention";
    if (kind->chunk)
        return "chunked attention";
    return kind->window ? "sliding attention" : "attention";
}

/* `mixer` is kind->mixer or kind->second. */
static const char *mixer_name(organ_mixer mixer, const organ_layer_kind *kind)
{
    static const char *const names[] = {[ORGAN_MIXER_DELTA] = "delta net",
                                        [ORGAN_MIXER_SHORT_CONV] = "short convolution",
                                        [ORGAN_MIXER_MAMBA] = "Mamba",
                                        [ORGAN_MIXER_MAMBA2] = "Mamba-2",
                                        [ORGAN_MIXER_COMPRESSED] = "compressed attention"};
    if (mixer == ORGAN_MIXER_COMPRESSED && !kind->compress)
        return "sliding attention";
    if (mixer == ORGAN_MIXER_ATTENTION)
        return attention_name(kind);
    return mixer < sizeof names / sizeof *names && names[mixer] ? names[mixer] : "another mixer";
}

static void add_word(char name[ORGAN_LAYERS_KIND_ROOM], const char *between, const char *word)
{
    const size_t length = strlen(name);
    snprintf(name + length, ORGAN_LAYERS_KIND_ROOM - length, "%s%s", length ? between : "", word);
}

/* Layers from config->layers on are for multi-token prediction. */
static void name_by_config(const organ_forward_config *config, size_t layer, char name[ORGAN_LAYERS_KIND_ROOM])
{
    if (layer >= config->layers) {
        add_word(name, "", "multi-token prediction");
        return;
    }
    const organ_layer_kind *const kind = &config->kinds[layer];
    if (kind->mixer != ORGAN_MIXER_NONE)
        add_word(name, "", mixer_name(kind->mixer, kind));
    if (kind->second != ORGAN_MIXER_NONE)
        add_word(name, " and ", mixer_name(kind->second, kind));
    if (kind->feed && kind->mixture && config->dual_ffn)
        add_word(name, ", ", "dense and mixture");
    else if (kind->feed)
        add_word(name, ", ", kind->mixture ? "mixture" : "dense");
}

/* ---- by the tensors ---- */

/* A layer has the part if it has a tensor of one of the roles. The unused entries of `roles` are ORGAN_ROLE_OTHER,
 * which is 0. */
static const struct part {
    const char *name;
    organ_role roles[7];
} parts_of_layers[] = {
    {"attention", {ORGAN_ROLE_Q, ORGAN_ROLE_QKV, ORGAN_ROLE_K, ORGAN_ROLE_KV}},
    {"latent attention", {ORGAN_ROLE_KV_A}},
    {"recurrent", {ORGAN_ROLE_STATE, ORGAN_ROLE_STATE_GATE, ORGAN_ROLE_CONV}},
    {"mixture", {ORGAN_ROLE_ROUTER}},
    {"dense", {ORGAN_ROLE_DOWN}},
};
#define PARTS (sizeof parts_of_layers / sizeof *parts_of_layers)

/* Down projections of experts do not count, because a layer with experts is recognised by its router. */
static bool belongs_to_part(const organ_tensor *tensor, const struct part *part)
{
    if (tensor->anatomy.role == ORGAN_ROLE_DOWN && tensor->anatomy.experts != ORGAN_EXPERTS_NONE)
        return false;
    for (size_t k = 0; k < sizeof part->roles / sizeof *part->roles && part->roles[k] != ORGAN_ROLE_OTHER; k++)
        if (tensor->anatomy.role == part->roles[k])
            return true;
    return false;
}

/* Names the layers of a model without a forward pass. */
static void name_by_tensors(const organ_model *model, organ_layers_kinds *kinds)
{
    for (size_t p = 0; p < PARTS; p++) {
        int32_t last = -1; /* the layer of the last tensor with this part */
        for (size_t t = 0; t < model->tensor_count; t++) {
            const int32_t layer = model->tensors[t].anatomy.layer;
            if (layer < 0 || (size_t)layer >= kinds->layers || layer == last ||
                !belongs_to_part(&model->tensors[t], &parts_of_layers[p]))
                continue;
            if (!strstr(kinds->names[layer], parts_of_layers[p].name))
                add_word(kinds->names[layer], ", ", parts_of_layers[p].name);
            last = layer;
        }
    }
}

organ_status organ_layers_kinds_find(const organ_model *model, size_t layers, organ_layers_kinds *kinds,
                                     organ_error *error)
{
    ORGAN_RELEASED_BY(organ_forward_config_release) organ_forward_config config = {.layers = 0};
    organ_error unsupported = {0};
    *kinds = (organ_layers_kinds){.names = calloc(layers + 1, sizeof *kinds->names), .layers = layers};
    if (!kinds->names)
        return organ_fail_memory(error, model->path);
    if (organ_forward_config_read(model, &config, &unsupported) == ORGAN_OK)
        for (size_t l = 0; l < layers; l++)
            name_by_config(&config, l, kinds->names[l]);
    else
        name_by_tensors(model, kinds);
    for (size_t l = 0; l < layers; l++)
        if (!*kinds->names[l])
            add_word(kinds->names[l], "", "another kind");
    return ORGAN_OK;
}

void organ_layers_kinds_release(organ_layers_kinds *kinds) { organ_clear(&kinds->names); }

json_t *organ_layers_kinds_json(const organ_layers_kinds *kinds, const bool *dropped)
{
    json_t *const rows = json_array();
    for (size_t layer = 0; layer < kinds->layers; layer++) {
        size_t earlier = 0, count = 0, dropped_count = 0; /* of the layers of the same kind */
        for (size_t l = 0; l < kinds->layers; l++) {
            const bool same = strcmp(kinds->names[l], kinds->names[layer]) == 0;
            earlier += same && l < layer;
            count += same;
            dropped_count += same && dropped[l];
        }
        if (earlier == 0)
            json_array_append_new(rows, ORGAN_OBJECT(SET_TEXT("kind", kinds->names[layer]), SET_COUNT("layers", count),
                                                     SET_COUNT("dropped", dropped_count)));
    }
    return rows;
}

/* ---- the option --drop ---- */

/* Moves *text after the number. Returns false without a number; one above INT32_MAX becomes SIZE_MAX. */
static bool read_number(const char **text, size_t *number)
{
    const char *at = *text;
    size_t found = 0;
    for (; *at >= '0' && *at <= '9'; at++) /* above INT32_MAX further digits do not count, so it cannot overflow */
        found = found > INT32_MAX ? found : 10 * found + (size_t)(*at - '0');
    if (at == *text)
        return false;
    *number = found > INT32_MAX ? SIZE_MAX : found;
    *text = at;
    return true;
}

/* `word` is the part of --drop from the fault on. */
static organ_status refuse_drop_word(const char *word, organ_error *error)
{
    return organ_fail(error, ORGAN_USAGE,
                      "`drop` has '%.200s', but must be numbers and ranges of blocks such as 5-8 or 3,7,9-11 (8-8 or "
                      "8, for one), or a count of blocks to find: 8",
                      word);
}

static organ_status add_range(size_t first, size_t last, size_t layers, const char *model, organ_layers_drop *drop,
                              organ_error *error)
{
    if (last >= layers)
        return organ_fail(error, ORGAN_USAGE, "`drop` names block %.0f, but %s has blocks 0 to %zu",
                          (double)(first < layers ? last : first), model, layers - 1);
    for (size_t l = first; l <= last; l++) {
        if (drop->dropped[l])
            return organ_fail(error, ORGAN_USAGE, "`drop` names block %zu twice", l);
        drop->dropped[l] = true;
        drop->count++;
    }
    return ORGAN_OK;
}

static organ_status read_blocks(const char *text, size_t layers, const char *model, organ_layers_drop *drop,
                                organ_error *error)
{
    drop->named = true;
    for (const char *at = text; *at;) {
        const char *const word = at;
        size_t first = 0;
        if (!read_number(&at, &first))
            return refuse_drop_word(word, error);
        size_t last = first;
        const bool range = *at == '-';
        at += range;
        if ((range && !read_number(&at, &last)) || last < first || (*at && *at != ','))
            return refuse_drop_word(word, error);
        if (add_range(first, last, layers, model, drop, error) != ORGAN_OK)
            return error->status;
        at += *at == ',';
    }
    return drop->count ? ORGAN_OK : refuse_drop_word(text, error);
}

organ_status organ_layers_drop_parse(const char *text, size_t layers, const char *model, organ_layers_drop *drop,
                                     organ_error *error)
{
    const char *at = text;
    *drop = (organ_layers_drop){.dropped = calloc(layers + 1, sizeof *drop->dropped)};
    if (!drop->dropped)
        return organ_fail_memory(error, model);
    if (!(read_number(&at, &drop->count) && !*at)) {
        drop->count = 0;
        if (read_blocks(text, layers, model, drop, error) != ORGAN_OK)
            return error->status;
    }
    if (drop->count == 0)
        return organ_fail(error, ORGAN_USAGE, "`drop` 0 drops no block; for block 0 alone give 0-0 or 0,");
    if (drop->count >= layers)
        return organ_fail(error, ORGAN_USAGE, "`drop` %.200s leaves no block: %s has %zu", text, model, layers);
    return ORGAN_OK;
}
