/* SPDX-License-Identifier: MIT */
#include "tests/kit/largest_allocation.h"

size_t largest_allocation;

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size);

static size_t seen(size_t size)
{
    largest_allocation = size > largest_allocation ? size : largest_allocation;
    return size;
}

void *__wrap_malloc(size_t size) { return __real_malloc(seen(size)); }
void *__wrap_calloc(size_t count, size_t size)
{
    return __real_calloc(count, seen(count * size) / (count ? count : 1));
}
void *__wrap_realloc(void *old, size_t size) { return __real_realloc(old, seen(size)); }
