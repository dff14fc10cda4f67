# SPDX-License-Identifier: MIT
"""Opens directories, adapters and GGUF files in vLLM on a CPU, in BF16. With "kernels": "reference" it adds those of vllm_kernels.py. The note lists the kernels
that multiplied quantised weights."""
import os

os.environ.update(VLLM_CPU_OMP_THREADS_BIND="nobind", OMP_NUM_THREADS="1", VLLM_NO_USAGE_STATS="1", DO_NOT_TRACK="1",
                  VLLM_ENABLE_V1_MULTIPROCESSING="0")
import vllm.v1.worker.cpu_model_runner  # noqa: F401 - imported once, before requests are handled in processes of their own
import vllm.v1.worker.cpu_worker  # noqa: F401
from vllm import LLM, SamplingParams
from vllm.lora.request import LoRARequest

import worker

MOST_TOKENS = 512
CACHE = 64 << 20


def kernels_of(llm):
    """Returns the names of the kernels of the model's linear layers."""
    found = set()
    for module in llm.llm_engine.model_executor.driver_worker.worker.model_runner.model.modules():
        method = getattr(module, "quant_method", None)
        for owner in (getattr(module, "scheme", None), method):
            for name in ("kernel", "fp8_linear"):
                if getattr(owner, name, None) is not None:
                    found.add(type(getattr(owner, name)).__name__)
    return sorted(found)


def score(request):
    if request.get("kernels") == "reference":
        import vllm_kernels
        vllm_kernels.install()
    options = {}
    if request.get("adapter"):
        options.update(enable_lora=True, max_loras=1, max_lora_rank=64)
    if request["path"].endswith(".gguf"):
        options.update(tokenizer=request["tokenizer"], hf_config_path=request["tokenizer"])
    llm = LLM(model=request.get("base") or request["path"], enforce_eager=True, dtype="bfloat16", max_model_len=MOST_TOKENS, max_num_seqs=4,
              max_num_batched_tokens=MOST_TOKENS, enable_prefix_caching=False, kv_cache_memory_bytes=CACHE, distributed_executor_backend="uni", **options)
    adapter = LoRARequest("a", 1, request["adapter"]) if request.get("adapter") else None
    sampling = SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=0)
    found = llm.generate({"prompt_token_ids": request["ids"]}, sampling, use_tqdm=False, lora_request=adapter)[0].prompt_logprobs
    logs = [row[token].logprob for token, row in zip(request["ids"], found) if row]
    return {"nll": -sum(logs) / len(logs), "note": " ".join(kernels_of(llm))}


if __name__ == "__main__":
    worker.serve(score)
