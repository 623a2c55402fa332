"""Tasks for the tools that come with the distribution: calculator, clock and to-do list.

The declarations are those of `agentkit_tools`, word for word (a test compares them).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from agentkit_engine.training.corpus.declaring import Declared
from agentkit_engine.training.corpus.described import Tool
from agentkit_engine.training.corpus.domains import imperatives
from agentkit_engine.training.corpus.kinds import KINDS
from agentkit_engine.training.corpus.lexicon import Pen
from agentkit_engine.training.corpus.tasks import Task
from agentkit_engine.training.corpus.wording import failure, polished, snake


def _declared(
    name: str, description: str, properties: dict[str, Any], required: list[str]
) -> Declared:
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        schema["required"] = required
    schema["additionalProperties"] = False
    function = {"name": name, "description": description, "parameters": schema}
    tool = Tool("shipped", 0, (name.replace("_", " "),), (description,), (), (), ())
    return Declared(tool, snake, {}, {}, {"type": "function", "function": function})


CALCULATOR = _declared(
    "calculator",
    "Work out an arithmetic expression.",
    {"expression": {"type": "string", "description": "The arithmetic."}},
    ["expression"],
)
CURRENT_TIME = _declared(
    "current_time",
    "Tell the current date and time.",
    {"timezone": {"type": "string", "default": "UTC", "description": "A city or time zone."}},
    [],
)
DAYS_BETWEEN = _declared(
    "days_between",
    "Count the days from one date to another.",
    {
        "start": {"type": "string", "format": "date", "description": "The first date."},
        "end": {"type": "string", "format": "date", "description": "The second date."},
    },
    ["start", "end"],
)
TODO_ADD = _declared(
    "todo_add",
    "Add an item to the to-do list.",
    {"text": {"type": "string", "minLength": 1, "maxLength": 200, "description": "What to do."}},
    ["text"],
)
TODO_LIST = _declared("todo_list", "Show the open items of the to-do list.", {}, [])
TODO_DONE = _declared(
    "todo_done",
    "Mark an item of the to-do list as done.",
    {"id": {"type": "integer", "minimum": 1, "description": "The number of the item."}},
    ["id"],
)
TOOLSETS = ((CALCULATOR,), (CURRENT_TIME, DAYS_BETWEEN), (TODO_ADD, TODO_LIST, TODO_DONE))

_SUM_FRAMES = (
    "what is {e}", "what's {e}", "calculate {e}", "compute {e}", "how much is {e}", "{e}",
    "work out {e}", "{e} = ?", "tell me {e}", "can you work out {e}", "please calculate {e}",
    "solve {e}", "I need {e}", "evaluate {e}", "tell me what {e} is", "what does {e} come to",
    "how much {e} is", "do the maths: {e}", "what do I get for {e}",
)  # fmt: skip
_NOW_FRAMES = (
    "what time is it", "what is the date today", "what day is it", "tell me the time",
    "what's the date", "current time please",
)  # fmt: skip
_TIME_FRAMES = (
    "what time is it in {c}", "what's the time in {c}", "current time in {c}",
    "tell me the date in {c}", "what day is it in {c}", "time in {c}", "how late is it in {c}",
    "which day is it in {c} now", "what time is it in {c} right now", "what is the time in {c}",
    "what's the current time in {c}",
)  # fmt: skip
_DAYS_FRAMES = (
    "how many days are between {a} and {b}", "how many days from {a} to {b}",
    "days between {a} and {b}", "count the days from {a} until {b}",
    "how long is it from {a} to {b}", "number of days from {a} to {b}",
)  # fmt: skip
_ADD_FRAMES = (
    "add {t} to my list", "add {t} to my to-do list", "add {t} to the to-do list",
    "remind me to {t}", "put {t} on my list", "todo: {t}", "new to-do: {t}",
    "I have to {t}, add it to my list", "please add {t}", "note that I must {t}",
    "don't let me forget to {t}", "add to my to-do list: {t}", "put {t} on the to-do list",
    "I need to {t}", "remember to {t}", "put {t} on my to-do list", "add the item {t}",
    "write {t} on my list", "create a to-do: {t}", "add a to-do to {t}", "add a to-do: {t}",
)  # fmt: skip
_LIST_FRAMES = (
    "show my to-do list", "what is on my list", "what do I have to do", "list my to-dos",
    "what's on my to-do list", "show me my open items", "what is left to do",
    "read me my to-do list", "anything to do today", "which items are open",
)  # fmt: skip
_DONE_FRAMES = (
    "mark item {i} as done", "mark {i} as done", "item {i} is done", "I finished number {i}",
    "tick off {i}", "complete item {i}", "done with {i}", "I did item {i}", "check off number {i}",
    "finish to-do {i}", "set item {i} to done",
)  # fmt: skip
_SPELLED = ("plus", "minus", "times", "divided by", "multiplied by", "x")
_TAILS = (
    "today", "tomorrow", "tonight", "soon", "on Monday", "on Friday", "this week", "next week",
    "at noon", "after work", "before lunch", "in the morning", "for the party", "for the kids",
    "about the trip", "at home", "by Friday", "from the shop", "to the office",
)  # fmt: skip
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def task(random: Random, declared: Declared, *, held: bool = False) -> Task:
    """A request that one of the shipped tools serves."""
    return _MAKERS[declared.name](random, held)


def _polished(random: Random, frame: str) -> str:
    start = frame.split(" ", 1)[0]
    return polished(
        random, frame, literal=not frame.startswith("{"), imperative=start in imperatives()
    )


def _task(
    declared: Declared, request: str, arguments: dict[str, Any], result: str, answer: str
) -> Task:
    return Task(declared, request, arguments, result, answer, (result,))


def _failed(
    random: Random, declared: Declared, request: str, arguments: dict[str, Any], reason: str,
    told: str = "",
) -> Task:  # fmt: skip
    error = failure(declared.name, told or reason, bare=random.random() < 0.4)
    return Task(declared, request, arguments, error, f"That failed: {reason}.", (reason,))


def _number(random: Random) -> str:
    draw = random.random()
    if draw < 0.7:
        low, high = random.choice(((1, 9), (1, 9), (10, 99), (10, 99), (100, 9999)))
        return str(random.randint(low, high))
    if draw < 0.9:
        return str(round(random.uniform(0.01, 999), random.choice((1, 2))))
    return f"{random.randint(1, 99)},{random.randint(0, 999):03d}"


def _expression(random: Random) -> str:
    draw = random.random()
    if draw < 0.1:
        return f"{random.randint(1, 99)}% of {_number(random)}"
    if draw < 0.16:
        if random.random() < 0.5:
            return f"{random.choice(('sqrt', 'abs'))}({_number(random)})"
        return f"square root of {random.randint(2, 999)}"
    if draw < 0.22:
        base, power = random.randint(2, 30), random.choice(("^", "**", " to the power of "))
        return f"{base}{power}{random.randint(2, 6)}"
    tight = "" if random.random() < 0.4 else " "
    if draw < 0.5:
        return f"{_number(random)} {random.choice(_SPELLED)} {_number(random)}"
    first, second = (f"{tight}{random.choice('+-*/')}{tight}" for _ in range(2))
    left = f"{_number(random)}{first}{_number(random)}"
    if draw < 0.8:
        return left
    if draw < 0.9:
        left = f"({left})"
    return f"{left}{second}{_number(random)}"


def _sum(random: Random, held: bool) -> Task:
    expression = _expression(random)
    request = _polished(random, random.choice(_SUM_FRAMES)).format(e=expression)
    arguments = {"expression": expression}
    if random.random() < 0.07:
        unreadable = f"cannot read the expression '{expression}'"
        reason = random.choice(("cannot divide by zero", "the result is too large", unreadable))
        return _failed(random, CALCULATOR, request, arguments, reason)
    result = random.choice((_number(random), str(random.randint(-9999, 999999))))
    return _task(CALCULATOR, request, arguments, result, f"The answer is {result}.")


def _time(random: Random, held: bool) -> Task:
    zone, place = "UTC", ""
    if random.random() < 0.25:
        frame = random.choice(_NOW_FRAMES)
    else:
        place, frame = _place(random, held), random.choice(_TIME_FRAMES)
        continent = random.choice(("Europe", "Asia", "America", "Africa"))
        zone = f"{continent}/{place.replace(' ', '_')}"
    request = _polished(random, frame).format(c=place)
    arguments = {"timezone": place} if place else {}
    if place and random.random() < 0.1:
        reason = f"unknown time zone '{place}'"
        told = f"{reason}: name a city such as Tokyo"
        return _failed(random, CURRENT_TIME, request, arguments, reason, told)
    day = f"{random.choice(_WEEKDAYS)} {KINDS['date'].draw(random).value}"
    result = f"{day} {random.randint(0, 23):02d}:{random.randint(0, 59):02d} {zone}"
    return _task(CURRENT_TIME, request, arguments, result, f"The answer is {result}.")


def _place(random: Random, held: bool) -> str:
    if random.random() < 0.15:
        return random.choice(("UTC", "Europe/Paris", "Asia/Tokyo", "America/New_York"))
    return str(KINDS["city"].draw(random, held=held).value)


def _days(random: Random, held: bool) -> Task:
    start, end = (KINDS["date"].draw(random, held=held) for _ in range(2))
    request = _polished(random, random.choice(_DAYS_FRAMES)).format(a=start.words, b=end.words)
    arguments = {"start": start.value, "end": end.value}
    result = f"{random.randint(-400, 4000)} days"
    return _task(DAYS_BETWEEN, request, arguments, result, f"The answer is {result}.")


def _errand(random: Random, held: bool) -> str:
    """A thing to be done: 'buy fresh milk tomorrow', 'call the dentist'."""
    pen = Pen(random, held=held)
    parts = [pen.word("verbs")]
    if random.random() < 0.4:
        parts.append(random.choice(("the", "a", "my", "some", "two", "three", "our")))
    if random.random() < 0.25:
        parts.append(pen.word("adjectives"))
    parts.append(pen.word("things", fresh=0.2))
    if random.random() < 0.2:
        parts += ["and", pen.word("things")]
    if random.random() < 0.3:
        parts.append(random.choice(_TAILS))
    return " ".join(parts)


def _add(random: Random, held: bool) -> Task:
    text = _errand(random, held)
    if random.random() < 0.3:
        text = str(KINDS["phrase"].draw(random, held=held).value)
    quote = random.choice(("", "", "", "'", '"'))
    request = _polished(random, random.choice(_ADD_FRAMES)).format(t=f"{quote}{text}{quote}")
    result = f"Added {random.randint(1, 60)}: {text}"
    return _task(TODO_ADD, request, {"text": text}, result, f"{result}.")


def _list(random: Random, held: bool) -> Task:
    request = _polished(random, random.choice(_LIST_FRAMES))
    if random.random() < 0.25:
        result = "The to-do list is empty."
        return _task(TODO_LIST, request, {}, result, result)
    numbers = sorted(random.sample(range(1, 30), random.choice((1, 1, 2, 2, 3))))
    result = "; ".join(f"{number}: {_errand(random, held)}" for number in numbers)
    return _task(TODO_LIST, request, {}, result, f"Open: {result}.")


def _done(random: Random, held: bool) -> Task:
    number = random.randint(1, 60)
    request = _polished(random, random.choice(_DONE_FRAMES)).format(i=number)
    if random.random() < 0.15:
        reason = f"no open item {number}"
        items = f"open items: {random.randint(1, 9)}, {random.randint(10, 20)}"
        told = f"{reason}; {random.choice(('the to-do list is empty', items))}"
        return _failed(random, TODO_DONE, request, {"id": number}, reason, told)
    result = f"Done {number}: {_errand(random, held)}"
    return _task(TODO_DONE, request, {"id": number}, result, f"{result}.")


_MAKERS: Mapping[str, Callable[[Random, bool], Task]] = {
    "calculator": _sum, "current_time": _time, "days_between": _days,
    "todo_add": _add, "todo_list": _list, "todo_done": _done,
}  # fmt: skip
