"""Tasks for the tools that come with the distribution: calculator, clock and to-do list.

The declarations are those of `agentkit_tools`, word for word (a test compares them).
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from agentkit_engine.training.corpus import values
from agentkit_engine.training.corpus.tasks import Task, declaration, failure, finish

CALCULATOR = declaration(
    "calculator",
    "Work out an arithmetic expression.",
    {"expression": {"type": "string", "description": "The arithmetic."}},
    ["expression"],
)
CURRENT_TIME = declaration(
    "current_time",
    "Tell the current date and time.",
    {"timezone": {"type": "string", "default": "UTC", "description": "A city or time zone."}},
    [],
)
DAYS_BETWEEN = declaration(
    "days_between",
    "Count the days from one date to another.",
    {
        "start": {"type": "string", "format": "date", "description": "The first date."},
        "end": {"type": "string", "format": "date", "description": "The second date."},
    },
    ["start", "end"],
)
TODO_ADD = declaration(
    "todo_add",
    "Add an item to the to-do list.",
    {"text": {"type": "string", "minLength": 1, "maxLength": 200, "description": "What to do."}},
    ["text"],
)
TODO_LIST = declaration("todo_list", "Show the open items of the to-do list.", {}, [])
TODO_DONE = declaration(
    "todo_done",
    "Mark an item of the to-do list as done.",
    {"id": {"type": "integer", "minimum": 1, "description": "The number of the item."}},
    ["id"],
)
DECLARATIONS = (CALCULATOR, CURRENT_TIME, DAYS_BETWEEN, TODO_ADD, TODO_LIST, TODO_DONE)

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
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def shipped_task(random: Random) -> Task:
    """A request that one of the shipped tools serves."""
    makers: tuple[Callable[[Random], Task], ...] = (_sum, _time, _days, _add, _list, _done)
    (maker,) = random.choices(makers, (5, 3, 2, 5, 1.5, 1.5))
    return maker(random)


def _number(random: Random) -> str:
    draw = random.random()
    if draw < 0.7:
        return str(abs(values.integer(random)))
    if draw < 0.9:
        return str(values.decimal(random))
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


def _sum(random: Random) -> Task:
    expression = _expression(random)
    frame = random.choice(_SUM_FRAMES)
    if random.random() < 0.07:
        unreadable = f"cannot read the expression '{expression}'"
        reason = random.choice(("cannot divide by zero", "the result is too large", unreadable))
        result = failure(random, "calculator", reason)
        answer = f"That failed: {reason}."
    else:
        sums = (values.integer(random), values.decimal(random), random.randint(100, 999999))
        result = str(random.choice(sums))
        answer = f"The answer is {result}."
    request = finish(random, frame).format(e=expression)
    return Task(CALCULATOR, request, {"expression": expression}, result, answer)


def _time(random: Random) -> Task:
    day = random.choice(_WEEKDAYS)
    place, zone = "", "UTC"
    if random.random() < 0.25:
        frame = random.choice(_NOW_FRAMES)
    else:
        place = _place(random)
        frame = random.choice(_TIME_FRAMES)
        continent = random.choice(("Europe", "Asia", "America", "Africa"))
        zone = f"{continent}/{place.replace(' ', '_')}"
    date = values.date(random)
    result = f"{day} {date} {random.randint(0, 23):02d}:{random.randint(0, 59):02d} {zone}"
    answer = f"The answer is {result}."
    if place and random.random() < 0.1:
        reason = f"unknown time zone '{place}'"
        result = failure(random, "current_time", f"{reason}: name a city such as Tokyo")
        answer = f"That failed: {reason}."
    arguments = {"timezone": place} if place else {}
    return Task(CURRENT_TIME, finish(random, frame).format(c=place), arguments, result, answer)


def _place(random: Random) -> str:
    if random.random() < 0.15:
        return random.choice(("UTC", "Europe/Paris", "Asia/Tokyo", "America/New_York"))
    return values.city(random)


def _days(random: Random) -> Task:
    start, end = values.date(random), values.date(random)
    frame = random.choice(_DAYS_FRAMES)
    result = f"{random.randint(-400, 4000)} days"
    request = finish(random, frame).format(a=start, b=end)
    answer = f"The answer is {result}."
    return Task(DAYS_BETWEEN, request, {"start": start, "end": end}, result, answer)


def _add(random: Random) -> Task:
    text = random.choice((values.errand, values.errand, values.phrase))(random)
    quote = random.choice(("", "", "", "'", '"'))
    frame = random.choice(_ADD_FRAMES)
    result = f"Added {random.randint(1, 60)}: {text}"
    request = finish(random, frame).format(t=f"{quote}{text}{quote}")
    return Task(TODO_ADD, request, {"text": text}, result, f"{result}.")


def _list(random: Random) -> Task:
    frame = random.choice(_LIST_FRAMES)
    if random.random() < 0.25:
        result = answer = "The to-do list is empty."
    else:
        result = _open_items(random)
        answer = f"Open: {result}."
    return Task(TODO_LIST, finish(random, frame), {}, result, answer)


def _open_items(random: Random) -> str:
    numbers = sorted(random.sample(range(1, 30), random.choice((1, 1, 2, 2, 3))))
    return "; ".join(f"{number}: {values.errand(random)}" for number in numbers)


def _done(random: Random) -> Task:
    number = random.randint(1, 60)
    frame = random.choice(_DONE_FRAMES)
    result = f"Done {number}: {values.errand(random)}"
    answer = f"{result}."
    if random.random() < 0.15:
        reason = f"no open item {number}"
        items = f"open items: {random.randint(1, 9)}, {random.randint(10, 20)}"
        rest = random.choice(("the to-do list is empty", items))
        result = failure(random, "todo_done", f"{reason}; {rest}")
        answer = f"That failed: {reason}."
    return Task(TODO_DONE, finish(random, frame).format(i=number), {"id": number}, result, answer)
