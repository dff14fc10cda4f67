/* SPDX-License-Identifier: MIT
 * Directories that --force may replace, one per row, or the first entry in them that organ did not write. */
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

#define GGUF "GGUF\3"
/* reports with the digest that each has: `printf TEXT-BEFORE-THE-SEAL | xxhsum -H3` */
#define REPORT "{\n  \"schema\": \"organ.prune/1\",\n  \"seal\": \"a88dab9ea1861d67\"\n}\n"
#define RUN                                                                                                            \
    "{\n  \"schema\": \"organ.prune/1\",\n  \"run\": {\n    \"a\": 1,\n    \"seal\": \"bf1058db064063a0\"\n  }\n}\n"
#define LINES    "{\"tensor\":\"a\"}\n{\"tensor\":\"b\",\"seal\":\"1fbec5ac4435f8a9\"}\n"
#define MARKDOWN "# Surgery report: x\n<!-- organ: 7e2fcc5fc5542ae1 -->\n"
#define CHART    "<svg/>\n<!-- organ: 08cfb5ba6c1f1358 -->\n"
#define UNSEALED "{\n  \"schema\": \"organ.prune/1\"\n}\n"
#define DONOR(n) "{\"schema\": \"organ.prune/1\", \"donor\": {\"files\": " #n "}, \"copied_files\": [\"vocab.json\"]}"
#define RECORD                                                                                                         \
    "organ/files.json={\"schema\": \"organ.files/1\", \"files\": {\"m.gguf\": {\"bytes\": 5}, \"README.md\": "         \
    "{\"bytes\": 1, \"xxh3\": "                                                                                        \
    "\"8c16ea6eb2f9f7f1\"}}}"
#define INDEX "model.safetensors.index.json={\"weight_map\": {\"a\": \"1.safetensors\", \"b\": \"2.safetensors\"}}"
#define PIECES                                                                                                         \
    "\"schema\": \"organ.manifest/1\", \"x\": {\"file\": \"organs/a.bin\"}, \"files\": {\"files/vocab.txt\": "         \
    "{\"bytes\": 1}, "                                                                                                 \
    "\"files/a/b\": {\"bytes\": 1}}"
#define MANIFEST "manifest.json={" PIECES "}"

/* Writes a file and makes the folders of its path. */
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
    if (!slash && whole[strlen(whole) - 1] == '/')
        return;
    if (*text == '@')
        ck_assert_int_eq(symlink(text + 1, whole), 0);
    else if (strcmp(text, "SAFE") == 0)
        spill(whole, "\2\0\0\0\0\0\0\0{}", 10);
    else
        spill(whole, text, strlen(text));
}

/* "a/b=text" is a file with that text, or a link if the text begins with '@'; SAFE is a file with weights; without '='
 * it is a GGUF file, or an empty folder if it ends with '/'. */
static const struct {
    const char *entries[12], *stranger; /* NULL: the directory may be replaced */
} rows[] = {
    /* files of a record with unchanged content */
    {{RECORD, "m.gguf", "organ/prune.json=" REPORT, "organ/prune.jsonl=" LINES, "organ/REPORT.md=" MARKDOWN,
      "organ/donor/audit.json=" RUN},
     NULL},
    {{RECORD, "m.gguf", "README.md=y"}, "'README.md', which was changed since organ wrote it"},
    {{RECORD, "m.gguf=GGUF\3\3", "README.md=#"}, "'README.md', which was changed"},
    {{RECORD, "m.gguf=GGUF\3\3"}, "'m.gguf', which was changed"},
    {{RECORD, "m.gguf", "n.gguf"}, "'n.gguf'"},
    {{RECORD, "m.gguf", INDEX, "1.safetensors=SAFE"}, "'1.safetensors'"},
    /* files of an index */
    {{INDEX, "1.safetensors=SAFE", "2.safetensors=SAFE"}, NULL},
    {{INDEX, "1.safetensors=SAFE", "3.safetensors=SAFE"}, "'3.safetensors'"},
    {{INDEX, "1.safetensors=SAFE", "config.json={}"}, "'config.json'"},
    {{INDEX, "1.safetensors=SAFE", "other.safetensors.index.json={\"weight_map\": {\"a\": \"3.safetensors\"}}",
      "3.safetensors=SAFE"},
     "'1.safetensors'"},
    {{"model.safetensors.index.json={\"weight_map\": {}}"}, "'model.safetensors.index.json'"},
    {{INDEX, "1.safetensors=a text"}, "'1.safetensors'"},
    /* reports without a record */
    {{"prune.json=" RUN, "AUTOPSY_REPORT.md=" MARKDOWN, "cosine.svg=" CHART}, NULL},
    {{"model.safetensors=SAFE", "organ/prune.json=" DONOR(1), "organ/REPORT.md=# Surgery report: x",
      "organ/prune.jsonl={\"tensor\":\"a\"}"},
     NULL},
    /* files with the names of reports that are not sealed reports */
    {{"prune.json=" UNSEALED}, "'prune.json'"},
    {{RECORD, "organ/prune.json=" UNSEALED}, "'organ/prune.json'"},
    {{RECORD, "coverage.tiles=x"}, "'coverage.tiles'"},
    {{RECORD, "organ/coverage.tiles=x"}, "'organ/coverage.tiles'"},
    {{RECORD, "journal.jsonl={}"}, "'journal.jsonl'"},
    {{RECORD, "organ/journal.jsonl={}"}, "'organ/journal.jsonl'"},
    {{RECORD, "prune.jsonl={}"}, "'prune.jsonl'"},
    {{RECORD, "prune.jsonl="}, "'prune.jsonl'"},
    {{RECORD, "organ/prune.jsonl={\"tensor\":\"a\"}"}, "'organ/prune.jsonl'"},
    {{RECORD, "m.prune.jsonl={}"}, "'m.prune.jsonl'"},
    {{RECORD, "measure-0123456789abcdef.jsonl={}"}, "'measure-0123456789abcdef.jsonl'"},
    {{RECORD, "shards-0123456789abcdef.jsonl={}"}, "'shards-0123456789abcdef.jsonl'"},
    {{RECORD, "MY_EXPERTS_REPORT.md=# Mine"}, "'MY_EXPERTS_REPORT.md'"},
    {{RECORD, "EXPERTS_REPORT.md=# Mine"}, "'EXPERTS_REPORT.md'"},
    {{RECORD, "organ/LORA_REPORT.md=# Mine"}, "'organ/LORA_REPORT.md'"},
    {{RECORD, "leakage.svg=<svg/>"}, "'leakage.svg'"},
    {{RECORD, "organ/cosine.svg=<?xml"}, "'organ/cosine.svg'"},
    {{"organ/LORA_REPORT.md=# LoRA extraction"}, "'organ/LORA_REPORT.md'"},
    {{"model.safetensors=SAFE", "REPORT.md=# Surgery report: x", "organ/prune.json=" DONOR(1)}, "'REPORT.md'"},
    {{"model.safetensors=SAFE", "organ/EXPERTS_REPORT.md=# x", "organ/prune.json=" DONOR(1)},
     "'organ/EXPERTS_REPORT.md'"},
    /* reports that were changed after they were sealed */
    {{RECORD, "organ/REPORT.md=# My" MARKDOWN}, "'organ/REPORT.md', which was changed since organ wrote it"},
    {{RECORD, "organ/REPORT.md=" MARKDOWN "mine"}, "'organ/REPORT.md'"},
    {{RECORD, "organ/prune.json= " REPORT}, "'organ/prune.json', which was changed"},
    {{RECORD, "organ/audit.json= " RUN}, "'organ/audit.json', which was changed"},
    {{RECORD, "organ/prune.jsonl= " LINES}, "'organ/prune.jsonl', which was changed"},
    {{RECORD, "cosine.svg= " CHART}, "'cosine.svg', which was changed"},
    {{"model.safetensors=SAFE", "organ/a.json=" DONOR(1), "organ/b.json= " REPORT},
     "'organ/b.json', which was changed"},
    /* folders without files */
    {{RECORD, "m.gguf", "drafts/"}, "'drafts', an empty folder"},
    {{RECORD, "m.gguf", "organ/drafts/2026/"}, "'organ/drafts/2026', an empty folder"},
    {{MANIFEST, "organs/drafts/"}, "'organs/drafts', an empty folder"},
    {{MANIFEST, "drafts/"}, "'drafts', an empty folder"},
    {{MANIFEST, "norm/", "other/"}, NULL},
    {{RECORD, "norm/"}, "'norm', an empty folder"},
    {{"model.safetensors=SAFE", "config.json={}", "vocab.json={}", "organ/prune.json=" DONOR(1)}, NULL},
    {{"m-1.gguf", "m-2.gguf", "organ/prune.json=" DONOR(2)}, NULL},
    {{"model.safetensors=SAFE", "mine.safetensors=SAFE", "organ/prune.json=" DONOR(1)}, "'mine.safetensors'"},
    {{"model.safetensors=SAFE", "mine.gguf", "organ/prune.json=" DONOR(3)}, "'mine.gguf'"},
    {{"model.safetensors=SAFE", "README.md=# My card", "organ/prune.json=" DONOR(1)}, "'README.md'"},
    {{"model.safetensors=SAFE", "tokenizer_thesis.docx=x", "organ/prune.json=" DONOR(1)}, "'tokenizer_thesis.docx'"},
    {{"model.safetensors=SAFE", "modeling_mine.py=x", "organ/prune.json=" DONOR(1)}, "'modeling_mine.py'"},
    /* an organ directory */
    {{MANIFEST, "organs/a.bin=x", "files/vocab.txt=x", "files/a/b=x"}, NULL},
    {{MANIFEST, "organs/a.bin=x", "files/vocab.txt=xx"}, "'files/vocab.txt', which was changed"},
    {{MANIFEST, "organs/a.bin=x", "files/thesis.txt=x"}, "'files/thesis.txt'"},
    {{MANIFEST, "organs/a.bin=x", "files/deep/thesis.txt=x"}, "'files/deep/thesis.txt'"},
    {{MANIFEST, "organs/a.bin=x", "organs/b.bin=x"}, "'organs/b.bin'"},
    {{MANIFEST, "organs/a.bin=x", "m.gguf"}, "'m.gguf'"},
    {{MANIFEST, "header/organs/a.bin=x"}, "'header/organs/a.bin'"},
    {{"organs/a.bin=x"}, "'organs/a.bin'"},
    {{"manifest.json={\"name\": \"a web app\"}"}, "'manifest.json'"},
    /* files that the input has as well */
    {{RECORD, "same.txt=the same"}, NULL},
    {{"same.txt=the same"}, NULL},
    {{"same/deep.bin=the same"}, NULL},
    {{"files/beside.txt=the same"}, NULL},
    {{"same.txt=THE SAME"}, "'same.txt'"},
    {{"link.txt=@../like/same.txt"}, "'link.txt'"},
    {{"same.txt=@../like/same.txt"}, NULL},
    /* files in no list */
    {{"m.gguf"}, "'m.gguf'"},
    {{"a.gguf", "b.safetensors=SAFE"}, "'a.gguf'"},
    {{RECORD, "thesis.txt=x"}, "'thesis.txt'"},
    {{RECORD, "src/main.c=x", "zebra=x"}, "'src/main.c'"},
    {{RECORD, ".git/HEAD=x"}, "'.git/HEAD'"},
    {{RECORD, "results.json={\"a\": 1}"}, "'results.json'"},
    {{RECORD, "organ/thesis.txt=x"}, "'organ/thesis.txt'"},
    {{RECORD, "organ/REPORT.md=# My own report"}, "'organ/REPORT.md'"},
    {{RECORD, "backup/m.gguf"}, "'backup/m.gguf'"},
    {{RECORD, ".out.organ-partial/m.gguf"}, "'.out.organ-partial/m.gguf'"},
    {{RECORD, "page.html=<!doctype html>\n<p>mine"}, "'page.html'"},
    {{RECORD, "link=@somewhere"}, "'link'"},
    {{RECORD, ".cache/huggingface/.gitignore=*"}, "'.cache/huggingface/.gitignore'"},
    {{RECORD, "original/params.json={}"}, "'original/params.json'"},
    {{"README.md=# A project", "a.json=" REPORT}, "'README.md'"},
    {{"organ/files.json={\"schema\": \"mine\", \"files\": {\"m.gguf\": true}}", "m.gguf"}, "'m.gguf'"},
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
        char entry[1024];
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
    put("same.txt", "the same");
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
    must_be(NULL, "nothing else");
}
END_TEST

START_TEST(deep_and_large_ones_end)
{
    char path[512] = "deep";
    put("same.txt", "the same");
    for (int k = 0; k < 40; k++) {
        mkdir(scratch_path("dir/%s", path), 0777);
        strcat(path, "/d");
    }
    must_be("which is nested too deep", "forty folders");
}
END_TEST

START_TEST(single_files)
{
    static const struct {
        const char *name, *text, *why; /* NULL: it may be removed */
    } files[] = {{"dir/a.gguf", GGUF, NULL},
                 {"dir/a.json", REPORT, NULL},
                 {"dir/a.REPORT.md", MARKDOWN, NULL},
                 {"dir/a.prune.jsonl", LINES, NULL},
                 {"dir/a", CHART, NULL},
                 {"dir/c.REPORT.md", "# Surgery report: x", "neither a model"},
                 {"dir/c.prune.jsonl", "{}", "neither a model"},
                 {"dir/coverage.tiles", "x", "neither a model"},
                 {"dir/c.EXPERTS_REPORT.md", "# Mine", "neither a model"},
                 {"dir/leakage.svg", "<svg/>", "neither a model"},
                 {"dir/d.json", UNSEALED, "neither a model"},
                 {"dir/d.html", ORGAN_PAGE_START, "neither a model"},
                 {"dir/d.REPORT.md", "x" MARKDOWN, "was changed since organ wrote it"},
                 {"dir/empty", "", NULL},
                 {"dir/b.gguf", "Dear all", "neither a model"},
                 {"dir/b.json", "{}", "neither a model"},
                 {"dir/b.md", "# x", "neither a model"},
                 {"dir/thesis", "x", "neither a model"}};
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
