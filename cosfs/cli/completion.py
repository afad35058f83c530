"""``cosfs completion``: what completes command lines of cosfs in bash, zsh and fish."""

from __future__ import annotations

import sys
from typing import Callable, Dict, Sequence

from cosfs.cli import completion_bash, completion_fish, completion_zsh

HELP = """\
usage: cosfs completion bash|zsh|fish
Print what completes commands, switches, options of -o and their values, names
of mounts, and mount points in that shell. Put it where the shell looks; the
shells that are started after that have it.

bash, with its package bash-completion
  cosfs completion bash |
    install -Dm644 /dev/stdin ~/.local/share/bash-completion/completions/cosfs

bash without
  echo 'source <(cosfs completion bash)' >>~/.bashrc

zsh, or in any other folder of its fpath
  cosfs completion zsh |
    sudo install -Dm644 /dev/stdin /usr/local/share/zsh/site-functions/_cosfs

fish
  cosfs completion fish |
    install -Dm644 /dev/stdin ~/.config/fish/completions/cosfs.fish"""

SHELLS: Dict[str, Callable[[], str]] = {
    "bash": completion_bash.script, "zsh": completion_zsh.script, "fish": completion_fish.script}


def run(argv: Sequence[str]) -> int:
    """Carry out the command; returns the exit status."""
    if argv and argv[0] in ("-h", "--help"):
        print(HELP)
        return 0
    if len(argv) != 1 or argv[0] not in SHELLS:
        given = f"not {' '.join(argv)}" if argv else "none is given"
        print(f"cosfs: one word is needed, bash, zsh or fish, {given}; see cosfs completion --help", file=sys.stderr)
        return 1
    print(SHELLS[argv[0]](), end="")
    return 0
