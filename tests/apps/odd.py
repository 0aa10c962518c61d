"""An application that cannot be asked for its version, as long as nobody has set one."""

from fastapi import FastAPI


class Odd(FastAPI):
    @property
    def version(self):
        raise LookupError("no version yet")

    @version.setter
    def version(self, _):
        pass


class Unmade:
    made = 0

    def __init__(self, app):
        Unmade.made += 1
        if Unmade.made == 1:
            raise LookupError("no cache yet")
        self.app = app

    async def __call__(self, scope, receive, send):
        await self.app(scope, receive, send)


app = Odd(openapi_url=None)
late = FastAPI()
late.add_middleware(Unmade)


@app.get("/items")
@late.get("/items")
async def items():
    return "ok"
