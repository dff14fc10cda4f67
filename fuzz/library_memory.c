/* SPDX-License-Identifier: MIT
 * For the build with MemorySanitizer, which must see every store: it does not see those of libraries. So what they allocate counts as
 * initialised (poison_in_malloc=0 in its options), and what organ allocates does not: calls of malloc and the like in organ's own objects
 * come here (-Wl,--wrap=malloc,...). Memory that is freed counts as initialised again, for libraries get it next. */
#include <stddef.h>
#include <stdlib.h>

void __msan_poison(const volatile void *at, size_t size);
void __msan_unpoison(const volatile void *at, size_t size);
size_t __sanitizer_get_allocated_size(const volatile void *at);

void *__real_malloc(size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void __real_free(void *old);
void *__wrap_malloc(size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
void __wrap_free(void *old);

static void *poisoned(void *made, size_t from, size_t size)
{
    if (made && from < size)
        __msan_poison((char *)made + from, size - from);
    return made;
}

void *__wrap_malloc(size_t size) { return poisoned(__real_malloc(size), 0, size); }

void *__wrap_aligned_alloc(size_t alignment, size_t size) { return poisoned(__real_aligned_alloc(alignment, size), 0, size); }

void *__wrap_realloc(void *old, size_t size)
{
    const size_t before = old ? __sanitizer_get_allocated_size(old) : 0;
    return poisoned(__real_realloc(old, size), before, size);
}

void __wrap_free(void *old)
{
    if (old)
        __msan_unpoison(old, __sanitizer_get_allocated_size(old));
    __real_free(old);
}
