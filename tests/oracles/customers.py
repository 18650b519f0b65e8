"""Who is a very good customer, who stopped coming and what everybody buys most, by an invoice file: csv and plain loops
over everybody's whole past, nothing of ours. Prints one JSON object; instants are milliseconds, and time goes on until
nothing changes any more."""
import csv
import gzip
import hashlib
import json
import sys
from datetime import datetime, timezone
from decimal import Decimal
from zoneinfo import ZoneInfo

LONDON, DAY = ZoneInfo("Europe/London"), 86_400_000
orders = {}


def millis(text):
    local = datetime.fromisoformat(text).replace(tzinfo=LONDON)
    return int(local.astimezone(timezone.utc).timestamp()) * 1000


path = sys.argv[1]
with (gzip.open if path.endswith(".gz") else open)(path, "rt", encoding="utf-8", newline="") as file:
    for number, row in enumerate(csv.DictReader(file)):
        quantity, price, invoice = Decimal(row["Quantity"]), Decimal(row["UnitPrice"]), row["InvoiceNo"]
        customer = row["CustomerID"].removesuffix(".0")
        if not customer or quantity <= 0 or price < 0 or not invoice[0].isdigit():
            continue
        order = orders.setdefault((invoice, customer), {"row": number, "at": millis(row["InvoiceDate"]),
                                                        "who": customer, "revenue": Decimal(0), "products": []})
        order["at"] = min(order["at"], millis(row["InvoiceDate"]))
        order["revenue"] += quantity * price
        order["products"].append(row["StockCode"])

people = {}
for order in sorted(orders.values(), key=lambda order: (order["at"], order["row"])):
    people.setdefault(order["who"], []).append(order)


def good(mine, now):
    recent = [order for order in mine if order["at"] <= now < order["at"] + 90 * DAY]
    return len(recent) >= 3 and sum(order["revenue"] for order in recent) >= 2000


def lapsed(mine, now):
    past = [order for order in mine if order["at"] <= now]
    return len(past) >= 2 and all(order["at"] + 60 * DAY <= now for order in past)


def changes(mine, is_in, days):
    """The instants at which somebody came in or went out. At an instant, what time brings comes before an order."""
    instants = {order["at"] for order in mine} | {order["at"] + days * DAY for order in mine}
    inside = False
    for now in sorted(instants):
        before = [order for order in mine if order["at"] < now]
        # Orders of one instant come one after the other, each with what is known by then.
        together = [order for order in mine if order["at"] == now]
        for known in [before + together[:count] for count in range(len(together) + 1)]:
            if is_in(known, now) != inside:
                inside = not inside
                yield now, inside


def favourite(mine):
    count, seen = {}, {}
    # Of two orders of one minute the one further down is the later.
    for place, order in enumerate(mine):
        for product in order["products"]:
            count[product] = count.get(product, 0) + 1
            seen[product] = place
    return min(count, key=lambda product: (-count[product], -seen[product], product))


def told(lines):
    return {"count": len(lines), "digest": hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()}


def moves(is_in, days):
    return [f"{who} {now} {'in' if inside else 'out'}"
            for who, mine in people.items() for now, inside in changes(mine, is_in, days)]


print(json.dumps({
    "people": len(people),
    "vip": told(moves(good, 90)),
    "lapsed": told(moves(lapsed, 60)),
    "come_back": told([line for line in moves(lapsed, 60) if line.endswith(" in")]),
    "favourite": told([f"{who} {favourite(mine)}" for who, mine in people.items()]),
    "hearts": sum(favourite(mine) == "85123A" for mine in people.values()),
}))
