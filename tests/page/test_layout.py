"""Where the nodes of a session's graph stand."""

from __future__ import annotations

import random
from typing import Any

from tests.page.shop import Page

SCRIPT = """
    const [sessions, width, done] = arguments;
    import("/page/session_graph.js").then(({sessionGraph, Layout}) => {
        done(sessions.map((clicks) => {
            const layout = new Layout(width);
            const steps = [];
            for (let count = 1; count <= clicks.length; count++) {
                const graph = sessionGraph(clicks.slice(0, count));
                layout.place(graph);
                steps.push(graph.nodes.map(({id}) => [id, layout.point(id)]));
            }
            const whole = new Layout(width);
            whole.place(sessionGraph(clicks));
            const points = sessionGraph(clicks).nodes.map(({id}) => [id, whole.point(id)]);
            return {steps, height: layout.height, whole: points};
        }));
    });
"""


def test_nodes_stay_apart_and_where_they_are(page: Page) -> None:
    page.open()
    generator = random.Random(0)
    sessions = [[str(generator.randrange(30)) for _ in range(generator.randrange(1, 60))] for _ in range(40)]
    for width in (330, 480, 700):
        found: list[dict[str, Any]] = page.chrome.execute_async_script(SCRIPT, sessions, width)
        for clicks, layout in zip(sessions, found, strict=True):
            places: dict[str, dict[str, float]] = {}
            for step in layout["steps"]:
                for item, point in step:
                    assert places.setdefault(item, point) == point
            assert places.keys() == set(clicks)
            assert dict(layout["whole"]) == places  # who is sent the session sees the same
            points = list(places.values())
            assert all(
                abs(one["x"] - other["x"]) > 90 or abs(one["y"] - other["y"]) > 90
                for place, one in enumerate(points)
                for other in points[:place]
            )
            assert all(30 < point["x"] < width - 30 and 30 < point["y"] < layout["height"] for point in points)


def test_the_same_places_on_the_page(page: Page) -> None:
    """A node keeps its place while others come and go."""
    page.open()

    def places() -> dict[str, str]:
        nodes = page.all(".node")
        return {str(node.get_attribute("data-id")): str(node.get_attribute("transform")) for node in nodes}

    before: dict[str, str] = {}
    for place in (2, 5, 1, 7, 3):
        page.click(place)
        assert before.items() <= places().items()
        before = places()
    page.all(".take-back")[1].click()
    page.settle()
    assert places().items() <= before.items()
