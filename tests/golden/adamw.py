"""Golden values of training: ten AdamW steps of a tiny Llama, and the gradients of one distillation step.

Writes adamw/student and adamw/teacher (Hugging Face directories) and adamw.safetensors beside this file; versions go to
its metadata. Everything runs in float64 from weights that are exact in float32. Usage: python tests/golden/adamw.py
"""
import pathlib

import safetensors
import safetensors.torch
import torch
import transformers

HERE = pathlib.Path(__file__).parent
STEPS, B, T = 10, 2, 13
LR, DECAY, BETAS, EPS, CLIP = 2e-3, 0.1, (0.9, 0.95), 1e-8, 1.0
KD_WEIGHT, TAU = 0.7, 2.0


def model(name, seed, **shape):
    """A random Llama whose norms are not ones, saved in fp32 and returned in float64."""
    config = transformers.LlamaConfig(max_position_embeddings=64, bos_token_id=1, eos_token_id=2, **shape)
    torch.manual_seed(seed)
    m = transformers.LlamaForCausalLM(config)
    with torch.no_grad():
        for p in m.parameters():
            p.copy_(1 + 0.2 * torch.randn_like(p) if p.ndim == 1 else 0.25 * torch.randn_like(p))
    m.save_pretrained(HERE / "adamw" / name)
    (HERE / "adamw" / name / "generation_config.json").unlink(missing_ok=True)
    return m.double()


def data(vocabulary):
    """Targets with uncounted rows (-1), more of them in some sequences than in others, and separator flags."""
    g = torch.Generator().manual_seed(3)
    tokens = torch.randint(0, vocabulary, (STEPS, B, T), generator=g)
    targets = torch.randint(0, vocabulary, (STEPS, B, T), generator=g)
    left_out = torch.rand(STEPS, B, 1, generator=g) * 0.7
    targets[torch.rand(STEPS, B, T, generator=g) < left_out] = -1
    flags = (torch.rand(STEPS, B, T, generator=g) < 0.2).to(torch.uint8)
    return tokens, targets, flags


def row_ce(logits, targets):
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1, reduction="none")


def groups(m):
    matrices = [p for p in m.parameters() if p.ndim > 1]
    vectors = [p for p in m.parameters() if p.ndim == 1]
    return [{"params": matrices, "weight_decay": DECAY}, {"params": vectors, "weight_decay": 0.0}]


def plain(m, tokens, targets):
    optimizer = torch.optim.AdamW(groups(m), lr=LR, betas=BETAS, eps=EPS)
    losses, norms = [], []
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = row_ce(m(tokens[step]).logits, targets[step]).sum() / (targets[step] >= 0).sum()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(m.parameters(), CLIP).item())
        losses.append(loss.item())
        optimizer.step()
    print("losses", losses, "norms", norms)
    return {"plain/loss": torch.tensor(losses), "plain/norm": torch.tensor(norms)} | {
        f"plain/final/{name}": p for name, p in m.named_parameters()}


def distil(m, teacher, tokens, targets, flags):
    m.zero_grad()
    s = m(tokens).logits
    with torch.no_grad():
        t = teacher(tokens).logits[..., : s.shape[-1]]
    log_p, log_q = torch.log_softmax(t / TAU, -1), torch.log_softmax(s / TAU, -1)
    kl = TAU**2 * (log_p.exp() * (log_p - log_q)).sum(-1).flatten()
    ce, counted = row_ce(s, targets), targets.flatten() >= 0
    kd = counted & (flags.flatten() == 0)
    loss = torch.where(kd, (1 - KD_WEIGHT) * ce + KD_WEIGHT * kl, ce)[counted].sum() / counted.sum()
    loss.backward()
    agree = (s.argmax(-1) == t.argmax(-1)).flatten()
    out = {"kd/ce": ce[counted].sum()[None], "kd/kl": kl[kd].sum()[None],
           "kd/counts": torch.tensor([counted.sum(), kd.sum(), (agree & kd).sum()])}
    return out | {f"kd/grad/{name}": p.grad for name, p in m.named_parameters()}


def main():
    student = model("student", 1, vocab_size=61, hidden_size=24, intermediate_size=40, num_hidden_layers=2,
                    num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True)
    teacher = model("teacher", 2, vocab_size=64, hidden_size=32, intermediate_size=36, num_hidden_layers=1,
                    num_attention_heads=2, num_key_value_heads=2, tie_word_embeddings=False)
    tokens, targets, flags = data(61)
    tensors = distil(student, teacher, tokens[0], targets[0], flags[0]) | plain(student, tokens, targets)
    tensors = {k: (v.int() if v.dtype == torch.int64 else v.detach().float()).contiguous() for k, v in tensors.items()}
    tensors |= {"data/tokens": tokens.int(), "data/targets": targets.int(), "data/flags": flags}
    versions = {"torch": torch.__version__, "transformers": transformers.__version__, "safetensors": safetensors.__version__}
    safetensors.torch.save_file(tensors, HERE / "adamw.safetensors", versions)


main()
