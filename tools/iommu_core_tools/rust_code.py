# SPDX-License-Identifier: GPL-2.0
"""What a Rust file says of other modules: its imports, its paths and its macros.

No more of the language is understood than that takes. All code counts, whatever `#[cfg]` says, and so do
the bodies and arguments of macros.
"""

import dataclasses
import re

# What is not code: comments, strings, characters (a lifetime is not one).
_NOT_CODE = re.compile(
    r'//[^\n]*|/\*.*?\*/|b?c?r(#*)".*?"\1|[bc]?"(?:\\.|[^"\\])*"|b?\'(?:\\(?:.|u\{[^}]*\}|x..)|[^\'\\])\'',
    re.S,
)
_TOKEN = re.compile(r"\n|(?:r#)?\w+|::|\S")
_NAME = re.compile(r"(?:r#)?[A-Za-z_]\w*$")
_OPENING = {"(", "[", "{"}


def code_only(text):
    """The text with everything that is not code made blank; lines stay where they are."""
    return _NOT_CODE.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)


class NotUnderstood(Exception):
    """Code that this reader has no rule for. Guessing would hide an import."""

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
        # What a name stands for, as paths that are written in this scope; `#[cfg]` can make it several.
        self.names = {}
        self.globs = []


@dataclasses.dataclass(frozen=True)
class Path:
    """A path with its line, as it is written in a scope."""

    line: int
    scope: Scope
    parts: tuple


class Code:
    """What a file says.

    `modules` are the file's own module and those written out in it, with their scopes; `paths` are all that have
    more than one part or are imported. `calls` are macros that are called by name alone, and `macros` are
    those that the file defines. A module called `tests` that is written out in the file is left out.
    """

    def __init__(self, text, module):
        self.modules = {}
        self.paths = []
        self.calls = []
        self.macros = set()
        self._tokens, self._lines = _tokens(code_only(text))
        self._read(module)

    def _read(self, module):
        tokens, at = self._tokens, 0
        scopes = [self._module(module)]
        while at < len(tokens):
            token, scope = tokens[at], scopes[-1]
            if token == "{":
                scopes.append(Scope(scope.module, scope))
            elif token == "}":
                scopes.pop()
                if not scopes:
                    raise NotUnderstood(self._line(at), "a } too many")
            elif token == "mod" and self._is_name(at + 1) and self._token(at + 2) == "{":
                if tokens[at + 1] == "tests":
                    at = self._end_of_block(at + 2)
                    continue
                scopes.append(self._module((*scope.module, tokens[at + 1])))
                at += 3
                continue
            elif token == "use" and self._token(at + 1) != "<" and self._token(at - 1) != "$":
                at = self._use(at + 1, scope)
                continue
            elif token == "pub" and self._token(at + 1) == "(":
                at = self._visibility(at + 1)
                continue
            elif token == "path" and tokens[at - 2 : at] == ["#", "["]:
                raise NotUnderstood(self._line(at), "#[path]: where the module's file is cannot be told")
            elif token == "macro_rules" and self._token(at + 1) == "!":
                self.macros.add(self._token(at + 2))
                at += 3
                continue
            elif _NAME.match(token):
                at = self._name(at, scope)
                continue
            at += 1
        if len(scopes) != 1:
            raise NotUnderstood(self._line(at - 1), "a } is missing")

    def _module(self, path):
        return self.modules.setdefault(path, Scope(path))

    def _token(self, at):
        return self._tokens[at] if 0 <= at < len(self._tokens) else ""

    def _line(self, at):
        return self._lines[min(at, len(self._lines) - 1)] if self._lines else 1

    def _is_name(self, at):
        return bool(_NAME.match(self._token(at)))

    def _end_of_block(self, at):
        """Where the block that begins at `at` has ended."""
        depth = 0
        while at < len(self._tokens):
            depth += {"{": 1, "}": -1}.get(self._tokens[at], 0)
            at += 1
            if depth == 0:
                break
        return at

    def _visibility(self, at):
        """Skips the brackets of `pub(crate)` and `pub(in path)`, which import nothing."""
        if self._token(at + 1) == "in" or self._token(at + 2) == ")":
            while self._token(at) not in (")", ""):
                at += 1
        return at

    def _name(self, at, scope):
        """A name in the code, which a path or the call of a macro may begin with."""
        if self._token(at + 1) == "!" and self._token(at + 2) in _OPENING and self._token(at - 1) != "::":
            self.calls.append(Path(self._line(at), scope, (self._tokens[at],)))
            return at + 2
        begin, parts = at, [self._tokens[at]]
        while self._token(at + 1) == "::" and self._is_name(at + 2):
            at += 2
            parts.append(self._tokens[at])
        before = self._token(begin - 1)
        # Not below what only the compiler knows: another crate, a type's or a macro's argument.
        known = before != "::" and (before != "$" or parts[0] == "crate")
        if known and len(parts) > 1:
            self.paths.append(Path(self._line(begin), scope, tuple(parts)))
        return at + 1

    def _use(self, at, scope):
        """An import, of which the tree begins at `at`; where the import has ended."""
        if self._token(at) == "::":
            # Another crate's.
            while self._token(at) not in (";", ""):
                at += 1
            return at
        end = self._tree(at, scope, ())
        if self._token(end) != ";":
            raise NotUnderstood(self._line(at), "an import that has no end here")
        return end

    def _tree(self, at, scope, before):
        """One tree of an import below the path `before`; where it has ended."""
        parts, line = list(before), self._line(at)
        while True:
            token = self._token(at)
            if token == "{":
                at += 1
                while self._token(at) != "}":
                    at = self._tree(at, scope, tuple(parts))
                    if self._token(at) == ",":
                        at += 1
                    elif self._token(at) != "}":
                        raise NotUnderstood(self._line(at), f"{self._token(at)!r} in an import")
                return at + 1
            if token == "*":
                scope.globs.append(tuple(parts))
                self.paths.append(Path(line, scope, tuple(parts)))
                return at + 1
            if token == "$" and self._token(at + 1) == "crate":
                at += 1
                token = "crate"
            if not _NAME.match(token):
                raise NotUnderstood(self._line(at), f"{token!r} in an import")
            if token != "self" or not parts:
                parts.append(token)
            at += 1
            if self._token(at) != "::":
                break
            at += 1
        name = parts[-1]
        if self._token(at) == "as":
            name = self._token(at + 1)
            at += 2
        if parts:
            scope.names.setdefault(name, []).append(tuple(parts))
            self.paths.append(Path(line, scope, tuple(parts)))
        return at


def _tokens(code):
    """The tokens, and the line of each."""
    tokens, lines, line = [], [], 1
    for match in _TOKEN.finditer(code):
        token = match[0]
        if token == "\n":
            line += 1
        else:
            tokens.append(token.removeprefix("r#"))
            lines.append(line)
    return tokens, lines
