/* SPDX-License-Identifier: MIT
 * conditions FILE.json...: checks that the conditions of the views of these documents name members that one of the
 * documents has. */
#include "tests/kit/condition_rig.h"
#include "tests/kit/suite_table.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

static json_t **documents;
static size_t count;

START_TEST(conditions_name_members) { conditions_must_name_members(documents, count); }
END_TEST

static int run(void)
{
    Suite *const suite = suite_create("conditions");
    TCase *const one = tcase_create("documents");
    tcase_add_test(one, conditions_name_members);
    suite_add_tcase(suite, one);
    return run_suites((Suite *const[]){suite, NULL});
}

int main(int argc, char **argv)
{
    int status = 2;
    documents = calloc((size_t)argc, sizeof *documents);
    for (; documents && count + 1 < (size_t)argc; count++) {
        json_error_t error;
        documents[count] = json_load_file(argv[count + 1], 0, &error);
        if (!documents[count]) {
            fprintf(stderr, "conditions: %s: %s\n", argv[count + 1], error.text);
            break;
        }
    }
    if (documents && argc > 1 && count + 1 == (size_t)argc)
        status = run();
    while (count > 0)
        json_decref(documents[--count]);
    free(documents);
    return status;
}
