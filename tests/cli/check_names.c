/* SPDX-License-Identifier: MIT
 * Runs every verb that writes while system calls fail and while another process takes the output's name: no file is
 * lost, and every partial output is named in a message. */
#include "formats/model/recognise.h"
#include "orchestrator/cli/cli_parts.h"
#include "tests/kit/effort.h"
#include "tests/kit/lora_rig.h"
#include "tests/kit/suite_table.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

typedef enum kind { DIRECTORY, SINGLE, REPORTS, PAGE } kind;

/* '@' stands for the scratch directory, '#' for the name of the output. */
static const struct row {
    const char *words, *ending;
    kind kind;
    const char *inside; /* a file of the output or of its reports */
} rows[] = {
    {"prune @donor -o # --threads 2 --iterations 1", "", DIRECTORY, "config.json"},
    {"prune @donor -o # --sparsity 40 --threads 1 --iterations 1", "", DIRECTORY, "config.json"},
    {"prune @donor -o # --method magnitude --sparsity 40", "", DIRECTORY, "config.json"},
    {"prune @one.safetensors -o # --method magnitude --sparsity 40", ".safetensors", SINGLE, ""},
    {"extract @donor -o #", "", DIRECTORY, "manifest.json"},
    {"assemble @apart -o #", ".safetensors", SINGLE, ""},
    {"graft --source @tuned --target @donor --output # --select feed-forward", "", DIRECTORY, "config.json"},
    {"purify @donor -o # --method fft --threads 2", "", DIRECTORY, "config.json"},
    {"purify @apart -o # --method fft --threads 2", "", DIRECTORY, "manifest.json"},
    {"purify @one.safetensors -o # --method fft", ".safetensors", SINGLE, ""},
    {"quantize @donor -o # --scheme fp8-channel", "", DIRECTORY, "config.json"},
    {"dequantize @donor -o # --dtype f32", "", DIRECTORY, "config.json"},
    {"dequantize @one.safetensors -o # --dtype f32", ".safetensors", SINGLE, ""},
    {"lora extract --base @donor --tuned @tuned -o # -r 2 --threads 1", "", DIRECTORY, "adapter_config.json"},
    {"lora merge --base @donor --adapter @adapter -o #", "", DIRECTORY, "config.json"},
    {"lora sanitize @adapter -o #", "", DIRECTORY, "adapter_config.json"},
    {"lora resize @adapter -o # --rank 2", "", DIRECTORY, "adapter_config.json"},
    {"lora combine @adapter @second -o #", "", DIRECTORY, "adapter_config.json"},
    {"orthogonality @donor @tuned @adapter -o # --draws 2 --threads 1", "", DIRECTORY, "orthogonality.json"},
    {"perplexity @qwen --text @text -o # --context 8 --threads 1", "", DIRECTORY, "perplexity.json"},
    {"evaluate @qwen @qwen2 --text @text -o # --context 8 --threads 1", "", DIRECTORY, "evaluate.json"},
    {"measure @one.safetensors -o #", "", REPORTS, "z_report.json"},
    {"autopsy @one.safetensors -o #", "", REPORTS, "autopsy.json"},
    {"fleet @models -o # --no-extract", "", REPORTS, "fleet.json"},
    {"inspect @donor --html #", ".html", PAGE, ""},
    {"report @saved.json -o #", ".html", PAGE, ""},
};
#define NAME_ROWS ((int)(sizeof rows / sizeof *rows))

enum { MAX_WORDS = 32, WORD = 4096 };
static char output[256], mine[320]; /* the output of the run; the path that a user takes during the run */

static const char thesis[] = "three years of work\n";

static organ_status run_words(const char *line, bool force, organ_error *error)
{
    static char buffer[MAX_WORDS][WORD], copy[512];
    char *words[MAX_WORDS + 4];
    char option[] = "--force";
    int count = 0, used = 0;
    organ_help help = ORGAN_HELP_NONE;
    snprintf(copy, sizeof copy, "%s", line);
    for (char *word = strtok(copy, " "); word; word = strtok(NULL, " ")) {
        const char *const plain = *word == '#' ? output : word;
        snprintf(buffer[count], WORD, "%s", *word == '@' ? scratch_path("%s", word + 1) : plain);
        words[count] = buffer[count];
        count++;
    }
    if (force)
        words[count++] = option;
    words[count] = NULL;
    *error = (organ_error){0};
    const organ_verb *const verb =
        organ_verb_find(&organ_all_verbs, words[0], count > 1 ? words[1] : NULL, &used, error);
    ck_assert_msg(verb, "%s", error->message);
    organ_call *const call = organ_call_create(verb, NULL, error);
    ck_assert_ptr_nonnull(call);
    ck_assert_msg(organ_options_parse(verb, count - used, words + used, call, &help, error) == ORGAN_OK, "%s: %s", line,
                  error->message);
    call->quiet = true;
    organ_call_complete(call);
    if (!call->html ||
        organ_html_file_check(call->html, error) == ORGAN_OK) /* main() of the program checks the page first */
        verb->run(call, error);
    free(call);
    fflush(stdout);
    return error->status;
}

static void must_run(const char *line, const char *name)
{
    organ_error error;
    snprintf(output, sizeof output, "%s", scratch_path("%s", name));
    ck_assert_msg(run_words(line, false, &error) == ORGAN_OK, "%s: %s", line, error.message);
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *where)
{
    (void)info, (void)type, (void)where;
    return remove(path);
}

/* Removes the output, its reports and its partial output. */
static void clear(void)
{
    static const char *const patterns[] = {"%.*s*", ".%.*s*"};
    const char *const name = strrchr(output, '/') + 1;
    for (size_t k = 0; k < 2; k++) {
        glob_t found;
        char pattern[WORD];
        const int at = snprintf(pattern, sizeof pattern, "%.*s", (int)(name - output), output);
        snprintf(pattern + at, sizeof pattern - (size_t)at, patterns[k], (int)strcspn(name, "."), name);
        if (glob(pattern, 0, NULL, &found) == 0)
            for (size_t f = 0; f < found.gl_pathc; f++)
                nftw(found.gl_pathv[f], remove_one, 16, FTW_DEPTH | FTW_PHYS);
        globfree(&found);
    }
}

static void copy_all(const char *to, const char *const *names)
{
    ck_assert_int_eq(mkdir(scratch_path("%s", to), 0777), 0);
    for (; *names; names++)
        copy_file(*names, scratch_path("%s/%s", to, strrchr(*names, '/') + 1));
}

#define QWEN "fixtures/tiny-qwen2/"
static const char *const qwen_files[] = {QWEN "config.json",
                                         QWEN "model-00001-of-00003.safetensors",
                                         QWEN "model-00002-of-00003.safetensors",
                                         QWEN "model-00003-of-00003.safetensors",
                                         QWEN "model.safetensors.index.json",
                                         QWEN "tokenizer.json",
                                         QWEN "tokenizer_config.json",
                                         NULL};

/* The descriptor of the real stdout while mute has redirected stdout to /dev/null. Without fork (CK_FORK=no), verbs and
 * Check print from one process, and run_tests.sh could not find the summary of Check among the lines of the verbs. */
static int shown = -1;

static void mute(void)
{
    const int nowhere = open("/dev/null", O_WRONLY);
    fflush(stdout);
    shown = dup(STDOUT_FILENO);
    dup2(nowhere, STDOUT_FILENO);
    close(nowhere);
}

static void unmute(void)
{
    fflush(stdout);
    dup2(shown, STDOUT_FILENO);
    close(shown);
}

static void setup(void)
{
    static const made_tensor one[] = {{"model.layers.0.mlp.up_proj.weight", ORGAN_BF16, 2, {40, 64}},
                                      {"model.norm.weight", ORGAN_F32, 1, {64}}};
    /* Thousands of runs write here, so memory is better than a disk. A container may have only some megabytes of
     * /dev/shm. */
    struct statvfs room;
    if (access("/dev/shm", W_OK | X_OK) == 0 && statvfs("/dev/shm", &room) == 0 &&
        (uint64_t)room.f_bavail * room.f_frsize >= 1u << 30)
        setenv("TMPDIR", "/dev/shm", 1);
    /* Without this the system clears pages of 2 MB for the small buffers of each run. */
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    lora_setup();
    make_shard(scratch_path("one.safetensors"), one, 2);
    must_run("extract @donor -o #", "apart");
    must_run("purify @donor -o # --method fft --strength 1", "tuned");
    copy_all("qwen", qwen_files);
    copy_all("qwen2", qwen_files);
    copy_all("models", (const char *const[]){scratch_path("one.safetensors"), NULL});
    spill(scratch_path("text"), "The quick brown fox jumps over the lazy dog.", 44);
    must_run("measure @one.safetensors -o #", "measured");
    copy_file(scratch_path("measured/z_report.json"), scratch_path("saved.json"));
}

/* ---- remaining files ---- */

static void name_output(const struct row *row, const char *stem)
{
    snprintf(output, sizeof output, "%s%s", scratch_path("%s", stem), row->ending);
}

static const char *partial_of(void)
{
    const char *const slash = strrchr(output, '/');
    return scratch_path(".%s.organ-partial", slash + 1);
}

/* Returns true if the scratch directory or the output contains a hidden draft of a report, ".NUMBER.". Called thousands
 * of times, so it does not start a shell. */
static bool has_draft(const char *directory)
{
    DIR *const all = opendir(directory);
    bool found = false;
    for (const struct dirent *one; all && !found && (one = readdir(all));) {
        const size_t digits = one->d_name[0] == '.' ? strspn(one->d_name + 1, "0123456789") : 0;
        found = digits && one->d_name[1 + digits] == '.';
    }
    if (all)
        closedir(all);
    return found;
}

/* Returns true if the output is complete. */
static bool is_whole(const struct row *row)
{
    static char path[WORD];
    snprintf(path, sizeof path, "%s%s%s", output, *row->inside ? "/" : "", row->inside);
    struct stat info;
    return stat(path, &info) == 0 && info.st_size > 0;
}

static void run_command_of(const organ_error *error)
{
    const char *const command = strstr(error->message, "mv -n ");
    ck_assert_msg(command, "%s", error->message);
    ck_assert_msg(system(command) == 0, "%s", command);
}

/* ---- each call fails once ---- */

static void judge(const struct row *row, const char *what, bool there, const organ_error *error)
{
    const bool unfinished = exists(partial_of());
    ck_assert_msg(error->status == ORGAN_OK || error->status == ORGAN_IO, "%s: %d %s", what, (int)error->status,
                  error->message);
    ck_assert_msg(!has_draft(scratch_path(".")) && !has_draft(output), "%s: a draft is left: %s", what, error->message);
    if (error->status == ORGAN_OK) {
        ck_assert_msg(is_whole(row) && !unfinished, "%s: succeeds, but is not whole", what);
        return;
    }
    ck_assert_msg(!there || is_whole(row), "%s: what was there is gone: %s", what, error->message);
    const bool kept = row->kind == SINGLE && strstr(error->message, "the finished output is kept as");
    if (unfinished)
        ck_assert_msg(kept || strstr(error->message, "`resume`"), "%s: something is left: %s", what, error->message);
    if (strstr(error->message, "is complete"))
        ck_assert_msg(is_whole(row) && !strstr(error->message, "`resume`"), "%s: %s", what, error->message);
    else if (kept) /* without its name, or a report of it is */
        ck_assert_msg(!exists(output) || is_whole(row), "%s: %s", what, error->message);
    else if (!there && row->kind != REPORTS)
        ck_assert_msg(!exists(output), "%s: something has the name: %s", what, error->message);
}

/* Makes the output that the run replaces: by a run the first time, then by copying that run's output. */
static void make_first(const struct row *row, bool *made)
{
    organ_error error;
    static char command[3 * WORD];
    const char *const first = scratch_path("first"), *const all = scratch_path(".");
    if (!*made) {
        ck_assert_msg(run_words(row->words, false, &error) == ORGAN_OK, "%s", error.message);
        snprintf(command, sizeof command, "rm -rf %s && mkdir %s && cp -a %s/again* %s", first, first, all, first);
    } else {
        snprintf(command, sizeof command, "cp -a %s/. %s", first, all);
    }
    ck_assert_msg(system(command) == 0 && is_whole(row), "%s", command);
    *made = true;
}

/* Returns true if the verb has a journal, by which a later run recognises its partial output. */
static bool has_journal(const struct row *row)
{
    static const char *const without[] = {"orthogonality", "perplexity", "evaluate"};
    bool found = false;
    for (size_t k = 0; k < sizeof without / sizeof *without; k++)
        found = found || strncmp(row->words, without[k], strlen(without[k])) == 0;
    return !found;
}

/* Returns true if every run of the row makes that call. */
static bool needs(const struct row *row, fault_call call)
{
    const bool writes_tensors = row->kind == DIRECTORY || row->kind == SINGLE;
    if (call == FAULT_RENAME) /* moves the journal into the output */
        return writes_tensors && has_journal(row);
    if (call == FAULT_PWRITE)
        return writes_tensors && strcmp(row->inside, "orthogonality.json") != 0 &&
               strcmp(row->inside, "perplexity.json") != 0 && strcmp(row->inside, "evaluate.json") != 0;
    return call != FAULT_FTRUNCATE || writes_tensors;
}

static void each_call_fails(const struct row *row, bool force)
{
    static const struct {
        fault_call call;
        const char *name;
        int errnum;
    } calls[] = {
        {FAULT_FSYNC, "fsync", EIO},   {FAULT_PWRITE, "pwrite", ENOSPC}, {FAULT_RENAMEAT2, "renameat2", EIO},
        {FAULT_RENAME, "rename", EIO}, {FAULT_WRITE, "write", ENOSPC},   {FAULT_FTRUNCATE, "ftruncate", ENOSPC},
        {FAULT_LINK, "link", EIO}};
    organ_error error;
    char what[WORD];
    bool made = false;
    for (size_t c = 0; c < sizeof calls / sizeof *calls; c++) {
        bool reached = true, ever = false;
        /* Writes of several tensors use the same code, and so do syncs of several files, so samples are enough. */
        long step = 1;
        if (calls[c].call == FAULT_PWRITE)
            step = (long)sampled_unless_all(1, 8, 8);
        else if (calls[c].call == FAULT_FSYNC || calls[c].call == FAULT_WRITE)
            step = (long)sampled_unless_all(1, 3, 3);
        for (long n = 1; reached && n < 1000; n += step) {
            name_output(row, force ? "again" : "out");
            clear();
            if (force)
                make_first(row, &made);
            fault_clear();                   /* counts from here */
            if (calls[c].call == FAULT_LINK) /* what a file system without RENAME_NOREPLACE needs */
                fault_at(FAULT_RENAMEAT2, 1, EINVAL, true, NULL);
            fault_at(calls[c].call, n, calls[c].errnum, false, NULL);
            run_words(row->words, force && row->kind != REPORTS && row->kind != PAGE, &error);
            reached = fault_fired();
            ever = ever || reached;
            snprintf(what, sizeof what, "%s: %s number %ld", row->words, calls[c].name, n);
            judge(row, what, force, &error);
            if (exists(partial_of())) { /* as the message promises */
                char resume[WORD];
                snprintf(resume, sizeof resume, "%s --resume%s", row->words, force || exists(output) ? " --force" : "");
                ck_assert_msg(run_words(resume, false, &error) == ORGAN_OK && !exists(partial_of()), "%s: %s", what,
                              error.message);
            }
            clear();
        }
        ck_assert_msg(ever || !needs(row, calls[c].call), "%s: no call of %s failed", row->words, calls[c].name);
    }
}

START_TEST(any_call_may_fail) { each_call_fails(&rows[_i], false); }
END_TEST
START_TEST(any_call_may_fail_while_replacing) { each_call_fails(&rows[_i], true); }
END_TEST

/* ---- a user takes the output's name during the run ---- */

/* Puts a directory that is not empty, or a file, as a user may make it during a run. */
static void put_directory(void)
{
    static char path[WORD];
    snprintf(path, sizeof path, "%s/thesis.txt", mine);
    if (mkdir(mine, 0777) == 0)
        spill(path, thesis, sizeof thesis - 1);
}

static void put_file(void)
{
    const int fd = open(mine, O_WRONLY | O_CREAT | O_EXCL, 0666);
    if (fd >= 0 && (write(fd, thesis, sizeof thesis - 1) < 0 || close(fd)))
        abort();
}

static bool is_mine(const char *path)
{
    size_t size = 0;
    struct stat info;
    char whole[WORD];
    if (stat(path, &info))
        return false;
    snprintf(whole, sizeof whole, "%s%s", path, S_ISDIR(info.st_mode) ? "/thesis.txt" : "");
    char *const text = slurp(whole, &size);
    const bool same = text && size == sizeof thesis - 1 && memcmp(text, thesis, size) == 0;
    free(text);
    return same;
}

/* Sets `mine` to the output, or to the first report of an output without a directory. */
static void choose_mine(const struct row *row)
{
    snprintf(mine, sizeof mine, "%s%s%s", output, row->kind == REPORTS ? "/" : "",
             row->kind == REPORTS ? row->inside : "");
}

/* Runs the row and takes its name at the n-th fsync; returns false if there is no such call before the rename. */
static bool lose_name(const struct row *row, long n, void (*put)(void))
{
    organ_error error;
    clear();
    fault_clear();
    fault_at(FAULT_FSYNC, n, 0, false, put);
    run_words(row->words, false, &error);
    const bool reached = fault_fired();
    if (error.status == ORGAN_OK)
        return false;
    ck_assert_msg(reached && error.status == ORGAN_IO, "%s: %d %s", row->words, (int)error.status, error.message);
    ck_assert_msg(is_mine(mine), "%s: fsync %ld: the file is lost: %s", row->words, n, error.message);
    run_command_of(&error);
    if (row->kind == DIRECTORY || row->kind == SINGLE) {
        char *const own = strdup(output);
        const size_t stem = strlen(own) - strlen(row->ending);
        snprintf(output, sizeof output, "%.*s-2%s", (int)stem, own, row->ending);
        ck_assert_msg(is_whole(row), "%s: what was kept is not whole", row->words);
        snprintf(output, sizeof output, "%s", own);
        free(own);
    }
    return true;
}

START_TEST(a_name_that_appears_is_not_taken)
{
    const struct row *const row = &rows[_i];
    organ_error error;
    name_output(row, "raced");
    choose_mine(row);
    for (int k = 0; k < 2; k++) {
        long n = 1;
        while (lose_name(row, n, k ? put_directory : put_file))
            n++;
        ck_assert_msg(n > 1, "%s: the name was never taken", row->words);
    }
    /* The last run succeeded. The next one fails while the name exists, and can use another name. */
    clear();
    put_file();
    ck_assert_msg(row->kind == REPORTS || run_words(row->words, false, &error) == ORGAN_USAGE, "%s", error.message);
    clear();
    must_run(row->words, strrchr(scratch_path("free%d%s", _i, row->ending), '/') + 1);
}
END_TEST

START_TEST(finished_work_is_kept)
{
    const struct row *const row = &rows[_i];
    organ_error error;
    if (row->kind != DIRECTORY && row->kind != SINGLE)
        return;
    name_output(row, "kept");
    choose_mine(row);
    clear();
    fault_clear();
    fault_at(FAULT_FSYNC, 1, 0, false, put_directory);
    ck_assert_int_eq(run_words(row->words, false, &error), ORGAN_IO);
    fault_clear();
    ck_assert_int_eq(rename(mine, scratch_path("away%d", _i)), 0);
    if (has_journal(row)) {
        /* The same command renames the stored output once the name is free; another command does not. */
        for (int force = 0; force < 2; force++) {
            ck_assert_int_eq(run_words("extract @one.safetensors -o #", force, &error), ORGAN_USAGE);
            ck_assert_msg(strstr(error.message, "contains a finished output"), "%s", error.message);
        }
        ck_assert_msg(run_words(row->words, false, &error) == ORGAN_OK && is_whole(row) && !exists(partial_of()), "%s",
                      error.message);
        return;
    }
    for (int force = 0; force < 2; force++) {
        ck_assert_int_eq(run_words(row->words, force, &error), ORGAN_USAGE);
        ck_assert_msg(strstr(error.message, "contains a finished output"), "%s", error.message);
    }
    run_command_of(&error);
    ck_assert_msg(run_words(row->words, false, &error) == ORGAN_OK && is_whole(row) && !exists(partial_of()), "%s",
                  error.message);
}
END_TEST

/* ---- files that --force replaces ---- */

static void add_thesis(void)
{
    spill(scratch_path("%s/thesis.txt", strrchr(output, '/') + 1), thesis, sizeof thesis - 1);
}
static void become_thesis(void) { spill(output, thesis, sizeof thesis - 1); }

START_TEST(what_changed_while_it_was_to_be_replaced_is_kept)
{
    const struct row *const row = &rows[_i];
    organ_error error;
    char kept[WORD];
    if (row->kind != DIRECTORY && row->kind != SINGLE)
        return;
    name_output(row, "changed");
    clear();
    ck_assert_int_eq(run_words(row->words, false, &error), ORGAN_OK);
    fault_clear();
    fault_at(FAULT_FSYNC, 1, 0, false, row->kind == DIRECTORY ? add_thesis : become_thesis);
    const organ_status status = run_words(row->words, true, &error);
    fault_clear();
    snprintf(kept, sizeof kept, "%.*s-2%s", (int)(strlen(output) - strlen(row->ending)), output, row->ending);
    ck_assert_msg(status == ORGAN_IO && strstr(error.message, kept), "%s: %d %s", row->words, (int)status,
                  error.message);
    ck_assert_msg(is_mine(kept) && is_whole(row) && !is_mine(output), "%s: %s", row->words, error.message);
}
END_TEST

/* ---- file systems without RENAME_NOREPLACE and RENAME_EXCHANGE ---- */

START_TEST(file_systems_without_flags)
{
    const struct row *const row = &rows[_i];
    organ_error error;
    name_output(row, "flags");
    choose_mine(row);
    clear();
    for (int force = 0; force < 2; force++) {
        fault_clear();
        fault_at(FAULT_RENAMEAT2, 1, EINVAL, true, NULL);
        ck_assert_msg(run_words(row->words, force && row->kind != REPORTS && row->kind != PAGE, &error) == ORGAN_OK,
                      "%s: %s", row->words, error.message);
        ck_assert_msg(is_whole(row) && !exists(partial_of()), "%s", row->words);
    }
    clear();
    fault_clear();
    fault_at(FAULT_RENAMEAT2, 1, EINVAL, true, NULL);
    fault_at(FAULT_FSYNC, 1, 0, false, put_file);
    ck_assert_int_eq(run_words(row->words, false, &error), ORGAN_IO);
    fault_clear();
    ck_assert(is_mine(mine));
    run_command_of(&error);
}
END_TEST

int main(void)
{
    const struct {
        const char *name;
        const TTest *test;
    } tests[] = {{"any call may fail", any_call_may_fail},
                 {"any call may fail while replacing", any_call_may_fail_while_replacing},
                 {"races", a_name_that_appears_is_not_taken},
                 {"kept", finished_work_is_kept},
                 {"changed", what_changed_while_it_was_to_be_replaced_is_kept},
                 {"without flags", file_systems_without_flags}};
    Suite *const suite = suite_create("names");
    for (size_t k = 0; k < sizeof tests / sizeof *tests; k++) {
        TCase *const one = tcase_create(tests[k].name);
        tcase_set_timeout(one, 120);
        tcase_add_unchecked_fixture(one, setup, lora_teardown);
        tcase_add_checked_fixture(one, mute, unmute);
        tcase_add_loop_test(one, tests[k].test, 0, NAME_ROWS);
        suite_add_tcase(suite, one);
    }
    return run_suites((Suite *const[]){suite, NULL});
}
