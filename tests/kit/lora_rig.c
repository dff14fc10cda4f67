/* SPDX-License-Identifier: MIT */
#include "tests/kit/lora_rig.h"
#include "tests/kit/require.h"

#include <organ/weights.h>
#include "orchestrator/stream/product.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

json_t *lora_report;

static const made_tensor usual[] = {
    {LORA_PREFIX "model.layers.0.self_attn.q_proj.lora_A.weight", ORGAN_F32, 2, {4, 72}},
    {LORA_PREFIX "model.layers.0.self_attn.q_proj.lora_B.weight", ORGAN_F32, 2, {72, 4}},
    {LORA_PREFIX "model.layers.0.self_attn.k_proj.lora_A.weight", ORGAN_BF16, 2, {4, 72}},
    {LORA_PREFIX "model.layers.0.self_attn.k_proj.lora_B.weight", ORGAN_BF16, 2, {72, 4}},
    {LORA_PREFIX "model.layers.1.self_attn.v_proj.lora_A.weight", ORGAN_F16, 2, {4, 72}},
    {LORA_PREFIX "model.layers.1.self_attn.v_proj.lora_B.weight", ORGAN_F32, 2, {72, 4}},
    {LORA_PREFIX "model.layers.1.mlp.up_proj.lora_A.weight", ORGAN_F32, 2, {6, 72}},
    {LORA_PREFIX "model.layers.1.mlp.up_proj.lora_B.weight", ORGAN_F32, 2, {181, 6}},
    {LORA_PREFIX "model.layers.1.mlp.down_proj.lora_A.weight", ORGAN_F32, 2, {2, 181}},
    {LORA_PREFIX "model.layers.1.mlp.down_proj.lora_B.weight", ORGAN_F32, 2, {72, 2}},
    {LORA_PREFIX "model.embed_tokens.lora_embedding_A", ORGAN_F32, 2, {4, 216}},
    {LORA_PREFIX "model.embed_tokens.lora_embedding_B", ORGAN_F32, 2, {72, 4}},
    {LORA_PREFIX "model.norm.weight", ORGAN_F32, 1, {72}},
};

static const made_tensor further[] = {LORA_PAIR("model.layers.0.self_attn.q_proj", 3, 72, 72),
                                      LORA_PAIR("model.layers.1.mlp.up_proj", 6, 181, 72),
                                      LORA_PAIR("model.layers.1.self_attn.o_proj", 3, 72, 72)};

void lora_adapter(const char *name, const char *members, const made_tensor *tensors, size_t count)
{
    char text[2048];
    mkdir(scratch_path("%s", name), 0777);
    make_shard(scratch_path("%s/adapter_model.safetensors", name), tensors, count);
    const int length = snprintf(text, sizeof text, "{\"peft_type\": \"LORA\", %s}", members);
    spill(scratch_path("%s/adapter_config.json", name), text, (size_t)length);
}

void lora_setup(void)
{
    fault_clear();
    scratch_make();
    make_model(scratch_path("donor"), 2, 72);
    lora_adapter("adapter",
                 "\"r\": 4, \"lora_alpha\": 6, \"rank_pattern\": {\"up_proj\": 6, \"down_proj\": 2}, "
                 "\"alpha_pattern\": {\"down_proj\": 3, "
                 "\"layers.0\\\\..*\": 60}, \"target_modules\": [\"q_proj\", \"k_proj\", \"v_proj\", \"up_proj\", "
                 "\"down_proj\", "
                 "\"embed_tokens\"], \"modules_to_save\": [\"model.norm\"], \"base_model_name_or_path\": \"donor\"",
                 usual, sizeof usual / sizeof *usual);
    spill(scratch_path("adapter/README.md"), "kept\n", 5);
    lora_adapter("second",
                 "\"r\": 3, \"lora_alpha\": 4, \"use_rslora\": true, \"rank_pattern\": {\"up_proj\": 6}, "
                 "\"target_modules\": [\"q_proj\", \"o_proj\", \"up_proj\"], \"base_model_name_or_path\": \"donor\"",
                 further, sizeof further / sizeof *further);
}

void lora_teardown(void)
{
    fault_clear();
    json_decref(lora_report);
    lora_report = NULL;
    scratch_remove();
}

static const char *place(const char *name, const char *usually)
{
    const char *const chosen = name ? name : usually;
    return chosen && *chosen != '/' ? scratch_path("%s", chosen) : chosen;
}

static organ_status call(const lora_way *w, const organ_engine *engine, organ_error *error)
{
    const char *const adapter = place(w->adapter, "adapter"), *const output = place(w->output, NULL);
    const organ_lora_merge_options merge = {.base = place(w->base, "donor"),
                                            .adapter = adapter,
                                            .write.output = output,
                                            .scale = w->scale != 0 ? w->scale : 1,
                                            .dtype = w->dtype,
                                            .feedback = w->feedback,
                                            .keep_tied = w->keep_tied,
                                            .write.max_shard_size = w->max ? w->max : 5000000000u,
                                            .write.resume = w->resume,
                                            .write.force = w->force,
                                            .write.dry_run = w->dry_run};
    const organ_lora_sanitize_options sanitize = {.adapter = adapter,
                                                  .output = output,
                                                  .base = place(w->base, NULL),
                                                  .max_rank = w->rank,
                                                  .check = w->check,
                                                  .force = w->force,
                                                  .resume = w->resume};
    const organ_lora_resize_options resize = {.adapter = adapter,
                                              .output = output,
                                              .rank = w->rank,
                                              .energy = w->energy,
                                              .force = w->force,
                                              .resume = w->resume};
    const char *const adapters[] = {adapter, place(w->other, "second")};
    const organ_lora_combine_options combine = {.adapters = adapters,
                                                .adapter_count = 2,
                                                .method = w->method ? w->method : "cat",
                                                .weights = w->weights,
                                                .density = w->density,
                                                .majority_sign = "total",
                                                .rank = w->rank,
                                                .dtype = w->dtype,
                                                .write.output = output,
                                                .write.resume = w->resume,
                                                .write.force = w->force,
                                                .write.dry_run = w->dry_run};
    switch (w->verb) {
    case LORA_COMBINE:
        return organ_lora_combine(&combine, engine, NULL, &lora_report, error);
    case LORA_MERGE:
        return organ_lora_merge(&merge, engine, NULL, &lora_report, error);
    case LORA_SANITIZE:
        return organ_lora_sanitize(&sanitize, engine, NULL, &lora_report, error);
    case LORA_RESIZE:
    default:
        return organ_lora_resize(&resize, engine, NULL, &lora_report, error);
    }
}

organ_status lora_run(lora_way w, organ_error *error)
{
    run_engine room;
    *error = (organ_error){0};
    json_decref(lora_report);
    lora_report = NULL;
    run_engine_open(&room, (run_way){.threads = w.threads, .memory = w.memory, .stop = w.stop});
    const organ_status status = call(&w, &room.engine, error);
    ck_assert_int_eq(status, error->status);
    run_engine_close(&room);
    return status;
}

void lora_must(lora_way way)
{
    organ_error error;
    ck_assert_msg(lora_run(way, &error) == ORGAN_OK, "%s", error.message);
    ck_assert_ptr_nonnull(lora_report);
}

void lora_refused(lora_way way, organ_status status, const char *text)
{
    organ_error error;
    ck_assert_msg(lora_run(way, &error) == status, "%d instead of %d: %s", (int)error.status, (int)status,
                  error.message);
    ck_assert_msg(strstr(error.message, text), "no \"%s\" in: %s", text, error.message);
    if (way.output && *way.output != '/')
        ck_assert(!scratch_left(way.output));
}

static float *widened(const organ_model *model, const organ_tensor *t)
{
    organ_error error = {0};
    float *const values = malloc(t->elements * sizeof *values + 1);
    void *const raw = malloc(t->bytes + 1);
    ck_assert_msg(organ_model_read(model, t->file, raw, t->bytes, t->offset, &error) == ORGAN_OK, "%s", error.message);
    organ_widen(organ_kernels_scalar, t->dtype, raw, values, t->elements);
    free(raw);
    return values;
}

float *lora_values(const char *path, const char *tensor, size_t *count)
{
    organ_model *model;
    organ_error error = {0};
    ck_assert_msg(organ_model_open(path, &model, &error) == ORGAN_OK, "%s", error.message);
    const organ_tensor *const t = organ_model_find(model, tensor);
    float *const values = t ? widened(model, t) : NULL;
    if (count)
        *count = t ? t->elements : 0;
    organ_model_close(model);
    return values;
}

double *lora_product(const char *name, const char *module, size_t *out, size_t *in)
{
    organ_adapter *adapter;
    organ_error error = {0};
    ck_assert_msg(organ_adapter_open(place(name, NULL), &adapter, &error) == ORGAN_OK, "%s", error.message);
    const organ_adapter_pair *const p = organ_adapter_find(adapter, module);
    ck_assert_msg(p != NULL, "%s has no %s", name, module);
    float *const a = widened(adapter->model, p->a), *const b = widened(adapter->model, p->b);
    *out = p->out_features;
    *in = p->in_features;
    double *const d = malloc(*out * *in * sizeof *d);
    for (size_t i = 0; i < *out; i++)
        for (size_t j = 0; j < *in; j++) {
            double sum = 0;
            for (size_t k = 0; k < p->rank; k++)
                sum += (double)b[i * p->rank + k] * (double)a[k * *in + j];
            d[i * *in + j] = p->scale * sum;
        }
    free(a);
    free(b);
    organ_adapter_close(adapter);
    return d;
}

void lora_poison_file(const char *path, const char *tensor, size_t at, uint32_t bits)
{
    organ_model *model;
    organ_error error = {0};
    ck_assert_int_eq(organ_model_open(path, &model, &error), ORGAN_OK);
    const organ_tensor *const t = organ_model_find(model, tensor);
    const int fd = open(model->files[0].path, O_WRONLY);
    ck_assert_int_eq(pwrite(fd, &bits, 4, (off_t)(t->offset + 4 * at)), 4);
    close(fd);
    organ_model_close(model);
}

void lora_poison(const char *tensor, size_t at, uint32_t bits)
{
    lora_poison_file(scratch_path("adapter/adapter_model.safetensors"), tensor, at, bits);
}

double lora_merged_value(const double *d, const float *w, size_t k, bool transposed, size_t rows, size_t cols,
                         double scale)
{
    return (double)w[k] + scale * (transposed ? d[k % cols * rows + k / cols] : d[k]);
}

void lora_expect_merged(const char *base, const char *adapter, const char *module, bool transposed, double scale)
{
    char name[128];
    size_t out, in, n;
    snprintf(name, sizeof name, "%s.weight", module);
    double *const d = lora_product(adapter, module, &out, &in);
    float *const was = lora_values(scratch_path("%s", base), name, &n), *const is = lora_values(scratch_path("out"),
                                                                                                name, NULL);
    const size_t rows = transposed ? in : out, cols = transposed ? out : in;
    ck_assert_uint_eq(n, rows * cols);
    for (size_t k = 0; k < n; k++) {
        const double requested = lora_merged_value(d, was, k, transposed, rows, cols, scale);
        REQUIRE_MSG(fabs((double)is[k] - requested) <= 2e-6 * (0.01 + fabs(requested)), "%s, value %zu: %.9g, not %.9g",
                    name, k, (double)is[k], requested);
    }
    free(d);
    free(was);
    free(is);
}
