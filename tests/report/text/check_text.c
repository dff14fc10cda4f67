/* SPDX-License-Identifier: MIT
 * Tests of orchestrator/report/text/text.c and text_table.c: escaping, and where lines and tables are cut. */
#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/text/report_text.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const organ_page wide = {.width = 0, .utf8 = true}, ascii = {.width = 0, .utf8 = false};

/* ---- text ---- */

typedef struct sheet {
    organ_text text;
    organ_error error;
} sheet;

/* Opens a sheet. The stream keeps the sheet's address, so the caller must not move it. */
static void open_sheet(sheet *s)
{
    s->error = (organ_error){0};
    ck_assert_int_eq(organ_text_open(&s->text, &s->error), ORGAN_OK);
}

/* Compares the written text and closes the sheet. */
static void expect(sheet *s, const char *requested)
{
    char *written = NULL;
    ck_assert_int_eq(organ_text_finish(&s->text, &written, &s->error), ORGAN_OK);
    ck_assert_str_eq(written, requested);
    free(written);
}

START_TEST(harmful_characters_are_made_visible)
{
    static const char *const rows[][2] = {
        {"model.layers.0", "model.layers.0"},
        {"größe 重み ↦", "größe 重み ↦"},
        {"a\033[2Jb", "a\\x1b[2Jb"},
        {"tab\there", "tab\\x09here"},
        {"\xff\xc0\x80", "\\xff\\xc0\\x80"},
        {"cut \xe2\x82", "cut \\xe2\\x82"},
        {"\xc2\x9b"
         "31m",
         "\\xc2\\x9b31m"}, /* CSI as one C1 control character */
        {"\xe2\x80\xae"
         "gpj",
         "\\xe2\\x80\\xaegpj"},              /* right-to-left override */
        {"\xed\xa0\x80", "\\xed\\xa0\\x80"}, /* a surrogate */
        {"", ""},
    };
    for (size_t k = 0; k < COUNT(rows); k++) {
        sheet s;
        open_sheet(&s);
        organ_text_visible(s.text.out, rows[k][0]);
        expect(&s, rows[k][1]);
    }
}
END_TEST

START_TEST(widths_are_columns)
{
    ck_assert_uint_eq(organ_text_width(""), 0);
    ck_assert_uint_eq(organ_text_width("abc"), 3);
    ck_assert_uint_eq(organ_text_width("größe"), 5);
    ck_assert_uint_eq(organ_text_width("重み"), 4);
    ck_assert_uint_eq(organ_text_width("e\xcc\x81"), 1); /* with a combining accent */
    ck_assert_uint_eq(organ_text_width("\xf0\x9f\xa7\xa0"), 2);
}
END_TEST

START_TEST(names_lose_their_middle)
{
    static const struct {
        const char *name;
        size_t width;
        bool utf8;
        const char *requested;
    } rows[] = {
        {"short", 5, true, "short"},
        {"model.layers.12.mlp.down_proj.weight", 36, true, "model.layers.12.mlp.down_proj.weight"},
        {"model.layers.12.mlp.down_proj.weight", 20, true, "model.lay…roj.weight"},
        {"model.layers.12.mlp.down_proj.weight", 20, false, "model.la...oj.weight"},
        {"重重重重重重", 7, true, "重…重"},
        {"abcdef", 5, true, "ab…ef"},
        {"abcdef", 5, false, "a...f"},
    };
    for (size_t k = 0; k < COUNT(rows); k++) {
        char *const cut = organ_text_shorten(rows[k].name, rows[k].width, rows[k].utf8);
        ck_assert_uint_le(organ_text_width(cut), rows[k].width);
        ck_assert_str_eq(cut, rows[k].requested);
        free(cut);
    }
}
END_TEST

START_TEST(every_width_is_kept)
{
    static const char name[] = "model.übermodul.重み.12.mlp.down_proj.weight";
    for (size_t width = 5; width < 50; width++) {
        char *const cut = organ_text_shorten(name, width, true);
        ck_assert_uint_le(organ_text_width(cut), width);
        ck_assert_uint_ge(organ_text_width(cut) + 2, width < organ_text_width(name) ? width : organ_text_width(name));
        free(cut);
    }
}
END_TEST

/* A quadratic algorithm would run for hours. */
START_TEST(a_long_name_is_cut_in_one_go)
{
    const size_t length = (size_t)1 << 20;
    char *const name = malloc(length + 1);
    ck_assert_ptr_nonnull(name);
    memset(name, 'a', length);
    name[length] = '\0';
    char *const cut = organ_text_shorten(name, 9, true);
    ck_assert_str_eq(cut, "aaaa…aaaa");
    free(cut);
    free(name);
}
END_TEST

START_TEST(paragraphs_are_wrapped)
{
    const organ_page narrow = {.width = 20, .utf8 = true};
    sheet s;
    open_sheet(&s);
    organ_text_wrap(s.text.out, "  ok  ", 6, "one two three four fifteenletters six", &narrow);
    organ_text_wrap(s.text.out, "", 0, "", &narrow);
    organ_text_wrap(s.text.out, "", 0, "averyveryverylongwordthatfitsnowhere at all", &narrow);
    organ_text_wrap(s.text.out, "- ", 2, "no limit here, so that all of it stays on one line", &wide);
    organ_text_say(s.text.out, &narrow, "! ", "%s: %d\n", "x\033", 7);
    expect(&s, "  ok  one two three\n      four\n      fifteenletters\n      "
               "six\n\naveryveryverylongwordthatfitsnowhere\nat all\n"
               "- no limit here, so that all of it stays on one line\n! x\\x1b: 7\\x0a\n");
}
END_TEST

START_TEST(words_are_quoted_for_the_shell)
{
    static const char *const rows[][2] = {{"/data/Qwen2.5-7B", "/data/Qwen2.5-7B"},
                                          {"two words", "'two words'"},
                                          {"it's", "'it'\\''s'"},
                                          {"", "''"},
                                          {"*.mlp.*", "'*.mlp.*'"},
                                          {"$HOME", "'$HOME'"},
                                          {"a\nb'c\\", "$'a\\012b\\'c\\\\'"},
                                          {"größe", "'größe'"},
                                          {"~x", "'~x'"}};
    for (size_t k = 0; k < COUNT(rows); k++) {
        sheet s;
        open_sheet(&s);
        organ_shell_word(s.text.out, rows[k][0]);
        expect(&s, rows[k][1]);
    }
}
END_TEST

/* ---- tables ---- */

static organ_table *sample_table(void)
{
    static const organ_column columns[] = {
        {"tensor", ORGAN_LEFT, true, true}, {"killed", ORGAN_RIGHT, false, false}, {"note", ORGAN_LEFT, false, false}};
    organ_table *const table = organ_table_create(columns, COUNT(columns));
    organ_table_cell(table, "model.layers.0.mlp.down_proj.weight");
    organ_table_cell(table, "1,450,103,613");
    organ_table_cell(table, "a|b_c <i>");
    organ_table_cell(table, "重み\n");
    organ_table_cell(table, "7");
    organ_table_cell(table, "%s", "");
    organ_table_totals(table);
    organ_table_cell(table, "all");
    organ_table_cell(table, "1,450,103,620");
    return table; /* the last cell is missing */
}

START_TEST(tables_on_a_terminal)
{
    organ_table *const table = sample_table();
    sheet s;
    open_sheet(&s);
    ck_assert_int_eq(organ_table_print(table, s.text.out, &ascii, &s.error), ORGAN_OK);
    expect(&s, "  tensor                                      killed  note\n"
               "  -------------------------------------------------------------\n"
               "  model.layers.0.mlp.down_proj.weight  1,450,103,613  a|b_c <i>\n"
               "  重み\\x0a                                         7\n"
               "  -------------------------------------------------------------\n"
               "  all                                  1,450,103,620\n");
    organ_table_destroy(table);
}
END_TEST

START_TEST(tables_fit_the_screen)
{
    organ_table *const table = sample_table();
    for (size_t width = 34; width < 70; width++) {
        const organ_page page = {.width = width, .utf8 = true};
        sheet s;
        open_sheet(&s);
        char *text = NULL;
        ck_assert_int_eq(organ_table_print(table, s.text.out, &page, &s.error), ORGAN_OK);
        ck_assert_int_eq(organ_text_finish(&s.text, &text, &s.error), ORGAN_OK);
        for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
            ck_assert_msg(organ_text_width(line) <= width, "%zu columns: '%s'", width, line);
        free(text);
    }
    organ_table_destroy(table);
}
END_TEST

/* Each part repeats the names; columns without content in a part take no room there. */
START_TEST(tables_too_wide_come_in_parts)
{
    organ_table *const table = sample_table();
    const organ_page page = {.width = 36, .utf8 = false};
    sheet s;
    open_sheet(&s);
    ck_assert_int_eq(organ_table_print(table, s.text.out, &page, &s.error), ORGAN_OK);
    expect(&s, "  tensor                     killed\n"
               "  ---------------------------------\n"
               "  model.l...j.weight  1,450,103,613\n"
               "  重み\\x0a                        7\n"
               "  ---------------------------------\n"
               "  all                 1,450,103,620\n"
               "\n"
               "  tensor              note\n"
               "  -----------------------------\n"
               "  model.l...j.weight  a|b_c <i>\n"
               "  重み\\x0a\n"
               "  -----------------------------\n"
               "  all\n");
    organ_table_destroy(table);
}
END_TEST

/* One column next to the names is too wide: both texts are cut, a number never is. */
START_TEST(tables_on_a_very_narrow_screen)
{
    static const organ_column columns[] = {{"denominator", ORGAN_LEFT, false, false},
                                           {"killed", ORGAN_RIGHT, false, false},
                                           {"because", ORGAN_LEFT, false, false}};
    const organ_page page = {.width = 30, .utf8 = false};
    organ_table *const table = organ_table_create(columns, COUNT(columns));
    organ_table_cell(table, "full: every weight of the model");
    organ_table_cell(table, "1,450,103,613");
    organ_table_cell(table, "there is a flow through it");
    sheet s;
    open_sheet(&s);
    ck_assert_int_eq(organ_table_print(table, s.text.out, &page, &s.error), ORGAN_OK);
    expect(&s, "  denominator           killed\n"
               "  ----------------------------\n"
               "  full:...model  1,450,103,613\n"
               "\n"
               "  denominator    because\n"
               "  ----------------------------\n"
               "  full:...model  there...gh it\n");
    organ_table_destroy(table);
}
END_TEST

START_TEST(wide_lines_are_folded)
{
    const organ_page narrow = {.width = 20, .utf8 = true};
    sheet s;
    open_sheet(&s);
    organ_text_fold(s.text.out,
                    "short\n\n  Model:   tiny (Qwen2, 3 files)\naveryveryverylongwordthatfitsnowhere at all\n  Proof:  "
                    "organ audit one two\nlast  one",
                    &narrow);
    organ_text_fold(s.text.out, "\nno limit here, so that all of it stays on one line\n", &wide);
    expect(&s, "short\n\n  Model:   tiny\n    (Qwen2, 3 files)\naveryveryverylongwordthatfitsnowhere\n  at all\n  "
               "Proof:  organ audit one "
               "two\nlast  one"
               "\nno limit here, so that all of it stays on one line\n");
}
END_TEST

START_TEST(tables_in_markdown)
{
    organ_table *const table = sample_table();
    sheet s;
    open_sheet(&s);
    ck_assert_int_eq(organ_table_markdown(table, s.text.out, &s.error), ORGAN_OK);
    expect(&s, "| tensor                                |            killed | note          |\n"
               "|---------------------------------------|------------------:|---------------|\n"
               "| `model.layers.0.mlp.down_proj.weight` |     1,450,103,613 | a\\|b_c &lt;i> |\n"
               "| `重み\\x0a`                            |                 7 |               |\n"
               "| **all**                               | **1,450,103,620** |               |\n");
    organ_table_destroy(table);
}
END_TEST

START_TEST(an_empty_table_has_its_titles)
{
    static const organ_column columns[] = {{"a", ORGAN_LEFT, false, false}, {"b", ORGAN_RIGHT, false, false}};
    organ_table *const table = organ_table_create(columns, 2);
    sheet s;
    open_sheet(&s);
    ck_assert_int_eq(organ_table_print(table, s.text.out, &ascii, &s.error), ORGAN_OK);
    ck_assert_int_eq(organ_table_markdown(table, s.text.out, &s.error), ORGAN_OK);
    expect(&s, "  a  b\n  ----\n| a | b |\n|---|--:|\n");
    organ_table_destroy(table);
}
END_TEST

START_TEST(a_table_without_memory_is_an_error)
{
    sheet s;
    open_sheet(&s);
    organ_table_cell(NULL, "x");
    organ_table_totals(NULL);
    organ_table_destroy(NULL);
    ck_assert_int_eq(organ_table_print(NULL, s.text.out, &ascii, &s.error), ORGAN_IO);
    organ_text_discard(&s.text);
}
END_TEST

START_TEST(markdown_shows_what_is_meant)
{
    static const struct {
        const char *text;
        bool code;
        const char *requested;
    } rows[] = {{"block_size=256", false, "block_size=256"},
                {"_emphasis_ *here*", false, "\\_emphasis\\_ \\*here\\*"},
                {"a & b < c", false, "a &amp; b &lt; c"},
                {"a`b", true, "`` a`b ``"},
                {"a|b", true, "`a\\|b`"},
                {"", true, ""}};
    for (size_t k = 0; k < COUNT(rows); k++) {
        sheet s;
        open_sheet(&s);
        organ_markdown_text(s.text.out, rows[k].text, rows[k].code);
        expect(&s, rows[k].requested);
    }
}
END_TEST

static TCase *text_cases(void)
{
    TCase *const cases = tcase_create("text");
    tcase_add_test(cases, harmful_characters_are_made_visible);
    tcase_add_test(cases, widths_are_columns);
    tcase_add_test(cases, names_lose_their_middle);
    tcase_add_test(cases, every_width_is_kept);
    tcase_add_test(cases, a_long_name_is_cut_in_one_go);
    tcase_add_test(cases, paragraphs_are_wrapped);
    tcase_add_test(cases, words_are_quoted_for_the_shell);
    return cases;
}

static TCase *table_cases(void)
{
    TCase *const cases = tcase_create("table");
    tcase_add_test(cases, tables_on_a_terminal);
    tcase_add_test(cases, tables_fit_the_screen);
    tcase_add_test(cases, tables_too_wide_come_in_parts);
    tcase_add_test(cases, tables_on_a_very_narrow_screen);
    tcase_add_test(cases, wide_lines_are_folded);
    tcase_add_test(cases, tables_in_markdown);
    tcase_add_test(cases, an_empty_table_has_its_titles);
    tcase_add_test(cases, a_table_without_memory_is_an_error);
    tcase_add_test(cases, markdown_shows_what_is_meant);
    return cases;
}

int main(void)
{
    Suite *const suite = suite_create("text");
    suite_add_tcase(suite, text_cases());
    suite_add_tcase(suite, table_cases());
    SRunner *const runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
