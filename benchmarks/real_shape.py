"""What one step of the 26B-A4B shape costs, random weights, through the transformers path.

    python benchmarks/real_shape.py                      # the real shape on a GPU of 80 GB
    python benchmarks/real_shape.py --shape tiny         # the same class at tiny size, on anything

Times are medians in milliseconds, the device synchronised before and after: `encode` of a prompt; a
denoise `step` of one canvas over it, the first one and one that is conditioned on the step before;
`lattice`, what the constraint adds to a step (the best filling, the log-partition and the entropies
of all positions, of a schema with 12 keys, over as many tokens as the model has); its share of the
two together; and `read`, a causal pass over a finished filling of 32 tokens with the logits of all
of them. Random weights choose experts evenly and cost what trained ones do; the numbers they
compute mean nothing. The vocabulary is a made-up one unless a tokenizer.json is given.
"""

from __future__ import annotations

import argparse
import platform
import random
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import torch
import transformers
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import DiffusionGemmaConfig, DiffusionGemmaForBlockDiffusion
from transformers.models.diffusion_gemma.configuration_diffusion_gemma import (
    DiffusionGemmaTextConfig,
)

from agentkit_engine.denoisers import DiffusionGemmaDenoiser
from agentkit_engine.grammar import Cache, TokenAutomaton, Vocabulary, compile_schema
from agentkit_engine.lattice import Lattice, Problem

REAL: dict[str, int] = {  # google/diffusiongemma-26B-A4B-it: 25.25 B parameters
    "vocab_size": 262_144,
    "hidden_size": 2816,
    "intermediate_size": 2112,
    "moe_intermediate_size": 704,
    "num_hidden_layers": 30,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "num_global_key_value_heads": 2,
    "head_dim": 256,
    "global_head_dim": 512,
    "num_experts": 128,
    "top_k_experts": 8,
    "sliding_window": 1024,
    "max_position_embeddings": 262_144,
}
TINY: dict[str, int] = {
    "vocab_size": 8192,
    "hidden_size": 64,
    "intermediate_size": 64,
    "moe_intermediate_size": 16,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_global_key_value_heads": 1,
    "head_dim": 16,
    "global_head_dim": 32,
    "num_experts": 16,
    "top_k_experts": 4,
    "sliding_window": 1024,
    "max_position_embeddings": 8192,
}
CANVAS_LENGTH = 256
WIDTHS = (32, 64, 256)
READ_TOKENS = 32
ROOM = 56 << 30  # bytes of a GPU that holds the real shape

PAD, END, SPECIAL = 0, 1, 16  # the first tokens of the made-up vocabulary write nothing
SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "check_in": {"type": "string", "format": "date"},
        "check_out": {"type": "string", "format": "date"},
        "guests": {"type": "integer", "minimum": 1, "maximum": 12},
        "rooms": {"type": "integer", "minimum": 1, "maximum": 6},
        "board": {"enum": ["none", "breakfast", "half", "full"]},
        "smoking": {"type": "boolean"},
        "price": {"type": "number", "minimum": 0, "maximum": 10_000},
        "arrival": {"type": "string", "format": "time"},
        "wishes": {"type": "array", "items": {"type": "string"}, "maxItems": 5},
        "contact": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "mail": {"type": "string"}},
            "required": ["name"],
        },
        "note": {"type": "string", "maxLength": 200},
    },
    "required": ["city"],
}


def config(sizes: dict[str, int]) -> DiffusionGemmaConfig:
    text_config: Any = DiffusionGemmaTextConfig  # it takes more than its annotations tell
    vision = {  # as small as it gets: None would build a tower of 167 M parameters
        "model_type": "gemma4_vision",
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "patch_size": 4,
        "position_embedding_size": 4,
    }
    past = sizes["vocab_size"]  # image tokens are none of those that the prompts hold
    return DiffusionGemmaConfig(
        text_config=text_config(**sizes),
        vision_config=vision,
        canvas_length=CANVAS_LENGTH,
        boi_token_id=past + 1,
        eoi_token_id=past + 2,
        image_token_id=past + 3,
    )


@torch.no_grad()
def built(sizes: dict[str, int], device: torch.device, dtype: torch.dtype) -> Any:
    """The model with random weights made on the device: nothing passes through main memory.

    `Module.to_empty` would take the shared weights of encoder and decoder apart, and the memory
    twice; so each is put in its places by hand.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)  # as loading a checkpoint does: some buffers take it on
    try:
        with torch.device("meta"):
            model: Any = DiffusionGemmaForBlockDiffusion(config(sizes))
    finally:
        torch.set_default_dtype(before)
    generator = torch.Generator(device)
    generator.manual_seed(0)
    made: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, weight in module.named_parameters(recurse=False, remove_duplicate=False):
            if id(weight) not in made:
                made[id(weight)] = random_weight(weight, generator, dtype)
            setattr(module, name, made[id(weight)])
    for module in model.modules():
        restore_buffers(model, module, device)
    return model.eval()


def random_weight(like: Tensor, generator: torch.Generator, dtype: torch.dtype) -> nn.Parameter:
    weight = torch.ones(like.shape, device=generator.device, dtype=dtype)
    if like.ndim > 1:  # else it is of a norm, or a scale
        weight.normal_(0, like.shape[-1] ** -0.5, generator=generator)
    return nn.Parameter(weight, requires_grad=False)


def restore_buffers(model: Any, module: Any, device: torch.device) -> None:
    """Buffers are constants of the architecture, which its class knows."""
    names = [name for name, _ in module.named_buffers(recurse=False)]
    for name in names:
        buffer: Tensor = getattr(module, name)
        setattr(module, name, torch.ones(buffer.shape, dtype=buffer.dtype, device=device))
    if "embed_scale" in names:
        module.embed_scale.fill_(module.scalar_embed_scale)
    elif hasattr(module, "rope_init_fns"):  # that of the text; no image is ever looked at
        model._init_weights(module)


def made_up_vocabulary(size: int) -> Vocabulary:
    """Single bytes, runs of punctuation, and words of syllables in three scripts; always the same.

    As in Gemma's, some hundred tokens hold a quote or a backslash, and many write no ASCII.
    """
    marks = [b"{", b"}", b"[", b"]", b'"', b",", b":", b"\\", b" ", b"\n"]
    runs = [b"".join(run) for length in (2, 3) for run in product(marks, repeat=length)]
    tokens: dict[bytes | None, None] = dict.fromkeys(bytes([byte]) for byte in range(256))
    tokens |= dict.fromkeys(runs)
    words = made_up_words()
    while len(tokens) < size - SPECIAL:
        tokens[next(words)] = None
    return Vocabulary.from_tokens((*[None] * SPECIAL, *list(tokens)[: size - SPECIAL]))


def made_up_words() -> Iterator[bytes]:
    """Without end; some come again."""
    chosen = random.Random(0)
    scripts = [("bcdfghklmnprstvz", "aeiou")] * 3
    scripts += [("бвгдклмнпрст", "аеиоу"), ("कखगचजटतदनपमर", "ािीुे")]
    while True:
        consonants, vowels = chosen.choice(scripts)
        count = chosen.choice((1, 2, 2, 3, 3, 4))
        word = "".join(chosen.choice(consonants) + chosen.choice(vowels) for _ in range(count))
        yield chosen.choice((word, " " + word, " " + word.capitalize())).encode()


@dataclass(frozen=True, slots=True)
class Clock:
    """Times work on a device."""

    device: torch.device
    repeats: int

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def median(self, work: Callable[[], object]) -> float:
        """Milliseconds; the first two runs, in which kernels are chosen, don't count."""
        seconds: list[float] = []
        for _ in range(self.repeats + 2):
            self.wait()
            began = time.perf_counter()
            work()
            self.wait()
            seconds.append(time.perf_counter() - began)
        return 1000 * statistics.median(seconds[2:])


def constrain(logits: Tensor, automaton: TokenAutomaton) -> list[Tensor]:
    """What a denoise step asks of the lattice for one canvas, `best` with its log-partition.

    logits: float [W, V].
    """
    lattice = Lattice([Problem(logits, automaton)], entropies=True)
    return [lattice.best()[0].tokens, *lattice.entropies()]


def lines(
    denoiser: DiffusionGemmaDenoiser, automaton: TokenAutomaton, length: int, clock: Clock
) -> Iterator[list[str]]:
    """The lines of the table about one prompt."""
    chosen = random.Random(length)

    def noise(count: int) -> list[int]:
        return [chosen.randrange(SPECIAL, denoiser.vocab_size) for _ in range(count)]

    prompt, row = noise(length), noise(READ_TOKENS)
    encode = clock.median(lambda: denoiser.encode(prompt))
    prefix = denoiser.encode(prompt)
    read = clock.median(lambda: denoiser.read(prefix, [row]).logits(0))
    of_prompt = [f"{length}", f"{encode:.1f}", f"{read:.1f}"]
    for width in WIDTHS:
        canvas = torch.tensor([noise(width)], device=denoiser.device)
        logits = denoiser.denoise(prefix, canvas)
        first = clock.median(partial(denoiser.denoise, prefix, canvas))
        step = clock.median(partial(denoiser.denoise, prefix, canvas, previous=logits))
        lattice = clock.median(partial(constrain, logits[0], automaton))
        yield [
            *(of_prompt if width == WIDTHS[0] else ("", "", "")),
            f"{width}",
            f"{first:.1f}",
            f"{step:.1f}",
            f"{lattice:.1f}",
            f"{lattice / (step + lattice):.0%}",
        ]


def given_vocabulary(path: str, size: int) -> tuple[Vocabulary, int, int]:
    """That of a tokenizer.json, with its tokens for the end and for padding."""
    backend = Tokenizer.from_file(path)
    vocabulary = Vocabulary.from_tokenizer(backend)
    end, pad = (backend.token_to_id(token) for token in ("<turn|>", "<pad>"))
    if end is None or pad is None or vocabulary.size > size:
        sys.exit(f"{path}: needed are <turn|>, <pad> and at most {size} tokens in all")
    return vocabulary, end, pad


def compiled(size: int, tokenizer: str | None) -> tuple[TokenAutomaton, str]:
    """The schema's automaton over a vocabulary, and a word about both."""
    vocabulary, end, pad = (
        given_vocabulary(tokenizer, size) if tokenizer else (made_up_vocabulary(size), END, PAD)
    )
    began = time.perf_counter()
    automaton = compile_schema(SCHEMA, vocabulary=vocabulary, cache=Cache(limit=0)).close(end, pad)
    return automaton, (
        f"schema compiled in {time.perf_counter() - began:.1f} s over "
        f"{'the given' if tokenizer else 'a made-up'} vocabulary: "
        f"{automaton.states} states, {automaton.pairs} pairs, {automaton.classes} classes"
    )


def described(model: Any, sizes: dict[str, int]) -> str:
    count = sum(weight.numel() for weight in model.parameters())
    size = sum(weight.nbytes for weight in model.parameters()) / 2**30
    text: Any = model.config.text_config
    return (
        f"{count / 1e6:,.1f} M parameters, {model.dtype}, {size:.2f} GiB; {sizes['vocab_size']:,} "
        f"tokens; attention {text._attn_implementation}, experts {text._experts_implementation}; "
        f"torch {torch.__version__}, transformers {transformers.__version__}"
    )


def place(device: str) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


def has_room(device: torch.device) -> bool:
    if device.type != "cuda":
        return False
    cuda: Any = torch.cuda
    return bool(cuda.get_device_properties(device).total_memory >= ROOM)


def peak(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{torch.cuda.max_memory_allocated(device) / 2**30:.1f} GiB of the device at peak"
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )
    return f"{used / 2**30:.1f} GiB of the process at peak"


def machine(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--shape", choices=("auto", "real", "tiny"), default="auto", help="auto: real if it fits"
    )
    parser.add_argument("--prompts", type=int, nargs="+", default=[512, 2048])
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--tokenizer", help="a tokenizer.json, in place of a made-up vocabulary")
    parser.add_argument("--vocabulary", type=int, help="tokens of the tiny shape")
    parser.add_argument("--experts", help="how transformers runs the experts, e.g. grouped_mm")
    parser.add_argument("--threads", type=int, default=2, help="of a CPU")
    return parser.parse_args()


def main() -> None:
    arguments = parsed()
    torch.set_num_threads(arguments.threads)
    device = place(arguments.device)
    real = has_room(device) if arguments.shape == "auto" else arguments.shape == "real"
    sizes = dict(REAL if real else TINY)
    if not real and arguments.vocabulary:
        sizes["vocab_size"] = arguments.vocabulary
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    began = time.perf_counter()
    model = built(sizes, device, dtype)
    if arguments.experts:
        model.set_experts_implementation(arguments.experts)
    making = time.perf_counter() - began
    automaton, grammar = compiled(sizes["vocab_size"], arguments.tokenizer)
    table = Table(
        *("prompt", "encode", f"read {READ_TOKENS}", "canvas", "first step", "step", "lattice"),
        "share of it",
        title=f"{'the 26B-A4B shape' if real else 'a TINY shape, no measure of the real one'}\n"
        f"{described(model, sizes)}\n{machine(device)}; medians of {arguments.repeats}, ms",
        caption_justify="left",
    )
    clock = Clock(device, arguments.repeats)
    denoiser = DiffusionGemmaDenoiser(model)
    for length in arguments.prompts:
        for line in lines(denoiser, automaton, length, clock):
            table.add_row(*line)
    table.caption = f"made in {making:.0f} s; {peak(device)}; {grammar}"
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
