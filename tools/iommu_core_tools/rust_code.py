# SPDX-License-Identifier: GPL-2.0
"""Reads from a Rust file what it names of other modules: imports, paths and macros.

The reader understands only this part of the language. All code counts, whatever `#[cfg]` says, also the bodies and
arguments of macros.
"""

import bisect
import dataclasses
import re

# What is not code: comments, strings, characters (a lifetime is not one).
_NOT_CODE = re.compile(
    r'//[^\n]*|/\*.*?\*/|b?c?r(#*)".*?"\1|[bc]?"(?:\\.|[^"\\])*"|b?\'(?:\\(?:.|u\{[^}]*\}|x..)|[^\'\\])\'',
    re.S,
)
_NAME = r"(?:r\#)?[A-Za-z_]\w*"
_WHAT_COUNTS = re.compile(
    # Matches a name or path up to its end, so that no part of it is taken for another name.
    rf"""
    (?= [\w$:{{}}] ) (?:
      (?P<import> (?<! [\w\#$] ) use \b (?! \s* < ) [^;]* ;? )
    | (?<! [\w\#] ) pub \s* \( \s* (?: in \b [^)]* | {_NAME} \s* ) \)    # imports nothing
    | (?<! \w ) macro_rules \s* ! \s* (?P<macro> {_NAME} )
    | (?P<place> (?<! \w ) path \s* = (?= \s* [\])] ) )
    | (?<! \w ) mod \s+ (?P<module> {_NAME} ) \s* \{{
    | (?P<call> {_NAME} ) \s* ! (?= \s* [(\[{{] )
    | (?P<path> (?: \$ | :: \s* )? {_NAME} (?: \s* :: \s* {_NAME} )* )
    | (?P<brace> [{{}}] )
    )""",
    re.X,
)
_IMPORT_TOKEN = re.compile(rf"{_NAME}|::|\S")


def code_only(text):
    """Replaces everything that is not code by blanks. The lines stay the same."""
    return _NOT_CODE.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)


class NotUnderstood(Exception):
    """Code that this reader has no rule for. A guess could hide an import."""

    def __init__(self, line, what):
        super().__init__(what)
        self.line = line
        self.what = what


class Scope:
    """A block or a module, and the names that `use` brings into it.

    `module` is the path of the innermost module, below the crate. `outer` is the scope around, whose names are
    known here too; a module has none.
    """

    def __init__(self, module, outer=None):
        self.module = module
        self.outer = outer
        # What a name stands for, as paths written in this scope. With `#[cfg]` they can be several.
        self.names = {}
        self.globs = []


@dataclasses.dataclass(frozen=True)
class Path:
    """A path, as it is written in a line of a scope."""

    line: int
    scope: Scope
    parts: tuple


class Code:
    """What a file names.

    `modules` are the file's own module and those written out in it, with their scopes. `paths` are imports, and
    what has more than one part. `calls` are macros that are called by name alone, and `macros` are those that
    the file defines. A module called `tests` that is written out in the file is left out.
    """

    def __init__(self, text, module):
        self._text = code_only(text)
        self._lines = [match.start() for match in re.finditer(r"\n", self._text)]
        self.modules = {}
        self.paths = []
        self.calls = []
        self.macros = set()
        self._read(module)

    def _read(self, module):
        scopes = [self._module(module)]
        # The number of scopes before a suite began.
        suite = None
        for match in _WHAT_COUNTS.finditer(self._text):
            scope, at, kind = scopes[-1], match.start(match.lastgroup or 0), match.lastgroup
            if kind == "module":
                name = match[kind].removeprefix("r#")
                if suite is None and name == "tests":
                    suite = len(scopes)
                scopes.append(self._module((*scope.module, name)))
            elif kind == "brace" and match[0] == "{":
                scopes.append(Scope(scope.module, scope))
            elif kind == "brace":
                if len(scopes) == 1:
                    raise NotUnderstood(self._line(at), "a } too many")
                scopes.pop()
                suite = None if suite == len(scopes) else suite
            elif suite is not None:
                pass
            elif kind == "import":
                _Import(self, scope, at, match[kind]).read()
            elif kind == "place":
                raise NotUnderstood(self._line(at), "a module's file is told by `path`")
            elif kind == "macro":
                self.macros.add(match[kind])
            elif kind == "call":
                self.calls.append(Path(self._line(at), scope, (match[kind],)))
            elif kind == "path":
                self._path(scope, at, match[kind])
        if len(scopes) > 1:
            raise NotUnderstood(self._line(len(self._text)), "a } is missing")

    def _module(self, path):
        return self.modules.setdefault(path, Scope(path))

    def _line(self, at):
        return bisect.bisect_left(self._lines, at) + 1

    def _path(self, scope, at, text):
        # `::x::y` is another crate's, or follows a type in brackets; a macro is given `$x`.
        first, *rest = (_plain(part) for part in text.split("::"))
        if rest and first and (first[0] != "$" or first == "$crate"):
            self.paths.append(Path(self._line(at), scope, (first.removeprefix("$"), *rest)))


class _Import:
    """A reader of one import."""

    def __init__(self, code, scope, at, text):
        self._code = code
        self._scope = scope
        self._tokens = [(match[0], at + match.start()) for match in _IMPORT_TOKEN.finditer(text)]
        self._next = 1

    def read(self):
        """Enters all that it imports."""
        if self._token() == "::":
            return  # Another crate's.
        self._tree(())
        self._take(";")

    def _token(self):
        return self._tokens[self._next][0] if self._next < len(self._tokens) else ""

    def _line(self):
        return self._code._line(self._tokens[min(self._next, len(self._tokens) - 1)][1])

    def _take(self, *wanted):
        """Goes past the next token, which is one of these."""
        token = self._token()
        if token not in wanted:
            what = f"an import with {token!r} in it" if token else "an import without an end"
            raise NotUnderstood(self._line(), what)
        self._next += 1
        return token

    def _tree(self, before):
        """Enters one tree, below the path `before`."""
        parts, line = before, self._line()
        while True:
            if self._token() == "{":
                self._next += 1
                while self._token() != "}":
                    self._tree(parts)
                    if self._token() != "}":
                        self._take(",")
                self._next += 1
                return
            if self._token() == "*":
                self._next += 1
                self._scope.globs.append(parts)
                break
            if self._token() == "$":
                self._next += 1
                self._take("crate")
                parts = ("crate",)
            else:
                parts = self._name(parts)
            if self._token() != "::":
                name = parts[-1]
                if self._token() == "as":
                    self._next += 1
                    [name] = self._name(())
                self._scope.names.setdefault(name, []).append(parts)
                break
            self._next += 1
        self._code.paths.append(Path(line, self._scope, parts))

    def _name(self, before):
        """Goes past a name; the path with it. `self` at the end of a path is the path."""
        name = _plain(self._token())
        if not re.fullmatch(_NAME, name):
            self._take("a name")
        self._next += 1
        return before if name == "self" and before else (*before, name)


def _plain(name):
    return name.strip().removeprefix("r#")
