/* SPDX-License-Identifier: MIT
 * Searches for the set of blocks to drop that the caller's function judges best: all sets if they are few, else by
 * exchanges of one dropped block for a kept one. */
#include "orchestrator/surgery/layers/block_search.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* An exchange of one block of a set: dropped block `back` is kept again, and kept block `out` is dropped instead. */
typedef struct exchange {
    size_t back, out;       /* numbers of blocks */
    double added_influence; /* influence of `out` minus that of `back` */
} exchange;

/* State of a search. */
typedef struct search_work {
    const organ_layers_search *search;
    organ_layers_found *found;
    size_t capacity;     /* sets that found->sets has memory for */
    exchange *exchanges; /* exchanges of the best set in a round; room for layers^2 */
    bool *flags;         /* flags of the sets of a round, one set after another */
    double *divergence;  /* divergences of these sets */
    organ_error why;     /* why no configuration can describe the set that is_described checked last */
} search_work;

/* Sets the error ORGAN_IO of a failed allocation. */
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

/* Returns false if search->describes rejects the model without these blocks with ORGAN_BAD_INPUT, and stores the reason
 * in w->why. Returns true if search->describes is NULL, and after another error of it, which does not say that the set
 * is impossible. */
static bool is_described(search_work *w, const bool *dropped)
{
    w->why = (organ_error){0};
    return !w->search->describes || w->search->describes(w->search->context, dropped, &w->why) != ORGAN_BAD_INPUT;
}

/* Returns whether the set must be judged: it was not judged before, and a configuration can describe it. */
static bool is_new_and_loadable(search_work *w, const bool *dropped)
{
    return !was_judged(w, dropped) && is_described(w, dropped);
}

/* Appends a copy of the set `dropped`, which round `round` has judged, and its divergence to found->sets. Returns
 * ORGAN_IO if memory runs out. */
static organ_status record_set(search_work *w, size_t round, const bool *dropped, double divergence, organ_error *error)
{
    organ_layers_found *const f = w->found;
    if (f->count == w->capacity) {
        organ_layers_set *const sets = realloc(f->sets, (2 * w->capacity + ORGAN_LAYERS_ROUND) * sizeof *sets);
        if (!sets)
            return no_memory(w, error);
        f->sets = sets;
        w->capacity = 2 * w->capacity + ORGAN_LAYERS_ROUND;
    }
    bool *const own = malloc(w->search->layers * sizeof *own);
    if (!own)
        return no_memory(w, error);
    memcpy(own, dropped, w->search->layers * sizeof *own);
    f->sets[f->count++] = (organ_layers_set){round, divergence, own};
    return ORGAN_OK;
}

/* Judges the first `count` sets of w->flags in round `round` and appends them to found->sets. If one of them has a
 * lower divergence than all earlier sets, sets found->best to its index and appends the index to found->path. Then
 * calls search->on_round unless that is NULL. */
static organ_status search_judge(search_work *w, size_t round, size_t count, organ_error *error)
{
    const organ_layers_search *const s = w->search;
    organ_layers_found *const f = w->found;
    const size_t before = f->count;
    if (s->judge(s->context, w->flags, count, w->divergence, error) != ORGAN_OK)
        return error->status;
    for (size_t k = 0; k < count; k++)
        if (record_set(w, round, w->flags + k * s->layers, w->divergence[k], error) != ORGAN_OK)
            return error->status;
    const size_t was = f->best;
    for (size_t k = before; k < f->count; k++)
        f->best = f->sets[k].divergence < f->sets[f->best].divergence ? k : f->best;
    if (before == 0 || f->best != was) {
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

/* Sets `dropped` to the set of the search->requested blocks with the least influence. Of blocks with equal influence
 * the later ones are dropped, because the error of an early gap passes through more blocks. */
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

/* Comparison for qsort: orders exchanges by the influence that they add, then by the numbers of their blocks. */
static int by_influence(const void *a, const void *b)
{
    const exchange *const x = a, *const y = b;
    if (x->added_influence != y->added_influence)
        return x->added_influence < y->added_influence ? -1 : 1;
    if (x->back != y->back)
        return x->back < y->back ? -1 : 1;
    return x->out < y->out ? -1 : x->out > y->out;
}

/* Fills w->flags with the sets of the next round, which differ from the best set by one exchange: those that were not
 * judged yet and that a configuration can describe. Exchanges that add least influence come first. Returns the number
 * of sets, at most ORGAN_LAYERS_ROUND; 0 if no exchange of the best set remains to be judged. */
static size_t exchange_blocks(search_work *w)
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

/* Changes `dropped` to the next set with the same number of blocks. Repeated calls, starting with the set of the first
 * blocks of the model, give every set once: the last dropped block that can move to the next position moves, and the
 * dropped blocks after it follow it directly. Returns false after the last set. */
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
    memset(dropped + at, true, (trailing + 1) * sizeof *dropped);
    return true;
}

/* Sets `dropped` to the run of search->requested consecutive blocks with the least sum of influences, among the runs
 * without which a configuration can describe the model. Of runs with equal sums takes the last. Returns false if there
 * is no such run. */
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

/* Sets `dropped` to the first set of the search: the blocks of least influence or, if no configuration can describe the
 * model without these, the run of consecutive blocks of least influence. Returns ORGAN_BAD_INPUT if no run can be
 * dropped. */
static organ_status search_begin(search_work *w, bool *dropped, organ_error *error)
{
    begin_with_least(w, dropped);
    if (is_described(w, dropped) || begin_with_run(w, dropped))
        return ORGAN_OK;
    return organ_fail(error, ORGAN_BAD_INPUT, "no run of %zu blocks can be dropped: %.1000s", w->search->requested,
                      w->why.message);
}

/* Returns the number of sets of s->requested blocks out of s->layers, a binomial coefficient. If there are more than
 * `max`, returns any number above `max`. */
static size_t count_choices(const organ_layers_search *s, size_t max)
{
    size_t count = 1;
    for (size_t k = 1; k <= s->requested && count <= max; k++)
        count = count * (s->layers - s->requested + k) / k; /* the sets of k of these blocks: always a whole number */
    return count;
}

/* Judges in round 1 all sets of search->requested blocks that were not judged yet and that a configuration can
 * describe; w->flags has room for them. Sets found->whole and found->locally_optimal. */
static organ_status judge_all(search_work *w, organ_error *error)
{
    const organ_layers_search *const s = w->search;
    bool *const next = calloc(s->layers, sizeof *next);
    if (!next)
        return no_memory(w, error);
    memset(next, true, s->requested * sizeof *next);
    size_t count = 0;
    do {
        memcpy(w->flags + count * s->layers, next, s->layers * sizeof *next);
        count += is_new_and_loadable(w, next);
    } while (next_choice(s, next));
    free(next);
    w->found->whole = w->found->locally_optimal = true;
    return count ? search_judge(w, 1, count, error) : ORGAN_OK;
}

/* Judges sets that exchange one block of the best set, round by round, until all of them were judged or search->rounds
 * rounds are used. Sets found->locally_optimal if no exchange of the best set remains to be judged. */
static organ_status exchange_all(search_work *w, organ_error *error)
{
    for (size_t round = 1; round <= w->search->rounds && !w->found->locally_optimal && !error->status; round++) {
        const size_t count = exchange_blocks(w);
        if (count)
            search_judge(w, round, count, error);
        else
            w->found->locally_optimal = true;
    }
    if (!error->status && !w->found->locally_optimal)
        w->found->locally_optimal = exchange_blocks(w) == 0;
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
    else if (search_begin(&w, w.flags, error) == ORGAN_OK && search_judge(&w, 0, 1, error) == ORGAN_OK) {
        if (s->rounds && count_choices(s, s->all) <= s->all)
            judge_all(&w, error);
        else
            exchange_all(&w, error);
    }
    free(w.exchanges);
    free(w.flags);
    free(w.divergence);
    return error->status;
}

/* Frees all judged sets and the path, and zeroes *found. */
void organ_layers_found_release(organ_layers_found *found)
{
    for (size_t k = 0; k < found->count; k++)
        free(found->sets[k].dropped);
    free(found->sets);
    free(found->path);
    *found = (organ_layers_found){0};
}
