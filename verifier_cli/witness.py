"""`glassbook-verify witness --plain`: the plain witness of cosigning.py over HTTP, and the command that makes it.

The one address is `POST /add-checkpoint`. Needs the extra `witness` (Starlette, uvicorn), and only when it serves.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from ledger.core.errors import GlassbookError
from ledger.core.note import parse_vkey
from ledger.files import FileRefused
from verifier_cli.cosigning import MAX_BODY, TEXT_TYPE, WitnessFile, add_checkpoint

if TYPE_CHECKING:
    from starlette.applications import Starlette

BODY_SECONDS = 15
"""A request that takes longer to arrive is dropped."""


def witness_app(file: WitnessFile, clock: Callable[[], float] = time.time) -> Starlette:
    """The ASGI application: `POST /add-checkpoint` and nothing else."""
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import Response
    from starlette.routing import Route

    async def handle(request: Request) -> Response:
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = bytearray()
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > MAX_BODY:
                        return Response(
                            f"longer than {MAX_BODY} bytes\n", 413, {"Connection": "close"}, TEXT_TYPE
                        )
        except (TimeoutError, ClientDisconnect):
            return Response("the request did not arrive in time\n", 408, {"Connection": "close"}, TEXT_TYPE)
        try:
            answer = await run_in_threadpool(add_checkpoint, file, bytes(body), int(clock()))
        except sqlite3.Error as error:
            _say(f"could not record a checkpoint, so it is not cosigned: {error}; look at {file.path}'s disk")
            return Response(
                "this witness cannot record what it sees; nothing was cosigned\n", 503, None, TEXT_TYPE
            )
        if answer.status in (409, 422) and answer.content_type == TEXT_TYPE:
            why = answer.body.rstrip()
            _say(f"refused ({answer.status}): {why}; the checkpoint sent:\n{_note_of(bytes(body))}")
        return Response(answer.body, answer.status, {"Content-Type": answer.content_type})

    return Starlette(routes=[Route("/add-checkpoint", handle, methods=["POST"])])


def _note_of(body: bytes) -> str:
    return body.partition(b"\n\n")[2].decode("utf-8", "replace")


def _say(text: str) -> None:
    # Where standard error goes, the disk may be full: no reason to end.
    with suppress(OSError):
        print(f"witness: {text}", file=sys.stderr, flush=True)


def parse_listen(text: str) -> tuple[str, int]:
    """`host:port` (an IPv6 host in brackets); port 0 lets the system choose.

    Raises ValueError with a sentence for the user.
    """
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"--listen {text}: give host:port, such as 127.0.0.1:8100")
    return host, int(port)


def serve(file: WitnessFile, listen: tuple[str, int]) -> None:
    """Answer over HTTP until SIGINT or SIGTERM; says on stderr at which address."""
    import uvicorn

    family = socket.AF_INET6 if ":" in listen[0] else socket.AF_INET
    bound = socket.create_server(listen, family=family, backlog=128)
    host, port = bound.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    _say(file.signer.vkey.text)
    _say(f"serving {', '.join(file.origins()) or 'no log yet'} at {url}")
    config = uvicorn.Config(
        witness_app(file), access_log=False, log_level="warning", lifespan="off", limit_concurrency=200
    )
    server = uvicorn.Server(config)

    def end(_signal: int, _frame: FrameType | None) -> None:
        server.should_exit = True

    # uvicorn raises a signal anew when it has ended; without these the file would never be closed.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    server.run(sockets=[bound])


def witness(
    file: Annotated[Path, typer.Argument(help="The witness's one file: key, logs, last checkpoints.")],
    plain: Annotated[
        bool, typer.Option("--plain", help="Check that the log only grows; read no entries.")
    ] = False,
    init: Annotated[
        bool, typer.Option("--init", help="Make FILE with a new key and print its vkey.")
    ] = False,
    name: Annotated[
        str | None, typer.Option(help="With --init: the cosigner's name, a URL without scheme.")
    ] = None,
    log_vkey: Annotated[
        list[str] | None, typer.Option(help="A key of a log to serve; may be given again.")
    ] = None,
    listen: Annotated[str | None, typer.Option(help="Serve at host:port (port 0: any free one).")] = None,
) -> None:
    """A C2SP witness: cosigns checkpoints of the logs it is told of."""
    if not plain:
        raise _stop(2, "so far there is only the plain witness: add --plain")
    if init and name is None:
        raise _stop(2, "--init needs --name, the cosigner's name, such as witness.example/w1")
    if not init and not log_vkey and listen is None:
        raise _stop(2, "nothing to do: give --init, --log-vkey or --listen")
    try:
        address = parse_listen(listen) if listen is not None else None
        keys = [parse_vkey(text) for text in log_vkey or ()]
        opened = WitnessFile.create(file, name) if init and name is not None else WitnessFile(file)
    except ValueError as error:
        raise _stop(2, str(error)) from None
    except (GlassbookError, FileRefused, OSError) as error:
        raise _stop(3, str(error)) from None
    try:
        for key in keys:
            opened.add_log(key)
        if init:
            print(opened.signer.vkey.text, flush=True)
        if address is not None:
            serve(opened, address)
    except ModuleNotFoundError as error:
        raise _stop(2, f"{error.name} is not installed; run: pip install 'glassbook[witness]'") from None
    except OSError as error:
        raise _stop(3, f"cannot listen at {listen}: {error}") from None
    finally:
        opened.close()


def _stop(code: int, text: str) -> typer.Exit:
    _say(text)
    return typer.Exit(code)
