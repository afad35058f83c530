"""The template for systemd: as it is shipped, with the place of the command."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cosfs.cli import systemd_unit


def exec_start(text: str) -> str:
    [line] = [line for line in text.splitlines() if line.startswith("ExecStart=")]
    return line


def test_the_template_has_the_usual_place() -> None:
    assert systemd_unit.unit(systemd_unit.COMMAND) == systemd_unit.TEMPLATE.read_text("utf-8")


@pytest.mark.parametrize(("command", "written"), [
    ("/opt/cosfs/bin/cosfs", "/opt/cosfs/bin/cosfs"),
    ("/opt/100 %/cosfs", '"/opt/100 %%/cosfs"'),
    ('/opt/a"b\\c/cosfs', '"/opt/a\\"b\\\\c/cosfs"'),
])
def test_another_place_is_written_as_systemd_reads_it(command: str, written: str) -> None:
    line = exec_start(systemd_unit.unit(command))
    assert line.startswith(f"ExecStart={written} mount %i --config /etc/cosfs.conf -f ")


def test_it_is_the_place_by_which_the_command_was_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                         capsys: pytest.CaptureFixture[str]) -> None:
    command = tmp_path / "cosfs"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    link = tmp_path / "bin" / "cosfs"
    link.parent.mkdir()
    link.symlink_to(command)
    monkeypatch.setattr(sys, "argv", [str(link), "systemd-unit"])
    assert systemd_unit.run([]) == 0
    assert exec_start(capsys.readouterr().out).startswith(f"ExecStart={link} mount")

    monkeypatch.setattr(sys, "argv", ["/some/where/__main__.py", "systemd-unit"])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert systemd_unit.run([]) == 0
    assert exec_start(capsys.readouterr().out).startswith(f"ExecStart={command} mount")

    monkeypatch.setenv("PATH", "/nowhere")
    assert systemd_unit.run([]) == 0
    assert exec_start(capsys.readouterr().out).startswith("ExecStart=/usr/local/bin/cosfs mount")


def test_it_takes_no_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert systemd_unit.run(["photos"]) == 1
    assert capsys.readouterr().err == "cosfs: cosfs systemd-unit takes no word photos; see cosfs systemd-unit --help\n"
    assert systemd_unit.run(["--help"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
