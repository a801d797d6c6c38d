# SPDX-License-Identifier: GPL-2.0
"""Draws the arrows between the files of the module, and checks where they point.

An arrow leads from a file to another that it names something of: by `use`, by a path in its code, or by a
re-export. It leads to the file that the path names, not to where that one has the name from. Declaring a
module is no arrow. Suites may name anything, and nothing but a suite may name something of them.

tools/config/layers says which layer each file belongs to. No arrow points up between layers, and none of them are
a circle.
"""

import collections
import pathlib
import re

from . import rust_code
from .errors import ToolError
from .paths import CHECKOUT, CONFIG
from .sync import kernel_files

_ROOT = "iommu_core.rs"
LAYERS = CONFIG / "layers"
# What the kernel's `module!` makes in the crate's root: it is the crate's, and no file's.
_MADE = {("LocalModule",), ("THIS_MODULE",)}


def is_test(name):
    """Whether a file is (part of) a suite."""
    path = pathlib.PurePath(name)
    return path.name == "tests.rs" or "tests" in path.parts


# --- the arrows -------------------------------------------------------------------------------


class Arrows:
    """The arrows of a tree: `found[source][target]` are the lines in `source` that name something of `target`."""

    def __init__(self, checkout=CHECKOUT):
        names = [path.as_posix() for path in kernel_files(checkout) if path.suffix == ".rs"]
        self._files = {_module_of(name): name for name in names}
        self._code, self._scopes = {}, {}
        for module, name in self._files.items():
            try:
                code = rust_code.Code((checkout / name).read_text(encoding="utf-8"), module)
            except rust_code.NotUnderstood as error:
                raise ToolError(f"{name}:{error.line}: not understood: {error.what}") from error
            self._code[name] = code
            self._scopes.update(code.modules)
        self.files = names
        self.found = {name: self._from(name) for name in names}

    def _from(self, name):
        found = {}
        for path in self._code[name].paths:
            for target in self._resolve(path.scope, path.parts, set()):
                self._add(found, name, self._file(target), path.line)
        for call in self._code[name].calls:
            if target := self._defined_around(name, call):
                self._add(found, name, target, call.line)
        return {target: sorted(lines) for target, lines in sorted(found.items())}

    @staticmethod
    def _add(found, source, target, line):
        if target not in (None, source):
            found.setdefault(target, set()).add(line)

    def _file(self, path):
        """The file of the longest part of a path that is a module."""
        if path in _MADE:
            return None
        while path not in self._files and path:
            path = path[:-1]
        return self._files.get(path)

    def _resolve(self, scope, parts, seen):
        """What a path in a scope can stand for, as paths below the crate; nothing if another crate's."""
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
            if found := self._look_up(scope, first, seen):
                return [path + rest for path in found]
            scope = scope.outer
        return []

    def _look_up(self, scope, name, seen):
        """What a name stands for in one scope."""
        if (id(scope), name) in seen:
            return []
        seen.add((id(scope), name))
        found = [path for parts in scope.names.get(name, ()) for path in self._resolve(scope, parts, seen)]
        child = (*scope.module, name)
        if not found and scope.outer is None and child in self._scopes:
            found = [child]
        for parts in () if found else scope.globs:
            for path in self._resolve(scope, parts, seen):
                if path in self._scopes:
                    found += self._look_up(self._scopes[path], name, seen)
        return found

    def _defined_around(self, name, call):
        """The file around a file that defines a macro which is called by its name alone."""
        [macro], scope = call.parts, call.scope
        if macro in self._code[name].macros:
            return None
        while scope is not None:
            if macro in scope.names:
                return None  # The import is an arrow already.
            module, scope = scope.module, scope.outer
        while module:
            module = module[:-1]
            around = self._files.get(module)
            if around in self._code and macro in self._code[around].macros:
                return around
        return None


def _module_of(name):
    """The path below the crate of the module that a file is."""
    return () if name == _ROOT else tuple(name.removesuffix(".rs").split("/"))


# --- layers -----------------------------------------------------------------------------------


class Layers:
    """What tools/config/layers says: see there."""

    def __init__(self, path=LAYERS):
        self.path = path
        self._order = []
        self._of = {}
        self._apart = []
        self.exceptions = {}
        layer = None
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            line = line.partition("#")[0]
            words = line.split()
            if not words:
                continue
            if line[0].isspace() and layer and len(words) == 1:
                self._of[words[0]] = layer
            elif words[0] == "layer" and len(words) == 2:
                layer = words[1]
                self._order.append(layer)
            elif words[0] == "apart" and len(words) > 2:
                self._apart.append(words[1:])
            elif words[0] == "except" and len(words) > 3:
                self.exceptions[words[1], words[2]] = " ".join(words[3:])
            else:
                raise ToolError(f"tools/config/layers:{number}: not understood: {line.strip()}")

    def of(self, name):
        """The layer of a file: what the longest entry says that it is part of; None if no entry does."""
        found = [entry for entry in self._of if _is_part(name, entry)]
        return self._of[max(found, key=len)] if found else None

    def wrong(self, source, target):
        """Why no file of the layer `source` may name something of the layer `target`; None if it may."""
        if self._order.index(source) > self._order.index(target):
            return f"which is above it ({source} < {target})"
        for names in self._apart:
            sides = [[name for name in names if f"{layer}/".startswith(f"{name}/")] for layer in (source, target)]
            if all(sides) and sides[0] != sides[1]:
                return f"which it has to stand apart from ({source} | {target})"
        return None

    def unused(self, names):
        """Entries that no file is part of."""
        return [entry for entry in self._of if not any(_is_part(name, entry) for name in names)]


def _is_part(name, entry):
    """Whether a file is what an entry names. A folder has the file in it that declares it."""
    return name == entry or (entry.endswith("/") and (name.startswith(entry) or name == f"{entry[:-1]}.rs"))


# --- circles ----------------------------------------------------------------------------------


def knots(graph):
    """The sets of nodes, larger than one, of which each leads to every other."""
    index, low, on, stack, found = {}, {}, set(), [], []
    for root in graph:
        work = [] if root in index else [(root, None)]
        while work:
            node, nexts = work.pop()
            if nexts is None:
                index[node] = low[node] = len(index)
                stack.append(node)
                on.add(node)
                nexts = iter(graph.get(node, ()))
            for target in nexts:
                if target not in index:
                    work += [(node, nexts), (target, None)]
                    break
                if target in on:
                    low[node] = min(low[node], low[target])
            else:
                if work:
                    before = work[-1][0]
                    low[before] = min(low[before], low[node])
                if low[node] == index[node]:
                    at = stack.index(node)
                    knot, stack[at:] = stack[at:], []
                    on -= set(knot)
                    if len(knot) > 1:
                        found.append(sorted(knot))
    return sorted(found)


def shortest_circle(graph, within, begin=None):
    """A shortest way from a node (default: from any) of the set `within` back to it, by nodes of that set."""
    best = None
    for start in [begin] if begin else sorted(within):
        came, queue = {}, collections.deque([start])
        while queue and start not in came:
            node = queue.popleft()
            for target in graph.get(node, ()):
                if target in within and target not in came:
                    came[target] = node
                    queue.append(target)
        if start not in came:
            continue
        way = [came[start]]
        while way[-1] != start:
            way.append(came[way[-1]])
        way.reverse()
        if best is None or len(way) < len(best):
            best = way
    return best


# --- the check --------------------------------------------------------------------------------


class Picture:
    """The arrows of a tree, and what is wrong with them.

    `upward` is `{(source, target): why}`; `circles` are pairs of all files of one and its shortest way.
    """

    def __init__(self, checkout=CHECKOUT, layers=LAYERS):
        self.arrows = Arrows(checkout)
        self.layers = Layers(layers)
        self.graph = {
            name: [target for target in targets if not is_test(target)]
            for name, targets in self.arrows.found.items()
            if not is_test(name)
        }
        self._upward = {}
        for source, targets in self.arrows.found.items():
            for target in [] if is_test(source) else targets:
                if why := self._why_wrong(source, target):
                    self._upward[source, target] = why
        excepted = self.layers.exceptions
        self.upward = {arrow: why for arrow, why in self._upward.items() if arrow not in excepted}
        straight = {
            source: [target for target in targets if (source, target) not in excepted]
            for source, targets in self.graph.items()
        }
        self.circles = [(knot, shortest_circle(straight, set(knot))) for knot in knots(straight)]

    def _why_wrong(self, source, target):
        if is_test(target):
            return "which is for tests alone"
        layers = self.layers.of(source), self.layers.of(target)
        return self.layers.wrong(*layers) if all(layers) else None

    def lines(self, source, target):
        """The lines of a file that name something of another."""
        return self.arrows.found[source][target]

    def wrong(self):
        """Everything that is wrong, as lines."""
        files = [name for name in self.arrows.files if not is_test(name)]
        found = [f"{name}:1: has no layer in tools/config/layers" for name in files if not self.layers.of(name)]
        found += [f"tools/config/layers: {entry} is not there" for entry in self.layers.unused(files)]
        for (source, target), why in self.upward.items():
            found.append(f"{source}:{self.lines(source, target)[0]}: imports {target}, {why}")
        found += [f"a circle of {len(knot)} files: {self.way(way)}" for knot, way in self.circles]
        in_knots = [set(knot) for knot in knots(self.graph)]
        for arrow in self.layers.exceptions:
            in_circle = any(knot.issuperset(arrow) for knot in in_knots)
            if arrow[1] not in self.arrows.found.get(arrow[0], ()) or not (in_circle or arrow in self._upward):
                found.append(f"tools/config/layers: except {' '.join(arrow)}: no such arrow is wrong")
        return found

    def way(self, files):
        """A circle as people read it: each file with the line that names the next."""
        steps = zip(files, [*files[1:], files[0]])
        return " -> ".join([f"{source}:{self.lines(source, target)[0]}" for source, target in steps] + [files[0]])

    def dot(self):
        """The picture for graphviz: a frame for each layer, and in red what is wrong."""
        by_layer = {}
        for name in self.graph:
            by_layer.setdefault(self.layers.of(name) or "no layer", []).append(name)
        yield "digraph arrows {"
        yield "    rankdir=TB; node [shape=box];"
        for number, (layer, names) in enumerate(by_layer.items()):
            nodes = "".join(f' "{name}";' for name in names)
            yield f'    subgraph cluster_{number} {{ label="{layer}";{nodes} }}'
        for source, targets in self.graph.items():
            for target in targets:
                in_circle = any(source in knot and target in knot for knot, _way in self.circles)
                color = " [color=red]" if in_circle or (source, target) in self.upward else ""
                yield f'    "{source}" -> "{target}"{color};'
        yield "}"

    def about(self, name):
        """What a file, or a folder with all that is in it, imports and is imported by, as lines."""
        files = {file for file in self.arrows.files if file == name or file.startswith(f"{name}/")}
        if not files:
            raise ToolError(f"{name}: no Rust file or folder of the module")
        yield f"{name} ({', '.join(sorted({self.layers.of(file) or 'no layer' for file in files}))})"
        for title, outwards in (("imports", True), ("is imported by", False)):
            yield f"  {title}:"
            for source, targets in self.arrows.found.items():
                for target, lines in targets.items():
                    if (source in files) == outwards and (target in files) != outwards:
                        numbers = ",".join(map(str, lines))
                        why = self.upward.get((source, target))
                        yield f"    {source}:{numbers} -> {target}" + (f", {why}" if why else "")
        for knot, _way in self.circles:
            for file in sorted(files.intersection(knot)):
                way = self.way(shortest_circle(self.graph, set(knot), file))
                yield f"  {file} is in a circle of {len(knot)}: {way}"


def check(checkout=CHECKOUT, layers=LAYERS):
    """Everything that is wrong, as lines."""
    return Picture(checkout, layers).wrong()


def run(names=(), *, dot=False):
    """Shows the picture, or what files have to do with others; the exit status."""
    picture = Picture()
    if dot:
        print("\n".join(picture.dot()))
        return 0
    if names:
        for name in names:
            print("\n".join(picture.about(name.rstrip("/"))))
        return 0
    wrong = picture.wrong()
    for line in wrong:
        print(line)
    for knot, _way in picture.circles:
        print(f"  the {len(knot)}: {' '.join(knot)}")
    arrows = sum(map(len, picture.graph.values()))
    circles, upward = len(picture.circles), len(picture.upward)
    print(f"{len(picture.graph)} files, {arrows} arrows; {circles} circles, {upward} arrows that may not be")
    return 1 if wrong else 0
