/* SPDX-License-Identifier: MIT
 * Tests of the integer programme: small ones against all choices, large ones against dynamic programming over the
 * capacity. */
#include "orchestrator/surgery/allocate/allocate.h"
#include "tests/kit/suite_table.h"
#include "tests/surgery/allocate/allocate_rig.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CLASSES = 200, ITEMS = 12, SMALL = 6, FEW = 5, CAPACITY = 6000 };

static uint64_t sizes[CLASSES * ITEMS];
static double costs[CLASSES * ITEMS];
static size_t chosen[CLASSES];
static uint64_t state;

/* A linear congruential generator: numbers below `below`. */
static uint64_t draw(uint64_t below)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (state >> 33) % below;
}

/* The chosen items must have the sizes and costs that the programme reports. */
static void check_sums(const organ_programme *p)
{
    uint64_t size = 0;
    double cost = 0;
    for (size_t n = 0; n < p->classes; n++) {
        ck_assert_uint_lt(p->chosen[n], p->items);
        ck_assert_uint_ne(p->sizes[n * p->items + p->chosen[n]], ORGAN_PROGRAMME_NONE);
        size += p->sizes[n * p->items + p->chosen[n]];
        cost += p->costs[n * p->items + p->chosen[n]];
    }
    ck_assert_uint_eq(size, p->size);
    ck_assert_uint_le(size, p->capacity);
    ck_assert_double_le(fabs(cost - p->cost), 1e-12 * (1 + cost));
    ck_assert_double_le(p->bound, p->cost);
}

/* ---- all choices ---- */

/* Returns the least cost of classes n and later within `capacity`; INFINITY if none fits. */
static double least_of(size_t n, uint64_t capacity)
{
    double least = INFINITY;
    if (n == SMALL)
        return 0;
    for (size_t k = 0; k < FEW; k++)
        if (sizes[n * FEW + k] <= capacity)
            least = fmin(least, costs[n * FEW + k] + least_of(n + 1, capacity - sizes[n * FEW + k]));
    return least;
}

/* Costs that do not fall with the size, equal sizes, equal costs, missing items and capacities at which nothing or
 * everything fits occur among these programmes. */
START_TEST(small_programmes_have_the_least_cost)
{
    organ_programme p = {.classes = SMALL, .items = FEW, .sizes = sizes, .costs = costs, .chosen = chosen};
    size_t feasible = 0;
    state = 7;
    for (size_t round = 0; round < 3000; round++) {
        const uint64_t coarse = 1 + draw(8);
        for (size_t k = 0; k < (size_t)SMALL * FEW; k++) {
            sizes[k] = draw(10) ? coarse * draw(100 / coarse) : ORGAN_PROGRAMME_NONE;
            costs[k] = (double)draw(round % 2 ? 10 : 1000000) / 1e4;
        }
        p.capacity = draw(400);
        ck_assert(organ_programme_solve(&p));
        const double least = least_of(0, p.capacity);
        ck_assert_int_eq(p.feasible, isfinite(least));
        if (!p.feasible)
            continue;
        feasible++;
        check_sums(&p);
        ck_assert(p.exact);
        ck_assert_double_le(fabs(p.cost - least), 1e-12 * (1 + least));
    }
    ck_assert_uint_gt(feasible, 1000);
    ck_assert_uint_lt(feasible, 2900);
}
END_TEST

/* ---- as many classes as a model has tensors ---- */

/* Classes of few shapes, with costs that fall as those of types with more bits. */
static void draw_model(void)
{
    static const uint64_t shapes[] = {1, 1, 2, 2, 5, 5, 6};
    state = 11;
    for (size_t n = 0; n < CLASSES; n++) {
        const double scale = exp((double)draw(3000) / 500 - 12);
        for (size_t k = 0; k < ITEMS; k++) {
            sizes[n * ITEMS + k] = shapes[n % 7] * (2 + k);
            costs[n * ITEMS + k] = scale * exp2(-2.0 * (double)k) * (1 + (double)draw(1000) / 2000);
        }
    }
}

/* best[c]: the least cost within a size of c. */
static double least_by_capacity(void)
{
    static double best[CAPACITY + 1], next[CAPACITY + 1];
    memset(best, 0, sizeof best);
    for (size_t n = 0; n < CLASSES; n++) {
        for (size_t c = 0; c <= CAPACITY; c++) {
            next[c] = INFINITY;
            for (size_t k = 0; k < ITEMS && sizes[n * ITEMS + k] <= c; k++)
                next[c] = fmin(next[c], costs[n * ITEMS + k] + best[c - sizes[n * ITEMS + k]]);
        }
        memcpy(best, next, sizeof best);
    }
    return best[CAPACITY];
}

START_TEST(a_programme_of_a_whole_model_is_exact)
{
    organ_programme p = {
        .classes = CLASSES, .items = ITEMS, .sizes = sizes, .costs = costs, .capacity = CAPACITY, .chosen = chosen};
    draw_model();
    ck_assert(organ_programme_solve(&p));
    ck_assert(p.feasible && p.exact);
    check_sums(&p);
    const double least = least_by_capacity();
    ck_assert_double_le(fabs(p.cost - least), 1e-12 * least);
    ck_assert_double_eq(p.bound, p.cost);
}
END_TEST

/* Sizes without a common divisor are the hardest: if the search ends early, the bound is still near. */
START_TEST(the_bound_is_near_if_sizes_are_arbitrary)
{
    organ_programme p = {.classes = CLASSES, .items = ITEMS, .sizes = sizes, .costs = costs, .chosen = chosen};
    draw_model();
    for (size_t k = 0; k < (size_t)CLASSES * ITEMS; k++)
        sizes[k] = sizes[k] * 1000003 + draw(1000);
    p.capacity = (uint64_t)CAPACITY * 1000003 + 77;
    ck_assert(organ_programme_solve(&p));
    ck_assert(p.feasible);
    check_sums(&p);
    ck_assert_double_le(p.cost - p.bound, 1e-4 * p.cost);
}
END_TEST

START_TEST(extreme_capacities)
{
    organ_programme p = {.classes = CLASSES, .items = ITEMS, .sizes = sizes, .costs = costs, .chosen = chosen};
    uint64_t least = 0, most = 0;
    draw_model();
    for (size_t n = 0; n < CLASSES; n++) {
        least += sizes[n * ITEMS];
        most += sizes[n * ITEMS + ITEMS - 1];
    }
    p.capacity = least - 1;
    ck_assert(organ_programme_solve(&p));
    ck_assert(!p.feasible);
    ck_assert_uint_eq(p.least, least);
    p.capacity = least;
    ck_assert(organ_programme_solve(&p));
    ck_assert(p.feasible && p.exact);
    ck_assert_uint_eq(p.size, least);
    p.capacity = 2 * most;
    ck_assert(organ_programme_solve(&p));
    ck_assert(p.feasible && p.exact);
    check_sums(&p);
    ck_assert_uint_le(p.size, most);
    p.classes = 0;
    ck_assert(organ_programme_solve(&p));
    ck_assert(p.feasible && p.exact);
    ck_assert_uint_eq(p.size, 0);
}
END_TEST

/* The last item of each class leaves it unchanged, at no cost. Returns the cost of the cheapest smaller item. */
static double least_change(void)
{
    double least = INFINITY;
    for (size_t n = 0; n < SMALL; n++)
        for (size_t k = 0; k + 1 < FEW; k++)
            if (sizes[n * FEW + k] < sizes[n * FEW + FEW - 1])
                least = fmin(least, costs[n * FEW + k]);
    return least;
}

static bool all_unchanged(const organ_programme *p)
{
    size_t unchanged = 0;
    for (size_t n = 0; n < p->classes; n++)
        unchanged += p->chosen[n] + 1 == p->items;
    return unchanged == p->classes;
}

/* A larger capacity never costs more, at and above that of the copy too, and no choice is the copy. */
START_TEST(larger_capacities_cost_no_more_and_give_no_copy)
{
    organ_programme p = {
        .classes = SMALL, .items = FEW, .sizes = sizes, .costs = costs, .no_copy = true, .chosen = chosen};
    state = 3;
    for (size_t round = 0; round < 200; round++) {
        uint64_t whole = 0;
        double before = INFINITY;
        for (size_t k = 0; k < (size_t)SMALL * FEW; k++) {
            const bool last = k % FEW == FEW - 1;
            sizes[k] = last ? 100 + draw(50) : 1 + draw(99);
            costs[k] = last ? 0 : (double)(1 + draw(1000)) / 1e4;
            whole += last ? sizes[k] : 0;
        }
        for (p.capacity = 100; p.capacity < whole + 30; p.capacity += 1 + draw(20)) {
            ck_assert(organ_programme_solve(&p));
            if (!p.feasible)
                continue;
            check_sums(&p);
            ck_assert(p.exact && !all_unchanged(&p));
            ck_assert_int_eq(p.copied, p.capacity >= whole);
            /* sums of different costs that are equal differ by rounding */
            ck_assert_double_le(p.cost, before * (1 + 1e-12));
            before = p.cost;
            if (p.copied)
                ck_assert_double_eq(p.cost, least_change());
        }
    }
    for (size_t n = 0; n < SMALL; n++)
        sizes[n * FEW + FEW - 1] = 0;
    p.capacity = 1000000;
    ck_assert(organ_programme_solve(&p));
    ck_assert(p.copied && all_unchanged(&p));
}
END_TEST

/* Costs are added in an order that does not depend on the capacity. */
START_TEST(equal_choices_cost_the_same)
{
    organ_programme p = {.classes = CLASSES, .items = ITEMS, .sizes = sizes, .costs = costs, .chosen = chosen};
    double before = INFINITY;
    draw_model();
    for (p.capacity = CAPACITY - 40; p.capacity < CAPACITY + 40; p.capacity += 4) {
        ck_assert(organ_programme_solve(&p));
        ck_assert_double_le(p.cost, before);
        before = p.cost;
    }
    for (p.capacity = (uint64_t)20 * CAPACITY; p.capacity < (uint64_t)40 * CAPACITY; p.capacity += CAPACITY) {
        ck_assert(organ_programme_solve(&p));
        before = p.capacity == (uint64_t)20 * CAPACITY ? p.cost : before;
        ck_assert_double_eq(p.cost, before);
    }
}
END_TEST

Suite *programme_suite(void)
{
    Suite *const suite = suite_create("programme");
    TCase *const plainly = tcase_create("choice");
    tcase_set_timeout(plainly, 120);
    tcase_add_test(plainly, small_programmes_have_the_least_cost);
    tcase_add_test(plainly, a_programme_of_a_whole_model_is_exact);
    tcase_add_test(plainly, the_bound_is_near_if_sizes_are_arbitrary);
    tcase_add_test(plainly, extreme_capacities);
    tcase_add_test(plainly, larger_capacities_cost_no_more_and_give_no_copy);
    tcase_add_test(plainly, equal_choices_cost_the_same);
    suite_add_tcase(suite, plainly);
    return suite;
}
