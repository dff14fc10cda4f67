/* SPDX-License-Identifier: MIT
 * Tests of orchestrator/report/text/texts.c, text_table.c and csv.c: escaping, and where lines and tables are cut. */
#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/report/view/views.h"

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

/* ---- rows as CSV ---- */

/* Expects that the rows, a JSON document, become `requested`, with LF in place of CR LF at the ends of lines. */
static void expect_csv(const char *rows, const char *inner, const char *outer, const char *requested)
{
    json_t *const document = json_loads(rows, JSON_DECODE_ANY, NULL);
    sheet s;
    char *written = NULL, unix_lines[2048];
    size_t length = 0;
    ck_assert_ptr_nonnull(document);
    open_sheet(&s);
    ck_assert_int_eq(organ_csv_print(document, inner, outer, s.text.out, &s.error), ORGAN_OK);
    ck_assert_int_eq(organ_text_finish(&s.text, &written, &s.error), ORGAN_OK);
    for (const char *c = written; *c && length < sizeof unix_lines - 1; c++)
        if (!(c[0] == '\r' && c[1] == '\n'))
            unix_lines[length++] = *c;
        else
            ck_assert_msg(c == written || c[-1] != '\r', "CR CR LF");
    unix_lines[length] = '\0';
    ck_assert_str_eq(unix_lines, requested);
    free(written);
    json_decref(document);
}

START_TEST(rows_become_csv)
{
    static const char *const rows[][2] = {
        {"[]", ""},
        {"[{}]", ""},
        {"[{\"a\": 1}]", "a\n1\n"},
        {"[{\"a\": \"x,y\", \"b\": \"say \\\"hi\\\"\", \"c\": \"two\\nlines\", \"d\": \"cr\\rhere\"}]",
         "a,b,c,d\n\"x,y\",\"say \"\"hi\"\"\",\"two\nlines\",\"cr\rhere\"\n"},
        {"[{\"na,me\": 1, \"\\\"\": 2}]", "\"na,me\",\"\"\"\"\n1,2\n"},
        {"[{\"a\": \"größe 重み\", \"b\": \" kept \"}]", "a,b\ngröße 重み, kept \n"},
        {"[{\"a\": \"\", \"b\": null, \"c\": true, \"d\": false}]", "a,b,c,d\n\"\",,true,false\n"},
        {"[{\"a\": 1}, {\"b\": 2, \"a\": 3}]", "a,b\n1,\n3,2\n"},         /* members that some rows lack */
        {"[{\"o\": {\"x\": 1, \"p\": {\"y\": 2}}}]", "o.x,o.p.y\n1,2\n"}, /* inner objects */
        {"[{\"o\": null, \"z\": 0}, {\"o\": {\"x\": 1}, \"z\": 2}]", "z,o.x\n0,\n2,1\n"}, /* null or an object */
        {"[{\"o\": {\"x\": 1}}, {\"o\": null}]", "o.x\n1\n\n"},
        {"[{\"shape\": [320, 64], \"types\": [\"F32\"]}]", "shape,types\n\"[320,64]\",\"[\"\"F32\"\"]\"\n"},
        {"[{\"a\": 1, \"cells\": [{\"x\": 1}], \"b\": [[1]]}]", "a\n1\n"}, /* tables of their own are left out */
        {"[{\"a.b\": 1, \"a\": {\"c\": 2}}]", "a.b,a.c\n1,2\n"},           /* a key with a dot */
        {"[7, \"x\", null]", "value\n7\nx\n\n"},                           /* rows that are no objects */
        {"[{\"a\": \"\\u001b[2J\", \"b\": \"\\u009b\", \"c\": \"\\t\"}]", "a,b,c\n\\x1b[2J,\\x9b,\t\n"},
    };
    for (size_t k = 0; k < COUNT(rows); k++)
        expect_csv(rows[k][0], NULL, NULL, rows[k][1]);
    expect_csv(
        "[{\"n\": {\"m\": \"A\"}, \"list\": [{\"a\": 1}, {\"a\": 2}]}, {\"n\": {\"m\": \"B\"}, \"list\": [{\"b\": "
        "3}]}, {}]",
        "list", "n.m", "n.m,a,b\nA,1,\nA,2,\nB,,3\n");
}
END_TEST

/* Every number is read back with the same bits. */
START_TEST(numbers_in_csv_keep_their_bits)
{
    static const double values[] = {0.1, -1e-308, 4.9e-324, 1.7976931348623157e308, 1.0 / 3, 1e16, 123456789.123456789};
    json_t *const rows = json_array();
    sheet s;
    char *written = NULL;
    for (size_t k = 0; k < COUNT(values); k++)
        json_array_append_new(rows, json_pack("{s:f, s:I}", "x", values[k], "n", (json_int_t)INT64_MAX));
    open_sheet(&s);
    ck_assert_int_eq(organ_csv_print(rows, NULL, NULL, s.text.out, &s.error), ORGAN_OK);
    ck_assert_int_eq(organ_text_finish(&s.text, &written, &s.error), ORGAN_OK);
    const char *line = strchr(written, '\n') + 1;
    for (size_t k = 0; k < COUNT(values); k++, line = strchr(line, '\n') + 1) {
        char *end;
        ck_assert(strtod(line, &end) == values[k]);
        ck_assert_int_eq(strncmp(end, ",9223372036854775807\r\n", 22), 0);
    }
    ck_assert_int_eq(*line, '\0');
    free(written);
    json_decref(rows);
}
END_TEST

START_TEST(csv_has_a_limit_of_columns)
{
    json_t *const rows = json_array();
    for (int k = 0; k < 1001; k++) {
        char name[16];
        snprintf(name, sizeof name, "k%d", k);
        json_array_append_new(rows, json_pack("{s:i}", name, k));
    }
    sheet s;
    open_sheet(&s);
    ck_assert_int_eq(organ_csv_print(rows, NULL, NULL, s.text.out, &s.error), ORGAN_BAD_INPUT);
    ck_assert_str_eq(s.error.message, "the rows have more than 1000 different members");
    s.error = (organ_error){0};
    json_array_remove(rows, 0);
    ck_assert_int_eq(organ_csv_print(rows, NULL, NULL, s.text.out, &s.error), ORGAN_OK);
    char *written = NULL;
    organ_text_finish(&s.text, &written, &s.error);
    free(written);
    json_decref(rows);
}
END_TEST

START_TEST(every_view_has_a_table_for_csv)
{
    for (size_t k = 0; k < ORGAN_VIEWS; k++) {
        organ_error error = {0};
        json_t *const report = json_pack("{s:s}", "schema", organ_views[k]->schema);
        ck_assert_msg(organ_report_csv(report, stdout, &error) == ORGAN_OK, "%s", error.message);
        json_decref(report);
    }
    organ_error error = {0};
    json_t *const unknown = json_pack("{s:s}", "schema", "organ.unheard-of/1");
    ck_assert_int_eq(organ_report_csv(unknown, stdout, &error), ORGAN_BAD_INPUT);
    ck_assert_ptr_nonnull(strstr(error.message, "organ.unheard-of/1"));
    json_decref(unknown);
}
END_TEST

static TCase *csv_cases(void)
{
    TCase *const cases = tcase_create("csv");
    tcase_add_test(cases, rows_become_csv);
    tcase_add_test(cases, numbers_in_csv_keep_their_bits);
    tcase_add_test(cases, csv_has_a_limit_of_columns);
    tcase_add_test(cases, every_view_has_a_table_for_csv);
    return cases;
}

int main(void)
{
    Suite *const suite = suite_create("text");
    suite_add_tcase(suite, text_cases());
    suite_add_tcase(suite, table_cases());
    suite_add_tcase(suite, csv_cases());
    SRunner *const runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
