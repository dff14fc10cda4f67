/* SPDX-License-Identifier: MIT
 * Chooses the chat template of the output. */
#include "orchestrator/verbs/merge/merge_job.h"

#include <stdlib.h>
#include <string.h>

/* Formats that models were published with, by the names that mergekit has for them. They render as the makers' own
 * templates (fixtures/make_chat_templates.py): mistral as Mistral 7B Instruct v0.1 and v0.2, exaone as EXAONE 3.0.
 * mergekit's llama3 and exaone also write line ends and blanks of their files, and its alpaca lacks the blank line
 * before the last "### Response:". */
static const struct {
    const char *name, *text;
} templates[] = {
    {"chatml",
     "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + "
     "'<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"},
    {"llama3", "{{ bos_token }}{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + "
               "'<|end_header_id|>\\n\\n' + "
               "message['content'] | trim + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}"
               "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"},
    {"mistral", "{{ bos_token }}{% set ns = namespace(system='') %}{% for message in messages %}{% if message['role'] "
                "== 'system' %}"
                "{% set ns.system = message['content'] + '\\n\\n' %}{% elif message['role'] == 'user' %}"
                "{{ ' [INST] ' + ns.system + message['content'] + ' [/INST]' }}{% set ns.system = '' %}{% else %}"
                "{{ ' ' + message['content'] + eos_token }}{% endif %}{% endfor %}"},
    {"alpaca",
     "{% for message in messages %}{% if message['role'] == 'system' %}{{ message['content'] | trim + '\\n\\n' }}"
     "{% elif message['role'] == 'user' %}{{ '### Instruction:\\n' + message['content'] | trim + '\\n\\n' }}"
     "{% elif message['role'] == 'user_context' %}{{ '### Input:\\n' + message['content'] | trim + '\\n\\n' }}{% else "
     "%}"
     "{{ '### Response:\\n' + message['content'] | trim + '\\n\\n' }}{% endif %}{% endfor %}"
     "{% if add_generation_prompt and messages[-1]['role'] != 'assistant' %}{{ '### Response:\\n' }}{% endif %}"},
    {"exaone", "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
               "{{ '[|system|][|endofturn|]\\n' }}{% endif %}{{ '[|' + message['role'] + '|]' + message['content'] }}"
               "{% if message['role'] == 'user' %}{{ '\\n' }}{% else %}{{ '[|endofturn|]\\n' }}{% endif %}{% endfor %}"
               "{% if add_generation_prompt %}{{ '[|assistant|]' }}{% endif %}"},
};

/* Removes white space at both ends, as mergekit does before it compares templates. */
static void strip(char *text)
{
    static const char blanks[] = " \t\r\n\f\v";
    const size_t before = strspn(text, blanks);
    size_t length = strlen(text + before);
    memmove(text, text + before, length + 1);
    while (length && strchr(blanks, text[length - 1]))
        text[--length] = 0;
}

/* Sets job->chat_template to the template that most models have; of several, that of the first model. It stays NULL if
 * no model has one. */
static organ_status take_most_common(model_merge *job, organ_error *error)
{
    const size_t count = job->recipe.donor_count;
    ORGAN_OWNED char **const all = calloc(count, sizeof *all);
    size_t best = 0, most = 0;
    if (!all)
        return organ_fail_memory(error, job->recipe.label);
    for (size_t k = 0; k < count && !error->status; k++)
        if (organ_chat_template_read(job->donors[k].model, &all[k], error) == ORGAN_OK && all[k])
            strip(all[k]);
    for (size_t k = 0; k < count; k++) {
        size_t same = 0;
        for (size_t other = 0; other < count; other++)
            same += all[k] && *all[k] && all[other] && strcmp(all[k], all[other]) == 0;
        best = same > most ? k : best;
        most = same > most ? same : most;
    }
    if (most && !error->status && !(job->chat_template = strdup(all[best])))
        organ_fail_memory(error, job->recipe.label);
    for (size_t k = 0; k < count; k++)
        free(all[k]);
    return error->status;
}

organ_status organ_merge_choose_chat(model_merge *job, organ_error *error)
{
    const merge_token_recipe *const t = &job->recipe.tokens;
    const char *const given = t->chat_template, *text = given; /* a name of `templates`, or the text of a template */
    if (!given || strcmp(given, "auto") == 0)
        return given ? take_most_common(job, error) : ORGAN_OK;
    for (size_t k = 0; k < sizeof templates / sizeof *templates; k++)
        if (strcmp(templates[k].name, given) == 0)
            text = templates[k].text;
    if (strlen(text) < 20 || !strchr(text, '{')) /* not a template: an unknown name */
        return organ_merge_fault(
            &job->recipe, t->chat_line, error,
            "chat_template is '%.60s', not auto, chatml, llama3, mistral, alpaca, exaone or the text "
            "of a template",
            text);
    return (job->chat_template = strdup(text)) ? ORGAN_OK : organ_fail_memory(error, job->recipe.label);
}
