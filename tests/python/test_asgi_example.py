"""The ASGI example, called as a server calls it."""

import asyncio
import importlib.util
import json
import pathlib

EXAMPLE = pathlib.Path(__file__).parents[2] / "examples" / "asgi_batcher.py"


def load():
    spec = importlib.util.spec_from_file_location("asgi_batcher", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.app


async def request(app, rows):
    sent = []

    async def receive():
        return {"type": "http.request", "body": json.dumps(rows).encode(), "more_body": False}

    async def send(message):
        sent.append(message)

    await app({"type": "http"}, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])


async def serve(app, *bodies):
    events, told = asyncio.Queue(), asyncio.Queue()
    server = asyncio.ensure_future(app({"type": "lifespan"}, events.get, told.put))
    await events.put({"type": "lifespan.startup"})
    assert (await told.get())["type"] == "lifespan.startup.complete"
    answers = await asyncio.gather(*(request(app, body) for body in bodies))
    await events.put({"type": "lifespan.shutdown"})
    assert (await told.get())["type"] == "lifespan.shutdown.complete"
    await server
    return answers


def test_each_request_gets_its_own_answer():
    rows = [[step, 1] for step in range(100)]
    assert asyncio.run(serve(load(), *rows)) == [(200, step + 1) for step in range(100)]


def test_a_request_that_cannot_be_answered_does_not_spoil_the_others():
    answers = asyncio.run(serve(load(), [1, 2], 3, [4]))
    assert [status for status, _ in answers] == [200, 400, 200]
    assert answers[0][1] == 3 and answers[2][1] == 4
