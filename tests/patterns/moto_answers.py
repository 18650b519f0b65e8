"""moto's answers: reads one JSON list [pattern, event] a line, answers `yes` or `no` a line."""

import json
import sys

from moto.events.models import EventPattern

for line in sys.stdin:
    pattern, event = json.loads(line)
    print("yes" if EventPattern.load(json.dumps(pattern)).matches_event(event) else "no")
