/* SPDX-License-Identifier: MIT
 * fetch: downloads a model from the hub of Hugging Face. */
#include "orchestrator/cli/verb_parts.h"
#include "orchestrator/surgery/fetch/fetch.h"

typedef struct fetch_call {
    organ_call call;
    organ_fetch_options fetch;
    organ_words include, exclude; /* --include, --exclude */
    bool cache;                   /* --cache */
} fetch_call;
#define CALL fetch_call

/* Tables are laid out by hand. */
/* clang-format off */

WORK(fetch_work)
{
    if (own->cache == (own->fetch.output != NULL))
        return organ_fail(error, ORGAN_USAGE, "fetch: name either a folder with -o DIR, or the cache with --cache");
    own->fetch.access = &call->access;
    own->fetch.include = own->include.word;
    own->fetch.include_count = own->include.count;
    own->fetch.exclude = own->exclude.word;
    own->fetch.exclude_count = own->exclude.count;
    return organ_fetch(&own->fetch, progress, report, error);
}
RUN_WORK(fetch, false)

static const organ_option fetch_options[] = {
    OUTPUT("DIR", fetch.output, "folder for the files; existing files with the right digest are kept"),
    FLAG("cache", cache, "instead of -o: download into the cache of huggingface_hub, where transformers finds the "
                         "model"),
    WORDS("include", "GLOB", include, "download only files whose path matches; '*' matches '/', too; may be repeated"),
    WORDS("exclude", "GLOB", exclude, "leave out files whose path matches; may be repeated"),
    INPUT("token-file", "FILE", fetch.token_file,
          "file with the token for the hub; default: HF_TOKEN, else the file in which huggingface_hub keeps it"),
    DRY_RUN(fetch.dry_run, "list the files and the number of bytes to download")};

const organ_verb organ_fetch_verb = {
    .name = "fetch",
    .no_job = true,
    .summary = "download a model from the hub of Hugging Face, with resume and digests",
    .about = "Downloads a model from the hub of Hugging Face. fetch asks the hub for the list of the files at "
             "REVISION, a branch, tag or commit (default main), and downloads them. It compares the size and digest of "
             "each file with the list: SHA-256 for large files (LFS), the SHA-1 of a git blob for small ones.\n"
             "An incomplete file has the name FILE.part (in the cache DIGEST.incomplete). The same command continues "
             "an interrupted download; fetch itself repeats requests when a connection breaks. If the disk has too "
             "little space for the remaining bytes, fetch fails before it downloads anything.\n"
             "If the variable HF_ENDPOINT is set, its server replaces https://huggingface.co. fetch sends the token to "
             "that server only, not to servers to which it redirects. If HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is "
             "set, fetch ends with an error (code 2).",
    OPERANDS(OPERAND("NAME", NOTHING, fetch.model, "the model: hf:ORG/NAME[/FILE][@REVISION]")),
    GROUPS(GROUP("Options", fetch_options), REACH_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ fetch hf:Qwen/Qwen2.5-7B-Instruct -o Qwen2.5-7B-Instruct",
              "Downloads all files into a folder."},
             {"organ fetch hf:Qwen/Qwen2.5-7B-Instruct --cache --exclude '*.bin'",
              "Downloads into the cache, where every program that uses the cache finds the model."},
             {"organ fetch hf:org/name-GGUF/name-Q4_K_M.gguf -o . --dry-run", "Prints how large one file is."}),
    .exits = "0 done; 2 wrong usage, a file exists with another content, no file is selected, or HF_HUB_OFFLINE is "
             "set; 3 the name or the list of files is malformed, the list has a hidden file, or a size or digest "
             "differs from the list; 4 the server refuses or cannot be reached, or the disk is full; 130 interrupted.",
    .run = run_fetch};
