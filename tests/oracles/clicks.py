"""Counts a Taobao or RetailRocket file by itself: csv, nothing of ours. Prints one JSON object."""
import csv
import gzip
import json
import sys
from collections import Counter

NAMES = {"pv": "Product Viewed", "cart": "Product Added", "fav": "Product Added to Wishlist", "buy": "Order Completed",
         "view": "Product Viewed", "addtocart": "Product Added"}
rows, events, people, orders, first, last = 0, Counter(), set(), set(), None, None

with gzip.open(sys.argv[1], "rt", encoding="utf-8", newline="") as file:
    for row in csv.DictReader(file):
        rows += 1
        kind = row.get("behavior") or row["event"]
        people.add(row.get("user_id") or row["visitorid"])
        at = int(row["ts"]) * 1000 if "ts" in row else int(row["timestamp"])
        first, last = min(at, first or at), max(at, last or at)
        if kind == "transaction":
            orders.add((row["transactionid"], row["visitorid"]))
        else:
            events[NAMES[kind]] += 1

if orders:
    events["Order Completed"] += len(orders)
print(json.dumps({"rows": rows, "events": events, "people": len(people), "first": first, "last": last}))
