/* SPDX-License-Identifier: MIT
 * What --force may replace: directories as users have them, one row each, and what the first entry in them is that is nobody's output. */
#include "formats/model/recognise.h"
#include "tests/stream/check_stream.h"
#include "tests/kit/model_maker.h"
#include "tests/kit/suite_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define GGUF   "GGUF\3"
#define REPORT "{\n  \"schema\": \"organ.prune/1\"\n}\n"

/* Makes every folder on the way. */
static void put(const char *path, const char *text)
{
    char whole[512], *slash = whole;
    snprintf(whole, sizeof whole, "%s", scratch_path("dir/%s", path));
    slash += strlen(scratch_path("."));
    while ((slash = strchr(slash, '/'))) {
        *slash = '\0';
        mkdir(whole, 0777);
        *slash++ = '/';
    }
    if (*text == '@')
        ck_assert_int_eq(symlink(text + 1, whole), 0);
    else
        spill(whole, text, strlen(text));
}

/* In "a/b=text" the text of a file, or of a link if it begins with '@'; without one the file is a GGUF. */
static const struct {
    const char *entries[12], *stranger; /* NULL: it may be replaced */
} rows[] = {
    {{"m.gguf"}, NULL},
    {{"config.json={}", "m.gguf", "tokenizer.json={}", "tokenizer.model=x", "README.md=# A model", "LICENSE=MIT", ".gitattributes=x",
      "merges.txt=x", "modeling_x.py=x", "generation_config.json={}", "chat_template.jinja=x"},
     NULL},
    {{"m.gguf", "organ/prune.json=" REPORT, "organ/prune.jsonl={}", "organ/REPORT.md=# Surgery report: x",
      "organ/donor/audit.json=" REPORT},
     NULL},
    {{"prune.json=" REPORT, "AUTOPSY_REPORT.md=# Autopsy of x", "cosine.svg=<svg/>"}, NULL},
    {{"m.gguf", ".cache/huggingface/.gitignore=*", ".cache/huggingface/download/m.gguf.metadata=x"}, NULL},
    {{"m.gguf", "original/params.json={}", "1_Pooling/config.json={}"}, NULL},
    {{"m.gguf", "config.json=@../../blobs/1", "README.md=@/etc"}, NULL},
    {{"manifest.json={\"schema\": \"organ.manifest/1\", \"x\": {\"file\": \"organs/a.bin\"}}", "organs/a.bin=x", "files/vocab.txt=x"},
     NULL},
    {{"m.gguf", "same.txt=the same"}, NULL},
    {{"m.gguf", "same/deep.bin=the same"}, NULL},
    {{"m.gguf", "files/beside.txt=the same"}, NULL},
    {{"m.gguf", "same.txt=THE SAME"}, "'same.txt'"},
    {{"m.gguf", "thesis.txt=x"}, "'thesis.txt'"},
    {{"m.gguf", "src/main.c=x", "zebra=x"}, "'src/main.c'"},
    {{"m.gguf", ".git/HEAD=x"}, "'.git/HEAD'"},
    {{"m.gguf", "run.py=x"}, "'run.py'"},
    {{"m.gguf", "results.json={\"a\": 1}"}, "'results.json'"},
    {{"m.gguf", "NOTES.md=# Mine"}, "'NOTES.md'"},
    {{"m.gguf", "organ/thesis.txt=x"}, "'organ/thesis.txt'"},
    {{"m.gguf", "organ/REPORT.md=# My own report"}, "'organ/REPORT.md'"},
    {{"m.gguf", "backup/m.gguf"}, "'backup/m.gguf'"},
    {{"m.gguf", ".out.organ-partial/m.gguf"}, "'.out.organ-partial/m.gguf'"},
    {{"m.gguf", "letter.gguf=Dear all"}, "'letter.gguf'"},
    {{"m.gguf", "x.safetensors=\377\377\377\377\377\377\377\377{"}, "'x.safetensors'"},
    {{"m.gguf", "page.html=<!doctype html>\n<p>mine"}, "'page.html'"},
    {{"m.gguf", "link=@somewhere"}, "'link'"},
    {{"README.md=# A project", "LICENSE=MIT"}, "'LICENSE'"},
    {{"README.md=# A project", "a.json=" REPORT}, "'README.md'"},
    {{"manifest.json={\"schema\": \"organ.manifest/1\", \"x\": {\"file\": \"organs/a.bin\"}}", "organs/a.bin=x", "organs/b.bin=x"},
     "'organs/b.bin'"},
    {{"organs/a.bin=x"}, "'organs/a.bin'"},
    {{"manifest.json={\"name\": \"a web app\"}"}, "'manifest.json'"},
};

static void must_be(const char *stranger, const char *what)
{
    organ_error error = {0};
    const organ_status status = organ_check_replaceable(scratch_path("dir"), scratch_path("like"), &error);
    ck_assert_msg(status == (stranger ? ORGAN_USAGE : ORGAN_OK), "%s: %d %s", what, (int)status, error.message);
    ck_assert_msg(!stranger || strstr(error.message, stranger), "%s: no %s in: %s", what, stranger, error.message);
}

static void setup(void)
{
    scratch_make();
    ck_assert_int_eq(mkdir(scratch_path("like"), 0777) | mkdir(scratch_path("like/same"), 0777), 0);
    spill(scratch_path("like/same.txt"), "the same", 8);
    spill(scratch_path("like/same/deep.bin"), "the same", 8);
    spill(scratch_path("like/beside.txt"), "the same", 8);
}

START_TEST(directories)
{
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        char entry[512];
        ck_assert_int_eq(mkdir(scratch_path("dir"), 0777), 0);
        for (size_t e = 0; e < 12 && rows[k].entries[e]; e++) {
            snprintf(entry, sizeof entry, "%s", rows[k].entries[e]);
            char *const text = strchr(entry, '=');
            if (text)
                *text = '\0';
            put(entry, text ? text + 1 : GGUF);
        }
        must_be(rows[k].stranger, rows[k].entries[1] ? rows[k].entries[1] : rows[k].entries[0]);
        ck_assert_int_eq(rename(scratch_path("dir"), scratch_path("dir%zu", k)), 0);
    }
}
END_TEST

START_TEST(what_is_no_file)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    put("m.gguf", GGUF);
    ck_assert_int_eq(mkfifo(scratch_path("dir/pipe"), 0666), 0);
    must_be("'pipe'", "a pipe");
    ck_assert_int_eq(rename(scratch_path("dir/pipe"), scratch_path("dir/pipe.gguf")), 0);
    must_be("'pipe.gguf'", "a pipe that is called a model");
    ck_assert_int_eq(unlink(scratch_path("dir/pipe.gguf")), 0);
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", scratch_path("dir/sock"));
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    must_be("'sock'", "a socket");
    close(fd);
    ck_assert_int_eq(unlink(scratch_path("dir/sock")), 0);
    must_be(NULL, "nothing but a model");
}
END_TEST

START_TEST(deep_and_large_ones_end)
{
    char path[512] = "deep";
    put("m.gguf", GGUF);
    for (int k = 0; k < 40; k++) {
        mkdir(scratch_path("dir/%s", path), 0777);
        strcat(path, "/d");
    }
    must_be("which lies too deep", "forty folders");
}
END_TEST

START_TEST(single_files)
{
    static const struct {
        const char *name, *text, *why; /* NULL: it may go */
    } files[] = {{"dir/a.gguf", GGUF, NULL},
                 {"dir/a.json", REPORT, NULL},
                 {"dir/a.REPORT.md", "# Surgery report: x", NULL},
                 {"dir/empty", "", NULL},
                 {"dir/b.gguf", "Dear all", "no model"},
                 {"dir/b.json", "{}", "no model"},
                 {"dir/b.md", "# x", "no model"},
                 {"dir/.4711.a.REPORT.md", "# Surgery report: x", NULL},
                 {"dir/thesis", "x", "no model"}};
    ck_assert_int_eq(mkdir(scratch_path("dir"), 0777), 0);
    for (size_t k = 0; k < sizeof files / sizeof *files; k++) {
        organ_error error = {0};
        spill(scratch_path("%s", files[k].name), files[k].text, strlen(files[k].text));
        organ_check_replaceable(scratch_path("%s", files[k].name), NULL, &error);
        ck_assert_msg(error.status == (files[k].why ? ORGAN_USAGE : ORGAN_OK), "%s: %s", files[k].name, error.message);
        ck_assert_msg(!files[k].why || strstr(error.message, files[k].why), "%s", error.message);
    }
    organ_error error = {0};
    ck_assert_int_eq(symlink("a.gguf", scratch_path("dir/link")), 0);
    ck_assert_int_eq(organ_check_replaceable(scratch_path("dir/link"), NULL, &error), ORGAN_USAGE);
    error = (organ_error){0};
    ck_assert_int_eq(organ_check_report_place(scratch_path("dir/link"), &error), ORGAN_USAGE);
    error = (organ_error){0};
    ck_assert_int_eq(organ_check_report_place(scratch_path("dir/a.gguf"), &error), ORGAN_USAGE);
    error = (organ_error){0};
    ck_assert_int_eq(organ_check_report_place(scratch_path("dir/a.json"), &error), ORGAN_OK);
    ck_assert_int_eq(organ_check_report_place(scratch_path("dir/none"), &error), ORGAN_OK);
}
END_TEST

Suite *recognise_suite(void)
{
    const suite_case cases[] = {{"replaceable", {directories, what_is_no_file, deep_and_large_ones_end, single_files}}};
    return suite_of("recognise", cases, sizeof cases / sizeof *cases, setup, scratch_remove);
}
