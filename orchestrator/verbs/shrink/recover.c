/* SPDX-License-Identifier: MIT
 * Finds the parts of the donor that a cut copy has kept: computes digests of the rows of each block, expert, channel
 * and head in both models, and matches equal digests. A refit (--refit) does not change these rows, except K and V of
 * blocks after a removed one, which are then recognised by their norms. */
#include "orchestrator/verbs/shrink/cut_parts.h"

#include "formats/architecture/sizes.h"
#include "orchestrator/output/inputs.h"
#include "orchestrator/stream/read_rows.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define STEP_ROWS ((size_t)256) /* rows that are read together */

bool organ_cut_is_smaller(const organ_model *donor, const organ_model *copy)
{
    bool smaller = organ_cut_layers(copy) < organ_cut_layers(donor);
    for (size_t t = 0; t < donor->tensor_count && !smaller; t++) {
        const organ_tensor *const a = &donor->tensors[t], *const b = organ_model_find(copy, a->name);
        bool less = false,
             more = !b || b->rank != a->rank || a->anatomy.layer < 0 || a->anatomy.role == ORGAN_ROLE_OTHER;
        for (unsigned axis = 0; !more && axis < a->rank; axis++) {
            less = less || b->shape[axis] < a->shape[axis];
            more = b->shape[axis] > a->shape[axis];
        }
        smaller = less && !more;
    }
    return smaller;
}

/* ---- digests of rows ---- */

/* Maps the rows of a weight to the parts (channels, heads, experts) that they belong to, each of which has a digest. */
typedef struct rows_of {
    uint64_t skip;  /* rows at the beginning that belong to no part */
    uint64_t each;  /* consecutive rows of a part */
    uint64_t first; /* index of the digest of the first part */
    uint64_t count; /* number of parts; the rows of the first part follow again after those of the last */
    /* Not 0: each matrix has `halves` rows of gate, then `halves` rows of up. Row c of gate and row c of up belong to
     * part c of the matrix; the other members are not used. */
    uint64_t halves;
} rows_of;

static uint64_t channel_of_row(const rows_of *of, uint64_t row)
{
    if (of->halves)
        return row / (2 * of->halves) * of->halves + row % of->halves;
    return of->first + (row - of->skip) / of->each % of->count;
}

/* The values are widened to FP32. The digest so far, 0 at first, is the seed of the hash. */
static organ_status fold_rows(const organ_cut_side *s, const organ_weight *w, rows_of of, uint64_t *digests,
                              organ_error *error)
{
    ORGAN_RELEASED_BY(organ_row_buffer_close) organ_row_buffer rows = {0};
    organ_row_buffer_open(&rows, s->model, w, s->kernels, STEP_ROWS, /*whole_steps=*/true, error);
    for (uint64_t n, r = 0; (n = organ_row_buffer_next(&rows, r, rows.rows, error)); r += n)
        for (uint64_t k = 0; k < n; k++) {
            uint64_t *const digest = r + k < of.skip ? NULL : &digests[channel_of_row(&of, r + k)];
            if (digest)
                *digest = XXH3_64bits_withSeed(rows.values + k * rows.cols, rows.cols * sizeof(float), *digest);
        }
    return error->status;
}

/* Column c belongs to channel c / 2 if the columns of gate and up alternate (`pairs`), else to channel c % count.
 * The digest of channel c of matrix m is digests[m * count + c]. */
static organ_status fold_columns(const organ_cut_side *s, const organ_weight *w, uint64_t count, bool pairs,
                                 uint64_t *digests, organ_error *error)
{
    const uint64_t in_matrix = organ_weight_matrices(w).rows;
    ORGAN_RELEASED_BY(organ_row_buffer_close) organ_row_buffer rows = {0};
    organ_row_buffer_open(&rows, s->model, w, s->kernels, STEP_ROWS, /*whole_steps=*/true, error);
    for (uint64_t n, r = 0; (n = organ_row_buffer_next(&rows, r, rows.rows, error)); r += n)
        for (uint64_t k = 0; k < n; k++)
            for (size_t c = 0; c < rows.cols; c++) {
                const uint64_t channel = pairs ? c / 2 : c % count;
                uint64_t *const digest = &digests[(r + k) / in_matrix * count + channel];
                *digest = XXH3_64bits_withSeed(rows.values + k * rows.cols + c, sizeof(float), *digest);
            }
    return error->status;
}

/* Because a cut keeps the order, the search for each part of the copy begins after the donor part of its
 * predecessor. If no donor part has the digest, or too few donor parts follow for the remaining parts of the copy,
 * there is a problem, and the donor part at which the search began is taken. `what` names a part in messages. */
static organ_status match_digests(organ_cut_audit *a, size_t layer, const char *what, const uint64_t *donor,
                                  size_t donor_count, const uint64_t *copy, size_t copy_count, organ_cut_keep *keep,
                                  organ_error *error)
{
    uint32_t *const list = organ_arena_take(&a->arena, (copy_count + 1) * sizeof *list);
    size_t at = 0;
    if (!list)
        return organ_fail_memory(error, a->copy.model->path);
    for (size_t k = 0; k < copy_count; k++) {
        size_t found = at;
        while (found < donor_count && donor[found] != copy[k])
            found++;
        if (found == donor_count || donor_count - found < copy_count - k) {
            organ_problem_add(&a->problems, "layer %zu: %s %zu of %s is not one of the donor's, or is in another order",
                              layer, what, k, a->copy.model->path);
            found = at;
        }
        list[k] = (uint32_t)found;
        at = found + 1;
    }
    *keep = (organ_cut_keep){list, copy_count};
    return ORGAN_OK;
}

/* ---- blocks ---- */

/* Digests of a block's norms and of its K and V projections. */
typedef struct recover_block {
    uint64_t digests[24]; /* further tensors are ignored */
    size_t count;         /* number of digests */
} recover_block;

/* The name of the module is the seed of the digest, so that two norms with equal bytes are not confused. Tensors
 * above 1 GiB are ignored: enough of the tensors keep their bytes in a kept block to recognise it. */
static organ_status list_block(const organ_model *model, const organ_tensor *t, recover_block *blocks,
                               organ_error *error)
{
    char module[256];
    const organ_role role = t->anatomy.role;
    recover_block *const b = &blocks[t->anatomy.layer];
    if ((role != ORGAN_ROLE_NORM && role != ORGAN_ROLE_K && role != ORGAN_ROLE_V) ||
        b->count == sizeof b->digests / sizeof *b->digests || t->bytes > (uint64_t)1 << 30)
        return ORGAN_OK;
    ORGAN_OWNED void *const bytes = malloc((size_t)t->bytes + 1);
    if (!bytes)
        return organ_fail_memory(error, t->name);
    organ_anatomy_module(t->name, module, sizeof module);
    if (organ_model_read(model, t->file, bytes, (size_t)t->bytes, t->offset, error) == ORGAN_OK)
        b->digests[b->count++] = XXH3_64bits_withSeed(bytes, (size_t)t->bytes, XXH3_64bits(module, strlen(module)));
    return error->status;
}

static organ_status list_blocks(const organ_model *model, recover_block *blocks, organ_error *error)
{
    for (size_t t = 0; t < model->tensor_count && !error->status; t++)
        if (model->tensors[t].anatomy.layer >= 0)
            list_block(model, &model->tensors[t], blocks, error);
    return error->status;
}

static unsigned count_common_digests(const recover_block *a, const recover_block *b)
{
    unsigned count = 0;
    for (size_t i = 0; i < a->count; i++)
        for (size_t k = 0; k < b->count; k++)
            count += a->digests[i] == b->digests[k];
    return count;
}

/* The kept blocks are the ascending sequence of donor blocks that has the most digests in common with the blocks of
 * the copy (dynamic programming over both sequences). `best` is a zeroed table, [layers of the copy + 1][layers of the
 * donor + 1]. */
static void align_blocks(organ_cut_audit *a, const recover_block *donor, const recover_block *copy, uint32_t *best)
{
    const size_t all = a->donor.layers, copies = a->copy.layers, row = all + 1;
    /* best[k][l]: 1 + the largest number of digests that blocks k.. of the copy share with blocks l.. of the donor; 0:
     * too few donor blocks are left */
    for (size_t k = copies + 1; k-- > 0;)
        for (size_t l = all + 1; l-- > 0;) {
            uint32_t *const here = &best[k * row + l];
            *here = k == copies ? 1 : 0;
            if (k == copies || l == all)
                continue;
            /* `with`: donor block l is block k of the copy; `without`: donor block l is dropped */
            const uint32_t with = best[(k + 1) * row + l + 1], without = best[k * row + l + 1];
            *here = with ? with + count_common_digests(&donor[l], &copy[k]) : 0;
            *here = without > *here ? without : *here;
        }
    for (size_t k = 0, l = 0; l < all; l++) {
        const uint32_t with = k < copies ? best[(k + 1) * row + l + 1] : 0;
        const bool stays = with && best[k * row + l] == with + count_common_digests(&donor[l], &copy[k]);
        a->kept[l].dropped = !stays;
        k += stays;
    }
}

static organ_status match_blocks(organ_cut_audit *a, organ_error *error)
{
    ORGAN_OWNED recover_block *const donor = calloc(a->donor.layers + 1, sizeof *donor);
    ORGAN_OWNED recover_block *const copy = calloc(a->copy.layers + 1, sizeof *copy);
    ORGAN_OWNED uint32_t *const best = calloc((a->donor.layers + 1) * (a->copy.layers + 1), sizeof *best);
    if (!donor || !copy || !best)
        organ_fail_memory(error, a->copy.model->path);
    else if (list_blocks(a->donor.model, donor, error) == ORGAN_OK &&
             list_blocks(a->copy.model, copy, error) == ORGAN_OK)
        align_blocks(a, donor, copy, best);
    return error->status;
}

/* ---- parts of a block ---- */

/* With ORGAN_ROLE_ROUTER the gate of a shared expert is skipped. */
static const organ_weight *weight_among(const organ_weights *weights, size_t layer, organ_role role,
                                        organ_expert_kind experts)
{
    char room[ORGAN_MTP_NAME_ROOM];
    for (size_t k = 0; k < weights->count; k++) {
        const organ_weight *const w = &weights->weights[k];
        if (w->anatomy.layer == (int32_t)layer && w->anatomy.role == role && w->anatomy.experts == experts &&
            w->rank == 2 &&
            (role != ORGAN_ROLE_ROUTER || organ_anatomy_is_router(organ_cut_layer_name(&w->anatomy, w->name, room))))
            return w;
    }
    return NULL;
}

static const organ_weight *recover_weight_of(const organ_weights *weights, size_t layer, organ_role role)
{
    return weight_among(weights, layer, role, ORGAN_EXPERTS_NONE);
}

typedef struct recover_kind {
    const char *what;          /* name of a part in messages; NULL: it has the number of the expert */
    organ_expert_kind experts; /* of the channels; with ORGAN_EXPERTS_ROUTED each expert has parts of its own */
    /* Returns how many parts of this kind the layer, or each of its experts, has; 0: none. */
    uint64_t (*count)(const organ_cut_side *s, size_t layer);
    /* Sets digests[k], 0 on entry, to the digest of the rows of part k, for `count` parts, of one expert after another.
     */
    organ_status (*digest)(const organ_cut_side *s, const struct recover_kind *kind, size_t layer, uint64_t count,
                           uint64_t *digests, organ_error *error);
    /* Extends the digests by further tensors; called for both models if parts of the donor have equal digests. NULL:
     * equal parts cannot be distinguished. */
    organ_status (*extend)(const organ_cut_side *s, size_t layer, uint64_t count, uint64_t *digests,
                           organ_error *error);
} recover_kind;

static uint64_t count_experts(const organ_cut_side *s, size_t layer) { return organ_cut_experts(s->model, layer); }

static organ_status digest_experts(const organ_cut_side *s, const recover_kind *kind, size_t layer, uint64_t count,
                                   uint64_t *digests, organ_error *error)
{
    const organ_weight *const router = recover_weight_of(s->weights, layer, ORGAN_ROLE_ROUTER);
    (void)kind;
    return router ? fold_rows(s, router, (rows_of){0, 1, 0, count, 0}, digests, error) : ORGAN_OK;
}

/* Returns whether two parts have the same digest. */
static bool has_equal_digests(const uint64_t *digests, uint64_t count)
{
    for (uint64_t a = 0; a < count; a++)
        for (uint64_t b = 0; b < a; b++)
            if (digests[a] == digests[b])
                return true;
    return false;
}

/* Implements recover_kind.extend for experts, by their up projections. */
static organ_status digest_matrices(const organ_cut_side *s, size_t layer, uint64_t count, uint64_t *digests,
                                    organ_error *error)
{
    for (size_t k = 0; k < s->weights->count && !error->status; k++) {
        const organ_weight *const w = &s->weights->weights[k];
        const organ_matrices m = organ_weight_matrices(w);
        const bool is_up = w->anatomy.layer == (int32_t)layer && w->anatomy.experts == ORGAN_EXPERTS_ROUTED &&
                           (w->anatomy.role == ORGAN_ROLE_UP || w->anatomy.role == ORGAN_ROLE_GATE_UP) && w->rank > 1;
        if (is_up && w->anatomy.expert < 0 && m.rows && m.count == count)
            fold_rows(s, w, (rows_of){0, m.rows, 0, count, 0}, digests, error);
        else if (is_up && w->anatomy.expert >= 0 && (uint64_t)w->anatomy.expert < count && m.rows)
            fold_rows(s, w, (rows_of){0, m.rows, (uint64_t)w->anatomy.expert, 1, 0}, digests, error);
    }
    return error->status;
}

static uint64_t count_channels(const organ_cut_side *s, size_t layer)
{
    const organ_weight *const down = recover_weight_of(s->weights, layer, ORGAN_ROLE_DOWN);
    return down ? down->shape[1] : 0;
}

static uint64_t count_shared_channels(const organ_cut_side *s, size_t layer)
{
    return organ_cut_channels(s->model, s->weights, layer, ORGAN_EXPERTS_SHARED);
}

static uint64_t count_expert_channels(const organ_cut_side *s, size_t layer)
{
    return organ_cut_channels(s->model, s->weights, layer, ORGAN_EXPERTS_ROUTED);
}

static const organ_role channel_roles[] = {ORGAN_ROLE_UP, ORGAN_ROLE_GATE, ORGAN_ROLE_GATE_UP};
#define CHANNEL_ROLES (sizeof channel_roles / sizeof *channel_roles)

static organ_status digest_channels(const organ_cut_side *s, const recover_kind *kind, size_t layer, uint64_t count,
                                    uint64_t *digests, organ_error *error)
{
    for (size_t k = 0; k < CHANNEL_ROLES && !error->status; k++) {
        const organ_weight *const w = weight_among(s->weights, layer, channel_roles[k], kind->experts);
        if (w)
            fold_rows(s, w, (rows_of){0, 1, 0, count, 0}, digests, error);
    }
    return error->status;
}

static uint64_t count_heads(const organ_cut_side *s, size_t layer)
{
    const bool known = s->model->config.num_attention_heads > 0 && recover_weight_of(s->weights, layer, ORGAN_ROLE_O);
    return known ? organ_kv_heads(&s->model->config) : 0;
}

/* A fused matrix has all rows of Q, then of K, then of V. */
static organ_status digest_heads(const organ_cut_side *s, const recover_kind *kind, size_t layer, uint64_t count,
                                 uint64_t *digests, organ_error *error)
{
    static const organ_role roles[] = {ORGAN_ROLE_K, ORGAN_ROLE_V};
    const uint64_t heads = (uint64_t)s->model->config.num_attention_heads;
    const organ_weight *const o = recover_weight_of(s->weights, layer, ORGAN_ROLE_O);
    const organ_weight *const fused = recover_weight_of(s->weights, layer, ORGAN_ROLE_QKV);
    const uint64_t head = o->shape[1] / heads;
    (void)kind;
    if (head == 0 || o->shape[1] % heads)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: layer %zu: the columns of '%s' are not those of %llu heads",
                          s->model->path, layer, o->name, (unsigned long long)heads);
    if (fused)
        return fold_rows(s, fused, (rows_of){heads * head, head, 0, count, 0}, digests, error);
    for (size_t k = 0; k < 2; k++) {
        const organ_weight *const w = recover_weight_of(s->weights, layer, roles[k]);
        if (w && fold_rows(s, w, (rows_of){0, head, 0, count, 0}, digests, error))
            return error->status;
    }
    return ORGAN_OK;
}

/* The digest of channel c of expert e is digests[e * count + c]. Weights whose rows are not those of `count`
 * channels are skipped. The loop visits all weights once for each role, so that digests of a channel's rows are always
 * in the same order. */
static organ_status digest_expert_channels(const organ_cut_side *s, const recover_kind *kind, size_t layer,
                                           uint64_t count, uint64_t *digests, organ_error *error)
{
    const uint64_t experts = organ_cut_experts(s->model, layer);
    for (size_t k = 0; k < CHANNEL_ROLES * s->weights->count && !error->status; k++) {
        const organ_role role = channel_roles[k / s->weights->count];
        const organ_weight *const w = &s->weights->weights[k % s->weights->count];
        const organ_matrices m = organ_weight_matrices(w);
        const bool fused = role == ORGAN_ROLE_GATE_UP, transposed = organ_tensor_is_crossed(s->model, w->codes);
        if (w->anatomy.layer != (int32_t)layer || w->anatomy.role != role || w->anatomy.experts != kind->experts ||
            (transposed ? m.cols : m.rows) != (fused ? 2 : 1) * count)
            continue;
        if (transposed && m.count == experts)
            fold_columns(s, w, count, organ_tensor_has_pairs(s->model, w->codes), digests, error);
        else if (w->anatomy.expert < 0 && m.count == experts)
            fold_rows(s, w, (rows_of){0, 1, 0, experts * count, fused ? count : 0}, digests, error);
        else if (w->anatomy.expert >= 0 && (uint64_t)w->anatomy.expert < experts)
            fold_rows(s, w, (rows_of){0, 1, (uint64_t)w->anatomy.expert * count, count, 0}, digests, error);
    }
    return error->status;
}

/* Experts, whose number is needed for their channels, come first. */
static const recover_kind kinds[] = {
    {"expert", ORGAN_EXPERTS_NONE, count_experts, digest_experts, digest_matrices},
    {"channel", ORGAN_EXPERTS_NONE, count_channels, digest_channels, NULL},
    {"head of K and V", ORGAN_EXPERTS_NONE, count_heads, digest_heads, NULL},
    {"shared expert: channel", ORGAN_EXPERTS_SHARED, count_shared_channels, digest_channels, NULL},
    {NULL, ORGAN_EXPERTS_ROUTED, count_expert_channels, digest_expert_channels, NULL}};

/* The parts of a kind in a layer of both models: `owners` experts, or the layer itself (1), have `each` parts. */
typedef struct recover_parts {
    size_t owners[2], each[2]; /* in the donor, in the copy */
    uint64_t *digests[2];
} recover_parts;

static organ_status digest_parts(organ_cut_audit *a, const recover_kind *k, const size_t layers[2], recover_parts *p,
                                 organ_error *error)
{
    const organ_cut_side *const sides[] = {&a->donor, &a->copy};
    for (size_t i = 0; i < 2 && !error->status; i++) {
        p->digests[i] = calloc(p->owners[i], p->each[i] * sizeof **p->digests);
        if (!p->digests[i])
            organ_fail_memory(error, a->copy.model->path);
        else
            k->digest(sides[i], k, layers[i], p->each[i], p->digests[i], error);
    }
    if (error->status || !k->extend || !has_equal_digests(p->digests[0], p->each[0]))
        return error->status;
    for (size_t i = 0; i < 2 && !error->status; i++)
        k->extend(sides[i], layers[i], p->each[i], p->digests[i], error);
    return error->status;
}

/* `keep` has an element for each owner in the donor. */
static organ_status match_parts(organ_cut_audit *a, const recover_kind *k, size_t layer, const recover_parts *p,
                                organ_cut_keep *keep, organ_error *error)
{
    const bool of_experts = k->experts == ORGAN_EXPERTS_ROUTED;
    const uint32_t *const kept = of_experts ? a->kept[layer].experts.numbers : NULL;
    char expert[48];
    for (size_t o = 0; o < p->owners[1] && !error->status; o++) {
        const size_t owner = kept ? kept[o] : o;
        snprintf(expert, sizeof expert, "expert %zu: channel", o);
        if (owner < p->owners[0])
            match_digests(a, layer, of_experts ? expert : k->what, p->digests[0] + owner * p->each[0], p->each[0],
                          p->digests[1] + o * p->each[1], p->each[1], &keep[owner], error);
    }
    return error->status;
}

/* `becomes` is the number of the layer in the copy. `keep` gets the kept parts; for channels of routed experts it is
 * NULL, and a->kept[layer].expert_channels gets a list of all experts. Both stay unchanged if the copy has no parts of
 * this kind, or not fewer than the donor. */
static organ_status find_kept_parts(organ_cut_audit *a, const recover_kind *k, size_t layer, size_t becomes,
                                    organ_cut_keep *keep, organ_error *error)
{
    const organ_cut_keep *const experts = &a->kept[layer].experts;
    organ_cut_keep *kept_of_owners = keep;
    recover_parts p = {.owners = {1, 1},
                       .each = {(size_t)k->count(&a->donor, layer), (size_t)k->count(&a->copy, becomes)}};
    if (p.each[1] >= p.each[0] || p.each[1] == 0)
        return ORGAN_OK;
    if (k->experts == ORGAN_EXPERTS_ROUTED) {
        p.owners[0] = (size_t)organ_cut_experts(a->donor.model, layer);
        p.owners[1] = (size_t)organ_cut_experts(a->copy.model, becomes);
        if ((experts->numbers ? experts->count : p.owners[0]) != p.owners[1])
            return ORGAN_OK;
        if (!(kept_of_owners = organ_arena_take(&a->arena, (p.owners[0] + 1) * sizeof *keep)))
            return organ_fail_memory(error, a->copy.model->path);
        memset(kept_of_owners, 0, p.owners[0] * sizeof *keep);
        a->kept[layer].expert_channels = kept_of_owners;
    }
    if (digest_parts(a, k, (const size_t[]){layer, becomes}, &p, error) == ORGAN_OK)
        match_parts(a, k, layer, &p, kept_of_owners, error);
    ORGAN_FREE_ARRAYS(p.digests[0], p.digests[1]);
    return error->status;
}

organ_status organ_cut_recover(organ_cut_audit *a, organ_error *error)
{
    a->donor.layers = organ_cut_layers(a->donor.model);
    a->copy.layers = organ_cut_layers(a->copy.model);
    a->kept = calloc(a->donor.layers + 1, sizeof *a->kept);
    if (!a->kept)
        return organ_fail_memory(error, a->copy.model->path);
    if (a->copy.layers < a->donor.layers && match_blocks(a, error))
        return error->status;
    for (size_t l = 0, becomes = 0; l < a->donor.layers && !error->status; l++) {
        organ_cut_layer *const layer = &a->kept[l];
        /* where the kept parts are stored, in the order of `kinds` */
        organ_cut_keep *const keeps[] = {&layer->experts, &layer->channels, &layer->kv_heads, &layer->shared_channels,
                                         NULL};
        if (layer->dropped)
            continue;
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds && !error->status; k++)
            find_kept_parts(a, &kinds[k], l, becomes, keeps[k], error);
        becomes++;
    }
    return error->status;
}
