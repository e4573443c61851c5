"""Operations that wait together share a batch; a bad one fails alone."""

import asyncio
from collections.abc import Sequence
from typing import Any

from digitalme.gateway.batching import MAX_BATCH, Batcher

FOREVER = 3600.0


async def test_a_lone_operation_starts_at_once() -> None:
    async def run(items: Sequence[int]) -> Sequence[int]:
        return [item * 2 for item in items]

    batcher = Batcher(run, patience=FOREVER)
    assert await batcher.submit(21) == 42
    await batcher.close()


async def test_what_arrives_during_a_batch_forms_the_next_one() -> None:
    started, go_on = asyncio.Event(), asyncio.Event()
    sizes: list[int] = []

    async def run(items: Sequence[int]) -> Sequence[int]:
        sizes.append(len(items))
        started.set()
        await go_on.wait()
        return items

    batcher = Batcher(run)
    first = batcher.submit(0)
    await started.wait()
    others = [batcher.submit(number) for number in range(1, 6)]
    go_on.set()
    assert await asyncio.gather(first, *others) == [0, 1, 2, 3, 4, 5]
    assert sizes == [1, 5]
    await batcher.close()


async def test_a_crowd_is_served_in_batches_of_limited_size() -> None:
    sizes: list[int] = []

    async def run(items: Sequence[int]) -> Sequence[int]:
        sizes.append(len(items))
        return items

    batcher = Batcher(run)
    crowd = range(MAX_BATCH * 3)
    assert await asyncio.gather(*(batcher.submit(number) for number in crowd)) == list(crowd)
    assert max(sizes) <= MAX_BATCH
    await batcher.close()


async def test_a_bad_operation_fails_alone() -> None:
    async def run(items: Sequence[int]) -> Sequence[int]:
        if 13 in items:
            raise ArithmeticError
        return items

    batcher = Batcher(run)
    answers = [batcher.submit(number) for number in (12, 13, 14)]
    good, bad, fine = await asyncio.gather(*answers, return_exceptions=True)
    assert (good, fine) == (12, 14)
    assert isinstance(bad, ArithmeticError)
    await batcher.close()


async def test_an_error_that_is_a_result_reaches_its_own_caller_only() -> None:
    async def run(items: Sequence[int]) -> Sequence[Any]:
        return [ValueError("odd") if item % 2 else item for item in items]

    batcher = Batcher(run)
    answers = await asyncio.gather(batcher.submit(2), batcher.submit(3), return_exceptions=True)
    assert answers[0] == 2
    assert isinstance(answers[1], ValueError)
    await batcher.close()


async def test_what_nobody_waits_for_travels_with_the_next_that_somebody_waits_for() -> None:
    batches: list[list[int]] = []

    async def run(items: Sequence[int]) -> Sequence[int]:
        batches.append(list(items))
        return items

    batcher = Batcher(run, patience=FOREVER)
    batcher.post(1)
    await asyncio.sleep(0)
    assert batches == []
    await batcher.submit(2)
    assert batches == [[1, 2]]
    await batcher.close()


async def test_what_nobody_waits_for_starts_alone_when_its_patience_ends() -> None:
    done = asyncio.Event()

    async def run(items: Sequence[int]) -> Sequence[int]:
        done.set()
        return items

    batcher = Batcher(run, patience=0)
    batcher.post(1)
    await asyncio.wait_for(done.wait(), 10)
    done.clear()
    batcher.post(2)
    await asyncio.wait_for(done.wait(), 10)
    await batcher.close()


async def test_a_result_that_its_caller_no_longer_waits_for_is_handed_back() -> None:
    go_on, orphans = asyncio.Event(), list[int]()

    async def run(items: Sequence[int]) -> Sequence[int]:
        await go_on.wait()
        return items

    batcher = Batcher(run, orphans.append)
    gone, stays = batcher.submit(1), batcher.submit(2)
    gone.cancel()
    go_on.set()
    assert await stays == 2
    assert orphans == [1]
    await batcher.close()


async def test_closing_carries_out_what_still_waits() -> None:
    done: list[int] = []

    async def run(items: Sequence[int]) -> Sequence[None]:
        done.extend(items)
        return [None] * len(items)

    batcher = Batcher(run, patience=FOREVER)
    for number in range(1000):
        batcher.post(number)
    await batcher.close()
    assert done == list(range(1000))
