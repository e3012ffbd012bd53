"""The hello of Python: wasi:http/service of WASI 0.3."""

import componentize_py_async_support
import wit_world
from componentize_py_types import Ok
from wit_world import exports
from wit_world.imports.wasi_http_types import Fields, Request, Response

TRAILERS = wit_world.result_option_wasi_http_types_fields_wasi_http_types_error_code_future


def stream_of(text: bytes):
    writer, reader = wit_world.byte_stream()

    async def send():
        with writer:
            await writer.write_all(text)

    componentize_py_async_support.spawn(send())
    return reader


class Handler(exports.Handler):
    async def handle(self, request: Request) -> Response:
        path = request.get_path_with_query() or "/"
        body = stream_of(f"Hello from Python! You asked for {path}\n".encode())
        return Response.new(Fields(), body, TRAILERS(lambda: Ok(None))[1])[0]
