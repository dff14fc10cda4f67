/* SPDX-License-Identifier: MIT
 * The program: organ VERB ARGUMENTS [options]. Finds the verb, parses its options, runs it and prints errors. */
#include "orchestrator/cli/cli_parts.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/serve/confine/confine.h"
#include "orchestrator/serve/models/serve_models.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LARGE_BUFFER = 256 << 10 };

static organ_stop stop;

/* The first signal requests the end of the run; the second ends the process at once. */
static void handle_stop_signal(int number)
{
    if (organ_stop_is_requested(&stop)) {
        signal(number, SIG_DFL);
        raise(number);
    }
    organ_stop_request(&stop);
}

/* SIGPIPE and SIGXFSZ are ignored: a write to a closed pipe then fails with EPIPE, and one beyond the limit of file
 * sizes (ulimit -f) with EFBIG. */
static void catch_signals(void)
{
    const struct sigaction ask = {.sa_handler = handle_stop_signal, .sa_flags = SA_RESTART},
                           ignore = {.sa_handler = SIG_IGN};
    struct sigaction before;
    sigaction(SIGPIPE, &ignore, NULL);
    sigaction(SIGXFSZ, &ignore, NULL);
    /* A signal that was ignored at the start (nohup, background jobs) stays ignored. SIGHUP: the terminal was
     * closed. SIGXCPU: the processor time of the soft limit (ulimit -S -t) is used up. */
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGXCPU};
    for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++)
        if (sigaction(numbers[k], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            sigaction(numbers[k], &ask, NULL);
}

/* Without /dev/null in a closed stream, the next opened file would get the stream's number and receive the program's
 * output. /dev/null is opened in the wrong direction, so every use of it fails. */
static void occupy_standard_streams(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) < 0)
            _exit(ORGAN_IO);
}

/* Reads the command line itself, so that an error of organ_options_parse is also written as an event. */
static bool wants_events(int argc, char *const *argv)
{
    for (int k = 0; k < argc && strcmp(argv[k], "--") != 0; k++)
        if (strcmp(argv[k], "--progress=json") == 0 ||
            (k + 1 < argc && strcmp(argv[k], "--progress") == 0 && strcmp(argv[k + 1], "json") == 0))
            return true;
    return false;
}

static bool starts_with_name(const char *message, const char *name)
{
    const size_t length = strlen(name);
    return strncmp(message, name, length) == 0 && message[length] == ':';
}

/* A wrong usage gets the name of the verb and, on a second line, the command that lists its options. `verb` is NULL if
 * the error is not about one. */
static void print_error(const organ_verb *verb, const organ_error *error, bool events)
{
    const bool usage = verb && error->status == ORGAN_USAGE;
    if (events) {
        organ_event_error(stderr, error);
        return;
    }
    const bool unnamed = usage && !starts_with_name(error->message, verb->name);
    organ_message(stderr, ORGAN_MESSAGE_ERROR, "%s%s%s", unnamed ? verb->name : "", unnamed ? ": " : "",
                  error->message);
    if (usage && strcmp(verb->name, "help") == 0)
        fputs("'organ help' lists all verbs and topics.\n", stderr);
    else if (usage)
        fprintf(stderr, "Try 'organ %s -h'.\n", verb->name);
}

static void print_resume_command(const organ_verb *verb, int argc, char *const *argv)
{
    if (!organ_verb_option(verb, "resume"))
        return;
    organ_message_begin(stderr, ORGAN_MESSAGE_NOTE);
    fprintf(stderr, "to continue: organ %s --resume", verb->name);
    for (int k = 0; k < argc; k++) {
        if (strcmp(argv[k], "--resume") == 0)
            continue;
        fputc(' ', stderr);
        organ_text_hide_secrets(argv[k]);
        if (k > 0 && strcmp(argv[k - 1], "--header") == 0)
            fputs("...", stderr); /* a token */
        else if (strncmp(argv[k], "--header=", strlen("--header=")) == 0)
            fputs("--header=...", stderr);
        else
            organ_shell_word(stderr, argv[k]);
    }
    fputc('\n', stderr);
}

/* `requested` is --ranks, or 0. If it differed from the number of processes, those started without a launcher would
 * each do the whole run and write the same output. */
static organ_status check_launch(const organ_launch *launch, size_t requested, organ_error *error)
{
    if (!requested || requested == launch->count)
        return ORGAN_OK;
    if (!launch->launcher)
        return organ_fail(
            error, ORGAN_USAGE,
            "--ranks %zu, but no launcher has started this process: start it with 'mpirun -n %zu' or 'srun -n %zu'",
            requested, requested, requested);
    return organ_fail(error, ORGAN_USAGE, "--ranks %zu, but %s has started %zu process%s", requested, launch->launcher,
                      launch->count, launch->count == 1 ? "" : "es");
}

/* A launcher (mpirun, srun) may have started several processes. All paths that the run writes are checked before the
 * run, which may take hours. Returns the status on which all ranks have agreed. */
static organ_status run_shared(const organ_verb *verb, const organ_launch *launch, organ_call *call, organ_error *error)
{
    if (check_launch(launch, call->ranks_requested, error))
        return error->status;
    if (launch->count > 1 && !verb->shares)
        return organ_fail(error, ORGAN_USAGE,
                          "%s: cannot share its work among the %zu processes that %s has started: start it as a single "
                          "process",
                          verb->name, launch->count, launch->launcher);
    if (organ_ranks_join(launch, &stop, &call->ranks, error))
        return error->status;
    if (organ_call_resolve_names(verb, call, error) == ORGAN_OK &&
        organ_call_check_outputs(verb, call, error) == ORGAN_OK && call->html &&
        organ_html_file_check(call->html, error) == ORGAN_OK)
        organ_html_file_check_distinct(call->html, verb, call, error);
    if (error->status == ORGAN_OK) {
        organ_call_close_modes(verb, call);
        organ_call_refuse_adapters(verb, call, error);
        if (error->status == ORGAN_OK)
            verb->run(call, error);
        if (error->status != ORGAN_OK)
            organ_call_refuse_adapters(verb, call, error);
    }
    return organ_ranks_sync_status(call->ranks, "the end of the run", error);
}

/* Users of other programs give the name of a data set for a file. */
static void explain_dataset(const organ_verb *verb, const organ_call *call, organ_error *error)
{
    static const char *const texts[] = {"calibration", "text", "tasks", "evaluate", NULL};
    organ_verb_text argument;
    const size_t used = strlen(error->message);
    for (size_t n = 0; error->errnum == ENOENT && organ_verb_text_at(verb, call, n, &argument); n++) {
        const char *const word = *argument.word;
        if (!word || !organ_is_one_of(argument.argument.name, texts) || !starts_with_name(error->message, word) ||
            strpbrk(word, "./"))
            continue;
        snprintf(error->message + used, sizeof error->message - used,
                 "; organ downloads no data sets: give the path of a file");
        return;
    }
}

static void print_end(const organ_verb *verb, int argc, char *const *argv, const organ_call *call,
                      const organ_error *error)
{
    const bool events = call->progress && strcmp(call->progress, "json") == 0;
    if (call->ranks)
        fflush(stdout); /* before organ_ranks_leave lets other ranks end: the launcher may then kill this one */
    if (error->status != ORGAN_OK)
        print_error(verb, error, events);
    /* The message of an interrupted run contains this text only if --resume can continue the run. */
    if (error->status == ORGAN_INTERRUPTED && !events && strstr(error->message, "--resume continues"))
        print_resume_command(verb, argc, argv);
}

static organ_status print_help(const organ_verb *verb, organ_help help, organ_error *error)
{
    const organ_page page = organ_terminal_page(stdout);
    organ_text text;
    ORGAN_OWNED char *words = NULL;
    if (help == ORGAN_HELP_BRIEF) {
        organ_help_brief(stdout, verb, &page);
        return ORGAN_OK;
    }
    if (organ_text_open(&text, error) != ORGAN_OK)
        return error->status;
    organ_help_of_verb(text.out, &organ_all_verbs, verb, &page);
    if (organ_text_finish(&text, &words, error) == ORGAN_OK)
        organ_pager_print(words);
    return error->status;
}

/* Messages of the library name fields of its options: replaces these by the options of the command line. */
static void name_options(const organ_verb *verb, organ_error *error)
{
    char named[sizeof error->message];
    if (!error->status)
        return;
    organ_options_name_fields(verb, error->message, named, sizeof named);
    snprintf(error->message, sizeof error->message, "%s", named);
}

/* Under mpirun or srun only rank 0 prints help and errors; other ranks print the error of the run only if rank 0 is
 * lost. */
static organ_status run_call(const organ_verb *verb, int argc, char *const *argv, organ_call *call, organ_error *error)
{
    const organ_launch launch = organ_launch_find();
    const bool speaks = launch.rank == 0;
    organ_help help = ORGAN_HELP_NONE;
    if (organ_options_parse(verb, argc, argv, call, &help, error) != ORGAN_OK) {
        if (speaks)
            print_error(verb, error, wants_events(argc, argv));
        return error->status;
    }
    if (help)
        return speaks ? print_help(verb, help, error) : ORGAN_OK;
    organ_call_complete(call);
    run_shared(verb, &launch, call, error);
    explain_dataset(verb, call, error);
    name_options(verb, error);
    if (speaks || organ_ranks_without_first(call->ranks))
        print_end(verb, argc, argv, call, error);
    organ_ranks_leave(call->ranks);
    return error->status;
}

static organ_status run_verb(const organ_verb *verb, int argc, char *const *argv, organ_error *error)
{
    ORGAN_OWNED organ_call *const call = organ_call_create(verb, &stop, error);
    if (!call)
        print_error(verb, error, wants_events(argc, argv));
    else
        run_call(verb, argc, argv, call, error);
    if (call)
        organ_arena_release(&call->names);
    return error->status;
}

static bool is_help(const char *word) { return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0; }

/* Runs --help and --version as the verbs help and version. After the first word of several verbs, --help lists these
 * verbs. A command line without a verb ends with 0, as that of cargo does: its text is what a new user asks for. */
static organ_status run_program(int argc, char *const *argv, organ_error *error)
{
    const organ_page page = organ_terminal_page(stdout);
    const char *name = argc > 1 ? argv[1] : "";
    if (argc < 2 || (argc == 2 && strcmp(name, "-h") == 0)) {
        organ_help_start(stdout, &organ_all_verbs, &page);
        return ORGAN_OK;
    }
    if (strcmp(name, ORGAN_COMPLETE) == 0) {
        organ_complete(stdout, &organ_all_verbs, argc - 2, argv + 2);
        return ORGAN_OK;
    }
    if (is_help(name))
        name = "help";
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0)
        name = "version";
    if (argc > 2 && is_help(argv[2]) && organ_help_family(stdout, &organ_all_verbs, name, &page))
        return ORGAN_OK;
    int words = 1;
    const organ_verb *const verb = organ_verb_find(&organ_all_verbs, name, argc > 2 ? argv[2] : NULL, &words, error);
    if (verb)
        return run_verb(verb, argc > 1 + words ? argc - 1 - words : 0, argv + 1 + words, error);
    const bool events = wants_events(argc, argv);
    print_error(/*verb=*/NULL, error, events);
    if (!events)
        fputs("'organ help' lists all verbs.\n", stderr);
    return error->status;
}

/* Lost output is no error if the reader has closed the pipe, as head does; otherwise ORGAN_OK becomes ORGAN_IO. */
static organ_status finish_output(organ_status status, bool events)
{
    organ_error error = {0};
    struct pollfd reader = {.fd = STDOUT_FILENO};
    /* POLLERR on a pipe that is open for writing: the reader has closed it. */
    const bool left = poll(&reader, 1, 0) == 1 && (reader.revents & POLLERR);
    const bool lost = ferror(stdout);
    const bool closed = fclose(stdout) == 0;
    if ((closed && !lost) || left)
        return status;
    organ_fail(&error, ORGAN_IO, "standard output: %s", closed ? "not all output could be written" : strerror(errno));
    print_error(/*verb=*/NULL, &error, events);
    return status == ORGAN_OK ? ORGAN_IO : status;
}

int main(int argc, char **argv)
{
    organ_error error = {0};
    int code;
    /* Buffers of this size are returned to the system when they are freed. By default the C library keeps up to 32 MB
     * of them for each thread, and glibc 2.36 does not use a freed aligned buffer for the next one of its size: with a
     * layer of a thousand matrices the heap grows by hundreds of megabytes. */
    mallopt(M_MMAP_THRESHOLD, LARGE_BUFFER);
    organ_json_watch(/*on=*/true);
    if (!organ_confine_started()) /* a job of the server must not execute other programs */
        return ORGAN_IO;
    if (organ_models_worked(argc, argv, &code)) /* this process is a server's reader of models */
        return code;
    occupy_standard_streams();
    catch_signals();
    setlocale(LC_CTYPE, "");
    /* hwloc's plugins (OpenCL, X displays, PCI) add nothing that is used here, and load libraries that crash without
     * memory. */
    setenv("HWLOC_PLUGINS_PATH", "/dev/null", 0);
    /* Without /sys, hwloc would print errors on stderr although it finds the processors. */
    setenv("HWLOC_HIDE_ERRORS", "2", 0);
    organ_memory_work_begin(); /* never ended, so that it also covers the printing of the report */
    return (int)finish_output(run_program(argc, argv, &error), wants_events(argc, argv));
}
