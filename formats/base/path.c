/* SPDX-License-Identifier: MIT */
#include "formats/base/text.h"
#include "formats/base/word_lists.h"

#include <strings.h>

bool organ_ends_with(const char *name, const char *end)
{
    size_t length = strlen(name);
    return organ_cut_end(name, &length, end);
}

bool organ_cut_end(const char *name, size_t *length, const char *end)
{
    const size_t tail = strlen(end);
    if (*length <= tail || memcmp(name + *length - tail, end, tail) != 0)
        return false;
    *length -= tail;
    return true;
}

bool organ_ends_in_words(const char *name, const char *words)
{
    size_t length = strlen(name);
    return strcmp(name, words) == 0 || (organ_cut_end(name, &length, words) && name[length - 1] == '.');
}

bool organ_is_one_of(const char *word, const char *const *words)
{
    while (*words && strcmp(word, *words) != 0)
        words++;
    return *words != NULL;
}

bool organ_lists_word(const char *list, char separator, const char *word, size_t length)
{
    const char ends[] = {separator, '\0'};
    for (const char *at = list; at && *at; at += strcspn(at, ends), at += strspn(at, ends))
        if (strcspn(at, ends) == length && memcmp(at, word, length) == 0)
            return true;
    return false;
}

bool organ_next_word(const char **list, char *word, size_t size)
{
    const size_t length = *list ? strcspn(*list, " ") : 0;
    if (!length)
        return false;
    snprintf(word, size, "%.*s", (int)length, *list);
    *list += length + ((*list)[length] == ' ');
    return true;
}

const char *organ_path_name(const char *path)
{
    const char *const slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

size_t organ_path_length(const char *path)
{
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/')
        length--;
    return length;
}

char *organ_path_join(organ_arena *arena, const char *directory, const char *name)
{
    const size_t length = strlen(directory);
    char *const path = organ_arena_take(arena, length + strlen(name) + 2);
    if (path)
        sprintf(path, "%s%s%s", directory, length > 0 && directory[length - 1] == '/' ? "" : "/", name);
    return path;
}

/* The folder "/" is compared as "", so that the '/' that must follow the folder is the first one of the path. */
bool organ_path_is_inside(const char *path, const char *folder)
{
    const size_t length = strcmp(folder, "/") == 0 ? 0 : strlen(folder);
    return strncmp(path, folder, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

enum { LONGEST_WORD = 96 }; /* bytes: longer words are similar to none */

static size_t smallest_of_three(size_t a, size_t b, size_t c)
{
    const size_t least = a < b ? a : b;
    return least < c ? least : c;
}

/* Returns the optimal string alignment distance of two words of at most LONGEST_WORD bytes: the least number of steps
 * that turn one into the other if no byte is changed twice. A step inserts, deletes or replaces a byte, or swaps two
 * neighbouring bytes. */
static size_t edit_distance(const char *a, const char *b)
{
    uint8_t rows[LONGEST_WORD + 1][LONGEST_WORD + 1]; /* [i][j]: distance of a's first i and b's first j bytes */
    const size_t m = strlen(a), n = strlen(b);
    for (size_t i = 0; i <= m; i++)
        for (size_t j = 0; j <= n; j++) {
            if (i == 0 || j == 0) {
                rows[i][j] = (uint8_t)(i + j);
                continue;
            }
            rows[i][j] = (uint8_t)smallest_of_three(rows[i - 1][j] + 1u, rows[i][j - 1] + 1u,
                                                    rows[i - 1][j - 1] + (a[i - 1] != b[j - 1] ? 1u : 0u));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && rows[i - 2][j - 2] + 1 < rows[i][j])
                rows[i][j] = (uint8_t)(rows[i - 2][j - 2] + 1);
        }
    return rows[m][n];
}

/* A wrong word of 3 to 5 letters is one edit away from the right one, a longer word a fourth of its letters, or a third
 * if the first letters agree, because people seldom mistake the first letter: "recipe" is not "resume". */
static size_t most_edits(const char *typed, const char *name)
{
    const size_t length = strlen(typed);
    if (length < 6)
        return length >= 3;
    return length >= 7 && strncasecmp(typed, name, 2) == 0 ? length / 3 : length / 4;
}

const char *organ_nearest(const char *typed, const char *const *names, size_t count)
{
    const size_t length = strlen(typed);
    const char *nearest = NULL;
    size_t best = LONGEST_WORD;
    if (length == 0 || length > LONGEST_WORD)
        return NULL;
    for (size_t k = 0; k < count; k++) {
        if (strlen(names[k]) > LONGEST_WORD)
            continue;
        if (strcasecmp(typed, names[k]) == 0)
            return names[k];
        const bool begins = length >= 2 && strncasecmp(names[k], typed, length) == 0;
        const size_t away = begins ? 1 : edit_distance(typed, names[k]);
        if (away < best && (begins || away <= most_edits(typed, names[k]))) {
            best = away;
            nearest = names[k];
        }
    }
    return nearest;
}

const char *organ_nearest_hint(const char *typed, const char *const *names, size_t count, const char *before,
                               char hint[ORGAN_HINT_ROOM])
{
    const char *const nearest = organ_nearest(typed, names, count);
    *hint = '\0';
    if (nearest)
        snprintf(hint, ORGAN_HINT_ROOM, "; did you mean '%s%s'?", before, nearest);
    return hint;
}

void organ_digest_begin(organ_digest *digest, bool is_sha1)
{
    *digest = (organ_digest){.is_sha1 = is_sha1};
    if (is_sha1)
        SHA1Init(&digest->sha1);
    else
        SHA256Init(&digest->sha256);
}

void organ_digest_add(organ_digest *digest, const void *bytes, size_t count)
{
    if (digest->is_sha1)
        SHA1Update(&digest->sha1, bytes, count);
    else
        SHA256Update(&digest->sha256, bytes, count);
}

void organ_digest_end(organ_digest *digest, char text[ORGAN_DIGEST_TEXT])
{
    if (digest->is_sha1)
        SHA1End(&digest->sha1, text);
    else
        SHA256End(&digest->sha256, text);
}

/* Whether the segment that begins at `c`, a dot, is "." or "..". */
static bool is_dots(const char *c)
{
    const size_t length = strcspn(c, "/");
    return length == 1 || (length == 2 && c[1] == '.');
}

bool organ_path_stays_inside(const char *path, bool hidden)
{
    if (!*path || !organ_utf8_valid(path) || strlen(path) > 2000)
        return false;
    for (const char *c = path; *c; c++) {
        const bool dot = *c == '.' && (c == path || c[-1] == '/');
        if ((unsigned char)*c < ' ' || *c == 0x7f || *c == '\\' || (dot && (!hidden || is_dots(c))))
            return false;
    }
    return *path != '/' && path[strlen(path) - 1] != '/' && !strstr(path, "//");
}
