/* SPDX-License-Identifier: MIT
 * serve: everything over HTTP. */
#include "orchestrator/cli/verb_parts.h"
#include "orchestrator/serve/serve.h"

typedef struct serve_call {
    organ_call call;
    organ_serve_options serve;
} serve_call;
#define CALL serve_call

static organ_status run_serve(void *context, organ_error *error)
{
    CALL *const own = context;
    own->serve.quiet = own->call.quiet;
    own->serve.stop = own->call.stop;
    own->serve.verbs = own->call.table;
    return organ_serve(&own->serve, error);
}

/* Tables are laid out by hand. */
/* clang-format off */

static const organ_option options[] = {
    INPUT("root", "DIR", serve.root, "the directory that is served; nothing outside of it is read or written",
                                     .required = true),
    TEXT("listen", "ADDRESS:PORT", serve.listen, "where to listen; port 0 takes any that is free",
         .fallback = "127.0.0.1:8935"),
    INPUT("token-file", "FILE", serve.token_file,
          "who is answered, and to what; needed unless ADDRESS is loopback. A line each: NAME, ROLE (read: GET alone; "
          "run: everything) and TOKEN (16 to 1024 characters); or one token alone. Read again when it changes"),
    INPUT("tls-cert", "FILE", serve.tls_certificate,
          "encrypt, with this certificate (PEM, its issuers' behind it); needs --tls-key"),
    INPUT("tls-key", "FILE", serve.tls_key,
          "its key (PEM), which other users may not read; both are read again on SIGHUP"),
    TEXT("audit-log", "FILE", serve.audit_log,
         "add a line of JSON for each request: who did what; opened again on SIGHUP",
         .names = ORGAN_NAMES_OUTPUT),
    WORDS("trusted-proxy", "ADDRESS[/PREFIX]", serve.proxies,
          "a proxy in front, or a network of them, whose X-Forwarded-For is believed; may be repeated"),
    WORDS("host", "NAME", serve.hosts, "a further name by which the server is reached; may be repeated"),
    NUMBER("jobs", "N", serve.jobs, "how many jobs run at once; others wait", .range = {1, 64}, .fallback = "1")};
static const organ_option limits[] = {
    NUMBER("connections", "N", serve.connections, "how many may be open at once",
           .range = {4, 65536}, .fallback = "512"),
    NUMBER("per-address", "N", serve.per_address,
           "how many of them from one network (IPv4 /24, IPv6 /64), loopback too; if not given, half. Behind a proxy "
           "give it as many as --connections",
           .range = {1, 65536}),
    BYTES("job-memory", "SIZE", serve.job_memory,
          "what a job may ask for with --memory; its process is limited to that, 256M, and 128M a thread",
          .range = {10485760.0, 1125899906842624.0}, .fallback = "4G"),
    BYTES("job-output", "SIZE", serve.job_output,
          "what one job keeps of its result, and of its log; more is cut",
          .range = {65536.0, 1099511627776.0}, .fallback = "64M"),
    BYTES("keep-bytes", "SIZE", serve.keep_bytes,
          "what all jobs keep together; the oldest go first",
          .range = {1048576.0, 1125899906842624.0}, .fallback = "2G"),
    BYTES("shelf", "SIZE", serve.shelf,
          "memory for the tensor lists of models that were looked at",
          .range = {1048576.0, 1099511627776.0}, .fallback = "256M"),
    BYTES("model-memory", "SIZE", serve.model_memory,
          "what reading one model may take", .range = {16777216.0, 1125899906842624.0}, .fallback = "2G"),
    NUMBER("model-seconds", "SECONDS", serve.model_seconds, "what reading one model may last",
           .range = {1, 86400}, .fallback = "120"),
    NUMBER("timeout", "SECONDS", serve.timeout,
           "in which a request must have arrived, and that a connection may be idle; at most 5 until it has shown a "
           "token",
           .range = {1, 3600}, .fallback = "20")};
static const organ_option output[] = {
    FLAG("quiet", call.quiet, "no line on stderr for each request", .letter = 'q'),
    FLAG("help", call.help, "show this help", .letter = 'h')};

const organ_verb organ_serve_verb = {
    .name = "serve",
    .summary = "models, reports and all verbs over HTTP, and a page for browsers",
    .about = "Serves one directory: the models in it with their tensors, its files as downloads with ranges, the verbs "
             "as jobs, and a page at / for all of that. /api/v1/openapi.json describes the API, /healthz says whether "
             "the server answers, /metrics has counters for Prometheus.\n"
             "Nothing outside DIR is read or written: paths are resolved by the kernel beneath DIR (openat2), links "
             "are not followed, hidden files are not shown. Models are read, and jobs done, by processes that the "
             "kernel keeps from other files, from the network and from executing anything (Landlock, seccomp; at the "
             "start it is said what this kernel lacks).\n"
             "Without a token only loopback is listened on. With one, requests carry 'Authorization: Bearer TOKEN', or "
             "the cookie that the page gets for it. Hosts that are not this server's and requests from pages of other "
             "sites are refused. Without --tls-cert nothing is encrypted.\n"
             "Each request is a line on stderr: address, method, path, status, bytes, time, and why if it was refused. "
             "Ctrl-C ends the server after what it is sending; SIGHUP makes it read tokens, certificate and key again "
             "and open the audit log again.",
    GROUPS(GROUP("Options", options), GROUP("Limits", limits), GROUP("Output", output)),
    EXAMPLES({"organ serve --root models", "The page at http://127.0.0.1:8935/, for this machine alone."},
             {"organ serve --root . --listen 0.0.0.0:8935 --token-file token --host box",
              "For others too, who know the token."},
             {"organ serve --root . --listen :443 --token-file t --tls-cert c --tls-key k", "The same, encrypted."},
             {"curl -s 127.0.0.1:8935/api/v1/models", "The models that were found."}),
    .exits = "0 it was asked to stop; 2 wrong usage; 3 a file of tokens, a certificate or a key is malformed, or one "
             "that all users may read; 4 the directory cannot be opened, or the address not listened on.",
    .run = run_serve};
