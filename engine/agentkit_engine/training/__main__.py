"""`python -m agentkit_engine.training`: train, evaluate or export a checkpoint, show the corpus."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields
from itertools import islice
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> None:
    """Reads the command line and does what it says."""
    parser = argparse.ArgumentParser(prog="python -m agentkit_engine.training", description=__doc__)
    subparsers = parser.add_subparsers(dest="command", required=True)
    train = subparsers.add_parser("train", help="train, or go on training, in a folder")
    train.add_argument("folder", type=Path)
    train.add_argument("--threads", type=int, default=2)
    train.add_argument("--device", default="cpu")
    _add_recipe(train)
    modes = ["off", "rerank", "exact"]
    samples = subparsers.add_parser("samples", help="print conversations of the corpus")
    samples.add_argument("-n", type=int, default=20)
    samples.add_argument("--seed", type=int, default=0)
    samples.add_argument("--held", action="store_true", help="of the held-out part")
    evaluate = subparsers.add_parser(
        "evaluate", help="accuracy on conversations training never saw"
    )
    evaluate.add_argument(
        "checkpoint", nargs="?", default="embedded", help='"embedded" or a folder'
    )
    evaluate.add_argument("--cases", type=int, default=300, help="turns a set")
    evaluate.add_argument("--steps", type=int, default=1, help="of each denoising, at most")
    evaluate.add_argument(
        "--verify", nargs="+", choices=modes, default=modes, help="a column of the table each"
    )
    evaluate.add_argument("--threads", type=int, default=2)
    export = subparsers.add_parser("export", help="make a training folder the embedded checkpoint")
    export.add_argument("folder", type=Path)
    export.add_argument(
        "--to", type=Path, default=None, help="another folder than the package's own"
    )
    arguments = parser.parse_args(argv)
    commands = {"train": _train, "samples": _samples, "evaluate": _evaluate, "export": _export}
    commands[arguments.command](arguments)


def _add_recipe(parser: argparse.ArgumentParser) -> None:
    from agentkit_engine.training.train import Recipe

    for field in fields(Recipe):
        kind = type(field.default)
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=field.default)


def _train(arguments: argparse.Namespace) -> None:
    import torch

    from agentkit_engine.training.train import Recipe, Trainer

    torch.set_num_threads(arguments.threads)
    recipe = Recipe(**{field.name: getattr(arguments, field.name) for field in fields(Recipe)})
    Trainer(arguments.folder, recipe, device=arguments.device).run()


def _samples(arguments: argparse.Namespace) -> None:
    import json

    from agentkit_engine.training.corpus.conversations import corpus

    for found in islice(corpus(arguments.seed, held=arguments.held), arguments.n):
        for tool in found.tools:
            print("tool     ", json.dumps(tool["function"]))
        for message in found.messages:
            said = message.get("tool_calls") or message["content"]
            print(f"{message['role']:<10}{said if isinstance(said, str) else json.dumps(said)}")
        if found.extraction:
            print("fill     ", json.dumps(found.extraction.arguments))
        print()


def _evaluate(arguments: argparse.Namespace) -> None:
    import torch
    from rich.console import Console
    from rich.table import Table

    from agentkit_engine.engine import Engine
    from agentkit_engine.training.evaluate import SETS, evaluate

    torch.set_num_threads(arguments.threads)
    engine = Engine.load(arguments.checkpoint)
    table = Table("set", "what", *arguments.verify, "cases", title="by what is verified, and how")
    for name in SETS:
        tallies = [
            evaluate(engine, name, count=arguments.cases, steps=arguments.steps, verify=mode)
            for mode in arguments.verify
        ]
        for what in sorted(tallies[0].total):
            shares = (f"{tally.share(what):.1%}" for tally in tallies)
            table.add_row(name, what, *shares, str(tallies[0].total[what]))
    Console(width=110).print(table)


def _export(arguments: argparse.Namespace) -> None:
    from agentkit_engine.training.export import embedded_folder, export

    target = arguments.to or embedded_folder()
    export(arguments.folder, target)
    print(f"wrote {target}")


if __name__ == "__main__":
    main()
