/* SPDX-License-Identifier: MIT
 * Turns the plan of a conversion to GGUF into weights that are read across formats: its places, from the side of GGUF
 * or from that of safetensors. Weights that are read across layouts of one format have places of their own. */
#include "orchestrator/surgery/convert/convert_across.h"
#include "orchestrator/surgery/convert/convert_parts.h"

#include "formats/architecture/config_readers.h"
#include "formats/base/json.h"
#include "formats/base/text.h"
#include "formats/tensor/tensor_list.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct organ_across {
    organ_across_side to, from; /* the weights of `from` get the form of those of `to` */
    organ_convert_job job;      /* the plan; model and weights are borrowed */
    organ_convert_options options;
    organ_made *how;                     /* how[k] belongs to made[k] */
    organ_made_part *parts;              /* of all made weights, one for each place of the plan */
    organ_weight *made;                  /* the weights of `from` in the form of `to` */
    size_t count, part_count, part_room; /* of `made`, and of `parts` between models of one format */
    organ_name_table names;              /* index in `made` by name */
    organ_name_table kinds;              /* organ_across_kind by name; no name of one format is one of the other */
    /* Models of one format: index in to.weights and from.weights by place in the model (layout_key), and in
     * from.weights by the name of the form. */
    organ_name_table form_places, places, renamed;
    const forward_family *form_family, *family; /* of to.model and from.model; NULL: unknown */
};

static bool across_is_layout(const organ_across *a) { return !a->to.model->gguf == !a->from.model->gguf; }

static organ_status across_note(organ_across *a, const char *name, organ_across_kind kind, organ_error *error)
{
    size_t *const known = organ_name_table_put(&a->kinds, name, kind);
    if (!known)
        return organ_fail_memory(error, name);
    *known = kind;
    return ORGAN_OK;
}

/* ---- the plan ---- */

/* A weight that cannot be converted adds nothing: it has no counterpart. */
static organ_status across_plan_weight(organ_across *a, const organ_weight *weight, organ_error *error)
{
    organ_convert_job *const job = &a->job;
    convert_source *const source = &job->sources[job->source_count];
    organ_error refused = {0};
    *source = (convert_source){.weight = weight, .own = weight, .first = job->place_count};
    job->by_name ? organ_convert_named(job, weight, &refused) : organ_convert_tensor(job, weight, &refused);
    if (refused.status && refused.status != ORGAN_BAD_INPUT) {
        *error = refused;
        return error->status;
    }
    if (refused.status) {
        job->place_count = source->first;
        return across_note(a, weight->name, ORGAN_ACROSS_UNKNOWN, error);
    }
    job->source_count += source->count > 0;
    return across_note(a, weight->name, source->count ? ORGAN_ACROSS_UNPAIRED : ORGAN_ACROSS_LEFT_OUT, error);
}

/* The GGUF file may state another architecture than a conversion would choose. It decides the names and the order of
 * rows there. */
static void across_follow_gguf(organ_across *a)
{
    organ_convert_job *const job = &a->job;
    const organ_model *const gguf = a->to.model->gguf ? a->to.model : a->from.model;
    const char *const name = gguf->config.model_type;
    const forward_family *const family = organ_forward_family_named(name, /*gguf=*/true);
    if (job->by_name || !family || strcmp(job->pairing->gguf, name) == 0)
        return;
    const forward_pairing *const row = organ_pairing_names_of_gguf(gguf->gguf, name);
    job->gguf_family = family;
    job->pairing = row ? row : job->pairing;
}

static organ_status across_plan(organ_across *a, organ_error *error)
{
    organ_convert_job *const job = &a->job;
    organ_error refused = {0};
    if (organ_convert_find_architecture(job, error))
        return error->status;
    across_follow_gguf(a);
    organ_convert_match_blocks(job, a->to.model->gguf ? a->to.model : a->from.model);
    /* without the head in the file, GGUF files have none either; with it, they have one unless it is tied */
    job->config.tied_output = false;
    if (!(job->sources = calloc(job->weights->count + 1, sizeof *job->sources))) /* + 1: as in organ_convert_plan */
        return organ_fail_memory(error, job->model->path);
    for (size_t k = 0; k < job->weights->count; k++)
        if (across_plan_weight(a, &job->weights->weights[k], error))
            return error->status;
    job->sources[job->source_count] = (convert_source){0}; /* the source of computed pieces, which have none */
    if (!job->by_name)
        organ_convert_computed(job, &refused); /* GGUF has no tensor for a rotation that it lacks */
    for (size_t k = 0; k < job->piece_count && !error->status; k++)
        if (job->facts[k].values)
            across_note(a, job->pieces[k].name, ORGAN_ACROSS_LEFT_OUT, error);
    return error->status;
}

/* ---- made weights ---- */

/* Returns name and shape of the piece, as a weight. */
static organ_weight across_piece(const organ_convert_job *job, size_t piece)
{
    const organ_piece *const p = &job->pieces[piece];
    organ_weight w = {.name = p->name, .rank = p->rank, .shape = p->shape, .elements = 1};
    for (unsigned d = 0; d < p->rank; d++)
        w.elements *= p->shape[d];
    return w;
}

/* Axes of one element do not count. */
static bool across_same_rows(const organ_weight *a, const organ_weight *b)
{
    const organ_matrices x = organ_row_place_matrices(a), y = organ_row_place_matrices(b);
    return x.count * x.rows == y.count * y.rows && x.cols == y.cols;
}

/* The shape is that of `like` or, if it has the same rows, that of the weight of this name in `to`. Type and scheme
 * are those of the part that takes the fewest bytes per value. */
static organ_status across_add(organ_across *a, const organ_weight *like, organ_made made, organ_error *error)
{
    const organ_weight *const twin = organ_weights_named(a->to.weights, like->name);
    const organ_weight *const form = twin && across_same_rows(twin, like) ? twin : like;
    const organ_weight *coarsest = form;
    a->how[a->count] = made;
    for (size_t k = 0; k < made.count; k++) {
        const organ_weight *const from = made.parts[k].from;
        if (k == 0 || from->codes->bytes * coarsest->elements < coarsest->codes->bytes * from->elements)
            coarsest = from;
    }
    a->made[a->count] = (organ_weight){.name = like->name,
                                       .scheme = coarsest->scheme,
                                       .rank = form->rank,
                                       .shape = form->shape,
                                       .elements = form->elements,
                                       .anatomy = organ_anatomy_of(like->name),
                                       .codes = coarsest->codes,
                                       .bits = coarsest->bits,
                                       .made = &a->how[a->count]};
    return organ_name_table_put(&a->names, like->name, a->count++) ? ORGAN_OK : organ_fail_memory(error, like->name);
}

/* Returns whether the model of GGUF has all tensors that have rows of the source. */
static bool across_is_whole(const organ_across *a, const convert_source *source)
{
    const organ_weights *const gguf = (a->to.model->gguf ? a->to : a->from).weights;
    for (size_t k = source->first; k < source->first + source->count; k++)
        if (!organ_weights_named(gguf, a->job.pieces[a->job.places[k].piece].name))
            return false;
    return true;
}

/* If a weight of GGUF has another shape than the conversion gives it, the made weight gets its form, so that a
 * comparison of shapes shows it. */
static organ_status across_make_hf(organ_across *a, const convert_source *source, organ_error *error)
{
    organ_made_part *const parts = a->parts + source->first;
    if (!across_is_whole(a, source))
        return ORGAN_OK;
    for (size_t k = 0; k < source->count && !error->status; k++) {
        const organ_row_place *const place = &a->job.places[source->first + k];
        const organ_weight piece = across_piece(&a->job, place->piece);
        parts[k] = (organ_made_part){.from = organ_weights_named(a->from.weights, piece.name), .place = *place};
        if (!across_same_rows(parts[k].from, &piece)) {
            a->made[a->count] = *parts[k].from;
            a->made[a->count].name = source->weight->name;
            return organ_name_table_put(&a->names, source->weight->name, a->count++)
                       ? across_note(a, piece.name, ORGAN_ACROSS_PAIRED, error)
                       : organ_fail_memory(error, piece.name);
        }
        across_note(a, piece.name, ORGAN_ACROSS_PAIRED, error);
    }
    return error->status ? error->status
                         : across_add(a, source->weight,
                                      (organ_made){.inverse = true, .parts = parts, .count = source->count}, error);
}

/* Makes nothing if the weights of safetensors lack rows of the piece. */
static organ_status across_make_gguf(organ_across *a, size_t piece, const organ_made_part *parts, size_t count,
                                     organ_error *error)
{
    const organ_weight like = across_piece(&a->job, piece);
    const convert_piece *const facts = &a->job.facts[piece];
    uint64_t values = facts->values ? like.elements : facts->zeros * (like.elements / facts->rows);
    for (size_t k = 0; k < count; k++) {
        const organ_matrices m = organ_row_place_matrices(parts[k].from);
        values += organ_row_place_values(&parts[k].place, &m);
    }
    return values == like.elements ? across_add(a, &like, (organ_made){false, parts, count, facts->values}, error)
                                   : ORGAN_OK;
}

/* Sorts the places by piece, those of a piece in the order of the sources, and makes each piece. The sort first counts
 * the places of piece k in begin[k + 2]. The sums then make begin[k + 1] the index of its next part, which has become
 * the begin of piece k + 1 after all parts are placed. */
static organ_status across_make_all_gguf(organ_across *a, organ_error *error)
{
    const organ_convert_job *const job = &a->job;
    ORGAN_OWNED size_t *const begin = calloc(job->piece_count + 2, sizeof *begin);
    if (!begin)
        return organ_fail_memory(error, job->model->path);
    for (size_t k = 0; k < job->place_count; k++)
        begin[job->places[k].piece + 2]++;
    for (size_t k = 2; k < job->piece_count + 2; k++)
        begin[k] += begin[k - 1];
    for (size_t s = 0; s < job->source_count; s++)
        for (size_t k = job->sources[s].first; k < job->sources[s].first + job->sources[s].count; k++)
            a->parts[begin[job->places[k].piece + 1]++] =
                (organ_made_part){.from = job->sources[s].weight, .place = job->places[k]};
    for (size_t k = 0; k < job->piece_count && !error->status; k++)
        across_make_gguf(a, k, a->parts + begin[k], begin[k + 1] - begin[k], error);
    for (size_t s = 0; s < job->source_count && !error->status; s++)
        if (across_is_whole(a, &job->sources[s]))
            across_note(a, job->sources[s].weight->name, ORGAN_ACROSS_PAIRED, error);
    return error->status;
}

/* The parameters of xIELU are key-values of the GGUF file. */
static organ_status across_make_xielu(organ_across *a, organ_error *error)
{
    organ_convert_job *const job = &a->job;
    ORGAN_RELEASED_BY(organ_forward_config_release) organ_forward_config c = {0};
    float(*const values)[CONVERT_XIELU] = organ_arena_take(&job->arena, (job->config.layers + 1) * sizeof *values);
    if (!values)
        return organ_fail_memory(error, job->model->path);
    organ_forward_config_read(a->from.model, &c, error);
    for (unsigned l = 0; l < job->config.layers && l < c.layers; l++)
        for (unsigned k = 0; k < CONVERT_XIELU && !error->status; k++) {
            char name[ORGAN_PLACE_NAME];
            organ_convert_xielu_name(job, l, k, name);
            const organ_weight *const like = organ_weights_named(a->to.weights, name);
            values[l][k] = c.kinds[l].xielu[k];
            if (like && like->elements == 1)
                across_add(a, like, (organ_made){.inverse = true, .parts = a->parts, .values = &values[l][k]}, error);
        }
    return error->status;
}

static organ_status across_make(organ_across *a, organ_error *error)
{
    const organ_convert_job *const job = &a->job;
    const bool xielu = !job->by_name && a->from.model->gguf && job->config.activation == ORGAN_XIELU;
    const size_t most = job->piece_count + job->source_count + (xielu ? CONVERT_XIELU * job->config.layers : 0);
    a->parts = organ_rows_take(job->place_count + 1, sizeof *a->parts);
    a->made = organ_rows_take(most + 1, sizeof *a->made);
    a->how = organ_rows_take(most + 1, sizeof *a->how);
    if (!a->parts || !a->made || !a->how)
        return organ_fail_memory(error, job->model->path);
    if (!a->from.model->gguf)
        return across_make_all_gguf(a, error);
    for (size_t s = 0; s < job->source_count && !error->status; s++)
        across_make_hf(a, &job->sources[s], error);
    return error->status || !xielu ? error->status : across_make_xielu(a, error);
}

/* ---- layouts of experts in one format ---- */

#define LAYOUT_KEY  64
#define LAYOUT_MANY SIZE_MAX /* several weights of a model have one place */

static void layout_key(char key[LAYOUT_KEY], int32_t layer, organ_role role, int32_t expert, unsigned rank)
{
    snprintf(key, LAYOUT_KEY, "%d %d %d %u", (int)layer, (int)role, (int)expert, rank);
}

static organ_status layout_family(const organ_model *model, const forward_family **family, organ_error *error)
{
    const char *architecture = model->config.architecture;
    ORGAN_OWNED_JSON json_t *file = NULL;
    if (model->gguf)
        *family = organ_forward_family_named(model->config.model_type, /*gguf=*/true);
    else if (organ_model_load_json(model, "config.json", "config.json", &file, error) == ORGAN_OK && file) {
        organ_config_text(file, &architecture);
        *family = organ_forward_family_named(architecture, /*gguf=*/false);
    }
    return error->status;
}

static const forward_mixture *layout_mixture(const forward_family *family) { return family ? family->mixture : NULL; }

/* Matrices of routed experts, stacks of them, and the parts of routers. */
static bool layout_has_place(const organ_weight *w)
{
    const organ_role role = w->anatomy.role;
    if (w->anatomy.layer < 0 || !w->elements)
        return false;
    if (organ_anatomy_is_router(w->name))
        return role != ORGAN_ROLE_MTP;
    return w->anatomy.experts == ORGAN_EXPERTS_ROUTED && w->rank == (w->anatomy.expert < 0 ? 3u : 2u) &&
           (role == ORGAN_ROLE_GATE || role == ORGAN_ROLE_UP || role == ORGAN_ROLE_GATE_UP || role == ORGAN_ROLE_DOWN);
}

static organ_status layout_index(organ_across *a, const organ_weights *weights, organ_name_table *places,
                                 organ_error *error)
{
    char key[LAYOUT_KEY];
    for (size_t k = 0; k < weights->count; k++) {
        const organ_weight *const w = &weights->weights[k];
        if (!layout_has_place(w))
            continue;
        layout_key(key, w->anatomy.layer, w->anatomy.role, w->anatomy.expert, w->rank);
        const size_t *const known = organ_name_table_find(places, key);
        const char *const kept = known ? key : organ_arena_copy(&a->job.arena, key, strlen(key));
        size_t *const put = kept ? organ_name_table_put(places, kept, k) : NULL;
        if (!put)
            return organ_fail_memory(error, w->name);
        *put = known ? LAYOUT_MANY : k;
    }
    return ORGAN_OK;
}

/* The weight of an expert, or for -1 the stack of all, in the layer of `like`; NULL: there is none, or several. */
static const organ_weight *layout_find(const organ_weights *weights, const organ_name_table *places,
                                       const organ_weight *like, organ_role role, int32_t expert, unsigned rank)
{
    char key[LAYOUT_KEY];
    layout_key(key, like->anatomy.layer, role, expert, rank);
    const size_t *const found = organ_name_table_find(places, key);
    return found && *found != LAYOUT_MANY ? &weights->weights[*found] : NULL;
}

static const organ_weight *layout_other(const organ_across *a, const organ_weight *like, organ_role role,
                                        int32_t expert)
{
    return layout_find(a->from.weights, &a->places, like, role, expert, expert < 0 ? 3 : 2);
}

/* Whether the matrices of a weight are in_features x out_features: parameters without a module of some architectures,
 * but not if the axes are those of MXFP4 codes. */
static bool layout_is_turned(const forward_mixture *m, const organ_weight *w, const organ_weight *part, uint64_t rows)
{
    const bool coded = w->scheme == ORGAN_SCHEME_MXFP4 && !w->transposed;
    const bool fits = w->shape[w->rank - 2] == rows && w->shape[w->rank - 1] == part->shape[part->rank - 1];
    return m->transposed && w->anatomy.expert < 0 && !organ_ends_with(w->name, ".weight") && !coded &&
           !(m->or_straight && fits);
}

/* The rows that `part` (gate, up or both, of one expert or of all) has of `whole`, a weight of the family. Returns
 * false if the architecture or the order of its rows is unknown, or shapes do not fit. */
static bool layout_place(const forward_family *family, bool gguf, const organ_weight *whole, const organ_weight *part,
                         organ_row_place *place)
{
    const organ_matrices w = organ_weight_matrices(whole), p = organ_weight_matrices(part);
    const bool half = whole->anatomy.role != part->anatomy.role, up = half && part->anatomy.role == ORGAN_ROLE_UP;
    const uint64_t rows = half ? 2 * p.rows : p.rows;
    const bool joined_each = (whole->anatomy.role == ORGAN_ROLE_GATE_UP && whole->anatomy.expert >= 0) ||
                             (part->anatomy.role == ORGAN_ROLE_GATE_UP && part->anatomy.expert >= 0);
    const forward_mixture *const m = layout_mixture(family);
    if (!m || (m->pairs && joined_each))
        return false;
    const bool turned = !gguf && layout_is_turned(m, whole, part, rows), pairs = half && !gguf && m->pairs;
    *place = (organ_row_place){.matrices = p.count, .block = w.rows, .rows = w.rows, .per_matrix = p.rows};
    if (whole->anatomy.expert < 0 && part->anatomy.expert >= 0)
        place->matrix = (uint64_t)part->anatomy.expert;
    if (turned) {
        place->transposed = true;
        place->col_step = pairs ? 2 : 1; /* pairs: rows of gate and up alternate, gate first */
        place->col = pairs ? up : up * p.rows;
        place->cols = p.rows;
    } else if (pairs) {
        place->block = 2;
        place->first = up;
        place->rows = place->per_block = 1;
    } else {
        place->first = up ? p.rows : 0;
        place->rows = p.rows;
    }
    return place->matrix + p.count <= w.count &&
           (turned ? w.rows == p.cols && w.cols == rows : w.rows == rows && w.cols == p.cols);
}

/* Adds the weight `like` of the form, made of the parts from part_count on. */
static organ_status layout_add(organ_across *a, const organ_weight *like, bool inverse, size_t count,
                               organ_error *error)
{
    organ_made_part *const parts = a->parts + a->part_count;
    for (size_t k = 0; k < count && !error->status; k++)
        across_note(a, parts[k].from->name, ORGAN_ACROSS_PAIRED, error);
    a->part_count += count;
    return error->status ? error->status : across_add(a, like, (organ_made){inverse, parts, count, NULL}, error);
}

/* Whether the model of the form has one matrix for each of the experts of the stack. */
static bool layout_has_all(const organ_across *a, const organ_weight *like, const organ_weight *stack)
{
    const int32_t count = (int32_t)stack->shape[0];
    const organ_role role = like->anatomy.role;
    return layout_find(a->to.weights, &a->form_places, like, role, count - 1, 2) &&
           !layout_find(a->to.weights, &a->form_places, like, role, count, 2);
}

/* Makes `like` of rows of a larger weight: a stack, or gate and up joined. */
static organ_status layout_cut(organ_across *a, const organ_weight *like, bool *made, organ_error *error)
{
    const organ_role role = like->anatomy.role;
    const int32_t expert = like->anatomy.expert;
    const bool half = role == ORGAN_ROLE_GATE || role == ORGAN_ROLE_UP;
    const organ_weight *const wholes[] = {expert >= 0 ? layout_other(a, like, role, -1) : NULL,
                                          half ? layout_other(a, like, ORGAN_ROLE_GATE_UP, expert) : NULL,
                                          half && expert >= 0 ? layout_other(a, like, ORGAN_ROLE_GATE_UP, -1) : NULL};
    for (size_t k = 0; k < sizeof wholes / sizeof *wholes; k++) {
        organ_made_part *const part = &a->parts[a->part_count];
        if (!wholes[k] || (expert >= 0 && wholes[k]->anatomy.expert < 0 && !layout_has_all(a, like, wholes[k])) ||
            !layout_place(a->family, a->from.model->gguf != NULL, wholes[k], like, &part->place))
            continue;
        part->from = wholes[k];
        *made = true;
        return layout_add(a, like, /*inverse=*/false, 1, error);
    }
    return ORGAN_OK;
}

/* Makes `like` of smaller weights: `halved` of gate and up, `numbered` of the matrices of all experts. */
static organ_status layout_join(organ_across *a, const organ_weight *like, bool halved, bool numbered, bool *made,
                                organ_error *error)
{
    const organ_role role = like->anatomy.role, halves[] = {ORGAN_ROLE_GATE, ORGAN_ROLE_UP};
    const size_t each = halved ? 2 : 1, count = (numbered ? (size_t)like->shape[0] : 1) * each;
    if ((halved && role != ORGAN_ROLE_GATE_UP) || (numbered && like->anatomy.expert >= 0) ||
        count > a->part_room - a->part_count)
        return ORGAN_OK;
    for (size_t k = 0; k <= count; k++) {
        const int32_t expert = numbered ? (int32_t)(k / each) : like->anatomy.expert;
        const organ_weight *const part = layout_other(a, like, halved ? halves[k % each] : role, expert);
        organ_made_part *const to = &a->parts[a->part_count + k];
        if (k == count && numbered && part)
            return ORGAN_OK; /* the other model has more experts */
        if (k == count)
            break;
        if (!part || !layout_place(a->form_family, a->to.model->gguf != NULL, like, part, &to->place))
            return ORGAN_OK;
        to->from = part;
    }
    *made = true;
    return layout_add(a, like, /*inverse=*/true, count, error);
}

/* Whether two stacks have transposed matrices, of shapes or, if these are square, by their architectures. */
static bool layout_is_transpose(const organ_across *a, const organ_weight *like, const organ_weight *other)
{
    const forward_mixture *const form = layout_mixture(a->form_family);
    const forward_mixture *const m = layout_mixture(a->family);
    if (like->rank != 3 || other->rank != 3 || like->shape[1] != other->shape[2] || like->shape[2] != other->shape[1] ||
        !form || !m || !(form->transposed || m->transposed))
        return false;
    return like->shape[1] != like->shape[2] ||
           layout_is_turned(form, like, other, like->shape[1]) != layout_is_turned(m, other, like, other->shape[1]);
}

static organ_status layout_turn(organ_across *a, const organ_weight *like, const organ_weight *other,
                                organ_error *error)
{
    const organ_matrices m = organ_weight_matrices(like);
    const organ_row_place place = {.matrices = m.count,
                                   .block = m.rows,
                                   .rows = m.rows,
                                   .per_matrix = m.cols,
                                   .transposed = true,
                                   .col_step = 1,
                                   .cols = m.cols};
    a->parts[a->part_count] = (organ_made_part){.from = other, .place = place};
    return layout_add(a, like, /*inverse=*/true, 1, error);
}

static organ_status layout_make(organ_across *a, const organ_weight *like, organ_error *error)
{
    const organ_anatomy *const is = &like->anatomy;
    /* the weights of the other model that have the name of `like`, and that have its name or else its place */
    const organ_weight *const named = organ_weights_named(a->from.weights, like->name);
    const organ_weight *const same =
        named ? named : layout_find(a->from.weights, &a->places, like, is->role, is->expert, like->rank);
    bool made = false;
    if (a->part_count == a->part_room ||
        layout_find(a->to.weights, &a->form_places, like, is->role, is->expert, like->rank) != like)
        return ORGAN_OK; /* several weights have the place of `like`, so that it names none of them */
    if (same && layout_is_transpose(a, like, same))
        return layout_turn(a, like, same, error);
    if (same && !named) {
        across_note(a, same->name, ORGAN_ACROSS_RENAMED, error);
        return organ_name_table_put(&a->renamed, like->name, (size_t)(same - a->from.weights->weights))
                   ? error->status
                   : organ_fail_memory(error, like->name);
    }
    if (named || is->experts != ORGAN_EXPERTS_ROUTED || layout_cut(a, like, &made, error) || made ||
        layout_join(a, like, /*halved=*/true, /*numbered=*/false, &made, error) || made ||
        layout_join(a, like, /*halved=*/false, /*numbered=*/true, &made, error) || made)
        return error->status;
    return layout_join(a, like, /*halved=*/true, /*numbered=*/true, &made, error);
}

/* A weight that both models have under one name, and that is no stack of safetensors, is the same in both. */
static bool layout_may_differ(const organ_across *a, const organ_weight *like)
{
    return layout_has_place(like) &&
           ((like->rank == 3 && !a->to.model->gguf) || !organ_weights_named(a->from.weights, like->name));
}

static organ_status across_layouts(organ_across *a, organ_error *error)
{
    const organ_weights *const form = a->to.weights, *const other = a->from.weights;
    size_t first = 0;
    while (first < form->count && !layout_may_differ(a, &form->weights[first]))
        first++;
    if (first == form->count)
        return ORGAN_OK;
    a->part_room = form->count + other->count + 1;
    a->parts = organ_rows_take(a->part_room, sizeof *a->parts);
    a->made = organ_rows_take(form->count + 1, sizeof *a->made);
    a->how = organ_rows_take(form->count + 1, sizeof *a->how);
    if (!a->parts || !a->made || !a->how)
        return organ_fail_memory(error, a->from.model->path);
    if (layout_family(a->to.model, &a->form_family, error) || layout_family(a->from.model, &a->family, error) ||
        layout_index(a, form, &a->form_places, error) || layout_index(a, other, &a->places, error))
        return error->status;
    for (size_t k = first; k < form->count && !error->status; k++)
        if (layout_may_differ(a, &form->weights[k]))
            layout_make(a, &form->weights[k], error);
    return error->status;
}

/* ---- the whole ---- */

organ_status organ_across_open(organ_across_side model, organ_across_side other, const organ_engine *engine,
                               organ_across **across, organ_error *error)
{
    const organ_across_side hf = model.model->gguf ? other : model;
    organ_across *const a = calloc(1, sizeof *a);
    *across = NULL;
    if (!a)
        return organ_fail_memory(error, hf.model->path);
    *a = (organ_across){.to = model, .from = other, .options = {.model = hf.model->path}};
    a->job = (organ_convert_job){.options = &a->options,
                                 .engine = engine,
                                 .model = (organ_model *)hf.model,
                                 .weights = (organ_weights *)hf.weights,
                                 .to_gguf = true,
                                 .type = ORGAN_F32};
    if (across_is_layout(a) ? across_layouts(a, error) : (across_plan(a, error) || across_make(a, error))) {
        organ_across_free(a);
        return error->status;
    }
    if (across_is_layout(a) && a->count == 0 && a->renamed.count == 0)
        organ_across_free(a);
    else
        *across = a;
    return ORGAN_OK;
}

void organ_across_free(organ_across *a)
{
    if (!a)
        return;
    a->job.model = NULL;
    a->job.weights = NULL;
    organ_convert_release(&a->job);
    organ_rows_free(a->parts);
    organ_rows_free(a->made);
    organ_rows_free(a->how);
    organ_name_table_release(&a->names);
    organ_name_table_release(&a->kinds);
    organ_name_table_release(&a->form_places);
    organ_name_table_release(&a->places);
    organ_name_table_release(&a->renamed);
    free(a);
}

const organ_weight *organ_across_named(const organ_across *across, const char *name)
{
    const size_t *const index = organ_name_table_find(&across->names, name);
    const size_t *const renamed = organ_name_table_find(&across->renamed, name);
    if (index || renamed)
        return index ? &across->made[*index] : &across->from.weights->weights[*renamed];
    return across_is_layout(across) ? organ_weights_named(across->from.weights, name) : NULL;
}

organ_across_kind organ_across_kind_of(const organ_across *across, const char *name)
{
    const size_t *const kind = organ_name_table_find(&across->kinds, name);
    if (kind)
        return (organ_across_kind)*kind;
    return across_is_layout(across) ? ORGAN_ACROSS_OWN : ORGAN_ACROSS_UNKNOWN;
}
