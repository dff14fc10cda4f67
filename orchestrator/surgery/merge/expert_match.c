/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/merge/expert_match.h"

#include "formats/tensor/tensor_list.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/solve/algebra.h"
#include "orchestrator/solve/assign.h"
#include "orchestrator/stream/memory.h"

#include <math.h>
#include <organ/architecture.h>
#include <stdlib.h>
#include <string.h>

#define SAMPLE  4096 /* values of each matrix of an expert that are compared, or one row */
#define CLEARLY 0.64 /* experts are reordered if the squared distance falls to less than this share of it, ... */
#define NEAR    1e-4 /* and if it was larger than this for each of them */

/* ---- the parts of a layer ---- */

static bool is_matrix(const organ_weight *w)
{
    const organ_role role = w->anatomy.role;
    return w->anatomy.experts == ORGAN_EXPERTS_ROUTED && w->anatomy.expert < 1 && w->rank >= 2 &&
           (role == ORGAN_ROLE_GATE || role == ORGAN_ROLE_UP || role == ORGAN_ROLE_GATE_UP || role == ORGAN_ROLE_DOWN);
}

static bool is_router(const organ_weight *w)
{
    return w->anatomy.role == ORGAN_ROLE_ROUTER && w->rank == 2 && organ_anatomy_is_router(w->name);
}

static const organ_weight *weight_of(const organ_expert_match *m, size_t source, const organ_weight *like,
                                     size_t expert)
{
    return m->find(m->context, source, like, expert).weight;
}

/* Returns NULL, or the reason why the experts of the source cannot be matched. */
static const char *unfit(const organ_expert_match *m, size_t source)
{
    if (m->experts % m->groups)
        return "the router has another number of experts than the configuration";
    for (size_t k = 1; k < m->part_count; k++) {
        const organ_weight *const like = m->parts[k].like;
        const organ_matrices all = organ_weight_matrices(like);
        const bool stack = like->anatomy.expert < 0;
        if (stack && (like->rank == 2 ? all.rows % m->experts != 0 : like->shape[0] != m->experts))
            return "the router has another number of experts than the stacks";
        if (!stack && (!weight_of(m, source, like, m->experts - 1) || weight_of(m, source, like, m->experts)))
            return "the router has another number of experts than there are";
    }
    return NULL;
}

organ_status organ_expert_match_check(organ_expert_match *m, const organ_model *model, unsigned *groups, size_t source,
                                      const char **why, organ_error *error)
{
    organ_forward_config config;
    if (!*groups) {
        if (organ_forward_config_read(model, &config, error))
            return error->status;
        *groups = config.router_groups > 1 ? config.router_groups : 1;
        organ_forward_config_release(&config);
    }
    m->groups = *groups;
    *why = *why ? *why : unfit(m, source);
    return ORGAN_OK;
}

static void add_part(organ_expert_match *m, const organ_weight *like)
{
    const organ_matrices all = organ_weight_matrices(like);
    const bool one = like->anatomy.expert >= 0;
    const size_t each = (size_t)(all.count * all.rows / (one ? 1 : m->experts)), cols = (size_t)all.cols,
                 rows = cols < SAMPLE ? SAMPLE / cols : 1;
    organ_expert_part *const part = &m->parts[m->part_count++];
    *part = (organ_expert_part){.like = like, .each = each, .rows = rows < each ? rows : each, .cols = cols};
    m->width += part->rows * cols;
}

bool organ_expert_match_find(organ_expert_match *m, const organ_weights *weights, int32_t layer, const char **why)
{
    size_t routers = 0, matrices = 0;
    *why = NULL;
    for (size_t pass = 0; pass < 2; pass++) /* the router first: its rows are the number of experts */
        for (size_t k = 0; k < weights->count; k++) {
            const organ_weight *const w = &weights->weights[k];
            if (w->anatomy.layer != layer || w->elements == 0)
                continue;
            if (w->anatomy.role == ORGAN_ROLE_ROUTER && !organ_weight_has_numbers(w))
                *why = "a table has their numbers";
            else if (pass == 0 && is_router(w) && routers++ == 0) {
                m->experts = (size_t)w->shape[0];
                add_part(m, w);
            } else if (pass == 1 && routers && is_matrix(w) && matrices++ < ORGAN_EXPERT_PARTS - 1)
                add_part(m, w);
        }
    if (routers > 1 || matrices > ORGAN_EXPERT_PARTS - 1)
        *why = "there is more than one router";
    return routers && matrices && m->experts > 1;
}

bool organ_expert_match_has(const organ_expert_match *m, size_t source)
{
    for (size_t k = 0; k < m->part_count; k++)
        for (size_t e = 0; e < m->experts; e++) {
            const organ_weight *const w = weight_of(m, source, m->parts[k].like, e);
            if (!w || !ORGAN_SAME_SHAPE(w, m->parts[k].like))
                return false;
            if (m->parts[k].like->anatomy.expert < 0)
                break;
        }
    return true;
}

/* ---- memory ---- */

/* Sets the pointers of *m to parts of m->memory, unless it is NULL, and returns the bytes of all parts. */
static size_t place_parts(organ_expert_match *m, size_t models)
{
    const size_t n = m->experts;
    size_t rows = 0, at = 0, room = organ_max(organ_assign_groups_room(n, m->groups), organ_assign_room(n));
    for (size_t k = 0; k < m->part_count; k++)
        rows = organ_max(rows, m->parts[k].rows * m->parts[k].cols);
    room = organ_max(room, ORGAN_PRODUCT_SCRATCH);
    /* of signatures, rows, product, gain, row_of, unit and room, in this order */
    const size_t sizes[] = {models * n * m->width * sizeof(float),
                            n * rows * sizeof(float),
                            n * n * sizeof(float),
                            n * n * sizeof(double),
                            n * sizeof(size_t),
                            n * sizeof(size_t),
                            room};
    unsigned char *parts[sizeof sizes / sizeof *sizes];
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        parts[k] = m->memory ? m->memory + at : NULL;
        at += organ_to_line(sizes[k]);
    }
    m->signatures = (float *)(void *)parts[0];
    m->rows = (float *)(void *)parts[1];
    m->product = (float *)(void *)parts[2];
    m->gain = (double *)(void *)parts[3];
    m->row_of = (size_t *)(void *)parts[4];
    m->unit = (size_t *)(void *)parts[5];
    m->room = parts[6];
    return at;
}

size_t organ_expert_match_memory(organ_expert_match *m, size_t models)
{
    m->memory = NULL;
    return place_parts(m, models);
}

organ_status organ_expert_match_open(organ_expert_match *m, size_t models, const char *what, organ_error *error)
{
    const size_t bytes = organ_expert_match_memory(m, models);
    if (organ_memory_claim(m->engine, bytes, error, "%s", what))
        return error->status;
    m->memory = aligned_alloc(64, bytes);
    if (!m->memory)
        return organ_fail_memory(error, m->label);
    place_parts(m, models);
    return ORGAN_OK;
}

void organ_expert_match_close(organ_expert_match *m) { organ_clear(&m->memory); }

static float *signature(const organ_expert_match *m, size_t place, size_t expert)
{
    return m->signatures + (place * m->experts + expert) * m->width;
}

/* ---- signatures ---- */

/* Reads rows of `count` experts of a weight, one after another. */
static organ_status read_experts(const organ_expert_match *m, const organ_merge_input *input,
                                 const organ_expert_part *part, size_t count, float *rows, organ_error *error)
{
    const organ_kernels *const kernels = m->engine->kernels;
    const size_t n = part->rows * part->cols;
    ORGAN_RELEASED_BY(organ_merge_reader_close) organ_merge_reader reader = {0};
    size_t scratch = 0;
    if (organ_merge_reader_scratch(input, kernels, part->rows, &scratch, error))
        return error->status;
    ORGAN_OWNED unsigned char *const room = aligned_alloc(64, scratch + organ_to_line(n * sizeof(float)) + 64);
    float *const strip = (float *)(void *)(room + scratch);
    if (!room)
        return organ_fail_memory(error, input->weight->name);
    organ_merge_reader_open(input, kernels, &reader, error);
    for (size_t e = 0; e < count && !error->status; e++)
        if (organ_merge_reader_read(&reader, e * part->each + (part->each - part->rows) / 2, part->rows, strip, room,
                                    error) == ORGAN_OK)
            memcpy(rows + e * n, strip, n * sizeof *rows);
    return error->status;
}

/* Reads the rows of all experts: of one weight with all of them, or of as many weights. */
static organ_status read_part(const organ_expert_match *m, size_t source, const organ_expert_part *part,
                              organ_error *error)
{
    const size_t weights = part->like->anatomy.expert < 0 ? 1 : m->experts;
    for (size_t e = 0; e < weights && !error->status; e++) {
        const organ_merge_input input = m->find(m->context, source, part->like, e);
        read_experts(m, &input, part, m->experts / weights, m->rows + e * part->rows * part->cols, error);
    }
    return error->status;
}

/* Each part of a signature is a unit vector over the root of the number of parts, so that the product of two
 * signatures is the mean cosine. */
static void add_to_signatures(const organ_expert_match *m, const organ_expert_part *part, float *signatures)
{
    const size_t n = part->rows * part->cols;
    for (size_t e = 0; e < m->experts; e++) {
        float *const from = m->rows + e * n, *const to = signatures + e * m->width;
        for (size_t k = 0; k < n; k++)
            from[k] = isfinite(from[k]) ? from[k] : 0;
        const double norm = sqrt(organ_dot(from, from, n) * (double)m->part_count);
        for (size_t k = 0; k < n; k++)
            to[k] = norm > 0 ? (float)((double)from[k] / norm) : 0;
    }
}

organ_status organ_expert_match_sign(const organ_expert_match *m, size_t source, size_t place, organ_error *error)
{
    float *values = signature(m, place, 0);
    if (organ_stop_is_requested(m->engine->stop))
        return organ_fail(error, ORGAN_INTERRUPTED, "interrupted");
    for (size_t k = 0; k < m->part_count && !error->status; k++) {
        if (read_part(m, source, &m->parts[k], error) == ORGAN_OK)
            add_to_signatures(m, &m->parts[k], values);
        values += m->parts[k].rows * m->parts[k].cols;
    }
    return error->status;
}

/* ---- orders ---- */

/* Returns the squared distance of two experts' signatures of the length 1: 2 - 2 times their product. */
static double distance_of(const organ_expert_match *m, size_t expert, size_t other)
{
    const double d = 2 - 2 * m->gain[expert * m->experts + other];
    return d > 0 ? d : 0;
}

/* Experts that can only be reordered together get the number of one of them: those of a cycle, or of all groups that
 * a cycle of groups takes to one another. */
static void find_units(const organ_expert_match *m)
{
    const size_t none = SIZE_MAX, size = m->experts / m->groups;
    for (size_t e = 0; e < m->experts; e++)
        m->unit[e] = none;
    for (size_t e = 0; e < m->experts; e++)
        for (size_t at = e; m->unit[at] == none; at = m->row_of[at]) {
            const bool whole = m->row_of[at] / size != at / size;
            m->unit[at] = e;
            for (size_t k = at / size * size; k < (at / size + 1) * size && whole; k++)
                m->unit[k] = e;
        }
}

/* Units whose distance does not fall clearly keep their order. */
static void keep_unclear(const organ_expert_match *m)
{
    find_units(m);
    for (size_t e = 0; e < m->experts; e++) {
        double before = 0, after = 0;
        size_t count = 0;
        for (size_t k = 0; k < m->experts; k++)
            if (m->unit[k] == e) {
                before += distance_of(m, k, k);
                after += distance_of(m, k, m->row_of[k]);
                count++;
            }
        const bool clearly = after < CLEARLY * before && before > NEAR * (double)count;
        for (size_t k = 0; k < m->experts && !clearly; k++)
            if (m->unit[k] == e) {
                m->row_of[k] = k;
                m->unit[k] = SIZE_MAX;
            }
    }
}

static double all_distances(const organ_expert_match *m)
{
    double sum = 0;
    for (size_t e = 0; e < m->experts; e++)
        sum += distance_of(m, e, m->row_of[e]);
    return sum;
}

/* Whether no expert is far from that of the same number, so that none will be reordered. */
static bool is_in_order(const organ_expert_match *m, size_t place, size_t other)
{
    for (size_t e = 0; e < m->experts; e++)
        if (organ_expert_match_distance(m, place, e, other, e, /*router=*/false) > NEAR / 2)
            return false;
    return true;
}

bool organ_expert_match_order(const organ_expert_match *m, size_t place, size_t other)
{
    const size_t n = m->experts;
    const organ_product product = {.m = n,
                                   .n = n,
                                   .k = m->width,
                                   .a = organ_by_rows(signature(m, place, 0), m->width),
                                   .b = organ_by_rows(signature(m, other, 0), m->width),
                                   .c = m->product,
                                   .c_stride = n};
    for (size_t e = 0; e < n; e++)
        m->row_of[e] = e;
    if (is_in_order(m, place, other))
        return false;
    m->engine->kernels->product(&product, m->room);
    for (size_t k = 0; k < n * n; k++)
        m->gain[k] = (double)m->product[k];
    organ_assign(n, m->gain, m->row_of, m->room);
    const double free_of_groups = all_distances(m);
    organ_assign_groups(n, m->groups, m->gain, m->row_of, m->room);
    keep_unclear(m);
    return m->groups > 1 && free_of_groups < CLEARLY * all_distances(m) && all_distances(m) > NEAR * (double)n;
}

double organ_expert_match_distance(const organ_expert_match *m, size_t place, size_t expert, size_t other,
                                   size_t other_expert, bool router)
{
    const float *const a = signature(m, place, expert), *const b = signature(m, other, other_expert);
    const size_t width = router ? m->parts[0].rows * m->parts[0].cols : m->width;
    double sum = 0;
    for (size_t k = 0; k < width; k++) {
        const double d = (double)a[k] - (double)b[k];
        sum += d * d;
    }
    return router ? sum * (double)m->part_count : sum;
}

/* ---- use ---- */

size_t organ_expert_number(const uint32_t *own, const uint32_t *other, size_t experts, size_t expert)
{
    size_t place = 0;
    if (expert >= experts)
        return expert;
    while (own && own[place] != expert)
        place++;
    place = own ? place : expert;
    return other ? other[place] : place;
}

organ_expert_entries organ_expert_entries_of(const organ_weight *weight, size_t experts)
{
    const organ_matrices m = organ_weight_matrices(weight);
    const uint64_t rows = m.count * m.rows;
    const bool other = weight->anatomy.role == ORGAN_ROLE_OTHER && strstr(weight->name, "expert");
    if (weight->anatomy.expert >= 0 || (!other && !organ_anatomy_follows_experts(weight->name, &weight->anatomy)))
        return ORGAN_EXPERT_ENTRIES_NONE;
    return (rows == 1 ? m.cols != experts : rows % experts != 0) ? ORGAN_EXPERT_ENTRIES_UNKNOWN
                                                                 : ORGAN_EXPERT_ENTRIES_EACH;
}
