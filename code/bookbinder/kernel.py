"""A notebook kernel: runs code and collects what it displays."""

from __future__ import annotations

import os
import queue
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bookbinder.errors import BookError

_LOOK_S = 0.25
"""How often it is looked whether a silent kernel is still alive."""
_REPLY_S = 10.0
_QUIET = (
    # It only listens on this machine; its warning about that would alarm readers.
    "--IPKernelApp.log_level=ERROR",
    # Chapters are no lines that the user typed, and nobody asks for outputs by their number.
    "--HistoryManager.enabled=False",
    "--InteractiveShell.cache_size=0",
)


class Kernel:
    """One kernel in a process of its own; ends with the ``with`` block."""

    def __init__(self, folder: Path, env: Mapping[str, str] | None) -> None:
        from jupyter_client.manager import start_new_kernel

        try:
            self._manager, self._client = start_new_kernel(
                kernel_name="python3",
                cwd=str(folder),
                env={**os.environ, **(env or {})},
                extra_arguments=list(_QUIET),
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
