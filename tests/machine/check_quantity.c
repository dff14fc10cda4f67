/* SPDX-License-Identifier: MIT
 * Tests of orchestrator/machine/quantity.c: amounts in the form that users write and read. */
#include "orchestrator/machine/quantity.h"

#include <organ/machine.h>

#include <check.h>
#include <math.h>
#include <stdlib.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

START_TEST(quantities_are_read)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } rows[] = {
        {"0", 0},
        {"4096", 4096},
        {"4096B", 4096},
        {"007", 7},
        {"1k", 1024},
        {"512M", 512ull << 20},
        {"64m", 64ull << 20},
        {"64mb", 64000000},
        {"12GB", 12000000000},
        {"12.9 GB", 12900000000},
        {"9.9 MB", 9900000},
        {"1kB", 1000},
        {"0.5KB", 500},
        {"3TB", 3000000000000},
        {"1.5 PB", 1500000000000000},
        {"9EB", 9000000000000000000},
        {"640 B", 640},
        {"9 MiB", 9ull << 20},
        {"1.5 gib", 3ull << 29},
        {"2 G", 2ull << 30},
        {"2P", 2ull << 50},
        {"7EiB", 7ull << 60},
        {"1.5G", 3ull << 29},
        {"2GiB", 2ull << 30},
        {"2gIb", 2ull << 30},
        {"0.5K", 512},
        {"0.3K", 307},
        {"1.0009765625K", 1025},
        {"0.00000000000000000000000000001T", 0},
        {"3T", 3ull << 40},
        {"9223372036854775807", INT64_MAX},
        {"8388607T", 8388607ull << 40},
        {"8388607.9999999999999999999999T", INT64_MAX},
    };
    for (size_t k = 0; k < COUNT(rows); k++) {
        uint64_t bytes = 1;
        ck_assert_msg(organ_quantity_parse(rows[k].text, &bytes), "'%s' is refused", rows[k].text);
        ck_assert_msg(bytes == rows[k].bytes, "'%s' gives %llu", rows[k].text, (unsigned long long)bytes);
    }
}
END_TEST

START_TEST(other_text_is_no_quantity)
{
    static const char *const rows[] = {
        "",
        " ",
        " 5",
        "5 ",
        "-1",
        "+1",
        "-0",
        "M",
        "B",
        "iB",
        "5iB",
        "5X",
        "5Z",
        "5  MB",
        "5\tMB",
        "5 M B",
        "5 MB ",
        "5. MB",
        "5.5 ",
        "5.5 B",
        "10EB",
        "8EiB",
        "5MM",
        "5MiB ",
        "5MBi",
        "5Ki",
        "5KBB",
        "1e3",
        "0x10",
        "1,5G",
        ".5G",
        "5.",
        "5.G",
        "1.5",
        "1.5B",
        "1.5.5G",
        "\xd9\xa3",
        "nan",
        "inf",
        "9223372036854775808",
        "18446744073709551616",
        "8388608T",
        "8589934592G",
        "99999999999999999999999999999999999999999999",
        "9e99",
    };
    for (size_t k = 0; k < COUNT(rows); k++) {
        uint64_t bytes = 77;
        ck_assert_msg(!organ_quantity_parse(rows[k], &bytes), "'%s' gives %llu", rows[k], (unsigned long long)bytes);
        ck_assert_uint_eq(bytes, 77);
    }
}
END_TEST

START_TEST(quantities_are_written)
{
    static const struct {
        uint64_t bytes;
        const char *text;
    } rows[] = {
        {0, "0 B"},
        {640, "640 B"},
        {999, "999 B"},
        {1000, "1.0 kB"},
        {1049, "1.0 kB"},
        {1050, "1.1 kB"},
        {99949, "99.9 kB"},
        {99950, "100 kB"},
        {999499, "999 kB"},
        {999500, "1.0 MB"},
        {9923340, "9.9 MB"},
        {999949999, "1.0 GB"},
        {15231233024, "15.2 GB"},
        {152000000000, "152 GB"},
        {999499999999999, "999 TB"},
        {999500000000000, "1.0 PB"},
        {UINT64_MAX, "18.4 EB"},
    };
    for (size_t k = 0; k < COUNT(rows); k++) {
        char text[16];
        ck_assert_str_eq(organ_quantity_text(rows[k].bytes, text), rows[k].text);
    }
}
END_TEST

/* Writes a quantity for an option so that it is read as at least the same number, with the smallest possible excess. */
START_TEST(options_are_written)
{
    static const struct {
        uint64_t bytes;
        const char *text;
    } rows[] = {{0, "0K"},
                {1, "1K"},
                {1024, "1K"},
                {1025, "2K"},
                {(10 << 20) - 1, "10M"},
                {9 << 20, "9M"},
                {(9 << 20) + 1, "9217K"},
                {10 << 20, "10M"},
                {(10 << 20) + 1, "11M"},
                {(uint64_t)3 << 30, "3G"},
                {((uint64_t)3 << 30) + 1, "3073M"},
                {(uint64_t)5 << 50, "5120T"},
                {INT64_MAX - ((1 << 20) - 1), "8796093022207M"}};
    for (size_t k = 0; k < COUNT(rows); k++) {
        char text[24];
        uint64_t read = 0;
        ck_assert_str_eq(organ_quantity_option(rows[k].bytes, text), rows[k].text);
        ck_assert(organ_quantity_parse(text, &read) && read >= rows[k].bytes);
    }
}
END_TEST

/* An amount that was given is named exactly; organ_quantity_parse reads that text as the same amount. */
START_TEST(memory_is_written)
{
    static const struct {
        uint64_t bytes;
        const char *text;
    } exact[] = {{0, "0 B"},
                 {1023, "1023 B"},
                 {1024, "1 KiB"},
                 {1536, "1.5 KiB"},
                 {9 << 20, "9 MiB"},
                 {(9 << 20) + 1024, "9217 KiB"},
                 {(uint64_t)512 << 20, "512 MiB"},
                 {(uint64_t)2176 << 20, "2176 MiB"},
                 {(uint64_t)9999 << 20, "9999 MiB"},
                 {(uint64_t)3 << 29, "1.5 GiB"},
                 {(uint64_t)64 << 30, "64 GiB"},
                 {(uint64_t)10240 << 30, "10 TiB"},
                 {(uint64_t)7 << 60, "7 EiB"}},
      rounded[] = {{1025, "1.0 KiB"},
                   {1076, "1.1 KiB"},
                   {12000000000, "11.2 GiB"},
                   {65803212ull << 10, "62.8 GiB"},
                   {(uint64_t)10001 << 20, "9.8 GiB"},
                   {((uint64_t)64 << 30) - 1, "64.0 GiB"},
                   {((uint64_t)1 << 40) - 1, "1.0 TiB"},
                   {((uint64_t)200 << 30) + 1, "200 GiB"},
                   {UINT64_MAX, "16.0 EiB"}};
    char text[16];
    for (size_t k = 0; k < COUNT(exact); k++) {
        uint64_t read = 1;
        ck_assert_str_eq(organ_memory_text(exact[k].bytes, text), exact[k].text);
        ck_assert_msg(organ_quantity_parse(text, &read) && read == exact[k].bytes, "'%s' is another amount", text);
    }
    for (size_t k = 0; k < COUNT(rounded); k++)
        ck_assert_str_eq(organ_memory_text(rounded[k].bytes, text), rounded[k].text);
}
END_TEST

START_TEST(durations_are_written)
{
    static const struct {
        double seconds;
        const char *text;
    } rows[] = {
        {0, "0.00 s"},           {0.336, "0.34 s"},
        {9.994, "9.99 s"},       {9.996, "10.0 s"},
        {12.34, "12.3 s"},       {59.94, "59.9 s"},
        {59.96, "1 min 00 s"},   {245.4, "4 min 05 s"},
        {3599.4, "59 min 59 s"}, {3599.6, "1 h 00 min"},
        {3929, "1 h 05 min"},    {3930, "1 h 06 min"},
        {8040, "2 h 14 min"},    {999999999999.0, "277777777 h 47 min"},
        {1e12, "unknown"},       {-0.1, "unknown"},
        {HUGE_VAL, "unknown"},   {NAN, "unknown"},
    };
    for (size_t k = 0; k < COUNT(rows); k++) {
        char text[24];
        ck_assert_str_eq(organ_duration_text(rows[k].seconds, text), rows[k].text);
    }
}
END_TEST

START_TEST(counts_are_written)
{
    static const struct {
        uint64_t count;
        const char *text;
    } rows[] = {
        {0, "0"},
        {999, "999"},
        {1000, "1,000"},
        {12345, "12,345"},
        {100000, "100,000"},
        {1450103613, "1,450,103,613"},
        {UINT64_MAX, "18,446,744,073,709,551,615"},
    };
    for (size_t k = 0; k < COUNT(rows); k++) {
        char text[32];
        ck_assert_str_eq(organ_count_text(rows[k].count, text), rows[k].text);
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {quantities_are_read, other_text_is_no_quantity, quantities_are_written,
                                  options_are_written, memory_is_written,         durations_are_written,
                                  counts_are_written};
    Suite *suite = suite_create("quantity");
    TCase *only = tcase_create("quantity");
    for (size_t k = 0; k < COUNT(tests); k++)
        tcase_add_test(only, tests[k]);
    suite_add_tcase(suite, only);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
