"""`rmsweep claims` and the filters of `table` on a real sweep."""

import json

import yaml
from helpers.own_claims import CLF_BEATS_BT


def test_claims_of_a_sweep(inside, tiny, tmp_path):
    sweep = ["run", "-m", *tiny, "loss=bt_mlp,clf_mlp", "seed=0,1", "name=small"]
    inside(*sweep, "--limit", 3)
    assert "INCOMPLETE: 3 of 4 runs are done" in inside("claims", "small", status=1).stdout
    inside(*sweep)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"mine": CLF_BEATS_BT}))
    text = inside("claims", "small", "--file", "mine.yaml").stdout
    assert "CLF-MLP is better." in text and "fewer than 5 seeds" in text
    lines = json.loads(inside("claims", "small", "--file", "mine.yaml", "--format", "json").stdout)
    assert lines[-1]["name"] == "mine" and lines[-1]["n_pairs"] == 2
    (tmp_path / "bad.yaml").write_text("mine: {claim: x}")
    error = inside("claims", "small", "--file", "bad.yaml", status=2).stderr
    assert error == "rmsweep: bad.yaml: mine: source is missing\n"
    assert "no.yaml" in inside("claims", "small", "--file", "no.yaml", status=2).stderr
    where = inside("table", "small", "--where", "loss=bt_mlp", "--where", "seed=0").stdout
    assert "bt_mlp" in where and "clf_mlp" not in where
    against = inside("table", "small", "--against", "bt_mlp", "--where", "seed=0,1").stdout
    assert "paired difference from bt_mlp" in against
    for bad, message in [("los=1", "unknown field 'los'"), ("loss", "must be FIELD=VALUE")]:
        assert message in inside("table", "small", "--where", bad, status=2).stderr
