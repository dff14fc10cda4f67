/* SPDX-License-Identifier: MIT
 * Defects that were published of other programs, one test each, named as they are: the input is made anew here, goes
 * through the readers and verbs that it concerns, and must be refused, or do no harm, with a message that names the
 * fault, in little memory and time. */
#include "formats/model/model.h"
#include "formats/tokenizer/tokenizer.h"
#include "kernels/kernels.h"
#include "orchestrator/cli/verb_table.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/serve/jobs/verb_catalog.h"
#include "orchestrator/serve/jobs/job_arguments.h"
#include "orchestrator/stream/engine.h"
#include "orchestrator/surgery/health/inspect.h"
#include "orchestrator/surgery/precision/quantize.h"
#include "orchestrator/surgery/untrusted/untrusted.h"
#include "tests/kit/gguf_maker.h"
#include "tests/kit/largest_allocation.h"
#include "tests/kit/scratch_model.h"
#include "tests/kit/suite_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- bounds ---- */

/* No file here has more than 1 MiB: nothing needs more than a few of it, nor more than a moment of the processor. */
enum { MAX_BYTES = 8 << 20, MAX_SECONDS = 5 };

typedef struct bounds {
    clock_t begun;
    int files;
} bounds;

static bounds bounds_begin(void)
{
    largest_allocation = 0;
    return (bounds){clock(), open_files()};
}

static void bounds_end(bounds b)
{
    ck_assert_msg(largest_allocation <= MAX_BYTES, "an allocation of %zu bytes", largest_allocation);
    ck_assert_msg((clock() - b.begun) / CLOCKS_PER_SEC <= MAX_SECONDS, "it took too long");
    ck_assert_int_eq(open_files(), b.files);
}

/* ---- what must happen ---- */

static bool has_finding(const json_t *report, const char *kind, const char *what)
{
    size_t k;
    json_t *one;
    json_array_foreach(json_object_get(report, "findings"), k, one)
    {
        if (strcmp(organ_json_text(one, "kind"), kind) == 0 && strstr(organ_json_text(one, "what"), what))
            return true;
    }
    return false;
}

/* inspect --untrusted tells of it. */
static void expect_told(const char *name, const char *kind, const char *what)
{
    organ_error error = {0};
    json_t *report = NULL;
    const bounds b = bounds_begin();
    ck_assert_int_eq(organ_untrusted(&(organ_untrusted_options){.model = scratch_path(name)}, &report, &error),
                     ORGAN_CHECK_FAILED);
    ck_assert_msg(has_finding(report, kind, what), "%s: %s", what, error.message);
    json_decref(report);
    bounds_end(b);
}

/* inspect refuses it with ORGAN_BAD_INPUT and a message with `what`; inspect --untrusted has the same sentence as a
 * finding. */
static void expect_malformed(const char *name, const char *kind, const char *what)
{
    organ_error error = {0};
    json_t *report = NULL;
    const bounds b = bounds_begin();
    ck_assert_int_eq(organ_inspect(&(organ_inspect_options){.model = scratch_path(name)}, &report, &error),
                     ORGAN_BAD_INPUT);
    ck_assert_ptr_null(report);
    ck_assert_msg(strstr(error.message, what), "'%s' is not in '%s'", what, error.message);
    bounds_end(b);
    expect_told(name, kind, what);
}

/* The tokenizer of a model; with ORGAN_BAD_INPUT the message must have `what`, and there is none. */
static organ_tokenizer *open_tokenizer(const char *name, organ_status status, const char *what)
{
    organ_error error = {0};
    organ_model *model;
    organ_tokenizer *tokenizer = NULL;
    ck_assert_msg(organ_model_open(scratch_path(name), &model, &error) == ORGAN_OK, "%s", error.message);
    ck_assert_msg(organ_tokenizer_open(model, &tokenizer, &error) == status, "%d: %s", error.status, error.message);
    ck_assert_msg(status == ORGAN_OK || strstr(error.message, what), "'%s' is not in '%s'", what, error.message);
    organ_model_close(model);
    return tokenizer;
}

#define I8(name, elements, offset) "s:" name " 4:1 8:" #elements " 4:24 8:" #offset " "
#define TEXT_KEY(key, text)        "s:" key " 4:8 s:" text " "
#define TOKENS(count, list)        "s:tokenizer.ggml.tokens 4:9 4:8 8:" #count " " list " "
#define SCORES(count)              "s:tokenizer.ggml.scores 4:9 4:6 8:" #count " "
#define TYPES(count, values)       "s:tokenizer.ggml.token_type 4:9 4:5 8:" #count " " values " "
#define WORDS_MODEL                TEXT_KEY("general.architecture", "llama") TEXT_KEY("tokenizer.ggml.model", "llama")

/* ---- llama.cpp: vocabularies ---- */

/* The length of a token was cut from size_t to int32_t, so one of 2 GiB and more passed the check against the buffer it
 * was copied into. A length that the file does not have is refused; so is a token longer than is read; the longest that
 * is has its own length to the last byte. */
START_TEST(cve_2025_49847_token_longer_than_int32)
{
    gguf_file("claimed.gguf", HEAD(0, 3) WORDS_MODEL TOKENS(1, "8:0x80000010 c:100"));
    expect_malformed("claimed.gguf", "header", "a string of 2147483664 bytes");
    gguf_file("long.gguf", HEAD(0, 5) WORDS_MODEL TOKENS(1, "8:65536 c:65536") SCORES(1) "4:0 " TYPES(1, "4:2"));
    ck_assert_ptr_null(open_tokenizer("long.gguf", ORGAN_BAD_INPUT, "string 0 has 65536 bytes; the limit is 65535"));
    expect_told("long.gguf", "tokenizer", "token 0 has 65536 bytes");
    gguf_file("fits.gguf", HEAD(0, 5) WORDS_MODEL TOKENS(1, "8:65535 c:65535") SCORES(1) "4:0 " TYPES(1, "4:2"));
    organ_tokenizer *const tokenizer = open_tokenizer("fits.gguf", ORGAN_OK, "");
    size_t bytes;
    const char *const piece = organ_tokenizer_piece(tokenizer, 0, &bytes);
    ck_assert_uint_eq(bytes, 65535);
    ck_assert_uint_eq(strspn(piece, "n"), 65535);
    organ_tokenizer_piece(tokenizer, UINT32_MAX, &bytes);
    ck_assert_uint_eq(bytes, 0);
    organ_tokenizer_close(tokenizer);
}
END_TEST

/* The number of tokens was compared as an int with the room that the caller had, so a result beyond 2^31 was written
 * past it. Here the room is made for the result and counts are size_t; a text of 2^31 tokens is beyond a test, so this
 * is the class: as many tokens as a text can make, each of one byte, all there and no more. */
START_TEST(cve_2025_52566_count_of_tokens_is_no_int)
{
    enum { LETTERS = 1 << 20 };
    gguf_file("m.gguf", HEAD(0, 5) WORDS_MODEL TOKENS(2, "s:<unk> s:n") SCORES(2) "4:0 4:0 " TYPES(2, "4:2 4:1"));
    organ_tokenizer *const tokenizer = open_tokenizer("m.gguf", ORGAN_OK, "");
    char *const text = malloc(LETTERS);
    organ_error error = {0};
    uint32_t *ids = NULL;
    size_t count = 0, known = 0;
    memset(text, 'n', LETTERS);
    ck_assert_int_eq(organ_tokenizer_encode(tokenizer, text, LETTERS, true, &ids, &count, &error), ORGAN_OK);
    for (size_t k = 0; k < count; k++)
        known += ids[k] == 1;
    ck_assert_uint_eq(known, LETTERS);
    ck_assert_uint_le(count, LETTERS + 3); /* the blank that is put before a text has three bytes */
    free(ids);
    free(text);
    organ_tokenizer_close(tokenizer);
}
END_TEST

/* The two characters behind "<0x" went through a function that takes a sign, and the number was an index: "<0x-1>"
 * wrote before the table of bytes, and "<0xZZ>" ended the program. */
START_TEST(byte_token_below_zero)
{
    static const char *const odd[] = {"<0x-1>", "<0x-f>", "<0xZZ>", "<0x+1>"};
    char words[600];
    for (size_t k = 0; k < COUNT(odd); k++) {
        snprintf(words, sizeof words,
                 HEAD(0, 5) WORDS_MODEL TOKENS(3, "s:<unk> s:<0x41> s:%s")
                     SCORES(3) "4:0 4:0 4:0 " TYPES(3, "4:2 4:6 4:6"),
                 odd[k]);
        gguf_file("m.gguf", words);
        expect_told("m.gguf", "tokenizer", "means no byte");
        organ_tokenizer *const tokenizer = open_tokenizer("m.gguf", ORGAN_OK, "");
        size_t bytes;
        ck_assert_str_eq(organ_tokenizer_piece(tokenizer, 1, &bytes), "A");
        ck_assert_str_eq(organ_tokenizer_piece(tokenizer, 2, &bytes), odd[k]);
        organ_tokenizer_close(tokenizer);
    }
}
END_TEST

/* ---- ggml: sizes that wrap ---- */

/* The sizes of all tensors were added up without a check: the sum wrapped, and a small buffer was made for them. */
START_TEST(cve_2025_53630_sum_of_tensors_wraps)
{
    gguf_file("m.gguf", HEAD(3, 0) I8("a", 0x7FFFFFFFFFFFFFC0, 0) I8("b", 0x7FFFFFFFFFFFFFC0, 0x7FFFFFFFFFFFFFC0)
                            I8("c", 0x100, 0xFFFFFFFFFFFFFF80) "p:32 z:64");
    expect_malformed("m.gguf", "tensor",
                     "tensor 'c': offset 18446744073709551488 and 256 bytes, padded, exceed 64 bits");
}
END_TEST

/* The same through the memory for the infos, which was added to a sum that only just did not wrap. */
START_TEST(cve_2026_27940_sum_and_overhead_wrap)
{
    gguf_file("m.gguf",
              HEAD(2, 0) I8("a", 0x7FFFFFFFFFFFFFC0, 0) I8("b", 0x7FFFFFFFFFFFFFC0, 0x7FFFFFFFFFFFFFC0) "p:32 z:64");
    expect_malformed("m.gguf", "header", "data of 18446744073709551488 bytes exceeds the largest size of a file");
}
END_TEST

/* 2^20 x (2^42 + 1) numbers of 4 bytes are 2^64 + 2^22 bytes: a tensor of exabytes was taken for one of 4 MiB. */
START_TEST(cve_2026_33298_bytes_of_a_tensor_wrap)
{
    gguf_file("m.gguf", HEAD(1, 0) "s:a 4:2 8:0x100000 8:0x40000000001 4:0 8:0 p:32 z:4194304");
    expect_malformed("m.gguf", "tensor", "the size of 4611686018428436480 elements of F32 exceeds 64 bits");
}
END_TEST

/* A size just below 2^64 becomes 0 when it is padded, so the check of the sum behind that sees nothing. */
START_TEST(ggml_pad_wraps_to_zero)
{
    gguf_file("m.gguf", HEAD(2, 0) "s:a 4:1 8:64 4:0 8:0 s:b 4:3 8:4 8:1073741823 8:1073741825 4:0 8:256 p:32 z:256");
    expect_malformed("m.gguf", "tensor",
                     "tensor 'b': offset 256 and 18446744073709551600 bytes, padded, exceed 64 bits");
    gguf_file("m.gguf", HEAD(1, 0) "s:a 4:1 8:0x3FFFFFFFFFFFFFFF 4:0 8:0 p:32 z:32");
    expect_malformed("m.gguf", "tensor", "tensor 'a': offset 0 and 18446744073709551612 bytes, padded, exceed 64 bits");
}
END_TEST

/* An alignment of 2^31 is a power of two: where 32 bits are taken for it, what is padded becomes 0 or negative. */
START_TEST(alignment_of_two_to_the_31)
{
    gguf_file("m.gguf", HEAD(1, 1) "s:general.alignment 4:4 4:0x80000000 " I8("a", 1, 0) "z:64");
    expect_malformed("m.gguf", "header", "the data begins at byte 2147483648, past the end of the file");
    gguf_file("m.gguf", HEAD(2, 1) "s:general.alignment 4:4 4:0x80000000 " I8("a", 1, 0) I8("b", 1, 32) "z:64");
    expect_malformed("m.gguf", "tensor", "tensor 'b': offset 32 is not a multiple of the alignment 2147483648");
    /* Without tensors it is no fault of the format. */
    gguf_file("m.gguf", HEAD(0, 1) "s:general.alignment 4:4 4:0x80000000 ");
    expect_told("m.gguf", "header", "2147483648: readers that pad sizes to multiples of it overflow");
}
END_TEST

/* ---- gguf-py, ggml: files that take time or memory ---- */

/* A list of 2^63 elements was walked one by one. The file that was reported has 43 bytes; the shortest of version 3
 * that says so has 49, of which every beginning is tried, that of 43 bytes among them; one of version 2 is the same. */
START_TEST(forty_three_bytes_that_hang)
{
    static const char *const files[] = {HEAD(0, 1) "s:a 4:9 4:4 8:0x8000000000000000",
                                        "'GGUF' 4:2 8:0 8:1 s:a 4:9 4:8 8:0x8000000000000000",
                                        HEAD(0, 1) "s:a 4:9 4:9 8:0x4000000000000000",
                                        HEAD(0, 0x8000000000000000) "z:19", HEAD(0x8000000000000000, 0) "z:19"};
    for (size_t k = 0; k < COUNT(files); k++) {
        size_t size;
        unsigned char *const bytes = gguf_bytes(files[k], &size);
        for (size_t length = 24; length <= size; length++) {
            scratch_file("m.gguf", bytes, length);
            expect_malformed("m.gguf", "header", "");
        }
        free(bytes);
    }
}
END_TEST

/* A text of 1 GiB, a list of 2^30 numbers, an alignment of 2^30: each was given memory before the file was asked
 * whether it has them. */
START_TEST(hundred_and_sixty_bytes_that_take_a_gib)
{
    gguf_file("m.gguf", HEAD(0, 1) "s:general.name 4:8 8:0x40000000 z:102");
    expect_malformed("m.gguf", "header", "a string of 1073741824 bytes");
    gguf_file("m.gguf", HEAD(0, 1) "s:general.name 4:9 4:0 8:0x40000000 z:98");
    expect_malformed("m.gguf", "header",
                     "array of 1073741824 u8 needs at least 1073741824 bytes, past the end of the file");
    gguf_file("m.gguf", HEAD(2, 1) "s:general.alignment 4:4 4:0x40000000 " I8("a", 1, 0) I8("b", 1, 0x40000000) "z:23");
    expect_malformed("m.gguf", "header", "the data begins at byte 1073741824, past the end of the file");
    gguf_file("m.gguf", HEAD(0x20000000, 0) "z:136");
    expect_malformed("m.gguf", "header", "n_tensors is 536870912");
}
END_TEST

/* ---- Ollama ---- */

/* A tensor said to be larger than the file: what lay behind the buffer was quantised into the output, which could be
 * fetched. Here the header is held against the file before a byte is read, and nothing is written. */
START_TEST(cve_2026_7482_tensor_larger_than_the_file)
{
    organ_error error = {0};
    json_t *report = NULL;
    const char *why;
    organ_engine *engine;
    gguf_file("m.gguf", HEAD(1, 1) TEXT_KEY("general.architecture",
                                            "llama") "s:blk.0.ffn_up.weight 4:2 8:1024 8:1024 4:1 8:0 p:32 z:64");
    expect_malformed("m.gguf", "tensor", "tensor 'blk.0.ffn_up.weight': its 2097152 bytes at byte");
    ck_assert_int_eq(
        organ_engine_create(organ_kernels_choose(organ_cpu_detect(), NULL, &why), 2, 64 << 20, &engine, &error),
        ORGAN_OK);
    const organ_quantize_options options = {
        .model = scratch_path("m.gguf"), .write.output = scratch_path("out.gguf"), .scheme = "q8_0"};
    ck_assert_int_eq(organ_quantize_model(&options, engine, NULL, &report, &error), ORGAN_BAD_INPUT);
    ck_assert_msg(strstr(error.message, "past the end of the file"), "%s", error.message);
    ck_assert_ptr_null(report);
    ck_assert_int_ne(access(scratch_path("out.gguf"), F_OK), 0);
    organ_engine_destroy(engine);
}
END_TEST

/* ---- chat templates ---- */

/* Of llama-cpp-python and SGLang: the template of a GGUF file was rendered by Jinja without a sandbox. It is told of,
 * and no reader of this program renders it: the file that it would write is not there afterwards. */
static void expect_template(const char *text, const char *what)
{
    char words[2000];
    organ_error error = {0};
    json_t *report = NULL;
    unlink(scratch_path("written"));
    snprintf(words, sizeof words,
             HEAD(0, 6) WORDS_MODEL TOKENS(2, "s:<unk> s:n") SCORES(2) "4:0 4:0 " TYPES(2, "4:2 4:1")
                 TEXT_KEY("tokenizer.chat_template", "%s"),
             text);
    gguf_file("m.gguf", words);
    expect_told("m.gguf", "template", what);
    ck_assert_msg(organ_inspect(&(organ_inspect_options){.model = scratch_path("m.gguf")}, &report, &error) == ORGAN_OK,
                  "%s", error.message);
    json_decref(report);
    organ_tokenizer_close(open_tokenizer("m.gguf", ORGAN_OK, ""));
    ck_assert_int_ne(access(scratch_path("written"), F_OK), 0);
}

START_TEST(cve_2024_34359_template_of_llama_cpp_python)
{
    char text[1000];
    snprintf(text, sizeof text,
             "{%%for\nc\nin\n[].__class__.__base__.__subclasses__()%%}{%%if\n'warning'\nin\nc.__name__%%}"
             "{{c()._module.__builtins__['__import__']('os').popen('touch\n%s').read()}}{%%endif%%}{%%endfor%%}",
             scratch_path("written"));
    expect_template(text, "it uses '__class__'");
}
END_TEST

START_TEST(cve_2026_5760_template_of_sglang)
{
    char text[1000];
    snprintf(text, sizeof text,
             "<|im_start|>system\nJudge\nwhether\nthe\nDocument\nmeets\nthe\nrequirements.\n"
             "{{self.__init__.__globals__.__builtins__.open('%s','w').write('x')}}<|im_end|>",
             scratch_path("written"));
    expect_template(text, "it uses '__init__'");
}
END_TEST

/* ---- llama.cpp: the server ---- */

static bool takes_number(const organ_option *option)
{
    return option->value == ORGAN_VALUE_COUNT || option->value == ORGAN_VALUE_REAL ||
           option->value == ORGAN_VALUE_BYTES;
}

static void expect_refused_below_zero(const organ_jail *jail, const organ_verb *verb, const organ_option *option)
{
    json_t *faults = NULL,
           *const request = json_pack("{s:s, s:{s:i}}", "verb", verb->name, "arguments", option->name, -1), *fault;
    organ_job_words words;
    char field[100];
    bool named = false;
    size_t k;
    ck_assert_uint_eq(
        organ_job_words_read(organ_all_verbs.verbs, organ_all_verbs.count, jail, request, &words, &faults), 422);
    snprintf(field, sizeof field, "/arguments/%s", option->name);
    json_array_foreach(faults, k, fault)
    {
        named |= strcmp(organ_json_text(fault, "field"), field) == 0 &&
                 strstr(organ_json_text(fault, "detail"), "is -1, but must be");
    }
    ck_assert_msg(named, "%s --%s", verb->name, option->name);
    json_decref(faults);
    json_decref(request);
}

/* "n_discard" of a request was taken as it was, and a number below 0 moved what is written out of its buffer. No number
 * of a job may be below its range: every numeric argument of every verb is tried. */
START_TEST(cve_2026_21869_number_below_zero_in_a_request)
{
    organ_error error = {0};
    organ_jail *jail = NULL;
    size_t tried = 0;
    const organ_option *option;
    ck_assert_int_eq(mkdir(scratch_path("root"), 0755), 0);
    ck_assert_int_eq(organ_jail_open(scratch_path("root"), &jail, &error), ORGAN_OK);
    for (size_t v = 0; v < organ_all_verbs.count; v++)
        for (size_t k = 0;
             organ_verb_is_job(organ_all_verbs.verbs[v]) && (option = organ_job_option(organ_all_verbs.verbs[v], k));
             k++)
            if (takes_number(option) && option->range.from >= 0) {
                expect_refused_below_zero(jail, organ_all_verbs.verbs[v], option);
                tried++;
            }
    ck_assert_uint_ge(tried, 50);
    organ_jail_close(jail);
}
END_TEST

int main(void)
{
    const suite_case cases[] = {
        {"vocabularies",
         {cve_2025_49847_token_longer_than_int32, cve_2025_52566_count_of_tokens_is_no_int, byte_token_below_zero}},
        {"sizes",
         {cve_2025_53630_sum_of_tensors_wraps, cve_2026_27940_sum_and_overhead_wrap,
          cve_2026_33298_bytes_of_a_tensor_wrap, ggml_pad_wraps_to_zero, alignment_of_two_to_the_31}},
        {"time and memory", {forty_three_bytes_that_hang, hundred_and_sixty_bytes_that_take_a_gib}},
        {"quantising", {cve_2026_7482_tensor_larger_than_the_file}},
        {"templates", {cve_2024_34359_template_of_llama_cpp_python, cve_2026_5760_template_of_sglang}},
        {"requests", {cve_2026_21869_number_below_zero_in_a_request}},
    };
    return run_suites(
        (Suite *const[]){suite_of("known defects", cases, COUNT(cases), scratch_begin, scratch_end), NULL});
}
