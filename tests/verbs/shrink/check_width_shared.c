/* SPDX-License-Identifier: MIT
 * Tests of shared experts as wide as several routed ones, which are narrowed with them: the choice of channels by their
 * loss on all tokens. */
#include "tests/kit/require.h"
#include "tests/kit/run_rig.h"
#include "tests/kit/suite_table.h"
#include "tests/verbs/prune/method_rig.h"
#include "tests/verbs/shrink/width_rig.h"

#include <math.h>
#include <string.h>

/* The first layer has no experts. */
static const expert_names donors[] = {
    {"dots1", "model.layers.1.mlp.shared_experts.gate_proj.weight", "model.layers.1.mlp.shared_experts.up_proj.weight",
     "model.layers.1.mlp.shared_experts.down_proj.weight"},
    {"dots1.gguf", "blk.1.ffn_gate_shexp.weight", "blk.1.ffn_up_shexp.weight", "blk.1.ffn_down_shexp.weight"},
};

/* Adds silu(gate x) * (up x) of every token. */
static void sum_tokens(const hearing *h, const float *rows, sums *s)
{
    memset(s, 0, sizeof *s);
    for (size_t t = 0; t < h->tokens; t++) {
        float inner[WIDTH];
        for (size_t c = 0; c < WIDTH; c++) {
            double gate = 0, up = 0;
            for (size_t k = 0; k < HIDDEN; k++) {
                gate += (double)h->normed[t * HIDDEN + k] * (double)rows[c * HIDDEN + k];
                up += (double)h->normed[t * HIDDEN + k] * (double)rows[(WIDTH + c) * HIDDEN + k];
            }
            inner[c] = (float)(gate / (1 + exp(-gate)) * up);
        }
        sums_add(s, 1, inner);
    }
    sums_end(s);
}

START_TEST(a_shared_expert_loses_what_it_misses_least)
{
    const expert_names *const d = &donors[_i];
    opened first, donor, out;
    width_way way = usual;
    hearing h;
    sums s;
    float rows[2 * WIDTH * HIDDEN], w[HIDDEN * WIDTH];
    double v[HIDDEN][WIDTH];
    bool kept[WIDTH], others[WIDTH];
    method_make_donor(d->kind);
    way.ffn = "67%";
    must_narrow("out", way);
    open_layer(&first, output_path("out"), 0);
    open_layer(&donor, donor_path(), 1);
    open_layer(&out, output_path("out"), 1);
    hear_text(&first, &donor, SAMPLES, CONTEXT, &h);
    read_rows(&donor, d, 0, WIDTH, rows);
    read_matrix(&donor, d->down, 0, HIDDEN, WIDTH, w);
    find_kept(&donor, &out, d, 0, kept);
    sum_tokens(&h, rows, &s);
    const double loss = least_loss(&s, w, kept, v), least = greedy_loss(&s, w);
    ck_assert_msg(loss <= least * 1.001, "%g is lost, %g has to be", loss, least);
    check_values(&out, d, 0, kept, v);
    for (size_t c = 0; c < WIDTH; c++)
        others[c] = c < KEPT;
    ck_assert_double_gt(least_loss(&s, w, others, NULL), 1.2 * loss);
    hearing_free(&h);
    close_layer(&out);
    close_layer(&donor);
    close_layer(&first);
}
END_TEST

static json_int_t says(const char *object, const char *key)
{
    const json_t *const parameters = json_object_get(width_report, "parameters");
    return json_integer_value(json_object_get(json_object_get(parameters, object), key));
}

START_TEST(documents_tell_of_it)
{
    width_way way = usual;
    size_t k, shared = 0;
    const json_t *row;
    method_make_donor(donors[_i].kind);
    way.ffn = "67%";
    must_narrow("out", way);
    ck_assert_int_eq(says("channels", "after"), 32);
    ck_assert_int_eq(says("expert_channels", "after"), KEPT);
    ck_assert_int_eq(says("shared_channels", "before"), WIDTH);
    ck_assert_int_eq(says("shared_channels", "after"), KEPT);
    json_array_foreach(json_object_get(width_report, "projections"), k, row)
    {
        const char *const name = json_string_value(json_object_get(row, "tensor"));
        const bool its = strstr(name, "shared") || strstr(name, "shexp");
        REQUIRE(!its || json_integer_value(json_object_get(row, "tokens")) == SAMPLES * CONTEXT);
        shared += its;
    }
    ck_assert_uint_eq(shared, 2);
    ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(width_report, "shared"), "projections")), 2);
    ck_assert_double_gt(json_real_value(json_object_get(json_object_get(width_report, "shared"), "lost_percent")), 0);
    way.dry_run = true;
    must_narrow("dry", way);
    ck_assert_int_eq(says("shared_channels", "after"), KEPT);
}
END_TEST

START_TEST(one_with_a_width_of_its_own_keeps_it)
{
    opened donor, out;
    float was[HIDDEN * 64], is[HIDDEN * 64];
    static const char down[] = "model.layers.0.mlp.shared_expert.down_proj.weight";
    method_make_donor("qwen2moe");
    must_narrow("out", usual);
    ck_assert_ptr_null(json_object_get(width_report, "shared"));
    ck_assert_ptr_null(json_object_get(json_object_get(width_report, "parameters"), "shared_channels"));
    open_layer(&donor, donor_path(), 0);
    open_layer(&out, output_path("out"), 0);
    const uint64_t width = organ_forward_describe(donor.s.forward)->shared_intermediate;
    ck_assert(width > 0 && width <= 64);
    read_matrix(&donor, down, 0, HIDDEN, width, was);
    read_matrix(&out, down, 0, HIDDEN, width, is);
    ck_assert_mem_eq(was, is, HIDDEN * width * sizeof *was);
    close_layer(&out);
    close_layer(&donor);
}
END_TEST

static Suite *shared_suite(void)
{
    const suite_case cases[] = {{"own", {one_with_a_width_of_its_own_keeps_it}}};
    Suite *const suite =
        suite_of("width of shared experts", cases, sizeof cases / sizeof *cases, width_setup, width_teardown);
    TCase *const kinds = tcase_create("kinds");
    tcase_add_checked_fixture(kinds, width_setup, width_teardown);
    tcase_add_loop_test(kinds, a_shared_expert_loses_what_it_misses_least, 0, sizeof donors / sizeof *donors);
    tcase_add_loop_test(kinds, documents_tell_of_it, 0, sizeof donors / sizeof *donors);
    suite_add_tcase(suite, kinds);
    return suite;
}

int main(void)
{
    Suite *const suites[] = {shared_suite(), NULL};
    return run_suites(suites);
}
