/* SPDX-License-Identifier: MIT
 * Finds the folds of a model from the plans of its layers. The table `reads` states which norm each part reads; a
 * matrix of a layer that the table does not list leaves the layer's norms unfolded. */
#include "orchestrator/forward/folds.h"

#include "formats/base/owned.h"
#include "orchestrator/forward/mixers.h"

#include <stdlib.h>

uint64_t organ_fold_channel(const organ_fold_side *side, uint64_t matrix, uint64_t at)
{
    const organ_fold_map *const map = &side->map;
    const uint64_t columns = side->apart ? side->cols : 0, index = matrix * (side->of_rows ? side->rows : columns) + at;
    if (index < map->first)
        return ORGAN_NO_CHANNEL;
    const uint64_t from = index - map->first, block = map->blocks == 1 ? 0 : from / map->stride;
    const uint64_t within = from - block * map->stride, item = map->step == 1 ? within : within / map->step;
    return block >= map->blocks || item >= map->span || item * map->step != within
               ? ORGAN_NO_CHANNEL
               : map->base + block / map->share * map->span + item;
}

/* ---- which norm a part reads ---- */

enum { UNKNOWN, NO_NORM, FIRST_NORM }; /* then FIRST_NORM + the norm's part */
#define READS(norm) FIRST_NORM + PART_##norm

/* In the forward pass of all architectures but those of norm_of. Vectors are in no row. */
static const unsigned char reads[PART_COUNT] = {
    [PART_Q] = READS(NORM_ATTENTION),
    [PART_K] = READS(NORM_ATTENTION),
    [PART_V] = READS(NORM_ATTENTION),
    [PART_Q_A] = READS(NORM_ATTENTION),
    [PART_KV_A] = READS(NORM_ATTENTION),
    [PART_HEAD_GATE] = READS(NORM_ATTENTION),
    [PART_COMPRESS_KV] = READS(NORM_ATTENTION),
    [PART_COMPRESS_GATE] = READS(NORM_ATTENTION),
    [PART_INDEX_GATE] = READS(NORM_ATTENTION),
    [PART_INDEX_K] = READS(NORM_ATTENTION),
    [PART_INDEX_WEIGHTS] = READS(NORM_ATTENTION),
    [PART_MIX_IN] = READS(NORM_ATTENTION),
    [PART_MIX_Q] = READS(NORM_ATTENTION),
    [PART_MIX_K] = READS(NORM_ATTENTION),
    [PART_MIX_V] = READS(NORM_ATTENTION),
    [PART_MIX_Z] = READS(NORM_ATTENTION),
    [PART_MIX_A] = READS(NORM_ATTENTION),
    [PART_MIX_B] = READS(NORM_ATTENTION),
    [PART_MIX_BA] = READS(NORM_ATTENTION),
    [PART_MIX_Z_LOW] = READS(NORM_ATTENTION),
    [PART_MIX_A_LOW] = READS(NORM_ATTENTION),
    [PART_LAUREL_LEFT] = READS(NORM_ATTENTION),
    [PART_Q_B] = READS(NORM_Q_A),
    [PART_INDEX_Q] = READS(NORM_Q_A),
    [PART_KV_B] = READS(NORM_KV_A),
    [PART_GATE] = READS(NORM_FFN),
    [PART_UP] = READS(NORM_FFN),
    [PART_ROUTER] = READS(NORM_FFN),
    [PART_SHARED] = READS(NORM_FFN),
    [PART_SHARED_GATE] = READS(NORM_FFN),
    [PART_SHARED_UP] = READS(NORM_FFN),
    [PART_LATENT_IN] = READS(NORM_FFN),
    [PART_O] = READS(NORM_GIVEN),
    [PART_DOWN] = READS(NORM_INNER),
    [PART_O_A] = NO_NORM,
    [PART_SHARED_DOWN] = NO_NORM,
    [PART_LATENT_OUT] = NO_NORM,
    [PART_PER_LAYER_GATE] = NO_NORM,
    [PART_PER_LAYER_OUT] = NO_NORM,
    [PART_LAUREL_RIGHT] = NO_NORM,
    [PART_STREAMS_ROUTER] = NO_NORM,
    [PART_STREAMS_PREDICT] = NO_NORM,
    [PART_STREAMS_CORRECT] = NO_NORM,
    [PART_MIX_OUT] = NO_NORM,
    [PART_MIX_X] = NO_NORM,
    [PART_MIX_STEP] = NO_NORM,
};

static const struct {
    forward_part part;
    const char *name;
    bool usual; /* layers without it are listed */
} norms[] = {
    {PART_NORM_ATTENTION, "norm before the mixer", true},
    {PART_NORM_FFN, "norm before the feed-forward", true},
    {PART_NORM_EXPERTS, "norm before the experts", false},
    {PART_NORM_Q_A, "norm of latent queries", false},
    {PART_NORM_KV_A, "norm of latent keys and values", false},
    {PART_NORM_GIVEN, "norm before o", false},
    {PART_NORM_INNER, "norm before down", false},
};

typedef struct finder {
    const organ_forward *forward;
    const forward_plan *plan;
    const organ_layer_kind *kind;
    int32_t layer;
    const unsigned char *uses; /* by tensor of the model: slots of all plans that use it */
    unsigned *norm_of_slot;    /* UNKNOWN, NO_NORM or FIRST_NORM + slot of the norm */
    bool unknown;              /* a matrix of the layer is in no row of `reads`, or reads two norms */
    organ_folds *folds;
    organ_error *error;
} finder;

static bool exists(const finder *d, forward_part part) { return d->plan->parts[part].slot != SIZE_MAX; }

static bool is_matrix(const forward_slot *slot) { return slot->weight->rank > 1 && !slot->vectors; }

/* Gemma 4's mixture reads a norm of its own, and its router a norm without a fold. Kimi Linear's z and a read products
 * of low rank. */
static unsigned norm_of(const finder *d, forward_part part)
{
    const bool dual = d->forward->config.dual_ffn && d->plan->experts;
    if ((part == PART_MIX_Z && exists(d, PART_MIX_Z_LOW)) || (part == PART_MIX_A && exists(d, PART_MIX_A_LOW)) ||
        (dual && part == PART_ROUTER))
        return NO_NORM;
    if (part == PART_INDEX_Q && d->forward->config.blocks.size) /* of block-sparse attention */
        return READS(NORM_ATTENTION);
    return dual && part >= PART_SHARED && part <= PART_SHARED_UP ? READS(NORM_EXPERTS) : reads[part];
}

static void set_norm(finder *d, size_t slot, unsigned norm)
{
    unsigned of = norm;
    if (norm >= FIRST_NORM) {
        const size_t at = d->plan->parts[norm - FIRST_NORM].slot;
        of = at == SIZE_MAX ? NO_NORM : FIRST_NORM + (unsigned)at;
    }
    d->unknown |= of == UNKNOWN || (d->norm_of_slot[slot] != UNKNOWN && d->norm_of_slot[slot] != of);
    d->norm_of_slot[slot] = of;
}

static void find_readers(finder *d)
{
    const organ_forward_config *const c = &d->forward->config;
    const forward_plan *const plan = d->plan;
    const unsigned own = c->dual_ffn ? READS(NORM_EXPERTS) : READS(NORM_FFN),
                   experts = c->expert_latent ? NO_NORM : own;
    for (unsigned part = 0; part < PART_COUNT; part++)
        if (exists(d, part) && is_matrix(&plan->slots[plan->parts[part].slot]))
            set_norm(d, plan->parts[part].slot, norm_of(d, part));
    for (size_t k = 0; plan->experts && k < 3 * (size_t)c->experts; k++)
        set_norm(d, plan->experts[k].slot, k % 3 == 2 ? NO_NORM : experts);
    for (size_t k = 0; k < plan->count; k++)
        d->unknown |= is_matrix(&plan->slots[k]) && d->norm_of_slot[k] == UNKNOWN;
}

/* ---- lists ---- */

static void leave_out(finder *d, const char *name, const char *why)
{
    organ_folds *const f = d->folds;
    if (!organ_grow(&f->left, f->left_count, &f->left_room, sizeof *f->left))
        organ_fail_memory(d->error, d->forward->model->path);
    if (!d->error->status)
        f->left[f->left_count++] = (organ_unfolded){d->layer, name, why};
}

static void begin_fold(finder *d, organ_fold_kind kind, const char *name, uint64_t channels)
{
    organ_folds *const f = d->folds;
    if (!organ_grow(&f->list, f->count, &f->room, sizeof *f->list))
        organ_fail_memory(d->error, d->forward->model->path);
    if (!d->error->status)
        f->list[f->count++] = (organ_fold){d->layer, kind, name, channels, f->side_count, 0};
}

/* Falcon-H1 has multipliers between the norm before the mixers and its readers. */
static float times_of(const finder *d, size_t slot)
{
    const organ_multipliers *const m = &d->forward->config.multipliers;
    const forward_view *const parts = d->plan->parts;
    float times = 1;
    if (slot == parts[PART_MIX_IN].slot)
        times = m->recurrent_in;
    else if (slot == parts[PART_Q].slot || slot == parts[PART_K].slot || slot == parts[PART_V].slot)
        times = m->attention_in;
    return times != 0 ? times : 1; /* with 0 the inputs are zeros */
}

/* Adds a side with the tensor of a slot; the caller's `side` has the other members. */
static void add_side(finder *d, size_t slot, organ_fold_side side)
{
    organ_folds *const f = d->folds;
    const forward_slot *const s = &d->plan->slots[slot];
    side.weight = s->weight;
    side.matrices = s->matrices;
    side.rows = s->rows / s->matrices;
    side.cols = s->cols;
    side.transposed = s->transposed;
    side.times = times_of(d, slot);
    if (!organ_grow(&f->sides, f->side_count, &f->side_room, sizeof *f->sides))
        organ_fail_memory(d->error, d->forward->model->path);
    if (d->error->status)
        return;
    f->sides[f->side_count++] = side;
    f->list[f->count - 1].count++;
}

/* `count` neighbouring indices from `first` on have the channels from `base` on. */
static organ_fold_map map_range(uint64_t first, uint64_t count, uint64_t base)
{
    return (organ_fold_map){
        .first = first, .stride = count, .blocks = 1, .span = count, .step = 1, .share = 1, .base = base};
}

/* A tensor that several layers share has readers outside of the fold. */
static const char *why_not_tensor(const finder *d, const organ_weight *weight)
{
    const organ_dtype type = weight->codes->dtype;
    if (d->uses[weight->codes - d->forward->model->tensors] > 1)
        return "several layers share a tensor of it";
    if (weight->scheme != ORGAN_SCHEME_PLAIN || weight->made)
        return "a tensor of it is quantised";
    return type == ORGAN_F32 || type == ORGAN_F16 || type == ORGAN_BF16 ? NULL
                                                                        : "a tensor of it is no F32, F16 or BF16";
}

/* Drops the fold that was begun last if one of its tensors cannot be scaled. */
static void end_fold(finder *d)
{
    organ_folds *const f = d->folds;
    if (d->error->status)
        return;
    const organ_fold last = f->list[f->count - 1];
    for (size_t k = last.first; k < last.first + last.count; k++) {
        const char *const why = why_not_tensor(d, f->sides[k].weight);
        if (why) {
            f->count--;
            f->side_count = last.first;
            leave_out(d, last.name, why);
            return;
        }
    }
}

/* ---- norms ---- */

/* Returns why the output of a norm of this layer has readers that cannot be scaled; NULL: there are none. */
static const char *why_not(const finder *d, forward_part norm)
{
    const organ_forward_config *const c = &d->forward->config;
    const bool outer = norm == PART_NORM_ATTENTION || norm == PART_NORM_FFN;
    if (d->unknown)
        return "the layer has a matrix whose input is unknown";
    if (outer && c->residual_normed)
        return "the hidden state keeps the normed input";
    if (norm == PART_NORM_ATTENTION && c->streams)
        return "Laurel adds the normed input to its output";
    if (d->kind->mixer == ORGAN_MIXER_COMPRESSED && norm == PART_NORM_KV_A)
        return "the normed vector is key and value";
    if (c->identity_experts && d->plan->experts && norm == PART_NORM_FFN)
        return "identity experts return the normed input";
    return NULL;
}

static void fold_norm(finder *d, forward_part norm, const char *name)
{
    const forward_plan *const plan = d->plan;
    const size_t at = plan->parts[norm].slot;
    const bool outer = norm == PART_NORM_ATTENTION || norm == PART_NORM_FFN || norm == PART_NORM_EXPERTS;
    const uint64_t width = plan->slots[at].cols;
    const organ_fold_map map = map_range(0, width, 0);
    const organ_fold_side producer = {
        .divided = true, .plus = outer && d->forward->config.norm_adds_one ? 1 : 0, .map = map};
    begin_fold(d, ORGAN_FOLD_NORM, name, width);
    add_side(d, at, producer);
    if (norm <= PART_NORM_K && exists(d, organ_norm_bias(norm)))
        add_side(d, plan->parts[organ_norm_bias(norm)].slot, (organ_fold_side){.divided = true, .map = map});
    for (size_t k = 0; k < plan->count; k++)
        if (d->norm_of_slot[k] == FIRST_NORM + at)
            add_side(d, k, (organ_fold_side){.map = map});
    end_fold(d);
}

/* With one_norm the norm before the mixer is also that before the feed-forward. */
static void fold_norms(finder *d)
{
    const bool has_part[] = {d->kind->mixer != ORGAN_MIXER_NONE, d->kind->feed};
    for (size_t k = 0; k < sizeof norms / sizeof *norms; k++) {
        const forward_part part = norms[k].part;
        const char *const why = why_not(d, part);
        if (k > 0 && exists(d, part) && d->plan->parts[part].slot == d->plan->parts[PART_NORM_ATTENTION].slot)
            continue;
        if (!exists(d, part) && norms[k].usual && has_part[k])
            leave_out(d, norms[k].name,
                      d->forward->config.norm_unweighted ? "the norm has no weights" : "there is none");
        else if (exists(d, part) && why)
            leave_out(d, norms[k].name, why);
        else if (exists(d, part))
            fold_norm(d, part, norms[k].name);
    }
}

/* ---- up and down ---- */

static const char *why_not_up(const finder *d, bool dense)
{
    const organ_forward_config *const c = &d->forward->config;
    if (c->ungated)
        return "the activation follows up";
    if (c->gate_limit > 0 || d->kind->limits[0] > 0 || d->kind->limits[1] > 0 || c->limits_shared)
        return "the activation limits up";
    return dense && exists(d, PART_NORM_INNER) ? "a norm precedes down" : NULL;
}

/* A dense feed-forward or the shared expert: `up` is PART_UP or PART_SHARED_UP. */
static void fold_dense(finder *d, forward_part up, forward_part bias, uint64_t inner, const char *name)
{
    const forward_view *const parts = d->plan->parts;
    const char *const why = why_not_up(d, up == PART_UP);
    if (!exists(d, up))
        return;
    if (why) {
        leave_out(d, name, why);
        return;
    }
    begin_fold(d, ORGAN_FOLD_UP, name, inner);
    add_side(d, parts[up].slot,
             (organ_fold_side){.divided = true, .of_rows = true, .map = map_range(parts[up].row, inner, 0)});
    if (exists(d, bias))
        add_side(d, parts[bias].slot, (organ_fold_side){.divided = true, .map = map_range(0, inner, 0)});
    add_side(d, parts[up + (PART_DOWN - PART_UP)].slot, (organ_fold_side){.map = map_range(0, inner, 0)});
    end_fold(d);
}

/* Rows of up in its slot: of expert `e` alone, or of all experts if they are a stack. In a stack with gate and up, the
 * rows of both alternate (pairs), or those of gate precede those of up. */
static organ_fold_map map_up(const finder *d, const forward_view *views, uint64_t e)
{
    const organ_forward_config *const c = &d->forward->config;
    const uint64_t inner = c->expert_intermediate, stacked = d->plan->slots[views[1].slot].matrices;
    const uint64_t step = d->plan->pairs ? 2 : 1, first = views[1].row + (d->plan->pairs ? 1 : 0);
    return (organ_fold_map){.first = first,
                            .stride = d->plan->slots[views[1].slot].rows / stacked,
                            .blocks = stacked,
                            .span = inner,
                            .step = step,
                            .share = 1,
                            .base = e * inner};
}

/* Expert e has the channels from e * expert_intermediate on. */
static void fold_experts(finder *d)
{
    static const char name[] = "up of the experts";
    const organ_forward_config *const c = &d->forward->config;
    const uint64_t inner = c->expert_intermediate;
    const char *const why = c->expert_limit > 0 ? "the activation limits up" : why_not_up(d, /*dense=*/false);
    if (!d->plan->experts)
        return;
    if (why || d->plan->expert_biases) {
        leave_out(d, name, why ? why : "the experts have biases");
        return;
    }
    begin_fold(d, ORGAN_FOLD_UP, name, c->experts * inner);
    for (unsigned divided = 2; divided-- > 0;)
        for (uint64_t e = 0; e < c->experts; e++) {
            const forward_view *const views = d->plan->experts + 3 * e;
            const forward_slot *const slot = &d->plan->slots[views[divided ? 1 : 2].slot];
            if (e > 0 && slot->matrices > 1)
                continue;
            add_side(d, views[divided ? 1 : 2].slot,
                     divided
                         ? (organ_fold_side){.divided = true, .of_rows = true, .map = map_up(d, views, e)}
                         : (organ_fold_side){.apart = true, .map = map_range(0, slot->matrices * inner, e * inner)});
        }
    end_fold(d);
}

/* ---- v and o ---- */

static const char *why_not_values(const finder *d)
{
    const organ_forward_config *const c = &d->forward->config;
    if (d->kind->mixer == ORGAN_MIXER_COMPRESSED)
        return "v is k";
    if (d->kind->shared_at)
        return "layers share keys and values";
    if (d->kind->value_is_key)
        return "v is the projection of k";
    if (c->value_norm)
        return "v is normed";
    if (c->clip_qkv > 0)
        return "v is limited";
    if (exists(d, PART_NORM_GIVEN))
        return "a norm precedes o";
    if (d->kind->latent ? !exists(d, PART_KV_B) : c->fused != ORGAN_FUSED_NONE && c->gate_in_q)
        return "the order of its rows is unknown";
    return NULL;
}

/* Rows of v in the tensor that contains them. */
static organ_fold_map map_values(const finder *d)
{
    const organ_forward_config *const c = &d->forward->config;
    const organ_layer_kind *const kind = d->kind;
    const uint64_t width = kind->value_dim, heads = kind->kv_heads, q = (uint64_t)kind->heads * kind->head_dim,
                   k = heads * kind->head_dim;
    if (kind->latent)
        return (organ_fold_map){c->latent.plain, c->latent.plain + width, kind->heads, width, 1, 1, 0};
    if (c->fused == ORGAN_FUSED_THIRDS)
        return map_range(q + k, heads * width, 0);
    if (c->fused == ORGAN_FUSED_HEADS) {
        const uint64_t before = q / heads + kind->head_dim;
        return (organ_fold_map){before, before + width, heads, width, 1, 1, 0};
    }
    if (c->fused == ORGAN_FUSED_QUARTERS)
        return (organ_fold_map){q / 4, (q + k + heads * width) / 4, 4, heads * width / 4, 1, 1, 0};
    return map_range(d->plan->parts[PART_V].row, heads * width, 0);
}

/* Query heads that share a head of v share its channels. */
static void fold_values(finder *d)
{
    static const char name[] = "v";
    const organ_forward_config *const c = &d->forward->config;
    const organ_layer_kind *const kind = d->kind;
    const forward_view *const parts = d->plan->parts;
    const char *const why = why_not_values(d);
    if (!organ_forward_attends(kind))
        return;
    if (why) {
        leave_out(d, name, why);
        return;
    }
    const forward_part plain = c->fused == ORGAN_FUSED_NONE ? PART_V : PART_Q, part = kind->latent ? PART_KV_B : plain;
    const bool in_q = !kind->latent && parts[part].slot == parts[PART_Q].slot;
    const forward_part bias = in_q ? PART_BIAS_Q : PART_BIAS_V;
    const uint64_t heads = kind->latent ? kind->heads : kind->kv_heads;
    begin_fold(d, ORGAN_FOLD_VALUE, name, heads * kind->value_dim);
    add_side(d, parts[part].slot, (organ_fold_side){.divided = true, .of_rows = true, .map = map_values(d)});
    if (!kind->latent && exists(d, bias)) {
        organ_fold_map map = map_values(d);
        map.first -= in_q ? 0 : map.first;
        add_side(d, parts[bias].slot, (organ_fold_side){.divided = true, .map = map});
    }
    add_side(d, parts[PART_O].slot,
             (organ_fold_side){.map = {0, kind->value_dim, kind->heads, kind->value_dim, 1, kind->heads / heads, 0}});
    end_fold(d);
}

/* ---- all layers ---- */

static void find_in_layer(finder *d)
{
    const organ_forward_config *const c = &d->forward->config;
    ORGAN_OWNED unsigned *slots = calloc(d->plan->count + 1, sizeof *slots);
    d->norm_of_slot = slots;
    d->unknown = false;
    if (!slots) {
        organ_fail_memory(d->error, d->forward->model->path);
        return;
    }
    find_readers(d);
    fold_norms(d);
    fold_values(d);
    fold_dense(d, PART_UP, PART_BIAS_UP, d->kind->intermediate, "up");
    fold_dense(d, PART_SHARED_UP, PART_BIAS_SHARED_UP, c->shared_intermediate, "up of the shared expert");
    fold_experts(d);
}

organ_status organ_forward_folds(const organ_forward *f, organ_folds *folds, organ_error *error)
{
    *folds = (organ_folds){0};
    ORGAN_OWNED unsigned char *uses = calloc(f->model->tensor_count + 1, 1);
    if (!uses)
        return organ_fail_memory(error, f->model->path);
    for (unsigned l = 0; l < f->plan_count; l++)
        for (size_t k = 0; k < f->plans[l].count; k++) {
            unsigned char *const of = &uses[f->plans[l].slots[k].weight->codes - f->model->tensors];
            *of += *of < 2;
        }
    for (unsigned l = 0; l < f->config.layers && !error->status; l++)
        find_in_layer(&(finder){.forward = f,
                                .plan = &f->plans[l],
                                .kind = &f->config.kinds[l],
                                .layer = (int32_t)l,
                                .uses = uses,
                                .folds = folds,
                                .error = error});
    return error->status;
}

void organ_folds_release(organ_folds *folds)
{
    ORGAN_FREE_ARRAYS(folds->list, folds->sides, folds->left);
    *folds = (organ_folds){0};
}
