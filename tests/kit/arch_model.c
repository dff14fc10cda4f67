/* SPDX-License-Identifier: MIT
 * arch_model TYPE DIRECTORY: makes the small model of fixtures/architectures/TYPE with a tokenizer, for scripts. */
#include "tests/kit/arch_maker.h"
#include "tests/kit/forward_rig.h"

#include <stdio.h>
#include <stdlib.h>

enum { LETTERS = 94, WORDS = 256 };

static const char *type, *directory;

/* The makers report failures to Check, so they run inside a test. */
START_TEST(the_model_is_made)
{
    char path[4096];
    ck_assert_int_lt(snprintf(path, sizeof path, "%s/tokenizer.json", directory), sizeof path);
    arch_reference reference = arch_make(type, directory);
    arch_reference_free(&reference);
    make_tokenizer(path, WORDS - LETTERS);
}
END_TEST

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: arch_model TYPE DIRECTORY\n");
        return 2;
    }
    type = argv[1];
    directory = argv[2];
    Suite *const suite = suite_create("arch_model");
    TCase *const made = tcase_create("made");
    tcase_add_test(made, the_model_is_made);
    suite_add_tcase(suite, made);
    SRunner *const runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_MINIMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
