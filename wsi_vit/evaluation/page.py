"""The bare bones of a page that needs nothing but itself: no script, no font, no request."""

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

_LARGEST_BYTES = 1_500_000
_LONGEST_PX = 2000

STYLE = """
:root { color-scheme: light dark; --ink: #16202b; --quiet: #586573; --paper: #ffffff;
  --card: #f5f7f9; --line: #dbe1e7; --accent: #0072b2; --bar: #56b4e9; --rest: #aab4be;
  --warn-ink: #6b3000; --warn: #fff1e0; --warn-line: #d55e00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8edf2; --quiet: #9dabb9; --paper: #12171d;
  --card: #1b222a; --line: #303a45; --accent: #56b4e9; --bar: #2f8fce; --rest: #5a6672;
  --warn-ink: #ffd9b0; --warn: #3a2410; --warn-line: #e69f00; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 40px 28px 72px; }
.over { color: var(--quiet); font-size: 14px; margin: 0 0 10px; }
h1 { font-size: 29px; line-height: 1.3; font-weight: 650; letter-spacing: -0.01em; margin: 0 0 14px;
  max-width: 34em; text-wrap: balance; }
h2 { font-size: 21px; margin: 52px 0 6px; letter-spacing: -0.005em; }
h3 { font-size: 16px; margin: 28px 0 6px; }
p { margin: 0 0 10px; max-width: 46em; }
.lead { font-size: 17px; } .quiet { color: var(--quiet); font-size: 14.5px; }
.warnings { border-left: 5px solid var(--warn-line); background: var(--warn);
  color: var(--warn-ink); border-radius: 6px; padding: 12px 18px; margin: 22px 0; }
.warnings strong { display: block; margin-bottom: 2px; }
.warnings ul { margin: 0; padding-left: 20px; }
.scale { display: grid; grid-template-columns: max-content 1fr max-content; gap: 9px 16px;
  align-items: center; margin: 24px 0 8px; max-width: 820px; }
.scale .track { position: relative; height: 22px; background: var(--card); border-radius: 4px;
  border: 1px solid var(--line); overflow: hidden; }
.scale .fill { position: absolute; inset: 0 auto 0 0; background: var(--rest); }
.scale .model .fill, .scale .fill.model { background: var(--bar); }
.scale .range { position: absolute; top: 8px; height: 4px; background: var(--ink); }
.scale .value { font-variant-numeric: tabular-nums; text-align: right; }
.scale .first { font-weight: 650; }
figure { margin: 18px 0 0; }
figure img { display: block; max-width: 100%; height: auto; border-radius: 8px;
  border: 1px solid var(--line); background: #ffffff; }
figcaption { color: var(--quiet); font-size: 14.5px; margin-top: 7px; max-width: 46em; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(440px, 1fr));
  gap: 14px 26px; align-items: start; }
.charts .wide { grid-column: 1 / -1; }
.slides { display: grid; grid-template-columns: repeat(auto-fit, minmax(340px, 1fr));
  gap: 14px 26px; }
.scroll { overflow-x: auto; }
.beside { display: flex; flex-wrap: wrap; gap: 0 72px; }
table { border-collapse: collapse; margin: 12px 0; font-size: 15px;
  font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--quiet); font-size: 14.5px; padding-bottom: 6px; }
th, td { padding: 6px 18px 6px 0; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; vertical-align: top; }
th:first-child, td:first-child, th.words, td.words { text-align: left; }
thead th { color: var(--quiet); font-weight: 600; font-size: 14px; }
.words { white-space: normal; min-width: 16em; }
small { color: var(--quiet); font-size: 13px; display: block; }
.swatch { display: inline-block; width: 0.8em; height: 0.8em; border-radius: 3px;
  border: 1px solid var(--quiet); margin-right: 0.5em; }
code, pre { font: 13.5px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
code { overflow-wrap: anywhere; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: 12px 16px; overflow-x: auto; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 5px 20px; margin: 14px 0; }
dt { color: var(--quiet); } dd { margin: 0; overflow-wrap: anywhere; }
summary { cursor: pointer; color: var(--accent); }
@media (max-width: 640px) { main { padding: 24px 16px; } h1 { font-size: 23px; }
  .charts, .slides { grid-template-columns: 1fr; } dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: 8px; } }
@media print { :root { --ink: #000; --quiet: #444; --paper: #fff; --card: #f5f7f9; --line: #ccc;
    --warn: #fff; --warn-ink: #000; }
  main { padding: 0; max-width: none; } figure, table, .warnings { break-inside: avoid; }
  h2, h3 { break-after: avoid; } .charts { grid-template-columns: 1fr 1fr; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""


def document(title: str, body: str) -> str:
    """Return a whole page; `body` is HTML already, `title` is not."""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def picture(path: Path, *, alt: str, caption: str, css: str = "") -> str:
    """Return a figure with the picture inlined, and its caption."""
    source = data_uri(path)
    return (
        f'<figure class="{escape(css)}"><img src="{source}" alt="{escape(alt)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def table(
    caption: str, header: Sequence[str], rows: Iterable[Sequence[str]], *, words: int | None = None
) -> str:
    """Return a table; cells are HTML already, caption and header are not.

    `words` is the column of running text, if there is one.
    """
    head = "".join(
        f'<th scope="col"{" class=words" if i == words else ""}>{escape(name)}</th>'
        for i, name in enumerate(header)
    )
    body = "".join(
        f"<tr>{''.join(_cell(cell, is_words=i == words) for i, cell in enumerate(row))}</tr>\n"
        for row in rows
    )
    return (
        f'<div class="scroll"><table><caption>{escape(caption)}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>"
    )


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Return a list of names and values; neither is HTML yet."""
    items = "".join(
        f"<dt>{escape(name)}</dt><dd><code>{escape(value)}</code></dd>\n" for name, value in pairs
    )
    return f"<dl>{items}</dl>"


def _cell(content: str, *, is_words: bool) -> str:
    return f'<td class="words">{content}</td>' if is_words else f"<td>{content}</td>"


def data_uri(path: Path, *, most_bytes: int = _LARGEST_BYTES, longest_px: int = _LONGEST_PX) -> str:
    """Return a picture as a `data:` address; a larger one is made smaller, as JPEG."""
    kind, content = _web_ready(path, most_bytes=most_bytes, longest_px=longest_px)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _web_ready(path: Path, *, most_bytes: int, longest_px: int) -> tuple[str, bytes]:
    """Return the kind and bytes of a picture; a huge one is made smaller, as JPEG."""
    content = path.read_bytes()
    kind = "png" if content.startswith(b"\x89PNG") else "jpeg"
    if len(content) <= most_bytes:
        return kind, content
    from PIL import Image

    with Image.open(path) as image:
        small = image.convert("RGB")
        small.thumbnail((longest_px, longest_px))
        stream = io.BytesIO()
        small.save(stream, format="JPEG", quality=88)
    return "jpeg", stream.getvalue()
