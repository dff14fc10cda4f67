/* SPDX-License-Identifier: MIT */
#include "formats/model/recognise.h"
#include "tests/verbs/quantize/convert_rig.h"

#include <organ/weights.h>
#include <organ/stream.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

json_t *convert_report;

void convert_setup(void)
{
    fault_clear();
    scratch_make();
    make_model(scratch_path("donor"), 2, 160);
}

void convert_teardown(void)
{
    fault_clear();
    json_decref(convert_report);
    convert_report = NULL;
    scratch_remove();
}

static organ_status convert_on(const organ_engine *engine, const char *output, const convert_way *w, organ_error *error)
{
    const char *const model = w->model ? w->model : scratch_path("donor"), *const to = scratch_path("%s", output);
    const uint64_t max = w->max ? w->max : (uint64_t)1 << 40;
    if (w->scheme) {
        const organ_quantize_options o = {.model = model,
                                          .write.output = to,
                                          .scheme = w->scheme,
                                          .format = w->format,
                                          .targets = w->targets,
                                          .gguf.type_of = w->type_of,
                                          .gguf.imatrix = w->imatrix,
                                          .method = w->calibration && !w->nearest ? "gptq" : NULL,
                                          .activations.like_weights = w->activations,
                                          .activations.type = w->activation_type,
                                          .activations.scale = w->activation_scale,
                                          .activations.observer = w->activation_observer,
                                          .kv_cache = w->kv_cache,
                                          .smooth.alpha = w->smooth,
                                          .calibration.text = w->calibration,
                                          .calibration.samples = w->samples,
                                          .calibration.context = w->context,
                                          .write.max_shard_size = max,
                                          .write.resume = w->resume,
                                          .write.force = w->force,
                                          .write.dry_run = w->dry_run};
        return organ_quantize(&o, engine, w->progress, &convert_report, error);
    }
    const organ_dequantize_options o = {.model = model,
                                        .write.output = to,
                                        .dtype = w->dtype ? w->dtype : "bf16",
                                        .write.max_shard_size = max,
                                        .write.resume = w->resume,
                                        .write.force = w->force,
                                        .write.dry_run = w->dry_run,
                                        .write.saturate = w->saturate};
    return organ_dequantize(&o, engine, w->progress, &convert_report, error);
}

organ_status convert(const char *output, convert_way w, organ_error *error)
{
    run_engine room;
    *error = (organ_error){0};
    json_decref(convert_report);
    convert_report = NULL;
    run_engine_open(&room, (run_way){.isa = w.isa, .threads = w.threads, .memory = w.memory, .stop = w.stop});
    const organ_status status = convert_on(&room.engine, output, &w, error);
    ck_assert_int_eq(status, error->status);
    ck_assert_int_eq(convert_report != NULL, status == ORGAN_OK);
    run_engine_close(&room);
    return status;
}

void must_convert(const char *output, convert_way way)
{
    organ_error error;
    ck_assert_msg(convert(output, way, &error) == ORGAN_OK, "%s", error.message);
}

organ_model *open_sound(const char *name)
{
    organ_model *model;
    organ_error error = {0};
    ck_assert_msg(organ_model_open_codes(scratch_path("%s", name), NULL, &model, &error) == ORGAN_OK, "%s",
                  error.message);
    ck_assert_msg(model->problem_count == 0, "%s", model->problem_count ? model->problems[0] : "");
    return model;
}

unsigned char *bytes_of(const organ_model *model, const char *name, organ_dtype dtype, size_t *bytes)
{
    organ_error error = {0};
    const organ_tensor *const tensor = organ_model_find(model, name);
    ck_assert_msg(tensor != NULL, "%s is not there", name);
    ck_assert_msg(tensor->dtype == dtype, "%s is %s", name, organ_dtype_describe(tensor->dtype)->name);
    unsigned char *const data = malloc(tensor->bytes + 1);
    ck_assert_int_eq(organ_model_read(model, tensor->file, data, tensor->bytes, tensor->offset, &error), ORGAN_OK);
    *bytes = tensor->bytes;
    return data;
}

float *numbers_of(const organ_model *model, const char *name, size_t *count)
{
    organ_error error = {0};
    organ_weights *weights;
    organ_weight_reader *reader;
    char note[256];
    ck_assert_msg(organ_weights_find(model, &weights, &error) == ORGAN_OK, "%s", error.message);
    const organ_weight *const weight = organ_weights_named(weights, name);
    ck_assert_msg(weight != NULL, "%s is not there", name);
    ck_assert_int_eq(organ_weight_reader_open(model, weight, organ_kernels_scalar, note, &reader, &error), ORGAN_OK);
    const size_t rows = (size_t)organ_weight_reader_rows(reader);
    *count = rows * (size_t)organ_weight_reader_cols(reader);
    float *const values = aligned_alloc(64, (*count * 4 + 63) / 64 * 64);
    void *const scratch = aligned_alloc(64, organ_weight_reader_scratch(reader, rows) + 64);
    ck_assert_msg(organ_weight_read(reader, 0, rows, ORGAN_F32, values, scratch, &error) == ORGAN_OK, "%s",
                  error.message);
    free(scratch);
    organ_weight_reader_close(reader);
    organ_weights_free(weights);
    return values;
}

void convert_refused(convert_way way, organ_status status, const char *words)
{
    organ_error error;
    ck_assert_msg(convert("out.gguf", way, &error) == status, "%s", error.message);
    ck_assert_msg(strstr(error.message, words), "%s", error.message);
    ck_assert(!scratch_left("out.gguf"));
}

void convert_forget(const char *output)
{
    static const char *const endings[] = {"gguf", "quantize.json", "QUANTIZE_REPORT.md", "QUANTIZE_REPORT.html"};
    for (size_t k = 0; k < 4; k++)
        ck_assert_int_eq(remove(scratch_path("%s.%s", output, endings[k])), 0);
}
