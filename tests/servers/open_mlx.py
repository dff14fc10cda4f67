# SPDX-License-Identifier: MIT
"""Opens directories in mlx-lm on a CPU. Computes in FP32, because the kernels for CPUs add in the type of the inputs, whose errors in BF16 exceed those of most
codes."""
from pathlib import Path

import mlx.core as mx
import numpy
from mlx_lm.utils import load_model

import worker


def score(request):
    mx.set_default_device(mx.cpu)
    model, _ = load_model(Path(request["path"]))
    model.set_dtype(mx.float32)
    logits = model(mx.array([request["ids"]]))[0].astype(mx.float32)
    return worker.mean_nll(numpy.array(logits), request["ids"])


if __name__ == "__main__":
    worker.serve(score)
