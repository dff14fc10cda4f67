/* SPDX-License-Identifier: MIT
 * Tests of orchestrator/report/blocks and text/words: texts of templates, and the three renderings of a view. */
#include "orchestrator/report/blocks/blocks.h"
#include "tests/kit/condition_rig.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char document[] =
    "{\"schema\": \"organ.test/1\", \"name\": \"a_b*\", \"count\": 1450103, \"one\": 1, \"none\": 0, \"null\": null, "
    "\"share\": 0.21891,"
    " \"real\": 1.5, \"yes\": true, \"no\": false, \"empty\": [], \"list\": [\"x\", \"y\"], \"shape\": [64, 320], "
    "\"output\": "
    "\"d.1/OUT.gguf\","
    " \"figure\": 20.69228, \"figure_error\": 0.123456, \"part\": {\"count\": 2, \"text\": \"in\\u001b\"},"
    " \"model\": {\"name\": \"tiny\", \"architecture\": \"Q\", \"format\": \"gguf\", \"files\": 1, \"bytes\": 9900000},"
    " \"tower\": {\"name\": \"tiny\", \"architecture\": \"Q\", \"format\": \"gguf\", \"files\": 1, \"bytes\": 9900000,"
    " \"not_run\": [{\"role\": \"vision\", \"tensors\": 300, \"bytes\": 800000000}]},"
    " \"rows\": [{\"role\": \"q\", \"n\": 3, \"note\": \"\", \"told\": [\"one\", \"two\"]}, {\"role\": \"k\", \"n\": "
    "4, \"note\": \"odd\", "
    "\"zero\": -0.01, \"told\": [\"three\"]}], \"sum\": {\"n\": 7, \"zero\": 0.25}, "
    "\"stars\": {\"*\": 5},"
    " \"again\": [{\"why\": \"a\", \"at\": 1}, {\"why\": \"\", \"at\": 2}, {\"why\": \"a\", \"at\": 3}, {\"why\": "
    "\"b\", \"at\": 4, "
    "\"ok\": true},"
    " {\"why\": \"a\", \"at\": 5, \"ok\": true}],"
    " \"definitions\": {\"n\": \"how many\"}}";

static json_t *open_document(void)
{
    json_t *const report = json_loads(document, 0, NULL);
    ck_assert_ptr_nonnull(report);
    return report;
}

static void expect_words(const json_t *report, const char *words, organ_words_for form, const char *requested)
{
    char *const text = organ_words_text(&(organ_scope){report, report}, words, form);
    ck_assert_str_eq(text, requested);
    free(text);
}

/* ---- words of a view ---- */

static const struct {
    const char *words, *requested;
} said[] = {{"plain", "plain"},
            {"", ""},
            {"{name}", "a_b*"},
            {"{count} {count:count}", "1450103 1,450,103"},
            {"{real} {real:.3f} {real:.2e}", "1.5 1.500 1.50e+00"},
            {"{count:bytes}", "1.5 MB"},
            {"{share:share} {one:percent} {share:%.4f} {share:%.2}", "21.89 % 1.00 % 21.8910 % 21.89"},
            {"{real:time}", "1.50 s"},
            {"{null} {null:count} {null:.3f} {null:%.2f}", "- - - -"},
            {"{yes} {no}", "yes no"},
            {"{list:words}", "x y"},
            {"{list:size} {list:join} {list:-1} {shape:shape} {list.1}", "2 x, y 1 64 x 320 y"},
            {"{count:-part.count} {list:-one} {count:-gone}", "1450101 1 1450103"},
            {"{again:sum.at:.2f} {again.@b.at} {rows.@q.n} {rows.@z.n}", "15.00 4 3 (no member)"},
            {"{rows:sum.n} {empty:sum.n} {rows:sum.gone} {again:sum.ok}", "7 0 0 2"},
            {"{stars.*} {rows.*.note}", "5 odd"},
            {"weight{one:s} {one} weight{count:s} item{list:s} item{empty:s}", "weight 1 weights items items"},
            {"{output:stem}|", "d.1/OUT.|"},
            {"{part.count} {/part.count}", "2 2"},
            {"{model:model}", "tiny (Q, gguf, 1 file, 9.9 MB)"},
            {"{tower:model}", "tiny (Q, gguf, 1 file, 9.9 MB; not run: vision, 300 tensors of 800 MB)"},
            {"{output:shell}", "d.1/OUT.gguf"},
            {"{figure:measured} {figure:+measured} {real:measured} {null:measured}",
             "20.6923 +- 0.1235 +20.6923 +- 0.1235 1.5000 too large"},
            {"{share:%measured}", "21.8910"},
            {"{gone} {gone:count} {part.gone} {list.7}", "(no member) (no member) (no member) (no member)"},
            {"{name:nonsense} {count:nonsense}", "- (no member)"},
            {"{yes?A|B}{no?A|B}{yes?A}{no?A}", "ABA"},
            {"{yes?in {part.count} {no?x|y}|B}", "in 2 y"},
            {"{gone?{gone}|nothing}", "nothing"},
            {"{rows.*.note} {rows.*.gone?A|B}", "odd B"}};

START_TEST(words_say_what_the_document_has)
{
    json_t *const report = open_document();
    expect_words(report, said[_i].words, ORGAN_WORDS_PAGE, said[_i].requested);
    json_decref(report);
}
END_TEST

START_TEST(words_are_written_for_where_they_go)
{
    json_t *const report = open_document();
    expect_words(report, "*{name}* {name:code}", ORGAN_WORDS_MARKDOWN, "*a_b\\** `a_b*`");
    expect_words(report, "*{name}* {name:code}", ORGAN_WORDS_TERMINAL, "*a_b** a_b*");
    expect_words(report, "{part.text}", ORGAN_WORDS_TERMINAL, "in\\x1b");
    expect_words(report, NULL, ORGAN_WORDS_PAGE, "");
    json_decref(report);
}
END_TEST

static const struct {
    const char *condition;
    bool holds;
} conditions[] = {{NULL, true},           {"name", true},           {"gone", false},
                  {"!gone", true},        {"none", false},          {"empty", false},
                  {"null", false},        {"part", true},           {"no", false},
                  {"name=a_b*", true},    {"name=b", false},        {"one=1", true},
                  {"list=2", true},       {"list>1", true},         {"list>2", false},
                  {"count>one", true},    {"one>count", false},     {"gone>1", false},
                  {"none>-1", true},      {"null>-1", false},       {"!list=2", false},
                  {"yes&one", true},      {"yes&no", false},        {"no|yes", true},
                  {"no|gone", false},     {"no&yes|one", true},     {"yes|no&gone", true},
                  {"no|yes&none", false}, {"rows.*.note=odd", true}};

START_TEST(conditions_hold)
{
    json_t *const report = open_document();
    ck_assert_msg(organ_scope_holds(&(organ_scope){report, report}, conditions[_i].condition) == conditions[_i].holds,
                  "%s", conditions[_i].condition ? conditions[_i].condition : "NULL");
    json_decref(report);
}
END_TEST

/* ---- views ---- */

static const organ_field fields[] = {FIELD_TEXT("role", "role", ORGAN_FIELD_CODE), FIELD_COUNT("n", "n"),
                                     FIELD_IF("no", "not there", "n", "count", 0), FIELD_WORDS("twice", "{n}{n}", 0)};
static const organ_field few[] = {FIELD_TEXT("role", "role", ORGAN_FIELD_CODE), FIELD_COUNT("n", "n")};
static const organ_item items[] = {
    {NULL, "name", "{name}"}, {"no", "never", "{gone}"}, {"yes", "count of {one}", "{count:count}"}};
static const organ_item of_rows[] = {
    {NULL, "n of {/name}", "{n}"}, {"no", "never", "{gone}"}, {"yes", "half", "{n:.1f}"}};
static const organ_item unnamed[] = {{NULL, NULL, "It is {n}."}};
static const organ_field kinds_of[] = {FIELD_TEXT("why", "why", 0), FIELD_COUNT("first", "at"),
                                       FIELD_COUNT("n", "count")};
static const organ_field numbers[] = {FIELD_COUNT("n", "n"), FIELD_ROUNDED("about", "n", 0),
                                      FIELD_ROUNDED("zero", "zero", 1)};
static const organ_item highlights[] = {{NULL, "of all", "{share:share}"}, {"no", "never", "{gone}"}};
static const organ_block each[] = {ITEM(ON_ALL, NULL, "{role:code} of {/name}")};
static const organ_block part[] = {SAY(ON_ALL, NULL, "Part {count}.")};
/* Returns the row with one more member. Only this view needs such a function. */
static json_t *twice(const json_t *row)
{
    json_t *const made = json_deep_copy(row);
    json_object_set_new(made, "twice", json_integer(2 * json_integer_value(json_object_get(row, "count"))));
    return made;
}
static const organ_block made[] = {SAY(ON_ALL, NULL, "Twice {twice} of {/name}.")};
static const organ_block doubled[] = {MADE(ON_ALL, NULL, twice, BLOCKS_OF(made))};
static const organ_block odd[] = {SAY(ON_TEXT, NULL, "{role} is {note}.")};
static const organ_block blocks[] = {
    HEADING("Test of {name}"),
    LINES(NULL, "Test of {name}\n\n"),
    HIGHLIGHTS(NULL, highlights),
    SECTION(ON_FILES, NULL, "Rows"),
    SAY(ON_ALL, "yes", "There are {rows:size}."),
    SAY(ON_ALL, "no", "Never."),
    SAY_AFTER(ON_TERMINAL, NULL, "  NOTE  ", "noted"),
    SAY(ON_TENSORS, NULL, "Every tensor."),
    TABLE(ON_ALL, NULL, "rows", FIELDS(fields), .total = "all", .total_row = "sum", .caption = "{list:size} rows",
          .max = 1, .what = "rows"),
    EACH(ON_ALL, "rows", BLOCKS_OF(each), .max = 1),
    WARN(ON_ALL, NULL, "Mind {name}."),
    COMMAND(ON_ALL, NULL, "organ {output:shell}"),
    ITEMS(ON_ALL, NULL, .name = "item", .value = "value", ITEM_LIST(items)),
    PART(ON_ALL, "part", BLOCKS_OF(part)),
    PART(ON_ALL, "gone", BLOCKS_OF(part)),
    PART_IF(ON_ALL, "yes", "part", BLOCKS_OF(doubled)),
    PART_IF(ON_ALL, "no", "part", BLOCKS_OF(doubled)),
    EACH_IF(ON_TEXT, "yes", "rows", BLOCKS_OF(odd), .where = "note"),
    EACH_IF(ON_TEXT, "no", "rows", BLOCKS_OF(odd)),
    EACH_IF(ON_TEXT, NULL, "rows", BLOCKS_OF(odd), .where = "n=3", .max = 1, .rest = "Never."),
    EACH_IF(ON_TEXT, NULL, "rows", BLOCKS_OF(odd), .max = 1, .lead = "  + ",
            .rest = "And {more} of {all} are not among {most}."),
    TABLE_WHERE(ON_TEXT, NULL, "rows", "n>3", FIELDS(few), .sums = "rows", .sums_name = "role",
                .total = "{yes?all|none}", .total_row = "sum"),
    CAUTIONS(ON_ALL, NULL, "list", "Read this"),
    TOGETHER(ON_ALL, NULL, "rows", BLOCKS(SAY(ON_ALL, NULL, "{rows:size} of {/rows:size}, {rows.0.role}.")),
             .where = "note"),
    TOGETHER(ON_ALL, NULL, "rows", BLOCKS(SAY(ON_ALL, NULL, "Never.")), .where = "n>4"),
    EACH(ON_ALL, "again", BLOCKS(SAY(ON_ALL, NULL, "{why} {at}.")), .where = "why", .new = "why", .max = 2),
    LINES_ON(ON_PAGE, NULL, "{name}\n\nbelow\n"),
    TERMS(ON_FILES, NULL, "definitions", "letter", "meaning"),
    ITEMS(ON_TERMINAL, NULL, .name = "what", .of = "rows", .value = "of {role}", .align = ORGAN_RIGHT,
          ITEM_LIST(of_rows), .list = "more"),
    ITEMS(ON_TERMINAL, NULL, .of = "rows", .value = "{role}", ITEM_LIST(unnamed), .list = "told"),
    BLOCK(TABLE, ON_TERMINAL, NULL, .rows = "again", .where = "why", .same = "{why}",
          .table = &(const organ_table_of){FIELDS(kinds_of)}),
    TABLE(ON_TERMINAL, NULL, "sum rows.1", FIELDS(numbers)),
    DEFINITIONS,
    PAGE_ENDING,
    SAY(ON_PAGE, NULL, "Behind the ending."),
};
static const organ_view view = {
    .schema = "organ.test/1", .kind = "Test", .title = "{name}", .lead = "{count:count} in all.", BLOCKS_OF(blocks)};

START_TEST(a_view_is_written_for_a_terminal)
{
    static const organ_page page = {.width = 0, .utf8 = false};
    json_t *const report = open_document();
    organ_error error = {0};
    char *text = NULL;
    ck_assert_int_eq(organ_view_terminal(&view, report, &page, false, &text, &error), ORGAN_OK);
    ck_assert_str_eq(text, "Test of a_b*\n\n"
                           "  There are 2.\n"
                           "  NOTE  noted\n"
                           "  role  n  twice\n"
                           "  --------------\n"
                           "  q     3     33\n"
                           "  k     4     44\n"
                           "  --------------\n"
                           "  all   7     77\n\n"
                           "  - q of a_b*\n"
                           "  WARNING  Mind a_b*.\n"
                           "    organ d.1/OUT.gguf\n"
                           "  item        value\n"
                           "  ---------------------\n"
                           "  name        a_b*\n"
                           "  count of 1  1,450,103\n\n"
                           "  Part 2.\n"
                           "  Twice 4 of a_b*.\n"
                           "  k is odd.\n"
                           "  q is .\n"
                           "  q is .\n"
                           "  + And 1 of 2 are not among 1.\n"
                           "  role  n\n"
                           "  -------\n"
                           "  k     4\n"
                           "  -------\n"
                           "  q     3\n"
                           "  k     4\n"
                           "  all   7\n\n"
                           "  Read this:\n  - x\n  - y\n\n"
                           "  1 of 2, k.\n  a 1.\n  b 4.\n"
                           "  what       of q  of k\n"
                           "  ---------------------\n"
                           "  n of a_b*     3     4\n"
                           "  half        3.0   4.0\n\n"
                           "  q         k\n"
                           "  ------------------\n"
                           "  It is 3.  It is 4.\n"
                           "  one       three\n"
                           "  two\n\n"
                           "  why  first  n\n"
                           "  -------------\n"
                           "  a        1  3\n"
                           "  b        4  1\n\n"
                           "  n  about  zero\n"
                           "  --------------\n"
                           "  7  7.000   0.2\n"
                           "  4  4.000   0.0\n\n");
    free(text);
    ck_assert_int_eq(organ_view_terminal(&view, report, &page, true, &text, &error), ORGAN_OK);
    ck_assert_ptr_nonnull(strstr(text, "  NOTE  noted\n  Every tensor.\n"));
    free(text);
    json_decref(report);
}
END_TEST

/* The last line on a terminal names what bound the run; Markdown has no such line. */
static const struct {
    const char *run, *line;
} bounds[] = {
    {"{}", ""},
    {"{\"activity\": {\"bound\": \"processor\", \"bound_share\": 0.9349}}", "Bound by the processor (93 %).\n"},
    {"{\"activity\": {\"bound\": \"reading\", \"bound_share\": 0.61}}", "Bound by reading (61 %).\n"},
    {"{\"activity\": {\"bound\": \"writing\", \"bound_share\": 1.0}}", "Bound by writing (100 %).\n"},
    {"{\"activity\": {\"bound\": \"one_thread\", \"bound_share\": 0.5}}", "Bound by one thread (50 %).\n"},
    {"{\"activity\": {\"bound\": \"waiting\", \"bound_share\": 0.4}}",
     "Bound by workers that wait for each other (40 %).\n"},
};

START_TEST(the_last_line_names_the_bound)
{
    static const organ_page page = {.width = 0, .utf8 = false};
    static const organ_block lines[] = {LINES(NULL, "First.\n"), SAY(ON_MARKDOWN, NULL, "First.")};
    static const organ_view short_view = {.schema = "organ.test/1", BLOCKS_OF(lines)};
    json_t *const report = json_pack("{s:o}", "run", json_loads(bounds[_i].run, 0, NULL));
    organ_error error = {0};
    char *text = NULL, wanted[80];
    ck_assert_ptr_nonnull(report);
    ck_assert_int_eq(organ_view_terminal(&short_view, report, &page, false, &text, &error), ORGAN_OK);
    snprintf(wanted, sizeof wanted, "First.\n%s", bounds[_i].line);
    ck_assert_str_eq(text, wanted);
    free(text);
    organ_view for_programs = short_view;
    for_programs.only_text = true;
    ck_assert_int_eq(organ_view_terminal(&for_programs, report, &page, false, &text, &error), ORGAN_OK);
    ck_assert_str_eq(text, "First.\n");
    free(text);
    ck_assert_int_eq(organ_view_markdown(&short_view, report, &text, &error), ORGAN_OK);
    ck_assert_str_eq(text, "First.\n");
    free(text);
    json_decref(report);
}
END_TEST

START_TEST(a_view_is_written_as_markdown)
{
    json_t *const report = open_document();
    organ_error error = {0};
    char *text = NULL;
    ck_assert_int_eq(organ_view_markdown(&view, report, &text, &error), ORGAN_OK);
    ck_assert_str_eq(
        text, "# Test of a_b\\*\n\n## Rows\n\nThere are 2.\n\n"
              "| role    |     n |  twice |\n|---------|------:|-------:|\n| `q`     |     3 |     33 |\n"
              "| **all** | **7** | **77** |\n\nThe table shows the first 1 of 2 rows; the JSON report has all.\n\n"
              "- `q` of a_b\\*\n\n> **Warning.** Mind a_b\\*.\n\n    organ d.1/OUT.gguf\n\n"
              "| item       | value     |\n|------------|-----------|\n| name       | a_b\\*     |\n| count of 1 | "
              "1,450,103 |\n\n"
              "Part 2.\n\nTwice 4 of a_b\\*.\n\nk is odd.\n\nq is .\n\nq is .\n\nAnd 1 of 2 are not among 1.\n\n"
              "| role    |     n |\n|---------|------:|\n| `k`     |     4 |\n| **q**   | **3** |\n| **k**   | **4** "
              "|\n| **all** | **7** |\n\n"
              "> **Read this.**\n>\n> - x\n> - y\n\n1 of 2, k.\n\na 1.\n\nb 4.\n\n- **n**: how many\n\n## "
              "Definitions\n\n- **n**: how many\n");
    free(text);
    json_decref(report);
}
END_TEST

/* Texts that the page must contain in this order. */
static const char *const on_page[] = {"<p class=\"kind\">Test</p>",
                                      "<h1>a_b*</h1>",
                                      "1,450,103 in all.",
                                      "<b>21.89 %</b> <span>of all</span>",
                                      ">Rows</h2>",
                                      "<p>There are 2.</p>",
                                      "<span>2 rows</span></caption>",
                                      "<th scope=\"row\">q</th>",
                                      "The table shows the first 1 of 2 rows;",
                                      "<ul>\n<li>q of a_b*</li>\n</ul>",
                                      "<b>Note:</b> Mind a_b*.",
                                      "<code>organ d.1/OUT.gguf</code>",
                                      ">count of 1</th><td>1,450,103</td>",
                                      "<p>Part 2.</p>",
                                      "<p>Twice 4 of a_b*.</p>",
                                      "<b>Read this</b>",
                                      "<p>1 of 2, k.</p>",
                                      "<p>a 1.</p>\n<p>b 4.</p>\n<p>a_b*</p>\n<p>below</p>",
                                      ">meaning</th>",
                                      ">Definitions</h2>",
                                      "<p>Behind the ending.</p>"};

START_TEST(a_view_is_drawn_as_a_page)
{
    json_t *const report = open_document();
    organ_error error = {0};
    char *text = NULL;
    ck_assert_int_eq(organ_view_page(&view, report, &text, &error), ORGAN_OK);
    const char *at = strstr(text, "<body>");
    for (size_t k = 0; k < COUNT(on_page); k++) {
        const char *const found = strstr(at, on_page[k]);
        ck_assert_msg(found != NULL, "%s is not there, or not behind what is before it", on_page[k]);
        at = found + strlen(on_page[k]);
    }
    ck_assert_ptr_null(strstr(text, "Never."));
    ck_assert_ptr_null(strstr(strstr(text, ">Definitions</h2>") + 1, ">Definitions</h2>"));
    ck_assert_ptr_null(strstr(text, ">k</th>"));
    ck_assert_ptr_null(strstr(text, ORGAN_FIELD_MISSING));
    free(text);
    json_decref(report);
}
END_TEST

static const organ_block asking[] = {
    SAY(ON_ALL, "yes&!null|one=1", "{name?{rows.*.note=odd?a|b}|{typed?c}}"),
    EACH(ON_ALL, "rows", BLOCKS(SAY(ON_ALL, "/count>1", "{n>2?{note?x}}"), SAY(ON_ALL, "nothing=1", "")),
         .where = "role=q&wrong"),
    PART(ON_ALL, "part", BLOCKS(SAY(ON_ALL, "count", ""), SAY(ON_ALL, "name", "{/name?x}"))),
    PART(ON_ALL, "nowhere", BLOCKS(SAY(ON_ALL, "inside", ""))),
};
static const organ_view requested = {
    .schema = "organ.test/1", .kind = "Test", .title = "{empty?x}{absent?y}", BLOCKS_OF(asking)};

START_TEST(conditions_that_name_nothing_are_found)
{
    static const char *const bad[] = {"typed", "wrong", "nothing", "inside"};
    json_t *const report = open_document(), *const paths = condition_paths(&requested);
    const char *path;
    json_t *met;
    size_t missing = 0;
    condition_paths_meet(paths, &requested, report);
    for (size_t k = 0; k < COUNT(bad); k++)
        ck_assert_msg(json_is_false(json_object_get(paths, bad[k])), "%s", bad[k]);
    ck_assert(json_is_false(json_object_get(paths, "absent")));
    json_object_foreach(paths, path, met) { missing += json_is_false(met); }
    ck_assert_uint_eq(missing, COUNT(bad) + 1);
    ck_assert_uint_eq(json_object_size(paths), 17);
    json_decref(report);
    json_decref(paths);
}
END_TEST

/* ---- charts ---- */

static const char charted[] = "{\"rows\": [{\"role\": \"q\", \"layer\": 0, \"part\": 0.25, \"low\": 0.1, \"more\": "
                              "\"odd\", \"list\": [7.25, null]},"
                              " {\"role\": \"q\", \"layer\": 1, \"part\": 0.5, \"low\": 0.2, \"list\": [1, 2, 3]},"
                              " {\"role\": \"k\", \"layer\": 0, \"part\": null, \"low\": 0.15}, {\"role\": \"q\", "
                              "\"layer\": null, \"part\": 0.125}],"
                              " \"sizes\": [{\"role\": \"a\", \"bytes\": 2500000}, {\"role\": \"b\", \"bytes\": "
                              "500000}], \"costs\": [{\"name\": \"dear\", \"x\": 8, "
                              "\"e\": 0.5}, {\"name\": \"unknown\"}, {\"name\": \"cheap\", \"x\": 2}], \"none\": []}";

static const char *const columns[] = {"part", "nowhere", "low", NULL};
static const char *const kinds[] = {"k", "q", "other", NULL};
static const organ_panels_of panels = {
    .style = {.title = "Panels", .description = "d", .y_label = "v", .band_name = "usual: up to here"},
    .role = "role",
    .series = {{"part of {rows:size}", "rows", "part", 0, false}, {"never", "gone", "low", 0, true}},
    .edges = {NULL, "low"},
    .caption = "One panel a role"};
static const organ_block charts[] = {
    BARS(NULL, "rows",
         .style =
             {.title = "Sums", .description = "d", .value_label = "v", .series = {"part"}, .digits = 3, .unit = " %"},
         .name = "role", .values = {"part"}, .sums = true, .spread = "rows", .factor = 100,
         .caption = "{rows:size} rows"),
    MAP(NULL, "rows", .style = {.title = "Map", .description = "d", .value_label = "v"}, .role = "role",
        .value = "part", .factor = 100, .step = 20, .caption = "A map"),
    MAP(NULL, "none", .style = {.title = "No map", .description = "d", .value_label = "v"}, .role = "role",
        .value = "part", .caption = "-"),
    BARS(NULL, "sizes",
         .style = {.title = "Sizes",
                   .subtitle = "{none?some}",
                   .description = "d",
                   .value_label = "size",
                   .series = {"size", "of {sizes:size} sizes"},
                   .digits = 3},
         .name = "role", .values = {"bytes"}, .bytes = true, .low = "none", .high = "none", .caption = "In units"),
    MAP(NULL, "sizes", .style = {.title = "Room", .description = "d", .value_label = "room"}, .role = "role",
        .value = "bytes", .zero = true, .bytes = true, .caption = "From 0"),
    {.kind = ORGAN_BLOCK_BARS,
     .on = ON_PAGE,
     .rows = "rows",
     .where = "part>0",
     .bars =
         &(const organ_bars_of){
             .style = {.title = "Ends", .description = "d", .value_label = "v", .series = {"part"}, .digits = 3},
             .name = "role",
             .values = {"part"},
             .low = "low",
             .high = "part",
             .remark = "{more?so {more}}",
             .depth = "layer",
             .caption = "With remarks"}},
    BARS(NULL, "costs",
         .style = {.title = "Costs", .description = "d", .value_label = "v", .series = {"cost"}, .digits = 3},
         .named = "{name} one", .values = {"x"}, .error = "e", .ascending = true, .caption = "In order"),
    GRID(NULL, "rows",
         .style = {.title = "Grid",
                   .description = "d",
                   .row_label = "role",
                   .column_label = "what",
                   .value_label = "v",
                   .high = 90},
         .name = "role", .members = columns, .factor = 100, .step = 15, .floor = 30, .caption = "A grid"),
    GRID(NULL, "rows",
         .style = {.title = "List",
                   .description = "d",
                   .row_label = "role",
                   .column_label = "place",
                   .value_label = "v",
                   .high = 8},
         .name = "role", .values = "list", .caption = "A grid of lists"),
    CURVES(NULL, "rows", .style = {.title = "Lines", .description = "d", .y_label = "v"}, .name = "role",
           .value = "part", .only = "part>0", .caption = "Of roles"),
    CURVES(NULL, "rows", .style = {.title = "Members", .description = "d", .y_label = "v"}, .values = {"part", "low"},
           .caption = "Of members"),
    CURVES(NULL, "rows", .style = {.title = "No lines", .description = "d", .y_label = "v"}, .name = "role",
           .value = "part", .only = "gone", .caption = "-"),
    POINTS(NULL, "rows", NULL,
           .style = {.title = "Points",
                     .subtitle = "{rows:size} rows",
                     .description = "d",
                     .x_label = "x",
                     .y_label = "y",
                     .kinds = kinds},
           .name = "role", .x = "low", .y = "part", .kind = "role", .x_factor = 10, .named = 1, .caption = "Far out"),
};
static const organ_block panel_blocks[] = {PANELS(NULL, &panels)};
static const organ_block panel_part[] = {PART(ON_PAGE, "inner", BLOCKS_OF(panel_blocks))};
static const organ_view panels_view = {
    .schema = "organ.test/1", .kind = "Test", .title = "panels", BLOCKS_OF(panel_part)};
static const organ_view charts_view = {.schema = "organ.test/1", .kind = "Test", .title = "charts", BLOCKS_OF(charts)};

START_TEST(charts_are_drawn_of_rows)
{
    json_t *const report = json_loads(charted, 0, NULL);
    organ_error error = {0};
    char *text = NULL;
    ck_assert_int_eq(organ_view_page(&charts_view, report, &text, &error), ORGAN_OK);
    ck_assert_ptr_nonnull(strstr(text, "Figure 1. 4 rows"));
    ck_assert_ptr_nonnull(strstr(text, ">87.5 %</text>"));
    ck_assert_ptr_nonnull(strstr(text, "Figure 2. A map"));
    ck_assert_ptr_null(strstr(text, "No map"));
    ck_assert_ptr_nonnull(strstr(text, "Figure 3. In units"));
    ck_assert_ptr_nonnull(strstr(text, ">size, MB</text>"));
    ck_assert_ptr_nonnull(strstr(text, ">0.50 MB</text>"));
    ck_assert_ptr_nonnull(strstr(text, ">of 2 sizes<"));
    size_t whiskers = 0; /* of Sums, Ends and Costs; Sizes has none */
    for (const char *at = text; (at = strstr(at, ">whisker from<")); at++)
        whiskers++;
    ck_assert_uint_eq(whiskers, 3);
    const char *const cheap = strstr(text, ">cheap one</text>"), *const dear = strstr(text, ">dear one</text>"),
                      *const unknown = strstr(text, ">unknown one</text>");
    ck_assert(cheap && dear && unknown && cheap < dear && dear < unknown);
    ck_assert_ptr_nonnull(strstr(dear, "<td>7.5</td><td>8.5</td>"));
    ck_assert_ptr_nonnull(strstr(text, "Figure 4. From 0"));
    ck_assert_ptr_nonnull(strstr(text, ">room, MB</text>"));
    ck_assert_ptr_nonnull(strstr(text, "so odd"));
    ck_assert_ptr_nonnull(strstr(text, ">low</text>"));
    ck_assert_ptr_null(strstr(text, "nowhere"));
    ck_assert_ptr_nonnull(strstr(text, "7.25"));
    ck_assert_ptr_nonnull(strstr(text, "Figure 9. Of roles"));
    ck_assert_ptr_nonnull(strstr(text, "Figure 10. Of members"));
    ck_assert_ptr_null(strstr(text, "No lines"));
    ck_assert_ptr_nonnull(strstr(text, "Figure 11. Far out"));
    ck_assert_ptr_nonnull(strstr(text, ">4 rows"));
    ck_assert_ptr_null(strstr(text, "class=\"lead\""));
    free(text);
    json_decref(report);
}
END_TEST

START_TEST(panels_are_of_the_row_and_have_edges)
{
    json_t *const inner = json_loads(charted, 0, NULL), *const report = json_pack("{s:o}", "inner", inner);
    organ_error error = {0};
    char *text = NULL;
    ck_assert_int_eq(organ_view_page(&panels_view, report, &text, &error), ORGAN_OK);
    ck_assert_ptr_nonnull(strstr(text, "Figure 1. One panel a role"));
    ck_assert_ptr_nonnull(strstr(text, "part of 4"));
    ck_assert_ptr_nonnull(strstr(text, "usual: up to here"));
    ck_assert_ptr_null(strstr(text, "never"));
    free(text);
    json_decref(report);
}
END_TEST

int main(void)
{
    Suite *const suite = suite_create("blocks");
    TCase *const words = tcase_create("words"), *const views = tcase_create("views");
    tcase_add_loop_test(words, words_say_what_the_document_has, 0, COUNT(said));
    tcase_add_test(words, words_are_written_for_where_they_go);
    tcase_add_loop_test(words, conditions_hold, 0, COUNT(conditions));
    tcase_add_test(views, a_view_is_written_for_a_terminal);
    tcase_add_loop_test(views, the_last_line_names_the_bound, 0, COUNT(bounds));
    tcase_add_test(views, a_view_is_written_as_markdown);
    tcase_add_test(views, a_view_is_drawn_as_a_page);
    tcase_add_test(views, conditions_that_name_nothing_are_found);
    tcase_add_test(views, charts_are_drawn_of_rows);
    tcase_add_test(views, panels_are_of_the_row_and_have_edges);
    suite_add_tcase(suite, words);
    suite_add_tcase(suite, views);
    SRunner *const runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
