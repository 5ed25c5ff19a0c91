"""A FastAPI application under uvicorn, asked over a real socket: each request that is an access is recorded."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import StreamingResponse
from outboxclaims import claims_in_outbox
from smalldepartment import SmallDepartment

from ledger.department.client import AccessMiddleware, AccessRecorder, AccessRoute, Visit


def settled(small: SmallDepartment, count: int) -> list[dict[str, Any]]:
    """The claims in the outbox once all have their outcome, which is told after the answer."""
    deadline = time.monotonic() + 10
    while True:
        found = claims_in_outbox(small)
        if len(found) == count and all(claims["event"]["outcome"] != "not stated" for claims in found):
            return found
        assert time.monotonic() < deadline
        time.sleep(0.01)


async def whoever_is_logged_in(visit: Visit) -> dict[str, Any]:
    return {"id": visit.header("X-Official") or "unknown", "role": "caseworker"}


def found_by_search(visit: Visit) -> list[str] | None:
    query = bytes(visit.scope["query_string"]).decode()
    return {"q=both": ["id:anna", "id:berta"]}.get(query)


ROUTES = [
    AccessRoute(
        "GET", "/cases/{number}", activity=1, subject="id:{number}", reason="case work", data=["case"]
    ),
    AccessRoute("GET", "/search", activity=1, subject=found_by_search, event={"result": "appeared"}),
    AccessRoute("POST", "/broken/{number}", activity=1, subject="id:{number}"),
    AccessRoute("GET", "/unregistered/{number}", activity=9, subject="id:{number}"),
    AccessRoute("GET", "/stream/{number}", activity=1, subject="id:{number}"),
]


def application(small: SmallDepartment, access: AccessRecorder) -> FastAPI:
    app = FastAPI()
    app.add_middleware(AccessMiddleware, recorder=access, routes=ROUTES, actor=whoever_is_logged_in)

    @app.get("/cases/{number}")
    def case(number: str) -> dict[str, Any]:
        if number == "nobody":
            raise HTTPException(404)
        return {"recorded": len(claims_in_outbox(small))}

    @app.get("/search")
    async def search(request: Request) -> str:
        return "found"

    @app.post("/broken/{number}")
    def broken(number: str) -> None:
        raise RuntimeError("broken")

    @app.get("/unregistered/{number}")
    def unregistered(number: str) -> str:
        raise AssertionError("was called without a record")

    @app.get("/stream/{number}")
    def stream(number: str) -> StreamingResponse:
        return StreamingResponse(str(len(claims_in_outbox(small))) for _ in range(2))

    return app


@pytest.fixture
def web(small: SmallDepartment, access: AccessRecorder) -> Iterator[httpx.Client]:
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    config = uvicorn.Config(application(small, access), log_level="critical", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    while not server.started:
        time.sleep(0.01)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"X-Official": "u77"}) as client:
        yield client
    server.should_exit = True
    thread.join()
    listening.close()


def test_the_record_is_there_before_the_application_answers(
    small: SmallDepartment, web: httpx.Client
) -> None:
    assert web.get("/cases/anna").json() == {"recorded": 1}
    (claims,) = settled(small, 1)
    assert claims["subject"] == "id:anna"
    assert claims["actor"] == {"id": "u77", "role": "caseworker", "automated": False}
    assert claims["event"]["outcome"] == "success"
    assert claims["data"]["fields"] == ["case"]
    assert web.get("/stream/anna").text == "22"


def test_an_answer_that_refuses_or_breaks_is_a_failure(small: SmallDepartment, web: httpx.Client) -> None:
    assert web.get("/cases/nobody").status_code == 404
    assert web.post("/broken/anna").status_code == 500
    assert [claims["event"]["outcome"] for claims in settled(small, 2)] == ["failure", "failure"]


def test_a_search_records_everybody_it_shows_and_nobody_when_it_shows_none(
    small: SmallDepartment, web: httpx.Client
) -> None:
    assert web.get("/search?q=none").json() == "found"
    assert claims_in_outbox(small) == []
    assert web.get("/search?q=both").json() == "found"
    assert [claims["subject"] for claims in claims_in_outbox(small)] == ["id:anna", "id:berta"]


def test_a_number_whose_check_digit_is_wrong_is_called_a_fault_of_the_program(
    small: SmallDepartment, web: httpx.Client
) -> None:
    """Whoever calls can write any number: that is 400, as other spellings that are none, and not 503."""
    path = small.home_folder / "department.toml"
    path.write_text(path.read_text() + '[identifiers]\nid = "nhs"\n')
    assert web.get("/cases/9434765919").status_code == 200
    assert web.get("/cases/9434765918").status_code == 400
    assert len(claims_in_outbox(small)) == 1


def test_other_requests_pass_unrecorded(small: SmallDepartment, web: httpx.Client) -> None:
    assert web.get("/docs").status_code == 200
    assert web.post("/cases/anna").status_code == 405
    assert web.get("/cases/anna/files").status_code == 404
    assert claims_in_outbox(small) == []


def test_what_cannot_be_recorded_is_not_answered(small: SmallDepartment, web: httpx.Client) -> None:
    answer = web.get("/unregistered/anna")
    assert answer.status_code == 503 and "anna" not in answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    for odd in ("ANNA", "a%20b", "anna%0A", "%FF"):
        answer = web.get(f"/cases/{odd}")
        assert answer.status_code == 400 and "ANNA" not in answer.text
    assert claims_in_outbox(small) == []


def test_an_application_mounted_below_a_path_is_found(small: SmallDepartment, access: AccessRecorder) -> None:
    visits: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        visits.append(scope["path"])

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        visits.append(message)

    middleware = AccessMiddleware(app, recorder=access, routes=ROUTES)
    scope = {
        "type": "http",
        "method": "HEAD",
        "path": "/api/cases/anna",
        "root_path": "/api",
        "headers": [],
    }
    asyncio.run(middleware(scope, receive, send))
    assert visits == ["/api/cases/anna"]
    (claims,) = claims_in_outbox(small)
    assert claims["actor"]["id"] == "not stated" and claims["event"]["outcome"] == "failure"


@pytest.mark.parametrize(
    ("path", "subject", "what"),
    [
        ("cases/{number}", "id:{number}", "must be a path"),
        ("/cases/{number:path}", "id:{number}", "must be a path"),
        ("/cases/{number}", "id:{name}", "names name"),
    ],
)
def test_a_route_that_could_never_be_right_is_refused_at_once(
    access: AccessRecorder, path: str, subject: str, what: str
) -> None:
    async def app(*_: Any) -> None:
        raise AssertionError

    with pytest.raises(ValueError, match=what):
        AccessMiddleware(app, recorder=access, routes=[AccessRoute("GET", path, activity=1, subject=subject)])
