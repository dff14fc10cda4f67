/* SPDX-License-Identifier: MIT
 * imatrix: writes an importance matrix for llama.cpp's quantiser and for organ. */
#include "orchestrator/cli/cli_parts.h"

#include <organ/evaluate.h>
#include <stdlib.h>

typedef struct imatrix_call {
    organ_call call;
    organ_importance_options importance;
    bool merge;        /* --merge: `importance.model` and `files` are importance matrices */
    organ_words files; /* the operands after the first */
} imatrix_call;
#define CALL imatrix_call

/* Tables are laid out by hand. */
/* clang-format off */

static const organ_option options[] = {
    INPUT("calibration", "FILE", importance.text,
          "the UTF-8 text to run; it is not normalised or stripped", .common = true),
    FLAG("merge", merge,
         "add importance matrices of one model, in either format, instead of running a text: the sums of llama-imatrix "
         "with --in-file", .common = true),
    OUTPUT("FILE", importance.output, "the importance matrix, a new file", .required = true),
    CHOICE("format", "gguf|dat", importance.format,
           "format of the file; dat is the one of llama.cpp before 2025; default: dat if FILE ends in .dat, else gguf"),
    NUMBER("context", "N", importance.context,
           "tokens of a chunk; default 512, or the model's context if that is less; with --merge that of "
           "the files", .letter = 'c',
           .range = {TEXT_CONTEXTS}, .common = true),
    NUMBER("chunks", "N", importance.chunks, "use only the first N chunks; default: all", .range = {1, 4294967295.0},
           .common = true),
    FLAG("process-output", importance.head,
         "also the inputs of the output head (output.weight; token_embd.weight if embeddings and head are one tensor), "
         "which llama-quantize otherwise quantises unweighted"),
    RESUME(importance.resume),
    FORCE(importance.force),
    DRY_RUN(importance.dry_run, "print the chunks, the least --memory and an estimate of the time"),
    COMPUTE("compute", importance.compute,
            "arithmetic of the forward pass: exact, split or bf16 ('organ help perplexity')",
            .fallback = "exact")};

#define OF_TEXT(path) ORGAN_REQUIREMENT(imatrix_call, importance.path, .never = "merge")
static const organ_requirement needs[] = {OF_TEXT(text), OF_TEXT(chunks), OF_TEXT(head), OF_TEXT(resume),
                                          ORGAN_REQUIREMENT(imatrix_call, merge)};
static const organ_requirements requirements = {needs, COUNT(needs), NULL};

static organ_status merge_files(const imatrix_call *own, const organ_engine *engine, const organ_progress *progress,
                                json_t **report, organ_error *error)
{
    const organ_importance_options *const o = &own->importance;
    organ_importance_merge_options m = organ_importance_merge_defaults();
    ORGAN_OWNED const char **const files = malloc((own->files.count + 1) * sizeof *files);
    if (!files)
        return organ_fail_memory(error, o->output);
    files[0] = o->model;
    for (size_t k = 0; k < own->files.count; k++)
        files[k + 1] = own->files.word[k];
    m.files = files;
    m.count = own->files.count + 1;
    m.output = o->output;
    m.format = o->format;
    m.context = o->context;
    m.force = o->force;
    m.dry_run = o->dry_run;
    organ_importance_merge(&m, engine, progress, report, error);
    return error->status;
}

WORK(imatrix_work)
{
    organ_importance_options *const o = &own->importance;
    if (organ_requirements_check(&requirements, own, &(imatrix_call){0}, error))
        return error->status;
    if (own->merge)
        return merge_files(own, engine, progress, report, error);
    if (own->files.count)
        return organ_fail(error, ORGAN_USAGE, "imatrix: unexpected argument '%s'; %s '%s'%s", own->files.word[0],
                          o->text ? "--merge adds importance matrices: --merge" : "did you mean --calibration",
                          own->files.word[0], o->text ? "" : "?");
    if (!o->text)
        return organ_fail(error, ORGAN_USAGE, "imatrix: --calibration FILE is missing: the UTF-8 text to run");
    o->access = &call->access;
    return organ_importance(o, engine, progress, report, error);
}
RUN_WORK(imatrix, true)

const organ_verb organ_imatrix_verb = {
    .name = "imatrix",
    .shares = true,
    .summary = "write an importance matrix for quantisation to GGUF",
    .usage = "MODEL --calibration FILE -o FILE [options]\n"
             "--merge FILE... -o FILE [options]",
    .about = "Runs a text through a model and sums the squared inputs of every matrix: the importance matrix that "
             "llama-quantize, 'organ quantize' and 'organ prune' read with --imatrix. Chunks, names and sums are those "
             "of llama.cpp's llama-imatrix, also if MODEL is a directory of safetensors. organ runs the model one "
             "layer at a time within --memory, and the file has the same bytes for any number of threads and ranks "
             "and after --resume.\n"
             "An expert counts only the tokens that are routed to it. An expert that no token reached gets the mean of "
             "its layer, and the report lists it. Blocks for multi-token prediction (MTP) have entries, too, if their "
             "tensors have the names of DeepSeek-V3, GLM-4.5, Qwen3-Next, Qwen3.5, MiMo-V2 or ERNIE 4.5.",
    OPERANDS(OPERAND("MODEL", MODEL, importance.model,
                     "a model directory with its tokenizer, a .gguf file, or a .safetensors file or "
                     "model.safetensors.index.json next to its tokenizer; with --merge an importance matrix"),
             OPTIONAL("FILE...", INPUT, files, "with --merge: further importance matrices")),
    NEEDS({&requirements, 0}),
    GROUPS(GROUP("Options", options), MACHINE_GROUP, REACH_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ imatrix Qwen3-4B --calibration calib.txt -o imatrix.gguf",
              "Writes an importance matrix for llama-quantize --imatrix."},
             {"organ imatrix BF16.gguf --calibration TEXT --chunks 100 -o imatrix.dat",
              "Uses 100 chunks of 512 tokens and writes the older format."},
             {"organ imatrix --merge english.gguf code.gguf -o both.gguf", "Adds the sums over two texts."}),
    .exits = {.content = "the text has fewer than two chunks, or the entries of files to merge differ"},
    .run = run_imatrix};
