"""What many tutorials end with: FastAPI, Optimum's `generate` in the thread pool, answers cached in Redis.

Start: uvicorn server:app, with the environment of peers/servers/settings.py.
"""

import hashlib

import redis.asyncio
from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel

from peers.servers.inference import load_engine
from peers.servers.settings import PeerSettings

CACHE_S = 3600
settings = PeerSettings()  # type: ignore[call-arg]
engine = load_engine(settings)
cache = (
    redis.asyncio.Redis.from_url(settings.redis_url, decode_responses=True) if settings.redis_url else None
)
app = FastAPI()


class Body(BaseModel):
    text: str


class Translation(BaseModel):
    translation: str


@app.post(settings.route)
async def translate(body: Body) -> Translation:
    key = "translation:" + hashlib.sha256(body.text.encode()).hexdigest()
    if cache and (cached := await cache.get(key)):
        return Translation(translation=str(cached))
    (answer,) = await run_in_threadpool(engine, [body.text])
    if cache:
        await cache.set(key, answer["translation"], ex=CACHE_S)
    return Translation(**answer)
