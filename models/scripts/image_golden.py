"""What transformers' image processor makes of generated pictures, and what Pillow makes of small files.

    python image_golden.py <out_folder>

preprocess.safetensors, per case: `config` (JSON), the grid, SHA-256 of all resized bytes in patch order, and up to 256 values of
`pixel_values` at even distances (`all` of them for small cases). The test makes the same pictures by the same formula.
image_files.safetensors, per case: a file's bytes, and its pixels over white, upright.
"""

import hashlib
import io
import json
import sys
from pathlib import Path

import numpy as np
import PIL.ImageOps
from PIL import Image
from safetensors.numpy import save_file
from transformers.image_transforms import convert_to_rgb
from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor

QWEN = {
    "size": {"longest_edge": 16777216, "shortest_edge": 65536},
    "patch_size": 16,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
SMALL = QWEN | {
    "size": {"longest_edge": 4096, "shortest_edge": 16},
    "patch_size": 4,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
LOWER = QWEN | {"size": {"longest_edge": 1048576, "shortest_edge": 65536}}
# (height, width)
CASES = [
    (QWEN, (1, 1)),
    (QWEN, (1, 3)),
    (QWEN, (37, 53)),
    (QWEN, (80, 80)),
    (QWEN, (255, 257)),
    (QWEN, (300, 211)),
    (QWEN, (480, 640)),
    (QWEN, (256, 256)),
    (QWEN, (12, 2399)),
    (QWEN, (1999, 10)),
    (QWEN, (720, 1281)),
    (QWEN, (4101, 4203)),
    (LOWER, (2011, 3007)),
    (LOWER, (200, 9000)),
    (SMALL, (17, 23)),
    (SMALL, (16, 24)),
    (SMALL, (200, 90)),
]


def picture(height, width):
    y, x = np.indices((height, width), dtype=np.int64)
    channel = np.arange(3)
    y, x = y[..., None], x[..., None]
    texture = ((x * 7) ^ (y * 13)) & 63
    return ((x * (3 + channel) + y * (5 - channel) + texture) & 255).astype(np.uint8)


def preprocess():
    found = {}
    for config, (height, width) in CASES:
        values = Qwen2VLImageProcessor(**config)(Image.fromarray(picture(height, width)), return_tensors="np")
        pixels, grid = values["pixel_values"], values["image_grid_thw"][0]
        mean, std = (np.repeat(config[key], pixels.shape[1] // 3) for key in ("image_mean", "image_std"))
        back = np.rint((pixels * std + mean) * 255).astype(np.uint8)
        flat = pixels.reshape(-1)
        kept = flat if len(flat) <= 3000 else flat[:: len(flat) // 256][:256]
        name = f"{height}x{width}.{'small' if config is SMALL else 'lower' if config is LOWER else 'qwen'}"
        found |= {
            f"{name}.config": np.frombuffer(json.dumps(config).encode(), dtype=np.uint8),
            f"{name}.grid": grid.astype(np.int32),
            f"{name}.sha256": np.frombuffer(hashlib.sha256(back.tobytes()).digest(), dtype=np.uint8),
            f"{name}.values": np.ascontiguousarray(kept),
        }
        print(name, grid, len(kept))
    return found


def files():
    base = picture(20, 24)
    smooth = np.stack([np.add.outer(np.arange(20) * 5, np.arange(24) * 5)] * 3, -1) + np.array([0, 20, 40])
    smooth = smooth.astype(np.uint8)
    alpha = np.add.outer(np.arange(20) * 6, np.arange(24) * 6).astype(np.uint8)
    rgba = np.concatenate([base, alpha[..., None]], -1)
    exif = Image.Exif()
    exif[0x0112] = 6
    palette = Image.fromarray(base).quantize(16)
    grey16 = (np.add.outer(np.arange(20) * 900, np.arange(24) * 1500)).astype(np.uint16)
    cases = {
        "rgb.png": (Image.fromarray(base), {}),
        "rgba.png": (Image.fromarray(rgba), {}),
        "grey_alpha.png": (Image.fromarray(rgba[..., [0, 3]], mode="LA"), {}),
        "grey.png": (Image.fromarray(base[..., 0]), {}),
        "bits.png": (Image.fromarray(base[..., 0]).convert("1"), {}),
        "palette.png": (palette, {}),
        "palette_transparent.png": (palette, {"transparency": 3}),
        "rgb_transparent.png": (Image.fromarray(base), {"transparency": tuple(int(v) for v in base[3, 4])}),
        "grey16.png": (Image.fromarray(grey16), {}),
        "rotated.png": (Image.fromarray(base), {"exif": exif}),
        "rgb.jpg": (Image.fromarray(smooth), {"quality": 95, "subsampling": 0}),
        "subsampled.jpg": (Image.fromarray(smooth), {"quality": 90, "subsampling": 2}),
        "progressive.jpg": (Image.fromarray(smooth), {"quality": 90, "progressive": True}),
        "grey.jpg": (Image.fromarray(smooth[..., 0]), {"quality": 90}),
        "cmyk.jpg": (Image.fromarray(smooth).convert("CMYK"), {"quality": 95}),
        "rotated.jpg": (Image.fromarray(smooth), {"quality": 95, "subsampling": 0, "exif": exif}),
        "lossless.webp": (Image.fromarray(base), {"lossless": True}),
        "lossy.webp": (Image.fromarray(smooth), {"quality": 90}),
        "alpha.webp": (Image.fromarray(rgba), {"lossless": True, "exact": True}),
    }
    found = {}
    for name, (image, options) in cases.items():
        data = io.BytesIO()
        kind = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}[name.split(".")[1]]
        image.save(data, kind, **options)
        data = data.getvalue()
        read = PIL.ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        if name == "grey16.png":
            # Pillow clips 16 bits of grey to 8, so that nearly everything is white; the upper 8 bits are meant.
            pixels = np.repeat((grey16 >> 8).astype(np.uint8)[..., None], 3, -1)
        else:
            pixels = convert_to_rgb(read, return_numpy=True)
        found |= {
            f"{name}.file": np.frombuffer(data, dtype=np.uint8),
            f"{name}.rgb": np.ascontiguousarray(pixels),
        }
        print(name, len(data), pixels.shape)
    return found


def main():
    out = Path(sys.argv[1])
    save_file(files(), out / "image_files.safetensors")
    save_file(preprocess(), out / "preprocess.safetensors")


main()
