"""Interactive shells on a terminal of their own, as far as completion goes: what a line offers, what TAB makes of it.

bash and zsh are driven by their keys: one that inserts all that is offered, TAB, and one that prints the line. fish has
a command that tells what a line offers.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from pathlib import Path
from typing import Dict, List, Set

LIMIT_S = 30.0
BEGIN, END, PROMPT = "\x01", "\x02", "ready> "
INSERT_ALL, TAB, PRINT = "\x18a", "\t", "\x18p"
"""Keys: control-X and a letter."""

BASH_RC = """
PS1='ready> '
bind 'set enable-bracketed-paste off'
bind 'set bell-style none'
bind '"\\C-xa": insert-completions'
print_line() { printf '\\001%s\\002\\n' "$READLINE_LINE"; READLINE_LINE= READLINE_POINT=0; }
bind -x '"\\C-xp": print_line'
"""
ZSH_RC = """
PS1='ready> '
unset zle_bracketed_paste
setopt no_beep no_prompt_sp no_always_last_prompt
autoload -Uz compinit
compinit -u -D
zstyle ':completion:all-matches::::' completer _all_matches _complete
zstyle ':completion:all-matches:*' insert true
zle -C all-matches complete-word _generic
bindkey '^Xa' all-matches
print_line() { zle -I; print -rn -- $'\\x01'$BUFFER$'\\x02'; BUFFER= }
zle -N print_line
bindkey '^Xp' print_line
"""


class Interactive:
    """bash or zsh. ``words``: the command; a context manager, which ends the shell."""

    def __init__(self, words: List[str], folder: Path, environment: Dict[str, str]) -> None:
        self._master, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 200, 10_000, 0, 0))
        self._process = subprocess.Popen(
            ["setsid", "--ctty", *words], cwd=folder, env={**environment, "TERM": "vt100"}, stdin=terminal,
            stdout=terminal, stderr=terminal)
        os.close(terminal)
        self._unread = ""
        self._read_until(PROMPT)

    def line_after(self, typed: str, key: str) -> str:
        """The line after ``typed`` and a key; it is empty again then."""
        os.write(self._master, (typed + key + PRINT).encode())
        shown = self._read_until(END)
        self._read_until(PROMPT)
        return shown.rpartition(BEGIN)[2]

    def listed(self, typed: str) -> List[str]:
        """The words that are shown when TAB is pressed twice; the line is empty again then."""
        os.write(self._master, (typed + TAB + TAB + PRINT).encode())
        shown = self._read_until(BEGIN)
        self._read_until(PROMPT)
        return shown.partition("\n")[2].partition(PROMPT)[0].split()

    def offered(self, typed: str) -> List[str]:
        """The words offered for the last word."""
        return re.split(r"(?<!\\) ", self.line_after(typed, INSERT_ALL)[typed.rfind(" ") + 1:].strip())

    def completed(self, typed: str) -> str:
        return self.line_after(typed, TAB)

    def _read_until(self, mark: str) -> str:
        """What is shown up to a mark; what comes after it is kept."""
        limit = time.monotonic() + LIMIT_S
        while mark not in self._unread:
            readable = select.select([self._master], [], [], max(0.0, limit - time.monotonic()))[0]
            assert readable, f"no {mark!r} in {self._unread[-2000:]!r}"
            self._unread += os.read(self._master, 65536).decode("utf-8", "replace")
        shown, _, self._unread = self._unread.partition(mark)
        return shown

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)


def bash(script: str, folder: Path, environment: Dict[str, str]) -> Interactive:
    (folder / ".bashrc").write_text(BASH_RC + script)
    return Interactive(["bash", "--noprofile", "--rcfile", str(folder / ".bashrc"), "-i"], folder, environment)


def zsh(script: str, folder: Path, environment: Dict[str, str]) -> Interactive:
    functions = folder / ".functions"
    functions.mkdir()
    (functions / "_cosfs").write_text(script)
    (folder / ".zshrc").write_text(f"fpath=({functions} $fpath)\n{ZSH_RC}")
    return Interactive(["zsh", "--no-globalrcs", "-i"], folder, {**environment, "ZDOTDIR": str(folder)})


class Fish:
    """fish, a process for each line."""

    def __init__(self, script: str, folder: Path, environment: Dict[str, str]) -> None:
        self._folder, self._environment = folder, environment
        self._script = folder / ".cosfs.fish"
        self._script.write_text(script)

    def listed(self, typed: str) -> List[str]:
        """The words that are shown when TAB is pressed twice; the line is empty again then."""
        os.write(self._master, (typed + TAB + TAB + PRINT).encode())
        shown = self._read_until(BEGIN)
        self._read_until(PROMPT)
        return shown.partition("\n")[2].partition(PROMPT)[0].split()

    def offered(self, typed: str) -> List[str]:
        done = subprocess.run(["fish", "--no-config", "-c", f"source {self._script}; complete -C $argv[1]", typed],
                              cwd=self._folder, env=self._environment, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, check=False, timeout=LIMIT_S)
        assert (done.returncode, done.stderr) == (0, "")
        return [line.partition("\t")[0] for line in done.stdout.splitlines()]

    def close(self) -> None:
        """Nothing runs."""


def last_parts(offered: List[str]) -> Set[str]:
    """Of words that begin with what was there already, in one shell more than in another: the last option or value."""
    found = (re.sub(r"\\(.)", r"\1", word).rstrip("=,") for word in offered)
    return {re.split(r"[,=]", word)[-1] for word in found if word}
