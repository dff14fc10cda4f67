/* SPDX-License-Identifier: MIT
 * Runs a command repeatedly, each time with another failure: of an allocation (tests/faults/refuse_memory.c), of a
 * system call on files or a change of the donor (tests/faults/fail_calls.c), or of the power (tests/faults/power.h).
 * The run must end as the kind of failure requires, or succeed with the usual result. usage() has the arguments,
 * tests/faults/check_*.sh the commands. The last line is "N passed, N failed". */
#include "tests/faults/fault_sweep.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const whats[] = {"memory", "disk", "donor", "power", "kills"};
/* The kinds of fail_calls.c. */
static const char *const faults[] = {"EIO",
                                     "ENOSPC",
                                     "EDQUOT",
                                     "EINTR",
                                     "a part",
                                     "EIO from there on",
                                     "ENOSPC from there on",
                                     "truncated",
                                     "replaced",
                                     "appended",
                                     "EIO of it from there on",
                                     "killed",
                                     "killed, then with --force",
                                     "killed, then with --resume"};

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *where)
{
    (void)info, (void)type, (void)where;
    return remove(path);
}

static void sweep_away(const char *directory)
{
    if (nftw(directory, remove_one, 16, FTW_DEPTH | FTW_PHYS) && errno != ENOENT)
        give_up(directory);
}

/* ---- one run ---- */

/* Makes DIRECTORY/work, the state before the command. */
static void make_work(const sweep *s, const char *directory, const pick *p)
{
    char path[TEXT], command[3 * TEXT];
    sweep_away(directory);
    join(path, directory, "work");
    if (mkdir(directory, 0777) || mkdir(path, 0777))
        give_up(path);
    if (p && s->what == POWER) {
        power_build(s->power, (size_t)p->at, (uint64_t)p->kind, path);
        return;
    }
    if (!s->from)
        return;
    snprintf(command, sizeof command, "cp -a '%s/.' '%s'", s->from, path);
    if (system(command))
        give_up(command);
}

static bool set_variables(const sweep *s, const char *variable, const char *value)
{
    return setenv(variable, value, 1) == 0 && (s->what != DONOR || setenv("ORGAN_FAULT_DONOR", s->donor, 1) == 0) &&
           (s->what != KILLS || setenv("ORGAN_FAULT_KILLS", "1", 1) == 0) && setenv("LD_PRELOAD", s->preload, 1) == 0;
}

/* Runs the command in DIRECTORY/work with its output in DIRECTORY/out and DIRECTORY/err, and its events recorded in the
 * file. Returns the status of wait(). */
static int run_noted(const sweep *s, const char *directory, const char *map)
{
    char path[TEXT];
    join(path, directory, "work");
    const pid_t child = fork();
    if (child == 0) {
        if (chdir(path) || !set_variables(s, s->what == POWER ? "ORGAN_FAULT_LOG" : "ORGAN_FAULT_MAP", map) ||
            !freopen("../out", "w", stdout) || !freopen("../err", "w", stderr) || !freopen("/dev/null", "r", stdin))
            _exit(125);
        alarm(SECONDS);
        execv(s->command[0], s->command);
        _exit(126);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child)
        give_up("fork");
    return status;
}

/* Starts a process that has loaded the command and forks a run for each request (ORGAN_FAULT_SERVE of preload.h). */
static void begin_server(sweep *s)
{
    int to[2], from[2];
    if (pipe2(to, O_CLOEXEC) || pipe2(from, O_CLOEXEC))
        give_up("pipe");
    const pid_t child = fork();
    if (child < 0)
        give_up("fork");
    if (child == 0) {
        if (dup2(to[0], STDIN_FILENO) < 0 || dup2(from[1], STDOUT_FILENO) < 0 ||
            !set_variables(s, "ORGAN_FAULT_SERVE", "1"))
            _exit(125);
        execv(s->command[0], s->command);
        _exit(126);
    }
    close(to[0]);
    close(from[1]);
    s->ask = fdopen(to[1], "w");
    s->answer = fdopen(from[0], "r");
    if (!s->ask || !s->answer)
        give_up("pipe");
}

static int fired; /* 1 if the event of the last run_there came, else 0 */

/* Runs the command with that event failing. */
int run_there(const sweep *s, const char *directory, long at, int kind, enum option option)
{
    int status;
    fprintf(s->ask, "%ld %d %d %d %s\n", at, kind, (int)option, SECONDS, directory);
    if (fflush(s->ask) || fscanf(s->answer, "%d %d", &status, &fired) != 2)
        give_up("the command that is to begin again and again");
    return status;
}

/* ---- choice of runs ---- */

static int by_digest(const void *a, const void *b)
{
    const pick *const x = a, *const y = b;
    if (x->digest != y->digest || x->kind != y->kind)
        return x->digest != y->digest ? (x->digest > y->digest) - (x->digest < y->digest) : x->kind - y->kind;
    return (x->at > y->at) - (x->at < y->at);
}

static int by_place(const void *a, const void *b)
{
    const pick *const x = a, *const y = b;
    return x->at != y->at ? (x->at > y->at) - (x->at < y->at) : x->kind - y->kind;
}

/* Lists every event in each way that it can fail. */
static void list_picks(sweep *s, const uint64_t *map)
{
    s->picks = calloc((size_t)s->events * KINDS + 1, sizeof *s->picks);
    if (!s->picks)
        give_up("memory");
    for (long k = 0; k < s->events; k++)
        for (int kind = 0; kind < KINDS; kind++)
            if (map[k + 1] >> kind & 1 && !(kind == KILLED_THEN_FORCED && s->forced) &&
                !(kind == KILLED_THEN_RESUMED && !s->resumable))
                s->picks[s->picked++] = (pick){k, kind, map[k + 1] & REMOVES, map[k + 1]};
}

/* Picks the first event of each path of calls, in the order of time. */
static void pick_paths(sweep *s)
{
    long picked = 0;
    qsort(s->picks, (size_t)s->picked, sizeof *s->picks, by_digest);
    for (long k = 0; k < s->picked; k++)
        if (k == 0 || s->picks[k].digest != s->picks[picked - 1].digest ||
            s->picks[k].kind != s->picks[picked - 1].kind)
            s->picks[picked++] = s->picks[k];
    s->picked = s->paths = picked;
    qsort(s->picks, (size_t)s->picked, sizeof *s->picks, by_place);
}

/* Picks the events from number `first` to the one before `end`. */
static void pick_range(sweep *s, long first, long end)
{
    long picked = 0;
    for (long k = 0; k < s->picked; k++)
        if (s->picks[k].at >= first && s->picks[k].at < end)
            s->picks[picked++] = s->picks[k];
    s->picked = s->paths = picked;
}

/* Chooses the runs. Values: all; paths; COUNT:TURN, which picks COUNT of the paths, others for each turn; last:EVENTS
 * or first:EVENTS; both with :COUNT:TURN. */
static void choose(sweep *s)
{
    const bool last = strncmp(s->runs, "last:", 5) == 0, first = strncmp(s->runs, "first:", 6) == 0;
    char *end = (char *)s->runs;
    const long count = last || first ? strtol(strchr(s->runs, ':') + 1, &end, 10) : 0;
    if (last)
        pick_range(s, s->events - count, s->events);
    else if (first)
        pick_range(s, 0, count);
    else if (strcmp(s->runs, "all") != 0 && s->what != POWER)
        pick_paths(s);
    if ((last || first) && *end != ':')
        return;
    const long some = strtol(end + (last || first), &end, 10), turn = *end == ':' ? strtol(end + 1, NULL, 10) : 0;
    if (some <= 0 || some >= s->picked)
        return;
    const long step = s->picked / some;
    for (long k = 0; k < some; k++)
        s->picks[k] = s->picks[k * s->picked / some + (turn + k) % step];
    s->picked = some;
}

static void read_map(sweep *s, const char *path)
{
    const int fd = open(path, O_RDONLY);
    struct stat info;
    if (fd < 0 || fstat(fd, &info))
        give_up(path);
    uint64_t *const map = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED)
        give_up(path);
    s->events = (long)map[0];
    list_picks(s, map);
    munmap(map, (size_t)info.st_size);
    close(fd);
}

/* Picks every record of the log in every way. */
static void read_log(sweep *s, const char *path)
{
    power_load(s->power, path);
    s->events = (long)power_records(s->power) + 1;
    s->picks = calloc((size_t)s->events * POWER_WAYS, sizeof *s->picks);
    if (!s->picks)
        give_up("memory");
    for (long k = 0; k < s->events; k++)
        for (int way = 0; way < POWER_WAYS; way++)
            s->picks[s->picked++] = (pick){.at = k, .kind = (int)(k * POWER_WAYS) + way};
    s->paths = s->picked;
}

/* Runs the command without a fault, to learn the right result and the events. */
static void find_right(sweep *s)
{
    char directory[TEXT], path[TEXT], noted[TEXT];
    join(directory, s->area, "right");
    make_work(s, directory, NULL);
    look_at_work(s, directory, &s->begun);
    join(path, directory, "work");
    if (s->what == POWER)
        s->power = power_of(path);
    join(noted, s->area, "noted");
    unlink(noted);
    const int status = run_noted(s, directory, noted);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != s->ends) {
        join(path, directory, "err");
        size_t length;
        fprintf(stderr, "fault_sweep: the command does not even work without a fault: status %d\n%s", status,
                load(path, &length));
        exit(2);
    }
    (s->what == POWER ? read_log : read_map)(s, noted);
    if (s->events == (s->what == POWER ? 1 : 0)) {
        fprintf(stderr, "fault_sweep: nothing of the command can fail here: no %s\n",
                s->what == MEMORY ? "allocation" : "call on a file that counts");
        exit(2);
    }
    choose(s);
    unlink(noted);
    look_at_work(s, directory, &s->right);
    join(path, directory, "out");
    s->right_print = digest_of(path);
}

/* ---- all runs ---- */

/* Describes a pick in words. */
static const char *called(const sweep *s, const pick *p, char text[128])
{
    if (s->what == MEMORY)
        snprintf(text, 128, "allocation %ld of %ld%s", p->at, s->events, p->kind ? " and all after it" : "");
    else if (s->what == POWER)
        snprintf(text, 128, "power after %ld of %ld records, seed %d", p->at, s->events - 1, p->kind);
    else
        snprintf(text, 128, "call %ld of %ld: %s", p->at, s->events, faults[p->kind]);
    return text;
}

/* Runs the command with the event of the pick failing and returns the fault of that run, or NULL. The threads of the
 * command may run in another order, so that it makes fewer calls: then it is run again. */
static const char *try_pick(sweep *s, const char *directory, const pick *p, char text[TEXT])
{
    enum { TRIES = 5 };
    int status;
    if (s->what == POWER) {
        make_work(s, directory, p);
        return goes_on(s, directory, text) ? NULL : text;
    }
    for (int k = 0; k < TRIES; k++) {
        make_work(s, directory, p);
        status = run_there(s, directory, p->at, p->kind, NO_OPTION);
        if (!fired)
            continue;
        if (s->what == KILLS)
            return finishes(s, directory, p->kind, text) ? NULL : text;
        return fault_of(s, directory, status, p, text);
    }
    return "it never came";
}

/* Does every jobs-th run and prints each failure at once. Returns the number of failures. */
static long runs_of(sweep *s, long job)
{
    char directory[TEXT], text[TEXT], name[128], at[32];
    long wrong = 0;
    snprintf(at, sizeof at, "%ld", job);
    join(directory, s->area, at);
    begin_server(s);
    for (long k = job; k < s->picked; k += s->jobs) {
        const pick *const p = &s->picks[k];
        text[0] = '\0';
        const char *const fault = try_pick(s, directory, p, text);
        if (!fault)
            continue;
        printf("%s: %s\n", called(s, p, name), fault);
        fflush(stdout);
        wrong++;
    }
    fclose(s->ask);
    fclose(s->answer);
    wait(NULL);
    sweep_away(directory);
    return wrong;
}

static long sweep_all(sweep *s)
{
    long *const wrong =
        mmap(NULL, sizeof *wrong * (size_t)s->jobs, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    long sum = 0;
    if (wrong == MAP_FAILED)
        give_up("memory");
    for (long job = 0; job < s->jobs; job++) {
        wrong[job] = -1;
        const pid_t child = fork();
        if (child < 0)
            give_up("fork");
        if (child == 0) {
            wrong[job] = runs_of(s, job);
            _exit(0);
        }
    }
    while (wait(NULL) > 0)
        continue;
    for (long job = 0; job < s->jobs; job++)
        sum += wrong[job] < 0 ? s->picked : wrong[job];
    return sum;
}

static int usage(void)
{
    fputs("usage: fault_sweep memory|disk|donor|power|kills PRELOAD DIRECTORY "
          "all|paths|first:EVENTS[:COUNT:TURN]|last:EVENTS[:COUNT:TURN]|COUNT:TURN JOBS "
          "[--resumable|--keeps|--again] [--each] "
          "[--tells] [--finds] [--forced]\n"
          "                   [--from BEGIN] [--donor NAME] -- COMMAND ...\n"
          "DIRECTORY must not exist; the command is run in a directory below it, which is empty or a copy of BEGIN.\n",
          stderr);
    return 2;
}

static int read_options(sweep *s, int argc, char **argv)
{
    int at = 6;
    for (; at + 1 < argc && strcmp(argv[at], "--") != 0; at++) {
        s->resumable = s->resumable || strcmp(argv[at], "--resumable") == 0;
        s->keeps = s->keeps || strcmp(argv[at], "--keeps") == 0;
        s->again = s->again || strcmp(argv[at], "--again") == 0;
        s->each = s->each || strcmp(argv[at], "--each") == 0;
        s->forced = s->forced || strcmp(argv[at], "--forced") == 0;
        s->tells = s->tells || strcmp(argv[at], "--tells") == 0;
        if (strcmp(argv[at], "--finds") == 0)
            s->ends = 1;
        else if (strcmp(argv[at], "--from") == 0)
            s->from = argv[++at];
        else if (strcmp(argv[at], "--donor") == 0)
            s->donor = argv[++at];
    }
    return at + 1;
}

int main(int argc, char **argv)
{
    static sweep s;
    if (argc < 8)
        return usage();
    s = (sweep){.preload = argv[2], .area = argv[3], .runs = argv[4], .jobs = strtol(argv[5], NULL, 10)};
    while (s.what < KILLS && strcmp(whats[s.what], argv[1]) != 0)
        s.what++;
    const int at = read_options(&s, argc, argv);
    if (s.jobs < 1 || at >= argc || strcmp(whats[s.what], argv[1]) != 0 || (s.what == DONOR && !s.donor))
        return usage();
    s.command = argv + at;
    if (mkdir(s.area, 0777))
        give_up(s.area);
    find_right(&s);
    fflush(stdout);
    const long wrong = sweep_all(&s);
    sweep_away(s.area);
    printf("%ld events, %ld paths, %ld failed one by one\n", s.events, s.paths, s.picked);
    printf("%ld passed, %ld failed\n", s.picked - wrong, wrong);
    return wrong ? 1 : 0;
}
