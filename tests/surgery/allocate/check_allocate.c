/* SPDX-License-Identifier: MIT
 * Tests of budgets over many tensors: parsing of budgets, curves and their division against numpy, the file of
 * curves. */
#include "orchestrator/surgery/allocate/allocate.h"
#include "tests/kit/model_maker.h"
#include "tests/kit/require.h"
#include "tests/kit/suite_table.h"
#include "tests/surgery/allocate/allocate_rig.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- budgets ---- */

START_TEST(budgets_are_read)
{
    static const struct {
        const char *text;
        organ_budget_unit unit;
        double amount;
    } good[] = {{"50%", ORGAN_BUDGET_PERCENT, 50},      {"0.5%", ORGAN_BUDGET_PERCENT, 0.5},
                {"99.9%", ORGAN_BUDGET_PERCENT, 99.9},  {"3.5bpw", ORGAN_BUDGET_BITS, 3.5},
                {"16bpw", ORGAN_BUDGET_BITS, 16},       {"9GB", ORGAN_BUDGET_BYTES, 9e9},
                {"9 GB", ORGAN_BUDGET_BYTES, 9e9},      {"9G", ORGAN_BUDGET_BYTES, 9.0 * 1073741824},
                {"512M", ORGAN_BUDGET_BYTES, 536870912}};
    organ_error error = {0};
    organ_budget budget;
    for (size_t k = 0; k < sizeof good / sizeof *good; k++) {
        ck_assert_msg(organ_budget_parse(good[k].text, &budget, &error) == ORGAN_OK, "%s", error.message);
        ck_assert_int_eq((int)budget.unit, (int)good[k].unit);
        ck_assert_double_eq(budget.amount, good[k].amount);
    }
}
END_TEST

START_TEST(what_is_no_budget_is_refused)
{
    static const char *const bad[] = {"",     "50",     "%",   "50 %", "-5%", "+5%",  "0%",    "100%",
                                      "1e1%", "5%%",    ".5%", "5.%",  "bpw", "0bpw", "65bpw", "3bpw2",
                                      "nan%", "1.2.3%", "0GB", "GB",   "9XB", "0x10%"};
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        organ_error error = {0};
        organ_budget budget = {ORGAN_BUDGET_BITS, -1};
        ck_assert_msg(organ_budget_parse(bad[k], &budget, &error) == ORGAN_USAGE, "'%s' is taken", bad[k]);
        ck_assert_ptr_nonnull(strstr(error.message, "`allocate.budget`"));
        ck_assert_double_eq(budget.amount, -1);
    }
}
END_TEST

/* ---- division of a budget ---- */

static json_t *read_golden(organ_allocation *a)
{
    json_t *const golden = json_load_file("fixtures/allocation/golden.json", 0, NULL);
    ck_assert_ptr_nonnull(golden);
    const json_t *const curves = json_object_get(golden, "curves"), *const sizes = json_object_get(golden, "sizes");
    *a = (organ_allocation){
        .levels = organ_sparsity_levels, .level_count = ORGAN_SPARSITY_LEVELS, .count = json_array_size(curves)};
    a->tensors = calloc(a->count, sizeof *a->tensors);
    for (size_t t = 0; t < a->count; t++) {
        a->tensors[t].elements = (uint64_t)json_integer_value(json_array_get(sizes, t));
        a->tensors[t].known = true;
        for (size_t k = 0; k < a->level_count; k++)
            a->tensors[t].cost[k] = json_number_value(json_array_get(json_array_get(curves, t), k));
    }
    return golden;
}

static double member(const json_t *of, const char *name) { return json_number_value(json_object_get(of, name)); }

START_TEST(curves_are_those_of_numpy)
{
    organ_allocation a;
    json_t *const golden = read_golden(&a), *probe;
    size_t k;
    json_array_foreach(json_object_get(golden, "probes"), k, probe)
    {
        const double requested = member(probe, "cost"),
                     own = organ_allocation_cost(&a, &a.tensors[(size_t)member(probe, "tensor")],
                                                 member(probe, "sparsity"));
        ck_assert_msg(fabs(own - requested) <= 1e-12 * requested, "probe %zu: %g, not %g", k, own, requested);
    }
    ck_assert_uint_gt(k, 20);
    json_decref(golden);
    organ_allocation_release(&a);
}
END_TEST

START_TEST(budgets_are_divided_as_numpy_does)
{
    organ_allocation a;
    json_t *const golden = read_golden(&a), *one;
    size_t k;
    json_array_foreach(json_object_get(golden, "cases"), k, one)
    {
        const double budget = member(one, "budget"), way = member(one, "way");
        double met = 0, all = 0, cost = 0, uniform = 0;
        ck_assert(organ_allocation_divide(&a, budget, way));
        for (size_t t = 0; t < a.count; t++) {
            const organ_allocation_tensor *const own = &a.tensors[t];
            const double requested = json_number_value(json_array_get(json_object_get(one, "given"), t));
            ck_assert_msg(fabs(own->sparsity - requested) < 1e-9, "case %zu, tensor %zu: %.12g, not %.12g", k, t,
                          own->sparsity, requested);
            ck_assert(own->sparsity >= ORGAN_ALLOCATION_MIN - 1e-12 && own->sparsity <= ORGAN_ALLOCATION_MAX + 1e-12);
            met += own->sparsity * (double)own->elements;
            all += (double)own->elements;
            cost += organ_allocation_cost(&a, own, own->sparsity);
            uniform += organ_allocation_cost(&a, own, budget);
        }
        ck_assert_double_eq_tol(met / all, budget, 1e-12);
        ck_assert_double_eq_tol(a.cost, cost, 1e-15);
        ck_assert_double_eq_tol(a.uniform_cost, uniform, 1e-15);
        ck_assert(a.cost < a.uniform_cost);
    }
    ck_assert_uint_eq(k, 12);
    json_decref(golden);
    organ_allocation_release(&a);
}
END_TEST

/* Equal tensors get equal levels, also at the limits of the levels. */
START_TEST(tensors_that_are_alike_get_the_same)
{
    organ_allocation_tensor tensors[3];
    organ_allocation a = {
        .levels = organ_sparsity_levels, .level_count = ORGAN_SPARSITY_LEVELS, .count = 3, .tensors = tensors};
    static const double budgets[] = {0.20, 0.5, 0.95};
    for (size_t t = 0; t < 3; t++)
        tensors[t] = (organ_allocation_tensor){.elements = 1000, .cost = {4e-4, 1e-2}, .known = true};
    for (size_t k = 0; k < 3; k++) {
        ck_assert(organ_allocation_divide(&a, budgets[k], 1));
        for (size_t t = 0; t < 3; t++)
            ck_assert_double_eq_tol(tensors[t].sparsity, budgets[k], 1e-9);
    }
}
END_TEST

START_TEST(layers_between_are_filled_in)
{
    organ_allocation a;
    rig_allocation(&a);
    size_t missing = 99;
    for (size_t t = 0; t < a.count; t++)
        a.tensors[t].known = a.tensors[t].layer % 4 == 0;
    ck_assert(organ_allocation_fill(&a, &missing));
    for (size_t t = 0; t < a.count; t++) {
        const organ_allocation_tensor *const own = &a.tensors[t];
        const size_t role = t % 2, before = (size_t)own->layer / 4 * 8 + role,
                     after = before + 8 < a.count ? before + 8 : before;
        const double at = own->layer % 4 / 4.0, low = a.tensors[before].cost[1], high = a.tensors[after].cost[1];
        ck_assert(own->known && own->between == (own->layer % 4 != 0));
        ck_assert_double_eq_tol(log(own->cost[1]), log(low) + at * (log(high) - log(low)), 1e-9);
    }
    a.tensors[1].role = "v_proj";
    a.tensors[1].known = false;
    ck_assert(!organ_allocation_fill(&a, &missing));
    ck_assert_uint_eq(missing, 1);
    organ_allocation_release(&a);
}
END_TEST

/* ---- the file of curves ---- */

static void write_file(const organ_allocation *a, const json_t *identity, const char *path)
{
    organ_error error = {0};
    ck_assert_msg(organ_allocation_write(a, identity, path, NULL, &error) == ORGAN_OK, "%s", error.message);
}

START_TEST(a_file_is_read_back_bit_for_bit)
{
    organ_allocation a, b;
    organ_error error = {0};
    bool found = false;
    json_t *const identity = json_pack("{ss,si}", "text", "0123", "tokens", 64);
    rig_allocation(&a);
    rig_allocation(&b);
    for (size_t t = 0; t < b.count; t++)
        memset(b.tensors[t].cost, 0, sizeof b.tensors[t].cost);
    ck_assert_int_eq(organ_allocation_read(&b, identity, scratch_path("none"), &found, &error), ORGAN_OK);
    ck_assert(!found);
    a.tensors[2].between = true;
    write_file(&a, identity, scratch_path("curves"));
    ck_assert_msg(organ_allocation_read(&b, identity, scratch_path("curves"), &found, &error) == ORGAN_OK, "%s",
                  error.message);
    ck_assert(found);
    for (size_t t = 0; t < a.count; t++) {
        ck_assert_mem_eq(a.tensors[t].cost, b.tensors[t].cost, sizeof a.tensors[t].cost);
        ck_assert(b.tensors[t].known && b.tensors[t].between == a.tensors[t].between);
    }
    json_decref(identity);
    organ_allocation_release(&a);
    organ_allocation_release(&b);
}
END_TEST

START_TEST(a_file_without_all_curves_gives_those_that_it_has)
{
    organ_allocation a, b;
    organ_error error = {0};
    bool whole = true;
    json_t *const identity = json_pack("{ss}", "text", "0123");
    rig_allocation(&a);
    rig_allocation(&b);
    for (size_t t = 0; t < a.count; t++) {
        a.tensors[t].known = t != 3;
        b.tensors[t].known = false;
    }
    write_file(&a, identity, scratch_path("curves"));
    ck_assert_msg(organ_allocation_read(&b, identity, scratch_path("curves"), &whole, &error) == ORGAN_OK, "%s",
                  error.message);
    ck_assert(!whole);
    for (size_t t = 0; t < a.count; t++)
        ck_assert(b.tensors[t].known == (t != 3));
    json_decref(identity);
    organ_allocation_release(&a);
    organ_allocation_release(&b);
}
END_TEST

/* A change to a valid file, the resulting status, and a part of the message. */
static const struct defect {
    const char *from, *to;
    organ_status status;
    const char *told;
} defects[] = {
    {"\"organ.allocation/1\"", "\"organ.prune/1\"", ORGAN_BAD_INPUT, "its schema is 'organ.prune/1'"},
    {"\"organ.allocation/1\"", "7", ORGAN_BAD_INPUT, "its schema is ''"},
    {"{", "[", ORGAN_BAD_INPUT, "curves"},
    {"\"0123\"", "\"4567\"", ORGAN_USAGE, "its text is \"4567\", but here it is \"0123\""},
    {"\"text\"", "\"test\"", ORGAN_BAD_INPUT, "the member \"text\" is missing"},
    {"\"tokens\": 64", "\"tokens\": 65", ORGAN_USAGE, "its tokens is 65, but here it is 64"},
    {"0.5", "0.51", ORGAN_BAD_INPUT, "the member \"levels\" is not the 2 levels from 0.5 to 0.8"},
    {"\"levels\"", "\"level\"", ORGAN_BAD_INPUT, "the member \"levels\" is not the 2 levels"},
    {"\"tensors\"", "\"tensor\"", ORGAN_BAD_INPUT, "the member \"tensors\" is missing"},
    {"layers.1.up", "layers.1.down", ORGAN_USAGE, "tensors[2].name is 'layers.1.down'"},
    {"\"elements\": 1000", "\"elements\": 999", ORGAN_BAD_INPUT, "tensors[0].elements is 999"},
    {"\"elements\": 1000", "\"elements\": \"1000\"", ORGAN_BAD_INPUT, "tensors[0].elements is missing or no number"},
    {"\"cost\": [", "\"cost\": [1, ", ORGAN_BAD_INPUT, "tensors[0].cost is not 2 numbers"},
    {"\"cost\": [", "\"cost\": [-", ORGAN_BAD_INPUT, "tensors[0].cost is not 2 numbers"},
    {"\"cost\": [", "\"cost\": [1e9, ", ORGAN_BAD_INPUT, "tensors[0].cost is not 2 numbers"},
    {"\"cost\": [", "\"cast\": [", ORGAN_BAD_INPUT, "tensors[0].cost is not 2 numbers"},
    {"\"name\": ", "\"name\": 3, \"nome\": ", ORGAN_BAD_INPUT, "tensors[0].name is missing or no text"},
};

START_TEST(a_file_that_does_not_fit_is_refused_by_name)
{
    const struct defect *const d = &defects[_i];
    organ_allocation a;
    organ_error error = {0};
    bool found = false;
    json_t *const identity = json_pack("{ss,si}", "text", "0123", "tokens", 64);
    rig_allocation(&a);
    write_file(&a, identity, scratch_path("curves"));
    json_t *const document = json_load_file(scratch_path("curves"), 0, NULL);
    char *const good = json_dumps(document, 0), *at = strstr(good, d->from), changed[8000];
    ck_assert_msg(at != NULL, "'%s' is not in %s", d->from, good);
    const int length =
        snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - good), good, d->to, at + strlen(d->from));
    ck_assert_uint_lt((size_t)length, sizeof changed);
    spill(scratch_path("curves"), changed, (size_t)length);
    const organ_status status = organ_allocation_read(&a, identity, scratch_path("curves"), &found, &error);
    ck_assert_msg(status == d->status && strstr(error.message, d->told), "ends with %d: %s", (int)status,
                  error.message);
    for (size_t t = 0; t < a.count; t++)
        ck_assert(d->status != ORGAN_BAD_INPUT || !a.tensors[t].known || strstr(d->told, "tensors[") == NULL);
    free(good);
    json_decref(document);
    json_decref(identity);
    organ_allocation_release(&a);
}
END_TEST

void rig_allocation(organ_allocation *a)
{
    char name[40];
    *a = (organ_allocation){.levels = organ_sparsity_levels,
                            .level_count = ORGAN_SPARSITY_LEVELS,
                            .count = 18,
                            .tensors = calloc(18, sizeof *a->tensors)};
    for (size_t t = 0; t < a->count; t++) {
        organ_allocation_tensor *const own = &a->tensors[t];
        snprintf(name, sizeof name, "layers.%zu.%s", t / 2, t % 2 ? "gate" : "up");
        *own = (organ_allocation_tensor){.name = strdup(name),
                                         .role = t % 2 ? "gate_proj" : "up_proj",
                                         .layer = (int32_t)(t / 2),
                                         .elements = 1000 + t,
                                         .known = true};
        for (size_t k = 0; k < a->level_count; k++)
            own->cost[k] = exp((double)k - 9 + (double)(t * 7 % 5) / 3);
    }
}

/* ---- mixed widths ---- */

/* Each measured level is a pass of every tensor through the layers after it, so each makes an allocation that much
 * slower. */
START_TEST(two_levels_are_measured)
{
    size_t widths = 0;
    for (size_t l = 0; l < ORGAN_WIDTH_LEVELS; l++)
        widths += organ_width_measured[l];
    ck_assert_uint_eq(widths, 2);
    ck_assert_uint_eq(ORGAN_SPARSITY_LEVELS, 2);
    ck_assert_uint_le(organ_allocate_tokens(&(organ_allocate_options){.tokens = 0}), 1024);
}
END_TEST

/* Errors proportional to the square of the step give all other widths back; narrow groups cost less, and no curve
 * rises. */
START_TEST(other_widths_follow_from_two)
{
    double cost[ORGAN_WIDTH_LEVELS] = {1.0 / (3 * 3), [4] = 1.0 / (15 * 15)},
           flat[ORGAN_WIDTH_LEVELS] = {1e-3, [4] = 2e-3};
    organ_width_derive_costs(cost, 128);
    ck_assert_double_eq_tol(cost[0], 1.0 / 9, 1e-15);
    ck_assert_double_eq_tol(cost[2], 1.0 / 49, 1e-12);
    ck_assert_double_eq_tol(cost[4], 1.0 / 225, 1e-15);
    ck_assert_double_eq_tol(cost[6], 1.0 / 65025, 1e-12);
    for (size_t l = 0; l < ORGAN_WIDTH_LEVELS; l += 2)
        ck_assert_double_eq_tol(cost[l + 1] / cost[l], 0.689, 1e-3);
    organ_width_derive_costs(cost, 64);
    ck_assert_double_eq_tol(cost[5] / cost[4], 0.817, 1e-3);
    organ_width_derive_costs(flat, 32);
    for (size_t l = 0; l < ORGAN_WIDTH_LEVELS; l += 2)
        ck_assert_double_eq(flat[l + 1], flat[l]);
    ck_assert(flat[2] < flat[0] && flat[6] < flat[4]);
}
END_TEST

enum { CHOSEN = 4, LEVELS = 3 };

/* Returns the least cost of all choices within the budget, by trying each. */
static double least_cost(const organ_allocation *a, const double *sizes, double budget)
{
    double least = INFINITY;
    for (size_t code = 0; code < 256; code++) { /* four tensors, four choices */
        double size = 0, cost = 0;
        for (size_t t = 0; t < CHOSEN; t++) {
            const size_t level = code >> 2 * t & 3;
            size += sizes[t * (LEVELS + 1) + level];
            cost += level < LEVELS ? a->tensors[t].cost[level] : 0;
        }
        least = size <= budget && cost < least ? cost : least;
    }
    return least;
}

START_TEST(widths_are_chosen_within_the_budget)
{
    static const double elements[CHOSEN] = {100, 100, 400, 50}, bits[LEVELS + 1] = {2, 3, 4, 16};
    double sizes[CHOSEN * (LEVELS + 1)];
    size_t chosen[CHOSEN], uniform;
    bool copied;
    organ_allocation a = {.levels = organ_width_levels,
                          .level_count = LEVELS,
                          .count = CHOSEN,
                          .tensors = calloc(CHOSEN, sizeof *a.tensors)};
    for (size_t t = 0; t < CHOSEN; t++)
        for (size_t l = 0; l <= LEVELS; l++) {
            sizes[t * (LEVELS + 1) + l] = elements[t] * bits[l];
            a.tensors[t].cost[l] = (double)(t * t + 1) * pow(5, -(double)l);
        }
    for (double budget = 1300; budget <= 2600; budget += 50) {
        double spent = 0, cost = 0;
        const double told = organ_allocation_choose(&a, sizes, budget, chosen, &uniform, &copied);
        for (size_t t = 0; t < CHOSEN; t++) {
            spent += sizes[t * (LEVELS + 1) + chosen[t]];
            cost += chosen[t] < LEVELS ? a.tensors[t].cost[chosen[t]] : 0;
        }
        ck_assert_double_eq(told, spent);
        ck_assert_double_le(spent, budget);
        ck_assert_double_eq_tol(a.cost, cost, 1e-12);
        ck_assert_msg(cost <= least_cost(&a, sizes, budget) + 1e-12, "%g bits: %g, but %g can be had", budget, cost,
                      least_cost(&a, sizes, budget));
        ck_assert_uint_eq(uniform, (size_t)(budget >= 2600) + (budget >= 1950));
        ck_assert_double_le(a.cost, a.uniform_cost);
        ck_assert(!copied);
    }
    ck_assert_double_eq(organ_allocation_choose(&a, sizes, 10400, chosen, &uniform, &copied), 10400 - 100 * 12);
    ck_assert(copied);
    ck_assert_uint_eq(uniform, LEVELS - 1);
    ck_assert_double_eq(a.cost, a.tensors[0].cost[LEVELS - 1]);
    ck_assert_double_eq(organ_allocation_choose(&a, sizes, 10399, chosen, &uniform, &copied), 10400 - 100 * 12);
    ck_assert(!copied);
    organ_allocation_release(&a);
}
END_TEST

/* Small tensors gain more per bit, and together they would use the bits that one step of the large tensor needs. */
START_TEST(a_large_tensor_is_not_crowded_out)
{
    static const double elements[CHOSEN] = {1000, 30, 30, 30}, bits[LEVELS + 1] = {2, 3, 4, 16};
    double sizes[CHOSEN * (LEVELS + 1)];
    size_t chosen[CHOSEN], uniform;
    bool copied;
    organ_allocation a = {.levels = organ_width_levels,
                          .level_count = LEVELS,
                          .count = CHOSEN,
                          .tensors = calloc(CHOSEN, sizeof *a.tensors)};
    for (size_t t = 0; t < CHOSEN; t++)
        for (size_t l = 0; l <= LEVELS; l++) {
            sizes[t * (LEVELS + 1) + l] = elements[t] * bits[l];
            a.tensors[t].cost[l] = (t == 0 ? 10.0 : 1.5) * pow(4, -(double)l);
        }
    ck_assert_double_eq(organ_allocation_choose(&a, sizes, 3 * 1090, chosen, &uniform, &copied), 3 * 1090);
    ck_assert_uint_eq(uniform, 1);
    ck_assert_uint_eq(chosen[0], 1);
    ck_assert_double_le(a.cost, a.uniform_cost);
    organ_allocation_release(&a);
}
END_TEST

static Suite *allocate_suite(void)
{
    Suite *const suite = suite_create("allocate");
    TCase *const division = tcase_create("division"), *const file = tcase_create("file");
    tcase_add_test(division, budgets_are_read);
    tcase_add_test(division, what_is_no_budget_is_refused);
    tcase_add_test(division, curves_are_those_of_numpy);
    tcase_add_test(division, budgets_are_divided_as_numpy_does);
    tcase_add_test(division, tensors_that_are_alike_get_the_same);
    tcase_add_test(division, layers_between_are_filled_in);
    tcase_add_test(division, widths_are_chosen_within_the_budget);
    tcase_add_test(division, two_levels_are_measured);
    tcase_add_test(division, other_widths_follow_from_two);
    tcase_add_test(division, a_large_tensor_is_not_crowded_out);
    tcase_add_checked_fixture(file, scratch_make, scratch_remove);
    tcase_add_test(file, a_file_is_read_back_bit_for_bit);
    tcase_add_test(file, a_file_without_all_curves_gives_those_that_it_has);
    tcase_add_loop_test(file, a_file_that_does_not_fit_is_refused_by_name, 0, (int)(sizeof defects / sizeof *defects));
    suite_add_tcase(suite, division);
    suite_add_tcase(suite, file);
    return suite;
}

int main(void) { return run_suites((Suite *const[]){allocate_suite(), variants_suite(), programme_suite(), NULL}); }
