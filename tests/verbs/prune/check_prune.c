/* SPDX-License-Identifier: MIT
 * Tests of prune and audit as a library: bit identity, an audit that finds every change, and errors that leave
 * nothing. */
#include "tests/verbs/prune/prune_rig.h"
#include "orchestrator/verbs/prune/prune_parts.h"
#include "tests/kit/effort.h"
#include "tests/kit/suite_table.h"

#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- results ---- */

START_TEST(same_bytes_whatever_the_way)
{
    const way ways[] = {{.isa = "scalar", .threads = 1},
                        {.isa = "avx2", .threads = 2},
                        {.isa = "avx512", .threads = 7},
                        {.isa = "neon", .threads = 7},
                        {.isa = "avx512-mixed", .threads = 2},
                        {.threads = 3, .memory = 3 << 20},
                        {.threads = 24, .machine = "numa:2 core:24 pu:1", .memory = 512 << 20}};
    must_prune("reference", (way){.threads = 1});
    for (size_t k = 0; k < sizeof ways / sizeof *ways; k++) {
        const char *why;
        char name[16];
        if (ways[k].isa && !organ_kernels_choose(organ_cpu_detect(), ways[k].isa, &why))
            continue;
        snprintf(name, sizeof name, "way%zu", k);
        must_prune(name, ways[k]);
        same_outputs("reference", name);
    }
}
END_TEST

START_TEST(audit_finds_what_prune_said)
{
    organ_error error;
    must_prune("out", (way){0});
    json_t *said = json_incref(last_report);
    ck_assert_int_gt(number_at(said, "totals", "target", "killed"), 1000);
    ck_assert_int_eq(number_at(said, "coverage", "processed_elements", NULL),
                     number_at(said, "totals", "target", "elements"));
    ck_assert_msg(audit("out", &error) == ORGAN_OK, "%s", error.message);
    static const char *const same[] = {"totals", "zero_before", "kept", "projections", "layers", "per_tensor"};
    for (size_t k = 0; k < sizeof same / sizeof *same; k++)
        ck_assert_msg(json_equal(json_object_get(said, same[k]), json_object_get(last_report, same[k])), "%s", same[k]);
    ck_assert(json_is_true(json_object_get(last_report, "denominator_correct")));
    ck_assert_int_eq(number_at(last_report, "untouched", "tensors", NULL),
                     number_at(last_report, "untouched", "identical", NULL));
    ck_assert_uint_eq(json_array_size(json_object_get(last_report, "problems")), 0);
    json_decref(said);
}
END_TEST

/* Flips bits in a tensor of the output; the audit must name the tensor. */
static void damage(const char *tensor, uint64_t byte, unsigned char bits, const char *told)
{
    organ_model *model;
    organ_error error = {0};
    unsigned char value;
    ck_assert_int_eq(organ_model_open(scratch_path("out"), &model, &error), ORGAN_OK);
    const organ_tensor *t = organ_model_find(model, tensor);
    const off_t at = (off_t)(t->offset + byte);
    const int fd = open(model->files[t->file].path, O_RDWR);
    organ_model_close(model);
    ck_assert_int_eq(pread(fd, &value, 1, at), 1);
    value ^= bits;
    ck_assert_int_eq(pwrite(fd, &value, 1, at), 1);
    ck_assert_int_eq(audit("out", &error), ORGAN_CHECK_FAILED);
    ck_assert_msg(strstr(error.message, told) != NULL, "%s", error.message);
    ck_assert_uint_ge(json_array_size(json_object_get(last_report, "problems")), 1);
    value ^= bits;
    ck_assert_int_eq(pwrite(fd, &value, 1, at), 1);
    close(fd);
}

START_TEST(audit_fails_on_any_damage)
{
    organ_error error;
    must_prune("out", (way){0});
    damage("model.embed_tokens.weight", 7, 1, "'model.embed_tokens.weight' is not a target, but 1 of its");
    damage("model.norm.weight", 0, 0x80, "model.norm.weight");
    damage("model.layers.1.mlp.up_proj.weight", 10001, 0x40, "model.layers.1.mlp.up_proj.weight");
    damage("model.layers.0.self_attn.v_proj.weight", 3, 0x10, "neither the donor's nor zero");
    ck_assert_int_eq(audit("out", &error), ORGAN_OK);
    ck_assert_int_eq(unlink(scratch_path("out/model.safetensors.index.json")), 0);
    ck_assert_int_eq(audit("out", &error), ORGAN_BAD_INPUT);
    ck_assert_int_eq(audit("nowhere", &error), ORGAN_IO);
}
END_TEST

START_TEST(donor_is_left_alone)
{
    size_t n, m;
    char *before = slurp(scratch_path("donor/model-00001-of-00002.safetensors"), &n);
    must_prune("out", (way){0});
    char *after = slurp(scratch_path("donor/model-00001-of-00002.safetensors"), &m);
    ck_assert(n == m && memcmp(before, after, n) == 0);
    ck_assert(!same_files(scratch_path("donor/model-00001-of-00002.safetensors"),
                          scratch_path("out/model-00001-of-00002.safetensors")));
    free(before);
    free(after);
}
END_TEST

START_TEST(sparsity_is_met)
{
    organ_error error;
    static const double requested[] = {5, 22.5, 50, 90};
    for (size_t k = 0; k < 4; k += sampled(1, 3)) {
        must_prune("out", (way){.options = {.sparsity = requested[k], .write.force = true}});
        ck_assert_double_le(
            fabs(json_real_value(json_object_get(json_object_get(last_report, "per_tensor"), "min")) - requested[k]),
            0.1000005);
        ck_assert_double_le(
            fabs(json_real_value(json_object_get(json_object_get(last_report, "per_tensor"), "max")) - requested[k]),
            0.1000005);
        ck_assert_int_eq(audit("out", &error), ORGAN_OK);
    }
    must_prune("other", (way){.threads = 7, .isa = "scalar", .options = {.sparsity = 90}});
    same_outputs("out", "other");
}
END_TEST

/* Pruned shares that fall with the gain in ways that are hard for the search: steep, flat, stepped, out of reach. */
static double rate_of(int kind, double gain)
{
    switch (kind) {
    case 0:
        return 100.0 / (1.0 + gain);
    case 1:
        if (gain < 1e-4)
            return 100.0;
        return gain > 3e5 ? 0.0 : 70.0 - 5.0 * log10(gain);
    case 2:
        return gain < 40.0 ? 60.0 : 30.0;
    case 3:
        return 80.0;
    default:
        return 0.0;
    }
}

START_TEST(gain_search_ends)
{
    static const double requested[] = {0.5, 22, 50, 99};
    for (int kind = 0; kind < 5; kind++)
        for (size_t k = 0; k < 4; k++) {
            organ_gain_search s = {.gain = 6.0};
            unsigned steps = 0;
            while (!organ_gain_step(&s, rate_of(kind, s.gain), requested[k]))
                ck_assert_uint_lt(++steps, 64);
            ck_assert(s.best > 0);
            if (kind == 0)
                ck_assert_double_le(fabs(rate_of(kind, s.best) - requested[k]), 0.1);
            if (kind == 2) /* the nearer side of the step */
                ck_assert_double_eq(rate_of(kind, s.best),
                                    fabs(60 - requested[k]) < fabs(30 - requested[k]) ? 60.0 : 30.0);
        }
}
END_TEST

START_TEST(targets_are_chosen_by_name)
{
    organ_error error;
    must_prune("out", (way){.options = {.targets = "*.self_attn.[qk]_proj.weight,*embed*"}});
    ck_assert_int_eq(json_array_size(json_object_get(last_report, "projections")), 3);
    ck_assert_int_eq(prune("none", (way){.options = {.targets = "*.q_proj.weight,*.w7.*"}}, &error), ORGAN_USAGE);
    ck_assert_ptr_nonnull(strstr(error.message, "*.w7.*"));
    ck_assert(!scratch_left("none"));
}
END_TEST

START_TEST(dry_run_writes_nothing)
{
    must_prune("out", (way){.options = {.write.dry_run = true}});
    ck_assert(json_is_true(json_object_get(last_report, "dry_run")));
    ck_assert_int_gt(number_at(last_report, "totals", "target", "elements"), 0);
    ck_assert(!scratch_left("out"));
    organ_error error;
    ck_assert_int_eq(prune("donor", (way){.options = {.write.dry_run = true}}, &error), ORGAN_USAGE);
    must_prune("out", (way){0});
    ck_assert_int_eq(prune("out", (way){.options = {.write.dry_run = true}}, &error), ORGAN_USAGE);
}
END_TEST

START_TEST(earlier_record_is_kept)
{
    must_prune("first", (way){0});
    must_prune("second", (way){.options = {.donor = scratch_path("first")}});
    ck_assert(same_files(scratch_path("first/organ/prune.json"), scratch_path("second/organ/donor/prune.json")));
    ck_assert(same_files(scratch_path("first/organ/REPORT.md"), scratch_path("second/organ/donor/REPORT.md")));
}
END_TEST

START_TEST(weights_that_are_not_finite)
{
    organ_error error;
    organ_model *model;
    ck_assert_int_eq(organ_model_open(scratch_path("donor"), &model, &(organ_error){0}), ORGAN_OK);
    const organ_tensor *t = organ_model_find(model, "model.layers.1.mlp.down_proj.weight");
    const uint16_t infinity = 0x7F80;
    const int fd = open(model->files[t->file].path, O_RDWR);
    ck_assert_int_eq(pwrite(fd, &infinity, 2, (off_t)(t->offset + 777 * 2)), 2);
    close(fd);
    organ_model_close(model);
    ck_assert_int_eq(prune("out", (way){0}, &error), ORGAN_BAD_INPUT);
    ck_assert_ptr_nonnull(strstr(error.message, "'model.layers.1.mlp.down_proj.weight'"));
    ck_assert(!scratch_left("out"));
    ck_assert_int_eq(prune("out", (way){.options = {.sparsity = 30}}, &error), ORGAN_BAD_INPUT);
    ck_assert(!scratch_left("out"));
}
END_TEST

START_TEST(outputs_that_would_hurt_the_donor)
{
    organ_error error;
    static const char *const places[] = {"donor", "donor/out", "donor/", "donor/extra/out", "."};
    for (size_t k = 0; k < sizeof places / sizeof *places; k++)
        for (int force = 0; force < 2; force++) {
            ck_assert_int_eq(prune(places[k], (way){.options = {.write.force = force}}, &error), ORGAN_USAGE);
            ck_assert(exists(scratch_path("donor/config.json")) && !exists(scratch_path("donor/.out.organ-partial")));
        }
    ck_assert_int_eq(symlink("donor", scratch_path("alias")), 0);
    ck_assert_int_eq(prune("alias", (way){.options = {.write.force = true}}, &error), ORGAN_USAGE);
    ck_assert_int_eq(prune("alias/out", (way){.options = {.write.force = true}}, &error), ORGAN_USAGE);
}
END_TEST

START_TEST(options_out_of_range)
{
    organ_error error;
    const organ_prune_options bad[] = {
        {.block_size = 8}, {.block_size = 5000}, {.iterations = 200000}, {.beta = -1},  {.beta = 65},
        {.coupling = 9},   {.sparsity = 100},    {.sparsity = NAN},      {.beta = NAN}, {.coupling = NAN}};
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        ck_assert_msg(prune("out", (way){.options = bad[k]}, &error) == ORGAN_USAGE, "options %zu are taken", k);
        ck_assert(!scratch_left("out"));
    }
    ck_assert_int_eq(prune("out", (way){.memory = 100000}, &error), ORGAN_USAGE);
    ck_assert_ptr_nonnull(strstr(error.message, "--memory"));
    ck_assert(!scratch_left("out"));
}
END_TEST

START_TEST(types_that_cannot_be_pruned)
{
    organ_error error;
    const made_tensor tensor = {"model.layers.0.mlp.up_proj.weight", ORGAN_BF16, 2, {64, 64}};
    size_t n;
    make_shard(scratch_path("one.safetensors"), &tensor, 1);
    must_prune("fine", (way){.options = {.donor = scratch_path("one.safetensors")}});
    ck_assert(exists(scratch_path("fine/one.safetensors")) && exists(scratch_path("fine/organ/REPORT.md")) &&
              !exists(scratch_path("fine/donor")));
    char *data = slurp(scratch_path("one.safetensors"), &n);
    memcpy(strstr(data + 8, "BF16"), "I16\" ", 5);
    spill(scratch_path("one.safetensors"), data, n);
    free(data);
    ck_assert_int_eq(prune("out", (way){.options = {.donor = scratch_path("one.safetensors")}}, &error),
                     ORGAN_BAD_INPUT);
    ck_assert_msg(strstr(error.message, "I16") != NULL, "%s", error.message);
    ck_assert(!scratch_left("out"));
}
END_TEST

Suite *results_suite(void)
{
    const suite_case cases[] = {
        {"results",
         {same_bytes_whatever_the_way, audit_finds_what_prune_said, audit_fails_on_any_damage, donor_is_left_alone,
          sparsity_is_met, gain_search_ends, targets_are_chosen_by_name, dry_run_writes_nothing,
          earlier_record_is_kept}},
        {"refusals",
         {weights_that_are_not_finite, outputs_that_would_hurt_the_donor, options_out_of_range,
          types_that_cannot_be_pruned}},
    };
    return suite_of("prune", cases, sizeof cases / sizeof *cases, rig_setup, rig_teardown);
}

int main(void)
{
    Suite *const suites[] = {results_suite(), faults_suite(), tile_map_suite(), NULL};
    return run_suites(suites);
}
