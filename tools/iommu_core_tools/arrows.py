# SPDX-License-Identifier: GPL-2.0
"""Draws the arrows between the files of the module, and checks where they point.

An arrow leads from a file to each file that it names something of: in a `use`, a re-export or any path in its
code. If a path names a file that re-exports the item, the arrow leads to that file. `mod x;` alone is no arrow.
Test suites may import any file; no other file may import from a suite.

tools/config/layers says which layer each file belongs to. The check fails on an arrow that points up between
layers, and on a circle of arrows.
"""

import collections
import pathlib

from . import rust_code
from .errors import ToolError
from .paths import CHECKOUT, CONFIG
from .sync import kernel_files

_ROOT = "iommu_core.rs"
LAYERS = CONFIG / "layers"
# The kernel's `module!` defines these at the root of the crate; iommu_core.rs does not.
_MADE_BY_THE_KERNEL = {("LocalModule",), ("THIS_MODULE",)}


def is_test(name):
    """Whether a file belongs to a test suite."""
    path = pathlib.PurePath(name)
    return path.name == "tests.rs" or "tests" in path.parts


# --- the arrows -------------------------------------------------------------------------------


class Arrows:
    """The arrows of a tree: `found[source][target]` are the lines of `source` that name something of `target`."""

    def __init__(self, checkout=CHECKOUT):
        self.files = [path.as_posix() for path in kernel_files(checkout) if path.suffix == ".rs"]
        self._file_of = {_module_of(name): name for name in self.files}
        self._code, self._scopes = {}, {}
        for module, name in self._file_of.items():
            try:
                code = rust_code.Code((checkout / name).read_text(encoding="utf-8"), module)
            except rust_code.NotUnderstood as error:
                raise ToolError(f"{name}:{error.line}: not understood: {error.what}") from error
            self._code[name] = code
            self._scopes.update(code.modules)
        self.found = {name: self._from(name) for name in self.files}

    def _from(self, name):
        code, found = self._code[name], collections.defaultdict(set)
        for path in code.paths:
            for target in self._resolve(path.scope, path.parts, frozenset()):
                found[self._longest_module(target)].add(path.line)
        for call in code.calls:
            found[self._defined_around(code, call)].add(call.line)
        return {target: sorted(found[target]) for target in sorted(found.keys() - {name, None})}

    def _longest_module(self, path):
        """The file of the longest part of a path that is a module."""
        if path[:1] in _MADE_BY_THE_KERNEL:
            return None
        while path and path not in self._file_of:
            path = path[:-1]
        return self._file_of.get(path)

    def _resolve(self, scope, parts, seen):
        """The paths, from the root of the crate, that a path in a scope may mean; none for another crate's.

        `seen` holds the imports that are being followed already.
        """
        first, rest = parts[0], parts[1:]
        if first == "crate":
            return [rest]
        if first in ("self", "super"):
            module = scope.module
            while parts and parts[0] in ("self", "super"):
                module = module[:-1] if parts[0] == "super" else module
                parts = parts[1:]
            return [module + parts]
        while scope is not None:
            found = self._look_up(scope, first, seen)
            if found is not None:
                return [path + rest for path in found]
            scope = scope.outer
        return []

    def _look_up(self, scope, name, seen):
        """The paths that a name may mean in one scope; None if the scope does not know the name."""
        if name in scope.names and (scope, name) not in seen:
            seen = seen | {(scope, name)}
            return [path for parts in scope.names[name] for path in self._resolve(scope, parts, seen)]
        child = (*scope.module, name)
        if scope.outer is None and child in self._scopes:
            return [child]
        for parts in scope.globs:
            if (scope, parts) in seen:
                continue
            # `use x::*` does not say where `x` itself comes from.
            within = seen | {(scope, parts)}
            for path in self._resolve(scope, parts, within):
                found = self._look_up(self._scopes[path], name, within) if path in self._scopes else None
                if found is not None:
                    return found
        return None

    def _defined_around(self, code, call):
        """The file that defines a macro for the modules below it, if the macro's bare name gets it from there."""
        [macro], scope = call.parts, call.scope
        if macro in code.macros:
            return None
        module = scope.module
        while scope is not None:
            if macro in scope.names:
                return None  # The import is an arrow already.
            scope = scope.outer
        while module:
            module = module[:-1]
            around = self._file_of.get(module)
            if around and macro in self._code[around].macros:
                return around
        return None


def _module_of(name):
    """The path, from the root of the crate, of the module in a file."""
    return () if name == _ROOT else tuple(name.removesuffix(".rs").split("/"))


# --- layers -----------------------------------------------------------------------------------


class Layers:
    """What tools/config/layers says; its first lines describe the format.

    `exceptions` are arrows, as pairs of files, with the reason of each.
    """

    def __init__(self, path=LAYERS):
        self._order = []
        self._of = {}
        self._apart = []
        self.exceptions = {}
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            words = line.partition("#")[0].split()
            if words and not self._take(line[0].isspace(), *words):
                raise ToolError(f"tools/config/layers:{number}: not understood: {line.strip()}")

    def _take(self, indented, word, *more):
        """Takes the words of a line; whether it knows such lines."""
        if indented:
            if not self._order or word in self._of:
                return False
            self._of[word] = self._order[-1]
        elif word == "layer" and len(more) == 1 and more[0] not in self._order:
            self._order.append(more[0])
        elif word == "apart" and all(any(_is_below(layer, name) for layer in self._order) for name in more):
            self._apart.append(more)
        elif word == "except" and len(more) > 2 and more[:2] not in self.exceptions:
            self.exceptions[more[:2]] = " ".join(more[2:])
        else:
            return False
        return True

    def of(self, name):
        """The layer of a file, by the longest entry that matches; None if no entry does."""
        found = [entry for entry in self._of if _matches(name, entry)]
        return self._of[max(found, key=len)] if found else None

    def why_not(self, source, target):
        """Why no file of the layer `source` may import from the layer `target`; None if they may."""
        if self._order.index(source) > self._order.index(target):
            return f"which is above it ({source} < {target})"
        for names in self._apart:
            sides = [[name for name in names if _is_below(layer, name)] for layer in (source, target)]
            if all(sides) and sides[0] != sides[1]:
                return f"which must stay apart from it ({source} | {target})"
        return None

    def unused(self, names):
        """The entries that match none of these files."""
        return [entry for entry in self._of if not any(_matches(name, entry) for name in names)]


def _is_below(layer, name):
    """Whether a layer is `name` or `name`/something."""
    return f"{layer}/".startswith(f"{name}/")


def _matches(name, entry):
    """Whether an entry of tools/config/layers is about a file: `a/` is about a.rs and all files in a/."""
    return name == entry or (entry.endswith("/") and (name.startswith(entry) or name == f"{entry[:-1]}.rs"))


# --- circles ----------------------------------------------------------------------------------


def components(graph):
    """The strongly connected components of more than one node (Tarjan's algorithm), sorted."""
    index, low, stack, found = {}, {}, [], []
    for root in graph:
        work = [] if root in index else [(root, None)]
        while work:
            node, targets = work.pop()
            if targets is None:
                index[node] = low[node] = len(index)
                stack.append(node)
                targets = iter(graph.get(node, ()))
            for target in targets:
                if target not in index:
                    work += [(node, targets), (target, None)]
                    break
                if target in stack:
                    low[node] = min(low[node], low[target])
            else:
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    at = stack.index(node)
                    if len(stack) - at > 1:
                        found.append(sorted(stack[at:]))
                    del stack[at:]
    return sorted(found)


def shortest_circle(graph, *nodes):
    """The shortest way in the graph that leads from one of these nodes back to it. There must be one for each."""
    return min((_shortest_way_back(graph, node) for node in nodes), key=len)


def _shortest_way_back(graph, begin):
    came_from, queue = {}, collections.deque([begin])
    while begin not in came_from:
        node = queue.popleft()
        for target in graph.get(node, ()):
            if target not in came_from:
                came_from[target] = node
                queue.append(target)
    way = [came_from[begin]]
    while way[-1] != begin:
        way.append(came_from[way[-1]])
    return way[::-1]


# --- the check --------------------------------------------------------------------------------


class Picture:
    """The arrows of a tree, and what is wrong with them.

    `graph` has the arrows of all files but suites, and `forbidden` says why an arrow is not allowed.
    `circles` has a pair for each strongly connected component: its files, and its shortest circle. Neither has
    the exceptions of tools/config/layers.
    """

    def __init__(self, checkout=CHECKOUT, layers=LAYERS):
        self.arrows = Arrows(checkout).found
        self.layers = Layers(layers)
        self.forbidden = {}
        # The exceptions without which something would be wrong.
        self._needed = set()
        excepted = self.layers.exceptions
        complete = {source: list(targets) for source, targets in self.arrows.items() if not is_test(source)}
        for source, targets in complete.items():
            for target in targets:
                if why := self._why_not(source, target):
                    self.forbidden[source, target] = why
        joined = [set(component) for component in components(complete)]
        for arrow in excepted:
            exists = arrow[1] in complete.get(arrow[0], ())
            if exists and (arrow in self.forbidden or any(files.issuperset(arrow) for files in joined)):
                self._needed.add(arrow)
            self.forbidden.pop(arrow, None)
        self.graph = {
            source: [target for target in targets if (source, target) not in excepted]
            for source, targets in complete.items()
        }
        self.circles = [(files, shortest_circle(self.graph, *files)) for files in components(self.graph)]

    def _why_not(self, source, target):
        if is_test(target):
            return "which is a test suite"
        layers = self.layers.of(source), self.layers.of(target)
        return self.layers.why_not(*layers) if all(layers) else None

    def wrong(self):
        """Everything that is wrong, as lines."""
        found = [f"{name}:1: has no layer in tools/config/layers" for name in self.graph if not self.layers.of(name)]
        found += [f"tools/config/layers: {entry} is not there" for entry in self.layers.unused(self.graph)]
        for (source, target), why in self.forbidden.items():
            found.append(f"{source}:{self.arrows[source][target][0]}: imports {target}, {why}")
        for files, circle in self.circles:
            found.append(f"a circle of {len(files)} files: {self._with_lines(circle)}")
        for source, target in self.layers.exceptions:
            if (source, target) not in self._needed:
                found.append(f"tools/config/layers: except {source} {target}: no longer needed")
        return found

    def _with_lines(self, circle):
        """A circle for people: each file with the line that names the next."""
        steps = zip(circle, [*circle[1:], circle[0]])
        return " -> ".join([*(f"{source}:{self.arrows[source][target][0]}" for source, target in steps), circle[0]])

    def dot(self):
        """The picture in graphviz's language, as lines: a frame for each layer, and in red what is wrong."""
        frames = {}
        for name in self.graph:
            frames.setdefault(self.layers.of(name) or "no layer", []).append(name)
        yield "digraph arrows {"
        yield "    node [shape=box];"
        for number, (layer, names) in enumerate(frames.items()):
            nodes = "".join(f' "{name}";' for name in names)
            yield f'    subgraph cluster_{number} {{ label="{layer}";{nodes} }}'
        for source, targets in self.graph.items():
            for target in targets:
                in_circle = any(source in files and target in files for files, _circle in self.circles)
                color = " [color=red]" if in_circle or (source, target) in self.forbidden else ""
                yield f'    "{source}" -> "{target}"{color};'
        yield "}"

    def about(self, name):
        """The arrows from and to a file, or a folder with all that is in it, as lines."""
        files = {file for file in self.arrows if file == name or file.startswith(f"{name}/")}
        if not files:
            raise ToolError(f"{name}: no Rust file of the module, and no folder with one")
        layers = sorted({self.layers.of(file) or "no layer" for file in files if not is_test(file)})
        yield f"{name} ({', '.join(layers)})"
        for title, outwards in (("imports", True), ("is imported by", False)):
            yield f"  {title}:"
            for source, targets in self.arrows.items():
                for target, lines in targets.items():
                    if (source in files) == outwards and (target in files) != outwards:
                        why = self.forbidden.get((source, target))
                        line = f"    {source}:{','.join(map(str, lines))} -> {target}"
                        yield f"{line}, {why}" if why else line
        for others, _circle in self.circles:
            for file in sorted(files.intersection(others)):
                circle = self._with_lines(shortest_circle(self.graph, file))
                yield f"  {file} is in a circle of {len(others)} files: {circle}"


def check(checkout=CHECKOUT, layers=LAYERS):
    """Everything that is wrong, as lines."""
    return Picture(checkout, layers).wrong()


def run(names=(), *, dot=False):
    """Shows what is wrong, the arrows of some files, or (`dot`) the picture; the exit status."""
    picture = Picture()
    if dot:
        print("\n".join(picture.dot()))
        return 0
    for name in names:
        print("\n".join(picture.about(name.rstrip("/"))))
    if names:
        return 0
    wrong = picture.wrong()
    for line in wrong:
        print(line)
    for files, _circle in picture.circles:
        print(f"  the {len(files)}: {' '.join(files)}")
    arrows = sum(map(len, picture.graph.values()))
    circles, forbidden = len(picture.circles), len(picture.forbidden)
    print(
        f"files: {len(picture.graph)}, arrows: {arrows}, circles: {circles}, arrows that are not allowed: {forbidden}"
    )
    return 1 if wrong else 0
