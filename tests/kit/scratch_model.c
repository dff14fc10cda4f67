/* SPDX-License-Identifier: MIT */
#include "tests/kit/scratch_model.h"

#include <organ/models.h>

#include <check.h>
#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char directory[256];

void scratch_begin(void)
{
    const char *base = getenv("TMPDIR");
    snprintf(directory, sizeof directory, "%s/organ-formats-XXXXXX", base ? base : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(directory));
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info, (void)kind, (void)where;
    return remove(path);
}

void scratch_end(void) { ck_assert_int_eq(nftw(directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0); }

const char *scratch_path(const char *name)
{
    static char paths[8][1024];
    static unsigned next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", directory, name);
    return path;
}

void scratch_file(const char *name, const void *bytes, size_t length)
{
    FILE *file = fopen(scratch_path(name), "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(bytes, 1, length, file), length);
    ck_assert_int_eq(fclose(file), 0);
}

void scratch_text(const char *name, const char *text) { scratch_file(name, text, strlen(text)); }

void scratch_tensors(const char *name, const char *header, size_t data)
{
    const size_t length = strlen(header);
    unsigned char *bytes = malloc(8 + length + data);
    ck_assert_ptr_nonnull(bytes);
    for (unsigned k = 0; k < 8; k++)
        bytes[k] = (unsigned char)((uint64_t)length >> 8 * k);
    memcpy(bytes + 8, header, length);
    for (size_t k = 0; k < data; k++)
        bytes[8 + length + k] = (unsigned char)k;
    scratch_file(name, bytes, 8 + length + data);
    free(bytes);
}

int open_files(void)
{
    DIR *list = opendir("/proc/self/fd");
    ck_assert_ptr_nonnull(list);
    int count = 0;
    while (readdir(list))
        count++;
    closedir(list);
    return count;
}

void expect_refused(const char *path, organ_status status, const char *const *fragments)
{
    const int before = open_files();
    organ_error error = {0};
    organ_model *model = (organ_model *)&error;
    const organ_status got = organ_model_open(path, &model, &error);
    ck_assert_msg(got == status && error.status == status, "%s: status %d, not %d: %s", path, (int)got, (int)status,
                  error.message);
    ck_assert_ptr_null(model);
    for (; *fragments; fragments++)
        ck_assert_msg(strstr(error.message, *fragments), "no \"%s\" in: %s", *fragments, error.message);
    ck_assert_int_eq(open_files(), before);
}
