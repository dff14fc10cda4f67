/* SPDX-License-Identifier: MIT
 * Rotations at run time: finds their stored matrices, and the weights into which they must be folded. A layer computes
 * y = (x V) W^T U with rotations V of inputs and U of outputs, so its weight is U^T W V^T. The reader of a rotated
 * weight (organ_rotation) applies them to W, one after another. */
#include "formats/weights/weight_search.h"

#include "formats/base/hadamard.h"
#include "formats/base/results.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

/* ---- tensors of rotations ---- */

/* A stored matrix or permutation of a transform of compressed-tensors. Modules with the same transform and size share
 * one, which is stored under the name of the first. */
struct rotation_matrix {
    const organ_tensor *tensor;
    const organ_quant_transform *transform;
    organ_quant_location location;
    bool order; /* the permutation of a matrix */
};

static organ_status claim(organ_weight_search *search, const organ_tensor *tensor)
{
    search->claimed[tensor - search->model->tensors] = true;
    search->unmatched[search->found.unmatched_count++] =
        (organ_unmatched_tensor){tensor, true, "holds a rotation at run time, which organ folds into the weights"};
    return ORGAN_OK;
}

static organ_status keep_matrix(organ_weight_search *search, const struct rotation_matrix *matrix)
{
    if (!organ_grow(&search->matrices, search->matrix_count, &search->matrix_room, sizeof *search->matrices))
        return organ_fail_memory(search->error, search->model->path);
    search->matrices[search->matrix_count++] = *matrix;
    return claim(search, matrix->tensor);
}

/* "MODULE.NAME_LOCATION.weight" or "MODULE.NAME_LOCATION.perm" */
static organ_status claim_of_transform(organ_weight_search *search, const organ_tensor *tensor,
                                       const organ_quant_transform *transform)
{
    char leaf[300];
    for (int l = 0; l < ORGAN_TRANSFORM_LOCATIONS; l++)
        for (int order = 0; order < 2; order++) {
            snprintf(leaf, sizeof leaf, ".%.200s_%s.%s", transform->name, organ_quant_locations[l],
                     order ? "perm" : "weight");
            if (organ_ends_with(tensor->name, leaf))
                return keep_matrix(search,
                                   &(struct rotation_matrix){tensor, transform, (organ_quant_location)l, order == 1});
        }
    return ORGAN_OK;
}

/* Ends of the names of AutoRound's tensors of rotations. */
static const char *const auto_round_leaves[] = {".spinquant_r1_type", ".spinquant_r1_size", ".spinquant_r1_matrix",
                                                ".spinquant_r4_type", ".spinquant_r4_size", ".spinquant_r4_matrix",
                                                ".hadamard_matrix"};

organ_status organ_weight_claim_rotations(organ_weight_search *search)
{
    const organ_model *const model = search->model;
    for (size_t k = 0; k < model->tensor_count && !search->error->status; k++) {
        const organ_tensor *const tensor = &model->tensors[k];
        for (size_t t = 0; t < search->config->transform_count && !search->claimed[k]; t++)
            claim_of_transform(search, tensor, &search->config->transforms[t]);
        for (size_t l = 0; l < sizeof auto_round_leaves / sizeof *auto_round_leaves && !search->claimed[k]; l++)
            if (organ_ends_with(tensor->name, auto_round_leaves[l]))
                claim(search, tensor);
    }
    return search->error->status;
}

/* ---- one rotation of one weight ---- */

/* A module whose inputs or outputs are rotated, and its weight. */
typedef struct rotated_module {
    organ_weight_search *search;
    organ_weight *weight;
    const char *module;
    bool bias, embedding;
} rotated_module;

static bool is_module(const char *name, const rotated_module *s)
{
    const size_t length = strlen(s->module);
    return strncmp(name, s->module, length) == 0 && name[length] == '.';
}

/* Exchanges the weight for one with this rotation, which reads the old one. */
static organ_status turn(const rotated_module *s, organ_rotation rotation)
{
    organ_weight_search *const search = s->search;
    organ_weight *const from = organ_arena_take(&search->arena, sizeof *from);
    organ_rotation *const own = organ_arena_take(&search->arena, sizeof *own);
    if (!from || !own)
        return organ_fail_memory(search->error, search->model->path);
    *from = *s->weight;
    from->inputs = NULL;
    *own = rotation;
    own->from = from;
    s->weight->rotation = own;
    if (s->weight->scheme == ORGAN_SCHEME_PLAIN)
        s->weight->scheme = ORGAN_SCHEME_ROTATED;
    return ORGAN_OK;
}

static organ_status check_matrix(const organ_weight_search *search, const organ_tensor *matrix, uint64_t size)
{
    const bool numbers = matrix->dtype == ORGAN_I8 || matrix->dtype == ORGAN_F64 || matrix->dtype == ORGAN_F32 ||
                         matrix->dtype == ORGAN_BF16 || matrix->dtype == ORGAN_F16;
    char shape[ORGAN_SHAPE_TEXT];
    if (matrix->rank == 2 && matrix->shape[0] == size && matrix->shape[1] == size && numbers)
        return ORGAN_OK;
    return organ_weight_fail(search, matrix,
                             "has type %s and shape %s, but a rotation of %" PRIu64
                             " values is a square matrix of that size of F64, F32, BF16, F16 or I8",
                             organ_dtype_name(matrix->dtype), organ_shape_text(matrix->rank, matrix->shape, shape),
                             size);
}

/* ---- compressed-tensors ---- */

/* The inverse of a random matrix is stored as one of its own; that of a Hadamard matrix is its transpose. */
static bool is_inverse(const organ_quant_transform *transform, organ_quant_location location)
{
    for (size_t k = 0; k < transform->count; k++)
        if (transform->applies[k].location == location)
            return transform->applies[k].inverse;
    return false;
}

/* Returns the matrix or permutation of this size that the module has, or else the first that another one has. */
static const organ_tensor *find_matrix(const rotated_module *s, const organ_quant_transform *transform, uint64_t size,
                                       bool order, bool inverse)
{
    const organ_weight_search *const search = s->search;
    const bool any = strcmp(transform->type, "random-matrix") != 0;
    const organ_tensor *found = NULL;
    for (size_t k = 0; k < search->matrix_count; k++) {
        const struct rotation_matrix *const m = &search->matrices[k];
        if (m->transform != transform || m->order != order || m->tensor->rank == 0 || m->tensor->shape[0] != size ||
            (!any && is_inverse(transform, m->location) != inverse))
            continue;
        if (is_module(m->tensor->name, s))
            return m->tensor;
        found = found ? found : m->tensor;
    }
    return found;
}

static organ_status fail_missing(const rotated_module *s, const organ_quant_transform *transform,
                                 const organ_quant_apply *apply, const char *what, uint64_t size)
{
    return organ_refuse(s->search->error, s->search->config->file,
                        "%.200s rotates '%.200s' at run time by a %s, but no tensor '*.%.100s_%s.%s' of %" PRIu64
                        " rows stores it",
                        transform->path, s->module, what, transform->name, organ_quant_locations[apply->location],
                        strcmp(what, "permutation") == 0 ? "perm" : "weight", size);
}

/* Sets matrix, order and factor. The Hadamard matrix of compressed-tensors has a power of two of rows, unless it was
 * trained or is random: then it is stored. */
static organ_status find_numbers(const rotated_module *s, const organ_quant_transform *transform,
                                 const organ_quant_apply *apply, organ_rotation *r)
{
    const bool built =
                   strcmp(transform->type, "hadamard") == 0 && !transform->trained && (r->size & (r->size - 1)) == 0,
               scaled = strcmp(transform->type, "random-matrix") != 0;
    if (!built && !(r->matrix = find_matrix(s, transform, r->size, /*order=*/false, apply->inverse)))
        return fail_missing(s, transform, apply, built ? "matrix" : "stored matrix", r->size);
    if (r->matrix && check_matrix(s->search, r->matrix, r->size))
        return s->search->error->status;
    r->factor = scaled ? 1 / sqrt((double)r->size) : 1;
    r->orthogonal = scaled && !transform->trained;
    if (!transform->randomize || !scaled)
        return ORGAN_OK;
    if (!(r->order = find_matrix(s, transform, r->size, /*order=*/true, apply->inverse)))
        return fail_missing(s, transform, apply, "permutation", r->size);
    if (r->order->rank == 1 && r->order->dtype == ORGAN_I64)
        return ORGAN_OK;
    return organ_weight_fail(s->search, r->order, "is %s, but a permutation is a list of I64",
                             organ_dtype_name(r->order->dtype));
}

/* Inputs become x V, and the weight W V^T: V is R, or R^T (in a random matrix: the stored inverse) if inverse. Outputs
 * become y U: the bias b U, the weight U^T W, whose columns c become c U if c is written as a row. Embeddings E become
 * E U. */
static organ_status apply_transform(const rotated_module *s, const organ_quant_transform *transform,
                                    const organ_quant_apply *apply)
{
    const organ_matrices m = organ_weight_matrices(s->weight);
    const bool input = apply->location == ORGAN_TRANSFORM_INPUT, whole = s->bias || (s->embedding && !input),
               turned = apply->inverse && strcmp(transform->type, "random-matrix") != 0;
    const uint64_t side = input || whole ? m.cols : m.rows;
    organ_rotation r = {.size = transform->head_dim ? transform->head_dim : side,
                        .rows = !input && !whole,
                        .inputs = input,
                        .transposed = input ? !turned : turned};
    if (input && s->embedding)
        return organ_refuse(s->search->error, s->search->config->file,
                            "%.200s rotates the inputs of '%.200s', but the inputs of embeddings are ids", apply->path,
                            s->module);
    if (side % r.size != 0)
        return organ_refuse(s->search->error, s->search->config->file,
                            "%.200s.head_dim is %" PRIu64 ", which does not divide the %" PRIu64 " %s of '%.200s'",
                            transform->path, r.size, side, input ? "inputs" : "outputs", s->module);
    return find_numbers(s, transform, apply, &r) ? s->search->error->status : turn(s, r);
}

/* A router is no linear layer in transformers, and stacks of experts are none. */
static organ_status apply_transforms(const rotated_module *s)
{
    organ_quant_config *const config = s->search->config;
    for (size_t t = 0; t < config->transform_count; t++)
        for (size_t k = 0; k < config->transforms[t].count; k++) {
            organ_quant_apply *const apply = &config->transforms[t].applies[k];
            const bool input = apply->location == ORGAN_TRANSFORM_INPUT;
            bool selected;
            if ((!input && apply->location != ORGAN_TRANSFORM_OUTPUT) || (s->bias && input))
                continue;
            if (organ_quant_config_applies(config, apply, s->module, s->embedding, &selected, s->search->error) ||
                (selected && apply_transform(s, &config->transforms[t], apply)))
                return s->search->error->status;
        }
    return ORGAN_OK;
}

/* ---- AutoRound ---- */

static const organ_tensor *companion(const rotated_module *s, const char *leaf)
{
    return organ_weight_relative(s->search, s->module, strlen(s->module), leaf);
}

/* rotation_config: inputs become x H in blocks, H the Hadamard matrix of a block, or the transpose of the stored one.
 */
static organ_status apply_rotation(const rotated_module *s)
{
    const organ_quant_auto_rotation *const rotation = &s->search->config->rotation;
    const uint64_t cols = organ_weight_matrices(s->weight).cols;
    organ_rotation r = {.size = rotation->block,
                        .transposed = true,
                        .factor = 1 / sqrt((double)rotation->block),
                        .inputs = true,
                        .orthogonal = true};
    if (strcmp(rotation->type, "random_hadamard") == 0) {
        r.matrix = companion(s, ".hadamard_matrix");
        if (!r.matrix)
            return organ_weight_fail(s->search, s->weight->codes,
                                     "has no '%.200s.hadamard_matrix', but rotation_config states random_hadamard",
                                     s->module);
        r.factor = 1;
        r.transposed = false;
        r.size = r.matrix->rank ? r.matrix->shape[0] : 0;
        if (check_matrix(s->search, r.matrix, r.size))
            return s->search->error->status;
    }
    if (r.size == 0 || cols % r.size != 0)
        return organ_weight_fail(s->search, s->weight->codes,
                                 "has %" PRIu64 " inputs, which rotation_config rotates in blocks of %" PRIu64, cols,
                                 r.size);
    return turn(s, r);
}

static organ_status check_hadamard(const organ_weight_search *search, const organ_tensor *tensor, uint64_t size)
{
    return organ_hadamard_order(size)
               ? ORGAN_OK
               : organ_weight_fail(search, tensor, "is %" PRIu64 ", a size without a known Hadamard matrix", size);
}

static organ_status read_scalar(const rotated_module *s, const char *leaf, const organ_tensor *tensor, int32_t *value)
{
    organ_weight_search *const search = s->search;
    if (!tensor)
        return organ_weight_fail(search, s->weight->codes, "has no '%.200s%s'", s->module, leaf);
    if (tensor->dtype != ORGAN_I32 || tensor->elements != 1)
        return organ_weight_fail(search, tensor, "is %s of %" PRIu64 " values, but must be one of I32",
                                 organ_dtype_name(tensor->dtype), tensor->elements);
    return organ_model_read(search->model, tensor->file, value, sizeof *value, tensor->offset, search->error);
}

/* R1 or R4 of spinquant_config, whose type is 0 (Hadamard), 1 (a stored matrix of signs) or 2 (trained). The inputs
 * become x R^T with the Hadamard matrix R of all inputs, x R in blocks of inputs and with a stored matrix. */
static organ_status apply_spin(const rotated_module *s, const char *name)
{
    organ_weight_search *const search = s->search;
    const uint64_t cols = organ_weight_matrices(s->weight).cols;
    char leaves[3][32];
    const organ_tensor *tensors[3];
    int32_t type = 0, size = 0;
    static const char *const ends[] = {"type", "size", "matrix"};
    for (size_t k = 0; k < 3; k++) {
        snprintf(leaves[k], sizeof leaves[k], ".spinquant_%s_%s", name, ends[k]);
        tensors[k] = companion(s, leaves[k]);
    }
    if (!tensors[0])
        return ORGAN_OK;
    if (read_scalar(s, leaves[0], tensors[0], &type) || read_scalar(s, leaves[1], tensors[1], &size))
        return search->error->status;
    organ_rotation r = {.size = (uint64_t)(size > 0 ? size : 0),
                        .matrix = type == 0 ? NULL : tensors[2],
                        .transposed = type != 0 || (uint64_t)size != cols,
                        .inputs = true,
                        .orthogonal = type != 2};
    if (r.size == 0 || cols % r.size != 0)
        return organ_weight_fail(search, tensors[1], "is %" PRId32 ", which does not divide the %" PRIu64 " inputs",
                                 size, cols);
    r.factor = type == 2 ? 1 : 1 / sqrt((double)r.size);
    if (type < 0 || type > 2)
        return organ_weight_fail(search, tensors[0], "is %" PRId32 ", but types of rotations are 0, 1 and 2", type);
    if (type && !r.matrix)
        return organ_weight_fail(search, s->weight->codes, "has no '%.200s%s'", s->module, leaves[2]);
    if (r.matrix ? check_matrix(search, r.matrix, r.size) : check_hadamard(search, tensors[1], r.size))
        return search->error->status;
    return turn(s, r);
}

/* x is rotated by R1 first, so R4 is the first that the weight's rows are multiplied by. */
static organ_status apply_auto_round(const rotated_module *s)
{
    const bool packed = s->weight->scheme != ORGAN_SCHEME_PLAIN && s->weight->scheme != ORGAN_SCHEME_ROTATED;
    if (s->bias || s->embedding)
        return ORGAN_OK;
    if (*s->search->config->rotation.type && packed && !strstr(s->module, "lm_head") && apply_rotation(s))
        return s->search->error->status;
    return apply_spin(s, "r4") ? s->search->error->status : apply_spin(s, "r1");
}

/* ---- queries and keys ---- */

/* A rotation of queries and keys after the rotary embedding (SpinQuant's R3) does not change their products. */
static organ_status check_scores(organ_weight_search *search, const organ_quant_transform *transform, bool *cancels)
{
    const organ_quant_apply *of[2] = {NULL, NULL};
    for (size_t k = 0; k < transform->count; k++) {
        const organ_quant_apply *const apply = &transform->applies[k];
        if (apply->location == ORGAN_TRANSFORM_Q_ATTN || apply->location == ORGAN_TRANSFORM_K_CACHE)
            of[apply->location == ORGAN_TRANSFORM_K_CACHE] = apply;
    }
    if (!of[0] && !of[1])
        return ORGAN_OK;
    *cancels = true;
    if (of[0] && of[1] && of[0]->inverse == of[1]->inverse && !transform->trained &&
        strcmp(transform->type, "random-matrix") != 0)
        return ORGAN_OK;
    return organ_refuse(
        search->error, search->config->file,
        "%.300s rotates queries or keys (q_attn, k_cache), but not both by the same Hadamard matrix, so "
        "it changes the scores of attention",
        transform->path);
}

/* Writes the names of the config's rotations: "transform_config: R3, R4". */
static void name_rotations(const organ_weight_search *search, char *out, size_t size)
{
    const organ_quant_config *const config = search->config;
    size_t used = 0;
    *out = '\0';
    for (size_t k = 0; k < config->transform_count && used < size; k++)
        used += (size_t)snprintf(out + used, size - used, "%s%.60s",
                                 k ? ", " : "transform_config: ", config->transforms[k].name);
    if (*config->rotation.type && used < size)
        used +=
            (size_t)snprintf(out + used, size - used, "%srotation_config: %s", used ? "; " : "", config->rotation.type);
    if (config->rotation.spin && used < size)
        snprintf(out + used, size - used, "%sspinquant_config", used ? "; " : "");
}

static organ_status note_scores(organ_weight_search *search)
{
    const organ_quant_config *const config = search->config;
    bool cancels = config->rotation.third;
    char names[200];
    for (size_t k = 0; k < config->transform_count; k++)
        if (check_scores(search, &config->transforms[k], &cancels))
            return search->error->status;
    if (!cancels)
        return ORGAN_OK;
    name_rotations(search, names, sizeof names);
    snprintf(search->dropped, sizeof search->dropped,
             "%s rotates queries and keys at run time (%s): the rotation (R3) cancels in the scores of attention, so "
             "organ leaves it out%s%.64s%s",
             config->file, names, *config->cache_text ? "; servers round rotated keys in the cache that " : "",
             config->cache_text, *config->cache_text ? " declares, organ the keys themselves" : "");
    return ORGAN_OK;
}

/* ---- all weights ---- */

/* Whether the head has the values of the embeddings. */
static bool is_tied(const organ_weight_search *search)
{
    bool embeddings = false;
    for (size_t k = 0; k < search->count; k++) {
        const organ_anatomy *const anatomy = &search->weights[k].anatomy;
        if (anatomy->role == ORGAN_ROLE_OUTPUT && anatomy->layer < 0)
            return false;
        embeddings = embeddings || anatomy->role == ORGAN_ROLE_EMBED;
    }
    return embeddings;
}

/* Without a head of its own, a model's head has the values of the embeddings, which a rotation of one of them would
 * part. */
static organ_status check_tied(organ_weight_search *search)
{
    organ_quant_config *const config = search->config;
    for (size_t t = 0; t < config->transform_count && is_tied(search); t++)
        for (size_t k = 0; k < config->transforms[t].count; k++) {
            organ_quant_apply *const apply = &config->transforms[t].applies[k];
            bool head = false;
            if (apply->location != ORGAN_TRANSFORM_INPUT && apply->location != ORGAN_TRANSFORM_OUTPUT)
                continue;
            if (organ_quant_config_applies(config, apply, "lm_head", /*embedding=*/false, &head, search->error))
                return search->error->status;
            if (head || search->rotated_embedding)
                return organ_refuse(search->error, config->file,
                                    "%.300s rotates the %s at run time, but the model has no lm_head.weight of its own",
                                    apply->path, head ? "head" : "embeddings");
        }
    return ORGAN_OK;
}

/* Refuses a spinquant_config that declares the rotation R1 or R4 if no tensor stores its matrix: the weights would be
 * read unrotated. The tensors of rotations are among those that match no weight. R3 needs no check, because it cancels
 * in the scores. */
static organ_status check_spinquant(const organ_weight_search *search)
{
    const organ_quant_auto_rotation *const rotation = &search->config->rotation;
    const struct {
        bool declared;
        const char *name, *leaf;
    } both[] = {{rotation->first, "R1", ".spinquant_r1_type"}, {rotation->fourth, "R4", ".spinquant_r4_type"}};
    for (size_t k = 0; k < 2; k++) {
        bool stored = false;
        for (size_t u = 0; u < search->found.unmatched_count && !stored; u++)
            stored = organ_ends_with(search->unmatched[u].tensor->name, both[k].leaf);
        if (both[k].declared && !stored)
            return organ_refuse(search->error, search->config->file,
                                "spinquant_config declares the rotation %s at run time, but no tensor is called '*%s'",
                                both[k].name, both[k].leaf);
    }
    return ORGAN_OK;
}

static organ_status rotate(organ_weight_search *search, organ_weight *weight)
{
    const bool bias = organ_ends_with(weight->name, ".bias");
    const size_t end = bias ? strlen(".bias") : strlen(".weight"), length = strlen(weight->name);
    if (weight->rank != (bias ? 1 : 2) || weight->anatomy.role == ORGAN_ROLE_ROUTER ||
        !(bias || organ_ends_with(weight->name, ".weight")))
        return ORGAN_OK;
    const rotated_module s = {.search = search,
                              .weight = weight,
                              .module = organ_weight_name(search, weight->name, length - end, ""),
                              .bias = bias,
                              .embedding = weight->anatomy.role == ORGAN_ROLE_EMBED ||
                                           weight->anatomy.role == ORGAN_ROLE_POSITION};
    const bool plain = weight->scheme == ORGAN_SCHEME_PLAIN;
    if (!s.module)
        return organ_fail_memory(search->error, search->model->path);
    if (apply_transforms(&s) || apply_auto_round(&s))
        return search->error->status;
    search->found.packed += plain && weight->rotation;
    search->rotated_embedding = search->rotated_embedding || (s.embedding && weight->rotation);
    return ORGAN_OK;
}

organ_status organ_weight_find_rotations(organ_weight_search *search)
{
    char names[200];
    size_t rotated = 0;
    if (!search->config)
        return ORGAN_OK;
    for (size_t k = 0; k < search->count; k++) {
        if (rotate(search, &search->weights[k]))
            return search->error->status;
        rotated += search->weights[k].rotation != NULL;
    }
    if (note_scores(search) || check_tied(search) || check_spinquant(search) || rotated == 0)
        return search->error->status;
    name_rotations(search, names, sizeof names);
    snprintf(search->folded, sizeof search->folded,
             "%s rotates inputs or outputs of layers at run time (%s): organ folds the rotations into %zu weights",
             search->config->file, *names ? names : "spinquant", rotated);
    return ORGAN_OK;
}
