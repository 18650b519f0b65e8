"""Sends the plan with segment-analytics-python or rudder-sdk-python: the two share one form of call.

    python_clients.py segment plain|gzip
    python_clients.py rudder  plain|gzip

Only public options of the clients shorten their delays.
"""

import json
import os
import sys
from datetime import datetime


def main(which, encoding):
    calls = json.load(sys.stdin)
    failures = []
    options = {
        "host": os.environ["CARILLON_CLIENT_URL"],
        "gzip": encoding == "gzip",
        "timeout": 1.2,
        "upload_size": 2,
        "upload_interval": 0.1,
        "on_error": lambda error, batch: failures.append(error),
    }
    client_class = {"segment": segment, "rudder": rudder}[which]()
    client = client_class(os.environ["CARILLON_CLIENT_KEY"], **options)
    for call in calls:
        send(client, call)
    client.flush()
    client.join()
    for failure in failures:
        print("given up by the client:", repr(failure), file=sys.stderr)
    return 1 if failures else 0


def segment():
    from segment.analytics.client import Client

    return Client


def rudder():
    from rudderstack.analytics.client import Client

    return Client


def send(client, call):
    kind, context = call["type"], {"call": call["call"]}
    who = {"user_id": call.get("user"), "anonymous_id": call.get("anonymous")}
    common = {"context": context}
    if "at" in call:
        common["timestamp"] = datetime.fromisoformat(call["at"].replace("Z", "+00:00"))
    if kind == "identify":
        client.identify(traits=call["traits"], **who, **common)
    elif kind == "track":
        client.track(event=call["event"], properties=call["properties"], **who, **common)
    elif kind in ("page", "screen"):
        named = {"name": call["name"], "category": call.get("category"), "properties": call["properties"]}
        getattr(client, kind)(**named, **who, **common)
    elif kind == "group":
        client.group(group_id=call["group"], traits=call["traits"], **who, **common)
    elif kind == "alias":
        client.alias(previous_id=call["previous"], user_id=call["user"], **common)
    else:
        raise ValueError(f"unknown call {kind}")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
