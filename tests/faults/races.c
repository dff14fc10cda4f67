/* SPDX-License-Identifier: MIT
 * Runs two commands that write the same output, and holds them at their calls. For all pairs of calls (I, J), A runs to
 * its call I, B to its call J, then A to its end and B to its end. Nothing depends on time. The calls are those on the
 * output, its partial directory or its note.
 *
 *   races DIRECTORY NAME WHICH FROM A... -- B...
 *
 * DIRECTORY: the commands run in it, emptied before each pair and filled with a copy of the directory FROM ("-": none).
 * NAME: the output. WHICH: "all"; "/N": every N-th pair; "N": N pairs; "I,J": this pair,
 * with the messages of both.
 *
 * A pair is right if both commands end with 0 or 2, at least one with 0, if the files of the output are those of A
 * alone or of B alone (those of the last one with 0), and nothing else is left. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xxhash.h>

/* Calls of which some are events: the positions of descriptor and path among the arguments; -1: none. */
static const struct {
    long number;
    int folder, path;
} rows[] = {
    {SYS_openat, 0, 1},    {SYS_mkdirat, 0, 1},    {SYS_unlinkat, 0, 1}, {SYS_renameat, 0, 1}, {SYS_renameat2, 0, 1},
    {SYS_linkat, 0, 1},    {SYS_newfstatat, 0, 1}, {SYS_flock, 0, -1},   {SYS_fstat, 0, -1},   {SYS_getdents64, 0, -1},
    {SYS_faccessat, 0, 1}, {SYS_fchmod, 0, -1},    {SYS_fchmodat, 0, 1}, {SYS_statx, 0, 1},
#ifdef SYS_open
    {SYS_open, -1, 0},     {SYS_mkdir, -1, 0},     {SYS_unlink, -1, 0},  {SYS_rmdir, -1, 0},   {SYS_rename, -1, 0},
    {SYS_link, -1, 0},     {SYS_stat, -1, 0},      {SYS_lstat, -1, 0},
#endif
};
enum { ROWS = sizeof rows / sizeof *rows, MAX_THREADS = 64, NEVER = 1 << 30 };

/* A command that runs. */
typedef struct runner {
    pid_t pid;
    int calls, until; /* events so far; the event before which it is held */
    bool ended;
    int code;
    int said;                /* file with its stderr */
    pid_t held[MAX_THREADS]; /* its threads that wait before an event */
    size_t held_count;
} runner;

static const char *directory, *name, *from;
static bool shows; /* the commands print their messages */

static void die(const char *what)
{
    perror(what);
    exit(125);
}

/* ---- events ---- */

/* Reads the path at an address of the thread. */
static bool read_path(pid_t pid, unsigned long long address, char path[4096])
{
    size_t got = 0;
    while (got < 4095) { /* the path may end before a page that is not mapped */
        const size_t page = 4096 - (address + got) % 4096, some = page < 4095 - got ? page : 4095 - got;
        const struct iovec here = {path + got, some}, there = {(void *)(uintptr_t)(address + got), some};
        if (process_vm_readv(pid, &here, 1, &there, 1, 0) != (ssize_t)some)
            return false;
        if (memchr(path + got, 0, some))
            return true;
        got += some;
    }
    return false;
}

/* Returns whether the call that the thread is about to make concerns the output. */
static bool is_event(pid_t thread)
{
    struct __ptrace_syscall_info info = {0};
    char path[4096] = "", link[64], base[4096] = "";
    if (ptrace(PTRACE_GET_SYSCALL_INFO, thread, sizeof info, &info) <= 0)
        return false;
    size_t r = 0;
    while (r < ROWS && rows[r].number != (long)info.seccomp.nr)
        r++;
    if (r == ROWS || (rows[r].path >= 0 && !read_path(thread, info.seccomp.args[rows[r].path], path)))
        return false;
    if (rows[r].folder >= 0 && *path != '/' && (int)info.seccomp.args[rows[r].folder] != AT_FDCWD) {
        snprintf(link, sizeof link, "/proc/%d/fd/%d", (int)thread, (int)info.seccomp.args[rows[r].folder]);
        const ssize_t length = readlink(link, base, sizeof base - 1);
        base[length > 0 ? length : 0] = '\0';
    }
    char partial[300];
    snprintf(partial, sizeof partial, ".%s.organ-", name);
    if (strstr(base, partial) || strstr(path, partial))
        return true;
    const char *const whole = *path ? path : base, *const last = strrchr(whole, '/');
    return strcmp(last ? last + 1 : whole, name) == 0;
}

/* ---- running ---- */

/* Makes the calls of the table stop the process, then runs the command. */
static void become(char *const *words, int said)
{
    struct sock_filter steps[ROWS + 3] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))};
    for (unsigned k = 0; k < ROWS; k++)
        steps[1 + k] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)rows[k].number,
                                                    (unsigned char)(ROWS - k), 0);
    steps[1 + ROWS] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    steps[2 + ROWS] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE);
    const struct sock_fprog program = {ROWS + 3, steps};
    const int nothing = open("/dev/null", O_RDWR);
    if (chdir(directory) || dup2(nothing, 0) < 0 || dup2(nothing, 1) < 0 || (!shows && dup2(said, 2) < 0))
        _exit(125);
    if (ptrace(PTRACE_TRACEME, 0, 0, 0) || raise(SIGSTOP) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
        _exit(125);
    execv(words[0], words);
    _exit(125);
}

static void start(runner *r, char *const *words)
{
    int status;
    *r = (runner){.said = memfd_create("said", MFD_CLOEXEC)};
    if (r->said < 0)
        die("memfd_create");
    r->pid = fork();
    if (r->pid == 0)
        become(words, r->said);
    if (r->pid < 0 || waitpid(r->pid, &status, 0) != r->pid || !WIFSTOPPED(status))
        die("fork");
    const long options = PTRACE_O_TRACESECCOMP | PTRACE_O_EXITKILL | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC;
    if (ptrace(PTRACE_SETOPTIONS, r->pid, 0, options) || ptrace(PTRACE_CONT, r->pid, 0, 0))
        die("ptrace");
}

/* Returns whether the thread belongs to the process. */
static bool has_thread(const runner *r, pid_t thread)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task/%d", (int)r->pid, (int)thread);
    return thread == r->pid || access(path, F_OK) == 0;
}

/* Takes a stop or an end of a thread of the process. */
static void take(runner *r, pid_t thread, int status)
{
    if (!WIFSTOPPED(status)) {
        if (thread == r->pid) {
            r->ended = true;
            r->code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        }
        return;
    }
    const int signal = WSTOPSIG(status), event = status >> 16;
    if (signal == SIGTRAP && event == PTRACE_EVENT_SECCOMP && is_event(thread) && ++r->calls > r->until) {
        if (r->held_count == MAX_THREADS)
            die("too many threads");
        r->held[r->held_count++] = thread;
        return;
    }
    const bool own = signal == SIGTRAP || signal == SIGSTOP; /* of the tracing */
    ptrace(PTRACE_CONT, thread, 0, own ? 0 : signal);
}

/* Lets the process run until it is held before the event after `until` others, or ends. */
static void advance(runner *r, runner *other, int until)
{
    r->until = until;
    const size_t count = r->held_count;
    r->held_count = 0;
    for (size_t k = 0; k < count; k++)
        ptrace(PTRACE_CONT, r->held[k], 0, 0);
    while (!r->ended && !r->held_count) {
        int status;
        const pid_t thread = waitpid(-1, &status, __WALL);
        if (thread < 0)
            die("waitpid");
        take(other->pid && thread != r->pid && (thread == other->pid || has_thread(other, thread)) ? other : r, thread,
             status);
    }
}

/* ---- files ---- */

static void shell(const char *format, const char *a, const char *b)
{
    char text[9000];
    snprintf(text, sizeof text, format, a, b);
    if (system(text))
        die(text);
}

static void begin(void)
{
    shell("rm -rf '%s' && mkdir '%s'", directory, directory);
    if (strcmp(from, "-") != 0)
        shell("cp -a '%s'/. '%s'", from, directory);
}

/* Adds the names and the bytes of the files with weights below a folder to the digest; reports have times. */
static void digest_folder(const char *folder, XXH3_state_t *state)
{
    struct dirent **entries;
    const int count = scandir(folder, &entries, NULL, alphasort);
    for (int k = 0; k < count; k++) {
        char path[4096];
        static char bytes[1 << 22];
        struct stat info;
        const char *const own = entries[k]->d_name, *const dot = strrchr(own, '.');
        snprintf(path, sizeof path, "%s/%s", folder, own);
        const bool there = strcmp(own, ".") != 0 && strcmp(own, "..") != 0 && lstat(path, &info) == 0;
        if (there && S_ISDIR(info.st_mode)) {
            digest_folder(path, state);
        } else if (there && dot &&
                   (strcmp(dot, ".safetensors") == 0 || strcmp(dot, ".gguf") == 0 || strcmp(dot, ".bin") == 0)) {
            const int fd = open(path, O_RDONLY);
            const ssize_t got = read(fd, bytes, sizeof bytes);
            close(fd);
            XXH3_64bits_update(state, own, strlen(own) + 1);
            XXH3_64bits_update(state, bytes, got > 0 ? (size_t)got : 0);
        }
        free(entries[k]);
    }
    free(entries);
}

static unsigned long long digest(void)
{
    XXH3_state_t *const state = XXH3_createState();
    XXH3_64bits_reset(state);
    digest_folder(directory, state);
    const unsigned long long all = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return all;
}

/* Returns whether the directory has hidden entries, which a finished run leaves none of. */
static bool has_rest(char found[256])
{
    DIR *const entries = opendir(directory);
    *found = '\0';
    for (const struct dirent *e; entries && (e = readdir(entries));)
        if (e->d_name[0] == '.' && strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            snprintf(found, 256, "%s", e->d_name);
    closedir(entries);
    return *found;
}

/* ---- pairs ---- */

/* Runs a command alone; returns the digest of its output and sets *calls to the number of its events. */
static unsigned long long alone(char *const *words, int *calls)
{
    runner r, none = {0};
    begin();
    start(&r, words);
    advance(&r, &none, NEVER);
    close(r.said);
    *calls = r.calls;
    if (r.code != 0) {
        fprintf(stderr, "races: the command alone ends with %d\n", r.code);
        exit(125);
    }
    return digest();
}

/* A run that may not write the output because another does, or has done so, ends with 4 or 2. */
static bool ends_well(const runner *r)
{
    char said[4096] = "";
    return r->code == 0 || r->code == 2 ||
           (r->code == 4 && pread(r->said, said, sizeof said - 1, 0) > 0 && strstr(said, " writing this output"));
}

static bool try_pair(char *const *a, char *const *b, int i, int j, const unsigned long long right[2])
{
    runner x, y = {0};
    char rest[256];
    begin();
    start(&x, a);
    advance(&x, &y, i);
    start(&y, b);
    advance(&y, &x, j);
    if (!x.ended)
        advance(&x, &y, NEVER);
    if (!y.ended)
        advance(&y, &x, NEVER);
    const unsigned long long have = digest();
    const bool codes = (shows || (ends_well(&x) && ends_well(&y))) && (x.code == 0 || y.code == 0);
    close(x.said);
    close(y.said);
    const bool same = (x.code == 0 && have == right[0]) || (y.code == 0 && have == right[1]);
    const bool good = codes && same && !has_rest(rest);
    const char *wrong = same ? "" : "a mixed output; ";
    if (!same && (have == right[0] || have == right[1]))
        wrong = "the output of a run that failed; ";
    if (!good)
        printf("A at call %d, B at call %d: end with %d and %d: %s%s%s\n", i, j, x.code, y.code, wrong, rest,
               *rest ? " is left" : "");
    return good;
}

int main(int argc, char **argv)
{
    int split = 5;
    while (split < argc && strcmp(argv[split], "--") != 0)
        split++;
    if (argc < 8 || split + 1 >= argc)
        return fputs("races DIRECTORY NAME WHICH FROM A... -- B...\n", stderr), 2;
    argv[split] = NULL;
    directory = argv[1];
    name = argv[2];
    from = argv[4];
    int calls[2], pairs = 0, failed = 0;
    const unsigned long long right[2] = {alone(argv + 5, &calls[0]), alone(argv + split + 1, &calls[1])};
    if (right[0] == right[1])
        return fputs("races: both commands write the same\n", stderr), 125;
    int i, j;
    if ((shows = sscanf(argv[3], "%d,%d", &i, &j) == 2))
        return !try_pair(argv + 5, argv + split + 1, i, j, right);
    const bool is_step = argv[3][0] == '/';
    const int all = (calls[0] + 1) * (calls[1] + 1), number = atoi(argv[3] + is_step);
    int step = is_step ? number : 1;
    if (!is_step && number > 0 && number < all)
        step = (all / number) | 1; /* odd, so that it meets other calls of B with each call of A */
    for (int k = step / 2; k < all; k += step, pairs++)
        failed += !try_pair(argv + 5, argv + split + 1, k / (calls[1] + 1), k % (calls[1] + 1), right);
    printf("%d and %d calls, %d pairs\n%d passed, %d failed\n", calls[0], calls[1], pairs, pairs - failed, failed);
    return failed != 0;
}
