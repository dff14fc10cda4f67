/* SPDX-License-Identifier: MIT
 * Tests the order of rows of q and k in GGUF files of an architecture that rotates half of each head and whose rotation
 * pairs neighbours in GGUF: only the rotated rows are reordered, in weights and biases, and the way back undoes it. */
#include "formats/architecture/pairing.h"
#include "orchestrator/machine/quantity.h"
#include "tests/kit/arch_maker.h"
#include "tests/kit/model_maker.h"
#include "tests/kit/run_rig.h"
#include "tests/kit/suite_table.h"

#include <organ/convert.h>
#include <stdlib.h>
#include <string.h>

enum { HEAD = 16, ROTATED = 8, HIDDEN = 64, HEADS = 4, KEY_HEADS = 2 };

/* row k of a head in GGUF is this row of the head in safetensors */
static const size_t half[HEAD] = {0, 4, 1, 5, 2, 6, 3, 7, 8, 9, 10, 11, 12, 13, 14, 15},
                    whole[HEAD] = {0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15};

static void require_ok(organ_status status, const organ_error *error)
{
    ck_assert_msg(status == ORGAN_OK, "%s", error->message);
}

static void convert(const char *model, const char *output, const char *to)
{
    run_engine room;
    organ_error error = {0};
    json_t *report = NULL;
    char from[256], made[256];
    organ_convert_options o = organ_convert_defaults();
    strcpy(from, scratch_path("%s", model));
    strcpy(made, scratch_path("%s", output));
    o.model = from;
    o.to = to;
    o.type = "f32";
    o.write.output = made;
    run_engine_open(&room, (run_way){0});
    require_ok(organ_convert(&o, &room.engine, NULL, &report, &error), &error);
    json_decref(report);
    run_engine_close(&room);
}

/* Returns the values of an F32 tensor; the caller frees them. */
static float *values_of(const char *model, const char *tensor)
{
    run_engine room;
    organ_model *opened;
    organ_weights *weights;
    organ_weight_reader *reader;
    organ_error error = {0};
    size_t scratch;
    run_engine_open(&room, (run_way){0});
    require_ok(organ_model_open(scratch_path("%s", model), &opened, &error), &error);
    require_ok(organ_weights_find(opened, &weights, &error), &error);
    const organ_weight *const weight = organ_weights_named(weights, tensor);
    ck_assert_msg(weight != NULL, "%s: no %s", model, tensor);
    const size_t rows = (size_t)organ_weight_matrices(weight).rows;
    float *const values = aligned_alloc(64, organ_to_line((size_t)weight->elements * sizeof *values));
    require_ok(organ_weight_reader_open(opened, weight, room.engine.kernels, NULL, &reader, &error), &error);
    require_ok(organ_weight_reader_size(opened, weight, room.engine.kernels, rows, &scratch, &error), &error);
    void *const memory = aligned_alloc(64, organ_to_line(scratch) + 64);
    require_ok(organ_weight_read(reader, 0, rows, ORGAN_F32, values, memory, &error), &error);
    free(memory);
    organ_weight_reader_close(reader);
    organ_weights_free(weights);
    organ_model_close(opened);
    run_engine_close(&room);
    return values;
}

static void require_order(const char *own, const char *made, size_t heads, const size_t order[HEAD])
{
    float *const given = values_of("bamba", own), *const stored = values_of("bamba.gguf", made);
    for (size_t row = 0; row < heads * HEAD; row++)
        ck_assert_msg(memcmp(stored + row * HIDDEN, given + (row - row % HEAD + order[row % HEAD]) * HIDDEN,
                             HIDDEN * sizeof *given) == 0,
                      "row %zu of %s", row, made);
    free(stored);
    free(given);
}

static void require_equal(const char *tensor, size_t heads)
{
    float *const given = values_of("bamba", tensor), *const back = values_of("back", tensor);
    ck_assert_msg(memcmp(given, back, heads * HEAD * HIDDEN * sizeof *given) == 0, "%s", tensor);
    free(back);
    free(given);
}

static void require_rows(const char *rope, const size_t order[HEAD])
{
    static const char q[] = "model.layers.1.self_attn.q_proj.weight", k[] = "model.layers.1.self_attn.k_proj.weight";
    char folder[256];
    scratch_make();
    strcpy(folder, scratch_path("bamba"));
    arch_reference reference = arch_make("bamba", folder);
    arch_reference_free(&reference);
    arch_set_config(folder, rope);
    convert("bamba", "bamba.gguf", "gguf");
    require_order(q, "blk.1.attn_q.weight", HEADS, order);
    require_order(k, "blk.1.attn_k.weight", KEY_HEADS, order);
    convert("bamba.gguf", "back", "safetensors");
    require_equal(q, HEADS);
    require_equal(k, KEY_HEADS);
    scratch_remove();
}

START_TEST(half_of_a_head_is_reordered)
{
    require_rows(
        "{\"rope_parameters\":{\"rope_theta\":10000.0,\"rope_type\":\"default\",\"partial_rotary_factor\":0.5}}", half);
}
END_TEST

START_TEST(a_whole_head_is_reordered)
{
    require_rows(
        "{\"rope_parameters\":{\"rope_theta\":10000.0,\"rope_type\":\"default\",\"partial_rotary_factor\":1.0}}",
        whole);
}
END_TEST

/* The layouts of weights and biases are the same; those of v and of norms keep their rows. */
START_TEST(biases_are_reordered_like_weights)
{
    static const forward_part parts[] = {PART_Q, PART_K, PART_BIAS_Q, PART_BIAS_K, PART_V, PART_NORM_Q, PART_NORM_K};
    organ_layer_kind kind = {.heads = HEADS, .kv_heads = KEY_HEADS, .head_dim = HEAD};
    const organ_forward_config config = {
        .layers = 1, .kinds = &kind, .head_dim = HEAD, .rope = {.dimensions = ROTATED}};
    const uint64_t shape[] = {HEADS * HEAD, HIDDEN};
    const place_model model = {organ_pairing_named("GraniteForCausalLM", "granite", false),
                               organ_forward_family_named("GraniteForCausalLM", false),
                               organ_forward_family_named("granite", true),
                               &config,
                               "model.",
                               "lm_head.weight",
                               NULL,
                               0};
    for (size_t p = 0; p < sizeof parts / sizeof *parts; p++)
        for (unsigned gguf = 0; gguf < 2; gguf++) {
            const place_source source = {.gguf = gguf,
                                         .name = "any",
                                         .rank = parts[p] == PART_Q || parts[p] == PART_K ? 2 : 1,
                                         .shape = shape,
                                         .part = {.part = parts[p], .number = -1}};
            place_layout layout;
            ck_assert_ptr_null(organ_place_describe(&model, &source, &layout));
            ck_assert_uint_eq(layout.turned.head, p < 4 ? HEAD : 0);
            ck_assert_uint_eq(layout.turned.rotated, p < 4 ? ROTATED : 0);
        }
}
END_TEST

START_TEST(orders_are_inverse)
{
    const organ_turned_rows turned = {HEAD, ROTATED};
    for (uint64_t row = 0; row < HEADS * HEAD; row++) {
        ck_assert_uint_eq(organ_turned_row(turned, row), row - row % HEAD + half[row % HEAD]);
        ck_assert_uint_eq(organ_turned_stored(turned, organ_turned_row(turned, row)), row);
        ck_assert_uint_eq(organ_turned_row((organ_turned_rows){0, 0}, row), row);
    }
}
END_TEST

int main(void)
{
    const suite_case cases[] = {{"rows", {half_of_a_head_is_reordered, a_whole_head_is_reordered}},
                                {"layouts", {biases_are_reordered_like_weights, orders_are_inverse}}};
    return run_suites(
        (Suite *const[]){suite_of("half_rotation", cases, sizeof cases / sizeof *cases, NULL, NULL), NULL});
}
