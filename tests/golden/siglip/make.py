#!/usr/bin/env python3
"""Writes the SigLIP goldens beside this file (needs torch, transformers, tokenizers, sentencepiece, open_clip_torch; not
needed to test).

hf/, variant/  random models and image processors as transformers saves them (variant: other sizes and activations, bf16, in shards), and
               golden.safetensors: out.*, the sigmoid loss and all gradients in f32, with tolerances as strings
spiece/        spiece.model and tokenizer_config.json; json/, words/: the same pieces as tokenizer.json in two pipelines;
open_clip/     json/ with an open_clip_config.json that asks for canonical texts
cases.jsonl    {"text", "spiece": ids, "json": ids, "words": ids, "open_clip": ids} per line

The pieces are learnt here, and the map of characters is a short one; the rules are what is tested.
"""
import json
import os
import random
import shutil
import sys
import unicodedata

import ftfy
import open_clip.tokenizer
import sentencepiece
import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram
from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel, SiglipTokenizer
from transformers.convert_slow_tokenizer import import_protobuf

HERE = os.path.dirname(os.path.abspath(__file__))
CORPUS = """a photo of a red cube on the left of a blue sphere. there are three green cylinders and two yellow cones in front
of the large gray wall. the dog's toy is under the wooden table and a cat sits near the open window. it isn't raining, we'll
walk past the old café in straße 12 with 5 children! a naïve résumé über alles ... привет мир κόσμος 你好 世界 日本語 a man is
riding a bicycle while another one looks at the busy street; σοφός"""
MAPPED = "ﬁﬂ①②ＡＢａｂ１２½Ⅷ\u00a0\u3000\u2003\u200b\u00ad\ufeff\t\n\r\x01…™Åéèüß"
TEXTS = ["", " ", "a photo of a cat", "A Photo, of  a CAT!", " lead", "trail ", "\ttab\n new", "don't stop-it", "ΟΔΥΣΣΕΥΣ ΣΟΦΟΣ",
         "İstanbul", "café", "cafe\u0301", "ﬁne ①② ﬂ", "日本語テキスト", "emoji 😀😀 x", "</s>", "a</s>b", "foo </s> bar</s>",
         "<unk> x", "x<unk>", "▁▁a▁b", "\u00a0nb\u00a0sp\u3000x", "\x1c\x1dx", "\u200bzero\u200b", "\ufeffbom", "...", "!?",
         "naïve—dash – en", "ＡＢ ａｂ １２", "½ Ⅷ…™", "x" * 80, "a b " * 30, "</S>", "\x01x", "é" * 10, "👨‍👩‍👧 x", "a\r\nb",
         "e\u0301\u0301\u0323", "ﬁ\u0301 ﬁ\u0301\u0301", "a_b__c", "under_score &amp; &lt;b&gt;", "a  b", "the dog's toy; isn't it?"]


def texts():
    rng = random.Random(3)
    pool = "abcdefghijklmnopqrstuvwxyz        ABCDEFG.,!?-'\"()_éüßσςΣ日本語①ﬁ▁\u00a0\t\n😀\u0301<>/s\u200d\u3000ı"
    words = (CORPUS + " <unk> </s>").split()
    for i in range(160):
        yield "".join(rng.choices(pool, k=rng.randint(1, 40))) if i % 2 else " ".join(rng.choices(words, k=rng.randint(1, 12)))


# --- tokenizers ----------------------------------------------------------------------------------------------------
def rules():
    """Form KC of a few characters, blanks and what vanishes; and letters with an accent behind them."""
    lines = {}
    for c in MAPPED:
        to = " " if c in "\u00a0\u3000\u2003\t\n\r" else "" if c in "\u200b\u00ad\ufeff\x01" else unicodedata.normalize("NFKC", c)
        if to != c:
            lines[c] = to
    for c in "aeiouAEIOU":
        for mark in "\u0300\u0301\u0308":
            lines[c + mark] = unicodedata.normalize("NFC", c + mark)
    lines["ﬁ\u0301"] = "fí"  # a key that begins with another one
    return "".join("%s\t%s\n" % (" ".join("%X" % ord(x) for x in k), " ".join("%X" % ord(x) for x in v)) for k, v in lines.items())


def tokenizers():
    work = os.path.join(HERE, "work")
    os.makedirs(work, exist_ok=True)
    with open(work + "/rules.tsv", "w") as f:
        f.write(rules())
    with open(work + "/corpus.txt", "w") as f:
        rng = random.Random(1)
        f.write("\n".join(" ".join(rng.choices(CORPUS.lower().split(), k=9)) for _ in range(400)))
    for name in ("spiece", "json", "words", "open_clip"):
        os.makedirs(os.path.join(HERE, name), exist_ok=True)
    sentencepiece.SentencePieceTrainer.train(
        input=work + "/corpus.txt", model_prefix=work + "/spiece", vocab_size=300, hard_vocab_limit=False, model_type="unigram", pad_id=0, eos_id=1,
        unk_id=2, bos_id=-1, character_coverage=0.98, normalization_rule_tsv=work + "/rules.tsv", minloglevel=2)
    pb = import_protobuf().ModelProto.FromString(open(work + "/spiece.model", "rb").read())
    pb.trainer_spec.input[:] = []
    pb.trainer_spec.model_prefix = pb.normalizer_spec.normalization_rule_tsv = ""
    with open(HERE + "/spiece/spiece.model", "wb") as f:
        f.write(pb.SerializeToString(deterministic=True))
    with open(HERE + "/spiece/tokenizer_config.json", "w") as f:
        json.dump({"tokenizer_class": "SiglipTokenizer", "model_max_length": 16, "eos_token": "</s>", "pad_token": "</s>",
                   "unk_token": "<unk>", "do_lower_case": True}, f)
    shutil.rmtree(work)
    char_map = pb.normalizer_spec.precompiled_charsmap
    for name in ("json", "words"):
        t = Tokenizer(Unigram([(p.piece, p.score) for p in pb.pieces], unk_id=2, byte_fallback=False))
        if name == "json":
            t.normalizer = normalizers.Sequence([normalizers.Precompiled(char_map), normalizers.Strip(left=False, right=True),
                                                 normalizers.Replace(Regex(" {2,}"), "▁")])
            t.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
        else:
            punctuation = r"""[!"#$%&'()*+,-./:;<=>?@\[\\\]^_`{|}~]"""
            t.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(Regex(punctuation), ""), normalizers.NFC(),
                                                 normalizers.Replace("ab", "ba"), normalizers.Replace(Regex(r"\s+"), " "),
                                                 normalizers.Strip(), normalizers.Prepend("the ")])
            t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(),
                                                       pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")])
        t.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
        t.add_special_tokens([AddedToken("</s>", special=True, normalized=False), AddedToken("<unk>", special=True, normalized=False)])
        t.save(os.path.join(HERE, name, "tokenizer.json"), pretty=False)
    shutil.copy(HERE + "/json/tokenizer.json", HERE + "/open_clip/tokenizer.json")
    with open(HERE + "/open_clip/open_clip_config.json", "w") as f:
        json.dump({"model_cfg": {"embed_dim": 8, "text_cfg": {"context_length": 16, "hf_tokenizer_name": "x", "tokenizer_kwargs":
                                                              {"clean": "canonicalize"}}}}, f)
    spiece = SiglipTokenizer.from_pretrained(HERE + "/spiece")
    fast = {name: Tokenizer.from_file(os.path.join(HERE, name, "tokenizer.json")) for name in ("json", "words")}
    clean = open_clip.tokenizer.get_clean_fn("canonicalize")
    open_clip.tokenizer.ftfy = type("Fix", (), {"fix_text": staticmethod(lambda s: ftfy.fix_text(s, fix_encoding=False))})
    with open(HERE + "/cases.jsonl", "w") as f:
        for text in TEXTS + list(texts()):
            ids = spiece(text).input_ids
            line = {"text": text, "spiece": ids, "json": fast["json"].encode(text).ids, "words": fast["words"].encode(text).ids,
                    "open_clip": fast["json"].encode(clean(text)).ids}
            f.write(json.dumps(line) + "\n")


# --- models --------------------------------------------------------------------------------------------------------
def model(name, text, vision, dtype, shard, seed):
    out = os.path.join(HERE, name)
    shutil.rmtree(out, ignore_errors=True)
    torch.manual_seed(seed)
    m = SiglipModel(SiglipConfig(text_config=text, vision_config=vision))
    with torch.no_grad():
        for key, p in m.named_parameters():
            p.copy_(torch.randn_like(p) * (0.3 if p.ndim > 1 else 0.2) / (p.shape[-1] ** 0.5 if p.ndim > 1 else 1) * 2)
            if key.endswith(("norm.weight", "norm1.weight", "norm2.weight")):
                p.add_(1)
        m.logit_scale.fill_(1.7), m.logit_bias.fill_(-2.3)
    m.to(dtype).save_pretrained(out, max_shard_size=shard)
    side = vision["image_size"]
    SiglipImageProcessor(size={"height": side, "width": side}).save_pretrained(out)
    m = SiglipModel.from_pretrained(out, dtype=torch.float32).eval()
    g = torch.Generator().manual_seed(seed)
    ids = torch.randint(2, text["vocab_size"], (3, text["max_position_embeddings"]), generator=g)
    for k in range(3):
        ids[k, 3 + 2 * k:] = 1
    S = vision["image_size"]
    px = torch.randn(3, 3, S, S, generator=g)
    o = m(input_ids=ids, pixel_values=px, return_loss=True)
    o.loss.backward()
    data = {"base/out.image_embeds": o.image_embeds, "base/out.text_embeds": o.text_embeds, "base/out.logits_per_text": o.logits_per_text,
            "base/out.logits_per_image": o.logits_per_image, "siglip/loss": o.loss.reshape(1)}
    meta = {"base/kind": "forward", "siglip/kind": "loss", "siglip/in.loss": "siglip", "tol.siglip/loss": "1e-5 1e-5"}
    for key in list(data)[:4]:
        meta["tol." + key] = "1e-4 1e-4"
    grads = {k: p.grad for k, p in m.named_parameters()}
    most = max(float(g.pow(2).mean().sqrt()) for g in grads.values())
    for k, v in grads.items():
        data["siglip/grad." + k] = v
        meta["tol.siglip/grad." + k] = "1e-3 %.3g" % max(2e-3 * float(v.pow(2).mean().sqrt()), 1e-5 * most, 1e-7)
    for case in ("base", "siglip"):
        data[case + "/in.input_ids"], data[case + "/in.pixel_values"] = ids.clone(), px.clone()
    save_file({k: v.detach().contiguous().clone() for k, v in data.items()}, out + "/golden.safetensors", meta)


if __name__ == "__main__":
    if sys.argv[1:] != ["tokenizers"]:
        model("hf", dict(vocab_size=128, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=3,
                         max_position_embeddings=12),
              dict(hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=3, image_size=24, patch_size=8),
              torch.float32, "5GB", 1)
        model("variant", dict(vocab_size=70, hidden_size=16, intermediate_size=36, num_hidden_layers=3, num_attention_heads=4,
                              max_position_embeddings=9, hidden_act="gelu", layer_norm_eps=3e-6, projection_size=20, pad_token_id=0),
              dict(hidden_size=20, intermediate_size=28, num_hidden_layers=1, num_attention_heads=2, image_size=23, patch_size=5,
                   hidden_act="quick_gelu", layer_norm_eps=1e-5), torch.bfloat16, "10KB", 2)
    tokenizers()
