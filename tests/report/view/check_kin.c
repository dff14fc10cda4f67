/* SPDX-License-Identifier: MIT
 * Tests of the relations between models (which are made of which), and of values by layer and role. */
#include "orchestrator/report/blocks/blocks.h"
#include "orchestrator/report/view/view_parts.h"
#include "tests/report/view/kin_suite.h"
#include "tests/kit/suite_table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Makes a model with one tensor for each letter; equal letters have equal values, and those of "." are constant. */
static json_t *model_of(const char *letters)
{
    json_t *const tensors = json_array();
    for (const char *c = letters; *c; c++)
        json_array_append_new(tensors, json_pack("{s:i, s:f, s:f, s:f, s:f, s:f, s:f}", "elements", 64, "mean",
                                                 0.01 * *c, "std", *c == '.' ? 0.0 : 1.0 + 0.1 * *c, "min", -3.0, "max",
                                                 3.0, "kurtosis", 0.5, "zero_share", 0.0));
    return json_pack("{s:o}", "per_tensor", tensors);
}

enum { MAX = 100 };
static organ_lineage kin[MAX];
static size_t order[MAX];

static void find_kin(const char *const *letters, size_t count)
{
    json_t *const models = json_array();
    organ_error error = {0};
    for (size_t k = 0; k < count; k++)
        json_array_append_new(models, model_of(letters[k]));
    ck_assert_int_eq(organ_measure_lineage(models, kin, order, &error), ORGAN_OK);
    json_decref(models);
    bool seen[MAX] = {false};
    for (size_t k = 0; k < count; k++) {
        ck_assert(order[k] < count && !seen[order[k]]);
        seen[order[k]] = true;
    }
}

START_TEST(a_chimera_and_its_parents)
{
    find_kin((const char *const[]){"xyzw", "abcdefgh", "ABCDEFGH", "abcdefGH"}, 4);
    ck_assert_uint_eq(kin[3].body, 1);
    ck_assert_uint_eq(kin[3].donor, 2);
    ck_assert_uint_eq(kin[3].from_body, 6);
    ck_assert_uint_eq(kin[3].from_donor, 2);
    ck_assert_uint_eq(kin[3].depth, 1);
    for (size_t k = 0; k < 3; k++)
        ck_assert(kin[k].body == ORGAN_LINEAGE_NONE && kin[k].depth == 0);
    ck_assert_uint_eq(kin[0].like, ORGAN_LINEAGE_NONE);
    ck_assert_uint_eq(kin[1].like, 3);
    ck_assert(order[0] == 0 && order[1] == 1 && order[2] == 3 && order[3] == 2);
}
END_TEST

START_TEST(what_is_no_chimera)
{
    find_kin((const char *const[]){"abcd", "abcd", "abcX", "...."},
             4); /* the same model, one with a tensor of its own, one without values */
    for (size_t k = 0; k < 4; k++)
        ck_assert(kin[k].body == ORGAN_LINEAGE_NONE && order[k] == k);
    ck_assert(kin[0].shared == 4 && kin[0].tensors == 4 && kin[0].like == 1);
    ck_assert(kin[2].shared == 3 && kin[2].tensors == 4);
    ck_assert(kin[3].like == ORGAN_LINEAGE_NONE && kin[3].tensors == 0);
}
END_TEST

START_TEST(parents_are_no_chimeras_where_that_goes)
{
    /* the second chimera shares as much with the first one as with its parents */
    find_kin((const char *const[]){"abcdABCD", "abcdeABC", "abcdefgh", "ABCDEFGH"}, 4);
    ck_assert(kin[0].body == 2 && kin[0].donor == 3);
    ck_assert(kin[1].body == 2 && kin[1].donor == 3 && kin[1].from_body == 5);
}
END_TEST

START_TEST(a_circle_ends)
{
    find_kin((const char *const[]){"abc", "abd", "cd"}, 3);
    ck_assert(kin[0].body == 1 && kin[1].body == 0);
    ck_assert(kin[order[0]].depth == 0);
}
END_TEST

START_TEST(the_first_models_are_compared)
{
    const char *letters[MAX];
    for (size_t k = 0; k < MAX; k++)
        letters[k] = k % 2 ? "abcd" : "efgh";
    letters[MAX - 1] = "abgh";
    find_kin(letters, MAX);
    ck_assert_uint_eq(kin[MAX - 1].like, ORGAN_LINEAGE_NONE);
    ck_assert_uint_eq(kin[0].like, 2);
    letters[5] = "abgh";
    find_kin(letters, MAX);
    ck_assert(kin[5].body != ORGAN_LINEAGE_NONE && kin[5].donor != ORGAN_LINEAGE_NONE);
}
END_TEST

/* ---- layers and roles ---- */

START_TEST(means_by_layer_and_role)
{
    organ_layer_map *const map = organ_layer_map_create();
    organ_layer_map_add(map, 7, "up_proj", 2, 1);
    organ_layer_map_add(map, 3, "q_proj", 10, 1);
    organ_layer_map_add(map, 3, "q_proj", 40, 3);
    organ_layer_map_add(map, -1, "embed", 5, 1);
    organ_layer_map_add(map, 3, "norm", NAN, 1);
    organ_layer_map_add(map, 3, "no role at all", 1, 1);
    organ_layer_map_mark(map, 7, "up_proj");
    ck_assert(map->count > 0 && !map->failed);
    ck_assert(organ_layer_map_finish(map));
    ck_assert(map->layers == 3 && map->roles == 5 && map->outside);
    ck_assert(map->layer[0] == 3 && map->layer[1] == 7 && map->layer[2] == 8);
    static const char *const roles[] = {"embed", "norm", "q_proj", "up_proj", "no role at all"};
    for (size_t r = 0; r < 5; r++)
        ck_assert_str_eq(map->role[r], roles[r]);
    ck_assert_double_eq_tol(map->value[2 * 3 + 0], 32.5, 1e-12);
    ck_assert_double_eq_tol(map->value[3 * 3 + 1], 2, 1e-12);
    ck_assert_double_eq_tol(map->value[0 * 3 + 2], 5, 1e-12);
    ck_assert(isnan(map->value[1 * 3 + 0]) && isnan(map->value[2 * 3 + 1]));
    for (size_t k = 0; k < 15; k++)
        ck_assert(map->marked[k] == (k == 3 * 3 + 1));
    char *const svg = organ_layer_map_svg(
        map, &(organ_heat_map){.title = "a", .description = "b", .value_label = "c", .mark_name = "d"});
    ck_assert_ptr_nonnull(svg);
    free(svg);
    organ_layer_map_destroy(map);
}
END_TEST

START_TEST(too_many_roles_and_none)
{
    char names[ORGAN_LAYER_MAP_ROLES + 8][8];
    organ_layer_map *map = organ_layer_map_create();
    ck_assert(map->count == 0 && !map->failed && !organ_layer_map_finish(map));
    ck_assert_ptr_null(
        organ_layer_map_svg(map, &(organ_heat_map){.title = "a", .description = "b", .value_label = "c"}));
    organ_layer_map_destroy(map);
    map = organ_layer_map_create();
    for (size_t k = 0; k < ORGAN_LAYER_MAP_ROLES + 8; k++) {
        snprintf(names[k], sizeof names[k], "r%zu", k);
        organ_layer_map_add(map, 0, names[k], (double)k, 1);
    }
    ck_assert(organ_layer_map_finish(map));
    ck_assert_uint_eq(map->roles, ORGAN_LAYER_MAP_ROLES);
    ck_assert_double_eq_tol(map->value[0], 0, 1e-12);
    ck_assert_double_eq_tol(map->value[ORGAN_LAYER_MAP_ROLES - 1], ORGAN_LAYER_MAP_ROLES + 3,
                            1e-12); /* the mean of the last nine */
    organ_layer_map_destroy(map);
}
END_TEST

Suite *kin_suite(void)
{
    const suite_case cases[] = {
        {"kin",
         {a_chimera_and_its_parents, what_is_no_chimera, parents_are_no_chimeras_where_that_goes, a_circle_ends,
          the_first_models_are_compared}},
        {"layers", {means_by_layer_and_role, too_many_roles_and_none}},
    };
    return suite_of("kin", cases, sizeof cases / sizeof *cases, NULL, NULL);
}
