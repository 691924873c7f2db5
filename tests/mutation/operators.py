"""The ways to break a kernel: each operator yields edits of one function of a source.

An edit is one small slip as people make them: a barrier forgotten, < for <=, the wrong term, a store left out. What no
test could judge is left alone: text of messages, sizes that only tune (top-level enums), declarations.
"""
import hashlib
import re
from collections import defaultdict
from dataclasses import dataclass, field

COMPARE = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="}
LOGIC = {"&&": "||", "||": "&&"}
ARITHMETIC = {"+": "-", "-": "+", "*": "/", "%": "/", "<<": ">>", ">>": "<<", "|": "&", "&": "|", "^": "&"}
ASSIGNMENTS = {"+=": "=", "-=": "+=", "*=": "=", "^=": "=", "|=": "=", "&=": "=", "=": "="}
BARRIERS = {"__syncthreads", "__syncwarp", "cp_async_commit", "cp_async_wait"}
STORES = {"gm_store", "gm_store4", "store_columns", "store_quad", "store4", "store_rows", "put_grad", "cp_async16"}
LIMITS = {"min", "max", "fminf", "fmaxf"}
MESSAGES = {"gm_fail", "GM_DYN_SMEM", "static_assert", "assert"}
KEYWORDS = {"return", "if", "for", "else", "while", "case", "continue", "break", "do", "const", "static"}
JUMPS = {"return", "continue", "break"}
IS_ADDED = re.compile(r"(add|adds|is_added|add_d\w+)$")

# How many of an operator's mutants are run, out of a hundred. Which ones follows from their ids alone, so that the choice
# stands when other lines change. What only running can show (barriers, masks) is run in full.
SHARE = {"barrier": 100, "mask": 100, "scratch": 100, "add": 35, "guard": 30, "geometry": 30, "limit": 20, "store": 20,
         "assign": 18, "logic": 14, "compare": 10, "divide": 10, "stride": 10, "drop": 9, "invert": 9, "ternary": 9,
         "index": 8, "arithmetic": 4, "constant": 3}
# What all operations share counts more, and less the one whose tests take longest.
WEIGHT = {"device": 2.5, "attention": 0.6}


@dataclass
class Edit:
    operator: str
    token: int        # where its line is
    at: int           # the text from `at` to `end` becomes `new`
    end: int
    new: str


@dataclass
class Mutant:
    id: str
    path: str
    function: str
    operator: str
    line: int
    text: str         # the line before
    change: str
    at: int
    end: int
    new: str
    ops: list = field(default_factory=list)

    def apply(self, source_text):
        return source_text[:self.at] + self.new + source_text[self.end:]


class Body:
    """A function of a source while edits are looked for."""

    def __init__(self, source, function):
        self.s, self.f = source, function
        self.skipped = set(self.find_skipped())
        self.for_heads = [i + 1 for i in self.range() if source.has(i, "for") and source.has(i + 1, "(")]

    def range(self):
        return range(self.f.first, self.f.last + 1)

    def find_skipped(self):
        """Tokens of messages, enums, declarations of shared memory, and of a launch that asks for no shared memory."""
        for i in self.range():
            t = self.s.tokens[i]
            if t.text in MESSAGES and self.s.has(i + 1, "("):
                yield from range(i, self.s.mate[i + 1] + 1)
            elif t.text == "GM_LAUNCH":
                first, last = self.s.arguments(i + 1)[4]
                yield from [first] if first == last else []
            elif t.text == "enum" and self.s.has(i + 1, "{"):
                yield from range(i, self.s.mate[i + 1] + 1)
            elif t.text == "__shared__":
                yield from range(i, self.s.find_end(i, ";"))

    def tokens(self):
        return ((i, self.s.tokens[i]) for i in self.range() if i not in self.skipped)

    def replace(self, operator, i, new, last=None):
        """Tokens i .. last become `new`; line breaks stay, so that all that follows keeps its line."""
        first, end = self.s.tokens[i], self.s.tokens[i if last is None else last]
        breaks = self.s.text.count("\n", first.at, end.end) - new.count("\n")
        return Edit(operator, i, first.at, end.end, new + "\n" * breaks)

    def starts_statement(self, i):
        s = self.s
        if s.has(i - 1, ";", "{", "}", "else", "do"):
            return not any(h < i < s.mate[h] for h in self.for_heads)
        if not s.has(i - 1, ")"):
            return False
        return s.has(s.opening[i - 1] - 1, "if", "for", "while")


def find_barriers(b):
    for i, t in b.tokens():
        if t.text in BARRIERS and b.starts_statement(i):
            yield b.replace("barrier", i, "(void)0", b.s.find_end(i, ";") - 1)
        elif t.text == "__syncthreads_or":
            yield b.replace("barrier", i, "")


def find_masks(b):
    for i, t in b.tokens():
        if t.text == "0xFFFFFFFFu" and b.s.has(i - 1, "(") and b.s.tokens[i - 2].text.endswith("_sync"):
            yield b.replace("mask", i, "0xFFFFu")


def find_signs(b):
    for i, t in b.tokens():
        if t.kind != "sign" or not b.s.has_two_sides(i):
            continue
        if t.text in COMPARE:
            yield b.replace("compare", i, COMPARE[t.text])
        elif t.text in LOGIC:
            yield b.replace("logic", i, LOGIC[t.text])
        elif t.text == "/":
            yield b.replace("divide", i, "*")
            yield b.replace("divide", i, "%")
        elif t.text in ARITHMETIC:
            yield b.replace("arithmetic", i, ARITHMETIC[t.text])


def find_assignments(b):
    for i, t in b.tokens():
        if t.text in ASSIGNMENTS and t.text != "=" and third_part(b, i) is None:
            yield b.replace("assign", i, ASSIGNMENTS[t.text])


def third_part(b, i):
    """The ) of the for whose third part token i is in, or None."""
    for h in b.for_heads:
        closing = b.s.mate[h]
        if h < i < closing:
            second = b.s.find_end(b.s.find_end(h + 1, ";") + 1, ";")
            return closing if i > second else None
    return None


def find_strides(b):
    for i, t in b.tokens():
        closing = third_part(b, i)
        if closing is None:
            continue
        if t.text in ("+=", "-=", ">>=", "<<="):
            last = b.s.find_end(i + 1, ",") - 1
            yield b.replace("stride", i + 1, f"2 * ({b.s.cut(i + 1, last)})", last)
        elif t.text in ("++", "--"):
            yield b.replace("stride", i, f"{t.text[0]}= 2")


def find_limits(b):
    for i, t in b.tokens():
        if t.text not in LIMITS or not b.s.has(i + 1, "("):
            continue
        arguments = b.s.arguments(i + 1)
        for first, last in arguments if len(arguments) == 2 else []:
            yield b.replace("limit", i, f"({b.s.cut(first, last)})", b.s.mate[i + 1])


def find_conditions(b):
    for i, t in b.tokens():
        if t.text == "if" and b.s.has(i + 1, "("):
            closing = b.s.mate[i + 1]
            if b.s.tokens[closing + 1].text in JUMPS:
                yield b.replace("guard", i, "(void)0", b.s.find_end(closing + 1, ";") - 1)
            yield b.replace("invert", i + 1, f"(!{b.s.cut(i + 1, closing)})", closing)
        elif t.text == "?":
            middle = b.s.find_end(i + 1, ":", "?")
            if b.s.has(middle, ":"):  # a ? b ? c : d : e is nobody's style
                last = b.s.find_end(middle + 1, ",", ";") - 1
                yield b.replace("ternary", i + 1, f"{b.s.cut(middle + 1, last)} : {b.s.cut(i + 1, middle - 1)}", last)


def find_indices(b):
    for i, t in b.tokens():
        if not b.f.is_device or t.text != "[" or b.s.tokens[i - 1].kind not in ("word", "sign"):
            continue
        inside = range(i + 1, b.s.mate[i])
        if any(b.s.tokens[k].kind == "word" and not b.s.tokens[k].text.isupper() for k in inside):
            yield b.replace("index", i + 1, f"({b.s.cut(i + 1, b.s.mate[i] - 1)}) + 1", b.s.mate[i] - 1)


def find_constants(b):
    for i, t in b.tokens():
        if t.text in ("true", "false"):
            yield b.replace("constant", i, "false" if t.text == "true" else "true")
        elif t.text == "INFINITY":
            yield b.replace("constant", i, "0.0f")
        elif t.kind == "number" and not t.text.startswith("0xFFFFFFFF") and not is_extent(b, i):
            yield b.replace("constant", i, other_number(t.text))


def is_extent(b, i):
    """A number in the brackets of a declaration, `float v[4]`: a larger array changes nothing."""
    return b.s.has(i - 1, "[") and b.s.has(i + 1, "]") and (b.s.tokens[i - 3].kind == "word" or b.s.has(i - 3, "*", "]"))


def other_number(text):
    is_float = re.match(r"0x[\da-fA-F.]*p|\d*\.|\d+[eE]", text) is not None
    if not is_float:
        digits = text.rstrip("uUlL")
        return f"({text} + 1)" if digits.startswith("0x") else str(int(digits) + 1) + text[len(digits):]
    value = text.rstrip("fF")
    suffix = text[len(value):]
    if value in ("1.0", "0.0"):
        return ("0.0" if value == "1.0" else "1.0") + suffix
    return f"({text} * 1.5{suffix})"


def find_statements(b):
    """Statements left out: stores to memory, and other calls and assignments."""
    for i, t in b.tokens():
        if not b.starts_statement(i) or t.text in KEYWORDS | BARRIERS or not (t.kind == "word" or t.text in ("*", "(")):
            continue
        last = b.s.find_end(i, ";") - 1
        if not b.s.has(last + 1, ";"):
            continue  # a list of values
        assignment = b.s.find_end(i, ";", *ASSIGNMENTS)
        is_call = b.s.has(last, ")") and b.s.has(assignment, ";")
        if b.s.has(assignment, ";") and not is_call or not is_target(b, i, assignment, is_call):
            continue
        is_store = t.text in STORES or t.text == "*" or not is_call and b.s.has(assignment - 1, "]") or t.text == "("
        yield b.replace("store" if is_store else "drop", i, "(void)0", last)


def is_target(b, first, end, is_call):
    """Is this an assignment or a call, and no declaration: no two words (or word and *) side by side?"""
    i = first + (1 if b.s.has(first, "*") else 0)
    while i < end - 1:
        if b.s.tokens[i].kind == "word" and (b.s.tokens[i + 1].kind == "word" or b.s.has(i + 1, "*", "&")):
            return False
        i = b.s.mate.get(i, i) + 1
    return True


def find_adds(b):
    """The flag that asks for adding to what is there is taken as never set, and as always set."""
    flags = {b.s.tokens[i + 1].text for i, t in enumerate(b.s.tokens) if t.text == "bool"}
    for i, t in b.tokens():
        first = i
        while b.s.has(first - 1, ".", "->"):
            first -= 2
        if not IS_ADDED.match(t.text) or b.s.has(i - 1, "bool") or first == i and t.text not in flags:
            continue
        yield b.replace("add", first, "false", i)
        yield b.replace("add", first, "true", i)


def find_launches(b):
    """Half the grid, half the block, half the shared memory of a launch; half of the scratch memory asked for."""
    for i, t in b.tokens():
        if t.text == "gm_scratch" and b.s.has(i + 1, "("):
            first, last = b.s.arguments(i + 1)[1]
            yield b.replace("scratch", first, f"({b.s.cut(first, last)}) / 2", last)
        if t.text != "GM_LAUNCH":
            continue
        for first, last in b.s.arguments(i + 1)[2:5]:
            sizes = b.s.arguments(first + 1) if b.s.has(first, "dim3") else [(first, last)]
            for start, end in sizes:
                if not b.s.has(start, "0", "1") or start != end:
                    yield b.replace("geometry", start, f"(({b.s.cut(start, end)}) + 1) / 2", end)


FINDERS = (find_barriers, find_masks, find_signs, find_assignments, find_strides, find_limits, find_conditions, find_indices,
           find_constants, find_statements, find_adds, find_launches)


def mutants_of(source, stem):
    """All mutants of a file. An id names the line by its text, function and turn in it, so that it outlives edits elsewhere."""
    counted = defaultdict(int)
    for function in source.functions:
        body = Body(source, function)
        turns = turn_of_lines(source, function, counted)
        seen = defaultdict(int)
        for finder in FINDERS:
            for edit in finder(body):
                line = source.tokens[edit.token].line
                place = (function.name, source.lines[line - 1].strip(), turns[line], edit.operator)
                seen[place] += 1
                yield make(source, stem, function, edit, line, place + (seen[place],))


def turn_of_lines(source, function, counted):
    """For each line of the function: the how-manieth of its text in functions of this name."""
    first, last = source.tokens[function.first - 1].line, source.tokens[function.last + 1].line
    turns = {}
    for line in range(first, last + 1):
        key = (function.name, source.lines[line - 1].strip())
        counted[key] += 1
        turns[line] = counted[key]
    return turns


def make(source, stem, function, edit, line, place):
    digest = hashlib.sha256("\0".join(map(str, place)).encode()).hexdigest()[:8]
    old, new = (" ".join(text.split()) for text in (source.text[edit.at:edit.end], edit.new))
    return Mutant(f"{stem}.{edit.operator}.{digest}", source.path, function.name, edit.operator, line,
                  source.lines[line - 1].strip(), f"{old} -> {new or 'nothing'}", edit.at, edit.end, edit.new)


def is_chosen(mutant):
    """Is it among those that a full run tries?"""
    share = SHARE[mutant.operator]
    weight = WEIGHT.get(mutant.path.split("/")[-2], 1.0) if share < 100 else 1.0
    return int(mutant.id[-8:], 16) % 1000 < 10 * share * weight
