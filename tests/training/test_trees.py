"""Readers of trees: their results, and an error for every line that is no tree."""

import gzip
import lzma

import pytest
import torch

from edgewise.errors import DataError
from edgewise.nn.recurrent.tree_levels import forest
from edgewise.training.data import SENTIMENTS, read_conllu, read_trees
from edgewise.training.data.conllu import sentence_from
from edgewise.training.data.trees import tree_from

LINE = "(3 (2 It) (4 (2 's) (4 (2 (2 a) (4 lovely)) (2 film))))"


def test_a_tree_has_words_labels_and_edges():
    tree = tree_from(LINE, SENTIMENTS)
    assert tree.words == (None, "It", None, "'s", None, None, "a", "lovely", "film")
    assert tree.labels.tolist() == [3, 2, 4, 2, 4, 2, 2, 4, 2]
    assert tree.parents == (-1, 0, 0, 2, 2, 4, 5, 5, 4)
    assert tree.graph.edge_index.tolist() == [[1, 2, 3, 4, 5, 6, 7, 8], [0, 0, 2, 2, 4, 5, 5, 4]]
    assert tree.num_nodes == tree.graph.num_nodes == 9


def test_any_labels_words_and_blanks():
    tree = tree_from("(S\t(NP 8\u00a01\\/2)(VP  ran ) ) ", ("S", "NP", "VP"))
    assert tree.words == (None, "8\u00a01\\/2", "ran")  # other blanks are part of a word
    single = tree_from("(0 no)", SENTIMENTS)
    assert single.graph.num_edges == 0
    assert single.num_nodes == 1


def test_depth_has_no_limit():
    depth = 50_000
    tree = tree_from("(2 " * depth + "deep" + ")" * depth, SENTIMENTS)
    assert tree.num_nodes == depth
    assert tree.words[-1] == "deep"


@pytest.mark.parametrize(
    ("line", "expected", "got"),
    [
        ("", "a tree at character 1", "the end of the line"),
        ("   ", "a tree at character 4", "the end of the line"),
        ("hello", "an opening bracket at character 1", "'hello'"),
        ("(", "one of the labels 0, 1, 2, 3, 4 at character 2", "the end of the line"),
        ("(2", "a closing bracket at character 3", "the end of the line"),
        ("(7 word)", "one of the labels 0, 1, 2, 3, 4 at character 2", r"'7 word\)'"),
        ("((2 word))", "one of the labels 0, 1, 2, 3, 4 at character 2", r"'\(2 word\)\)'"),
        ("(2 )", "a word or a child after the label at character 4", r"'\)'"),
        ("(2 a", "a closing bracket at character 5", "the end of the line"),
        ("(2 (1 a)", "a closing bracket at character 9", "the end of the line"),
        ("(2 a b)", "a bracket, because a node has one word or else children at character 6", "'b"),
        ("(2 (1 a) b)", "a bracket, because a node has one word or else chil", "'b"),
        ("(2 a (1 b))", "a closing bracket after a word at character 6", r"'\(1 b\)\)'"),
        ("(2 a))", "the end of the line after one tree at character 6", r"'\)'"),
        ("(2 a) (1 b)", "the end of the line after one tree at character 7", r"'\(1 b\)'"),
        (")", "an opening bracket at character 1", r"'\)'"),
        ("(2 a) " + 60 * "x", "the end of the line after one tree at c", rf"'{40 * 'x'}'\.\.\."),
    ],
)
def test_a_line_that_is_no_tree_is_refused(line, expected, got):
    sentence = rf"^here, line 3: expected {expected}.*, got {got}.*\. Write a node as \(label"
    with pytest.raises(DataError, match=sentence):
        tree_from(line, SENTIMENTS, "here, line 3")


@pytest.mark.parametrize(("suffix", "opened"), [("", open), (".gz", gzip.open), (".xz", lzma.open)])
def test_a_file_has_one_tree_a_line(suffix, opened, tmp_path):
    path = tmp_path / f"trees.txt{suffix}"
    with opened(path, "wt", encoding="utf-8", newline="") as file:
        file.write(f"{LINE}\n\n(1 naïve\u2028word)\r\n")
    trees = read_trees(path, SENTIMENTS)
    assert [tree.num_nodes for tree in trees] == [9, 1]
    assert trees[1].words == ("naïve\u2028word",)


def test_a_wrong_line_of_a_file_has_its_number(tmp_path):
    path = tmp_path / "trees.txt"
    path.write_text(f"{LINE}\n\n(9 x)\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"trees.txt, line 3: expected one of the labels"):
        read_trees(path, SENTIMENTS)


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"there is no such file\."):
        read_trees(tmp_path / "none.txt", SENTIMENTS)
    path = tmp_path / "latin.txt"
    path.write_bytes("(1 naïve)".encode("latin-1"))
    with pytest.raises(DataError, match=r"expected text in UTF-8, got .*Convert it with iconv\."):
        read_trees(path, SENTIMENTS)
    for suffix, packed in ((".gz", gzip.compress(b"(1 a)" * 99)), (".xz", lzma.compress(b"(1 a)"))):
        for damaged in (packed[:-5], b"(1 a)"):
            path = tmp_path / f"cut.txt{suffix}"
            path.write_bytes(damaged)
            with pytest.raises(DataError, match=rf"expected a whole {suffix} file, got a damaged"):
                read_trees(path, SENTIMENTS)


# --- CoNLL-U ---------------------------------------------------------------------------------


def rows(*heads, first=1):
    """Lines of words with these heads."""
    return [
        "\t".join([str(i), f"w{i}", "l", "NOUN", "_", "_", str(head), f"r{i}", "_", "_"])
        for i, head in enumerate(heads, first)
    ]


def test_a_sentence_has_words_tags_and_heads():
    lines = ["# text = x", *rows(2, 0, 2)]
    lines[2:2] = ["2-3\tdon't" + "\t_" * 8, "1.1\tghost" + "\t_" * 8]
    sentence = sentence_from(lines)
    assert sentence.words == ("w1", "w2", "w3")
    assert sentence.tags == ("NOUN",) * 3
    assert sentence.relations == ("r1", "r2", "r3")
    assert sentence.heads == (1, -1, 1)
    assert sentence.graph.edge_index.tolist() == [[0, 2], [1, 1]]
    assert sentence_from(["# only", "# comments"]) is None


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (["1\tword"], r"line 7: expected 10 columns with tabs between them, got 2\."),
        (rows(0, first=2), "line 7: expected word 1, got '2'"),
        ([*rows(0), *rows(1)], "line 8: expected word 2, got '1'"),
        (["x" + "\t_" * 9], "line 7: expected word 1, got 'x'"),
        (rows("_"), r"line 7: expected a head from 0 \(the root\) to 1, got '_'"),
        (rows(0, 3), r"line 8: expected a head from 0 \(the root\) to 2, got '3'"),
        (rows("²"), "line 7: expected a head from 0 .* got '²'"),
        (rows(0, -1), "line 8: expected a head from 0 .* got '-1'"),
        (rows(0, 0), "line 7: expected one root in the sentence, got 2"),
        (rows(2, 1), "line 7: expected one root in the sentence, got 0"),
        (rows(2, 1, 0), "line 7: expected a tree, got a cycle of heads through word [12]"),
        (rows(0, 2), "line 7: expected a tree, got a cycle of heads through word 2"),
    ],
)
def test_a_sentence_that_is_no_tree_is_refused(lines, sentence):
    with pytest.raises(DataError, match=f"^here, {sentence}"):
        sentence_from(lines, "here", 7)


def test_a_file_has_sentences_between_empty_lines(tmp_path):
    path = tmp_path / "two.conllu"
    text = "\n".join(["# one", *rows(0), "", "", *rows(2, 0)])
    path.write_text(text, encoding="utf-8")
    assert [sentence.num_nodes for sentence in read_conllu(path)] == [1, 2]
    path.write_text(f"{text}\n\n" + "\n".join(rows(5)), encoding="utf-8")
    with pytest.raises(DataError, match=r"two.conllu, line 8: expected a head from 0"):
        read_conllu(path)


# --- The real ones ---------------------------------------------------------------------------

COUNTS = {"train": (8_544, 318_582), "dev": (1_101, 41_447), "test": (2_210, 82_600)}


@pytest.mark.parametrize("part", COUNTS)
def test_the_sentiment_treebank_is_binary_trees(part, data_root):
    trees = read_trees(data_root / "text" / "sst_trees" / f"{part}.txt", SENTIMENTS)
    assert (len(trees), sum(tree.num_nodes for tree in trees)) == COUNTS[part]
    for tree in trees[:200]:
        leaves = sum(word is not None for word in tree.words)
        assert tree.num_nodes == 2 * leaves - 1
        assert forest("test", tree.graph, torch.device("cpu")).most_children in (0, 2)
    if part == "test":
        scored = [int(tree.labels[0]) for tree in trees]
        assert [scored.count(label) for label in range(5)] == [279, 633, 389, 510, 399]


@pytest.mark.parametrize(
    ("name", "counts"), [("dev.conllu", (2_001, 25_147)), ("test.conllu", (2_077, 25_094))]
)
def test_the_web_treebank_is_dependency_trees(name, counts, data_root):
    sentences = read_conllu(data_root / "ud_ewt" / f"en_ewt-ud-{name}")
    assert (len(sentences), sum(s.num_nodes for s in sentences)) == counts
    for sentence in sentences[:200]:
        assert sentence.graph.num_edges == sentence.num_nodes - 1
        forest("test", sentence.graph, torch.device("cpu"))
