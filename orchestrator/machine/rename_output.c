/* SPDX-License-Identifier: MIT */
#include "orchestrator/machine/rename_output.h"

#include "formats/base/files.h"
#include "formats/base/text.h"
#include "formats/model/recognise.h"
#include "orchestrator/machine/quantity.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_NAMES 100000 /* name_with_number tries numbers below this */
#define TRIES     8      /* attempts at an operation that other processes can disturb */
#define MAX_SHOWN 300    /* largest total bytes of the paths in a command that also removes the note */

/* Renames `from` to `to` without RENAME_NOREPLACE. A file gets a hard link under the new name, which fails if the
 * name exists; rename of a directory can replace only an empty directory. Returns 0 or an errno, EEXIST if `to`
 * exists. */
static int rename_without_flags(const char *from, const char *to)
{
    struct stat info;
    if (lstat(from, &info))
        return errno;
    if (!S_ISDIR(info.st_mode)) {
        if (organ_link_file(from, to))
            return errno;
        organ_remove_file(from); /* if this fails, the file keeps a second name */
        return 0;
    }
    if (organ_rename_file(from, to, 0) == 0)
        return 0;
    return errno == ENOTEMPTY || errno == ENOTDIR ? EEXIST : errno;
}

/* Renames `from` to `to` on the same file system unless `to` exists. File systems without RENAME_NOREPLACE use
 * rename_without_flags, so a directory may replace an empty directory there; if that fails too, the errno of
 * renameat2 is returned, because it says more. Returns 0 or an errno: EEXIST if the name is taken, also if another
 * process takes it during the call. */
static int rename_no_replace(const char *from, const char *to)
{
    if (organ_rename_file(from, to, RENAME_NOREPLACE) == 0)
        return 0;
    const int reason = errno;
    if (reason == EEXIST || reason == ENOENT)
        return reason;
    const int other = rename_without_flags(from, to);
    return other == 0 || other == EEXIST || reason == EINVAL || reason == ENOSYS ? other : reason;
}

/* model.gguf becomes model-2.gguf. The caller frees the path. */
static char *numbered_path(const char *path, unsigned number)
{
    static const char *const endings[] = {".gguf", ".safetensors"};
    const size_t length = strlen(path);
    size_t stem = length;
    for (size_t k = 0; k < sizeof endings / sizeof *endings; k++)
        if (organ_ends_with(path, endings[k]))
            stem = length - strlen(endings[k]);
    return organ_format("%.*s-%u%s", (int)stem, path, number, path + stem);
}

/* Names are tried from number 2 on. Returns NULL if there is none below MAX_NAMES or memory is exhausted; the caller
 * frees the name. */
static char *name_with_number(const char *path)
{
    struct stat info;
    for (unsigned k = 2; k < MAX_NAMES; k++) {
        char *const name = numbered_path(path, k);
        if (!name || (lstat(name, &info) && errno == ENOENT))
            return name;
        free(name);
    }
    return NULL;
}

/* The exchange is one step if the file system can do that, otherwise three renames with a temporary name. The last one
 * needs no hard link: nobody else uses the name `a`, a draft's. After an error both names are unchanged. Returns 0 or
 * an errno. */
static int exchange_names(const char *a, const char *b)
{
    if (organ_rename_file(a, b, RENAME_EXCHANGE) == 0)
        return 0;
    if (errno == ENOENT)
        return ENOENT;
    ORGAN_OWNED char *const aside = name_with_number(b);
    if (!aside)
        return ENOMEM;
    const int not_aside = rename_no_replace(b, aside);
    int fault = not_aside;
    if (fault == 0 && (fault = rename_no_replace(a, b)) == 0 && organ_rename_file(aside, a, 0)) {
        fault = errno;
        organ_rename_file(b, a, 0);
    }
    if (fault && !not_aside)
        rename_no_replace(aside, b);
    return fault;
}

/* Puts "./" before a path that begins with '-', which would be read as an option. */
static void print_shell_path(FILE *out, const char *path)
{
    fputs(*path == '-' ? " ./" : " ", out);
    organ_shell_word(out, path);
}

/* Appends " && rm -f NOTE" if `note` is not NULL and the paths are short enough for a message. The caller frees the
 * command. */
static char *move_command(const char *from, const char *to, const char *note)
{
    const size_t capacity = 4 * (strlen(from) + strlen(to) + (note ? strlen(note) : 0)) +
                            64; /* a quoted character needs at most four bytes */
    char *const text = calloc(capacity, 1);
    FILE *const out = text ? fmemopen(text, capacity, "w") : NULL;
    if (!out) {
        free(text);
        return NULL;
    }
    fputs("mv -n", out);
    print_shell_path(out, from);
    print_shell_path(out, to);
    if (note && strlen(from) + strlen(to) + strlen(note) < MAX_SHOWN) {
        fputs(" && rm -f", out);
        print_shell_path(out, note);
    }
    if (fclose(out)) {
        free(text);
        return NULL;
    }
    return text;
}

char *organ_rename_command(const char *grown, const char *final, const char *note)
{
    char *const other = name_with_number(final), *const command = other ? move_command(grown, other, note) : NULL;
    free(other);
    return command;
}

/* Tries another name if another process takes the free one. If the file cannot be renamed, it stays at `grown`. */
void organ_keep_changed_file(const char *grown, const char *final, const char *why, organ_error *error)
{
    char *aside = NULL;
    int fault = EEXIST;
    for (int k = 0; k < TRIES && fault == EEXIST; k++) {
        free(aside);
        aside = name_with_number(final);
        fault = aside ? rename_no_replace(grown, aside) : ENOMEM;
    }
    organ_fail(error, ORGAN_IO,
               "%.300s is the complete new output; the former file of this name was changed during the run and is kept "
               "as %.300s (%.300s)",
               final, fault ? grown : aside, why);
    free(aside);
}

organ_status organ_rename_fail(const char *grown, const char *final, const char *command, organ_rename_result naming,
                               int fault, organ_error *error)
{
    static const char how[] = "the finished output is kept as";
    if (naming == ORGAN_RENAME_EXISTS)
        organ_fail(error, ORGAN_IO, "%.250s: this name was taken during the run; %s %.250s; to rename it: %.440s",
                   final, how, grown, command);
    else
        organ_fail_errno(error, fault, "%.200s: cannot be renamed; %s %.200s; to rename it: %.400s", final, how, grown,
                         command);
    return error->status;
}

/* Returns false also if this cannot be determined; *why has the reason, if it is known. */
static bool may_be_replaced(const char *path, const char *like, organ_replace_policy way, organ_error *why)
{
    if (way == ORGAN_REPLACE_CACHES)
        organ_check_cache_place(path, why);
    else if (way == ORGAN_REPLACE_REPORTS)
        organ_check_report_place(path, why);
    else if (way == ORGAN_REPLACE_OUTPUTS)
        organ_check_replaceable(path, like, why);
    return way != ORGAN_REPLACE_NOTHING && why->status == ORGAN_OK;
}

/* A file of the final name is exchanged first and examined afterwards, so no other process can change it in between.
 * ENOENT means that the file vanished before the exchange: the loop tries again. */
organ_rename_result organ_rename_output(const char *grown, const char *final, organ_replace_policy way,
                                        const char *like, int *fault, organ_error *error)
{
    organ_error why = {0};
    *fault = ENOENT;
    for (int k = 0; k < TRIES && *fault == ENOENT; k++) {
        *fault = rename_no_replace(grown, final);
        if (*fault != EEXIST)
            return *fault ? ORGAN_RENAME_FAILED : ORGAN_RENAMED;
        /* With ORGAN_REPLACE_REPORTS and ORGAN_REPLACE_CACHES the existing file is checked before the exchange too, so
         * that a foreign file never moves. With ORGAN_REPLACE_OUTPUTS the run has checked it at its beginning. */
        if (way == ORGAN_REPLACE_NOTHING ||
            (way != ORGAN_REPLACE_OUTPUTS && !may_be_replaced(final, /*like=*/NULL, way, &(organ_error){0})))
            return ORGAN_RENAME_EXISTS;
        *fault = exchange_names(grown, final);
        if (*fault == 0 && may_be_replaced(grown, like, way, &why))
            return ORGAN_RENAMED_REPLACING;
        if (*fault == 0) {
            organ_keep_changed_file(grown, final, why.message, error);
            return ORGAN_RENAMED;
        }
    }
    return ORGAN_RENAME_FAILED;
}

organ_status organ_check_parent(const char *final, const char *parent, organ_error *error)
{
    struct stat info;
    const bool exists = stat(parent, &info) == 0;
    if (exists && S_ISDIR(info.st_mode))
        return ORGAN_OK;
    return organ_fail(error, ORGAN_IO,
                      exists ? "%s: its parent '%s' is not a directory"
                             : "%s: its parent directory '%s' does not exist",
                      final, parent);
}
