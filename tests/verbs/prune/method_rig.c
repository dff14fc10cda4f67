/* SPDX-License-Identifier: MIT */
#include "tests/verbs/prune/method_rig.h"

#include "tests/kit/forward_rig.h"
#include "tests/kit/model_maker.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

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

void method_make_donor(const char *kind)
{
    static const char *const of_directory[] = {"/model.safetensors", "/config.json"};
    const bool single = strstr(kind, ".gguf") != NULL;
    char path[200], text[4000];
    uint32_t state = 7;
    mkdir(scratch_path("donor"), 0755);
    for (size_t k = 0; k < (single ? 1 : 2); k++) {
        snprintf(path, sizeof path, "fixtures/forward/%s%s", kind, single ? "" : of_directory[k]);
        copy_file(path, scratch_path("donor%s", single ? "/model.gguf" : of_directory[k]));
    }
    make_tokenizer(scratch_path("donor/tokenizer.json"), 0);
    for (size_t k = 0; k < sizeof text; k++)
        text[k] = (char)('!' + (state = state * 1664525 + 1013904223) / 65536 % 94);
    spill(scratch_path("text"), text, sizeof text);
}

organ_status method_prune(const char *output, const method_way *w, organ_error *error)
{
    session s;
    const organ_prune_options o = {.donor = w->donor,
                                   .write.output = scratch_path("%s", output),
                                   .block_size = 256,
                                   .iterations = 30,
                                   .beta = 2,
                                   .coupling = 1,
                                   .sparsity = w->sparsity,
                                   .targets = w->targets,
                                   .write.resume = w->resume,
                                   .write.force = w->force,
                                   .moments = w->moments,
                                   .calibrated = w->options};
    json_decref(last_report);
    last_report = NULL;
    /* The test needs the engine only. */
    (void)session_open(&s, "fixtures/tiny-qwen2", w->threads, w->memory ? w->memory : ROOMY, error);
    ck_assert_int_eq(error->status, ORGAN_OK);
    s.engine.stop = w->stop;
    const organ_status status = organ_prune(&o, &s.engine, NULL, &last_report, error);
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
