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
#include <stddef.h>
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

/* The members argument, mask and value of a rule that compares no argument. */
#define ANY 0, 0, 0

/* If `mask` is 0, all calls with this number match; otherwise only those whose argument `argument` (counted from 0),
 * masked by `mask`, is `value`. */
typedef struct call_rule {
    long number;
    unsigned argument;
    uint64_t mask, value;
} call_rule;

/* ---- the rules ---- */

static const call_rule common_rules[] = {
    {SYS_read, ANY},
    {SYS_readv, ANY},
    {SYS_pread64, ANY},
    {SYS_preadv, ANY},
    {SYS_write, ANY},
    {SYS_writev, ANY},
    {SYS_close, ANY},
    {SYS_lseek, ANY},
    {SYS_fstat, ANY},
    {SYS_newfstatat, ANY},
    {SYS_statx, ANY},
    {SYS_fstatfs, ANY},
    {SYS_statfs, ANY},
    {SYS_getdents64, ANY},
    {SYS_readlinkat, ANY},
    {SYS_faccessat, ANY},
    {SYS_faccessat2, ANY},
    {SYS_fadvise64, ANY},
    {SYS_fcntl, ANY},
    {SYS_dup, ANY},
    {SYS_dup3, ANY},
    {SYS_ppoll, ANY},
    {SYS_getcwd, ANY},
    {SYS_munmap, ANY},
    {SYS_mremap, ANY},
    {SYS_madvise, ANY},
    {SYS_brk, ANY},
    {SYS_futex, ANY},
    {SYS_sched_yield, ANY},
    {SYS_sched_getaffinity, ANY},
    {SYS_getcpu, ANY},
    {SYS_clock_gettime, ANY},
    {SYS_clock_getres, ANY},
    {SYS_clock_nanosleep, ANY},
    {SYS_nanosleep, ANY},
    {SYS_gettimeofday, ANY},
    {SYS_getrandom, ANY},
    {SYS_uname, ANY},
    {SYS_sysinfo, ANY},
    {SYS_getpid, ANY},
    {SYS_gettid, ANY},
    {SYS_getppid, ANY},
    {SYS_getuid, ANY},
    {SYS_geteuid, ANY},
    {SYS_getgid, ANY},
    {SYS_getegid, ANY},
    {SYS_getpgid, ANY},
    {SYS_getrusage, ANY},
    {SYS_times, ANY},
    {SYS_rt_sigaction, ANY},
    {SYS_rt_sigprocmask, ANY},
    {SYS_rt_sigreturn, ANY},
    {SYS_sigaltstack, ANY},
    {SYS_restart_syscall, ANY},
    {SYS_exit, ANY},
    {SYS_exit_group, ANY},
    {SYS_prctl, 0, UINT32_MAX, PR_SET_NAME},
    {SYS_prctl, 0, UINT32_MAX, 0x53564d41 /* PR_SET_VMA: malloc names its memory */},
    {SYS_prctl, 0, UINT32_MAX, PR_GET_DUMPABLE},
    {SYS_prlimit64, 2, UINT64_MAX, 0 /* reads limits, but sets none */},
#ifdef SYS_stat
    {SYS_stat, ANY},
    {SYS_lstat, ANY},
    {SYS_access, ANY},
    {SYS_readlink, ANY},
    {SYS_poll, ANY},
    {SYS_time, ANY},
    {SYS_dup2, ANY},
    {SYS_getrlimit, ANY},
    {SYS_getpgrp, ANY},
    {SYS_arch_prctl, ANY},
#endif
#if ORGAN_SANITIZED
    {SYS_ptrace, ANY},
    {SYS_clone, ANY},
    {SYS_wait4, ANY},
    {SYS_kill, ANY},
    {SYS_tgkill, ANY},
    {SYS_prctl, ANY},
    {SYS_personality, ANY},
    {SYS_pipe2, ANY},
    {SYS_process_vm_readv, ANY},
    {SYS_mmap, ANY},
    {SYS_mprotect, ANY},
#ifdef SYS_getdents
    {SYS_getdents, ANY},
#endif
    {SYS_prlimit64, 1, UINT32_MAX, RLIMIT_CORE},
    {SYS_prlimit64, 1, UINT32_MAX, RLIMIT_STACK},
#ifdef SYS_pipe
    {SYS_pipe, ANY},
#endif
#endif
};

/* Jobs create files and threads, and place memory and threads on processors. */
static const call_rule job_rules[] = {
    {SYS_openat, ANY},
    {SYS_openat2, ANY},
    {SYS_pwrite64, ANY},
    {SYS_pwritev, ANY},
    {SYS_ftruncate, ANY},
    {SYS_truncate, ANY},
    {SYS_fallocate, ANY},
    {SYS_fsync, ANY},
    {SYS_fdatasync, ANY},
    {SYS_sync_file_range, ANY},
    {SYS_syncfs, ANY},
    {SYS_msync, ANY},
    {SYS_copy_file_range, ANY},
    {SYS_sendfile, ANY},
    {SYS_flock, ANY},
    {SYS_mkdirat, ANY},
    {SYS_unlinkat, ANY},
    {SYS_renameat, ANY},
    {SYS_renameat2, ANY},
    {SYS_linkat, ANY},
    {SYS_symlinkat, ANY},
    {SYS_fchmod, ANY},
    {SYS_fchmodat, ANY},
    {SYS_utimensat, ANY},
    {SYS_umask, ANY},
    {SYS_chdir, ANY},
    {SYS_fchdir, ANY},
    {SYS_fgetxattr, ANY},
    {SYS_readahead, ANY},
    {SYS_mmap, ANY},
    {SYS_mprotect, ANY},
    {SYS_mlock, ANY},
    {SYS_munlock, ANY},
    {SYS_mincore, ANY},
    {SYS_membarrier, ANY},
    {SYS_rseq, ANY},
    {SYS_set_tid_address, ANY},
    {SYS_set_robust_list, ANY},
    {SYS_get_robust_list, ANY},
    {SYS_clone, 0, CLONE_THREAD, CLONE_THREAD},
    {SYS_sched_setaffinity, ANY},
    {SYS_sched_getscheduler, ANY},
    {SYS_sched_getparam, ANY},
    {SYS_sched_get_priority_max, ANY},
    {SYS_sched_get_priority_min, ANY},
    {SYS_getpriority, ANY},
    {SYS_mbind, ANY},
    {SYS_set_mempolicy, ANY},
    {SYS_get_mempolicy, ANY},
    {SYS_move_pages, ANY},
    {SYS_rt_sigtimedwait, ANY},
    {SYS_rt_sigpending, ANY},
    {SYS_rt_sigsuspend, ANY},
    {SYS_pipe2, ANY},
    {SYS_eventfd2, ANY},
    {SYS_epoll_create1, ANY},
    {SYS_epoll_ctl, ANY},
    {SYS_epoll_pwait, ANY},
    {SYS_timer_create, ANY},
    {SYS_timer_settime, ANY},
    {SYS_timer_delete, ANY},
    {SYS_setitimer, ANY},
    {SYS_getitimer, ANY},
    {SYS_pselect6, ANY},
    {SYS_ioctl, 1, UINT32_MAX, FICLONE},
    {SYS_ioctl, 1, UINT32_MAX, FICLONERANGE},
    {SYS_ioctl, 1, UINT32_MAX, TCGETS},
    {SYS_ioctl, 1, UINT32_MAX, TIOCGWINSZ},
    {SYS_ioctl, 1, UINT32_MAX, FIONREAD},
    {SYS_prlimit64, 1, UINT32_MAX, RLIMIT_NOFILE},
    {SYS_prctl, 0, UINT32_MAX, PR_SET_NO_NEW_PRIVS},
    {SYS_seccomp, ANY},
    {SYS_execveat, 0, UINT32_MAX, ORGAN_PROGRAM_DESCRIPTOR}, /* until ORGAN_CALLS_NO_EXEC */
#ifdef SYS_open
    {SYS_open, ANY},
    {SYS_creat, ANY},
    {SYS_mkdir, ANY},
    {SYS_rmdir, ANY},
    {SYS_unlink, ANY},
    {SYS_rename, ANY},
    {SYS_link, ANY},
    {SYS_symlink, ANY},
    {SYS_chmod, ANY},
    {SYS_select, ANY},
    {SYS_pause, ANY},
    {SYS_pipe, ANY},
    {SYS_epoll_wait, ANY},
    {SYS_alarm, ANY},
#endif
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
static const call_rule killed_calls[] = {
    {SYS_execve, ANY},         {SYS_execveat, ANY},    {SYS_socket, ANY},          {SYS_connect, ANY},
    {SYS_bind, ANY},           {SYS_listen, ANY},      {SYS_sendto, ANY},          {SYS_bpf, ANY},
    {SYS_io_uring_setup, ANY}, {SYS_userfaultfd, ANY}, {SYS_perf_event_open, ANY}, {SYS_mount, ANY},
    {SYS_unshare, ANY},        {SYS_setns, ANY},       {SYS_keyctl, ANY},          {SYS_process_vm_writev, ANY},
    {SYS_finit_module, ANY},   {SYS_kexec_load, ANY},
#if !ORGAN_SANITIZED
    {SYS_ptrace, ANY},         {SYS_clone, ANY},
#endif
#ifdef SYS_fork
    {SYS_fork, ANY},           {SYS_vfork, ANY},
#endif
};

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
    if (r->mask) {
        add_step(f, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)r->number, 0, 2 * HALF + 1);
        check_half(f, at, r->mask, r->value, HALF + 1);
        check_half(f, at + 4, r->mask >> 32, r->value >> 32, 1);
    } else
        add_step(f, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)r->number, 0, 1);
    add_return(f, answer);
    if (r->mask)
        load_number(f);
}

static void add_call_rules(call_filter *f, const call_rule *rules, size_t count, uint32_t answer)
{
    for (size_t k = 0; k < count; k++)
        add_call_rule(f, &rules[k], answer);
}
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
    static const call_rule execs[] = {{SYS_execve, ANY}, {SYS_execveat, ANY}}, unreadable[] = {{SYS_clone3, ANY}};
    f->count = 0;
    add_step(f, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch), 0, 0);
    add_step(f, BPF_JMP | BPF_JEQ | BPF_K, THIS_MACHINE, 1, 0);
    add_return(f, SECCOMP_RET_KILL_PROCESS);
    load_number(f);
    if (calls == ORGAN_CALLS_NO_EXEC) {
        ADD_RULES(f, execs, SECCOMP_RET_ERRNO | EPERM);
        add_return(f, SECCOMP_RET_ALLOW);
        return;
    }
    ADD_RULES(f, common_rules, SECCOMP_RET_ALLOW);
    allow_own_signals(f);
    if (calls == ORGAN_CALLS_OF_JOBS)
        ADD_RULES(f, job_rules, SECCOMP_RET_ALLOW);
    else {
        ADD_RULES(f, reader_rules, SECCOMP_RET_ALLOW);
        ADD_RULES(f, killed_calls, SECCOMP_RET_KILL_PROCESS);
    }
    /* The flags of clone3 are in memory, which a filter cannot read. With ENOSYS the C library uses clone instead. */
    ADD_RULES(f, unreadable, SECCOMP_RET_ERRNO | ENOSYS);
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
