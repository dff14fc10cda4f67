/* SPDX-License-Identifier: MIT
 * Tests of orchestrator/output/model_card.c: what of a donor's card is kept, and cards that cannot be edited. */
#include "orchestrator/output/model_card.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const json_t *names(const char *text) { return json_loads(text, 0, NULL); }

static organ_card card_of(const char *base)
{
    return (organ_card){.name = "Tiny",
                        .own_name = "Tiny-quantized",
                        .base = names(base),
                        .relation = "quantized",
                        .tags = names("[\"quantized\", \"2:4\"]"),
                        .library = "transformers",
                        .task = "text-generation",
                        .made = "`organ quantize` has made this model."};
}

static void expect(const char *donor, organ_card card, const char *requested)
{
    char why[ORGAN_CARD_WHY];
    organ_error error = {0};
    char *const text = organ_card_text(donor, donor ? strlen(donor) : 0, &card, why, &error);
    ck_assert_msg(text != NULL, "%s%s", why, error.message);
    ck_assert_str_eq(text, requested);
    free(text);
    json_decref((json_t *)card.base);
    json_decref((json_t *)card.tags);
}

#define OURS                                                                                                           \
    "base_model: \"O/Tiny\"\nbase_model_relation: quantized\ntags:\n- \"quantized\"\n- \"2:4\"\n"                      \
    "library_name: \"transformers\"\npipeline_tag: text-generation\n"

START_TEST(cards_get_members)
{
    static const char *const rows[][2] = {
        {NULL, "---\n" OURS "---\n\n# Tiny\n\n`organ quantize` has made this model.\n"},
        {"# Card\n\n---\n", "---\n" OURS "---\n\n# Card\n\n---\n"},
        {"", "---\n" OURS "---\n\n"},
        {"---\n---\ntext", "---\n" OURS "---\ntext"},
        {"---\n# a remark\n\n---", "---\n# a remark\n\n" OURS "---\n"},
        {"---\nlicense: other # own\nlicense_name: n\nlicense_link: LICENSE\nlanguage:\n- en\n---\n\nA\n---\nB\n",
         "---\nlicense: other # own\nlicense_name: n\nlicense_link: LICENSE\nlanguage:\n- en\n" OURS
         "---\n\nA\n---\nB\n"},
        /* replaced members, with the lines that belong to them */
        {"---\nbase_model:\n- A/B\n- C/D\nbase_model_relation: merge\nmodel-index:\n- name: x\n  results: []\n# "
         "kept\n---\n",
         "---\n# kept\n" OURS "---\n"},
        {"---\nextra: |\n  tags:\n  - no\n\"license\": mit\n---\n",
         "---\nextra: |\n  tags:\n  - no\n\"license\": mit\n" OURS "---\n"},
        /* the text that organ wrote for an earlier step */
        {"---\nlicense: mit\n---\n\n# Tiny\n\n`organ prune` has made this model.\n",
         "---\nlicense: mit\n" OURS "---\n\n# Tiny\n\n`organ quantize` has made this model.\n"},
    };
    for (size_t k = 0; k < COUNT(rows); k++)
        expect(rows[k][0], card_of("[\"O/Tiny\"]"), rows[k][1]);
}
END_TEST

START_TEST(members_of_the_donor_win)
{
    expect("---\r\ntags: [chat, 'quantized']\r\nlibrary_name: vllm\r\npipeline_tag: image-text-to-text\r\n---\r\nB\r\n",
           card_of("[\"O/A\", \"O/B\"]"),
           "---\nlibrary_name: vllm\r\npipeline_tag: image-text-to-text\r\nbase_model:\n- \"O/A\"\n- \"O/B\"\n"
           "base_model_relation: quantized\ntags:\n- \"chat\"\n- \"quantized\"\n- \"2:4\"\n---\nB\r\n");
    /* without a name at the hub the donor's base_model stays; of an output of organ its relation is new */
    organ_card card = card_of("[]");
    expect("---\nbase_model: A/B\nbase_model_relation: finetune\ntags: chat\n---\n", card,
           "---\nbase_model: A/B\nbase_model_relation: finetune\ntags:\n- \"chat\"\n- \"quantized\"\n- \"2:4\"\n"
           "library_name: \"transformers\"\npipeline_tag: text-generation\n---\n");
    card = card_of("[]");
    card.inherits = card.other_library = true;
    card.library = "mlx";
    expect("---\nbase_model: A/B\nbase_model_relation: finetune\nlibrary_name: transformers\n---\n", card,
           "---\nbase_model: A/B\nbase_model_relation: quantized\ntags:\n- \"quantized\"\n- \"2:4\"\n"
           "library_name: \"mlx\"\npipeline_tag: text-generation\n---\n");
}
END_TEST

START_TEST(malformed_cards_are_left_alone)
{
    static char deep[2000], long_card[(1 << 20) + 100];
    static const char *const rows[][2] = {
        {"---\nlicense: mit\n", "no later line is"},
        {"---", "no later line is"},
        {"---\nlicense: [mit\n---\n", "line 2"},
        {"---\nlicense: \"mit\n---\n", "line"},
        {"---\n\tlicense: mit\n---\n", "line 1"},
        {"---\na: 1\na: 2\n---\n", "line 2: key 'a' is in line 1 already"},
        {"---\n- a\n---\n", "has no members"},
        {"---\ntext\n---\n", "has no members"},
        {"---\n{license: mit, tags: [a]}\n---\n", "do not begin a line"},
        {"---\n  license: mit\n  tags: a\n---\n", "do not begin a line"},
        {"---\n? license\n: mit\n---\n", "do not begin a line"},
        {"---\na: *b\n---\n", "alias 'b' has no anchor"},
        {"---\na: &b [*b]\n---\n", "within its own anchor"},
        {"---\na: !!python/object:os.system x\n---\n", "line 1"},
        {"---\nlicense: m\xfft\n---\n", "not UTF-8"},
        {"---\nlicense: m\x01t\n---\n", "control characters"},
        {deep, "line"},
        {long_card, ""},
    };
    strcpy(deep, "---\na: ");
    memset(deep + strlen(deep), '[', 1000);
    strcat(deep, "\n---\n");
    strcpy(long_card, "---\na: ");
    memset(long_card + strlen(long_card), 'x', 1 << 20);
    strcat(long_card, "\n---\n");
    for (size_t k = 0; k < COUNT(rows); k++) {
        const organ_card card = card_of("[\"O/Tiny\"]");
        char why[ORGAN_CARD_WHY];
        organ_error error = {0};
        ck_assert_ptr_null(organ_card_text(rows[k][0], strlen(rows[k][0]), &card, why, &error));
        ck_assert_int_eq(error.status, ORGAN_OK);
        ck_assert_msg(*why && strstr(why, rows[k][1]), "row %zu: %s", k, why);
        json_decref((json_t *)card.base);
        json_decref((json_t *)card.tags);
    }
    organ_card card = card_of("[]");
    organ_error error = {0};
    char why[ORGAN_CARD_WHY];
    ck_assert_ptr_null(organ_card_text("---\0\n---\n", 9, &card, why, &error)); /* a NUL */
    ck_assert_ptr_nonnull(strstr(why, "not UTF-8"));
    json_decref((json_t *)card.base);
    json_decref((json_t *)card.tags);
}
END_TEST

START_TEST(names_at_the_hub)
{
    static const char *const good[] = {"Qwen/Qwen3-30B-A3B", "a/b", "o_1/x.y-z"};
    static const char *const bad[] = {
        "", "a", "/a/b", "a/", "a/b/c", "./a", "../a", "a b/c", "out/checkpoint-500", "C:\\a/b"};
    for (size_t k = 0; k < COUNT(good); k++)
        ck_assert_msg(organ_card_is_hub_name(good[k]), "%s", good[k]);
    for (size_t k = 0; k < COUNT(bad); k++)
        ck_assert_msg(!organ_card_is_hub_name(bad[k]), "%s", bad[k]);
}
END_TEST

int main(void)
{
    Suite *const suite = suite_create("model_card");
    TCase *const cases = tcase_create("cards");
    tcase_add_test(cases, cards_get_members);
    tcase_add_test(cases, members_of_the_donor_win);
    tcase_add_test(cases, malformed_cards_are_left_alone);
    tcase_add_test(cases, names_at_the_hub);
    suite_add_tcase(suite, cases);
    SRunner *const runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
