/* SPDX-License-Identifier: MIT
 * Filters of system calls, written as programs for the kernel's filter machine (BPF). A rule allows a system call by
 * its number; if only some uses of the call are allowed, the rule also compares bits of one argument. A call may have
 * several rules. */
#include "orchestrator/serve/confine/seccomp.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define THIS_MACHINE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define THIS_MACHINE AUDIT_ARCH_AARCH64
#else
#define THIS_MACHINE 0 /* no filter: the call numbers of this processor are not listed here */
#endif

#ifndef SYS_clone3
#define SYS_clone3 435
#endif
#ifndef SYS_faccessat2
#define SYS_faccessat2 439
#endif

enum {
    NEWEST_CALL = 450,         /* calls with a higher number did not exist when these tables were written: ENOSYS */
    FOREIGN_CALL = 0x40000000, /* bit of x86-64 in the numbers of calls with 32-bit pointers: EPERM */
    MAX_STEPS = 2048           /* instructions of a filter */
};

/* A rule for some uses of a call: those whose argument `argument` (counted from 0), masked by `mask`, is `value`. */
typedef struct call_rule {
    long number;
    unsigned argument;
    uint64_t mask, value;
} call_rule;

/* ---- the calls with any arguments, and the rules ---- */

/* clang-format would put each call on a line of its own. */
/* clang-format off */

/* Older calls, which x86-64 has and aarch64 lacks. */
#ifdef SYS_stat
#define OLD_COMMON_CALLS                                                                                               \
    SYS_stat, SYS_lstat, SYS_access, SYS_readlink, SYS_poll, SYS_time, SYS_dup2, SYS_getrlimit, SYS_getpgrp,           \
        SYS_arch_prctl,
#define OLD_JOB_CALLS                                                                                                  \
    SYS_open, SYS_creat, SYS_mkdir, SYS_rmdir, SYS_unlink, SYS_rename, SYS_link, SYS_symlink, SYS_chmod, SYS_select,   \
        SYS_pause, SYS_pipe, SYS_epoll_wait, SYS_alarm,
#define OLD_SANITIZER_CALLS SYS_getdents, SYS_pipe,
#define OLD_KILLED_CALLS    SYS_fork, SYS_vfork,
#else
#define OLD_COMMON_CALLS
#define OLD_JOB_CALLS
#define OLD_SANITIZER_CALLS
#define OLD_KILLED_CALLS
#endif

/* Calls of sanitizers, for two of which a reader is killed otherwise. */
#if ORGAN_SANITIZED
#define SANITIZER_CALLS                                                                                                \
    SYS_ptrace, SYS_clone, SYS_wait4, SYS_kill, SYS_tgkill, SYS_prctl, SYS_personality, SYS_pipe2,                     \
        SYS_process_vm_readv, SYS_mmap, SYS_mprotect, OLD_SANITIZER_CALLS
#define TRACING_CALLS
#else
#define SANITIZER_CALLS
#define TRACING_CALLS SYS_ptrace, SYS_clone,
#endif

static const short common_calls[] = {
    SYS_read, SYS_readv, SYS_pread64, SYS_preadv, SYS_write, SYS_writev, SYS_close, SYS_lseek, SYS_fstat,
    SYS_newfstatat, SYS_statx, SYS_fstatfs, SYS_statfs, SYS_getdents64, SYS_readlinkat, SYS_faccessat,
    SYS_faccessat2, SYS_fadvise64, SYS_fcntl, SYS_dup, SYS_dup3, SYS_ppoll, SYS_getcwd, SYS_munmap, SYS_mremap,
    SYS_madvise, SYS_brk, SYS_futex, SYS_sched_yield, SYS_sched_getaffinity, SYS_getcpu, SYS_clock_gettime,
    SYS_clock_getres, SYS_clock_nanosleep, SYS_nanosleep, SYS_gettimeofday, SYS_getrandom, SYS_uname,
    SYS_sysinfo, SYS_getpid, SYS_gettid, SYS_getppid, SYS_getuid, SYS_geteuid, SYS_getgid, SYS_getegid,
    SYS_getpgid, SYS_getrusage, SYS_times, SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn,
    SYS_sigaltstack, SYS_restart_syscall, SYS_exit, SYS_exit_group, OLD_COMMON_CALLS SANITIZER_CALLS};
static const call_rule common_rules[] = {
    {SYS_prctl, 0, UINT32_MAX, PR_SET_NAME},
    {SYS_prctl, 0, UINT32_MAX, 0x53564d41 /* PR_SET_VMA: malloc names its memory */},
    {SYS_prctl, 0, UINT32_MAX, PR_GET_DUMPABLE},
    {SYS_prlimit64, 2, UINT64_MAX, 0 /* reads limits, but sets none */},
#if ORGAN_SANITIZED
    {SYS_prlimit64, 1, UINT32_MAX, RLIMIT_CORE},
    {SYS_prlimit64, 1, UINT32_MAX, RLIMIT_STACK},
#endif
};

/* Jobs create files and threads, and place memory and threads on processors. */
static const short job_calls[] = {
    SYS_openat, SYS_openat2, SYS_pwrite64, SYS_pwritev, SYS_ftruncate, SYS_truncate, SYS_fallocate, SYS_fsync,
    SYS_fdatasync, SYS_sync_file_range, SYS_syncfs, SYS_msync, SYS_copy_file_range, SYS_sendfile, SYS_flock,
    SYS_mkdirat, SYS_unlinkat, SYS_renameat, SYS_renameat2, SYS_linkat, SYS_symlinkat, SYS_fchmod, SYS_fchmodat,
    SYS_utimensat, SYS_umask, SYS_chdir, SYS_fchdir, SYS_fgetxattr, SYS_readahead, SYS_mmap, SYS_mprotect,
    SYS_mlock, SYS_munlock, SYS_mincore, SYS_membarrier, SYS_rseq, SYS_set_tid_address, SYS_set_robust_list,
    SYS_get_robust_list, SYS_sched_setaffinity, SYS_sched_getscheduler, SYS_sched_getparam,
    SYS_sched_get_priority_max, SYS_sched_get_priority_min, SYS_getpriority, SYS_mbind, SYS_set_mempolicy,
    SYS_get_mempolicy, SYS_move_pages, SYS_rt_sigtimedwait, SYS_rt_sigpending, SYS_rt_sigsuspend, SYS_pipe2,
    SYS_eventfd2, SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_pwait, SYS_timer_create, SYS_timer_settime,
    SYS_timer_delete, SYS_setitimer, SYS_getitimer, SYS_pselect6, SYS_seccomp, OLD_JOB_CALLS};
static const call_rule job_rules[] = {
    {SYS_clone, 0, CLONE_THREAD, CLONE_THREAD},
    {SYS_ioctl, 1, UINT32_MAX, FICLONE},
    {SYS_ioctl, 1, UINT32_MAX, FICLONERANGE},
    {SYS_ioctl, 1, UINT32_MAX, TCGETS},
    {SYS_ioctl, 1, UINT32_MAX, TIOCGWINSZ},
    {SYS_ioctl, 1, UINT32_MAX, FIONREAD},
    {SYS_prlimit64, 1, UINT32_MAX, RLIMIT_NOFILE},
    {SYS_prctl, 0, UINT32_MAX, PR_SET_NO_NEW_PRIVS},
    {SYS_execveat, 0, UINT32_MAX, ORGAN_PROGRAM_DESCRIPTOR}, /* until ORGAN_CALLS_NO_EXEC */
};

enum { CHANGES = O_ACCMODE | O_CREAT | O_TRUNC | O_APPEND };

/* Readers open files for reading, and their memory is not executable. */
static const call_rule reader_rules[] = {
    {SYS_openat, 2, CHANGES, O_RDONLY},
    {SYS_mmap, 2, PROT_EXEC, 0},
    {SYS_mprotect, 2, PROT_EXEC, 0},
#ifdef SYS_open
    {SYS_open, 1, CHANGES, O_RDONLY},
#endif
};

/* Reading a model needs none of these calls, so a reader that makes one executes code of an attacker and is killed. */
static const short killed_calls[] = {
    SYS_execve, SYS_execveat, SYS_socket, SYS_connect, SYS_bind, SYS_listen, SYS_sendto, SYS_bpf,
    SYS_io_uring_setup, SYS_userfaultfd, SYS_perf_event_open, SYS_mount, SYS_unshare, SYS_setns, SYS_keyctl,
    SYS_process_vm_writev, SYS_finit_module, SYS_kexec_load, TRACING_CALLS OLD_KILLED_CALLS};
/* clang-format on */

/* ---- the filter program ---- */

/* add_step leaves out instructions after the first MAX_STEPS; organ_confine_calls fails if there are so many. */
typedef struct call_filter {
    struct sock_filter steps[MAX_STEPS];
    unsigned short count;
} call_filter;

static void add_step(call_filter *f, uint16_t code, uint32_t k, uint8_t if_true, uint8_t if_false)
{
    if (f->count < MAX_STEPS)
        f->steps[f->count++] = (struct sock_filter){.code = code, .jt = if_true, .jf = if_false, .k = k};
}

static void load_number(call_filter *f)
{
    add_step(f, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr), 0, 0);
}

static void add_return(call_filter *f, uint32_t answer) { add_step(f, BPF_RET | BPF_K, answer, 0, 0); }

/* If the half (32 bits) of an argument, masked by `mask`, is not `value`, the three instructions skip the next
 * `left_out` ones. `at` is the byte offset of the half in seccomp_data. Only the low 32 bits of `mask` and `value`
 * count. */
static void check_half(call_filter *f, uint32_t at, uint64_t mask, uint64_t value, uint8_t left_out)
{
    add_step(f, BPF_LD | BPF_W | BPF_ABS, at, 0, 0);
    add_step(f, BPF_ALU | BPF_AND | BPF_K, (uint32_t)mask, 0, 0);
    add_step(f, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)value, 0, left_out);
}

/* Each failed comparison jumps past the return; HALF is the number of instructions of check_half. The low half of an
 * argument is the first in memory, because the machines are little-endian. Loading an argument replaces the call
 * number in the accumulator, so the number is loaded again for the next rule. */
static void add_call_rule(call_filter *f, const call_rule *r, uint32_t answer)
{
    enum { HALF = 3 };
    const uint32_t at = (uint32_t)(offsetof(struct seccomp_data, args) + 8 * r->argument);
    add_step(f, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)r->number, 0, 2 * HALF + 1);
    check_half(f, at, r->mask, r->value, HALF + 1);
    check_half(f, at + 4, r->mask >> 32, r->value >> 32, 1);
    add_return(f, answer);
    load_number(f);
}

static void add_call_rules(call_filter *f, const call_rule *rules, size_t count, uint32_t answer)
{
    for (size_t k = 0; k < count; k++)
        add_call_rule(f, &rules[k], answer);
}

static void add_calls(call_filter *f, const short *numbers, size_t count, uint32_t answer)
{
    for (size_t k = 0; k < count; k++) {
        add_step(f, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)numbers[k], 0, 1);
        add_return(f, answer);
    }
}
#define ADD_CALLS(filter, calls, answer) add_calls(filter, calls, sizeof(calls) / sizeof *(calls), answer)
#define ADD_RULES(filter, rules, answer) add_call_rules(filter, rules, sizeof(rules) / sizeof *(rules), answer)

static void allow_own_signals(call_filter *f)
{
    const uint64_t self = (uint64_t)getpid();
    const call_rule rules[] = {{SYS_kill, 0, UINT32_MAX, self}, {SYS_tgkill, 0, UINT32_MAX, self}};
    ADD_RULES(f, rules, SECCOMP_RET_ALLOW);
}

/* The first instructions kill a process of another architecture, whose calls have other numbers. ORGAN_CALLS_NO_EXEC
 * forbids only exec; the other filters allow only what their rules name. Calls without a rule fail with EPERM, or
 * with ENOSYS if they are newer than this list, so that the C library uses older ones. */
static void fill_filter(call_filter *f, organ_calls calls)
{
    static const short execs[] = {SYS_execve, SYS_execveat}, unreadable[] = {SYS_clone3};
    f->count = 0;
    add_step(f, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch), 0, 0);
    add_step(f, BPF_JMP | BPF_JEQ | BPF_K, THIS_MACHINE, 1, 0);
    add_return(f, SECCOMP_RET_KILL_PROCESS);
    load_number(f);
    if (calls == ORGAN_CALLS_NO_EXEC) {
        ADD_CALLS(f, execs, SECCOMP_RET_ERRNO | EPERM);
        add_return(f, SECCOMP_RET_ALLOW);
        return;
    }
    ADD_CALLS(f, common_calls, SECCOMP_RET_ALLOW);
    ADD_RULES(f, common_rules, SECCOMP_RET_ALLOW);
    allow_own_signals(f);
    if (calls == ORGAN_CALLS_OF_JOBS) {
        ADD_CALLS(f, job_calls, SECCOMP_RET_ALLOW);
        ADD_RULES(f, job_rules, SECCOMP_RET_ALLOW);
    } else {
        ADD_RULES(f, reader_rules, SECCOMP_RET_ALLOW);
        ADD_CALLS(f, killed_calls, SECCOMP_RET_KILL_PROCESS);
    }
    /* The flags of clone3 are in memory, which a filter cannot read. With ENOSYS the C library uses clone instead. */
    ADD_CALLS(f, unreadable, SECCOMP_RET_ERRNO | ENOSYS);
    add_step(f, BPF_JMP | BPF_JGE | BPF_K, FOREIGN_CALL, 1, 0);
    add_step(f, BPF_JMP | BPF_JGT | BPF_K, NEWEST_CALL, 1, 0);
    add_return(f, SECCOMP_RET_ERRNO | EPERM);
    add_return(f, SECCOMP_RET_ERRNO | ENOSYS);
}

bool organ_seccomp_is_there(void)
{
    const uint32_t action = SECCOMP_RET_KILL_PROCESS;
    return THIS_MACHINE != 0 && syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}

/* E2BIG means that the filter has too many instructions. */
bool organ_confine_calls(organ_calls calls)
{
    call_filter f; /* on the stack: between fork and exec malloc may deadlock */
    fill_filter(&f, calls);
    const struct sock_fprog program = {.len = f.count, .filter = f.steps};
    if (f.count == MAX_STEPS) {
        errno = E2BIG;
        return false;
    }
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0;
}

/* The server cannot disable exec, because its child must still execute this program. ORGAN_CONFINED_VARIABLE has the
 * form NAME=VALUE. */
bool organ_confine_started(void)
{
    static const char mark[] = ORGAN_CONFINED_VARIABLE;
    const char *const name_end = strchr(mark, '=');
    char name[sizeof mark] = "";
    memcpy(name, mark, (size_t)(name_end - mark));
    const char *const value = getenv(name);
    return !value || strcmp(value, name_end + 1) != 0 || organ_confine_calls(ORGAN_CALLS_NO_EXEC);
}
