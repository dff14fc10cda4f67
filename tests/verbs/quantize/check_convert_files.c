/* SPDX-License-Identifier: MIT
 * Tests of the files that dequantize and quantize write: shards, index, config.json, and copied files. */
#include "formats/base/json.h"
#include <organ/organs.h>
#include "tests/verbs/quantize/convert_rig.h"
#include "tests/kit/suite_table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define Q_PROJ "model.layers.0.self_attn.q_proj.weight"

/* ---- shards ---- */

static json_t *load(const char *path)
{
    json_error_t e;
    json_t *const json = json_load_file(path, 0, &e);
    ck_assert_msg(json != NULL, "%s: %s", path, e.text);
    return json;
}

static void same_tensors(const organ_model *a, const organ_model *b)
{
    ck_assert_uint_eq(a->tensor_count, b->tensor_count);
    for (size_t t = 0; t < a->tensor_count; t++) {
        size_t bytes, other;
        const organ_tensor *const x = &a->tensors[t];
        unsigned char *const data = bytes_of(a, x->name, x->dtype, &bytes), *const same =
                                                                                bytes_of(b, x->name, x->dtype, &other);
        ck_assert_msg(bytes == other && memcmp(data, same, bytes) == 0, "%s", x->name);
        free(data);
        free(same);
    }
}

/* Checks that every tensor begins at a multiple of its type's size, data on a page, and that no shard of several
 * tensors exceeds the limit. */
static void check_shards(const organ_model *model, uint64_t max)
{
    for (size_t f = 0; f < model->file_count; f++) {
        const organ_model_file *const file = &model->files[f];
        char name[64];
        ck_assert_uint_eq(file->data_offset % 4096, 0);
        ck_assert_msg(file->count == 1 || file->size - file->data_offset <= max, "%s", file->name);
        snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", f + 1, model->file_count);
        ck_assert_str_eq(file->name, model->file_count > 1 ? name : "model.safetensors");
    }
    for (size_t t = 0; t < model->tensor_count; t++)
        ck_assert_uint_eq(model->tensors[t].offset % organ_dtype_describe(model->tensors[t].dtype)->bytes, 0);
}

START_TEST(shards_are_cut_as_asked)
{
    static const uint64_t sizes[] = {1, 60000, 300000, (uint64_t)1 << 40};
    organ_model *const donor = open_sound("donor");
    size_t files = 1000;
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        must_convert("out", (convert_way){.max = sizes[k], .force = true});
        organ_model *const model = open_sound("out");
        check_shards(model, sizes[k]);
        same_tensors(donor, model);
        ck_assert(model->file_count < files);
        files = model->file_count;
        ck_assert_int_eq(exists(scratch_path("out/model.safetensors.index.json")), files > 1);
        if (files > 1) {
            json_t *const index = load(scratch_path("out/model.safetensors.index.json"));
            uint64_t total = 0;
            for (size_t t = 0; t < model->tensor_count; t++)
                total += model->tensors[t].bytes;
            ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(index, "metadata"), "total_size")),
                             (json_int_t)total);
            json_decref(index);
        }
        organ_model_close(model);
    }
    ck_assert_uint_eq(files, 1);
    organ_model_close(donor);
}
END_TEST

START_TEST(single_file)
{
    organ_model *const donor = open_sound("donor");
    must_convert("one.safetensors", (convert_way){.max = 1000});
    ck_assert(exists(scratch_path("one.dequantize.json")) && exists(scratch_path("one.DEQUANTIZE_REPORT.md")) &&
              exists(scratch_path("one.DEQUANTIZE_REPORT.html")));
    organ_model *const model = open_sound("one.safetensors");
    same_tensors(donor, model);
    organ_model_close(model);
    organ_model_close(donor);
}
END_TEST

START_TEST(header_names_its_format)
{
    size_t size;
    must_convert("out", (convert_way){.scheme = "fp8-channel"});
    char *const file = slurp(scratch_path("out/model.safetensors"), &size);
    ck_assert(size > 4096 && strncmp(file + 8, "{\"__metadata__\":{\"format\":\"pt\"},", 32) == 0);
    free(file);
}
END_TEST

/* ---- config.json ---- */

typedef struct edit_row {
    const char *before, *remove, *inside, *set, *value, *after;
} edit_row;

START_TEST(edits_keep_the_rest)
{
    static const edit_row rows[] = {
        {"{}", "a", NULL, NULL, NULL, "{}"},
        {"{\"a\":1}", "a", NULL, NULL, NULL, "{}"},
        {"{\"a\":1,\"b\":NaN}", "a", NULL, NULL, NULL, "{\"b\":NaN}"},
        {"{\"b\":-Infinity, \"a\":{\"x\":[1,{}]}, \"c\":1.0e-06}", "a", NULL, NULL, NULL,
         "{\"b\":-Infinity, \"c\":1.0e-06}"},
        {"{\n  \"b\": 1e-06,\n  \"a\": \"}\\\"\"\n}\n", "a", NULL, NULL, NULL, "{\n  \"b\": 1e-06\n}\n"},
        {"{\"t\":{\"a\":1,\"u\":{\"a\":2}},\"l\":[{\"a\":3}],\"a\":4}", "a", NULL, NULL, NULL,
         "{\"t\":{\"u\":{}},\"l\":[{\"a\":3}]}"},
        {"{}", NULL, NULL, "a", "[1]", "{\"a\": [1]}"},
        {"{\"b\":2}", NULL, NULL, "a", "\"x\"", "{\"b\":2,\"a\": \"x\"}"},
        {"{\n  \"b\": 2\n}\n", NULL, NULL, "a", "{\"x\":[1,2]}",
         "{\n  \"b\": 2,\n  \"a\": {\n    \"x\": [\n      1,\n      2\n    ]\n  }\n}\n"},
        {"{ \"a\" : 1 , \"b\":2}", NULL, NULL, "a", "null", "{ \"a\" : null , \"b\":2}"},
        {"{\"t\":{\"a\":1},\"a\":1}", NULL, "t", "a", "2", "{\"t\":{\"a\":2},\"a\":1}"},
    };
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        const edit_row *const r = &rows[k];
        organ_error error = {0};
        organ_json_edit edit;
        json_t *const value = r->value ? json_loads(r->value, JSON_DECODE_ANY, NULL) : NULL;
        ck_assert_int_eq(organ_json_edit_begin(&edit, "x", r->before, strlen(r->before), &error), ORGAN_OK);
        if (r->remove)
            organ_json_edit_remove(&edit, r->remove, NULL, &error);
        if (r->set)
            organ_json_edit_set(&edit, r->inside, r->set, value, &error);
        ck_assert_msg(error.status == ORGAN_OK, "%s", error.message);
        ck_assert_str_eq(edit.bytes, r->after);
        organ_json_edit_release(&edit);
        json_decref(value);
    }
}
END_TEST

START_TEST(edits_refuse_what_is_no_object)
{
    static const char *const bad[] = {"", "[]", "{", "{\"a\" 1}", "{\"a\":1} x", "\"x\""};
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        organ_error error = {0};
        organ_json_edit edit;
        ck_assert_int_eq(organ_json_edit_begin(&edit, "some.json", bad[k], strlen(bad[k]), &error), ORGAN_BAD_INPUT);
        ck_assert_msg(strstr(error.message, "some.json"), "%s", error.message);
        organ_json_edit_release(&edit);
    }
}
END_TEST

/* The config of a quantised multimodal model with a separate text config. */
START_TEST(config_becomes_that_of_a_plain_model)
{
    static const char before[] =
        "{\n  \"model_type\": \"llama\",\n  \"text_config\": {\"dtype\": \"float32\", \"x\": 1e-06},\n"
        "  \"torch_dtype\": \"float32\"\n}\n";
    static const char after[] =
        "{\n  \"model_type\": \"llama\",\n  \"text_config\": {\"dtype\": \"float16\", \"x\": 1e-06},\n"
        "  \"torch_dtype\": \"float16\"\n}\n";
    size_t size;
    spill(scratch_path("donor/config.json"), before, sizeof before - 1);
    must_convert("packed", (convert_way){.scheme = "int4-group32"});
    json_t *const config = load(scratch_path("packed/config.json"));
    json_t *const quantization = json_object_get(config, "quantization_config");
    ck_assert_str_eq(json_string_value(json_object_get(quantization, "format")), "pack-quantized");
    ck_assert_str_eq(json_string_value(json_object_get(config, "torch_dtype")), "float32");
    json_decref(config);
    must_convert("out", (convert_way){.model = scratch_path("packed"), .dtype = "f16"});
    char *const text = slurp(scratch_path("out/config.json"), &size);
    ck_assert(size == sizeof after - 1 && memcmp(text, after, size) == 0);
    free(text);
    must_convert("plain", (convert_way){.dtype = "f16"}); /* nothing was packed, so no type has changed */
    ck_assert(same_files(scratch_path("plain/config.json"), scratch_path("donor/config.json")));
}
END_TEST

static bool lists(const json_t *array, const char *text)
{
    size_t k;
    const json_t *row;
    json_array_foreach(array, k, row)
    {
        if (strcmp(json_string_value(row), text) == 0)
            return true;
    }
    return false;
}

/* The config lists the modules that are not quantised, so that loaders leave them alone. */
START_TEST(what_is_left_alone_is_named)
{
    must_convert("out", (convert_way){.scheme = "int4-group32"});
    json_t *config = load(scratch_path("out/config.json"));
    const json_t *names = json_object_get(json_object_get(config, "quantization_config"), "ignore");
    ck_assert(lists(names, "model.layers.0.mlp.down_proj") && lists(names, "model.layers.1.mlp.down_proj") &&
              lists(names, "lm_head"));
    ck_assert_uint_eq(json_array_size(names), 3);
    ck_assert_uint_eq(json_array_size(json_object_get(convert_report, "left_alone")), 2);
    json_decref(config);
    must_convert("some", (convert_way){.scheme = "fp8-block128", .targets = "*.mlp.*"});
    config = load(scratch_path("some/config.json"));
    names = json_object_get(json_object_get(config, "quantization_config"), "modules_to_not_convert");
    ck_assert(lists(names, "model.layers.1.self_attn.o_proj") && lists(names, "model.layers.0.mlp.gate_proj") &&
              !lists(names, "model.embed_tokens") && lists(names, "lm_head"));
    ck_assert_uint_eq(json_array_size(names), 13);
    json_decref(config);
}
END_TEST

/* ---- other files of the model ---- */

START_TEST(other_files_come_along)
{
    static const char *const kept[] = {"extra/merges.txt", "tokenizer.json"};
    static const char *const gone[] = {"quantize_config.json", "quant_config.json", "hf_quant_config.json"};
    must_convert("packed", (convert_way){.scheme = "fp8-channel", .max = 60000});
    spill(scratch_path("packed/tokenizer.json"), "{}", 2);
    spill(scratch_path("packed/hf_quant_config.json"), "{}", 2);
    spill(scratch_path("packed/quant_config.json"), "{}", 2);
    must_convert("out", (convert_way){.model = scratch_path("packed")});
    for (size_t k = 0; k < 2; k++)
        ck_assert_msg(same_files(scratch_path("packed/%s", kept[k]), scratch_path("out/%s", kept[k])), "%s", kept[k]);
    for (size_t k = 0; k < 3; k++)
        ck_assert_msg(!exists(scratch_path("out/%s", gone[k])), "%s", gone[k]);
    ck_assert(!exists(scratch_path("out/model.safetensors.index.json"))); /* the index of its old shards */
    ck_assert(same_files(scratch_path("packed/organ/quantize.json"), scratch_path("out/organ/donor/quantize.json")));
    ck_assert(exists(scratch_path("out/organ/dequantize.json")) &&
              exists(scratch_path("out/organ/DEQUANTIZE_REPORT.md")) &&
              exists(scratch_path("out/organ/DEQUANTIZE_REPORT.html")));
}
END_TEST

/* A file next to the shards with the name of an output file does not replace that. */
START_TEST(a_stale_file_is_not_copied_over_the_output)
{
    must_convert("planned", (convert_way){.max = 1});
    organ_model *const donor = open_sound("donor"), *const planned = open_sound("planned");
    spill(scratch_path("donor/%s", planned->files[0].name), "old", 3);
    must_convert("out", (convert_way){.max = 1});
    organ_model *const model = open_sound("out");
    same_tensors(donor, model);
    organ_model_close(model);
    organ_model_close(planned);
    organ_model_close(donor);
}
END_TEST

/* Adds a shard with tensors that belong to no weight. */
static void add_strays(void)
{
    static const made_tensor unmatched[] = {{"model.layers.0.self_attn.o_proj.input_scale", ORGAN_F32, 1, {1}},
                                            {"model.layers.0.self_attn.k_scale", ORGAN_F32, 1, {1}},
                                            {"model.layers.0.mlp.down_proj.wobble", ORGAN_F32, 1, {3}}};
    const char *const path = scratch_path("packed/model.safetensors.index.json");
    json_t *const index = load(path), *const map = json_object_get(index, "weight_map"),
                  *const meta = json_object_get(index, "metadata");
    make_shard(scratch_path("packed/extra.safetensors"), unmatched, 3);
    for (size_t k = 0; k < 3; k++)
        json_object_set_new(map, unmatched[k].name, json_string("extra.safetensors"));
    json_object_set_new(meta, "total_size", json_integer(json_integer_value(json_object_get(meta, "total_size")) + 20));
    ck_assert_int_eq(json_dump_file(index, path, 0), 0);
    json_decref(index);
}

START_TEST(strays_are_never_silent)
{
    must_convert("packed", (convert_way){.scheme = "fp8-block128", .max = 60000});
    add_strays();
    must_convert("out", (convert_way){.model = scratch_path("packed")});
    organ_model *const model = open_sound("out");
    ck_assert_ptr_null(organ_model_find(model, "model.layers.0.self_attn.o_proj.input_scale"));
    ck_assert_ptr_null(organ_model_find(model, "model.layers.0.self_attn.k_scale"));
    ck_assert_ptr_nonnull(organ_model_find(model, "model.layers.0.mlp.down_proj.wobble"));
    const json_t *const unmatched = json_object_get(convert_report, "strays");
    size_t dropped = 0;
    ck_assert_uint_eq(json_array_size(unmatched), 3);
    for (size_t k = 0; k < 3; k++)
        dropped += json_is_true(json_object_get(json_array_get(unmatched, k), "dropped"));
    ck_assert_uint_eq(dropped, 2);
    organ_model_close(model);
}
END_TEST

/* Takes from `from`, which has one tensor per shard, the shards whose tensor names contain `part` (with `without`: do
 * not contain it). */
static void take_shards(const char *from, const char *part, bool without, json_t *map, uint64_t *total)
{
    organ_model *const model = open_sound(from);
    for (size_t t = 0; t < model->tensor_count; t++) {
        const organ_tensor *const tensor = &model->tensors[t];
        char name[128], command[9000];
        if ((strstr(tensor->name, part) != NULL) == without)
            continue;
        snprintf(name, sizeof name, "%s-%zu.safetensors", from, t);
        snprintf(command, sizeof command, "cp '%s' '%s'", model->files[tensor->file].path,
                 scratch_path("mixed/%s", name));
        ck_assert_int_eq(system(command), 0);
        json_object_set_new(map, tensor->name, json_string(name));
        *total += tensor->bytes;
    }
    organ_model_close(model);
}

/* FP8 attention, INT4 feed-forward, plain norms and embedding, with any config. */
START_TEST(schemes_may_be_mixed)
{
    static const char *const names[] = {Q_PROJ, "model.layers.1.mlp.up_proj.weight"};
    static const char *const origins[] = {"fp8", "int4"};
    json_t *const map = json_object();
    uint64_t total = 0;
    size_t size;
    must_convert("fp8", (convert_way){.scheme = "fp8-channel", .max = 1});
    must_convert("int4", (convert_way){.scheme = "int4-group32", .max = 1});
    ck_assert_int_eq(mkdir(scratch_path("mixed"), 0777), 0);
    take_shards("fp8", ".mlp.", true, map, &total);
    take_shards("int4", ".mlp.", false, map, &total);
    json_t *const index = json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)total, "weight_map", map);
    ck_assert_int_eq(json_dump_file(index, scratch_path("mixed/model.safetensors.index.json"), 0), 0);
    json_decref(index);
    char *const config = slurp(scratch_path("int4/config.json"), &size);
    spill(scratch_path("mixed/config.json"), config, size);
    free(config);
    must_convert("out", (convert_way){.model = scratch_path("mixed"), .dtype = "f32"});
    ck_assert_uint_eq(json_array_size(json_object_get(convert_report, "schemes")), 2);
    organ_model *const after = open_sound("out"), *const donor = open_sound("donor");
    ck_assert_uint_eq(after->tensor_count, donor->tensor_count);
    for (size_t k = 0; k < 2; k++) {
        size_t count, other;
        organ_model *const before = open_sound(origins[k]);
        float *const x = numbers_of(before, names[k], &count), *const y = numbers_of(after, names[k], &other);
        ck_assert(count == other && memcmp(x, y, count * 4) == 0);
        free(x);
        free(y);
        organ_model_close(before);
    }
    organ_model_close(after);
    organ_model_close(donor);
}
END_TEST

/* ---- models in other forms ---- */

START_TEST(gguf_becomes_gguf)
{
    static const char donor[] = "fixtures/tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf";
    static const char *const dtypes[] = {"f32", "f16", "bf16"};
    static const int64_t types[] = {0, 1, 32};
    organ_error error = {0};
    organ_model *before;
    ck_assert_int_eq(organ_model_open(donor, &before, &error), ORGAN_OK);
    for (size_t d = 0; d < 3; d++) {
        must_convert("out.gguf", (convert_way){.model = donor, .dtype = dtypes[d], .force = true});
        organ_model *const after = open_sound("out.gguf");
        ck_assert_int_eq(organ_gguf_integer(after->gguf, "general.file_type", -1), types[d]);
        ck_assert_uint_eq(after->gguf->kv_count, before->gguf->kv_count);
        for (size_t t = 0; t < before->tensor_count; t += 7) {
            size_t count, other;
            float *const x = numbers_of(before, before->tensors[t].name, &count), *const y = numbers_of(
                                                                                      after, before->tensors[t].name,
                                                                                      &other);
            ck_assert_uint_eq(count, other);
            size_t wrong = 0;
            for (size_t k = 0; k < count; k++)
                wrong += d == 0 ? x[k] != y[k] : !(fabsf(y[k] - x[k]) <= 0.004f * fabsf(x[k]) + 1e-7f);
            ck_assert_uint_eq(wrong, 0);
            free(x);
            free(y);
        }
        organ_model_close(after);
    }
    organ_model_close(before);
    ck_assert_int_eq(convert("out", (convert_way){.model = donor}, &error), ORGAN_USAGE);
    ck_assert_int_eq(convert("out.safetensors", (convert_way){.model = donor}, &error), ORGAN_USAGE);
    ck_assert_int_eq(convert("out", (convert_way){.model = donor, .scheme = "fp8-tensor"}, &error), ORGAN_USAGE);
    ck_assert(!scratch_left("out"));
}
END_TEST

START_TEST(an_organ_directory_is_a_model_too)
{
    const organ_extract_options o = {.model = scratch_path("donor"), .write.output = scratch_path("apart")};
    organ_error error = {0};
    json_t *report = NULL;
    ck_assert_msg(organ_extract(&o, NULL, NULL, &report, &error) == ORGAN_OK, "%s", error.message);
    json_decref(report);
    must_convert("packed", (convert_way){.scheme = "fp8-block128"});
    must_convert("again", (convert_way){.scheme = "fp8-block128", .model = scratch_path("apart")});
    organ_model *const a = open_sound("packed"), *const b = open_sound("again");
    same_tensors(a, b);
    ck_assert(same_files(scratch_path("packed/config.json"), scratch_path("again/config.json")));
    organ_model_close(a);
    organ_model_close(b);
}
END_TEST

START_TEST(dry_run_writes_nothing)
{
    static const char *const names[] = {"fp8-block128", NULL};
    for (size_t k = 0; k < 2; k++) {
        must_convert("out", (convert_way){.scheme = names[k], .dry_run = true});
        ck_assert(!scratch_left("out") && json_is_true(json_object_get(convert_report, "dry_run")));
        json_t *const dry = json_incref(json_object_get(convert_report, "files"));
        must_convert("out", (convert_way){.scheme = names[k], .force = true});
        ck_assert(json_equal(dry, json_object_get(convert_report, "files")));
        json_decref(dry);
        ck_assert_int_eq(system("rm -r \"$OUT\""), 0);
    }
}
END_TEST

START_TEST(wrong_usage)
{
    const struct {
        convert_way way;
        const char *output, *words;
        organ_status status;
    } rows[] = {
        {{.dtype = "f8"}, "no", "dtype 'f8'", ORGAN_USAGE},
        {{.scheme = "fp8"}, "no", "scheme 'fp8'", ORGAN_USAGE},
        {{.scheme = "fp8-tensor", .targets = "*.nothing"}, "no", "*.nothing", ORGAN_USAGE},
        {{.scheme = "fp8-tensor"}, "no.safetensors", "name a directory", ORGAN_USAGE},
        {{0}, "no.gguf", "name a .safetensors", ORGAN_USAGE},
        {{0}, "donor", "donor", ORGAN_USAGE},
        {{.scheme = "fp8-tensor", .force = true}, "donor/no", "donor", ORGAN_USAGE},
        {{0}, "full", "exists", ORGAN_USAGE},
        {{.scheme = "fp8-tensor", .memory = 1000}, "no", "--memory", ORGAN_USAGE},
        {{.scheme = "fp8-tensor", .model = scratch_path("packed")}, "no", "already quantised", ORGAN_BAD_INPUT},
        {{.scheme = "int4-group128", .targets = "*.down_proj.weight"},
         "no",
         "whole number of groups of 32",
         ORGAN_BAD_INPUT},
        {{.model = scratch_path("packed"), .memory = 1000}, "no", "--memory", ORGAN_USAGE},
        {{.model = scratch_path("nothing")}, "no", "nothing", ORGAN_IO},
    };
    organ_error error;
    must_convert("packed", (convert_way){.scheme = "fp8-block128"});
    ck_assert_int_eq(mkdir(scratch_path("full"), 0777), 0);
    spill(scratch_path("full/x"), "x", 1);
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        const organ_status status = convert(rows[k].output, rows[k].way, &error);
        ck_assert_msg(status == rows[k].status, "row %zu: %d: %s", k, (int)status, error.message);
        ck_assert_msg(strstr(error.message, rows[k].words), "row %zu: %s", k, error.message);
        ck_assert(!scratch_left("no") && !exists(scratch_path(".donor.organ-partial")));
    }
}
END_TEST

START_TEST(config_that_cannot_be_edited)
{
    organ_error error;
    spill(scratch_path("donor/config.json"), "[]", 2);
    ck_assert_int_eq(convert("out", (convert_way){.scheme = "fp8-tensor"}, &error), ORGAN_BAD_INPUT);
    ck_assert_msg(strstr(error.message, "config.json"), "%s", error.message);
    ck_assert_int_eq(remove(scratch_path("donor/config.json")), 0);
    ck_assert_int_eq(convert("out", (convert_way){.scheme = "fp8-tensor"}, &error), ORGAN_USAGE);
    ck_assert_msg(strstr(error.message, "config.json"), "%s", error.message);
    ck_assert(!scratch_left("out"));
    must_convert("out", (convert_way){0}); /* a plain model needs none */
    ck_assert(!exists(scratch_path("out/config.json")));
}
END_TEST

static void setup(void)
{
    convert_setup();
    setenv("OUT", scratch_path("out"), 1);
}

Suite *convert_files_suite(void)
{
    const suite_case cases[] = {
        {"shards", {shards_are_cut_as_asked, single_file, header_names_its_format}},
        {"config",
         {edits_keep_the_rest, edits_refuse_what_is_no_object, config_becomes_that_of_a_plain_model,
          what_is_left_alone_is_named, config_that_cannot_be_edited}},
        {"beside", {other_files_come_along, a_stale_file_is_not_copied_over_the_output, strays_are_never_silent}},
        {"models",
         {schemes_may_be_mixed, gguf_becomes_gguf, an_organ_directory_is_a_model_too, dry_run_writes_nothing,
          wrong_usage}},
    };
    return suite_of("convert files", cases, sizeof cases / sizeof *cases, setup, convert_teardown);
}
