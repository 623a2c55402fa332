"""`python -m agentkit_engine.training`: train, evaluate or export a checkpoint, show the corpus."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from dataclasses import fields
from itertools import islice
from pathlib import Path

from agentkit_engine.training.corpus.conversations import FLOWS, SHARES
from agentkit_engine.training.evaluation import options as evaluation
from agentkit_engine.training.lora import options as lora


def main(argv: Sequence[str] | None = None) -> None:
    """Reads the command line and does what it says."""
    parser = argparse.ArgumentParser(prog="python -m agentkit_engine.training", description=__doc__)
    subparsers = parser.add_subparsers(dest="command", required=True)
    train = subparsers.add_parser("train", help="train, or go on training, in a folder")
    train.add_argument("config", help='a recipe: "cpu", "gpu" or a TOML file')
    train.add_argument("folder", type=Path, help="where the run lives; taken up if it exists")
    _add_recipe(train)
    samples = subparsers.add_parser("samples", help="print conversations of the corpus")
    samples.add_argument("-n", type=int, default=20)
    samples.add_argument("--seed", type=int, default=0)
    samples.add_argument("--held", action="store_true", help="of held-out tools and values")
    samples.add_argument("--fresh", action="store_true", help="in wordings kept from training")
    samples.add_argument("--flow", choices=FLOWS, help="only those that go like this")
    check = subparsers.add_parser("check", help="check domain files, show what is made of them")
    check.add_argument("files", nargs="*", type=Path, metavar="FILE", help="none: count all")
    evaluate = subparsers.add_parser(
        "evaluate", help="accuracy on conversations training never saw"
    )
    evaluation.add_arguments(evaluate)
    export = subparsers.add_parser("export", help="make a training folder the embedded checkpoint")
    export.add_argument("folder", type=Path)
    export.add_argument(
        "--to", type=Path, default=None, help="another folder than the package's own"
    )
    export.add_argument(
        "--figures",
        type=Path,
        default=None,
        help="what `evaluate --json` wrote, for the model card",
    )
    adapt = subparsers.add_parser(
        "lora", help="teach a large model the slot layout: train a LoRA, or go on, in a folder"
    )
    lora.add_arguments(adapt)
    arguments = parser.parse_args(argv)
    commands = {
        "train": _train, "samples": _samples, "check": _check, "evaluate": _evaluate,
        "export": _export, "lora": _lora,
    }  # fmt: skip
    commands[arguments.command](arguments)


def _add_recipe(parser: argparse.ArgumentParser) -> None:
    from agentkit_engine.training.recipe import Recipe

    for field in fields(Recipe):
        name, kind = f"--{field.name.replace('_', '-')}", type(field.default)
        if kind is bool:
            parser.add_argument(name, action=argparse.BooleanOptionalAction, default=None)
        else:
            parser.add_argument(name, type=kind, default=None, metavar=kind.__name__.upper())


def _train(arguments: argparse.Namespace) -> None:
    from agentkit_engine.training.recipe import Recipe, load_recipe
    from agentkit_engine.training.train import Trainer

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt  # so that the run is saved, as when a key stops it

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)  # a shell has its background jobs ignore it
    told = {field.name: getattr(arguments, field.name) for field in fields(Recipe)}
    changes = {name: value for name, value in told.items() if value is not None}
    Trainer(arguments.folder, load_recipe(arguments.config, **changes)).run()


def _samples(arguments: argparse.Namespace) -> None:
    import json

    from agentkit_engine.training.corpus.scenes import Part, corpus

    shares = {arguments.flow: 1.0} if arguments.flow else SHARES
    part = Part(held=arguments.held, fresh=arguments.fresh, branches=1, shares=shares)
    for (found,) in islice(corpus(arguments.seed, part), arguments.n):
        for tool in found.tools:
            print("tool     ", json.dumps(tool["function"]))
        for message in found.messages:
            said = message.get("tool_calls") or message["content"]
            print(f"{message['role']:<10}{said if isinstance(said, str) else json.dumps(said)}")
        if found.extraction:
            print("schema   ", json.dumps(found.extraction.declared.schema))
            print("fill     ", json.dumps(found.extraction.arguments))
        print()


def _check(arguments: argparse.Namespace) -> None:
    from random import Random

    from agentkit_engine.training.corpus.checking import report, totals
    from agentkit_engine.training.corpus.reader import CorpusError

    wrong = False
    if not arguments.files:
        print(*totals(), sep="\n")
    for path in arguments.files:
        try:
            print(*report(path, Random()), sep="\n")
        except CorpusError as error:
            print(error, file=sys.stderr)
            wrong = True
    if wrong:
        raise SystemExit(1)


def _evaluate(arguments: argparse.Namespace) -> None:
    from agentkit_engine.training.evaluation.command import run

    run(arguments)


def _export(arguments: argparse.Namespace) -> None:
    from agentkit_engine.training.export import embedded_folder, export

    target = arguments.to or embedded_folder()
    export(arguments.folder, target, figures=arguments.figures)
    print(f"wrote {target}")


def _lora(arguments: argparse.Namespace) -> None:
    from agentkit_engine.training.lora.run import run_lora

    run_lora(arguments)


if __name__ == "__main__":
    main()
