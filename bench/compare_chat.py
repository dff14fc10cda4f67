#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Renders the named chat templates of merge recipes with jinja2, as transformers does, and compares the texts.

  compare_chat.py [--write] [NAME=FILE...]

fixtures/chat_templates.json has the templates and the texts that they give for some conversations; the suite merge_tokens
compares the templates with it. NAME=FILE renders another template of that format, such as the maker's own, on the same
conversations, and names those of which the text differs; conversations that the template refuses are left out. Known
differences: mergekit's llama3 and exaone write line ends and blanks of their files, its alpaca no blank line after the last
message; Qwen's chatml adds a system text; Mistral's templates from v0.3 on write the system text before the last user's.
--write writes the texts again from the program's templates. Needs jinja2 and the built program (ORGAN, or build/organ).
Ends with 1 if a text differs."""
import json
import os
import subprocess
import sys
import tempfile

import jinja2
import jinja2.sandbox

HERE = os.path.dirname(os.path.abspath(__file__))
TABLE = os.path.join(HERE, "..", "fixtures", "chat_templates.json")
ORGAN = os.environ.get("ORGAN") or os.path.join(HERE, "..", "build", "organ")
TINY = os.path.join(HERE, "..", "fixtures", "tiny-qwen2")
TURNS = {"s": ("system", "Be brief."), "u": ("user", "One?"), "a": ("assistant", "Yes."), "v": ("user", "Two?")}
CONVERSATIONS = ["u", "su", "uav", "suav", "suava"]


def refuse(message):
    raise jinja2.exceptions.TemplateError(message)


def render(text, turns):
    """None: the template refuses the conversation."""
    world = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    world.globals["raise_exception"] = refuse
    messages = [{"role": TURNS[k][0], "content": TURNS[k][1]} for k in turns]
    try:
        return world.from_string(text).render(messages=messages, bos_token="<s>", eos_token="</s>", add_generation_prompt=turns[-1] != "a")
    except jinja2.exceptions.TemplateError:
        return None


def own(name):
    with tempfile.TemporaryDirectory() as folder:
        recipe = os.path.join(folder, "r.yaml")
        with open(recipe, "w") as file:
            file.write(f"models: [{{model: {TINY}}}]\nmerge_method: passthrough\nchat_template: {name}\n")
        subprocess.run([ORGAN, "merge", recipe, "-o", os.path.join(folder, "out"), "--quiet"], check=True, stdout=subprocess.DEVNULL)
        with open(os.path.join(folder, "out", "chat_template.jinja")) as file:
            return file.read()


words = sys.argv[1:]
if "--write" in words:
    texts = {name: own(name) for name in ("chatml", "llama3", "mistral", "alpaca", "exaone")}
    made = {name: {"template": text, "renders": {c: render(text, c) for c in CONVERSATIONS}} for name, text in texts.items()}
    with open(TABLE, "w") as file:
        json.dump(made, file, indent=1)
        file.write("\n")
with open(TABLE) as file:
    table = json.load(file)
others = [(word.split("=", 1)[0], open(word.split("=", 1)[1]).read(), word) for word in words if "=" in word]
wrong = 0
for name, text, called in [(name, own(name), "organ's") for name in table] + others:
    for turns, expected in table[name]["renders"].items():
        got = render(text, turns)
        if got is not None and got.strip("\n") != expected.strip("\n"):
            wrong += 1
            print(f"{called} {name}, {turns}: {got!r} instead of {expected!r}")
print(f"{len(table)} templates, {wrong} texts differ")
sys.exit(wrong > 0)
