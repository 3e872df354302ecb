"""What a file is, by its first bytes: the encoding of a text, or a content that its name does not announce."""

import codecs
import csv
import json
import re
from collections.abc import Iterator, Sequence
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from leaf_st.atomic import require_file
from leaf_st.errors import file_named
from leaf_st.models.lfs import LFS_HEAD
from leaf_st.texts.conversation import is_conversation, may_be_conversation
from leaf_st.texts.line_marks import common_mark

_HEAD_BYTES = 1 << 16
_EXPECTED = {
    ".parquet": "a parquet file",
    ".arrow": "an Arrow file",
    ".feather": "an Arrow file",
    ".jsonl": "one JSON object per line",
    ".csv": "comma-separated values",
    ".tsv": "tab-separated values",
    ".txt": "one text per line",
}
_COLUMNAR = (".parquet", ".arrow", ".feather")
# Endings of compressed files.
PACKED = (".gz", ".tgz", ".bz2", ".xz", ".lzma", ".zst", ".lz4", ".br", ".z", ".zip", ".tar", ".7z", ".rar")
_TABLE = "write the table as parquet or csv"


class Content(NamedTuple):
    """A content that the first bytes of a file show.

    Attributes:
        name: What the file is.
        remedy: What to do, if another content is expected.
        endings: Endings of files that have this content.
    """

    name: str
    remedy: str
    endings: tuple[str, ...] = ()


class Encoding(NamedTuple):
    """Encoding of a text file.

    Attributes:
        name: Name of Python's codec.
        start: Byte at which the text starts, after the byte-order mark.
    """

    name: str
    start: int


UTF_8 = Encoding("utf-8", 0)
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, because the mark of UTF-16 is its beginning
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    ("\ufeff".encode("gb18030"), "gb18030"),
)


def _renamed(name: str, *endings: str) -> Content:
    return Content(name, f"rename the file so that its name ends in {' or '.join(endings)}", endings)


def _packed(name: str) -> Content:
    return Content(f"a file compressed with {name}", "unpack the file, and name the unpacked file")


_POINTER = Content(
    "a git-LFS pointer in place of the file",
    "run `git lfs pull` in the repository of the file, or download the file again",
)
_ARROW = _renamed("an Arrow file", ".arrow", ".feather")
_JSON_LINES = _renamed("JSON lines", ".jsonl")
_ARRAY = Content("one JSON array", "write each element as one line, for example with `jq -c '.[]'`")
_DOCUMENT = Content("JSON over several lines", "write each object as one line, for example with `jq -c .`")
_OBJECT_OF_COLUMNS = Content(
    "one JSON object of lists or objects",
    "write one object per row, for example with df.to_json(path, orient='records', lines=True) of pandas",
)
_SEPARATED = {
    ",": _renamed("a table of comma-separated values with a header", ".csv"),
    "\t": _renamed("a table of tab-separated values with a header", ".tsv"),
    **{
        separator: Content(f"a table of values separated by {separator!r} with a header", f"{_TABLE} with commas")
        for separator in ";|"
    },
}
_COLUMN = re.compile(r"\w[\w.-]*")
_COLUMNS = {
    *("text", "id", "_id", "query", "document", "passage", "sentence", "content", "title", "label", "kind"),
    *("question", "answer", "caption", "review", "abstract", "description", "body", "comment", "summary"),
}
# The beginning of what pandas writes by default: an object of columns, each an object of values by row number.
_CUT_COLUMNS = re.compile(r'\{\s*"[^"]*"\s*:\s*\{\s*"0"\s*:')
_ZIP = re.compile(rb"PK(\x03\x04|\x05\x06|\x07\x08)")
_PICKLE = re.compile(rb"\x80[\x02-\x05]")
_TEXTUAL = (
    (LFS_HEAD, _POINTER),
    (b"version https://hawser.github.com/spec/", _POINTER),
    (b"/annex/objects/", Content("a git-annex pointer in place of the file", "run `git annex get` for the file")),
    (b"%PDF-", Content("a PDF document", "extract its text into a .txt file")),
    (b"{\\rtf", Content("an RTF document", "save the text as a .txt file")),
)
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")
_BINARY: tuple[tuple[int, bytes, Content], ...] = (  # only with a control character: a text may begin with PARENT
    (0, b"PAR1", _renamed("a parquet file", ".parquet")),
    (0, b"PARE", Content("an encrypted parquet file", "decrypt the file")),
    (0, b"ARROW1", _ARROW),
    (0, b"\xff\xff\xff\xff", _ARROW),  # a stream
    (0, b"FEA1", Content("a Feather file of version 1", _TABLE)),
    (0, b"ORC", Content("an ORC file", _TABLE)),
    (0, b"Obj\x01", Content("an Avro file", _TABLE)),
    (0, b"\x89HDF\r\n\x1a\n", Content("an HDF5 file", _TABLE)),
    (0, b"\x93NUMPY", Content("a NumPy array", _TABLE)),
    (0, b"SQLite format 3\0", Content("an SQLite database", _TABLE)),
    (8, b"DUCK", Content("a DuckDB database", _TABLE)),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Content("an Excel or Word file", "save the file as csv or txt")),
    (0, b"\x89PNG\r\n", Content("a PNG image", "name a file with texts")),
    (0, b"\xff\xd8\xff", Content("a JPEG image", "name a file with texts")),
    (0, b"\x1f\x8b", _packed("gzip")),
    (0, b"\x28\xb5\x2f\xfd", _packed("zstd")),
    (0, b"BZh", _packed("bzip2")),
    (0, b"\xfd7zXZ\0", _packed("xz")),
    (0, b"\x04\x22\x4d\x18", _packed("lz4")),
    (0, b"7z\xbc\xaf\x27\x1c", _packed("7-Zip")),
    (0, b"Rar!\x1a\x07", _packed("rar")),
    (257, b"ustar", Content("a tar archive", "unpack the archive, and name the unpacked file or folder")),
)
_ZIPPED = (
    (re.compile(rb"xl/(workbook|worksheets|styles|theme)"), "an Excel workbook (xlsx)", "save the sheet as csv"),
    (re.compile(rb"word/document"), "a Word document (docx)", "save the text as a .txt file"),
    (re.compile(rb"application/vnd\.oasis"), "an OpenDocument file", "save the file as csv or txt"),
    (re.compile(rb"/data\.pkl"), "a PyTorch file (pickle)", _TABLE),
    (_ZIP, "a zip archive", "unpack the archive, and name the unpacked file or folder"),
)
_EXTRACT = "extract its texts, or download the file again if the address was wrong"
_MARKUP = (
    # A line of a text may begin with another element, as in "<body> onload fires twice".
    (re.compile(r"<(!doctype html|html)\b", re.IGNORECASE), Content("an HTML page", _EXTRACT)),
    (re.compile(r"<\?xml\b"), Content("an XML document", _EXTRACT)),
)
_ONLY_TEXTS = "write only the texts, one per line"
_TAG = re.compile(r"<([A-Za-z][\w.:-]*)(?:\s[^<>]*)?>\s*")
_TAGGED = Content("text between tags, as in XML and SGML", _ONLY_TEXTS)
# A time on one of the first lines, in the forms of .srt, .vtt and Whisper.
_TIMED = re.compile(r"(?:.*\n){0,20}?[ \t]*\[?(?:\d+:)?\d?\d:\d?\d[.,]\d{1,3}[ \t]*-->")
_SUBTITLES = Content("subtitles with times", "write only the spoken texts, one per line")
# After comments, a line with ten cells, of which the first is the number of a word, the seventh that of its head.
_CONLLU = re.compile(r"(?:#.*\n)*\d+(?:[-.]\d+)?\t(?:[^\t\n]*\t){5}(?:\d+|_)\t(?:[^\t\n]*\t){2}[^\t\n]*\n")
# Three lines of cells, of which the last is a tag, also beyond the end of a sentence; a word without a tag is near.
_TAGS = re.compile(
    r"(?=(?:.*\n){0,10}\S.*[ \t]O[ \t]*\r?\n)"
    r"(?:-DOCSTART-.*\n\s*)?(?:\S+(?:[ \t]\S+){0,4}[ \t](?:O|[BIESLU]-[A-Za-z]{2,})[ \t]*\r?\n\s*){3}"
)
# A line between the names of columns and the rows, or above the names, as databases and Markdown draw tables.
_DRAWN = re.compile(r"(?:.*\n){0,2}(?=.*[-=─━═]{3})(?=.*[+|┼┬╪┿╋])[-=─━═+|: ┌┬┐├┼┤╞╪╡┏┳┓┡╇┩╒╤╕]+\r?\n")
# The names of columns above dashes, as sqlite3, sqlcmd and PowerShell write tables.
_UNDERLINED = re.compile(r".*\n(?=.*--)-+(?:[ \t]+-+)+[ \t]*\r?\n(?=.)")
_MARK_OF_GIT = re.compile(r"^([<=>])\1{6}(?=[ \r\n])", re.MULTILINE)  # of a conflict between two versions
# The line before each mail and the first line of its header.
_MAILS = re.compile(r"From \S+ +(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) [A-Z][a-z]{2} [ \d]\d \d\d:\d\d.*\n[\w-]+: ")
_CONVERSATION = Content("a chat or a transcript with times or speakers", "write only the words, one text per line")
_CODED = r"(?=\S*[a-z])(?=\S*[A-Z])(?=\S*\d)"
_MAILBOX = Content("mails (mbox)", "write only the texts of the mails, one per line")
_ARCHIVE = Content("a web archive (WARC)", "write only the texts of its records, one per line")
_NOT_TEXTS = (
    (_TIMED, _SUBTITLES),
    (_MAILS, _MAILBOX),
    (re.compile(r"WARC/\d"), _ARCHIVE),
    (_CONLLU, Content("annotated words (CoNLL-U)", "write only the texts, which begin with `# text = `, one per line")),
    (_TAGS, Content("words with tags (CoNLL)", _ONLY_TEXTS)),
    (_DRAWN, Content("a drawn table", _TABLE)),
    (_UNDERLINED, Content("a table in columns", _TABLE)),
    (re.compile(r"\.I \d+[ \t]*\r?\n\.[A-Z]\s"), Content("records of SMART", _ONLY_TEXTS)),
    (re.compile(r"(?:b(['\"]).*\1\r?\n){3}"), Content("bytes of Python", "write each with its method decode()")),
    (
        re.compile(r"(?:\((?:'.*'|\".*\"|-?\d[\d.]*),.*\)\r?\n){3}"),
        Content("tuples of Python", _ONLY_TEXTS),
    ),
    (re.compile(r"__label__\S+ "), Content("texts after labels (fastText)", "remove the labels")),
    (re.compile(r"\{'[^'\n]*': "), Content("Python dictionaries", "write each with json.dumps into a .jsonl file")),
    (re.compile(r"data: ?[\[{]"), Content("events of a server (SSE)", _ONLY_TEXTS)),
    (re.compile(r"TY  - [A-Z]+\s"), Content("records of RIS", _ONLY_TEXTS)),
    (re.compile(r"FN .*\n\s*VR \d"), Content("records of Web of Science", _ONLY_TEXTS)),
    (re.compile(r"%0 [A-Z].*\n%[A-Z] "), Content("records of EndNote", _ONLY_TEXTS)),
    (re.compile(r"PMID- ?\d+\s"), Content("records of MEDLINE", _ONLY_TEXTS)),
    (re.compile(r"@\w+\{[^\s,{}]*,[ \t]*\n"), Content("records of BibTeX", _ONLY_TEXTS)),
    (
        re.compile(r"(?:#.*\n|\n)*msg(?:id|ctxt) \""),
        Content("messages of gettext", "write only the texts, without quotes, one per line"),
    ),
    (
        re.compile(
            r"(?:--.*\n)*-- .*\b[Dd]ump\b|/\*M?!\d+|PRAGMA foreign_keys|(?:--.*\n|\s)*CREATE TABLE [^\n]*\([ \t]*\r?\n"
        ),
        Content("an SQL dump", "export the table as csv"),
    ),
    (re.compile(r"==> .* <==\r?\n"), Content("the beginnings of several files (head)", "join the files with cat")),
    (re.compile(r"HTTP/\d\S* \d{3}\b.*\n[\w-]+: "), Content("an answer of a web server", _ONLY_TEXTS)),
    # Three lines of 60 to 76 signs, or one long line.
    (
        re.compile(rf"{_CODED}(?:(?:[A-Za-z0-9+/]{{60,76}}\r?\n){{3}}|[A-Za-z0-9+/]{{200,}}={{0,2}}\s*\Z)"),
        Content("data in base64", "decode the file with `base64 -d`"),
    ),
    (
        re.compile(r"-----BEGIN [A-Z ]+-----"),
        Content("an encrypted message, a key or a certificate", "name a file with texts"),
    ),
    (re.compile(r"%!PS-Adobe"), Content("a PostScript document", "extract its text into a .txt file")),
)
_JSON_STRINGS = Content("JSON strings, with quotes and escapes", "write the texts without them, as `jq -r` does")
_SHOWN = 40  # characters of a text in a message
_FEW_LINES = 3  # fewer may be quoted sentences
_TABS = Content(
    "a table with a tab between the cells",
    "rename the file to .tsv, with the names of the columns, such as id and text, in the first line",
)
_MANY_LINES = 10  # in fewer lines, the same number of tabs may be chance
# The change to Kanji and Kana. The change back, ESC ( B, also occurs in the output of terminals.
_ISO_2022_JP = re.compile(rb"\x1b\$[@B]")
_NULS = 4  # in a text without a byte-order mark; fewer may be damage
# Without NUL, which a gap in a damaged file consists of, and without ESC, which the output of terminals contains.
_UNPRINTABLE = re.compile(rb"[\x01-\x08\x0e-\x1a\x1c-\x1f]")
_MOST_UNPRINTABLE = 20  # different ones in a text, of 25: a table of Hive has three


def content_problem(path: Path, known: str = "") -> str | None:
    """Return what was expected, what was found, and the remedy, if the file ``path`` is not what its name announces.

    Args:
        path: A file with content.
        known: What the caller can read; returned for an unknown ending.

    Raises:
        OSError: If the file cannot be read, or is a folder, pipe or device.
    """
    if (found := content_of(path)) is None:
        return None
    return f"expected {_EXPECTED.get(path.suffix.lower(), known)}, found {found.name}: {found.remedy}"


def content_of(path: Path) -> Content | None:
    """Return what the file ``path`` is, if it is not what its name announces.

    Raises:
        OSError: If the file cannot be read, or is a folder, pipe or device.
    """
    require_file(path)
    ending = path.suffix.lower()
    with path.open("rb") as file, file_named(path):
        found = _content(file.read(_HEAD_BYTES), ending)
    return None if found is None or ending in found.endings else found


def doubt_about(path: Path) -> str | None:
    """Return what the lines of the file ``path``, of which each is read as a text, may be instead, and the remedy.

    Raises:
        OSError: If the file cannot be read.
    """
    with path.open("rb") as file, file_named(path):
        head = file.read(_HEAD_BYTES)
    encoding = _encoding(head)
    text = head[encoding.start :].decode(encoding.name, errors="ignore")
    lines = _lines(text, len(head) == _HEAD_BYTES)
    found = "most seem to have a time or a speaker" if may_be_conversation(lines) else common_mark(lines)
    return (
        None if found is None else f"each line is read as a text, but {found}: check that each line is one plain text"
    )


def encoding_of(path: Path) -> Encoding:
    """Return the encoding that the byte-order mark of ``path`` announces; UTF-8 without a mark."""
    with path.open("rb") as file, file_named(path):
        return _encoding(file.read(4))


def _encoding(head: bytes) -> Encoding:
    for mark, name in _MARKS:
        if head.startswith(mark):
            return Encoding(name, len(mark))
    return UTF_8


def _content(head: bytes, ending: str) -> Content | None:
    if (found := _by_magic(head)) is not None:
        return found
    encoding = _encoding(head)
    whole = head[encoding.start :].decode(encoding.name, errors="ignore")
    text = whole.lstrip()
    for pattern, content in _MARKUP:
        if pattern.match(text):
            return content
    is_cut = len(head) == _HEAD_BYTES
    if (found := _json(text, is_cut)) is not None:
        return found
    if ending in _COLUMNAR:
        return _text(head)
    if encoding.start == 0 and (found := _unmarked(head)) is not None:
        return found
    # A table may quote texts of these forms.
    return _of_lines(whole, is_cut) if ending == ".txt" or ending not in _EXPECTED else None


def _by_magic(head: bytes) -> Content | None:
    for magic, content in _TEXTUAL:
        if head.startswith(magic):
            return content
    if _CONTROL.search(head) is None:
        return None
    for start, magic, content in _BINARY:
        if head.startswith(magic, start):
            return content
    if _ZIP.match(head):
        return next(Content(name, remedy) for pattern, name, remedy in _ZIPPED if pattern.search(head))
    if _PICKLE.match(head):
        return Content("a Python pickle", f"{_TABLE}; pickles are not read, because they can run code")
    return None


def _text(head: bytes) -> Content | None:
    """Return the content of a file that should be columnar, if all of its beginning is text."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # the last character may be cut
    except UnicodeDecodeError:
        return None
    if _CONTROL.search(head):
        return None
    first = head.decode("utf-8-sig", errors="ignore").strip().partition("\n")[0][:_SHOWN].strip()
    found = _renamed(f"text ({first!r})", ".csv", ".tsv", ".jsonl", ".txt")
    return found._replace(remedy=f"download the file again, or, if the text is right, {found.remedy}")


def _of_lines(whole: str, is_cut: bool) -> Content | None:
    """Return the form of a file whose beginning ``whole`` shows that its lines are not texts."""
    marks = list(_MARK_OF_GIT.finditer(whole))
    if conflict := re.search("<=+>", "".join(mark[1] for mark in marks)):
        line = whole.count("\n", 0, marks[conflict.start()].start()) + 1
        return Content(f"a git conflict (<<<<<<<) in line {line:,}", "resolve the conflict, and remove its marks")
    text = whole.lstrip()
    for pattern, content in _NOT_TEXTS:
        if pattern.match(text):
            return content
    lines = _lines(text, is_cut)
    if is_conversation(lines):
        return _CONVERSATION
    if _are_json_strings(lines):
        return _JSON_STRINGS
    if (found := _TAGGED if _is_tagged(text) else _separated(text, is_cut)) is not None:
        return found
    tabs = {line.strip().count("\t") for line in lines}
    return _TABS if len(lines) >= _MANY_LINES and len(tabs) == 1 and tabs != {0} else None


def _lines(text: str, is_cut: bool) -> list[str]:
    """Return the complete lines of ``text`` that are not blank."""
    return [line for line in (text.splitlines()[:-1] if is_cut else text.splitlines()) if line.strip()]


def _are_json_strings(lines: Sequence[str]) -> bool:
    """Return whether all ``lines`` are JSON strings, and one has an escape, as quoted sentences have not."""
    if len(lines) < _FEW_LINES or not lines[0].startswith('"') or not any("\\" in line for line in lines):
        return False
    try:
        return all(isinstance(json.loads(line), str) for line in lines)
    except ValueError:
        return False


def _is_tagged(text: str) -> bool:
    """Return whether the first line of ``text`` is one opening tag, and its element or the one below it ends later."""
    first, _, rest = text.partition("\n")
    tags = _TAG.fullmatch(first), _TAG.match(rest.lstrip())
    return tags[0] is not None and any(f"</{tag[1]}>" in rest for tag in tags if tag)


def _separated(text: str, is_cut: bool) -> Content | None:
    """Return the form of a table at the beginning ``text`` of a file of lines; None if the lines may be texts.

    Lines of a table have the same number of cells, and the first line consists of names of columns, among them a usual
    one. Prose does not begin with such a line.
    """
    for separator, content in _SEPARATED.items():
        rows: list[list[str]] = []
        try:
            rows.extend(filter(None, csv.reader(StringIO(text, newline=""), delimiter=separator, strict=True)))
            whole = rows[:-1] if is_cut else rows
        except csv.Error:  # the end may be within quotes
            if not is_cut:
                continue
            whole = rows
        names = {name.strip().lower() for name in whole[0]} if len(whole) > 1 else set()
        is_header = len(names) > 1 and all(map(_COLUMN.fullmatch, names)) and not names.isdisjoint(_COLUMNS)
        if is_header and all(len(row) == len(whole[0]) for row in whole):
            return content
    return None


def _json(text: str, is_cut: bool) -> Content | None:
    """Return the form of JSON at the beginning ``text`` of a file; None if the first lines are no JSON."""
    if text[:1] not in ("[", "{"):
        return None
    if (found := _one_object(text, is_cut)) is not None:
        return found
    if _has_json_lines(text, is_cut):
        return _JSON_LINES
    try:
        value, end = json.JSONDecoder().raw_decode(text)
    except json.JSONDecodeError as error:
        value, end = None, error.pos
    except (RecursionError, ValueError):  # nested too deeply, or an integer of thousands of digits
        return None
    spans_lines = "\n" in text[:end].strip()
    if text[0] == "{":
        return _DOCUMENT if spans_lines else None
    if value is None:
        is_long = "\n" not in text and re.match(r'\[\s*[{\["]', text) is not None
        return _ARRAY if spans_lines or is_long else None
    rest = text[end:].lstrip(" \t\r")
    has_rows = any(isinstance(element, dict) for element in value) and rest.startswith("\n")
    return _ARRAY if spans_lines or has_rows or not rest.strip() else None


def _one_object(text: str, is_cut: bool) -> Content | None:
    """Return the form of ``text`` if it is one JSON object, and the object is no row: a row has a text."""
    if is_cut:
        return _OBJECT_OF_COLUMNS if _CUT_COLUMNS.match(text) else None
    try:
        value = json.loads(text)
        if not isinstance(value, dict) or not value or isinstance(value.get("text"), str):
            return None
        _, place = max(_lists_of_rows(value), default=(0, ""))
    except (RecursionError, ValueError):
        return None
    if place and not _CUT_COLUMNS.match(text):
        # One line may be a row whose text has another name, and which has a list beside the text.
        is_row = "\n" not in text.strip() and any(isinstance(part, str) for part in value.values())
        remedy = f"write each row as one line, for example with `jq -c '{place}[]'`"
        return Content("one JSON object with a list of rows", remedy, (".jsonl",) if is_row else ())
    return _OBJECT_OF_COLUMNS if all(isinstance(part, list | dict) for part in value.values()) else None


def _lists_of_rows(value: dict[str, Any], place: str = ".") -> Iterator[tuple[int, str]]:
    """Yield the length and the place, as jq names it, of each list of objects in ``value``."""
    for key, part in value.items():
        below = f"{place}[{json.dumps(key)}]"
        if isinstance(part, dict):
            yield from _lists_of_rows(part, below)
        elif isinstance(part, list) and part and all(isinstance(row, dict) for row in part):
            yield len(part), below


def _has_json_lines(text: str, is_cut: bool) -> bool:
    """Return whether the first two lines of ``text``, or the only line, are JSON objects; blank lines do not count.

    One object is no proof in a file of several lines: a text may begin with ``{}``, or be an object itself.
    """
    lines = list(islice(filter(str.strip, StringIO(text, newline=None)), 3))
    if is_cut and len(lines) < 3:  # the last line is incomplete
        lines.pop()
    return bool(lines) and all(map(_is_object, lines[:2]))


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (RecursionError, ValueError):
        return False


def _unmarked(head: bytes) -> Content | None:
    """Return the content of a file of NUL bytes, of other bytes, or of a text in another encoding without a mark."""
    if head and not head.strip(b"\0"):
        return Content("NUL bytes, as an interrupted copy leaves them", "copy or create the file again")
    if _ISO_2022_JP.search(head) and head.isascii():
        return _encoded("ISO-2022-JP")
    for name in _wide_encodings(head):
        width = 4 if "32" in name else 2
        try:
            head[: len(head) // width * width].decode(name)
        except UnicodeDecodeError:
            continue
        return _encoded(name.upper(), " without a byte-order mark")
    unprintable = _UNPRINTABLE.findall(head)
    if len(set(unprintable)) > _MOST_UNPRINTABLE and 50 * len(unprintable) > len(head):
        return Content("binary data", "unpack or convert the file, and name a file with texts")
    return None


def _encoded(encoding: str, suffix: str = "") -> Content:
    remedy = f"convert the file to UTF-8, for example with `iconv -f {encoding} -t UTF-8`"
    return Content(f"{encoding}{suffix}", remedy)


def _wide_encodings(head: bytes) -> Iterator[str]:
    """Yield the encodings in which ``head`` may be, by the places of its NUL bytes."""
    even, odd = head[::2].count(0), head[1::2].count(0)
    if even + odd < _NULS:
        return
    if even and odd:
        yield from ("utf-32-le", "utf-32-be")
    elif (even or odd) * 20 > len(head[::2]):
        yield "utf-16-le" if odd else "utf-16-be"
