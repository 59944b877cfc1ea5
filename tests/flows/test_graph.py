"""What a flow asks of dvc.yaml's graph, without a run."""

from __future__ import annotations

import pytest

from flows.graph import Graph


@pytest.mark.parametrize(
    ("line", "failed", "in_vain"),
    [
        ("brake_coast", "download", {"detector_data", "train_detector", "label", "pack", "report", "download"}),
        ("brake_coast", "detector_data", {"download", "label", "report"}),
        ("brake_coast", "tune", {"tune"}),
        ("person_search", "train_detector", {"index", "search", "report", "detector_data"}),
        ("ground_plane", "tune", {"tune"}),
    ],
)
def test_a_stage_is_in_vain_once_nothing_that_it_is_for_can_be_finished(line, failed, in_vain):
    graph = Graph(line)
    names = {name: name.removeprefix(f"{line}-") for name in graph.stages if name != "code" and "@" not in name}
    found = {short for name, short in names.items() if graph.in_vain(name, {f"{line}-{failed}"})}
    assert in_vain <= found
    assert failed != "tune" or found == in_vain
    assert not graph.in_vain("code", set()) and not any(graph.in_vain(name, set()) for name in names)
