/* SPDX-License-Identifier: MIT */
#include "tests/kit/memory_rig.h"

#include <organ/base.h>
#include <organ/report.h>

#include <check.h>
#include <stdlib.h>

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size);

/* Number of allocations that succeed before the one that fails; negative: all succeed. */
static long left = -1;

static bool refused(void) { return left >= 0 && left-- == 0; }

void *__wrap_malloc(size_t size) { return refused() ? NULL : __real_malloc(size); }
void *__wrap_calloc(size_t count, size_t size) { return refused() ? NULL : __real_calloc(count, size); }
void *__wrap_realloc(void *old, size_t size) { return refused() ? NULL : __real_realloc(old, size); }

void memory_fails_after(long granted) { left = granted; }

bool memory_returns(void)
{
    const bool all = left >= 0;
    left = -1;
    return all;
}

/* Allocates like a program with its own allocation functions. */
static void *counted(size_t size)
{
    void *const memory = __wrap_malloc(size);
    if (!memory)
        organ_memory_count_refusal();
    return memory;
}

void memory_counts_json(bool counts) { json_set_alloc_funcs(counts ? counted : __real_malloc, free); }

bool memory_of_page(const json_t *report, long granted)
{
    organ_error error = {0};
    char *page = NULL;
    memory_fails_after(granted);
    organ_html_report(report, &page, &error);
    const bool all = memory_returns();
    ck_assert_msg(error.status == (all ? ORGAN_OK : ORGAN_IO), "%s: allocation %ld: status %d: %s",
                  organ_json_text(report, "schema"), granted, (int)error.status, error.message);
    ck_assert_msg(all ? page != NULL : page == NULL, "%s: allocation %ld", organ_json_text(report, "schema"), granted);
    free(page);
    return all;
}
