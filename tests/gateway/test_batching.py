"""Operations that wait together share a batch; a bad one fails alone."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from digitalme.gateway.batching import MAX_BATCH, Batcher, Queue


async def test_a_lone_operation_starts_at_once() -> None:
    doubled: Queue[int, int] = Queue(lambda items: [item * 2 for item in items])
    batcher = Batcher(doubled)
    assert await batcher.submit(doubled, 21) == 42
    await asyncio.to_thread(batcher.close)


async def test_what_arrives_during_a_batch_forms_the_next_one() -> None:
    started, go_on, sizes = threading.Event(), threading.Event(), []

    def run(items: Sequence[int]) -> Sequence[int]:
        sizes.append(len(items))
        started.set()
        go_on.wait(10)
        return items

    queue: Queue[int, int] = Queue(run)
    batcher = Batcher(queue)
    first = batcher.submit(queue, 0)
    await asyncio.to_thread(started.wait, 10)
    others = [batcher.submit(queue, number) for number in range(1, 6)]
    go_on.set()
    assert await asyncio.gather(first, *others) == [0, 1, 2, 3, 4, 5]
    assert sizes == [1, 5]
    await asyncio.to_thread(batcher.close)


async def test_a_crowd_is_served_in_batches_of_limited_size() -> None:
    sizes: list[int] = []

    def run(items: Sequence[int]) -> Sequence[int]:
        sizes.append(len(items))
        return items

    queue: Queue[int, int] = Queue(run)
    batcher = Batcher(queue)
    crowd = range(MAX_BATCH * 3)
    assert await asyncio.gather(*(batcher.submit(queue, number) for number in crowd)) == list(crowd)
    assert max(sizes) <= MAX_BATCH
    await asyncio.to_thread(batcher.close)


@pytest.mark.django_db
async def test_a_bad_operation_fails_alone() -> None:
    def run(items: Sequence[int]) -> Sequence[int]:
        if 13 in items:
            raise ArithmeticError
        return items

    gate = threading.Event()

    def wait(items: Sequence[int]) -> Sequence[int]:
        gate.wait(10)
        return items

    slow, queue = Queue[int, int](wait), Queue[int, int](run)
    batcher = Batcher(slow, queue)
    batcher.post(slow, 0)
    answers = [batcher.submit(queue, number) for number in (12, 13, 14)]
    gate.set()
    good, bad, fine = await asyncio.gather(*answers, return_exceptions=True)
    assert (good, fine) == (12, 14)
    assert isinstance(bad, ArithmeticError)
    await asyncio.to_thread(batcher.close)


async def test_an_error_that_is_a_result_reaches_its_own_caller_only() -> None:
    queue: Queue[int, Any] = Queue(lambda items: [ValueError("odd") if item % 2 else item for item in items])
    batcher = Batcher(queue)
    answers = await asyncio.gather(batcher.submit(queue, 2), batcher.submit(queue, 3), return_exceptions=True)
    assert answers[0] == 2
    assert isinstance(answers[1], ValueError)
    await asyncio.to_thread(batcher.close)


async def test_closing_carries_out_what_still_waits() -> None:
    done: list[int] = []

    def run(items: Sequence[int]) -> Sequence[None]:
        done.extend(items)
        return [None] * len(items)

    queue: Queue[int, None] = Queue(run)
    batcher = Batcher(queue)
    for number in range(1000):
        batcher.post(queue, number)
    await asyncio.to_thread(batcher.close)
    assert done == list(range(1000))
