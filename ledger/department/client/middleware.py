"""Accesses recorded for the requests of an ASGI application, by route: FastAPI, Starlette, or none of them.

    app.add_middleware(
        AccessMiddleware,
        recorder=access,
        routes=[AccessRoute("GET", "/cases/{number}", activity=1, subject="id:{number}", reason="case work")],
        actor=lambda visit: visit.header("x-official"),
    )

The access is durable before the application sees the request.  An answer below 400 is a success, any other a failure.
When it cannot be recorded the application is not called: 503, or 400 where the path names nobody that could be.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ledger.department.client.claims import AccessRefused, Claim, NotRecorded
from ledger.department.client.recorder import FAILURE, SUCCESS, AccessRecorder, say

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_PLACEHOLDER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True, slots=True)
class Visit:
    """A request as resolvers see it: the ASGI scope, and the parts of the path by their names."""

    scope: Scope
    path: dict[str, str]

    def header(self, name: str) -> str:
        """The first header of that name; empty when there is none."""
        wanted = name.lower().encode("latin-1")
        return next((v.decode("latin-1") for n, v in self.scope["headers"] if n.lower() == wanted), "")


Resolver = Callable[[Visit], Any]


@dataclass(frozen=True, slots=True)
class AccessRoute:
    """Requests that are accesses.

    `path` is spelled as FastAPI has it, `/cases/{number}`; `subject` is text with the same names in braces, or a
    function (async or not) of the visit that returns a subject, several, or None when nobody's data is accessed.
    `actor`, `reason`, `data`, `event`, `recipient` are claims, or functions of the visit that return them.
    """

    method: str
    path: str
    activity: int
    subject: str | Resolver
    actor: Claim | Resolver = None
    reason: Claim | Resolver = None
    data: Claim | Resolver = None
    event: Claim | Resolver = None
    recipient: Claim | Resolver = None

    @property
    def expression(self) -> re.Pattern[str]:
        """The whole path with its names as groups.  Raises ValueError for a path or a subject that will not do."""
        if not self.path.startswith("/") or re.search(r"[{}]", _PLACEHOLDER.sub("", self.path)):
            raise ValueError(f"{self.path}: must be a path with names in braces, such as /cases/{{number}}")
        names = _PLACEHOLDER.findall(self.path)
        if isinstance(self.subject, str) and (
            missing := set(_PLACEHOLDER.findall(self.subject)) - set(names)
        ):
            raise ValueError(f"{self.path}: the subject names {min(missing)}, and the path does not")
        parts = _PLACEHOLDER.split(self.path)
        return re.compile(
            "".join(re.escape(part) if i % 2 == 0 else f"(?P<{part}>[^/]+)" for i, part in enumerate(parts)),
            re.DOTALL,
        )


class AccessMiddleware:
    """ASGI middleware; `actor` holds for routes that have none of their own.  Raises ValueError for a bad route."""

    def __init__(
        self,
        app: App,
        *,
        recorder: AccessRecorder,
        routes: Sequence[AccessRoute],
        actor: Claim | Resolver = None,
    ) -> None:
        self._app, self._recorder, self._actor = app, recorder, actor
        self._routes = [(route.method.upper(), route.expression, route) for route in routes]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._find(scope) if scope["type"] == "http" else None
        if found is None:
            await self._app(scope, receive, send)
            return
        route, visit = found
        try:
            subject = await _subject(route, visit)
            entry = None
            if subject:
                claims = await self._claims(route, visit)
                entry = self._recorder.record(subject=subject, activity=route.activity, **claims)
                await entry.__aenter__()
        except NotRecorded as error:
            # What is wrong with the subject is the asker's; all else is for the operator.
            mine = not (isinstance(error, AccessRefused) and error.where == "subject")
            if mine:
                say(f"glassbook: {route.method} {route.path}: not recorded, and so not answered: {error}")
            await _refuse(send, 503 if mine else 400)
            return
        if entry is None:
            await self._app(scope, receive, send)
            return
        status: list[int] = []

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                status.append(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except BaseException as error:
            entry.outcome = FAILURE
            await entry.__aexit__(type(error), error, error.__traceback__)
            raise
        entry.outcome = SUCCESS if status and status[0] < 400 else FAILURE
        await entry.__aexit__(None, None, None)

    def _find(self, scope: Scope) -> tuple[AccessRoute, Visit] | None:
        path = scope["path"]
        root = scope.get("root_path", "").rstrip("/")
        if root and path.startswith(root + "/"):
            path = path[len(root) :]
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        for of, expression, route in self._routes:
            if of == method and (match := expression.fullmatch(path)):
                return route, Visit(scope, match.groupdict())
        return None

    async def _claims(self, route: AccessRoute, visit: Visit) -> dict[str, Any]:
        stated = {
            "actor": self._actor if route.actor is None else route.actor,
            "reason": route.reason,
            "data": route.data,
            "event": route.event,
            "recipient": route.recipient,
        }
        resolved = {
            name: await _resolved(value, visit) for name, value in stated.items() if value is not None
        }
        return {name: value for name, value in resolved.items() if value}


async def _subject(route: AccessRoute, visit: Visit) -> str | Iterable[str] | None:
    if isinstance(route.subject, str):
        return _PLACEHOLDER.sub(lambda name: visit.path[name.group(1)], route.subject)
    found: str | Iterable[str] | None = await _resolved(route.subject, visit)
    return found


async def _resolved(value: Any, visit: Visit) -> Any:
    if not callable(value):
        return value
    found = value(visit)
    return await found if inspect.isawaitable(found) else found


async def _refuse(send: Send, status: int) -> None:
    """A problem document (RFC 9457) that says nothing of the request."""
    title = "The access could not be recorded" if status == 503 else "The path names nobody"
    body = json.dumps({"type": "about:blank", "title": title, "status": status}).encode()
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(body)).encode()),
        *([(b"retry-after", b"10")] if status == 503 else []),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
