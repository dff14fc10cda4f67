/* SPDX-License-Identifier: MIT */
#include "orchestrator/command/foreign_words.h"

#include "formats/base/word_lists.h"

#include <ctype.h>
#include <string.h>

/* `words` are separated by '|'. */
static const struct {
    const char *words, *advice;
} verbs[] = {
    {"chat|run|llama-cli", "organ generate MODEL -p TEXT continues a prompt; organ has no chat"},
    {"list|ls|ps|cache", "organ models lists the models in the caches of this machine"},
    {"info|show|view|dump|gguf-dump|summary|tensors", "organ inspect MODEL shows a model and its tensors"},
    {"pull|get|clone|download", "organ fetch NAME -o DIR downloads a model"},
    {"push|upload|publish", "organ uploads nothing"},
    {"rm|remove|delete|create|cp", "organ writes new models and removes none"},
    {"size|sizes", "organ quantize MODEL -o OUT -s SCHEME --dry-run prints the size of the output"},
    {"type|types|scheme|schemes|formats", "organ quantize --help lists the schemes, that is the types of the output"},
    {"methods|recipe|recipes",
     "organ help prune, organ help quantize and organ help merge list their methods and recipes"},
    {"eval|lm-eval|benchmark|bench|kl-divergence",
     "organ evaluate MODEL OUT --text FILE compares models, --tasks FILE on questions"},
    {"ppl|llama-perplexity|score", "organ perplexity MODEL --text FILE scores one model"},
    {"sparsify|oneshot|wanda|sparsegpt", "organ prune MODEL -o OUT sets weights to zero; --method has the methods"},
    {"gptq|awq|nvfp4|fp8|llama-quantize|compress", "organ quantize MODEL -o OUT -s SCHEME quantises"},
    {"llama-imatrix", "organ imatrix MODEL --calibration TEXT -o FILE writes an importance matrix"},
    {"mergekit|mergekit-yaml|slerp|ties|dare",
     "organ merge MODEL... --method METHOD -o OUT merges, organ merge RECIPE.yaml -o OUT too"},
    {"frankenmerge|moe|mergekit-moe",
     "organ merge has the method passthrough; organ graft copies layers of one model into another"},
    {"mergekit-extract-lora|extract-lora|lora-extract", "organ lora extract makes an adapter from two models"},
    {"lora-merge|export-lora|llama-export-lora|peft", "organ lora merge adds an adapter to its base"},
    {"hf2gguf|export|convert-hf-to-gguf|convert-hf-to-gguf.py",
     "organ convert MODEL -o OUT.gguf --to gguf makes GGUF of safetensors"},
    {"split|gguf-split|llama-gguf-split|shard|join",
     "organ gguf split MODEL -o PREFIX divides a GGUF model into files, organ gguf join FIRST -o OUT.gguf joins them"},
    {"gguf-new-metadata|gguf_new_metadata.py|gguf-set-metadata|gguf_set_metadata.py|gguf-editor|override-kv",
     "organ gguf edit MODEL -o OUT.gguf --metadata KEY=VALUE changes key-values"},
    {"diff|cmp", "organ compare A B compares the weights of models"},
    {"verify|check|validate|prove",
     "organ audit DONOR OUT verifies a pruning or a cut; organ inspect MODEL checks the files of a model"},
    {"train|finetune|fine-tune|distill|heal",
     "organ does not train; --refit of experts, layers and width fits the kept weights to a text"},
    {"abliterate|uncensor", "organ has no such verb; docs/cookbook.md lists what it does"},
    {"api|web|ui|gui|server|llama-server",
     "organ serve --root DIR shows models in a browser and runs all verbs; it serves no completions"},
};

static const organ_foreign_option options[] = {
    /* mergekit */
    {"recipe|config|yaml", "merge", NULL, ": write the recipe without an option, organ merge RECIPE.yaml -o OUT"},
    {"allow-crimes", "merge", "other-architecture", NULL},
    {"weights", NULL, "weight", NULL},
    {"copy-tokenizer|tokenizer-source", "merge", NULL,
     ": the output has the tokenizer of the base or first model; `tokenizer` in a recipe unites several"},
    {"lazy-unpickle|low-cpu-memory|low-cpu-mem-usage|lazy", NULL, NULL, ": organ always works within --memory"},
    {"out-shard-size|split-max-size|shard-size", NULL, "max-shard-size", NULL},
    {"random-seed", NULL, "seed", NULL},
    {"write-model-card", NULL, NULL, ": organ always writes a model card"},
    /* calibration */
    {"dataset|calib|calib-data|calibration-data|calibration-dataset|calibration-file|data|text-file", NULL,
     "calibration", NULL},
    {"file|f|text|input-file", NULL, "calibration", NULL},
    {"file|f|input-file|calibration|dataset|data|wikitext", NULL, "text", NULL},
    {"nsamples|n-samples|num-samples|num-calibration-samples|calib-size", NULL, "samples", NULL},
    {"max-seq-length|max-seq-len|seq-len|seqlen|seq-length|sequence-length|ctx-size|n-ctx|ctx|window|c", NULL,
     "context", NULL},
    {"seq-len|seqlen|ctx-size|n-ctx", NULL, "evaluate-context", NULL},
    {"limit|max-token|n-tokens", NULL, "max-tokens", NULL},
    {"n-predict|max-tokens|max-new-tokens|num-predict|n", "generate", "tokens", NULL},
    {"temp|temperature|top-p|top-k|min-p", "generate", NULL, ": organ generate always takes the most probable token"},
    {"b", NULL, "budget", NULL},
    {"batch-size|b|ubatch-size|ub|batch", NULL, NULL, ": --memory decides how much organ processes at once"},
    {"num-fewshot|n-shot", NULL, NULL, ": FILE of --tasks has the whole text of each question (docs/tasks.md)"},
    {"task|hellaswag|winogrande", NULL, "tasks", NULL},
    /* quantisation */
    {"type|qtype|quant|quantize|quantization|ftype|q|preset", NULL, "scheme", NULL},
    {"outtype|out-type", "convert", "dtype", NULL},
    {"bits|w-bit|wbits|q-bits|group-size|groupsize|q-group-size|sym|asym|num-bits", NULL, "scheme",
     "; the scheme names bits and group: --scheme int4-group128"},
    {"tensor-type|tensor-types|output-tensor-type|token-embedding-type|leave-output-tensor", NULL, "type-of", NULL},
    {"ignore|exclude|targets|include", NULL, "select",
     "; --select LIST chooses the tensors, --select '!GLOB' leaves some out"},
    {"allow-requantize|pure|keep-split", NULL, NULL, ": organ needs no such option"},
    {"bpw|target-bits|bits-per-weight", NULL, "budget", NULL},
    {"size|file-size|max-size", NULL, "target-size", NULL},
    /* pruning and cuts */
    {"sparsity-ratio|sparsity-level|ratio|amount|density", "prune", "sparsity", NULL},
    {"sparsity-type|structure|nm|mask-structure", "prune", "pattern", NULL},
    {"prune-method|algorithm", NULL, "method", NULL},
    {"keep|count|num-layers|n-layers|layers|remove|prune-layers|blocks", "layers", "drop",
     "; --drop N drops N blocks, --drop 5-8 these"},
    {"drop|remove|num-experts|n-experts|experts", "experts", "keep", NULL},
    {"ratio|keep|intermediate-size|mlp", "width", "ffn", NULL},
    /* adapters */
    {"r|lora-rank|max-rank", NULL, "rank", NULL},
    {"lora|lora-scaled|peft|adapter", NULL, NULL, ": write MODEL+ADAPTER for the model"},
    /* every program */
    {"out|outfile|out-file|output-dir|output-path|output-file|out-path|save|save-dir|save-directory|mlx-path|dst|to-"
     "file|destination",
     NULL, "output", NULL},
    {"o|output|out|outfile|save", NULL, "json", "; --json prints the report, --html FILE writes it as a web page"},
    {"j|jobs|nproc|num-threads|n-threads|workers|num-workers|cpus|np", NULL, "threads", NULL},
    {"ram|mem|max-memory|memory-limit|memory-budget", NULL, "memory", NULL},
    {"device|gpu|gpus|cuda|ngl|n-gpu-layers|gpu-layers|dev|fp16|bf16|tensor-parallel-size", NULL, NULL,
     ": organ computes on the CPU"},
    {"verbose|v|debug|log-level|log", NULL, "progress", "; --progress lines prints a line for each tensor"},
    {"silent|no-progress", NULL, "quiet", NULL},
    {"yes|y|overwrite|replace|exist-ok", NULL, "force", NULL},
    {"continue|restart", NULL, "resume", NULL},
    {"simulate|preview|plan|no-write|check", NULL, "dry-run", NULL},
    {"trust-remote-code", NULL, NULL, ": organ executes no code of a model"},
    {"port|bind|address|addr", "serve", "listen", "; --listen 127.0.0.1:PORT sets address and port"},
    {"model|models|dir|directory|m", "serve", "root", NULL},
    {"api-key|token|password", "serve", "token-file", NULL},
    {"format|output-format", NULL, "json", NULL},
    {"hf-repo|repo|repo-id|revision|local-dir|hf", NULL, NULL,
     ": a name such as hf:OWNER/NAME, hf:OWNER/NAME@REVISION stands for the model"},
};

enum { LONGEST_WORD = 32 }; /* with its NUL; longer words are in no row */

/* Returns whether one of `words`, which are in lower case with '-', is the typed word, whose case does not count and
 * which may have '_' for '-'. */
static bool lists(const char *words, const char *typed, size_t length)
{
    char word[LONGEST_WORD];
    for (size_t k = 0; k < length && k < sizeof word; k++)
        word[k] = typed[k] == '_' ? '-' : (char)tolower((unsigned char)typed[k]);
    return length < sizeof word && organ_lists_word(words, '|', word, length);
}

const char *organ_foreign_verb(const char *word)
{
    for (size_t k = 0; k < sizeof verbs / sizeof *verbs; k++)
        if (lists(verbs[k].words, word, strlen(word)))
            return verbs[k].advice;
    return NULL;
}

const organ_foreign_option *organ_foreign_option_next(const organ_foreign_option *row, const char *verb,
                                                      const char *name, size_t length)
{
    const size_t count = sizeof options / sizeof *options;
    for (size_t k = row ? (size_t)(row - options) + 1 : 0; k < count; k++)
        if (lists(options[k].words, name, length) && (!options[k].verb || strcmp(options[k].verb, verb) == 0))
            return &options[k];
    return NULL;
}
