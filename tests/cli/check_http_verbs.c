/* SPDX-License-Identifier: MIT
 * Every verb that reads a model behind a URL sends the user's headers and respects --patience. */
#include "orchestrator/cli/cli_parts.h"
#include "tests/formats/remote/check_http.h"
#include "tests/kit/run_rig.h"
#include "tests/kit/served_model.h"
#include "tests/kit/suite_table.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_WORDS 16
#define TINY      "fixtures/tiny-qwen2"

static served_model small;
static http_server *server;

static void setup(void)
{
    unsetenv("http_proxy");
    scratch_make();
    small = served_model_make(1, 2, 48, 40, 1);
    server = http_start(small.files, small.file_count, 0);
}

static void teardown(void)
{
    http_stop(server);
    served_model_free(&small);
    scratch_remove();
}

/* @: the URL of the model's file; #: that of its index; ^: the path of a new directory. */
static const struct {
    const char *verb, *words;
} calls[] = {
    {"inspect", "@"},
    {"vocabulary", "@ --text=" TINY "/heldout.txt"},
    {"compare", "@ @"},
    {"audit", "@ " TINY},
    {"audit", TINY " @"},
    {"autopsy", "@"},
    {"autopsy", TINY " @"},
    {"orthogonality", "@ " TINY " fixtures/tiny-lora"},
    {"orthogonality", "--pair @ " TINY " --pair fixtures/tiny-lora-merged.safetensors fixtures/types.gguf"},
    {"measure", "@"},
    {"extract", "@ -o ^"},
    {"assemble", "@ -o ^"},
    {"gguf split", "@ -o ^ --max-tensors 9"},
    {"gguf join", "@ -o ^.gguf"},
    {"gguf edit", "@ -o ^.gguf --metadata general.name=x"},
    {"patch extract", "--base=@ --tuned=" TINY " -o ^"},
    {"graft", "--source=@ --target=" TINY " -o ^"},
    {"graft", "--source=@ --target=" TINY " --select=feed-forward -o ^"},
    {"tokenize", "@ --text=" TINY "/heldout.txt"},
    {"imatrix", "@ --chunks=2 -c 64 -o ^i --calibration=" TINY "/heldout.txt"},
    {"perplexity", "@ --text=" TINY "/heldout.txt"},
    {"evaluate", "@ " TINY " --text=" TINY "/heldout.txt"},
    {"generate", "@ --prompt=a"},
    {"lora sanitize", "fixtures/tiny-lora --base=@ --check"},
};

static const organ_verb *verb_named(const char *name)
{
    for (size_t k = 0; k < organ_all_verbs.count; k++)
        if (strcmp(organ_all_verbs.verbs[k]->name, name) == 0)
            return organ_all_verbs.verbs[k];
    ck_abort_msg("there is no verb %s", name);
}

static bool has_option(const organ_verb *verb, const char *name)
{
    for (size_t g = 0; g < verb->group_count; g++)
        for (size_t k = 0; k < verb->groups[g].count; k++)
            if (strcmp(verb->groups[g].options[k].name, name) == 0)
                return true;
    return false;
}

static bool secret; /* URLs have a password and a query */

static const char *url_of(const char *file)
{
    static char text[300];
    const char *const url = http_url(server, file);
    snprintf(text, sizeof text, secret ? "http://me:hush@%s?token=hush" : "http://%s", url + strlen("http://"));
    return text;
}

/* Runs the verb as the program does; its output goes to the file "output". It does not fork, because the server has
 * threads, whose locks a child would inherit. */
static int run(const char *name, const char *words, const char *header)
{
    char text[1000] = "", *argv[MAX_WORDS], *rest = NULL;
    int argc = 0;
    const organ_verb *const verb = verb_named(name);
    for (const char *c = words; *c; c++) {
        const char *put = c;
        if (*c == '@')
            put = url_of("model-00001-of-00001.safetensors");
        else if (*c == '#')
            put = url_of("model.safetensors.index.json");
        else if (*c == '^')
            put = scratch_path("made");
        snprintf(text + strlen(text), sizeof text - strlen(text), "%.*s", put == c ? 1 : 200, put);
    }
    for (char *word = strtok_r(text, " ", &rest); word && argc < MAX_WORDS - 3; word = strtok_r(NULL, " ", &rest))
        argv[argc++] = word;
    argv[argc++] = (char *)header;
    argv[argc++] = (char *)"--patience=1";
    if (secret && has_option(verb, "json"))
        argv[argc++] = (char *)"--json";
    organ_error error = {0};
    organ_help help = ORGAN_HELP_NONE;
    organ_call *const call = organ_call_create(verb, NULL, &error);
    ck_assert_ptr_nonnull(call);
    ck_assert_msg(organ_options_parse(verb, argc, argv, call, &help, &error) == ORGAN_OK, "%s: %s", name,
                  error.message);
    organ_call_complete(call);
    const int nowhere = open(scratch_path("output"), O_WRONLY | O_CREAT | O_TRUNC, 0666), out = dup(STDOUT_FILENO),
              err = dup(STDERR_FILENO);
    dup2(nowhere, STDOUT_FILENO);
    dup2(nowhere, STDERR_FILENO);
    const int code = (int)verb->run(call, &error);
    free(call);
    fflush(stdout);
    fflush(stderr);
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    close(nowhere);
    close(out);
    close(err);
    return code;
}

START_TEST(every_verb_sends_the_headers)
{
    for (size_t k = 0; k < sizeof calls / sizeof *calls; k++) {
        char header[64], value[32];
        snprintf(value, sizeof value, "number%zu", k);
        snprintf(header, sizeof header, "--header=X-Token: %s", value);
        const int code = run(calls[k].verb, calls[k].words, header);
        ck_assert_msg(code < 90, "%s %s: %d", calls[k].verb, calls[k].words, code);
        ck_assert_msg(strcmp(http_last_header(server, "X-Token"), value) == 0, "%s %s: sent '%s'", calls[k].verb,
                      calls[k].words, http_last_header(server, "X-Token"));
    }
}
END_TEST

/* A server that asks to wait longer than the patience of one second is not waited for. */
START_TEST(every_verb_has_the_patience)
{
    http_behave(server, (http_manners){.oddity = HTTP_STATUS, .code = 429, .retry_after = 2, .count = -1});
    for (size_t k = 0; k < sizeof calls / sizeof *calls; k++) {
        const long before = http_requests(server);
        ck_assert_msg(run(calls[k].verb, calls[k].words, "--header=X-Token: t") == 4, "%s %s", calls[k].verb,
                      calls[k].words);
        ck_assert_msg(http_requests(server) == before + 1, "%s %s: %ld requests", calls[k].verb, calls[k].words,
                      http_requests(server) - before);
    }
}
END_TEST

/* Verbs that help lists for URLs work on a file behind one; a whole model behind a URL, whose files cannot be listed,
 * is not copied. */
START_TEST(copies_of_whole_models_are_refused)
{
    static const struct {
        const char *verb, *words;
        int code;
    } rows[] = {{"extract", "@ -o ^1", 0},  {"assemble", "@ -o ^2", 0}, {"extract", "# -o ^3", 2},
                {"assemble", "# -o ^4", 2}, {"inspect", "#", 0},        {"measure", "#", 0}};
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        const int code = run(rows[k].verb, rows[k].words, "--header=X-Token: t");
        ck_assert_msg(code == rows[k].code, "%s %s: %d", rows[k].verb, rows[k].words, code);
    }
}
END_TEST

static int refuse_secret(const char *path, const struct stat *info, int type, struct FTW *place)
{
    (void)place;
    char *const bytes = type == FTW_F ? malloc((size_t)info->st_size + 1) : NULL;
    FILE *const file = bytes ? fopen(path, "rb") : NULL;
    if (file) {
        const size_t got = fread(bytes, 1, (size_t)info->st_size, file);
        const char *const found = memmem(bytes, got, "hush", 4);
        ck_assert_msg(!found, "%s: %.200s", path, found && found - bytes > 100 ? found - 100 : bytes);
        fclose(file);
    }
    free(bytes);
    return 0;
}

/* Neither documents nor messages nor files show the password or the query of a URL. */
START_TEST(no_verb_shows_secrets)
{
    secret = true;
    for (size_t k = 0; k < sizeof calls / sizeof *calls; k++) {
        const int code = run(calls[k].verb, calls[k].words, "--header=X-Token: hush");
        ck_assert_msg(code < 90, "%s %s: %d", calls[k].verb, calls[k].words, code);
        nftw(scratch_path("."), refuse_secret, 16, FTW_PHYS);
    }
    secret = false;
}
END_TEST

Suite *http_verbs_suite(void)
{
    const suite_case cases[] = {{"verbs",
                                 {every_verb_sends_the_headers, every_verb_has_the_patience, no_verb_shows_secrets,
                                  copies_of_whole_models_are_refused}}};
    return suite_of("http verbs", cases, sizeof cases / sizeof *cases, setup, teardown);
}
