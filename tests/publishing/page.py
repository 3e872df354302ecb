"""A page of HTML as a test reads it, strictly: tags that are not closed, or closed twice, are errors."""

import csv
from html.parser import HTMLParser
from urllib.parse import unquote

_VOID = {"meta", "link", "br", "hr", "img"}


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.tables, self.words = [], [], [], [], []
        self.links, self.codes, self.css = [], [], ""
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in _VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "code":
            self.codes.append("")
        elif tag == "a" and "download" in dict(attrs):
            self.links.append(dict(attrs))

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open:
            self.css += data
            return
        self.words.append(data)
        if "td" in self.open or "th" in self.open:
            self.tables[-1][-1][-1] += data
        if "code" in self.open:
            self.codes[-1] += data

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    @property
    def downloads(self):
        """The tables that the page offers as CSV, by file name."""
        return {
            link["download"]: list(csv.reader(unquote(link["href"].partition(",")[2]).splitlines()))
            for link in self.links
        }
