/* SPDX-License-Identifier: MIT
 * Tests of inspect --untrusted: one attack per row, with the kind and text of the finding; and files without
 * findings. */
#include <organ/inspect.h>

#include <organ/report.h>
#include "tests/kit/gguf_maker.h"
#include "tests/kit/scratch_model.h"
#include "tests/kit/suite_table.h"
#include "tests/verbs/untrusted/check_untrusted.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Makes a valid model in scratch/m. */
static void sound_model(void)
{
    ck_assert_int_eq(mkdir(scratch_path("m"), 0700), 0);
    scratch_tensors("m/model.safetensors", "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4);
    scratch_text("m/config.json", "{\"model_type\":\"llama\",\"auto_map\":null,\"trust_remote_code\":false}");
}

static json_t *look_at(const char *name, organ_status expected)
{
    organ_error error = {0};
    json_t *report = NULL;
    const int before = open_files();
    const organ_status status =
        organ_untrusted(&(organ_untrusted_options){.model = scratch_path(name)}, &report, &error);
    ck_assert_msg(status == expected, "%s: status %d: %s", name, status, error.message);
    ck_assert_int_eq(open_files(), before);
    return report;
}

void expect_clean(const char *name) { json_decref(look_at(name, ORGAN_OK)); }

void expect_finding(const char *name, const char *kind, const char *file, const char *where, const char *what)
{
    json_t *const report = look_at(name, ORGAN_CHECK_FAILED), *one;
    bool found = false;
    size_t k;
    json_array_foreach(json_object_get(report, "findings"), k, one)
    {
        found |= strcmp(organ_json_text(one, "kind"), kind) == 0 &&
                 (!*file || strcmp(organ_json_text(one, "file"), file) == 0) &&
                 strstr(organ_json_text(one, "where"), where) && strstr(organ_json_text(one, "what"), what);
    }
    char *const text = json_dumps(json_object_get(report, "findings"), 0);
    ck_assert_msg(found, "no %s in %s, %s: %s, but %.2000s", kind, file, where, what, text);
    free(text);
    json_decref(report);
}

size_t findings_in(const char *name)
{
    organ_error error = {0};
    json_t *report = NULL;
    organ_untrusted(&(organ_untrusted_options){.model = scratch_path(name)}, &report, &error);
    const size_t count = (size_t)organ_json_count(report, "findings_in_all");
    json_decref(report);
    return count;
}

/* ---- files with unexpected content and names ---- */

typedef struct odd_file {
    const char *name, *bytes;
    size_t length;
    const char *kind, *what;
} odd_file;

#define BYTES(text) (text), sizeof(text) - 1
#define PICKLED     "cposix\nsystem\n(S'id'\ntR."

static const odd_file odd_files[] = {
    {"pytorch_model.bin", BYTES("\x80\x02}q\0."), "pickle", "a pickle, by its first bytes"},
    {"torch.bin",
     BYTES("\x80\x02\x8a\nl\xfc\x9c"
           "F\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."),
     "pickle", "PyTorch before 1.6"},
    {"weights.dat", BYTES("\x80\x04\x95\x10\0\0\0\0\0\0\0\x8c\x05posix."), "pickle", "a pickle, by its first bytes"},
    {"old.bin", BYTES(PICKLED), "pickle", "a pickle, by its first bytes"},
    {"list.dat", BYTES("(lp0\nI1\na."), "pickle", "a pickle, by its first bytes"},
    {"dict.dat", BYTES("(dp0\n."), "pickle", "a pickle, by its first bytes"},
    {"inst.dat", BYTES("(S'id'\nios\nsystem\n."), "pickle", "a pickle, by its first bytes"},
    {"mark.dat", BYTES("(cos\nsystem\nS'id'\no."), "pickle", "a pickle, by its first bytes"},
    {"labels.txt", BYTES("cat\ndog\nbird\n."), "", ""},
    {"NOTICE", BYTES("(c) 2026 Somebody\nAll of it.\n"), "", ""},
    {"archive.bin", BYTES("PK\3\4\24\0\0\0\0\0archive/data.pklcode"), "pickle", "a zip archive with pickles in it"},
    {"arrays.npz", BYTES("PK\3\4\24\0\0\0\0\0a.npy\x93NUMPY"), "archive", "a zip archive"},
    {"notes.zip", BYTES("PK\3\4\24\0\0\0\0\0hello.txt"), "archive", "a zip archive"},
    {"array.npy", BYTES("\x93NUMPY\1\0v\0{'descr': '|O', 'fortran_order': False}"), "pickle", "Python objects"},
    {"model.h5.dat", BYTES("\x89HDF\r\n\x1a\n\0\0"), "pickle", "HDF5"},
    {"scaler.PKL", BYTES("text"), "pickle", "named like a pickle"},
    {"model.pt", BYTES(""), "pickle", "named like a pickle of PyTorch"},
    {"modeling_x.py", BYTES("import os\n"), "program", "Python source"},
    {"cache.bin", BYTES("\x55\x0d\r\n\0\0\0\0"), "program", "compiled Python"},
    {"kernel.dat", BYTES("\177ELF\2\1\1"), "program", "ELF"},
    {"setup", BYTES("#!/bin/sh\nid\n"), "program", "a script, by its first line"},
    {"demo.ipynb", BYTES("{}"), "program", "a notebook"},
    {"more.tar.gz", BYTES("\x1f\x8b\x08\0"), "archive", "gzip"},
    {"config.yaml", BYTES("a: !!python/object/apply:os.system ['id']\n"), "remote-code", "!!python"},
    {"conf.yml", BYTES("model:\n  _target_: os.system\n"), "remote-code", "_target_"},
    {"extra.json", BYTES("{\"a\":1,\"a\":2}"), "config", "duplicate"},
    {"broken.json", BYTES("{\"a\":"), "config", ""},
    /* names */
    {"c\xd0\xbenfig.json", BYTES("{}"), "name", "looks like 'config.json'"},
    {"m\xd0\xbe"
     "del.safetensors",
     BYTES("x"), "name", "looks like 'model.safetensors', but has U+043E"},
    {"mode1.safetensors", BYTES("x"), "name", "looks like 'model.safetensors' but differs"},
    {"rnodel.safetensors.txt", BYTES("x"), "", ""},
    {"rnerges.txt", BYTES("x"), "name", "looks like 'merges.txt'"},
    {"\xef\xbd\x83onfig.json", BYTES("{}"), "name", "looks like 'config.json'"},
    {"we\xd1\x96ghts.txt", BYTES("x"), "name", "U+0456, which only looks like 'i'"},
    {"model\xe2\x80\x8b.txt", BYTES("x"), "name", "U+200B"},
    {"gnp.\xe2\x80\xaetxt", BYTES("x"), "name", "U+202E"},
    {"bad\xff.txt", BYTES("x"), "name", "not valid UTF-8"},
    {"config.json ", BYTES("{}"), "name", "ends with a space"},
    {"r\xc3\xa9sum\xc3\xa9.txt", BYTES("x"), "", ""},
    {"\xd0\xb4\xd0\xb0\xd0\xbd\xd0\xbd\xd1\x8b\xd0\xb5", BYTES("x"), "", ""},
    {"README.md", BYTES("# x\n"), "", ""},
    {"notes.bin", BYTES("hello"), "", ""},
    {"numbers.npy", BYTES("\x93NUMPY\1\0v\0{'descr': '<f4'}"), "", ""},
};

START_TEST(files_are_told_by_content_and_name)
{
    for (size_t k = 0; k < COUNT(odd_files); k++) {
        const odd_file *const odd = &odd_files[k];
        char path[200];
        snprintf(path, sizeof path, "m/%s", odd->name);
        scratch_file(path, odd->bytes, odd->length);
        if (*odd->kind)
            expect_finding("m", odd->kind, "", "", odd->what);
        else
            expect_clean("m");
        ck_assert_int_eq(remove(scratch_path(path)), 0);
    }
    expect_clean("m");
}
END_TEST

/* A safetensors header of 640 bytes begins like a pickle of protocol 2. */
START_TEST(a_header_of_640_bytes_is_no_pickle)
{
    char header[641];
    snprintf(header, sizeof header, "%-640s", "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}");
    scratch_tensors("m/model.safetensors", header, 4);
    expect_clean("m");
}
END_TEST

START_TEST(every_fault_is_told)
{
    ck_assert_int_eq(mkdir(scratch_path("m/sub"), 0700), 0);
    scratch_tensors("m/model.safetensors",
                    "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
                    "\"over\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[2,6]},"
                    "\"short\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[4,8]},"
                    "\"past\":{\"dtype\":\"U8\",\"shape\":[9],\"data_offsets\":[4,13]},"
                    "\"type\":{\"dtype\":\"F3\",\"shape\":[4],\"data_offsets\":[4,8]},"
                    "\"h\\u200bidden\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[6,8]}}",
                    8);
    scratch_text("m/sub/x.py", "");
    scratch_text("m/config.json",
                 "{\"text_config\":{\"auto_map\":{\"AutoModel\":\"evil--m.Model\"}},\"trust_remote_code\":true}");
    expect_finding("m", "tensor", "model.safetensors", "",
                   "tensor 'over': data_offsets begin 2 overlaps tensor 'a', which ends at 4");
    expect_finding("m", "tensor", "model.safetensors", "",
                   "tensor 'short': shape [4] of F32 needs 16 bytes, but data_offsets span 4");
    expect_finding("m", "tensor", "model.safetensors", "",
                   "tensor 'past': data_offsets end 13 is past the end of the data (8)");
    expect_finding("m", "tensor", "model.safetensors", "", "tensor 'type': dtype \"F3\" is not a known type");
    expect_finding("m", "name", "model.safetensors", "", "has U+200B");
    expect_finding("m", "program", "sub/x.py", "", "Python source");
    expect_finding("m", "remote-code", "config.json", "text_config.auto_map", "{\"AutoModel\":\"evil--m.Model\"}");
    expect_finding("m", "remote-code", "config.json", "trust_remote_code", "run code of the model");
    ck_assert_uint_eq(findings_in("m"), 8);
}
END_TEST

/* ---- configurations ---- */

typedef struct text_case {
    const char *text, *kind, *where, *what; /* kind "": no finding */
} text_case;

static const text_case configs[] = {
    {"{\"auto_map\":{\"AutoConfig\":\"c.C\"}}", "remote-code", "auto_map", "c.C"},
    {"{\"a\":[{\"b\":{\"auto_map\":{\"A\":\"c.C\"}}}]}", "remote-code", "a.b.auto_map", "c.C"},
    {"{\"auto\\u005fmap\":{\"A\":\"c.C\"}}", "remote-code", "map", "c.C"},
    {"{\"auto_map\":{}}", "", "", ""},
    {"{\"x\":\"auto_map\"}", "", "", ""},
    {"{\"trust_remote_code\":1}", "remote-code", "trust_remote_code", ""},
    {"{\"_target_\":\"os.system\"}", "remote-code", "_target_", "os.system"},
    {"{\"auto_mapping\":{\"parent_library\":\"evil\"}}", "remote-code", "auto_mapping.parent_library", "'evil'"},
    {"{\"auto_mapping\":{\"parent_library\":\"transformers.models.llama\"}}", "", "", ""},
    {"{\"chat_template\":[{\"name\":\"default\",\"template\":\"x\"},{\"name\":\"tools\",\"template\":\"{{ x.__class__ "
     "}}\"}]}",
     "template", "chat_template 'tools', line 1", "'__class__'"},
    {"{\"chat_template\":{\"a\":\"{{ x.__class__ }}\"}}", "template", "chat_template 'a'", "'__class__'"},
};

START_TEST(configurations_that_ask_for_code)
{
    for (size_t k = 0; k < COUNT(configs); k++) {
        scratch_text("m/preprocessor_config.json", configs[k].text);
        if (*configs[k].kind)
            expect_finding("m", configs[k].kind, "preprocessor_config.json", configs[k].where, configs[k].what);
        else
            expect_clean("m");
    }
}
END_TEST

/* ---- chat templates ---- */

static const text_case templates[] = {
    {"{{ ''.__class__.__mro__[1].__subclasses__() }}", "template", "line 1", "'__class__'"},
    {"a\n\n{% if x %}{{ cycler.__init__.__globals__.os.popen('id').read() }}{% endif %}", "template", "line 3",
     "'__init__'"},
    {"{{ x['__class__'] }}", "template", "", "'__class__'"},
    {"{{ x|attr('name') }}", "template", "", "filter 'attr'"},
    {"{{ x | attr ( y ) }}", "template", "", "filter 'attr'"},
    {"{{ xs|map('attr', y)|list }}", "template", "", "map('attr')"},
    {"{% filter attr('x') %}{% endfilter %}", "template", "", "filter 'attr'"},
    {"{{ x['__cla' ~ 'ss__'] }}", "template", "", "'__class__'"},
    {"{{ x['__cla' + 'ss__'] }}", "template", "", "'__class__'"},
    {"{{ x[['__','class','__']|join] }}", "template", "", "piece of such a name"},
    {"{% set a = '__cl' %}{{ x[a ~ b] }}", "template", "", "'__cl' is a piece"},
    {"{{ x['_' * 2 ~ y] }}", "template", "", "'_' is a piece"},
    {"{{ x['\\x5f\\x5fclass\\x5f\\x5f'] }}", "template", "", "'__class__'"},
    {"{{ x['\\u005f\\137class\\137\\137'] }}", "template", "", "'__class__'"},
    {"{{ x['__ssalc__'|reverse] }}", "template", "", "'__ssalc__'"},
    {"{{ x['XXsubclassesXX'|replace('X','_')]() }}", "template", "", "'subclasses'"},
    {"{{ x[('%c'|format(95))*2] }}", "template", "", "characters from numbers"},
    {"{{ x['{0:c}'.format(95)] }}", "template", "", "characters from numbers"},
    {"{{ x[dict(sub=1,cls=2)|join] }}", "template", "", "dict(...) | join"},
    {"{{ self._TemplateReference__context }}", "template", "", "'_TemplateReference__context'"},
    {"{{ f.gi_frame.f_globals }}", "template", "", "'gi_frame'"},
    {"{{ f['func_globals'] }}", "template", "", "'func_globals'"},
    {"{{ lipsum }}", "template", "", "'lipsum'"},
    {"{{ a.popen('id') }}", "template", "", "'popen'"},
    {"{% import 'x' as y %}", "template", "", "'import' loads"},
    {"{%- include 'x' -%}", "template", "", "'include' loads"},
    {"{% from 'x' import y %}", "template", "", "'from' loads"},
    {"{% for i in range(999999999) %}x{% endfor %}", "template", "", "'999999999' is a very large number"},
    {"{{ 'a' * 100_000_000 }}", "template", "", "is a very large number of repetitions"},
    /* a scanner that reads tags otherwise than Jinja misses these */
    {"{{ {'a':{'b':1}} ~ x.__class__ }}", "template", "", "'__class__'"},
    {"{% raw %}{# {% endraw %}{{ x._hidden }}{# #}", "template", "", "'_hidden'"},
    {"{{ '}}' ~ x._hidden }}", "template", "", "'_hidden'"},
    {"{{ \"{#\" }}{{ x._hidden }}{{ '#}' }}", "template", "", "'_hidden'"},
    /* normal conversation templates */
    {"{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message.content|trim }}{% endfor %}",
     "", "", ""},
    {"{%- if tools is defined and not tools is none %}{{- raise_exception('no') }}{%- set ns = "
     "namespace(is_first=false) -%}{% endif %}",
     "", "", ""},
    {"{{ message.role|replace('_', ' ') }}{% for i in range(3) %}{{ loop.index0 * 10 }}{% endfor %}", "", "", ""},
    {"{% set x = messages|map(attribute='content')|join(' ') %}{{ strftime_now('%d %b %Y') }}", "", "", ""},
    {"Python has __init__ and _x. {# a comment: don't {{ eval }} #}{{ dict(a=1) | tojson }}", "", "", ""},
    {"{% macro render(x) %}{{ x|attr }}{% endmacro %}", "template", "", "filter 'attr'"},
    {"{% raw %}{{ x._hidden }}{% endraw %}", "", "", ""},
    {"{{ 'an unended text", "", "", ""},
    {"{%", "", "", ""},
};

START_TEST(templates_that_reach_out)
{
    for (size_t k = 0; k < COUNT(templates); k++) {
        scratch_text("m/chat_template.jinja", templates[k].text);
        if (*templates[k].kind)
            expect_finding("m", templates[k].kind, "chat_template.jinja", templates[k].where, templates[k].what);
        else
            expect_clean("m");
    }
}
END_TEST

/* The same template in all files where loaders look for one. */
START_TEST(templates_everywhere)
{
    unlink(scratch_path("m/chat_template.jinja"));
    scratch_text("m/tokenizer_config.json", "{\"chat_template\":\"{{ x.__class__ }}\"}");
    scratch_text("m/chat_template.json", "{\"chat_template\":\"\\n{{ x.__mro__ }}\"}");
    gguf_file("m/model.gguf", HEAD(0, 2) "s:tokenizer.chat_template 4:8 s:{{x.__base__}} "
                                         "s:tokenizer.chat_template.tools 4:8 s:{{x|attr('y')}} ");
    expect_finding("m", "template", "tokenizer_config.json", "chat_template, line 1", "'__class__'");
    expect_finding("m", "template", "chat_template.json", "chat_template, line 2", "'__mro__'");
    expect_finding("m", "template", "model.gguf", "tokenizer.chat_template, line 1", "'__base__'");
    expect_finding("m", "template", "model.gguf", "tokenizer.chat_template.tools, line 1", "'attr'");
}
END_TEST

static void setup(void)
{
    scratch_begin();
    sound_model();
}

int main(void)
{
    const suite_case cases[] = {
        {"files", {files_are_told_by_content_and_name, a_header_of_640_bytes_is_no_pickle, every_fault_is_told}},
        {"configurations", {configurations_that_ask_for_code}},
        {"templates", {templates_that_reach_out, templates_everywhere}},
    };
    return run_suites((Suite *const[]){suite_of("untrusted", cases, COUNT(cases), setup, scratch_end),
                                       untrusted_places_suite(setup), NULL});
}
