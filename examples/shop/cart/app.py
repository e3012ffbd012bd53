"""The shop itself: its page, its API and what an order costs.

Who asks is in the header `x-user`, which the component `auth` in front of this one sets. What is kept
is kept by the component `data`, by the interface `shop:data/orders`.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import componentize_py_async_support
import wit_world
from componentize_py_types import Err, Ok
from pricing import total
from wit_world import exports
from wit_world.imports import orders
from wit_world.imports.wasi_http_types import Fields, Method_Get, Method_Post, Request, Response

# Read while the component is built: it has no files when it runs.
PAGE = Path(__file__).with_name("index.html").read_bytes()

MAX_BODY = 64 * 1024
MAX_QUANTITY = 99


class Refused(Exception):
    """What is wrong with a request, and the status that says so."""

    def __init__(self, status: int, reason: str):
        super().__init__(reason)
        self.status = status


class Handler(exports.Handler):
    async def handle(self, request: Request) -> Response:
        try:
            return await route(request)
        except Refused as refused:
            return json_response({"error": str(refused)}, refused.status)
        except Err as error:
            print(f"the orders: {error.value}", file=sys.stderr)
            return json_response({"error": "orders can't be reached, try again"}, 503)


async def route(request: Request) -> Response:
    path = (request.get_path_with_query() or "/").partition("?")[0]
    match request.get_method(), path:
        case Method_Get(), "/":
            return response(PAGE, "text/html; charset=utf-8")
        case Method_Get(), "/api/products":
            return json_response([asdict(product) for product in await orders.products()])
        case Method_Get(), "/api/orders":
            user = user_of(request)
            placed = await orders.placed_by(user)
            return json_response({"user": user, "orders": [asdict(order) for order in placed]})
        case Method_Post(), "/api/orders":
            user = user_of(request)
            order = await place(user, await body_of(request))
            return json_response(asdict(order), 201)
    raise Refused(404, f"there is nothing at {path}")


async def place(user: str, body: bytes) -> orders.Order:
    """Checks an order, `[{"product": "rope", "quantity": 2}, …]`, says what it costs, and keeps it."""
    quantities: dict[str, int] = {}
    try:
        for line in json.loads(body):
            quantity = line["quantity"]
            if type(quantity) is not int:
                raise TypeError
            quantities[line["product"]] = quantities.get(line["product"], 0) + quantity
    except (ValueError, TypeError, KeyError):
        raise Refused(400, 'expected [{"product": "rope", "quantity": 2}, …]')
    prices = {product.id: product.price for product in await orders.products()}
    for product, quantity in quantities.items():
        if product not in prices:
            raise Refused(422, f"there is no product {product}")
        if not 1 <= quantity <= MAX_QUANTITY:
            raise Refused(422, f"of each product there are 1 to {MAX_QUANTITY} in an order")
    if not quantities:
        raise Refused(422, "there is nothing in this order")
    lines = [orders.Line(product, quantity) for product, quantity in quantities.items()]
    return await orders.place(user, lines, total(prices, quantities))


def user_of(request: Request) -> str:
    match request.get_headers().get("x-user"):
        case [user]:
            return user.decode()
    raise Refused(401, "nobody has said who you are")


async def body_of(request: Request) -> bytes:
    received = wit_world.result_unit_wasi_http_types_error_code_future(lambda: Ok(None))[1]
    stream, _trailers = Request.consume_body(request, received)
    body = bytearray()
    with stream:
        while not stream.writer_dropped:
            body += await stream.read(MAX_BODY)
            if len(body) > MAX_BODY:
                raise Refused(413, "that is a long order")
    return bytes(body)


def json_response(value, status: int = 200) -> Response:
    return response(json.dumps(value, ensure_ascii=False).encode(), "application/json", status)


def response(body: bytes, kind: str, status: int = 200) -> Response:
    headers = Fields.from_list([
        ("content-type", kind.encode()),
        ("content-length", str(len(body)).encode()),
        # The page needs nothing but itself, and nobody else may frame it.
        ("content-security-policy", b"default-src 'self' 'unsafe-inline'; frame-ancestors 'none'"),
    ])
    sender, stream = wit_world.byte_stream()

    async def send():
        with sender:
            await sender.write_all(body)

    # Beside the response, which the host has to have before it reads.
    componentize_py_async_support.spawn(send())
    trailers = wit_world.result_option_wasi_http_types_fields_wasi_http_types_error_code_future(
        lambda: Ok(None))[1]
    made, _sent = Response.new(headers, stream, trailers)
    made.set_status_code(status)
    return made
