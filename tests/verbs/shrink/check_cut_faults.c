/* SPDX-License-Identifier: MIT
 * A cut that fails at any point leaves no incomplete output under its final name; impossible cuts are rejected before
 * they begin. */
#include "tests/verbs/shrink/cut_rig.h"

#include "tests/kit/resume_rig.h"
#include "tests/kit/suite_table.h"

#include <errno.h>
#include <string.h>

#define E "model.layers.0.mlp.experts."

static const char donor[] =
    "model.embed_tokens.weight BF16 64,64\nmodel.layers.0.mlp.gate.weight BF16 4,64\n" E "gate_up_proj BF16 4,64,64\n" E
    "down_proj BF16 4,64,32\nmodel.layers.1.mlp.gate.weight BF16 4,64\n"
    "model.layers.1.mlp.experts.0.up_proj.weight BF16 32,64\nmodel.layers.1.mlp.experts.1.up_proj.weight BF16 32,64\n"
    "model.layers.1.mlp.experts.2.up_proj.weight BF16 32,64\nmodel.layers.1.mlp.experts.3.up_proj.weight BF16 32,64\n"
    "model.layers.1.mlp.experts.0.down_proj.weight BF16 64,32\nmodel.layers.1.mlp.experts.1.down_proj.weight BF16 "
    "64,32\n"
    "model.layers.1.mlp.experts.2.down_proj.weight BF16 64,32\nmodel.layers.1.mlp.experts.3.down_proj.weight BF16 "
    "64,32\n";
static const char config[] = "{\"num_experts\": 4}";

static const cut_way usual = {.cut = "e0:1,3 e1:0,2"};

static organ_status cut_once(const void *way, const char *output, bool resume, size_t threads, organ_stop *stop,
                             organ_error *error)
{
    cut_way here = *(const cut_way *)way;
    here.resume = resume;
    here.threads = threads;
    here.stop = stop;
    return cut_model(output, here, error);
}

static resumed_verb make_donor(void)
{
    rig_donor(config, donor);
    return (resumed_verb){.run = cut_once, .way = &usual, .report = "experts.json"};
}

START_TEST(another_choice_is_not_continued)
{
    const resumed_verb verb = make_donor();
    const cut_way other = {.cut = "e0:1,2 e1:0,2"};
    const resumed_verb changed = {.run = cut_once, .way = &other, .report = verb.report};
    leaves_unfinished(&verb, "out");
    is_refused(&changed, "out", "its parameters was ");
    must_cut("out", (cut_way){.cut = other.cut, .force = true});
}
END_TEST

START_TEST(unreadable_donor)
{
    organ_error error;
    make_donor();
    fault_clear();
    ck_assert_msg(cut_model("whole", usual, &error) == ORGAN_OK, "%s", error.message);
    const long reads = fault_count(FAULT_PREAD);
    ck_assert_int_gt(reads, 3);
    for (long n = 1; n < reads - 1; n += 3) { /* the last two, of the output's own mark, may fail */
        char output[32];
        snprintf(output, sizeof output, "out%ld", n);
        fault_at(FAULT_PREAD, n, EIO, true, NULL);
        ck_assert_int_eq(cut_model(output, usual, &error), ORGAN_IO);
        fault_clear();
        ck_assert(!exists(scratch_path("%s", output)));
        if (scratch_left(output))
            must_cut(output, (cut_way){.cut = usual.cut, .force = true});
    }
}
END_TEST

START_TEST(threads_and_memory_change_nothing)
{
    make_donor();
    must_cut("one", (cut_way){.cut = usual.cut, .threads = 1});
    must_cut("many", (cut_way){.cut = usual.cut, .threads = 7, .memory = 1 << 22});
    ck_assert(same_files(scratch_path("one/model.safetensors"), scratch_path("many/model.safetensors")));
    cut_refused((cut_way){.cut = usual.cut, .memory = 1 << 20}, ORGAN_USAGE, "--memory 1M is too little");
}
END_TEST

START_TEST(dry_run_writes_nothing)
{
    make_donor();
    must_cut("out", (cut_way){.cut = usual.cut, .dry_run = true});
    ck_assert(!scratch_left("out"));
    ck_assert_int_eq(json_integer_value(json_object_get(cut_report, "experts_after")), 2);
    ck_assert(json_integer_value(json_object_get(cut_report, "bytes_after")) <
              json_integer_value(json_object_get(cut_report, "bytes_before")));
}
END_TEST

/* Requests from which no model can be made. */
static const struct requested {
    const char *config, *more, *cut, *word;
    organ_status status;
} requested[] = {
    {config, "", "e0:1,3", "layer 0 would have 2 experts and layer 1 4", ORGAN_USAGE},
    {config, "", "e0:1,3 e1:1", "layer 0 would have 2 experts and layer 1 1", ORGAN_USAGE},
    {config, "", "e0:3,1 e1:0,1", "number 1 of the kept routed experts is not above", ORGAN_USAGE},
    {config, "", "e0:1,4 e1:0,1", "number 4 of the kept routed experts", ORGAN_USAGE},
    {config, "", "e0: e1:0,1", "layer 0 would have no routed experts left", ORGAN_USAGE},
    {config, "", "e0:0-3 e1:0-3", "nothing would be removed", ORGAN_USAGE},
    {"{\"num_hidden_layers\": 2}", "", "e0:1,3 e1:0,2",
     "no known member for the number of experts, which is 4 by the tensors", ORGAN_BAD_INPUT},
    {"{\"num_experts\": 5}", "", "e0:1,3 e1:0,2", "the number of experts, which is 4 by the tensors", ORGAN_BAD_INPUT},
    {"{\"num_experts\": [4, 4]}", "", "e0:1,3 e1:0,2", "num_experts is [4,4]", ORGAN_BAD_INPUT},
    {"{\"num_experts\": 4, \"quantization_config\": {\"ignore\": [\"re:.*experts\\\\.(1|2).*\"]}}", "", "e0:1,3 e1:0,2",
     "re:.*experts", ORGAN_BAD_INPUT},
    {config, E "4.up_proj.weight BF16 8,8\n", "e0:1,3 e1:0,2", "belongs to expert 4, but the router of its layer has 4",
     ORGAN_BAD_INPUT},
    {config, E "up_proj BF16 5,8,8\n", "e0:1,3 e1:0,2", "its first axis is not that of the 4 experts", ORGAN_BAD_INPUT},
    {config, "model.layers.0.mlp.gate.tid2eid I64 64\n", "e0:1,3 e1:0,2", "may depend on the number of experts",
     ORGAN_BAD_INPUT},
    {config, "model.layers.0.ffn.experts.mlp.w1 BF16 64,8\n", "e0:1,3 e1:0,2",
     "its first axis is not that of the 4 experts", ORGAN_BAD_INPUT},
    {config, "model.layers.0.ffn.gate.tid2eid I64 64,2\n", "e0:1,3 e1:0,2", "may depend on the number of experts",
     ORGAN_BAD_INPUT},
    {config, "drafter.layers.0.mlp.experts.0.up_proj.weight BF16 8,8\n", "e0:1,3 e1:0,2", "outside the model's layers",
     ORGAN_BAD_INPUT},
    {config, "model.layers.2.mlp.gate.weight BF16 4,64\n", "e0:1,3 e1:0,2",
     "layer 0 would have 2 experts and layer 2 4", ORGAN_USAGE},
};

START_TEST(what_cannot_be_told)
{
    char tensors[4096];
    for (size_t k = 0; k < sizeof requested / sizeof *requested; k++) {
        snprintf(tensors, sizeof tensors, "%s%s", donor, requested[k].more);
        rig_donor(requested[k].config, tensors);
        cut_refused((cut_way){.cut = requested[k].cut}, requested[k].status, requested[k].word);
    }
    organ_error error;
    ck_assert_int_eq(cut_model("out.safetensors", usual, &error), ORGAN_USAGE);
    ck_assert_msg(strstr(error.message, "name a directory"), "%s", error.message);
}
END_TEST

Suite *cut_faults_suite(void)
{
    const suite_case cases[] = {
        {"faults",
         {another_choice_is_not_continued, unreadable_donor, threads_and_memory_change_nothing, dry_run_writes_nothing,
          what_cannot_be_told}},
    };
    return suite_of("cut faults", cases, sizeof cases / sizeof *cases, cut_setup, cut_teardown);
}
