"""What Prometheus is told, and the dashboard that asks for it."""

import json
import re
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from duologue import metrics
from duologue.timings import Pause, Timings

DASHBOARD = Path(__file__).parents[1] / "docs/grafana-dashboard.json"
PAUSE = Pause(0.94, "normal", 1.0, 0.5, 3.2, -23.5, -61.0)


class Increase:
    """By how much metrics have grown since it was made."""

    def __init__(self) -> None:
        self._before = self._values()

    def __call__(self, name: str, **labels: str) -> float:
        key = (name, tuple(sorted(labels.items())))
        return self._values()[key] - self._before.get(key, 0.0)

    @staticmethod
    def _values() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in REGISTRY.collect()
            for sample in family.samples
        }


def test_a_turn_counts_once_in_each_of_its_figures() -> None:
    increase = Increase()
    timings = Timings(0.5, 0.2, 0.4, 0.6, 0.61, 0.7, drops=2, pause=PAUSE)
    metrics.record_turn(timings, "completed")
    assert increase("duologue_turns_total", outcome="completed") == 1
    assert increase("duologue_reply_starts_dropped_total") == 2
    for name, seconds in (
        ("end_of_utterance_delay", 0.5),
        ("time_to_first_token", 0.2),
        ("time_to_first_audio", 0.4),
        ("response_delay", 0.61),
        ("voice_to_voice", 0.7),
    ):
        assert increase(f"duologue_{name}_seconds_count") == 1
        assert increase(f"duologue_{name}_seconds_sum") == pytest.approx(seconds)


def test_what_is_not_known_of_a_turn_is_not_made_up() -> None:
    increase = Increase()
    metrics.record_turn(Timings(decided=0.5, started=0.2, pause=PAUSE), "failed")
    assert increase("duologue_turns_total", outcome="failed") == 1
    assert increase("duologue_end_of_utterance_delay_seconds_count") == 1
    for name in ("time_to_first_token", "time_to_first_audio", "response_delay", "voice_to_voice"):
        assert increase(f"duologue_{name}_seconds_count") == 0


def test_an_end_that_the_client_told_is_no_delay_in_finding_it() -> None:
    increase = Increase()
    metrics.record_turn(Timings(decided=0.0, sent=0.3), "completed")
    assert increase("duologue_end_of_utterance_delay_seconds_count") == 0
    assert increase("duologue_response_delay_seconds_count") == 1


def test_cuts_and_interruptions_are_told_apart() -> None:
    increase = Increase()
    metrics.record_cut("resumed")
    metrics.record_duck()
    metrics.record_duck()
    metrics.record_stop()
    assert increase("duologue_false_cuts_total", by="resumed") == 1
    assert increase("duologue_false_cuts_total", by="marked") == 0
    assert increase("duologue_barge_ins_total", stage="ducked") == 2
    assert increase("duologue_barge_ins_total", stage="stopped") == 1


def test_an_answer_of_smart_turn_that_is_late_has_no_time() -> None:
    increase = Increase()
    metrics.record_smart_turn(0.04)
    metrics.record_smart_turn(None)
    assert increase("duologue_smart_turn_answers_total", outcome="answered") == 1
    assert increase("duologue_smart_turn_answers_total", outcome="late") == 1
    assert increase("duologue_smart_turn_seconds_count") == 1


def exposed() -> set[str]:
    data, media_type = metrics.exposition()
    assert media_type.startswith("text/plain")
    families = text_string_to_metric_families(data.decode())
    return {sample.name for family in families for sample in family.samples}


def test_every_metric_is_there_before_anything_has_happened() -> None:
    assert 'duologue_false_cuts_total{by="marked"}' in metrics.exposition()[0].decode()
    assert "duologue_sessions" in exposed()


def test_the_dashboard_asks_for_nothing_that_is_not_exposed() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked = {name for query in queries for name in re.findall(r"duologue_\w+", query)}
    assert len(asked) > 10
    assert asked <= exposed()


def test_the_dashboard_is_one_that_grafana_11_loads() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    assert dashboard["schemaVersion"] >= 39
    variables = {row["name"]: row["type"] for row in dashboard["templating"]["list"]}
    assert variables["datasource"] == "datasource"
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        for target in panel["targets"]:
            used = set(re.findall(r"\$\{?(\w+)", target["expr"]))
            assert used <= set(variables)
