/* SPDX-License-Identifier: MIT
 * Tests of grafts: replaced and kept tensors, organs that do not fit, and the metadata. */
#include <organ/organs.h>
#include "tests/verbs/graft/check_organs.h"
#include "tests/kit/gguf_maker.h"
#include "tests/kit/scratch_model.h"
#include "tests/kit/suite_table.h"

#include <organ/kernels.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define Q8           "fixtures/tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf"
#define BF16         "fixtures/tiny-qwen2-gguf/tiny-qwen2-BF16-00001-of-00002.gguf"
#define HF           "fixtures/tiny-qwen2"
#define COUNT(array) (sizeof(array) / sizeof *(array))

static organ_status graft(organ_graft_options options, const char *output, organ_error *error)
{
    const char *why;
    options.write.output = scratch_path(output);
    *error = (organ_error){0};
    json_decref(organs_report);
    organs_report = NULL;
    return organ_graft(&options, organ_kernels_choose(organ_cpu_detect(), NULL, &why), NULL, NULL, &organs_report,
                       error);
}

static void must_graft(organ_graft_options options, const char *output)
{
    organ_error error;
    ck_assert_msg(graft(options, output, &error) == ORGAN_OK, "%s", error.message);
}

/* Returns true if `text` is part of a mismatch. */
static bool mismatch(const char *text)
{
    const json_t *const lines = json_object_get(organs_report, "mismatches");
    for (size_t k = 0; k < json_array_size(lines); k++)
        if (strstr(json_string_value(json_array_get(lines, k)), text))
            return true;
    return false;
}

static void does_not_fit(organ_graft_options options, const char *output, const char *const *texts)
{
    organ_error error;
    ck_assert_msg(graft(options, output, &error) == ORGAN_BAD_INPUT, "%s", error.message);
    ck_assert_ptr_nonnull(organs_report);
    for (; *texts; texts++)
        if (!mismatch(*texts)) {
            char *all = json_dumps(json_object_get(organs_report, "mismatches"), JSON_INDENT(1));
            ck_abort_msg("no \"%s\" in %s", *texts, all);
        }
    ck_assert(!is_there(scratch_path(output)));
}

static organ_model *opened(const char *name)
{
    organ_error error = {0};
    organ_model *model = NULL;
    ck_assert_msg(organ_model_open(name, &model, &error) == ORGAN_OK, "%s", error.message);
    return model;
}

/* Returns true if two tensors have the same bytes. */
static bool equal(const organ_model *a, const char *name_a, const organ_model *b, const char *name_b)
{
    const organ_tensor *const x = organ_model_find(a, name_a), *const y = organ_model_find(b, name_b);
    organ_error error = {0};
    ck_assert_msg(x && y, "%s or %s is not there", name_a, name_b);
    if (x->bytes != y->bytes || x->dtype != y->dtype)
        return false;
    char *p = malloc(x->bytes + 1), *q = malloc(y->bytes + 1);
    ck_assert_int_eq(organ_model_read(a, x->file, p, x->bytes, x->offset, &error), ORGAN_OK);
    ck_assert_int_eq(organ_model_read(b, y->file, q, y->bytes, y->offset, &error), ORGAN_OK);
    const bool same = memcmp(p, q, x->bytes) == 0;
    free(p);
    free(q);
    return same;
}

/* ---- organs that fit ---- */

START_TEST(onto_itself)
{
    must_graft((organ_graft_options){.source = Q8, .target = Q8}, "c.gguf");
    same_content(Q8, scratch_path("c.gguf"));
    must_extract(Q8, "apart");
    must_graft((organ_graft_options){.source = scratch_path("apart"), .target = Q8, .types = "organ", .layers = "1-2"},
               "d.gguf");
    same_content(Q8, scratch_path("d.gguf"));
    must_graft((organ_graft_options){.source = Q8, .target = scratch_path("apart"), .types = "organ,norm"}, "apart2");
    must_assemble("apart2", "e.gguf");
    same_content(Q8, scratch_path("e.gguf"));
    ck_assert(json_is_false(json_object_get(organs_report, "donor_again")));
}
END_TEST

START_TEST(organs_of_another_type)
{
    const organ_graft_options options = {.source = Q8, .target = BF16, .types = "organ", .layers = "1-2"};
    must_graft(options, "c.gguf");
    ck_assert(json_is_true(json_object_get(organs_report, "header_anew")));
    organ_model *source = opened(Q8), *target = opened(BF16), *made = opened(scratch_path("c.gguf"));
    ck_assert_uint_eq(made->tensor_count, target->tensor_count);
    ck_assert_uint_eq(made->file_count, 1);
    for (size_t t = 0; t < made->tensor_count; t++) {
        const organ_tensor *const tensor = &made->tensors[t];
        const bool taken =
            tensor->anatomy.group == ORGAN_GROUP_ORGAN && (tensor->anatomy.layer == 1 || tensor->anatomy.layer == 2);
        ck_assert_msg(equal(made, tensor->name, taken ? source : target, tensor->name), "%s", tensor->name);
    }
    organ_model_close(source);
    organ_model_close(target);
    organ_model_close(made);
}
END_TEST

/* Names, order of axes and types differ in the same model: replacing every organ of one by those of the other gives the
 * other. */
START_TEST(across_formats)
{
    must_extract(BF16, "apart");
    must_assemble("apart", "one.gguf");
    must_graft((organ_graft_options){.source = HF, .target = scratch_path("one.gguf")}, "c.gguf");
    same_content(scratch_path("one.gguf"), scratch_path("c.gguf"));
    must_graft((organ_graft_options){.source = BF16, .target = HF}, "copy");
    static const char *const files[] = {"model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors",
                                        "model-00003-of-00003.safetensors", "config.json"};
    for (size_t k = 0; k < COUNT(files); k++) {
        char from[100], to[100];
        snprintf(from, sizeof from, HF "/%s", files[k]);
        snprintf(to, sizeof to, "copy/%s", files[k]);
        same_content(from, scratch_path(to));
    }
}
END_TEST

/* Makes two layers, each of a norm, a q and an up; `bias` is added to make every tensor different. */
static void make_layers(const char *name, const char *architecture, const char *values, unsigned layers, unsigned fill)
{
    char words[4000], tensors[3000] = "", data[600] = "";
    unsigned offset = 0, count = 0;
    static const char *const modules[] = {"attn_norm", "attn_q", "ffn_up"};
    for (unsigned l = 0; l < layers; l++)
        for (unsigned m = 0; m < 3; m++, offset += 64, count++) {
            sprintf(tensors + strlen(tensors),
                    m ? "s:blk.%u.%s.weight 4:2 8:4 8:4 4:0 8:%u " : "s:blk.%u.%s.weight 4:1 8:16 4:0 8:%u ", l,
                    modules[m], offset);
            sprintf(data + strlen(data), "x:%02x z:63 ", fill + count);
        }
    snprintf(words, sizeof words,
             "'GGUF' 4:3 8:%u 8:5 s:general.architecture 4:8 s:%s s:%s.block_count 4:4 4:%u "
             "s:%s.attention.head_count_kv 4:9 4:4 8:%u %s s:xielu.beta 4:9 4:5 8:%u %s "
             "s:tokenizer.ggml.tokens 4:9 4:8 8:1 s:a %sp:32 %s",
             count, architecture, architecture, layers, architecture, layers, values, layers, values, tensors, data);
    gguf_file(name, words);
}

START_TEST(layers_move_and_metadata_follows)
{
    make_layers("a.gguf", "qwen2", "4:7 4:8", 2, 1);
    make_layers("b.gguf", "qwen2", "4:1 4:2", 2, 101);
    const organ_graft_options swap = {
        .source = scratch_path("a.gguf"), .target = scratch_path("b.gguf"), .layers = "0", .map = "0:1"};
    must_graft(swap, "c.gguf");
    organ_model *a = opened(scratch_path("a.gguf")), *b = opened(scratch_path("b.gguf")),
                *c = opened(scratch_path("c.gguf"));
    int64_t value;
    const organ_gguf_kv *kv = organ_gguf_find(c->gguf, "qwen2.attention.head_count_kv");
    ck_assert(kv && kv->count == 2 && organ_gguf_integer_at(kv, 0, &value) && value == 1);
    ck_assert(organ_gguf_integer_at(kv, 1, &value) && value == 7);
    kv = organ_gguf_find(c->gguf, "xielu.beta"); /* a key without the architecture */
    ck_assert(kv && kv->count == 2 && organ_gguf_integer_at(kv, 1, &value) && value == 7);
    ck_assert(equal(c, "blk.1.ffn_up.weight", a, "blk.0.ffn_up.weight") &&
              equal(c, "blk.0.ffn_up.weight", b, "blk.0.ffn_up.weight"));
    organ_model_close(c);
    must_graft(
        (organ_graft_options){
            .source = scratch_path("a.gguf"), .target = scratch_path("b.gguf"), .layers = "0-1", .map = "0-1:2-3"},
        "d.gguf");
    c = opened(scratch_path("d.gguf"));
    kv = organ_gguf_find(c->gguf, "qwen2.attention.head_count_kv");
    ck_assert_int_eq((int)organ_gguf_integer(c->gguf, "qwen2.block_count", 0), 4);
    ck_assert(kv && kv->count == 4 && organ_gguf_integer_at(kv, 3, &value) && value == 8);
    ck_assert_uint_eq(c->tensor_count, 12);
    ck_assert(equal(c, "blk.3.attn_q.weight", a, "blk.1.attn_q.weight") &&
              equal(c, "blk.1.attn_q.weight", b, "blk.1.attn_q.weight"));
    organ_model_close(a);
    organ_model_close(b);
    organ_model_close(c);
}
END_TEST

/* ---- organs that do not fit ---- */

START_TEST(everything_is_listed)
{
    make_layers("a.gguf", "llama", "4:7 4:8", 2, 1);
    make_layers("b.gguf", "qwen2", "4:1 4:2 4:3", 3, 101);
    char *const a = strdup(scratch_path("a.gguf")), *const b = strdup(
                                                        scratch_path("b.gguf")); /* scratch_path reuses its buffers */
    does_not_fit((organ_graft_options){.source = a, .target = b}, "c.gguf",
                 (const char *const[]){"rope: in GGUF files of architecture 'llama'",
                                       "blk.2.attn_norm.weight of the target has no counterpart",
                                       "blk.2.ffn_up.weight of the target has no counterpart", NULL});
    does_not_fit((organ_graft_options){.source = a, .target = b, .types = "organ", .layers = "1-5"}, "c.gguf",
                 (const char *const[]){"layers 1-5 were requested, but the source has 2 (0-1)", NULL});
    does_not_fit((organ_graft_options){.source = a, .target = b, .types = "organ", .layers = "0-1", .map = "0:4,1:6"},
                 "c.gguf",
                 (const char *const[]){"layer 4 would be added to the target, but not layer 3 before it", NULL});
    does_not_fit((organ_graft_options){.source = a, .target = b, .layers = "0-1", .map = "0-1:90-91"}, "c.gguf",
                 (const char *const[]){"layer 90 would be added to the target, but not layer 3 before it", NULL});
    does_not_fit((organ_graft_options){.source = a, .target = b, .types = "organ", .layers = "1", .map = "1:3"},
                 "c.gguf",
                 (const char *const[]){"added layer 3: blk.1.attn_q.weight of the source is not selected", NULL});
    does_not_fit((organ_graft_options){.source = HF, .target = b}, "c.gguf",
                 (const char *const[]){"shape of blk.0.attn_q.weight: [320, 320] in the source, [4, 4] in the target",
                                       "blk.0.ffn_down.weight is not in the target", "blk.3.attn_q.weight", NULL});
    does_not_fit((organ_graft_options){.source = b, .target = HF, .types = "organ", .map = "0:4"}, "copy",
                 (const char *const[]){"layers can be added to a GGUF file only", NULL});
    does_not_fit((organ_graft_options){.source = a, .target = HF, .types = "skeleton"}, "copy",
                 (const char *const[]){"rope: in GGUF files of architecture 'llama'", NULL});
    make_layers("n.gguf", "nemotron", "4:7 4:8", 2, 1);
    does_not_fit((organ_graft_options){.source = scratch_path("n.gguf"), .target = HF, .types = "norm"}, "copy",
                 (const char *const[]){"norms: GGUF files of architecture 'nemotron' store them plus 1", NULL});
    free(a);
    free(b);
}
END_TEST

START_TEST(wrong_calls)
{
    organ_error error;
    static const organ_graft_options calls[] = {
        {.types = "brain"},
        {.types = "organ,,norm"},
        {.layers = "5-"},
        {.layers = "7-3"},
        {.layers = ""},
        {.layers = "1,,2"},
        {.layers = "99999999999"},
        {.map = "1-2:3"},
        {.map = "1"},
        {.map = "1:2,"},
        {.layers = "0-1", .map = "0:1"},
        {.types = "other"},
    };
    for (size_t k = 0; k < COUNT(calls); k++) {
        organ_graft_options call = calls[k];
        call.source = call.target = Q8;
        ck_assert_msg(graft(call, "c.gguf", &error) == ORGAN_USAGE, "call %zu: %s", k, error.message);
        ck_assert(!is_there(scratch_path("c.gguf")));
    }
    ck_assert_int_eq(graft((organ_graft_options){.source = Q8, .target = Q8}, "c.safetensors", &error), ORGAN_USAGE);
    ck_assert_int_eq(graft((organ_graft_options){.source = Q8, .target = Q8}, "c", &error), ORGAN_USAGE);
    ck_assert_int_eq(graft((organ_graft_options){.source = HF, .target = HF}, "c.gguf", &error), ORGAN_USAGE);
    ck_assert_int_eq(graft((organ_graft_options){.source = Q8, .target = "nowhere"}, "c.gguf", &error), ORGAN_IO);
    const organ_graft_options block = {.source = Q8, .target = HF, .types = "mtp"};
    ck_assert_int_eq(graft(block, "c", &error), ORGAN_USAGE);
    ck_assert_ptr_nonnull(strstr(error.message, "`engine` is missing"));
    must_extract(Q8, "apart");
    const organ_graft_options over = {.source = scratch_path("apart"), .target = Q8, .write.force = true};
    ck_assert_int_eq(graft(over, "apart/organs/c.gguf", &error), ORGAN_USAGE);
}
END_TEST

Suite *graft_suite(void)
{
    const suite_case cases[] = {
        {"grafts", {onto_itself, organs_of_another_type, across_formats, layers_move_and_metadata_follows}},
        {"refusals", {everything_is_listed, wrong_calls}},
    };
    return suite_of("graft", cases, COUNT(cases), organs_setup, organs_teardown);
}
