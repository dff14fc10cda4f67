# SPDX-License-Identifier: MIT
"""Opens directories, GGUF files and adapters in mistral.rs on a CPU, in FP32. It gives probabilities of generated tokens only, so each token is predicted by a
request of its own, whose prompt is the text before it."""
import os
import tempfile

import mistralrs

import worker


def which_of(request):
    path = request["path"]
    if request.get("adapter"):
        return mistralrs.Which.Lora(model_id=request["base"], adapters=[mistralrs.LoraAdapter("a", request["adapter"])], dtype=mistralrs.ModelDType.F32)
    if path.endswith(".gguf"):
        return mistralrs.Which.GGUF(quantized_model_id=os.path.dirname(path), quantized_filename=os.path.basename(path), tok_model_id=request["tokenizer"],
                                    dtype=mistralrs.ModelDType.F32)
    return mistralrs.Which.Plain(model_id=path, dtype=mistralrs.ModelDType.F32)


def score(request):
    ids, words = request["ids"], request["words"]
    with tempfile.NamedTemporaryFile("w", suffix=".jinja") as template:
        template.write("{{ messages[0]['content'] }}")
        template.flush()
        runner = mistralrs.Runner(which=which_of(request), token_source="none", prefix_cache_n=0, jinja_explicit=template.name)
    total = 0.0
    for count in range(1, len(ids)):
        sent = mistralrs.ChatCompletionRequest(messages=[{"role": "user", "content": "".join(words[:count])}], model="default", logprobs=True, top_logprobs=2048, max_tokens=1, temperature=0.0,
                                               adapter="a" if request.get("adapter") else None)
        found = runner.send_chat_completion_request(sent).choices[0].logprobs.content[0].top_logprobs
        total -= next(entry.logprob for entry in found if entry.token == ids[count])
    return total / (len(ids) - 1)


if __name__ == "__main__":
    worker.serve(score)
