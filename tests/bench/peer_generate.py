"""The peer of bench_generate: greedy generation by Hugging Face transformers, with its cache and without, one JSON line each.

    python3 tests/bench/peer_generate.py MODEL [TOKENS [THREADS [ROUNDS]]]

The same prompt of 8 ids and as many new tokens, fp32 on the CPU; the median of the rounds after one to warm up.
"""
import json
import statistics
import sys
import time

import torch
import transformers

PROMPT = 8


def main():
    path, given = sys.argv[1], [int(x) for x in sys.argv[2:]]
    tokens, threads, rounds = given + [200, 0, 5][len(given):]
    if threads:
        torch.set_num_threads(threads)
    transformers.logging.set_verbosity_error()
    model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    ids = torch.tensor([[(1 + i * 37) % model.config.vocab_size for i in range(PROMPT)]])
    for cache in (True, False):
        seconds = []
        for _ in range(rounds + 1):
            begin = time.perf_counter()
            with torch.inference_mode():
                out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, min_new_tokens=tokens,
                                     max_new_tokens=tokens, use_cache=cache)
            seconds.append(time.perf_counter() - begin)
            assert out.shape[1] == PROMPT + tokens
        median = statistics.median(seconds[1:])
        print(json.dumps({
            "peer": "transformers " + transformers.__version__ + (", with a cache" if cache else ", without"), "tokens": tokens,
            "tokens_per_s": round(tokens / median, 1), "ms_per_token": round(1e3 * median / tokens, 3), "dtype": "fp32",
            "threads": torch.get_num_threads(), "torch": torch.__version__,
        }), flush=True)


main()
