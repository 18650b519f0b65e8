#!/usr/bin/env python3
"""Writes countries.tsv, phones.tsv and parts.tsv anew: which zones a country has, which a telephone's area may have, and
what a country's states, provinces and other parts are called.

    python3 -m venv target/zones && target/zones/bin/pip install phonenumbers tzdata
    npm install --prefix target/zones cldr-core
    target/zones/bin/python src/audience/whereabouts/tables.py

regions.tsv is written by hand.
"""

import functools
import json
import random
from datetime import datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import phonenumbers
import tzdata
from phonenumbers import PhoneNumberType
from phonenumbers.tzdata import TIMEZONE_DATA

HERE = Path(__file__).parent
# Where a mobile number has an area, as fixed ones do: North America, Mexico, Argentina, Brazil; and China, which has one time.
MOBILES_WITH_AREA = {1, 52, 54, 55, 86}
ZONEINFO = Path(tzdata.__file__).parent / "zoneinfo"
CLDR = HERE.parents[2] / "target/zones/node_modules/cldr-core"
# The counties of Norway since 2024, which the CLDR does not have yet.
NEWER = {"NO": ["31", "32", "33", "39", "40", "55", "56"]}


def countries():
    """Zones by country, as IANA's zone.tab has them (public domain)."""
    zones = {}
    for line in (ZONEINFO / "zone.tab").read_text().splitlines():
        if line and not line.startswith("#"):
            country, _, zone, *_ = line.split("\t")
            zones.setdefault(country, []).append(zone)
    return dict(sorted(zones.items()))


def parts():
    """The parts of each country by ISO 3166-2, as the CLDR has them; names that were given up too, for people have them."""
    supplemental = CLDR / "supplemental"
    contained = json.loads((supplemental / "subdivisionContainment.json").read_text())
    contained = contained["supplemental"]["subdivisionContainment"].values()
    aliases = json.loads((supplemental / "aliases.json").read_text())["supplemental"]["metadata"]["alias"]
    named = [name for row in contained for name in row["_contains"]] + list(aliases["subdivisionAlias"])
    found = {country: set(names) for country, names in NEWER.items()}
    for name in named:
        found.setdefault(name[:2].upper(), set()).add(name[2:].upper())
    return {country: sorted(names) for country, names in sorted(found.items())}


def links():
    """Names whose clocks are another's, by their alias."""
    lines = (ZONEINFO / "tzdata.zi").read_text().splitlines()
    return {line.split()[2]: line.split()[1] for line in lines if line.startswith("L ")}


@functools.cache
def clock(zone):
    """What a clock there shows, every six hours from 2024 to 2037."""
    first = datetime(2024, 1, 1, tzinfo=timezone.utc)
    hours = range(0, 14 * 366 * 24, 6)
    return hash(tuple((first + timedelta(hours=n)).astimezone(ZoneInfo(zone)).utcoffset() for n in hours))


def apart(zones, target):
    """Of zones whose clocks show the same, the first that is no other's alias."""
    kept = {}
    for zone in sorted(zones, key=lambda zone: zone in target):
        kept.setdefault(clock(zone), zone)
    return sorted(kept.values())


def newest_names(known, target):
    """Names that were given up, by the one of `known` that is the same place."""
    newest = {}
    for alias, zone in target.items():
        while zone in target and zone not in known:
            zone = target[zone]
        if zone in known:
            newest[alias] = zone
    return lambda name: name if name in known else newest.get(name, name)


def mobile_in(digits):
    """The country whose mobiles begin with these digits; none where others do, too, or an area can be told."""
    found = set()
    chance = random.Random(digits)
    for length in range(len(digits), 16):
        for _ in range(40):
            text = "+" + digits + "".join(chance.choices("0123456789", k=length - len(digits)))
            try:
                number = phonenumbers.parse(text)
            except phonenumbers.NumberParseException:
                continue
            if phonenumbers.is_valid_number(number) and number.country_code not in MOBILES_WITH_AREA:
                is_mobile = phonenumbers.number_type(number) == PhoneNumberType.MOBILE
                found.add(phonenumbers.region_code_for_number(number) if is_mobile else None)
    return found.pop() if len(found) == 1 else None


def phones(newest, of_countries):
    """Zones by the first digits of an international number, where they say more than the digits before them.

    The table gives a mobile number the zone where most people are; it may be anywhere in its country.
    """
    table = {digits: sorted({newest(zone) for zone in zones}) for digits, zones in TIMEZONE_DATA.items()}
    for digits in table:
        country = mobile_in(digits)
        if country in of_countries:
            table[digits] = sorted(set(table[digits]) | set(of_countries[country]))
    kept = {}
    for digits in sorted(table, key=lambda digits: (len(digits), digits)):
        shorter = next((digits[:n] for n in range(len(digits) - 1, 0, -1) if digits[:n] in table), None)
        if shorter is None or table[shorter] != table[digits]:
            kept[digits] = table[digits]
    return dict(sorted(kept.items()))


def write(name, notice, rows):
    lines = [f"# {line}" for line in notice]
    lines += [f"{key}\t{' '.join(values)}" for key, values in rows.items()]
    (HERE / name).write_text("\n".join(lines) + "\n")


def write_zones(name, notice, rows):
    target = links()
    write(name, notice, {key: apart(zones, target) for key, zones in rows.items()})


of_countries = countries()
known = {zone for zones in of_countries.values() for zone in zones}
write_zones("countries.tsv", [f"From IANA's zone.tab of {tzdata.IANA_VERSION}, which is in the public domain."], of_countries)
write_zones(
    "phones.tsv",
    [
        f"From the table of telephone numbers' zones of phonenumbers {phonenumbers.__version__}.",
        "Copyright (C) 2012 The Libphonenumber Authors. Licensed under the Apache License, Version 2.0:",
        "https://www.apache.org/licenses/LICENSE-2.0. Changed: rows that say what a shorter number says are left out, and",
        "mobile numbers may be anywhere in their country.",
    ],
    phones(newest_names(known, links()), of_countries),
)
write(
    "parts.tsv",
    [
        "Parts of countries by ISO 3166-2, from cldr-core "
        + json.loads((CLDR / "package.json").read_text())["version"]
        + " with what is newer.",
        "Copyright (C) 2004-2026 Unicode, Inc. Unicode License V3: https://www.unicode.org/license.txt",
    ],
    parts(),
)
