# SPDX-License-Identifier: MIT
"""Opens GGUF files in OpenVINO GenAI on a CPU. Its pipeline stores the model that it made of the file; OpenVINO computes the logits of that model in FP32."""
import os
import shutil
import tempfile

import numpy
import openvino
import openvino_genai

import worker


def score(request):
    ids = request["ids"]
    with tempfile.TemporaryDirectory() as folder:
        file = shutil.copy(request["path"], os.path.join(folder, "model.gguf"))
        openvino_genai.LLMPipeline(file, "CPU", enable_save_ov_model=True)
        made = next(os.path.join(root, "openvino_model.xml") for root, _, files in os.walk(folder) if "openvino_model.xml" in files)
        compiled = openvino.Core().compile_model(made, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0})
        inputs = {"input_ids": numpy.array([ids]), "attention_mask": numpy.ones((1, len(ids)), numpy.int64),
                  "position_ids": numpy.arange(len(ids))[None], "beam_idx": numpy.zeros(1, numpy.int32)}
        names = {name for port in compiled.inputs for name in port.names}
        found = compiled.create_infer_request().infer({name: value for name, value in inputs.items() if name in names})
    return worker.mean_nll(next(iter(found.values()))[0], ids)


if __name__ == "__main__":
    worker.serve(score)
