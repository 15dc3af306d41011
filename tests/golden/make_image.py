# SPDX-License-Identifier: Apache-2.0
"""Writes the pictures that tests/unit/image.c reads, with Pillow, into tests/unit/data. The source is the same formula
there: red 10 x, green 12 y, blue (7 x y) mod 256, alpha 255 - 8 x, 24 x 16 pixels."""
from pathlib import Path

import numpy as np
import PIL
from PIL import Image
from PIL.PngImagePlugin import PngInfo

DATA = Path(__file__).resolve().parents[1] / "unit" / "data"
y, x = np.mgrid[0:16, 0:24]
rgb = np.stack([10 * x, 12 * y, 7 * x * y % 256], -1).astype(np.uint8)
rgba = np.concatenate([rgb, (255 - 8 * x)[..., None].astype(np.uint8)], -1)
image, clear = Image.fromarray(rgb), Image.fromarray(rgba)

texts = PngInfo()
texts.add_text("parameters", "a caf\u00e9\nSteps: 20")
texts.add_text("squeezed", "z" * 300, zip=True)
texts.add_itxt("prompt", "\u4e00 kite \U0001f600")
texts.add_text("versions", f"Pillow {PIL.__version__}")
image.save(DATA / "rgb.png", pnginfo=texts)
image.quantize(8).save(DATA / "palette.png")
Image.fromarray((x * 2570).astype(np.uint16)).save(DATA / "grey16.png")
image.save(DATA / "rgb.jpg", quality=95, subsampling=0)
image.save(DATA / "rgb.bmp")
image.resize((7, 5), Image.BILINEAR).save(DATA / "shrunk.png")
image.resize((50, 37), Image.BILINEAR).save(DATA / "grown.png")
clear.resize((7, 5), Image.BILINEAR).save(DATA / "clear_shrunk.png")
