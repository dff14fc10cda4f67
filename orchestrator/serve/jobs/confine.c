/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/jobs/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* As the kernel defines them (linux/landlock.h); the headers of a system may be older than its kernel, and older ones than 5.13 have no
 * such file at all. */
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule       445
#define SYS_landlock_restrict_self  446
#endif

enum {
    EXECUTE = 1 << 0,
    WRITE_FILE = 1 << 1,
    READ_FILE = 1 << 2,
    READ_DIR = 1 << 3,
    CHARACTER_DEVICES = 1 << 6,
    SOCKETS = 1 << 9,
    BLOCK_DEVICES = 1 << 11,
    ALL_OF_FIRST = (1 << 13) - 1,
    REFER = 1 << 13,     /* rename from one directory to another; from version 2 on */
    TRUNCATE = 1 << 14,  /* 3 */
    IOCTL_DEV = 1 << 15, /* 5 */
    ALL_TCP = 3,         /* bind, connect; 4 */
    ALL_SCOPES = 3,      /* abstract sockets, signals; 6 */
    ASK_VERSION = 1,
    RULE_PATH_BENEATH = 1
};

struct ruleset {
    uint64_t files, net, scoped;
};

struct beneath {
    uint64_t allowed;
    int32_t parent;
} __attribute__((packed));

int organ_confine_version(void)
{
    const long version = syscall(SYS_landlock_create_ruleset, NULL, 0, ASK_VERSION);
    return version < 2 ? 0 : (int)version;
}

static bool allow(int rules, int fd, uint64_t what)
{
    const struct beneath rule = {.allowed = what, .parent = fd};
    return syscall(SYS_landlock_add_rule, rules, RULE_PATH_BENEATH, &rule, 0) == 0;
}

/* What is not there needs no permission. */
static bool allow_path(int rules, const char *path, uint64_t what)
{
    const int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT || errno == EACCES || errno == ENOTDIR;
    const bool allowed = allow(rules, fd, what);
    const int fault = errno;
    close(fd);
    errno = fault;
    return allowed;
}

/* The loader and the libraries; time zone; the process itself, whose number stays when it executes; what hwloc and the C library
 * ask about processors, memory and limits. */
static bool allow_system(int rules)
{
    static const char *const libraries[] = {"/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/lib"};
    static const char *const trees[] = {"/proc/self",   "/usr/share/locale", "/usr/share/zoneinfo", "/usr/share/hwdata",
                                        "/sys/devices", "/sys/class/dmi",    "/sys/fs/cgroup",      "/sys/bus"};
    static const char *const files[] = {"/etc/ld.so.cache", "/etc/ld.so.preload", "/etc/localtime",    "/proc/cpuinfo",
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

bool organ_confine(int version, int root, int program)
{
    const uint64_t files = ALL_OF_FIRST | REFER | (version >= 3 ? TRUNCATE : 0) | (version >= 5 ? IOCTL_DEV : 0);
    const struct ruleset wanted = {.files = files, .net = version >= 4 ? ALL_TCP : 0, .scoped = version >= 6 ? ALL_SCOPES : 0};
    const size_t size = version >= 6 ? sizeof wanted : version >= 4 ? offsetof(struct ruleset, scoped) : offsetof(struct ruleset, net);
    const int rules = (int)syscall(SYS_landlock_create_ruleset, &wanted, size, 0);
    if (rules < 0)
        return false;
    const uint64_t below = files & ~(uint64_t)(EXECUTE | CHARACTER_DEVICES | BLOCK_DEVICES | SOCKETS | IOCTL_DEV);
    const bool confined = allow(rules, root, below) && allow(rules, program, EXECUTE | READ_FILE) && allow_system(rules) &&
                          prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && syscall(SYS_landlock_restrict_self, rules, 0) == 0;
    const int fault = errno;
    close(rules);
    errno = fault;
    return confined;
}
