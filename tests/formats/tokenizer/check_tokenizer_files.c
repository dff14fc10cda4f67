/* SPDX-License-Identifier: MIT
 * Tests of the files of tokenizers that have only kept tokens: a text that is kept has the same tokens, with their new
 * ids, from tokenizer.json and from key-values of GGUF. */
#include "formats/tokenizer/kept_tokens.h"
#include "formats/tokenizer/tokenizer_parts.h"
#include "tests/formats/tokenizer/check_tokenizer.h"
#include "tests/kit/scratch_model.h"
#include "tests/kit/suite_table.h"

#include <stdlib.h>
#include <string.h>

#define COUNT(list) (sizeof(list) / sizeof *(list))

static const char *const kinds[] = {"gpt2",   "qwen2", "llama2", "llama3", "mistral", "roberta",
                                    "smollm", "odd",   "spaced", "steps",  "wide",    "gemma4"};
enum { PART = 150 << 10 };

typedef struct file_rig {
    organ_model *model;
    organ_tokenizer *whole;
    organ_kept_tokens kept;
    char *text;
    uint32_t *ids, *new_ids;
    size_t count;
} file_rig;

static file_rig rig_open(const char *path)
{
    file_rig r = {.text = tokenizer_mixed_text()};
    organ_error error = {0};
    ck_assert_msg(organ_model_open(path, &r.model, &error) == ORGAN_OK, "%s", error.message);
    ck_assert_msg(organ_tokenizer_open(r.model, &r.whole, &error) == ORGAN_OK, "%s", error.message);
    ck_assert_int_eq(organ_kept_begin(&r.kept, r.whole, &error), ORGAN_OK);
    r.ids = tokenizer_ids(r.whole, r.text, PART, true, &r.count);
    ck_assert_int_eq(organ_kept_use(&r.kept, r.ids, r.count, &error), ORGAN_OK);
    ck_assert_msg(organ_kept_named(&r.kept, r.model, &error) == ORGAN_OK, "%s", error.message);
    r.new_ids = organ_kept_new_ids(&r.kept, &error);
    return r;
}

static void rig_close(file_rig *r)
{
    organ_kept_release(&r->kept);
    organ_tokenizer_close(r->whole);
    organ_model_close(r->model);
    free(r->text), free(r->ids), free(r->new_ids);
}

static const char *fixture(const char *kind)
{
    char path[128];
    size_t bytes;
    snprintf(path, sizeof path, "fixtures/tokenizers/%s.json", kind);
    char *const json = tokenizer_load(path, &bytes);
    const char *const model = tokenizer_model(json, bytes);
    free(json);
    return model;
}

static void check_made(const file_rig *r, const char *kind, const char *path)
{
    organ_tokenizer *const made = tokenizer_good(path);
    size_t count, before, after;
    uint32_t *const ids = tokenizer_ids(made, r->text, PART, true, &count);
    ck_assert_uint_eq(made->facts.vocabulary, r->kept.count);
    ck_assert_msg(count == r->count, "%s: %zu tokens, not %zu", kind, count, r->count);
    for (size_t k = 0; k < count; k++)
        ck_assert_msg(ids[k] == r->new_ids[r->ids[k]], "%s: token %zu", kind, k);
    for (uint32_t id = 0; id < r->whole->facts.vocabulary; id++)
        if (r->kept.why[id]) {
            const char *const was = organ_tokenizer_text_of(r->whole, id, &before), *const is = organ_tokenizer_text_of(
                                                                                        made, r->new_ids[id], &after);
            ck_assert_msg(before == after && memcmp(was, is, before) == 0, "%s: id %u has another text", kind, id);
        }
    free(ids);
    organ_tokenizer_close(made);
}

START_TEST(files_of_kept_tokens)
{
    const char *const kind = kinds[_i];
    file_rig r = rig_open(fixture(kind));
    organ_error error = {0};
    char *text;
    ck_assert_msg(organ_kept_file(&r.kept, r.model, "tokenizer.json", &text, &error) == ORGAN_OK, "%s", error.message);
    check_made(&r, kind, tokenizer_model(text, strlen(text)));
    free(text);
    ck_assert_int_eq(organ_kept_file(&r.kept, r.model, "tokenizer_config.json", &text, &error), ORGAN_OK);
    ck_assert_ptr_null(text);
    rig_close(&r);
}
END_TEST

START_TEST(key_values_of_kept_tokens)
{
    static const char *const forms[] = {"gemma4", "smollm", "llama2"};
    const char *const form = forms[_i];
    organ_error error = {0};
    organ_tokenizer_difference difference = {0};
    if (_i) {
        const char *const path = fixture(form);
        ck_assert_msg(tokenizer_to_gguf(path, "llama", NULL, 4096, &difference, &error) == ORGAN_OK, "%s",
                      error.message);
    } else
        organ_tokenizer_close(tokenizer_gemma_gguf());
    file_rig r = rig_open(scratch_path(_i ? "made.gguf" : "model.gguf"));
    organ_gguf_writer *writer;
    organ_gguf_layout layout;
    ck_assert_int_eq(organ_gguf_writer_create(&writer, &error), ORGAN_OK);
    for (size_t k = 0; k < r.model->gguf->kv_count; k++)
        organ_gguf_writer_kv(writer, &r.model->gguf->kvs[k], &error);
    ck_assert_int_eq(organ_kept_gguf(&r.kept, r.model, writer, &error), ORGAN_OK);
    /* ids of special tokens are settings */
    static const char *const names[] = {"tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id",
                                        "tokenizer.ggml.unknown_token_id", "tokenizer.ggml.padding_token_id"};
    for (size_t k = 0; k < COUNT(names); k++) {
        const int64_t id = organ_gguf_integer(r.model->gguf, names[k], -1);
        if (id >= 0 && r.kept.why[id])
            organ_gguf_writer_set_integer(writer, names[k], ORGAN_GGUF_U32, r.new_ids[id], &error);
        else
            organ_gguf_writer_remove(writer, names[k]);
    }
    ck_assert_int_eq(organ_gguf_writer_finish(writer, &layout, &error), ORGAN_OK);
    scratch_file("kept.gguf", layout.bytes, layout.size);
    organ_gguf_writer_destroy(writer);
    check_made(&r, form, scratch_path("kept.gguf"));
    rig_close(&r);
}
END_TEST

/* ---- names of tokens ---- */

#define ADDED(id, text)                                                                                                \
    "{\"id\":" #id ",\"content\":\"" text                                                                              \
    "\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":true}"
static const char named[] =
    "{\"version\":\"1.0\",\"padding\":{\"strategy\":\"BatchLongest\",\"direction\":\"Right\",\"pad_id\":6,\"pad_type_"
    "id\":0,"
    "\"pad_token\":\"unused pad\"},\"added_tokens\":[" ADDED(5, "unused b") "," ADDED(6, "unused pad") "," ADDED(
        7, "unused rest") "],\"normalizer\":null,\"pre_tokenizer\":null,\"post_processor\":{\"type\":"
                          "\"TemplateProcessing\","
                          "\"single\":[{\"SpecialToken\":{\"id\":\"unused "
                          "b\",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],"
                          "\"pair\":[],\"special_tokens\":{\"unused b\":{\"id\":\"unused "
                          "b\",\"ids\":[5],\"tokens\":[\"unused b\"]}}},"
                          "\"decoder\":null,\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"ab\":3,"
                          "\"cc\":4},\"merges\":[\"a "
                          "b\",\"c c\"]}}";

START_TEST(named_tokens_stay)
{
    static const char expected[] =
        "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"unused b\","
        "\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"pair\":[],\"special_"
        "tokens\":{\"unused b\":{\"id\":\"unused b\",\"ids\":[4],\"tokens\":[\"unused b\"]}}}";
    organ_model *model;
    organ_tokenizer *whole;
    organ_kept_tokens kept;
    organ_error error = {0};
    size_t count;
    char *text;
    ck_assert_int_eq(organ_model_open(tokenizer_model(named, strlen(named)), &model, &error), ORGAN_OK);
    ck_assert_msg(organ_tokenizer_open(model, &whole, &error) == ORGAN_OK, "%s", error.message);
    ck_assert_int_eq(organ_kept_begin(&kept, whole, &error), ORGAN_OK);
    uint32_t *const ids = tokenizer_ids(whole, "ab", 2, true, &count);
    ck_assert_int_eq(organ_kept_use(&kept, ids, count, &error), ORGAN_OK);
    ck_assert_int_eq(organ_kept_named(&kept, model, &error), ORGAN_OK);
    ck_assert(kept.why[5] && kept.why[6] && !kept.why[7] && !kept.why[4] && kept.why[3]);
    ck_assert_uint_eq(kept.count, 6);
    ck_assert_int_eq(organ_kept_file(&kept, model, "tokenizer.json", &text, &error), ORGAN_OK);
    json_t *const root = json_loads(text, 0, NULL), *const post = json_loads(expected, 0, NULL);
    ck_assert(json_equal(json_object_get(root, "post_processor"), post));
    ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(root, "padding"), "pad_id")), 5);
    ck_assert_uint_eq(json_array_size(json_object_get(root, "added_tokens")), 2);
    ck_assert_uint_eq(json_array_size(json_object_get(json_object_get(root, "model"), "merges")), 1);
    json_decref(root), json_decref(post);
    free(text), free(ids);
    /* without organ_kept_named the post-processor names a token that goes */
    organ_kept_release(&kept);
    ck_assert_int_eq(organ_kept_begin(&kept, whole, &error), ORGAN_OK);
    ck_assert_int_eq(organ_kept_file(&kept, model, "tokenizer.json", &text, &error), ORGAN_BAD_INPUT);
    ck_assert_ptr_nonnull(strstr(error.message, "the post-processor names the token 5, which goes"));
    organ_kept_release(&kept);
    organ_tokenizer_close(whole);
    organ_model_close(model);
}
END_TEST

/* A tokenizer is a part of itself, and none of another one's. */
static void check_compared(const organ_tokenizer *t)
{
    organ_error error = {0};
    char fault[160];
    size_t merges;
    const uint32_t count = t->facts.vocabulary;
    uint32_t *const ids = malloc(count * sizeof *ids);
    for (uint32_t id = 0; id < count; id++)
        ids[id] = id;
    ck_assert_int_eq(organ_kept_compare(t, t, ids, count, &merges, fault, sizeof fault, &error), ORGAN_OK);
    ck_assert_msg(!*fault && merges > 0, "%s", fault);
    organ_kept_compare(t, t, ids, count - 1, &merges, fault, sizeof fault, &error);
    ck_assert_ptr_nonnull(strstr(fault, "tokens, not"));
    ids[3] = 4;
    organ_kept_compare(t, t, ids, count, &merges, fault, sizeof fault, &error);
    ck_assert_str_eq(fault, "token 3 is not token 4 of the donor");
    organ_tokenizer *const other = tokenizer_of_any_form("llama3");
    organ_kept_compare(t, other, ids, count, &merges, fault, sizeof fault, &error);
    ck_assert_ptr_nonnull(strstr(fault, "normalises or splits texts in another way"));
    organ_tokenizer_close(other);
    free(ids);
}

/* A list keeps its tokens alone, and fills keep the lowest ids. */
START_TEST(lists_and_fills)
{
    organ_tokenizer *const t = tokenizer_of_any_form("qwen2");
    organ_kept_tokens kept, listed;
    organ_error error = {0};
    char *const text = tokenizer_mixed_text();
    size_t count;
    uint32_t *const ids = tokenizer_ids(t, text, PART, true, &count);
    ck_assert_int_eq(organ_kept_begin(&kept, t, &error), ORGAN_OK);
    ck_assert_int_eq(organ_kept_use(&kept, ids, count, &error), ORGAN_OK);
    const uint32_t few = kept.count, more = few + 64 - few % 64;
    ck_assert_int_eq(organ_kept_fill(&kept, more, &error), ORGAN_OK);
    ck_assert_uint_eq(kept.count, more < t->facts.vocabulary ? more : t->facts.vocabulary);
    uint32_t *const all = organ_kept_ids(&kept, &error);
    ck_assert_int_eq(organ_kept_begin_list(&listed, t, all, kept.count, &error), ORGAN_OK);
    ck_assert_uint_eq(listed.count, kept.count);
    for (size_t slot = 0; slot < t->merge_slots; slot++)
        ck_assert(!kept.merges[slot] || listed.merges[slot]);
    organ_tokenizer *const cut = organ_kept_tokenizer(&listed, &error);
    size_t again;
    uint32_t *const same = tokenizer_ids(cut, text, PART, true, &again);
    ck_assert(again == count && memcmp(same, ids, count * sizeof *ids) == 0);
    organ_tokenizer_close(cut);
    check_compared(t);
    organ_kept_release(&kept);
    organ_kept_release(&listed);
    organ_tokenizer_close(t);
    free(text), free(ids), free(all), free(same);
}
END_TEST

Suite *tokenizer_files_suite(void)
{
    Suite *suite = suite_create("files of kept tokens");
    TCase *files = tcase_create("files");
    tcase_add_checked_fixture(files, scratch_begin, scratch_end);
    tcase_set_timeout(files, 120);
    tcase_add_loop_test(files, files_of_kept_tokens, 0, COUNT(kinds));
    tcase_add_loop_test(files, key_values_of_kept_tokens, 0, 3);
    tcase_add_test(files, named_tokens_stay);
    tcase_add_test(files, lists_and_fills);
    suite_add_tcase(suite, files);
    return suite;
}
