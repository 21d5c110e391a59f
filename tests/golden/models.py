#!/usr/bin/env python3
"""Tiny random models of every family, their logits, loss and every gradient, from Hugging Face transformers.

    pip install torch transformers safetensors     (versions: PINNED below)
    python tests/golden/models.py

writes tests/golden/models/<name>/: config.json and model.safetensors as transformers saves them, and golden.safetensors:
ids (B,T) I32; logits (B,T,V), loss (1) and grad.<parameter> F32, computed in float64 and rounded once. The loss is the
mean cross-entropy of tokens 1..T-1. Its metadata holds the versions that made it.

MODELS, build() and double_precision() are for the other scripts of this folder."""
import contextlib
import pathlib
import platform
import shutil

import safetensors
import safetensors.torch
import torch
import transformers

PINNED = {"torch": "2.15.0", "transformers": "5.23.0", "safetensors": "0.8.0"}
HERE = pathlib.Path(__file__).resolve().parent
VOCABULARY, BATCH, POSITIONS = 61, 2, 13

_SMALL = dict(vocab_size=VOCABULARY, num_hidden_layers=2, max_position_embeddings=128, rms_norm_eps=1e-5,
              bos_token_id=1, eos_token_id=2, pad_token_id=None)
MODELS = {
    # grouped heads, tied head, head width 24 / 4
    "llama_tied": transformers.LlamaConfig(
        **_SMALL, hidden_size=24, intermediate_size=40, num_attention_heads=4, num_key_value_heads=2,
        tie_word_embeddings=True),
    # head width that is not hidden / heads; frequencies in all three ranges of the scaling
    "llama_rope3": transformers.LlamaConfig(
        **_SMALL, hidden_size=32, intermediate_size=36, num_attention_heads=4, num_key_value_heads=1, head_dim=16,
        tie_word_embeddings=False,
        rope_parameters=dict(rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0,
                             high_freq_factor=4.0, original_max_position_embeddings=64)),
    "llama_bias": transformers.LlamaConfig(
        **_SMALL, hidden_size=24, intermediate_size=40, num_attention_heads=3, num_key_value_heads=3,
        tie_word_embeddings=False, attention_bias=True, mlp_bias=True,
        rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=2.0)),
    # a window shorter than the sequence
    "mistral_window": transformers.MistralConfig(
        **_SMALL, hidden_size=32, intermediate_size=40, num_attention_heads=4, num_key_value_heads=2,
        tie_word_embeddings=False, sliding_window=5),
    "qwen2": transformers.Qwen2Config(
        **_SMALL, hidden_size=24, intermediate_size=40, num_attention_heads=4, num_key_value_heads=2,
        tie_word_embeddings=True),
    "qwen3": transformers.Qwen3Config(
        **_SMALL, hidden_size=24, intermediate_size=40, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
        tie_word_embeddings=True),
}


@contextlib.contextmanager
def double_precision():
    """transformers' norms cast to torch.float32 by name; here that name means float64."""
    single = torch.float32
    torch.float32 = torch.float64
    try:
        yield
    finally:
        torch.float32 = single


def _fill(name, parameter, generator):
    """Nothing trivial: no norm weight of 1, no bias of 0. Values are exact in float32."""
    noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
    if "norm" in name:
        value = 1 + 0.3 * noise
    elif parameter.dim() == 1:
        value = 0.3 * noise
    elif "embed" in name:
        value = 0.3 * noise  # a tied head sees it too
    else:
        value = noise * parameter.shape[1] ** -0.5
    with torch.no_grad():
        parameter.copy_(value.to(parameter.dtype))


def build(name, seed=1):
    """The model in float64, holding float32 values, and its ids (B, T)."""
    generator = torch.Generator().manual_seed(seed + sorted(MODELS).index(name))
    model = transformers.AutoModelForCausalLM.from_config(MODELS[name], dtype=torch.float64)
    model.eval()
    for parameter_name, parameter in model.named_parameters():
        _fill(parameter_name, parameter, generator)
    ids = torch.randint(0, VOCABULARY, (BATCH, POSITIONS), generator=generator)
    return model, ids


def forward(model, ids):
    """Logits and mean next-token cross-entropy."""
    with double_precision():
        logits = model(input_ids=ids).logits
    assert logits.dtype == torch.float64
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, VOCABULARY), ids[:, 1:].reshape(-1))
    return logits, loss


def versions():
    found = {"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__,
             "safetensors": safetensors.__version__}
    if found != PINNED:
        print(f"note: made with {found}, pinned are {PINNED}")
    return dict(found, python=platform.python_version())


def save_model(model, directory):
    """config.json and model.safetensors as transformers writes them, in float32."""
    shutil.rmtree(directory, ignore_errors=True)
    model.float().save_pretrained(directory)
    (directory / "generation_config.json").unlink(missing_ok=True)


def main():
    for name in MODELS:
        model, ids = build(name)
        logits, loss = forward(model, ids)
        loss.backward()
        golden = {"ids": ids.int(), "logits": logits.detach().float().contiguous(), "loss": loss.detach().float().reshape(1)}
        for parameter_name, parameter in model.named_parameters():
            golden["grad." + parameter_name] = parameter.grad.float().contiguous()
        directory = HERE / "models" / name
        save_model(model, directory)
        safetensors.torch.save_file(golden, directory / "golden.safetensors", metadata=versions())
        size = sum(f.stat().st_size for f in directory.iterdir())
        print(f"{name}: loss {loss.item():.6f}, {sum(p.numel() for p in model.parameters())} parameters, {size} bytes")


if __name__ == "__main__":
    main()
