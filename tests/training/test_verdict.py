"""The verdict claims a difference where its interval leaves out zero, and nothing else."""

import pytest

from edgewise.training import Results, Run, compare_rungs, verdict

LADDER = ("mlp", "gnn", "gat", "graph-transformer", "transformer", "transformer+pe")


def results(scores: dict[str, list[float]], score="accuracy", seconds=None) -> Results:
    runs = [
        Run(
            rung=rung,
            seed=seed,
            scores={score: value},
            validation=value,
            best_epoch=1,
            epochs=1,
            seconds_per_epoch=(seconds or {}).get(rung, 1.0),
            seconds=1.0,
            threads=1,
            parameters=1,
            peak_bytes=1,
            plan="",
        )
        for rung, values in scores.items()
        for seed, value in enumerate(values)
    ]
    data = {"score": score, "higher_is_better": score == "accuracy", "fingerprint": ""}
    return Results(data, {}, {name: {} for name in LADDER}, tuple(runs))


@pytest.mark.parametrize(
    ("gnn", "words"),
    [
        (
            [0.70, 0.72, 0.74],
            "The graph helps (gnn against mlp: +20.0 points, 95 % interval +20.0 to +20.0).",
        ),
        (
            [0.30, 0.32, 0.34],
            "The graph costs quality (gnn against mlp: -20.0 points, 95 % interval -20.0 to -20.0)."
            "",
        ),
        (
            [0.55, 0.50, 0.54],
            "The graph: no difference this test set can show (gnn against mlp: +1.0 points, 95 % "
            "interval -8.0 to +10.0).",
        ),
    ],
)
def test_the_sentence_on_the_graph(gnn, words):
    text = verdict(results({"mlp": [0.50, 0.52, 0.54], "gnn": gnn}))
    assert words in text
    assert text.endswith("Intervals are paired t intervals over seeds.")


def test_one_seed_claims_nothing():
    text = verdict(results({"mlp": [0.5], "gnn": [0.9]}))
    assert (
        "The graph: gnn scored better in one seed, too few to conclude (gnn against mlp: +40.0 "
        "points)." in text
    )
    assert text.endswith("One seed cannot tell luck from effect; use --seeds 3 or more.")


def test_smaller_errors_are_better():
    text = verdict(results({"mlp": [1.5, 1.4, 1.6], "gnn": [0.9, 0.8, 1.1]}, score="rmse"))
    assert "The graph helps (gnn against mlp: -0.567 rmse, 95 % interval -0.710 to -0.423)." in text


def test_every_step_of_the_ladder():
    text = verdict(
        results(
            {
                "mlp": [0.50, 0.51, 0.50],
                "gnn": [0.80, 0.82, 0.81],
                "gat": [0.85, 0.86, 0.86],
                "graph-transformer": [0.84, 0.83, 0.84],
                "transformer": [0.52, 0.51, 0.52],
                "transformer+pe": [0.90, 0.92, 0.91],
            },
            seconds={"gnn": 2.0, "mlp": 1.0, "transformer": 30.0},
        )
    )
    for start in (
        "The graph helps (gnn against mlp: +30.7 points, ",
        "Attention on it helps (gat against gnn: +4.7 points, ",
        "The complete graph by itself costs quality (transformer against graph-transformer: -32.0 "
        "points, ",
        "The complete graph with encodings helps (transformer+pe against gat: +5.3 points, ",
        "For one epoch of gnn you pay: mlp 0.5x, gat 0.5x, graph-transformer 0.5x, transformer "
        "15x, transformer+pe 0.5x.",
        "transformer+pe has the best validation score and is the cheapest.",
    ):
        assert start in text


def test_the_cheapest_of_equals_is_named():
    text = verdict(
        results({"mlp": [0.80, 0.84], "gnn": [0.83, 0.82]}, seconds={"mlp": 0.1, "gnn": 1.0})
    )
    assert (
        "gnn has the best validation score; mlp is cheaper and no worse as far as this test set "
        "can show." in text
    )


def test_missing_rungs_are_not_mentioned():
    text = verdict(results({"gat": [0.8, 0.81], "transformer": [0.7, 0.71]}))
    assert "The graph" not in text
    assert "For one epoch of gat you pay: transformer 1.0x." in text
    assert verdict(results({"gat": [0.8]})).startswith("One rung alone says nothing")
    assert compare_rungs(results({"gat": [0.8]}), "gat", "gnn") is None


def test_seeds_are_paired():
    both = results({"mlp": [0.1, 0.5, 0.9], "gnn": [0.2, 0.6]})
    difference = compare_rungs(both, "mlp", "gnn")
    assert difference.seeds == 2
    assert difference.mean == pytest.approx(0.1)
    assert difference.std == pytest.approx(0.0, abs=1e-12)
    assert difference.outcome == "unknown"  # two seeds are too few
