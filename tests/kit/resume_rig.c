/* SPDX-License-Identifier: MIT */
#include "tests/kit/resume_rig.h"
#include "tests/kit/effort.h"

#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KILLS = 20, SOME_KILLS = 5, FEW_KILLS = 3, MAX_LATE = 4 };

void same_trees(const char *a, const char *b, const char *report)
{
    char command[9000];
    snprintf(command, sizeof command, "diff -rq -x '%s' -x '*REPORT.md' -x '*REPORT.html' '%s' '%s' >'%s' 2>&1",
             report ? report : "*REPORT.md", scratch_path("%s", a), scratch_path("%s", b), scratch_path("differences"));
    ck_assert_msg(system(command) == 0, "%s and %s differ", a, b);
    if (report)
        same_reports(a, b, report, NULL);
}

/* Number of last writes left out: on a busy machine a run may make one or two writes less than the counted run. */
enum { SPARED = 2 };

/* Returns the threads of a run that is killed, meets a full disk, or is stopped. */
static size_t threads_of(const resumed_verb *v) { return v->threads ? v->threads : 2; }

static long counted[FAULT_CALLS]; /* calls of the run that made "reference" */

/* Makes "reference", once per test; returns its number of pwrites. */
static long make_reference(const resumed_verb *v)
{
    organ_error error;
    fault_clear();
    if (exists(scratch_path("reference")))
        return counted[FAULT_PWRITE];
    ck_assert_msg(v->run(v->way, "reference", false, threads_of(v), NULL, &error) == ORGAN_OK, "%s", error.message);
    for (fault_call call = 0; call < FAULT_CALLS; call++)
        counted[call] = fault_count(call);
    fault_clear();
    return counted[FAULT_PWRITE];
}

/* Waits for the child; returns false if it hangs, after killing it. */
static bool wait_for(pid_t child, int *status)
{
    enum { PAUSE = 5000, MAX = 20000 }; /* microseconds; 100 seconds in all */
    for (int k = 0; k < MAX; k++) {
        if (waitpid(child, status, WNOHANG) == child)
            return true;
        usleep(PAUSE);
    }
    kill(child, SIGKILL);
    waitpid(child, status, 0);
    return false;
}

/* Runs in a child that dies in the n-th call. When emulated, a child of a process with threads may hang at its start;
 * then another one is started. */
static void kill_at(const resumed_verb *v, const char *output, fault_call call, long n)
{
    int status, tries = 0;
    pid_t child;
    do {
        child = fork();
        if (child == 0) {
            organ_error error;
            fault_at(call, n, -1, false, NULL);
            _exit(v->run(v->way, output, false, threads_of(v), NULL, &error));
        }
        ck_assert(child > 0 &&
                  (tries == 0 || (tries < 5 && is_emulated() && !exists(scratch_path(".%s.organ-partial", output)))));
        tries++;
    } while (!wait_for(child, &status));
    ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "call %d, %ld: was not killed", (int)call, n);
    ck_assert(!exists(scratch_path("%s", output)) && exists(scratch_path(".%s.organ-partial", output)));
}

/* Resumes the run; returns its number of pwrites. */
static long go_on(const resumed_verb *v, const char *output, size_t threads)
{
    organ_error error;
    fault_clear();
    ck_assert_msg(v->run(v->way, output, true, threads, NULL, &error) == ORGAN_OK, "%s", error.message);
    const long writes = fault_count(FAULT_PWRITE);
    ck_assert(!exists(scratch_path(".%s.organ-partial", output)) &&
              !exists(scratch_path("%s/organ/journal.jsonl", output)));
    same_trees("reference", output, v->report);
    return writes;
}

void killed_anywhere_goes_on(const resumed_verb *v)
{
    const long writes = make_reference(v), kills = (long)sampled_unless_all(KILLS, SOME_KILLS, FEW_KILLS);
    char output[32];
    long taken = 0;
    organ_error error;
    ck_assert_int_ge(writes, KILLS / 2);
    /* The journal's thread may be delayed, so that finished work is not in the journal yet: a busy machine has MAX_LATE
     * more tries. */
    for (long k = 0; k < kills || (taken >= writes / 2 && k < kills + MAX_LATE); k++) {
        snprintf(output, sizeof output, "killed%ld", k);
        kill_at(v, output, FAULT_PWRITE, 1 + (k < kills ? k : kills - 1) * (writes - 1 - SPARED) / (kills - 1));
        ck_assert_int_eq(v->run(v->way, output, false, 2, NULL, &error), ORGAN_USAGE);
        ck_assert_msg(strstr(error.message, "`resume` continues it, `force` starts over"), "%s", error.message);
        taken = go_on(v, output, 1 + (size_t)k % 3);
    }
    ck_assert_msg(taken < writes / 2, "%ld of %ld writes after a kill at the last", taken, writes);
    static const fault_call calls[] = {FAULT_WRITE, FAULT_WRITE, FAULT_FSYNC, FAULT_RENAMEAT2};
    static const long moments[] = {1, 4, 2, 1}; /* the first fsync writes the mark, before the work */
    for (size_t k = 0; k < sizeof calls / sizeof *calls; k++) {
        snprintf(output, sizeof output, "dead%zu", k);
        kill_at(v, output, calls[k], moments[k]);
        if (calls[k] != FAULT_RENAMEAT2) /* complete, without its mark: the message says how to rename it */
            go_on(v, output, 2);
    }
}

/* Returns true if a run that failed left nothing, or a partial output that can be resumed. */
static bool left_goes_on(const resumed_verb *v, const char *output, const organ_error *error)
{
    ck_assert(!exists(scratch_path("%s", output)));
    const bool left = scratch_left(output);
    ck_assert_msg(left == (strstr(error->message, "`resume` continues, or remove ") != NULL), "%d: %s", (int)left,
                  error->message);
    go_on(v, output, 2);
    return left;
}

static bool full_at(const resumed_verb *v, const char *output, fault_call call, long n)
{
    organ_error error;
    fault_at(call, n, ENOSPC, true, NULL);
    const organ_status status = v->run(v->way, output, false, threads_of(v), NULL, &error);
    fault_clear();
    ck_assert_msg(status == ORGAN_IO && error.errnum == ENOSPC, "call %d, %ld: %d %s", (int)call, n, (int)status,
                  error.message);
    return left_goes_on(v, output, &error);
}

void full_disk_goes_on(const resumed_verb *v)
{
    static const fault_call calls[] = {FAULT_COPY_RANGE, FAULT_FSYNC, FAULT_FTRUNCATE, FAULT_WRITE};
    const long writes = make_reference(v), moments = (long)sampled(5, 2);
    char output[32];
    size_t runs = 0;
    for (long n = 1; n < writes; n += 1 + writes / moments) {
        snprintf(output, sizeof output, "full%zu", runs++);
        full_at(v, output, FAULT_PWRITE, n);
    }
    ck_assert(full_at(v, "last", FAULT_PWRITE, writes)); /* some work precedes the last write */
    ck_assert_int_gt(counted[FAULT_COPY_RANGE], 0);
    for (size_t k = 0; k < sizeof calls / sizeof *calls; k++)
        for (long n = 1; n < 4 && (n == 1 || n <= counted[calls[k]]); n += (long)sampled(2, 3)) {
            snprintf(output, sizeof output, "full%zu", runs++);
            full_at(v, output, calls[k], n);
        }
}

static organ_stop stop;
static void ask_to_stop(void) { organ_stop_request(&stop); }

void stopped_run_goes_on(const resumed_verb *v)
{
    const long writes = make_reference(v);
    char output[32];
    for (long k = 0; k < 3; k++) {
        organ_error error;
        snprintf(output, sizeof output, "stopped%ld", k);
        stop = (organ_stop){0};
        fault_at(FAULT_PWRITE, (k + 1) * writes / 3 - (k == 2), 0, false, ask_to_stop);
        ck_assert_int_eq(v->run(v->way, output, false, threads_of(v), &stop, &error), ORGAN_INTERRUPTED);
        const bool left = left_goes_on(v, output, &error);
        ck_assert(left || k < 2);
    }
}

void leaves_unfinished(const resumed_verb *v, const char *output)
{
    const long writes = make_reference(v);
    kill_at(v, output, FAULT_PWRITE, writes);
    ck_assert(exists(scratch_path(".%s.organ-partial/organ/journal.jsonl", output)));
}

void is_refused(const resumed_verb *v, const char *output, const char *word)
{
    organ_error error;
    ck_assert_msg(v->run(v->way, output, true, 2, NULL, &error) == ORGAN_USAGE, "%d: %s", (int)error.status,
                  error.message);
    ck_assert_msg(strstr(error.message, "the unfinished run cannot be continued: its ") &&
                      strstr(error.message, word) && strstr(error.message, "`force` starts over") &&
                      !strstr(error.message, "`resume` continues"),
                  "no %s: %s", word, error.message);
    ck_assert(exists(scratch_path(".%s.organ-partial/organ/journal.jsonl", output)));
}

void change_journal(const char *output, const char *from, const char *to)
{
    size_t size;
    const char *const path = scratch_path(".%s.organ-partial/organ/journal.jsonl", output);
    char *const text = slurp(path, &size), *made = NULL;
    ck_assert_ptr_nonnull(text);
    char *const whole = strndup(text, size), *const at = strstr(whole, from);
    ck_assert_msg(at, "no %s in %s", from, whole);
    const int length = asprintf(&made, "%.*s%s%s", (int)(at - whole), whole, to, at + strlen(from));
    spill(path, made, (size_t)length);
    free(made);
    free(whole);
    free(text);
}

void damaged_output_is_mended(const resumed_verb *v)
{
    char command[5000];
    leaves_unfinished(v, "damaged");
    /* Changes the last 100 bytes of every file with tensors. */
    snprintf(
        command, sizeof command,
        "cd '%s' && for f in $(find . -name '*.safetensors' -o -name '*.bin'); do n=$(stat -c %%s $f) && "
        "head -c 100 /dev/zero | tr '\\0' x | dd of=$f bs=1 seek=$((n - 100)) conv=notrunc 2>/dev/null || exit 1; done",
        scratch_path(".damaged.organ-partial"));
    ck_assert_int_eq(system(command), 0);
    go_on(v, "damaged", 2);
    leaves_unfinished(v, "lost");
    snprintf(command, sizeof command,
             "cd '%s' && rm $(find . -name '*-00001-of-*.safetensors' -o -name '*_mlp_*.bin' "
             "-o -name 'adapter_*') && : >model.safetensors.index.json && "
             ": >.7.config.json",
             scratch_path(".lost.organ-partial"));
    ck_assert_int_eq(system(command), 0);
    go_on(v, "lost", 2);
    leaves_unfinished(v, "odd");
    change_journal("odd", "\"pieces\":[[[0,", "\"pieces\":[[[1,");
    change_journal("odd", "\"results\":{", "\"results\":[],\"other\":{");
    go_on(v, "odd", 2);
}
