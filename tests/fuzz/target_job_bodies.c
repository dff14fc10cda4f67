/* SPDX-License-Identifier: MIT
 * The JSON of a request for a job, which becomes a command line. No value may become an option, and no path may leave
 * the root. */
#include "tests/fuzz/targets.h"
#include "orchestrator/cli/cli_parts.h"
#include "orchestrator/serve/jobs/jobs_parts.h"

#include <stdlib.h>
#include <string.h>

static organ_jail *open_root(void)
{
    organ_error error = {0};
    organ_jail *jail;
    fuzz_put("jobs/models/a/config.json", "{}", 2);
    fuzz_put("jobs/b.gguf", "GGUF", 4);
    fuzz_put("jobs/out/there", "", 0);
    fuzz_put("jobs/-x", "x", 1);
    fuzz_put("jobs/it's", "x", 1);
    fuzz_put("jobs/.hidden/a", "x", 1);
    fuzz_require(organ_jail_open(fuzz_folder("jobs"), &jail, &error) == ORGAN_OK, error.message);
    return jail;
}

static void check_path(const char *path)
{
    fuzz_require(path && *path && *path != '/', "a path is relative to the root");
    for (const char *at = path; at; at = strchr(at, '/')) {
        at += *at == '/';
        fuzz_require(!(at[0] == '.' && at[1] == '.' && (at[2] == '/' || !at[2])), "a path does not lead upwards");
    }
}

static void check_words(const organ_job_words *words)
{
    size_t k;
    json_t *word;
    bool operands = false;
    fuzz_require(strcmp(json_string_value(json_array_get(words->argv, 0)), "organ") == 0,
                 "a command line begins with the program");
    json_array_foreach(words->argv, k, word)
    {
        const char *const text = json_string_value(word);
        fuzz_require(text && strlen(text) == json_string_length(word), "a word has no NUL");
        if (operands)
            fuzz_require(*text != '-', "no operand looks like an option");
        operands |= strcmp(text, "--") == 0;
    }
    json_array_foreach(words->reads, k, word) check_path(json_string_value(word));
    json_array_foreach(words->writes, k, word) check_path(json_string_value(word));
    json_t *const resumed = organ_job_words_resumed(words->argv);
    fuzz_require(resumed != NULL, "there is memory");
    json_decref(resumed);
    fuzz_require(words->command && strncmp(words->command, "organ ", 6) == 0, "a command can be shown");
}

void fuzz_job_bodies(const uint8_t *data, size_t size)
{
    static organ_jail *jail;
    if (!jail)
        jail = open_root();
    json_t *const request = json_loadb((const char *)data, size, 0, NULL), *faults = NULL;
    organ_job_words words = {0};
    if (!request)
        return;
    const unsigned status =
        organ_job_words_read(organ_all_verbs.verbs, organ_all_verbs.count, jail, request, &words, &faults);
    fuzz_tell(status, status ? "refused" : words.command);
    fuzz_require(status == 0 || (status >= 400 && status < 500), "a body is a job or the client's fault");
    fuzz_require((status == 0) == (faults == NULL), "a refusal has its reasons");
    if (status == 0) {
        check_words(&words);
        organ_job_words_release(&words);
    }
    json_decref(faults);
    json_decref(request);
}
