#!/usr/bin/env python3
"""Does a model directory mean to Hugging Face transformers what it means to espalier? Compares logits of one sequence.

    pip install torch transformers safetensors
    python tests/interop.py MODEL [--espalier build/espalier] [--ids 1,2,3] [--tolerance 1e-4]

Runs `espalier logits MODEL --ids … --out F` and transformers in float64 on the same ids; prints the largest difference,
as a share of |logit| + rms. Exit status 1 when it exceeds the tolerance, or when either side refuses the model."""
import argparse
import pathlib
import random
import subprocess
import sys
import tempfile

import torch
import transformers
from safetensors.torch import load_file


def default_ids(config, n=48):
    count = min(n, config.max_position_embeddings)
    return [random.Random(1).randrange(config.vocab_size) for _ in range(count)]


def espalier_logits(program, model, ids):
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "logits.safetensors"
        subprocess.run([program, "logits", model, "--ids", ",".join(map(str, ids)), "--out", str(out)], check=True)
        return load_file(out)["logits"].double()


def transformers_logits(model, ids):
    loaded = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float64)
    loaded.eval()
    with torch.no_grad():
        return loaded(input_ids=torch.tensor([ids])).logits[0].double()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--espalier", default="build/espalier")
    parser.add_argument("--ids", help="comma-separated; default: 48 random ones")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    args = parser.parse_args()
    config = transformers.AutoConfig.from_pretrained(args.model)
    ids = [int(i) for i in args.ids.split(",")] if args.ids else default_ids(config)
    got, want = espalier_logits(args.espalier, args.model, ids), transformers_logits(args.model, ids)
    if got.shape != want.shape:
        sys.exit(f"{args.model}: shape {tuple(got.shape)}, transformers has {tuple(want.shape)}")
    gap = ((got - want).abs() / (want.abs() + want.square().mean().sqrt())).max().item()
    print(f"{args.model}: {len(ids)} tokens, largest difference {gap:.2e} (tolerance {args.tolerance:g}); "
          f"transformers {transformers.__version__}, torch {torch.__version__}")
    sys.exit(0 if gap <= args.tolerance else 1)


if __name__ == "__main__":
    main()
