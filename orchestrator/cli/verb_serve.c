/* SPDX-License-Identifier: MIT
 * serve: everything over HTTP. */
#include "orchestrator/cli/verb_parts.h"

static organ_status run(void *context, organ_error *error)
{
    organ_call *const call = context;
    call->serve.quiet = call->quiet;
    call->serve.stop = call->stop;
    call->serve.verbs = call->table->verbs;
    call->serve.verb_count = call->table->count;
    return organ_serve(&call->serve, error);
}

/* clang-format off: tables are laid out by hand */

static const organ_option options[] = {
    {.name = "root", .value = ORGAN_VALUE_TEXT, .argument = "DIR", .required = true, .offset = AT(serve.root),
     .help = "the directory that is served; nothing outside of it is read or written", .names = ORGAN_NAMES_INPUT},
    {.name = "listen", .value = ORGAN_VALUE_TEXT, .argument = "ADDRESS:PORT", .fallback = "127.0.0.1:8935", .offset = AT(serve.listen),
     .help = "where to listen; port 0 takes any that is free"},
    {.name = "token-file", .value = ORGAN_VALUE_TEXT, .argument = "FILE", .offset = AT(serve.token_file),
     .help = "a token of 16 to 1024 characters, without which nobody is answered; needed unless ADDRESS is loopback",
     .names = ORGAN_NAMES_INPUT},
    {.name = "host", .value = ORGAN_VALUE_WORDS, .argument = "NAME", .offset = AT(serve.hosts),
     .help = "a further name by which the server is reached; may be repeated"},
    {.name = "jobs", .value = ORGAN_VALUE_COUNT, .argument = "N", .range = {1, 64, false, false}, .fallback = "1",
     .offset = AT(serve.jobs), .help = "how many jobs run at once; others wait"}};
static const organ_option limits[] = {
    {.name = "connections", .value = ORGAN_VALUE_COUNT, .argument = "N", .range = {4, 65536, false, false}, .fallback = "512",
     .offset = AT(serve.connections), .help = "how many may be open at once"},
    {.name = "per-address", .value = ORGAN_VALUE_COUNT, .argument = "N", .range = {1, 65536, false, false},
     .offset = AT(serve.per_address),
     .help = "how many of them from one address, loopback too; if not given, half. Behind a proxy give it as many as --connections"},
    {.name = "job-memory", .value = ORGAN_VALUE_BYTES, .argument = "SIZE", .range = {10485760.0, 1125899906842624.0, false, false},
     .fallback = "4G", .offset = AT(serve.job_memory),
     .help = "what a job may ask for with --memory; its process is limited to that, 256M, and 128M a thread"},
    {.name = "job-output", .value = ORGAN_VALUE_BYTES, .argument = "SIZE", .range = {65536.0, 1099511627776.0, false, false},
     .fallback = "64M", .offset = AT(serve.job_output), .help = "what one job keeps of its result, and of its log; more is cut"},
    {.name = "keep-bytes", .value = ORGAN_VALUE_BYTES, .argument = "SIZE", .range = {1048576.0, 1125899906842624.0, false, false},
     .fallback = "2G", .offset = AT(serve.keep_bytes), .help = "what all jobs keep together; the oldest go first"},
    {.name = "shelf", .value = ORGAN_VALUE_BYTES, .argument = "SIZE", .range = {1048576.0, 1099511627776.0, false, false},
     .fallback = "256M", .offset = AT(serve.shelf), .help = "memory for the tensor lists of models that were looked at"},
    {.name = "timeout", .value = ORGAN_VALUE_COUNT, .argument = "SECONDS", .range = {1, 3600, false, false}, .fallback = "20",
     .offset = AT(serve.timeout), .help = "in which a request must have arrived, and that a connection may be idle"}};
static const organ_option output[] = {
    {.name = "quiet", .letter = 'q', .value = ORGAN_VALUE_FLAG, .offset = AT(quiet), .help = "no line on stderr for each request"},
    {.name = "help", .letter = 'h', .value = ORGAN_VALUE_FLAG, .offset = AT(help), .help = "show this help"}};
static const organ_option_group groups[] = {{"Options", options, COUNT(options)}, {"Limits", limits, COUNT(limits)},
                                            {"Output", output, COUNT(output)}};
static const organ_example examples[] = {
    {"organ serve --root models", "The page at http://127.0.0.1:8935/, for this machine alone."},
    {"organ serve --root . --listen 0.0.0.0:8935 --token-file token --host box", "For others too, who know the token."},
    {"curl -s 127.0.0.1:8935/api/v1/models", "The models that were found."}};

const organ_verb organ_serve_verb = {
    .name = "serve",
    .summary = "models, reports and all verbs over HTTP, and a page for browsers",
    .about = "Serves one directory: the models in it with their tensors, its files as downloads with ranges, the verbs as jobs, and "
             "a page at / for all of that. /api/v1/openapi.json describes the API, /healthz says whether the server answers, "
             "/metrics has counters for Prometheus.\n"
             "Nothing outside DIR is read or written: paths are resolved by the kernel beneath DIR (openat2), links are not "
             "followed, hidden files are not shown. Without a token only loopback is listened on. With one, requests carry "
             "'Authorization: Bearer TOKEN', or the cookie that the page gets for it. Hosts that are not this server's and requests "
             "from pages of other sites are refused. There is no encryption: for other machines put a proxy with TLS, or a tunnel, "
             "in front.\n"
             "Each request is a line on stderr: address, method, path, status, bytes, time, and why if it was refused. Ctrl-C ends "
             "the server after what it is sending.",
    .groups = groups, .group_count = COUNT(groups), .examples = examples, .example_count = COUNT(examples),
    .exits = "0 it was asked to stop; 2 wrong usage; 3 the token's file is malformed; 4 the directory cannot be opened, or the address not "
             "listened on.",
    .run = run};
