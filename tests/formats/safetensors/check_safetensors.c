/* SPDX-License-Identifier: MIT
 * Tests of the safetensors reader: one row per defect, and unusual valid files. */
#include <organ/models.h>
#include "tests/formats/check_formats.h"
#include "tests/kit/scratch_model.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define FRAGMENTS    6

/* ---- rejected headers ---- */

typedef struct bad_header {
    const char *header;
    size_t data;
    const char *fragments[FRAGMENTS]; /* parts of the message, without the name of the file */
} bad_header;

#define T(name, dtype, shape, offsets)                                                                                 \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static const bad_header bad_headers[] = {
    /* not an object, not JSON */
    {"", 0, {"header: is not an object"}},
    {"   ", 0, {"header: is not an object"}},
    {"{", 0, {"header: line 1, column 2", "the text ends"}},
    {"[]", 0, {"header: is not an object but '[]'"}},
    {"\"x\"", 0, {"header: is not an object but '\"x\"'"}},
    {"7", 0, {"is not an object but '7'"}},
    {"{}x", 0, {"column 3", "follows the end"}},
    {"{}{}", 0, {"column 3", "follows the end"}},
    {"{,}", 0, {"column 2", "a name in quotes is expected"}},
    {"{" T("a", "U8", "[1]", "[0,1]") ",}", 1, {"a name in quotes is expected"}},
    {"{" T("a", "U8", "[1]", "[0,1]") " " T("b", "U8", "[1]", "[1,2]") "}", 2, {"',' or '}' is expected"}},
    {"{\"a\" 5}", 0, {"column 6", "':' is expected"}},
    {"{\"a\":}", 0, {"column 6", "a value is expected"}},
    {"{\"a", 0, {"has no closing quote"}},
    {"{\"a\\", 0, {"has no closing quote"}},
    {"{\"a\":{\"x\":[1,2}", 0, {"the text ends inside this value"}},
    {"{\"a\":[}]}", 0, {"tensor 'a'", "is not an object but '[}'"}},
    {"{\n\"a\":{\"dtype\":\"U8\",\n\"shape\":[01],\"data_offsets\":[0,1]}}",
     1,
     {"tensor 'a'", "\"shape\"", "line 3, column 10"}},
    {"{'a':1}", 0, {"a name in quotes"}},
    {"{/**/}", 0, {"a name in quotes"}},
    {"{\"a\":{\"dtype\":nul}}", 0, {"tensor 'a'", "\"dtype\"", "invalid token near 'nul'"}},
    {"\xEF\xBB\xBF{}", 0, {"is not an object"}},
    {"{\"\xFF\":1}", 0, {"a name", "unable to decode byte 0xff"}},
    {"{\"a\":{\"dtype\":\"U8\xC3\"}}", 0, {"tensor 'a'", "\"dtype\"", "unable to decode"}},
    /* names */
    {"{" T("a\\u0000b", "U8", "[1]", "[0,1]") "}", 1, {"column 2", "NUL", "a\\u0000b"}},
    {"{" T("\\ud800", "U8", "[1]", "[0,1]") "}", 1, {"column", "invalid Unicode '\\uD800'"}},
    {"{" T("\\udc00x", "U8", "[1]", "[0,1]") "}", 1, {"column", "invalid Unicode"}},
    {"{" T("a", "U8", "[1]", "[0,1]") "," T("a", "U8", "[1]", "[1,2]") "}", 2, {"tensor 'a'", "duplicate name"}},
    {"{" T("a", "U8", "[1]", "[0,1]") "," T("\\u0061", "U8", "[1]", "[0,1]") "}", 1, {"tensor 'a'", "duplicate name"}},
    /* metadata */
    {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, {"__metadata__ occurs twice"}},
    {"{\"__metadata__\":{\"format\":7}}", 0, {"__metadata__", "'format' is not a string but 7"}},
    {"{\"__metadata__\":{\"a\":\"b\",\"c\":{\"d\":1}}}", 0, {"__metadata__", "'c' is not a string but {\"d\":1}"}},
    {"{\"__metadata__\":{\"a\":null}}", 0, {"__metadata__", "'a' is not a string but null"}},
    {"{\"__metadata__\":{\"a\":\"b\",\"c\":}}", 0, {"a value is expected"}},
    {"{\"__metadata__\":[]}", 0, {"__metadata__ is not an object but '[]'"}},
    {"{\"__metadata__\":nul}", 0, {"__metadata__ is not an object but 'nul'"}},
    {"{\"__metadata__\":\"null\"}", 0, {"__metadata__ is not an object"}},
    {"{\"__metadata__\":null,\"__metadata__\":null}", 0, {"__metadata__ occurs twice"}},
    /* fields of wrong types */
    {"{\"a\":5}", 0, {"tensor 'a'", "is not an object"}},
    {"{\"a\":{}}", 0, {"tensor 'a'", "dtype is missing"}},
    {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1, {"tensor 'a'", "dtype is missing"}},
    {"{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, {"tensor 'a'", "shape is missing"}},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, {"tensor 'a'", "data_offsets is missing"}},
    {"{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
     1,
     {"tensor 'a'", "dtype occurs twice"}},
    {"{\"a\":[\"U8\",[1],[0,1]]}", 1, {"tensor 'a' is not an object but '[\"U8\",[1],[0,1]]'"}},
    {"{" T("a\\u0000b", "U8", "[1]", "[0,1]") "}", 1, {"a NUL character is in the name"}},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"x\":tru}}",
     1,
     {"tensor 'a'", "\"x\"", "invalid token near 'tru'"}},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"x\":1e999}}",
     1,
     {"tensor 'a'", "\"x\"", "overflow near '1e999'"}},
    {"{" T("a", "BF17", "[1]", "[0,2]") "}", 2, {"tensor 'a'", "dtype \"BF17\" is not a known type"}},
    {"{" T("a", "bf16", "[1]", "[0,2]") "}", 2, {"tensor 'a'", "dtype \"bf16\" is not a known type"}},
    {"{" T("a", "", "[1]", "[0,1]") "}", 1, {"tensor 'a'", "dtype \"\" is not a known type"}},
    {"{" T("a", "U8\\u0000", "[1]", "[0,1]") "}", 1, {"tensor 'a'", "dtype \"U8\\u0000\" is not a known type"}},
    {"{\"a\":{\"dtype\":8,\"shape\":[1],\"data_offsets\":[0,1]}}", 1, {"tensor 'a'", "dtype 8 is not a known type"}},
    {"{" T("a", "U8", "1", "[0,1]") "}", 1, {"tensor 'a'", "shape 1: is not a list"}},
    {"{" T("a", "U8", "null", "[0,1]") "}", 1, {"tensor 'a'", "shape null: is not a list"}},
    {"{" T("a", "U8", "{}", "[0,1]") "}", 1, {"tensor 'a'", "shape {}: is not a list"}},
    /* dimensions */
    {"{" T("a", "U8", "[4,-1]", "[0,1]") "}",
     1,
     {"tensor 'a'", "shape [4,-1]", "element 2", "0 to 9223372036854775807"}},
    {"{" T("a", "U8", "[1.0]", "[0,1]") "}", 1, {"tensor 'a'", "shape [1.0]", "element 1"}},
    {"{" T("a", "U8", "[1e3]", "[0,1000]") "}", 1000, {"tensor 'a'", "shape [1e3]", "element 1"}},
    {"{" T("a", "U8", "[1,2,\"3\"]", "[0,6]") "}", 6, {"tensor 'a'", "shape [1,2,\"3\"]", "element 3"}},
    {"{" T("a", "U8", "[true]", "[0,1]") "}", 1, {"tensor 'a'", "shape [true]", "element 1"}},
    {"{" T("a", "U8", "[[1]]", "[0,1]") "}", 1, {"tensor 'a'", "shape [[1]]", "element 1"}},
    {"{" T("a", "U8", "[9223372036854775808]", "[0,1]") "}",
     1,
     {"tensor 'a'", "\"shape\"", "too big integer near '9223372036854775808'"}},
    {"{" T("a", "U8", "[2,18446744073709551614]", "[0,1]") "}",
     1,
     {"tensor 'a'", "\"shape\"", "near '18446744073709551614'"}},
    {"{" T("a", "U8", "[18446744073709551617]", "[0,1]") "}",
     1,
     {"tensor 'a'", "\"shape\"", "near '18446744073709551617'"}},
    {"{" T("a", "U8", "[-9223372036854775809]", "[0,1]") "}",
     1,
     {"tensor 'a'", "\"shape\"", "too big negative integer"}},
    {"{" T("a", "U8", "[1e999]", "[0,1]") "}", 1, {"tensor 'a'", "\"shape\"", "overflow near '1e999'"}},
    {"{" T("a", "F32", "[2,9223372036854775807]", "[0,8]") "}",
     8,
     {"tensor 'a'", "shape [2,9223372036854775807]", "bytes exceeds"}},
    {"{" T("a", "U8", "[4,9223372036854775807]", "[0,8]") "}",
     8,
     {"tensor 'a'", "shape [4,9223372036854775807]", "elements exceeds"}},
    {"{" T("a", "U8", "[4294967296,4294967296,0]", "[0,0]") "}", 0, {"tensor 'a'", "shape", "elements exceeds"}},
    {"{" T("a", "F4", "[3]", "[0,1]") "}", 1, {"tensor 'a'", "shape [3]", "3 elements of F4", "whole number of bytes"}},
    {"{" T("a", "F4", "[3,5]", "[0,7]") "}", 7, {"tensor 'a'", "shape [3,5]", "15 elements"}},
    {"{" T("a", "F6_E2M3", "[2]", "[0,1]") "}", 1, {"tensor 'a'", "shape [2]", "2 elements of F6_E2M3"}},
    /* offsets */
    {"{" T("a", "U8", "[1]", "[1]") "}", 1, {"tensor 'a'", "data_offsets [1]", "two numbers"}},
    {"{" T("a", "U8", "[1]", "[0,1,1]") "}", 1, {"tensor 'a'", "data_offsets [0,1,1]", "two numbers"}},
    {"{" T("a", "U8", "[1]", "[]") "}", 1, {"tensor 'a'", "data_offsets []", "two numbers"}},
    {"{" T("a", "U8", "[1]", "0") "}", 1, {"tensor 'a'", "data_offsets 0: is not a list"}},
    {"{" T("a", "U8", "[1]", "[-1,0]") "}", 1, {"tensor 'a'", "data_offsets [-1,0]", "element 1"}},
    {"{" T("a", "U8", "[1]", "[0,1.0]") "}", 1, {"tensor 'a'", "data_offsets [0,1.0]", "element 2"}},
    {"{" T("a", "U8", "[1]", "[0,18446744073709551616]") "}",
     1,
     {"tensor 'a'", "\"data_offsets\"", "near '18446744073709551616'"}},
    {"{" T("a", "U8", "[4]", "[4,0]") "}", 4, {"tensor 'a'", "data_offsets end 0 is before begin 4"}},
    {"{" T("model.norm.weight", "U8", "[8]", "[0,8]") "}",
     7,
     {"tensor 'model.norm.weight'", "data_offsets end 8 is past the end of the data (7)"}},
    {"{" T("a", "U8", "[1]", "[9223372036854775806,9223372036854775807]") "}",
     1,
     {"end 9223372036854775807 is past the end of the data (1)"}},
    {"{" T("a", "F16", "[2,3]", "[0,10]") "}",
     10,
     {"tensor 'a'", "shape [2,3] of F16 needs 12 bytes, but data_offsets span 10"}},
    {"{" T("a", "F16", "[0]", "[0,2]") "}",
     2,
     {"tensor 'a'", "shape [0] of F16 needs 0 bytes, but data_offsets span 2"}},
    {"{" T("a", "F64", "[]", "[0,4]") "}", 4, {"tensor 'a'", "shape [] of F64 needs 8 bytes, but data_offsets span 4"}},
    /* layout */
    {"{" T("a", "U8", "[1]", "[1,2]") "}", 2, {"tensor 'a'", "begin 1 leaves a hole after byte 0"}},
    {"{" T("a", "U8", "[2]", "[0,2]") "," T("b", "U8", "[1]", "[3,4]") "}",
     4,
     {"tensor 'b'", "begin 3 leaves a hole after byte 2"}},
    {"{" T("a", "U8", "[2]", "[0,2]") "," T("b", "U8", "[2]", "[1,3]") "}",
     3,
     {"tensor 'b'", "begin 1 overlaps tensor 'a', which ends at 2"}},
    {"{" T("a", "U8", "[2]", "[0,2]") "," T("b", "U8", "[2]", "[0,2]") "}",
     2,
     {"tensor 'b'", "begin 0 overlaps tensor 'a', which ends at 2"}},
    {"{" T("a", "U8", "[4]", "[0,4]") "," T("b", "U8", "[0]", "[2,2]") "}",
     4,
     {"tensor 'b'", "begin 2 overlaps tensor 'a', which ends at 4"}},
    {"{" T("a", "U8", "[2]", "[0,2]") "}", 5, {"last tensor 'a' end at 2, but the data has 5 bytes"}},
    {"{}", 3, {"end at 0, but the data has 3 bytes"}},
    {"{" T("a", "U8", "[0]", "[0,0]") "}", 1, {"last tensor 'a' end at 0, but the data has 1 bytes"}},
};

START_TEST(header_is_refused)
{
    const bad_header *row = &bad_headers[_i];
    scratch_tensors("bad.safetensors", row->header, row->data);
    expect_refused(scratch_path("bad.safetensors"), ORGAN_BAD_INPUT, (const char *const[]){"bad.safetensors: ", NULL});
    const char *fragments[FRAGMENTS + 1] = {0};
    memcpy(fragments, row->fragments, sizeof row->fragments);
    expect_refused(scratch_path("bad.safetensors"), ORGAN_BAD_INPUT, fragments);
}
END_TEST

/* ---- rejected file starts ---- */

static const struct bad_file {
    const char *bytes;
    size_t length;
    const char *fragments[3];
} bad_files[] = {
    {"", 0, {"has 0 bytes", "fewer than the 8"}},
    {"\2\0\0\0\0\0\0", 7, {"has 7 bytes", "fewer than the 8"}},
    {"\0\0\0\0\0\0\0\0", 8, {"header: is not an object"}},
    {"\2\0\0\0\0\0\0\0", 8, {"header length 2 is past the end of the file (0 bytes follow it)"}},
    {"\3\0\0\0\0\0\0\0{}", 10, {"header length 3 is past the end of the file (2 bytes follow it)"}},
    {"\377\377\377\377\377\377\377\377{}", 10, {"header length 18446744073709551615 exceeds the limit of 100000000"}},
    {"\0\0\0\0\0\0\0\200{}", 10, {"header length 9223372036854775808 exceeds the limit"}},
    {"\1\341\365\5\0\0\0\0{}", 10, {"header length 100000001 exceeds the limit of 100000000"}},
    {"\0\341\365\5\0\0\0\0{}", 10, {"header length 100000000 is past the end of the file (2 bytes follow it)"}},
    {"GGUF\3\0\0\0\0\0\0\1", 12, {"exceeds the limit", "GGUF"}},
    {"version https://git-lfs.github.com/spec/v1\n", 43, {"exceeds the limit", "Git LFS pointer"}},
    {"PK\3\4\0\0\0\1\0\0", 10, {"exceeds the limit", "zip"}},
};

START_TEST(file_is_refused)
{
    scratch_file("bad.safetensors", bad_files[_i].bytes, bad_files[_i].length);
    const char *fragments[5] = {"bad.safetensors: "};
    memcpy(fragments + 1, bad_files[_i].fragments, sizeof bad_files[_i].fragments);
    expect_refused(scratch_path("bad.safetensors"), ORGAN_BAD_INPUT, fragments);
}
END_TEST

/* ---- unusual but valid headers ---- */

static const struct good_header {
    const char *header;
    size_t data, tensors;
    const char *name; /* one of the tensors, NULL if there is none */
    organ_dtype dtype;
    unsigned rank;
    uint64_t elements, bytes, offset; /* offset from the start of the data */
} good_headers[] = {
    {"{}", 0, 0, NULL, 0, 0, 0, 0, 0},
    {" \t\r\n{ } \n ", 0, 0, NULL, 0, 0, 0, 0, 0},
    {"{\"__metadata__\":{}}", 0, 0, NULL, 0, 0, 0, 0, 0},
    {"{\"__metadata__\":{\"format\":\"pt\",\"x\":\"\\u0000\"}," T("a", "U8", "[2]", "[0,2]") "}   ", 2, 1, "a",
     ORGAN_U8, 1, 2, 2, 0},
    {"{" T("a", "F64", "[]", "[0,8]") "}", 8, 1, "a", ORGAN_F64, 0, 1, 8, 0},
    {"{" T("a", "F32", "[0]", "[0,0]") "}", 0, 1, "a", ORGAN_F32, 1, 0, 0, 0},
    {"{" T("a", "F32", "[3,0,7]", "[4,4]") "," T("b", "F32", "[1]", "[0,4]") "}", 4, 2, "a", ORGAN_F32, 3, 0, 0, 4},
    {"{" T("b", "U8", "[4]", "[0,4]") "," T("z", "U8", "[0]", "[0,0]") "," T("a", "U8", "[0]", "[0,0]") "}", 4, 3, "b",
     ORGAN_U8, 1, 4, 4, 0},
    {"{" T("b", "U8", "[1]", "[2,3]") "," T("a", "F16", "[1]", "[0,2]") "}", 3, 2, "b", ORGAN_U8, 1, 1, 1, 2},
    {"{" T("a", "F4", "[2,3]", "[0,3]") "}", 3, 1, "a", ORGAN_F4, 2, 6, 3, 0},
    {"{" T("a", "F6_E3M2", "[4]", "[0,3]") "}", 3, 1, "a", ORGAN_F6_E3M2, 1, 4, 3, 0},
    {"{" T("a", "C64", "[2]", "[0,16]") "}", 16, 1, "a", ORGAN_C64, 1, 2, 16, 0},
    {"{" T("a", "BOOL", "[3]", "[0,3]") "}", 3, 1, "a", ORGAN_BOOL, 1, 3, 3, 0},
    {"{\"a\":{\"extra\":[1.5,null,{\"deep\":[]}],\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, 1, "a",
     ORGAN_U8, 1, 1, 1, 0},
    {"{\"a\" : { \"data_offsets\" : [ 0 , 1 ] , \"shape\" : [ 1 ] ,\n\t\"dtype\" : \"U8\" } }", 1, 1, "a", ORGAN_U8, 1,
     1, 1, 0},
    {"{" T("../../x", "U8", "[1]", "[0,1]") "}", 1, 1, "../../x", ORGAN_U8, 1, 1, 1, 0},
    {"{" T("", "U8", "[1]", "[0,1]") "}", 1, 1, "", ORGAN_U8, 1, 1, 1, 0},
    {"{" T("\\\"}{\\\\", "U8", "[1]", "[0,1]") "}", 1, 1, "\"}{\\", ORGAN_U8, 1, 1, 1, 0},
    {"{" T("\\u00e9\\ud83d\\ude00", "U8", "[1]", "[0,1]") "}", 1, 1, "\xC3\xA9\xF0\x9F\x98\x80", ORGAN_U8, 1, 1, 1, 0},
    {"{" T("a", "U8", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,2]", "[0,2]") "}",
     2, 1, "a", ORGAN_U8, 40, 2, 2, 0},
    {"{" T("a", "U8", "[-0]", "[0,0]") "}", 0, 1, "a", ORGAN_U8, 1, 0, 0, 0},
    /* an unread field does not make a file invalid */
    {"{\"__metadata__\":null," T("a", "U8", "[2]", "[0,2]") "}", 2, 1, "a", ORGAN_U8, 1, 2, 2, 0},
    {"{" T("a", "U8", "[2]", "[0,2]") ",\"__metadata__\" : null }", 2, 1, "a", ORGAN_U8, 1, 2, 2, 0},
    {"{\"__metadata__\":null}", 0, 0, NULL, 0, 0, 0, 0, 0},
    {"{\"__metadata__\":{\"a\":\"b\",\"a\":\"c\",\"x\\u0000y\":\"\"}," T("a", "U8", "[2]", "[0,2]") "}", 2, 1, "a",
     ORGAN_U8, 1, 2, 2, 0},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"x\":1,\"x\":{\"y\":1,\"y\":2},\"dtype\\u0000\":1}"
     "}",
     1, 1, "a", ORGAN_U8, 1, 1, 1, 0},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"x\":[99999999999999999999999,-"
     "18446744073709551616]}}",
     1, 1, "a", ORGAN_U8, 1, 1, 1, 0},
};

START_TEST(header_is_accepted)
{
    const struct good_header *row = &good_headers[_i];
    const int before = open_files();
    organ_error error = {0};
    organ_model *model;
    scratch_tensors("good.safetensors", row->header, row->data);
    ck_assert_msg(organ_model_open(scratch_path("good.safetensors"), &model, &error) == ORGAN_OK, "%s", error.message);
    ck_assert_uint_eq(model->tensor_count, row->tensors);
    ck_assert_uint_eq(model->files[0].data_offset, 8 + strlen(row->header));
    if (row->name) {
        const organ_tensor *tensor = organ_model_find(model, row->name);
        ck_assert_ptr_nonnull(tensor);
        ck_assert_str_eq(tensor->name, row->name);
        ck_assert_int_eq(tensor->dtype, row->dtype);
        ck_assert_uint_eq(tensor->rank, row->rank);
        ck_assert_uint_eq(tensor->elements, row->elements);
        ck_assert_uint_eq(tensor->bytes, row->bytes);
        ck_assert_uint_eq(tensor->offset, row->offset + model->files[0].data_offset);
    }
    for (size_t k = 1; k < model->tensor_count; k++)
        ck_assert_uint_ge(model->tensors[k].offset, model->tensors[k - 1].offset + model->tensors[k - 1].bytes);
    ck_assert_ptr_null(organ_model_find(model, "no such tensor"));
    organ_model_close(model);
    ck_assert_int_eq(open_files(), before);
}
END_TEST

/* ---- large headers ---- */

typedef struct text {
    char *bytes;
    size_t length, room;
} text;

static void add(text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(text *t, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (t->room - t->length < 4096) {
        t->room = t->room * 2 + 8192;
        t->bytes = realloc(t->bytes, t->room);
        ck_assert_ptr_nonnull(t->bytes);
    }
    t->length += (size_t)vsnprintf(t->bytes + t->length, t->room - t->length, format, args);
    va_end(args);
}

static text filled(const char *before, size_t count, const char *filling, const char *after)
{
    const size_t head = strlen(before), unit = strlen(filling), tail = strlen(after);
    text t = {malloc(head + count * unit + tail + 1), head + count * unit + tail, 0};
    ck_assert_ptr_nonnull(t.bytes);
    memcpy(t.bytes, before, head);
    for (size_t k = 0; k < count; k++)
        memcpy(t.bytes + head + k * unit, filling, unit);
    memcpy(t.bytes + head + count * unit, after, tail + 1);
    return t;
}

START_TEST(many_tensors)
{
    enum { MANY = 100000 };
    text t = {0};
    organ_error error = {0};
    organ_model *model;
    for (int k = MANY - 1; k >= 0; k--)
        add(&t,
            "%s"
            "\"t%d\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%d,%d]}",
            k == MANY - 1 ? "{" : ",", k, k, k + 1);
    add(&t, "}");
    scratch_tensors("model.safetensors", t.bytes, MANY);
    free(t.bytes);
    ck_assert_msg(organ_model_open(scratch_path(""), &model, &error) == ORGAN_OK, "%s", error.message);
    ck_assert_uint_eq(model->tensor_count, MANY);
    for (int k = 0; k < MANY; k++) {
        char name[16];
        snprintf(name, sizeof name, "t%d", k);
        ck_assert_ptr_eq(organ_model_find(model, name), &model->tensors[k]);
    }
    organ_model_close(model);
}
END_TEST

START_TEST(many_tensors_on_one_range)
{
    text t = {0};
    for (int k = 0; k < 100000; k++)
        add(&t,
            "%s"
            "\"t%06d\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8]}",
            k ? "," : "{", k);
    add(&t, "}");
    scratch_tensors("bad.safetensors", t.bytes, 8);
    free(t.bytes);
    expect_refused(
        scratch_path("bad.safetensors"), ORGAN_BAD_INPUT,
        (const char *const[]){"tensor 't000001'", "begin 0 overlaps tensor 't000000', which ends at 8", NULL});
}
END_TEST

/* Depth and number of values in an unread field; very many names and ranks; white space. */
static const struct large {
    const char *before, *filling, *after;
    size_t count, data;
    const char *fragments[3]; /* none: the file is valid */
} larges[] = {
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"x\":",
     "[",
     "}}",
     1000000,
     1,
     {"the text ends inside this value"}},
    {"{\"a\":{\"x\":", "[", "", 200000, 0, {"the text ends inside this value"}},
    {"{\"a\":{\"x\":", "{\"x\":", "", 200000, 0, {"the text ends inside this value"}},
    {"{\"a\":", "[", "}", 5000, 0, {"the text ends inside this value"}},
    {"{\"a\":{\"x\":[", "{},", "{}]}}", 1000000, 0, {"tensor 'a'", "contains more than 262144 values"}},
    {"{\"__metadata__\":{\"x\":\"\"", ",\"x\":\"\"", "}}", 300000, 0, {0}},
    {"{\"",
     "n",
     "\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
     1 << 20,
     1,
     {"tensor 'nnn", "1048576 bytes, more than 4096"}},
    {"{\"", "n", "\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 4096, 1, {0}},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1",
     ",1",
     "],\"data_offsets\":[0,1]}}",
     100000,
     1,
     {"tensor 'a'", "100001 dimensions, more than 64"}},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1", ",1", "],\"data_offsets\":[0,1]}}", 63, 1, {0}},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}", " ", "}", 90000000, 1, {0}},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]", "\n", "}}", 20000000, 1, {0}},
    {"", " ", "", 90000000, 0, {"is not an object"}},
};

START_TEST(large_header)
{
    const struct large *row = &larges[_i];
    text t = filled(row->before, row->count, row->filling, row->after);
    scratch_tensors("large.safetensors", t.bytes, row->data);
    free(t.bytes);
    const char *fragments[4] = {0};
    memcpy(fragments, row->fragments, sizeof row->fragments);
    if (*fragments) {
        expect_refused(scratch_path("large.safetensors"), ORGAN_BAD_INPUT, fragments);
        return;
    }
    organ_error error = {0};
    organ_model *model;
    ck_assert_msg(organ_model_open(scratch_path("large.safetensors"), &model, &error) == ORGAN_OK, "%s", error.message);
    organ_model_close(model);
}
END_TEST

/* The parser rejects deep nesting that is closed properly, before the stack overflows. */
START_TEST(depth_bomb)
{
    enum { DEPTH = 500000 };
    static const char before[] = "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"x\":";
    const size_t depth = _i ? DEPTH : 100000; /* more values than the limit; fewer */
    text t = filled(before, 2 * depth, "[", "}}");
    memset(t.bytes + strlen(before) + depth, ']', depth);
    scratch_tensors("bad.safetensors", t.bytes, 1);
    free(t.bytes);
    expect_refused(scratch_path("bad.safetensors"), ORGAN_BAD_INPUT,
                   (const char *const[]){"bad.safetensors", "tensor 'a'",
                                         _i ? "contains more than" : "maximum parsing depth", NULL});
}
END_TEST

Suite *safetensors_suite(void)
{
    Suite *suite = suite_create("safetensors");
    TCase *files = tcase_create("files");
    tcase_add_checked_fixture(files, scratch_begin, scratch_end);
    tcase_set_timeout(files, 20);
    tcase_add_loop_test(files, header_is_refused, 0, COUNT(bad_headers));
    tcase_add_loop_test(files, file_is_refused, 0, COUNT(bad_files));
    tcase_add_loop_test(files, header_is_accepted, 0, COUNT(good_headers));
    tcase_add_test(files, many_tensors);
    tcase_add_test(files, many_tensors_on_one_range);
    tcase_add_loop_test(files, large_header, 0, COUNT(larges));
    tcase_add_loop_test(files, depth_bomb, 0, 2);
    suite_add_tcase(suite, files);
    return suite;
}
