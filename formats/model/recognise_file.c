/* SPDX-License-Identifier: MIT
 * Recognition of reports by their seal, and of files with weights by their name and their first bytes. */
#include "formats/model/recognise.h"

#include "formats/base/file_calls.h"
#include "formats/base/input_file.h"
#include "formats/base/path.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD_BYTES 4096
#define LINE_START "{\"tensor\":\"" /* the beginning of a line of prune.jsonl */

typedef struct head {
    char bytes[HEAD_BYTES + 1]; /* followed by a NUL */
    size_t length;
    uint64_t size; /* size of the file */
} head;

/* Version 0.2.0 wrote Markdown reports with these names and first lines into the folder organ/ of an output, and
 * sealed none. */
static const struct {
    const char *name, *title;
} unsealed[] = {{"REPORT.md", "# Surgery report: "},
                {"PURIFY_REPORT.md", "# Purification"},
                {"DEQUANTIZE_REPORT.md", "# Dequantisation"},
                {"QUANTIZE_REPORT.md", "# Quantisation"},
                {"LORA_REPORT.md", "# LoRA extraction"},
                {"LORA_MERGE_REPORT.md", "# LoRA merge"},
                {"LORA_RESIZE_REPORT.md", "# An adapter of another rank"},
                {"LORA_SANITIZE_REPORT.md", "# Check of an adapter"},
                {"LORA_SANITIZE_REPORT.md", "# A sanitised adapter"}};

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* With O_NONBLOCK, opening a pipe does not wait for a writer. */
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

static bool head_starts_with(const head *h, const char *text)
{
    return h->length >= strlen(text) && memcmp(h->bytes, text, strlen(text)) == 0;
}

/* A file has the prefix ".PID." (".4711.") while process PID writes it. */
static const char *name_without_draft_prefix(const char *path)
{
    const char *const name = organ_path_name(path);
    const size_t digits = *name == '.' ? strspn(name + 1, "0123456789") : 0;
    return digits && name[digits + 1] == '.' ? name + digits + 2 : name;
}

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

organ_seal_state organ_report_seal_at(int at, const char *path, organ_error *error)
{
    const int fd = organ_open_at(at, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
    if (fd < 0 && organ_is_system_failure(errno))
        organ_fail_errno(error, errno, "%s: cannot be opened", path);
    const organ_seal_state state = fd < 0 ? ORGAN_SEAL_MISSING : organ_seal_check(fd, path, error);
    if (fd >= 0)
        close(fd);
    return state;
}

bool organ_is_report_start_at(int at, const char *path, organ_error *error)
{
    head h;
    if (!read_head(at, path, &h, error))
        return false;
    if (organ_ends_with(path, ".md"))
        return head_starts_with(&h, "# ");
    if (organ_ends_with(path, ".svg"))
        return head_starts_with(&h, "<svg") || head_starts_with(&h, "<?xml");
    if (organ_ends_with(path, ".jsonl"))
        return head_starts_with(&h, LINE_START);
    return head_starts_with(&h, ORGAN_PAGE_START) || has_schema(&h);
}

bool organ_is_document_start_at(int at, const char *path, organ_error *error)
{
    head h;
    return read_head(at, path, &h, error) && has_schema(&h);
}

bool organ_is_page_start_at(int at, const char *path, organ_error *error)
{
    head h;
    return read_head(at, path, &h, error) && head_starts_with(&h, ORGAN_PAGE_START);
}

bool organ_is_unsealed_report_at(int at, const char *path, organ_error *error)
{
    head h;
    if (!read_head(at, path, &h, error))
        return false;
    for (size_t k = 0; k < COUNT(unsealed); k++)
        if (strcmp(path, unsealed[k].name) == 0 && head_starts_with(&h, unsealed[k].title))
            return true;
    if (strcmp(path, "prune.jsonl") == 0)
        return head_starts_with(&h, LINE_START);
    return (organ_ends_with(path, ".html") && head_starts_with(&h, ORGAN_PAGE_START)) ||
           (organ_ends_with(path, ".json") && has_schema(&h));
}

/* A safetensors file begins with the number of bytes of its header (64 bits), then the '{' of the header. */
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
