"""Counts an invoice file by itself: csv and decimal, nothing of ours. Prints one JSON object."""
import csv
import gzip
import hashlib
import json
import sys
from collections import OrderedDict
from datetime import datetime, timezone
from decimal import Decimal
from zoneinfo import ZoneInfo

LONDON = ZoneInfo("Europe/London")
sums = {name: [0, Decimal(0)] for name in (
    "positive_rows", "negative_rows", "cancellations", "adjustments", "net", "known_customers", "no_customer")}
orders = OrderedDict()
rows = adjustments = no_customer = 0


def add(name, amount):
    sums[name][0] += 1
    sums[name][1] += amount


with gzip.open(sys.argv[1], "rt", encoding="utf-8", newline="") as file:
    for row in csv.DictReader(file):
        rows += 1
        invoice, quantity, price = row["InvoiceNo"], Decimal(row["Quantity"]), Decimal(row["UnitPrice"])
        amount, cancels = quantity * price, invoice.startswith("C")
        customer = row["CustomerID"][:-2] if row["CustomerID"].endswith(".0") else row["CustomerID"]
        add("net", amount)
        add("known_customers" if customer else "no_customer", amount)
        if amount > 0:
            add("positive_rows", amount)
        if amount < 0:
            add("negative_rows", amount)
            add("cancellations" if cancels else "adjustments", amount)
        if not customer:
            no_customer += 1
        elif invoice.startswith("A") or price < 0 or quantity == 0 or (quantity < 0) != cancels:
            adjustments += 1
        else:
            local = datetime.fromisoformat(row["InvoiceDate"]).replace(tzinfo=LONDON)
            order = orders.setdefault((invoice, customer), {"row": rows, "at": local, "amount": Decimal(0), "lines": 0})
            order["at"] = min(order["at"], local)
            order["amount"] += -amount if cancels else amount
            order["lines"] += 1


def plain(value):
    text = format(value, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "") else text


def told(key, order):
    at = order["at"].astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"{order['row']} {at} {key[0]} {key[1]} {plain(order['amount'])} {order['lines']}"


timeline = sorted(orders.items(), key=lambda item: (item[1]["at"].astimezone(timezone.utc), item[1]["row"]))
print(json.dumps({
    "rows": rows,
    "no_customer": no_customer,
    "adjustment": adjustments,
    "completed": sum(not key[0].startswith("C") for key in orders),
    "refunded": sum(key[0].startswith("C") for key in orders),
    "people": len({key[1] for key in orders}),
    "sums": {name: [count, plain(total)] for name, (count, total) in sums.items()},
    "timeline": hashlib.sha256("\n".join(told(key, order) for key, order in timeline).encode()).hexdigest(),
}))
