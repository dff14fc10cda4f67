/* SPDX-License-Identifier: MIT
 * Taps report the inputs that the modules of transformers read: fixtures/architectures/inputs.tsv has the greatest
 * magnitudes of the inputs of every linear layer and expert, and of the keys and values of every layer, on the text of
 * each reference. With INPUTS_TABLE=FILE, the program adds a row for each reference to FILE: its name, the numbers
 * compared of inputs, of keys and of values, and the largest relative difference. */
#include "tests/kit/arch_maker.h"
#include "tests/kit/forward_rig.h"
#include "tests/forward/golden_inputs.h"
#include "tests/kit/model_maker.h"
#include "tests/kit/suite_table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT 1e-4 /* largest relative difference of a magnitude */

static char references[GOLDEN_REFERENCES][64];

/* ---- what the taps report ---- */

static void measure(golden_place *p, const float *numbers, size_t count)
{
    for (size_t k = 0; k < count; k++)
        p->measured = fmax(p->measured, fabs((double)numbers[k]));
}

static organ_status take_inputs(void *context, const char *tensor, size_t first, size_t tokens, size_t features,
                                const float *inputs, organ_error *error)
{
    (void)first;
    measure(golden_place_of(context, tensor), inputs, tokens * features);
    return error->status;
}

typedef struct cache_job {
    golden_inputs *all;
    const organ_forward_config *config;
} cache_job;

static organ_status take_rows(void *context, unsigned layer, size_t tokens, const float *keys, const float *values,
                              organ_error *error)
{
    const cache_job *const j = context;
    const organ_layer_kind *const kind = &j->config->kinds[layer];
    char name[32];
    snprintf(name, sizeof name, "keys.%u", layer);
    measure(golden_place_of(j->all, name), keys, tokens * kind->kv_heads * kind->head_dim);
    snprintf(name, sizeof name, "values.%u", layer);
    measure(golden_place_of(j->all, name), values, tokens * kind->kv_heads * kind->value_dim);
    return error->status;
}

static void run_tapped(session *s, const arch_reference *r, golden_inputs *all)
{
    const organ_forward_config *const c = organ_forward_describe(s->forward);
    cache_job job = {all, c};
    const organ_tap tap = {all, take_inputs};
    const organ_cache_tap cache = {&job, take_rows};
    const size_t begin[] = {0, r->count};
    const organ_windows windows = {r->tokens, 1, begin};
    organ_error error = {0};
    float *const hidden = malloc(r->count * (size_t)c->state * sizeof *hidden);
    ck_assert_ptr_nonnull(hidden);
    ck_assert_msg(organ_forward_embed(s->forward, &windows, hidden, &error) == ORGAN_OK, "%s", error.message);
    for (unsigned l = 0; l < c->layers; l++) {
        organ_layer *layer;
        ck_assert_msg(organ_layer_load(s->forward, (int32_t)l, &layer, &error) == ORGAN_OK, "%s", error.message);
        organ_layer_tap_cache(layer, &cache);
        ck_assert_msg(organ_layer_run(s->forward, layer, &windows, hidden, &tap, &error) == ORGAN_OK, "%s",
                      error.message);
        organ_layer_free(layer);
    }
    ck_assert_msg(organ_forward_tap_head(s->forward, hidden, r->count, &tap, &error) == ORGAN_OK, "%s", error.message);
    free(hidden);
}

/* ---- the comparison ---- */

static size_t compared(const golden_inputs *all, const char *prefix)
{
    size_t count = 0;
    for (size_t k = 0; k < all->count; k++)
        count += all->items[k].expected >= 0 && all->items[k].measured >= 0 &&
                 strncmp(all->items[k].name, prefix, strlen(prefix)) == 0;
    return count;
}

static void write_row(const char *reference, const golden_inputs *all, double farthest)
{
    const char *const path = getenv("INPUTS_TABLE");
    FILE *const file = path ? fopen(path, "a") : NULL;
    const size_t keys = compared(all, "keys."), values = compared(all, "values.");
    if (!file)
        return;
    fprintf(file, "%s\t%zu\t%zu\t%zu\t%.1e\n", reference, compared(all, "") - keys - values, keys, values, farthest);
    fclose(file);
}

/* Matrices before and after the layers, whose inputs no tap reports. */
static bool is_untapped(const char *name)
{
    static const char *const parts[] = {"altup_projections", "altup_unembed_projections", "per_layer_model_projection"};
    for (size_t k = 0; k < sizeof parts / sizeof *parts; k++)
        if (strstr(name, parts[k]))
            return true;
    return false;
}

START_TEST(taps_report_what_modules_read)
{
    const char *const reference = references[_i], *const path = scratch_path("%s", reference);
    arch_reference r = arch_make(reference, path);
    golden_inputs all = golden_read(reference);
    session s;
    organ_error error;
    double most = 0;
    ck_assert_msg(session_open(&s, path, 2, ROOMY, &error) == ORGAN_OK, "%s: %s", reference, error.message);
    run_tapped(&s, &r, &all);
    for (size_t k = 0; k < all.count; k++) {
        const golden_place *const p = &all.items[k];
        const double off = fabs(p->measured / p->expected - 1);
        ck_assert_msg((p->measured < 0) == is_untapped(p->name) && p->expected >= 0,
                      "%s: %s: the tap reports %g, transformers %g", reference, p->name, p->measured, p->expected);
        if (p->measured < 0)
            continue;
        ck_assert_msg(off <= LIMIT, "%s: %s: the tap reports %.7g, transformers %.7g", reference, p->name, p->measured,
                      p->expected);
        most = fmax(most, off);
    }
    write_row(reference, &all, most);
    session_close(&s);
    free(all.items);
    arch_reference_free(&r);
}
END_TEST

static Suite *module_inputs_suite(void)
{
    Suite *const suite = suite_create("module_inputs");
    TCase *const cases = tcase_create("inputs");
    tcase_add_checked_fixture(cases, scratch_make, scratch_remove);
    tcase_add_loop_test(cases, taps_report_what_modules_read, 0, golden_references(references));
    suite_add_tcase(suite, cases);
    return suite;
}

int main(void)
{
    Suite *const suites[] = {module_inputs_suite(), NULL};
    return run_suites(suites);
}
