"""What the site shows of a record: derived from it, whole, and honest about gaps."""

import re
from xml.etree import ElementTree as ET

import msgspec
import pytest
from bs4 import BeautifulSoup

from snippets.labs import loss
from snippets.labs.record import Cell, Lab, TimeLine, Trial, Void
from snippets.labs.report import failover
from snippets.labs.report.chart import UNIT, Panel, strips, time_lines
from snippets.labs.report.loss import SENTENCES, entries, pieces
from snippets.labs.report.summary import Pool, Verdict
from snippets.labs.report.words import age, counted, span, spread
from tests.labs.test_record import CELL, TRIAL

SVG = "{http://www.w3.org/2000/svg}"
PLANNED = loss.full().cells
EVERYSEC = "redis/aof-everysec/power-cut/ext4"
ALWAYS = "redis/aof-always/power-cut/ext4"


def trial(**changes: object) -> Trial:
    return msgspec.structs.replace(TRIAL, **changes)


def lost_all(**changes: object) -> Trial:
    """Return a trial that lost what was acknowledged first, and all after it."""
    return msgspec.structs.replace(
        trial(lost=TRIAL.acknowledged, oldest_lost_ms=TRIAL.load_s * 1000), **changes
    )


def cell(name: str, **changes: object) -> Cell:
    system, configuration, fault, *backend = name.split("/")
    return msgspec.structs.replace(
        CELL,
        system=system,
        configuration=configuration,
        fault={"sigkill": "SIGKILL"}.get(fault, fault.replace("-", " ")),
        backend="".join(backend),
        versions={"Redis": "8.10.2", "redis-py": "8.1.0"},
        **changes,
    )


def of(name: str, **changes: object) -> dict[str, str]:
    recorded = Lab("?", "", {"ext4": "held"}, {name: cell(name, **changes)})
    return dict(pieces(recorded, PLANNED))


def answer(made: dict[str, str], name: str) -> tuple[str, str]:
    """Return the class and the text of a cell of the matrix."""
    system = name.split("/", maxsplit=1)[0]
    anchor = f"cell-{name.replace('/', '-')}"
    for kind in ("", "_others", "_failover"):
        piece = BeautifulSoup(made[f"{system}{kind}.txt"], "html.parser")
        if link := piece.select_one(f'a[href$="#{anchor}"]'):
            found = link.find_parent("td")
            assert found
            return str(found["class"][0]), found.get_text(" ")
    raise AssertionError(f"no cell leads to {anchor}")


@pytest.mark.parametrize(
    ("trials", "verdict"),
    [
        ([], Verdict.VOID),
        ([trial(lost=0)], Verdict.NOTHING),
        ([trial(lost=0), trial(lost=1)], Verdict.SOME),
        ([lost_all(), lost_all(lost=901)], Verdict.ALL),
        ([lost_all(), lost_all(lost=899)], Verdict.SOME),
        ([trial(lost=900, meanwhile=900, oldest_lost_ms=20)], Verdict.SOME),
    ],
)
def test_the_verdict_is_that_of_all_trials(trials: list[Trial], verdict: Verdict) -> None:
    assert Pool(trials).verdict is verdict


def test_an_empty_record_has_every_piece_and_no_zero() -> None:
    made = pieces(Lab("?", "", {}, {}), PLANNED)
    assert made.keys() == of(EVERYSEC).keys()
    for system in ("redis", "kafka"):
        for each in BeautifulSoup(made[f"{system}.txt"], "html.parser").select("td"):
            assert each.get_text() in ("not recorded yet", "not tried")
    assert made["sentences.txt"].count("not recorded yet") == len(SENTENCES)
    assert "Not recorded yet" in made["everysec.svg"]
    assert "Not recorded yet" in made["failover.svg"]


def test_no_cell_of_the_matrix_is_empty_and_each_leads_to_its_row() -> None:
    made = of(EVERYSEC)
    rows = BeautifulSoup(made["runs.txt"], "html.parser").select("tr[id]")
    assert [row["id"] for row in rows] == [
        each.anchor for each in entries(Lab("?", "", {}, {}), PLANNED)
    ]
    for system in ("redis", "kafka"):
        table = BeautifulSoup(made[f"{system}.txt"], "html.parser")
        assert all(each.get_text(strip=True) for each in table.select("td"))
        targets = {str(link["href"])[1:] for link in table.select("td a")}
        assert targets <= {str(row["id"]) for row in rows}


def test_what_is_lost_is_counted_over_all_trials_and_aged_by_the_oldest() -> None:
    trials = [trial(lost=3, oldest_lost_ms=12.5), trial(lost=500, oldest_lost_ms=980.4)]
    kind, text = answer(of(EVERYSEC, trials=trials), EVERYSEC)
    assert kind == "some"
    assert text == "503 of 1,800 up to 1.0 s old"


SPLIT = "redis/replica-far/partition/proxy"
SENTINEL = "redis/sentinel/sigkill"
LEADER = "kafka/cluster-leader-acks-all/sigkill"


def test_what_a_partition_takes_is_of_all_that_was_acknowledged() -> None:
    divided = trial(lost=901, meanwhile=900, oldest_lost_ms=20.0)
    made = of(SPLIT, trials=[divided])
    assert answer(made, SPLIT) == ("some", "901 of 1,800 up to 20 ms old")
    assert "900 entries were acknowledged between" in made["sentences.txt"]


def test_each_failover_has_a_name_and_a_row_on_a_page_of_its_own() -> None:
    for system, titles in failover.TITLES.items():
        names = {each.name for each in loss.FAILOVER if each.system == system}
        assert names == titles.keys()
        made = of(SENTINEL)
        for configuration in titles:
            row = f"#cell-{system}-{configuration}-"
            assert f'href="../loss/{row}' in made[f"{system}_failover.txt"]
            assert f'href="{row}' not in made[f"{system}.txt"]


def line(acknowledged: str, unacknowledged: str) -> TimeLine:
    return TimeLine(100, 1, acknowledged, unacknowledged, acknowledged)


def test_a_failover_is_a_row_of_its_table_with_all_trials() -> None:
    trials = [
        trial(lost=0, unavailable_s=4.25, time_line=line("50 0 0 50", "0 50 51 0")),
        trial(lost=2, unavailable_s=4.0, time_line=line("50 0 50", "0 50 0")),
        trial(lost=9, unavailable_s=5.0, time_line=line("50 0 50", "0 49 0")),
    ]
    made = of(SENTINEL, trials=trials)
    assert (
        "| Redis, Sentinels | 4.2 s (4.0 to 5.0) | 2 (0 to 9) | 50 (49 to 101) |\n"
        in made["failover.txt"]
    )
    assert "| Kafka, `acks=all` | not recorded yet |" in made["failover.txt"]
    assert "for 4.2 s (4.0 to 5.0), tried" in made["failover.svg"]


def drawn(piece: str) -> dict[str, list[str]]:
    """Return what a chart draws, by its fill."""
    found: dict[str, list[str]] = {}
    for path in ET.fromstring(piece).findall(f"{SVG}path"):  # noqa: S314 - our own
        found.setdefault(path.attrib.get("fill", ""), []).append(path.attrib["d"])
    return found


def test_each_trial_is_a_line_of_the_chart_and_bursts_stay_within_it() -> None:
    lines = [line("50 0 900", "0 50 0"), line("50 50 50 50", "0 0 0 0")]
    panels = [
        Panel("One", "redis", 500, lines, "said"),
        Panel("Other", "kafka", 300, [], "nothing"),
    ]
    chart = time_lines("lines", "Lines", panels)
    paths = drawn(chart)
    above = paths["var(--diagram-redis, currentColor)"]
    assert len(above) == len(paths["currentColor"]) == 2
    # As much as is due, nothing, and a burst that is cut off at twice as much.
    base, *outline = [
        float(each) for each in re.findall(r"(?:M\S+ |V)([\d.]+)", above[0])
    ]
    assert [base - each for each in outline] == [UNIT, 0, 2 * UNIT, 0]
    assert "Other" not in chart
    assert all(float(x) <= 460 for x in re.findall(r"H([\d.]+)", " ".join(above)))


def test_nothing_lost_is_a_zero_of_something() -> None:
    assert answer(of(ALWAYS, trials=[trial(lost=0)]), ALWAYS) == ("nothing", "0 of 900")


def test_a_group_that_is_not_kept_and_a_refused_start_are_said() -> None:
    changed = lost_all(group="gone", refused_start="Bad file format")
    made = of(EVERYSEC, trials=[changed])
    assert answer(made, EVERYSEC) == (
        "all",
        "all of 900 group gone start refused in 1 trial",
    )
    assert "1: Bad file format" in made["runs.txt"]


def test_a_cell_that_cant_run_here_says_so_with_the_reason() -> None:
    made = of(EVERYSEC, trials=[], void=[], not_run="mkfs.ext4 is <not> installed")
    assert answer(made, EVERYSEC) == ("not-run", "not run here")
    assert "Not run here: mkfs.ext4 is &lt;not&gt; installed." in made["runs.txt"]
    assert "Not run here: 1." in made["overview.txt"]


def test_a_cell_whose_trials_are_void_is_no_zero() -> None:
    made = of(EVERYSEC, trials=[], void=[Void(8, "no port")])
    assert answer(made, EVERYSEC) == ("void", "all trials void")
    assert "1 trial, all void: no port." in made["runs.txt"]


def test_a_cell_outside_the_plan_is_shown_too() -> None:
    name = "redis/aof-always/full-disk"
    assert answer(of(name, trials=[trial(lost=0)]), name) == ("nothing", "0 of 900")


def test_a_control_that_fails_is_on_the_page() -> None:
    broken = Lab("?", "", {"xfs": "something survived"}, {EVERYSEC: cell(EVERYSEC)})
    said = pieces(broken, PLANNED)["overview.txt"]
    assert "**a control of xfs fails: something survived**" in said


def test_every_trial_is_a_dot_of_the_chart() -> None:
    chart = strips("ages", "Ages", {"ext4": [1, 1, 2500], "xfs": [3]}, color="redis")
    drawn = ET.fromstring(chart)  # noqa: S314 - our own
    dots = drawn.findall(f"{SVG}circle")
    assert len(dots) == 4
    assert "from 1 ms to 2.5 s" in drawn.findtext(f"{SVG}desc", "")
    assert max(float(dot.attrib["cx"]) for dot in dots) <= 460


def test_words() -> None:
    assert counted(1, "trial") == "1 trial"
    assert counted(1200, "trial") == "1,200 trials"
    assert span([3, 3]) == "3"
    assert span([4, 1000]) == "4 to 1,000"
    assert age(44.4) == "44 ms"
    assert age(931.9) == "0.9 s"
    assert spread([3, 3, 3]) == "3"
    assert spread([1, 5, 2000]) == "5 (1 to 2,000)"
    assert spread([1.26, 1.34], " s", 1) == "1.3 s"
