/* SPDX-License-Identifier: MIT
 * For the build with MemorySanitizer, which has to observe every store but does not observe those of libraries. Memory
 * that libraries allocate counts as initialised (poison_in_malloc=0), memory that organ allocates does not: calls of
 * malloc and related functions in organ's objects are redirected here (-Wl,--wrap=NAME in build.ninja). Freed memory
 * counts as initialised again, since libraries may get it next. The functions below mark the memory that library calls
 * write for organ. */
#define PCRE2_CODE_UNIT_WIDTH 8

#include <jansson.h>
#include <pcre2.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

void __msan_poison(const volatile void *at, size_t size);
void __msan_unpoison(const volatile void *at, size_t size);
size_t __sanitizer_get_allocated_size(const volatile void *at);
int __sanitizer_install_malloc_and_free_hooks(void (*made)(const volatile void *at, size_t size),
                                              void (*freed)(const volatile void *at));

__typeof__(malloc) __real_malloc, __wrap_malloc;
__typeof__(aligned_alloc) __real_aligned_alloc, __wrap_aligned_alloc;
__typeof__(realloc) __wrap_realloc;
__typeof__(free) __real_free, __wrap_free;
__typeof__(json_loadb) __real_json_loadb, __wrap_json_loadb;
__typeof__(json_loadfd) __real_json_loadfd, __wrap_json_loadfd;
__typeof__(utf8proc_iterate) __real_utf8proc_iterate, __wrap_utf8proc_iterate;
__typeof__(utf8proc_encode_char) __real_utf8proc_encode_char, __wrap_utf8proc_encode_char;
__typeof__(utf8proc_decompose_char) __real_utf8proc_decompose_char, __wrap_utf8proc_decompose_char;
__typeof__(utf8proc_normalize_utf32) __real_utf8proc_normalize_utf32, __wrap_utf8proc_normalize_utf32;
__typeof__(fmemopen) __real_fmemopen, __wrap_fmemopen;
pcre2_code *__real_pcre2_compile_8(PCRE2_SPTR pattern, PCRE2_SIZE size, uint32_t options, int *fault, PCRE2_SIZE *at,
                                   pcre2_compile_context *context);
pcre2_code *__wrap_pcre2_compile_8(PCRE2_SPTR pattern, PCRE2_SIZE size, uint32_t options, int *fault, PCRE2_SIZE *at,
                                   pcre2_compile_context *context);
int __real_pcre2_get_error_message_8(int code, PCRE2_UCHAR *text, PCRE2_SIZE size);
int __wrap_pcre2_get_error_message_8(int code, PCRE2_UCHAR *text, PCRE2_SIZE size);

/* ---- memory ---- */

/* Marks a new allocation as initialised, also those of libraries, and discards the shadow that MemorySanitizer keeps of
 * its former use. */
static void forget(const volatile void *at, size_t size) { __msan_unpoison(at, size); }
static void ignore(const volatile void *at) { (void)at; }

__attribute__((constructor)) static void watch_allocations(void)
{
    __sanitizer_install_malloc_and_free_hooks(forget, ignore);
}

static void *poisoned(void *made, size_t size)
{
    if (made)
        __msan_poison(made, size);
    return made;
}

void *__wrap_malloc(size_t size) { return poisoned(__real_malloc(size), size); }

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return poisoned(__real_aligned_alloc(alignment, size), size);
}

/* The library's own realloc would keep the state of the old block. */
void *__wrap_realloc(void *old, size_t size)
{
    const size_t before = old ? __sanitizer_get_allocated_size(old) : 0;
    void *const made = __wrap_malloc(size);
    if (made && old) {
        memcpy(made, old, before < size ? before : size);
        __wrap_free(old);
    }
    return made;
}

void __wrap_free(void *old)
{
    if (old)
        __msan_unpoison(old, __sanitizer_get_allocated_size(old));
    __real_free(old);
}

/* ---- memory that libraries write for organ ---- */

/* Clears the stack that the next function will use. It has held variables of organ's functions, which count as
 * uninitialised, and so would a library's copies of its own variables. */
__attribute__((noinline)) static void clean_stack(void)
{
    volatile char below[32 << 10];
    __msan_unpoison(below, sizeof below);
}

json_t *__wrap_json_loadb(const char *bytes, size_t size, size_t flags, json_error_t *fault)
{
    clean_stack();
    json_t *const made = __real_json_loadb(bytes, size, flags, fault);
    if (fault)
        __msan_unpoison(fault, sizeof *fault);
    return made;
}

json_t *__wrap_json_loadfd(int fd, size_t flags, json_error_t *fault)
{
    clean_stack();
    json_t *const made = __real_json_loadfd(fd, flags, fault);
    if (fault)
        __msan_unpoison(fault, sizeof *fault);
    return made;
}

utf8proc_ssize_t __wrap_utf8proc_iterate(const utf8proc_uint8_t *text, utf8proc_ssize_t size, utf8proc_int32_t *code)
{
    const utf8proc_ssize_t length = __real_utf8proc_iterate(text, size, code);
    __msan_unpoison(code, sizeof *code);
    return length;
}

utf8proc_ssize_t __wrap_utf8proc_encode_char(utf8proc_int32_t code, utf8proc_uint8_t *to)
{
    const utf8proc_ssize_t length = __real_utf8proc_encode_char(code, to);
    __msan_unpoison(to, (size_t)length);
    return length;
}

utf8proc_ssize_t __wrap_utf8proc_decompose_char(utf8proc_int32_t code, utf8proc_int32_t *to, utf8proc_ssize_t room,
                                                utf8proc_option_t options, int *last_class)
{
    const utf8proc_ssize_t made = __real_utf8proc_decompose_char(code, to, room, options, last_class);
    if (made > 0)
        __msan_unpoison(to, (size_t)(made < room ? made : room) * sizeof *to);
    return made;
}

utf8proc_ssize_t __wrap_utf8proc_normalize_utf32(utf8proc_int32_t *codes, utf8proc_ssize_t count,
                                                 utf8proc_option_t options)
{
    const utf8proc_ssize_t made = __real_utf8proc_normalize_utf32(codes, count, options);
    if (made > 0)
        __msan_unpoison(codes, (size_t)made * sizeof *codes);
    return made;
}

int __wrap_pcre2_get_error_message_8(int code, PCRE2_UCHAR *text, PCRE2_SIZE size)
{
    const int length = __real_pcre2_get_error_message_8(code, text, size);
    __msan_unpoison(text, size);
    return length;
}

pcre2_code *__wrap_pcre2_compile_8(PCRE2_SPTR pattern, PCRE2_SIZE size, uint32_t options, int *fault, PCRE2_SIZE *at,
                                   pcre2_compile_context *context)
{
    pcre2_code *const made = __real_pcre2_compile_8(pattern, size, options, fault, at, context);
    __msan_unpoison(fault, sizeof *fault);
    __msan_unpoison(at, sizeof *at);
    return made;
}

FILE *__wrap_fmemopen(void *memory, size_t size, const char *mode)
{
    __msan_unpoison(memory, size);
    return __real_fmemopen(memory, size, mode);
}
