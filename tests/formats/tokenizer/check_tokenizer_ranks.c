/* SPDX-License-Identifier: MIT
 * Tests of tokenizers whose tokens have ranks: tiktoken.model of Kimi and tekken.json of Mistral, their ids and
 * defects; and of kinds with their own fixtures. */
#include "tests/formats/tokenizer/check_tokenizer.h"
#include "tests/kit/scratch_model.h"
#include "tests/kit/suite_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* Copies a fixture next to the tensors of a model without tokenizer.json. */
static const char *extra(const char *fixture, const char *name)
{
    size_t bytes;
    char *content = tokenizer_load(fixture, &bytes);
    const char *const path = tokenizer_model("", 0);
    ck_assert_int_eq(unlink(scratch_path("tokenizer.json")), 0);
    scratch_file(name, content, bytes);
    free(content);
    return path;
}

organ_tokenizer *tokenizer_of_any_form(const char *name)
{
    if (strcmp(name, "gemma4-gguf") == 0)
        return tokenizer_gemma_gguf();
    if (strcmp(name, "tekken") == 0)
        return tokenizer_good(extra("fixtures/tokenizers/tekken.json", "tekken.json"));
    if (strcmp(name, "hunyuan") == 0) {
        extra("fixtures/tokenizers/kimi/tiktoken.model", "hy.tiktoken");
        scratch_text("tokenizer_config.json",
                     "{\"tokenizer_class\":\"HYTokenizer\",\"bos_token\":\"<|startoftext|>\"}");
        return tokenizer_good(scratch_path(""));
    }
    if (strcmp(name, "kimi") != 0)
        return tokenizer_kind(name);
    extra("fixtures/tokenizers/kimi/tokenizer_config.json", "tokenizer_config.json");
    return tokenizer_good(extra("fixtures/tokenizers/kimi/tiktoken.model", "tiktoken.model"));
}

START_TEST(ids_are_those_of_the_kinds)
{
    size_t bytes;
    char *text = tokenizer_hard_text(&bytes);
    ck_assert_uint_eq(tokenizer_golden("fixtures/tokenizers/kinds.txt", text, bytes, tokenizer_of_any_form), 12);
    free(text);
}
END_TEST

START_TEST(facts_of_the_kinds)
{
    static const struct {
        const char *name, *kind;
        uint32_t vocabulary;
        int64_t bos, eos;
        bool adds_bos;
        uint32_t id;
        const char *piece;
    } rows[] = {{"kimi", "byte-level BPE", 1528 + 256, 1528, 1529, false, 1533, "<|reserved_token_1533|>"},
                {"kimi", "byte-level BPE", 1528 + 256, 1528, 1529, false, 10, "\n"},
                {"hunyuan", "byte-level BPE", 1528 + 209, 1529, -1, true, 1536, "<|extra_3|>"},
                {"tekken", "byte-level BPE", 10 + 893, 1, 2, true, 7, "<SPECIAL_7>"},
                {"tekken", "byte-level BPE", 10 + 893, 1, 2, true, 20, "\n"},
                {"gemma4-gguf", "SentencePiece BPE", 1502, -1, -1, false, 14, "\n"}};
    for (size_t k = 0; k < COUNT(rows); k++) {
        organ_tokenizer *tokenizer = tokenizer_of_any_form(rows[k].name);
        const organ_tokenizer_facts *facts = organ_tokenizer_describe(tokenizer);
        size_t bytes;
        ck_assert_str_eq(facts->kind, rows[k].kind);
        ck_assert_uint_eq(facts->vocabulary, rows[k].vocabulary);
        ck_assert_int_eq(facts->bos, rows[k].bos);
        ck_assert_int_eq(facts->eos, rows[k].eos);
        ck_assert(facts->adds_bos == rows[k].adds_bos);
        ck_assert_str_eq(organ_tokenizer_piece(tokenizer, rows[k].id, &bytes), rows[k].piece);
        organ_tokenizer_close(tokenizer);
    }
}
END_TEST

/* ---- defects ---- */

/* Makes a file with the 256 bytes as tokens, each line or element in `format`, followed by `more`. */
static char *bytes_file(const char *head, const char *between, const char *format, const char *more)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *text = NULL;
    size_t length;
    FILE *to = open_memstream(&text, &length);
    fputs(head, to);
    for (int k = 0; k < 256; k++) {
        const char base64[] = {digits[k >> 2], digits[k << 4 & 63], '=', '=', 0};
        fputs(k ? between : "", to);
        fprintf(to, format, base64, k);
    }
    fputs(more, to);
    fclose(to);
    return text;
}

static void refuse_file(const char *name, const char *content, const char *says)
{
    organ_error error = {0};
    organ_tokenizer *tokenizer;
    const int before = open_files();
    scratch_file(name, content, strlen(content));
    ck_assert_msg(tokenizer_at(scratch_path(""), &tokenizer, &error) == ORGAN_BAD_INPUT, "not refused: %.200s", says);
    ck_assert_ptr_null(tokenizer);
    ck_assert_msg(strstr(error.message, says), "'%s' is not in '%s'", says, error.message);
    ck_assert_int_eq(open_files(), before);
}

#define KIMI "{\"tokenizer_class\":\"TikTokenTokenizer\",\"model_max_length\":1000000000000000019884624838656}"

static const struct tiktoken_fault {
    const char *config, *more, *says; /* more: NULL: the file contains nothing else; else it follows the bytes */
} tiktoken_faults[] = {
    {KIMI, "", "not a token in base64"}, /* the file is the line "x" */
    {KIMI, "x", "line 257 is not a token in base64, a space and its rank"},
    {KIMI, "YWI= ", "line 257 is not"},
    {KIMI, "YWI= -1", "line 257 is not"},
    {KIMI, "YWI= 2x", "line 257 is not"},
    {KIMI, "YWI= 99999999999", "line 257 is not"},
    {KIMI, "YWI= 16777215", "line 257: rank 16777215 exceeds the number of tokens that a file"},
    {KIMI, "YWI= 257", "257 tokens, but the highest rank is 257"},
    {KIMI, "YWI= 255", "two tokens have the id 255"},
    {KIMI, "YQ== 256", "tokens 97 and 256 have the same bytes"},
    {KIMI, "YWI 256", "token 256: 'YWI' is not valid base64"},
    {KIMI, "YW!= 256", "is not valid base64"},
    {KIMI, "YWJ= 256", "is not valid base64"}, /* bits after the last byte of base64 */
    {KIMI, "Y=== 256", "is not valid base64"},
    {KIMI, "YQ==YQ== 256", "is not valid base64"},
    {KIMI, " 256", "is not valid base64"},
    {"{}", "", "tokenizer_class '' is not supported with tiktoken.model"},
    {"{\"tokenizer_class\":\"QWenTokenizer\"}", "", "'QWenTokenizer' is not supported with tiktoken.model"},
    {"{\"tokenizer_class\":\"TikTokenTokenizer\",\"added_tokens_decoder\":[]}", "", "'added_tokens_decoder' is not"},
    {"{\"tokenizer_class\":\"TikTokenTokenizer\",\"added_tokens_decoder\":{\"255\":{\"content\":\"x\"}}}", "",
     "'255' is not one of the 256 ids after the tokens 0 to 255"},
    {"{\"tokenizer_class\":\"TikTokenTokenizer\",\"added_tokens_decoder\":{\"512\":{\"content\":\"x\"}}}", "",
     "'512' is not one"},
    {"{\"tokenizer_class\":\"TikTokenTokenizer\",\"added_tokens_decoder\":{\"0256\":{\"content\":\"x\"}}}", "",
     "'0256' is not one"},
    {"{\"tokenizer_class\":\"TikTokenTokenizer\",\"added_tokens_decoder\":{\"256\":{\"content\":\"\"}}}", "",
     "'256': 'content' is not a string"},
    {"{\"tokenizer_class\":\"TikTokenTokenizer\",\"added_tokens_decoder\":{\"256\":7}}", "",
     "'content' is not a string"},
};

START_TEST(malformed_tiktoken)
{
    tokenizer_model("", 0);
    ck_assert_int_eq(unlink(scratch_path("tokenizer.json")), 0);
    refuse_file("tiktoken.model", "YQ== 0\n", "tiktoken.model: tokenizer_config.json is missing next to it");
    for (size_t k = 0; k < COUNT(tiktoken_faults); k++) {
        char *text = bytes_file("", "", "%s %d\n", tiktoken_faults[k].more);
        scratch_text("tokenizer_config.json", tiktoken_faults[k].config);
        refuse_file("tiktoken.model", k ? text : "x", tiktoken_faults[k].says);
        free(text);
    }
    scratch_text("tokenizer_config.json", KIMI);
    refuse_file("tiktoken.model", "", "it is empty");
    refuse_file("tiktoken.model", "\n\n", "it is empty");
    refuse_file("tiktoken.model", "AA== 0\n", "no token is the byte 0x01");
}
END_TEST

#define CONFIG(size, special, version)                                                                                 \
    "\"config\":{\"pattern\":\".\",\"default_vocab_size\":" size ",\"default_num_special_tokens\":" special            \
    ",\"version\":\"" version "\"}"
#define SPECIAL   ",\"special_tokens\":[{\"rank\":0,\"token_str\":\"<s>\"}]"
#define USUAL     CONFIG("257", "1", "v13") SPECIAL ",\"vocab\":"
#define TOKEN     "{\"token_bytes\":\"%s\",\"rank\":%d}"
#define NO_TOKENS "\"vocab\":[]}"

static const struct tekken_fault {
    const char *json, *says;
} tekken_faults[] = {
    {"", "is not an object"},
    {"{}", "'config' is missing"},
    {"{" CONFIG("257", "1", "v13") "}", "'vocab' is missing"},
    {"{" CONFIG("257", "1", "v13") "," CONFIG("257", "1", "v13") "}", "'config' occurs twice"},
    {"{\"config\":7," NO_TOKENS, "'pattern' is missing"},
    {"{\"config\":{\"pattern\":\"\"}," NO_TOKENS, "'pattern' is missing"},
    {"{\"config\":{\"pattern\":\".\"}," NO_TOKENS, "version '' is unknown"},
    {"{" CONFIG("257", "1", "13") "," NO_TOKENS, "version '13' is unknown"},
    {"{" CONFIG("257", "1", "v1x") "," NO_TOKENS, "version 'v1x' is unknown"},
    {"{" CONFIG("0", "1", "v13") "," NO_TOKENS, "'default_vocab_size' is not a number from 1"},
    {"{" CONFIG("257.5", "1", "v13") "," NO_TOKENS, "'default_vocab_size' is not a number from 1"},
    {"{" CONFIG("16777216", "1", "v13") "," NO_TOKENS, "'default_vocab_size' is not a number from 1"},
    {"{" CONFIG("257", "0", "v13") "," NO_TOKENS, "'default_num_special_tokens' is not a number from 1"},
    {"{" CONFIG("70000", "65537", "v13") "," NO_TOKENS, "'default_num_special_tokens' is not a number from 1"},
    {"{" CONFIG("257", "257", "v13") "," NO_TOKENS, "257 special tokens in a vocabulary of 257"},
    {"{" CONFIG("16777215", "1", "v13") "," NO_TOKENS, "cannot list 16777214 tokens"},
    {"{" CONFIG("4", "1", "v13") "," NO_TOKENS, "'special_tokens' is missing"},
    {"{" CONFIG("4", "1", "v13") ",\"special_tokens\":7," NO_TOKENS, "'special_tokens' is not a list"},
    {"{" CONFIG("4", "1", "v3") ",\"special_tokens\":{}," NO_TOKENS, "'special_tokens' is not a list"},
    {"{" CONFIG("4", "1", "v13") ",\"special_tokens\":[{\"rank\":1,\"token_str\":\"x\"}]," NO_TOKENS,
     "entry 0: 'rank' must be 0 and below 1"},
    {"{" CONFIG(
         "4", "1",
         "v13") ",\"special_tokens\":[{\"rank\":0,\"token_str\":\"x\"},{\"rank\":1,\"token_str\":\"y\"}]," NO_TOKENS,
     "entry 1: 'rank' must be 1 and below 1"},
    {"{" CONFIG("4", "1", "v13") ",\"special_tokens\":[{\"rank\":0,\"token_str\":\"\"}]," NO_TOKENS,
     "'token_str' is not a string"},
    {"{" CONFIG("4", "1", "v3") "," NO_TOKENS, "'vocab' is not a list of 3 tokens: it ends after 0"},
    {"{" CONFIG("4", "1", "v13") SPECIAL ",\"vocab\":{}}", "'vocab' is not a list of 3 tokens"},
    {"{" CONFIG("4", "1", "v13") SPECIAL ",\"vocab\":[7]}", "it ends after 0"},
    {"{" CONFIG("4", "1", "v13") SPECIAL ",\"vocab\":[{\"rank\":0,\"token_bytes\":\"AA==\"}]}", "it ends after 1"},
    {"{" CONFIG("4", "1", "v13") SPECIAL ",\"vocab\":[{\"rank\":0,\"token_bytes\":\"AA==\"}{}]}", "it ends after 1"},
    {"{" CONFIG("4", "1", "v13") SPECIAL ",\"vocab\":[{\"rank\":1,\"token_bytes\":\"AA==\"}]}",
     "entry 0: 'rank' is not 0"},
    {"{" CONFIG("4", "1", "v13") SPECIAL ",\"vocab\":[{\"rank\":0}]}", "number 0: 'token_bytes' is not a string"},
    {"{" CONFIG("4", "1", "v13") SPECIAL ",\"vocab\":[{\"rank\":0,\"token_bytes\":\"A\"}]}",
     "token 1: 'A' is not valid base64"},
    {"{" CONFIG("4", "1", "v13") SPECIAL ",\"vocab\":[{\"rank\":0,\"token_bytes\":\"AA=", "tekken.json"},
    {"{" CONFIG("4", "1", "v13") SPECIAL ",\"vocab\":[{\"rank\":0,\"rank\":0}]}", "tekken.json"},
    {"{" CONFIG("2", "1", "v13") SPECIAL ",\"vocab\":[{\"rank\":0,\"token_bytes\":\"AA==\"}]}",
     "no token is the byte 0x01"},
};

START_TEST(malformed_tekken)
{
    tokenizer_model("", 0);
    ck_assert_int_eq(unlink(scratch_path("tokenizer.json")), 0);
    for (size_t k = 0; k < COUNT(tekken_faults); k++)
        refuse_file("tekken.json", tekken_faults[k].json, tekken_faults[k].says);
    char *text = bytes_file("{" USUAL "[", ",", TOKEN, "]");
    refuse_file("tekken.json", text, "tekken.json"); /* the JSON object is not closed */
    free(text);
}
END_TEST

/* Special tokens of old files, a pattern that does not match all text (tiktoken drops the rest), and the precedence of
 * sources. */
START_TEST(small_tekken)
{
    char *text =
        bytes_file("{\"config\":{\"pattern\":\"[a-z]+\",\"default_vocab_size\":280,\"default_num_special_tokens\":22,"
                   "\"version\":\"v7\"},\"vocab\":[",
                   ",", TOKEN, ",{\"rank\":256,\"token_bytes\":\"YWI=\"},{\"rank\":257,\"token_bytes\":\"YmM=\"}]}");
    static const uint32_t requested[] = {22 + 256, 22 + 'c', 3, 22 + 'd', 20};
    size_t count;
    tokenizer_model("", 0);
    ck_assert_int_eq(unlink(scratch_path("tokenizer.json")), 0);
    scratch_text("tekken.json", text);
    scratch_text("tiktoken.model", "x");
    organ_tokenizer *tokenizer = tokenizer_good(scratch_path(""));
    uint32_t *ids = tokenizer_ids(tokenizer, "abc 1[INST]d<SPECIAL_20>", 24, true, &count);
    ck_assert_uint_eq(count, COUNT(requested));
    ck_assert_mem_eq(ids, requested, sizeof requested);
    free(ids);
    organ_tokenizer_close(tokenizer);
    free(text);
}
END_TEST

Suite *tokenizer_ranks_suite(void)
{
    const suite_case cases[] = {
        {"kinds", {ids_are_those_of_the_kinds, facts_of_the_kinds, small_tekken}},
        {"rank faults", {malformed_tiktoken, malformed_tekken}},
    };
    return suite_of("tokenizers with ranks", cases, COUNT(cases), scratch_begin, scratch_end);
}
