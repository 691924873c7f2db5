#!/usr/bin/env python3
"""Makes what tests/model compares the other families of encoders with, as bert.py does for BERT: numbers of Hugging Face
`transformers` and of torch.

Run by hand from the repository root, with PyPI `torch`, `transformers`, `tokenizers` and `sentencepiece` installed:

    python3 tests/golden/encoders.py small     writes tests/golden/{mpnet,roberta,xlm-roberta}/*/ (nothing is needed)
    python3 tests/golden/encoders.py mpnet     writes tests/golden/mpnet_base.safetensors (needs weights/mpnet, ../shared)

small: folders as a user would bring them, with random weights, and golden.json as bert.py describes it; its words a0, a1, ...
may have several pieces, and the heads see the first one of each. MPNet's vocabulary spells any plain word; the sentences
of mpnet/h20 are long enough for every bucket of its distances.
mpnet: the states of real tweets, as bert.py's of MiniLM.
"""
import json
import math
import os
import sys

import sentencepiece
import tokenizers
import torch
import transformers
from safetensors.torch import save_file

import bert
from bert import LENGTHS, SPANS, crf_loss, digest, head_shapes, rounded, span_loss, wave

MADE_BY = (f"tests/golden/encoders.py, torch {torch.__version__}, transformers {transformers.__version__}, "
           f"tokenizers {tokenizers.__version__}, sentencepiece {sentencepiece.__version__}")
WORDS = 24
BEGIN, PAD, END, UNKNOWN = 0, 1, 2, 3


def mpnet_files(folder):
    """vocab.txt: MPNet's special pieces, all that spells plain words, and the words themselves."""
    plain = "abcdefghijklmnopqrstuvwxyz0123456789"
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "[UNK]", *plain, *("##" + c for c in plain), *"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
              *(f"a{k}" for k in range(WORDS)), "<mask>"]
    with open(f"{folder}/vocab.txt", "w") as f:
        f.write("\n".join(pieces) + "\n")
    ids = {p: i for i, p in enumerate(pieces)}
    return len(pieces), lambda word: [ids[word]]


def roberta_files(folder):
    """vocab.json and merges.txt: all bytes and two merges, so that a11 is ' a' and '11'."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    pieces = ["<s>", "<pad>", "</s>", "<unk>", *alphabet, "\u0120a", "11", "<mask>"]
    with open(f"{folder}/vocab.json", "w") as f:
        json.dump({p: i for i, p in enumerate(pieces)}, f, ensure_ascii=False)
    with open(f"{folder}/merges.txt", "w") as f:
        f.write("#version: 0.2\n\u0120 a\n1 1\n")
    bpe = tokenizers.ByteLevelBPETokenizer(f"{folder}/vocab.json", f"{folder}/merges.txt", add_prefix_space=True)
    return len(pieces), lambda word: bpe.encode(word).ids


def xlm_files(folder):
    """sentencepiece.bpe.model: a unigram model of the words; XLM-R's ids are one more, its special pieces before them."""
    out = f"{folder}/sentencepiece.bpe"
    sentences = [" ".join(f"a{(i * j) % WORDS}" for j in range(1, 9)) for i in range(WORDS)]
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(sentences), model_prefix=out, vocab_size=17,
                                             normalization_rule_name="identity", num_threads=1, minloglevel=2)
    os.remove(f"{out}.vocab")
    model = sentencepiece.SentencePieceProcessor(model_file=f"{out}.model")
    ids = lambda word: [i + 1 if i != model.unk_id() else UNKNOWN for i in model.encode(word)]
    return model.get_piece_size() + 2, ids


def config_of(model_type, name, heads, layers, hidden, ffn, positions, **more):
    return dict(model_type=model_type, architectures=[name], hidden_act="gelu", layer_norm_eps=1e-5, hidden_dropout_prob=0.1,
                attention_probs_dropout_prob=0.1, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
                intermediate_size=ffn, max_position_embeddings=positions, bos_token_id=BEGIN, pad_token_id=PAD, eos_token_id=END,
                **more)


SMALL = {
    "mpnet/h48": dict(seed=3, files=mpnet_files, lengths=LENGTHS, settings=dict(tokenizer_class="MPNetTokenizer", do_lower_case=True),
                      config=config_of("mpnet", "MPNetModel", 3, 2, 48, 96, 48, relative_attention_num_buckets=32)),
    "mpnet/h20": dict(seed=4, files=mpnet_files, lengths=LENGTHS + [115], settings=dict(tokenizer_class="MPNetTokenizer"),
                      config=config_of("mpnet", "MPNetModel", 1, 3, 20, 28, 130, relative_attention_num_buckets=32)),
    "roberta/h48": dict(seed=5, files=roberta_files, lengths=LENGTHS, settings=dict(tokenizer_class="RobertaTokenizer"),
                        config=config_of("roberta", "RobertaModel", 3, 2, 48, 96, 48, type_vocab_size=1)),
    "xlm-roberta/h20": dict(seed=6, files=xlm_files, lengths=LENGTHS, settings=dict(tokenizer_class="XLMRobertaTokenizer"),
                            config=config_of("xlm-roberta", "XLMRobertaModel", 2, 3, 20, 28, 64, type_vocab_size=1)),
}


def randomise(model):
    with torch.no_grad():
        for key, p in model.named_parameters():
            scale = 0.1 if p.dim() == 1 else 0.7 / math.sqrt(p.shape[-1])
            base = 1.0 if key.endswith("LayerNorm.weight") else 0.0
            p.copy_((base + scale * torch.randn(p.shape)).half().float())


def encode(words, ids_of):
    """Ids of a sentence, and the place of each word's first piece."""
    ids, first = [BEGIN], []
    for w in words:
        first.append(len(ids))
        ids += ids_of(f"a{w}")
    return ids + [END], first


def small(name, seed, files, lengths, settings, config):
    folder = f"tests/golden/{name}"
    os.makedirs(folder, exist_ok=True)
    size, ids_of = files(folder)
    config = dict(config, vocab_size=size)
    with open(f"{folder}/config.json", "w") as f:
        json.dump(config, f, indent=2)
        f.write("\n")
    with open(f"{folder}/tokenizer_config.json", "w") as f:
        json.dump(settings, f)
        f.write("\n")
    torch.manual_seed(seed)
    model = getattr(transformers, config["architectures"][0])(transformers.AutoConfig.from_pretrained(folder), add_pooling_layer=False)
    randomise(model)
    model = model.double().eval()
    save_file({k: p.detach().half().contiguous() for k, p in model.named_parameters()}, f"{folder}/model.safetensors",
              metadata={"format": "pt"})
    sentences = [[(seed + 7 * s + 5 * i * i) % WORDS for i in range(n)] for s, n in enumerate(lengths)]
    encoded = [encode(s, ids_of) for s in sentences]
    golden = dict(made_by=f"{MADE_BY}, seed {seed}", sentences=sentences, spans=SPANS, ids=[ids for ids, _ in encoded], heads={})
    for kind, loss_of in (("span", span_loss), ("crf", crf_loss)):
        model.zero_grad()
        states = [model(input_ids=torch.tensor([ids])).last_hidden_state[0] for ids, _ in encoded]
        golden["states"] = [rounded(x, 7) for x in torch.cat(states).detach().reshape(-1).tolist()]
        heads = {k: wave(k, shape).requires_grad_() for k, shape in head_shapes(kind, config["hidden_size"]).items()}
        loss = loss_of(torch.cat([x[first] for x, (_, first) in zip(states, encoded)]), heads, lengths)
        loss.backward()
        gradients = {k: digest(p.grad) for k, p in list(model.named_parameters()) + list(heads.items())}
        golden["heads"][kind] = dict(loss=rounded(loss.item(), 12), gradients=gradients)
    with open(f"{folder}/golden.json", "w") as f:
        json.dump(golden, f, separators=(",", ":"))
        f.write("\n")


if __name__ == "__main__":
    if sys.argv[1:] == ["small"]:
        for folder_name, options in SMALL.items():
            small(folder_name, **options)
    elif sys.argv[1:] == ["mpnet"]:
        bert.real("weights/mpnet", "tests/golden/mpnet_base.safetensors", MADE_BY)
    else:
        sys.exit(__doc__)
