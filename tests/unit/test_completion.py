"""What completion offers is what the option table, the commands' help and their parsers have; the shells themselves are
asked in tests/mount/test_completion.py."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from typing import Dict, Set

import pytest

from cosfs.cli import COMMANDS, completion, man, mount, options, values
from cosfs.cli.completion_table import (
    FILE,
    FOLDER,
    GROUP,
    MOUNT,
    NOTHING,
    OPTIONS,
    SECTION,
    USER,
    WORDS,
    Command,
    Wanted,
    all_commands,
    brief,
    mount_command,
    offers,
)
from cosfs.cli.options import TABLE, Option, State

BY_NAME: Dict[str, Command] = {command.name: command for command in (mount_command(), *all_commands())}
SHELLS = ["bash", "zsh", "fish"]


def switches(name: str) -> Dict[str, str]:
    """The kind of each switch's value, by spelling; "" for none."""
    return {spelling: switch.value.kind if switch.value else "" for switch in BY_NAME[name].switches
            for spelling in switch.names}


def test_every_option_is_offered_under_each_name_and_none_that_is_refused() -> None:
    offered = {offer.name for offer in offers()}
    assert offered == {name for option in TABLE if option.state is not State.REFUSED
                       for name in (option.name, *option.aliases)}
    assert len(offers()) == len(offered)


@pytest.mark.parametrize("shell", SHELLS)
def test_every_option_is_in_the_script(shell: str) -> None:
    words = set(re.findall(r"[\w-]+", completion.SHELLS[shell]()))
    assert {offer.name for offer in offers()} <= words
    assert set(COMMANDS) <= words


def test_values_are_those_of_the_table() -> None:
    found = {offer.name: (offer.alone, offer.value) for offer in offers()}
    assert found["conflict"] == (False, Wanted(WORDS, ("overwrite", "fail", "keep-both")))
    assert found["meta"] == (False, Wanted(WORDS, ("full", "list")))
    assert found["use_sse"] == (True, Wanted(WORDS, ("1", "kmsid", "custom")))
    assert found["storage_class"][1] == Wanted(WORDS, tuple(values.STORAGE_CLASSES))
    assert found["allow_other"] == (True, None)
    assert found["retries"] == found["max_write"] == (False, Wanted(NOTHING))
    kinds = {name: value.kind for name, (_, value) in found.items() if value is not None}
    assert {name for name, kind in kinds.items() if kind == FOLDER} == {"tmpdir", "state_dir", "use_cache"}
    assert {name for name, kind in kinds.items() if kind in (USER, GROUP)} == {"uid", "gid"}
    assert {"passwd_file", "logfile", "mime", "ahbe_conf", "load_sse_c"} <= {
        name for name, kind in kinds.items() if kind == FILE}


@pytest.mark.parametrize("name", [option.name for option in TABLE if option.value and option.value.words])
def test_words_that_are_offered_are_taken(name: str) -> None:
    option = options.BY_NAME[name]
    assert option.value is not None
    for word in option.value.words:
        option.value.parse(word)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_new_option_is_offered(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = Option("brand_new", "How files look", "it's [new]: a\\b", values.choice({"old": 1, "newer": 2}))
    monkeypatch.setattr(options, "TABLE", (*TABLE, extra, replace(extra, name="gone", state=State.REFUSED)))
    script = completion.SHELLS[shell]()
    assert "brand_new" in script and "old newer" in script and "gone" not in re.findall(r"\w+", script)


def test_switches_are_those_of_each_command() -> None:
    assert switches("") == {spelling: OPTIONS if spelling == "-o" else "" for forms, _ in mount.SWITCHES
                            for spelling in re.findall(r"(?:^|, )(--?\w+)", forms)}
    assert switches("stats") == {"--json": "", "--help": ""}
    assert switches("top") == {"--interval": NOTHING, "--once": "", "--help": ""}
    assert switches("recover") == {"--list": "", "--export": FOLDER, "--discard": "", "-o": OPTIONS, "--help": ""}
    assert switches("doctor") == {"--write-test": "", "--json": "", "-o": OPTIONS, "--help": ""}
    assert switches("uploads") == {"--older-than": NOTHING, "--prefix": NOTHING, "--yes": "", "-o": OPTIONS,
                                   "--help": ""}
    assert switches("umount") == {"-h": "", "--help": "", "-t": NOTHING, "--timeout": NOTHING}
    assert switches("mount") == {"--all": "", "--list": "", "--config": FILE, "-o": OPTIONS, "-f": "", "-s": "",
                                 "-d": "", "--debug": "", "--help": ""}
    assert switches("completion") == switches("man") == {"--help": ""}
    assert switches("restore")["--tier"] == switches("restore")["-t"] == WORDS
    assert switches("restore")["--days"] == NOTHING
    assert switches("serve")["--bucket"] == NOTHING
    assert switches("serve")["--access-log"] == FILE and switches("serve")["--port"] == NOTHING
    assert switches("bench")["--dir"] == FOLDER and switches("bench")["-o"] == OPTIONS


def test_words_are_those_of_the_manual_page() -> None:
    kinds = {name: [wanted.kind for wanted in command.words] for name, command in BY_NAME.items()}
    assert kinds["mount"] == [SECTION]
    assert kinds["stats"] == kinds["top"] == kinds["umount"] == [MOUNT]
    assert kinds["doctor"] == [NOTHING, FOLDER]
    assert kinds["serve"] == [FOLDER]
    assert BY_NAME["uploads"].words == (Wanted(WORDS, ("list", "abort")), Wanted(NOTHING))
    assert BY_NAME["completion"].words == (Wanted(WORDS, tuple(completion.SHELLS)),)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_new_command_is_offered(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(man._COMMANDS, "stats", ("stats PATH...", "does something new: at once"))
    [command] = [command for command in all_commands() if command.name == "stats"]
    assert (command.words, command.repeats) == ((Wanted(FILE),), True)
    script = completion.SHELLS[shell]()
    assert {"bash": "stats/*) wanted='file'", "zsh": "'*:file:_files'", "fish": "'__cosfs_at stats 0 and-more' -F"}[
        shell] in script.replace("stats/0|", "")
    assert shell == "bash" or "does something new" in script


def test_descriptions_are_one_clause_on_one_line() -> None:
    assert brief("show what waits, and\n    change nothing: path") == "show what waits, and change nothing"
    assert brief("seconds between looks (default: 1)") == "seconds between looks"
    texts = [offer.text for offer in offers()] + [switch.text for command in BY_NAME.values()
                                                  for switch in command.switches]
    assert all("\n" not in text and len(text) <= 60 and text.count("(") == text.count(")") for text in texts)


def test_a_command_whose_package_is_missing_is_offered_without_its_switches() -> None:
    code = "import sys; sys.modules['aiohttp'] = None; from cosfs.cli import main; " \
        "sys.exit(main(['completion', 'fish']))"
    done = subprocess.run([sys.executable, "-c", code], check=False, text=True, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    lines = completion.SHELLS["fish"]().splitlines()
    assert "complete -c cosfs -n '__cosfs_at mount-bucket 0' -a serve" in done.stdout
    assert [line for line in lines if line not in done.stdout.splitlines() and "cosfs_is serve" not in line
            and "__cosfs_with_value" not in line] == []
    assert not re.search(r"is serve' (?!-l help)", done.stdout)


@pytest.mark.parametrize(("words", "given"), [([], "none is given"), (["tcsh"], "not tcsh"),
                                              (["bash", "zsh"], "not bash zsh")])
def test_another_word_is_a_mistake(words: list[str], given: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert completion.run(words) == 1
    assert capsys.readouterr().err == (
        f"cosfs: one word is needed, bash, zsh or fish, {given}; see cosfs completion --help\n")


def test_help_says_for_each_shell_where_it_goes(capsys: pytest.CaptureFixture[str]) -> None:
    assert completion.run(["--help"]) == 0
    text = capsys.readouterr().out
    shown: Set[str] = set(re.findall(r"cosfs completion (\w+)", text))
    assert shown == {*SHELLS, "bash"}
    assert max(map(len, text.splitlines())) <= 80
