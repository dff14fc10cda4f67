/* SPDX-License-Identifier: MIT */
#include "orchestrator/cli/cli_parts.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NOT_FOUND = 127 }; /* exit code of a shell that does not find a command */

/* Returns the command of the pager; NULL: none. */
static const char *chosen_pager(void)
{
    const char *const type = getenv("TERM"), *const own = getenv("ORGAN_PAGER"),
                      *const pager = own ? own : getenv("PAGER");
    if (!isatty(STDOUT_FILENO) || !type || !*type || strcmp(type, "dumb") == 0)
        return NULL;
    if (pager && (!*pager || strcmp(pager, "cat") == 0))
        return NULL;
    /* without this test the shell would print that it does not find less */
    return pager ? pager : "command -v less >/dev/null || exit 127; exec less";
}

/* Runs in the child process: signals have their default actions again, as the pager expects. */
static void become_pager(const char *pager, const int ends[2])
{
    static const int numbers[] = {SIGPIPE, SIGXFSZ, SIGINT, SIGQUIT};
    for (size_t k = 0; k < COUNT(numbers); k++)
        signal(numbers[k], SIG_DFL);
    setenv("LESS", "FRX", 0);
    if (dup2(ends[0], STDIN_FILENO) >= 0) {
        close(ends[0]);
        close(ends[1]);
        execl("/bin/sh", "sh", "-c", pager, (char *)NULL);
    }
    _exit(NOT_FOUND);
}

/* A pager that ended early has closed the pipe: the rest of the text is not wanted. */
static void write_whole(int fd, const char *text)
{
    for (size_t left = strlen(text); left > 0;) {
        const ssize_t wrote = write(fd, text, left);
        if (wrote < 0 && errno != EINTR)
            return;
        text += wrote > 0 ? wrote : 0;
        left -= wrote > 0 ? (size_t)wrote : 0;
    }
}

/* Returns whether the pager ran. Ctrl-C belongs to the pager until it ends. */
static bool run_pager(const char *pager, const char *text)
{
    int ends[2], status = 0;
    if (pipe(ends))
        return false;
    void (*const interrupt)(int) = signal(SIGINT, SIG_IGN);
    void (*const quit)(int) = signal(SIGQUIT, SIG_IGN);
    const pid_t child = fork();
    if (child == 0)
        become_pager(pager, ends);
    close(ends[0]);
    if (child > 0)
        write_whole(ends[1], text);
    close(ends[1]);
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    signal(SIGINT, interrupt);
    signal(SIGQUIT, quit);
    return child > 0 && !(WIFEXITED(status) && WEXITSTATUS(status) == NOT_FOUND);
}

void organ_pager_print(const char *text)
{
    const char *const pager = chosen_pager();
    fflush(stdout);
    if (!pager || !run_pager(pager, text))
        fputs(text, stdout);
}
