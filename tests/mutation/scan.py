"""Tokens and functions of a CUDA source: enough of C++ to break it in one place at a time, and no more.

The scanner leaves out comments, strings and preprocessor lines. It relies on the house format, in which operators of two
sides stand between blanks and brackets of templates and signs do not.
"""
import re
from dataclasses import dataclass

PATTERN = re.compile(
    r"""(?P<blank>\s+)
      | (?P<comment>/\*.*?\*/|//[^\n]*)
      | (?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
      | (?P<number>0[xX][0-9a-fA-F.]+(?:p[+-]?\d+)?[uUlLfF]*|\d+\.?\d*(?:[eE][+-]?\d+)?[uUlLfF]*|\.\d+[fF]?)
      | (?P<word>[A-Za-z_]\w*)
      | (?P<sign><<=|>>=|\.\.\.|->|\+\+|--|<<|>>|<=|>=|==|!=|&&|\|\||\+=|-=|\*=|/=|%=|&=|\|=|\^=|::|[^\s\w])""",
    re.X | re.S)
PREPROCESSOR = re.compile(r"^[ \t]*#(?:\\\n|[^\n])*", re.M)
OPENING = {"(": ")", "[": "]", "{": "}"}


@dataclass
class Token:
    kind: str  # number, word or sign
    text: str
    at: int
    end: int
    line: int


@dataclass
class Function:
    name: str
    is_device: bool  # runs in a kernel
    first: int       # tokens of its body, without the braces
    last: int


class Source:
    """A file: its text, tokens, pairs of brackets (mate) and functions."""

    def __init__(self, path, text):
        self.path, self.text = path, text
        self.lines = text.split("\n")
        self.tokens = tokens_of(text)
        self.mate = pair_brackets(path, self.tokens)
        self.opening = {closing: opening for opening, closing in self.mate.items()}
        self.functions = list(find_functions(self))

    def has(self, i, *texts):
        return 0 <= i < len(self.tokens) and self.tokens[i].text in texts

    def cut(self, first, last):
        """The text from token `first` to token `last`, both included."""
        return self.text[self.tokens[first].at:self.tokens[last].end]

    def has_two_sides(self, i):
        """Does this operator stand between blanks, as only operators of two sides do?"""
        t = self.tokens[i]
        return self.text[t.at - 1].isspace() and self.text[t.end:t.end + 1].isspace()

    def arguments(self, opening):
        """(first, last) token of each argument of the call whose ( is token `opening`."""
        found, first, i, closing = [], opening + 1, opening + 1, self.mate[opening]
        while i < closing:
            if self.has(i, ","):
                found.append((first, i - 1))
                first = i + 1
            i = self.mate.get(i, i) + 1
        return found + [(first, closing - 1)] if closing > opening + 1 else found

    def find_end(self, i, *ends):
        """The first token from i on that is one of `ends` or closes what stands around i."""
        while not self.has(i, *ends, ")", "]", "}"):
            i = self.mate.get(i, i) + 1
        return i


def tokens_of(text):
    blanked = PREPROCESSOR.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)
    tokens, line, counted = [], 1, 0
    for m in PATTERN.finditer(blanked):
        if m.lastgroup in ("blank", "comment", "string"):
            continue
        line += blanked.count("\n", counted, m.start())
        counted = m.start()
        tokens.append(Token(m.lastgroup, m.group(), m.start(), m.end(), line))
    return tokens


def pair_brackets(path, tokens):
    mate, waiting = {}, []
    for i, t in enumerate(tokens):
        if t.kind == "sign" and t.text in OPENING:
            waiting.append(i)
        elif t.kind == "sign" and t.text in OPENING.values():
            if not waiting or OPENING[tokens[waiting[-1]].text] != t.text:
                raise ValueError(f"{path}:{t.line}: '{t.text}' closes nothing")
            mate[waiting.pop()] = i
    if waiting:
        raise ValueError(f"{path}:{tokens[waiting[-1]].line}: '{tokens[waiting[-1]].text}' is not closed")
    return mate


def find_functions(source):
    """Top-level definitions with code in them; a struct counts as one where it has a function for the device."""
    i, start = 0, 0
    while i < len(source.tokens):
        if source.has(i, "{"):
            head = [t.text for t in source.tokens[start:i]]
            body = [t.text for t in source.tokens[i:source.mate[i]]]
            if ")" in head or "__device__" in body:
                is_device = any(w in ("__global__", "__device__") for w in head + body)
                yield Function(name_of(head), is_device, i + 1, source.mate[i] - 1)
        if source.has(i, "{", ";"):
            i = start = source.mate.get(i, i) + 1
        else:
            i = source.mate.get(i, i) + 1


def name_of(head):
    """The word before the parameters, or before the arguments of a template; of a struct, its own name."""
    for i in range(1, len(head)):
        if head[i] != "(" or head[i - 1].startswith("__"):
            continue
        if head[i - 1] == ">":
            i = max(k for k in range(i) if head[k] == "<")
        return head[i - 1]
    return head[-1] if head else "?"
