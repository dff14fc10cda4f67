/* SPDX-License-Identifier: MIT
 * Recognition of reports and files with weights by their name and their first bytes. */
#include "formats/model/recognise.h"

#include "formats/base/file_calls.h"
#include "formats/base/input_file.h"
#include "formats/base/path.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD_BYTES 4096

/* The beginning of a file. */
typedef struct head {
    char bytes[HEAD_BYTES + 1]; /* followed by a NUL */
    size_t length;
    uint64_t size; /* size of the file */
} head;

/* Names of Markdown reports, and the beginnings of their first lines. */
static const struct {
    const char *name, *title;
} markdown[] = {
    {"REPORT.md", "# Surgery report: "}, {"PURIFY_REPORT.md", "# "},        {"DEQUANTIZE_REPORT.md", "# "},
    {"QUANTIZE_REPORT.md", "# "},        {"LORA_REPORT.md", "# "},          {"LORA_MERGE_REPORT.md", "# "},
    {"LORA_RESIZE_REPORT.md", "# "},     {"LORA_SANITIZE_REPORT.md", "# "}, {"PERPLEXITY_REPORT.md", "# "},
    {"EVALUATION_REPORT.md", "# "},      {"TASKS_REPORT.md", "# "},         {"ORTHOGONALITY_REPORT.md", "# "},
    {"NOISE_PAIRS_REPORT.md", "# "},     {"AUTOPSY_REPORT.md", "# "},       {"Z_MEASURE_REPORT.md", "# "},
    {"EXPERTS_REPORT.md", "# "},         {"WIDTH_REPORT.md", "# "},         {"LAYERS_REPORT.md", "# "},
    {"CONVERT_REPORT.md", "# "}};
/* Names of charts, and patterns (of fnmatch) for names of files with a JSON object in each line. */
static const char *const charts[] = {"cosine.svg", "leakage.svg", "magnitude.svg"};
static const char *const lines[] = {"prune.jsonl", "*.prune.jsonl", "journal.jsonl", "measure-????????????????.jsonl",
                                    "shards-????????????????.jsonl"};

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* Returns true if `name` matches one of the `count` patterns of fnmatch. */
static bool matches_one_of(const char *name, const char *const *patterns, size_t count)
{
    for (size_t k = 0; k < count; k++)
        if (fnmatch(patterns[k], name, 0) == 0)
            return true;
    return false;
}

/* Reads the first bytes of the file `name`, relative to the directory `at`, into *h. Returns false if it cannot be
 * opened or is not a regular file. Returns false and sets an error if the system fails or the file cannot be read. With
 * O_NONBLOCK, opening a pipe does not wait for a writer. */
static bool read_head(int at, const char *name, head *h, organ_error *error)
{
    struct stat info;
    const int fd = organ_open_at(at, name, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
    if (fd < 0 && organ_is_system_failure(errno))
        organ_fail_errno(error, errno, "%s: cannot be opened", name);
    if (fd < 0)
        return false;
    const bool regular = fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
    const ssize_t got = regular ? organ_pread_full(fd, h->bytes, HEAD_BYTES, 0) : -1;
    if (regular && got < 0)
        organ_fail_errno(error, errno, "%s: cannot be read", name);
    close(fd);
    if (got < 0)
        return false;
    h->length = (size_t)got;
    h->bytes[h->length] = '\0';
    h->size = (uint64_t)info.st_size;
    return true;
}

/* Returns true if the file begins with `text`. */
static bool head_starts_with(const head *h, const char *text)
{
    return h->length >= strlen(text) && memcmp(h->bytes, text, strlen(text)) == 0;
}

/* Returns true for a Markdown report of organ: the file has a standard name, perhaps after a prefix and a dot
 * ("X.DEQUANTIZE_REPORT.md" belongs to X.gguf), and begins with the title of such a report. */
static bool is_markdown_report(const char *name, const head *h)
{
    for (size_t k = 0; k < COUNT(markdown); k++)
        if (organ_ends_in_words(name, markdown[k].name))
            return head_starts_with(h, markdown[k].title);
    return false;
}

/* Returns the last segment of the path, without the prefix ".PID." (".4711.") that a file has while process PID writes
 * it. */
static const char *name_without_draft_prefix(const char *path)
{
    const char *const name = organ_path_name(path);
    const size_t digits = *name == '.' ? strspn(name + 1, "0123456789") : 0;
    return digits && name[digits + 1] == '.' ? name + digits + 2 : name;
}

/* Returns true if the JSON text begins with a schema of organ, as all documents of this program do. */
static bool has_schema(const head *h)
{
    static const char key[] = "\"schema\"", family[] = "\"organ.";
    const char *p = h->bytes;
    if (h->length == 0 || *p++ != '{')
        return false;
    p += strspn(p, " \n\r\t");
    if (strncmp(p, key, sizeof key - 1) != 0)
        return false;
    p += sizeof key - 1;
    p += strspn(p, " \n\r\t:");
    return strncmp(p, family, sizeof family - 1) == 0;
}

/* Returns true if the name and first bytes of the file `path`, relative to the directory `at`, are those of a file that
 * organ writes about a run: a report (Markdown, HTML or JSON), a chart, a journal, or coverage.tiles. Sets *error if
 * read_head does. */
bool organ_is_report_at(int at, const char *path, organ_error *error)
{
    const char *const name = name_without_draft_prefix(path);
    head h;
    if (!read_head(at, path, &h, error))
        return false;
    if (organ_ends_with(name, ".md"))
        return is_markdown_report(name, &h);
    if (organ_ends_with(name, ".svg"))
        return matches_one_of(name, charts, COUNT(charts)) &&
               (head_starts_with(&h, "<svg") || head_starts_with(&h, "<?xml"));
    if (organ_ends_with(name, ".jsonl"))
        return matches_one_of(name, lines, COUNT(lines)) && (h.size == 0 || head_starts_with(&h, "{"));
    return strcmp(name, "coverage.tiles") == 0 || head_starts_with(&h, ORGAN_PAGE_START) || has_schema(&h);
}

/* Returns true if the name of the file `path`, relative to the directory `at`, ends in .gguf or .safetensors and its
 * first bytes are those of that format. A safetensors file begins with the number of bytes of its header (64 bits),
 * then the '{' of the header. Sets *error if read_head does. */
bool organ_is_weights_at(int at, const char *path, organ_error *error)
{
    const char *const name = name_without_draft_prefix(path);
    head h;
    if (!organ_ends_with(name, ".gguf") && !organ_ends_with(name, ".safetensors"))
        return false;
    if (!read_head(at, path, &h, error))
        return false;
    if (organ_ends_with(name, ".gguf"))
        return head_starts_with(&h, "GGUF");
    return h.length > 8 && organ_little_endian(h.bytes, 8) <= h.size - 8 && h.bytes[8] == '{';
}
