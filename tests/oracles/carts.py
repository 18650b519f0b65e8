"""What is left in everybody's cart at the end of a Taobao or RetailRocket file: csv, nothing of ours. Prints one JSON
object. An order names no cart, so it empties what there is."""
import csv
import gzip
import hashlib
import json
import sys

LINES_MAX = 100
acts, orders = [], {}

with gzip.open(sys.argv[1], "rt", encoding="utf-8", newline="") as file:
    for number, row in enumerate(csv.DictReader(file)):
        kind = row.get("behavior") or row["event"]
        person, item = row.get("user_id") or row["visitorid"], row.get("item_id") or row["itemid"]
        at = int(row["ts"]) * 1000 if "ts" in row else int(row["timestamp"])
        if kind in ("cart", "addtocart"):
            acts.append((at, number, person, item))
        elif kind == "buy":
            acts.append((at, number, person, None))
        elif kind == "transaction":
            # Rows of one order are one act, at the time of the first.
            known = orders.setdefault((row["transactionid"], person), [at, number, person, None])
            known[0] = min(known[0], at)

acts += [tuple(order) for order in orders.values()]
carts, changed = {}, {}
for at, _, person, item in sorted(acts, key=lambda act: act[:2]):
    cart = carts.setdefault(person, {})
    changed[person] = at
    if item is None:
        cart.clear()
        continue
    cart[item] = cart.get(item, 0) + 1
    if len(cart) > LINES_MAX:
        del cart[next(iter(cart))]

lines = [f"{person} {changed[person]} " + ",".join(f"{item}x{n}" for item, n in cart.items())
         for person, cart in carts.items()]
full = [cart for cart in carts.values() if cart]
print(json.dumps({"people": len(carts), "full": len(full), "items": sum(sum(cart.values()) for cart in full),
                  "digest": hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()}))
