/* SPDX-License-Identifier: MIT
 * Tests of tokenizers: the ids of the Python package tokenizers for a megabyte of mixed text, tokenizers in GGUF files,
 * malformed files. */
#include "tests/formats/tokenizer/check_tokenizer.h"

#include "formats/base/files.h"
#include "tests/kit/effort.h"
#include "tests/kit/scratch_model.h"
#include "tests/kit/suite_table.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TENSORS "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}"

organ_status tokenizer_at(const char *path, organ_tokenizer **tokenizer, organ_error *error)
{
    organ_model *model = NULL;
    *tokenizer = NULL;
    organ_status status = organ_model_open(path, &model, error);
    if (status == ORGAN_OK)
        status = organ_tokenizer_open(model, tokenizer, error);
    organ_model_close(model);
    return status;
}

organ_tokenizer *tokenizer_good(const char *path)
{
    organ_error error = {0};
    organ_tokenizer *tokenizer;
    ck_assert_msg(tokenizer_at(path, &tokenizer, &error) == ORGAN_OK, "%s", error.message);
    return tokenizer;
}

const char *tokenizer_model(const char *json, size_t bytes)
{
    scratch_tensors("model.safetensors", TENSORS, 1);
    scratch_file("tokenizer.json", json, bytes);
    return scratch_path("");
}

uint32_t *tokenizer_ids(const organ_tokenizer *tokenizer, const char *text, size_t bytes, bool special, size_t *count)
{
    uint32_t *ids;
    organ_error error = {0};
    ck_assert_msg(organ_tokenizer_encode(tokenizer, text, bytes, special, &ids, count, &error) == ORGAN_OK, "%s",
                  error.message);
    return ids;
}

char *tokenizer_load(const char *path, size_t *bytes)
{
    organ_error error = {0};
    char *text;
    ck_assert_msg(organ_input_load(path, path, (size_t)64 << 20, &text, bytes, &error) == ORGAN_OK, "%s",
                  error.message);
    return text;
}

organ_tokenizer *tokenizer_kind(const char *name)
{
    char path[100];
    size_t bytes;
    snprintf(path, sizeof path, "fixtures/tokenizers/%s.json", name);
    char *json = tokenizer_load(path, &bytes);
    organ_tokenizer *tokenizer = tokenizer_good(tokenizer_model(json, bytes));
    free(json);
    return tokenizer;
}

/* Makes the same text as fixtures/make_tokenizers.py. */
char *tokenizer_mixed_text(void)
{
    size_t bytes, count = 1, used = 0;
    char *pieces = tokenizer_load("fixtures/tokenizers/snippets.bin", &bytes), *text = malloc(TOKENIZER_TEXT);
    for (size_t k = 0; k < bytes; k++)
        count += pieces[k] == 0x1e;
    size_t *begins = malloc((count + 1) * sizeof *begins);
    begins[0] = 0;
    for (size_t k = 0, n = 1; k < bytes; k++)
        if (pieces[k] == 0x1e)
            begins[n++] = k + 1;
    begins[count] = bytes + 1;
    for (uint64_t state = 1; used < TOKENIZER_TEXT;) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        const size_t k = (state >> 33) % count, length = begins[k + 1] - 1 - begins[k];
        const size_t fits = length < TOKENIZER_TEXT - used ? length : TOKENIZER_TEXT - used;
        memcpy(text + used, pieces + begins[k], fits);
        used += fits;
    }
    free(begins);
    free(pieces);
    return text;
}

static uint64_t digest_of(const uint32_t *ids, size_t count)
{
    uint64_t value = UINT64_C(14695981039346656037);
    for (size_t k = 0; k < count; k++)
        value = (value ^ ids[k]) * UINT64_C(1099511628211);
    return value;
}

/* Compares one line of golden ids with those of the text. */
static void check_golden(char *line, const char *text, size_t bytes, organ_tokenizer *(*open)(const char *name))
{
    char name[32], digest[17];
    int special, at = 0;
    size_t requested, count;
    ck_assert_int_eq(sscanf(line, "%31s %d %zu %16s%n", name, &special, &requested, digest, &at), 4);
    organ_tokenizer *tokenizer = open(name);
    uint32_t *ids = tokenizer_ids(tokenizer, text, bytes, special, &count);
    char *next = line + at;
    for (size_t k = 0; *next; k++) {
        const unsigned long id = strtoul(next, &next, 10);
        ck_assert_msg(k < count && ids[k] == id, "%s: id %zu is %u instead of %lu", name, k, ids[k], id);
    }
    char made[17];
    snprintf(made, sizeof made, "%016" PRIx64, digest_of(ids, count));
    ck_assert_msg(count == requested && strcmp(made, digest) == 0,
                  "%s, special %d: %zu ids of digest %s instead of %zu of %s", name, special, count, made, requested,
                  digest);
    free(ids);
    organ_tokenizer_close(tokenizer);
}

size_t tokenizer_golden(const char *path, const char *text, size_t bytes, organ_tokenizer *(*open)(const char *name))
{
    size_t length, lines = 0;
    char *golden = tokenizer_load(path, &length), *rest = NULL;
    for (char *line = strtok_r(golden, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest), lines++)
        check_golden(line, text, bytes, open);
    free(golden);
    return lines;
}

START_TEST(ids_are_those_of_the_package)
{
    char *text = tokenizer_mixed_text();
    ck_assert_uint_eq(tokenizer_golden("fixtures/tokenizers/golden.txt", text, TOKENIZER_TEXT, tokenizer_kind), 18);
    free(text);
}
END_TEST

/* All ids are counted even if the buffer has room for the first few only. */
START_TEST(ids_beyond_the_room_are_counted)
{
    static const size_t rooms[] = {0, 1, 3, 500, 1000000};
    organ_error error = {0};
    size_t all, count;
    char *text = tokenizer_mixed_text();
    organ_tokenizer *tokenizer = tokenizer_good("fixtures/tiny-qwen2");
    uint32_t *ids = tokenizer_ids(tokenizer, text, TOKENIZER_TEXT, true, &all), *some;
    ck_assert_uint_gt(all, 500);
    for (size_t k = 0; k < sizeof rooms / sizeof *rooms; k++) {
        const size_t kept = rooms[k] < all ? rooms[k] : all;
        ck_assert_int_eq(
            organ_tokenizer_encode_some(tokenizer, text, TOKENIZER_TEXT, true, rooms[k], &some, &count, &error),
            ORGAN_OK);
        ck_assert_uint_eq(count, all);
        ck_assert(kept == 0 || memcmp(some, ids, kept * sizeof *ids) == 0);
        free(some);
    }
    free(ids);
    free(text);
    organ_tokenizer_close(tokenizer);
}
END_TEST

static void joined_is(const organ_tokenizer *tokenizer, const char *text, size_t bytes, const char *requested,
                      size_t wanted_bytes)
{
    size_t count, length, at = 0;
    uint32_t *ids = tokenizer_ids(tokenizer, text, bytes, true, &count);
    for (size_t k = 0; k < count; k++) {
        const char *piece = organ_tokenizer_piece(tokenizer, ids[k], &length);
        ck_assert_msg(at + length <= wanted_bytes && memcmp(piece, requested + at, length) == 0,
                      "piece %zu at byte %zu", k, at);
        at += length;
    }
    ck_assert_uint_eq(at, wanted_bytes);
    free(ids);
}

START_TEST(pieces_joined_are_the_text)
{
    static const char *const names[] = {"llama3", "gpt2", "smollm"};
    static const char text[] = "The end.\r\n\t\xE4\xBD\xA0\xE5\xA5\xBD \xF0\x9F\x91\x8D\xF0\x9F\x8F\xBD 123\0x "
                               "cafe\xCC\x81  <tool_call> <|endoftext|>";
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        organ_tokenizer *tokenizer = tokenizer_kind(names[k]);
        joined_is(tokenizer, text, sizeof text - 1, text, sizeof text - 1);
        joined_is(tokenizer, "a\xFF\xE2\x82z", 5, "a\xEF\xBF\xBD\xEF\xBF\xBDz", 8);
        joined_is(tokenizer, "", 0, "", 0);
        organ_tokenizer_close(tokenizer);
    }
    organ_tokenizer *tokenizer = tokenizer_kind("llama2");
    joined_is(tokenizer, text, 39,
              " The end.\r\n\t\xE4\xBD\xA0\xE5\xA5\xBD \xF0\x9F\x91\x8D\xF0\x9F\x8F\xBD 123\0x cafe\xCC\x81", 40);
    organ_tokenizer_close(tokenizer);
}
END_TEST

/* A word of a megabyte: a quadratic algorithm would take an hour, so the runner of the tests would stop it. */
START_TEST(long_words_come_to_an_end)
{
    static const char *const names[] = {"qwen2", "llama2"};
    static const char *const units[] = {"a", "=", "\xCC\x81", "\xCC\xA3\xCC\x81", "\xE4\xBD\xA0", "ab", " "};
    const size_t bytes = sampled(TOKENIZER_TEXT, TOKENIZER_TEXT / 4);
    char *text = malloc(bytes);
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        organ_tokenizer *tokenizer = tokenizer_kind(names[k]);
        for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
            const size_t length = strlen(units[u]);
            for (size_t at = 0; at + length <= bytes; at += length)
                memcpy(text + at, units[u], length);
            size_t count;
            free(tokenizer_ids(tokenizer, text, bytes / length * length, false, &count));
            ck_assert_uint_gt(count, 0);
        }
        organ_tokenizer_close(tokenizer);
    }
    free(text);
}
END_TEST

/* A pattern that takes some million steps at each character of a text, but fewer than the limit of one search: a file
 * of 200 bytes that would keep a text of 100 KB busy for an hour. */
START_TEST(slow_patterns_come_to_an_end)
{
    static const char json[] =
        "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(?:.|..){1,22}[\\u0001\\u0002]\"},"
        "\"behavior\":\"Isolated\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}";
    enum { BYTES = 100000 };
    organ_error error = {0};
    uint32_t *ids = NULL;
    size_t count;
    char *text = malloc(BYTES);
    memset(text, 'a', BYTES);
    organ_tokenizer *tokenizer = tokenizer_good(tokenizer_model(json, sizeof json - 1));
    ck_assert_int_eq(organ_tokenizer_encode(tokenizer, text, BYTES, false, &ids, &count, &error), ORGAN_BAD_INPUT);
    ck_assert_msg(strstr(error.message, "match limit exceeded"), "%s", error.message);
    organ_tokenizer_close(tokenizer);
    free(ids);
    free(text);
}
END_TEST

START_TEST(the_model_of_the_fixtures)
{
    static const uint32_t first[] = {1064, 1305, 2004, 282, 402, 1734, 1052, 258,
                                     1623, 1528, 11,   267, 886, 282,  1346, 875};
    static const char *const paths[] = {"fixtures/tiny-qwen2", "fixtures/tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf",
                                        "fixtures/tiny-qwen2-gguf/tiny-qwen2-BF16-00001-of-00002.gguf"};
    size_t bytes, count;
    char *text = tokenizer_load("fixtures/tiny-qwen2/heldout.txt", &bytes), digest[17] = "";
    for (size_t k = 0; k < sizeof paths / sizeof *paths; k++) {
        organ_tokenizer *tokenizer = tokenizer_good(paths[k]);
        const organ_tokenizer_facts *facts = organ_tokenizer_describe(tokenizer);
        uint32_t *ids = tokenizer_ids(tokenizer, text, bytes, false, &count);
        ck_assert_uint_eq(count, 55040);
        ck_assert_mem_eq(ids, first, sizeof first);
        ck_assert_str_eq(facts->kind, "byte-level BPE");
        ck_assert_uint_eq(facts->vocabulary, 2048);
        ck_assert_int_eq(facts->bos, -1);
        ck_assert_int_eq(facts->eos, 2047);
        ck_assert(!facts->adds_bos);
        /* Both files describe the same tokenizer. */
        ck_assert(k == 0 || strcmp(facts->digest, digest) == 0);
        strcpy(digest, facts->digest);
        free(ids);
        organ_tokenizer_close(tokenizer);
    }
    free(text);
}
END_TEST

int main(void)
{
    const suite_case cases[] = {
        {"ids",
         {ids_are_those_of_the_package, ids_beyond_the_room_are_counted, pieces_joined_are_the_text,
          the_model_of_the_fixtures}},
        {"speed", {long_words_come_to_an_end, slow_patterns_come_to_an_end}},
    };
    Suite *const suites[] = {suite_of("tokenizer", cases, sizeof cases / sizeof *cases, scratch_begin, scratch_end),
                             tokenizer_named_suite(),
                             tokenizer_fault_suite(),
                             tokenizer_ranks_suite(),
                             tokenizer_converted_suite(),
                             tokenizer_flags_suite(),
                             tokenizer_kept_suite(),
                             tokenizer_groups_suite(),
                             tokenizer_files_suite(),
                             NULL};
    return run_suites(suites);
}
