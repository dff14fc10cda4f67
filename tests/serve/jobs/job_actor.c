/* SPDX-License-Identifier: MIT */
#include "tests/serve/jobs/job_actor.h"

#include "orchestrator/serve/confine/confine.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static void say(const char *event) { fprintf(stderr, "%s\n", event); }

static bool can_open(const char *path, int flags)
{
    const int fd = open(path, flags, 0600);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static bool can_connect(void)
{
    const struct sockaddr_in there = {
        .sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    const bool reached = connect(fd, (const struct sockaddr *)&there, sizeof there) == 0 || errno == ECONNREFUSED;
    close(fd);
    return reached;
}

static int count_files(void)
{
    int count = 0;
    for (int fd = 0; fd < 1024; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

/* Returns the errno of a system call without effect; 0 if it succeeds. */
static int refused(long number, long first, long second, long third)
{
    return syscall(number, first, second, third) < 0 ? errno : 0;
}

/* Tries system calls that no job needs, and reports the errno of each. */
static void try_calls(void)
{
    struct rlimit max = {RLIM_INFINITY, RLIM_INFINITY};
    printf("\"socket\":%d,\"pair\":%d,\"mount\":%d,\"bpf\":%d,\"io_uring\":%d,\"keyctl\":%d,\"unshare\":%d,"
           "\"userfaultfd\":%d,",
           refused(SYS_socket, AF_UNIX, SOCK_STREAM, 0), refused(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0),
           refused(SYS_mount, 0, 0, 0), refused(SYS_bpf, 0, 0, 0), refused(SYS_io_uring_setup, 0, 0, 0),
           refused(SYS_keyctl, 0, 0, 0), refused(SYS_unshare, CLONE_NEWUSER, 0, 0), refused(SYS_userfaultfd, 0, 0, 0));
    printf("\"init_module\":%d,\"execveat\":%d,\"limit\":%d,\"tiocsti\":%d,\"unknown\":%d,",
           refused(SYS_finit_module, -1, 0, 0), refused(SYS_execveat, -1, (long)"", 0),
           setrlimit(RLIMIT_DATA, &max) < 0 ? errno : 0, ioctl(0, TIOCSTI, "x") < 0 ? errno : 0,
           refused(4000, 0, 0, 0));
#ifndef __SANITIZE_ADDRESS__ /* the leak checker uses a second process */
    printf("\"fork\":%d,", refused(SYS_clone, SIGCHLD, 0, 0));
#else
    printf("\"fork\":%d,", EPERM);
#endif
}

/* Reports what a job can and cannot access. */
static int peek(void)
{
    const int inside = can_open("models/peek", O_RDONLY), written = can_open("out/new", O_WRONLY | O_CREAT);
    const int renamed = rename("out/new", "models/new") == 0,
              executed = execl("/bin/sh", "sh", "-c", "exit", (char *)NULL) == 0;
    printf("{\"schema\":\"organ.peek/1\",\"read_inside\":%d,\"write_inside\":%d,\"rename_inside\":%d,\"execute\":%d,",
           inside, written, renamed, executed);
    printf("\"read_link\":%d,\"read_outside\":%d,\"read_passwd\":%d,\"write_outside\":%d,\"write_up\":%d,",
           can_open("leak", O_RDONLY), can_open("../outside", O_RDONLY), can_open("/etc/passwd", O_RDONLY),
           can_open("/tmp/organ-escaped", O_WRONLY | O_CREAT), can_open("../escaped", O_WRONLY | O_CREAT));
    try_calls();
    printf("\"tcp\":%d,\"signal\":%d,\"files\":%d,\"secret\":%d,\"leader\":%d}\n", can_connect(),
           kill(getppid(), 0) == 0, count_files(), getenv("SECRET_TOKEN") != NULL, getpgid(0) == getpid());
    return 0;
}

static int wait_for_a_signal(void)
{
    sigset_t set;
    int number = 0;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    /* Both lines in one write, so that a reader of the first one also gets the second. */
    say("{\"event\":\"begin\",\"what\":\"waiting\",\"bytes\":100,\"tensors\":2}\n"
        "{\"event\":\"advance\",\"bytes\":40,\"of\":100,\"tensors\":1,\"tensor\":\"first\",\"remark\":null}");
    sigwait(&set, &number);
    say("{\"event\":\"error\",\"status\":\"interrupted\",\"code\":130,\"message\":\"stopped\"}");
    return 130;
}

static void be_stubborn(void)
{
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    say("{\"event\":\"begin\",\"what\":\"waiting\",\"bytes\":100,\"tensors\":2}");
    for (;;)
        pause();
}

/* Allocates memory until an allocation fails, at most 8 GB; then exits as a verb without memory does. */
static int eat(void)
{
    enum { BITE = 16 << 20, BITES = 512 };
    int bites = 0;
    while (bites < BITES && malloc(BITE))
        bites++;
    if (bites == BITES) {
        puts("{\"schema\":\"organ.test/1\"}");
        fflush(stdout);
        _exit(0); /* this memory is leaked on purpose, which a leak checker at a normal exit would report */
    }
    fprintf(stderr,
            "{\"event\":\"error\",\"status\":\"input or output\",\"code\":4,\"message\":\"%d MB: Cannot allocate "
            "memory\"}\n",
            bites * 16);
    return 4;
}

/* Prints a result and a log of 4 MB each. */
static int print_long(void)
{
    fputs("{\"schema\":\"organ.test/1\",\"long\":\"", stdout);
    for (int k = 0; k < 4000; k++)
        printf("%01000d", 0);
    puts("\"}");
    for (int k = 0; k < 4000; k++)
        fprintf(stderr, "{\"event\":\"note\",\"text\":\"%0960d\"}\n", k);
    return 0;
}

static bool has_word(int argc, char **argv, const char *word)
{
    for (int k = 0; k < argc; k++)
        if (strcmp(argv[k], word) == 0)
            return true;
    return false;
}

int act_as_job(int argc, char **argv)
{
    if (!organ_confine_started())
        return 4;
    const char *const what = strrchr(argv[argc - 1], '/') ? strrchr(argv[argc - 1], '/') + 1 : argv[argc - 1];
    if (strcmp(what, "peek") == 0)
        return peek();
    if (strcmp(what, "wait") == 0 && !has_word(argc, argv, "--resume"))
        return wait_for_a_signal();
    if (strcmp(what, "stubborn") == 0)
        be_stubborn();
    if (strcmp(what, "crash") == 0)
        raise(SIGKILL);
    for (int k = 0; strcmp(what, "gate") == 0 && k < 12000 && access("go", F_OK) != 0; k++)
        usleep(10000);
    say("{\"event\":\"begin\",\"what\":\"working\",\"bytes\":100,\"tensors\":1}");
    if (strcmp(what, "fail") == 0) {
        say("{\"event\":\"error\",\"status\":\"bad input\",\"code\":3,\"message\":\"the model is broken\"}");
        return 3;
    }
    if (strcmp(what, "hungry") == 0)
        return eat();
    if (strcmp(what, "long") == 0)
        return print_long();
    printf("{\"schema\":\"organ.test/1\",\"words\":%d,\"resumed\":%d}\n", argc, has_word(argc, argv, "--resume"));
    if (strcmp(what, "check") == 0)
        say("{\"event\":\"error\",\"status\":\"check failed\",\"code\":1,\"message\":\"it does not hold\"}");
    return strcmp(what, "check") == 0;
}
