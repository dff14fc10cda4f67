/* SPDX-License-Identifier: MIT
 * liborgan in a host program that has handlers of signals, allocation functions of jansson and a locale of its own: the
 * library leaves them alone, and its numbers are the same as in the locale C. */
#include <organ/organ.h>
#include "tests/kit/comma_locale.h"
#include "tests/kit/scratch_model.h"
#include "tests/kit/suite_table.h"

#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <locale.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the host ---- */

enum { HEAD = 16, MARK = 0x5A };
static atomic_long pieces, foreign; /* of jansson: pieces not yet freed, and freed ones that were not given out */

static void *host_malloc(size_t size)
{
    char *const memory = malloc(HEAD + size);
    if (!memory)
        return NULL;
    memset(memory, MARK, HEAD);
    pieces++;
    return memory + HEAD;
}

static void host_free(void *memory)
{
    char *const head = memory ? (char *)memory - HEAD : NULL;
    if (!head)
        return;
    if (*head != MARK) {
        foreign++;
        return;
    }
    *head = 0;
    pieces--;
    free(head);
}

static void host_handler(int number) { _exit(100 + number); }

static char root[PATH_MAX];
static char *fixture(const char *name)
{
    static char paths[4][PATH_MAX + 64];
    static unsigned turn;
    char *const path = paths[turn++ % 4];
    snprintf(path, sizeof *paths, "%s/fixtures/%s", root, name);
    return path;
}

/* ---- operations, each with its output in the working directory ---- */

typedef organ_status operation(const organ_engine *engine, json_t **report, organ_error *error);

static organ_write_options to(const char *output)
{
    return (organ_write_options){.output = output, .max_shard_size = (uint64_t)1 << 40};
}

/* The budget is a text. */
static organ_status prune(const organ_engine *engine, json_t **report, organ_error *error)
{
    organ_prune_options o = organ_prune_defaults();
    o.donor = fixture("tiny-qwen2");
    o.targets = "*.self_attn.[kv]_proj.weight";
    o.write = to("pruned");
    o.calibrated.method = "wanda";
    o.calibrated.calibration =
        (organ_calibration_text){.text = fixture("tiny-qwen2/calibration.txt"), .samples = 2, .context = 64};
    o.calibrated.allocate =
        (organ_allocate_options){.allocate = "global", .budget = "40.5%", .tokens = 64, .layers = 2};
    return organ_prune(&o, engine, NULL, report, error);
}

static organ_status purify(const organ_engine *engine, json_t **report, organ_error *error)
{
    const organ_purify_options o = {
        .model = fixture("tiny-qwen2"), .method = "fft", .threshold = 2.5, .strength = 0.5, .write = to("purified")};
    return organ_purify(&o, engine, NULL, report, error);
}

static organ_status to_gguf(const organ_engine *engine, json_t **report, organ_error *error)
{
    const organ_convert_options o = {
        .model = fixture("tiny-qwen2"), .to = "gguf", .type = "bf16", .write = to("made.gguf")};
    return organ_convert(&o, engine, NULL, report, error);
}

static organ_status from_gguf(const organ_engine *engine, json_t **report, organ_error *error)
{
    const organ_convert_options o = {.model = "made.gguf", .to = "safetensors", .type = "same", .write = to("unmade")};
    return organ_convert(&o, engine, NULL, report, error);
}

static organ_status quantize(const organ_engine *engine, json_t **report, organ_error *error)
{
    const organ_quantize_options o = {.model = "made.gguf", .scheme = "q4_0", .write = to("four.gguf")};
    return organ_quantize(&o, engine, NULL, report, error);
}

/* The share is a text. */
static organ_status extract(const organ_engine *engine, json_t **report, organ_error *error)
{
    const organ_lora_extract_options o = {.base = fixture("tiny-qwen2"),
                                          .tuned = "purified",
                                          .rank = 8,
                                          .rank_by = "energy=0.65",
                                          .modules = "*.1.self_attn.v_proj",
                                          .dtype = "f32",
                                          .write = to("adapter")};
    return organ_lora_extract(&o, engine, NULL, report, error);
}

static organ_status measure(const organ_engine *engine, json_t **report, organ_error *error)
{
    const char *const models[] = {fixture("tiny-qwen2")};
    const organ_measure_options o = {.models = models, .model_count = 1, .output = "measured", .seed = true};
    return organ_measure(&o, engine, NULL, report, error);
}

static organ_status autopsy(const organ_engine *engine, json_t **report, organ_error *error)
{
    const organ_autopsy_options o = {.model = "purified", .other = fixture("tiny-qwen2"), .output = "autopsy"};
    return organ_autopsy(&o, engine, NULL, report, error);
}

static organ_status evaluate(const organ_engine *engine, json_t **report, organ_error *error)
{
    const char *const pruned[] = {"pruned"};
    const organ_evaluate_options o = {
        .donor = fixture("tiny-qwen2"),
        .pruned = pruned,
        .count = 1,
        .experiment = {
            .text = fixture("tiny-qwen2/heldout.txt"), .context = 64, .max_tokens = 256, .output = "evaluated"}};
    return organ_evaluate(&o, engine, NULL, report, error);
}

static operation *const operations[] = {prune,   purify,  to_gguf, from_gguf, quantize,
                                        extract, measure, autopsy, evaluate};
enum { OPERATIONS = sizeof operations / sizeof *operations };

/* ---- comparison of outputs ---- */

/* Removes the members that differ between two runs: times, and the seal of the document. */
static void leave_out_run(json_t *document)
{
    json_object_del(document, "run");
    json_object_del(document, "seal");
}

static char *printed(const json_t *document)
{
    char *text = NULL;
    size_t size;
    organ_error error = {0};
    FILE *const out = open_memstream(&text, &size);
    ck_assert_int_eq(organ_document_print(document, out, &error), ORGAN_OK);
    fclose(out);
    return text;
}

/* Runs all operations in the directory `name`. texts[k] becomes the report of operation k, pages[k] its page. */
static void run_all(const char *name, char *texts[OPERATIONS], char *pages[OPERATIONS])
{
    organ_error error = {0};
    organ_engine *engine;
    ck_assert(mkdir(scratch_path(name), 0777) == 0 && chdir(scratch_path(name)) == 0);
    ck_assert_int_eq(organ_engine_create(NULL, 2, (uint64_t)128 << 20, &engine, &error), ORGAN_OK);
    for (size_t k = 0; k < OPERATIONS; k++) {
        json_t *report = NULL;
        ck_assert_msg(operations[k](engine, &report, &error) == ORGAN_OK, "%s, operation %zu: %s", name, k,
                      error.message);
        leave_out_run(report);
        texts[k] = printed(report);
        ck_assert_msg(organ_html_report(report, &pages[k], &error) == ORGAN_OK, "%s", error.message);
        json_decref(report);
    }
    const organ_purify_options wrong = {.model = "pruned", .method = "fft", .strength = 1.5, .write = to("no")};
    ck_assert_int_eq(organ_purify(&wrong, engine, NULL, &(json_t *){NULL}, &error), ORGAN_USAGE);
    ck_assert_msg(strstr(error.message, "1.5") != NULL, "%s", error.message);
    organ_engine_destroy(engine);
    ck_assert_int_eq(chdir(root), 0);
}

static char *file_text(const char *path, size_t *size)
{
    struct stat info;
    const int fd = open(path, O_RDONLY);
    ck_assert_msg(fd >= 0 && fstat(fd, &info) == 0, "%s is missing", path);
    char *const text = calloc(1, (size_t)info.st_size + 1);
    ck_assert(read(fd, text, (size_t)info.st_size) == info.st_size);
    close(fd);
    *size = (size_t)info.st_size;
    return text;
}

/* Shows only where two long texts begin to differ. */
static void same_text(const char *what, const char *a, const char *b)
{
    size_t at = 0;
    while (a[at] && a[at] == b[at])
        at++;
    const size_t from = at > 40 ? at - 40 : 0;
    ck_assert_msg(a[at] == b[at], "%s: '%.80s' and '%.80s'", what, a + from, b + from);
}

static size_t compared;

/* Compares a file of the directory "plain" with that of "comma". Reports as Markdown or HTML and journals contain times
 * and are left out; the test compares pages of reports without times. */
static int compare_file(const char *path, const struct stat *info, int type, struct FTW *where)
{
    (void)where;
    const char *const end = strrchr(path, '.') ? strrchr(path, '.') : "";
    char other[PATH_MAX], *const place = strstr(path, "/plain/");
    if (type != FTW_F || strcmp(end, ".md") == 0 || strcmp(end, ".html") == 0 || strcmp(end, ".jsonl") == 0)
        return 0;
    snprintf(other, sizeof other, "%.*s/comma/%s", (int)(place - path), path, place + strlen("/plain/"));
    size_t size, size_there;
    char *here = file_text(path, &size), *there = file_text(other, &size_there);
    if (strcmp(end, ".json") == 0) {
        json_t *const a = json_loadb(here, size, 0, NULL), *const b = json_loadb(there, size_there, 0, NULL);
        ck_assert_msg(a && b, "%s is no JSON in one of both", path);
        leave_out_run(a);
        leave_out_run(b);
        free(here);
        free(there);
        here = printed(a);
        there = printed(b);
        size = strlen(here);
        size_there = strlen(there);
        json_decref(a);
        json_decref(b);
    }
    if (strcmp(end, ".json") == 0)
        same_text(path, here, there);
    ck_assert_msg(size == size_there && memcmp(here, there, size) == 0, "%s differs (%lld bytes)", other,
                  (long long)info->st_size);
    free(here);
    free(there);
    compared++;
    return 0;
}

/* ---- the tests ---- */

static struct sigaction actions[65];

/* Records the handlers of all signals; `after`: checks that they are still there. */
static void handlers_stay(bool after)
{
    for (int number = 1; number < 32; number++) {
        struct sigaction now;
        ck_assert_int_eq(sigaction(number, NULL, &now), 0);
        if (after)
            ck_assert_msg(now.sa_handler == actions[number].sa_handler, "signal %d has another handler", number);
        actions[number] = now;
    }
}

START_TEST(host_keeps_what_is_its_own)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGABRT};
    char *texts[2][OPERATIONS], *pages[2][OPERATIONS];
    json_malloc_t make;
    json_free_t release;
    for (size_t k = 0; k < 3; k++)
        sigaction(faults[k], &(struct sigaction){.sa_handler = host_handler}, NULL);
    handlers_stay(false);
    json_set_alloc_funcs(host_malloc, host_free);
    run_all("plain", texts[0], pages[0]);
    comma_locale_begin();
    run_all("comma", texts[1], pages[1]);
    for (size_t k = 0; k < OPERATIONS; k++) {
        same_text("a report", texts[0][k], texts[1][k]);
        same_text("a page", pages[0][k], pages[1][k]);
        free(texts[0][k]), free(texts[1][k]), free(pages[0][k]), free(pages[1][k]);
    }
    ck_assert_int_eq(nftw(scratch_path("plain"), compare_file, 16, FTW_PHYS), 0);
    ck_assert_uint_gt(compared, 30);
    ck_assert_str_eq(localeconv()->decimal_point, ",");
    handlers_stay(true);
    json_get_alloc_funcs(&make, &release);
    ck_assert(make == host_malloc && release == host_free);
    ck_assert_int_eq(foreign, 0);
    ck_assert_int_eq(pieces, 0);
}
END_TEST

/* A program may ask for the functions that count refusals, and gets its own back. */
START_TEST(host_asks_for_the_watch)
{
    json_malloc_t make;
    json_free_t release;
    json_set_alloc_funcs(host_malloc, host_free);
    for (int turn = 0; turn < 2; turn++) {
        organ_json_watch(true);
        organ_json_watch(true);
        json_get_alloc_funcs(&make, &release);
        ck_assert(make != host_malloc && release != host_free);
        json_decref(json_string("text"));
        organ_json_watch(false);
        organ_json_watch(false);
        json_get_alloc_funcs(&make, &release);
        ck_assert(make == host_malloc && release == host_free);
    }
    ck_assert(foreign == 0 && pieces == 0);
    organ_json_watch(true);
    json_set_alloc_funcs(malloc, free); /* it stays when the program has replaced the watch */
    organ_json_watch(false);
    json_get_alloc_funcs(&make, &release);
    ck_assert(make == malloc && release == free);
}
END_TEST

static void setup(void)
{
    ck_assert_ptr_nonnull(getcwd(root, sizeof root));
    scratch_begin();
}

int main(void)
{
    const suite_case cases[] = {{"host", {host_keeps_what_is_its_own, host_asks_for_the_watch}}};
    return run_suites((Suite *const[]){suite_of("host", cases, 1, setup, scratch_end), NULL});
}
