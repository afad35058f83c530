"""Orders of restores, what the service tells of them, for how long that is believed, and waiting for them."""

from __future__ import annotations

from typing import Dict, List, Optional

import pytest

from cosfs.archive import RestoreOrder, RestoreTold, Tier, is_archived, parse_restore_header, usual_duration
from cosfs.cli import main
from cosfs.cli.mount import UsageError, scan
from cosfs.cli.restore import Seen
from cosfs.cli.restore_wait import wait_for
from cosfs.cos import xml
from cosfs.cos.interface import ObjectHeaders, ObjectInfo
from cosfs.filesystem.archived import Turns
from cosfs.namespace.restores import Restored, RestoreStates

ONGOING = 'ongoing-request="true"'
UNTIL = 'ongoing-request="false", expiry-date="Mon, 13 Apr 2020 16:00:00 GMT"'
UNTIL_S = 1586793600.0


@pytest.mark.parametrize(("text", "order"), [
    ("1", RestoreOrder(1)), ("7", RestoreOrder(7, Tier.STANDARD)), ("7:Expedited", RestoreOrder(7, Tier.EXPEDITED)),
    ("365:bulk", RestoreOrder(365, Tier.BULK)), ("3:STANDARD", RestoreOrder(3, Tier.STANDARD))])
def test_an_order_is_days_and_a_tier(text: str, order: RestoreOrder) -> None:
    assert RestoreOrder.parse(text) == order
    assert RestoreOrder.parse(str(order)) == order
    assert scan(["-o", f"restore={text}"]).settings["filesystem"]["restore"] == order


@pytest.mark.parametrize("text", ["", "0", "366", "7:", "7:Fast", ":Bulk", "7d", "-1", "٣", "7:Bulk:x", "1.5", "yes"])
def test_what_is_no_order_is_refused_in_one_line(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError):
        RestoreOrder.parse(text)
    with pytest.raises(UsageError, match=r"restore=.* is wrong; give no, a number of days from 1 to 365, or DAYS:TIER"):
        scan(["-o", f"restore={text}"])


def test_restore_no_is_the_default() -> None:
    assert scan(["-o", "restore=7,restore=no"]).settings["filesystem"]["restore"] is None


@pytest.mark.parametrize(("value", "told"), [
    (None, None), ("", None), ("something", None), (ONGOING, RestoreTold(True)), (UNTIL, RestoreTold(False, UNTIL_S)),
    ('ongoing-request="false"', RestoreTold(False)), ('ongoing-request="false", expiry-date="?"', RestoreTold(False))])
def test_the_services_words_on_a_restore(value: Optional[str], told: Optional[RestoreTold]) -> None:
    assert parse_restore_header(value) == told


def test_classes_that_are_archives_and_the_tiers_that_they_know() -> None:
    assert all(map(is_archived, ("ARCHIVE", "MAZ_DEEP_ARCHIVE", "Deep_Archive")))
    assert not any(map(is_archived, ("STANDARD", "STANDARD_IA", "INTELLIGENT_TIERING", "")))
    assert usual_duration("MAZ_ARCHIVE", Tier.EXPEDITED) == "1 to 5 minutes"
    assert usual_duration("DEEP_ARCHIVE", Tier.BULK) == "24 to 48 hours"
    assert usual_duration("MAZ_DEEP_ARCHIVE", Tier.EXPEDITED) is None


def test_the_request_names_days_and_tier_as_either_protocol_does() -> None:
    order = RestoreOrder(7, Tier.BULK)
    assert xml.restore_body(order) == (b"<RestoreRequest><Days>7</Days><CASJobParameters><Tier>Bulk</Tier>"
                                       b"</CASJobParameters></RestoreRequest>")
    assert b"<GlacierJobParameters><Tier>Bulk</Tier></GlacierJobParameters>" in xml.restore_body(order, s3=True)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds


def info(restore: Optional[str], storage_class: str = "ARCHIVE", served_s: float = UNTIL_S) -> ObjectInfo:
    return ObjectInfo("k", 1, "e", 1.0, ObjectHeaders(), storage_class, restore=restore, served_s=served_s)


def test_that_nothing_is_restored_is_believed_as_long_as_attributes() -> None:
    clock = Clock()
    states = RestoreStates(clock, 60.0)
    assert states.known(("k", "e")) is None
    assert states.told(info(None)) is states.known(("k", "e")) is Restored.NO
    clock.now += 59.9
    assert states.known(("k", "e")) is Restored.NO
    clock.now += 0.1
    assert states.known(("k", "e")) is None


def test_that_a_restore_goes_on_is_believed_for_two_seconds() -> None:
    clock = Clock()
    states = RestoreStates(clock, 60.0)
    assert states.told(info(ONGOING)) is Restored.ONGOING
    clock.now += 1.9
    assert states.known(("k", "e")) is Restored.ONGOING
    clock.now += 0.1
    assert states.known(("k", "e")) is None


@pytest.mark.parametrize("believed_s", [0.0, 60.0])
def test_a_restored_copy_is_believed_until_it_expires_by_the_services_clock(believed_s: float) -> None:
    clock = Clock()
    states = RestoreStates(clock, believed_s)
    assert states.told(info(UNTIL, served_s=UNTIL_S - 1000)) is Restored.YES
    clock.now += 999
    assert states.known(("k", "e")) is Restored.YES
    clock.now += 1
    assert states.known(("k", "e")) is None
    assert states.told(info(UNTIL, served_s=UNTIL_S)) is Restored.NO


def test_objects_that_are_not_archived_take_no_memory() -> None:
    states = RestoreStates(Clock(), 60.0)
    assert states.told(info(None, "STANDARD")) is Restored.YES
    assert states.known(("k", "e")) is None


def test_no_more_restores_begin_in_a_second_than_the_service_takes() -> None:
    clock = Clock()
    turns = Turns(100.0, clock, clock.pause)
    for _ in range(201):
        turns.wait()
    assert clock.now == pytest.approx(102.0)


class Files:
    """What ``look`` finds: by path, what is told at one look after the other; the last holds."""

    def __init__(self, **told: List[Optional[Seen]]) -> None:
        self._told = told
        self.looked: Dict[str, int] = dict.fromkeys(told, 0)
        self.complaints: List[str] = []

    def look(self, path: str) -> Optional[Seen]:
        self.looked[path] += 1
        return self._told[path][min(self.looked[path], len(self._told[path])) - 1]


def seen(path: str, told: Optional[RestoreTold]) -> Seen:
    return Seen(path, "ARCHIVE", told)


def test_waiting_ends_when_all_are_readable_and_tells_how_many(capsys: pytest.CaptureFixture[str]) -> None:
    ready = RestoreTold(False, UNTIL_S)
    files = Files(a=[seen("a", RestoreTold(True)), seen("a", ready)],
                  b=[seen("b", None), seen("b", RestoreTold(True)), Seen("b", failure="no network"), seen("b", ready)])
    clock = Clock()
    assert wait_for(["a", "b"], files.look, files.complaints.append, clock=clock, pause=clock.pause) == 0
    assert files.looked == {"a": 2, "b": 4}
    assert capsys.readouterr() == ("2 of 2 readable\n", "waiting: 0 of 2 readable\nwaiting: 1 of 2 readable\n")


def test_files_that_will_not_be_readable_are_told_and_not_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    files = Files(a=[None], b=[Seen("b", failure="does not exist", gone=True)],
                  c=[seen("c", RestoreTold(True)), seen("c", None)])
    clock = Clock()
    assert wait_for(["a", "b", "c"], files.look, files.complaints.append, clock=clock, pause=clock.pause) == 3
    assert files.complaints == ["a: is no file any more", "b: does not exist", "c: is not being restored any more"]
    assert clock.now - 100 > 60  # what was begun a moment ago may not show yet
    assert capsys.readouterr().out == "0 of 3 readable\n"


def test_many_files_are_looked_at_a_few_at_a_time_and_ever_more_seldom() -> None:
    paths = [f"f{number}" for number in range(500)]
    clock = Clock()
    files = Files(**{path: [seen(path, RestoreTold(True))] for path in paths})

    def look(path: str) -> Optional[Seen]:
        found = files.look(path)
        return found if clock.now < 100 + 4 * 3600 else seen(path, RestoreTold(False, UNTIL_S))
    assert wait_for(paths, look, files.complaints.append, clock=clock, pause=clock.pause) == 0
    assert sum(files.looked.values()) < 500 + 20 * 260
    assert clock.now < 100 + 4 * 3600 + 60


def test_ctrl_c_says_that_the_restores_go_on() -> None:
    files = Files(a=[seen("a", RestoreTold(True))])

    def interrupted(_: float) -> None:
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        wait_for(["a"], files.look, files.complaints.append, pause=interrupted)
    assert files.complaints == ["1 of 1 are still being restored, and go on; see them with --status"]


@pytest.mark.parametrize(("words", "line"), [
    ([], "the following arguments are required: PATH; see cosfs restore --help"),
    (["--days", "0", "x"], "argument -d/--days: 0 is wrong, give a whole number from 1 to 365; see cosfs restore "
                           "--help"),
    (["--tier", "fast", "x"], "argument -t/--tier: fast is wrong, give one of Expedited, Standard, Bulk; see cosfs "
                              "restore --help"),
    (["--status", "--wait", "x"], "--status shows what is so now, and --wait waits; give one of them"),
    (["/no/such/file"], "/no/such/file: does not exist"),
    (["/proc/version"], "/proc/version is in no mount of cosfs; give a file below a mount point, as mount -t "
                        "fuse.cosfs shows them"),
])
def test_mistakes_are_one_line(words: List[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["restore", *words]) == 1
    assert capsys.readouterr() == ("", f"cosfs: {line}\n")


def test_help_fits_80_columns(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as left:
        main(["restore", "--help"])
    assert left.value.code == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
