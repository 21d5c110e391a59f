"""Golden values of the fused output head by float64 autograd: cross-entropy plus lists of divergences from one or several
teachers, dense and sparse, each divergence written from its published formula (see kernels/ops.h).

Writes losses.safetensors beside this file; versions go to its metadata. Names: <scene>/<input>, <scene>/<teacher>/<input>, and
the results <scene>:<teacher>+<teacher>:<label>/<output>. Inputs are exact in bfloat16, so that the same values serve the
fp32 and the bf16 path. Usage: python tests/golden/losses.py
"""
import math
import pathlib

import safetensors
import safetensors.torch
import torch

KINDS = ["forward_kl", "reverse_kl", "symmetric_kl", "jsd", "jsd_normalized", "skew_forward_kl", "skew_reverse_kl",
         "adaptive_kl", "alpha_beta", "total_variation", "logit_mse"]  # enum divergence
MISSING = ["renormalise", "zero", "tail", "sampled"]  # enum missing_mass
C, K = 5, 6
SPARSE_TAU = 1.5


# ---- divergences of one row; p, q are vectors of log-probabilities over the categories ----

def kl(p, q):
    """A class with p = 0 adds 0 whatever q is."""
    p, q = p[p.exp() > 0], q[p.exp() > 0]
    return (p.exp() * (p - q)).sum()


def mix(a, p, q):
    """log(a e^p + (1-a) e^q)"""
    if a in (0, 1):
        return p if a else q
    return torch.logaddexp(p + math.log(a), q + math.log(1 - a))


def jsd(p, q, a):
    m = mix(a, p, q)
    return a * kl(p, m) + (1 - a) * kl(q, m)


def jsd_normalized(p, q, a):
    if a == 0:
        return kl(p, q)
    return kl(q, p) if a == 1 else jsd(p, q, a) / (a * (1 - a))


def adaptive(p, q, a):
    order = torch.sort(p, descending=True, stable=True).indices
    head = torch.zeros(len(p), dtype=torch.bool)
    sums = p[order].exp().cumsum(0)
    head[order] = sums - p[order].exp() < a
    gap = (p.exp() - q.exp()).abs().detach()
    if gap.sum() == 0:
        return (q * 0).sum()
    return (gap[head].sum() * kl(p, q) + gap[~head].sum() * kl(q, p)) / gap.sum()


def alpha_beta(p, q, a, b):
    """Cichocki, Cruces, Amari 2011, equation 19, and its limits 20 to 22."""
    if a == 0 and b == 0:
        return 0.5 * ((p - q) ** 2).sum()
    if b == 0:
        return ((a * p).exp() * a * (p - q) - (a * p).exp() + (a * q).exp()).sum() / a**2
    if a == 0:
        return ((b * q).exp() * b * (q - p) - (b * q).exp() + (b * p).exp()).sum() / b**2
    c = a + b
    return -((a * p + b * q).exp() - a / c * (c * p).exp() - b / c * (c * q).exp()).sum() / (a * b)


DIVERGENCES = {
    "forward_kl": lambda p, q, a, b: kl(p, q),
    "reverse_kl": lambda p, q, a, b: kl(q, p),
    "symmetric_kl": lambda p, q, a, b: (1 - a) * kl(p, q) + a * kl(q, p),
    "jsd": lambda p, q, a, b: jsd(p, q, a),
    "jsd_normalized": lambda p, q, a, b: jsd_normalized(p, q, a),
    "skew_forward_kl": lambda p, q, a, b: kl(p, mix(a, p, q)),
    "skew_reverse_kl": lambda p, q, a, b: kl(q, mix(a, q, p)),
    "adaptive_kl": lambda p, q, a, b: adaptive(p, q, a),
    "alpha_beta": alpha_beta,
    "total_variation": lambda p, q, a, b: 0.5 * (p.exp() - q.exp()).abs().sum(),
}


# ---- inputs ----

def exact(x):
    return x.to(torch.bfloat16).to(torch.float64)


def draw(rows, vocabulary, width, huge, g):
    """Hidden states and an output matrix; for huge logits both are integers, so that fp32 sums are exact."""
    if not huge:
        return exact(torch.randn(rows, width, generator=g)), exact(torch.randn(vocabulary, width, generator=g) * 0.7)
    hidden = torch.randint(-16, 17, (rows, width), generator=g).double()
    return hidden, torch.randint(-32, 33, (vocabulary, width), generator=g).double() * 8


def row_weights(rows, g):
    w = torch.rand(rows, generator=g, dtype=torch.float64).float().double()
    w[torch.rand(rows, generator=g) < 0.25] = 0
    return w


def cross_entropy(logits, target, weight):
    """0 in rows that do not count and where the target is none of the columns."""
    known = (weight > 0) & (target < logits.shape[1])
    ce = -torch.log_softmax(logits, -1).gather(1, target.clamp(max=logits.shape[1] - 1)[:, None])[:, 0]
    return torch.where(known, ce, 0.0)


def scene(rows, vocabulary, huge, g):
    hidden, head = draw(rows, vocabulary, C, huge, g)
    target = torch.randint(0, vocabulary, (rows,), generator=g)
    ce_weight = row_weights(rows, g)
    return {"hidden": hidden, "head": head, "target": target, "ce_weight": ce_weight,
            "ce": cross_entropy(hidden @ head.T, target, ce_weight)}


def dense(s, vocabulary, width, huge, g):
    hidden, head = draw(len(s["hidden"]), vocabulary, width, huge, g)
    common = min(vocabulary, len(s["head"]))
    logits = (hidden @ head.T)[:, :common]
    weight = row_weights(len(hidden), g)
    return {"hidden": hidden, "head": head, "weight": weight, "argmax": logits.argmax(-1),
            "ce": cross_entropy(logits, s["target"], weight), "logits": logits, "info": torch.tensor([vocabulary, -1])}


def top(teacher, missing, tau, g):
    """The K most probable columns of a dense teacher, in some rows fewer."""
    p = torch.softmax(teacher["logits"] / tau, -1)
    values, ids = torch.sort(p, descending=True)
    values, ids = values[:, :K].clone(), ids[:, :K].clone()
    used = torch.randint(1, K + 1, (len(p), 1), generator=g)
    ids[torch.arange(K) >= used] = -1
    tail = torch.stack([sum_outside(p[n], ids[n]) for n in range(len(p))])
    return sparse(p, ids, values.log(), tail, missing, tau, g)


def sum_outside(p, ids):
    rest = p.clone()
    rest[ids[ids >= 0]] = 0
    return rest.sum()


def sampled(teacher, tau, g):
    """K draws with replacement, their weights scaled so that the sums differ from 1."""
    p = torch.softmax(teacher["logits"] / tau, -1)
    draws = torch.multinomial(p, K, replacement=True, generator=g)
    weight = torch.zeros_like(p).scatter_add_(1, draws, torch.full(draws.shape, 1 / K, dtype=p.dtype))
    weight *= 0.7 + 0.6 * torch.rand(len(p), 1, generator=g, dtype=p.dtype)
    values, ids = torch.sort(weight, descending=True)
    ids, values = ids[:, :K].clone(), values[:, :K]
    ids[values == 0] = -1
    return sparse(p, ids, values.clamp(min=1e-30).log(), torch.zeros(len(p)), "sampled", tau, g)


def sparse(p, ids, log_p, tail, missing, tau, g):
    return {"ids": ids, "log_p": log_p.float().double(), "tail": tail.float().double(), "weight": row_weights(len(p), g),
            "tau": torch.tensor([tau]), "info": torch.tensor([p.shape[1], MISSING.index(missing)])}


# ---- losses ----

def categories(t, n, logits, tau):
    """Logarithms of p and q of row n over the categories of a teacher."""
    q = torch.log_softmax(logits / tau, -1)
    if "logits" in t:
        return torch.log_softmax(t["logits"][n] / tau, -1), q
    ids = t["ids"][n][t["ids"][n] >= 0]
    p = t["log_p"][n][: len(ids)]
    missing = MISSING[t["info"][1]]
    if missing == "sampled":
        return p, q[ids]
    if missing == "renormalise":
        return torch.log_softmax(p, -1), torch.log_softmax(logits[ids] / tau, -1)
    outside = torch.ones(len(q), dtype=torch.bool)
    outside[ids] = False
    p, tail = (torch.log_softmax(p, -1), torch.zeros(1)) if missing == "zero" else (p, t["tail"][n : n + 1])
    return torch.cat([p, tail.log()]), torch.cat([q[ids], torch.logsumexp(q[outside], 0)[None]])


def divergence(t, n, logits, term):
    kind, _, tau, a, b = term
    logits = logits[: t["info"][0]]
    if kind == "logit_mse":
        return ((logits / tau - t["logits"][n] / tau) ** 2).mean()
    return tau**2 * DIVERGENCES[kind](*categories(t, n, logits, tau), a, b)


def case(s, teachers, terms):
    hidden, head = s["hidden"].clone().requires_grad_(True), s["head"].clone().requires_grad_(True)
    logits = hidden @ head.T
    loss = (s["ce_weight"] * cross_entropy(logits, s["target"], s["ce_weight"])).sum()
    values = torch.zeros(len(teachers), len(hidden), len(terms), dtype=torch.float64)
    for m, t in enumerate(teachers):
        for n in torch.nonzero(t["weight"])[:, 0]:
            for k, term in enumerate(terms):
                d = divergence(t, n, logits[n], term)
                values[m, n, k] = d.detach()
                loss = loss + t["weight"][n] * term[1] * d
    loss.backward()
    common = min([len(head)] + [int(t["info"][0]) for t in teachers])
    table = [[KINDS.index(term[0]), *term[1:]] for term in terms] or [[-1, 0, 1, 0, 0]]
    out = {"terms": torch.tensor(table, dtype=torch.float64), "dhidden": hidden.grad, "dhead": head.grad,
           "argmax_s": logits[:, :common].argmax(-1)}
    return out | ({"divergence": values} if teachers and terms else {})


def term(kind, tau=1.0, weight=1.0, a=0.0, b=0.0):
    return kind, weight, tau, a, b


EVERY = {  # label: term, at both ends of each parameter
    "forward": term("forward_kl"),
    "reverse": term("reverse_kl"),
    "reverse_warm": term("reverse_kl", 1.5, 0.7),
    "symmetric": term("symmetric_kl", 1.5, a=0.3),
    "jsd_low": term("jsd", a=0.1),
    "jsd_half": term("jsd", 1.5, 0.8, a=0.5),
    "jsd_high": term("jsd", 0.5, a=0.9),
    "jsd_0": term("jsd", a=0.0),
    "jsd_1": term("jsd", a=1.0),
    "jsd_normalized": term("jsd_normalized", 1.5, a=0.3),
    "jsd_normalized_0": term("jsd_normalized", a=0.0),
    "jsd_normalized_1": term("jsd_normalized", 2.0, a=1.0),
    "skew_forward": term("skew_forward_kl", 1.5, a=0.1),
    "skew_forward_0": term("skew_forward_kl", a=0.0),
    "skew_reverse": term("skew_reverse_kl", 1.5, a=0.1),
    "skew_reverse_0": term("skew_reverse_kl", a=0.0),
    "adaptive": term("adaptive_kl", a=0.5),
    "adaptive_warm": term("adaptive_kl", 2.5, 0.6, a=0.8),
    "alpha_beta": term("alpha_beta", 1.5, a=0.2, b=0.7),
    "alpha_beta_11": term("alpha_beta", a=1.0, b=1.0),
    "alpha_beta_10": term("alpha_beta", a=1.0, b=0.0),
    "alpha_beta_01": term("alpha_beta", a=0.0, b=1.0),
    "alpha_beta_half_0": term("alpha_beta", a=0.5, b=0.0),
    "alpha_beta_0_half": term("alpha_beta", a=0.0, b=0.5),
    "alpha_beta_00": term("alpha_beta", 1.5, a=0.0, b=0.0),
    "total_variation": term("total_variation", 1.5),
    "mse": term("logit_mse", 1.5),
}
SPARSE = {
    "forward": term("forward_kl", SPARSE_TAU, 0.9),
    "jsd": term("jsd", SPARSE_TAU, a=0.4),
    "jsd_normalized": term("jsd_normalized", SPARSE_TAU, a=0.6),
    "skew_forward": term("skew_forward_kl", SPARSE_TAU, a=0.2),
    "skew_reverse": term("skew_reverse_kl", SPARSE_TAU, a=0.2),
    "alpha_beta": term("alpha_beta", SPARSE_TAU, a=0.4, b=0.6),
    "total_variation": term("total_variation", SPARSE_TAU),
}
SPARSE_FINITE = SPARSE | {  # where no class has p = 0 beside q > 0
    "reverse": term("reverse_kl", SPARSE_TAU),
    "symmetric": term("symmetric_kl", SPARSE_TAU, a=0.3),
    "adaptive": term("adaptive_kl", SPARSE_TAU, a=0.5),
    "alpha_beta_2": term("alpha_beta", SPARSE_TAU, a=0.2, b=0.3),
}
LIST = [term("forward_kl", 2.0, 0.5), term("jsd", 1.0, 0.25, a=0.5), term("logit_mse", 1.0, 0.01),
        term("reverse_kl", 2.0, 1.5)]
SPARSE_LIST = [term("forward_kl", SPARSE_TAU, 0.5), term("jsd", SPARSE_TAU, 2.0, a=0.5)]


def small_cases():
    cases = [("dense", label, [t]) for label, t in EVERY.items()]
    for missing in MISSING[:3]:
        every = SPARSE if missing == "zero" else SPARSE_FINITE
        cases += [(missing, label, [t]) for label, t in every.items()]
    cases += [(name, "list", LIST) for name in ("dense", "wide", "narrow", "dense+narrow", "narrow+dense+wide")]
    cases += [("sampled", "forward", [SPARSE["forward"]]), ("narrow_tail", "list", SPARSE_LIST),
              ("tail", "list", SPARSE_LIST), ("dense+tail", "list", SPARSE_LIST),
              ("narrow_tail+narrow+zero", "list", SPARSE_LIST), ("dense+sampled", "forward", [SPARSE["forward"]]),
              ("dense+narrow+tail", "watch", []), ("dense", "watch", [])]
    return cases


def small(g):
    s = scene(19, 37, False, g)
    teachers = {"dense": dense(s, 37, 7, False, g), "wide": dense(s, 48, 4, False, g), "narrow": dense(s, 29, 3, False, g)}
    for missing in MISSING[:3]:
        teachers[missing] = top(teachers["dense"], missing, SPARSE_TAU, g)
    teachers["narrow_tail"] = top(teachers["narrow"], "tail", SPARSE_TAU, g)
    teachers["sampled"] = sampled(teachers["dense"], SPARSE_TAU, g)
    return s, teachers, small_cases()


def large(g):
    s = scene(37, 129, False, g)
    return s, {"dense": dense(s, 129, 7, False, g)}, [("", "plain", []), ("dense", "warm", [term("forward_kl", 2.5)])]


def huge(g):
    s = scene(19, 37, True, g)
    return s, {"dense": dense(s, 37, 7, True, g)}, [
        ("dense", label, [t]) for label, t in {
            "forward": term("forward_kl", 2.0), "reverse": term("reverse_kl", 2.0), "jsd": term("jsd", 2.0, a=0.5),
            "skew_forward": term("skew_forward_kl", a=0.1), "total_variation": term("total_variation")}.items()]


def main():
    tensors = {}

    def put(prefix, values):
        for key, value in values.items():
            value = value.detach().contiguous()
            tensors[f"{prefix}/{key}"] = value.float() if value.is_floating_point() else value.int()

    for i, (name, make) in enumerate({"small": small, "large": large, "huge": huge}.items()):
        s, teachers, cases = make(torch.Generator().manual_seed(i))
        put(name, s)
        for key, t in teachers.items():
            put(f"{name}/{key}", {k: v for k, v in t.items() if k != "logits"})
        for who, label, terms in cases:
            put(f"{name}:{who}:{label}", case(s, [teachers[t] for t in who.split("+") if t], terms))
    versions = {"torch": torch.__version__, "safetensors": safetensors.__version__}
    safetensors.torch.save_file(tensors, pathlib.Path(__file__).with_name("losses.safetensors"), versions)


main()
