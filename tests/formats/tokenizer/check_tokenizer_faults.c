/* SPDX-License-Identifier: MIT
 * Malformed tokenizers, one defect per row, with a part of the message; and small tokenizers in GGUF files. */
#include "tests/formats/tokenizer/check_tokenizer.h"
#include "tests/kit/gguf_maker.h"
#include "tests/kit/scratch_model.h"
#include "tests/kit/suite_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array)       (sizeof(array) / sizeof((array)[0]))
#define BPE(vocab, merges) "{\"model\":{\"type\":\"BPE\",\"vocab\":" vocab ",\"merges\":" merges "}}"
#define WITH(part)         "{" part ",\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}"
#define REGEX(pattern)                                                                                                 \
    WITH("\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" pattern                                     \
         "\"},\"behavior\":\"Isolated\",\"invert\":false}")
#define ADDED(members) WITH("\"added_tokens\":[{" members "}]")

static const struct fault {
    const char *json, *says;
} faults[] = {
    {"", "is not an object"},
    {"[]", "is not an object"},
    {"{}", "'model' is missing"},
    {"{\"model\":{}}", "type ''"},
    {"{\"model\":{},\"model\":{}}", "'model' occurs twice"},
    {"{\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"a\":0}}}", "'WordPiece' is not supported"},
    {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",0.0]]}}", "'Unigram' is not supported"},
    {"{\"model\":{\"type\":\"BPE\",\"merges\":[]}}", "'vocab' is missing"},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0}}}", "'merges' is missing"},
    {BPE("[]", "[]"), "vocab is not an object"},
    {BPE("{}", "[]"), "it is empty"},
    {BPE("{\"a\":-1}", "[]"), "'a': '-1' is not an id"},
    {BPE("{\"a\":1.5}", "[]"), "'1.5' is not an id"},
    {BPE("{\"a\":01}", "[]"), "'01' is not an id"},
    {BPE("{\"a\":\"0\"}", "[]"), "is not an id"},
    {BPE("{\"a\":99999999999999999999}", "[]"), "is not an id"},
    {BPE("{\"a\":16777216}", "[]"), "'16777216' is not an id"},
    {BPE("{\"a\":16777215}", "[]"), "'a': id 16777215 exceeds the number of tokens that a file of 59 bytes can list"},
    {BPE("{\"a\":4100}", "[]"), "the highest id is 4100, but there are 1 tokens"},
    {"{\"added_tokens\":[{\"content\":\"x\",\"id\":5000}],\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]"
     "}}",
     "added_tokens: 'x': id 5000 exceeds the number of tokens"},
    {BPE("{\"a\":0,\"b\":0}", "[]"), "id 0 is both 'a' and 'b'"},
    {BPE("{\"a\":0,\"a\":1}", "[]"), "'a' occurs twice, as 0 and as 1"},
    {BPE("{\"a\":0,\"b\":1", "[]"), "line 1"},
    {BPE("{\"a\":0}", "{}"), "'merges' is not a list"},
    {BPE("{\"a\":0,\"aa\":1}", "[\"a b\"]"), "number 0: 'b' is not in the vocabulary"},
    {BPE("{\"a\":0,\"b\":1}", "[\"a b\"]"), "number 0: 'ab' is not in the vocabulary"},
    {BPE("{\"a\":0,\"aa\":1}", "[[\"a\",\"a\"],[\"a\",\"c\"]]"), "number 1: 'c' is not in the vocabulary"},
    {BPE("{\"a\":0,\"aa\":1}", "[\"aa\"]"), "not two words"},
    {BPE("{\"a\":0,\"aa\":1}", "[\"a a a\"]"), "not two words"},
    {BPE("{\"a\":0,\"aa\":1}", "[\"a a\",\" \"]"), "merges: number 1: one of its words is empty"},
    {BPE("{\"a\":0,\"\":1}", "[[\"a\",\"\"]]"), "one of its words is empty"},
    {BPE("{\"a\":0,\"aa\":1}", "[[\"a\"]]"), "not a pair"},
    {BPE("{\"a\":0,\"aa\":1}", "[[\"a\",\"a\",\"a\"]]"), "not a pair"},
    {BPE("{\"a\":0,\"aa\":1}", "[1]"), "a string is expected"},
    {BPE("{\"a\":0,\"aa\":1}", "[\"a a\" \"a a\"]"), "',' or ']'"},
    {BPE("{\"a\":0,\"aa\":1}", "[\"a a\",]"), "a string is expected"},
    {BPE("{\"a\":0,\"aa\":1}", "[\"a \\ud800\"]"), "merges"},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[],\"unk_token\":\"<unk>\"}}", "unk_token '<unk>'"},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[],\"dropout\":0.1}}", "'dropout' is not supported"},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[],\"end_of_word_suffix\":\"</w>\"}}",
     "'end_of_word_suffix'"},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[],\"byte_fallback\":1}}",
     "'byte_fallback' is neither"},
    {WITH("\"normalizer\":{\"type\":\"Precompiled\"}"), "normalizer: Precompiled: this kind is not supported"},
    {WITH("\"normalizer\":{}"), "'type' is missing"},
    {WITH("\"normalizer\":{\"type\":\"Sequence\"}"), "no list of members"},
    {WITH("\"normalizer\":{\"type\":\"Replace\",\"content\":\"\"}"), "'pattern'"},
    {WITH("\"pre_tokenizer\":{\"type\":\"UnicodeScripts\"}"), "UnicodeScripts: this kind is not supported"},
    {WITH("\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"last\"}"),
     "prepend_scheme 'last'"},
    {WITH("\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"use_regex\":\"yes\"}"), "'use_regex' is neither"},
    {WITH("\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"String\":\"a\"},\"behavior\":\"Alone\"}"),
     "behavior 'Alone'"},
    {WITH("\"normalizer\":{\"type\":\"Strip\",\"strip_left\":1}"), "Strip: 'strip_left' is neither"},
    {WITH("\"pre_tokenizer\":{\"type\":\"CharDelimiterSplit\"}"), "'delimiter' is not a string"},
    {WITH("\"pre_tokenizer\":{\"type\":\"CharDelimiterSplit\",\"delimiter\":\"\"}"), "'delimiter' is empty"},
    {REGEX("[\\\\b]"), "\\b"},
    {REGEX("[a\\\\W]"), "\\W"},
    {REGEX("a\\\\Z"), "\\Z"},
    {REGEX("(a"), "is wrong"},
    {REGEX("[a"), "is wrong"},
    {REGEX("\\\\p{Nonsense}"), "is wrong"},
    {REGEX("\\\\p{L"), "not closed"},
    {REGEX("[a[^b]]"), "a nested class"},
    {REGEX("[a-[b]]"), "a nested class"},
    {REGEX("[[a]-b]"), "a nested class"},
    {REGEX("[a[]]"), "a nested class"},
    {REGEX("[[:alpha:]]"), "a nested class"},
    {REGEX("[a[b]"), "is wrong"},
    {REGEX("[a-z&&b]"), "an intersection"},
    {REGEX("[a&&[^b]]"), "an intersection"},
    {REGEX("[\\\\p{L}&&[b]]"), "an intersection"},
    {REGEX("[\\\\p{L}&&[^b]c]"), "an intersection"},
    {REGEX("[\\\\p{L}&&[^b]&&[^c]]"), "an intersection"},
    {REGEX("[\\\\p{L}&&[^]]"), "']' as the first"},
    {REGEX("[\\\\p{L}&&[^"), "is wrong"},
    {REGEX("[\\\\p{L"), "not closed"},
    {REGEX("[\\\\p{Xy}&&[^b]]"), "an intersection"},
    {REGEX("a{1,2}+"), "'}+'"},
    {REGEX("\\\\h"), "\\h"},
    {REGEX("(?m)a"), "unknown kind"},
    {REGEX("(*ACCEPT)"), "a backtracking verb"},
    {ADDED("\"id\":1"), "'content' is not a string"},
    {ADDED("\"id\":1,\"content\":\"\""), "'content' is not a string"},
    {ADDED("\"id\":-1,\"content\":\"b\""), "'id' is not a number"},
    {ADDED("\"id\":0,\"content\":\"b\""), "id 0 is both 'a' and 'b'"},
    {ADDED("\"id\":1,\"content\":\"a\""), "'a' is 1 here, but 0"},
    {WITH("\"added_tokens\":[{\"id\":0,\"content\":\"a\",\"normalized\":true}],\"normalizer\":{\"type\":\"Replace\","
          "\"pattern\":{\"String\":\"a\"},\"content\":\"\"}"),
     "added token 0, 'a', is empty after normalisation"},
    {WITH("\"added_tokens\":{}"), "'added_tokens' is not a list"},
};

static void expect_fault(const char *path, const char *says, const char *shown)
{
    organ_error error = {0};
    organ_tokenizer *tokenizer;
    const int before = open_files();
    ck_assert_msg(tokenizer_at(path, &tokenizer, &error) == ORGAN_BAD_INPUT, "not refused: %.200s", shown);
    ck_assert_ptr_null(tokenizer);
    ck_assert_msg(strstr(error.message, says), "'%s' is not in '%s'", says, error.message);
    ck_assert_int_eq(open_files(), before);
}

START_TEST(malformed_documents)
{
    for (size_t k = 0; k < COUNT(faults); k++)
        expect_fault(tokenizer_model(faults[k].json, strlen(faults[k].json)), faults[k].says, faults[k].json);
}
END_TEST

START_TEST(deep_and_strange_documents)
{
    const size_t depth = 100000;
    char *deep = malloc(depth * 2 + 200);
    size_t at = (size_t)sprintf(deep, "{\"normalizer\":");
    memset(deep + at, '[', depth);
    memset(deep + at + depth, ']', depth);
    strcpy(deep + at + 2 * depth, ",\"model\":{}}");
    expect_fault(tokenizer_model(deep, strlen(deep)), "tokenizer.json", "deep");
    at = (size_t)sprintf(deep, "{\"normalizer\":");
    for (unsigned k = 0; k < 12; k++)
        at += (size_t)sprintf(deep + at, "{\"type\":\"Sequence\",\"normalizers\":[");
    for (unsigned k = 0; k < 12; k++)
        at += (size_t)sprintf(deep + at, "]}");
    strcpy(deep + at, ",\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}");
    expect_fault(tokenizer_model(deep, strlen(deep)), "nested too deep", "nested");
    free(deep);
    /* Every truncated tokenizer is rejected. */
    static const char good[] = BPE("{\"a\":0,\"aa\":1}", "[[\"a\",\"a\"]]");
    for (size_t k = 0; k + 1 < sizeof good; k++)
        if (k + 2 < sizeof good)
            expect_fault(tokenizer_model(good, k), "tokenizer.json", good);
}
END_TEST

/* ---- normalisation steps that lengthen a text beyond the limit ---- */

static char *repeated(const char *word, size_t times)
{
    const size_t bytes = strlen(word);
    char *const text = malloc(bytes * times + 1);
    for (size_t k = 0; k < times; k++)
        memcpy(text + k * bytes, word, bytes);
    text[bytes * times] = '\0';
    return text;
}

/* One step of each kind, repeated `count` times. 61 times "a" and 61 blanks may become 64 KiB plus 128 times their
 * length. */
static const struct growing {
    const char *part, *step, *word; /* %s in `step` is `word`, repeated `times` times */
    size_t times, count;
    const char *more, *says;
} growing[] = {
    {"normalizer", "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"%s\"}", "a", 100, 16, "",
     "normalizer: step 2 of 16, Replace, makes more than 81152 bytes of a text of 122"},
    {"normalizer", "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"x*\"},\"content\":\"%s\"}", "b", 2000, 1, "",
     "step 1 of 1, Replace,"},
    {"normalizer", "{\"type\":\"Prepend\",\"prepend\":\"%s\"}", "b", 90000, 1, "", "step 1 of 1, Prepend,"},
    {"normalizer", "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"^a\"},\"content\":\"%s\"}", "\xEF\xB7\xBA", 20000, 1,
     ",{\"type\":\"NFKC\"}", "step 2 of 2, NFKC,"},
    {"normalizer", "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"^a\"},\"content\":\"%s\"}", "\xEF\xB7\xBA", 20000, 1,
     ",{\"type\":\"NFKD\"}", "step 2 of 2, NFKD,"},
    {"normalizer", "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"^a\"},\"content\":\"%s\"}", "\xC4\xB0", 30000, 1,
     ",{\"type\":\"Lowercase\"}", "step 2 of 2, Lowercase,"},
    {"normalizer", "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"^a\"},\"content\":\"%s\"}", "\xF0\x9D\x85\xA0",
     10000, 1, ",{\"type\":\"NFC\"}", "step 2 of 2, NFC,"},
    {"normalizer", "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"^a\"},\"content\":\"%s\"}", "\xF0\x9D\x85\xA0",
     10000, 1, ",{\"type\":\"NFD\"}", "step 2 of 2, NFD,"},
    {"pre_tokenizer", "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}", "", 0, 16, "",
     "pre_tokenizer: step 11 of 16, ByteLevel,"},
};

static void expect_growth(const struct growing *g)
{
    char *const word = repeated(g->word, g->times), *const text = malloc(123);
    char *const json = malloc(g->count * (strlen(word) + 300) + 400);
    memset(text, 'a', 61);
    memset(text + 61, ' ', 61);
    size_t at = (size_t)sprintf(json, "{\"%s\":{\"type\":\"Sequence\",\"%s\":[", g->part,
                                strcmp(g->part, "normalizer") == 0 ? "normalizers" : "pretokenizers");
    for (size_t k = 0; k < g->count; k++) {
        at += (size_t)sprintf(json + at, "%s", k ? "," : "");
        at += (size_t)sprintf(json + at, g->step, word);
    }
    sprintf(json + at, "%s]},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}", g->more);
    organ_tokenizer *const tokenizer = tokenizer_good(tokenizer_model(json, strlen(json)));
    organ_error error = {0};
    uint32_t *ids;
    size_t count;
    ck_assert_int_eq(organ_tokenizer_encode(tokenizer, text, 122, true, &ids, &count, &error), ORGAN_BAD_INPUT);
    ck_assert_msg(strstr(error.message, g->says), "'%s' is not in '%s'", g->says, error.message);
    ck_assert_ptr_null(ids);
    organ_tokenizer_close(tokenizer);
    free(json);
    free(word);
    free(text);
}

START_TEST(steps_that_grow)
{
    for (size_t k = 0; k < COUNT(growing); k++)
        expect_growth(&growing[k]);
}
END_TEST

/* A long replacement of a blank; added tokens are normalised when the file is read, under one limit for all; less
 * memory lowers the limit. */
START_TEST(other_growth)
{
    char *const mark = repeated("b", 2000), *const json = malloc(10000);
    sprintf(json,
            WITH("\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"%s\",\"prepend_scheme\":\"never\"}"),
            mark);
    organ_tokenizer *tokenizer = NULL;
    organ_error error = {0};
    uint32_t *ids;
    size_t count;
    char *const blanks = repeated(" ", 61), *const many = repeated("a", 100000);
    if (tokenizer_at(tokenizer_model(json, strlen(json)), &tokenizer, &error) == ORGAN_OK)
        organ_tokenizer_encode(tokenizer, blanks, 61, true, &ids, &count, &error);
    ck_assert_int_eq(error.status, ORGAN_BAD_INPUT);
    ck_assert_msg(strstr(error.message, "Metaspace"), "%s", error.message);
    organ_tokenizer_close(tokenizer);
    sprintf(
        json,
        WITH(
            "\"added_tokens\":[{\"id\":1,\"content\":\"ab\",\"normalized\":true}],\"normalizer\":{\"type\":\"Replace\","
            "\"pattern\":{\"Regex\":\"b*\"},\"content\":\"%s\"}"),
        mark);
    tokenizer = tokenizer_good(tokenizer_model(json, strlen(json)));
    organ_tokenizer_allow(tokenizer, 1 << 20);
    error = (organ_error){0};
    ck_assert_int_eq(organ_tokenizer_encode(tokenizer, many, 100000, true, &ids, &count, &error), ORGAN_BAD_INPUT);
    ck_assert_msg(strstr(error.message, "makes more than 1665536 bytes of a text of 100000"), "%s", error.message);
    organ_tokenizer_close(tokenizer);
    /* Eight tokens of ten letters would become 160,000 bytes; 80 bytes may become 64 KiB plus 128 times 80, for all
     * tokens together. */
    size_t at = 0;
    for (unsigned k = 0; k < 8; k++)
        at += (size_t)sprintf(json + at, "%s{\"id\":%u,\"content\":\"aaaaaaaaa%c\",\"normalized\":true}",
                              k ? "," : "{\"added_tokens\":[", k + 1, 'b' + (int)k);
    sprintf(json + at,
            "],\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"%s\"},"
            "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}",
            mark);
    error = (organ_error){0};
    ck_assert_int_eq(tokenizer_at(tokenizer_model(json, strlen(json)), &tokenizer, &error), ORGAN_BAD_INPUT);
    ck_assert_msg(strstr(error.message, "Replace, makes more than 75776 bytes of a text of 80"), "%s", error.message);
    free(mark);
    free(json);
    free(blanks);
    free(many);
}
END_TEST

/* Only names with exactly two hexadecimal digits are bytes. */
START_TEST(names_of_bytes)
{
    static const char json[] = "{\"model\":{\"type\":\"BPE\",\"byte_fallback\":true,\"merges\":[],\"vocab\":"
                               "{\"<0x4A>\":0,\"<0x-6>\":1,\"<0x4a>\":2,\"<0x+9>\":3,\"<0x 9>\":4,\"<0x4g>\":5}}}";
    static const char *const pieces[] = {"J", "<0x-6>", "<0x4a>", "<0x+9>", "<0x 9>", "<0x4g>"};
    organ_tokenizer *tokenizer = tokenizer_good(tokenizer_model(json, strlen(json)));
    for (uint32_t k = 0; k < COUNT(pieces); k++) {
        size_t bytes;
        ck_assert_str_eq(organ_tokenizer_piece(tokenizer, k, &bytes), pieces[k]);
        ck_assert_uint_eq(bytes, strlen(pieces[k]));
    }
    organ_tokenizer_close(tokenizer);
}
END_TEST

/* Characters that no token contains have no ids if there is no unknown token. */
START_TEST(words_of_no_token)
{
    static const char json[] = BPE("{\"a\":0}", "[]");
    organ_tokenizer *tokenizer = tokenizer_good(tokenizer_model(json, strlen(json)));
    size_t count;
    uint32_t *ids = tokenizer_ids(tokenizer, "bcd bcd", 7, true, &count);
    ck_assert_uint_eq(count, 0);
    free(ids);
    ids = tokenizer_ids(tokenizer, "bcdabcd", 7, true, &count);
    ck_assert_uint_eq(count, 1);
    free(ids);
    organ_tokenizer_close(tokenizer);
}
END_TEST

/* The post_processor decides on BOS, add_bos_token does not; so does transformers 5. */
START_TEST(settings_beside)
{
#define SETTINGS(post)                                                                                                 \
    "{\"post_processor\":" post ",\"model\":{\"type\":\"BPE\",\"vocab\":{\"<s>\":0,\"a\":1},\"merges\":[]}}"
#define TEMPLATE                                                                                                       \
    "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},"                  \
    "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}]}"
    static const struct {
        const char *json, *config, *says;
        bool adds;
        int64_t bos;
    } rows[] = {
        {SETTINGS("null"), "{\"add_bos_token\":true,\"bos_token\":\"<s>\"}", NULL, false, 0},
        {SETTINGS(TEMPLATE), "{\"add_bos_token\":false,\"bos_token\":{\"content\":\"<s>\"}}", NULL, true, 0},
        {SETTINGS(TEMPLATE), "{\"bos_token\":\"a\"}", NULL, true, 0},
        {SETTINGS(TEMPLATE), "{}", NULL, true, 0},
        {SETTINGS(TEMPLATE), "{\"bos_token\":\"<s>\",\"tokenizer_class\":\"GPTNeoXTokenizer\"}", NULL, false, 0},
        {SETTINGS("{\"type\":\"Sequence\",\"processors\":[{\"type\":\"ByteLevel\"}," TEMPLATE "]}"), "{}", NULL, true,
         0},
        {SETTINGS("{\"type\":\"RobertaProcessing\",\"cls\":[\"<s>\",0],\"sep\":[\"a\",1]}"), "{}", NULL, true, 0},
        {SETTINGS("{\"type\":\"ByteLevel\"}"), "{\"bos_token\":null}", NULL, false, -1},
        {SETTINGS("{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<t>\"}}]}"), "{}",
         "'bos_token'", false, 0},
        {SETTINGS("null"), "{\"add_bos_token\":1}", "'add_bos_token' is neither", false, 0},
        {SETTINGS("null"), "[]", "it is not an object", false, 0}};
    for (size_t k = 0; k < COUNT(rows); k++) {
        const char *path = tokenizer_model(rows[k].json, strlen(rows[k].json));
        scratch_text("tokenizer_config.json", rows[k].config);
        if (rows[k].says) {
            expect_fault(path, rows[k].says, rows[k].config);
            continue;
        }
        organ_tokenizer *tokenizer = tokenizer_good(path);
        ck_assert_msg(organ_tokenizer_describe(tokenizer)->adds_bos == rows[k].adds, "%s", rows[k].config);
        ck_assert_int_eq(organ_tokenizer_describe(tokenizer)->bos, rows[k].bos);
        organ_tokenizer_close(tokenizer);
    }
}
END_TEST

/* The ids are those of transformers 5.24 with the class PreTrainedTokenizerFast. */
START_TEST(tokens_beside)
{
    static const char json[] =
        "{\"added_tokens\":[{\"id\":4,\"content\":\"<e>\",\"special\":true,\"lstrip\":true}],\"model\":{"
        "\"type\":\"BPE\",\"vocab\":{\"<s>\":0,\"a\":1,\"b\":2,\" \":3},\"merges\":[]}}";
    static const struct {
        const char *file, *content, *text, *ids;
    } rows[] = {
        {"tokenizer_config.json", "{}", "a <e>b", " 1 4 2"},
        {"tokenizer_config.json", "{\"model_max_length\": 1000000000000000019884624838656 }", "a <e>b", " 1 4 2"},
        {"tokenizer_config.json",
         "{\"extra_special_tokens\":[\"<e>\\u0000a\",\"<e>\\u0000b\",\"<e>\\u0000a\",\"<q>\"]}", "<e>a<q>", " 4 1 7"},
        {"tokenizer_config.json",
         "{\"added_tokens_decoder\":{\"9\":{\"content\":\"<y>\",\"special\":true},\"8\":{\"content\":\"<x>\"}}}",
         "a<x>b<y>", " 1 5 2 6"},
        {"tokenizer_config.json", "{\"added_tokens_decoder\":{\"3\":{\"content\":\"<e>\",\"special\":true}}}", "a <e>b",
         " 1 3 4 2"},
        {"tokenizer_config.json", "{\"bos_token\":\"<s>\",\"pad_token\":\"<p>\"}", "<s>a<p>", " 0 1 5"},
        {"tokenizer_config.json",
         "{\"extra_special_tokens\":[\"<q>\"],\"image_token\":\"<i>\",\"pad_token\":\"<p>\","
         "\"additional_special_tokens\":[\"<n>\"]}",
         "<i>a<p><q><n>", " 6 1 5 7"},
        {"tokenizer_config.json",
         "{\"extra_special_tokens\":{\"video_token\":\"<v>\"},\"additional_special_tokens\":[\"<n>\"]}", "<v>a<n>",
         " 5 1 6"},
        {"special_tokens_map.json", "{\"eos_token\":{\"content\":\"<z>\"},\"bos_token\":\"<s>\"}", "<s>a<z>", " 0 1 5"},
        {"added_tokens.json", "{\"<k>\":9,\"<j>\":8}", "<j>a<k>", " 5 1 6"}};
    for (size_t k = 0; k < COUNT(rows); k++) {
        const char *path = tokenizer_model(json, sizeof json - 1);
        char ids[64] = "";
        size_t count, at = 0;
        scratch_text(rows[k].file, rows[k].content);
        organ_tokenizer *tokenizer = tokenizer_good(path);
        uint32_t *const made = tokenizer_ids(tokenizer, rows[k].text, strlen(rows[k].text), true, &count);
        for (size_t i = 0; i < count; i++)
            at += (size_t)snprintf(ids + at, sizeof ids - at, " %u", made[i]);
        ck_assert_msg(strcmp(ids, rows[k].ids) == 0, "%s:%s", rows[k].content, ids);
        free(made);
        organ_tokenizer_close(tokenizer);
        scratch_text(rows[k].file, "{}");
    }
    /* the older files count only without added_tokens_decoder */
    const char *path = tokenizer_model(json, sizeof json - 1);
    scratch_text("special_tokens_map.json", "{\"eos_token\":\"<z>\"}");
    scratch_text("added_tokens.json", "{\"<k>\":9}");
    scratch_text("tokenizer_config.json", "{\"added_tokens_decoder\":{}}");
    organ_tokenizer *tokenizer = tokenizer_good(path);
    ck_assert_uint_eq(organ_tokenizer_describe(tokenizer)->vocabulary, 5);
    organ_tokenizer_close(tokenizer);
}
END_TEST

/* ---- GGUF ---- */

#define STRING(key, text)          "s:" key " 4:8 s:" text " "
#define STRINGS(key, count, words) "s:" key " 4:9 4:8 8:" #count " " words " "
#define MODEL(text)                STRING("tokenizer.ggml.model", text)
#define PRE(text)                  STRING("tokenizer.ggml.pre", text)
#define TOKENS(count, words)       STRINGS("tokenizer.ggml.tokens", count, words)
#define MERGES(count, words)       STRINGS("tokenizer.ggml.merges", count, words)
#define SCORES(count, words)       "s:tokenizer.ggml.scores 4:9 4:6 8:" #count " " words " "
#define ARCH                       STRING("general.architecture", "x")

static const struct fault gguf_faults[] = {
    {HEAD(0, 2) ARCH MODEL("bert"), "'bert' is not supported"},
    {HEAD(0, 2) ARCH MODEL("gpt2"), "'tokenizer.ggml.pre' is missing"},
    {HEAD(0, 3) ARCH MODEL("gpt2") PRE("klingon"), "'klingon' is not supported"},
    {HEAD(0, 3) ARCH MODEL("gpt2") PRE("qwen2"), "'tokenizer.ggml.tokens' is missing"},
    {HEAD(0, 4) ARCH MODEL("gpt2") PRE("qwen2") TOKENS(1, "s:a"), "'tokenizer.ggml.merges' is missing"},
    {HEAD(0, 5) ARCH MODEL("gpt2") PRE("qwen2") TOKENS(1, "x:0100000000000000ff") MERGES(1, "s:a"),
     "string 0 is not valid UTF-8"},
    {HEAD(0, 5) ARCH MODEL("gpt2") PRE("qwen2") TOKENS(1, "s:a") MERGES(1, "s:a"), "not two words"},
    {HEAD(0, 5) ARCH MODEL("gpt2") PRE("qwen2") TOKENS(1, "s:a") MERGES(1, "x:0300000000000000612061"),
     "not in the vocabulary"},
    {HEAD(0, 5) ARCH MODEL("gpt2") PRE("qwen2") TOKENS(1, "s:a") MERGES(1, "8:0"), "not two words"},
    {HEAD(0, 3) ARCH MODEL("gemma4") TOKENS(1, "s:a"), "'tokenizer.ggml.merges' is missing"},
    {HEAD(0, 5) ARCH MODEL("gemma4") TOKENS(2, "s:a s:aa")
         MERGES(1, "x:0300000000000000612061") "s:tokenizer.ggml.unknown_token_id 4:4 4:9 ",
     "neither '<0x00>'"},
    {HEAD(0, 3) ARCH MODEL("llama") TOKENS(1, "s:a"), "'tokenizer.ggml.scores' is missing"},
    {HEAD(0, 4) ARCH MODEL("llama") TOKENS(1, "s:a") SCORES(2, "4:0 4:0"), "has 2 values for 1 tokens"},
    {HEAD(0, 4) ARCH MODEL("llama") TOKENS(1, "s:a") SCORES(1, "x:0000c07f"), "value 0 is not a number"},
    {HEAD(0, 5) ARCH MODEL("llama") TOKENS(1, "s:a") SCORES(1, "4:0") "s:tokenizer.ggml.bos_token_id 4:4 4:7 ",
     "'tokenizer.ggml.bos_token_id' is 7"},
    {HEAD(0, 5) ARCH MODEL("llama") TOKENS(1, "s:a") SCORES(1, "4:0") "s:tokenizer.ggml.unknown_token_id 4:4 4:9 ",
     "neither '<0x00>'"},
};

START_TEST(malformed_metadata)
{
    for (size_t k = 0; k < COUNT(gguf_faults); k++) {
        gguf_file("model.gguf", gguf_faults[k].json);
        expect_fault(scratch_path("model.gguf"), gguf_faults[k].says, gguf_faults[k].json);
    }
}
END_TEST

/* U+2581 stands for a blank. "c" is part of a token but no token itself: it can be merged, and becomes the unknown
 * token otherwise. */
START_TEST(scores_decide)
{
    static const struct {
        const char *text;
        uint32_t ids[8];
        size_t count;
    } rows[] = {{"ab", {7, 3}, 2},     /* _a b: the score of _a is higher than that of ab */
                {"bab", {1, 3, 4}, 3}, /* _ b ab */
                {"bc", {1, 5}, 2},     {"c", {1, 0}, 2}, {"a<s>a", {7, 6, 7}, 3}, {"", {0}, 0}};
    gguf_file("model.gguf",
              HEAD(0, 5) ARCH MODEL("llama")
                  TOKENS(8, "s:<unk> x:0300000000000000e29681 s:a s:b s:ab s:bc s:<s> x:0400000000000000e2968161")
                      SCORES(8, "4:0 4:0 4:0 4:0 x:000000c0 x:000000c0 4:0 x:000080bf") "s:tokenizer.ggml.token_type "
                                                                                        "4:9 4:5 8:8 4:2 4:1 "
                                                                                        "4:1 4:1 4:1 4:1 4:3 4:1 ");
    organ_tokenizer *tokenizer = tokenizer_good(scratch_path("model.gguf"));
    ck_assert_uint_eq(organ_tokenizer_describe(tokenizer)->vocabulary, 8);
    for (size_t k = 0; k < COUNT(rows); k++) {
        size_t count;
        uint32_t *ids = tokenizer_ids(tokenizer, rows[k].text, strlen(rows[k].text), true, &count);
        ck_assert_msg(count == rows[k].count, "'%s': %zu ids", rows[k].text, count);
        for (size_t i = 0; i < count; i++)
            ck_assert_msg(ids[i] == rows[k].ids[i], "'%s': id %zu is %u", rows[k].text, i, ids[i]);
        free(ids);
    }
    size_t bytes;
    ck_assert_str_eq(organ_tokenizer_piece(tokenizer, 7, &bytes), " a");
    ck_assert_uint_eq(bytes, 2);
    ck_assert_str_eq(organ_tokenizer_piece(tokenizer, 8, &bytes), "");
    organ_tokenizer_close(tokenizer);
}
END_TEST

Suite *tokenizer_fault_suite(void)
{
    const suite_case cases[] = {
        {"documents",
         {malformed_documents, deep_and_strange_documents, names_of_bytes, words_of_no_token, settings_beside,
          tokens_beside}},
        {"growth", {steps_that_grow, other_growth}},
        {"metadata", {malformed_metadata, scores_decide}},
    };
    return suite_of("tokenizer faults", cases, COUNT(cases), scratch_begin, scratch_end);
}
