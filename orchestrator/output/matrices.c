/* SPDX-License-Identifier: MIT
 * Counts the matrices of a model that are targets, and lists the kinds of the others. */
#include "orchestrator/output/facts.h"
#include "orchestrator/output/inputs.h"

#include "formats/architecture/mtp_types.h"
#include "formats/base/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define FEW       95.0 /* percent of the elements: if the targets are less, "few" is true and the report warns */
#define MAX_KINDS 1000 /* kinds that are listed by name */

/* ---- which weights are matrices ---- */

/* Texts that occur anywhere in the names of weights outside of linear layers: embeddings of tokens and positions,
 * convolutions, norms, states of Mamba (A_log). */
static const char *const parts_of_others[] = {"embed", "embd", "conv", "norm", "rope", "rotary", "A_log"};
/* Dot-separated parts of the names of such weights. They must be whole parts, because a text such as "emb" or "bias"
 * also occurs in names of matrices. */
static const char *const words_of_others[] = {
    "wte", "wpe", "emb", "bias", "ssm_a", "ssm_d", "relative_attention_bias", "lm_head"};

static bool has_word(const char *name, const char *word)
{
    const size_t length = strlen(word);
    for (const char *at = strstr(name, word); at; at = strstr(at + 1, word))
        if ((at == name || at[-1] == '.') && (at[length] == '.' || at[length] == 0))
            return true;
    return false;
}

static bool has_excluded_name(const char *name)
{
    for (size_t k = 0; k < sizeof parts_of_others / sizeof *parts_of_others; k++)
        if (strstr(name, parts_of_others[k]))
            return true;
    for (size_t k = 0; k < sizeof words_of_others / sizeof *words_of_others; k++)
        if (has_word(name, words_of_others[k]))
            return true;
    return false;
}

bool organ_is_matrix(const char *name, const organ_anatomy *anatomy, unsigned rank, const uint64_t *shape)
{
    if (rank < 2 || rank > 3 || shape[rank - 1] < 2 || shape[rank - 2] < 2 || shape[0] == 0)
        return false;
    switch (anatomy->role) {
    case ORGAN_ROLE_EMBED:
    case ORGAN_ROLE_POSITION:
    case ORGAN_ROLE_OUTPUT:
    case ORGAN_ROLE_NORM:
    case ORGAN_ROLE_CONV:
    case ORGAN_ROLE_STATE:
    case ORGAN_ROLE_STREAMS:
    case ORGAN_ROLE_SCALE:
    case ORGAN_ROLE_BIAS:
    case ORGAN_ROLE_COMPANION:
        return false;
    case ORGAN_ROLE_VISION:
    case ORGAN_ROLE_AUDIO:
    case ORGAN_ROLE_MTP:
    case ORGAN_ROLE_OTHER:
        return !has_excluded_name(name);
    default:
        return true;
    }
}

/* ---- kinds ---- */

/* The names of the matrices differ only in numbers. */
typedef struct matrices_kind {
    char name[160];
    uint64_t tensors, elements;
} matrices_kind;

typedef struct kinds {
    matrices_kind *list; /* matrices that are no targets, by kind */
    size_t count, capacity;
    uint64_t tensors, elements, target_tensors, target_elements; /* of all matrices; of the targets among them */
    bool failed; /* memory could not be allocated: the counts are incomplete */
} kinds;

static void fold_name(const char *name, char out[160])
{
    size_t used = 0, end = strlen(name);
    organ_cut_end(name, &end, ".weight");
    for (size_t k = 0; k < end && used + 1 < 160;) {
        const size_t digits = strspn(name + k, "0123456789");
        const bool word =
            digits > 0 && (k == 0 || name[k - 1] == '.') && (k + digits == end || name[k + digits] == '.');
        out[used++] = word ? 'N' : name[k];
        k += word ? digits : 1;
    }
    out[used] = 0;
}

/* After MAX_KINDS kinds, a new kind is counted as "other names": with a million different names the search would be
 * too slow and the list too large. */
static void count_left_out(kinds *all, const char *name, uint64_t elements)
{
    char folded[160];
    size_t k = 0;
    fold_name(name, folded);
    while (k < all->count && strcmp(all->list[k].name, folded) != 0)
        k++;
    if (k == all->count && k >= MAX_KINDS) {
        strcpy(folded, "other names");
        for (k = 0; k < all->count && strcmp(all->list[k].name, folded) != 0;)
            k++;
    }
    if (k == all->count) {
        if (!organ_grow(&all->list, all->count, &all->capacity, sizeof *all->list)) {
            all->failed = true;
            return;
        }
        all->list[all->count] = (matrices_kind){.tensors = 0};
        strcpy(all->list[all->count++].name, folded);
    }
    all->list[k].tensors++;
    all->list[k].elements += elements;
}

static void count_weight(kinds *all, const organ_weight *w, bool target)
{
    if (target ? w->rank < 2 : !organ_is_matrix(w->name, &w->anatomy, w->rank, w->shape))
        return;
    all->tensors++;
    all->elements += w->elements;
    all->target_tensors += target;
    all->target_elements += target ? w->elements : 0;
    if (!target)
        count_left_out(all, w->name, w->elements);
}

static int by_elements(const void *a, const void *b)
{
    const matrices_kind *const x = a, *const y = b;
    return x->elements != y->elements ? (x->elements < y->elements) - (x->elements > y->elements)
                                      : strcmp(x->name, y->name);
}

static json_t *matrices_left_json(const void *context, size_t k)
{
    const kinds *const all = context;
    const matrices_kind *const one = &all->list[k];
    return ORGAN_OBJECT(SET_BYTES("name", one->name), SET_COUNT("tensors", one->tensors),
                        SET_COUNT("elements", one->elements),
                        SET_REAL("percent", organ_percent(one->elements, all->elements)));
}

/* A packed weight, with its codes and scales, counts as one matrix with its plain shape. If companions of packed
 * weights are malformed, tensors are counted instead of weights. */
static void count_weights(kinds *all, const organ_model *model, const bool *chosen)
{
    organ_error fault = {0};
    organ_weights *weights = NULL;
    if (organ_weights_find(model, &weights, &fault) == ORGAN_OK)
        for (size_t k = 0; k < weights->count; k++)
            count_weight(all, &weights->weights[k], chosen[weights->weights[k].codes - model->tensors]);
    else
        for (size_t t = 0; t < model->tensor_count; t++) {
            const organ_weight plain = organ_weight_plain(&model->tensors[t]);
            count_weight(all, &plain, chosen[t]);
        }
    organ_weights_free(weights);
}

/* The counts must be complete; all->list is freed. */
static json_t *kinds_json(kinds *all)
{
    if (all->count)
        qsort(all->list, all->count, sizeof *all->list, by_elements);
    const double percent = organ_percent(all->target_elements, all->elements);
    json_t *const matrices =
        all->failed ? NULL
                    : ORGAN_OBJECT(SET_COUNT("tensors", all->tensors), SET_COUNT("elements", all->elements),
                                   SET_COUNT("target_tensors", all->target_tensors),
                                   SET_COUNT("target_elements", all->target_elements), SET_REAL("percent", percent),
                                   SET_FLAG("few", all->elements > 0 && percent < FEW),
                                   SET("left", organ_json_rows(all->count, matrices_left_json, all)));
    free(all->list);
    return matrices;
}

json_t *organ_matrices_json(const organ_model *model, const bool *chosen)
{
    kinds all = {0};
    count_weights(&all, model, chosen);
    return kinds_json(&all);
}

json_t *organ_matrices_each(size_t count, const organ_weight *(*weight)(const void *context, size_t k, bool *target),
                            const void *context)
{
    kinds all = {0};
    for (size_t k = 0; k < count; k++) {
        bool target = false;
        const organ_weight *const w = weight(context, k, &target);
        if (w && organ_is_matrix(w->name, &w->anatomy, w->rank, w->shape))
            count_weight(&all, w, target);
    }
    return kinds_json(&all);
}

typedef struct among {
    const organ_weights *weights;
    const bool *chosen;
} among;

static const organ_weight *weight_among(const void *context, size_t k, bool *target)
{
    const among *const a = context;
    *target = a->chosen[k];
    return &a->weights->weights[k];
}

json_t *organ_matrices_among(const organ_weights *weights, size_t count,
                             const organ_weight *(*target)(const void *context, size_t k), const void *context)
{
    ORGAN_OWNED bool *const chosen = calloc(weights->count + 1, sizeof *chosen);
    if (!chosen) {
        organ_memory_count_refusal();
        return NULL;
    }
    for (size_t k = 0; k < count; k++) {
        const organ_weight *const w = target(context, k);
        if (w)
            chosen[w - weights->weights] = true;
    }
    return organ_matrices_each(weights->count, weight_among, &(among){weights, chosen});
}

/* ---- reading the norms of inputs from an imatrix for the matrices of a model ---- */

#define DIGEST_CHUNK ((size_t)1 << 20) /* bytes that organ_importance_digest reads at once */

uint64_t organ_experts_of_role(const organ_model *model, const organ_tensor *tensor, organ_expert_census *known)
{
    const int32_t trunk = organ_mtp_trunk_layers(model);
    const organ_anatomy own = organ_mtp_anatomy(tensor, trunk), *const a = &own;
    if (a->expert < 0)
        return 0;
    if (known->experts[a->role] == 0 || known->layer[a->role] != a->layer) {
        known->layer[a->role] = a->layer;
        known->experts[a->role] = 0;
        for (size_t k = 0; k < model->tensor_count; k++) {
            const organ_anatomy other = organ_mtp_anatomy(&model->tensors[k], trunk);
            if (other.layer == a->layer && other.role == a->role && other.expert >= 0 &&
                (uint64_t)other.expert >= known->experts[a->role])
                known->experts[a->role] = (uint64_t)other.expert + 1;
        }
    }
    return known->experts[a->role];
}

organ_status organ_importance_digest(const organ_imatrix *imatrix, char digest[17], organ_error *error)
{
    XXH3_state_t *const hash = XXH3_createState();
    ORGAN_OWNED void *const bytes = malloc(DIGEST_CHUNK);
    if (!hash || !bytes)
        organ_fail_memory(error, imatrix->path);
    else
        XXH3_64bits_reset(hash);
    for (uint64_t at = 0; at < imatrix->bytes && !error->status;) {
        const size_t some = imatrix->bytes - at < DIGEST_CHUNK ? (size_t)(imatrix->bytes - at) : DIGEST_CHUNK;
        if (organ_imatrix_read(imatrix, bytes, some, at, error) == ORGAN_OK)
            XXH3_64bits_update(hash, bytes, some);
        at += some;
    }
    if (!error->status)
        snprintf(digest, 17, "%016llx", (unsigned long long)XXH3_64bits_digest(hash));
    XXH3_freeState(hash);
    return error->status;
}

/* Some architectures store experts as (inputs, outputs), and only different numbers of inputs and outputs show which
 * axis the values of an imatrix belong to. So stacks of square matrices of safetensors are rejected. */
static organ_status check_axes(const organ_model *model, const organ_tensor *tensor, organ_error *error)
{
    const organ_matrices m = organ_tensor_matrices(tensor);
    if (model->gguf || m.count == 1 || m.rows != m.cols)
        return ORGAN_OK;
    return organ_fail(error, ORGAN_BAD_INPUT,
                      "tensor '%s': is a stack of %llu matrices of %llu x %llu: its input axis is ambiguous, so no "
                      "imatrix can be applied",
                      tensor->name, (unsigned long long)m.count, (unsigned long long)m.rows,
                      (unsigned long long)m.cols);
}

/* The mean squares are those over the tokens of all experts. `norms` stays unchanged if no expert has tokens. */
static organ_status average_norms(const organ_imatrix *imatrix, organ_imatrix_place place, const char *tensor,
                                  uint64_t cols, float *norms, organ_error *error)
{
    ORGAN_OWNED float *const own = malloc((size_t)cols * sizeof *own); /* norms of one expert */
    ORGAN_OWNED double *const sums = calloc((size_t)cols, sizeof *sums);
    double count, all = 0; /* tokens of one expert; of all */
    bool reached;
    if (!own || !sums)
        organ_fail_memory(error, tensor);
    for (place.matrix = 0; place.matrix < place.matrices && !error->status; place.matrix++) {
        if (organ_imatrix_reached(imatrix, &place, tensor, cols, &reached, error) || !reached ||
            organ_imatrix_norms(imatrix, &place, tensor, cols, own, &count, error))
            continue;
        for (uint64_t j = 0; j < cols; j++)
            sums[j] += (double)own[j] * (double)own[j] * count;
        all += count;
    }
    for (uint64_t j = 0; j < cols && all > 0 && !error->status; j++)
        norms[j] = (float)sqrt(sums[j] / all);
    return error->status;
}

json_t *organ_importance_json(const organ_imatrix *m, const char *digest)
{
    if (!m)
        return json_null();
    return ORGAN_OBJECT(SET_BYTES("name", organ_path_name(m->path)), SET_TEXT("format", m->format),
                        SET_COUNT("bytes", m->bytes), SET_TEXT("xxh3", digest), SET_COUNT("entries", m->entry_count),
                        SET("datasets", organ_json_texts(m->dataset_count, (const char *const *)m->datasets)),
                        SET_INDEX("chunks", m->chunks), SET_INDEX("chunk_size", m->chunk_size));
}

/* The tensor of a single expert has its number in its name; in a stack, the number of the matrix is that of the expert.
 * Entries of blocks have the numbers of layers that follow the `trunk` ones of the model. */
static organ_status find_place(const organ_imatrix *imatrix, const organ_tensor *tensor, int32_t trunk, uint64_t matrix,
                               uint64_t experts, organ_imatrix_place *place, organ_error *error)
{
    const organ_anatomy anatomy = organ_mtp_anatomy(tensor, trunk);
    const uint64_t count = organ_tensor_matrices(tensor).count;
    const bool single = anatomy.expert >= 0;
    const int64_t expert = !single && count > 1 ? (int64_t)matrix : anatomy.expert;
    return organ_imatrix_find(imatrix, tensor->name, &anatomy, expert, single ? experts : count, place, error);
}

organ_status organ_importance_check(const organ_imatrix *imatrix, const organ_tensor *tensor, uint64_t experts,
                                    organ_error *error)
{
    organ_imatrix_place place;
    return find_place(imatrix, tensor, /*trunk=*/0, /*matrix=*/0, experts, &place, error);
}

organ_status organ_importance_norms(const organ_imatrix *imatrix, const organ_model *model, const organ_tensor *tensor,
                                    uint64_t matrix, uint64_t experts, float *norms, double *count, const char **entry,
                                    organ_error *error)
{
    const organ_matrices m = organ_tensor_matrices(tensor);
    organ_imatrix_place place;
    if (check_axes(model, tensor, error) ||
        find_place(imatrix, tensor, organ_mtp_trunk_layers(model), matrix, experts, &place, error))
        return error->status;
    *entry = place.entry->name;
    bool reached;
    if (organ_imatrix_reached(imatrix, &place, tensor->name, m.cols, &reached, error))
        return error->status;
    if (reached)
        return organ_imatrix_norms(imatrix, &place, tensor->name, m.cols, norms, count, error);
    *count = 0;
    for (uint64_t j = 0; j < m.cols; j++)
        norms[j] = 1;
    return average_norms(imatrix, place, tensor->name, m.cols, norms, error);
}
