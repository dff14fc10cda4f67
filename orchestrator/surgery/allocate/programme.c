/* SPDX-License-Identifier: MIT
 * Solves the multiple-choice knapsack problem: one item of each class, the least cost within a size. A Lagrange
 * multiplier gives a lower bound; then dynamic programming over the classes finds the best items among those that the
 * bound does not exclude. Kellerer, Pferschy, Pisinger, Knapsack Problems (2004), chapter 11. */
#include "orchestrator/surgery/allocate/allocate.h"

#include "formats/base/text.h"
#include "orchestrator/machine/quantity.h"

#include <math.h>
#include <stdlib.h>

/* Partial solutions that are kept after a class by the first, fast search, whose cost limits the second search. */
#define FAST  ((size_t)1 << 8)
#define LINKS ((size_t)1 << 22) /* partial solutions of all classes together that the second search keeps */

/* At a price per unit of size, the rest of an item is the cost and the price that it adds to the best item of its
 * class. */
typedef struct programme_item {
    uint64_t size;
    double cost, rest;
    unsigned number; /* in the caller's class */
} programme_item;

typedef struct programme_class {
    programme_item *items; /* sizes ascend, costs fall */
    size_t count;
    uint64_t least_after; /* sum of the least sizes of all later classes */
    size_t number;        /* in the caller's programme */
} programme_class;

/* The last item of a partial solution, and the index of the partial solution before it. */
typedef struct programme_link {
    uint32_t from, item;
} programme_link;

/* A partial solution: an item of each class so far. */
typedef struct programme_step {
    uint64_t size;
    double cost, rest;
    programme_link link;
} programme_step;

typedef struct programme_steps {
    programme_step *of;
    size_t count, room;
} programme_steps;

typedef struct programme_search {
    organ_programme *p;
    programme_class *classes;
    programme_item *items;
    double limit;              /* a solution is known whose cost is the bound plus this */
    programme_steps now, next; /* steps before and after a class */
    programme_link *links;     /* those of the kept steps of all classes, class by class */
    size_t link_room;
    size_t *first; /* index in `links` of the first step after class n */
    bool cut;      /* steps were discarded although the bound does not exclude them */
} programme_search;

/* ---- items ---- */

static int by_size(const void *a, const void *b)
{
    const programme_item *const x = a, *const y = b;
    return ORGAN_ORDERS(ORGAN_ORDER(x->size, y->size), ORGAN_ORDER(x->cost, y->cost),
                        ORGAN_ORDER(x->number, y->number));
}

/* An item that is neither smaller nor cheaper than another one is left out. */
static void list_items(const organ_programme *p, size_t number, programme_class *c)
{
    size_t all = 0;
    for (size_t k = 0; k < p->items; k++)
        if (p->sizes[number * p->items + k] != ORGAN_PROGRAMME_NONE)
            c->items[all++] = (programme_item){.size = p->sizes[number * p->items + k],
                                               .cost = p->costs[number * p->items + k],
                                               .number = (unsigned)k};
    qsort(c->items, all, sizeof *c->items, by_size);
    c->number = number;
    for (size_t k = 0; k < all; k++)
        if (!c->count || c->items[k].cost < c->items[c->count - 1].cost)
            c->items[c->count++] = c->items[k];
}

/* Sets the rests of all items at a price. Returns the sum of the classes' least cost plus price. */
static double price_items(programme_search *s, double price)
{
    double sum = 0;
    for (size_t n = 0; n < s->p->classes; n++) {
        programme_class *const c = &s->classes[n];
        double least = INFINITY;
        for (size_t k = 0; k < c->count; k++) {
            c->items[k].rest = c->items[k].cost + price * (double)c->items[k].size;
            least = fmin(least, c->items[k].rest);
        }
        for (size_t k = 0; k < c->count; k++)
            c->items[k].rest -= least;
        sum += least;
    }
    return sum;
}

/* Returns whether the best items at a price fit into the capacity; of equally good items of a class, the smallest
 * counts. */
static bool best_items_fit(programme_search *s, double price)
{
    uint64_t size = 0;
    price_items(s, price);
    for (size_t n = 0; n < s->p->classes; n++) {
        size_t k = 0;
        while (s->classes[n].items[k].rest > 0)
            k++;
        size += s->classes[n].items[k].size;
    }
    return size <= s->p->capacity;
}

/* The bound is a concave function of the price, greatest where the best items just fit. */
static double best_price(programme_search *s)
{
    double low = 0, high = 1e-30;
    if (best_items_fit(s, 0))
        return 0;
    for (; !best_items_fit(s, high) && high < 1e30; high *= 16)
        low = high;
    for (double middle = low + (high - low) / 2; middle > low && middle < high; middle = low + (high - low) / 2)
        *(best_items_fit(s, middle) ? &high : &low) = middle;
    return high;
}

/* ---- the search ---- */

static int by_size_and_cost(const void *a, const void *b)
{
    const programme_step *const x = a, *const y = b;
    return ORGAN_ORDERS(ORGAN_ORDER(x->size, y->size), ORGAN_ORDER(x->cost, y->cost),
                        ORGAN_ORDER(x->link.from, y->link.from), ORGAN_ORDER(x->link.item, y->link.item));
}

static int by_rest(const void *a, const void *b)
{
    const programme_step *const x = a, *const y = b;
    return ORGAN_ORDERS(ORGAN_ORDER(x->rest, y->rest), by_size_and_cost(a, b));
}

/* Keeps only steps that are cheaper than all smaller ones, and of these the `most` with the least rests. */
static void thin_out(programme_search *s, size_t most)
{
    programme_step *const of = s->next.of;
    size_t kept = 0;
    qsort(of, s->next.count, sizeof *of, by_size_and_cost);
    for (size_t k = 0; k < s->next.count; k++)
        if (!kept || of[k].cost < of[kept - 1].cost)
            of[kept++] = of[k];
    s->next.count = organ_min(kept, most);
    if (kept <= most)
        return;
    s->cut = true;
    qsort(of, kept, sizeof *of, by_rest);
}

/* Returns false if memory cannot be allocated; so do extend, keep_steps and search_classes. */
static bool grow(void **array, size_t *room, size_t needed, size_t bytes)
{
    const size_t larger = 2 * needed + 1024;
    if (needed <= *room)
        return true;
    void *const grown = realloc(*array, larger * bytes);
    if (!grown)
        return false;
    *array = grown;
    *room = larger;
    return true;
}

/* Makes the steps after class n, which have an item more. A step is excluded if the items of later classes do not fit,
 * or if its rest exceeds the limit. */
static bool extend(programme_search *s, size_t n)
{
    const programme_class *const c = &s->classes[n];
    if (!grow((void **)&s->next.of, &s->next.room, s->now.count * c->count, sizeof *s->next.of))
        return false;
    s->next.count = 0;
    for (size_t f = 0; f < s->now.count; f++)
        for (size_t k = 0; k < c->count; k++) {
            const programme_step *const from = &s->now.of[f];
            const programme_step step = {.size = from->size + c->items[k].size,
                                         .cost = from->cost + c->items[k].cost,
                                         .rest = from->rest + c->items[k].rest,
                                         .link = {(uint32_t)f, (uint32_t)k}};
            if (step.size <= s->p->capacity && c->least_after <= s->p->capacity - step.size && step.rest <= s->limit)
                s->next.of[s->next.count++] = step;
        }
    return true;
}

/* The steps become those before the next class. */
static bool keep_steps(programme_search *s, size_t n)
{
    const programme_steps kept = s->next;
    if (!grow((void **)&s->links, &s->link_room, s->first[n] + kept.count, sizeof *s->links))
        return false;
    for (size_t k = 0; k < kept.count; k++)
        s->links[s->first[n] + k] = kept.of[k].link;
    s->first[n + 1] = s->first[n] + kept.count;
    s->next = s->now;
    s->now = kept;
    return true;
}

/* The known solution stays if it is not dearer than the cheapest step: rests do not count unused capacity. */
static void take_cheapest(programme_search *s)
{
    organ_programme *const p = s->p;
    size_t at = 0;
    for (size_t k = 1; k < s->now.count; k++)
        at = s->now.of[k].cost < s->now.of[at].cost ? k : at;
    if (s->now.of[at].cost >= p->cost)
        return;
    p->size = s->now.of[at].size;
    p->cost = s->now.of[at].cost;
    for (size_t n = p->classes; n-- > 0;) {
        const programme_link link = s->links[s->first[n] + at];
        p->chosen[s->classes[n].number] = s->classes[n].items[link.item].number;
        at = link.from;
    }
}

/* Keeps at most `most` steps of each class. If no solution is found within the limit, the known one stays. */
static bool search_classes(programme_search *s, size_t most)
{
    if (!grow((void **)&s->now.of, &s->now.room, 1, sizeof *s->now.of))
        return false;
    s->cut = false;
    s->now.of[0] = (programme_step){0};
    s->now.count = 1;
    for (size_t n = 0; n < s->p->classes; n++) {
        if (!extend(s, n))
            return false;
        thin_out(s, most);
        if (!s->next.count)
            return true;
        if (!keep_steps(s, n))
            return false;
    }
    take_cheapest(s);
    return true;
}

/* Orders classes by the number of their items that the limit does not exclude, fewest first, so that the number of
 * steps grows late. Of classes with equally many such items, the class whose cheapest item has the greatest rest is
 * first. */
static int by_items_left(const void *a, const void *b)
{
    const programme_class *const x = a, *const y = b;
    const double x_rest = x->items[x->count - 1].rest, y_rest = y->items[y->count - 1].rest;
    return ORGAN_ORDERS(ORGAN_ORDER(x->count, y->count), ORGAN_ORDER(y_rest, x_rest),
                        ORGAN_ORDER(x->number, y->number));
}

/* Removes the items that no solution below the limit has. */
static void remove_items(programme_search *s)
{
    uint64_t after = 0;
    for (size_t n = 0; n < s->p->classes; n++) {
        programme_class *const c = &s->classes[n];
        size_t kept = 0;
        for (size_t k = 0; k < c->count; k++)
            if (c->items[k].rest <= s->limit)
                c->items[kept++] = c->items[k];
        c->count = kept;
    }
    qsort(s->classes, s->p->classes, sizeof *s->classes, by_items_left);
    for (size_t n = s->p->classes; n-- > 0;) {
        s->classes[n].least_after = after;
        after += s->classes[n].items[0].size;
    }
}

/* Items in order of falling savings per size, starting from the smallest ones: a solution without a search. taken[n],
 * which must be 0, becomes the item of class n. */
static void take_greedily(programme_search *s, size_t *taken)
{
    organ_programme *const p = s->p;
    p->size = 0;
    for (size_t n = 0; n < p->classes; n++)
        p->size += s->classes[n].items[0].size;
    for (;;) {
        double most = 0;
        size_t class = 0, item = 0;
        for (size_t n = 0; n < p->classes; n++)
            for (size_t k = taken[n] + 1; k < s->classes[n].count; k++) {
                const programme_item *const from = &s->classes[n].items[taken[n]], *const to = &s->classes[n].items[k];
                const double saved = (from->cost - to->cost) / (double)(to->size - from->size);
                if (to->size - from->size <= p->capacity - p->size && saved > most) {
                    most = saved;
                    class = n;
                    item = k;
                }
            }
        if (most <= 0)
            break;
        p->size += s->classes[class].items[item].size - s->classes[class].items[taken[class]].size;
        taken[class] = item;
    }
    p->cost = 0;
    for (size_t n = 0; n < p->classes; n++) {
        p->cost += s->classes[n].items[taken[n]].cost;
        p->chosen[s->classes[n].number] = s->classes[n].items[taken[n]].number;
    }
}

/* A solution that costs more than the known one by rounding alone is not excluded. */
static void set_limit(programme_search *s)
{
    const organ_programme *const p = s->p;
    s->limit = fmax(p->cost - p->bound, 0) + 1e-12 * (p->cost + p->price * (double)p->capacity);
}

/* Returns the number of classes with more than one item. */
static size_t classes_left(const programme_search *s)
{
    size_t count = 0;
    for (size_t n = 0; n < s->p->classes; n++)
        count += s->classes[n].count > 1;
    return count;
}

/* The first search keeps few steps; its solution limits the second one, which is exact unless it discards steps. */
static bool search_twice(programme_search *s)
{
    organ_programme *const p = s->p;
    ORGAN_OWNED size_t *const taken = calloc(p->classes + 1, sizeof *taken);
    if (!taken)
        return false;
    take_greedily(s, taken);
    for (unsigned k = 0; k < 2 && (k == 0 || s->cut); k++) {
        set_limit(s);
        remove_items(s);
        if (!search_classes(s, k == 0 ? FAST : LINKS / (classes_left(s) + 1)))
            return false;
    }
    p->exact = !s->cut;
    return true;
}

/* ---- the solution ---- */

/* The smallest costs are added first, so that equal choices cost the same whatever the capacity was: the order of
 * the classes in a search depends on it. Returns false if memory cannot be allocated. */
static bool add_costs(organ_programme *p)
{
    ORGAN_OWNED double *const costs = calloc(p->classes + 1, sizeof *costs);
    if (!costs)
        return false;
    for (size_t n = 0; n < p->classes; n++)
        costs[n] = p->costs[n * p->items + p->chosen[n]];
    qsort(costs, p->classes, sizeof *costs, organ_order_numbers);
    p->cost = 0;
    for (size_t n = 0; n < p->classes; n++)
        p->cost += costs[n];
    return true;
}

static bool is_copy(const organ_programme *p)
{
    for (size_t n = 0; n < p->classes; n++)
        if (p->chosen[n] + 1 != p->items)
            return false;
    return true;
}

/* All classes are unchanged, which costs 0. Every other choice changes a class, so the least cost is that of the
 * cheapest change alone; of equal ones the smallest. */
static void change_one(organ_programme *p)
{
    size_t class = p->classes, item = 0;
    for (size_t n = 0; n < p->classes; n++)
        for (size_t k = 0; k + 1 < p->items; k++) {
            const size_t at = n * p->items + k, best = class * p->items + item;
            if (p->sizes[at] < p->sizes[(n + 1) * p->items - 1] &&
                (class == p->classes || p->costs[at] < p->costs[best] ||
                 (p->costs[at] == p->costs[best] && p->sizes[at] < p->sizes[best]))) {
                class = n;
                item = k;
            }
        }
    p->copied = true;
    if (class == p->classes)
        return;
    p->chosen[class] = item;
    p->size -= p->sizes[(class + 1) * p->items - 1] - p->sizes[class * p->items + item];
}

/* ---- a programme ---- */

static bool search_allocate(programme_search *s)
{
    const organ_programme *const p = s->p;
    s->classes = calloc(p->classes + 1, sizeof *s->classes);
    s->items = calloc(p->classes * p->items + 1, sizeof *s->items);
    s->first = calloc(p->classes + 1, sizeof *s->first);
    return s->classes && s->items && s->first;
}

/* Returns false if no choice fits into the capacity. */
static bool list_classes(programme_search *s)
{
    organ_programme *const p = s->p;
    bool all = true;
    p->least = 0;
    for (size_t n = 0; n < p->classes; n++) {
        s->classes[n].items = s->items + n * p->items;
        list_items(p, n, &s->classes[n]);
        all &= s->classes[n].count > 0;
        p->least += s->classes[n].count ? s->classes[n].items[0].size : 0;
    }
    return all && p->least <= p->capacity;
}

bool organ_programme_solve(organ_programme *p)
{
    programme_search s = {.p = p};
    bool solved = search_allocate(&s);
    p->exact = p->copied = false;
    p->feasible = solved && list_classes(&s);
    if (p->feasible) {
        p->price = best_price(&s);
        p->bound = price_items(&s, p->price) - p->price * (double)p->capacity;
        solved = search_twice(&s);
        if (solved && p->no_copy && is_copy(p))
            change_one(p);
        solved = solved && add_costs(p);
        p->bound = p->exact ? p->cost : fmin(p->bound, p->cost);
    }
    ORGAN_FREE_ARRAYS(s.classes, s.items, s.first, s.now.of, s.next.of, s.links);
    return solved;
}
