/* SPDX-License-Identifier: MIT
 * Errors of the comparison of noise and adapter, which leave nothing. */
#include "tests/verbs/orthogonality/orthogonality_rig.h"
#include "tests/kit/suite_table.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define Q "model.layers.0.self_attn.q_proj"
#define V "model.layers.1.self_attn.v_proj"

/* Checks that the run fails with that status and a message with all the words, up to the first NULL. */
static void must_refuse(rig_way way, organ_status status, const char *const *words)
{
    organ_error error;
    way.options.output = way.options.output ? way.options.output : scratch_path("out");
    ck_assert_msg(rig_run(way, &error) == status, "%d: %s", (int)error.status, error.message);
    for (; *words; words++)
        ck_assert_msg(strstr(error.message, *words), "no '%s' in: %s", *words, error.message);
    ck_assert(!scratch_left("out"));
}
#define REFUSED(status, way, ...) must_refuse((rig_way)way, status, (const char *const[]){__VA_ARGS__, NULL})
#define WAY(...)                                                                                                       \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }

static void usual(void)
{
    rig_add(Q, 30, 40, 3);
    rig_add(V, 20, 40, 3);
    rig_write(3, NULL);
}

START_TEST(modules_that_do_not_fit)
{
    usual();
    rig_count = 1; /* noisy2 has only q_proj, in another shape */
    rig_modules[0].rows = 29;
    rename(scratch_path("noisy.safetensors"), scratch_path("keep.safetensors"));
    rig_count = 2;
    rig_modules[1].rows = 19;
    rig_write(3, NULL);
    REFUSED(ORGAN_BAD_INPUT, WAY(.options = {.noisy = scratch_path("keep.safetensors")}), "does not fit",
            "'" Q "' is [30, 40] in", "keep.safetensors, but the adapter has [29, 40]", "'" V "' is [20, 40]");
    rig_modules[0].name = "model.layers.7.self_attn.q_proj";
    rig_write(3, NULL);
    REFUSED(ORGAN_BAD_INPUT, WAY(.options = {.noisy2 = scratch_path("keep.safetensors")}),
            "'model.layers.7.self_attn.q_proj' is not in", "keep.safetensors", "'" V "' is [20, 40]");
    rig_modules[0].rows = 30;
    rig_modules[1].rows = 20;
}
END_TEST

START_TEST(a_list_that_is_too_long)
{
    static const char *const names[] = {
        "model.layers.0.a_name_that_takes_much_room_in_a_message_about_what_does_not_fit_here",
        "model.layers.1.a_name_that_takes_much_room_in_a_message_about_what_does_not_fit_here",
        "model.layers.2.a_name_that_takes_much_room_in_a_message_about_what_does_not_fit_here",
        "model.layers.3.a_name_that_takes_much_room_in_a_message_about_what_does_not_fit_here",
        "model.layers.4.a_name_that_takes_much_room_in_a_message_about_what_does_not_fit_here",
        "model.layers.5.a_name_that_takes_much_room_in_a_message_about_what_does_not_fit_here"};
    usual();
    rename(scratch_path("noisy.safetensors"), scratch_path("keep.safetensors"));
    for (size_t k = 0; k < 6; k++)
        rig_add(names[k], 4, 4, 3);
    rig_write(3, NULL);
    REFUSED(ORGAN_BAD_INPUT, WAY(.options = {.noisy = scratch_path("keep.safetensors")}), names[0], "; and ", " more");
}
END_TEST

START_TEST(values_that_are_none)
{
    static const struct {
        float value;
        const char *words;
    } rows[] = {{NAN, "NaN"}, {INFINITY, "infinite"}};
    usual();
    float *const places[] = {&rig_modules[1].clean[17 * 40 + 3], &rig_modules[1].noisy[0][17 * 40 + 3],
                             &rig_modules[1].noisy[1][17 * 40 + 3], &rig_modules[1].a[5], &rig_modules[1].b[5]};
    static const char *const where[][2] = {{"clean.safetensors", "row 17"},
                                           {"noisy.safetensors", "row 17"},
                                           {"noisy2.safetensors", "row 17"},
                                           {"adapter", "lora_A"},
                                           {"adapter", "lora_B"}};
    for (size_t p = 0; p < 5; p++)
        for (size_t k = 0; k < 2; k++) {
            const float before = *places[p];
            *places[p] = rows[k].value;
            rig_write(3, NULL);
            REFUSED(ORGAN_BAD_INPUT, WAY(.options = {.noisy2 = scratch_path("noisy2.safetensors")}), where[p][0],
                    where[p][1], "v_proj");
            *places[p] = before;
        }
    rig_modules[0].clean[0] = 3e38f;
    rig_modules[0].noisy[0][0] = -3e38f;
    rig_write(3, NULL);
    REFUSED(ORGAN_BAD_INPUT, WAY(0), "differs from the clean one by more than FP32 can represent");
    rig_modules[0].clean[0] = rig_modules[0].noisy[0][0] = 0;
    rig_modules[0].a[0] = rig_modules[0].b[0] = 3e38f;
    rig_write(3, NULL);
    REFUSED(ORGAN_BAD_INPUT, WAY(0), "q_proj", "the product of its factors exceeds FP32");
}
END_TEST

START_TEST(wrong_calls)
{
    usual();
    REFUSED(ORGAN_USAGE, WAY(.options = {.modules = "*.q_proj,*.up_proj"}), "`modules`", "'*.up_proj'");
    REFUSED(ORGAN_USAGE, WAY(.options = {.draws = 1}), "1 draws");
    REFUSED(ORGAN_USAGE, WAY(.memory = 1000), "--memory 1000 is too little for ", Q);
    REFUSED(ORGAN_USAGE, WAY(.options = {.output = scratch_path("adapter")}), "adapter");
    REFUSED(ORGAN_USAGE, WAY(.options = {.output = scratch_path("clean.safetensors"), .force = true}),
            "clean.safetensors");
    REFUSED(ORGAN_USAGE, WAY(.options = {.output = scratch_path("adapter"), .force = true}), "adapter");
    REFUSED(ORGAN_IO, WAY(.options = {.clean = scratch_path("nowhere")}), "nowhere");
    REFUSED(ORGAN_IO, WAY(.options = {.noisy2 = scratch_path("nowhere")}), "nowhere");
    REFUSED(ORGAN_IO, WAY(.options = {.adapter = scratch_path("nowhere")}), "nowhere");
    ck_assert_int_eq(mkdir(scratch_path("full"), 0777), 0);
    spill(scratch_path("full/x"), "x", 1);
    REFUSED(ORGAN_USAGE, WAY(.options = {.output = scratch_path("full")}), "full", "exists");
    REFUSED(ORGAN_USAGE, WAY(.options = {.output = scratch_path("full"), .force = true}), "full", "'x'");
    ck_assert(exists(scratch_path("full/x")));
    for (int k = 0; k < 2; k++)
        rig_must((rig_way){.options = {.output = scratch_path("reports"), .force = k == 1}});
    ck_assert(exists(scratch_path("reports/orthogonality.json")) && !exists(scratch_path(".reports.organ-partial")));
}
END_TEST

START_TEST(adapters_that_are_more)
{
    usual();
    rig_write(3, "\"use_dora\":true");
    organ_error error;
    ck_assert_int_eq(rig_run((rig_way){0}, &error), ORGAN_BAD_INPUT);
    ck_assert_msg(strstr(error.message, "dora") || strstr(error.message, "DoRA"), "%s", error.message);
}
END_TEST

START_TEST(reads_that_fail)
{
    usual();
    fault_clear();
    rig_must((rig_way){0});
    fault_clear();
    rig_must((rig_way){0});
    const long reads = fault_count(FAULT_PREAD);
    for (long n = 1; n <= reads; n += 1 + reads / 12) {
        fault_at(FAULT_PREAD, n, EIO, true, NULL);
        REFUSED(ORGAN_IO, WAY(0), "Input/output error");
        fault_clear();
    }
}
END_TEST

static void cut_noisy(void) { ck_assert_int_eq(truncate(scratch_path("noisy.safetensors"), 900), 0); }

static void touch_clean(void)
{
    const struct timespec then[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    utimensat(AT_FDCWD, scratch_path("clean.safetensors"), then, 0);
}

static organ_stop *stop;
static void ask(void) { organ_stop_request(stop); }

START_TEST(inputs_that_change)
{
    organ_stop requested = {0};
    usual();
    fault_clear();
    rig_must((rig_way){0});
    const long reads = fault_count(FAULT_PREAD);
    fault_at(FAULT_PREAD, reads - 3, 0, false, touch_clean);
    REFUSED(ORGAN_BAD_INPUT, WAY(0), "clean.safetensors");
    fault_clear();
    stop = &requested;
    fault_at(FAULT_PREAD, reads - 8, 0, false, ask);
    REFUSED(ORGAN_INTERRUPTED, WAY(.stop = &requested), "interrupted");
    fault_clear();
    fault_at(FAULT_PREAD, reads - 3, 0, false, cut_noisy);
    REFUSED(ORGAN_BAD_INPUT, WAY(0), "noisy.safetensors");
}
END_TEST

START_TEST(full_disk_at_any_moment)
{
    static const fault_call calls[] = {FAULT_WRITE, FAULT_FSYNC};
    usual();
    for (size_t c = 0; c < sizeof calls / sizeof *calls; c++) {
        fault_clear();
        rig_must((rig_way){.options = {.output = scratch_path(c ? "counted-syncs" : "counted-writes")}});
        /* The last two fsyncs are those of the output and its parent directory: the output is then complete and
         * stays. */
        const long count = fault_count(calls[c]) - (calls[c] == FAULT_FSYNC ? 2 : 0);
        for (long n = 1; n <= count; n++) {
            fault_at(calls[c], n, ENOSPC, true, NULL);
            REFUSED(ORGAN_IO, WAY(0), "No space left");
            fault_clear();
        }
    }
}
END_TEST

Suite *orthogonality_faults_suite(void)
{
    const suite_case cases[] = {
        {"inputs", {modules_that_do_not_fit, a_list_that_is_too_long, values_that_are_none, adapters_that_are_more}},
        {"calls", {wrong_calls}},
        {"system", {reads_that_fail, inputs_that_change, full_disk_at_any_moment}},
    };
    return suite_of("orthogonality faults", cases, sizeof cases / sizeof *cases, rig_setup, rig_teardown);
}
