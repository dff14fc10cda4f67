/* SPDX-License-Identifier: MIT
 * Counts the matrices of a model that are targets, and lists the kinds of the others. */
#include "orchestrator/surgery/inputs/matrices.h"

#include "formats/base/path.h"
#include <organ/base.h>
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/facts/facts.h"

#include <stdlib.h>
#include <string.h>

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
        if (all->count == all->capacity) {
            const size_t capacity = 2 * all->capacity + 16;
            matrices_kind *const more = realloc(all->list, capacity * sizeof *more);
            all->failed |= !more;
            if (!more)
                return;
            all->list = more;
            all->capacity = capacity;
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
    bool *const chosen = calloc(weights->count + 1, sizeof *chosen);
    if (!chosen) {
        organ_memory_count_refusal();
        return NULL;
    }
    for (size_t k = 0; k < count; k++) {
        const organ_weight *const w = target(context, k);
        if (w)
            chosen[w - weights->weights] = true;
    }
    json_t *const matrices = organ_matrices_each(weights->count, weight_among, &(among){weights, chosen});
    free(chosen);
    return matrices;
}
