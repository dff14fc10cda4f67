/* SPDX-License-Identifier: MIT
 * Tests weights in the layout that another model of the same format has for experts: each value is that of the tensors
 * from which it is read, whatever rows are read at once. */
#include "orchestrator/machine/quantity.h"
#include "orchestrator/surgery/convert/convert_across.h"
#include "tests/kit/model_maker.h"
#include "tests/kit/run_rig.h"
#include "tests/kit/suite_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { EXPERTS = 3, INNER = 5, HIDDEN = 7, TENSORS = 32, NAME = 128 };

/* NUMBERED, OTHERS: a matrix for each expert, under names of two kinds. PAIRS: the same with gate and up joined. APART
 * and JOINED: stacks; in those named "_TURNED" matrices are in_features x out_features, with the columns of gate and up
 * in turn in JOINED_TURNS. */
typedef enum layout { NUMBERED, OTHERS, PAIRS, APART, JOINED, JOINED_TURNED, JOINED_TURNS, LAYOUTS } layout;
typedef enum matrix { GATE, UP, DOWN, BOTH } matrix;

static const char *const families[LAYOUTS] = {
    [JOINED_TURNED] = "Llama4ForCausalLM", [JOINED_TURNS] = "GptOssForCausalLM"};

/* ---- models ---- */

typedef struct tensor_list {
    size_t count, at;
    char header[8192];
    float values[4096];
} tensor_list;

static float value_of(matrix kind, size_t expert, size_t row, size_t col)
{
    return (float)(((size_t)kind * 10 + expert) * 1000 + row * 10 + col);
}

/* A value of one expert's matrix, as out_features x in_features. */
static float value_at(layout how, matrix kind, size_t expert, size_t row, size_t col)
{
    if (kind != BOTH)
        return value_of(kind, expert, row, col);
    if (how == JOINED_TURNS)
        return value_of(row % 2 ? UP : GATE, expert, row / 2, col);
    return value_of(row < INNER ? GATE : UP, expert, row % INNER, col);
}

/* Adds a tensor with the matrices of experts [first, first + count). */
static void add(tensor_list *list, layout how, matrix kind, size_t first, size_t count, bool stack, const char *name)
{
    static const size_t shapes[][2] = {
        [GATE] = {INNER, HIDDEN}, [UP] = {INNER, HIDDEN}, [DOWN] = {HIDDEN, INNER}, [BOTH] = {2 * INNER, HIDDEN}};
    const size_t rows = shapes[kind][0], cols = shapes[kind][1];
    const bool turned = how == JOINED_TURNED || how == JOINED_TURNS;
    const size_t begin = list->at, lines = turned ? cols : rows, across = turned ? rows : cols;
    char shape[64];
    for (size_t e = first; e < first + count; e++)
        for (size_t l = 0; l < lines; l++)
            for (size_t k = 0; k < across; k++)
                list->values[list->at++] = value_at(how, kind, e, turned ? k : l, turned ? l : k);
    stack ? snprintf(shape, sizeof shape, "%zu,%zu,%zu", count, lines, across)
          : snprintf(shape, sizeof shape, "%zu,%zu", lines, across);
    const size_t used = strlen(list->header);
    snprintf(list->header + used, sizeof list->header - used,
             "%s\"model.layers.0.%s\":{\"dtype\":\"F32\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
             used > 1 ? "," : "", name, shape, begin * sizeof(float), list->at * sizeof(float));
    ck_assert_uint_lt(list->at, sizeof list->values / sizeof *list->values);
}

static void add_numbered(tensor_list *list, layout how, size_t experts)
{
    static const char *const names[][4] = {{"gate_proj", "up_proj", "down_proj", "gate_up_proj"},
                                           {"w1", "w3", "w2", ""}};
    for (size_t e = 0; e < experts; e++)
        for (matrix kind = GATE; kind <= BOTH; kind++) {
            char name[NAME];
            const bool in = kind == DOWN || (kind == BOTH) == (how == PAIRS);
            snprintf(name, sizeof name, "mlp.experts.%zu.%s.weight", e, names[how == OTHERS][kind]);
            if (in)
                add(list, how, kind, e, 1, false, name);
        }
}

static void add_stacks(tensor_list *list, layout how, size_t experts)
{
    if (how == APART) {
        add(list, how, GATE, 0, experts, true, "mlp.switch_mlp.gate_proj.weight");
        add(list, how, UP, 0, experts, true, "mlp.switch_mlp.up_proj.weight");
        add(list, how, DOWN, 0, experts, true, "mlp.switch_mlp.down_proj.weight");
    } else {
        add(list, how, BOTH, 0, experts, true, "mlp.experts.gate_up_proj");
        add(list, how, DOWN, 0, experts, true, "mlp.experts.down_proj");
    }
}

/* `twice`: also with stacks that have gate and up apart. */
static void make(const char *name, layout how, size_t experts, bool twice, const char *family)
{
    static tensor_list list;
    char config[256];
    memset(&list, 0, sizeof list);
    strcpy(list.header, "{");
    how <= PAIRS ? add_numbered(&list, how, experts) : add_stacks(&list, how, experts);
    if (twice)
        add_stacks(&list, APART, experts);
    strcat(list.header, "}");
    const uint64_t length = strlen(list.header);
    unsigned char *const file = malloc(8 + length + list.at * sizeof(float));
    memcpy(file, &length, 8);
    memcpy(file + 8, list.header, length);
    memcpy(file + 8 + length, list.values, list.at * sizeof(float));
    snprintf(config, sizeof config, "{\"architectures\":[\"%s\"],\"model_type\":\"any\"}", family);
    ck_assert_int_eq(mkdir(scratch_path("%s", name), 0700), 0);
    spill(scratch_path("%s/model.safetensors", name), file, 8 + length + list.at * sizeof(float));
    spill(scratch_path("%s/config.json", name), config, strlen(config));
    free(file);
}

/* ---- reading ---- */

static void require_ok(organ_status status, const organ_error *error)
{
    ck_assert_msg(status == ORGAN_OK, "%s", error->message);
}

typedef struct pair {
    organ_model *models[2];
    organ_weights *weights[2];
    organ_across *across; /* the second in the form of the first */
    run_engine room;
} pair;

static void open_pair(pair *p)
{
    static const char *const names[] = {"form", "other"};
    organ_error error = {0};
    memset(p, 0, sizeof *p);
    run_engine_open(&p->room, (run_way){0});
    for (size_t k = 0; k < 2; k++) {
        require_ok(organ_model_open(scratch_path("%s", names[k]), &p->models[k], &error), &error);
        require_ok(organ_weights_find(p->models[k], &p->weights[k], &error), &error);
    }
    require_ok(organ_across_open((organ_across_side){p->models[0], p->weights[0]},
                                 (organ_across_side){p->models[1], p->weights[1]}, &p->room.engine, &p->across, &error),
               &error);
}

static void close_pair(pair *p)
{
    organ_across_free(p->across);
    for (size_t k = 0; k < 2; k++) {
        organ_weights_free(p->weights[k]);
        organ_model_close(p->models[k]);
    }
    run_engine_close(&p->room);
}

/* Reads a weight `at_once` rows at a time. */
static float *read_all(const pair *p, size_t model, const organ_weight *weight, size_t at_once)
{
    const organ_matrices m = organ_weight_matrices(weight);
    const size_t rows = (size_t)(m.count * m.rows), cols = (size_t)m.cols;
    float *const values = malloc(weight->elements * sizeof *values);
    float *const strip = aligned_alloc(64, organ_to_line(rows * cols * sizeof *strip));
    organ_weight_reader *reader;
    organ_error error = {0};
    size_t scratch;
    require_ok(organ_weight_reader_open(p->models[model], weight, p->room.engine.kernels, NULL, &reader, &error),
               &error);
    require_ok(organ_weight_reader_size(p->models[model], weight, p->room.engine.kernels, rows, &scratch, &error),
               &error);
    void *const room = aligned_alloc(64, organ_to_line(scratch) + 64);
    for (size_t first = 0, n; first < rows; first += n) {
        n = rows - first < at_once ? rows - first : at_once;
        require_ok(organ_weight_read(reader, first, n, ORGAN_F32, strip, room, &error), &error);
        memcpy(values + first * cols, strip, n * cols * sizeof *values);
    }
    free(room);
    free(strip);
    organ_weight_reader_close(reader);
    return values;
}

static void require_same(const pair *p, const organ_weight *form, const organ_weight *other)
{
    static const size_t steps[] = {1, 2, 3, 1000};
    ck_assert_uint_eq(form->elements, other->elements);
    float *const expected = read_all(p, 0, form, 1000);
    for (size_t s = 0; s < sizeof steps / sizeof *steps; s++) {
        float *const found = read_all(p, 1, other, steps[s]);
        ck_assert_msg(memcmp(found, expected, form->elements * sizeof *found) == 0, "%s: %zu rows at once", form->name,
                      steps[s]);
        free(found);
    }
    free(expected);
}

/* ---- tests ---- */

/* Gate and up joined for each expert are no rows of stacks that have them apart, nor the reverse; nor is their order
 * known if that of stacks is in turns. */
static bool has_no_place(layout form, layout other, const organ_weight *weight)
{
    const layout stack = form == PAIRS ? other : form;
    return weight->anatomy.role != ORGAN_ROLE_DOWN && (form == PAIRS || other == PAIRS) &&
           (stack == APART || stack == JOINED_TURNS);
}

/* The stacks of mlx-lm are shown as numbered experts. */
static layout shown(layout made) { return made == APART ? NUMBERED : made; }

static void check_pair(layout form, layout other, const char *family)
{
    pair p;
    scratch_make();
    make("form", form, EXPERTS, false, family);
    make("other", other, EXPERTS, false, family);
    form = shown(form);
    other = shown(other);
    open_pair(&p);
    ck_assert_msg((p.across == NULL) == (form == other), "layouts %d and %d", form, other);
    for (size_t k = 0; k < p.weights[0]->count; k++) {
        const organ_weight *const weight = &p.weights[0]->weights[k];
        const organ_weight *const found = organ_across_or_own(p.across, p.weights[1], weight->name);
        ck_assert_msg(!found == has_no_place(form, other, weight), "layouts %d and %d: %s", form, other, weight->name);
        if (found)
            require_same(&p, weight, found);
    }
    for (size_t k = 0; k < p.weights[1]->count && p.across && !(form == PAIRS || other == PAIRS); k++) {
        const char *const name = p.weights[1]->weights[k].name;
        ck_assert_msg(organ_across_kind_of(p.across, name) != ORGAN_ACROSS_OWN ||
                          organ_weights_named(p.weights[0], name),
                      "layouts %d and %d: %s is not used", form, other, name);
    }
    close_pair(&p);
    scratch_remove();
}

START_TEST(every_layout_is_read_in_every_other)
{
    for (layout form = NUMBERED; form <= JOINED; form++)
        for (layout other = NUMBERED; other <= JOINED; other++)
            check_pair(form, other, "Qwen3MoeForCausalLM");
}
END_TEST

START_TEST(turned_stacks_are_those_of_their_architecture)
{
    for (layout stack = JOINED_TURNED; stack <= JOINED_TURNS; stack++)
        for (layout other = NUMBERED; other <= APART; other++) {
            check_pair(stack, other, families[stack]);
            check_pair(other, stack, families[stack]);
        }
}
END_TEST

/* Models whose experts are not paired have the weights under their own names. */
static void check_unpaired(layout form, size_t experts, layout other, size_t others, const char *family)
{
    pair p;
    scratch_make();
    make("form", form, experts, false, family);
    make("other", other, others, false, family);
    open_pair(&p);
    ck_assert_msg(p.across == NULL, "layouts %d and %d of %s", form, other, family);
    close_pair(&p);
    scratch_remove();
}

START_TEST(other_numbers_of_experts_are_not_paired)
{
    check_unpaired(NUMBERED, EXPERTS, JOINED, EXPERTS + 1, "Qwen3MoeForCausalLM");
    check_unpaired(NUMBERED, EXPERTS + 1, JOINED, EXPERTS, "Qwen3MoeForCausalLM");
    check_unpaired(JOINED, EXPERTS, NUMBERED, EXPERTS + 1, "Qwen3MoeForCausalLM");
    check_unpaired(JOINED, EXPERTS + 1, NUMBERED, EXPERTS, "Qwen3MoeForCausalLM");
}
END_TEST

START_TEST(unknown_architectures_are_not_paired)
{
    check_unpaired(NUMBERED, EXPERTS, JOINED, EXPERTS, "NoSuchForCausalLM");
    check_unpaired(JOINED, EXPERTS, NUMBERED, EXPERTS, "NoSuchForCausalLM");
    /* of an architecture whose stacks have other axes */
    check_unpaired(NUMBERED, EXPERTS, JOINED, EXPERTS, families[JOINED_TURNED]);
    check_unpaired(JOINED_TURNED, EXPERTS, NUMBERED, EXPERTS, "Qwen3MoeForCausalLM");
}
END_TEST

/* The place of two stacks of down is not known. */
START_TEST(experts_that_are_stored_twice_are_read_by_their_roles)
{
    static const layout forms[] = {JOINED, NUMBERED};
    for (size_t k = 0; k < 2; k++) {
        pair p;
        size_t made = 0;
        scratch_make();
        make("form", forms[k], EXPERTS, k == 0, "Qwen3MoeForCausalLM");
        make("other", forms[1 - k], EXPERTS, k == 1, "Qwen3MoeForCausalLM");
        open_pair(&p);
        for (size_t w = 0; w < p.weights[0]->count; w++) {
            const organ_weight *const weight = &p.weights[0]->weights[w];
            const organ_weight *const found = organ_across_or_own(p.across, p.weights[1], weight->name);
            made += found != NULL;
            ck_assert(!found || weight->anatomy.role != ORGAN_ROLE_DOWN);
            if (found)
                require_same(&p, weight, found);
        }
        ck_assert_uint_eq(made, k == 0 ? 3 : 2 * EXPERTS);
        close_pair(&p);
        scratch_remove();
    }
}
END_TEST

static Suite *layouts_suite(void)
{
    const suite_case cases[] = {
        {"layouts", {every_layout_is_read_in_every_other, turned_stacks_are_those_of_their_architecture}},
        {"unpaired",
         {other_numbers_of_experts_are_not_paired, unknown_architectures_are_not_paired,
          experts_that_are_stored_twice_are_read_by_their_roles}}};
    return suite_of("expert_layouts", cases, sizeof cases / sizeof *cases, NULL, NULL);
}

int main(void) { return run_suites((Suite *const[]){layouts_suite(), NULL}); }
