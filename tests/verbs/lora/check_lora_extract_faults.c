/* SPDX-License-Identifier: MIT
 * Errors in models, arguments or the disk are named and leave nothing. */
#include "tests/verbs/lora/lora_extract_rig.h"
#include "tests/kit/resume_rig.h"
#include "tests/kit/suite_table.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static void refused(lora_way w, organ_status status, const char *text)
{
    organ_error error;
    ck_assert_msg(lora_extract("out", w, &error) == status, "%d: %s", (int)error.status, error.message);
    ck_assert_msg(strstr(error.message, text) != NULL, "'%s' is not in '%s'", text, error.message);
    ck_assert(!scratch_left("out"));
}

START_TEST(values_that_are_not_finite)
{
    static const char *const files[] = {"tuned.safetensors", "base.safetensors"};
    for (size_t k = 0; k < 2; k++) {
        lora_poke(scratch_path("%s", files[k]), L0 "mlp.down_proj.weight", 70 * 181 + 13, k ? INFINITY : NAN);
        refused((lora_way){0}, ORGAN_BAD_INPUT,
                "tensor 'model.layers.0.mlp.down_proj.weight': the value in row 70, column 13 is ");
        refused((lora_way){.memory = 2 << 20, .options = {.exact = true}}, ORGAN_BAD_INPUT, "row 70, column 13");
        lora_poke(scratch_path("%s", files[k]), L0 "mlp.down_proj.weight", 70 * 181 + 13, 0);
    }
    lora_poke(scratch_path("tuned.safetensors"), L0 "input_layernorm.weight", 3, NAN); /* reported, but no error */
    must_lora_extract("told", (lora_way){0});
    ck_assert(
        json_is_null(json_object_get(lora_row("not_extracted", "tensor", L0 "input_layernorm.weight"), "change")));
}
END_TEST

/* Threads compute modules at the same time, large ones first. The error is that of the first module, a small one. */
START_TEST(the_first_of_several_errors)
{
    static const size_t threads[] = {1, 2, 16};
    const char *const tuned = scratch_path("tuned.safetensors");
    lora_poke(tuned, L0 "self_attn.k_proj.weight", 35 * 72 + 7, INFINITY);
    lora_poke(tuned, L0 "mlp.down_proj.weight", 3, NAN);
    lora_poke(tuned, L1 "mlp.down_proj.weight", 5, NAN);
    for (size_t t = 0; t < sizeof threads / sizeof *threads; t++)
        refused((lora_way){.threads = threads[t]}, ORGAN_BAD_INPUT,
                "tensor 'model.layers.0.self_attn.k_proj.weight': the value in row 35, column 7 is inf");
}
END_TEST

START_TEST(models_that_do_not_belong_together)
{
    make_shard(scratch_path("wide.safetensors"),
               (made_tensor[]){{L0 "self_attn.q_proj.weight", ORGAN_F32, 2, {144, 73}}}, 1);
    make_shard(scratch_path("strange.safetensors"),
               (made_tensor[]){{"transformer.h.0.attn.q.weight", ORGAN_F32, 2, {144, 72}}}, 1);
    refused((lora_way){.tuned = scratch_path("wide.safetensors")}, ORGAN_BAD_INPUT,
            "tensor 'model.layers.0.self_attn.q_proj.weight' is 144 x 73, in ");
    refused((lora_way){.tuned = scratch_path("strange.safetensors")}, ORGAN_BAD_INPUT,
            "have no linear layer of the same name");
    refused((lora_way){.tuned = scratch_path("base.safetensors")}, ORGAN_BAD_INPUT, "there is nothing to extract");
    refused((lora_way){.tuned = scratch_path("nothing")}, ORGAN_IO, "nothing");
}
END_TEST

START_TEST(wrong_calls)
{
    refused((lora_way){.options = {.modules = "q_proj,x_proj"}}, ORGAN_USAGE, "matches 'x_proj'");
    refused((lora_way){.options = {.modules = "model.embed_tokens"}}, ORGAN_USAGE, "matches 'model.embed_tokens'");
    refused((lora_way){.options = {.rank_by = "size"}}, ORGAN_USAGE, "`rank_by` 'size'");
    refused((lora_way){.options = {.rank_by = "energy"}}, ORGAN_USAGE, "needs a share");
    refused((lora_way){.options = {.rank_by = "energy=1.5"}}, ORGAN_USAGE, "'1.5' is not a share");
    refused((lora_way){.options = {.rank_by = "energy=0.5x"}}, ORGAN_USAGE, "'0.5x' is not a share");
    refused((lora_way){.options = {.rank_by = "energy", .share = "nan"}}, ORGAN_USAGE, "'nan' is not a share");
    refused((lora_way){.options = {.rank_by = "energy=0.9", .share = "0.9"}}, ORGAN_USAGE,
            "'0.9': `rank_by` energy=0.9 already has a share");
    refused((lora_way){.options = {.share = "0.9"}}, ORGAN_USAGE, "unexpected argument '0.9'");
    refused((lora_way){.options = {.dtype = "f64"}}, ORGAN_USAGE, "dtype 'f64'");
    refused((lora_way){.memory = 100 << 10}, ORGAN_USAGE, "memory");
    refused((lora_way){.memory = 300 << 10, .options = {.exact = true, .modules = "down_proj"}}, ORGAN_USAGE, "memory");
}
END_TEST

START_TEST(places_that_are_taken)
{
    organ_error error;
    must_lora_extract("there", (lora_way){0});
    ck_assert_int_eq(lora_extract("there", (lora_way){0}, &error), ORGAN_USAGE);
    ck_assert_int_eq(lora_extract("base.safetensors", (lora_way){0}, &error), ORGAN_USAGE);
    ck_assert_int_eq(lora_extract("new.safetensors", (lora_way){0}, &error), ORGAN_USAGE);
    must_lora_extract("there", (lora_way){.options = {.write.force = true}});
}
END_TEST

START_TEST(a_dry_run_makes_nothing)
{
    must_lora_extract("out", (lora_way){.options = {.write.dry_run = true, .rank = 40}});
    ck_assert(!scratch_left("out"));
    ck_assert_int_eq(json_integer_value(json_object_get(lora_row("modules", "module", L0 "self_attn.k_proj"), "rank")),
                     36);
    ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(lora_result, "totals"), "modules")), 5);
}
END_TEST

/* Makes the n-th such call and all after it fail. The next run continues from the files left and makes the adapter
 * `whole`. */
static void fails_at(lora_way way, fault_call call, long n, int fault)
{
    static unsigned runs;
    char output[32];
    organ_error error;
    snprintf(output, sizeof output, "out%u", runs++);
    fault_at(call, n, fault, true, NULL);
    const organ_status status = lora_extract(output, way, &error);
    fault_clear();
    ck_assert_msg(status == ORGAN_IO && error.errnum == fault, "%ld: %d %s", n, (int)status, error.message);
    if (!scratch_left(output) || exists(scratch_path("%s", output))) /* the rename was done; only its sync failed */
        return;
    ck_assert_msg(strstr(error.message, "`resume` continues"), "%s", error.message);
    ck_assert_int_eq(lora_extract(output, way, &error), ORGAN_USAGE);
    way.options.write.resume = true;
    must_lora_extract(output, way);
    ck_assert(same_files(scratch_path("%s/adapter_model.safetensors", output),
                         scratch_path("whole/adapter_model.safetensors")));
}

START_TEST(reading_fails_or_is_stopped)
{
    organ_stop stop = {.requested = 1};
    fault_clear();
    must_lora_extract("whole", (lora_way){0});
    const long reads = fault_count(FAULT_PREAD);
    ck_assert_int_gt(reads, 20);
    for (long n = 1; n <= reads && n < 40; n += 4)
        fails_at((lora_way){0}, FAULT_PREAD, n, EIO);
    refused((lora_way){.stop = &stop}, ORGAN_INTERRUPTED, "");
}
END_TEST

static organ_status extract_again(const void *way, const char *output, bool resume, size_t threads, organ_stop *stop,
                                  organ_error *error)
{
    lora_way here = *(const lora_way *)way;
    here.threads = threads;
    here.stop = stop;
    here.options.write.resume = resume;
    return lora_extract(output, here, error);
}

/* With --save-full the adapter also has copied tensors. Of rank 8 the places of all units are full, so that nothing
 * moves when the adapter is completed, and finished modules are never decomposed again. */
static const lora_way whole = {.options = {.save_full = true}};
static const resumed_verb extraction = {
    .run = extract_again, .way = &whole, .report = "lora_extract.json", .threads = 1};

START_TEST(resume_refuses_another_extraction)
{
    lora_way other = whole;
    const resumed_verb changed = {.run = extract_again, .way = &other};
    leaves_unfinished(&extraction, "out");
    other.options.seed = 1;
    is_refused(&changed, "out", "its parameters was ");
}
END_TEST

Suite *lora_faults_suite(void)
{
    const suite_case cases[] = {
        {"input", {values_that_are_not_finite, the_first_of_several_errors, models_that_do_not_belong_together}},
        {"call", {wrong_calls, places_that_are_taken, a_dry_run_makes_nothing}},
        {"disk", {reading_fails_or_is_stopped, resume_refuses_another_extraction}}};
    return suite_of("lora_extract_faults", cases, sizeof cases / sizeof *cases, lora_setup, lora_teardown);
}
