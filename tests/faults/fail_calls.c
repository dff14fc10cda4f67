/* SPDX-License-Identifier: MIT
 * A library for LD_PRELOAD (tests/faults/preload.h) that makes a system call on files fail (reading, writing, renaming,
 * synchronising), in the program, in a library or in the C library. seccomp sends the calls to a handler of SIGSYS,
 * which makes those itself that do not fail. Files in system directories and stderr are not affected.
 *
 * ORGAN_FAULT_DONOR=NAME: only reads of WORK/NAME fail, as the kinds of `donor` list
 * ORGAN_FAULT_KILLS=1: the events are the calls that change files, and the process is killed before the chosen one
 * ORGAN_FAULT_LOG=FILE: records the changes of files (tests/faults/power_log.h)
 *
 * The path of the first failing call is written into DIRECTORY/failed. */
#include "tests/faults/calls.h"
#include "tests/faults/power_log.h"
#include "tests/faults/preload.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum kind {
    INPUT_OUTPUT,
    NO_SPACE,
    NO_QUOTA,
    INTERRUPTED,
    SHORT,
    GONE,
    FULL,
    TRUNCATED,
    REPLACED,
    APPENDED,
    DONOR_GONE,
    KILLED,
    KILLED_THEN_FORCED,
    KILLED_THEN_RESUMED
};

#define BIT(kind) (1u << (kind))
#define FAILS     (BIT(INPUT_OUTPUT) | BIT(GONE))
#define GROWS     (FAILS | BIT(NO_SPACE) | BIT(NO_QUOTA) | BIT(FULL))
#define WAITS     BIT(INTERRUPTED)
#define PARTS     (BIT(INTERRUPTED) | BIT(SHORT))
/* The option of the second run does not matter here. */
#define KILLS (BIT(KILLED) | BIT(KILLED_THEN_FORCED) | BIT(KILLED_THEN_RESUMED))
#define DONOR (BIT(TRUNCATED) | BIT(REPLACED) | BIT(APPENDED) | BIT(DONOR_GONE))

const unsigned preload_lasting = BIT(GONE) | BIT(FULL) | BIT(DONOR_GONE);

/* Positions of arguments; -1: none. */
static const struct row {
    long number;
    int file, folder, path, bytes;
    unsigned kinds;
    bool reads;
} rows[] = {
    {SYS_read, 0, -1, -1, 2, FAILS | PARTS, true},
    {SYS_pread64, 0, -1, -1, 2, FAILS | PARTS, true},
    {SYS_getdents64, 0, -1, -1, -1, FAILS, true},
    {SYS_write, 0, -1, -1, 2, GROWS | PARTS, false},
    {SYS_pwrite64, 0, -1, -1, 2, GROWS | PARTS, false},
    {SYS_writev, 0, -1, -1, -1, GROWS | WAITS, false},
    {SYS_copy_file_range, 2, -1, -1, 4, GROWS | PARTS, false},
    {SYS_openat, -1, 0, 1, -1, FAILS | WAITS, true},
    {SYS_mkdirat, -1, 0, 1, -1, GROWS, false},
    {SYS_renameat, -1, 0, 1, -1, GROWS, false},
    {SYS_renameat2, -1, 0, 1, -1, GROWS, false},
    {SYS_linkat, -1, 0, 1, -1, GROWS, false},
    {SYS_unlinkat, -1, 0, 1, -1, FAILS | PRELOAD_REMOVES, false},
    {SYS_fsync, 0, -1, -1, -1, GROWS | WAITS, false},
    {SYS_fdatasync, 0, -1, -1, -1, GROWS | WAITS, false},
    {SYS_syncfs, 0, -1, -1, -1, GROWS, false},
    {SYS_ftruncate, 0, -1, -1, -1, GROWS | WAITS, false},
    {SYS_fallocate, 0, -1, -1, -1, GROWS | WAITS, false},
    {SYS_ioctl, 0, -1, -1, -1, GROWS, false},
    {SYS_close, 0, -1, -1, -1, GROWS | WAITS, false},
#ifdef SYS_open
    {SYS_open, -1, -1, 0, -1, FAILS | WAITS, true},
    {SYS_mkdir, -1, -1, 0, -1, GROWS, false},
    {SYS_rename, -1, -1, 0, -1, GROWS, false},
    {SYS_link, -1, -1, 0, -1, GROWS, false},
    {SYS_unlink, -1, -1, 0, -1, FAILS | PRELOAD_REMOVES, false},
    {SYS_rmdir, -1, -1, 0, -1, FAILS | PRELOAD_REMOVES, false},
#endif
};
enum { ROWS = sizeof rows / sizeof *rows };

static char donor[4096]; /* absolute path of the donor; empty: none */
static char gone[4096];  /* the donor's file that fails from now on */
static bool told, kills;

/* ---- calls of this library, which the filter passes ---- */

long preload_raw(long number, long a, long b, long c, long d, long e, long f);
extern const char preload_raw_end[];
#ifdef __x86_64__
__asm__(".text\n.globl preload_raw\n.hidden preload_raw\n.type preload_raw, @function\npreload_raw:\n"
        "mov %rdi, %rax\nmov %rsi, %rdi\nmov %rdx, %rsi\nmov %rcx, %rdx\nmov %r8, %r10\nmov %r9, %r8\nmov 8(%rsp), "
        "%r9\nsyscall\n"
        ".globl preload_raw_end\n.hidden preload_raw_end\npreload_raw_end:\nret\n");
#else
__asm__(".text\n.globl preload_raw\n.hidden preload_raw\n.type preload_raw, %function\npreload_raw:\n"
        "mov x8, x0\nmov x0, x1\nmov x1, x2\nmov x2, x3\nmov x3, x4\nmov x4, x5\nmov x5, x6\nsvc #0\n"
        ".globl preload_raw_end\n.hidden preload_raw_end\npreload_raw_end:\nret\n");
#endif

long calls_raw(long number, long a, long b, long c) { return preload_raw(number, a, b, c, 0, 0, 0); }

long calls_open(const char *path, int flags)
{
    return preload_raw(SYS_openat, AT_FDCWD, (long)path, flags | O_CLOEXEC, 0666, 0, 0);
}

long calls_make(const call *c) { return preload_raw(c->number, c->a[0], c->a[1], c->a[2], c->a[3], c->a[4], c->a[5]); }

/* ---- paths of files ---- */

static bool path_of_file(long fd, char path[CALLS_PATH])
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%ld", fd);
    const ssize_t length = readlink(link, path, CALLS_PATH - 1);
    path[length > 0 ? length : 0] = '\0';
    return length > 0 && *path == '/';
}

/* Completes relative names with the working directory. */
bool calls_path(long folder, const char *name, char path[CALLS_PATH])
{
    char base[CALLS_PATH];
    path[0] = '\0';
    if (!name)
        return false;
    if (*name == '/')
        snprintf(base, sizeof base, "%s", "");
    else if ((int)folder == AT_FDCWD ? !getcwd(base, sizeof base) : !path_of_file((int)folder, base))
        return false;
    return snprintf(path, CALLS_PATH, "%s%s%s", base, *base ? "/" : "", name) < CALLS_PATH;
}

static bool is_below(const char *path, const char *folder)
{
    const size_t length = strlen(folder);
    return length && strncmp(path, folder, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

/* Returns true if a call on that path is an event. */
static bool is_meant(const char *path, const struct row *row)
{
    static const char *const apart[] = {"/proc", "/sys", "/dev", "/etc", "/usr", "/lib", "/run", "/var/lib", "/memfd:"};
    for (size_t k = 0; k < sizeof apart / sizeof *apart && !is_below(path, "/dev/shm"); k++)
        if (is_below(path, apart[k]) || strncmp(path, "/memfd:", 7) == 0)
            return false;
    return !*donor || (row->reads && is_below(path, donor) && strcmp(path, donor) != 0);
}

static bool path_of(const call *c, const struct row *row, char path[CALLS_PATH])
{
    if (row->file >= 0)
        return c->a[row->file] != STDERR_FILENO && path_of_file(c->a[row->file], path);
    return calls_path(row->folder < 0 ? AT_FDCWD : c->a[row->folder], (const char *)c->a[row->path], path);
}

/* Returns true if a successful call changes files or makes a change durable. */
static bool changes_files(const call *c, const struct row *row)
{
    if (row->path >= 0 && row->reads)
        return (c->number == SYS_openat ? c->a[2] : c->a[1]) & (O_CREAT | O_TRUNC);
    if (row->reads || c->number == SYS_close || (row->file == 0 && c->a[0] == STDOUT_FILENO))
        return false;
    return c->number != SYS_ioctl || c->a[1] == FICLONE;
}

/* Returns the kinds of faults for a call: a file that is opened for writing can meet a full disk; other ioctls never
 * fail here. */
static unsigned kinds_of(const call *c, const struct row *row)
{
    const long flags = c->number == SYS_openat ? c->a[2] : c->a[1];
    if (kills)
        return changes_files(c, row) ? KILLS : 0;
    if (*donor)
        return DONOR;
    if (row->path >= 0 && row->reads && (flags & O_CREAT))
        return row->kinds | GROWS;
    if (row->number == SYS_ioctl)
        return c->a[1] == FICLONE ? row->kinds : 0;
    /* The program uses SA_RESTART, so writes to terminals and pipes are never short after a signal. */
    return c->a[0] == STDOUT_FILENO && row->file == 0 ? row->kinds & ~PARTS : row->kinds;
}

/* ---- failing ---- */

static void tell(const char *path)
{
    char name[CALLS_PATH];
    if (told || !preload_directory())
        return;
    told = true;
    snprintf(name, sizeof name, "%s/failed", preload_directory());
    const long fd = calls_open(name, O_WRONLY | O_CREAT | O_TRUNC);
    calls_raw(SYS_write, fd, (long)path, (long)strlen(path));
    calls_raw(SYS_close, fd, 0, 0);
}

/* Replaces the file by another one of the same size whose second half has other bits. */
static void replace(const char *path)
{
    static char buffer[65536];
    char other[CALLS_PATH + 8];
    struct stat info;
    snprintf(other, sizeof other, "%s.other", path);
    const long from = calls_open(path, O_RDONLY), to = calls_open(other, O_WRONLY | O_CREAT | O_TRUNC);
    if (from < 0 || to < 0 || fstat((int)from, &info))
        abort();
    long got, at = 0;
    while ((got = calls_raw(SYS_read, from, (long)buffer, sizeof buffer)) > 0) {
        for (long k = 0; k < got; k++)
            buffer[k] = (char)(at + k >= info.st_size / 2 ? buffer[k] ^ 1 : buffer[k]);
        calls_raw(SYS_write, to, (long)buffer, got);
        at += got;
    }
    calls_raw(SYS_close, from, 0, 0);
    calls_raw(SYS_close, to, 0, 0);
    preload_raw(SYS_renameat2, AT_FDCWD, (long)other, AT_FDCWD, (long)path, 0, 0);
}

static void change_size(const char *path, bool appends)
{
    const long fd = calls_open(path, O_WRONLY);
    struct stat info;
    if (fd < 0 || fstat((int)fd, &info))
        abort();
    calls_raw(SYS_ftruncate, fd, appends ? info.st_size + 64 : info.st_size / 2, 0);
    calls_raw(SYS_close, fd, 0, 0);
}

/* Changes a donor's file as the kind says; returns -1 if the call has to fail. */
static int harm_donor(int kind, const char *path)
{
    struct stat info;
    const bool is_file = stat(path, &info) == 0 && S_ISREG(info.st_mode);
    if (kind == DONOR_GONE && !*gone)
        snprintf(gone, sizeof gone, "%s", path);
    if (kind == DONOR_GONE)
        return strcmp(gone, path) == 0 ? -1 : 0;
    if (kind == REPLACED && is_file)
        replace(path);
    else if (is_file)
        change_size(path, kind == APPENDED);
    return 0;
}

/* Makes the call for a part of the bytes: whole pages if there are some, since O_DIRECT accepts nothing else. */
static long make_part(const call *c, int bytes)
{
    call part = *c;
    const long half = c->a[bytes] / 2;
    if (half > 0)
        part.a[bytes] = half >= 4096 ? half & ~4095L : half;
    return power_make(&part);
}

static long fail(const call *c, const struct row *row, int kind, const char *path)
{
    if (kind >= KILLED)
        calls_raw(SYS_kill, getpid(), SIGKILL, 0);
    static const int reasons[] = {EIO, ENOSPC, EDQUOT, EINTR, 0, EIO, ENOSPC};
    tell(path);
    if (kind == SHORT)
        return make_part(c, row->bytes);
    if (kind >= TRUNCATED) {
        const bool opens = row->path >= 0; /* the call opens the old file */
        const long opened = opens && kind != DONOR_GONE ? calls_make(c) : 0;
        const int fault = harm_donor(kind, path) ? -EIO : 0;
        if (fault)
            return fault;
        return opens && kind != DONOR_GONE ? opened : calls_make(c);
    }
    if (c->number == SYS_close)
        power_make(c);
    return -reasons[kind];
}

static long handle(const call *c)
{
    char path[CALLS_PATH];
    const struct row *row = rows;
    while (row < rows + ROWS - 1 && row->number != c->number)
        row++;
    if (!preload_counts() || !path_of(c, row, path) || !is_meant(path, row))
        return calls_make(c);
    const unsigned kinds = kinds_of(c, row);
    const int kind = kinds ? preload_event(kinds) : -1;
    const bool before = preload_inside(true);
    const long result = kind < 0 ? power_make(c) : fail(c, row, kind, path);
    preload_inside(before);
    return result;
}

static void on_call(int signal, siginfo_t *info, void *context)
{
    const int reason = errno;
    ucontext_t *const u = context;
    (void)signal;
#ifdef __x86_64__
    greg_t *const r = u->uc_mcontext.gregs;
    const call c = {info->si_syscall, {r[REG_RDI], r[REG_RSI], r[REG_RDX], r[REG_R10], r[REG_R8], r[REG_R9]}};
    r[REG_RAX] = handle(&c);
#else
    unsigned long long *const r = u->uc_mcontext.regs;
    const call c = {info->si_syscall, {(long)r[0], (long)r[1], (long)r[2], (long)r[3], (long)r[4], (long)r[5]}};
    r[0] = (unsigned long long)handle(&c);
#endif
    errno = reason;
}

/* ---- the filter ---- */

#define LOAD(member, more)                                                                                             \
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)(offsetof(struct seccomp_data, member) + (more)))

/* Sends the calls of the table to the handler, except those made by preload_raw. */
static void filter(void)
{
    const uint64_t own = (uint64_t)(uintptr_t)preload_raw_end;
    struct sock_filter steps[ROWS + 7] = {
        LOAD(instruction_pointer, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)own, 0, 2),
        LOAD(instruction_pointer, 4),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)(own >> 32), ROWS + 1, 0),
        LOAD(nr, 0),
    };
    for (unsigned k = 0; k < ROWS; k++)
        steps[5 + k] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)rows[k].number,
                                                    (unsigned char)(ROWS - k), 0);
    steps[5 + ROWS] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    steps[6 + ROWS] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP);
    const struct sock_fprog program = {ROWS + 7, steps};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) {
        perror("fail_calls: the kernel takes no filter of calls");
        _exit(124);
    }
}

void preload_begin(void)
{
    const char *const name = getenv("ORGAN_FAULT_DONOR");
    const struct sigaction action = {.sa_sigaction = on_call, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_RESTART};
    if (name && (!getcwd(donor, sizeof donor - 256) || strlen(name) > 250))
        abort();
    if (name)
        strcat(strcat(donor, "/"), name);
    kills = getenv("ORGAN_FAULT_KILLS") != NULL;
    power_begin(getenv("ORGAN_FAULT_LOG"));
    if (sigaction(SIGSYS, &action, NULL))
        abort();
    filter();
}
