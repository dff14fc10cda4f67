/* SPDX-License-Identifier: MIT
 * Journals of interrupted runs of organ quantize (first byte 'q') and of organ merge (any other byte). The unfinished
 * output has one finished tensor. In the journal "@N" stands for line N of its own journal, because inputs and digests
 * differ from machine to machine. A run that --resume continues has the bytes of one that was never interrupted. */
#include <organ/merge.h>
#include <organ/quantize.h>
#include <organ/stream.h>
#include "tests/fuzz/targets.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MEMORY  ((uint64_t)64 << 20)
#define PARTIAL ".out.organ-partial"
#define JOURNAL "/organ/journal.jsonl"
#define WEIGHTS "model.safetensors"

enum { MAX_FILES = 16, MAX_LINES = 8 };

typedef struct kept_file {
    char name[200]; /* below the folder of the verb */
    char *bytes;
    size_t size;
} kept_file;

typedef struct fuzz_verb {
    const char *folder;
    organ_status (*run)(const char *folder, bool resume, const organ_engine *engine, const organ_progress *progress,
                        json_t **report, organ_error *error);
    kept_file files[MAX_FILES]; /* the unfinished output without its journal */
    size_t file_count;
    kept_file journal, reference; /* the journal of that output; the weights of a run that was not interrupted */
} fuzz_verb;

static organ_stop stop;

static organ_status run_quantize(const char *folder, bool resume, const organ_engine *engine,
                                 const organ_progress *progress, json_t **report, organ_error *error)
{
    char model[400], output[400];
    organ_quantize_options o = organ_quantize_defaults();
    snprintf(model, sizeof model, "%s/model", folder);
    snprintf(output, sizeof output, "%s/out", folder);
    o.model = model;
    o.scheme = "int8-channel";
    o.write.output = output;
    o.write.resume = resume;
    return organ_quantize(&o, engine, progress, report, error);
}

static organ_status run_merge(const char *folder, bool resume, const organ_engine *engine,
                              const organ_progress *progress, json_t **report, organ_error *error)
{
    char first[400], second[400], output[400];
    organ_merge_options o = organ_merge_defaults();
    snprintf(first, sizeof first, "%s/model", folder);
    snprintf(second, sizeof second, "%s/tune", folder);
    snprintf(output, sizeof output, "%s/out", folder);
    o.models = (const char *const[]){first, second};
    o.model_count = 2;
    o.method = "linear";
    o.weight = "0.5,0.5";
    o.write.output = output;
    o.write.resume = resume;
    return organ_merge(&o, engine, progress, report, error);
}

static fuzz_verb verbs[] = {{.folder = "journal/q", .run = run_quantize}, {.folder = "journal/m", .run = run_merge}};

static const organ_engine *journal_engine(void)
{
    static organ_engine engine;
    static organ_topology *topology;
    static organ_workers *workers;
    organ_error error = {0};
    const char *why;
    if (!engine.workers) {
        fuzz_require(organ_topology_discover(&topology, &error) == ORGAN_OK &&
                         organ_workers_create(topology, 1, &workers, &error) == ORGAN_OK,
                     error.message);
        engine = (organ_engine){.topology = topology,
                                .workers = workers,
                                .memory = MEMORY,
                                .stop = &stop,
                                .kernels = organ_kernels_choose(organ_cpu_detect(), getenv("ORGAN_ISA"), &why)};
    }
    return &engine;
}

static organ_status run_verb(fuzz_verb *verb, bool resume, const organ_progress *progress, organ_error *error)
{
    char folder[320];
    json_t *report = NULL;
    snprintf(folder, sizeof folder, "%s", fuzz_folder(verb->folder));
    const organ_status status = verb->run(folder, resume, journal_engine(), progress, &report, error);
    json_decref(report);
    return status;
}

/* ---- files ---- */

static fuzz_verb *keeping; /* for nftw, which has no context */

static void load(const char *path, kept_file *file)
{
    FILE *const from = fopen(path, "rb");
    struct stat info;
    fuzz_require(from && fstat(fileno(from), &info) == 0 && (file->bytes = malloc((size_t)info.st_size + 1)) != NULL,
                 "a file of the output can be read");
    file->size = fread(file->bytes, 1, (size_t)info.st_size, from);
    file->bytes[file->size] = '\0';
    fclose(from);
}

static int keep_one(const char *path, const struct stat *info, int kind, struct FTW *at)
{
    (void)info, (void)at;
    const char *const name = strstr(path, PARTIAL);
    if (kind != FTW_F || !name)
        return 0;
    const bool is_journal = strcmp(name, PARTIAL JOURNAL) == 0;
    fuzz_require(is_journal || keeping->file_count < MAX_FILES, "an unfinished output has few files");
    kept_file *const file = is_journal ? &keeping->journal : &keeping->files[keeping->file_count++];
    snprintf(file->name, sizeof file->name, "%s/%s", keeping->folder, name);
    load(path, file);
    return 0;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *at)
{
    (void)info, (void)kind, (void)at;
    return remove(path);
}

static void remove_outputs(const fuzz_verb *verb)
{
    char name[300];
    for (int k = 0; k < 2; k++) {
        snprintf(name, sizeof name, "%s/%s", verb->folder, k ? "out" : PARTIAL);
        nftw(fuzz_folder(name), remove_one, 8, FTW_DEPTH | FTW_PHYS);
    }
}

static void stop_after_one(void *context, uint64_t bytes, const char *tensor, const char *remark)
{
    (void)context, (void)bytes, (void)remark;
    if (tensor)
        organ_stop_request(&stop);
}

static void put_model(const fuzz_verb *verb, const char *model, const char *data)
{
    static const char config[] = "{\"model_type\":\"llama\",\"architectures\":[\"LlamaForCausalLM\"],\"hidden_size\":8,"
                                 "\"intermediate_size\":8,\"num_hidden_layers\":1,\"num_attention_heads\":2,"
                                 "\"vocab_size\":8,\"rms_norm_eps\":1e-5,\"torch_dtype\":\"bfloat16\"}";
    static const char *const names[] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                                        "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj"};
    char header[2000] = "{", name[300];
    size_t used = 1;
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
        used += (size_t)snprintf(header + used, sizeof header - used,
                                 "%s\"model.layers.0.%s.weight\":{\"dtype\":\"BF16\",\"shape\":[8,8],"
                                 "\"data_offsets\":[%zu,%zu]}",
                                 k ? "," : "", names[k], 128 * k, 128 * (k + 1));
    used += (size_t)snprintf(header + used, sizeof header - used, "}");
    snprintf(name, sizeof name, "%s/%s/config.json", verb->folder, model);
    fuzz_put(name, config, sizeof config - 1);
    snprintf(name, sizeof name, "%s/%s/" WEIGHTS, verb->folder, model);
    fuzz_put_tensors(name, (fuzz_part){(const uint8_t *)header, used},
                     (fuzz_part){(const uint8_t *)data, strlen(data)});
}

static void prepare(fuzz_verb *verb)
{
    const organ_progress stopping = {.advance = stop_after_one};
    organ_error error = {0};
    char name[300];
    if (verb->journal.bytes)
        return;
    put_model(verb, "model", "\x3e\x3f\xbd");
    put_model(verb, "tune", "\x3e\x3c\xbf");
    fuzz_require(run_verb(verb, false, NULL, &error) == ORGAN_OK, error.message);
    snprintf(name, sizeof name, "%s/out/" WEIGHTS, verb->folder);
    load(fuzz_folder(name), &verb->reference);
    remove_outputs(verb);
    fuzz_require(run_verb(verb, false, &stopping, &error) == ORGAN_INTERRUPTED, "a run can be interrupted");
    organ_stop_clear(&stop);
    keeping = verb;
    nftw(fuzz_folder(verb->folder), keep_one, 8, FTW_PHYS);
    fuzz_require(verb->journal.bytes != NULL, "an interrupted run leaves a journal");
}

/* ---- the journal ---- */

/* Returns line `number` (from 0) of the verb's own journal, without its end; empty if it has fewer. */
static fuzz_part own_line(const fuzz_verb *verb, size_t number)
{
    const char *at = verb->journal.bytes, *end;
    while ((end = strchr(at, '\n')) && number-- > 0)
        at = end + 1;
    return (fuzz_part){(const uint8_t *)at, end ? (size_t)(end - at) : 0};
}

static void put_journal(const fuzz_verb *verb, fuzz_part text)
{
    size_t room = text.size + 1, used = 0;
    for (size_t k = 0; k < text.size; k++)
        room += text.data[k] == '@' ? verb->journal.size : 0;
    char *const made = malloc(room);
    fuzz_require(made != NULL, "there is memory");
    for (size_t k = 0; k < text.size; k++) {
        const bool own =
            text.data[k] == '@' && k + 1 < text.size && text.data[k + 1] >= '0' && text.data[k + 1] < '0' + MAX_LINES;
        const fuzz_part piece = own ? own_line(verb, (size_t)(text.data[k + 1] - '0')) : (fuzz_part){text.data + k, 1};
        memcpy(made + used, piece.data, piece.size);
        used += piece.size;
        k += own;
    }
    fuzz_put(verb->journal.name, made, used);
    free(made);
}

void fuzz_journal(const uint8_t *data, size_t size)
{
    fuzz_verb *const verb = &verbs[!size || data[0] != 'q'];
    organ_error error = {0};
    char name[300];
    kept_file made;
    prepare(verb);
    for (size_t k = 0; k < verb->file_count; k++)
        fuzz_put(verb->files[k].name, verb->files[k].bytes, verb->files[k].size);
    put_journal(verb, (fuzz_part){data + (size > 0), size - (size > 0)});
    const organ_status status = run_verb(verb, true, NULL, &error);
    fuzz_tell(status, error.message);
    fuzz_require(status == error.status, "the status returned is that of the error");
    fuzz_require(status == ORGAN_OK || status == ORGAN_USAGE || status == ORGAN_BAD_INPUT,
                 "nothing in a journal makes the system refuse");
    if (status == ORGAN_OK) {
        snprintf(name, sizeof name, "%s/out/" WEIGHTS, verb->folder);
        load(fuzz_folder(name), &made);
        fuzz_require(made.size == verb->reference.size && memcmp(made.bytes, verb->reference.bytes, made.size) == 0,
                     "a continued run has the bytes of one that was not interrupted");
        free(made.bytes);
    }
    remove_outputs(verb);
}
