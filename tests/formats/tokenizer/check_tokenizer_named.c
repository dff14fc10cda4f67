/* SPDX-License-Identifier: MIT
 * Tests of tokenizers in GGUF files, which only name the pattern that splits a text and the treatment of blanks after
 * special tokens. */
#include "tests/formats/tokenizer/check_tokenizer.h"
#include "tests/kit/gguf_maker.h"
#include "tests/kit/scratch_model.h"
#include "tests/kit/suite_table.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array)         (sizeof(array) / sizeof *(array))
#define KEY(name)            "s:tokenizer.ggml." name " "
#define TEXT_KEY(name, text) KEY(name) "4:8 s:" text " "

enum { PART = 1 << 16, TOKEN_LIMIT = 2200 };

static void write_text(FILE *to, const char *left, const char *right)
{
    const char *const parts[] = {left, right ? " " : "", right ? right : ""};
    size_t bytes = 0;
    for (size_t k = 0; k < COUNT(parts); k++)
        bytes += strlen(parts[k]);
    fprintf(to, "8:%zu ", bytes);
    if (bytes)
        fprintf(to, "x:");
    for (size_t k = 0; k < COUNT(parts); k++)
        for (const char *c = parts[k]; *c; c++)
            fprintf(to, "%02x", (unsigned char)*c);
    fprintf(to, " ");
}

static void write_tokens(FILE *to, const json_t *vocabulary, const json_t *added)
{
    const char *tokens[TOKEN_LIMIT] = {0}, *text;
    int types[TOKEN_LIMIT];
    size_t count = 0, k;
    json_t *value, *one;
    json_object_foreach((json_t *)vocabulary, text, value)
    {
        ck_assert_int_lt(json_integer_value(value), TOKEN_LIMIT);
        tokens[json_integer_value(value)] = text;
        types[json_integer_value(value)] = 1;
        count++;
    }
    json_array_foreach(added, k, one)
    {
        const size_t id = (size_t)json_integer_value(json_object_get(one, "id"));
        ck_assert_uint_le(id, count);
        count += id == count;
        tokens[id] = json_string_value(json_object_get(one, "content"));
        types[id] = json_is_true(json_object_get(one, "special")) ? 3 : 4;
    }
    fprintf(to, KEY("tokens") "4:9 4:8 8:%zu ", count);
    for (k = 0; k < count; k++)
        write_text(to, tokens[k], NULL);
    fprintf(to, KEY("token_type") "4:9 4:5 8:%zu ", count);
    for (k = 0; k < count; k++)
        fprintf(to, "4:%d ", types[k]);
}

static void write_merges(FILE *to, const json_t *merges)
{
    size_t k;
    json_t *pair;
    fprintf(to, KEY("merges") "4:9 4:8 8:%zu ", json_array_size(merges));
    json_array_foreach(merges, k, pair)
        write_text(to, json_string_value(json_array_get(pair, 0)), json_string_value(json_array_get(pair, 1)));
}

/* Opens the vocabulary and merges of a fixture in a GGUF file with this model and pre-tokenizer. */
static organ_tokenizer *in_gguf(const char *fixture, const char *kind, const char *name)
{
    size_t bytes;
    char *json = tokenizer_load(fixture, &bytes), *words = NULL;
    json_t *document = json_loadb(json, bytes, 0, NULL);
    const json_t *model = json_object_get(document, "model");
    FILE *to = open_memstream(&words, &bytes);
    ck_assert(to && json_is_object(document));
    fprintf(to, HEAD(0, 6) "s:general.architecture 4:8 s:x " TEXT_KEY("model", "%s") TEXT_KEY("pre", "%s"), kind, name);
    write_tokens(to, json_object_get(model, "vocab"), json_object_get(document, "added_tokens"));
    write_merges(to, json_object_get(model, "merges"));
    fclose(to);
    gguf_file("model.gguf", words);
    free(words);
    json_decref(document);
    free(json);
    return tokenizer_good(scratch_path("model.gguf"));
}

static organ_tokenizer *named(const char *name) { return in_gguf("fixtures/tokenizers/wide.json", "gpt2", name); }

organ_tokenizer *tokenizer_gemma_gguf(void) { return in_gguf("fixtures/tokenizers/gemma4.json", "gemma4", "gemma4"); }

/* The first part of the mixed text, then the hard one. */
char *tokenizer_hard_text(size_t *bytes)
{
    size_t length;
    char *hard = tokenizer_load("fixtures/tokenizers/hard.bin", &length), *text = tokenizer_mixed_text();
    ck_assert_uint_le(PART + length, TOKENIZER_TEXT);
    memcpy(text + PART, hard, length);
    free(hard);
    *bytes = PART + length;
    return text;
}

START_TEST(ids_are_those_of_the_named)
{
    size_t bytes;
    char *text = tokenizer_hard_text(&bytes);
    ck_assert_uint_eq(tokenizer_golden("fixtures/tokenizers/named.txt", text, bytes, named), 82);
    free(text);
}
END_TEST

#define SCORED_TOKENS "4:9 4:8 8:8 s:<unk> s:<s> s:</s> s:<|end|> s:<|endoftext|> s:a x:0300000000000000e29681 s:b "
#define SCORED_SCORES "4:9 4:6 8:8 4:0 4:0 4:0 4:0 4:0 4:0 4:0 4:0 "
#define SCORED_TYPES  "4:9 4:5 8:8 4:2 4:3 4:4 4:3 4:3 4:1 4:1 4:1 "

/* Opens a SentencePiece tokenizer in a model of this architecture; </s> is no special token, as in Phi-3. */
static organ_tokenizer *scored_of(const char *architecture)
{
    char words[1200];
    const int length = snprintf(words, sizeof words,
                                HEAD(0, 6) "s:general.architecture 4:8 s:%s " TEXT_KEY("model", "llama") KEY("tokens")
                                    SCORED_TOKENS KEY("scores") SCORED_SCORES KEY("token_type")
                                        SCORED_TYPES KEY("add_space_prefix") "4:7 1:0 ",
                                architecture);
    ck_assert_int_lt(length, (int)sizeof words);
    gguf_file("model.gguf", words);
    return tokenizer_good(scratch_path("model.gguf"));
}

START_TEST(blanks_behind_special_tokens)
{
    static const struct {
        const char *architecture, *text;
        bool special;
        uint32_t ids[8];
        size_t count;
    } rows[] = {
        {"llama", "<|end|> \t\n a", true, {3, 6, 0, 0, 6, 5}, 6},
        {"phi3", "<|end|> \t\n a", true, {3, 5}, 2},
        {"phi3", "a <|end|>\u00a0\u3000b", true, {5, 6, 3, 7}, 4},
        {"phi3", "<s> a<|endoftext|> b", true, {1, 6, 5, 4, 6, 7}, 6},
        {"phi3", "a</s>  b", false, {5, 2, 7}, 3},
        {"llama", "a</s>  b", false, {5, 2, 6, 6, 7}, 5},
    };
    for (size_t k = 0; k < COUNT(rows); k++) {
        size_t count;
        organ_tokenizer *tokenizer = scored_of(rows[k].architecture);
        uint32_t *ids = tokenizer_ids(tokenizer, rows[k].text, strlen(rows[k].text), rows[k].special, &count);
        ck_assert_msg(count == rows[k].count, "%s, '%s': %zu ids", rows[k].architecture, rows[k].text, count);
        ck_assert_msg(memcmp(ids, rows[k].ids, count * sizeof *ids) == 0, "%s, '%s': other ids", rows[k].architecture,
                      rows[k].text);
        free(ids);
        organ_tokenizer_close(tokenizer);
    }
}
END_TEST

Suite *tokenizer_named_suite(void)
{
    const suite_case cases[] = {
        {"named", {ids_are_those_of_the_named, blanks_behind_special_tokens}},
    };
    return suite_of("tokenizers that are named", cases, COUNT(cases), scratch_begin, scratch_end);
}
