/* SPDX-License-Identifier: MIT */
#include "tests/fuzz/corpus.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LARGEST ((size_t)1 << 24) /* no input has more bytes */

static bool complain(const char *path, const char *what)
{
    fprintf(stderr, "%s: %s\n", path, what);
    return false;
}

/* Adds the next `size` bytes of the file as an input. */
static bool add_seed(fuzz_corpus *corpus, FILE *file, size_t size, const char *path)
{
    if (size > LARGEST)
        return complain(path, "an input is too large");
    if (corpus->count == corpus->capacity) {
        const size_t capacity = 2 * corpus->capacity + 64;
        fuzz_seed *const seeds = realloc(corpus->seeds, capacity * sizeof *seeds);
        if (!seeds)
            return complain(path, "no memory");
        corpus->seeds = seeds;
        corpus->capacity = capacity;
    }
    uint8_t *const data = malloc(size + 1);
    if (!data || fread(data, 1, size, file) != size) {
        free(data);
        return complain(path, data ? "it ends too early" : "no memory");
    }
    corpus->seeds[corpus->count++] = (fuzz_seed){data, size};
    return true;
}

static bool read_file(fuzz_corpus *corpus, const char *path)
{
    FILE *const file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END) != 0)
        return complain(path, strerror(errno));
    const long size = ftell(file);
    rewind(file);
    const bool good = size >= 0 && add_seed(corpus, file, (size_t)size, path);
    fclose(file);
    return good;
}

static int is_visible(const struct dirent *entry) { return entry->d_name[0] != '.'; }

bool fuzz_corpus_read_files(fuzz_corpus *corpus, const char *directory)
{
    struct dirent **names;
    const int count = scandir(directory, &names, is_visible, alphasort);
    bool good = count >= 0 || errno == ENOENT || complain(directory, strerror(errno));
    for (int k = 0; k < count; k++) {
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", directory, names[k]->d_name);
        free(names[k]);
        good = read_file(corpus, path) && good;
    }
    if (count >= 0)
        free(names);
    return good;
}

bool fuzz_corpus_read_pack(fuzz_corpus *corpus, const char *path)
{
    char command[1024];
    if (access(path, F_OK) != 0)
        return errno == ENOENT || complain(path, strerror(errno));
    if (snprintf(command, sizeof command, "gzip -dc '%s'", path) >= (int)sizeof command)
        return complain(path, "its path is too long");
    FILE *const file = popen(command, "r");
    bool good = file || complain(path, strerror(errno));
    uint8_t head[4];
    for (size_t got; good && (got = fread(head, 1, sizeof head, file)) > 0;) {
        const size_t size = head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16 | (size_t)head[3] << 24;
        good = got == sizeof head ? add_seed(corpus, file, size, path) : complain(path, "it ends too early");
    }
    return file && (pclose(file) == 0 || complain(path, "gzip does not unpack it")) && good;
}

void fuzz_corpus_release(fuzz_corpus *corpus)
{
    for (size_t k = 0; k < corpus->count; k++)
        free(corpus->seeds[k].data);
    free(corpus->seeds);
    *corpus = (fuzz_corpus){0};
}
