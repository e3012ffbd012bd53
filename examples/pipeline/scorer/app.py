"""How urgent an entry is, by the words in it."""

import componentize_py_async_support
import wit_world
from componentize_py_async_support.streams import StreamReader, StreamWriter
from wit_world import exports
from wit_world.imports.types import Entry, Scored

WEIGHTS = {b"panic": 1.0, b"error": 0.7, b"timeout": 0.5, b"warn": 0.3, b"retry": 0.1}

# As many as are there, and so many at most: what a read and a write cost is shared by them.
BATCH = 1024


def score(payload: bytes) -> float:
    text = payload.lower()
    return sum(weight for word, weight in WEIGHTS.items() if word in text)


class Score(exports.Score):
    async def process(self, input: StreamReader[Entry]) -> StreamReader[Scored]:
        output, scored = wit_world.types_scored_stream()
        # Goes on after this function has returned.
        componentize_py_async_support.spawn(score_all(input, output))
        return scored


async def score_all(input: StreamReader[Entry], output: StreamWriter[Scored]) -> None:
    with input, output:
        while not input.writer_dropped and not output.reader_dropped:
            entries = await input.read(BATCH)
            await output.write_all(
                [Scored(entry.id, entry.timestamp, score(entry.payload)) for entry in entries])
