"""What ``cosfs bench`` makes of its measurements: medians, table, comparison, file."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from cosfs.cli import bench, bench_picture
from cosfs.cli.bench_processes import BenchError
from cosfs.cli.bench_report import Report, Row, medians, table


def row(name: str = "seq_read", seconds: float = 1.0, **more: Any) -> Row:
    return Row(name, **{"seconds": seconds, "durable_seconds": seconds, "requests": {"get_object": 3}, **more})


def report(*rows: Row, **options: Any) -> Report:
    return Report({"size_bytes": 1, **options}, list(rows), {"cores": 2}, "2026-01-02T03:04:05+00:00")


def cells(text: str, name: str) -> list[str]:
    [line] = [line for line in text.splitlines() if line.startswith(name)]
    return line.split()


def test_a_median_is_taken_of_each_number() -> None:
    [found] = medians([[row(seconds=seconds, peak_bytes=peak, up_bytes=None, requests={"get_object": requests})]
                       for seconds, peak, requests in ((3.0, 10, 7), (1.0, 30, 9), (2.0, 20, 8))])

    assert (found.seconds, found.peak_bytes, found.up_bytes, found.requests) == (2.0, 20, None, {"get_object": 8})
    assert found.runs == [3.0, 1.0, 2.0]


def test_one_failed_run_fails_the_row() -> None:
    [found] = medians([[row()], [row(error="wrong bytes at 7")], [row()]])

    assert found.error == "wrong bytes at 7"
    assert report(found).failed


def test_rows_of_a_run_keep_their_order() -> None:
    assert [found.name for found in medians([[row("b"), row("a")], [row("b"), row("a")]])] == ["b", "a"]


def test_the_ratio_is_that_of_the_times_until_durable() -> None:
    text = table(report(row("seq_write", 1.0, durable_seconds=3.0)), report(row("seq_write", 2.0, durable_seconds=4.0)))

    assert cells(text, "workload")[-1] == "ratio"
    assert cells(text, "seq_write")[-1] == "0.75"


@pytest.mark.parametrize("before", [row("other"), row(error="it broke"), Row("seq_read", note="not measured: no git")])
def test_there_is_no_ratio_to_what_was_not_measured(before: Row) -> None:
    assert cells(table(report(row()), report(before)), "seq_read")[-1] == "–"


def test_a_comparison_of_unlike_runs_says_so() -> None:
    assert "the earlier run differs in size_bytes" in table(report(row()), report(row(), size_bytes=2))
    assert "differs" not in table(report(row()), report(row()))


def test_an_error_stands_in_the_table_in_red_on_a_terminal() -> None:
    failed = report(row(error="wrong bytes at 7"))

    assert "\033[31mseq_read        wrong bytes at 7\033[0m" in table(failed, colour=True)
    assert "\033" not in table(failed)


def test_what_is_not_known_is_a_dash() -> None:
    text = table(report(row(requests=None, up_bytes=None, down_bytes=None)))

    assert cells(text, "seq_read")[-3:] == ["–", "–", "–"]


def test_a_busy_server_is_marked() -> None:
    text = table(report(row(server_cpu_seconds=0.9), row("ls_cold", server_cpu_seconds=0.1)))

    assert cells(text, "seq_read")[5] == "3*"
    assert cells(text, "ls_cold")[5] == "3"
    assert "* the embedded server was busy" in text


@pytest.mark.parametrize("size", [1, 10**6, 10**9, 10**12])
def test_no_line_is_longer_than_a_terminal(size: int) -> None:
    wide = row("small_write_8", 99999.0, cpu_seconds=9999.0, peak_bytes=size, up_bytes=size, down_bytes=size,
               requests={"head_object": 999_999}, server_cpu_seconds=99999.0)

    assert max(len(line) for line in table(report(wide), report(wide)).splitlines()[:2]) <= 80


def test_rows_of_calls_have_a_table_of_their_own() -> None:
    text = table(report(Row("read_128k", 2.0, 2.0, cpu_seconds=1.0, calls=10_000, bytes=4 * 10**9), store="null"))

    assert cells(text, "read_128k")[1:] == ["2.00", "5,000", "100.0", "2.00"]


def test_a_report_survives_its_file(tmp_path: Path) -> None:
    written = report(row(runs=[1.0, 2.0]), row("git_clone", error="no"))
    written.write(tmp_path / "out.json")

    assert Report.read(tmp_path / "out.json") == written


@pytest.mark.parametrize(("content", "complaint"), [
    ("", "holds no results"), ("[]", "holds no results"), ('{"version": 1}', "holds no results"),
    ('{"version": 1, "rows": [{"x": 1}]}', "holds no results"), ('{"version": 2}', "another version"),
])
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: str, complaint: str) -> None:
    (tmp_path / "out.json").write_text(content)

    with pytest.raises(BenchError, match=complaint):
        Report.read(tmp_path / "out.json")


@pytest.mark.parametrize(("words", "complaint"), [
    (["--workloads", "seq_read,seqread"], "there is no workload 'seqread'; --list shows all"),
    (["--workloads", ""], "there is no workload ''"),
    (["--size", "1K"], "--size: give a size such as 512M or 2G, from 1M to 5G"),
    (["--size", "6G"], "from 1M to 5G"),
    (["--repeat", "0"], "--repeat: give a whole number from 1 to 1000"),
    (["--latency-ms", "-1"], "--latency-ms: '-1' is no number, or a negative one"),
    (["--scale", "0"], "--scale: give more than 0"),
    (["-o", "parallel_count=3,url=http://h"], "option url needs --bucket"),
    (["--baseline", "/nowhere/x"], "/nowhere/x: No such file or directory; give a file that --json has written"),
    (["--json", "/nowhere/x"], "/nowhere/x cannot be written"),
    (["--picture", "x.gif"], "the name must end in .svg or .png"),
    (["--dir", "/nowhere"], "/nowhere has no room"),
    (["fast"], "unrecognized arguments: fast (see: cosfs bench --help)"),
])
def test_a_mistake_is_one_line(capsys: pytest.CaptureFixture[str], words: list[str], complaint: str) -> None:
    assert bench.run(words) == 1

    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("cosfs bench: ")
    assert complaint in err


def test_all_workloads_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run(["--list"]) == 0
    assert capsys.readouterr().out.startswith("seq_read       read a big file")


def test_help_fits_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        bench.run(["--help"])
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert "--picture" in text


@pytest.mark.parametrize(("suffix", "start"), [("svg", b"<?xml"), ("png", b"\x89PNG")])
def test_saved_results_are_shown_compared_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str,
                                                    start: bytes) -> None:
    options = {"store": "embedded", "latency_ms": 20.0, "mbps": 90.0}
    report(row("seq_read", 1.0), row("ls_cold", 2.0), row("find", error="no"), **options).write(tmp_path / "new.json")
    report(row("seq_read", 2.0), **options).write(tmp_path / "old.json")

    status = bench.run(["--show", str(tmp_path / "new.json"), "--baseline", str(tmp_path / "old.json"),
                        "--picture", str(tmp_path / f"change.{suffix}")])

    assert status == 1  # for the row with an error
    assert cells(capsys.readouterr().out, "seq_read")[-1] == "0.50"
    assert (tmp_path / f"change.{suffix}").read_bytes().startswith(start)


def test_a_picture_names_the_rows_and_both_runs(tmp_path: Path) -> None:
    bench_picture.draw(tmp_path / "x.svg", report(row("seq_read", 1.5), store="embedded", latency_ms=20.0, mbps=90.0),
                       report(row("seq_read", 2.25)))
    text = (tmp_path / "x.svg").read_text()

    for words in ("seq_read", "1.50", "2.25", "embedded server, 20 ms a request, 90 MB/s a connection"):
        assert f"<!-- {words} -->" in text


def test_a_missing_matplotlib_is_said_before_anything_is_measured(
        tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)

    assert bench.run(["--picture", str(tmp_path / "x.svg")]) == 1

    err = capsys.readouterr().err
    assert "--picture needs matplotlib; install it with: " in err and "pip install matplotlib" in err


def test_signals_do_afterwards_what_they_did_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    assert bench.run(["--baseline", str(tmp_path / "none.json")]) == 1
    assert [signal.getsignal(number) for number in numbers] == before
    assert "none.json" in capsys.readouterr().err


def test_results_are_valid_json_without_the_place_of_keys(tmp_path: Path) -> None:
    options = bench._parser().parse_args(["-o", "passwd_file=/secret,parallel_count=3", "-o", "ro"])

    assert json.loads(json.dumps(bench._facts(options)))["mount_options"] == ["parallel_count=3", "ro"]
