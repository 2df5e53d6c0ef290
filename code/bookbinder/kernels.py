"""Notebook kernels: run code and collect what it displays; several may share the chapters."""

from __future__ import annotations

import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from bookbinder.errors import BookError

T = TypeVar("T")
_LOOK_S = 0.25
"""How often a waiting kernel looks whether it should stop."""
_REPLY_S = 10.0


class Stopped(Exception):
    """The work was called off while a kernel was busy."""


class Kernel:
    """One kernel in a process of its own; ends with the ``with`` block."""

    def __init__(self, folder: Path, env: Mapping[str, str] | None, stop: threading.Event) -> None:
        from jupyter_client.manager import start_new_kernel

        self._stop = stop
        try:
            self._manager, self._client = start_new_kernel(
                kernel_name="python3",
                cwd=str(folder),
                env={**os.environ, **(env or {})},
                # It only listens on this machine; its warning about that would alarm readers.
                extra_arguments=["--IPKernelApp.log_level=ERROR"],
            )
        except RuntimeError as error:
            raise BookError(
                f"the Python process that runs the chapters did not start ({error}); look at the "
                "environment, or make it anew."
            ) from error

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)

    def run(self, code: str) -> tuple[list[dict[str, Any]], int | None]:
        """Outputs in notebook form and the number of the execution.

        Raises:
            BookError: the kernel died.
            Stopped: another kernel failed, or the user interrupted.
        """
        request = self._client.execute(code, store_history=True, allow_stdin=False)
        outputs: list[dict[str, Any]] = []
        for message in self._messages(request):
            _collect(message, outputs)
        reply = self._client.get_shell_msg(timeout=_REPLY_S)
        return outputs, reply["content"].get("execution_count")

    def _messages(self, request: str) -> Iterable[Mapping[str, Any]]:
        """What the kernel tells about a request, until it is idle again."""
        while True:
            if self._stop.is_set():
                raise Stopped
            try:
                message = self._client.get_iopub_msg(timeout=_LOOK_S)
            except queue.Empty:
                if not self._manager.is_alive():
                    raise BookError(
                        "the Python process that runs the chapters ended by itself; perhaps the "
                        "memory of this machine ran out."
                    ) from None
                continue
            if message["parent_header"].get("msg_id") != request:
                continue
            yield message
            state = message["content"].get("execution_state")
            if message["header"]["msg_type"] == "status" and state == "idle":
                return


def _collect(message: Mapping[str, Any], outputs: list[dict[str, Any]]) -> None:
    """Add what a message displays; text of one stream is one output."""
    import nbformat

    if message["header"]["msg_type"] not in ("display_data", "execute_result", "stream", "error"):
        return
    found = dict(nbformat.v4.output_from_msg(message))
    last = outputs[-1] if outputs else {}
    if found["output_type"] == "stream" and last.get("name") == found["name"]:
        last["text"] += found["text"]
    else:
        outputs.append(found)


def work_off(
    items: Sequence[T],
    last: Sequence[T],
    work: Callable[[Kernel, T], None],
    folder: Path,
    env: Mapping[str, str] | None,
    kernels: int,
) -> None:
    """Give every item to ``work`` with a kernel; the first failure stops all of them.

    Kernels take items in their order. When nothing is left and all are done, the first kernel
    takes the ``last`` ones.
    """
    from jupyter_core.utils import ensure_event_loop

    left = deque(items)
    stop = threading.Event()
    failures: list[BaseException] = []

    def take(then: Callable[[Kernel], None] | None = None) -> None:
        try:
            with Kernel(folder, env, stop) as kernel:
                while left and not stop.is_set():
                    try:
                        item = left.popleft()
                    except IndexError:  # another kernel was faster
                        break
                    work(kernel, item)
                if then:
                    then(kernel)
        except BaseException as error:
            failures.append(error)
            stop.set()
        finally:
            ensure_event_loop().close()  # the clients of a thread wait in a loop of their own

    others = [threading.Thread(target=take) for _ in range(min(kernels, len(left)) - 1)]

    def finish(kernel: Kernel) -> None:
        for thread in others:
            thread.join()
        for item in last:
            if not stop.is_set():
                work(kernel, item)

    threads = [*others, threading.Thread(target=take, args=(finish,))]  # who waits starts last
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            while thread.is_alive():
                thread.join(_LOOK_S)
    finally:  # also when the user interrupts
        stop.set()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]
