/* SPDX-License-Identifier: MIT */
#include "tests/kit/model_maker.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static char scratch[256];

static void must(bool ok, const char *what)
{
    if (ok)
        return;
    perror(what);
    abort();
}

void scratch_make(void)
{
    const char *base = getenv("TMPDIR");
    snprintf(scratch, sizeof scratch, "%s/organ-test-XXXXXX", base && *base ? base : "/tmp");
    must(mkdtemp(scratch) != NULL, scratch);
}

const char *scratch_path(const char *format, ...)
{
    static char buffers[64][4096];
    static _Atomic unsigned turn; /* threads that stand for ranks make paths at the same time */
    char *out = buffers[turn++ % 64];
    va_list args;
    const int used = snprintf(out, sizeof buffers[0], "%s/", scratch);
    va_start(args, format);
    vsnprintf(out + used, sizeof buffers[0] - (size_t)used, format, args);
    va_end(args);
    return out;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info, (void)kind, (void)where;
    return remove(path);
}

void scratch_remove(void) { nftw(scratch, remove_one, 16, FTW_DEPTH | FTW_PHYS); }

static uint64_t next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static float weight(uint64_t *state)
{
    float x = -2.0f;
    for (int k = 0; k < 4; k++)
        x += (float)(next(state) >> 40) / 16777216.0f;
    return next(state) % 101 == 0 ? 0.0f : 0.03f * x;
}

/* Writes one weight. Truncation is accurate enough for F16: only a few bits of a normal number matter. */
static void put_weight(FILE *out, organ_dtype dtype, uint64_t *state)
{
    const float x = weight(state);
    uint32_t bits;
    memcpy(&bits, &x, 4);
    uint16_t half = (uint16_t)(bits >> 16);
    if (dtype == ORGAN_F16)
        half = (uint16_t)((bits >> 16 & 0x8000) | (x == 0.0f ? 0 : 0x2000 + (next(state) & 0x0FFF)));
    must(fwrite(dtype == ORGAN_F32 ? (void *)&bits : (void *)&half, dtype == ORGAN_F32 ? 4 : 2, 1, out) == 1, "fwrite");
}

static uint64_t elements(const made_tensor *t)
{
    uint64_t n = 1;
    for (unsigned k = 0; k < t->rank; k++)
        n *= t->shape[k];
    return n;
}

static char *header_of(const made_tensor *tensors, size_t count, size_t *size)
{
    char *header = NULL;
    uint64_t at = 0;
    FILE *text = open_memstream(&header, size);
    must(text != NULL, "open_memstream");
    fputs("{\"__metadata__\":{\"format\":\"pt\"}", text);
    for (size_t k = 0; k < count; k++) {
        const organ_dtype_info *type = organ_dtype_describe(tensors[k].dtype);
        fprintf(text, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", tensors[k].name, type->name);
        for (unsigned d = 0; d < tensors[k].rank; d++)
            fprintf(text, "%s%llu", d ? "," : "", (unsigned long long)tensors[k].shape[d]);
        const uint64_t end = at + elements(&tensors[k]) * type->bytes;
        fprintf(text, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)at, (unsigned long long)end);
        at = end;
    }
    fputc('}', text);
    must(fclose(text) == 0, "memory");
    return header;
}

void make_shard(const char *path, const made_tensor *tensors, size_t count)
{
    size_t size;
    char *header = header_of(tensors, count, &size);
    const uint64_t length = size;
    FILE *out = fopen(path, "wb");
    must(out && fwrite(&length, 8, 1, out) == 1 && fwrite(header, 1, size, out) == size, path);
    for (size_t k = 0; k < count; k++) {
        uint64_t state = 88172645463325252u;
        for (const char *c = tensors[k].name; *c; c++)
            state = (state ^ (unsigned char)*c) * 1099511628211u;
        for (uint64_t n = elements(&tensors[k]); n; n--)
            put_weight(out, tensors[k].dtype, &state);
    }
    must(fclose(out) == 0, path);
    free(header);
}

static void write_index(const char *path, const made_tensor *tensors, const int *shard, size_t count)
{
    FILE *out = fopen(path, "w");
    uint64_t total = 0;
    must(out != NULL, path);
    for (size_t k = 0; k < count; k++)
        total += elements(&tensors[k]) * organ_dtype_describe(tensors[k].dtype)->bytes;
    fprintf(out, "{\"metadata\":{\"total_size\":%llu},\"weight_map\":{", (unsigned long long)total);
    for (size_t k = 0; k < count; k++)
        fprintf(out, "%s\"%s\":\"model-%05d-of-00002.safetensors\"", k ? "," : "", tensors[k].name, shard[k]);
    fputs("}}", out);
    must(fclose(out) == 0, path);
}

void make_model(const char *directory, int layers, uint64_t hidden)
{
    static const char *const modules[] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                          "self_attn.o_proj", "mlp.gate_proj",    "mlp.up_proj",
                                          "mlp.down_proj"};
    static made_tensor tensors[256];
    static char names[256][96], path[4096];
    int shard[256];
    size_t count = 0, first = 0;
    must(mkdir(directory, 0777) == 0, directory);
    tensors[count++] = (made_tensor){"model.embed_tokens.weight", ORGAN_BF16, 2, {3 * hidden, hidden}};
    for (int l = 0; l < layers; l++) {
        snprintf(names[count], sizeof names[0], "model.layers.%d.input_layernorm.weight", l);
        tensors[count] = (made_tensor){names[count], ORGAN_F32, 1, {hidden}};
        count++;
        for (size_t m = 0; m < 7; m++, count++) {
            const uint64_t wide = 2 * hidden + 37, rows = m == 4 || m == 5 ? wide : hidden,
                           cols = m == 6 ? wide : hidden;
            const organ_dtype others = m == 2 ? ORGAN_F32 : ORGAN_BF16;
            snprintf(names[count], sizeof names[0], "model.layers.%d.%s.weight", l, modules[m]);
            tensors[count] = (made_tensor){names[count], m == 1 ? ORGAN_F16 : others, 2, {rows, cols}};
        }
        if (l == (layers - 1) / 2)
            first = count;
    }
    tensors[count++] = (made_tensor){"model.norm.weight", ORGAN_F32, 1, {hidden}};
    for (size_t k = 0; k < count; k++)
        shard[k] = k < first ? 1 : 2;
    snprintf(path, sizeof path, "%s/model-00001-of-00002.safetensors", directory);
    make_shard(path, tensors, first);
    snprintf(path, sizeof path, "%s/model-00002-of-00002.safetensors", directory);
    make_shard(path, tensors + first, count - first);
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", directory);
    write_index(path, tensors, shard, count);
    snprintf(path, sizeof path, "%s/config.json", directory);
    static const char config[] = "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\"}\n";
    spill(path, config, sizeof config - 1);
    snprintf(path, sizeof path, "%s/extra", directory);
    must(mkdir(path, 0777) == 0, path);
    snprintf(path, sizeof path, "%s/extra/merges.txt", directory);
    spill(path, "a b\n", 4);
}

char *slurp(const char *path, size_t *size)
{
    FILE *in = fopen(path, "rb");
    if (!in)
        return NULL;
    must(fseek(in, 0, SEEK_END) == 0, path);
    *size = (size_t)ftell(in);
    rewind(in);
    char *data = malloc(*size + 1);
    must(data && fread(data, 1, *size, in) == *size, path);
    data[*size] = '\0';
    fclose(in);
    return data;
}

void spill(const char *path, const void *data, size_t size)
{
    FILE *out = fopen(path, "wb");
    must(out && fwrite(data, 1, size, out) == size && fclose(out) == 0, path);
}

void copy_file(const char *from, const char *to)
{
    size_t size;
    char *data = slurp(from, &size);
    must(data != NULL, from);
    spill(to, data, size);
    free(data);
}

bool same_files(const char *a, const char *b)
{
    size_t n = 0, m = 1;
    char *x = slurp(a, &n), *y = slurp(b, &m);
    const bool same = x && y && n == m && memcmp(x, y, n) == 0;
    free(x);
    free(y);
    return same;
}

bool exists(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0;
}

bool scratch_left(const char *output)
{
    return exists(scratch_path("%s", output)) || exists(scratch_path(".%s.organ-partial", output));
}

static struct fault {
    long calls, at;
    int errnum;
    bool again;
    void (*then)(void);
} faults[FAULT_CALLS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static bool waits(const struct fault *f) { return f->at && f->calls < f->at; }

static void must_have_fired(fault_call call)
{
    static const char *const names[FAULT_CALLS] = {"pread",     "pwrite", "write",     "fsync", "copy_file_range",
                                                   "ftruncate", "rename", "renameat2", "linkat"};
    pthread_mutex_lock(&lock);
    const struct fault f = faults[call];
    faults[call] = (struct fault){0};
    pthread_mutex_unlock(&lock);
    if (waits(&f))
        ck_abort_msg("the fault of %s number %ld was never reached: %ld calls", names[call], f.at, f.calls);
}

void fault_at(fault_call call, long n, int errnum, bool again, void (*then)(void))
{
    must_have_fired(call);
    pthread_mutex_lock(&lock);
    faults[call] = (struct fault){.at = n, .errnum = errnum, .again = again, .then = then};
    pthread_mutex_unlock(&lock);
}

void fault_clear(void)
{
    for (fault_call call = 0; call < FAULT_CALLS; call++)
        must_have_fired(call);
}

bool fault_fired(void)
{
    bool all = true;
    pthread_mutex_lock(&lock);
    for (size_t k = 0; k < FAULT_CALLS; k++)
        all = all && !waits(&faults[k]);
    memset(faults, 0, sizeof faults);
    pthread_mutex_unlock(&lock);
    return all;
}

long fault_count(fault_call call)
{
    pthread_mutex_lock(&lock);
    const long calls = faults[call].calls;
    pthread_mutex_unlock(&lock);
    return calls;
}

/* Returns true and sets errno if the call has to fail. */
static bool fails(fault_call call)
{
    pthread_mutex_lock(&lock);
    struct fault *f = &faults[call];
    f->calls++;
    const bool now = f->at && (f->calls == f->at || (f->again && f->calls > f->at));
    void (*then)(void) = now ? f->then : NULL;
    const int errnum = f->errnum;
    pthread_mutex_unlock(&lock);
    if (now && errnum < 0)
        raise(SIGKILL);
    if (then)
        then();
    if (!now || errnum == 0)
        return false;
    errno = errnum;
    return true;
}

ssize_t __real_pread(int, void *, size_t, off_t);
ssize_t __wrap_pread(int, void *, size_t, off_t);
ssize_t __wrap_pread(int fd, void *data, size_t n, off_t at)
{
    return fails(FAULT_PREAD) ? -1 : __real_pread(fd, data, n, at);
}
/* The compiler calls this function instead of pread if it can derive the size of the buffer. */
ssize_t __wrap___pread_chk(int, void *, size_t, off_t, size_t);
ssize_t __wrap___pread_chk(int fd, void *data, size_t n, off_t at, size_t room)
{
    return n > room ? (abort(), -1) : __wrap_pread(fd, data, n, at);
}
ssize_t __real_pwrite(int, const void *, size_t, off_t);
ssize_t __wrap_pwrite(int, const void *, size_t, off_t);
ssize_t __wrap_pwrite(int fd, const void *data, size_t n, off_t at)
{
    return fails(FAULT_PWRITE) ? -1 : __real_pwrite(fd, data, n, at);
}
ssize_t __real_write(int, const void *, size_t);
ssize_t __wrap_write(int, const void *, size_t);
ssize_t __wrap_write(int fd, const void *data, size_t n) { return fails(FAULT_WRITE) ? -1 : __real_write(fd, data, n); }
int __real_fsync(int);
int __wrap_fsync(int);
int __wrap_fsync(int fd) { return fails(FAULT_FSYNC) ? -1 : __real_fsync(fd); }
int __real_ftruncate(int, off_t);
int __wrap_ftruncate(int, off_t);
int __wrap_ftruncate(int fd, off_t size) { return fails(FAULT_FTRUNCATE) ? -1 : __real_ftruncate(fd, size); }
int __real_rename(const char *, const char *);
int __wrap_rename(const char *, const char *);
int __wrap_rename(const char *from, const char *to) { return fails(FAULT_RENAME) ? -1 : __real_rename(from, to); }
int __real_renameat2(int, const char *, int, const char *, unsigned);
int __wrap_renameat2(int, const char *, int, const char *, unsigned);
int __wrap_renameat2(int at, const char *from, int to_at, const char *to, unsigned flags)
{
    return fails(FAULT_RENAMEAT2) ? -1 : __real_renameat2(at, from, to_at, to, flags);
}
int __real_linkat(int, const char *, int, const char *, int);
int __wrap_linkat(int, const char *, int, const char *, int);
int __wrap_linkat(int at, const char *from, int to_at, const char *to, int flags)
{
    return fails(FAULT_LINK) ? -1 : __real_linkat(at, from, to_at, to, flags);
}
int __real_renameat(int, const char *, int, const char *);
int __wrap_renameat(int, const char *, int, const char *);
int __wrap_renameat(int at, const char *from, int to_at, const char *to)
{
    return fails(FAULT_RENAME) ? -1 : __real_renameat(at, from, to_at, to);
}
ssize_t __real_copy_file_range(int, off64_t *, int, off64_t *, size_t, unsigned);
ssize_t __wrap_copy_file_range(int, off64_t *, int, off64_t *, size_t, unsigned);
ssize_t __wrap_copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t n, unsigned flags)
{
    return fails(FAULT_COPY_RANGE) ? -1 : __real_copy_file_range(in, from, out, to, n, flags);
}

void touch_donor(void)
{
    const struct timespec then[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    must(utimensat(AT_FDCWD, scratch_path("donor/model-00001-of-00002.safetensors"), then, 0) == 0, "touch");
}

void cut_donor(void) { must(truncate(scratch_path("donor/model-00002-of-00002.safetensors"), 5000) == 0, "cut"); }
