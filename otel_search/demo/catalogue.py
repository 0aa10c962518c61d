"""The demo's catalogue: 2,400 products from a generator with the fixed seed `SEED`.

Every run, on every machine, makes the same products. Brands are invented; names, prices and
descriptions are put together from the words below. Nothing is taken from a real shop.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Iterator
from typing import Any

SEED = 20260101
SIZE = 2400

_BRANDS = (
    "Alderwick", "Bexley & Roe", "Calunda", "Dovetail", "Emberline", "Fjordane", "Greyfinch", "Halcyon Works",
    "Ironbark", "Juniper Lane", "Kestrelle", "Lumora", "Marlowe", "Northvale", "Oakhurst", "Pemberly",
    "Quillon", "Ravello", "Stonebridge", "Tidewater", "Umbrava", "Vantage Point", "Windermark", "Yarrow",
)  # fmt: skip
_SERIES = (
    "Alto", "Basalt", "Canyon", "Drift", "Echo", "Field", "Glide", "Harbour", "Isle", "Jetty", "Keystone", "Lark",
    "Meridian", "Nimbus", "Orbit", "Pioneer", "Quarry", "Ridge", "Summit", "Trail", "Union", "Vista", "Willow",
    "Zephyr",
)  # fmt: skip
_FINISHES = ("black", "sand", "forest green", "navy", "slate grey", "brick red", "off-white", "copper")

# Category: its product types with a typical price, and what its descriptions praise.
_CATEGORIES: dict[str, tuple[dict[str, float], tuple[str, ...]]] = {
    "outdoor": (
        {
            "hiking backpack": 119, "trekking poles": 69, "two-person tent": 249, "down sleeping bag": 219,
            "camping stove": 59, "rechargeable headlamp": 45, "water filter": 39, "folding camp chair": 55,
        },
        ("sealed seams", "a packed size that fits a bicycle bag", "recycled ripstop fabric", "glove-friendly zips",
         "a lifetime repair service", "three-season comfort", "reflective guy lines"),
    ),
    "running": (
        {
            "trail running shoes": 139, "road running shoes": 129, "running vest": 95, "hydration belt": 35,
            "reflective running jacket": 99, "compression socks": 24, "running cap": 27, "sports watch": 249,
        },
        ("a grippy outsole for wet rock", "a breathable mesh upper", "flat seams that do not rub",
         "pockets for gels and keys", "a close fit that does not bounce", "cushioning for long distances"),
    ),
    "cycling": (
        {
            "commuter helmet": 79, "bicycle bell": 18, "pannier bag": 85, "front light": 49, "floor pump": 45,
            "gravel tyre": 42, "chain lube": 12, "torque wrench": 65,
        },
        ("quick-release mounts", "a rain cover in the side pocket", "puncture protection", "USB-C charging",
         "sealed bearings", "a beam that does not dazzle oncoming traffic"),
    ),
    "kitchen": (
        {
            "chef's knife": 89, "cast-iron skillet": 49, "stand mixer": 329, "espresso machine": 449,
            "electric kettle": 59, "baking sheet": 22, "spice rack": 34, "food processor": 149,
        },
        ("a handle that stays cool", "parts that go into the dishwasher", "even heat from edge to edge",
         "a quiet motor", "a lid that does not drip", "temperature steps from 40 to 100 degrees"),
    ),
    "audio": (
        {
            "wireless headphones": 179, "in-ear monitors": 119, "bookshelf speakers": 299, "turntable": 349,
            "portable speaker": 89, "studio microphone": 159, "headphone amplifier": 199, "soundbar": 259,
        },
        ("active noise cancelling", "thirty hours of battery", "a warm midrange", "a walnut veneer",
         "low-latency Bluetooth", "replaceable ear pads", "a balanced output"),
    ),
    "computing": (
        {
            "mechanical keyboard": 129, "ergonomic mouse": 69, "27-inch monitor": 379, "laptop stand": 45,
            "USB-C dock": 189, "external SSD": 119, "webcam": 89, "mesh router": 169,
        },
        ("hot-swappable switches", "a cable of two metres", "firmware updates for five years",
         "power delivery up to 100 watts", "a matte panel", "an aluminium case without fan"),
    ),
    "furniture": (
        {
            "standing desk": 499, "office chair": 349, "bookcase": 179, "bedside table": 99, "oak bench": 229,
            "floor lamp": 119, "wool rug": 259, "shoe cabinet": 139,
        },
        ("solid oak from certified forests", "assembly in ten minutes", "soft-closing drawers",
         "a scratch-resistant surface", "lumbar support", "a dimmer in the cable"),
    ),
    "garden": (
        {
            "pruning shears": 39, "watering can": 29, "raised bed": 119, "cordless lawn mower": 399,
            "herb seeds": 6, "compost bin": 79, "solar lantern": 25, "garden hose": 49,
        },
        ("frost-proof fittings", "a blade that can be resharpened", "peat-free growing", "hand grips of cork",
         "a battery that fits the whole series", "organic seed stock"),
    ),
    "stationery": (
        {
            "fountain pen": 59, "dotted notebook": 19, "desk organiser": 35, "brush pens": 24, "wall calendar": 17,
            "ring binder": 9, "paper cutter": 42, "letter paper": 14,
        },
        ("paper of 120 grams", "a nib in three widths", "pages that lie flat", "ink that does not bleed through",
         "a numbered index", "a cover of recycled leather"),
    ),
    "toys": (
        {
            "wooden train set": 69, "building blocks": 45, "puzzle of 1000 pieces": 22, "plush bear": 27,
            "science kit": 39, "balance bike": 89, "board game": 36, "kite": 29,
        },
        ("water-based paint", "rounded edges", "play for two to six", "a cotton storage bag",
         "instructions in six languages", "spare parts on request"),
    ),
    "photography": (
        {
            "carbon tripod": 229, "camera bag": 129, "prime lens": 549, "variable ND filter": 99,
            "flash trigger": 79, "photo printer": 319, "light panel": 109, "memory card": 49,
        },
        ("weather sealing", "an Arca-compatible plate", "nine rounded aperture blades", "padding that can be rearranged",
         "colours that stay true", "write speeds for 4K video"),
    ),
    "travel": (
        {
            "cabin suitcase": 159, "packing cubes": 35, "travel pillow": 29, "passport wallet": 39,
            "universal adapter": 32, "rain poncho": 25, "toiletry bag": 34, "luggage scale": 19,
        },
        ("four silent wheels", "a shell of recycled polycarbonate", "cabin size on all major airlines",
         "RFID protection", "a hidden pocket", "a weight below three kilograms"),
    ),
}  # fmt: skip

_OPENINGS = (
    "Made to do one thing well: {kind}.",
    "Our best-selling {kind}, reworked from the ground up.",
    "The {kind} for people who have owned bad ones.",
    "From a small workshop, for every day: {kind}.",
    "Good {kind} for beginners and for those who are not.",
)
_FIRST_DAY = dt.date(2024, 1, 1)
_DAYS = 1000


def products(size: int = SIZE) -> Iterator[dict[str, Any]]:
    """Make the catalogue.

    Args:
        size: How many products; the first ones are the same whatever the size.

    Returns:
        Documents with `id`, `name`, `description`, `category`, `brand`, `price` (in euro), `rating` (1 to 5),
        `stock` (pieces), `in_stock` and `added` (ISO date).
    """
    chance = random.Random(SEED)  # noqa: S311  a fixed sequence is the point
    kinds = [(category, kind) for category, (types, _) in _CATEGORIES.items() for kind in types]
    for number in range(size):
        category, kind = kinds[number % len(kinds)]
        types, praises = _CATEGORIES[category]
        brand = chance.choice(_BRANDS)
        finish = chance.choice(_FINISHES)
        praised = chance.sample(praises, 3)
        stock = 0 if chance.random() < 0.12 else chance.randint(1, 240)
        added = _FIRST_DAY + dt.timedelta(days=chance.randrange(_DAYS))
        yield {
            "id": f"{category[:3].upper()}-{number + 1:05d}",
            "name": f"{brand} {chance.choice(_SERIES)} {chance.randint(1, 9) * 100} {kind}, {finish}",
            "description": (
                f"{chance.choice(_OPENINGS).format(kind=kind)} With {praised[0]}, {praised[1]} and {praised[2]}. "
                f"Comes in {finish}."
            ),
            "category": category,
            "brand": brand,
            "price": round(types[kind] * chance.uniform(0.6, 1.8), 2),
            "rating": round(1 + 4 * chance.betavariate(5, 1.6), 1),
            "stock": stock,
            "in_stock": stock > 0,
            "added": added.isoformat(),
        }
