"""The same exported model behind FastAPI as most do it: a plain function, so in its thread pool, one session a call.

    python -m benchmarks.peers.fastapi_service EXPORTED

serves it on a free port, and says which. Needs fastapi, which nothing else here does.
"""

import socket
import sys

import tagnn_fast


def make_app(folder: str):
    """An application with one route, ``POST /v1/recommend``."""
    from fastapi import FastAPI
    from pydantic import BaseModel

    class Asked(BaseModel):
        session: list[int]
        k: int = 20

    class Answer(BaseModel):
        items: list[int]
        scores: list[float]

    model = tagnn_fast.load(folder)
    app = FastAPI()

    @app.post("/v1/recommend")
    def recommend(asked: Asked) -> Answer:
        answer = model.recommend([asked.session], asked.k)
        return Answer(items=answer.items[0], scores=answer.scores[0])

    return app


def main() -> None:
    """Serve until a signal."""
    import uvicorn

    app = make_app(sys.argv[1])
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    print(f"serving at http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run([listener])


if __name__ == "__main__":
    main()
