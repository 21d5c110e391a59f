"""Golden ids for tests/test_tokenizer.c, from the `tokenizers` library.

    python tests/golden/make_tokenizers.py [SHARED]      (SHARED: the shared directory, default ../shared)

Writes tokenizers_train.json (merges that the library's trainer finds), tokenizers_shared.json (the tokenizers of SHARED/data; kept as it is when SHARED is absent) and
tokenizers_variants.json (small tokenizers made here, so that the test needs nothing else): texts, ids without and with
special tokens, decoded text. Versions stand in the files."""
import copy, json, os, random, sys
import tokenizers
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers, Regex

here = os.path.dirname(os.path.abspath(__file__))
shared = sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, "..", "..", "..", "shared")

TEXTS = [
    "", " ", "  ", "a", "Once upon a time, there was a little girl named Lily.",
    " leading", "trailing ", "  two  spaces   three    four  ", "\ttab\tand\t\ttabs", "line\nline\n\nline\r\nCRLF\r\n\r\n  x",
    "\n", " \n \n", "I'm you're he's we'll they'd I've don't 'S 'LL it'\u017f", "0 1 12 123 1234 12345 3.14159 1,000,000 \u0664\u0665\u0666 \u2167 \u00bd",
    "<s>text</s> <unk>", "a<|endoftext|>b <|endoftext|> c", "<|endoftext|>", "<s>", "<|padding|><s><s>", " <s> hi </s> there",
    "caf\u00e9 cafe\u0301 \u212b A\u030a \ufb01 \u1e9b\u0323 \uac00 \u1100\u1161",
    "\u4f60\u597d\uff0c\u4e16\u754c\uff01\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8\u3067\u3059\u3002\ud55c\uad6d\uc5b4",
    "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645 \u0639\u064e\u0631\u064e\u0628\u0650\u064a",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e \u0967\u0968\u0969",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f44d\U0001f3fd \u2764\ufe0f \U0001f1e9\U0001f1ea",
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440! \u0395\u03bb\u03bb\u03b7\u03bd\u03b9\u03ba\u03cc\u03c2 \u0130stanbul \u00df \u1e9e",
    "nbsp\u00a0here\u2003em\u3000wide\u1680ogham\u180emvs\u200bzwsp\u2028ls\u0085nel", "\u2581meta\u2581 \u2581 \u2581\u2581\u2581x \u2581",
    "private \ue000 \uf8ff \U000f0000 nonchar \ufffe \uffff \U0010ffff", "nul\0inside\0", "ctl \x01\x02\x7f\x1b[0m",
    "A" * 70 + "b" * 3 + " " + "ab" * 40, "supercalifragilisticexpialidocious" * 3, " " * 40 + "x" + "\n" * 9,
    "def f(x):\n    return x**2  # square\n\tif x>=10 and y!=3: {a[0]->b};", "http://example.com/a?b=c&d=%20#e user@host.org",
    "\"Quoted,\" she said; \u201ccurly\u201d \u2018s\u2019 \u2014 dash \u2026 (paren) [x] {y} $5 \u20ac7 ^_`~|",
    "\u24b6\u24b7 word\u24b8<x>w <x> <X>,<x>y \u200d<x>", "_under_score_ camelCaseWord HTTPServer x2y 2nd",
    "hello  <l>  a <r>  b <lr>  c<l>d<r>", "HELLO Lower UPPER Stra\u00dfe \u01c5", "Th\u0323\u0307e \u1e69 q\u0307\u0323",
]
TRAIN = [
    "Once upon a time, there was a little girl named Lily. She liked to play in the park with her friends.",
    "The old man walked down the road; he didn't know where he was going, but he'd been there before, in 1984 or 2001.",
    "def main(argc, argv):\n    for i in range(100):\n        print(i, argv[i])\n    return 0\n",
    "caf\u00e9 na\u00efve \u00fcber stra\u00dfe; \u041f\u0440\u0438\u0432\u0435\u0442 \u043c\u0438\u0440; \u4f60\u597d \u4e16\u754c; \U0001f44d\U0001f44d",
    "Hello hello hello world, the the that this there then. I'm you're they'll. 12 123 1234 000 000", "   indented    text     with    spaces",
] * 3
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
GPT4O = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def byte_level_base():
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(TRAIN, trainers.BpeTrainer(vocab_size=420, special_tokens=["<|endoftext|>"], show_progress=False,
                                                     initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    return json.loads(t.to_str())


def characters_base(words):
    """Characters with byte fallback, as converted sentencepiece models are; merges inside words only, or not."""
    t = Tokenizer(models.BPE(unk_token="<unk>"))
    t.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    if words:
        t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    t.train_from_iterator([x for x in TRAIN for _ in (1, 2)], trainers.BpeTrainer(vocab_size=260, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False))
    j = json.loads(t.to_str())
    old = sorted(j["model"]["vocab"], key=j["model"]["vocab"].get)
    tokens = old[:3] + ["<0x%02X>" % i for i in range(256)] + old[3:]
    j["model"].update(vocab={x: i for i, x in enumerate(tokens)}, byte_fallback=True, fuse_unk=True)
    j["pre_tokenizer"] = None
    j["decoder"] = json.loads(decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]).__getstate__())
    j["post_processor"] = json.loads(processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]).__getstate__())
    return j


def state(x):
    return json.loads(x.__getstate__())


def pre(*stages):
    return {"pre_tokenizer": state(stages[0] if len(stages) == 1 else pre_tokenizers.Sequence(list(stages)))}


def added(j, *tokens):
    """The patch that adds tokens at the end of a base's list."""
    n, out = len(j["model"]["vocab"]), copy.deepcopy(j["added_tokens"])
    for i, (content, flags) in enumerate(tokens):
        flags = {**dict(single_word=False, lstrip=False, rstrip=False, normalized=True, special=False), **flags}
        out.append({"id": n + i, "content": content, **flags})
    return {"added_tokens": out}


def variants(bases):
    b, c = bases["bytes"], bases["words"]
    split = lambda r, how="isolated", invert=False: pre_tokenizers.Split(Regex(r), how, invert)
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    thin = [m for i, m in enumerate(b["model"]["merges"]) if i % 5]
    template = lambda s: {"post_processor": state(processors.Sequence([processors.ByteLevel(), processors.TemplateProcessing(single=s, pair="$A $B", special_tokens=[("<|endoftext|>", 0)])]))}
    xs = [("<x>", dict(single_word=True)), ("<l>", dict(lstrip=True, special=True, normalized=False)), ("<r>", dict(rstrip=True)),
          ("<lr>", dict(lstrip=True, rstrip=True, normalized=False)), ("hello", dict(special=True)), ("LOWER", {}), ("\u212b", {})]
    yield "gpt2", "bytes", {}
    yield "llama3", "bytes", {**pre(split(LLAMA3), level), "model": {"ignore_merges": True, "merges": thin}, **template("<|endoftext|> $A")}
    yield "llama3_merges", "bytes", {**pre(split(LLAMA3), level), "model": {"merges": thin}, **template("<|endoftext|> $A <|endoftext|>")}
    yield "qwen2", "bytes", {"normalizer": state(normalizers.NFC()), **pre(split(QWEN2), level), **added(b, *xs)}
    yield "gpt4o", "bytes", {**pre(split(GPT4O), level), **added(b, ("    ", {}), ("   ", {}), ("  ", {}))}
    yield "starcoder", "bytes", pre(pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=True))
    yield "falcon", "bytes", pre(pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.ByteLevel(add_prefix_space=False), pre_tokenizers.Digits(False), split("[0-9][0-9][0-9]"))
    yield "deepseek", "bytes", pre(split(r"\p{N}{1,3}"), split("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"), split(r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"), level)
    yield "words_class", "bytes", pre(split(r"\w+|\W"), split(r"[\w ]+\S|\d"), level)
    for how in ["removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"]:
        yield "split_" + how, "bytes", pre(split(r"[aeiou ]", how), level)
        if how not in ("isolated", "merged_with_previous"):
            yield "invert_" + how, "bytes", pre(split(r"[a-z]+|[A-Z]", how, True), level)
        if how in ("removed", "contiguous"):
            yield "string_" + how, "bytes", pre(pre_tokenizers.Split("  ", how), pre_tokenizers.Punctuation(how), level)
    yield "empty_matches", "bytes", pre(split(r"x*|\b", "merged_with_next"), level)
    yield "whitespace", "bytes", pre(pre_tokenizers.Whitespace(), level)
    yield "whitespace_split", "bytes", pre(pre_tokenizers.WhitespaceSplit(), level)
    yield "nfd_lower", "bytes", {"normalizer": state(normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase()])), **added(b, *xs)}
    yield "nfkc_strip", "bytes", {"normalizer": state(normalizers.Sequence([normalizers.NFKC(), normalizers.Strip()])), **added(b, *xs)}
    yield "nfkd_lstrip", "bytes", {"normalizer": state(normalizers.Sequence([normalizers.NFKD(), normalizers.Strip(True, False), normalizers.Replace(Regex(r"\s{2,}"), " "), normalizers.Replace("ll", "LL")]))}
    yield "llama2", "words", {}
    yield "llama2_whole", "lines", {}
    yield "llama2_added", "words", added(c, *xs)
    yield "no_fallback", "words", {"model": {"byte_fallback": False}}
    yield "no_fuse", "words", {"model": {"byte_fallback": False, "fuse_unk": False}}
    yield "no_unk", "words", {"model": {"byte_fallback": False, "unk_token": None}, "decoder": None}
    half = {k: v for k, v in c["model"]["vocab"].items() if k not in ("<0xE4>", "<0xF0>")}
    yield "half_fallback", "words", {"model": {"vocab": half}}
    for scheme in ["always", "first", "never"]:
        meta = pre_tokenizers.Metaspace("\u2581", scheme, scheme != "never")
        yield "metaspace_" + scheme, "words", {"normalizer": None, **pre(meta), "decoder": state(decoders.Metaspace("\u2581", scheme)), **added(c, *xs)}
    yield "metaspace_second", "words", {"normalizer": None, **pre(pre_tokenizers.Digits(), pre_tokenizers.Metaspace("\u2581", "first", False))}


def patched(base, patch):
    j = copy.deepcopy(base)
    for key, value in patch.items():
        if key == "model":
            j["model"].update(value)
        else:
            j[key] = value
    return j


def case(t, name, decode_too=True, **where):
    plain = [t.encode(x, add_special_tokens=False).ids for x in TEXTS]
    special = [t.encode(x).ids for x in TEXTS]
    r = random.Random(name)
    ids = sorted(t.get_vocab().values())
    noise = [[r.choice(ids) for _ in range(12)] for _ in range(6)] + [[r.choice(ids[:600]) for _ in range(12)] for _ in range(6)]
    decode = plain + noise
    empty = t.encode("").ids
    assert all(s == empty[:1] * (len(s) > len(p)) + p + s[len(p) + 1:] if empty else s == p for s, p in zip(special, plain))
    out = {"name": name, **where, "plain": plain, "special": special[4]}
    if decode_too:
        out.update(noise=noise, decoded=[t.decode(x, skip_special_tokens=False) for x in decode], skipped=[t.decode(x) for x in decode])
    return out


def write(name, value):
    value = {"versions": {"tokenizers": tokenizers.__version__, "python": sys.version.split()[0]}, "texts": TEXTS, **value}
    with open(os.path.join(here, name), "w", encoding="utf-8") as f:
        f.write("{" + ",\n".join(json.dumps(k) + ":" + ("[\n" + ",\n".join(json.dumps(x, ensure_ascii=False, separators=(",", ":")) for x in v) + "]"
                if k == "cases" else json.dumps(v, ensure_ascii=False, separators=(",", ":"))) for k, v in value.items()) + "}\n")


def trained(vocab_size, min_frequency):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.train_from_iterator(TRAIN + TEXTS, trainers.BpeTrainer(vocab_size=vocab_size, min_frequency=min_frequency, show_progress=False,
        special_tokens=["<s>", "</s>"], initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    j = json.loads(t.to_str())["model"]
    return {"vocab_size": vocab_size, "min_frequency": min_frequency, "vocab": j["vocab"], "merges": [" ".join(m) for m in j["merges"]]}


def main():
    write("tokenizers_train.json", {"documents": TRAIN + TEXTS, "cases": [trained(v, f) for v, f in [(258, 1), (300, 2), (600, 2), (5000, 1)]]})
    bases = {"bytes": byte_level_base(), "words": characters_base(True), "lines": characters_base(False)}
    write("tokenizers_variants.json", {"bases": bases, "cases": [
        case(Tokenizer.from_str(json.dumps(patched(bases[base], patch))), name, "added_tokens" in patch or "decoder" in patch or not patch, base=base, patch=patch)
        for name, base, patch in variants(bases)]})
    data = os.path.join(shared, "data")
    if not os.path.isdir(data):
        return
    paths = ["models/stories260K/tokenizer.json", "models/stories3M/tokenizer.json", "tokenizers/pythia_neox.tokenizer.json",
             "tokenizers/tinystories_bpe4096.tokenizer.json"]
    cases = [case(Tokenizer.from_file(os.path.join(data, p)), p, path="data/" + p) for p in paths]
    pair = [os.path.join(data, "tokenizers", x) for x in ("gpt2.vocab.json", "gpt2.merges.txt")]
    t = Tokenizer(models.BPE.from_file(*pair))
    t.pre_tokenizer, t.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    t.add_special_tokens([AddedToken("<|endoftext|>", special=True)])
    cases.append(case(t, "gpt2 pair", path="data/tokenizers/gpt2.vocab.json"))
    write("tokenizers_shared.json", {"cases": cases})


main()
