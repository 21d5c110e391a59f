"""Golden values of the fused output head: cross-entropy plus forward KL with temperature, by float64 autograd.

Writes losses.safetensors beside this file; versions go to its metadata. Inputs are exact in bfloat16, so that the same
values serve the fp32 and the bf16 path. Usage: python tests/golden/losses.py
"""
import pathlib

import safetensors
import safetensors.torch
import torch

N, C, TEACHER_C = 37, 11, 7
CASES = {  # name: (V, teacher V or 0, tau, scale of the logits)
    "plain": (129, 0, 1.0, 1),
    "kd": (129, 129, 1.0, 1),
    "warm": (129, 129, 2.5, 1),
    "cold": (129, 129, 0.5, 1),
    "teacher_padded": (129, 160, 1.5, 1),
    "student_padded": (129, 101, 1.5, 1),
    "huge": (37, 37, 2.0, 1e4),
}


def exact(x):
    return x.to(torch.bfloat16).to(torch.float64)


def draw(rows, vocabulary, width, scale, g):
    """Hidden states and an output matrix; for huge logits both are integers, so that fp32 sums are exact."""
    if scale == 1:
        return exact(torch.randn(rows, width, generator=g)), exact(torch.randn(vocabulary, width, generator=g) * 0.7)
    hidden = torch.randint(-16, 17, (rows, width), generator=g).double()
    return hidden, torch.randint(-32, 33, (vocabulary, width), generator=g).double() * 8


def weights(g):
    w = torch.rand(N, generator=g, dtype=torch.float64).float().double()
    w[torch.rand(N, generator=g) < 0.25] = 0
    return w


def case(V, teacher_V, tau, scale, g):
    hidden, head = draw(N, V, C, scale, g)
    hidden.requires_grad_(True)
    head.requires_grad_(True)
    target = torch.randint(0, V, (N,), generator=g)
    ce_weight, kd_weight = weights(g), weights(g)
    logits = hidden @ head.T
    ce = -torch.log_softmax(logits, -1).gather(1, target[:, None])[:, 0]
    loss = (ce_weight * ce).sum()
    out = {"target": target.int(), "ce_weight": ce_weight, "ce": torch.where(ce_weight > 0, ce, 0.0)}
    common = min(V, teacher_V) if teacher_V else V
    out["argmax_s"] = logits[:, :common].argmax(-1).int()
    if teacher_V:
        t_hidden, t_head = draw(N, teacher_V, TEACHER_C, scale, g)
        t = (t_hidden @ t_head.T)[:, :common]
        log_p = torch.log_softmax(t / tau, -1)
        log_q = torch.log_softmax(logits[:, :common] / tau, -1)
        kl = tau**2 * (log_p.exp() * (log_p - log_q)).sum(-1)
        loss = loss + (kd_weight * kl).sum()
        out |= {"teacher_hidden": t_hidden, "teacher_head": t_head, "kd_weight": kd_weight,
                "kl": torch.where(kd_weight > 0, kl, 0.0), "argmax_t": t.argmax(-1).int()}
    loss.backward()
    return out | {"hidden": hidden, "head": head, "dhidden": hidden.grad, "dhead": head.grad,
                  "tau": torch.tensor([tau])}


def main():
    tensors = {}
    for i, (name, shape) in enumerate(CASES.items()):
        for key, value in case(*shape, torch.Generator().manual_seed(i)).items():
            value = value.detach().contiguous()
            tensors[f"{name}/{key}"] = value if value.dtype == torch.int32 else value.float()
    versions = {"torch": torch.__version__, "safetensors": safetensors.__version__}
    safetensors.torch.save_file(tensors, pathlib.Path(__file__).with_name("losses.safetensors"), versions)


main()
