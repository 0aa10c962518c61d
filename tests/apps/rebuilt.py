"""A module whose application is built anew whenever it is loaded."""

from fastapi import FastAPI


def build() -> FastAPI:
    made = FastAPI()

    @made.get("/item/{item}")
    async def one_item(item: int):
        return item

    @made.get("/boom")
    async def boom():
        raise LookupError("boom")

    return made


app = build()
