# SPDX-License-Identifier: GPL-2.0
"""Arrows between files: what is one, which way they may point, and circles."""

import contextlib
import io
import pathlib
import tempfile
import unittest
from unittest import mock

from iommu_core_tools import arrows, cli, rust_code
from iommu_core_tools.errors import ToolError


@contextlib.contextmanager
def tree(files, layers=""):
    """A folder with these files, and the path of its tools/config/layers."""
    with tempfile.TemporaryDirectory() as folder:
        base = pathlib.Path(folder)
        for name, text in files.items():
            path = base / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        (base / "layers").write_text(layers, encoding="utf-8")
        yield base, base / "layers"


class Paths(unittest.TestCase):
    """Which files a piece of code in a/b.rs names, and in which lines."""

    # Beside it: the root, its parent, a sibling, a child that has a child, and files elsewhere.
    OTHERS = ("iommu_core.rs", "a.rs", "a/sibling.rs", "a/b/child.rs", "a/b/child/deep.rs", "x.rs", "x/y.rs", "z.rs")

    def named(self, code, **others):
        files = {name: "" for name in self.OTHERS} | {"a/b.rs": code}
        files |= {name.replace("__", "/") + ".rs": text for name, text in others.items()}
        with tree(files) as (base, _layers):
            return arrows.Arrows(base).found["a/b.rs"]

    def expect(self, code, *names, **others):
        self.assertEqual(list(self.named(code, **others)), sorted(names), code)

    def test_lines(self):
        code = "use crate::{\n    x::T,\n    z,\n};\nfn f() { z::f(); crate::x::g() }\n"
        self.assertEqual(self.named(code), {"x.rs": [2, 5], "z.rs": [3, 5]})

    def test_longest_module(self):
        self.expect("use crate::x::T;", "x.rs")
        self.expect("use crate::x::y::T;", "x/y.rs")
        self.expect("use crate::x::y;", "x/y.rs")
        self.expect("use crate::x::other::T;", "x.rs")
        self.expect("use crate::T;", "iommu_core.rs")
        self.expect("use crate::x::T::Variant;", "x.rs")

    def test_trees(self):
        self.expect("use crate::{x::{y::{T, U as V}, W}, z::*};", "x.rs", "x/y.rs", "z.rs")
        self.expect("use crate::x::{self, y};", "x.rs", "x/y.rs")
        self.expect("use {crate::x, super::sibling::T,};", "a/sibling.rs", "x.rs")
        self.expect("use crate::{};")

    def test_self_and_super(self):
        self.expect("use super::T;", "a.rs")
        self.expect("use super::sibling::T;", "a/sibling.rs")
        self.expect("use super::super::x::y::T;", "x/y.rs")
        self.expect("use super::super::T;", "iommu_core.rs")
        self.expect("use self::child::T;", "a/b/child.rs")
        self.expect("use self::child::deep::T;", "a/b/child/deep.rs")
        self.expect("use self::super::T;", "a.rs")
        self.expect("use self::T; use super::b::U; use crate::a::b::V;")

    def test_visibility_imports_nothing(self):
        self.expect("pub(crate) fn f() {} pub(super) struct S(pub(in crate::x) u8, pub (self) u8);")
        self.expect("pub(in crate::x::y) use crate::z::T;", "z.rs")
        self.expect("pub (crate) struct S(pub crate::x::T);", "x.rs")

    def test_declaration_is_no_arrow(self):
        self.expect("mod child; pub(crate) mod other;")

    def test_reexports(self):
        self.expect("mod child; pub use self::child::T;", "a/b/child.rs")
        self.expect("pub(crate) use crate::x::T as U;", "x.rs")
        # The arrow leads to the file in the path; the door has one of its own.
        door = {"x": "mod y; pub use self::y::T;"}
        self.expect("use crate::x::T;", "x.rs", **door)
        self.expect("use crate::{x, z}; fn f(_: x::T) {}", "x.rs", "z.rs", **door)

    def test_paths_in_code(self):
        self.expect("fn f() -> crate::x::T { super::sibling::g(self::child::h()) }",
                    "x.rs", "a/sibling.rs", "a/b/child.rs")  # fmt: skip
        self.expect("mod child; fn f() { child::deep::g() }", "a/b/child/deep.rs")
        self.expect("impl crate::x::T { } impl<D: crate::z::U> Drop for V<D> { }", "x.rs", "z.rs")
        self.expect("fn f() { a::<crate::x::T>::new(0..crate::z::LEN) }", "x.rs", "z.rs")
        self.expect("type T = <crate::x::T as crate::z::U>::V;", "x.rs", "z.rs")
        self.expect("#[derive(crate::x::Derive)] struct S;", "x.rs")
        self.expect("fn f() { crate\n    ::x\n    ::y::g() }", "x/y.rs")
        self.expect("use crate::r#x::T; fn f() { crate::r#z::g() }", "x.rs", "z.rs")
        self.expect("fn f() { if !(crate::x::g()) { 'outer: loop { break 'outer } } }", "x.rs")

    def test_names_that_were_imported(self):
        self.expect("use crate::x; fn f() { x::y::g() }", "x.rs", "x/y.rs")
        self.expect("use crate::x as other; fn f() { other::y::g() }", "x.rs", "x/y.rs")
        self.expect("use crate::x as _; fn f() { x::y::g() }", "x.rs")
        self.expect("use crate::x::{self as other}; use other::y::T;", "x.rs", "x/y.rs")
        self.expect("use super::sibling; use sibling::T;", "a/sibling.rs")
        self.expect("use crate::x::T; fn f() { T::y::g() }", "x.rs")

    def test_names_by_glob(self):
        self.expect("use super::*; fn f() { sibling::g() }", "a.rs", "a/sibling.rs")
        self.expect("use super::*; fn f() { renamed::y::g() }", "a.rs", "x/y.rs", a="use crate::x as renamed;")
        self.expect("use super::*; fn f() { y::g() }", "a.rs", "x/y.rs", a="use crate::x::*;")
        # A name of its own hides it; globs that lead to each other do not end.
        self.expect("use super::*; use core::mem as sibling; fn f() { sibling::g() }", "a.rs")
        self.expect("use super::*; use T::*; fn f() { nothing::g() }", "a.rs", a="pub use self::b::*;")

    def test_names_where_they_hold(self):
        self.expect("fn f() { use crate::x; x::y::g() } fn h() { x::y::g() }", "x.rs", "x/y.rs")
        self.assertEqual(self.named("fn f() { use crate::x; }\nfn h() { x::y::g() }"), {"x.rs": [1]})
        self.expect("use crate::x; fn f() { { x::y::g() } }", "x.rs", "x/y.rs")
        self.expect("use crate::x as n; fn f() { use crate::z as n; n::g() }", "x.rs", "z.rs")
        self.expect("fn f() { use crate::z as child; { child::g() } }", "z.rs")
        self.expect("use crate::x as n; fn f() { use core::mem as n; n::y::g() }", "x.rs")

    def test_modules_written_out(self):
        self.expect("mod inner { use super::child::T; }", "a/b/child.rs")
        self.expect("mod inner { use super::super::sibling::T; }", "a/sibling.rs")
        self.expect("mod inner { pub const C: u8 = 0; } fn f() { inner::C; self::inner::C }")
        # A module does not have the names of the one around it.
        self.expect("use crate::x; mod inner { fn f() { x::y::g() } }", "x.rs")
        self.expect("mod inner { fn f() { child::g() } }")

    def test_cfg_does_not_matter(self):
        code = "#[cfg(A)] use crate::x as n;\n#[cfg(not(A))] use crate::z as n;\nfn f() { n::y::g() }"
        self.assertEqual(self.named(code), {"x.rs": [1], "x/y.rs": [3], "z.rs": [2, 3]})

    def test_macros(self):
        self.expect("fn f() { crate::x::warn!(1) }", "x.rs")
        self.expect("use crate::x::warn; fn f() { warn!(1) }", "x.rs", x="macro_rules! warn {} pub(crate) use warn;")
        self.expect("macro_rules! m { () => { $crate::x::f() }; ($t:ty) => { $t::z::g(); $crate::z!() } }",
                    "x.rs", "z.rs")  # fmt: skip
        self.expect("use crate::x; macro_rules! m { ($x:ty) => { $x::y::g() } }", "x.rs")
        self.expect("use crate::x; macro_rules! m { ($crate_x:ty) => { $crate_x::z::g() } }", "x.rs")
        self.expect("macro_rules! m { () => { use $crate::x::T; } }", "x.rs")
        self.expect("list! { #[cfg(A)] crate::x::T, crate::z::U, }", "x.rs", "z.rs")
        self.expect("macro_rules! m { () => {} } use m; pub(crate) use {m as n};")
        # Modules see the macros of those around them, without a path.
        self.expect("fn f() { warn!(1) }", "a.rs", a="macro_rules! warn { () => {} } mod b;")
        self.expect("fn f() { warn!(1) }", x="macro_rules! warn { () => {} }")
        self.expect("macro_rules! warn { () => {} } fn f() { warn!(1) }", a="macro_rules! warn { () => {} }")
        self.expect("fn f() { use kernel::warn; warn!(1); a != b }", a="macro_rules! warn { () => {} }")

    def test_other_crates(self):
        self.expect("use kernel::{prelude::*, x::y}; use ::x::y as n; fn f() { core::mem::swap(); ::z::f(); n::g() }")
        self.expect("use crate::x; fn f() { ::x::y::g(); <T>::x::y::g() }", "x.rs")
        self.expect("fn f() -> impl T + use<'_> { <T>::x::y() }")

    def test_what_the_kernel_makes(self):
        self.expect("type T = <crate::LocalModule as kernel::ModuleMetadata>::T;")

    def test_code_only(self):
        self.expect(
            "//! See [`T`](crate::x::T).\n/// `use crate::x;`\n/* crate::x::f() */\n"
            'const A: &str = "crate::x::f()"; const B: &str = r#"use crate::x::"T";"#;\n'
            "const C: char = '{'; const D: u8 = b'\\''; const E: &CStr = c\"}\";\n"
            "fn f<'a>(_: &'a str) { crate::z::g() }",
            "z.rs",
        )

    def test_suites(self):
        self.expect("#[kunit_tests(a)] mod tests { use crate::x::T; fn f() { g(|| {}) } } use crate::z::T;", "z.rs")

    def test_what_is_not_understood(self):
        for code, what in (
            ('\n#[path = "x.rs"] mod other;', "2: not understood: a module's file is told by `path`"),
            ('#[cfg_attr(A, path = "x.rs")] mod other;', "`path`"),
            ("use crate::{\nx", "2: not understood: an import without an end"),
            ("macro_rules! m { ($t:path) => { use $t; } }", "an import with 't' in it"),
            ("use crate::{x y};", "an import with 'y' in it"),
            ("fn f() {", "a } is missing"),
            ("fn f() {}\n}", "2: not understood: a } too many"),
        ):
            with self.assertRaises(ToolError, msg=code) as raised:
                self.named(code)
            self.assertIn("a/b.rs:", raised.exception.what)
            self.assertIn(what, raised.exception.what)

    def test_lines_stay_where_they_are(self):
        text = "/* a\nb */ c\n\"d\n\"; e"
        self.assertEqual(rust_code.code_only(text).split("\n"), ["    ", "     c", "  ", " ; e"])


LAYERS = """
layer top
    top/           both top.rs and what is in top/
layer sides/left
    left.rs
layer sides/right
    right.rs
    top/but.rs     # longer, so it counts
layer bottom
    bottom.rs
apart sides/left sides/right
"""
FILES = dict.fromkeys(("top.rs", "top/part.rs", "top/but.rs", "left.rs", "right.rs", "bottom.rs"), "")


class Layers(unittest.TestCase):
    def wrong(self, changed, layers=LAYERS):
        with tree(FILES | changed, layers) as (base, path):
            return arrows.check(base, path)

    def test_down(self):
        good = {
            "top.rs": "use crate::{left::T, right::T, top::part, bottom::T};",
            "top/part.rs": "use crate::{left, right, bottom};",
            "left.rs": "use crate::bottom::T;",
            "right.rs": "use crate::{bottom::T, top::but};",
        }
        self.assertEqual(self.wrong(good), [])

    def test_up(self):
        self.assertEqual(
            self.wrong({"bottom.rs": "\nuse crate::left::T;\nuse crate::left::U;", "top/but.rs": "use super::part;"}),
            [
                "bottom.rs:2: imports left.rs, which is above it (bottom < sides/left)",
                "top/but.rs:1: imports top/part.rs, which is above it (sides/right < top)",
            ],
        )

    def test_apart(self):
        line = "left.rs:1: imports right.rs, which must stay apart from it (sides/left | sides/right)"
        self.assertEqual(self.wrong({"left.rs": "use crate::right::T;"}), [line])
        line = "right.rs:1: imports left.rs, which is above it (sides/right < sides/left)"
        self.assertEqual(self.wrong({"right.rs": "use crate::left::T;"}), [line])

    def test_apart_with_all_below(self):
        layers = LAYERS.replace("apart sides/left sides/right", "apart sides bottom")
        line = "left.rs:1: imports bottom.rs, which must stay apart from it (sides/left | bottom)"
        files = {"left.rs": "use crate::{right::T, bottom::T};"}
        self.assertEqual(self.wrong(files, layers), [line])

    def test_each_file_has_a_layer(self):
        wrong = self.wrong({"new.rs": "use crate::top::T;", "bottom.rs": "use crate::new::T;", "new/tests.rs": ""})
        self.assertEqual(wrong, ["new.rs:1: has no layer in tools/config/layers"])

    def test_each_layer_has_its_files(self):
        for entry in ("gone.rs", "gone/", "to", "tests/"):
            wrong = self.wrong({}, LAYERS + f"layer last\n    {entry}\n")
            self.assertEqual(wrong, [f"tools/config/layers: {entry} is not there"])

    def test_suites(self):
        suites = {
            "left/tests.rs": "use super::*; use crate::{top::T, right::tests::more};",
            "right/tests/more.rs": "use crate::{top::T, right};",
            "left.rs": "mod tests;",
        }
        self.assertEqual(self.wrong(suites), [])
        wrong = self.wrong(suites | {"top.rs": "use crate::left::tests::T;", "left.rs": "use self::tests::T;"})
        self.assertEqual(
            wrong,
            [
                "left.rs:1: imports left/tests.rs, which is a test suite",
                "top.rs:1: imports left/tests.rs, which is a test suite",
            ],
        )

    def test_exceptions(self):
        up = {"bottom.rs": "use crate::top::T;"}
        excepted = LAYERS + "except bottom.rs top.rs because of that\n"
        self.assertEqual(self.wrong(up, excepted), [])
        # It is about one arrow, in one direction.
        self.assertEqual(len(self.wrong({"bottom.rs": "use crate::{top::T, left::T};"}, excepted)), 1)
        stale = ["tools/config/layers: except bottom.rs top.rs: no longer needed"]
        self.assertEqual(self.wrong({}, excepted), stale)
        # One that is never forbidden, and one of a file that is gone.
        down = LAYERS + "except top.rs bottom.rs because\n"
        self.assertEqual(
            self.wrong({"top.rs": "use crate::bottom::T;"}, down),
            ["tools/config/layers: except top.rs bottom.rs: no longer needed"],
        )
        self.assertEqual(len(self.wrong({}, LAYERS + "except gone.rs top.rs because\n")), 1)

    def test_exceptions_of_circles(self):
        circle = {"top.rs": "use self::part::T;", "top/part.rs": "use super::T;"}
        self.assertEqual(len(self.wrong(circle)), 1)
        excepted = LAYERS + "except top/part.rs top.rs because of that\n"
        self.assertEqual(self.wrong(circle, excepted), [])
        self.assertEqual(len(self.wrong({"top/part.rs": "use super::T;"}, excepted)), 1)

    def test_lines_of_the_list(self):
        for line in (
            "    early.rs", "layer", "layer top\nlayer top", "layer two words", "room top", "apart top nothing",
            "layer top\n    a.rs\n    a.rs", "except a.rs b.rs",
            "except a.rs b.rs why\nexcept a.rs b.rs again",
        ):  # fmt: skip
            with self.assertRaises(ToolError, msg=line) as raised:
                self.wrong({}, line)
            number = line.count("\n") + 1
            self.assertIn(f"tools/config/layers:{number}: not understood", raised.exception.what)

    def test_the_list_of_this_tree(self):
        layers = arrows.Layers()
        for source, target in (
            ("frontend/hosted/unit.rs", "frontend/native/units.rs"),
            ("frontend/native.rs", "frontend/hosted.rs"),
            ("frontend/provider/unit.rs", "frontend/hosted/unit.rs"),
            ("frontend/page.rs", "frontend/native/map.rs"),
            ("id_map.rs", "frontend.rs"),
            ("group/member.rs", "id_map.rs"),
            ("domain.rs", "group.rs"),
            ("endpoint.rs", "domain.rs"),
            ("unit.rs", "endpoint.rs"),
            ("ownership.rs", "unit.rs"),
            ("driver.rs", "unit.rs"),
            ("driver.rs", "drivers/intel.rs"),
            ("group.rs", "drivers/mock.rs"),
            ("drivers/intel/vtd.rs", "group.rs"),
            ("drivers/intel/vtd.rs", "drivers/amd/vi.rs"),
            ("drivers/amd/vi.rs", "drivers/intel.rs"),
            ("drivers/shell/queue.rs", "drivers/arm_smmu_v3/queue.rs"),
            ("pgtable/walker.rs", "driver.rs"),
            ("ffi/pci.rs", "pgtable.rs"),
            ("addr.rs", "ffi.rs"),
        ):
            source, target = layers.of(source), layers.of(target)
            self.assertTrue(layers.why_not(source, target), f"{source} -> {target}")
        for source, target in (
            ("frontend/hosted.rs", "drivers/intel.rs"),
            ("frontend/native/probe.rs", "frontend/provider/unit.rs"),
            ("frontend/provider.rs", "frontend/reason.rs"),
            ("id_map.rs", "group/member.rs"),
            ("group.rs", "driver.rs"),
            ("drivers/intel/queue.rs", "drivers/shell/queue.rs"),
            ("drivers/arm_smmu_v3/smmu.rs", "driver.rs"),
            ("driver.rs", "pgtable.rs"),
            ("ffi/pci.rs", "label.rs"),
        ):
            self.assertIsNone(layers.why_not(layers.of(source), layers.of(target)), f"{source} -> {target}")


class Circles(unittest.TestCase):
    def wrong(self, files):
        layers = "layer all\n" + "".join(f"    {name}\n" for name in files if not arrows.is_test(name))
        with tree(files, layers) as (base, path):
            return arrows.check(base, path)

    def test_none(self):
        files = {"a.rs": "use crate::{b, c};", "b.rs": "use crate::{c, b::T};", "c.rs": ""}
        self.assertEqual(self.wrong(files), [])

    def test_two(self):
        files = {"a.rs": "\nuse crate::b;", "b.rs": "fn f() {\n\ncrate::a::g() }"}
        self.assertEqual(self.wrong(files), ["a circle of 2 files: a.rs:2 -> b.rs:3 -> a.rs"])

    def test_door(self):
        files = {"a.rs": "mod b; pub use self::b::T;", "a/b.rs": "use super::U;"}
        self.assertEqual(self.wrong(files), ["a circle of 2 files: a.rs:1 -> a/b.rs:1 -> a.rs"])
        # Past the door there is none.
        self.assertEqual(self.wrong(files | {"a/b.rs": "use super::c::U;", "a/c.rs": ""}), [])
        self.assertEqual(self.wrong({"a.rs": "mod b;", "a/b.rs": "use super::U;"}), [])

    def test_shortest_way(self):
        # e - a - b - c - d - e, and the way back from d to b.
        files = {
            "a.rs": "use crate::b;",
            "b.rs": "use crate::c;",
            "c.rs": "use crate::d;",
            "d.rs": "use crate::e;\nuse crate::b;",
            "e.rs": "use crate::a;",
            "f.rs": "use crate::a;",
        }
        self.assertEqual(self.wrong(files), ["a circle of 5 files: b.rs:1 -> c.rs:1 -> d.rs:2 -> b.rs"])

    def test_each_once(self):
        files = {
            "a.rs": "use crate::{b, c};",
            "b.rs": "use crate::a;",
            "c.rs": "use crate::d;",
            "d.rs": "use crate::c;",
        }
        self.assertEqual(
            self.wrong(files),
            ["a circle of 2 files: a.rs:1 -> b.rs:1 -> a.rs", "a circle of 2 files: c.rs:1 -> d.rs:1 -> c.rs"],
        )

    def test_suites_are_in_none(self):
        files = {"a.rs": "mod tests;", "a/tests.rs": "use super::*; use crate::b::tests::T;"}
        self.assertEqual(self.wrong(files | {"b.rs": "", "b/tests.rs": "use crate::a::tests::T;"}), [])

    def test_exception_for_no_arrow(self):
        files = {"a.rs": "use crate::b;", "b.rs": "use crate::c;", "c.rs": "use crate::a;"}
        layers = "layer all\n    a.rs\n    b.rs\n    c.rs\nexcept b.rs a.rs because\n"
        with tree(files, layers) as (base, path):
            wrong = arrows.check(base, path)
        self.assertEqual(wrong[1:], ["tools/config/layers: except b.rs a.rs: no longer needed"])

    def test_against_distances(self):
        for seed in range(200):
            # A small generator of its own, so that a failure is the same everywhere.
            state, graph = seed + 1, {node: [] for node in range(8)}
            for _ in range(9 + seed % 8):
                state = state * 1103515245 + 12345 & 0x7FFFFFFF
                graph[state >> 8 & 7].append(state >> 16 & 7)
            far = self.distances(graph)
            wanted = {tuple(b for b in graph if b == a or (a, b) in far and (b, a) in far) for a in graph}
            found = arrows.components(graph)
            self.assertEqual(found, sorted(list(nodes) for nodes in wanted if len(nodes) > 1))
            for nodes in found:
                for node in nodes:
                    self.assertEqual(len(arrows.shortest_circle(graph, node)), far[node, node])
                circle = arrows.shortest_circle(graph, *nodes)
                self.assertEqual(len(circle), min(far[node, node] for node in nodes))
                for node, following in zip(circle, circle[1:] + circle[:1]):
                    self.assertIn(following, graph[node])

    @staticmethod
    def distances(graph):
        """How many steps there are from each node to each that it leads to, itself as well (Floyd-Warshall)."""
        far = {(node, target): 1 for node, targets in graph.items() for target in targets}
        for middle in graph:
            for a in graph:
                for b in graph:
                    if (a, middle) in far and (middle, b) in far:
                        far[a, b] = min(far.get((a, b), 99), far[a, middle] + far[middle, b])
        return far


class Shown(unittest.TestCase):
    def shown(self, *argv):
        files = {
            "top.rs": "\nuse crate::bottom;",
            "bottom.rs": "use crate::top::T;",
            "bottom/part.rs": "use crate::top::{T, U}; use super::V;",
            "bottom/tests.rs": "use super::V;",
        }
        layers = "layer top\n    top.rs\nlayer bottom\n    bottom/\n"
        out = io.StringIO()
        with tree(files, layers) as (base, path), contextlib.redirect_stdout(out):
            picture = arrows.Picture(base, path)
            with mock.patch.object(arrows, "Picture", lambda: picture):
                status = cli.main(["arrows", *argv])
        return status, out.getvalue().splitlines()

    def test_what_is_wrong(self):
        status, lines = self.shown()
        self.assertEqual(status, 1)
        self.assertEqual(
            lines,
            [
                "bottom/part.rs:1: imports top.rs, which is above it (bottom < top)",
                "bottom.rs:1: imports top.rs, which is above it (bottom < top)",
                "a circle of 2 files: bottom.rs:1 -> top.rs:2 -> bottom.rs",
                "  the 2: bottom.rs top.rs",
                "files: 3, arrows: 4, circles: 1, arrows that are not allowed: 2",
            ],
        )

    def test_a_file(self):
        self.assertEqual(
            self.shown("bottom.rs"),
            (
                0,
                [
                    "bottom.rs (bottom)",
                    "  imports:",
                    "    bottom.rs:1 -> top.rs, which is above it (bottom < top)",
                    "  is imported by:",
                    "    bottom/part.rs:1 -> bottom.rs",
                    "    bottom/tests.rs:1 -> bottom.rs",
                    "    top.rs:2 -> bottom.rs",
                    "  bottom.rs is in a circle of 2 files: bottom.rs:1 -> top.rs:2 -> bottom.rs",
                ],
            ),
        )

    def test_a_folder(self):
        status, lines = self.shown("bottom/")
        self.assertEqual(status, 0)
        self.assertIn("    bottom/part.rs:1 -> bottom.rs", lines)
        self.assertIn("  is imported by:", lines)

    def test_no_such_file(self):
        with contextlib.redirect_stderr(io.StringIO()) as errors:
            self.assertEqual(self.shown("gone.rs")[0], 1)
        self.assertIn("gone.rs: no Rust file", errors.getvalue())

    def test_dot(self):
        status, lines = self.shown("--dot")
        self.assertEqual(status, 0)
        self.assertEqual(lines[0], "digraph arrows {")
        self.assertIn('    subgraph cluster_1 { label="top"; "top.rs"; }', lines)
        self.assertIn('    "top.rs" -> "bottom.rs" [color=red];', lines)
        self.assertIn('    "bottom/part.rs" -> "bottom.rs";', lines)
        self.assertFalse([line for line in lines if "tests" in line])


if __name__ == "__main__":
    unittest.main()
