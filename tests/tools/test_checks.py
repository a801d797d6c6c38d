# SPDX-License-Identifier: GPL-2.0
"""The checks on the source: unsafe rooms, code that must not compile, copies for builds."""

import json
import pathlib
import tempfile
import unittest

from iommu_core_tools import compile_fail, lint, sync, unsafe_rooms

_FORBID = "#![forbid(unsafe_code)]\n"


class UnsafeRooms(unittest.TestCase):
    def check(self, allowed, **files):
        with tempfile.TemporaryDirectory() as folder:
            base = pathlib.Path(folder)
            for name, text in files.items():
                path = base / (name.replace("__", "/") + ".rs")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            return unsafe_rooms.check(base, allowed)

    def test_code_only(self):
        text = "// unsafe\nlet a = \"unsafe\"; /* unsafe\nunsafe */ let c = '\"';\nunsafe { x() }\nlet l: &'a str = r#\"unsafe\"#;\n"
        self.assertEqual(unsafe_rooms.unsafe_lines(text), [4])

    def test_rooms(self):
        good = self.check(["ffi/"], ffi__a="unsafe {}", domain=_FORBID)
        self.assertEqual(good, [])

    def test_outside(self):
        wrong = self.check(["ffi/"], ffi__a="", domain=_FORBID + "unsafe {}")
        self.assertEqual(len(wrong), 1)
        self.assertIn("domain.rs:2", wrong[0])

    def test_attribute_missing(self):
        self.assertEqual(self.check([], domain="fn f() {}"), ["domain.rs:1: lacks #![forbid(unsafe_code)]"])

    def test_parents_of_rooms_and_suites_need_no_attribute(self):
        wrong = self.check(["a/room.rs"], a="mod room;", a__room="unsafe {}", b__tests="", a__other=_FORBID)
        self.assertEqual(wrong, [])

    def test_room_that_is_gone(self):
        self.assertIn("gone.rs is not there", self.check(["gone.rs"], domain=_FORBID)[0])


class CompileFail(unittest.TestCase):
    def message(self, line, code, name="tests/compile_fail/case.rs", level="error"):
        span = {"file_name": name, "line_start": line, "is_primary": True}
        return json.dumps({"level": level, "code": {"code": code}, "message": "m", "spans": [span]})

    def test_expected(self):
        text = "fn a() {}\nlet x = y; //~ E0521\n// ~E1\nx //~ may not live\n"
        self.assertEqual(compile_fail.expected_in(text), [(2, "E0521"), (4, "may not live")])

    def test_errors(self):
        output = "\n".join(
            [
                "make noise",
                self.message(3, "E0597"),
                self.message(3, "E0597"),
                self.message(1, "unused", level="warning"),
                self.message(9, "E0001", name="domain.rs"),
                json.dumps({"level": "error", "message": "aborting", "spans": []}),
            ]
        )
        found = compile_fail.errors_in(output, pathlib.Path("/x/tests/compile_fail/case.rs"))
        self.assertEqual(found, [(3, "E0597"), ("domain.rs:9", "E0001")])
        text = compile_fail.difference([(3, "E0597"), (4, "E0004")], found)
        self.assertEqual(text, "line 4: E0004 expected\nline domain.rs:9: E0001 not expected")


class Shell(unittest.TestCase):
    def test_which_files(self):
        found = lint.shell_files()
        for name in (".ci/run", "packaging/root/usr/lib/iommu-core/load", "packaging/debian/modules.postinst", "tools/bootstrap.sh"):
            self.assertIn(name, found)
        self.assertEqual([name for name in found if name.endswith((".py", ".md", ".rs")) or name == "tools/ic"], [])

    def test_names_and_first_lines(self):
        for name, first, expected in (
            ("a.sh", "", True), ("a", "#!/bin/sh", True), ("a", "#! /bin/bash -e", True), ("a", "#!/usr/bin/env bash", True),
            ("a", "#!/bin/shx", False), ("a", "#!/usr/bin/env python3", False), ("a.md", "/bin/sh", False),
        ):  # fmt: skip
            self.assertEqual(bool(lint._is_shell(name, first)), expected, (name, first))


class Names(unittest.TestCase):
    def test_hosts(self):
        host = ".".join(("deb", "debian", "org"))  # in parts, or this file would fail the check
        self.assertTrue(lint._HOST.search(f"deb http://{host}/debian trixie main"))
        self.assertFalse(lint._HOST.search("a Debian archive"))


class Comments(unittest.TestCase):
    def test_widths(self):
        def wrong(name, line):
            return lint.wide_comments(name, f"first\n{line}\n")

        for name, mark in (("a.rs", "//"), ("a.rs", "    /// "), ("a.rs", "//! "), ("a.py", "# "), ("Kbuild", "#")):
            self.assertEqual(wrong(name, mark + "x" * (100 - len(mark))), [])
            found = wrong(name, mark + "x" * (101 - len(mark)))
            self.assertEqual(found, [f"{name}:2: a comment of 101 columns, 100 is the most"])
            # Columns, not bytes.
            self.assertEqual(wrong(name, mark + "−" * (100 - len(mark))), [])
        # Code is rustfmt's business, and a table's row cannot be broken.
        self.assertEqual(wrong("a.rs", "let text = " + "x" * 100), [])
        self.assertEqual(wrong("a.rs", "/// | " + "x" * 100), [])


class Sync(unittest.TestCase):
    def test_only_kernel_code_and_only_changes(self):
        with tempfile.TemporaryDirectory() as folder:
            source, target = pathlib.Path(folder, "s"), pathlib.Path(folder, "t")
            for name in ("Kbuild", "a.rs", "sub/b.rs", "tests/c.rs", "tests/api/d.c", "README.md", "a.o"):
                (source / name).parent.mkdir(parents=True, exist_ok=True)
                (source / name).write_text(name)
            self.assertTrue(sync.sync(target, source))
            names = sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file())
            self.assertEqual(names, ["Kbuild", "a.rs", "sub/b.rs", "tests/api/d.c"])
            (target / "a.o").write_text("object")
            before = (target / "a.rs").stat().st_mtime_ns
            self.assertFalse(sync.sync(target, source))
            self.assertEqual((target / "a.rs").stat().st_mtime_ns, before)
            (source / "sub/b.rs").unlink()
            self.assertTrue(sync.sync(target, source))
            self.assertFalse((target / "sub/b.rs").exists())
            self.assertTrue((target / "a.o").exists())
            self.assertEqual(sync.kernel_files(source, [sync.API_SUITE]), [pathlib.Path("tests/api/d.c")])


if __name__ == "__main__":
    unittest.main()
