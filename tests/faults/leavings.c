/* SPDX-License-Identifier: MIT */
#include "tests/faults/leavings.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

_Noreturn void give_up(const char *what)
{
    fprintf(stderr, "fault_sweep: %s: %s\n", what, strerror(errno));
    exit(2);
}

void join(char path[LEAVINGS_TEXT], const char *directory, const char *name)
{
    if (snprintf(path, LEAVINGS_TEXT, "%s/%s", directory, name) >= LEAVINGS_TEXT) {
        errno = ENAMETOOLONG;
        give_up(directory);
    }
}

char *load(const char *path, size_t *length)
{
    FILE *const in = fopen(path, "r");
    struct stat info;
    if (!in || fstat(fileno(in), &info))
        give_up(path);
    char *const bytes = malloc((size_t)info.st_size + 1);
    *length = bytes ? fread(bytes, 1, (size_t)info.st_size, in) : 0;
    if (!bytes)
        give_up(path);
    bytes[*length] = '\0';
    fclose(in);
    return bytes;
}

/* Cuts a line before the first time in seconds: "0.12 s". */
static void cut_seconds(char *line)
{
    for (char *at = line; (at = strstr(at, " s")); at += 2)
        if (at > line && isdigit((unsigned char)at[-1]) && !isalnum((unsigned char)at[2])) {
            while (at > line && (isdigit((unsigned char)at[-1]) || at[-1] == '.'))
                at--;
            *at = '\0';
            return;
        }
}

/* Removes the section "Run" of a Markdown or HTML report, which contains times and the models that this run measured,
 * the seal, and lines with times and speeds, with the fastest kernels, and with the number of models that a fleet did
 * not repeat. Returns a digest of the rest. */
static uint64_t digest_of_text(char *text)
{
    char *const run = strstr(text, "\n## Run"), *const section = strstr(text, "-run\">Run</h2>");
    uint64_t digest = 0;
    if (run)
        run[1] = '\0';
    if (section)
        *section = '\0';
    for (char *line = text, *rest = NULL; (line = strtok_r(line, "\n", &rest)); line = NULL) {
        if (strstr(line, "Time") || strncmp(line, "Bound by ", 9) == 0 || strstr(line, "B/s") ||
            strstr(line, "tokens/s") || strstr(line, "seconds") || strstr(line, "per second") ||
            strstr(line, ">started<") || strstr(line, ">resumed<") || strstr(line, "<!-- organ: ") ||
            strstr(line, ">cpu isa<") || strstr(line, ">unchanged<"))
            continue;
        cut_seconds(line);
        digest = XXH3_64bits_withSeed(line, strlen(line), digest);
    }
    return digest;
}

/* Removes times and inodes from a report or record, and its seal. */
static void drop_times(json_t *json)
{
    static const char *const names[] = {"run",   "seconds",     "bytes_per_second", "seal",
                                        "inode", "modified_ns", "changed_ns"};
    const char *key;
    size_t k;
    json_t *value;
    for (k = 0; k < sizeof names / sizeof *names; k++)
        json_object_del(json, names[k]);
    json_object_foreach(json, key, value) drop_times(value);
    json_array_foreach(json, k, value) drop_times(value);
}

uint64_t digest_of(const char *path)
{
    size_t length;
    char *const bytes = load(path, &length);
    json_t *const json = *bytes == '{' ? json_loadb(bytes, length, 0, NULL) : NULL;
    uint64_t digest;
    if (json) {
        drop_times(json);
        char *const text = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS);
        digest = XXH3_64bits(text, strlen(text));
        free(text);
        json_decref(json);
    } else {
        digest = memchr(bytes, '\0', length) ? XXH3_64bits(bytes, length) : digest_of_text(bytes);
    }
    free(bytes);
    return digest;
}

static int by_name(const void *a, const void *b) { return strcmp(a, b); }

static void look_below(const char *directory, const char *below, const char *but, leavings *found)
{
    char path[LEAVINGS_TEXT];
    join(path, directory, below);
    DIR *const entries = opendir(path);
    if (!entries)
        give_up(path);
    for (struct dirent *e; (e = readdir(entries));) {
        char name[LEAVINGS_TEXT];
        struct stat info;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
            (but && !*below && strcmp(e->d_name, but) == 0))
            continue;
        if (*below)
            join(name, below, e->d_name);
        else
            snprintf(name, sizeof name, "%s", e->d_name);
        join(path, directory, name);
        if (lstat(path, &info) || found->count == LEAVINGS_FILES)
            give_up(path);
        if (S_ISDIR(info.st_mode))
            look_below(directory, name, but, found);
        snprintf(found->file[found->count].name, sizeof found->file->name, "%.255s", name);
        found->file[found->count++].digest = S_ISREG(info.st_mode) ? digest_of(path) : 0;
    }
    closedir(entries);
}

void look(const char *directory, const char *but, leavings *found)
{
    found->count = 0;
    look_below(directory, "", but, found);
    qsort(found->file, found->count, sizeof *found->file, by_name);
}

/* Returns true if each file of `part` is in `whole` with the same digest. */
bool is_within(const leavings *part, const leavings *whole, const char **odd)
{
    size_t w = 0;
    for (size_t k = 0; k < part->count; k++) {
        while (w < whole->count && strcmp(whole->file[w].name, part->file[k].name) < 0)
            w++;
        *odd = part->file[k].name;
        if (w == whole->count || strcmp(whole->file[w].name, part->file[k].name) != 0 ||
            whole->file[w].digest != part->file[k].digest)
            return false;
    }
    *odd = NULL;
    return true;
}
