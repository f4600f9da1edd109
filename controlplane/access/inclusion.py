"""Whether one list of patterns surely covers no more than another.

    within(["shop/w*"], ["shop/*"])      yes
    within(["shop/**"], ["shop/*/**"])   no: shop/web

Both lists are run at once, as automata, over every text there can be; a text that the first covers and the second
does not is an answer. Characters that no pattern names are all alike, so that there are few to try. Where it would
take too long the answer is no: somebody is refused to give what they could have given, never the other way round.
Pure: no Django, no database.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

MOST_STATES = 5000
OTHER = "\0"  # stands for every character that no pattern names


@dataclass
class Automaton:
    """Patterns side by side. A state is a set of places in them, kept as the bits of a number."""

    patterns: Sequence[str]
    start: int = 0
    ends: int = 0
    segment: int = 0  # places of a *, which may stay for every character but a slash
    anything: int = 0  # places of a **, which may stay for every character
    moves: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        place = 0
        for pattern in self.patterns:
            self.start |= 1 << place
            for token in re.findall(r"\*\*|.", pattern, re.DOTALL):
                if token == "**":
                    self.anything |= 1 << place
                elif token == "*":
                    self.segment |= 1 << place
                else:
                    self.moves[token] = self.moves.get(token, 0) | 1 << place
                place += 1
            self.ends |= 1 << place
            place += 1
        self.start = self._closed(self.start)

    def _closed(self, state: int) -> int:
        """With the places behind stars, which may stand for nothing."""
        while (more := state | (state & (self.segment | self.anything)) << 1) != state:
            state = more
        return state

    def after(self, state: int, char: str) -> int:
        found = (state & self.moves.get(char, 0)) << 1 | state & self.anything
        if char != "/":
            found |= state & self.segment
        return self._closed(found)

    def covers(self, state: int) -> bool:
        return bool(state & self.ends)

    def accepts(self, text: str) -> bool:
        """Whether one of the patterns is the whole of `text`: in one pass over it, whatever they are."""
        state = self.start
        for char in text:
            state = self.after(state, char)
        return self.covers(state)


def within(patterns: Sequence[str], others: Sequence[str]) -> bool:
    """Whether `others` surely cover all that `patterns` do. In both, a leading ! excepts."""
    if _is_part(patterns, others):
        return True
    machines = [*_machines(patterns), *_machines(others)]
    chars = {"/", OTHER}.union(*(machine.moves for machine in machines))
    first = tuple(machine.start for machine in machines)
    seen, waiting = {first}, [first]
    while waiting:
        states = waiting.pop()
        inner, less, outer, but = (machine.covers(state) for machine, state in zip(machines, states, strict=True))
        if inner and not less and (but or not outer):
            return False
        for char in chars:
            after = tuple(machine.after(state, char) for machine, state in zip(machines, states, strict=True))
            if after[0] and after not in seen:
                seen.add(after)
                waiting.append(after)
        if len(seen) > MOST_STATES:
            return False
    return True


def _is_part(patterns: Sequence[str], others: Sequence[str]) -> bool:
    """Whether it can be told from the lists as they are written: every plain one is there, every exception kept."""
    plain = {each for each in patterns if not each.startswith("!")}
    return plain <= set(others) and {each for each in others if each.startswith("!")} <= set(patterns)


def _machines(patterns: Sequence[str]) -> tuple[Automaton, Automaton]:
    plain = [each for each in patterns if not each.startswith("!")]
    return Automaton(plain), Automaton([each[1:] for each in patterns if each.startswith("!")])
