/* SPDX-License-Identifier: MIT
 * Tests that tests/fuzz/page_scan.c finds foreign markup in a page, so that the fuzzer notices a report that does not
 * escape it. */
#include "tests/fuzz/page_scan.h"
#include <check.h>

#include <stdlib.h>

#define W FUZZ_PAYLOAD

START_TEST(markup_of_a_text_is_seen)
{
    static const char *const pages[] = {
        "<p>a <" W "></p>",
        "<p " W "=\"1\">",
        "<p class=\"a\"" W "=\"1\">",
        "<p onclick=\"x\">",
        "<p class=a>",
        "<p class=\"a\"b\">",
        "<p title=\"<b>\">",
        "<p title=\"no end",
        "<p ",
        "a < b",
        "<script>let a = \"" W "\";</script>",
        "<style>." W " { }</style>",
        "<script>let a;",
        "<!-- " W " -->",
        "<iframe></iframe>",
        "<img alt=\"a\">",
        "<svg><foreignObject></foreignObject></svg>",
        "<a href=\"javascript:x\">",
        "<a href=\"https://example.org/\">",
        "<p>&" W ";</p>",
    };
    ck_assert_msg(fuzz_page_fault(pages[_i]) != NULL, "nothing is found in %s", pages[_i]);
}
END_TEST

START_TEST(what_is_escaped_is_no_markup)
{
    static const char *const pages[] = {
        "<!doctype html>\n<p class=\"a b\" hidden>&lt;" W "&gt; onload=x &amp;" W ";</p>",
        "<a href=\"#main\" title=\"&quot; " W "=1\">x</a><br/>",
        "<script>const a = \"<p>\";</script><style>a > b { }</style>",
        "<svg viewBox=\"0 0 1 1\"><path d=\"M0 0\"/></svg>",
    };
    ck_assert_msg(fuzz_page_fault(pages[_i]) == NULL, "%s: %s", pages[_i], fuzz_page_fault(pages[_i]));
}
END_TEST

int main(void)
{
    Suite *const s = suite_create("page_scan");
    TCase *const cases = tcase_create("page_scan");
    tcase_add_loop_test(cases, markup_of_a_text_is_seen, 0, 20);
    tcase_add_loop_test(cases, what_is_escaped_is_no_markup, 0, 4);
    suite_add_tcase(s, cases);
    SRunner *const runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
