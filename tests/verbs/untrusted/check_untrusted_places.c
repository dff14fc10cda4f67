/* SPDX-License-Identifier: MIT
 * Tests of inspect --untrusted on several files: links and devices, GGUF headers, tokenizers that grow texts,
 * incomplete models. */
#include "formats/base/text.h"
#include "orchestrator/verbs/untrusted/untrusted_parts.h"
#include <organ/inspect.h>
#include "tests/kit/gguf_maker.h"
#include "tests/kit/scratch_model.h"
#include "tests/verbs/untrusted/check_untrusted.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- links and devices ---- */

static void make_link(const char *to, const char *name)
{
    unlink(scratch_path(name));
    ck_assert_int_eq(symlink(to, scratch_path(name)), 0);
}

START_TEST(links_that_leave)
{
    make_link("config.json", "m/within.json");
    expect_clean("m");
    make_link("../secret", "m/out");
    scratch_text("secret", "x");
    expect_finding("m", "link", "out", "", "'../secret' leaves the directory");
    make_link("/etc/passwd", "m/out");
    expect_finding("m", "link", "out", "", "'/etc/passwd' leaves the directory");
    make_link("gone", "m/out");
    expect_finding("m", "link", "out", "", "leads nowhere");
    make_link("..", "m/out");
    expect_finding("m", "link", "out", "", "'..' leaves the directory");
    make_link(".", "m/out");
    expect_clean("m");
    make_link("out", "m/out");
    expect_finding("m", "link", "out", "", "leads nowhere");
}
END_TEST

/* In the cache of Hugging Face, files are links to blobs outside of the snapshots; the blobs are scanned. */
START_TEST(links_into_the_store)
{
    static const char *const folders[] = {"models--o--m", "models--o--m/blobs", "models--o--m/snapshots",
                                          "models--o--m/snapshots/abc"};
    for (size_t k = 0; k < COUNT(folders); k++)
        ck_assert_int_eq(mkdir(scratch_path(folders[k]), 0700), 0);
    scratch_tensors("models--o--m/blobs/0a1b", "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4);
    scratch_text("models--o--m/blobs/2c", "{\"auto_map\":{\"A\":\"b.C\"}}");
    make_link("../../blobs/0a1b", "models--o--m/snapshots/abc/model.safetensors");
    expect_clean("models--o--m/snapshots/abc");
    make_link("../../blobs/2c", "models--o--m/snapshots/abc/config.json");
    expect_finding("models--o--m/snapshots/abc", "remote-code", "config.json", "auto_map", "b.C");
    /* A mirror's blobs may be named by ETags that are no digests, and the cache may have been copied to another
     * name. */
    scratch_text("models--o--m/blobs/0f-12", "{}");
    make_link("../../blobs/0f-12", "models--o--m/snapshots/abc/config.json");
    expect_clean("models--o--m/snapshots/abc");
    ck_assert_int_eq(rename(scratch_path("models--o--m"), scratch_path("copy")), 0);
    expect_clean("copy/snapshots/abc");
    expect_clean("copy");
    expect_clean(".");
    make_link("../../blobs/2c", "copy/snapshots/abc/config.json");
    expect_finding("copy/snapshots/abc", "remote-code", "config.json", "auto_map", "b.C");
    expect_finding("copy", "remote-code", "snapshots/abc/config.json", "auto_map", "b.C");
}
END_TEST

/* Changed caches: `link` in the snapshot points to `to`; NULL for `what`: no finding. */
static const struct broken_cache {
    const char *link, *to, *what;
} broken_caches[] = {
    {"config.json", "../../blobs/json", NULL},
    {"config.json", "../../blobs/chain", NULL},           /* a link to a link */
    {"config.json", "../def/config.json", NULL},          /* into another revision of the same entry */
    {"deep/config.json", "../../../blobs/json", NULL},    /* from a folder in the snapshot */
    {"config.json", "../../blobs/gone", "leads nowhere"}, /* broken */
    {"config.json", "config.json", "leads nowhere"},      /* loops */
    {"config.json", "../../blobs/loop", "leads nowhere"},
    {"config.json", "../../blobs/json/x", "leads nowhere"},              /* through a file */
    {"config.json", "../../../secret", "leaves the entry of the cache"}, /* out of the entry, into the same cache */
    {"config.json", "/etc/passwd", "leaves the entry of the cache"},
    {"config.json", "../../../models--o--n/blobs/json", "leaves the entry of the cache"},
    {"config.json", "../../../models--o--m/blobs/json", "leaves the entry of the cache"}, /* out and back */
    {"config.json", "../../blobs/out", "leaves the entry of the cache"},   /* a chain that ends outside */
    {"config.json", "../../blobs/round", "leaves the entry of the cache"}, /* a chain that passes through the outside */
    {"config.json", "../../blobs/folder/secret", "leaves the entry of the cache"}, /* through a linked folder */
    {"config.json", "../../blobs", "leads to a directory that was not examined"},
    {"config.json", "../def", "leads to a directory that was not examined"},
    {"config.json", "../..", "leads to a directory that was not examined"},
    {"again", ".", NULL}, /* a directory that is scanned anyway */
};

static void make_cache(void)
{
    static const char *const folders[] = {"models--o--n",
                                          "models--o--n/blobs",
                                          "models--o--m",
                                          "models--o--m/blobs",
                                          "models--o--m/snapshots",
                                          "models--o--m/snapshots/abc",
                                          "models--o--m/snapshots/abc/deep",
                                          "models--o--m/snapshots/def"};
    for (size_t k = 0; k < COUNT(folders); k++)
        ck_assert_int_eq(mkdir(scratch_path(folders[k]), 0700), 0);
    scratch_tensors("models--o--m/blobs/weights", "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4);
    scratch_text("models--o--m/blobs/json", "{}");
    scratch_text("models--o--n/blobs/json", "{}");
    scratch_text("secret", "{}");
    make_link("../../blobs/weights", "models--o--m/snapshots/abc/model.safetensors");
    make_link("../../blobs/json", "models--o--m/snapshots/def/config.json");
    make_link("json", "models--o--m/blobs/chain");
    make_link("loop", "models--o--m/blobs/loop");
    make_link("../../secret", "models--o--m/blobs/out");
    make_link("../../back", "models--o--m/blobs/round");
    make_link("models--o--m/blobs/json", "back");
    make_link("../..", "models--o--m/blobs/folder");
}

START_TEST(caches_that_are_broken)
{
    static const char snapshot[] = "models--o--m/snapshots/abc";
    make_cache();
    for (size_t k = 0; k < COUNT(broken_caches); k++) {
        const struct broken_cache *const row = &broken_caches[k];
        char place[200];
        snprintf(place, sizeof place, "%s/%s", snapshot, row->link);
        make_link(row->to, place);
        if (row->what)
            expect_finding(snapshot, "link", row->link, "", row->what);
        else
            expect_clean(snapshot);
        unlink(scratch_path(place));
    }
}
END_TEST

/* A directory whose folders have these names by chance: no link points to its other files. */
START_TEST(no_entry_of_the_cache)
{
    make_cache();
    ck_assert_int_eq(rename(scratch_path("models--o--m"), scratch_path("home")), 0);
    scratch_text("home/key", "x");
    make_link("../../blobs/json", "home/snapshots/abc/config.json");
    expect_clean("home/snapshots/abc");
    make_link("../../key", "home/snapshots/abc/config.json");
    expect_finding("home/snapshots/abc", "link", "config.json", "", "leaves the entry of the cache");
}
END_TEST

START_TEST(pipes_are_not_opened)
{
    ck_assert_int_eq(mkfifo(scratch_path("m/model-2.safetensors"), 0600), 0);
    expect_finding("m", "device", "model-2.safetensors", "", "a pipe");
}
END_TEST

START_TEST(what_cannot_be_looked_at)
{
    char path[400] = "m";
    organ_error error = {0};
    json_t *report = NULL;
    for (size_t k = 0; k < 40; k++) {
        strcat(path, "/d");
        ck_assert_int_eq(mkdir(scratch_path(path), 0700), 0);
    }
    expect_finding("m", "unread", "d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d", "",
                   "deeper than 32");
    ck_assert_int_eq(mkdir(scratch_path("empty"), 0700), 0);
    expect_finding("empty", "no-weights", ".", "", "no file of weights");
    ck_assert_int_eq(organ_untrusted(&(organ_untrusted_options){.model = scratch_path("gone")}, &report, &error),
                     ORGAN_IO);
    ck_assert_ptr_null(report);
    error = (organ_error){0};
    ck_assert_int_eq(organ_untrusted(&(organ_untrusted_options){.model = "http://127.0.0.1/m"}, &report, &error),
                     ORGAN_USAGE);
    error = (organ_error){0};
    ck_assert_int_eq(organ_untrusted(&(organ_untrusted_options){.model = "/dev/null"}, &report, &error),
                     ORGAN_BAD_INPUT);
    ck_assert_ptr_null(report);
}
END_TEST

/* ---- single files ---- */

START_TEST(single_files)
{
    expect_clean("m/model.safetensors");
    scratch_text("m/x.py", "import os");
    expect_finding("m/x.py", "program", "x.py", "", "Python source");
    expect_clean("m/model.safetensors");
    scratch_text("cut.safetensors", "\377\377\377\377\377\377\377\377{}");
    expect_finding("cut.safetensors", "header", "cut.safetensors", "", "exceeds the limit");
    scratch_text("web.gguf", "<!DOCTYPE html>");
    expect_finding("web.gguf", "header", "web.gguf", "", "it is a web page");
}
END_TEST

/* ---- GGUF ---- */

#define I8(name, elements, offset) "s:" name " 4:1 8:" #elements " 4:24 8:" #offset " "

START_TEST(headers_of_gguf)
{
    gguf_file("m/a.gguf", HEAD(5, 1) "s:tokenizer.chat_template 4:8 s:{{x.__base__}} "
                                     "s:neg 4:1 8:-1 4:24 8:0 "
                                     "s:odd 4:1 8:4 4:77 8:0 " I8("far", 4000, 0) I8("past", 9, 4032) "s:long 4:7 ");
    expect_finding("m", "tensor", "a.gguf", "", "tensor 'neg': dimension 0 is -1");
    expect_finding("m", "tensor", "a.gguf", "", "tensor 'odd': type 77 is unknown");
    expect_finding("m", "header", "a.gguf", "", "tensor 'long': n_dims is 7");
    expect_finding("m", "template", "a.gguf", "tokenizer.chat_template", "'__base__'");
    expect_finding("m", "tensor", "a.gguf", "", "tensor 'past': offset 4032 leaves a hole");
    ck_assert_uint_eq(findings_in("m"), 5);
    gguf_file("m/a.gguf", HEAD(3, 0) I8("a", 64, 0) I8("over", 4, 32) I8("end", 4, 64) "p:32 z:65");
    expect_finding("m", "tensor", "a.gguf", "", "tensor 'over': offset 32 overlaps tensor 'a', which ends at 64");
    expect_finding("m", "tensor", "a.gguf", "", "tensor 'end': its 4 bytes at byte");
    ck_assert_uint_eq(findings_in("m"), 2);
    gguf_file("m/a.gguf",
              HEAD(1, 2) "s:general.alignment 4:4 4:13 s:general.alignment 4:4 4:32 " I8("a", 4, 0) "p:32 z:4");
    expect_finding("m", "tensor", "a.gguf", "", "duplicate key: number 1 and number 2");
    expect_finding("m", "tensor", "a.gguf", "", "13 is neither a power of two nor a multiple of 8");
    gguf_file("m/a.gguf", HEAD(0, 0) "p:32");
    expect_clean("m");
}
END_TEST

START_TEST(tokenizers_of_gguf)
{
#define TOKENS(count, list)  "s:tokenizer.ggml.tokens 4:9 4:8 8:" #count " " list " "
#define TYPES(count, values) "s:tokenizer.ggml.token_type 4:9 4:5 8:" #count " " values " "
    static const struct {
        const char *words, *where, *what;
    } rows[] = {
        {HEAD(0, 2) TOKENS(2, "s:a s:<0x-1>") TYPES(2, "4:1 4:6"), "tokenizer.ggml.tokens",
         "token 1 '<0x-1>' names no byte"},
        {HEAD(0, 1) TOKENS(1, "s:<0xZZ>"), "tokenizer.ggml.tokens", "'<0xZZ>' names no byte"},
        {HEAD(0, 2) TOKENS(2, "s:a s:b") TYPES(2, "4:1 4:6"), "tokenizer.ggml.tokens", "token 1 'b' names no byte"},
        {HEAD(0, 2) TOKENS(2, "s:a s:b") TYPES(1, "4:1"), "tokenizer.ggml.token_type", "1 elements for 2 tokens"},
        {HEAD(0, 2) TOKENS(2, "s:a s:b") "s:tokenizer.ggml.scores 4:9 4:0 8:2 1:0 1:0", "tokenizer.ggml.scores",
         "are u8, not f32"},
        {HEAD(0, 1) "s:tokenizer.ggml.tokens 4:4 4:1", "tokenizer.ggml.tokens", "not a list of strings"},
        {HEAD(0, 1) "s:tokenizer.ggml.tokens 4:9 4:8 8:1 8:65537 c:65537", "tokenizer.ggml.tokens",
         "token 0 has 65537 bytes"},
    };
    for (size_t k = 0; k < COUNT(rows); k++) {
        gguf_file("m/a.gguf", rows[k].words);
        expect_finding("m", "tokenizer", "a.gguf", rows[k].where, rows[k].what);
    }
    gguf_file("m/a.gguf", HEAD(0, 2) TOKENS(2, "s:a s:<0x0A>") TYPES(2, "4:1 4:6"));
    expect_clean("m");
}
END_TEST

/* ---- tokenizer.json ---- */

static void expect_growth(const char *name, const char *text, const char *where, const char *what)
{
    char path[200];
    snprintf(path, sizeof path, "m/%s", name);
    scratch_text(path, text);
    expect_finding("m", "tokenizer", name, where, what);
    unlink(scratch_path(path));
}

/* Returns `one` repeated `count` times, in brackets. */
static char *repeated(const char *before, const char *one, size_t count, const char *after)
{
    organ_error error = {0};
    organ_text text;
    char *made;
    ck_assert_int_eq(organ_text_open(&text, &error), ORGAN_OK);
    fputs(before, text.out);
    for (size_t k = 0; k < count; k++)
        fprintf(text.out, "%s%s", k ? "," : "", one);
    fputs(after, text.out);
    ck_assert_int_eq(organ_text_finish(&text, &made, &error), ORGAN_OK);
    return made;
}

START_TEST(tokenizers_that_grow)
{
#define SPLIT(regex)                                                                                                   \
    "{\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" regex \
    "\"}}]}}"
#define REPLACE(from, to) "{\"type\":\"Replace\",\"pattern\":{\"String\":\"" from "\"},\"content\":\"" to "\"}"
    expect_growth("tokenizer.json", SPLIT("(a+)+b"), "pre_tokenizer", "'(a+)+b' repeats an unlimited repetition");
    expect_growth("tokenizer.json", SPLIT("a{100000}"), "pre_tokenizer", "counts to a thousand");
    expect_growth("tokenizer.json",
                  "{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[" REPLACE("a", "aaaaaaaaaa") "," REPLACE(
                      "a", "aaaaaaaaaa") "]}}",
                  "normalizer", "100 times as long");
    expect_growth("tokenizer.json", "{\"model\":{\"vocab\":{\"a\":0,\"b\":4000000000}}}", "model.vocab",
                  "the id 4000000000, but 2 words");
    expect_growth("tokenizer.json",
                  "{\"model\":{\"vocab\":{\"a\":0}},\"added_tokens\":[{\"id\":16777215,\"content\":\"x\"}]}",
                  "added_tokens", "the id 16777215");
    expect_growth("tokenizer.json",
                  "{\"model\":{\"vocab\":{\"a\":-1}},\"added_tokens\":[{\"id\":-1,\"content\":\"x\"}]}", "added_tokens",
                  "the id -1");
    expect_growth("tokenizer.json", "{\"model\":", "", "the text ends here");
    expect_growth("added_tokens.json", "{\"a\":99999999999}", "", "the id 99999999999");
    char *made = repeated("{\"added_tokens\":[", "{\"id\":1,\"content\":\"x\"}", 65537, "]}");
    expect_growth("tokenizer.json", made, "added_tokens", "65537 added tokens, more than 65536");
    free(made);
    made = repeated("{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[", "{\"type\":\"NFC\"}", 300, "]}}");
    expect_growth("tokenizer.json", made, "normalizer", "301 steps, more than 256");
    free(made);
    made = repeated("{\"model\":{\"vocab\":[", "[\"\",0]", (1 << 21) + 1, "]}}");
    expect_growth("tokenizer.json", made, "model.vocab", "2097153 words, more than 2097152");
    free(made);
    expect_clean("m");
}
END_TEST

#define GPT4_PATTERN                                                                                                   \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "                                         \
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

START_TEST(patterns_that_never_end)
{
    static const char *const risky[] = {"(a+)+",       "(a*)*b",     "(?:a|b+)*", "((a+)b)+", "(a+){2,}",
                                        "(a{2,}){50}", "([a-z]+)*$", "(x+x+)+y",  "a{5000}"};
    static const char *const sound[] = {GPT4_PATTERN,
                                        "(?:\\d{3})+(?!\\d)",
                                        "(a+)?",
                                        "\\(a+\\)+",
                                        "[(a+)]+",
                                        "(a+)++",
                                        " ?[^(\\s|[.,!?])]+",
                                        "(a)+",
                                        "",
                                        ")",
                                        "(",
                                        "a{",
                                        "[",
                                        "\\"};
    for (size_t k = 0; k < COUNT(risky); k++)
        ck_assert_msg(organ_pattern_risk(risky[k], strlen(risky[k])) != NULL, "%s", risky[k]);
    for (size_t k = 0; k < COUNT(sound); k++)
        ck_assert_msg(organ_pattern_risk(sound[k], strlen(sound[k])) == NULL, "%s", sound[k]);
}
END_TEST

/* Nested values: each is read alone, but at most a thousand of them. */
START_TEST(configurations_that_take_long)
{
    enum { DEPTH = 3000 };
    static const char key[] = "{\"auto_map\":";
    char *const text = malloc(DEPTH * (sizeof key - 1) + 1);
    for (size_t k = 0; k < DEPTH; k++)
        memcpy(text + k * (sizeof key - 1), key, sizeof key);
    scratch_text("m/config_deep.json", text);
    expect_finding("m", "unread", "config_deep.json", "",
                   "3000 keys that loaders act on; the first 1000 were examined");
    expect_finding("m", "config", "config_deep.json", "auto_map", "it cannot be read");
    free(text);
}
END_TEST

/* ---- incomplete models of several files ---- */

START_TEST(models_that_are_not_whole)
{
    scratch_text("m/model.safetensors.index.json", "{\"metadata\":{\"total_size\":9},\"weight_map\":{\"a\":\"model."
                                                   "safetensors\",\"b\":\"b.safetensors\",\"c\":\"c.safetensors\"}}");
    expect_finding("m", "model", "model.safetensors.index.json", "", "names 'b.safetensors', which does not exist");
    expect_finding("m", "model", "model.safetensors.index.json", "", "names 'c.safetensors', which does not exist");
    ck_assert_uint_eq(findings_in("m"), 2);
    scratch_text("m/model.safetensors.index.json",
                 "{\"metadata\":{\"total_size\":9},\"weight_map\":{\"a\":\"model.safetensors\"}}");
    expect_finding("m", "model", "model.safetensors.index.json", "", "total_size is 9, but the tensors have 4 bytes");
    scratch_text("m/model.safetensors.index.json", "{\"weight_map\":{\"a\":\"../model.safetensors\"}}");
    expect_finding("m", "model", "model.safetensors.index.json", "", "../model.safetensors");
}
END_TEST

Suite *untrusted_places_suite(void (*before)(void))
{
    const suite_case cases[] = {
        {"links",
         {links_that_leave, links_into_the_store, caches_that_are_broken, no_entry_of_the_cache, pipes_are_not_opened,
          what_cannot_be_looked_at, single_files}},
        {"GGUF", {headers_of_gguf, tokenizers_of_gguf}},
        {"growth", {tokenizers_that_grow, patterns_that_never_end, configurations_that_take_long}},
        {"models", {models_that_are_not_whole}},
    };
    return suite_of("untrusted places", cases, COUNT(cases), before, scratch_end);
}
