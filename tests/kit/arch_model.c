/* SPDX-License-Identifier: MIT
 * arch_model TYPE DIRECTORY: makes the small model of fixtures/architectures/TYPE with a tokenizer, for scripts.
 * arch_model TYPE FILE.gguf: makes its GGUF file without a tokenizer. */
#include "tests/kit/arch_maker.h"
#include "tests/kit/forward_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LETTERS = 94, WORDS = 256 };

static const char *type, *output;

/* The makers report failures to Check, so they run inside a test. */
START_TEST(the_model_is_made)
{
    char path[4096];
    const char *const end = strrchr(output, '.');
    const bool is_gguf = end && strcmp(end, ".gguf") == 0;
    arch_reference reference = is_gguf ? arch_make_gguf(type, output, "") : arch_make(type, output);
    arch_reference_free(&reference);
    if (is_gguf)
        return;
    ck_assert_int_lt(snprintf(path, sizeof path, "%s/tokenizer.json", output), sizeof path);
    make_tokenizer(path, WORDS - LETTERS);
    /* as transformers saves a tokenizer whose parts are not those of the class of its model type */
    ck_assert_int_lt(snprintf(path, sizeof path, "%s/tokenizer_config.json", output), sizeof path);
    FILE *const config = fopen(path, "w");
    ck_assert_ptr_nonnull(config);
    fputs("{\"tokenizer_class\": \"PreTrainedTokenizerFast\"}\n", config);
    ck_assert_int_eq(fclose(config), 0);
}
END_TEST

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: arch_model TYPE DIRECTORY|FILE.gguf\n");
        return 2;
    }
    type = argv[1];
    output = argv[2];
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
