"""Gates of `make check`: rules about this code that no general linter knows.

    python tools/gates.py [NAME...]     all gates, or those named; exit code 1 when one finds something

prose     Outside cli/ no code asks how a sentence begins or what it contains: reasons are codes with fields.
options   Outside cli/ no message names a command-line option: a Python caller has parameters.
classes   No two classes have one name.
circles   No import circle, counting every import in a file: at its top, in a function, under TYPE_CHECKING.
phrases   Phrases of tools/phrases.py occur nowhere in the code, the pages or the documents.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).parent))
from phrases import PHRASES  # noqa: E402

ASKING = {"startswith", "endswith", "removeprefix", "removesuffix", "find", "index", "partition", "rpartition", "count"}
# Names of values that hold sentences; asking one of them anything is asking prose, however short the word.
SENTENCES = {"advice", "line", "message", "note", "reason", "remark", "sentence", "statement", "verdict", "warning"}
PROSE = re.compile(r"[A-Za-z'] [A-Za-z']")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9]*(?:-[a-z0-9]+)*(?![\w-]|:)")
# A space between words, or the end of a line in prose, in a comment, or between two literals.
GAP = r"""(?:[ ]|[ ]?["']?[ ]*\n[ \t]*(?:#|//|[fr]*["'])?[ \t]*)"""
# (file, text): sentences of other libraries, which give nothing but a sentence to ask.
FOREIGN_SENTENCES = {
    ("training/hardware.py", "can't allocate memory"),  # torch raises a plain RuntimeError
    ("recipe.py", "Value error, "),  # pydantic puts it before the message of our validators
}


class Hit(NamedTuple):
    """A place that breaks a rule."""

    path: str
    line: int
    what: str


def python_files(root: Path) -> Iterator[tuple[str, ast.Module]]:
    """(path below src/pellucid, syntax tree) of each Python file, by name."""
    source = root / "src" / "pellucid"
    for path in sorted(source.rglob("*.py")):
        yield path.relative_to(source).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def library_files(root: Path) -> Iterator[tuple[str, ast.Module]]:
    """Those outside cli/."""
    return ((path, tree) for path, tree in python_files(root) if not path.startswith("cli/"))


def prose(root: Path) -> Iterator[Hit]:
    """Questions about the text of a sentence."""
    for path, tree in library_files(root):
        constants, loops = _constants(tree), _loops(tree)
        for node in ast.walk(tree):
            for asked, word in _questions(node):
                texts = [t for t in _texts(word, constants) if (path, t) not in FOREIGN_SENTENCES]
                # A mapping is asked for a word by `in` too, but only a text is asked how it begins.
                of_sentence = isinstance(node, ast.Call) and _holds_sentence(asked, loops)
                sentence = any(PROSE.search(text) or (of_sentence and re.search("[A-Za-z]", text)) for text in texts)
                if sentence and not isinstance(asked, ast.List | ast.Tuple | ast.Set | ast.Dict):
                    yield Hit(path, node.lineno, f"asks a sentence for {texts[0]!r}")


def _questions(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """(what is asked, the text it is asked for) of a call such as `x.startswith("a")` or a comparison `"a" in x`."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ASKING and node.args:
        yield node.func.value, node.args[0]
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.ops[0], ast.In | ast.NotIn):
        yield node.comparators[0], node.left


def _constants(tree: ast.Module) -> dict[str, ast.expr]:
    """Values of the names that the module sets once at its top."""
    return {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _texts(node: ast.expr, constants: Mapping[str, ast.expr]) -> list[str]:
    """The strings of a literal, a tuple of literals, an f-string, or a name set to one of these."""
    if isinstance(node, ast.Name) and node.id in constants:
        node = constants[node.id]
    inner = node.elts if isinstance(node, ast.Tuple) else node.values if isinstance(node, ast.JoinedStr) else [node]
    return [n.value for n in inner if isinstance(n, ast.Constant) and isinstance(n.value, str)]


def _loops(tree: ast.Module) -> dict[str, set[str]]:
    """Loop variable -> plain names of what it runs over anywhere in the file, without a plural s: {"n": {"note"}}."""
    sources: dict[str, set[str]] = defaultdict(set)
    for node in ast.walk(tree):
        if isinstance(node, ast.For | ast.comprehension) and isinstance(node.target, ast.Name):
            sources[node.target.id].add(_plain_name(node.iter).removesuffix("s"))
    return sources


def _holds_sentence(node: ast.expr, loops: Mapping[str, set[str]]) -> bool:
    name = _plain_name(node)
    return name in SENTENCES or bool(loops.get(name, set()) & SENTENCES)


def _plain_name(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else ""


def options(root: Path) -> Iterator[Hit]:
    """Command-line options in strings that are no docstrings, and in the text of page templates."""
    for path, tree in library_files(root):
        for node in _messages(tree):
            for option in OPTION.findall(re.sub(r"var\(--[\w-]+\)|`pellucid [^`]*`", "", node.value)):
                yield Hit(path, node.lineno, f"names {option}")
    for page in sorted((root / "src" / "pellucid").rglob("templates/*.html")):
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
            for option in OPTION.findall(re.sub(r"<[^>]*>|\{[{%#].*?[}%#]\}|<code>pellucid [^<]*</code>", " ", line)):
                yield Hit(page.relative_to(root / "src" / "pellucid").as_posix(), number, f"names {option}")


def _messages(tree: ast.Module) -> Iterator[Any]:
    """String literals, without docstrings and without lone names such as the CSS property "--accent"."""
    nodes = list(ast.walk(tree))
    left_out = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    parts = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in nodes:
        text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
        if text and id(node) not in left_out and (id(node) in parts or not OPTION.fullmatch(text)):
            yield node


def classes(root: Path) -> Iterator[Hit]:
    """Classes whose name another class has."""
    places: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for path, tree in python_files(root):
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].append((path, node.lineno))
    for name, where in sorted(places.items()):
        for path, line in where[1:]:
            yield Hit(path, line, f"class {name} stands in {where[0][0]} too")


def circles(root: Path) -> Iterator[Hit]:
    """Modules that import each other, directly or by way of others."""
    trees = {_module(path): (path, tree) for path, tree in python_files(root)}
    graph = {name: _imports(name, path, tree, set(trees)) for name, (path, tree) in trees.items()}
    reached = {name: _reached(name, graph) for name in graph}
    seen: set[str] = set()
    for name in sorted(graph):
        circle = sorted(m for m in reached[name] if name in reached[m])
        if circle and name not in seen:
            seen.update(circle)
            yield Hit(trees[name][0], 1, f"import circle: {', '.join(circle)}")


def _module(path: str) -> str:
    parts = ("pellucid", *Path(path).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(name: str, path: str, tree: ast.Module, modules: set[str]) -> set[str]:
    """The modules of this package that a file imports anywhere."""
    package = name if path.endswith("__init__.py") else name.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found |= {full if (full := f"{base}.{alias.name}") in modules else base for alias in node.names}
    return (found & modules) - {name}


def _reached(start: str, graph: Mapping[str, set[str]]) -> set[str]:
    """Everything that `start` imports, directly or not."""
    reached: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += graph[name]
    return reached


def phrases(root: Path) -> Iterator[Hit]:
    """Phrases that a native reader stumbles over."""
    patterns = [(re.compile(pattern.replace(" ", GAP), re.IGNORECASE), instead) for pattern, instead in PHRASES]
    for path in _readable(root):
        text = path.read_text(encoding="utf-8")
        for pattern, instead in patterns:
            for match in pattern.finditer(text):
                line = text.count("\n", 0, match.start()) + 1
                yield Hit(path.relative_to(root).as_posix(), line, f"says {match[0]!r}; write: {instead}")


def _readable(root: Path) -> Iterator[Path]:
    yield from (root / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md") if (root / name).is_file())
    yield from sorted((root / "docs").rglob("*.md"))
    source = root / "src" / "pellucid"
    for ending in ("py", "html", "js", "md", "toml"):
        yield from sorted(source.rglob(f"*.{ending}"))
    yield from sorted(source.rglob("i18n/en.json"))


GATES: dict[str, Callable[[Path], Iterator[Hit]]] = {
    "prose": prose,
    "options": options,
    "classes": classes,
    "circles": circles,
    "phrases": phrases,
}


def main(names: list[str]) -> int:
    """Run the gates named, or all; print what each finds."""
    unknown = [name for name in names if name not in GATES]
    if unknown:
        sys.stderr.write(f"No gate is called {', '.join(unknown)}. Choose from {', '.join(GATES)}.\n")
        return 2
    failed = 0
    for name in names or GATES:
        hits = list(GATES[name](ROOT))
        failed += bool(hits)
        sys.stdout.write(f"{name}: {'ok' if not hits else f'{len(hits)} to change'}\n")
        sys.stdout.writelines(f"  {hit.path}:{hit.line}: {hit.what}\n" for hit in hits)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
