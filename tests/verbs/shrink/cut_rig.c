/* SPDX-License-Identifier: MIT */
#include "tests/verbs/shrink/cut_rig.h"

#include "formats/gguf/file.h"
#include "orchestrator/report/text/report_text.h"
#include "tests/kit/require.h"
#include "orchestrator/report/view/views.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

json_t *cut_report, *audit_report;

void cut_setup(void)
{
    fault_clear();
    scratch_make();
}

void cut_teardown(void)
{
    fault_clear();
    json_decref(cut_report);
    json_decref(audit_report);
    cut_report = audit_report = NULL;
    scratch_remove();
}

/* ---- donors ---- */

typedef struct line {
    char name[256], dtype[32], axes[96], values[96];
    unsigned rank;
    uint64_t shape[8], elements, bytes;
    organ_dtype type;
} line;

static organ_dtype type_of(const char *name)
{
    for (int k = 0; k < ORGAN_DTYPE_COUNT; k++)
        if (strcmp(organ_dtype_describe((organ_dtype)k)->name, name) == 0)
            return (organ_dtype)k;
    ck_abort_msg("%s is no type", name);
}

static line line_of(const char *text, size_t length)
{
    line l = {.elements = 1};
    char copy[512];
    REQUIRE(length < sizeof copy);
    memcpy(copy, text, length);
    copy[length] = '\0';
    char *const equals = strchr(copy, '=');
    if (equals) {
        snprintf(l.values, sizeof l.values, "%s", equals + 1);
        *equals = '\0';
    }
    REQUIRE_MSG(sscanf(copy, "%255s %31s %95s", l.name, l.dtype, l.axes) == 3, "no tensor: %s", copy);
    l.type = type_of(l.dtype);
    for (const char *s = strcmp(l.axes, "-") == 0 ? "" : l.axes; *s; s += strcspn(s, ","), s += *s == ',')
        l.elements *= l.shape[l.rank++] = strtoull(s, NULL, 10);
    REQUIRE(organ_dtype_bytes(l.type, l.elements, &l.bytes));
    return l;
}

static const char *next_line(const char *text)
{
    text += strcspn(text, "\n");
    return text + (*text == '\n');
}

/* Writes bytes that differ between places; floats are finite. */
static void put_bytes(FILE *out, const line *l)
{
    static uint64_t state = 88172645463325252u;
    const bool floats = l->type == ORGAN_BF16 || l->type == ORGAN_F16 || l->type == ORGAN_F32;
    const size_t width = organ_dtype_describe(l->type)->bytes;
    const char *s = l->values;
    for (uint64_t k = 0; *s; k++) {
        const int64_t value = strtoll(s, NULL, 10);
        fwrite(&value, 1, width, out);
        s += strcspn(s, ",");
        s += *s == ',';
    }
    for (uint64_t b = 0; b < l->bytes && !*l->values; b++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        const unsigned char byte = (unsigned char)(state >> 24);
        fputc(floats && b % width == width - 1 ? (byte & 0x80) | 0x3c : byte, out);
    }
}

static void put_file(const char *path, const void *header, size_t length, size_t until)
{
    FILE *const out = fopen(path, "wb");
    ck_assert_ptr_nonnull(out);
    fwrite(header, 1, length, out);
    for (size_t k = length; k < until; k++)
        fputc(0, out);
    ck_assert_int_eq(fclose(out), 0);
}

void rig_donor(const char *config, const char *tensors)
{
    char *header = NULL;
    size_t length = 0;
    uint64_t offset = 0;
    FILE *const text = open_memstream(&header, &length);
    fwrite(&offset, 1, 8, text);
    fputc('{', text);
    for (const char *s = tensors; *s; s = next_line(s)) {
        const line l = line_of(s, strcspn(s, "\n"));
        fprintf(text, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}",
                s == tensors ? "" : ",", l.name, l.dtype, l.rank ? l.axes : "", offset, offset + l.bytes);
        offset += l.bytes;
    }
    fputc('}', text);
    fclose(text);
    const uint64_t size = length - 8;
    memcpy(header, &size, 8);
    mkdir(scratch_path("donor"), 0777);
    put_file(scratch_path("donor/model.safetensors"), header, length, length);
    FILE *const out = fopen(scratch_path("donor/model.safetensors"), "ab");
    for (const char *s = tensors; *s; s = next_line(s)) {
        const line l = line_of(s, strcspn(s, "\n"));
        put_bytes(out, &l);
    }
    ck_assert_int_eq(fclose(out), 0);
    free(header);
    if (config)
        spill(scratch_path("donor/config.json"), config, strlen(config));
}

/* ---- GGUF ---- */

static void put_key(organ_gguf_writer *writer, const char *word, organ_error *error)
{
    char key[128] = "";
    const char *const value = strchr(word, '=') + 1;
    memcpy(key, word, (size_t)(value - 1 - word));
    if (*value >= '0' && *value <= '9') {
        organ_gguf_writer_set_integer(writer, key, ORGAN_GGUF_U32, strtoll(value, NULL, 10), error);
    } else if (*value == '[') {
        unsigned char bytes[512] = {ORGAN_GGUF_I32};
        uint64_t count = 0;
        for (const char *s = value + 1; *s && *s != ']'; s += strcspn(s, ",]"), s += *s == ',', count++) {
            const int32_t number = (int32_t)strtol(s, NULL, 10);
            memcpy(bytes + ORGAN_GGUF_ARRAY_HEAD + 4 * count, &number, 4);
        }
        memcpy(bytes + 4, &count, 8);
        const organ_gguf_kv kv = {
            key, ORGAN_GGUF_ARRAY, ORGAN_GGUF_I32, count, bytes, ORGAN_GGUF_ARRAY_HEAD + 4 * count};
        organ_gguf_writer_kv(writer, &kv, error);
    } else {
        organ_gguf_writer_set_string(writer, key, value, strlen(value), error);
    }
}

void rig_gguf(const char *keys, const char *tensors)
{
    organ_error error = {0};
    organ_gguf_writer *writer = NULL;
    organ_gguf_layout layout;
    char copy[2048], *rest = NULL;
    ck_assert_int_eq(organ_gguf_writer_create(&writer, &error), ORGAN_OK);
    snprintf(copy, sizeof copy, "%s", keys);
    for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
        put_key(writer, word, &error);
    for (const char *s = tensors; *s; s = next_line(s)) {
        const line l = line_of(s, strcspn(s, "\n"));
        organ_gguf_writer_tensor(writer, l.name, l.type, l.rank, l.shape, &error);
    }
    organ_gguf_writer_finish(writer, &layout, &error);
    ck_assert_msg(error.status == ORGAN_OK, "%s", error.message);
    put_file(scratch_path("donor.gguf"), layout.bytes, layout.size, (size_t)layout.file_size);
    FILE *const out = fopen(scratch_path("donor.gguf"), "r+b");
    size_t at = 0;
    for (const char *s = tensors; *s; s = next_line(s)) {
        const line l = line_of(s, strcspn(s, "\n"));
        fseek(out, (long)layout.offsets[at++], SEEK_SET);
        put_bytes(out, &l);
    }
    ck_assert_int_eq(fclose(out), 0);
    organ_gguf_writer_destroy(writer);
}

/* ---- cuts ---- */

typedef struct job {
    const cut_way *way;
    const organ_model *model;
    bool *refitted;
    const organ_cut_layer *layers;
} job;

/* Reads "1,3,8-11"; returns the position after it. */
static const char *read_numbers(const char *s, uint32_t *list, size_t *count)
{
    for (*count = 0; *s >= '0' && *s <= '9'; s += *s == ',') {
        char *end;
        unsigned long from = strtoul(s, &end, 10), to = from;
        if (*end == '-')
            to = strtoul(end + 1, &end, 10);
        for (; from <= to; from++)
            list[(*count)++] = (uint32_t)from;
        s = end;
    }
    return s;
}

/* Reads "1,2/0,3", the lists of several experts in a row; returns the position after them. */
static const char *read_experts(const char *s, uint32_t *list, organ_cut_layer *layer)
{
    static organ_cut_keep keeps[RIG_LAYERS * 8];
    static size_t used;
    organ_cut_keep *each = &keeps[used % RIG_LAYERS * 8];
    layer->expert_channels = each;
    used++;
    for (;; s++) {
        each->numbers = list;
        s = read_numbers(s, list, &each->count);
        list += each->count;
        each++;
        if (*s != '/')
            return s;
    }
}

static void read_cut(const char *words, organ_cut_layer *layers, uint32_t (*lists)[4096])
{
    size_t used = 0;
    for (const char *s = words; *s; s += strspn(s, " ")) {
        char *end;
        const char kind = *s;
        const unsigned long layer = strtoul(s + 1, &end, 10);
        s = end;
        REQUIRE(layer < RIG_LAYERS && used < 32);
        layers[layer].dropped = layers[layer].dropped || kind == 'd';
        if (kind == 'd')
            continue;
        if (kind == 'x') {
            s = read_experts(s + 1, lists[used++], &layers[layer]);
            continue;
        }
        organ_cut_keep *keep = &layers[layer].kv_heads;
        if (kind == 'e')
            keep = &layers[layer].experts;
        else if (kind == 'c')
            keep = &layers[layer].channels;
        else if (kind == 's')
            keep = &layers[layer].shared_channels;
        keep->numbers = lists[used];
        s = read_numbers(s + 1, lists[used++], &keep->count);
    }
}

static json_t *parameters(void *context)
{
    const job *const j = context;
    return ORGAN_OBJECT(SET_TEXT("cut", j->way->cut ? j->way->cut : ""));
}

static json_t *document(void *context, const organ_writing *made)
{
    (void)context;
    return organ_json_joined(organ_cut_json(made), ORGAN_OBJECT(SET("definitions", json_object())));
}

static bool stays(const organ_cut_keep *keep, uint64_t number)
{
    bool found = keep->numbers == NULL;
    for (size_t k = 0; k < keep->count; k++)
        found = found || keep->numbers[k] == number;
    return found;
}

/* Sets every re-solved matrix to 0.5 + its number, and checks that reading it back gives these values. */
static organ_status resolve(void *context, organ_cut_run *run, organ_error *error)
{
    const job *const j = context;
    float *const values = malloc(sizeof(float) << 16), *const back = malloc(sizeof(float) << 16);
    for (size_t t = 0; t < j->model->tensor_count && !error->status; t++) {
        const organ_tensor *const tensor = &j->model->tensors[t];
        if (!j->refitted[t] || organ_cut_done(run, tensor))
            continue;
        const uint64_t all = organ_tensor_matrices(tensor).count;
        for (uint64_t m = 0; m < all && !error->status; m++) {
            if (tensor->rank > 2 && !stays(&j->layers[tensor->anatomy.layer].experts, m))
                continue;
            for (size_t k = 0; k < 1 << 16; k++)
                values[k] = 0.5f + (float)m;
            if (organ_cut_put(run, tensor, m, true, false, values, error) == ORGAN_OK &&
                organ_cut_get(run, tensor, m, false, back, error) == ORGAN_OK)
                REQUIRE(values[0] == back[0]);
        }
    }
    free(values);
    free(back);
    return error->status;
}

static organ_status run_cut(job *j, const organ_engine *engine, const char *path, organ_error *error)
{
    static uint32_t lists[32][4096];
    organ_cut_layer layers[RIG_LAYERS] = {{0}};
    const cut_way *const way = j->way;
    j->refitted = calloc(j->model->tensor_count + 1, sizeof *j->refitted);
    for (size_t t = 0; t < j->model->tensor_count && way->refitted; t++)
        j->refitted[t] = strstr(j->model->tensors[t].name, way->refitted) != NULL;
    read_cut(way->cut ? way->cut : "e0:1,3", layers, lists);
    j->layers = layers;
    const organ_write_options requested = {.output = path,
                                           .resume = way->resume,
                                           .force = way->force,
                                           .dry_run = way->dry_run,
                                           .max_shard_size = ORGAN_SHARD_BYTES};
    organ_cut_out cut = {
        .write = {.model = j->model,
                  .requested = &requested,
                  .engine = engine,
                  .context = j,
                  .names = {.definition = "experts/1", .view = &organ_experts_view, .stage = "cutting"},
                  .check = {.parameters = parameters},
                  .report = {.document = document}},
        .layers = layers,
        .layer_count = organ_cut_layers(j->model),
        .refitted = way->refitted ? j->refitted : NULL,
        .refit_context = j,
        .refit = way->refitted ? resolve : NULL};
    organ_cut_make(&cut, &cut_report, error);
    free(j->refitted);
    return error->status;
}

organ_status cut_model(const char *output, cut_way way, organ_error *error)
{
    run_engine room;
    organ_model *model = NULL;
    const bool gguf = exists(scratch_path("donor.gguf"));
    char donor[4096];
    *error = (organ_error){0};
    if (!way.donor)
        way.donor = gguf ? "donor.gguf" : "donor";
    snprintf(donor, sizeof donor, "%s", scratch_path("%s", way.donor));
    json_decref(cut_report);
    cut_report = NULL;
    run_engine_open(&room, (run_way){.threads = way.threads, .memory = way.memory, .stop = way.stop});
    if (organ_model_open(donor, &model, error) == ORGAN_OK)
        run_cut(&(job){.way = &way, .model = model}, &room.engine, scratch_path("%s", output), error);
    organ_model_close(model);
    run_engine_close(&room);
    return error->status;
}

organ_status audit_cut(const char *output, bool compensated, organ_error *error)
{
    run_engine room;
    char donor[4096], copy[4096];
    snprintf(donor, sizeof donor, "%s",
             scratch_path("%s", exists(scratch_path("donor.gguf")) ? "donor.gguf" : "donor"));
    snprintf(copy, sizeof copy, "%s", scratch_path("%s", output));
    const organ_audit_options options = {.donor = donor, .pruned = copy, .compensated = compensated};
    *error = (organ_error){0};
    json_decref(audit_report);
    audit_report = NULL;
    run_engine_open(&room, (run_way){0});
    organ_audit(&options, &room.engine, NULL, &audit_report, error);
    run_engine_close(&room);
    return error->status;
}

void audit_finds(const char *output, bool compensated, const char *word)
{
    organ_error error;
    const organ_status status = audit_cut(output, compensated, &error);
    char *const problems = json_dumps(json_object_get(audit_report, "problems"), JSON_ENCODE_ANY);
    ck_assert_msg(status == ORGAN_CHECK_FAILED, "%d: %s", (int)status, error.message);
    ck_assert_msg(strstr(error.message, word) || (problems && strstr(problems, word)), "no '%s': %s\n%s", word,
                  error.message, problems ? problems : "");
    free(problems);
}

void must_cut(const char *output, cut_way way)
{
    organ_error error;
    ck_assert_msg(cut_model(output, way, &error) == ORGAN_OK, "%s: %s", way.cut ? way.cut : "", error.message);
    if (!way.dry_run)
        ck_assert_msg(audit_cut(output, way.refitted, &error) == ORGAN_OK, "%s: audit: %s", way.cut ? way.cut : "",
                      error.message);
}

void cut_refused(cut_way way, organ_status status, const char *word)
{
    organ_error error;
    const char *const output = exists(scratch_path("donor.gguf")) ? "refused.gguf" : "refused";
    const organ_status found = cut_model(output, way, &error);
    ck_assert_msg(found == status && strstr(error.message, word), "%s: %d, not %d with '%s': %s",
                  way.cut ? way.cut : "", (int)found, (int)status, word, error.message);
    ck_assert(!scratch_left(output));
}

/* ---- checking outputs ---- */

static unsigned char *load_tensor(const organ_model *model, const organ_tensor *tensor)
{
    organ_error error = {0};
    unsigned char *const bytes = malloc((size_t)tensor->bytes + 1);
    ck_assert_msg(organ_model_read(model, tensor->file, bytes, (size_t)tensor->bytes, tensor->offset, &error) ==
                      ORGAN_OK,
                  "%s", error.message);
    return bytes;
}

/* Kept places along each axis, in elements. */
typedef struct requested {
    uint32_t lists[4][4096]; /* `each` places of this axis for each number of the first axis */
    size_t counts[4];
    unsigned each;      /* 0: none */
    uint64_t places[4]; /* of the donor */
} requested;

static void read_axes(const char *text, const organ_tensor *donor, requested *w)
{
    w->each = 0;
    for (unsigned axis = 0; axis < donor->rank; axis++) {
        const unsigned block = axis + 1 == donor->rank ? organ_dtype_describe(donor->dtype)->elements : 1;
        w->places[axis] = w->counts[axis] = (size_t)(donor->shape[axis] / block);
        for (size_t k = 0; k < w->counts[axis]; k++)
            w->lists[axis][k] = (uint32_t)k;
    }
    for (const char *s = text; *s >= '0' && *s <= '9'; s += *s == ';') {
        const unsigned axis = (unsigned)(*s - '0');
        REQUIRE(axis < donor->rank);
        s = read_numbers(s + 2, w->lists[axis], &w->counts[axis]);
        for (size_t more = 1; *s == '/'; more++) {
            size_t count;
            s = read_numbers(s + 1, w->lists[axis] + more * w->counts[axis], &count);
            REQUIRE(count == w->counts[axis]);
            w->each = axis;
        }
    }
}

static void compare(const organ_tensor *made, const unsigned char *found, const organ_tensor *donor,
                    const unsigned char *from, const char *axes)
{
    static requested w;
    const size_t width = organ_dtype_describe(donor->dtype)->bytes;
    size_t all = 1;
    REQUIRE_MSG(made->dtype == donor->dtype && made->rank == donor->rank, "%s: type or axes", made->name);
    read_axes(axes, donor, &w);
    for (unsigned axis = 0; axis < donor->rank; axis++) {
        const unsigned block = axis + 1 == donor->rank ? organ_dtype_describe(donor->dtype)->elements : 1;
        REQUIRE_MSG(made->shape[axis] == w.counts[axis] * block, "%s: axis %u is %" PRIu64 ", not %zu", made->name,
                    axis, made->shape[axis], w.counts[axis] * block);
        all *= w.counts[axis];
    }
    for (size_t k = 0; k < all; k++) {
        size_t left = k, at = 0, each = 1;
        for (unsigned axis = donor->rank; axis-- > 0;) {
            const size_t first = axis && axis == w.each ? k / (all / w.counts[0]) * w.counts[axis] : 0;
            at += each * w.lists[axis][first + left % w.counts[axis]];
            each *= (size_t)w.places[axis];
            left /= w.counts[axis];
        }
        REQUIRE_MSG(memcmp(found + k * width, from + at * width, width) == 0, "%s: place %zu is not %zu of %s",
                    made->name, k, at, donor->name);
    }
}

static void check_line(const organ_model *output, const organ_model *donor, const char *text, size_t length)
{
    char copy[512], name[256], from[256], axes[256] = "";
    REQUIRE(length < sizeof copy);
    memcpy(copy, text, length);
    copy[length] = '\0';
    const bool there = sscanf(copy, "%255s ! %255s", name, from) == 2;
    REQUIRE_MSG(there || sscanf(copy, "%255s = %255s %255s", name, from, axes) >= 2, "no line: %s", copy);
    if (there) {
        REQUIRE_MSG(organ_model_find(output, name), "%s: not there", name);
        return;
    }
    const organ_tensor *const made = organ_model_find(output, name), *const its = organ_model_find(donor, from);
    REQUIRE_MSG(made && its, "%s: not there: %s", copy, made ? "in the donor" : "in the output");
    unsigned char *const a = load_tensor(output, made), *const b = load_tensor(donor, its);
    compare(made, a, its, b, axes);
    free(a);
    free(b);
}

void made_of(const char *output, const char *lines)
{
    organ_model *made = NULL, *donor = NULL;
    organ_error error = {0};
    size_t count = 0;
    ck_assert_msg(organ_model_open(scratch_path("%s", output), &made, &error) == ORGAN_OK, "%s", error.message);
    const bool gguf = made->gguf != NULL;
    ck_assert_int_eq(organ_model_open(scratch_path("%s", gguf ? "donor.gguf" : "donor"), &donor, &error), ORGAN_OK);
    for (const char *s = lines; *s; s = next_line(s), count++)
        check_line(made, donor, s, strcspn(s, "\n"));
    ck_assert_uint_eq(made->tensor_count, count);
    organ_model_close(made);
    organ_model_close(donor);
}

const char *config_says(const char *output, const char *key)
{
    static char found[2048];
    json_t *const root = json_load_file(scratch_path("%s/config.json", output), 0, NULL);
    const json_t *const at = strncmp(key, "text_config.", 12) == 0 ? json_object_get(root, "text_config") : root;
    const json_t *const value = json_object_get(at, at == root ? key : key + 12);
    char *const text = value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    ck_assert_ptr_nonnull(root);
    snprintf(found, sizeof found, "%s", text ? text : "");
    free(text);
    json_decref(root);
    return found;
}
