#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes data/clip_small/ (a tokenizer folder with some 600 merges learnt from TEXT) and data/tokenizer.json: token ids by
transformers' CLIPTokenizer for STRINGS, with the small vocabulary in five spellings of the folder and with CLIP's own.

Usage: make_tokenizer.py [bpe_simple_vocab_16e6.txt.gz]  (without it the ids of the real vocabulary are kept)
"""
import collections, gzip, json, os, shutil, sys, tempfile, unicodedata, warnings
import tokenizers, transformers
from tokenizers import Regex, normalizers, pre_tokenizers
from transformers import CLIPTokenizer

warnings.filterwarnings("ignore")
HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data")
BOS, EOS = "<|startoftext|>", "<|endoftext|>"
TEXT = """a small red kite flies above the green hill while two children watch it from the old stone wall
the photograph of a cat sleeping on a blue chair beside an open window with warm evening light
an oil painting of a ship in a storm, dark clouds, tall waves, and one bright lamp at the bow
it's raining and we're late; they've lost the map, i'm sure she'll find it, he'd rather not, don't worry
close up portrait of an astronaut with a golden helmet, studio light, highly detailed, 8k
three yellow lemons and a glass of water on a wooden table, still life in the style of an old master
a neon sign that says hello world in a wet street at night, reflections, wide angle
grinning face with big eyes, smiling cat face with heart eyes, thumbs up, waving hand, rocket, snowman without snow
a watercolor landscape with mountains, a river and a tiny house under the moon"""
STRINGS = [
    "", " ", "\t\n ", "a", "a red kite", "  a   red\tkite\n", "A RED Kite", "The photograph of a cat, sleeping!", "don't", "DON'T",
    "it's we're they've i'm she'll he'd", "'s 't 're 've 'm 'll 'd 'x", "rock'n'roll ''' ''s", "o’clock", "x's-y't", "8k 4096x4096 3.14 1,000",
    "2024年", "½ ² Ⅷ ① ٣٤", "hello!!! ??? ...", "a-b_c+d=e", "#hashtag @user https://example.com/a?b=c&d=%20", "(masterpiece:1.2), [x|y], {z}, <lora:a:1>",
    "\\\\ // || \" ` ~ ^ $ €", "😀", "😀😀 grinning", "👩‍👩‍👧‍👦 family", "🇫🇷🏳️‍🌈", "👍🏽", "☃️ ☃", "1️⃣", "日本語のテキスト", "中文，测试。", "한국어 텍스트",
    "한국어", "Привет, МИР!", "Ёлка Й Й", "Ελληνικά ΣΊΣΥΦΟΣ", "İstanbul ıI", "ÀÉÎÕÜ àéîõü ÿ ß ẞ", "é e\u0301 E\u0301", "ﬁ ﬂ ǅ Ǆ", "Å Å Å Ω",
    "q\u0307\u0323 q\u0323\u0307", "\u0958 \u2adc \ufb2c", "नमस्ते दुनिया", "שָׁלוֹם", "مرحبا بالعالم", "สวัสดี", "a\u200bb\u200dc\ufeffd", "a\u00a0b\u3000c\u2028d\u0085e",
    "\x01\x1f\x7f", "a\u0300\u0301\u0302\u0303", "\u0301a", "\ufffd \ufffe", "\U0001d54f\U00010400 \U0001f9ff", BOS, EOS, f"a {EOS} b", f"a{BOS}b{EOS}c",
    "<|EndOfText|>!!", "!!<|STARTOFTEXT|>x", "<|endoftext", "!", "!!", "wow! great!", "unbelievably incomprehensible antidisestablishmentarianism",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "mountainmountainmountain", "\u1e9b\u0323 \u212b\u0327", "ΑΣ ΑΣΑ Σ",
    " ".join(["red kite"] * 50), "word " * 74 + "last", "word " * 75 + "cut", "word " * 76, "😀 " * 40, "x" * 300,
]


def byte_characters():
    spare = iter(range(256, 512))
    return {b: chr(b) if 33 <= b <= 126 or 161 <= b <= 172 or b >= 174 else chr(next(spare)) for b in range(256)}


def openai_order():
    c = byte_characters()
    printing = [b for b in range(256) if ord(c[b]) == b]
    return [c[b] for b in printing] + [c[b] for b in range(256) if b not in printing]


def vocabulary(merges):
    letters = openai_order()
    tokens = letters + [t + "</w>" for t in letters] + ["".join(m) for m in merges] + [BOS, EOS]
    return {t: i for i, t in enumerate(tokens)}


def learn(count):
    c = byte_characters()
    words = collections.Counter(TEXT.replace(",", " ,").replace(";", " ;").replace("'", " '").split())
    words = {tuple(c[b] for b in w.encode()[:-1]) + (c[w.encode()[-1]] + "</w>",): n for w, n in words.items()}
    for extra in ["é", "😀", "日", "!!!", "..."]:
        e = extra.encode()
        words[tuple(c[b] for b in e[:-1]) + (c[e[-1]] + "</w>",)] = 3
    merges = []
    while len(merges) < count:
        pairs = collections.Counter()
        for w, n in words.items():
            for p in zip(w, w[1:]):
                pairs[p] += n
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], p))
        merges.append(best)
        new = {}
        for w, n in words.items():
            out, i = [], 0
            while i < len(w):
                if w[i:i + 2] == best:
                    out.append("".join(best))
                    i += 2
                else:
                    out.append(w[i])
                    i += 1
            new[tuple(out)] = n
        words = new
    return merges


def write(folder, name, value):
    with open(os.path.join(folder, name), "w") as f:
        json.dump(value, f, ensure_ascii=False)


def save(folder, merges, config, specials):
    os.makedirs(folder, exist_ok=True)
    write(folder, "vocab.json", vocabulary(merges))
    with open(os.path.join(folder, "merges.txt"), "w") as f:
        f.write("#version: 0.2\n" + "\n".join(" ".join(m) for m in merges) + "\n")
    write(folder, "tokenizer_config.json", config)
    if specials is not None:
        write(folder, "special_tokens_map.json", specials)


def added(text, normalized=True, **more):
    return dict(content=text, lstrip=False, normalized=normalized, rstrip=False, single_word=False, **more)


def styles(eos):
    """Spellings of the special tokens found in published models: config, special_tokens_map."""
    typed = {k: added(v, __type="AddedToken") for k, v in [("bos_token", BOS), ("eos_token", EOS), ("unk_token", EOS)]}
    plain = {k: added(v) for k, v in [("bos_token", BOS), ("eos_token", EOS), ("unk_token", EOS)]}
    decoder = {"0": added("!", False, special=True), str(eos - 1): added(BOS, special=True), str(eos): added(EOS, special=True)}
    base = {"model_max_length": 77, "tokenizer_class": "CLIPTokenizer"}
    return {"sd1": (dict(base, **typed, pad_token=EOS), dict(plain, pad_token=EOS)), "sd2": (dict(base, **typed, pad_token=EOS), dict(plain, pad_token="!")),
            "sdxl2": (dict(base, bos_token=BOS, eos_token=EOS, unk_token=EOS, pad_token="!", added_tokens_decoder=decoder), None),
            "bare": (base, None)}


def ids(t):
    return [t(s)["input_ids"] for s in STRINGS]


def fnv(values):
    h = 0xCBF29CE484222325
    for v in values:
        h = ((h ^ v) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{h:016x}"


def matching(pattern, codes):
    split = pre_tokenizers.Split(Regex(pattern), behavior="removed", invert=True)
    return {c for c in codes if split.pre_tokenize_str("\0" + chr(c))}


def unicode_hashes():
    codes = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    letter, number, space = (matching(p, codes) for p in [r"\p{L}", r"\p{N}", r"\s"])
    lower = normalizers.Lowercase()
    everything = []
    for c in codes:
        everything.append((c in letter) + 2 * (c in number) + 4 * (c in space))
        everything += [ord(x) for x in lower.normalize_str(chr(c))]
    pools = [(0x61, 26), (0x300, 0x70), (0x1100, 0x100), (0xAC00, 11172), (0x900, 0x500), (0x1E00, 0x200), (0xF900, 0x200), (0x1D15E, 0x70), (0xC0, 0x180), (0x1F70, 16)]
    x, composed = 1, []
    for _ in range(20000):
        text = ""
        for _ in range(6):
            x = (x * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
            first, size = pools[(x >> 33) % len(pools)]
            text += chr(first + (x >> 40) % size)
        composed += [ord(c) for c in unicodedata.normalize("NFC", text)]
    return {"classes_and_lower": fnv(everything), "nfc": fnv(composed)}


def main():
    path, old = os.path.join(HERE, "tokenizer.json"), {}
    if os.path.exists(path):
        old = json.load(open(path))
    merges = learn(600)
    small = os.path.join(HERE, "clip_small")
    out = {"small": {}}
    for name, (config, specials) in styles(len(vocabulary(merges)) - 1).items():
        with tempfile.TemporaryDirectory() as folder:
            save(folder, merges, config, specials)
            t = CLIPTokenizer.from_pretrained(folder)
            out["small"][name] = {"config": config, "specials": specials, "pad": t.pad_token_id, "ids": ids(t)}
            if name == "sd2":
                t.save_pretrained(folder + "/saved")
                shutil.rmtree(small, ignore_errors=True)
                os.makedirs(small + "/saved")
                for f in ["tokenizer.json", "tokenizer_config.json"]:
                    with open(f"{folder}/saved/{f}") as g:
                        write(small + "/saved", f, json.load(g))
    save(small, merges, *styles(len(vocabulary(merges)) - 1)["sd1"])
    if len(sys.argv) > 1:
        lines = gzip.open(sys.argv[1]).read().decode().split("\n")[1:49152 - 256 - 2 + 1]
        real = [tuple(x.split()) for x in lines]
        with tempfile.TemporaryDirectory() as folder:
            save(folder, real, *styles(49407)["sd1"])
            out["real"] = ids(CLIPTokenizer.from_pretrained(folder))
    else:
        out["real"] = old["real"]
    head = {"made_by": "tests/golden/make_tokenizer.py", "versions": {"transformers": transformers.__version__, "tokenizers": tokenizers.__version__,
            "unicodedata": unicodedata.unidata_version}, "unicode": unicode_hashes(), "strings": STRINGS}
    with open(path, "w") as f:
        json.dump(dict(head, **out), f, separators=(",", ":"))
        f.write("\n")


if __name__ == "__main__":
    main()
