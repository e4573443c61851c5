"""Change the vault and the key ring in one place at a time and see whether their tests notice: `make mutants`.

Prints every change that nothing noticed, and ends with 1 if fewer than 90 in 100 were.
"""

import argparse
import ast
import contextlib
import copy
import importlib
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

# Only tests that need no table: each change is tried in a process of its own.
TESTS = {
    "apikeys.vault": [f"tests/apikeys/test_{name}.py" for name in ("vault", "attacks", "known_answers")],
    "apikeys.keyring": ["tests/apikeys/test_keyring.py"],
}
# Of their own work, not of the machine's speed, and each of them in a second or two.
OPTIONS = ["-x", "-q", "-W", "ignore", "-o", "filterwarnings=", "-p", "no:cacheprovider", "-p", "no:logging"]
QUICK = "not hold_up and not specification and not million and not ten_thousand and not without_keys and not server"
WANTED, SECONDS = 0.9, 120
ROOT = Path(__file__).resolve().parent.parent
_SWAPS: dict[type[ast.AST], list[type[ast.AST]]] = {
    ast.Lt: [ast.LtE, ast.GtE],
    ast.LtE: [ast.Lt, ast.Gt],
    ast.Gt: [ast.GtE, ast.LtE],
    ast.GtE: [ast.Gt, ast.Lt],
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
    ast.In: [ast.NotIn],
    ast.NotIn: [ast.In],
    ast.Is: [ast.IsNot],
    ast.IsNot: [ast.Is],
    ast.Add: [ast.Sub],
    ast.Sub: [ast.Add],
    ast.Mult: [ast.Add],
    ast.And: [ast.Or],
    ast.Or: [ast.And],
}


def changed(node: ast.AST) -> Iterator[ast.AST]:
    """What may stand in the place of a node."""
    if type(node) in _SWAPS:
        yield from (other() for other in _SWAPS[type(node)])
    elif isinstance(node, ast.Constant):
        yield from map(ast.Constant, _values(node.value))
    elif isinstance(node, ast.If | ast.While | ast.IfExp):
        yield _with(node, test=ast.UnaryOp(ast.Not(), node.test))
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node.operand
    elif isinstance(node, ast.Return) and node.value is not None and not _is_none(node.value):
        yield ast.Return(ast.Constant(None))
    elif isinstance(node, ast.Raise | ast.Delete | ast.Break) or _is_call(node):
        yield ast.Pass()


def _values(value: Any) -> list[Any]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        return [value + 1, value - 1]
    if isinstance(value, bytes):
        return [value + b"x"]
    return [f"{value}x"] if isinstance(value, str) else []


def _with(node: ast.AST, **fields: Any) -> ast.AST:
    other = copy.copy(node)
    for name, value in fields.items():
        setattr(other, name, value)
    return other


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _is_call(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)


def places(parent: ast.AST) -> Iterator[tuple[ast.AST, str, int | None]]:
    """Every place in the code where a change would matter: no docstrings, annotations, sizes of caches, words
    for people."""
    if _is_words(parent):
        return
    for name, value in ast.iter_fields(parent):
        if name in ("annotation", "returns", "decorator_list", "type_comment", "msg"):
            continue
        for place, one in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(one, ast.AST):
                yield parent, name, place
                yield from places(one)


def _is_words(node: ast.AST) -> bool:
    """A docstring, a line of the log or the sentence of an error, whose wording no test should hold on to."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    named = node.func if isinstance(node, ast.Call) else None
    if isinstance(named, ast.Attribute) and isinstance(named.value, ast.Name):
        return named.value.id == "log"
    return isinstance(named, ast.Name) and named.id in {"UnusableKey", "RandomnessBroken", "ValueError"}


def mutants(source: str) -> Iterator[tuple[str, ast.Module]]:
    """Every changed module with a line that tells what was changed."""
    tree = ast.parse(source)
    for parent, name, place in list(places(tree)):
        held = getattr(parent, name)
        node = held if place is None else held[place]
        for other in changed(node):
            ast.copy_location(other, node if hasattr(node, "lineno") else parent)
            _put(parent, name, place, other)
            line = getattr(node, "lineno", getattr(parent, "lineno", 0))
            shown = source.splitlines()[line - 1].strip() if line else ""
            yield f"line {line}: {shown}   ->   {_shown(other)}", ast.fix_missing_locations(copy.deepcopy(tree))
            _put(parent, name, place, node)


def _put(parent: ast.AST, name: str, place: int | None, node: ast.AST) -> None:
    if place is None:
        setattr(parent, name, node)
    else:
        getattr(parent, name)[place] = node


def _shown(node: ast.AST) -> str:
    return type(node).__name__ if not hasattr(node, "lineno") else ast.unparse(node).splitlines()[0]


def survives(name: str, tree: ast.Module) -> bool:
    """Whether the tests pass with this module; in a child, so that nothing of it stays."""
    child = os.fork()
    if not child:
        signal.alarm(SECONDS)  # a change that makes it wait for ever is noticed
        with contextlib.suppress(BaseException):
            out = os.open(os.devnull, os.O_WRONLY)
            os.dup2(out, 1), os.dup2(out, 2)
            exec(compile(tree, f"{name}.py", "exec"), vars(importlib.import_module(name)))  # noqa: S102 (our own code)
            os._exit(pytest.main([*OPTIONS, "-m", "not django_db", "-k", QUICK, *TESTS[name]]))
        os._exit(1)
    return os.waitpid(child, 0)[1] == 0


def main() -> int:
    """Try every change of the chosen modules."""
    parser = argparse.ArgumentParser(prog="tests.mutants", description=str(__doc__).split("\n\n")[0])
    parser.add_argument("modules", nargs="*", default=list(TESTS), help="by default both")
    parser.add_argument("--every", type=int, default=1, help="try only each so many-th change (1)")
    chosen = parser.parse_args()
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    for heavy in ("hypothesis", "openai", "playwright.sync_api"):
        importlib.import_module(heavy)  # once, and not in each child
    importlib.import_module("django").setup()
    worst = 1.0
    for name in chosen.modules:
        source = (ROOT / f"{name.replace('.', '/')}.py").read_text()
        if not survives(name, ast.parse(source)):
            print(f"{name}: its tests fail without a change")
            return 1
        tried = list(mutants(source))[:: chosen.every]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            lived = list(pool.map(partial(survives, name), (tree for _, tree in tried)))
        if not survives(name, ast.parse(source)):
            print(f"{name}: its tests fail without a change by now; something else changed meanwhile")
            return 1
        alive = [what for (what, _), lives in zip(tried, lived, strict=True) if lives]
        worst = min(worst, score := 1 - len(alive) / len(tried))
        print(f"{name}: {len(tried) - len(alive)} of {len(tried)} changes noticed, {score:.1%}", *alive, sep="\n  ")
    return 0 if worst >= WANTED else 1


if __name__ == "__main__":
    sys.exit(main())
