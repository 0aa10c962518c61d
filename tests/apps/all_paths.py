"""One route for all paths, as applications have that deliver pages or pass requests on."""

from fastapi import FastAPI

app = FastAPI(openapi_url=None)


@app.get("/items/{item}")
async def items(item: str):
    return item


@app.get("/{path:path}")
async def page(path: str):
    return f"page {path}"
