/* SPDX-License-Identifier: MIT
 * Tests of direct files, the journal, renaming and copying, also when system calls fail. */
#include "orchestrator/output/model_copy.h"
#include "orchestrator/stream/direct_file.h"
#include "orchestrator/stream/write_behind.h"
#include "orchestrator/output/journal.h"
#include "formats/base/files.h"
#include "formats/model/recognise.h"
#include "orchestrator/output/publish.h"
#include "orchestrator/output/partial.h"
#include "tests/stream/check_stream.h"
#include "tests/kit/model_maker.h"
#include "tests/kit/suite_table.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static void setup(void)
{
    fault_clear();
    scratch_make();
}

static void teardown(void)
{
    fault_clear();
    scratch_remove();
}

/* ---- direct writes ---- */

/* Checks that ranges of any alignment, written directly and through the cache, give the same file as normal writes. */
static void write_ranges(const char *path, bool congruent)
{
    enum { SIZE = 300000 };
    unsigned char *expected = calloc(1, SIZE), *memory = aligned_alloc(4096, 1 << 19);
    organ_direct_file file;
    organ_error error = {0};
    size_t got;
    ck_assert_int_eq(organ_direct_open(path, 0666, &file, &error), ORGAN_OK);
    ck_assert_int_eq(organ_direct_resize(&file, SIZE, &error), ORGAN_OK);
    static const struct {
        size_t at, bytes;
    } ranges[] = {{0, 1},          {1, 4095},       {4096, 4096}, {8192, 8192 + 17}, {16401, 3},
                  {20000, 100000}, {131072, 65536}, {299999, 1},  {200000, 70000},   {130000, 0}};
    for (size_t k = 0; k < sizeof ranges / sizeof *ranges; k++) {
        unsigned char *data = memory + ranges[k].at % 4096 + (congruent ? 0 : 1);
        for (size_t j = 0; j < ranges[k].bytes; j++)
            data[j] = expected[ranges[k].at + j] = (unsigned char)(k * 37 + j * 11 + 1);
        ck_assert_int_eq(organ_direct_write(&file, data, ranges[k].bytes, ranges[k].at, &error), ORGAN_OK);
    }
    ck_assert_int_eq(organ_direct_sync(&file, &error), ORGAN_OK);
    organ_direct_close(&file);
    unsigned char *have = (unsigned char *)slurp(path, &got);
    ck_assert_uint_eq(got, SIZE);
    ck_assert(memcmp(have, expected, SIZE) == 0);
    free(have);
    free(memory);
    free(expected);
}

START_TEST(direct_writes_what_it_is_given)
{
    write_ranges(scratch_path("a"), true);
    write_ranges(scratch_path("b"), false);
}
END_TEST

/* An interrupted call is repeated, and each byte is moved once. */
START_TEST(interrupted_calls)
{
    static const char text[] = "all of the bytes";
    char back[sizeof text] = "";
    const int fd = organ_open(scratch_path("interrupted-calls"), O_RDWR | O_CREAT, 0600);
    ck_assert_int_ge(fd, 0);
    fault_at(FAULT_WRITE, 1, EINTR, false, NULL);
    ck_assert_int_eq(organ_write_all(fd, text, sizeof text), 0);
    fault_at(FAULT_PREAD, 1, EINTR, false, NULL);
    ck_assert_int_eq(organ_pread_full(fd, back, sizeof back, 0), sizeof back);
    ck_assert_mem_eq(back, text, sizeof text);
    fault_at(FAULT_PREAD, 1, EIO, false, NULL);
    ck_assert_int_eq(organ_pread_full(fd, back, sizeof back, 0), -1);
    fault_clear();
    close(fd);
}
END_TEST

START_TEST(direct_falls_back_and_reports)
{
    fault_at(FAULT_PWRITE, 3, EINVAL, false, NULL); /* a file system that rejects O_DIRECT only at the first write */
    write_ranges(scratch_path("refused"), true);
    fault_at(FAULT_PWRITE, 5, EINTR, false, NULL);
    write_ranges(scratch_path("interrupted"), true);
    organ_direct_file file;
    organ_error error = {0};
    static _Alignas(4096) char page[8192];
    fault_clear();
    ck_assert_int_eq(organ_direct_open(scratch_path("full"), 0666, &file, &error), ORGAN_OK);
    fault_at(FAULT_PWRITE, 1, ENOSPC, true, NULL);
    ck_assert_int_eq(organ_direct_write(&file, page, sizeof page, 0, &error), ORGAN_IO);
    ck_assert_ptr_nonnull(strstr(error.message, "No space left"));
    ck_assert_ptr_nonnull(strstr(error.message, "full"));
    organ_direct_close(&file);
    error = (organ_error){0};
    ck_assert_int_eq(organ_direct_open(scratch_path("no/such/folder"), 0666, &file, &error), ORGAN_IO);
}
END_TEST

enum { BEHIND = 40 * 700000 }; /* more than all buffers hold */

/* Two workers write one file alternately, as far as `status` is ORGAN_OK. */
static organ_status write_with_two(organ_behind *behind, const char *path, const char *data, organ_error *error)
{
    const size_t lengths[] = {700000, 1, 65536, 4095, 1048576, 131072};
    size_t at = 0;
    for (size_t k = 0; at < BEHIND && !error->status; k++) {
        const size_t left = BEHIND - at, some = lengths[k % 6] < left ? lengths[k % 6] : left;
        organ_behind_write(behind, k / 6 % 2, path, data + at, some, at, error);
        at += some;
    }
    for (size_t worker = 0; worker < 2; worker++)
        organ_behind_wait(behind, worker, error);
    return error->status;
}

static void write_behind_once(const char *name, int number, int errnum, organ_status expected)
{
    char *const path = strdup(scratch_path(name)), *const other = strdup(scratch_path("other"));
    char *const data = malloc(BEHIND);
    organ_behind *behind;
    organ_error error = {0};
    ck_assert(path && other && data);
    for (size_t k = 0; k < BEHIND; k++)
        data[k] = (char)(k * k >> 7);
    spill(path, "", 0);
    ck_assert_int_eq(organ_behind_create(2, true, &behind, &error), ORGAN_OK);
    fault_at(FAULT_PWRITE, number, errnum, true, NULL);
    ck_assert_int_eq(write_with_two(behind, path, data, &error), expected);
    fault_clear();
    if (expected == ORGAN_OK) {
        ck_assert_int_eq(organ_behind_write(behind, 0, other, data, 3, 0, &error), ORGAN_OK);
        ck_assert_int_eq(organ_behind_wait(behind, 0, &error), ORGAN_OK);
        spill(scratch_path("expected"), data, BEHIND);
        ck_assert(same_files(path, scratch_path("expected")));
    } else {
        ck_assert_ptr_nonnull(strstr(error.message, name));
        ck_assert_ptr_nonnull(strstr(error.message, strerror(errnum)));
    }
    organ_behind_destroy(behind);
    free(path);
    free(other);
    free(data);
}

START_TEST(writes_behind_workers)
{
    write_behind_once("behind", 0, 0, ORGAN_OK);
    for (int number = 1; number < 12; number += 5)
        write_behind_once("broken", number, EIO, ORGAN_IO);
    organ_behind *behind;
    organ_error error = {0};
    ck_assert_int_eq(organ_behind_create(1, true, &behind, &error), ORGAN_OK);
    ck_assert_int_eq(organ_behind_wait(behind, 0, &error), ORGAN_OK);
    ck_assert_int_eq(organ_behind_write(behind, 0, scratch_path("no/such/folder"), "a", 1, 0, &error), ORGAN_IO);
    ck_assert_ptr_nonnull(strstr(error.message, "cannot be opened"));
    organ_behind_destroy(behind);
    organ_behind_destroy(NULL);
}
END_TEST

static void copy_one(int errnum, bool again, organ_status expected)
{
    size_t n = 3000000;
    char *data = malloc(n);
    for (size_t k = 0; k < n; k++)
        data[k] = (char)(k * k >> 7);
    spill(scratch_path("from"), data, n);
    free(data);
    organ_error error = {0};
    const int from = open(scratch_path("from"), O_RDONLY),
              to = open(scratch_path("to"), O_RDWR | O_CREAT | O_TRUNC, 0666);
    fault_at(FAULT_COPY_RANGE, errnum ? 1 : 0, errnum, again, NULL);
    ck_assert_int_eq(organ_copy_range(from, "from", 0, to, "to", 0, n, &error), expected);
    fault_clear();
    close(from);
    close(to);
    if (expected == ORGAN_OK)
        ck_assert(same_files(scratch_path("from"), scratch_path("to")));
}

START_TEST(ranges_are_copied_by_the_kernel_or_by_hand)
{
    copy_one(0, false, ORGAN_OK);
    copy_one(EXDEV, true, ORGAN_OK);
    copy_one(EINVAL, true, ORGAN_OK);
    copy_one(ENOSYS, true, ORGAN_OK);
    copy_one(EINTR, false, ORGAN_OK);
    copy_one(ENOSPC, true, ORGAN_IO);
    organ_error error = {0};
    const int from = open(scratch_path("from"), O_RDONLY), to = open(scratch_path("to"), O_RDWR);
    ck_assert_int_eq(organ_copy_range(from, "from", 2999000, to, "to", 0, 2000, &error), ORGAN_BAD_INPUT);
    ck_assert_ptr_nonnull(strstr(error.message, "3000000"));
    close(from);
    close(to);
}
END_TEST

/* ---- journal ---- */

START_TEST(journal_survives_a_torn_line)
{
    const char *path = scratch_path("journal");
    organ_journal journal;
    organ_error error = {0};
    json_t *lines, *line = json_pack("{s:s, s:f}", "tensor", "a", "gain", 0.1);
    ck_assert_int_eq(organ_journal_open(path, &journal, &lines, &error), ORGAN_OK);
    ck_assert_uint_eq(json_array_size(lines), 0);
    ck_assert_int_eq(organ_journal_append(&journal, line, &error), ORGAN_OK);
    ck_assert_int_eq(organ_journal_append(&journal, line, &error), ORGAN_OK);
    organ_journal_close(&journal);
    json_decref(lines);
    size_t whole, n;
    free(slurp(path, &whole));
    static const char *const tails[] = {"{\"tensor\":\"b", "{\"tensor\":\"b\"} x\n", "[1]\n", "\n",
                                        "\xff\xfe\n{\"late\":1}\n"};
    for (size_t k = 0; k < sizeof tails / sizeof *tails; k++) {
        FILE *out = fopen(path, "ab");
        fputs(tails[k], out);
        fclose(out);
        ck_assert_int_eq(organ_journal_open(path, &journal, &lines, &error), ORGAN_OK);
        ck_assert_uint_eq(json_array_size(lines), 2);
        ck_assert(json_equal(json_array_get(lines, 1), line));
        organ_journal_close(&journal);
        json_decref(lines);
        free(slurp(path, &n));
        ck_assert_uint_eq(n, whole);
    }
    /* A read error is no truncated line: nothing is cut off. */
    fault_at(FAULT_PREAD, 1, EIO, false, NULL);
    ck_assert_int_eq(organ_journal_open(path, &journal, &lines, &error), ORGAN_IO);
    fault_clear();
    organ_journal_close(&journal);
    json_decref(lines);
    free(slurp(path, &n));
    ck_assert_uint_eq(n, whole);
    error = (organ_error){0};
    ck_assert_int_eq(organ_journal_open(path, &journal, &lines, &error), ORGAN_OK);
    json_decref(lines);
    fault_at(FAULT_WRITE, 1, ENOSPC, false, NULL);
    ck_assert_int_eq(organ_journal_append(&journal, line, &error), ORGAN_IO);
    organ_journal_close(&journal);
    json_decref(line);
}
END_TEST

/* ---- renaming the output ---- */

static organ_status publish(const char *path, bool resume, bool force, organ_publish *p, organ_error *error)
{
    *error = (organ_error){0};
    return organ_publish_begin(path, NULL, (organ_publish_mode){.resume = resume, .force = force, .journal = resume}, p,
                               error);
}

START_TEST(publishing_is_all_or_nothing)
{
    organ_publish p;
    organ_error error;
    /* The digest of the seal is the XXH3 of all bytes before the seal. */
    const char *const report = "{\n  \"schema\": \"organ.prune/1\",\n  \"seal\": \"a88dab9ea1861d67\"\n}\n";
    const char *out = scratch_path("out"), *partial = scratch_path(".out.organ-partial");
    ck_assert_int_eq(publish(scratch_path("out/"), false, false, &p, &error), ORGAN_OK);
    ck_assert_str_eq(p.final, out);
    ck_assert(exists(partial) && !exists(out));
    spill(scratch_path(".out.organ-partial/file.json"), report, strlen(report));
    ck_assert_int_eq(organ_publish_commit(&p, NULL, &error), ORGAN_OK);
    organ_publish_end(&p);
    ck_assert(exists(scratch_path("out/file.json")) && !exists(partial));

    ck_assert_int_eq(publish(out, false, false, &p, &error), ORGAN_USAGE);
    ck_assert_ptr_nonnull(strstr(error.message, "`force`"));
    organ_publish_end(&p);
    ck_assert(exists(scratch_path("out/file.json")) && !exists(partial));

    ck_assert_int_eq(publish(out, false, true, &p, &error), ORGAN_OK);
    spill(scratch_path(".out.organ-partial/second"), "2", 1);
    ck_assert(exists(scratch_path("out/file.json")));
    ck_assert_int_eq(organ_publish_commit(&p, NULL, &error), ORGAN_OK);
    organ_publish_end(&p);
    ck_assert(exists(scratch_path("out/second")) && !exists(scratch_path("out/file.json")) && !exists(partial));
    ck_assert(!exists(scratch_path(".out.organ-finished")));
    ck_assert_int_eq(publish(out, false, true, &p, &error), ORGAN_USAGE);
    ck_assert_ptr_nonnull(strstr(error.message, "'second'"));
    organ_publish_end(&p);

    ck_assert_int_eq(mkdir(scratch_path("empty"), 0777), 0);
    ck_assert_int_eq(publish(scratch_path("empty"), false, false, &p, &error), ORGAN_OK);
    ck_assert_int_eq(organ_publish_commit(&p, NULL, &error), ORGAN_OK);
    organ_publish_end(&p);
}
END_TEST

START_TEST(unfinished_output_is_found_locked_and_taken_over)
{
    organ_publish p, q;
    organ_error error;
    const char *out = scratch_path("out");
    ck_assert_int_eq(publish(out, true, false, &p, &error), ORGAN_OK);
    ck_assert(!p.resumed);
    spill(scratch_path(".out.organ-partial/file"), "1", 1);
    ck_assert_int_eq(publish(out, true, false, &q, &error), ORGAN_IO);
    ck_assert_ptr_nonnull(strstr(error.message, "another process"));
    organ_publish_end(&q);
    ck_assert_int_eq(publish(out, false, true, &q, &error), ORGAN_IO);
    organ_publish_end(&q);
    ck_assert(exists(scratch_path(".out.organ-partial/file")));
    organ_publish_end(&p);

    ck_assert_int_eq(publish(out, false, false, &p, &error), ORGAN_USAGE);
    ck_assert_ptr_nonnull(strstr(error.message, "`resume`"));
    organ_publish_end(&p);
    ck_assert_int_eq(publish(out, true, false, &p, &error), ORGAN_OK);
    ck_assert(p.resumed && exists(scratch_path(".out.organ-partial/file")));
    organ_publish_end(&p);
    ck_assert_int_eq(publish(out, false, true, &p, &error), ORGAN_OK);
    ck_assert(!p.resumed && !exists(scratch_path(".out.organ-partial/file")));
    organ_publish_abandon(&p);
    organ_publish_end(&p);
    ck_assert(!exists(scratch_path(".out.organ-partial")) && !exists(out));
}
END_TEST

/* If locks do not reach another host, that host can remove the directory of a run and begin its own.
 * Then no file of the run gets into the other directory, and the run neither publishes nor removes it. */
/* A run that has no memory or no descriptor left still finds that its new directory is empty, and removes it. */
START_TEST(an_empty_folder_is_known_without_memory_and_descriptors)
{
    struct rlimit limit, none;
    const int folder = open(scratch_path("."), O_RDONLY | O_DIRECTORY);
    ck_assert_int_ge(folder, 0);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = (struct rlimit){0, limit.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    const bool empty = organ_is_empty_folder(folder), again = organ_is_empty_folder(folder);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    ck_assert(empty && again);
    ck_assert_int_eq(mkdirat(folder, "below", 0777), 0);
    ck_assert(!organ_is_empty_folder(folder));
    ck_assert_int_eq(errno, 0);
    ck_assert(!organ_is_empty_folder(-1));
    ck_assert_int_eq(errno, EBADF);
    close(folder);
}
END_TEST

START_TEST(a_run_whose_directory_was_taken_touches_no_other)
{
    organ_publish p;
    organ_error error;
    organ_direct_file file;
    const char *out = scratch_path("out"), *partial = scratch_path(".out.organ-partial");
    for (int resumed = 0; resumed < 2; resumed++) { /* the other host continues the run in the same directory */
        ck_assert_int_eq(publish(out, true, true, &p, &error), ORGAN_OK);
        if (!resumed) {
            ck_assert_int_eq(rename(partial, scratch_path("removed")), 0);
            ck_assert_int_eq(mkdir(partial, 0777), 0);
        }
        spill(scratch_path(".out.organ-partial/" ORGAN_GROWING_MARK), "the token of another run", 24);
        spill(scratch_path(".out.organ-partial/theirs"), "1", 1);
        ck_assert_int_eq(organ_direct_open(scratch_path(".out.organ-partial/mine"), 0666, &file, &error), ORGAN_OK);
        organ_direct_close(&file);
        ck_assert_int_eq(organ_publish_commit(&p, NULL, &error), ORGAN_IO);
        ck_assert_ptr_nonnull(strstr(error.message, "another run has taken over"));
        organ_publish_abandon(&p);
        organ_publish_end(&p);
        ck_assert(!exists(out) && exists(scratch_path(".out.organ-partial/theirs")));
        ck_assert_int_eq(exists(scratch_path(".out.organ-partial/mine")), resumed);
    }
}
END_TEST

/* The lock of rank 0 does not end with rank 0 while another rank writes. */
START_TEST(the_last_rank_keeps_the_lock)
{
    organ_publish p, q, other;
    organ_error error;
    ck_assert_int_eq(publish(scratch_path("out"), true, false, &p, &error), ORGAN_OK);
    ck_assert_int_eq(organ_publish_set_token(&p, "0123456789abcdef01234567n", &error), ORGAN_OK);
    ck_assert_int_eq(organ_publish_join(scratch_path("out"), "0123456789abcdef01234567n", &q, &error), ORGAN_OK);
    organ_publish_end(&p);
    ck_assert_int_eq(publish(scratch_path("out"), true, true, &other, &error), ORGAN_IO);
    ck_assert_ptr_nonnull(strstr(error.message, "another process"));
    organ_publish_end(&other);
    organ_publish_end(&q);
    ck_assert_int_eq(publish(scratch_path("out"), true, true, &other, &error), ORGAN_OK);
    organ_publish_abandon(&other);
    organ_publish_end(&other);
}
END_TEST

/* A former holder of a lock renames the file between its opening and its locking by another. */
START_TEST(a_locked_file_has_its_path)
{
    const char *path = scratch_path("part");
    const int first = organ_open_locked(path, O_RDWR | O_CREAT, 0666);
    ck_assert_int_ge(first, 0);
    ck_assert_int_eq(organ_open_locked(path, O_RDWR | O_CREAT, 0666), -1);
    ck_assert_int_eq(errno, EWOULDBLOCK);
    ck_assert_int_eq(rename(path, scratch_path("whole")), 0);
    const int second = organ_open_locked(path, O_RDWR | O_CREAT, 0666);
    ck_assert_int_ge(second, 0);
    struct stat whole, part;
    ck_assert(fstat(first, &whole) == 0 && fstat(second, &part) == 0 && whole.st_ino != part.st_ino);
    close(first);
    close(second);
}
END_TEST

/* The permissions that an output must not have are removed before it has its name. */
START_TEST(outputs_are_closed)
{
    static const struct {
        const char *out, *partial;
        unsigned closed;
    } rows[] = {{"private", ".private.organ-partial", 077}, {"group", ".group.organ-partial", 027}};
    const mode_t before = umask(002);
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        organ_publish p;
        organ_error error = {0};
        struct stat info;
        char path[512];
        const organ_publish_mode way = {.closed = rows[k].closed};
        ck_assert_int_eq(organ_publish_begin(scratch_path(rows[k].out), NULL, way, &p, &error), ORGAN_OK);
        ck_assert_int_eq(stat(scratch_path(rows[k].partial), &info), 0);
        ck_assert_uint_eq(info.st_mode & 0777, 0777 & ~002u & ~rows[k].closed);
        snprintf(path, sizeof path, "%s/organ", scratch_path(rows[k].partial));
        ck_assert_int_eq(organ_make_folder(path, 0777), 0);
        strcat(path, "/p.json");
        spill(path, "{}", 2);
        ck_assert_int_eq(organ_publish_commit(&p, NULL, &error), ORGAN_OK);
        organ_publish_end(&p);
        snprintf(path, sizeof path, "%s/organ/p.json", scratch_path(rows[k].out));
        ck_assert_int_eq(stat(path, &info), 0);
        ck_assert_uint_eq(info.st_mode & 0777, 0664 & ~rows[k].closed);
        *strrchr(path, '/') = '\0';
        ck_assert_int_eq(stat(path, &info), 0);
        ck_assert_uint_eq(info.st_mode & 0777, 0775 & ~rows[k].closed);
    }
    umask(before);
}
END_TEST

/* Several ranks use the same directory. */
START_TEST(writers_find_the_signs_of_all)
{
    static const struct {
        size_t signs, missing; /* number of marks; the missing one */
    } rows[] = {{1, 1}, {3, 3}, {200, 200}, {3, 0}, {3, 1}, {3, 2}, {200, 170}};
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        organ_publish p, q;
        organ_error error;
        char named[40];
        ck_assert_int_eq(publish(scratch_path("out"), false, false, &p, &error), ORGAN_OK);
        ck_assert_int_eq(organ_publish_set_token(&p, "0123456789abcdef01234567n", &error), ORGAN_OK);
        ck_assert_int_eq(organ_publish_join(scratch_path("out"), "0123456789abcdef01234567n", &q, &error), ORGAN_OK);
        for (size_t r = rows[k].signs; r-- > 0;) /* in any order */
            if (r != rows[k].missing)
                ck_assert_int_eq(organ_publish_mark(r ? &q : &p, r, &error), ORGAN_OK);
        const bool whole = rows[k].missing == rows[k].signs;
        ck_assert_int_eq(organ_publish_verify(&q, rows[k].signs, &error), whole ? ORGAN_OK : ORGAN_IO);
        snprintf(named, sizeof named, "the mark that rank %zu wrote", rows[k].missing);
        ck_assert_msg(whole || strstr(error.message, named), "%s", error.message);
        organ_publish_end(&q);
        organ_publish_abandon(&p);
        organ_publish_end(&p);
    }
}
END_TEST

START_TEST(signs_that_cannot_be_written_are_told)
{
    organ_publish p;
    organ_error error;
    ck_assert_int_eq(publish(scratch_path("out"), false, false, &p, &error), ORGAN_OK);
    ck_assert_int_eq(unlink(scratch_path(".out.organ-partial/" ORGAN_GROWING_MARK)), 0);
    ck_assert_int_eq(organ_publish_mark(&p, 0, &error), ORGAN_IO);
    ck_assert_ptr_nonnull(strstr(error.message, "cannot be written"));
    error = (organ_error){0};
    ck_assert_int_eq(organ_publish_verify(&p, 1, &error), ORGAN_IO);
    ck_assert_ptr_nonnull(strstr(error.message, "cannot be read"));
    organ_publish_abandon(&p);
    organ_publish_end(&p);
}
END_TEST

START_TEST(bad_places_are_refused)
{
    organ_publish p;
    organ_error error;
    static const char *const names[] = {"", "/", ".", "..", "a/.."};
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        ck_assert_int_eq(publish(names[k], false, false, &p, &error), ORGAN_USAGE);
        organ_publish_end(&p);
    }
    ck_assert_int_eq(publish(scratch_path("no/such/out"), false, false, &p, &error), ORGAN_IO);
    ck_assert_ptr_nonnull(strstr(error.message, "no/such"));
    organ_publish_end(&p);
    spill(scratch_path("file"), "x", 1);
    ck_assert_int_eq(publish(scratch_path("file"), false, false, &p, &error), ORGAN_USAGE);
    organ_publish_end(&p);
    ck_assert_int_eq(publish(scratch_path("file/out"), false, false, &p, &error), ORGAN_IO);
    organ_publish_end(&p);
}
END_TEST

/* ---- copying directories ---- */

START_TEST(file_lists_follow_links_to_files)
{
    const char *root = scratch_path("tree");
    organ_file_list list;
    organ_error error = {0};
    mkdir(root, 0777), mkdir(scratch_path("tree/b"), 0777), mkdir(scratch_path("tree/b/c"), 0777),
        mkdir(scratch_path("tree/.x.organ-partial"), 0777);
    spill(scratch_path("tree/z"), "zz", 2), spill(scratch_path("tree/b/c/deep"), "deep", 4),
        spill(scratch_path("tree/model"), "m", 1);
    spill(scratch_path("tree/.x.organ-partial/f"), "", 0), spill(scratch_path("blob"), "blob!", 5);
    ck_assert_int_eq(symlink("../blob", scratch_path("tree/a")), 0);
    ck_assert_int_eq(symlink("b", scratch_path("tree/folder-link")), 0);
    ck_assert_int_eq(mkfifo(scratch_path("tree/fifo"), 0666), 0);
    const char *const skip[] = {"model"};
    ck_assert_int_eq(organ_list_files(root, skip, 1, &list, &error), ORGAN_OK);
    ck_assert_uint_eq(list.count, 3);
    ck_assert_str_eq(list.names[0], "a");
    ck_assert_str_eq(list.names[1], "b/c/deep");
    ck_assert_str_eq(list.names[2], "z");
    ck_assert_uint_eq(list.bytes, 11);
    ck_assert_int_eq(mkdir(scratch_path("to"), 0777), 0);
    for (size_t k = 0; k < list.count; k++)
        ck_assert_int_eq(organ_copy_file(root, list.names[k], scratch_path("to"), list.names[k], &error), ORGAN_OK);
    ck_assert(same_files(scratch_path("blob"), scratch_path("to/a")));
    ck_assert(same_files(scratch_path("tree/b/c/deep"), scratch_path("to/b/c/deep")));
    organ_list_release(&list);

    ck_assert_int_eq(symlink("nowhere", scratch_path("tree/dangling")), 0);
    ck_assert_int_eq(organ_list_files(root, skip, 1, &list, &error), ORGAN_IO);
    ck_assert_ptr_nonnull(strstr(error.message, "dangling"));
    error = (organ_error){0};
    ck_assert_int_eq(organ_list_files(scratch_path("absent"), NULL, 0, &list, &error), ORGAN_IO);
    error = (organ_error){0};
    ck_assert_int_eq(organ_copy_file(root, "absent", scratch_path("to"), "absent", &error), ORGAN_IO);
}
END_TEST

START_TEST(copied_files_keep_permissions_and_can_be_copied_again)
{
    struct stat info;
    organ_error error = {0};
    mkdir(scratch_path("to"), 0777);
    spill(scratch_path("run.sh"), "#!", 2);
    ck_assert_int_eq(chmod(scratch_path("run.sh"), 0555), 0);
    for (int k = 0; k < 2; k++)
        ck_assert_int_eq(organ_copy_file(scratch_path("."), "run.sh", scratch_path("to"), "run.sh", &error), ORGAN_OK);
    ck_assert_int_eq(stat(scratch_path("to/run.sh"), &info), 0);
    ck_assert_int_eq(info.st_mode & 0111, 0111);
    fault_at(FAULT_FSYNC, 1, EIO, false, NULL);
    ck_assert_int_eq(organ_copy_file(scratch_path("."), "run.sh", scratch_path("to"), "run.sh", &error), ORGAN_IO);
}
END_TEST

Suite *files_suite(void)
{
    const suite_case cases[] = {
        {"direct",
         {direct_writes_what_it_is_given, direct_falls_back_and_reports, interrupted_calls, writes_behind_workers,
          ranges_are_copied_by_the_kernel_or_by_hand}},
        {"journal", {journal_survives_a_torn_line}},
        {"publish",
         {publishing_is_all_or_nothing, unfinished_output_is_found_locked_and_taken_over, bad_places_are_refused,
          an_empty_folder_is_known_without_memory_and_descriptors, writers_find_the_signs_of_all,
          signs_that_cannot_be_written_are_told, a_run_whose_directory_was_taken_touches_no_other,
          the_last_rank_keeps_the_lock, a_locked_file_has_its_path, outputs_are_closed}},
        {"copy", {file_lists_follow_links_to_files, copied_files_keep_permissions_and_can_be_copied_again}},
    };
    return suite_of("files", cases, sizeof cases / sizeof *cases, setup, teardown);
}
