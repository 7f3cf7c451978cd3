"""Records per second: our push against the bare call of Argilla's SDK, in one run on one local server.

    python -m bench.reviews [--records 500] [--rounds 4] [--images]

Both send the same new records to a dataset of the same settings; turns alternate, and each round has datasets of its own.
Ours is timed as a whole: the settings compared, what is there listed, records built and sent by 50. Of the SDK only
``dataset.records.log`` is timed, its records built before, with its own batch size.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import argilla as rg
import psutil
from PIL import Image

from tasks.reviews.argilla_desk import ArgillaDesk
from tasks.reviews.images import Images
from tasks.reviews.records import ReviewTurn, record_id
from tests.reviews.local_argilla import LocalArgilla

WORKSPACE = "bench"


def make_turns(dataset: str, number: int, image: str | None) -> list[ReviewTurn]:
    """Turns as long as those of LLaVA-Instruct, each of its own."""
    original = "The bus is white and parked beside a long row of trees, and two people are waiting for it. " * 4
    machine = (
        "El autobús es blanca y está aparcado junto a una larga hilera de árboles, y dos personas lo esperan. " * 4
    )
    turns = [
        ReviewTurn(
            id="",
            row=row,
            turn=3,
            chunk=row // 500,
            role="gpt",
            image=image,
            original=f"{row}: {original}",
            machine=f"{row}: {machine}",
            context=(("human", "<image>\n¿Qué se ve?"), ("gpt", machine), ("human", "¿De qué color es el autobús?")),
            translator="google/4.0.2",
            codes=("numbers",),
            score=0.5,
            ratio=1.1,
            part="worst",
            version="translate-llava-3462155d69b9",
        )
        for row in range(number)
    ]
    return [replace(turn, id=record_id(dataset, turn.row, 3, turn.original, turn.machine)) for turn in turns]


class Timed(NamedTuple):
    """One push: records per second, and the server's CPU milliseconds per record, which other load disturbs less."""

    per_second: float
    server_ms: float


def timed(server: psutil.Process, records: int, act: Callable[[], object]) -> Timed:
    """Do it and measure it."""
    before, start = server.cpu_times(), time.perf_counter()
    act()
    seconds, after = time.perf_counter() - start, server.cpu_times()
    return Timed(records / seconds, 1000 * (after.user + after.system - before.user - before.system) / records)


def make_records(desk: ArgillaDesk, turns: Sequence[ReviewTurn], place: Any) -> list[rg.Record]:
    """The very records that the desk sends, as the SDK's."""
    sent = [desk._record(turn, place) for turn in turns]  # noqa: SLF001
    return [
        rg.Record(
            id=record["external_id"],
            fields=record["fields"],
            metadata=record["metadata"],
            suggestions=[
                rg.Suggestion("text", value=item["value"], score=item["score"], agent=item["agent"])
                for item in record["suggestions"]
            ],
        )
        for record in sent
    ]


def main() -> None:
    """Print records per second of both, round by round, and what fraction ours is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--images", action="store_true", help="each record with a thumbnail of 512 pixels")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, LocalArgilla(Path(folder)) as argilla:
        image = None
        if options.images:
            image = "noise.jpg"
            noise = Image.frombytes("RGB", (160, 120), os.urandom(160 * 120 * 3)).resize((640, 480))
            noise.save(Path(folder) / image)
        argilla.workspace(WORKSPACE)
        client = rg.Argilla(api_url=argilla.url, api_key=argilla.owner.key)
        process = argilla.server.process()
        assert process
        server = psutil.Process(process.pid)
        ours: list[Timed] = []
        theirs: list[Timed] = []
        for number in range(options.rounds):
            for mine in (True, False) if number % 2 == 0 else (False, True):
                name = f"{'ours' if mine else 'sdk'}-{number}"
                images = Images(folder if options.images else "")
                desk = ArgillaDesk(argilla.url, argilla.owner.key, WORKSPACE, name, images, 1)
                first, *turns = make_turns(name, options.records + 1, image)
                desk.push([first], lambda done, of: None)  # sets the dataset up
                dataset = client.datasets(name, workspace=WORKSPACE)
                assert dataset
                if mine:
                    ours.append(timed(server, options.records, lambda: desk.push(turns, lambda done, of: None)))  # noqa: B023
                else:
                    place = desk._find(str(dataset.workspace.id), "worst")  # noqa: SLF001
                    records = make_records(desk, turns, place)
                    theirs.append(timed(server, options.records, lambda: dataset.records.log(records)))  # noqa: B023
                found = argilla.call("GET", f"/datasets/{dataset.id}/records?limit=1").json()
                assert found["total"] == options.records + 1
            print(f"round {number}: {shown(ours[-1], theirs[-1])}", flush=True)
        whole = [Timed(*map(statistics.median, zip(*some, strict=True))) for some in (ours, theirs)]
        print(
            f"{options.records} records a round, {'with' if image else 'without'} images, load {os.getloadavg()[0]:.1f}, "
            f"medians: {shown(*whole)}; ours is {whole[0].per_second / whole[1].per_second:.2f} of the SDK by the clock, "
            f"{whole[1].server_ms / whole[0].server_ms:.2f} by the server's CPU"
        )


def shown(ours: Timed, theirs: Timed) -> str:
    """Both on one line."""
    return (
        f"ours {ours.per_second:.1f} records/s ({ours.server_ms:.1f} ms of the server's CPU each), "
        f"SDK {theirs.per_second:.1f} ({theirs.server_ms:.1f} ms)"
    )


if __name__ == "__main__":
    main()
