# SPDX-License-Identifier: Apache-2.0
"""Writes the seed inputs tests/fuzz/corpus/<target>/*: small good ones, and the nasty ones of each format."""
import gzip
import hashlib
import json
import re
import struct
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent / "corpus"
DATA = Path(__file__).resolve().parents[1] / "unit" / "data"
GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "data"
TINY = Path(__file__).resolve().parents[1] / "data" / "tiny" / "model"


def put(target, name, data):
    folder = ROOT / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def st(header, body=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def safetensors():
    a = entry("F32", [2], 0, 8)
    put("safetensors", "python", (DATA / "python.safetensors").read_bytes())
    put("safetensors", "f32", st({"__metadata__": {"format": "pt"}, "a": a}, bytes(8)))
    put("safetensors", "halves", st({"a": entry("F16", [2], 0, 4), "b": entry("BF16", [1, 2], 4, 8)}, b"\xff" * 8))
    put("safetensors", "f4", st({"a": entry("F4", [2], 0, 1), "b": entry("F6_E2M3", [4], 1, 4)}, bytes(4)))
    put("safetensors", "scalar_empty", st({"a": entry("F64", [], 0, 8), "b": entry("I8", [0, 3], 8, 8)}, bytes(8)))
    put("safetensors", "length_max", st({"a": a}, bytes(8), 2**64 - 1))
    put("safetensors", "length_long", st({"a": a}, bytes(8), 4000))
    put("safetensors", "hole", st({"a": entry("F32", [2], 4, 12)}, bytes(12)))
    put("safetensors", "overlap", st({"a": a, "b": a}, bytes(8)))
    put("safetensors", "backwards", st({"a": entry("U8", [2], 4, 2)}, bytes(4)))
    put("safetensors", "huge_shape", st({"a": entry("F32", [2**53, 2**11, 0], 0, 0)}))
    put("safetensors", "float_shape", st({"a": entry("F32", [1e300, -1], 0, 0)}))
    put("safetensors", "twice", st(b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{}}'))
    put("safetensors", "nul", st(b'{"a\\u0000":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'))
    put("safetensors", "short", b"\x02\0\0\0")


def lora():
    layer = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    down, up = layer + ".lora_A.weight", layer + ".lora_B.weight"
    good = {down: entry("F32", [2, 4], 0, 32), up: entry("F32", [4, 2], 32, 64)}
    alpha = lambda text: {"__metadata__": {"lora_adapter_metadata": text}}
    put("lora", "good", st(good, bytes(64)))
    put("lora", "alpha", st({**alpha('{"unet.lora_alpha": 4}'), **good}, bytes(64)))
    put("lora", "alpha_huge", st({**alpha('{"unet.lora_alpha": 1e300}'), **good}, bytes(64)))
    put("lora", "alpha_text", st({**alpha('{"unet.lora_alpha": "4"'), **good}, bytes(64)))
    put("lora", "half", st({down: good[down]}, bytes(32)))
    put("lora", "nan", st(good, b"\xff" * 64))
    put("lora", "rank_0", st({down: entry("F32", [0, 4], 0, 0), up: entry("F32", [4, 0], 0, 0)}))
    put("lora", "rank_huge", st({down: entry("F32", [2**40, 0], 0, 0), up: entry("F32", [0, 2**40], 0, 0)}))
    put("lora", "scalar", st({down: entry("F32", [], 0, 4), up: entry("F32", [4, 2], 4, 36)}, bytes(36)))
    put("lora", "no_layer", st({"unet.x.lora_A.weight": good[down], "unet.x.lora_B.weight": good[up]}, bytes(64)))
    put("lora", "kohya", st({"lora_unet_x.lora_down.weight": entry("F32", [2, 4], 0, 32)}, bytes(32)))
    attention, fc = "mid_block.attentions.0.transformer_blocks.0.attn1.", "text_model.encoder.layers.0.mlp.fc1"
    pairs = {
        "old": ("unet." + attention + "to_q.lora.down.weight", "unet." + attention + "to_q.lora.up.weight"),
        "oldest": ("unet." + attention + "processor.to_out_lora.down.weight", attention + "processor.to_out_lora.up.weight"),
        "kohya_good": ("lora_unet_" + (attention + "to_q").replace(".", "_") + ".lora_down.weight",
                       "lora_unet_middle_block_1_transformer_blocks_0_attn1_to_q.lora_up.weight"),
        "comfyui": ("diffusion_model.middle_block.1.transformer_blocks.0.attn1.to_q.lora_A.weight",
                    "diffusion_model.middle_block.1.transformer_blocks.0.attn1.to_q.lora_B.weight"),
        "peft": ("base_model.model." + attention + "to_q.lora_A.weight", "base_model.model." + attention + "to_q.lora_B.weight"),
    }
    for name, (a, b) in pairs.items():
        put("lora", name, st({a: entry("F32", [2, 4], 0, 32), b: entry("F32", [4, 2], 32, 64)}, bytes(64)))
    text = {"lora_te1_" + fc.replace(".", "_") + ".lora_down.weight": entry("F16", [1, 4], 0, 8),
            "text_encoder_2." + fc + ".lora_linear_layer.down.weight": entry("BF16", [1, 4], 8, 16),
            "text_encoder_2." + fc + ".lora_linear_layer.up.weight": entry("BF16", [8, 1], 16, 32),
            "text_encoders.clip_l.transformer." + fc + ".lora_B.weight": entry("F16", [8, 1], 32, 48),
            "lora_te1_" + fc.replace(".", "_") + ".alpha": entry("F32", [], 48, 52)}
    put("lora", "text", st(text, bytes(52)))
    put("lora", "conv", st({"unet.conv_in.lora_A.weight": entry("F64", [1, 4, 3, 3], 0, 288),
                            "unet.conv_in.lora_B.weight": entry("F16", [4, 1, 1, 1], 288, 296)}, bytes(296)))
    put("lora", "twice", st({**good, layer + ".lora.down.weight": entry("F32", [2, 4], 64, 96)}, bytes(96)))
    put("lora", "loha", st({"lora_unet_conv_in.hada_w1_a": entry("F32", [1], 0, 4)}, bytes(4)))
    patterns = '{"unet.r": 2, "unet.lora_alpha": 3, "unet.use_rslora": true, "unet.alpha_pattern": {"^mid": 1, "to_q": 5}}'
    put("lora", "patterns", st({**alpha(patterns), **good}, bytes(64)))


def latents():
    body = st({"__metadata__": {"attune": '{"prompts": ["a"], "steps": 5, "cfg": 1, "model": {"unet_sha256": "ab"}}'},
               "latents": entry("F32", [1, 4, 1, 2], 0, 32)}, bytes(32))
    put("latents", "good", body)
    put("latents", "plain", st({"latents": entry("F16", [4, 1, 2], 0, 16)}, bytes(16)))
    put("latents", "none", st({"a": entry("F32", [2], 0, 8)}, bytes(8)))
    put("latents", "flat", st({"latents": entry("F32", [2], 0, 8)}, bytes(8)))
    put("latents", "empty", st({"latents": entry("F32", [0, 4, 2, 2], 0, 0)}))
    put("latents", "huge", st({"latents": entry("F32", [2**40, 0, 2, 2], 0, 0)}))
    put("latents", "nan", st({"latents": entry("F32", [1, 1, 1], 0, 4)}, b"\xff" * 4))
    for name, about in {"text": "[", "list": "[]", "prompts": '{"prompts": ["a", "b"]}', "numbers": '{"prompts": [1]}', "steps": '{"steps": "5"}',
                        "model": '{"model": 5}'}.items():
        put("latents", "about_" + name, st({"__metadata__": {"attune": about}, "latents": entry("F32", [1, 1, 1], 0, 4)}, bytes(4)))


def single():
    """Names and shapes of the tiny checkpoints of tests/golden/data/single, thinned out to what configs are told from."""
    keep = re.compile(r"(in_layers\.[02]|op|conv|out\.[02]|input_blocks\.0\.0|label_emb.*|block\.0\.conv1|conv_in|conv_out|(in|out)_proj.*|proj_in|to_k|"
                      r"attn_1\.q|norm1|layer_norm1|ln_1|fc1|c_fc|.*embedding|text_projection)(\.weight)?$")
    lists = {}
    for name in ("sd1", "sd2", "sdxl"):
        doc = json.loads(gzip.open(GOLDEN / "single" / f"tiny_{name}.json.gz").read())
        shapes = {k: v for k, v in (doc["shapes"] | doc["ignored"]).items() if keep.search(k)}
        lists[name] = [f"{k} {','.join(str(min(x, 32)) for x in v)}" for k, v in shapes.items()]
        put("single", name, "\x00" + "\n".join(lists[name]))
    put("single", "sd1_more", "\x01" + "\n".join(lists["sd1"] + ["some.thing 2", "v_pred ", "ztsnr "]))
    put("single", "sd1_few", "\x00" + "\n".join(x for x in lists["sd1"] if "block" not in x))
    put("single", "sd2_rows", "\x06" + "\n".join(x.replace("in_proj_weight 32", "in_proj_weight 30") for x in lists["sd2"]))
    put("single", "sdxl_rank", "\x00" + "\n".join(x.replace("text_projection 32,32", "text_projection 4,4,4") for x in lists["sdxl"]))
    put("single", "twice", "\x00" + "\n".join(lists["sd1"] + ["first_stage_model.decoder.mid.attn_1.to_q.weight 32,32", "first_stage_model.decoder.mid.attn_1.query.weight 32,32"]))
    put("single", "flux", "\x00double_blocks.0.img_attn.qkv.weight 4,4")
    put("single", "lora", "\x00lora_unet_mid_block_attentions_0_proj_in.lora_down.weight 2,4")


def model():
    files = {"U": "unet/config.json", "C": "text_encoder/config.json", "V": "vae/config.json",
             "S": "scheduler/scheduler_config.json"}
    for letter, path in files.items():
        good = json.loads((TINY / path).read_text())
        put("model", letter, letter + json.dumps(good))
        put("model", letter + "_empty", letter + "{}")
        other = dict(good, _class_name="FluxPipeline", architectures=["T5"])
        put("model", letter + "_class", letter + json.dumps(other))
    unet = json.loads((TINY / files["U"]).read_text())
    deep = dict(unet, layers_per_block=1 << 20, transformer_layers_per_block=[1, 1 << 20])
    put("model", "U_deep", "U" + json.dumps(deep))
    put("model", "U_eps", "U" + json.dumps(dict(unet, norm_eps=-1e300)))
    put("model", "U_wide", "U" + json.dumps(dict(unet, block_out_channels=[65536] * 9, norm_num_groups=65536)))
    vae = json.loads((TINY / files["V"]).read_text())
    put("model", "V_factor", "V" + json.dumps(dict(vae, scaling_factor=1e300, shift_factor=-1e300)))
    tiny = {"_class_name": "AutoencoderTiny", "act_fn": "relu", "upsample_fn": "nearest", "in_channels": 3,
            "encoder_block_out_channels": [64] * 4, "decoder_block_out_channels": [64] * 4, "latent_magnitude": 3,
            "num_encoder_blocks": [1, 3, 3, 3], "num_decoder_blocks": [3, 3, 3, 1], "latent_shift": 0.5,
            "latent_channels": 4, "out_channels": 3, "upsampling_scaling_factor": 2, "scaling_factor": 1.0}
    put("model", "V_tiny", "V" + json.dumps(tiny))
    put("model", "V_tiny_bare", 'V{"_class_name":"AutoencoderTiny"}')
    put("model", "V_tiny_none", "V" + json.dumps(dict(tiny, num_encoder_blocks=[], encoder_block_out_channels=[])))
    put("model", "V_tiny_long", "V" + json.dumps(dict(tiny, num_encoder_blocks=[1] * 9)))
    put("model", "V_tiny_half", "V" + json.dumps(dict(tiny, num_decoder_blocks=[1] * 3, decoder_block_out_channels=[64] * 3)))
    put("model", "V_tiny_widths", "V" + json.dumps(dict(tiny, decoder_block_out_channels=[64, 64, 32, 64])))
    put("model", "V_tiny_up", "V" + json.dumps(dict(tiny, upsampling_scaling_factor=3, latent_magnitude=-1e300)))
    betas = [0, 1, 0.5]
    plan = dict(num_train_timesteps=3, trained_betas=betas, rescale_betas_zero_snr=True)
    put("model", "S_betas", "S" + json.dumps(plan))


def tokenizer():
    vocab = {"a": 0, "b</w>": 1, "ab</w>": 2, "<|startoftext|>": 4, "<|endoftext|>": 5}
    model = {"end_of_word_suffix": "</w>", "vocab": vocab, "merges": [["a", "b</w>"], "a b</w>"]}
    saved = {"added_tokens": [{"id": 2, "content": "a", "normalized": False}], "model": model}
    config = {"model_max_length": 9, "pad_token": {"content": "a"}}
    split = lambda *parts: "\x1e".join(parts)
    put("tokenizer", "text", b"Tab!! <|endoftext|>\xff\xe2\x98\x83 \xea\xb0\x80e\xcc\x81 DON'T 8k")
    put("tokenizer", "files", split("F" + json.dumps(vocab), "a b</w>\n", json.dumps(config), '{"pad_token":"a"}', "ab AB abab"))
    put("tokenizer", "saved", split("J" + json.dumps(saved), "", "{}", "{}", "ab"))
    put("tokenizer", "refused", split('F{"a":0}', "a a", "{}", "{}", "a"))
    put("tokenizer", "huge_id", split('F{"a":16777217}', "", "{}", "{}", "a"))
    put("tokenizer", "decoder", split("F" + json.dumps(vocab), "", '{"added_tokens_decoder":{"7":{"content":"b"}}}', "{}", "Bab"))


def text():
    good = {"a": 1, "bb": "steps", "steps": [1, 2, 3], "seed": {"x": [None, True, 1.5e-3, "\u00e9\u4e00"]}}
    put("json", "good", json.dumps(good, indent=2))
    put("json", "escapes", '{"a": "\\ud83d\\ude00\\n\\"\\\\\\/", "bb": "\\ud800"}')
    put("json", "typo", '{"stesp": [1, 2], "Seed": 1, "a": "False"}')
    put("json", "numbers", "[0, -0, 1e999, -1E-999, 9007199254740993, 0.1, 1" + "0" * 58 + "]")
    put("json", "bad_numbers", "[01, 1., .5, +1, 1e, 0x10, NaN]")
    put("json", "deep", "[" * 63 + "]" * 63)
    put("json", "too_deep", '{"a":' * 1200)
    put("json", "twice", '{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1,"j":1,"a":2}')
    put("json", "open", '{"a": "b\\')
    put("json", "trailing", '{"a":1} {"b":2}')
    put("json", "bom", b'\xef\xbb\xbf{"a":1}')
    put("json", "bytes", b'{"\xff": "\xed\xa0\x80"}')
    put("json", "nul", b'{"a":1}\0')
    row = '{"prompt": "a red kite", "win": "w.png", "lose": "l.png", "regions": [{"box": [0, 0, 1, 1]}]}\n'
    put("jsonl", "good", row * 3)
    put("jsonl", "crlf_blank_bom", b"\xef\xbb\xbf" + row.replace("\n", "\r\n\r\n \r\n").encode())
    put("jsonl", "bad_between", row + "[1]\n{\n7\n" + row.strip())
    put("jsonl", "types", '{"prompt": 3}\n{"prompt": null}\n{"prompt": {"prompt": "x"}}\n')
    put("jsonl", "bytes", b'{"prompt": "\xff"}\n\0\n{"prompt": "\\u0000"}\n')
    put("jsonl", "newlines", "\n" * 50)
    put("jsonl", "split", '{"prompt":\n"a"}\n')


def pairs():
    pair = {"prompt": "a red kite", "win": "w.png", "lose": "l.png"}
    pick = {"caption": "a kite", "jpg_0": "a.jpg", "jpg_1": "/b.jpg", "label_0": 0, "label_1": 1}
    labels = [dict(pair, label=x) for x in (1, 0, 0.5)]
    put("pairs", "good", "\n".join(json.dumps(x) for x in [pair, pick, dict(pair, mask="m.png")] + labels))
    put("pairs", "ties", json.dumps(labels[2]) + "\n")
    bad = [dict(pair, label=x) for x in ("1", 2, None, True, -0.5)] + [dict(pair, lose="w.png"), dict(pair, mask=3)]
    put("pairs", "bad", "\n".join(json.dumps(x) for x in bad))
    put("pairs", "typo", '{"prompt": "x", "win": "w.png", "loose": "l.png"}\n{"jpg_1": "x"}\n')
    put("pairs", "many", '{"win": 1}\n' * 40)


def prompts():
    put("prompts", "good.txt", "\ufeff# c\r\n a kite --n dark, b --w 64 --h 32 --d 7 --s 3 --l 2.5\r\n\r\nb -- c --ss ddim\n")
    put("prompts", "bad.txt", b"a --s 0\n--n x\nb\xff\na --q\na --w\na\0b\na --l nan --d -1 --cn x")
    row = {"prompt": "b", "negative_prompt": "c", "width": 64, "seed": 5, "sample_steps": 3, "scale": 2.5}
    put("prompts", "good.json", json.dumps({"prompts": ["a", row, {"prompt": "d", "negative": "", "cfg": 0, "steps": 4}]}))
    put("prompts", "bad.json", json.dumps([3, " ", {}, dict(row, seed=-1), dict(row, seeds=1), dict(row, scale="1")]))
    put("prompts", "comments.txt", "#\n" * 50)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, kind, rows, before=b"", interlace=0):
    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, interlace)
    body = chunk(b"IHDR", head) + before + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def image():
    for name in ("rgb.png", "palette.png", "grey16.png", "rgb.jpg", "rgb.bmp", "clear_shrunk.png"):
        put("image", name, (DATA / name).read_bytes())
    bomb = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(1 << 20)))
    put("image", "text_bomb.png", png(1, 1, 8, 0, b"\0\0", bomb))
    put("image", "itxt_bytes.png", png(1, 1, 8, 0, b"\0\0", chunk(b"iTXt", b"k\0\0\0\0\0\xff\xfe")))
    put("image", "grey1_clear.png", png(9, 2, 1, 0, b"\0\xaa\x80\0\x55\0", chunk(b"tRNS", b"\0\1")))
    put("image", "interlaced.png", png(2, 2, 8, 2, b"\0" * 14 + b"\0" * 4, interlace=1))
    put("image", "text_huge.png", png(1, 1, 8, 0, b"\0\0", struct.pack(">I", 0x2300001B) + b"tEXtk\0v"))
    put("image", "huge.png", png(32768, 32768, 8, 6, b"\0"))
    put("image", "no_palette.png", png(2, 1, 8, 3, b"\0\7\7"))
    put("image", "filter9.png", png(2, 1, 8, 0, b"\t\1\2"))
    jpeg = (DATA / "rgb.jpg").read_bytes()
    put("image", "cut.jpg", jpeg[: len(jpeg) // 2] + b"\xff\xd9")
    table = b"\xff\xc4\x07\xd3\x13" + b"\0" * 8 + b"\xff" * 8  # 2040 codes, where 256 is all there can be
    put("image", "codes.jpg", jpeg[:2] + table + bytes(2040) + jpeg[2:])
    put("image", "fill_first.jpg", b"\xff" + jpeg[:2] + table + bytes(2040) + jpeg[2:])
    bmp = (DATA / "rgb.bmp").read_bytes()
    put("image", "huge.bmp", bmp[:18] + struct.pack("<ii", 0x7FFFFFFF, -0x7FFFFFFF) + bmp[26:80])


def parts(*items):
    """The files of a target that reads a folder; all but the last must not hold the byte that divides them."""
    data = [x if isinstance(x, bytes) else (x if isinstance(x, str) else json.dumps(x)).encode() for x in items]
    assert not any(b"\x1e" in x for x in data[:-1])
    return b"\x1e".join(data)


def emoji():
    head = "# group: Food & Drink\n# subgroup: food-fruit\n"
    row = "1F34E ; fully-qualified # x E0.6 red apple\n"
    put("emoji", "good", head + row + "263A ; unqualified # x E0.6 face\n1F3F4 200D ; fully-qualified # x E13.0 pi\u00f1ata \u201cx\u2019s\u201d 10\n")
    put("emoji", "points", head + "1F34E " * 40 + "; fully-qualified # x E0.6 many\n")
    put("emoji", "surrogate", head + row.replace("1F34E", "-1 D800"))
    put("emoji", "version", head + row.replace("E0.6", "Enan"))
    put("emoji", "no_heading", row)
    put("emoji", "long", head + row[:-1] * 90)
    put("emoji", "nul", head.encode() + b"\0" + row.encode() + b"\0\0")
    put("emoji", "accents", head + row.replace("red apple", "\u00e9\u00c3\u00c0"))


def folders():
    small = [x for x in (png(4, 4, 8, 0, bytes([0, i] * 10)) for i in range(99)) if b"\x1e" not in x][:2]
    rows = '{"file_name": "w/a.png", "text": "a"}\n{"file_name": "l/a.png", "text": "b"}\n'
    put("folders", "good", parts(rows, " a red kite \n", *small))
    put("folders", "same", parts('{"file_name": "w/a.png", "text": "a"}\n' * 3, "x", small[0], small[0]))
    put("folders", "outside", parts('{"file_name": "w/../../a.png", "text": "a"}\n{"file_name": "/etc/passwd", "text": "a"}', "", *small))
    put("folders", "types", parts('{"file_name": 3, "text": null}\n{"file_name": "w", "text": "a"}\n{"file_name": "", "text": ""}\n[]\n{', "\0a", *small))
    put("folders", "sizes", parts(rows, b"\xff\xfe", small[0], png(2, 4, 8, 0, bytes(12))))
    put("folders", "cut", parts("", "a", small[0][:-20], small[1]))


def cache():
    rows = st({"moments": entry("F32", [4], 0, 16)}, struct.pack("<4f", 1, 2, 3, 4))
    put("cache", "row", rows)
    put("cache", "row_halves", st({"moments": entry("F16", [2, 2], 0, 8)}, bytes(8)))
    put("cache", "row_short", st({"moments": entry("F32", [3], 0, 12)}, bytes(12)))
    put("cache", "row_bool", st({"moments": entry("BOOL", [4], 0, 4)}, bytes(4)))
    put("cache", "row_nan", st({"moments": entry("F32", [4], 0, 16)}, b"\xff" * 16))
    fnv = 0xCBF29CE484222325
    for byte in b"abc":
        fnv = (fnv ^ byte) * 0x100000001B3 % 2**64
    head = lambda n, total: b"attunepc" + struct.pack("<4I16xQQ", 1, 0, 0, 0, n, total)
    put("cache", "pipelines", head(3, fnv) + b"abc")
    put("cache", "pipelines_huge", head(256 << 20, fnv) + b"abc")
    put("cache", "pipelines_more", head(3, fnv) + b"abcd")
    put("cache", "pipelines_sum", head(3, fnv + 1) + b"abc")


def peft():
    layer = "base_model.model.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    file = st({layer + ".lora_A.weight": entry("F32", [2, 4], 0, 32), layer + ".lora_B.weight": entry("F32", [4, 2], 32, 64)}, bytes(64))
    good = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "alpha_pattern": {"to_q": 3}, "rank_pattern": {}, "use_rslora": True}
    put("peft", "good", parts(good, file))
    put("peft", "none", parts("", file))
    put("peft", "loha", parts(dict(good, peft_type="LOHA"), file))
    put("peft", "dora", parts(dict(good, use_dora=True), file))
    for name, about in {"alpha": {"lora_alpha": 1e300}, "zero": {"r": 0}, "text": {"lora_alpha": "4"}, "pattern": {"alpha_pattern": {"(": 1, "": -1}},
                        "list": {"alpha_pattern": [1]}}.items():
        put("peft", "bad_" + name, parts(dict(good, **about), file))


def run():
    shapes = {"lora": hashlib.sha256(b"w\x0064,").hexdigest()}
    state = {"method": "dpo", "step": 2, "settings": {"seed": "0", "steps": 9, "accumulate": 1, "lr": 0.001}, "shapes": shapes}
    lines = "".join('{"step":%d,"loss":%g,"lr":1e-3,"nothing":null}\n' % (i, 1 / i) for i in (1, 2, 3))
    config = {"lr": 0.01, "model": "m", "tags": [1, {"a": []}], "more": 1}
    vectors = lambda value: st({"lora.weights": entry("F32", [64], 0, 256), "lora.moments": entry("F32", [128], 256, 768),
                                "lora.average": entry("F32", [64], 768, 1024)}, struct.pack("<256f", *[value] * 256))
    put("run", "good", parts(state, lines, config, vectors(0.5)))
    put("run", "nan", parts(state, lines, config, vectors(float("nan"))))
    put("run", "cut", parts(state, lines[:-9], "", vectors(0)[:-9]))
    put("run", "no_state", parts("", lines, config, vectors(0)))
    put("run", "no_vectors", parts(state, "", "[1]", ""))
    for name, about in {"method": {"method": "sft"}, "step": {"step": 3}, "shapes": {"shapes": {"lora": "ab"}}, "seed": {"settings": {"seed": 5}},
                        "lr": {"settings": dict(state["settings"], lr=1e308, accumulate=1 << 30)}, "huge": {"step": 1e300}}.items():
        put("run", "other_" + name, parts(dict(state, **about), lines, config, vectors(0)))
    put("run", "metrics", parts(state, '{"step":1}\n{"step": 2}\n{"step":99999999999999999999}\n\n{"step":', config, vectors(0)))
    many = json.dumps({"step": 1} | {f"m{i}": i for i in range(80)})
    put("run", "many_metrics", parts(state, many + '\n{"step":"1"}\n', config, vectors(0)))


def options():
    put("options", "good", "--steps=30\n-f\n--seed\n9007199254740992\n--lr\n5e-4\n-ofolder\nword\n--kind\ncosine\n-p\na\n--memory\n1.5GiB")
    config = {"steps": 7, "lr": 0.25, "flip": True, "prompt": ["a", "b"], "kind": "linear", "many": -3, "alpha": 0.5, "memory": "64K", "out": None}
    put("options", "config", parts("--steps=8\n--no-flip\n--prompt\nc", config))
    put("options", "config_bad", parts("a", {"stesp": 1, "steps": "3", "flip": "False", "prompt": [1], "kind": 3, "many": 1e300, "memory": -1, "seed": 2**60}))
    put("options", "config_list", parts("", "[1]"))
    put("options", "slips", "--step\n3\n-z\n--no-steps\n--steps\n--\n-\n--=\n-fx")
    put("options", "long_name", "--no-" + "x" * 200)
    put("options", "numbers", "--memory\n99999999999G\n--many\n-9223372036854775808\n--lr\n1e-400\n--alpha\n0x1p3")


def label():
    put("label", "plain", b"\x0a\x40\x02\x01a red kite, and more of it than fits")
    put("label", "mixed", b"\x0e\x20\x03\x06" + "\u05d0\u05d1 12 \u0627\u0644 \U0001f34e\u200d\U0001f34e \u4e00\u4e8c e\u0301\u0301 \u0e01\u0e33".encode())
    put("label", "bytes", b"\x00\x01\x01\x0b\xff\xfe\xe2\x28\n\n\r\t\x01\xf4\x90\x80\x80\xed\xa0\x80")
    put("label", "bidi", b"\x08\x30\x00\x08" + "\u202e\u2066a\u05d0)(\u2069\u200f \ufeff\u2028b".encode())
    put("label", "wide", b"\x27\x02\x00\x02WW\xc2\xa0WW")


def source():
    files = ["text_encoder/config.json", "unet/config.json", "vae/config.json", "scheduler/scheduler_config.json"]
    index, (text, unet, vae, plan) = json.loads((TINY / "model_index.json").read_text()), [json.loads((TINY / x).read_text()) for x in files]
    shard = st({"a.weight": entry("F32", [2], 0, 8), "b": entry("F16", [2], 8, 12), "rest": entry("U8", [0], 12, 12)}, bytes(12))
    weights = {"metadata": {"total_size": 12}, "weight_map": {"a.weight": "shard.safetensors", "b": "shard.safetensors"}}
    whole = lambda i=index, t=text, u=unet, v=vae, p=plan, w=weights, t2="": parts(i, t, t2, u, v, p, w, shard)
    put("source", "good", whole())
    xl = dict(index, _class_name="StableDiffusionXLPipeline", text_encoder_2=["transformers", "CLIPTextModelWithProjection"],
              tokenizer_2=["transformers", "CLIPTokenizer"])
    width = text["hidden_size"]
    pooled = dict(unet, addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=48 + width,
                  cross_attention_dim=2 * width)
    second = dict(text, architectures=["CLIPTextModelWithProjection"], projection_dim=width)
    put("source", "xl", whole(xl, u=pooled, t2=second))
    put("source", "xl_mixed", whole(xl, t2=second))
    put("source", "lcm", whole(dict(index, _class_name="LatentConsistencyModelPipeline"), u=dict(unet, time_cond_proj_dim=3)))
    put("source", "no_unet", whole({k: v for k, v in index.items() if k != "unet"}))
    put("source", "null_unet", whole(dict(index, unet=[None, None], scheduler="DDIM")))
    put("source", "no_index", whole(""))
    put("source", "flux", whole(dict(index, _class_name="FluxPipeline")))
    for name, places in {"away": {"a": "../unet/shard.safetensors"}, "none": {}, "missing": {"c": "shard.safetensors"}, "lost": {"a": "other.safetensors"},
                         "types": {"a": 3}, "same": {"a.weight": "shard.safetensors", "b": "diffusion_pytorch_model.safetensors.index.json"}}.items():
        put("source", "shards_" + name, whole(w={"weight_map": places}))
    put("source", "deep_text", whole(t=dict(text, num_hidden_layers=1024)))
    put("source", "wide", whole(t=dict(text, hidden_size=65536, intermediate_size=1 << 20, num_attention_heads=1), u=dict(unet, cross_attention_dim=65536)))


safetensors()
text()
pairs()
prompts()
image()
lora()
latents()
single()
model()
tokenizer()
emoji()
folders()
cache()
peft()
run()
options()
label()
source()
