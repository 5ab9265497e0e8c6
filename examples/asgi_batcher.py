"""An ASGI application whose requests share one GPU worker.

    uvicorn asgi_batcher:app            # with examples/ as the working directory

Each request posts a JSON list of numbers and gets the model's answer. However many requests are served at once, one
thread encodes GPU work, in batches of up to 64. The worker is started and closed by ASGI's lifespan events, so that no
request is lost when the server stops. Replace `answer` by your model:

    def answer(rows):
        return model(torch.tensor(rows, device="mps")).cpu().tolist()
"""

import json

from agxpatch import Batcher


def answer(rows):
    return [sum(row) for row in rows]


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    try:
        result, status = await app.batcher.acall(json.loads(body), timeout=30), 200
    except TimeoutError:
        result, status = "busy", 503
    except Exception as error:
        result, status = str(error), 400
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(result).encode()})


async def lifespan(receive, send):
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            app.batcher = Batcher(answer, max_batch=64)
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            app.batcher.close()
            await send({"type": "lifespan.shutdown.complete"})
            return
