/* SPDX-License-Identifier: MIT
 * llama.cpp's names of the matrices of a layer: importance matrices name inputs by them. */
#include "formats/architecture/exchange.h"
#include "formats/architecture/families.h"
#include "orchestrator/forward/forward_job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The names are those of the family of the GGUF file to which organ converts the model. Returns NULL if llama.cpp
 * does not have the architecture. */
static const forward_family *gguf_family_of(const organ_forward *f)
{
    if (f->model->gguf || f->family->gguf)
        return f->family;
    const forward_exchange *const row = organ_exchange_named(f->family->architecture, f->config.experts > 0);
    return row ? organ_forward_family_named(row->gguf, true) : NULL;
}

bool organ_forward_has_input_names(const organ_forward *f) { return gguf_family_of(f) != NULL; }

static void add_input_name(const organ_forward *f, int32_t layer, forward_part part, organ_input_place *place)
{
    const char *const name = organ_forward_part_name(gguf_family_of(f)->gguf_names, part, true, 0);
    if (name && place->count < sizeof place->names / sizeof *place->names)
        snprintf(place->names[place->count++], ORGAN_INPUT_NAME, "blk.%d.%s", (int)layer, name);
}

/* Returns false if the slot has no matrices of routed experts. A slot with gate and up gets two names. On entry
 * place->matrix is the number in brackets of the tensor's name; it becomes the expert's number. */
static bool name_experts(const organ_forward *f, int32_t layer, size_t slot, organ_input_place *place)
{
    const forward_plan *const plan = &f->plans[layer];
    const bool stacked = plan->slots[slot].matrices > 1;
    for (unsigned e = stacked ? place->matrix : 0; plan->experts && e < f->config.experts; e++) {
        for (unsigned w = f->config.ungated; w < 3; w++)
            if (plan->experts[3 * (size_t)e + w].slot == slot)
                add_input_name(f, layer, PART_EXPERTS_GATE + w, place);
        if (place->count) {
            place->matrix = e;
            place->matrices = f->config.experts;
            return true;
        }
    }
    return false;
}

/* q, k and v in one tensor, or gate and up in one tensor, get the name of llama.cpp's joint tensor. Two names are
 * added for gate and up of a shared expert in one tensor, and for a mixer's input that llama.cpp splits. No name is
 * added for the output projection of a recurrent mixer if the converter reorders the columns of this projection. */
static void name_part(const organ_forward *f, int32_t layer, size_t slot, organ_input_place *place)
{
    static const struct {
        forward_part part, joined;
    } parts[] = {{PART_Q, PART_QKV}, {PART_GATE, PART_GATE_UP}};
    const forward_plan *const plan = &f->plans[layer];
    unsigned part = 0;
    while (part < PART_COUNT && plan->parts[part].slot != slot)
        part++;
    if (part == PART_COUNT)
        return;
    for (size_t k = 0; k < sizeof parts / sizeof *parts; k++)
        if (parts[k].part == part && organ_forward_part_name(f->family->names, parts[k].joined, false, 0)) {
            add_input_name(f, layer, parts[k].joined, place);
            return;
        }
    /* The converter reorders the columns of this matrix. */
    if (part == PART_MIX_OUT && f->family->recurrent && f->family->recurrent->gguf_tiled)
        return;
    add_input_name(f, layer, (forward_part)part, place);
    if (part == PART_MIX_IN && f->family->recurrent->gguf_split)
        add_input_name(f, layer, PART_MIX_Z, place);
    if (part == PART_SHARED_GATE && plan->parts[PART_SHARED_UP].slot == slot)
        add_input_name(f, layer, PART_SHARED_UP, place);
}

/* The matrices of single heads in latent attention have no entry. */
bool organ_forward_input_place(const organ_forward *f, int32_t layer, const char *tensor, organ_input_place *place)
{
    const forward_plan *const plan = &f->plans[layer];
    const size_t length = strcspn(tensor, "[");
    *place = (organ_input_place){.matrix = tensor[length] ? (unsigned)strtoul(tensor + length + 1, NULL, 10) : 0};
    size_t slot = 0;
    while (slot < plan->count &&
           (strncmp(plan->slots[slot].weight->name, tensor, length) != 0 || plan->slots[slot].weight->name[length]))
        slot++;
    if (slot == plan->count)
        return false;
    place->matrices = (unsigned)plan->slots[slot].matrices;
    if (plan->parts[PART_V_B].slot == slot) /* a matrix for each head */
        return false;
    if (f->model->gguf) {
        place->count = 1;
        return snprintf(place->names[0], ORGAN_INPUT_NAME, "%.*s", (int)length, tensor) < ORGAN_INPUT_NAME;
    }
    if (!name_experts(f, layer, slot, place))
        name_part(f, layer, slot, place);
    return place->count > 0;
}

uint64_t organ_forward_input_numbers(const organ_forward *f)
{
    uint64_t numbers = 0;
    for (unsigned l = 0; l < f->config.layers; l++)
        for (size_t k = 0; k < f->plans[l].count; k++) {
            const forward_slot *const slot = &f->plans[l].slots[k];
            /* Gate and up of experts in one tensor are two entries. */
            const uint64_t copies = slot->of_experts && !f->model->gguf && slot->matrices > 1 ? 2 : 1;
            if (slot->weight->rank > 1 && !slot->vectors)
                numbers += copies * slot->matrices * (slot->cols + 1);
        }
    return numbers;
}
