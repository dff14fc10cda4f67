/* SPDX-License-Identifier: MIT
 * Loading of one layer's weights, and access to them. */
#include "orchestrator/forward/layer.h"

#include "formats/base/results.h"
#include "orchestrator/stream/memory.h"
#include "orchestrator/ranks/ranks.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* ---- pieces of a weight that is not packed ---- */

/* Rows that llama.cpp has reordered are put back into the order of Hugging Face, and matrices stored as in_features x
 * out_features are transposed. */

#define PIECE_BYTES ((size_t)4 << 20) /* bytes of values in one read of a worker */

size_t organ_forward_row_bytes(const forward_slot *slot) { return (size_t)slot->cols * organ_real_bytes(slot->type); }

/* A piece is a whole matrix if the file has it transposed; all rows of a packed weight; else about PIECE_BYTES, in
 * whole heads if llama.cpp has reordered the rows. */
size_t organ_forward_piece_rows(const forward_slot *slot)
{
    if (slot->transposed)
        return (size_t)(slot->rows / slot->matrices);
    const size_t step = slot->turned.head ? (size_t)slot->turned.head : 1;
    const size_t rows = PIECE_BYTES / organ_max(organ_forward_row_bytes(slot), 1) / step * step;
    return slot->packed ? (size_t)slot->rows : organ_min(organ_max(rows, step), (size_t)slot->rows);
}

/* Returns how many stored rows, of out_features numbers, a worker reads of a transposed slot at a time. */
static size_t transposed_rows(const forward_slot *slot)
{
    const size_t row = (size_t)(slot->rows / slot->matrices) * organ_real_bytes(slot->type);
    return organ_min(organ_max(PIECE_BYTES / organ_max(row, 1), 1), (size_t)slot->cols);
}

/* The buffer has values in their stored order, from which they are reordered or transposed to their place. Slots
 * that need neither have none. */
static size_t transpose_bytes(const forward_slot *slot)
{
    if (slot->transposed)
        return organ_to_line(transposed_rows(slot) * organ_forward_piece_rows(slot) * organ_real_bytes(slot->type));
    return slot->turned.head ? organ_to_line(organ_forward_piece_rows(slot) * organ_forward_row_bytes(slot)) : 0;
}

organ_status organ_forward_load_size(const organ_forward *f, const forward_slot *slot, size_t *bytes,
                                     organ_error *error)
{
    *bytes = 0;
    const size_t rows = slot->transposed ? transposed_rows(slot) : organ_forward_piece_rows(slot);
    if (!slot->packed &&
        organ_weight_reader_size(f->model, slot->weight, f->engine->kernels, rows, bytes, error) == ORGAN_OK)
        *bytes += transpose_bytes(slot);
    return error->status;
}

/* Items are rows, or numbers of a bias. `from` begins with item `first`, `to` with item 0. */
static void reorder_items(const forward_slot *slot, const unsigned char *from, unsigned char *to, size_t first,
                          size_t count, size_t bytes)
{
    for (size_t k = 0; k < count; k++) {
        const size_t stored = (size_t)organ_turned_stored(slot->turned, first + k) - first;
        memcpy(to + (first + k) * bytes, from + stored * bytes, bytes);
    }
}

/* Items have 2 or 4 bytes; rows of `to` begin `stride` items apart. Works in blocks of 32 rows, so that the cache
 * lines that it reads and writes stay in the cache. */
static void transpose_items(const unsigned char *from, unsigned char *to, size_t rows, size_t cols, size_t stride,
                            size_t bytes)
{
    enum { BLOCK = 32 };
    if (bytes == sizeof(uint32_t)) {
        organ_transpose_u32((const uint32_t *)(const void *)from, cols, (uint32_t *)(void *)to, stride, rows, cols);
        return;
    }
    const uint16_t *const source = (const uint16_t *)(const void *)from;
    uint16_t *const result = (uint16_t *)(void *)to;
    for (size_t row = 0; row < rows; row += BLOCK)
        for (size_t col = 0; col < cols; col++)
            for (size_t r = row; r < organ_min(row + BLOCK, rows); r++)
                result[col * stride + r] = source[r * cols + col];
}

/* A slot that the file stores as in_features x out_features is transposed, unless the layer keeps it as stored
 * (organ_forward_is_crossed). */
static organ_status read_transposed(const organ_layer *layer, const forward_slot *slot,
                                    const organ_weight_reader *reader, size_t first, unsigned char *values,
                                    unsigned char *scratch, organ_error *error)
{
    const size_t out = organ_forward_piece_rows(slot), in = (size_t)slot->cols, bytes = organ_real_bytes(slot->type);
    const size_t stored = first / out * in, max = transposed_rows(slot);
    const organ_dtype as = organ_forward_dtype(slot->type);
    for (size_t row = 0; row < in && !error->status; row += max) {
        const size_t rows = organ_min(max, in - row);
        if (organ_forward_is_crossed(layer, slot))
            organ_weight_read(reader, stored + row, rows, as, values + (stored + row) * out * bytes, scratch, error);
        else if (organ_weight_read(reader, stored + row, rows, as, scratch, scratch + transpose_bytes(slot), error) ==
                 ORGAN_OK)
            transpose_items(scratch, values + (first * in + row) * bytes, rows, out, in, bytes);
    }
    return error->status;
}

/* Rows of rotated heads that llama.cpp has reordered (slot->turned) are put back into the order of Hugging Face. */
organ_status organ_forward_read_rows(const organ_layer *layer, const forward_slot *slot,
                                     const organ_weight_reader *reader, size_t first, size_t rows,
                                     unsigned char *values, unsigned char *scratch, organ_error *error)
{
    const size_t row = organ_forward_row_bytes(slot);
    const organ_dtype as = organ_forward_dtype(slot->type);
    if (slot->transposed)
        return read_transposed(layer, slot, reader, first, values, scratch, error);
    if (!slot->turned.head)
        return organ_weight_read(reader, first, rows, as, values + first * row, scratch, error);
    if (organ_weight_read(reader, first, rows, as, scratch, scratch + transpose_bytes(slot), error))
        return error->status;
    if (slot->weight->rank < 2) /* a bias: its columns are the rows of the matrix */
        reorder_items(slot, scratch, values, 0, (size_t)slot->cols, sizeof(float));
    else
        reorder_items(slot, scratch, values, first, rows, row);
    return ORGAN_OK;
}

organ_product_operand organ_forward_rows_of(const organ_layer *layer, const forward_slot *slot, uint64_t row)
{
    organ_product_operand all = {.values = layer->values + slot->at, .type = slot->type, .stride = (size_t)slot->cols};
    if (!organ_forward_is_crossed(layer, slot))
        return organ_factor_from(all, (size_t)row);
    const size_t rows = (size_t)(slot->rows / slot->matrices), within = (size_t)row % rows;
    all = organ_factor_from(all, (size_t)row - within);
    all.transposed = true;
    all.stride = rows;
    return organ_factor_from(all, within);
}

/* How a layer is loaded. */
typedef struct layer_load {
    float *memory;      /* of the caller, for the weights; NULL: the layer has its own */
    organ_ranks *ranks; /* ranks that read a part each; NULL: this process reads all */
    bool streamed;      /* without the experts, which each run reads when tokens reach them */
    bool as_stored;     /* organ_layer.as_stored */
} layer_load;

/* ---- loading ---- */

/* `scratch` has plan->reading bytes for each worker. */
typedef struct loading {
    organ_layer *layer;
    organ_ranks *ranks; /* ranks that read a part each; NULL: this process reads all */
    unsigned char *scratch;
    organ_first_fault fault;
} loading;

/* A streamed layer reads its experts later. */
static bool is_left_out(const organ_layer *layer, const forward_slot *slot)
{
    return layer->reserved && slot->of_experts;
}

static size_t piece_count(const organ_layer *layer, const forward_slot *slot)
{
    const size_t rows = is_left_out(layer, slot) ? 0 : organ_forward_piece_rows(slot);
    return rows ? ((size_t)slot->rows + rows - 1) / rows : 0;
}

/* Pieces are counted over all slots. Returns the slot of piece `index`; *k becomes the number of the slot, *within that
 * of the piece in it. */
static const forward_slot *find_piece(const organ_layer *layer, size_t index, size_t *k, size_t *within)
{
    const forward_plan *const plan = layer->plan;
    for (*k = 0; index >= piece_count(layer, &plan->slots[*k]); ++*k)
        index -= piece_count(layer, &plan->slots[*k]);
    *within = index;
    return &plan->slots[*k];
}

/* Packed weights are not exchanged, so each rank reads them; other pieces are read by the ranks in turn. */
static size_t reader_of(const organ_ranks *ranks, const forward_slot *slot, size_t index)
{
    return slot->packed ? organ_ranks_rank(ranks) : index % organ_ranks_count(ranks);
}

static void load_piece(void *context, size_t index, size_t worker)
{
    loading *const l = context;
    const forward_plan *const plan = l->layer->plan;
    size_t k, within;
    const forward_slot *const slot = find_piece(l->layer, index, &k, &within);
    const size_t first = within * organ_forward_piece_rows(slot);
    unsigned char *const values = l->layer->values + slot->at;
    organ_weight_reader *const reader = l->layer->sources[k].reader;
    organ_error error = {0};
    if (organ_fault_found(&l->fault) || reader_of(l->ranks, slot, index) != organ_ranks_rank(l->ranks))
        return;
    if (slot->packed ? organ_weight_reader_hold(reader, 0, slot->matrices, values, &error)
                     : organ_forward_read_rows(l->layer, slot, reader, first,
                                               organ_min(organ_forward_piece_rows(slot), (size_t)slot->rows - first),
                                               values, l->scratch + worker * plan->reading, &error))
        organ_fault_keep(&l->fault, &error);
}

/* If reading failed on any rank, returns that error on all ranks instead. Does nothing without ranks. */
static organ_status exchange_pieces(const organ_layer *layer, organ_ranks *ranks, size_t pieces, organ_error *error)
{
    if (!ranks || organ_ranks_agree(ranks, "reading a layer", error))
        return error->status;
    for (size_t index = 0; index < pieces && !error->status; index++) {
        size_t k, within;
        const forward_slot *const slot = find_piece(layer, index, &k, &within);
        const size_t first = within * organ_forward_piece_rows(slot),
                     rows = organ_min(organ_forward_piece_rows(slot), (size_t)slot->rows - first);
        if (!slot->packed)
            organ_ranks_broadcast(ranks, reader_of(ranks, slot, index),
                                  layer->values + slot->at + first * organ_forward_row_bytes(slot),
                                  rows * organ_forward_row_bytes(slot), error);
    }
    return error->status;
}

static organ_status open_sources(const organ_forward *f, organ_layer *layer, organ_error *error)
{
    for (size_t k = 0; k < layer->plan->count && !error->status; k++) {
        const forward_slot *const slot = &layer->plan->slots[k];
        layer->sources[k] = (forward_source){.type = slot->type, .turned = slot->turned};
        organ_weight_reader_open(f->model, slot->weight, f->engine->kernels, NULL, &layer->sources[k].reader, error);
    }
    return error->status;
}

/* Readers of packed weights and of experts that are read later stay open. The read buffers are in layer->room if the
 * former layer has left memory there, else they are allocated. */
static organ_status read_layer(const organ_forward *f, organ_layer *layer, organ_ranks *ranks, organ_error *error)
{
    const forward_plan *const plan = layer->plan;
    loading l = {.layer = layer, .ranks = ranks, .fault = {error, false}};
    const size_t floats = plan->reading / sizeof(float) * organ_workers_count(f->engine->workers);
    const bool has_room = layer->room->floats != NULL;
    size_t pieces = 0;
    l.scratch = (unsigned char *)(has_room ? organ_forward_layer_room(layer, floats, error)
                                           : organ_forward_floats(floats, error));
    for (size_t k = 0; k < plan->count; k++)
        pieces += piece_count(layer, &plan->slots[k]);
    if (!error->status && open_sources(f, layer, error) == ORGAN_OK)
        organ_forward_share(f->engine, pieces, INFINITY, load_piece, &l, error);
    exchange_pieces(layer, ranks, pieces, error);
    for (size_t k = 0; k < plan->count; k++)
        if (!plan->slots[k].packed && !is_left_out(layer, &plan->slots[k])) {
            organ_weight_reader_close(layer->sources[k].reader);
            layer->sources[k].reader = NULL;
        }
    if (!has_room)
        organ_forward_free((float *)(void *)l.scratch);
    return error->status;
}

/* Takes over the memory for runs of the layer that is replaced, and also its memory for weights if this is large
 * enough and the new layer is not streamed: a streamed layer has address space instead. */
static void take_memory(organ_layer *layer, organ_layer *former, bool streamed)
{
    layer->room = former ? former->room : calloc(1, sizeof *layer->room);
    if (!former)
        return;
    former->room = NULL;
    if (!streamed && former->owned >= layer->plan->bytes) {
        layer->values = former->values;
        layer->owned = former->owned;
        former->owned = 0;
    }
    organ_layer_free(former);
}

/* If `memory` is NULL, the layer gets memory of its own. A streamed layer reserves address space, in which the system
 * provides a page when it is first written to. */
static organ_status allocate_layer(organ_layer *layer, float *memory, bool streamed, organ_error *error)
{
    if (layer->owned)
        return ORGAN_OK;
    if (!streamed) {
        layer->owned = memory ? 0 : organ_max(layer->plan->bytes, 1);
        layer->values =
            (unsigned char *)(memory ? memory : organ_forward_floats(layer->plan->bytes / sizeof(float), error));
        return error->status;
    }
    void *const space =
        mmap(NULL, layer->plan->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (space == MAP_FAILED)
        return organ_fail_errno(error, errno, "cannot reserve %zu bytes of address space", layer->plan->bytes);
    layer->values = space;
    layer->reserved = layer->plan->bytes;
    return ORGAN_OK;
}

/* The layer takes the place of *loaded, if that is not NULL. After an error *loaded is NULL, or still the former layer.
 */
static organ_status load_plan(const organ_forward *forward, const forward_plan *plan, layer_load how,
                              organ_layer **loaded, organ_error *error)
{
    organ_layer *const layer = calloc(1, sizeof *layer), *const former = *loaded;
    if (!layer)
        return organ_fail_memory(error, forward->model->path);
    *loaded = NULL;
    layer->forward = forward;
    layer->plan = plan;
    layer->sources = calloc(plan->count, sizeof *layer->sources);
    layer->as_stored = how.as_stored;
    take_memory(layer, former, how.streamed);
    allocate_layer(layer, how.memory, how.streamed, error);
    if (!layer->sources || !layer->room)
        organ_fail_errno(error, ENOMEM, "cannot allocate a list of %zu weights", plan->count);
    if (error->status || read_layer(forward, layer, how.ranks, error)) {
        organ_layer_free(layer);
        return error->status;
    }
    *loaded = layer;
    return ORGAN_OK;
}

organ_status organ_forward_load_head(const organ_forward *forward, organ_layer **loaded, organ_error *error)
{
    *loaded = NULL;
    return load_plan(forward, &forward->head, (layer_load){0}, loaded, error);
}

static organ_status load_layer(organ_forward *forward, int32_t number, layer_load how, organ_layer **loaded,
                               organ_error *error)
{
    const uint64_t memory = organ_engine_memory(forward->engine);
    if (number < 0 || (unsigned)number >= forward->plan_count)
        return organ_fail(error, ORGAN_USAGE, "%s: there is no layer %d of %u", forward->model->path, (int)number,
                          forward->config.layers);
    if (forward->hypothetical)
        return organ_fail(error, ORGAN_USAGE, "%s: the plan describes a model that has not been written yet",
                          forward->model->path);
    const forward_plan *const plan = &forward->plans[number];
    if ((how.streamed ? plan->resident : plan->bytes) >= memory &&
        organ_memory_claim(forward->engine, forward->min_memory, error, "layer %d of %s", (int)number,
                           forward->model->path) != ORGAN_OK)
        return error->status;
    if (load_plan(forward, plan, how, loaded, error) == ORGAN_OK)
        (*loaded)->kind = &forward->config.kinds[number];
    return error->status;
}

organ_status organ_forward_load_to(organ_forward *forward, int32_t number, float *memory, organ_layer **loaded,
                                   organ_error *error)
{
    *loaded = NULL;
    return load_layer(forward, number, (layer_load){.memory = memory}, loaded, error);
}

organ_status organ_forward_load_streamed(organ_forward *forward, int32_t number, organ_layer **loaded,
                                         organ_error *error)
{
    *loaded = NULL;
    return load_layer(forward, number, (layer_load){.streamed = true}, loaded, error);
}

static bool layer_streams(const organ_forward *f, int32_t number)
{
    return number >= 0 && (unsigned)number < f->plan_count &&
           organ_forward_is_streamed(f, &f->plans[number], organ_engine_memory(f->engine));
}

organ_status organ_layer_load(organ_forward *forward, int32_t number, organ_layer **loaded, organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    *loaded = NULL;
    return load_layer(forward, number, (layer_load){.streamed = layer_streams(forward, number)}, loaded, error);
}

/* The CPU's dot instructions, which the other settings of --compute use, do not accept transposed factors. */
organ_status organ_layer_load_to_run(organ_forward *forward, int32_t number, organ_layer **loaded, organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    ORGAN_IN_PHASE(ORGAN_PHASE_LOADING);
    return load_layer(forward, number,
                      (layer_load){.streamed = layer_streams(forward, number),
                                   .as_stored = forward->engine->compute == ORGAN_COMPUTE_EXACT},
                      loaded, error);
}

organ_status organ_layer_load_by_ranks(organ_forward *forward, int32_t number, organ_layer **loaded, organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    *loaded = NULL;
    return load_layer(forward, number, (layer_load){.ranks = forward->engine->ranks}, loaded, error);
}

/* The values of a streamed layer are a mapping of its own. Other values are from organ_forward_floats, or belong to
 * the caller (owned is 0) and are not freed. */
void organ_layer_free(organ_layer *layer)
{
    if (!layer)
        return;
    for (size_t k = 0; layer->sources && k < layer->plan->count; k++)
        organ_weight_reader_close(layer->sources[k].reader);
    free(layer->sources);
    if (layer->room)
        organ_forward_free(layer->room->floats);
    free(layer->room);
    free(layer->kept);
    if (layer->reserved)
        munmap(layer->values, layer->reserved);
    else if (layer->owned)
        organ_forward_free((float *)(void *)layer->values);
    free(layer);
}

/* The memory is kept until the layer is freed, because a text needs many runs of a layer. A larger request frees the
 * former memory; its contents are lost. */
float *organ_forward_layer_room(const organ_layer *layer, size_t floats, organ_error *error)
{
    forward_room *const room = layer->room;
    if (room->count < floats) {
        organ_forward_free(room->floats);
        room->floats = organ_forward_floats(floats, error);
        room->count = room->floats ? floats : 0;
    }
    return room->floats;
}

float *organ_forward_vector(const organ_forward *f, const organ_weight *weight, organ_error *error)
{
    organ_weight_reader *reader;
    if (organ_weight_reader_open(f->model, weight, f->engine->kernels, NULL, &reader, error))
        return NULL;
    float *values = organ_forward_floats((size_t)weight->elements, error);
    const uint64_t rows = weight->elements / organ_weight_reader_cols(reader);
    float *const scratch = organ_forward_floats(organ_weight_reader_scratch(reader, rows) / sizeof(float), error);
    if (values && scratch)
        organ_weight_read(reader, 0, rows, ORGAN_F32, values, scratch, error);
    organ_forward_free(scratch);
    organ_weight_reader_close(reader);
    if (error->status) {
        organ_forward_free(values);
        values = NULL;
    }
    return values;
}

/* ---- access to loaded weights ---- */

/* The half is the number after "self_attn", "mlps" or the name of a norm. Router and experts have no such number and
 * belong to half 0. */
static int32_t half_of(const organ_tensor *tensor)
{
    static const char *const words[] = {".self_attn.", ".mlps.", "_layernorm."};
    for (size_t k = 0; k < sizeof words / sizeof *words; k++) {
        const char *const at = strstr(tensor->name, words[k]);
        if (at && at[strlen(words[k])] == '1')
            return 1;
    }
    return 0;
}

static bool plan_has(const forward_plan *plan, const organ_tensor *tensor)
{
    for (size_t k = 0; k < plan->count; k++)
        if (plan->slots[k].weight->codes == tensor)
            return true;
    return false;
}

/* Returns the layer of a block for multi-token prediction that has the tensor; -1: none. */
static int32_t draft_layer_of(const organ_forward *forward, const organ_tensor *tensor)
{
    for (unsigned l = forward->config.layers; l < forward->plan_count; l++)
        if (plan_has(&forward->plans[l], tensor))
            return (int32_t)l;
    return -1;
}

int32_t organ_forward_layer_of(const organ_forward *forward, const organ_tensor *tensor)
{
    const int32_t layer = tensor->anatomy.layer, draft = draft_layer_of(forward, tensor);
    if (draft >= 0)
        return draft;
    return layer < 0 || !forward->config.shortcut ? layer : 2 * layer + half_of(tensor);
}

/* A layer of a LongCat-Flash file has two plans. The range is empty if the forward pass does not run that layer. */
static const forward_plan *plans_of_tensor(const organ_forward *forward, const organ_tensor *tensor,
                                           const forward_plan **end)
{
    const organ_forward_config *const c = &forward->config;
    const int32_t draft = draft_layer_of(forward, tensor);
    if (draft >= 0) {
        *end = forward->plans + draft + 1;
        return forward->plans + draft;
    }
    const uint64_t each = c->shortcut ? 2 : 1,
                   layer = tensor->anatomy.layer < 0 ? c->layers : (uint64_t)tensor->anatomy.layer;
    *end = forward->plans + organ_min((layer + 1) * each, c->layers);
    return forward->plans + organ_min(layer * each, c->layers);
}

bool organ_forward_is_tapped(const organ_forward *forward, const organ_tensor *tensor)
{
    const forward_plan *end;
    for (const forward_plan *plan = plans_of_tensor(forward, tensor, &end); plan < end; plan++)
        for (size_t k = 0; k < plan->count; k++)
            if (plan->slots[k].weight->codes == tensor)
                return plan->slots[k].weight->rank > 1 && !plan->slots[k].vectors && !plan->slots[k].reshaped &&
                       plan->parts[PART_K_B].slot != k && plan->parts[PART_O_A].slot != k;
    return false;
}

bool organ_forward_is_transposed(const organ_forward *forward, const organ_tensor *tensor)
{
    const forward_plan *end;
    for (const forward_plan *plan = plans_of_tensor(forward, tensor, &end); plan < end; plan++)
        for (size_t k = 0; k < plan->count; k++)
            if (strcmp(plan->slots[k].weight->codes->name, tensor->name) == 0)
                return plan->slots[k].transposed;
    return false;
}

const float *organ_forward_values(const organ_layer *layer, forward_part part)
{
    return organ_forward_view_values(layer, layer->plan->parts[part]);
}

const float *organ_forward_view_values(const organ_layer *layer, forward_view view)
{
    return view.slot == SIZE_MAX ? NULL : organ_forward_rows_of(layer, &layer->plan->slots[view.slot], view.row).values;
}

forward_linear organ_forward_linear_of(const organ_layer *layer, forward_view view, size_t out)
{
    const forward_slot *const slot = &layer->plan->slots[view.slot];
    forward_linear linear = {.in = (size_t)slot->cols, .out = out, .inputs = slot->inputs.round ? &slot->inputs : NULL};
    if (slot->packed)
        linear.panels = organ_forward_panels(&layer->sources[view.slot], (size_t)view.row);
    else
        linear.w = organ_forward_rows_of(layer, slot, view.row);
    return linear;
}
