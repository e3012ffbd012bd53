"""What an order costs, in cents."""

SHIPPING = 490
FREE_SHIPPING_FROM = 10_000
# A tenth off, from so many pieces of one product.
DOZEN = 12


def total(prices: dict[str, int], quantities: dict[str, int]) -> int:
    goods = 0
    for product, quantity in quantities.items():
        price = prices[product] * quantity
        goods += price - price // 10 if quantity >= DOZEN else price
    return goods if goods >= FREE_SHIPPING_FROM else goods + SHIPPING
