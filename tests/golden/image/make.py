#!/usr/bin/env python3
"""Makes pictures.safetensors, resize.safetensors and preprocess.safetensors: files and pixels as Pillow 13 decodes and
scales them, grids as torch does, pixel values of transformers' PIL processors and open_clip.

    python3 make.py            needs pillow 13, numpy, safetensors, torch, transformers, open_clip_torch

pictures: NAME/file (the bytes), NAME/drop and NAME/white (u8 [h, w, 3]), NAME/keep (u8 [h, w, 4]).
resize: "FILTER N/in", "/out", "/horizontal_first" (u8 [h, w, c]); "grid N/in", "/plain", "/antialias" (f32 [h, w, c]).
preprocess: CASE/in (u8 [h, w, 3]), CASE/out (f32 [3, h, w]; CASE/out.0, ... for several pieces); metadata CASE/FILE = the
settings that stand in that file of the model directory.
"""
import io
import json
import os
import struct
import tempfile
import zlib

import numpy as np
from PIL import Image, ImageOps
from safetensors.numpy import save_file

rng = np.random.default_rng(20)
HERE = os.path.dirname(os.path.abspath(__file__))


def picture(w, h, c=3):
    """Smooth waves with a little noise: compresses, and shows every shift."""
    y, x = np.mgrid[0:h, 0:w][..., None]
    k = np.arange(c)
    v = 128 + 70 * np.sin(x * (0.35 + 0.1 * k) + k) + 50 * np.cos(y * (0.5 - 0.07 * k)) + rng.integers(-6, 7, (h, w, c))
    return np.clip(v, 0, 255).astype(np.uint8)


# --- writers of what Pillow does not write --------------------------------------------------------------------------
def png(a, ct, depth, palette=None, trns=None, interlace=False, extra=b""):
    def chunk(t, d):
        return struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d))

    def rows(p):
        out = b""
        for r in p.reshape(p.shape[0], -1):
            if depth == 16:
                b = r.astype(">u2").tobytes()
            elif depth == 8:
                b = r.astype(np.uint8).tobytes()
            else:
                bits = "".join(format(int(v), "0%db" % depth) for v in r)
                bits += "0" * (-len(bits) % 8)
                b = bytes(int(bits[i:i + 8], 2) for i in range(0, len(bits), 8))
            out += b"\0" + b
        return out
    h, w = a.shape[:2]
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    parts = [a[y::dy, x::dx] for x, y, dx, dy in passes] if interlace else [a]
    raw = b"".join(rows(p) for p in parts if p.size)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, depth, ct, 0, 0, int(interlace))) + extra +
            (chunk(b"PLTE", palette) if palette else b"") + (chunk(b"tRNS", trns) if trns else b"") +
            chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b""))


def bmp(bits, w, h, masks=None, header=40, top_down=False):
    data = rng.integers(0, 256, (w * bits + 31) // 32 * 4 * h, dtype=np.uint8).tobytes()
    m = b"".join(struct.pack("<I", v) for v in masks or ())
    d = struct.pack("<IiiHHIIiiII", header, w, -h if top_down else h, 1, bits, 3 if masks else 0, len(data), 0, 0, 0, 0) + m
    d += b"\0" * (header - len(d))
    return b"BM" + struct.pack("<IHHI", 14 + len(d) + len(data), 0, 0, 14 + len(d)) + d + data


def gif(canvas, frame, interlace=False, transparent=None, local=False):
    (cw, ch), (x, y, w, h), bits = canvas, frame, 3
    bitstream, n, codes = 0, 0, 0
    for v in [8] + sum(([int(i)] + ([8] if k % 6 == 5 else []) for k, i in enumerate(rng.integers(0, 8, w * h))), []) + [9]:
        bitstream |= v << n
        n += bits + 1
    b = bitstream.to_bytes((n + 7) // 8, "little")
    pal = rng.integers(0, 256, 24, dtype=np.uint8).tobytes()
    return (b"GIF89a" + struct.pack("<HHBBB", cw, ch, 0x82, 0, 0) + pal +
            (b"\x21\xf9\x04" + struct.pack("<BHB", 1, 0, transparent) + b"\0" if transparent is not None else b"") +
            b"," + struct.pack("<HHHHB", x, y, w, h, (0x40 if interlace else 0) | (0x82 if local else 0)) +
            (pal[::-1] if local else b"") + bytes([bits]) +
            b"".join(bytes([len(b[i:i + 255])]) + b[i:i + 255] for i in range(0, len(b), 255)) + b"\0;")


def saved(im, fmt, **kw):
    f = io.BytesIO()
    im.save(f, fmt, **kw)
    return f.getvalue()


# --- pictures -------------------------------------------------------------------------------------------------------
def make_pictures():
    a, l = picture(21, 13), picture(21, 13, 1)
    im, ga = Image.fromarray(a), picture(17, 11, 2)
    files = {
        "rgb.png": saved(im, "PNG"), "gray8.png": saved(im.convert("L"), "PNG"),
        "rgba.png": saved(Image.fromarray(picture(21, 13, 4)), "PNG"), "la.png": png(ga, 4, 8),
        "gray1.png": png(l >> 7, 0, 1), "gray2.png": png(l >> 6, 0, 2), "gray4.png": png(l >> 4, 0, 4),
        "gray16.png": png(l.astype(np.uint16) * 4, 0, 16), "la16.png": png(ga.astype(np.uint16) * 257 - 90, 4, 16),
        "rgb16.png": png(a.astype(np.uint16) * 250 + 77, 2, 16), "rgba16.png": png(picture(9, 8, 4).astype(np.uint16) * 256 + 200, 6, 16),
        "gray1_trns.png": png(l >> 7, 0, 1, trns=b"\0\1"), "gray2_trns.png": png(l >> 6, 0, 2, trns=b"\0\2"),
        "gray_trns.png": png(l, 0, 8, trns=struct.pack(">H", int(l[4, 4, 0]))),
        "gray16_trns.png": png(l.astype(np.uint16), 0, 16, trns=struct.pack(">H", int(l[4, 4, 0]))),
        "rgb_trns.png": png(a, 2, 8, trns=struct.pack(">HHH", *[int(v) for v in a[5, 5]])),
        "palette1.png": png(l >> 7, 3, 1, palette=bytes([9, 99, 200, 255, 0, 30])),
        "palette2.png": png(l >> 6, 3, 2, palette=bytes(range(7, 247, 20))),
        "palette4_adam7.png": png(l >> 4, 3, 4, palette=bytes((i * 53) % 256 for i in range(48)), interlace=True),
        "palette8_trns.png": png(l, 3, 8, palette=bytes((i * 29) % 256 for i in range(768)), trns=bytes(range(0, 256, 2))),
        "palette_beyond.png": png(l, 3, 8, palette=bytes((i * 29) % 256 for i in range(300))),
        "rgb_adam7.png": png(a, 2, 8, interlace=True), "gray2_adam7.png": png(l >> 6, 0, 2, interlace=True),
        "rgba16_adam7.png": png(picture(5, 9, 4).astype(np.uint16) * 256, 6, 16, interlace=True),
        "gray16_adam7.png": png(l.astype(np.uint16) * 3, 0, 16, interlace=True),
        "one.png": png(a[:1, :1], 2, 8), "one_adam7.png": png(a[:1, :1], 2, 8, interlace=True),
        "q90_420.jpg": saved(im, "JPEG", quality=90), "q95_444.jpg": saved(im, "JPEG", quality=95, subsampling=0),
        "q80_422.jpg": saved(im, "JPEG", quality=80, subsampling=1), "q70_411.jpg": saved(im, "JPEG", quality=70, subsampling="4:1:1"),
        "progressive.jpg": saved(im, "JPEG", quality=85, progressive=True),
        "restart.jpg": saved(im, "JPEG", quality=85, restart_marker_blocks=1),
        "gray.jpg": saved(im.convert("L"), "JPEG", quality=88), "gray_progressive.jpg": saved(im.convert("L"), "JPEG", progressive=True),
        "cmyk.jpg": saved(im.convert("CMYK"), "JPEG", quality=92), "keep_rgb.jpg": saved(im, "JPEG", keep_rgb=True),
        "rgb24.bmp": saved(im, "BMP"), "palette8.bmp": saved(im.quantize(30), "BMP"), "bit1.bmp": saved(im.convert("1"), "BMP"),
        "rgb555.bmp": bmp(16, 7, 5), "rgb565.bmp": bmp(16, 7, 5, (0xf800, 0x7e0, 0x1f)), "top_down.bmp": bmp(24, 7, 5, top_down=True),
        "rgba_mask.bmp": bmp(32, 7, 5, (0xff0000, 0xff00, 0xff, 0xff000000), 124), "palette4.bmp": saved(im.quantize(12), "BMP"),
        "os2.bmp": b"BM" + struct.pack("<IHHI", 0, 0, 0, 32) + struct.pack("<IHHHH", 12, 5, 3, 1, 1) + bytes([10, 20, 30, 200, 100, 50]) +
                   bytes([0xa8, 0, 0, 0, 0x50, 0, 0, 0, 0xf8, 0, 0, 0]),
        "plain.gif": saved(im.quantize(50), "GIF"), "offset.gif": gif((15, 12), (3, 4, 9, 5)), "gray.gif": saved(im.convert("L"), "GIF"),
        "offset_transparent.gif": gif((15, 12), (3, 4, 9, 5), transparent=3), "interlaced_local.gif": gif((9, 19), (0, 0, 9, 19), True, 1, True),
        "outside.gif": gif((8, 7), (2, 3, 9, 8)),
        "animated.gif": saved(im.quantize(8), "GIF", save_all=True, append_images=[im.transpose(1).quantize(8)]),
        "rgb.webp": saved(im, "WEBP", lossless=True, method=6), "rgba.webp": saved(Image.fromarray(picture(21, 13, 4)), "WEBP", lossless=True),
        "two_colours.webp": saved(im.quantize(2).convert("RGB"), "WEBP", lossless=True, method=6),
        "sixteen.webp": saved(im.quantize(16).convert("RGB"), "WEBP", lossless=True, method=6),
        "areas.webp": saved(Image.fromarray(np.tile(picture(33, 30), (3, 3, 1))), "WEBP", lossless=True, method=6),
    }
    exif = Image.Exif()
    for o in range(1, 9):
        exif[0x112] = o
        small = Image.fromarray(picture(9, 5))
        files["exif%d.jpg" % o] = saved(small, "JPEG", quality=92, subsampling=0, exif=exif)
        files["exif%d.png" % o] = saved(small, "PNG", exif=exif)
        files["xmp%d.jpg" % o] = saved(small, "JPEG", xmp=b'<x:xmpmeta><rdf tiff:Orientation="%d"/></x:xmpmeta>' % o)
    exif[0x112] = 6
    files["exif6.webp"] = saved(small, "WEBP", lossless=True, exif=exif)
    out = {}
    for name, data in files.items():
        tr = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        out[name + "/file"] = np.frombuffer(data, np.uint8)
        out[name + "/drop"] = np.array(tr.convert("RGB"))
        out[name + "/keep"] = rgba = np.array(tr.convert("RGBA"))
        white = Image.new("RGBA", tr.size, (255, 255, 255, 255))
        out[name + "/white"] = np.array(Image.alpha_composite(white, Image.fromarray(rgba)).convert("RGB"))
        if "A" not in tr.getbands() and "transparency" not in tr.info:
            out[name + "/white"] = out[name + "/drop"]
    save_file(out, os.path.join(HERE, "pictures.safetensors"))


# --- resize ---------------------------------------------------------------------------------------------------------
def make_resize():
    import torch
    out = {}
    filters = {"bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC, "lanczos": Image.LANCZOS, "box": Image.BOX}
    sizes = [(40, 31, 33, 17), (31, 40, 17, 33), (11, 9, 31, 24), (37, 20, 12, 20), (5, 30, 5, 9), (30, 61, 48, 20), (1, 1, 3, 2),
             (33, 33, 1, 1), (64, 3, 7, 3)]
    for name, f in filters.items():
        for k, (w, h, wo, ho) in enumerate(sizes):
            c = (3, 1, 4)[k % 3]
            a = picture(w, h, c) if k % 2 else rng.choice(np.array([0, 255], np.uint8), (h, w, c))
            planes = [Image.fromarray(np.ascontiguousarray(a[..., i])) for i in range(c)]
            key = "%s %d/" % (name, k)
            out[key + "in"] = a
            out[key + "out"] = np.dstack([np.array(p.resize((wo, ho), f)) for p in planes])
            across = [p.resize((wo, h), f).resize((wo, ho), f) for p in planes]
            out[key + "horizontal_first"] = np.dstack([np.array(p) for p in across])
    for k, (h, w, ho, wo) in enumerate([(7, 7, 14, 14), (14, 14, 9, 11), (24, 24, 16, 16), (5, 6, 5, 9), (1, 3, 4, 2)]):
        a = rng.standard_normal((h, w, 5)).astype(np.float32)
        t = torch.tensor(a).permute(2, 0, 1)[None].contiguous()
        out["grid %d/in" % k] = a
        for name, aa in (("plain", False), ("antialias", True)):
            r = torch.nn.functional.interpolate(t, size=(ho, wo), mode="bicubic", align_corners=False, antialias=aa)
            out["grid %d/%s" % (k, name)] = np.ascontiguousarray(r[0].permute(1, 2, 0).numpy())
    save_file(out, os.path.join(HERE, "resize.safetensors"))


# --- preprocess -----------------------------------------------------------------------------------------------------
def make_preprocess():
    from open_clip.transform import PreprocessCfg, image_transform_v2
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil as Blip
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil as Clip
    from transformers.models.idefics2.image_processing_pil_idefics2 import Idefics2ImageProcessorPil as Idefics2
    from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil as LlavaNext
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil as Siglip
    out, meta = {}, {}
    sizes = [(30, 19), (13, 27), (9, 5)]

    def real(p, im):
        r = p([[im]], return_tensors="np")
        return [v[:, :int(m[:, 0].sum()), :int(m[0].sum())] for v, m in zip(r["pixel_values"][0], r["pixel_attention_mask"][0])]

    def one(p, im):
        return list(p([im], return_tensors="np")["pixel_values"][0][None])

    def tiles(p, im):
        return list(p([im], return_tensors="np")["pixel_values"][0])

    def add(case, im, file, text, pieces):
        meta["%s/%s" % (case, file)] = text
        out[case + "/in"] = np.array(im)
        for k, v in enumerate(pieces):
            out[case + ("/out.%d" % k if len(pieces) > 1 else "/out")] = np.ascontiguousarray(v, np.float32)
    edge = {"shortest_edge": 16}
    processors = {
        "clip": (Clip(size=edge, crop_size={"height": 16, "width": 16}), one),
        "clip_loose": (Clip(size=edge, crop_size={"height": 11, "width": 14}), one),
        "clip_pad": (Clip(size={"shortest_edge": 9}, crop_size={"height": 16, "width": 15}), one),
        "clip_decode": (Clip(do_resize=False, do_center_crop=False), one),
        "clip_bilinear": (Clip(size={"height": 12, "width": 17}, resample=2, do_center_crop=False, do_normalize=False), one),
        "blip": (Blip(size={"height": 16, "width": 16}), one), "siglip": (Siglip(size={"height": 15, "width": 18}), one),
        "raw": (Blip(size={"height": 7, "width": 9}, do_rescale=False, resample=4), one),
        "idefics2": (Idefics2(size={"shortest_edge": 10, "longest_edge": 24}, do_image_splitting=False), real),
        "idefics2_split": (Idefics2(size={"shortest_edge": 10, "longest_edge": 24}, do_image_splitting=True), real),
        "llava_next": (LlavaNext(size={"shortest_edge": 12}, crop_size={"height": 12, "width": 12},
                                 image_grid_pinpoints=[[12, 24], [24, 12], [24, 24], [36, 12], [12, 36]]), tiles),
    }
    for name, (p, pieces) in processors.items():
        for k, size in enumerate(sizes):
            im = Image.fromarray(picture(*size))
            with tempfile.TemporaryDirectory() as d:
                p.save_pretrained(d)
                text = open(os.path.join(d, "preprocessor_config.json"), encoding="utf-8").read()
            file = "preprocessor_config.json"
            if k == 1:  # the settings of recent releases stand inside another file
                file, text = "processor_config.json", json.dumps({"image_processor": json.loads(text)})
            add("%s %d" % (name, k), im, file, text, pieces(p, im))
    stats = {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711]}
    for name, kw in {"shortest": dict(size=14), "longest": dict(size=14, resize_mode="longest", fill_color=77),
                     "squash": dict(size=[11, 15], resize_mode="squash", interpolation="bilinear"),
                     "shortest_wide": dict(size=[9, 20], resize_mode="shortest")}.items():
        for k, size in enumerate(sizes):
            im = Image.fromarray(picture(*size))
            text = json.dumps({"model_cfg": {"vision_cfg": {"image_size": 3}}, "preprocess_cfg": {**stats, **kw}})
            t = image_transform_v2(PreprocessCfg(**kw), is_train=False)
            add("open_clip_%s %d" % (name, k), im, "open_clip_config.json", text, [t(im).numpy()])
    save_file(out, os.path.join(HERE, "preprocess.safetensors"), metadata=meta)


if __name__ == "__main__":
    make_pictures()
    make_resize()
    make_preprocess()
