/* SPDX-License-Identifier: MIT
 * Searches for the set of blocks to drop that the caller's function judges best: all sets if they are few, else by
 * exchanges of one dropped block for a kept one. */
#include "orchestrator/verbs/shrink/layers_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Dropped block `back` is kept again, and kept block `out` is dropped instead. */
typedef struct exchange {
    size_t back, out;       /* numbers of blocks */
    double added_influence; /* influence of `out` minus that of `back` */
} exchange;

typedef struct search_work {
    const organ_layers_search *search;
    organ_layers_found *found;
    size_t capacity;     /* sets that found->sets has memory for */
    exchange *exchanges; /* exchanges of the best set in a round; room for layers^2 */
    bool *flags;         /* flags of the sets of a round, one set after another */
    double *divergence;  /* divergences of these sets */
    organ_error why;     /* why no configuration can describe the set that is_described checked last */
} search_work;

static organ_status no_memory(const search_work *w, organ_error *error)
{
    return organ_fail_errno(error, ENOMEM, "sets of %zu blocks", w->search->layers);
}

/* ---- judging sets ---- */

static bool was_judged(const search_work *w, const bool *dropped)
{
    for (size_t k = 0; k < w->found->count; k++)
        if (memcmp(w->found->sets[k].dropped, dropped, w->search->layers * sizeof *dropped) == 0)
            return true;
    return false;
}

/* An error other than ORGAN_BAD_INPUT does not say that the set is impossible, so the result is then true. */
static bool is_described(search_work *w, const bool *dropped)
{
    w->why = (organ_error){0};
    return !w->search->describes || w->search->describes(w->search->context, dropped, &w->why) != ORGAN_BAD_INPUT;
}

static bool is_new_and_loadable(search_work *w, const bool *dropped)
{
    return !was_judged(w, dropped) && is_described(w, dropped);
}

static organ_status record_set(search_work *w, size_t round, const bool *dropped, double divergence, organ_error *error)
{
    organ_layers_found *const f = w->found;
    bool *const own = malloc(w->search->layers * sizeof *own);
    if (!own || !organ_grow(&f->sets, f->count, &w->capacity, sizeof *f->sets)) {
        free(own);
        return no_memory(w, error);
    }
    memcpy(own, dropped, w->search->layers * sizeof *own);
    f->sets[f->count++] = (organ_layers_set){round, divergence, own};
    return ORGAN_OK;
}

/* Judges the `count` sets in w->flags and adds them to w->found. A new best set also goes to the path. */
static organ_status judge_round(search_work *w, size_t round, size_t count, organ_error *error)
{
    const organ_layers_search *const s = w->search;
    organ_layers_found *const f = w->found;
    const size_t judged_before = f->count, best_before = f->best;
    if (s->judge(s->context, w->flags, count, w->divergence, error) != ORGAN_OK)
        return error->status;
    for (size_t k = 0; k < count; k++)
        if (record_set(w, round, w->flags + k * s->layers, w->divergence[k], error) != ORGAN_OK)
            return error->status;
    for (size_t k = judged_before; k < f->count; k++)
        f->best = f->sets[k].divergence < f->sets[f->best].divergence ? k : f->best;
    if (judged_before == 0 || f->best != best_before) {
        size_t *const path = realloc(f->path, (f->steps + 1) * sizeof *path);
        if (!path)
            return no_memory(w, error);
        f->path = path;
        f->path[f->steps++] = f->best;
    }
    f->rounds = round;
    if (s->on_round)
        s->on_round(s->context, round, f->count, &f->sets[f->best]);
    return ORGAN_OK;
}

/* ---- the sets of a round ---- */

/* Of blocks with equal influence the later ones are dropped, because the error of an early gap passes through more
 * blocks. */
static void begin_with_least(const search_work *w, bool *dropped)
{
    const organ_layers_search *const s = w->search;
    memset(dropped, 0, s->layers * sizeof *dropped);
    for (size_t n = 0; n < s->requested; n++) {
        size_t least = s->layers;
        for (size_t l = 0; l < s->layers; l++)
            if (!dropped[l] && (least == s->layers || s->influence[l] <= s->influence[least]))
                least = l;
        dropped[least] = true;
    }
}

static int by_influence(const void *a, const void *b)
{
    const exchange *const x = a, *const y = b;
    return ORGAN_ORDERS(ORGAN_ORDER(x->added_influence, y->added_influence), ORGAN_ORDER(x->back, y->back),
                        ORGAN_ORDER(x->out, y->out));
}

/* Writes the sets of the next round to w->flags. They differ from the best set by one exchange; those whose exchange
 * adds least influence come first. Returns their number, at most ORGAN_LAYERS_ROUND; 0 if no exchange of the best set
 * remains to be judged. */
static size_t list_exchanged_sets(search_work *w)
{
    const organ_layers_search *const s = w->search;
    const bool *const best = w->found->sets[w->found->best].dropped;
    size_t exchanges = 0, count = 0;
    for (size_t back = 0; back < s->layers; back++)
        for (size_t out = 0; out < s->layers && best[back]; out++)
            if (!best[out])
                w->exchanges[exchanges++] = (exchange){back, out, s->influence[out] - s->influence[back]};
    qsort(w->exchanges, exchanges, sizeof *w->exchanges, by_influence);
    for (size_t k = 0; k < exchanges && count < ORGAN_LAYERS_ROUND; k++) {
        bool *const made = w->flags + count * s->layers;
        memcpy(made, best, s->layers * sizeof *made);
        made[w->exchanges[k].back] = false;
        made[w->exchanges[k].out] = true;
        count += is_new_and_loadable(w, made);
    }
    return count;
}

/* Repeated calls, starting with the set of the first blocks of the model, give every set once: the last dropped
 * block that can move to the next position moves, and the dropped blocks after it follow it directly. Returns false
 * after the last set. */
static bool next_choice(const organ_layers_search *s, bool *dropped)
{
    size_t at = s->layers, trailing = 0; /* dropped blocks at the end of the model, which cannot move */
    while (at > 0 && dropped[at - 1]) {
        dropped[--at] = false;
        trailing++;
    }
    while (at > 0 && !dropped[at - 1])
        at--;
    if (at == 0)
        return false;
    dropped[at - 1] = false;
    memset(dropped + at, true, (trailing + 1) * sizeof *dropped); /* the moved block, then the trailing ones */
    return true;
}

/* Only runs without which a configuration can describe the model count. Of runs with equal sums the last is taken. */
static bool begin_with_run(search_work *w, bool *dropped)
{
    const organ_layers_search *const s = w->search;
    size_t best = s->layers;
    double least = 0;
    for (size_t first = 0; first + s->requested <= s->layers; first++) {
        double sum = 0;
        for (size_t l = 0; l < s->layers; l++) {
            dropped[l] = l >= first && l < first + s->requested;
            sum += dropped[l] ? s->influence[l] : 0;
        }
        if (!is_described(w, dropped) || (best < s->layers && sum > least))
            continue;
        best = first;
        least = sum;
    }
    for (size_t l = 0; l < s->layers; l++)
        dropped[l] = best < s->layers && l >= best && l < best + s->requested;
    return best < s->layers;
}

/* The first set has the blocks of least influence or, if no configuration can describe the model without these, is
 * the run of consecutive blocks of least influence. */
static organ_status search_begin(search_work *w, bool *dropped, organ_error *error)
{
    begin_with_least(w, dropped);
    if (is_described(w, dropped) || begin_with_run(w, dropped))
        return ORGAN_OK;
    return organ_fail(error, ORGAN_BAD_INPUT, "no run of %zu blocks can be dropped: %.1000s", w->search->requested,
                      w->why.message);
}

/* Returns the number of sets of s->requested blocks, or some number above `max` if there are more than `max`. */
static size_t count_choices(const organ_layers_search *s, size_t max)
{
    size_t count = 1;
    for (size_t k = 1; k <= s->requested && count <= max; k++)
        count = count * (s->layers - s->requested + k) / k; /* the sets of k of these blocks: always a whole number */
    return count;
}

static organ_status judge_all(search_work *w, organ_error *error)
{
    const organ_layers_search *const s = w->search;
    ORGAN_OWNED bool *const next = calloc(s->layers, sizeof *next);
    if (!next)
        return no_memory(w, error);
    memset(next, true, s->requested * sizeof *next);
    size_t count = 0;
    do {
        memcpy(w->flags + count * s->layers, next, s->layers * sizeof *next);
        count += is_new_and_loadable(w, next);
    } while (next_choice(s, next));
    w->found->whole = w->found->locally_optimal = true;
    return count ? judge_round(w, /*round=*/1, count, error) : ORGAN_OK;
}

static organ_status exchange_all(search_work *w, organ_error *error)
{
    for (size_t round = 1; round <= w->search->rounds && !w->found->locally_optimal && !error->status; round++) {
        const size_t count = list_exchanged_sets(w);
        if (count)
            judge_round(w, round, count, error);
        else
            w->found->locally_optimal = true;
    }
    if (!error->status && !w->found->locally_optimal)
        w->found->locally_optimal = list_exchanged_sets(w) == 0;
    return error->status;
}

organ_status organ_layers_search_run(const organ_layers_search *s, organ_layers_found *found, organ_error *error)
{
    const size_t max = s->all > ORGAN_LAYERS_ROUND ? s->all : ORGAN_LAYERS_ROUND;
    *found = (organ_layers_found){0};
    search_work w = {.search = s,
                     .found = found,
                     .exchanges = malloc(s->layers * s->layers * sizeof *w.exchanges),
                     .flags = malloc(max * s->layers * sizeof *w.flags),
                     .divergence = malloc(max * sizeof *w.divergence)};
    if (!w.exchanges || !w.flags || !w.divergence)
        no_memory(&w, error);
    else if (search_begin(&w, w.flags, error) == ORGAN_OK &&
             judge_round(&w, /*round=*/0, /*count=*/1, error) == ORGAN_OK) {
        if (s->rounds && count_choices(s, s->all) <= s->all)
            judge_all(&w, error);
        else
            exchange_all(&w, error);
    }
    ORGAN_FREE_ARRAYS(w.exchanges, w.flags, w.divergence);
    return error->status;
}

void organ_layers_found_release(organ_layers_found *found)
{
    for (size_t k = 0; k < found->count; k++)
        free(found->sets[k].dropped);
    ORGAN_FREE_ARRAYS(found->sets, found->path);
    *found = (organ_layers_found){0};
}
