/* SPDX-License-Identifier: MIT
 * Tests of experts and channels in blocks for multi-token prediction: the cut model drafts what the donor drafts if the
 * routers of layers and block choose only among the kept experts, or if the removed channels are zero. */
#include "orchestrator/forward/drafting.h"
#include "tests/kit/forward_rig.h"
#include "tests/kit/model_maker.h"
#include "tests/kit/require.h"
#include "tests/kit/suite_table.h"

#include <organ/cut.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A dense layer, two layers of experts whose router has corrections and two groups, and a block like these two. */
#define FIXTURE "fixtures/forward/glm4moe"
#define TEXT    "fixtures/tiny-moe/calibration.txt"

enum { LAYERS = 3, EXPERTS = 6, KEPT = 4, CONTEXT = 12, WINDOWS = 2, TOKENS = CONTEXT * WINDOWS };

/* ---- models ---- */

/* Renames the parts of the block, model.layers.3, like those of Qwen3-Next. The caller frees the result. */
static char *own_name(const char *name)
{
    static const char *const parts[][2] = {{"eh_proj.weight", "mtp.fc.weight"},
                                           {"enorm.weight", "mtp.pre_fc_norm_embedding.weight"},
                                           {"hnorm.weight", "mtp.pre_fc_norm_hidden.weight"},
                                           {"shared_head.norm.weight", "mtp.norm.weight"}};
    static const char block[] = "model.layers.3.";
    char made[200];
    if (strncmp(name, block, strlen(block)) != 0)
        return strdup(name);
    snprintf(made, sizeof made, "mtp.layers.0.%s", name + strlen(block));
    for (size_t k = 0; k < sizeof parts / sizeof *parts; k++)
        if (strcmp(name + strlen(block), parts[k][0]) == 0)
            snprintf(made, sizeof made, "%s", parts[k][1]);
    return strdup(made);
}

static void rename_block(const char *from, const char *to)
{
    size_t size, length;
    uint64_t header;
    char *const bytes = slurp(from, &size);
    memcpy(&header, bytes, sizeof header);
    json_t *const names = json_loadb(bytes + 8, (size_t)header, 0, NULL), *const renamed = json_object(), *value;
    const char *name;
    json_object_foreach(names, name, value)
    {
        char *const own = own_name(name);
        json_object_set(renamed, own, value);
        free(own);
    }
    char *const text = json_dumps(renamed, JSON_COMPACT);
    length = strlen(text);
    const uint64_t padded = (length + 7) / 8 * 8, data = size - 8 - header;
    char *const made = calloc(1, (size_t)(8 + padded + data));
    memcpy(made, &padded, 8);
    memset(made + 8, ' ', (size_t)padded);
    memcpy(made + 8, text, length);
    memcpy(made + 8 + padded, bytes + 8 + header, (size_t)data);
    spill(to, made, (size_t)(8 + padded + data));
    json_decref(names);
    json_decref(renamed);
    free(text);
    free(made);
    free(bytes);
}

/* Makes the model `donor`, whose block has names of its own if `own`. */
static void make_donor(bool own)
{
    mkdir(scratch_path("donor"), 0700);
    copy_file(FIXTURE "/config.json", scratch_path("donor/config.json"));
    copy_file("fixtures/tiny-moe/tokenizer.json", scratch_path("donor/tokenizer.json"));
    if (own)
        rename_block(FIXTURE "/model.safetensors", scratch_path("donor/model.safetensors"));
    else
        copy_file(FIXTURE "/model.safetensors", scratch_path("donor/model.safetensors"));
}

/* Sets the second half of the columns of each down projection, in BF16, to zero. */
static void zero_channels(const char *path)
{
    size_t size;
    uint64_t header;
    char *const bytes = slurp(path, &size);
    memcpy(&header, bytes, sizeof header);
    json_t *const names = json_loadb(bytes + 8, (size_t)header, 0, NULL), *value;
    const char *name;
    json_object_foreach(names, name, value)
    {
        const json_t *const shape = json_object_get(value, "shape");
        const json_t *const at = json_array_get(json_object_get(value, "data_offsets"), 0);
        const size_t rows = (size_t)json_integer_value(json_array_get(shape, 0)),
                     cols = (size_t)json_integer_value(json_array_get(shape, 1));
        for (size_t r = 0; strstr(name, "down_proj.weight") && r < rows; r++)
            memset(bytes + 8 + header + json_integer_value(at) + (r * cols + cols / 2) * 2, 0, cols);
    }
    spill(path, bytes, size);
    json_decref(names);
    free(bytes);
}

/* Narrows the feed-forwards and experts by half. */
static void narrow(void)
{
    session s;
    json_t *report = NULL;
    organ_error error = {0};
    organ_width_options o = organ_width_defaults();
    char donor[4096], out[4096];
    ck_assert_msg(session_open(&s, scratch_path("donor"), 2, ROOMY, &error) == ORGAN_OK, "%s", error.message);
    snprintf(donor, sizeof donor, "%s", scratch_path("donor"));
    snprintf(out, sizeof out, "%s", scratch_path("out"));
    o.model = donor;
    o.ffn = "50%";
    o.multiple_of = 4;
    o.no_refit = true;
    o.calibration.text = TEXT;
    o.calibration.samples = 4;
    o.calibration.context = 32;
    o.write.output = out;
    o.write.force = true;
    ck_assert_msg(organ_width(&o, &s.engine, NULL, &report, &error) == ORGAN_OK, "%s", error.message);
    json_decref(report);
    session_close(&s);
}

static json_t *cut(const char *score, const char *isa)
{
    session s;
    const char *why;
    json_t *report = NULL;
    organ_error error = {0};
    organ_experts_options o = organ_experts_defaults();
    ck_assert_msg(session_open(&s, scratch_path("donor"), 2, ROOMY, &error) == ORGAN_OK, "%s", error.message);
    s.engine.kernels = organ_kernels_choose(organ_cpu_detect(), isa, &why);
    char donor[4096], out[4096];
    snprintf(donor, sizeof donor, "%s", scratch_path("donor"));
    snprintf(out, sizeof out, "%s", scratch_path("out"));
    o.model = donor;
    o.keep = "4";
    o.score = score;
    o.calibration.text = TEXT;
    o.calibration.samples = 4;
    o.calibration.context = 32;
    o.write.output = out;
    o.write.force = true;
    ck_assert_msg(organ_experts(&o, &s.engine, NULL, &report, &error) == ORGAN_OK, "%s", error.message);
    session_close(&s);
    return report;
}

/* ---- logits of the layers and of the block ---- */

typedef struct drafts {
    float *model, *block; /* tokens x vocabulary */
    size_t words;
} drafts;

static void take(void *context, size_t k, float *logits)
{
    float *const *const to = context;
    memcpy(to[0] + k * (size_t)(to[1] - to[0]), logits, (size_t)(to[1] - to[0]) * sizeof(float));
}

/* The flags of the kept experts of a layer of the report; NULL: all are kept. */
static const bool *kept_of(const json_t *report, size_t layer, bool flags[EXPERTS])
{
    const json_t *const row = json_array_get(json_object_get(report, "layers"), layer);
    const json_t *const kept = json_object_get(row, "kept_experts");
    memset(flags, 0, EXPERTS * sizeof *flags);
    for (size_t k = 0; k < json_array_size(kept); k++)
        flags[json_integer_value(json_array_get(kept, k))] = true;
    return json_array_size(kept) ? flags : NULL;
}

static organ_layer *load(session *s, size_t number, const json_t *report, organ_error *error)
{
    bool flags[EXPERTS];
    organ_layer *layer = NULL;
    const bool *const kept = report ? kept_of(report, number, flags) : NULL;
    REQUIRE_MSG(organ_layer_load(s->forward, (int32_t)number, &layer, error) == ORGAN_OK, "%s", error->message);
    REQUIRE_MSG(!kept || organ_layer_keep(layer, kept, error) == ORGAN_OK, "%s", error->message);
    return layer;
}

/* Runs the model; with `report`, routers choose only among the experts that it lists as kept. */
static drafts run(const char *path, const json_t *report)
{
    session s;
    organ_error error = {0};
    uint32_t tokens[TOKENS];
    size_t begin[WINDOWS + 1], rows[TOKENS];
    for (size_t t = 0; t < TOKENS; t++) {
        tokens[t] = (uint32_t)(7 + t * 131 % 1900);
        rows[t] = t;
    }
    for (size_t w = 0; w <= WINDOWS; w++)
        begin[w] = w * CONTEXT;
    const organ_windows windows = {tokens, WINDOWS, begin};
    REQUIRE_MSG(session_open(&s, path, 2, ROOMY, &error) == ORGAN_OK, "%s", error.message);
    if (!s.forward)
        REQUIRE_MSG(organ_forward_open(s.model, &s.engine, &s.forward, &error) == ORGAN_OK, "%s", error.message);
    REQUIRE_MSG(organ_forward_open_draft(s.forward, &error) == ORGAN_OK && organ_forward_drafts(s.forward) == 1, "%s",
                error.message);
    const organ_forward_config *const c = organ_forward_describe(s.forward);
    const size_t hidden = (size_t)c->hidden, words = (size_t)c->vocabulary;
    float *const states = calloc(TOKENS * hidden, sizeof *states), *const block =
                                                                       calloc(TOKENS * hidden, sizeof *block);
    drafts made = {calloc(TOKENS * words, sizeof(float)), calloc(TOKENS * words, sizeof(float)), words};
    float *const of_model[] = {made.model, made.model + words}, *const of_block[] = {made.block, made.block + words};
    organ_forward_embed(s.forward, &windows, states, &error);
    for (size_t l = 0; l < LAYERS; l++) {
        organ_layer *const layer = load(&s, l, report, &error);
        organ_layer_run(s.forward, layer, &windows, states, NULL, &error);
        organ_layer_free(layer);
    }
    organ_layer *const layer = load(&s, LAYERS, report, &error);
    organ_draft_windows(s.forward, layer, &windows, states, block, &error);
    organ_layer_free(layer);
    organ_draft_logits(s.forward, 0, block, rows, TOKENS, (void *)(size_t)of_block, take, &error);
    organ_forward_logits(s.forward, states, rows, TOKENS, (void *)(size_t)of_model, take, &error);
    REQUIRE_MSG(error.status == ORGAN_OK, "%s", error.message);
    free(states);
    free(block);
    session_close(&s);
    return made;
}

static void release(drafts *d)
{
    free(d->model);
    free(d->block);
}

/* ---- tests ---- */

static const char *const scores[] = {"loss", "reap", "sum", "frequency"};

static void compare_with_mask(bool own)
{
    make_donor(own);
    drafts whole = run(scratch_path("donor"), NULL);
    for (size_t k = 0; k < sizeof scores / sizeof *scores; k++) {
        json_t *const report = cut(scores[k], NULL);
        bool flags[EXPERTS];
        REQUIRE(json_array_size(json_object_get(report, "layers")) == LAYERS + 1);
        REQUIRE(kept_of(report, LAYERS, flags) != NULL);
        drafts masked = run(scratch_path("donor"), report), made = run(scratch_path("out"), NULL);
        const size_t count = TOKENS * whole.words;
        REQUIRE_MSG(farthest(masked.model, made.model, count) < 1e-5, "%s: logits of the model", scores[k]);
        REQUIRE_MSG(farthest(masked.block, made.block, count) < 1e-5, "%s: logits of the block", scores[k]);
        REQUIRE_MSG(farthest(whole.block, made.block, count) > 1e-2, "%s: the cut changes nothing", scores[k]);
        release(&masked);
        release(&made);
        json_decref(report);
    }
    release(&whole);
}

START_TEST(a_block_that_continues_the_layers_is_masked) { compare_with_mask(/*own=*/false); }
END_TEST

START_TEST(a_block_with_names_of_its_own_is_masked) { compare_with_mask(/*own=*/true); }
END_TEST

/* Both names have the same scores, on any instruction set. */
START_TEST(names_do_not_matter)
{
    make_donor(false);
    json_t *const first = cut("loss", NULL);
    make_donor(true);
    json_t *const second = cut("loss", "scalar");
    REQUIRE(json_equal(json_object_get(first, "layers"), json_object_get(second, "layers")));
    const json_t *const a = json_object_get(json_object_get(first, "scores"), "layers"), *const b = json_object_get(
                                                                                             json_object_get(second,
                                                                                                             "scores"),
                                                                                             "layers");
    REQUIRE(json_array_size(a) == LAYERS + 1 && json_equal(a, b));
    json_decref(first);
    json_decref(second);
}
END_TEST

START_TEST(channels_of_zero_change_nothing)
{
    for (int own = 0; own < 2; own++) {
        make_donor(own == 1);
        zero_channels(scratch_path("donor/model.safetensors"));
        narrow();
        drafts whole = run(scratch_path("donor"), NULL), made = run(scratch_path("out"), NULL);
        const size_t count = TOKENS * whole.words;
        REQUIRE_MSG(farthest(whole.model, made.model, count) < 1e-5, "names %d: logits of the model", own);
        REQUIRE_MSG(farthest(whole.block, made.block, count) < 1e-5, "names %d: logits of the block", own);
        release(&whole);
        release(&made);
    }
}
END_TEST

int main(void)
{
    const suite_case cases[] = {{"drafts",
                                 {a_block_that_continues_the_layers_is_masked, a_block_with_names_of_its_own_is_masked,
                                  names_do_not_matter, channels_of_zero_change_nothing}}};
    Suite *const suites[] = {
        suite_of("expert_blocks", cases, sizeof cases / sizeof *cases, scratch_make, scratch_remove), NULL};
    return run_suites(suites);
}
