/* SPDX-License-Identifier: MIT
 * Tests of extract and assemble: the assembled model equals the donor byte for byte; malformed organ directories are
 * rejected. */
#include "orchestrator/stream/transfer.h"
#include <organ/organs.h>
#include "tests/verbs/graft/check_organs.h"
#include "tests/kit/gguf_maker.h"
#include "tests/kit/scratch_model.h"
#include "tests/kit/suite_table.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIXTURES "fixtures/"

json_t *organs_report;

/* ---- helpers ---- */

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info, (void)kind, (void)where;
    return remove(path);
}

void remove_output(const char *name) { nftw(scratch_path(name), remove_one, 8, FTW_DEPTH | FTW_PHYS); }

char *content(const char *path, size_t *size)
{
    FILE *in = fopen(path, "rb");
    ck_assert_msg(in != NULL, "%s is not there", path);
    ck_assert_int_eq(fseek(in, 0, SEEK_END), 0);
    *size = (size_t)ftell(in);
    rewind(in);
    char *data = malloc(*size + 1);
    ck_assert(data && fread(data, 1, *size, in) == *size);
    data[*size] = '\0';
    fclose(in);
    return data;
}

void same_content(const char *a, const char *b)
{
    size_t n, m;
    char *x = content(a, &n), *y = content(b, &m);
    ck_assert_msg(n == m && memcmp(x, y, n) == 0, "%s (%zu bytes) and %s (%zu bytes) differ", a, n, b, m);
    free(x);
    free(y);
}

bool is_there(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0;
}

organ_status extract(const char *model, const char *output, organ_error *error)
{
    const organ_extract_options options = {.model = model, .write.output = scratch_path(output)};
    *error = (organ_error){0};
    json_decref(organs_report);
    return organ_extract(&options, NULL, NULL, &organs_report, error);
}

organ_status assemble(const char *directory, const char *output, organ_error *error)
{
    const organ_assemble_options options = {.directory = scratch_path(directory), .write.output = scratch_path(output)};
    *error = (organ_error){0};
    json_decref(organs_report);
    return organ_assemble(&options, NULL, NULL, &organs_report, error);
}

void must_extract(const char *model, const char *output)
{
    organ_error error;
    ck_assert_msg(extract(model, output, &error) == ORGAN_OK, "%s", error.message);
}

void must_assemble(const char *directory, const char *output)
{
    organ_error error;
    ck_assert_msg(assemble(directory, output, &error) == ORGAN_OK, "%s", error.message);
}

void organs_setup(void) { scratch_begin(); }

void organs_teardown(void)
{
    json_decref(organs_report);
    organs_report = NULL;
    scratch_end();
}

/* Extracts and assembles one file; removes both outputs. */
static void round_trip(const char *path)
{
    const char *const again = strstr(path, ".gguf") ? "again.gguf" : "again.safetensors";
    must_extract(path, "apart");
    must_assemble("apart", again);
    same_content(path, scratch_path(again));
    ck_assert(json_is_true(json_object_get(organs_report, "donor_again")));
    ck_assert_int_eq(unlink(scratch_path(again)), 0);
    remove_output("apart");
}

static void round_trip_of(const char *words)
{
    gguf_file("m.gguf", words);
    round_trip(scratch_path("m.gguf"));
}

/* ---- assembled files equal the donor ---- */

START_TEST(versions_and_alignments)
{
    round_trip_of("'GGUF' 4:1 4:1 4:1 S:k 4:4 4:7 S:blk.0.attn_q.weight 4:2 4:4 4:2 4:0 8:0 p:32 x:0102 z:30");
    round_trip_of("'GGUF' 4:2 8:1 8:1 s:k 4:4 4:7 s:blk.0.attn_q.weight 4:2 8:4 8:2 4:0 8:0 p:32 x:0102 z:30");
    round_trip_of(HEAD(1, 1) "s:k 4:4 4:7 s:blk.0.attn_q.weight 4:2 8:4 8:2 4:0 8:0 p:32 x:0102 z:30");
    static const unsigned alignments[] = {1, 8, 24, 32, 64, 4096};
    for (size_t k = 0; k < sizeof alignments / sizeof *alignments; k++) {
        char words[400];
        const unsigned a = alignments[k], second = (40 + a - 1) / a * a;
        snprintf(
            words, sizeof words,
            HEAD(2, 1) "s:general.alignment 4:4 4:%u s:a 4:1 8:40 4:24 8:0 s:b 4:1 8:8 4:24 8:%u p:%u c:40 p:%u c:8", a,
            second, a, a);
        round_trip_of(words);
    }
}
END_TEST

START_TEST(every_type)
{
    for (int type = 0; type < ORGAN_DTYPE_COUNT; type++) {
        const organ_dtype_info *const info = organ_dtype_describe((organ_dtype)type);
        uint64_t bytes;
        char words[300];
        if (info->ggml < 0)
            continue;
        ck_assert(organ_dtype_bytes((organ_dtype)type, 512, &bytes));
        snprintf(
            words, sizeof words,
            HEAD(2, 0) "s:blk.0.ffn_up.weight 4:2 8:256 8:2 4:%d 8:0 s:z 4:1 8:3 4:24 8:%u p:32 c:%u p:32 x:010203",
            info->ggml, (unsigned)(bytes + 31) / 32 * 32, (unsigned)bytes);
        round_trip_of(words);
    }
}
END_TEST

/* Bytes outside of tensors: in the padding after the header, between tensors, after the last one. */
START_TEST(what_lies_between)
{
    round_trip_of(
        HEAD(2, 0) "s:a 4:1 8:3 4:24 8:0 s:b 4:1 8:3 4:24 8:32 x:ff p:32 x:010203 x:00aa p:32 x:040506 x:bb00cc p:32");
    gguf_file("m.gguf",
              HEAD(2, 0) "s:a 4:1 8:3 4:24 8:0 s:b 4:1 8:3 4:24 8:32 p:32 x:010203 x:00aa p:32 x:040506 x:bb00cc p:32");
    must_extract(scratch_path("m.gguf"), "apart");
    const json_t *const source = json_array_get(json_object_get(organs_report, "sources"), 0);
    ck_assert_int_eq(json_integer_value(json_object_get(source, "gap_bytes")), 29 + 29);
    remove_output("apart");
    round_trip_of(HEAD(0, 0));
    round_trip_of(HEAD(0, 0) "p:32");
    round_trip_of(HEAD(1, 0) "s:a 4:1 8:0 4:24 8:0 p:32");
    round_trip_of(HEAD(1, 0) "s:a 4:1 8:1 4:24 8:0 p:32 z:17");
}
END_TEST

START_TEST(splits)
{
    static const char *const parts[] = {"tiny-qwen2-BF16-00001-of-00002.gguf", "tiny-qwen2-BF16-00002-of-00002.gguf"};
    char path[200];
    for (size_t k = 0; k < 2; k++) {
        snprintf(path, sizeof path, FIXTURES "tiny-qwen2-gguf/%s", parts[k]);
        must_extract(path, "apart");
        must_assemble("apart", "whole");
        for (size_t j = 0; j < 2; j++) {
            snprintf(path, sizeof path, FIXTURES "tiny-qwen2-gguf/%s", parts[j]);
            char name[100];
            snprintf(name, sizeof name, "whole/%s", parts[j]);
            same_content(path, scratch_path(name));
        }
        remove_output("whole");
        remove_output("apart");
    }
}
END_TEST

/* After merging, every tensor is the same, and so are the keys except split.*. */
START_TEST(merged)
{
    organ_model *parts = NULL, *whole = NULL;
    organ_error error = {0};
    must_extract(FIXTURES "tiny-qwen2-gguf/tiny-qwen2-BF16-00001-of-00002.gguf", "apart");
    must_assemble("apart", "one.gguf");
    ck_assert(json_is_true(json_object_get(organs_report, "merged")));
    ck_assert_int_eq(organ_model_open(scratch_path("apart"), &parts, &error), ORGAN_OK);
    ck_assert_msg(organ_model_open(scratch_path("one.gguf"), &whole, &error) == ORGAN_OK, "%s", error.message);
    ck_assert_uint_eq(whole->tensor_count, parts->tensor_count);
    ck_assert_uint_eq(whole->gguf->kv_count + 3, parts->gguf->kv_count);
    ck_assert_uint_eq(parts->gguf->split_count, 2);
    ck_assert_int_eq((int)parts->config.hidden_size, 320);
    for (size_t t = 0; t < parts->tensor_count; t++) {
        const organ_tensor *const a = &parts->tensors[t], *const b = organ_model_find(whole, a->name);
        ck_assert(b && a->bytes == b->bytes && a->dtype == b->dtype);
        char *x = malloc(a->bytes), *y = malloc(a->bytes);
        ck_assert_int_eq(organ_model_read(parts, a->file, x, a->bytes, a->offset, &error), ORGAN_OK);
        ck_assert_int_eq(organ_model_read(whole, b->file, y, b->bytes, b->offset, &error), ORGAN_OK);
        ck_assert_msg(memcmp(x, y, a->bytes) == 0, "%s", a->name);
        free(x);
        free(y);
    }
    organ_model_close(parts);
    organ_model_close(whole);
}
END_TEST

START_TEST(safetensors_directory)
{
    static const char *const files[] = {"model-00001-of-00003.safetensors",
                                        "model-00002-of-00003.safetensors",
                                        "model-00003-of-00003.safetensors",
                                        "model.safetensors.index.json",
                                        "config.json",
                                        "tokenizer.json"};
    organ_error error = {0};
    must_extract(FIXTURES "tiny-qwen2", "apart");
    must_assemble("apart", "whole");
    for (size_t k = 0; k < sizeof files / sizeof *files; k++) {
        char from[200], to[200];
        snprintf(from, sizeof from, FIXTURES "tiny-qwen2/%s", files[k]);
        snprintf(to, sizeof to, "whole/%s", files[k]);
        same_content(from, scratch_path(to));
    }
    must_assemble("apart", "one.safetensors");
    organ_model *model = NULL;
    ck_assert_msg(organ_model_open(scratch_path("one.safetensors"), &model, &error) == ORGAN_OK, "%s", error.message);
    ck_assert_uint_eq(model->tensor_count, 50);
    organ_model_close(model);
    ck_assert_int_eq(assemble("apart", "one.gguf", &error), ORGAN_USAGE);
    ck_assert(!is_there(scratch_path("one.gguf")));
    remove_output("apart");
    round_trip(FIXTURES "tiny-qwen2/model-00002-of-00003.safetensors");
}
END_TEST

/* A tensor larger than one copy step, at an odd offset. */
START_TEST(large_tensors)
{
    const size_t size = (20u << 20) + 3;
    char words[200];
    snprintf(words, sizeof words,
             HEAD(2, 0) "s:a 4:1 8:5 4:24 8:0 s:blk.0.ffn_up.weight 4:1 8:%zu 4:24 8:32 p:32 c:5 p:32 c:%zu x:07",
             size + 1, size);
    round_trip_of(words);
}
END_TEST

/* ---- names ---- */

START_TEST(hostile_names)
{
    gguf_file("m.gguf",
              HEAD(7, 0) "s:../../escape 4:1 8:1 4:24 8:0 s:/etc/passwd 4:1 8:1 4:24 8:32 s:.. 4:1 8:1 4:24 8:64 s:a.b "
                         "4:1 8:1 4:24 8:96 "
                         "s:a/b 4:1 8:1 4:24 8:128 s:a_b 4:1 8:1 4:24 8:160 s:.weight 4:1 8:1 4:24 8:192 p:32 "
                         "x:01 p:32 x:02 p:32 x:03 p:32 x:04 p:32 x:05 p:32 x:06 p:32 x:07 p:32");
    round_trip(scratch_path("m.gguf"));
    must_extract(scratch_path("m.gguf"), "apart");
    json_error_t fault;
    json_t *manifest = json_load_file(scratch_path("apart/manifest.json"), 0, &fault),
           *tensors = json_object_get(manifest, "tensors");
    const char *name;
    json_t *entry;
    ck_assert_uint_eq(json_object_size(tensors), 7);
    json_object_foreach(tensors, name, entry)
    {
        const char *const file = json_string_value(json_object_get(entry, "file"));
        ck_assert_msg(strncmp(file, "other/", 6) == 0 && !strchr(file + 6, '/') && file[6] != '.', "%s -> %s", name,
                      file);
    }
    json_decref(manifest);
    ck_assert(!is_there(scratch_path("escape")) && !is_there(scratch_path("../escape")));
    remove_output("apart");
    char long_name[4096 + 200];
    snprintf(long_name, sizeof long_name,
             "{\"%0*d\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\"%0*d\":{\"dtype\":\"U8\",\"shape\":"
             "[1],\"data_offsets\":[1,2]}}",
             1500, 1, 1500, 2);
    scratch_tensors("long.safetensors", long_name, 2);
    round_trip(scratch_path("long.safetensors"));
}
END_TEST

/* ---- edited directories and errors ---- */

START_TEST(edited_organs_go_along)
{
    organ_error error;
    must_extract(FIXTURES "tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf", "apart");
    size_t size;
    char *data = content(scratch_path("apart/organs/blk_1_ffn_up.bin"), &size);
    data[100] ^= 1;
    scratch_file("apart/organs/blk_1_ffn_up.bin", data, size);
    must_assemble("apart", "again.gguf");
    const json_t *const changed = json_object_get(organs_report, "changed");
    ck_assert_uint_eq(json_array_size(changed), 1);
    ck_assert_str_eq(json_string_value(json_array_get(changed, 0)), "blk.1.ffn_up.weight");
    ck_assert(json_is_false(json_object_get(organs_report, "donor_again")));
    scratch_file("apart/organs/blk_1_ffn_up.bin", data, size - 1);
    free(data);
    ck_assert_int_eq(assemble("apart", "other.gguf", &error), ORGAN_BAD_INPUT);
    ck_assert_ptr_nonnull(strstr(error.message, "blk_1_ffn_up.bin has"));
    ck_assert(!is_there(scratch_path("other.gguf")) && !is_there(scratch_path(".other.gguf.organ-partial")));
}
END_TEST

/* A change to the manifest of a directory of two tensors, and the expected message. */
typedef struct defect {
    const char *from, *to, *says[3];
} defect;

static const defect defects[] = {
    {"organ.manifest/1", "organ.manifest/2", {"manifest.json", "organ.manifest/2"}},
    {"\"format\": \"GGUF\"", "\"format\": \"ZIP\"", {"format is 'ZIP'"}},
    {"\"file\": \"other/a.bin\"", "\"file\": \"../m.gguf\"", {"'a'", "'../m.gguf'"}},
    {"\"file\": \"other/a.bin\"", "\"file\": \"/etc/passwd\"", {"'/etc/passwd'"}},
    {"\"file\": \"other/a.bin\"", "\"file\": \"other/../other/a.bin\"", {"'other/../other/a.bin'"}},
    {"\"file\": \"other/a.bin\"", "\"file\": \"other/.hidden\"", {"'other/.hidden'"}},
    {"\"file\": \"other/a.bin\"", "\"file\": \"other/\"", {"'other/'"}},
    {"\"file\": \"other/a.bin\"", "\"file\": \"other/a.bin\\u0000x\"", {"file is missing or not a string"}},
    {"\"file\": \"other/a.bin\"", "\"file\": \"header/m.gguf\"", {"'header/m.gguf'"}},
    {"\"file\": \"other/a.bin\"", "\"file\": \"other/none.bin\"", {"other/none.bin is missing"}},
    {"\"file\": \"other/a.bin\"", "\"file\": \"other/b.bin\"", {"other/b.bin has 8 bytes, not 40"}},
    {"\"file\": \"other/a.bin\"", "\"file\": 3", {"file is missing or not a string"}},
    {"\"bytes\": 40", "\"bytes\": 41", {"'a'", "bytes differs from the stored header"}},
    {"\"bytes\": 40", "\"bytes\": -1", {"bytes is missing or not a whole number"}},
    {"\"dtype\": \"I8\"", "\"dtype\": \"F32\"", {"dtype differs from the stored header"}},
    {"\"shape\": [40]", "\"shape\": [41]", {"shape differs from the stored header"}},
    {"\"shape\": [40]", "\"shape\": []", {"shape differs from the stored header"}},
    {"\"offset\": 96", "\"offset\": 128", {"offset differs from the stored header"}},
    {"\"source\": \"m.gguf\"", "\"source\": \"n.gguf\"", {"source differs from the stored header"}},
    {"\"a\": {", "\"c\": {", {"'c' is not in any stored header"}},
    {"\"b\": {", "\"a\": {", {"'a' is listed twice"}},
    {"\"xxh3\": \"", "\"xxh3\": \"zz", {"xxh3 differs from the stored header"}},
    {"\"m.gguf\": {", "\"../m.gguf\": {", {"'../m.gguf' is not the name of a file"}},
    {"\"sources\": {",
     "\"sources\": {\"m.gguf\": {\"size\": 168, \"header_bytes\": 96, \"header\": \"header/m.gguf\"}, ",
     {"header_xxh3 is missing or not a string"}},
    {"\"m.gguf\": {", "\".m\": {", {"'.m' is not the name of a file"}},
    {"\"header\": \"header/m.gguf\"", "\"header\": \"../m.gguf\"", {"'../m.gguf'"}},
    {"\"header\": \"header/m.gguf\"", "\"header\": \"other/a.bin\"", {"'other/a.bin'"}},
    {"\"header_bytes\": 96", "\"header_bytes\": 95", {"header/m.gguf has 96 bytes, not 95"}},
    {"\"header_xxh3\": \"", "\"header_xxh3\": \"0", {"header_xxh3 is '0"}},
    {"\"size\": 168", "\"size\": 167", {"size is 167"}},
    {"\"size\": 168", "\"size\": 4611686018427387904", {"size is 4611686018427387904"}},
    {"\"gaps\": []", "\"gaps\": [{\"offset\": 128, \"bytes\": 40, \"file\": \"../m.gguf\"}]", {"'../m.gguf'"}},
    {"\"gaps\": []",
     "\"gaps\": [{\"offset\": 9223372036854775807, \"bytes\": 96, \"file\": \"header/m.gguf\"}]",
     {"is outside the file"}},
    {"\"gaps\": []", "\"gaps\": {}", {"gaps is missing or not a list"}},
    {"\"donor_again\": true", "\"donor_again\": 1", {"donor_again is missing or neither"}},
    {"\"tensors\": {", "\"sensors\": {", {"tensors is missing"}},
    {"\"sources\":", "\"courses\":", {"sources is missing"}},
};

static void make_apart(void)
{
    gguf_file("m.gguf", HEAD(2, 0) "s:a 4:1 8:40 4:24 8:0 s:b 4:1 8:8 4:24 8:64 p:32 c:40 p:32 c:8");
    must_extract(scratch_path("m.gguf"), "apart");
}

START_TEST(manifests_that_lie)
{
    const defect *const d = &defects[_i];
    make_apart();
    size_t size;
    char *text = content(scratch_path("apart/manifest.json"), &size), *at = strstr(text, d->from);
    /* If a tensor and a folder have the same text, this takes the tensor, which comes later. */
    for (char *next = at; next && strncmp(d->from, "\"bytes\"", 7) == 0; next = strstr(next + 1, d->from))
        at = next;
    ck_assert_msg(at != NULL, "the manifest has no %s", d->from);
    FILE *out = fopen(scratch_path("apart/manifest.json"), "wb");
    fprintf(out, "%.*s%s%s", (int)(at - text), text, d->to, at + strlen(d->from));
    ck_assert_int_eq(fclose(out), 0);
    free(text);
    expect_refused(scratch_path("apart"), ORGAN_BAD_INPUT, d->says);
}
END_TEST

START_TEST(directories_that_lie)
{
    static const char *const link[] = {"not a plain file", NULL}, *const folder[] = {"symbolic link", NULL},
                             *const gone[] = {"is missing", NULL}, *const header[] = {"header_xxh3", NULL};
    make_apart();
    ck_assert_int_eq(rename(scratch_path("apart/other/a.bin"), scratch_path("a.bin")), 0);
    expect_refused(scratch_path("apart"), ORGAN_BAD_INPUT, gone);
    ck_assert_int_eq(symlink("../../a.bin", scratch_path("apart/other/a.bin")), 0);
    expect_refused(scratch_path("apart"), ORGAN_BAD_INPUT, link);
    ck_assert_int_eq(unlink(scratch_path("apart/other/a.bin")), 0);
    ck_assert_int_eq(rename(scratch_path("a.bin"), scratch_path("apart/other/a.bin")), 0);
    ck_assert_int_eq(rename(scratch_path("apart/other"), scratch_path("elsewhere")), 0);
    ck_assert_int_eq(symlink("../elsewhere", scratch_path("apart/other")), 0);
    expect_refused(scratch_path("apart"), ORGAN_BAD_INPUT, folder);
    ck_assert_int_eq(unlink(scratch_path("apart/other")), 0);
    ck_assert_int_eq(rename(scratch_path("elsewhere"), scratch_path("apart/other")), 0);
    size_t size;
    char *data = content(scratch_path("apart/header/m.gguf"), &size);
    data[30] ^= 1;
    scratch_file("apart/header/m.gguf", data, size);
    free(data);
    expect_refused(scratch_path("apart"), ORGAN_BAD_INPUT, header);
}
END_TEST

/* ---- paths of outputs ---- */

START_TEST(outputs)
{
    organ_error error;
    make_apart();
    const int before = open_files();
    ck_assert_int_eq(extract(scratch_path("m.gguf"), "apart", &error), ORGAN_USAGE);
    ck_assert_int_eq(extract(scratch_path("apart"), "apart/in", &error), ORGAN_USAGE);
    ck_assert_int_eq(assemble("apart", "m.gguf", &error), ORGAN_USAGE);
    ck_assert_int_eq(extract(scratch_path("none.gguf"), "new", &error), ORGAN_IO);
    const organ_extract_options over = {
        .model = scratch_path("m.gguf"), .write.output = scratch_path("m.gguf"), .write.force = true};
    error = (organ_error){0};
    json_decref(organs_report);
    ck_assert_int_eq(organ_extract(&over, NULL, NULL, &organs_report, &error), ORGAN_USAGE);
    ck_assert_ptr_nonnull(strstr(error.message, "cannot be the input"));
    const organ_extract_options part = {
        .model = scratch_path("m.gguf"), .write.output = scratch_path("new"), .select = "norm"};
    error = (organ_error){0};
    ck_assert_int_eq(organ_extract(&part, NULL, NULL, &organs_report, &error), ORGAN_USAGE);
    ck_assert_ptr_nonnull(strstr(error.message, "`select` is 'norm', but must be all or mtp"));
    const organ_assemble_options again = {
        .directory = scratch_path("apart"), .write.output = scratch_path("m.gguf"), .write.force = true};
    error = (organ_error){0};
    ck_assert_msg(organ_assemble(&again, NULL, NULL, &organs_report, &error) == ORGAN_OK, "%s", error.message);
    const organ_extract_options dry = {
        .model = scratch_path("m.gguf"), .write.output = scratch_path("dry"), .write.dry_run = true};
    json_decref(organs_report);
    ck_assert_int_eq(organ_extract(&dry, NULL, NULL, &organs_report, &error), ORGAN_OK);
    ck_assert(!is_there(scratch_path("dry")) && !is_there(scratch_path(".dry.organ-partial")));
    organ_stop stop = {0};
    organ_stop_request(&stop);
    json_decref(organs_report);
    const organ_extract_options stopped = {.model = scratch_path("m.gguf"), .write.output = scratch_path("new")};
    ck_assert_int_eq(organ_extract(&stopped, NULL, &stop, &organs_report, &error), ORGAN_INTERRUPTED);
    ck_assert(!is_there(scratch_path("new")) && !is_there(scratch_path(".new.organ-partial")));
    ck_assert_int_eq(open_files(), before);
}
END_TEST

Suite *organs_suite(void)
{
    const suite_case cases[] = {
        {"round trip",
         {versions_and_alignments, every_type, what_lies_between, splits, merged, safetensors_directory, large_tensors,
          hostile_names}},
        {"directories", {edited_organs_go_along, directories_that_lie, outputs}},
    };
    Suite *const suite = suite_of("organs", cases, sizeof cases / sizeof *cases, organs_setup, organs_teardown);
    TCase *const lies = tcase_create("manifests");
    tcase_add_checked_fixture(lies, organs_setup, organs_teardown);
    tcase_add_loop_test(lies, manifests_that_lie, 0, (int)(sizeof defects / sizeof *defects));
    suite_add_tcase(suite, lies);
    return suite;
}

int main(void)
{
    Suite *const suites[] = {organs_suite(), graft_suite(), NULL};
    return run_suites(suites);
}
