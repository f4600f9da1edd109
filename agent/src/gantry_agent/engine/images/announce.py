"""Events about images, with the attributes Docker gives them."""

from gantry_agent.engine.core import Engine
from gantry_agent.engine.events import Event
from gantry_agent.engine.store import Image


def announce(engine: Engine, action: str, image: Image, name: str = "") -> None:
    """Tell that `action` happened to `image`; `name` is the reference concerned, the id unless given."""
    labels = {str(key): str(value) for key, value in image.config.labels.items()}
    engine.events.publish_event(Event("image", action, image.id, {**labels, "name": name or image.id}))
