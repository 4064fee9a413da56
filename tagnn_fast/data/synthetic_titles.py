"""Names for items that do not exist: a thing for each category, a quality for each place in it."""

from __future__ import annotations

_THINGS = (
    *("running shoes", "teapot", "garden chair", "headphones", "raincoat", "desk lamp", "rucksack", "bicycle bell"),
    *("wool jumper", "coffee mug", "wall clock", "yoga mat", "notebook", "sunglasses", "frying pan", "bookshelf"),
    *("winter boots", "water bottle", "plant pot", "keyboard", "scarf", "picture frame", "tent", "bicycle helmet"),
    *("bath towel", "bread knife", "floor rug", "football", "fountain pen", "wristwatch", "salad bowl", "armchair"),
    *("sandals", "thermos flask", "bird house", "loudspeaker", "umbrella", "candle holder", "sleeping bag", "scooter"),
)
_QUALITIES = (
    *("blue", "red", "green", "black", "white", "yellow", "grey", "orange", "pink", "brown", "purple", "turquoise"),
    *("striped", "dotted", "chequered", "plain", "light", "large", "small", "slim", "classic", "modern", "vintage"),
    *("everyday", "travel", "children's", "premium", "budget", "limited", "handmade", "recycled", "Nordic"),
)


def synthetic_title(item: int, width: int) -> str:
    """What to call an item number, where `width` items are a category: no two alike."""
    category, place = divmod(item, width)
    things, thing = divmod(category, len(_THINGS))
    qualities, quality = divmod(place, len(_QUALITIES))
    series = things * -(-width // len(_QUALITIES)) + qualities
    name = f"{_QUALITIES[quality]} {_THINGS[thing]}"
    return f"{name[0].upper()}{name[1:]}" + (f" {series + 1}" if series else "")
