/* SPDX-License-Identifier: MIT
 * Published defects of other programs, one test each, with their CVE numbers where they have one. Each test makes
 * the input and gives it to the readers and verbs concerned. They must reject it with a message that names the fault,
 * or use it without harm, in little memory and time. */
#include <organ/models.h>
#include <organ/tokenizer.h>
#include <organ/kernels.h>
#include "orchestrator/cli/cli_parts.h"
#include <organ/report.h>
#include "orchestrator/serve/jobs/jobs_parts.h"
#include <organ/stream.h>
#include <organ/inspect.h>
#include <organ/quantize.h>
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

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* ---- limits ---- */

/* No file here has more than 1 MiB, so no run may need more than this memory and processor time. */
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

/* ---- expected findings ---- */

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

/* Checks that inspect --untrusted reports it. */
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

/* Checks that inspect rejects it with ORGAN_BAD_INPUT and a message with `what`, and that inspect --untrusted has the
 * same sentence as a finding. */
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

/* Opens the tokenizer of a model; with ORGAN_BAD_INPUT the message must contain `what`, and the result is NULL. */
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
#define KINDS(count, values)       "s:tokenizer.ggml.token_type 4:9 4:5 8:" #count " " values " "
#define WORDS_MODEL                TEXT_KEY("general.architecture", "llama") TEXT_KEY("tokenizer.ggml.model", "llama")

/* ---- llama.cpp: vocabularies ---- */

/* llama.cpp truncated the length of a token from size_t to int32_t, so a length of 2 GiB or more passed the check
 * against the buffer. organ rejects a length beyond the file and a token that is too long; the longest token has its
 * own length to the last byte. */
START_TEST(cve_2025_49847_token_longer_than_int32)
{
    gguf_file("claimed.gguf", HEAD(0, 3) WORDS_MODEL TOKENS(1, "8:0x80000010 c:100"));
    expect_malformed("claimed.gguf", "header", "a string of 2147483664 bytes");
    gguf_file("long.gguf", HEAD(0, 5) WORDS_MODEL TOKENS(1, "8:65536 c:65536") SCORES(1) "4:0 " KINDS(1, "4:2"));
    ck_assert_ptr_null(open_tokenizer("long.gguf", ORGAN_BAD_INPUT, "string 0 has 65536 bytes; the limit is 65535"));
    expect_told("long.gguf", "tokenizer", "token 0 has 65536 bytes");
    gguf_file("fits.gguf", HEAD(0, 5) WORDS_MODEL TOKENS(1, "8:65535 c:65535") SCORES(1) "4:0 " KINDS(1, "4:2"));
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

/* llama.cpp compared the number of tokens as an int with the size of the caller's buffer, so a result beyond 2^31 was
 * written past it. organ allocates the buffer for the result and counts in size_t. A text of 2^31 tokens is too large
 * for a test, so this tests the largest number of tokens for a text, each of one byte. */
START_TEST(cve_2025_52566_count_of_tokens_is_no_int)
{
    enum { LETTERS = 1 << 20 };
    gguf_file("m.gguf", HEAD(0, 5) WORDS_MODEL TOKENS(2, "s:<unk> s:n") SCORES(2) "4:0 4:0 " KINDS(2, "4:2 4:1"));
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
    ck_assert_uint_le(count, LETTERS + 3); /* the blank added before a text has three bytes */
    free(ids);
    free(text);
    organ_tokenizer_close(tokenizer);
}
END_TEST

/* llama.cpp parsed the two characters after "<0x" with a function that accepts a sign, and used the number as an index:
 * "<0x-1>" wrote before the table of bytes, and "<0xZZ>" ended the program. */
START_TEST(byte_token_below_zero)
{
    static const char *const odd[] = {"<0x-1>", "<0x-f>", "<0xZZ>", "<0x+1>"};
    char words[600];
    for (size_t k = 0; k < LENGTH(odd); k++) {
        snprintf(words, sizeof words,
                 HEAD(0, 5) WORDS_MODEL TOKENS(3, "s:<unk> s:<0x41> s:%s")
                     SCORES(3) "4:0 4:0 4:0 " KINDS(3, "4:2 4:6 4:6"),
                 odd[k]);
        gguf_file("m.gguf", words);
        expect_told("m.gguf", "tokenizer", "names no byte");
        organ_tokenizer *const tokenizer = open_tokenizer("m.gguf", ORGAN_OK, "");
        size_t bytes;
        ck_assert_str_eq(organ_tokenizer_piece(tokenizer, 1, &bytes), "A");
        ck_assert_str_eq(organ_tokenizer_piece(tokenizer, 2, &bytes), odd[k]);
        organ_tokenizer_close(tokenizer);
    }
}
END_TEST

/* ---- ggml: sizes that overflow ---- */

/* The sum of the sizes of all tensors was not checked: it overflowed, and the buffer was too small. */
START_TEST(cve_2025_53630_sum_of_tensors_wraps)
{
    gguf_file("m.gguf", HEAD(3, 0) I8("a", 0x7FFFFFFFFFFFFFC0, 0) I8("b", 0x7FFFFFFFFFFFFFC0, 0x7FFFFFFFFFFFFFC0)
                            I8("c", 0x100, 0xFFFFFFFFFFFFFF80) "p:32 z:64");
    expect_malformed("m.gguf", "tensor",
                     "tensor 'c': offset 18446744073709551488 and 256 bytes, padded, exceed 64 bits");
}
END_TEST

/* The same with the memory for the tensor infos, added to a sum just below the overflow. */
START_TEST(cve_2026_27940_sum_and_overhead_wrap)
{
    gguf_file("m.gguf",
              HEAD(2, 0) I8("a", 0x7FFFFFFFFFFFFFC0, 0) I8("b", 0x7FFFFFFFFFFFFFC0, 0x7FFFFFFFFFFFFFC0) "p:32 z:64");
    expect_malformed("m.gguf", "header", "data of 18446744073709551488 bytes exceeds the largest size of a file");
}
END_TEST

/* 2^20 x (2^42 + 1) numbers of 4 bytes are 2^64 + 2^22 bytes, which overflowed to 4 MiB. */
START_TEST(cve_2026_33298_bytes_of_a_tensor_wrap)
{
    gguf_file("m.gguf", HEAD(1, 0) "s:a 4:2 8:0x100000 8:0x40000000001 4:0 8:0 p:32 z:4194304");
    expect_malformed("m.gguf", "tensor", "the size of 4611686018428436480 elements of F32 exceeds 64 bits");
}
END_TEST

/* A size just below 2^64 becomes 0 when it is padded, so a later check of the sum finds nothing. */
START_TEST(ggml_pad_wraps_to_zero)
{
    gguf_file("m.gguf", HEAD(2, 0) "s:a 4:1 8:64 4:0 8:0 s:b 4:3 8:4 8:1073741823 8:1073741825 4:0 8:256 p:32 z:256");
    expect_malformed("m.gguf", "tensor",
                     "tensor 'b': offset 256 and 18446744073709551600 bytes, padded, exceed 64 bits");
    gguf_file("m.gguf", HEAD(1, 0) "s:a 4:1 8:0x3FFFFFFFFFFFFFFF 4:0 8:0 p:32 z:32");
    expect_malformed("m.gguf", "tensor", "tensor 'a': offset 0 and 18446744073709551612 bytes, padded, exceed 64 bits");
}
END_TEST

/* An alignment of 2^31 is a power of two; in 32 bits, padded sizes become 0 or negative. */
START_TEST(alignment_of_two_to_the_31)
{
    gguf_file("m.gguf", HEAD(1, 1) "s:general.alignment 4:4 4:0x80000000 " I8("a", 1, 0) "z:64");
    expect_malformed("m.gguf", "header", "the data begins at byte 2147483648, past the end of the file");
    gguf_file("m.gguf", HEAD(2, 1) "s:general.alignment 4:4 4:0x80000000 " I8("a", 1, 0) I8("b", 1, 32) "z:64");
    expect_malformed("m.gguf", "tensor", "tensor 'b': offset 32 is not a multiple of the alignment 2147483648");
    /* Without tensors the alignment is valid. */
    gguf_file("m.gguf", HEAD(0, 1) "s:general.alignment 4:4 4:0x80000000 ");
    expect_told("m.gguf", "header", "2147483648: readers that pad sizes to multiples of it overflow");
}
END_TEST

/* ---- gguf-py, ggml: files that take time or memory ---- */

/* A list of 2^63 elements was read one by one. The reported file has 43 bytes; the shortest of version 3 with such a
 * list has 49. This tries every prefix of it, and one of version 2. */
START_TEST(forty_three_bytes_that_hang)
{
    static const char *const files[] = {HEAD(0, 1) "s:a 4:9 4:4 8:0x8000000000000000",
                                        "'GGUF' 4:2 8:0 8:1 s:a 4:9 4:8 8:0x8000000000000000",
                                        HEAD(0, 1) "s:a 4:9 4:9 8:0x4000000000000000",
                                        HEAD(0, 0x8000000000000000) "z:19", HEAD(0x8000000000000000, 0) "z:19"};
    for (size_t k = 0; k < LENGTH(files); k++) {
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

/* A text of 1 GiB, a list of 2^30 numbers, an alignment of 2^30: memory was allocated for each before the size of the
 * file was checked. */
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

/* A tensor declared larger than the file: memory after the buffer was quantised into an output that a client could
 * fetch. organ compares the header with the file before it reads data, and writes nothing. */
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
    ck_assert_int_eq(organ_quantize(&options, engine, NULL, &report, &error), ORGAN_BAD_INPUT);
    ck_assert_msg(strstr(error.message, "past the end of the file"), "%s", error.message);
    ck_assert_ptr_null(report);
    ck_assert_int_ne(access(scratch_path("out.gguf"), F_OK), 0);
    organ_engine_destroy(engine);
}
END_TEST

/* ---- chat templates ---- */

/* llama-cpp-python and SGLang rendered the template of a GGUF file by Jinja without a sandbox. organ renders none
 * and reports what the template uses. */
static void expect_template(const char *text, const char *what)
{
    char words[2000];
    organ_error error = {0};
    json_t *report = NULL;
    snprintf(words, sizeof words,
             HEAD(0, 6) WORDS_MODEL TOKENS(2, "s:<unk> s:n") SCORES(2) "4:0 4:0 " KINDS(2, "4:2 4:1")
                 TEXT_KEY("tokenizer.chat_template", "%s"),
             text);
    gguf_file("m.gguf", words);
    expect_told("m.gguf", "template", what);
    ck_assert_msg(organ_inspect(&(organ_inspect_options){.model = scratch_path("m.gguf")}, &report, &error) == ORGAN_OK,
                  "%s", error.message);
    json_decref(report);
    organ_tokenizer_close(open_tokenizer("m.gguf", ORGAN_OK, ""));
}

START_TEST(cve_2024_34359_template_of_llama_cpp_python)
{
    expect_template("{%for\nc\nin\n[].__class__.__base__.__subclasses__()%}{%if\n'warning'\nin\nc.__name__%}"
                    "{{c()._module.__builtins__['__import__']('os').popen('id').read()}}{%endif%}{%endfor%}",
                    "it uses '__class__'");
}
END_TEST

START_TEST(cve_2026_5760_template_of_sglang)
{
    expect_template("<|im_start|>system\nJudge\nwhether\nthe\nDocument\nmeets\nthe\nrequirements.\n"
                    "{{self.__init__.__globals__.__builtins__.open('x','w').write('x')}}<|im_end|>",
                    "it uses '__init__'");
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

/* The server used "n_discard" of a request unchecked, and a negative number moved a write out of its buffer. This tries
 * every numeric argument of every verb with a number below its range. */
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
        (Suite *const[]){suite_of("known defects", cases, LENGTH(cases), scratch_begin, scratch_end), NULL});
}
