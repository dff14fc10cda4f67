/* SPDX-License-Identifier: MIT
 * Tests of extract, assemble and graft with failing or full disks and changing models: no incomplete output has its
 * final name. */
#include <organ/organs.h>
#include "tests/kit/resume_rig.h"
#include "tests/kit/suite_table.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { EXTRACT, ASSEMBLE, ASSEMBLE_ONE, GRAFT, GRAFT_APART };

/* Differences from the usual run: inputs are names in the scratch directory. */
typedef struct organs_way {
    int verb;
    const char *model, *source; /* "donor" or "apart"; for a graft its target and source */
    const char *types;
    bool force;
} organs_way;

static const organs_way ways[] = {[EXTRACT] = {EXTRACT, "donor", NULL, NULL, false},
                                  [ASSEMBLE] = {ASSEMBLE, "apart", NULL, NULL, false},
                                  [ASSEMBLE_ONE] = {ASSEMBLE_ONE, "apart", NULL, NULL, false},
                                  [GRAFT] = {GRAFT, "donor", "apart", "organ", false},
                                  [GRAFT_APART] = {GRAFT_APART, "apart", "other", "skeleton,norm", false}};
enum { WAYS = sizeof ways / sizeof *ways };

/* Returns a path in the scratch directory that stays valid longer than that of scratch_path; NULL for NULL. */
static const char *path_of(char room[4096], const char *name)
{
    if (!name)
        return NULL;
    snprintf(room, 4096, "%s", scratch_path("%s", name));
    return room;
}

static bool said_resumed; /* from the report of the last run */

static organ_status organs_once(const void *way, const char *output, bool resume, size_t threads, organ_stop *stop,
                                organ_error *error)
{
    const organs_way *const w = way;
    char model[4096], source[4096], to[4096];
    json_t *report = NULL;
    const char *why;
    (void)threads; /* these verbs only copy bytes */
    *error = (organ_error){0};
    path_of(model, w->model);
    path_of(to, output);
    if (w->verb == EXTRACT) {
        const organ_extract_options options = {
            .model = model, .write.output = to, .write.resume = resume, .write.force = w->force};
        organ_extract(&options, NULL, stop, &report, error);
    } else if (w->verb == ASSEMBLE || w->verb == ASSEMBLE_ONE) {
        const organ_assemble_options options = {
            .directory = model, .write.output = to, .write.resume = resume, .write.force = w->force};
        organ_assemble(&options, NULL, stop, &report, error);
    } else {
        const organ_graft_options options = {.source = path_of(source, w->source),
                                             .target = model,
                                             .write.output = to,
                                             .types = w->types,
                                             .write.resume = resume,
                                             .write.force = w->force};
        organ_graft(&options, organ_kernels_choose(organ_cpu_detect(), NULL, &why), NULL, stop, &report, error);
    }
    ck_assert_int_eq(report != NULL, error->status == ORGAN_OK);
    said_resumed = json_is_true(json_object_get(json_object_get(report, "run"), "resumed"));
    json_decref(report);
    return error->status;
}

/* Returns a name for an output of that run: an assembled single file needs an extension. */
static const char *output_of(int verb, const char *name)
{
    static char room[64];
    snprintf(room, sizeof room, "%s%s", name, verb == ASSEMBLE_ONE ? ".safetensors" : "");
    return room;
}

static organ_status go(int verb, const char *name, bool resume, organ_error *error)
{
    return organs_once(&ways[verb], output_of(verb, name), resume, 2, NULL, error);
}

static void make_inputs(int layers)
{
    organ_error error;
    fault_clear();
    scratch_make();
    make_model(scratch_path("donor"), layers, 64);
    make_model(scratch_path("other"), layers, 64);
    ck_assert_msg(go(EXTRACT, "apart", false, &error) == ORGAN_OK, "%s", error.message);
}

static void setup(void) { make_inputs(1); }

/* Makes enough tensors for a kill at the last write. */
static void setup_more(void) { make_inputs(2); }

static void teardown(void)
{
    fault_clear();
    scratch_remove();
}

/* Lets each call of a function fail once. The program can avoid some failures; then the run must succeed. */
static void each_call_fails(int verb, fault_call call, int errnum)
{
    organ_error error;
    char name[32];
    for (long n = 1; n < 400; n++) {
        fault_at(call, n, errnum, false, NULL);
        snprintf(name, sizeof name, "out%ld", n);
        const organ_status status = go(verb, name, false, &error);
        const bool reached = fault_fired();
        ck_assert_msg(status == ORGAN_OK || status == ORGAN_IO, "call %ld: %s", n, error.message);
        /* The last sync is that of the directory in which the complete output has just got its name. */
        const bool named = exists(scratch_path("%s", output_of(verb, name)));
        ck_assert(named == (status == ORGAN_OK) || (call == FAULT_FSYNC && status));
        const bool left = exists(scratch_path(".%s.organ-partial", output_of(verb, name)));
        ck_assert_msg(left == (strstr(error.message, "`resume` continues, or remove ") != NULL), "%d: %s", (int)left,
                      error.message);
        if (left)
            ck_assert_msg(go(verb, name, true, &error) == ORGAN_OK, "%s", error.message);
        ck_assert(!exists(scratch_path(".%s.organ-partial", output_of(verb, name))));
        if (!reached) {
            ck_assert_msg(n > 1 && status == ORGAN_OK, "%ld: %d %s", n, (int)status, error.message);
            return;
        }
    }
}

START_TEST(reads_fail) { each_call_fails(_i, FAULT_PREAD, EIO); }
END_TEST
START_TEST(writes_fail) { each_call_fails(_i, FAULT_PWRITE, ENOSPC); }
END_TEST
START_TEST(syncs_fail) { each_call_fails(_i, FAULT_FSYNC, EIO); }
END_TEST
START_TEST(renames_fail) { each_call_fails(_i, FAULT_RENAMEAT2, EACCES); }
END_TEST
START_TEST(moves_of_the_journal_fail) { each_call_fails(_i, FAULT_RENAME, EACCES); }
END_TEST

static int turn; /* the current run, for functions without an argument */

static void lengthen_donor(void)
{
    FILE *file =
        fopen(scratch_path(strcmp(ways[turn].model, "apart") == 0 ? "apart/organs/model_layers_0_mlp_up_proj.bin"
                                                                  : "donor/model-00002-of-00002.safetensors"),
              "r+b");
    ck_assert(file && fseek(file, 0, SEEK_END) == 0 && fputc(1, file) == 1 && fclose(file) == 0);
}

START_TEST(inputs_that_change)
{
    organ_error error;
    turn = _i;
    fault_at(FAULT_PWRITE, 4, 0, false, lengthen_donor);
    ck_assert_msg(go(_i, "out", false, &error) == ORGAN_BAD_INPUT, "%d: %s", (int)error.status, error.message);
    ck_assert(!scratch_left(output_of(_i, "out")));
}
END_TEST

/* ---- interrupted runs ---- */

static resumed_verb verb_of(int verb) { return (resumed_verb){.run = organs_once, .way = &ways[verb]}; }

static void extend(const char *path)
{
    FILE *const file = fopen(path, "a");
    ck_assert(file && fputc('\n', file) == '\n' && fclose(file) == 0);
}

START_TEST(resume_refuses_another_run)
{
    organs_way other = ways[_i];
    const resumed_verb verb = verb_of(_i), changed = {.run = organs_once, .way = &other};
    const bool graft = _i == GRAFT || _i == GRAFT_APART;
    leaves_unfinished(&verb, "out");
    other.verb = _i == EXTRACT ? ASSEMBLE : EXTRACT;
    is_refused(&changed, "out", "its definition was ");
    other.verb = _i;
    if (graft) {
        other.types = "embed";
        is_refused(&changed, "out", "its parameters was ");
        other.types = ways[_i].types;
    }
    extend(_i == EXTRACT || _i == GRAFT ? scratch_path("donor/config.json") : scratch_path("apart/manifest.json"));
    is_refused(&verb, "out", graft ? "its target '" : "its model '");
    change_journal("out", "\"organ\":\"", "\"organ\":\"0.");
    is_refused(&verb, "out", "its organ was ");
    organ_error error;
    other.force = true;
    ck_assert_msg(organs_once(&other, "out", false, 2, NULL, &error) == ORGAN_OK, "%s", error.message);
    ck_assert(!exists(scratch_path(".out.organ-partial")));
}
END_TEST

/* A single-file output can be resumed too, and its journal is removed at the end. */
START_TEST(single_file_is_resumed)
{
    organ_error error;
    ck_assert_msg(go(ASSEMBLE_ONE, "reference", false, &error) == ORGAN_OK, "%s", error.message);
    ck_assert(!said_resumed);
    /* The threads decide how many writes come before the first line of the journal. */
    long write = 0;
    do {
        error = (organ_error){0};
        fault_at(FAULT_PWRITE, ++write, ENOSPC, true, NULL);
        ck_assert_int_eq(go(ASSEMBLE_ONE, "out", false, &error), ORGAN_IO);
        fault_clear();
    } while (!strstr(error.message, "`resume` continues"));
    ck_assert_int_eq(go(ASSEMBLE_ONE, "out", false, &error), ORGAN_USAGE);
    ck_assert_msg(go(ASSEMBLE_ONE, "out", true, &error) == ORGAN_OK, "%s", error.message);
    ck_assert(said_resumed);
    ck_assert(same_files(scratch_path("reference.safetensors"), scratch_path("out.safetensors")));
    ck_assert(!exists(scratch_path(".out.safetensors.organ-partial")) && !exists(scratch_path("organ")));
}
END_TEST

int main(void)
{
    const struct {
        const char *name;
        const TTest *test;
        bool resumed; /* a directory: the rig does not support a single file */
    } cases[] = {{"reads", reads_fail, false},
                 {"writes", writes_fail, false},
                 {"syncs", syncs_fail, false},
                 {"renames", renames_fail, false},
                 {"moves", moves_of_the_journal_fail, false},
                 {"changes", inputs_that_change, false},
                 {"refused", resume_refuses_another_run, true}};
    Suite *const suite = suite_create("organ_faults");
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        TCase *const one = tcase_create(cases[k].name);
        tcase_add_checked_fixture(one, cases[k].resumed ? setup_more : setup, teardown);
        tcase_set_timeout(one, 60);
        for (int verb = 0; verb < WAYS; verb++)
            if (cases[k].resumed ? verb != ASSEMBLE_ONE : verb != ASSEMBLE && verb != GRAFT_APART)
                tcase_add_loop_test(one, cases[k].test, verb, verb + 1);
        suite_add_tcase(suite, one);
    }
    TCase *const single = tcase_create("single");
    tcase_add_checked_fixture(single, setup, teardown);
    tcase_add_test(single, single_file_is_resumed);
    suite_add_tcase(suite, single);
    Suite *const suites[] = {suite, NULL};
    return run_suites(suites);
}
