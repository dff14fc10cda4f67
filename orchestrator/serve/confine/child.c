/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/confine/confine.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

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

/* organ_child_place gets numbers below 10 only. */
int organ_child_move_descriptor(int fd) { return fcntl(fd, F_DUPFD_CLOEXEC, 10); }

bool organ_child_place(int fd, int number) { return fd >= 0 && dup2(fd, number) == number; }

/* Without close_range, closes descriptors up to MAX_DESCRIPTORS. */
void organ_child_close_from(int descriptor)
{
    enum { MAX_DESCRIPTORS = 65536 };
    if (syscall(SYS_close_range, (unsigned)descriptor, ~0u, 0u) != 0)
        for (int fd = descriptor; fd < MAX_DESCRIPTORS; fd++) /* Linux before 5.9 has no close_range */
            close(fd);
}
