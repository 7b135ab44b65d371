"""`cisray runs list, show, verify, diff, rerun` where runs lie in an object store."""

import json

from cisray.store.objects import Objects
from cisray.store.scan import open_run


def test_a_run_in_a_store_is_listed_shown_compared_and_verified(
    cisray, inputs, bucket, tmp_path
) -> None:
    url = f"{bucket}/runs/a"
    more = ("--tiles-per-shard", 3, "--self-check", 2, "--quiet")
    assert cisray(*inputs.options(url, *more)).code == 0
    assert cisray(*inputs.options(tmp_path / "runs" / "b", *more)).code == 0
    (listed,) = json.loads(cisray("runs", "list", f"{bucket}/runs", "--json").out)
    assert (listed["name"], listed["path"], listed["state"]) == ("a", url, "sealed")
    assert (listed["rows"], listed["done"]) == (95, 3)
    facts = json.loads(cisray("runs", "show", url, "--json").out)
    assert (facts["path"], facts["done"], facts["provenance"]["options"]["out"]) == (url, 3, url)
    assert cisray("runs", "diff", tmp_path / "runs" / "b", url).code == 0
    assert cisray("runs", "report", url, "--out", tmp_path / "a.html").code == 0
    assert f"open_run(&#34;{url}&#34;)" in (tmp_path / "a.html").read_text()
    answer = cisray("runs", "verify", url)
    assert (answer.code, answer.err) == (0, "")
    again = ("runs", "rerun", tmp_path / "runs" / "b", "--out", f"{bucket}/c", "--quiet")
    assert cisray(*again).code == 0
    assert cisray("runs", "diff", url, f"{bucket}/c").code == 0
    flip(url, open_run(url).files["path"][1])
    answer = cisray("runs", "verify", url, "--json")
    assert answer.code == 1
    found = json.loads(answer.out)["read"]["problems"]
    assert {(p["file"], p["shard"]) for p in found} == {(open_run(url).files["path"][1], 1)}
    assert found[0]["kind"] == "digest"
    assert found[0]["message"].startswith(f"{url}/data/")


def flip(url: str, name: str) -> None:
    """Change one bit in the middle of an object."""
    objects = Objects(url)
    seen = objects.read(name)
    damaged = bytearray(seen.data)
    damaged[len(damaged) // 2] ^= 1
    assert objects.write(name, bytes(damaged), instead_of=seen.version)
