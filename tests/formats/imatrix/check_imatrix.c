/* SPDX-License-Identifier: MIT
 * Tests of importance matrices: reading, the entry of each tensor, and malformed files, one defect per row. */
#include "formats/base/files.h"
#include "formats/imatrix/imatrix.h"
#include "tests/kit/gguf_maker.h"
#include "tests/kit/scratch_model.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Keys and tensors of GGUF. */
#define TYPED             "s:general.type 4:8 s:imatrix "
#define F32S(name, n, at) "s:" name " 4:1 8:" #n " 4:0 8:" #at " "
/* Two inputs with sums 8 and 18 over 2 tokens: norms 2 and 3. */
#define NUMBERS    "p:32 4:0x41000000 4:0x41900000 p:32 4:0x40000000"
#define PAIR(name) HEAD(2, 1) TYPED F32S(name ".in_sum2", 2, 0) F32S(name ".counts", 1, 32) NUMBERS
/* An entry of the older kind: 3 chunks, values 12 and 27: norms 2 and 3. */
#define OLD_ENTRY(bytes, name) "4:" #bytes " '" name "' 4:3 4:2 4:0x41400000 4:0x41d80000 "

static void make(const char *words) { gguf_file("m", words); }

static organ_imatrix *opened(const char *words)
{
    organ_imatrix *m;
    organ_error error = {0};
    make(words);
    ck_assert_msg(organ_imatrix_open(scratch_path("m"), &m, &error) == ORGAN_OK, "%s", error.message);
    return m;
}

/* ---- valid files ---- */

static void two_norms(const char *words, const char *format, double count)
{
    organ_imatrix *const m = opened(words);
    organ_error error = {0};
    float norms[2];
    double counted;
    const organ_imatrix_place place = {&m->entries[0], 0, 1};
    ck_assert_str_eq(m->format, format);
    ck_assert_uint_eq(m->entry_count, 1);
    ck_assert_str_eq(m->entries[0].name, "blk.0.ffn_down.weight");
    ck_assert_int_eq(m->entries[0].anatomy.role, ORGAN_ROLE_DOWN);
    ck_assert_msg(organ_imatrix_norms(m, &place, "t", 2, norms, &counted, &error) == ORGAN_OK, "%s", error.message);
    ck_assert(norms[0] == 2 && norms[1] == 3);
    ck_assert(counted == count);
    organ_imatrix_close(m);
}

START_TEST(both_formats_say_the_same)
{
    two_norms(PAIR("blk.0.ffn_down.weight"), "GGUF", 2);
    two_norms("4:1 " OLD_ENTRY(21, "blk.0.ffn_down.weight"), "imatrix.dat", 3);
}
END_TEST

START_TEST(facts)
{
    organ_imatrix *m =
        opened(HEAD(3, 4) TYPED "s:imatrix.datasets 4:9 4:8 8:2 s:a.txt s:b s:imatrix.chunk_count 4:4 4:7 "
                                "s:imatrix.chunk_size 4:4 4:512 " F32S("x.in_sum2", 2, 0) F32S("x.counts", 1, 32)
                                    F32S("x.in_sum", 2, 64) NUMBERS " p:32 4:1 4:1");
    ck_assert_uint_eq(m->entry_count, 1);
    ck_assert_uint_eq(m->dataset_count, 2);
    ck_assert_str_eq(m->datasets[0], "a.txt");
    ck_assert_str_eq(m->datasets[1], "b");
    ck_assert(m->chunks == 7 && m->chunk_size == 512);
    organ_imatrix_close(m);
    m = opened(PAIR("x"));
    ck_assert(m->dataset_count == 0 && m->chunks == -1 && m->chunk_size == -1);
    organ_imatrix_close(m);
    m = opened("4:1 " OLD_ENTRY(1, "x") "4:9 4:4 'text'");
    ck_assert(m->dataset_count == 1 && m->chunks == 9 && m->chunk_size == -1);
    ck_assert_str_eq(m->datasets[0], "text");
    organ_imatrix_close(m);
    m = opened("4:1 " OLD_ENTRY(1, "x") "4:9 4:0");
    ck_assert(m->dataset_count == 0 && m->chunks == 9);
    organ_imatrix_close(m);
}
END_TEST

/* Two experts of two inputs, each with its own count. */
#define STACK(second)                                                                                                  \
    HEAD(2, 1)                                                                                                         \
    TYPED "s:blk.0.ffn_up_exps.weight.in_sum2 4:2 8:2 8:2 4:0 8:0 s:blk.0.ffn_up_exps.weight.counts 4:2 8:1 8:2 4:0 "  \
          "8:32 "                                                                                                      \
          "p:32 4:0x41000000 4:0x41900000 4:0x41000000 4:0x41000000 p:32 4:0x40000000 4:" second

START_TEST(experts_have_their_own_counts)
{
    organ_imatrix *const m = opened(STACK("0x41000000"));
    organ_error error = {0};
    float norms[2];
    double count;
    organ_imatrix_place place = {&m->entries[0], 1, 2};
    ck_assert_msg(organ_imatrix_norms(m, &place, "t", 2, norms, &count, &error) == ORGAN_OK, "%s", error.message);
    ck_assert(norms[0] == 1 && norms[1] == 1 && count == 8);
    place.matrix = 0;
    ck_assert_int_eq(organ_imatrix_norms(m, &place, "t", 2, norms, &count, &error), ORGAN_OK);
    ck_assert(norms[0] == 2 && norms[1] == 3 && count == 2);
    organ_imatrix_close(m);
}
END_TEST

/* ---- finding the entry of a matrix ---- */

static const struct wish {
    const char *entries; /* names of the entries, comma-separated */
    const char *tensor;
    int64_t expert; /* index in a stack; -1: from the name */
    const char *found;
    uint64_t matrix, matrices; /* row of a stack of 4 experts */
} wishes[] = {
    {"blk.3.ffn_down.weight,blk.2.ffn_down.weight", "model.layers.2.mlp.down_proj.weight", -1, "blk.2.ffn_down.weight",
     0, 1},
    {"blk.0.attn_output.weight", "model.layers.0.self_attn.o_proj.weight", -1, "blk.0.attn_output.weight", 0, 1},
    {"blk.0.attn_q.weight,blk.0.attn_k.weight", "model.layers.0.self_attn.k_proj.weight", -1, "blk.0.attn_k.weight", 0,
     1},
    {"blk.0.attn_qkv.weight", "model.layers.0.self_attn.v_proj.weight", -1, "blk.0.attn_qkv.weight", 0, 1},
    {"blk.0.attn_k.weight,blk.0.attn_q.weight", "model.layers.0.self_attn.qkv_proj.weight", -1, "blk.0.attn_q.weight",
     0, 1},
    {"blk.0.ffn_up.weight", "model.layers.0.mlp.gate_up_proj.weight", -1, "blk.0.ffn_up.weight", 0, 1},
    {"output.weight", "lm_head.weight", -1, "output.weight", 0, 1},
    {"blk.0.ffn_gate_inp.weight", "model.layers.0.mlp.gate.weight", -1, "blk.0.ffn_gate_inp.weight", 0, 1},
    {"blk.0.ffn_down_exps.weight", "model.layers.0.mlp.experts.3.down_proj.weight", -1, "blk.0.ffn_down_exps.weight", 3,
     4},
    {"blk.0.ffn_gate_exps.weight", "model.layers.0.block_sparse_moe.experts.1.w1.weight", -1,
     "blk.0.ffn_gate_exps.weight", 1, 4},
    {"blk.0.ffn_down.1.weight,blk.0.ffn_down.3.weight", "model.layers.0.mlp.experts.3.down_proj.weight", -1,
     "blk.0.ffn_down.3.weight", 0, 1},
    {"blk.0.ffn_up_exps.weight", "model.layers.0.mlp.experts.gate_up_proj", 2, "blk.0.ffn_up_exps.weight", 2, 4},
    {"blk.0.ffn_down_exps.weight,blk.0.ffn_down_shexp.weight", "model.layers.0.mlp.shared_expert.down_proj.weight", -1,
     "blk.0.ffn_down_shexp.weight", 0, 1},
    {"blk.0.ffn_down_exps.weight,blk.0.ffn_down_shexp.weight", "blk.0.ffn_down_exps.weight", 2,
     "blk.0.ffn_down_exps.weight", 2, 4},
    {"model.layers.0.mlp.down_proj.weight,blk.0.ffn_down.weight", "model.layers.0.mlp.down_proj.weight", -1,
     "model.layers.0.mlp.down_proj.weight", 0, 1},
    {"blk.1.ffn_down.weight", "model.layers.0.mlp.down_proj.weight", -1, NULL, 0, 0},
    {"blk.0.ffn_down_exps.weight", "model.layers.0.mlp.down_proj.weight", -1, NULL, 0, 0},
    {"blk.0.ffn_down.weight", "model.layers.0.mlp.experts.0.down_proj.weight", -1, NULL, 0, 0},
    {"blk.0.attn_norm.weight", "model.layers.0.input_layernorm.weight", -1, NULL, 0, 0},
    {"blk.0.attn_q_a.weight", "model.layers.0.self_attn.q_a_proj.weight", -1, "blk.0.attn_q_a.weight", 0, 1},
    {"blk.0.attn_q_b.weight", "model.layers.0.self_attn.kv_a_proj_with_mqa.weight", -1, NULL, 0, 0},
    {"blk.0.attn_kv_a_mqa.weight", "model.layers.0.self_attn.q_a_proj.weight", -1, "blk.0.attn_kv_a_mqa.weight", 0, 1},
    {"blk.0.attn_v_b.weight", "model.layers.0.self_attn.kv_b_proj.weight", -1, NULL, 0, 0},
    {"blk.0.attn_kv_b.weight", "model.layers.0.self_attn.kv_b_proj.weight", -1, "blk.0.attn_kv_b.weight", 0, 1},
    {"blk.0.attn_gate.weight,blk.0.attn_qkv.weight", "model.layers.0.linear_attn.in_proj_qkv.weight", -1,
     "blk.0.attn_qkv.weight", 0, 1},
    {"blk.0.ssm_out.weight,blk.0.ssm_in.weight", "model.layers.0.mamba.in_proj.weight", -1, "blk.0.ssm_in.weight", 0,
     1},
    {"blk.0.ssm_out.weight", "backbone.layers.0.mixer.out_proj.weight", -1, "blk.0.ssm_out.weight", 0, 1},
    {"blk.0.ssm_x.weight,blk.0.ssm_dt.weight", "model.layers.0.mamba.dt_proj.weight", -1, "blk.0.ssm_dt.weight", 0, 1},
    {"blk.0.ssm_x.weight,blk.0.ssm_dt.weight", "model.layers.0.mamba.x_proj.weight", -1, "blk.0.ssm_x.weight", 0, 1},
    {"blk.0.shortconv.in_proj.weight", "model.layers.0.conv.in_proj.weight", -1, "blk.0.shortconv.in_proj.weight", 0,
     1},
    {"blk.0.ssm_ba.weight,blk.0.ssm_out.weight", "model.layers.0.linear_attn.out_proj.weight", -1,
     "blk.0.ssm_out.weight", 0, 1},
};

/* Makes a file of the older kind with these entries of two values each. */
static void make_named(const char *names)
{
    char words[2000] = "", list[400], *rest = NULL;
    size_t count = 0;
    snprintf(list, sizeof list, "%s", names);
    for (char *name = strtok_r(list, ",", &rest); name; name = strtok_r(NULL, ",", &rest), count++) {
        const size_t used = strlen(words);
        snprintf(words + used, sizeof words - used, "4:%zu '%s' 4:1 4:2 4:0x3f800000 4:0x40000000 ", strlen(name),
                 name);
    }
    char whole[2100];
    snprintf(whole, sizeof whole, "4:%zu %s", count, words);
    make(whole);
}

START_TEST(entry_is_found)
{
    const struct wish *const w = &wishes[_i];
    organ_imatrix *m;
    organ_error error = {0};
    organ_imatrix_place place;
    const organ_anatomy a = organ_anatomy_of(w->tensor);
    make_named(w->entries);
    ck_assert_msg(organ_imatrix_open(scratch_path("m"), &m, &error) == ORGAN_OK, "%s", error.message);
    const organ_status status =
        organ_imatrix_find(m, w->tensor, &a, w->expert >= 0 ? w->expert : a.expert, 4, &place, &error);
    if (w->found) {
        ck_assert_msg(status == ORGAN_OK, "%s", error.message);
        ck_assert_str_eq(place.entry->name, w->found);
        ck_assert_uint_eq(place.matrix, w->matrix);
        ck_assert_uint_eq(place.matrices, w->matrices);
    } else {
        ck_assert_int_eq(status, ORGAN_BAD_INPUT);
        ck_assert_msg(strstr(error.message, w->tensor) && strstr(error.message, "has no entry for it among its 1 ('"),
                      "%s", error.message);
    }
    organ_imatrix_close(m);
}
END_TEST

START_TEST(doubtful_entries)
{
    organ_imatrix *m;
    organ_error error = {0};
    organ_imatrix_place place;
    const char *const tensor = "model.layers.0.mlp.experts.1.down_proj.weight";
    const organ_anatomy a = organ_anatomy_of(tensor);
    make_named("blk.0.ffn_down_exps.weight,blk.0.ffn_down.1.weight");
    ck_assert_int_eq(organ_imatrix_open(scratch_path("m"), &m, &error), ORGAN_OK);
    ck_assert_int_eq(organ_imatrix_find(m, tensor, &a, 1, 4, &place, &error), ORGAN_BAD_INPUT);
    ck_assert_msg(strstr(error.message, "'blk.0.ffn_down_exps.weight' and 'blk.0.ffn_down.1.weight'") != NULL, "%s",
                  error.message);
    organ_imatrix_close(m);
}
END_TEST

/* The columns of Qwen3.5's out_proj have another order in llama.cpp. */
START_TEST(columns_in_another_order)
{
    organ_imatrix *m;
    organ_error error = {0};
    organ_imatrix_place place;
    const char *const tensor = "model.layers.0.linear_attn.out_proj.weight";
    const organ_anatomy a = organ_anatomy_of(tensor);
    make_named("blk.0.ssm_alpha.weight,blk.0.ssm_out.weight,blk.1.ssm_ba.weight");
    ck_assert_int_eq(organ_imatrix_open(scratch_path("m"), &m, &error), ORGAN_OK);
    ck_assert_int_eq(organ_imatrix_find(m, tensor, &a, -1, 4, &place, &error), ORGAN_BAD_INPUT);
    ck_assert_msg(strstr(error.message, "'blk.0.ssm_out.weight' in another order of heads") != NULL, "%s",
                  error.message);
    organ_imatrix_close(m);
}
END_TEST

/* ---- rejected numbers ---- */

static const struct bad_numbers {
    const char *words;
    uint64_t matrix, matrices, features;
    const char *told;
} bad_numbers[] = {
    {PAIR("x"), 0, 1, 3, "entry 'x' has 2 values, but tensor 't' has 1 x 3 inputs"},
    {PAIR("x"), 0, 2, 2, "entry 'x' has 2 values, but tensor 't' has 2 x 2 inputs"},
    {PAIR("x"), 2, 2, 1, "entry 'x' has 2 values"},
    {PAIR("x"), 0, 2, 0x8000000000000000, "entry 'x' has 2 values"},
    {STACK("0x41000000"), 0, 1, 4, "has counts for 2 matrices, but tensor 't' has 1"},
    {STACK("0"), 1, 2, 2, "the count of matrix 1 is 0: no token reached it"},
    {STACK("0xbf800000"), 1, 2, 2, "the count of matrix 1 is -1: it must be finite and at least 1"},
    {STACK("0x00000001"), 1, 2, 2, "the count of matrix 1 is 1.4013e-45: it must be finite and at least 1"},
    {STACK("0x7fc00000"), 1, 2, 2, "the count of matrix 1 is nan"},
    {STACK("0x7f800000"), 1, 2, 2, "the count of matrix 1 is inf"},
    {HEAD(2, 1) TYPED F32S("x.in_sum2", 2, 0)
         F32S("x.counts", 1, 32) "p:32 4:0x41000000 4:0xbf800000 p:32 4:0x40000000",
     0, 1, 2, "entry 'x': the sum of squares 1 is -1; it must be finite and not negative"},
    {HEAD(2, 1) TYPED F32S("x.in_sum2", 2, 0) F32S("x.counts", 1, 32) "p:32 4:0x7fc00000 4:0 p:32 4:0x40000000", 0, 1,
     2, "entry 'x': the sum of squares 0 is nan"},
    {HEAD(2, 1) TYPED F32S("x.in_sum2", 2, 0) F32S("x.counts", 1, 32) "p:32 4:0 4:0x7f800000 p:32 4:0x40000000", 0, 1,
     2, "entry 'x': the sum of squares 1 is inf"},
    {HEAD(2, 1) TYPED F32S("x.in_sum2", 2, 0) F32S("x.counts", 1, 32) "p:32 4:0 4:0 p:32 4:0x40000000", 0, 1, 2,
     "entry 'x': all 2 sums of matrix 0 are 0: they cannot rank the inputs"},
    {"4:1 4:1 'x' 4:0 4:2 4:0x3f800000 4:0x40000000", 0, 1, 2, "the count of matrix 0 is 0"},
    {"4:1 4:1 'x' 4:3 4:4 4:0x3f800000 4:0x40000000 4:0x40400000 4:0x40400000", 1, 2, 2,
     "all 2 sums of matrix 1 are 3"},
};

START_TEST(numbers_are_refused)
{
    organ_imatrix *const m = opened(bad_numbers[_i].words);
    organ_error error = {0};
    float norms[4];
    double count;
    const organ_imatrix_place place = {&m->entries[0], bad_numbers[_i].matrix, bad_numbers[_i].matrices};
    ck_assert_int_eq(organ_imatrix_norms(m, &place, "t", bad_numbers[_i].features, norms, &count, &error),
                     ORGAN_BAD_INPUT);
    ck_assert_msg(strstr(error.message, bad_numbers[_i].told) != NULL, "'%s' does not say '%s'", error.message,
                  bad_numbers[_i].told);
    organ_imatrix_close(m);
}
END_TEST

/* ---- rejected files ---- */

static void must_refuse(const char *told)
{
    const int before = open_files();
    organ_imatrix *m = (organ_imatrix *)&before;
    organ_error error = {0};
    ck_assert_int_eq(organ_imatrix_open(scratch_path("m"), &m, &error), ORGAN_BAD_INPUT);
    ck_assert_ptr_null(m);
    ck_assert_msg(strncmp(error.message, "m: ", 3) == 0 && strstr(error.message, told), "'%s' does not say '%s'",
                  error.message, told);
    ck_assert_int_eq(open_files(), before);
}

static const struct bad_file {
    const char *words, *told;
} bad_files[] = {
    /* neither kind */
    {"", "magic of 4 bytes at byte 0 is past the end of the file (0)"},
    {"'In' x:20 'the' x:20 'beginning'", "is a text, not an importance matrix"},
    {"'In' 1:0 'the' x:20 'beginning'", "not 'GGUF'"},
    {"'version' x:20 'https:'", "Git LFS pointer"},
    {"4:0 z:40", "not 'GGUF'"},
    {"4:-1 z:40", "not 'GGUF'"},
    {"4:3 z:40", "magic is"}, /* three entries take at least 51 bytes */
    /* GGUF */
    {"'GGUF' 4:3 8:2", "n_tensors is 2, but the 0 bytes that follow have room for at most 0"},
    {HEAD(0, 0), "key 'general.type' is missing"},
    {HEAD(0, 1) "s:general.type 4:8 s:model", "'general.type' is 'model', not 'imatrix'"},
    {HEAD(0, 1) "s:general.type 4:8 s:imatri", "'general.type' is 'imatri', not 'imatrix'"},
    {HEAD(0, 1) "s:general.type 4:4 4:1", "key 'general.type' is missing"},
    {HEAD(0, 1) TYPED, "has no entries"},
    {HEAD(0, 2) TYPED "s:imatrix.datasets 4:8 s:a",
     "key 'imatrix.datasets' is of type string, not an array of strings"},
    {HEAD(0, 2) TYPED "s:imatrix.datasets 4:9 4:4 8:1 4:1", "key 'imatrix.datasets' is of type u32, not an array"},
    {HEAD(0, 2) TYPED "s:imatrix.datasets 4:9 4:8 8:70000 z:560000", "names 70000 texts, more than 65536"},
    {HEAD(0, 2) TYPED "s:imatrix.datasets 4:9 4:8 8:1 8:2 x:ff61",
     "the name of text 1, of 2 bytes, is not valid UTF-8"},
    {HEAD(0, 2) TYPED "s:imatrix.datasets 4:9 4:8 8:2 s:a 8:2 x:6100", "the name of text 2, of 2 bytes, has a NUL"},
    {HEAD(1, 1) TYPED F32S("x.in_sum2", 2, 0) "p:32 z:8", "there is a tensor 'x.in_sum2', but no 'x.counts'"},
    {HEAD(1, 1) TYPED F32S("x.counts", 2, 0) "p:32 z:8", "there is a tensor 'x.counts', but no 'x.in_sum2'"},
    {HEAD(2, 1) TYPED "s:x.in_sum2 4:1 8:2 4:1 8:0 " F32S("x.counts", 1, 32) "p:32 z:4 p:32 z:4",
     "tensor 'x.in_sum2' has 2 elements of type F16, but must be F32 and not empty"},
    {HEAD(2, 1) TYPED F32S("x.in_sum2", 2, 0) "s:x.counts 4:1 8:1 4:26 8:32 p:32 z:8 p:32 z:4",
     "tensor 'x.counts' has 1 elements of type I32, but must be F32 and not empty"},
    {HEAD(2, 1) TYPED F32S("x.in_sum2", 0, 0) F32S("x.counts", 1, 0) "p:32 z:4", "tensor 'x.in_sum2' has 0 elements"},
    {HEAD(2, 1) TYPED F32S("x.in_sum2", 2, 0) F32S("x.counts", 0, 32) "p:32 z:32", "tensor 'x.counts' has 0 elements"},
    {HEAD(2, 1) TYPED F32S("x.in_sum2", 3, 0) F32S("x.counts", 2, 32) "p:32 z:12 p:32 z:8",
     "tensor 'x.in_sum2' has 3 elements, not a multiple of the 2 of 'x.counts'"},
    {HEAD(2, 1) TYPED F32S("x.in_sum2", 2, 0) F32S("x.counts", 1, 32) "p:32 z:8 p:32 z:3", "past the end of the file"},
    /* the older kind */
    {"4:1 4:0 z:40", "entry 1 of 1: the length of the name is 0, not from 1 to 4096"},
    {"4:1 4:4097 z:40", "the length of the name is 4097, not from 1 to 4096"},
    {"4:1 4:-1 z:40", "the length of the name is -1"},
    {"4:1 4:4000 z:40", "the name of 4000 bytes at byte 8 is past the end of the file (48)"},
    {"4:1 4:2 x:6100 4:1 4:1 z:4", "entry 1 of 1: the name of 2 bytes has a NUL"},
    {"4:1 4:2 x:61ff 4:1 4:1 z:4", "entry 1 of 1: the name of 2 bytes is not valid UTF-8"},
    {"4:1 4:1 'x' 4:-1 4:1 z:4", "entry 'x': the number of chunks is -1, not from 0"},
    {"4:1 4:1 'x' 4:1 4:0 z:4", "entry 'x': the number of values is 0, not from 1"},
    {"4:1 4:1 'x' 4:1 4:2000000000 z:4", "entry 'x': 2000000000 values at byte 17 are past the end of the file (21)"},
    {"4:2 " OLD_ENTRY(1, "x") OLD_ENTRY(1, "x"), "duplicate entry 'x': number 1 and number 2"},
    {"4:2 " OLD_ENTRY(1, "x") "4:1 'y' z:9", "entry 'y': the number of values is 0, not from 1"},
    {"4:1 " OLD_ENTRY(1, "x") "2:1",
     "after the entries: the last chunk of 4 bytes at byte 25 is past the end of the file (27)"},
    {"4:1 " OLD_ENTRY(1, "x") "4:-5", "after the entries: the last chunk is -5"},
    {"4:1 " OLD_ENTRY(1, "x") "4:5 4:3 'ab'",
     "after the entries: the name of the text of 3 bytes at byte 33 is past the end of the file"},
    {"4:1 " OLD_ENTRY(1, "x") "4:5 4:-3", "the length of the name of the text is -3, not from 0 to 4096"},
    {"4:1 " OLD_ENTRY(1, "x") "4:5 4:2 x:ff61", "the name of text 1, of 2 bytes, is not valid UTF-8"},
    {"4:1 " OLD_ENTRY(1, "x") "4:5 4:2 'ab' 1:0", "ends at byte 35, but the file has 36: the rest belongs to no entry"},
};

START_TEST(file_is_refused)
{
    make(bad_files[_i].words);
    must_refuse(bad_files[_i].told);
}
END_TEST

/* Every truncated file is rejected, except one of the older kind that ends with an entry or with the number after
 * them. */
START_TEST(file_is_cut)
{
    static const char *const whole[] = {PAIR("blk.0.ffn_down.weight"),
                                        "4:2 " OLD_ENTRY(1, "x") OLD_ENTRY(1, "y") "4:3 4:4 'text'"};
    for (size_t f = 0; f < COUNT(whole); f++) {
        size_t size;
        unsigned char *const bytes = gguf_bytes(whole[f], &size);
        for (size_t cut = 0; cut < size; cut++) {
            scratch_file("m", bytes, cut);
            if (f == 0 || (cut != 46 && cut != 50))
                must_refuse("");
        }
        free(bytes);
    }
}
END_TEST

/* A real file with any byte changed is read or rejected. */
START_TEST(any_byte_may_be_wrong)
{
    static const char *const files[] = {"fixtures/imatrix/tiny-qwen2.gguf", "fixtures/imatrix/tiny-qwen2.dat"};
    char *bytes;
    size_t size, read = 0, refused = 0;
    organ_error error = {0};
    ck_assert_int_eq(organ_input_load(files[_i], files[_i], 1 << 20, &bytes, &size, &error), ORGAN_OK);
    for (size_t at = 0; at < size; at += at < 5000 ? 11 : 331) {
        organ_imatrix *m;
        float norms[320];
        double count;
        bytes[at] = (char)~bytes[at];
        scratch_file("m", bytes, size);
        bytes[at] = (char)~bytes[at];
        error = (organ_error){0};
        if (organ_imatrix_open(scratch_path("m"), &m, &error) == ORGAN_OK) {
            const organ_imatrix_place place = {&m->entries[0], 0, 1};
            organ_imatrix_norms(m, &place, "t", 320, norms, &count, &error);
            organ_imatrix_close(m);
            read++;
        } else
            refused++;
        ck_assert(error.status == ORGAN_OK || error.status == ORGAN_BAD_INPUT);
    }
    ck_assert(read > 0 && refused > 0);
    free(bytes);
}
END_TEST

START_TEST(file_that_changes_meanwhile)
{
    organ_imatrix *const m = opened(PAIR("x"));
    organ_error error = {0};
    ck_assert_int_eq(organ_imatrix_unchanged(m, &error), ORGAN_OK);
    make("4:1 " OLD_ENTRY(1, "x"));
    ck_assert_int_eq(organ_imatrix_unchanged(m, &error), ORGAN_BAD_INPUT);
    ck_assert_msg(strstr(error.message, "while the model was in use") != NULL, "%s", error.message);
    organ_imatrix_close(m);
}
END_TEST

START_TEST(no_file)
{
    organ_imatrix *m;
    organ_error error = {0};
    ck_assert_int_eq(organ_imatrix_open(scratch_path("none"), &m, &error), ORGAN_IO);
    error = (organ_error){0};
    ck_assert_int_eq(organ_imatrix_open(scratch_path(""), &m, &error), ORGAN_BAD_INPUT);
    ck_assert_msg(strstr(error.message, "is a directory") != NULL, "%s", error.message);
    organ_imatrix_close(NULL);
}
END_TEST

int main(void)
{
    Suite *const suite = suite_create("imatrix");
    TCase *const files = tcase_create("files");
    tcase_add_checked_fixture(files, scratch_begin, scratch_end);
    tcase_add_test(files, both_formats_say_the_same);
    tcase_add_test(files, facts);
    tcase_add_test(files, experts_have_their_own_counts);
    tcase_add_loop_test(files, entry_is_found, 0, COUNT(wishes));
    tcase_add_test(files, doubtful_entries);
    tcase_add_test(files, columns_in_another_order);
    tcase_add_loop_test(files, numbers_are_refused, 0, COUNT(bad_numbers));
    tcase_add_loop_test(files, file_is_refused, 0, COUNT(bad_files));
    tcase_add_test(files, file_is_cut);
    tcase_add_loop_test(files, any_byte_may_be_wrong, 0, 2);
    tcase_add_test(files, file_that_changes_meanwhile);
    tcase_add_test(files, no_file);
    suite_add_tcase(suite, files);
    SRunner *const runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
