"""A few fields of a JSON object, found without reading the rest of it.

What decides about a request are short members; the rest is numbers or text that nobody here looks at. Two of the things
that a computer does at once with many bytes help: to find a quote, from the front and from the back.

- *Data* has no strings behind its beginning. Names are strings, so all that there are stand before the last quote. What
  is found there is remembered, for bodies that are data begin alike: one that begins like no other is read whole.
- *Long texts* (a prompt, an image in base64) are jumped over, from quote to quote, where these are rare.

What is walked through is exactly what a parser would see of it: which object a name belongs to, which of two equal
names is the last one, where a value ends. What is left out is whether numbers and words are written as they must be.
Where that way says nothing (a name with escapes, a value that ends behind the beginning), the body is read whole. So of
what is JSON there is one reading, whoever reads (but where it holds a number beyond all floats, or half a surrogate
pair, beside a field in an array: where all of it is read nothing is found there). Of what is none, something is said
that depends on the bytes alone, for all fields at once.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from proxy.json_pointer import Pointer, index

LONGEST_BEGINNING: Final = 512
MAX_BEGINNINGS: Final = 1024
"""Beginnings that are remembered, and the bytes of the longest."""
PATIENCE: Final = 256
PER_HIT: Final = 4
REST: Final = 64
"""Where beginnings do not come again (they hold an id), one body in so many (`REST`) is looked up: after so many more
(`PATIENCE`) that were not known, of which one that was makes up for some."""
LEAST_DATA: Final = 512
"""Bytes of data behind a beginning that are worth it."""
LEAST_TEXT: Final = 32 * 1024
"""Bytes of a body that may be a long text."""
SAMPLE: Final = 4096
FEW_QUOTES: Final = 2
"""Quotes in a sample of it, below which it is taken for one; two of them are taken."""
PER_BYTE: Final = 32
STRING: Final = 48
"""Of how many bytes one may be walked through, and how many are in the time that it takes to jump over a string: so
that walking in vain costs a fraction of reading."""
_WORD = re.compile(rb"[-+.0-9A-Za-z]++")
_BLANKS: Final = b" \t\r\n"
_BETWEEN: Final = b" \t\r\n:"
MANY: Final = 64
"""Backslashes in a row that hardly anybody writes: a body that holds them in a text is read whole."""
_OBJECT: Final = ord("{")
_CLOSE: Final = ord("}")
_ARRAY: Final = ord("[")
_COMMA: Final = ord(",")
_QUOTE: Final = ord('"')
_BACKSLASH: Final = ord("\\")
NOTHING: Final = msgspec.Raw(b"")
"""What stands where nothing does."""


class SkimmedFields:
    """What one body says, unless it is not `sure`."""

    __slots__ = ("_asked", "names", "places", "sure", "values")

    def __init__(self, asked: frozenset[Pointer], names: frozenset[str], sure: bool) -> None:
        self._asked, self.names, self.sure = asked, names, sure
        self.values: dict[Pointer, msgspec.Raw] = {}
        """What stands at those of the pointers at which something does, as it is written."""
        self.places: dict[str, tuple[int, int]] = {}
        """Where it begins and ends, of those of `names`, the members of the outermost object that were looked for."""

    def written(self, pointer: Pointer) -> msgspec.Raw | None:
        """What stands at a pointer, or `NOTHING`; `None` where that was not looked for."""
        value = self.values.get(pointer)
        return NOTHING if value is None and pointer in self._asked else value


ONCE: Final = SkimmedFields(frozenset(), frozenset(), False)
"""Stands for a beginning that was seen once."""


class FieldSkimmer:
    """Looks for these fields, all of them or none."""

    def __init__(self, pointers: tuple[Pointer, ...]) -> None:
        self._pointers, self._asked = pointers, frozenset(pointers)
        self._names = frozenset([pointer[0] for pointer in pointers if len(pointer) == 1])
        self._root = _Step()
        for number, pointer in enumerate(pointers):
            self._root.leads(pointer, number)
        self.usable = bool(pointers) and () not in pointers
        """Whether there is anything to look for."""
        self._known: dict[bytes, SkimmedFields] = {}
        self._patience, self._rest = PATIENCE, 0

    def skim(self, text: bytes, anew: bool = True) -> SkimmedFields | None:
        """What a JSON text says of the fields; `None` where it must be read for that. Unless `anew`, one whose
        beginning was never seen is not walked through: that takes longer than to read 1 KB.

        >>> skimmer = FieldSkimmer((("inputs", "0", "name"), ("user",)))
        >>> text = b'{"inputs": [{"name": "x", "data": [%b]}]}' % (b"1.5," * 200 + b"0")
        >>> found = skimmer.skim(text)
        >>> bytes(found.written(("inputs", "0", "name"))), found.written(("user",)) is NOTHING, found.places
        (b'"x"', True, {})
        """
        size = len(text)
        stop = text.rfind(b'"') + 1
        if stop <= LONGEST_BEGINNING and size - stop >= LEAST_DATA:
            if text[size - 1] != _CLOSE and not text.rstrip(_BLANKS).endswith(b"}"):
                return None
            if self._rest > 0 and not anew:
                self._rest -= 1
                return None
            begins = text[:stop]
            known = self._known.get(begins)
            if known is None or known is ONCE:
                known = self._remember(begins, anew or known is not None)
            elif self._patience < PATIENCE:
                self._patience += PER_HIT
            return known if known.sure else None
        if size >= LEAST_TEXT and _is_text(text, size):
            found = self._fields(_Walk(text, self._root, size // PER_BYTE), False)
            return found if found.sure else None
        return None

    def _remember(self, begins: bytes, walks: bool) -> SkimmedFields:
        """What is said by the beginning alone, whatever follows without a further string; nothing unless it `walks`."""
        if len(self._known) >= MAX_BEGINNINGS:
            self._known.clear()
        if not walks:
            self._known[begins] = ONCE
            self._patience -= 1
            if self._patience < 0:
                self._patience, self._rest = 0, REST
            return ONCE
        walk = _Walk(begins, self._root, LONGEST_BEGINNING * STRING)
        self._known[begins] = found = self._fields(walk, True)
        return found

    def _fields(self, walk: _Walk, begins: bool) -> SkimmedFields:
        sure = walk.goes() and (walk.is_settled() if begins else walk.has_ended())
        found = SkimmedFields(self._asked, self._names, sure)
        for number, (start, end) in walk.found.items():
            pointer = self._pointers[number]
            found.values[pointer] = msgspec.Raw(walk.text[start:end])
            if len(pointer) == 1:
                found.places[pointer[0]] = start, end
        return found


def _is_text(text: bytes, size: int) -> bool:
    """Whether quotes are rare in it, by two samples."""
    middle = size // 2
    few = text.count(b'"', SAMPLE, 2 * SAMPLE) <= FEW_QUOTES
    return few and text.count(b'"', middle, middle + SAMPLE) <= FEW_QUOTES


class _Step:
    """A place that pointers lead to, or through."""

    __slots__ = ("below", "highest", "number", "onwards")

    def __init__(self) -> None:
        self.number = -1
        """Of the pointer that ends here."""
        self.onwards: dict[bytes, _Step] = {}
        self.highest = -1
        """The last element of an array that a pointer leads on to."""
        self.below: list[int] = []
        """Pointers that end here or lead on."""

    def leads(self, pointer: Pointer, number: int) -> None:
        """This pointer begins here."""
        self.below.append(number)
        if not pointer:
            self.number = number
            return
        name = pointer[0].encode()
        self.highest = max(self.highest, index(pointer[0]))
        if name not in self.onwards:
            self.onwards[name] = _Step()
        self.onwards[name].leads(pointer[1:], number)


class _Opened:
    """An object or an array that has begun. `step` is `None` where nothing in it is looked for."""

    __slots__ = ("at", "is_object", "start", "step")

    def __init__(self, is_object: bool, step: _Step | None, start: int) -> None:
        self.is_object, self.step, self.start = is_object, step, start
        self.at = 0
        """Which element of an array it is at."""


class _Walk:
    """One way through a text."""

    def __init__(self, text: bytes, root: _Step, work: int) -> None:
        self.text, self._work = text, work
        self.found: dict[int, tuple[int, int]] = {}
        """Where the values of pointers begin and end, by their numbers."""
        self._opened: list[_Opened] = []
        self._at = 0
        self._step: _Step | None = root
        """Where the value stands that comes next."""
        self._names = False
        """The next string is a name."""

    def goes(self) -> bool:
        """Go to the end, or as far as `work` allows; whether that could be reached."""
        text = self.text
        stop = len(text)
        while self._at < stop:
            byte = text[self._at]
            if byte == _QUOTE:
                on = self._string()
            elif byte in _BETWEEN:
                self._at += 1
                on = True
            elif byte == _COMMA:
                on = self._comma()
            elif byte in b"{[":
                on = self._opens(byte == _OBJECT)
            elif byte in b"}]":
                on = self._closes(byte == _CLOSE)
            else:
                on = self._word()
            self._work -= 1
            if not on or self._work < 0:
                return False
        return True

    def has_ended(self) -> bool:
        """Whether the outermost object has."""
        return not self._opened and self._step is None

    def is_settled(self) -> bool:
        """Whether nothing that follows without a string can change what was found."""
        if self._step is not None or not self._opened:
            return False
        for one in self._opened:
            step = one.step
            if step is not None and (step.number >= 0 or (not one.is_object and step.highest > one.at)):
                return False
        return True

    def _string(self) -> bool:
        text, at = self.text, self._at
        end = text.find(b'"', at + 1)
        while end > 0 and text[end - 1] == _BACKSLASH:
            slashes = _slashes(text, end)
            self._work -= STRING
            if slashes == MANY or self._work < 0:
                return False
            if slashes % 2 == 0:
                break
            end = text.find(b'"', end + 1)
        self._work -= STRING
        self._at = end + 1
        if end < 0 or self._work < 0:
            return False
        if not self._names:
            return self._value(at, end + 1)
        self._names = False
        step = self._opened[-1].step
        if step is None:
            return True
        name = text[at + 1 : end]
        self._step = step = step.onwards.get(name)
        if step is not None:  # of two members with one name the last one counts
            for number in step.below:
                self.found.pop(number, None)
        return b"\\" not in name

    def _word(self) -> bool:
        match = _WORD.match(self.text, self._at)
        if match is None:
            return False
        start, self._at = self._at, match.end()
        self._work -= self._at - start
        return self._value(start, self._at)

    def _value(self, start: int, end: int) -> bool:
        """A value that is no object or array."""
        step, self._step = self._step, None
        if step is not None and step.number >= 0:
            self.found[step.number] = start, end
        return bool(self._opened)

    def _opens(self, is_object: bool) -> bool:
        step = self._step
        if not is_object and not self._opened:
            return False
        self._opened.append(_Opened(is_object, step, self._at))
        self._names = is_object
        self._step = None if is_object or step is None else step.onwards.get(b"0")
        self._at += 1
        return True

    def _closes(self, is_object: bool) -> bool:
        if not self._opened or self._opened[-1].is_object is not is_object:
            return False
        one = self._opened.pop()
        self._at += 1
        self._step, self._names = None, False
        if one.step is not None and one.step.number >= 0:
            self.found[one.step.number] = one.start, self._at
        return bool(self._opened) or not self.text[self._at :].strip(_BLANKS)

    def _comma(self) -> bool:
        if not self._opened:
            return False
        one = self._opened[-1]
        self._at += 1
        self._names, self._step = one.is_object, None
        if not one.is_object and one.step is not None:
            one.at += 1
            if one.at <= one.step.highest:
                self._step = one.step.onwards.get(b"%d" % one.at)
        return True


def _slashes(text: bytes, at: int) -> int:
    """How many backslashes stand before the quote at `at`, `MANY` of more: to count those takes a copy of them all."""
    before = text[max(0, at - MANY) : at]
    return len(before) - len(before.rstrip(b"\\"))
