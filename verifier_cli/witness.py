"""A witness over HTTP: `POST /add-checkpoint` (C2SP tlog-witness), and `GET /healthz` for whoever runs it.

A witness that is an auditor lets the log wait for a small audit; for a larger one it answers 503 with `Retry-After`.
Needs the extra `witness` (Starlette, uvicorn).
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import socket
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import active_children
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from ledger.files import FileRefused
from ledger.slowclients import bounded_protocol
from verifier_cli.cosigning import CLOCK_BACK, FORK, Request, condemned, cosign, examine, forked
from verifier_cli.following import CLOCK, UNSAVED
from verifier_cli.submission import MAX_BODY, TEXT_TYPE, Answer
from verifier_cli.watchhooks import Webhook
from verifier_cli.witnessalarms import AGAIN_SECONDS, Alarms, say
from verifier_cli.witnessaudit import Audits
from verifier_cli.witnessevidence import fork_between, keep_fork
from verifier_cli.witnessfile import WitnessFile
from verifier_cli.witnesswords import clock_words, health_words, key_words

if TYPE_CHECKING:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request as HttpRequest
    from starlette.responses import Response

BODY_SECONDS = 15
"""A request that takes longer to arrive is dropped."""
AUDIT_SECONDS = 3.0
"""How long a request waits for the audit of what is new before it is told to come again; publishers wait 5."""
CONNECTIONS = 200
"""At most; further ones are told 503."""
STOP_SECONDS = 5
"""For answers under way to be given, and then again for audits to be saved."""


class WitnessService:
    """Answers requests to one witness."""

    def __init__(
        self,
        file: WitnessFile,
        clock: Callable[[], float] = time.time,
        alarms: Alarms | None = None,
        audits: Audits | None = None,
    ) -> None:
        self.file = file
        self.alarms = alarms or Alarms(file, clock)
        self.audits = audits
        if file.auditor and audits is None:
            self.audits = Audits(file, self.alarms, 1, clock)
        self._clock = clock
        self._say_again = 0.0

    async def answer(self, body: bytes) -> Answer:
        """What to answer to the body of an add-checkpoint request. Never raises."""
        try:
            return await self._answer(body)
        except (sqlite3.Error, FileRefused, OSError) as error:
            say(
                f"cannot record what it sees, so nothing is cosigned: {error}; look at {self.file.path}'s disk"
            )
            text = "this witness cannot record what it sees; nothing was cosigned\n"
            return Answer(503, text, retry_after=5)

    async def _answer(self, body: bytes) -> Answer:
        from starlette.concurrency import run_in_threadpool

        examined = await run_in_threadpool(self._examine, body)
        if isinstance(examined, Answer):
            return examined
        audited = None
        if self.audits is not None:
            audit = self.audits.of(examined.checkpoint.origin)
            future = audit.ask(examined)
            await asyncio.wait({asyncio.wrap_future(future)}, timeout=AUDIT_SECONDS)
            if not future.done():
                behind = audit.leave(future)
                await run_in_threadpool(self._remember, examined)
                return behind
            finding = future.result()
            if isinstance(finding, Answer):
                return finding
            audited = finding
        return await run_in_threadpool(
            lambda: self._told(examined, cosign(self.file, examined, int(self._clock()), audited))
        )

    def _remember(self, request: Request) -> None:
        """What is not audited yet: so that it is, even if this process ends and the log does not come again."""
        checkpoint = request.checkpoint
        self.file.set_wanted(checkpoint.origin, checkpoint.size, request.note)

    def _examine(self, body: bytes) -> Answer | Request:
        refused: list[Request] = []
        found = examine(self.file, body, int(self._clock()), refused.append)
        return found if isinstance(found, Request) else self._told(refused[0] if refused else None, found)

    def _told(self, request: Request | None, answer: Answer) -> Answer:
        """The answer, once the operator has heard what there is to hear of it. `request` is one that the log signed."""
        if request is None:
            return answer
        origin = request.checkpoint.origin
        if answer.status == 200:
            self.alarms.end(origin, (CLOCK, UNSAVED))
        elif answer.body == CLOCK_BACK:
            self.alarms.raise_(origin, CLOCK, clock_words(self.file.seen(origin).cosigned))
        elif answer.status in (409, 422) and forked(request.checkpoint, seen := self.file.seen(origin)):
            fork = fork_between(None, seen.note, request.note)
            if fork is not None and self.alarms.due(origin, FORK, fork.what):
                self.alarms.raise_(origin, FORK, fork.what, keep_fork(self.file.path.parent, fork))
        elif answer.status == 422 and time.monotonic() >= self._say_again:
            # Perhaps a fork, perhaps only a wrong proof: the log signed it, so it may be needed one day.
            self._say_again = time.monotonic() + AGAIN_SECONDS
            say(f"refused (422): {answer.body.rstrip()}; the checkpoint sent:\n{request.note.decode()}")
            if self.audits is not None and condemned(self.file, origin) is None:
                # An auditor can find out which of the two: from the log's own files.
                self.audits.of(origin).ask(request)
        return answer


def witness_app(
    file: WitnessFile, clock: Callable[[], float] = time.time, service: WitnessService | None = None
) -> Starlette:
    """The ASGI application."""
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import ClientDisconnect
    from starlette.responses import Response
    from starlette.routing import Route

    serving = service or WitnessService(file, clock)

    def plain(answer: Answer, **headers: str) -> Response:
        if answer.retry_after is not None:
            headers["Retry-After"] = str(answer.retry_after)
        return Response(answer.body, answer.status, {"Content-Type": answer.content_type, **headers})

    async def add(request: HttpRequest) -> Response:
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > MAX_BODY:
                        return plain(Answer(413, f"longer than {MAX_BODY} bytes\n"), Connection="close")
        except (TimeoutError, ClientDisconnect):
            return plain(Answer(408, "the request did not arrive in time\n"), Connection="close")
        return plain(await serving.answer(bytes(body)))

    async def health(_request: HttpRequest) -> Response:
        try:
            return Response(await run_in_threadpool(health_words, file), 200, None, TEXT_TYPE)
        except (sqlite3.Error, FileRefused, OSError):
            return plain(Answer(503, "the witness's file cannot be read\n", retry_after=5))

    return Starlette(
        routes=[
            Route("/add-checkpoint", add, methods=["POST"]),
            Route("/healthz", health, methods=["GET"]),
        ]
    )


def parse_listen(text: str) -> tuple[str, int]:
    """`host:port` (an IPv6 host in brackets); port 0 lets the system choose.

    Raises ValueError with a sentence for the user.
    """
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"--listen {text}: give host:port, such as 127.0.0.1:8100")
    return host, int(port)


def serve(file: WitnessFile, listen: tuple[str, int], jobs: int = 1, webhooks: Sequence[str] = ()) -> None:
    """Answer over HTTP until SIGINT or SIGTERM; says on stderr at which address. Alarms are posted to `webhooks`.

    Raises Malformed for what is no webhook's address, FileRefused when another process serves the same file, OSError
    when the address cannot be had.
    """
    import uvicorn

    with serving_alone(file.path):
        hooks = [Webhook(url, (), say) for url in webhooks]
        family = socket.AF_INET6 if ":" in listen[0] else socket.AF_INET
        bound = socket.create_server(listen, family=family, backlog=128)
        host, port = bound.getsockname()[:2]
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        for vkey in file.vkeys:
            say(key_words(vkey))
        what = "auditing" if file.auditor else "serving"
        say(f"{what} {', '.join(file.origins()) or 'no log yet'} at {url}")

        def tell(event: dict[str, Any]) -> None:
            for hook in hooks:
                hook.put(event)

        alarms = Alarms(file, tell=tell)
        audits = Audits(file, alarms, jobs) if file.auditor else None
        if audits is not None:
            audits.resume()
        config = uvicorn.Config(
            witness_app(file, service=WitnessService(file, alarms=alarms, audits=audits)),
            http=bounded_protocol(),
            access_log=False,
            log_level="warning",
            lifespan="off",
            limit_concurrency=CONNECTIONS,
            server_header=False,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
        _run(uvicorn.Server(config), bound, audits)
        ended = audits is None or audits.stop(STOP_SECONDS)
        for hook in hooks:
            hook.flush(1.0)
            hook.close(1.0)
        if not ended:
            # It hangs in reading a log, where Python's threads cannot be ended. All that counts is on disk.
            say("an audit does not end, as it waits for its log; what it saved is whole")
            file.close()
            for process in active_children():
                process.terminate()
            sys.stderr.flush()
            os._exit(0)


def _run(server: uvicorn.Server, bound: socket.socket, audits: Audits | None) -> None:
    def end(_signal: int, _frame: FrameType | None) -> None:
        server.should_exit = True
        if audits is not None:
            # Requests that wait for an audit are answered. In a thread: this one may be holding the lock it takes.
            threading.Thread(target=audits.stop, args=(0.0,), daemon=True).start()

    # uvicorn raises a signal anew when it has ended; without these the file would never be closed.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    server.run(sockets=[bound])


@contextmanager
def serving_alone(path: Path) -> Iterator[None]:
    """Hold the file FILE.lock while serving FILE. Raises FileRefused while another process does.

    A lock of its own, as SQLite's would be gone with the first of its connections that is closed.
    """
    lock = path.resolve().with_name(f"{path.resolve().name}.lock")
    handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FileRefused(
                f"{path}: another process serves this witness already; stop that one, or leave it to it"
            ) from None
        yield
    finally:
        os.close(handle)
