#!/usr/bin/env python3
"""Writes the goldens of whole pipelines beside this file (needs diffusers; not needed to test): tiny random ones.

xl/  SDXL inpainting, 9 channels, Euler; the UNet in shards, all weights in the variant fp16
sd/  Stable Diffusion 1, 4 channels, PNDM: a text; a picture; a picture and a mask
NAME/golden.safetensors holds CASE/in.* and CASE/out.image; the strings tol.NAME are "rtol atol". Expected values are f32 arithmetic on the
stored weights; noise is that of torch's generator with in.seed.
"""
import json
import os
import shutil

import numpy as np
import torch
from diffusers import (AutoencoderKL, EulerDiscreteScheduler, PNDMScheduler, StableDiffusionImg2ImgPipeline, StableDiffusionInpaintPipeline,
                       StableDiffusionPipeline, StableDiffusionXLInpaintPipeline, UNet2DConditionModel)
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
WORDS = "a photo of red blue green cat dog ball box on the table bad blurry".split()
SCHEDULE = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, timestep_spacing="leading")
VAE = ("AutoencoderKL", dict(block_out_channels=(4, 8), norm_num_groups=4, layers_per_block=1, sample_size=32,
                             down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2))


def tokenizer(path, pad):
    """Words of printable characters; tokenizer files as CLIP's first ones."""
    letters = [chr(c) for c in range(33, 127) if not 65 <= c <= 90]
    vocab, merges = letters + [c + "</w>" for c in letters], []
    for word in WORDS:
        parts = list(word[:-1]) + [word[-1] + "</w>"]
        while len(parts) > 1:
            if (pair := (parts[0], parts[1])) not in merges:
                merges.append(pair)
                vocab += [] if "".join(pair) in vocab else ["".join(pair)]
            parts = [parts[0] + parts[1]] + parts[2:]
    vocab += ["<|startoftext|>", "<|endoftext|>"]
    os.makedirs(path, exist_ok=True)
    json.dump({t: i for i, t in enumerate(vocab)}, open(path + "/vocab.json", "w"))
    open(path + "/merges.txt", "w").write("#version: 0.2\n" + "".join("%s %s\n" % m for m in merges))
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>", "pad_token": pad}
    json.dump(special, open(path + "/special_tokens_map.json", "w"))
    json.dump(dict(special, model_max_length=16, tokenizer_class="CLIPTokenizer"), open(path + "/tokenizer_config.json", "w"))
    return CLIPTokenizer.from_pretrained(path), len(vocab)


def text(vocab, projected):
    """Eight columns; the second encoder of SDXL has a projection."""
    c = CLIPTextConfig(vocab_size=vocab, hidden_size=8, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
                       max_position_embeddings=16, projection_dim=8, eos_token_id=2, hidden_act="gelu" if projected else "quick_gelu")
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(c)


def settle(m, seed):
    """Random weights that f16 holds exactly."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for n, p in m.named_parameters():
            norm = "norm" in n and n.endswith("weight")
            p.copy_((torch.randn(p.shape, generator=g) * (0.1 if p.ndim < 2 else p[0].numel() ** -0.5) + norm).half().float())
    return m.eval()


def put(m, path, shards, variant):
    """The weights as f16; in shards with an index."""
    shutil.rmtree(path, ignore_errors=True)
    m.half().save_pretrained(path, variant=variant, **({"max_shard_size": sum(p.numel() for p in m.parameters()) * 2 // shards} if shards > 1 else {}))
    m.float()


def picture(rng, h, w):
    """Smooth enough for a resize to matter little, and a mask with edges on both sides of the threshold."""
    y, x = np.mgrid[0:h, 0:w]
    im = np.stack([127 + 100 * np.sin(x / 7 + k) * np.cos(y / (5 + k)) for k in range(3)], 2) + rng.integers(-20, 20, (h, w, 3))
    mask = np.zeros((h, w), np.uint8)
    mask[h // 4:3 * h // 4, w // 3:7 * w // 8] = 255
    mask[:3, :5], mask[-3:, :5] = 127, 128
    return np.clip(im, 0, 255).astype(np.uint8), mask


def add(t, meta, name, pipe, seed, **kw):
    """One case: the call's arguments and its picture."""
    meta[name + "/kind"] = "pipeline"
    t[name + "/in.seed"] = torch.tensor([seed])
    args = {k: Image.fromarray(v) if isinstance(v, np.ndarray) else v for k, v in kw.items()}
    pipe.set_progress_bar_config(disable=True)
    with torch.no_grad():
        out = pipe(generator=torch.Generator().manual_seed(seed), output_type="np", **args).images
    for k, v in kw.items():
        if isinstance(v, str):
            meta["%s/in.%s" % (name, k)] = v
        else:
            t["%s/in.%s" % (name, k)] = torch.tensor(v) if isinstance(v, np.ndarray) else torch.tensor([float(v)])
    t[name + "/out.image"], meta["tol." + name + "/out.image"] = torch.tensor(out), "2e-3 5e-3"


def unet(**kw):
    return UNet2DConditionModel(**dict(dict(sample_size=16, block_out_channels=(4, 8), layers_per_block=1, norm_num_groups=4, attention_head_dim=2,
                                            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D")), **kw))


def write(name, pipe, parts, toks, t, meta, shards, variant):
    path = os.path.join(HERE, name)
    shutil.rmtree(path, ignore_errors=True)
    pipe.save_pretrained(path)
    for n in parts:
        put(getattr(pipe, n), path + "/" + n, shards if n == "unet" else 1, variant)
    for n, pad in toks.items():
        shutil.rmtree(path + "/" + n)
        tokenizer(path + "/" + n, pad)
    save_file({k: v.contiguous() for k, v in t.items()}, path + "/golden.safetensors", meta)


def xl(rng):
    tmp = "/tmp/tokenizer"
    tok, n = tokenizer(tmp, "<|endoftext|>")
    tok2, n2 = tokenizer(tmp + "2", "!")
    pipe = StableDiffusionXLInpaintPipeline(
        vae=settle(AutoencoderKL(**dict(VAE[1], scaling_factor=0.13025)), 1), text_encoder=settle(text(n, False), 2), text_encoder_2=settle(text(n2, True), 3),
        tokenizer=tok, tokenizer_2=tok2, scheduler=EulerDiscreteScheduler(**SCHEDULE), add_watermarker=False, force_zeros_for_empty_prompt=True,
        unet=settle(unet(in_channels=9, cross_attention_dim=16, use_linear_projection=True, addition_embed_type="text_time", addition_time_embed_dim=4,
                         projection_class_embeddings_input_dim=8 + 6 * 4), 4))
    im, mask = picture(rng, 28, 20)
    t, meta = {}, {}
    add(t, meta, "inpaint", pipe, 11, prompt="a photo of a red cat", image=im, mask_image=mask, height=24, width=16, num_inference_steps=5, guidance_scale=6.0, strength=0.99)
    add(t, meta, "both", pipe, 12, prompt="blue ball", negative_prompt="bad blurry", image=im, mask_image=mask, height=16, width=24, num_inference_steps=3, guidance_scale=1.5,
        strength=1.0)
    write("xl", pipe, ("unet", "vae", "text_encoder", "text_encoder_2"), {"tokenizer": "<|endoftext|>", "tokenizer_2": "!"}, t, meta, 3, "fp16")


def sd(rng):
    tok, n = tokenizer("/tmp/tokenizer", "<|endoftext|>")
    parts = dict(vae=settle(AutoencoderKL(**VAE[1]), 5), text_encoder=settle(text(n, False), 6), tokenizer=tok, unet=settle(unet(cross_attention_dim=8), 7),
                 scheduler=PNDMScheduler(skip_prk_steps=True, set_alpha_to_one=False, **SCHEDULE), safety_checker=None, feature_extractor=None)
    make = lambda kind: kind(**parts, requires_safety_checker=False)
    im, mask = picture(rng, 28, 20)
    t, meta = {}, {}
    words = dict(prompt="a green box on the table, a dog on the ball of the cat", negative_prompt="bad")
    add(t, meta, "text", make(StableDiffusionPipeline), 21, height=16, width=24, num_inference_steps=6, guidance_scale=7.5, **words)
    add(t, meta, "picture", make(StableDiffusionImg2ImgPipeline), 22, image=im[:24, :16], num_inference_steps=6, strength=0.7, guidance_scale=3.0, **words)
    add(t, meta, "mask", make(StableDiffusionInpaintPipeline), 23, image=im, mask_image=mask, height=24, width=16, num_inference_steps=5, strength=0.8, guidance_scale=1.0, **words)
    t["picture/in.height"], t["picture/in.width"] = torch.tensor([24.0]), torch.tensor([16.0])
    write("sd", make(StableDiffusionPipeline), ("unet", "vae", "text_encoder"), {"tokenizer": "<|endoftext|>"}, t, meta, 1, None)


xl(np.random.default_rng(0))
sd(np.random.default_rng(1))
