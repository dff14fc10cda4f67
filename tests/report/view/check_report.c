/* SPDX-License-Identifier: MIT
 * Tests of orchestrator/report: documents and their reports. */
#include "formats/model/recognise.h"
#include <organ/report.h>
#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/view/view_parts.h"
#include "orchestrator/report/view/views.h"
#include "tests/report/schema/schema_cases.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const organ_page wide = {.width = 0, .utf8 = true};

typedef struct sheet {
    organ_text text;
    organ_error error;
} sheet;

/* Opens a sheet. The stream keeps the sheet's address, so the caller must not move it. */
static void open_sheet(sheet *s)
{
    s->error = (organ_error){0};
    ck_assert_int_eq(organ_text_open(&s->text, &s->error), ORGAN_OK);
}

/* Compares the written text and closes the sheet. */
static void expect(sheet *s, const char *requested)
{
    char *written = NULL;
    ck_assert_int_eq(organ_text_finish(&s->text, &written, &s->error), ORGAN_OK);
    ck_assert_str_eq(written, requested);
    free(written);
}

/* ---- documents ---- */

START_TEST(documents_are_readable_and_exact)
{
    json_t *const document =
        json_pack("{s:s, s:f, s:f, s:f, s:f, s:[i, i], s:[], s:{}, s:[s], s:n, s:b, s:I}", "z first", "\"q\"\n",
                  "plain", 22.22, "third", 1.0 / 3.0, "whole", 2.0, "tiny", 5e-324, "shape", 320, 864, "none", "empty",
                  "list", "x", "nothing", "yes", 1, "big", (json_int_t)6525288448);
    sheet s;
    open_sheet(&s);
    ck_assert_int_eq(organ_document_print(document, s.text.out, &s.error), ORGAN_OK);
    ck_assert_int_eq(organ_document_line(document, s.text.out, &s.error), ORGAN_OK);
    expect(&s, "{\n  \"z first\": \"\\\"q\\\"\\n\",\n  \"plain\": 22.22,\n  \"third\": 0.3333333333333333,\n  "
               "\"whole\": 2.0,\n"
               "  \"tiny\": 4.94065645841247e-324,\n  \"shape\": [320, 864],\n  \"none\": [],\n  \"empty\": {},\n  "
               "\"list\": [\n    \"x\"\n  ],\n"
               "  \"nothing\": null,\n  \"yes\": true,\n  \"big\": 6525288448\n}\n"
               "{\"z "
               "first\":\"\\\"q\\\"\\n\",\"plain\":22.22,\"third\":0.3333333333333333,\"whole\":2.0,\"tiny\":4."
               "94065645841247e-324,"
               "\"shape\":[320,864],\"none\":[],\"empty\":{},\"list\":[\"x\"],\"nothing\":null,\"yes\":true,\"big\":"
               "6525288448}\n");
    json_decref(document);
}
END_TEST

START_TEST(every_real_number_is_read_back)
{
    uint64_t state = 88172645463325252ull;
    for (int k = 0; k < 2000; k++) {
        double number;
        do {
            state ^= state << 13, state ^= state >> 7, state ^= state << 17;
            memcpy(&number, &state, sizeof number);
        } while (number != number || number - number != 0);
        json_t *const document = json_pack("[f]", number);
        sheet s;
        open_sheet(&s);
        char *text = NULL;
        ck_assert_int_eq(organ_document_line(document, s.text.out, &s.error), ORGAN_OK);
        ck_assert_int_eq(organ_text_finish(&s.text, &text, &s.error), ORGAN_OK);
        json_t *const again = json_loads(text, 0, NULL);
        ck_assert_msg(json_real_value(json_array_get(again, 0)) == number, "%.17g is read back from %s", number, text);
        json_decref(again);
        json_decref(document);
        free(text);
    }
}
END_TEST

START_TEST(strings_of_any_bytes_become_json)
{
    json_t *const string = organ_document_string("/data/\xff\n");
    ck_assert_str_eq(json_string_value(string), "/data/\\xff\\x0a");
    json_decref(string);
}
END_TEST

/* Messages and tables use one list of characters to escape: names of tensors cannot reorder or erase text on the
 * screen. */
START_TEST(names_from_files_cannot_reorder_what_is_read)
{
    static const char *const marks[] = {"\x1b",         "\x7f",         "\xc2\x85",     "\xc2\x9b",     "\xd8\x9c",
                                        "\xe2\x80\x8e", "\xe2\x80\x8f", "\xe2\x80\xaa", "\xe2\x80\xab", "\xe2\x80\xac",
                                        "\xe2\x80\xad", "\xe2\x80\xae", "\xe2\x81\xa6", "\xe2\x81\xa7", "\xe2\x81\xa8",
                                        "\xe2\x81\xa9", "\xff",         "\n",           "\xe2\x80\xa8", "\xef\xbb\xbf"};
    for (size_t k = 0; k < sizeof marks / sizeof *marks; k++) {
        organ_error error = {0}, other = {0};
        sheet s;
        char expected[64] = "w\u00f6", *text = NULL, name[32];
        for (const char *byte = marks[k]; *byte; byte++)
            snprintf(expected + strlen(expected), 8, "\\x%02x", (unsigned char)*byte);
        strcat(expected, ".weight");
        snprintf(name, sizeof name, "w\u00f6%s.weight", marks[k]);
        organ_fail(&error, ORGAN_BAD_INPUT, "%s", name);
        ck_assert_str_eq(error.message, expected);
        organ_fail_errno(&other, 5, "%s", name);
        ck_assert_msg(strncmp(other.message, expected, strlen(expected)) == 0, "%s", other.message);
        open_sheet(&s);
        organ_text_visible(s.text.out, name);
        ck_assert_int_eq(organ_text_finish(&s.text, &text, &s.error), ORGAN_OK);
        ck_assert_str_eq(text, expected);
        free(text);
    }
    /* A message that is too long is cut between characters and never within an escape. */
    organ_error full = {0};
    char long_name[1200];
    memset(long_name, 'a', 990);
    strcpy(long_name + 990, "\xe2\x80\xae");
    organ_fail(&full, ORGAN_BAD_INPUT, "%s", long_name);
    ck_assert_uint_eq(strlen(full.message), 990);
}
END_TEST

static char place[64];

static void make_place(void)
{
    snprintf(place, sizeof place, "%s/organ-report-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(place));
}

static void remove_place(void)
{
    char path[96];
    snprintf(path, sizeof path, "%s/doc.json", place);
    unlink(path);
    ck_assert_msg(rmdir(place) == 0, "%s: something was left in it", place);
}

START_TEST(files_are_there_whole_or_not_at_all)
{
    char path[96], content[64] = "";
    organ_error error = {0};
    json_t *const document = json_pack("{s:i}", "a", 1);
    snprintf(path, sizeof path, "%s/doc.json", place);
    json_t *const old = json_pack("{s:s}", "schema", "organ.old/1");
    ck_assert_int_eq(organ_document_write(path, old, &error), ORGAN_OK);
    json_decref(old);
    ck_assert_int_eq(organ_document_write(path, document, &error), ORGAN_OK);
    FILE *const file = fopen(path, "r");
    ck_assert_uint_eq(fread(content, 1, sizeof content - 1, file), 13);
    fclose(file);
    ck_assert_str_eq(content, "{\n  \"a\": 1\n}\n");
    /* This is no report: it stays, and so does the text that should have replaced it. */
    ck_assert_int_eq(organ_text_write(path, "new\n", &error), ORGAN_IO);
    char *const command = strstr(error.message, "mv -n ");
    ck_assert_msg(command, "%s", error.message);
    ck_assert_int_eq(system(command), 0);
    snprintf(path, sizeof path, "%s/doc.json-2", place);
    ck_assert_int_eq(unlink(path), 0);
    error = (organ_error){0};
    snprintf(path, sizeof path, "%s/none/doc.json", place);
    ck_assert_int_eq(organ_document_write(path, document, &error), ORGAN_IO);
    ck_assert_ptr_nonnull(strstr(error.message, "none/doc.json"));
    ck_assert_ptr_nonnull(strstr(error.message, strerror(ENOENT)));
    error = (organ_error){0};
    ck_assert_int_eq(organ_text_write(place, "a directory is in the way", &error), ORGAN_IO);
    json_decref(document);
}
END_TEST

/* Prints `context`, a text, in pieces of one byte and of many. */
static organ_status print_pieces(const void *context, FILE *out, organ_error *error)
{
    const char *const text = context;
    for (size_t k = 0; text[k]; k++)
        fputc(text[k], out), fflush(k % 3 ? NULL : out);
    return error->status;
}

/* Returns the state of the seal of the file. Stores its last bytes, at most 79, in `end`. */
static organ_seal_state seal_of(const char *path, char end[80])
{
    organ_error error = {0};
    const int fd = open(path, O_RDONLY);
    const organ_seal_state state = organ_seal_check(fd, path, &error);
    const off_t size = lseek(fd, 0, SEEK_END), from = size > 79 ? size - 79 : 0;
    end[pread(fd, end, 79, from)] = '\0';
    close(fd);
    ck_assert_int_eq(error.status, ORGAN_OK);
    return state;
}

START_TEST(reports_are_sealed)
{
    static const struct {
        const char *name, *text, *end; /* end: how the sealed file ends, with # for a digit; NULL: without a seal */
    } files[] = {
        {"a.md", "# A\n", "# A\n<!-- organ: ################ -->\n"},
        {"a.svg", "<svg/>", "<svg/><!-- organ: ################ -->\n"},
        {"page", ORGAN_PAGE_START "\n", "\n<!-- organ: ################ -->\n"},
        {"a.jsonl", "{\"a\":1}\n{\"b\":22222222222222222222222222}\n", "2222,\"seal\":\"################\"}\n"},
        {"b.jsonl", "{\"a\":1}\n", "{\"a\":1,\"seal\":\"################\"}\n"},
        {"a.json", "{\n  \"schema\": \"organ.a/1\"\n}\n",
         "{\n  \"schema\": \"organ.a/1\",\n  \"seal\": \"################\"\n}\n"},
        {"c.jsonl", "", NULL},
        {"config.json", "{\n  \"model_type\": \"organ\"\n}\n", NULL},
        {"vocab.txt", "a\nb\n", NULL}};
    for (size_t k = 0; k < sizeof files / sizeof *files; k++) {
        char path[96], end[80];
        organ_error error = {0};
        snprintf(path, sizeof path, "%s/%s", place, files[k].name);
        ck_assert_int_eq(organ_printed_write(path, print_pieces, files[k].text, &error), ORGAN_OK);
        const organ_seal_state state = seal_of(path, end);
        const char *const want = files[k].end ? files[k].end : files[k].text;
        const size_t length = strlen(want), from = strlen(end) - length;
        ck_assert_msg(strlen(end) >= length, "%s: %s", path, end);
        for (size_t c = 0; c < length; c++)
            ck_assert_msg(want[c] == '#' && files[k].end ? strchr("#0123456789abcdef ", end[from + c]) != NULL
                                                         : want[c] == end[from + c],
                          "%s: %s", path, end);
        ck_assert_int_eq(state, files[k].end ? ORGAN_SEAL_WHOLE : ORGAN_SEAL_MISSING);
        /* With a seal the file may be written again, with a change before the seal it may not. */
        if (files[k].end) {
            ck_assert_int_eq(organ_printed_write(path, print_pieces, files[k].text, &error), ORGAN_OK);
            const int fd = open(path, O_WRONLY);
            ck_assert_int_eq(pwrite(fd, "%", 1, 0), 1);
            close(fd);
            ck_assert_int_eq(seal_of(path, end), ORGAN_SEAL_BROKEN);
            ck_assert_int_eq(organ_check_report_place(path, &error), ORGAN_USAGE);
            ck_assert_ptr_nonnull(strstr(error.message, "was changed since organ wrote it"));
        }
        unlink(path);
    }
}
END_TEST

START_TEST(the_seal_of_a_run_is_in_it)
{
    char path[96], end[80];
    organ_error error = {0};
    json_t *const document = json_pack("{s:s,s:{s:i}}", "schema", "organ.a/1", "run", "threads", 1),
                  *const empty = json_pack("{s:s,s:{}}", "schema", "organ.a/1", "run");
    snprintf(path, sizeof path, "%s/doc.json", place);
    ck_assert_int_eq(organ_document_write(path, document, &error), ORGAN_OK);
    ck_assert_int_eq(seal_of(path, end), ORGAN_SEAL_WHOLE);
    ck_assert_msg(strstr(end, "\"threads\": 1,\n    \"seal\": \""), "%s", end);
    json_t *const read = json_load_file(path, 0, NULL);
    ck_assert_int_eq(json_object_size(json_object_get(read, "run")), 2);
    json_decref(read);
    ck_assert_int_eq(organ_document_write(path, empty, &error), ORGAN_OK);
    ck_assert_int_eq(seal_of(path, end), ORGAN_SEAL_WHOLE);
    ck_assert_msg(strstr(end, "\"run\": {},\n  \"seal\": \""), "%s", end);
    json_decref(document);
    json_decref(empty);
}
END_TEST

START_TEST(values_are_found_by_path)
{
    json_t *const json = json_pack("{s:{s:{s:i, s:f}}, s:s, s:i}", "totals", "target", "killed", 7, "percent", 2.5,
                                   "name", "x", "minus", -1);
    ck_assert_uint_eq(organ_json_count(json, "totals.target.killed"), 7);
    ck_assert(organ_json_real(json, "totals.target.killed") == 7.0);
    ck_assert(organ_json_real(json, "totals.target.percent") == 2.5);
    ck_assert_str_eq(organ_json_text(json, "name"), "x");
    ck_assert_str_eq(organ_json_text(json, "totals.target"), "");
    ck_assert_uint_eq(organ_json_count(json, "minus"), 0);
    ck_assert_uint_eq(organ_json_count(json, "name.deeper"), 0);
    ck_assert_ptr_null(organ_json_at(json, "totals.none.killed"));
    json_decref(json);
}
END_TEST

/* ---- reports ---- */

/* A run on a model of 7.6e9 weights as an organ.prune/1 document. */
static const char prune_json[] =
    "{'schema':'organ.prune/1','definition':'physarum-v1/1','organ':'0.2.0','dry_run':false,"
    "'donor':{'name':'Qwen2.5-7B','format':'safetensors','architecture':'Qwen2ForCausalLM','model_type':'qwen2','files'"
    ":4,'bytes':"
    "15231233024,"
    "'tensors':339,'elements':7615616512},"
    "'parameters':{'method':'physarum-v1','block_size':256,'iterations':30,'beta':2.0,'coupling':1.0,'gain':6.0,'step':"
    "0.5,'threshold':0."
    "25,"
    "'sparsity':null,'targets':null},"
    "'totals':{'target':{'elements':6525288448,'killed':1450103613,'percent':22.222828},"
    "'full':{'elements':7615616512,'killed':1450103613,'percent':19.041184}},"
    "'zero_before':11,'kept':5075184824,'coverage':{'target_elements':6525288448,'processed_elements':6525288448,'"
    "percent':100.0,'tiles':"
    "99568},"
    "'per_tensor':{'tensors':196,'mean':22.33,'min':16.32,'max':45.92},"
    "'projections':[{'name':'mlp.down_proj','tensors':28,'elements':1901068288,'killed':426068415,'percent':22.41,'"
    "mean':22.41,'min':19.91,"
    "'max':43.54},{'name':'self_attn.v_proj','tensors':28,'elements':51380224,'killed':11334279,'percent':22.06,'mean':"
    "22.06,'min':16.32,"
    "'max':29.85}],"
    "'layers':[{'layer':0,'tensors':7,'elements':1000,'killed':310,'percent':31.0},{'layer':1,'tensors':7,'elements':"
    "1000,'killed':440,"
    "'percent':44.0},{'layer':2,'tensors':7,'elements':1000,'killed':300,'percent':30.0},{'layer':3,'tensors':7,'"
    "elements':1000,'killed':"
    "180,"
    "'percent':18.0}],"
    "'untouched':{'tensors':143,'elements':1090328064,'bytes':2180656128},'copied_files':['config.json','merges.txt'],'"
    "other_weights':[],"
    "'integrity':[{'check':'4 shards present','ok':true,'detail':'all 4'}],"
    "'definitions':{'killed':'was not zero, is zero'},'errata':['Static magnitude flow, not activation-aware.'],"
    "'not_in_this_report':['Quality.'],"
    "'run':{'donor':'/data/my "
    "donor','output':'/data/out','started':'2026-11-20T09:00:00Z','seconds':9.5,'host':'h','cpu_isa':'avx512',"
    "'threads':48,'pinned':48,'memory':536870912,'resumed':false,'bytes_per_second':1373000000.0,"
    "'shards':[{'file':'model-00001-of-00004.safetensors','seconds':2.5,'tensors':49,'bytes':3945441280,'killed':"
    "402974047,"
    "'killed_so_far':402974047}]}}";

/* Parses JSON with ' instead of ". */
static json_t *parse(const char *text)
{
    char *const json = strdup(text);
    json_error_t error;
    for (char *p = json; *p; p++)
        *p = *p == '\'' ? '"' : *p;
    json_t *const document = json_loads(json, 0, &error);
    ck_assert_msg(document != NULL, "%s at %d", error.text, error.position);
    free(json);
    return document;
}

static char *markdown_of(const json_t *report)
{
    organ_error error = {0};
    char *text = NULL;
    ck_assert_int_eq(organ_report_markdown(report, &text, &error), ORGAN_OK);
    return text;
}

static void holds_all(const char *text, const char *const *requested, size_t count)
{
    for (size_t k = 0; k < count; k++)
        ck_assert_msg(strstr(text, requested[k]) != NULL, "'%s' is missing in:\n%.3000s", requested[k], text);
}

START_TEST(the_surgery_report_tells_all)
{
    static const char *const requested[] = {
        "# Surgery report: Qwen2.5-7B, physarum-v1\n",
        "> - Static magnitude flow, not activation-aware.\n",
        "Qwen2.5-7B (Qwen2ForCausalLM, qwen2)",
        "| target: every weight of the pruned tensors | 1,450,103,613 | 6,525,288,448 | 22.22 % |\n",
        "| full: every weight of the model            | 1,450,103,613 | 7,615,616,512 | 19.04 % |\n",
        "| `mlp.down_proj`    |      28 |     22.41 % |     19.91 % |     43.54 % |       426,068,415 |     "
        "1,901,068,288 |     22.41 % "
        "|\n",
        "| **all targets**    | **196** | **22.33 %** | **16.32 %** | **45.92 %** | **1,450,103,613** | "
        "**6,525,288,448** | **22.22 %** "
        "|\n",
        "Highest sparsity: layer 1 (44.00 % of its 1,000 target weights), layer 0 (31.00 % of its 1,000 target "
        "weights) and layer 2 "
        "(30.00 % "
        "of its 1,000 target weights); lowest: layer 3 (18.00 % of its 1,000 target weights).\n",
        "| 4 shards present | ok     | all 4  |\n",
        "- **killed**: was not zero, is zero\n",
        "## Limits of this report\n\n- Quality.\n",
        "| `model-00001-of-00004.safetensors` | 2.50 s |      49 | 3,945,441,280 | 402,974,047 |   402,974,047 |\n",
        "\n    organ audit '/data/my donor' /data/out\n",
    };
    json_t *const report = parse(prune_json);
    char *const text = markdown_of(report);
    holds_all(text, requested, COUNT(requested));
    free(text);
    json_decref(report);
}
END_TEST

START_TEST(only_the_last_section_varies)
{
    json_t *const one = parse(prune_json), *const other = parse(prune_json);
    json_t *const run =
        parse("{'donor':'/elsewhere/"
              "d','output':'o','started':'2027-01-01T00:00:00Z','seconds':1.0,'host':'x','cpu_isa':'neon',"
              "'threads':1,'pinned':0,'memory':1048576,'resumed':true,'bytes_per_second':5.0,'shards':[]}");
    json_object_set_new(other, "run", run);
    char *const a = markdown_of(one), *const b = markdown_of(other);
    const char *const end = strstr(a, "\n## Run\n");
    ck_assert_ptr_nonnull(end);
    ck_assert_int_eq(strncmp(a, b, (size_t)(end - a) + 8), 0);
    ck_assert_ptr_null(strstr(end + 8, "\n## "));
    ck_assert_str_ne(a, b);
    free(a);
    free(b);
    json_decref(one);
    json_decref(other);
}
END_TEST

START_TEST(sparsity_and_targets_are_told)
{
    static const char *const requested[] = {"so that 30 % of its elements are zeroed", "\\*.mlp.\\*",
                                            "--select '*.mlp.*'", "|  none |", "extra.safetensors"};
    json_t *const report = parse(prune_json);
    json_t *const parameters = json_object_get(report, "parameters");
    json_object_set_new(parameters, "sparsity", json_real(30));
    json_object_set_new(parameters, "gain", json_null());
    json_object_set_new(parameters, "targets", json_string("*.mlp.*"));
    json_array_append_new(json_object_get(report, "other_weights"), json_string("extra.safetensors"));
    json_object_set_new(report, "layers", parse("[{'layer':null,'tensors':1,'elements':5,'killed':1,'percent':20.0}]"));
    json_object_set_new(json_array_get(json_object_get(report, "layers"), 0), "layer", json_integer(-1));
    char *const text = markdown_of(report);
    holds_all(text, requested, COUNT(requested));
    ck_assert_ptr_nonnull(strstr(text, "outside the layers (20.00 % of its 5 target weights)"));
    free(text);
    json_decref(report);
}
END_TEST

START_TEST(a_report_of_nothing_does_not_crash)
{
    json_t *const empty = json_object();
    organ_error error = {0};
    char *text = NULL;
    json_object_set_new(empty, "schema", json_string("organ.prune/1"));
    ck_assert_int_eq(organ_report_markdown(empty, &text, &error), ORGAN_OK);
    free(text);
    ck_assert_int_eq(organ_report_terminal(empty, &wide, &text, &error), ORGAN_OK);
    free(text);
    json_object_set_new(empty, "schema", json_string("organ.audit/1"));
    ck_assert_int_eq(organ_report_terminal(empty, &wide, &text, &error), ORGAN_OK);
    free(text);
    json_object_set_new(empty, "schema", json_string("organ.inspect/1"));
    ck_assert_int_eq(organ_report_terminal(empty, &wide, &text, &error), ORGAN_OK);
    free(text);
    json_decref(empty);
}
END_TEST

/* Makes a report of 2,001 tensors in two layers and one outside; the first tensor has the mean. */
static json_t *report_of_many(void)
{
    json_t *const report =
        parse("{'per_tensor':{'tensors':2001,'mean':20.0,'min':10.0,'max':30.0},'layers':[{'layer':0,'percent':20.0},"
              "{'layer':1,'percent':30.0},{'layer':-1,'percent':10.0}],"
              "'totals':{'target':{'elements':50,'killed':10},'full':{'elements':200,'killed':10}},"
              "'tile_map':{'rows':1,'cols':2,'killed':[1]},"
              "'magnitudes':{'weights':8,'per_octave':2,'from_log2':-3,'count':[0,2,0,6,0],'killed':[0,1,0,3,0]}}");
    json_t *const tensors = json_array();
    for (int k = 0; k < 2001; k++) {
        const double off = k % 2 ? 10 : -10;
        json_array_append_new(tensors, json_pack("{s:i, s:f, s:i}", "number", k, "percent", k == 0 ? 20.0 : 20.0 + off,
                                                 "layer", k == 2000 ? -1 : k % 2));
    }
    json_object_set_new(report, "tensors", tensors);
    return report;
}

START_TEST(a_pruning_is_folded)
{
    json_t *const report = report_of_many(), *const whole = organ_sparsity_fold(report);
    const json_t *const fold = json_object_get(whole, "fold");
    ck_assert_uint_eq(json_array_size(json_object_get(fold, "tensors")), 2000);
    /* the tensor with the mean is left out, the others keep their order */
    ck_assert_uint_eq(organ_json_count(json_array_get(json_object_get(fold, "tensors"), 0), "number"), 1);
    ck_assert_uint_eq(organ_json_count(json_array_get(json_object_get(fold, "tensors"), 1999), "number"), 2000);
    ck_assert(organ_json_real(json_array_get(json_object_get(fold, "layers"), 0), "low") == 10.0);
    ck_assert(organ_json_real(json_array_get(json_object_get(fold, "layers"), 0), "high") == 20.0);
    ck_assert(json_is_null(json_object_get(json_array_get(json_object_get(fold, "layers"), 2), "low")));
    ck_assert_str_eq(organ_json_text(json_array_get(json_object_get(fold, "layers"), 2), "label"), "none");
    ck_assert_str_eq(organ_json_text(json_array_get(json_object_get(fold, "densest"), 0), "name"), "layer 1");
    ck_assert_str_eq(organ_json_text(fold, "sparsest.name"), "outside the layers");
    ck_assert(json_is_null(json_object_get(fold, "tiles")));
    ck_assert(json_is_false(json_object_get(fold, "alike")));
    ck_assert(organ_json_real(fold, "target_percent") == 25.0);
    const json_t *const bins = json_object_get(fold, "bins");
    ck_assert_uint_eq(json_array_size(bins), 3); /* from the first bin with a weight to the last one */
    ck_assert(organ_json_real(json_array_get(bins, 0), "place") == -2.25);
    ck_assert(organ_json_real(json_array_get(bins, 2), "killed") == 37.5);
    ck_assert(organ_json_real(json_array_get(json_object_get(fold, "bars"), 0), "of_full") == 5.0);
    json_decref(whole);
    json_decref(report);
}
END_TEST

START_TEST(the_end_of_a_pruning)
{
    static const char *const requested[] = {
        "Pruned Qwen2.5-7B (Qwen2ForCausalLM, safetensors, 4 files, 15.2 GB)\ninto /data/out\n",
        "  target: every weight of the pruned tensors  1,450,103,613  6,525,288,448  22.22 %\n",
        "  Zero before: 11, not counted as killed.\n",
        "  Integrity: 0 of 1 checks passed.\n",
        "  FAILED  4 shards present: all 4\n",
        "48 threads, avx512",
        "Proof:   organ audit '/data/my donor' /data/out\n"};
    json_t *const report = parse(prune_json);
    organ_error error = {0};
    char *text = NULL;
    json_object_set_new(json_array_get(json_object_get(report, "integrity"), 0), "ok", json_false());
    ck_assert_int_eq(organ_report_terminal(report, &wide, &text, &error), ORGAN_OK);
    holds_all(text, requested, COUNT(requested));
    free(text);
    json_object_set_new(report, "dry_run", json_true());
    ck_assert_int_eq(organ_report_terminal(report, &wide, &text, &error), ORGAN_OK);
    ck_assert_ptr_nonnull(strstr(text, "Dry run, nothing was written"));
    ck_assert_ptr_nonnull(strstr(text, "85.68 % of the model's 7,615,616,512 weights"));
    ck_assert_ptr_null(strstr(text, "killed"));
    free(text);
    json_decref(report);
}
END_TEST

START_TEST(the_verdict_of_an_audit)
{
    json_t *const report = parse(prune_json); /* totals, coverage and projections are the same */
    organ_error error = {0};
    char *text = NULL;
    json_object_set_new(report, "schema", json_string("organ.audit/1"));
    json_object_del(report, "per_tensor");
    json_object_set_new(report, "problems", json_array());
    json_object_set_new(report, "checks", parse("[{'check':'index valid','ok':true,'detail':'339 entries'}]"));
    ck_assert_int_eq(organ_report_terminal(report, &wide, &text, &error), ORGAN_OK);
    ck_assert_ptr_nonnull(strstr(text, "\nPassed: "));
    ck_assert_ptr_nonnull(strstr(text, "  ok      index valid: 339 entries\n"));
    ck_assert_ptr_nonnull(strstr(text, "  all targets       56  22.23 %  16.32 %  43.54 %  1,450,103,613"));
    free(text);
    json_array_append_new(json_object_get(report, "problems"),
                          json_string("tensor 'x\033': 3 weights were changed, not zeroed"));
    ck_assert_int_eq(organ_report_terminal(report, &wide, &text, &error), ORGAN_OK);
    ck_assert_ptr_nonnull(
        strstr(text, "FAILED: 1 problem.\n  PROBLEM  tensor 'x\\x1b': 3 weights were changed, not zeroed\n"));
    ck_assert_ptr_null(strstr(text, "  all targets "));
    free(text);
    json_decref(report);
}
END_TEST

static TCase *document_cases(void)
{
    TCase *const cases = tcase_create("document");
    tcase_add_test(cases, documents_are_readable_and_exact);
    tcase_add_test(cases, every_real_number_is_read_back);
    tcase_add_test(cases, strings_of_any_bytes_become_json);
    tcase_add_test(cases, names_from_files_cannot_reorder_what_is_read);
    tcase_add_test(cases, values_are_found_by_path);
    return cases;
}

static TCase *file_cases(void)
{
    TCase *const cases = tcase_create("files");
    tcase_add_checked_fixture(cases, make_place, remove_place);
    tcase_add_test(cases, files_are_there_whole_or_not_at_all);
    tcase_add_test(cases, reports_are_sealed);
    tcase_add_test(cases, the_seal_of_a_run_is_in_it);
    return cases;
}

static TCase *report_cases(void)
{
    TCase *const cases = tcase_create("report");
    tcase_add_test(cases, the_surgery_report_tells_all);
    tcase_add_test(cases, only_the_last_section_varies);
    tcase_add_test(cases, sparsity_and_targets_are_told);
    tcase_add_test(cases, a_report_of_nothing_does_not_crash);
    tcase_add_test(cases, the_end_of_a_pruning);
    tcase_add_test(cases, a_pruning_is_folded);
    tcase_add_test(cases, the_verdict_of_an_audit);
    return cases;
}

int main(void)
{
    Suite *const suite = suite_create("report");
    suite_add_tcase(suite, document_cases());
    suite_add_tcase(suite, file_cases());
    suite_add_tcase(suite, report_cases());
    suite_add_tcase(suite, schema_cases());
    SRunner *const runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
