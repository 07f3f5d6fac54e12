#!/usr/bin/env python3
"""Writes the goldens of byte-pair tokenizers beside this file (needs tokenizers and sentencepiece; not needed to test).

bytes_llama3/, bytes_qwen2/, bytes_gpt2/   byte-level, with the expressions of the published models; GPT-2's puts a blank in front
pieces_prepend/, pieces_first/, pieces_always/, pieces_split/   SentencePiece's vocabularies in both styles of tokenizer.json
pieces_model/    tokenizer.model alone, ids of the SentencePiece library
bpe_cases.jsonl  {"text", NAME: ids, ..., NAME + "_text": decoded} per line; every second text is one of cases.jsonl

The vocabularies are learnt here from a few sentences; the rules are what is tested.
"""
import io
import json
import os

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
CORPUS = """a photo of a red cube on the left of a blue sphere. There are three green cylinders and two yellow cones in front of the large
gray wall. The dog's toy is under the wooden table and a cat sits near the open window. It isn't raining, we'll walk past the old café in
straße 12 with 5 children! A naïve résumé über alles... привет мир κόσμος 你好 世界 日本語 {"instruction": "replace the red cube", "count": 12345}
def main(argc, argv):\n    return 0\n\n\n  the  two   blanks\tand tabs\r\n""".replace("\n", " ", 2)
WORDS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|%s| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"


def byte_level(name, digits, specials, ignore_merges=False, normalizer=None, bos=None):
    t = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if digits:
        t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(WORDS % digits), "isolated"),
                                                   pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    else:
        t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator([CORPUS] * 3, trainers.BpeTrainer(vocab_size=420, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    if normalizer: t.normalizer = normalizer
    t.add_special_tokens([AddedToken(s, normalized=False, special=True) for s in specials])
    t.add_tokens([AddedToken("<box>", lstrip=True, normalized=False), AddedToken("Cube", normalized=True, single_word=True)])
    if bos: t.post_processor = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, t.token_to_id(bos))])
    return save(t, name, {"eos_token": specials[-1], "bos_token": bos})


def sentences():
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter([CORPUS] * 4), model_writer=out, vocab_size=400, model_type="bpe", byte_fallback=True,
                                             character_coverage=0.995, normalization_rule_name="identity", remove_extra_whitespaces=False,
                                             allow_whitespace_only_pieces=True, user_defined_symbols=["<image>"], minloglevel=2)
    return out.getvalue()


def from_sentencepiece(model):
    sp = sentencepiece.SentencePieceProcessor(model_proto=model)
    n = sp.vocab_size()
    vocab = {sp.id_to_piece(i): i for i in range(n)}
    normal = {p for p, i in vocab.items() if not (sp.is_control(i) or sp.is_unknown(i) or sp.is_byte(i) or p == "<image>")}
    pairs = [(-sp.get_score(vocab[p]), vocab[p], p[:k], p[k:]) for p in normal for k in range(1, len(p)) if p[:k] in normal and p[k:] in normal]
    return sp, vocab, [(a, b) for _, _, a, b in sorted(pairs)]


def pieces(name, vocab, merges, normalizer, pre, decoder):
    t = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if normalizer: t.normalizer = normalizer
    if pre: t.pre_tokenizer = pre
    t.decoder = decoder
    t.add_special_tokens([AddedToken(s, normalized=False, special=True) for s in ("<unk>", "<s>", "</s>")])
    t.add_tokens([AddedToken("<image>", normalized=False)])
    t.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", vocab["<s>"])])
    return save(t, name, {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"})


def save(t, name, config):
    os.makedirs(f"{HERE}/{name}", exist_ok=True)
    data = json.loads(t.to_str())
    json.dump(data, open(f"{HERE}/{name}/tokenizer.json", "w", encoding="utf-8"), ensure_ascii=False, separators=(",", ":"))
    json.dump({k: v for k, v in config.items() if v}, open(f"{HERE}/{name}/tokenizer_config.json", "w"))
    return Tokenizer.from_str(json.dumps(data))


def main():
    strip = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    model = sentences()
    sp, vocab, merges = from_sentencepiece(model)
    all = {
        "bytes_llama3": byte_level("bytes_llama3", "\\p{N}{1,3}", ["<|begin_of_text|>", "<|eot_id|>"], True, bos="<|begin_of_text|>"),
        "bytes_qwen2": byte_level("bytes_qwen2", "\\p{N}", ["<|im_start|>", "<|im_end|>"], normalizer=normalizers.NFC()),
        "bytes_gpt2": byte_level("bytes_gpt2", None, ["<|endoftext|>"]),
        "pieces_prepend": pieces("pieces_prepend", vocab, merges, normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]), None, strip),
        "pieces_first": pieces("pieces_first", vocab, merges, None, pre_tokenizers.Metaspace("▁", "first", False), strip),
        "pieces_always": pieces("pieces_always", vocab, merges, None, pre_tokenizers.Metaspace("▁", "always", False), decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace("▁", "always", False)])),
        "pieces_split": pieces("pieces_split", vocab, merges, None, pre_tokenizers.Sequence([pre_tokenizers.Metaspace("▁", "never", True), pre_tokenizers.Digits(True)]), strip),
    }
    os.makedirs(f"{HERE}/pieces_model", exist_ok=True)
    open(f"{HERE}/pieces_model/tokenizer.model", "wb").write(model)
    texts = [json.loads(line)["text"] for line in open(f"{HERE}/cases.jsonl", encoding="utf-8")][::2]
    texts += ["<|eot_id|>a <box> b", "  <box>x", " Cube", "Cubes a Cube.", "<|im_start|>user\nHi<|im_end|>\n", "<s> a</s>b", "a<image> b <image>c", "1234567 12", "   ", "\n\n \n x",
              "it'ſ IT'S it'LL", " <image>", "<image> ", "▁a ▁", "\u0000a", "x" * 300, "ab" * 200 + " " * 50]
    with open(f"{HERE}/bpe_cases.jsonl", "w", encoding="utf-8") as f:
        for text in texts:
            row = {"text": text}
            for name, t in all.items():
                ids = t.encode(text).ids
                row[name], row[name + "_text"] = ids, t.decode(ids)
            if "<" not in text and "\u0000" not in text: row["pieces_model"] = [1] + sp.encode(text)
            f.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")


main()
