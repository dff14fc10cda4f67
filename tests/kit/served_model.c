/* SPDX-License-Identifier: MIT */
#include "tests/kit/served_model.h"

#include <organ/stream.h>
#include <organ/measure.h>

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

static void must(bool ok, const char *what)
{
    if (ok)
        return;
    perror(what);
    abort();
}

static char *print(const char *format, ...) __attribute__((format(printf, 1, 2)));
static char *print(const char *format, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, format);
    must(vasprintf(&text, format, args) >= 0, "vasprintf");
    va_end(args);
    return text;
}

/* The files being written: one shard's header and the index. */
typedef struct writer {
    served_model *model;
    FILE *header, *index;
    char *header_text, *index_text;
    size_t header_size, index_size;
    uint64_t data;
    size_t shard, shards;
} writer;

static void begin_shard(writer *w)
{
    must((w->header = open_memstream(&w->header_text, &w->header_size)) != NULL, "open_memstream");
    fputs("{\"__metadata__\":{\"format\":\"pt\"}", w->header);
    w->data = 0;
}

static void end_shard(writer *w)
{
    fputc('}', w->header);
    must(fclose(w->header) == 0, "memory");
    const uint64_t length = w->header_size;
    char *head = malloc(8 + w->header_size);
    must(head != NULL, "malloc");
    memcpy(head, &length, 8);
    memcpy(head + 8, w->header_text, w->header_size);
    free(w->header_text);
    w->shard++;
    w->model->files[w->shard - 1] =
        (served_file){.name = print("model-%05zu-of-%05zu.safetensors", w->shard, w->shards),
                      .size = 8 + w->header_size + w->data,
                      .head = head,
                      .head_size = 8 + w->header_size,
                      .etag = print("\"%zu\"", w->shard)};
    w->model->bytes += w->data;
}

static void add(writer *w, uint64_t rows, uint64_t cols, const char *name)
{
    const uint64_t bytes = rows * cols * 2;
    fprintf(w->header,
            ",\"%s\":{\"dtype\":\"BF16\",\"shape\":[%" PRIu64 ",%" PRIu64 "],\"data_offsets\":[%" PRIu64 ",%" PRIu64
            "]}",
            name, rows, cols, w->data, w->data + bytes);
    fprintf(w->index, "%s\"%s\":\"model-%05zu-of-%05zu.safetensors\"", w->model->tensor_count ? "," : "", name,
            w->shard + 1, w->shards);
    w->data += bytes;
    w->model->tensor_count++;
}

static void add_block(writer *w, size_t block, size_t experts, uint64_t rows, uint64_t cols)
{
    static const char *const projections[] = {"gate_proj", "up_proj", "down_proj"};
    char name[128];
    snprintf(name, sizeof name, "model.layers.%zu.input_layernorm.weight", block);
    add(w, 1, cols, name);
    snprintf(name, sizeof name, "model.layers.%zu.self_attn.q_proj.weight", block);
    add(w, cols, cols, name);
    for (size_t e = 0; e < experts; e++)
        for (size_t p = 0; p < 3; p++) {
            snprintf(name, sizeof name, "model.layers.%zu.mlp.experts.%zu.%s.weight", block, e, projections[p]);
            add(w, p == 2 ? cols : rows, p == 2 ? rows : cols, name);
        }
}

served_model served_model_make(size_t blocks, size_t experts, uint64_t rows, uint64_t cols, size_t shards)
{
    static const char config[] = "{\"architectures\":[\"DeepseekV3ForCausalLM\"],\"model_type\":\"deepseek_v3\"}\n";
    served_model model = {.file_count = shards + 2, .shard_count = shards};
    writer w = {.model = &model, .shards = shards};
    must((model.files = calloc(model.file_count, sizeof *model.files)) != NULL, "calloc");
    must((w.index = open_memstream(&w.index_text, &w.index_size)) != NULL, "open_memstream");
    fputs("{\"weight_map\":{", w.index);
    for (size_t b = 0; b < blocks; b++) {
        if (b == 0)
            begin_shard(&w);
        add_block(&w, b, experts, rows, cols);
        if ((b + 1) * shards / blocks > w.shard) {
            end_shard(&w);
            if (b + 1 < blocks)
                begin_shard(&w);
        }
    }
    fprintf(w.index, "},\"metadata\":{\"total_size\":%" PRIu64 "}}", model.bytes);
    must(fclose(w.index) == 0, "memory");
    model.files[shards] = (served_file){.name = print("model.safetensors.index.json"),
                                        .size = w.index_size,
                                        .head = w.index_text,
                                        .head_size = w.index_size};
    model.files[shards + 1] = (served_file){.name = print("config.json"),
                                            .size = sizeof config - 1,
                                            .head = print("%s", config),
                                            .head_size = sizeof config - 1};
    return model;
}

void served_model_free(served_model *model)
{
    for (size_t k = 0; k < model->file_count; k++) {
        free((char *)model->files[k].name);
        free((char *)model->files[k].head);
        free((char *)model->files[k].etag);
    }
    free(model->files);
}

/* ---- the server's restart ---- */

static struct nurse {
    http_server **server;
    const served_model *model;
    pthread_t thread;
    sem_t wake;
    volatile bool called;
} nurse;

static void call_nurse(void)
{
    nurse.called = true;
    sem_post(&nurse.wake);
}

static void *kill_and_revive(void *context)
{
    (void)context;
    sem_wait(&nurse.wake);
    if (!nurse.called)
        return NULL;
    const int port = http_port(*nurse.server);
    const int holder = http_stop_but_hold(*nurse.server);
    nanosleep(&(struct timespec){.tv_nsec = 400000000}, NULL);
    *nurse.server = http_start(nurse.model->files, nurse.model->file_count, port);
    close(holder);
    return NULL;
}

void served_model_interrupt(http_server **server, const served_model *model, uint64_t at_byte)
{
    nurse = (struct nurse){.server = server, .model = model};
    sem_init(&nurse.wake, 0, 0);
    must(pthread_create(&nurse.thread, NULL, kill_and_revive, NULL) == 0, "pthread_create");
    http_at_byte(*server, at_byte, call_nurse);
}

bool served_model_was_interrupted(void)
{
    sem_post(&nurse.wake);
    pthread_join(nurse.thread, NULL);
    sem_destroy(&nurse.wake);
    return nurse.called;
}

/* ---- a pass over the model ---- */

static char wrong[1200];

typedef struct digests {
    const organ_model *model;
    XXH3_state_t *hash;
    const served_model *served;
    size_t right;
} digests;

static void style(void *context, const organ_tile *tile, void *scratch, void *result)
{
    (void)context, (void)tile, (void)scratch, (void)result;
}

static uint64_t digest_of(const served_file *file, const organ_tensor *tensor)
{
    static char buffer[1 << 20];
    XXH3_state_t *hash = XXH3_createState();
    must(hash != NULL, "XXH3_createState");
    XXH3_64bits_reset(hash);
    for (uint64_t at = 0; at < tensor->bytes; at += sizeof buffer) {
        const size_t part = tensor->bytes - at < sizeof buffer ? (size_t)(tensor->bytes - at) : sizeof buffer;
        http_content(file, tensor->offset + at, buffer, part);
        XXH3_64bits_update(hash, buffer, part);
    }
    const uint64_t digest = XXH3_64bits_digest(hash);
    XXH3_freeState(hash);
    return digest;
}

static organ_status retire(void *context, const organ_band *band, organ_error *error)
{
    digests *d = context;
    XXH3_64bits_update(d->hash, band->data, band->bytes);
    if (!band->last)
        return ORGAN_OK;
    const organ_tensor *tensor = &d->model->tensors[band->item];
    const uint64_t digest = XXH3_64bits_digest(d->hash);
    XXH3_64bits_reset(d->hash);
    if (digest != digest_of(&d->served->files[tensor->file], tensor))
        return organ_fail(error, ORGAN_CHECK_FAILED, "%s: other bytes than were served", tensor->name);
    d->right++;
    return ORGAN_OK;
}

/* Returns VmHWM of /proc/self/status in bytes. */
static uint64_t memory_peak(void)
{
    char line[256];
    unsigned long long kib = 0;
    FILE *in = fopen("/proc/self/status", "r");
    while (in && fgets(line, sizeof line, in))
        sscanf(line, "VmHWM: %llu", &kib);
    if (in)
        fclose(in);
    return kib << 10;
}

static void forget_peak(void)
{
    const int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    if (fd >= 0 && write(fd, "5", 1) != 1)
        perror("/proc/self/clear_refs");
    if (fd >= 0)
        close(fd);
}

/* Calls `go` with a new engine. */
static void on_engine(void (*go)(void *context, const organ_engine *engine, organ_error *error), void *context,
                      uint64_t memory, size_t threads, organ_error *error)
{
    organ_topology *topology = NULL;
    organ_workers *workers = NULL;
    const char *why;
    if (organ_topology_discover(&topology, error) == ORGAN_OK &&
        organ_workers_create(topology, (unsigned)threads, &workers, error) == ORGAN_OK) {
        const organ_engine engine = {.topology = topology,
                                     .workers = workers,
                                     .memory = memory,
                                     .kernels = organ_kernels_choose(organ_cpu_detect(), NULL, &why)};
        go(context, &engine, error);
    }
    organ_workers_destroy(workers);
    organ_topology_destroy(topology);
}

static void go_through(void *context, const organ_engine *engine, organ_error *error)
{
    digests *d = context;
    organ_pass_item *items = calloc(d->model->tensor_count, sizeof *items);
    must(items && (d->hash = XXH3_createState()), "memory");
    XXH3_64bits_reset(d->hash);
    for (size_t t = 0; t < d->model->tensor_count; t++)
        items[t].tensor = &d->model->tensors[t];
    const organ_pass pass = {.model = d->model,
                             .items = items,
                             .item_count = d->model->tensor_count,
                             .context = d,
                             .work = style,
                             .retire = retire};
    organ_pass_run(&pass, engine, error);
    XXH3_freeState(d->hash);
    free(items);
}

static const organ_model_access patient = {.first_wait_ms = 20, .tries = 100};

const char *served_model_pass(const char *url, const served_model *served, uint64_t memory, size_t threads,
                              uint64_t *grown)
{
    organ_error error = {0};
    organ_model *model;
    if (organ_model_open_with(url, &patient, &model, &error) != ORGAN_OK) {
        snprintf(wrong, sizeof wrong, "%s", error.message);
        return wrong;
    }
    digests d = {.model = model, .served = served};
    forget_peak();
    const uint64_t before = memory_peak();
    on_engine(go_through, &d, memory, threads, &error);
    *grown = memory_peak() - before;
    if (!error.status && organ_model_unchanged(model, &error) == ORGAN_OK && d.right != served->tensor_count)
        organ_fail(&error, ORGAN_CHECK_FAILED, "%zu of %zu tensors were seen", d.right, served->tensor_count);
    organ_model_close(model);
    snprintf(wrong, sizeof wrong, "%s", error.message);
    return error.status ? wrong : NULL;
}

/* ---- measure ---- */

typedef struct measured {
    const organ_model *model;
    organ_z *z;
} measured;

static void go_measure(void *context, const organ_engine *engine, organ_error *error)
{
    measured *m = context;
    organ_measure_tensors(m->model, &(organ_z_options){0}, engine, NULL, m->z, error);
}

const char *served_model_measure(const char *url, uint64_t memory, size_t threads, uint64_t *digest, uint64_t *grown)
{
    organ_error error = {0};
    organ_model *model;
    if (organ_model_open_with(url, &patient, &model, &error) != ORGAN_OK) {
        snprintf(wrong, sizeof wrong, "%s", error.message);
        return wrong;
    }
    measured m = {.model = model, .z = calloc(model->tensor_count, sizeof *m.z)};
    must(m.z != NULL, "calloc");
    forget_peak();
    const uint64_t before = memory_peak();
    on_engine(go_measure, &m, memory, threads, &error);
    *grown = memory_peak() - before;
    for (size_t t = 0; t < model->tensor_count; t++)
        m.z[t].reason = NULL; /* an address, which differs between runs */
    *digest = XXH3_64bits(m.z, model->tensor_count * sizeof *m.z);
    free(m.z);
    organ_model_close(model);
    snprintf(wrong, sizeof wrong, "%s", error.message);
    return error.status ? wrong : NULL;
}
