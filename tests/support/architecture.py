"""The rules that keep the layers apart, checked on source text.

``violations`` takes modules as ``{name: source}`` so that its own tests can plant what it has to find.
Imports are seen wherever they stand (in functions, ``async def``, ``if TYPE_CHECKING``), relative ones too.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Dict, Iterator, List, Mapping, Optional, Set, Tuple

PACKAGE = "cosfs"
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 50

LEVELS: Tuple[Tuple[str, ...], ...] = (
    ("units", "errors", "executor", "config", "state", "version", "metrics", "log_levels", "log_json", "log_text",
     "archive",
     "cos.interface", "cos.signing", "cos.xml", "cos.crc64", "cos.additions"),
    ("cos", "server"),
    ("namespace", "reading", "versions", "writing"),
    ("filesystem",),
    ("operations", "fuse_callbacks", "fuse_binding", "fuse3_binding", "read_ahead", "caller",
     "scanner_guard", "updatedb_conf"),
    ("daemon", "signals", "exposition", "preflight", "snapshot", "fuse_library", "mount_table", "mount_process",
     "dead_mounts", "network_wait", "systemd", "mount", "doctor"),
    ("cli", "__main__"),
)
"""Lowest first; a name stands for the module and all below it, the longest match counts."""

SEPARATE_LEVELS = (1, 2)
"""Levels whose packages do not know each other."""

BASE_PARTS = frozenset(f"{PACKAGE}.{name}" for name in LEVELS[0])
CLIENT_SEEN_ABOVE = frozenset(f"{PACKAGE}.cos.{name}" for name in ("interface", "crc64"))
"""All that levels 2 to 4 may know of the client."""

CONFINED: Mapping[str, Tuple[str, ...]] = {
    "fuse": ("fuse_binding",),
    "mfusepy": ("fuse3_binding",),
    "requests": ("cos.transport",),
    "cachetools": ("namespace.caches", "reading.caches"),
    "aiohttp": ("server", "cli.serve"),
}


def read_package(folder: Path) -> Dict[str, str]:
    """All modules of the package in ``folder``, by dotted name; a package's own is its ``__init__``."""
    modules = {}
    for path in sorted(folder.rglob("*.py")):
        parts = [PACKAGE, *path.relative_to(folder).with_suffix("").parts]
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        modules[name] = path.read_text(encoding="utf-8")
    return modules


def level_of(module: str) -> Optional[int]:
    """The level of a module of the package; None for the package itself, which re-exports the public API."""
    parts = module.split(".")[1:]
    for size in range(len(parts), 0, -1):
        for level, names in enumerate(LEVELS):
            if ".".join(parts[:size]) in names:
                return level
    if parts:
        raise AssertionError(f"{module} has no level; add it to LEVELS")
    return None


def imports_of(module: str, source: str, modules: Mapping[str, str], packages: Set[str]) -> Iterator[Tuple[str, int]]:
    """The modules that one imports, with line numbers; ``from package import module`` names the module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = module.split(".")[:len(module.split(".")) - node.level + (module in packages)]
                base = ".".join([*above, base] if base else above)
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield (full if full in modules else base), node.lineno


def violations(modules: Mapping[str, str]) -> List[str]:
    """Every broken rule, as ``module:line: what``."""
    packages = {name.rpartition(".")[0] for name in modules} | {PACKAGE}
    found: List[str] = []
    graph: Dict[str, Set[str]] = {}
    for module, source in modules.items():
        inside = set()
        for target, line in imports_of(module, source, modules, packages):
            if target.split(".")[0] == PACKAGE:
                inside.add(target)
                found += [f"{module}:{line}: {why}" for why in _broken_by_import(module, target)]
            else:
                found += [f"{module}:{line}: {why}" for why in _broken_by_outside(module, target.split(".")[0])]
        graph[module] = inside & set(modules) - {module}
        found += [f"{module}:{line}: {why}" for line, why in _broken_in_file(module, source)]
    return found + [f"cycle: {' -> '.join(cycle)}" for cycle in _cycles(graph)]


def _part(module: str) -> str:
    """The second component: the sub-package, or the module at the top."""
    return (f"{module}.").split(".")[1]


def _broken_by_import(module: str, target: str) -> Iterator[str]:
    own, other = level_of(module), level_of(target)
    if own is None:
        if other is not None and other > 1:
            yield f"the package itself imports {target}; only the client is its public API"
        return
    if other is None:
        yield "imports the package itself, whose names are for users"
    elif other > own:
        yield f"level {own} imports {target} of level {other}"
    elif own in SEPARATE_LEVELS and other == own and _part(module) != _part(target):
        yield f"{_part(module)} imports {target} of the same level"
    elif _part(module) == "server" and _part(target) != "server" and target not in BASE_PARTS:
        yield f"the server imports {target}"
    elif 2 <= own <= 4 and _part(target) == "cos" and target not in CLIENT_SEEN_ABOVE:
        yield f"level {own} imports {target}; it may know the client's interface only"


def _broken_by_outside(module: str, target: str) -> Iterator[str]:
    allowed = CONFINED.get(target)
    inner = module[len(PACKAGE) + 1:]
    if allowed is not None and not any(inner == name or inner.startswith(name + ".") for name in allowed):
        yield f"imports {target}, which only {', '.join(allowed)} may"


def _broken_in_file(module: str, source: str) -> Iterator[Tuple[int, str]]:
    lines = source.count("\n")
    if lines > MAX_FILE_LINES:
        yield lines, f"has {lines} lines, more than {MAX_FILE_LINES}"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                yield node.lineno, f"{node.name} has {length} lines, more than {MAX_FUNCTION_LINES}"
        elif (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
                and _part(module) != "cli"):
            yield node.lineno, "prints"


def _cycles(graph: Mapping[str, Set[str]]) -> Iterator[List[str]]:
    """One cycle through each module that a depth-first walk comes back to."""
    done: Set[str] = set()

    def walk(module: str, trail: List[str]) -> Iterator[List[str]]:
        if module in trail:
            yield [*trail[trail.index(module):], module]
        elif module not in done:
            for target in sorted(graph[module]):
                yield from walk(target, [*trail, module])
            done.add(module)

    for module in sorted(graph):
        yield from walk(module, [])
