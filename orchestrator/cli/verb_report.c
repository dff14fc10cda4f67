/* SPDX-License-Identifier: MIT
 * report: converts a saved report to a page. schema: prints the JSON Schemas of documents. */
#include "orchestrator/cli/cli_parts.h"

#include "formats/base/files.h"
#include "formats/base/rows.h"
#include "orchestrator/report/schema/schema.h"
#include "orchestrator/report/view/views.h"
#include "orchestrator/serve/serve.h"

#include <organ/report.h>

typedef struct report_call {
    organ_call call;
    const char *saved_report, *saved_page; /* FILE -o PAGE; saved_page NULL: --csv */
} report_call;
#define CALL report_call

/* Largest size in bytes of a report that organ reads. */
#define LARGEST_REPORT ((size_t)64 << 20)

static json_t *load_report(const char *path, organ_error *error)
{
    json_error_t fault;
    ORGAN_OWNED_ROWS char *bytes = NULL;
    size_t length = 0;
    if (organ_input_load_rows(path, path, LARGEST_REPORT, &bytes, &length, error) != ORGAN_OK)
        return NULL;
    bool no_memory;
    json_t *const report = organ_json_load(bytes, length, JSON_REJECT_DUPLICATES, &fault, &no_memory);
    if (no_memory)
        organ_fail(error, ORGAN_IO, "%s: no memory for the report", path);
    else if (!report)
        organ_refuse(error, path, "line %d, column %d: %s", fault.line, fault.column, fault.text);
    /* The seal (formats/model/model_place.h) is of the file; it is no figure of the report. */
    json_object_del(json_object_get(report, "run"), "seal");
    json_object_del(report, "seal");
    return report;
}

static organ_status write_page(const CALL *own, organ_error *error)
{
    ORGAN_OWNED_JSON json_t *const report = load_report(own->saved_report, error);
    ORGAN_OWNED char *html = NULL;
    if (report && organ_html_report(report, &html, error) != ORGAN_OK && error->status == ORGAN_BAD_INPUT) {
        const organ_error fault = *error;
        *error = (organ_error){0};
        organ_fail(error, fault.status, "%s: %s", own->saved_report, fault.message);
    }
    if (html)
        organ_text_write(own->saved_page, html, error);
    return error->status;
}

static organ_status print_csv(const CALL *own, organ_error *error)
{
    ORGAN_OWNED_JSON json_t *const report = load_report(own->saved_report, error);
    organ_error fault = {0};
    if (report && organ_report_csv(report, stdout, &fault) != ORGAN_OK)
        organ_fail(error, fault.status, "%s: %s", own->saved_report, fault.message);
    return error->status;
}

/* organ_engine_room_open allows organ to keep the rows of a large report in a temporary file
 * (formats/base/rows.h). */
static organ_status run_report(void *context, organ_error *error)
{
    const CALL *const own = context;
    organ_engine_room room;
    if (!own->call.csv == !own->saved_page)
        return organ_fail(error, ORGAN_USAGE,
                          own->saved_page ? "--csv and --output exclude each other"
                                          : "--output PAGE (-o) or --csv is missing");
    if ((own->saved_page && organ_html_file_check(own->saved_page, error) != ORGAN_OK) ||
        organ_engine_room_open(&room, &own->call, /*with_engine=*/false, error) != ORGAN_OK)
        return error->status;
    if (own->saved_page)
        write_page(own, error);
    else
        print_csv(own, error);
    return organ_engine_room_close(&room, NULL, error);
}

/* Tables are laid out by hand. */
/* clang-format off */

static const organ_option report_options[] = {
    OUTPUT("PAGE", saved_page, "the page; an existing file is replaced only if it is a page of organ"),
    FLAG("csv", call.csv, "print the rows of the report's main table as CSV, with all digits", .common = true)};

const organ_verb organ_report_verb = {
    .name = "report",
    .summary = "convert a saved report to a web page or to CSV",
    .usage = "FILE -o PAGE\nFILE --csv",
    .about = "Converts the JSON report of any verb to the web page that --html writes. The page contains its "
             "styles, charts and scripts and loads nothing from a network. --csv prints the rows of the main table "
             "instead, as the verb's own --csv does.",
    OPERANDS(OPERAND("FILE", INPUT, saved_report,
                     "a saved report: prune.json, z_report.json, or the output of --json")),
    GROUPS(GROUP("Options", report_options), HELP_GROUP("Output")),
    EXAMPLES({"organ report OUT/organ/prune.json -o prune.html", "Writes the page of a pruning."},
             {"organ audit DONOR OUT --json >a.json; organ report a.json -o a.html",
              "Saves the report of an audit and converts it to a page."},
             {"organ report OUT/organ/quantize.json --csv >tensors.csv", "Writes a line for every tensor."}),
    .exits = {.content = "FILE has no page, or no table"},
    .run = run_report};

/* ---- schema: prints the JSON Schemas of documents ---- */

typedef struct schema_call {
    organ_call call;
    const char *name; /* of a schema; NULL: list all */
} schema_call;
#undef CALL
#define CALL schema_call

WORK(schema_list_work)
{
    *report = organ_schema_list(error);
    return error->status;
}
RUN_WORK(schema_list, false)

static organ_status run_schema(void *context, organ_error *error)
{
    const CALL *const own = context;
    if (!own->name)
        return run_schema_list(context, error);
    if (own->call.html || own->call.csv)
        return organ_fail(error, ORGAN_USAGE,
                          "--%s cannot be combined with the name of a schema: a schema is no report",
                          own->call.html ? "html" : "csv");
    ORGAN_OWNED_JSON json_t *const schema = organ_schema_of(own->name, error);
    if (schema)
        organ_document_print(schema, stdout, error);
    return error->status;
}

const organ_verb organ_schema_verb = {
    .name = "schema",
    .no_job = true,
    .summary = "list the JSON Schemas of reports, or print one",
    .about = "Every document that organ prints with --json or writes names its schema in the member \"schema\". "
             "Without an operand, organ lists all schemas; with one, it prints the JSON Schema (draft 2020-12) of this "
             "name, with types, units, and which members every document has. Objects with fixed members allow no "
             "others. A schema refers to no other file.\n"
             "organ.progress/1 describes the lines of --progress json, which name no schema.",
    OPERANDS(OPTIONAL("NAME", NOTHING, name, "the name of a schema, for example organ.prune/1; default: list all")),
    GROUPS(REPORTING_GROUP),
    EXAMPLES({"organ schema", "Lists the schemas and what writes their documents."},
             {"organ schema organ.prune/1 >prune.schema.json", "Writes a schema to a file for a validator."},
             {"organ schema organ.inspect/1 | jq .properties", "Prints the members of a report of inspect."}),
    .run = run_schema};

/* ---- serve: runs all verbs over HTTP ---- */

CALL_WITH(serve, organ_serve_options);
#undef CALL
#define CALL serve_call

static organ_status run_serve(void *context, organ_error *error)
{
    CALL *const own = context;
    own->serve.quiet = own->call.quiet;
    own->serve.stop = own->call.stop;
    own->serve.verbs = own->call.table;
    return organ_serve(&own->serve, error);
}

static const organ_option serve_options[] = {
    INPUT("root", "DIR", serve.root, "the directory to serve; clients and jobs reach no files outside it, except for "
                                     "models with --caches",
                                     .required = true, .common = true),
    FLAG("caches", serve.caches,
         "serve also the models in the caches of Hugging Face, Ollama and LM Studio, read only, by their names",
         .common = true),
    NUMBER("jobs", "N", serve.jobs,
           "number of jobs that run at the same time; others wait", .range = {1, 64}, .fallback = "1", .common = true)};
static const organ_option access_options[] = {
    TEXT("listen", "ADDRESS:PORT", serve.listen, "address and port to listen on; port 0 chooses a free one",
         .fallback = "127.0.0.1:8935", .common = true),
    INPUT("token-file", "FILE", serve.token_file,
          "tokens of the clients; required unless ADDRESS is loopback. Each line has NAME, ROLE and TOKEN (16 to 1024 "
          "characters). Role read permits only GET, run everything. A file with one word is a run token. organ reads "
          "FILE again when it changes", .common = true),
    INPUT("tls-cert", "FILE", serve.tls_certificate,
          "serve HTTPS with this certificate (PEM: the certificate, then those of its issuers); needs --tls-key",
          .common = true),
    INPUT("tls-key", "FILE", serve.tls_key,
          "key of the certificate (PEM), not readable by other users; on SIGHUP the server reads certificate and key "
          "again", .common = true),
    TEXT("audit-log", "FILE", serve.audit_log,
         "append a line of JSON for each request, with the name of the client; SIGHUP opens it again",
         .names = ORGAN_NAMES_OUTPUT),
    WORDS("trusted-proxy", "ADDRESS[/PREFIX]", serve.proxies,
          "proxy, or network of proxies, whose X-Forwarded-For is trusted; may be repeated"),
    WORDS("host", "NAME", serve.hosts, "further host name by which clients may address the server; may be repeated")};
static const organ_option limits[] = {
    NUMBER("connections", "N", serve.connections, "limit of open connections",
           .range = {4, 65536}, .fallback = "512"),
    NUMBER("per-address", "N", serve.per_address,
           "limit of connections from one network (IPv4 /24, IPv6 /64, or loopback); default: half of --connections. "
           "Behind a proxy set it to --connections, because all clients of the proxy count as one network",
           .range = {1, 65536}),
    BYTES("job-memory", "SIZE", serve.job_memory,
          "largest --memory of a job; its process may use that plus 256M, plus 128M for each thread",
          .range = {10485760.0, 1125899906842624.0}, .fallback = "4G"),
    BYTES("job-output", "SIZE", serve.job_output,
          "size after which the stored result of a job is cut off; the same for its log",
          .range = {65536.0, 1099511627776.0}, .fallback = "64M"),
    BYTES("keep-bytes", "SIZE", serve.keep_bytes,
          "limit of the stored results and logs of all jobs together; beyond it the oldest are removed",
          .range = {1048576.0, 1125899906842624.0}, .fallback = "2G"),
    BYTES("shelf", "SIZE", serve.cache, "memory for cached tensor lists of models",
          .range = {1048576.0, 1099511627776.0}, .fallback = "256M"),
    BYTES("model-memory", "SIZE", serve.model_memory,
          "memory limit for reading one model", .range = {16777216.0, 1125899906842624.0}, .fallback = "2G"),
    NUMBER("model-seconds", "SECONDS", serve.model_seconds, "time limit for reading one model",
           .range = {1, 86400}, .fallback = "120"),
    NUMBER("timeout", "SECONDS", serve.timeout,
           "longest time for a request to arrive, and for a connection to be idle; a client that has not yet sent a "
           "valid token has at most 5 seconds",
           .range = {1, 3600}, .fallback = "20")};
static const organ_option output[] = {
    FLAG("quiet", call.quiet, "do not print requests on stderr", .letter = 'q'),
    FLAG("help", call.help, "show this help", .letter = 'h')};

const organ_verb organ_serve_verb = {
    .name = "serve",
    .common = true,
    .summary = "serve models, reports and all verbs over HTTP",
    .about = "Serves one directory over HTTP: its models with their tensors, its files as downloads (with ranges), and "
             "the verbs as jobs. A job is a process of organ, for example a pruning. A page for browsers at / shows "
             "all of these. /api/v1/openapi.json describes the API, /healthz reports whether the server answers, and "
             "/metrics has counters for Prometheus.\n"
             "Files. Requests and jobs read and write only files under DIR. With --caches they also read the folders "
             "of the caches (organ help models). The kernel enforces these limits (openat2): a symbolic link is "
             "followed only if it stays in the same folder, DIR or a cache. Hidden files are not served. Files of "
             "tokens, keys and logs that options name must be outside DIR and the caches.\n"
             "Confinement. Models are read and jobs are run in separate processes. Landlock and seccomp prevent these "
             "processes from opening files outside DIR and the caches, using the network and executing programs. If "
             "the kernel lacks a part of this, the server prints at the start which operations it cannot prevent.\n"
             "Access. Without --token-file the server listens only on loopback addresses. With it, each request needs "
             "the header 'Authorization: Bearer TOKEN' or the cookie that the page gets for a token. The server "
             "rejects requests for other host names (see --host) and from pages of other sites. Connections are "
             "encrypted only with --tls-cert.\n"
             "Log and signals. The server prints a line for each request on stderr: address, method, path, status, "
             "bytes and time; for a rejected request also the reason. Ctrl-C stops the server after the responses that "
             "it is sending. On SIGHUP it reads tokens, certificate and key again, and opens the audit log again.",
    GROUPS(GROUP("Options", serve_options), GROUP("Access", access_options), GROUP("Limits", limits),
           GROUP("Output", output)),
    EXAMPLES({"organ serve --root models", "Serves http://127.0.0.1:8935/ to this machine only."},
             {"organ serve --root . --caches", "Serves also hf:ORG/NAME, ollama:NAME and lmstudio:PUBLISHER/NAME."},
             {"organ serve --root . --listen 0.0.0.0:8935 --token-file token --host box",
              "Serves other machines; clients need a token."},
             {"organ serve --root . --listen :443 --token-file t --tls-cert c --tls-key k", "Serves HTTPS."},
             {"curl -s 127.0.0.1:8935/api/v1/models", "Lists the models."}),
    .exits = {.done = "stopped by a signal", .content = "all users may read a token file or key"},
    .run = run_serve};
