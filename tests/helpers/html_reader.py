"""Reading a page of HTML as a test wants to see it."""

from html.parser import HTMLParser


class Reader(HTMLParser):
    """What a page holds: tags with attributes, all text, code, and tables by id."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.code, self.tables, self._inside = [], [], {}, []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        self._inside.append(tag)
        if tag == "table":
            self._lines = self.tables[attributes["id"]] = []
        elif tag == "tr":
            self._lines.append([])
        elif tag in ("td", "th"):
            self._lines[-1].append("")
        elif tag == "code":
            self.code.append("")

    def handle_endtag(self, tag):
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data):
        if self._inside[-1:] == ["script"]:
            return
        self.text += data
        if "code" in self._inside:
            self.code[-1] += data
        if {"td", "th"} & set(self._inside):
            self._lines[-1][-1] += data
