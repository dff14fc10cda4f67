/* SPDX-License-Identifier: MIT
 * The weights of one layer in memory. */
#include "orchestrator/forward/job.h"
#include "orchestrator/machine/enough_memory.h"
#include "orchestrator/stream/product.h"
#include "orchestrator/stream/weight_pass.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What one worker takes to read a layer beside its weights, at most: a strip and its codes. */
#define STRIP_BYTES ((uint64_t)16 << 20)

uint64_t organ_forward_reading(uint64_t memory) { return memory / 8 > STRIP_BYTES ? memory / 8 : STRIP_BYTES; }

/* llama.cpp has the rows of a head as 0, h/2, 1, h/2 + 1, ... */
static uint64_t row_of_slot(const forward_slot *slot, uint64_t row)
{
    const uint64_t dim = slot->turned_head_dim, in_head = dim ? row % dim : 0;
    return dim ? row - in_head + in_head % 2 * (dim / 2) + in_head / 2 : row;
}

organ_real organ_forward_type(const organ_weight *weight)
{
    if (weight->scheme != ORGAN_SCHEME_PLAIN || weight->rank < 2)
        return ORGAN_REAL_F32;
    const organ_dtype stored = weight->codes->dtype;
    return stored == ORGAN_BF16 ? ORGAN_REAL_BF16 : stored == ORGAN_F16 ? ORGAN_REAL_F16 : ORGAN_REAL_F32;
}

organ_dtype organ_forward_dtype(organ_real type)
{
    return type == ORGAN_REAL_BF16 ? ORGAN_BF16 : type == ORGAN_REAL_F16 ? ORGAN_F16 : ORGAN_F32;
}

static organ_factor rows_of(const organ_layer *layer, const forward_slot *slot, uint64_t row)
{
    const organ_factor all = {
        .values = layer->values + slot->at[layer->wide], .type = layer->wide ? ORGAN_REAL_F32 : slot->type, .stride = (size_t)slot->cols};
    return organ_factor_from(all, (size_t)row);
}

/* The weights of a layer that are held in one type. */
typedef struct reading {
    const organ_layer *layer;
    organ_real type;
    organ_weight_item *items;
    size_t *slots, count; /* of each item */
} reading;

static organ_status keep_strip(void *context, const organ_weight_strip *strip, void *scratch, void *result, organ_error *error)
{
    (void)scratch;
    (void)result;
    (void)error;
    const reading *const r = context;
    const forward_slot *slot = &r->layer->plan->slots[r->slots[strip->item]];
    unsigned char *const to = r->layer->values + slot->at[r->layer->wide];
    const unsigned char *const from = strip->values;
    const size_t size = organ_real_bytes(r->type), row = strip->cols * size;
    if (!slot->turned_head_dim) {
        memcpy(to + strip->first * row, from, strip->rows * row);
        return ORGAN_OK;
    }
    if (slot->rows == 1) { /* a bias: one row of numbers that belong to rows */
        for (size_t k = 0; k < strip->cols; k++)
            memcpy(to + row_of_slot(slot, k) * size, from + k * size, size);
        return ORGAN_OK;
    }
    for (size_t k = 0; k < strip->rows; k++)
        memcpy(to + row_of_slot(slot, strip->first + k) * row, from + k * row, row);
    return ORGAN_OK;
}

static organ_status read_type(const organ_forward *f, reading *r, organ_error *error)
{
    const forward_plan *plan = r->layer->plan;
    r->count = 0;
    for (size_t k = 0; k < plan->count; k++)
        if ((r->layer->wide ? ORGAN_REAL_F32 : plan->slots[k].type) == r->type) {
            r->items[r->count].weight = plan->slots[k].weight;
            r->slots[r->count++] = k;
        }
    organ_engine rest = *f->engine;
    rest.memory -= plan->bytes[r->layer->wide];
    rest.memory = rest.memory < organ_forward_reading(f->engine->memory) ? rest.memory : organ_forward_reading(f->engine->memory);
    const organ_weight_pass pass = {
        .model = f->model, .items = r->items, .item_count = r->count, .as = organ_forward_dtype(r->type), .context = r, .work = keep_strip};
    return r->count ? organ_weight_pass_run(&pass, &rest, error) : ORGAN_OK;
}

static organ_status read_layer(const organ_forward *f, organ_layer *layer, organ_error *error)
{
    const size_t count = layer->plan->count;
    reading r = {.layer = layer, .items = calloc(count, sizeof *r.items), .slots = calloc(count, sizeof *r.slots)};
    if (!r.items || !r.slots)
        organ_fail_errno(error, ENOMEM, "cannot allocate a list of %zu weights", count);
    for (int type = 0; type < ORGAN_REALS && !error->status; type++) {
        r.type = (organ_real)type;
        read_type(f, &r, error);
    }
    free(r.items);
    free(r.slots);
    return error->status;
}

organ_status organ_layer_load(organ_forward *forward, int32_t number, bool wide, organ_layer **loaded, organ_error *error)
{
    *loaded = NULL;
    if (number < 0 || (unsigned)number >= forward->config.layers)
        return organ_fail(error, ORGAN_USAGE, "%s: there is no layer %d of %u", forward->model->path, (int)number, forward->config.layers);
    const forward_plan *plan = &forward->plans[number];
    if (plan->bytes[wide] >= forward->engine->memory)
        return organ_memory_refuse(error, forward->engine->memory, forward->least_memory[wide], "layer %d of %s", (int)number,
                                   forward->model->path);
    organ_layer *layer = calloc(1, sizeof *layer);
    if (!layer)
        return organ_fail_errno(error, ENOMEM, "cannot allocate layer %d", (int)number);
    layer->forward = forward;
    layer->plan = plan;
    layer->windowed = forward->config.windowed && forward->config.windowed[number];
    layer->wide = wide;
    layer->values = (unsigned char *)organ_forward_floats(plan->bytes[wide] / sizeof(float), error);
    if (!layer->values || read_layer(forward, layer, error)) {
        organ_layer_free(layer);
        return error->status;
    }
    *loaded = layer;
    return ORGAN_OK;
}

void organ_layer_free(organ_layer *layer)
{
    if (!layer)
        return;
    free(layer->values);
    free(layer);
}

float *organ_forward_vector(const organ_forward *f, const organ_weight *weight, organ_error *error)
{
    organ_weight_reader *reader;
    if (organ_weight_reader_open(f->model, weight, f->engine->kernels, NULL, &reader, error))
        return NULL;
    float *values = organ_forward_floats((size_t)weight->elements, error);
    float *const scratch = organ_forward_floats(organ_weight_reader_scratch(reader, 1) / sizeof(float), error);
    if (values && scratch)
        organ_weight_read(reader, 0, 1, ORGAN_F32, values, scratch, error);
    free(scratch);
    organ_weight_reader_close(reader);
    if (error->status) {
        free(values);
        values = NULL;
    }
    return values;
}

/* "NAME[E]" is matrix E of a stack. */
static bool is_named(const forward_slot *slot, const char *tensor, uint64_t *matrix)
{
    const char *name = slot->weight->name;
    const size_t length = strlen(name);
    *matrix = 0;
    if (strncmp(tensor, name, length))
        return false;
    if (tensor[length] == 0)
        return true;
    char *end;
    if (tensor[length] != '[' || tensor[length + 1] < '0' || tensor[length + 1] > '9')
        return false;
    *matrix = strtoull(tensor + length + 1, &end, 10);
    return strcmp(end, "]") == 0 && *matrix < slot->matrices && slot->matrices > 1;
}

float *organ_layer_weight(organ_layer *layer, const char *tensor, uint64_t *rows, uint64_t *cols)
{
    for (size_t k = 0; layer->wide && k < layer->plan->count; k++) {
        const forward_slot *slot = &layer->plan->slots[k];
        uint64_t matrix;
        if (!is_named(slot, tensor, &matrix))
            continue;
        const bool one = tensor[strlen(slot->weight->name)] != 0;
        *rows = one ? slot->rows / slot->matrices : slot->rows;
        *cols = slot->cols;
        return (float *)(void *)(layer->values + slot->at[1]) + (one ? matrix * *rows * *cols : 0);
    }
    return NULL;
}

const float *organ_forward_values(const organ_layer *layer, forward_part part)
{
    const forward_view view = layer->plan->parts[part];
    if (view.slot == SIZE_MAX)
        return NULL;
    const forward_slot *slot = &layer->plan->slots[view.slot];
    return rows_of(layer, slot, view.row).values;
}

forward_linear organ_forward_linear_of(const organ_layer *layer, forward_view view, size_t out)
{
    const forward_slot *slot = &layer->plan->slots[view.slot];
    return (forward_linear){.w = rows_of(layer, slot, view.row), .in = (size_t)slot->cols, .out = out};
}
