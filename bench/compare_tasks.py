#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares `organ evaluate --tasks` with lm-evaluation-harness on a file of questions: acc and acc_norm of each task as simple_evaluate of lm_eval
computes them, the right answers by question, and the largest difference of log-likelihoods. lm_eval reads the questions as tasks of its own kind
multiple_choice, so templates, delimiters, metrics and the order of ties are its own. Ends with 1 if an answer or a metric differs.

    python3 bench/compare_tasks.py [MODEL] [FILE.jsonl] [ORGAN]

Needs lm_eval 0.4.13 with torch and transformers; no network. Questions with several right choices are left out: this kind of task has one."""

import collections
import json
import os
import subprocess
import sys
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")

MODEL = sys.argv[1] if len(sys.argv) > 1 else "fixtures/tiny-qwen2"
FILE = sys.argv[2] if len(sys.argv) > 2 else "fixtures/tasks/tasks.jsonl"
ORGAN = sys.argv[3] if len(sys.argv) > 3 else "build/organ"


def questions():
    """Returns the questions by the names of their tasks in lm_eval. Those with another delimiter are tasks of their own."""
    tasks = collections.defaultdict(list)
    with open(FILE, encoding="utf-8") as file:
        for text in file:
            line = json.loads(text)
            if isinstance(line["gold"], int):
                delimiter = line.get("delimiter", " ")
                tasks[line.get("task", "all"), delimiter].append(line)
    return tasks


def harness(tasks, folder):
    """Computes the metrics of each task, and for each question the likelihoods and whether acc and acc_norm count it, with lm_eval."""
    import lm_eval
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.models.huggingface import HFLM

    made = []
    for number, ((name, delimiter), lines) in enumerate(tasks.items()):
        path = os.path.join(folder, f"{number}.jsonl")
        with open(path, "w", encoding="utf-8") as file:
            for line in lines:
                row = {"context": line["context"], "choices": line["choices"], "gold": line["gold"]}
                file.write(json.dumps(row) + "\n")
        config = {
            "task": f"{number} {name}",
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": path}, "cache_dir": folder},
            "test_split": "test",
            "output_type": "multiple_choice",
            "doc_to_text": lambda row: row["context"],
            "doc_to_choice": lambda row: row["choices"],
            "doc_to_target": lambda row: row["gold"],
            "target_delimiter": delimiter,
            "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
            "num_fewshot": 0,
        }
        made.append(ConfigurableTask(config=config))
    model = HFLM(pretrained=MODEL, dtype="float32", device="cpu", batch_size=1)
    found = lm_eval.simple_evaluate(model=model, tasks=made, log_samples=True, bootstrap_iters=0)
    for number, key in enumerate(tasks):
        name = f"{number} {key[0]}"
        samples = sorted(found["samples"][name], key=lambda row: row["doc_id"])
        likelihoods = [[float(answer[0]) for answer in row["filtered_resps"]] for row in samples]
        counts = [(row["acc"], row["acc_norm"]) for row in samples]
        yield key, found["results"][name]["acc,none"], found["results"][name]["acc_norm,none"], likelihoods, counts


def organ(lines, folder):
    """Returns the answers of organ to these questions."""
    path = os.path.join(folder, "organ.jsonl")
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    command = [ORGAN, "evaluate", MODEL, "--tasks", path, "--answers", "--json", "--quiet"]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["answers"]


def main():
    tasks, faults, furthest, count = questions(), 0, 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        for (name, delimiter), acc, acc_norm, likelihoods, counts in harness(tasks, folder):
            lines = tasks[name, delimiter]
            answers = organ(lines, folder)
            right = [[0, 0] for _ in lines]
            for k, answer in enumerate(answers):
                own = answer["models"][0]
                right[k] = [own["choice"] == lines[k]["gold"], own["choice_norm"] == lines[k]["gold"]]
                furthest = max([furthest] + [abs(a - b) for a, b in zip(own["likelihoods"], likelihoods[k])])
                differs = list(map(bool, right[k])) != list(map(bool, counts[k]))
                first = [max(range(len(row)), key=row.__getitem__) for row in (own["likelihoods"], likelihoods[k])]
                faults += differs or first[0] != first[1]
                count += len(lines[k]["choices"])
            shares = [sum(row[k] for row in right) / len(lines) for k in range(2)]
            faults += abs(shares[0] - acc) > 1e-12 or abs(shares[1] - acc_norm) > 1e-12
            print(f"{name!r} delimiter {delimiter!r}: {len(lines)} questions, acc {shares[0]:.4f} and {acc:.4f}, "
                  f"acc_norm {shares[1]:.4f} and {acc_norm:.4f}")
    print(f"{count} choices; likelihoods differ by at most {furthest:.6f}; {faults} answers or metrics differ")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
