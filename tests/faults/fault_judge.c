/* SPDX-License-Identifier: MIT */
#include "tests/faults/fault_sweep.h"

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

/* What is there after a run, and what it has said. */
typedef struct outcome {
    const char *directory;
    int code;
    char *said;
    bool same, complete, unchanged; /* as after a run without fault; that and more; as before */
    leavings left;
    const char *odd;
} outcome;

/* The last line that is a message of the program. */
static const char *message_in(const char *said)
{
    const char *last = said;
    for (const char *at = said; (at = strstr(at, "organ: ")); at++)
        if (at == said || at[-1] == '\n')
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

/* What of the path lies in the entry `name`, from the slash on or an empty string; NULL: it lies elsewhere. */
static const char *below(const char *path, const char *name)
{
    const size_t length = strlen(name);
    return strncmp(path, name, length) == 0 && (path[length] == '/' || path[length] == '\0') ? path + length : NULL;
}

/* Whether what lies at `place` is what `whole` has at `name`, or with --each at least nothing else. */
static bool is_like(const sweep *s, const leavings *left, const char *place, const leavings *whole, const char *name)
{
    size_t have = 0, want = 0;
    for (size_t k = 0; k < left->count; k++) {
        const char *const at = below(left->file[k].name, place);
        bool found = !at;
        have += at != NULL;
        for (size_t r = 0; r < whole->count && !found; r++) {
            const char *const there = below(whole->file[r].name, name);
            found = there && strcmp(at, there) == 0 && left->file[k].digest == whole->file[r].digest;
        }
        if (!found && !(s->again && strstr(at, "/organ"))) /* what is to be gone on with */
            return false;
    }
    for (size_t r = 0; r < whole->count; r++)
        want += below(whole->file[r].name, name) != NULL;
    return have > 0 && (s->each || have == want);
}

static bool is_whole(const sweep *s, const leavings *left, const char *place, const char *name)
{
    return is_like(s, left, place, &s->right, name);
}

/* Whether ".NAME.organ-partial" holds all of an output: the file of that name, or what is to be in the directory. */
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

/* A name that is no hidden one and is neither of something whole nor of what was there before; NULL: none. `found` counts those that are
 * new. */
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
    return NULL;
}

/* Whether a run may end so that finds what is left: it makes the rest, or says that there is no rest. */
static bool is_right_end(const sweep *s, const outcome *o, size_t whole)
{
    size_t after;
    if (o->code == s->ends && o->same)
        return true;
    if (whole)
        return (o->code == 2 || (o->code == 0 && !s->each)) && !find_torn(s, &o->left, &after) && after >= whole;
    return o->code == 2 && strstr(o->said, "keeps a finished output") && keeps_whole(s, &o->left);
}

/* Drafts of reports that nobody could take away: ".NUMBER.NAME". The next run leaves them alone. */
static void pass_over_drafts(leavings *left)
{
    size_t kept = 0;
    for (size_t k = 0; k < left->count; k++) {
        const char *const slash = strrchr(left->file[k].name, '/'), *const name = slash ? slash + 1 : left->file[k].name;
        const size_t digits = *name == '.' ? strspn(name + 1, "0123456789") : 0;
        if (!digits || name[1 + digits] != '.')
            left->file[kept++] = left->file[k];
    }
    left->count = kept;
}

bool goes_on(const sweep *s, const char *directory, char text[LEAVINGS_TEXT])
{
    outcome *const o = calloc(1, sizeof *o);
    size_t whole;
    if (!o)
        give_up("memory");
    look_at_work(s, directory, &o->left);
    pass_over_drafts(&o->left);
    const char *const torn = find_torn(s, &o->left, &whole);
    if (torn)
        snprintf(text, TEXT, "leaves '%.255s', which is not whole", torn);
    o->directory = directory;
    const int status = torn ? 0 : run_there(s, directory, -1, 0, s->resumable);
    if (!torn) {
        find_outcome(s, o, status);
        pass_over_drafts(&o->left);
        o->same = is_same(&o->left, &s->right, &o->odd);
        if (WIFSIGNALED(status) || !is_right_end(s, o, whole))
            snprintf(text, TEXT, "the next run does not make what is right of it: %d, '%.255s': %.900s", o->code, o->odd ? o->odd : "",
                     message_in(o->said));
        free(o->said);
    }
    free(o);
    return *text == '\0';
}

/* Whether the message has a word of the path that failed, or of the file of standard output. */
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
                 (end_of_path && (strcmp(end_of_path, "/work") == 0 || strcmp(end_of_path, "/.") == 0) && strstr(said, " . cannot"));
    char *rest = NULL, *word = strtok_r(failed + (strncmp(failed, directory, strlen(directory)) == 0 ? strlen(directory) : 0), "/", &rest);
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
        snprintf(text, TEXT, "ended as it should, but '%s' is not what it should be (%zu files, %zu expected)", o->odd ? o->odd : "",
                 o->left.count, s->right.count);
    else if (digest_of(path) != s->right_print)
        snprintf(text, TEXT, "ended as it should, but its standard output is not what it should be");
}

static void judge_memory(const sweep *s, const outcome *o, char text[TEXT])
{
    if (o->code == s->ends)
        judge_success(s, o, text);
    else if (o->code != 4)
        snprintf(text, TEXT, "ended with %d: %.900s", o->code, message_in(o->said));
    else if (!strcasestr(o->said, "memory"))
        snprintf(text, TEXT, "does not say that memory is the reason: %.900s", message_in(o->said));
    else if (!o->unchanged && !o->same && !(s->resumable && strstr(o->said, "--resume")) && !s->keeps && !s->again)
        snprintf(text, TEXT, "ended with 4 and left '%s'", o->odd ? o->odd : o->left.count ? o->left.file[0].name : "");
}

/* Whether the run has made what another one makes of the donor as it is now: it was changed before it was opened for good. */
static bool is_of_new_donor(const sweep *s, const outcome *o)
{
    char command[3 * TEXT];
    const char *odd;
    leavings *const now = calloc(1, sizeof *now);
    snprintf(command, sizeof command, "find '%s/work' -mindepth 1 -maxdepth 1 ! -name '%s' -exec rm -rf {} +", o->directory, s->donor);
    if (!now || system(command))
        give_up(command);
    const int status = run_there(s, o->directory, -1, 0, false);
    look_at_work(s, o->directory, now);
    const bool same = status == 0 && is_same(&o->left, now, &odd);
    free(now);
    return same;
}

static void judge_files(const sweep *s, const outcome *o, const pick *p, char text[TEXT])
{
    const bool stays = s->what == DISK && (p->removes || p->kind == GONE); /* what the run cannot take away */
    if (o->code == s->ends && !(p->removes && o->complete) && !(s->what == DONOR && !o->same && is_of_new_donor(s, o)))
        judge_success(s, o, text);
    else if (o->code == s->ends)
        return;
    else if (o->code != 4 && !(s->what == DONOR && o->code == 3))
        snprintf(text, TEXT, "ended with %d: %.900s", o->code, message_in(o->said));
    else if (s->what == DISK && (p->kind == INTERRUPTED || p->kind == SHORT))
        snprintf(text, TEXT, "ended with %d instead of the right output: %.900s", o->code, message_in(o->said));
    else if (!names_file(o->directory, o->said))
        snprintf(text, TEXT, "does not name the file: %.900s", message_in(o->said));
    else if (!o->unchanged && !o->same && !stays && !strstr(o->said, "--resume") && !strstr(o->said, "kept as") &&
             !strstr(o->said, "cannot be removed from") && !s->keeps && !s->again)
        snprintf(text, TEXT, "left '%s': %.900s", o->odd ? o->odd : "", message_in(o->said));
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
    if (!*text && o->code == 4 && !o->complete && !o->unchanged && s->what != DONOR && !s->keeps)
        goes_on(s, directory, text);
    free(o->said);
    free(o);
    return *text ? text : NULL;
}
