/* SPDX-License-Identifier: MIT
 * Holds a program in the middle of its work, whatever the speed of the machine and the length of its messages.
 *
 *   log_gate LOG WATCHED PROGRAM ARGUMENT...
 *
 * Runs the program with its stderr in a pipe that holds one write, and copies it to LOG. Once the file WATCHED exists,
 * at most PASSING lines about single tensors are read, and none after WATCHED has more lines than at the start (a
 * journal: more than its head and its plan). Then the program waits in a write, and LOG.held exists. When LOG.go exists
 * the rest is copied. LOG.pid has the program's process. Ends as the program did; 128 + N after signal N. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PASSING = 4, PAUSE = 5000 /* microseconds */, PIECE = 4096 };

typedef struct gate {
    const char *log, *watched;
    FILE *to;
    size_t before; /* lines of `watched` at the start */
    size_t passed; /* lines about tensors since `watched` exists */
    char line[PIECE];
    size_t length;
    bool open; /* the rest is copied */
} gate;

/* Counts the lines but that of the plan, which a journal may have after its head before any work is kept. Returns 1 if
 * there is no such file, and sets *exists. */
static size_t lines_of(const char *path, bool *exists)
{
    FILE *const file = fopen(path, "rb");
    char *line = NULL;
    size_t lines = 0, room = 0;
    *exists = file != NULL;
    for (ssize_t length; file && (length = getline(&line, &room, file)) > 0;)
        lines += line[length - 1] == '\n' && !strstr(line, "\"plan\":\"");
    free(line);
    if (file)
        fclose(file);
    return file ? lines : 1;
}

static bool exists(const char *log, const char *ending)
{
    char path[PIECE];
    snprintf(path, sizeof path, "%s%s", log, ending);
    return access(path, F_OK) == 0;
}

static void put(const char *log, const char *ending, int number)
{
    char path[PIECE];
    snprintf(path, sizeof path, "%s%s", log, ending);
    FILE *const file = fopen(path, "w");
    if (!file || fprintf(file, "%d\n", number) < 0 || fclose(file))
        exit(125);
}

/* "[3/50] model.layers.0 ..." and {"event": ..., "tensor": "model.layers.0 ..."} */
static bool is_of_tensor(const char *line) { return *line == '[' || strstr(line, "\"tensor\":\""); }

static void take(gate *g, const char *bytes, size_t count)
{
    fwrite(bytes, 1, count, g->to);
    fflush(g->to);
    for (size_t k = 0; k < count; k++) {
        if (g->length + 1 < sizeof g->line)
            g->line[g->length++] = bytes[k];
        if (bytes[k] != '\n')
            continue;
        g->line[g->length] = '\0';
        g->passed += is_of_tensor(g->line);
        g->length = 0;
    }
}

static void wait_at(gate *g)
{
    bool there = false, held = false;
    while (!g->open) {
        const bool grown = lines_of(g->watched, &there) > g->before;
        if (!there)
            g->passed = 0;
        if (!grown && (!there || g->passed < PASSING))
            return;
        if (grown && !held)
            put(g->log, ".held", 1);
        held = held || grown;
        if (exists(g->log, ".go"))
            g->open = true;
        else
            usleep(PAUSE);
    }
}

static pid_t begin(char **words, int to)
{
    const pid_t child = fork();
    if (child)
        return child;
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    signal(SIGHUP, SIG_DFL);
    dup2(to, STDERR_FILENO);
    execv(words[0], words);
    _exit(127);
}

int main(int count, char **words)
{
    int ends[2], status;
    bool there;
    char bytes[PIECE];
    gate g = {.log = words[1], .watched = words[2]};
    if (count < 4 || pipe2(ends, O_DIRECT | O_CLOEXEC) || fcntl(ends[0], F_SETPIPE_SZ, PIECE) < 0 ||
        !(g.to = fopen(g.log, "wb")))
        return 125;
    g.before = lines_of(g.watched, &there);
    const pid_t child = begin(words + 3, ends[1]);
    close(ends[1]);
    if (child < 0)
        return 125;
    put(g.log, ".pid", (int)child);
    for (;;) {
        wait_at(&g);
        const ssize_t got = read(ends[0], bytes, sizeof bytes);
        if (got == 0 || (got < 0 && errno != EINTR))
            break;
        take(&g, bytes, got > 0 ? (size_t)got : 0);
    }
    fclose(g.to);
    if (waitpid(child, &status, 0) != child)
        return 125;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
