/* SPDX-License-Identifier: MIT
 * Tests of jobs without processes: arguments from JSON, conflicts, descriptions of verbs, records on disk, progress
 * from events. */
#include "orchestrator/cli/cli_parts.h"
#include <organ/report.h>
#include "orchestrator/serve/jobs/jobs_parts.h"
#include "tests/kit/scratch_model.h"
#include "tests/kit/suite_table.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

Suite *open_api_suite(void); /* in check_open_api.c */

static organ_jail *jail;

static void setup(void)
{
    organ_error error = {0};
    scratch_begin();
    mkdir(scratch_path("root"), 0755);
    mkdir(scratch_path("root/models"), 0755);
    mkdir(scratch_path("root/models/a"), 0755);
    mkdir(scratch_path("root/out"), 0755);
    mkdir(scratch_path("root/.hidden"), 0755);
    scratch_text("root/b.gguf", "b");
    scratch_text("root/-x", "a name that looks like an option");
    scratch_text("root/it's", "a name that a shell would trip over");
    scratch_text("outside", "not ours");
    ck_assert_int_eq(symlink("../outside", scratch_path("root/leak")), 0);
    ck_assert_int_eq(symlink("/etc", scratch_path("root/models/etc")), 0);
    ck_assert_msg(organ_jail_open(scratch_path("root"), &jail, &error) == ORGAN_OK, "%s", error.message);
}

static void teardown(void)
{
    organ_jail_close(jail);
    scratch_end();
}

static unsigned read_words(const char *text, organ_job_words *words, json_t **faults)
{
    json_error_t wrong;
    json_t *const request = json_loads(text, 0, &wrong);
    ck_assert_msg(request != NULL, "%s: %s", text, wrong.text);
    const unsigned status =
        organ_job_words_read(organ_all_verbs.verbs, organ_all_verbs.count, jail, request, words, faults);
    json_decref(request);
    return status;
}

/* ---- arguments of verbs ---- */

START_TEST(arguments_become_words)
{
    static const struct {
        const char *request, *argv, *command, *reads, *writes;
    } rows[] = {
        {"{\"verb\":\"inspect\",\"arguments\":{\"MODEL\":\"b.gguf\",\"tensors\":true,\"select\":\"*.mlp.*\"}}",
         "[\"organ\",\"inspect\",\"--tensors\",\"--select=*.mlp.*\",\"--json\",\"--progress=json\",\"--\",\"b.gguf\"]",
         "organ inspect b.gguf --tensors '--select=*.mlp.*'", "[\"b.gguf\"]", "[]"},
        {"{\"verb\":\"prune\",\"arguments\":{\"DONOR\":\"models/a\",\"output\":\"out/p\",\"memory\":\"auto\"}}",
         "[\"organ\",\"prune\",\"--output=out/p\",\"--memory=auto\",\"--json\",\"--progress=json\",\"--\",\"models/"
         "a\"]",
         "organ prune models/a --output=out/p --memory=auto", "[\"models/a\"]", "[\"out/p\"]"},
        {"{\"verb\":\"quantize\",\"arguments\":{\"MODEL\":\"models/a\",\"output\":\"out/p\",\"scheme\":\"none\","
         "\"smooth\":\"auto\"}}",
         "[\"organ\",\"quantize\",\"--output=out/p\",\"--scheme=none\",\"--smooth=auto\",\"--json\","
         "\"--progress=json\",\"--\",\"models/a\"]",
         "organ quantize models/a --output=out/p --scheme=none --smooth=auto", "[\"models/a\"]", "[\"out/p\"]"},
        {"{\"verb\":\"prune\",\"arguments\":{\"DONOR\":\"models/a\",\"output\":\"out/"
         "p\",\"sparsity\":30,\"threads\":2,\"memory\":\"64M\"}}",
         "[\"organ\",\"prune\",\"--output=out/"
         "p\",\"--sparsity=30\",\"--threads=2\",\"--memory=67108864\",\"--json\",\"--progress=json\","
         "\"--\",\"models/a\"]",
         "organ prune models/a --output=out/p --sparsity=30 --threads=2 --memory=67108864", "[\"models/a\"]",
         "[\"out/p\"]"},
        {"{\"verb\":\"prune\",\"arguments\":{\"DONOR\":\"-x\",\"output\":\"-y\",\"sparsity\":0.1,\"dry-run\":true,"
         "\"force\":false}}",
         "[\"organ\",\"prune\",\"--output=./"
         "-y\",\"--sparsity=0.1\",\"--dry-run\",\"--json\",\"--progress=json\",\"--\",\"./-x\"]",
         "organ prune ./-x --output=./-y --sparsity=0.1 --dry-run", "[\"-x\"]", "[]"},
        {"{\"verb\":\"measure\",\"arguments\":{\"MODEL\":[\"models/a\",\"b.gguf\"],\"output\":\"z\"}}",
         "[\"organ\",\"measure\",\"--output=z\",\"--json\",\"--progress=json\",\"--\",\"models/a\",\"b.gguf\"]",
         "organ measure models/a b.gguf --output=z", "[\"models/a\",\"b.gguf\"]", "[\"z\"]"},
        {"{\"verb\":\"lora "
         "extract\",\"arguments\":{\"base\":\"models/a\",\"tuned\":\"it's\",\"output\":\"l\",\"SHARE\":\"-9\"}}",
         "[\"organ\",\"lora\",\"extract\",\"--base=models/"
         "a\",\"--tuned=it's\",\"--output=l\",\"--json\",\"--progress=json\",\"--\",\"-9\"]",
         "organ lora extract --base=models/a '--tuned=it'\\''s' --output=l -- -9", "[\"models/a\",\"it's\"]",
         "[\"l\"]"},
        {"{\"verb\":\"generate\",\"arguments\":{\"MODEL\":\"b.gguf\",\"prompt\":\"--help\",\"tokens\":3.0}}",
         "[\"organ\",\"generate\",\"--prompt=--help\",\"--tokens=3\",\"--json\",\"--progress=json\",\"--\",\"b.gguf\"]",
         "organ generate b.gguf --prompt=--help --tokens=3", "[\"b.gguf\"]", "[]"},
        {"{\"verb\":\"orthogonality\",\"arguments\":{\"pair\":[\"models/a\",\"-x\",\"b.gguf\",\"it's\"]}}",
         "[\"organ\",\"orthogonality\",\"--pair=models/a\",\"./"
         "-x\",\"--pair=b.gguf\",\"it's\",\"--json\",\"--progress=json\",\"--\"]",
         "organ orthogonality --pair=models/a ./-x --pair=b.gguf 'it'\\''s'",
         "[\"models/a\",\"-x\",\"b.gguf\",\"it's\"]", "[]"},
        /* names of older versions */
        {"{\"verb\":\"inspect\",\"arguments\":{\"MODEL\":\"b.gguf\",\"match\":\"*.mlp.*\"}}",
         "[\"organ\",\"inspect\",\"--select=*.mlp.*\",\"--json\",\"--progress=json\",\"--\",\"b.gguf\"]",
         "organ inspect b.gguf '--select=*.mlp.*'", "[\"b.gguf\"]", "[]"},
        {"{\"verb\":\"chimera\",\"arguments\":{\"base\":\"models/a\",\"donor\":\"b.gguf\",\"take\":\"organ\","
         "\"layers\":\"1-2\",\"output\":\"out/c\"}}",
         "[\"organ\",\"graft\",\"--source=b.gguf\",\"--target=models/a\",\"--output=out/c\",\"--select=organ\","
         "\"--layers=1-2\",\"--json\",\"--progress=json\",\"--\"]",
         "organ graft --source=b.gguf --target=models/a --output=out/c --select=organ --layers=1-2",
         "[\"b.gguf\",\"models/a\"]", "[\"out/c\"]"},
        {"{\"verb\":\"experts\",\"arguments\":{\"MODEL\":\"models/a\",\"output\":\"out/"
         "e\",\"keep\":\"50%\",\"heal\":true}}",
         "[\"organ\",\"experts\",\"--output=out/"
         "e\",\"--keep=50%\",\"--refit\",\"--json\",\"--progress=json\",\"--\",\"models/a\"]",
         "organ experts models/a --output=out/e --keep=50% --refit", "[\"models/a\"]", "[\"out/e\"]"},
        {"{\"verb\":\"fleet\",\"arguments\":{\"DIR\":\"models/a\",\"output\":\"out/f\"}}",
         "[\"organ\",\"fleet\",\"--output=out/f\",\"--json\",\"--progress=json\",\"--\",\"models/a\"]",
         "organ fleet models/a --output=out/f", "[\"models/a\"]", "[\"out/f\"]"}};
    for (size_t k = 0; k < LENGTH(rows); k++) {
        organ_job_words words;
        json_t *faults;
        const unsigned status = read_words(rows[k].request, &words, &faults);
        char *const why = json_dumps(faults, JSON_COMPACT);
        ck_assert_msg(status == 0, "%s: %u %s", rows[k].request, status, why);
        char *const argv = json_dumps(words.argv, JSON_COMPACT), *const reads = json_dumps(words.reads, JSON_COMPACT);
        char *const writes = json_dumps(words.writes, JSON_COMPACT);
        ck_assert_str_eq(argv, rows[k].argv);
        ck_assert_str_eq(words.command, rows[k].command);
        ck_assert_str_eq(reads, rows[k].reads);
        ck_assert_str_eq(writes, rows[k].writes);
        ck_assert_int_eq(words.resumes, organ_verb_option(words.verb, "resume") != NULL);
        free(argv);
        free(reads);
        free(writes);
        free(why);
        organ_job_words_release(&words);
    }
}
END_TEST

#define LONG                                                                                                           \
    "01234567890123456789012345678901234567890123456789"                                                               \
    "01234567890123456789012345678901234567890123456789"
#define PRUNE(more)   "{\"verb\":\"prune\",\"arguments\":{\"DONOR\":\"models/a\",\"output\":\"out/p\"" more "}}"
#define INSPECT(path) "{\"verb\":\"inspect\",\"arguments\":{\"MODEL\":" path "}}"

START_TEST(every_fault_is_named)
{
    static const struct {
        const char *request;
        unsigned status;
        const char *field, *detail;
    } rows[] = {
        {"{\"arguments\":{}}", 422, "/verb", "is missing"},
        {"{\"verb\":7,\"arguments\":{}}", 422, "/verb", "is a number, but must be a text"},
        {"{\"verb\":\"prnue\",\"arguments\":{}}", 422, "/verb", "did you mean 'prune'?"},
        {"{\"verb\":\"help\",\"arguments\":{}}", 422, "/verb", "'help' is not a verb that can run as a job"},
        {"{\"verb\":\"version\",\"arguments\":{}}", 422, "/verb", "is not a verb that can run as a job"},
        {"{\"verb\":\"serve\",\"arguments\":{}}", 422, "/verb", "is not a verb that can run as a job"},
        {"{\"verb\":\"--help\",\"arguments\":{}}", 422, "/verb", "is not a verb that can run as a job"},
        {"{\"verb\":\"prune\"}", 422, "/arguments", "is missing"},
        {"{\"verb\":\"prune\",\"arguments\":[]}", 422, "/arguments", "must be an object"},
        {"{\"verb\":\"inspect\",\"arguments\":{\"MODEL\":\"b.gguf\"},\"env\":{}}", 422, "/env",
         "\"verb\" and \"arguments\" only"},
        {"{\"verb\":\"prune\",\"arguments\":{\"output\":\"out/p\"}}", 422, "/arguments/DONOR",
         "is missing: the model to prune"},
        {"{\"verb\":\"prune\",\"arguments\":{\"DONOR\":\"models/a\"}}", 422, "/arguments/output",
         "is missing: new directory of the output"},
        {PRUNE(",\"sparsty\":30"), 422, "/arguments/sparsty", "did you mean 'sparsity'?"},
        {PRUNE(",\"json\":true"), 422, "/arguments/json", "prune has no such argument"},
        {PRUNE(",\"progress\":\"bar\""), 422, "/arguments/progress", "no such argument"},
        {PRUNE(",\"help\":true"), 422, "/arguments/help", "no such argument"},
        {"{\"verb\":\"measure\",\"arguments\":{\"MODEL\":[\"b.gguf\"],\"output\":\"z\",\"header\":[\"a: b\"]}}", 422,
         "/arguments/header", "measure has no such argument"},
        {PRUNE(",\"sparsity\":130"), 422, "/arguments/sparsity", "is 130, but must be a number (above 0, below 100)"},
        {PRUNE(",\"sparsity\":0"), 422, "/arguments/sparsity", "above 0"},
        {PRUNE(",\"sparsity\":\"30\""), 422, "/arguments/sparsity", "is a text, but must be a number"},
        {PRUNE(",\"block-size\":8"), 422, "/arguments/block-size", "is 8, but must be a whole number (16 to 4096)"},
        {PRUNE(",\"block-size\":20.5"), 422, "/arguments/block-size", "is 20.5, but must be a whole number"},
        {PRUNE(",\"block-size\":-16"), 422, "/arguments/block-size", "is -16"},
        {PRUNE(",\"block-size\":1e300"), 422, "/arguments/block-size", "is 1e+300"},
        {PRUNE(",\"block-size\":null"), 422, "/arguments/block-size", "is null"},
        {PRUNE(",\"force\":\"yes\""), 422, "/arguments/force", "is a text, but must be true or false"},
        {PRUNE(",\"memory\":\"lots\""), 422, "/arguments/memory", "an amount of bytes like 512M, 2GiB or 5GB"},
        {PRUNE(",\"memory\":\"1M\""), 422, "/arguments/memory", "an amount of bytes"},
        {PRUNE(",\"memory\":\"512 MB\""), 422, "/arguments/memory", "an amount of bytes"},
        {PRUNE(",\"memory\":\"512MiBB\""), 422, "/arguments/memory", "an amount of bytes"},
        {PRUNE(",\"memory\":\"9MB\""), 422, "/arguments/memory", "an amount of bytes"},
        {PRUNE(",\"memory\":\"0512M\""), 422, "/arguments/memory", "an amount of bytes"},
        {PRUNE(",\"memory\":1024"), 422, "/arguments/memory",
         "is 1024, but must be auto or an amount of bytes like 512M, 2GiB or 5GB (8M to 16T)"},
        {PRUNE(",\"targets\":\"\""), 422, "/arguments/targets", "has 0 characters"},
        {PRUNE(",\"select\":\"*.q_proj\",\"targets\":\"*.q_proj\""), 422, "/arguments/targets",
         "is a former name of \"select\", and this argument is given twice"},
        {PRUNE(",\"no-heal\":true"), 422, "/arguments/no-heal", "prune has no such argument"},
        {PRUNE(",\"targets\":[\"*\"]"), 422, "/arguments/targets", "is an array, but must be a text"},
        {"{\"verb\":\"measure\",\"arguments\":{\"MODEL\":\"b.gguf\"}}", 422, "/arguments/MODEL",
         "must be an array of 1 to 256 texts"},
        {"{\"verb\":\"measure\",\"arguments\":{\"MODEL\":[]}}", 422, "/arguments/MODEL", "must be an array"},
        {"{\"verb\":\"measure\",\"arguments\":{\"MODEL\":[\"b.gguf\",3]}}", 422, "/arguments/MODEL/1",
         "is a number, but must be a text"},
        {"{\"verb\":\"measure\",\"arguments\":{\"MODEL\":[\"b.gguf\"],\"header\":[\"A: b\"]}}", 422,
         "/arguments/header", "no such argument"},
        {"{\"verb\":\"orthogonality\",\"arguments\":{\"pair\":[\"models/a\",\"b.gguf\",\"models/a\"]}}", 422,
         "/arguments/pair", "has 3 texts, but 2 belong together"},
        {INSPECT("\"http://127.0.0.1/model.gguf\""), 422, "/arguments/MODEL", "is a URL"},
        {INSPECT("\"file:///etc/passwd\""), 422, "/arguments/MODEL", "is a URL"},
        {INSPECT("\"/etc/passwd\""), 422, "/arguments/MODEL", ""},
        {INSPECT("\"../outside\""), 422, "/arguments/MODEL", ""},
        {INSPECT("\"models/../../outside\""), 422, "/arguments/MODEL", ""},
        {INSPECT("\"models//a\""), 422, "/arguments/MODEL", ""},
        {INSPECT("\"a\\nb\""), 422, "/arguments/MODEL", ""},
        {INSPECT("\"none\""), 404, "/arguments/MODEL", ""},
        {INSPECT("\"" LONG LONG LONG "\""), 404, "/arguments/MODEL", "a name is too long"},
        {INSPECT("\"leak\""), 403, "/arguments/MODEL", ""},
        {INSPECT("\"models/etc/passwd\""), 403, "/arguments/MODEL", ""},
        {INSPECT("\".hidden\""), 403, "/arguments/MODEL", ""},
        {"{\"verb\":\"prune\",\"arguments\":{\"DONOR\":\"models/a\",\"output\":\"leak\"}}", 403, "/arguments/output",
         ""},
        {"{\"verb\":\"prune\",\"arguments\":{\"DONOR\":\"models/a\",\"output\":\"models/etc/x\"}}", 403,
         "/arguments/output", ""},
        {"{\"verb\":\"prune\",\"arguments\":{\"DONOR\":\"models/a\",\"output\":\".organ/x\"}}", 403,
         "/arguments/output", ""},
        {"{\"verb\":\"prune\",\"arguments\":{\"DONOR\":\"models/a\",\"output\":\"../x\"}}", 422, "/arguments/output",
         ""},
        {"{\"verb\":\"prune\",\"arguments\":{\"DONOR\":\"models/a\",\"output\":\"none/x\"}}", 404, "/arguments/output",
         ""},
        {PRUNE(",\"calibration\":\"/etc/passwd\""), 422, "/arguments/calibration", ""},
        {PRUNE(",\"scratch\":\"/tmp\""), 422, "/arguments/scratch", ""},
        {PRUNE(",\"scratch\":\"none\""), 404, "/arguments/scratch", ""},
        {PRUNE(",\"scratch\":\"leak\""), 403, "/arguments/scratch", ""}};
    for (size_t k = 0; k < LENGTH(rows); k++) {
        organ_job_words words;
        json_t *faults = NULL;
        const unsigned status = read_words(rows[k].request, &words, &faults);
        char *const all = json_dumps(faults, JSON_COMPACT);
        const json_t *const first = json_array_get(faults, 0);
        ck_assert_msg(status == rows[k].status, "%s: %u instead of %u: %s", rows[k].request, status, rows[k].status,
                      all);
        bool found = false;
        for (size_t f = 0; f < json_array_size(faults); f++) {
            const json_t *const fault = json_array_get(faults, f);
            found = found || (strcmp(organ_json_text(fault, "field"), rows[k].field) == 0 &&
                              strstr(organ_json_text(fault, "detail"), rows[k].detail));
        }
        ck_assert_msg(found && first, "%s: %s", rows[k].request, all);
        ck_assert_ptr_null(words.argv);
        free(all);
        json_decref(faults);
    }
}
END_TEST

START_TEST(all_faults_come_at_once)
{
    organ_job_words words;
    json_t *faults = NULL;
    const unsigned status =
        read_words("{\"verb\":\"prune\",\"arguments\":{\"DONOR\":\"none\",\"sparsity\":-1,\"beta\":\"x\",\"oops\":1}}",
                   &words, &faults);
    ck_assert_uint_eq(status, 422);
    ck_assert_uint_eq(json_array_size(faults), 5);
    json_decref(faults);
}
END_TEST

START_TEST(a_nul_never_ends_a_word)
{
    organ_job_words words;
    json_t *faults = NULL, *const request = json_loads(INSPECT("\"b.gguf\\u0000../x\""), JSON_ALLOW_NUL, NULL);
    ck_assert_ptr_nonnull(request);
    ck_assert_uint_eq(
        organ_job_words_read(organ_all_verbs.verbs, organ_all_verbs.count, jail, request, &words, &faults), 422);
    ck_assert_ptr_nonnull(strstr(organ_json_text(json_array_get(faults, 0), "detail"), "NUL"));
    json_decref(faults);
    json_decref(request);
}
END_TEST

/* An option that takes a path without being marked as such could leave the root. */
START_TEST(every_option_that_takes_a_file_says_so)
{
    static const char *const files[] = {"FILE", "DIR", "OUT", "OUTDIR", "PATH"};
    const organ_option *option;
    for (size_t v = 0; v < organ_all_verbs.count; v++)
        for (size_t k = 0; (option = organ_job_option(organ_all_verbs.verbs[v], k)); k++)
            for (size_t f = 0; option->argument && f < LENGTH(files); f++)
                ck_assert_msg(strcmp(option->argument, files[f]) != 0 || option->names != ORGAN_NAMES_NOTHING,
                              "%s --%s", organ_all_verbs.verbs[v]->name, option->name);
}
END_TEST

START_TEST(resumed_words_have_resume_once)
{
    json_t *const argv = json_loads("[\"organ\",\"prune\",\"--output=o\",\"--\",\"--resume\"]", 0, NULL);
    json_t *const once = organ_job_words_resumed(argv), *const twice = organ_job_words_resumed(once);
    char *const text = json_dumps(once, JSON_COMPACT);
    ck_assert_str_eq(text, "[\"organ\",\"prune\",\"--output=o\",\"--resume\",\"--\",\"--resume\"]");
    ck_assert(json_equal(once, twice));
    free(text);
    json_decref(argv);
    json_decref(once);
    json_decref(twice);
}
END_TEST

START_TEST(paths_clash_where_one_lies_in_the_other)
{
    static const struct {
        const char *reads, *writes, *other_reads, *other_writes, *path;
    } rows[] = {{"[\"a\"]", "[\"o\"]", "[\"a\"]", "[\"p\"]", NULL},
                {"[\"a\"]", "[\"o\"]", "[\"b\"]", "[\"o\"]", "o"},
                {"[\"a\"]", "[\"o/x\"]", "[\"b\"]", "[\"o\"]", "o/x"},
                {"[\"a\"]", "[\"o\"]", "[\"b\"]", "[\"o/x\"]", "o"},
                {"[\"a\"]", "[\"ox\"]", "[\"b\"]", "[\"o\"]", NULL},
                {"[\"a\"]", "[\"b/c\"]", "[\"b\"]", "[\"p\"]", "b/c"},
                {"[\"p/q\"]", "[\"o\"]", "[\"b\"]", "[\"p\"]", "p/q"},
                {"[\".\"]", "[]", "[\"b\"]", "[\"p\"]", "."},
                {"[\"a\"]", "[]", "[\"a\"]", "[]", NULL}};
    for (size_t k = 0; k < LENGTH(rows); k++) {
        json_t *const reads = json_loads(rows[k].reads, 0, NULL), *const writes = json_loads(rows[k].writes, 0, NULL);
        json_t *const other_reads = json_loads(rows[k].other_reads, 0, NULL), *const other_writes = json_loads(
                                                                                  rows[k].other_writes, 0, NULL);
        const char *path = NULL;
        const bool clash = organ_job_words_clash(reads, writes, other_reads, other_writes, &path);
        ck_assert_int_eq(clash, rows[k].path != NULL);
        if (clash)
            ck_assert_str_eq(path, rows[k].path);
        json_decref(reads);
        json_decref(writes);
        json_decref(other_reads);
        json_decref(other_writes);
    }
}
END_TEST

/* ---- descriptions of verbs ---- */

START_TEST(verbs_describe_themselves)
{
    json_t *const list = organ_verb_list(&organ_all_verbs);
    ck_assert_uint_ge(json_array_size(list), 20);
    /* The sections are those of help, in the same order. */
    size_t at = 0;
    for (size_t k = 0; k < json_array_size(list); k++) {
        const char *const section = organ_json_text(json_array_get(list, k), "section");
        const char *const name = organ_json_text(json_array_get(list, k), "name");
        while (at < organ_all_verbs.section_count && strcmp(organ_all_verbs.sections[at].title, section) != 0)
            at++;
        ck_assert_msg(at < organ_all_verbs.section_count, "%s: '%s'", name, section);
        if (strcmp(name, "experts") == 0 || strcmp(name, "width") == 0)
            ck_assert_str_eq(section, "Make smaller");
        if (strcmp(name, "quantize") == 0)
            ck_assert_str_eq(section, "Quantise and convert");
    }
    for (size_t v = 0; v < organ_all_verbs.count; v++) {
        if (!organ_verb_is_job(organ_all_verbs.verbs[v]))
            continue;
        json_t *const described = organ_verb_describe(organ_all_verbs.verbs[v]);
        ck_assert_ptr_nonnull(described);
        const json_t *const properties = organ_json_at(described, "schema.properties"), *const groups = json_object_get(
                                                                                            described, "groups");
        size_t options = json_array_size(json_object_get(described, "operands"));
        for (size_t g = 0; g < json_array_size(groups); g++)
            options += json_array_size(json_object_get(json_array_get(groups, g), "options"));
        ck_assert_uint_eq(json_object_size(properties), options);
        ck_assert_ptr_null(json_object_get(properties, "json"));
        json_decref(described);
    }
    json_decref(list);
}
END_TEST

/* ---- records of jobs ---- */

static organ_job *new_job(const organ_job_store *store)
{
    organ_job_words words;
    json_t *faults;
    organ_job *job = NULL;
    organ_error error = {0};
    ck_assert_uint_eq(read_words(PRUNE(""), &words, &faults), 0);
    ck_assert_msg(organ_job_create(store, &words, &job, &error) == ORGAN_OK, "%s", error.message);
    organ_job_words_release(&words);
    return job;
}

START_TEST(records_survive)
{
    organ_job_store store;
    organ_error error = {0};
    organ_job *again;
    ck_assert_msg(organ_job_store_open(scratch_path("root"), &store, &error) == ORGAN_OK, "%s", error.message);
    organ_job *const job = new_job(&store), *const other = new_job(&store);
    ck_assert_int_lt(strcmp(job->id, other->id), 0);
    job->state = ORGAN_JOB_RUNNING;
    job->process = (organ_process){.pid = 77, .born = 1234567890123, .boot = "that one"};
    job->attempts = 2;
    job->cancelling = job->resume = true;
    snprintf(job->message, sizeof job->message, "it \xff broke");
    ck_assert_int_eq(organ_job_save(&store, job, &error), ORGAN_OK);
    ck_assert_msg(organ_job_load(&store, job->id, &again, &error) == ORGAN_OK, "%s", error.message);
    ck_assert(json_equal(job->fixed, again->fixed));
    ck_assert_int_eq(again->state, ORGAN_JOB_RUNNING);
    ck_assert_int_eq(again->process.pid, 77);
    ck_assert_uint_eq(again->process.born, 1234567890123);
    ck_assert_str_eq(again->process.boot, "that one");
    ck_assert_str_eq(again->message, "it \\xff broke");
    ck_assert(again->cancelling && again->resume && again->attempts == 2 && again->code == -1);
    organ_job_free(again);
    json_t *const ids = organ_job_ids(&store, &error);
    ck_assert_uint_eq(json_array_size(ids), 2);
    organ_job_erase(&store, job->id);
    ck_assert_int_eq(organ_job_load(&store, job->id, &again, &error), ORGAN_BAD_INPUT);
    json_decref(ids);
    organ_job_free(job);
    organ_job_free(other);
    organ_job_store_close(&store);
}
END_TEST

START_TEST(ids_ascend_though_the_clock_steps_back)
{
    organ_job_store store;
    organ_error error = {0};
    ck_assert_msg(organ_job_store_open(scratch_path("."), &store, &error) == ORGAN_OK, "%s", error.message);
    char *const newest = organ_format("%s/20991231-235959-999999", store.path);
    ck_assert_int_eq(mkdir(newest, 0700), 0);
    organ_job *const job = new_job(&store), *const other = new_job(&store);
    ck_assert_str_eq(job->id, "21000101-000000-000000");
    ck_assert_str_eq(other->id, "21000101-000000-000001");
    organ_job_free(job);
    organ_job_free(other);
    organ_job_store_close(&store);
    free(newest);
}
END_TEST

/* A record that was changed by hand must not start another command. */
START_TEST(records_that_are_none_are_refused)
{
    static const char *const changes[] = {"{\"schema\":\"organ.job/2\"}",
                                          "{\"id\":\"1\"}",
                                          "{\"state\":\"sleeping\"}",
                                          "{\"argv\":[\"organ\",7]}",
                                          "{\"argv\":[]}",
                                          "{\"argv\":\"organ\"}",
                                          "{\"arguments\":[]}",
                                          "{\"reads\":{}}",
                                          "{\"writes\":[null]}",
                                          "{\"verb\":3}",
                                          "{\"created\":\"\"}",
                                          "{\"command\":null}"};
    organ_job_store store;
    organ_error error = {0};
    ck_assert_int_eq(organ_job_store_open(scratch_path("root"), &store, &error), ORGAN_OK);
    organ_job *const job = new_job(&store);
    char path[256];
    snprintf(path, sizeof path, "%s/%s/job.json", store.path, job->id);
    json_t *const record = json_load_file(path, 0, NULL);
    for (size_t k = 0; k < LENGTH(changes); k++) {
        json_t *const changed = json_deep_copy(record), *const change = json_loads(changes[k], 0, NULL);
        organ_job *loaded = NULL;
        organ_error fault = {0};
        json_object_update(changed, change);
        ck_assert_int_eq(json_dump_file(changed, path, 0), 0);
        ck_assert_msg(organ_job_load(&store, job->id, &loaded, &fault) == ORGAN_BAD_INPUT, "%s", changes[k]);
        ck_assert_ptr_nonnull(strstr(fault.message, job->id));
        json_decref(changed);
        json_decref(change);
    }
    json_decref(record);
    organ_job_free(job);
    organ_job_store_close(&store);
}
END_TEST

START_TEST(a_root_has_one_server)
{
    organ_job_store store, second;
    organ_error error = {0};
    ck_assert_int_eq(organ_job_store_open(scratch_path("root"), &store, &error), ORGAN_OK);
    ck_assert_int_eq(organ_job_store_open(scratch_path("root"), &second, &error), ORGAN_USAGE);
    ck_assert_ptr_nonnull(strstr(error.message, "another server uses this directory"));
    organ_job_store_close(&store);
}
END_TEST

START_TEST(jobs_are_not_kept_behind_a_link)
{
    organ_job_store store;
    organ_error error = {0};
    mkdir(scratch_path("elsewhere"), 0755);
    ck_assert_int_eq(symlink("../elsewhere", scratch_path("root/.organ")), 0);
    ck_assert_int_eq(organ_job_store_open(scratch_path("root"), &store, &error), ORGAN_USAGE);
    ck_assert_ptr_nonnull(strstr(error.message, "is not a directory"));
}
END_TEST

/* ---- progress events ---- */

START_TEST(progress_follows_the_events)
{
    static const char begun[] =
        "{\"event\":\"begin\",\"what\":\"pruning\",\"bytes\":1000,\"tensors\":4}\n"
        "{\"event\":\"advance\",\"bytes\":250,\"of\":1000,\"tensors\":1,\"tensor\":\"a\",\"remark\":null}\nhalf a li";
    static const char rest[] =
        "ne\n{\"event\":\"advance\",\"bytes\":500,\"of\":1000,\"tensors\":2,\"tensor\":\"b\",\"remark\":null}\n"
        "{\"event\":\"error\",\"status\":\"bad input\",\"code\":3,\"message\":\"no\"}\n";
    organ_job_progress progress = {0};
    scratch_file("events", begun, sizeof begun - 1);
    const int fd = open(scratch_path("events"), O_RDWR | O_APPEND);
    ck_assert(organ_job_progress_read(&progress, fd));
    ck_assert_str_eq(progress.stage, "pruning");
    ck_assert_uint_eq(progress.bytes, 250);
    ck_assert(!organ_job_progress_read(&progress, fd));
    ck_assert_int_eq((int)write(fd, rest, sizeof rest - 1), (int)sizeof rest - 1);
    ck_assert(organ_job_progress_read(&progress, fd));
    ck_assert_uint_eq(progress.bytes, 500);
    ck_assert_str_eq(progress.tensor, "b");
    ck_assert(progress.failed && progress.code == 3);
    ck_assert_str_eq(progress.message, "no");
    json_t *const view = organ_job_progress_view(&progress, true);
    ck_assert(organ_json_real(view, "fraction") == 0.5);
    ck_assert_uint_eq(organ_json_count(view, "of_tensors"), 4);
    json_decref(view);
    close(fd);
}
END_TEST

START_TEST(what_is_no_event_is_a_note)
{
    static const char *const lines[] = {
        "plain words", "{\"event\":7}", "{\"event\":\"a b\"}", "{\"event\":\"x\\ndata: y\"}", "[1]", ""};
    for (size_t k = 0; k < LENGTH(lines); k++) {
        json_t *const event = organ_job_event(lines[k], strlen(lines[k]));
        ck_assert_str_eq(organ_json_text(event, "event"), "note");
        ck_assert_str_eq(organ_json_text(event, "text"), lines[k]);
        json_decref(event);
    }
    json_t *const binary = organ_job_event("\xff\x01", 2);
    ck_assert_str_eq(organ_json_text(binary, "text"), "\\xff\\x01");
    json_decref(binary);
}
END_TEST

int main(void)
{
    const suite_case cases[] = {
        {"words",
         {arguments_become_words, every_fault_is_named, all_faults_come_at_once, a_nul_never_ends_a_word,
          every_option_that_takes_a_file_says_so, resumed_words_have_resume_once,
          paths_clash_where_one_lies_in_the_other}},
        {"description", {verbs_describe_themselves}},
        {"records",
         {records_survive, ids_ascend_though_the_clock_steps_back, records_that_are_none_are_refused,
          a_root_has_one_server, jobs_are_not_kept_behind_a_link}},
        {"progress", {progress_follows_the_events, what_is_no_event_is_a_note}}};
    Suite *const suites[] = {suite_of("jobs", cases, LENGTH(cases), setup, teardown), open_api_suite(), NULL};
    return run_suites(suites);
}
