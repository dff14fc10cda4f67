/* SPDX-License-Identifier: MIT
 * The audit of a cut finds every change. */
#include "tests/verbs/shrink/cut_rig.h"

#include "tests/kit/suite_table.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LAYER(l, more)                                                                                                 \
    "model.layers." #l ".input_layernorm.weight BF16 64\nmodel.layers." #l ".self_attn.k_proj.weight BF16 16,64\n"     \
    "model.layers." #l ".self_attn.o_proj.weight BF16 64,64\nmodel.layers." #l ".mlp.gate.weight BF16 4,64\n"          \
    "model.layers." #l ".mlp.experts.up_proj BF16 4,32,64\nmodel.layers." #l                                           \
    ".mlp.experts.down_proj BF16 4,64,32\n" more

static void make_donor(void)
{
    rig_donor("{\"model_type\": \"qwen3_moe\", \"num_hidden_layers\": 3, \"num_experts\": 4, \"num_experts_per_tok\": "
              "2, \"rope\": {\"a\": 1}}",
              "model.embed_tokens.weight BF16 64,64\n" LAYER(0, "") LAYER(1, "") LAYER(2, ""));
}

/* Changes one bit of a tensor, or (`other`) exchanges its beginning with that of another tensor. */
static void tamper(const char *model_name, const char *name, uint64_t at, const char *other)
{
    organ_model *model = NULL;
    organ_error error = {0};
    unsigned char a[16], b[16];
    ck_assert_int_eq(organ_model_open(scratch_path("%s", model_name), &model, &error), ORGAN_OK);
    const organ_tensor *const t = organ_model_find(model, name), *const o = other ? organ_model_find(model, other) : t;
    ck_assert_msg(t && o, "%s", name);
    const int fd = open(model->files[t->file].path, O_RDWR);
    ck_assert_int_eq(pread(fd, a, 16, (off_t)(t->offset + at)), 16);
    ck_assert_int_eq(pread(fd, b, 16, (off_t)(o->offset + at)), 16);
    b[0] = (unsigned char)(b[0] ^ (other ? 0 : 1));
    ck_assert_int_eq(pwrite(fd, b, 16, (off_t)(t->offset + at)), 16);
    if (other)
        ck_assert_int_eq(pwrite(fd, a, 16, (off_t)(o->offset + at)), 16);
    close(fd);
    organ_model_close(model);
}

static void replace_in(const char *path, const char *from, const char *to)
{
    size_t size;
    char *const bytes = slurp(path, &size), *at = NULL;
    for (size_t k = 0; k + strlen(from) <= size && !at; k++)
        if (memcmp(bytes + k, from, strlen(from)) == 0)
            at = bytes + k;
    ck_assert_msg(at && strlen(from) == strlen(to), "%s: no %s", path, from);
    memcpy(at, to, strlen(to));
    spill(path, bytes, size);
    free(bytes);
}

/* A bit of any tensor, at its beginning and at its end. */
START_TEST(any_bit_of_any_tensor)
{
    organ_model *model = NULL;
    organ_error error = {0};
    char names[32][128];
    uint64_t sizes[32];
    size_t count = 0;
    make_donor();
    must_cut("out", (cut_way){.cut = "e0:1,3 d1 e2:0,2"});
    ck_assert_int_eq(organ_model_open(scratch_path("out"), &model, &error), ORGAN_OK);
    for (; count < model->tensor_count; count++) {
        snprintf(names[count], sizeof names[count], "%s", model->tensors[count].name);
        sizes[count] = model->tensors[count].bytes;
    }
    organ_model_close(model);
    for (size_t t = 0; t < count; t++)
        for (int end = 0; end < 2; end++) {
            const uint64_t at = end ? sizes[t] - 16 : 0;
            tamper("out", names[t], at, NULL);
            audit_finds("out", false, names[t]);
            const bool behind =
                strstr(names[t], "layers.1.") && (strstr(names[t], "_proj") || strstr(names[t], "mlp.gate."));
            if (!behind && !strstr(names[t], "down_proj") && !strstr(names[t], "o_proj")) /* healing changes these */
                audit_finds("out", true, names[t]);
            tamper("out", names[t], at, NULL);
        }
    ck_assert_msg(audit_cut("out", false, &error) == ORGAN_OK, "%s", error.message);
}
END_TEST

START_TEST(rows_in_another_order)
{
    make_donor();
    must_cut("out", (cut_way){.cut = "e0:1,3 e1:0,2 e2:0,1"});
    tamper("out", "model.layers.0.mlp.gate.weight", 0, NULL);
    audit_finds("out", false, "layer 0: expert 0 of");
    tamper("out", "model.layers.0.mlp.gate.weight", 0, NULL);
    tamper("out", "model.layers.0.input_layernorm.weight", 0, "model.layers.1.input_layernorm.weight");
    audit_finds("out", false, "'model.layers.0.input_layernorm.weight'");
}
END_TEST

START_TEST(settings_that_say_otherwise)
{
    static const struct {
        const char *from, *to, *word;
    } changes[] = {{"\"num_experts\": 2", "\"num_experts\": 3", "num_experts is 3, not 2"},
                   {"\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", "num_hidden_layers is 3, not 2"},
                   {"\"a\": 1", "\"b\": 1", "rope.a is absent, not 1"},
                   {"\"model_type\"", "\"model_typo\"", "model_typo is \\\"qwen3_moe\\\", not absent"}};
    make_donor();
    must_cut("out", (cut_way){.cut = "e0:1,3 d1 e2:0,2"});
    for (size_t k = 0; k < sizeof changes / sizeof *changes; k++) {
        replace_in(scratch_path("out/config.json"), changes[k].from, changes[k].to);
        audit_finds("out", false, changes[k].word);
        replace_in(scratch_path("out/config.json"), changes[k].to, changes[k].from);
    }
    unlink(scratch_path("out/config.json"));
    audit_finds("out", false, "has no config.json");
}
END_TEST

START_TEST(tensors_of_other_names)
{
    make_donor();
    must_cut("out", (cut_way){.cut = "e0:1,3 d1 e2:0,2"});
    replace_in(scratch_path("out/model.safetensors"), "model.embed_tokens.weight", "model.embed_tokenz.weight");
    audit_finds("out", false, "'model.embed_tokens.weight' is missing");
    audit_finds("out", false, "'model.embed_tokenz.weight' of ");
    audit_finds("out", false, "corresponds to no kept part of the donor");
}
END_TEST

START_TEST(healed_projections)
{
    organ_error error;
    make_donor();
    must_cut("out", (cut_way){.cut = "e0:1,3 d1 e2:0,2", .refitted = "o_proj"});
    for (unsigned compensated = 0; compensated < 2; compensated++) { /* without it the digests of the report decide */
        ck_assert_msg(audit_cut("out", compensated, &error) == ORGAN_OK, "%s", error.message);
        ck_assert_int_eq(json_integer_value(json_object_get(audit_report, "resolved")), 2);
        ck_assert(json_is_object(json_object_get(audit_report, "made_by")) == !compensated);
    }
    tamper("out", "model.layers.0.self_attn.o_proj.weight", 64, NULL);
    audit_finds("out", false, "'model.layers.0.self_attn.o_proj.weight': its bytes have the XXH3");
    ck_assert_int_eq(audit_cut("out", true, &error), ORGAN_OK);
    tamper("out", "model.layers.0.mlp.experts.up_proj", 64, NULL);
    audit_finds("out", true, "'model.layers.0.mlp.experts.up_proj'");
}
END_TEST

/* If the router has the same row for two experts, their matrices distinguish them. */
START_TEST(twins)
{
    unsigned char row[128];
    organ_model *model = NULL;
    organ_error error = {0};
    make_donor();
    ck_assert_int_eq(organ_model_open(scratch_path("donor"), &model, &error), ORGAN_OK);
    const organ_tensor *const t = organ_model_find(model, "model.layers.0.mlp.gate.weight");
    const int fd = open(model->files[0].path, O_RDWR);
    ck_assert_int_eq(pread(fd, row, 128, (off_t)t->offset), 128);
    ck_assert_int_eq(pwrite(fd, row, 128, (off_t)(t->offset + 256)), 128); /* expert 2 gets the row of expert 0 */
    close(fd);
    organ_model_close(model);
    must_cut("out", (cut_way){.cut = "e0:2,3 e1:0,1 e2:0,1"});
    const json_t *const kept =
        json_object_get(json_array_get(json_object_get(audit_report, "layers"), 0), "kept_experts");
    ck_assert_int_eq(json_integer_value(json_array_get(kept, 0)), 2);
}
END_TEST

START_TEST(keys_of_gguf)
{
    rig_gguf(
        "general.architecture=qwen3moe qwen3moe.block_count=1 qwen3moe.expert_count=4 qwen3moe.expert_used_count=1",
        "blk.0.ffn_gate_inp.weight F32 4,64\nblk.0.ffn_up_exps.weight Q4_0 4,6,64\n");
    must_cut("out.gguf", (cut_way){0});
    replace_in(scratch_path("out.gguf"), "qwen3moe.expert_used_count", "qwen3moe.expert_uses_count");
    audit_finds("out.gguf", false, "key 'qwen3moe.expert_uses_count'");
    audit_finds("out.gguf", false, "key 'qwen3moe.expert_used_count' is missing");
    replace_in(scratch_path("out.gguf"), "qwen3moe.expert_uses_count", "qwen3moe.expert_used_count");
}
END_TEST

/* A model of the same shapes is audited as a pruning. */
START_TEST(no_cut)
{
    organ_error error;
    make_donor();
    ck_assert_int_eq(audit_cut("donor", false, &error), ORGAN_OK);
    ck_assert_str_eq(json_string_value(json_object_get(audit_report, "schema")), "organ.audit/1");
}
END_TEST

Suite *cut_audit_suite(void)
{
    const suite_case cases[] = {
        {"audit",
         {any_bit_of_any_tensor, rows_in_another_order, settings_that_say_otherwise, tensors_of_other_names,
          healed_projections, twins, keys_of_gguf, no_cut}},
    };
    return suite_of("cut audit", cases, sizeof cases / sizeof *cases, cut_setup, cut_teardown);
}
