/* SPDX-License-Identifier: MIT
 * Malformed GGUF files, one defect per row, with parts of the message. */
#include <organ/models.h>
#include "tests/formats/gguf/check_gguf.h"
#include "tests/kit/gguf_maker.h"
#include "tests/kit/largest_allocation.h"
#include "tests/kit/scratch_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define FRAGMENTS    4

typedef struct bad_file {
    const char *words;
    const char *fragments[FRAGMENTS]; /* parts of the message, without the name of the file */
} bad_file;

#define I8(name, elements, offset) "s:" name " 4:1 8:" #elements " 4:24 8:" #offset " "
#define KEY(name, type)            "s:" name " 4:" #type " "
#define ALIGNMENT(type, value)     KEY("general.alignment", type) value " "

static const bad_file bad_files[] = {
    /* 1: magic and length */
    {"", {"header: magic of 4 bytes at byte 0 is past the end of the file (0)"}},
    {"'GGU'", {"header: magic of 4 bytes at byte 0 is past the end of the file (3)"}},
    {"'GGUF'", {"header: version of 4 bytes at byte 4 is past the end of the file (4)"}},
    {"'GGUF' 4:3", {"header: n_tensors of 8 bytes at byte 8 is past the end of the file (8)"}},
    {"'GGUF' 4:3 8:0", {"header: n_kv of 8 bytes at byte 16 is past the end of the file (16)"}},
    {"'FUGG' 4:3 8:0 8:0", {"magic is 'FUGG', not 'GGUF'", "big-endian"}},
    {"'ggml' 4:3 8:0 8:0", {"magic is 'ggml', not 'GGUF'", "a GGML file"}},
    {"'version' x:20 'https' z:40", {"magic is 'vers'", "Git LFS pointer"}},
    {"x:1b5b334a z:40", {"magic is '\\x1b[3J', not 'GGUF'"}},
    /* 2: version */
    {"'GGUF' 4:0 8:0 8:0", {"version 0 is not supported; 1, 2 and 3 are"}},
    {"'GGUF' 4:4 8:0 8:0", {"version 4 is not supported"}},
    {"'GGUF' 4:0x03000000 8:0 8:0", {"version 0x03000000 is version 3 of a big-endian file"}},
    /* 3: counts */
    {HEAD(-1, 0), {"header: n_tensors is -1, but the 8 bytes that follow have room for at most 0"}},
    {HEAD(0, -1), {"header: n_kv is -1, but the 0 bytes that follow have room for at most 0"}},
    {HEAD(0x2000000000000000, 0) "z:100",
     {"n_tensors is 2305843009213693952, but the 108 bytes that follow have room for at most 4"}},
    {HEAD(0, 0x2000000000000000) "z:100",
     {"n_kv is 2305843009213693952, but the 100 bytes that follow have room for at most 7"}},
    {"'GGUF' 4:1 4:-1 4:0 z:42", {"n_tensors is 4294967295, but the 46 bytes that follow have room for at most 2"}},
    /* 4: lengths of keys */
    {HEAD(0, 1) "8:-1 z:32",
     {"key 1 of 1: key length 18446744073709551615 is past the end of the file (32 bytes follow)"}},
    {HEAD(0, 1) "8:33 c:32", {"key 1 of 1: key length 33 is past the end of the file (32 bytes follow)"}},
    {HEAD(0, 1) "8:65536 c:65536 4:0 1:0", {"key 1 of 1: key length 65536 is beyond the limit of 65535"}},
    {HEAD(0, 1) "s:abcdefghi", {"key 'abcdefghi': value type of 4 bytes at byte 41 is past the end of the file (41)"}},
    /* 5: keys */
    {HEAD(0, 1) "s: 4:0 1:0 z:8", {"key 1 of 1: the key is empty"}},
    {HEAD(0, 2) KEY("a", 0) "1:1 " KEY("a", 0) "1:2", {"key 'a': duplicate key: number 1 and number 2"}},
    {HEAD(0, 1) "8:3 x:610062 4:0 1:1", {"key 1 of 1: the key 'a' has a NUL at byte 1 of 3"}},
    {HEAD(0, 1) "8:3 x:61ff62 4:0 1:1", {"key 1 of 1: the key 'a\\xffb' is not valid UTF-8"}},
    {HEAD(0, 1) "8:3 x:eda080 4:0 1:1", {"the key '\\xed\\xa0\\x80' is not valid UTF-8"}},
    /* 6: types of values */
    {HEAD(0, 1) KEY("a", 13) "z:8", {"key 'a': value type 13 is unknown, the highest is 12"}},
    {HEAD(0, 1) KEY("a", 0xFFFFFFFF) "z:8", {"key 'a': value type 4294967295 is unknown"}},
    {HEAD(0, 1) KEY("a", 9) "4:13 8:0", {"key 'a': element type 13 is unknown"}},
    {HEAD(0, 1) KEY("a", 9) "4:9 8:1 4:4 8:1 4:7", {"key 'a': is an array of arrays, which is not supported"}},
    {HEAD(0, 1) KEY("a", 12) "4:1", {"key 'a': value of 8 bytes at byte 37 is past the end of the file (41)"}},
    /* 7: arrays and strings */
    {HEAD(0, 1) KEY("a", 9) "4:4 8:0x4000000000000000 z:8",
     {"key 'a': array of 4611686018427387904 elements, beyond the limit"}},
    {HEAD(0, 1) KEY("a", 9) "4:0 8:0x40000001 z:8",
     {"key 'a': array of 1073741825 elements, beyond the limit of 1073741824"}},
    {HEAD(0, 1) KEY("a", 9) "4:10 8:2 z:15",
     {"key 'a': array of 2 u64 needs at least 16 bytes, past the end of the file (15 bytes follow)"}},
    {HEAD(0, 1) KEY("a", 9) "4:8 8:3 z:23",
     {"key 'a': array of 3 string needs at least 24 bytes, past the end of the file (23 bytes follow)"}},
    {HEAD(0, 1) KEY("a", 9) "4:8 8:2 s:xy 8:-1",
     {"key 'a': a string of 18446744073709551615 bytes at byte 67 is past the end"}},
    {HEAD(0, 1) KEY("a", 8) "8:0x7fffffffffffffff z:9", {"key 'a': a string of 9223372036854775807 bytes"}},
    {HEAD(0, 1) KEY("a", 8) "8:10 z:9", {"key 'a': a string of 10 bytes at byte 45 is past the end of the file (54)"}},
    /* 9: alignment */
    {HEAD(0, 1) ALIGNMENT(4, "4:0"), {"key 'general.alignment': 0 is neither a power of two nor a multiple of 8"}},
    {HEAD(0, 1) ALIGNMENT(4, "4:13"), {"key 'general.alignment': 13 is neither"}},
    {HEAD(0, 1) ALIGNMENT(4, "4:0xFFFFFFFF"), {"key 'general.alignment': 4294967295 is neither"}},
    {HEAD(1, 1) ALIGNMENT(4, "4:0x80000000") I8("a", 1, 0) "z:32",
     {"the data begins at byte 2147483648, past the end of the file (122)"}},
    {HEAD(0, 1) ALIGNMENT(5, "4:32"), {"key 'general.alignment': is of type i32, not u32"}},
    {HEAD(0, 1) ALIGNMENT(8, "s:32"), {"key 'general.alignment': is of type string, not u32"}},
    {HEAD(0, 1) ALIGNMENT(9, "4:4 8:1 4:32"), {"key 'general.alignment': is of type array, not u32"}},
    {HEAD(0, 2) ALIGNMENT(4, "4:32") ALIGNMENT(4, "4:64"), {"key 'general.alignment': duplicate key"}},
    /* 10: names of tensors */
    {HEAD(1, 0) "8:65 c:65 4:1 8:1 4:24 8:0", {"tensor 1 of 1: the name has 65 bytes, more than 64"}},
    {HEAD(1, 0) "8:0x10000000000 z:40", {"tensor 1 of 1: the name has 1099511627776 bytes, more than 64"}},
    {HEAD(1, 0) "8:0 4:1 8:1 4:24 8:0 z:40", {"tensor 1 of 1: the name is empty"}},
    {HEAD(1, 0) "8:60 c:20", {"tensor 1 of 1: name of 60 bytes at byte 32 is past the end of the file (52)"}},
    {HEAD(2, 0) "8:3 x:610062 4:1 8:1 4:24 8:0 z:64", {"tensor 1 of 2: the name 'a' has a NUL at byte 1 of 3"}},
    {HEAD(1, 0) "8:1 x:ff 4:1 8:1 4:24 8:0 z:64", {"tensor 1 of 1: the name '\\xff' is not valid UTF-8"}},
    {HEAD(2, 0) I8("a", 1, 0) I8("a", 1, 32) "p:32 z:64",
     {"tensor 'a': duplicate name: tensor 1 and tensor 2 of the file"}},
    /* 11: numbers of dimensions */
    {HEAD(1, 0) "s:a 4:5 8:1 8:1 8:1 8:1 8:1 4:24 8:0", {"tensor 'a': n_dims is 5, more than 4"}},
    {HEAD(1, 0) "s:a 4:0xFFFFFFFF z:40", {"tensor 'a': n_dims is 4294967295, more than 4"}},
    /* 12: dimensions */
    {HEAD(1, 0) I8("a", -1, 0), {"tensor 'a': dimension 0 is -1, below 0"}},
    {HEAD(1, 0) "s:a 4:2 8:0x100000000 8:0x100000000 4:24 8:0",
     {"tensor 'a': with dimension 1 of 4294967296 the number of elements exceeds 9223372036854775807"}},
    {HEAD(1, 0) "s:a 4:3 8:0x100000000 8:0x100000000 8:0 4:24 8:0", {"tensor 'a': with dimension 1 of 4294967296"}},
    {HEAD(1, 0) "s:a 4:1 8:0x7fffffffffffffff 4:27 8:0",
     {"tensor 'a': the size of 9223372036854775807 elements of I64 exceeds 64 bits"}},
    {HEAD(1, 0) "s:a 4:1 8:0x40000000001 4:24 8:0 p:32",
     {"tensor 'a': its 4398046511105 bytes at byte 64 end at 4398046511169"}},
    {HEAD(1, 0) "s:a 4:2 8:0x4000000000 8:0x4000 4:0 8:0 p:32",
     {"tensor 'a': its 18014398509481984 bytes at byte 96 end at 18014398509482080, past the end of the file (96)"}},
    /* 13: types of tensors */
    {HEAD(1, 0) "s:a 4:1 8:32 4:4 8:0", {"tensor 'a': type 4 is Q4_2, which was removed from the format"}},
    {HEAD(1, 0) "s:a 4:1 8:32 4:31 8:0", {"tensor 'a': type 31 is Q4_0_4_4, which was removed"}},
    {HEAD(1, 0) "s:a 4:1 8:256 4:15 8:0", {"tensor 'a': type 15 is Q8_K, which exists only during computation"}},
    {HEAD(1, 0) "s:a 4:1 8:32 4:43 8:0", {"tensor 'a': type 43 is unknown"}},
    {HEAD(1, 0) "s:a 4:1 8:32 4:96 8:0", {"tensor 'a': type 96 is unknown"}},
    {HEAD(1, 0) "s:a 4:1 8:32 4:400 8:0", {"tensor 'a': type 400 is unknown"}},
    {HEAD(1, 0) "s:a 4:1 8:32 4:97 8:0", {"type 97 is a block type of ik_llama.cpp"}},
    {HEAD(1, 0) "s:a 4:1 8:32 4:137 8:0", {"type 137 is a block type of ik_llama.cpp"}},
    {HEAD(1, 0) "s:a 4:1 8:32 4:142 8:0", {"type 142 is a block type of ik_llama.cpp"}},
    {HEAD(1, 0) "s:a 4:1 8:32 4:211 8:0", {"type 211 is a block type of ik_llama.cpp"}},
    {HEAD(1, 0) "s:a 4:1 8:32 4:399 8:0", {"type 399 is a block type of ik_llama.cpp"}},
    {HEAD(1, 0) "s:a 4:1 8:32 4:-1 8:0", {"tensor 'a': type -1 is unknown"}},
    {HEAD(1, 0) "s:a 4:1 8:32 4:0x80000002 8:0", {"tensor 'a': type -2147483646 is unknown"}},
    {HEAD(1, 0) "s:a 4:2 8:16 8:2 4:8 8:0", {"tensor 'a': rows of 16 elements are not whole blocks of Q8_0 (32)"}},
    {HEAD(1, 0) "s:a 4:0 4:8 8:0 z:8", {"tensor 'a': rows of 1 elements are not whole blocks of Q8_0 (32)"}},
    {HEAD(1, 0) "s:a 4:1 8:320 4:12 8:0", {"tensor 'a': rows of 320 elements are not whole blocks of Q4_K (256)"}},
    /* 14: offsets */
    {HEAD(1, 0) I8("a", 1, -1), {"tensor 'a': offset 18446744073709551615 is not a multiple of the alignment 32"}},
    {HEAD(1, 0) I8("a", 1, -32),
     {"tensor 'a': offset 18446744073709551584 leaves a hole: the data before it, padded, ends at 0"}},
    {HEAD(1, 0) I8("a", 1, 8) "z:64", {"tensor 'a': offset 8 is not a multiple of the alignment 32"}},
    {HEAD(2, 0) I8("a", 33, 0) I8("b", 1, 32) "p:32 z:96",
     {"tensor 'b': offset 32 overlaps tensor 'a', which ends at 33"}},
    {HEAD(2, 0) I8("a", 1, 0) I8("b", 1, 0) "p:32 z:96", {"tensor 'b': offset 0 overlaps tensor 'a', which ends at 1"}},
    {HEAD(2, 0) I8("a", 1, 32) I8("b", 1, 0) "p:32 z:96", {"tensor 'a': offset 32 leaves a hole"}},
    {HEAD(3, 0) I8("a", 1, 0) I8("b", 1, 32) I8("c", 1, 0) "p:32 z:96",
     {"tensor 'c': offset 0 is out of order: that of tensor 'b' before it is 32"}},
    {HEAD(2, 0) I8("a", 1, 0) I8("b", 1, 64) "p:32 z:96",
     {"tensor 'b': offset 64 leaves a hole: the data before it, padded, ends at 32"}},
    {HEAD(1, 0) I8("a", 1, 32) "p:32 z:64", {"tensor 'a': offset 32 leaves a hole"}},
    /* 15, 16: sums that overflow */
    {HEAD(2, 0) I8("a", 0x7FFFFFFFFFFFFFC0, 0) I8("b", 0x7FFFFFFFFFFFFFC0, 0x7FFFFFFFFFFFFFC0) "p:32 z:64",
     {"header: data of 18446744073709551488 bytes exceeds the largest size of a file"}},
    {HEAD(3, 0) I8("a", 0x7FFFFFFFFFFFFFC0, 0) I8("b", 0x7FFFFFFFFFFFFFC0, 0x7FFFFFFFFFFFFFC0)
         I8("c", 0x7FFFFFFFFFFFFFC0, 0xFFFFFFFFFFFFFF80) "z:64",
     {"tensor 'c': offset 18446744073709551488 and 9223372036854775744 bytes, padded, exceed 64 bits"}},
    {HEAD(2, 0) "s:a 4:1 8:0x7FFFFFFFFFFFFFE0 4:25 8:0 " I8("b", 33, 0xFFFFFFFFFFFFFFC0) "z:64",
     {"tensor 'b': offset 18446744073709551552 and 33 bytes, padded, exceed 64 bits"}},
    {HEAD(1, 0) "s:a 4:1 8:0x7FFFFFFFFFFFFFFF 4:25 8:0 z:64",
     {"tensor 'a': offset 0 and 18446744073709551614 bytes, padded, exceed 64"}},
    {HEAD(1, 0) I8("a", 0x7FFFFFFFFFFFFFFF, 0) "p:32 z:64",
     {"data of 9223372036854775807 bytes exceeds the largest size of a file"}},
    /* 17: the end of the file */
    {HEAD(1, 0) I8("a", 1, 0), {"the data begins at byte 64, past the end of the file (57)"}},
    {HEAD(1, 0) I8("a", 40, 0) "p:32 z:39",
     {"tensor 'a': its 40 bytes at byte 64 end at 104, past the end of the file (103)"}},
    {HEAD(2, 0) I8("a", 1, 0) I8("b", 40, 32) "p:32 z:71",
     {"tensor 'b': its 40 bytes at byte 128 end at 168, past the end of the file (167)"}},
    {HEAD(1, 0) I8("a", 40, 0) "p:32 z:65",
     {"the tensors end at byte 128, but the file has 129 bytes: the rest belongs to no tensor"}},
    {HEAD(0, 0) "z:9", {"the tensors end at byte 32, but the file has 33 bytes"}},
    {HEAD(1, 0) "s:a 4:1 8:1", {"tensor 'a': type of 4 bytes at byte 45 is past the end of the file (45)"}},
    {HEAD(1, 0) "s:a 4:1 8:1 4:24 4:0", {"tensor 'a': offset of 8 bytes at byte 49 is past the end of the file (53)"}},
    {HEAD(2, 0) I8("a", 1, 0) "s:b 4:2 8:1 8:1 4:24",
     {"tensor 'b': offset of 8 bytes at byte 90 is past the end of the file (90)"}},
    /* keys of models */
    {HEAD(0, 1) KEY("general.architecture", 4) "4:1", {"key 'general.architecture' is of type u32, not a string"}},
    {HEAD(0, 1) KEY("general.architecture", 8) "8:3 x:610062",
     {"key 'general.architecture' is 'a', not valid UTF-8 without NUL"}},
    {HEAD(0, 1) KEY("general.architecture", 8) "8:64 c:64", {"key 'general.architecture' has 64 bytes, more than 63"}},
    {HEAD(0, 2) KEY("general.architecture", 8) "s:x " KEY("x.block_count", 5) "4:-4",
     {"key 'x.block_count' is -4, below 0"}},
    {HEAD(0, 2) KEY("general.architecture", 8) "s:x " KEY("x.block_count", 8) "s:4",
     {"key 'x.block_count' is of type string, not a whole number"}},
    {HEAD(0, 2) KEY("general.architecture", 8) "s:x " KEY("x.block_count", 10) "8:-1",
     {"key 'x.block_count' is of type u64, not a whole"}},
    /* version 1: lengths of 4 bytes */
    {"'GGUF' 4:1 4:0 4:1 4:-1 z:10",
     {"key 1 of 1: key length 4294967295 is past the end of the file (10 bytes follow)"}},
    {"'GGUF' 4:1 4:0 4:1 S:a 4:9 4:8 4:3 z:11", {"key 'a': array of 3 string needs at least 12 bytes"}},
    {"'GGUF' 4:1 4:1 4:0 S:a 4:1 4:1 4:24 8:8 z:64", {"tensor 'a': offset 8 is not a multiple"}},
};

START_TEST(file_is_refused)
{
    const char *fragments[FRAGMENTS + 2] = {"bad.gguf: "};
    size_t size;
    unsigned char *bytes = gguf_bytes(bad_files[_i].words, &size);
    scratch_file("bad.gguf", bytes, size);
    free(bytes);
    for (size_t k = 0; k < FRAGMENTS && bad_files[_i].fragments[k]; k++)
        fragments[k + 1] = bad_files[_i].fragments[k];
    largest_allocation = 0;
    expect_refused(scratch_path("bad.gguf"), ORGAN_BAD_INPUT, fragments);
    ck_assert_msg(largest_allocation <= (64 << 10) + 4 * size + 1024, "an allocation of %zu bytes for a file of %zu",
                  largest_allocation, size);
}
END_TEST

/* Every truncated file is rejected without reading past its end. */
START_TEST(file_is_cut)
{
    size_t size;
    unsigned char *bytes =
        gguf_bytes(HEAD(2, 3) KEY("general.architecture", 8) "s:llama " KEY("a", 9) "4:8 8:2 s:x s:yz " KEY(
                       "b", 9) "4:6 8:2 4:1 4:2 s:t 4:2 8:32 8:2 4:8 8:0 " I8("u", 7, 96) "p:32 z:103",
                   &size);
    for (size_t cut = 0; cut < size; cut++) {
        scratch_file("bad.gguf", bytes, cut);
        expect_refused(scratch_path("bad.gguf"), ORGAN_BAD_INPUT, (const char *const[]){"bad.gguf: ", NULL});
    }
    scratch_file("bad.gguf", bytes, size);
    free(bytes);
    organ_error error = {0};
    organ_model *model;
    ck_assert_msg(organ_model_open(scratch_path("bad.gguf"), &model, &error) == ORGAN_OK, "%s", error.message);
    organ_model_close(model);
}
END_TEST

/* ---- splits ---- */

#define SPLIT(no, count, tensors)                                                                                      \
    KEY("split.no", 2)                                                                                                 \
    "2:" #no " " KEY("split.count", 2) "2:" #count " " KEY("split.tensors.count", 5) "4:" #tensors " "
#define ARCHITECTURE(name) KEY("general.architecture", 8) "s:" name " "

static const struct bad_split {
    const char *name[2], *words[2]; /* the first one is opened */
    const char *fragments[FRAGMENTS];
} bad_splits[] = {
    {{"m-00001-of-00002.gguf"},
     {HEAD(0, 3) SPLIT(0, 2, 1)},
     {"m-00001-of-00002.gguf: is one part of a model, another part is 'm-00002-of-00002.gguf', which does not exist"}},
    {{"m-00002-of-00002.gguf"},
     {HEAD(0, 3) SPLIT(1, 2, 1)},
     {"another part is 'm-00001-of-00002.gguf', which does not exist"}},
    {{"m-00001-of-65535.gguf"}, {HEAD(0, 3) SPLIT(0, 65535, 1)}, {"'m-00002-of-65535.gguf', which does not exist"}},
    {{"m.gguf"},
     {HEAD(0, 3) SPLIT(0, 3, 1)},
     {"m.gguf: key 'split.count' is 3, but the file name is not NAME-00001-of-00003.gguf: the other parts cannot be "
      "found"}},
    {{"m-00001-of-00002.gguf"}, {HEAD(0, 3) SPLIT(0, 3, 1)}, {"key 'split.count' is 3, but the file name has 2"}},
    {{"m-00001-of-00002.gguf", "m-00002-of-00002.gguf"},
     {HEAD(0, 3) SPLIT(0, 2, 1), HEAD(1, 3) SPLIT(0, 2, 1) I8("a", 1, 0) "p:32 z:32"},
     {"m-00002-of-00002.gguf: key 'split.no' is 0, but the file name has part 2, which is 1"}},
    {{"m-00001-of-00002.gguf", "m-00002-of-00002.gguf"},
     {HEAD(0, 3) SPLIT(1, 2, 1), HEAD(1, 3) SPLIT(1, 2, 1) I8("a", 1, 0) "p:32 z:32"},
     {"m-00001-of-00002.gguf: key 'split.no' is 1, but the file name has part 1, which is 0"}},
    {{"m-00001-of-00002.gguf", "m-00002-of-00002.gguf"},
     {HEAD(0, 3) SPLIT(0, 2, 1), HEAD(1, 3) SPLIT(1, 3, 1) I8("a", 1, 0) "p:32 z:32"},
     {"m-00002-of-00002.gguf: key 'split.count' is 3, but the file name has 2"}},
    {{"m-00001-of-00002.gguf", "m-00002-of-00002.gguf"},
     {HEAD(0, 3) SPLIT(0, 2, 1), HEAD(1, 0) I8("a", 1, 0) "p:32 z:32"},
     {"m-00002-of-00002.gguf: key 'split.no' is 0, but the file name has part 2"}},
    {{"m-00001-of-00002.gguf", "m-00002-of-00002.gguf"},
     {HEAD(0, 3) SPLIT(0, 2, 7), HEAD(1, 3) SPLIT(1, 2, 7) I8("a", 1, 0) "p:32 z:32"},
     {"key 'split.tensors.count' is 7, but the 2 parts have 1 tensors"}},
    {{"m-00001-of-00002.gguf", "m-00002-of-00002.gguf"},
     {HEAD(0, 3) SPLIT(0, 2, -1), HEAD(1, 3) SPLIT(1, 2, 1) I8("a", 1, 0) "p:32 z:32"},
     {"m-00001-of-00002.gguf: key 'split.tensors.count' is -1, not from 0 to 2147483647"}},
    {{"m-00001-of-00002.gguf", "m-00002-of-00002.gguf"},
     {HEAD(1, 3) SPLIT(0, 2, 2) I8("a", 1, 0) "p:32 z:32", HEAD(1, 3) SPLIT(1, 2, 2) I8("a", 1, 0) "p:32 z:32"},
     {"m-00002-of-00002.gguf: tensor 'a': m-00001-of-00002.gguf also has a tensor of this name"}},
    {{"m-00001-of-00002.gguf", "m-00002-of-00002.gguf"},
     {HEAD(0, 4) SPLIT(0, 2, 1) ARCHITECTURE("llama"),
      HEAD(1, 4) SPLIT(1, 2, 1) ARCHITECTURE("qwen2") I8("a", 1, 0) "p:32 z:32"},
     {"m-00002-of-00002.gguf: key 'general.architecture' is 'qwen2', but that of the first part is 'llama'"}},
    {{"m-00001-of-00002.gguf"},
     {HEAD(0, 1) KEY("split.count", 8) "s:2"},
     {"key 'split.count' is of type string, not a whole number"}},
    {{"m-00001-of-00002.gguf"},
     {HEAD(0, 1) KEY("split.count", 3) "2:-2"},
     {"key 'split.count' is -2, not from 0 to 65535"}},
    {{"m-00001-of-00002.gguf"},
     {HEAD(0, 1) KEY("split.count", 9) "4:2 8:1 2:2"},
     {"key 'split.count' is of type array"}},
};

START_TEST(split_is_refused)
{
    const struct bad_split *row = &bad_splits[_i];
    for (size_t k = 0; k < 2 && row->name[k]; k++)
        gguf_file(row->name[k], row->words[k]);
    const char *fragments[FRAGMENTS + 1] = {0};
    memcpy(fragments, row->fragments, sizeof row->fragments);
    expect_refused(scratch_path(row->name[0]), ORGAN_BAD_INPUT, fragments);
}
END_TEST

START_TEST(directories)
{
    gguf_file("a.gguf", HEAD(0, 0));
    gguf_file("b.gguf", HEAD(0, 0));
    expect_refused(scratch_path(""), ORGAN_BAD_INPUT,
                   (const char *const[]){"holds more than one GGUF model, among them ", "a.gguf", "b.gguf",
                                         ": name one file", NULL});
}
END_TEST

Suite *gguf_malformed_suite(void)
{
    Suite *suite = suite_create("malformed GGUF");
    TCase *files = tcase_create("files");
    tcase_add_checked_fixture(files, scratch_begin, scratch_end);
    tcase_add_loop_test(files, file_is_refused, 0, COUNT(bad_files));
    tcase_add_loop_test(files, split_is_refused, 0, COUNT(bad_splits));
    tcase_add_test(files, file_is_cut);
    tcase_add_test(files, directories);
    suite_add_tcase(suite, files);
    return suite;
}
