"""The peer of bench_step: the same training step in PyTorch, whatever version is installed, one JSON line.

    python3 tests/bench/peer_torch.py [--dtype fp32|bf16] [--mode plain|kd] [--threads N] [--steps N] [--compile]

Llama of 15.19 M parameters (6 layers, hidden 288, 6 heads, FFN 768, vocabulary 32000 tied), B 8 x T 256, random tokens,
clipping at 1, AdamW with decay on matrices. kd: that model is the teacher of half (3 layers, hidden 144, 3 heads, FFN 384).
bf16 is autocast over fp32 masters. torch 2 takes its fused attention, torch 1 the written-out one.
Debian 12's torch is at its best with the OpenMP flavour of OpenBLAS and its AVX-512 kernels: tests/bench/step.sh sets both.
"""
import argparse
import json
import math
import os
import statistics
import time

import torch
from torch import nn
from torch.nn import functional as F

B, T, VOCABULARY, HEAD = 8, 256, 32000, 48
FUSED = hasattr(F, "scaled_dot_product_attention")


class Norm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        y = x.float()
        return (y * torch.rsqrt(y.square().mean(-1, keepdim=True) + 1e-5) * self.weight).to(x.dtype)


def attention(q, k, v, future):
    if FUSED:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    scores = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(HEAD)
    return torch.matmul((scores + future).softmax(-1).to(v.dtype), v)


class Layer(nn.Module):
    def __init__(self, width, ffn):
        super().__init__()
        self.attention_norm, self.ffn_norm = Norm(width), Norm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.gate_up = nn.Linear(width, 2 * ffn, bias=False)
        self.down = nn.Linear(ffn, width, bias=False)

    def forward(self, x, cos, sin, future):
        q, k, v = (p.unflatten(-1, (-1, HEAD)).transpose(1, 2) for p in self.qkv(self.attention_norm(x)).chunk(3, -1))
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        x = x + self.out(attention(q, k, v, future).transpose(1, 2).flatten(2))
        gate, up = self.gate_up(self.ffn_norm(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1).to(x.dtype)


class Model(nn.Module):
    def __init__(self, layers, width, ffn):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, width)
        self.layers = nn.ModuleList(Layer(width, ffn) for _ in range(layers))
        self.norm = Norm(width)
        angles = torch.outer(torch.arange(T).float(), 10000.0 ** (-torch.arange(0, HEAD, 2) / HEAD))
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())
        self.register_buffer("future", torch.full((T, T), -torch.inf).triu(1))
        for p in self.parameters():
            if p.ndim > 1:
                nn.init.normal_(p, std=0.02)

    def forward(self, tokens):
        x = self.embedding(tokens)
        for layer in self.layers:
            x = layer(x, self.cos, self.sin, self.future)
        return F.linear(self.norm(x), self.embedding.weight).float().flatten(0, 1)


def make_step(args):
    student = Model(3, 144, 384) if args.mode == "kd" else Model(6, 288, 768)
    teacher = Model(6, 288, 768).eval() if args.mode == "kd" else None
    matrices = [p for p in student.parameters() if p.ndim > 1]
    vectors = [p for p in student.parameters() if p.ndim == 1]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
                                  lr=3e-4, betas=(0.9, 0.95), foreach=False)
    run, ask = student, teacher
    if args.compile:
        run, ask = torch.compile(student), teacher and torch.compile(teacher)
    tokens, targets = torch.randint(0, VOCABULARY, (B, T)), torch.randint(0, VOCABULARY, (B * T,))

    def loss_of():
        logits = run(tokens)
        ce = F.cross_entropy(logits, targets)
        if not teacher:
            return ce
        with torch.no_grad():
            p = ask(tokens).log_softmax(-1)
        return 0.1 * ce + 0.9 * F.kl_div(logits.log_softmax(-1), p, log_target=True, reduction="batchmean")

    def step():
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.dtype == "bf16"):
            loss = loss_of()
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step, sum(p.numel() for p in student.parameters())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--dtype", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--mode", choices=["plain", "kd"], default="plain")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(args.threads or len(os.sched_getaffinity(0)))
    step, parameters = make_step(args)
    times = []
    for _ in range(2 + args.steps):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    times = times[2:]
    median = statistics.median(times)
    print(json.dumps({"bench": "step", "peer": f"torch {torch.__version__}", "mode": args.mode, "dtype": args.dtype,
                      "threads": torch.get_num_threads(), "batch": B, "sequence_length": T, "parameters": parameters,
                      "step_ms": round(1e3 * median, 2), "tokens_per_s": round(B * T / median, 1),
                      "best_step_ms": round(1e3 * min(times), 2),
                      "environment": {k: v for k, v in os.environ.items() if k.startswith(("ATEN_", "OPENBLAS_", "LD_PRE"))}}))


main()
