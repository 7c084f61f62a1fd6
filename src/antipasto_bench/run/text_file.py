"""The text of a data file, piece by piece or line by line: decoded, unpacked where it is gzip, and bounded.

The encoding is that of the byte order mark; without one it is UTF-8, or UTF-16 or UTF-32 where the first characters are
ASCII in it. Gzip is recognised by its first bytes, whatever the file's name.
"""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterator
from json import detect_encoding
from pathlib import Path

from ..core.errors import UserError, first_line

LONGEST_ROW = 1 << 26  # characters
MOST_TIMES = 200  # as many bytes as the gzip file has; text has some 3 to 20
ANY_GZIP = 1 << 26  # bytes that every gzip file may unpack to
MOST_UNPACKED = 1 << 32  # bytes
_PIECE = 1 << 20
_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_LONGEST_MARK = 4  # bytes that say the encoding
_GZIP = b"\x1f\x8b"


def check_regular(path: Path) -> None:
    """Refuse what is neither a file nor a folder: a pipe, a device or a socket can block, and has no end.

    Raises:
        UserError: it is one of those, or a link to nothing.
    """
    if not path.is_file() and not path.is_dir():
        raise UserError(f"{path}: not a regular file; give a file or a folder")


def text_lines(path: Path) -> Iterator[str]:
    r"""The lines of a file, each with the \n that ends it; a carriage return stays in its line.

    Raises:
        UserError: as `text_pieces`, or a line is longer than LONGEST_ROW.
    """
    begun: list[str] = []
    number, length = 1, 0
    for piece in text_pieces(path):
        first, *others = piece.split("\n")  # str.splitlines also splits at characters that a JSON string may hold
        begun.append(first)
        length += len(first)
        for part in others:
            yield "".join(begun) + "\n"
            begun, length, number = [part], len(part), number + 1
        if length > LONGEST_ROW:
            raise too_long(path, f"line {number}")
    if length:
        yield "".join(begun)


def too_long(path: Path, place: str) -> UserError:
    return UserError(f"{path}, {place}: a row of more than {LONGEST_ROW >> 20} million characters; shorten it")


def text_pieces(path: Path) -> Iterator[str]:
    """The text of a file in pieces of about a million characters.

    Raises:
        UserError: it is no regular file, cannot be read, is damaged gzip or unpacks to too much, or holds bytes that
            are no text. The line is named, and of such bytes the column.
    """
    line = column = 1
    decoder = None
    try:
        for raw in _raw_pieces(path):
            if decoder is None:
                encoding, raw = _encoding(raw)
                decoder = codecs.getincrementaldecoder(encoding)()
            text = _decoded(decoder, raw, path, encoding, line, column)
            line, column = _after(text, line, column)
            yield text
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(
            f"{path}, line {line}: the gzip file is cut short or damaged from there on ({first_line(error)})"
        ) from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or first_line(error)}") from error
    if decoder is not None:
        _decoded(decoder, b"", path, encoding, line, column, final=True)


def _raw_pieces(path: Path) -> Iterator[bytes]:
    check_regular(path)
    with open(path, "rb") as file:
        packed = file.read(len(_GZIP)) == _GZIP
        file.seek(0)
        source = gzip.GzipFile(fileobj=file) if packed else file
        most = min(MOST_UNPACKED, max(ANY_GZIP, MOST_TIMES * path.stat().st_size))
        raw, total = source.read(_LONGEST_MARK), 0
        while raw:
            total += len(raw)
            if packed and total > most:
                raise UserError(
                    f"{path}: the gzip file unpacks to more than {most:,} bytes, too much for its size; unpack it, and "
                    "give the file that comes out"
                )
            yield raw
            raw = source.read1(_PIECE)  # `read` would lose what comes before damage


def _encoding(raw: bytes) -> tuple[str, bytes]:
    """The encoding that the first bytes of a file are in, and those bytes without a byte order mark."""
    encoding: str = detect_encoding(raw)
    mark = next((mark for mark in _MARKS if raw.startswith(mark)), b"")
    if mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF32_LE):
        encoding = f"{encoding}-le"
    elif mark in (codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE):
        encoding = f"{encoding}-be"
    return encoding.removesuffix("-sig"), raw[len(mark) :]


def _decoded(
    decoder: codecs.IncrementalDecoder,
    raw: bytes,
    path: Path,
    encoding: str,
    line: int,
    column: int,
    *,
    final: bool = False,
) -> str:
    state = decoder.getstate()
    try:
        return decoder.decode(raw, final)
    except UnicodeDecodeError as error:
        decoder.reset()
        decoder.setstate(state)
        before = decoder.decode(raw[: max(0, error.start - len(state[0]))])
        line, column = _after(before, line, column)
        name = encoding.upper()
        raise UserError(
            f"{path}, line {line}, column {column}: byte 0x{error.object[error.start]:02x} is no {name} "
            f"({error.reason}); save the file as UTF-8"
        ) from error


def _after(text: str, line: int, column: int) -> tuple[int, int]:
    """Line and column behind a text that begins at some."""
    breaks = text.count("\n")
    return line + breaks, len(text) - text.rfind("\n") if breaks else column + len(text)
