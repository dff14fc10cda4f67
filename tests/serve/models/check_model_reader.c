/* SPDX-License-Identifier: MIT
 * Tests of the process that reads models: its results equal those read without it; files that end, stop or exhaust it
 * affect only that process; forbidden actions fail. This program is its own worker, which acts as the name of a file
 * says. */
#include "orchestrator/serve/confine/confine.h"
#include "orchestrator/serve/models/models_parts.h"
#include "tests/kit/require.h"
#include "tests/kit/scratch_model.h"
#include "tests/kit/suite_table.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
static const size_t shelf_bytes = 64u << 20;

/* ---- the worker process of these tests ---- */

static void crash(void)
{
    signal(SIGSEGV, SIG_DFL); /* a sanitizer would catch the signal */
    raise(SIGSEGV);
}

static void leave(void) { _exit(7); }

static void hang(void)
{
    for (;;)
        usleep(100000);
}

static void open_socket(void) { close(socket(AF_INET, SOCK_STREAM, 0)); }
static void call_bpf(void) { syscall(SYS_bpf, 0, NULL, 0); }
static void start_program(void) { execl("/bin/true", "true", (char *)NULL); }

/* A descriptor of this program without FD_CLOEXEC, of the number of the last folder that a jail can have. */
enum { INHERITED = ORGAN_WORKER_FOLDER + ORGAN_JAIL_FOLDERS - 1 };

/* Tries to write, to read outside of the root, to change a limit and to get executable memory, and to use a descriptor
 * that the server inherited. Each must fail and the process continue; a success ends it with a signal that nothing else
 * uses. */
static void reach_out(void)
{
    const int outside = open("/etc/passwd", O_RDONLY), written = open("written", O_WRONLY | O_CREAT, 0600);
    const bool moved = rename("written", "moved") == 0, killed = kill(getppid(), 0) == 0;
#ifndef __SANITIZE_ADDRESS__
    const bool executable = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED;
#else
    const bool executable = false;
#endif
    const bool inherited = fcntl(INHERITED, F_GETFD) >= 0;
    if (outside >= 0 || written >= 0 || moved || killed || executable || inherited)
        raise(SIGUSR1);
}

static unsigned eat_memory(organ_error *error)
{
    enum { BITE = 1 << 20, BITES = 4096 };
    for (int k = 0; k < BITES; k++) {
        char *const bite = malloc(BITE);
        if (!bite) {
            organ_fail_memory(error, "a bomb");
            return 500;
        }
        memset(bite, k, BITE);
    }
    return 0;
}

/* Returns a malformed catalog: its tensors are outside its block. */
static unsigned lie(organ_catalog **catalog)
{
    organ_catalog *const block = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *block = (organ_catalog){
        .bytes = 4096, .count = 1, .tensors = (const organ_tensor *)(const void *)((const char *)block + 65536)};
    *catalog = block;
    return 0;
}

static unsigned read_as_named(const char *absolute, const char *path, size_t max, organ_catalog **catalog,
                              organ_error *error)
{
    static const struct {
        const char *name;
        void (*does)(void);
    } deeds[] = {{"crash", crash},  {"leave", leave},           {"hang", hang},      {"socket", open_socket},
                 {"bpf", call_bpf}, {"program", start_program}, {"reach", reach_out}};
    for (size_t k = 0; k < COUNT(deeds); k++)
        if (strcmp(path, deeds[k].name) == 0)
            deeds[k].does();
    if (strcmp(path, "bomb") == 0)
        return eat_memory(error);
    if (strcmp(path, "lie") == 0)
        return lie(catalog);
    return organ_catalog_read(absolute, path, max, catalog, error);
}

/* ---- the server's side ---- */

static organ_reader *reader;
static organ_jail *jail;
static char *fixture;

static void open_jail(const char *root)
{
    organ_error error = {0};
    organ_jail_close(jail);
    ck_assert_msg(organ_jail_open(root, &jail, &error) == ORGAN_OK, "%s", error.message);
}

static void begin_reader(unsigned seconds)
{
    organ_error error = {0};
    open_jail(fixture);
    const organ_reader_options options = {
        .program = "/proc/self/exe", .jail = jail, .memory = 256u << 20, .seconds = seconds};
    if (fcntl(INHERITED, F_GETFD) < 0)
        ck_assert_int_eq(dup2(STDIN_FILENO, INHERITED), INHERITED);
    ck_assert_msg(organ_reader_create(&options, &reader, &error) == ORGAN_OK, "%s", error.message);
}

static void reader_setup(void)
{
    scratch_begin();
    fixture = realpath("fixtures/tiny-qwen2", NULL);
    ck_assert_ptr_nonnull(fixture);
    begin_reader(20);
}

static void reader_teardown(void)
{
    organ_reader_destroy(reader);
    organ_jail_close(jail);
    jail = NULL;
    reader = NULL;
    free(fixture);
    scratch_end();
}

/* Reads the model as `name`; returns the status, and the reason in *error. */
static unsigned read_named(const char *name, organ_catalog **catalog, organ_error *error)
{
    *error = (organ_error){0};
    return organ_reader_read(reader, fixture, name, shelf_bytes, catalog, error);
}

static void expect_read(const char *name)
{
    organ_catalog *catalog;
    organ_error error;
    ck_assert_msg(read_named(name, &catalog, &error) == 0, "%s: %s", name, error.message);
    ck_assert_uint_eq(catalog->count, 50);
    organ_catalog_free(catalog);
}

static void expect_fault(const char *name, unsigned status, const char *part)
{
    organ_catalog *catalog;
    organ_error error;
    const unsigned given = read_named(name, &catalog, &error);
    ck_assert_msg(given == status && !catalog, "%s: %u instead of %u: %s", name, given, status, error.message);
    ck_assert_msg(strstr(error.message, part) && strstr(error.message, name), "%s: %s", name, error.message);
    expect_read("another");
}

/* Returns a number of /metrics. */
static unsigned long metric(const char *name)
{
    char *text = NULL, line[80];
    size_t bytes = 0;
    FILE *const out = open_memstream(&text, &bytes);
    ck_assert_ptr_nonnull(out);
    organ_reader_metrics(reader, out);
    fclose(out);
    snprintf(line, sizeof line, "\n%s ", name);
    const char *const at = strstr(text, line);
    ck_assert_msg(at != NULL, "%s is not in %s", name, text);
    const unsigned long value = strtoul(at + strlen(line), NULL, 10);
    free(text);
    return value;
}

/* ---- tests ---- */

START_TEST(the_same_as_without_it)
{
    organ_catalog *here, *there;
    organ_error error = {0};
    const organ_tensor_query wish = {.layer = -1, .key = ORGAN_BY_NAME, .limit = 1000};
    char *page_here = NULL, *page_there = NULL;
    ck_assert_uint_eq(organ_catalog_read(fixture, "m", shelf_bytes, &here, &error), 0);
    ck_assert_uint_eq(read_named("m", &there, &error), 0);
    ck_assert_uint_eq(here->bytes, there->bytes);
    ck_assert_str_eq(here->details, there->details);
    ck_assert_str_eq(here->summary, there->summary);
    ck_assert_int_eq(organ_tensor_page(here, &wish, &page_here, &error), ORGAN_OK);
    ck_assert_int_eq(organ_tensor_page(there, &wish, &page_there, &error), ORGAN_OK);
    ck_assert_str_eq(page_here, page_there);
    free(page_here);
    free(page_there);
    organ_catalog_free(here);
    organ_catalog_free(there);
    for (int k = 0; k < 20; k++)
        expect_read("m");
    ck_assert_uint_eq(metric("organ_reader_started_total"), 1);
}
END_TEST

/* Errors of organ_catalog_read about a file arrive, and so does that of the block's limit. */
START_TEST(faults_of_files_are_told)
{
    organ_catalog *catalog;
    organ_error error = {0};
    scratch_text("junk.gguf", "junk");
    organ_reader_destroy(reader);
    open_jail(scratch_path(""));
    const organ_reader_options options = {
        .program = "/proc/self/exe", .jail = jail, .memory = 256u << 20, .seconds = 20};
    ck_assert_int_eq(organ_reader_create(&options, &reader, &error), ORGAN_OK);
    ck_assert_uint_eq(organ_reader_read(reader, scratch_path("junk.gguf"), "junk.gguf", shelf_bytes, &catalog, &error),
                      422);
    ck_assert_msg(strstr(error.message, "junk.gguf"), "%s", error.message);
    /* The root changes. */
    error = (organ_error){0};
    ck_assert_uint_ne(organ_reader_read(reader, fixture, "m", shelf_bytes, &catalog, &error), 0);
    organ_reader_destroy(reader);
    begin_reader(20);
    error = (organ_error){0};
    ck_assert_uint_eq(organ_reader_read(reader, fixture, "m", 1000, &catalog, &error), 507);
    ck_assert_msg(strstr(error.message, "--shelf"), "%s", error.message);
}
END_TEST

START_TEST(whoever_dies_dies_alone)
{
    static const struct {
        const char *name, *part;
    } rows[] = {{"crash", "signal 11"}, {"leave", "exited early"}};
    for (size_t k = 0; k < COUNT(rows); k++) {
        expect_fault(rows[k].name, 422, rows[k].part);
        expect_fault(rows[k].name, 422, rows[k].part); /* by the process that was kept */
    }
    ck_assert_uint_ge(metric("organ_reader_lost_total"), 4);
    ck_assert_uint_eq(metric("organ_reader_processes"), 1);
}
END_TEST

START_TEST(whoever_is_killed_meanwhile_is_replaced)
{
    expect_read("m");
    char command[80];
    snprintf(command, sizeof command, "/proc/self/task/%d/children", getpid());
    FILE *const file = fopen(command, "re");
    int pid = 0;
    ck_assert(file && fscanf(file, "%d", &pid) == 1);
    fclose(file);
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    expect_read("m");
    ck_assert_uint_eq(metric("organ_reader_started_total"), 2);
}
END_TEST

START_TEST(whoever_takes_too_long_is_ended)
{
    organ_reader_destroy(reader);
    begin_reader(1);
    expect_fault("hang", 422, "within 1 seconds (--model-seconds)");
    ck_assert_uint_eq(metric("organ_reader_late_total"), 1);
}
END_TEST

static void *stop_soon(void *context)
{
    usleep(300000);
    organ_reader_stop(reader);
    return context;
}

START_TEST(the_end_does_not_wait)
{
    pthread_t thread;
    organ_catalog *catalog;
    organ_error error;
    expect_read("m");
    ck_assert_int_eq(pthread_create(&thread, NULL, stop_soon, NULL), 0);
    ck_assert_uint_ne(read_named("hang", &catalog, &error), 0);
    pthread_join(thread, NULL);
    ck_assert_uint_eq(read_named("m", &catalog, &error), 500);
}
END_TEST

START_TEST(a_bomb_meets_the_limit)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    puts("sanitized: address space is not limited");
#else
    expect_fault("bomb", 507, "--model-memory 256M");
    ck_assert_uint_eq(metric("organ_reader_lost_total"), 0);
#endif
}
END_TEST

/* The kernels of test machines have seccomp. */
START_TEST(calls_that_no_header_needs)
{
    static const char *const deadly[] = {"socket", "program", "bpf"};
    ck_assert(organ_confinement_of_kernel().seccomp);
    for (size_t k = 0; k < COUNT(deadly); k++)
        expect_fault(deadly[k], 422, "signal 31 (Bad system call)");
    expect_read("reach");
}
END_TEST

START_TEST(a_list_that_is_none) { expect_fault("lie", 500, "returned no list"); }
END_TEST

/* ---- malformed blocks of another process ---- */

/* Uses every part of an adopted block, whose last byte precedes an inaccessible page. */
static void use_block(const organ_catalog *catalog)
{
    const organ_tensor_query wishes[] = {{.layer = -1, .key = ORGAN_BY_NAME, .limit = 1000},
                                         {.layer = -1, .match = "*q*", .role = "norm", .limit = 1000},
                                         {.layer = 1, .key = ORGAN_BY_LAYER, .down = true, .limit = 1000}};
    for (size_t k = 0; k < COUNT(wishes); k++) {
        organ_error error = {0};
        char *page = NULL;
        organ_tensor_page(catalog, &wishes[k], &page, &error);
        free(page);
    }
    REQUIRE(strlen(catalog->details) == catalog->details_length);
}

START_TEST(no_block_leads_outside)
{
    organ_catalog *good;
    organ_error error = {0};
    ck_assert_uint_eq(organ_catalog_read(fixture, "m", shelf_bytes, &good, &error), 0);
    const size_t bytes = good->bytes, page = (size_t)sysconf(_SC_PAGESIZE), room = (bytes + page - 1) / page * page;
    const uint64_t base = (uintptr_t)good;
    char *const area = mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert(area != MAP_FAILED && mprotect(area + room, page, PROT_NONE) == 0);
    /* Numbers in the block are aligned, so it may end a few bytes before the page. */
    char *const block = area + (room - bytes) / 8 * 8;
    const size_t numbers =
        sizeof *good + good->count * sizeof *good->tensors + good->file_count * sizeof *good->files + 400;
    const uint64_t values[] = {
        0, 1, UINT64_MAX, base, base + bytes - 1, base + bytes, base + bytes - 8, (uint64_t)1 << 63, 0x7fffffff};
    unsigned long refused = 0, adopted = 0;
    memcpy(block, good, bytes);
    ck_assert(organ_catalog_adopt(block, bytes, base));
    use_block((const organ_catalog *)(const void *)block);
    for (size_t at = 0; at + 8 <= numbers; at += 4)
        for (size_t k = 0; k < COUNT(values); k++) {
            memcpy(block, good, bytes);
            memcpy(block + at, &values[k], at % 8 == 0 ? 8 : 4);
            const bool whole = organ_catalog_adopt(block, bytes, base);
            refused += !whole;
            adopted += whole;
            if (whole && k % 3 == 0)
                use_block((const organ_catalog *)(const void *)block);
        }
    ck_assert_msg(refused > 1000 && adopted > 100, "%lu refused, %lu adopted", refused, adopted);
    for (size_t cut = 0; cut < bytes; cut += cut < 256 ? 1 : 997) {
        memcpy(block, good, bytes);
        REQUIRE_MSG(!organ_catalog_adopt(block, cut, base), "%zu of %zu bytes are a list", cut, bytes);
    }
    memcpy(block, good, bytes);
    block[bytes - 1] = 'x';
    ck_assert(!organ_catalog_adopt(block, bytes, base));
    munmap(area, room + page);
    organ_catalog_free(good);
}
END_TEST

/* The arrays of a block have fixed places: if they overlapped, writing into one would change the counts of another. */
START_TEST(arrays_lie_side_by_side)
{
    organ_catalog *good;
    organ_error error = {0};
    ck_assert_uint_eq(organ_catalog_read(fixture, "m", shelf_bytes, &good, &error), 0);
    const size_t bytes = good->bytes;
    const uint64_t base = (uintptr_t)good;
    char *const block = malloc(bytes);
    ck_assert_ptr_nonnull(block);
    organ_catalog *const catalog = (organ_catalog *)(void *)block;
    const struct {
        const void *tensors, *files;
    } rows[] = {{good, good->files},
                {good->tensors, good->tensors},
                {good->tensors, good},
                {good->tensors, good->tensors + good->count - 1},
                {good->tensors, good->files + 1},
                {good->files, good->tensors},
                {good->tensors + 1, good->files}};
    for (size_t k = 0; k < COUNT(rows); k++) {
        memcpy(block, good, bytes);
        catalog->tensors = rows[k].tensors;
        catalog->files = (const char *const *)rows[k].files;
        ck_assert_msg(!organ_catalog_adopt(block, bytes, base), "row %zu is a list", k);
    }
    free(block);
    organ_catalog_free(good);
}
END_TEST

/* The catalog is its own first tensor if the block was at address 0: the place of that tensor's shape is the number of
 * files, and a pointer written there would lead out of the block. */
START_TEST(a_catalog_is_no_tensor)
{
    enum { WORDS = 512, BEHIND = 64 };
    uint64_t words[WORDS + BEHIND] = {0};
    organ_catalog *const catalog = (organ_catalog *)(void *)words;
    *catalog = (organ_catalog){.count = 1,
                               .file_count = 400,
                               .files = (const char *const *)(uintptr_t)800,
                               .details = (const char *)(uintptr_t)200,
                               .summary = (const char *)(uintptr_t)ORGAN_ROLE_Q};
    ck_assert(!organ_catalog_adopt(words, WORDS * sizeof *words, 0));
    for (size_t k = WORDS; k < WORDS + BEHIND; k++)
        ck_assert_msg(words[k] == 0, "word %zu behind the block was changed", k - WORDS);
}
END_TEST

static void expect_name(const char *name, bool holds)
{
    organ_catalog *good;
    organ_error error = {0};
    ck_assert_uint_eq(organ_catalog_read(fixture, "m", shelf_bytes, &good, &error), 0);
    const uint64_t base = (uintptr_t)good;
    void *const block = malloc(good->bytes);
    ck_assert_ptr_nonnull(block);
    memcpy(block, good, good->bytes);
    memcpy((char *)block + (good->tensors[0].name - (const char *)good), name, strlen(name));
    ck_assert_msg(organ_catalog_adopt(block, good->bytes, base) == holds, "%s", name);
    free(block);
    organ_catalog_free(good);
}

/* One malformed name would make every page of tensors fail. */
START_TEST(names_are_text)
{
    expect_name("m", true);
    expect_name("\xc3\xa9", true);
    expect_name("\xc3", false);
    expect_name("\xed\xa0\x80", false);
}
END_TEST

/* All names are the same long text: checking each would take quadratic time. */
START_TEST(names_take_their_own_bytes)
{
    organ_catalog *good;
    organ_error error = {0};
    ck_assert_uint_eq(organ_catalog_read(fixture, "m", shelf_bytes, &good, &error), 0);
    organ_tensor *const tensors = (organ_tensor *)good->tensors;
    for (size_t k = 0; k < good->count; k++)
        tensors[k].name = good->details;
    ck_assert(good->details_length * good->count > good->bytes);
    ck_assert(!organ_catalog_adopt(good, good->bytes, (uintptr_t)good));
    organ_catalog_free(good);
}
END_TEST

/* The sum of the bytes must be exact as a number of JSON. */
START_TEST(bytes_of_tensors_add_up)
{
    organ_catalog *good;
    organ_error error = {0};
    ck_assert_uint_eq(organ_catalog_read(fixture, "m", shelf_bytes, &good, &error), 0);
    const size_t bytes = good->bytes;
    const uint64_t base = (uintptr_t)good, max = INT64_MAX,
                   pairs[][2] = {{max, 1}, {UINT64_MAX, 1}, {max + 1, 0}, {max - 1, 1}};
    organ_catalog *const block = malloc(bytes);
    ck_assert_ptr_nonnull(block);
    organ_tensor *const tensors = (organ_tensor *)(block + 1), *const all = (organ_tensor *)good->tensors;
    for (size_t k = 0; k < good->count; k++)
        all[k].bytes = 0;
    for (size_t k = 0; k < COUNT(pairs); k++) {
        memcpy(block, good, bytes);
        tensors[0].bytes = pairs[k][0], tensors[1].bytes = pairs[k][1];
        ck_assert_msg(organ_catalog_adopt(block, bytes, base) == (k == COUNT(pairs) - 1), "row %zu", k);
    }
    free(block);
    organ_catalog_free(good);
}
END_TEST

/* The seed inputs of the fuzzer are valid catalogs of this program. */
START_TEST(seeds_are_catalogs)
{
    static const char *const names[] = {"model", "one", "none", "accents"};
    for (size_t k = 0; k < COUNT(names); k++) {
        uint64_t words[512], base;
        char path[256];
        snprintf(path, sizeof path, "fixtures/fuzz/catalog/%s", names[k]);
        FILE *const file = fopen(path, "rb");
        ck_assert_ptr_nonnull(file);
        ck_assert_uint_eq(fread(&base, 1, sizeof base, file), sizeof base);
        const size_t bytes = fread(words, 1, sizeof words, file);
        fclose(file);
        ck_assert_msg(organ_catalog_adopt(words, bytes, base), "%s", path);
        ck_assert_uint_eq(((const organ_catalog *)(const void *)words)->bytes, bytes);
    }
}
END_TEST

/* ---- kernels without some protections ---- */

START_TEST(what_is_missing_is_named)
{
    static const struct {
        organ_confinement has;
        const char *parts[3];
    } rows[] = {{{7, true}, {""}},
                {{6, true}, {""}},
                {{0, false}, {"no Landlock and no seccomp", "reach files outside of the root", "execute programs"}},
                {{0, true}, {"no Landlock and seccomp", "reach files outside"}},
                {{6, false}, {"Landlock 6 of 6 and no seccomp", "execute programs and make any system call"}},
                {{2, true}, {"Landlock 2 of 6", "truncate files outside of the root"}},
                {{3, false}, {"Landlock 3 of 6", "TCP connections", "signal other processes"}},
                {{5, true}, {"Landlock 5 of 6", "seccomp forbids"}}};
    char text[512];
    for (size_t k = 0; k < COUNT(rows); k++) {
        organ_confinement_lacks(&rows[k].has, text, sizeof text);
        ck_assert_msg(**rows[k].parts || !*text, "%s", text);
        for (size_t p = 0; p < 3 && rows[k].parts[p]; p++)
            ck_assert_msg(strstr(text, rows[k].parts[p]), "%s is not in: %s", rows[k].parts[p], text);
    }
    organ_confinement_lacks(&rows[7].has, text, sizeof text);
    ck_assert_msg(!strstr(text, "signal other"), "%s", text);
}
END_TEST

int main(int argc, char **argv)
{
    if (organ_worker_is_requested(argc, argv))
        return organ_worker_run(argv, read_as_named);
    signal(SIGPIPE, SIG_IGN);
    const suite_case cases[] = {
        {"worker",
         {the_same_as_without_it, faults_of_files_are_told, whoever_dies_dies_alone,
          whoever_is_killed_meanwhile_is_replaced, whoever_takes_too_long_is_ended, the_end_does_not_wait,
          a_bomb_meets_the_limit, calls_that_no_header_needs, a_list_that_is_none}},
        {"block",
         {no_block_leads_outside, arrays_lie_side_by_side, a_catalog_is_no_tensor, names_are_text,
          names_take_their_own_bytes, bytes_of_tensors_add_up, seeds_are_catalogs}},
        {"kernel", {what_is_missing_is_named}}};
    Suite *const suites[] = {suite_of("model reader", cases, COUNT(cases), reader_setup, reader_teardown), NULL};
    return run_suites(suites);
}
