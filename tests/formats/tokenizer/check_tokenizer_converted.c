/* SPDX-License-Identifier: MIT
 * Tests of tokenizers that are converted between tokenizer.json and GGUF: variants of the fixtures, which either get
 * the same ids or are refused with the first text that would get others. */
#include "tests/formats/tokenizer/check_tokenizer.h"
#include "tests/kit/gguf_maker.h"
#include "tests/kit/scratch_model.h"
#include "tests/kit/suite_table.h"

#include "formats/tokenizer/tokenizer_files.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array)         (sizeof(array) / sizeof *(array))
#define KEY(name)            "s:tokenizer.ggml." name " "
#define TEXT_KEY(name, text) KEY(name) "4:8 s:" text " "

enum { ROWS = 4096 }; /* rows of the embedding */

/* Parts of tokenizer.json. */
#define BYTES       "{'type':'ByteLevel','add_prefix_space':false,'trim_offsets':true,'use_regex':true}"
#define META(rules) "{'type':'Metaspace','replacement':'\u2581'," rules "}"
#define TO_MARKS    "{'type':'Replace','pattern':{'String':' '},'content':'\u2581'}"
#define PREPEND     "{'type':'Prepend','prepend':'\u2581'}"
#define ADD(text, rules)                                                                                               \
    "{'added':{'id':3000,'content':'" text "','single_word':false,'lstrip':false,'rstrip':false,'normalized':false,"   \
    "'special':false" rules "}}"
#define LLAMA2(step) "{'normalizer':{'type':'Sequence','normalizers':[" PREPEND "," TO_MARKS "," step "]}}"

/* A fixture with some members replaced. */
static const struct variant {
    const char *fixture;
    const char *change; /* JSON with ' for ": members of the document to replace; those of "model" are merged; "added"
                         * is appended to added_tokens; "merges": "reversed" */
    bool accepted;
} variants[] = {
    {"gpt2", "{}", true},
    {"gpt2", "{'normalizer':{'type':'NFC'}}", true},
    {"gpt2", "{'merges':'reversed'}", true},
    {"gpt2", "{'pre_tokenizer':null}", false},
    {"gpt2", "{'pre_tokenizer':{'type':'Punctuation','behavior':'Isolated'}}", false},
    {"llama3", "{'pre_tokenizer':{'type':'Digits','individual_digits':true}}", false},
    {"qwen2", "{'pre_tokenizer':" META("'prepend_scheme':'always','split':true") "}", false},
    {"smollm", ADD("<foo>", ""), true},
    {"smollm", ADD("<foo>", ",'lstrip':true"), false},
    {"smollm", ADD("foo", ",'single_word':true"), false},
    {"llama2", "{}", true},
    {"llama2", LLAMA2("{'type':'Lowercase'}"), false},
    {"llama2", LLAMA2("{'type':'NFKC'}"), false},
    {"llama2", "{'normalizer':" TO_MARKS "}", true},
    {"llama2", "{'normalizer':null,'pre_tokenizer':" META("'prepend_scheme':'never','split':false") "}", true},
    {"llama2", "{'normalizer':null,'pre_tokenizer':" META("'prepend_scheme':'first','split':false") "}", false},
    {"llama2", "{'normalizer':null,'pre_tokenizer':" META("'prepend_scheme':'always','split':false") "}", false},
    {"llama2", "{'normalizer':null}", false},
    {"llama2", "{'pre_tokenizer':{'type':'Digits','individual_digits':true}}", false},
    {"llama2", "{'model':{'byte_fallback':false}}", false},
    {"llama2", "{'merges':'reversed'}", false},
    {"llama2", ADD("  ", ""), true},
    {"mistral", "{}", false},
    {"odd", "{}", false},
    {"gemma4", "{}", true},
    {"gemma4", "{'pre_tokenizer':" BYTES "}", false},
};

/* Returns the JSON text of the variant, to be freed. */
static char *variant_text(const struct variant *v)
{
    char path[100], *change = strdup(v->change);
    size_t bytes;
    json_t *value;
    const char *name;
    snprintf(path, sizeof path, "fixtures/tokenizers/%s.json", v->fixture);
    char *const text = tokenizer_load(path, &bytes);
    for (char *c = change; *c; c++)
        *c = *c == '\'' ? '"' : *c;
    json_t *const document = json_loadb(text, bytes, 0, NULL), *const changes = json_loads(change, 0, NULL),
                  *const model = json_object_get(document, "model");
    ck_assert_msg(document && changes, "%s: %s", v->fixture, change);
    json_object_foreach(changes, name, value)
    {
        json_t *const merges = json_object_get(model, "merges"), *const reversed = json_array();
        if (strcmp(name, "model") == 0)
            json_object_update(model, value);
        else if (strcmp(name, "added") == 0)
            json_array_append(json_object_get(document, "added_tokens"), value);
        else if (strcmp(name, "merges") != 0)
            json_object_set(document, name, value);
        else {
            for (size_t k = json_array_size(merges); k-- > 0;)
                json_array_append(reversed, json_array_get(merges, k));
            json_object_set(model, "merges", reversed);
        }
        json_decref(reversed);
    }
    char *const made = json_dumps(document, 0);
    json_decref(changes);
    json_decref(document);
    free(change);
    free(text);
    return made;
}

organ_status tokenizer_to_gguf(const char *path, const char *architecture, const char *pre, uint64_t rows,
                               organ_tokenizer_difference *difference, organ_error *error)
{
    organ_gguf_writer *writer;
    organ_model *model;
    organ_gguf_layout layout;
    const organ_tokenizer_gguf_options options = {.vocabulary = rows, .pre = pre, .architecture = architecture};
    ck_assert_int_eq(organ_model_open(path, &model, error), ORGAN_OK);
    ck_assert_int_eq(organ_gguf_writer_create(&writer, error), ORGAN_OK);
    organ_gguf_writer_set_string(writer, "general.architecture", architecture, strlen(architecture), error);
    if (organ_tokenizer_to_gguf(model, &options, writer, difference, error) == ORGAN_OK) {
        ck_assert_int_eq(organ_gguf_writer_finish(writer, &layout, error), ORGAN_OK);
        scratch_file("made.gguf", layout.bytes, layout.size);
    }
    organ_gguf_writer_destroy(writer);
    organ_model_close(model);
    return error->status;
}

/* Writes the tokenizer of a GGUF file of the scratch directory to tokenizer.json there, if it has this form. */
static organ_status to_json(const char *name, organ_error *error)
{
    organ_model *model;
    char *json, *config;
    ck_assert_int_eq(organ_model_open(scratch_path(name), &model, error), ORGAN_OK);
    organ_tokenizer_difference by_class;
    if (organ_tokenizer_to_json(model, "{}", &json, &config, &by_class, error) == ORGAN_OK)
        tokenizer_model(json, strlen(json));
    free(json);
    free(config);
    organ_model_close(model);
    return error->status;
}

/* Checks that the ids of the text are those of `before`. `what` names the row. */
static void check_ids(const char *path, const char *what, const char *text, size_t bytes, const uint32_t *before,
                      size_t count)
{
    size_t made;
    organ_tokenizer *const tokenizer = tokenizer_good(path);
    uint32_t *const ids = tokenizer_ids(tokenizer, text, bytes, true, &made);
    for (size_t k = 0; k < count && k < made; k++)
        ck_assert_msg(ids[k] == before[k], "%s: id %zu is %u, not %u", what, k, ids[k], before[k]);
    ck_assert_msg(made == count, "%s: %zu ids, not %zu", what, made, count);
    free(ids);
    organ_tokenizer_close(tokenizer);
}

/* Converts a variant to GGUF and, if that is accepted, back; compares the ids of the text. */
static void check_variant(const struct variant *v, const char *text, size_t bytes)
{
    organ_tokenizer_difference difference;
    organ_error error = {0}, back = {0};
    size_t count;
    char what[300], *const json = variant_text(v);
    const char *const architecture = strcmp(v->fixture, "gemma4") == 0 ? "gemma4" : "llama";
    snprintf(what, sizeof what, "%s %s", v->fixture, v->change);
    organ_tokenizer *const before = tokenizer_good(tokenizer_model(json, strlen(json)));
    uint32_t *const ids = tokenizer_ids(before, text, bytes, true, &count);
    const organ_status status = tokenizer_to_gguf(scratch_path(""), architecture, NULL, ROWS, &difference, &error);
    ck_assert_msg(status == (v->accepted ? ORGAN_OK : ORGAN_BAD_INPUT), "%s: status %d: %s", what, status,
                  error.message);
    if (v->accepted) {
        ck_assert(!difference.found);
        check_ids(scratch_path("made.gguf"), what, text, bytes, ids, count);
        ck_assert_msg(to_json("made.gguf", &back) == ORGAN_OK, "%s: %s", what, back.message);
        check_ids(scratch_path(""), what, text, bytes, ids, count);
    } else {
        ck_assert_msg(strstr(error.message, "tokenizer.json has no form in GGUF: the text '") ||
                          strstr(error.message, "no known value of tokenizer.ggml.pre"),
                      "%s: %s", what, error.message);
    }
    free(ids);
    organ_tokenizer_close(before);
    free(json);
}

START_TEST(variants_get_the_same_ids_or_are_refused)
{
    size_t bytes;
    char *const text = tokenizer_hard_text(&bytes);
    for (size_t k = 0; k < COUNT(variants); k++)
        check_variant(&variants[k], text + bytes / 2, bytes - bytes / 2);
    free(text);
}
END_TEST

START_TEST(a_chosen_name_is_written_with_the_difference)
{
    static const struct variant lower = {"gpt2", "{'normalizer':{'type':'Lowercase'}}", false};
    organ_tokenizer_difference difference;
    organ_error error = {0};
    char *const json = variant_text(&lower);
    tokenizer_model(json, strlen(json));
    ck_assert_int_eq(tokenizer_to_gguf(scratch_path(""), "gpt2", "gpt-2", ROWS, &difference, &error), ORGAN_OK);
    ck_assert_msg(difference.found && strstr(difference.text, "the text 'It's"), "%s", difference.text);
    ck_assert_int_eq(tokenizer_to_gguf(scratch_path(""), "gpt2", "gpt-9", ROWS, &difference, &error), ORGAN_OK);
    ck_assert_msg(strstr(difference.text, "key 'tokenizer.ggml.pre': 'gpt-9' is not supported"), "%s", difference.text);
    free(json);
}
END_TEST

/* Writes a GGUF file with a SentencePiece vocabulary: the unknown token, all byte tokens, "a", "b", the mark, blanks as
 * user-defined tokens of two and of three, and as token 262 `last`. No token is a single blank, as in Gemma 3. */
static void write_pieces(const char *last)
{
    enum { BYTES_BEFORE = 257, TOKENS = 263 };
    size_t bytes;
    char *words = NULL;
    FILE *const to = open_memstream(&words, &bytes);
    fprintf(to, HEAD(0, 6) "s:general.architecture 4:8 s:llama " TEXT_KEY("model", "llama") KEY("tokens"));
    fprintf(to, "4:9 4:8 8:%d s:<unk> ", TOKENS);
    for (unsigned byte = 0; byte < 256; byte++)
        fprintf(to, "s:<0x%02X> ", byte);
    fprintf(to, "s:a s:b x:0300000000000000e29681 x:02000000000000002020 x:0300000000000000202020 s:%s ", last);
    fprintf(to, KEY("scores") "4:9 4:6 8:%d ", TOKENS);
    for (unsigned k = 0; k < TOKENS; k++)
        fprintf(to, "4:0 ");
    fprintf(to, KEY("token_type") "4:9 4:5 8:%d 4:2 ", TOKENS);
    for (unsigned k = 1; k < BYTES_BEFORE; k++)
        fprintf(to, "4:6 ");
    fprintf(to, "4:1 4:1 4:1 4:4 4:4 4:1 " KEY("add_space_prefix") "4:7 1:0 ");
    fclose(to);
    gguf_file("made.gguf", words);
    free(words);
}

/* In Gemma 3 the user-defined tokens of blanks are joined texts of each other, and no token is a single blank. */
START_TEST(user_defined_blanks_have_no_merges)
{
    static const char text[] = "a  b   a    ab";
    static const uint32_t ids[] = {257, 260, 258, 261, 257, 261, 259, 262};
    organ_error error = {0};
    write_pieces("ab");
    check_ids(scratch_path("made.gguf"), "GGUF", text, strlen(text), ids, COUNT(ids));
    ck_assert_msg(to_json("made.gguf", &error) == ORGAN_OK, "%s", error.message);
    check_ids(scratch_path(""), "tokenizer.json", text, strlen(text), ids, COUNT(ids));
}
END_TEST

/* SentencePiece never makes a byte token from the characters of its name, here "<" and the token "0x41>". */
START_TEST(names_of_bytes_are_not_bytes)
{
    static const struct variant llama2 = {"llama2", "{}", true};
    check_variant(&llama2, "<0x41>", 6);
}
END_TEST

/* The token "ac" is made of "a" and a character that is no token: merges of tokenizer.json cannot do that. */
START_TEST(merges_of_characters_without_token_are_refused)
{
    organ_error error = {0};
    write_pieces("ac");
    ck_assert_int_eq(to_json("made.gguf", &error), ORGAN_BAD_INPUT);
    ck_assert_msg(strstr(error.message, "the tokenizer has no form in tokenizer.json: the text "), "%s", error.message);
    ck_assert_msg(strstr(error.message, "262 'ac', but ") || strstr(error.message, "262 'ac' "), "%s", error.message);
}
END_TEST

/* The package tokenizers merges the neighbours of a character that it drops. */
START_TEST(dropped_characters_do_not_separate)
{
    static const char json[] = "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"c\":3},"
                               "\"merges\":[[\"a\",\"b\"]]}}";
    static const uint32_t ids[] = {2, 3, 0, 3, 2};
    tokenizer_model(json, strlen(json));
    check_ids(scratch_path(""), "a dropped blank", "a bcac  a\xc3\xa9 b", 13, ids, COUNT(ids));
}
END_TEST

Suite *tokenizer_converted_suite(void)
{
    const suite_case cases[] = {
        {"variants", {variants_get_the_same_ids_or_are_refused, a_chosen_name_is_written_with_the_difference}},
        {"pieces",
         {user_defined_blanks_have_no_merges, names_of_bytes_are_not_bytes,
          merges_of_characters_without_token_are_refused, dropped_characters_do_not_separate}},
    };
    return suite_of("tokenizers that are converted", cases, COUNT(cases), scratch_begin, scratch_end);
}
