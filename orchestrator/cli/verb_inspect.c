/* SPDX-License-Identifier: MIT
 * inspect: lists the tensors of a model. */
#include "orchestrator/cli/cli_parts.h"

#include "orchestrator/verbs/fetch/fetch.h"
#include "orchestrator/verbs/inspect/inspect_parts.h"

#include <organ/inspect.h>
#include <organ/report.h>

typedef struct inspect_call {
    organ_call call;
    organ_inspect_options inspect;
    bool untrusted; /* --untrusted */
} inspect_call;
#define CALL inspect_call

/* Tables are laid out by hand. */
/* clang-format off */

#define NOT_FILES .never = "untrusted", .why = "it examines files, not tensors"
static const organ_requirement inspect_needs[] = {ORGAN_REQUIREMENT(inspect_call, inspect.tensors, NOT_FILES),
                                                  ORGAN_REQUIREMENT(inspect_call, inspect.match, NOT_FILES),
                                                  ORGAN_REQUIREMENT(inspect_call, inspect.readers, NOT_FILES),
                                                  ORGAN_REQUIREMENT(inspect_call, untrusted)};
static const organ_requirements organ_inspect_requirements = {inspect_needs, COUNT(inspect_needs), NULL};

WORK(inspect_work)
{
    own->inspect.access = &call->access;
    if (!own->untrusted)
        return organ_inspect(&own->inspect, report, error);
    if (organ_requirements_check(&organ_inspect_requirements, own, &(inspect_call){0}, error))
        return error->status;
    return organ_untrusted(&(organ_untrusted_options){.model = own->inspect.model}, report, error);
}
RUN_WORK(inspect, false)

static const organ_option inspect_options[] = {
    FLAG("tensors", inspect.tensors, "list every tensor, and the tensors that make up each packed weight",
         .common = true),
    SELECT(inspect.match, "count and list only these tensors", .former = "match"),
    READERS(inspect.readers, "also say whether these programs open the model, and why not"),
    FLAG("untrusted", untrusted,
         "check a directory or file of any content for code and other risks before it is loaded", .common = true)};

const organ_verb organ_inspect_verb = {
    .name = "inspect",
    .common = true,
    .shares = true,
    .summary = "list the tensors of a model by role, and faults of its files",
    .about = "Prints the tensors of a model by role, which is the purpose that organ derives from the name, such as "
             "q_proj. It reads only headers, index and config, so the time does not depend on the size of the weights. "
             "With --untrusted it checks all files of a download for content that could execute code or do damage when "
             "the model is loaded: pickles, programs, configs and chat templates with code, malformed headers, links, "
             "misleading names. It executes none of them.",
    OPERANDS(OPERAND("MODEL", MODEL, inspect.model,
                     "a model directory, a .safetensors or .gguf file, or a model.safetensors.index.json")),
    NEEDS({&organ_inspect_requirements, 0}),
    GROUPS(GROUP("Options", inspect_options), RANKS_GROUP, REACH_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ inspect Qwen2.5-7B-Instruct",
              "Prints the architecture, the tensors by role, and faults of the files."},
             {"organ inspect Qwen2.5-7B-Instruct --tensors --select 3",
              "Lists every tensor of layer 3 with type, shape and size."},
             {"organ inspect --untrusted Downloads/model",
              "Checks a download for pickles, programs, templates, links and malformed headers."},
             {"organ inspect model.safetensors --json | jq .roles", "Prints the roles as JSON."}),
    .exits = {.check = "--untrusted has findings"},
    .run = run_inspect};

/* ---- autopsy: checks the weights of a model for damage ---- */

typedef struct autopsy_call {
    organ_call call;
    organ_autopsy_options autopsy;
    bool print_ranges; /* --print-ranges */
} autopsy_call;
#undef CALL
#define CALL autopsy_call

RUN_REMOTE(model_autopsy, organ_autopsy, autopsy)

static organ_status print_ranges(const organ_call *call, organ_error *error)
{
    ORGAN_OWNED_JSON json_t *const ranges = organ_autopsy_ranges();
    if (!ranges)
        organ_fail(error, ORGAN_IO, "no memory for the ranges");
    else if (organ_ranks_first(call->ranks))
        organ_document_print(ranges, stdout, error);
    return error->status;
}

static organ_status run_autopsy(void *context, organ_error *error)
{
    const CALL *const own = context;
    if (own->print_ranges && own->autopsy.model)
        return organ_fail(error, ORGAN_USAGE, "--print-ranges does not accept a model: it prints the built-in ranges");
    if (own->print_ranges && own->call.html)
        return organ_fail(error, ORGAN_USAGE,
                          "--print-ranges cannot be combined with --html: its output is not a report");
    if (own->print_ranges)
        return print_ranges(&own->call, error);
    if (!own->autopsy.model)
        return organ_fail(error, ORGAN_USAGE, "MODEL is missing; see 'organ help autopsy'");
    return run_model_autopsy(context, error);
}

static const organ_option autopsy_options[] = {
    INPUT("ranges", "FILE", autopsy.ranges,
          "file of expected ranges that replace the built-in ones; edit the output of --print-ranges", .common = true),
    INPUT("text", "FILE", autopsy.text,
          "test whether all scales are wrong by one factor: predict the first 512 tokens of this text with the scales "
          "times 1/4, 1/2, 1, 2 and 4. If the scales are right, the factor 1 predicts it best. The test runs the model "
          "five times", .common = true),
    FLAG("print-ranges", print_ranges, "print the built-in ranges in the format of --ranges and exit"),
    SELECT(autopsy.match, "check only these weights", .former = "match"),
    FLAG("tensors", call.tensors, "list every tensor with its statistics", .common = true),
    OUTPUT("DIR", autopsy.output, "write autopsy.json, AUTOPSY_REPORT.md and AUTOPSY_REPORT.html to this directory")};

const organ_verb organ_autopsy_verb = {
    .name = "autopsy",
    .shares = true,
    .summary = "check every weight for damage and name the likely cause",
    .about = "Computes statistics of the dequantised values of every weight (mean, standard deviation, range, excess "
             "kurtosis, numbers of distinct values, zeros, rows and columns of zeros, NaN and infinities). "
             "Statistics that no healthy weight has are findings. The report states the usual cause of each, such as "
             "scales that belong to other blocks, wrong zero points, or weights that were never loaded. With OTHER, "
             "autopsy also reports the relative error, cosine and largest difference of each weight.\n"
             "The expected range of a projection is |mean| < 0.01, std 0.02 to 0.05 and values within 0.5 of zero; "
             "values outside are only remarks, because small models have wider weights and large ones narrower. "
             "Findings, which make the exit code 1, are |mean| above 0.1, std outside 0.0001 to 1, or values beyond "
             "100; |mean| above 1 or std above 10 is reported as exploded. --print-ranges prints the ranges of all "
             "roles.\n"
             "Usual relative errors of quantised copies are 0.4 to 2 percent for 8-bit integers, 2 to 4 for FP8, 8 "
             "to 15 for 4-bit codes, 14 to 32 for 3-bit codes. An error above 1.5 times the usual maximum is a "
             "finding unless rounding, pruning, an adapter or training explains it.",
    OPERANDS(OPTIONAL("MODEL", MODEL, autopsy.model,
                      "a model: directory, .safetensors, .gguf, organ directory; packed weights are dequantised"),
             OPTIONAL("OTHER", MODEL, autopsy.other,
                      "a model to compare it with, for example the original of a quantised copy")),
    GROUPS(GROUP("Options", autopsy_options), MACHINE_GROUP, REACH_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ autopsy Qwen3-32B-FP8", "Checks every weight, with its scales applied."},
             {"organ autopsy dequantised original", "Also measures the difference of each weight from the original."},
             {"organ autopsy model --select '*.layers.3.*' --tensors", "Prints the statistics of one layer."},
             {"organ autopsy --print-ranges >ranges.json", "Writes the ranges to a file for --ranges."}),
    .exits = {.done = "healthy (remarks allowed)", .check = "there are findings"},
    .run = run_autopsy};

/* ---- models: lists the models in the caches of Hugging Face, Ollama and LM Studio ---- */

CALL_WITH(models, organ_models_options);
#undef CALL
#define CALL models_call

static const organ_option models_options[] = {
    TEXT("match", "GLOB", models.match, "list only models whose name matches, for example 'ollama:*'", .common = true)};

RUN(models, organ_models, models)

const organ_verb organ_models_verb = {
    .name = "models",
    .common = true,
    .no_job = true,
    .summary = "list models in the caches of Hugging Face, Ollama, LM Studio",
    .about = "Lists the models that Hugging Face's libraries, Ollama and LM Studio have downloaded, with "
             "architecture, format and size, and what organ can do with each. Every verb accepts the listed names "
             "instead of a path. organ reads the headers of the files and no weights.\n"
             "'open' means that the files are complete and well-formed. 'score' means that perplexity, evaluate and "
             "generate support the architecture and find every weight; tokenizers are not read. 'calibrate' means in "
             "addition that at least one matrix of a layer is F32, F16 or BF16, for prune --calibration and quantize "
             "--method gptq. 'cut' means that blocks are numbered, so that the verb layers can drop some. For a "
             "model that does not open or does not score, --json and --html give the reason.\n"
             "At most 10000 models are listed.",
    GROUPS(GROUP("Options", models_options), ALONE_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ models", "Prints all models with what organ can do with them."},
             {"organ models --match 'hf:Qwen/*' --json | jq -r .models[].name",
              "Prints the names of Qwen's models in the Hugging Face cache."}),
    .exits = {.done = "done, also if models do not open"},
    .run = run_models};

/* ---- topology: prints where the threads and buffers of a run would be placed ---- */

typedef struct topology_call {
    organ_call call;
    const char *import; /* --import */
} topology_call;
#undef CALL
#define CALL topology_call

static const organ_option planning[] = {
    INPUT("import", "FILE.xml", import,
          "plan for another machine: run hwloc's 'lstopo FILE.xml' there and copy FILE.xml here"),
    NUMBER("threads", "N", call.threads, "number of workers to place; default: one per core",
                                    .letter = 't', .range = {THREADS})};

/* Needs no engine, because it starts no threads. */
WORK(topology_work)
{
    const organ_machine_plan_options options = {.import = own->import, .threads = call->threads, .ranks = call->ranks};
    return organ_machine_plan(&options, report, error);
}
RUN_WORK(topology, false)

const organ_verb organ_topology_verb = {
    .name = "topology",
    .shares = true,
    .summary = "print where threads and buffers of a run would be placed",
    .about = "Prints the core to which each thread of a run would be pinned, the NUMA node of its buffers, and the "
             "parts of the machine that a run does not use. Those are CPUs that are offline, outside the cpuset or "
             "affinity mask, or without a worker, and memory nodes that are empty, forbidden or far from every used "
             "core.\n"
             "Workers first get one CPU of each core, then the second hardware threads of the cores. The fastest "
             "kind of core comes first; among equal cores the NUMA nodes take turns. By default there is one worker "
             "per core, so slower cores are used too. These do not delay faster ones, because organ assigns work "
             "tile by tile. The results of every verb are the same with any plan.",
    GROUPS(GROUP("Options", planning), RANKS_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ topology", "Prints where the workers of a run on this machine would be placed."},
             {"taskset -c 0-7 organ topology --threads 4",
              "Prints the plan for the CPUs that a batch system or taskset allows."},
             {"organ topology --import host.xml --json | jq '.workers[].cpu'",
              "Prints the CPUs of the workers on the machine where 'lstopo host.xml' ran."}),
    .run = run_topology};

/* ---- fetch: downloads a model from the hub of Hugging Face ---- */

typedef struct fetch_call {
    organ_call call;
    organ_fetch_options fetch;
    organ_words include, exclude; /* --include, --exclude */
    bool cache;                   /* --cache */
} fetch_call;
#undef CALL
#define CALL fetch_call

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
                         "model", .common = true),
    WORDS("include", "GLOB", include, "download only files whose path matches; '*' matches '/', too; may be repeated",
         .common = true),
    WORDS("exclude", "GLOB", exclude, "leave out files whose path matches; may be repeated", .common = true),
    INPUT("token-file", "FILE", fetch.token_file,
          "file with the token for the hub; default: HF_TOKEN, else the file in which huggingface_hub keeps it",
          .common = true),
    DRY_RUN(fetch.dry_run, "list the files and the number of bytes to download")};

const organ_verb organ_fetch_verb = {
    .name = "fetch",
    .common = true,
    .no_job = true,
    .summary = "download a model from the hub of Hugging Face",
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
    .exits = {.usage = "no file is selected, or HF_HUB_OFFLINE is set",
              .content = "the list of files has a hidden one, or a size or digest differs from the list"},
    .run = run_fetch};
