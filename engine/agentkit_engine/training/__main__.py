"""`python -m agentkit_engine.training`: train, evaluate or export the embedded checkpoint, show the corpus."""

from __future__ import annotations

import argparse
from dataclasses import fields
from itertools import islice
from pathlib import Path


def main() -> None:
    """Reads the command line and does what it says."""
    parser = argparse.ArgumentParser(prog="python -m agentkit_engine.training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="train, or go on training, in a folder")
    train.add_argument("folder", type=Path)
    train.add_argument("--threads", type=int, default=2)
    train.add_argument("--device", default="cpu")
    _add_recipe(train)
    samples = commands.add_parser("samples", help="print conversations of the corpus")
    samples.add_argument("-n", type=int, default=20)
    samples.add_argument("--seed", type=int, default=0)
    samples.add_argument("--held", action="store_true", help="of the held-out part")
    arguments = parser.parse_args()
    if arguments.command == "train":
        _train(arguments)
    elif arguments.command == "samples":
        _samples(arguments)


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


if __name__ == "__main__":
    main()
