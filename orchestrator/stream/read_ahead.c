/* SPDX-License-Identifier: MIT */
#include "orchestrator/stream/read_ahead.h"
#include "formats/model/composed.h"
#include "formats/base/owned.h"
#include "orchestrator/stream/product.h"

#include "formats/base/activity.h"
#include "formats/base/files.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define AHEAD ((uint64_t)64 << 20) /* announced reads are at most this many bytes ahead */
/* Bytes of an announcement: Linux shortens longer ones to about its read-ahead. */
#define ANNOUNCE ((uint64_t)512 << 10)

organ_read_range organ_read_range_of(const organ_model *model, const organ_weight *w, size_t part)
{
    const organ_tensor *const parts[ORGAN_READ_PARTS] = {w ? w->codes : NULL, w ? w->scale : NULL, w ? w->zero : NULL,
                                                         w ? w->bias : NULL};
    return (organ_read_range){model, parts[part]};
}

void organ_read_ahead_open(organ_read_ahead *ahead)
{
    pthread_mutex_init(&ahead->lock, NULL);
    ahead->fd = -1;
}

void organ_read_ahead_close(organ_read_ahead *ahead)
{
    pthread_mutex_destroy(&ahead->lock);
    if (ahead->fd >= 0)
        close(ahead->fd);
}

/* ahead->fd becomes -1 for a file at a URL and for one that cannot be opened. */
static void open_announced(organ_read_ahead *ahead, const organ_model_file *file)
{
    if (ahead->file == file)
        return;
    if (ahead->fd >= 0)
        close(ahead->fd);
    ahead->fd = file->remote ? -1 : organ_open(file->path, O_RDONLY | O_NONBLOCK, 0);
    ahead->file = file;
}

static void announce_next(organ_read_ahead *ahead)
{
    const organ_read_range range = ahead->range(ahead->context, ahead->next);
    const uint64_t remaining = range.tensor ? range.tensor->bytes - ahead->offset : 0;
    const uint64_t bytes = remaining < ANNOUNCE ? remaining : ANNOUNCE;
    if (bytes && !organ_model_is_composed(range.model))
        open_announced(ahead, &range.model->files[range.tensor->file]);
    if (bytes && ahead->fd >= 0)
        posix_fadvise(ahead->fd, (off_t)(range.tensor->offset + ahead->offset), (off_t)bytes, POSIX_FADV_WILLNEED);
    ahead->announced += bytes;
    ahead->offset += bytes;
    if (bytes == remaining) {
        ahead->next++;
        ahead->offset = 0;
    }
}

void organ_read_ahead_move(organ_read_ahead *ahead, uint64_t read)
{
    if (pthread_mutex_trylock(&ahead->lock))
        return;
    while (ahead->next < ahead->count && ahead->announced < read + AHEAD)
        announce_next(ahead);
    pthread_mutex_unlock(&ahead->lock);
}

/* ---- the limit ---- */

void organ_reader_gate_open(organ_reader_gate *gate, const organ_engine *engine)
{
    const size_t readers = engine->readers;
    *gate = (organ_reader_gate){.limits = readers && readers < organ_workers_count(engine->workers), .free = readers};
    pthread_mutex_init(&gate->lock, NULL);
    pthread_cond_init(&gate->left, NULL);
}

void organ_reader_gate_close(organ_reader_gate *gate)
{
    pthread_mutex_destroy(&gate->lock);
    pthread_cond_destroy(&gate->left);
}

void organ_reader_gate_enter(organ_reader_gate *gate)
{
    if (!gate->limits)
        return;
    ORGAN_DURING(ORGAN_WAITING);
    ORGAN_LOCKED(&gate->lock);
    while (gate->free == 0)
        pthread_cond_wait(&gate->left, &gate->lock);
    gate->free--;
}

void organ_reader_gate_leave(organ_reader_gate *gate)
{
    if (!gate->limits)
        return;
    ORGAN_LOCKED(&gate->lock);
    gate->free++;
    pthread_cond_signal(&gate->left);
}

/* ---- finite values beyond the range of a type ---- */

#define F16_GREATEST  65504.0f
#define BF16_GREATEST 0x1.fep127f
#define AT_ONCE       ((size_t)1024) /* values that are converted back at once; a multiple of the values of a block */

float organ_overflow_limit(organ_dtype dtype)
{
    switch (dtype) {
    case ORGAN_F16:
        return F16_GREATEST;
    case ORGAN_BF16:
        return BF16_GREATEST;
    case ORGAN_Q8_0: /* scale = greatest magnitude / 127 */
        return 127 * F16_GREATEST;
    case ORGAN_Q4_0:
        return 8 * F16_GREATEST;
    case ORGAN_Q5_0:
        return 16 * F16_GREATEST;
    default:
        return organ_dtype_describe(dtype)->elements > 1 ? F16_GREATEST : INFINITY;
    }
}

uint64_t organ_overflow_count(const organ_kernels *kernels, organ_dtype dtype, const float *values, const void *units,
                              size_t units_count)
{
    const organ_dtype_info *const type = organ_dtype_describe(dtype);
    const size_t n = units_count * type->elements, step = AT_ONCE / type->elements;
    /* no type makes a value of at most this magnitude infinite */
    const float safe = dtype == ORGAN_BF16 ? BF16_GREATEST : F16_GREATEST;
    float back[AT_ONCE];
    uint64_t count = 0;
    if (dtype == ORGAN_F32 || !(kernels->amax(values, n) > safe))
        return 0;
    for (size_t at = 0; at < units_count; at += step) {
        const size_t some = units_count - at < step ? units_count - at : step;
        const float *const before = values + at * type->elements;
        organ_widen(kernels, dtype, (const unsigned char *)units + at * type->bytes, back, some);
        for (size_t k = 0; k < some * type->elements; k++)
            count += isfinite(before[k]) && !isfinite(back[k]);
    }
    return count;
}

organ_status organ_overflow_found(organ_overflow *overflow, const char *tensor, organ_dtype dtype, uint64_t count,
                                  organ_error *error)
{
    if (!overflow->saturate)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "tensor '%s': at least %llu value%s would become infinite as %s, whose greatest magnitude is "
                          "%g: choose another type, or limit such values with `saturate`",
                          tensor, (unsigned long long)count, count == 1 ? "" : "s", organ_dtype_describe(dtype)->name,
                          (double)organ_overflow_limit(dtype));
    ORGAN_LOCKED(&overflow->lock);
    if (!overflow->values || strncmp(tensor, overflow->first, sizeof overflow->first - 1) < 0) {
        snprintf(overflow->first, sizeof overflow->first, "%s", tensor);
        overflow->dtype = dtype;
    }
    overflow->values += count;
    return ORGAN_OK;
}

void organ_overflow_clamp(float *values, size_t n, float limit)
{
    for (size_t k = 0; k < n; k++)
        if (isfinite(values[k]) && fabsf(values[k]) > limit)
            values[k] = copysignf(limit, values[k]);
}

organ_status organ_overflow_narrow(organ_overflow *overflow, const organ_kernels *kernels, organ_dtype dtype,
                                   const char *tensor, float *values, void *units, size_t units_count,
                                   organ_error *error)
{
    organ_narrow(kernels, dtype, values, units, units_count);
    const uint64_t count = organ_overflow_count(kernels, dtype, values, units, units_count);
    if (!count)
        return ORGAN_OK;
    if (organ_overflow_found(overflow, tensor, dtype, count, error) != ORGAN_OK)
        return error->status;
    organ_overflow_clamp(values, units_count * organ_dtype_describe(dtype)->elements, organ_overflow_limit(dtype));
    organ_narrow(kernels, dtype, values, units, units_count);
    return ORGAN_OK;
}
