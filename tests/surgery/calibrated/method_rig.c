/* SPDX-License-Identifier: MIT */
#include "tests/surgery/calibrated/method_rig.h"

#include "tests/kit/forward_rig.h"
#include "tests/kit/model_maker.h"

#include <check.h>
#include <string.h>

json_t *last_report;

void method_setup(void)
{
    fault_clear();
    scratch_make();
}

void method_teardown(void)
{
    fault_clear();
    json_decref(last_report);
    last_report = NULL;
    scratch_remove();
}

organ_status method_prune(const char *output, const method_way *w, organ_error *error)
{
    session s;
    const organ_prune_options o = {.donor = w->donor,
                                   .output = scratch_path("%s", output),
                                   .block_size = 256,
                                   .iterations = 30,
                                   .beta = 2,
                                   .coupling = 1,
                                   .sparsity = w->sparsity,
                                   .targets = w->targets,
                                   .force = w->force};
    json_decref(last_report);
    last_report = NULL;
    /* The engine is what is wanted of it. */
    (void)session_open(&s, "fixtures/tiny-qwen2", w->threads, w->memory ? w->memory : ROOMY, error);
    ck_assert_int_eq(error->status, ORGAN_OK);
    s.engine.stop = w->stop;
    const organ_status status = organ_prune_by_method(&o, &w->options, &s.engine, NULL, &last_report, error);
    ck_assert_int_eq(status, error->status);
    ck_assert((last_report != NULL) == (status == ORGAN_OK));
    session_close(&s);
    return status;
}

void method_must_have_failed(organ_status got, organ_status status, const organ_error *error, const char *told)
{
    ck_assert_msg(got == status, "ends with %d instead of %d: %s", (int)got, (int)status, error->message);
    ck_assert_msg(strstr(error->message, told) != NULL, "'%s' does not say '%s'", error->message, told);
    ck_assert(!scratch_left("out"));
}
