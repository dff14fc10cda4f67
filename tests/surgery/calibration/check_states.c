/* SPDX-License-Identifier: MIT
 * Tests of hidden states in memory and in a scratch file: the values read equal those written, a failing disk ends the
 * run, and no file is left. */
#include "orchestrator/stream/direct_file.h"
#include "orchestrator/stream/transfer.h"
#include "orchestrator/surgery/calibration/calibration.h"
#include "tests/kit/model_maker.h"
#include "tests/kit/require.h"
#include "tests/kit/suite_table.h"
#include "tests/verbs/prune/method_rig.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* ---- file systems without unnamed files, or full ---- */

static int refuse_unnamed; /* an errno; 0: none */
static uint64_t free_bytes = UINT64_MAX;

int __real_openat(int, const char *, int, ...);
int __wrap_openat(int, const char *, int, ...);
int __wrap_openat(int folder, const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    const unsigned mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(args, unsigned) : 0;
    va_end(args);
    if (refuse_unnamed && (flags & O_TMPFILE) == O_TMPFILE) {
        errno = refuse_unnamed;
        return -1;
    }
    return __real_openat(folder, path, flags, mode);
}

int __real_statvfs(const char *, struct statvfs *);
int __wrap_statvfs(const char *, struct statvfs *);
int __wrap_statvfs(const char *path, struct statvfs *told)
{
    const int status = __real_statvfs(path, told);
    if (free_bytes != UINT64_MAX)
        told->f_bavail = free_bytes / told->f_frsize;
    return status;
}

static void setup(void)
{
    method_setup();
    mkdir(scratch_path("scratch"), 0755);
    refuse_unnamed = 0;
    free_bytes = UINT64_MAX;
}

static size_t files_in(const char *directory)
{
    size_t count = 0;
    DIR *const folder = opendir(directory);
    ck_assert_ptr_nonnull(folder);
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;)
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(folder);
    return count;
}

/* Returns the descriptor of the open scratch file. */
static int open_scratch(void)
{
    char link[64], target[4096];
    for (int fd = 3; fd < 256; fd++) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        const ssize_t length = readlink(link, target, sizeof target - 1);
        target[length > 0 ? length : 0] = '\0';
        if (strstr(target, "/scratch/") && strstr(target, "(deleted)"))
            return fd;
    }
    return -1;
}

/* ---- the store ---- */

static float value_at(size_t chunk, size_t k, unsigned pass) { return (float)(chunk * 1000 + k) + (float)pass / 4; }

static void fill(float *values, size_t count, size_t chunk, unsigned pass)
{
    for (size_t k = 0; k < count; k++)
        values[k] = value_at(chunk, k, pass);
}

static void must_hold(const float *values, size_t count, size_t chunk, unsigned pass)
{
    REQUIRE(values != NULL);
    for (size_t k = 0; k < count; k++)
        REQUIRE(values[k] == value_at(chunk, k, pass));
}

static void keeps_states(const organ_calibration_chunks *chunks, const char *scratch)
{
    organ_calibration_states *states;
    organ_error error = {0};
    ck_assert_msg(organ_calibration_states_open(chunks, true, scratch, &states, &error) == ORGAN_OK, "%s",
                  error.message);
    for (unsigned pass = 0; pass < 3; pass++)
        for (size_t c = chunks->first; c < organ_calibration_chunks_count(chunks); c += chunks->step) {
            const size_t count = organ_calibration_chunk_windows(chunks, c) * chunks->window_bytes / sizeof(float);
            if (pass > 0) {
                float *const copy = organ_calibration_states_copy(states, c, &error);
                must_hold(copy, count, c, pass - 1);
                fill(copy, count, c, 99); /* and is not freed */
                must_hold(organ_calibration_states_take(states, c, &error), count, c, pass - 1);
            }
            fill(organ_calibration_states_take(states, c, &error), count, c, pass);
            ck_assert_int_eq(organ_calibration_states_put_back(states, c, &error), ORGAN_OK);
        }
    ck_assert_int_eq(error.status, ORGAN_OK);
    organ_calibration_states_close(states);
}

START_TEST(what_is_given_is_what_is_taken)
{
    const organ_calibration_chunks cases[] = {{8, 3, 0, 1, 20},   {8, 3, 1, 2, 20},    {8, 3, 2, 3, 20},
                                              {1, 1, 0, 1, 4},    {7, 7, 0, 1, 400},   {5, 1, 3, 7, 12},
                                              {2, 1, 5, 7, 4096}, {300, 4, 0, 2, 5000}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        keeps_states(&cases[k], NULL);
        keeps_states(&cases[k], scratch_path("scratch"));
        refuse_unnamed = k % 2 ? EOPNOTSUPP : EISDIR;
        keeps_states(&cases[k], scratch_path("scratch"));
        refuse_unnamed = 0;
        ck_assert_uint_eq(files_in(scratch_path("scratch")), 0);
    }
    ck_assert_uint_eq(organ_calibration_states_bytes(&cases[0]), 160);
    ck_assert_uint_eq(organ_calibration_states_bytes(&cases[1]), 60);
    ck_assert_uint_eq(organ_calibration_states_bytes(&cases[2]), 40);
    ck_assert_uint_eq(organ_calibration_states_bytes(&cases[6]), 0);
    ck_assert_uint_eq(organ_calibration_states_memory(&cases[0], false, false), 160);
    ck_assert_uint_eq(organ_calibration_states_memory(&cases[0], true, false), 160 + 60);
    ck_assert_uint_eq(organ_calibration_states_memory(&cases[7], true, true), 4 * 5000 + 38 * 8);
}
END_TEST

START_TEST(the_file_has_no_name_and_one_reader)
{
    const organ_calibration_chunks chunks = {4, 1, 0, 1, 4096};
    for (int named = 0; named < 2; named++) {
        organ_calibration_states *states;
        organ_error error = {0};
        struct stat info;
        refuse_unnamed = named ? EOPNOTSUPP : 0;
        ck_assert_int_eq(organ_calibration_states_open(&chunks, false, scratch_path("scratch"), &states, &error),
                         ORGAN_OK);
        ck_assert_ptr_nonnull(organ_calibration_states_take(states, 0, &error));
        ck_assert_uint_eq(files_in(scratch_path("scratch")), 0);
        ck_assert_int_ge(open_scratch(), 0);
        ck_assert_int_eq(fstat(open_scratch(), &info), 0);
        ck_assert_int_eq(info.st_mode & 07777, 0600);
        ck_assert_uint_eq(info.st_size, 4 * 4096);
        ck_assert(fcntl(open_scratch(), F_GETFD) & FD_CLOEXEC);
        organ_calibration_states_close(states);
        ck_assert_int_eq(open_scratch(), -1);
    }
}
END_TEST

/* ---- failures of the disk ---- */

static void must_say(const organ_error *error, int errnum, const char *told)
{
    ck_assert_int_eq(error->status, ORGAN_IO);
    ck_assert_int_eq(error->errnum, errnum);
    ck_assert_msg(strstr(error->message, scratch_path("scratch")) && strstr(error->message, told), "%s",
                  error->message);
}

START_TEST(a_disk_that_refuses_is_told)
{
    const organ_calibration_chunks chunks = {4, 1, 0, 1, 4096};
    organ_calibration_states *states;
    organ_error error = {0};
    ck_assert_int_eq(organ_calibration_states_open(&chunks, false, scratch_path("scratch/absent"), &states, &error),
                     ORGAN_IO);
    must_say(&error, ENOENT, "scratch/absent: no scratch file can be created in it: No such file");
    ck_assert_ptr_null(states);
    error = (organ_error){0};
    refuse_unnamed = EACCES;
    ck_assert_int_eq(organ_calibration_states_open(&chunks, false, scratch_path("scratch"), &states, &error), ORGAN_IO);
    must_say(&error, EACCES, "no scratch file can be created in it");
    refuse_unnamed = 0;
    for (int call = 0; call < 2; call++) {
        error = (organ_error){0};
        ck_assert_int_eq(organ_calibration_states_open(&chunks, false, scratch_path("scratch"), &states, &error),
                         ORGAN_OK);
        memset(organ_calibration_states_take(states, 0, &error), 1, 4096);
        fault_at(FAULT_PWRITE, call ? 0 : 1, ENOSPC, true, NULL);
        organ_calibration_states_put_back(states, 0, &error);
        fault_at(FAULT_PREAD, call ? 1 : 0, EIO, true, NULL);
        if (call)
            ck_assert_ptr_null(organ_calibration_states_take(states, 0, &error));
        must_say(&error, call ? EIO : ENOSPC,
                 call ? "cannot read 4096 bytes of a scratch file" : "16384 bytes of hidden states (`scratch`)");
        fault_clear();
        organ_calibration_states_close(states);
    }
    ck_assert_uint_eq(files_in(scratch_path("scratch")), 0);
}
END_TEST

START_TEST(bytes_that_change_on_the_disk_are_noticed)
{
    const organ_calibration_chunks chunks = {4, 1, 0, 1, 4096};
    organ_calibration_states *states;
    organ_error error = {0};
    ck_assert_int_eq(organ_calibration_states_open(&chunks, false, scratch_path("scratch"), &states, &error), ORGAN_OK);
    for (size_t c = 0; c < 4; c++) {
        fill(organ_calibration_states_take(states, c, &error), 1024, c, 0);
        ck_assert_int_eq(organ_calibration_states_put_back(states, c, &error), ORGAN_OK);
    }
    ck_assert_int_eq(pwrite(open_scratch(), "x", 1, 2 * 4096 + 7), 1);
    must_hold(organ_calibration_states_take(states, 1, &error), 1024, 1, 0);
    ck_assert_ptr_null(organ_calibration_states_take(states, 2, &error));
    must_say(&error, EIO, "4096 bytes of hidden states (`scratch`) differ from the written ones");
    organ_calibration_states_close(states);
}
END_TEST

/* The file gets its full length before anything is computed. */
START_TEST(a_file_may_be_refused_its_length)
{
    const organ_calibration_chunks chunks = {1000, 1, 0, 1, 4096};
    struct rlimit limit;
    organ_calibration_states *states;
    organ_error error = {0};
    ck_assert_int_eq(organ_calibration_states_open(&chunks, false, scratch_path("scratch"), &states, &error), ORGAN_OK);
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    const struct rlimit little = {100000,
                                  limit.rlim_max}; /* the limit can be restored: later tests may run in this process */
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &little), 0);
    ck_assert_ptr_null(organ_calibration_states_take(states, 0, &error));
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    ck_assert_int_eq(error.errnum, EFBIG);
    ck_assert_ptr_nonnull(
        strstr(error.message, "cannot store 4096000 bytes of hidden states (`scratch`): File too large"));
    organ_calibration_states_close(states);
}
END_TEST

/* ---- whole runs ---- */

static organ_status prune(const char *method, const char *output, const char *scratch, unsigned threads,
                          organ_error *error)
{
    const method_way w = {.donor = scratch_path("donor"),
                          .sparsity = 50,
                          .force = true,
                          .threads = threads,
                          .options = {.method = method,
                                      .calibration.text = scratch_path("text"),
                                      .calibration.samples = 80,
                                      .calibration.context = 32,
                                      .effort = 1,
                                      .calibration.scratch = scratch}};
    *error = (organ_error){0};
    return method_prune(output, &w, error);
}

START_TEST(a_scratch_file_changes_no_byte)
{
    static const char *const methods[] = {"physarum-v2", "wanda"}; /* two streams, and one */
    organ_error error;
    method_make_donor("qwen3");
    for (size_t m = 0; m < 2; m++)
        for (unsigned threads = 1; threads < 4; threads += 2) {
            ck_assert_msg(prune(methods[m], "in-memory", NULL, threads, &error) == ORGAN_OK, "%s", error.message);
            ck_assert_msg(prune(methods[m], "spilled", scratch_path("scratch"), threads, &error) == ORGAN_OK, "%s",
                          error.message);
            ck_assert(
                same_files(scratch_path("in-memory/model.safetensors"), scratch_path("spilled/model.safetensors")));
            ck_assert(
                same_files(scratch_path("in-memory/organ/prune.jsonl"), scratch_path("spilled/organ/prune.jsonl")));
        }
}
END_TEST

START_TEST(a_disk_without_room_is_found_before_the_work)
{
    organ_error error;
    method_make_donor("qwen3");
    free_bytes = 1 << 18;
    method_must_have_failed(
        prune("physarum-v2", "out", scratch_path("scratch"), 1, &error), ORGAN_IO, &error,
        "no space: the hidden states (`scratch`) need 655 kB more, but 262 kB are free: 393 kB are missing");
    must_say(&error, ENOSPC, "scratch: no space");
    ck_assert_int_eq(prune("physarum-v2", "out", NULL, 1, &error), ORGAN_OK); /* the output fits */
}
END_TEST

/* Nothing of the run is left except a partial output to resume. */
START_TEST(a_disk_that_fills_up_ends_the_run)
{
    organ_error error;
    long calls = 0;
    method_make_donor("qwen3");
    for (long n = 1;; n += 1 + n / 6) {
        fault_at(FAULT_PWRITE, n, ENOSPC, true, NULL);
        prune("sparsegpt", "out", scratch_path("scratch"), 1, &error);
        if (!fault_fired()) {
            ck_assert_int_eq(error.status, ORGAN_OK);
            break;
        }
        calls += strstr(error.message, "hidden states (`scratch`): No space left") != NULL;
        ck_assert_int_eq(error.status, ORGAN_IO);
        ck_assert_uint_eq(files_in(scratch_path("scratch")), 0);
        ck_assert(!exists(scratch_path("out")));
    }
    ck_assert_int_ge(calls, 5);
}
END_TEST

int main(void)
{
    const suite_case cases[] = {
        {"store",
         {what_is_given_is_what_is_taken, the_file_has_no_name_and_one_reader, a_disk_that_refuses_is_told,
          bytes_that_change_on_the_disk_are_noticed, a_file_may_be_refused_its_length}},
        {"runs",
         {a_scratch_file_changes_no_byte, a_disk_without_room_is_found_before_the_work,
          a_disk_that_fills_up_ends_the_run}},
    };
    Suite *const suites[] = {suite_of("states", cases, sizeof cases / sizeof *cases, setup, method_teardown), NULL};
    return run_suites(suites);
}
