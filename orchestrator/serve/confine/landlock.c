/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/confine/seccomp.h"

#include "formats/base/files.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Numbers and structures of Landlock as the kernel defines them (linux/landlock.h), because the system's headers may be
 * older than its kernel; before Linux 5.13 they have no such file. */
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule       445
#define SYS_landlock_restrict_self  446
#endif

/* The first values are rights over files, as bits (the kernel's LANDLOCK_ACCESS_FS_...); then other constants. */
enum {
    EXECUTE = 1 << 0,
    WRITE_FILE = 1 << 1,
    READ_FILE = 1 << 2,
    READ_DIR = 1 << 3,
    CHARACTER_DEVICES = 1 << 6, /* create them; likewise SOCKETS and BLOCK_DEVICES */
    SOCKETS = 1 << 9,
    BLOCK_DEVICES = 1 << 11,
    ALL_OF_FIRST = (1 << 13) - 1, /* all rights of version 1 */
    REFER = 1 << 13,              /* rename from one directory to another; from version 2 on */
    TRUNCATE = 1 << 14,           /* from version 3 on */
    IOCTL_DEV = 1 << 15,          /* from version 5 on */
    ALL_TCP = 3,                  /* bind and connect; from version 4 on */
    ALL_SCOPES = 3,               /* abstract sockets and signals; from version 6 on */
    ASK_VERSION = 1,              /* flag of landlock_create_ruleset: return the version */
    RULE_PATH_BENEATH = 1
};

/* This is struct landlock_ruleset_attr of the kernel: sets of rights that are denied unless a rule allows them. */
struct ruleset {
    uint64_t files, net, scoped;
};

/* This is struct landlock_path_beneath_attr of the kernel: the rights to the file `parent` (a descriptor) or, if it
 * is a directory, to everything below it. */
struct beneath {
    uint64_t allowed;
    int32_t parent;
} __attribute__((packed));

/* Version 1 counts as none (0), because it forbids renaming between directories. */
static int landlock_version(void)
{
    const long version = syscall(SYS_landlock_create_ruleset, NULL, 0, ASK_VERSION);
    return version < 2 ? 0 : (int)version;
}

organ_confinement organ_confinement_of_kernel(void)
{
    return (organ_confinement){.landlock = landlock_version(), .seccomp = organ_seccomp_is_there()};
}

/* Versions of Landlock before `version` cannot forbid the operations; seccomp_closes: the seccomp filters forbid
 * them too. */
static const struct gap {
    int version;
    bool seccomp_closes;
    const char *text;
} gaps[] = {{2, false, "reach files outside of the root"},
            {3, false, "truncate files outside of the root"},
            {4, true, "open TCP connections"},
            {5, true, "send requests to devices"},
            {6, true, "signal other processes and use abstract sockets"}};

/* `open_gaps` counts the operations written. */
void organ_confinement_lacks(const organ_confinement *has, char *text, size_t size)
{
    enum { NEWEST = 6 };
    char version[32] = "no Landlock";
    size_t used = 0, open_gaps = 0;
    *text = '\0';
    if (has->landlock >= NEWEST && has->seccomp)
        return;
    if (has->landlock)
        snprintf(version, sizeof version, "Landlock %d of %d", has->landlock, NEWEST);
    used +=
        (size_t)snprintf(text, size, "this kernel has %s and %s:", version, has->seccomp ? "seccomp" : "no seccomp");
    for (size_t k = 0; k < sizeof gaps / sizeof *gaps && used < size; k++)
        if (has->landlock < gaps[k].version && !(has->seccomp && gaps[k].seccomp_closes))
            used += (size_t)snprintf(text + used, size - used, "%s %s",
                                     open_gaps++ ? "," : " jobs and processes that read models could", gaps[k].text);
    if (!has->seccomp && used < size)
        used += (size_t)snprintf(text + used, size - used, "%s execute programs and make any system call",
                                 open_gaps++ ? "," : " jobs and processes that read models could");
    if (used < size && !open_gaps)
        snprintf(text + used, size - used, " seccomp forbids what this version of Landlock cannot");
}

static bool allow_beneath(int rules, int fd, uint64_t accesses)
{
    const struct beneath rule = {.allowed = accesses, .parent = fd};
    return syscall(SYS_landlock_add_rule, rules, RULE_PATH_BENEATH, &rule, 0) == 0;
}

/* A directory stands for everything below it. A path that does not exist or that this user cannot reach needs no
 * rule. Returns false with errno on error. */
static bool allow_path(int rules, const char *path, uint64_t what)
{
    ORGAN_OWNED_FILE const int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT || errno == EACCES || errno == ENOTDIR;
    return allow_beneath(rules, fd, what);
}

/* Every program needs to execute and read the loader and libraries, and to read the time zone, /proc/self (the
 * process keeps its number after exec), and the files in which hwloc and the C library look up processors, memory
 * and limits. /dev/null may also be written. */
static bool allow_system(int rules)
{
    static const char *const libraries[] = {"/lib",       "/lib32",     "/lib64",        "/usr/lib",
                                            "/usr/lib32", "/usr/lib64", "/usr/local/lib"};
    static const char *const trees[] = {"/proc/self",   "/usr/share/locale", "/usr/share/zoneinfo", "/usr/share/hwdata",
                                        "/sys/devices", "/sys/class/dmi",    "/sys/fs/cgroup",      "/sys/bus"};
    static const char *const files[] = {
        "/etc/ld.so.cache", "/etc/ld.so.preload", "/etc/localtime",    "/proc/cpuinfo",
        "/proc/meminfo",    "/proc/stat",         "/proc/filesystems", "/proc/sys/vm/overcommit_memory"};
    for (size_t k = 0; k < sizeof libraries / sizeof *libraries; k++)
        if (!allow_path(rules, libraries[k], EXECUTE | READ_FILE | READ_DIR))
            return false;
    for (size_t k = 0; k < sizeof trees / sizeof *trees; k++)
        if (!allow_path(rules, trees[k], READ_FILE | READ_DIR))
            return false;
    for (size_t k = 0; k < sizeof files / sizeof *files; k++)
        if (!allow_path(rules, files[k], READ_FILE))
            return false;
    return allow_path(rules, "/dev/null", READ_FILE | WRITE_FILE) && allow_path(rules, "/dev/urandom", READ_FILE);
}

static uint64_t files_of(int version)
{
    return ALL_OF_FIRST | REFER | (version >= 3 ? TRUNCATE : 0) | (version >= 5 ? IOCTL_DEV : 0);
}

/* The set allows nothing yet. Returns its descriptor, or -1 with errno. A kernel rejects members that its version
 * does not have, so `size` ends before them. */
static int make_ruleset(int version)
{
    const struct ruleset requested = {
        .files = files_of(version), .net = version >= 4 ? ALL_TCP : 0, .scoped = version >= 6 ? ALL_SCOPES : 0};
    const size_t before_6 = version >= 4 ? offsetof(struct ruleset, scoped) : offsetof(struct ruleset, net);
    const size_t size = version >= 6 ? sizeof requested : before_6;
    return (int)syscall(SYS_landlock_create_ruleset, &requested, size, 0);
}

/* Closes `rules`, a descriptor. If `allowed` is false, because a rule could not be added, only closes it. Returns
 * false with errno if the calling thread is not confined. */
static bool landlock_apply(int rules, bool allowed)
{
    const bool confined =
        allowed && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && syscall(SYS_landlock_restrict_self, rules, 0) == 0;
    const int fault = errno;
    close(rules);
    errno = fault;
    return confined;
}

static bool allow_reading(int rules, organ_readable folders)
{
    bool allowed = true;
    for (size_t k = 0; k < folders.count && allowed; k++)
        allowed = allow_beneath(rules, folders.fds[k], READ_FILE | READ_DIR);
    return allowed;
}

/* Below `root` all is allowed except executing, creating devices and sockets, and ioctl on devices. */
bool organ_confine_files(int version, int root, organ_readable others, int program)
{
    const int rules = make_ruleset(version);
    const uint64_t below =
        files_of(version) & ~(uint64_t)(EXECUTE | CHARACTER_DEVICES | BLOCK_DEVICES | SOCKETS | IOCTL_DEV);
    return rules >= 0 &&
           landlock_apply(rules, allow_beneath(rules, root, below) && allow_reading(rules, others) &&
                                     allow_beneath(rules, program, EXECUTE | READ_FILE) && allow_system(rules));
}

bool organ_confine_reading(int version, organ_readable folders)
{
    const int rules = make_ruleset(version);
    return rules >= 0 && landlock_apply(rules, allow_reading(rules, folders));
}

extern char **environ;

/* Secrets in the environment of the server must not reach a child. The array has room for all variables,
 * ORGAN_CONFINED_VARIABLE and NULL. */
char **organ_child_environment(bool confined)
{
    static const char *const kept[] = {
        "LANG=", "LANGUAGE=", "LC_", "TZ=", "ORGAN_ISA=", "ASAN_", "UBSAN_", "LSAN_", "TSAN_"};
    static char mark[] = ORGAN_CONFINED_VARIABLE;
    size_t count = 0, used = 0;
    while (environ && environ[count])
        count++;
    char **const chosen = calloc(count + 2, sizeof *chosen);
    for (size_t k = 0; chosen && k < count; k++)
        for (size_t j = 0; j < sizeof kept / sizeof *kept; j++)
            if (strncmp(environ[k], kept[j], strlen(kept[j])) == 0) {
                chosen[used++] = environ[k];
                break;
            }
    if (chosen && confined)
        chosen[used] = mark;
    return chosen;
}

/* Ignored and blocked signals would stay so after exec. The signals are 1 to 31. */
void organ_child_plain_signals(void)
{
    const struct sigaction plain = {.sa_handler = SIG_DFL};
    sigset_t none;
    for (int number = 1; number < 32; number++)
        sigaction(number, &plain, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

int organ_child_move_descriptor(int fd) { return fcntl(fd, F_DUPFD_CLOEXEC, ORGAN_CHILD_MOVED); }

bool organ_child_place(int fd, int number) { return fd >= 0 && dup2(fd, number) == number; }

/* Without close_range, closes descriptors up to MAX_DESCRIPTORS. */
void organ_child_close_from(int descriptor)
{
    enum { MAX_DESCRIPTORS = 65536 };
    if (syscall(SYS_close_range, (unsigned)descriptor, ~0u, 0u) != 0)
        for (int fd = descriptor; fd < MAX_DESCRIPTORS; fd++) /* Linux before 5.9 has no close_range */
            close(fd);
}
