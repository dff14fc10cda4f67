/* SPDX-License-Identifier: MIT
 * The list of findings, and checks of a file by its first bytes and its name, and of regular expressions. */
#include "orchestrator/verbs/untrusted/untrusted_parts.h"

#include "formats/base/files.h"
#include "formats/base/format_rest.h"
#include "formats/base/text.h"
#include "orchestrator/report/text/report_text.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Largest number of findings of one kind in the list. */
enum { MAX_LISTED = 200 };

/* For each kind: its name and severity in the report, its title, and the reason why it is dangerous. */
static const struct {
    const char *name, *severity, *title, *why;
} kinds[ORGAN_FINDING_KINDS] = {
    [ORGAN_FINDING_PICKLE] = {"pickle", "high", "Pickles",
                              "A pickle can run any function when a program loads it by torch.load without "
                              "weights_only, by joblib, or by numpy with allow_pickle."},
    [ORGAN_FINDING_PROGRAM] =
        {"program", "high", "Programs next to the weights",
         "Weights need no program. Loaders import files that a config names, and people run files that look useful."},
    [ORGAN_FINDING_REMOTE_CODE] =
        {"remote-code", "high", "Configs that name code to load",
         "With trust_remote_code, or in a loader that follows these keys, the Python code named here runs on loading."},
    [ORGAN_FINDING_TEMPLATE] =
        {"template", "high", "Chat templates that run code or never end",
         "Servers render the chat template for each request. If the renderer has no sandbox, or a flawed one, such a "
         "template runs code (as in CVE-2024-34359 and CVE-2026-5760) or never ends."},
    [ORGAN_FINDING_HEADER] = {"header", "high", "Malformed headers",
                              "A loader that trusts such a header reads or writes outside its memory, or exhausts it."},
    [ORGAN_FINDING_TENSOR] = {"tensor", "high", "Tensors with wrong positions",
                              "They extend past the end, overlap or have another size: a loader that does not check "
                              "reads foreign memory into the "
                              "weights, or writes beyond a buffer."},
    [ORGAN_FINDING_LINK] =
        {"link", "high", "Links out of the directory",
         "A program that copies, serves or loads the model reads another file of this machine instead."},
    [ORGAN_FINDING_NAME] = {"name", "high", "Misleading names",
                            "A person mistakes the file for another one and reviews or trusts the wrong one."},
    [ORGAN_FINDING_TOKENIZER] = {"tokenizer", "medium", "Tokenizers that grow without bound",
                                 "A short text, or loading alone, takes memory or time without limit; ids out of range "
                                 "write outside the tokens."},
    [ORGAN_FINDING_MODEL] = {"model", "medium", "Files that do not form a model",
                             "The loaded model differs from the files' description: shards missing or in excess, sizes "
                             "that do not add up."},
    [ORGAN_FINDING_CONFIG] = {"config", "medium", "Configs that programs read differently",
                              "The program that checks and the program that loads may read different values."},
    [ORGAN_FINDING_DEVICE] = {"device", "medium", "Devices, pipes and sockets",
                              "Opening one can block forever or act on the machine; models have none."},
    [ORGAN_FINDING_ARCHIVE] = {"archive", "low", "Archives",
                               "They were not unpacked: their contents and unpacked size are unknown."},
    [ORGAN_FINDING_UNREAD] = {"unread", "low", "Files that could not be examined",
                              "They were not checked: the verdict is incomplete."},
    [ORGAN_FINDING_NO_WEIGHTS] = {"no-weights", "low", "No weights", "There is no safetensors or GGUF file to check."},
};

/* A finding has the file's name in a member of its own. */
static const char *message_without_file(const char *message, const char *file)
{
    const size_t length = strlen(file);
    return strncmp(message, file, length) == 0 && strncmp(message + length, ": ", 2) == 0 ? message + length + 2
                                                                                          : message;
}

void organ_findings_add(organ_findings *findings, organ_finding_kind kind, const char *where, const char *format, ...)
{
    char sentence[1000];
    if (findings->counts[kind]++ >= MAX_LISTED)
        return;
    ORGAN_FORMAT_REST(sentence, format);
    json_t *const row = ORGAN_OBJECT(SET_TEXT("severity", kinds[kind].severity), SET_TEXT("kind", kinds[kind].name),
                                     SET_BYTES("file", findings->file), SET_BYTES("where", where),
                                     SET_BYTES("what", sentence), SET_TEXT("why", kinds[kind].why));
    if (json_array_append_new(findings->list, row) != 0)
        organ_memory_count_refusal();
}

void organ_findings_add_error(organ_findings *findings, organ_finding_kind kind, const organ_error *error)
{
    if (error->status == ORGAN_OK)
        return;
    if (error->status == ORGAN_IO && error->errnum == ENOMEM)
        organ_memory_count_refusal();
    else if (error->status == ORGAN_IO && organ_is_system_failure(error->errnum))
        findings->failure = findings->failure.status ? findings->failure : *error;
    else
        organ_findings_add(findings, error->status == ORGAN_IO ? ORGAN_FINDING_UNREAD : kind, "", "%s",
                           message_without_file(error->message, findings->file));
}

bool organ_findings_have(const organ_findings *findings, const char *message)
{
    for (size_t k = 0; k < json_array_size(findings->list); k++) {
        const char *const what = organ_json_text(json_array_get(findings->list, k), "what");
        if (*what && (strcmp(message, what) == 0 || organ_ends_with(message, what)))
            return true;
    }
    return false;
}

size_t organ_findings_count(const organ_findings *findings)
{
    size_t count = 0;
    for (size_t k = 0; k < ORGAN_FINDING_KINDS; k++)
        count += findings->counts[k];
    return count;
}

static json_t *kind_json(const void *context, size_t k)
{
    const organ_findings *const findings = context;
    if (findings->counts[k] == 0)
        return NULL;
    return ORGAN_OBJECT(SET_TEXT("kind", kinds[k].name), SET_TEXT("severity", kinds[k].severity),
                        SET_TEXT("title", kinds[k].title), SET_TEXT("why", kinds[k].why),
                        SET_COUNT("findings", findings->counts[k]));
}

json_t *organ_findings_kinds(const organ_findings *findings)
{
    return organ_json_rows(ORGAN_FINDING_KINDS, kind_json, findings);
}

/* ---- formats by first bytes and names ---- */

/* Bytes that are examined at the beginning of a file, and at the end of a zip archive. */
enum { HEAD_BYTES = 4096, TAIL_BYTES = 65536 };

typedef struct sample {
    unsigned char bytes[HEAD_BYTES];
    size_t count;
} sample;

/* Formats that are recognised by the bytes `magic` at `offset` in a file. `what` completes "it is" in the finding. */
static const struct {
    const char *magic;
    size_t offset, length;
    organ_finding_kind kind;
    const char *what;
} magics[] = {
    {"\177ELF", 0, 4, ORGAN_FINDING_PROGRAM, "an executable or a library of Linux (ELF)"},
    {"MZ", 0, 2, ORGAN_FINDING_PROGRAM, "an executable or a library of Windows (PE)"},
    {"\xcf\xfa\xed\xfe", 0, 4, ORGAN_FINDING_PROGRAM, "an executable or a library of macOS (Mach-O)"},
    {"\xce\xfa\xed\xfe", 0, 4, ORGAN_FINDING_PROGRAM, "an executable or a library of macOS (Mach-O)"},
    {"\xca\xfe\xba\xbe", 0, 4, ORGAN_FINDING_PROGRAM, "an executable of macOS or a class of Java"},
    {"\0asm", 0, 4, ORGAN_FINDING_PROGRAM, "a program of WebAssembly"},
    {"#!", 0, 2, ORGAN_FINDING_PROGRAM, "a script, by its first line"},
    {"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 0, 14, ORGAN_FINDING_PICKLE,
     "a pickle of PyTorch before 1.6"},
    {"\x89HDF\r\n\x1a\n", 0, 8, ORGAN_FINDING_PICKLE,
     "an HDF5 file: Keras runs the Python of Lambda layers that one may hold"},
    {"\x1f\x8b", 0, 2, ORGAN_FINDING_ARCHIVE, "compressed by gzip"},
    {"BZh", 0, 3, ORGAN_FINDING_ARCHIVE, "compressed by bzip2"},
    {"\xfd"
     "7zXZ",
     0, 5, ORGAN_FINDING_ARCHIVE, "compressed by xz"},
    {"\x28\xb5\x2f\xfd", 0, 4, ORGAN_FINDING_ARCHIVE, "compressed by zstd"},
    {"\x04\x22\x4d\x18", 0, 4, ORGAN_FINDING_ARCHIVE, "compressed by lz4"},
    {"7z\xbc\xaf\x27\x1c", 0, 6, ORGAN_FINDING_ARCHIVE, "an archive of 7-Zip"},
    {"Rar!", 0, 4, ORGAN_FINDING_ARCHIVE, "an archive of RAR"},
    {"ustar", 257, 5, ORGAN_FINDING_ARCHIVE, "an archive of tar"},
};

/* Formats that are recognised by the end of the file's name. `what` completes "it is" in the finding. */
static const struct {
    const char *end;
    organ_finding_kind kind;
    const char *what;
} endings[] = {
    {".py", ORGAN_FINDING_PROGRAM, "Python source"},
    {".pyc", ORGAN_FINDING_PROGRAM, "compiled Python"},
    {".pyo", ORGAN_FINDING_PROGRAM, "compiled Python"},
    {".pyd", ORGAN_FINDING_PROGRAM, "a Python module in machine code"},
    {".pyx", ORGAN_FINDING_PROGRAM, "Cython source"},
    {".pth", ORGAN_FINDING_PICKLE, "named like a pickle of PyTorch"},
    {".pt", ORGAN_FINDING_PICKLE, "named like a pickle of PyTorch"},
    {".ckpt", ORGAN_FINDING_PICKLE, "named like a pickle of PyTorch"},
    {".pkl", ORGAN_FINDING_PICKLE, "named like a pickle"},
    {".pickle", ORGAN_FINDING_PICKLE, "named like a pickle"},
    {".joblib", ORGAN_FINDING_PICKLE, "named like a pickle of joblib"},
    {".dill", ORGAN_FINDING_PICKLE, "named like a pickle of dill"},
    {".nemo", ORGAN_FINDING_PICKLE, "named like an archive of NeMo, which has pickles"},
    {".mar", ORGAN_FINDING_PICKLE, "named like an archive of TorchServe, which has programs"},
    {".keras", ORGAN_FINDING_PICKLE, "named like a model of Keras, which may hold Python"},
    {".h5", ORGAN_FINDING_PICKLE, "named like a model of Keras, which may hold Python"},
    {".so", ORGAN_FINDING_PROGRAM, "a library of machine code"},
    {".dll", ORGAN_FINDING_PROGRAM, "a library of machine code"},
    {".dylib", ORGAN_FINDING_PROGRAM, "a library of machine code"},
    {".exe", ORGAN_FINDING_PROGRAM, "an executable"},
    {".sh", ORGAN_FINDING_PROGRAM, "a script of the shell"},
    {".bat", ORGAN_FINDING_PROGRAM, "a script of Windows"},
    {".cmd", ORGAN_FINDING_PROGRAM, "a script of Windows"},
    {".ps1", ORGAN_FINDING_PROGRAM, "a script of PowerShell"},
    {".jar", ORGAN_FINDING_PROGRAM, "a program of Java"},
    {".whl", ORGAN_FINDING_PROGRAM, "a package of Python"},
    {".ipynb", ORGAN_FINDING_PROGRAM, "a notebook, which is Python"},
};

/* Formats that the caller of organ_content_check examines further, by the end of the file's name. */
static const struct {
    const char *end;
    organ_content content;
} checked_formats[] = {{".json", ORGAN_CONTENT_JSON},
                       {".jinja", ORGAN_CONTENT_TEMPLATE},
                       {".jinja2", ORGAN_CONTENT_TEMPLATE},
                       {".j2", ORGAN_CONTENT_TEMPLATE},
                       {".yaml", ORGAN_CONTENT_YAML},
                       {".yml", ORGAN_CONTENT_YAML},
                       {".safetensors", ORGAN_CONTENT_SAFETENSORS},
                       {".gguf", ORGAN_CONTENT_GGUF}};

static bool sample_has_magic(const sample *s, size_t offset, const void *magic, size_t length)
{
    return s->count >= offset + length && memcmp(s->bytes + offset, magic, length) == 0;
}

/* Upper and lower case are equal. `end` must not be the whole name. */
static bool name_ends(const char *name, const char *end)
{
    const size_t length = strlen(name), expected = strlen(end);
    return length > expected && strcasecmp(name + length - expected, end) == 0;
}

/* safetensors begin with 8 bytes that are a header length within the file, then with '{' or white space. */
static bool is_safetensors(const sample *s, uint64_t size)
{
    const uint64_t length = s->count > 8 ? organ_little_endian(s->bytes, 8) : 0;
    return length >= 2 && length <= size - 8 && strchr("{ \t\r\n", s->bytes[8]) && s->bytes[8];
}

/* Returns the offset of the next line if the line consists of a Python name with dots; otherwise 0. */
static size_t name_line(const sample *s, size_t at)
{
    const size_t begin = at;
    while (at < s->count && (isalnum(s->bytes[at]) || s->bytes[at] == '_' || s->bytes[at] == '.'))
        at++;
    return at > begin && at < s->count && s->bytes[at] == '\n' ? at + 1 : 0;
}

/* Protocol 0 is text, which begins with a call of a function ("c", then lines with its module and its name), a
 * dictionary, a list, or arguments in parentheses. */
static bool is_text_pickle(const sample *s)
{
    const size_t begin = s->bytes[0] == '('; /* arguments may come before the call */
    const size_t after_module = s->bytes[begin] == 'c' ? name_line(s, begin + 1) : 0;
    const size_t after_name = after_module ? name_line(s, after_module) : 0;
    if (after_name && after_name < s->count)
        return s->bytes[after_name] && strchr("(p}]0NSV)", s->bytes[after_name]) &&
               memchr(s->bytes + after_name, '.', s->count - after_name);
    if (sample_has_magic(s, 0, "(dp", 3) || sample_has_magic(s, 0, "(lp", 3))
        return s->count > 3 && isdigit(s->bytes[3]);
    return (sample_has_magic(s, 0, "(S'", 3) || sample_has_magic(s, 0, "(V", 2)) &&
           memmem(s->bytes, s->count, "\ni", 2) && memchr(s->bytes, '.', s->count);
}

/* Protocols 2 to 5 begin with the byte 0x80 and the number of the protocol. */
static bool is_pickle(const sample *s)
{
    if (s->count < 3)
        return false;
    if (s->bytes[0] == 0x80 && s->bytes[1] >= 2 && s->bytes[1] <= 5)
        return s->bytes[2] != 0;
    return is_text_pickle(s);
}

/* numpy stores elements that are Python objects as a pickle. */
static bool is_object_array(const sample *s)
{
    return sample_has_magic(s, 0, "\x93NUMPY", 6) && memmem(s->bytes, s->count, "|O", 2);
}

/* `count` is at most `size`. Adds a finding and returns false if reading fails. */
static bool read_end(organ_findings *findings, int fd, uint64_t size, void *bytes, size_t count)
{
    organ_error error = {0};
    organ_input_read(fd, findings->file, bytes, count, size - count, &error);
    organ_findings_add_error(findings, ORGAN_FINDING_UNREAD, &error);
    return error.status == ORGAN_OK;
}

/* The first HEAD_BYTES have the archive's first entry, the last TAIL_BYTES its directory. */
static bool zip_has_pickle(organ_findings *findings, const sample *s, int fd, uint64_t size)
{
    static const char *const marks[] = {".pkl", ".pickle"};
    char tail[TAIL_BYTES];
    const size_t bytes = size < TAIL_BYTES ? (size_t)size : TAIL_BYTES;
    const bool read = read_end(findings, fd, size, tail, bytes);
    for (size_t k = 0; k < sizeof marks / sizeof *marks; k++)
        if (memmem(s->bytes, s->count, marks[k], strlen(marks[k])) ||
            (read && memmem(tail, bytes, marks[k], strlen(marks[k]))))
            return true;
    return false;
}

/* Every pickle ends with '.', the opcode STOP. */
static bool ends_with_pickle_stop(organ_findings *findings, int fd, uint64_t size)
{
    char last;
    return size > 0 && read_end(findings, fd, size, &last, 1) && last == '.';
}

/* Returns whether it added a finding. Bare numbers of a tensor (`bare`) can resemble a format by chance: for them a
 * pattern counts only if it has at least 4 bytes, and a pickle only if the last byte is STOP. */
static bool add_by_content(organ_findings *findings, const sample *s, int fd, uint64_t size, bool bare)
{
    const size_t before = organ_findings_count(findings), min_length = bare ? 4 : 0;
    for (size_t k = 0; k < sizeof magics / sizeof *magics; k++)
        if (magics[k].length >= min_length && sample_has_magic(s, magics[k].offset, magics[k].magic, magics[k].length))
            organ_findings_add(findings, magics[k].kind, "", "it is %s", magics[k].what);
    if (organ_findings_count(findings) == before && is_pickle(s) &&
        (!bare || ends_with_pickle_stop(findings, fd, size)))
        organ_findings_add(findings, ORGAN_FINDING_PICKLE, "", "it is a pickle, by its first bytes");
    if (is_object_array(s))
        organ_findings_add(findings, ORGAN_FINDING_PICKLE, "",
                           "it is a NumPy array of Python objects, which are pickled");
    if (sample_has_magic(s, 0, "PK\3\4", 4)) {
        if (zip_has_pickle(findings, s, fd, size))
            organ_findings_add(findings, ORGAN_FINDING_PICKLE, "",
                               "it is a zip archive with pickles in it, as PyTorch writes them");
        else
            organ_findings_add(findings, ORGAN_FINDING_ARCHIVE, "", "it is a zip archive");
    }
    if (!bare && s->count >= 4 && sample_has_magic(s, 2, "\r\n", 2) && s->bytes[1] < 0x10)
        organ_findings_add(findings, ORGAN_FINDING_PROGRAM, "", "it is compiled Python, by its first bytes");
    return organ_findings_count(findings) > before;
}

static void add_finding_by_ending(organ_findings *findings, const char *name)
{
    for (size_t k = 0; k < sizeof endings / sizeof *endings; k++)
        if (name_ends(name, endings[k].end)) {
            organ_findings_add(findings, endings[k].kind, "", "it is %s", endings[k].what);
            return;
        }
}

organ_content organ_content_check(organ_findings *findings, const char *name, int fd, uint64_t size, bool bare)
{
    sample s = {.count = size < HEAD_BYTES ? (size_t)size : HEAD_BYTES};
    organ_error error = {0};
    if (organ_input_read(fd, findings->file, s.bytes, s.count, 0, &error) != ORGAN_OK) {
        organ_findings_add_error(findings, ORGAN_FINDING_UNREAD, &error);
        return ORGAN_CONTENT_OTHER;
    }
    if (bare) {
        add_by_content(findings, &s, fd, size, /*bare=*/true);
        return ORGAN_CONTENT_OTHER;
    }
    if (sample_has_magic(&s, 0, "GGUF", 4))
        return ORGAN_CONTENT_GGUF;
    if (is_safetensors(&s, size))
        return ORGAN_CONTENT_SAFETENSORS;
    if (!add_by_content(findings, &s, fd, size, /*bare=*/false))
        add_finding_by_ending(findings, name);
    for (size_t k = 0; k < sizeof checked_formats / sizeof *checked_formats; k++)
        if (name_ends(name, checked_formats[k].end))
            return checked_formats[k].content;
    return ORGAN_CONTENT_OTHER;
}

/* ---- regular expressions ---- */

/* Limits: bytes of a pattern, depth of nested groups, largest count of a repetition; MANY is the count from which on a
 * repeated group is as risky as one with unlimited repetitions. */
enum { LONGEST = 65536, DEPTH = 256, COUNT_MAX = 1000, MANY = 10 };

/* Quantifiers are such as "*", "+?" or "{2,5}". */
typedef struct quantifier {
    size_t length;     /* bytes of its text; 0: there is no quantifier */
    unsigned long max; /* largest number of repetitions; with `endless` the smallest, 0 for "*" and "+" */
    bool endless;      /* without an upper limit */
    bool possessive;   /* never gives up a match again ("*+"), so that it causes no backtracking */
} quantifier;

/* Parses {N}, {N,} or {N,M} at `p`, and sets q->length to its length. Returns false if there is none. */
static bool read_count(const char *p, size_t remaining, quantifier *q)
{
    char *end;
    if (remaining < 3 || *p != '{' || !((p[1] >= '0' && p[1] <= '9') || p[1] == ','))
        return false;
    q->max = strtoul(p + 1, &end, 10);
    if (*end == ',') {
        const char *const second = end + 1;
        q->endless = *second == '}';
        q->max = q->endless ? q->max : strtoul(second, &end, 10);
        end = q->endless ? (char *)(uintptr_t)second : end;
    }
    if (*end != '}' || (size_t)(end - p) >= remaining)
        return false;
    q->length = (size_t)(end - p) + 1;
    return true;
}

static quantifier quantifier_at(const char *p, size_t remaining)
{
    quantifier q = {0};
    if (remaining > 0 && (*p == '*' || *p == '+'))
        q = (quantifier){.length = 1, .endless = true};
    else if (remaining > 0 && *p == '?')
        q = (quantifier){.length = 1, .max = 1};
    else
        read_count(p, remaining, &q);
    if (q.length && q.length < remaining && (p[q.length] == '+' || p[q.length] == '?')) {
        q.possessive = p[q.length] == '+';
        q.length++;
    }
    return q;
}

/* The character class "[...]" may contain other classes. Returns `length` if it does not end. */
static size_t class_end(const char *p, size_t at, size_t length)
{
    size_t depth = 0;
    for (; at < length; at++) {
        if (p[at] == '\\')
            at++;
        else if (p[at] == '[')
            depth++;
        else if (p[at] == ']' && --depth == 0)
            return at + 1;
    }
    return length;
}

const char *organ_pattern_risk(const char *pattern, size_t length)
{
    bool endless[DEPTH + 1] = {false}; /* for each open group: it contains an unlimited repetition; [0] the pattern */
    size_t depth = 0;
    if (length > LONGEST)
        return "is longer than 64 KiB";
    for (size_t at = 0; at < length;) {
        const char c = pattern[at];
        bool inner = false; /* the current item is a group that contains an unlimited repetition */
        if (c == '(') {
            if (depth == DEPTH)
                return "has groups within groups beyond 256";
            endless[++depth] = false;
            at++;
            at += at < length && pattern[at] == '?'; /* the '?' of "(?:" is not a quantifier */
            continue;
        }
        if (c == ')' && depth > 0)
            inner = endless[depth--];
        if (c == '[')
            at = class_end(pattern, at, length);
        else
            at += c == '\\' ? 2 : 1;
        const quantifier q = at < length ? quantifier_at(pattern + at, length - at) : (quantifier){0};
        at += q.length;
        if (q.max >= COUNT_MAX)
            return "counts to a thousand or more";
        if (inner && !q.possessive && (q.endless || q.max >= MANY))
            return "repeats an unlimited repetition";
        endless[depth] |= (inner || q.endless) && !q.possessive;
    }
    return NULL;
}
