"""A plugin's configuration: what each setting is, where its value comes from, what is wrong.

Sources are `agentkit.defining.sources`'; a field's default is the weakest. Knows plugins and the
types of their settings. No value of a secret field is ever told.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from agentkit.defining.plugin import Plugin
from agentkit.defining.secrecy import HIDDEN, hidden, is_secret, mapped, secrets_in
from agentkit.defining.sources import CODE, FILE, Given, Tree, gather, origin_at, plain, variable
from agentkit.errors import PluginError

DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of a plugin, as it may be shown.

    type: as the field is annotated. value: as JSON; None where it is missing. origin: where the
    value comes from: "code", a variable, a file and its table, "default"; empty where it is
    missing. problem: what is wrong with it, and the mend.
    """

    name: str
    type: str
    description: str
    value: Any
    origin: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Configuration:
    """How a plugin is configured.

    value: the object that it is opened with; None where it takes none, or where there are problems.
    problems: what is wrong, each with its mend. missing: required settings that nobody gave.
    """

    plugin: str
    value: BaseModel | None = None
    settings: tuple[Setting, ...] = ()
    problems: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @property
    def is_missing(self) -> bool:
        """Whether it would do, were it not for settings that nobody gave."""
        return bool(self.missing) and len(self.missing) == len(self.problems)

    def checked(self) -> BaseModel | None:
        """`value`.

        Raises:
            PluginError: there are problems; names the settings, their origins and the mends.
        """
        if self.problems:
            raise PluginError(f"tool plugin {self.plugin!r}: {'; '.join(self.problems)}")
        return self.value

    def hide(self, text: str) -> str:
        """The text without the secrets that are given."""
        return hidden(text, self.secrets)


def configure(
    plugin: Plugin[Any], given: Mapping[str, Any] | BaseModel | None = None
) -> Configuration:
    """Work out a plugin's configuration. What is wrong is among its problems, and not raised.

    given: settings of the code; or the whole configuration, and then nothing else is looked at.
    """
    config = plugin.config
    if config is None:
        refused = ("it takes no configuration; leave out what the code gives",) if given else ()
        return Configuration(plugin.name, problems=refused)
    if isinstance(given, BaseModel):
        return _whole(plugin.name, config, given)
    try:
        tree = gather(plugin.name, config, given or {})
    except PluginError as error:
        return Configuration(plugin.name, problems=(str(error),))
    return _validated(plugin.name, config, tree)


def _whole(plugin: str, config: type[BaseModel], given: BaseModel) -> Configuration:
    if not isinstance(given, config):
        problem = f"the code gives a {type(given).__name__}; give a {config.__name__}, or a mapping"
        return Configuration(plugin, problems=(problem,))
    secrets = tuple(secrets_in(config, given.model_dump()))
    tree: Tree = {name: Given(None, CODE) for name in given.model_fields_set}
    settings = _settings(config, given, tree, {}, lambda text: hidden(text, secrets))
    return Configuration(plugin, given, settings, secrets=secrets)


def _validated(plugin: str, config: type[BaseModel], tree: Tree) -> Configuration:
    values = plain(tree)
    secrets = tuple(secrets_in(config, values))
    value: BaseModel | None = None
    problems: dict[str, str] = {}
    missing: list[str] = []
    try:
        value = config.model_validate(values)
    except ValidationError as error:
        for one in error.errors(include_url=False, include_input=False):
            path = tuple(map(str, one["loc"]))
            dotted, origin = ".".join(path), origin_at(tree, path)
            if one["type"] == "missing" and not origin:
                missing.append(dotted)
                problems[dotted] = _not_set(plugin, path)
            else:
                why = hidden(one["msg"].removeprefix("Value error, "), secrets)
                problems[dotted] = _wrong(plugin, path, origin, why)
    except Exception as error:  # a validator of the plugin's own may raise anything
        problems[""] = hidden(f"{type(error).__name__}: {error}", secrets)
    problems |= _strangers(config, tree)
    return Configuration(
        plugin,
        None if problems else value,
        _settings(config, value, tree, problems, lambda text: hidden(text, secrets)),
        tuple(problems.values()),
        tuple(missing),
        secrets,
    )


def _not_set(plugin: str, path: Sequence[str]) -> str:
    name = ".".join(path)
    return (
        f"{name} is not set; set {variable(plugin, *path)}, or `{name}` under [tools.{plugin}] "
        f"in {FILE}"
    )


def _wrong(plugin: str, path: Sequence[str], origin: str, why: str) -> str:
    if not path:
        return f"{why}; `agentkit tools show {plugin}` tells where each setting comes from"
    mend = "change it there" if origin else f"set {variable(plugin, path[0])}"
    return f"{'.'.join(path)} (from {origin or DEFAULT}): {why}; {mend}"


def _strangers(config: type[BaseModel], tree: Tree) -> dict[str, str]:
    """What is given for settings that don't exist -> why that won't do."""
    if config.model_config.get("extra") == "allow":
        return {}
    known = list(config.model_fields)
    return {
        name: f"{name} (from {origin_at(tree, [name])}): there is no such setting; "
        f"{_alternative(name, known)}"
        for name in tree
        if name not in known
    }


def _alternative(name: str, known: Sequence[str]) -> str:
    if close := difflib.get_close_matches(name, known, n=1):
        return f"did you mean {close[0]!r}?"
    return f"there are {', '.join(map(repr, known)) or 'none'}"


def _settings(
    config: type[BaseModel],
    value: BaseModel | None,
    tree: Tree,
    problems: Mapping[str, str],
    hide: Callable[[str], str],
) -> tuple[Setting, ...]:
    values: dict[str, Any] = (
        plain(tree) if value is None else to_jsonable_python(value, by_alias=False, fallback=repr)
    )
    settings: list[Setting] = []
    for name, one in config.model_fields.items():
        wrong = [why for dotted, why in problems.items() if dotted.split(".")[0] == name]
        origin = origin_at(tree, [name])
        if not origin and not one.is_required():
            origin = DEFAULT
            values.setdefault(name, one.default)  # one that is made anew each time is not shown
        shown = _shown(one, values.get(name) if origin else None, hide)
        settings.append(
            Setting(name, _type(one), one.description or "", shown, origin, "; ".join(wrong))
        )
    return tuple(settings)


def _type(one: FieldInfo) -> str:
    annotation = one.annotation
    if isinstance(annotation, type) and not get_args(annotation):
        return annotation.__name__
    return re.sub(r"(?<![\w.'])(\w+\.)+(?=[A-Za-z])", "", str(annotation))  # without the modules


def _shown(one: FieldInfo, value: Any, hide: Callable[[str], str]) -> Any:
    """A value as JSON, with no secret in it."""
    if value is None:
        return None
    return HIDDEN if is_secret(one) else mapped(to_jsonable_python(value, fallback=repr), hide)
