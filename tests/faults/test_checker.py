# SPDX-License-Identifier: Apache-2.0
"""Tests of the checker: it finds lost, duplicated, unexpected and unordered records."""

from __future__ import annotations

import json

from stage import Stage


def test_the_checker_finds_all_kinds_of_errors(stage: Stage) -> None:
    stage.load.produce(4000)
    with stage.host() as host:
        stage.wait_for_all()
        stage.check()
        stage.sql("DELETE FROM stored WHERE n = 17")
        stage.sql("INSERT INTO stored SELECT nextval('stored_arrived_seq'), time, user_id, device_id, n, temperature,"
                  ' partition, "offset" FROM stored WHERE n = 3000')  # fmt: skip
        stage.sql("UPDATE stored SET n = -1 WHERE n = 3500")
        letters = host.directory / "dead-letters" / "test.ndjson"
        first, *others = letters.read_text().splitlines()
        of_a_good_one = json.dumps({**json.loads(first), "stream": f"{stage.name}/1", "position": 1})
        letters.write_text("".join(line + "\n" for line in [*others, others[0], of_a_good_one]))
        counts = stage.verdict().counts
        assert host.stop() == 0
    assert counts == {
        "lost": 1, "duplicated": 1, "unexpected": 1, "out of order": 2, "dead letters lost": 1,
        "dead letters duplicated by host": 1, "dead letters of good records": 1,
    }  # fmt: skip
