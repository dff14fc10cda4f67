/* SPDX-License-Identifier: MIT
 * Tests of the kinds and scripts of tokens, and of the tokens of chat templates. */
#include "formats/tokenizer/kept_tokens.h"
#include "formats/tokenizer/token_groups.h"
#include "formats/tokenizer/tokenizer_parts.h"
#include "tests/formats/tokenizer/check_tokenizer.h"
#include "tests/kit/scratch_model.h"
#include "tests/kit/suite_table.h"

#include <stdlib.h>
#include <string.h>

#define COUNT(list) (sizeof(list) / sizeof *(list))

/* Byte fallback, with tokens of every kind. "é" and the bytes of "<0xC3>" are tokens, other bytes are none. */
#define VOCABULARY                                                                                                     \
    "{\"<unk>\":0,\"<0xC3>\":1,\"\\u2581\":2,\"a\":3,\"\\u2581a\":4,\"7\":5,\"!\":6,\"\\u0416\":7,\"\\u6f22\":8,"      \
    "\"\\u304b\":9,\"\\ud55c\":10,\"\\u00e9\":11,\"\\u2581\\u2581\":12,\"a7\":13,\"<end>\":14,\"!7\":15,\"\\u0e01\":"  \
    "16}"
static const char tokenizer[] =
    "{\"version\":\"1.0\",\"added_tokens\":[{\"id\":14,\"content\":\"<end>\",\"special\":true}],\"normalizer\":{"
    "\"type\":"
    "\"Replace\",\"pattern\":{\"String\":\" "
    "\"},\"content\":\"\\u2581\"},\"pre_tokenizer\":null,\"post_processor\":null,"
    "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"\\u2581\"},"
    "\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"}]},\"model\":{\"type\":\"BPE\",\"unk_token\":"
    "\"<unk>\",\"byte_fallback\":true,\"fuse_unk\":true,\"vocab\":" VOCABULARY ",\"merges\":[[\"\\u2581\",\"a\"],"
    "[\"\\u2581\",\"\\u2581\"],[\"a\",\"7\"],[\"!\",\"7\"]]}}";

static const struct {
    unsigned kind;
    const char *script;
} expected[] = {{ORGAN_TOKEN_SYMBOL, "none"},   {ORGAN_TOKEN_BYTE, "none"},        {ORGAN_TOKEN_SPACE, "none"},
                {ORGAN_TOKEN_LETTERS, "Latin"}, {ORGAN_TOKEN_WORD, "Latin"},       {ORGAN_TOKEN_NUMBER, "none"},
                {ORGAN_TOKEN_SYMBOL, "none"},   {ORGAN_TOKEN_LETTERS, "Cyrillic"}, {ORGAN_TOKEN_LETTERS, "Han"},
                {ORGAN_TOKEN_LETTERS, "Kana"},  {ORGAN_TOKEN_LETTERS, "Hangul"},   {ORGAN_TOKEN_LETTERS, "Latin"},
                {ORGAN_TOKEN_SPACE, "none"},    {ORGAN_TOKEN_LETTERS, "Latin"},    {ORGAN_TOKEN_ADDED, "none"},
                {ORGAN_TOKEN_NUMBER, "none"},   {ORGAN_TOKEN_LETTERS, "Thai"}};

START_TEST(kinds_and_scripts_of_tokens)
{
    organ_tokenizer *const t = tokenizer_good(tokenizer_model(tokenizer, strlen(tokenizer)));
    organ_token_groups g;
    organ_error error = {0};
    ck_assert_int_eq(organ_token_groups_find(&g, t, &error), ORGAN_OK);
    ck_assert_uint_eq(g.count, COUNT(expected));
    for (uint32_t id = 1; id < g.count; id++) {
        ck_assert_msg(g.kinds[id] == expected[id].kind, "token %u is %s, not %s", id,
                      organ_token_kind_name(g.kinds[id]), organ_token_kind_name(expected[id].kind));
        ck_assert_str_eq(organ_token_script_name(g.scripts[id]), expected[id].script);
    }
    ck_assert_uint_eq(g.tokens, COUNT(expected));
    ck_assert_uint_eq(g.added, 1);
    ck_assert_uint_eq(g.merges, 4);
    ck_assert(!g.lacks['a'] && !g.lacks['7'] && !g.lacks['!'] && !g.lacks[0xC3] && g.lacks['b'] && g.lacks[0xC4]);
    ck_assert_uint_eq(g.lacking, 256 - 4);
    organ_token_groups_release(&g);
    organ_tokenizer_close(t);
}
END_TEST

/* Sums of the fixtures. */
static const struct {
    const char *name;
    unsigned lacking;
} kinds[] = {{"gpt2", 0}, {"qwen2", 0}, {"llama2", 0}, {"gemma4", 0}, {"tekken", 0}, {"kimi", 0}, {"gemma4-gguf", 0}};

START_TEST(groups_of_all_forms)
{
    organ_tokenizer *const t = tokenizer_of_any_form(kinds[_i].name);
    organ_token_groups g;
    organ_error error = {0};
    ck_assert_int_eq(organ_token_groups_find(&g, t, &error), ORGAN_OK);
    uint32_t tokens = 0;
    for (uint32_t id = 0; id < g.count; id++) {
        ck_assert_uint_lt(g.kinds[id], ORGAN_TOKEN_KINDS);
        ck_assert_uint_lt(g.scripts[id], organ_token_scripts());
        tokens += g.kinds[id] != ORGAN_TOKEN_NONE;
        const bool letters = g.kinds[id] == ORGAN_TOKEN_WORD || g.kinds[id] == ORGAN_TOKEN_LETTERS;
        ck_assert(letters == (g.scripts[id] != 0));
    }
    ck_assert_uint_eq(tokens, g.tokens);
    ck_assert_uint_eq(tokens + g.holes + g.unused, g.count);
    ck_assert_msg(g.lacking == kinds[_i].lacking, "%s lacks %u bytes", kinds[_i].name, g.lacking);
    organ_token_groups_release(&g);
    organ_tokenizer_close(t);
}
END_TEST

/* ---- chat templates ---- */

static const char template[] =
    "{#- not \"rendered\" -#}\n{%- if tools %}\n    {{- '<|im_start|>system\\n' }}\n    {{- \"# Tools\\n\\nCall one or "
    "more functions "
    "of these.\\n<tools>\" }}\n    {%- for tool in tools %}{{- \"\\n\" }}{{- tool | tojson }}{%- endfor %}\n    {{- "
    "\"\\n</tools><|im_end|>\\n\" }}\n{%- endif %}{%- for message in messages %}\n    {{- '<|im_start|>' + "
    "message.role "
    "+ '\\n' + message.content + '<|im_end|>' + '\\n' }}\n{%- endfor %}\nplain text at last {{ eos_token }}";

static const char *const rendered[] = {"<|im_start|>system\n# Tools\n\nCall one or more functions of these.\n<tools>",
                                       "\n</tools><|im_end|>\n",
                                       "<|im_start|>user\n",
                                       "<|im_start|>assistant\n",
                                       "<|im_start|>system\n",
                                       "<|im_end|>\n",
                                       "plain text at last"};

static void check_rendered(const organ_tokenizer *whole, const organ_kept_tokens *kept)
{
    organ_error error = {0};
    organ_tokenizer *const cut = organ_kept_tokenizer(kept, &error);
    for (size_t k = 0; k < COUNT(rendered); k++) {
        size_t before, after;
        uint32_t *const a = tokenizer_ids(whole, rendered[k], strlen(rendered[k]), true, &before),
                        *const b = tokenizer_ids(cut, rendered[k], strlen(rendered[k]), true, &after);
        ck_assert_msg(before == after && memcmp(a, b, before * sizeof *a) == 0, "'%s' has other tokens", rendered[k]);
        free(a), free(b);
    }
    organ_tokenizer_close(cut);
}

START_TEST(texts_of_a_template_keep_their_tokens)
{
    static const char *const names[] = {"qwen2", "smollm", "llama3", "gemma4"};
    organ_tokenizer *const t = tokenizer_of_any_form(names[_i]);
    organ_kept_tokens kept, without;
    organ_error error = {0};
    ck_assert_int_eq(organ_kept_begin(&kept, t, &error), ORGAN_OK);
    ck_assert_int_eq(organ_kept_template(&kept, template, &error), ORGAN_OK);
    check_rendered(t, &kept);
    ck_assert_int_eq(organ_kept_copy(&without, &kept, &error), ORGAN_OK);
    ck_assert_uint_eq(without.count, kept.count);
    ck_assert_int_eq(organ_kept_all(&without, &error), ORGAN_OK);
    check_rendered(t, &without);
    ck_assert_uint_gt(without.count, kept.count);
    organ_kept_release(&without);
    organ_kept_release(&kept);
    organ_tokenizer_close(t);
}
END_TEST

/* Tags, literals and escapes that do not end. */
START_TEST(templates_that_are_cut_off)
{
    organ_tokenizer *const t = tokenizer_of_any_form("qwen2");
    organ_error error = {0};
    for (size_t length = 0; length <= strlen(template); length++) {
        organ_kept_tokens kept;
        char *const part = strndup(template, length);
        ck_assert_int_eq(organ_kept_begin(&kept, t, &error), ORGAN_OK);
        ck_assert_int_eq(organ_kept_template(&kept, part, &error), ORGAN_OK);
        organ_kept_release(&kept);
        free(part);
        length += length < 40 ? 0 : 23;
    }
    organ_tokenizer_close(t);
}
END_TEST

Suite *tokenizer_groups_suite(void)
{
    Suite *suite = suite_create("groups of tokens");
    TCase *groups = tcase_create("kinds, scripts, templates");
    tcase_add_checked_fixture(groups, scratch_begin, scratch_end);
    tcase_set_timeout(groups, 120);
    tcase_add_test(groups, kinds_and_scripts_of_tokens);
    tcase_add_loop_test(groups, groups_of_all_forms, 0, COUNT(kinds));
    tcase_add_loop_test(groups, texts_of_a_template_keep_their_tokens, 0, 4);
    tcase_add_test(groups, templates_that_are_cut_off);
    suite_add_tcase(suite, groups);
    return suite;
}
