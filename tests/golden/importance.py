#!/usr/bin/env python3
"""Scores of every unit of the tiny models of models.py, written out plainly with torch in float64.

    pip install torch transformers safetensors     (versions: PINNED in models.py)
    python tests/golden/importance.py

writes tests/golden/importance.safetensors: "<model>/<method>.<structure>" F32 for the methods magnitude, activation, wanda,
fluctuation, taylor and the structures hidden (C), layers (L), groups (L,NKV), heads (L,NH), ffn (L,F); "<model>/influence",
"<model>/loss", "<model>/kl" (L); "<model>/context_mean", "<model>/ffn_mean"; "<model>/refit.o", "<model>/refit.down"
(L, C, kept): output matrices fitted again for the kept inputs "<model>/refit.heads" (L, kept heads), "<model>/refit.ffn" (L,
kept channels). The calibration text is the ids of the golden models, each row a sequence."""
import safetensors.torch
import torch

import models

RIDGE = 1e-2


def watch(model):
    """What flowed through the places that scores look at: name -> (B, T, width)."""
    seen, handles = {}, []

    def output_of(module, name):
        handles.append(module.register_forward_hook(lambda m, i, o: seen.__setitem__(name, (o[0] if isinstance(o, tuple) else o).detach())))

    def input_of(module, name):
        handles.append(module.register_forward_pre_hook(lambda m, i: seen.__setitem__(name, i[0].detach())))

    for n, layer in enumerate(model.model.layers):
        output_of(layer.input_layernorm, f"attn_norm.{n}")
        output_of(layer.post_attention_layernorm, f"ffn_norm.{n}")
        input_of(layer.self_attn.o_proj, f"context.{n}")
        input_of(layer.mlp.down_proj, f"ffn.{n}")
        handles.append(layer.register_forward_pre_hook(
            lambda m, i, n=n: seen.__setitem__(f"before.{n}", i[0].detach())))
        output_of(layer, f"after.{n}")
    output_of(model.model.norm, "final_norm")
    return seen, handles


def head_dim(config):
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def owned(model, value):
    """Sums of value(name) over the weights that each unit owns."""
    c = model.config
    layers, hd, size = c.num_hidden_layers, head_dim(c), c.num_attention_heads // c.num_key_value_heads
    out = {"hidden": torch.zeros(c.hidden_size, dtype=torch.float64), "layers": [], "groups": [], "heads": [], "ffn": []}
    out["hidden"] += value("model.embed_tokens.weight").sum(0) + value("model.norm.weight")
    if not c.tie_word_embeddings:
        out["hidden"] += value("lm_head.weight").sum(0)
    for n in range(layers):
        p = f"model.layers.{n}."
        v = {k[len(p):]: value(k) for k, _ in model.named_parameters() if k.startswith(p)}
        out["layers"].append(sum(x.sum() for x in v.values()))
        rows = {k.split(".")[1]: 0 for k in v if "proj" in k}
        for k, x in v.items():
            if "proj" in k:
                rows[k.split(".")[1]] = rows[k.split(".")[1]] + (x.sum(1) if x.dim() == 2 else x)
        o_cols, down_cols = v["self_attn.o_proj.weight"].sum(0), v["mlp.down_proj.weight"].sum(0)
        heads = (rows["q_proj"] + o_cols).reshape(-1, hd).sum(1)
        out["heads"].append(heads)
        out["groups"].append(heads.reshape(-1, size).sum(1) + (rows["k_proj"] + rows["v_proj"]).reshape(-1, hd).sum(1))
        out["ffn"].append(rows["gate_proj"] + rows["up_proj"] + down_cols)
        out["hidden"] += v["input_layernorm.weight"] + v["post_attention_layernorm.weight"] + rows["o_proj"] + rows["down_proj"]
        for k in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.up_proj"):
            out["hidden"] += v[k + ".weight"].sum(0)
    return {k: torch.stack(x) if isinstance(x, list) else x for k, x in out.items()}


def read(model, f, stat):
    """Sums of f(w) * stat(place) over the weights that read each unit."""
    c = model.config
    hd, size = head_dim(c), c.num_attention_heads // c.num_key_value_heads
    out = {"hidden": f(model.lm_head.weight).sum(0) * stat("final_norm"), "layers": [], "groups": [], "heads": [], "ffn": []}
    for n, layer in enumerate(model.model.layers):
        a, m = layer.self_attn, layer.mlp
        hidden = sum(f(p.weight).sum(0) for p in (a.q_proj, a.k_proj, a.v_proj)) * stat(f"attn_norm.{n}")
        hidden = hidden + sum(f(p.weight).sum(0) for p in (m.gate_proj, m.up_proj)) * stat(f"ffn_norm.{n}")
        heads = (f(a.o_proj.weight).sum(0) * stat(f"context.{n}")).reshape(-1, hd).sum(1)
        ffn = f(m.down_proj.weight).sum(0) * stat(f"ffn.{n}")
        out["hidden"] = out["hidden"] + hidden
        out["heads"].append(heads)
        out["groups"].append(heads.reshape(-1, size).sum(1))
        out["ffn"].append(ffn)
        out["layers"].append(hidden.sum() + heads.sum() + ffn.sum())
    return {k: torch.stack(x) if isinstance(x, list) else x for k, x in out.items()}


def activation(model, seen):
    c = model.config
    hd, size = head_dim(c), c.num_attention_heads // c.num_key_value_heads

    def over_text(magnitude):  # mean along the sequence, L2 along the batch
        return magnitude.mean(1).pow(2).sum(0).sqrt()

    layers = range(c.num_hidden_layers)
    norms = [f"{k}.{n}" for n in layers for k in ("attn_norm", "ffn_norm")] + ["final_norm"]
    heads = torch.stack([over_text(seen[f"context.{n}"].unflatten(-1, (-1, hd)).norm(dim=-1)) for n in layers])
    return {"hidden": sum(over_text(seen[k].abs()) for k in norms), "heads": heads,
            "groups": heads.unflatten(1, (-1, size)).sum(-1),
            "ffn": torch.stack([over_text(seen[f"ffn.{n}"].abs()) for n in layers])}


def leave_one_out(model, ids):
    """Increase of the loss, and KL from the whole model, without each layer; over the rows that predict a token."""
    full, loss = models.forward(model, ids)
    losses, kls = [], []
    for layer in model.model.layers:
        silent = [x.register_forward_hook(lambda m, i, o: 0 * o) for x in (layer.self_attn.o_proj, layer.mlp.down_proj)]
        logits, without = models.forward(model, ids)
        for h in silent:
            h.remove()
        p, q = full[:, :-1].log_softmax(-1), logits[:, :-1].log_softmax(-1)
        losses.append(without - loss)
        kls.append((p.exp() * (p - q)).sum(-1).mean())
    return torch.stack(losses), torch.stack(kls)


def refit(weight, x, kept):
    """argmin |W' x_kept - W x|^2 + ridge |W' - W_kept|^2, ridge relative to the mean of the kept inputs' squares."""
    x = x.flatten(0, 1)
    a, w = x[:, kept], weight[:, kept]
    gram = a.T @ a
    ridge = RIDGE * gram.diagonal().mean()
    right = weight @ x.T @ a + ridge * w
    return torch.linalg.solve(gram + ridge * torch.eye(len(kept), dtype=gram.dtype), right.T).T


def refits(model, seen):
    c = model.config
    hd, out = head_dim(c), {"o": [], "down": [], "heads": [], "ffn": []}
    for n, layer in enumerate(model.model.layers):
        heads = torch.arange(n, c.num_attention_heads, 2)[:1 + (c.num_attention_heads - 2) // 2]
        ffn = torch.arange(n, c.intermediate_size, 2)[:c.intermediate_size // 2]
        columns = (heads[:, None] * hd + torch.arange(hd)).flatten()
        out["o"].append(refit(layer.self_attn.o_proj.weight, seen[f"context.{n}"], columns))
        out["down"].append(refit(layer.mlp.down_proj.weight, seen[f"ffn.{n}"], ffn))
        out["heads"].append(heads.int())
        out["ffn"].append(ffn.int())
    return {k: torch.stack(v) for k, v in out.items()}


def scores_of(name):
    model, ids = models.build(name)
    weights = dict(model.named_parameters())
    seen, handles = watch(model)
    _, loss = models.forward(model, ids)
    for h in handles:
        h.remove()
    loss.backward()
    flat = {k: x.flatten(0, 1) for k, x in seen.items()}
    layers = range(model.config.num_hidden_layers)
    with torch.no_grad():
        methods = {
            "magnitude": {k: x.sqrt() for k, x in owned(model, lambda n: weights[n] ** 2).items()},
            "taylor": {k: x.abs() for k, x in owned(model, lambda n: weights[n] * weights[n].grad).items()},
            "wanda": read(model, torch.abs, lambda place: flat[place].norm(dim=0)),
            "fluctuation": read(model, torch.square, lambda place: flat[place].var(dim=0)),
            "activation": activation(model, seen),
        }
        out = {f"{m}.{k}": x for m, table in methods.items() for k, x in table.items()}
        cos = [torch.nn.functional.cosine_similarity(flat[f"before.{n}"], flat[f"after.{n}"], dim=-1) for n in layers]
        out["influence"] = torch.stack([(1 - x).mean() for x in cos])
        out["loss"], out["kl"] = leave_one_out(model, ids)
        out["context_mean"] = torch.stack([flat[f"context.{n}"].mean(0) for n in layers])
        out["ffn_mean"] = torch.stack([flat[f"ffn.{n}"].mean(0) for n in layers])
        out.update({f"refit.{k}": x for k, x in refits(model, seen).items()})
    return {k: x if x.dtype == torch.int32 else x.float() for k, x in out.items()}


def main():
    golden = {f"{name}/{k}": x.contiguous() for name in models.MODELS for k, x in scores_of(name).items()}
    path = models.HERE / "importance.safetensors"
    safetensors.torch.save_file(golden, path, metadata=models.versions())
    print(f"{len(golden)} tensors, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
