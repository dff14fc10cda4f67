/* SPDX-License-Identifier: MIT
 * Arrays that are released together are a list: before each is a cache line, or a page, with the address of the next.
 */
#include "orchestrator/machine/buffers.h"

#include "orchestrator/machine/quantity.h"

#include <stdlib.h>
#include <sys/mman.h>

#define LARGE_ARRAY ((size_t)4 << 20) /* bytes of an array for which large pages are worth a call */
#define LINE        ((size_t)64)
#define PAGE        ((size_t)4096)

struct organ_buffer {
    struct organ_buffer *next;
};

static void ask_for_large_pages(void *array, size_t bytes)
{
    const uintptr_t from = ((uintptr_t)array + PAGE - 1) / PAGE * PAGE, to = ((uintptr_t)array + bytes) / PAGE * PAGE;
    if (bytes >= LARGE_ARRAY)
        (void)madvise((void *)from, to - from, MADV_HUGEPAGE);
}

static void count(organ_buffers *b, uint64_t bytes)
{
    b->bytes = bytes < ORGAN_BUFFERS_MOST - b->bytes ? b->bytes + bytes : ORGAN_BUFFERS_MOST;
}

void organ_take_beside(organ_buffers *b, uint64_t bytes)
{
    if (b->counting)
        count(b, bytes);
}

/* `head`: bytes of the allocation before the array, and alignment of both. */
static void *take(organ_buffers *b, size_t length, size_t each, size_t head, bool zeros)
{
    size_t bytes;
    void *made = NULL;
    if (__builtin_mul_overflow(length, each, &bytes) || bytes > ORGAN_BUFFERS_MOST)
        bytes = ORGAN_BUFFERS_MOST;
    count(b, bytes);
    if (b->counting || b->lacking)
        return NULL;
    if (zeros)
        made = calloc(1, head + bytes);
    else if (posix_memalign(&made, head, head + bytes) != 0)
        made = NULL;
    b->lacking = !made;
    if (!made)
        return NULL;
    *(struct organ_buffer *)made = (struct organ_buffer){b->first};
    b->first = made;
    return (char *)made + head;
}

void *organ_take(organ_buffers *b, size_t count, size_t each) { return take(b, count, each, LINE, /*zeros=*/false); }
void *organ_take_pages(organ_buffers *b, size_t count, size_t each)
{
    return take(b, count, each, PAGE, /*zeros=*/false);
}

void *organ_take_large(organ_buffers *b, size_t count, size_t each)
{
    void *const array = take(b, count, each, LINE, /*zeros=*/false);
    if (array)
        ask_for_large_pages(array, count * each);
    return array;
}

void *organ_take_zeros(organ_buffers *b, size_t count, size_t each)
{
    void *const array = take(b, count, each, LINE, /*zeros=*/true);
    if (array)
        ask_for_large_pages(array, count * each);
    return array;
}

uint64_t organ_buffers_count(organ_layout_function *layout, void *context)
{
    organ_buffers b = {.counting = true};
    layout(context, &b);
    return b.bytes;
}

bool organ_buffers_take(organ_buffers *b, organ_layout_function *layout, void *context)
{
    layout(context, b);
    return !b->lacking;
}

void organ_buffers_release(organ_buffers *b)
{
    struct organ_buffer *next = b->first;
    *b = (organ_buffers){0};
    while (next) {
        struct organ_buffer *const made = next;
        next = made->next;
        free(made);
    }
}

/* NULL is also returned if the size overflows. An array of no elements has a cache line, so that NULL always means
 * an error. */
float *organ_floats(size_t a, size_t b)
{
    size_t bytes;
    if (__builtin_mul_overflow(a, b, &bytes) || __builtin_mul_overflow(bytes, sizeof(float), &bytes) ||
        bytes > PTRDIFF_MAX - 4096)
        return NULL;
    float *const array = aligned_alloc(64, organ_to_line(bytes) + (bytes == 0 ? 64 : 0));
    if (array)
        ask_for_large_pages(array, bytes);
    return array;
}

double *organ_zero_doubles(size_t count)
{
    double *const array = calloc(count, sizeof *array);
    if (array)
        ask_for_large_pages(array, count * sizeof *array);
    return array;
}
