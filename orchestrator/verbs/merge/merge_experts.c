/* SPDX-License-Identifier: MIT
 * Matches the experts of a layer's sources with those of one of them, the reference, by the cosines of their rows in
 * the router and of some rows of their matrices. docs/definitions/merging.md */
#include "orchestrator/verbs/merge/merge_job.h"

#include "formats/tensor/tensor_list.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/solve/algebra.h"
#include "orchestrator/solve/assign.h"
#include "orchestrator/stream/memory.h"
#include "orchestrator/stream/product.h"

#include <math.h>
#include <organ/architecture.h>
#include <stdlib.h>
#include <string.h>

#define SAMPLE  4096 /* values of each matrix of an expert that are compared, or one row */
#define PARTS   4    /* the router, gate, up and down */
#define CLEARLY 0.64 /* experts are reordered if the squared distance falls to less than this share of it, ... */
#define NEAR    1e-4 /* and if it was larger than this for each of them */

/* Rows of a tensor of the reference by which experts are compared. */
typedef struct expert_part {
    const organ_weight *like; /* of all experts, or of expert 0 */
    size_t each, rows, cols;  /* rows of an expert, how many of them are read, and their length */
} expert_part;

/* The matching of a layer. */
typedef struct expert_match {
    model_merge *job;
    const merge_slice *slice;
    uint64_t layer; /* within the slice */
    size_t experts, groups, part_count;
    expert_part parts[PARTS];
    size_t width;             /* values of a signature */
    float *reference, *other; /* signatures: `width` values of each expert, whose squares add up to 1 */
    float *rows, *product;    /* rows of all experts of a part; products of signatures */
    double *gain;             /* the same as FP64 */
    size_t *row_of, *unit;    /* expert of the source for each of the reference; find_units */
    unsigned char *room;      /* of assignments and products */
} expert_match;

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

static const merge_donor *donor_of(const expert_match *m, size_t source)
{
    return &m->job->donors[m->slice->sources[source].donor];
}

/* Returns the tensor of a source that `like` is in the reference, of expert `expert` if `like` is that of one. */
static const organ_weight *weight_of(const expert_match *m, size_t source, const organ_weight *like, size_t expert)
{
    char name[MERGE_NAME];
    const int32_t layer = (int32_t)(m->slice->sources[source].first + m->layer),
                  number = like->anatomy.expert < 0 ? -1 : (int32_t)expert;
    if (!organ_anatomy_renumber(like->name, layer, number, name, sizeof name))
        return NULL;
    return organ_merge_find_weight(m->job, donor_of(m, source), name, &like->anatomy);
}

/* Returns why experts of the layer cannot be reordered; NULL: they can. */
static const char *unfit(const expert_match *m, size_t reference)
{
    if (m->experts % m->groups)
        return "the router has another number of experts than the configuration";
    for (size_t k = 1; k < m->part_count; k++) {
        const organ_weight *const like = m->parts[k].like;
        const organ_matrices all = organ_weight_matrices(like);
        const bool stack = like->anatomy.expert < 0;
        if (stack && (like->rank == 2 ? all.rows % m->experts != 0 : like->shape[0] != m->experts))
            return "the router has another number of experts than the stacks";
        if (!stack && (!weight_of(m, reference, like, m->experts - 1) || weight_of(m, reference, like, m->experts)))
            return "the router has another number of experts than there are";
    }
    return NULL;
}

static void add_part(expert_match *m, const organ_weight *like)
{
    const organ_matrices all = organ_weight_matrices(like);
    const bool one = like->anatomy.expert >= 0;
    const size_t each = (size_t)(all.count * all.rows / (one ? 1 : m->experts)), cols = (size_t)all.cols,
                 rows = cols < SAMPLE ? SAMPLE / cols : 1;
    expert_part *const part = &m->parts[m->part_count++];
    *part = (expert_part){.like = like, .each = each, .rows = rows < each ? rows : each, .cols = cols};
    m->width += part->rows * cols;
}

/* Returns whether the layer has routed experts. Sets *why if their order is fixed, else to NULL. */
static bool find_parts(expert_match *m, size_t reference, const char **why)
{
    const merge_donor *const donor = donor_of(m, reference);
    const int32_t layer = (int32_t)(m->slice->sources[reference].first + m->layer);
    size_t routers = 0, matrices = 0;
    *why = NULL;
    for (size_t pass = 0; pass < 2; pass++) /* the router first: its rows are the number of experts */
        for (size_t k = 0; k < donor->weights->count; k++) {
            const organ_weight *const w = &donor->weights->weights[k];
            if (w->anatomy.layer != layer || w->elements == 0)
                continue;
            if (w->anatomy.role == ORGAN_ROLE_ROUTER && !organ_weight_has_numbers(w))
                *why = "a table has their numbers";
            else if (pass == 0 && is_router(w) && routers++ == 0) {
                m->experts = (size_t)w->shape[0];
                add_part(m, w);
            } else if (pass == 1 && routers && is_matrix(w) && matrices++ < PARTS - 1)
                add_part(m, w);
        }
    if (routers > 1 || matrices > PARTS - 1)
        *why = "there is more than one router";
    return routers && matrices && m->experts > 1;
}

/* ---- signatures ---- */

/* Reads rows of `count` experts of a weight, one after another. */
static organ_status read_experts(const expert_match *m, const organ_merge_input *input, const expert_part *part,
                                 size_t count, float *rows, organ_error *error)
{
    const organ_kernels *const kernels = m->job->engine->kernels;
    const size_t n = part->rows * part->cols;
    organ_merge_reader reader;
    size_t scratch = 0;
    if (organ_merge_reader_scratch(input, kernels, part->rows, &scratch, error))
        return error->status;
    unsigned char *const room = aligned_alloc(64, scratch + organ_to_line(n * sizeof(float)) + 64);
    float *const strip = (float *)(void *)(room + scratch);
    if (!room)
        return organ_fail_memory(error, input->weight->name);
    organ_merge_reader_open(input, kernels, &reader, error);
    for (size_t e = 0; e < count && !error->status; e++)
        if (organ_merge_reader_read(&reader, e * part->each + (part->each - part->rows) / 2, part->rows, strip, room,
                                    error) == ORGAN_OK)
            memcpy(rows + e * n, strip, n * sizeof *rows);
    organ_merge_reader_close(&reader);
    free(room);
    return error->status;
}

/* Reads the rows of all experts: of one weight with all of them, or of as many weights. */
static organ_status read_part(const expert_match *m, size_t source, const expert_part *part, organ_error *error)
{
    const size_t weights = part->like->anatomy.expert < 0 ? 1 : m->experts;
    for (size_t e = 0; e < weights && !error->status; e++) {
        const organ_weight *const w = weight_of(m, source, part->like, e);
        const organ_merge_input input = {.model = organ_merge_stored(donor_of(m, source)),
                                         .weight = w,
                                         .change = organ_adapted_change(&donor_of(m, source)->adapted, w)};
        read_experts(m, &input, part, m->experts / weights, m->rows + e * part->rows * part->cols, error);
    }
    return error->status;
}

/* Each part of a signature is a unit vector over the root of the number of parts, so that the product of two
 * signatures is the mean cosine. Values that are not finite count as 0: the merge itself refuses them by name. */
static void add_to_signatures(const expert_match *m, const expert_part *part, float *signatures)
{
    const size_t n = part->rows * part->cols;
    for (size_t e = 0; e < m->experts; e++) {
        float *const from = m->rows + e * n, *const to = signatures + e * m->width;
        for (size_t k = 0; k < n; k++)
            from[k] = from[k] - from[k] == 0 ? from[k] : 0;
        const double norm = sqrt(organ_dot(from, from, n) * (double)m->part_count);
        for (size_t k = 0; k < n; k++)
            to[k] = norm > 0 ? (float)((double)from[k] / norm) : 0;
    }
}

static organ_status make_signatures(const expert_match *m, size_t source, float *signatures, organ_error *error)
{
    for (size_t k = 0; k < m->part_count && !error->status; k++) {
        if (read_part(m, source, &m->parts[k], error) == ORGAN_OK)
            add_to_signatures(m, &m->parts[k], signatures);
        signatures += m->parts[k].rows * m->parts[k].cols;
    }
    return error->status;
}

/* ---- orders ---- */

/* The squared distance of two experts' signatures, of the length 1. */
static double distance(const expert_match *m, size_t expert, size_t other)
{
    const double d = 2 - 2 * m->gain[expert * m->experts + other];
    return d > 0 ? d : 0;
}

/* Experts that can only be reordered together get the number of one of them: those of a cycle, or of all groups that
 * a cycle of groups takes to one another. */
static void find_units(const expert_match *m)
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
static void keep_unclear(const expert_match *m)
{
    find_units(m);
    for (size_t e = 0; e < m->experts; e++) {
        double before = 0, after = 0;
        size_t count = 0;
        for (size_t k = 0; k < m->experts; k++)
            if (m->unit[k] == e) {
                before += distance(m, k, k);
                after += distance(m, k, m->row_of[k]);
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

static double all_distances(const expert_match *m)
{
    double sum = 0;
    for (size_t e = 0; e < m->experts; e++)
        sum += distance(m, e, m->row_of[e]);
    return sum;
}

static void find_order(const expert_match *m, size_t source)
{
    const size_t n = m->experts;
    const organ_product product = {.m = n,
                                   .n = n,
                                   .k = m->width,
                                   .a = organ_by_rows(m->reference, m->width),
                                   .b = organ_by_rows(m->other, m->width),
                                   .c = m->product,
                                   .c_stride = n};
    m->job->engine->kernels->product(&product, m->room);
    for (size_t k = 0; k < n * n; k++)
        m->gain[k] = (double)m->product[k];
    organ_assign(n, m->gain, m->row_of, m->room);
    const double free_of_groups = all_distances(m);
    organ_assign_groups(n, m->groups, m->gain, m->row_of, m->room);
    keep_unclear(m);
    if (m->groups > 1 && free_of_groups < CLEARLY * all_distances(m) && all_distances(m) > NEAR * (double)n)
        organ_say(m->job->recipe.warnings,
                  "layer %llu: experts of %s are in other groups of the router, which they keep: they are matched as "
                  "far as groups stay together",
                  (unsigned long long)(m->slice->first + m->layer), donor_of(m, source)->name);
}

/* The same from the differences of values: 0 for equal experts. */
static double exact_distance(const expert_match *m, size_t expert, size_t other)
{
    const float *const a = m->reference + expert * m->width, *const b = m->other + other * m->width;
    double sum = 0;
    for (size_t k = 0; k < m->width; k++) {
        const double d = (double)a[k] - (double)b[k];
        sum += d * d;
    }
    return sum;
}

/* Adds a row of the report. */
static organ_status note_match(const expert_match *m, size_t source, size_t *reordered, organ_error *error)
{
    model_merge *const job = m->job;
    merge_match match = {.layer = (int32_t)(m->slice->first + m->layer),
                         .donor = m->slice->sources[source].donor,
                         .experts = m->experts};
    for (size_t e = 0; e < m->experts && !job->options->write.dry_run; e++) {
        match.reordered += m->row_of[e] != e;
        match.in_order += exact_distance(m, e, e) / (double)m->experts;
        match.distance += exact_distance(m, e, m->row_of[e]) / (double)m->experts;
    }
    *reordered = match.reordered;
    if (!organ_grow(&job->matches, job->match_count, &job->match_room, sizeof *job->matches))
        return organ_fail_memory(error, job->recipe.label);
    job->matches[job->match_count++] = match;
    return ORGAN_OK;
}

static organ_status match_source(const expert_match *m, size_t source, const uint32_t **order, organ_error *error)
{
    size_t reordered = 0;
    if (make_signatures(m, source, m->other, error))
        return error->status;
    find_order(m, source);
    if (note_match(m, source, &reordered, error) || reordered == 0)
        return error->status;
    uint32_t *const made = organ_arena_take(&m->job->arena, m->experts * sizeof *made);
    if (!made)
        return organ_fail_memory(error, m->job->recipe.label);
    for (size_t e = 0; e < m->experts; e++)
        made[e] = (uint32_t)m->row_of[e];
    *order = made;
    return ORGAN_OK;
}

/* ---- a layer ---- */

/* Sets the pointers of *m to parts of `memory`, which may be NULL, and returns the bytes of all parts. */
static size_t place(expert_match *m, unsigned char *memory)
{
    const size_t n = m->experts;
    size_t rows = 0, at = 0, room = organ_max(organ_assign_groups_room(n, m->groups), organ_assign_room(n));
    for (size_t k = 0; k < m->part_count; k++)
        rows = organ_max(rows, m->parts[k].rows * m->parts[k].cols);
    room = organ_max(room, ORGAN_PRODUCT_SCRATCH);
    const size_t sizes[] = {
        n * m->width * sizeof(float), n * m->width * sizeof(float), n * rows * sizeof(float), n * n * sizeof(float),
        n * n * sizeof(double),       n * sizeof(size_t),           n * sizeof(size_t),       room};
    unsigned char *parts[sizeof sizes / sizeof *sizes];
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        parts[k] = memory ? memory + at : NULL;
        at += organ_to_line(sizes[k]);
    }
    m->reference = (float *)(void *)parts[0];
    m->other = (float *)(void *)parts[1];
    m->rows = (float *)(void *)parts[2];
    m->product = (float *)(void *)parts[3];
    m->gain = (double *)(void *)parts[4];
    m->row_of = (size_t *)(void *)parts[5];
    m->unit = (size_t *)(void *)parts[6];
    m->room = parts[7];
    return at;
}

/* Returns whether the source has all parts in the shapes of the reference. The outline refuses the tensors of other
 * layers. */
static bool has_parts(const expert_match *m, size_t source)
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

/* Adds the work of a dry run to the plan, and rows without results to the report. */
static organ_status plan_layer(expert_match *m, size_t reference, organ_error *error)
{
    organ_plan *const plan = &m->job->plan;
    const double n = (double)m->experts;
    size_t reordered;
    organ_plan_memory(plan, place(m, NULL), 0);
    for (size_t s = 0; s < m->slice->source_count && !error->status; s++) {
        if (!has_parts(m, s))
            continue;
        for (size_t k = 0; k < m->part_count; k++) {
            const organ_weight *const w = m->parts[k].like;
            plan->bytes += (double)organ_weight_bytes(w) * (w->anatomy.expert < 0 ? 1 : n) * (double)m->parts[k].rows /
                           (double)m->parts[k].each;
        }
        if (s == reference)
            continue;
        plan->products += 2 * n * n * (double)m->width;
        note_match(m, s, &reordered, error);
    }
    return error->status;
}

static organ_status match_layer(expert_match *m, size_t reference, const uint32_t **orders, organ_error *error)
{
    const size_t bytes = place(m, NULL);
    if (organ_memory_claim(m->job->engine, bytes, error, "the experts of a layer of two models"))
        return error->status;
    unsigned char *const memory = aligned_alloc(64, bytes);
    if (!memory)
        return organ_fail_memory(error, m->job->recipe.label);
    place(m, memory);
    make_signatures(m, reference, m->reference, error);
    for (size_t k = 0; k < m->slice->source_count && !error->status; k++) {
        if (organ_stop_is_requested(m->job->engine->stop))
            organ_fail(error, ORGAN_INTERRUPTED, "interrupted");
        else if (k != reference && has_parts(m, k))
            match_source(m, k, &orders[k], error);
    }
    free(memory);
    return error->status;
}

/* Sets job->expert_groups: the router of the output chooses experts of some of as many groups. */
static bool know_groups(model_merge *job)
{
    organ_forward_config config;
    organ_error fault = {0};
    if (job->expert_groups)
        return true;
    if (organ_forward_config_read(job->donors[job->host].model, &config, &fault)) {
        organ_say(job->recipe.warnings, "experts are not matched: %s", fault.message);
        job->experts_fixed = true;
        return false;
    }
    job->expert_groups = config.router_groups > 1 ? config.router_groups : 1;
    organ_forward_config_release(&config);
    return true;
}

organ_status organ_merge_match_experts(model_merge *job, const merge_slice *slice, uint64_t layer, size_t reference,
                                       merge_orders *orders, organ_error *error)
{
    expert_match m = {.job = job, .slice = slice, .layer = layer};
    const char *why;
    *orders = (merge_orders){0};
    if (job->experts_fixed || slice->source_count < 2 || strcmp(job->options->match_experts, "off") == 0 ||
        !find_parts(&m, reference, &why) || !know_groups(job))
        return error->status;
    m.groups = job->expert_groups;
    why = why ? why : unfit(&m, reference);
    if (why) {
        if (!job->experts_unfit)
            organ_say(job->recipe.warnings, "experts of layer %llu are not matched, nor those of others like it: %s",
                      (unsigned long long)(slice->first + layer), why);
        job->experts_unfit = true;
        return error->status;
    }
    orders->experts = m.experts;
    orders->of = organ_arena_take(&job->arena, slice->source_count * sizeof *orders->of);
    if (!orders->of)
        return organ_fail_memory(error, job->recipe.label);
    memset(orders->of, 0, slice->source_count * sizeof *orders->of);
    if (!job->matching)
        organ_progress_begin(job->progress, "matching experts", 0, (size_t)job->donors[job->host].layers);
    job->matching = true;
    job->options->write.dry_run ? plan_layer(&m, reference, error) : match_layer(&m, reference, orders->of, error);
    organ_progress_advance(job->progress, 0, m.parts[0].like->name, NULL);
    return error->status;
}

/* ---- use ---- */

size_t organ_merge_expert_in(const merge_orders *orders, size_t from, size_t to, size_t expert)
{
    size_t output = 0;
    if (!orders->of || expert >= orders->experts)
        return expert;
    const uint32_t *const own = orders->of[from], *const other = to == MERGE_NONE ? NULL : orders->of[to];
    while (own && own[output] != expert)
        output++;
    output = own ? output : expert;
    return other ? other[output] : output;
}

organ_status organ_merge_order_of(const merge_orders *orders, size_t source, const organ_weight *weight,
                                  const uint32_t **order, organ_error *error)
{
    const organ_matrices m = organ_weight_matrices(weight);
    const uint64_t rows = m.count * m.rows;
    *order = NULL;
    if (!orders->of || !orders->of[source] || weight->anatomy.expert >= 0)
        return ORGAN_OK;
    const bool other = weight->anatomy.role == ORGAN_ROLE_OTHER && strstr(weight->name, "expert");
    if (!other && !organ_anatomy_follows_experts(weight->name, &weight->anatomy))
        return ORGAN_OK;
    if (rows == 1 ? m.cols != orders->experts : rows % orders->experts != 0)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "tensor '%s': how it depends on the order of the experts is not known: --match-experts off",
                          weight->name);
    *order = orders->of[source];
    return ORGAN_OK;
}
