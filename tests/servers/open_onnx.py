# SPDX-License-Identifier: MIT
"""Opens directories in the builder of onnxruntime-genai for CPUs, whose ONNX model onnxruntime runs: quantised ones with inputs in FP32 and the head as it is,
others in FP32."""
import json
import os
import subprocess
import sys
import tempfile

import numpy
import onnxruntime

import worker

ELEMENTS = {"tensor(float)": numpy.float32, "tensor(float16)": numpy.float16, "tensor(int64)": numpy.int64}


def built(path, out):
    """Returns the file of the ONNX model of a directory, and the size of its heads."""
    with open(os.path.join(path, "config.json")) as file:
        quantised = "quantization_config" in json.load(file)
    words = ["-i", path, "-o", out, "-p", "int4" if quantised else "fp32", "-e", "cpu", "-c", os.path.join(out, "cache")]
    if quantised:
        words += ["--extra_options", "accuracy_level=1", "nodes_to_exclude=/lm_head/MatMul"]
    done = subprocess.run([sys.executable, "-m", "onnxruntime_genai.models.builder", *words], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    print(done.stdout, done.stderr, flush=True)
    if done.returncode:
        lines = [line for line in done.stderr.split("\n") if worker.ERROR.match(line)]
        raise RuntimeError(lines[-1] if lines else done.stderr.strip()[-200:])
    with open(os.path.join(out, "genai_config.json")) as file:
        return os.path.join(out, "model.onnx"), json.load(file)["model"]["decoder"]["head_size"]


def inputs_of(session, head, ids):
    """Returns the inputs of the model for the first tokens of a text, with empty states. Heads have `head` values."""
    inputs = {}
    for port in session.get_inputs():
        if port.name == "input_ids":
            inputs[port.name] = numpy.array([ids])
        elif port.name == "attention_mask":
            inputs[port.name] = numpy.ones((1, len(ids)), numpy.int64)
        elif port.name == "position_ids":
            inputs[port.name] = numpy.arange(len(ids))[None]
        else:
            # The first size is that of the batch; another one without a number counts earlier tokens.
            shape = [1] + [head if size == "kv_cache_dim" else size if isinstance(size, int) else 0 for size in port.shape[1:]]
            inputs[port.name] = numpy.zeros(shape, ELEMENTS[port.type])
    return inputs


def score(request):
    with tempfile.TemporaryDirectory() as out:
        file, head = built(request["path"], out)
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        logits = session.run(["logits"], inputs_of(session, head, request["ids"]))[0][0]
    return worker.mean_nll(logits, request["ids"])


if __name__ == "__main__":
    worker.serve(score)
