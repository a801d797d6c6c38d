# SPDX-License-Identifier: GPL-2.0
"""The figures of path_bench as tables in Documentation/performance.md, and as a picture beside it."""

import math
import re
from xml.sax import saxutils

from .errors import ToolError
from .paths import CHECKOUT

_PAGE = CHECKOUT / "Documentation/performance.md"
_PICTURE = CHECKOUT / "Documentation/performance.svg"
_BEGIN = "<!-- {}: made by `tools/ic bench --publish` -->\n"
_END = "<!-- end of {} -->"
_NAMES = {"vtd": "VT-d", "vtd-caching": "VT-d, caching mode", "amdvi": "AMD-Vi", "smmuv3": "SMMUv3"}
# One operation with more and more of something.
GROWING = re.compile(r"(?P<what>.*), (?P<count>\d+) (?P<of>mappings|domains|endpoints)$")
_MEMORY = "memory"
_COUNTED = ("commands", "waits")


def publish(figures):
    """Writes the tables and the picture."""
    text = _PAGE.read_text(encoding="utf-8")
    for name, table in (
        ("paths", _paths(figures)), ("growth", _growth(figures)), ("commands", _commands(figures)),
        ("memory", _memory(figures)),
    ):  # fmt: skip
        text = _replaced(text, name, table)
    _PAGE.write_text(text, encoding="utf-8")
    _PICTURE.write_text(picture(figures), encoding="utf-8")


def publish_native(figures):
    """Writes the table of the figures of native kernels that have a bar."""
    text = _PAGE.read_text(encoding="utf-8")
    _PAGE.write_text(_replaced(text, "native", _native(figures)), encoding="utf-8")


def _replaced(text, name, table):
    """The text with another table between the two comments that have the table's name."""
    before, begin, rest = text.partition(_BEGIN.format(name))
    _, end, after = rest.partition(_END.format(name))
    if not end:
        raise ToolError(f"{_PAGE.name} has no place for the table of {name}")
    return f"{before}{begin}\n{table}\n\n{end}{after}"


def _table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _units(figures):
    """The units in the order of the measurement."""
    return list(dict.fromkeys(figure.unit for figure in figures))


def _rows(figures, wanted):
    """`{(operation, call): {unit: figure}}` of the wanted figures."""
    rows = {}
    for figure in filter(wanted, figures):
        rows.setdefault((figure.operation, figure.call), {})[figure.unit] = figure
    return rows


def _native(figures):
    """One row for each figure that has a bar and each unit: with C's driver, and with ours."""
    rows = {}
    for figure in figures:
        unit, whose = figure.unit.split()
        if figure.bar is not None:
            ratio = f"{figure.ratio:.2f}" if figure.passes else f"**{figure.ratio:.2f}**"
            cell = f"{figure.ours:,} / {figure.c:,} = {ratio} (bar {figure.bar:.2f})"
            rows.setdefault((figure.operation, figure.call, _NAMES[unit]), {})[whose] = cell
    lines = [[*key, row["core-c"], row["core"]] for key, row in sorted(rows.items())]
    return _table(["operation", "call", "unit", "the core with C's driver", "the core with ours"], lines)


def _is_path(figure):
    return (
        not GROWING.match(figure.operation) and figure.operation != _MEMORY and figure.call not in _COUNTED
        and not figure.operation.endswith(", unattached")
    )  # fmt: skip


def _paths(figures):
    """Each path: ours, C's, the ratio; bold if it is above its bar."""
    units = _units(figures)
    rows = []
    for (operation, call), row in _rows(figures, _is_path).items():
        cells = []
        for unit in units:
            figure = row[unit]
            ratio = f"{figure.ratio:.2f}"
            cells.append(f"{figure.ours:,} / {figure.c:,} = {ratio if figure.passes else f'**{ratio}**'}")
        bars = {f"{row[unit].bar:.2f}" if row[unit].bar is not None else "" for unit in units}
        rows.append([operation, call, *cells, " to ".join(sorted(bars))])
    return _table(["operation", "call", *(_NAMES[unit] for unit in units), "bar"], rows)


def families(figures):
    """`{(unit, what, of, call): [figure...]}` of what was measured with more and more of something."""
    found = {}
    for figure in figures:
        if match := GROWING.match(figure.operation):
            key = figure.unit, match["what"], match["of"], figure.call
            found.setdefault(key, []).append((int(match["count"]), figure))
    return {key: [figure for _, figure in sorted(of, key=lambda pair: pair[0])] for key, of in found.items()}


def _growth(figures):
    """What a call takes with the least and with the most of something."""
    units = _units(figures)
    rows = {}
    for (unit, what, of, call), row in families(figures).items():
        if call in _COUNTED:
            continue
        first, last = (GROWING.match(figure.operation)["count"] for figure in (row[0], row[-1]))
        key = f"{what}, {call}", f"{int(first):,} to {int(last):,} {of}"
        cell = f"{row[0].ours:,} to {row[-1].ours:,} (C: {row[0].c:,} to {row[-1].c:,})"
        rows.setdefault(key, {})[unit] = cell
    lines = [[*key, *(row[unit] for unit in units)] for key, row in rows.items()]
    return _table(["call", "with", *(_NAMES[unit] for unit in units)], lines)


def _commands(figures):
    """What a unit gets, and how many of them wait: ours / C's."""
    units = _units(figures)
    rows = []
    counted = _rows(figures, lambda figure: figure.call in _COUNTED)
    for operation in dict.fromkeys(operation for operation, _ in counted):
        commands, waits = (counted[operation, call] for call in _COUNTED)
        cells = [
            f"{commands[unit].ours} and {waits[unit].ours} (C: {commands[unit].c} and {waits[unit].c})"
            for unit in units
        ]
        rows.append([operation, *cells])
    return _table(["operation", *(_NAMES[unit] for unit in units)], rows)


def _memory(figures):
    units = _units(figures)
    rows = [
        [call, *(f"{row[unit].ours:,} (C: {row[unit].c:,})" for unit in units)]
        for (_, call), row in _rows(figures, lambda figure: figure.operation == _MEMORY).items()
    ]
    return _table(["memory", *(_NAMES[unit] for unit in units)], rows)


_COLORS = {"vtd": "#1b6ca8", "vtd-caching": "#7fb3d5", "amdvi": "#b03a2e", "smmuv3": "#1e8449"}
_LEFT, _TOP, _ROW, _UNIT, _MOST = 270, 70, 18, 320, 1.6


def picture(figures):
    """An SVG picture: one line for each path, one dot for each unit at ours / C's, and the bar."""
    units = _units(figures)
    rows = _rows(figures, _is_path)
    width, height = _LEFT + int(_UNIT * _MOST) + 30, _TOP + _ROW * len(rows) + 20

    def x(ratio):
        return round(_LEFT + _UNIT * min(ratio, _MOST), 1)

    def text(at, y, words, **attributes):
        more = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())
        return f'<text x="{at}" y="{y}"{more}>{saxutils.escape(words)}</text>'

    lines = [
        "<!-- SPDX-License-Identifier: GPL-2.0 -->",
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        text(10, 20, "Instructions of whole paths: ours / C's", font_size=15),
    ]
    for number, unit in enumerate(units):
        at = _LEFT + number * 150
        lines.append(f'<circle cx="{at}" cy="40" r="5" fill="{_COLORS[unit]}"/>')
        lines.append(text(at + 10, 44, _NAMES[unit]))
    for tick in range(math.floor(_MOST / 0.2) + 1):
        ratio = tick * 0.2
        color = "#555" if math.isclose(ratio, 1) else "#ddd"
        lines.append(f'<line x1="{x(ratio)}" x2="{x(ratio)}" y1="{_TOP - 8}" y2="{height - 15}" stroke="{color}"/>')
        lines.append(text(x(ratio), _TOP - 12, f"{ratio:.1f}", text_anchor="middle", fill="#555"))
    for number, ((operation, call), row) in enumerate(rows.items()):
        y = _TOP + number * _ROW + 8
        lines.append(text(_LEFT - 12, y + 4, f"{operation}: {call}", text_anchor="end"))
        for bar in sorted({figure.bar for figure in row.values() if figure.bar is not None}):
            lines.append(
                f'<line x1="{x(bar)}" x2="{x(bar)}" y1="{y - 7}" y2="{y + 7}" stroke="black" stroke-width="2"/>'
            )
        for unit in units:
            lines.append(f'<circle cx="{x(row[unit].ratio)}" cy="{y}" r="4.5" fill="{_COLORS[unit]}" fill-opacity="0.85"/>')
    return "\n".join([*lines, "</svg>"]) + "\n"
