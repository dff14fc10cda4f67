/* SPDX-License-Identifier: MIT
 * llama.cpp's names of the matrices of a layer: importance matrices name inputs by them. */
#include "orchestrator/forward/forward_parts.h"

#include "formats/architecture/pairing.h"
#include "formats/base/results.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The names are those of the family of the GGUF file to which organ converts the model. Returns NULL if llama.cpp
 * does not have the architecture. */
static const forward_family *gguf_family_of(const organ_forward *f)
{
    if (f->model->gguf || f->family->gguf)
        return f->family;
    const forward_pairing *const row =
        organ_pairing_named(f->family->architecture, f->model->config.model_type, f->config.experts > 0);
    return row ? organ_forward_family_named(row->gguf, /*gguf=*/true) : NULL;
}

bool organ_forward_has_input_names(const organ_forward *f) { return gguf_family_of(f) != NULL; }

static void add_input_name(const organ_forward *f, int32_t layer, forward_part part, organ_input_place *place)
{
    const char *const name = organ_forward_part_name(gguf_family_of(f)->gguf_names, part, /*gguf=*/true, 0);
    if (name && place->count < sizeof place->names / sizeof *place->names)
        snprintf(place->names[place->count++], ORGAN_INPUT_NAME, "blk.%d.%s", (int)layer, name);
}

/* Returns false if the slot has no matrices of routed experts. A slot with gate and up gets two names, or one if
 * llama.cpp has both in one tensor. On entry
 * place->matrix is the number in brackets of the tensor's name; it becomes the expert's number. */
static bool name_experts(const organ_forward *f, int32_t layer, size_t slot, organ_input_place *place)
{
    const forward_plan *const plan = &f->plans[layer];
    const bool stacked = plan->slots[slot].matrices > 1,
               joint = organ_pairing_has_name(gguf_family_of(f)->gguf_names, PART_EXPERTS_GATE_UP);
    for (unsigned e = stacked ? place->matrix : 0; plan->experts && e < f->config.experts; e++) {
        for (unsigned w = f->config.ungated; w < 3; w++)
            if (plan->experts[3 * (size_t)e + w].slot == slot && (w != 1 || !joint))
                add_input_name(f, layer, w == 0 && joint ? PART_EXPERTS_GATE_UP : PART_EXPERTS_GATE + w, place);
        if (place->count) {
            place->matrix = e;
            place->matrices = f->config.experts;
            return true;
        }
    }
    return false;
}

/* Returns whether GGUF files have q, k and v of the layer in one tensor because it is that of a block. */
static bool is_joined_block(const organ_forward *f, int32_t layer)
{
    const unsigned block = (unsigned)layer - f->config.layers;
    return (unsigned)layer >= f->config.layers && f->drafts[block].family->joined;
}

/* q, k and v in one tensor, or gate and up in one tensor, get the name of llama.cpp's joint tensor. Two names are
 * added for gate and up in one tensor that llama.cpp splits, and for a mixer's input that it splits. */
static void name_part(const organ_forward *f, int32_t layer, size_t slot, organ_input_place *place)
{
    static const struct {
        forward_part part, joined, second; /* `second` is another part in the slot of `part`; 0: none has a name */
    } parts[] = {{PART_Q, PART_QKV, 0}, {PART_GATE, PART_GATE_UP, PART_UP}, {PART_SHARED_GATE, 0, PART_SHARED_UP}};
    const forward_plan *const plan = &f->plans[layer];
    unsigned part = 0;
    while (part < PART_COUNT && plan->parts[part].slot != slot)
        part++;
    if (part == PART_COUNT)
        return;
    if (is_joined_block(f, layer) && part >= PART_Q && part <= PART_V) {
        if (part == PART_Q) /* k and v have the same inputs */
            add_input_name(f, layer, PART_QKV, place);
        return;
    }
    for (size_t k = 0; k < sizeof parts / sizeof *parts; k++)
        if (parts[k].part == part && parts[k].joined &&
            organ_forward_part_name(f->family->names, parts[k].joined, /*gguf=*/false, 0))
            add_input_name(f, layer, parts[k].joined, place);
    if (place->count)
        return;
    add_input_name(f, layer, (forward_part)part, place);
    if (part == PART_MIX_IN && f->family->recurrent->gguf_split)
        add_input_name(f, layer, PART_MIX_Z, place);
    for (size_t k = 0; k < sizeof parts / sizeof *parts; k++)
        if (parts[k].part == part && parts[k].second && plan->parts[parts[k].second].slot == slot)
            add_input_name(f, layer, parts[k].second, place);
}

/* The projection and the output head of a draft block. */
static void name_draft(const organ_forward *f, int32_t layer, const char *tensor, organ_input_place *place)
{
    const bool draft = (unsigned)layer >= f->config.layers;
    const forward_draft *const d = &f->drafts[draft ? (unsigned)layer - f->config.layers : 0];
    const struct {
        const organ_weight *weight;
        organ_draft_part part;
    } rows[] = {{d->project, DRAFT_PROJECT}, {d->head, DRAFT_HEAD}};
    for (size_t k = 0; k < sizeof rows / sizeof *rows && draft; k++)
        if (rows[k].weight && strcmp(rows[k].weight->name, tensor) == 0) {
            *place = (organ_input_place){.count = 1, .matrices = 1};
            snprintf(place->names[0], ORGAN_INPUT_NAME, "blk.%d.%s", (int)layer, organ_draft_gguf_parts[rows[k].part]);
        }
}

/* organ_forward_latent_places has the matrices of single heads in latent attention. */
bool organ_forward_input_place(const organ_forward *f, int32_t layer, const char *tensor, organ_input_place *place)
{
    const forward_plan *const plan = &f->plans[layer];
    const size_t length = strcspn(tensor, "[");
    *place = (organ_input_place){.matrix = tensor[length] ? (unsigned)strtoul(tensor + length + 1, NULL, 10) : 0};
    size_t slot = 0;
    name_draft(f, layer, tensor, place);
    if (place->count)
        return true;
    while (slot < plan->count &&
           (strncmp(plan->slots[slot].weight->name, tensor, length) != 0 || plan->slots[slot].weight->name[length]))
        slot++;
    if (slot == plan->count)
        return false;
    place->matrices = (unsigned)plan->slots[slot].matrices;
    if (plan->parts[PART_K_B].slot == slot || plan->parts[PART_V_B].slot == slot) /* a matrix for each head */
        return false;
    if (f->model->gguf) {
        place->count = 1;
        return snprintf(place->names[0], ORGAN_INPUT_NAME, "%.*s", (int)length, tensor) < ORGAN_INPUT_NAME;
    }
    if (!name_experts(f, layer, slot, place))
        name_part(f, layer, slot, place);
    return place->count > 0;
}

/* The inputs are value heads: safetensors has those of a key head in sequence, GGUF has the first one of each key head,
 * then the second ones, and so on. */
bool organ_forward_input_order(const organ_forward *f, int32_t layer, const char *tensor, size_t *columns)
{
    const forward_plan *const plan = &f->plans[layer];
    const organ_recurrent_config *const r = &f->config.recurrent;
    const size_t slot = plan->parts[PART_MIX_OUT].slot;
    if (f->model->gguf || slot == SIZE_MAX || !f->family->recurrent || !f->family->recurrent->gguf_tiled ||
        f->config.kinds[layer].mixer != ORGAN_MIXER_DELTA || strcmp(plan->slots[slot].weight->name, tensor) != 0)
        return false;
    const size_t served = r->heads / r->groups;
    for (size_t head = 0; head < r->heads; head++)
        for (size_t x = 0; x < r->value_dim; x++)
            columns[head * r->value_dim + x] = (head % served * r->groups + head / served) * r->value_dim + x;
    return true;
}

organ_status organ_forward_visit_inputs(const organ_forward *f, int32_t layer, void *context, organ_input_visit *each,
                                        organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    const forward_plan *const plan = &f->plans[layer];
    for (size_t k = 0; k < plan->count && !error->status; k++) {
        const forward_slot *const slot = &plan->slots[k];
        organ_input_place place;
        if (slot->weight->rank > 1 && !slot->vectors && organ_forward_input_place(f, layer, slot->weight->name, &place))
            each(context, &place, (size_t)slot->cols, error);
    }
    organ_input_place place;
    const bool draft = (unsigned)layer >= f->config.layers;
    const organ_weight *const head = draft ? f->drafts[(unsigned)layer - f->config.layers].head : NULL;
    if (head && !error->status && organ_forward_input_place(f, layer, head->name, &place))
        each(context, &place, (size_t)f->config.hidden, error);
    return error->status;
}

bool organ_forward_latent_places(const organ_forward *f, int32_t layer, organ_input_place places[2], size_t features[2])
{
    const organ_layer_kind *const kind = &f->config.kinds[layer];
    const bool joint = f->plans[layer].parts[PART_KV_B].slot != SIZE_MAX;
    if (kind->mixer != ORGAN_MIXER_ATTENTION || !kind->latent || (joint && f->model->gguf))
        return false;
    for (unsigned k = 0; k < 2; k++) {
        places[k] = (organ_input_place){.matrices = kind->heads};
        add_input_name(f, layer, k ? PART_V_B : PART_K_B, &places[k]);
        features[k] = k ? f->config.latent.rank : f->config.latent.plain;
    }
    return true;
}

size_t organ_forward_head_place(const organ_forward *f, organ_input_place *place)
{
    *place = (organ_input_place){.count = 1, .matrices = 1};
    snprintf(place->names[0], ORGAN_INPUT_NAME, "%s",
             f->output == f->embedding ? "token_embd.weight" : "output.weight");
    return (size_t)f->config.hidden;
}

uint64_t organ_forward_input_numbers(const organ_forward *f)
{
    const uint64_t copies = f->model->gguf ? 1 : 2; /* gate and up in one tensor may be two entries */
    /* of the output heads of the model and of the draft blocks */
    uint64_t numbers = (1 + organ_forward_drafts(f)) * (f->config.hidden + 1);
    for (unsigned l = 0; l < f->plan_count; l++) {
        organ_input_place places[2];
        size_t features[2];
        const bool latent = organ_forward_latent_places(f, (int32_t)l, places, features);
        for (unsigned k = 0; latent && k < 2; k++)
            numbers += places[k].matrices * (features[k] + 1);
        for (size_t k = 0; k < f->plans[l].count; k++) {
            const forward_slot *const slot = &f->plans[l].slots[k];
            if (slot->weight->rank > 1 && !slot->vectors)
                numbers += copies * slot->matrices * (slot->cols + 1);
        }
    }
    return numbers;
}
