"""What most lines of a file have in common and texts seldom have: a label at the beginning, or a mark."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

_LOOKED_AT = 60  # lines
_FEW = 10  # in fewer lines, a common mark may be chance
_LABEL = re.compile(r"[\[(<]?[\w.-]+(?:[:=|/][\w.-]+)*(?:[\])>][:=|]?|[:=|])|[\w.-]+(?:[:=|/][\w.-]+)+")
_RUN = re.compile(r"[^\w\s]+|_{2,}")
_WORD = "\u2581"  # before the words of SentencePiece
_VARIANTS = re.compile("[\ufe0e\ufe0f\u200d]")  # of an emoji
_SEPARATORS = "|;\t"
_FORMS = {
    re.compile(r"\s+\d+\s|\d+(?:\s{2,}|\t)\S"): "begin with a number",
    re.compile(r"\[?\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d"): "begin with a date and a time",
    re.compile(r"[^\s:]+:\d+:"): "begin with a file and the number of a line",
    re.compile(r'\S+ \S+ \S+ \[[^]]+\] "'): "are requests in the log of a web server",
    re.compile(r".*\x1b\["): "have colours of a terminal",
    re.compile(r"\S+(?:\s+-?\d+(?:\.\d+)?(?:e-?\d+)?){5,}\s*$"): "consist of numbers",
    re.compile(r"\s*(?:\(.*\)|\[.*\]|\{.*\}|<.*>)[,;]?\s*$"): "are in brackets",
    re.compile(r"""\s*(["']).*\1,\s*$"""): "are in quotation marks, with a comma behind",
}
# Signs of texts that are still encoded, or were decoded as something else.
_UNDECODED = {
    re.compile(r"&(?:[A-Za-z]{2,8}|#x?[0-9A-Fa-f]{1,6});"): "HTML entities",
    re.compile(r"\\(?:[nrt](?=[A-Z\\ ]|$)|u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2})"): "escape sequences",
    # The two bytes of a letter in UTF-8, read as Windows-1252 or Latin-1.
    re.compile(r"[\u00c2\u00c3\u00e2][\x80-\xbf\u2013-\u2122]"): "signs of a wrong encoding",
    re.compile(r"^\s*\\[a-z]+[*]?[\[{]"): "commands of LaTeX",
    re.compile(r"(?<=\s)##\w+"): "pieces of words",  # WordPiece
}
_ONLY_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
_TAGGED = re.compile(r"\S+(?:/[A-Za-z$.,:'`-]{1,8}|_[A-Z$.,:'`-]{1,8})")
_ADDRESS = re.compile(r"\w+://\S+")
# Signs of texts, also in Markdown and LaTeX.
_USUAL = re.compile(r"[=+*#~^`<>-]+|[$€£¥%&@|°©®™]|.*\\.*|[$.,;:()!?'-]+")


def common_mark(lines: Sequence[str]) -> str | None:
    """Return what most or many of the first ``lines``, which are not blank, have in common; or None.

    Most are four of five, and many are one of five. Such lines may be records of labels and texts, cells of a table,
    pieces of words or sentences, or texts that are still encoded.
    """
    looked_at = lines[:_LOOKED_AT]
    if len(looked_at) < _FEW:
        return None
    many = 0.8 * len(looked_at)
    labels = Counter(first for line in looked_at if _LABEL.fullmatch(first := _first_word(line)))
    if labels.total() >= many and 3 * len(labels) <= len(looked_at):
        return f"most begin with a label such as {labels.most_common(1)[0][0]!r}"
    marks = Counter(mark for line in looked_at for mark in set(filter(_is_mark, _RUN.findall(_ADDRESS.sub("", line)))))
    if marks and marks.most_common(1)[0][1] >= many:
        return f"most contain {marks.most_common(1)[0][0]!r}"
    for sign in _SEPARATORS:
        numbers = Counter(line.strip(sign).count(sign) for line in looked_at)
        del numbers[0]
        if numbers and numbers.most_common(1)[0][1] >= many:
            return f"most contain the same number of {sign!r}"
    for form, found in _FORMS.items():
        if sum(form.match(line) is not None for line in looked_at) >= many:
            return f"most {found}"
    if 5 * sum(_ONLY_TAG.fullmatch(line.strip()) is not None for line in looked_at) >= len(looked_at):
        return "many are tags"
    for form, found in _UNDECODED.items():
        signs = [match[0].strip() for line in looked_at if (match := form.search(line))]
        if 5 * len(signs) >= len(looked_at):
            return f"many contain {found} such as {signs[0]!r}"
    if sum(_are_tagged(line.split()) for line in looked_at) >= many:
        return "most have a tag after each word"
    return "most seem to be parts of longer sentences" if _are_wrapped(looked_at, many) else None


def _first_word(line: str) -> str:
    """Return the first word of ``line``, or of an item of a list in YAML."""
    return line.strip().removeprefix("- ").split(maxsplit=1)[0]


def _are_tagged(words: Sequence[str]) -> bool:
    """Return whether nearly all of ``words`` end in a tag of a part of speech."""
    return len(words) > 1 and sum(_TAGGED.fullmatch(word) is not None for word in words) >= 0.8 * len(words)


def _are_wrapped(lines: Sequence[str], many: float) -> bool:
    """Return whether ``many`` of ``lines`` have about one width, and about half are in the middle of sentences."""
    longest = max(map(len, lines))
    long = [line for line in lines if len(line) >= 0.8 * longest]
    going_on = [line for line in long if line.rstrip()[-1].isalnum() or line.rstrip()[-1] == ","]
    small = [line for line in lines if line.lstrip()[0].islower()]
    return 50 <= longest <= 100 and min(len(long), 2 * len(going_on), 2 * len(small)) >= many


def _is_mark(run: str) -> bool:
    """Return whether the signs ``run`` are neither usual punctuation nor a usual sign of texts."""
    if run in ("::", _WORD):
        return True
    has_symbol = any(unicodedata.category(sign).startswith("S") or sign in "@_" for sign in run)
    return has_symbol and len(_VARIANTS.sub("", run)) > 1 and not _USUAL.fullmatch(run)
