"""Golden values of the inner losses, by float64 autograd: hidden states (cosine and MSE; equal widths, kept columns,
learned projection) and relations of queries, keys and values.

Writes inner.safetensors beside this file; versions go to its metadata. Inputs are exact in bfloat16, so that the same
values serve the fp32 and the bf16 path. Usage: python tests/golden/inner.py
"""
import pathlib

import safetensors
import safetensors.torch
import torch

N, C_S, C_T = 37, 11, 19
HIDDEN = [(kind, how) for kind in ("cosine", "mse") for how in ("equal", "kept", "projected")]
RELATIONS = {  # name: (starts of the documents in every sequence, T, student (NH, NKV, HD), teacher, R)
    "equal": ([[0], [0]], 13, (3, 3, 4), (3, 3, 4), 3),
    "gqa": ([[0, 5, 6], [0, 20]], 37, (4, 2, 6), (4, 2, 6), 2),
    "wider_teacher": ([[0, 9], [0, 1, 2]], 29, (4, 2, 8), (6, 3, 16), 4),
    "finer_than_heads": ([[0, 17]], 33, (2, 1, 8), (4, 2, 12), 8),
    "chunks": ([[0, 3, 100, 290]], 300, (2, 1, 4), (2, 2, 4), 1),
}


def exact(x):
    return x.to(torch.bfloat16).to(torch.float64)


def normal(g, *shape, scale=1.0):
    return exact(torch.randn(*shape, generator=g, dtype=torch.float64) * scale)


def weights(n, g):
    w = torch.rand(n, generator=g, dtype=torch.float64).float().double()
    w[torch.rand(n, generator=g) < 0.25] = 0
    return w


def leaf(x):
    return x.clone().requires_grad_(True)


def hidden(kind, how, g):
    teacher_width = C_S if how == "equal" else C_T
    teacher, student, weight = normal(g, N, teacher_width), leaf(normal(g, N, C_S)), weights(N, g)
    out = {"student": student, "teacher": teacher, "weight": weight}
    x, y = student, teacher
    if how == "kept":
        columns = torch.randperm(teacher_width, generator=g)[:C_S]
        out["columns"] = columns.int()
        y = teacher[:, columns]
    if how == "projected":
        projection = leaf(normal(g, teacher_width, C_S, scale=0.5))
        out["projection"] = projection
        x = student @ projection.T
    if kind == "cosine":
        loss = 1 - (x * y).sum(-1) / (x.norm(dim=-1) * y.norm(dim=-1))
    else:
        loss = ((x - y) ** 2).mean(-1)
    (weight * loss).sum().backward()
    out |= {"loss": torch.where(weight > 0, loss, 0.0), "dstudent": student.grad}
    if how == "projected":
        out["dprojection"] = projection.grad
    return out


def split(qkv, shape, heads):
    """(B, T, width) -> three tensors (B, heads, T, d): all queries, all keys, all values, split anew."""
    batch, length, _ = qkv.shape
    nh, nkv, hd = shape
    parts = qkv.split([nh * hd, nkv * hd, nkv * hd], -1)
    return [p.reshape(batch, length, heads, -1).transpose(1, 2) for p in parts]


def relation(x, window):
    scores = x @ x.transpose(-1, -2) / x.shape[-1] ** 0.5
    return torch.log_softmax(scores.masked_fill(~window, float("-inf")), -1)


def relations(documents, length, student_shape, teacher_shape, heads, g):
    batch = len(documents)
    start = torch.stack([torch.tensor([max(s for s in doc if s <= i) for i in range(length)]) for doc in documents])
    i, j = torch.arange(length)[:, None], torch.arange(length)[None, :]
    window = ((j <= i) & (j >= start[:, :, None]))[:, None]
    width = lambda s: (s[0] + 2 * s[1]) * s[2]
    student = leaf(normal(g, batch, length, width(student_shape)))
    teacher = normal(g, batch, length, width(teacher_shape))
    weight = weights(batch * length, g)
    loss = torch.zeros(batch, length, dtype=torch.float64)
    for x_s, x_t in zip(split(student, student_shape, heads), split(teacher, teacher_shape, heads)):
        log_q, log_p = relation(x_s, window), relation(x_t, window)
        kl = torch.where(window, log_p.exp() * (log_p - log_q), 0.0).sum(-1)
        loss = loss + kl.mean(1) / 3
    loss = loss.reshape(-1)
    (weight * loss).sum().backward()
    return {"student": student, "teacher": teacher, "weight": weight, "start": start.int(),
            "loss": torch.where(weight > 0, loss, 0.0), "dstudent": student.grad,
            "shape": torch.tensor([*student_shape, *teacher_shape, heads]).int()}


def main():
    tensors = {}
    cases = [(f"{kind}_{how}", lambda g, a=(kind, how): hidden(*a, g)) for kind, how in HIDDEN]
    cases += [(f"relations_{name}", lambda g, a=a: relations(*a, g)) for name, a in RELATIONS.items()]
    for i, (name, case) in enumerate(cases):
        for key, value in case(torch.Generator().manual_seed(i)).items():
            value = value.detach().contiguous()
            assert not value.is_floating_point() or value.isfinite().all()
            tensors[f"{name}/{key}"] = value if value.dtype == torch.int32 else value.float()
    versions = {"torch": torch.__version__, "safetensors": safetensors.__version__}
    safetensors.torch.save_file(tensors, pathlib.Path(__file__).with_name("inner.safetensors"), versions)


main()
