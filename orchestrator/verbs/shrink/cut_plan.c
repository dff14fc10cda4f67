/* SPDX-License-Identifier: MIT
 * Plans each tensor of the donor: it is removed, copied whole under its new name, or cut to a part. Also chooses the
 * kept rows and columns of each weight. */
#include "orchestrator/verbs/shrink/cut_parts.h"

#include "formats/architecture/mtp_types.h"
#include "orchestrator/output/inputs.h"
#include "orchestrator/surgery/layers/layer_settings.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The lists do not follow directly from organ_cut_layer. A list whose `numbers` is NULL stands for all rows. */
typedef struct layer_lists {
    organ_cut_keep gate_up;        /* rows of a fused matrix of gate and up */
    organ_cut_keep shared_gate_up; /* rows of the fused matrix of gate and up of the shared expert */
    organ_cut_keep q;              /* rows of Q, columns of O */
    organ_cut_keep kv;             /* rows of K, and of V */
    organ_cut_keep qkv;            /* rows of a fused matrix of Q, K and V */
    organ_cut_keep *each_gate_up;  /* the same as gate_up for each routed expert */
} layer_lists;

static organ_status plan_refuse(const organ_tensor *t, const char *why, organ_error *error)
{
    return organ_fail(error, ORGAN_BAD_INPUT, "tensor '%s': %s", t->name, why);
}

/* A bias, a scale or another companion has the role of its weight. */
static organ_role owner_role(const organ_cut_run *run, const organ_tensor *t)
{
    char module[ORGAN_MTP_NAME_ROOM], room[ORGAN_MTP_NAME_ROOM];
    const char *const name = organ_cut_layer_name(&t->anatomy, t->name, room);
    const size_t length = strlen(name), at = run->weight_of[t - run->model->tensors];
    if (t->anatomy.role == ORGAN_ROLE_COMPANION)
        return at == SIZE_MAX ? ORGAN_ROLE_OTHER : run->weights->weights[at].anatomy.role;
    if (t->anatomy.role != ORGAN_ROLE_BIAS || length < 6 || length >= sizeof module)
        return t->anatomy.role;
    memcpy(module, name, length - 5); /* without ".bias" */
    module[length - 5] = '\0';
    return organ_anatomy_of(module).role;
}

/* ---- lists of rows ---- */

/* Appends rows to `rows`: index n in `keep` stands for the `each` rows from skip + n * each on. `list` is the memory
 * for all indices of `rows`. */
static void append_rows(organ_cut_keep *rows, uint32_t *list, const organ_cut_keep *keep, uint64_t each, uint64_t skip)
{
    size_t count = rows->count;
    for (size_t k = 0; k < keep->count; k++)
        for (uint64_t r = 0; r < each; r++)
            list[count++] = (uint32_t)(skip + keep->numbers[k] * each + r);
    *rows = (organ_cut_keep){list, count};
}

/* The channels of a head follow from the input width of the layer's output projection; 0: they are unknown. */
static uint64_t head_size(const organ_cut_run *run, size_t layer)
{
    const organ_hf_config *const c = &run->model->config;
    for (size_t k = 0; k < run->weights->count; k++) {
        const organ_weight *const w = &run->weights->weights[k];
        if (w->anatomy.layer == (int32_t)layer && w->anatomy.role == ORGAN_ROLE_O && w->rank == 2)
            return w->shape[1] % (uint64_t)c->num_attention_heads ? 0 : w->shape[1] / (uint64_t)c->num_attention_heads;
    }
    return 0;
}

/* Each kept head of K and V in `keep` also keeps its group of query heads. A fused matrix has all rows of q, then of
 * k, then of v. */
static organ_status list_heads(organ_cut_run *run, size_t layer, const organ_cut_keep *keep, layer_lists *lists,
                               organ_error *error)
{
    const organ_hf_config *const c = &run->model->config;
    const uint64_t head = head_size(run, layer), heads = (uint64_t)c->num_attention_heads;
    const uint64_t kv = run->kv_heads_before, group = heads / kv, kept = keep->count * head;
    if (head == 0)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: layer %zu has no output projection whose columns are those of %" PRIu64 " heads",
                          run->model->path, layer, heads);
    /* one array for the three lists, of kept * group, kept and kept * (group + 2) rows */
    uint32_t *const list = organ_arena_take(&run->arena, (size_t)(kept * (2 * group + 3) + 1) * sizeof *list);
    if (!list)
        return organ_fail_memory(error, run->model->path);
    append_rows(&lists->q, list, keep, group * head, 0);
    append_rows(&lists->kv, list + kept * group, keep, head, 0);
    uint32_t *const fused = list + kept * (group + 1);
    append_rows(&lists->qkv, fused, keep, group * head, 0);
    append_rows(&lists->qkv, fused, keep, head, heads * head);
    append_rows(&lists->qkv, fused, keep, head, (heads + kv) * head);
    return ORGAN_OK;
}

static bool has_pairs(const organ_cut_run *run, size_t layer)
{
    for (size_t t = 0; t < run->model->tensor_count; t++)
        if (run->model->tensors[t].anatomy.layer == (int32_t)layer &&
            organ_tensor_has_pairs(run->model, &run->model->tensors[t]))
            return true;
    return false;
}

/* If gate and up alternate (has_pairs), a kept channel c has the rows 2 c and 2 c + 1. Else it has row c of the
 * first half (gate) and row c of the second half (up). The list of an expert that the cut removes is empty. */
static organ_status plan_list_experts(organ_cut_run *run, size_t layer, layer_lists *lists, organ_error *error)
{
    const bool pairs = has_pairs(run, layer);
    const organ_cut_keep *const each = run->cut->layers[layer].expert_channels;
    const uint32_t experts = run->facts[layer].experts;
    const size_t kept = (size_t)run->expert_channels_after;
    lists->each_gate_up = organ_arena_take(&run->arena, (experts + 1) * sizeof *lists->each_gate_up);
    uint32_t *const list = organ_arena_take(&run->arena, (2 * kept * experts + 1) * sizeof *list);
    if (!lists->each_gate_up || !list)
        return organ_fail_memory(error, run->model->path);
    for (uint32_t e = 0; e < experts; e++) {
        const bool stays = !run->facts[layer].expert_of || run->facts[layer].expert_of[e] >= 0;
        lists->each_gate_up[e] = (organ_cut_keep){NULL, 0};
        if (stays && pairs)
            append_rows(&lists->each_gate_up[e], list + 2 * kept * e, &each[e], 2, 0);
        for (uint64_t half = 0; half < 2 && stays && !pairs; half++)
            append_rows(&lists->each_gate_up[e], list + 2 * kept * e, &each[e], 1, half * run->expert_channels_before);
    }
    return ORGAN_OK;
}

/* A fused matrix has `before` rows of gate, then as many of up. */
static organ_status list_halves(organ_cut_run *run, const organ_cut_keep *keep, uint64_t before, organ_cut_keep *halves,
                                organ_error *error)
{
    uint32_t *const list = organ_arena_take(&run->arena, (2 * keep->count + 1) * sizeof *list);
    if (!list)
        return organ_fail_memory(error, run->model->path);
    append_rows(halves, list, keep, 1, 0);
    append_rows(halves, list, keep, 1, before);
    return ORGAN_OK;
}

static organ_status make_lists(organ_cut_run *run, size_t layer, layer_lists *lists, organ_error *error)
{
    const organ_cut_layer *const cut = &run->cut->layers[layer];
    *lists = (layer_lists){0};
    if (run->facts[layer].becomes < 0)
        return ORGAN_OK;
    if (cut->kv_heads.numbers && list_heads(run, layer, &cut->kv_heads, lists, error))
        return error->status;
    if (cut->expert_channels && plan_list_experts(run, layer, lists, error))
        return error->status;
    if (cut->channels.numbers && list_halves(run, &cut->channels, run->channels_before, &lists->gate_up, error))
        return error->status;
    if (cut->shared_channels.numbers)
        list_halves(run, &cut->shared_channels, run->shared_channels_before, &lists->shared_gate_up, error);
    return error->status;
}

/* ---- kept rows and columns of a tensor ---- */

/* The tensor keeps the entries in `keep` if its name contains a word for routers or experts and the axis of experts
 * has one entry per expert. Other tensors stay whole, unless they may refer to experts in another way: these are
 * ORGAN_BAD_INPUT. */
static organ_status share_unknown(const organ_tensor *t, const organ_cut_facts *f, const organ_cut_keep *keep,
                                  organ_cut_shares *shares, organ_error *error)
{
    const bool of_router = strstr(t->name, ".gate.") || strstr(t->name, "router.");
    const bool expert = strstr(t->name, "expert") && !strstr(t->name, "shared_expert");
    const bool floats = organ_target_is_float(t);
    if (!of_router && !expert)
        return ORGAN_OK;
    if (floats && t->rank && t->shape[organ_expert_axis(t->rank, t->shape)] == f->experts)
        shares->experts = *keep;
    else if (!floats || expert)
        return plan_refuse(
            t, "it may depend on the number of experts in an unknown way: the layer's experts cannot be cut", error);
    return ORGAN_OK;
}

/* The tensor of a single expert stays whole here: plan_tensor keeps or removes it. */
static organ_status share_experts(const organ_cut_run *run, const organ_tensor *t, organ_cut_shares *shares,
                                  organ_error *error)
{
    const organ_cut_facts *const f = &run->facts[t->anatomy.layer];
    const organ_cut_keep *const keep = &run->cut->layers[t->anatomy.layer].experts;
    char room[ORGAN_MTP_NAME_ROOM];
    const bool routed = t->anatomy.experts == ORGAN_EXPERTS_ROUTED,
               router = organ_anatomy_is_router(organ_cut_layer_name(&t->anatomy, t->name, room));
    if (t->anatomy.expert >= 0) {
        if ((uint32_t)t->anatomy.expert >= f->experts)
            return organ_fail(error, ORGAN_BAD_INPUT,
                              "tensor '%s': belongs to expert %d, but the router of its layer has %" PRIu32, t->name,
                              (int)t->anatomy.expert, f->experts);
        return ORGAN_OK;
    }
    if (!routed && !router)
        return t->anatomy.role == ORGAN_ROLE_OTHER || t->anatomy.role == ORGAN_ROLE_ROUTER
                   ? share_unknown(t, f, keep, shares, error)
                   : ORGAN_OK;
    if (t->elements == 1 && t->anatomy.role == ORGAN_ROLE_COMPANION) /* one scale for the whole stack */
        return ORGAN_OK;
    if (t->rank == 0 || t->shape[organ_expert_axis(t->rank, t->shape)] != f->experts)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "tensor '%s': its first axis is not that of the %" PRIu32 " experts of the layer's router",
                          t->name, f->experts);
    shares->experts = *keep;
    return ORGAN_OK;
}

/* `gate_up` has the kept rows of a fused matrix of gate and up; `role` is the owner_role of `t`. */
static void share_rows_and_cols(const organ_tensor *t, organ_role role, const organ_cut_keep *keep,
                                const organ_cut_keep *gate_up, organ_cut_shares *shares)
{
    if (role == ORGAN_ROLE_GATE || role == ORGAN_ROLE_UP)
        shares->rows = *keep;
    else if (role == ORGAN_ROLE_GATE_UP)
        shares->rows = *gate_up;
    else if (role == ORGAN_ROLE_DOWN && t->anatomy.role != ORGAN_ROLE_BIAS)
        shares->cols = *keep;
}

static organ_status share_channels(const organ_cut_run *run, const organ_tensor *t, const layer_lists *lists,
                                   organ_cut_shares *shares, organ_error *error)
{
    const organ_role role = owner_role(run, t);
    if (t->anatomy.experts != ORGAN_EXPERTS_NONE) /* in parallel with the dense feed-forward (Gemma 4) */
        return ORGAN_OK;
    share_rows_and_cols(t, role, &run->cut->layers[t->anatomy.layer].channels, &lists->gate_up, shares);
    if (role == ORGAN_ROLE_OTHER && (strstr(t->name, "mlp.") || strstr(t->name, "ffn_")))
        return plan_refuse(t, "its function in the feed-forward is unknown: channels cannot be cut", error);
    return ORGAN_OK;
}

/* Gate and up must have the rows of all channels of an expert, a fused matrix twice as many. `role`: owner_role. */
static organ_status check_rows(const organ_cut_run *run, const organ_tensor *t, organ_role role, organ_error *error)
{
    const size_t at = run->weight_of[t - run->model->tensors];
    const organ_weight *const w = at == SIZE_MAX ? NULL : &run->weights->weights[at];
    const uint64_t halves = role == ORGAN_ROLE_GATE_UP ? 2 : 1;
    const unsigned from_last = organ_tensor_is_crossed(run->model, t) ? 1 : 2; /* the outputs are the last axis: 1 */
    if (role != ORGAN_ROLE_DOWN && w && w->rank > 1 && t->anatomy.role == role &&
        w->shape[w->rank - from_last] != halves * run->expert_channels_before)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "tensor '%s': does not have the rows of %" PRIu64 " channels of gate%s", t->name,
                          run->expert_channels_before, halves == 2 ? " and up" : " or up");
    return ORGAN_OK;
}

/* Channels are the rows of gate and up and the columns of down; stacks that are stored transposed
 * (organ_tensor_is_crossed) have them on the other axis. */
static organ_status share_expert_channels(const organ_cut_run *run, const organ_tensor *t, const layer_lists *lists,
                                          organ_cut_shares *shares, organ_error *error)
{
    const organ_cut_keep *const each = run->cut->layers[t->anatomy.layer].expert_channels;
    const organ_role role = owner_role(run, t);
    const bool gate_up = role == ORGAN_ROLE_GATE_UP, rows = gate_up || role == ORGAN_ROLE_GATE || role == ORGAN_ROLE_UP;
    const bool cols = role == ORGAN_ROLE_DOWN && t->anatomy.role != ORGAN_ROLE_BIAS;
    if (role == ORGAN_ROLE_OTHER && strstr(t->name, "expert") && !strstr(t->name, "shared_expert"))
        return plan_refuse(t, "its function in the experts is unknown: their channels cannot be cut", error);
    if (t->anatomy.experts != ORGAN_EXPERTS_ROUTED || (!rows && !cols))
        return ORGAN_OK;
    if (check_rows(run, t, role, error))
        return error->status;
    const organ_cut_keep *const own = gate_up ? lists->each_gate_up : each;
    if (t->anatomy.expert >= (int32_t)run->facts[t->anatomy.layer].experts)
        return plan_refuse(t, "belongs to an expert that the router of its layer does not have", error);
    if (t->anatomy.expert >= 0) {
        *(rows ? &shares->rows : &shares->cols) = own[t->anatomy.expert];
        return ORGAN_OK;
    }
    *(rows != organ_tensor_is_crossed(run->model, t) ? &shares->each_rows : &shares->each_cols) = own;
    shares->count = run->facts[t->anatomy.layer].experts;
    return ORGAN_OK;
}

static organ_status share_heads(const organ_cut_run *run, const organ_tensor *t, const layer_lists *lists,
                                organ_cut_shares *shares, organ_error *error)
{
    const organ_role role = owner_role(run, t);
    const bool inside = strstr(t->name, "attn") || strstr(t->name, "attention.");
    if (role == ORGAN_ROLE_Q)
        shares->rows = lists->q;
    else if (role == ORGAN_ROLE_K || role == ORGAN_ROLE_V)
        shares->rows = lists->kv;
    else if (role == ORGAN_ROLE_QKV && strstr(t->name, "query_key_value"))
        return plan_refuse(t, "rows of q, k and v alternate in it by head: heads cannot be cut", error);
    else if (role == ORGAN_ROLE_QKV)
        shares->rows = lists->qkv;
    else if (role == ORGAN_ROLE_O && t->anatomy.role != ORGAN_ROLE_BIAS)
        shares->cols = lists->q;
    else if (role != ORGAN_ROLE_O && organ_role_describe(role)->group == ORGAN_GROUP_SKELETON)
        return plan_refuse(t, "heads of attention with such a part cannot be cut", error);
    else if (role == ORGAN_ROLE_NORM && strstr(t->name, "layernorm.norms."))
        return plan_refuse(t, "it is the norm of one head, numbered: heads cannot be cut", error);
    else if (role == ORGAN_ROLE_NORM && (strstr(t->name, "q_norm") || strstr(t->name, "k_norm")) &&
             t->elements != head_size(run, (size_t)t->anatomy.layer))
        return plan_refuse(t, "it normalises over all heads together: heads cannot be cut", error);
    else if (role == ORGAN_ROLE_OTHER && inside && !strstr(t->name, "rotary_emb"))
        return plan_refuse(t, "its function in the attention is unknown: heads cannot be cut", error);
    return ORGAN_OK;
}

static organ_status collect_shares(const organ_cut_run *run, const organ_tensor *t, const layer_lists *lists,
                                   organ_cut_shares *shares, organ_error *error)
{
    const organ_cut_layer *const cut = &run->cut->layers[t->anatomy.layer];
    if (run->facts[t->anatomy.layer].expert_of && share_experts(run, t, shares, error))
        return error->status;
    if (cut->channels.numbers && share_channels(run, t, lists, shares, error))
        return error->status;
    if (cut->expert_channels && share_expert_channels(run, t, lists, shares, error))
        return error->status;
    if (cut->shared_channels.numbers && t->anatomy.experts == ORGAN_EXPERTS_SHARED)
        share_rows_and_cols(t, owner_role(run, t), &cut->shared_channels, &lists->shared_gate_up, shares);
    return cut->kv_heads.numbers ? share_heads(run, t, lists, shares, error) : ORGAN_OK;
}

/* ---- pieces ---- */

static organ_status check_refittable(const organ_cut_run *run, const organ_tensor *t, organ_error *error)
{
    const size_t at = run->weight_of[t - run->model->tensors];
    const organ_weight *const w = at == SIZE_MAX ? NULL : &run->weights->weights[at];
    const bool plain = w && w->scheme == ORGAN_SCHEME_PLAIN && !w->scale;
    char text[160];
    if (plain && organ_cut_takes(run->cut->write.engine, t->dtype))
        return ORGAN_OK;
    return organ_fail(error, ORGAN_USAGE,
                      "tensor '%s': is %s, a type that cannot be refitted: omit `heal`, or dequantize first", t->name,
                      w ? organ_weight_text(w, text, sizeof text) : organ_dtype_describe(t->dtype)->name);
}

/* Names of blocks with names of their own keep their beginning, in which no number changes. */
static bool renumber(const organ_tensor *t, int32_t layer, int32_t expert, char *name, size_t size)
{
    char room[ORGAN_MTP_NAME_ROOM], made[ORGAN_MTP_NAME_ROOM];
    unsigned number;
    const size_t prefix = organ_cut_is_own(t) ? organ_mtp_name_prefix(t->name, &number) : 0;
    if (!prefix)
        return organ_anatomy_renumber(t->name, layer, expert, name, size);
    const char *const as_layer = organ_cut_layer_name(&t->anatomy, t->name, room);
    const size_t begin = strlen(as_layer) - strlen(t->name + prefix);
    if (!organ_anatomy_renumber(as_layer, /*layer=*/-1, expert, made, sizeof made))
        return false;
    return snprintf(name, size, "%.*s%s", (int)prefix, t->name, made + begin) < (int)size;
}

/* The arena owns the name. NULL if memory runs out. */
static const char *new_name(organ_cut_run *run, const organ_tensor *t)
{
    const size_t size = strlen(t->name) + 32;
    char *const name = organ_arena_take(&run->arena, size);
    const organ_cut_facts *const f = &run->facts[t->anatomy.layer];
    const int32_t expert = f->expert_of && t->anatomy.expert >= 0 ? f->expert_of[t->anatomy.expert] : -1;
    return name && renumber(t, f->becomes, expert, name, size) ? name : NULL;
}

static bool is_part_changed(const organ_cut_part *part)
{
    for (size_t axis = 0; axis < ORGAN_CUT_AXES; axis++)
        if (part->axes[axis].numbers)
            return true;
    return part->each != NULL || part->values != NULL || part->matrices > 0;
}

/* `name` is NULL if an allocation failed. The piece is a copy of `t`, or `part`, the kept part of `t`. */
static organ_status plan_add_piece(organ_cut_run *run, const organ_tensor *t, const char *name,
                                   const organ_cut_part *part, organ_error *error)
{
    organ_piece piece = organ_piece_same(t);
    if (!name)
        return organ_fail_memory(error, t->name);
    piece.name = name;
    if (is_part_changed(part)) {
        run->part_of[t - run->model->tensors] = run->part_count;
        run->parts[run->part_count] = *part;
        run->parts[run->part_count].piece = run->piece_count;
        piece.same = NULL;
        piece.shape = run->parts[run->part_count++].shape;
    }
    /* calib: the verb assigns refitted tensors to ranks (`own` of organ_cut_put) */
    piece.calib = part->matrices > 0 && run->cut->write.engine->ranks;
    piece.item = run->piece_count;
    run->pieces[run->piece_count++] = piece;
    return ORGAN_OK;
}

static organ_status check_experts_outside_layers(const organ_cut_run *run, const organ_tensor *t, organ_error *error)
{
    if (run->cuts_experts && t->anatomy.role != ORGAN_ROLE_MTP && strstr(t->name, ".experts."))
        return plan_refuse(
            t, "it belongs to experts outside the model's layers, whose number would not change: experts cannot be cut",
            error);
    return ORGAN_OK;
}

/* On the axis every layer has the same number of consecutive entries. */
static organ_status share_layers(organ_cut_run *run, const organ_tensor *t, uint64_t size, organ_cut_keep *keep,
                                 organ_error *error)
{
    const uint64_t each = size / run->layer_count;
    if (each == 0 || size % run->layer_count || size > UINT32_MAX)
        return plan_refuse(t, "it has a part for each layer, but not of one size: blocks cannot be dropped", error);
    uint32_t *const layers = organ_arena_take(&run->arena, run->layer_count * sizeof *layers);
    uint32_t *const list = organ_arena_take(&run->arena, (size_t)(each * run->layers_after + 1) * sizeof *list);
    organ_cut_keep kept = {layers, 0};
    if (!layers || !list)
        return organ_fail_memory(error, t->name);
    for (size_t l = 0; l < run->layer_count; l++)
        if (run->facts[l].becomes >= 0)
            layers[kept.count++] = (uint32_t)l;
    append_rows(keep, list, &kept, each, 0);
    return ORGAN_OK;
}

/* Per-layer embeddings (Gemma 3n and 4) have consecutive entries for each layer: columns of the embedding
 * (embed_tokens_per_layer), rows of the projection (per_layer_model_projection). */
static organ_status share_per_layer(organ_cut_run *run, const organ_tensor *t, organ_cut_shares *shares,
                                    organ_error *error)
{
    const bool named = strstr(t->name, "_per_layer") || strstr(t->name, "per_layer_");
    const size_t at = run->weight_of[t - run->model->tensors];
    if (!run->cuts_blocks || !named || t->rank < 2)
        return ORGAN_OK;
    const organ_weight *const w = at == SIZE_MAX ? NULL : &run->weights->weights[at];
    const organ_layer_axis axis = w ? organ_layers_axis(w) : ORGAN_LAYER_AXIS_NONE;
    if (axis == ORGAN_LAYER_AXIS_COLUMNS)
        return share_layers(run, t, w->shape[1], &shares->cols, error);
    if (axis == ORGAN_LAYER_AXIS_ROWS)
        return share_layers(run, t, w->shape[0], &shares->rows, error);
    return plan_refuse(t, "it has a part for each layer in an unknown order: blocks cannot be dropped", error);
}

/* Adds the piece of the output that comes from the tensor, unless the cut removes all of it. `lists` is NULL for a
 * tensor outside of layers. */
static organ_status plan_tensor(organ_cut_run *run, const organ_tensor *t, const layer_lists *lists, organ_error *error)
{
    const size_t at = (size_t)(t - run->model->tensors);
    const organ_cut_facts *const f = t->anatomy.layer >= 0 ? &run->facts[t->anatomy.layer] : NULL;
    organ_cut_part part = {.tensor = t};
    organ_cut_shares shares = {0};
    if ((f && f->becomes < 0) || (run->drops_drafts && organ_cut_is_draft(t)))
        return ORGAN_OK;
    if (f ? collect_shares(run, t, lists, &shares, error)
          : check_experts_outside_layers(run, t, error) || share_per_layer(run, t, &shares, error))
        return error->status;
    if (f && f->expert_of && t->anatomy.expert >= 0 && f->expert_of[t->anatomy.expert] < 0)
        return ORGAN_OK;
    if (organ_cut_select(run, &shares, &part, error))
        return error->status;
    if (run->cut->refitted && run->cut->refitted[at]) {
        organ_tensor kept = *t;
        kept.shape = part.shape;
        if (check_refittable(run, t, error))
            return error->status;
        part.matrices = (size_t)organ_tensor_matrices(&kept).count;
    }
    return plan_add_piece(run, t, f ? new_name(run, t) : t->name, &part, error);
}

static organ_status plan_allocate(organ_cut_run *run, organ_error *error)
{
    const size_t capacity = run->model->tensor_count + 1;
    run->pieces = organ_rows_take(capacity, sizeof *run->pieces);
    run->parts = organ_rows_take(capacity, sizeof *run->parts);
    run->part_of = calloc(capacity, sizeof *run->part_of);
    if (!run->pieces || !run->parts || !run->part_of)
        return organ_fail_memory(error, run->model->path);
    for (size_t t = 0; t < capacity; t++)
        run->part_of[t] = SIZE_MAX;
    return ORGAN_OK;
}

organ_status organ_cut_plan(organ_cut_run *run, organ_error *error)
{
    ORGAN_OWNED layer_lists *const lists = calloc(run->layer_count + 1, sizeof *lists);
    if (!lists || plan_allocate(run, error))
        organ_fail_memory(error, run->model->path);
    for (size_t l = 0; l < run->layer_count && !error->status; l++)
        make_lists(run, l, &lists[l], error);
    for (size_t t = 0; t < run->model->tensor_count && !error->status; t++) {
        const organ_tensor *const tensor = &run->model->tensors[t];
        plan_tensor(run, tensor, tensor->anatomy.layer >= 0 ? &lists[tensor->anatomy.layer] : NULL, error);
        organ_rows_passed();
    }
    return error->status;
}
