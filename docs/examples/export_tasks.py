#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes multiple-choice tasks of lm-evaluation-harness as JSONL for `organ evaluate --tasks`:

    python3 export_tasks.py arc_challenge hellaswag --num-fewshot 0 -o tasks.jsonl

Needs lm_eval (0.4.13) and a network for its data sets. Contexts include the few-shot examples."""

import argparse
import itertools
import json
import sys


def lines_of(name, task):
    """Yields the questions of a task. Each of its instances is one choice."""
    if task.OUTPUT_TYPE != "multiple_choice":
        sys.exit(f"{name} is a task of kind {task.OUTPUT_TYPE}, not multiple_choice")
    for _, requests in itertools.groupby(task.instances, key=lambda request: request.doc_id):
        requests = list(requests)
        document, context = requests[0].doc, requests[0].args[0]
        choices = task.doc_to_choice(document)
        if len(requests) != len(choices) or any(request.args[0] != context for request in requests):
            sys.exit(f"{name} has another context for each choice; evaluate --tasks has one for all")
        delimiter = requests[0].args[1][: len(requests[0].args[1]) - len(choices[0])]
        gold = task.doc_to_target(document)
        if isinstance(gold, str):
            gold = choices.index(gold)
        yield {"task": name, "context": context, "delimiter": delimiter, "choices": choices, "gold": gold}


def tasks_in(loaded):
    """Yields names and tasks from the result of TaskManager.load, including those of groups."""
    for name, task in loaded.items():
        if isinstance(task, dict):
            yield from tasks_in(task)
        else:
            yield str(name), task


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="+")
    parser.add_argument("--num-fewshot", type=int)
    parser.add_argument("--limit", type=int, help="first questions of each task")
    parser.add_argument("--include-path", help="directory of task files of your own")
    parser.add_argument("-o", "--output", required=True)
    options = parser.parse_args()
    from lm_eval.tasks import TaskManager, get_task_dict

    loaded = get_task_dict(options.tasks, TaskManager(include_path=options.include_path))
    with open(options.output, "w", encoding="utf-8") as file:
        for name, task in tasks_in(loaded):
            if options.num_fewshot is not None:
                task.set_config(key="num_fewshot", value=options.num_fewshot)
            task.set_fewshot_seed(seed=1234)
            task.build_all_requests(limit=options.limit, rank=0, world_size=1)
            for line in lines_of(name, task):
                file.write(json.dumps(line, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
