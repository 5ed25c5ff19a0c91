"""Processes that get ready, begin at one word, and tell what they found: what stands for people other than the log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection as Pipe
from typing import Any

Begin = Callable[[], Any]
"""The work itself; what it returns is told."""

Work = tuple[Callable[..., Begin], tuple[Any, ...]]
"""A function of a module that makes everything ready, and what it is called with."""


class Workers:
    """A process for each work, ready when the block is entered; leaving the block ends them.

    They stay until then, so that the CPU time they have taken can be read after `run`.
    """

    def __init__(self, works: Sequence[Work]) -> None:
        self._works = works
        self._pipes: list[Any] = []
        self._processes: list[Any] = []

    def __enter__(self) -> Workers:
        context = get_context("spawn")
        try:
            for prepare, arguments in self._works:
                ours, theirs = context.Pipe()
                process = context.Process(target=_work, args=(theirs, prepare, arguments), daemon=True)
                process.start()
                theirs.close()
                self._pipes.append(ours)
                self._processes.append(process)
            self._receive()
        except BaseException:
            self.__exit__()
            raise
        return self

    def run(self) -> list[Any]:
        """Let all begin, and wait for all; what each has found. RuntimeError when one could not do its work."""
        for pipe in self._pipes:
            pipe.send(None)
        return self._receive()

    def _receive(self) -> list[Any]:
        received = [pipe.recv() for pipe in self._pipes]
        for _, failed in received:
            if failed:
                raise RuntimeError(failed)
        return [found for found, _ in received]

    def __exit__(self, *_: object) -> None:
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(10)
            if process.is_alive():
                process.kill()
                process.join()


def _work(pipe: Pipe, prepare: Callable[..., Begin], arguments: tuple[Any, ...]) -> None:
    """What each process does: (what it found, what went wrong) for each of the two steps."""
    try:
        begin = prepare(*arguments)
        pipe.send((None, ""))
        pipe.recv()
        pipe.send((begin(), ""))
        pipe.recv()
    except EOFError:
        return  # the other end is closed: nobody waits any more
    except Exception as error:
        pipe.send((None, f"a process of the benchmark failed: {type(error).__name__}: {error}"))
