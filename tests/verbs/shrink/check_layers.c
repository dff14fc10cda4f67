/* SPDX-License-Identifier: MIT
 * Tests of the blocks that --drop names, and of the search for blocks: against all sets, on costs that depend on pairs
 * of blocks. */
#include "orchestrator/verbs/shrink/layers_parts.h"
#include "tests/kit/require.h"
#include "tests/kit/suite_table.h"
#include "tests/verbs/shrink/layers_rig.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- --drop ---- */

enum { BLOCKS = 12 };

static const struct {
    const char *text, *flags; /* NULL: only `count` is checked */
    size_t count;
} requested[] = {{"8", NULL, 8},
                 {"1", NULL, 1},
                 {"11", NULL, 11},
                 {"5-8", "000001111000", 4},
                 {"8-8", "000000001000", 1},
                 {"8,", "000000001000", 1},
                 {"0,", "100000000000", 1},
                 {"3,7,9-11", "000100010111", 5},
                 {"9-11,3,7", "000100010111", 5},
                 {"007-008", "000000011000", 2},
                 {"0-10", "111111111110", 11}};
enum { ASKED = sizeof requested / sizeof *requested };

START_TEST(blocks_are_named_or_counted)
{
    organ_error error = {0};
    organ_layers_drop drop;
    ck_assert_msg(organ_layers_drop_parse(requested[_i].text, BLOCKS, "M", &drop, &error) == ORGAN_OK, "%s: %s",
                  requested[_i].text, error.message);
    ck_assert_uint_eq(drop.count, requested[_i].count);
    ck_assert_int_eq(drop.named, requested[_i].flags != NULL);
    for (size_t l = 0; l < BLOCKS; l++)
        REQUIRE_MSG(drop.dropped[l] == (requested[_i].flags && requested[_i].flags[l] == '1'), "%s: block %zu",
                    requested[_i].text, l);
    free(drop.dropped);
}
END_TEST

static const struct {
    const char *text, *says;
} refused[] = {{"", "`drop` has ''"},
               {"five", "`drop` has 'five'"},
               {"5-", "`drop` has '5-'"},
               {"-5", "`drop` has '-5'"},
               {"8-5", "`drop` has '8-5'"},
               {"3,,4", "`drop` has ',4'"},
               {",", "`drop` has ','"},
               {"3 4", "`drop` has '3 4'"},
               {"3,x", "`drop` has 'x'"},
               {"1-2-3", "`drop` has '1-2-3'"},
               {"12,", "names block 12, but M has blocks 0 to 11"},
               {"9-12", "names block 12, but"},
               {"20-30", "names block 20, but"},
               {"99999999999999999999,", "but M has blocks 0 to 11"},
               {"3,2-4", "names block 3 twice"},
               {"0", "drops no block; for block 0 alone give 0-0 or 0,"},
               {"12", "leaves no block: M has 12"},
               {"99999999999999999999", "leaves no block"},
               {"0-11", "leaves no block"}};
enum { REFUSED = sizeof refused / sizeof *refused };

START_TEST(what_is_no_block_is_refused)
{
    organ_error error = {0};
    organ_layers_drop drop;
    ck_assert_int_eq(organ_layers_drop_parse(refused[_i].text, BLOCKS, "M", &drop, &error), ORGAN_USAGE);
    ck_assert_msg(strstr(error.message, refused[_i].says) != NULL, "%s: %s", refused[_i].text, error.message);
    free(drop.dropped);
}
END_TEST

/* ---- the search ---- */

enum { MAX = 10 };

/* Costs of single blocks, and corrections for pairs. */
typedef struct costs {
    size_t layers, requested;
    double alone[MAX], both[MAX][MAX];
} costs;

static double cost_of(const costs *c, const bool *dropped)
{
    double sum = 0;
    for (size_t a = 0; a < c->layers; a++)
        for (size_t b = a; b < c->layers && dropped[a]; b++)
            if (dropped[b])
                sum += a == b ? c->alone[a] : c->both[a][b];
    return sum;
}

static organ_status judge(void *context, const bool *dropped, size_t count, double *divergence, organ_error *error)
{
    costs *const c = context;
    REQUIRE(count > 0 && count <= ORGAN_LAYERS_ALL);
    for (size_t k = 0; k < count; k++)
        divergence[k] = cost_of(c, dropped + k * c->layers);
    c->requested += count;
    return error->status;
}

/* Returns a pseudo-random number. */
static double drawn(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(*state >> 40) / (double)(1 << 24);
}

static costs make_costs(size_t layers, uint64_t seed)
{
    costs c = {.layers = layers};
    for (size_t a = 0; a < layers; a++) {
        c.alone[a] = 1 + drawn(&seed);
        for (size_t b = a + 1; b < layers; b++)
            c.both[a][b] = 2 * drawn(&seed) - 1;
    }
    return c;
}

static organ_layers_search search_of(costs *c, size_t dropped_count, size_t rounds, size_t all)
{
    return (organ_layers_search){.layers = c->layers,
                                 .requested = dropped_count,
                                 .influence = c->alone,
                                 .rounds = rounds,
                                 .all = all,
                                 .context = c,
                                 .judge = judge};
}

/* Returns the lowest cost over all sets, counted in binary. */
static double least_of(const costs *c, size_t dropped_count)
{
    double least = INFINITY;
    for (unsigned set = 0; set < 1u << c->layers; set++) {
        bool dropped[MAX];
        size_t count = 0;
        for (size_t l = 0; l < c->layers; l++)
            count += dropped[l] = set >> l & 1;
        least = count == dropped_count ? fmin(least, cost_of(c, dropped)) : least;
    }
    return least;
}

START_TEST(few_sets_are_all_judged)
{
    for (size_t dropped_count = 1; dropped_count < 4; dropped_count++) {
        costs c = make_costs(4, (uint64_t)_i);
        organ_error error = {0};
        organ_layers_found found;
        const organ_layers_search s = search_of(&c, dropped_count, 3, ORGAN_LAYERS_ALL);
        ck_assert_int_eq(organ_layers_search_run(&s, &found, &error), ORGAN_OK);
        ck_assert_double_eq(found.sets[found.best].divergence, least_of(&c, dropped_count));
        ck_assert(found.whole && found.locally_optimal);
        ck_assert_uint_eq(found.count, dropped_count == 2 ? 6 : 4);
        ck_assert_uint_eq(c.requested, found.count);
        organ_layers_found_release(&found);
    }
}
END_TEST

/* The search ends when no exchange of two blocks is better, which this checks by trying all; every set is judged
 * once. */
START_TEST(no_exchange_makes_it_better)
{
    costs c = make_costs(MAX, (uint64_t)_i);
    organ_error error = {0};
    organ_layers_found found;
    const organ_layers_search s = search_of(&c, 4, 1000, 0);
    ck_assert_int_eq(organ_layers_search_run(&s, &found, &error), ORGAN_OK);
    ck_assert(found.locally_optimal && !found.whole);
    ck_assert_uint_eq(c.requested, found.count);
    const organ_layers_set *const best = &found.sets[found.best];
    for (size_t out = 0; out < MAX; out++)
        for (size_t back = 0; back < MAX; back++) {
            bool made[MAX];
            memcpy(made, best->dropped, sizeof made);
            if (!made[back] || made[out])
                continue;
            made[back] = false;
            made[out] = true;
            REQUIRE_MSG(cost_of(&c, made) >= best->divergence, "%zu for %zu is better", out, back);
        }
    for (size_t k = 0; k < found.count; k++)
        for (size_t other = 0; other < k; other++)
            REQUIRE(memcmp(found.sets[k].dropped, found.sets[other].dropped, MAX) != 0);
    ck_assert_uint_eq(found.path[0], 0);
    ck_assert_uint_eq(found.path[found.steps - 1], found.best);
    for (size_t k = 1; k < found.steps; k++)
        ck_assert_double_lt(found.sets[found.path[k]].divergence, found.sets[found.path[k - 1]].divergence);
    organ_layers_found_release(&found);
}
END_TEST

/* The best set of four blocks need not contain the best set of three, so the search exchanges blocks and does not only
 * add them. */
START_TEST(the_best_of_more_need_not_hold_the_best_of_fewer)
{
    costs c = {.layers = 5, .alone = {1, 1.1, 1.2, 9, 9}};
    c.both[1][2] = -2;
    organ_error error = {0};
    organ_layers_found one, two;
    const organ_layers_search first = search_of(&c, 1, 9, 0), second = search_of(&c, 2, 9, 0);
    ck_assert_int_eq(organ_layers_search_run(&first, &one, &error), ORGAN_OK);
    ck_assert_int_eq(organ_layers_search_run(&second, &two, &error), ORGAN_OK);
    ck_assert(one.sets[one.best].dropped[0]);
    ck_assert(!two.sets[two.best].dropped[0] && two.sets[two.best].dropped[1] && two.sets[two.best].dropped[2]);
    organ_layers_found_release(&one);
    organ_layers_found_release(&two);
}
END_TEST

START_TEST(rounds_bound_it)
{
    costs c = make_costs(MAX, 3);
    organ_error error = {0};
    organ_layers_found found;
    organ_layers_search s = search_of(&c, 5, 0, ORGAN_LAYERS_ALL);
    ck_assert_int_eq(organ_layers_search_run(&s, &found, &error), ORGAN_OK);
    ck_assert_uint_eq(found.count, 1);
    ck_assert(!found.locally_optimal);
    organ_layers_found_release(&found);
    s.rounds = 1;
    ck_assert_int_eq(organ_layers_search_run(&s, &found, &error), ORGAN_OK);
    ck_assert_uint_eq(found.count, 1 + ORGAN_LAYERS_ROUND);
    ck_assert(!found.locally_optimal);
    organ_layers_found_release(&found);
}
END_TEST

static Suite *layers_suite(void)
{
    Suite *const suite = suite_create("layers");
    TCase *const named = tcase_create("drop"), *const searched = tcase_create("search");
    tcase_add_loop_test(named, blocks_are_named_or_counted, 0, ASKED);
    tcase_add_loop_test(named, what_is_no_block_is_refused, 0, REFUSED);
    tcase_add_loop_test(searched, few_sets_are_all_judged, 0, 8);
    tcase_add_loop_test(searched, no_exchange_makes_it_better, 0, 8);
    tcase_add_test(searched, the_best_of_more_need_not_hold_the_best_of_fewer);
    tcase_add_test(searched, rounds_bound_it);
    suite_add_tcase(suite, named);
    suite_add_tcase(suite, searched);
    return suite;
}

int main(void) { return run_suites((Suite *const[]){layers_suite(), layer_sets_suite(), layers_heal_suite(), NULL}); }
