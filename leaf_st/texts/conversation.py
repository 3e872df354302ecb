"""Whether the lines of a file are a chat or a transcript: words between times and speakers, not texts."""

import re
from collections.abc import Sequence
from itertools import pairwise

_LOOKED_AT = 60  # lines
_DATE = r"\d{1,4}[./-]\d{1,2}[./-]\d{1,4}"
_TIME = r"(?:\d+:)?\d?\d:\d\d"
_CLOCK = rf"{_TIME}(?:[.,]\d{{1,3}})?(?:\s?[AaPp]\.?\s?[Mm]\b\.?)?"
_NAME = r"[^\W\d_][^\n:<>\[\](){}]{0,60}?"
_WHEN = rf"[\[(]?(?:{_DATE},?\s|\w+ at )?{_CLOCK}[\])]?"
# What stands before the words of a message in files of one program, and not before other texts.
_MESSAGES = tuple(
    map(
        re.compile,
        (
            rf"\[?{_DATE}, {_CLOCK}(?:\]| -) [^:\n]{{1,80}}: ",  # as phones export chats
            rf"{_CLOCK}(?:\t|  )\s*From\s.+\sto\s.+:|{_CLOCK} From .+ to (?:Everyone|Me)\b.*:",
            rf"{_CLOCK}\t[^\t:]+:\t",
            r"\[\d+\.\d+s? -> \d+\.\d+s?\]\s",
            r"(?i:\[speaker[ _]?\d+\]:?|speaker_\d+:)(?:\s|$)",
        ),
    )
)
# A line of its own, with the words below, as pages of videos and .sbv files show times.
_TIMES = re.compile(rf"[\[(]?{_TIME}[\])]?|{_CLOCK},{_CLOCK}")
# What may stand before the words of a message, but also before other texts.
_SPOKEN = re.compile(
    rf"\[?(?:{_DATE} |[A-Z][a-z]{{2}} \d+ )?{_CLOCK}\]?\s+<[ @+]?(?P<nick>[^<>\s]+)>\s"
    rf"|\[{_CLOCK}\]\s+(?P<name>{_NAME}):\s"
    r"|\[(?P<first>[^\W\d_][^\[\]\n]*)\] \[[^\[\]\n]*\d:\d\d[^\[\]\n]*\] "
    r"|\d?\d:\d\d\t(?P<sender>[^\t]+)\t"
    r"|(?P<number>[Ss]peaker \d+):(?:\s|$)"
)
_LEVEL = re.compile(r"(?i:debug|info|notice|warn(?:ing)?|error|critical|fatal|trace)")
_HEADING = re.compile(
    rf"(?P<before>{_NAME})[,:]?(?: [-—\u2013])?\s+{_WHEN}:?|{_WHEN}(?: [-—\u2013])?\s+(?P<after>{_NAME}):?"
)
_LETTER = re.compile(r"[^\W\d_]")
# The time at which the words of a line begin in a recording.
_START = re.compile(rf"[\[(]?({_TIME}(?:[.,]\d{{1,3}})?)[\])]?[\s-]*[^\W\d_]")
_FIRST_WORDS = 120  # seconds


def is_conversation(lines: Sequence[str]) -> bool:
    """Return whether ``lines``, the first ones of a file that are not blank, are of a chat or a transcript."""
    looked_at = _stripped(lines)
    for form in _MESSAGES:
        count = sum(form.match(line) is not None for line in looked_at)
        if count > 1 and 6 * count >= len(looked_at):  # the words of a message may have several lines
            return True
    times = [_TIMES.fullmatch(line) is not None for line in looked_at]
    return sum(times) > 1 and any(times[:3]) and _stand_above_words(times, looked_at)


def may_be_conversation(lines: Sequence[str]) -> bool:
    """Return whether ``lines`` have times and speakers like a chat or a transcript, or like a timetable or a log."""
    looked_at = _stripped(lines)
    spoken = [match for line in looked_at if (match := _SPOKEN.match(line))]
    names = [name for match in spoken if (name := match[match.lastgroup or 0]) and not _LEVEL.fullmatch(name)]
    if 2 * len(names) >= len(looked_at) and _speak_again(names):
        return True
    headings = [_HEADING.fullmatch(line) for line in looked_at]
    names = [match["before"] or match["after"] for match in headings if match]
    if _speak_again(names) and _stand_above_words([match is not None for match in headings], looked_at):
        return True
    starts = [_seconds(match[1]) for line in looked_at if (match := _START.match(line))]
    is_rising = all(first <= second for first, second in pairwise(starts))
    return len(starts) > 2 and 5 * len(starts) >= 4 * len(looked_at) and is_rising and starts[0] < _FIRST_WORDS


def _stripped(lines: Sequence[str]) -> list[str]:
    return [line.strip(" \t\r\n\u200e\ufeff") for line in lines[:_LOOKED_AT]]


def _speak_again(names: Sequence[str]) -> bool:
    """Return whether one of at least three ``names`` occurs again."""
    return len(names) > 2 and len(set(names)) < len(names)


def _stand_above_words(are_headings: Sequence[bool], lines: Sequence[str]) -> bool:
    """Return whether a quarter of ``lines`` are headings, and each has a line of words below."""
    rows = pairwise(zip(are_headings, lines, strict=True))
    return 4 * sum(are_headings) >= len(lines) and all(
        _LETTER.search(below) and not is_below for (is_heading, _), (is_below, below) in rows if is_heading
    )


def _seconds(time: str) -> float:
    seconds = 0.0
    for part in time.replace(",", ".").split(":"):
        seconds = 60 * seconds + float(part)
    return seconds
