/* SPDX-License-Identifier: MIT
 * Tests of messages, dtypes, and the small containers of formats/. */
#include "formats/base/arena.h"
#include "formats/base/files.h"
#include "formats/base/rows.h"
#include <organ/base.h>
#include "formats/base/text.h"
#include <organ/models.h>
#include "tests/formats/check_formats.h"
#include "tests/kit/require.h"
#include "tests/kit/scratch_model.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

START_TEST(first_fault_is_kept)
{
    organ_error error = {0};
    ck_assert_int_eq(organ_fail(&error, ORGAN_BAD_INPUT, "%s: %d", "file", 7), ORGAN_BAD_INPUT);
    ck_assert_str_eq(error.message, "file: 7");
    ck_assert_int_eq(organ_fail(&error, ORGAN_IO, "later"), ORGAN_BAD_INPUT);
    ck_assert_int_eq(organ_fail_errno(&error, ENOENT, "later"), ORGAN_BAD_INPUT);
    ck_assert_str_eq(error.message, "file: 7");
    error = (organ_error){0};
    ck_assert_int_eq(organ_fail_errno(&error, ENOENT, "%s", "file"), ORGAN_IO);
    ck_assert_str_eq(error.message, "file: No such file or directory");
}
END_TEST

/* Names come from files: control characters in them are shown escaped. */
static const struct shown {
    const char *text, *message;
} shown[] = {
    {"a\nb\tc\x1b[31m\x7f", "a\\x0ab\\x09c\\x1b[31m\\x7f"},
    {"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"},
    {"\xC2\x9B"
     "31m",
     "\\xc2\\x9b"
     "31m"},                                      /* the C1 control character CSI */
    {"\xFF\xC3", "\\xff\\xc3"},                   /* invalid UTF-8; a truncated sequence */
    {"\xC0\x80\xC1\xBF", "\\xc0\\x80\\xc1\\xbf"}, /* overlong */
    {"\xE0\x80\xAF", "\\xe0\\x80\\xaf"},
    {"\xED\xA0\x80", "\\xed\\xa0\\x80"},          /* a surrogate */
    {"\xF4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"}, /* beyond Unicode */
};

START_TEST(message_is_printable)
{
    organ_error error = {0};
    organ_fail(&error, ORGAN_BAD_INPUT, "%s", shown[_i].text);
    ck_assert_str_eq(error.message, shown[_i].message);
}
END_TEST

START_TEST(long_messages_are_cut)
{
    char text[3000];
    for (int byte = 1; byte < 256; byte++) {
        organ_error error = {0};
        memset(text, byte, sizeof text - 1);
        text[sizeof text - 1] = '\0';
        organ_fail(&error, ORGAN_IO, "%s", text);
        ck_assert_uint_lt(strlen(error.message), sizeof error.message);
        ck_assert_uint_gt(strlen(error.message), sizeof error.message - 8);
    }
}
END_TEST

START_TEST(faults_after_a_whole_output_name_it)
{
    organ_error error = {0};
    organ_error_set_output(&error, "out");
    organ_error_set_output(&error, "page.html"); /* the first path stays */
    ck_assert_int_eq(error.status, ORGAN_OK);
    organ_fail_memory(&error, "the report");
    ck_assert_str_eq(error.message, "out is complete, but a later step failed: the report: Cannot allocate memory");
    ck_assert_int_eq(error.errnum, ENOMEM);
    organ_error_set_output(&error, "other");
    ck_assert_str_eq(error.message, "out is complete, but a later step failed: the report: Cannot allocate memory");
    error = (organ_error){0};
    organ_error_set_output(&error, "out");
    organ_fail(&error, ORGAN_CHECK_FAILED, "2 findings"); /* a failed check is a result of a successful run */
    ck_assert_str_eq(error.message, "2 findings");
    error = (organ_error){.status = ORGAN_OK, .message = "left over"};
    organ_fail(&error, ORGAN_IO, "fault");
    ck_assert_str_eq(error.message, "fault");
}
END_TEST

START_TEST(dtypes)
{
    for (int k = 0; k < ORGAN_DTYPE_COUNT; k++) {
        const organ_dtype_info *info = organ_dtype_describe((organ_dtype)k);
        ck_assert_int_eq(organ_dtype_from_name(info->name), info->in_safetensors ? k : ORGAN_DTYPE_COUNT);
        ck_assert_int_eq(organ_dtype_from_ggml(info->ggml), info->ggml >= 0 ? k : ORGAN_DTYPE_COUNT);
        const char *digits = strpbrk(info->name, "123456789");
        if (info->in_safetensors) /* BOOL alone has no GGUF type */
            ck_assert_uint_eq(8 * info->bytes, info->elements * (digits ? strtoul(digits, NULL, 10) : 8));
    }
    uint64_t bytes;
    ck_assert(organ_dtype_bytes(ORGAN_Q4_K, 512, &bytes) && bytes == 288);
    ck_assert(!organ_dtype_bytes(ORGAN_Q4_K, 384, &bytes) && !organ_dtype_bytes(ORGAN_F64, UINT64_MAX, &bytes));
    ck_assert_int_eq(organ_dtype_from_ggml(4), ORGAN_DTYPE_COUNT); /* Q4_2 was removed */
    ck_assert_int_eq(organ_dtype_from_name("F33"), ORGAN_DTYPE_COUNT);
    ck_assert_int_eq(organ_dtype_from_name(""), ORGAN_DTYPE_COUNT);
    ck_assert_int_eq(organ_dtype_from_name("BF16 "), ORGAN_DTYPE_COUNT);
}
END_TEST

START_TEST(names_are_found)
{
    enum { MANY = 20000 };
    organ_name_table table = {0};
    organ_arena arena = {0};
    ck_assert_ptr_null(organ_name_table_find(&table, "x"));
    for (int round = 0; round < 2; round++)
        for (size_t k = 0; k < MANY; k++) {
            char name[24];
            const int length = snprintf(name, sizeof name, "%zu", k);
            const size_t *kept =
                organ_name_table_put(&table, organ_arena_copy(&arena, name, (size_t)length), round ? k + 1 : k);
            ck_assert_ptr_nonnull(kept);
            ck_assert_uint_eq(*kept, k);
        }
    ck_assert_uint_eq(table.count, MANY);
    ck_assert_uint_eq(*organ_name_table_find(&table, "19999"), 19999);
    ck_assert_ptr_null(organ_name_table_find(&table, "20000"));
    organ_name_table_release(&table);
    organ_arena_release(&arena);
}
END_TEST

/* A full table grows only for a new name. */
START_TEST(present_names_need_no_memory)
{
    static const char letters[] = "0123456789abcdefghijklmnopqrstuvw";
    char names[33][2] = {""};
    organ_name_table table = {0};
    for (size_t k = 0; k < COUNT(names); k++) {
        names[k][0] = letters[k];
        ck_assert_uint_eq(*organ_name_table_put(&table, names[k], k), k);
        ck_assert_uint_eq(*organ_name_table_put(&table, names[0], k), 0);
        ck_assert_uint_eq(table.capacity, k < 32 ? 64 : 128);
    }
    organ_name_table_release(&table);
}
END_TEST

/* Closing a folder closes all folders and files in it, down to DEEPEST levels, and is refused if there are more. */
START_TEST(deep_folders_are_closed_or_refused)
{
    enum { DEEPEST = 32 };
    char path[2 * DEEPEST + 3] = "";
    struct stat info;
    scratch_begin();
    for (int depth = 0; depth <= DEEPEST; depth++) {
        strcat(path, "d/");
        ck_assert_int_eq(mkdir(scratch_path(path), 0700), 0);
        ck_assert_int_eq(chmod(scratch_path(path), 0755), 0);
        const int fd = organ_open(scratch_path("d"), O_RDONLY | O_DIRECTORY, 0);
        errno = 0;
        ck_assert_int_eq(organ_close_modes(fd, 077), depth < DEEPEST ? 0 : ELOOP);
        close(fd);
        ck_assert_int_eq(stat(scratch_path(path), &info), 0);
        ck_assert_int_eq(info.st_mode & 0777, depth < DEEPEST ? 0700 : 0755);
    }
    scratch_end();
}
END_TEST

START_TEST(arena)
{
    organ_arena a = {0};
    for (size_t size = 0; size < 300000; size = size * 2 + 1) {
        char *bytes = organ_arena_take(&a, size);
        ck_assert_uint_eq((uintptr_t)bytes % 16, 0);
        memset(bytes, 1, size);
    }
    ck_assert_ptr_null(organ_arena_take(&a, SIZE_MAX));
    ck_assert_str_eq(organ_arena_copy(&a, "name and more", 4), "name");
    organ_arena_release(&a);
    ck_assert_ptr_null(a.blocks);
}
END_TEST

/* Large rows keep their contents while their pages are released; for the caller, small rows and rows on the heap behave
 * the same. */
START_TEST(rows_rest)
{
    enum { LARGE = 500000, SMALL = 16 };
    const char *folder;
    organ_unnamed_files_use(true);
    uint64_t *const rows = organ_rows_take(LARGE, sizeof *rows), *const few = organ_rows_take(SMALL, sizeof *few);
    uint64_t *grown = malloc(LARGE * sizeof *grown);
    ck_assert(rows && few && grown);
    for (size_t k = 0; k < LARGE; k++) {
        REQUIRE(rows[k] == 0);
        rows[k] = grown[k] = k * k;
    }
    grown = organ_rows_to_file(grown, LARGE * sizeof *grown);
    organ_rows_rest();
    few[SMALL - 1] = 7;
    for (size_t k = 0; k < LARGE; k++)
        REQUIRE(rows[k] == k * k && grown[k] == k * k);
    rows[1] = 3;
    organ_rows_rest();
    ck_assert_uint_eq(rows[1] + few[SMALL - 1], 10);
    ck_assert_int_eq(organ_unnamed_files_fault(&folder), 0);
    ck_assert_ptr_null(organ_rows_take(SIZE_MAX, 2));
    ck_assert_ptr_null(organ_rows_to_file(NULL, 0));
    organ_rows_free(NULL);
    organ_rows_free(few);
    organ_rows_free(grown);
    organ_rows_free(rows);
    organ_unnamed_files_use(false);
}
END_TEST

static size_t resident_bytes(void)
{
    long pages = 0;
    FILE *const in = fopen("/proc/self/statm", "r");
    ck_assert_ptr_nonnull(in);
    ck_assert_int_eq(fscanf(in, "%*d %ld", &pages), 1);
    fclose(in);
    return (size_t)pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* Appends a text of 16 MB to a file; at most 4 MB of it are in memory. */
START_TEST(long_text_grows_in_a_file)
{
    enum { LINES = 500000, LINE = 32 };
    organ_error error = {0};
    organ_text text;
    char *written = NULL, line[LINE + 1];
    organ_unnamed_files_use(true);
    const size_t before = resident_bytes();
    ck_assert_int_eq(organ_text_open_rows(&text, &error), ORGAN_OK);
    for (size_t k = 0; k < LINES; k++) {
        fprintf(text.out, "%0*zu\n", LINE - 1, k);
        organ_rows_passed();
        if (k % 10000 == 0)
            REQUIRE_MSG(resident_bytes() < before + (4 << 20), "line %zu: %zu bytes", k, resident_bytes() - before);
    }
    ck_assert_int_eq(organ_text_end(&text, &written, &error), ORGAN_OK);
    ck_assert_uint_eq(text.size, (size_t)LINES * LINE);
    for (size_t k = 0; k < LINES; k++) {
        snprintf(line, sizeof line, "%0*zu\n", LINE - 1, k);
        REQUIRE(memcmp(written + k * LINE, line, LINE) == 0);
        organ_rows_passed();
    }
    ck_assert_uint_eq(written[(size_t)LINES * LINE], 0);
    organ_rows_free(written);
    organ_unnamed_files_use(false);
}
END_TEST

/* The same text without files, and a text that is discarded. */
START_TEST(text_in_rows_without_files)
{
    organ_error error = {0};
    organ_text text;
    char *written = NULL;
    for (int fails = 0; fails < 2; fails++) {
        ck_assert_int_eq(organ_text_open_rows(&text, &error), ORGAN_OK);
        for (int k = 0; k < 1000; k++)
            fputs("0123456789", text.out);
        if (fails)
            organ_fail(&error, ORGAN_IO, "a fault");
        ck_assert_int_eq(organ_text_end(&text, &written, &error), fails ? ORGAN_IO : ORGAN_OK);
        if (!fails)
            ck_assert_int_eq(strlen(written), 10000);
        if (!fails)
            organ_rows_free(written);
    }
}
END_TEST

/* A file that is truncated after its size was read. */
START_TEST(file_ends_early)
{
    organ_error error = {0};
    struct stat info;
    int fd;
    char bytes[8];
    scratch_begin();
    scratch_text("file", "12345678");
    ck_assert_int_eq(organ_input_open(scratch_path("file"), &fd, &info, &error), ORGAN_OK);
    ck_assert_int_eq(info.st_size, 8);
    ck_assert_int_eq(organ_input_read(fd, "file", bytes, 6, 2, &error), ORGAN_OK);
    ck_assert_int_eq(memcmp(bytes, "345678", 6), 0);
    ck_assert_int_eq(truncate(scratch_path("file"), 5), 0);
    ck_assert_int_eq(organ_input_read(fd, "file", bytes, 6, 2, &error), ORGAN_BAD_INPUT);
    ck_assert_str_eq(error.message, "file: ended at byte 5 while it was read, but 8 bytes were expected");
    close(fd);
    error = (organ_error){0};
    ck_assert_int_eq(organ_input_read(fd, "file", bytes, 6, 2, &error), ORGAN_IO);
    scratch_end();
}
END_TEST

START_TEST(secrets_are_hidden)
{
    static const char *const rows[][3] = {
        /* text, without passwords, without secrets */
        {"http://me:pw@host/x?t=1#f", "http://host/x?t=1#f", "http://host/x"},
        {"HTTPS://me@host", "HTTPS://host", "HTTPS://host"},
        {"http://a:p@w@host/y@z", "http://host/y@z", "http://host/y@z"},
        {"from http://a:b@c/d, https://e:f@g/h?i", "from http://c/d, https://g/h?i", "from http://c/d, https://g/h?i"},
        {"http://host/a?b@c", "http://host/a?b@c", "http://host/a"},
        {"http:// a@b httphttp://x:y@z", "http:// a@b httphttp://z", "http:// a@b httphttp://z"},
        {"me@host", "me@host", "me@host"}};
    for (size_t k = 0; k < COUNT(rows); k++) {
        char text[100];
        strcpy(text, rows[k][0]);
        organ_text_hide_passwords(text);
        ck_assert_str_eq(text, rows[k][1]);
        strcpy(text, rows[k][0]);
        organ_text_hide_secrets(text);
        ck_assert_str_eq(text, rows[k][2]);
    }
    organ_error error = {0};
    organ_fail(&error, ORGAN_USAGE, "%s: no", "http://me:pw@host/x");
    ck_assert_str_eq(error.message, "http://host/x: no");
}
END_TEST

Suite *status_suite(void)
{
    Suite *suite = suite_create("status and containers");
    TCase *all = tcase_create("all");
    tcase_add_test(all, first_fault_is_kept);
    tcase_add_loop_test(all, message_is_printable, 0, COUNT(shown));
    tcase_add_test(all, long_messages_are_cut);
    tcase_add_test(all, secrets_are_hidden);
    tcase_add_test(all, faults_after_a_whole_output_name_it);
    tcase_add_test(all, dtypes);
    tcase_add_test(all, names_are_found);
    tcase_add_test(all, present_names_need_no_memory);
    tcase_add_test(all, deep_folders_are_closed_or_refused);
    tcase_add_test(all, arena);
    tcase_add_test(all, rows_rest);
    tcase_add_test(all, long_text_grows_in_a_file);
    tcase_add_test(all, text_in_rows_without_files);
    tcase_add_test(all, file_ends_early);
    suite_add_tcase(suite, all);
    return suite;
}
