"""Whom a reminder of a thing looked at and one of a thing left in the cart would reach, by a Taobao or RetailRocket file:
csv and plain loops over what one person did to one thing, nothing of ours. Prints one JSON object."""
import csv
import gzip
import hashlib
import json
import sys

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
acts, orders = [], {}

path = sys.argv[1]
with (gzip.open if path.endswith(".gz") else open)(path, "rt", encoding="utf-8", newline="") as file:
    for number, row in enumerate(csv.DictReader(file)):
        kind = row.get("behavior") or row["event"]
        person, item = row.get("user_id") or row["visitorid"], row.get("item_id") or row["itemid"]
        at = int(row["ts"]) * 1000 if "ts" in row else int(row["timestamp"])
        if kind in ("pv", "view"):
            acts.append((at, number, person, "view", {item}))
        elif kind in ("cart", "addtocart"):
            acts.append((at, number, person, "add", {item}))
        elif kind == "buy":
            acts.append((at, number, person, "buy", {item}))
        elif kind == "transaction":
            # Rows of one order are one act, at the time of the first.
            known = orders.setdefault((row["transactionid"], person), [at, number, person, "buy", set()])
            known[0] = min(known[0], at)
            known[4].add(item)

acts = sorted(acts + [tuple(order) for order in orders.values()], key=lambda act: act[:2])
things = {}
for at, _, person, kind, items in acts:
    for item in items:
        things.setdefault((person, item), []).append((at, kind))


def reminders(did, enters, ends, delay, again, restarts):
    """What came of one person and thing: `entered`, `exited`, `sent` with their instants."""
    entered = due = over = None
    for at, kind in [*did, (float("inf"), None)]:
        if due is not None and due <= at:
            yield "sent", due
            over, due = due, None
        if due is not None and kind in ends:
            yield "exited", at
            over, due = at, None
        if kind != enters:
            continue
        if due is None and (over is None or at >= over + again):
            yield "entered", at
            entered, due = at, at + delay
        elif due is not None and restarts:
            due = max(due, min(at + delay, entered + DAY))


def told(enters, ends, delay, again, restarts):
    found = {"entered": 0, "exited": 0, "sent": []}
    for (person, _), did in things.items():
        for what, at in reminders(did, enters, ends, delay, again, restarts):
            if what == "sent":
                found["sent"].append(f"{person} {at}")
            else:
                found[what] += 1
    lines = sorted(found["sent"])
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return {**found, "sent": {"count": len(lines), "digest": digest}}


print(json.dumps({
    "look_again": told("view", ("add", "buy"), 30 * MINUTE, 2 * DAY, True),
    "left_behind": told("add", ("buy",), HOUR, 0, False),
}))
