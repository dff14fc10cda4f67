/* SPDX-License-Identifier: MIT
 * Tests of formats/. */
#include "tests/formats/check_formats.h"

#include <stdlib.h>

int main(void)
{
    SRunner *runner = srunner_create(status_suite());
    srunner_add_suite(runner, safetensors_suite());
    srunner_add_suite(runner, shards_suite());
    srunner_add_suite(runner, names_suite());
    srunner_add_suite(runner, config_suite());
    srunner_add_suite(runner, anatomy_suite());
    srunner_add_suite(runner, module_names_suite());
    srunner_add_suite(runner, mlx_view_suite());
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
