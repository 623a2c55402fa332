"""The chat at a real pseudo-terminal, with a scripted model behind it; and behind a pipe."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("a pseudo-terminal is needed", allow_module_level=True)

from terminals import CTRL_C, CTRL_D, ENTER, UP, Terminal

from agentkit import load_messages

PROMPT = "> "
APPROVAL = "or why not: "
AGENTS = '''
import anyio

from agentkit import Agent, BackendError, Deferred, RunContext, approve_when, named
from agentkit.testing import ScriptedBackend, answer, call, drafted

SEND = call("send", to="Ada", grams=800).sure(to=0.41)
NOTHING = answer("Nothing was said of it.")


def send(to: str, grams: int) -> str:
    """Send a parcel."""
    return f"sent {grams} g to {to}"


async def copy(context: RunContext, files: int) -> str:
    """Copy files."""
    for number in range(files):
        await context.report("copying", done=number + 1, total=files)
    return "copied"


async def ticket() -> str:
    """Ask the office."""
    raise Deferred("ticket 7")


def agent(*script, delay=0.0):
    paid = approve_when(named("send"), "what is sent is paid for")
    backend = ScriptedBackend(script, delay=delay)
    return Agent(tools=[send, copy, ticket], policies=[paid], backend=backend)


def said(history):
    return answer(f"{len(history)} messages, the last: {history[-1].text}")


def outcome(history):
    return answer(f"I read: {history[-1].content}")


echo = agent(*[said] * 9)
sending = agent(SEND, outcome, *[said] * 3)
both = agent([call("send", to="Alan", grams=5), SEND], answer("Both are done."))
copied = drafted(answer("All is copied."), answer("All was"), answer("All is"))
copying = agent(call("copy", files=3), copied)
slow = agent(call("copy", files=1), answer("never"), said, delay=0.01)
failing = agent(call("copy", files=1), BackendError("out of memory"), said)
lost = Agent(backend=ScriptedBackend([said]), instructions=lambda context: context.deps.name)
office = agent(call("ticket"), outcome)
'''


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "agents.py").write_text(AGENTS, "utf-8")
    return tmp_path


def chat(home: Path, agent: str, *options: str, width: int = 100, **variables: str) -> Terminal:
    arguments = ["chat", f"agents.py:{agent}", *options]
    return Terminal(arguments, home=home, width=width, variables=variables)


def test_messages_are_answered_with_what_was_said_before(home: Path) -> None:
    with chat(home, "echo") as terminal:
        terminal.until(PROMPT)
        terminal.say("Hello")
        terminal.until("1 messages, the last: Hello\n")
        terminal.until(PROMPT)
        terminal.say("")
        terminal.until(PROMPT)
        terminal.say("And now?")
        terminal.until("3 messages, the last: And now?\n")
        terminal.until(PROMPT)
        terminal.type(CTRL_D)
        assert terminal.ended() == 0


def test_a_call_is_shown_with_its_doubts_and_made_when_approved(home: Path) -> None:
    with chat(home, "sending") as terminal:
        terminal.until(PROMPT)
        terminal.say("Send 800 grams to Ada")
        shown = terminal.until(APPROVAL)
        assert '→ send(to="Ada", grams=800)  41% sure' in shown
        assert "send waits for approval: what is sent is paid for" in shown
        assert '"Ada"  ? only 41% sure' in shown
        assert "800    100% sure" in shown
        terminal.say("y")
        terminal.until("I read: sent 800 g to Ada\n")


@pytest.mark.parametrize(
    ("verdict", "read"),
    [("n", "The user denied this call"), ("too dear", "The user denied this call: too dear")],
)
def test_a_call_is_not_made_when_denied_and_the_model_reads_why(
    verdict: str, read: str, home: Path
) -> None:
    with chat(home, "sending") as terminal:
        terminal.until(PROMPT)
        terminal.say("Send 800 grams to Ada")
        terminal.until(APPROVAL)
        terminal.say("")  # no word is no verdict
        terminal.until(APPROVAL)
        terminal.say(verdict)
        assert "sent 800" not in terminal.until(f"I read: {read}")


def test_arguments_are_edited_on_the_line(home: Path) -> None:
    with chat(home, "sending") as terminal:
        terminal.until(PROMPT)
        terminal.say("Send 800 grams to Ada")
        terminal.until(APPROVAL)
        terminal.say("e")
        terminal.until('arguments: {"to": "Ada", "grams": 800}')
        terminal.say(",")
        terminal.until("this is no JSON: ")
        terminal.until("800},")
        terminal.say("\x7f\x7f0}")  # two signs back: 8000}
        terminal.until("sent 8000 g to Ada\n")


def test_arguments_are_edited_in_the_user_s_editor(home: Path) -> None:
    script = "import pathlib, sys; p = pathlib.Path(sys.argv[1]); "
    script += "p.write_text(p.read_text().replace('Ada', 'Bo'))"
    (home / "editor.py").write_text(script, "utf-8")
    with chat(home, "sending", EDITOR=f"{sys.executable} editor.py") as terminal:
        terminal.until(PROMPT)
        terminal.say("Send 800 grams to Ada")
        terminal.until(APPROVAL)
        terminal.say("e")
        terminal.until("sent 800 g to Bo\n")


def test_an_editor_that_fails_is_told_and_the_line_takes_over(home: Path) -> None:
    with chat(home, "sending", EDITOR="no-such-editor") as terminal:
        terminal.until(PROMPT)
        terminal.say("Send 800 grams to Ada")
        terminal.until(APPROVAL)
        terminal.say("e")
        terminal.until("'no-such-editor' failed: ")
        terminal.until('arguments: {"to": "Ada"')
        terminal.say("")
        terminal.until("sent 800 g to Ada\n")


def test_each_call_is_decided_by_itself(home: Path) -> None:
    with chat(home, "both") as terminal:
        terminal.until(PROMPT)
        terminal.say("Send both")
        assert '"Alan"' in terminal.until(APPROVAL)
        terminal.say("n")
        assert '"Ada"' in terminal.until(APPROVAL)
        terminal.say("y")
        shown = terminal.until("Both are done.")
        assert "sent 800 g to Ada" in shown
        assert "to Alan" not in shown


def test_what_is_finished_elsewhere_may_wait_or_be_told(home: Path) -> None:
    with chat(home, "office") as terminal:
        terminal.until(PROMPT)
        terminal.say("Ask the office")
        terminal.until("ticket is finished elsewhere: ticket 7")
        terminal.until("or nothing to wait: ")
        terminal.say("they agree")
        terminal.until("I read: they agree\n")


def test_ctrl_c_stops_a_slow_decision_and_keeps_the_history(home: Path) -> None:
    with chat(home, "slow", "--steps", "100000") as terminal:
        terminal.until(PROMPT)
        terminal.say("Copy it")
        terminal.until("step 3 of 100000")
        terminal.type(CTRL_C)
        terminal.until("stopped\n")
        terminal.until(PROMPT)
        terminal.say("/steps 1")
        terminal.until(PROMPT)
        terminal.say("/history")
        terminal.until("> Copy it\n")
        terminal.until(PROMPT)
        terminal.say("Go on")
        terminal.until("never\n")


def test_what_is_typed_ahead_tears_nothing_and_is_there_at_the_prompt(home: Path) -> None:
    with chat(home, "slow", "--steps", "30") as terminal:
        terminal.until(PROMPT)
        terminal.say("Copy it")
        terminal.until("step 3 of 30")
        terminal.type("typed ahead")
        assert "typed" not in terminal.until("never\n")
        terminal.until("> typed ahead")


def test_ctrl_c_stops_no_call_that_was_made(home: Path) -> None:
    with chat(home, "slow", "--steps", "20") as terminal:
        terminal.until(PROMPT)
        terminal.say("Copy it")
        terminal.until("← copied")
        terminal.type(CTRL_C)
        terminal.until("stopped\n")
        terminal.until(PROMPT)
        terminal.say("/history")
        terminal.until("← copied  call_1\n")


def test_ctrl_c_drops_a_line_and_ctrl_d_at_a_question_leaves(home: Path) -> None:
    with chat(home, "sending") as terminal:
        terminal.until(PROMPT)
        terminal.type("Never mi")
        terminal.until("Never mi")
        terminal.interrupt(PROMPT)
        terminal.say("Send 800 grams to Ada")
        terminal.until(APPROVAL)
        terminal.type(CTRL_D)
        assert terminal.ended() == 0
        assert "sent 800" not in terminal.text


def test_a_call_that_is_not_decided_on_is_not_made_when_the_user_goes_on(home: Path) -> None:
    with chat(home, "sending") as terminal:
        terminal.until(PROMPT)
        terminal.say("Send 800 grams to Ada")
        terminal.until(APPROVAL)
        terminal.interrupt("stopped\n")
        terminal.until(PROMPT)
        terminal.say("Hello?")
        terminal.until("Hello?")
        terminal.until(PROMPT)
        terminal.say("/history")
        terminal.until("← The user went on without this call.  call_1\n")


def test_a_kept_conversation_goes_on_where_it_was_left(home: Path) -> None:
    with chat(home, "sending", "--conversation", "parcels") as terminal:
        terminal.until(PROMPT)
        terminal.say("Send 800 grams to Ada")
        terminal.until(APPROVAL)
        terminal.type(CTRL_D)
        assert terminal.ended() == 0
    with chat(home, "echo", "--conversation", "other") as terminal:
        assert "messages so far" not in terminal.until(PROMPT)
    with chat(home, "office", "--conversation", "parcels") as terminal:
        terminal.until("2 messages so far\n")
        terminal.until(APPROVAL)
        terminal.say("n")
        terminal.until("ticket is finished elsewhere")


def test_errors_are_told_and_the_chat_goes_on(home: Path) -> None:
    with chat(home, "failing") as terminal:
        terminal.until(PROMPT)
        terminal.say("Copy it")
        terminal.until("out of memory\n")
        terminal.until(PROMPT)
        terminal.say("And now?")
        terminal.until("4 messages, the last: And now?\n")


def test_an_error_of_the_agent_s_own_code_is_told_with_its_line(home: Path) -> None:
    with chat(home, "lost") as terminal:
        terminal.until(PROMPT)
        for _ in range(2):
            terminal.say("Hello")
            terminal.until("AttributeError: 'NoneType' object has no attribute 'name'\n")
            terminal.until("instructions=lambda context: context.deps.name")
            terminal.until(PROMPT)
        assert "agentkit/running" not in terminal.text


def test_progress_and_drafts_of_answers_are_shown(home: Path) -> None:
    with chat(home, "copying") as terminal:
        terminal.until(PROMPT)
        terminal.say("Copy them")
        terminal.until("… copy  copying  ")
        terminal.until("← copied")
        terminal.until("≈ All was")
        terminal.until("≈ All is")
        terminal.until("All is copied.\n")


def test_a_paste_of_several_lines_is_one_message(home: Path) -> None:
    with chat(home, "echo") as terminal:
        terminal.until(PROMPT)
        terminal.type("\x1b[200~one\ntwo\x1b[201~")
        terminal.until("two")
        terminal.type(ENTER)
        terminal.until("1 messages, the last: one\ntwo\n")


def test_what_was_typed_comes_back_with_the_arrow_also_the_next_time(home: Path) -> None:
    for _ in range(2):
        with chat(home, "echo") as terminal:
            terminal.until(PROMPT)
            if not (home / ".local/state/agentkit/chat_history").exists():
                terminal.say("a question")
                terminal.until("last: a question\n")
                terminal.until(PROMPT)
            terminal.type(UP)
            terminal.until("a question")
            terminal.type(ENTER)
            terminal.until("last: a question\n")


def test_commands_look_at_the_conversation_and_change_it(home: Path) -> None:
    with chat(home, "copying") as terminal:
        terminal.until(PROMPT)
        terminal.say("/trace")
        terminal.until("no answer came to its end yet\n")
        terminal.say("/history")
        terminal.until("nothing was said yet\n")
        terminal.say("Copy them")
        terminal.until("All is copied.\n")
        terminal.until(PROMPT)
        terminal.say("/trace")
        trace = terminal.until(PROMPT)
        assert "copy" in trace
        assert "answered after" in trace
        terminal.say("/history")
        terminal.until("> Copy them\n→ copy(files=3)  call_1\n← copied  call_1\nAll is copied.\n")
        terminal.say("/tools")
        terminal.until("send(to, grams)  Send a parcel.")
        terminal.say("/save said.json")
        terminal.until("saved 4 messages to said.json\n")
        terminal.say("/reset")
        terminal.until("the conversation begins anew\n")
        terminal.say("/history")
        terminal.until("nothing was said yet\n")
        terminal.say("/load said.json")
        terminal.until("loaded 4 messages from said.json\n")
        terminal.say("/he\t")
        listed = terminal.until("/quit ")
        assert "/save FILE" in listed
        assert "/steps N" in listed
        terminal.until(PROMPT)
        terminal.say("/quit")
        assert terminal.ended() == 0
    assert [message.role for message in load_messages((home / "said.json").read_bytes())] == [
        "user",
        "call",
        "result",
        "answer",
    ]


def test_commands_that_can_t_be_followed_say_why(home: Path) -> None:
    complaints = {
        "/fly": "there is no command '/fly'; /help lists them",
        "/save": "write /save FILE: it writes the conversation to a file",
        "/quit now": "write just /quit: it leaves",
        "/steps none": "'none' is no number of steps; give 1 or more, or auto",
        "/steps 0": "'0' is no number of steps",
        "/load nowhere.json": "'nowhere.json' can't be read: No such file or directory",
        "/load agents.py": "'agents.py' holds no messages that /save wrote",
        "/save no/where": "'no/where' can't be written: No such file or directory",
    }
    parts = piped(home, "\n".join(complaints), "echo").split("> ")[1:]
    for (line, complaint), part in zip(complaints.items(), parts, strict=True):
        assert " ".join(part.split()).startswith(f"{line} {complaint}")


def test_it_fits_a_narrow_terminal_and_one_without_colours(home: Path) -> None:
    with chat(home, "sending", width=24, NO_COLOR="1") as terminal:
        terminal.until(PROMPT)
        terminal.say("Send 800 g")
        terminal.until("or why not: ".strip())
        terminal.say("y")
        terminal.until("I read: sent 800 g to \nAda")
        assert "\x1b[1m" not in terminal.raw[: terminal.raw.index("Send 800 g")]
        assert "\x1b[3" not in terminal.raw  # no colour


def test_one_request_may_need_approval_too(home: Path) -> None:
    arguments = ["run", "agents.py:sending", "Send 800 grams to Ada"]
    with Terminal(arguments, home=home) as terminal:
        terminal.until(APPROVAL)
        terminal.say("y")
        terminal.until("I read: sent 800 g to Ada\n")
        assert terminal.ended() == 0
    with Terminal(arguments, home=home) as terminal:
        terminal.until(APPROVAL)
        terminal.type(CTRL_D)
        assert terminal.ended() == 1


def piped(home: Path, typed: str, agent: str) -> str:
    """What the chat writes where it is at no terminal."""
    done = subprocess.run(
        [sys.executable, "-m", "agentkit", "chat", f"agents.py:{agent}"],
        input=typed,
        capture_output=True,
        text=True,
        cwd=home,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_behind_a_pipe_it_reads_like_a_conversation(home: Path) -> None:
    out = piped(home, "Send 800 grams to Ada\nn\nThanks\n", "sending")
    assert "\x1b" not in out
    parts = [
        "> Send 800 grams to Ada",
        "? send waits for approval: what is sent is paid for",
        "make this call? y, n, e to edit, or why not: n",
        "I read: The user denied this call",
        "> Thanks",
        "the last: Thanks",
    ]
    assert [part for part in parts if part not in out] == []
    places = [out.index(part) for part in parts]
    assert places == sorted(places)
