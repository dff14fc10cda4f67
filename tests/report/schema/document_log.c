/* SPDX-License-Identifier: MIT
 * Copies each document that the program writes or prints into the folder that the environment variable DOCUMENTS names,
 * as PROCESS.NUMBER.json. Linked by the options of ld that tests/report/schemas.sh gives: --wrap for each function. */
#include <fcntl.h>
#include <organ/report.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LARGEST ((off_t)4 << 20) /* bytes of a document that is copied */

/* Weak, since programs of tests that write no document lack them. */
#define REAL(name, ...)                                                                                                \
    organ_status __real_##name(__VA_ARGS__) __attribute__((weak));                                                     \
    organ_status __wrap_##name(__VA_ARGS__);                                                                           \
    organ_status __wrap_##name(__VA_ARGS__)
organ_status organ_document_replace(const char *path, const json_t *document, organ_error *error);

/* Returns a new file of the folder; NULL without DOCUMENTS, or if it cannot be written. */
static FILE *new_copy(void)
{
    static unsigned number;
    const char *const folder = getenv("DOCUMENTS");
    char path[4096];
    if (!folder)
        return NULL;
    snprintf(path, sizeof path, "%s/%ld.%u.json", folder, (long)getpid(),
             __atomic_fetch_add(&number, 1, __ATOMIC_RELAXED));
    return fopen(path, "we");
}

static void copy_file(const char *path)
{
    FILE *const copy = new_copy(), *const from = copy ? fopen(path, "re") : NULL;
    char piece[65536];
    for (size_t count; from && (count = fread(piece, 1, sizeof piece, from)) > 0;)
        if (fwrite(piece, 1, count, copy) < count || ftello(copy) > LARGEST)
            break;
    if (from)
        fclose(from);
    if (copy)
        fclose(copy);
}

REAL(organ_document_print, const json_t *document, FILE *out, organ_error *error)
{
    FILE *const copy = out == stdout ? new_copy() : NULL;
    if (copy) {
        __real_organ_document_print(document, copy, &(organ_error){0});
        fclose(copy);
    }
    return __real_organ_document_print(document, out, error);
}

REAL(organ_document_write, const char *path, const json_t *document, organ_error *error)
{
    const organ_status status = __real_organ_document_write(path, document, error);
    if (status == ORGAN_OK)
        copy_file(path);
    return status;
}

REAL(organ_document_replace, const char *path, const json_t *document, organ_error *error)
{
    const organ_status status = __real_organ_document_replace(path, document, error);
    if (status == ORGAN_OK)
        copy_file(path);
    return status;
}

REAL(organ_document_write_long, const char *path, const json_t *document, const organ_long_member *rows,
     organ_error *error)
{
    const organ_status status = __real_organ_document_write_long(path, document, rows, error);
    if (status == ORGAN_OK)
        copy_file(path);
    return status;
}
