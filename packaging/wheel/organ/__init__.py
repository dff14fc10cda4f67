# SPDX-License-Identifier: MIT
"""Runs organ, a program that inspects, prunes, quantises, cuts and evaluates language models as files.

    import organ

    report = organ.run("measure", "Qwen2.5-7B-Instruct")
    print(report["models"][0]["theta_mean"])

    organ.run("prune", "donor", output="pruned", sparsity=50, calibration="text.txt",
              progress=lambda event: print(event))

run() starts the program that this package contains and returns the document that `organ VERB --json` prints.
`organ help VERB`, or `python -m organ help VERB`, explains the arguments and options of a verb.
"""

import json
import os
import signal
import subprocess
import threading

__all__ = ["run", "program", "OrganError", "Findings", "UsageError", "ModelError", "SystemFault", "Interrupted"]


class OrganError(Exception):
    """A run that did not end with exit code 0.

    code: exit code of the program, or minus the number of the signal that ended it.
    document: the document that the run printed, or None.
    """

    def __init__(self, message, code, document=None):
        super().__init__(message)
        self.code = code
        self.document = document


class Findings(OrganError):
    """Exit code 1: the run completed and found faults, for example audit, autopsy or inspect --untrusted."""


class UsageError(OrganError):
    """Exit code 2: an argument or option is wrong, or the output exists."""


class ModelError(OrganError):
    """Exit code 3: a model or another input is malformed, or changed during the run."""


class SystemFault(OrganError):
    """Exit code 4: a file, memory, a disk or a server failed."""


class Interrupted(OrganError):
    """Exit code 130: a signal interrupted the run; `resume=True` continues it if the verb can."""


_ERRORS = {1: Findings, 2: UsageError, 3: ModelError, 4: SystemFault, 130: Interrupted}


def program():
    """Returns the path of the program."""
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), "bin", "organ")


_TAKES = {"pair": 2}  # options with several values for each use


def _text(value):
    """Returns a value as a word of the command line; bytes are a path, as os.fsencode makes it."""
    if isinstance(value, (str, bytes, os.PathLike)):
        return os.fsdecode(value)
    if isinstance(value, bool) or not any(hasattr(value, name) for name in ("__index__", "__float__")):
        raise TypeError(f"{value!r} is no text, path or number")
    return str(value)


def _uses(name, value):
    """Returns the uses of an option, a list of lists of values: a list repeats the option."""
    takes = _TAKES.get(name, 1)
    several = isinstance(value, (list, tuple))
    values = [one for one in (value if several else [value]) if one is not None and one is not False]
    if takes > 1 and not any(isinstance(one, (list, tuple)) for one in values):
        values = [values[k:k + takes] for k in range(0, len(values), takes)]
    uses = [list(one) if isinstance(one, (list, tuple)) else [one] for one in values]
    if any(len(use) != takes for use in uses):
        raise TypeError(f"{name} takes {takes} value{'s' * (takes > 1)} for each use, not {value!r}")
    return uses


def _words(verb, arguments, options):
    """Returns the command line: `sparsity=50` becomes `--sparsity=50`, `dry_run=True` becomes `--dry-run`."""
    words = [program(), *verb.split()]
    values = list(arguments)
    while values and values[-1] is None:
        values.pop()
    for name, value in options.items():
        name = name.rstrip("_").replace("_", "-")
        for use in _uses(name, value):
            if use == [True] and use[0] is True:
                words.append("--" + name)
            else:
                words += [f"--{name}={_text(use[0])}", *map(_text, use[1:])]
    return words + ["--json", "--progress=json", "--"] + [_text(value) for value in values]


def _read_events(stream, progress):
    """Passes each event to `progress`; returns the message of the error event, or the lines that are no events."""
    message, others = None, []
    for line in stream:
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if not isinstance(event, dict) or "event" not in event:
            others.append(line.rstrip("\n"))
        elif event["event"] == "error":
            message = event.get("message")
        elif progress is not None:
            progress(event)
    return message if message is not None else "\n".join(others)


def run(verb, *arguments, progress=None, cwd=None, env=None, **options):
    """Runs a verb and returns its document as a dict.

    verb: "measure", "lora extract", ...
    arguments: the models and files of the verb. None leaves out an optional one at the end.
        Texts, bytes, paths and numbers are accepted as values; anything else raises TypeError.
    options: long options without the dashes, with "_" for "-". True gives an option without a value; a list repeats
        the option, with a tuple for each use of one that takes several values; None and False leave it out. A name
        that Python reserves gets a "_" at its end.
    progress: a function of one event, a dict with the member "event": "begin", "advance", "end" or "note". An
        exception in it interrupts the run and is raised again.
    cwd, env: directory and environment of the program, as in subprocess.Popen.

    Raises a subclass of OrganError if the exit code is not 0. KeyboardInterrupt interrupts the run and waits until
    it has ended.
    """
    process = subprocess.Popen(_words(verb, arguments, options), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, encoding="utf-8", errors="replace", cwd=cwd, env=env,
                               start_new_session=True)  # Ctrl-C reaches the program once, by this function
    printed = []
    reader = threading.Thread(target=lambda: printed.append(process.stdout.read()), daemon=True)
    reader.start()
    try:
        message = _read_events(process.stderr, progress)
        code = process.wait()
    except BaseException:
        process.send_signal(signal.SIGINT)
        process.stderr.read()
        process.wait()
        raise
    finally:
        reader.join()
        process.stdout.close()
        process.stderr.close()
    try:
        document = json.loads(printed[0]) if printed and printed[0] else None
    except ValueError:
        document = None
    if code != 0:
        words = message or f"organ {verb} ended with {f'signal {-code}' if code < 0 else f'exit code {code}'}"
        raise _ERRORS.get(code, OrganError)(words, code, document)
    if document is None:
        raise OrganError(f"organ {verb} printed no document", code)
    return document
