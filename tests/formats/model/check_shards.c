/* SPDX-License-Identifier: MIT
 * Tests of whole models: directories, indices and shards, paths that are no model, files that change. */
#include <organ/models.h>
#include "tests/formats/check_formats.h"
#include "tests/kit/scratch_model.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define INDEX        "model.safetensors.index.json"
#define MAP(entries) "{\"metadata\":{\"total_size\":6},\"weight_map\":{" entries "}}"
#define ONE_BYTE     "{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}"
#define BOTH         "\"a\":\"s1.safetensors\",\"b\":\"s1.safetensors\",\"c\":\"s2.safetensors\""

/* Writes two shards: a and b in the first, c in the second. */
static void put_shards(void)
{
    scratch_tensors("s1.safetensors",
                    "{\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]},\"a\":{\"dtype\":\"U8\",\"shape\":["
                    "1],\"data_offsets\":[0,1]}}",
                    3);
    scratch_tensors("s2.safetensors", "{\"c\":{\"dtype\":\"U8\",\"shape\":[3,1],\"data_offsets\":[0,3]}}", 3);
}

static organ_model *opened(const char *path)
{
    organ_error error = {0};
    organ_model *model = NULL;
    ck_assert_msg(organ_model_open(path, &model, &error) == ORGAN_OK, "%s", error.message);
    return model;
}

/* transformers reads model.safetensors, too, if the directory has both. */
START_TEST(single_file_comes_first)
{
    put_shards();
    scratch_text(INDEX, MAP("\"c\":\"s2.safetensors\",\"b\":\"s1.safetensors\",\"a\":\"s1.safetensors\""));
    scratch_tensors("model.safetensors", "{\"z\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]}}", 3);
    organ_model *model = opened(scratch_path("/"));
    ck_assert_ptr_null(model->index);
    ck_assert_uint_eq(model->tensor_count, 1);
    ck_assert_str_eq(model->tensors[0].name, "z");
    ck_assert_uint_eq(model->warning_count, 1);
    ck_assert_ptr_nonnull(
        strstr(model->warnings[0], "organ reads model.safetensors, as transformers does, and not " INDEX));
    organ_model_close(model);
    scratch_text(INDEX, MAP("\"z\":\"model.safetensors\""));
    model = opened(scratch_path("/"));
    ck_assert_uint_eq(model->warning_count, 0);
    organ_model_close(model);
}
END_TEST

START_TEST(shards_make_one_model)
{
    const int before = open_files();
    put_shards();
    scratch_text(INDEX, MAP("\"c\":\"s2.safetensors\",\"b\":\"s1.safetensors\",\"a\":\"s1.safetensors\""));
    organ_model *model = opened(scratch_path("/"));
    ck_assert_str_eq(model->index, INDEX);
    ck_assert_str_eq(model->format, "safetensors");
    ck_assert(model->whole_directory);
    ck_assert_str_eq(model->path, model->directory);
    ck_assert_int_ne(model->path[strlen(model->path) - 1], '/');
    ck_assert_uint_eq(model->file_count, 2);
    ck_assert_str_eq(model->files[0].name, "s1.safetensors");
    ck_assert_str_eq(model->files[1].path, scratch_path("s2.safetensors"));
    ck_assert_uint_eq(model->files[0].first + model->files[0].count, model->files[1].first);
    ck_assert_uint_eq(model->tensor_count, 3);
    ck_assert_str_eq(model->tensors[0].name, "a");
    ck_assert_str_eq(model->tensors[1].name, "b");
    const organ_tensor *c = organ_model_find(model, "c");
    ck_assert_ptr_eq(c, &model->tensors[2]);
    ck_assert_uint_eq(c->file, 1);
    unsigned char bytes[3];
    ck_assert_int_eq(pread(model->files[c->file].fd, bytes, 3, (off_t)c->offset), 3);
    ck_assert_int_eq(bytes[2], 2);
    ck_assert_int_ne(fcntl(model->files[0].fd, F_GETFD) & FD_CLOEXEC, 0);
    ck_assert_int_eq(fcntl(model->files[0].fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    ck_assert_uint_eq(model->problem_count, 0);
    ck_assert(!model->config.present);
    organ_model_close(model);
    ck_assert_int_eq(open_files(), before);
}
END_TEST

/* ---- rejected indices ---- */

static const struct bad_index {
    const char *text;
    const char *fragments[4];
} bad_indices[] = {
    {"", {INDEX ": is not an object"}},
    {"[]", {INDEX ": is not an object but '[]'"}},
    {"{}", {INDEX ": weight_map is missing"}},
    {"{\"weight_map\":{}}", {INDEX ": weight_map is empty"}},
    {"{\"weight_map\":[]}", {INDEX ": weight_map is not an object but '[]"}},
    {"{\"weight_map\":null}", {INDEX ": weight_map is not an object"}},
    {"{\"weight_map\":\"s1.safetensors\"}", {INDEX ": weight_map is not an object"}},
    {"{\n\"weight_map\":{\"a\":\"s1.safetensors\",}}", {INDEX, "line 2, column 36", "a name in quotes"}},
    {"{\"weight_map\":{" BOTH "},\"weight_map\":{" BOTH "}}", {INDEX ": weight_map occurs twice"}},
    {"{\"metadata\":{},\"metadata\":{},\"weight_map\":{" BOTH "}}", {INDEX ": metadata occurs twice"}},
    {"{\"metadata\":nul,\"weight_map\":{" BOTH "}}", {INDEX ": metadata", "invalid token near 'nul'"}},
    {"{\"metadata\":{\"total_size\":6,},\"weight_map\":{" BOTH "}}", {INDEX, "a name in quotes is expected"}},
    {"{\"other\":[1,],\"weight_map\":{" BOTH "}}", {INDEX ": other: line 1, column 13"}},
    {MAP(BOTH) "x", {INDEX, "follows the end"}},
    {MAP("\"a\":\"../../etc/passwd\""),
     {INDEX, "tensor 'a'", "'../../etc/passwd' is not the name of a file in the model's directory"}},
    {MAP("\"a\":\"/etc/passwd\""),
     {INDEX, "tensor 'a'", "'/etc/passwd' is not the name of a file in the model's directory"}},
    {MAP("\"a\":\"sub/s1.safetensors\""),
     {INDEX, "tensor 'a'", "'sub/s1.safetensors' is not the name of a file in the model's directory"}},
    {MAP("\"a\":\"..\""), {INDEX, "tensor 'a'", "'..' is not the name"}},
    {MAP("\"a\":\".\""), {INDEX, "tensor 'a'", "'.' is not the name"}},
    {MAP("\"a\":\".hidden.safetensors\""), {INDEX, "tensor 'a'", "is not the name"}},
    {MAP("\"a\":\"\""), {INDEX, "tensor 'a'", "'' is not the name"}},
    {MAP("\"a\":\"s1.safetensors\\u0000.txt\""),
     {INDEX, "tensor 'a'", "\"s1.safetensors\\u0000.txt\" is not a file name"}},
    {MAP("\"a\":7"), {INDEX, "tensor 'a'", "7 is not a file name"}},
    {MAP("\"a\":[\"s1.safetensors\"]"), {INDEX, "tensor 'a'", "[\"s1.safetensors\"] is not a file name"}},
    {MAP("\"a\":\"s1.safetensors\",\"a\":\"s1.safetensors\""), {INDEX, "tensor 'a' is listed twice"}},
    {MAP("\"a\\u0000\":\"s1.safetensors\""), {INDEX, "NUL character is in the name"}},
    {MAP(BOTH ",\"d\":\"s3.safetensors\""), {INDEX ": names 's3.safetensors', which does not exist"}},
    {MAP(BOTH ",\"d\":\"s1.safetensors\""), {INDEX, "tensor 'd' is not in 's1.safetensors' nor in any other shard"}},
    {MAP(BOTH ",\"d\":\"directory\""), {"directory: is a directory, not a file"}},
    {MAP(BOTH ",\"d\":\"dangling\""), {INDEX ": names 'dangling', which does not exist (dangling symbolic link)"}},
    {MAP(BOTH ",\"d\":\"pipe\""), {"pipe: is a device or a pipe, not a file"}},
    {MAP(BOTH ",\"d\":\"wrapped.safetensors\""),
     {"wrapped.safetensors: tensor 'c': s2.safetensors also has a tensor of this name"}},
    {MAP(BOTH ",\"d\":\"double.safetensors\""), {"double.safetensors: tensor 'c': duplicate name in the header"}},
    {MAP(BOTH ",\"d\":\"twin.safetensors\""),
     {INDEX, "tensor 'd' is not in 'twin.safetensors' nor in any other shard"}},
    {MAP(BOTH ",\"d\":\"" INDEX "\""), {INDEX ": header length"}},
};

START_TEST(index_is_refused)
{
    put_shards();
    scratch_tensors("twin.safetensors", "{\"c\":" ONE_BYTE "}", 1);
    scratch_tensors("wrapped.safetensors", "{\"_orig_mod.c\":" ONE_BYTE "}", 1);
    scratch_tensors("double.safetensors", "{\"c\":" ONE_BYTE ",\"c\":" ONE_BYTE "}", 1);
    ck_assert_int_eq(mkdir(scratch_path("directory"), 0755), 0);
    ck_assert_int_eq(symlink("nowhere", scratch_path("dangling")), 0);
    ck_assert_int_eq(mkfifo(scratch_path("pipe"), 0644), 0);
    scratch_text(INDEX, bad_indices[_i].text);
    const char *fragments[5] = {0};
    memcpy(fragments, bad_indices[_i].fragments, sizeof bad_indices[_i].fragments);
    expect_refused(scratch_path(""), ORGAN_BAD_INPUT, fragments);
    expect_refused(scratch_path(INDEX), ORGAN_BAD_INPUT, fragments);
}
END_TEST

/* A total_size that differs from the sum of the tensors is only a warning. */
static const struct total {
    const char *written, *warning; /* NULL: no warning */
} totals[] = {
    {"6", NULL},
    {"6.0", NULL},
    {"7", "total_size is 7, but the tensors have 6 bytes"},
    {"6.5", "total_size is 6.5, but"},
    {"-6", "total_size is -6, but"},
    {"1e300", "total_size is 1e300, but"},
    {"\"6\"", "total_size is \"6\", but"},
    {"null", "total_size is null, but"},
    {"18446744073709551616", "total_size is 18446744073709551616, but"},
    {"7,\"total_size\":6", NULL},
    {"[6]", "total_size is [6], but"},
};

START_TEST(total_size)
{
    char text[200];
    put_shards();
    snprintf(text, sizeof text, "{\"weight_map\":{" BOTH "},\"metadata\":{\"total_size\":%s,\"more\":[]}}",
             totals[_i].written);
    scratch_text(INDEX, text);
    organ_model *model = opened(scratch_path(INDEX));
    ck_assert(!model->whole_directory);
    ck_assert_uint_eq(model->problem_count, 0);
    ck_assert_uint_eq(model->warning_count, totals[_i].warning ? 1 : 0);
    if (totals[_i].warning)
        ck_assert_msg(strstr(model->warnings[0], totals[_i].warning), "%s", model->warnings[0]);
    organ_model_close(model);
}
END_TEST

/* Loaders take the names of files from weight_map, and then all tensors of these files. */
static const struct misplaced {
    const char *map, *warning;
} misplaced[] = {
    {"\"a\":\"s1.safetensors\",\"b\":\"s2.safetensors\",\"c\":\"s2.safetensors\"",
     "misplaces 1 tensor, the first is 'b'"},
    {"\"a\":\"s1.safetensors\",\"c\":\"s2.safetensors\"", "misplaces 1 tensor, the first is 'b'"},
    {"\"a\":\"s2.safetensors\",\"c\":\"s1.safetensors\"", "misplaces 3 tensors, the first is 'a'"},
};

START_TEST(index_that_misplaces)
{
    char text[200];
    put_shards();
    snprintf(text, sizeof text, "{\"metadata\":{\"total_size\":6},\"weight_map\":{%s}}", misplaced[_i].map);
    scratch_text(INDEX, text);
    organ_model *model = opened(scratch_path(""));
    ck_assert_uint_eq(model->tensor_count, 3);
    ck_assert_uint_eq(model->problem_count, 0);
    ck_assert_uint_eq(model->warning_count, 1);
    ck_assert_msg(strstr(model->warnings[0], misplaced[_i].warning), "%s", model->warnings[0]);
    organ_model_close(model);
}
END_TEST

/* transformers keeps the tensor of the last file in the order of names, whatever weight_map says. */
static const struct replaced {
    const char *map, *header; /* of the index, and of the file s3.safetensors, which has `bytes` bytes of data */
    int bytes;
    const char *counts; /* number of tensors of s1, s2 and s3 */
    const char *warning, *second;
} replaced[] = {
    /* one is left of the first file */
    {BOTH ",\"d\":\"s3.safetensors\"",
     "{\"a\":" ONE_BYTE ",\"d\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}", 3, "112",
     INDEX ": 1 tensor is in more than one file: organ reads the last file by name, as transformers does",
     "misplaces 1 tensor, the first is 'a'"},
    /* none is left of the second file; the new shape counts */
    {"\"a\":\"s1.safetensors\",\"b\":\"s2.safetensors\",\"c\":\"s3.safetensors\"", "{\"c\":" ONE_BYTE "}", 1, "201",
     "'c' is read from s3.safetensors, not from s2.safetensors", "misplaces 1 tensor, the first is 'b'"},
    /* the stale shard holds everything */
    {BOTH ",\"d\":\"s3.safetensors\"",
     "{\"c\":" ONE_BYTE
     ",\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]},\"b\":{\"dtype\":\"U8\",\"shape\":["
     "1],\"data_offsets\":[2,3]},\"d\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[3,4]}}",
     4, "004", INDEX ": 3 tensors are in more than one file", "misplaces 3 tensors"},
};

START_TEST(tensor_in_two_shards)
{
    const struct replaced *const row = &replaced[_i];
    char text[300];
    put_shards();
    scratch_tensors("s3.safetensors", row->header, row->bytes);
    snprintf(text, sizeof text, "{\"weight_map\":{%s}}", row->map);
    scratch_text(INDEX, text);
    organ_model *model = opened(scratch_path(""));
    size_t first = 0;
    for (size_t f = 0; f < 3; f++) {
        ck_assert_uint_eq(model->files[f].first, first);
        ck_assert_uint_eq(model->files[f].count, (size_t)(row->counts[f] - '0'));
        first += model->files[f].count;
    }
    ck_assert_uint_eq(model->tensor_count, first);
    for (size_t k = 0; k < first; k++)
        ck_assert_ptr_eq(organ_model_find(model, model->tensors[k].name), &model->tensors[k]);
    ck_assert_uint_eq(organ_model_find(model, _i == 0 ? "a" : "c")->file, 2);
    ck_assert_uint_eq(organ_model_find(model, "c")->bytes, _i == 0 ? 3 : 1);
    ck_assert_uint_eq(model->warning_count, 2);
    ck_assert_msg(strstr(model->warnings[0], row->warning), "%s", model->warnings[0]);
    ck_assert_msg(strstr(model->warnings[1], row->second), "%s", model->warnings[1]);
    organ_model_close(model);
}
END_TEST

START_TEST(shard_without_a_name)
{
    put_shards();
    scratch_text(INDEX, MAP(BOTH));
    scratch_text("consolidated.safetensors", "the same weights under other names");
    scratch_text("model-00003-of-00003.safetensors", "left from an earlier version");
    scratch_text("model-00002-of-00003.safetensors", "left too");
    organ_model *model = opened(scratch_path(""));
    ck_assert_uint_eq(model->tensor_count, 3);
    ck_assert_uint_eq(model->warning_count, 1);
    ck_assert_str_eq(model->warnings[0],
                     INDEX " does not name 2 files next to it, the first is 'model-00002-of-00003.safetensors': organ "
                           "does not read them");
    organ_model_close(model);
}
END_TEST

START_TEST(index_without_metadata)
{
    put_shards();
    scratch_text(INDEX, "{\"metadata\":7,\"weight_map\":{" BOTH "}}");
    organ_model_close(opened(scratch_path("")));
    scratch_text(INDEX, " {\"weight_map\" : {" BOTH "} } \n");
    organ_model_close(opened(scratch_path("")));
    scratch_text(INDEX, "{\"metadata\":null,\"weight_map\":{" BOTH "}}");
    organ_model_close(opened(scratch_path("")));
}
END_TEST

/* As in the cache of Hugging Face, every file of the model is a link. */
START_TEST(shards_behind_links)
{
    put_shards();
    ck_assert_int_eq(mkdir(scratch_path("snapshot"), 0755), 0);
    ck_assert_int_eq(symlink("../s1.safetensors", scratch_path("snapshot/s1.safetensors")), 0);
    ck_assert_int_eq(symlink("../s2.safetensors", scratch_path("snapshot/s2.safetensors")), 0);
    scratch_text("blob", MAP(BOTH));
    ck_assert_int_eq(symlink("../blob", scratch_path("snapshot/" INDEX)), 0);
    organ_model *model = opened(scratch_path("snapshot"));
    ck_assert_uint_eq(model->tensor_count, 3);
    organ_model_close(model);
}
END_TEST

/* ---- kinds of paths ---- */

START_TEST(single_file)
{
    put_shards();
    organ_model *model = opened(scratch_path("s1.safetensors"));
    ck_assert_ptr_null(model->index);
    ck_assert(!model->whole_directory);
    ck_assert_uint_eq(model->file_count, 1);
    ck_assert_str_eq(model->files[0].name, "s1.safetensors");
    organ_model_close(model);
    expect_refused(scratch_path(""), ORGAN_BAD_INPUT,
                   (const char *const[]){"holds 2 .safetensors files and no", "name one file", NULL});
    ck_assert_int_eq(unlink(scratch_path("s2.safetensors")), 0);
    model = opened(scratch_path("///"));
    ck_assert(model->whole_directory);
    ck_assert_uint_eq(model->tensor_count, 2);
    organ_model_close(model);
    ck_assert_int_eq(rename(scratch_path("s1.safetensors"), scratch_path("model.safetensors")), 0);
    scratch_text("consolidated.safetensors", "not looked at");
    scratch_text("config.json", "{\"model_type\":\"llama\"}");
    model = opened(scratch_path(""));
    ck_assert_str_eq(model->files[0].name, "model.safetensors");
    ck_assert_str_eq(model->config.model_type, "llama");
    organ_model_close(model);
}
END_TEST

START_TEST(relative_paths)
{
    put_shards();
    char *home = getcwd(NULL, 0);
    ck_assert_int_eq(chdir(scratch_path("")), 0);
    organ_model *model = opened("s1.safetensors");
    ck_assert_str_eq(model->directory, ".");
    ck_assert_str_eq(model->path, "s1.safetensors");
    organ_model_close(model);
    ck_assert_int_eq(unlink("s2.safetensors"), 0);
    model = opened(".");
    ck_assert_str_eq(model->directory, ".");
    organ_model_close(model);
    ck_assert_int_eq(chdir(home), 0);
    free(home);
}
END_TEST

static const struct mistake {
    const char *file; /* content of the directory; NULL: none */
    const char *path; /* the path to open */
    organ_status status;
    const char *fragments[4];
} mistakes[] = {
    {NULL,
     "",
     ORGAN_BAD_INPUT,
     {"no model here: looked for " INDEX ", model.safetensors, another .safetensors file or a .gguf file"}},
    {NULL, "nowhere", ORGAN_IO, {"nowhere: no model here: No such file or directory"}},
    {"README.md", "", ORGAN_BAD_INPUT, {"no model here: looked for"}},
    {"pytorch_model.bin", "", ORGAN_BAD_INPUT, {"looked for", "pytorch_model.bin is a PyTorch pickle; convert it"}},
    {"model.gguf",
     "",
     ORGAN_BAD_INPUT,
     {"model.gguf: header: magic of 4 bytes at byte 0 is past the end of the file (2)"}},
    {"consolidated.00.pth", "", ORGAN_BAD_INPUT, {"looked for", "consolidated.00.pth is a PyTorch pickle"}},
    {"model.gguf", "model.gguf", ORGAN_BAD_INPUT, {"model.gguf: header: magic"}},
    {"pytorch_model.bin", "pytorch_model.bin", ORGAN_BAD_INPUT, {"pytorch_model.bin: is a PyTorch pickle"}},
    {"config.json", "config.json", ORGAN_BAD_INPUT, {"config.json: is no model"}},
    {".hidden.safetensors", "", ORGAN_BAD_INPUT, {"no model here"}},
    {"fp16.safetensors.index.json",
     "",
     ORGAN_BAD_INPUT,
     {"has neither " INDEX, "but fp16.safetensors.index.json: name that file"}},
    {"file", "file/model.safetensors", ORGAN_IO, {"Not a directory"}},
};

START_TEST(mistaken_path)
{
    const char *fragments[5] = {0};
    if (mistakes[_i].file)
        scratch_text(mistakes[_i].file, "{}");
    memcpy(fragments, mistakes[_i].fragments, sizeof mistakes[_i].fragments);
    expect_refused(scratch_path(mistakes[_i].path), mistakes[_i].status, fragments);
}
END_TEST

START_TEST(things_that_are_no_files)
{
    static const char *const directory[] = {"is a directory, not a file", NULL},
                             *const pipe[] = {"is a device or a pipe, not a file", NULL};
    ck_assert_int_eq(mkdir(scratch_path("model.safetensors"), 0755), 0);
    expect_refused(scratch_path(""), ORGAN_BAD_INPUT, directory);
    ck_assert_int_eq(mkdir(scratch_path(INDEX), 0755), 0);
    expect_refused(scratch_path(""), ORGAN_BAD_INPUT, directory);
    ck_assert_int_eq(mkfifo(scratch_path("pipe.safetensors"), 0644), 0);
    expect_refused(scratch_path("pipe.safetensors"), ORGAN_BAD_INPUT, pipe);
}
END_TEST

/* Permissions do not bind the superuser while the thread has these capabilities. */
static void set_override(bool on)
{
    const uint32_t overrides = 1u << CAP_DAC_OVERRIDE | 1u << CAP_DAC_READ_SEARCH;
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
    ck_assert_int_eq(syscall(SYS_capget, &header, data), 0);
    data[0].effective = on ? data[0].permitted : data[0].effective & ~overrides;
    ck_assert_int_eq(syscall(SYS_capset, &header, data), 0);
}

START_TEST(unreadable_files)
{
    static const char *const denied[] = {"Permission denied", NULL};
    put_shards();
    scratch_text(INDEX, MAP(BOTH));
    set_override(false);
    ck_assert_int_eq(chmod(scratch_path("s2.safetensors"), 0), 0);
    expect_refused(scratch_path(""), ORGAN_IO, denied);
    ck_assert_int_eq(chmod(scratch_path(INDEX), 0), 0);
    expect_refused(scratch_path(""), ORGAN_IO, denied);
    ck_assert_int_eq(mkdir(scratch_path("closed"), 0), 0);
    expect_refused(scratch_path("closed"), ORGAN_IO, denied);
    ck_assert_int_eq(chmod(scratch_path("closed"), 0700), 0);
    set_override(true);
}
END_TEST

/* ---- files that change while they are open ---- */

static void expect_changed(const organ_model *model, const char *fragment)
{
    organ_error error = {0};
    ck_assert_int_eq(organ_model_unchanged(model, &error), ORGAN_BAD_INPUT);
    ck_assert_msg(strstr(error.message, "s2.safetensors: ") && strstr(error.message, fragment), "%s", error.message);
}

START_TEST(changes_are_seen)
{
    put_shards();
    scratch_text(INDEX, MAP(BOTH));
    organ_model *model = opened(scratch_path(""));
    organ_error error = {0};
    ck_assert_int_eq(organ_model_unchanged(model, &error), ORGAN_OK);
    const char *path = model->files[1].path;
    const struct timespec times[2] = {model->files[1].modified, model->files[1].modified};
    struct timespec later[2] = {times[0], times[1]};
    later[1].tv_nsec = later[1].tv_nsec == 7 ? 8 : 7;
    ck_assert_int_eq(utimensat(AT_FDCWD, path, later, 0), 0);
    expect_changed(model, "was written to");
    ck_assert_int_eq(utimensat(AT_FDCWD, path, times, 0), 0);
    ck_assert_int_eq(organ_model_unchanged(model, &error), ORGAN_OK);
    ck_assert_int_eq(truncate(path, (off_t)model->files[1].size - 1), 0);
    expect_changed(model, "bytes and now has");
    ck_assert_int_eq(rename(path, scratch_path("gone")), 0);
    expect_changed(model, "no longer there");
    scratch_tensors("s2.safetensors", "{\"c\":{\"dtype\":\"U8\",\"shape\":[3,1],\"data_offsets\":[0,3]}}", 3);
    ck_assert_int_eq(utimensat(AT_FDCWD, path, times, 0), 0);
    expect_changed(model, "was replaced");
    organ_model_close(model);
}
END_TEST

/* ---- sizes ---- */

/* More files than a process may usually have open. */
START_TEST(a_thousand_shards)
{
    enum { SHARDS = 1100 };
    struct rlimit limit;
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_max < 4 * SHARDS) {
        puts("skipped: a thousand shards, because this process may not open as many files");
        return;
    }
    limit.rlim_cur = 256;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    FILE *index = fopen(scratch_path(INDEX), "w");
    fputs("{\"weight_map\":{", index);
    for (int k = 0; k < SHARDS; k++) {
        char name[40], header[100];
        snprintf(name, sizeof name, "model-%05d-of-%05d.safetensors", k + 1, SHARDS);
        snprintf(header, sizeof header, "{\"t%d\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", k);
        scratch_tensors(name, header, 1);
        fprintf(index, "%s\"t%d\":\"%s\"", k ? "," : "", k, name);
    }
    fputs("}}", index);
    fclose(index);
    organ_model *model = opened(scratch_path(""));
    ck_assert_uint_eq(model->file_count, SHARDS);
    organ_error error = {0};
    ck_assert_int_eq(organ_model_unchanged(model, &error), ORGAN_OK);
    organ_model_close(model);
}
END_TEST

static const struct folded {
    unsigned rank;
    uint64_t shape[5];
    organ_matrices expected;
} folds[] = {
    {0, {0}, {1, 1, 1}},
    {1, {7}, {1, 1, 7}},
    {2, {5, 7}, {1, 5, 7}},
    {3, {3, 5, 7}, {3, 5, 7}},
    {4, {2, 3, 5, 7}, {6, 5, 7}},
    {3, {0, 5, 7}, {0, 5, 7}},
    {5, {2, 2, 3, 5, 0}, {12, 5, 0}},
    {1, {0}, {1, 1, 0}},
};

START_TEST(matrices_of_a_tensor)
{
    const organ_tensor tensor = {.rank = folds[_i].rank, .shape = folds[_i].shape};
    const organ_matrices m = organ_tensor_matrices(&tensor);
    ck_assert_uint_eq(m.count, folds[_i].expected.count);
    ck_assert_uint_eq(m.rows, folds[_i].expected.rows);
    ck_assert_uint_eq(m.cols, folds[_i].expected.cols);
}
END_TEST

/* The trained model in fixtures. */
START_TEST(fixture)
{
    organ_model *model = opened("fixtures/tiny-qwen2/");
    ck_assert_str_eq(model->path, "fixtures/tiny-qwen2");
    ck_assert_uint_eq(model->file_count, 3);
    ck_assert_uint_eq(model->tensor_count, 50);
    ck_assert_uint_eq(model->problem_count, 0);
    ck_assert_str_eq(model->config.architecture, "Qwen2ForCausalLM");
    ck_assert_int_eq(model->config.hidden_size, 320);
    ck_assert_int_eq(model->config.num_hidden_layers, 4);
    ck_assert(model->config.tie_word_embeddings);
    uint64_t elements = 0, projections = 0, roles[ORGAN_ROLE_COUNT] = {0};
    for (size_t k = 0; k < model->tensor_count; k++) {
        const organ_tensor *t = &model->tensors[k];
        ck_assert_int_eq(t->dtype, ORGAN_BF16);
        ck_assert_uint_eq(t->bytes, 2 * t->elements);
        elements += t->elements;
        roles[t->anatomy.role]++;
        if (organ_role_describe(t->anatomy.role)->projection)
            projections += t->elements;
    }
    ck_assert_uint_eq(elements, 4960832);
    ck_assert_uint_eq(projections, 4 * (2 * 320 * 320 + 2 * 64 * 320 + 3 * 864 * 320));
    ck_assert_uint_eq(roles[ORGAN_ROLE_Q] + roles[ORGAN_ROLE_K] + roles[ORGAN_ROLE_V] + roles[ORGAN_ROLE_O], 16);
    ck_assert_uint_eq(roles[ORGAN_ROLE_GATE] + roles[ORGAN_ROLE_UP] + roles[ORGAN_ROLE_DOWN], 12);
    ck_assert_uint_eq(roles[ORGAN_ROLE_BIAS], 12);
    ck_assert_uint_eq(roles[ORGAN_ROLE_NORM], 9);
    ck_assert_uint_eq(roles[ORGAN_ROLE_EMBED], 1);
    ck_assert_uint_eq(roles[ORGAN_ROLE_OTHER], 0);
    const organ_tensor *q = organ_model_find(model, "model.layers.2.self_attn.q_proj.weight");
    ck_assert_ptr_nonnull(q);
    ck_assert_int_eq(q->anatomy.layer, 2);
    ck_assert_uint_eq(q->shape[0], 320);
    organ_model_close(model);
    organ_model_close(NULL);
}
END_TEST

Suite *shards_suite(void)
{
    Suite *suite = suite_create("models and shards");
    TCase *files = tcase_create("files");
    tcase_add_checked_fixture(files, scratch_begin, scratch_end);
    tcase_add_test(files, unreadable_files);
    tcase_set_timeout(files, 20);
    tcase_add_test(files, shards_make_one_model);
    tcase_add_test(files, single_file_comes_first);
    tcase_add_loop_test(files, index_is_refused, 0, COUNT(bad_indices));
    tcase_add_loop_test(files, total_size, 0, COUNT(totals));
    tcase_add_loop_test(files, index_that_misplaces, 0, COUNT(misplaced));
    tcase_add_loop_test(files, tensor_in_two_shards, 0, COUNT(replaced));
    tcase_add_test(files, shard_without_a_name);
    tcase_add_test(files, index_without_metadata);
    tcase_add_test(files, shards_behind_links);
    tcase_add_test(files, single_file);
    tcase_add_test(files, relative_paths);
    tcase_add_loop_test(files, mistaken_path, 0, COUNT(mistakes));
    tcase_add_test(files, things_that_are_no_files);
    tcase_add_test(files, changes_are_seen);
    tcase_add_test(files, a_thousand_shards);
    suite_add_tcase(suite, files);
    TCase *others = tcase_create("others");
    tcase_add_loop_test(others, matrices_of_a_tensor, 0, COUNT(folds));
    tcase_add_test(others, fixture);
    suite_add_tcase(suite, others);
    return suite;
}
