from fastapi import FastAPI
from fastapi.responses import JSONResponse
from starlette.middleware.gzip import GZipMiddleware


class Wrapping(JSONResponse):
    media_type = "application/vnd.wrapped+json"


app = FastAPI(default_response_class=Wrapping)
app.add_middleware(GZipMiddleware, minimum_size=0)


@app.get("/wrapped")
def wrapped():
    return "wrapped"
