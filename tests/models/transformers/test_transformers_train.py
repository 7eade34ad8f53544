"""Each model learns from real data: its loss falls far below that of a guess."""

from math import log

import torch
import torch.nn.functional as F

from edgewise.functional import aggregate
from edgewise.graphs import Blocks, Causal, disjoint_union
from edgewise.models import bert, gpt2, llama, positions_within, transformer, vit


def losses(model, batch_loss, steps, rate):
    optimizer = torch.optim.AdamW(model.parameters(), rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    result = []
    for step in range(steps):
        loss = batch_loss(step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        result.append(loss.item())
    return result


def test_language_models_on_shakespeare(data_root):
    text = (data_root / "tinyshakespeare" / "input.txt").read_text(encoding="utf-8")[:200_000]
    letters = sorted(set(text))
    tokens = torch.tensor([letters.index(letter) for letter in text])
    settings = {"dim": 48, "heads": 4, "layers": 2, "std": 0.12}
    for model in (
        gpt2(len(letters), max_positions=64, dropout=0.0, **settings),
        llama(len(letters), kv_heads=2, hidden=96, **settings),
    ):

        def batch_loss(_, model=model):
            places = torch.randint(len(tokens) - 65, (12, 1)) + torch.arange(65)
            chunk = tokens[places]
            return F.cross_entropy(model(chunk[:, :-1]).flatten(0, 1), chunk[:, 1:].flatten())

        result = losses(model, batch_loss, 60, 6e-3)
        assert abs(result[0] - log(len(letters))) < 0.6  # at first every letter is as likely
        assert sum(result[-5:]) / 5 < 2.8
        # What it writes is made of letters that are common, not of any.
        written = model.eval().generate(
            tokens[:8], max_new_tokens=40, generator=torch.Generator().manual_seed(0)
        )
        assert len(written) == 48
        common = set(tokens.bincount().topk(30).indices.tolist())
        assert sum(token in common for token in written[8:].tolist()) > 30


def test_bert_on_questions(data_root):
    lines = (data_root / "text" / "TREC.train.all").read_text(encoding="latin-1").splitlines()
    rows = [line.lower().split() for line in lines[:600]]
    words = {word: number for number, word in enumerate(sorted({w for r in rows for w in r[1:]}))}
    labels = torch.tensor([int(row[0]) for row in rows])
    texts = [torch.tensor([words[word] for word in row[1:]]) for row in rows]
    model = bert(len(words), dim=32, heads=4, layers=2, max_positions=64, dropout=0.0)
    head = torch.nn.Linear(32, 6)

    def batch_loss(step):
        chosen = range(step * 40 % 600, step * 40 % 600 + 40)
        sizes = [len(texts[number]) for number in chosen]
        tokens = torch.cat([texts[number] for number in chosen])
        h = model(tokens, Blocks(sizes), positions=positions_within(sizes))
        means = aggregate(h, Blocks([1] * len(sizes), sizes), "mean")
        return F.cross_entropy(head(means), labels[list(chosen)])

    result = losses(torch.nn.ModuleList([model, head]), batch_loss, 75, 4e-3)
    assert abs(result[0] - log(6)) < 0.3
    assert sum(result[-15:]) / 15 < 0.8  # over all 600 questions


def sentences(path, most):
    """Words and their parts of speech, from a treebank."""
    rows = [[]]
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line:
            rows.append([])
        elif line[0] != "#" and line.split("\t")[0].isdigit():
            _, word, _, tag = line.split("\t")[:4]
            rows[-1].append((word.lower(), tag))
    return [row for row in rows if 3 <= len(row) <= 12][:most]


def test_sequence_to_sequence_from_words_to_their_tags(data_root):
    rows = sentences(data_root / "ud_ewt" / "en_ewt-ud-dev.conllu", 240)
    names = sorted({name for row in rows for pair in row for name in pair})
    number = {name: place for place, name in enumerate(names, 1)}  # 0 begins a target
    sources = [torch.tensor([number[word] for word, _ in row]) for row in rows]
    targets = [torch.tensor([0, *(number[tag] for _, tag in row)]) for row in rows]
    model = transformer(len(names) + 1, dim=32, heads=4, layers=2, dropout=0.0)

    def batch_loss(step):
        chosen = range(step * 40 % 240, step * 40 % 240 + 40)
        source, target = ([texts[number] for number in chosen] for texts in (sources, targets))
        sizes, lengths = [len(text) for text in source], [len(text) - 1 for text in target]
        logits = model(
            torch.cat(source),
            torch.cat([text[:-1] for text in target]),
            source_graph=Blocks(sizes),
            target_graph=disjoint_union([Causal(length) for length in lengths]),
            cross=Blocks(lengths, sizes),
            source_positions=positions_within(sizes),
            target_positions=positions_within(lengths),
        )
        return F.cross_entropy(logits, torch.cat([text[1:] for text in target]))

    result = losses(model, batch_loss, 90, 6e-3)
    assert abs(result[0] - log(len(names) + 1)) < 1.0
    assert sum(result[-6:]) / 6 < 1.6  # over all 240 sentences; 2.46 without looking at words


def test_vision_transformer_on_digits():
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.from_numpy(digits.images).float()[:, None] / 16.0 - 0.5
    labels = torch.from_numpy(digits.target)
    model = vit(10, dim=32, heads=4, layers=2, image_size=8, patch_size=2, channels=1, std=0.15)

    def batch_loss(_):
        chosen = torch.randint(1500, (64,))
        return F.cross_entropy(model(images[chosen]), labels[chosen])

    result = losses(model, batch_loss, 120, 4e-3)
    assert abs(result[0] - log(10)) < 0.3
    assert sum(result[-10:]) / 10 < 0.5
    with torch.no_grad():
        right = (model(images[1500:]).argmax(-1) == labels[1500:]).float().mean()
    assert right > 0.8  # of 297 digits that it has not seen
