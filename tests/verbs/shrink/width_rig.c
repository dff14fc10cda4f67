/* SPDX-License-Identifier: MIT */
#include "tests/verbs/shrink/width_rig.h"

#include "orchestrator/surgery/calibration/calibration.h"
#include "tests/kit/require.h"
#include "tests/kit/run_rig.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const width_way usual = {.ffn = "16", .score = "loss", .samples = SAMPLES, .context = CONTEXT};
json_t *width_report;

bool is_gguf(void) { return exists(scratch_path("donor/model.gguf")); }

const char *donor_path(void) { return scratch_path(is_gguf() ? "donor/model.gguf" : "donor"); }

const char *output_path(const char *name) { return scratch_path("%s%s", name, is_gguf() ? ".gguf" : ""); }

organ_status narrow(const char *output, width_way way, organ_error *error)
{
    run_engine room;
    char donor[4096], text[4096], out[4096];
    snprintf(donor, sizeof donor, "%s", donor_path());
    snprintf(text, sizeof text, "%s", scratch_path("text"));
    snprintf(out, sizeof out, "%s", output_path(output));
    const organ_width_options options = {.model = donor,
                                         .write.output = out,
                                         .ffn = way.ffn,
                                         .multiple_of = 8,
                                         .calibration.text = text,
                                         .calibration.samples = way.samples,
                                         .calibration.context = way.context,
                                         .score = way.score,
                                         .no_refit = way.no_refit,
                                         .write.max_shard_size = (uint64_t)1 << 40,
                                         .write.dry_run = way.dry_run};
    *error = (organ_error){0};
    json_decref(width_report);
    width_report = NULL;
    run_engine_open(&room, (run_way){.threads = way.threads, .memory = way.memory});
    organ_width(&options, &room.engine, NULL, &width_report, error);
    run_engine_close(&room);
    return error->status;
}

void must_narrow(const char *output, width_way way)
{
    organ_error error;
    ck_assert_msg(narrow(output, way, &error) == ORGAN_OK, "%s", error.message);
}

void width_setup(void)
{
    fault_clear();
    scratch_make();
}

void width_teardown(void)
{
    json_decref(width_report);
    width_report = NULL;
    scratch_remove();
}

/* ---- layers of a model ---- */

void open_layer(opened *o, const char *path, int32_t layer)
{
    organ_error error = {0};
    ck_assert_msg(session_open(&o->s, path, 1, ROOMY, &error) == ORGAN_OK, "%s", error.message);
    ck_assert_msg(organ_layer_load(o->s.forward, layer, &o->layer, &error) == ORGAN_OK, "%s", error.message);
}

void close_layer(opened *o)
{
    organ_layer_free(o->layer);
    session_close(&o->s);
}

void read_matrix(const opened *o, const char *pattern, unsigned expert, uint64_t rows, uint64_t cols, float *values)
{
    char name[256];
    uint64_t r, c;
    organ_product_operand held;
    snprintf(name, sizeof name, pattern, expert);
    ck_assert_msg(organ_layer_matrix(o->layer, name, &r, &c, &held) && r == rows && c == cols, "%s: %d x %d", name,
                  (int)r, (int)c);
    organ_layer_read(o->layer, name, values);
}

void read_rows(const opened *o, const expert_names *names, unsigned expert, uint64_t width, float *values)
{
    if (!names->up) {
        read_matrix(o, names->gate, expert, 2 * width, HIDDEN, values);
        return;
    }
    read_matrix(o, names->gate, expert, width, HIDDEN, values);
    read_matrix(o, names->up, expert, width, HIDDEN, values + width * HIDDEN);
}

void find_kept(const opened *donor, const opened *out, const expert_names *names, unsigned expert, bool *kept)
{
    float was[2 * WIDTH * HIDDEN], is[2 * KEPT * HIDDEN];
    const size_t row = HIDDEN * sizeof(float);
    size_t at = 0;
    read_rows(donor, names, expert, WIDTH, was);
    read_rows(out, names, expert, KEPT, is);
    for (size_t c = 0; c < WIDTH; c++) {
        kept[c] = at < KEPT && memcmp(was + c * HIDDEN, is + at * HIDDEN, row) == 0 &&
                  memcmp(was + (WIDTH + c) * HIDDEN, is + (KEPT + at) * HIDDEN, row) == 0;
        at += kept[c];
    }
    REQUIRE_MSG(at == KEPT, "expert %u has rows that are none of the donor's", expert);
}

void check_values(const opened *out, const expert_names *names, unsigned expert, const bool *kept, double (*v)[WIDTH])
{
    float values[HIDDEN * KEPT];
    read_matrix(out, names->down, expert, HIDDEN, KEPT, values);
    for (size_t r = 0; r < HIDDEN; r++)
        for (size_t c = 0, at = 0; c < WIDTH; c++)
            if (kept[c]) {
                const double found = (double)values[r * KEPT + at++];
                REQUIRE_MSG(fabs(found - v[r][c]) <= fabs(v[r][c]) / 250 + 1e-5,
                            "expert %u, row %zu, channel %zu: %g, not %g", expert, r, c, found, v[r][c]);
            }
}

/* ---- states of a text ---- */

static organ_status hear(void *context, int32_t layer, size_t first, size_t tokens, const float *normed,
                         const float *logits, organ_error *error)
{
    const hearing *const h = context;
    (void)layer;
    memcpy(h->normed + first * HIDDEN, normed, tokens * HIDDEN * sizeof *normed);
    memcpy(h->logits + first * EXPERTS, logits, tokens * EXPERTS * sizeof *logits);
    return error->status;
}

void hear_text(const opened *before, const opened *o, unsigned samples, unsigned context, hearing *heard)
{
    organ_calibration_run *calib = NULL;
    organ_error error = {0};
    char text[4096];
    snprintf(text, sizeof text, "%s", scratch_path("text"));
    organ_calibration_run_options options = {.calibration.text = text,
                                             .calibration.samples = samples,
                                             .calibration.context = context,
                                             .method = "a",
                                             .verb = "b",
                                             .doing = "c"};
    ck_assert_msg(organ_calibration_run_open(&options, o->s.model, NULL, NULL, &o->s.engine, NULL, &calib, &error) ==
                      ORGAN_OK,
                  "%s", error.message);
    const organ_windows *const windows = &organ_calibration_run_facts_of(calib)->windows;
    const size_t tokens = (size_t)samples * context;
    float *const hidden = malloc(tokens * HIDDEN * sizeof *hidden);
    *heard = (hearing){tokens, malloc(tokens * HIDDEN * sizeof(float)), malloc(tokens * EXPERTS * sizeof(float))};
    organ_layer_tap_router(o->layer, heard, hear);
    ck_assert_int_eq(organ_forward_embed(o->s.forward, windows, hidden, &error), ORGAN_OK);
    if (before)
        ck_assert_int_eq(organ_layer_run(before->s.forward, before->layer, windows, hidden, NULL, &error), ORGAN_OK);
    ck_assert_int_eq(organ_layer_run(o->s.forward, o->layer, windows, hidden, NULL, &error), ORGAN_OK);
    free(hidden);
    organ_calibration_run_close(calib);
}

void hearing_free(hearing *heard)
{
    free(heard->normed);
    free(heard->logits);
}
