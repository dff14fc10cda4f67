/* SPDX-License-Identifier: MIT
 * Runs a command again and again, and each time another of its allocations is refused (tests/cli/refuse_memory.c): it must end with status
 * 4 and say that memory is the reason, or do what it does with memory. See usage() for how it is called, tests/cli/check_memory_verbs.sh
 * for the commands. The last line counts: "N passed, N failed". */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xxhash.h>

enum { TEXT = 4096, FILES = 512, SECONDS = 120 };

/* What a run left: each file by its name with a digest of what must not vary, in the order of names. */
typedef struct leavings {
    size_t count;
    struct {
        char name[256];
        uint64_t digest;
    } file[FILES];
} leavings;

typedef struct sweep {
    const char *preload, *area, *runs; /* which allocations are refused */
    long jobs;
    bool resumable, keeps; /* what is done may stay: the next run goes on, if it is asked to; the next run goes on by itself */
    bool again;            /* what is done may stay: the same command, run again, makes the rest of it */
    int ends;              /* with memory: 0, or 1 of a check that finds something */
    const char *from;      /* a directory with what is there when the command begins, or NULL */
    char **command;
    leavings begun; /* what is there then */
    leavings right; /* of a run with all memory */
    long allocations, picked;
    long *at;
    long paths;
    FILE *ask, *answer; /* of the process that begins the command */
} sweep;

static _Noreturn void give_up(const char *what)
{
    fprintf(stderr, "memory_sweep: %s: %s\n", what, strerror(errno));
    exit(2);
}

static void join(char path[TEXT], const char *directory, const char *name)
{
    if (snprintf(path, TEXT, "%s/%s", directory, name) >= TEXT) {
        errno = ENAMETOOLONG;
        give_up(directory);
    }
}

/* ---- what a run left ---- */

static char *load(const char *path, size_t *length)
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

/* Ends a line before the first time in seconds: "0.12 s". */
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

/* Times and speeds stand below "## Run" of a text, and in lines that speak of them. */
static uint64_t digest_of_text(char *text)
{
    char *const run = strstr(text, "\n## Run");
    uint64_t digest = 0;
    if (run)
        run[1] = '\0';
    for (char *line = text, *rest = NULL; (line = strtok_r(line, "\n", &rest)); line = NULL) {
        if (strstr(line, "Time") || strstr(line, "B/s") || strstr(line, "tokens/s") || strstr(line, "seconds") ||
            strstr(line, "per second") || strstr(line, ">started<"))
            continue;
        cut_seconds(line);
        digest = XXH3_64bits_withSeed(line, strlen(line), digest);
    }
    return digest;
}

/* They stand in the object "run" of a report, and as "seconds" of its parts. */
static void drop_times(json_t *json)
{
    static const char *const names[] = {"run", "seconds", "measure_seconds", "bytes_per_second"};
    const char *key;
    size_t k;
    json_t *value;
    for (k = 0; k < sizeof names / sizeof *names; k++)
        json_object_del(json, names[k]);
    json_object_foreach(json, key, value) drop_times(value);
    json_array_foreach(json, k, value) drop_times(value);
}

static uint64_t digest_of(const char *path)
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

static void look(const char *directory, const char *below, leavings *found)
{
    char path[TEXT];
    join(path, directory, below);
    DIR *const entries = opendir(path);
    if (!entries)
        give_up(path);
    for (struct dirent *e; (e = readdir(entries));) {
        char name[TEXT];
        struct stat info;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (*below)
            join(name, below, e->d_name);
        else
            snprintf(name, sizeof name, "%s", e->d_name);
        join(path, directory, name);
        if (lstat(path, &info) || found->count == FILES)
            give_up(path);
        if (S_ISDIR(info.st_mode))
            look(directory, name, found);
        snprintf(found->file[found->count].name, sizeof found->file->name, "%.255s", name);
        found->file[found->count++].digest = S_ISREG(info.st_mode) ? digest_of(path) : 0;
    }
    closedir(entries);
    if (!*below)
        qsort(found->file, found->count, sizeof *found->file, by_name);
}

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

/* DIRECTORY/work as the command finds it. */
static void make_work(const sweep *s, const char *directory)
{
    char path[TEXT], command[3 * TEXT];
    sweep_away(directory);
    join(path, directory, "work");
    if (mkdir(directory, 0777) || mkdir(path, 0777))
        give_up(path);
    if (!s->from)
        return;
    snprintf(command, sizeof command, "cp -a '%s/.' '%s'", s->from, path);
    if (system(command))
        give_up(command);
}

/* Runs the command in DIRECTORY/work, with what it prints in DIRECTORY/out and DIRECTORY/err, and with what it allocates noted in the file;
 * its status as wait() gives it. */
static int run_noted(const sweep *s, const char *directory, const char *map)
{
    char path[TEXT];
    join(path, directory, "work");
    const pid_t child = fork();
    if (child == 0) {
        if (chdir(path) || setenv("ORGAN_REFUSE_MAP", map, 1) || setenv("LD_PRELOAD", s->preload, 1) || !freopen("../out", "w", stdout) ||
            !freopen("../err", "w", stderr) || !freopen("/dev/null", "r", stdin))
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

/* A process that has loaded the command and begins it as often as it is asked to (ORGAN_REFUSE_SERVE of refuse_memory.c). */
static void begin_server(sweep *s)
{
    int to[2], from[2];
    if (pipe2(to, O_CLOEXEC) || pipe2(from, O_CLOEXEC))
        give_up("pipe");
    const pid_t child = fork();
    if (child < 0)
        give_up("fork");
    if (child == 0) {
        if (dup2(to[0], STDIN_FILENO) < 0 || dup2(from[1], STDOUT_FILENO) < 0 || setenv("ORGAN_REFUSE_SERVE", "1", 1) ||
            setenv("LD_PRELOAD", s->preload, 1))
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

/* The same with that allocation refused. */
static int run_there(const sweep *s, const char *directory, long refused)
{
    int status;
    fprintf(s->ask, "%ld %d %s\n", refused, SECONDS, directory);
    if (fflush(s->ask) || fscanf(s->answer, "%d", &status) != 1)
        give_up("the command that is to begin again and again");
    return status;
}

/* Whether each file of the one is one of the other and the same. */
static bool is_within(const leavings *part, const leavings *whole, const char **odd)
{
    size_t w = 0;
    for (size_t k = 0; k < part->count; k++) {
        while (w < whole->count && strcmp(whole->file[w].name, part->file[k].name) < 0)
            w++;
        *odd = part->file[k].name;
        if (w == whole->count || strcmp(whole->file[w].name, part->file[k].name) != 0 || whole->file[w].digest != part->file[k].digest)
            return false;
    }
    *odd = NULL;
    return true;
}

/* Whether the same command makes what is right of what a refusal has left, now that there is memory. */
static bool goes_on(const sweep *s, const char *directory)
{
    char path[TEXT];
    const char *odd;
    const int status = run_there(s, directory, -1);
    join(path, directory, "work");
    leavings *const left = calloc(1, sizeof *left);
    if (!left)
        give_up("memory");
    look(path, "", left);
    const bool right = status == 0 && is_within(left, &s->right, &odd) && left->count == s->right.count - 1;
    free(left);
    return right;
}

/* Whether nothing is there but what was there before, and all of that. */
static bool is_unchanged(const sweep *s, const leavings *left)
{
    const char *odd;
    return left->count == s->begun.count && is_within(left, &s->begun, &odd);
}

/* What is wrong with a run that has ended so, or NULL. */
static const char *fault_of(const sweep *s, const char *directory, int status, char text[TEXT])
{
    char path[TEXT];
    size_t length;
    const char *odd = NULL;
    if (WIFSIGNALED(status)) {
        snprintf(text, TEXT, "ended by signal %d", WTERMSIG(status));
        return text;
    }
    join(path, directory, "work");
    leavings *const left = calloc(1, sizeof *left);
    if (!left)
        give_up("memory");
    look(path, "", left);
    const bool same = is_within(left, &s->right, &odd) && left->count == s->right.count - 1;
    join(path, directory, "err");
    char *const said = load(path, &length);
    const int code = WEXITSTATUS(status);
    text[0] = '\0';
    if (code == s->ends && !same)
        snprintf(text, TEXT, "ended as it should, but '%s' is not what it should be (%zu files, %zu expected)", odd ? odd : "", left->count,
                 s->right.count - 1);
    join(path, directory, "out");
    if (code == s->ends && same && digest_of(path) != s->right.file[s->right.count - 1].digest)
        snprintf(text, TEXT, "ended as it should, but its standard output is not what it should be");
    if (code != s->ends && code != 4)
        snprintf(text, TEXT, "ended with %d: %.900s", code, said);
    if (code == 4 && !strcasestr(said, "memory"))
        snprintf(text, TEXT, "does not say that memory is the reason: %.900s", said);
    if (code == 4 && !is_unchanged(s, left) && !same && !(s->resumable && strstr(said, "--resume")) && !s->keeps && !s->again)
        snprintf(text, TEXT, "ended with 4 and left '%s'", odd ? odd : left->count ? left->file[0].name : "");
    if (code == 4 && s->again && !same && !goes_on(s, directory))
        snprintf(text, TEXT, "ended with 4, and the same command does not go on: %.900s", said);
    if (strstr(said, "(null)"))
        snprintf(text, TEXT, "says (null): %.900s", said);
    free(said);
    free(left);
    return *text ? text : NULL;
}

/* ---- which allocations ---- */

static int by_digest(const void *a, const void *b)
{
    const uint64_t *const x = a, *const y = b;
    return x[0] != y[0] ? (x[0] > y[0]) - (x[0] < y[0]) : (x[1] > y[1]) - (x[1] < y[1]);
}

static int by_place(const void *a, const void *b)
{
    const long x = *(const long *)a, y = *(const long *)b;
    return (x > y) - (x < y);
}

/* The first allocation of each path of calls, in the order of time. */
static void pick_paths(sweep *s, const uint64_t *map)
{
    uint64_t(*const pairs)[2] = calloc((size_t)s->allocations + 1, sizeof *pairs);
    if (!pairs)
        give_up("memory");
    for (long k = 0; k < s->allocations; k++) {
        pairs[k][0] = map[k + 1];
        pairs[k][1] = (uint64_t)k;
    }
    qsort(pairs, (size_t)s->allocations, sizeof *pairs, by_digest);
    for (long k = 0; k < s->allocations; k++)
        if (k == 0 || pairs[k][0] != pairs[k - 1][0])
            s->at[s->picked++] = (long)pairs[k][1];
    free(pairs);
    qsort(s->at, (size_t)s->picked, sizeof *s->at, by_place);
    s->paths = s->picked;
}

/* all, paths, or COUNT:TURN, which are so many of the paths, others with each turn. */
static void pick(sweep *s, const uint64_t *map)
{
    s->allocations = (long)map[0];
    s->at = calloc((size_t)s->allocations + 1, sizeof *s->at);
    if (!s->at)
        give_up("memory");
    pick_paths(s, map);
    if (strcmp(s->runs, "all") == 0)
        for (s->picked = 0; s->picked < s->allocations; s->picked++)
            s->at[s->picked] = s->picked;
    char *end;
    const long some = strtol(s->runs, &end, 10), turn = *end == ':' ? strtol(end + 1, NULL, 10) : 0;
    if (some <= 0 || some >= s->picked)
        return;
    const long step = s->picked / some;
    for (long k = 0; k < some; k++)
        s->at[k] = s->at[k * s->picked / some + turn % step];
    s->picked = some;
}

/* A run with all memory, which finds what is right and which allocations there are. */
static void find_right(sweep *s)
{
    char directory[TEXT], path[TEXT];
    join(directory, s->area, "right");
    make_work(s, directory);
    join(path, directory, "work");
    look(path, "", &s->begun);
    join(path, s->area, "map");
    unlink(path);
    make_work(s, directory);
    const int status = run_noted(s, directory, path);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != s->ends) {
        join(path, directory, "err");
        size_t length;
        fprintf(stderr, "memory_sweep: the command does not even work with memory: status %d\n%s", status, load(path, &length));
        exit(2);
    }
    const int fd = open(path, O_RDONLY);
    struct stat info;
    if (fd < 0 || fstat(fd, &info))
        give_up(path);
    uint64_t *const map = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED)
        give_up(path);
    pick(s, map);
    munmap(map, (size_t)info.st_size);
    close(fd);
    unlink(path);
    join(path, directory, "work");
    look(path, "", &s->right);
    join(path, directory, "out");
    s->right.file[s->right.count++].digest = digest_of(path);
}

/* ---- all runs ---- */

/* Every jobs-th run; exit code 1 if one was wrong. Each fault is printed as soon as it is known. */
static long runs_of(sweep *s, long job)
{
    char directory[TEXT], text[TEXT], at[32];
    long faults = 0;
    snprintf(at, sizeof at, "%ld", job);
    join(directory, s->area, at);
    begin_server(s);
    for (long k = job; k < s->picked; k += s->jobs) {
        make_work(s, directory);
        const int status = run_there(s, directory, s->at[k]);
        const char *const fault = fault_of(s, directory, status, text);
        if (!fault)
            continue;
        printf("allocation %ld of %ld: %s\n", s->at[k], s->allocations, fault);
        fflush(stdout);
        faults++;
    }
    fclose(s->ask);
    fclose(s->answer);
    wait(NULL);
    sweep_away(directory);
    return faults;
}

static long sweep_all(sweep *s)
{
    long *const faults = mmap(NULL, sizeof *faults * (size_t)s->jobs, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    long sum = 0;
    if (faults == MAP_FAILED)
        give_up("memory");
    for (long job = 0; job < s->jobs; job++) {
        faults[job] = -1;
        const pid_t child = fork();
        if (child < 0)
            give_up("fork");
        if (child == 0) {
            faults[job] = runs_of(s, job);
            _exit(0);
        }
    }
    while (wait(NULL) > 0)
        continue;
    for (long job = 0; job < s->jobs; job++)
        sum += faults[job] < 0 ? s->picked : faults[job];
    return sum;
}

static int usage(void)
{
    fputs("usage: memory_sweep PRELOAD DIRECTORY all|paths|COUNT:TURN JOBS [--resumable|--keeps|--again|--finds] [--from BEGIN] -- COMMAND "
          "...\n"
          "DIRECTORY must not exist; the command is run in a directory below it, which is empty or a copy of BEGIN.\n",
          stderr);
    return 2;
}

int main(int argc, char **argv)
{
    static sweep s;
    if (argc < 7)
        return usage();
    s = (sweep){.preload = argv[1], .area = argv[2], .runs = argv[3], .jobs = strtol(argv[4], NULL, 10)};
    int at = 5;
    for (; at + 1 < argc && strcmp(argv[at], "--") != 0; at++) {
        s.resumable = s.resumable || strcmp(argv[at], "--resumable") == 0;
        s.keeps = s.keeps || strcmp(argv[at], "--keeps") == 0;
        s.again = s.again || strcmp(argv[at], "--again") == 0;
        if (strcmp(argv[at], "--finds") == 0)
            s.ends = 1;
        if (strcmp(argv[at], "--from") == 0)
            s.from = argv[++at];
    }
    if (s.jobs < 1 || at + 1 >= argc)
        return usage();
    s.command = argv + at + 1;
    if (mkdir(s.area, 0777))
        give_up(s.area);
    find_right(&s);
    fflush(stdout);
    const long faults = sweep_all(&s);
    sweep_away(s.area);
    printf("%ld allocations, %ld paths, %ld refused one by one\n", s.allocations, s.paths, s.picked);
    printf("%ld passed, %ld failed\n", s.picked - faults, faults);
    return faults ? 1 : 0;
}
