"""Counts a YooChoose or REES46 file by itself: csv, nothing of ours. Prints one JSON object."""
import csv
import gzip
import json
import sys
from collections import Counter, defaultdict
from datetime import datetime, timezone
from decimal import Decimal

NAMES = {"view": "Product Viewed", "cart": "Product Added", "remove_from_cart": "Product Removed"}
rows, people, events, orders, revenue = 0, set(), [], defaultdict(list), Decimal(0)

with gzip.open(sys.argv[1], "rt", encoding="utf-8", newline="") as file:
    tabs = "\t" in file.readline()
    file.seek(0)
    for row in csv.DictReader(file, delimiter="\t" if tabs else ","):
        rows += 1
        if "SessionId" in row:
            people.add(row["SessionId"])
            events.append((int(Decimal(row["Time"]) * 1000), "Product Viewed"))
            continue
        people.add(row["user_id"])
        at = datetime.strptime(row["event_time"], "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=timezone.utc)
        at = int(at.timestamp()) * 1000
        if row["event_type"] == "purchase":
            orders[(row["user_session"], row["user_id"])].append(at)
            revenue += Decimal(row["price"])
        else:
            events.append((at, NAMES[row["event_type"]]))

events += [(min(times), "Order Completed") for times in orders.values()]
times = [at for at, _ in events]
print(json.dumps({"rows": rows, "events": Counter(name for _, name in events), "people": len(people),
                  "first": min(times), "last": max(times), "revenue": str(revenue)}))
