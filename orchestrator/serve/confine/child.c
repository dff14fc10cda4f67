/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/confine/confine.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

extern char **environ;

/* Selects only the variables that organ needs, so that secrets in the environment of the server do not reach a child.
 * The array has room for all variables, ORGAN_CONFINED_VARIABLE and NULL. */
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

/* Resets the handlers of signals 1 to 31 and the signal mask, because ignored and blocked signals stay so after
 * exec. */
void organ_child_plain_signals(void)
{
    const struct sigaction plain = {.sa_handler = SIG_DFL};
    sigset_t none;
    for (int number = 1; number < 32; number++)
        sigaction(number, &plain, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Duplicates fd, close-on-exec, to the first free number from 10 on: organ_child_place gets lower numbers only. Returns
 * the new descriptor, or -1 with errno. */
int organ_child_move_descriptor(int fd) { return fcntl(fd, F_DUPFD_CLOEXEC, 10); }

/* Duplicates fd to `number`, which stays open after exec. Returns false if that fails. */
bool organ_child_place(int fd, int number) { return fd >= 0 && dup2(fd, number) == number; }

/* Closes `descriptor` and all above it; without close_range, those up to MAX_DESCRIPTORS. */
void organ_child_close_from(int descriptor)
{
    enum { MAX_DESCRIPTORS = 65536 };
    if (syscall(SYS_close_range, (unsigned)descriptor, ~0u, 0u) != 0)
        for (int fd = descriptor; fd < MAX_DESCRIPTORS; fd++) /* Linux before 5.9 has no close_range */
            close(fd);
}
