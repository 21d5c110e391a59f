"""Reference NLLs of two small Llama checkpoints: float64, a forward pass of its own, no transformers.

Usage: evaluate.py SHARED_DATA OUT.json
Each of the first 40 documents is scored alone: BOS, no EOS, every token after the first; documents longer than the
sequence length in windows of half a length's stride, each token once. Once with the model's own sequence length, once
with 64, so that windows are exercised. Needs torch, safetensors, tokenizers; versions go into the output.
"""
import gzip
import json
import math
import sys

import safetensors
import safetensors.torch
import tokenizers
import torch

N_DOCUMENTS = 40


class Llama:
    def __init__(self, path):
        self.config = json.load(open(path + "/config.json"))
        weights = safetensors.torch.load_file(path + "/model.safetensors")
        self.w = {k: v.double() for k, v in weights.items()}
        c = self.config
        self.heads, self.kv_heads = c["num_attention_heads"], c["num_key_value_heads"]
        self.head_dim = c.get("head_dim") or c["hidden_size"] // self.heads
        rope = c.get("rope_parameters") or {}
        theta = float(rope.get("rope_theta", c.get("rope_theta", 10000.0)))
        half = torch.arange(0, self.head_dim, 2, dtype=torch.float64)
        self.inv_freq = theta ** (-half / self.head_dim)

    def norm(self, x, name):
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + self.config["rms_norm_eps"]) * self.w[name]

    def rotate(self, x):  # (heads, T, head_dim), half-split
        angle = torch.arange(x.shape[1], dtype=torch.float64)[:, None] * self.inv_freq
        a, b = x.chunk(2, -1)
        return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], -1)

    def heads_of(self, x, name, n):
        return (x @ self.w[name].T).view(x.shape[0], n, self.head_dim).transpose(0, 1)

    def attention(self, x, at):
        q = self.rotate(self.heads_of(x, at + "q_proj.weight", self.heads))
        k = self.rotate(self.heads_of(x, at + "k_proj.weight", self.kv_heads))
        v = self.heads_of(x, at + "v_proj.weight", self.kv_heads)
        k, v = (t.repeat_interleave(self.heads // self.kv_heads, 0) for t in (k, v))
        scores = q @ k.transpose(1, 2) / math.sqrt(self.head_dim)
        future = torch.ones(x.shape[0], x.shape[0], dtype=torch.bool).triu(1)
        out = scores.masked_fill(future, -math.inf).softmax(-1) @ v
        return out.transpose(0, 1).reshape(x.shape[0], -1) @ self.w[at + "o_proj.weight"].T

    def logits(self, ids):
        x = self.w["model.embed_tokens.weight"][ids]
        for i in range(self.config["num_hidden_layers"]):
            at = f"model.layers.{i}."
            x = x + self.attention(self.norm(x, at + "input_layernorm.weight"), at + "self_attn.")
            h = self.norm(x, at + "post_attention_layernorm.weight")
            gate, up = h @ self.w[at + "mlp.gate_proj.weight"].T, h @ self.w[at + "mlp.up_proj.weight"].T
            x = x + (torch.nn.functional.silu(gate) * up) @ self.w[at + "mlp.down_proj.weight"].T
        head = self.w.get("lm_head.weight", self.w["model.embed_tokens.weight"])
        return self.norm(x, "model.norm.weight") @ head.T


def score(model, ids, length):
    """Sum of NLL and number of scored tokens of one document."""
    nll, n, done, first = 0.0, 0, 1, 0
    while done < len(ids):
        window = torch.tensor(ids[first:first + length])
        logp = model.logits(window[:-1]).log_softmax(-1)
        token_nll = -logp.gather(1, window[1:, None])[:, 0]
        fresh = token_nll[done - first - 1:]
        nll += fresh.sum().item()
        n += len(fresh)
        done = first + len(window)
        first += length // 2
    return nll, n


def documents(path):
    text = gzip.open(path, "rt", encoding="utf-8", newline="").read()
    stripped = [d.strip() for d in text.split("<|endoftext|>\n")]
    return [d for d in stripped if d][:N_DOCUMENTS]


def main(data, out):
    texts = documents(data + "/corpora/stories.valid.txt.gz")
    results = []
    for name in ("stories260K", "stories3M"):
        path = f"{data}/models/{name}"
        model, tokenizer = Llama(path), tokenizers.Tokenizer.from_file(path + "/tokenizer.json")
        bos = model.config["bos_token_id"]
        coded = [[bos] + tokenizer.encode(t, add_special_tokens=False).ids for t in texts]
        for length in (min(model.config["max_position_embeddings"], 2048), 64):
            scores = [score(model, ids, length) for ids in coded]
            nll, n = sum(s[0] for s in scores), sum(s[1] for s in scores)
            size = sum(len(t.encode()) for t in texts)
            results.append({"model": name, "sequence_length": length, "tokens": n, "bytes": size, "nll": nll / n,
                            "bits_per_byte": nll / math.log(2) / size,
                            "documents": [[s[1], s[0]] for s in scores]})
            print(name, length, n, nll / n, size / n)
    versions = {m.__name__: m.__version__ for m in (torch, safetensors, tokenizers)}
    with open(out, "w") as f:
        json.dump({"made_by": "tests/golden/evaluate.py", "versions": versions, "data": "corpora/stories.valid.txt.gz",
                   "n_documents": N_DOCUMENTS, "results": results}, f, indent=1)
        f.write("\n")


torch.set_grad_enabled(False)
main(*sys.argv[1:3])
