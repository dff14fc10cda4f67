/* SPDX-License-Identifier: MIT */
#include "tests/faults/fault_sweep.h"
#include "tests/faults/preload.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* Kinds of fail_calls.c. */
enum { INTERRUPTED = 3, SHORT = 4, GONE = 5 };

void look_at_work(const sweep *s, const char *directory, leavings *found)
{
    char path[TEXT];
    join(path, directory, "work");
    look(path, s->what == DONOR ? s->donor : NULL, found);
}

/* The files after a run, and its output. */
typedef struct outcome {
    const char *directory;
    int code;
    char *said;
    bool same, complete, unchanged; /* same as after a run without faults; that and more files; as before the run */
    leavings left;
    const char *odd;
} outcome;

/* Returns the last line that is a message of the program. */
static const char *message_in(const char *said)
{
    static const char *const kinds[] = {"error: ", "warning: ", "note: "};
    const char *last = said;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (const char *at = said; (at = strstr(at, kinds[k])); at++)
            if ((at == said || at[-1] == '\n') && at > last)
                last = at;
    return last;
}

static bool is_same(const leavings *left, const leavings *right, const char **odd)
{
    return is_within(left, right, odd) && left->count == right->count;
}

static void find_outcome(const sweep *s, outcome *o, int status)
{
    char path[TEXT];
    size_t length;
    const char *odd;
    o->code = WEXITSTATUS(status);
    look_at_work(s, o->directory, &o->left);
    o->same = is_same(&o->left, &s->right, &o->odd);
    o->complete = is_within(&s->right, &o->left, &odd);
    o->unchanged = is_same(&o->left, &s->begun, &odd);
    join(path, o->directory, "err");
    o->said = load(path, &length);
}

/* Returns the part of the path inside the entry `name`, from the slash on, or an empty string; NULL if the path is
 * elsewhere. */
static const char *below(const char *path, const char *name)
{
    const size_t length = strlen(name);
    return strncmp(path, name, length) == 0 && (path[length] == '/' || path[length] == '\0') ? path + length : NULL;
}

/* Returns true if a run may leave this file for the next one: hidden partial outputs and files of progress. */
static bool is_unfinished(const sweep *s, const char *at)
{
    if (s->again && (strstr(at, "/organ") || strstr(at, ".part") || strstr(at, ".incomplete") || strstr(at, ".tmp")))
        return true;
    return s->keeps && (strstr(at, "/.") || strcmp(at, "/fleet.json") == 0);
}

static size_t count_below(const leavings *of, const char *name)
{
    size_t count = 0;
    for (size_t k = 0; k < of->count; k++)
        count += below(of->file[k].name, name) != NULL;
    return count;
}

/* Returns true if `place` contains what `whole` has at `name`; with --each, whether it contains nothing else. */
static bool is_like(const sweep *s, const leavings *left, const char *place, const leavings *whole, const char *name)
{
    const size_t have = count_below(left, place);
    for (size_t k = 0; k < left->count; k++) {
        const char *const at = below(left->file[k].name, place);
        bool found = !at || is_unfinished(s, at);
        for (size_t r = 0; r < whole->count && !found; r++) {
            const char *const there = below(whole->file[r].name, name);
            found = there && strcmp(at, there) == 0 && left->file[k].digest == whole->file[r].digest;
        }
        if (!found)
            return false;
    }
    return have > 0 && (s->each || have == count_below(whole, name));
}

/* Returns the folder of a fleet's model that was extracted only in part, or NULL. A folder with a manifest is
 * complete. */
static const char *find_part(const sweep *s, const leavings *left)
{
    for (size_t k = 0; k < left->count && s->keeps; k++) {
        static char folder[sizeof left->file->name];
        snprintf(folder, sizeof folder, "%s", left->file[k].name);
        char *const manifest = strstr(folder, "/manifest.json");
        if (!manifest || strstr(folder, "/."))
            continue;
        *manifest = '\0';
        if (count_below(left, folder) != count_below(&s->right, folder))
            return folder;
    }
    return NULL;
}

static bool is_whole(const sweep *s, const leavings *left, const char *place, const char *name)
{
    return is_like(s, left, place, &s->right, name);
}

/* Returns true if ".NAME.organ-partial" contains a complete output: the file of that name, or all files of the
 * directory. */
static bool keeps_whole(const sweep *s, const leavings *left)
{
    for (size_t k = 0; k < left->count; k++) {
        char name[256], file[520];
        const char *const partial = left->file[k].name;
        const char *const end = strstr(partial, ".organ-partial");
        if (*partial != '.' || !end || end[strlen(".organ-partial")])
            continue;
        snprintf(name, sizeof name, "%.*s", (int)(end - partial) - 1, partial + 1);
        snprintf(file, sizeof file, "%s/%s", partial, name);
        return is_whole(s, left, partial, name) || is_whole(s, left, file, name);
    }
    return false;
}

/* Returns a visible name that belongs neither to a complete output nor to the files before the run, or NULL. `found`
 * counts the new ones. */
static const char *find_torn(const sweep *s, const leavings *left, size_t *found)
{
    *found = 0;
    for (size_t k = 0; k < left->count; k++) {
        const char *const name = left->file[k].name;
        if (*name == '.' || strchr(name, '/') || is_like(s, left, name, &s->begun, name))
            continue;
        if (!is_whole(s, left, name, name))
            return name;
        ++*found;
    }
    return find_part(s, left);
}

/* Returns true if the next run may end in this way: it completes the output, or reports that nothing is left to do. */
static bool is_right_end(const sweep *s, const outcome *o, size_t whole)
{
    size_t after;
    if (o->code == s->ends && o->same)
        return true;
    if (s->keeps)
        return false;
    if (whole)
        return (o->code == 2 || (o->code == 0 && !s->each)) && !find_torn(s, &o->left, &after) && after >= whole;
    return o->code == 2 && strstr(o->said, "contains a finished output") && keeps_whole(s, &o->left);
}

/* Ignores the file in which a fleet stores the state of its models. */
static void pass_over_state(leavings *left)
{
    size_t kept = 0;
    for (size_t k = 0; k < left->count; k++)
        if (!strstr(left->file[k].name, "/fleet.json"))
            left->file[kept++] = left->file[k];
    left->count = kept;
}

/* Ignores drafts of reports that could not be removed, ".NUMBER.NAME", and a state whose owner could not be read. The
 * next run leaves them alone. */
static void pass_over_drafts(leavings *left)
{
    size_t kept = 0;
    for (size_t k = 0; k < left->count; k++) {
        const char *const slash = strrchr(left->file[k].name, '/'), *const name =
                                                                        slash ? slash + 1 : left->file[k].name;
        const size_t digits = *name == '.' ? strspn(name + 1, "0123456789") : 0;
        if ((!digits || name[1 + digits] != '.') && strcmp(name, "fleet.json-2") != 0)
            left->file[kept++] = left->file[k];
    }
    left->count = kept;
}

/* Returns true if the next run completes the output. `told`: the run came to its end, and its documents report the
 * failure. */
static bool goes_on_from(const sweep *s, const char *directory, bool told, char text[LEAVINGS_TEXT])
{
    outcome *const o = calloc(1, sizeof *o);
    size_t whole = 0;
    if (!o)
        give_up("memory");
    look_at_work(s, directory, &o->left);
    pass_over_drafts(&o->left);
    const char *const torn = told ? find_part(s, &o->left) : find_torn(s, &o->left, &whole);
    if (torn)
        snprintf(text, TEXT, "leaves '%.255s', which is not whole", torn);
    o->directory = directory;
    const int status = torn ? 0 : run_there(s, directory, -1, 0, s->resumable ? RESUME : NO_OPTION);
    if (!torn) {
        find_outcome(s, o, status);
        pass_over_drafts(&o->left);
        o->same = is_same(&o->left, &s->right, &o->odd);
        if (WIFSIGNALED(status) || !is_right_end(s, o, whole))
            snprintf(text, TEXT, "the next run does not make what is right of it: %d, '%.255s': %.900s", o->code,
                     o->odd ? o->odd : "", message_in(o->said));
        free(o->said);
    }
    free(o);
    return *text == '\0';
}

bool goes_on(const sweep *s, const char *directory, char text[LEAVINGS_TEXT])
{
    return goes_on_from(s, directory, false, text);
}

bool finishes(const sweep *s, const char *directory, int kind, char text[LEAVINGS_TEXT])
{
    outcome *const o = calloc(1, sizeof *o);
    if (!o)
        give_up("memory");
    o->directory = directory;
    const int without = kind == KILLED_THEN_RESUMED ? RESUME : NO_OPTION;
    int status = run_there(s, directory, -1, 0, kind == KILLED_THEN_FORCED ? FORCE : without);
    find_outcome(s, o, status);
    if (kind == KILLED && o->code == 2 && strstr(o->said, "--resume continues")) {
        free(o->said);
        status = run_there(s, directory, -1, 0, RESUME);
        find_outcome(s, o, status);
    }
    const bool ends = o->code == s->ends ||
                      (kind != KILLED_THEN_FORCED && o->code == 2 && strstr(o->said, "exists; --force replaces it"));
    if (WIFSIGNALED(status) || !ends || !o->same)
        snprintf(text, TEXT, "the next run ends with %d and %s%.255s: %.900s", o->code,
                 o->same ? "what is right" : "not what is right: ", o->same || !o->odd ? "" : o->odd,
                 message_in(o->said));
    free(o->said);
    free(o);
    return *text == '\0';
}

/* Returns true if the message names the path that failed, or standard output. */
static bool names_file(const char *directory, const char *said)
{
    char path[TEXT];
    size_t length;
    join(path, directory, "failed");
    struct stat info;
    if (stat(path, &info))
        return true;
    char *const failed = load(path, &length);
    const char *const end_of_path = strrchr(failed, '/');
    bool named = strstr(said, "standard output") != NULL ||
                 (end_of_path && (strcmp(end_of_path, "/work") == 0 || strcmp(end_of_path, "/.") == 0) &&
                  strstr(said, " . cannot"));
    char *rest = NULL,
         *word = strtok_r(failed + (strncmp(failed, directory, strlen(directory)) == 0 ? strlen(directory) : 0), "/",
                          &rest);
    for (; word && !named; word = strtok_r(NULL, "/", &rest)) {
        char *const end = strstr(word, ".organ-partial");
        if (end)
            *end = '\0';
        if (*word == '.') /* drafts are ".NUMBER.NAME" */
            word += 1 + (word[1 + strspn(word + 1, "0123456789")] == '.' ? strspn(word + 1, "0123456789") + 1 : 0);
        named = *word && strstr(said, word);
    }
    free(failed);
    return named;
}

static void judge_success(const sweep *s, const outcome *o, char text[TEXT])
{
    char path[TEXT];
    join(path, o->directory, "out");
    if (!o->same)
        snprintf(text, TEXT, "ended as it should, but '%s' is not what it should be (%zu files, %zu expected)",
                 o->odd ? o->odd : "", o->left.count, s->right.count);
    else if (digest_of(path) != s->right_print)
        snprintf(text, TEXT, "ended as it should, but its standard output is not what it should be");
}

/* Returns the name of a file that is not as expected, or of any remaining file. */
static const char *a_file_left(const outcome *o)
{
    if (o->odd)
        return o->odd;
    return o->left.count ? o->left.file[0].name : "";
}

static void judge_memory(const sweep *s, const outcome *o, char text[TEXT])
{
    if (o->code == s->ends)
        judge_success(s, o, text);
    else if (o->code == PRELOAD_CRASHED)
        goes_on_from(s, o->directory, false, text);
    else if (o->code != 4)
        snprintf(text, TEXT, "ended with %d: %.900s", o->code, message_in(o->said));
    else if (!strcasestr(o->said, "memory"))
        snprintf(text, TEXT, "does not say that memory is the reason: %.900s", message_in(o->said));
    else if (o->complete && !o->unchanged && !strstr(o->said, "is complete"))
        snprintf(text, TEXT, "does not say that the output is complete: %.900s", message_in(o->said));
    else if (!o->unchanged && !o->same && !(s->resumable && strstr(o->said, "--resume")) && !s->keeps && !s->again)
        snprintf(text, TEXT, "ended with 4 and left '%s'", a_file_left(o));
}

static int run_anew(const sweep *s, const outcome *o, leavings *made)
{
    char command[3 * TEXT];
    snprintf(command, sizeof command, "find '%s/work' -mindepth 1 -maxdepth 1 ! -name '%s' -exec rm -rf {} +",
             o->directory, s->donor);
    if (system(command))
        give_up(command);
    const int status = run_there(s, o->directory, -1, 0, NO_OPTION);
    look_at_work(s, o->directory, made);
    return status;
}

/* Returns true if the output equals that of a run on the changed donor, because the donor was changed before it was
 * opened. */
static bool is_of_new_donor(const sweep *s, const outcome *o)
{
    const char *odd;
    leavings *const made = calloc(2, sizeof *made), *const was = &made[0], *const now = &made[1];
    if (!made)
        give_up("memory");
    *was = o->left;
    bool same = run_anew(s, o, now) == 0;
    if (s->keeps) /* a model that changed after it was found; the next run extracts it again */
        pass_over_state(was), pass_over_state(now);
    same = same && is_same(was, now, &odd);
    free(made);
    return same;
}

/* Returns true if the output's file equals the donor's present file: companion files are copied in their present
 * state. */
static bool is_of_donor(const sweep *s, const outcome *o, size_t k)
{
    char work[TEXT], path[TEXT];
    struct stat info;
    const char *const name = strchr(o->left.file[k].name, '/');
    join(work, o->directory, "work");
    return name && snprintf(path, sizeof path, "%s/%s%s", work, s->donor, name) < TEXT && stat(path, &info) == 0 &&
           S_ISREG(info.st_mode) && o->left.file[k].digest == digest_of(path);
}

static bool has_file(const leavings *of, const leavings *requested, size_t k)
{
    for (size_t f = 0; f < of->count; f++)
        if (strcmp(of->file[f].name, requested->file[k].name) == 0)
            return of->file[f].digest == requested->file[k].digest;
    return false;
}

/* Returns true if all files other than the output are right. */
static bool is_right_beside(const sweep *s, const outcome *o)
{
    for (size_t k = 0; k < o->left.count; k++) {
        if (!has_file(&s->right, &o->left, k) && !is_of_donor(s, o, k))
            return false;
    }
    return o->left.count == s->right.count;
}

/* Returns true if a run on a changing donor may succeed with another output: that of the changed donor, or one that
 * names the file with missing content. */
static bool is_right_for_donor(const sweep *s, const outcome *o)
{
    char path[TEXT];
    size_t length;
    join(path, o->directory, "out");
    char *const printed = load(path, &length);
    const bool told = s->tells && strstr(printed, "No sparsity for") && names_file(o->directory, printed);
    free(printed);
    return told || is_right_beside(s, o) || is_of_new_donor(s, o);
}

/* Checks that the next run of a fleet after a failure makes the output that a first run on the present donor makes. A
 * model that was extracted and cannot be opened any more remains. */
static bool goes_on_with_donor(const sweep *s, const outcome *o)
{
    const char *odd;
    leavings *const next = calloc(2, sizeof *next);
    if (!next)
        give_up("memory");
    const int status = run_there(s, o->directory, -1, 0, NO_OPTION);
    look_at_work(s, o->directory, &next[0]);
    bool same = run_anew(s, o, &next[1]) == status && is_within(&next[1], &next[0], &odd);
    for (size_t k = 0; k < next[0].count && same; k++)
        same = has_file(&next[1], &next[0], k) || has_file(&s->right, &next[0], k);
    free(next);
    return same;
}

static void judge_files(const sweep *s, const outcome *o, const pick *p, char text[TEXT])
{
    const bool stays = s->what == DISK && (p->removes || p->kind == GONE); /* the run cannot remove these files */
    const bool told = strstr(o->said, "cannot be removed, but is no longer needed") != NULL;
    if (o->code == s->ends && !((p->removes || told) && o->complete) &&
        !(s->what == DONOR && !o->same && is_right_for_donor(s, o)))
        judge_success(s, o, text);
    else if (o->code == s->ends)
        return;
    else if (o->code != 4 && !(s->what == DONOR && o->code == 3) &&
             !(s->keeps && o->code == 1)) /* a fleet continues with its other models */
        snprintf(text, TEXT, "ended with %d: %.900s", o->code, message_in(o->said));
    else if (s->what == DISK && (p->kind == INTERRUPTED || p->kind == SHORT))
        snprintf(text, TEXT, "ended with %d instead of the right output: %.900s", o->code, message_in(o->said));
    else if (!names_file(o->directory, o->said))
        snprintf(text, TEXT, "does not name the file: %.900s", message_in(o->said));
    else if (!o->unchanged && !o->same && !stays && !strstr(o->said, "--resume") && !strstr(o->said, "kept as") &&
             !strstr(o->said, "cannot be removed from") && !s->keeps && !s->again)
        snprintf(text, TEXT, "left '%s': %.900s", o->odd ? o->odd : "", message_in(o->said));
    else if (s->what == DONOR && s->keeps && !goes_on_with_donor(s, o))
        snprintf(text, TEXT, "the next run does not make what is right of it: %.900s", message_in(o->said));
}

const char *fault_of(const sweep *s, const char *directory, int status, const pick *p, char text[TEXT])
{
    text[0] = '\0';
    if (WIFSIGNALED(status)) {
        snprintf(text, TEXT, "ended by signal %d", WTERMSIG(status));
        return text;
    }
    outcome *const o = calloc(1, sizeof *o);
    if (!o)
        give_up("memory");
    o->directory = directory;
    find_outcome(s, o, status);
    if (s->what == MEMORY)
        judge_memory(s, o, text);
    else
        judge_files(s, o, p, text);
    if (strstr(o->said, "(null)"))
        snprintf(text, TEXT, "says (null): %.900s", message_in(o->said));
    if (!*text && (o->code == 4 || (s->keeps && o->code == 1)) && !o->complete && !o->unchanged && s->what != DONOR)
        goes_on_from(s, directory, o->code == 1, text);
    free(o->said);
    free(o);
    return *text ? text : NULL;
}
