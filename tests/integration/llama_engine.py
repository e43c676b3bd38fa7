"""llama.cpp with a model made on the spot: `python llama_engine.py SEED PORT FOLDER`, as `make test-llama` does.

The model has random weights, drawn from the seed, and knows 19 words, 28 letters and every byte. It says nothing
sensible, but the engine is the real one: its tokenizer, its attention, its sampling, its grammars and its server.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import xllamacpp

WORDS = (
    "the", "lead", "steps", "back", "and", "its", "understudy", "goes", "on", "stage", "tonight", "with", "every",
    "line", "known", "to", "them", "by", "heart",
)  # fmt: skip
LETTERS = "abcdefghijklmnopqrstuvwxyz.,"
BYTES = 256
WIDTH, LAYERS, HEADS, INNER, CONTEXT = 32, 2, 4, 64, 1024
SLOTS = 4
"""Requests that it answers at once."""


def write_model(path: Path, seed: int) -> None:
    """A model of the llama architecture, 170 kB."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(f"random-{seed}")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    tokens = _add_tokens(writer)
    _add_weights(writer, tokens, np.random.default_rng(seed))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tokens(writer: Any) -> int:
    """Three marks, every byte, then words and letters, which it is to prefer; how many in all."""
    known = [f"\u2581{word}" for word in WORDS] + list(f"\u2581{LETTERS}")
    marks = ["<unk>", "<s>", "</s>"]
    writer.add_tokenizer_model("llama")
    writer.add_token_list([*marks, *(f"<0x{byte:02X}>" for byte in range(BYTES)), *known])
    writer.add_token_scores([0.0] * len(marks) + [-100.0] * BYTES + [-float(place) for place in range(len(known))])
    kinds = gguf.TokenType
    writer.add_token_types(
        [kinds.UNKNOWN, kinds.CONTROL, kinds.CONTROL] + [kinds.BYTE] * BYTES + [kinds.NORMAL] * len(known)
    )
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template("{% for message in messages %}{{ message['content'] }}{% endfor %}")
    total = len(marks) + BYTES + len(known)
    writer.add_vocab_size(total)
    return total


def _add_weights(writer: Any, tokens: int, dice: np.random.Generator) -> None:
    def add(name: str, rows: int, columns: int) -> None:
        drawn = dice.standard_normal((rows, columns)) / np.sqrt(columns)
        writer.add_tensor(f"{name}.weight", drawn.astype(np.float32))

    def even(name: str) -> None:
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))

    writer.add_tensor("token_embd.weight", dice.standard_normal((tokens, WIDTH)).astype(np.float32))
    output = dice.standard_normal((tokens, WIDTH)).astype(np.float32)
    output[: 3 + BYTES] *= 0.01  # marks and bytes are said only where a grammar asks for them
    writer.add_tensor("output.weight", output)
    even("output_norm")
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        even(f"{block}.attn_norm")
        even(f"{block}.ffn_norm")
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            add(f"{block}.{part}", WIDTH, WIDTH)
        add(f"{block}.ffn_gate", INNER, WIDTH)
        add(f"{block}.ffn_up", INNER, WIDTH)
        add(f"{block}.ffn_down", WIDTH, INNER)


def main(seed: int, port: int, folder: Path) -> None:
    """Serve until killed."""
    model = folder / f"random-{seed}.gguf"
    write_model(model, seed)
    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.hostnames, params.port = ["127.0.0.1"], port
    params.n_parallel, params.n_ctx = SLOTS, SLOTS * CONTEXT
    params.cache_prompt = False  # what was asked before must not change an answer
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    engine = xllamacpp.Server(params)
    sys.stdout.write(f"{engine.listening_address}\n")
    threading.Event().wait()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
