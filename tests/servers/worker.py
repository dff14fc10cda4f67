# SPDX-License-Identifier: MIT
"""The loop of the programs open_*.py, which open outputs in one server each.

A program reads requests from its standard input, one JSON object a line: `path` of the model, `ids` of tokens, and where needed `adapter`, `base`,
`tokenizer` (directories), `kernels` ("own" or "reference") and `log`, a file for what the server prints. For each it answers with a line of JSON: `nll`, the
mean of -ln p of ids[1:], and `note`; or `error`, the last line of the server's message. Each request is handled by a process of its own, which has only what
the program imported before, and ends after SECONDS.
"""
import json
import math
import os
import re
import select
import signal
import sys
import traceback

SECONDS = 300
# What is no part of a message: paths, addresses, and the counter of a warning.
ERROR = re.compile(r"^(?:[A-Za-z_]+\.)*[A-Za-z_]*(?:Error|Exception|Exit|Interrupt)\b")


def mean_nll(logits, ids):
    """Returns the mean of -ln p of ids[1:] by `logits`, an array of numpy whose row k predicts ids[k + 1]."""
    total = 0.0
    for row, token in zip(logits.astype("float64"), ids[1:]):
        most = row.max()
        total += most + math.log(float((2.718281828459045 ** (row - most)).sum())) - float(row[token])
    return total / (len(ids) - 1)


def last_error(log, fault):
    """Returns the message that says why a server did not open a model: that of its own process, if it has one and the exception does not say it."""
    text = open(log, errors="replace").read() if log and os.path.exists(log) else ""
    lines = [re.sub(r"^\([^)]*\) (?:ERROR|WARNING|INFO)\b[^\]]*\] *", "", line).strip() for line in text.split("\n")]
    errors = [line for line in lines if ERROR.match(line)]
    return fault if fault and "See root cause above" not in fault else errors[-1] if errors else fault or next((line for line in reversed(lines) if line), "no message")


def handled(score, request):
    try:
        found = score(request)
        return found if isinstance(found, dict) else {"nll": float(found)}
    except BaseException as error:
        traceback.print_exc()
        text = " ".join(str(error).split())
        return {"error": f"{type(error).__name__}: {text}"}


def in_child(score, request, write):
    log = request.get("log") or os.devnull
    target = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
    os.dup2(target, 1)
    os.dup2(target, 2)
    signal.alarm(SECONDS)
    answer = handled(score, request)
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(write, json.dumps(answer).encode())
    os._exit(0)


def answer_to(score, request):
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        in_child(score, request, write)
    os.close(write)
    data = b""
    while select.select([read], [], [], SECONDS + 30)[0]:
        part = os.read(read, 65536)
        if not part:
            break
        data += part
    os.close(read)
    try:
        os.kill(child, signal.SIGKILL)
    except ProcessLookupError:
        pass
    status = os.waitpid(child, 0)[1]
    answer = json.loads(data) if data else {"error": ""}
    if "error" in answer:
        fault = answer["error"] or ("" if not os.WIFSIGNALED(status) else f"ended by signal {os.WTERMSIG(status)}")
        answer["error"] = last_error(request.get("log"), fault)
    return answer


def serve(score):
    for line in sys.stdin:
        print(json.dumps(answer_to(score, json.loads(line))), flush=True)
